//! The index as a value: sealed segments, the tail's chunks behind them, and what is being built.
//!
//! Places ascend from the first segment to the last chunk, and no two parts overlap, so a place is found by binary search however
//! often its document was moved by sealing and merging.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::build::{Build, Built, Inputs, merge_candidates, seal_candidates};
use crate::dead::{DeadSet, Deaths};
use crate::document::Document;
use crate::segment::Segment;
use crate::tail::{self, Chunk, OpenChunk};

/// Where a document stands: the number of documents that were ever inserted before it. Sealing and merging don't change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// From a number that [`get`](Self::get) told.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Full chunks that wait to be sealed: what queries scan because the builder is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Documents in full chunks, dead ones included.
    pub documents: u64,
    /// Their terms and tags.
    pub words: u64,
}

/// A BM25 index in memory, as a value: a clone is a snapshot that costs a few reference counts.
///
/// One clone is the writer's; all others are read. (Should two clones both insert, they part: neither sees what the other one adds.)
#[derive(Clone)]
pub struct TextIndex {
    segments: Arc<Vec<SegmentView>>,
    /// Closed, but for the last one if `open` is it.
    chunks: Arc<Vec<ChunkView>>,
    /// The last chunk again, with how far it is filled.
    open: Option<OpenChunk>,
    places: u64,
    documents: u64,
    length: u64,
    sealing: Option<Job>,
    merging: Option<Job>,
    chunk_documents_max: usize,
}

impl Default for TextIndex {
    fn default() -> Self {
        Self::with_chunk_documents_max(tail::DOCUMENTS_MAX)
    }
}

/// A segment as one value sees it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) segment: Arc<Segment>,
    pub(crate) dead: DeadSet,
    deaths: Deaths,
    /// While the segment is being merged: deaths since that was planned.
    deaths_since: Option<Deaths>,
}

impl SegmentView {
    fn new(segment: Segment) -> Self {
        Self {
            segment: Arc::new(segment),
            dead: DeadSet::default(),
            deaths: Deaths::default(),
            deaths_since: None,
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.segment.documents() - self.dead.count() as usize
    }

    /// How many live documents hold the term.
    pub(crate) fn holders(&self, key: u64) -> u64 {
        let all = self.segment.holders(key);
        if all == 0 || self.dead.count() == 0 {
            return u64::from(all);
        }
        u64::from(all.saturating_sub(self.dead_holders(key)))
    }

    pub(crate) fn dead_holders(&self, key: u64) -> u32 {
        self.deaths.of(key) + self.deaths_since.as_ref().map_or(0, |since| since.of(key))
    }

    /// Terms that dead documents held, in no order, some more than once.
    pub(crate) fn dead_keys(&self) -> impl Iterator<Item = u64> {
        self.deaths.keys().chain(self.deaths_since.iter().flat_map(Deaths::keys))
    }

    /// Marks a document dead, whose terms these are; false if it was.
    fn kill(&mut self, doc: u32, words: &[u64]) -> bool {
        let dies = self.dead.insert(doc);
        if dies {
            self.deaths_since.as_mut().unwrap_or(&mut self.deaths).add(words);
        }
        dies
    }

    fn memory_bytes(&self) -> usize {
        self.segment.memory_bytes() + self.deaths.memory_bytes() + self.segment.documents().div_ceil(64) * 8
    }
}

/// A chunk as one value sees it.
#[derive(Clone, Debug)]
pub(crate) struct ChunkView {
    pub(crate) chunk: Arc<Chunk>,
    /// The place of its first document.
    pub(crate) first: u64,
    /// Documents it has; of the open chunk `TextIndex::open` knows.
    pub(crate) documents: usize,
    /// One bit a document, 1 for dead; none for a chunk without dead documents.
    dead: Option<Arc<[u64]>>,
    dead_count: usize,
}

impl ChunkView {
    pub(crate) fn is_dead(&self, at: usize) -> bool {
        self.dead.as_ref().is_some_and(|dead| dead[at / 64] >> (at % 64) & 1 == 1)
    }

    fn kill(&mut self, at: usize) -> bool {
        if self.is_dead(at) {
            return false;
        }
        let dead = self.dead.get_or_insert_with(|| vec![0; self.chunk.capacity().div_ceil(64)].into());
        Arc::make_mut(dead)[at / 64] |= 1 << (at % 64);
        self.dead_count += 1;
        true
    }

    /// Its live documents.
    pub(crate) fn live(&self) -> impl Iterator<Item = tail::Entry<'_>> {
        self.chunk.documents(self.documents).filter(|entry| !self.is_dead(entry.at))
    }
}

/// What is being built of which places. It ends when it is installed, or when its [`Build`] is dropped.
#[derive(Clone, Debug)]
struct Job {
    token: Weak<()>,
    places: Range<u64>,
}

impl Job {
    fn covers(job: Option<&Self>, place: u64) -> bool {
        job.is_some_and(|job| job.is_alive() && job.places.contains(&place))
    }

    fn is_alive(&self) -> bool {
        self.token.strong_count() > 0
    }

    fn is_of(job: Option<&Self>, token: &Arc<()>) -> bool {
        job.is_some_and(|job| job.token.as_ptr() == Arc::as_ptr(token))
    }
}

impl TextIndex {
    /// An empty index whose chunks are full with so many documents: 1 to 65 536, 1024 by default.
    ///
    /// A query scans at least one chunk, and each sealing makes a segment of at least so many documents.
    pub fn with_chunk_documents_max(documents: usize) -> Self {
        Self {
            segments: Arc::default(),
            chunks: Arc::default(),
            open: None,
            places: 0,
            documents: 0,
            length: 0,
            sealing: None,
            merging: None,
            chunk_documents_max: documents.clamp(1, 1 << 16),
        }
    }

    /// Live documents.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// The sum of the live documents' lengths.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a document under `id`. The next search finds it.
    ///
    /// The index doesn't look for another document with this id: to replace one, [`remove`](Self::remove) it.
    pub fn insert(&mut self, id: u64, document: &Document) -> Place {
        if !self.open.as_mut().is_some_and(|open| open.append(id, document)) {
            self.begin_chunk(id, document);
        }
        self.documents += 1;
        self.length += u64::from(document.length());
        self.places += 1;
        Place(self.places - 1)
    }

    /// Closes the open chunk and puts the document into a new one.
    fn begin_chunk(&mut self, id: u64, document: &Document) {
        let words = document.words().len() + document.tags().len();
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut next = match self.open.take() {
            Some(full) => {
                if let Some(last) = chunks.last_mut() {
                    last.documents = full.len();
                }
                chunks.pop_if(|last| last.dead_count == last.documents);
                full.next(words, self.chunk_documents_max)
            }
            None => OpenChunk::first(words, self.chunk_documents_max),
        };
        let appended = next.append(id, document);
        debug_assert!(appended, "a new chunk is made large enough");
        let chunk = Arc::clone(next.chunk());
        chunks.push(ChunkView { chunk, first: self.places, documents: 0, dead: None, dead_count: 0 });
        self.open = Some(next);
    }

    /// Marks the document at `place` dead; `document` is what was inserted there, terms and all.
    ///
    /// False, and nothing happens, if no live document is there. Should `document` be another one than was inserted,
    /// later scores are computed with wrong counts; [`verify`](Self::verify) finds it.
    pub fn remove(&mut self, place: Place, document: &Document) -> bool {
        self.remove_with(place, || document)
    }

    /// [`remove`](Self::remove) for a document that takes time to make again: it is asked for only if it is needed, which it isn't in
    /// the tail.
    pub fn remove_with<D: Borrow<Document>>(&mut self, place: Place, document: impl FnOnce() -> D) -> bool {
        let length = match self.chunks.first() {
            Some(chunk) if chunk.first <= place.0 => self.remove_from_tail(place.0),
            _ => self.remove_from_segment(place.0, document),
        };
        let Some(length) = length else { return false };
        self.documents -= 1;
        self.length -= u64::from(length);
        true
    }

    fn remove_from_tail(&mut self, place: u64) -> Option<u32> {
        let number = self.chunks.partition_point(|chunk| chunk.first <= place).checked_sub(1)?;
        let at = usize::try_from(place - self.chunks[number].first).ok()?;
        let is_open = number >= self.closed().len();
        let documents = self.chunk_documents(number);
        if at >= documents || self.chunks[number].is_dead(at) {
            return None;
        }
        let busy = Job::covers(self.sealing.as_ref(), self.chunks[number].first);
        let chunks = Arc::make_mut(&mut self.chunks);
        chunks[number].kill(at);
        let length = chunks[number].chunk.length(at);
        if !is_open && !busy && chunks[number].dead_count == documents {
            chunks.remove(number);
        }
        Some(length)
    }

    fn remove_from_segment<D: Borrow<Document>>(
        &mut self,
        place: u64,
        document: impl FnOnce() -> D,
    ) -> Option<u32> {
        let before = |view: &SegmentView| view.segment.last_place().is_some_and(|last| last < place);
        let number = self.segments.partition_point(before);
        let view = self.segments.get(number)?;
        let doc = view.segment.doc_at(place)?;
        if view.dead.contains(doc) {
            return None;
        }
        let segments = Arc::make_mut(&mut self.segments);
        segments[number].kill(doc, document().borrow().words());
        let length = segments[number].segment.length(doc);
        if segments[number].live() == 0 && !Job::covers(self.merging.as_ref(), place) {
            segments.remove(number);
        }
        Some(length)
    }

    /// Closes the open chunk, so that the next [`plan`](Self::plan) may seal it, if there is enough to seal.
    pub fn close_tail(&mut self) {
        if let Some(open) = self.open.take() {
            let chunks = Arc::make_mut(&mut self.chunks);
            if let Some(last) = chunks.last_mut() {
                last.documents = open.len();
            }
            chunks.pop_if(|last| last.dead_count == last.documents);
        }
    }

    /// What should be built now, in the background, if anything: full chunks to seal, or segments to merge.
    ///
    /// At most one sealing and one merging are in progress at a time, so call it until it tells `None`. A [`Build`] or [`Built`] that is
    /// dropped ends its progress, and what it was for is planned again.
    pub fn plan(&mut self) -> Option<Build> {
        if !self.sealing.as_ref().is_some_and(Job::is_alive) {
            self.sealing = None;
            if let Some(count) = seal_candidates(self.closed(), self.chunk_documents_max) {
                let chunks = self.chunks[..count].to_vec();
                let end = self.chunks.get(count).map_or(self.places, |next| next.first);
                let (build, job) = start(chunks[0].first..end, Inputs::Chunks(chunks));
                self.sealing = Some(job);
                return Some(build);
            }
        }
        if !self.merging.as_ref().is_some_and(Job::is_alive) {
            self.merging = None;
            if let Some(range) = merge_candidates(&self.segments) {
                let views = &mut Arc::make_mut(&mut self.segments)[range];
                for view in views.iter_mut() {
                    // What a dropped build left.
                    view.deaths.append(view.deaths_since.take().unwrap_or_default());
                    view.deaths_since = Some(Deaths::default());
                }
                let first =
                    views.first().and_then(|view| view.segment.places().next()).map_or(0, |(place, _)| place);
                let last = views.last().and_then(|view| view.segment.last_place()).unwrap_or(first);
                let (build, job) = start(first..last.saturating_add(1), Inputs::Segments(views.to_vec()));
                self.merging = Some(job);
                return Some(build);
            }
        }
        None
    }

    /// Puts what was built in the place of what it was built from. Documents that died meanwhile stay dead.
    ///
    /// False, and nothing happens, if it was planned by another line of clones.
    pub fn install(&mut self, built: Built) -> bool {
        match &built.inputs {
            Inputs::Chunks(inputs) => {
                Job::is_of(self.sealing.as_ref(), &built.token)
                    && self.install_sealed(inputs, built.segment, &built.numbers)
            }
            Inputs::Segments(inputs) => {
                Job::is_of(self.merging.as_ref(), &built.token)
                    && self.install_merged(inputs, built.segment, &built.numbers)
            }
        }
    }

    fn install_sealed(&mut self, inputs: &[ChunkView], segment: Segment, numbers: &[Vec<u32>]) -> bool {
        let same = |(now, then): (&ChunkView, &ChunkView)| Arc::ptr_eq(&now.chunk, &then.chunk);
        if self.closed().len() < inputs.len() || !self.chunks.iter().zip(inputs).all(same) {
            return false;
        }
        let mut view = SegmentView::new(segment);
        for ((now, then), numbers) in self.chunks.iter().zip(inputs).zip(numbers) {
            if now.dead_count == then.dead_count {
                continue;
            }
            for entry in then.live().filter(|entry| now.is_dead(entry.at)) {
                view.kill(numbers[entry.at], &entry.terms().collect::<Vec<_>>());
            }
        }
        Arc::make_mut(&mut self.chunks).drain(..inputs.len());
        if view.live() > 0 {
            Arc::make_mut(&mut self.segments).push(view);
        }
        self.sealing = None;
        true
    }

    fn install_merged(&mut self, inputs: &[SegmentView], segment: Segment, numbers: &[Vec<u32>]) -> bool {
        let is = |view: &SegmentView, input: &SegmentView| Arc::ptr_eq(&view.segment, &input.segment);
        let Some(start) =
            inputs.first().and_then(|first| self.segments.iter().position(|view| is(view, first)))
        else {
            return false;
        };
        let range = start..start + inputs.len();
        let Some(current) = self.segments.get(range.clone()) else { return false };
        if !current.iter().zip(inputs).all(|(now, then)| is(now, then)) {
            return false;
        }
        let mut view = SegmentView::new(segment);
        for ((now, then), numbers) in current.iter().zip(inputs).zip(numbers) {
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
        true
    }

    /// How far sealing is behind. A writer that waits while this is large bounds what queries scan.
    pub fn backlog(&self) -> Backlog {
        self.closed().iter().fold(Backlog::default(), |sum, chunk| Backlog {
            documents: sum.documents + chunk.documents as u64,
            words: sum.words + chunk.chunk.words(chunk.documents) as u64,
        })
    }

    /// Documents in the tail, dead ones included: those that every query goes over.
    pub fn unsealed(&self) -> u64 {
        self.chunks().map(|(_, documents)| documents as u64).sum()
    }

    /// Bytes on the heap that this value reaches, shared or not.
    pub fn memory_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(SegmentView::memory_bytes).sum();
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.chunk.memory_bytes()).sum();
        segments + chunks
    }

    pub(crate) fn segments(&self) -> &[SegmentView] {
        &self.segments
    }

    /// The tail's chunks with how many documents each has, in the order of places.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&ChunkView, usize)> {
        self.chunks.iter().enumerate().map(|(number, chunk)| (chunk, self.chunk_documents(number)))
    }

    /// All chunks but the open one.
    fn closed(&self) -> &[ChunkView] {
        &self.chunks[..self.chunks.len() - usize::from(self.open.is_some())]
    }

    fn chunk_documents(&self, number: usize) -> usize {
        match &self.open {
            Some(open) if number + 1 == self.chunks.len() => open.len(),
            _ => self.chunks[number].documents,
        }
    }
}

fn start(places: Range<u64>, inputs: Inputs) -> (Build, Job) {
    let token = Arc::new(());
    let job = Job { token: Arc::downgrade(&token), places };
    (Build { inputs, token }, job)
}

impl fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextIndex")
            .field("documents", &self.documents)
            .field("segments", &self.segments.len())
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
