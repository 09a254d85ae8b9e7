//! Boxes that are made when they are first needed and never replaced: how shards grow without moving what others read.
//!
//! States: empty, then made, for as long as its owner lives. Making is a compare-and-swap, so two threads that make at once agree on
//! one box and the other is dropped; shards have one writer, so there it never fails. Words ([`LazyCells`]) only ever have one, so a store does.

use std::marker::PhantomData;
use std::ptr;

#[cfg(not(steadfast_loom))]
use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, AtomicU64, Ordering};

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

/// As many words as fill a padded line, so that no two threads write to the same one. Without
/// padding in models, whose words are larger.
#[cfg(not(steadfast_loom))]
type Line = CachePadded<[AtomicU64; LINE_WORDS]>;
#[cfg(not(steadfast_loom))]
const LINE_WORDS: usize = size_of::<CachePadded<u64>>() / size_of::<u64>();
#[cfg(steadfast_loom)]
type Line = [AtomicU64; LINE_WORDS];
#[cfg(steadfast_loom)]
const LINE_WORDS: usize = 1;

/// Words that are made when they are first needed, at 0. How many there are, and from which of them on they are counted (their **origin**), is for its owner to know: so the address is all that is loaded.
pub(crate) struct LazyCells {
    /// The address of the origin.
    origin: AtomicPtr<AtomicU64>,
    owns: PhantomData<Box<[Line]>>,
}

impl LazyCells {
    pub(crate) fn empty() -> Self {
        Self { origin: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    pub(crate) fn is_made(&self) -> bool {
        // Relaxed: nothing behind the pointer is looked at.
        !self.origin.load(Ordering::Relaxed).is_null()
    }

    /// The word that is so far from the origin, if words were made.
    ///
    /// # Safety
    /// There is such a word if there are any.
    #[inline]
    pub(crate) unsafe fn cell(&self, at: isize) -> Option<&AtomicU64> {
        // Acquire: pairs with the release in `make`.
        let origin = self.origin.load(Ordering::Acquire);
        // SAFETY: the caller's promise; what was made is freed only by `free`, which has no other borrower.
        (!origin.is_null()).then(|| unsafe { &*origin.offset(at) })
    }

    /// All words, if they were made.
    ///
    /// # Safety
    /// If they were made, then with the same numbers.
    pub(crate) unsafe fn get(&self, count: usize, origin: usize) -> Option<&[AtomicU64]> {
        // Acquire: pairs with the release in `make`.
        let found = self.origin.load(Ordering::Acquire);
        // SAFETY: the caller's promise; otherwise as in `cell`.
        (!found.is_null()).then(|| unsafe { std::slice::from_raw_parts(found.sub(origin), count) })
    }

    /// Makes `count` words, unless they are made; only one thread may at a time. The `origin`th of them is the origin, and there is such a word.
    #[cold]
    #[inline(never)]
    pub(crate) fn make(&self, count: usize, origin: usize) {
        debug_assert!(origin < count);
        if self.is_made() {
            return;
        }
        let line = |_| Line::from(std::array::from_fn(|_| AtomicU64::new(0)));
        let lines: Box<[Line]> = (0..count.div_ceil(LINE_WORDS)).map(line).collect();
        // Lines have no gaps between their words, nor between each other.
        const { assert!(size_of::<Line>() == LINE_WORDS * size_of::<AtomicU64>()) };
        let first = Box::into_raw(lines).cast::<AtomicU64>();
        // SAFETY: `origin` is less than there are words.
        let origin = unsafe { first.add(origin) };
        // Release: publishes the words.
        self.origin.store(origin, Ordering::Release);
    }

    /// Frees the words, if they were made.
    ///
    /// # Safety
    /// If they were made, then with the same numbers.
    #[allow(clippy::cast_ptr_alignment, reason = "the first word is where a line begins")]
    pub(crate) unsafe fn free(&mut self, count: usize, origin: usize) {
        // Relaxed: as in `Lazy::drop`.
        let found = self.origin.load(Ordering::Relaxed);
        self.origin.store(ptr::null_mut(), Ordering::Relaxed);
        if !found.is_null() {
            // SAFETY: the caller's promise: this is what `into_raw` in `make` returned.
            drop(unsafe {
                let first = found.sub(origin).cast::<Line>();
                Box::from_raw(ptr::slice_from_raw_parts_mut(first, count.div_ceil(LINE_WORDS)))
            });
        }
    }

    /// Bytes on the heap of so many words.
    pub(crate) fn memory_bytes(count: usize) -> usize {
        count.div_ceil(LINE_WORDS) * size_of::<Line>()
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

    #[test]
    fn words_are_made_once_on_lines_of_their_own_and_counted_from_their_origin() {
        let mut cells = LazyCells::empty();
        // SAFETY: made with these numbers, or not at all.
        assert!(!cells.is_made() && unsafe { cells.cell(-3).is_none() && cells.get(20, 3).is_none() });
        for _ in 0..2 {
            cells.make(20, 3);
            // SAFETY: word 0 of 20.
            let first = unsafe { cells.cell(-3) }.unwrap();
            first.store(first.load(Ordering::Relaxed) + 7, Ordering::Relaxed);
            assert!(std::ptr::from_ref(first).addr().is_multiple_of(align_of::<CachePadded<u64>>()));
        }
        // SAFETY: word 19 of 20.
        unsafe { cells.cell(16) }.unwrap().store(9, Ordering::Relaxed);
        // SAFETY: made with these numbers.
        let all: Vec<u64> =
            unsafe { cells.get(20, 3) }.unwrap().iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        assert_eq!((all.len(), all[0], all[19], all.iter().sum::<u64>()), (20, 14, 9, 23));
        assert_eq!(LazyCells::memory_bytes(20), 160_usize.next_multiple_of(size_of::<Line>()));
        // SAFETY: made with these numbers.
        unsafe { cells.free(20, 3) };
        assert!(!cells.is_made());
    }
}
