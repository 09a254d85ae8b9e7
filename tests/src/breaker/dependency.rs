//! What is guarded: something that answers, fails every other time while it is told to, and counts.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A failure on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected;

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a failure on purpose")
    }
}

impl std::error::Error for Injected {}

/// A dependency with a record of its own, to hold the breaker's against.
#[derive(Debug, Default)]
pub(super) struct Dependency {
    is_failing: AtomicBool,
    answers: AtomicU64,
    failures: AtomicU64,
    inside: AtomicU64,
    inside_peak: AtomicU64,
}

/// What it did with one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// It failed.
    pub(super) failed: bool,
    /// It was in a bad way, whether or not this call failed.
    pub(super) in_trouble: bool,
}

impl Answer {
    pub(super) fn result(self) -> Result<(), Injected> {
        if self.failed { Err(Injected) } else { Ok(()) }
    }
}

/// A call that is inside, for as long as this lives.
pub(super) struct Visit<'a>(&'a Dependency);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Dependency {
    /// From now on every other call fails, or none.
    pub(super) fn fail(&self, fails: bool) {
        self.is_failing.store(fails, Ordering::SeqCst);
    }

    /// Answers. Exactly every other answer of a bad time is a failure, whoever gets it: chance plays no part in whether the breaker must open.
    #[inline]
    pub(super) fn answer(&self) -> Answer {
        // Relaxed: only that each answer has a number of its own matters.
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let in_trouble = self.is_failing.load(Ordering::SeqCst);
        let failed = in_trouble && number % 2 == 1;
        self.note(failed);
        Answer { failed, in_trouble }
    }

    /// An answer that somebody else decides.
    pub(super) fn answer_with(&self, failed: bool) -> Answer {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.note(failed);
        Answer { failed, in_trouble: self.is_failing.load(Ordering::SeqCst) }
    }

    #[inline]
    fn note(&self, failed: bool) {
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call that stays for a while.
    pub(super) fn enter(&self) -> Visit<'_> {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        self.inside_peak.fetch_max(inside, Ordering::Relaxed);
        Visit(self)
    }

    /// The most calls that were inside at one time.
    pub(super) fn inside_peak(&self) -> u64 {
        self.inside_peak.load(Ordering::Relaxed)
    }

    /// Calls that it answered, the failed ones among them.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Calls that it failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }
}
