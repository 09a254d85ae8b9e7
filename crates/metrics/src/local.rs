//! The calling thread's blocks of a registry's shards, found in a few loads.
//!
//! A **block** is what is recorded into: a counter's cell, or a histogram. Each block of a registry has a **slot**, a small number that no other living block
//! has, and a **uid**, which is never given twice. Each thread has a table from slots to addresses; the uid tells whether an entry is of this block, of one that had the slot before,
//! or of another one: the table has as many entries as a power of two, and is large enough for all slots only where that isn't much more than the blocks that the thread records into.
//!
//! The table's address is in a thread-local without destructor, so that reading it costs no more than reading a variable. A second one owns what there is
//! to own, and retires the thread's shards when the thread ends. From then on the thread has no shard, and what it
//! still records (in destructors of other thread-locals) goes to the registry's base, under its lock.

use std::cell::{self, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::shape::Shape;
use crate::shard::{Cell, HistogramShard, Shard};
use crate::shards::Shards;

/// A registry's shards, and where threads find their blocks.
pub(crate) struct Home {
    pub(crate) shards: Shards,
    uid: u64,
    places: Mutex<HashMap<Key, Place>>,
}

/// Which block of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Cell(u32),
    Histogram(u32),
}

#[derive(Clone, Copy, Debug)]
struct Place {
    uid: u64,
    slot: u32,
}

/// Where to record: one block of the calling thread's shard, whichever thread that is.
pub(crate) struct Spot<T> {
    home: Arc<Home>,
    uid: u64,
    /// How far from the table's beginning its entry is, in bytes, if the table is large enough.
    offset: usize,
    of: PhantomData<fn() -> T>,
}

// Not derived, as it needs no `T: Clone`.
impl<T> Clone for Spot<T> {
    fn clone(&self) -> Self {
        Self { home: Arc::clone(&self.home), uid: self.uid, offset: self.offset, of: PhantomData }
    }
}

struct Entry {
    /// 0: nobody's.
    uid: u64,
    block: *const (),
}

impl Entry {
    const NOBODYS: Self = Self { uid: 0, block: std::ptr::null() };
}

// SAFETY: only `NOBODYS` is shared between threads, whose pointer is never followed: no block has its uid.
unsafe impl Sync for Entry {}

static NOBODYS: Entry = Entry::NOBODYS;

/// The calling thread's table.
struct Table {
    /// `NOBODYS`, or the table that `OWNER` holds.
    entries: cell::Cell<*const Entry>,
    /// The bytes of its entries, a power of two, less those of one.
    mask: cell::Cell<usize>,
}

thread_local! {
    static TABLE: Table = const { Table { entries: cell::Cell::new(&raw const NOBODYS), mask: cell::Cell::new(0) } };
    static OWNER: RefCell<Owner> =
        const { RefCell::new(Owner { table: Vec::new(), used: 0, slots: 0, joined: Vec::new() }) };
}

/// What the calling thread owns.
struct Owner {
    /// What `TABLE` points to.
    table: Vec<Entry>,
    /// Entries that are somebody's.
    used: usize,
    /// One more than the largest slot that was ever asked for.
    slots: usize,
    joined: Vec<Joined>,
}

struct Joined {
    uid: u64,
    /// Not the home itself: a thread doesn't keep a registry alive.
    home: Weak<Home>,
    shard: Weak<Shard>,
}

/// A table that has so many entries for each one that is used doesn't grow any more: what it has no room for is looked up in the shard.
const SPARSENESS: usize = 4;

/// Slots that no living block has, and the first one that none ever had.
static FREE_SLOTS: Mutex<(BTreeSet<u32>, u32)> = Mutex::new((BTreeSet::new(), 0));
static NEXT_UID: AtomicU64 = AtomicU64::new(1);

fn free_slots() -> MutexGuard<'static, (BTreeSet<u32>, u32)> {
    FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next_uid() -> u64 {
    // Relaxed: only that no number comes twice.
    NEXT_UID.fetch_add(1, Ordering::Relaxed)
}

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { shards: Shards::new(), uid: next_uid(), places: Mutex::default() })
    }

    /// Where to add to a cell.
    pub(crate) fn cell(self: &Arc<Self>, cell: u32) -> CellSpot {
        CellSpot { block: self.spot(Key::Cell(cell)), cell }
    }

    /// Where to record into a histogram.
    pub(crate) fn histogram(self: &Arc<Self>, id: u32, shape: Shape) -> HistogramSpot {
        HistogramSpot { block: self.spot(Key::Histogram(id)), id, shape }
    }

    fn spot<T>(self: &Arc<Self>, key: Key) -> Spot<T> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = *places.entry(key).or_insert_with(|| {
            let mut slots = free_slots();
            let slot = slots.0.pop_first().unwrap_or_else(|| {
                slots.1 += 1;
                slots.1 - 1
            });
            Place { uid: next_uid(), slot }
        });
        Spot {
            home: Arc::clone(self),
            uid: place.uid,
            offset: place.slot as usize * size_of::<Entry>(),
            of: PhantomData,
        }
    }

    /// The calling thread's shard, made if there is none; none if the thread is ending.
    fn join(self: &Arc<Self>, owner: &mut Owner) -> Option<Arc<Shard>> {
        if let Some(joined) = owner.joined.iter().find(|joined| joined.uid == self.uid) {
            return joined.shard.upgrade();
        }
        owner.joined.retain(|joined| joined.home.strong_count() > 0);
        let shard = self.shards.join();
        let (uid, home, shard_of) = (self.uid, Arc::downgrade(self), Arc::downgrade(&shard));
        owner.joined.push(Joined { uid, home, shard: shard_of });
        Some(shard)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let places = self.places.get_mut().unwrap_or_else(PoisonError::into_inner);
        free_slots().0.extend(places.values().map(|place| place.slot));
    }
}

impl<T> Spot<T> {
    /// Calls `record` with the block, if the thread's table has it.
    #[inline]
    fn with<R>(&self, record: impl FnOnce(&T) -> R) -> Option<R> {
        let (uid, block) = TABLE.with(|table| {
            let at = self.offset & table.mask.get();
            // SAFETY: `offset` is a multiple of an entry's size, so `at` is, and is less than the table's size. The table is `NOBODYS`, or owned by this thread's `OWNER`, which
            // replaces the pointer before it frees it.
            let entry = unsafe { &*table.entries.get().byte_add(at) };
            (entry.uid, entry.block)
        });
        // SAFETY: the uid is that of this block alone, so it is a `T`, in this thread's shard. The registry, which is borrowed through `home`, owns its shards until they retire;
        // this one retires when this thread ends, after `record` has returned.
        (uid == self.uid).then(|| record(unsafe { &*block.cast::<T>() }))
    }

    /// Looks the block up in the thread's shard and calls `record` with it; without one if the thread is ending.
    fn look_up<R>(&self, find: impl FnOnce(&Shard) -> &T, record: impl FnOnce(Option<&T>) -> R) -> R {
        let Some(shard) = with_owner(|owner| self.home.join(owner)).flatten() else { return record(None) };
        let block = find(&shard);
        let entry = Entry { uid: self.uid, block: (&raw const *block).cast() };
        // If it can't be entered, it is looked up again.
        let _ = with_owner(|owner| owner.enter(self.offset / size_of::<Entry>(), entry));
        record(Some(block))
    }
}

/// None if the thread is ending, or if the owner is borrowed already: an allocator that records has called itself.
fn with_owner<R>(with: impl FnOnce(&mut Owner) -> R) -> Option<R> {
    let found = OWNER.try_with(|owner| Some(with(&mut *owner.try_borrow_mut().ok()?)));
    found.ok().flatten()
}

/// Where to add to a cell.
#[derive(Clone)]
pub(crate) struct CellSpot {
    block: Spot<Cell>,
    cell: u32,
}

impl CellSpot {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        if self.block.with(|cell| cell.add(count)).is_none() {
            self.look_up(count);
        }
    }

    /// As [`CellSpot::add`], and whoever sees it sees all that happened before it.
    #[inline]
    pub(crate) fn add_after(&self, count: u64) {
        if self.block.with(|cell| cell.add_after(count)).is_none() {
            self.look_up(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_up(&self, count: u64) {
        self.block.look_up(
            |shard| shard.cell(self.cell),
            |cell| match cell {
                Some(cell) => cell.add_after(count),
                None => self.shards().add_late(self.cell, count),
            },
        );
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.block.home.shards
    }

    pub(crate) fn cell(&self) -> u32 {
        self.cell
    }
}

/// Where to record into a histogram.
#[derive(Clone)]
pub(crate) struct HistogramSpot {
    block: Spot<HistogramShard>,
    id: u32,
    shape: Shape,
}

impl HistogramSpot {
    #[inline]
    pub(crate) fn record(&self, value: u64) {
        if self.block.with(|histogram| histogram.record(value)).is_none() {
            self.look_up(value, 1);
        }
    }

    #[inline]
    pub(crate) fn record_many(&self, value: u64, count: u64) {
        if self.block.with(|histogram| histogram.record_many(value, count)).is_none() {
            self.look_up(value, count);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_up(&self, value: u64, count: u64) {
        self.block.look_up(
            |shard| shard.histogram(self.id, self.shape),
            |histogram| match histogram {
                Some(histogram) => histogram.record_many(value, count),
                None => self.shards().record_late(self.id, self.shape, value, count),
            },
        );
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.block.home.shards
    }

    pub(crate) fn id(&self) -> (u32, Shape) {
        (self.id, self.shape)
    }
}

impl Owner {
    /// Puts an entry into the table, which grows if another one is in its place and it isn't too sparse yet. A table that has grown is empty: it fills up as it is used.
    fn enter(&mut self, slot: usize, entry: Entry) {
        self.slots = self.slots.max(slot + 1);
        let is_taken =
            |table: &[Entry]| table.get(slot % table.len().max(1)).is_none_or(|entry| entry.uid != 0);
        let mut before = Vec::new();
        if is_taken(&self.table)
            && self.table.len() < self.slots
            && self.table.len() < SPARSENESS * self.used.max(1)
        {
            let entries = (2 * self.table.len()).max(2);
            let grown = std::iter::repeat_with(|| Entry::NOBODYS).take(entries).collect();
            before = std::mem::replace(&mut self.table, grown);
            self.used = 0;
        }
        self.used += usize::from(!is_taken(&self.table));
        let at = slot % self.table.len();
        self.table[at] = entry;
        TABLE.with(|fast| {
            fast.entries.set(self.table.as_ptr());
            fast.mask.set((self.table.len() - 1) * size_of::<Entry>());
        });
        // Not earlier: freeing may record.
        drop(before);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        TABLE.with(|fast| {
            fast.entries.set(&raw const NOBODYS);
            fast.mask.set(0);
        });
        for joined in self.joined.drain(..) {
            if let (Some(home), Some(shard)) = (joined.home.upgrade(), joined.shard.upgrade()) {
                home.shards.retire(&shard);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { table: Vec::new(), used: 0, slots: 0, joined: Vec::new() }
    }

    /// Enters blocks in turn, as a thread that records into them; how many of the last `asked` were found without looking up.
    fn found(owner: &mut Owner, slots: &[usize], asked: usize) -> usize {
        let mut found = 0;
        for slot in slots.iter().cycle().take(asked) {
            let uid = *slot as u64 + 1;
            let is_there =
                |table: &[Entry]| table.get(slot % table.len().max(1)).is_some_and(|entry| entry.uid == uid);
            found += usize::from(is_there(&owner.table));
            if !is_there(&owner.table) {
                owner.enter(*slot, Entry { uid, block: std::ptr::null() });
            }
        }
        found
    }

    #[test]
    fn a_table_grows_to_hold_what_is_used_and_no_further() {
        let dense: Vec<usize> = (0..100).collect();
        let mut owner_of_dense = owner();
        found(&mut owner_of_dense, &dense, 1000);
        assert_eq!(owner_of_dense.table.len(), 128);
        assert_eq!(found(&mut owner_of_dense, &dense, 100), 100);

        // Far apart, and with one entry for both in any table that isn't sparse.
        let mut owner_of_two = owner();
        found(&mut owner_of_two, &[3, 3 + 4096], 1000);
        assert!(owner_of_two.table.len() <= 2 * SPARSENESS, "{}", owner_of_two.table.len());
        TABLE.with(|fast| {
            fast.entries.set(&raw const NOBODYS);
            fast.mask.set(0);
        });
    }
}
