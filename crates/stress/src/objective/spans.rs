//! Objectives over every span of some seconds: judged as the load runs, so that only the worst is kept.
//!
//! Spans begin with each window, so they overlap, and a bad ten seconds can't hide on a border. What they hold of
//! latency is exact to 1 %.

use std::collections::VecDeque;
use std::time::Duration;

use super::judge::{Part, number_of_part};
use super::{Metric, Objective, Scope};
use crate::record::{Counts, Figures, Latencies};

/// Rounding, and a window that is cut a little early, don't make a span too short.
const LENGTH_SLACK: f64 = 0.98;

/// Watches all spans that objectives ask for.
#[derive(Debug)]
pub(crate) struct Spans {
    watches: Vec<Watch>,
    /// The last windows, the newest at the end; as many as the longest span needs.
    windows: VecDeque<Window>,
    longest: Duration,
    /// Windows that end later hold what the load left behind: its latencies and timeouts, but no rate.
    load_ends: Option<Duration>,
}

#[derive(Debug)]
struct Watch {
    metric: Metric,
    length: Duration,
    /// Whether a high value is the bad one.
    high_is_worse: bool,
    worst: Option<SpanFinding>,
    fewest: Option<u64>,
}

#[derive(Debug)]
struct Window {
    length: Duration,
    counts: Counts,
    latency: Latencies,
}

/// The worst span of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SpanFinding {
    /// In base units.
    pub(crate) number: f64,
    /// When it ended, since the load's start.
    pub(crate) end: Duration,
    /// Operations timed in it.
    pub(crate) samples: u64,
    /// The fewest operations timed in any span.
    pub(crate) fewest: u64,
}

impl Spans {
    pub(crate) fn new(objectives: &[Objective], load_ends: Option<Duration>) -> Self {
        let watches: Vec<Watch> = objectives
            .iter()
            .filter_map(|objective| {
                Some(Watch {
                    metric: objective.metric.clone(),
                    length: length(objective)?,
                    high_is_worse: objective.comparison.is_upper_bound(),
                    worst: None,
                    fewest: None,
                })
            })
            .collect();
        let longest = watches.iter().map(|watch| watch.length).max().unwrap_or_default();
        Self { watches, windows: VecDeque::new(), longest, load_ends }
    }

    /// Takes in a window that ended at `end`, since the load's start.
    pub(crate) fn window(&mut self, figures: &Figures, length: Duration, end: Duration) {
        // The last window of a schedule ends a moment after it.
        let past_the_load = self.load_ends.is_some_and(|ends| end > ends + length.mul_f64(0.5));
        if self.watches.is_empty() {
            return;
        }
        if past_the_load && let Some(last) = self.windows.back_mut() {
            // Begun within the load, so they belong to its end: a target that stalls there is seen.
            last.counts.add(figures.counts);
            last.latency.add(figures.latency());
            let mut scratch = Latencies::coarse();
            for watch in self.watches.iter_mut().filter(|watch| watch.metric != Metric::Rate) {
                watch.look(&self.windows, &mut scratch, end);
            }
            return;
        }
        let mut latency = self.reusable();
        latency.add(figures.latency());
        self.windows.push_back(Window { length, counts: figures.counts, latency });
        let mut scratch = Latencies::coarse();
        for watch in &mut self.watches {
            watch.look(&self.windows, &mut scratch, end);
        }
    }

    /// What was found of `objective`; nothing if no span was as long.
    pub(crate) fn finding(&self, objective: &Objective) -> Option<SpanFinding> {
        let length = length(objective)?;
        let high_is_worse = objective.comparison.is_upper_bound();
        let is_it = |watch: &&Watch| {
            watch.metric == objective.metric && watch.length == length && watch.high_is_worse == high_is_worse
        };
        let watch = self.watches.iter().find(is_it)?;
        watch.worst.map(|worst| SpanFinding { fewest: watch.fewest.unwrap_or(0), ..worst })
    }

    /// The histogram of a window that no span reaches any more, or a new one.
    fn reusable(&mut self) -> Latencies {
        let kept: Duration = self.windows.iter().skip(1).map(|window| window.length).sum();
        if kept >= self.longest
            && let Some(mut oldest) = self.windows.pop_front()
        {
            oldest.latency.clear();
            return oldest.latency;
        }
        Latencies::coarse()
    }
}

impl Watch {
    fn look(&mut self, windows: &VecDeque<Window>, scratch: &mut Latencies, end: Duration) {
        scratch.clear();
        let (mut counts, mut length) = (Counts::default(), Duration::ZERO);
        for window in windows.iter().rev() {
            counts.add(window.counts);
            scratch.add(&window.latency);
            length += window.length;
            if length >= self.length.mul_f64(LENGTH_SLACK) {
                let part =
                    Part { counts, issued: counts.ended(), length, done_within: None, latency: scratch };
                self.note(&part, end);
                return;
            }
        }
    }

    fn note(&mut self, part: &Part<'_>, end: Duration) {
        let samples = part.latency.count();
        self.fewest = Some(self.fewest.map_or(samples, |fewest| fewest.min(samples)));
        let Some(Ok(number)) = number_of_part(&self.metric, part) else { return };
        let is_worse = |worst: SpanFinding| {
            if self.high_is_worse { number > worst.number } else { number < worst.number }
        };
        if self.worst.is_none_or(is_worse) {
            self.worst = Some(SpanFinding { number, end, samples, fewest: samples });
        }
    }
}

fn length(objective: &Objective) -> Option<Duration> {
    match objective.scope {
        Scope::Over(time) => Some(Duration::from_nanos(time.in_base_units() as u64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Layout;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(spans: &mut Spans, succeeded: u64, ms: u64, second: u32) {
        let mut figures = Figures::new(Layout { open: false, phases: 0 });
        figures.counts.succeeded = succeeded;
        (0..succeeded).for_each(|_| figures.service.record(Duration::from_millis(ms)));
        spans.window(&figures, SECOND, second * SECOND);
    }

    #[test]
    fn the_worst_span_is_found_wherever_it_lies() {
        let objectives: Vec<Objective> =
            ["rate over 3s > 80/s", "p50 over 2s < 1s", "rate > 1/s"].map(|it| it.parse().unwrap()).to_vec();
        let mut spans = Spans::new(&objectives, Some(10 * SECOND));
        assert!(spans.finding(&objectives[0]).is_none());
        for second in 1..=12 {
            let (rate, ms) = if (6..8).contains(&second) { (40, 70) } else { (100, 5) };
            // What comes after the load is only its rest: no rate.
            window(&mut spans, if second > 10 { 0 } else { rate }, ms, second);
        }
        let slowest = spans.finding(&objectives[0]).unwrap();
        assert_eq!((slowest.number, slowest.end), (60.0, 7 * SECOND));
        let latest = spans.finding(&objectives[1]).unwrap();
        assert!((latest.number - 70e6).abs() < 1e6, "{latest:?}");
        assert_eq!((latest.end, latest.fewest), (7 * SECOND, 80));
        assert!(spans.finding(&objectives[2]).is_none());
        assert!(spans.windows.len() <= 4, "only what the longest span needs is kept");
    }

    #[test]
    fn a_stall_at_the_end_of_the_load_is_seen() {
        let objectives: Vec<Objective> =
            ["p95 over 2s < 1s", "rate over 2s > 80/s"].map(|it| it.parse().unwrap()).to_vec();
        let mut spans = Spans::new(&objectives, Some(10 * SECOND));
        for second in 1..=8 {
            window(&mut spans, 100, 5, second);
        }
        // The target stalls at 8 s; what began in the last two seconds of the load ends after it.
        for (second, succeeded) in [(9, 0), (10, 0), (11, 0), (12, 200)] {
            window(&mut spans, succeeded, 3_000, second);
        }
        let slowest = spans.finding(&objectives[0]).unwrap();
        assert!((slowest.number - 3e9).abs() < 5e7 && slowest.end == 12 * SECOND, "{slowest:?}");
        assert_eq!(
            (slowest.samples, slowest.fewest),
            (200, 0),
            "nothing ended in the stall: that doesn't hide it"
        );
        let rate = spans.finding(&objectives[1]).unwrap();
        assert_eq!((rate.number, rate.end), (0.0, 10 * SECOND), "what comes late is no rate of the load");
    }

    #[test]
    fn a_span_without_any_operation_is_the_worst_rate() {
        let objective: Objective = "rate over 2s > 1/s".parse().unwrap();
        let mut spans = Spans::new(std::slice::from_ref(&objective), None);
        for (second, succeeded) in [(1, 5), (2, 0), (3, 0), (4, 5)] {
            window(&mut spans, succeeded, 1, second);
        }
        assert_eq!(spans.finding(&objective).unwrap().number, 0.0);
    }
}
