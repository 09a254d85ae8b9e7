//! Counts the allocations and live bytes of one thread.
//!
//! A test binary installs the allocator for its whole process:
//!
//! ```
//! use steadfast_testkit::allocations::{CountingAllocator, measure};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let (boxed, counted) = measure(|| Box::new([0u8; 100]));
//! assert_eq!((counted.allocations, counted.bytes), (1, 100));
//! let ((), counted) = measure(|| drop(boxed));
//! assert_eq!((counted.allocations, counted.bytes), (0, -100));
//! ```
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

/// What one thread allocated during a [`measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// Allocations and reallocations; freeing is not counted.
    pub allocations: u64,
    /// Bytes allocated less bytes freed.
    pub bytes: i64,
}

/// Runs `work` and returns its result with what this thread allocated meanwhile; zeros unless the
/// process has
/// [`CountingAllocator`] installed.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    let (allocations, bytes) = (ALLOCATIONS.get(), BYTES.get());
    // The optimiser assumes that an allocation changes no memory but its own, so it would reuse the
    // counts from before. `black_box` may change any memory.
    let result = std::hint::black_box(work());
    (result, Allocations { allocations: ALLOCATIONS.get() - allocations, bytes: BYTES.get() - bytes })
}

// SAFETY: each request goes to the system's allocator as it came. The counters are cells that need
// neither an allocation nor a destructor, so counting never re-enters the allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system allocator's.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system allocator's.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
