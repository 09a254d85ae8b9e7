//! Suite `breaker` as plain tests at smoke size; and on breakers with a planted fault, where each scenario must fail for the right reason.
//!
//! Tests run side by side, in a build that isn't optimised, so what is about time isn't asked for here: whatever else is wrong fails.

use std::future::Future;
use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_breaker::ledger::Standing;
use steadfast_breaker::{
    Breaker, CallError, Config, Ended, Event, EventKind, InvalidConfig, Level, Outcome, Permit, Rejected,
    Request, Scope, Settlement,
};
use steadfast_stress::allocations::CountingAllocator;
use steadfast_stress::report::{ObjectiveReport, ScenarioReport};
use steadfast_stress::{Options, Scenario, Value, Verdict, measure};
use steadfast_suites::breaker::{
    BudgetUnderStress, DataRace, Degradation, ExtremeAsync, ExtremeSync, Guard, Injected, LeakLongRunning,
    MemoryPerCall, OverheadAsync, OverheadSync, Plain, ResourceExhaustion, TransitionConsistency,
};

/// One scenario asks for allocations, and its test must be able to see them.
#[global_allocator]
static ALLOCATOR: CountingAllocator<std::alloc::System> = CountingAllocator::new(std::alloc::System);

/// Objectives that depend on how busy the machine is, or on how its allocator keeps memory.
const ON_TIME: [&str; 10] = [
    "rate",
    "p50",
    "p95",
    "timeouts",
    "rss_growth",
    "leak rss_bytes",
    "value call_rate",
    "value over",
    "value refusal",
    "value recovery_time",
];

fn is_on_time(objective: &str) -> bool {
    ON_TIME.iter().any(|metric| objective.starts_with(metric))
}

/// At the most, where the machine stands still.
const ATTEMPTS: usize = 5;

/// One at a time: each wants the machine for itself, and one of them counts what the whole process allocates.
static ALONE: Mutex<()> = Mutex::new(());

fn run(scenario: impl Scenario) -> ScenarioReport {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    measure(scenario, &Options::default())
}

/// The objectives that didn't hold and aren't about time.
fn missed(report: &ScenarioReport) -> Vec<&ObjectiveReport> {
    report.objectives.iter().filter(|it| !it.held && !is_on_time(&it.objective)).collect()
}

/// The invariants that didn't hold, and the objectives that aren't about time.
fn wrong(report: &ScenarioReport) -> Vec<String> {
    let invariants = report.invariants.iter().filter(|it| !it.held).map(|it| it.name.clone());
    invariants.chain(missed(report).iter().map(|it| it.objective.clone())).collect()
}

/// Whether nothing is wrong but that objectives couldn't be measured, of a load in which everything stood still for a while: a phase may have had no operation then.
fn proves_nothing(report: &ScenarioReport) -> bool {
    let stood_still = report.processors.and_then(|processors| processors.stood_still).unwrap_or(0.0) > 0.0;
    let missed = missed(report);
    let is_unmeasured = !missed.is_empty() && missed.iter().all(|it| it.measured_number.is_none());
    stood_still && is_unmeasured && report.invariants.iter().all(|it| it.held)
}

#[track_caller]
fn assert_sound(scenario: impl Scenario + Clone) -> ScenarioReport {
    let mut runs = repeat_n(scenario, ATTEMPTS).map(run).enumerate();
    let told = runs.find(|(before, report)| before + 1 == ATTEMPTS || !proves_nothing(report));
    let (_, report) = told.expect("the last one is taken as it is");
    assert_eq!(wrong(&report), [""; 0], "{:?}", report.reasons);
    assert!(
        report.verdict != Verdict::Fail || report.reasons.iter().all(|reason| is_on_time(reason)),
        "{:?}",
        report.reasons
    );
    assert!(report.operations.succeeded > 0 && !report.invariants.is_empty());
    report
}

#[track_caller]
fn assert_fails_by(scenario: impl Scenario, what: &str) {
    let report = run(scenario);
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    let wrong = wrong(&report);
    assert!(wrong.iter().any(|wrong| wrong.starts_with(what)), "{what:?} holds, but {wrong:?}");
}

fn count(report: &ScenarioReport, name: &str) -> u64 {
    match report.values.iter().find(|(known, _)| known == name) {
        Some((_, Value::Count(count))) => *count,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn extreme_async() {
    let report = assert_sound(ExtremeAsync::with(Plain));
    assert!(count(&report, "healthy_calls") > 1_500 && count(&report, "refused") > 0);
}

#[test]
fn extreme_sync() {
    let report = assert_sound(ExtremeSync::with(Plain));
    assert!(count(&report, "healthy_calls") > 1_000 && count(&report, "refused") > 0);
}

#[test]
fn leak_long_running() {
    assert_sound(LeakLongRunning::with(Plain));
}

#[test]
fn memory_per_call() {
    assert_sound(MemoryPerCall::with(Plain));
}

#[test]
fn degradation() {
    let report = assert_sound(Degradation::with(Plain));
    assert_eq!(report.operations.failed, 0);
}

#[test]
fn data_race() {
    let report = assert_sound(DataRace::with(Plain));
    assert_eq!(count(&report, "calls"), 32 * 60 * 500);
}

#[test]
fn transition_consistency() {
    let report = assert_sound(TransitionConsistency::with(Plain));
    assert!(count(&report, "probes") > 100);
}

#[test]
fn resource_exhaustion() {
    assert_sound(ResourceExhaustion::with(Plain));
}

#[test]
fn overhead_sync() {
    assert_sound(OverheadSync::with(Plain));
}

#[test]
fn overhead_async() {
    assert_sound(OverheadAsync::with(Plain));
}

#[test]
fn budget_under_stress() {
    let report = assert_sound(BudgetUnderStress::with(Plain));
    for name in ["blocked", "shed", "alerts_told", "overdrawn_snapshots"] {
        assert!(count(&report, name) > 0, "{name}");
    }
}

/// What goes wrong between a scenario and its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The breaker never opens.
    NeverOpens,
    /// It never closes again.
    NeverCloses,
    /// It opens after ten times as many failures as it should.
    OpensLate,
    /// More probes run at once than were asked for.
    MoreProbes,
    /// One call of so many goes past the breaker.
    Unguarded { one_in: u64 },
    /// One failure of so many is told as a success.
    Forgiven { one_in: u64 },
    /// One permit of so many never ends.
    NeverEnds { one_in: u64 },
    /// One call of so many that the breaker lets through isn't made, and is told as failed.
    Lost { one_in: u64 },
    /// Each call leaves bytes behind.
    Leaks { bytes: usize },
    /// Each call allocates, and frees it again.
    Allocates,
    /// Each call takes so long in addition.
    Slow(Duration),
    /// One event of so many isn't told.
    Silent { one_in: u64 },
    /// One event of so many is told twice.
    Twice { one_in: u64 },
    /// Limits are one unit higher than asked for.
    OneMore,
    /// A limit that is lowered isn't.
    NotLowered,
    /// One snapshot of so many tells a thousandth of what is settled as held.
    Misread { one_in: u64 },
    /// One permit of so many is settled one unit below its cost.
    Undercharged { one_in: u64 },
    /// The throttle level isn't told.
    Unthrottled,
}

/// A guard with a fault.
#[derive(Clone, Debug)]
struct Faulty {
    fault: Fault,
    calls: Arc<AtomicU64>,
}

fn with(fault: Fault) -> Faulty {
    Faulty { fault, calls: Arc::default() }
}

impl Faulty {
    /// Whether this is one of so many.
    fn hits(&self, one_in: u64) -> bool {
        // Relaxed: only that each has a number of its own matters.
        // Early, so that also a slow machine comes to the first one.
        self.calls.fetch_add(1, Ordering::Relaxed) % one_in == one_in / 10
    }

    fn before(&self) {
        match self.fault {
            Fault::Leaks { bytes } => std::mem::forget(black_box(vec![1_u8; bytes])),
            Fault::Allocates => drop(black_box(Box::new(1_u64))),
            Fault::Slow(time) => {
                let began = Instant::now();
                while began.elapsed() < time {
                    std::hint::spin_loop();
                }
            }
            _ => {}
        }
    }
}

impl Guard for Faulty {
    fn config(&self, config: Config) -> Config {
        match self.fault {
            Fault::NeverOpens => Config { failure_percent: None, ..config },
            Fault::NeverCloses => {
                let long = Duration::from_secs(24 * 3_600);
                Config { open: long, open_max: long, ..config }
            }
            Fault::OpensLate => {
                Config { window: steadfast_breaker::Window::Calls(1_000_000), calls_min: 50_000, ..config }
            }
            Fault::MoreProbes => Config { probes: 16, ..config },
            _ => config,
        }
    }

    fn call<T>(
        &self,
        breaker: &Breaker,
        call: impl FnOnce() -> Result<T, Injected>,
    ) -> Result<T, CallError<Injected>> {
        self.before();
        match self.fault {
            Fault::Unguarded { one_in } if self.hits(one_in) => call().map_err(CallError::Failed),
            Fault::Lost { one_in } if self.hits(one_in) => Err(CallError::Failed(Injected)),
            Fault::Forgiven { one_in } => breaker.call_judged(call, |result| match result {
                Err(_) if self.hits(one_in) => Outcome::Success,
                result => Outcome::of(result),
            }),
            _ => breaker.call(call),
        }
    }

    async fn call_async<T, F>(
        &self,
        breaker: &Breaker,
        call: impl FnOnce() -> F + Send,
    ) -> Result<T, CallError<Injected>>
    where
        T: Send,
        F: Future<Output = Result<T, Injected>> + Send,
    {
        self.before();
        match self.fault {
            Fault::Unguarded { one_in } if self.hits(one_in) => call().await.map_err(CallError::Failed),
            Fault::Lost { one_in } if self.hits(one_in) => Err(CallError::Failed(Injected)),
            _ => breaker.call_async(call).await,
        }
    }

    fn acquire<'a>(&self, breaker: &'a Breaker, request: &Request<'a>) -> Result<Permit<'a>, Rejected> {
        self.before();
        breaker.try_acquire(request)
    }

    fn settle(&self, permit: Permit<'_>, outcome: Outcome, settlement: Settlement) -> Ended {
        match (self.fault, outcome, settlement) {
            (Fault::Forgiven { one_in }, Outcome::Failure, _) if self.hits(one_in) => {
                permit.settle(Outcome::Success, settlement)
            }
            (Fault::NeverEnds { one_in }, ..) if self.hits(one_in) => {
                std::mem::forget(permit);
                Ended { end: outcome_end(outcome), counted: true, cost_nano: 0 }
            }
            (Fault::Undercharged { one_in }, _, Settlement::Exact(nano @ 1..)) if self.hits(one_in) => {
                let ended = permit.settle(outcome, Settlement::Exact(nano - 1));
                Ended { cost_nano: nano, ..ended }
            }
            _ => permit.settle(outcome, settlement),
        }
    }

    fn tell(&self, event: &Event, listener: &dyn Fn(&Event)) {
        match (self.fault, &event.kind) {
            (Fault::Silent { one_in }, _) if self.hits(one_in) => {}
            (Fault::Twice { one_in }, _) if self.hits(one_in) => {
                listener(event);
                listener(event);
            }
            (Fault::Unthrottled, EventKind::Budget { level: Level::Throttle, .. }) => {}
            _ => listener(event),
        }
    }

    fn standing(&self, scope: &Scope, limit: usize) -> Option<Standing> {
        let standing = scope.standing(limit)?;
        match self.fault {
            Fault::Misread { one_in } if self.hits(one_in) => {
                let moved = standing.settled_nano / 1_000;
                let (settled_nano, held_nano) = (standing.settled_nano - moved, standing.held_nano + moved);
                Some(Standing { settled_nano, held_nano, ..standing })
            }
            _ => Some(standing),
        }
    }

    fn set_limit(&self, scope: &Scope, limit: usize, nano: u64) -> Result<(), InvalidConfig> {
        let before = scope.standing(limit).map_or(0, |standing| standing.limit_nano);
        match self.fault {
            Fault::OneMore => scope.set_limit(limit, nano + 1),
            Fault::NotLowered if nano < before => Ok(()),
            _ => scope.set_limit(limit, nano),
        }
    }
}

fn outcome_end(outcome: Outcome) -> steadfast_breaker::End {
    match outcome {
        Outcome::Success => steadfast_breaker::End::Success,
        Outcome::Failure => steadfast_breaker::End::Failure,
        Outcome::Ignored => steadfast_breaker::End::Ignored,
        Outcome::Cancelled => steadfast_breaker::End::Cancelled,
    }
}

#[test]
fn extreme_async_sees_a_breaker_that_never_opens() {
    assert_fails_by(ExtremeAsync::with(with(Fault::NeverOpens)), "the breaker opened");
}

#[test]
fn extreme_async_sees_a_breaker_that_never_closes() {
    assert_fails_by(ExtremeAsync::with(with(Fault::NeverCloses)), "full service again");
}

#[test]
fn extreme_async_sees_a_breaker_that_opens_late() {
    assert_fails_by(ExtremeAsync::with(with(Fault::OpensLate)), "it opens within a window");
}

#[test]
fn extreme_async_sees_one_lost_call_in_ten_thousand() {
    let fault = Fault::Lost { one_in: 10_000 };
    assert_fails_by(ExtremeAsync::with(with(fault)), "calm calls that failed or were refused");
}

#[test]
fn extreme_sync_sees_a_breaker_that_opens_late() {
    let fault = Fault::Forgiven { one_in: 1 };
    assert_fails_by(ExtremeSync::with(with(fault)), "the breaker opened");
}

#[test]
fn extreme_sync_sees_one_call_in_ten_thousand_that_goes_past() {
    let fault = Fault::Unguarded { one_in: 10_000 };
    assert_fails_by(ExtremeSync::with(with(fault)), "recorded calls, of those made");
}

#[test]
fn leak_long_running_sees_sixteen_bytes_a_call() {
    assert_fails_by(LeakLongRunning::with(with(Fault::Leaks { bytes: 16 })), "leak live_bytes");
}

#[test]
fn memory_per_call_sees_one_allocation() {
    assert_fails_by(MemoryPerCall::with(with(Fault::Allocates)), "allocations of 5000 calls: awaited");
}

#[test]
fn memory_per_call_sees_two_hundred_bytes_a_call() {
    assert_fails_by(MemoryPerCall::with(with(Fault::Leaks { bytes: 200 })), "value bytes_per_call");
}

#[test]
fn degradation_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 200 };
    assert_fails_by(Degradation::with(with(fault)), "recorded successes, of those seen");
}

#[test]
fn degradation_sees_a_collapse() {
    // What each call takes of a processor leaves room for the calls of ten callers and not for those of two hundred.
    let report = run(Degradation::with(with(Fault::Slow(Duration::from_millis(1)))));
    let broken = |it: &&ObjectiveReport| !it.held && it.objective.contains("in phase callers_200");
    assert!(report.objectives.iter().any(|it| broken(&it)), "{:?}", report.objectives);
}

#[test]
fn data_race_sees_one_forgiven_failure_in_a_thousand() {
    let fault = Fault::Forgiven { one_in: 1_000 };
    assert_fails_by(DataRace::with(with(fault)), "recorded failures, of those made");
}

#[test]
fn data_race_sees_a_permit_that_never_ends() {
    let fault = Fault::NeverEnds { one_in: 100_000 };
    assert_fails_by(DataRace::with(with(fault)), "permits that haven't ended");
}

#[test]
fn transition_consistency_sees_more_probes() {
    assert_fails_by(TransitionConsistency::with(with(Fault::MoreProbes)), "never more than 4 probes");
}

#[test]
fn transition_consistency_sees_a_change_that_is_not_told() {
    let fault = Fault::Silent { one_in: 50 };
    assert_fails_by(TransitionConsistency::with(with(fault)), "events that are no path");
}

#[test]
fn transition_consistency_sees_a_change_that_is_told_twice() {
    let fault = Fault::Twice { one_in: 50 };
    assert_fails_by(TransitionConsistency::with(with(fault)), "events that are no path");
}

#[test]
fn resource_exhaustion_sees_a_breaker_that_never_opens() {
    assert_fails_by(ResourceExhaustion::with(with(Fault::NeverOpens)), "the breaker opened");
}

#[test]
fn resource_exhaustion_sees_memory_that_is_not_released() {
    assert_fails_by(ResourceExhaustion::with(with(Fault::Leaks { bytes: 4_096 })), "live memory as before");
}

#[test]
fn overhead_sync_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 500_000 };
    assert_fails_by(OverheadSync::with(with(fault)), "recorded successes, of the guarded calls");
}

#[test]
fn overhead_sees_ten_microseconds_more() {
    for report in [
        run(OverheadSync::with(with(Fault::Slow(Duration::from_micros(10))))),
        run(OverheadAsync::with(with(Fault::Slow(Duration::from_micros(10))))),
    ] {
        let median = report.objectives.iter().find(|it| it.objective.starts_with("value overhead_p50"));
        assert!(median.is_some_and(|it| !it.held), "{:?}", report.objectives);
    }
}

#[test]
fn overhead_async_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 500_000 };
    assert_fails_by(OverheadAsync::with(with(fault)), "recorded successes, of the guarded calls");
}

#[test]
fn budget_under_stress_sees_one_unit_over_the_limit() {
    assert_fails_by(BudgetUnderStress::with(with(Fault::OneMore)), "snapshots with more used than allowed");
}

#[test]
fn budget_under_stress_sees_a_limit_that_is_not_lowered() {
    assert_fails_by(
        BudgetUnderStress::with(with(Fault::NotLowered)),
        "snapshots with more used than allowed",
    );
}

#[test]
fn budget_under_stress_sees_a_snapshot_that_was_never_true() {
    let fault = Fault::Misread { one_in: 500 };
    assert_fails_by(BudgetUnderStress::with(with(fault)), "snapshots that can't be true");
}

#[test]
fn budget_under_stress_sees_one_unit_that_is_not_charged() {
    let fault = Fault::Undercharged { one_in: 50_000 };
    assert_fails_by(BudgetUnderStress::with(with(fault)), "settled, of what was spent");
}

#[test]
fn budget_under_stress_sees_a_permit_that_never_ends() {
    let fault = Fault::NeverEnds { one_in: 100_000 };
    assert_fails_by(BudgetUnderStress::with(with(fault)), "held in the end");
}

#[test]
fn budget_under_stress_sees_a_block_without_a_throttle() {
    assert_fails_by(BudgetUnderStress::with(with(Fault::Unthrottled)), "throttled without an alert");
}
