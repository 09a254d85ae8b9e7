//! What a metric is called and how it is measured.

use crate::registry::Shape;

/// What the numbers of a metric mean. They are recorded in whole numbers and exposed in the unit that Prometheus asks for, whose name ends the metric's.
///
/// ```
/// use steadfast_metrics::{Description, Registry, Unit};
///
/// let registry = Registry::new();
/// registry.counter(Description::new("sent", "Bytes sent").unit(Unit::Bytes))?.add(7);
/// assert_eq!(registry.snapshot().counter("sent_bytes_total", &[]), Some(7));
/// assert_eq!((Unit::Seconds.name(), Unit::Seconds.scale()), (Some("seconds"), 1e9));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Unit {
    /// Just numbers.
    None,
    /// Recorded in nanoseconds, exposed in seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Real numbers from 0 on, recorded in millionths, exposed as they are.
    Millionths,
}

impl Unit {
    /// What the exposed name ends with, if anything.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Millionths => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
        }
    }

    /// How many of what is recorded make one of what is exposed.
    pub fn scale(self) -> f64 {
        match self {
            Self::None | Self::Bytes => 1.0,
            Self::Seconds => 1e9,
            Self::Millionths => 1e6,
        }
    }
}

/// What a metric is called, how it is measured, and its bounds. A name alone will do: `registry.counter("requests")`.
///
/// ```
/// use steadfast_metrics::{Description, Registry, Shape, Unit};
///
/// let registry = Registry::new();
/// let sizes = registry.histogram(
///     Description::new("answer", "Bytes of an answer").unit(Unit::Bytes).shape(Shape::new(4, 30)?),
/// )?;
/// sizes.record(1 << 40); // out of range
/// let read = sizes.read();
/// assert_eq!((read.max(), read.clamped()), (Some((1 << 30) - 1), 1));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Description {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) unit: Option<Unit>,
    pub(crate) shape: Shape,
    pub(crate) series_max: usize,
    pub(crate) exposed_powers: Option<(u8, u8)>,
}

impl Description {
    /// A name without unit and without `_total`, and what it tells, for people.
    pub fn new(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            unit: None,
            shape: Shape::default(),
            series_max: 256,
            exposed_powers: None,
        }
    }

    /// The unit; by default seconds for histograms, none for the others.
    #[must_use]
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// How finely and how far a histogram tells values apart.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// How many series of a family are told apart, 256 by default; the rest is counted as one series more, whose labels are all `other`.
    #[must_use]
    pub fn series_max(mut self, series: usize) -> Self {
        self.series_max = series;
        self
    }

    /// Which buckets a histogram exposes: those that end below 2^`first`, 2^(`first` + 1) … 2^`last` of what is recorded. By default 10 to 36 for
    /// seconds (1 µs to 69 s) and 0 to 40 for others. Snapshots always hold all buckets.
    #[must_use]
    pub fn exposed_powers(mut self, first: u8, last: u8) -> Self {
        self.exposed_powers = Some((first, last));
        self
    }
}

impl From<&str> for Description {
    fn from(name: &str) -> Self {
        Self::new(name, "")
    }
}

impl From<String> for Description {
    fn from(name: String) -> Self {
        Self::new(name, "")
    }
}
