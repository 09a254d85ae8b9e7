//! Mann–Kendall and Theil–Sen: is there a trend, and how steep is it? Pure.
//!
//! Neither asks how the noise is distributed, and neither is moved by a few outliers. Both compare all pairs of
//! points, so the caller bounds their number.
//!
//! - Significance: Mann (1945) and Kendall (1975), with the variance corrected for ties.
//! - Serial correlation: samples of one process resemble their neighbours, and pretending that they are independent
//!   finds trends everywhere. The variance is enlarged after Hamed and Rao, "A modified Mann–Kendall trend test for
//!   autocorrelated data" (J. Hydrology 204, 1998), from the ranks of the detrended series. Their sum over all lags
//!   would also shrink the variance of a saw-tooth; here it ends at the first lag that isn't positive (after Geyer's
//!   initial positive sequence, 1992), so that the correction only ever makes the test stricter. What is left of the
//!   sample counts as its degrees of freedom: Student's t stands in for the normal distribution.
//! - Slope: the median of all pairs' slopes, with its interval after Sen (J. Am. Stat. Assoc. 63, 1968), from the same
//!   enlarged variance.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Points are too few below this: five can be in order by chance once in 120 times.
pub(super) const POINTS_MIN: usize = 5;
/// Up to here the distribution of Kendall's statistic is counted out, not approximated.
const EXACT_MAX: usize = 10;

/// A value after some operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A straight line through points, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    /// Theil–Sen, in y's unit for one of x's.
    pub(super) slope: f64,
    /// The ends of its 95 % interval.
    pub(super) low: f64,
    pub(super) high: f64,
    /// One-sided: how likely a series without a trend rises like this or more.
    pub(super) p_value: f64,
}

impl Fit {
    /// How far apart two slopes are, in standard errors of their difference; positive if `self` is steeper.
    pub(super) fn steeper_than(&self, other: &Self) -> f64 {
        // An interval of 95 % is 1.96 standard errors to each side.
        let error = |fit: &Self| (fit.high - fit.low) / (2.0 * 1.96);
        let of_difference = error(self).hypot(error(other));
        match self.slope - other.slope {
            0.0 => 0.0,
            // Two lines without noise differ for sure.
            difference => difference / of_difference,
        }
    }
}

/// Fits a line; nothing for fewer than [`POINTS_MIN`] points. `points` are in the order of x, and no x is there twice.
pub(super) fn fit(points: &[Point]) -> Option<Fit> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    let mut s = 0_i64;
    for (place, from) in points.iter().enumerate() {
        for to in &points[place + 1..] {
            slopes.push((to.y - from.y) / (to.x - from.x));
            s += i64::from(to.y > from.y) - i64::from(to.y < from.y);
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = median(&slopes);
    let (variance, tied) = kendall_variance(points);
    let residuals: Vec<f64> = points.iter().map(|point| point.y - slope * point.x).collect();
    let inflation = inflation(&ranks(&residuals));
    let deviation = (variance * inflation).sqrt();
    let freedom = (points.len() as f64 / inflation - 2.0).floor().max(1.0);
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let is_exact = !tied && inflation == 1.0 && points.len() <= EXACT_MAX;
    let p_value = match s {
        _ if variance <= 0.0 => 1.0,
        s if is_exact => exact_tail(points.len(), s),
        // The statistic moves in steps of 2: half a step is taken off, towards no trend.
        s => student.sf((s - s.signum()) as f64 / deviation),
    };
    let pairs = slopes.len();
    let within = (student.inverse_cdf(0.975) * deviation).min(pairs as f64);
    let beyond = ((pairs as f64 - within) / 2.0) as usize;
    let (low, high) = (slopes[beyond.saturating_sub(1)], slopes[(pairs - beyond).min(pairs - 1)]);
    Some(Fit { slope, low, high, p_value: p_value.clamp(0.0, 1.0) })
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The variance of Kendall's S without a trend, and whether there were ties.
fn kendall_variance(points: &[Point]) -> (f64, bool) {
    let term = |count: usize| {
        let count = count as f64;
        count * (count - 1.0) * (2.0 * count + 5.0)
    };
    let mut values: Vec<f64> = points.iter().map(|point| point.y).collect();
    values.sort_unstable_by(f64::total_cmp);
    let tied: f64 = values.chunk_by(|left, right| left == right).map(|equal| term(equal.len())).sum();
    ((term(points.len()) - tied) / 18.0, tied > 0.0)
}

/// The chance of S or more among all orders of `count` different values.
fn exact_tail(count: usize, s: i64) -> f64 {
    // How many orders have so many pairs the wrong way round: Kendall's recursion, one value more in each round.
    let mut orders = vec![1.0_f64];
    for values in 2..=count {
        let mut next = vec![0.0; orders.len() + values - 1];
        for (inversions, ways) in orders.iter().enumerate() {
            next[inversions..inversions + values].iter_mut().for_each(|sum| *sum += ways);
        }
        orders = next;
    }
    let pairs = orders.len() as i64 - 1;
    // S = pairs − 2 × inversions.
    let inversions_max = (pairs - s) / 2;
    orders.iter().take(inversions_max as usize + 1).sum::<f64>() / orders.iter().sum::<f64>()
}

/// From 1; equal values share the middle of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&left, &right| values[left].total_cmp(&values[right]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|&left, &right| values[left] == values[right]) {
        let rank = below as f64 + f64::midpoint(1.0, equal.len() as f64);
        for &place in equal {
            ranks[place] = rank;
        }
        below += equal.len();
    }
    ranks
}

/// By how much serial correlation enlarges the variance of S: at least 1.
fn inflation(ranks: &[f64]) -> f64 {
    let n = ranks.len() as f64;
    let mean = ranks.iter().sum::<f64>() / n;
    let centred: Vec<f64> = ranks.iter().map(|rank| rank - mean).collect();
    let power: f64 = centred.iter().map(|value| value * value).sum();
    if power <= 0.0 {
        return 1.0;
    }
    // What chance alone gives is no correlation: 1.64 / √n is its one-sided 5 % bound, for the first lag.
    let mut sum = 0.0;
    for lag in 1..ranks.len() / 2 {
        let product: f64 = centred.iter().zip(&centred[lag..]).map(|(left, right)| left * right).sum();
        // An autocorrelation estimated from few points is too small, by (1 + 3ρ)/n where it is (Marriott and Pope 1954).
        let measured = product / power;
        let correlation = measured + (1.0 + 3.0 * measured) / n;
        if correlation <= if lag == 1 { 1.64 / n.sqrt() } else { 0.0 } {
            break;
        }
        let left = n - lag as f64;
        sum += left * (left - 1.0) * (left - 2.0) * correlation.min(1.0);
    }
    1.0 + 2.0 * sum / (n * (n - 1.0) * (n - 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        values.iter().enumerate().map(|(place, &y)| Point { x: place as f64, y }).collect()
    }

    #[test]
    fn the_slope_is_the_median_of_all_pairs() {
        // One outlier of six doesn't move it.
        let line = fit(&points(&[1.0, 3.0, 5.0, 700.0, 9.0, 11.0])).unwrap();
        assert_eq!(line.slope, 2.0);
        assert!(line.low <= 2.0 && line.high >= 2.0);
        assert_eq!(fit(&points(&[1.0, 2.0, 3.0, 4.0])), None);
    }

    /// The variance of S with ties, from Gilbert, "Statistical Methods for Environmental Pollution Monitoring" (1987),
    /// equation 16.2.
    #[test]
    fn ties_lower_the_variance() {
        let (variance, tied) = kendall_variance(&points(&[1.0, 1.0, 2.0, 3.0, 3.0, 3.0]));
        // (6·5·17 − 2·1·9 − 3·2·11) / 18
        assert_eq!((variance, tied), ((510.0 - 18.0 - 66.0) / 18.0, true));
        let flat = fit(&points(&[7.0; 30])).unwrap();
        assert_eq!((flat.slope, flat.low, flat.high, flat.p_value), (0.0, 0.0, 0.0, 1.0));
    }

    /// Kendall's table: of 5 values, S = 10 once, S ≥ 8 five times in 120.
    #[test]
    fn few_points_are_counted_out() {
        assert_eq!(exact_tail(5, 10), 1.0 / 120.0);
        assert_eq!(exact_tail(5, 8), 5.0 / 120.0);
        assert_eq!(exact_tail(5, -10), 1.0);
        assert!((exact_tail(4, 0) - 0.625).abs() < 1e-12);
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 9.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn correlated_points_count_for_less() {
        let alternating: Vec<f64> = (0..60).map(|place| f64::from(place % 2)).collect();
        assert_eq!(inflation(&ranks(&alternating)), 1.0, "never below 1");
        let slow: Vec<f64> = (0..60).map(|place| (f64::from(place) / 5.0).sin()).collect();
        assert!(inflation(&ranks(&slow)) > 5.0);
    }
}
