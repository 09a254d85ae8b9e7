//! What is built in the background, and when: sealing full chunks, merging segments by size.

use std::ops::Range;
use std::sync::Arc;

use crate::index::{ChunkView, SegmentView};
use crate::segment::build::{merge, seal};
use crate::segment::{DOCUMENTS_MAX, POSTINGS_MAX, Segment};
use crate::tail;

/// The tail is sealed when so many large chunks of it are full. Each segment costs a query more than a chunk, and each sealing has costs of
/// its own, but a frequent term's holders in the tail are all looked at.
pub(crate) const SEALED_CHUNKS: usize = 4;
/// Segments are merged at least so many at a time, unless one has too many dead documents.
pub(crate) const MERGED_MIN: usize = 8;
/// Nor more, so that a query never waits long for the first merges of a neglected index.
const MERGED_MAX: usize = 16;
/// A segment with a dead document in so many is made anew.
const DEAD_SHARE: usize = 5;

/// A piece of work for any thread: [`run`](Self::run) it and [`install`](crate::TextIndex::install) what comes out.
#[derive(Debug)]
#[must_use = "what is planned has to be run and installed"]
pub struct Build {
    pub(crate) inputs: Inputs,
    pub(crate) token: Arc<()>,
}

/// What a [`Build`] made.
#[derive(Debug)]
#[must_use = "what is built has to be installed"]
pub struct Built {
    pub(crate) inputs: Inputs,
    pub(crate) token: Arc<()>,
    pub(crate) segment: Segment,
    /// For each input, which document of the segment each of its documents became; `u32::MAX` for those that were dead.
    pub(crate) numbers: Vec<Vec<u32>>,
}

/// What a segment is built from, as it was when that was planned.
#[derive(Debug)]
pub(crate) enum Inputs {
    Chunks(Vec<ChunkView>),
    Segments(Vec<SegmentView>),
}

impl Build {
    /// Builds. Pure computation: about a microsecond a document of twenty terms.
    pub fn run(self) -> Built {
        let (segment, numbers) = match &self.inputs {
            Inputs::Chunks(chunks) => {
                let live: Vec<_> = chunks
                    .iter()
                    .flat_map(|view| view.live().map(|entry| (view.first + entry.at as u64, entry)))
                    .collect();
                let (segment, incoming) = seal(&live);
                let mut incoming = incoming.into_iter();
                let numbers = chunks.iter().map(|view| {
                    let number = |at| if view.is_dead(at) { None } else { incoming.next() };
                    (0..view.documents).map(number).map(|number| number.unwrap_or(u32::MAX)).collect()
                });
                let numbers = numbers.collect();
                (segment, numbers)
            }
            Inputs::Segments(views) => {
                let sources: Vec<_> = views.iter().map(|view| (&*view.segment, &view.dead)).collect();
                merge(&sources)
            }
        };
        Built { inputs: self.inputs, token: self.token, segment, numbers }
    }

    /// Whether it is made from segments, rather than from the tail.
    pub fn is_merge(&self) -> bool {
        matches!(self.inputs, Inputs::Segments(_))
    }

    /// How many documents it reads, dead ones included.
    pub fn documents(&self) -> usize {
        match &self.inputs {
            Inputs::Chunks(chunks) => chunks.iter().map(|chunk| chunk.documents).sum(),
            Inputs::Segments(views) => views.iter().map(|view| view.segment.documents()).sum(),
        }
    }
}

/// How many of the closed chunks to seal, from the first: all, up to a segment's bounds; none before they fill [`SEALED_CHUNKS`] large ones
/// of so many documents.
pub(crate) fn seal_candidates(closed: &[ChunkView], chunk_documents: usize) -> Option<usize> {
    let (documents_min, words_min) = (SEALED_CHUNKS * chunk_documents, SEALED_CHUNKS * tail::WORDS_MAX);
    let (mut documents, mut words, mut count) = (0, 0, 0);
    for chunk in closed {
        documents += chunk.documents;
        words += chunk.chunk.words(chunk.documents);
        if count > 0 && (documents > DOCUMENTS_MAX || words > POSTINGS_MAX) {
            return Some(count);
        }
        count += 1;
    }
    (documents >= documents_min || words >= words_min).then_some(count)
}

/// Which neighbours to merge, if any.
///
/// A segment alone if a fifth of it is dead. Else the smallest run of eight or more in which none has more than half of all
/// documents: then each merge at least doubles the segment that a document is in, so a document is written no more than
/// log2 of the largest segment's size times.
pub(crate) fn merge_candidates(views: &[SegmentView]) -> Option<Range<usize>> {
    if let Some(at) =
        views.iter().position(|view| view.dead.count() as usize * DEAD_SHARE >= view.segment.documents())
    {
        return Some(at..at + 1);
    }
    let mut best: Option<(usize, Range<usize>)> = None;
    for start in 0..views.len() {
        let (mut documents, mut postings, mut largest) = (0, 0, 0);
        for (count, view) in views[start..].iter().take(MERGED_MAX).enumerate() {
            documents += view.live();
            postings += view.segment.postings();
            largest = largest.max(view.live());
            if documents > DOCUMENTS_MAX || postings > POSTINGS_MAX {
                break;
            }
            let balanced = count + 1 >= MERGED_MIN && largest * 2 <= documents;
            if balanced && best.as_ref().is_none_or(|(least, _)| documents < *least) {
                best = Some((documents, start..start + count + 1));
            }
        }
    }
    best.map(|(_, range)| range)
}
