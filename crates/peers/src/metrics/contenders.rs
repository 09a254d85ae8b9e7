//! What is compared, each behind the same two calls.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use steadfast_metrics::Registry;

/// Something to record into from any thread.
pub(super) trait Contender: Sync {
    fn name(&self) -> &'static str;
    /// Records `records` times on the calling thread, a multiple of the number of values, in turn; a counter counts one each time.
    fn record(&self, values: &[u64], records: u64);
    /// What its users do now and then besides, not measured.
    fn between_rounds(&self) {}
}

pub(super) const BARE: &str = "thread-local load + store";
pub(super) const COUNTER: &str = "steadfast counter";

/// A name, and what records one value.
struct Plain<F>(&'static str, F);

impl<F: Fn(u64) + Sync> Contender for Plain<F> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn record(&self, values: &[u64], records: u64) {
        in_turn(values, records, |value| self.1(black_box(value)));
    }
}

/// The values in turn; there are a multiple of them. Two loops rather than `cycle`, whose own instructions would be as many as a counter's.
#[inline]
fn in_turn(values: &[u64], records: u64, record: impl Fn(u64)) {
    for _ in 0..records / values.len() as u64 {
        values.iter().copied().for_each(&record);
    }
}

fn plain(name: &'static str, record: impl Fn(u64) + Sync + 'static) -> Box<dyn Contender> {
    Box::new(Plain(name, record))
}

thread_local! {
    static BARE_CELL: Cell<u64> = const { Cell::new(0) };
    static HDR: RefCell<hdrhistogram::Histogram<u64>> =
        RefCell::new(hdrhistogram::Histogram::new_with_bounds(1, 1 << 42, 2).expect("bounds are legal"));
    static H2: RefCell<histogram::Histogram> = RefCell::new(histogram::Histogram::new(6, 42).expect("powers are legal"));
}

/// All of them, counters first.
pub(super) fn all() -> Vec<Box<dyn Contender>> {
    let registry = Registry::new();
    let counter = registry.counter("counter").expect("the name is new and legal");
    let histogram = registry.histogram("histogram").expect("the name is new and legal");
    let prometheus_counter = prometheus::IntCounter::new("counter", "counter").expect("the name is legal");
    let prometheus_histogram =
        prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("histogram", "histogram"))
            .expect("the name is legal");
    let client_counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    let client_histogram = prometheus_client::metrics::histogram::Histogram::new(
        prometheus_client::metrics::histogram::exponential_buckets(1e-6, 4.0, 12),
    );
    let shared_h2 = histogram::AtomicHistogram::new(6, 42).expect("powers are legal");
    vec![
        plain(BARE, |_| {
            BARE_CELL.with(|cell| {
                let cell = black_box(cell);
                cell.set(cell.get() + 1);
            });
        }),
        plain(COUNTER, move |_| black_box(&counter).increment()),
        plain("prometheus counter", move |_| black_box(&prometheus_counter).inc()),
        plain("prometheus-client counter", move |_| {
            black_box(&client_counter).inc();
        }),
        Box::new(Facade::new(false)),
        plain("steadfast histogram", move |value| black_box(&histogram).record(value)),
        plain("hdrhistogram, one a thread, 2 digits", |value| {
            HDR.with(|histogram| black_box(histogram).borrow_mut().saturating_record(value));
        }),
        plain("histogram, one a thread", |value| {
            H2.with(|histogram| {
                let _ = black_box(histogram).borrow_mut().increment(value);
            });
        }),
        plain("histogram, atomic and shared", move |value| {
            let _ = black_box(&shared_h2).increment(value);
        }),
        plain("prometheus histogram", move |value| {
            black_box(&prometheus_histogram).observe(value as f64 * 1e-9);
        }),
        plain("prometheus-client histogram", move |value| {
            black_box(&client_histogram).observe(value as f64 * 1e-9);
        }),
        Box::new(Facade::new(true)),
    ]
}

/// The `metrics` facade's handles, of its Prometheus exporter.
struct Facade {
    exporter: PrometheusRecorder,
    counter: metrics::Counter,
    histogram: metrics::Histogram,
    is_histogram: bool,
}

impl Facade {
    fn new(is_histogram: bool) -> Self {
        let builder = PrometheusBuilder::new().set_buckets(&[1e-5, 1e-4, 1e-3, 1e-2]);
        let exporter = builder.expect("there are buckets").build_recorder();
        let metadata = Metadata::new("peers", Level::INFO, None);
        let key = |name| Key::from_parts(name, Vec::<Label>::new());
        let counter = exporter.register_counter(&key("counter"), &metadata);
        let histogram = exporter.register_histogram(&key("histogram"), &metadata);
        Self { exporter, counter, histogram, is_histogram }
    }
}

impl Contender for Facade {
    fn name(&self) -> &'static str {
        if self.is_histogram { "metrics + exporter histogram" } else { "metrics + exporter counter" }
    }

    fn record(&self, values: &[u64], records: u64) {
        in_turn(values, records, |value| {
            if self.is_histogram {
                black_box(&self.histogram).record(black_box(value) as f64 * 1e-9);
            } else {
                black_box(value);
                black_box(&self.counter).increment(1);
            }
        });
    }

    fn between_rounds(&self) {
        // Its histograms keep every value until someone asks.
        black_box(self.exporter.handle().render());
    }
}
