//! Shared connections by address, in stopped time.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast_pool::{AddressState, Connector, DialBudget, KeyedBuilder, KeyedError, KeyedPool};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Connects,
    ConnectsAfter(Duration),
    Refuses,
    Hangs,
    Panics,
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

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
            Does::Refuses => return Err(Refused),
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

fn pool_of(net: &Net, addresses: &[&str]) -> KeyedPool<Net> {
    let pool = builder(net).build().unwrap();
    for address in addresses {
        pool.add(address).unwrap();
    }
    pool
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
    // And the same for one that the connector finds broken.
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
    let Err(KeyedError::Timeout(_, Some(_))) = pool.pick().await else { panic!("none is there") };
    assert!(started.elapsed() >= 5 * SECOND && started.elapsed() < 6 * SECOND);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_come_and_go_while_others_use_them() {
    let net = Net::default();
    let pool = pool_of(&net, &["a", "b"]);
    let stop = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..8)
        .map(|number| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut used = 0_u64;
                while stop.load(Ordering::SeqCst) == 0 {
                    let got = if number % 2 == 0 { pool.get("a").await } else { pool.pick().await };
                    match got {
                        Ok(handle) => used += u64::from(handle.generation() > 0),
                        Err(KeyedError::UnknownAddress) => {}
                        Err(error) => panic!("{error}"),
                    }
                    tokio::task::yield_now().await;
                }
                used
            })
        })
        .collect();
    for _ in 0..300 {
        let removal = pool.remove("a").unwrap();
        assert!(removal.drain(10 * SECOND).await.drained);
        let generation = pool.add("a").unwrap();
        assert!(pool.get("a").await.unwrap().generation() == generation, "P7");
    }
    stop.store(1, Ordering::SeqCst);
    for user in users {
        assert!(user.await.unwrap() > 0);
    }
    assert_eq!(net.0.dialling_most.load(Ordering::SeqCst), 1, "P7");
    let status = pool.status();
    assert_eq!(status.added, status.removed + status.addresses.len() as u64);
    assert!(status.addresses.iter().all(|one| one.in_flight == 0), "{status:?}");
    assert!(pool.close(10 * SECOND).await.drained);
    assert_eq!(net.open(), 0);
}
