//! A recorder for the `metrics` facade: code that is instrumented with its macros records into a registry.
//!
//! The facade's recorders can't refuse, so what can't be registered records nowhere and is counted: [`FacadeRecorder::refused`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Key, KeyName, Metadata, SharedString};

use crate::registry::{Description, Registry, Unit};
use crate::snapshot::Kind;
use crate::{Counter, Histogram, RealGauge};

/// Records what the macros of the `metrics` facade record into a [`Registry`].
///
/// A name's dots and other letters that can't be exposed become `_`. Histograms get real numbers. Of what was described as seconds, milliseconds, microseconds or
/// nanoseconds, or is named `…_seconds`, they become nanoseconds; bytes stay bytes; of anything else millionths are kept.
/// Label values are bounded as in a [`Family`](crate::Family).
///
/// ```
/// use steadfast_metrics::{FacadeRecorder, Registry};
///
/// let registry = Registry::new();
/// let recorder = FacadeRecorder::new(&registry);
/// metrics::with_local_recorder(&recorder, || {
///     metrics::counter!("http.requests", "method" => "GET").increment(2);
///     metrics::histogram!("http.latency_seconds").record(0.25);
/// });
/// let snapshot = registry.snapshot();
/// assert_eq!(snapshot.counter("http_requests_total", &[("method", "GET")]), Some(2));
/// assert_eq!(snapshot.histogram("http_latency_seconds", &[]).unwrap().max(), Some(250_000_000));
/// ```
#[derive(Debug)]
pub struct FacadeRecorder {
    registry: Registry,
    described: Mutex<HashMap<String, Described>>,
    refused: AtomicU64,
}

#[derive(Clone, Debug)]
struct Described {
    help: String,
    unit: Option<metrics::Unit>,
}

impl FacadeRecorder {
    /// A recorder for this registry; `metrics::set_global_recorder` makes it everybody's.
    pub fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), described: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// How many registrations record nowhere: another kind of metric, or a metric not of the facade, has their name, or the registry is full.
    pub fn refused(&self) -> u64 {
        // Relaxed: a count for people.
        self.refused.load(Ordering::Relaxed)
    }

    fn described(&self) -> MutexGuard<'_, HashMap<String, Described>> {
        self.described.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, key: &KeyName, unit: Option<metrics::Unit>, help: &SharedString) {
        self.described().insert(key.as_str().to_owned(), Described { help: help.to_string(), unit });
    }

    /// The metric of this key, and what a unit of the facade's is in ours.
    fn resolve<M: crate::Metric>(&self, kind: Kind, key: &Key) -> Option<(M, f64)> {
        let described = self.described().get(key.name()).cloned();
        let (help, unit) =
            described.map_or((String::new(), None), |described| (described.help, described.unit));
        let mut name = legal(key.name(), true);
        for ending in ["_total", "_count", "_sum", "_bucket", "_created", "_info"] {
            // Exposing adds them.
            if let Some(rest) = name.strip_suffix(ending).map(str::len).filter(|rest| *rest > 0) {
                name.truncate(rest);
            }
        }
        let is_seconds = name.ends_with("_seconds");
        let (unit, scale) = match (kind, unit) {
            (Kind::Histogram, Some(unit)) => recorded(unit),
            (Kind::Histogram, None) if is_seconds => (Unit::Seconds, 1e9),
            (Kind::Histogram, None) => (Unit::Millionths, 1e6),
            _ => (Unit::None, 1.0),
        };
        let description = Description::new(name, help).unit(unit);
        let mut labels: Vec<(String, String)> =
            key.labels().map(|label| (legal(label.key(), false), label.value().to_owned())).collect();
        // The same labels in another order are the same series.
        labels.sort();
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let shared = self.registry.shared();
        let mut catalog = shared.lock();
        let family = match catalog.find(kind, &description) {
            Some((family, found, of)) => (found == kind && of == unit).then_some(family),
            None => catalog.register_family(kind, description, &names).ok(),
        };
        let source = family.and_then(|family| catalog.series_if_legal(family, labels));
        drop(catalog);
        let Some(source) = source else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some((shared.handle(&source), scale))
    }
}

/// In which unit of ours a histogram of one of theirs is recorded, and how many of ours make one of theirs.
fn recorded(unit: metrics::Unit) -> (Unit, f64) {
    match unit {
        metrics::Unit::Seconds => (Unit::Seconds, 1e9),
        metrics::Unit::Milliseconds => (Unit::Seconds, 1e6),
        metrics::Unit::Microseconds => (Unit::Seconds, 1e3),
        metrics::Unit::Nanoseconds => (Unit::Seconds, 1.0),
        metrics::Unit::Bytes => (Unit::Bytes, 1.0),
        metrics::Unit::Count => (Unit::None, 1.0),
        _ => (Unit::Millionths, 1e6),
    }
}

/// The name with `_` for each letter that can't be exposed.
fn legal(name: &str, colons: bool) -> String {
    let letter = |letter: char| {
        let is_legal = letter.is_ascii_alphanumeric() || letter == '_' || (colons && letter == ':');
        if is_legal { letter } else { '_' }
    };
    let legal: String = name.chars().map(letter).collect();
    if legal.starts_with(|first: char| first.is_ascii_digit()) { format!("_{legal}") } else { legal }
}

impl metrics::Recorder for FacadeRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<metrics::Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<metrics::Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<metrics::Unit>, help: SharedString) {
        self.describe(&key, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        let counter = self.resolve::<Counter>(Kind::Counter, key);
        counter.map_or_else(metrics::Counter::noop, |(counter, _)| {
            metrics::Counter::from_arc(Arc::new(FacadeCounter { counter, absolute: AtomicU64::new(0) }))
        })
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        let gauge = self.resolve::<RealGauge>(Kind::Real, key);
        gauge.map_or_else(metrics::Gauge::noop, |(gauge, _)| metrics::Gauge::from_arc(Arc::new(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let histogram = self.resolve::<Histogram>(Kind::Histogram, key);
        histogram.map_or_else(metrics::Histogram::noop, |(histogram, scale)| {
            metrics::Histogram::from_arc(Arc::new(FacadeHistogram { histogram, scale }))
        })
    }
}

/// A counter that may be told where it stands.
struct FacadeCounter {
    counter: Counter,
    /// The highest that it was told.
    absolute: AtomicU64,
}

impl metrics::CounterFn for FacadeCounter {
    fn increment(&self, value: u64) {
        self.counter.add(value);
    }

    fn absolute(&self, value: u64) {
        // Relaxed: each rise is added by whoever made it, in whichever order.
        let before = self.absolute.fetch_max(value, Ordering::Relaxed);
        self.counter.add(value.saturating_sub(before));
    }
}

impl metrics::GaugeFn for RealGauge {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

struct FacadeHistogram {
    histogram: Histogram,
    scale: f64,
}

impl FacadeHistogram {
    /// Below 0 and no number is 0; too much is `u64::MAX`, which is counted as clamped.
    fn whole(&self, value: f64) -> u64 {
        (value * self.scale).round() as u64
    }
}

impl metrics::HistogramFn for FacadeHistogram {
    fn record(&self, value: f64) {
        self.histogram.record(self.whole(value));
    }

    fn record_many(&self, value: f64, count: usize) {
        self.histogram.record_many(self.whole(value), count as u64);
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Label, Level, Recorder};

    use super::*;

    fn metadata() -> Metadata<'static> {
        Metadata::new("tests", Level::INFO, None)
    }

    fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
        Key::from_parts(
            name,
            labels.iter().map(|(name, value)| Label::new(*name, *value)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_counter_that_is_told_where_it_stands_never_goes_back() {
        let registry = Registry::new();
        let recorder = FacadeRecorder::new(&registry);
        let counter = recorder.register_counter(&key("jobs", &[]), &metadata());
        for told in [5, 9, 7] {
            counter.absolute(told);
        }
        counter.increment(1);
        assert_eq!(registry.snapshot().counter("jobs_total", &[]), Some(10));
    }

    #[test]
    fn units_are_taken_from_what_was_described() {
        let registry = Registry::new();
        let recorder = FacadeRecorder::new(&registry);
        recorder.describe_histogram("took".into(), Some(metrics::Unit::Milliseconds), "Time".into());
        recorder.register_histogram(&key("took", &[]), &metadata()).record(1.5);
        recorder.register_histogram(&key("ratio", &[]), &metadata()).record(0.25);
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.histogram("took_seconds", &[]).unwrap().max(), Some(1_500_000));
        assert_eq!(snapshot.family("took_seconds").unwrap().help, "Time");
        assert_eq!(snapshot.histogram("ratio", &[]).unwrap().max(), Some(250_000));
    }

    #[test]
    fn gauges_go_up_and_down() {
        let registry = Registry::new();
        let recorder = FacadeRecorder::new(&registry);
        let gauge = recorder.register_gauge(&key("level", &[("tank", "1")]), &metadata());
        gauge.set(2.5);
        gauge.increment(1.0);
        gauge.decrement(0.5);
        assert_eq!(registry.snapshot().families[0].series[0].value, crate::Value::Real(3.0));
    }

    #[test]
    fn what_cannot_be_registered_is_counted_and_records_nowhere() {
        let registry = Registry::new();
        registry.gauge("taken").unwrap();
        let recorder = FacadeRecorder::new(&registry);
        recorder.register_gauge(&key("taken", &[]), &metadata()).set(1.0);
        recorder.register_counter(&key("twice", &[("a", "1"), ("a", "2")]), &metadata()).increment(1);
        assert_eq!(recorder.refused(), 2);
        assert_eq!(registry.snapshot().gauge("taken", &[]), Some(0));
    }

    #[test]
    fn other_labels_of_one_name_are_series_of_one_family() {
        let registry = Registry::new();
        let recorder = FacadeRecorder::new(&registry);
        recorder.register_counter(&key("hits", &[("a", "1")]), &metadata()).increment(1);
        recorder.register_counter(&key("hits", &[("a", "1")]), &metadata()).increment(1);
        recorder.register_counter(&key("hits", &[("b.c", "1")]), &metadata()).increment(5);
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.counter("hits_total", &[("a", "1")]), Some(2));
        assert_eq!(snapshot.counter("hits_total", &[("b_c", "1")]), Some(5));
    }
}
