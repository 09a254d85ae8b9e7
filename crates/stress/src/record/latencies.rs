//! A distribution of times: an HDR histogram that never refuses a value.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer times are recorded as this long: one hour.
const NS_MAX: u64 = 3_600_000_000_000;
/// Three digits: a recorded time is exact to 0.1 %.
const DIGITS: u8 = 3;
/// Two digits, exact to 1 %, where many are kept.
const DIGITS_COARSE: u8 = 2;

/// Times from 1 ns to an hour, exact to 0.1 %; about 270 KB. A coarse one is exact to 1 % and takes 36 KB.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        // Panics: never; 1 and NS_MAX are proper bounds, and 3 digits are allowed.
        Self(Histogram::new_with_bounds(1, NS_MAX, DIGITS).expect("constant bounds are right"))
    }

    pub(crate) fn coarse() -> Self {
        // Panics: never, as above.
        Self(Histogram::new_with_bounds(1, NS_MAX, DIGITS_COARSE).expect("constant bounds are right"))
    }

    /// Writes to all of its memory, so that the system hands it out now and not under load.
    pub(crate) fn touch(&mut self) {
        self.0.record_n(1, 1).expect("1 ns is within the bounds");
        self.0.reset();
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A time of 0 is below the clock's grain; it is kept as 1 ns.
        self.0.saturating_record(ns.clamp(1, NS_MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Cheaper than the library's `add` where `other` is mostly empty, which a window mostly is.
        for step in other.0.iter_recorded() {
            self.0.saturating_record_n(step.value_iterated_to(), step.count_since_last_iteration());
        }
    }

    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            self.0.reset();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that `percent` of all stayed within; 0 where nothing was recorded.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        // 99.9 / 100 × 1000 comes out a little above 999; without this the rank would be the 1000th.
        const ROUNDING: f64 = 1e-9;
        Duration::from_nanos(self.0.value_at_percentile((percent - ROUNDING).max(0.0)))
    }

    pub(crate) fn min(&self) -> Duration {
        Duration::from_nanos(self.0.min())
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    pub(crate) fn mean_ns(&self) -> f64 {
        self.0.mean()
    }

    pub(crate) fn standard_deviation_ns(&self) -> f64 {
        self.0.stdev()
    }

    /// The histogram itself, for writers of its own format.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// `(upper edge in ns, count)`, each bucket at most 2 % wide, empty ones left out.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        const WIDTH: f64 = 1.02;
        let mut buckets: Vec<(u64, u64)> = Vec::new();
        let mut first = 0.0;
        for step in self.0.iter_recorded() {
            let (edge, count) = (step.value_iterated_to(), step.count_since_last_iteration());
            match buckets.last_mut() {
                Some(last) if edge as f64 <= first * WIDTH => *last = (edge, last.1 + count),
                _ => {
                    first = edge as f64;
                    buckets.push((edge, count));
                }
            }
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_to_a_thousandth() {
        let mut latencies = Latencies::new();
        latencies.touch();
        for ms in 1..=1_000 {
            latencies.record(Duration::from_millis(ms));
        }
        let near = |time: Duration, ms: f64| (time.as_secs_f64() * 1e3 / ms - 1.0).abs() < 0.001;
        assert!(near(latencies.percentile(50.0), 500.0));
        assert!(near(latencies.percentile(99.9), 999.0));
        assert!(near(latencies.max(), 1_000.0));
        assert!((latencies.mean_ns() / 500.5e6 - 1.0).abs() < 0.001);
    }

    #[test]
    fn nothing_is_refused() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert_eq!(latencies.min(), Duration::from_nanos(1));
        assert!(latencies.max() >= Duration::from_secs(3_599));
    }

    #[test]
    fn adding_and_buckets_lose_nothing() {
        let (mut left, mut right) = (Latencies::new(), Latencies::new());
        for n in 1..10_000_u64 {
            left.record(Duration::from_nanos(n * n));
            right.record(Duration::from_nanos(n * 7));
        }
        let mut both = left.clone();
        both.add(&right);
        assert_eq!(both.count(), left.count() + right.count());
        assert_eq!(both.max(), left.max());
        assert_eq!(both.percentile(100.0), left.percentile(100.0));
        let buckets = both.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), both.count());
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0) && buckets.len() < 2_000);
    }
}
