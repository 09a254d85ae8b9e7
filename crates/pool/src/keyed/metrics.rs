//! A keyed pool's statistics as metrics (feature `metrics`), under the same names as the other pool's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_metrics::{Gauge, InFlight};
use tokio::time::Instant;

use super::error::KeyedError;
use super::pool::{Connector, KeyedPool};
use super::status::{AddressState, AddressStatus, KeyedStatus};
use crate::metrics::Recorded;

/// Places among the requests' ends.
const OK: usize = 0;
const ERROR: usize = 1;
const TIMEOUT: usize = 2;
const CANCELLED: usize = 3;

/// What one keyed pool records. Requests and times are recorded as they pass once it was given to the [`KeyedBuilder`](crate::KeyedBuilder::metrics); the rest when it is published.
#[derive(Clone, Debug)]
pub struct KeyedMetrics {
    series: Arc<Series>,
}

#[derive(Debug)]
struct Series {
    recorded: Recorded,
    addresses: [(AddressState, Gauge); 4],
    /// What was published. Also the lock that makes one publish at a time.
    published: Mutex<Option<KeyedStatus>>,
}

/// A request that hasn't ended.
pub(super) struct Pending<'a> {
    recorded: &'a Recorded,
    since: Instant,
    ended: bool,
    _in_flight: InFlight,
}

impl KeyedMetrics {
    pub(crate) fn new(recorded: Recorded, address: impl Fn(&'static str) -> Gauge) -> Self {
        let addresses = [
            (AddressState::Cold, address("cold")),
            (AddressState::Dialling, address("dialling")),
            (AddressState::Live, address("live")),
            (AddressState::Failing, address("failing")),
        ];
        Self { series: Arc::new(Series { recorded, addresses, published: Mutex::default() }) }
    }

    /// Brings levels and dials up to `pool`'s status; what came since the last time is added.
    pub fn publish<C: Connector>(&self, pool: &KeyedPool<C>) {
        let Series { recorded, addresses, published } = &*self.series;
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pool.status();
        let level = |gauge: &Gauge, is: &dyn Fn(&AddressStatus) -> bool| {
            let count = now.addresses.iter().filter(|one| is(one)).count();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let live = |one: &AddressStatus| one.state == AddressState::Live;
        level(&recorded.idle, &|one| live(one) && one.in_flight == 0);
        level(&recorded.used, &|one| live(one) && one.in_flight > 0);
        level(&recorded.connecting, &|one| one.state == AddressState::Dialling);
        for (state, gauge) in addresses {
            level(gauge, &|one| one.state == *state);
        }
        let before = |part: fn(&KeyedStatus) -> u64| published.as_ref().map_or(0, part);
        recorded.dials.add(now.dials.saturating_sub(before(|status| status.dials)));
        recorded.dial_failures.add(now.dial_failures.saturating_sub(before(|status| status.dial_failures)));
        *published = Some(now);
    }

    pub(super) fn connected(&self, took: Duration) {
        self.series.recorded.create_time.record_duration(took);
    }

    pub(super) fn used(&self, took: Duration) {
        self.series.recorded.use_time.record_duration(took);
    }

    /// A request found a connection.
    pub(super) fn served_at_once(&self) {
        self.series.recorded.requests[OK].increment();
        self.series.recorded.wait_time.record_duration(Duration::ZERO);
    }

    /// A request didn't.
    pub(super) fn begin(&self) -> Pending<'_> {
        let in_flight = self.series.recorded.pending.enter();
        Pending {
            recorded: &self.series.recorded,
            since: Instant::now(),
            ended: false,
            _in_flight: in_flight,
        }
    }
}

impl Pending<'_> {
    pub(super) fn end<T, E>(mut self, answer: &Result<T, KeyedError<E>>) {
        self.ended = true;
        match answer {
            Ok(_) => {
                self.recorded.requests[OK].increment();
                self.recorded.wait_time.record_duration(self.since.elapsed());
            }
            Err(KeyedError::Timeout(_)) => {
                self.recorded.requests[TIMEOUT].increment();
                self.recorded.timeouts.increment();
            }
            Err(_) => self.recorded.requests[ERROR].increment(),
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.recorded.requests[CANCELLED].increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use steadfast_metrics::Registry;

    use super::*;
    use crate::metrics::PoolFamilies;
    use crate::tcp::Tcp;

    const POOL: (&str, &str) = ("db_client_connection_pool_name", "peers");
    const STATE: &str = "db_client_connection_state";

    #[tokio::test]
    async fn what_is_recorded_and_published_adds_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Registry::new();
        let metrics = PoolFamilies::register(&registry).unwrap().keyed_pool("peers");
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
        let level = |state| snapshot.gauge("db_client_connection_count", &[POOL, (STATE, state)]);
        assert_eq!((level("idle"), level("used"), level("connecting")), (Some(0), Some(1), Some(0)));
        let addresses = |state| snapshot.gauge("db_client_connection_addresses", &[POOL, (STATE, state)]);
        assert_eq!((addresses("live"), addresses("failing")), (Some(1), Some(0)));
        let total = |end| snapshot.counter("db_client_connection_requests_total", &[POOL, ("end", end)]);
        assert_eq!((total("ok"), total("timeout"), total("error")), (Some(5), Some(1), Some(2)));
        assert_eq!(snapshot.counter("db_client_connection_timeouts_total", &[POOL]), Some(1));
        // An order that isn't begun within a second goes to who asks next.
        let dials = 1 + pool.status().withdrawn;
        assert_eq!(snapshot.counter("db_client_connection_dials_total", &[POOL]), Some(dials));
        let times = |what| {
            snapshot.histogram(&format!("db_client_connection_{what}_time_seconds"), &[POOL]).unwrap().count()
        };
        assert_eq!((times("create"), times("wait"), times("use")), (1, 5, 4));
        drop(held);
        metrics.publish(&pool);
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.gauge("db_client_connection_count", &[POOL, (STATE, "idle")]), Some(1));
        assert_eq!(snapshot.gauge("db_client_connection_pending_requests", &[POOL]), Some(0));
    }

    #[tokio::test]
    async fn who_gives_up_is_counted_and_pending_no_more() {
        let registry = Registry::new();
        let metrics = PoolFamilies::register(&registry).unwrap().keyed_pool("peers");
        let budget = crate::DialBudget::new(1);
        let turn = budget.turn().await;
        let pool = KeyedPool::builder(Tcp::new("")).dial_budget(budget).metrics(metrics).build().unwrap();
        pool.add("127.0.0.1:9").unwrap();
        let pending = || registry.snapshot().gauge("db_client_connection_pending_requests", &[POOL]);
        {
            let mut asks = std::pin::pin!(pool.get("127.0.0.1:9"));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(asks.as_mut().poll(&mut context).is_pending());
            assert_eq!(pending(), Some(1));
        }
        assert_eq!(pending(), Some(0));
        let cancelled =
            registry.snapshot().counter("db_client_connection_requests_total", &[POOL, ("end", "cancelled")]);
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
        let metrics = PoolFamilies::register(&registry).unwrap().keyed_pool("peers");
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
            snapshot.histogram(&name, &[POOL]).unwrap().sum() / 1_000_000
        };
        // Each took 100 ms to make; the second waited for twice as long, and the first had its connection meanwhile.
        assert!((200..250).contains(&milliseconds("create")), "{}", milliseconds("create"));
        assert!((300..350).contains(&milliseconds("wait")), "{}", milliseconds("wait"));
        assert!((300..350).contains(&milliseconds("use")), "{}", milliseconds("use"));
    }
}
