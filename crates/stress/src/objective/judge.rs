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
        /// Whether it would have held without the lateness of the generator's clock, or without the time in which nothing ran.
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
mod tests;
