//! Model checking with loom: every interleaving up to a bound, and proof that each outcome was
//! reached.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `model` under every interleaving with at most `preemptions` switches away from a thread
/// that could go on; under every interleaving at all for `None`.
///
/// # Panics
/// If an interleaving fails an assertion, deadlocks or races.
pub fn check(preemptions: impl Into<Option<usize>>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.check(model);
}

/// The outcomes that the interleavings of one model reached. Clones share them.
#[derive(Debug)]
pub struct Seen<T> {
    outcomes: Arc<Mutex<BTreeSet<T>>>,
}

impl<T: Ord + Debug> Seen<T> {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an outcome.
    pub fn note(&self, outcome: impl Into<T>) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(outcome.into());
    }

    /// Returns the outcomes reached so far.
    pub fn outcomes(&self) -> BTreeSet<T>
    where
        T: Clone,
    {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asserts that each of `expected` was reached: a model that never reaches a race proves
    /// nothing about it.
    ///
    /// # Panics
    /// If one was not.
    #[track_caller]
    pub fn assert_all<E>(&self, expected: impl IntoIterator<Item = E>)
    where
        E: Into<T>,
    {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in expected.into_iter().map(Into::into) {
            assert!(outcomes.contains(&outcome), "never reached: {outcome:?}; reached: {outcomes:?}");
        }
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { outcomes: Arc::default() }
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self { outcomes: Arc::clone(&self.outcomes) }
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Two threads that read and then write lose an update in some interleavings, and in others
    /// they don't.
    fn two_increments(seen: Seen<u32>) -> impl Fn() + Sync + Send + 'static {
        move || {
            let counter = loom::sync::Arc::new(AtomicU32::new(0));
            let increment = |counter: &AtomicU32| {
                let before = counter.load(Ordering::SeqCst);
                counter.store(before + 1, Ordering::SeqCst);
            };
            let other = loom::thread::spawn({
                let counter = loom::sync::Arc::clone(&counter);
                move || increment(&counter)
            });
            increment(&counter);
            other.join().unwrap();
            seen.note(counter.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn loom_reaches_a_lost_update_and_a_kept_one() {
        for preemptions in [None, Some(1)] {
            let seen = Seen::new();
            check(preemptions, two_increments(seen.clone()));
            seen.assert_all([1_u32, 2]);
            assert_eq!(seen.outcomes(), BTreeSet::from([1, 2]));
        }
    }

    #[test]
    #[should_panic(expected = "never reached: 3")]
    fn loom_names_an_outcome_that_no_interleaving_reached() {
        let seen = Seen::new();
        check(None, two_increments(seen.clone()));
        seen.assert_all([1_u32, 3]);
    }
}
