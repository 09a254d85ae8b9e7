//! A durable, multi-tenant memory for AI agents, embedded: many writers, one memory, no lost write.
//!
//! **Acknowledged means durable, visible and exact.** When a change answers `Ok` it is on disk
//! (`fdatasync`), the next search finds it, and it took effect once, at its place in one order of
//! all changes.
//!
//! ```
//! use steadfast_graph_memory::{Allocate, Config, GraphMemory, Memory, Search};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let dir = tempfile::tempdir()?;
//! let memory = GraphMemory::open(dir.path(), Config::default()).await?;
//! let acme = memory.tenant("acme")?;
//! let answer = acme.allocate(Allocate::new("Customers prefer invoices by e-mail").kind("preference")).await?;
//! let hits = acme.search(Search::new("invoices")).await?.hits;
//! assert_eq!(hits[0].record.id, answer.id);
//! memory.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! How it works is told in `docs/architecture.md`, what is on disk in `docs/log-format.md`.
#![deny(unsafe_code)]
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled cores are built"))]

mod handoff;
mod sync;
mod value;

#[cfg(not(steadfast_loom))]
mod apply;
#[cfg(not(steadfast_loom))]
mod command;
#[cfg(not(steadfast_loom))]
mod committer;
#[cfg(not(steadfast_loom))]
mod config;
#[cfg(not(steadfast_loom))]
mod embed;
#[cfg(not(steadfast_loom))]
mod error;
#[cfg(not(steadfast_loom))]
mod filter;
#[cfg(not(steadfast_loom))]
pub mod fs;
#[cfg(not(steadfast_loom))]
mod fusion;
#[cfg(not(steadfast_loom))]
mod graph_memory;
#[cfg(not(steadfast_loom))]
mod indexing;
#[cfg(not(steadfast_loom))]
mod log;
#[cfg(not(steadfast_loom))]
mod priority;
#[cfg(not(steadfast_loom))]
mod published;
#[cfg(not(steadfast_loom))]
mod refusal;
#[cfg(not(steadfast_loom))]
mod requests;
#[cfg(not(steadfast_loom))]
mod search;
#[cfg(not(steadfast_loom))]
mod stats;
#[cfg(not(steadfast_loom))]
mod store;
#[cfg(not(steadfast_loom))]
mod telemetry;
#[cfg(not(steadfast_loom))]
mod tenant;
#[cfg(not(steadfast_loom))]
mod validate;
#[cfg(not(steadfast_loom))]
mod verified;
#[cfg(not(steadfast_loom))]
mod waiting;

#[cfg(not(steadfast_loom))]
pub use {
    config::{Clock, Config, LogConfig, Progress, SystemClock},
    embed::{Embedder, Lexical},
    error::OpenError,
    graph_memory::GraphMemory,
    log::{Recovery, TornWrite},
    stats::{CommitTime, StoreStats},
    tenant::{Tenant, View},
    verified::{Defect, Verified},
};

/// What [`GraphMemory::metrics`] is made of.
#[cfg(not(steadfast_loom))]
pub use steadfast_metrics as metrics;
#[cfg(not(steadfast_loom))]
pub use steadfast_text_index::{Analyzer, Language, NoStemming};
#[cfg(not(steadfast_loom))]
pub use steadfast_vector_index::Metric;

pub use steadfast_memory_api::*;

/// Runs the example of the crate's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
