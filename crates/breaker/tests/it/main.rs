//! The breaker's integration tests: one binary, a module for each subject.

mod bad_input;
mod behaviour;
mod memory;
mod model;
mod panics;
mod storm;
#[cfg(feature = "tower")]
mod tower;

/// For `memory`. It counts for each thread, so the tests beside it change no count.
#[global_allocator]
static ALLOCATOR: steadfast_testkit::allocations::CountingAllocator =
    steadfast_testkit::allocations::CountingAllocator;
