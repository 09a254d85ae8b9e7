//! Each metric, scope and excuse on figures that are known.

use super::*;

struct Figures {
    counts: Counts,
    issued: u64,
    latency: Latencies,
    lag: Latencies,
    values: Vec<(String, Value)>,
    samples: Vec<SampleReport>,
    stood_still: Duration,
    calm_is_empty: bool,
}

impl Figures {
    /// 100 operations of 1 to 100 ms in 2 s; 80 succeeded, 5 failed, 15 timed out.
    fn new() -> Self {
        let counts = Counts { succeeded: 80, failed: 5, timed_out: 15, panicked: 0 };
        let (mut latency, lag) = (Latencies::new(), Latencies::new());
        (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
        Self {
            counts,
            issued: 100,
            latency,
            lag,
            values: Vec::new(),
            samples: Vec::new(),
            stood_still: Duration::ZERO,
            calm_is_empty: false,
        }
    }

    fn judge(&self, objective: &str) -> Finding {
        let whole = Part {
            counts: self.counts,
            issued: self.issued,
            length: Duration::from_secs(2),
            done_within: None,
            latency: &self.latency,
        };
        let fewer_failed = Counts { succeeded: 84, failed: 1, ..self.counts };
        let nothing = Latencies::new();
        let calm = if self.calm_is_empty {
            Part { counts: Counts::default(), issued: 0, latency: &nothing, ..whole }
        } else {
            Part { counts: fewer_failed, ..whole }
        };
        let phases = [
            PhasePart { name: "calm".to_owned(), part: calm },
            PhasePart { name: "storm".to_owned(), part: whole },
        ];
        let spans = Spans::new(&[], None);
        let measured = Measured {
            whole,
            phases: &phases,
            spans: &spans,
            samples: &self.samples,
            rss_growth: Some(5e6),
            values: &self.values,
            errors: &[ErrorReport { kind: "refused".to_owned(), count: 4, example: String::new() }],
            pacer_lag: Some(&self.lag),
            stood_still: self.stood_still,
        };
        judge(&objective.parse().unwrap(), &measured)
    }

    fn standing(&self, objective: &str) -> Standing {
        match self.judge(objective).standing {
            Standing::Broken { on_time, lag_explains, .. } => {
                Standing::Broken { on_time, typical: false, lag_explains }
            }
            other => other,
        }
    }
}

const ON_TIME: Standing = Standing::Broken { on_time: true, typical: false, lag_explains: false };
const NOT_ON_TIME: Standing = Standing::Broken { on_time: false, typical: false, lag_explains: false };

#[test]
fn each_metric_is_compared_in_its_unit() {
    let figures = Figures::new();
    for held in [
        "p50 < 51ms",
        "p99 <= 100ms",
        "mean < 51ms",
        "min < 2ms",
        "max < 0.101s",
        "stddev < 30ms",
        "rate >= 40/s",
        "success >= 80%",
        "errors <= 5%",
        "errors of refused <= 4%",
        "errors of panic <= 0%",
        "timeouts < 16%",
        "elapsed <= 2s",
        "rss_growth < 5.1MB",
    ] {
        assert_eq!(figures.standing(held), Standing::Held, "{held}");
    }
    for broken in ["p50 < 40ms", "mean < 40ms", "min < 1us", "rate > 40/s", "elapsed < 2s", "timeouts < 1%"] {
        assert_eq!(figures.standing(broken), ON_TIME, "{broken}");
    }
    for broken in ["errors < 5%", "errors of refused < 4%", "rss_growth < 1MB", "min > 2ms", "rate < 10/s"] {
        assert_eq!(figures.standing(broken), NOT_ON_TIME, "{broken}");
    }
}

#[test]
fn the_margin_is_a_share_of_the_bound() {
    let figures = Figures::new();
    let margin = |objective: &str| (figures.judge(objective).margin.unwrap() * 100.0).round();
    assert_eq!(margin("rate > 20/s"), 100.0);
    assert_eq!(margin("rate > 80/s"), -50.0);
    assert_eq!(margin("rss_growth < 20MB"), 75.0);
    assert_eq!(figures.judge("errors <= 0%").margin, None);
}

#[test]
fn missing_success_is_on_time_only_if_timeouts_make_up_for_it() {
    let figures = Figures::new();
    assert_eq!(figures.standing("success >= 95%"), ON_TIME);
    assert_eq!(figures.standing("success >= 99%"), NOT_ON_TIME);
}

#[test]
fn a_percentile_needs_a_sample_beyond_it() {
    let figures = Figures::new();
    assert_eq!(figures.standing("p99 < 1s"), Standing::Held);
    let few = |needed| Standing::TooFewSamples { samples: 100, needed };
    assert_eq!(figures.standing("p99.9 < 1s"), few(1_000));
    assert_eq!(figures.standing("p99.9 < 1ms"), few(1_000));
    assert_eq!(samples_needed(&Metric::Percentile(95.0)), Some(20));
    assert_eq!(samples_needed(&Metric::Percentile(50.0)), Some(2));
}

#[test]
fn what_cannot_be_evaluated_is_never_held() {
    let mut figures = Figures::new();
    let not_evaluated = |standing| matches!(standing, Standing::NotEvaluated(_));
    assert!(not_evaluated(figures.standing("exactly conflicts == 4")));
    figures.values = vec![
        ("conflicts".to_owned(), Value::Count(4)),
        ("recall".to_owned(), Value::Number(f64::NAN)),
        ("half".to_owned(), Value::Number(0.5)),
        ("took".to_owned(), Value::Nanoseconds(5)),
    ];
    assert_eq!(figures.standing("exactly conflicts == 4"), Standing::Held);
    assert_eq!(figures.standing("exactly conflicts == 5"), NOT_ON_TIME);
    assert!(not_evaluated(figures.standing("value recall < 1")));
    assert!(not_evaluated(figures.standing("exactly half == 0")));
    assert!(not_evaluated(figures.standing("value took < 5MB")));
    assert_eq!(figures.standing("value took < 5us"), Standing::Held);
    assert_eq!(figures.standing("value took < 2ns"), ON_TIME);

    figures.latency = Latencies::new();
    (figures.counts, figures.issued) = (Counts::default(), 0);
    for objective in ["p50 < 1s", "max < 1s", "success >= 0%", "errors <= 100%"] {
        assert!(not_evaluated(figures.standing(objective)), "{objective}");
    }
}

#[test]
fn a_median_is_typical_and_a_tail_is_not() {
    let figures = Figures::new();
    let typical = |objective: &str| match figures.judge(objective).standing {
        Standing::Broken { typical, .. } => typical,
        held => panic!("{objective}: {held:?}"),
    };
    assert!(typical("p50 < 4ms") && typical("mean < 4ms") && typical("rate > 400/s"));
    assert!(!typical("p99 < 4ms") && !typical("max < 4ms") && !typical("elapsed < 1s"));
    assert!(typical("p50 in phase storm < 4ms") && !typical("p99 in phase storm < 4ms"));
    assert!(!typical("p50 over 10s < 4ms"), "one span tells little about them all");
    assert_eq!(figures.judge("rate > 400/s").times_missed(), Some(10.0));
    assert_eq!(figures.judge("p50 < 5ms").times_missed().map(f64::round), Some(10.0));
}

#[test]
fn the_clocks_own_lateness_explains_only_as_much_as_it_is() {
    let mut figures = Figures::new();
    (0..100).for_each(|_| figures.lag.record(Duration::from_millis(30)));
    let explained = Standing::Broken { on_time: true, typical: false, lag_explains: true };
    assert_eq!(figures.standing("p50 < 25ms"), explained);
    assert_eq!(figures.standing("p50 < 15ms"), ON_TIME);
    assert_eq!(figures.standing("rate > 41/s"), ON_TIME);
}

#[test]
fn a_standstill_explains_a_rate_as_far_as_it_was_long() {
    let figures = Figures { stood_still: Duration::from_millis(100), ..Figures::new() };
    let explained = Standing::Broken { on_time: true, typical: false, lag_explains: true };
    assert_eq!(figures.standing("rate > 42/s"), explained);
    assert_eq!(figures.standing("rate > 43/s"), ON_TIME, "80 in 1.9 s");
    assert_eq!(figures.standing("rate in phase storm > 42/s"), ON_TIME, "it may have been in another one");
    assert_eq!(figures.standing("rate < 39/s"), NOT_ON_TIME);
}

#[test]
fn phases_are_judged_alone_each_and_against_each_other() {
    let figures = Figures::new();
    assert_eq!(figures.standing("errors in phase calm <= 1%"), Standing::Held);
    assert_eq!(figures.standing("errors in phase storm <= 1%"), NOT_ON_TIME);
    let worst = figures.judge("errors in each phase <= 2%");
    assert_eq!((worst.standing, worst.measured.as_str()), (NOT_ON_TIME, "5% in phase storm"));
    let worst = figures.judge("errors in each phase <= 9%");
    assert_eq!((worst.standing, worst.measured.as_str()), (Standing::Held, "5% in phase storm"));
    assert_eq!(figures.standing("errors in phase storm <= 5x in phase calm"), Standing::Held);
    assert_eq!(figures.standing("errors in phase storm < 5x in phase calm"), NOT_ON_TIME);
    assert_eq!(figures.standing("p50 <= 1x in phase calm"), Standing::Held);
    let unknown = figures.standing("p50 in phase night < 1s");
    assert_eq!(unknown, Standing::NotEvaluated("the load has no phase `night`".to_owned()));
    let phase = |objective: &str| figures.judge(objective).phase.unwrap_or_default();
    assert_eq!(phase("p50 < 1ms"), "");
    assert_eq!(phase("p50 in phase storm < 1ms"), "storm");
    assert_eq!(phase("p50 in phase storm <= 0.5x in phase calm"), "storm");
    assert_eq!(phase("p50 <= 0.5x in phase calm"), "");
    assert_eq!(phase("success in each phase >= 81%"), "storm", "of each the worst");
    // Shorter than the span: judged as a whole.
    assert_eq!(figures.standing("rate over 10s >= 40/s"), Standing::Held);
}

#[test]
fn a_phase_without_operations_hides_no_other_one() {
    let figures = Figures { calm_is_empty: true, ..Figures::new() };
    let phase = |objective: &str| {
        let finding = figures.judge(objective);
        assert!(matches!(finding.standing, Standing::NotEvaluated(_)), "{finding:?}");
        finding.phase.unwrap_or_default()
    };
    assert_eq!(phase("errors in each phase <= 9%"), "calm", "what the machine did there may be why");
    assert_eq!(phase("errors in each phase <= 1%"), "", "but not why errors are too many in the other one");
    assert_eq!(phase("p50 in phase calm < 1s"), "calm");
    // Operations came to an end, and none of them was timed: that is the target's doing.
    let untimed = Figures { latency: Latencies::new(), ..Figures::new() };
    assert_eq!(untimed.judge("p50 in phase calm < 1s").phase, None);
}

#[test]
fn a_leak_is_a_trend_and_nothing_else() {
    let mut figures = Figures::new();
    assert!(matches!(figures.standing("leak threads <= 0/op"), Standing::NotEvaluated(_)));
    let sample = |second: u64, open_files| SampleReport {
        operations: second * 1_000,
        open_files: Some(open_files),
        ..SampleReport::default()
    };
    figures.samples = (0..60).map(|second| sample(second, 5 + second as usize)).collect();
    assert_eq!(figures.standing("leak open_files <= 0/op"), NOT_ON_TIME);
    assert_eq!(figures.standing("leak open_files <= 0.002/op"), Standing::Held);
    figures.samples.truncate(3);
    assert!(matches!(figures.standing("leak open_files <= 0/op"), Standing::TooFewSamples { .. }));
}
