//! The text index of a tenant: BM25 over the fresh tail.
//!
//! The index is derived: it can be made again from the records, and it never decides the outcome of a command.
//! Sealed segments will stand between the tail and the query; a [`TextIndex`] is then the segments
//! and the tail of one value, as it is now the list of the tail's chunks.

#[cfg(not(steadfast_loom))]
pub(crate) mod bm25;
pub(crate) mod tail;
pub(crate) mod tokens;

#[cfg(not(steadfast_loom))]
pub(crate) use index::{Place, TextIndex};

#[cfg(not(steadfast_loom))]
mod index;
