//! Bad input is named, and changes nothing.

mod scripted;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use scripted::{Scripted, Step, assert_balanced};
use steadfast_pool::{Builder, GetError, InvalidConfig, KeyedError, KeyedPool, MAX_LIMIT, Pool, Tcp};

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
