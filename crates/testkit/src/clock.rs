//! A clock that moves only when a test moves it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A time in a unit of the test's choice (milliseconds or nanoseconds), shared by reference.
///
/// A crate with a clock trait of its own implements that trait for a one-field wrapper in its
/// tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicU64,
}

impl ManualClock {
    /// Creates a clock that shows `now`.
    pub const fn at(now: u64) -> Self {
        Self { now: AtomicU64::new(now) }
    }

    /// Returns the time that it shows.
    pub fn now(&self) -> u64 {
        // Relaxed: a time orders nothing else, and tests that move a clock beside readers join
        // them.
        self.now.load(Ordering::Relaxed)
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// Moves the time forward by `step` and returns the new time.
    pub fn advance(&self, step: u64) -> u64 {
        self.now.fetch_add(step, Ordering::Relaxed) + step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_it_was_set_to() {
        let clock = ManualClock::at(5);
        assert_eq!((clock.now(), clock.advance(2), clock.now()), (5, 7, 7));
        clock.set(1);
        assert_eq!(clock.now(), 1);
    }
}
