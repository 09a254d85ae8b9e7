//! Objectives against figures. Pure: figures in, findings out; what follows for the verdict is `verdict.rs`'s.

use std::time::Duration;

use super::{Comparison, Dimension, Metric, Objective};
use crate::checks::Value;
use crate::format;
use crate::record::{Latencies, seconds};
use crate::scenario::Tally;

/// All that objectives can be about.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) tally: &'a Tally,
    pub(crate) latency: &'a Latencies,
    /// Highest under load less that before, in bytes; nothing where the system doesn't tell.
    pub(crate) rss_growth: Option<f64>,
    pub(crate) values: &'a [(String, Value)],
    /// How late the open loop's own clock was.
    pub(crate) pacer_lag: Option<&'a Latencies>,
}

/// One objective and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) objective: String,
    /// For people.
    pub(crate) measured: String,
    /// In ns, bytes, shares of 1 or plain.
    pub(crate) measured_number: Option<f64>,
    /// Room to the bound as a share of it; negative beyond it. Nothing for a bound of 0.
    pub(crate) margin: Option<f64>,
    pub(crate) standing: Standing,
}

/// How an objective stands, before the machine is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    Held,
    Broken {
        /// Whether a machine that was too busy could be why.
        on_time: bool,
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
    let finding = |number: Option<f64>, margin, standing| Finding {
        objective: objective.to_string(),
        measured: number.map_or_else(|| "–".to_owned(), |number| show(objective, measured, number)),
        measured_number: number,
        margin,
        standing,
    };
    let number = match measured.number(&objective.metric) {
        Ok(number) if number.is_nan() => {
            return finding(None, None, Standing::NotEvaluated("not a number".to_owned()));
        }
        Ok(number) => number,
        Err(reason) => return finding(None, None, Standing::NotEvaluated(reason)),
    };
    if let Some(reason) = other_dimension(objective, measured.values) {
        return finding(Some(number), None, Standing::NotEvaluated(reason));
    }
    let bound = objective.bound.in_base_units();
    let margin = margin(objective.comparison, number, bound);
    if let Some(needed) = samples_needed(&objective.metric)
        && measured.latency.count() < needed
    {
        let standing = Standing::TooFewSamples { samples: measured.latency.count(), needed };
        return finding(Some(number), margin, standing);
    }
    if objective.comparison.holds(number, bound) {
        return finding(Some(number), margin, Standing::Held);
    }
    let standing = Standing::Broken {
        on_time: is_on_time(objective, measured.tally),
        lag_explains: lag_explains(objective, number, measured.pacer_lag),
    };
    finding(Some(number), margin, standing)
}

impl Measured<'_> {
    /// In base units, or why there is none.
    fn number(&self, metric: &Metric) -> Result<f64, String> {
        if let Some(number) = latency_number(metric, self.latency) {
            let empty = self.latency.is_empty();
            return if empty { Err("no operation was timed".to_owned()) } else { Ok(number) };
        }
        let share = |part: u64| match self.tally.issued {
            0 => Err("no operation was issued".to_owned()),
            issued => Ok(part as f64 / issued as f64),
        };
        match metric {
            Metric::Success => share(self.tally.succeeded),
            Metric::Errors => share(self.tally.failed),
            Metric::Timeouts => share(self.tally.timed_out),
            Metric::Rate if self.tally.issued == 0 => Err("no operation was issued".to_owned()),
            Metric::Rate => Ok(self.tally.succeeded as f64 / seconds(self.tally.elapsed)),
            Metric::RssGrowth => {
                self.rss_growth.ok_or_else(|| "the system doesn't tell resident memory".to_owned())
            }
            Metric::Exactly(name) | Metric::Value(name) => match find(self.values, name) {
                Some(value) => Ok(base_units(value).0),
                None => Err(format!("the scenario reported no value `{name}`")),
            },
            _ => Ok(self.tally.elapsed.as_nanos() as f64),
        }
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
    let value = find(values, name)?;
    let is_count = matches!(value, Value::Count(_));
    if matches!(objective.metric, Metric::Exactly(_)) && !is_count {
        return Some(format!("`{name}` is no count: `exactly` needs one"));
    }
    let (dimension, asked) = (base_units(value).1, objective.bound.unit.dimension());
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
fn is_on_time(objective: &Objective, tally: &Tally) -> bool {
    let upper = objective.comparison.is_upper_bound();
    match objective.metric {
        Metric::Rate => !upper,
        Metric::Success if tally.issued > 0 => {
            // Only what timed out can be blamed on time: if it is enough to make up for what is missing.
            let in_time = (tally.succeeded + tally.timed_out) as f64 / tally.issued as f64;
            objective.comparison.holds(in_time, objective.bound.in_base_units())
        }
        Metric::Success | Metric::Errors | Metric::RssGrowth | Metric::Exactly(_) => false,
        Metric::Value(_) => matches!(
            (objective.bound.unit.dimension(), upper),
            (Dimension::Time, true) | (Dimension::Rate, false)
        ),
        _ => upper,
    }
}

fn lag_explains(objective: &Objective, number: f64, lag: Option<&Latencies>) -> bool {
    let Some(lag) = lag.filter(|lag| !lag.is_empty()) else { return false };
    let Some(lag) = latency_number(&objective.metric, lag) else { return false };
    objective.comparison.is_upper_bound()
        && objective.comparison.holds(number - lag, objective.bound.in_base_units())
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Figures {
        tally: Tally,
        latency: Latencies,
        lag: Latencies,
        values: Vec<(String, Value)>,
    }

    impl Figures {
        /// 100 operations of 1 to 100 ms in 2 s; 80 succeeded, 5 failed, 15 timed out.
        fn new() -> Self {
            let tally = Tally {
                issued: 100,
                succeeded: 80,
                failed: 5,
                timed_out: 15,
                elapsed: Duration::from_secs(2),
                ..Tally::default()
            };
            let (mut latency, lag) = (Latencies::new(), Latencies::new());
            (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
            Self { tally, latency, lag, values: Vec::new() }
        }

        fn judge(&self, objective: &str) -> Finding {
            let measured = Measured {
                tally: &self.tally,
                latency: &self.latency,
                rss_growth: Some(5e6),
                values: &self.values,
                pacer_lag: Some(&self.lag),
            };
            judge(&objective.parse().unwrap(), &measured)
        }

        fn standing(&self, objective: &str) -> Standing {
            self.judge(objective).standing
        }
    }

    const ON_TIME: Standing = Standing::Broken { on_time: true, lag_explains: false };
    const NOT_ON_TIME: Standing = Standing::Broken { on_time: false, lag_explains: false };

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
        for broken in ["errors < 5%", "rss_growth < 1MB", "min > 2ms", "rate < 10/s"] {
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
        figures.tally = Tally::default();
        for objective in ["p50 < 1s", "max < 1s", "rate > 0/s", "success >= 0%", "errors <= 100%"] {
            assert!(not_evaluated(figures.standing(objective)), "{objective}");
        }
    }

    #[test]
    fn the_clocks_own_lateness_explains_only_as_much_as_it_is() {
        let mut figures = Figures::new();
        (0..100).for_each(|_| figures.lag.record(Duration::from_millis(30)));
        let explained = Standing::Broken { on_time: true, lag_explains: true };
        assert_eq!(figures.standing("p50 < 25ms"), explained);
        assert_eq!(figures.standing("p50 < 15ms"), ON_TIME);
        assert_eq!(figures.standing("rate > 41/s"), ON_TIME);
    }
}
