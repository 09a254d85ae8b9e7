//! Suite `index` as plain tests: at smoke size, on a small corpus.
//!
//! Tests run side by side, in a build that isn't optimised, so what is about time isn't asked for here: a scenario may
//! be invalid, or miss an objective on latency or rate. Whatever else is wrong fails.

mod fixture;

use std::sync::{Mutex, PoisonError};

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Scenario, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::index::{
    ExtremeConcurrency, MemoryPressure, RapidScale, ResourceExhaustionRecovery, SustainedLoad,
};

use fixture::SmallCorpus;

/// Objectives that depend on how busy the machine is.
const ON_TIME: [&str; 6] = ["rate", "mean", "elapsed", "p50", "value rate_after", "value service_kept"];

fn is_on_time(objective: &str) -> bool {
    ON_TIME.iter().any(|metric| objective.starts_with(metric))
}

/// One at a time: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

fn assert_sound(scenario: impl Scenario) -> ScenarioReport {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let corpus = SmallCorpus::new();
    let report = measure(scenario, &corpus.options());
    assert!(report.invariants.iter().all(|it| it.held), "{:?}", report.reasons);
    for objective in &report.objectives {
        assert!(objective.held || is_on_time(&objective.objective), "{objective:?}");
    }
    assert!(
        report.verdict != Verdict::Fail || report.reasons.iter().all(|reason| is_on_time(reason)),
        "{:?}",
        report.reasons
    );
    assert_eq!((report.operations.failed, report.operations.timed_out), (0, 0), "{:?}", report.reasons);
    assert!(report.operations.succeeded > 0);
    let loaded = format!("{} passages", 10_000_usize.next_multiple_of(fixture::PASSAGES));
    let noted = report.notes.iter().any(|(key, note)| key == "loaded" && note.starts_with(&loaded));
    assert!(noted, "{:?}", report.notes);
    for name in ["found by id, unchanged", "found by search, unchanged", "reopened: found by slug, unchanged"]
    {
        assert!(report.invariants.iter().any(|it| it.name == name), "{name} was not looked at");
    }
    report
}

fn value(report: &ScenarioReport, name: &str) -> Option<steadfast_stress::Value> {
    report.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

#[test]
fn extreme_concurrency() {
    let report = assert_sound(ExtremeConcurrency::on(Embedded));
    assert_eq!(report.operations.succeeded, 10_000);
    for name in ["concurrency_peak", "hybrid_rate", "hybrid_p50", "hybrid_p95", "hybrid_found"] {
        assert!(value(&report, name).is_some(), "{name}");
    }
}

#[test]
fn memory_pressure() {
    assert_sound(MemoryPressure::on(Embedded));
}

#[test]
fn sustained_load() {
    let report = assert_sound(SustainedLoad::on(Embedded));
    assert_eq!(report.operations.succeeded, 1_000);
}

#[test]
fn resource_exhaustion_recovery() {
    let report = assert_sound(ResourceExhaustionRecovery::on(Embedded));
    assert_eq!(report.operations.succeeded, 2_000);
    assert!(report.invariants.iter().any(|it| it.name == "the limit was hit"));
    assert!(value(&report, "rate_before").is_some() && value(&report, "rate_after").is_some());
}

#[test]
fn rapid_scale() {
    assert_sound(RapidScale::on(Embedded));
}
