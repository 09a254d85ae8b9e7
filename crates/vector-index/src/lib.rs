//! A vector index in memory: the next search finds what was inserted, a clone is a snapshot, exact
//! scans are proved and graphs strand no vector.
//!
//! New vectors go to a tail that every search scans. A full tail is sealed into an immutable
//! segment by a [`Build`], which runs on any thread; large segments have a graph.
//!
//! - An exact search ([`Effort::Exact`], small segments, the tail, [`Options::only`]) returns the
//!   result of a scan of the originals, proved by error bounds, at the cost of a scan of their
//!   one-byte codes.
//! - A search of a graph has a target for its recall, measured on each segment when it is built.
//!   Where a graph would cost more than a scan, as on vectors without structure, the segment is
//!   scanned.
//! - Every vector of a graph can be reached from its entry points, by construction;
//!   [`VectorIndex::verify`] checks that.
//! - Scores are sums in `f64` over the originals, in a fixed order: the same bits on every machine.

mod config;
mod dead;
mod error;
mod graph;
mod index;
mod kernel;
mod maintain;
mod pages;
mod prepared;
mod rows;
mod scan;
mod segment;
mod tail;
mod verify;

pub use config::{Config, DIMENSIONS_MAX, K_MAX, Metric};
pub use error::{Defect, VectorError};
pub use index::{Backlog, Effort, Options, RowId, VectorIndex};
pub use kernel::instruction_set;
pub use maintain::{Build, Built, ForeignBuild};
pub use prepared::PreparedVector;
pub use scan::Hit;
pub use verify::Report;

/// Runs the example of the crate's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
