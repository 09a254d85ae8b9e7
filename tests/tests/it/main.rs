//! The scenarios on stores and breakers with a planted fault: each must fail, and name what is
//! wrong.
//!
//! These tests run beside each other, so none of them is about time. What needs the process for
//! itself is in `../alone`; the scenarios as they are run in `cargo xtask stress`.

#[path = "../fixture/mod.rs"]
mod fixture;

mod breaker;
mod catalogue;
mod corpus;
mod documents;
mod index;
mod memory;
