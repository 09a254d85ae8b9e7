//! A vector index that is a value.
//!
//! New vectors go to a tail that every search scans, so they are found at once. Full tails are sealed into immutable
//! segments by [`Build`]s that run on any thread; large segments carry a graph. A clone is a snapshot, costs a few
//! pointers and shares everything.
//!
//! - An exact search ([`Effort::Exact`], small segments, the tail, [`Options::only`]) gives the answer of a scan of the
//!   originals, proved by error bounds, at the price of a scan of their one-byte codes.
//! - A graph search promises recall, measured on each segment when it is built. Where a graph would cost more than the
//!   scan, as on vectors without structure, the segment is scanned.
//! - Every vector of a graph can be reached from its entry points, by construction; [`VectorIndex::verify`] checks it.
//! - Scores are sums in `f64` of the originals, in a fixed order: the same bits on every machine.

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
pub use error::{Defect, StaleBuild, VectorError};
pub use index::{Effort, Options, Place, VectorIndex};
pub use kernel::instruction_set;
pub use maintain::{Build, Built};
pub use prepared::PreparedVector;
pub use scan::Hit;
pub use verify::Report;

/// Runs the example of the crate's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
