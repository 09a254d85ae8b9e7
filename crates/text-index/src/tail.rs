//! The tail of the text index: documents in the order of insertion, scanned by every search.
//!
//! Documents are in **chunks**, each a fixed array of term words and a fixed array of document
//! slots. The writer appends in place. A reader reads only as many documents as its own value
//! counts, so it never sees part of one. A full chunk is closed and the next one is twice as large,
//! up to a bound, so a small index stays small. Closed chunks are sealed into a segment.
//!
//! Words and slots are relaxed: a value is published with release and loaded with acquire, which
//! orders every word of the documents that the value counts before any read of them. They are
//! atomics only because the words past the count may be written while those before it are read.
//! Terms whose keys share some bits are chained, the newest first. A chain may lead a reader to a
//! position past its count, so heads are stored with release and loaded with acquire.

use crate::document::{Document, term_count, term_key};
use crate::sync::{Arc, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Default of the most documents in a chunk.
pub(crate) const DOCUMENTS_MAX: usize = 1024;
/// The most terms and tags in a chunk, unless one document alone has more.
pub(crate) const WORDS_MAX: usize = 24 * 1024;
/// Documents of a first chunk.
const DOCUMENTS_MIN: usize = 16;
/// The most terms and tags in a linked chunk: 1 + a position has to fit 16 bits, and 0 means none.
const LINKED_MAX: usize = u16::MAX as usize;
/// A link has the document in the bits from here on, and 1 + the next position in those below.
const LINK_BITS: u32 = 16;

/// A block of documents, appended in place.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Document after document: its terms, each with its key in the high 56 bits and its count in
    /// the low 8, then its tags.
    words: Box<[AtomicU64]>,
    /// For each value of some bits of a key: 1 + the last position of a term with these bits, 0 for
    /// none. Empty in a chunk that isn't linked: an index's first one, which has to be small, and
    /// one for a document that is larger than a usual chunk.
    heads: Box<[AtomicU16]>,
    /// By position of a term: its document, and 1 + the position of the term with the same bits
    /// before it. So a search for a term goes from one of its holders to the next.
    links: Box<[AtomicU32]>,
    documents: Box<[Slot]>,
    /// How many documents were ever begun. Of two clones that both append, one claims the next slot
    /// and the other one begins a chunk of its own.
    claimed: AtomicU32,
}

#[derive(Debug)]
struct Slot {
    id: AtomicU64,
    /// The end of its terms, which begin where the document before ends.
    terms_end: AtomicU32,
    /// The end of its tags, which begin where its terms end.
    end: AtomicU32,
    /// Occurrences of all its terms.
    length: AtomicU32,
}

/// A document as a search sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Its number in its chunk.
    pub(crate) at: usize,
    pub(crate) id: u64,
    pub(crate) length: u32,
    terms: &'a [AtomicU64],
    tags: &'a [AtomicU64],
}

impl<'a> Entry<'a> {
    /// Returns its distinct terms by ascending key.
    pub(crate) fn terms(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.terms.iter().map(|term| term.load(Ordering::Relaxed))
    }

    pub(crate) fn terms_len(&self) -> usize {
        self.terms.len()
    }

    pub(crate) fn tags_len(&self) -> usize {
        self.tags.len()
    }

    /// Returns how often it holds a term, if it does.
    fn count(&self, key: u64) -> Option<u8> {
        let key_at = |term: &AtomicU64| term_key(term.load(Ordering::Relaxed));
        let at = self.terms.binary_search_by_key(&key, key_at).ok()?;
        Some(term_count(self.terms[at].load(Ordering::Relaxed)))
    }

    /// Returns its distinct tags, ascending.
    pub(crate) fn tags(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.tags.iter().map(|tag| tag.load(Ordering::Relaxed))
    }

    pub(crate) fn has_tag(&self, tag: u64) -> bool {
        self.tags.binary_search_by_key(&tag, |tag| tag.load(Ordering::Relaxed)).is_ok()
    }
}

impl Chunk {
    fn with_capacity(documents: usize, words: usize, is_linked: bool) -> Self {
        let slot = || Slot {
            id: AtomicU64::new(0),
            terms_end: AtomicU32::new(0),
            end: AtomicU32::new(0),
            length: AtomicU32::new(0),
        };
        let linked = if is_linked { words } else { 0 };
        // Half as many as positions: most terms are in several documents.
        let heads = if linked == 0 { 0 } else { linked.next_power_of_two().div_ceil(2) };
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            heads: (0..heads).map(|_| AtomicU16::new(0)).collect(),
            links: (0..linked).map(|_| AtomicU32::new(0)).collect(),
            documents: (0..documents).map(|_| slot()).collect(),
            claimed: AtomicU32::new(0),
        }
    }

    /// Returns how many documents it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.documents.len()
    }

    /// Calls `each` with the number of a document and how often it holds the term, for those of the
    /// first `count` documents that do, in no order.
    #[inline]
    pub(crate) fn find(&self, key: u64, count: usize, mut each: impl FnMut(usize, u8)) {
        let Some(head) = self.head(key) else {
            return self.documents(count).for_each(|entry| {
                if let Some(times) = entry.count(key) {
                    each(entry.at, times);
                }
            });
        };
        // Acquire: pairs with the release in `append`. Whoever reads a position here also sees the
        // link at that position, and so the positions before it, even if its document is still
        // being written.
        let mut next = usize::from(head.load(Ordering::Acquire));
        while let Some(position) = next.checked_sub(1) {
            let link = self.links[position].load(Ordering::Relaxed);
            next = link as usize & LINKED_MAX;
            let at = (link >> LINK_BITS) as usize;
            // A document past the reader's count is skipped without reading its words.
            if at < count {
                let word = self.words[position].load(Ordering::Relaxed);
                if term_key(word) == key {
                    each(at, term_count(word));
                }
            }
        }
    }

    /// Returns the head of the chain that a term is in; none if the chunk isn't linked.
    #[inline]
    fn head(&self, key: u64) -> Option<&AtomicU16> {
        // A power of two.
        let mask = self.heads.len().checked_sub(1)?;
        self.heads.get(key as usize & mask)
    }

    pub(crate) fn id(&self, at: usize) -> u64 {
        self.documents[at].id.load(Ordering::Relaxed)
    }

    /// Returns the length of document `at`.
    pub(crate) fn length(&self, at: usize) -> u32 {
        self.documents[at].length.load(Ordering::Relaxed)
    }

    /// Returns how many terms and tags the first `count` documents have.
    pub(crate) fn words(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.documents[last].end.load(Ordering::Relaxed) as usize)
    }

    /// Returns the bytes of its arrays, filled or not.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
            + size_of_val(&*self.heads)
            + size_of_val(&*self.links)
            + size_of_val(&*self.documents)
    }

    /// Returns document `at`, which must be one that the reader's value counts.
    pub(crate) fn document(&self, at: usize) -> Entry<'_> {
        let start = at.checked_sub(1).map_or(0, |before| self.documents[before].end.load(Ordering::Relaxed));
        let slot = &self.documents[at];
        let terms_end = slot.terms_end.load(Ordering::Relaxed) as usize;
        let end = slot.end.load(Ordering::Relaxed) as usize;
        let (terms, tags) = (&self.words[start as usize..terms_end], &self.words[terms_end..end]);
        let (id, length) = (slot.id.load(Ordering::Relaxed), slot.length.load(Ordering::Relaxed));
        Entry { at, id, length, terms, tags }
    }

    /// Returns the first `count` documents; at most as many as the reader's value counts.
    pub(crate) fn documents(&self, count: usize) -> impl Iterator<Item = Entry<'_>> {
        (0..count).map(|at| self.document(at))
    }
}

/// The writer's handle of a chunk that it appends to.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    chunk: Arc<Chunk>,
    documents: usize,
    words: usize,
}

impl OpenChunk {
    /// Creates a first chunk, large enough for a document of `words` terms and tags.
    pub(crate) fn first(words: usize, documents_max: usize) -> Self {
        Self::sized(DOCUMENTS_MIN.min(documents_max), words)
    }

    /// Creates the chunk after this one, large enough for a document of `words` terms and tags.
    pub(crate) fn next(&self, words: usize, documents_max: usize) -> Self {
        Self::sized((self.chunk.documents.len() * 2).min(documents_max), words)
    }

    fn sized(documents: usize, words: usize) -> Self {
        let capacity = (documents * 24).min(WORDS_MAX).max(words);
        let fits = capacity <= LINKED_MAX && documents <= 1 << LINK_BITS;
        let chunk = Chunk::with_capacity(documents, capacity, fits && documents > DOCUMENTS_MIN);
        Self { chunk: Arc::new(chunk), documents: 0, words: 0 }
    }

    pub(crate) fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Returns how many documents it has.
    pub(crate) fn len(&self) -> usize {
        self.documents
    }

    /// Appends a document; false if the chunk is full, or if a clone of this handle has appended to
    /// it.
    pub(crate) fn append(&mut self, id: u64, document: &Document) -> bool {
        let terms_end = self.words + document.words().len();
        let end = terms_end + document.tags().len();
        if self.documents == self.chunk.documents.len() || end > self.chunk.words.len() {
            return false;
        }
        // Relaxed: only the claim itself is decided here. Whoever claims the slot owns it and the
        // words that follow: all handles with so many documents have the same words before them.
        let claimed = self.documents as u32;
        if self
            .chunk
            .claimed
            .compare_exchange(claimed, claimed + 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        let from = document.words().iter().chain(document.tags());
        for (to, word) in self.chunk.words[self.words..end].iter().zip(from) {
            to.store(*word, Ordering::Relaxed);
        }
        for (position, word) in (self.words..).zip(document.words()) {
            let Some(head) = self.chunk.head(term_key(*word)) else { break };
            // Relaxed: nobody else writes. A position fits 16 bits, or the chunk wouldn't be
            // linked; so does a document.
            let link = claimed << LINK_BITS | u32::from(head.load(Ordering::Relaxed));
            self.chunk.links[position].store(link, Ordering::Relaxed);
            // Release: pairs with the acquire in `find`. Without it a reader could follow the head
            // to a link that it still sees as 0, and miss all documents after it.
            head.store(position as u16 + 1, Ordering::Release);
        }
        let slot = &self.chunk.documents[self.documents];
        slot.id.store(id, Ordering::Relaxed);
        slot.terms_end.store(terms_end as u32, Ordering::Relaxed);
        slot.end.store(end as u32, Ordering::Relaxed);
        slot.length.store(document.length(), Ordering::Relaxed);
        self.documents += 1;
        self.words = end;
        true
    }
}

#[cfg(all(test, steadfast_loom))]
mod model {
    //! A reader that loads a published count finds so many documents, each complete, while the next
    //! one is being written.

    use steadfast_testkit::models::{Seen, check};

    use super::*;

    /// In every document, so that their chain leads from one to the other.
    const SHARED: u64 = 5;

    fn document(word: u64) -> Document {
        Document::new([(SHARED, 2), (word, 1)]).with_tags([word])
    }

    #[test]
    fn loom_readers_see_whole_documents_up_to_the_published_count() {
        let seen = Seen::<usize>::new();
        let outcomes = seen.clone();
        check(None, move || {
            let mut open =
                OpenChunk { chunk: Arc::new(Chunk::with_capacity(2, 6, true)), documents: 0, words: 0 };
            let chunk = Arc::clone(open.chunk());
            let published = Arc::new(AtomicU64::new(0));
            let reader = {
                let published = Arc::clone(&published);
                loom::thread::spawn(move || {
                    // Acquire: as the load of a value; pairs with the release of its publication.
                    let count = published.load(Ordering::Acquire) as usize;
                    for (at, document) in chunk.documents(count).enumerate() {
                        let word = 10 * (at as u64 + 1);
                        assert_eq!((document.id, document.length), (at as u64 + 1, 3));
                        assert_eq!(document.terms().collect::<Vec<_>>(), [SHARED << 8 | 2, word << 8 | 1]);
                        assert_eq!(document.tags().collect::<Vec<_>>(), [word]);
                        let mut found = Vec::new();
                        chunk.find(word, count, |at, times| found.push((at, times)));
                        assert_eq!(found, [(at, 1)]);
                    }
                    // Also when the chain begins at a document that is still being written.
                    let mut found = Vec::new();
                    chunk.find(SHARED, count, |at, times| found.push((at, times)));
                    assert_eq!(found, (0..count).rev().map(|at| (at, 2)).collect::<Vec<_>>());
                    count
                })
            };
            for id in 1..=2 {
                assert!(open.append(id, &document(10 * id)));
                published.store(id, Ordering::Release);
            }
            assert!(!open.append(3, &document(30)));
            outcomes.note(reader.join().unwrap());
        });
        seen.assert_all([0_usize, 1, 2]);
    }

    #[test]
    fn loom_of_two_clones_that_append_one_gets_the_slot() {
        let seen = Seen::<u64>::new();
        let outcomes = seen.clone();
        check(None, move || {
            let chunk = Arc::new(Chunk::with_capacity(2, 6, true));
            let mut left = OpenChunk { chunk: Arc::clone(&chunk), documents: 0, words: 0 };
            let mut right = left.clone();
            let other = loom::thread::spawn(move || right.append(2, &document(20)));
            let is_left = left.append(1, &document(10));
            let is_right = other.join().unwrap();
            assert!(is_left != is_right);
            let winner = if is_left { 1 } else { 2 };
            let entry = chunk.document(0);
            let terms = [SHARED << 8 | 2, (winner * 10) << 8 | 1];
            assert_eq!((entry.id, entry.terms().collect::<Vec<_>>()), (winner, terms.to_vec()));
            outcomes.note(winner);
        });
        seen.assert_all([1_u64, 2]);
    }
}
