//! A connection pool that is fair, safe to cancel, and accountable.
//!
//! [`Pool`] is for resources that one has at a time, [`KeyedPool`] for connections that many share, one an address. Each is a shell for tokio around a kernel that knows no runtime: one lock, under
//! which nothing runs but the kernel's own code. Dropping a guard needs no runtime.
//!
//! ```
//! use steadfast_pool::{Pool, Tcp};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?.to_string();
//! let pool = Pool::builder(Tcp::new(address)).max(20).build()?;
//! let stream = pool.get().await?; // given back when it is dropped
//! assert_eq!(pool.status().in_use, 1);
//! # drop(stream);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Bounds
//! At most [`MAX_LIMIT`] resources a pool. Times are known to a millisecond, idle times and ages of what is given back to a tenth of a second. Timers and dials run in the runtime of whoever first needs
//! them, and move on when it ends. Of a runtime that is neither ended nor driven, the timers are replaced, a second after they should have done something, by the next request that reads the clock, and what a keyed pool dials there by the next one for that address; the
//! dials of a [`Pool`] aren't: drive the runtimes that you ask from.
//!
//! # Features
//! `metrics`: `PoolFamilies`, the statistics of pools in a registry of `steadfast-metrics`.
#![deny(unsafe_code)]
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled kernels are built"))]

mod keyed;
mod slots;
mod sync;

#[cfg(not(steadfast_loom))]
mod budget;
#[cfg(not(steadfast_loom))]
mod config;
#[cfg(not(steadfast_loom))]
mod error;
#[cfg(not(steadfast_loom))]
mod guard;
#[cfg(not(steadfast_loom))]
mod manager;
#[cfg(all(feature = "metrics", not(steadfast_loom)))]
mod metrics;
#[cfg(not(steadfast_loom))]
mod pool;
#[cfg(not(steadfast_loom))]
mod shared;
#[cfg(not(steadfast_loom))]
mod status;
#[cfg(not(steadfast_loom))]
mod tcp;

/// Runs the examples of the crate's README as tests.
#[cfg(all(doctest, not(steadfast_loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(steadfast_loom))]
pub use {
    budget::DialBudget,
    config::{Builder, MAX_LIMIT},
    error::{Autopsy, DialError, GetError, InvalidConfig, Stage},
    guard::Pooled,
    keyed::{
        AddressState, AddressStatus, Connector, DrainReport, Handle, KeyedAutopsy, KeyedBuilder, KeyedError,
        KeyedPool, KeyedStage, KeyedStatus, Removal,
    },
    manager::Manager,
    pool::Pool,
    status::{CloseReport, Holder, Idle, Retained, Status},
    tcp::Tcp,
};
#[cfg(all(feature = "metrics", not(steadfast_loom)))]
pub use {
    keyed::KeyedMetrics,
    metrics::{PoolFamilies, PoolMetrics},
};
