//! The ratio of two figures from repeats, with its interval. Pure.
//!
//! The unit is the repeat: one run of a scenario gives one number for each figure. Its windows and operations share
//! the process, the machine's state and the run's luck; counted as if they were independent they make any two runs
//! differ significantly. What they vary by is in how the repeats vary.
//!
//! Times and rates are positive and vary by factors, so all is done with logarithms: the ratio is that of geometric
//! means, and its interval is Welch's (Biometrika 34, 1947), which lets both sides vary differently. A bootstrap over
//! three to ten repeats would understate the interval: it knows no value that it hasn't seen, and has no small-sample
//! correction.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Fewer repeats of one side say nothing about how they vary.
pub(super) const REPEATS_MIN: usize = 3;

/// How often at most, of what is called a regression, it is none (Benjamini and Hochberg 1995).
const FALSE_DISCOVERIES: f64 = 0.02;

/// The ratio of two sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ratio {
    pub(super) value: f64,
    /// Its 95 % interval; nothing for too few repeats.
    pub(super) interval: Option<(f64, f64)>,
    /// How likely a ratio of `margin` or less looks like this.
    pub(super) p_value: f64,
}

/// `now / baseline`, tested against being more than `1 + margin`, or less than `1 / (1 + margin)` where more is better.
/// All values are above 0, and each side has one at least.
pub(super) fn ratio(baseline: &[f64], now: &[f64], margin: f64, more_is_better: bool) -> Ratio {
    let (old, new) = (Side::of(baseline), Side::of(now));
    let difference = new.mean - old.mean;
    let plain = Ratio { value: difference.exp(), interval: None, p_value: 1.0 };
    if baseline.len() < REPEATS_MIN || now.len() < REPEATS_MIN {
        return plain;
    }
    let error = (old.variance_of_mean + new.variance_of_mean).sqrt();
    let worse_by = if more_is_better { -difference } else { difference } - margin.ln_1p();
    if error == 0.0 {
        let p_value = if worse_by > 0.0 { 0.0 } else { 1.0 };
        return Ratio { interval: Some((plain.value, plain.value)), p_value, ..plain };
    }
    // Welch and Satterthwaite.
    let of_side = |side: &Side| side.variance_of_mean.powi(2) / (side.count - 1.0);
    let freedom = error.powi(4) / (of_side(&old) + of_side(&new));
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return plain };
    let reach = student.inverse_cdf(0.975) * error;
    let interval = ((difference - reach).exp(), (difference + reach).exp());
    Ratio { interval: Some(interval), p_value: student.sf(worse_by / error), ..plain }
}

/// Which of many tests found something, so that of all that is found at most 2 % is chance.
pub(super) fn discoveries(p_values: &[f64]) -> Vec<bool> {
    let mut sorted = p_values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let allowed = |place: usize| FALSE_DISCOVERIES * (place + 1) as f64 / sorted.len() as f64;
    let last = (0..sorted.len()).rev().find(|&place| sorted[place] <= allowed(place));
    let bound = last.map_or(-1.0, |place| sorted[place]);
    p_values.iter().map(|p_value| *p_value <= bound).collect()
}

/// The geometric mean; nothing's is 1.
pub(super) fn geometric_mean(values: &[f64]) -> f64 {
    if values.is_empty() { 1.0 } else { Side::of(values).mean.exp() }
}

/// Of logarithms.
struct Side {
    count: f64,
    mean: f64,
    variance_of_mean: f64,
}

impl Side {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| value.ln()).sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value.ln() - mean).powi(2)).sum();
        // What rounding leaves of equal values is no variance.
        let variance = if squares < 1e-24 { 0.0 } else { squares / (count - 1.0) };
        Self { count, mean, variance_of_mean: variance / count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Welch's t of the logarithms, computed by hand: means ln 10 and ln 12, variances 0.01, three repeats each.
    #[test]
    fn the_interval_is_welchs() {
        let around = |centre: f64| [centre * (-0.1_f64).exp(), centre, centre * 0.1_f64.exp()];
        let found = ratio(&around(10.0), &around(12.0), 0.0, false);
        let (low, high) = found.interval.unwrap();
        // t(0.975; 4) = 2.776445, standard error √(2 × 0.01 / 3) = 0.0816497.
        let reach: f64 = 2.776_445 * 0.081_649_7;
        assert!((found.value - 1.2).abs() < 1e-9);
        assert!((low - 1.2 * (-reach).exp()).abs() < 1e-5 && (high - 1.2 * reach.exp()).abs() < 1e-5);
        // t = ln 1.2 / 0.0816497 = 2.23298: above it lie 4.46 %.
        assert!((found.p_value - 0.0446).abs() < 2e-4, "{}", found.p_value);
    }

    #[test]
    fn the_direction_and_the_margin_count() {
        let (slow, fast) = ([110.0, 111.0, 112.0], [100.0, 101.0, 102.0]);
        assert!(ratio(&fast, &slow, 0.05, false).p_value < 0.01, "a latency that rose");
        assert!(ratio(&fast, &slow, 0.05, true).p_value > 0.99, "a rate that rose");
        assert!(ratio(&slow, &fast, 0.05, true).p_value < 0.01, "a rate that fell");
        assert!(ratio(&fast, &slow, 0.10, false).p_value > 0.1, "as much as is allowed");
        let same = ratio(&[5.0; 3], &[5.0; 3], 0.05, false);
        assert_eq!((same.interval, same.p_value), (Some((1.0, 1.0)), 1.0));
        assert_eq!(ratio(&[5.0; 3], &[6.0; 3], 0.05, false).p_value, 0.0);
    }

    #[test]
    fn two_repeats_have_no_interval() {
        let found = ratio(&[1.0, 1.0, 1.0], &[9.0, 9.0], 0.05, false);
        assert_eq!((found.interval, found.p_value), (None, 1.0));
        assert!((found.value - 9.0).abs() < 1e-9);
    }

    /// Benjamini and Hochberg's own procedure: the largest i with p(i) ≤ i × 2 % / 4, and all below it.
    #[test]
    fn more_tests_ask_for_more() {
        assert_eq!(discoveries(&[0.018]), [true]);
        assert_eq!(discoveries(&[0.018, 0.5]), [false, false]);
        assert_eq!(discoveries(&[0.014, 0.002, 0.9, 0.008]), [true, true, false, true]);
        assert!(discoveries(&[]).is_empty());
        assert_eq!(discoveries(&[1.0, 1.0]), [false, false]);
    }
}
