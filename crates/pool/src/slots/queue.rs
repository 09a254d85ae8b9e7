//! Who waits, in the order of tickets: a ring, whose first is served and at whose end one queues. Who leaves from its middle leaves a hole.
//!
//! What a waiter is given lies in a [cell](super::cells), so that it can be taken without the kernel's lock. A cell that a resource was handed over in is remembered by the slot's place and
//! used again when the resource is back.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::Nanos;
use super::cells::{Cells, Chunks, Claim};

/// Rings of fewer places aren't tidied of holes.
const TIDY_FROM: usize = 64;

/// No cell.
pub(super) const NONE: u32 = u32::MAX;

/// A place in the queue. Whoever has it takes what is given there, or leaves, exactly once.
pub(crate) struct Key {
    pub(super) wait: Wait,
    pub(super) claim: Claim,
}

/// What a waiter brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The order of arrival; no two have the same. Kept by whoever has to wait again.
    pub(crate) ticket: u64,
    pub(crate) since: Nanos,
    pub(crate) deadline: Nanos,
    /// The dial clock at the arrival, see `State::dial_clock`.
    pub(crate) dial_mark: Nanos,
    /// Who asks, for those who have to wait for it later.
    pub(crate) at: &'static Location<'static>,
}

/// What the queue keeps of a waiter.
struct Waiter {
    ticket: u64,
    deadline: Nanos,
    at: &'static Location<'static>,
    /// `None` once it was woken to look again.
    waker: Option<Waker>,
    /// [`NONE`] for a hole.
    cell: u32,
}

/// What a look at one's own place shows.
pub(super) enum Look<G> {
    Granted(G),
    /// Nothing yet, and the waker is still the right one.
    Waiting,
    /// Nothing yet, and the waker is another one.
    WakerChanged,
}

/// Waiters in the order of their tickets. The first and the last are no holes.
pub(crate) struct Queue<G> {
    ring: VecDeque<Waiter>,
    holes: usize,
    cells: Cells<G>,
}

impl<G> Queue<G> {
    pub(crate) fn new() -> Self {
        Self { ring: VecDeque::new(), holes: 0, cells: Cells::new() }
    }

    /// Where those who have keys find what they were given.
    pub(super) fn cells(&self) -> Arc<Chunks<G>> {
        self.cells.chunks()
    }

    /// How many wait; those who were given something don't.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.ring.len() - self.holes
    }

    /// Queues by ticket. Nearly always at the end; who waits again goes to where its ticket belongs.
    #[inline]
    pub(crate) fn enter(&mut self, wait: Wait, waker: Waker) -> Key {
        let (cell, claim) = self.cells.open();
        let Wait { ticket, deadline, at, .. } = wait;
        let waiter = Waiter { ticket, deadline, at, waker: Some(waker), cell };
        if self.ring.back().is_none_or(|last| last.ticket < ticket) {
            self.ring.push_back(waiter);
        } else {
            let place = self.ring.partition_point(|other| other.ticket < ticket);
            self.ring.insert(place, waiter);
        }
        Key { wait, claim }
    }

    /// The first one's ticket.
    pub(crate) fn first_ticket(&self) -> Option<u64> {
        self.ring.front().map(|first| first.ticket)
    }

    /// Gives the first one what it waits for. Its waker is to be woken once the lock is let go; its cell is for [`Self::reuse`] once the grant is
    /// known to be taken. The grant comes back if nobody waits.
    #[inline]
    pub(super) fn grant_first(&mut self, grant: G) -> Result<Granted, G> {
        let Some(Waiter { at, waker, cell, .. }) = self.ring.pop_front() else { return Err(grant) };
        self.cells.fill(cell, grant);
        if self.holes > 0 {
            self.trim();
        }
        Ok(Granted { at, waker, cell })
    }

    /// Keeps a cell for another waiter, now that its owner has taken what was given.
    #[inline]
    pub(super) fn reuse(&mut self, cell: u32) {
        self.cells.reuse(cell);
    }

    /// Whether what was given in a cell hasn't been taken yet.
    pub(super) fn is_full(&self, cell: u32) -> bool {
        self.cells.is_full(cell)
    }

    /// Gives each one who is `chosen`, by ticket and deadline, what `grant` makes of its position, where 0 is next; the wakers are appended to `wakers`.
    pub(crate) fn grant_where(
        &mut self,
        chosen: impl Fn(u64, Nanos) -> bool,
        mut grant: impl FnMut(usize) -> G,
        wakers: &mut Vec<Waker>,
    ) {
        let mut position = 0;
        self.ring.retain_mut(|waiter| {
            if waiter.cell == NONE {
                return false;
            }
            let is_chosen = chosen(waiter.ticket, waiter.deadline);
            if is_chosen {
                self.cells.fill(waiter.cell, grant(position));
                wakers.extend(waiter.waker.take());
            }
            position += 1;
            !is_chosen
        });
        self.holes = 0;
    }

    /// The earliest deadline of those who wait.
    pub(crate) fn deadline_min(&self) -> Nanos {
        let waiting = self.ring.iter().filter(|waiter| waiter.cell != NONE);
        waiting.map(|waiter| waiter.deadline).min().unwrap_or(Nanos::MAX)
    }

    /// The waiter with this key, unless it was given something.
    fn find(&self, key: &Key) -> Option<usize> {
        self.ring.binary_search_by(|waiter| waiter.ticket.cmp(&key.wait.ticket)).ok()
    }

    /// Takes what was given to `key` if anything was; its cell stays until it is known to be [free](Self::reuse).
    pub(super) fn look(&mut self, key: &mut Key, waker: &Waker) -> Look<G> {
        match self.find(key).map(|at| &self.ring[at].waker) {
            Some(Some(known)) if known.will_wake(waker) => Look::Waiting,
            Some(_) => Look::WakerChanged,
            None => match self.cells.take(&mut key.claim) {
                Some(grant) => Look::Granted(grant),
                None => unreachable!("a key is used once"),
            },
        }
    }

    /// Replaces the waker; the old one is to be dropped once the lock is let go.
    pub(super) fn set_waker(&mut self, key: &Key, waker: Waker) -> Option<Waker> {
        match self.find(key) {
            Some(at) => self.ring[at].waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Leaves the queue: the grant, should it have come already, as by [`Self::look`]; else the waker.
    pub(super) fn leave(&mut self, key: &mut Key) -> Result<G, Option<Waker>> {
        let Some(at) = self.find(key) else { return self.cells.take(&mut key.claim).ok_or(None) };
        let waiter = &mut self.ring[at];
        let waker = waiter.waker.take();
        waiter.cell = NONE;
        self.cells.leave(&mut key.claim);
        self.holes += 1;
        self.trim();
        if self.ring.len() >= TIDY_FROM && self.holes > self.ring.len() / 2 {
            self.ring.retain(|waiter| waiter.cell != NONE);
            self.holes = 0;
        }
        Err(waker)
    }

    /// Takes the holes off both ends.
    fn trim(&mut self) {
        let is_hole = |waiter: Option<&Waiter>| waiter.is_some_and(|waiter| waiter.cell == NONE);
        while is_hole(self.ring.front()) {
            self.ring.pop_front();
            self.holes -= 1;
        }
        while is_hole(self.ring.back()) {
            self.ring.pop_back();
            self.holes -= 1;
        }
    }

    /// Copies of the wakers of all who wait are not to be had: they are taken, and each one who is woken leaves another.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.ring.iter_mut().filter_map(|waiter| waiter.waker.take()));
    }
}

/// What is left of a waiter that was given something.
pub(super) struct Granted {
    pub(super) at: &'static Location<'static>,
    pub(super) waker: Option<Waker>,
    pub(super) cell: u32,
}
