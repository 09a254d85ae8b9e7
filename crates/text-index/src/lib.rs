//! A BM25 index in memory: what was inserted is found at once, a snapshot is a clone, scores are exact.
//!
//! Documents are appended to a small tail that every query goes over, and sealed in the background into immutable segments that are
//! merged by size. Scores depend on the live documents alone, to the last bit: not on what is sealed, merged or dead.
//!
//! ```
//! use steadfast_text_index::{Query, TextIndex, document_terms, query_keys};
//!
//! let mut index = TextIndex::default();
//! let text = document_terms("Customers prefer invoices by e-mail").with_tags([7]);
//! let place = index.insert(1, &text);
//! let snapshot = index.clone(); // for readers, on any thread
//! let hits = snapshot.search(&Query::any(&query_keys("invoices")).tags_all(&[7]), 10, None).hits;
//! assert_eq!(hits[0].id, 1);
//!
//! // Now and then, on any thread: seal and merge.
//! while let Some(build) = index.plan() {
//!     index.install(build.run());
//! }
//! assert!(index.remove(place, &text));
//! assert_eq!(index.documents(), 0);
//! assert_eq!(snapshot.documents(), 1);
//! ```
//!
//! # Bounds
//! Ids are any `u64`. A document may have any number of terms, each counted up to 255. A term's key has 56 bits, a tag's 64; keys are hashes, and two things with one key are one
//! thing. A segment has at most 2^20 documents. No input panics, short of running out of memory.
#![forbid(unsafe_code)]
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled core is built"))]

mod document;
mod sync;
mod tail;

#[cfg(not(steadfast_loom))]
mod analyzer;
#[cfg(not(steadfast_loom))]
mod build;
#[cfg(not(steadfast_loom))]
mod dead;
#[cfg(not(steadfast_loom))]
mod index;
#[cfg(not(steadfast_loom))]
mod search;
#[cfg(not(steadfast_loom))]
mod segment;
#[cfg(not(steadfast_loom))]
mod tokens;
#[cfg(not(steadfast_loom))]
mod verify;

/// Runs the example of the crate's README as a test.
#[cfg(all(doctest, not(steadfast_loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use document::{Document, TERM_KEY_BITS};
#[cfg(not(steadfast_loom))]
pub use {
    analyzer::{Analyzer, Language, NoStemming},
    build::{Build, Built},
    index::{Backlog, Place, TextIndex},
    search::{Found, Matched, Mode, Query, Scored},
    tokens::{document_terms, for_each_token, query_keys},
    verify::{Defect, Report},
};
