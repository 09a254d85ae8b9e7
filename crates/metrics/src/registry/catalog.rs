//! What is registered: families, their series, and where each series' numbers are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use super::{Description, Unit};
use crate::error::MetricsError;
use crate::shape::Shape;
use crate::shard::{CELLS_MAX, HISTOGRAMS_MAX};
use crate::snapshot::{FamilySnapshot, Kind};

/// Labels of a metric.
const LABELS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;
const SERIES_MAX: u64 = 1 << 16;
/// The value of all labels of the series that holds what was too much.
const OTHER: &str = "other";
/// Endings that tell a metric's type when it is exposed.
const RESERVED: [&str; 3] = ["_total", "_created", "_info"];
/// What the samples of a histogram add to its name.
const HISTOGRAM_SAMPLES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Where a series' numbers are.
#[derive(Clone)]
pub(crate) enum Source {
    Counter(u32),
    Gauge { level: Arc<AtomicI64>, entered: u32, left: u32 },
    Real(Arc<AtomicU64>),
    Histogram(u32, Shape),
}

pub(crate) type Labels = Vec<(String, String)>;

/// Everything that is registered. Nothing is ever taken out.
#[derive(Default)]
pub(crate) struct Catalog {
    families: Vec<Registered>,
    by_name: HashMap<String, usize>,
    cells: usize,
    histograms: usize,
}

struct Registered {
    /// As a snapshot tells it, but for the series.
    told: FamilySnapshot,
    shape: Shape,
    series_max: usize,
    series: Vec<(Labels, Source)>,
    by_labels: HashMap<Labels, usize>,
    /// Reserved with the family, so that it is there when nothing else has room.
    other: Option<(Labels, Source)>,
}

impl Catalog {
    /// All families, each with its series.
    pub(crate) fn families(&self) -> Vec<(FamilySnapshot, Vec<(Labels, Source)>)> {
        self.families
            .iter()
            .map(|family| {
                let other = family.other.iter().filter(|_| family.told.folded > 0);
                (family.told.clone(), family.series.iter().chain(other).cloned().collect())
            })
            .collect()
    }

    /// A family of one series without labels.
    pub(super) fn register_single(
        &mut self,
        kind: Kind,
        description: Description,
    ) -> Result<Source, MetricsError> {
        let family = self.checked(kind, description)?;
        let source = self.source(kind, family.shape)?;
        self.push(Registered { series: vec![(Vec::new(), source.clone())], ..family });
        Ok(source)
    }

    /// A family whose series are told apart by labels; its number.
    pub(crate) fn register_family(
        &mut self,
        kind: Kind,
        description: Description,
        labels: &[&str],
    ) -> Result<usize, MetricsError> {
        let found = description.series_max as u64;
        if !(1..=SERIES_MAX).contains(&found) {
            return Err(MetricsError::OutOfBounds { field: "series_max", found, least: 1, most: SERIES_MAX });
        }
        let mut family = self.checked(kind, description)?;
        check_labels(&family.told.name, labels)?;
        // Series that are told apart by labels of their own, as the facade's, may begin with one that has none.
        let names = if labels.is_empty() { &["series"] } else { labels };
        let other = names.iter().map(|label| ((*label).to_owned(), OTHER.to_owned())).collect();
        family.other = Some((other, self.source(kind, family.shape)?));
        Ok(self.push(family))
    }

    /// The number and kind of the family that is exposed by this name.
    #[cfg(feature = "facade")]
    pub(crate) fn find(&self, kind: Kind, description: &Description) -> Option<(usize, Kind, Unit)> {
        let (name, _) = exposed_name(kind, description);
        let at = *self.by_name.get(&name)?;
        Some((at, self.families[at].told.kind, self.families[at].told.unit))
    }

    /// As [`Catalog::series`], for labels that were not checked when the family was registered.
    #[cfg(feature = "facade")]
    pub(crate) fn series_if_legal(&mut self, family: usize, labels: Labels) -> Option<Source> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        check_labels(&self.families[family].told.name, &names).ok()?;
        Some(self.series(family, labels))
    }

    /// The series with these labels, made if there is room, and else the family's `other`.
    pub(crate) fn series(&mut self, family: usize, labels: Labels) -> Source {
        let registered = &self.families[family];
        if let Some(known) = registered.by_labels.get(&labels) {
            return registered.series[*known].1.clone();
        }
        let (kind, shape) = (registered.told.kind, registered.shape);
        let has_room = registered.series.len() < registered.series_max;
        let is_short = labels.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        let is_other = registered.other.as_ref().is_some_and(|(other, _)| *other == labels);
        if has_room
            && is_short
            && !is_other
            && let Ok(source) = self.source(kind, shape)
        {
            let registered = &mut self.families[family];
            registered.by_labels.insert(labels.clone(), registered.series.len());
            registered.series.push((labels, source.clone()));
            return source;
        }
        let registered = &mut self.families[family];
        registered.told.folded += 1;
        let Some((_, other)) = &registered.other else {
            unreachable!("whoever asks for series has a family with labels")
        };
        other.clone()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let text =
            |labels: &Labels| labels.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
        self.families
            .iter()
            .map(|family| {
                let series = family.series.iter().chain(&family.other);
                // Twice: in the list and in the map.
                let series = series.map(|(labels, _)| 2 * (text(labels) + 48)).sum::<usize>();
                size_of::<Registered>() + 2 * family.told.name.len() + family.told.help.len() + series
            })
            .sum()
    }

    fn checked(&self, kind: Kind, description: Description) -> Result<Registered, MetricsError> {
        check_name(&description.name)?;
        let (name, unit) = exposed_name(kind, &description);
        if self.is_taken(kind, &name) {
            return Err(MetricsError::Duplicate { name });
        }
        let default = if unit == Unit::Seconds { (10, 36) } else { (0, 40) };
        let (first, last) = description.exposed_powers.unwrap_or(default);
        if first > last || last > 64 {
            let (found, least) = (u64::from(last), u64::from(first.min(64)));
            return Err(MetricsError::OutOfBounds { field: "exposed_powers", found, least, most: 64 });
        }
        let told = FamilySnapshot {
            name,
            help: description.help,
            unit,
            kind,
            folded: 0,
            exposed_powers: (first, last),
            series: Vec::new(),
        };
        let (shape, series_max) = (description.shape, description.series_max);
        let (series, by_labels) = (Vec::new(), HashMap::new());
        Ok(Registered { told, shape, series_max, series, by_labels, other: None })
    }

    /// Whether a family by this name would have a sample that another one has.
    fn is_taken(&self, kind: Kind, name: &str) -> bool {
        if self.by_name.contains_key(name) {
            return true;
        }
        let is_histogram = |name: &str| {
            self.by_name.get(name).is_some_and(|&at| self.families[at].told.kind == Kind::Histogram)
        };
        let has = |other: String| self.by_name.contains_key(&other);
        HISTOGRAM_SAMPLES.iter().any(|ending| {
            name.strip_suffix(ending).is_some_and(is_histogram)
                || kind == Kind::Histogram && has(format!("{name}{ending}"))
        })
    }

    fn push(&mut self, family: Registered) -> usize {
        let at = self.families.len();
        self.by_name.insert(family.told.name.clone(), at);
        self.families.push(family);
        at
    }

    fn source(&mut self, kind: Kind, shape: Shape) -> Result<Source, MetricsError> {
        let mut take = |cells: usize, histograms: usize| {
            if self.cells + cells > CELLS_MAX {
                return Err(MetricsError::Full { what: "cells", most: CELLS_MAX });
            }
            if self.histograms + histograms > HISTOGRAMS_MAX {
                return Err(MetricsError::Full { what: "histograms", most: HISTOGRAMS_MAX });
            }
            let first = (self.cells as u32, self.histograms as u32);
            self.cells += cells;
            self.histograms += histograms;
            Ok(first)
        };
        Ok(match kind {
            Kind::Counter => Source::Counter(take(1, 0)?.0),
            Kind::Gauge => {
                let entered = take(2, 0)?.0;
                Source::Gauge { level: Arc::default(), entered, left: entered + 1 }
            }
            Kind::Real => Source::Real(Arc::default()),
            Kind::Histogram => Source::Histogram(take(0, 1)?.1, shape),
        })
    }
}

/// The name with its unit and, for a counter, `_total`.
fn exposed_name(kind: Kind, description: &Description) -> (String, Unit) {
    let default = if kind == Kind::Histogram { Unit::Seconds } else { Unit::None };
    let unit = description.unit.unwrap_or(default);
    let mut name = description.name.clone();
    if let Some(suffix) = unit.name() {
        let has_it = name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('_'));
        if !has_it {
            name = format!("{name}_{suffix}");
        }
    }
    if kind == Kind::Counter {
        name.push_str("_total");
    }
    (name, unit)
}

fn check_name(name: &str) -> Result<(), MetricsError> {
    let refuse = |reason| Err(MetricsError::IllegalName { name: name.to_owned(), reason });
    let may_begin = |first: char| first.is_ascii_alphabetic() || matches!(first, '_' | ':');
    if !name.starts_with(may_begin) {
        return refuse("it must begin with a letter, `_` or `:`");
    }
    if !name.chars().all(|letter| may_begin(letter) || letter.is_ascii_digit()) {
        return refuse("only letters of ASCII, digits, `_` and `:` are allowed");
    }
    if name.len() > NAME_BYTES_MAX {
        return refuse("it is longer than 256 bytes");
    }
    if RESERVED.iter().any(|ending| name.ends_with(ending)) {
        return refuse("its ending is one that tells a type: _total, _created, _info");
    }
    Ok(())
}

fn check_labels(metric: &str, labels: &[&str]) -> Result<(), MetricsError> {
    if labels.len() > LABELS_MAX {
        let metric = metric.to_owned();
        return Err(MetricsError::TooManyLabels { metric, found: labels.len(), most: LABELS_MAX });
    }
    for (at, label) in labels.iter().enumerate() {
        let reason = if !label.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            "it must begin with a letter or `_`"
        } else if !label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            "only letters of ASCII, digits and `_` are allowed"
        } else if label.len() > NAME_BYTES_MAX {
            "it is longer than 256 bytes"
        } else if label.starts_with("__") {
            "what begins with `__` is for Prometheus"
        } else if ["le", "quantile"].contains(label) {
            "`le` and `quantile` are for Prometheus"
        } else if labels[..at].contains(label) {
            "it is there twice"
        } else {
            continue;
        };
        let (metric, label) = (metric.to_owned(), (*label).to_owned());
        return Err(MetricsError::IllegalLabel { metric, label, reason });
    }
    Ok(())
}
