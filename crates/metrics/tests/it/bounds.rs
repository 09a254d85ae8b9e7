//! Bad input names what is wrong and changes nothing; memory and cardinality stay within their bounds.

use steadfast_metrics::{
    Counter, Description, Family, Histogram, MetricsError, Registry, Shape, TextFormat, Unit,
};

#[test]
fn bad_names_say_which_and_why() {
    let registry = Registry::new();
    for name in ["", "1st", "a-b", "a b", "é", "requests_total", "x_created", "x_info", &"n".repeat(257)] {
        let refused = registry.counter(name).unwrap_err();
        assert!(
            matches!(&refused, MetricsError::IllegalName { name: found, .. } if found == name),
            "{refused}"
        );
        assert!(refused.to_string().contains(name) && !refused.is_retryable());
    }
    for label in ["", "1", "a-b", "__a", "le", "quantile", "é", "a:b"] {
        let refused = registry.family::<Counter, 1>("requests", [label]).unwrap_err();
        assert!(
            matches!(&refused, MetricsError::IllegalLabel { label: found, .. } if found == label),
            "{refused}"
        );
    }
    let twice = registry.family::<Counter, 2>("requests", ["a", "a"]).unwrap_err();
    assert!(matches!(&twice, MetricsError::IllegalLabel { label, .. } if label == "a"), "{twice}");
    let many = registry.family::<Counter, 17>("requests", ["a"; 17]).unwrap_err();
    assert_eq!(
        many,
        MetricsError::TooManyLabels { metric: "requests_total".to_owned(), found: 17, most: 16 }
    );
    for series in [0, 65_537] {
        let refused = registry
            .family::<Counter, 1>(Description::new("requests", "").series_max(series), ["a"])
            .unwrap_err();
        assert!(matches!(
            refused,
            MetricsError::OutOfBounds { field: "series_max", least: 1, most: 65_536, .. }
        ));
    }
    let powers = registry.histogram(Description::new("latency", "").exposed_powers(5, 4)).unwrap_err();
    assert!(matches!(
        powers,
        MetricsError::OutOfBounds { field: "exposed_powers", found: 4, least: 5, most: 64 }
    ));
    assert!(registry.snapshot().families.is_empty(), "nothing was registered");
    assert_eq!(registry.snapshot().render(TextFormat::Prometheus), "");
}

#[test]
fn one_name_is_registered_once_whatever_its_unit_says() {
    let registry = Registry::new();
    registry.histogram("latency").unwrap();
    for again in ["latency", "latency_seconds"] {
        let refused = registry.histogram(again).unwrap_err();
        assert_eq!(refused, MetricsError::Duplicate { name: "latency_seconds".to_owned() });
    }
    assert!(registry.counter("latency").is_ok(), "it is exposed as latency_total");
    assert_eq!(registry.snapshot().families.len(), 2);
}

#[test]
fn bad_shapes_say_what_would_do() {
    assert_eq!(
        Shape::new(11, 64).unwrap_err(),
        MetricsError::OutOfBounds { field: "grouping_power", found: 11, least: 0, most: 10 }
    );
    assert!(Shape::new(10, 64).is_ok());
    assert!(matches!(
        Shape::new(3, 65).unwrap_err(),
        MetricsError::OutOfBounds { field: "range_power", found: 65, .. }
    ));
    assert!(matches!(
        Shape::new(3, 3).unwrap_err(),
        MetricsError::OutOfBounds { field: "grouping_power", most: 2, .. }
    ));
    assert!(Shape::new(255, 64).is_err() && Shape::new(0, 0).is_err());
}

#[test]
fn a_full_registry_refuses_and_its_families_go_on() {
    let registry = Registry::new();
    let before: Family<Counter, 1> = registry.family("before", ["of"]).unwrap();
    let family: Family<Counter, 1> =
        registry.family(Description::new("many", "").series_max(32_766), ["of"]).unwrap();
    for number in 0..32_766 {
        family.with([&number.to_string()]).increment();
    }
    assert!(matches!(registry.counter("more"), Err(MetricsError::Full { what: "cells", most: 32_768 })));
    before.with(["a"]).add(3);
    before.with(["b"]).add(4);
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.counter("before_total", &[("of", "other")]), Some(7));
    assert_eq!(snapshot.counter("many_total", &[("of", "32765")]), Some(1));
    for number in 0..4096 {
        registry.histogram(format!("h{number}")).unwrap();
    }
    assert!(matches!(registry.histogram("more"), Err(MetricsError::Full { what: "histograms", most: 4096 })));
}

#[test]
fn totals_are_conserved_whatever_labels_come() {
    let registry = Registry::new();
    let family: Family<Counter, 2> =
        registry.family(Description::new("hits", "").series_max(10), ["user", "page"]).unwrap();
    let long = "x".repeat(257);
    for number in 0..1000_u64 {
        family.with([&(number % 37).to_string(), "p"]).add(number);
    }
    family.with([&long, "p"]).add(1);
    family.with(["other", "other"]).add(1);
    let snapshot = registry.snapshot();
    let hits = snapshot.family("hits_total").unwrap();
    assert_eq!(hits.series.len(), 11);
    let counts = hits.series.iter().map(|series| match series.value {
        steadfast_metrics::Value::Counter(count) => count,
        _ => panic!("a counter"),
    });
    assert_eq!(counts.sum::<u64>(), 999 * 1000 / 2 + 2);
    assert!(hits.folded > 0);
}

#[test]
fn the_same_labels_are_the_same_series() {
    let registry = Registry::new();
    let family: Family<Histogram, 2> = registry.family("took", ["a", "b"]).unwrap();
    family.with(["1", "23"]).record(1);
    family.with(["12", "3"]).record(2);
    family.with(["1", "23"]).record(3);
    let snapshot = registry.snapshot();
    let read = snapshot.histogram("took_seconds", &[("b", "23"), ("a", "1")]).unwrap();
    assert_eq!((read.count(), read.sum()), (2, 4));
}

/// Bytes that one more thread costs, by what it does.
fn thread_bytes(record: impl Fn(&Histogram) + Sync) -> usize {
    let registry = Registry::new();
    let histogram = registry.histogram("latency").unwrap();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                record(&histogram);
                registry.memory().shard_bytes
            })
            .join()
            .unwrap()
    })
}

#[test]
fn memory_is_bounded() {
    assert_eq!(thread_bytes(|_| {}), 0, "a thread that records nothing has nothing");
    // A thread's first record makes its directory; a histogram is what it costs above that.
    let registry = Registry::new();
    let counter = registry.counter("counter").unwrap();
    let (first, second) = (registry.histogram("first").unwrap(), registry.histogram("second").unwrap());
    counter.increment();
    let directory = registry.memory().shard_bytes;
    assert!(directory <= 4096, "{directory}");
    first.record(1);
    let before = registry.memory().shard_bytes;
    second.record(1);
    let one = registry.memory().shard_bytes - before;
    assert!(one <= 4096, "a histogram with one value takes {one} bytes");

    // Full width: every bucket, on both sides.
    let shape = Shape::default();
    for _ in 0..50 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20 {
                    second.read();
                }
            });
            for bucket in 0..shape.bucket_count() {
                second.record(shape.lower(bucket));
            }
        });
    }
    let full = registry.memory().shard_bytes - before;
    assert!(full <= 40 * 1024, "{full}");
}

#[test]
fn ended_threads_take_nothing_more() {
    let registry = Registry::new();
    let histogram = registry.histogram("latency").unwrap();
    let run = || {
        std::thread::scope(|scope| {
            let record = || (0..1000).for_each(|value| histogram.record(value * 1000));
            let threads = [(); 4].map(|()| scope.spawn(record));
            // A scope alone waits for its threads' closures, not for their ends.
            for thread in threads {
                thread.join().unwrap();
            }
        });
        registry.memory()
    };
    let once = run();
    assert_eq!((once.threads, once.shard_bytes), (0, 0));
    assert!(once.base_bytes > 0);
    for _ in 0..20 {
        assert_eq!(run(), once);
    }
    assert_eq!(histogram.read().count(), 84 * 1000);
}

#[test]
fn a_name_is_refused_that_another_metric_has_as_a_sample() {
    let registry = Registry::new();
    let duplicate = |refused: MetricsError, name: &str| {
        assert_eq!(refused, MetricsError::Duplicate { name: name.to_owned() });
    };
    // By itself such a name is a name.
    registry.gauge("connections_count").unwrap();
    registry.counter("size_sum").unwrap();
    let items = || Description::new("connections", "").unit(Unit::None);
    duplicate(registry.histogram(items()).unwrap_err(), "connections");
    registry.histogram("connections").unwrap();
    for ending in ["bucket", "sum", "count"] {
        let name = format!("connections_seconds_{ending}");
        duplicate(registry.gauge(name.as_str()).unwrap_err(), &name);
    }
    // A counter's sample ends with `_total`, so it is another one.
    registry.counter("connections_seconds_sum").unwrap();
    registry.histogram(Description::new("size", "").unit(Unit::None)).unwrap();
    let text = registry.snapshot().render(TextFormat::OpenMetrics);
    assert!(text.contains("\nconnections_count 0\n"), "{text}");
}
