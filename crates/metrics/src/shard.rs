//! A shard: what one thread recorded into one registry. One thread writes it, any thread reads it.
//!
//! It consists of counters' cells and of histograms, made when they are first recorded into. Threads keep their addresses (`local.rs`), so a
//! record doesn't look for them here.
//!
//! # Counters
//! A cell is a word. Its writer loads, adds and stores; nothing is ever taken away, so whoever reads sees it grow.
//!
//! # Histograms: begin, sum, extremes, bucket
//! A record is several words, and a reader must not see half of one. So each histogram has two **sides**. Its writer records into the one that the block
//! names, and whoever reads a side names the other one before, so that what it reads is at rest. A writer may be late: it looked
//! before the change. So a side can be checked. Its writer
//!
//! 1. counts the record as begun,
//! 2. adds to the sum and moves the extremes (release),
//! 3. adds to the bucket (release).
//!
//! The reader goes the other way: buckets (acquire), sum and extremes (acquire), begun. A bucket that holds a record shows its sum; a sum that
//! holds a record shows it begun. So **if as many were begun as the buckets hold, these are exactly the same records**. If not, it reads again, a bounded number
//! of times, and then takes what the buckets hold: the writer is in the middle of a record and may be for long, because it isn't running.
//! Then the sum and the extremes may be ahead of the buckets by that record, and are cut to what the buckets allow. They are never behind, so they grow from snapshot to snapshot.

use std::ptr;

use crossbeam_utils::CachePadded;

use crate::lazy::{Lazy, LazyCells};
use crate::shape::{PAGES_MAX, Shape};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, load_own};
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

/// Counters of one thread, padded so that no two threads write to the same cache line.
type CellPage = CachePadded<Cells>;
struct Cells([Cell; PAGE_CELLS]);
struct HistogramPage([Lazy<HistogramShard>; PAGE_HISTOGRAMS]);

/// What one thread recorded.
pub(crate) struct Shard {
    // Padded: with this field the whole shard begins on a cache line of its own.
    cells: CachePadded<[Lazy<CellPage>; CELL_PAGES]>,
    histograms: [Lazy<HistogramPage>; HISTOGRAM_PAGES],
}

/// A count that only grows; what one thread counted.
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the shard's own thread may.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        // Relaxed: a sum of cells claims nothing about other words; who learnt of this record by other means has an order from there.
        self.0.store(load_own(&self.0).wrapping_add(count), Ordering::Relaxed);
    }

    /// As [`Cell::add`], and whoever sees it sees all that happened before it.
    #[inline]
    pub(crate) fn add_after(&self, count: u64) {
        // Release: pairs with the acquire in `read_cell`, which shows the partner cell what this one takes off (`shards::in_flight`).
        self.0.store(load_own(&self.0).wrapping_add(count), Ordering::Release);
    }
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            cells: CachePadded::new(std::array::from_fn(|_| Lazy::empty())),
            histograms: std::array::from_fn(|_| Lazy::empty()),
        }
    }

    /// A cell, made if it isn't there; only the shard's own thread may.
    pub(crate) fn cell(&self, cell: u32) -> &Cell {
        let at = cell as usize;
        let page = self.cells[at / PAGE_CELLS]
            .get_or_make(|| CellPage::new(Cells(std::array::from_fn(|_| Cell(AtomicU64::new(0))))));
        &page.0[at % PAGE_CELLS]
    }

    /// A histogram, made if it isn't there; only the shard's own thread may. The shape is the same at each call.
    pub(crate) fn histogram(&self, histogram: u32, shape: Shape) -> &HistogramShard {
        let at = histogram as usize;
        let page = &self.histograms[at / PAGE_HISTOGRAMS];
        let page = page.get_or_make(|| HistogramPage(std::array::from_fn(|_| Lazy::empty())));
        let histogram = page.0[at % PAGE_HISTOGRAMS].get_or_make(move || HistogramShard::new(shape));
        histogram.name_a_side();
        histogram
    }

    pub(crate) fn read_cell(&self, cell: u32) -> u64 {
        let at = cell as usize;
        // Acquire: pairs with the release in `add_after`.
        self.cells[at / PAGE_CELLS].get().map_or(0, |page| page.0[at % PAGE_CELLS].0.load(Ordering::Acquire))
    }

    /// Adds one side of a histogram to `into`, and sends records to the other one before.
    pub(crate) fn read_side(&self, histogram: u32, side: usize, scratch: &mut Tally, into: &mut Tally) {
        let at = histogram as usize;
        let page = self.histograms[at / PAGE_HISTOGRAMS].get();
        if let Some(histogram) = page.and_then(|page| page.0[at % PAGE_HISTOGRAMS].get()) {
            histogram.send_to(1 - side);
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
pub(crate) struct HistogramShard {
    /// The side that records go to. Null until the first record: an address in here is known only once this has its place.
    active: AtomicPtr<Side>,
    shape: Shape,
    sides: [CachePadded<Side>; 2],
}

struct Side {
    begun: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    clamped: AtomicU64,
    /// By powers of two: [`Shape::place`].
    pages: [LazyCells; PAGES_MAX],
}

impl HistogramShard {
    fn new(shape: Shape) -> Self {
        Self {
            active: AtomicPtr::new(ptr::null_mut()),
            shape,
            sides: [(); 2].map(|()| CachePadded::new(Side::new())),
        }
    }

    /// Records a value; only the shard's own thread may.
    #[inline]
    pub(crate) fn record(&self, value: u64) {
        let side = self.side();
        let (page, at) = self.shape.place(value);
        // The pages of values out of range are never made.
        // SAFETY: there is a page for each power of two from 2^g to 2^63, and what there is of them was made for this shape.
        if let Some(bucket) = unsafe { side.pages.get_unchecked(page).cell(at) } {
            side.begin(1);
            side.note(value, value);
            Side::count(bucket, 1);
        } else {
            side.record(self.shape, value, 1);
        }
    }

    /// Records a value `count` times; only the shard's own thread may.
    pub(crate) fn record_many(&self, value: u64, count: u64) {
        self.side().record(self.shape, value, count);
    }

    /// The side that records go to now.
    #[inline]
    fn side(&self) -> &Side {
        // Relaxed: a late writer is found by the check of the side it writes to, not by an order here.
        let side = self.active.load(Ordering::Relaxed);
        debug_assert!(!side.is_null());
        // SAFETY: one of the two of `self`, as `Shard::histogram` names one before its thread has the address.
        unsafe { &*side }
    }

    /// Names a side, if none is named yet.
    fn name_a_side(&self) {
        // Relaxed: as in `side`. If it fails, then one is named, which is what is wanted.
        let _ =
            self.active.compare_exchange(ptr::null_mut(), self.at(0), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sends records to this side from now on; a snapshot does, which holds the registry's lock.
    fn send_to(&self, side: usize) {
        // An exchange rather than a store: it is visible to others at once, and the reads behind it don't overtake it. Nothing is wrong if they do, as each side is
        // checked, but then they are repeated.
        self.active.swap(self.at(side), Ordering::AcqRel);
    }

    /// As a writer that looked for its side before it changed.
    #[cfg(all(test, steadfast_loom))]
    pub(crate) fn record_to(&self, side: usize, value: u64) {
        self.sides[side].record(self.shape, value, 1);
    }

    /// Begins a record and never ends it, as a writer that is not scheduled any more.
    #[cfg(all(test, steadfast_loom))]
    pub(crate) fn record_half(&self, value: u64) {
        let side = self.side();
        side.begin(1);
        side.note(value, value);
    }

    /// Which side records go to now.
    #[cfg(all(test, steadfast_loom))]
    pub(crate) fn active(&self) -> usize {
        usize::from(self.active.load(Ordering::Relaxed) == self.at(1))
    }

    fn at(&self, side: usize) -> *mut Side {
        ptr::from_ref::<Side>(&self.sides[side]).cast_mut()
    }

    fn memory_bytes(&self) -> usize {
        let pages = self.sides.iter().flat_map(|side| side.pages.iter().enumerate());
        let made = pages.filter(|(_, cells)| cells.is_made());
        let bytes = made.map(|(page, _)| LazyCells::memory_bytes(self.shape.page_buckets(page)));
        size_of::<Self>() + bytes.sum::<usize>()
    }
}
impl Drop for HistogramShard {
    fn drop(&mut self) {
        let shape = self.shape;
        for (page, cells) in self.sides.iter_mut().flat_map(|side| side.pages.iter_mut().enumerate()) {
            // SAFETY: made with the same numbers, if at all.
            unsafe { cells.free(shape.page_buckets(page), shape.page_origin(page)) };
        }
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
            pages: std::array::from_fn(|_| LazyCells::empty()),
        }
    }

    /// Any record: also the first of its page, or one that is out of range. The shape is the same at each call.
    #[cold]
    #[inline(never)]
    fn record(&self, shape: Shape, value: u64, count: u64) {
        let (page, at) = shape.place(value.min(shape.value_max()));
        self.pages[page].make(shape.page_buckets(page), shape.page_origin(page));
        self.begin(count);
        if value > shape.value_max() {
            // Release: as the sum's.
            self.clamped.store(load_own(&self.clamped).wrapping_add(count), Ordering::Release);
        }
        let value = value.min(shape.value_max());
        self.note(value, value.saturating_mul(count));
        // SAFETY: this is where the shape puts a value that is in range.
        if let Some(bucket) = unsafe { self.pages[page].cell(at) } {
            Self::count(bucket, count);
        }
    }

    /// Adds to the bucket of a record.
    #[inline]
    fn count(bucket: &AtomicU64, count: u64) {
        // Release: pairs with the acquire in `read_once`. Who sees the record in its bucket sees it in sum and extremes.
        bucket.store(load_own(bucket).wrapping_add(count), Ordering::Release);
    }

    /// The beginning of a record.
    #[inline]
    fn begin(&self, count: u64) {
        // Relaxed: the releases behind it order it before themselves.
        self.begun.store(load_own(&self.begun).wrapping_add(count), Ordering::Relaxed);
    }

    /// The middle of a record.
    #[inline]
    fn note(&self, value: u64, added: u64) {
        // Release, here and at the extremes: pairs with the acquires in `read_once`. Who sees the record here sees it begun.
        let (sum, is_over) = load_own(&self.sum).overflowing_add(added);
        if is_over {
            self.fill_sum();
        } else {
            self.sum.store(sum, Ordering::Release);
        }
        if value < load_own(&self.min) {
            self.min.store(value, Ordering::Release);
        }
        if value > load_own(&self.max) {
            self.max.store(value, Ordering::Release);
        }
    }

    #[cold]
    #[inline(never)]
    fn fill_sum(&self) {
        // Release: as in `note`.
        self.sum.store(u64::MAX, Ordering::Release);
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
        for (page, cells) in self.pages[..shape.page_count()].iter().enumerate() {
            // SAFETY: the numbers that it was made with, if at all.
            if let Some(cells) = unsafe { cells.get(shape.page_buckets(page), shape.page_origin(page)) } {
                // Acquire: pairs with the release in `count`.
                tally.fill_page(page, |bucket| cells[bucket].load(Ordering::Acquire));
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
