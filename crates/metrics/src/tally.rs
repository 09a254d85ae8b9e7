//! The content of a histogram outside of any shard: what retired threads left, and what a snapshot adds up.

use crate::shape::Shape;

/// Counts by bucket, sum and extremes of the same records.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    shape: Shape,
    /// As the shape tells.
    pages: Vec<Option<Box<[u64]>>>,
    /// Pages with anything in them, so that clearing and adding needn't look at the others.
    used: u64,
    count: u64,
    pub(crate) sum: u128,
    /// `u64::MAX` without records.
    pub(crate) min: u64,
    /// 0 without records.
    pub(crate) max: u64,
    pub(crate) clamped: u64,
    /// Whether sum and extremes are known to be of the records in the buckets.
    pub(crate) exact: bool,
}

impl Tally {
    pub(crate) fn new(shape: Shape) -> Self {
        let pages = Vec::new();
        Self { shape, pages, used: 0, count: 0, sum: 0, min: u64::MAX, max: 0, clamped: 0, exact: true }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Empties it, and keeps its memory where the shape's pages are as large.
    pub(crate) fn clear(&mut self, shape: Shape) {
        if shape.group() != self.shape.group() {
            *self = Self::new(shape);
            return;
        }
        for at in places(self.used) {
            if let Some(page) = &mut self.pages[at] {
                page.fill(0);
            }
        }
        let pages = std::mem::take(&mut self.pages);
        *self = Self { pages, ..Self::new(shape) };
    }

    /// Takes one page's counts; the page was empty.
    pub(crate) fn fill_page(&mut self, at: usize, count: impl Fn(usize) -> u64) {
        let page = self.page(at);
        let mut sum = 0_u64;
        for (bucket, to) in page.iter_mut().enumerate() {
            *to = count(bucket);
            sum = sum.wrapping_add(*to);
        }
        self.count = self.count.wrapping_add(sum);
    }

    fn page(&mut self, at: usize) -> &mut [u64] {
        if self.pages.len() <= at {
            self.pages.resize(at + 1, None);
        }
        self.used |= 1 << at;
        let buckets = self.shape.page_buckets(at);
        self.pages[at].get_or_insert_with(|| vec![0; buckets].into())
    }

    pub(crate) fn record(&mut self, value: u64, count: u64) {
        let (page, _) = self.shape.place(value.min(self.shape.value_max()));
        let at = self.shape.bucket(value) - self.shape.page_start(page);
        self.page(page)[at] += count;
        self.count += count;
        if value > self.shape.value_max() {
            self.clamped += count;
        }
        let value = value.min(self.shape.value_max());
        self.sum += u128::from(value) * u128::from(count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds the records of another of the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        for at in places(other.used) {
            let Some(from) = &other.pages[at] else { continue };
            for (to, from) in self.page(at).iter_mut().zip(from.iter()) {
                *to = to.wrapping_add(*from);
            }
        }
        self.count = self.count.wrapping_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.clamped = self.clamped.wrapping_add(other.clamped);
        self.exact &= other.exact;
    }

    /// What is in the buckets, ascending.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        places(self.used).flat_map(move |at| {
            let page = self.pages[at].iter().flat_map(|page| page.iter().enumerate());
            page.filter(|(_, count)| **count > 0)
                .map(move |(bucket, count)| (self.shape.page_start(at) + bucket, *count))
        })
    }

    /// Cuts sum and extremes to what records in these buckets can have.
    pub(crate) fn cut_to_buckets(&mut self) {
        self.exact = false;
        let (mut first, mut last) = (None, 0);
        for (bucket, _) in self.buckets() {
            first = first.or(Some(bucket));
            last = bucket;
        }
        let Some(first) = first else {
            (self.sum, self.min, self.max, self.clamped) = (0, u64::MAX, 0, 0);
            return;
        };
        self.min = self.min.clamp(self.shape.lower(first), self.shape.upper(first));
        self.max = self.max.clamp(self.shape.lower(last), self.shape.upper(last));
        let (mut least, mut most) = (0_u128, 0_u128);
        for (bucket, count) in self.buckets() {
            // All between the extremes.
            least += u128::from(self.shape.lower(bucket).max(self.min)) * u128::from(count);
            most += u128::from(self.shape.upper(bucket).min(self.max)) * u128::from(count);
        }
        self.sum = self.sum.clamp(least, most);
        self.clamped = self.clamped.min(self.count);
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages = self.pages.iter().flatten().map(|page| size_of_val(&**page)).sum::<usize>();
        pages + self.pages.capacity() * size_of::<Option<Box<[u64]>>>()
    }
}

/// The places of a word's set bits, ascending.
fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}
