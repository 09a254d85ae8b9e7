//! The index as its users see it: public API only.

use steadfast_testkit::allocations::CountingAllocator;

mod churn;
mod clones;
mod memory;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;
