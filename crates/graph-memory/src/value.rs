//! A tenant's state as one immutable value.
//!
//! The committer makes the next value from the last one and publishes it with one swap; a reader
//! loads it once and has a consistent cut of everything for as long as it likes. A clone copies a
//! few pointers: all that is large is shared.

#[cfg(not(steadfast_loom))]
mod radix;
#[cfg(not(steadfast_loom))]
mod slugs;
#[cfg(not(steadfast_loom))]
mod tenant;
#[cfg(not(steadfast_loom))]
mod vectors;

#[cfg(not(steadfast_loom))]
pub(crate) use radix::Radix;
#[cfg(not(steadfast_loom))]
pub(crate) use slugs::{SlugTrie, fold};
#[cfg(not(steadfast_loom))]
pub(crate) use tenant::{Entry, IndexBuild, IndexBuilt, PreparedText, TenantValue, index_document};
#[cfg(not(steadfast_loom))]
pub(crate) use vectors::{NewVector, VectorPreparation, metric_from_number, metric_number, prepare_vector};
