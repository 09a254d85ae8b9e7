//! Atomics, locks and shared ownership of the modelled core: std's, or loom's under `--cfg steadfast_loom`.

#[cfg(not(steadfast_loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};

#[cfg(steadfast_loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};

/// Locks, also after a panic elsewhere: what these locks guard is changed by additions that cannot panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Loads a word whose only writer is the calling thread.
#[cfg(not(steadfast_loom))]
#[inline]
pub(crate) fn load_own(word: &AtomicU64) -> u64 {
    // Relaxed: a thread sees its own stores.
    word.load(Ordering::Relaxed)
}

/// The same under loom, which then sees that nobody else writes. An ordinary load would also hide the loads of others from it: of all accesses it compares
/// a store with the last one only, and that would be this one.
#[cfg(steadfast_loom)]
pub(crate) fn load_own(word: &AtomicU64) -> u64 {
    // SAFETY: only this thread writes, and loom fails the model if another one does.
    unsafe { word.unsync_load() }
}
