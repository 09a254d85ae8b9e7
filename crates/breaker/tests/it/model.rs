//! Any history of calls, waits, interventions and settlements against a naive breaker with a naive budget, under a virtual clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use steadfast_breaker::{
    Breaker, Clock, Config, Cost, End, EventKind, ManualClock, Outcome, Period, Permit, Rejected, Request,
    Scope, Settlement, State, Window,
};
use steadfast_testkit::cases;

const HOUR_MS: u64 = 3_600_000;
/// From this duration on a call is slow.
const SLOW_MS: u64 = 20;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// A monotonic clock that goes back, as it should not.
    GoBack(u64),
    CalendarBack(u64),
    Acquire(u64),
    Dispatch(usize),
    Charge(usize, u64),
    End(usize, Outcome, Settlement),
    Drop(usize),
    Panic(usize),
    Set(State),
    Limit(u64),
}

#[derive(Clone, Debug)]
struct Setting {
    window: Window,
    calls_min: u64,
    failure: Option<f64>,
    slow: Option<f64>,
    row: Option<u64>,
    probes: usize,
    lease_ms: u64,
    half_open_ms: Option<u64>,
    open_ms: u64,
    open_ms_max: u64,
    factor: f64,
    limit: u64,
    period: Period,
    /// Whether another scope, whose limit is never reached, pays as well.
    pays_twice: bool,
    /// How far the bounds of the present are from it, in milliseconds.
    early_ms: u64,
    late_ms: u64,
}

/// A clock that tells its bounds of the present apart from it.
#[derive(Debug)]
struct RoughClock {
    exact: Arc<ManualClock>,
    early_ns: u64,
    late_ns: u64,
}

impl Clock for RoughClock {
    fn monotonic_ns(&self) -> u64 {
        self.exact.monotonic_ns()
    }

    fn wall_ms(&self) -> u64 {
        self.exact.wall_ms()
    }

    fn monotonic_bounds_ns(&self) -> (u64, u64) {
        let now_ns = self.exact.monotonic_ns();
        (now_ns.saturating_sub(self.early_ns), now_ns + self.late_ns)
    }
}

fn percent() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0001), Just(25.0), Just(33.4), Just(50.0), Just(100.0)]
}

fn setting() -> impl Strategy<Value = Setting> {
    let window = prop_oneof![
        (1..9_u64, 0..8_u64)
            .prop_map(|(calls, less)| (Window::Calls(calls), calls.saturating_sub(less).max(1))),
        (2..6_usize, 1..6_u64).prop_map(|(buckets, min)| {
            (Window::Time { length: Duration::from_millis(10 * buckets as u64), buckets }, min)
        }),
    ];
    let health = (prop::option::of(percent()), prop::option::of(percent()), prop::option::of(1..5_u64));
    let probing = (1..4_usize, 1..40_u64, prop::option::of(1..60_u64));
    let opening = (1..30_u64, 1..5_u64, prop_oneof![Just(1.0), Just(2.0), Just(1e300)]);
    let money = (0..300_u64, prop_oneof![Just(Period::Hour), Just(Period::Lifetime)], any::<bool>());
    let clock = (0..20_u64, 0..20_u64);
    (window, health, probing, opening, money, clock).prop_map(
        |(window, health, probing, opening, money, clock)| Setting {
            window: window.0,
            calls_min: window.1,
            failure: health.0,
            slow: health.1,
            row: health.2,
            probes: probing.0,
            lease_ms: probing.1,
            half_open_ms: probing.2,
            open_ms: opening.0,
            open_ms_max: opening.0 * opening.1,
            factor: opening.2,
            limit: money.0,
            period: money.1,
            pays_twice: money.2,
            early_ms: clock.0,
            late_ms: clock.1,
        },
    )
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        (0..60_u64).prop_map(Settlement::Exact),
        (0..60_u64).prop_map(Settlement::AtLeast),
        Just(Settlement::Unknown)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>();
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Cancelled)
    ];
    let state = prop_oneof![
        4 => Just(State::Closed), 1 => Just(State::Open), 1 => Just(State::ForcedOpen), 1 => Just(State::ForcedClosed),
        1 => Just(State::Disabled), 1 => Just(State::MetricsOnly), 1 => Just(State::HalfOpen)
    ];
    prop_oneof![
        5 => (0..40_u64).prop_map(Step::Wait),
        1 => Just(Step::Wait(HOUR_MS)),
        1 => (0..30_u64).prop_map(Step::GoBack),
        1 => (0..2 * HOUR_MS).prop_map(Step::CalendarBack),
        12 => (0..50_u64).prop_map(Step::Acquire),
        4 => which.prop_map(Step::Dispatch),
        2 => (which, 0..40_u64).prop_map(|(which, delta)| Step::Charge(which, delta)),
        12 => (which, outcome, settlement()).prop_map(|(which, outcome, cost)| Step::End(which, outcome, cost)),
        2 => which.prop_map(Step::Drop),
        1 => which.prop_map(Step::Panic),
        1 => state.prop_map(Step::Set),
        1 => (0..300_u64).prop_map(Step::Limit),
    ]
}

/// A place for a probe.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Slot {
    Free,
    Live { call: usize, until: u64 },
    Done { failed: bool, slow: bool },
}

/// A call that was let through.
#[derive(Clone, Copy, Debug)]
struct Call {
    generation: u64,
    slot: Option<usize>,
    started_ms: u64,
    epoch: u64,
    held: u64,
    charged: u64,
    dispatched: bool,
}

/// One epoch's money.
#[derive(Clone, Copy, Default, Debug)]
struct Money {
    limit: u64,
    settled: u64,
    held: u64,
}

fn epoch_of(period: Period, wall: u64) -> u64 {
    if period == Period::Lifetime { 0 } else { wall / HOUR_MS }
}

/// The breaker that is obviously right: it keeps every outcome and looks at all of them.
struct Naive {
    setting: Setting,
    state: State,
    generation: u64,
    deadline: u64,
    openings: u32,
    /// Of this generation: (bucket, failed, slow).
    outcomes: Vec<(u64, bool, bool)>,
    bucket: u64,
    slots: Vec<Slot>,
    epoch: u64,
    money: VecDeque<(u64, Money)>,
    limit: u64,
    counted: [u64; 7],
}

impl Naive {
    fn step_to(&mut self, state: State, now: u64) {
        self.generation += 1;
        let mut wait = 0;
        match state {
            State::Open => {
                self.openings += 1;
                let setting = &self.setting;
                let openings = self.openings.min(31) as i32;
                let grown = setting.open_ms as f64 * setting.factor.powi(openings - 1);
                wait = grown.min(setting.open_ms_max as f64) as u64;
            }
            State::HalfOpen => wait = self.setting.half_open_ms.unwrap_or(0),
            _ => self.openings = 0,
        }
        (self.state, self.deadline) = (state, now + wait);
        self.outcomes.clear();
        self.slots = vec![Slot::Free; self.setting.probes];
    }

    /// What the window holds: calls, failures, slow calls.
    fn window(&self) -> (u64, u64, u64) {
        let within: Vec<_> = match self.setting.window {
            Window::Time { buckets, .. } => {
                self.outcomes.iter().filter(|outcome| outcome.0 + buckets as u64 > self.bucket).collect()
            }
            Window::Calls(calls) => self.outcomes.iter().rev().take(calls as usize).collect(),
            _ => unreachable!("there are two kinds"),
        };
        let failed = within.iter().filter(|outcome| outcome.1).count();
        let slow = within.iter().filter(|outcome| outcome.2).count();
        (within.len() as u64, failed as u64, slow as u64)
    }

    fn is_over(&self) -> bool {
        let (calls, failed, slow) = self.window();
        let reaches = |part: u64, percent: Option<f64>| {
            percent.is_some_and(|percent| part > 0 && part as f64 * 100.0 >= calls as f64 * percent - 1e-9)
        };
        let rates = calls >= self.setting.calls_min
            && (reaches(failed, self.setting.failure) || reaches(slow, self.setting.slow));
        let row = self.outcomes.iter().rev().take_while(|outcome| outcome.1).count() as u64;
        rates || self.setting.row.is_some_and(|most| row >= most)
    }

    fn see_time(&mut self, now: u64) {
        if let Window::Time { .. } = self.setting.window {
            let bucket = now / 10;
            // A clock that jumped back stays in its bucket, until there is nothing left to compare with.
            self.bucket = if self.outcomes.is_empty() { bucket } else { self.bucket.max(bucket) };
        }
    }

    fn epoch_at(&mut self, wall: u64) -> u64 {
        let epoch = epoch_of(self.setting.period, wall);
        if epoch > self.epoch {
            self.epoch = epoch;
            self.money.push_back((epoch, Money { limit: self.limit, ..Money::default() }));
        }
        self.epoch
    }

    fn money(&mut self, epoch: u64) -> Option<&mut Money> {
        // Four books are kept, by the epoch's number modulo four.
        let kept = |known: u64, present: u64| {
            known == present || !(known + 1..=present).any(|later| later % 4 == known % 4)
        };
        let all: Vec<u64> = self.money.iter().map(|(epoch, _)| *epoch).collect();
        let is_kept = all.iter().all(|&later| later <= epoch || later % 4 != epoch % 4);
        let _ = kept;
        self.money.iter_mut().find(|(known, _)| *known == epoch && is_kept).map(|(_, money)| money)
    }

    fn acquire(&mut self, number: usize, cost: u64, now: u64, wall: u64) -> Result<Call, &'static str> {
        if self.state == State::Open {
            if now < self.deadline {
                return Err("open");
            }
            self.step_to(State::HalfOpen, now);
        }
        if self.state == State::HalfOpen && self.setting.half_open_ms.is_some() && now >= self.deadline {
            self.step_to(State::Open, now);
            return Err("open");
        }
        if self.state == State::ForcedOpen {
            return Err("forced");
        }
        let mut slot = None;
        if self.state == State::HalfOpen {
            let free = self.slots.iter().position(|slot| match *slot {
                Slot::Free => true,
                Slot::Live { until, .. } => now >= until,
                Slot::Done { .. } => false,
            });
            let Some(free) = free else { return Err("busy") };
            slot = Some(free);
        }
        let epoch = self.epoch_at(wall);
        let money = self.money(epoch).expect("the present epoch is kept");
        let used = money.settled + money.held;
        if used > money.limit || used + cost > money.limit {
            // The probe's place was taken over all the same, if it was somebody's who is too late.
            if let Some(slot) = slot {
                self.slots[slot] = Slot::Free;
            }
            return Err("budget");
        }
        money.held += cost;
        if let Some(slot) = slot {
            self.slots[slot] = Slot::Live { call: number, until: now + self.setting.lease_ms };
        }
        Ok(Call {
            generation: self.generation,
            slot,
            started_ms: now,
            epoch,
            held: cost,
            charged: 0,
            dispatched: false,
        })
    }

    fn pay(&mut self, call: &Call, settlement: Settlement) -> u64 {
        let owed = match settlement {
            Settlement::Exact(actual) => actual,
            Settlement::AtLeast(floor) => floor.max(call.held).max(call.charged),
            Settlement::Unknown => {
                if call.dispatched {
                    call.held.max(call.charged)
                } else {
                    0
                }
            }
        };
        if let Some(money) = self.money(call.epoch) {
            money.held -= call.held;
            money.settled += owed;
        }
        owed
    }

    /// How the call ended, and whether it counted.
    fn end(&mut self, number: usize, call: &Call, end: End, now: u64) -> (End, bool) {
        let slow = (self.setting.slow.is_some()) && now.saturating_sub(call.started_ms) >= SLOW_MS;
        let failed = matches!(end, End::Failure | End::Panicked);
        let judged = failed || end == End::Success;
        let same = call.generation == self.generation;
        if let Some(slot) = call.slot {
            if !same {
                return (end, false);
            }
            let is_mine = matches!(self.slots[slot], Slot::Live { call, .. } if call == number);
            if !is_mine {
                return (End::Expired, false);
            }
            if !judged {
                self.slots[slot] = Slot::Free;
                return (end, false);
            }
            self.slots[slot] = Slot::Done { failed, slow };
            let done = |which: fn(bool, bool) -> bool| {
                let is = |slot: &&Slot| matches!(**slot, Slot::Done { failed, slow } if which(failed, slow));
                self.slots.iter().filter(is).count()
            };
            let probes = self.setting.probes as f64;
            let share = |percent: Option<f64>| {
                percent.map(|percent| ((probes * percent / 100.0 - 1e-9).ceil() as usize).max(1))
            };
            let too_many = done(|failed, _| failed) >= share(self.setting.failure).unwrap_or(1)
                || share(self.setting.slow).is_some_and(|most| done(|_, slow| slow) >= most);
            if too_many {
                self.step_to(State::Open, now);
            } else if done(|_, _| true) == self.setting.probes {
                self.step_to(State::Closed, now);
            }
            return (end, true);
        }
        if !judged || !same || self.state == State::Disabled {
            return (end, false);
        }
        self.see_time(now);
        self.outcomes.push((self.bucket, failed, slow));
        if self.state == State::Closed && self.is_over() {
            self.step_to(State::Open, now);
        }
        (end, true)
    }
}

fn kind(rejected: &Rejected) -> &'static str {
    match rejected {
        Rejected::Open { .. } => "open",
        Rejected::ProbesBusy => "busy",
        Rejected::Forced => "forced",
        Rejected::Budget { .. } => "budget",
        other => panic!("{other:?}"),
    }
}

fn place(end: End) -> usize {
    [End::Success, End::Failure, End::Ignored, End::Cancelled, End::Expired, End::Dropped, End::Panicked]
        .iter()
        .position(|known| *known == end)
        .expect("all ends are listed")
}

/// Where a legal edge leads.
fn is_legal(from: State, to: State) -> bool {
    let by_itself = matches!(
        (from, to),
        (State::Closed | State::HalfOpen, State::Open)
            | (State::Open, State::HalfOpen)
            | (State::HalfOpen, State::Closed)
    );
    by_itself || to != State::HalfOpen
}

fn run(setting: Setting, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let start = 1000 * HOUR_MS;
    let clock = Arc::new(ManualClock::new(start));
    clock.advance(Duration::from_secs(1));
    let config = Config {
        window: setting.window,
        calls_min: setting.calls_min,
        failure_percent: setting.failure,
        slow_percent: setting.slow,
        slow_call: setting.slow.map(|_| Duration::from_millis(SLOW_MS)),
        consecutive_failures: setting.row,
        open: Duration::from_millis(setting.open_ms),
        open_max: Duration::from_millis(setting.open_ms_max),
        open_factor: setting.factor,
        jitter_percent: 0.0,
        probes: setting.probes,
        probe_lease: Duration::from_millis(setting.lease_ms),
        half_open_max: setting.half_open_ms.map(Duration::from_millis),
        events_kept: 10_000,
        clock: Arc::new(RoughClock {
            exact: clock.clone(),
            early_ns: setting.early_ms * 1_000_000,
            late_ns: setting.late_ms * 1_000_000,
        }),
        ..Config::default()
    };
    let breaker = Breaker::new(config).unwrap();
    // Levels at the limit itself: throttling has its own tests.
    let scope = |period, limit| {
        Scope::builder("all", clock.clone()).limit(period, limit).levels(100.0, 100.0).build().unwrap()
    };
    let mut scopes = vec![scope(setting.period, setting.limit)];
    if setting.pays_twice {
        scopes.push(scope(Period::Lifetime, 1 << 50));
    }
    let mut naive = Naive {
        state: State::Closed,
        generation: 0,
        deadline: 0,
        openings: 0,
        outcomes: Vec::new(),
        bucket: 0,
        slots: Vec::new(),
        epoch: epoch_of(setting.period, start),
        money: VecDeque::from([(
            epoch_of(setting.period, start),
            Money { limit: setting.limit, ..Money::default() },
        )]),
        limit: setting.limit,
        counted: [0; 7],
        setting,
    };
    let mut calls: Vec<(usize, Call, Permit<'_>)> = Vec::new();
    let mut number = 0;
    for step in steps {
        let now = clock.monotonic_ns() / 1_000_000;
        let wall = clock.wall_ms();
        let at = |which: usize| (!calls.is_empty()).then(|| which % calls.len().max(1));
        match step {
            Step::Wait(ms) => clock.advance(Duration::from_millis(ms)),
            Step::GoBack(ms) => clock.set_monotonic_ns(now.saturating_sub(ms).max(1) * 1_000_000),
            Step::CalendarBack(ms) => clock.set_wall_ms(wall - ms),
            Step::Acquire(cost) => {
                number += 1;
                let request = Request {
                    cost: Cost::Nano(cost),
                    class: steadfast_breaker::Class::Critical,
                    scopes: &scopes,
                    ..Request::default()
                };
                let expected = naive.acquire(number, cost, now, wall);
                let answer = breaker.try_acquire(&request);
                prop_assert_eq!(
                    answer.as_ref().map(|_| ()).map_err(kind),
                    expected.as_ref().map(|_| ()).map_err(|kind| *kind)
                );
                if let Err(Rejected::Open { retry_after }) = &answer {
                    // Never too soon, and later by no more than the clock was early.
                    let (told, left) = (retry_after.as_millis() as u64, naive.deadline - now);
                    prop_assert!(
                        (left..=left + naive.setting.early_ms).contains(&told),
                        "{} of {} ms",
                        told,
                        left
                    );
                }
                if let (Ok(permit), Ok(call)) = (answer, expected) {
                    prop_assert_eq!(permit.is_probe(), call.slot.is_some());
                    calls.push((number, call, permit));
                }
            }
            Step::Dispatch(which) => {
                if let Some(at) = at(which) {
                    calls[at].1.dispatched = true;
                    calls[at].2.dispatched();
                }
            }
            Step::Charge(which, delta) => {
                if let Some(at) = at(which) {
                    let (_, call, permit) = &mut calls[at];
                    (call.dispatched, call.charged) = (true, call.charged + delta);
                    let grown = call.charged.saturating_sub(call.held);
                    call.held += grown;
                    if let Some(money) = naive.money(call.epoch) {
                        money.held += grown;
                    }
                    prop_assert_eq!(permit.charge(delta).beyond_nano, grown);
                }
            }
            Step::End(which, outcome, settlement) => {
                if let Some(at) = at(which) {
                    let (number, call, permit) = calls.swap_remove(at);
                    let end = match outcome {
                        Outcome::Success => End::Success,
                        Outcome::Failure => End::Failure,
                        Outcome::Ignored => End::Ignored,
                        Outcome::Cancelled => End::Cancelled,
                    };
                    let owed = naive.pay(&call, settlement);
                    let (end, counted) = naive.end(number, &call, end, now);
                    naive.counted[place(end)] += 1;
                    let ended = permit.settle(outcome, settlement);
                    prop_assert_eq!((ended.end, ended.counted, ended.cost_nano), (end, counted, owed));
                }
            }
            Step::Drop(which) => {
                if let Some(at) = at(which) {
                    let (number, call, permit) = calls.swap_remove(at);
                    naive.pay(&call, Settlement::Unknown);
                    let (end, _) = naive.end(number, &call, End::Dropped, now);
                    naive.counted[place(end)] += 1;
                    drop(permit);
                }
            }
            Step::Panic(which) => {
                if let Some(at) = at(which) {
                    let (number, call, permit) = calls.swap_remove(at);
                    naive.pay(&call, Settlement::Unknown);
                    let (end, _) = naive.end(number, &call, End::Panicked, now);
                    naive.counted[place(end)] += 1;
                    let fall = std::panic::AssertUnwindSafe(move || {
                        let _permit = permit;
                        std::panic::resume_unwind(Box::new(()));
                    });
                    prop_assert!(std::panic::catch_unwind(fall).is_err());
                }
            }
            Step::Set(state) => {
                let changes = state != State::HalfOpen && state != naive.state;
                prop_assert_eq!(breaker.set_state(state), changes);
                if changes {
                    naive.step_to(state, now);
                }
            }
            Step::Limit(limit) => {
                scopes[0].set_limit(0, limit).unwrap();
                let epoch = naive.epoch_at(wall);
                naive.limit = limit;
                naive.money(epoch).unwrap().limit = limit;
            }
        }
        compare(&mut naive, &breaker, &scopes[0], &clock, calls.len())?;
    }
    drop(calls);
    let stats = breaker.stats();
    prop_assert_eq!((stats.outstanding, stats.held_nano), (0, 0));
    prop_assert!(scopes.iter().all(Scope::is_at_rest));
    let mut at = State::Closed;
    let mut edges = 0;
    for (event, number) in breaker.events_since(0).iter().zip(1..) {
        prop_assert_eq!(event.number, number, "numbered without a gap");
        if let EventKind::Transition { from, to, .. } = event.kind {
            prop_assert_eq!(from, at);
            prop_assert!(is_legal(from, to), "{:?} → {:?}", from, to);
            at = to;
            edges += 1;
        }
    }
    prop_assert_eq!((at, edges), (naive.state, naive.generation));
    Ok(())
}

fn compare(
    naive: &mut Naive,
    breaker: &Breaker,
    scope: &Scope,
    clock: &ManualClock,
    live: usize,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(breaker.state(), naive.state);
    let now = clock.monotonic_ns() / 1_000_000;
    if !matches!(naive.state, State::HalfOpen) && !naive.outcomes.is_empty() {
        naive.see_time(now);
        let window = breaker.window();
        let (calls, failures, slow) = naive.window();
        prop_assert_eq!(window.calls, calls);
        // Told up to what would open the breaker; by hand it may be kept from that.
        if naive.state == State::Closed {
            let told = |failures: u64, percent: Option<f64>| if percent.is_some() { failures } else { 0 };
            let is_time = matches!(naive.setting.window, Window::Time { .. });
            let is_full = !is_time && naive.outcomes.len() as u64 > calls;
            if is_full {
                prop_assert_eq!(window.failures, told(failures, naive.setting.failure));
                prop_assert_eq!(window.slow, told(slow, naive.setting.slow));
            } else {
                prop_assert_eq!((window.failures, window.slow), (failures, slow));
            }
        }
    }
    let epoch = naive.epoch_at(clock.wall_ms());
    let money = *naive.money(epoch).unwrap();
    let standing = scope.standing(0).unwrap();
    prop_assert_eq!(
        (standing.limit_nano, standing.settled_nano, standing.held_nano),
        (money.limit, money.settled, money.held)
    );
    let used = money.settled + money.held;
    prop_assert_eq!(
        (standing.free_nano(), standing.overdraft_nano()),
        (money.limit.saturating_sub(used), used.saturating_sub(money.limit))
    );
    let stats = breaker.stats();
    let ends = [
        stats.success,
        stats.failure,
        stats.ignored,
        stats.cancelled,
        stats.expired,
        stats.dropped,
        stats.panicked,
    ];
    prop_assert_eq!(ends, naive.counted);
    prop_assert_eq!(stats.outstanding, live as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_naive_breaker(setting in setting(), steps in prop::collection::vec(step(), 1..120)) {
        run(setting, steps)?;
    }
}
