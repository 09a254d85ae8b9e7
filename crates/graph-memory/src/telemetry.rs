//! What a store records of itself while it runs: how many commits and searches, how long they took,
//! how large batches are.
//!
//! Recording costs a call two clock reads and some ten nanoseconds. Nothing here decides anything.

use steadfast_metrics::{Description, Histogram, LoadMetrics, MetricsError, Registry, Unit};

/// The instruments, and the registry that they are in.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) registry: Registry,
    /// From the call of a change to its answer.
    pub(crate) commits: LoadMetrics,
    pub(crate) searches: LoadMetrics,
    /// Commands that were made durable by one sync.
    pub(crate) batches: Histogram,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        // Panics: never. The names are proper and different, and the registry is new.
        Self::register().expect("constant names are right")
    }

    fn register() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let commits = LoadMetrics::register(&registry, "memory_commits")?;
        let searches = LoadMetrics::register(&registry, "memory_searches")?;
        let batches = Description::new("memory_batch_commands", "Commands made durable by one sync");
        let batches = registry.histogram(batches.unit(Unit::None))?;
        Ok(Self { registry, commits, searches, batches })
    }
}
