//! Objectives against figures. Pure: figures in, findings out; what follows for the verdict is `verdict.rs`'s.

use std::time::Duration;

use super::spans::Spans;
use super::{Bound, Comparison, Dimension, Metric, Objective, Quantity, Scope};
use crate::checks::Value;
use crate::format;
use crate::record::{Counts, Latencies, seconds};
use crate::report::{ErrorReport, SampleReport};
use crate::trend::{self, Figure, Outcome};

/// All that objectives can be about.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) whole: Part<'a>,
    /// In their order.
    pub(crate) phases: &'a [PhasePart<'a>],
    pub(crate) spans: &'a Spans,
    /// Highest under load less that before, in bytes; nothing where the system doesn't tell.
    pub(crate) rss_growth: Option<f64>,
    pub(crate) values: &'a [(String, Value)],
    /// How many operations failed with each kind.
    pub(crate) errors: &'a [ErrorReport],
    /// Of the process, over the load.
    pub(crate) samples: &'a [SampleReport],
    /// How late the open loop's own clock was.
    pub(crate) pacer_lag: Option<&'a Latencies>,
    /// For how long of the load the process stood still.
    pub(crate) stood_still: Duration,
}

/// What operations tell of a load or a part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) counts: Counts,
    pub(crate) issued: u64,
    pub(crate) length: Duration,
    /// Succeeded in that time, if not those that `counts` has.
    pub(crate) done_within: Option<u64>,
    pub(crate) latency: &'a Latencies,
}

impl Part<'_> {
    /// Succeeded, a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done_within.unwrap_or(self.counts.succeeded) as f64 / seconds(self.length)
    }
}

/// A phase of the load.
#[derive(Debug, Clone)]
pub(crate) struct PhasePart<'a> {
    pub(crate) name: String,
    pub(crate) part: Part<'a>,
}

/// One objective and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) objective: String,
    /// For people.
    pub(crate) measured: String,
    /// In ns, bytes, shares of 1 or plain.
    pub(crate) measured_number: Option<f64>,
    /// What it was compared with, in the same unit.
    pub(crate) bound: Option<f64>,
    /// Room to the bound as a share of it; negative beyond it. Nothing for a bound of 0.
    pub(crate) margin: Option<f64>,
    /// The phase that it was measured in; nothing for the whole load and for spans.
    pub(crate) phase: Option<String>,
    pub(crate) standing: Standing,
}

/// How an objective stands, before the machine is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    Held,
    Broken {
        /// Whether a machine that was too busy could be why.
        on_time: bool,
        /// Whether it is about what operations typically do, in the whole load or a phase, not about the worst of them: a
        /// tail may be any multiple.
        typical: bool,
        /// Whether it would have held without the lateness of the generator's clock.
        lag_explains: bool,
    },
    /// There is nothing to compare.
    NotEvaluated(String),
    /// The percentile of so few samples is only their highest.
    TooFewSamples {
        samples: u64,
        needed: u64,
    },
}

pub(crate) fn judge(objective: &Objective, measured: &Measured<'_>) -> Finding {
    let not_evaluated = |reason| Finding {
        objective: objective.to_string(),
        measured: "–".to_owned(),
        measured_number: None,
        bound: None,
        margin: None,
        phase: None,
        standing: Standing::NotEvaluated(reason),
    };
    let bound = match bound(objective, measured) {
        Ok(bound) => bound,
        Err(reason) => return not_evaluated(reason),
    };
    if let Metric::Leak(figure) = objective.metric {
        return judge_leak(objective, measured, figure, bound);
    }
    let places = match places(objective, measured) {
        Ok(places) => places,
        Err(reason) => return not_evaluated(reason),
    };
    let findings: Vec<Finding> =
        places.into_iter().map(|place| judge_place(objective, measured, bound, place)).collect();
    let is_unsound =
        |finding: &&Finding| matches!(finding.standing, Standing::NotEvaluated(_) | Standing::Broken { .. });
    let unsound = findings.iter().filter(is_unsound).count();
    // Of several places the worst counts.
    let worst = findings.into_iter().max_by(badness);
    let mut worst = worst.unwrap_or_else(|| not_evaluated("the load has no phases".to_owned()));
    if matches!(worst.standing, Standing::NotEvaluated(_)) && unsound > 1 {
        // What the machine did there says nothing of the others.
        worst.phase = None;
    }
    worst
}

fn judge_leak(objective: &Objective, measured: &Measured<'_>, figure: Figure, budget: f64) -> Finding {
    let judged = trend::judge(measured.samples, figure, budget);
    let report = judged.report;
    let standing = match judged.outcome {
        Outcome::NotMeasured => Standing::NotEvaluated(format!("nobody measured {}", figure.name())),
        Outcome::TooFewSamples { needed } => {
            Standing::TooFewSamples { samples: report.samples as u64, needed: needed as u64 }
        }
        outcome if outcome.holds() => Standing::Held,
        _ => Standing::Broken { on_time: false, typical: false, lag_explains: false },
    };
    let is_told = !matches!(judged.outcome, Outcome::NotMeasured | Outcome::TooFewSamples { .. });
    Finding {
        objective: objective.to_string(),
        measured: report.finding,
        measured_number: is_told.then_some(report.slope),
        bound: Some(budget),
        margin: None,
        phase: None,
        standing,
    }
}

/// Where an objective is looked at, and what was measured there.
struct Place<'a> {
    /// For people; nothing for the whole load.
    at: Option<String>,
    phase: Option<&'a str>,
    number: Result<f64, String>,
    /// How many operations were timed.
    samples: u64,
    /// Of all places that this is the worst of, the fewest; they have to be enough for all to hold.
    fewest: u64,
    part: &'a Part<'a>,
}

fn places<'a>(objective: &Objective, measured: &'a Measured<'a>) -> Result<Vec<Place<'a>>, String> {
    let metric = &objective.metric;
    let of_phase = |phase: &'a PhasePart<'a>, at: Option<String>| Place {
        at,
        phase: Some(&phase.name),
        number: measured.number(metric, &phase.part),
        samples: phase.part.latency.count(),
        fewest: phase.part.latency.count(),
        part: &phase.part,
    };
    let whole = || Place {
        at: None,
        phase: None,
        number: measured.number(metric, &measured.whole),
        samples: measured.whole.latency.count(),
        fewest: measured.whole.latency.count(),
        part: &measured.whole,
    };
    Ok(match &objective.scope {
        Scope::Whole => vec![whole()],
        Scope::Phase(name) => vec![of_phase(phase(measured, name)?, None)],
        // A load of one phase keeps no figures of it apart.
        Scope::EachPhase if measured.phases.is_empty() => vec![whole()],
        Scope::EachPhase => measured
            .phases
            .iter()
            .map(|phase| of_phase(phase, Some(format!("in phase {}", phase.name))))
            .collect(),
        Scope::Over(_) => vec![match measured.spans.finding(objective) {
            Some(worst) => Place {
                at: Some(format!("at {}", format::time(worst.end))),
                phase: None,
                number: Ok(worst.number),
                samples: worst.samples,
                fewest: worst.fewest,
                part: &measured.whole,
            },
            None => whole(),
        }],
    })
}

fn phase<'a>(measured: &'a Measured<'a>, name: &str) -> Result<&'a PhasePart<'a>, String> {
    let phase = measured.phases.iter().find(|phase| phase.name == name);
    phase.ok_or_else(|| format!("the load has no phase `{name}`"))
}

/// In base units.
fn bound(objective: &Objective, measured: &Measured<'_>) -> Result<f64, String> {
    match &objective.bound {
        Bound::Absolute(quantity) => Ok(quantity.in_base_units()),
        Bound::TimesPhase(factor, name) => {
            let number = measured.number(&objective.metric, &phase(measured, name)?.part);
            number.map(|number| factor * number).map_err(|reason| format!("phase {name}: {reason}"))
        }
    }
}

fn judge_place(objective: &Objective, measured: &Measured<'_>, bound: f64, place: Place<'_>) -> Finding {
    let at = place.at.map_or_else(String::new, |at| format!(" {at}"));
    let finding = |number: Option<f64>, margin, standing| Finding {
        objective: objective.to_string(),
        measured: number.map_or_else(|| "–".to_owned(), |number| show(objective, measured, number) + &at),
        measured_number: number,
        bound: Some(bound),
        margin,
        phase: place.phase.map(str::to_owned),
        standing,
    };
    let number = match place.number {
        Ok(number) if number.is_nan() => {
            return finding(None, None, Standing::NotEvaluated("not a number".to_owned()));
        }
        Ok(number) => number,
        Err(reason) => {
            let standing = Standing::NotEvaluated(reason + &at);
            // Only where nothing came to an end may the machine be why.
            let phase = place.phase.filter(|_| place.part.counts.ended() == 0).map(str::to_owned);
            return Finding { phase, ..finding(None, None, standing) };
        }
    };
    if let Some(reason) = other_dimension(objective, measured.values) {
        return finding(Some(number), None, Standing::NotEvaluated(reason));
    }
    let margin = margin(objective.comparison, number, bound);
    let holds = objective.comparison.holds(number, bound);
    let samples = if holds { place.fewest } else { place.samples };
    if let Some(needed) = samples_needed(&objective.metric)
        && samples < needed
    {
        return finding(Some(number), margin, Standing::TooFewSamples { samples, needed });
    }
    if holds {
        return finding(Some(number), margin, Standing::Held);
    }
    let standing = Standing::Broken {
        on_time: is_on_time(objective, place.part, bound),
        typical: is_typical(&objective.metric) && !matches!(objective.scope, Scope::Over(_)),
        lag_explains: lag_explains(objective, number, bound, measured.pacer_lag)
            || standstill_explains(objective, bound, measured),
    };
    finding(Some(number), margin, standing)
}

/// What can't be told is worse than what is broken, that than too few samples, that than what holds; then the margin.
fn badness(one: &Finding, other: &Finding) -> std::cmp::Ordering {
    let rank = |finding: &Finding| match finding.standing {
        Standing::Held => 0,
        Standing::TooFewSamples { .. } => 1,
        Standing::Broken { .. } => 2,
        Standing::NotEvaluated(_) => 3,
    };
    let room = |finding: &Finding| finding.margin.unwrap_or(f64::INFINITY);
    rank(one).cmp(&rank(other)).then_with(|| room(other).total_cmp(&room(one)))
}

impl Finding {
    /// How many times the bound was missed by, from 1; nothing where that can't be told.
    pub(crate) fn times_missed(&self) -> Option<f64> {
        let (measured, bound) = (self.measured_number?, self.bound?);
        let times = (measured / bound).max(bound / measured);
        (measured >= 0.0 && bound > 0.0).then_some(times)
    }
}

impl Measured<'_> {
    /// In base units, or why there is none.
    fn number(&self, metric: &Metric, part: &Part<'_>) -> Result<f64, String> {
        if let Some(number) = number_of_part(metric, part) {
            return number;
        }
        match metric {
            Metric::RssGrowth => {
                self.rss_growth.ok_or_else(|| "the system doesn't tell resident memory".to_owned())
            }
            Metric::ErrorsOf(_) if part.issued == 0 => Err("no operation was issued".to_owned()),
            Metric::ErrorsOf(kind) => {
                // A kind that never came up is as good as it gets, not unknown.
                let count = self.errors.iter().find(|it| it.kind == *kind).map_or(0, |it| it.count);
                Ok(count as f64 / part.issued as f64)
            }
            Metric::Exactly(name) | Metric::Value(name) => match find(self.values, name) {
                Some(value) => Ok(base_units(value).0),
                None => Err(format!("the scenario reported no value `{name}`")),
            },
            _ => Ok(part.length.as_nanos() as f64),
        }
    }
}

/// What can be asked of any part of a load; nothing if the metric is none of that.
pub(super) fn number_of_part(metric: &Metric, part: &Part<'_>) -> Option<Result<f64, String>> {
    if let Some(number) = latency_number(metric, part.latency) {
        let empty = part.latency.is_empty();
        return Some(if empty { Err("no operation was timed".to_owned()) } else { Ok(number) });
    }
    let share = |of: u64| match part.issued {
        0 => Err("no operation was issued".to_owned()),
        issued => Ok(of as f64 / issued as f64),
    };
    match metric {
        Metric::Success => Some(share(part.counts.succeeded)),
        Metric::Errors => Some(share(part.counts.failed)),
        Metric::Timeouts => Some(share(part.counts.timed_out)),
        Metric::Rate => Some(Ok(part.rate())),
        _ => None,
    }
}

/// Nothing if the metric is no latency.
fn latency_number(metric: &Metric, latencies: &Latencies) -> Option<f64> {
    let ns = |time: Duration| time.as_nanos() as f64;
    match metric {
        Metric::Percentile(percent) => Some(ns(latencies.percentile(*percent))),
        Metric::Min => Some(ns(latencies.min())),
        Metric::Mean => Some(latencies.mean_ns()),
        Metric::Max => Some(ns(latencies.max())),
        Metric::StandardDeviation => Some(latencies.standard_deviation_ns()),
        _ => None,
    }
}

fn find(values: &[(String, Value)], name: &str) -> Option<Value> {
    values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn base_units(value: Value) -> (f64, Dimension) {
    match value {
        Value::Count(count) => (count as f64, Dimension::Number),
        Value::Number(number) => (number, Dimension::Number),
        Value::Nanoseconds(ns) => (ns as f64, Dimension::Time),
        Value::Bytes(bytes) => (bytes as f64, Dimension::Size),
        Value::Share(share) => (share, Dimension::Share),
        Value::PerSecond(rate) => (rate, Dimension::Rate),
    }
}

/// A time compared with megabytes, or a fraction asked to be exactly a count, says nothing.
fn other_dimension(objective: &Objective, values: &[(String, Value)]) -> Option<String> {
    let (Metric::Exactly(name) | Metric::Value(name)) = &objective.metric else { return None };
    let Bound::Absolute(Quantity { unit, .. }) = objective.bound else { return None };
    let value = find(values, name)?;
    let is_count = matches!(value, Value::Count(_));
    if matches!(objective.metric, Metric::Exactly(_)) && !is_count {
        return Some(format!("`{name}` is no count: `exactly` needs one"));
    }
    let (dimension, asked) = (base_units(value).1, unit.dimension());
    (dimension != asked)
        .then(|| format!("`{name}` was reported with {}, not {}", dimension.expected(), asked.expected()))
}

/// So that at least one sample lies beyond the percentile.
fn samples_needed(metric: &Metric) -> Option<u64> {
    match metric {
        // The small allowance takes back what dividing by 100 adds: 100 / (100 - 99.9) is 1000.0000000000057.
        Metric::Percentile(percent) => Some((100.0 / (100.0 - percent) - 1e-6).ceil() as u64),
        _ => None,
    }
}

fn margin(comparison: Comparison, measured: f64, bound: f64) -> Option<f64> {
    if bound == 0.0 || !measured.is_finite() {
        return None;
    }
    Some(match comparison {
        Comparison::Equal => -((measured - bound) / bound).abs(),
        _ if comparison.is_upper_bound() => (bound - measured) / bound,
        _ => (measured - bound) / bound,
    })
}

/// Whether a machine that takes time away makes this objective fail.
fn is_on_time(objective: &Objective, part: &Part<'_>, bound: f64) -> bool {
    let upper = objective.comparison.is_upper_bound();
    match objective.metric {
        Metric::Rate => !upper,
        Metric::Success if part.issued > 0 => {
            // Only what timed out can be blamed on time: if it is enough to make up for what is missing.
            let in_time = (part.counts.succeeded + part.counts.timed_out) as f64 / part.issued as f64;
            objective.comparison.holds(in_time, bound)
        }
        Metric::Success
        | Metric::Errors
        | Metric::ErrorsOf(_)
        | Metric::RssGrowth
        | Metric::Leak(_)
        | Metric::Exactly(_) => false,
        Metric::Value(_) => {
            let Bound::Absolute(Quantity { unit, .. }) = objective.bound else { return false };
            matches!((unit.dimension(), upper), (Dimension::Time, true) | (Dimension::Rate, false))
        }
        _ => upper,
    }
}

fn is_typical(metric: &Metric) -> bool {
    match metric {
        Metric::Rate | Metric::Mean => true,
        Metric::Percentile(percent) => *percent <= 50.0,
        _ => false,
    }
}

fn lag_explains(objective: &Objective, number: f64, bound: f64, lag: Option<&Latencies>) -> bool {
    let Some(lag) = lag.filter(|lag| !lag.is_empty()) else { return false };
    let Some(lag) = latency_number(&objective.metric, lag) else { return false };
    objective.comparison.is_upper_bound() && objective.comparison.holds(number - lag, bound)
}

/// Of a load's rate, a moment in which everything stands still takes a share that may be more than there is room for: with the last operation's end the load ends.
fn standstill_explains(objective: &Objective, bound: f64, measured: &Measured<'_>) -> bool {
    let is_rate = objective.metric == Metric::Rate && objective.scope == Scope::Whole;
    let whole = measured.whole;
    let without = Part { length: whole.length.saturating_sub(measured.stood_still), ..whole };
    is_rate && !objective.comparison.is_upper_bound() && objective.comparison.holds(without.rate(), bound)
}

fn show(objective: &Objective, measured: &Measured<'_>, number: f64) -> String {
    let dimension = match &objective.metric {
        Metric::Exactly(name) | Metric::Value(name) => {
            find(measured.values, name).map_or(Dimension::Number, |value| base_units(value).1)
        }
        metric => metric.dimension().unwrap_or(Dimension::Number),
    };
    match dimension {
        Dimension::Number => format::number(number),
        Dimension::Time => format::nanoseconds(number),
        Dimension::Size => format::bytes(number),
        Dimension::Share => format::share(number),
        Dimension::Rate => format::per_second(number),
        Dimension::SizePerOperation => format!("{}/op", format::bytes(number)),
        Dimension::CountPerOperation => format!("{}/op", format::number(number)),
    }
}

#[cfg(test)]
mod tests {
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
        for broken in
            ["p50 < 40ms", "mean < 40ms", "min < 1us", "rate > 40/s", "elapsed < 2s", "timeouts < 1%"]
        {
            assert_eq!(figures.standing(broken), ON_TIME, "{broken}");
        }
        for broken in
            ["errors < 5%", "errors of refused < 4%", "rss_growth < 1MB", "min > 2ms", "rate < 10/s"]
        {
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
        assert_eq!(
            figures.standing("rate in phase storm > 42/s"),
            ON_TIME,
            "it may have been in another one"
        );
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
        assert_eq!(
            phase("errors in each phase <= 1%"),
            "",
            "but not why errors are too many in the other one"
        );
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
}
