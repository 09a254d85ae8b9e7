//! `junit.xml`: a report as CI servers read it.
//!
//! A suite is a `testsuite`, a scenario in one repetition is a `testcase`. PASS is a success, FAIL a `failure`. INVALID
//! is an `error`, which in JUnit's words is a test that came to no result: not `skipped`, because servers show that as
//! green, and the exit code of such a run isn't 0. For the same reason scenarios that an interrupt kept from running, or
//! that a run which was killed never came to, are errors.
//!
//! `system-out` has objectives and invariants as the terminal shows them, `properties` the figures in base units.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{LatencyReport, Report, ScenarioReport};
use crate::table;
use crate::verdict::Verdict;

/// The file's content.
///
/// ```
/// # fn of(report: &steadfast_stress::report::Report) {
/// let xml = steadfast_stress::report::junit::render(report);
/// assert!(xml.starts_with("<?xml"));
/// # }
/// ```
pub fn render(report: &Report) -> String {
    let mut suites: Vec<TestSuite> = Vec::new();
    for scenario in &report.scenarios {
        suite_of(&mut suites, &scenario.name).add_test_case(case(report, scenario));
    }
    for name in &report.not_run {
        let (suite, scenario) = parts(name);
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let why = if report.complete { "the run was interrupted" } else { "the run is not complete" };
        status.set_message(format!("not run: {why}"));
        let mut case = TestCase::new(scenario, status);
        case.set_classname(suite);
        suite_of(&mut suites, name).add_test_case(case);
    }
    for suite in &mut suites {
        let seconds = suite.test_cases.iter().filter_map(|case| case.time).sum();
        suite.set_time(seconds);
        suite.add_property(("repeat", report.repeat.as_str()));
        suite.add_property(("tier", report.tier.to_string().as_str()));
        suite.add_property(("processors", report.machine.processors.to_string().as_str()));
        suite.add_property(("brand", report.machine.brand.as_str()));
        suite.add_property(("optimized", report.machine.optimized.to_string().as_str()));
    }
    let mut all = quick_junit::Report::new(report.run.as_str());
    all.set_time(suites.iter().filter_map(|suite| suite.time).sum());
    all.add_test_suites(suites);
    // The writer refuses nothing but what its output refuses, and a string takes all: the default is never taken.
    all.to_string().unwrap_or_default()
}

fn parts(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("", name))
}

fn suite_of<'a>(suites: &'a mut Vec<TestSuite>, name: &str) -> &'a mut TestSuite {
    let (suite, _) = parts(name);
    let place = suites.iter().position(|known| known.name.as_str() == suite).unwrap_or_else(|| {
        suites.push(TestSuite::new(suite));
        suites.len() - 1
    });
    &mut suites[place]
}

fn case(report: &Report, scenario: &ScenarioReport) -> TestCase {
    let status = match scenario.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => unsuccessful(NonSuccessKind::Failure, report, scenario),
        Verdict::Invalid => unsuccessful(NonSuccessKind::Error, report, scenario),
    };
    let (suite, name) = parts(&scenario.name);
    // Servers follow a test over builds by its name: the seed, which differs each time, isn't in it.
    let name = match report.repetitions {
        1 => name.to_owned(),
        _ => format!("{name} #{}", scenario.repetition),
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(suite);
    case.set_assertions(scenario.objectives.len() + scenario.invariants.len());
    let stages = scenario.stages;
    let seconds = stages.set_up_s + stages.load_s + stages.check_s + stages.tear_down_s;
    case.set_time(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default());
    case.set_system_out(table::describe_plainly(scenario));
    case.add_properties(figures(scenario));
    case
}

fn unsuccessful(kind: NonSuccessKind, report: &Report, scenario: &ScenarioReport) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let first = scenario.reasons.first().map_or("no reason was given", String::as_str);
    status.set_message(first).set_type(scenario.verdict.to_string());
    let reasons = scenario.reasons.join("\n");
    status.set_description(format!("{reasons}\nrepeat: {}", report.repeat));
    status
}

fn figures(scenario: &ScenarioReport) -> Vec<(String, String)> {
    let operations = &scenario.operations;
    let mut figures = vec![
        ("verdict".to_owned(), scenario.verdict.to_string()),
        ("seed".to_owned(), scenario.seed.to_string()),
        ("load".to_owned(), scenario.load.description.clone()),
    ];
    let mut add = |name: &str, value: String| figures.push((name.to_owned(), value));
    add("issued", operations.issued.to_string());
    add("succeeded", operations.succeeded.to_string());
    add("failed", operations.failed.to_string());
    add("timed_out", operations.timed_out.to_string());
    add("in_flight_peak", operations.in_flight_peak.to_string());
    add("elapsed_s", format!("{:.6}", operations.elapsed_s));
    add("rate_per_second", format!("{:.3}", operations.rate_per_second));
    let mut latency = |kind: &str, latency: &LatencyReport| {
        for (name, ns) in [
            ("p50", latency.p50_ns),
            ("p95", latency.p95_ns),
            ("p99", latency.p99_ns),
            ("p99_9", latency.p99_9_ns),
            ("max", latency.max_ns),
        ] {
            add(&format!("{kind}_{name}_ns"), ns.to_string());
        }
    };
    if let Some(response) = &scenario.response_time {
        latency("response", response);
    }
    latency("service", &scenario.service_time);
    if let Some(peak) = scenario.memory.peak_bytes {
        add("rss_peak_bytes", peak.to_string());
    }
    for (name, value) in &scenario.values {
        add(&format!("value_{name}"), table::value(*value));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;
    use quick_junit::Report as Read;

    #[test]
    fn verdicts_become_what_ci_servers_count() {
        let report = examples::of_every_verdict();
        let text = render(&report);
        let read = Read::deserialize_from_str(&text).unwrap();
        let all = (read.tests, read.failures, read.errors, read.skipped);
        let not_run = report.not_run.len();
        assert_eq!(all, (report.scenarios.len() + not_run, 1, 1 + not_run, 0), "{text}");
        let suite = &read.test_suites[0];
        let case = |verdict| {
            let place = report.scenarios.iter().position(|it| it.verdict == verdict).unwrap();
            &suite.test_cases[place]
        };
        let TestCaseStatus::NonSuccess { kind, message, description, ty, .. } = &case(Verdict::Fail).status
        else {
            panic!("a FAIL is no success")
        };
        let failed = report.scenarios.iter().find(|it| it.verdict == Verdict::Fail).unwrap();
        assert_eq!(*kind, NonSuccessKind::Failure);
        assert_eq!(message.as_ref().unwrap().as_str(), failed.reasons[0]);
        assert_eq!(ty.as_ref().unwrap().as_str(), "FAIL");
        let description = description.as_ref().unwrap().as_str();
        assert!(failed.reasons.iter().all(|reason| description.contains(reason)));
        assert!(description.contains(&report.repeat));
        let TestCaseStatus::NonSuccess { kind, .. } = &case(Verdict::Invalid).status else {
            panic!("an INVALID is no success")
        };
        assert_eq!(*kind, NonSuccessKind::Error);
        assert!(matches!(case(Verdict::Pass).status, TestCaseStatus::Success { .. }));
    }

    #[test]
    fn each_suite_is_one_and_figures_are_in_base_units() {
        let mut report = examples::of_every_verdict();
        report.scenarios[1].name = "other.one".to_owned();
        report.repetitions = 2;
        let read = Read::deserialize_from_str(&render(&report)).unwrap();
        let names: Vec<&str> = read.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["shop", "other"]);
        let case = &read.test_suites[0].test_cases[0];
        assert!(case.name.as_str().ends_with(" #1"), "{}", case.name.as_str());
        let property = |name: &str| {
            case.properties.iter().find(|it| it.name.as_str() == name).unwrap().value.as_str().to_owned()
        };
        let scenario = &report.scenarios[0];
        let response = scenario.response_time.as_ref().unwrap();
        assert_eq!(property("response_p99_ns"), response.p99_ns.to_string());
        assert_eq!(property("rate_per_second"), format!("{:.3}", scenario.operations.rate_per_second));
        let out = case.system_out.as_ref().unwrap().as_str();
        assert!(scenario.objectives.iter().all(|it| out.contains(&it.objective)), "{out}");
        assert!(!out.contains('\u{1b}'), "no colours");
    }

    #[test]
    fn nothing_that_is_written_breaks_the_file() {
        let mut report = examples::of_every_verdict();
        let hostile = "</failure>]]>&<script>\u{0}\u{1b}[31m\u{fffe}\"'".to_owned();
        for scenario in &mut report.scenarios {
            scenario.reasons = vec![hostile.clone()];
            scenario.notes = vec![(hostile.clone(), hostile.clone())];
            scenario.name = format!("shop.{hostile}");
        }
        report.repeat.clone_from(&hostile);
        report.not_run = vec![hostile];
        let read = Read::deserialize_from_str(&render(&report)).unwrap();
        assert_eq!(read.tests, report.scenarios.len() + 1);
        let kept = read.test_suites[0].test_cases[0].name.as_str().to_owned();
        assert!(kept.contains("</failure>]]>&<script>"), "{kept}");
    }

    #[test]
    fn an_empty_report_is_a_file_without_tests() {
        let read = Read::deserialize_from_str(&render(&examples::empty())).unwrap();
        assert_eq!((read.tests, read.test_suites.len()), (0, 0));
    }
}
