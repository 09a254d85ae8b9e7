//! Tests that need the process or the machine for themselves, one at a time: trends of the live
//! bytes, open files and threads of the whole process, and rivals for the processors.

#[cfg(target_os = "linux")]
mod busy_machine;
mod honest;
mod trends;

use std::sync::{Mutex, MutexGuard, PoisonError};

use steadfast_stress::allocations::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator<std::alloc::System> = CountingAllocator::new(std::alloc::System);

static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other test of this process runs.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
