//! The registry: where metrics are registered, and where snapshots come from.

mod catalog;
mod description;
mod family;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::MetricsError;
use crate::local::Home;
use crate::shape::Shape;
use crate::{
    Counter, FamilySnapshot, Gauge, Histogram, HistogramSnapshot, RealGauge, Series, Snapshot, Value,
};
use catalog::Catalog;
pub(crate) use catalog::Source;
pub use description::{Description, Unit};
pub use family::{Family, Metric};

/// A set of metrics. Cheap to clone; each clone is the same registry. There may be any number, and none is global.
///
/// Handles keep what they record into alive, so a registry may be dropped before them.
///
/// ```
/// use steadfast_metrics::{Description, Registry, Unit};
///
/// let registry = Registry::new();
/// let requests = registry.counter(Description::new("requests", "Requests answered"))?;
/// let sizes = registry.histogram(Description::new("body", "Bodies sent").unit(Unit::Bytes))?;
///
/// let before = registry.snapshot();
/// requests.increment();
/// sizes.record(4096);
/// let since = registry.snapshot().delta(&before)?;
/// assert_eq!(since.counter("requests_total", &[]), Some(1));
/// assert_eq!(since.histogram("body_bytes", &[]).unwrap().count(), 1);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    home: Arc<Home>,
    clock: Arc<dyn Clock>,
    started_ns: u64,
    catalog: Mutex<Catalog>,
}

/// What a registry takes, in bytes on the heap.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let latency = registry.histogram("latency")?;
/// assert_eq!(registry.memory().threads, 0); // nobody has recorded yet
/// latency.record(5);
/// let memory = registry.memory();
/// assert_eq!(memory.threads, 1);
/// assert!(memory.shard_bytes > 0 && memory.total() >= memory.shard_bytes);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Living threads that have recorded something.
    pub threads: usize,
    /// What these threads recorded into.
    pub shard_bytes: usize,
    /// What is kept of threads that have ended.
    pub base_bytes: usize,
    /// Names, labels and help texts.
    pub catalog_bytes: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.shard_bytes + self.base_bytes + self.catalog_bytes
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry with the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::default()))
    }

    /// An empty registry with another clock, for its timers and for the times of its snapshots.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let started_ns = clock.now_ns();
        let shared = Shared { home: Home::new(), clock, started_ns, catalog: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Registers a counter; it is exposed with `_total` behind its name.
    ///
    /// # Errors
    /// [`MetricsError::Duplicate`], [`MetricsError::IllegalName`], [`MetricsError::Full`].
    pub fn counter(&self, description: impl Into<Description>) -> Result<Counter, MetricsError> {
        self.shared.register(description.into())
    }

    /// Registers a gauge in whole numbers.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge(&self, description: impl Into<Description>) -> Result<Gauge, MetricsError> {
        self.shared.register(description.into())
    }

    /// Registers a gauge in real numbers.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn real_gauge(&self, description: impl Into<Description>) -> Result<RealGauge, MetricsError> {
        self.shared.register(description.into())
    }

    /// Registers a histogram; one without a unit is taken to hold durations, in nanoseconds.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn histogram(&self, description: impl Into<Description>) -> Result<Histogram, MetricsError> {
        self.shared.register(description.into())
    }

    /// Registers metrics of one kind that are told apart by the values of `labels`.
    ///
    /// # Errors
    /// As [`Registry::counter`]; [`MetricsError::IllegalLabel`], [`MetricsError::TooManyLabels`], [`MetricsError::OutOfBounds`] for the description's cap.
    pub fn family<M: Metric, const LABELS: usize>(
        &self,
        description: impl Into<Description>,
        labels: [&str; LABELS],
    ) -> Result<Family<M, LABELS>, MetricsError> {
        Family::register(&self.shared, description.into(), labels)
    }

    /// What was recorded until now, over all threads, ended ones included.
    ///
    /// Holds everything that was recorded before the call, and perhaps some of what is recorded meanwhile. Each metric is consistent in itself, whatever the writers do: a
    /// histogram's count is that of its buckets, and its sum and extremes are of the same records, but that they may be ahead by one record a thread that was stopped in the
    /// middle of it; then [`HistogramSnapshot::is_exact`] says no. Different metrics are read one after the other.
    ///
    /// Never waits for a writer. Snapshots of one registry take turns, and threads that end wait for them.
    pub fn snapshot(&self) -> Snapshot {
        let families = self.shared.lock().families();
        let sources = || families.iter().flat_map(|(_, series)| series.iter().map(|(_, source)| source));
        let mut cells = Vec::new();
        let mut histograms = Vec::new();
        for source in sources() {
            match source {
                Source::Counter(cell) => cells.push(*cell),
                Source::Gauge { entered, left, .. } => cells.extend([*left, *entered, *left]),
                Source::Real(_) => {}
                Source::Histogram(id, shape) => histograms.push((*id, *shape)),
            }
        }
        let collected = self.shared.home.shards.collect(&cells, &histograms);
        let to_ns = self.shared.clock.now_ns();
        // In the order in which they were asked for; there is one for each.
        let (mut cells, mut tallies) = (collected.cells.into_iter(), collected.histograms.iter());
        let mut value = |source: &Source| match source {
            Source::Counter(_) => Value::Counter(cells.next().unwrap_or(0)),
            Source::Gauge { level, .. } => Value::Gauge(crate::gauge::level(level, &mut cells)),
            Source::Real(bits) => Value::Real(RealGauge::new(bits).read()),
            Source::Histogram(_, shape) => Value::Histogram(
                tallies.next().map_or_else(|| HistogramSnapshot::empty(*shape), HistogramSnapshot::of),
            ),
        };
        let mut families: Vec<FamilySnapshot> = families
            .iter()
            .map(|(family, series)| {
                let series = series
                    .iter()
                    .map(|(labels, source)| Series { labels: labels.clone(), value: value(source) });
                FamilySnapshot { series: series.collect(), ..family.clone() }
            })
            .collect();
        for family in &mut families {
            family.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        Snapshot { from_ns: self.shared.started_ns, to_ns, families }
    }

    /// What the registry takes.
    pub fn memory(&self) -> Memory {
        let shards = &self.shared.home.shards;
        let (shard_bytes, base_bytes) = shards.memory_bytes();
        let catalog_bytes = self.shared.lock().memory_bytes();
        Memory { threads: shards.threads(), shard_bytes, base_bytes, catalog_bytes }
    }

    #[cfg(feature = "facade")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Catalog> {
        // A panic can't leave it half-changed: what can fail comes before the first change.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register<M: Metric>(&self, description: Description) -> Result<M, MetricsError> {
        let source = self.lock().register_single(M::KIND, description)?;
        Ok(self.handle(&source))
    }

    pub(crate) fn handle<M: Metric>(&self, source: &Source) -> M {
        M::of(&self.home, source, &self.clock)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("memory", &self.memory()).finish_non_exhaustive()
    }
}
