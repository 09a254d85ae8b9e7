//! Where time comes from. A breaker reads it only where it must: while it isn't closed, for slow calls, windows of time and budgets with a period.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::period::Period;

/// A source of time: one that only goes on, for the breaker, and the calendar's, for budgets.
///
/// Should a monotonic time go back all the same, an open breaker stays open until the deadline is reached again, and a window of time stays
/// in its bucket. Deadlines more than 2^35 − 1 ms (398 days) away are taken for past: so an opening of a year ends at once if the time goes back by
/// more than 32 days. A calendar that goes back changes nothing: the epochs of budgets never do.
///
/// A clock that panics harms no other call: the panic goes on to the caller, and the call's money and its probe's place are given back.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since any fixed moment.
    fn monotonic_ns(&self) -> u64;
    /// Milliseconds since 1970 in UTC.
    fn wall_ms(&self) -> u64;
    /// The earliest and the latest time that [`Self::monotonic_ns`] may say now, for a clock that knows this cheaper than the time itself.
    ///
    /// An open breaker refuses at once while its deadline lies after the latest, and tells how long it is from the earliest; otherwise it asks
    /// for the time itself. So a wide answer costs a second reading, never a wrong decision, and so does one whose latest comes before its earliest. But the time itself must lie between them.
    /// By default both are the time itself.
    fn monotonic_bounds_ns(&self) -> (u64, u64) {
        let now_ns = self.monotonic_ns();
        (now_ns, now_ns)
    }
}

/// The operating system's clocks.
///
/// On Linux the bounds of the present come from the kernel's coarse clock, which stands still between two of its ticks (1 to 10 ms, as the kernel was
/// built) and costs a fifth of the exact one. It is never ahead, and is taken to be at most 100 ms behind. Should a machine withhold the tick for longer, an open
/// breaker may refuse for as much longer.
#[derive(Debug)]
#[cfg_attr(target_os = "linux", derive(Default))]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    origin: std::time::Instant,
}

#[cfg(not(target_os = "linux"))]
impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl SystemClock {
    /// The one of all configurations that name no other.
    pub(crate) fn shared() -> Arc<dyn Clock> {
        static SHARED: LazyLock<Arc<SystemClock>> = LazyLock::new(Arc::default);
        LazyLock::force(&SHARED).clone()
    }
}

/// How far the coarse clock may be behind: ten of the longest ticks.
#[cfg(target_os = "linux")]
const COARSE_LAG_NS_MAX: u64 = 100_000_000;

/// Both monotonic clocks count from the same moment, and neither goes on while the machine sleeps.
#[cfg(target_os = "linux")]
fn read_ns(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    // A calendar before 1970 is taken for 1970.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(target_os = "linux")]
impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        read_ns(rustix::time::ClockId::Monotonic)
    }

    fn wall_ms(&self) -> u64 {
        read_ns(rustix::time::ClockId::Realtime) / 1_000_000
    }

    fn monotonic_bounds_ns(&self) -> (u64, u64) {
        let coarse_ns = read_ns(rustix::time::ClockId::MonotonicCoarse);
        (coarse_ns, coarse_ns + COARSE_LAG_NS_MAX)
    }
}

#[cfg(not(target_os = "linux"))]
impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn wall_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
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

/// One reading of a clock, of each of its times when that is first needed.
pub(crate) struct Moment<'a> {
    clock: &'a dyn Clock,
    wall_ms: std::cell::Cell<Option<u64>>,
    monotonic_ms: std::cell::Cell<Option<u64>>,
}

impl<'a> Moment<'a> {
    #[inline]
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, wall_ms: std::cell::Cell::new(None), monotonic_ms: std::cell::Cell::new(None) }
    }

    #[inline]
    pub(crate) fn wall_ms(&self) -> u64 {
        Self::once(&self.wall_ms, || self.clock.wall_ms())
    }

    #[inline]
    pub(crate) fn monotonic_ms(&self) -> u64 {
        Self::once(&self.monotonic_ms, || self.clock.monotonic_ns() / 1_000_000)
    }

    /// (calendar, monotonic) in milliseconds, and 0 for the one that `period` doesn't ask for.
    #[inline]
    pub(crate) fn for_period(&self, period: Period) -> (u64, u64) {
        match period {
            Period::Lifetime => (0, 0),
            Period::Sliding(_) => (0, self.monotonic_ms()),
            _ => (self.wall_ms(), 0),
        }
    }

    #[inline]
    fn once(cell: &std::cell::Cell<Option<u64>>, read: impl FnOnce() -> u64) -> u64 {
        cell.get().unwrap_or_else(|| {
            let read = read();
            cell.set(Some(read));
            read
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_lies_within_its_bounds() {
        let clock = SystemClock::default();
        let started = std::time::Instant::now();
        let mut before = clock.monotonic_ns();
        while started.elapsed() < Duration::from_millis(200) {
            let bounds = clock.monotonic_bounds_ns();
            let after = clock.monotonic_ns();
            // The bounds are of a moment between the two readings.
            assert!(bounds.0 <= after, "{before}..{after} and {bounds:?}");
            if before > bounds.1 {
                // Only where the machine withheld its tick for as long as the clock allows for. At the next tick they hold again.
                assert!(before - bounds.0 >= 100_000_000, "{before} and {bounds:?}");
                let mut next = bounds;
                while next == bounds {
                    next = clock.monotonic_bounds_ns();
                }
                assert!(before <= next.1, "{before} and {bounds:?}, and then {next:?}");
            }
            before = after;
        }
    }
}
