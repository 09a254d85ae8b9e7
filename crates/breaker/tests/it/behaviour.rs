//! What the documentation promises, one promise a test.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use steadfast_breaker::ledger::{NANO_MAX, Shortage, Standing};
use steadfast_breaker::{
    Breaker, CallError, Class, Clock, Config, Cost, End, Estimator, Event, EventKind, Ledger, LedgerError,
    Level, ManualClock, OnUnknown, Outcome, Period, Price, Registry, Rejected, Request, Rule, Scope,
    Settlement, State, StillRunning, Window,
};

const HOUR: Duration = Duration::from_secs(3600);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_000_000_000_000))
}

fn config(clock: &Arc<ManualClock>) -> Config {
    Config { clock: clock.clone(), jitter_percent: 0.0, ..Config::default() }
}

fn scope(clock: &Arc<ManualClock>, limit: u64) -> Scope {
    Scope::builder("team", clock.clone()).limit(Period::Hour, limit).build().unwrap()
}

fn ask(cost: u64, class: Class, scopes: &[Scope]) -> Request<'_> {
    Request { cost: Cost::Nano(cost), class, operation: "chat", scopes }
}

/// Settles a call of `cost` exactly.
fn spend(breaker: &Breaker, request: &Request<'_>, cost: u64) -> Result<(), Rejected> {
    let mut permit = breaker.try_acquire(request)?;
    permit.dispatched();
    permit.settle(Outcome::Success, Settlement::Exact(cost));
    Ok(())
}

#[test]
fn money_is_alerted_then_throttled_then_blocked() {
    let clock = clock();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let listener = move |event: &Event| {
        if let EventKind::Budget { level, .. } = &event.kind {
            hear.lock().unwrap().push(*level);
        }
    };
    let breaker = Breaker::builder(config(&clock)).listener(Arc::new(listener)).build().unwrap();
    let scopes = [scope(&clock, 1000)];
    let mut refusals = Vec::new();
    for _ in 0..40 {
        for class in [Class::Background, Class::Normal, Class::Critical] {
            if let Err(rejected) = spend(&breaker, &ask(25, class, &scopes), 25) {
                let used = 1000 - scopes[0].standing(0).unwrap().free_nano();
                refusals.push((class, used, matches!(rejected, Rejected::Shed { .. })));
            }
        }
    }
    assert_eq!(
        *heard.lock().unwrap(),
        [Level::Alert, Level::Throttle, Level::Block],
        "each told once, in order"
    );
    assert_eq!(refusals[0], (Class::Background, 900, true), "the least important first, from 90 %");
    assert!(refusals.iter().any(|refusal| refusal.0 == Class::Normal && refusal.2 && refusal.1 < 1000));
    assert!(
        refusals.iter().all(|&(class, used, _)| class != Class::Critical || used == 1000),
        "critical calls go on to the end"
    );
    let standing = scopes[0].standing(0).unwrap();
    assert_eq!((standing.settled_nano, standing.overdraft_nano()), (1000, 0));
    let rejected = spend(&breaker, &ask(25, Class::Critical, &scopes), 25).unwrap_err();
    assert!(rejected.is_retryable() && rejected.retry_after().unwrap() <= HOUR);
    clock.advance(rejected.retry_after().unwrap());
    assert_eq!(spend(&breaker, &ask(25, Class::Background, &scopes), 25), Ok(()), "a new hour");
    assert_eq!(breaker.stats().failure, 0, "no refusal is the dependency's failure");
    assert!(breaker.stats().saved_nano > 0);
}

#[test]
fn a_budget_refusal_leaves_every_other_scope_and_the_probe_as_they_were() {
    let clock = clock();
    let breaker = Breaker::new(Config { probes: 1, ..config(&clock) }).unwrap();
    let scopes = [scope(&clock, 1000), scope(&clock, 10)];
    breaker.set_state(State::Open);
    clock.advance(Duration::from_secs(10));
    let rejected = breaker.try_acquire(&ask(11, Class::Normal, &scopes)).unwrap_err();
    assert!(matches!(rejected, Rejected::Budget { needed_nano: 11, available_nano: 10, .. }), "{rejected:?}");
    assert!(scopes.iter().all(Scope::is_at_rest));
    let permit = breaker.try_acquire(&ask(5, Class::Normal, &scopes)).unwrap();
    assert!(permit.is_probe(), "the probe's place was given back");
    assert_eq!(permit.success().end, End::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_stream_is_charged_as_it_goes_and_a_bill_corrects_it_later() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let scopes = [scope(&clock, 100)];
    let mut permit = breaker.try_acquire(&ask(60, Class::Normal, &scopes)).unwrap();
    let receipt = permit.receipt(&breaker);
    assert_eq!(receipt.settle(1), Err(StillRunning));
    assert_eq!(permit.charge(50).beyond_nano, 0);
    assert_eq!(permit.charge(70).beyond_nano, 60);
    assert_eq!(scopes[0].standing(0).unwrap().overdraft_nano(), 20);
    assert!(
        breaker.try_acquire(&ask(0, Class::Critical, &scopes)).is_err(),
        "an overdraft blocks even what costs nothing"
    );
    drop(permit);
    assert_eq!(scopes[0].standing(0).unwrap().settled_nano, 120, "what was dispatched is charged");
    assert_eq!(receipt.settle(80), Ok(120));
    assert_eq!(receipt.settle(80), Ok(80), "said twice, it changes nothing");
    let standing = scopes[0].standing(0).unwrap();
    assert_eq!((standing.settled_nano, standing.held_nano, standing.free_nano()), (80, 0, 20));
    let stats = breaker.stats();
    assert_eq!((stats.actual_nano, stats.held_nano), (80, 0));
    clock.advance(HOUR);
    assert_eq!(scopes[0].standing(0).unwrap().settled_nano, 0);
    assert_eq!(receipt.settle(10), Ok(80));
    assert_eq!(
        scopes[0].standing(0).unwrap(),
        Standing::new(100),
        "the hour that it was reserved in is corrected, not this one"
    );
}

#[test]
fn unknown_is_refused_unless_somebody_said_otherwise() {
    let clock = clock();
    let scopes = [scope(&clock, 100)];
    let unknown = Request { cost: Cost::Unknown, scopes: &scopes, ..Request::default() };
    let strict = Breaker::new(config(&clock)).unwrap();
    assert_eq!(strict.try_acquire(&unknown).unwrap_err(), Rejected::Unpriced);
    let lax = Breaker::builder(config(&clock))
        .on_unpriced(OnUnknown::FailOpen { assumed_nano: 30 })
        .build()
        .unwrap();
    let permit = lax.try_acquire(&unknown).unwrap();
    assert_eq!((permit.held_nano(), scopes[0].standing(0).unwrap().held_nano), (30, 30), "never free");
    drop(permit);
    let free = Breaker::builder(config(&clock)).on_unpriced(OnUnknown::FailOpen { assumed_nano: 0 }).build();
    assert_eq!(free.unwrap_err().field, "assumed_nano");
}

/// More than a permit keeps of it without an allocation.
const TICKET: u64 = 7 << 40 | 3;

/// A ledger elsewhere, which may be out of reach.
struct Remote {
    is_up: std::sync::atomic::AtomicBool,
    standing: Mutex<Standing>,
}

impl Ledger for Remote {
    fn reserve(&self, amount_nano: u64) -> Result<u64, LedgerError> {
        if !self.is_up.load(Ordering::Relaxed) {
            return Err(LedgerError::Unavailable);
        }
        self.standing.lock().unwrap().reserve(amount_nano).map(|()| TICKET).map_err(LedgerError::Short)
    }

    fn extend(&self, _: u64, amount_nano: u64) {
        self.standing.lock().unwrap().extend(amount_nano);
    }

    fn settle(&self, ticket: u64, held_nano: u64, actual_nano: u64) {
        assert_eq!(ticket, TICKET);
        self.standing.lock().unwrap().settle(held_nano, actual_nano);
    }

    fn correct(&self, _: u64, before_nano: u64, after_nano: u64) {
        self.standing.lock().unwrap().correct(before_nano, after_nano);
    }

    fn standing(&self) -> Option<Standing> {
        Some(*self.standing.lock().unwrap())
    }
}

#[test]
fn a_ledger_out_of_reach_follows_its_policy_and_other_limits_hold() {
    let clock = clock();
    let remote = Arc::new(Remote { is_up: true.into(), standing: Mutex::new(Standing::new(50)) });
    let build = |on_outage| {
        let scope =
            Scope::builder("shared", clock.clone()).limit(Period::Lifetime, 100).ledger(remote.clone());
        [scope.on_outage(on_outage).build().unwrap()]
    };
    let breaker = Breaker::new(config(&clock)).unwrap();
    let strict = build(OnUnknown::FailClosed);
    spend(&breaker, &ask(20, Class::Normal, &strict), 15).unwrap();
    assert_eq!(remote.standing().unwrap().settled_nano, 15);
    let rejected = breaker.try_acquire(&ask(40, Class::Normal, &strict)).unwrap_err();
    assert!(matches!(rejected, Rejected::Budget { needed_nano: 40, available_nano: 35, .. }));
    remote.is_up.store(false, Ordering::Relaxed);
    let rejected = breaker.try_acquire(&ask(1, Class::Normal, &strict)).unwrap_err();
    assert!(matches!(rejected, Rejected::LedgerUnavailable { .. }) && rejected.is_retryable());
    assert!(strict[0].standing(0).unwrap().held_nano == 0, "its own limit was given back");
    let lax = build(OnUnknown::FailOpen { assumed_nano: 1 });
    spend(&breaker, &ask(60, Class::Normal, &lax), 60).unwrap();
    assert_eq!(lax[0].standing(0).unwrap().settled_nano, 60, "its own limit is kept all the same");
    assert_eq!(breaker.stats().unledgered_nano, 60);
    assert_eq!(remote.standing().unwrap().settled_nano, 15);
    assert_eq!(
        LedgerError::Short(Shortage { needed_nano: 2, available_nano: 1 }).to_string(),
        "2 nano-units needed, 1 free"
    );
}

#[test]
fn rules_are_asked_by_priority_and_an_allowing_one_ends_the_questions() {
    let clock = clock();
    let breaker = Breaker::builder(config(&clock))
        .rule(Rule::over("all", Period::Day, 100).levels(100.0, 100.0).exempt(Class::Critical))
        .rule(Rule::per_call("embed", 5).operations(["embed*"]).priority(1))
        .rule(Rule::allow("pay").operations(["payment"]).priority(2))
        .build()
        .unwrap();
    let request = |operation, cost, class| Request { cost: Cost::Nano(cost), class, operation, scopes: &[] };
    let rejected = breaker.try_acquire(&request("embed/small", 6, Class::Normal)).unwrap_err();
    assert!(matches!(rejected, Rejected::TooExpensive { allowed_nano: 5, .. }));
    spend(&breaker, &request("chat", 90, Class::Normal), 90).unwrap();
    assert!(matches!(spend(&breaker, &request("chat", 20, Class::Normal), 20), Err(Rejected::Budget { .. })));
    spend(&breaker, &request("payment", 500, Class::Background), 500).unwrap();
    assert_eq!(
        breaker.rule_standing("all").unwrap().settled_nano,
        90,
        "what is allowed is not metered below"
    );
    spend(&breaker, &request("chat", 20, Class::Critical), 20).unwrap();
    assert_eq!(breaker.rule_standing("all").unwrap().overdraft_nano(), 10, "who is exempt is metered");
}

#[test]
fn a_cooldown_goes_on_refusing_even_in_a_new_period() {
    let clock = clock();
    let rule = Rule::over("hourly", Period::Hour, 10).levels(100.0, 100.0).cooldown(2 * HOUR);
    let breaker = Breaker::builder(config(&clock)).rule(rule).build().unwrap();
    spend(&breaker, &ask(10, Class::Normal, &[]), 10).unwrap();
    assert!(matches!(spend(&breaker, &ask(1, Class::Normal, &[]), 1), Err(Rejected::Budget { .. })));
    clock.advance(HOUR);
    let rejected = spend(&breaker, &ask(1, Class::Normal, &[]), 1).unwrap_err();
    assert_eq!(rejected, Rejected::Cooldown { rule: "hourly".into(), retry_after: HOUR });
    clock.advance(HOUR);
    assert_eq!(spend(&breaker, &ask(1, Class::Normal, &[]), 1), Ok(()));
}

#[test]
fn a_share_of_a_scope_is_a_rule() {
    let clock = clock();
    let all = scope(&clock, 1000);
    let rule = Rule::share_of("tenth", &all, 0, 10.0).levels(100.0, 100.0);
    let breaker = Breaker::builder(config(&clock)).rule(rule).build().unwrap();
    spend(&breaker, &ask(100, Class::Normal, &[]), 100).unwrap();
    assert!(spend(&breaker, &ask(1, Class::Normal, &[]), 1).is_err());
    let absent = Breaker::builder(config(&clock)).rule(Rule::share_of("x", &all, 3, 10.0)).build();
    assert_eq!(absent.unwrap_err().field, "limit");
}

#[test]
fn the_estimator_learns_a_call_once() {
    let clock = clock();
    let estimator = Arc::new(
        Estimator::new().default_nano(50).price("priced", Price::per_million_tokens(1.0, 2.0).unwrap()),
    );
    let breaker = Breaker::builder(config(&clock)).estimator(Arc::clone(&estimator)).build().unwrap();
    let tokens = Cost::Tokens { input: 10, output_max: 10 };
    let request = Request { cost: tokens, operation: "chat", ..Request::default() };
    for _ in 0..5 {
        let mut permit = breaker.try_acquire(&request).unwrap();
        assert_eq!(permit.held_nano(), 50);
        let receipt = permit.receipt(&breaker);
        permit.settle(Outcome::Success, Settlement::Exact(20));
        receipt.settle(20_000).unwrap();
    }
    assert_eq!(breaker.try_acquire(&request).unwrap().held_nano(), 20, "the mean of five, not of ten");
    let priced = Request { operation: "priced", ..request };
    assert_eq!(breaker.try_acquire(&priced).unwrap().held_nano(), 30_000);
}

#[test]
fn a_probe_that_never_reports_gives_its_place_to_another() {
    let clock = clock();
    let breaker =
        Breaker::new(Config { probes: 1, probe_lease: Duration::from_secs(1), ..config(&clock) }).unwrap();
    breaker.set_state(State::Open);
    clock.advance(Duration::from_secs(10));
    let silent = breaker.try_acquire(&Request::default()).unwrap();
    std::mem::forget(silent);
    assert_eq!(breaker.try_acquire(&Request::default()).unwrap_err(), Rejected::ProbesBusy);
    clock.advance(Duration::from_secs(1));
    breaker.try_acquire(&Request::default()).unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn openings_grow_and_vary_within_their_bounds() {
    let clock = clock();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let listener = move |event: &Event| {
        if let EventKind::Transition { to: State::Open, wait, .. } = event.kind {
            hear.lock().unwrap().push(wait.as_millis() as u64);
        }
    };
    let base = Config {
        consecutive_failures: Some(1),
        open: Duration::from_secs(1),
        open_max: Duration::from_secs(6),
        probes: 1,
        ..Config::default()
    };
    let config = Config { clock: clock.clone(), jitter_percent: 10.0, seed: 42, ..base };
    let breaker = Breaker::builder(config).listener(Arc::new(listener)).build().unwrap();
    for _ in 0..40 {
        let _ = breaker.call(|| Err::<(), ()>(()));
        clock.advance(Duration::from_secs(7));
    }
    let waits = heard.lock().unwrap().clone();
    for (at, wait) in waits.iter().enumerate() {
        let middle = (1000_u64 << at.min(10)).min(6000);
        assert!(wait.abs_diff(middle) <= middle / 10, "{at}: {wait}");
    }
    let varied: std::collections::HashSet<_> = waits[3..].iter().collect();
    assert!(varied.len() > 10, "{varied:?}");
}

#[test]
fn a_breaker_that_only_measures_never_opens() {
    let clock = clock();
    let config = Config { window: Window::Calls(4), calls_min: 1, ..config(&clock) };
    let breaker = Breaker::new(config).unwrap();
    breaker.set_state(State::MetricsOnly);
    for _ in 0..10 {
        assert_eq!(breaker.call(|| Err::<(), ()>(())), Err(CallError::Failed(())));
    }
    assert_eq!((breaker.state(), breaker.stats().would_open), (State::MetricsOnly, 10));
    breaker.set_state(State::ForcedOpen);
    let refused = breaker.call(|| Ok::<(), ()>(()));
    assert_eq!(refused, Err(CallError::Rejected(Rejected::Forced)));
    assert!(!refused.unwrap_err().is_retryable());
    breaker.set_state(State::Disabled);
    let _ = breaker.call(|| Err::<(), ()>(()));
    assert_eq!((breaker.stats().failure, breaker.stats().uncounted), (11, 1));
}

#[test]
fn results_are_judged_and_not_only_errors() {
    let clock = clock();
    let breaker = Breaker::new(Config { consecutive_failures: Some(2), ..config(&clock) }).unwrap();
    let judge = |result: &Result<u16, ()>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(400..) => Outcome::Ignored,
        Ok(_) => Outcome::Success,
        Err(()) => Outcome::Cancelled,
    };
    for status in [Ok(503), Ok(404), Err(()), Ok(503)] {
        let _ = breaker.call_judged(|| status, judge);
    }
    assert_eq!(breaker.state(), State::Open, "what is ignored doesn't break a row");
    let stats = breaker.stats();
    assert_eq!((stats.failure, stats.ignored, stats.cancelled), (2, 1, 1));
}

#[test]
fn a_panic_is_a_failure_and_goes_on() {
    let clock = clock();
    let breaker = Breaker::new(Config { consecutive_failures: Some(1), ..config(&clock) }).unwrap();
    let call = std::panic::AssertUnwindSafe(|| {
        breaker.call(|| -> Result<(), ()> { std::panic::resume_unwind(Box::new(7)) })
    });
    assert_eq!(*std::panic::catch_unwind(call).unwrap_err().downcast::<i32>().unwrap(), 7);
    assert_eq!((breaker.state(), breaker.stats().panicked), (State::Open, 1));
}

#[test]
fn a_future_that_is_dropped_is_cancelled_and_gives_its_probe_back() {
    let clock = clock();
    let breaker = Breaker::new(Config { probes: 1, ..config(&clock) }).unwrap();
    breaker.set_state(State::Open);
    clock.advance(Duration::from_secs(10));
    {
        let mut call = std::pin::pin!(breaker.call_async(std::future::pending::<Result<(), ()>>));
        let poll = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        assert_eq!(breaker.window().probes, 1);
    }
    assert_eq!((breaker.window().probes, breaker.stats().cancelled), (0, 1));
    let mut call = std::pin::pin!(breaker.call_async(|| async { Ok::<_, ()>(5) }));
    assert_eq!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(5)));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_costed_future_that_is_dropped_is_charged() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let scopes = [scope(&clock, 100)];
    let request = ask(40, Class::Normal, &scopes);
    let bill = |_: &Result<(), ()>| (Outcome::Success, Settlement::Exact(10));
    {
        let mut call = std::pin::pin!(breaker.call_costed_async(&request, std::future::pending, bill));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(scopes[0].standing(0).unwrap().settled_nano, 40);
    assert_eq!(breaker.call_costed(&request, || Ok(()), bill), Ok(()));
    assert_eq!(scopes[0].standing(0).unwrap().settled_nano, 50);
}

#[test]
fn an_outcome_that_comes_too_late_is_told_and_its_cost_is_settled() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let scopes = [scope(&clock, 100)];
    let permit = breaker.try_acquire(&ask(30, Class::Normal, &scopes)).unwrap();
    breaker.set_state(State::Open);
    breaker.set_state(State::Closed);
    let ended = permit.settle(Outcome::Failure, Settlement::Exact(20));
    assert_eq!((ended.end, ended.counted, ended.cost_nano), (End::Failure, false, 20));
    assert_eq!((breaker.window().calls, scopes[0].standing(0).unwrap().settled_nano), (0, 20));
}

#[test]
fn the_registry_keeps_what_is_used_and_forgets_what_is_idle() {
    let clock = clock();
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let settings = Config { consecutive_failures: Some(1), ..config(&clock) };
    let registry = Registry::new(move |_: &&str| {
        counted.fetch_add(1, Ordering::Relaxed);
        Breaker::new(settings.clone()).unwrap()
    });
    let used = registry.get(&"used");
    let _ = registry.get(&"open").call(|| Err::<(), ()>(()));
    registry.get(&"idle");
    assert_eq!((registry.get(&"idle").state(), made.load(Ordering::Relaxed)), (State::Closed, 3));
    assert_eq!(registry.evict_idle(), 1);
    assert_eq!(registry.len(), 2);
    drop(used);
    assert_eq!(registry.evict_idle(), 1);
    assert_eq!(registry.get(&"open").state(), State::Open, "an open breaker is remembered");
    assert!(!registry.is_empty());
}

#[test]
fn a_permit_may_be_ended_on_another_thread() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let scopes = [scope(&clock, 100)];
    let permit = breaker.try_acquire_owned(&ask(30, Class::Normal, &scopes)).unwrap();
    std::thread::spawn(move || permit.settle(Outcome::Success, Settlement::Exact(10))).join().unwrap();
    assert_eq!((breaker.stats().success, breaker.stats().outstanding), (1, 0));
    assert_eq!(scopes[0].standing(0).unwrap().settled_nano, 10);
}

#[test]
fn a_listener_that_panics_or_asks_back_harms_nobody() {
    let clock = clock();
    let heard = Arc::new(AtomicU64::new(0));
    let breaker = Breaker::new(config(&clock)).unwrap();
    let (asked, hear) = (breaker.clone(), Arc::clone(&heard));
    breaker.listen(Arc::new(move |event: &Event| {
        hear.fetch_add(event.number, Ordering::Relaxed);
        asked.set_state(State::Closed);
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(breaker.set_state(State::Open));
    assert_eq!((breaker.state(), heard.load(Ordering::Relaxed)), (State::Closed, 3));
}

/// A clock whose bounds are far apart.
#[derive(Debug)]
struct Wide {
    clock: ManualClock,
    ahead: Duration,
}

impl Clock for Wide {
    fn monotonic_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn monotonic_bounds_ns(&self) -> (u64, u64) {
        (0, self.monotonic_ns().saturating_add(self.ahead.as_nanos().min(u64::MAX.into()) as u64))
    }
}

/// Symptom: a clock that said "at most 400 days ahead" kept an opening of ten seconds shut for half a year, for the deadline lies on a circle.
#[test]
fn wide_bounds_of_the_clock_never_keep_a_breaker_open() {
    for days in [0, 1, 199, 300, 398, 400, 600, 795, 800, 1000, 213_503] {
        let ahead = 24 * HOUR * days;
        let clock = Arc::new(Wide { clock: ManualClock::new(0), ahead });
        let breaker =
            Breaker::new(Config { clock: clock.clone(), jitter_percent: 0.0, ..Config::default() }).unwrap();
        for passed in [0, 360 * 24, 500 * 24] {
            clock.clock.advance(HOUR * passed);
            breaker.set_state(State::Open);
            let refused = breaker.call(|| Ok::<_, ()>(1)).unwrap_err();
            let CallError::Rejected(rejected) = refused else { panic!("{refused:?}") };
            assert!(rejected.retry_after().unwrap() >= Duration::from_secs(10), "{days} days: {rejected:?}");
            clock.clock.advance(HOUR);
            assert_eq!(breaker.call(|| Ok::<_, ()>(1)), Ok(1), "{days} days, {passed} hours");
            breaker.set_state(State::Closed);
        }
    }
}

/// The longest opening, asked at once by a clock that knows the time to 100 ms only: the wait was told by as much too short.
#[test]
fn the_longest_wait_is_told_whole() {
    #[derive(Debug)]
    struct Coarse(ManualClock);
    impl Clock for Coarse {
        fn monotonic_ns(&self) -> u64 {
            self.0.monotonic_ns()
        }
        fn wall_ms(&self) -> u64 {
            0
        }
        fn monotonic_bounds_ns(&self) -> (u64, u64) {
            (self.monotonic_ns() - 50_000_000, self.monotonic_ns() + 50_000_000)
        }
    }
    let clock = Arc::new(Coarse(ManualClock::new(0)));
    clock.0.advance(HOUR);
    let open = Duration::from_millis((1 << 35) - 1);
    let config = Config { clock, open, open_max: open, jitter_percent: 0.0, ..Config::default() };
    let breaker = Breaker::new(config).unwrap();
    breaker.set_state(State::Open);
    let refused = breaker.call(|| Ok::<_, ()>(1));
    assert_eq!(refused, Err(CallError::Rejected(Rejected::Open { retry_after: open })));
}

/// Symptom: of a cost beyond `NANO_MAX` less was held than was counted as held, for ever; and the next statistics overflowed.
#[test]
fn what_is_counted_as_held_is_what_is_held() {
    let breaker = Breaker::new(config(&clock())).unwrap();
    for _ in 0..3000 {
        let permit = breaker.try_acquire(&ask(u64::MAX, Class::Normal, &[])).unwrap();
        assert_eq!((permit.held_nano(), breaker.stats().held_nano), (NANO_MAX, NANO_MAX));
        drop(permit);
        assert_eq!(breaker.stats().held_nano, 0);
    }
    breaker.try_acquire(&Request::default()).unwrap().settle(Outcome::Success, Settlement::Exact(5));
    assert_eq!(breaker.stats().held_nano, 0);
}

#[test]
#[should_panic(expected = "of the breaker that gave the permit")]
fn a_receipt_is_of_the_permits_own_breaker() {
    let clock = clock();
    let [one, other] = [(); 2].map(|()| Breaker::new(config(&clock)).unwrap());
    let mut permit = one.try_acquire(&Request::default()).unwrap();
    permit.receipt(&one.clone());
    permit.receipt(&other);
}

#[test]
fn a_refusal_tells_whether_the_same_call_may_pass_later() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let lifetime =
        |limit| [Scope::builder("ever", clock.clone()).limit(Period::Lifetime, limit).build().unwrap()];
    let may = |request: &Request<'_>| breaker.try_acquire(request).unwrap_err().is_retryable();
    let scopes = lifetime(100);
    let critical = |cost| ask(cost, Class::Critical, &scopes);
    let running = breaker.try_acquire(&critical(100)).unwrap();
    assert!(may(&critical(10)), "what is held may come back");
    assert!(!may(&critical(101)), "never: it is over the whole limit");
    assert!(may(&ask(10, Class::Background, &scopes)) && may(&ask(10, Class::Normal, &scopes)));
    running.settle(Outcome::Success, Settlement::Exact(5));
    assert!(breaker.try_acquire(&critical(10)).is_ok());
    assert!(!may(&critical(1000)) && !may(&critical(96)), "what was settled for ever stays");
    spend(&breaker, &critical(90), 90).unwrap();
    assert!(!may(&ask(2, Class::Background, &scopes)), "the level stays");
    let thinned: Vec<_> =
        (0..2).map(|_| breaker.try_acquire(&ask(2, Class::Normal, &scopes)).err()).collect();
    let shed: Vec<_> = thinned.iter().flatten().collect();
    assert!(matches!(shed[..], [Rejected::Shed { .. }]) && shed[0].is_retryable(), "every other one passes");
    let hourly = [scope(&clock, 100)];
    spend(&breaker, &ask(100, Class::Critical, &hourly), 100).unwrap();
    assert!(may(&ask(100, Class::Critical, &hourly)) && may(&ask(100, Class::Background, &hourly)));
    assert!(!may(&ask(101, Class::Critical, &hourly)), "no hour is long enough");
    // What has overdrawn is held, but what was settled before stays all the same.
    let scopes = lifetime(100);
    spend(&breaker, &ask(80, Class::Critical, &scopes), 80).unwrap();
    let mut running = breaker.try_acquire(&ask(10, Class::Critical, &scopes)).unwrap();
    let _ = running.charge(60);
    assert!(!may(&ask(30, Class::Critical, &scopes)) && may(&ask(20, Class::Critical, &scopes)));
    let rule = Rule::over("rule", Period::Lifetime, 100).levels(100.0, 100.0);
    let ruled = Breaker::builder(config(&clock)).rule(rule).build().unwrap();
    let running = ruled.try_acquire(&ask(60, Class::Normal, &[])).unwrap();
    let may = |cost| ruled.try_acquire(&ask(cost, Class::Normal, &[])).unwrap_err().is_retryable();
    assert!(may(41) && may(100) && !may(101));
    drop(running);
}

#[test]
fn a_payload_that_panics_when_dropped_stops_no_listener() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            resume_unwind(Box::new(()));
        }
    }
    let breaker = Breaker::new(config(&clock())).unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let hear = Arc::clone(&heard);
    breaker.listen(Arc::new(move |_: &Event| {
        hear.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new(Payload));
    }));
    for _ in 0..3 {
        assert!(breaker.set_state(State::Open) && breaker.set_state(State::Closed));
    }
    assert_eq!(heard.load(Ordering::Relaxed), 6);
}

#[test]
fn what_is_free_is_no_matter_of_levels() {
    let clock = clock();
    let breaker = Breaker::new(config(&clock)).unwrap();
    let nothing = [scope(&clock, 0)];
    let used_up = [scope(&clock, 100)];
    spend(&breaker, &ask(100, Class::Critical, &used_up), 100).unwrap();
    let told = breaker.events_since(0).len();
    for scopes in [&nothing, &used_up] {
        for class in [Class::Background, Class::Normal, Class::Normal, Class::Critical] {
            assert_eq!(spend(&breaker, &ask(0, class, scopes), 0), Ok(()), "{class:?}");
        }
    }
    assert_eq!(breaker.events_since(0).len(), told);
    let rejected = breaker.try_acquire(&ask(1, Class::Critical, &nothing)).unwrap_err();
    assert!(matches!(rejected, Rejected::Budget { .. }) && !rejected.is_retryable());
}

#[test]
fn a_slow_call_beyond_all_time_is_never_slow() {
    let clock = clock();
    let slow_call = Some(Duration::from_secs(u64::MAX / 1_000_000_000 + 1));
    let breaker = Breaker::new(Config { slow_call, ..config(&clock) }).unwrap();
    let _ = breaker.call(|| {
        clock.advance(HOUR);
        Ok::<_, ()>(())
    });
    assert_eq!((breaker.stats().slow, breaker.stats().success), (0, 1));
}

#[test]
fn the_last_month_of_all_has_no_end_but_is_asked_all_the_same() {
    let clock = Arc::new(ManualClock::new(u64::MAX));
    let breaker = Breaker::new(config(&clock)).unwrap();
    let scopes = [Scope::builder("s", clock).limit(Period::Month, 1).build().unwrap()];
    let rejected = breaker.try_acquire(&ask(5, Class::Critical, &scopes)).unwrap_err();
    assert!(matches!(rejected, Rejected::Budget { resets_in: Some(_), .. }));
}

/// Symptom: a throttle below a tenth of a percent was one of nothing at all, and calls were shed before the first was made.
#[test]
fn the_lowest_levels_are_above_nothing() {
    let clock = clock();
    let rule = Rule::over("rule", Period::Lifetime, 1_000_000).levels(0.05, 0.09);
    let breaker = Breaker::builder(config(&clock)).rule(rule).build().unwrap();
    let scope = Scope::builder("s", clock).limit(Period::Lifetime, 1_000_000).levels(0.05, 0.09);
    let scopes = [scope.build().unwrap()];
    assert_eq!(spend(&breaker, &ask(1000, Class::Background, &scopes), 1000), Ok(()));
    assert!(matches!(spend(&breaker, &ask(1, Class::Background, &scopes), 1), Err(Rejected::Shed { .. })));
}
