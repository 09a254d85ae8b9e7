//! Suite `index` on stores that lose a write or answer wrongly now and then.

use std::time::Duration;

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Scenario, measure};
use steadfast_suites::index::{
    ExtremeConcurrency, MemoryPressure, RapidScale, ResourceExhaustionRecovery, SustainedLoad,
};
use steadfast_testkit::TestRng;

use crate::fixture::faulty_store::{ONE_IN, SearchFault, WriteFault};
use crate::fixture::judge::assert_fails_by;
use crate::fixture::{FaultyBackend, Short, SmallCorpus};

/// Runs a scenario for two seconds: its fault shows at once.
fn run(scenario: impl Scenario) -> ScenarioReport {
    measure(Short::of(scenario, Duration::from_secs(2)), &SmallCorpus::new().options())
}

/// Asserts that two faults in one run are both seen: wrong answers, and a write that is there until
/// the store is closed, so that no answer is wrong because of it.
#[track_caller]
fn assert_both_faults_are_seen(scenario: impl Scenario) {
    let report = run(scenario);
    assert_fails_by(&report, "wrong answers");
    let errors = &report.operations.errors;
    assert!(errors.iter().any(|error| error.kind == "wrong answer" && error.count > 0), "{errors:?}");
    assert_fails_by(&report, "reopened: found by id, unchanged");
    assert_fails_by(&report, "reopened: found by slug, unchanged");
    assert_fails_by(&report, "reopened: found by search, unchanged");
}

/// Answers wrongly, and loses one of the passages that set-up writes when it is closed.
fn faulty(fault: SearchFault) -> FaultyBackend {
    FaultyBackend::losing(WriteFault::GoneAfterReopening, some_write()).and_answering(fault)
}

fn some_write() -> u64 {
    TestRng::new(25).below(ONE_IN)
}

#[test]
fn extreme_concurrency_sees_one_empty_answer_in_five_thousand_and_a_lost_write() {
    assert_both_faults_are_seen(ExtremeConcurrency::on(faulty(SearchFault::Empty { one_in: 5_000 })));
}

#[test]
fn memory_pressure_sees_empty_answers_and_a_lost_write() {
    assert_both_faults_are_seen(MemoryPressure::on(faulty(SearchFault::Empty { one_in: 2 })));
}

#[test]
fn sustained_load_sees_answers_to_another_query_and_a_lost_write() {
    assert_both_faults_are_seen(SustainedLoad::on(faulty(SearchFault::Stale { one_in: 50 })));
}

#[test]
fn rapid_scale_sees_empty_answers_and_a_lost_write() {
    assert_both_faults_are_seen(RapidScale::on(faulty(SearchFault::Empty { one_in: 20 })));
}

#[test]
fn resource_exhaustion_recovery_sees_answers_to_another_query_and_a_lost_write() {
    // Set-up writes 10 200 passages, and then writes and searches 2 000 times in its round; the
    // load writes and searches as often. Both faults are in the load; the store is closed after it,
    // and then looked up.
    let store = FaultyBackend::losing(WriteFault::GoneAfterReopening, 12_300);
    let store = store.and_answering(SearchFault::Stale { one_in: 3_000 });
    let report = run(ResourceExhaustionRecovery::on(store).with_one_round());
    assert_fails_by(&report, "wrong answers");
    let errors = &report.operations.errors;
    assert!(errors.iter().any(|error| error.kind == "wrong answer" && error.count > 0), "{errors:?}");
    assert_fails_by(&report, "found by id, unchanged");
}

/// Every scenario looks everything up before it reopens the store, by the same check.
#[test]
fn sustained_load_sees_a_dropped_write_before_reopening() {
    let report = run(SustainedLoad::on(FaultyBackend::losing(WriteFault::Dropped, some_write())));
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by slug, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
    assert_fails_by(&report, "reopened: found by slug, unchanged");
}
