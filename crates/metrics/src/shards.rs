//! All shards of a registry: threads join and retire, snapshots add up.
//!
//! # States
//! A shard is **joining** (its thread made it, nobody has admitted it yet), **live**, or **retired**: then its records are in the **base** and it is gone.
//!
//! # Invariants
//! - A record is in exactly one place: one side of one shard, or the base. A retiring thread moves its records and leaves the list under the lock that
//!   a snapshot holds from beginning to end, so a snapshot finds them once.
//! - Of two cells, a snapshot reads the second one of every thread that had joined when it had read the first.
//! - What a snapshot sees of a word is never older than what the one before saw: it is the same word, read later, or the base that took it over.
//! - Joining takes a lock that is held for a few instructions only. So a thread's first record doesn't wait for a snapshot, and
//!   none but a thread that ends does. Later records take no lock at all.
//!
//! # A snapshot
//! Of each histogram of each shard, records are sent to side 1 while side 0 is read, and then the other way round. Each record that was complete before the snapshot is
//! in one of them, however late its writer was. Each side is at rest while it is read, but for a writer that looked before the change (`shard.rs` tells what then).

use crate::shape::Shape;
use crate::shard::Shard;
use crate::sync::{Arc, Mutex, lock};
use crate::tally::Tally;

#[cfg(all(test, steadfast_loom))]
mod model;

/// The shards of one registry.
pub(crate) struct Shards {
    joining: Mutex<Vec<Arc<Shard>>>,
    settled: Mutex<Settled>,
}

/// What the lock of a snapshot guards.
struct Settled {
    live: Vec<Arc<Shard>>,
    /// What retired threads recorded: by cell, by histogram.
    cells: Vec<u64>,
    histograms: Vec<Option<Tally>>,
}

/// How many are in flight, of what was read in this order: left, entered, left again; each over all threads.
///
/// Whoever leaves may do so on another thread than the one it entered on. `left` is written with release and read with acquire, so each leaving that is seen in the first
/// reading shows its entering in the next, also that of a thread whose first record it was: its shard had joined before, and is admitted by then ([`Shards::collect`]). If nobody left
/// in between, that is all. If somebody did, entries that were read may be of those who came after: then it is
/// counted against all that left, which is never more than were really in flight, and below 0 is 0.
pub(crate) fn in_flight(left: u64, entered: u64, left_again: u64) -> i64 {
    let level = entered.wrapping_sub(left_again) as i64;
    if left == left_again { level } else { level.max(0) }
}

/// What a snapshot found, in the order of what was asked for.
pub(crate) struct Collected {
    pub(crate) cells: Vec<u64>,
    pub(crate) histograms: Vec<Tally>,
}

impl Shards {
    pub(crate) fn new() -> Self {
        Self {
            joining: Mutex::new(Vec::new()),
            settled: Mutex::new(Settled { live: Vec::new(), cells: Vec::new(), histograms: Vec::new() }),
        }
    }

    /// Makes a shard for the calling thread.
    pub(crate) fn join(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new());
        lock(&self.joining).push(Arc::clone(&shard));
        shard
    }

    /// Folds a shard into the base. Its thread calls it, and records nothing into it any more.
    pub(crate) fn retire(&self, shard: &Arc<Shard>) {
        let (cells, histograms) = shard.written();
        let mut settled = lock(&self.settled);
        settled.admit(&self.joining);
        let Some(at) = settled.live.iter().position(|live| Arc::ptr_eq(live, shard)) else { return };
        settled.live.swap_remove(at);
        for cell in cells {
            let count = shard.read_cell(cell);
            if count > 0 {
                settled.add(cell, count);
            }
        }
        for (histogram, shape) in histograms {
            let mut scratch = Tally::new(shape);
            let base = settled.histogram(histogram, shape);
            for side in 0..2 {
                shard.read_side(histogram, side, &mut scratch, base);
            }
        }
    }

    /// Adds to a cell on behalf of a thread that has no shard any more.
    pub(crate) fn add_late(&self, cell: u32, count: u64) {
        lock(&self.settled).add(cell, count);
    }

    /// Records into a histogram on behalf of a thread that has no shard any more.
    pub(crate) fn record_late(&self, histogram: u32, shape: Shape, value: u64, count: u64) {
        lock(&self.settled).histogram(histogram, shape).record(value, count);
    }

    /// Adds up these cells and these histograms over all threads.
    ///
    /// Cells are read in the order they are asked for, each over all threads before the next. Before each, threads are admitted that joined meanwhile: a guard may go from one of them to
    /// one that was known, and its leaving must not be read without its entering.
    pub(crate) fn collect(&self, cells: &[u32], histograms: &[(u32, Shape)]) -> Collected {
        let mut settled = lock(&self.settled);
        let cells = cells.iter().map(|&cell| {
            settled.admit(&self.joining);
            let base = settled.cells.get(cell as usize).copied().unwrap_or(0);
            settled.live.iter().fold(base, |sum, shard| sum.wrapping_add(shard.read_cell(cell)))
        });
        let cells = cells.collect();
        settled.admit(&self.joining);
        let settled = &*settled;
        let from_base = |&(histogram, shape): &(u32, Shape)| {
            let base = settled.histograms.get(histogram as usize).and_then(Option::as_ref);
            base.cloned().unwrap_or_else(|| Tally::new(shape))
        };
        let mut tallies: Vec<Tally> = histograms.iter().map(from_base).collect();
        if let Some(&(_, shape)) = histograms.first() {
            let mut scratch = Tally::new(shape);
            for side in 0..2_usize {
                for ((histogram, _), tally) in histograms.iter().zip(&mut tallies) {
                    for shard in &settled.live {
                        shard.read_side(*histogram, side, &mut scratch, tally);
                    }
                }
            }
        }
        Collected { cells, histograms: tallies }
    }

    /// How many threads have a shard.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.settled).live.len() + lock(&self.joining).len()
    }

    /// Bytes on the heap: of live threads, and of the base.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        let mut settled = lock(&self.settled);
        settled.admit(&self.joining);
        let live = settled.live.iter().map(|shard| shard.memory_bytes()).sum();
        let tallies = settled.histograms.iter().flatten().map(Tally::memory_bytes).sum::<usize>();
        let base = size_of_val(&*settled.cells) + size_of_val(&*settled.histograms) + tallies;
        (live, base)
    }
}

impl Settled {
    /// Makes the shards live that have joined until now.
    fn admit(&mut self, joining: &Mutex<Vec<Arc<Shard>>>) {
        self.live.append(&mut lock(joining));
    }

    fn add(&mut self, cell: u32, count: u64) {
        let at = cell as usize;
        if self.cells.len() <= at {
            self.cells.resize(at + 1, 0);
        }
        self.cells[at] = self.cells[at].wrapping_add(count);
    }

    fn histogram(&mut self, histogram: u32, shape: Shape) -> &mut Tally {
        let at = histogram as usize;
        if self.histograms.len() <= at {
            self.histograms.resize_with(at + 1, || None);
        }
        self.histograms[at].get_or_insert_with(|| Tally::new(shape))
    }
}
