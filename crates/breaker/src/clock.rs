//! Where time comes from. A breaker reads it only where it must: while it isn't closed, for slow calls, windows of time and budgets with a period.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time: one that only goes on, for the breaker, and the calendar's, for budgets.
///
/// Should a monotonic time go back all the same, an open breaker stays open until the deadline is reached again, and a window of time stays
/// in its bucket. A calendar that goes back changes nothing: the epochs of budgets never do.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since any fixed moment.
    fn monotonic_ns(&self) -> u64;
    /// Milliseconds since 1970 in UTC.
    fn wall_ms(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// Another clock's time as of the last [`CachedClock::refresh`]: a load instead of a system call. As exact as it is refreshed often; let a timer do that.
#[derive(Debug)]
pub struct CachedClock {
    source: Arc<dyn Clock>,
    monotonic_ns: AtomicU64,
    wall_ms: AtomicU64,
}

impl CachedClock {
    /// A cache of `source`, refreshed once.
    pub fn new(source: Arc<dyn Clock>) -> Self {
        let cached = Self { source, monotonic_ns: AtomicU64::new(0), wall_ms: AtomicU64::new(0) };
        cached.refresh();
        cached
    }

    /// Reads the source.
    pub fn refresh(&self) {
        // Relaxed: each is a time of its own; the monotonic one never goes back, whoever refreshes.
        self.monotonic_ns.fetch_max(self.source.monotonic_ns(), Ordering::Relaxed);
        self.wall_ms.store(self.source.wall_ms(), Ordering::Relaxed);
    }
}

impl Clock for CachedClock {
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

/// A clock that goes on only when it is told to, for tests.
#[derive(Debug)]
pub struct ManualClock {
    monotonic_ns: AtomicU64,
    wall_ms: AtomicU64,
}

impl ManualClock {
    /// A clock at monotonic 0, and at `wall_ms` of the calendar.
    pub fn new(wall_ms: u64) -> Self {
        Self { monotonic_ns: AtomicU64::new(0), wall_ms: AtomicU64::new(wall_ms) }
    }

    /// Moves both times on.
    pub fn advance(&self, by: Duration) {
        // Relaxed: a test orders its own steps.
        self.monotonic_ns.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        self.wall_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Sets the calendar, also back.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Sets the monotonic time, also back, as no good clock would.
    pub fn set_monotonic_ns(&self, monotonic_ns: u64) {
        self.monotonic_ns.store(monotonic_ns, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

/// One reading of a clock, made when it is first needed.
pub(crate) struct Moment<'a> {
    clock: &'a dyn Clock,
    read: std::cell::Cell<Option<(u64, u64)>>,
}

impl<'a> Moment<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, read: std::cell::Cell::new(None) }
    }

    /// (calendar, monotonic) in milliseconds.
    pub(crate) fn ms(&self) -> (u64, u64) {
        if let Some(read) = self.read.get() {
            return read;
        }
        let read = (self.clock.wall_ms(), self.clock.monotonic_ns() / 1_000_000);
        self.read.set(Some(read));
        read
    }
}
