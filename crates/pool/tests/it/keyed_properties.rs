//! Any history of a keyed pool in stopped time: addresses that come and go, requests that are dropped after any number of polls, connections that break, dials that are slow, fail, hang or panic. Beside it runs a small
//! model: who may still be handed out, how many dials are under way, by when each request must have ended.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use steadfast_pool::{
    AddressState, Connector, DialBudget, Handle, KeyedError, KeyedPool, KeyedStatus, Removal,
};
use steadfast_testkit::cases;
use tokio::time::{Instant, sleep};

use crate::scripted::{REFUSED, Refused};

const ADDRESSES: [&str; 3] = ["a", "b", "c"];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What rounding and scheduling may add to a deadline.
const SLACK: Duration = Duration::from_millis(5);
const BUDGET: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    ConnectAfter(u64),
    Refuse,
    RefuseAfter(u64),
    Hang,
    Panic,
}

#[derive(Clone, Debug)]
enum Op {
    Add(usize),
    Remove(usize),
    /// A request for an address, for any of them if there is none, with its time in milliseconds; dropped after so many polls.
    Ask {
        address: Option<usize>,
        timeout: u64,
        polls: usize,
    },
    /// Removes an address and asks for it again, before any task runs.
    Renew(usize),
    /// A request for what is there now.
    Try(Option<usize>),
    Drop(usize),
    Break(usize),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let address = || 0..ADDRESSES.len();
    let any_or_one = || prop_oneof![3 => address().prop_map(Some), 1 => Just(None)];
    let timeout = prop_oneof![1 => Just(0_u64), 3 => 1_u64..2_500, 2 => Just(20_000)];
    let polls = prop_oneof![3 => 1_usize..8, 3 => Just(usize::MAX)];
    prop_oneof![
        3 => address().prop_map(Op::Add),
        2 => address().prop_map(Op::Remove),
        9 => (any_or_one(), timeout, polls)
            .prop_map(|(address, timeout, polls)| Op::Ask { address, timeout, polls }),
        1 => address().prop_map(Op::Renew),
        2 => any_or_one().prop_map(Op::Try),
        3 => any::<usize>().prop_map(Op::Drop),
        2 => any::<usize>().prop_map(Op::Break),
        5 => prop_oneof![0_u64..60, 400_u64..3_000].prop_map(Op::Advance),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Connect),
        3 => (1_u64..400).prop_map(Step::ConnectAfter),
        2 => Just(Step::Refuse),
        1 => (1_u64..400).prop_map(Step::RefuseAfter),
        1 => Just(Step::Hang),
        1 => Just(Step::Panic),
    ]
}

/// What the test counts of dials and connections, by itself.
#[derive(Debug, Default)]
struct Seen {
    script: Vec<Step>,
    dials: usize,
    /// By address: dials under way.
    dialling: HashMap<String, usize>,
    dialling_most: usize,
    dialling_of_one_most: usize,
    /// Connections there are, with their addresses.
    open: HashMap<usize, String>,
}

#[derive(Clone, Debug, Default)]
struct Net(Arc<Mutex<Seen>>);

impl Net {
    /// Also after an assertion failed that looked at it.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Wire {
    id: usize,
    net: Net,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.net.seen().open.remove(&self.id);
    }
}

/// A dial under way.
struct Dialling(Net, String);

impl Dialling {
    fn new(net: &Net, address: &str) -> (Self, usize, Step) {
        let mut seen = net.seen();
        let number = seen.dials;
        seen.dials += 1;
        let own = seen.dialling.entry(address.to_owned()).or_default();
        *own += 1;
        let own = *own;
        seen.dialling_of_one_most = seen.dialling_of_one_most.max(own);
        seen.dialling_most = seen.dialling_most.max(seen.dialling.values().sum());
        let step = seen.script.get(number).copied().unwrap_or(Step::Connect);
        (Self(net.clone(), address.to_owned()), number, step)
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        *self.0.seen().dialling.entry(self.1.clone()).or_default() -= 1;
    }
}

impl Connector for Net {
    type Connection = Wire;
    type Error = Refused;

    async fn connect(&self, address: &str) -> Result<Wire, Refused> {
        let (_dialling, id, step) = Dialling::new(self, address);
        match step {
            Step::Connect => {}
            Step::ConnectAfter(time) => sleep(Duration::from_millis(time)).await,
            Step::Refuse => return Err(REFUSED),
            Step::RefuseAfter(time) => {
                sleep(Duration::from_millis(time)).await;
                return Err(REFUSED);
            }
            Step::Hang => std::future::pending().await,
            // Without the message of a panic.
            Step::Panic => std::panic::resume_unwind(Box::new("planted")),
        }
        self.seen().open.insert(id, address.to_owned());
        Ok(Wire { id, net: self.clone() })
    }
}

type Answer = Result<Handle<Net>, KeyedError<Refused>>;

struct Asked<'a> {
    future: Pin<Box<dyn Future<Output = Answer> + 'a>>,
    polls_left: usize,
    address: Option<usize>,
    /// The lowest generations, by address, that it may be given.
    least: [u64; ADDRESSES.len()],
    /// What was broken when it began.
    broken: Vec<usize>,
    began: Instant,
    deadline: Instant,
}

struct Model<'a> {
    pool: &'a KeyedPool<Net>,
    net: Net,
    asked: Vec<Asked<'a>>,
    held: Vec<Handle<Net>>,
    /// Of each address: its generation, if it is in the pool, and the least that new requests may be given.
    there: [Option<u64>; ADDRESSES.len()],
    least: [u64; ADDRESSES.len()],
    added: u64,
    removed: u64,
    broken: Vec<usize>,
    /// By address and generation: the connection that isn't broken, as handed out.
    shown: HashMap<(String, u64), usize>,
    drains: Vec<Removal<Net>>,
}

impl<'a> Model<'a> {
    fn new(pool: &'a KeyedPool<Net>, net: Net) -> Self {
        Self {
            pool,
            net,
            asked: Vec::new(),
            held: Vec::new(),
            there: [None; ADDRESSES.len()],
            least: [0; ADDRESSES.len()],
            added: 0,
            removed: 0,
            broken: Vec::new(),
            shown: HashMap::new(),
            drains: Vec::new(),
        }
    }

    fn ask(&mut self, address: Option<usize>, timeout: Duration, polls: usize) {
        let pool = self.pool;
        let future: Pin<Box<dyn Future<Output = Answer> + 'a>> = match address {
            Some(address) => Box::pin(pool.get_timeout(ADDRESSES[address], timeout)),
            None => Box::pin(pool.pick_timeout(timeout)),
        };
        let began = Instant::now();
        self.asked.push(Asked {
            future,
            polls_left: polls,
            address,
            least: self.least,
            broken: self.broken.clone(),
            began,
            deadline: began + timeout,
        });
    }

    /// Polls everything that waits, then drops what has been polled often enough.
    fn poll_all(&mut self) {
        for mut asked in std::mem::take(&mut self.asked) {
            asked.polls_left -= 1;
            match asked.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => self.answered(&asked, answer),
                Poll::Pending => {
                    assert!(
                        Instant::now() <= asked.deadline + SLACK,
                        "it waits past its deadline: {:?}",
                        self.pool.status()
                    );
                    if asked.polls_left > 0 {
                        self.asked.push(asked);
                    }
                }
            }
        }
    }

    fn answered(&mut self, asked: &Asked<'_>, answer: Answer) {
        match answer {
            Ok(handle) => {
                self.check(asked.address, &asked.least, &asked.broken, &handle);
                self.held.push(handle);
            }
            Err(KeyedError::Timeout(autopsy)) => {
                assert_eq!(autopsy.waited, autopsy.queued + autopsy.dialling + autopsy.backing_off);
                let waited = asked.began.elapsed();
                assert!(autopsy.waited <= waited, "{autopsy} of {waited:?}");
                assert!(Instant::now() >= asked.deadline, "too early: {autopsy}");
            }
            Err(KeyedError::UnknownAddress) => {
                let unknown = |address: usize| self.there[address].is_none();
                let right = asked.address.map_or_else(|| (0..ADDRESSES.len()).all(unknown), unknown);
                assert!(right, "{:?} is there", asked.address);
            }
            // It failed while it waited, or before.
            Err(KeyedError::Connect(_) | KeyedError::Failing(..) | KeyedError::ShortLived { .. }) => {
                assert!(asked.address.is_some(), "whoever takes any doesn't hear of one");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// P7: nothing of a generation that had ended, nor broken, before the request began; one connection a generation that isn't broken.
    fn check(&mut self, address: Option<usize>, least: &[u64], broken: &[usize], handle: &Handle<Net>) {
        let at = ADDRESSES.iter().position(|known| *known == handle.address()).unwrap();
        assert!(address.is_none_or(|asked| asked == at), "P7: another address' connection");
        assert!(handle.generation() >= least[at], "P7: of a removed generation: {handle:?}, {least:?}");
        assert!(!broken.contains(&handle.id), "what was marked broken is handed out");
        assert_eq!(self.net.seen().open[&handle.id], ADDRESSES[at]);
        let shown = self.shown.entry((handle.address().to_owned(), handle.generation())).or_insert(handle.id);
        let replaced = self.broken.contains(shown);
        assert!(*shown == handle.id || replaced, "P7: two connections of one generation");
        *shown = handle.id;
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Add(address) => match self.pool.add(ADDRESSES[address]) {
                Ok(generation) => {
                    assert!(self.there[address].is_none() && generation >= self.least[address]);
                    self.there[address] = Some(generation);
                    self.least[address] = generation;
                    self.added += 1;
                }
                Err(KeyedError::AlreadyAdded(generation)) => {
                    assert_eq!(self.there[address], Some(generation));
                }
                Err(error) => panic!("{error}"),
            },
            Op::Remove(address) => match self.pool.remove(ADDRESSES[address]) {
                Ok(removal) => {
                    let generation = self.there[address].take().expect("it was there");
                    assert_eq!(removal.generation(), generation);
                    self.least[address] = generation + 1;
                    self.removed += 1;
                    self.drains.push(removal);
                }
                Err(_) => assert!(self.there[address].is_none()),
            },
            Op::Ask { address, timeout, polls } => {
                let before = self.pool.status();
                let idle = before.addresses.iter().filter(|one| one.state != AddressState::Dialling).count();
                self.ask(address, Duration::from_millis(timeout), polls);
                self.poll_all();
                // No task has run since.
                let begun = self.pool.status().dials - before.dials;
                assert!(begun <= idle as u64, "P7: a dial where one was under way: {before:?}");
            }
            Op::Renew(address) => {
                self.apply(&Op::Remove(address));
                self.apply(&Op::Add(address));
                self.apply(&Op::Ask { address: Some(address), timeout: 20_000, polls: usize::MAX });
            }
            Op::Try(address) => {
                let answer = match address {
                    Some(address) => self.pool.try_get(ADDRESSES[address]),
                    None => self.pool.try_pick(),
                };
                if let Ok(handle) = answer {
                    let (least, broken) = (self.least, self.broken.clone());
                    self.check(address, &least, &broken, &handle);
                    self.held.push(handle);
                }
            }
            Op::Drop(which) => drop(self.take(which)),
            Op::Break(which) => {
                if let Some(handle) = self.take(which) {
                    handle.mark_broken();
                    self.broken.push(handle.id);
                }
            }
            Op::Advance(_) => {}
        }
    }

    fn take(&mut self, which: usize) -> Option<Handle<Net>> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(which % count))
    }

    /// After all tasks have come to rest.
    fn assert_sound(&self, budget: &DialBudget) {
        let status = self.pool.status();
        assert_balanced(&status);
        assert_eq!((status.added, status.removed), (self.added, self.removed));
        let seen = self.net.seen();
        assert!(seen.dialling_of_one_most <= 1, "P7: two dials to one address");
        assert!(seen.dialling_most <= BUDGET && budget.most() <= BUDGET, "over the budget");
        let under_way: usize = seen.dialling.values().sum();
        assert!(under_way <= status.dialling, "a dial that nobody wants goes on: {status:?}, {seen:?}");
        assert_eq!(under_way, budget.under_way());
        for asked in &self.asked {
            let known = |address: usize| self.there[address].is_some();
            let waits_for_some = asked.address.map_or_else(|| self.there.iter().any(Option::is_some), known);
            assert!(waits_for_some, "nobody told it that {:?} is gone", asked.address);
        }
        for one in &status.addresses {
            let at = ADDRESSES.iter().position(|known| *known == one.address).unwrap();
            assert_eq!(self.there[at], Some(one.generation));
            let held = |handle: &&Handle<Net>| {
                handle.generation() == one.generation && !self.broken.contains(&handle.id)
            };
            if one.state == AddressState::Live && !self.is_shown_broken(&one.address, one.generation) {
                assert_eq!(one.in_flight, self.held.iter().filter(held).count(), "{status:?}");
            }
        }
        // Open is what the table has, and what is held of before.
        let kept = seen.open.keys().filter(|id| !self.held.iter().any(|handle| handle.id == **id)).count();
        let live = status.addresses.iter().filter(|one| one.state == AddressState::Live).count();
        assert!(kept <= live, "connections leak: {seen:?}, {status:?}");
    }

    fn is_shown_broken(&self, address: &str, generation: u64) -> bool {
        let shown = self.shown.get(&(address.to_owned(), generation));
        shown.is_some_and(|id| self.broken.contains(id))
    }
}

#[track_caller]
fn assert_balanced(status: &KeyedStatus) {
    let ended = status.dial_failures + status.connected + status.withdrawn;
    assert_eq!(status.dials, ended + status.dialling as u64, "{status:?}");
    assert_eq!(status.added, status.removed + status.addresses.len() as u64, "{status:?}");
    let dialling = status.addresses.iter().filter(|one| one.state == AddressState::Dialling).count();
    assert_eq!(status.dialling, dialling, "{status:?}");
}

/// Lets all tasks run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Debug)]
struct Case {
    script: Vec<Step>,
    ops: Vec<Op>,
}

fn case() -> impl Strategy<Value = Case> {
    (prop::collection::vec(step(), 0..20), prop::collection::vec(op(), 1..80)).prop_map(
        |(script, mut ops)| {
            // Most histories need addresses to begin with.
            ops.splice(0..0, [Op::Add(0), Op::Add(1)]);
            Case { script, ops }
        },
    )
}

async fn run(case: &Case) {
    let net = Net::default();
    net.seen().script.clone_from(&case.script);
    let budget = DialBudget::new(BUDGET);
    let pool = KeyedPool::builder(net.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        .dial_budget(budget.clone())
        .build()
        .unwrap();
    let mut model = Model::new(&pool, net.clone());
    for op in &case.ops {
        model.apply(op);
        if let Op::Advance(time) = op {
            // In small steps, so that a request that ends late is seen.
            for _ in 0..time.div_ceil(50) {
                sleep(Duration::from_millis((*time).min(50))).await;
                settle().await;
                poll_woken(&mut model);
            }
        }
        settle().await;
        model.poll_all();
        settle().await;
        model.assert_sound(&budget);
    }
    finish(model, &budget).await;
    assert_eq!(net.seen().open.len(), 0, "something leaked");
    assert_balanced(&pool.status());
}

/// As polling, but nobody's patience is used up.
fn poll_woken(model: &mut Model<'_>) {
    for asked in &mut model.asked {
        asked.polls_left = asked.polls_left.saturating_add(1);
    }
    model.poll_all();
}

/// Whoever still waits is answered by the longest deadline, and then everything drains.
async fn finish(mut model: Model<'_>, budget: &DialBudget) {
    for asked in &mut model.asked {
        asked.polls_left = usize::MAX;
    }
    while !model.asked.is_empty() {
        sleep(Duration::from_millis(50)).await;
        settle().await;
        model.poll_all();
    }
    model.assert_sound(budget);
    let report = model.pool.close(Duration::ZERO).await;
    assert!(model.pool.add("a").is_err() && model.pool.get("a").await.is_err());
    settle().await;
    assert_eq!(report.in_flight == 0, report.drained, "{report:?}");
    assert_eq!(budget.under_way(), 0, "a dial goes on");
    model.held.clear();
    for removal in model.drains {
        let report = removal.drain(Duration::from_secs(1)).await;
        assert!(report.drained && report.in_flight == 0, "{report:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_a_keyed_pool_is_sound(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(&case));
    }
}
