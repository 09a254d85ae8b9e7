//! Suite `documents` as plain tests, at smoke size.

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Options, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::documents::PoolLimit;

fn broken(report: &ScenarioReport) -> Vec<&str> {
    report
        .invariants
        .iter()
        .filter(|invariant| !invariant.held)
        .map(|invariant| invariant.name.as_str())
        .collect()
}

#[test]
fn pool_limit() {
    let report = measure(PoolLimit::on(Embedded), &Options::default());
    assert_ne!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    assert_eq!(broken(&report), Vec::<&str>::new());
    assert_eq!(report.operations.succeeded, 2_000);
}

#[test]
fn a_pool_that_is_too_large_is_seen() {
    let report = measure(PoolLimit::on(Embedded).with_handles(21), &Options::default());
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(broken(&report), ["at most 20 handles open"]);
}
