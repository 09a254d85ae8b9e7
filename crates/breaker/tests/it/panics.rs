//! Clocks, ledgers and listeners that panic, at each of their calls: nothing stays held, and each permit ends once.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast_breaker::ledger::Standing;
use steadfast_breaker::{
    Breaker, Class, Clock, Config, Cost, Estimator, Event, Ledger, LedgerError, ManualClock, Outcome, Period,
    Request, Rule, Scope, Settlement, State, Window,
};

const HOUR: Duration = Duration::from_secs(3600);

fn ask(cost: u64, class: Class, scopes: &[Scope]) -> Request<'_> {
    Request { cost: Cost::Nano(cost), class, operation: "chat", scopes }
}

fn spend(breaker: &Breaker, request: &Request<'_>, cost: u64) {
    breaker.try_acquire(request).unwrap().settle(Outcome::Success, Settlement::Exact(cost));
}

/// Burns down a step with each call of somebody's code, and then panics: once, or from then on.
#[derive(Debug)]
struct Fuse {
    left: AtomicU64,
    again: bool,
    is_burnt: AtomicBool,
}

impl Fuse {
    fn step(&self) {
        let left = self.left.load(Ordering::Relaxed);
        if left == u64::MAX {
            return;
        }
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            return;
        }
        if !self.again {
            self.left.store(u64::MAX, Ordering::Relaxed);
        }
        self.is_burnt.store(true, Ordering::Relaxed);
        resume_unwind(Box::new("burnt"));
    }
}

#[derive(Debug)]
struct BurningClock(Arc<Fuse>, Arc<ManualClock>);

impl Clock for BurningClock {
    fn monotonic_ns(&self) -> u64 {
        self.0.step();
        self.1.monotonic_ns()
    }

    fn wall_ms(&self) -> u64 {
        self.0.step();
        self.1.wall_ms()
    }

    fn monotonic_bounds_ns(&self) -> (u64, u64) {
        self.0.step();
        self.1.monotonic_bounds_ns()
    }
}

/// A ledger that does nothing if it panics.
struct BurningLedger {
    fuse: Arc<Fuse>,
    standing: Mutex<Standing>,
    missed: AtomicBool,
}

impl BurningLedger {
    fn step(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.fuse.step())) {
            self.missed.store(true, Ordering::Relaxed);
            resume_unwind(panic);
        }
    }
}

impl Ledger for BurningLedger {
    fn reserve(&self, amount_nano: u64) -> Result<u64, LedgerError> {
        self.fuse.step();
        self.standing.lock().unwrap().reserve(amount_nano).map(|()| 7).map_err(LedgerError::Short)
    }

    fn extend(&self, _: u64, amount_nano: u64) {
        self.step();
        self.standing.lock().unwrap().extend(amount_nano);
    }

    fn settle(&self, _: u64, held_nano: u64, actual_nano: u64) {
        self.step();
        self.standing.lock().unwrap().settle(held_nano, actual_nano);
    }

    fn correct(&self, _: u64, before_nano: u64, after_nano: u64) {
        self.step();
        self.standing.lock().unwrap().correct(before_nano, after_nano);
    }

    fn standing(&self) -> Option<Standing> {
        self.fuse.step();
        Some(*self.standing.lock().unwrap())
    }
}

/// How a call goes that somebody's panic disturbs.
#[derive(Clone, Copy, Debug)]
enum Way {
    Settled {
        outcome: Outcome,
        extended: bool,
        corrected: bool,
        owned: bool,
    },
    Dropped {
        dispatched: bool,
    },
    DroppedByPanic,
    /// The last ledger has too little.
    Refused,
    Closure {
        fails: bool,
    },
}

/// One call of which the `left`-th call of somebody's code panics. Gives whether it came to that.
fn disturb(way: Way, half_open: bool, slow: bool, left: u64, again: bool) -> bool {
    let what = format!("{way:?}, half-open {half_open}, slow {slow}, panic {left}, again {again}");
    let fuse = Arc::new(Fuse { left: u64::MAX.into(), again, is_burnt: false.into() });
    let time = Arc::new(ManualClock::new(1_000_000_000_000));
    let clock = Arc::new(BurningClock(fuse.clone(), time.clone()));
    let length = Duration::from_secs(10);
    let settings = Config {
        window: if slow { Window::Time { length, buckets: 2 } } else { Window::Calls(4) },
        calls_min: 1,
        slow_call: slow.then_some(HOUR),
        slow_percent: slow.then_some(100.0),
        probes: 1,
        clock: clock.clone(),
        ..Config::default()
    };
    let hear = fuse.clone();
    let breaker = Breaker::builder(settings)
        .rule(Rule::over("rule", Period::Lifetime, 1000))
        .rule(Rule::over("daily", Period::Day, 1000))
        .rule(Rule::over("sliding", Period::Sliding(24 * HOUR), 1000))
        .estimator(Arc::new(Estimator::new()))
        .listener(Arc::new(move |_: &Event| hear.step()))
        .build()
        .unwrap();
    let ledger = |limit| {
        let standing = Mutex::new(Standing::new(limit));
        Arc::new(BurningLedger { fuse: fuse.clone(), standing, missed: false.into() })
    };
    let last = if matches!(way, Way::Refused) { 2 } else { 1000 };
    let ledgers = [ledger(1000), ledger(last)];
    let own =
        |period| Scope::builder("own", clock.clone()).limit(period, 50).levels(1.0, 100.0).build().unwrap();
    let mixed =
        Scope::builder("mixed", clock.clone()).limit(Period::Sliding(24 * HOUR), 50).levels(1.0, 100.0);
    let mixed = mixed.ledger(ledgers[0].clone()).ledger(ledgers[1].clone()).build().unwrap();
    let scopes = [own(Period::Hour), mixed];
    // An alert is told on the way.
    spend(&breaker, &ask(1, Class::Normal, &scopes[..1]), 1);
    spend(&breaker, &ask(1, Class::Normal, &scopes[1..]), 1);
    if half_open {
        breaker.set_state(State::Open);
        time.advance(length * 2);
    }
    let before = breaker.stats();
    fuse.left.store(left, Ordering::Relaxed);
    let request = ask(40, Class::Critical, &scopes);
    let mut got = 0;
    let call = || match way {
        Way::Closure { fails } => {
            let result = if fails { Err(()) } else { Ok(()) };
            let _ = breaker.call(|| {
                got += 1;
                result
            });
        }
        Way::DroppedByPanic => {
            let mut permit = breaker.try_acquire(&request).unwrap();
            got += 1;
            permit.dispatched();
            resume_unwind(Box::new("the caller's own"));
        }
        Way::Dropped { dispatched } => {
            let mut permit = breaker.try_acquire(&request).unwrap();
            got += 1;
            if dispatched {
                permit.dispatched();
            }
        }
        Way::Refused => assert!(breaker.try_acquire(&request).is_err(), "{what}"),
        Way::Settled { outcome, extended, corrected, owned } => {
            let permit =
                if owned { breaker.try_acquire_owned(&request) } else { breaker.try_acquire(&request) };
            let mut permit = permit.unwrap();
            got += 1;
            let receipt = corrected.then(|| permit.receipt(&breaker));
            if extended {
                let _ = catch_unwind(AssertUnwindSafe(|| permit.charge(45)));
            }
            let _ = catch_unwind(AssertUnwindSafe(|| permit.settle(outcome, Settlement::Exact(30))));
            if let Some(receipt) = receipt {
                let settled = catch_unwind(AssertUnwindSafe(|| receipt.settle(20)));
                assert!(settled.is_err() || settled.unwrap() == Ok(30), "{what}");
                assert_eq!(receipt.settle(20), Ok(20), "{what}: a bill is told once");
            }
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(call));
    let is_burnt = fuse.is_burnt.load(Ordering::Relaxed);
    fuse.left.store(u64::MAX, Ordering::Relaxed);
    let stats = breaker.stats();
    assert_eq!((stats.outstanding, stats.held_nano), (0, 0), "{what}");
    assert_eq!(stats.ended() - before.ended(), got, "{what}: each call ends once: {stats:?}");
    assert_eq!(breaker.window().probes, 0, "{what}: a probe's place");
    let mut settled = Vec::new();
    for standing in [
        scopes[0].standing(0),
        scopes[1].standing(0),
        breaker.rule_standing("rule"),
        breaker.rule_standing("daily"),
        breaker.rule_standing("sliding"),
    ] {
        let standing = standing.unwrap();
        assert_eq!(standing.held_nano, 0, "{what}: {standing:?}");
        settled.push(standing.settled_nano);
    }
    let cost = match way {
        Way::Settled { corrected, .. } => got * if corrected { 20 } else { 30 },
        Way::Dropped { dispatched: true } | Way::DroppedByPanic => got * 40,
        _ => 0,
    };
    assert_eq!(settled, [1 + cost, 1 + cost, 2 + cost, 2 + cost, 2 + cost], "{what}");
    assert_eq!(stats.actual_nano, 2 + cost, "{what}");
    for ledger in &ledgers {
        let standing = *ledger.standing.lock().unwrap();
        let is_whole = (standing.held_nano, standing.settled_nano) == (0, 1 + cost);
        assert!(is_whole || ledger.missed.load(Ordering::Relaxed), "{what}: {standing:?}");
    }
    is_burnt
}

/// Symptom: a ledger that panicked left the scopes before it, or after it, with a hold for ever, and a permit that never ended.
#[test]
fn a_panic_of_anybodys_code_leaves_nothing_held() {
    let settled = |outcome, extended, corrected, owned| Way::Settled { outcome, extended, corrected, owned };
    let ways = [
        settled(Outcome::Success, false, false, false),
        settled(Outcome::Failure, true, true, false),
        settled(Outcome::Failure, false, false, true),
        settled(Outcome::Cancelled, true, false, true),
        Way::Dropped { dispatched: true },
        Way::Dropped { dispatched: false },
        Way::DroppedByPanic,
        Way::Refused,
        Way::Closure { fails: false },
        Way::Closure { fails: true },
    ];
    let mut panics = 0;
    for way in ways {
        for case in 0..8 {
            let (half_open, slow, again) = (case & 1 != 0, case & 2 != 0, case & 4 != 0);
            let harmless = (0..1000).find(|&left| !disturb(way, half_open, slow, left, again));
            panics += harmless.expect("fewer than a thousand calls of somebody's code");
        }
    }
    assert!(panics > 300, "{panics}");
}
