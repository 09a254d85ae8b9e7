//! The index as a value: sealed segments, the tail's chunks after them, and what is being built.
//!
//! Row ids ascend from the first segment to the last chunk, and no two parts overlap. Binary search
//! finds a row by its id, however often sealing and merging moved it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::dead::{DeadSet, Deaths};
use crate::document::Document;
use crate::maintain::InFlight;
use crate::segment::Segment;
use crate::tail::{self, Chunk, OpenChunk};

/// Identifies a document in an index: the number of documents that were inserted before it.
///
/// It stays the same when the document is sealed and merged, and the index never gives it to
/// another document. Two clones that both insert give the same ids to different documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u64);

impl RowId {
    /// Creates an id from a number that [`get`](Self::get) returned.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The part of the tail that the next seal takes, or that the seal in flight is taking.
///
/// Every search scans it until its segment is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Documents, removed ones included.
    pub rows: usize,
    /// Bytes of their terms and tags.
    pub bytes: usize,
}

/// A BM25 index in memory, as a value.
///
/// There is one writer at a time, which `&mut` enforces. The next search finds what was inserted.
///
/// # Clones
/// A clone is a snapshot: it costs a few reference counts, shares all data, and changes of one
/// index don't show in the other. Both may be written to.
///
/// A clone has no builds in flight, whatever its original has. So it may plan what the original is
/// building already, and each of them installs only what it planned itself: see
/// [`plan`](Self::plan) and [`install`](Self::install).
pub struct TextIndex {
    pub(crate) segments: Arc<Vec<SegmentView>>,
    /// Closed, except for the last one while `open` appends to it.
    pub(crate) chunks: Arc<Vec<ChunkView>>,
    /// Appends to the last chunk and knows how many documents it has.
    open: Option<OpenChunk>,
    /// The id of the next row.
    pub(crate) next_row: u64,
    live: usize,
    total_tokens: u64,
    pub(crate) sealing: Option<InFlight>,
    pub(crate) merging: Option<InFlight>,
    pub(crate) chunk_documents_max: usize,
}

impl Default for TextIndex {
    fn default() -> Self {
        Self::with_chunk_documents_max(tail::DOCUMENTS_MAX)
    }
}

impl Clone for TextIndex {
    fn clone(&self) -> Self {
        Self {
            segments: Arc::clone(&self.segments),
            chunks: Arc::clone(&self.chunks),
            open: self.open.clone(),
            sealing: None,
            merging: None,
            ..*self
        }
    }
}

/// A segment as one value sees it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) segment: Arc<Segment>,
    pub(crate) dead: DeadSet,
    pub(crate) deaths: Deaths,
    /// While the segment is being merged: deaths since the merge was planned.
    pub(crate) deaths_since: Option<Deaths>,
}

impl SegmentView {
    pub(crate) fn new(segment: Segment) -> Self {
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

    /// Returns how many live documents hold the term.
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

    /// Returns the terms that dead documents held, in no order, some more than once.
    pub(crate) fn dead_keys(&self) -> impl Iterator<Item = u64> {
        self.deaths.keys().chain(self.deaths_since.iter().flat_map(Deaths::keys))
    }

    /// Marks a document dead, whose terms these are; false if it was.
    pub(crate) fn kill(&mut self, doc: u32, words: &[u64]) -> bool {
        let dies = self.dead.insert(doc);
        if dies {
            self.deaths_since.as_mut().unwrap_or(&mut self.deaths).add(words);
        }
        dies
    }

    fn bytes(&self) -> usize {
        let deaths = self.deaths.bytes() + self.deaths_since.as_ref().map_or(0, Deaths::bytes);
        self.segment.bytes() + self.dead.bytes() + deaths
    }
}

/// A chunk as one value sees it.
#[derive(Clone, Debug)]
pub(crate) struct ChunkView {
    pub(crate) chunk: Arc<Chunk>,
    /// The row id of its first document.
    pub(crate) first: u64,
    /// Documents it has; `TextIndex::open` knows those of the open chunk.
    pub(crate) documents: usize,
    /// One bit a document, 1 for dead; none for a chunk without dead documents.
    dead: Option<Arc<[u64]>>,
    pub(crate) dead_count: usize,
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

    /// Returns its live documents.
    pub(crate) fn live(&self) -> impl Iterator<Item = tail::Entry<'_>> {
        self.chunk.documents(self.documents).filter(|entry| !self.is_dead(entry.at))
    }

    fn bytes(&self) -> usize {
        self.chunk.bytes() + self.dead.as_ref().map_or(0, |dead| size_of_val(&**dead))
    }
}

impl TextIndex {
    /// Creates an empty index whose chunks hold up to `documents` documents: 1 to 65 536, 1024 by
    /// default.
    ///
    /// A search scans at least one chunk, and each seal makes a segment of at least so many
    /// documents.
    pub fn with_chunk_documents_max(documents: usize) -> Self {
        Self {
            segments: Arc::default(),
            chunks: Arc::default(),
            open: None,
            next_row: 0,
            live: 0,
            total_tokens: 0,
            sealing: None,
            merging: None,
            chunk_documents_max: documents.clamp(1, 1 << 16),
        }
    }

    /// Returns how many documents a search can find.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Returns whether there is no document to find.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Returns the sum of the live documents' [lengths](Document::length).
    pub fn total_tokens(&self) -> u64 {
        self.total_tokens
    }

    /// Appends a document under `id` and returns its row id. The next search finds it.
    ///
    /// Ids are the caller's and may repeat: each document is found by itself. To replace a
    /// document, [`remove`](Self::remove) it as well.
    pub fn insert(&mut self, id: u64, document: &Document) -> RowId {
        if !self.open.as_mut().is_some_and(|open| open.append(id, document)) {
            self.begin_chunk(id, document);
        }
        self.live += 1;
        self.total_tokens += u64::from(document.length());
        self.next_row += 1;
        RowId(self.next_row - 1)
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
        chunks.push(ChunkView { chunk, first: self.next_row, documents: 0, dead: None, dead_count: 0 });
        self.open = Some(next);
    }

    /// Removes the document `row` and returns whether it was there; `document` is what was
    /// inserted, terms and all.
    ///
    /// If `document` is another one than was inserted, later scores are computed with wrong counts;
    /// [`verify`](Self::verify) finds that.
    pub fn remove(&mut self, row: RowId, document: &Document) -> bool {
        self.remove_with(row, || document)
    }

    /// Like [`remove`](Self::remove), for a document that takes time to make again: calls
    /// `document` only if the row is sealed.
    pub fn remove_with<D: Borrow<Document>>(&mut self, row: RowId, document: impl FnOnce() -> D) -> bool {
        let length = match self.chunks.first() {
            Some(chunk) if chunk.first <= row.0 => self.remove_from_tail(row.0),
            _ => self.remove_from_segment(row.0, document),
        };
        let Some(length) = length else { return false };
        self.live -= 1;
        self.total_tokens -= u64::from(length);
        true
    }

    fn remove_from_tail(&mut self, row: u64) -> Option<u32> {
        let number = self.chunks.partition_point(|chunk| chunk.first <= row).checked_sub(1)?;
        let at = usize::try_from(row - self.chunks[number].first).ok()?;
        let is_open = number >= self.closed().len();
        let documents = self.chunk_documents(number);
        if at >= documents || self.chunks[number].is_dead(at) {
            return None;
        }
        let is_busy = InFlight::covers(self.sealing.as_ref(), self.chunks[number].first);
        let chunks = Arc::make_mut(&mut self.chunks);
        chunks[number].kill(at);
        let length = chunks[number].chunk.length(at);
        if !is_open && !is_busy && chunks[number].dead_count == documents {
            chunks.remove(number);
        }
        Some(length)
    }

    fn remove_from_segment<D: Borrow<Document>>(
        &mut self,
        row: u64,
        document: impl FnOnce() -> D,
    ) -> Option<u32> {
        let before = |view: &SegmentView| view.segment.last_row().is_some_and(|last| last < row);
        let number = self.segments.partition_point(before);
        let view = self.segments.get(number)?;
        let doc = view.segment.doc_of(row)?;
        if view.dead.contains(doc) {
            return None;
        }
        let segments = Arc::make_mut(&mut self.segments);
        segments[number].kill(doc, document().borrow().words());
        let length = segments[number].segment.length(doc);
        if segments[number].live() == 0 && !InFlight::covers(self.merging.as_ref(), row) {
            segments.remove(number);
        }
        Some(length)
    }

    /// Closes the open chunk, so that the next [`plan`](Self::plan) may seal it if there is enough
    /// to seal.
    pub fn close_tail(&mut self) {
        if let Some(open) = self.open.take() {
            let chunks = Arc::make_mut(&mut self.chunks);
            if let Some(last) = chunks.last_mut() {
                last.documents = open.len();
            }
            chunks.pop_if(|last| last.dead_count == last.documents);
        }
    }

    /// Returns how far sealing is behind. A writer that waits while this is large bounds what
    /// searches scan.
    pub fn backlog(&self) -> Backlog {
        self.closed().iter().fold(Backlog::default(), |sum, chunk| Backlog {
            rows: sum.rows + chunk.documents,
            bytes: sum.bytes + chunk.chunk.words(chunk.documents) * size_of::<u64>(),
        })
    }

    /// Returns how many documents are in the tail, removed ones included: those that every search
    /// scans.
    pub fn unsealed(&self) -> usize {
        self.chunks().map(|(_, documents)| documents).sum()
    }

    /// Returns the bytes of heap memory that hold the index's rows: the capacity of the tail's and
    /// the segments' arrays, and what is kept of removed documents. What is shared with clones
    /// counts in full.
    ///
    /// Not counted are a few hundred bytes for each segment and chunk, and what a
    /// [`Build`](crate::Build) in flight holds beside the index.
    pub fn bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(SegmentView::bytes).sum();
        let chunks: usize = self.chunks.iter().map(ChunkView::bytes).sum();
        segments + chunks
    }

    pub(crate) fn segments(&self) -> &[SegmentView] {
        &self.segments
    }

    /// Returns the tail's chunks with how many documents each has, by ascending row id.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&ChunkView, usize)> {
        self.chunks.iter().enumerate().map(|(number, chunk)| (chunk, self.chunk_documents(number)))
    }

    /// Returns all chunks but the open one.
    pub(crate) fn closed(&self) -> &[ChunkView] {
        &self.chunks[..self.chunks.len() - usize::from(self.open.is_some())]
    }

    fn chunk_documents(&self, number: usize) -> usize {
        match &self.open {
            Some(open) if number + 1 == self.chunks.len() => open.len(),
            _ => self.chunks[number].documents,
        }
    }
}

impl fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextIndex")
            .field("live", &self.live)
            .field("segments", &self.segments.len())
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
