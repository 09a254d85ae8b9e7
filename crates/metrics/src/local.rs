//! The calling thread's shard of a registry, found in a few loads.
//!
//! Each thread has a table with an entry for each registry that it recorded into, by the registry's **slot**: a small number that no other living registry
//! has. A **uid**, never given twice, tells whether the entry is of this registry or of one that had the slot before.
//!
//! The table's address is in a thread-local without destructor, so that reading it costs no more than reading a variable. A second one owns what there is
//! to own, and retires the thread's shards when the thread ends. From then on the thread has no shard, and what it
//! still records (in destructors of other thread-locals) goes to the registry's base, under its lock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::shard::Shard;
use crate::shards::Shards;

/// Where threads find a registry's shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    uid: u64,
    slot: u32,
}

/// A registry's shards, and where threads find theirs.
pub(crate) struct Home {
    pub(crate) shards: Shards,
    pub(crate) place: Place,
}

struct Entry {
    /// 0: nobody's.
    uid: u64,
    shard: *const Shard,
}

// SAFETY: only `NOBODY` is shared between threads, whose pointer is never followed: no registry has its uid.
unsafe impl Sync for Entry {}

static NOBODY: Entry = Entry { uid: 0, shard: std::ptr::null() };

/// The calling thread's table.
struct Table {
    /// Of `mask + 1` entries, a power of two. `NOBODY`, or the table that `OWNER` holds.
    entries: Cell<*const Entry>,
    mask: Cell<usize>,
}

thread_local! {
    static TABLE: Table = const { Table { entries: Cell::new(&raw const NOBODY), mask: Cell::new(0) } };
    static OWNER: RefCell<Owner> = const { RefCell::new(Owner { table: Vec::new(), joined: Vec::new() }) };
}

/// What the calling thread owns.
struct Owner {
    /// What `TABLE` points to.
    table: Vec<Entry>,
    joined: Vec<Joined>,
}

struct Joined {
    place: Place,
    /// Not the home itself: a thread doesn't keep a registry alive.
    home: Weak<Home>,
    shard: Weak<Shard>,
}

/// Slots that no living registry has, and the first one that none ever had.
static FREE_SLOTS: Mutex<(BTreeSet<u32>, u32)> = Mutex::new((BTreeSet::new(), 0));
static NEXT_UID: AtomicU64 = AtomicU64::new(1);

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        let slot = {
            let mut slots = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            let free = slots.0.pop_first();
            free.unwrap_or_else(|| {
                slots.1 += 1;
                slots.1 - 1
            })
        };
        // Relaxed: only that no number comes twice.
        let uid = NEXT_UID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { shards: Shards::new(), place: Place { uid, slot } })
    }

    /// Calls `record` with the calling thread's shard; without one if the thread is ending.
    #[inline]
    pub(crate) fn with_shard<T>(
        self: &Arc<Self>,
        place: Place,
        record: impl FnOnce(Option<&Shard>) -> T,
    ) -> T {
        // The place is that of `self`, from the handle at hand, which saves a load.
        debug_assert_eq!(place.uid, self.place.uid);
        let (uid, shard) = TABLE.with(|table| {
            let at = place.slot as usize & table.mask.get();
            // SAFETY: `entries` has `mask + 1` entries. It is `NOBODY` or owned by this thread's `OWNER`, which replaces the pointer before it frees them.
            let entry = unsafe { &*table.entries.get().add(at) };
            (entry.uid, entry.shard)
        });
        if uid != place.uid {
            return self.join_and(record);
        }
        // SAFETY: a shard of `self`, whose uid nobody else has. The registry owns its shards until they retire; this one retires when this thread ends,
        // after `record` has returned; and `self` is borrowed.
        record(Some(unsafe { &*shard }))
    }

    #[cold]
    #[inline(never)]
    fn join_and<T>(self: &Arc<Self>, record: impl FnOnce(Option<&Shard>) -> T) -> T {
        // SAFETY: null, or of `self` as in `with_shard`.
        record(unsafe { self.join().as_ref() })
    }

    /// Makes a shard for the calling thread; null if the thread is ending.
    fn join(self: &Arc<Self>) -> *const Shard {
        let joined = OWNER.try_with(|owner| {
            // Borrowed already: an allocator that records has called itself.
            let mut owner = owner.try_borrow_mut().ok()?;
            let shard = self.shards.join();
            owner.add(self, &shard);
            Some(Arc::as_ptr(&shard))
        });
        joined.ok().flatten().unwrap_or(std::ptr::null())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).0.insert(self.place.slot);
    }
}

impl Owner {
    /// Makes the table anew, with this shard and without those of registries that are gone.
    fn add(&mut self, home: &Arc<Home>, shard: &Arc<Shard>) {
        self.joined.retain(|joined| joined.home.strong_count() > 0);
        self.joined.push(Joined {
            place: home.place,
            home: Arc::downgrade(home),
            shard: Arc::downgrade(shard),
        });
        let slots = self.joined.iter().map(|joined| joined.place.slot as usize + 1).max().unwrap_or(1);
        let mut table = Vec::new();
        table.resize_with(slots.next_power_of_two(), || Entry { uid: 0, shard: std::ptr::null() });
        for joined in &self.joined {
            table[joined.place.slot as usize] = Entry { uid: joined.place.uid, shard: joined.shard.as_ptr() };
        }
        let before = std::mem::replace(&mut self.table, table);
        TABLE.with(|fast| {
            fast.entries.set(self.table.as_ptr());
            fast.mask.set(self.table.len() - 1);
        });
        drop(before);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        TABLE.with(|fast| {
            fast.entries.set(&raw const NOBODY);
            fast.mask.set(0);
        });
        for joined in self.joined.drain(..) {
            if let (Some(home), Some(shard)) = (joined.home.upgrade(), joined.shard.upgrade()) {
                home.shards.retire(&shard);
            }
        }
    }
}
