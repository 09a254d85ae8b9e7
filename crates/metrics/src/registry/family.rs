//! Metrics of one kind, told apart by labels.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Description, Shared, Source};
use crate::clock::Clock;
use crate::error::MetricsError;
use crate::local::Home;
use crate::snapshot::Kind;
use crate::{Counter, Gauge, Histogram, RealGauge};

/// What a registry holds: [`Counter`], [`Gauge`], [`RealGauge`] and [`Histogram`]. Not for others to implement.
///
/// ```
/// use steadfast_metrics::{Gauge, Metric, MetricsError, Registry};
///
/// fn by_pool<M: Metric>(registry: &Registry, name: &str) -> Result<M, MetricsError> {
///     Ok(registry.family::<M, 1>(name, ["pool"])?.with(["a"]))
/// }
/// let open: Gauge = by_pool(&Registry::new(), "open")?;
/// open.set(3);
/// # Ok::<(), MetricsError>(())
/// ```
pub trait Metric: Sized + Clone + sealed::Make {}

pub(crate) mod sealed {
    use super::{Arc, Clock, Home, Kind, Source};

    pub trait Make {
        const KIND: Kind;
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn of(home: &Arc<Home>, source: &Source, clock: &Arc<dyn Clock>) -> Self;
    }
}

/// A family has one kind, and `Catalog::source` makes its sources.
const OF_ONE_KIND: &str = "a metric has a source of its own kind";

impl sealed::Make for Counter {
    const KIND: Kind = Kind::Counter;

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(home: &Arc<Home>, source: &Source, _: &Arc<dyn Clock>) -> Self {
        let Source::Counter(cell) = source else { unreachable!("{OF_ONE_KIND}") };
        Self::new(home, *cell)
    }
}

impl sealed::Make for Gauge {
    const KIND: Kind = Kind::Gauge;

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(home: &Arc<Home>, source: &Source, _: &Arc<dyn Clock>) -> Self {
        let Source::Gauge { level, entered, left } = source else { unreachable!("{OF_ONE_KIND}") };
        Self::new(home, level, *entered, *left)
    }
}

impl sealed::Make for RealGauge {
    const KIND: Kind = Kind::Real;

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(_: &Arc<Home>, source: &Source, _: &Arc<dyn Clock>) -> Self {
        let Source::Real(bits) = source else { unreachable!("{OF_ONE_KIND}") };
        Self::new(bits)
    }
}

impl sealed::Make for Histogram {
    const KIND: Kind = Kind::Histogram;

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn of(home: &Arc<Home>, source: &Source, clock: &Arc<dyn Clock>) -> Self {
        let Source::Histogram(id, shape) = source else { unreachable!("{OF_ONE_KIND}") };
        Self::new(home, *id, *shape, clock)
    }
}

impl Metric for Counter {}
impl Metric for Gauge {}
impl Metric for RealGauge {}
impl Metric for Histogram {}

/// Metrics of one kind, told apart by the values of `LABELS` labels. Cheap to clone.
///
/// The number of series is bounded ([`Description::series_max`]). What would be one too many, and what has a value of more than 256 bytes, is recorded into one more
/// series whose labels are all `other`: so totals are right whatever callers come up with.
///
/// ```
/// use steadfast_metrics::{Counter, Description, Family, Registry};
///
/// let registry = Registry::new();
/// let description = Description::new("requests", "Requests by method and status").series_max(2);
/// let requests: Family<Counter, 2> = registry.family(description, ["method", "status"])?;
/// let ok = requests.with(["GET", "200"]); // once; keep it
/// ok.add(3);
/// requests.with(["GET", "404"]).increment();
/// requests.with(["BREW", "418"]).increment(); // the third
///
/// let snapshot = registry.snapshot();
/// assert_eq!(snapshot.counter("requests_total", &[("method", "GET"), ("status", "200")]), Some(3));
/// assert_eq!(snapshot.counter("requests_total", &[("method", "other"), ("status", "other")]), Some(1));
/// assert_eq!(snapshot.family("requests_total").unwrap().folded, 1);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct Family<M, const LABELS: usize> {
    shared: Arc<Shared>,
    at: usize,
    labels: Arc<[String; LABELS]>,
    of: PhantomData<fn() -> M>,
}

impl<M: Metric, const LABELS: usize> Family<M, LABELS> {
    pub(super) fn register(
        shared: &Arc<Shared>,
        description: Description,
        labels: [&str; LABELS],
    ) -> Result<Self, MetricsError> {
        let at = shared.lock().register_family(M::KIND, description, &labels)?;
        let labels = Arc::new(labels.map(str::to_owned));
        Ok(Self { shared: Arc::clone(shared), at, labels, of: PhantomData })
    }

    /// The metric with these values, in the order of the labels. Takes a lock: resolve it once, and keep what it returns.
    pub fn with(&self, values: [&str; LABELS]) -> M {
        let labels = self.labels.iter().zip(values).map(|(name, value)| (name.clone(), value.to_owned()));
        let source = self.shared.lock().series(self.at, labels.collect());
        self.shared.handle(&source)
    }
}

impl<M, const LABELS: usize> fmt::Debug for Family<M, LABELS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("labels", &self.labels).finish_non_exhaustive()
    }
}
