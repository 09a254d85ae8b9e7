//! What the documentation promises, in stopped time.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use steadfast_pool::{Builder, DialBudget, DialError, GetError, Pool, Stage};
use tokio::time::{Instant, sleep};

use crate::scripted::{Scripted, Step, assert_balanced, settle};

const SECOND: Duration = Duration::from_secs(1);

fn builder(dials: &[Step], checks: &[Step]) -> Builder<Scripted> {
    Pool::builder(Scripted::new(dials.iter().copied(), checks.iter().copied()))
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn what_was_used_last_goes_first() {
    let pool = builder(&[], &[]).max(3).build().unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let (first, second) = (one.id, two.id);
    drop(one);
    drop(two);
    let again = pool.get().await.unwrap();
    assert_eq!(again.id, second);
    assert_eq!(pool.get().await.unwrap().id, first);
    assert_eq!(pool.manager().open.dials(), 2);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn requests_are_served_in_their_order() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (pool, order) = (pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _held = pool.get().await.unwrap();
            order.lock().unwrap().push(number);
            tokio::task::yield_now().await;
        }));
        settle().await;
    }
    assert_eq!(pool.status().queued, 20);
    drop(held);
    // A newcomer, now that the first one has been served but hasn't run yet.
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(pool.manager().open.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_who_holds_what() {
    let pool = builder(&[], &[]).max(1).timeout(3 * SECOND).build().unwrap();
    let line = line!() + 1;
    let _held = pool.get().await.unwrap();
    sleep(SECOND).await;
    let started = Instant::now();
    let Err(GetError::Timeout(autopsy)) = pool.get().await else { panic!("there is nothing to get") };
    let took = started.elapsed();
    assert!(took >= 3 * SECOND && took < 3 * SECOND + Duration::from_millis(5), "{took:?}");
    assert_eq!((autopsy.stage, autopsy.position), (Stage::Queued, 0));
    assert_eq!(autopsy.waited, autopsy.queued + autopsy.dialling + autopsy.checking);
    assert!(autopsy.queued >= 3 * SECOND && autopsy.dialling.is_zero());
    assert_eq!(autopsy.holders.len(), 1);
    assert_eq!((autopsy.holders[0].at.file(), autopsy.holders[0].at.line()), (file!(), line));
    assert!(autopsy.holders[0].held >= 3 * SECOND, "{:?}", autopsy.holders);
    let told = autopsy.to_string();
    assert!(told.contains("in the queue") && told.contains("behaviour.rs"), "{told}");
    assert_eq!(pool.status().timeout, 1);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn one_deadline_covers_dials_and_the_wait_between_them() {
    let pool = builder(&[Step::Fail; 400], &[])
        .timeout(5 * SECOND)
        .backoff(Duration::from_millis(100), SECOND)
        .build()
        .unwrap();
    let started = Instant::now();
    let Err(GetError::Timeout(autopsy)) = pool.get().await else { panic!("every dial fails") };
    assert!(started.elapsed() < 5 * SECOND + Duration::from_millis(5));
    assert_eq!(autopsy.stage, Stage::BackingOff);
    assert!(matches!(autopsy.last_dial_error.as_deref(), Some(DialError::Failed(_))));
    let status = pool.status();
    // Delays average 0.5 s at the cap; without back-off there would be thousands.
    assert!((5..60).contains(&status.dials), "{status:?}");
    assert_eq!(status.dials, status.dial_failures);
    assert_eq!(status.size, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_is_ended_and_the_next_one_succeeds() {
    let pool = builder(&[Step::Hang], &[]).connect_timeout(2 * SECOND).max(1).build().unwrap();
    let started = Instant::now();
    let _held = pool.get().await.unwrap();
    let took = started.elapsed();
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");
    assert!(matches!(pool.last_dial_error().as_deref(), Some(DialError::TimedOut(_))));
    let pool = builder(&[Step::Hang], &[]).timeout(SECOND).build().unwrap();
    let Err(GetError::Timeout(autopsy)) = pool.get().await else { panic!("the dial hangs") };
    assert_eq!(autopsy.stage, Stage::Dialling);
    assert_eq!((autopsy.dialling, autopsy.queued), (autopsy.waited, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_dial_survives_who_asked_for_it() {
    let pool = builder(&[Step::SucceedAfter(SECOND)], &[]).build().unwrap();
    {
        let mut asking = pin!(pool.get());
        assert!(poll(asking.as_mut()).is_pending());
        settle().await;
    }
    assert_eq!((pool.status().cancelled, pool.status().connecting), (1, 1));
    sleep(2 * SECOND).await;
    let status = pool.status();
    assert_eq!((status.idle, status.size, status.dials), (1, 1, 1));
    drop(pool.get().await.unwrap());
    assert_eq!(pool.manager().open.dials(), 1);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn an_error_for_good_is_told_at_once() {
    let pool = builder(&[Step::FailForGood], &[]).build().unwrap();
    let started = Instant::now();
    let Err(GetError::Connect(error)) = pool.get().await else { panic!("it is refused for good") };
    assert!(matches!(&*error, DialError::Failed(refused) if refused.for_good));
    assert!(started.elapsed() < SECOND);
    let status = pool.status();
    assert_eq!((status.error, status.size), (1, 0));
    drop(pool.get().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_costs_nothing() {
    let pool = builder(&[Step::Panic], &[Step::Succeed, Step::Panic])
        .max(1)
        .check_after(Duration::ZERO)
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    assert!(matches!(pool.last_dial_error().as_deref(), Some(DialError::Panicked)));
    let other = pool.clone();
    let panicked = tokio::spawn(async move { drop(other.get().await) }).await;
    assert!(panicked.unwrap_err().is_panic());
    let status = pool.status();
    assert_eq!((status.size, status.waiting, status.error), (0, 0, 1), "{status:?}");
    drop(pool.get().await.unwrap());
    assert_eq!(pool.manager().open.most(), 1);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn what_a_panic_drops_is_not_pooled_again() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let other = pool.clone();
    let panicked = tokio::spawn(async move {
        let _held = other.get().await.unwrap();
        panic!("planted");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let status = pool.status();
    assert_eq!((status.size, status.retired), (0, 1));
    assert_eq!(pool.manager().open.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_idled_is_checked_and_the_bad_are_replaced() {
    let pool = builder(&[], &[Step::Fail, Step::Succeed]).max(2).build().unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop((one, two));
    drop(pool.get().await.unwrap());
    let checked = || pool.manager().checked.load(Ordering::SeqCst);
    assert_eq!(checked(), 0, "it was used a moment ago");
    sleep(SECOND).await;
    let held = pool.get().await.unwrap();
    assert_eq!(checked(), 2, "the first one was bad, the second one good");
    assert_eq!(pool.manager().open.now(), 1);
    let status = pool.status();
    assert_eq!((status.size, status.retired, status.waiting), (1, 1, 0));
    drop(held);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn who_has_to_wait_again_keeps_the_place() {
    let pool = builder(&[], &[Step::FailAfter(SECOND)]).max(1).build().unwrap();
    drop(pool.get().await.unwrap());
    sleep(SECOND).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..3 {
        let (pool, order) = (pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _held = pool.get().await.unwrap();
            order.lock().unwrap().push(number);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2], "P4: the one whose check failed was the first to ask");
    assert_eq!(pool.manager().open.most(), 1, "P1: the bad one was gone before its successor came");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_ends_with_the_request() {
    let pool = builder(&[], &[Step::Hang]).max(1).timeout(2 * SECOND).build().unwrap();
    drop(pool.get().await.unwrap());
    sleep(SECOND).await;
    let started = Instant::now();
    let Err(GetError::Timeout(autopsy)) = pool.get().await else { panic!("the check hangs") };
    assert!(started.elapsed() < 2 * SECOND + Duration::from_millis(5));
    assert_eq!(autopsy.stage, Stage::Checking);
    assert!(autopsy.checking >= 2 * SECOND);
    let status = pool.status();
    assert_eq!((status.size, status.waiting, status.timeout), (0, 0, 1), "P10: it is suspect");
    assert_balanced(&status);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_was_cut_short_leaves_nothing_idle() {
    let pool = builder(&[], &[Step::SucceedAfter(SECOND)]).max(1).build().unwrap();
    drop(pool.get().await.unwrap());
    sleep(SECOND).await;
    {
        let mut asking = pin!(pool.get());
        assert!(poll(asking.as_mut()).is_pending());
        assert_eq!(pool.status().in_use, 1);
    }
    let status = pool.status();
    assert_eq!((status.idle, status.size, status.cancelled, status.waiting), (0, 0, 1, 0), "P10");
    assert_eq!(pool.manager().open.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_end_spread_over_their_last_part() {
    let lifetime = 1000 * SECOND;
    let pool = builder(&[], &[]).max(50).lifetime(lifetime).idle_timeout(None).build().unwrap();
    let all: Vec<_> = futures(&pool, 50).await;
    drop(all);
    sleep(lifetime.mul_f64(0.974)).await;
    assert_eq!(pool.status().idle, 50);
    sleep(lifetime.mul_f64(0.013)).await;
    let left = pool.status().idle;
    assert!((5..45).contains(&left), "they went all at once: {left}");
    sleep(lifetime.mul_f64(0.014)).await;
    assert_eq!((pool.status().idle, pool.manager().open.now()), (0, 0));
}

async fn futures(pool: &Pool<Scripted>, count: usize) -> Vec<steadfast_pool::Pooled<'_, Scripted>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(pool.get().await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn too_old_ones_go_when_they_come_back() {
    let pool = builder(&[], &[]).max(1).lifetime(10 * SECOND).build().unwrap();
    let held = pool.get().await.unwrap();
    sleep(11 * SECOND).await;
    drop(held);
    assert_eq!((pool.status().size, pool.status().retired), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_ones_go_down_to_the_minimum_which_is_kept_up() {
    let pool = builder(&[], &[]).max(5).idle_min(2).idle_timeout(10 * SECOND).lifetime(None).build().unwrap();
    assert_eq!(pool.status().size, 0);
    pool.warm_up(SECOND).await.unwrap();
    assert_eq!(pool.status().idle, 2);
    let all = futures(&pool, 5).await;
    drop(all);
    assert_eq!(pool.status().idle, 5);
    sleep(9 * SECOND).await;
    assert_eq!(pool.status().idle, 5);
    sleep(2 * SECOND).await;
    assert_eq!(pool.status().idle, 2);
    let mut held = futures(&pool, 2).await;
    settle().await;
    assert_eq!((pool.status().idle, pool.status().in_use), (2, 2));
    held[0].mark_broken();
    held[1].broken = true;
    drop(held);
    settle().await;
    assert_eq!((pool.status().idle, pool.status().size), (2, 2));
    sleep(100 * SECOND).await;
    assert_eq!(pool.status().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn detached_ones_leave_room() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let own = pool.get().await.unwrap().detach();
    let status = pool.status();
    assert_eq!((status.size, status.detached, status.retired), (0, 1, 0));
    let held = pool.get().await.unwrap();
    assert_ne!(own.id, held.id);
    // One who waits hears of the room.
    let mut asking = pin!(pool.get());
    assert!(poll(asking.as_mut()).is_pending());
    drop(held.detach());
    let third = asking.await.unwrap();
    assert_eq!(third.id, 2);
}

#[tokio::test(start_paused = true)]
async fn retain_asks_the_oldest_first_and_keeps_the_order() {
    let pool = builder(&[], &[]).max(4).build().unwrap();
    let all = futures(&pool, 4).await;
    for one in all {
        drop(one);
        sleep(Duration::from_millis(200)).await;
    }
    let mut asked = Vec::new();
    let retained = pool.retain(|connection, idle| {
        assert!(idle.age >= idle.idle);
        asked.push(connection.id);
        connection.id != 1
    });
    assert_eq!((retained.kept, retained.dropped), (3, 1));
    assert_eq!(asked, [0, 1, 2, 3]);
    assert_eq!(pool.manager().open.now(), 3);
    let order: Vec<_> = futures(&pool, 3).await.iter().map(|one| one.id).collect();
    assert_eq!(order, [3, 2, 0]);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn retain_that_panics_loses_one_resource_and_no_room() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    drop(futures(&pool, 2).await);
    let other = pool.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        other.retain(|_, _| panic!("planted"));
    }));
    assert!(panicked.is_err());
    assert_eq!((pool.status().idle, pool.status().size), (1, 1));
    assert_eq!(futures(&pool, 2).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_shrinks_as_resources_come_back() {
    let pool = builder(&[], &[]).max(4).build().unwrap();
    let mut all = futures(&pool, 4).await;
    drop(all.pop());
    pool.resize(2).unwrap();
    assert_eq!((pool.status().size, pool.status().idle), (3, 0));
    drop(all.pop());
    assert_eq!((pool.status().size, pool.status().idle), (2, 0));
    drop(all.pop());
    assert_eq!((pool.status().size, pool.status().idle), (2, 1));
    let mut waiting = pin!(async { futures(&pool, 2).await });
    assert!(poll(waiting.as_mut()).is_pending());
    pool.resize(3).unwrap();
    assert_eq!(waiting.await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn close_tells_waiters_and_waits_for_what_is_out() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    let mut all = futures(&pool, 2).await;
    drop(all.pop());
    let held = all.pop().unwrap();
    let second = pool.get().await.unwrap();
    let other = pool.clone();
    let waiter = tokio::spawn(async move { other.get().await.map(drop) });
    settle().await;
    drop(second);
    settle().await;
    waiter.await.unwrap().unwrap();
    let other = pool.clone();
    let waits = tokio::spawn(async move {
        let _one = other.get().await.unwrap();
        other.get().await.map(drop)
    });
    settle().await;
    let report = pool.close(SECOND).await;
    assert!(matches!(waits.await.unwrap(), Err(GetError::Closed)));
    assert!(!report.drained);
    assert_eq!((report.in_use, report.connecting), (1, 0));
    assert!(report.took >= SECOND);
    assert_eq!(report.holders.len(), 1);
    assert!(matches!(pool.get().await, Err(GetError::Closed)));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
    assert!(pool.is_closed());
    let other = pool.clone();
    let closing = tokio::spawn(async move { other.close(100 * SECOND).await });
    settle().await;
    assert!(!closing.is_finished());
    drop(held);
    let report = closing.await.unwrap();
    assert!(report.drained && report.took < SECOND, "{report:?}");
    assert_eq!(pool.manager().open.now(), 0);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn close_stops_dials() {
    let pool = builder(&[Step::Hang, Step::Hang], &[]).max(2).build().unwrap();
    let other = pool.clone();
    let waiter = tokio::spawn(async move { other.get().await.map(drop) });
    settle().await;
    assert_eq!(pool.status().connecting, 1);
    let report = pool.close(SECOND).await;
    assert!(report.drained && report.took.is_zero(), "{report:?}");
    assert!(matches!(waiter.await.unwrap(), Err(GetError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn pools_that_share_a_budget_never_dial_more_than_it_allows() {
    let budget = DialBudget::new(3);
    let pool = || {
        builder(&[Step::SucceedAfter(SECOND); 20], &[]).max(20).dial_budget(budget.clone()).build().unwrap()
    };
    let pools = [pool(), pool()];
    let mut tasks = Vec::new();
    for number in 0..40 {
        let pool = pools[number % 2].clone();
        tasks.push(tokio::spawn(async move { pool.get().await.map(std::mem::forget) }));
    }
    settle().await;
    assert_eq!(budget.under_way(), 3);
    assert_eq!(pools.iter().map(|pool| pool.status().connecting).sum::<usize>(), 40);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((budget.most(), budget.under_way()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_one_dial_at_a_time_tries() {
    let pool = builder(&[Step::Fail, Step::SucceedAfter(SECOND)], &[]).max(8).build().unwrap();
    let ask = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get().await.map(std::mem::forget) })
    };
    let mut tasks = vec![ask()];
    settle().await;
    assert_eq!(pool.status().dial_failures, 1);
    tasks.extend((0..7).map(|_| ask()));
    // The back-off is over, and the dial after it isn't.
    sleep(SECOND / 2).await;
    assert_eq!((pool.status().connecting, pool.status().queued), (1, 8));
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(pool.status().in_use, 8);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_isn_t_rounded_up_to_the_next_tick() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    for _ in 0..30 {
        let started = Instant::now();
        let ended = pool.get_timeout(Duration::from_millis(7)).await;
        assert!(matches!(ended, Err(GetError::Timeout(_))));
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(7) && took < Duration::from_millis(12), "P5: {took:?}");
    }
}

#[test]
fn a_pool_outlives_its_runtimes() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The keeper and its timers end with each of them.
    for _ in 0..3 {
        let runtime = runtime();
        runtime.block_on(async {
            let held = pool.get().await.unwrap();
            let timed_out = pool.get_timeout(Duration::from_millis(20)).await;
            assert!(matches!(timed_out, Err(GetError::Timeout(_))));
            drop(held);
        });
    }
    let held = runtime().block_on(async { pool.get().await.unwrap().into_owned() });
    // Dropped without any runtime, seen by whoever comes next.
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert!(pool.try_get().is_ok());
    assert_eq!(pool.manager().open.dials(), 1);
}

#[test]
fn a_guard_that_stands_alone_keeps_its_pool() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    let open = Arc::clone(&pool.manager().open);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (kept, mut broken) = runtime.block_on(async {
        let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        (first.into_owned(), second.into_owned())
    });
    assert_eq!(pool.status().in_use, 2);
    drop((pool, runtime));
    assert_eq!(open.now(), 2);
    assert!(kept.age() < Duration::from_secs(3600) && !kept.broken);
    broken.mark_broken();
    drop(broken);
    assert_eq!(open.now(), 1);
    drop(kept);
    assert_eq!(open.now(), 0, "the pool went with its last guard, and its idle resource with it");
}

#[test]
fn who_waits_brings_another_keeper_when_its_runtime_ends() {
    let pool = builder(&[], &[]).max(1).build().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let held = first.block_on(async { pool.get().await.unwrap() });
    let (queued, is_queued) = std::sync::mpsc::channel();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let other = pool.clone();
    let waits = std::thread::spawn(move || {
        let timed_out = runtime().block_on(async {
            let mut asking = pin!(other.get_timeout(Duration::from_millis(50)));
            assert!(poll(asking.as_mut()).is_pending());
            let asked = tokio::time::timeout(
                60 * SECOND,
                std::future::poll_fn(|context| {
                    let polled = asking.as_mut().poll(context);
                    let _ = queued.send(());
                    polled
                }),
            );
            matches!(asked.await, Ok(Err(GetError::Timeout(_))))
        });
        let _ = ended.send(timed_out);
    });
    is_queued.recv().unwrap();
    // The keeper was a task of this one, which nobody drives any more.
    drop(first);
    assert!(has_ended.recv_timeout(20 * SECOND).expect("P3: nobody keeps time for who waits"));
    waits.join().unwrap();
    drop(held);
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn try_get_waits_for_nothing() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(status)) if status.in_use == 0));
    let all = futures(&pool, 2).await;
    assert!(pool.try_get().is_err());
    drop(all);
    sleep(10 * SECOND).await;
    assert!(pool.try_get().is_ok());
    let nothing = pool.get_timeout(Duration::ZERO).await;
    assert!(nothing.is_ok());
    let _both = (nothing, pool.get().await);
    let Err(GetError::Timeout(autopsy)) = pool.get_timeout(Duration::ZERO).await else {
        panic!("none is idle")
    };
    assert!(autopsy.waited.is_zero());
    assert_balanced(&pool.status());
}
#[tokio::test(start_paused = true)]
async fn what_nobody_ever_asked_for_goes_in_time_as_well() {
    let lifetime = 100 * SECOND;
    let pool = builder(&[], &[]).max(2).idle_min(1).lifetime(lifetime).idle_timeout(None).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    for replaced in 0..3 {
        assert_eq!(pool.manager().open.dials(), 1 + replaced);
        sleep(lifetime).await;
    }
    assert_eq!(pool.manager().open.now(), 1);

    // A dial whose asker has gone brings what nobody wants.
    let pool =
        builder(&[Step::SucceedAfter(3 * SECOND)], &[]).max(2).idle_timeout(10 * SECOND).build().unwrap();
    assert!(pool.get_timeout(SECOND).await.is_err());
    sleep(3 * SECOND).await;
    assert_eq!(pool.status().idle, 1);
    sleep(11 * SECOND).await;
    assert_eq!(pool.status().idle, 0);
}

/// Symptom: a peer that accepted and broke each connection at once was dialled as fast as callers came.
#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_what_it_has_just_accepted_is_backed_off_from() {
    let base = Duration::from_millis(100);
    let pool = builder(&[], &[]).max(2).backoff(base, SECOND).proven_after(base).build().unwrap();
    let started = Instant::now();
    while started.elapsed() < 20 * SECOND && pool.manager().open.dials() < 1_000 {
        if let Ok(mut pooled) = pool.get_timeout(SECOND).await {
            pooled.broken = true;
        }
    }
    let dials = pool.manager().open.dials();
    assert!((10..200).contains(&dials), "{dials} dials in 20 s, with delays up to 1 s");
    // One that lasts ends it: what breaks next is replaced at once.
    let lasts = pool.get_timeout(2 * SECOND).await.unwrap();
    sleep(2 * base).await;
    drop(lasts);
    let mut breaks = pool.get().await.unwrap();
    breaks.broken = true;
    drop(breaks);
    let asked = Instant::now();
    let _next = pool.get().await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(10), "{:?}", asked.elapsed());
    assert_balanced(&pool.status());
}

/// Symptom: without time for a check, a good resource that was due for one was dropped, and the request timed out.
#[tokio::test(start_paused = true)]
async fn without_time_for_a_check_only_the_quick_question_is_asked() {
    let pool = builder(&[], &[Step::Hang]).max(2).build().unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let good = one.id;
    drop(one);
    sleep(SECOND).await;
    drop(two);
    let at_once = pool.get_timeout(Duration::ZERO).await.unwrap();
    let also = pool.get_timeout(Duration::ZERO).await.unwrap();
    assert_eq!(also.id, good);
    assert_eq!(pool.manager().checked.load(Ordering::SeqCst), 0);
    let mut waits = pin!(pool.get());
    assert!(poll(waits.as_mut()).is_pending());
    let Err(GetError::Timeout(autopsy)) = pool.get_timeout(Duration::ZERO).await else {
        panic!("two of two are out")
    };
    assert_eq!((autopsy.waited, autopsy.position, autopsy.holders.len()), (Duration::ZERO, 1, 2));
    let status = pool.status();
    assert_eq!((status.size, status.timeout, status.error), (2, 1, 0), "{status:?}");
    drop((at_once, also));
    pool.close(SECOND).await;
    assert!(matches!(pool.get_timeout(Duration::ZERO).await, Err(GetError::Closed)));
    assert_balanced(&pool.status());
}

/// Symptom: a server that refused for 50 ms was left alone for nine seconds, since ten dials that failed together were ten failures in a row.
#[tokio::test(start_paused = true)]
async fn a_wave_of_failures_is_one_failure() {
    let refused = [Step::FailAfter(Duration::from_millis(10)); 10];
    let base = Duration::from_millis(100);
    let pool = builder(&refused, &[]).max(10).backoff(base, 10 * SECOND).build().unwrap();
    let mut asked: Vec<_> = (0..10).map(|_| Box::pin(pool.get())).collect();
    for one in &mut asked {
        assert!(poll(one.as_mut()).is_pending());
    }
    sleep(Duration::from_millis(11)).await;
    settle().await;
    assert_eq!(pool.status().dial_failures, 10);
    // Then one dial finds out, after at most the base.
    sleep(base).await;
    settle().await;
    assert!(pool.status().idle + pool.status().in_use > 0, "{:?}", pool.status());
}

/// Symptom: a healthy server that closed after each reply was dialled less and less often.
#[tokio::test(start_paused = true)]
async fn a_server_that_closes_after_each_reply_is_no_failing_one() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    let started = Instant::now();
    for _ in 0..100 {
        let mut pooled = pool.get().await.unwrap();
        sleep(Duration::from_millis(10)).await;
        pooled.broken = true;
    }
    assert!(started.elapsed() < Duration::from_millis(1_100), "{:?}", started.elapsed());
}

/// Symptom: where dials failed now and then, and what succeeded was detached, delays grew as if they failed in a row.
#[tokio::test(start_paused = true)]
async fn what_lasted_and_left_ends_the_failures() {
    let base = Duration::from_millis(100);
    for proven_after in [Duration::ZERO, base] {
        let steps: Vec<_> = (0..20).flat_map(|_| [Step::Fail, Step::Succeed]).collect();
        let pool = builder(&steps, &[])
            .max(1)
            .backoff(base, 10 * SECOND)
            .proven_after(proven_after)
            .build()
            .unwrap();
        for _ in 0..10 {
            let asked = Instant::now();
            let pooled = pool.get().await.unwrap();
            assert!(asked.elapsed() <= 2 * base, "{:?}", asked.elapsed());
            sleep(SECOND).await;
            drop(pooled.detach());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_always_finds_something_idle_lets_others_run() {
    let pool = builder(&[], &[]).max(2).build().unwrap();
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    let ticked = Arc::new(AtomicUsize::new(0));
    let counts = ticked.clone();
    tokio::spawn(async move {
        loop {
            counts.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    // Alone, and in a pattern with requests that never wait. A turn is 4096 requests that find something idle.
    for others in [false, true] {
        let before = ticked.load(Ordering::SeqCst);
        for _ in 0..11 * 4300 {
            let other = others.then(|| pool.try_get().unwrap());
            drop((pool.get().await.unwrap(), other));
        }
        assert!(ticked.load(Ordering::SeqCst) >= before + 10);
    }
}
