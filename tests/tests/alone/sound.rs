//! Every scenario without a fault, at smoke size, in the full tier only.
//!
//! The build is not optimised, so what depends on time is not asked for: a scenario may be invalid,
//! or miss an objective on latency or rate. Whatever else is wrong fails.

use std::iter::repeat_n;

use steadfast_stress::report::{ObjectiveReport, ScenarioReport};
use steadfast_stress::{Options, Scenario, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::breaker::{
    BudgetUnderStress, DataRace, Degradation, ExtremeAsync, ExtremeSync, LeakLongRunning, MemoryPerCall,
    OverheadAsync, OverheadSync, Plain, ResourceExhaustion, TransitionConsistency,
};
use steadfast_suites::documents::PoolLimit;
use steadfast_suites::index::{
    ExtremeConcurrency, MemoryPressure, RapidScale, ResourceExhaustionRecovery, SustainedLoad,
};
use steadfast_suites::memory::{AllocateHighConcurrency, SearchHighConcurrency};
use steadfast_testkit::skipped_unless_full;

use crate::alone;
use crate::fixture::judge::{broken, count, missed, value};
use crate::fixture::{PASSAGES, SmallCorpus};

/// Objectives that depend on how busy the machine is, or on how its allocator keeps memory.
const ON_TIME: [&str; 14] = [
    "rate",
    "mean",
    "elapsed",
    "p50",
    "p95",
    "timeouts",
    "rss_growth",
    "leak rss_bytes",
    "value call_rate",
    "value over",
    "value refusal",
    "value recovery_time",
    "value rate_after",
    "value service_kept",
];

/// Runs of a scenario, at most, on a machine that stands still.
const ATTEMPTS: usize = 5;

fn is_on_time(objective: &str) -> bool {
    ON_TIME.iter().any(|metric| objective.starts_with(metric))
}

/// Returns the objectives that did not hold and do not depend on time.
fn wrong(report: &ScenarioReport) -> Vec<&ObjectiveReport> {
    missed(report).into_iter().filter(|it| !is_on_time(&it.objective)).collect()
}

/// Returns whether the only thing wrong is that objectives could not be measured because the
/// process stood still: a phase may have had no operation then.
fn proves_nothing(report: &ScenarioReport) -> bool {
    let stood_still = report.processors.and_then(|processors| processors.stood_still).unwrap_or(0.0) > 0.0;
    let wrong = wrong(report);
    let is_unmeasured = !wrong.is_empty() && wrong.iter().all(|it| it.measured_number.is_none());
    stood_still && is_unmeasured && broken(report).is_empty()
}

/// Runs the scenario in the full tier, and asserts that nothing is wrong with it.
#[track_caller]
fn sound(scenario: impl Scenario + Clone, options: &Options) -> Option<ScenarioReport> {
    if skipped_unless_full("`cargo xtask stress` runs this scenario in release") {
        return None;
    }
    let _alone = alone();
    let mut runs = repeat_n(scenario, ATTEMPTS).map(|scenario| measure(scenario, options)).enumerate();
    let report = runs.find(|(before, report)| before + 1 == ATTEMPTS || !proves_nothing(report));
    let (_, report) = report.expect("the last one counts whatever it is");
    assert_eq!(broken(&report), [""; 0], "{:?}", report.reasons);
    assert!(wrong(&report).is_empty(), "{:?}", report.reasons);
    assert!(
        report.verdict != Verdict::Fail || report.reasons.iter().all(|reason| is_on_time(reason)),
        "{:?}",
        report.reasons
    );
    assert!(report.operations.succeeded > 0 && !report.invariants.is_empty());
    Some(report)
}

/// As [`sound`], of a scenario that fills a store.
#[track_caller]
fn sound_store(scenario: impl Scenario + Clone) -> Option<ScenarioReport> {
    let corpus = SmallCorpus::new();
    let report = sound(scenario, &corpus.options())?;
    assert_eq!((report.operations.failed, report.operations.timed_out), (0, 0), "{:?}", report.reasons);
    let loaded = format!("{} passages", 10_000_usize.next_multiple_of(PASSAGES));
    let noted = report.notes.iter().any(|(key, note)| key == "loaded" && note.starts_with(&loaded));
    assert!(noted, "{:?}", report.notes);
    Some(report)
}

/// As [`sound_store`], of a scenario that looks everything up in the end.
#[track_caller]
fn sound_index(scenario: impl Scenario + Clone) -> Option<ScenarioReport> {
    let report = sound_store(scenario)?;
    for name in ["found by id, unchanged", "found by search, unchanged", "reopened: found by slug, unchanged"]
    {
        assert!(report.invariants.iter().any(|it| it.name == name), "{name} was not checked");
    }
    Some(report)
}

#[track_caller]
fn sound_breaker(scenario: impl Scenario + Clone) -> Option<ScenarioReport> {
    sound(scenario, &Options::default())
}

#[test]
fn memory_allocate_high_concurrency() {
    let Some(report) = sound_index(AllocateHighConcurrency::on(Embedded)) else { return };
    assert_eq!(report.operations.succeeded, 500);
}

#[test]
fn memory_search_high_concurrency() {
    let Some(report) = sound_store(SearchHighConcurrency::on(Embedded)) else { return };
    assert_eq!(report.operations.succeeded, 200);
}

#[test]
fn index_extreme_concurrency() {
    let Some(report) = sound_index(ExtremeConcurrency::on(Embedded)) else { return };
    assert_eq!(report.operations.succeeded, 10_000);
    for name in ["concurrency_peak", "hybrid_rate", "hybrid_p50", "hybrid_p95", "hybrid_found"] {
        value(&report, name);
    }
}

#[test]
fn index_memory_pressure() {
    sound_index(MemoryPressure::on(Embedded));
}

#[test]
fn index_sustained_load() {
    let Some(report) = sound_index(SustainedLoad::on(Embedded)) else { return };
    assert_eq!(report.operations.succeeded, 1_000);
}

#[test]
fn index_resource_exhaustion_recovery() {
    let Some(report) = sound_index(ResourceExhaustionRecovery::on(Embedded)) else { return };
    assert_eq!(report.operations.succeeded, 2_000);
    assert!(report.invariants.iter().any(|it| it.name == "the limit was hit"));
    value(&report, "rate_before");
    value(&report, "rate_after");
}

#[test]
fn index_rapid_scale() {
    sound_index(RapidScale::on(Embedded));
}

#[test]
fn documents_pool_limit() {
    let Some(report) = sound(PoolLimit::on(Embedded), &Options::default()) else { return };
    assert_eq!(report.operations.succeeded, 2_000);
}

#[test]
fn breaker_extreme_async() {
    let Some(report) = sound_breaker(ExtremeAsync::with(Plain)) else { return };
    assert!(count(&report, "healthy_calls") > 1_500 && count(&report, "refused") > 0);
}

#[test]
fn breaker_extreme_sync() {
    let Some(report) = sound_breaker(ExtremeSync::with(Plain)) else { return };
    assert!(count(&report, "healthy_calls") > 1_000 && count(&report, "refused") > 0);
}

#[test]
fn breaker_leak_long_running() {
    sound_breaker(LeakLongRunning::with(Plain));
}

#[test]
fn breaker_memory_per_call() {
    sound_breaker(MemoryPerCall::with(Plain));
}

#[test]
fn breaker_degradation() {
    let Some(report) = sound_breaker(Degradation::with(Plain)) else { return };
    assert_eq!(report.operations.failed, 0);
}

#[test]
fn breaker_data_race() {
    let Some(report) = sound_breaker(DataRace::with(Plain)) else { return };
    assert_eq!(count(&report, "calls"), 32 * 60 * 500);
}

#[test]
fn breaker_transition_consistency() {
    let Some(report) = sound_breaker(TransitionConsistency::with(Plain)) else { return };
    assert!(count(&report, "probes") > 100);
}

#[test]
fn breaker_resource_exhaustion() {
    sound_breaker(ResourceExhaustion::with(Plain));
}

#[test]
fn breaker_overhead_sync() {
    sound_breaker(OverheadSync::with(Plain));
}

#[test]
fn breaker_overhead_async() {
    sound_breaker(OverheadAsync::with(Plain));
}

#[test]
fn breaker_budget_under_stress() {
    let Some(report) = sound_breaker(BudgetUnderStress::with(Plain)) else { return };
    for name in ["blocked", "shed", "alerts_told", "overdrawn_snapshots"] {
        assert!(count(&report, name) > 0, "{name}");
    }
}
