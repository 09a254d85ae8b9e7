//! What the program lists against the catalogue of scenarios: each row is there under its name, with its load, and with
//! objectives at least as strict, in both tiers.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// A row of the catalogue.
struct Row {
    name: &'static str,
    users: u64,
    operations_each: u64,
    /// None where the catalogue sets none.
    timeout_ms_max: Option<f64>,
    /// The catalogue's own floors; ours may only be stricter.
    floors: &'static [Bound],
}

/// `metric comparison bound`, the bound in the unit that is written behind it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Bound {
    metric: &'static str,
    comparison: &'static str,
    number: f64,
    unit: &'static str,
}

const fn bound(metric: &'static str, comparison: &'static str, number: f64, unit: &'static str) -> Bound {
    Bound { metric, comparison, number, unit }
}

const CATALOGUE: [Row; 2] = [
    Row {
        name: "memory.allocate_high_concurrency",
        users: 500,
        operations_each: 1,
        timeout_ms_max: Some(10_000.0),
        floors: &[
            bound("success", ">=", 100.0, "%"),
            bound("timeouts", "<=", 0.0, "%"),
            bound("elapsed", "<", 60.0, "s"),
            bound("rate", ">", 10.0, "/s"),
        ],
    },
    Row {
        name: "memory.search_high_concurrency",
        users: 200,
        operations_each: 1,
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%"), bound("elapsed", "<", 30.0, "s")],
    },
];

impl Bound {
    /// Whether an objective, as it is listed, allows nothing that this bound forbids.
    fn is_kept_by(&self, objective: &str) -> bool {
        let mut parts = objective.split_whitespace();
        let (metric, comparison) = (parts.next(), parts.next());
        let number = parts.next().and_then(|bound| bound.strip_suffix(self.unit)).map(str::parse::<f64>);
        let Some(Ok(number)) = number else { return false };
        let upper = self.comparison.starts_with('<');
        let stricter = if upper { number < self.number } else { number > self.number };
        let same =
            number == self.number && (comparison == Some(self.comparison) || self.comparison.ends_with('='));
        let same_direction = comparison.is_some_and(|sign| sign.starts_with('<') == upper && sign != "==");
        metric == Some(self.metric) && same_direction && (stricter || same)
    }
}

fn listed() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_steadfast-suites")).args(["--list", "--json"]).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Value = serde_json::from_slice(&output.stdout).expect("the list is JSON");
    let suites = listed["suites"].as_array().expect("a list of suites");
    suites
        .iter()
        .flat_map(|suite| suite["scenarios"].as_array().expect("a list of scenarios").clone())
        .collect()
}

#[test]
fn every_row_is_a_scenario_and_every_scenario_a_row() {
    let listed = listed();
    let names: BTreeSet<&str> = listed.iter().filter_map(|scenario| scenario["name"].as_str()).collect();
    let rows: BTreeSet<&str> = CATALOGUE.iter().map(|row| row.name).collect();
    assert_eq!(names, rows);
}

#[test]
fn loads_and_objectives_are_those_of_the_catalogue() {
    let listed = listed();
    for row in &CATALOGUE {
        let scenario = listed.iter().find(|scenario| scenario["name"] == row.name).expect(row.name);
        for tier in ["smoke", "standard"] {
            let plan = &scenario["tiers"][tier];
            let load = &plan["load"];
            assert_eq!(load["users"], row.users, "{} {tier}", row.name);
            assert_eq!(load["operations_each"], row.operations_each, "{} {tier}", row.name);
            if let Some(most) = row.timeout_ms_max {
                assert!(
                    load["timeout_ms"].as_f64().is_some_and(|timeout| timeout <= most),
                    "{} {tier}",
                    row.name
                );
            }
            let objectives: Vec<&str> =
                plan["objectives"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for floor in row.floors {
                let is_kept = objectives.iter().any(|objective| floor.is_kept_by(objective));
                assert!(is_kept, "{} {tier}: none of {objectives:?} keeps {floor:?}", row.name);
            }
        }
    }
}

#[test]
fn a_weaker_objective_is_seen() {
    let floor = bound("elapsed", "<", 60.0, "s");
    for (objective, keeps) in [
        ("elapsed < 60s", true),
        ("elapsed <= 59s", true),
        ("elapsed <= 60s", false),
        ("elapsed < 61s", false),
        ("elapsed > 1s", false),
        ("p95 < 1s", false),
        ("elapsed < 5min", false),
    ] {
        assert_eq!(floor.is_kept_by(objective), keeps, "{objective}");
    }
    assert!(bound("success", ">=", 70.0, "%").is_kept_by("success > 70%"));
    assert!(!bound("success", ">=", 70.0, "%").is_kept_by("success >= 69%"));
}
