//! A histogram at rest: count, sum, extremes and quantiles of the same records.

use crate::error::MetricsError;
use crate::shape::Shape;
use crate::tally::Tally;

/// What a histogram held at some moment, or what came in between two moments.
///
/// The count is the sum of the buckets' counts, and sum and extremes are what records in these buckets can have, always. So
/// count · min ≤ sum ≤ count · max, and min ≤ any quantile ≤ max.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let sizes = registry.histogram("sizes")?;
/// [10, 20, 60].into_iter().for_each(|size| sizes.record(size));
/// let read = sizes.read();
/// assert_eq!((read.count(), read.sum(), read.mean()), (3, 90, Some(30.0)));
/// assert_eq!((read.min(), read.max(), read.clamped()), (Some(10), Some(60), 0));
/// assert_eq!(read.quantile(0.5).unwrap().estimate(), 20);
///
/// let before = read;
/// sizes.record(1000);
/// let since = sizes.read().delta(&before)?;
/// assert_eq!((since.count(), since.sum()), (1, 1000));
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Stored", into = "Stored"))]
pub struct HistogramSnapshot {
    shape: Shape,
    /// Those with anything in them, ascending.
    buckets: Vec<(u32, u64)>,
    count: u64,
    sum: u128,
    /// 0 without records, as `max`.
    min: u64,
    max: u64,
    clamped: u64,
    is_exact: bool,
    are_extremes_exact: bool,
}

/// Between which values a quantile lies: the value of that rank is one of `lower..=upper`.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let latency = registry.histogram("latency")?;
/// (1..=1000).for_each(|value| latency.record(value * 1000));
/// let p99 = latency.read().quantile(0.99).unwrap();
/// assert!(p99.lower <= 990_000 && 990_000 <= p99.upper);
/// assert!((p99.estimate() as f64 / 990_000.0 - 1.0).abs() <= p99.relative_error());
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// The least that it can be.
    pub lower: u64,
    /// The most that it can be.
    pub upper: u64,
}

impl Quantile {
    /// The middle of where it lies.
    pub fn estimate(self) -> u64 {
        self.lower + (self.upper - self.lower) / 2
    }

    /// How far the estimate may be off, as a share of the least that the value can be: half the shape's 2^-g at most, and 0 where the value is known.
    pub fn relative_error(self) -> f64 {
        let off = self.upper - self.estimate();
        if off == 0 { 0.0 } else { off as f64 / self.lower as f64 }
    }
}

impl HistogramSnapshot {
    /// Without records.
    pub fn empty(shape: Shape) -> Self {
        Self {
            shape,
            buckets: Vec::new(),
            count: 0,
            sum: 0,
            min: 0,
            max: 0,
            clamped: 0,
            is_exact: true,
            are_extremes_exact: true,
        }
    }

    pub(crate) fn of(tally: &Tally) -> Self {
        let buckets: Vec<(u32, u64)> = tally.buckets().map(|(at, count)| (at as u32, count)).collect();
        if buckets.is_empty() {
            return Self { is_exact: tally.exact, ..Self::empty(tally.shape()) };
        }
        Self {
            shape: tally.shape(),
            // Of the buckets, whatever else was counted.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: tally.sum,
            min: tally.min,
            max: tally.max,
            clamped: tally.clamped,
            is_exact: tally.exact,
            are_extremes_exact: tally.exact,
        }
    }

    /// How finely and how far it tells values apart.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What they add up to.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Their mean, unless there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The smallest one, unless there are none. Of a difference it may be a lower bound: see [`HistogramSnapshot::are_extremes_exact`].
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest one, unless there are none. Of a difference it may be an upper bound: see [`HistogramSnapshot::are_extremes_exact`].
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// How many were out of range, and were recorded as the largest value of the shape.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Whether the sum is that of the values. Otherwise a thread was stopped in the middle of a record while this was read, and the sum may hold this one record more than the count; or
    /// a thread's sum has passed 2^64. It is what values in these buckets can have even then.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Whether the extremes are the smallest and the largest value. In a difference they are if they moved in between; otherwise they are bounds of the buckets they are in.
    pub fn are_extremes_exact(&self) -> bool {
        self.are_extremes_exact
    }

    /// The buckets with anything in them, ascending: smallest and largest value, and how many there are.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let bounds = |at: u32| (self.shape.lower(at as usize), self.shape.upper(at as usize));
        self.buckets.iter().map(move |&(at, count)| (bounds(at).0, bounds(at).1, count))
    }

    /// The value of rank ⌈`q` · count⌉, at least 1, in ascending order. None without records, or unless `q` is 0 to 1.
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        if self.are_extremes_exact && (rank == 1 || rank == self.count) {
            let value = if rank == 1 { self.min } else { self.max };
            return Some(Quantile { lower: value, upper: value });
        }
        let mut below = 0;
        let (at, _) = self.buckets.iter().find(|(_, count)| {
            below += count;
            below >= rank
        })?;
        let (lower, upper) = (self.shape.lower(*at as usize), self.shape.upper(*at as usize));
        Some(Quantile { lower: lower.max(self.min), upper: upper.min(self.max) })
    }

    /// What came after `earlier`.
    ///
    /// # Errors
    /// [`MetricsError::IllegalHistogram`] if `earlier` has another shape, or more of something.
    pub fn delta(&self, earlier: &Self) -> Result<Self, MetricsError> {
        self.must_have_the_shape_of(earlier)?;
        let mut before = earlier.buckets.iter().peekable();
        let mut buckets = Vec::new();
        for &(at, now) in &self.buckets {
            let had = before.next_if(|(had, _)| *had == at).map_or(0, |(_, count)| *count);
            match now.checked_sub(had) {
                Some(0) => {}
                Some(count) => buckets.push((at, count)),
                None => return illegal("the earlier one has more in a bucket"),
            }
        }
        if before.next().is_some() {
            return illegal("the earlier one has more in a bucket");
        }
        let min_moved = earlier.count == 0 || self.min < earlier.min;
        let max_moved = earlier.count == 0 || self.max > earlier.max;
        let mut delta = Self {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: self.sum.saturating_sub(earlier.sum),
            clamped: self.clamped.saturating_sub(earlier.clamped),
            is_exact: self.is_exact && earlier.is_exact,
            ..*self
        };
        let Some([first, last]) = delta.ends() else {
            return Ok(Self { is_exact: delta.is_exact, ..Self::empty(self.shape) });
        };
        // What didn't move says only that nothing was beyond it.
        delta.min = if min_moved { self.min } else { self.shape.lower(first).max(self.min) };
        delta.max = if max_moved { self.max } else { self.shape.upper(last).min(self.max) };
        delta.are_extremes_exact &= (min_moved && max_moved) || delta.min == delta.max;
        delta.cut_to_buckets();
        Ok(delta)
    }

    /// Adds what another one held.
    ///
    /// # Errors
    /// [`MetricsError::IllegalHistogram`] if it has another shape; then nothing was changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricsError> {
        self.must_have_the_shape_of(other)?;
        let mut buckets = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let mut theirs = other.buckets.iter().copied().peekable();
        for &(at, count) in &self.buckets {
            while let Some(before) = theirs.next_if(|(theirs, _)| *theirs < at) {
                buckets.push(before);
            }
            let more = theirs.next_if(|(theirs, _)| *theirs == at).map_or(0, |(_, count)| count);
            buckets.push((at, count + more));
        }
        buckets.extend(theirs);
        self.buckets = buckets;
        if other.count > 0 {
            self.min = if self.count > 0 { self.min.min(other.min) } else { other.min };
            self.max = self.max.max(other.max);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.clamped += other.clamped;
        self.is_exact &= other.is_exact;
        self.are_extremes_exact &= other.are_extremes_exact;
        Ok(())
    }

    fn must_have_the_shape_of(&self, other: &Self) -> Result<(), MetricsError> {
        if self.shape == other.shape { Ok(()) } else { illegal("the other one has another shape") }
    }

    /// The first and the last bucket.
    fn ends(&self) -> Option<[usize; 2]> {
        let ((first, _), (last, _)) = (self.buckets.first()?, self.buckets.last()?);
        Some([*first as usize, *last as usize])
    }

    /// The least and the most that records in these buckets, with these extremes, can add up to.
    fn sum_bounds(&self) -> (u128, u128) {
        let product = |value: u64, count: u64| u128::from(value) * u128::from(count);
        self.buckets().fold((0, 0), |(least, most), (lower, upper, count)| {
            let (lower, upper) = (lower.max(self.min), upper.min(self.max));
            (least + product(lower, count), most + product(upper, count))
        })
    }

    fn cut_to_buckets(&mut self) {
        let (least, most) = self.sum_bounds();
        self.sum = self.sum.clamp(least, most);
        self.clamped = self.clamped.min(self.count);
    }
}

fn illegal<T>(reason: &'static str) -> Result<T, MetricsError> {
    Err(MetricsError::IllegalHistogram { reason })
}

/// As it is stored: without what follows from the rest.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    shape: Shape,
    buckets: Vec<(u32, u64)>,
    sum: u128,
    min: u64,
    max: u64,
    clamped: u64,
    is_exact: bool,
    are_extremes_exact: bool,
}

#[cfg(feature = "serde")]
impl From<HistogramSnapshot> for Stored {
    fn from(from: HistogramSnapshot) -> Self {
        let HistogramSnapshot {
            shape,
            buckets,
            count: _,
            sum,
            min,
            max,
            clamped,
            is_exact,
            are_extremes_exact,
        } = from;
        Self { shape, buckets, sum, min, max, clamped, is_exact, are_extremes_exact }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for HistogramSnapshot {
    type Error = MetricsError;

    fn try_from(stored: Stored) -> Result<Self, MetricsError> {
        let Stored { shape, buckets, sum, min, max, clamped, is_exact, are_extremes_exact } = stored;
        if buckets.iter().any(|(at, count)| *at as usize >= shape.bucket_count() || *count == 0) {
            return illegal("a bucket is out of range, or empty");
        }
        if !buckets.is_sorted_by(|(before, _), (after, _)| before < after) {
            return illegal("the buckets don't ascend");
        }
        let Some(count) = buckets.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count)) else {
            return illegal("the count is beyond 2^64");
        };
        let read = Self { shape, buckets, count, sum, min, max, clamped, is_exact, are_extremes_exact };
        let fits = match read.ends() {
            None => (sum, min, max, clamped) == (0, 0, 0, 0),
            Some([first, last]) => {
                let (least, most) = read.sum_bounds();
                shape.bucket(min) == first
                    && shape.bucket(max) == last
                    && max <= shape.value_max()
                    && min <= max
                    && (least..=most).contains(&sum)
                    && clamped <= count
            }
        };
        if fits { Ok(read) } else { illegal("its sum or its extremes are not of its buckets") }
    }
}
