//! What the program lists against the catalogue of scenarios: each row is there under its name, with its load, and with
//! objectives at least as strict, in both tiers.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// A row of the catalogue.
struct Row {
    name: &'static str,
    load: Load,
    /// None where the catalogue sets none.
    timeout_ms_max: Option<f64>,
    /// The catalogue's own floors; ours may only be stricter.
    floors: &'static [Bound],
}

/// What a row says of the load.
#[derive(Clone, Copy)]
enum Load {
    /// So many users, so many operations each, so much rest between two.
    Counted { users: u64, each: u64, think_time_ms: Option<f64> },
    /// Users, each for how many seconds, one phase after the other.
    Users { phases: &'static [(u64, u64)], think_time_ms: Option<f64> },
    /// Operations a second, workers, seconds.
    Rate { per_second: f64, workers: u64, seconds: u64 },
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

const CATALOGUE: &[Row] = &[
    Row {
        name: "memory.allocate_high_concurrency",
        load: Load::Counted { users: 500, each: 1, think_time_ms: None },
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
        load: Load::Counted { users: 200, each: 1, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%"), bound("elapsed", "<", 30.0, "s")],
    },
    Row {
        name: "index.extreme_concurrency",
        load: Load::Counted { users: 1_000, each: 10, think_time_ms: Some(1.0) },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 99.9, "%"), bound("rate", ">", 500.0, "/s")],
    },
    Row {
        name: "index.memory_pressure",
        load: Load::Users { phases: &[(50, 30)], think_time_ms: Some(10.0) },
        timeout_ms_max: None,
        floors: &[bound("rss_growth", "<", 1.0, "GB")],
    },
    Row {
        name: "index.sustained_load",
        load: Load::Rate { per_second: 100.0, workers: 10, seconds: 300 },
        timeout_ms_max: None,
        floors: &[
            bound("rate", ">=", 99.0, "/s"),
            bound("rate over 10s", ">=", 80.0, "/s"),
            bound("errors", "<=", 5.0, "%"),
            bound("mean", "<=", 500.0, "ms"),
        ],
    },
    Row {
        name: "index.resource_exhaustion_recovery",
        load: Load::Counted { users: 2_000, each: 1, think_time_ms: None },
        timeout_ms_max: Some(30_000.0),
        floors: &[
            bound("success", ">=", 70.0, "%"),
            bound("timeouts", "<=", 0.0, "%"),
            bound("elapsed", "<", 120.0, "s"),
        ],
    },
    Row {
        name: "index.rapid_scale",
        load: Load::Users {
            phases: &[(10, 30), (500, 60), (1_000, 30), (100, 30), (10, 30)],
            think_time_ms: Some(100.0),
        },
        timeout_ms_max: None,
        floors: &[
            bound("errors in each phase", "<=", 10.0, "%"),
            bound("p50 in phase calm_again", "<=", 1.5, "x in phase calm"),
        ],
    },
    Row {
        name: "breaker.extreme_async",
        load: Load::Users { phases: &[(1_500, 4), (1_500, 4), (1_500, 4)], think_time_ms: Some(5.0) },
        timeout_ms_max: None,
        floors: &[
            bound("value healthy_success", ">=", 100.0, "%"),
            bound("rate", ">", 100.0, "/s"),
            bound("value over_own_time_p95", "<=", 10.0, "ms"),
            bound("rss_growth", "<", 20.0, "MB"),
        ],
    },
    Row {
        name: "breaker.extreme_sync",
        load: Load::Users { phases: &[(1_000, 4), (1_000, 4), (1_000, 4)], think_time_ms: None },
        timeout_ms_max: None,
        floors: &[
            bound("value healthy_success", ">=", 100.0, "%"),
            bound("rate", ">", 50.0, "/s"),
            bound("value call_rate", ">=", 1e6, "/s"),
            bound("value over_own_time_p95", "<=", 10.0, "ms"),
            bound("rss_growth", "<", 20.0, "MB"),
        ],
    },
    Row {
        name: "breaker.leak_long_running",
        load: Load::Users { phases: &[(8, 30)], think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("rss_growth", "<", 20.0, "MB"), bound("leak live_bytes", "<=", 1.0, "B/op")],
    },
    Row {
        name: "breaker.memory_per_call",
        load: Load::Counted { users: 16, each: 4_000, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("value bytes_per_call", "<", 100.0, "B")],
    },
    Row {
        name: "breaker.degradation",
        load: Load::Users { phases: &[(10, 4), (25, 4), (50, 4), (100, 4), (200, 4)], think_time_ms: None },
        timeout_ms_max: None,
        floors: &[
            bound("success in each phase", ">=", 100.0, "%"),
            bound("rate in phase callers_200", ">=", 1.0, "x in phase callers_10"),
            bound("p95 in phase callers_200", "<=", 3.0, "x in phase callers_10"),
        ],
    },
    Row {
        name: "breaker.data_race",
        load: Load::Counted { users: 32, each: 600, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%")],
    },
    Row {
        name: "breaker.transition_consistency",
        load: Load::Counted { users: 32, each: 600, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%"), bound("value openings", ">=", 1.0, "")],
    },
    Row {
        name: "breaker.resource_exhaustion",
        load: Load::Users {
            phases: &[(100, 3), (100, 3), (100, 3), (100, 3), (100, 3)],
            think_time_ms: Some(2.0),
        },
        timeout_ms_max: None,
        floors: &[bound("value healthy_success", ">=", 100.0, "%"), bound("value openings", ">=", 2.0, "")],
    },
    Row {
        name: "breaker.overhead_sync",
        load: Load::Counted { users: 1, each: 1_000, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("value overhead_p50", "<=", 100.0, "ns")],
    },
    Row {
        name: "breaker.overhead_async",
        load: Load::Counted { users: 1, each: 1_000, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("value overhead_p50", "<=", 100.0, "ns")],
    },
    Row {
        name: "breaker.budget_under_stress",
        load: Load::Counted { users: 32, each: 400, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%"), bound("value throttles_told", ">=", 1.0, "")],
    },
    Row {
        name: "documents.pool_limit",
        load: Load::Counted { users: 100, each: 20, think_time_ms: None },
        timeout_ms_max: None,
        floors: &[bound("success", ">=", 100.0, "%"), bound("timeouts", "<=", 0.0, "%")],
    },
];

impl Load {
    /// Whether this is the full load that is listed, which tells phases in words only.
    fn is_that_of(self, listed: &Value) -> bool {
        let listed_duration_ms = listed["duration_ms"].as_f64();
        let think_time = |expected: Option<f64>| listed["think_time_ms"].as_f64() == expected;
        let lasts = |seconds: u64| listed_duration_ms == Some(seconds as f64 * 1e3);
        match self {
            Self::Counted { users, each, think_time_ms } => {
                listed["users"] == users && listed["operations_each"] == each && think_time(think_time_ms)
            }
            Self::Users { phases, think_time_ms } => {
                let description = listed["description"].as_str().unwrap_or_default();
                let told = description.split(", then ").map(|phase| {
                    let mut numbers = phase.split(|c: char| !c.is_ascii_digit() && c != '.');
                    let mut next = || numbers.by_ref().find_map(|number| number.parse::<f64>().ok());
                    (next(), next())
                });
                let wanted =
                    phases.iter().map(|&(users, seconds)| (Some(users as f64), Some(seconds as f64)));
                told.eq(wanted)
                    && lasts(phases.iter().map(|(_, seconds)| seconds).sum())
                    && listed["users"].as_u64() == phases.iter().map(|(users, _)| *users).max()
                    && think_time(think_time_ms)
            }
            Self::Rate { per_second, workers, seconds } => {
                listed["open_loop"] == true
                    && listed["rate_per_second"] == per_second
                    && listed["in_flight_max"] == workers
                    && lasts(seconds)
            }
        }
    }
}

impl Bound {
    /// Whether an objective, as it is listed, allows nothing that this bound forbids.
    fn is_kept_by(&self, objective: &str) -> bool {
        let Some(rest) = objective.strip_prefix(self.metric).and_then(|rest| rest.strip_prefix(' ')) else {
            return false;
        };
        let Some((comparison, number)) = rest.split_once(' ') else { return false };
        let Some(Ok(number)) = number.strip_suffix(self.unit).map(str::parse::<f64>) else { return false };
        let upper = self.comparison.starts_with('<');
        let stricter = if upper { number < self.number } else { number > self.number };
        let same = number == self.number && (comparison == self.comparison || self.comparison.ends_with('='));
        let same_direction = comparison.starts_with('<') == upper && comparison != "==";
        same_direction && (stricter || same)
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
    for row in CATALOGUE {
        let scenario = listed.iter().find(|scenario| scenario["name"] == row.name).expect(row.name);
        let full = &scenario["tiers"]["standard"]["load"];
        assert!(row.load.is_that_of(full), "{}: {full:#}", row.name);
        for tier in ["smoke", "standard"] {
            let plan = &scenario["tiers"][tier];
            let load = &plan["load"];
            // Never fewer users, nor a lower rate: that would be another load, not a shorter one.
            for field in ["users", "think_time_ms", "rate_per_second", "in_flight_max"] {
                assert_eq!(load[field], full[field], "{} {tier}: {field}", row.name);
            }
            // Of very many operations of a user a tenth is a shorter run; of a few it would be another load.
            let each = |load: &Value| load["operations_each"].as_u64();
            let shorter = each(full).filter(|&each| each >= 100).map(|each| each / 10);
            let is_long_enough =
                each(load) == each(full) || each(load).zip(shorter).is_some_and(|(n, least)| n >= least);
            assert!(is_long_enough, "{} {tier}: operations_each", row.name);
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
    let scoped = bound("rate over 10s", ">=", 80.0, "/s");
    assert!(scoped.is_kept_by("rate over 10s >= 90/s"));
    assert!(!scoped.is_kept_by("rate over 10s >= 79/s") && !scoped.is_kept_by("rate >= 90/s"));
    let relative = bound("p50 in phase b", "<=", 1.5, "x in phase a");
    assert!(relative.is_kept_by("p50 in phase b <= 1.2x in phase a"));
    assert!(!relative.is_kept_by("p50 in phase b <= 1.6x in phase a"));
    assert!(!relative.is_kept_by("p50 in phase b <= 1.5x in phase c"));
    assert!(bound("success", ">=", 70.0, "%").is_kept_by("success > 70%"));
    assert!(!bound("success", ">=", 70.0, "%").is_kept_by("success >= 69%"));
}
