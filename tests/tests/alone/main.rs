//! Tests that need the process for themselves: they count the allocations, live bytes or open files
//! of the whole process, or take times. They run one at a time.
//!
//! - [`breaker`]: scenarios of suite `breaker` that must see a leak or a loss of speed;
//! - [`sound`]: every scenario without a fault, at smoke size. `cargo xtask stress` runs the same
//!   in release, so by default these are skipped;
//!   `STEADFAST_FULL=1 cargo test -p steadfast-suites --test alone` runs them.

#[path = "../fixture/mod.rs"]
mod fixture;

mod breaker;
mod sound;

use std::sync::{Mutex, MutexGuard, PoisonError};

use steadfast_stress::allocations::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator<std::alloc::System> = CountingAllocator::new(std::alloc::System);

static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other test of this process runs.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
