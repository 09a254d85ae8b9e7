//! Suite `breaker` on breakers with a planted fault. What counts or times the whole process is in
//! `../alone/breaker.rs`.

use steadfast_stress::{Options, Scenario, measure};
use steadfast_suites::breaker::{
    BudgetUnderStress, DataRace, Degradation, ExtremeAsync, ExtremeSync, OverheadAsync, OverheadSync,
    ResourceExhaustion, TransitionConsistency,
};

use crate::fixture::faulty_breaker::Fault;
use crate::fixture::{FaultyBreaker, judge};

#[track_caller]
fn assert_fails_by(scenario: impl Scenario, what: &str) {
    judge::assert_fails_by(&measure(scenario, &Options::default()), what);
}

/// The control of the tests below: without a fault, the same guard breaks nothing that is exact.
#[test]
fn a_breaker_without_a_fault_breaks_nothing() {
    let guard = || FaultyBreaker::with(Fault::None);
    for report in [
        measure(DataRace::with(guard()), &Options::default()),
        measure(TransitionConsistency::with(guard()), &Options::default()),
        measure(BudgetUnderStress::with(guard()), &Options::default()),
    ] {
        assert_eq!(judge::broken(&report), [""; 0], "{:?}", report.reasons);
        assert!(report.operations.succeeded > 0 && !report.invariants.is_empty());
    }
}

#[test]
fn extreme_async_sees_a_breaker_that_never_opens() {
    assert_fails_by(ExtremeAsync::with(FaultyBreaker::with(Fault::NeverOpens)), "the breaker opened");
}

#[test]
fn extreme_async_sees_a_breaker_that_never_closes() {
    assert_fails_by(ExtremeAsync::with(FaultyBreaker::with(Fault::NeverCloses)), "full service again");
}

#[test]
fn extreme_async_sees_a_breaker_that_opens_late() {
    assert_fails_by(ExtremeAsync::with(FaultyBreaker::with(Fault::OpensLate)), "it opens within a window");
}

#[test]
fn extreme_async_sees_one_lost_call_in_ten_thousand() {
    let fault = Fault::Lost { one_in: 10_000 };
    assert_fails_by(ExtremeAsync::with(FaultyBreaker::with(fault)), "calm calls that failed or were refused");
}

#[test]
fn extreme_sync_sees_a_breaker_that_never_opens() {
    let fault = Fault::Forgiven { one_in: 1 };
    assert_fails_by(ExtremeSync::with(FaultyBreaker::with(fault)), "the breaker opened");
}

#[test]
fn extreme_sync_sees_one_call_in_ten_thousand_that_goes_past() {
    let fault = Fault::Unguarded { one_in: 10_000 };
    assert_fails_by(ExtremeSync::with(FaultyBreaker::with(fault)), "recorded calls, of those made");
}

#[test]
fn degradation_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 200 };
    assert_fails_by(Degradation::with(FaultyBreaker::with(fault)), "recorded successes, of those seen");
}

#[test]
fn data_race_sees_one_forgiven_failure_in_a_thousand() {
    let fault = Fault::Forgiven { one_in: 1_000 };
    assert_fails_by(DataRace::with(FaultyBreaker::with(fault)), "recorded failures, of those made");
}

#[test]
fn data_race_sees_a_permit_that_never_ends() {
    let fault = Fault::NeverEnds { one_in: 100_000 };
    assert_fails_by(DataRace::with(FaultyBreaker::with(fault)), "permits that haven't ended");
}

#[test]
fn transition_consistency_sees_more_probes() {
    assert_fails_by(
        TransitionConsistency::with(FaultyBreaker::with(Fault::MoreProbes)),
        "never more than 4 probes",
    );
}

#[test]
fn transition_consistency_sees_a_change_that_is_not_told() {
    let fault = Fault::Silent { one_in: 50 };
    assert_fails_by(TransitionConsistency::with(FaultyBreaker::with(fault)), "events that are no path");
}

#[test]
fn transition_consistency_sees_a_change_that_is_told_twice() {
    let fault = Fault::Twice { one_in: 50 };
    assert_fails_by(TransitionConsistency::with(FaultyBreaker::with(fault)), "events that are no path");
}

#[test]
fn resource_exhaustion_sees_a_breaker_that_never_opens() {
    assert_fails_by(ResourceExhaustion::with(FaultyBreaker::with(Fault::NeverOpens)), "the breaker opened");
}

#[test]
fn overhead_sync_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 500_000 };
    assert_fails_by(
        OverheadSync::with(FaultyBreaker::with(fault)),
        "recorded successes, of the guarded calls",
    );
}

#[test]
fn overhead_async_sees_a_call_that_is_not_recorded() {
    let fault = Fault::Unguarded { one_in: 500_000 };
    assert_fails_by(
        OverheadAsync::with(FaultyBreaker::with(fault)),
        "recorded successes, of the guarded calls",
    );
}

#[test]
fn budget_under_stress_sees_one_unit_over_the_limit() {
    assert_fails_by(
        BudgetUnderStress::with(FaultyBreaker::with(Fault::OneMore)),
        "snapshots with more used than allowed",
    );
}

#[test]
fn budget_under_stress_sees_a_limit_that_is_not_lowered() {
    assert_fails_by(
        BudgetUnderStress::with(FaultyBreaker::with(Fault::NotLowered)),
        "snapshots with more used than allowed",
    );
}

#[test]
fn budget_under_stress_sees_a_snapshot_that_was_never_true() {
    let fault = Fault::Misread { one_in: 500 };
    assert_fails_by(BudgetUnderStress::with(FaultyBreaker::with(fault)), "snapshots that can't be true");
}

#[test]
fn budget_under_stress_sees_one_unit_that_is_not_charged() {
    let fault = Fault::Undercharged { one_in: 50_000 };
    assert_fails_by(BudgetUnderStress::with(FaultyBreaker::with(fault)), "settled, of what was spent");
}

#[test]
fn budget_under_stress_sees_a_permit_that_never_ends() {
    let fault = Fault::NeverEnds { one_in: 100_000 };
    assert_fails_by(BudgetUnderStress::with(FaultyBreaker::with(fault)), "held in the end");
}

#[test]
fn budget_under_stress_sees_a_block_without_a_throttle() {
    assert_fails_by(
        BudgetUnderStress::with(FaultyBreaker::with(Fault::Unthrottled)),
        "throttled without an alert",
    );
}
