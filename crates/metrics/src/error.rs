//! What can be wrong with what a metric is asked to be. Recording never fails.

use std::fmt;

/// Why something was refused. Nothing was changed.
///
/// ```
/// use steadfast_metrics::{MetricsError, Registry};
///
/// let registry = Registry::new();
/// let requests = registry.counter("requests")?;
/// let again = registry.counter("requests");
/// assert!(matches!(again, Err(MetricsError::Duplicate { name }) if name == "requests_total"));
/// # Ok::<(), MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsError {
    /// The registry has a metric that is exposed by this name.
    Duplicate {
        /// The name as exposed.
        name: String,
    },
    /// The name can't be exposed.
    IllegalName {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The name of a label can't be exposed.
    IllegalLabel {
        /// The metric.
        metric: String,
        /// The label's name as given.
        label: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A metric has too many labels.
    TooManyLabels {
        /// The metric.
        metric: String,
        /// How many were given.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A number is out of bounds.
    OutOfBounds {
        /// Which.
        field: &'static str,
        /// What it was.
        found: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The registry has no place for more.
    Full {
        /// Of what: cells or histograms.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// Two snapshots have a metric of the same name that isn't the same.
    Mismatch {
        /// The metric.
        name: String,
        /// What differs.
        what: &'static str,
    },
    /// What was read is no histogram: buckets out of order or out of range, or a sum or extremes that they can't have.
    IllegalHistogram {
        /// Which rule it breaks.
        reason: &'static str,
    },
}

impl MetricsError {
    /// Whether the same call may succeed later: never, as nothing that a registry holds is taken away.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { name } => write!(f, "the registry has a metric `{name}` already"),
            Self::IllegalName { name, reason } => write!(f, "`{name}` is no name for a metric: {reason}"),
            Self::IllegalLabel { metric, label, reason } => {
                write!(f, "`{label}` is no name for a label of `{metric}`: {reason}")
            }
            Self::TooManyLabels { metric, found, most } => {
                write!(f, "`{metric}` has {found} labels; at most {most} are allowed")
            }
            Self::OutOfBounds { field, found, least, most } => {
                write!(f, "{field} is {found}; it must be {least} to {most}")
            }
            Self::Full { what, most } => write!(f, "the registry is full: it holds at most {most} {what}"),
            Self::Mismatch { name, what } => write!(f, "`{name}` is not the same in both: the {what} differ"),
            Self::IllegalHistogram { reason } => write!(f, "this is no histogram: {reason}"),
        }
    }
}

impl std::error::Error for MetricsError {}
