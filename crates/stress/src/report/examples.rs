//! Reports made by hand, for the tests of what is made of reports. Also read by `tests/html_report.rs`, which is why
//! they go through JSON: outside of the crate the schema's structs can't be written down.

use serde_json::{Value, json};

use crate::report::Report;

/// A checkout that meets a fault: open loop, three phases, marks, trends, a comparison; PASS.
pub(crate) fn full(windows: usize) -> Report {
    report(&[checkout("shop.checkout", windows, Ending::Pass)])
}

/// One scenario of each verdict, and one that was not run.
pub(crate) fn of_every_verdict() -> Report {
    let mut all = report(&[
        checkout("shop.checkout", 60, Ending::Pass),
        checkout("shop.restock", 40, Ending::Fail),
        checkout("shop.search", 40, Ending::Invalid),
    ]);
    all.interrupted = true;
    all.not_run = vec!["shop.returns".to_owned()];
    all
}

/// As many scenarios of as many windows as asked for, with all that a report can hold.
pub(crate) fn large(scenarios: usize, windows: usize) -> Report {
    let names = (0..scenarios).map(|number| format!("suite_{}.scenario_{number}", number / 10));
    report(&names.map(|name| checkout(&name, windows, Ending::Pass)).collect::<Vec<_>>())
}

/// Nothing ran.
pub(crate) fn empty() -> Report {
    report(&[])
}

/// What is left of a scenario whose set-up failed.
pub(crate) fn never_loaded() -> Report {
    let mut bare = checkout("shop.checkout", 0, Ending::Fail);
    for absent in ["response_time", "lag", "calibration", "processors"] {
        bare[absent] = Value::Null;
    }
    for nothing in ["windows", "samples", "phases", "marks", "trends", "comparison", "invariants"] {
        bare[nothing] = json!([]);
    }
    bare["service_time"] = latency(0, 1.0);
    bare["memory"] = json!({ "before_bytes": null, "peak_bytes": null, "after_bytes": null });
    bare["operations"] = operations(0, 0, 0.0);
    bare["reasons"] = json!(["set-up failed: connection refused"]);
    report(&[bare])
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Pass,
    Fail,
    Invalid,
}

fn report(scenarios: &[Value]) -> Report {
    let worst = |verdict: &str| scenarios.iter().any(|it| it["verdict"] == verdict);
    let verdict = if worst("FAIL") {
        "FAIL"
    } else if worst("INVALID") {
        "INVALID"
    } else {
        "PASS"
    };
    let whole = json!({
        "engine": "0.1.0",
        "repeat": "cargo run --release --bin shop -- standard --suite shop --seed 184467",
        "schema": crate::report::SCHEMA,
        "run": "20260131T120000Z-184467",
        "verdict": verdict,
        "complete": true,
        "interrupted": false,
        "seed": 184_467,
        "repetitions": 1,
        "tier": "standard",
        "machine": {
            "processors": 2, "brand": "Example CPU @ 2.60GHz", "memory_bytes": 16_000_000_000_u64,
            "system": "Linux", "kernel": "6.1", "optimized": true
        },
        "scenarios": scenarios,
        "not_run": []
    });
    serde_json::from_value(whole).expect("it is written after the schema")
}

fn checkout(name: &str, windows: usize, ending: Ending) -> Value {
    let (verdict, reasons) = match ending {
        Ending::Pass => ("PASS", json!([])),
        Ending::Fail => (
            "FAIL",
            json!([
                "invariant broken: every order is kept: 11 997, expected 12 000",
                "p95 < 25ms: measured 31.2 ms"
            ]),
        ),
        Ending::Invalid => {
            ("INVALID", json!(["p95 < 25ms: measured 31.2 ms, but others took 41 % of the machine"]))
        }
    };
    let slow = if ending == Ending::Pass { 1.0 } else { 2.5 };
    let length = windows as f64;
    let issued = 200 * windows as u64 + 400;
    let p95 = 18.4e6 * slow;
    let held = p95 < 25e6;
    json!({
        "name": name,
        "description": "Orders at a fixed rate, with a surge, while a replica is lost",
        "verdict": verdict,
        "reasons": reasons,
        "warnings": if ending == Ending::Pass { json!([]) } else { json!(["other processes used 41 % of the processors"]) },
        "seed": 184_467,
        "repetition": 1,
        "load": {
            "description": format!("200/s → 400/s → 200/s for {windows} s, at most 64 in flight"),
            "open_loop": true, "users": null, "operations_each": null, "duration_ms": length * 1e3,
            "think_time_ms": null, "rate_per_second": 200.0, "in_flight_max": 64, "timeout_ms": 1_000.0,
            "operations_planned": issued
        },
        "reductions": [],
        "operations": operations(issued, if ending == Ending::Pass { 14 } else { 240 }, length),
        "service_time": latency(issued, 0.6 * slow),
        "response_time": latency(issued, slow),
        "lag": {
            "clock_p99_ns": 61_000, "clock_max_ns": 480_000, "start_p99_ns": 92_000, "start_max_ns": 1_210_000,
            "waited_for_slot": 37
        },
        "objectives": [
            { "objective": "p95 < 25ms", "measured": format!("{:.1} ms", p95 / 1e6), "measured_number": p95, "bound": 25e6,
              "margin": 1.0 - p95 / 25e6, "held": held, "remark": null },
            { "objective": "p99.9 < 200ms", "measured": "142 ms", "measured_number": 142e6, "bound": 200e6, "margin": 0.29,
              "held": true, "remark": null },
            { "objective": "rate > 150/s", "measured": "199/s", "measured_number": 199.2, "bound": 150.0, "margin": 0.328,
              "held": true, "remark": null },
            { "objective": "success >= 99%", "measured": "99.9%", "measured_number": 0.999, "bound": 0.99, "margin": 0.009,
              "held": true, "remark": null },
            { "objective": "rss_growth < 20MB", "measured": "4.1 MB", "measured_number": 4.1e6, "bound": 20e6, "margin": 0.795,
              "held": true, "remark": null },
            { "objective": "timeouts <= 0%", "measured": "0%", "measured_number": 0.0, "bound": 0.0, "margin": null,
              "held": true, "remark": null }
        ],
        "invariants": [
            { "name": "no money made or lost", "measured": "2000000", "expected": "2000000", "held": true },
            { "name": "every order is kept", "measured": if ending == Ending::Fail { "11997" } else { "12000" },
              "expected": "12000", "held": ending != Ending::Fail }
        ],
        "values": [["conflicts", { "count": 4 }], ["recall", { "number": 0.973 }]],
        "notes": [["store", "3 replicas, in memory"]],
        "calibration": {
            "operations_per_second": 412_000.0, "p99_ns": 31_000, "lag_p99_ns": 58_000, "elapsed_s": 0.15
        },
        "processors": {
            "own": 0.31, "others": if ending == Ending::Invalid { 0.41 } else { 0.04 }, "stolen": 0.01,
            "idle": if ending == Ending::Invalid { 0.27 } else { 0.64 }, "waiting_threads": 0.002
        },
        "memory": { "before_bytes": 48_100_000, "peak_bytes": 52_200_000, "after_bytes": 50_400_000 },
        "stages": { "set_up_s": 0.42, "load_s": length, "check_s": 0.08, "tear_down_s": 0.01 },
        "phases": phases(length),
        "trends": [
            { "figure": "live_bytes", "samples": 180, "slope": 0.02, "slope_low": -0.11, "slope_high": 0.16,
              "p_value": 0.62, "budget": 1.0, "finding": "flat", "held": true },
            { "figure": "rss_bytes", "samples": 180, "slope": 3.4, "slope_low": 2.9, "slope_high": 4.0,
              "p_value": 0.0001, "budget": 8.0, "finding": "rising while live bytes are flat: fragmentation",
              "held": true }
        ],
        "marks": [
            { "at_s": length * 0.55, "label": "replica 2 killed" },
            { "at_s": length * 0.7, "label": "replica 2 is back" }
        ],
        "comparison": [
            { "figure": "p50", "unit": "ns", "baseline": 4.2e6, "now": 4.1e6, "ratio": 0.976, "ratio_low": 0.94,
              "ratio_high": 1.01, "margin": 1.1, "more_is_better": false, "regressed": false },
            { "figure": "p99", "unit": "ns", "baseline": 41e6, "now": 52e6, "ratio": 1.268, "ratio_low": 1.17,
              "ratio_high": 1.36, "margin": 1.1, "more_is_better": false, "regressed": true },
            { "figure": "rate", "unit": "/s", "baseline": 199.4, "now": 199.2, "ratio": 0.999, "ratio_low": 0.997,
              "ratio_high": 1.001, "margin": 0.95, "more_is_better": true, "regressed": false }
        ],
        "windows": (0..windows).map(|place| window(place, windows, slow)).collect::<Vec<_>>(),
        "samples": (0..=windows * 4).map(|place| sample(place, windows, ending)).collect::<Vec<_>>(),
    })
}

fn phases(length: f64) -> Value {
    let phase = |name: &str, load: &str, from: f64, to: f64, slow: f64| {
        let seconds = (to - from) * length;
        let mut latency = latency((200.0 * seconds) as u64, slow);
        latency["buckets"] = json!([]);
        json!({
            "name": name, "load": load, "start_s": from * length, "length_s": seconds,
            "operations": operations((200.0 * seconds) as u64, 2, seconds), "latency": latency
        })
    };
    json!([
        phase("base", "200/s", 0.0, 0.3, 0.8),
        phase("surge", "400/s", 0.3, 0.5, 1.3),
        phase("again", "200/s", 0.5, 1.0, 1.0)
    ])
}

fn operations(issued: u64, failed: u64, seconds: f64) -> Value {
    let failed = failed.min(issued);
    let errors = if failed == 0 {
        json!([])
    } else {
        json!([
            { "kind": "unavailable", "count": failed, "example": "replica 2: connection refused" }
        ])
    };
    json!({
        "planned": issued, "issued": issued, "succeeded": issued - failed, "failed": failed, "panicked": 0,
        "timed_out": 0, "cancelled": 0, "in_flight_peak": 41.min(issued), "elapsed_s": seconds,
        "rate_per_second": if seconds > 0.0 { (issued - failed) as f64 / seconds } else { 0.0 }, "errors": errors
    })
}

/// A log-normal body with a tail, median 4 ms × `slow`.
fn latency(count: u64, slow: f64) -> Value {
    let zeros = json!({
        "count": 0, "min_ns": 0, "mean_ns": 0.0, "stddev_ns": 0.0, "p50_ns": 0, "p90_ns": 0, "p95_ns": 0,
        "p99_ns": 0, "p99_9_ns": 0, "p99_99_ns": 0, "max_ns": 0, "buckets": []
    });
    if count == 0 {
        return zeros;
    }
    let at = |share: f64| {
        // The logistic stands in for the normal: it has a closed inverse.
        let body = 4e6 * (0.42 * (share / (1.0 - share)).ln()).exp();
        let tail = if share > 0.985 { 20e6 * (share - 0.985) / 0.015 } else { 0.0 };
        (slow * (body + tail)) as u64
    };
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    let steps = 240_u64;
    let mut counted = 0;
    for step in 1..=steps {
        let share = 1.0 - (-7.0 * step as f64 / steps as f64 * 1.4).exp();
        let until = if step == steps { count } else { (share * count as f64) as u64 };
        let edge = at(share.clamp(1e-4, 1.0 - 1e-5));
        if until > counted && buckets.last().is_none_or(|(last, _)| *last < edge) {
            buckets.push((edge, until - counted));
            counted = until;
        }
    }
    let lost = count - counted;
    if let Some(last) = buckets.last_mut() {
        last.1 += lost;
    }
    let max = buckets.last().map_or(0, |last| last.0);
    json!({
        "count": count, "min_ns": at(1e-4), "mean_ns": 5.1e6 * slow, "stddev_ns": 6.3e6 * slow,
        "p50_ns": at(0.5), "p90_ns": at(0.9), "p95_ns": at(0.95), "p99_ns": at(0.99),
        "p99_9_ns": at(0.999), "p99_99_ns": at(0.9999), "max_ns": max, "buckets": buckets
    })
}

/// Between 0 and 1, the same each time.
fn noise(place: usize, salt: u64) -> f64 {
    let mut bits =
        (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    bits = (bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (bits >> 40) as f64 / f64::from(1 << 24)
}

fn window(place: usize, windows: usize, slow: f64) -> Value {
    let share = place as f64 / windows as f64;
    let surge = (0.3..0.5).contains(&share);
    let fault = (0.55..0.7).contains(&share);
    let intended: u32 = if surge { 400 } else { 200 };
    let failed = if fault { (noise(place, 1) * 6.0) as u64 } else { 0 };
    let heavy =
        slow * if surge { 1.4 } else { 1.0 } * if fault { 2.2 } else { 1.0 } * (0.85 + 0.3 * noise(place, 2));
    let ns = |ms: f64, salt: u64| (ms * 1e6 * heavy * (0.8 + 0.4 * noise(place, salt))) as u64;
    let p50 = ns(4.0, 3);
    let p95 = ns(14.0, 4).max(p50);
    let p99 = ns(30.0, 5).max(p95);
    let p99_9 = ns(70.0, 6).max(p99);
    json!({
        "start_s": place as f64, "length_s": 1.0, "intended": intended,
        "succeeded": (f64::from(intended) * (0.96 + 0.07 * noise(place, 7))) as u64 - failed, "failed": failed,
        "timed_out": 0, "p50_ns": p50, "p95_ns": p95, "p99_ns": p99, "p99_9_ns": p99_9,
        "mean_ns": p50 as f64 * 1.2, "max_ns": ns(110.0, 8).max(p99_9),
        "lag_p99_ns": (50_000.0 + 60_000.0 * noise(place, 9)) as u64,
        "in_flight_peak": (6.0 * heavy + 5.0 * noise(place, 10)) as u64
    })
}

fn sample(place: usize, windows: usize, ending: Ending) -> Value {
    let share = place as f64 / (windows * 4).max(1) as f64;
    let surge = (0.3..0.5).contains(&share);
    let own = (if surge { 0.52 } else { 0.27 }) + 0.06 * noise(place, 11);
    let others = (if ending == Ending::Invalid { 0.38 } else { 0.03 }) + 0.04 * noise(place, 12);
    let stolen = 0.01 * noise(place, 13);
    json!({
        "at_s": place as f64 * 0.25, "operations": place * 50,
        "rss_bytes": (48.1e6 + 4.0e6 * (1.0 - (-4.0 * share).exp()) + 2e5 * noise(place, 14)) as u64,
        "live_bytes": (31.0e6 + 9e5 * noise(place, 15) + if surge { 1.5e6 } else { 0.0 }) as u64,
        "threads": 9, "open_files": 41 + usize::from(surge) * 6,
        "processors": {
            "own": own, "others": others, "stolen": stolen, "idle": (1.0 - own - others - stolen).max(0.0),
            "waiting_threads": 0.001
        }
    })
}
