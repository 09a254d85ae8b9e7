//! Atomics, locks and shared ownership of the modelled kernels: std's, or loom's under `--cfg steadfast_loom`.

#[cfg(not(steadfast_loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(steadfast_loom)]
pub(crate) use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
#[cfg(steadfast_loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use std::sync::PoisonError;

/// Locks, also after a panic: no critical section here runs code that isn't its own, and none panics half-way.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for each thread, as they come.
#[cfg(not(steadfast_loom))]
#[inline]
pub(crate) fn thread_number() -> usize {
    use std::cell::Cell;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: Cell<usize> = const { Cell::new(usize::MAX) });
    OWN.with(|own| {
        if own.get() == usize::MAX {
            // Relaxed: only that they differ matters.
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

#[cfg(steadfast_loom)]
pub(crate) fn thread_number() -> usize {
    loom::lazy_static!(static ref NEXT: AtomicUsize = AtomicUsize::new(0););
    loom::thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    OWN.with(|own| *own)
}

/// A cell with loom's interface, which tells when it is accessed.
#[cfg(not(steadfast_loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

/// A cell's value, to be read.
#[cfg(not(steadfast_loom))]
pub(crate) struct ConstPtr<T>(*const T);

/// A cell's value, to be written.
#[cfg(not(steadfast_loom))]
pub(crate) struct MutPtr<T>(*mut T);

#[cfg(not(steadfast_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn get(&self) -> ConstPtr<T> {
        ConstPtr(self.0.get())
    }

    #[inline]
    pub(crate) fn get_mut(&self) -> MutPtr<T> {
        MutPtr(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

#[cfg(not(steadfast_loom))]
impl<T> ConstPtr<T> {
    #[inline]
    pub(crate) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0)
    }
}

#[cfg(not(steadfast_loom))]
impl<T> MutPtr<T> {
    #[inline]
    pub(crate) fn with<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0)
    }
}
