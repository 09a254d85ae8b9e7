//! Objectives: what must hold of a run's figures, written as k6 writes thresholds.
//!
//! ```text
//! objective  = "exactly" name "==" number
//!            | "leak" figure comparison number [unit] "/op"
//!            | "value" name comparison number [unit]
//!            | "errors" "of" kind comparison number "%"
//!            | metric [scope] comparison bound
//! scope      = "over" number unit | "in" "phase" name | "in" "each" "phase"
//! bound      = number [unit] | number "x" "in" "phase" name
//! figure     = "live_bytes" | "rss_bytes" | "open_files" | "threads"
//! metric     = "p" number | "min" | "mean" | "max" | "stddev" | "elapsed"       a time: ns us µs ms s min
//!            | "rate"                                                           /s
//!            | "success" | "errors" | "timeouts"                                %
//!            | "rss_growth"                                                     B KB MB GB KiB MiB GiB
//! comparison = "<" | "<=" | ">" | ">=" | "=="
//! ```
//!
//! A metric's unit must be of its dimension, and must be there. `==` is for what is counted: a measured time is never
//! exactly another. A scope is for what operations tell: latency, rates and shares.

mod judge;
mod parse;
mod spans;

use std::fmt;
use std::str::FromStr;

use crate::trend::Figure;

pub use self::parse::ObjectiveError;

pub(crate) use self::judge::{Finding, Measured, Part, PhasePart, Standing, judge};
pub(crate) use self::spans::Spans;

/// One condition on a run's figures; parse it from text.
///
/// ```
/// use steadfast_stress::Objective;
///
/// let objective: Objective = "p99.9 <= 1s".parse()?;
/// assert_eq!(objective.to_string(), "p99.9 <= 1s");
///
/// let error = "p95 < 100".parse::<Objective>().unwrap_err();
/// assert_eq!(error.to_string(), "`p95 < 100`, column 10: expected a unit of time (ns, us, ms, s, min), found the end");
/// # Ok::<(), steadfast_stress::ObjectiveError>(())
/// ```
///
/// What each metric means:
///
/// | metric | is |
/// |---|---|
/// | `pN`, `min`, `mean`, `max`, `stddev` | latency: service time in a closed loop, response time in an open one |
/// | `rate` | operations that succeeded, a second of `elapsed` |
/// | `success`, `errors`, `timeouts` | share of the operations issued |
/// | `errors of refused` | share of the operations issued that failed with this kind of [`Failure`](crate::Failure) |
/// | `elapsed` | the load's time, without set-up and checks |
/// | `rss_growth` | highest resident memory under load, less that just before it |
/// | `leak live_bytes`, `leak rss_bytes`, `leak open_files`, `leak threads` | what an operation leaves behind, by the trend over the load: `leak live_bytes <= 1B/op`, `leak open_files <= 0.001/op` |
/// | `exactly name`, `value name` | what the scenario's check reported under that name |
///
/// Latency, rates and shares can be asked for in part of the load:
///
/// | scope | holds if |
/// |---|---|
/// | `p95 over 10s < 1s` | it holds in every 10 s of the load, second by second; in a shorter load, over all of it |
/// | `errors in phase spike <= 5%` | it holds of the operations that started in that phase |
/// | `errors in each phase <= 5%` | it holds in every phase |
/// | `p50 in phase after <= 1.5x in phase before` | it is at most 1.5 times what it is there |
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    pub(crate) metric: Metric,
    pub(crate) scope: Scope,
    pub(crate) comparison: Comparison,
    pub(crate) bound: Bound,
}

/// Which part of the load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scope {
    Whole,
    /// Each span of this time.
    Over(Quantity),
    Phase(String),
    EachPhase,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bound {
    Absolute(Quantity),
    /// So many times what the metric is in that phase.
    TimesPhase(f64, String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Metric {
    /// Above 0 and below 100.
    Percentile(f64),
    Min,
    Mean,
    Max,
    StandardDeviation,
    Elapsed,
    Rate,
    Success,
    Errors,
    Timeouts,
    RssGrowth,
    /// The errors of one kind.
    ErrorsOf(String),
    /// What grows with the operations.
    Leak(Figure),
    /// A count that the scenario reports.
    Exactly(String),
    /// Any value that the scenario reports.
    Value(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// A number as it was written, with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) number: f64,
    pub(crate) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    None,
    Ns,
    Us,
    Ms,
    S,
    Min,
    B,
    Kb,
    Mb,
    Gb,
    Kib,
    Mib,
    Gib,
    Percent,
    PerSecond,
    BPerOperation,
    KbPerOperation,
    KibPerOperation,
    PerOperation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Number,
    Time,
    Size,
    Share,
    Rate,
    SizePerOperation,
    CountPerOperation,
}

impl Metric {
    /// What it is measured in; nothing if the scenario decides that.
    pub(crate) fn dimension(&self) -> Option<Dimension> {
        match self {
            Self::Percentile(_)
            | Self::Min
            | Self::Mean
            | Self::Max
            | Self::StandardDeviation
            | Self::Elapsed => Some(Dimension::Time),
            Self::Rate => Some(Dimension::Rate),
            Self::Success | Self::Errors | Self::ErrorsOf(_) | Self::Timeouts => Some(Dimension::Share),
            Self::RssGrowth => Some(Dimension::Size),
            Self::Leak(figure) if figure.is_size() => Some(Dimension::SizePerOperation),
            Self::Leak(_) => Some(Dimension::CountPerOperation),
            Self::Exactly(_) => Some(Dimension::Number),
            Self::Value(_) => None,
        }
    }
}

impl Objective {
    /// The phases that it names.
    pub(crate) fn phases(&self) -> impl Iterator<Item = &str> {
        let scope = match &self.scope {
            Scope::Phase(name) => Some(name.as_str()),
            _ => None,
        };
        let bound = match &self.bound {
            Bound::TimesPhase(_, name) => Some(name.as_str()),
            Bound::Absolute(_) => None,
        };
        scope.into_iter().chain(bound)
    }
}

impl Bound {
    /// In ns, bytes, shares of 1, or as it is; nothing where another phase decides.
    pub(crate) fn in_base_units(&self) -> Option<f64> {
        match self {
            Self::Absolute(quantity) => Some(quantity.in_base_units()),
            Self::TimesPhase(..) => None,
        }
    }
}

impl Metric {
    /// Whether it can be asked of part of a load.
    pub(crate) fn can_be_scoped(&self) -> bool {
        match self {
            Self::Percentile(_)
            | Self::Min
            | Self::Mean
            | Self::Max
            | Self::StandardDeviation
            | Self::Rate
            | Self::Success
            | Self::Errors
            | Self::Timeouts => true,
            Self::Elapsed
            | Self::ErrorsOf(_)
            | Self::RssGrowth
            | Self::Leak(_)
            | Self::Exactly(_)
            | Self::Value(_) => false,
        }
    }
}

impl Comparison {
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        // Longer ones first: `<` is the beginning of `<=`.
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    pub(crate) fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::Less => measured < bound,
            Self::LessOrEqual => measured <= bound,
            Self::Greater => measured > bound,
            Self::GreaterOrEqual => measured >= bound,
            Self::Equal => measured == bound,
        }
    }

    /// Whether small values are good.
    pub(crate) fn is_upper_bound(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

impl Quantity {
    /// In ns, bytes, shares of 1, or as it is.
    pub(crate) fn in_base_units(self) -> f64 {
        match self.unit {
            // 95 / 100 is the same number as 19 / 20 of the operations; 95 × 0.01 is not.
            Unit::Percent => self.number / 100.0,
            unit => self.number * unit.scale(),
        }
    }
}

impl Unit {
    pub(crate) const ALL: [(&'static str, Self, Dimension, f64); 20] = [
        ("ns", Self::Ns, Dimension::Time, 1.0),
        ("us", Self::Us, Dimension::Time, 1e3),
        ("µs", Self::Us, Dimension::Time, 1e3),
        ("ms", Self::Ms, Dimension::Time, 1e6),
        ("s", Self::S, Dimension::Time, 1e9),
        ("min", Self::Min, Dimension::Time, 60e9),
        ("B", Self::B, Dimension::Size, 1.0),
        ("KB", Self::Kb, Dimension::Size, 1e3),
        ("MB", Self::Mb, Dimension::Size, 1e6),
        ("GB", Self::Gb, Dimension::Size, 1e9),
        ("KiB", Self::Kib, Dimension::Size, 1024.0),
        ("MiB", Self::Mib, Dimension::Size, 1_048_576.0),
        ("GiB", Self::Gib, Dimension::Size, 1_073_741_824.0),
        ("%", Self::Percent, Dimension::Share, 0.01),
        ("/s", Self::PerSecond, Dimension::Rate, 1.0),
        ("B/op", Self::BPerOperation, Dimension::SizePerOperation, 1.0),
        ("KB/op", Self::KbPerOperation, Dimension::SizePerOperation, 1e3),
        ("KiB/op", Self::KibPerOperation, Dimension::SizePerOperation, 1024.0),
        ("/op", Self::PerOperation, Dimension::CountPerOperation, 1.0),
        ("", Self::None, Dimension::Number, 1.0),
    ];

    fn row(self) -> (&'static str, Self, Dimension, f64) {
        // Every unit has a row, so the default is never taken.
        Self::ALL.into_iter().find(|row| row.1 == self).unwrap_or(("", Self::None, Dimension::Number, 1.0))
    }

    pub(crate) fn dimension(self) -> Dimension {
        self.row().2
    }

    fn scale(self) -> f64 {
        self.row().3
    }
}

impl Dimension {
    /// What to write after a number, for an error message.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Number => "no unit",
            Self::Time => "a unit of time (ns, us, ms, s, min)",
            Self::Size => "a unit of size (B, KB, MB, GB, KiB, MiB, GiB)",
            Self::Share => "`%`",
            Self::Rate => "`/s`",
            Self::SizePerOperation => "a unit of size for each operation (B/op, KB/op, KiB/op)",
            Self::CountPerOperation => "`/op`",
        }
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::objective(text)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {} {}", self.metric, self.scope, self.comparison, self.bound)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Over(time) => write!(f, " over {time}"),
            Self::Phase(name) => write!(f, " in phase {name}"),
            Self::EachPhase => f.write_str(" in each phase"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(quantity) => write!(f, "{quantity}"),
            Self::TimesPhase(factor, name) => write!(f, "{factor}x in phase {name}"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(percent) => write!(f, "p{percent}"),
            Self::ErrorsOf(kind) => write!(f, "errors of {kind}"),
            Self::Leak(figure) => write!(f, "leak {}", figure.name()),
            Self::Exactly(name) => write!(f, "exactly {name}"),
            Self::Value(name) => write!(f, "value {name}"),
            named => {
                let word = parse::METRICS.iter().find(|(_, metric)| metric == named);
                f.write_str(word.map_or("", |(word, _)| word))
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Self::ALL.iter().find(|(_, comparison)| comparison == self);
        f.write_str(sign.map_or("", |(sign, _)| sign))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.row().0)
    }
}
