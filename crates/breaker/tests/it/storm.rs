//! Many threads, random cancellation, panics and drops: nothing is overspent, nothing is left, every edge is legal, every outcome is counted.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use steadfast_breaker::ledger::Standing;
use steadfast_breaker::{
    Breaker, Class, Config, Cost, End, Ended, EventKind, ManualClock, Outcome, Period, Rejected, Request,
    Scope, Settlement, State, Window,
};
use steadfast_testkit::{TestRng, skipped_unless_full};

const THREADS: usize = 8;
/// A thread that was refused so often in a row lets a millisecond pass each time: a probe for which all wait may belong to a thread that sleeps.
const PATIENCE: u64 = 1_000;
/// Nobody sleeps for as long as it takes to be refused so often in a row.
const REFUSED_MAX: u64 = 100_000;

/// What one thread did, as it knows itself.
#[derive(Default)]
struct Did {
    ends: [u64; 7],
    refused: u64,
    refused_in_a_row: u64,
    /// When its probes that counted were out, from and to.
    probed: Vec<(u64, u64)>,
}

/// The most of these spans that have a moment in common.
fn most_at_once(spans: impl Iterator<Item = (u64, u64)>) -> usize {
    let mut edges: Vec<(u64, isize)> = spans.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    edges.sort_unstable();
    let out = edges.into_iter().scan(0_isize, |out, (_, change)| {
        *out += change;
        Some(*out)
    });
    out.max().unwrap_or(0) as usize
}

fn place(end: End) -> usize {
    [End::Success, End::Failure, End::Ignored, End::Cancelled, End::Expired, End::Dropped, End::Panicked]
        .iter()
        .position(|known| *known == end)
        .expect("all ends are listed")
}

/// What the threads know of the money: each sum is counted before it can be so, and again when it surely is.
#[derive(Default)]
struct Known {
    asked: AtomicU64,
    held: AtomicU64,
    ending: AtomicU64,
    ended: AtomicU64,
    costing: AtomicU64,
    spent: AtomicU64,
}

impl Known {
    /// Whether `standing` sees what can have been at one moment of it.
    fn audit(&self, standing: impl Fn() -> Standing, forgets: bool) {
        let get = |sum: &AtomicU64| sum.load(Ordering::SeqCst);
        let (spent, held, ended) = (get(&self.spent), get(&self.held), get(&self.ended));
        let seen = standing();
        let (costing, asked, ending) = (get(&self.costing), get(&self.asked), get(&self.ending));
        let settled = if forgets { 0..=costing } else { spent..=costing };
        assert!(settled.contains(&seen.settled_nano), "{seen:?}, settled {settled:?}");
        let held = held.saturating_sub(ending)..=asked - ended;
        assert!(held.contains(&seen.held_nano), "{seen:?}, held {held:?}");
        assert_eq!(seen.overdraft_nano(), 0, "overspent: {seen:?}");
    }
}

struct Storm {
    known: Known,
    breaker: Breaker,
    scopes: [Scope; 2],
    clock: Arc<ManualClock>,
    probes: usize,
    /// The next stamp; stamps are taken in the order of what happens between them.
    stamps: AtomicU64,
}

impl Storm {
    fn new(limit: u64) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let probes = 3;
        let config = Config {
            window: Window::Calls(50),
            calls_min: 10,
            open: Duration::from_millis(1),
            open_max: Duration::from_millis(4),
            probes,
            // Never over here: a lease that expires lets another probe live beside its late owner.
            probe_lease: Duration::from_secs(3600),
            events_kept: 1_000_000,
            clock: clock.clone(),
            ..Config::default()
        };
        let scope = |name, period, limit| {
            Scope::builder(name, clock.clone()).limit(period, limit).levels(100.0, 100.0).build().unwrap()
        };
        let sliding = Period::Sliding(Duration::from_millis(80));
        let scopes = [scope("lifetime", Period::Lifetime, limit), scope("sliding", sliding, 40_000)];
        Self {
            known: Known::default(),
            breaker: Breaker::new(config).unwrap(),
            scopes,
            clock,
            probes,
            stamps: AtomicU64::new(0),
        }
    }

    fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::SeqCst)
    }

    /// Asks once. True if it was let through.
    fn one(&self, asked: u64, random: &mut TestRng, did: &mut Did) -> bool {
        if asked.is_multiple_of(64) {
            self.clock.advance(Duration::from_millis(1));
        }
        // Now and then the dependency is in a bad way.
        let is_bad = asked % 8192 > 8000;
        let (known, cost) = (&self.known, random.below(40));
        known.asked.fetch_add(cost, Ordering::SeqCst);
        let request = Request {
            cost: Cost::Nano(cost),
            class: Class::Critical,
            scopes: &self.scopes,
            ..Request::default()
        };
        let mut permit = match self.breaker.try_acquire(&request) {
            Ok(permit) => permit,
            Err(rejected) => {
                assert!(!matches!(rejected, Rejected::Forced));
                did.refused += 1;
                did.refused_in_a_row += 1;
                known.ended.fetch_add(cost, Ordering::SeqCst);
                assert!(did.refused_in_a_row < REFUSED_MAX, "nobody is let through any more: {rejected:?}");
                if did.refused_in_a_row > PATIENCE {
                    thread::sleep(Duration::from_millis(1));
                } else if did.refused.is_multiple_of(16) {
                    // Now and then, for else those who are refused keep the processors from the probes.
                    thread::yield_now();
                }
                return false;
            }
        };
        did.refused_in_a_row = 0;
        let out_from = permit.is_probe().then(|| self.stamp());
        if out_from.is_some() {
            // So that they overlap on few processors, too.
            (0..random.below(8)).for_each(|_| thread::yield_now());
        }
        let held = permit.held_nano();
        known.held.fetch_add(held, Ordering::SeqCst);
        let is_dispatched = random.below(4) > 0;
        if is_dispatched {
            permit.dispatched();
        }
        let done = if is_bad { 4 } else { random.below(16) };
        // Before the permit ends: afterwards another probe may take its place.
        let out = out_from.map(|from| (from, self.stamp()));
        let costs = match done {
            0 | 2 if !is_dispatched => 0,
            0..=2 => held,
            4 | 5 => 0,
            _ => held / 2,
        };
        known.ending.fetch_add(held, Ordering::SeqCst);
        known.costing.fetch_add(costs, Ordering::SeqCst);
        let mut is_counted = false;
        let mut end_of = |ended: Ended| {
            is_counted = ended.counted;
            ended.end
        };
        let end = match done {
            0 => {
                drop(permit);
                End::Dropped
            }
            1 => {
                permit.dispatched();
                let fall = AssertUnwindSafe(move || {
                    let _permit = permit;
                    resume_unwind(Box::new(()));
                });
                assert!(catch_unwind(fall).is_err());
                End::Panicked
            }
            2 => end_of(permit.cancel()),
            3 => end_of(permit.settle(Outcome::Ignored, Settlement::Exact(costs))),
            4 | 5 => end_of(permit.settle(Outcome::Failure, Settlement::Exact(costs))),
            _ => end_of(permit.settle(Outcome::Success, Settlement::Exact(costs))),
        };
        // One that is late may be out beside those of the next half-open state. One that counts when it ends is of the present state, and was all the time.
        did.probed.extend(out.filter(|_| is_counted));
        known.spent.fetch_add(costs, Ordering::SeqCst);
        known.ended.fetch_add(held, Ordering::SeqCst);
        did.ends[place(end)] += 1;
        true
    }
}

fn storm(permits: u64) {
    let limit = permits * 40;
    let storm = Storm::new(limit);
    let over = AtomicBool::new(false);
    let all: Vec<Did> = thread::scope(|scope| {
        let work = |seed: u64| {
            let storm = &storm;
            scope.spawn(move || {
                let (mut random, mut did) = (TestRng::new(seed), Did::default());
                let (mut asked, mut granted) = (0, 0);
                while granted < permits / THREADS as u64 {
                    granted += u64::from(storm.one(asked, &mut random, &mut did));
                    asked += 1;
                }
                did
            })
        };
        let workers: Vec<_> = (1..=THREADS as u64).map(work).collect();
        // Everything is audited while they run.
        let audit = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (at, scope) in storm.scopes.iter().enumerate() {
                    // What has left a sliding period is forgotten.
                    storm.known.audit(|| scope.standing(0).unwrap(), at == 1);
                }
                thread::yield_now();
            }
        });
        let all = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        audit.join().unwrap();
        all
    });
    let sum = |of: fn(&Did) -> u64| all.iter().map(of).sum::<u64>();
    let stats = storm.breaker.stats();
    assert_eq!((stats.outstanding, stats.held_nano), (0, 0), "something is left");
    assert!(storm.scopes.iter().all(Scope::is_at_rest));
    assert_eq!(stats.allowed(), permits / THREADS as u64 * THREADS as u64);
    assert_eq!(stats.rejected(), sum(|did| did.refused));
    assert_eq!(stats.expired, 0, "no lease was over, and yet its place was another's");
    let probed = all.iter().flat_map(|did| did.probed.iter().copied());
    let (counted, at_once) = (probed.clone().count(), most_at_once(probed));
    assert!(at_once <= storm.probes, "{at_once} probes at a time");
    let ends = [
        stats.success,
        stats.failure,
        stats.ignored,
        stats.cancelled,
        stats.expired,
        stats.dropped,
        stats.panicked,
    ];
    for (at, end) in ends.into_iter().enumerate() {
        assert_eq!(end, all.iter().map(|did| did.ends[at]).sum::<u64>(), "end {at}");
    }
    assert_eq!(storm.scopes[0].standing(0).unwrap().settled_nano, stats.actual_nano);
    let (granted, asked) = (stats.allowed(), stats.total());
    println!(
        "{granted} permits of {asked} calls, {} transitions, {} refused for money, {counted} probes counted, {at_once} at a time",
        stats.transitions, stats.rejected_budget
    );
    assert!(
        counted > 0 && stats.transitions > 10 && stats.rejected_budget > 0,
        "it proves little: {stats:?}"
    );
    let mut at = State::Closed;
    for (event, number) in storm.breaker.events_since(0).iter().zip(1..) {
        if event.number > number {
            return; // more than were kept
        }
        if let EventKind::Transition { from, to, .. } = event.kind {
            assert_eq!(from, at);
            let legal = matches!(
                (from, to),
                (State::Closed | State::HalfOpen, State::Open)
                    | (State::Open, State::HalfOpen)
                    | (State::HalfOpen, State::Closed)
            );
            assert!(legal, "{from:?} → {to:?}");
            at = to;
        }
    }
    assert_eq!(at, storm.breaker.state());
}

#[test]
fn a_storm_of_permits_leaves_nothing() {
    storm(400_000);
}

/// `STEADFAST_FULL=1 cargo test --release -p steadfast-breaker --test it storm`
#[test]
fn a_storm_of_a_hundred_million_permits_leaves_nothing() {
    if skipped_unless_full("10⁸ permits take minutes without optimisation") {
        return;
    }
    storm(100_000_000);
}

#[test]
fn every_outcome_of_a_closed_breaker_is_counted() {
    let config = Config { failure_percent: None, stripes: 2, ..Config::default() };
    let breaker = Breaker::new(config).unwrap();
    let calls = 50_000_u64;
    thread::scope(|scope| {
        for worker in 0..THREADS as u64 {
            let breaker = &breaker;
            scope.spawn(move || {
                for call in 0..calls {
                    let fails = (call + worker) % 5 == 0;
                    let _ = breaker.call(|| if fails { Err(()) } else { Ok(()) });
                }
            });
        }
    });
    let stats = breaker.stats();
    let all = calls * THREADS as u64;
    assert_eq!((stats.failure, stats.success, stats.total()), (all / 5, all - all / 5, all));
}
