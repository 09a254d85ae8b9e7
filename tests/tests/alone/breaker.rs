//! Suite `breaker` on breakers that leak, allocate or are slow.

use std::time::Duration;

use steadfast_stress::report::{ObjectiveReport, ScenarioReport};
use steadfast_stress::{Options, Scenario, Value, measure};
use steadfast_suites::breaker::{
    Degradation, LeakLongRunning, MemoryPerCall, OverheadAsync, OverheadSync, ResourceExhaustion,
};

use crate::alone;
use crate::fixture::faulty_breaker::Fault;
use crate::fixture::{FaultyBreaker, Short, judge};

fn run(scenario: impl Scenario) -> ScenarioReport {
    let _alone = alone();
    measure(scenario, &Options::default())
}

#[track_caller]
fn assert_fails_by(scenario: impl Scenario, what: &str) {
    judge::assert_fails_by(&run(scenario), what);
}

#[test]
fn leak_long_running_sees_sixteen_bytes_a_call() {
    let guard = FaultyBreaker::with(Fault::Leaks { bytes: 16 });
    // A trend of memory needs twenty samples after the warm-up, eight a second.
    let short = Short::of(LeakLongRunning::with(guard), Duration::from_secs(4));
    assert_fails_by(short, "leak live_bytes");
}

#[test]
fn memory_per_call_sees_one_allocation() {
    let guard = FaultyBreaker::with(Fault::Allocates);
    assert_fails_by(MemoryPerCall::with(guard), "allocations of 5000 calls: awaited");
}

#[test]
fn memory_per_call_sees_two_hundred_bytes_a_call() {
    let guard = FaultyBreaker::with(Fault::Leaks { bytes: 200 });
    assert_fails_by(MemoryPerCall::with(guard), "value bytes_per_call");
}

#[test]
fn degradation_sees_a_collapse() {
    // What each call takes of a processor leaves room for the calls of ten callers and not for
    // those of two hundred.
    let report = run(Degradation::with(FaultyBreaker::with(Fault::Slow(Duration::from_millis(1)))));
    let broken = |it: &&ObjectiveReport| !it.held && it.objective.contains("in phase callers_200");
    assert!(report.objectives.iter().any(|it| broken(&it)), "{:?}", report.objectives);
}

#[test]
fn resource_exhaustion_sees_memory_that_is_not_released() {
    let guard = FaultyBreaker::with(Fault::Leaks { bytes: 4_096 });
    assert_fails_by(ResourceExhaustion::with(guard), "live memory as before");
}

#[test]
fn overhead_sees_a_microsecond_more() {
    const MORE: Duration = Duration::from_micros(1);
    let guard = || FaultyBreaker::with(Fault::Slow(MORE));
    for report in [run(OverheadSync::with(guard())), run(OverheadAsync::with(guard()))] {
        let median = report.objectives.iter().find(|it| it.objective.starts_with("value overhead_p50"));
        assert!(median.is_some_and(|it| !it.held), "{:?}", report.objectives);
        let Value::Nanoseconds(measured) = judge::value(&report, "overhead_p50") else { panic!("no time") };
        // A bare call, which is taken off, takes some nanoseconds.
        assert!(measured >= 900, "{measured} ns");
    }
}
