//! What was recorded until some moment: plain values, to be subtracted, merged, stored and sent.

mod histogram;

use std::time::Duration;

use crate::error::MetricsError;
use crate::registry::Unit;
pub use histogram::{HistogramSnapshot, Quantile};

/// What a registry held at some moment, or what came in between two moments.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// // Two processes, or two hosts.
/// let (here, there) = (Registry::new(), Registry::new());
/// here.counter("requests")?.add(3);
/// there.counter("requests")?.add(4);
/// let mut both = here.snapshot();
/// both.merge(&there.snapshot())?;
/// assert_eq!(both.counter("requests_total", &[]), Some(7));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// Since when it counts, on the registry's clock: its beginning, or the earlier snapshot.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// By name.
    pub families: Vec<FamilySnapshot>,
}

/// The metrics of one name.
///
/// ```
/// use steadfast_metrics::{Description, Kind, Registry, Unit};
///
/// let registry = Registry::new();
/// registry.gauge(Description::new("heap", "Bytes in use").unit(Unit::Bytes))?.set(10);
/// let snapshot = registry.snapshot();
/// let family = snapshot.family("heap_bytes").unwrap();
/// assert_eq!((family.kind, family.series.len(), family.folded), (Kind::Gauge, 1, 0));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FamilySnapshot {
    /// As it is exposed: with its unit, and `_total` for a counter.
    pub name: String,
    /// For people.
    pub help: String,
    /// What the numbers mean.
    pub unit: Unit,
    /// What the series are.
    pub kind: Kind,
    /// How often a series was asked for and given `other`.
    pub folded: u64,
    /// The powers of two that histograms expose buckets up to; see [`Description::exposed_powers`](crate::Description::exposed_powers).
    pub exposed_powers: (u8, u8),
    /// By labels.
    pub series: Vec<Series>,
}

/// What a family's series are.
///
/// ```
/// use steadfast_metrics::{Kind, Registry};
///
/// let registry = Registry::new();
/// registry.real_gauge("load_ratio")?;
/// assert_eq!(registry.snapshot().families[0].kind, Kind::Real);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Kind {
    /// Counts that only grow.
    Counter,
    /// Levels in whole numbers.
    Gauge,
    /// Levels in real numbers.
    Real,
    /// Distributions.
    Histogram,
}

/// One metric and its labels.
///
/// ```
/// use steadfast_metrics::{Registry, Value};
///
/// let registry = Registry::new();
/// registry.counter("requests")?.add(2);
/// let series = &registry.snapshot().families[0].series[0];
/// assert_eq!((series.labels.len(), &series.value), (0, &Value::Counter(2)));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Series {
    /// Names and values, in the order of their registration.
    pub labels: Vec<(String, String)>,
    /// What it held.
    pub value: Value,
}

/// What a metric held.
///
/// ```
/// use steadfast_metrics::{Registry, Value};
///
/// let registry = Registry::new();
/// registry.gauge("level")?.set(-4);
/// match registry.snapshot().families[0].series[0].value {
///     Value::Gauge(level) => assert_eq!(level, -4),
///     ref other => panic!("{other:?}"),
/// }
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Value {
    /// Of a counter.
    Counter(u64),
    /// Of a gauge in whole numbers.
    Gauge(i64),
    /// Of a gauge in real numbers.
    Real(f64),
    /// Of a histogram.
    Histogram(HistogramSnapshot),
}

impl Snapshot {
    /// How long it counts.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.to_ns.saturating_sub(self.from_ns))
    }

    /// The family that is exposed by this name.
    pub fn family(&self, name: &str) -> Option<&FamilySnapshot> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The counter of this exposed name with these labels, in any order.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        match self.value(name, labels)? {
            Value::Counter(count) => Some(*count),
            _ => None,
        }
    }

    /// The gauge in whole numbers of this exposed name with these labels, in any order.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        match self.value(name, labels)? {
            Value::Gauge(level) => Some(*level),
            _ => None,
        }
    }

    /// The histogram of this exposed name with these labels, in any order.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<&HistogramSnapshot> {
        match self.value(name, labels)? {
            Value::Histogram(histogram) => Some(histogram),
            _ => None,
        }
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let is_meant = |series: &&Series| {
            let has =
                |(name, value): &(&str, &str)| series.labels.iter().any(|(n, v)| n == name && v == value);
            series.labels.len() == labels.len() && labels.iter().all(has)
        };
        Some(&self.family(name)?.series.iter().find(is_meant)?.value)
    }

    /// What came after `earlier`, a snapshot of the same registry. Levels are as they are now.
    ///
    /// # Errors
    /// [`MetricsError::Mismatch`] if `earlier` has something that this one has less of, or has otherwise.
    pub fn delta(&self, earlier: &Self) -> Result<Self, MetricsError> {
        if let Some(gone) = earlier.families.iter().find(|family| self.family(&family.name).is_none()) {
            return Err(mismatch(&gone.name, "families"));
        }
        let families = self
            .families
            .iter()
            .map(|now| earlier.family(&now.name).map_or_else(|| Ok(now.clone()), |before| now.delta(before)));
        let families = families.collect::<Result<_, _>>()?;
        Ok(Self { from_ns: earlier.to_ns, to_ns: self.to_ns, families })
    }

    /// Adds what another registry held. Levels are added up as well. The time is from the earlier beginning to the later end, as if both had one clock.
    ///
    /// # Errors
    /// [`MetricsError::Mismatch`] if a metric of the same name isn't of the same kind, unit or shape; then nothing was changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricsError> {
        let mut families = self.families.clone();
        for theirs in &other.families {
            match families.iter_mut().find(|ours| ours.name == theirs.name) {
                Some(ours) => ours.merge(theirs)?,
                None => families.push(theirs.clone()),
            }
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        self.families = families;
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        Ok(())
    }
}

impl FamilySnapshot {
    fn delta(&self, earlier: &Self) -> Result<Self, MetricsError> {
        self.must_be_like(earlier)?;
        let find = |of: &Self, labels: &Vec<(String, String)>| {
            of.series.iter().position(|series| series.labels == *labels)
        };
        if earlier.series.iter().any(|series| find(self, &series.labels).is_none()) {
            return Err(mismatch(&self.name, "series"));
        }
        let series = self.series.iter().map(|now| {
            let Some(before) = find(earlier, &now.labels) else { return Ok(now.clone()) };
            let value = now.value.delta(&earlier.series[before].value, &self.name)?;
            Ok(Series { labels: now.labels.clone(), value })
        });
        let series = series.collect::<Result<_, _>>()?;
        let folded = self.folded.checked_sub(earlier.folded).ok_or_else(|| mismatch(&self.name, "times"))?;
        Ok(Self { folded, series, ..self.clone() })
    }

    fn merge(&mut self, other: &Self) -> Result<(), MetricsError> {
        self.must_be_like(other)?;
        for theirs in &other.series {
            match self.series.iter_mut().find(|ours| ours.labels == theirs.labels) {
                Some(ours) => ours.value.merge(&theirs.value, &self.name)?,
                None => self.series.push(theirs.clone()),
            }
        }
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.folded += other.folded;
        Ok(())
    }

    fn must_be_like(&self, other: &Self) -> Result<(), MetricsError> {
        if self.kind != other.kind {
            return Err(mismatch(&self.name, "kinds"));
        }
        if self.unit != other.unit {
            return Err(mismatch(&self.name, "units"));
        }
        Ok(())
    }
}

impl Value {
    fn delta(&self, earlier: &Self, name: &str) -> Result<Self, MetricsError> {
        Ok(match (self, earlier) {
            (Self::Counter(now), Self::Counter(before)) => {
                Self::Counter(now.checked_sub(*before).ok_or_else(|| mismatch(name, "times"))?)
            }
            (Self::Gauge(_), Self::Gauge(_)) | (Self::Real(_), Self::Real(_)) => self.clone(),
            (Self::Histogram(now), Self::Histogram(before)) => {
                Self::Histogram(now.delta(before).map_err(|_| mismatch(name, "shapes or times"))?)
            }
            _ => return Err(mismatch(name, "kinds")),
        })
    }

    fn merge(&mut self, other: &Self, name: &str) -> Result<(), MetricsError> {
        match (self, other) {
            (Self::Counter(ours), Self::Counter(theirs)) => *ours = ours.wrapping_add(*theirs),
            (Self::Gauge(ours), Self::Gauge(theirs)) => *ours = ours.wrapping_add(*theirs),
            (Self::Real(ours), Self::Real(theirs)) => *ours += theirs,
            (Self::Histogram(ours), Self::Histogram(theirs)) => {
                ours.merge(theirs).map_err(|_| mismatch(name, "shapes"))?;
            }
            _ => return Err(mismatch(name, "kinds")),
        }
        Ok(())
    }
}

fn mismatch(name: &str, what: &'static str) -> MetricsError {
    MetricsError::Mismatch { name: name.to_owned(), what }
}
