//! The store as its users see it. One binary: each one more would link the whole store again.
//!
//! `cargo test -p steadfast-graph-memory --test it crash::` runs the tests of one module.

mod analyzer;
mod bad_input;
mod behaviour;
mod clock;
mod crash;
mod damage;
mod file_system;
mod golden;
mod kill;
mod metrics;
mod model;
mod overload;
mod search;
mod simulated_disk;
