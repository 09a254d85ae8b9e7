//! Suite `memory` as plain tests: at smoke size, on a small corpus.
//!
//! A machine that is too busy to tell makes a run invalid; what is wrong fails it.

mod fixture;

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Options, Scenario, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::memory::{AllocateHighConcurrency, SearchHighConcurrency};

use fixture::SmallCorpus;

fn assert_sound(scenario: impl Scenario) -> ScenarioReport {
    let corpus = SmallCorpus::new();
    let report = measure(scenario, &corpus.options());
    assert_ne!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    assert!(report.invariants.iter().all(|it| it.held), "{:?}", report.invariants);
    let noted =
        |key: &str| report.notes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    let passages = format!("{} passages", fixture::PASSAGES);
    assert!(noted("corpus").is_some_and(|note| note.starts_with(&passages)), "{:?}", report.notes);
    assert!(noted("loaded").is_some_and(|note| note.starts_with("10200 passages")), "{:?}", report.notes);
    report
}

#[test]
fn allocate_high_concurrency() {
    let report = assert_sound(AllocateHighConcurrency::on(Embedded));
    assert_eq!(report.operations.succeeded, 500);
    let found: Vec<&str> = report
        .invariants
        .iter()
        .filter(|invariant| invariant.measured == "10700")
        .map(|invariant| invariant.name.as_str())
        .collect();
    let all = [
        "different ids",
        "different sequence numbers",
        "found by id, unchanged",
        "found by slug, unchanged",
        "found by search, unchanged",
        "memories counted",
        "reopened: found by id, unchanged",
        "reopened: found by slug, unchanged",
        "reopened: found by search, unchanged",
    ];
    assert_eq!(found, all);
}

#[test]
fn search_high_concurrency() {
    let report = assert_sound(SearchHighConcurrency::on(Embedded));
    assert_eq!(report.operations.succeeded, 200);
}

#[test]
fn a_corpus_that_is_not_there_or_too_small_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let missing = folder.path().join("missing");
    let small = folder.path().join("small.md");
    std::fs::write(&small, "One passage that is all there is.").expect("a file can be written");
    let reasons = |path: &std::path::Path| {
        let mut options = Options::default();
        options.corpus = Some(path.to_owned());
        let report = measure(AllocateHighConcurrency::on(Embedded), &options);
        assert_eq!(report.verdict, Verdict::Fail);
        report.reasons.join("\n")
    };
    let told = reasons(&missing);
    assert!(told.contains(&missing.display().to_string()), "{told}");
    let told = reasons(&small);
    assert!(told.contains("the corpus has 1 passages, at least 500 are needed"), "{told}");
}
