//! What guards hold of their pool: one of several reference counts, by thread. One for all would be a word that every processor writes at each check-out and return, which costs more there
//! than the rest of both.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::manager::Manager;
use crate::shared::Shared;

/// Reference counts a pool. More threads than this share some.
const HOMES: usize = 8;

/// A share of a pool, in a cache line of its own.
#[repr(align(64))]
pub(crate) struct Home<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Deref for Home<M> {
    type Target = Shared<M>;

    #[inline]
    fn deref(&self) -> &Shared<M> {
        &self.shared
    }
}

/// What a pool's handles share.
pub(crate) struct Homes<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    homes: [Arc<Home<M>>; HOMES],
}

impl<M: Manager> Homes<M> {
    pub(crate) fn new(shared: Shared<M>) -> Self {
        let shared = Arc::new(shared);
        let homes = std::array::from_fn(|_| Arc::new(Home { shared: Arc::clone(&shared) }));
        Self { shared, homes }
    }

    /// For a guard that is made on this thread.
    #[inline]
    pub(crate) fn home(&self) -> Arc<Home<M>> {
        Arc::clone(&self.homes[thread_number() % HOMES])
    }
}

/// Threads are numbered as they come.
#[inline]
fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.try_with(Cell::get).unwrap_or(0);
    if number != usize::MAX {
        return number;
    }
    // Relaxed: a number is all it gives. Twice the same would do no harm.
    let fresh = NEXT.fetch_add(1, Ordering::Relaxed) % HOMES;
    let _ = NUMBER.try_with(|number| number.set(fresh));
    fresh
}
