//! A box that is made when it is first needed and never replaced: how shards grow without moving what others read.
//!
//! States: empty, then made, for as long as its owner lives. Making is a compare-and-swap, so two threads that make at once agree on
//! one box and the other is dropped; shards have one writer, so there it never fails.

use std::marker::PhantomData;
use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// Nothing, or a `T` on the heap.
pub(crate) struct Lazy<T> {
    made: AtomicPtr<T>,
    // It owns a `T`; what may be sent and shared follows from that.
    owns: PhantomData<Box<T>>,
}

impl<T: Send + Sync> Lazy<T> {
    pub(crate) fn empty() -> Self {
        Self { made: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// What was made, if anything was.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the release in `make`, so that what the box held when it was made is seen.
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: null, or from `Box::into_raw` in `make`, and freed only by `drop`, which has no other borrower.
        unsafe { made.as_ref() }
    }

    /// What was made, or what `make` makes now.
    #[inline]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(made) => made,
            None => self.make(make),
        }
    }

    #[cold]
    #[inline(never)]
    fn make(&self, make: impl FnOnce() -> T) -> &T {
        let new = Box::into_raw(Box::new(make()));
        // Release: publishes the box's content to `get`; acquire on failure: takes over the winner's.
        match self.made.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: from `Box::into_raw` above, and now owned by `self`.
            Ok(_) => unsafe { &*new },
            Err(winner) => {
                // SAFETY: nobody else has seen `new`.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, or the exchange had not failed; as in `get`.
                unsafe { &*winner }
            }
        }
    }
}

impl<T> Drop for Lazy<T> {
    fn drop(&mut self) {
        // Relaxed: whoever drops has exclusive access, and came by it through a lock or an `Arc`, which ordered all that went before.
        let made = self.made.load(Ordering::Relaxed);
        if !made.is_null() {
            // SAFETY: from `Box::into_raw` in `make`; `self` is the only owner and is going away.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_dropped_with_its_owner() {
        let value = std::sync::Arc::new(7);
        let lazy = Lazy::empty();
        assert!(lazy.get().is_none());
        for _ in 0..3 {
            assert_eq!(**lazy.get_or_make(|| std::sync::Arc::clone(&value)), 7);
        }
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        drop(lazy);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
