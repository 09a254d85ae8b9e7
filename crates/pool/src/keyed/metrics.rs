//! A keyed pool's statistics as metrics (feature `metrics`), under the same names as the other pool's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_metrics::{Counter, Description, Family, Gauge, Histogram, InFlight, MetricsError, Registry};
use tokio::time::Instant;

use super::error::KeyedError;
use super::pool::{Connector, KeyedPool};
use super::status::{AddressState, AddressStatus, KeyedStatus};

/// What one keyed pool records. Requests and times are recorded as they pass once it was given to the [`KeyedBuilder`](crate::KeyedBuilder::metrics); the rest when it is published.
#[derive(Clone, Debug)]
pub struct KeyedMetrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    idle: Gauge,
    used: Gauge,
    connecting: Gauge,
    addresses: [(AddressState, Gauge); 4],
    pending: Gauge,
    timeouts: Counter,
    ok: Counter,
    error: Counter,
    timeout: Counter,
    cancelled: Counter,
    dials: Counter,
    dial_failures: Counter,
    create_time: Histogram,
    wait_time: Histogram,
    use_time: Histogram,
    /// What was published. Also the lock that makes one publish at a time.
    published: Mutex<Option<KeyedStatus>>,
}

/// A request that hasn't ended.
pub(super) struct Pending<'a> {
    series: &'a Series,
    since: Instant,
    ended: bool,
    _in_flight: InFlight,
}

impl KeyedMetrics {
    /// Registers `db_client_connections{state}` (idle, used, connecting), `db_client_connection_addresses{state}` (cold, dialling, live, failing), `db_client_connection_pending_requests`, `…_timeouts_total`, `…_requests_total{end}`,
    /// `…_dials_total`, `…_dial_failures_total`, `…_create_time_seconds` (of dials that came to a connection, without the wait for their turn), `…_wait_time_seconds` (of requests that got one), `…_use_time_seconds` (of each handle). Nothing is told by address. One registry a pool, or the names are taken.
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
        let addresses: Family<Gauge, 1> =
            registry.family(describe("addresses", "Addresses by state").series_max(5), ["state"])?;
        let requests: Family<Counter, 1> =
            registry.family(describe("requests", "Requests by how they ended").series_max(5), ["end"])?;
        let series = Series {
            idle: count.with(["idle"]),
            used: count.with(["used"]),
            connecting: count.with(["connecting"]),
            addresses: [
                (AddressState::Cold, addresses.with(["cold"])),
                (AddressState::Dialling, addresses.with(["dialling"])),
                (AddressState::Live, addresses.with(["live"])),
                (AddressState::Failing, addresses.with(["failing"])),
            ],
            pending: registry.gauge(describe("pending_requests", "Requests that wait for a connection"))?,
            timeouts: registry.counter(describe("timeouts", "Requests whose time ran out"))?,
            ok: requests.with(["ok"]),
            error: requests.with(["error"]),
            timeout: requests.with(["timeout"]),
            cancelled: requests.with(["cancelled"]),
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

    /// Brings levels and dials up to `pool`'s status; what came since the last time is added.
    pub fn publish<C: Connector>(&self, pool: &KeyedPool<C>) {
        let series = &*self.series;
        let mut published = series.published.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pool.status();
        let level = |gauge: &Gauge, is: &dyn Fn(&AddressStatus) -> bool| {
            let count = now.addresses.iter().filter(|one| is(one)).count();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let live = |one: &AddressStatus| one.state == AddressState::Live;
        level(&series.idle, &|one| live(one) && one.in_flight == 0);
        level(&series.used, &|one| live(one) && one.in_flight > 0);
        level(&series.connecting, &|one| one.state == AddressState::Dialling);
        for (state, gauge) in &series.addresses {
            level(gauge, &|one| one.state == *state);
        }
        let before = |part: fn(&KeyedStatus) -> u64| published.as_ref().map_or(0, part);
        series.dials.add(now.dials.saturating_sub(before(|status| status.dials)));
        series.dial_failures.add(now.dial_failures.saturating_sub(before(|status| status.dial_failures)));
        *published = Some(now);
    }

    pub(super) fn connected(&self, took: Duration) {
        self.series.create_time.record_duration(took);
    }

    pub(super) fn used(&self, took: Duration) {
        self.series.use_time.record_duration(took);
    }

    /// A request found a connection.
    pub(super) fn served_at_once(&self) {
        self.series.ok.increment();
        self.series.wait_time.record_duration(Duration::ZERO);
    }

    /// A request didn't.
    pub(super) fn begin(&self) -> Pending<'_> {
        let in_flight = self.series.pending.enter();
        Pending { series: &self.series, since: Instant::now(), ended: false, _in_flight: in_flight }
    }
}

impl Pending<'_> {
    pub(super) fn end<T, E>(mut self, answer: &Result<T, KeyedError<E>>) {
        self.ended = true;
        match answer {
            Ok(_) => {
                self.series.ok.increment();
                self.series.wait_time.record_duration(self.since.elapsed());
            }
            Err(KeyedError::Timeout(_)) => {
                self.series.timeout.increment();
                self.series.timeouts.increment();
            }
            Err(_) => self.series.error.increment(),
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.series.cancelled.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::tcp::Tcp;

    #[tokio::test]
    async fn what_is_recorded_and_published_adds_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Registry::new();
        let metrics = KeyedMetrics::register(&registry).unwrap();
        assert!(KeyedMetrics::register(&registry).is_err(), "the names are taken");
        let pool = KeyedPool::builder(Tcp::new("")).metrics(metrics.clone()).build().unwrap();
        pool.add(&address).unwrap();
        assert!(pool.try_get(&address).is_err());
        assert!(pool.get_timeout(&address, Duration::ZERO).await.is_err());
        let held = pool.get(&address).await.unwrap();
        for _ in 0..3 {
            drop(pool.get(&address).await.unwrap());
            metrics.publish(&pool);
        }
        drop(pool.pick().await.unwrap());
        assert!(pool.get("unknown").await.is_err());
        let snapshot = registry.snapshot();
        let level = |state| snapshot.gauge("db_client_connections", &[("state", state)]);
        assert_eq!((level("idle"), level("used"), level("connecting")), (Some(0), Some(1), Some(0)));
        let addresses = |state| snapshot.gauge("db_client_connection_addresses", &[("state", state)]);
        assert_eq!((addresses("live"), addresses("failing")), (Some(1), Some(0)));
        let total = |end| snapshot.counter("db_client_connection_requests_total", &[("end", end)]);
        assert_eq!((total("ok"), total("timeout"), total("error")), (Some(5), Some(1), Some(2)));
        assert_eq!(snapshot.counter("db_client_connection_timeouts_total", &[]), Some(1));
        assert_eq!(snapshot.counter("db_client_connection_dials_total", &[]), Some(1));
        let times = |what| {
            snapshot.histogram(&format!("db_client_connection_{what}_time_seconds"), &[]).unwrap().count()
        };
        assert_eq!((times("create"), times("wait"), times("use")), (1, 5, 4));
        drop(held);
        metrics.publish(&pool);
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.gauge("db_client_connections", &[("state", "idle")]), Some(1));
        assert_eq!(snapshot.gauge("db_client_connection_pending_requests", &[]), Some(0));
    }

    #[tokio::test]
    async fn who_gives_up_is_counted_and_pending_no_more() {
        let registry = Registry::new();
        let metrics = KeyedMetrics::register(&registry).unwrap();
        let budget = crate::DialBudget::new(1);
        let turn = budget.turn().await;
        let pool = KeyedPool::builder(Tcp::new("")).dial_budget(budget).metrics(metrics).build().unwrap();
        pool.add("127.0.0.1:9").unwrap();
        let pending = || registry.snapshot().gauge("db_client_connection_pending_requests", &[]);
        {
            let mut asks = std::pin::pin!(pool.get("127.0.0.1:9"));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(asks.as_mut().poll(&mut context).is_pending());
            assert_eq!(pending(), Some(1));
        }
        assert_eq!(pending(), Some(0));
        let cancelled =
            registry.snapshot().counter("db_client_connection_requests_total", &[("end", "cancelled")]);
        assert_eq!(cancelled, Some(1));
        drop(turn);
    }

    /// Connects after a tenth of a second.
    struct Slow;

    impl Connector for Slow {
        type Connection = ();
        type Error = std::io::Error;

        async fn connect(&self, _: &str) -> std::io::Result<()> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn making_a_connection_is_the_dial_without_the_wait_for_its_turn() {
        let registry = Registry::new();
        let metrics = KeyedMetrics::register(&registry).unwrap();
        let budget = crate::DialBudget::new(1);
        let pool = KeyedPool::builder(Slow).dial_budget(budget).metrics(metrics).build().unwrap();
        pool.add("a").unwrap();
        pool.add("b").unwrap();
        let (one, two) = tokio::join!(pool.get("a"), pool.get("b"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop((one.unwrap(), two.unwrap()));
        let snapshot = registry.snapshot();
        let milliseconds = |what| {
            let name = format!("db_client_connection_{what}_time_seconds");
            snapshot.histogram(&name, &[]).unwrap().sum() / 1_000_000
        };
        // Each took 100 ms to make; the second waited for twice as long, and the first had its connection meanwhile.
        assert!((200..250).contains(&milliseconds("create")), "{}", milliseconds("create"));
        assert!((300..350).contains(&milliseconds("wait")), "{}", milliseconds("wait"));
        assert!((300..350).contains(&milliseconds("use")), "{}", milliseconds("use"));
    }
}
