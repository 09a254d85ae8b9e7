//! Histograms against a sorted vector of what was recorded, against hdrhistogram, and against the `histogram` crate's buckets; the laws of subtracting and merging.

use proptest::prelude::*;
use steadfast_metrics::{Description, Family, Histogram, HistogramSnapshot, Registry, Shape, Snapshot};

fn shapes() -> impl Strategy<Value = Shape> {
    (0_u8..=10, 1_u8..=64)
        .prop_filter_map("it has too many buckets", |(group, range)| Shape::new(group, range).ok())
}

/// As many small values as large ones.
fn values(most: usize) -> impl Strategy<Value = Vec<u64>> {
    let value = (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
    prop::collection::vec(value, 0..most)
}

fn recorded(shape: Shape, values: &[u64]) -> HistogramSnapshot {
    let registry = Registry::new();
    let histogram = registry.histogram(Description::new("values", "").shape(shape)).unwrap();
    for value in values {
        histogram.record(*value);
    }
    histogram.read()
}

/// M2, M3, M6 and the extremes, against the values themselves.
fn assert_holds(read: &HistogramSnapshot, values: &[u64], shape: Shape) {
    let mut sorted: Vec<u64> = values.iter().map(|value| (*value).min(shape.value_max())).collect();
    sorted.sort_unstable();
    assert_eq!(read.count(), sorted.len() as u64);
    assert_eq!(read.buckets().map(|(_, _, count)| count).sum::<u64>(), read.count());
    assert_eq!(read.clamped(), values.iter().filter(|value| **value > shape.value_max()).count() as u64);
    assert_eq!((read.min(), read.max()), (sorted.first().copied(), sorted.last().copied()));
    if read.is_exact() {
        assert_eq!(read.sum(), sorted.iter().map(|value| u128::from(*value)).sum::<u128>());
    }
    if sorted.is_empty() {
        assert_eq!((read.mean(), read.quantile(0.5)), (None, None));
        return;
    }
    let count = u128::from(read.count());
    assert!(count * u128::from(sorted[0]) <= read.sum());
    assert!(read.sum() <= count * u128::from(sorted[sorted.len() - 1]));
    let mut before = 0;
    for permille in 0..=1000 {
        let q = f64::from(permille) / 1000.0;
        let rank = ((q * sorted.len() as f64).ceil() as usize).max(1);
        let (truth, found) = (sorted[rank - 1], read.quantile(q).unwrap());
        assert!((found.lower..=found.upper).contains(&truth), "{q}: {truth} not in {found:?}");
        let off = (found.estimate().abs_diff(truth)) as f64;
        assert!(off <= truth as f64 * shape.relative_error(), "{q}: {truth} told as {}", found.estimate());
        assert!(found.estimate() >= before, "not monotone at {q}");
        before = found.estimate();
    }
}

proptest! {
    #[test]
    fn any_values_are_told_as_a_sorted_vector_tells_them(shape in shapes(), values in values(200)) {
        assert_holds(&recorded(shape, &values), &values, shape);
    }

    #[test]
    fn buckets_are_those_of_the_histogram_crate(shape in shapes(), values in values(50)) {
        // It refuses some shapes that are legal here.
        if let Ok(mut theirs) = histogram::Histogram::new(shape.grouping_power(), shape.range_power()) {
            let all: Vec<_> = theirs.into_iter().map(|bucket| bucket.range()).collect();
            prop_assert_eq!(shape.bucket_count(), all.len());
            for value in values.into_iter().map(|value| value.min(shape.value_max())) {
                theirs.increment(value).unwrap();
                let bucket = shape.bucket(value);
                prop_assert!(all[bucket].contains(&value));
                prop_assert_eq!(shape.lower(bucket)..=shape.upper(bucket), all[bucket].clone());
                prop_assert!(theirs.as_slice()[bucket] > 0);
            }
        }
    }

    #[test]
    fn a_bucket_holds_its_bounds_and_no_more(shape in shapes(), seed in any::<usize>()) {
        let bucket = seed % shape.bucket_count();
        let (lower, upper) = (shape.lower(bucket), shape.upper(bucket));
        prop_assert!(lower <= upper && upper <= shape.value_max());
        prop_assert_eq!((shape.bucket(lower), shape.bucket(upper)), (bucket, bucket));
        prop_assert!((upper - lower) as f64 <= lower as f64 * shape.relative_error());
        if upper < shape.value_max() {
            prop_assert_eq!(shape.bucket(upper + 1), bucket + 1);
        }
    }

    #[test]
    fn quantiles_agree_with_hdrhistogram(values in prop::collection::vec(1_u64..1 << 40, 1..300), permille in 1_u32..=1000) {
        let mut oracle = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 42, 4).unwrap();
        for value in &values {
            oracle.record(*value).unwrap();
        }
        let q = f64::from(permille) / 1000.0;
        let found = recorded(Shape::default(), &values).quantile(q).unwrap().estimate() as f64;
        let told = oracle.value_at_quantile(q) as f64;
        prop_assert!((found / told - 1.0).abs() <= 1.0 / 64.0 + 1e-3, "{} {}", found, told);
    }

    #[test]
    fn what_came_in_between_is_what_came_in_between(shape in shapes(), before in values(100), since in values(100)) {
        let registry = Registry::new();
        let histogram = registry.histogram(Description::new("values", "").shape(shape)).unwrap();
        for value in &before {
            histogram.record(*value);
        }
        let earlier = histogram.read();
        for value in &since {
            histogram.record(*value);
        }
        let delta = histogram.read().delta(&earlier).unwrap();
        let alone = recorded(shape, &since);
        prop_assert_eq!(delta.count(), alone.count());
        prop_assert!(delta.buckets().eq(alone.buckets()));
        prop_assert_eq!(delta.clamped(), alone.clamped());
        if delta.is_exact() && alone.is_exact() {
            prop_assert_eq!(delta.sum(), alone.sum());
        }
        prop_assert!(delta.min() <= alone.min() && delta.max() >= alone.max());
        if delta.are_extremes_exact() {
            prop_assert_eq!((delta.min(), delta.max()), (alone.min(), alone.max()));
        }
        if let (Some(min), Some(max)) = (delta.min(), delta.max()) {
            let count = u128::from(delta.count());
            prop_assert!(count * u128::from(min) <= delta.sum() && delta.sum() <= count * u128::from(max));
        }
        // And the two together are what was there in the end.
        let mut both = earlier.clone();
        both.merge(&delta).unwrap();
        prop_assert!(both.buckets().eq(histogram.read().buckets()));
        prop_assert_eq!(earlier.delta(&histogram.read()).is_ok(), since.is_empty());
    }

    #[test]
    fn merging_is_commutative_and_associative(a in registries(), b in registries(), c in registries()) {
        let merged = |parts: &[&Snapshot]| {
            let mut all = parts[0].clone();
            for part in &parts[1..] {
                all.merge(part).unwrap();
            }
            all
        };
        let (a, b, c) = (a.snapshot(), b.snapshot(), c.snapshot());
        let timeless = |snapshot: Snapshot| snapshot.families;
        prop_assert_eq!(timeless(merged(&[&a, &b])), timeless(merged(&[&b, &a])));
        let right = merged(&[&b, &c]);
        prop_assert_eq!(timeless(merged(&[&a, &b, &c])), timeless(merged(&[&a, &right])));
        let empty = Snapshot::default();
        prop_assert_eq!(timeless(merged(&[&a, &empty])), timeless(a.clone()));
    }
}

/// A registry with some of the metrics that others have as well.
fn registries() -> impl Strategy<Value = Registry> {
    (prop::collection::vec((0_usize..5, 0_u64..1 << 50), 0..30), any::<i8>()).prop_map(|(records, level)| {
        let registry = Registry::new();
        let latency: Family<Histogram, 1> = registry.family("latency", ["of"]).unwrap();
        let counter = registry.counter("records").unwrap();
        registry.gauge("level").unwrap().set(i64::from(level));
        for (series, value) in records {
            latency.with([["a", "b", "c", "d", "e"][series]]).record(value);
            counter.increment();
        }
        registry
    })
}

#[test]
fn snapshots_of_other_metrics_do_not_merge() {
    let (one, other) = (Registry::new(), Registry::new());
    one.histogram("latency").unwrap().record(1);
    let coarse = Description::new("latency", "").shape(Shape::new(2, 20).unwrap());
    other.histogram(coarse).unwrap().record(1);
    let mut merged = one.snapshot();
    let before = merged.clone();
    let refused = merged.merge(&other.snapshot()).unwrap_err();
    assert!(refused.to_string().contains("latency_seconds"), "{refused}");
    assert_eq!(merged, before);
}

#[test]
fn a_sum_that_is_full_stays_within_what_its_buckets_allow() {
    let shape = Shape::new(3, 64).unwrap();
    let read = recorded(shape, &[u64::MAX, u64::MAX, u64::MAX, 7]);
    assert_holds(&read, &[u64::MAX, u64::MAX, u64::MAX, 7], shape);
    assert!(!read.is_exact());
    assert!(read.sum() > u128::from(u64::MAX));
}

#[test]
fn what_came_in_between_has_extremes_of_its_own() {
    let histogram = Registry::new().histogram("values").unwrap();
    let between = |before: [u64; 2], since: [u64; 2]| {
        let record = |values: [u64; 2]| values.map(|value| histogram.record(value));
        record(before);
        let earlier = histogram.read();
        record(since);
        let delta = histogram.read().delta(&earlier).unwrap();
        (delta.min(), delta.max(), delta.are_extremes_exact())
    };
    // Small values have buckets of their own, so bounds are exact all the same.
    assert_eq!(between([5, 100], [7, 110]), (Some(7), Some(110), false), "the minimum didn't move");
    assert_eq!(between([5, 120], [4, 110]), (Some(4), Some(110), false), "the maximum didn't move");
    assert_eq!(between([5, 120], [3, 125]), (Some(3), Some(125), true));
}
