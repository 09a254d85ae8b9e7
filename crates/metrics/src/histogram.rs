//! Distributions of latencies and sizes.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::local::{HistogramSpot, Home};
use crate::shape::Shape;
use crate::shards::Shards;
use crate::snapshot::HistogramSnapshot;

/// A distribution of numbers: count, sum, exact extremes, and a count for each bucket of its [`Shape`]. Cheap to clone; each clone is the same histogram.
///
/// Recording is wait-free, as of a [`Counter`](crate::Counter). Durations are recorded in nanoseconds. A value out of range is clamped, and counted as clamped.
///
/// ```
/// use std::time::Duration;
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let latency = registry.histogram("latency")?;
/// for ms in 1..=100 {
///     latency.record_duration(Duration::from_millis(ms));
/// }
/// let read = latency.read();
/// assert_eq!((read.count(), read.min(), read.max()), (100, Some(1_000_000), Some(100_000_000)));
/// let median = read.quantile(0.5).unwrap();
/// assert!((median.lower..=median.upper).contains(&50_000_000));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct Histogram {
    spot: HistogramSpot,
    clock: Arc<dyn Clock>,
}

impl Histogram {
    pub(crate) fn new(home: &Arc<Home>, id: u32, shape: Shape, clock: &Arc<dyn Clock>) -> Self {
        Self { spot: home.histogram(id, shape), clock: Arc::clone(clock) }
    }

    /// Records a value.
    #[inline]
    pub fn record(&self, value: u64) {
        self.spot.record(value);
    }

    /// Records a value `count` times.
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        if count == 0 {
            return; // or the extremes would be of a value that isn't there
        }
        self.spot.record_many(value, count);
    }

    /// Records a duration in nanoseconds.
    #[inline]
    pub fn record_duration(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Starts a timer that records when it is dropped.
    pub fn start(&self) -> Timer<'_> {
        Timer { histogram: self, started_ns: self.clock.now_ns() }
    }

    /// How finely and how far it tells values apart.
    pub fn shape(&self) -> Shape {
        self.spot.id().1
    }

    /// What was recorded, over all threads: everything before this call, and perhaps some of what is recorded meanwhile. Takes the registry's lock.
    pub fn read(&self) -> HistogramSnapshot {
        let collected = self.spot.shards().collect(&[], &[self.spot.id()]);
        HistogramSnapshot::of(&collected.histograms[0])
    }

    pub(crate) fn shards(&self) -> &Shards {
        self.spot.shards()
    }

    pub(crate) fn id(&self) -> (u32, Shape) {
        self.spot.id()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// Records into a [`Histogram`] how long it lived, in nanoseconds.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let lookups = registry.histogram("lookups")?;
/// let found = |key: u32| -> Option<u32> {
///     let timer = lookups.start();
///     if key == 0 {
///         timer.discard(); // not a look-up at all
///         return None;
///     }
///     Some(key * 2) // recorded here
/// };
/// (found(0), found(7));
/// assert_eq!(lookups.read().count(), 1);
/// let took = lookups.start().stop();
/// assert!(lookups.read().max() >= Some(took.as_nanos() as u64));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[must_use = "it records when it is dropped"]
#[derive(Debug)]
pub struct Timer<'a> {
    histogram: &'a Histogram,
    started_ns: u64,
}

impl Timer<'_> {
    /// Records, and tells what.
    pub fn stop(self) -> Duration {
        let timer = ManuallyDrop::new(self);
        timer.record()
    }

    /// Records nothing.
    pub fn discard(self) {
        let _ = ManuallyDrop::new(self);
    }

    fn record(&self) -> Duration {
        // A clock that goes back is against its contract, and still no reason to record 584 years.
        let took = self.histogram.clock.now_ns().saturating_sub(self.started_ns);
        self.histogram.record(took);
        Duration::from_nanos(took)
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.record();
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, shape) = self.spot.id();
        f.debug_struct("Histogram").field("id", &id).field("shape", &shape).finish_non_exhaustive()
    }
}
