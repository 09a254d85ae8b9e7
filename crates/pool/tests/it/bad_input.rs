//! Bad input is named, and changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steadfast_pool::{
    Builder, GetError, InvalidConfig, KeyedError, KeyedPool, MAX_LIMIT, Manager, Pool, Tcp,
};
use tokio::time::sleep;

use crate::scripted::{Scripted, Step, assert_balanced};

const SECOND: Duration = Duration::from_secs(1);

fn refused(set: impl FnOnce(Builder<Scripted>) -> Builder<Scripted>) -> InvalidConfig {
    set(Pool::builder(Scripted::default())).build().unwrap_err()
}

#[test]
fn settings_out_of_bounds_are_named() {
    let zero = Duration::ZERO;
    let cases = [
        (refused(|builder| builder.max(0)), "max", "0"),
        (refused(|builder| builder.max(MAX_LIMIT + 1)), "max", "1048577"),
        (refused(|builder| builder.max(3).idle_min(4)), "idle_min", "4"),
        (refused(|builder| builder.connect_timeout(zero)), "connect_timeout", "0"),
        (refused(|builder| builder.backoff(zero, Duration::MAX)), "backoff", "0"),
        (refused(|builder| builder.backoff(Duration::from_secs(2), zero)), "backoff_max", "0ns"),
        (refused(|builder| builder.check_timeout(zero)), "check_timeout", "0"),
        (refused(|builder| builder.idle_timeout(zero)), "idle_timeout", "0"),
        (refused(|builder| builder.lifetime(zero)), "lifetime", "0"),
    ];
    for (error, field, found) in cases {
        assert_eq!((error.field, error.found.as_str()), (field, found));
        assert!(error.to_string().starts_with(&format!("{field} is {found}; it must be ")), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_resize_changes_nothing() {
    let pool = Pool::builder(Scripted::default()).max(4).idle_min(2).build().unwrap();
    for max in [0, 1, MAX_LIMIT + 1] {
        assert_eq!(pool.resize(max).unwrap_err().field, "max");
    }
    assert_eq!(pool.status().max, 4);
}

#[tokio::test(start_paused = true)]
async fn huge_times_are_no_limit_and_don_t_overflow() {
    let pool = Pool::builder(Scripted::new([Step::SucceedAfter(Duration::from_secs(5))], []))
        .timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .check_timeout(Duration::MAX)
        .check_after(Duration::ZERO)
        .idle_timeout(Duration::MAX)
        .lifetime(Duration::MAX)
        .backoff(Duration::MAX, Duration::MAX)
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get_timeout(Duration::MAX).await.unwrap());
    assert_balanced(&pool.status());
    assert!(pool.close(Duration::MAX).await.drained);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_refuses_and_can_be_closed_again() {
    let pool = Pool::builder(Scripted::default()).build().unwrap();
    let held = pool.get().await.unwrap();
    assert!(!pool.close(Duration::ZERO).await.drained);
    assert!(matches!(pool.get().await, Err(GetError::Closed)));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
    assert!(matches!(pool.warm_up(Duration::ZERO).await, Ok(()) | Err(GetError::Closed)));
    pool.resize(20).unwrap();
    assert_eq!(pool.retain(|_, _| true).kept, 0);
    drop(held);
    assert!(pool.close(Duration::ZERO).await.drained);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn unknown_addresses_are_named() {
    let pool = KeyedPool::builder(Tcp::new("")).build().unwrap();
    assert!(matches!(pool.get("nobody").await, Err(KeyedError::UnknownAddress)));
    assert!(matches!(pool.remove("nobody"), Err(KeyedError::UnknownAddress)));
    assert!(matches!(pool.pick().await, Err(KeyedError::UnknownAddress)));
    assert!(matches!(pool.add("a"), Ok(1)));
    assert!(matches!(pool.add("a"), Err(KeyedError::AlreadyAdded(1))));
    assert!(matches!(pool.try_get("a"), Err(KeyedError::NotConnected)));
    assert_eq!(pool.status().dials, 0);
    assert!(pool.close(Duration::ZERO).await.drained);
    assert!(matches!(pool.add("b"), Err(KeyedError::Closed)));
    assert!(matches!(pool.get("a").await, Err(KeyedError::Closed)));
    let refused = KeyedPool::builder(Tcp::new("")).connect_timeout(Duration::ZERO).build();
    assert_eq!(refused.unwrap_err().field, "connect_timeout");
    let refused = KeyedPool::builder(Tcp::new("")).backoff(Duration::ZERO, Duration::MAX).build();
    assert_eq!(refused.unwrap_err().field, "backoff");
}

/// Symptom: the pool's tasks panicked one after the other, each was replaced by who waited, and that went on for ever.
#[test]
fn a_runtime_without_timers_is_told_to_who_asks_and_costs_nothing() {
    let pool = Pool::builder(Scripted::default()).max(1).build().unwrap();
    let without = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        let asked = AssertUnwindSafe(|| without.block_on(async { pool.get().await.map(drop) }));
        let panic = catch_unwind(asked).expect_err("there is nobody to keep time");
        let message = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap();
        assert!(message.contains("timers are disabled"), "{message}");
        let status = pool.status();
        assert_balanced(&status);
        assert_eq!((status.size, status.queued, status.waiting), (0, 0, 0), "{status:?}");
    }
    let with = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let held = with.block_on(pool.get()).unwrap();
    // What is idle is to be had without timers, and without a runtime.
    drop(held);
    drop(without.block_on(pool.get()).unwrap());
    assert_eq!(pool.status().idle, 1);
    assert_balanced(&pool.status());
}

/// Symptom: each task that the pool started there was dropped at once, and its end woke who waited, to start the next.
#[test]
fn a_runtime_that_has_ended_is_told_to_who_asks() {
    let ended = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        handle
    };
    let pool = Pool::builder(Scripted::default()).max(1).build().unwrap();
    let asked = AssertUnwindSafe(|| ended().block_on(async { pool.get().await.map(drop) }));
    assert!(catch_unwind(asked).is_err());
    let status = pool.status();
    assert_eq!((status.size, status.waiting), (0, 0), "{status:?}");
    assert_balanced(&status);
    let keyed = KeyedPool::builder(Tcp::new("")).build().unwrap();
    keyed.add("127.0.0.1:9").unwrap();
    let asked = AssertUnwindSafe(|| ended().block_on(async { keyed.get("127.0.0.1:9").await.map(drop) }));
    assert!(catch_unwind(asked).is_err());
    assert_eq!(keyed.status().dialling, 0);
}

/// Its resources panic when they are dropped.
struct Explosive;

struct Explodes;

impl Drop for Explodes {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "planted");
    }
}

impl Manager for Explosive {
    type Resource = Explodes;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Explodes, std::io::Error> {
        Ok(Explodes)
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_panics_when_dropped_costs_no_place() {
    let pool = Pool::builder(Explosive)
        .max(2)
        .timeout(SECOND)
        .lifetime(10 * SECOND)
        .idle_timeout(None)
        .build()
        .unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop((one, two));
    // Both are too old for whoever asks next: they go within that request, and again within the keeper.
    for _ in 0..3 {
        sleep(11 * SECOND).await;
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert!(pool.try_get().is_err(), "there are two places");
        drop(held);
    }
    sleep(11 * SECOND).await;
    let status = pool.status();
    assert_eq!((status.size, status.waiting, status.in_use, status.connecting), (0, 0, 0, 0), "{status:?}");
    assert_balanced(&status);
    let report = pool.close(SECOND).await;
    assert!(report.drained, "{report:?}");
}

/// Its second resource is bad, and panics when it goes.
#[derive(Default)]
struct BadOnce {
    made: AtomicUsize,
}

struct Bad(bool);

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "planted");
    }
}

impl Manager for BadOnce {
    type Resource = Bad;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Bad, std::io::Error> {
        Ok(Bad(self.made.fetch_add(1, Ordering::Relaxed) == 1))
    }

    async fn check(&self, resource: &mut Bad) -> Result<(), std::io::Error> {
        if resource.0 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// Symptom: a resource that failed its check and panicked when it was dropped left its request counted as waiting for ever.
#[tokio::test(start_paused = true)]
async fn what_a_bad_resource_does_when_it_goes_is_not_the_requests_affair() {
    let pool = Pool::builder(BadOnce::default()).max(2).build().unwrap();
    let (good, bad) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(good);
    drop(bad);
    sleep(SECOND).await;
    // The bad one is on top; the good one, which is due for a check as well, comes next.
    let got = pool.get().await.unwrap();
    assert!(!got.0);
    let status = pool.status();
    assert_eq!((status.ok, status.waiting, status.in_use), (3, 0, 1), "{status:?}");
    assert_balanced(&status);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_dropped_takes_what_panics_with_it() {
    let pool = Pool::builder(Explosive).max(2).build().unwrap();
    let both = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(both);
    assert_eq!(pool.status().idle, 2);
    // Two panics at once would end the process.
    drop(pool);
}
