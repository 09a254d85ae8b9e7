//! The metrics of a service under load, from one source of truth.

use std::fmt;
use std::time::Duration;

use crate::error::MetricsError;
use crate::registry::{Description, Registry};
use crate::snapshot::{HistogramSnapshot, Quantile};
use crate::{Family, Gauge, Histogram, InFlight};

/// Requests under load: total, successful, failed, their latencies, and how many clients are active. Cheap to clone.
///
/// It is two histograms, of successful and of failed requests, and a gauge. Counts are those of the histograms, and the total is their sum; so a
/// [summary](LoadMetrics::summary) can't contradict itself, whoever records meanwhile.
///
/// ```
/// use std::time::Duration;
/// use steadfast_metrics::{LoadMetrics, Registry};
///
/// let registry = Registry::new();
/// let load = LoadMetrics::register(&registry, "rpc")?;
/// let client = load.client(); // active until it is dropped
/// load.success(Duration::from_millis(2));
/// load.failure(Duration::from_millis(9));
/// let request = load.request();
/// request.success();
/// drop(load.request()); // given up: a failure
///
/// let summary = load.summary();
/// assert_eq!((summary.total(), summary.successful, summary.failed), (4, 2, 2));
/// assert_eq!((summary.active_clients, summary.success_rate()), (1, Some(0.5)));
/// assert_eq!(summary.max(), Some(Duration::from_millis(9)));
/// println!("{summary}");
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadMetrics {
    successes: Histogram,
    failures: Histogram,
    clients: Gauge,
}

impl LoadMetrics {
    /// Registers `<name>_seconds{outcome="success"|"failure"}` and `<name>_active_clients`.
    ///
    /// # Errors
    /// As [`Registry::histogram`]. If only the second name is taken, the first is registered all the same.
    pub fn register(registry: &Registry, name: &str) -> Result<Self, MetricsError> {
        let latency = Description::new(name, "Latency of requests by their outcome").series_max(2);
        let latency: Family<Histogram, 1> = registry.family(latency, ["outcome"])?;
        let clients = Description::new(format!("{name}_active_clients"), "Clients that are active");
        let clients = registry.gauge(clients)?;
        Ok(Self { successes: latency.with(["success"]), failures: latency.with(["failure"]), clients })
    }

    /// One more active client, until what this returns is dropped.
    pub fn client(&self) -> InFlight {
        self.clients.enter()
    }

    /// Counts a successful request that took so long.
    #[inline]
    pub fn success(&self, latency: Duration) {
        self.successes.record_duration(latency);
    }

    /// Counts a failed request that took so long.
    #[inline]
    pub fn failure(&self, latency: Duration) {
        self.failures.record_duration(latency);
    }

    /// Begins a request now. It counts when it ends, and as a failure if it is dropped before it has told how it ended.
    pub fn request(&self) -> Request<'_> {
        Request { load: self, started_ns: self.successes.clock().now_ns(), outcome: Some(Outcome::Failure) }
    }

    /// What was counted until now.
    pub fn summary(&self) -> LoadSummary {
        let shards = self.successes.shards();
        let [successes, failures] = [self.successes.id(), self.failures.id()];
        let collected = shards.collect(&self.clients.cells(), &[successes, failures]);
        let [successes, failures] = [0, 1].map(|at| HistogramSnapshot::of(&collected.histograms[at]));
        let (successful, failed) = (successes.count(), failures.count());
        let mut latency = successes;
        // Two histograms of one family have one shape.
        let merged = latency.merge(&failures);
        debug_assert!(merged.is_ok());
        LoadSummary { successful, failed, active_clients: self.clients.level_of(collected.cells), latency }
    }
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Success,
    Failure,
}

/// A request of [`LoadMetrics`] that has begun.
///
/// ```
/// use steadfast_metrics::{LoadMetrics, Registry};
///
/// let load = LoadMetrics::register(&Registry::new(), "rpc")?;
/// load.request().failure();
/// load.request().discard(); // as if it had never begun
/// assert_eq!(load.summary().total(), 1);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[must_use = "it counts as failed when it is dropped"]
#[derive(Debug)]
pub struct Request<'a> {
    load: &'a LoadMetrics,
    started_ns: u64,
    outcome: Option<Outcome>,
}

impl Request<'_> {
    /// It was successful.
    pub fn success(mut self) {
        self.outcome = Some(Outcome::Success);
    }

    /// It failed.
    pub fn failure(mut self) {
        self.outcome = Some(Outcome::Failure);
    }

    /// It doesn't count.
    pub fn discard(mut self) {
        self.outcome = None;
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let histogram = match self.outcome {
            Some(Outcome::Success) => &self.load.successes,
            Some(Outcome::Failure) => &self.load.failures,
            None => return,
        };
        histogram.record(histogram.clock().now_ns().saturating_sub(self.started_ns));
    }
}

/// What [`LoadMetrics`] counted until some moment.
///
/// ```
/// use std::time::Duration;
/// use steadfast_metrics::{LoadMetrics, Registry};
///
/// let load = LoadMetrics::register(&Registry::new(), "rpc")?;
/// (1..=100).for_each(|ms| load.success(Duration::from_millis(ms)));
/// let summary = load.summary();
/// assert_eq!(summary.total(), summary.latency.count());
/// assert_eq!(summary.mean(), Some(Duration::from_micros(50_500)));
/// assert!(summary.min() <= summary.quantile(0.5) && summary.quantile(0.99) <= summary.max());
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LoadSummary {
    /// Requests that were successful.
    pub successful: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Clients that were active.
    pub active_clients: i64,
    /// Latencies of both, in nanoseconds.
    pub latency: HistogramSnapshot,
}

impl LoadSummary {
    /// All requests that have ended.
    pub fn total(&self) -> u64 {
        self.successful + self.failed
    }

    /// The share that was successful, unless there were none at all.
    pub fn success_rate(&self) -> Option<f64> {
        (self.total() > 0).then(|| self.successful as f64 / self.total() as f64)
    }

    /// All latencies together.
    pub fn cumulative(&self) -> Duration {
        duration(u64::try_from(self.latency.sum()).unwrap_or(u64::MAX))
    }

    /// The shortest latency.
    pub fn min(&self) -> Option<Duration> {
        self.latency.min().map(duration)
    }

    /// The mean latency.
    pub fn mean(&self) -> Option<Duration> {
        self.latency.mean().map(|mean| duration(mean.round() as u64))
    }

    /// The longest latency.
    pub fn max(&self) -> Option<Duration> {
        self.latency.max().map(duration)
    }

    /// The estimate of a quantile; [`LoadSummary::latency`] tells its bounds.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        self.latency.quantile(q).map(Quantile::estimate).map(duration)
    }
}

fn duration(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { successful, failed, active_clients, .. } = self;
        let rate =
            self.success_rate().map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", 100.0 * rate));
        writeln!(
            f,
            "requests {}: {successful} successful, {failed} failed ({rate}); {active_clients} clients active",
            self.total()
        )?;
        let tell = |latency: Option<Duration>| {
            latency.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.2?}"))
        };
        write!(
            f,
            "latency min {}, mean {}, p50 {}, p95 {}, p99 {}, p99.9 {}, max {}",
            tell(self.min()),
            tell(self.mean()),
            tell(self.quantile(0.5)),
            tell(self.quantile(0.95)),
            tell(self.quantile(0.99)),
            tell(self.quantile(0.999)),
            tell(self.max()),
        )
    }
}
