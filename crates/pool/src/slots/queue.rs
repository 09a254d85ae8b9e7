//! Who waits, in the order of tickets. A place in the queue is a key into a slab, so that leaving it costs the same wherever it is.

use std::panic::Location;
use std::task::Waker;

use super::Nanos;

/// No entry.
const NONE: u32 = u32::MAX;

/// A place in the queue. Whoever has it takes the entry out exactly once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// What a waiter brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The order of arrival; kept by whoever has to wait again.
    pub(crate) ticket: u64,
    pub(crate) since: Nanos,
    pub(crate) deadline: Nanos,
    /// The dial clock at the arrival, see `State::dial_clock`.
    pub(crate) dial_mark: Nanos,
    /// Who asks, for those who have to wait for it later.
    pub(crate) at: &'static Location<'static>,
}

enum Stage<G> {
    Vacant,
    Waiting(Option<Waker>),
    Granted(G),
}

struct Entry<G> {
    stage: Stage<G>,
    wait: Wait,
    before: u32,
    after: u32,
}

/// What a look at one's own place shows.
pub(crate) enum Look<G> {
    /// The grant, and what was brought along. The place is gone.
    Granted(G, Wait),
    /// Nothing yet, and the waker is still the right one.
    Waiting,
    /// Nothing yet, and the waker is another one.
    WakerChanged,
}

/// Waiters in the order of their tickets, and grants that nobody has taken yet.
pub(crate) struct Queue<G> {
    entries: Vec<Entry<G>>,
    vacant: Vec<u32>,
    first: u32,
    last: u32,
    waiting: usize,
}

impl<G> Queue<G> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), vacant: Vec::new(), first: NONE, last: NONE, waiting: 0 }
    }

    /// How many wait; those with a grant don't.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queues by ticket. Nearly always at the end; who waits again goes to where its ticket belongs.
    pub(crate) fn enter(&mut self, wait: Wait, waker: Waker) -> Key {
        let entry = Entry { stage: Stage::Waiting(Some(waker)), wait, before: NONE, after: NONE };
        let at = if let Some(at) = self.vacant.pop() {
            self.entries[at as usize] = entry;
            at
        } else {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        };
        // The last of those that came earlier.
        let mut before = self.last;
        while before != NONE && self.entries[before as usize].wait.ticket > wait.ticket {
            before = self.entries[before as usize].before;
        }
        let after = if before == NONE { self.first } else { self.entries[before as usize].after };
        self.link(before, at);
        self.link(at, after);
        self.waiting += 1;
        Key(at)
    }

    /// Makes two entries neighbours; `NONE` stands for the queue's ends.
    fn link(&mut self, before: u32, after: u32) {
        match before {
            NONE => self.first = after,
            _ => self.entries[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            _ => self.entries[after as usize].before = before,
        }
    }

    /// Takes `at` out of the order; its entry stays.
    fn unlink(&mut self, at: u32) {
        let Entry { before, after, .. } = self.entries[at as usize];
        self.link(before, after);
        self.waiting -= 1;
    }

    /// What the first one brought along.
    #[inline]
    pub(crate) fn first(&self) -> Option<Wait> {
        (self.first != NONE).then(|| self.entries[self.first as usize].wait)
    }

    /// Gives the first one what it waits for. Its waker is to be woken once the lock is let go.
    #[inline]
    pub(crate) fn grant_first(&mut self, grant: G) -> Option<Waker> {
        debug_assert!(self.first != NONE, "nobody waits");
        self.grant(self.first, grant)
    }

    fn grant(&mut self, at: u32, grant: G) -> Option<Waker> {
        self.unlink(at);
        match std::mem::replace(&mut self.entries[at as usize].stage, Stage::Granted(grant)) {
            Stage::Waiting(waker) => waker,
            Stage::Vacant | Stage::Granted(_) => unreachable!("an entry in the order waits"),
        }
    }

    /// Gives each one who is `chosen` what `grant` makes of its position (0 is next), its wait and how many waited; the wakers are appended to `wakers`.
    pub(crate) fn grant_where(
        &mut self,
        chosen: impl Fn(&Wait) -> bool,
        mut grant: impl FnMut(usize, &Wait) -> G,
        wakers: &mut Vec<Waker>,
    ) {
        let (mut at, mut position) = (self.first, 0);
        while at != NONE {
            let next = self.entries[at as usize].after;
            let wait = self.entries[at as usize].wait;
            if chosen(&wait) {
                let given = grant(position, &wait);
                wakers.extend(self.grant(at, given));
            }
            (at, position) = (next, position + 1);
        }
    }

    /// The earliest deadline of those who wait.
    pub(crate) fn deadline_min(&self) -> Nanos {
        let mut earliest = Nanos::MAX;
        let mut at = self.first;
        while at != NONE {
            let entry = &self.entries[at as usize];
            earliest = earliest.min(entry.wait.deadline);
            at = entry.after;
        }
        earliest
    }

    /// Takes the grant of `key` if there is one.
    pub(crate) fn look(&mut self, key: &Key, waker: &Waker) -> Look<G> {
        match &self.entries[key.0 as usize].stage {
            Stage::Waiting(Some(known)) if known.will_wake(waker) => Look::Waiting,
            Stage::Waiting(_) => Look::WakerChanged,
            Stage::Granted(_) | Stage::Vacant => match self.vacate(key) {
                (Some(grant), wait) => Look::Granted(grant, wait),
                (None, _) => unreachable!("a key is used once"),
            },
        }
    }

    /// Replaces the waker; the old one is to be dropped once the lock is let go.
    pub(crate) fn set_waker(&mut self, key: &Key, waker: Waker) -> Option<Waker> {
        match &mut self.entries[key.0 as usize].stage {
            Stage::Waiting(known) => known.replace(waker),
            Stage::Vacant | Stage::Granted(_) => Some(waker),
        }
    }

    /// Leaves the queue: the grant, should it have come already, else the waker.
    pub(crate) fn leave(&mut self, key: &Key) -> Result<G, Option<Waker>> {
        if let Stage::Waiting(waker) = &mut self.entries[key.0 as usize].stage {
            let waker = waker.take();
            self.unlink(key.0);
            self.vacate(key);
            return Err(waker);
        }
        self.vacate(key).0.ok_or(None)
    }

    fn vacate(&mut self, key: &Key) -> (Option<G>, Wait) {
        let entry = &mut self.entries[key.0 as usize];
        let stage = std::mem::replace(&mut entry.stage, Stage::Vacant);
        let wait = entry.wait;
        self.vacant.push(key.0);
        match stage {
            Stage::Granted(grant) => (Some(grant), wait),
            Stage::Waiting(_) | Stage::Vacant => (None, wait),
        }
    }

    /// Copies of the wakers of all who wait are not to be had: they are taken, and each one who is woken leaves another.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        let mut at = self.first;
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            if let Stage::Waiting(waker) = &mut entry.stage {
                wakers.extend(waker.take());
            }
            at = entry.after;
        }
    }
}
