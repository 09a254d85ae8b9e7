//! Leaks: do memory, handles or threads grow with the operations that were done?
//!
//! Pure: samples in, findings out. What counts is not the difference of two moments, which allocators and caches move
//! by megabytes, but a trend over all samples:
//!
//! 1. The first fifth of the operations is warm-up and left out, and so is the last sample: nothing is in flight then.
//! 2. The rest is cut into at most 60 stretches of as many samples each, and of each only the *lowest* value is kept:
//!    what is in flight, or waits to be flushed, comes and goes above it; what is leaked never goes.
//! 3. It is a leak if the trend is significant (Mann–Kendall, 0.2 %) and the lower end of the slope's 95 % interval is
//!    above the budget (Theil–Sen), and if the second half alone says so too (2 %, and its slope above the budget).
//! 4. If the second half doesn't, or is less than half as steep as the first, and not by chance, then a cache was
//!    filling. Only a last quarter that rises surely (0.1 %), and as steeply as the one before it, is a leak all the
//!    same.
//!
//! The levels are chosen by the simulations in `tests.rs`: at most 1 % of the clean processes there are taken for a
//! leak, and 95 % of those that lose 1 KiB in 1 000 operations.
//!
//! A cache that takes longer to fill than the load lasts can't be told from a leak: run it for longer.

mod statistics;

use crate::format;
use crate::report::{SampleReport, TrendReport};

use self::statistics::{Fit, POINTS_MIN, Point, fit};

/// The share of the operations that is warm-up.
const WARM_UP: f64 = 0.2;
/// More points only cost: pairs grow with their square.
const POINTS_MAX: usize = 60;
/// A series without a trend is taken for one with this chance.
const LEVEL: f64 = 0.002;
/// The second half has fewer points and only has to confirm.
const HALF_LEVEL: f64 = 0.02;
/// The last quarter, where a cache has been seen to fill.
const QUARTER_LEVEL: f64 = 0.001;
/// Standard errors by which the second half must be flatter than the first for a cache that fills.
const FLATTER_MIN: f64 = 2.33;

/// What may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Bytes allocated and not freed.
    LiveBytes,
    /// Resident memory.
    RssBytes,
    /// Open files and sockets.
    OpenFiles,
    /// Threads.
    Threads,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No trend.
    Stable,
    /// A trend that may be no more than the budget allows.
    WithinBudget,
    /// It rose and then flattened.
    CacheFill,
    /// It rises with the operations. For resident memory: live bytes do as well.
    Leak,
    /// Resident memory rises and live bytes don't.
    Fragmentation,
    /// Resident memory rises, and nobody counted live bytes.
    LeakOrFragmentation,
    /// So many samples after warm-up say nothing.
    TooFewSamples { needed: usize },
    /// There is no sample of it at all.
    NotMeasured,
}

/// A trend, judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) report: TrendReport,
}

impl Figure {
    /// With their names in objectives and reports.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("live_bytes", Self::LiveBytes),
        ("rss_bytes", Self::RssBytes),
        ("open_files", Self::OpenFiles),
        ("threads", Self::Threads),
    ];

    pub(crate) fn name(self) -> &'static str {
        // Every figure has a row, so the default is never taken.
        Self::ALL.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }

    /// Whether it is measured in bytes; otherwise it is counted.
    pub(crate) fn is_size(self) -> bool {
        matches!(self, Self::LiveBytes | Self::RssBytes)
    }

    fn of(self, sample: &SampleReport) -> Option<f64> {
        match self {
            Self::LiveBytes => sample.live_bytes.map(|bytes| bytes as f64),
            Self::RssBytes => sample.rss_bytes.map(|bytes| bytes as f64),
            Self::OpenFiles => sample.open_files.map(|files| files as f64),
            Self::Threads => sample.threads.map(|threads| threads as f64),
        }
    }

    /// Samples needed after warm-up: memory is noisy and its noise has to be learned; handles are not.
    fn samples_min(self) -> usize {
        if self.is_size() { 4 * POINTS_MIN } else { 2 * POINTS_MIN }
    }
}

impl Outcome {
    /// Whether the budget holds. What can't be told does not hold.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Stable | Self::WithinBudget | Self::CacheFill)
    }
}

/// Judges how `figure` moved in the samples of one load; an operation may leave `budget` of it behind.
pub(crate) fn judge(samples: &[SampleReport], figure: Figure, budget: f64) -> Judged {
    let (mut outcome, fit, count) = trend(samples, figure, budget);
    if outcome == Outcome::Leak && figure == Figure::RssBytes {
        outcome = match trend(samples, Figure::LiveBytes, budget).0 {
            Outcome::Leak => Outcome::Leak,
            Outcome::NotMeasured | Outcome::TooFewSamples { .. } => Outcome::LeakOrFragmentation,
            _ => Outcome::Fragmentation,
        };
    }
    let fit = fit.unwrap_or(Fit { slope: 0.0, low: 0.0, high: 0.0, p_value: 1.0 });
    let report = TrendReport {
        figure: figure.name().to_owned(),
        samples: count,
        slope: fit.slope,
        slope_low: fit.low,
        slope_high: fit.high,
        p_value: fit.p_value,
        budget: Some(budget),
        finding: describe(outcome, figure, &fit, count, budget),
        held: outcome.holds(),
    };
    Judged { outcome, report }
}

/// Outcome, the line over all of it, and how many samples that rests on. Resident memory is a `Leak` here if it rises.
fn trend(samples: &[SampleReport], figure: Figure, budget: f64) -> (Outcome, Option<Fit>, usize) {
    let warm = after_warm_up(samples, figure);
    if !samples.iter().any(|sample| figure.of(sample).is_some()) {
        return (Outcome::NotMeasured, None, 0);
    }
    let points = thinned(&warm);
    let needed = figure.samples_min();
    let too_few = (Outcome::TooFewSamples { needed }, None, warm.len());
    if warm.len() < needed {
        return too_few;
    }
    let (early, late) = points.split_at(points.len() / 2);
    let (Some(whole), Some(first), Some(second)) = (fit(&points), fit(early), fit(late)) else {
        return too_few;
    };
    let outcome = if whole.p_value >= LEVEL {
        // What rises and then stays is no line, and may be too bent for a trend over all of it.
        let highest = early[..early.len() / 2].iter().map(|point| point.y).fold(f64::MIN, f64::max);
        if late.iter().all(|point| point.y > highest) { Outcome::CacheFill } else { Outcome::Stable }
    } else if whole.low <= budget {
        Outcome::WithinBudget
    } else if goes_on(late, &first, &second, budget) {
        Outcome::Leak
    } else {
        Outcome::CacheFill
    };
    (outcome, Some(whole), warm.len())
}

/// Whether what rose in the first half rises in the second, `late`, as well, rather than coming to an end.
fn goes_on(late: &[Point], first: &Fit, second: &Fit, budget: f64) -> bool {
    if second.p_value >= HALF_LEVEL || second.slope <= budget {
        return false;
    }
    let flattens = second.slope < first.slope / 2.0 && first.steeper_than(second) > FLATTER_MIN;
    if !flattens {
        return true;
    }
    let (third, fourth) = late.split_at(late.len() / 2);
    let (Some(third), Some(fourth)) = (fit(third), fit(fourth)) else { return false };
    fourth.p_value < QUARTER_LEVEL && fourth.low > budget && fourth.slope >= 0.75 * third.slope
}

/// Points after the first fifth of the operations, without the last sample; those without progress since the one
/// before are merged with it.
fn after_warm_up(samples: &[SampleReport], figure: Figure) -> Vec<Point> {
    let Some((end, samples)) = samples.split_last() else { return Vec::new() };
    let done = end.operations;
    let warm_up = done as f64 * WARM_UP;
    let mut points: Vec<Point> = Vec::with_capacity(samples.len());
    for sample in samples {
        let (x, Some(y)) = (sample.operations as f64, figure.of(sample)) else { continue };
        match points.last_mut() {
            _ if x < warm_up => {}
            Some(last) if x <= last.x => last.y = last.y.min(y),
            _ => points.push(Point { x, y }),
        }
    }
    points
}

/// At most [`POINTS_MAX`] points, each the lowest of a stretch.
fn thinned(points: &[Point]) -> Vec<Point> {
    let count = points.len().min(POINTS_MAX);
    let begin = |stretch: usize| stretch * points.len() / count;
    let lowest = |stretch: &[Point]| stretch.iter().copied().min_by(|left, right| left.y.total_cmp(&right.y));
    (0..count).filter_map(|stretch| lowest(&points[begin(stretch)..begin(stretch + 1)])).collect()
}

fn describe(outcome: Outcome, figure: Figure, fit: &Fit, samples: usize, budget: f64) -> String {
    let slope = format!(
        "{} in 1\u{a0}000 operations ({} to {})",
        amount(figure, fit.slope),
        amount(figure, fit.low),
        amount(figure, fit.high)
    );
    match outcome {
        Outcome::Stable => "stable: no trend".to_owned(),
        Outcome::WithinBudget => {
            format!("rises by {slope}, not surely more than the {} allowed", amount(figure, budget))
        }
        Outcome::CacheFill => "a cache filling: rose, then flattened".to_owned(),
        Outcome::Leak => format!("leak: {slope}"),
        Outcome::Fragmentation => {
            format!("fragmentation: resident memory rises by {slope}, live bytes don't")
        }
        Outcome::LeakOrFragmentation => {
            format!("leak or fragmentation: rises by {slope}; live bytes were not counted")
        }
        Outcome::TooFewSamples { needed } => {
            format!("too few samples: {samples} after warm-up, needs {needed}")
        }
        Outcome::NotMeasured => "not measured".to_owned(),
    }
}

/// Of a thousand operations.
fn amount(figure: Figure, per_operation: f64) -> String {
    let of_thousand = per_operation * 1e3;
    if figure.is_size() { format::bytes(of_thousand) } else { format!("{of_thousand:.3}") }
}

#[cfg(test)]
mod tests;
