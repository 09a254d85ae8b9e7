//! The fresh tail of the text index: documents in the order they were written, scanned by every query.
//!
//! Documents stand in **chunks**, each a fixed block of term words and a fixed block of document slots.
//! The committer appends in place; a reader looks no further than the number of documents
//! that its own value tells, so it never sees half of one. A full chunk is left alone and a new one begun, twice
//! as large up to a bound, so a small tenant stays small. A full chunk is what will be
//! sealed into a segment.
//!
//! All atomics here are relaxed: a value is published with release and loaded with acquire, which orders
//! every word of the documents that the value counts before any read of them. They are atomics only
//! because the words behind the count may be written at the same time as those before it are read.

use crate::document::{Document, term_count, term_key};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};

/// The most documents of a chunk unless the index says otherwise.
pub(crate) const DOCUMENTS_MAX: usize = 1024;
/// The most terms and tags of a chunk, unless one document alone has more.
pub(crate) const WORDS_MAX: usize = 24 * 1024;
const DOCUMENTS_MIN: usize = 16;
/// Prints in a word.
const PRINTS: usize = 8;
/// Places that share a filter.
const FILTERED: usize = 128;
/// Words of a filter, and its bits: four times as many as it has places.
const FILTER_WORDS: usize = 8;
const FILTER_BITS: u64 = 64 * FILTER_WORDS as u64;
/// The lowest bit of each byte, and the highest.
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = LOW << 7;

/// A block of documents, appended in place.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The documents' terms, each with its key in the high 56 bits and its count in the low 8, and behind them its
    /// tags; one document after the other.
    words: Box<[AtomicU64]>,
    /// The low byte of each term's key, at the term's place in `words`, eight to a word: what a look for one term goes over.
    prints: Box<[AtomicU64]>,
    /// For each stretch of places a bitmap of the terms there, by another part of their keys (Bloom, 1970, with one hash): lets a look for a
    /// rare term pass over most stretches.
    filters: Box<[AtomicU64]>,
    documents: Box<[Slot]>,
    /// How many documents were ever begun. Of two clones that both append, one takes the next slot and the
    /// other one leaves the chunk.
    claimed: AtomicU32,
}

#[derive(Debug)]
struct Slot {
    id: AtomicU64,
    /// Where its terms end; they begin where the document before ends.
    terms_end: AtomicU32,
    /// Where its tags end; they begin where its terms end.
    end: AtomicU32,
    /// How many words it has in all.
    length: AtomicU32,
}

/// A document as a scan sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Which one in its chunk.
    pub(crate) at: usize,
    pub(crate) id: u64,
    pub(crate) length: u32,
    terms: &'a [AtomicU64],
    tags: &'a [AtomicU64],
}

impl<'a> Entry<'a> {
    /// Its distinct terms in the order of their keys.
    pub(crate) fn terms(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.terms.iter().map(|term| term.load(Ordering::Relaxed))
    }

    /// Its distinct tags, ascending.
    pub(crate) fn tags(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.tags.iter().map(|tag| tag.load(Ordering::Relaxed))
    }

    pub(crate) fn has_tag(&self, tag: u64) -> bool {
        self.tags.binary_search_by_key(&tag, |tag| tag.load(Ordering::Relaxed)).is_ok()
    }
}

impl Chunk {
    fn with_capacity(documents: usize, words: usize) -> Self {
        let slot = || Slot {
            id: AtomicU64::new(0),
            terms_end: AtomicU32::new(0),
            end: AtomicU32::new(0),
            length: AtomicU32::new(0),
        };
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            prints: (0..words.div_ceil(PRINTS)).map(|_| AtomicU64::new(0)).collect(),
            filters: (0..words.div_ceil(FILTERED) * FILTER_WORDS).map(|_| AtomicU64::new(0)).collect(),
            documents: (0..documents).map(|_| slot()).collect(),
            claimed: AtomicU32::new(0),
        }
    }

    /// How many documents it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.documents.len()
    }

    /// Calls `each` with which document and how often, for each of the first `count` documents that hold the term, ascending.
    pub(crate) fn find(&self, key: u64, count: usize, mut each: impl FnMut(usize, u8)) {
        let words = self.words(count);
        let pattern = LOW * (key & 0xFF);
        let mut at = 0;
        for stretch in 0..words.div_ceil(FILTERED) {
            let (filter, bit) = filter_place(key, stretch);
            if self.filters[filter].load(Ordering::Relaxed) & bit == 0 {
                continue;
            }
            let first = stretch * FILTERED;
            let prints = &self.prints[first / PRINTS..words.min(first + FILTERED).div_ceil(PRINTS)];
            for (prints, first) in prints.chunks(PRINTS).zip((first..).step_by(64)) {
                let mut candidates = alike(prints, pattern);
                if words - first < 64 {
                    candidates &= (1 << (words - first)) - 1;
                }
                while candidates != 0 {
                    let place = first + candidates.trailing_zeros() as usize;
                    candidates &= candidates - 1;
                    let word = self.words[place].load(Ordering::Relaxed);
                    if term_key(word) != key {
                        continue;
                    }
                    at = self.holder(place, at, count);
                    // Behind the terms are tags, which may look like one.
                    if place < self.documents[at].terms_end.load(Ordering::Relaxed) as usize {
                        each(at, term_count(word));
                    }
                }
            }
        }
    }

    /// The document, from `from` on, that has the word at `place`, by doubling steps.
    fn holder(&self, place: usize, from: usize, count: usize) -> usize {
        let ends_before = |at: usize| self.documents[at].end.load(Ordering::Relaxed) as usize <= place;
        let (mut low, mut step) = (from, 1);
        while low + step <= count && ends_before(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(count) - 1;
        while low < high {
            let middle = usize::midpoint(low, high);
            if ends_before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(crate) fn id(&self, at: usize) -> u64 {
        self.documents[at].id.load(Ordering::Relaxed)
    }

    /// How many words document `at` has in all.
    pub(crate) fn length(&self, at: usize) -> u32 {
        self.documents[at].length.load(Ordering::Relaxed)
    }

    /// Terms and tags of the first `count` documents.
    pub(crate) fn words(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.documents[last].end.load(Ordering::Relaxed) as usize)
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words)
            + size_of_val(&*self.prints)
            + size_of_val(&*self.filters)
            + size_of_val(&*self.documents)
    }

    /// Document `at`, which must be one that the reader's value tells.
    pub(crate) fn document(&self, at: usize) -> Entry<'_> {
        let start = at.checked_sub(1).map_or(0, |before| self.documents[before].end.load(Ordering::Relaxed));
        let slot = &self.documents[at];
        let terms_end = slot.terms_end.load(Ordering::Relaxed) as usize;
        let end = slot.end.load(Ordering::Relaxed) as usize;
        let (terms, tags) = (&self.words[start as usize..terms_end], &self.words[terms_end..end]);
        let (id, length) = (slot.id.load(Ordering::Relaxed), slot.length.load(Ordering::Relaxed));
        Entry { at, id, length, terms, tags }
    }

    /// The first `count` documents; no more than the reader's value tells.
    pub(crate) fn documents(&self, count: usize) -> impl Iterator<Item = Entry<'_>> {
        (0..count).map(|at| self.document(at))
    }
}

/// The committer's end of a chunk that it appends to.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    chunk: Arc<Chunk>,
    documents: usize,
    words: usize,
}

impl OpenChunk {
    /// A first chunk, large enough for a document of `words` terms and tags.
    pub(crate) fn first(words: usize, documents_max: usize) -> Self {
        Self::sized(DOCUMENTS_MIN.min(documents_max), words)
    }

    /// The chunk after this one, likewise.
    pub(crate) fn next(&self, words: usize, documents_max: usize) -> Self {
        Self::sized((self.chunk.documents.len() * 2).min(documents_max), words)
    }

    fn sized(documents: usize, words: usize) -> Self {
        let capacity = (documents * 24).min(WORDS_MAX).max(words);
        Self { chunk: Arc::new(Chunk::with_capacity(documents, capacity)), documents: 0, words: 0 }
    }

    pub(crate) fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// How many documents it has.
    pub(crate) fn len(&self) -> usize {
        self.documents
    }

    /// Appends a document; false if there is no room, or if a clone of this end has appended something else here.
    pub(crate) fn append(&mut self, id: u64, document: &Document) -> bool {
        let terms_end = self.words + document.words().len();
        let end = terms_end + document.tags().len();
        if self.documents == self.chunk.documents.len() || end > self.chunk.words.len() {
            return false;
        }
        // Relaxed: only the claim itself is decided here. Who appends owns the slot and the words behind it, because all who
        // have so many documents have the same words before them.
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
        let prints = document.words().iter().map(|word| term_key(*word) & 0xFF);
        pack(&self.chunk.prints, self.words, prints);
        for (place, word) in (self.words..).zip(document.words()) {
            let (filter, bit) = filter_place(term_key(*word), place / FILTERED);
            let filter = &self.chunk.filters[filter];
            // Nobody else writes. A reader that meets a bit of a document that it doesn't know yet looks for nothing, and that is all.
            filter.store(filter.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
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

/// Which of up to 64 prints are the pattern's: one bit a print, and perhaps one above such a print, so the key itself decides. Without
/// branches, which would mostly be guessed wrong.
fn alike(prints: &[AtomicU64], pattern: u64) -> u64 {
    // Times this, the lowest bit of byte i comes to bit 56 + i.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut all = 0;
    for (number, prints) in prints.iter().enumerate() {
        let differing = prints.load(Ordering::Relaxed) ^ pattern;
        // The high bit of each byte that is 0, and perhaps of one above such a byte.
        let zero = differing.wrapping_sub(LOW) & !differing & HIGH;
        all |= ((zero >> 7).wrapping_mul(GATHER) >> 56) << (number * PRINTS);
    }
    all
}

/// Which word of the filters, and which bit of it, tells of this key in a stretch.
fn filter_place(key: u64, stretch: usize) -> (usize, u64) {
    // Not the bits of the print: what passes the one would pass the other as well.
    let bit = key >> 8 & (FILTER_BITS - 1);
    (stretch * FILTER_WORDS + (bit / 64) as usize, 1 << (bit % 64))
}

/// Writes prints into words, from place `from` on. Nobody else writes, what is before `from` stays as it is, and what is behind it is 0.
fn pack(words: &[AtomicU64], from: usize, prints: impl Iterator<Item = u64>) {
    let (mut at, mut lane) = (from / PRINTS, from % PRINTS);
    let mut bits = 0;
    for print in prints {
        bits |= print << (lane * 8);
        lane += 1;
        if lane == PRINTS {
            // What was there before is of this word's lower places.
            words[at].store(words[at].load(Ordering::Relaxed) | bits, Ordering::Relaxed);
            (at, lane, bits) = (at + 1, 0, 0);
        }
    }
    if bits != 0 {
        words[at].store(words[at].load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    }
}

#[cfg(all(test, steadfast_loom))]
mod model {
    //! A reader that loads a published count finds all of so many documents, whole, while the next is being written.

    use super::*;

    fn document(word: u64) -> Document {
        Document::new([(word, 1), (word + 1, 1)]).with_tags([word])
    }

    #[test]
    fn loom_readers_see_whole_documents_up_to_the_published_count() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
        let outcomes = std::sync::Arc::clone(&seen);
        loom::model(move || {
            let mut open = OpenChunk { chunk: Arc::new(Chunk::with_capacity(2, 6)), documents: 0, words: 0 };
            let chunk = Arc::clone(open.chunk());
            let published = Arc::new(AtomicU64::new(0));
            let reader = {
                let published = Arc::clone(&published);
                loom::thread::spawn(move || {
                    // Acquire: as the load of a value; pairs with the release of its publication.
                    let count = published.load(Ordering::Acquire) as usize;
                    for (at, document) in chunk.documents(count).enumerate() {
                        let word = 10 * (at as u64 + 1);
                        assert_eq!((document.id, document.length), (at as u64 + 1, 2));
                        assert_eq!(
                            document.terms().collect::<Vec<_>>(),
                            [word << 8 | 1, (word + 1) << 8 | 1]
                        );
                        assert_eq!(document.tags().collect::<Vec<_>>(), [word]);
                        let mut found = Vec::new();
                        chunk.find(word + 1, count, |at, times| found.push((at, times)));
                        assert_eq!(found, [(at, 1)]);
                    }
                    count
                })
            };
            for id in 1..=2 {
                assert!(open.append(id, &document(10 * id)));
                published.store(id, Ordering::Release);
            }
            assert!(!open.append(3, &document(30)));
            outcomes.lock().unwrap().insert(reader.join().unwrap());
        });
        assert_eq!(seen.lock().unwrap().len(), 3, "the reader met each count: 0, 1 and 2");
    }

    #[test]
    fn loom_of_two_clones_that_append_one_gets_the_slot() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
        let outcomes = std::sync::Arc::clone(&seen);
        loom::model(move || {
            let chunk = Arc::new(Chunk::with_capacity(2, 6));
            let mut left = OpenChunk { chunk: Arc::clone(&chunk), documents: 0, words: 0 };
            let mut right = left.clone();
            let other = loom::thread::spawn(move || right.append(2, &document(20)));
            let is_left = left.append(1, &document(10));
            let is_right = other.join().unwrap();
            assert!(is_left != is_right);
            let winner = if is_left { 1 } else { 2 };
            let entry = chunk.document(0);
            let terms = [(winner * 10) << 8 | 1, (winner * 10 + 1) << 8 | 1];
            assert_eq!((entry.id, entry.terms().collect::<Vec<_>>()), (winner, terms.to_vec()));
            outcomes.lock().unwrap().insert(winner);
        });
        assert_eq!(seen.lock().unwrap().len(), 2, "each of them won");
    }
}
