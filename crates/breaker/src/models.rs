//! What this crate's models under loom have in common.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Enough switches for every race of two operations, and minutes less than all.
pub(crate) const FEW: Option<usize> = Some(3);
/// Every interleaving.
pub(crate) const ALL: Option<usize> = None;

/// Every interleaving with at most so many switches away from a thread that could go on.
pub(crate) fn model(switches: Option<usize>, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(run);
}

/// What all interleavings of a model came to.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<HashSet<String>>>);

impl Seen {
    pub(crate) fn note(&self, what: impl ToString) {
        self.0.lock().unwrap().insert(what.to_string());
    }

    /// Fails unless each of these was met: a model that doesn't reach a race proves nothing about it.
    #[track_caller]
    pub(crate) fn all_of(&self, expected: &[&str]) {
        let seen = self.0.lock().unwrap();
        for what in expected {
            assert!(seen.contains(*what), "never seen: {what}; seen: {seen:?}");
        }
    }
}
