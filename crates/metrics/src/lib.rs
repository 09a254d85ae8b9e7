//! Counters, gauges and latency histograms: recording is wait-free, and no snapshot contradicts itself.
//!
//! Each thread records into memory of its own, with plain loads and stores; a snapshot adds up what all threads recorded. Nothing is ever reset: what came in between is
//! [`Snapshot::delta`]. What follows from something else is derived and not counted again: a count from buckets, a total from successes and failures.
//!
//! ```
//! use std::time::Duration;
//! use steadfast_metrics::{Description, Registry, TextFormat};
//!
//! let registry = Registry::new();
//! let requests = registry.counter(Description::new("requests", "Requests answered"))?;
//! let latency = registry.histogram(Description::new("latency", "Time to answer"))?;
//! let active = registry.gauge(Description::new("active", "Requests in flight"))?;
//! {
//!     let _active = active.enter(); // until the end of the block
//!     let _timer = latency.start(); // records how long the block took
//!     requests.increment();
//! }
//! let snapshot = registry.snapshot();
//! assert_eq!(snapshot.counter("requests_total", &[]), Some(1));
//! assert_eq!(snapshot.histogram("latency_seconds", &[]).unwrap().count(), 1);
//! assert_eq!(snapshot.gauge("active", &[]), Some(0));
//! println!("{}", snapshot.render(TextFormat::OpenMetrics));
//! # Ok::<(), steadfast_metrics::MetricsError>(())
//! ```
//!
//! # Bounds
//! A registry holds 32 768 counters (a gauge is two) and 4096 histograms. Recording can't fail: counts wrap around at 2^64, values out of a
//! histogram's range are clamped and counted as clamped, and what a family has no room for goes to its series `other`. Don't record from a signal handler: a thread's record isn't meant to be interrupted by
//! another one of the same thread.
//!
//! # Features
//! `serde`: snapshots can be stored and sent. `facade`: a recorder for the `metrics` facade. `interval-log`: HDR interval logs.
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled core is built"))]

mod error;
mod lazy;
mod shape;
mod shard;
mod shards;
mod sync;
mod tally;

#[cfg(not(steadfast_loom))]
mod clock;
#[cfg(not(steadfast_loom))]
mod counter;
#[cfg(all(feature = "facade", not(steadfast_loom)))]
mod facade;
#[cfg(not(steadfast_loom))]
mod gauge;
#[cfg(not(steadfast_loom))]
mod histogram;
#[cfg(all(feature = "interval-log", not(steadfast_loom)))]
mod interval_log;
#[cfg(not(steadfast_loom))]
mod load;
#[cfg(not(steadfast_loom))]
mod local;
#[cfg(not(steadfast_loom))]
mod registry;
#[cfg(not(steadfast_loom))]
mod snapshot;
#[cfg(not(steadfast_loom))]
mod text;

/// Runs the example of the crate's README as a test.
#[cfg(all(doctest, not(steadfast_loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use error::MetricsError;
#[cfg(all(feature = "facade", not(steadfast_loom)))]
pub use facade::FacadeRecorder;
#[cfg(all(feature = "interval-log", not(steadfast_loom)))]
pub use interval_log::{IntervalLog, IntervalLogError};
pub use shape::Shape;
#[cfg(not(steadfast_loom))]
pub use {
    clock::{Clock, ManualClock, SystemClock},
    counter::Counter,
    gauge::{Gauge, InFlight, RealGauge},
    histogram::{Histogram, Timer},
    load::{LoadMetrics, LoadSummary, Request},
    registry::{Description, Family, Memory, Metric, Registry, Unit},
    snapshot::{FamilySnapshot, HistogramSnapshot, Kind, Quantile, Series, Snapshot, Value},
    text::TextFormat,
};
