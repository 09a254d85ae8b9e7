//! Which bucket a value falls into: log-linear, known as H2 (<https://h2histogram.org>; the `histogram` crate has the same buckets).
//!
//! With grouping power g, each power of two is cut into 2^g buckets of equal width, and what is below 2^(g+1) has a bucket for each value. So
//! a bucket is never wider than its lower bound / 2^g. Values from 2^n on, n being the range power, are clamped to 2^n - 1 and counted as clamped.

use std::num::NonZeroU64;

use crate::error::MetricsError;

/// Pages that a histogram can have: each holds the buckets of one power of two, but the first those of all values that have a bucket of their own.
pub(crate) const PAGES_MAX: usize = if cfg!(steadfast_loom) { 2 } else { 64 };

/// How finely and how far a histogram tells values apart.
///
/// The default, g = 6 and n = 42, tells durations in nanoseconds apart up to 73 minutes; a quantile's estimate is off by at most 1/128.
/// With g = 10 it is as fine as an HDR histogram of three digits, for 8 KiB instead of 512 bytes of each power of two that a thread hits.
///
/// ```
/// use steadfast_metrics::Shape;
///
/// let shape = Shape::default();
/// let bucket = shape.bucket(1_000_000);
/// assert_eq!((shape.lower(bucket), shape.upper(bucket)), (999_424, 1_007_615));
/// assert_eq!(shape.relative_error(), 1.0 / 64.0);
/// assert!(Shape::new(20, 64).is_err()); // over a million buckets
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "[u8; 2]", into = "[u8; 2]"))]
pub struct Shape {
    grouping_power: u8,
    range_power: u8,
    /// 2^n - 1.
    value_max: u64,
    /// 2^g, which each record needs, and shifting costs more than loading.
    group: NonZeroU64,
}

impl Default for Shape {
    fn default() -> Self {
        Self::unchecked(6, 42)
    }
}

impl Shape {
    /// The most buckets that a shape may have.
    pub const BUCKETS_MAX: usize = 1 << 16;

    /// Buckets of a relative width of 2^-`grouping_power`, for values below 2^`range_power`.
    ///
    /// # Errors
    /// [`MetricsError::OutOfBounds`] unless `grouping_power` < `range_power` ≤ 64 and there are at most [`Shape::BUCKETS_MAX`] buckets.
    pub fn new(grouping_power: u8, range_power: u8) -> Result<Self, MetricsError> {
        let refuse = |field, found, least, most| Err(MetricsError::OutOfBounds { field, found, least, most });
        if !(1..=64).contains(&range_power) {
            return refuse("range_power", u64::from(range_power), 1, 64);
        }
        let shape = Self::unchecked(grouping_power, range_power);
        let fits = |power| Self::unchecked(power, range_power).bucket_count() <= Self::BUCKETS_MAX;
        if grouping_power >= range_power || !fits(grouping_power) {
            let most = (0..range_power.min(32)).filter(|power| fits(*power)).max().unwrap_or(0);
            return refuse("grouping_power", u64::from(grouping_power), 0, u64::from(most));
        }
        Ok(shape)
    }

    /// `range_power` is 1 to 64.
    const fn unchecked(grouping_power: u8, range_power: u8) -> Self {
        // Of 2^32 and more there are none: `new` refuses them.
        let group = match NonZeroU64::new(1 << (grouping_power % 32)) {
            Some(group) => group,
            None => NonZeroU64::MIN,
        };
        Self { grouping_power, range_power, value_max: u64::MAX >> (64 - range_power), group }
    }

    /// g: each power of two has 2^g buckets.
    pub fn grouping_power(self) -> u8 {
        self.grouping_power
    }

    /// n: values from 2^n on are clamped.
    pub fn range_power(self) -> u8 {
        self.range_power
    }

    /// The largest value that is not clamped: 2^n - 1.
    pub fn value_max(self) -> u64 {
        self.value_max
    }

    /// How far apart two values of one bucket may be, as a share of the smaller one: 2^-g. An estimate from the bucket's middle is off by half of it.
    pub fn relative_error(self) -> f64 {
        (-f64::from(self.grouping_power)).exp2()
    }

    /// How many buckets there are.
    pub fn bucket_count(self) -> usize {
        if self.grouping_power >= 32 {
            return usize::MAX;
        }
        (usize::from(self.range_power) + 1).saturating_sub(usize::from(self.grouping_power))
            << self.grouping_power
    }

    /// 2^g.
    #[inline]
    pub(crate) fn group(self) -> usize {
        self.group.get() as usize
    }

    pub(crate) fn page_count(self) -> usize {
        usize::from(self.range_power - self.grouping_power)
    }

    /// How many buckets a page has.
    pub(crate) fn page_buckets(self, page: usize) -> usize {
        self.group() << usize::from(page == 0)
    }

    /// Where in a page the bucket is that [`Shape::place`] counts from.
    pub(crate) fn page_origin(self, page: usize) -> usize {
        if page == 0 { self.group() } else { 0 }
    }

    /// The number of a page's first bucket.
    pub(crate) fn page_start(self, page: usize) -> usize {
        if page == 0 { 0 } else { (page + 1) << self.grouping_power }
    }

    /// The page of a value, and its bucket there, counted from bucket 2^g of page 0 and from the first one of the others. What is out of range has a page behind all that there are.
    #[inline]
    pub(crate) fn place(self, value: u64) -> (usize, isize) {
        // The place of the highest bit, but at least g: below 2^(g+1) each value has a bucket of its own.
        let page = (self.group | value).ilog2() - u32::from(self.grouping_power);
        (page as usize, (value >> page) as isize - self.group.get() as isize)
    }

    /// The bucket of a value; a value out of range has that of [`Shape::value_max`].
    #[inline]
    pub fn bucket(self, value: u64) -> usize {
        let (page, at) = self.place(value.min(self.value_max));
        (((page + 1) << self.grouping_power) as isize + at) as usize
    }

    /// The smallest value of a bucket.
    pub fn lower(self, bucket: usize) -> u64 {
        let group = u32::from(self.grouping_power);
        let shift = (bucket >> group).saturating_sub(1);
        ((bucket - (shift << group)) as u64) << shift
    }

    /// The largest value of a bucket.
    pub fn upper(self, bucket: usize) -> u64 {
        let shift = (bucket >> self.grouping_power).saturating_sub(1);
        self.lower(bucket) + ((1_u64 << shift) - 1)
    }
}

impl From<Shape> for [u8; 2] {
    fn from(shape: Shape) -> Self {
        [shape.grouping_power, shape.range_power]
    }
}

impl TryFrom<[u8; 2]> for Shape {
    type Error = MetricsError;

    fn try_from([grouping_power, range_power]: [u8; 2]) -> Result<Self, MetricsError> {
        Self::new(grouping_power, range_power)
    }
}
