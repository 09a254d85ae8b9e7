//! The stress program: all suites behind one command line. `--help` tells what it takes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;
use steadfast_stress::allocations::CountingAllocator;

/// The allocator that a server would use; the system's would be measured along with the store. What goes through it is counted, so
/// that what isn't given back can be told from what the allocator keeps.
#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator::new(MiMalloc);

fn main() -> ExitCode {
    steadfast_stress::main(steadfast_suites::suites())
}
