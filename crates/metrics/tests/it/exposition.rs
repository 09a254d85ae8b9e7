//! The text formats, read back by a parser that passes the OpenMetrics conformance tests; and snapshots stored and read back.

use std::collections::BTreeMap;

use openmetrics_parser::{MetricNumber, OpenMetricsValue, PrometheusValue};
use proptest::prelude::*;
use steadfast_metrics::{Counter, Description, Family, Gauge, Histogram, Registry, TextFormat, Unit};

/// Bounds, cumulative counts, and sum and count of a histogram as a scrape reads them.
#[derive(Debug, Default, PartialEq)]
struct Scraped {
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

fn number(number: &MetricNumber) -> f64 {
    match number {
        MetricNumber::Float(float) => *float,
        MetricNumber::Int(int) => *int as f64,
    }
}

fn open_metrics(text: &str) -> BTreeMap<String, Scraped> {
    // The parser takes units for those of counters, gauges and summaries only; the format has them for histograms too (section "Unit" of OpenMetrics 1.0).
    let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.starts_with("# UNIT")).collect();
    let text = lines.concat();
    let text = text.as_str();
    let parsed = openmetrics_parser::openmetrics::parse_openmetrics(text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut found = BTreeMap::new();
    for (name, family) in parsed.families {
        for sample in family.into_iter_samples() {
            let labels = format!(
                "{name} {}",
                sample
                    .get_labelset()
                    .unwrap()
                    .iter()
                    .map(|(_, value)| value.to_owned())
                    .collect::<Vec<_>>()
                    .join(",")
            );
            let scraped = match &sample.value {
                OpenMetricsValue::Histogram(histogram) => Scraped {
                    buckets: histogram
                        .buckets
                        .iter()
                        .map(|b| (b.upper_bound, number(&b.count) as u64))
                        .collect(),
                    sum: number(&histogram.sum.unwrap()),
                    count: histogram.count.unwrap(),
                },
                OpenMetricsValue::Counter(counter) => {
                    Scraped { sum: number(&counter.value), ..Scraped::default() }
                }
                OpenMetricsValue::Gauge(gauge) => Scraped { sum: number(gauge), ..Scraped::default() },
                other => panic!("{other:?}"),
            };
            found.insert(labels, scraped);
        }
    }
    found
}

fn prometheus(text: &str) -> BTreeMap<String, Scraped> {
    let parsed = openmetrics_parser::prometheus::parse_prometheus(text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut found = BTreeMap::new();
    for (name, family) in parsed.families {
        for sample in family.into_iter_samples() {
            let labels = format!(
                "{name} {}",
                sample
                    .get_labelset()
                    .unwrap()
                    .iter()
                    .map(|(_, value)| value.to_owned())
                    .collect::<Vec<_>>()
                    .join(",")
            );
            let scraped = match &sample.value {
                PrometheusValue::Histogram(histogram) => Scraped {
                    buckets: histogram
                        .buckets
                        .iter()
                        .map(|b| (b.upper_bound, number(&b.count) as u64))
                        .collect(),
                    sum: number(&histogram.sum.unwrap()),
                    count: histogram.count.unwrap(),
                },
                PrometheusValue::Counter(counter) => {
                    Scraped { sum: number(&counter.value), ..Scraped::default() }
                }
                PrometheusValue::Gauge(gauge) => Scraped { sum: number(gauge), ..Scraped::default() },
                other => panic!("{other:?}"),
            };
            found.insert(labels, scraped);
        }
    }
    found
}

/// M4, for one histogram of which these values were recorded, in nanoseconds.
fn assert_scraped(scraped: &Scraped, values: &[u64]) {
    assert!(
        scraped.buckets.is_sorted_by(|before, after| before.0 < after.0 && before.1 <= after.1),
        "{scraped:?}"
    );
    assert_eq!(scraped.buckets.last(), Some(&(f64::INFINITY, values.len() as u64)));
    assert_eq!(scraped.count, values.len() as u64);
    for (bound, count) in &scraped.buckets {
        let within = values.iter().filter(|value| **value as f64 / 1e9 <= *bound).count();
        assert_eq!(*count, within as u64, "up to {bound}");
    }
    let sum = values.iter().sum::<u64>() as f64 / 1e9;
    assert!((scraped.sum - sum).abs() <= sum * 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_histogram_and_any_label_is_read_back(
        values in prop::collection::vec((0_u32..32, 0_u64..1 << 41).prop_map(|(shift, bits)| bits >> shift), 0..100),
        label in "[ -~äß\n\\\\\"]{0,20}",
        help in "[ -~\n\\\\\"]{0,20}",
        count in any::<u64>(),
    ) {
        let registry = Registry::new();
        let latency: Family<Histogram, 1> = registry.family(Description::new("latency", help.trim()), ["of"]).unwrap();
        let latency = latency.with([&label]);
        for value in &values {
            latency.record(*value);
        }
        registry.counter("requests").unwrap().add(count);
        let snapshot = registry.snapshot();
        for (format, parse) in [(TextFormat::OpenMetrics, open_metrics as fn(&str) -> _), (TextFormat::Prometheus, prometheus)] {
            let found: BTreeMap<String, Scraped> = parse(&snapshot.render(format));
            prop_assert_eq!(found.len(), 2);
            let (name, histogram) = found.first_key_value().unwrap();
            prop_assert!(name.starts_with("latency_seconds"));
            assert_scraped(histogram, &values);
            let (_, counter) = found.last_key_value().unwrap();
            prop_assert_eq!(counter.sum, count as f64);
        }
    }
}

#[test]
fn the_text_is_what_the_formats_ask_for() {
    let registry = Registry::new();
    let requests: Family<Counter, 2> =
        registry.family(Description::new("requests", "Answered \"all\""), ["method", "path"]).unwrap();
    requests.with(["GET", "a\"b\\c\nd"]).add(u64::MAX);
    registry.gauge(Description::new("heap", "").unit(Unit::Bytes)).unwrap().set(-5);
    registry.real_gauge("ratio").unwrap().set(f64::NEG_INFINITY);
    let sizes = Description::new("body", "Sizes").unit(Unit::Bytes).exposed_powers(1, 3);
    let sizes = registry.histogram(sizes).unwrap();
    for size in [1, 2, 7, 8] {
        sizes.record(size);
    }
    let snapshot = registry.snapshot();
    let open = "# TYPE body_bytes histogram\n# UNIT body_bytes bytes\n# HELP body_bytes Sizes\n\
        body_bytes_bucket{le=\"1.0\"} 1\nbody_bytes_bucket{le=\"3.0\"} 2\nbody_bytes_bucket{le=\"7.0\"} 3\nbody_bytes_bucket{le=\"+Inf\"} 4\n\
        body_bytes_sum 18\nbody_bytes_count 4\n\
        # TYPE heap_bytes gauge\n# UNIT heap_bytes bytes\nheap_bytes -5\n\
        # TYPE ratio gauge\nratio -Inf\n\
        # TYPE requests counter\n# HELP requests Answered \\\"all\\\"\nrequests_total{method=\"GET\",path=\"a\\\"b\\\\c\\nd\"} 18446744073709551615\n# EOF\n";
    assert_eq!(snapshot.render(TextFormat::OpenMetrics), open);
    let plain = snapshot.render(TextFormat::Prometheus);
    assert!(
        plain.contains(
            "# TYPE requests_total counter\n# HELP requests_total Answered \"all\"\nrequests_total{"
        ),
        "{plain}"
    );
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));
}

#[test]
fn durations_are_exposed_in_seconds() {
    let registry = Registry::new();
    let latency = registry.histogram(Description::new("latency", "")).unwrap();
    latency.record(1_500_000_000);
    let found = open_metrics(&registry.snapshot().render(TextFormat::OpenMetrics));
    let (name, scraped) = found.first_key_value().unwrap();
    assert!(name.starts_with("latency_seconds"));
    assert_scraped(scraped, &[1_500_000_000]);
    assert_eq!(scraped.buckets.len(), 28, "1 µs to 69 s, and +Inf");
}

#[test]
fn what_is_in_flight_is_exposed() {
    let registry = Registry::new();
    let active: Family<Gauge, 1> = registry.family("active", ["pool"]).unwrap();
    let _one = active.with(["a"]).enter();
    let text = registry.snapshot().render(TextFormat::Prometheus);
    assert!(text.ends_with("active{pool=\"a\"} 1\n"), "{text}");
}

#[cfg(feature = "serde")]
mod stored {
    use steadfast_metrics::{HistogramSnapshot, Shape, Snapshot};

    use super::*;

    fn registry() -> Registry {
        let registry = Registry::new();
        let wide = Description::new("wide", "").shape(Shape::new(3, 64).unwrap());
        let wide = registry.histogram(wide).unwrap();
        for value in [1, u64::MAX, u64::MAX - 5] {
            wide.record(value);
        }
        registry.counter("count").unwrap().add(7);
        registry.gauge("level").unwrap().set(-3);
        registry
    }

    #[test]
    fn a_snapshot_is_read_back_as_it_was() {
        let snapshot = registry().snapshot();
        let stored = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&stored).unwrap(), snapshot);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = r#"{"shape":[6,42],"buckets":[[3,2],[5,1]],"sum":11,"min":3,"max":5,"clamped":0,"is_exact":true,"are_extremes_exact":true}"#;
        assert_eq!(serde_json::from_str::<HistogramSnapshot>(good).unwrap().count(), 3);
        for (what, bad) in [
            ("sum", good.replace("11", "12")),
            ("sum", good.replace("11", "10")),
            ("min", good.replace(r#""min":3"#, r#""min":2"#)),
            ("max", good.replace(r#""max":5"#, r#""max":6"#)),
            ("clamped", good.replace(r#""clamped":0"#, r#""clamped":4"#)),
            ("order", good.replace("[3,2],[5,1]", "[5,1],[3,2]")),
            ("empty bucket", good.replace("[3,2],", "[3,2],[4,0],")),
            ("range", good.replace("[5,1]", "[9999,1]")),
            ("count", good.replace("[3,2]", "[3,18446744073709551615]")),
            ("shape", good.replace("[6,42]", "[42,42]")),
        ] {
            assert!(serde_json::from_str::<HistogramSnapshot>(&bad).is_err(), "{what}: {bad}");
        }
    }
}
