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

use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::text::tokens::DocumentTerms;

/// The most documents of a chunk, and the most terms unless one document alone has more.
const DOCUMENTS_MAX: usize = 1024;
const TERMS_MAX: usize = 16 * 1024;
const DOCUMENTS_MIN: usize = 16;

/// A block of documents, appended in place.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The documents' terms, one document after the other: key in the high 56 bits, count in the low 8.
    terms: Box<[AtomicU64]>,
    documents: Box<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    id: AtomicU64,
    /// Where its terms end; they begin where those of the document before end.
    end: AtomicU32,
    /// How many words it has in all.
    length: AtomicU32,
}

/// A document as a scan sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Which one in its chunk.
    pub(crate) at: usize,
    pub(crate) id: u64,
    pub(crate) length: u32,
    terms: &'a [AtomicU64],
}

impl<'a> Document<'a> {
    /// Its distinct terms in the order of their keys.
    pub(crate) fn terms(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.terms.iter().map(|term| term.load(Ordering::Relaxed))
    }
}

impl Chunk {
    fn with_capacity(documents: usize, terms: usize) -> Self {
        let slot = || Slot { id: AtomicU64::new(0), end: AtomicU32::new(0), length: AtomicU32::new(0) };
        Self {
            terms: (0..terms).map(|_| AtomicU64::new(0)).collect(),
            documents: (0..documents).map(|_| slot()).collect(),
        }
    }

    /// How many documents it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.documents.len()
    }

    /// The first `count` documents; no more than the reader's value tells.
    pub(crate) fn documents(&self, count: usize) -> impl Iterator<Item = Document<'_>> {
        let mut start = 0;
        self.documents[..count].iter().enumerate().map(move |(at, slot)| {
            let end = slot.end.load(Ordering::Relaxed) as usize;
            let terms = &self.terms[start..end];
            start = end;
            let (id, length) = (slot.id.load(Ordering::Relaxed), slot.length.load(Ordering::Relaxed));
            Document { at, id, length, terms }
        })
    }
}

/// The committer's end of a chunk that it appends to.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    chunk: Arc<Chunk>,
    documents: usize,
    terms: usize,
}

impl OpenChunk {
    /// A first chunk, large enough for a document of `terms` distinct terms.
    pub(crate) fn first(terms: usize) -> Self {
        Self::sized(DOCUMENTS_MIN, terms)
    }

    /// The chunk after this one, likewise.
    pub(crate) fn next(&self, terms: usize) -> Self {
        Self::sized((self.chunk.documents.len() * 2).min(DOCUMENTS_MAX), terms)
    }

    fn sized(documents: usize, terms: usize) -> Self {
        let capacity = (documents * 24).min(TERMS_MAX).max(terms);
        Self { chunk: Arc::new(Chunk::with_capacity(documents, capacity)), documents: 0, terms: 0 }
    }

    pub(crate) fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// How many documents it has.
    pub(crate) fn len(&self) -> usize {
        self.documents
    }

    /// Appends a document; false if there is no room.
    pub(crate) fn append(&mut self, id: u64, document: &DocumentTerms) -> bool {
        let end = self.terms + document.terms.len();
        if self.documents == self.chunk.documents.len() || end > self.chunk.terms.len() {
            return false;
        }
        for (to, term) in self.chunk.terms[self.terms..end].iter().zip(&document.terms) {
            to.store(*term, Ordering::Relaxed);
        }
        let slot = &self.chunk.documents[self.documents];
        slot.id.store(id, Ordering::Relaxed);
        slot.end.store(end as u32, Ordering::Relaxed);
        slot.length.store(document.length, Ordering::Relaxed);
        self.documents += 1;
        self.terms = end;
        true
    }
}

#[cfg(all(test, steadfast_loom))]
mod model {
    //! A reader that loads a published count finds all of so many documents, whole, while the next is being written.

    use super::*;

    fn document(word: u64) -> DocumentTerms {
        DocumentTerms { terms: vec![word << 8 | 1, (word + 1) << 8 | 1].into(), length: 2 }
    }

    #[test]
    fn loom_readers_see_whole_documents_up_to_the_published_count() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
        let outcomes = std::sync::Arc::clone(&seen);
        loom::model(move || {
            let mut open = OpenChunk { chunk: Arc::new(Chunk::with_capacity(2, 4)), documents: 0, terms: 0 };
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
}
