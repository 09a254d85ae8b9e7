//! What a caller gets back.

use std::sync::Arc;

use crate::{Attributes, Content, Id, Seq, Version};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// A new memory.
    Created,
    /// The slug named this memory already; it was left as it was.
    Existing,
    /// A new version of the memory.
    Updated,
    /// The memory is gone.
    Deleted,
}

/// The answer to a change: it is on disk, and every later read sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The memory.
    pub id: Id,
    /// Its version after the change (of a deletion: the last one that it had).
    pub version: Version,
    /// What was done.
    pub outcome: Outcome,
    /// Where in the log it was done. A request that is sent again gets the answer of the first time,
    /// with that time's sequence number.
    pub seq: Seq,
}

/// A memory as it was at one version.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Its id in its tenant.
    pub id: Id,
    /// Its version.
    pub version: Version,
    /// When it was created, in Unix milliseconds of the log's clock, which never goes back.
    pub created_ms: u64,
    /// When this version was written, by the same clock.
    pub updated_ms: u64,
    /// Where in the log this version was written.
    pub seq: Seq,
    /// What it says.
    pub content: Content,
}

impl Record {
    /// What is remembered.
    pub fn text(&self) -> &str {
        self.content.text()
    }

    /// What sort of memory it is; may be empty.
    pub fn kind(&self) -> &str {
        self.content.kind()
    }

    /// The slug as it was written.
    pub fn slug(&self) -> Option<&str> {
        self.content.slug()
    }

    /// Small named facts, copied out; [`Content::attribute`] reads one of them in place.
    pub fn attributes(&self) -> Attributes {
        self.content.attributes()
    }

    /// From 0 to 1.
    pub fn importance(&self) -> f32 {
        self.content.importance()
    }

    /// Where it lies in a space of meanings, copied out; empty if it has no vector.
    pub fn vector(&self) -> Vec<f32> {
        self.content.vector()
    }
}

/// One memory that a search found.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// The memory as it was in the state that was searched.
    pub record: Arc<Record>,
    /// Higher is better. Of a search by words, the BM25 score; by a vector, the similarity; by both, the fused score.
    pub score: f32,
    /// Where the score comes from.
    pub why: Why,
}

/// Why a memory is a hit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Why {
    /// Its place among those found by words; none if it wasn't.
    pub text: Option<PartScore>,
    /// Its place among those found by vector; none if it wasn't.
    pub vector: Option<PartScore>,
    /// Which of the query's words it holds, as the text index writes them (lower case, compounds and their parts), in the query's
    /// order; only the query's first 64 are told.
    pub terms: Vec<Arc<str>>,
}

/// A hit's place in one of the lists that a search is made of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PartScore {
    /// From 1, the best. Counted after the filter.
    pub rank: u32,
    /// What it was ranked by: the BM25 score or the similarity.
    pub score: f32,
}

/// How many memories match a search.
///
/// By words, those that hold as many of them as they must. By vector, those that have one. By both, those that match by either, leaving
/// out the part whose weight is 0. The filter applies to all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matched {
    /// So many.
    Exactly(usize),
    /// So many were met, and others were passed over, since they couldn't be among the best.
    AtLeast(usize),
}

impl Matched {
    /// The number, if it is exact.
    pub const fn exactly(self) -> Option<usize> {
        match self {
            Self::Exactly(count) => Some(count),
            Self::AtLeast(_) => None,
        }
    }

    /// A number that is not above the exact one.
    pub const fn at_least(self) -> usize {
        let (Self::Exactly(count) | Self::AtLeast(count)) = self;
        count
    }
}

/// What a search found, best first, ties by id (similarities are compared before they are rounded to what is shown).
#[derive(Clone, PartialEq, Debug)]
pub struct Hits {
    /// At most `k` of them.
    pub hits: Vec<Hit>,
    /// How many memories match, those past `k` among them: exactly if the search asked for it ([`Search::counted`](crate::Search::counted)) or
    /// if it met them all anyway.
    pub matched: Matched,
    /// The last change that the search saw; it saw all up to it and none after.
    pub seq: Seq,
}

/// A tenant in numbers, all from one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TenantStats {
    /// Memories that are there.
    pub memories: u64,
    /// Memories created since the tenant began, those deleted since among them.
    pub created: u64,
    /// Slugs in use.
    pub slugs: u64,
    /// Words over all texts, as the text index counts them.
    pub words: u64,
    /// Memories that have a vector.
    pub vectors: u64,
    /// The last command for this tenant, carried out or refused.
    pub seq: Seq,
}

impl TenantStats {
    /// Figures as a store counted them.
    pub fn new(memories: u64, created: u64, slugs: u64, words: u64, seq: Seq) -> Self {
        Self { memories, created, slugs, words, vectors: 0, seq }
    }
}
