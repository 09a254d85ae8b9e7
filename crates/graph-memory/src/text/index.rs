//! The documents of one value: the tail's chunks, and which of their documents are dead.

use std::sync::Arc;

use crate::text::tail::{Chunk, Document, OpenChunk};
use crate::text::tokens::DocumentTerms;
use crate::value::Radix;

/// Where a document stands, so that it can be marked dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: u32,
    at: u32,
}

/// The text index as one value has it. A clone shares all chunks.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextIndex {
    /// All but the last are full.
    chunks: Radix<View>,
    /// The last chunk again, with how far it is filled.
    open: Option<OpenChunk>,
    documents: u64,
    words: u64,
}

#[derive(Clone, Debug)]
struct View {
    chunk: Arc<Chunk>,
    /// Documents it has; of the last chunk `TextIndex::open` knows.
    documents: u32,
    /// One bit a document, 1 for dead; none for a chunk without dead documents.
    dead: Option<Arc<[u64]>>,
}

impl View {
    fn is_dead(&self, at: usize) -> bool {
        self.dead.as_ref().is_some_and(|dead| dead[at / 64] >> (at % 64) & 1 == 1)
    }
}

impl TextIndex {
    /// Live documents.
    pub(crate) fn documents(&self) -> u64 {
        self.documents
    }

    /// Words of all live documents.
    pub(crate) fn words(&self) -> u64 {
        self.words
    }

    /// Appends a document.
    pub(crate) fn insert(&mut self, id: u64, document: &DocumentTerms) -> Place {
        self.documents += 1;
        self.words += u64::from(document.length);
        if !self.open.as_mut().is_some_and(|open| open.append(id, document)) {
            let mut next = match &self.open {
                Some(full) => {
                    let last = self.chunks.len() - 1;
                    let view = self.chunks.get(last).expect("an open chunk is in the list").clone();
                    self.chunks.replace(last, View { documents: full.len() as u32, ..view });
                    full.next(document.terms.len())
                }
                None => OpenChunk::first(document.terms.len()),
            };
            assert!(next.append(id, document), "a new chunk is made large enough");
            self.chunks.push(View { chunk: Arc::clone(next.chunk()), documents: 0, dead: None });
            self.open = Some(next);
        }
        let open = self.open.as_ref().expect("a document was just appended to it");
        Place { chunk: self.chunks.len() as u32 - 1, at: open.len() as u32 - 1 }
    }

    /// Marks a live document dead; `length` is how many words it has.
    pub(crate) fn remove(&mut self, place: Place, length: u32) {
        self.documents -= 1;
        self.words -= u64::from(length);
        let (chunk, at) = (place.chunk as usize, place.at as usize);
        let view = self.chunks.get(chunk).expect("a place tells a chunk that is there");
        let mut dead = match &view.dead {
            Some(dead) => dead.to_vec(),
            None => vec![0; view.chunk.capacity().div_ceil(64)],
        };
        debug_assert!(dead[at / 64] >> (at % 64) & 1 == 0, "a document dies once");
        dead[at / 64] |= 1 << (at % 64);
        let view = View { dead: Some(dead.into()), ..view.clone() };
        self.chunks.replace(chunk, view);
    }

    /// All live documents, in the order they were written.
    pub(crate) fn live(&self) -> impl Iterator<Item = Document<'_>> {
        let last = self.chunks.len().wrapping_sub(1);
        let open = self.open.as_ref().map_or(0, OpenChunk::len);
        self.chunks.iter().enumerate().flat_map(move |(number, view)| {
            let documents = if number == last { open } else { view.documents as usize };
            view.chunk.documents(documents).filter(|document| !view.is_dead(document.at))
        })
    }
}
