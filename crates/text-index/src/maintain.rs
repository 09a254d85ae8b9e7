//! Sealing and merging: planned by the writer, built on any thread, installed by the writer.
//!
//! `plan` hands out a [`Build`] and the index keeps an [`InFlight`] for it. Both share a token: the
//! build owns it, the index only observes it. So the index knows whether the build still exists,
//! and `install` whether it planned the build. At most one seal and one merge are in flight, and
//! while one is, nothing removes its sources from the index: a build that this index planned can
//! always be installed.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::dead::Deaths;
use crate::index::{ChunkView, SegmentView, TextIndex};
use crate::segment::build::{merge, seal};
use crate::segment::{DOCUMENTS_MAX, POSTINGS_MAX, Segment};
use crate::tail;

/// The tail is sealed when so many large chunks of it are full. Each segment costs a search more
/// than a chunk, and each seal has costs of its own, but a search looks at all holders of a
/// frequent term in the tail.
pub(crate) const SEALED_CHUNKS: usize = 4;
/// At least so many segments are merged at a time, unless one has too many dead documents.
pub(crate) const MERGED_MIN: usize = 8;
/// At most so many, so that the first merges of a neglected index don't take long.
const MERGED_MAX: usize = 16;
/// A segment is rebuilt when one document in so many is dead.
const DEAD_SHARE: usize = 5;

/// Work for a background thread: [`run`](Self::run) it and [`install`](TextIndex::install) the
/// result.
///
/// It holds the data that it reads, so the index may change or be dropped meanwhile.
#[must_use = "a build does nothing until it is run and installed"]
pub struct Build {
    pub(crate) sources: Sources,
    token: Arc<()>,
}

/// The result of a [`Build`], ready for [`TextIndex::install`].
#[must_use = "a result does nothing until it is installed"]
pub struct Built {
    sources: Sources,
    token: Arc<()>,
    segment: Segment,
    /// For each source and each of its documents: the document's number in the segment, `u32::MAX`
    /// if it was dead.
    numbers: Vec<Vec<u32>>,
}

/// What a segment is built from, as of the plan.
pub(crate) enum Sources {
    Chunks(Vec<ChunkView>),
    Segments(Vec<SegmentView>),
}

/// A build that is not installed yet. It ends when the build is installed or dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    token: Weak<()>,
    /// The rows that it reads.
    rows: Range<u64>,
}

impl InFlight {
    pub(crate) fn covers(in_flight: Option<&Self>, row: u64) -> bool {
        in_flight.is_some_and(|build| build.is_alive() && build.rows.contains(&row))
    }

    fn is_alive(&self) -> bool {
        self.token.strong_count() > 0
    }

    fn has_token(in_flight: Option<&Self>, token: &Arc<()>) -> bool {
        in_flight.is_some_and(|build| build.token.as_ptr() == Arc::as_ptr(token))
    }
}

impl Sources {
    fn is_merge(&self) -> bool {
        matches!(self, Self::Segments(_))
    }

    fn rows(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(|chunk| chunk.documents).sum(),
            Self::Segments(views) => views.iter().map(|view| view.segment.documents()).sum(),
        }
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(name);
        fields.field("is_merge", &self.is_merge()).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl Build {
    fn start(rows: Range<u64>, sources: Sources) -> (Self, InFlight) {
        let token = Arc::new(());
        let in_flight = InFlight { token: Arc::downgrade(&token), rows };
        (Self { sources, token }, in_flight)
    }

    /// Builds the segment. Pure computation: about a microsecond for a document of twenty terms.
    pub fn run(self) -> Built {
        let (segment, numbers) = match &self.sources {
            Sources::Chunks(chunks) => {
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
            Sources::Segments(views) => {
                let sources: Vec<_> = views.iter().map(|view| (&*view.segment, &view.dead)).collect();
                merge(&sources)
            }
        };
        Built { sources: self.sources, token: self.token, segment, numbers }
    }

    /// Returns true for a merge of segments, false for a seal of the tail.
    pub fn is_merge(&self) -> bool {
        self.sources.is_merge()
    }

    /// Returns how many documents the build reads, removed ones included: its cost is proportional
    /// to that.
    pub fn rows(&self) -> usize {
        self.sources.rows()
    }
}

impl Built {
    /// Returns true for a merge of segments, false for a seal of the tail.
    pub fn is_merge(&self) -> bool {
        self.sources.is_merge()
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt("Build", f)
    }
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt("Built", f)
    }
}

/// A build that another index planned, perhaps the one that this index was cloned from. Hands the
/// build back.
#[derive(Debug)]
pub struct ForeignBuild {
    built: Box<Built>,
}

impl ForeignBuild {
    /// Returns the build, for the index that planned it.
    pub fn into_built(self) -> Built {
        *self.built
    }
}

impl fmt::Display for ForeignBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another index planned this build")
    }
}

impl std::error::Error for ForeignBuild {}

impl TextIndex {
    /// Returns the most useful thing to build now, if any: a seal of the tail's full chunks, or
    /// a merge of segments.
    ///
    /// The index remembers what it planned: at most one seal and one merge are in flight at a
    /// time, so call this until it returns `None`. A [`Build`] or [`Built`] that is dropped is no
    /// longer in flight, and what it was for is planned again.
    pub fn plan(&mut self) -> Option<Build> {
        self.plan_seal().or_else(|| self.plan_merge())
    }

    fn plan_seal(&mut self) -> Option<Build> {
        if self.sealing.as_ref().is_some_and(InFlight::is_alive) {
            return None;
        }
        let count = seal_candidates(self.closed(), self.chunk_documents_max)?;
        let chunks = self.chunks[..count].to_vec();
        let end = self.chunks.get(count).map_or(self.next_row, |next| next.first);
        let (build, in_flight) = Build::start(chunks[0].first..end, Sources::Chunks(chunks));
        self.sealing = Some(in_flight);
        Some(build)
    }

    fn plan_merge(&mut self) -> Option<Build> {
        if self.merging.as_ref().is_some_and(InFlight::is_alive) {
            return None;
        }
        let range = merge_candidates(&self.segments)?;
        let views = &mut Arc::make_mut(&mut self.segments)[range];
        for view in views.iter_mut() {
            // What a dropped build, or the original of this clone, left.
            view.deaths.append(view.deaths_since.take().unwrap_or_default());
            view.deaths_since = Some(Deaths::default());
        }
        let first = views.first().and_then(|view| view.segment.rows().next()).map_or(0, |(row, _)| row);
        let last = views.last().and_then(|view| view.segment.last_row()).unwrap_or(first);
        let (build, in_flight) =
            Build::start(first..last.saturating_add(1), Sources::Segments(views.to_vec()));
        self.merging = Some(in_flight);
        Some(build)
    }

    /// Replaces what was built from by the result. Documents that were removed meanwhile stay
    /// removed.
    ///
    /// # Errors
    /// [`ForeignBuild`] if this index didn't plan the build; nothing changes. A clone didn't plan
    /// what its original planned, nor the other way round.
    pub fn install(&mut self, built: Built) -> Result<(), ForeignBuild> {
        let in_flight = if built.is_merge() { &self.merging } else { &self.sealing };
        if !InFlight::has_token(in_flight.as_ref(), &built.token) {
            return Err(ForeignBuild { built: Box::new(built) });
        }
        match built.sources {
            Sources::Chunks(sources) => self.install_sealed(&sources, built.segment, &built.numbers),
            Sources::Segments(sources) => self.install_merged(&sources, built.segment, &built.numbers),
        }
        Ok(())
    }

    fn install_sealed(&mut self, sources: &[ChunkView], segment: Segment, numbers: &[Vec<u32>]) {
        let same = |(now, then): (&ChunkView, &ChunkView)| Arc::ptr_eq(&now.chunk, &then.chunk);
        assert!(
            self.closed().len() >= sources.len() && self.chunks.iter().zip(sources).all(same),
            "nothing removes what is being sealed"
        );
        let mut view = SegmentView::new(segment);
        for ((now, then), numbers) in self.chunks.iter().zip(sources).zip(numbers) {
            if now.dead_count == then.dead_count {
                continue;
            }
            for entry in then.live().filter(|entry| now.is_dead(entry.at)) {
                view.kill(numbers[entry.at], &entry.terms().collect::<Vec<_>>());
            }
        }
        Arc::make_mut(&mut self.chunks).drain(..sources.len());
        if view.live() > 0 {
            Arc::make_mut(&mut self.segments).push(view);
        }
        self.sealing = None;
    }

    fn install_merged(&mut self, sources: &[SegmentView], segment: Segment, numbers: &[Vec<u32>]) {
        let is = |view: &SegmentView, source: &SegmentView| Arc::ptr_eq(&view.segment, &source.segment);
        let start =
            self.segments.iter().position(|view| is(view, &sources[0])).unwrap_or(self.segments.len());
        let range = start..start + sources.len();
        let current = &self.segments[range.clone()];
        assert!(
            current.iter().zip(sources).all(|(now, then)| is(now, then)),
            "nothing removes what is being merged"
        );
        let mut view = SegmentView::new(segment);
        for ((now, then), numbers) in current.iter().zip(sources).zip(numbers) {
            if now.dead.count() > then.dead.count() {
                for (doc, &number) in numbers.iter().enumerate() {
                    if number != u32::MAX && now.dead.contains(doc as u32) {
                        view.dead.insert(number);
                    }
                }
            }
            view.deaths.append(now.deaths_since.clone().unwrap_or_default());
        }
        let merged = (view.live() > 0).then_some(view);
        Arc::make_mut(&mut self.segments).splice(range, merged);
        self.merging = None;
    }
}

/// Returns how many of the closed chunks to seal, from the first: all, up to a segment's bounds;
/// `None` before they fill [`SEALED_CHUNKS`] large ones of `chunk_documents` documents.
fn seal_candidates(closed: &[ChunkView], chunk_documents: usize) -> Option<usize> {
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

/// Returns which neighbours to merge, if any.
///
/// A segment alone if a fifth of it is dead. Otherwise the smallest run of eight or more in which
/// none has more than half of all documents: then each merge at least doubles the segment that a
/// document is in, so a document is written at most log2 of the largest segment's size times.
fn merge_candidates(views: &[SegmentView]) -> Option<Range<usize>> {
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
