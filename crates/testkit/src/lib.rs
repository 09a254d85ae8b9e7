//! What the tests of several crates share. A development dependency only, and unpublished.
//!
//! | module | provides |
//! |---|---|
//! | [`rng`] | [`TestRng`]: seeded random numbers, the same on every machine |
//! | [`clock`] | [`ManualClock`]: a clock that moves only when a test moves it |
//! | [`tier`] | [`full`], [`skipped_unless_full`], [`cases`]: what runs by default, and what only with `STEADFAST_FULL=1` |
//! | [`allocations`] | [`CountingAllocator`](allocations::CountingAllocator): counts a thread's allocations and bytes |
//! | [`tools`] | [`tool`]: an outside program that a test drives, such as a browser |
//! | `models` | under `--cfg steadfast_loom`: bounded model checking, and proof that each outcome was seen |
#![deny(unsafe_code)]

pub mod allocations;
pub mod clock;
#[cfg(steadfast_loom)]
pub mod models;
pub mod rng;
pub mod tier;
pub mod tools;

pub use clock::ManualClock;
pub use rng::TestRng;
pub use tier::{cases, full, skipped_unless_full};
pub use tools::tool;
