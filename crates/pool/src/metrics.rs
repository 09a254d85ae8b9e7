//! Pools' statistics as metrics (feature `metrics`), under the names that OpenTelemetry's conventions for database clients give them, with `_` for `.`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_metrics::{Counter, Description, Family, Gauge, Histogram, Metric, MetricsError, Registry};

use crate::keyed::KeyedMetrics;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::status::Status;

const POOL: &str = "db_client_connection_pool_name";
const STATE: &str = "db_client_connection_state";
/// Pools of one registry; those beyond share a series.
const POOLS_MAX: usize = 64;

/// The label's values, and what they count.
type Part = (&'static str, fn(&Status) -> u64);

const REQUESTS: [Part; 4] = [
    ("ok", |status| status.ok),
    ("error", |status| status.error),
    ("timeout", |status| status.timeout),
    ("cancelled", |status| status.cancelled),
];

/// The metrics of all pools of a registry, told apart by their names: up to 64 of them, the others together as `other`.
///
/// `db_client_connection_count{db_client_connection_state}` (idle, used, connecting), `…_max`, `…_idle_min`, `…_pending_requests`, `…_timeouts_total`, `…_create_time_seconds` (of dials that came to a connection, without the wait for
/// their turn), `…_wait_time_seconds` (of requests that got one), `…_use_time_seconds`; and beyond the conventions `…_addresses{db_client_connection_state}` (cold, dialling, live, failing), `…_requests_total{end}`, `…_dials_total`, `…_dial_failures_total`. Each
/// has a label `db_client_connection_pool_name`. Nothing is told by address.
#[derive(Clone, Debug)]
pub struct PoolFamilies {
    count: Family<Gauge, 2>,
    addresses: Family<Gauge, 2>,
    requests: Family<Counter, 2>,
    max: Family<Gauge, 1>,
    idle_min: Family<Gauge, 1>,
    pending: Family<Gauge, 1>,
    timeouts: Family<Counter, 1>,
    dials: Family<Counter, 1>,
    dial_failures: Family<Counter, 1>,
    create_time: Family<Histogram, 1>,
    wait_time: Family<Histogram, 1>,
    use_time: Family<Histogram, 1>,
}

impl PoolFamilies {
    /// Registers them. Once a registry: clones are the same.
    ///
    /// # Errors
    /// As the registry's: a name that is taken.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let described = |what: &str, help: &str, others: usize| {
            Description::new(format!("db_client_connection_{what}"), help).series_max(POOLS_MAX * others + 1)
        };
        fn by_pool<M: Metric>(
            registry: &Registry,
            description: Description,
        ) -> Result<Family<M, 1>, MetricsError> {
            registry.family(description, [POOL])
        }
        let one = |what, help| described(what, help, 1);
        Ok(Self {
            count: registry.family(described("count", "Connections by state", 3), [POOL, STATE])?,
            addresses: registry.family(described("addresses", "Addresses by state", 4), [POOL, STATE])?,
            requests: registry
                .family(described("requests", "Requests by how they ended", REQUESTS.len()), [POOL, "end"])?,
            max: by_pool(registry, one("max", "The most connections there may be"))?,
            idle_min: by_pool(registry, one("idle_min", "Idle connections that are kept at least"))?,
            pending: by_pool(registry, one("pending_requests", "Requests that wait for a connection"))?,
            timeouts: by_pool(registry, one("timeouts", "Requests whose time ran out"))?,
            dials: by_pool(registry, one("dials", "Dials begun"))?,
            dial_failures: by_pool(registry, one("dial_failures", "Dials that came to nothing"))?,
            create_time: by_pool(registry, one("create_time", "Time to make a connection"))?,
            wait_time: by_pool(registry, one("wait_time", "Time to get a connection"))?,
            use_time: by_pool(registry, one("use_time", "Time from getting a connection to giving it back"))?,
        })
    }

    /// The metrics of the [`Pool`] of this name, for its [`Builder`](crate::Builder::metrics).
    pub fn pool(&self, name: &str) -> PoolMetrics {
        let recorded = Recorded::new(self, name);
        let (max, idle_min) = (self.max.with([name]), self.idle_min.with([name]));
        PoolMetrics { series: Arc::new(Series { recorded, max, idle_min, published: Mutex::default() }) }
    }

    /// The metrics of the [`KeyedPool`](crate::KeyedPool) of this name, for its [`KeyedBuilder`](crate::KeyedBuilder::metrics).
    pub fn keyed_pool(&self, name: &str) -> KeyedMetrics {
        let address = |state| self.addresses.with([name, state]);
        KeyedMetrics::new(Recorded::new(self, name), address)
    }
}

/// What both kinds of pools record.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) idle: Gauge,
    pub(crate) used: Gauge,
    pub(crate) connecting: Gauge,
    pub(crate) pending: Gauge,
    pub(crate) timeouts: Counter,
    /// As in `REQUESTS`.
    pub(crate) requests: [Counter; 4],
    pub(crate) dials: Counter,
    pub(crate) dial_failures: Counter,
    pub(crate) create_time: Histogram,
    pub(crate) wait_time: Histogram,
    pub(crate) use_time: Histogram,
}

impl Recorded {
    fn new(families: &PoolFamilies, name: &str) -> Self {
        Self {
            idle: families.count.with([name, "idle"]),
            used: families.count.with([name, "used"]),
            connecting: families.count.with([name, "connecting"]),
            pending: families.pending.with([name]),
            timeouts: families.timeouts.with([name]),
            requests: REQUESTS.map(|(end, _)| families.requests.with([name, end])),
            dials: families.dials.with([name]),
            dial_failures: families.dial_failures.with([name]),
            create_time: families.create_time.with([name]),
            wait_time: families.wait_time.with([name]),
            use_time: families.use_time.with([name]),
        }
    }
}

/// What one pool records. Times are recorded as they pass once it was given to the [`Builder`](crate::Builder::metrics); the rest when it is published.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    recorded: Recorded,
    max: Gauge,
    idle_min: Gauge,
    /// What was published. Also the lock that makes one publish at a time.
    published: Mutex<Option<Status>>,
}

impl PoolMetrics {
    /// Brings levels and totals up to `pool`'s status; what came since the last time is added.
    pub fn publish<M: Manager>(&self, pool: &Pool<M>) {
        let Series { recorded, max, idle_min, published } = &*self.series;
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pool.status();
        let level = |gauge: &Gauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        level(&recorded.idle, now.idle);
        level(&recorded.used, now.in_use);
        level(&recorded.connecting, now.connecting);
        level(&recorded.pending, now.queued);
        level(max, now.max);
        level(idle_min, pool.idle_min());
        let add = |counter: &Counter, part: fn(&Status) -> u64| {
            counter.add(part(&now).saturating_sub(published.as_ref().map_or(0, part)));
        };
        add(&recorded.timeouts, |status| status.timeout);
        add(&recorded.dials, |status| status.dials);
        add(&recorded.dial_failures, |status| status.dial_failures);
        for (counter, (_, part)) in recorded.requests.iter().zip(&REQUESTS) {
            add(counter, *part);
        }
        *published = Some(now);
    }

    pub(crate) fn connected(&self, took: Duration) {
        self.series.recorded.create_time.record_duration(took);
    }

    pub(crate) fn waited(&self, took: Duration) {
        self.series.recorded.wait_time.record_duration(took);
    }

    pub(crate) fn used(&self, took: Duration) {
        self.series.recorded.use_time.record_duration(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Tcp;

    #[tokio::test]
    async fn what_is_published_adds_up_to_the_status() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Registry::new();
        let families = PoolFamilies::register(&registry).unwrap();
        assert!(PoolFamilies::register(&registry).is_err(), "the names are taken");
        let (metrics, _another) = (families.pool("orders"), families.keyed_pool("peers"));
        let pool = Pool::builder(Tcp::new(address)).max(2).metrics(metrics.clone()).build().unwrap();
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
            metrics.publish(&pool);
            metrics.publish(&pool);
        }
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert!(pool.get_timeout(Duration::from_millis(5)).await.is_err());
        metrics.publish(&pool);
        let snapshot = registry.snapshot();
        let level = |state| snapshot.gauge("db_client_connection_count", &[(POOL, "orders"), (STATE, state)]);
        assert_eq!((level("idle"), level("used"), level("connecting")), (Some(0), Some(2), Some(0)));
        let total =
            |end| snapshot.counter("db_client_connection_requests_total", &[(POOL, "orders"), ("end", end)]);
        assert_eq!((total("ok"), total("timeout"), total("error")), (Some(5), Some(1), Some(0)));
        assert_eq!(snapshot.counter("db_client_connection_timeouts_total", &[(POOL, "orders")]), Some(1));
        assert_eq!(snapshot.counter("db_client_connection_dials_total", &[(POOL, "orders")]), Some(2));
        let times = |what| {
            snapshot
                .histogram(&format!("db_client_connection_{what}_time_seconds"), &[(POOL, "orders")])
                .unwrap()
                .count()
        };
        assert_eq!((times("create"), times("wait"), times("use")), (2, 5, 3));
        drop(held);
    }
}
