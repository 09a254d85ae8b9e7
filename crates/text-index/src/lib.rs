//! A BM25 index in memory: the next search finds what was inserted, a clone is a snapshot, scores
//! are exact.
//!
//! Documents are appended to a small tail that every search scans. In the background they are
//! sealed into immutable segments, which are merged by size. Scores depend on the live documents
//! only, to the last bit: not on what is sealed, merged or removed.
//!
//! ```
//! use steadfast_text_index::{Query, TextIndex, document_terms, query_keys};
//!
//! let mut index = TextIndex::default();
//! let text = document_terms("Customers prefer invoices by e-mail").with_tags([7]);
//! let row = index.insert(1, &text);
//! let snapshot = index.clone(); // for readers, on any thread
//! let hits = snapshot.search(&Query::any(&query_keys("invoices")).tags_all(&[7]), 10, None).hits;
//! assert_eq!(hits[0].id, 1);
//!
//! // Now and then: seal and merge. `run` may be called on any thread.
//! while let Some(build) = index.plan() {
//!     index.install(build.run())?;
//! }
//! assert!(index.remove(row, &text));
//! assert!(index.is_empty());
//! assert_eq!(snapshot.len(), 1);
//! # Ok::<(), steadfast_text_index::ForeignBuild>(())
//! ```
//!
//! # Limits
//! Ids are any `u64`. A document may have any number of terms, each counted up to 255. The key of a
//! term has 56 bits, that of a tag 64. Keys are hashes: the index can't tell apart two terms with
//! the same key. A segment has at most 2^20 documents. No input panics, except by exhausting
//! memory.
#![forbid(unsafe_code)]
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled core is built"))]

mod document;
mod sync;
mod tail;

#[cfg(not(steadfast_loom))]
mod analyzer;
#[cfg(not(steadfast_loom))]
mod dead;
#[cfg(not(steadfast_loom))]
mod index;
#[cfg(not(steadfast_loom))]
mod maintain;
#[cfg(not(steadfast_loom))]
mod search;
#[cfg(not(steadfast_loom))]
mod segment;
#[cfg(not(steadfast_loom))]
mod tokens;
#[cfg(not(steadfast_loom))]
mod verify;

/// The README, whose example runs as a test.
#[cfg(all(doctest, not(steadfast_loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use document::{Document, TERM_KEY_BITS};
#[cfg(not(steadfast_loom))]
pub use {
    analyzer::{Analyzer, Language, NoStemming},
    index::{Backlog, RowId, TextIndex},
    maintain::{Build, Built, ForeignBuild},
    search::{Found, Matched, Mode, Query, Scored},
    tokens::{document_terms, for_each_token, query_keys},
    verify::{Defect, Report},
};
