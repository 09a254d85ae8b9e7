//! A lock for what is read far more often than it changes: several mutexes, of which a reader takes one, by its thread, and a writer takes all. Readers of different lanes share no cache line of it.
//!
//! Known as a big-reader lock; crossbeam's `ShardedLock` is of this kind. A lane here is a mutex, so that readers of one lane exclude each other: two who must not overlap, though both only read,
//! read in turn.

use std::array;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use crossbeam_utils::CachePadded;

use crate::sync::{ConstPtr, MutPtr, Mutex, MutexGuard, UnsafeCell, lock, thread_number};

/// On cache lines of its own, so that readers of different lanes share none.
type Lane = CachePadded<Mutex<()>>;

/// A value behind `LANES` mutexes, of which the first is for those who read in turn.
pub(super) struct Lanes<T, const LANES: usize> {
    lanes: [Lane; LANES],
    value: UnsafeCell<T>,
}

// SAFETY: as for a lock that many may read at once: threads share `&T`, so `T: Sync`, and each may get `&mut T`, so `T: Send`. That nobody reads while somebody writes is argued below.
unsafe impl<T: Send + Sync, const LANES: usize> Sync for Lanes<T, LANES> {}

// As a mutex is, whose poison is ignored as well: no critical section here runs code that isn't its own, and none panics half-way.
impl<T, const LANES: usize> RefUnwindSafe for Lanes<T, LANES> {}
impl<T, const LANES: usize> UnwindSafe for Lanes<T, LANES> {}

impl<T, const LANES: usize> Lanes<T, LANES> {
    pub(super) fn new(value: T) -> Self {
        assert!(LANES > 1, "one lane is for those who read in turn, the others for all others");
        Self { lanes: array::from_fn(|_| Lane::new(Mutex::new(()))), value: UnsafeCell::new(value) }
    }

    /// Reads, beside others who do.
    #[inline]
    pub(super) fn read(&self) -> Reading<'_, T> {
        self.read_in(1 + thread_number() % (LANES - 1))
    }

    /// Reads, beside others who do, but not beside another one who reads in turn.
    #[inline]
    pub(super) fn read_in_turn(&self) -> Reading<'_, T> {
        self.read_in(0)
    }

    #[inline]
    fn read_in(&self, lane: usize) -> Reading<'_, T> {
        let lane = lock(&self.lanes[lane]);
        Reading { value: self.value.get(), _lane: lane }
    }

    /// Writes, beside nobody.
    pub(super) fn write(&self) -> Writing<'_, T, LANES> {
        // Always in the same order, so that no two writers wait for each other.
        let lanes = self.lanes.each_ref().map(|lane| lock(lane));
        Writing { value: self.value.get_mut(), _lanes: lanes }
    }
}

/// The value, for as long as one lane is held. The pointer goes first.
pub(super) struct Reading<'a, T> {
    value: ConstPtr<T>,
    _lane: MutexGuard<'a, ()>,
}

/// The value, for as long as all lanes are held. The pointer goes first.
pub(super) struct Writing<'a, T, const LANES: usize> {
    value: MutPtr<T>,
    _lanes: [MutexGuard<'a, ()>; LANES],
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a lane is held, so nobody holds all of them, and there is no `&mut T`. The value outlives the guard of a lane that lies beside it.
        self.value.with(|value| unsafe { &*value })
    }
}

impl<T, const LANES: usize> Deref for Writing<'_, T, LANES> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: all lanes are held, so there is no other guard; and this one is borrowed, so its `&mut T` isn't in use.
        self.value.with(|value| unsafe { &*value })
    }
}

impl<T, const LANES: usize> DerefMut for Writing<'_, T, LANES> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: all lanes are held, so there is no other guard; and this one is borrowed for writing, so no other reference of its is in use.
        self.value.with(|value| unsafe { &mut *value })
    }
}

#[cfg(all(test, steadfast_loom))]
mod loom_models {
    use loom::thread;
    use steadfast_testkit::models::{Seen, check};

    use super::*;
    use crate::sync::{Arc, AtomicUsize, Ordering};

    type Model = Lanes<(u64, u64), 3>;

    #[test]
    fn loom_nobody_reads_what_is_half_written() {
        let seen = Seen::<&str>::new();
        let noted = seen.clone();
        check(3, move || {
            let lanes = Arc::new(Model::new((0, 0)));
            let read = |noted: &Seen<&'static str>| {
                let (lanes, noted) = (Arc::clone(&lanes), noted.clone());
                thread::spawn(move || {
                    let value = lanes.read();
                    let first = value.0;
                    // For the model, which switches only at such places.
                    thread::yield_now();
                    assert_eq!(first, value.1);
                    noted.note(if value.0 == 0 { "before" } else { "after" });
                })
            };
            let (one, other) = (read(&noted), read(&noted));
            {
                let mut value = lanes.write();
                value.0 += 1;
                value.1 += 1;
            }
            one.join().unwrap();
            other.join().unwrap();
        });
        seen.assert_all(["before", "after"]);
    }

    #[test]
    fn loom_writers_come_one_after_the_other() {
        check(3, || {
            let lanes = Arc::new(Model::new((0, 0)));
            let write = || {
                let lanes = Arc::clone(&lanes);
                thread::spawn(move || {
                    let mut value = lanes.write();
                    value.0 += 1;
                    value.1 += value.0;
                })
            };
            let (one, other) = (write(), write());
            let first = lanes.read_in_turn().0;
            let second = lanes.read().0;
            assert!(first <= second, "what was seen stays");
            one.join().unwrap();
            other.join().unwrap();
            assert_eq!(*lanes.read(), (2, 3));
        });
    }

    #[test]
    fn loom_who_reads_in_turn_reads_beside_others_only() {
        let seen = Seen::<usize>::new();
        let noted = seen.clone();
        check(3, move || {
            let lanes = Arc::new(Model::new((0, 0)));
            let (turns, beside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let in_turn = {
                let (lanes, turns, beside) = (Arc::clone(&lanes), Arc::clone(&turns), Arc::clone(&beside));
                move || {
                    let value = lanes.read_in_turn();
                    assert_eq!(turns.fetch_add(1, Ordering::Relaxed), 0, "two read in turn at once");
                    beside.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    turns.fetch_sub(1, Ordering::Relaxed);
                    value.0
                }
            };
            let one = thread::spawn(in_turn.clone());
            let reader = {
                let (lanes, turns, noted) = (Arc::clone(&lanes), Arc::clone(&turns), noted.clone());
                thread::spawn(move || {
                    let _value = lanes.read();
                    thread::yield_now();
                    noted.note(turns.load(Ordering::Relaxed));
                })
            };
            in_turn();
            one.join().unwrap();
            reader.join().unwrap();
            assert_eq!(beside.load(Ordering::Relaxed), 2);
        });
        seen.assert_all([0_usize, 1]);
    }
}
