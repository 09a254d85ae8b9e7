//! How many bytes are allocated and not freed: what a leak is measured in.
//!
//! Resident memory tells what the allocator has from the system, which rises by fragmentation and by caches of the
//! allocator's own. Live bytes tell what the program still holds. They are counted by `CountingAllocator`, with the
//! feature `count-allocations`, where a program installs it; otherwise there are none, and [`live_bytes`] says so.

#[cfg(feature = "count-allocations")]
#[allow(unsafe_code, reason = "an allocator is an unsafe trait")]
mod counting;

#[cfg(feature = "count-allocations")]
pub use counting::CountingAllocator;

/// Bytes that are allocated and not yet freed, as they were asked for; nothing if no `CountingAllocator` is
/// installed.
///
/// The sum over several counters, not a snapshot: what other threads allocate and free during the call may be in it
/// or not.
pub fn live_bytes() -> Option<u64> {
    #[cfg(feature = "count-allocations")]
    return counting::figures().map(|(live, _)| live);
    #[cfg(not(feature = "count-allocations"))]
    None
}

/// Allocations and reallocations so far; nothing if no `CountingAllocator` is installed.
pub fn count() -> Option<u64> {
    #[cfg(feature = "count-allocations")]
    return counting::figures().map(|(_, count)| count);
    #[cfg(not(feature = "count-allocations"))]
    None
}
