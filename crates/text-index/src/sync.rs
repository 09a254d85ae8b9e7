//! Atomics and shared ownership of the modelled core: std's, or loom's under `--cfg
//! steadfast_loom`.

#[cfg(not(steadfast_loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering},
};

#[cfg(steadfast_loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering},
};
