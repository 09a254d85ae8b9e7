//! Where timers take the time from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that doesn't go back. Timers and snapshots read it; recording a number doesn't.
///
/// ```
/// use std::sync::Arc;
/// use steadfast_metrics::{Clock, Registry};
///
/// #[derive(Debug)]
/// struct Stopped;
///
/// impl Clock for Stopped {
///     fn now_ns(&self) -> u64 {
///         7
///     }
/// }
///
/// let registry = Registry::with_clock(Arc::new(Stopped));
/// assert!(registry.snapshot().duration().is_zero());
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since some moment that stays the same.
    fn now_ns(&self) -> u64;
}

/// The operating system's monotonic clock: [`Instant`].
///
/// ```
/// use steadfast_metrics::{Clock, SystemClock};
///
/// let clock = SystemClock::default();
/// let before = clock.now_ns();
/// assert!(clock.now_ns() >= before);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    since: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that goes when it is told to, for tests.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use steadfast_metrics::{ManualClock, Registry};
///
/// let clock = Arc::new(ManualClock::default());
/// let registry = Registry::with_clock(clock.clone());
/// let waits = registry.histogram("waits")?;
/// let timer = waits.start();
/// clock.advance(Duration::from_micros(3));
/// drop(timer);
/// assert_eq!(waits.read().max(), Some(3_000));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
}

impl ManualClock {
    /// Puts the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: the time orders nothing else.
        self.now_ns.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }
}
