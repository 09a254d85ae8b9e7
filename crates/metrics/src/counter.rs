//! Counts that only grow.

use std::fmt;
use std::sync::Arc;

use crate::local::{CellSpot, Home};

/// A count that only grows; cheap to clone, and each clone counts the same.
///
/// Adding is wait-free: a load, an addition and a store in the calling thread's own memory. A thread's first record into a registry takes a
/// lock for a few instructions, and one from a thread-local's destructor, when the thread has ended already, waits for a snapshot.
/// From 2^64 on it begins again at 0.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let answered = registry.counter("answered")?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         let answered = answered.clone();
///         scope.spawn(move || (0..1000).for_each(|_| answered.increment()));
///     }
/// });
/// assert_eq!(answered.read(), 4000);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct Counter {
    spot: CellSpot,
}

impl Counter {
    pub(crate) fn new(home: &Arc<Home>, cell: u32) -> Self {
        Self { spot: home.cell(cell) }
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        self.spot.add(count);
    }

    /// The count over all threads: everything that was counted before this call, and perhaps some of what is counted meanwhile. Takes the
    /// registry's lock; for one value now and then, where a [snapshot](crate::Registry::snapshot) would be too much.
    pub fn read(&self) -> u64 {
        self.spot.shards().collect(&[self.spot.cell()], &[]).cells[0]
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("cell", &self.spot.cell()).finish_non_exhaustive()
    }
}
