//! Suite `memory` on stores that break a promise once in 10 000 writes, and on no corpus.

use std::path::Path;

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Options, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::memory::{AllocateHighConcurrency, SearchHighConcurrency};
use steadfast_testkit::TestRng;

use crate::fixture::faulty_store::{ONE_IN, SearchFault, WriteFault};
use crate::fixture::judge::{assert_fails_by, broken};
use crate::fixture::{FaultyBackend, PASSAGES, SmallCorpus};

/// Runs the scenario on a store with this fault in its write `lost`.
fn run(fault: WriteFault, lost: u64) -> ScenarioReport {
    let corpus = SmallCorpus::new();
    let report = measure(AllocateHighConcurrency::on(FaultyBackend::losing(fault, lost)), &corpus.options());
    assert_eq!(
        report.operations.succeeded, 500,
        "the fault must not show in the answers: {:?}",
        report.reasons
    );
    report
}

/// Returns one of the writes, by a seed.
fn some_write(seed: u64) -> u64 {
    TestRng::new(seed).below(ONE_IN)
}

/// The control of the tests below, and of what the scenario checks.
#[test]
fn a_store_that_loses_nothing_passes() {
    let report = run(WriteFault::None, 0);
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    let of_all_writes: Vec<&str> =
        report.invariants.iter().filter(|it| it.measured == "10700").map(|it| it.name.as_str()).collect();
    let expected = [
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
    assert_eq!(of_all_writes, expected);
}

#[test]
fn one_dropped_write_in_ten_thousand_fails_it() {
    let report = run(WriteFault::Dropped, some_write(20));
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by slug, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
    assert_fails_by(&report, "memories counted");
    assert!(report.notes.iter().any(|(key, _)| key == "not found by id, unchanged"), "it must be named");
}

#[test]
fn a_dropped_concept_fails_it() {
    // Set-up writes the corpus until there are 10 000; then come the 500 concepts.
    let passages = ONE_IN.next_multiple_of(PASSAGES as u64);
    assert_fails_by(&run(WriteFault::Dropped, passages + 100), "found by id, unchanged");
}

#[test]
fn a_write_that_is_gone_after_reopening_fails_it() {
    let report = run(WriteFault::GoneAfterReopening, some_write(21));
    assert_fails_by(&report, "reopened: found by id, unchanged");
    assert!(broken(&report).iter().all(|name| name.starts_with("reopened: ")), "{:?}", report.reasons);
}

#[test]
fn a_write_that_no_search_finds_fails_it() {
    let report = run(WriteFault::NotIndexed, some_write(22));
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(broken(&report), ["found by search, unchanged", "reopened: found by search, unchanged"]);
}

#[test]
fn a_write_that_nobody_asked_for_fails_it() {
    let report = run(WriteFault::Doubled, some_write(24));
    assert_fails_by(&report, "sequence numbers without a gap");
    assert_fails_by(&report, "memories counted");
}

#[test]
fn a_write_with_another_character_fails_it() {
    let report = run(WriteFault::Altered, some_write(23));
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by slug, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
}

#[test]
fn a_wrong_order_of_hits_fails_the_searches() {
    let corpus = SmallCorpus::new();
    let scenario = SearchHighConcurrency::on(FaultyBackend::answering(SearchFault::Misranked));
    let report = measure(scenario, &corpus.options());
    assert_fails_by(&report, "right first hits for searchable_0 to searchable_9");
    let errors: Vec<(&str, u64)> =
        report.operations.errors.iter().map(|error| (error.kind.as_str(), error.count)).collect();
    assert_eq!(errors, [("wrong first hit", 200)]);
}

#[test]
fn a_corpus_that_is_missing_or_too_small_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let missing = folder.path().join("missing");
    let small = folder.path().join("small.md");
    std::fs::write(&small, "One passage that is all there is.").expect("a file can be written");
    let reasons = |path: &Path| {
        let mut options = Options::default();
        options.corpus = Some(path.to_owned());
        let report = measure(AllocateHighConcurrency::on(Embedded), &options);
        assert_eq!(report.verdict, Verdict::Fail);
        report.reasons.join("\n")
    };
    let reason = reasons(&missing);
    assert!(reason.contains(&missing.display().to_string()), "{reason}");
    let reason = reasons(&small);
    assert!(reason.contains("the corpus has 1 passages, at least 500 are needed"), "{reason}");
}
