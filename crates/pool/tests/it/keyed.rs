//! Shared connections by address, in stopped time.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use steadfast_pool::{
    AddressState, Connector, DialBudget, DialError, KeyedBuilder, KeyedError, KeyedPool, KeyedStage,
    KeyedStatus,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::scripted::{REFUSED, Refused};

const SECOND: Duration = Duration::from_secs(1);
/// Where time isn't stopped: long enough for the slowest machine; nothing waits for it in vain.
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Connects,
    ConnectsAfter(Duration),
    Refuses,
    Hangs,
    Panics,
}

/// What each address does, how many dials to it are under way, the most that ever were, and connections that are open.
#[derive(Debug, Default)]
struct World {
    does: Mutex<HashMap<String, Does>>,
    dialling: Mutex<HashMap<String, usize>>,
    dialling_most: AtomicUsize,
    open: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Net(Arc<World>);

#[derive(Debug)]
struct Wire {
    world: Arc<World>,
    broken: AtomicUsize,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.world.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Dialling<'a>(&'a World, String);

impl<'a> Dialling<'a> {
    fn new(world: &'a World, address: &str) -> Self {
        let mut all = world.dialling.lock().unwrap();
        let now = all.entry(address.to_owned()).or_default();
        *now += 1;
        world.dialling_most.fetch_max(*now, Ordering::SeqCst);
        Self(world, address.to_owned())
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(now) = self.0.dialling.lock().unwrap().get_mut(&self.1) {
            *now -= 1;
        }
    }
}

impl Connector for Net {
    type Connection = Wire;
    type Error = Refused;

    async fn connect(&self, address: &str) -> Result<Wire, Refused> {
        let world = &self.0;
        let _dialling = Dialling::new(world, address);
        let does = world.does.lock().unwrap().get(address).copied().unwrap_or(Does::Connects);
        match does {
            Does::Connects => tokio::task::yield_now().await,
            Does::ConnectsAfter(time) => sleep(time).await,
            Does::Refuses => return Err(REFUSED),
            Does::Hangs => std::future::pending().await,
            Does::Panics => std::panic::resume_unwind(Box::new("planted")),
        }
        world.open.fetch_add(1, Ordering::SeqCst);
        Ok(Wire { world: Arc::clone(world), broken: AtomicUsize::new(0) })
    }

    fn has_broken(&self, wire: &Wire) -> bool {
        wire.broken.load(Ordering::SeqCst) > 0
    }
}

impl Net {
    fn set(&self, address: &str, does: Does) {
        self.0.does.lock().unwrap().insert(address.to_owned(), does);
    }

    fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }
}

fn builder(net: &Net) -> KeyedBuilder<Net> {
    KeyedPool::builder(net.clone()).timeout(5 * SECOND).connect_timeout(SECOND)
}

fn with_addresses(pool: KeyedBuilder<Net>, addresses: &[&str]) -> KeyedPool<Net> {
    let pool = pool.build().unwrap();
    for address in addresses {
        pool.add(address).unwrap();
    }
    pool
}

fn pool_of(net: &Net, addresses: &[&str]) -> KeyedPool<Net> {
    with_addresses(builder(net), addresses)
}

/// For where time isn't stopped: no dial and no request has too little of it.
fn patient_pool_of(net: &Net, addresses: &[&str]) -> KeyedPool<Net> {
    with_addresses(builder(net).timeout(LONG).connect_timeout(LONG), addresses)
}

#[tokio::test(start_paused = true)]
async fn many_share_one_connection_and_one_dial() {
    let net = Net::default();
    net.set("a", Does::ConnectsAfter(SECOND / 2));
    let pool = pool_of(&net, &["a"]);
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move {
                // Some give up; the dial goes on.
                let time = if number % 3 == 0 { SECOND / 4 } else { 5 * SECOND };
                tokio::time::timeout(time, pool.get("a")).await
            })
        })
        .collect();
    let mut handles = Vec::new();
    for task in tasks {
        if let Ok(got) = task.await.unwrap() {
            handles.push(got.unwrap());
        }
    }
    assert_eq!(handles.len(), 66);
    let status = pool.status();
    assert_eq!((status.dials, status.connected, status.addresses[0].in_flight), (1, 1, 66));
    assert_eq!(net.0.dialling_most.load(Ordering::SeqCst), 1);
    drop(handles);
    assert_eq!((net.open(), pool.status().addresses[0].in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_removed_generation_is_drained_and_never_handed_out() {
    let net = Net::default();
    let pool = pool_of(&net, &["a"]);
    let old = pool.get("a").await.unwrap();
    let removal = pool.remove("a").unwrap();
    assert_eq!((removal.generation(), old.generation()), (1, 1));
    assert!(matches!(pool.get("a").await, Err(KeyedError::UnknownAddress)));
    assert_eq!(pool.add("a").unwrap(), 2);
    assert_eq!(pool.get("a").await.unwrap().generation(), 2);
    assert_eq!(net.open(), 2);
    let draining = tokio::spawn(removal.drain(3 * SECOND));
    sleep(SECOND).await;
    assert!(!draining.is_finished());
    drop(old);
    let report = draining.await.unwrap();
    assert!(report.drained && report.in_flight == 0 && report.took < 2 * SECOND, "{report:?}");
    assert_eq!(net.open(), 1);
    let held = pool.get("a").await.unwrap();
    let report = pool.remove("a").unwrap().drain(SECOND).await;
    assert_eq!((report.drained, report.in_flight), (false, 1));
    drop(held);
    assert_eq!(net.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn removing_stops_the_dial_and_tells_who_waits() {
    let net = Net::default();
    net.set("a", Does::Hangs);
    let pool = pool_of(&net, &["a"]);
    let other = pool.clone();
    let waits = tokio::spawn(async move { other.get("a").await.map(drop) });
    sleep(SECOND / 10).await;
    assert_eq!(pool.status().dialling, 1);
    drop(pool.remove("a").unwrap());
    assert!(matches!(waits.await.unwrap(), Err(KeyedError::UnknownAddress)));
    sleep(SECOND / 10).await;
    assert_eq!(net.0.dialling.lock().unwrap()["a"], 0, "the dial went on");
    assert_eq!(pool.status().dialling, 0);
}

#[tokio::test(start_paused = true)]
async fn the_least_used_is_picked_and_equals_in_turn() {
    let net = Net::default();
    let pool = pool_of(&net, &["a", "b", "c"]);
    for address in ["a", "b", "c"] {
        drop(pool.get(address).await.unwrap());
    }
    let mut counts = HashMap::new();
    for _ in 0..30 {
        *counts.entry(pool.pick().await.unwrap().address().to_owned()).or_insert(0) += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count == 10), "{counts:?}");
    // With a and b in use, c takes the next ones until it is used as much.
    let _busy: Vec<_> =
        [pool.get("a").await, pool.get("a").await, pool.get("b").await, pool.get("b").await].into();
    let held: Vec<_> = [pool.pick().await.unwrap(), pool.pick().await.unwrap()].into();
    assert!(held.iter().all(|handle| handle.address() == "c"));
    let spread: Vec<_> =
        [pool.pick().await.unwrap(), pool.pick().await.unwrap(), pool.pick().await.unwrap()].into();
    let mut names: Vec<_> = spread.iter().map(steadfast_pool::Handle::address).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_address_leaves_and_comes_back_by_itself() {
    let net = Net::default();
    net.set("b", Does::Refuses);
    let pool = pool_of(&net, &["a", "b"]);
    assert!(matches!(pool.get("b").await, Err(KeyedError::Connect(_))));
    let Err(KeyedError::Failing(error, _)) = pool.get("b").await else { panic!("it failed a moment ago") };
    assert_eq!(error.to_string(), "refused");
    for _ in 0..10 {
        assert_eq!(pool.pick().await.unwrap().address(), "a");
    }
    sleep(60 * SECOND).await;
    let dials = pool.status().dials;
    // With full jitter up to 10 s: some, not thousands.
    assert!((5..80).contains(&dials), "{dials}");
    net.set("b", Does::Connects);
    sleep(11 * SECOND).await;
    let handle = pool.get("b").await.unwrap();
    assert_eq!(handle.address(), "b");
    assert_eq!(pool.status().addresses.iter().filter(|one| one.state == AddressState::Live).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_replaced_by_one_dial() {
    let net = Net::default();
    let pool = pool_of(&net, &["a"]);
    let old = pool.get("a").await.unwrap();
    old.mark_broken();
    let again: Vec<_> = (0..10)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get("a").await.unwrap() })
        })
        .collect();
    let mut handles = Vec::new();
    for task in again {
        handles.push(task.await.unwrap());
    }
    assert_eq!((net.open(), pool.status().dials), (2, 2));
    drop(old);
    assert_eq!(net.open(), 1);
    // And the same for one that the connector finds broken, which had lived for a while.
    sleep(SECOND).await;
    handles[0].broken.store(1, Ordering::SeqCst);
    let new = pool.get("a").await.unwrap();
    assert!(new.broken.load(Ordering::SeqCst) == 0);
    assert_eq!(pool.status().dials, 3);
}

#[tokio::test(start_paused = true)]
async fn hanging_and_panicking_dials_are_ended_and_told() {
    let net = Net::default();
    net.set("a", Does::Hangs);
    net.set("b", Does::Panics);
    let pool = pool_of(&net, &["a", "b"]);
    let started = Instant::now();
    let Err(KeyedError::Connect(error)) = pool.get("a").await else { panic!("it hangs") };
    assert_eq!(error.to_string(), "no connection after 1s");
    assert!(started.elapsed() < 2 * SECOND);
    let Err(KeyedError::Connect(error)) = pool.get("b").await else { panic!("it panics") };
    assert!(error.to_string().contains("panicked"), "{error}");
    let started = Instant::now();
    let Err(KeyedError::Timeout(autopsy)) = pool.pick().await else { panic!("none is there") };
    assert!(started.elapsed() >= 5 * SECOND && started.elapsed() < 6 * SECOND);
    assert_eq!(autopsy.waited, autopsy.queued + autopsy.dialling + autopsy.backing_off);
    assert!(autopsy.waited >= 5 * SECOND && autopsy.last_dial_error.is_some(), "{autopsy}");
}

#[tokio::test(start_paused = true)]
async fn the_budget_holds_over_addresses_and_a_dropped_pool_leaves_nothing() {
    let net = Net::default();
    let budget = DialBudget::new(2);
    let pool = builder(&net).dial_budget(budget.clone()).build().unwrap();
    for number in 0..20 {
        let address = format!("host-{number}");
        net.set(&address, Does::ConnectsAfter(SECOND / 20));
        pool.add(&address).unwrap();
    }
    drop(pool.pick().await.unwrap());
    sleep(2 * SECOND).await;
    assert_eq!((budget.most(), net.open()), (2, 20));
    net.set("late", Does::Hangs);
    pool.add("late").unwrap();
    drop(pool.pick().await.unwrap());
    drop(pool);
    sleep(5 * SECOND).await;
    assert_eq!((net.open(), budget.under_way()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn addresses_come_and_go_while_others_use_them() {
    let net = Net::default();
    let pool = patient_pool_of(&net, &["a", "b"]);
    let stop = Arc::new(AtomicUsize::new(0));
    // The generations of before are removed.
    let removed = Arc::new(AtomicU64::new(0));
    let used: Arc<[AtomicU64; 24]> = Arc::default();
    let users: Vec<_> = (0..24)
        .map(|number| {
            let (pool, stop, removed) = (pool.clone(), Arc::clone(&stop), Arc::clone(&removed));
            let used = Arc::clone(&used);
            tokio::spawn(async move {
                while stop.load(Ordering::SeqCst) == 0 {
                    let gone = removed.load(Ordering::SeqCst);
                    let got = if number % 2 == 0 { pool.get("a").await } else { pool.pick().await };
                    match got {
                        Ok(handle) => {
                            assert!(handle.address() != "a" || handle.generation() > gone, "P7");
                            used[number].fetch_add(1, Ordering::SeqCst);
                        }
                        Err(KeyedError::UnknownAddress) => {}
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut rounds = 0;
    // Until each of them has been served, however late it began; a user that panicked is heard of below.
    let waits = |users: &[JoinHandle<()>]| {
        let never = |number: usize| used[number].load(Ordering::SeqCst) == 0;
        users.iter().enumerate().any(|(number, user)| never(number) && !user.is_finished())
    };
    while rounds < 300 || waits(&users) {
        rounds += 1;
        let removal = pool.remove("a").unwrap();
        removed.store(removal.generation(), Ordering::SeqCst);
        assert!(removal.drain(LONG).await.drained);
        let generation = pool.add("a").unwrap();
        assert!(pool.get("a").await.unwrap().generation() == generation, "P7");
    }
    stop.store(1, Ordering::SeqCst);
    for user in users {
        user.await.unwrap();
    }
    assert_eq!(net.0.dialling_most.load(Ordering::SeqCst), 1, "P7");
    let status = pool.status();
    assert_eq!(status.added, status.removed + status.addresses.len() as u64);
    assert!(status.addresses.iter().all(|one| one.in_flight == 0), "{status:?}");
    assert!(pool.close(LONG).await.drained);
    // A dial to b that nobody waited for may only now come to a connection, which is closed at once.
    let closed = async {
        while net.open() > 0 {
            sleep(SECOND / 1000).await;
        }
    };
    tokio::time::timeout(LONG, closed).await.expect("a connection is left");
}

/// Numbers that must agree in every look at the pool.
#[track_caller]
fn assert_balanced(status: &KeyedStatus) {
    assert_eq!(
        status.dials,
        status.dial_failures + status.connected + status.withdrawn + status.dialling as u64,
        "{status:?}"
    );
    assert_eq!(status.added, status.removed + status.addresses.len() as u64, "{status:?}");
    let dialling = status.addresses.iter().filter(|one| one.state == AddressState::Dialling).count();
    assert_eq!(status.dialling, dialling, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_is_a_timeout_whose_dial_goes_on() {
    let net = Net::default();
    net.set("a", Does::ConnectsAfter(SECOND / 10));
    let pool = pool_of(&net, &["a"]);
    let started = Instant::now();
    assert!(matches!(pool.get_timeout("a", Duration::ZERO).await, Err(KeyedError::Timeout(_))));
    assert!(matches!(pool.pick_timeout(Duration::ZERO).await, Err(KeyedError::Timeout(_))));
    let Err(KeyedError::Timeout(autopsy)) = pool.get_timeout("a", SECOND / 20).await else {
        panic!("it takes longer")
    };
    assert_eq!((autopsy.stage, autopsy.waited), (KeyedStage::Dialling, started.elapsed()));
    assert!(started.elapsed() < SECOND / 10, "{:?}", started.elapsed());
    sleep(SECOND / 10).await;
    assert!(pool.get_timeout("a", Duration::ZERO).await.is_ok());
    assert!(pool.pick_timeout(Duration::ZERO).await.is_ok());
    assert!(pool.get_timeout("a", Duration::MAX).await.is_ok());
    assert_eq!(pool.status().dials, 1);
}

#[tokio::test(start_paused = true)]
async fn an_autopsy_tells_where_the_time_went() {
    let net = Net::default();
    let budget = DialBudget::new(1);
    let pool = builder(&net).connect_timeout(2 * SECOND).dial_budget(budget).build().unwrap();
    net.set("busy", Does::ConnectsAfter(SECOND));
    net.set("slow", Does::Hangs);
    for address in ["busy", "slow"] {
        pool.add(address).unwrap();
        assert!(pool.get_timeout(address, Duration::ZERO).await.is_err());
    }
    let other = pool.clone();
    let waits = tokio::spawn(async move { other.get("slow").await.map(drop) });
    tokio::task::yield_now().await;
    // A second for its turn, and half of one for the dial.
    let Err(KeyedError::Timeout(autopsy)) = pool.get_timeout("slow", 3 * SECOND / 2).await else {
        panic!("it hangs")
    };
    assert_eq!((autopsy.queued, autopsy.dialling), (SECOND, SECOND / 2), "{autopsy}");
    assert_eq!((autopsy.stage, autopsy.others, autopsy.dials), (KeyedStage::Dialling, 1, 0), "{autopsy}");
    assert!(autopsy.last_dial_error.is_none() && autopsy.addresses.len() == 1, "{autopsy}");
    assert!(matches!(waits.await.unwrap(), Err(KeyedError::Connect(_))));
    drop((pool.remove("busy").unwrap(), pool.remove("slow").unwrap()));
    // Of all addresses: both are refused, so most of the time passes between attempts.
    for address in ["refused", "too"] {
        net.set(address, Does::Refuses);
        pool.add(address).unwrap();
    }
    let Err(KeyedError::Timeout(autopsy)) = pool.pick().await else { panic!("nobody is there") };
    assert_eq!(autopsy.waited, autopsy.queued + autopsy.dialling + autopsy.backing_off);
    assert!(autopsy.backing_off > 4 * SECOND && autopsy.stage == KeyedStage::BackingOff, "{autopsy}");
    assert!(autopsy.dials > 2 && autopsy.others == 0 && autopsy.addresses.len() == 2, "{autopsy}");
    let text = autopsy.to_string();
    assert!(text.contains("the last dial that failed: refused"), "{text}");
    assert_balanced(&pool.status());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_any_hears_that_the_last_address_goes() {
    let net = Net::default();
    net.set("a", Does::Hangs);
    net.set("b", Does::Hangs);
    let pool = pool_of(&net, &["a", "b"]);
    let other = pool.clone();
    let waits = tokio::spawn(async move { (other.pick().await.map(drop), Instant::now()) });
    sleep(SECOND / 10).await;
    drop(pool.remove("a").unwrap());
    sleep(SECOND / 10).await;
    assert!(!waits.is_finished(), "b is left");
    drop(pool.remove("b").unwrap());
    let removed = Instant::now();
    let (answer, at) = waits.await.unwrap();
    assert!(matches!(answer, Err(KeyedError::UnknownAddress)) && at == removed, "{answer:?}");
    assert_balanced(&pool.status());
    assert_eq!(pool.status().withdrawn, 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_ends_with_its_last_handle_and_not_with_its_dials() {
    let net = Net::default();
    net.set("b", Does::Hangs);
    let pool = pool_of(&net, &["a", "b"]);
    drop(pool.get("a").await.unwrap());
    assert!(pool.get_timeout("b", SECOND / 10).await.is_err());
    assert_eq!(net.open(), 1);
    drop(pool);
    assert_eq!(net.open(), 0, "a dial kept the pool");
    tokio::task::yield_now().await;
    assert_eq!(net.0.dialling.lock().unwrap()["b"], 0, "the dial went on");
}

#[tokio::test(start_paused = true)]
async fn connections_that_break_at_once_are_backed_off() {
    let net = Net::default();
    let pool = pool_of(&net, &["a"]);
    let started = Instant::now();
    let (mut served, mut refused) = (0_u32, 0_u32);
    while started.elapsed() < 60 * SECOND {
        match pool.get("a").await {
            Ok(handle) => {
                served += 1;
                handle.mark_broken();
                sleep(SECOND / 1000).await;
            }
            Err(KeyedError::ShortLived { lived, retry_in }) => {
                refused += 1;
                assert!(lived <= 10 * SECOND && retry_in <= 10 * SECOND);
                sleep(SECOND / 100).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let status = pool.status();
    // With full jitter up to 10 s: some, not thousands.
    assert!(
        (5..80).contains(&status.dials) && refused > 1_000,
        "{served} served, {refused} refused: {status:?}"
    );
    assert_balanced(&status);
    assert!(status.addresses[0].failures > 3, "{status:?}");
    // One that lasts makes up for all of them.
    sleep(11 * SECOND).await;
    let lasting = pool.get("a").await.unwrap();
    sleep(11 * SECOND).await;
    assert_eq!(pool.status().addresses[0].failures, 0);
    lasting.mark_broken();
    assert!(pool.get("a").await.is_ok(), "the first in a row is replaced at once");
}

/// Drives `runtime` so long.
fn drive(runtime: &tokio::runtime::Runtime, milliseconds: u64) {
    runtime.block_on(async { sleep(Duration::from_millis(milliseconds)).await });
}

fn runtime_of_one() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_order_of_a_runtime_that_stands_still_goes_to_another() {
    let net = Net::default();
    let pool = KeyedPool::builder(net.clone())
        .timeout(20 * SECOND)
        .connect_timeout(SECOND / 10)
        .backoff(SECOND / 100, SECOND / 100)
        .build()
        .unwrap();
    let addresses = ["never begun", "under way", "failing"];
    for address in addresses {
        pool.add(address).unwrap();
    }
    net.set("under way", Does::Hangs);
    net.set("failing", Does::Refuses);
    let still = runtime_of_one();
    assert!(still.block_on(pool.get_timeout("failing", 10 * SECOND)).is_err());
    assert!(still.block_on(pool.get_timeout("under way", SECOND / 50)).is_err());
    still.block_on(async { assert!(pool.get_timeout("never begun", Duration::ZERO).await.is_err()) });
    for address in addresses {
        net.set(address, Does::Connects);
    }
    // From here on nobody drives it.
    let driven = runtime_of_one();
    let started = std::time::Instant::now();
    for address in addresses {
        let handle = loop {
            match driven.block_on(pool.get(address)) {
                Ok(handle) => break handle,
                // Also a dial that its thread began so late that its time was up.
                Err(KeyedError::Failing(..) | KeyedError::Connect(_)) => drive(&driven, 10),
                Err(error) => panic!("{address}: {error}"),
            }
            assert!(started.elapsed() < 120 * SECOND, "{address} stays as it was: {:?}", pool.status());
        };
        assert_eq!(handle.address(), address);
    }
    let status = pool.status();
    assert_balanced(&status);
    assert!(status.withdrawn >= 1 && status.connected == 3, "{status:?}");
    // What the old tasks come to when they run again is void.
    drive(&still, 200);
    assert_eq!((pool.status().dials, net.open()), (status.dials, 3));
    assert!(net.0.dialling.lock().unwrap().values().all(|dials| *dials == 0), "a void dial goes on");
}

#[test]
fn choices_find_the_orders_of_a_runtime_that_stands_still() {
    let net = Net::default();
    let pool = patient_pool_of(&net, &["here", "stuck"]);
    let (still, driven) = (runtime_of_one(), runtime_of_one());
    driven.block_on(async { pool.get("here").await.map(drop).unwrap() });
    let before = pool.status().withdrawn;
    let started = std::time::Instant::now();
    still.block_on(async { assert!(pool.get_timeout("stuck", Duration::ZERO).await.is_err()) });
    while pool.status().addresses.iter().any(|one| one.state != AddressState::Live) {
        for _ in 0..64 {
            assert!(driven.block_on(pool.pick()).is_ok());
        }
        drive(&driven, 10);
        assert!(started.elapsed() < 120 * SECOND, "nobody looks: {:?}", pool.status());
    }
    assert_balanced(&pool.status());
    // An order has a second to be heard of, so no more were taken over than seconds have passed: one, unless this thread was late.
    let withdrawn = pool.status().withdrawn - before;
    assert!((1..=started.elapsed().as_secs()).contains(&withdrawn), "{withdrawn}");
}

#[test]
fn who_asks_in_a_runtime_without_timers_is_told_and_the_order_is_free() {
    let net = Net::default();
    let pool = patient_pool_of(&net, &["a", "b"]);
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let panics = |asks: &dyn Fn()| {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(asks)).unwrap_err();
        let told = panicked.downcast_ref::<String>().map(String::as_str);
        told.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
    };
    let picks = panics(&|| drop(timeless.block_on(pool.pick_timeout(Duration::ZERO))));
    let gets = panics(&|| drop(timeless.block_on(pool.get("a"))));
    assert!(picks.contains("timers are disabled") && gets.contains("timers are disabled"), "{picks}, {gets}");
    assert_balanced(&pool.status());
    assert_eq!(pool.status().dialling, 0, "nobody has an order");
    assert!(runtime_of_one().block_on(pool.get("a")).is_ok());
}

/// Looks at the pool when it is dropped or woken: under the pool's lock that would never end.
#[derive(Clone, Default)]
struct Nosy(Arc<OnceLock<KeyedPool<NosyNet>>>);

#[derive(Default)]
struct NosyNet {
    nosy: Nosy,
    refuses: Arc<AtomicUsize>,
}

impl Nosy {
    fn looks(&self) {
        if let Some(pool) = self.0.get() {
            assert_balanced(&pool.status());
        }
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.looks();
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.looks();
    }
}

impl fmt::Debug for Nosy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nosy")
    }
}

impl fmt::Display for Nosy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nosy")
    }
}

impl std::error::Error for Nosy {}

impl Connector for NosyNet {
    type Connection = Nosy;
    type Error = Nosy;

    async fn connect(&self, _: &str) -> Result<Nosy, Nosy> {
        tokio::task::yield_now().await;
        if self.refuses.load(Ordering::SeqCst) > 0 { Err(self.nosy.clone()) } else { Ok(self.nosy.clone()) }
    }

    fn has_broken(&self, connection: &Nosy) -> bool {
        connection.looks();
        false
    }
}

#[test]
fn nobody_elses_code_runs_under_the_lock() {
    let (done, ended) = std::sync::mpsc::channel();
    // A thread that waits for itself can't say so.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(be_nosy());
        done.send(()).unwrap();
    });
    assert!(ended.recv_timeout(LONG).is_ok(), "it waits for itself, or failed");
}

async fn be_nosy() {
    let nosy = Nosy::default();
    let refuses = Arc::new(AtomicUsize::new(1));
    let net = NosyNet { nosy: nosy.clone(), refuses: Arc::clone(&refuses) };
    let pool = KeyedPool::builder(net).backoff(SECOND / 100, SECOND / 100).build().unwrap();
    assert!(nosy.0.set(pool.clone()).is_ok());
    pool.add("b").unwrap();
    pool.add("a").unwrap();
    for address in ["a", "b", "a"] {
        let mut asks: Vec<Pin<Box<dyn Future<Output = _>>>> =
            vec![Box::pin(pool.get(address)), Box::pin(pool.get(address)), Box::pin(pool.pick())];
        for _ in 0..3 {
            asks.retain_mut(|ask| {
                let waker = Waker::from(Arc::new(nosy.clone()));
                ask.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
        }
        assert!(!asks.is_empty(), "who picks waits");
        // Failures replace each other meanwhile.
        sleep(SECOND).await;
        assert!(pool.get(address).await.is_err());
        assert!(pool.pick_timeout(SECOND).await.is_err());
        drop(pool.remove(address));
        pool.add(address).unwrap();
    }
    refuses.store(0, Ordering::SeqCst);
    sleep(SECOND).await;
    // The background's own attempts have connected both.
    pool.get("a").await.unwrap().mark_broken();
    drop((pool.get("a").await.unwrap(), pool.pick().await.unwrap()));
    drop(pool.remove("a"));
    assert!(pool.close(SECOND).await.drained);
}

/// Its dials hang, and panic when they are dropped.
struct Bomb;

struct Bang;

impl Drop for Bang {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "planted");
    }
}

impl Connector for Bomb {
    type Connection = ();
    type Error = std::io::Error;

    async fn connect(&self, _: &str) -> Result<(), std::io::Error> {
        let _bang = Bang;
        std::future::pending().await
    }
}

/// Symptom: such a dial was no failure: it was made again at once, for ever, and nobody was told.
#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_when_its_time_is_up_has_failed() {
    let pool = KeyedPool::builder(Bomb).connect_timeout(Duration::from_millis(100)).build().unwrap();
    pool.add("a").unwrap();
    let told = pool.get("a").await;
    assert!(
        matches!(&told, Err(KeyedError::Connect(error)) if matches!(**error, DialError::Panicked)),
        "{told:?}"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = pool.status();
    assert!(status.dials < 15 && status.dial_failures + 1 >= status.dials, "{status:?}");
}

/// With metrics it depends on their clock.
#[cfg(not(feature = "metrics"))]
#[test]
fn panics_may_be_caught_around_requests() {
    fn is_unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    is_unwind_safe::<KeyedPool<Net>>();
}
