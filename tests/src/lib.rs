//! Steadfast's own stress suites: the scenarios, what they are put on, and the text that fills the stores.
//!
//! A scenario is written against [`Memory`](steadfast_memory_api::Memory) and gets its store from a
//! [`Backend`](backend::Backend), so it runs unchanged on anything that keeps the contract, also on a store with a planted
//! fault: that is how the tests show that it can fail.
#![forbid(unsafe_code)]

mod at_once;
pub mod backend;
pub mod breaker;
pub mod corpus;
pub mod documents;
mod filled;
pub mod index;
pub mod memory;
mod process;

use steadfast_stress::Suite;

/// All suites, on the embedded store.
pub fn suites() -> Vec<Suite> {
    vec![memory::suite(), index::suite(), breaker::suite(), documents::suite()]
}

/// Compiles the example of the project's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
