//! The counting allocator. The only unsafe code of this crate: each function hands its arguments, unchanged, to the
//! allocator inside, and counts.
//!
//! An allocator may not allocate, block or panic, and is called while threads start and end. So there are no
//! thread-locals, whose first use or whose destructors could do any of that: a thread's counter is chosen by the
//! address of its stack. Two threads that meet at one counter are slower, never wrong.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// More than the processors of most machines, in 8 KiB.
const STRIPES: usize = 64;

/// The counters of some threads.
struct Stripe {
    /// What was allocated here, less what was freed here. Memory that another thread frees makes this wrap below 0;
    /// only the sum of all stripes means something.
    live: AtomicU64,
    count: AtomicU64,
}

/// Each in cache lines of its own.
static COUNTED: [CachePadded<Stripe>; STRIPES] =
    [const { CachePadded::new(Stripe { live: AtomicU64::new(0), count: AtomicU64::new(0) }) }; STRIPES];

/// An allocator that counts what goes through it to another one.
///
/// ```
/// use steadfast_stress::allocations::{self, CountingAllocator};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator<std::alloc::System> = CountingAllocator::new(std::alloc::System);
///
/// let before = allocations::live_bytes().unwrap();
/// let kept = vec![0_u8; 1_000_000];
/// assert!(allocations::live_bytes().unwrap() >= before + kept.len() as u64);
/// ```
///
/// All of them in a process count into the same figures. It costs two atomic additions for an allocation and one when
/// that is freed, about 20 ns in all.
#[derive(Debug, Default, Clone, Copy)]
pub struct CountingAllocator<A> {
    inner: A,
}

impl<A> CountingAllocator<A> {
    /// Counts for `inner`.
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }
}

/// Live bytes, and allocations so far. Nothing if nothing was ever counted: every program allocates before it asks.
pub(super) fn figures() -> Option<(u64, u64)> {
    let (mut live, mut count) = (0_u64, 0_u64);
    for stripe in &COUNTED {
        // Relaxed: figures for people. What happens meanwhile may be missed.
        live = live.wrapping_add(stripe.live.load(Ordering::Relaxed));
        count += stripe.count.load(Ordering::Relaxed);
    }
    // A block allocated at a stripe that was read before, and freed at one that was read after, is missing twice.
    let live = u64::try_from(live.cast_signed()).unwrap_or(0);
    (count > 0).then_some((live, count))
}

#[inline]
fn stripe() -> &'static Stripe {
    let here = 0_u8;
    // Stacks are far apart and a thread moves little within its own: the address without its lower bits, spread by
    // Fibonacci hashing, names the thread.
    let thread = std::ptr::from_ref(&here).addr() as u64 >> 16;
    let hash = thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - STRIPES.ilog2());
    &COUNTED[hash as usize % STRIPES]
}

#[inline]
fn add(bytes: usize) {
    let stripe = stripe();
    // Relaxed, here and below: nothing is read by way of these counters.
    stripe.live.fetch_add(bytes as u64, Ordering::Relaxed);
    stripe.count.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every function passes the caller's arguments on to `inner`, which keeps the contract of the trait, and
// returns what it returned. Counting is atomic arithmetic that neither allocates nor panics nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    #[inline]
    // SAFETY: the caller keeps the contract of `alloc`, which is `inner`'s too.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.inner.alloc(layout) };
        if !block.is_null() {
            add(layout.size());
        }
        block
    }

    #[inline]
    // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is `inner`'s too.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        if !block.is_null() {
            add(layout.size());
        }
        block
    }

    #[inline]
    // SAFETY: the caller keeps the contract of `dealloc`: `block` came from this allocator, so from `inner`.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Before the block is gone: another thread may get and count it at once.
        stripe().live.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { self.inner.dealloc(block, layout) }
    }

    #[inline]
    // SAFETY: the caller keeps the contract of `realloc`: `block` came from this allocator, so from `inner`.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if !moved.is_null() {
            // Wraps for a block that shrinks, and the sum is right all the same.
            add(new_size.wrapping_sub(layout.size()));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;
    use std::thread;

    /// The test program's own allocator counts nothing, so all figures come from here. One test, as they are global.
    #[test]
    fn what_is_allocated_is_live_until_it_is_freed() {
        const EACH: usize = 5_000;
        assert_eq!(figures(), None, "nothing is installed");
        let counting = CountingAllocator::new(System);
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: sizes are above 0; each block is freed once, with the layout that it has then.
        let make = |size| unsafe { counting.alloc(layout(size)) }.expose_provenance();
        let free = |block: usize, size| {
            // SAFETY: `block` is from `make`, with this size.
            unsafe { counting.dealloc(std::ptr::with_exposed_provenance_mut(block), layout(size)) }
        };
        // Four threads make blocks that four others free.
        let blocks: Vec<Vec<(usize, usize)>> = thread::scope(|scope| {
            let make_all =
                |thread| (1..=EACH).map(|n| n % 100 + thread).map(|size| (make(size), size)).collect();
            let makers: Vec<_> = (1..=4).map(|thread| scope.spawn(move || make_all(thread))).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        let total: usize = blocks.iter().flatten().map(|(_, size)| size).sum();
        assert_eq!(figures(), Some((total as u64, 4 * EACH as u64)));
        thread::scope(|scope| {
            for blocks in blocks {
                scope.spawn(move || blocks.into_iter().for_each(|(block, size)| free(block, size)));
            }
        });
        assert_eq!(figures(), Some((0, 4 * EACH as u64)));

        // SAFETY: as above.
        unsafe {
            let block = counting.alloc_zeroed(layout(100));
            let block = counting.realloc(block, layout(100), 1_000);
            assert_eq!(figures().unwrap().0, 1_000);
            let block = counting.realloc(block, layout(1_000), 10);
            assert_eq!(figures().unwrap(), (10, 4 * EACH as u64 + 3));
            counting.dealloc(block, layout(10));
        }
        assert_eq!(figures().unwrap().0, 0);
    }
}
