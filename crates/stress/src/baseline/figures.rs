//! What is compared: figures of one repeat.

use crate::format;
use crate::report::{LatencyReport, ScenarioReport, Unit};

/// A figure that each repeat has, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) more_is_better: bool,
    /// Whether a busy or slower machine makes it worse.
    pub(super) is_on_time: bool,
    of: fn(&ScenarioReport) -> Option<f64>,
    pub(super) unit: Unit,
}

/// Growth below this is what an allocator does anyway.
const GROWTH_MIN: f64 = 1e6;

pub(super) static FIGURES: [Figure; 7] = [
    Figure {
        more_is_better: true,
        unit: Unit::PerSecond,
        ..time("rate", |it| Some(it.operations.rate_per_second))
    },
    time("mean", |it| (latency(it).count > 0).then(|| latency(it).mean_ns)),
    time("p50", |it| percentile(it, 2, |it| it.p50_ns)),
    time("p95", |it| percentile(it, 20, |it| it.p95_ns)),
    time("p99", |it| percentile(it, 100, |it| it.p99_ns)),
    time("cpu_per_operation", cpu_per_operation),
    Figure { is_on_time: false, unit: Unit::Bytes, ..time("rss_growth", rss_growth) },
];

const fn time(name: &'static str, of: fn(&ScenarioReport) -> Option<f64>) -> Figure {
    Figure { name, more_is_better: false, is_on_time: true, of, unit: Unit::Nanoseconds }
}

impl Figure {
    /// In ns, bytes or a second; always above 0, so that there is a ratio.
    pub(super) fn of(&self, scenario: &ScenarioReport) -> Option<f64> {
        (self.of)(scenario).filter(|value| value.is_finite() && *value > 0.0)
    }

    pub(super) fn show(&self, value: f64) -> String {
        let floored = self.unit == Unit::Bytes && value <= GROWTH_MIN;
        if floored { "< 1 MB".to_owned() } else { format::in_unit(self.unit, value) }
    }

    /// Whether the whole interval is worse than the margin.
    pub(super) fn is_worse(&self, low: f64, high: f64, margin: f64) -> bool {
        if self.more_is_better { high < 1.0 / (1.0 + margin) } else { low > 1.0 + margin }
    }

    /// Whether the interval allows for being worse than that.
    pub(super) fn may_hide(&self, low: f64, high: f64, margin: f64) -> bool {
        if self.more_is_better { low < 1.0 / (1.0 + margin) } else { high > 1.0 + margin }
    }

    /// Whether the whole interval is better than the margin.
    pub(super) fn is_better(&self, low: f64, high: f64, margin: f64) -> bool {
        if self.more_is_better { low > 1.0 + margin } else { high < 1.0 / (1.0 + margin) }
    }
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The latency that objectives are about.
fn latency(scenario: &ScenarioReport) -> &LatencyReport {
    scenario.response_time.as_ref().unwrap_or(&scenario.service_time)
}

/// With a sample beyond it, as objectives ask.
fn percentile(scenario: &ScenarioReport, needed: u64, of: fn(&LatencyReport) -> u64) -> Option<f64> {
    let latency = latency(scenario);
    (latency.count >= needed).then(|| of(latency) as f64)
}

/// Processor time of the whole process, generator included.
fn cpu_per_operation(scenario: &ScenarioReport) -> Option<f64> {
    /// Processors are accounted for in ticks of 10 ms; a hundred of them make it 1 %.
    const SECONDS_MIN: f64 = 1.0;
    let operations = &scenario.operations;
    let seconds = scenario.processors?.own_s?;
    (seconds >= SECONDS_MIN).then(|| seconds * 1e9 / operations.succeeded as f64)
}

fn rss_growth(scenario: &ScenarioReport) -> Option<f64> {
    let memory = scenario.memory;
    Some((memory.peak_bytes? as f64 - memory.before_bytes? as f64).max(GROWTH_MIN))
}
