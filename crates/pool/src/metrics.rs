//! A pool's statistics as metrics (feature `metrics`), under the names that OpenTelemetry's conventions for database clients give them, with `_` for `.`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_metrics::{Counter, Description, Family, Gauge, Histogram, MetricsError, Registry};

use crate::manager::Manager;
use crate::pool::Pool;
use crate::status::Status;

/// The label's values, and what they count.
type Part = (&'static str, fn(&Status) -> u64);

const REQUESTS: [Part; 4] = [
    ("ok", |status| status.ok),
    ("error", |status| status.error),
    ("timeout", |status| status.timeout),
    ("cancelled", |status| status.cancelled),
];

/// What one pool records. Times are recorded as they pass once it was given to the [`Builder`](crate::Builder::metrics); the rest when it is published.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    idle: Gauge,
    used: Gauge,
    connecting: Gauge,
    max: Gauge,
    pending: Gauge,
    timeouts: Counter,
    requests: Vec<Counter>,
    dials: Counter,
    dial_failures: Counter,
    create_time: Histogram,
    wait_time: Histogram,
    use_time: Histogram,
    /// What was published. Also the lock that makes one publish at a time.
    published: Mutex<Option<Status>>,
}

impl PoolMetrics {
    /// Registers `db_client_connections{state}` (idle, used, connecting; the conventions say `db.client.connection.count`, but what ends in `_count` is a histogram's sample), `db_client_connection_max`, `…_pending_requests`, `…_timeouts_total`, `…_create_time_seconds`, `…_wait_time_seconds`,
    /// `…_use_time_seconds`; and beyond the conventions `…_requests_total{end}`, `…_dials_total`, `…_dial_failures_total`. One registry a pool, or the names are taken.
    ///
    /// # Errors
    /// As the registry's: a name that is taken.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let describe =
            |what: &str, help: &str| Description::new(format!("db_client_connection_{what}"), help);
        let count: Family<Gauge, 1> = registry.family(
            Description::new("db_client_connections", "Connections by state").series_max(4),
            ["state"],
        )?;
        let requests: Family<Counter, 1> = registry.family(
            describe("requests", "Requests by how they ended").series_max(REQUESTS.len() + 1),
            ["end"],
        )?;
        let series = Series {
            idle: count.with(["idle"]),
            used: count.with(["used"]),
            connecting: count.with(["connecting"]),
            max: registry.gauge(describe("max", "The most connections there may be"))?,
            pending: registry.gauge(describe("pending_requests", "Requests that wait for a connection"))?,
            timeouts: registry.counter(describe("timeouts", "Requests whose time ran out"))?,
            requests: REQUESTS.iter().map(|(end, _)| requests.with([*end])).collect(),
            dials: registry.counter(describe("dials", "Dials begun"))?,
            dial_failures: registry.counter(describe("dial_failures", "Dials that came to nothing"))?,
            create_time: registry.histogram(describe("create_time", "Time to make a connection"))?,
            wait_time: registry.histogram(describe("wait_time", "Time to get a connection"))?,
            use_time: registry
                .histogram(describe("use_time", "Time from getting a connection to giving it back"))?,
            published: Mutex::default(),
        };
        Ok(Self { series: Arc::new(series) })
    }

    /// Brings levels and totals up to `pool`'s status; what came since the last time is added.
    pub fn publish<M: Manager>(&self, pool: &Pool<M>) {
        let series = &*self.series;
        let mut published = series.published.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pool.status();
        let level = |gauge: &Gauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        level(&series.idle, now.idle);
        level(&series.used, now.in_use);
        level(&series.connecting, now.connecting);
        level(&series.max, now.max);
        level(&series.pending, now.queued);
        let add = |counter: &Counter, part: fn(&Status) -> u64| {
            counter.add(part(&now).saturating_sub(published.as_ref().map_or(0, part)));
        };
        add(&series.timeouts, |status| status.timeout);
        add(&series.dials, |status| status.dials);
        add(&series.dial_failures, |status| status.dial_failures);
        for (counter, (_, part)) in series.requests.iter().zip(&REQUESTS) {
            add(counter, *part);
        }
        *published = Some(now);
    }

    pub(crate) fn connected(&self, took: Duration) {
        self.series.create_time.record_duration(took);
    }

    pub(crate) fn waited(&self, took: Duration) {
        self.series.wait_time.record_duration(took);
    }

    pub(crate) fn used(&self, took: Duration) {
        self.series.use_time.record_duration(took);
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
        let metrics = PoolMetrics::register(&registry).unwrap();
        assert!(PoolMetrics::register(&registry).is_err(), "the names are taken");
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
        let level = |state| snapshot.gauge("db_client_connections", &[("state", state)]);
        assert_eq!((level("idle"), level("used"), level("connecting")), (Some(0), Some(2), Some(0)));
        let total = |end| snapshot.counter("db_client_connection_requests_total", &[("end", end)]);
        assert_eq!((total("ok"), total("timeout"), total("error")), (Some(5), Some(1), Some(0)));
        assert_eq!(snapshot.counter("db_client_connection_timeouts_total", &[]), Some(1));
        assert_eq!(snapshot.counter("db_client_connection_dials_total", &[]), Some(2));
        let times = |what| {
            snapshot.histogram(&format!("db_client_connection_{what}_time_seconds"), &[]).unwrap().count()
        };
        assert_eq!((times("create"), times("wait"), times("use")), (2, 5, 3));
        drop(held);
    }
}
