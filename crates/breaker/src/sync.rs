//! Atomics and locks of the modelled cores: std's, or loom's under `--cfg steadfast_loom`.

#[cfg(not(steadfast_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(steadfast_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

use std::sync::PoisonError;

/// Locks, also after a panic: every critical section here leaves its data whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the processor away where loom needs to be told that another thread must move on.
pub(crate) fn wait_a_moment() {
    #[cfg(not(steadfast_loom))]
    std::hint::spin_loop();
    #[cfg(steadfast_loom)]
    loom::thread::yield_now();
}
