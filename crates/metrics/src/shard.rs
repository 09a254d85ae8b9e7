//! A shard: what one thread recorded into one registry. One thread writes it, any thread reads it.
//!
//! # Counters
//! A cell is a word. Its writer loads, adds and stores; nothing is ever taken away, so whoever reads sees it grow.
//!
//! # Histograms: begin, sum, extremes, bucket
//! A record is several words, and a reader must not see half of one. Each histogram has two **sides**; writers record into the one that
//! the registry names, and a snapshot names the other one before it reads, so that what it reads is at rest (`shards.rs`). A writer may be late: it
//! looked before the change. So a side can be checked. Its writer
//!
//! 1. counts the record as begun,
//! 2. adds to the sum and moves the extremes (release),
//! 3. adds to the bucket (release).
//!
//! The reader goes the other way: buckets (acquire), sum and extremes (acquire), begun. A bucket that holds a record shows its sum; a sum that
//! holds a record shows it begun. So **if as many were begun as the buckets hold, these are exactly the same records**. If not, it reads again, a bounded number
//! of times, and then takes what the buckets hold: the writer is in the middle of a record and may be for long, because it isn't running.
//! Then the sum and the extremes may be ahead of the buckets by that record, and are cut to what the buckets allow. They are never behind, so they grow from snapshot to snapshot.

use crate::lazy::Lazy;
use crate::shape::{PAGE_BUCKETS, PAGES_MAX, Shape};
use crate::sync::{AtomicU64, Ordering, load_own};
use crate::tally::Tally;

const CELL_PAGES: usize = if cfg!(steadfast_loom) { 2 } else { 256 };
const PAGE_CELLS: usize = if cfg!(steadfast_loom) { 2 } else { 128 };
const HISTOGRAM_PAGES: usize = if cfg!(steadfast_loom) { 2 } else { 64 };
const PAGE_HISTOGRAMS: usize = if cfg!(steadfast_loom) { 1 } else { 64 };
/// Cells of a registry.
pub(crate) const CELLS_MAX: usize = CELL_PAGES * PAGE_CELLS;
/// Histograms of a registry.
pub(crate) const HISTOGRAMS_MAX: usize = HISTOGRAM_PAGES * PAGE_HISTOGRAMS;
/// How often a side is read before a writer counts as stuck in the middle of a record.
const READS_MAX: usize = if cfg!(steadfast_loom) { 2 } else { 16 };

// Pages begin on lines of their own (two, as processors fetch lines in pairs), so that no two threads write to one.
#[repr(align(128))]
struct CellPage([AtomicU64; PAGE_CELLS]);
#[repr(align(128))]
struct BucketPage([AtomicU64; PAGE_BUCKETS]);
struct HistogramPage([Lazy<HistogramShard>; PAGE_HISTOGRAMS]);

/// What one thread recorded.
#[repr(align(128))]
pub(crate) struct Shard {
    cells: [Lazy<CellPage>; CELL_PAGES],
    histograms: [Lazy<HistogramPage>; HISTOGRAM_PAGES],
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            cells: std::array::from_fn(|_| Lazy::empty()),
            histograms: std::array::from_fn(|_| Lazy::empty()),
        }
    }

    /// Adds to a cell; only the shard's own thread may.
    #[inline]
    pub(crate) fn add(&self, cell: u32, count: u64) {
        let cell = self.cell(cell);
        // Relaxed: a sum of cells claims nothing about other words; who learnt of this record by other means has an order from there.
        cell.store(load_own(cell).wrapping_add(count), Ordering::Relaxed);
    }

    /// As [`Shard::add`], and whoever sees it sees all that happened before it.
    #[inline]
    pub(crate) fn add_after(&self, cell: u32, count: u64) {
        let cell = self.cell(cell);
        // Release: pairs with the acquire in `read_cell`, which shows the partner cell what this one takes off (`shards::in_flight`).
        cell.store(load_own(cell).wrapping_add(count), Ordering::Release);
    }

    #[inline]
    fn cell(&self, cell: u32) -> &AtomicU64 {
        let at = cell as usize;
        let page = &self.cells[at / PAGE_CELLS % CELL_PAGES];
        let page = page.get_or_make(|| CellPage(std::array::from_fn(|_| AtomicU64::new(0))));
        &page.0[at % PAGE_CELLS]
    }

    pub(crate) fn read_cell(&self, cell: u32) -> u64 {
        let at = cell as usize;
        // Acquire: pairs with the release in `add_after`.
        self.cells[at / PAGE_CELLS].get().map_or(0, |page| page.0[at % PAGE_CELLS].load(Ordering::Acquire))
    }

    /// Records into one side of a histogram; only the shard's own thread may. The shape is the same at each call.
    #[inline]
    pub(crate) fn record(&self, histogram: u32, shape: Shape, side: u64, value: u64, count: u64) {
        let at = histogram as usize;
        let page = &self.histograms[at / PAGE_HISTOGRAMS % HISTOGRAM_PAGES];
        let page = page.get_or_make(|| HistogramPage(std::array::from_fn(|_| Lazy::empty())));
        let histogram = page.0[at % PAGE_HISTOGRAMS].get_or_make(move || HistogramShard::new(shape));
        histogram.sides[side as usize % 2].record(shape, value, count);
    }

    /// Begins a record and never ends it, as a writer that is not scheduled any more.
    #[cfg(all(test, steadfast_loom))]
    pub(crate) fn record_half(&self, histogram: u32, shape: Shape, side: u64, value: u64) {
        let at = histogram as usize;
        let page = self.histograms[at / PAGE_HISTOGRAMS].get();
        if let Some(histogram) = page.and_then(|page| page.0[at % PAGE_HISTOGRAMS].get()) {
            histogram.sides[side as usize % 2].note(shape, value, 1);
        }
    }

    /// Adds one side of a histogram to `into`.
    pub(crate) fn read_side(&self, histogram: u32, side: usize, scratch: &mut Tally, into: &mut Tally) {
        let at = histogram as usize;
        let page = self.histograms[at / PAGE_HISTOGRAMS].get();
        if let Some(histogram) = page.and_then(|page| page.0[at % PAGE_HISTOGRAMS].get()) {
            histogram.sides[side].read(scratch, histogram.shape);
            into.add(scratch);
        }
    }

    /// The cells that may have been written to, and the histograms with their shapes.
    pub(crate) fn written(&self) -> (Vec<u32>, Vec<(u32, Shape)>) {
        let cells = self.cells.iter().enumerate().filter(|(_, page)| page.get().is_some());
        let cells = cells.flat_map(|(page, _)| page * PAGE_CELLS..(page + 1) * PAGE_CELLS);
        let pages = self.histograms.iter().enumerate();
        let histograms = pages.flat_map(|(page, histograms)| {
            let histograms = histograms.get().into_iter().flat_map(|page| page.0.iter().enumerate());
            histograms.filter_map(move |(at, histogram)| {
                Some(((page * PAGE_HISTOGRAMS + at) as u32, histogram.get()?.shape))
            })
        });
        (cells.map(|cell| cell as u32).collect(), histograms.collect())
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        let cells = self.cells.iter().filter(|page| page.get().is_some()).count();
        let pages = self.histograms.iter().filter_map(Lazy::get);
        let histograms = pages.map(|page| {
            let histograms = page.0.iter().filter_map(Lazy::get).map(HistogramShard::memory_bytes);
            size_of::<HistogramPage>() + histograms.sum::<usize>()
        });
        size_of::<Self>() + cells * size_of::<CellPage>() + histograms.sum::<usize>()
    }
}

/// One thread's part of one histogram.
struct HistogramShard {
    shape: Shape,
    sides: [Side; 2],
}

#[repr(align(128))]
struct Side {
    begun: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    clamped: AtomicU64,
    pages: [Lazy<BucketPage>; PAGES_MAX],
}

impl HistogramShard {
    fn new(shape: Shape) -> Self {
        Self { shape, sides: [Side::new(), Side::new()] }
    }

    fn memory_bytes(&self) -> usize {
        let pages = self.sides.iter().flat_map(|side| &side.pages).filter(|page| page.get().is_some());
        size_of::<Self>() + pages.count() * size_of::<BucketPage>()
    }
}

impl Side {
    fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            clamped: AtomicU64::new(0),
            pages: std::array::from_fn(|_| Lazy::empty()),
        }
    }

    #[inline]
    fn record(&self, shape: Shape, value: u64, count: u64) {
        let at = shape.bucket(value);
        let page = &self.pages[at / PAGE_BUCKETS % PAGES_MAX];
        let page = page.get_or_make(|| BucketPage(std::array::from_fn(|_| AtomicU64::new(0))));
        self.note(shape, value, count);
        let bucket = &page.0[at % PAGE_BUCKETS];
        // Release: pairs with the acquire in `read_once`. Who sees the record in its bucket sees it in sum and extremes.
        bucket.store(load_own(bucket).wrapping_add(count), Ordering::Release);
    }

    /// All of a record but its bucket.
    #[inline]
    fn note(&self, shape: Shape, value: u64, count: u64) {
        // Relaxed: the releases below order it before themselves.
        self.begun.store(load_own(&self.begun).wrapping_add(count), Ordering::Relaxed);
        let most = shape.value_max();
        if value > most {
            // Release: as the sum's.
            self.clamped.store(load_own(&self.clamped).wrapping_add(count), Ordering::Release);
        }
        let value = value.min(most);
        let added = if count == 1 { value } else { value.saturating_mul(count) };
        // Release, here and at the extremes: pairs with the acquires in `read_once`. Who sees the record here sees it begun.
        self.sum.store(load_own(&self.sum).saturating_add(added), Ordering::Release);
        if value < load_own(&self.min) {
            self.min.store(value, Ordering::Release);
        }
        if value > load_own(&self.max) {
            self.max.store(value, Ordering::Release);
        }
    }

    /// Fills `tally` with whole records. It says if a writer was in the middle of one.
    fn read(&self, tally: &mut Tally, shape: Shape) {
        for _ in 0..READS_MAX {
            if self.read_once(tally, shape) {
                if tally.sum == u128::from(u64::MAX) {
                    // It is full, and the buckets know more than it does.
                    tally.cut_to_buckets();
                }
                return;
            }
            std::hint::spin_loop();
        }
        tally.cut_to_buckets();
    }

    /// True if all words agree.
    fn read_once(&self, tally: &mut Tally, shape: Shape) -> bool {
        tally.clear(shape);
        for (at, page) in self.pages[..shape.page_count()].iter().enumerate() {
            if let Some(page) = page.get() {
                // Acquire: pairs with the release in `record`.
                tally.fill_page(at, |bucket| page.0[bucket].load(Ordering::Acquire));
            }
        }
        // Acquire: pairs with the releases in `note`, so that `begun`, read behind them, is at least as new.
        tally.sum = u128::from(self.sum.load(Ordering::Acquire));
        tally.min = self.min.load(Ordering::Acquire);
        tally.max = self.max.load(Ordering::Acquire);
        tally.clamped = self.clamped.load(Ordering::Acquire);
        // Relaxed: the acquires above put it behind them.
        self.begun.load(Ordering::Relaxed) == tally.count()
    }
}
