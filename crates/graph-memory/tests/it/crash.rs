//! Crash safety: whatever an interruption leaves on the disk, **acknowledged ⊆ recovered ⊆ attempted**.
//!
//! The store runs on a simulated disk whose power fails in the middle of a chosen operation. What
//! is left of unsynced work is chosen too. Then the store is opened again and must hold exactly one
//! of the states that agree with what its callers had been told ([`model`]), report what it erased,
//! take writes, and come back with the same state hash.
//!
//! - [`enumerated`]: all short workloads × every operation × many sorts of tear;
//! - [`random`]: concurrent callers, several lives on one disk, crashes during recovery;
//! - [`recovery`]: opening after a crash, again and again;
//! - [`faults`]: disks that fail or are full, without a crash.
//!
//! `STEADFAST_CRASH_SEEDS=5000` runs so many random workloads, and all the longer enumerations. A failing case
//! prints what repeats it; `STEADFAST_CRASH_SEED=17` runs that random workload alone, as often.

mod commands;
mod enumerated;
mod faults;
mod lives;
mod model;
mod random;
mod recovery;

/// Tells which case it was, when a test fails.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failing case: {}", self.0);
        }
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
