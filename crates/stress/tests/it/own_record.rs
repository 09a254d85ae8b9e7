//! A target's own record of its operations: what an open loop's report must say of them, on however busy a machine.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of each operation its place in the schedule, and when it began and ended.
#[derive(Default)]
pub(crate) struct OwnRecord(Mutex<Vec<(u64, Instant, Instant)>>);

impl OwnRecord {
    pub(crate) fn add(&self, place: u64, began: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((place, began, Instant::now()));
    }

    /// The share of operations, `every` so long one was due, that ended later than `x` after that.
    pub(crate) fn share_above(&self, every: Duration, x: Duration) -> f64 {
        let operations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |place: u64| every.mul_f64(place as f64);
        // None begins before it is due, and some begin just then.
        let start = operations.iter().filter_map(|&(place, began, _)| began.checked_sub(due(place))).min();
        let late = |&&(place, _, ended): &&(u64, Instant, Instant)| {
            start.is_some_and(|start| ended.saturating_duration_since(start + due(place)) > x)
        };
        operations.iter().filter(late).count() as f64 / operations.len() as f64
    }

    /// How many took longer than `x` from when they began.
    pub(crate) fn slow(&self, x: Duration) -> usize {
        let operations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        operations.iter().filter(|(_, began, ended)| *ended - *began > x).count()
    }
}
