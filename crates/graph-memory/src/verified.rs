//! What a check of a tenant's indexes tells.

use std::fmt;

/// What [`View::verify`](crate::View::verify) went over and found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Memories, each of them found in the text index.
    pub memories: u64,
    /// Sealed segments of the text index.
    pub text_segments: usize,
    /// Memories that have a vector, each of them found in the vector index and reachable in its
    /// graph, if it has one.
    pub vectors: u64,
    /// Sealed segments of the vector index.
    pub vector_segments: usize,
    /// How many of those have a graph.
    pub vector_graphs: usize,
}

/// Something in an index that contradicts something else: a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    pub(crate) index: &'static str,
    pub(crate) detail: String,
}

impl Defect {
    pub(crate) fn in_index(index: &'static str, detail: &impl fmt::Display) -> Self {
        Self { index, detail: detail.to_string() }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} index: {}", self.index, self.detail)
    }
}

impl std::error::Error for Defect {}
