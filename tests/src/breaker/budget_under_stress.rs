//! `breaker.budget_under_stress`: 32 threads spend the budgets of two scopes by the hour and by the day, while the limits are lowered and raised under them.
//!
//! Costs vary, and are at most what was estimated. An auditor takes snapshots all the while, with no rest, and changes the limits between them. Exactly:
//!
//! - every snapshot is of one moment: of the scope that pays for every call, what is settled and held lies between what the callers know to be and what they know may be;
//! - never one unit over: after a limit was set, what is used is at most that limit, or, if more was used already, no more than that;
//! - throttled before blocked: of each hour and day the alert is told before the throttle, and that before the first refusal. That is asked of a scope whose
//!   limits are only raised: one that is lowered below what is used blocks at once, and should;
//! - what callers know of estimates, actual costs, refusals and savings is what the statistics say, and nothing is held in the end.
//!
//! Time is a clock that the calls move on: a run goes through some days.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use steadfast_breaker::ledger::Standing;
use steadfast_breaker::{
    Breaker, Class, Config, Cost, Event, EventKind, Level, Listener, ManualClock, Outcome, Period, Rejected,
    Request, Scope, Settlement,
};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Rng, Scenario, Tally};

use super::guard::Guard;
use super::pool::Pool;

const THREADS: usize = 32;
const JOBS: u64 = 400;
const SMOKE_DIVISOR: u32 = 10;
/// Calls of one job.
const CALLS: u64 = 500;
/// Calls for which time stands still, and by how much it then goes on.
const CALLS_A_STEP: u64 = 48;
const STEP: Duration = Duration::from_secs(10);
/// An estimate is at most this. What all threads are about to reserve is far less than what lies between two levels.
const COST_MAX: u64 = 1_000;
/// The hour's and the day's limit of each scope to begin with.
const LIMITS: [(Period, u64); 2] = [(Period::Hour, 1_500_000), (Period::Day, 20_000_000)];
/// Snapshots between two changes of a limit.
const SNAPSHOTS: u64 = 200;
const REST_MAX: Duration = Duration::from_secs(60);

/// Budgets that everybody wants, and whose limits change.
#[derive(Clone, Debug)]
pub struct BudgetUnderStress<G> {
    guard: G,
}

impl<G: Guard> BudgetUnderStress<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// Spenders, their budgets, and the auditor.
#[derive(Debug)]
pub struct Spending<G> {
    budget: Arc<Budget<G>>,
    pool: Pool,
    auditor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Budget<G> {
    guard: G,
    breaker: Breaker,
    clock: Arc<ManualClock>,
    /// One whose limits are lowered and raised, one that is never short and keeps the sum, and one whose limits are only raised. A call is paid by the first two, the
    /// last two, or all.
    scopes: [Scope; 3],
    levels: Arc<Levels>,
    calls: AtomicU64,
    spent: Mutex<Spent>,
    known: Known,
    audit: Audit,
}

/// What callers tell of the scope that pays for every call, in nano-units, so that a snapshot can be held against it: what they are about to do before they do it, what is done after it.
#[derive(Debug, Default)]
struct Known {
    asked: AtomicU64,
    granted: AtomicU64,
    ending: AtomicU64,
    /// Estimates of calls that have ended or were refused.
    finished: AtomicU64,
    settling: AtomicU64,
    settled: AtomicU64,
}

impl Known {
    // AcqRel: partner of the loads around a snapshot. Whoever sees what was done sees that it was about to be.
    fn tell(counter: &AtomicU64, nano: u64) {
        counter.fetch_add(nano, Ordering::AcqRel);
    }

    /// Ends a call by `end`.
    fn while_ending<T>(&self, estimate: u64, actual: u64, end: impl FnOnce() -> T) -> T {
        Self::tell(&self.ending, estimate);
        Self::tell(&self.settling, actual);
        let ended = end();
        Self::tell(&self.settled, actual);
        Self::tell(&self.finished, estimate);
        ended
    }

    /// A snapshot, and whether it can be true: the least of what it may tell is what was done before it, the most what was about to be done after it.
    fn hold_against(&self, look: impl FnOnce() -> Option<Standing>) -> Option<(Standing, bool)> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (granted, finished, settled) = (get(&self.granted), get(&self.finished), get(&self.settled));
        let standing = look()?;
        let (asked, ending, settling) = (get(&self.asked), get(&self.ending), get(&self.settling));
        let held = granted.saturating_sub(ending)..=asked - finished;
        let is_true =
            (settled..=settling).contains(&standing.settled_nano) && held.contains(&standing.held_nano);
        Some((standing, is_true))
    }
}

/// What callers know.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    granted: u64,
    estimated: u64,
    actual: u64,
    blocked: u64,
    shed: u64,
    saved: u64,
    /// Permits whose settled cost wasn't what they cost.
    miscounted: u64,
}

/// What the auditor found.
#[derive(Debug, Default)]
struct Audit {
    is_done: AtomicBool,
    snapshots: AtomicU64,
    unbalanced: AtomicU64,
    over: AtomicU64,
    limits_changed: AtomicU64,
    /// Snapshots of a limit that was lowered below what was used.
    overdrawn: AtomicU64,
    first_wrong: Mutex<Option<String>>,
}

/// Hears of levels, in order.
#[derive(Debug, Default)]
struct Levels(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// The last level told of a scope and a period.
    last: HashMap<(String, Period), Level>,
    alerts: u64,
    throttles: u64,
    blocks: u64,
    /// Of the scope whose limits only rise.
    rising_blocks: u64,
    /// Of the same: a throttle without an alert, a block without a throttle.
    out_of_order: u64,
}

const PRESSED: usize = 0;
const SUM: usize = 1;
const RISING: usize = 2;
const NAMES: [&str; 3] = ["pressed", "sum", "rising"];

struct Ear<G>(Arc<Levels>, G);

impl<G: Guard> Listener for Ear<G> {
    fn on_event(&self, event: &Event) {
        self.1.tell(event, &|event| self.0.hear(event));
    }
}

impl Levels {
    fn hear(&self, event: &Event) {
        let EventKind::Budget { scope, period, level } = &event.kind else { return };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = heard.last.insert((scope.to_string(), *period), *level);
        // A level is told once an hour or day: one that isn't higher than the one before is of a new one.
        let below = before.filter(|before| before < level).unwrap_or(Level::Normal);
        let is_in_order = match level {
            Level::Throttle => below >= Level::Alert,
            Level::Block => below >= Level::Throttle,
            _ => true,
        };
        match level {
            Level::Alert => heard.alerts += 1,
            Level::Throttle => heard.throttles += 1,
            Level::Block => heard.blocks += 1,
            Level::Normal => {}
        }
        if &**scope == NAMES[RISING] {
            heard.out_of_order += u64::from(!is_in_order);
            heard.rising_blocks += u64::from(*level == Level::Block);
        }
    }
}

impl<G: Guard> Scenario for BudgetUnderStress<G> {
    type State = Spending<G>;

    fn name(&self) -> &'static str {
        "budget_under_stress"
    }

    fn description(&self) -> &'static str {
        "32 threads spend hour and day budgets whose limits change meanwhile; never one unit over, audited throughout"
    }

    fn load(&self) -> Load {
        Load::users(THREADS).each(JOBS)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().operations(SMOKE_DIVISOR)
    }

    /// As many threads, ten times as long: more would reserve more at once than lies between two levels.
    fn extreme(&self) -> Load {
        Load::users(THREADS).each(10 * JOBS)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(THREADS).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "success >= 100%",
            "timeouts <= 0%",
            "exactly over_the_limit == 0",
            "exactly unbalanced_snapshots == 0",
            "value blocks_told >= 1",
            "value throttles_told >= 1",
        ]
    }

    async fn set_up(&self, _: &Context) -> Result<Spending<G>, Failure> {
        let clock = Arc::new(ManualClock::new(0));
        let breaker = Breaker::new(self.guard.config(Config { clock: clock.clone(), ..Config::default() }))?;
        let scope = |name: &str| Scope::builder(name, clock.clone());
        let limited =
            |name| LIMITS.iter().fold(scope(name), |scope, &(period, nano)| scope.limit(period, nano));
        let scopes = [
            limited(NAMES[PRESSED]).build()?,
            scope(NAMES[SUM]).limit(Period::Lifetime, 1 << 52).build()?,
            limited(NAMES[RISING]).build()?,
        ];
        let levels = Arc::new(Levels::default());
        breaker.listen(Arc::new(Ear(Arc::clone(&levels), self.guard.clone())));
        let budget = Arc::new(Budget {
            guard: self.guard.clone(),
            breaker,
            clock,
            scopes,
            levels,
            calls: AtomicU64::new(0),
            spent: Mutex::default(),
            known: Known::default(),
            audit: Audit::default(),
        });
        let audited = Arc::clone(&budget);
        let auditor =
            std::thread::Builder::new().name("auditor".to_owned()).spawn(move || audited.audit())?;
        // It looks already when the first call comes.
        while budget.audit.snapshots.load(Ordering::Relaxed) == 0 && !auditor.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Spending { budget, pool: Pool::new(THREADS)?, auditor: Mutex::new(Some(auditor)) })
    }

    async fn operation(&self, state: &Spending<G>, call: Call) -> Result<(), Failure> {
        let (budget, mut rng) = (Arc::clone(&state.budget), call.rng());
        let job = move || {
            let mut spent = Spent::default();
            for _ in 0..CALLS {
                budget.one(&mut rng, &mut spent);
            }
            budget.spent.lock().unwrap_or_else(PoisonError::into_inner).add(&spent);
        };
        state.pool.run(job).await
    }

    async fn check(&self, state: &Spending<G>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.holds("all threads came to rest", state.pool.is_idle_within(REST_MAX), "");
        checks.holds("the auditor ended well", state.stop_auditing(), "");
        let budget = &*state.budget;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (audit, stats) = (&budget.audit, budget.breaker.stats());
        let spent = *budget.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wrong) = &*audit.first_wrong.lock().unwrap_or_else(PoisonError::into_inner) {
            checks.note("the first wrong snapshot", wrong);
        }
        checks.exactly("snapshots that can't be true, while it ran", get(&audit.unbalanced), 0);
        checks.exactly("snapshots with more used than allowed, while it ran", get(&audit.over), 0);
        checks.holds("snapshots were taken while it ran", get(&audit.snapshots) > 0, get(&audit.snapshots));
        checks.holds(
            "limits changed while it ran",
            get(&audit.limits_changed) > 0,
            get(&audit.limits_changed),
        );
        checks.exactly("permits granted", stats.allowed(), spent.granted);
        checks.exactly("estimated, of what was asked for", stats.estimated_nano, spent.estimated);
        checks.exactly("settled, of what was spent", stats.actual_nano, spent.actual);
        checks.exactly("calls blocked, of those seen", stats.rejected_budget, spent.blocked);
        checks.exactly("calls shed, of those seen", stats.rejected_shed, spent.shed);
        checks.exactly("saved, of the estimates of refused calls", stats.saved_nano, spent.saved);
        checks.exactly("permits settled at another cost than they had", spent.miscounted, 0);
        let sum = budget.scopes[SUM].standing(0).map(|standing| standing.settled_nano);
        checks.exactly("settled in the scope that is never short", sum, Some(spent.actual));
        checks.exactly("permits that haven't ended", stats.outstanding, 0);
        checks.exactly("held in the end", stats.held_nano, 0);
        checks.holds("no scope holds anything", budget.scopes.iter().all(Scope::is_at_rest), "");
        let heard = budget.levels.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.exactly("throttled without an alert, or blocked without a throttle", heard.out_of_order, 0);
        checks.holds(
            "the scope whose limits rise blocked, too",
            heard.rising_blocks > 0,
            heard.rising_blocks,
        );
        checks.note("granted", format!("{}, {} blocked, {} shed", spent.granted, spent.blocked, spent.shed));
        checks.note(
            "money",
            format!(
                "{} nano-units estimated, {} spent, {} saved by refusals",
                spent.estimated, spent.actual, spent.saved
            ),
        );
        for (name, value) in [
            ("over_the_limit", get(&audit.over)),
            ("unbalanced_snapshots", get(&audit.unbalanced)),
            ("snapshots", get(&audit.snapshots)),
            ("overdrawn_snapshots", get(&audit.overdrawn)),
            ("limits_changed", get(&audit.limits_changed)),
            ("alerts_told", heard.alerts),
            ("throttles_told", heard.throttles),
            ("blocks_told", heard.blocks),
            ("granted", spent.granted),
            ("blocked", spent.blocked),
            ("shed", spent.shed),
            ("estimated_nano", spent.estimated),
            ("actual_nano", spent.actual),
            ("saved_nano", spent.saved),
        ] {
            checks.value(name, value);
        }
        Ok(())
    }

    async fn tear_down(&self, state: Spending<G>) -> Result<(), Failure> {
        state.stop_auditing();
        Ok(())
    }
}

impl<G> Spending<G> {
    /// Ends the audit. False if it panicked.
    fn stop_auditing(&self) -> bool {
        self.budget.audit.is_done.store(true, Ordering::Relaxed);
        let auditor = self.auditor.lock().unwrap_or_else(PoisonError::into_inner).take();
        auditor.is_none_or(|auditor| auditor.join().is_ok())
    }
}

impl Spent {
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.granted, other.granted),
            (&mut self.estimated, other.estimated),
            (&mut self.actual, other.actual),
            (&mut self.blocked, other.blocked),
            (&mut self.shed, other.shed),
            (&mut self.saved, other.saved),
            (&mut self.miscounted, other.miscounted),
        ] {
            *sum += more;
        }
    }
}

impl<G: Guard> Budget<G> {
    fn one(&self, rng: &mut Rng, spent: &mut Spent) {
        // Relaxed: only that each call has a number of its own matters.
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(CALLS_A_STEP) {
            self.clock.advance(STEP);
        }
        let estimate = 1 + rng.below(COST_MAX);
        let class = match rng.below(4) {
            0 => Class::Background,
            1 => Class::Normal,
            _ => Class::Critical,
        };
        let scopes = match rng.below(8) {
            0 => &self.scopes[..],
            1..4 => &self.scopes[..=SUM],
            _ => &self.scopes[SUM..],
        };
        let request = Request { cost: Cost::Nano(estimate), class, scopes, ..Request::default() };
        Known::tell(&self.known.asked, estimate);
        let mut permit = match self.guard.acquire(&self.breaker, &request) {
            Ok(permit) => permit,
            Err(rejected) => {
                Known::tell(&self.known.finished, estimate);
                match rejected {
                    Rejected::Shed { .. } => spent.shed += 1,
                    _ => spent.blocked += 1,
                }
                spent.saved += estimate;
                return;
            }
        };
        Known::tell(&self.known.granted, estimate);
        spent.granted += 1;
        spent.estimated += estimate;
        let ways = rng.below(16);
        if ways == 0 {
            // Never sent: it costs nothing.
            return self.known.while_ending(estimate, 0, || drop(permit));
        }
        permit.dispatched();
        if ways == 1 {
            // Sent, and never heard of again: it costs what was held.
            spent.actual += estimate;
            return self.known.while_ending(estimate, estimate, || drop(permit));
        }
        let actual = rng.below(estimate + 1);
        let settlement = if ways < 6 {
            // A stream, in two parts.
            let first = actual / 2;
            let _ = permit.charge(first);
            let _ = permit.charge(actual - first);
            Settlement::Exact(actual)
        } else {
            Settlement::Exact(actual)
        };
        spent.actual += actual;
        let end = || self.guard.settle(permit, Outcome::Success, settlement);
        if self.known.while_ending(estimate, actual, end).cost_nano != actual {
            spent.miscounted += 1;
        }
    }

    /// Changes limits and takes snapshots until it is told to end.
    fn audit(&self) {
        let mut rng = Rng::new(1);
        let mut risen = LIMITS.map(|(_, nano)| nano);
        while !self.audit.is_done.load(Ordering::Relaxed) {
            for (limit, (_, base)) in LIMITS.iter().enumerate() {
                // From a fifth of it to a little more than it.
                let pressed = base / 10 * (2 + rng.below(10));
                self.press(&self.scopes[PRESSED], limit, pressed);
                risen[limit] = (risen[limit] + base / 1_000).min(2 * base);
                self.press(&self.scopes[RISING], limit, risen[limit]);
                (0..SNAPSHOTS).for_each(|_| self.audit_sum());
            }
        }
    }

    /// Holds a snapshot of the scope that pays for every call against what the callers know.
    fn audit_sum(&self) {
        let look = || self.guard.standing(&self.scopes[SUM], 0);
        let Some((standing, is_true)) = self.known.hold_against(look) else { return };
        self.audit.snapshots.fetch_add(1, Ordering::Relaxed);
        if !is_true {
            self.wrong(&self.audit.unbalanced, format!("{}: {standing:?}", NAMES[SUM]));
        }
    }

    /// Sets a limit, and looks at it for a while.
    fn press(&self, scope: &Scope, limit: usize, nano: u64) {
        if self.guard.set_limit(scope, limit, nano).is_err() {
            return self.wrong(&self.audit.over, format!("{}: the limit {nano} was refused", scope.name()));
        }
        self.audit.limits_changed.fetch_add(1, Ordering::Relaxed);
        // What is used above the limit was used before it was set.
        let Some(first) = scope.standing(limit) else { return };
        let most = nano.max(first.used_nano());
        for _ in 0..SNAPSHOTS {
            let Some(standing) = scope.standing(limit) else { return };
            self.audit.snapshots.fetch_add(1, Ordering::Relaxed);
            if standing.used_nano() > most || standing.limit_nano != nano {
                let told = format!("{}: {standing:?}, at most {most} of {nano}", scope.name());
                self.wrong(&self.audit.over, told);
            }
            if standing.overdraft_nano() > 0 {
                self.audit.overdrawn.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn wrong(&self, counter: &AtomicU64, told: String) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.audit.first_wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
    }
}
