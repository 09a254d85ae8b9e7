//! A circuit breaker that also keeps the budget, exactly: one permit answers "is the dependency healthy?" and "can we afford the call?".
//!
//! ```
//! use std::sync::Arc;
//! use steadfast_breaker::{
//!     Breaker, Config, Cost, Outcome, Period, Rejected, Request, Scope, Settlement, SystemClock,
//! };
//!
//! let breaker = Breaker::new(Config::default())?;
//! assert_eq!(breaker.call(|| "42".parse::<u32>()), Ok(42)); // health alone
//!
//! let clock = Arc::new(SystemClock::default());
//! let team = Scope::builder("team", clock).limit(Period::Day, 5_000).build()?; // nano-units
//! let scopes = [team];
//! let request = Request { cost: Cost::Nano(4_000), scopes: &scopes, ..Request::default() };
//! let mut permit = breaker.try_acquire(&request)?;
//! permit.dispatched(); // from here on a drop is charged
//! let refused = breaker.try_acquire(&request).unwrap_err(); // 4000 are held
//! assert!(matches!(refused, Rejected::Budget { available_nano: 1_000, .. }));
//! permit.settle(Outcome::Success, Settlement::Exact(3_000));
//! assert_eq!(scopes[0].standing(0).unwrap().free_nano(), 2_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here waits, sleeps or needs a runtime; clocks are injected. A call by closure through a closed breaker takes no lock, reads no clock and allocates nothing.
//!
//! # Bounds
//! Limits and costs are at most [`ledger::NANO_MAX`] nano-units, a call is held in at most [`TICKETS_MAX`] limits. Waits are from a millisecond to a
//! year. What else is assumed stands in `docs/breaker.md` of the repository.
//!
//! # Features
//! `tower`: `BreakerLayer`, a layer for tower's services. `metrics`: `BreakerMetrics`, the statistics in a registry of `steadfast-metrics`.
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "without it the closed path passes its values through memory, which doubles its time"
)]
#![cfg_attr(steadfast_loom, allow(dead_code, unused_imports, reason = "only the modelled cores are built"))]

mod account;
mod leases;
pub mod ledger;
mod machine;
mod outcomes;
mod period;
mod sync;
mod word;

#[cfg(not(steadfast_loom))]
mod breaker;
#[cfg(not(steadfast_loom))]
mod clock;
#[cfg(not(steadfast_loom))]
mod config;
#[cfg(not(steadfast_loom))]
mod estimator;
#[cfg(not(steadfast_loom))]
mod events;
#[cfg(all(feature = "metrics", not(steadfast_loom)))]
mod metrics;
#[cfg(not(steadfast_loom))]
mod permit;
#[cfg(not(steadfast_loom))]
mod registry;
#[cfg(not(steadfast_loom))]
mod request;
#[cfg(not(steadfast_loom))]
mod rules;
#[cfg(not(steadfast_loom))]
mod scope;
#[cfg(not(steadfast_loom))]
mod seats;
#[cfg(not(steadfast_loom))]
mod stats;
#[cfg(not(steadfast_loom))]
mod tickets;
#[cfg(all(feature = "tower", not(steadfast_loom)))]
mod tower;

/// Runs the examples of the crate's README as tests.
#[cfg(all(doctest, not(steadfast_loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use machine::Cause;
#[cfg(all(feature = "metrics", not(steadfast_loom)))]
pub use metrics::BreakerMetrics;
pub use period::Period;
#[cfg(all(feature = "tower", not(steadfast_loom)))]
pub use tower::{BreakerLayer, BreakerService, Judge, JudgeBy};
pub use word::State;
#[cfg(not(steadfast_loom))]
pub use {
    breaker::{Breaker, BreakerBuilder, WindowCounts},
    clock::{CachedClock, Clock, ManualClock, SystemClock},
    config::{Config, InvalidConfig, Window},
    estimator::{Estimate, Estimator, Price, Source},
    events::{Event, EventKind, Level, Listener},
    ledger::Settlement,
    permit::{Charged, Ended, Outcome, Permit, Receipt, StillRunning},
    registry::Registry,
    request::{CallError, Class, Cost, Rejected, Request},
    rules::{RULES_MAX, Rule},
    scope::{LIMITS_MAX, Ledger, LedgerError, OnUnknown, Scope, ScopeBuilder},
    stats::{End, Stats},
    tickets::TICKETS_MAX,
};
