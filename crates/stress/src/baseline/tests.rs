//! Simulated runs of equal and of slower builds, and what must not be compared.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::rng::Rng;

const WINDOWS: u32 = 20;

/// Random numbers as noise needs them.
struct Noise(Rng);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(Rng::new(seed.wrapping_mul(7_919)))
    }
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// One repeat: 20 windows whose neighbours resemble each other, in a process that is faster or slower as a whole, with
/// a hiccup now and then. Latencies are about 2 ms × `slow`.
fn repeat(noise: &mut Noise, name: &str, slow: f64, spread: f64) -> ScenarioReport {
    let process = (spread * noise.normal()).exp();
    // Windows vary by three times as much as processes, and each takes four fifths of that from the one before it.
    let wave = (3.0 * spread).min(0.1);
    let (mut drift, mut mean, mut tail, mut worst) = (wave * noise.normal(), 0.0, 0.0, 0.0);
    for _ in 0..WINDOWS {
        drift = 0.8 * drift + 0.6 * wave * noise.normal();
        let hiccup = if noise.uniform() < 0.05 { 1.5_f64 } else { 1.0 };
        let window = 2e6 * slow * process * drift.exp() / f64::from(WINDOWS);
        mean += window * hiccup.powf(0.1);
        tail += 2.0 * window * hiccup;
        worst += 3.0 * window * hiccup * hiccup * (0.1 * noise.normal()).exp();
    }
    let median = 0.9 * mean * (0.005 * noise.normal()).exp();
    let growth = 5e6 * (0.3 * noise.normal()).exp();
    scenario(name, mean, [median, tail, worst], growth)
}

/// Eight users for 20 s on a quiet machine; `growth` in bytes, the rest in ns.
fn scenario(name: &str, mean: f64, [p50, p95, p99]: [f64; 3], growth: f64) -> ScenarioReport {
    static TEMPLATE: LazyLock<ScenarioReport> = LazyLock::new(template);
    let mut report = TEMPLATE.clone();
    name.clone_into(&mut report.name);
    let latency = &mut report.service_time;
    (latency.mean_ns, latency.p50_ns, latency.p95_ns, latency.p99_ns) =
        (mean, p50 as u64, p95 as u64, p99 as u64);
    report.operations.rate_per_second = 8e9 / mean;
    report.memory.peak_bytes = Some(10_000_000 + growth as u64);
    report
}

/// From JSON, so that a new field with a default needs no change here.
fn template() -> ScenarioReport {
    let report = json!({
        "name": "", "description": "", "verdict": "PASS", "reasons": [], "warnings": [], "seed": 1,
        "repetition": 1, "reductions": [], "response_time": null, "lag": null, "objectives": [], "invariants": [],
        "values": [], "notes": [], "windows": [], "samples": [],
        "service_time": {
            "count": 100_000, "min_ns": 1, "mean_ns": 1.0, "stddev_ns": 1.0, "p50_ns": 1, "p90_ns": 1,
            "p95_ns": 1, "p99_ns": 1, "p99_9_ns": 1, "p99_99_ns": 1, "max_ns": 1, "buckets": [],
        },
        "load": {
            "description": "8 users", "open_loop": false, "users": 8, "operations_each": null, "duration_ms": 20e3,
            "think_time_ms": null, "rate_per_second": null, "in_flight_max": 8, "timeout_ms": 30e3,
            "operations_planned": null,
        },
        "operations": {
            "planned": null, "issued": 100_000, "succeeded": 100_000, "failed": 0, "panicked": 0, "timed_out": 0,
            "cancelled": 0, "in_flight_peak": 8, "elapsed_s": 20.0, "rate_per_second": 1.0, "errors": [],
        },
        "calibration": { "operations_per_second": 1e6, "p99_ns": 500, "lag_p99_ns": null, "elapsed_s": 0.1 },
        "processors": { "own": 0.5, "others": 0.01, "stolen": 0.0, "idle": 0.49, "waiting_threads": 0.0, "own_s": 20.0 },
        "memory": { "before_bytes": 10_000_000, "peak_bytes": null, "after_bytes": 10_000_000 },
        "stages": { "set_up_s": 0.0, "load_s": 20.0, "check_s": 0.0, "tear_down_s": 0.0 },
    });
    serde_json::from_value(report).unwrap()
}

fn report(scenarios: Vec<ScenarioReport>) -> Report {
    let report = json!({
        "repeat": "stress", "schema": crate::report::SCHEMA, "run": "run", "verdict": "PASS", "complete": true,
        "interrupted": false, "seed": 1, "repetitions": 5, "tier": "standard", "scenarios": [], "not_run": [],
        "machine": {
            "processors": 2, "brand": "a processor", "memory_bytes": 8_000_000_000_u64, "system": "Linux",
            "kernel": "6", "optimized": true,
        },
    });
    let mut report: Report = serde_json::from_value(report).unwrap();
    report.scenarios = scenarios;
    report
}

/// Three scenarios of five repeats: one is steady, one noisy, one wild.
fn run(seed: u64, slow: f64) -> Report {
    let mut noise = Noise::new(seed);
    let mut scenarios = Vec::new();
    for _ in 0..REPEATS {
        for (name, spread) in [("suite.steady", 0.005), ("suite.noisy", 0.02), ("suite.wild", 0.15)] {
            scenarios.push(repeat(&mut noise, name, slow, spread));
        }
    }
    report(scenarios)
}

fn verdict(baseline: &Report, now: &Report) -> Verdict {
    compare(std::slice::from_ref(baseline), std::slice::from_ref(now), MARGIN).unwrap().verdict()
}

/// How many of a thousand comparisons with a build that takes `slow` times as long are a FAIL.
fn flagged(slow: f64) -> usize {
    let is_flagged = |seed: &u64| verdict(&run(2 * seed, 1.0), &run(2 * seed + 1, slow)) == Verdict::Fail;
    let found = (0..1_000).filter(is_flagged).count();
    println!("{slow} times as slow: {found} of 1000 flagged");
    found
}

#[test]
fn equal_builds_are_not_flagged() {
    assert!((0..20).all(|seed| verdict(&run(2 * seed, 1.0), &run(2 * seed + 1, 1.0)) == Verdict::Pass));
    assert!(flagged(1.0) <= 5);
    assert!(flagged(1.02) <= 10, "within the margin");
}

#[test]
fn ten_percent_slower_is_flagged() {
    assert!(flagged(1.1) >= 950);
}

/// A machine that gets 15 % slower halfway makes the second build look slow, unless they ran in turns.
#[test]
fn a_machine_that_changes_is_why_one_interleaves() {
    let changing = |seed: u64, order: [usize; 10]| {
        let mut sides = [Vec::new(), Vec::new()];
        let mut noise = Noise::new(seed);
        for (turn, side) in order.into_iter().enumerate() {
            let slow = if turn < 5 { 1.0 } else { 1.15 };
            sides[side].push(report(vec![repeat(&mut noise, "suite.steady", slow, 0.005)]));
        }
        compare(&sides[0], &sides[1], MARGIN).unwrap().verdict()
    };
    let count = |order: [usize; 10]| (0..200).filter(|&seed| changing(seed, order) == Verdict::Fail).count();
    assert!(count([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]) > 190);
    assert!(count([0, 1, 1, 0, 0, 1, 1, 0, 0, 1]) <= 2);
}

/// One scenario of five steady repeats, changed by `change`.
fn steady(mean: f64, change: impl Fn(&mut Report)) -> Report {
    let of_repeat = |place: u32| {
        let mean = mean * (1.0 + 0.001 * f64::from(place));
        scenario("suite.steady", mean, [mean, 2.0 * mean, 3.0 * mean], 5e6)
    };
    let mut report = report((0..REPEATS).map(of_repeat).collect());
    change(&mut report);
    report
}

fn each(change: impl Fn(&mut ScenarioReport)) -> impl Fn(&mut Report) {
    move |report| report.scenarios.iter_mut().for_each(&change)
}

#[test]
fn what_regressed_is_named() {
    let (old, mut new) = (steady(2e6, |_| {}), steady(2.4e6, |_| {}));
    let comparison = compare(std::slice::from_ref(&old), std::slice::from_ref(&new), MARGIN).unwrap();
    comparison.put_into(&mut new);
    let last = new.scenarios.last().unwrap();
    assert_eq!((new.verdict, last.verdict), (Verdict::Fail, Verdict::Fail));
    assert_eq!(last.reasons[0], "rate is 0.833 times the baseline's (0.831 to 0.835)");
    let figures: Vec<(&str, bool)> =
        last.comparison.iter().map(|it| (it.figure.as_str(), it.regressed)).collect();
    let slower = ["rate", "mean", "p50", "p95", "p99"].map(|name| (name, true));
    assert_eq!(figures[..5], slower);
    assert_eq!(figures[5..], [("cpu_per_operation", false), ("rss_growth", false)]);
    let p99 = &last.comparison[4];
    assert!(
        p99.ratio_low > 1.19 && p99.ratio_high < 1.21 && (p99.now / p99.baseline - p99.ratio).abs() < 1e-9
    );
    let table = comparison.render();
    assert!(table.lines().all(|line| line.chars().count() <= 110), "{table}");
    assert!(table.contains("p99") && table.contains("✗ regressed") && table.contains("1.200"), "{table}");
    assert_eq!(verdict(&new, &old), Verdict::Pass, "faster");
}

#[test]
fn memory_that_grows_more_regresses() {
    let grows = each(|it| it.memory.peak_bytes = it.memory.peak_bytes.map(|peak| peak + 20_000_000));
    assert_eq!(verdict(&steady(2e6, |_| {}), &steady(2e6, grows)), Verdict::Fail);
    // 0.1 MB and 0.9 MB are both nothing.
    let small = |peak| each(move |it: &mut ScenarioReport| it.memory.peak_bytes = Some(peak));
    assert_eq!(verdict(&steady(2e6, small(10_100_000)), &steady(2e6, small(10_900_000))), Verdict::Pass);
}

#[test]
fn a_machine_that_is_busy_or_slower_makes_it_invalid() {
    let old = steady(2e6, |_| {});
    let busy = |it: &mut ScenarioReport| {
        let processors = it.processors.as_mut().unwrap();
        (processors.others, processors.idle, processors.waiting_threads) = (0.5, 0.0, Some(1.0));
    };
    let mut new = steady(2.4e6, each(busy));
    let comparison = compare(std::slice::from_ref(&old), std::slice::from_ref(&new), MARGIN).unwrap();
    comparison.put_into(&mut new);
    let last = new.scenarios.last().unwrap();
    assert_eq!((comparison.verdict(), last.verdict), (Verdict::Invalid, Verdict::Invalid));
    assert!(last.reasons[0].ends_with("; the machine may be why"), "{:?}", last.reasons);
    assert_eq!(last.reasons.last().unwrap(), "other processes took 50% of the processors and 0% was idle");
    assert_eq!(verdict(&old, &steady(2e6, each(busy))), Verdict::Pass, "it excuses nothing that isn't there");
    let slower = |it: &mut ScenarioReport| it.calibration.as_mut().unwrap().operations_per_second *= 0.8;
    assert_eq!(verdict(&old, &steady(2.4e6, each(slower))), Verdict::Invalid);
    let grows = |it: &mut ScenarioReport| {
        busy(it);
        it.memory.peak_bytes = Some(90_000_000);
    };
    assert_eq!(verdict(&old, &steady(2e6, each(grows))), Verdict::Fail, "memory takes no time");
}

#[test]
fn too_few_repeats_prove_nothing() {
    let (old, mut new) = (steady(2e6, |_| {}), steady(9e6, |report| report.scenarios.truncate(2)));
    let comparison = compare(std::slice::from_ref(&old), std::slice::from_ref(&new), MARGIN).unwrap();
    assert_eq!(comparison.verdict(), Verdict::Invalid);
    assert!(comparison.render().contains("5 and 2 repeats are too few"), "{}", comparison.render());
    comparison.put_into(&mut new);
    let last = new.scenarios.last().unwrap();
    assert_eq!((last.verdict, last.reasons.len(), last.comparison.len()), (Verdict::Invalid, 1, 0));
    // Two reports of two and three repeats are five.
    let rest = steady(2e6, |report| report.scenarios.truncate(3));
    let two = steady(2e6, |report| report.scenarios.truncate(2));
    assert_eq!(compare(&[old], &[two, rest], MARGIN).unwrap().verdict(), Verdict::Pass);
}

#[test]
fn what_fails_now_or_is_missing_is_no_pass() {
    let old = steady(2e6, |_| {});
    let one_failed = steady(2e6, |report| {
        let broken = &mut report.scenarios[1];
        (broken.verdict, broken.reasons) =
            (Verdict::Fail, vec!["invariant broken: no money lost".to_owned()]);
    });
    let comparison = compare(std::slice::from_ref(&old), &[one_failed], MARGIN).unwrap();
    assert_eq!(comparison.verdict(), Verdict::Fail, "as fast as before, and wrong");
    assert!(comparison.render().contains("1 of 5 repeats FAIL: invariant broken: no money lost"));

    // One repeat without samples takes a figure away: that is told.
    let lost = steady(2e6, |report| report.scenarios[3].service_time.count = 0);
    let comparison = compare(std::slice::from_ref(&old), std::slice::from_ref(&lost), MARGIN).unwrap();
    assert_eq!(comparison.verdict(), Verdict::Invalid);
    assert!(
        comparison.render().contains("p50: the baseline has it in every repeat"),
        "{}",
        comparison.render()
    );
    let mut put = lost.clone();
    comparison.put_into(&mut put);
    assert_eq!(put.verdict, Verdict::Invalid);

    let mut with_another = old.clone();
    let other = ScenarioReport { name: "suite.other".to_owned(), ..old.scenarios[0].clone() };
    with_another.scenarios.extend([other.clone(), other.clone(), other]);
    let comparison = compare(&[with_another], std::slice::from_ref(&old), MARGIN).unwrap();
    assert_eq!(
        comparison.verdict(),
        Verdict::Invalid,
        "a scenario that was deleted hides whatever it had found"
    );
    assert!(comparison.render().contains("suite.other: it is only in the baseline"));
}

#[test]
fn failures_that_are_fast_are_told() {
    let fails = each(|it| it.operations.succeeded = 90_000);
    let comparison = compare(&[steady(2e6, |_| {})], &[steady(1e6, fails)], MARGIN).unwrap();
    assert!(comparison.render().contains("10% of the operations didn't succeed, 0% in the baseline"));
}

#[test]
fn only_the_build_may_differ() {
    let old = steady(2e6, |_| {});
    let refused = |new: Report| compare(std::slice::from_ref(&old), &[new], MARGIN).unwrap_err().to_string();
    assert_eq!(
        refused(steady(2e6, |new| new.tier = Tier::Smoke)),
        "not comparable: tier was standard in the baseline and is smoke now"
    );
    assert!(refused(steady(2e6, |new| new.machine.processors = 4)).contains("processors was 2"));
    assert!(
        refused(steady(2e6, |new| new.machine.brand = "b".to_owned())).contains("processor was a processor")
    );
    assert!(
        refused(steady(2e6, |new| new.machine.memory_bytes = 4_000_000_000)).contains("memory was 8.00 GB")
    );
    assert!(refused(steady(2e6, |new| new.machine.optimized = false)).contains("build was optimized"));
    assert!(refused(steady(2e6, each(|it| it.load.users = Some(9)))).contains("suite.steady: load"));
    let reduced = each(|it| it.reductions.push("users / 2".to_owned()));
    assert!(
        refused(steady(2e6, reduced))
            .contains("made smaller was nothing in the baseline and is users / 2 now")
    );
    assert_eq!(refused(steady(2e6, each(|it| it.name = "suite.other".to_owned()))), "no scenario is in both");
    assert_eq!(compare(&[], &[], MARGIN).unwrap_err().to_string(), "no scenario is in both");

    let other_kernel = steady(2e6, |new| new.machine.kernel = "7".to_owned());
    let comparison = compare(std::slice::from_ref(&old), &[other_kernel], MARGIN).unwrap();
    assert!(comparison.render().contains("! the system is another one: Linux 6, now Linux 7"));
}

#[test]
fn a_baseline_is_kept_and_read_back() {
    let out = tempfile::tempdir().unwrap();
    let file = path(out.path(), "v1.2").unwrap();
    assert_eq!(file, out.path().join("baselines/v1.2.json"));
    let kept = steady(2e6, |_| {});
    save(&kept, &file).unwrap();
    save(&kept, &file).unwrap();
    let read = load(&file).unwrap();
    assert_eq!(verdict(&kept, &read), Verdict::Pass);
    assert_eq!((read.tier, read.scenarios.len()), (kept.tier, kept.scenarios.len()));
    let failed = steady(2e6, |report| report.verdict = Verdict::Fail);
    assert_eq!(save(&failed, &file).unwrap_err().to_string(), "a run that is FAIL is no baseline");
    for bad in ["", "../x", "a/b", ".hidden", "-x", "a b"] {
        assert!(matches!(path(out.path(), bad), Err(BaselineError::BadName { .. })), "{bad}");
    }
}

#[test]
fn what_is_no_report_is_named() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("report.json");
    let error = |path: &Path| load(path).unwrap_err();
    assert!(matches!(error(&file), BaselineError::Unreadable { .. }));
    let whole = serde_json::to_string(&steady(2e6, |_| {})).unwrap();
    for broken in ["", "{}", "[1]", "{\"schema\": \"1\"}", &whole[..whole.len() / 2]] {
        fs::write(&file, broken).unwrap();
        assert!(matches!(error(out.path()), BaselineError::Broken { .. }), "{broken}");
    }
    fs::write(&file, r#"{ "schema": 99, "all": "else is new" }"#).unwrap();
    assert!(matches!(error(&file), BaselineError::OtherSchema { found: 99, .. }));
    let cut = steady(2e6, |report| report.complete = false);
    fs::write(&file, serde_json::to_string(&cut).unwrap()).unwrap();
    assert!(matches!(error(&file), BaselineError::Incomplete { .. }));
}

/// One repeat that others disturbed is left out; with its outlier the interval would hide the regression.
#[test]
fn disturbed_repeats_are_left_out_if_enough_remain() {
    let disturb = |report: &mut Report| {
        let last = report.scenarios.last_mut().unwrap();
        let processors = last.processors.as_mut().unwrap();
        (processors.others, processors.idle, processors.waiting_threads) = (0.5, 0.0, Some(1.0));
        last.service_time.mean_ns *= 4.0;
        last.operations.rate_per_second /= 4.0;
    };
    let comparison = compare(&[steady(2e6, disturb)], &[steady(2.2e6, |_| {})], MARGIN).unwrap();
    assert_eq!(comparison.verdict(), Verdict::Fail);
    assert!(comparison.render().contains("left out, as others had the processors: 1"));
    let mean = comparison.rows().find(|row| row.figure.name == "mean").unwrap();
    assert_eq!(mean.standing, Standing::Regressed);
}
