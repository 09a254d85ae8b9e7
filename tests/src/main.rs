//! The stress program: all suites behind one command line. `--help` tells what it takes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The allocator that a server would use; the system's would be measured along with the store.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    steadfast_stress::main(steadfast_suites::suites())
}
