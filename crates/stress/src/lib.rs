//! Stress scenarios with believable numbers.
//!
//! A [`Scenario`] says how a target is loaded, what one operation is, and what must hold afterwards. The engine runs
//! it, measures without flattering, and rules: PASS, FAIL, or INVALID where the machine stood in the way. It knows
//! nothing of the target.
//!
//! ```
//! use std::sync::Mutex;
//! use std::time::Duration;
//! use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally};
//!
//! /// Hands out numbers; each should be handed out once.
//! struct Tickets;
//!
//! impl Scenario for Tickets {
//!     type State = Mutex<Vec<u64>>;
//!
//!     fn name(&self) -> &str {
//!         "tickets"
//!     }
//!     fn description(&self) -> &str {
//!         "500 tickets a second, none twice"
//!     }
//!     fn load(&self) -> Load {
//!         Load::rate(500.0).max_in_flight(16).lasting(Duration::from_millis(200))
//!     }
//!     fn objectives(&self) -> Vec<&str> {
//!         vec!["success >= 100%", "p95 < 10s"]
//!     }
//!     async fn set_up(&self, _: &Context) -> Result<Self::State, Failure> {
//!         Ok(Mutex::default())
//!     }
//!     async fn operation(&self, handed_out: &Self::State, _: Call) -> Result<(), Failure> {
//!         let mut handed_out = handed_out.lock().map_err(|_| Failure::new("poisoned", "a panic"))?;
//!         let ticket = handed_out.len() as u64;
//!         handed_out.push(ticket);
//!         Ok(())
//!     }
//!     async fn check(&self, handed_out: &Self::State, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
//!         let mut tickets = handed_out.lock().map_err(|_| Failure::new("poisoned", "a panic"))?.clone();
//!         tickets.sort_unstable();
//!         tickets.dedup();
//!         checks.exactly("tickets handed out once", tickets.len() as u64, tally.succeeded);
//!         Ok(())
//!     }
//! }
//!
//! // In a test; a binary calls `steadfast_stress::main` with its suites.
//! steadfast_stress::check(Tickets);
//! ```
//!
//! # What makes the numbers believable
//!
//! - In an open loop ([`Load::rate`]) latency counts from the time at which the schedule wanted an operation to start.
//!   A start that was missed is sent late, never skipped. In a closed loop ([`Load::users`]) it is called what it is:
//!   service time.
//! - The report tells how many operations were really issued, and one that is missing is never overlooked.
//! - The generator is calibrated on a target that does nothing, just before, and its lateness under load is recorded
//!   apart from the target's.
//! - An [`Objective`] that can't be evaluated never holds.
//! - The command that repeats a run, with its seed, is the first thing in its report.
//!
//! The rule for verdicts, and how to read the output, is in the repository's `docs/stress.md`.
//!
//! # Inside
//!
//! `run.rs` takes a scenario through its stages. `load/` has the loops, `target.rs` one guarded operation, `record.rs`
//! what is written down of it, and `monitor.rs` the thread that collects that. `objective/` and `verdict.rs` are pure.
//! `session.rs` runs many scenarios, `cli.rs` is around it, `embed.rs` does without either.
//! `trend.rs` tells a leak from noise, `allocations.rs` counts what it is measured in, and `baseline.rs` compares reports.

// With the feature, `allocations/counting.rs` has some.
#![cfg_attr(not(feature = "count-allocations"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod allocations;
mod baseline;
mod calibrate;
mod checks;
mod cli;
mod context;
mod embed;
mod failure;
mod format;
mod interrupt;
mod load;
mod monitor;
mod near;
mod objective;
mod panics;
mod plan;
mod progress;
mod record;
pub mod report;
mod rng;
mod run;
mod sample;
mod scenario;
mod scratch;
mod session;
mod suite;
mod table;
mod target;
mod throttle;
mod trend;
mod undecided;
mod verdict;

/// The README's example is compiled as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use checks::{Checks, Invariant, Value};
pub use cli::main;
pub use context::{Context, Tier};
pub use embed::{Options, check, measure};
pub use failure::Failure;
pub use load::{CappedRate, Load, LoadFigures, Rate, Reduction, Users};
pub use objective::{Objective, ObjectiveError};
pub use rng::Rng;
pub use scenario::{Call, PhaseTally, Scenario, Tally};
pub use suite::Suite;
pub use verdict::Verdict;
