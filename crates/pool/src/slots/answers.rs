//! What the kernel tells: to who asks, to who waits, to the keeper, and to who looks.

use std::panic::Location;

use super::{Key, Nanos, Wait};

/// Who has had a resource, since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) held: Nanos,
    pub(crate) at: &'static Location<'static>,
}

/// What a waiter knows when its time is over.
#[derive(Clone, Debug)]
pub(crate) struct Expired<F> {
    pub(crate) waited: Nanos,
    pub(crate) dialling: Nanos,
    pub(crate) position: usize,
    pub(crate) dials: usize,
    pub(crate) backing_off: bool,
    pub(crate) last_failure: Option<F>,
    pub(crate) holders: Vec<Held>,
    pub(crate) counts: Counts,
}

/// Why a request that can't wait got nothing.
pub(crate) struct Refused<F> {
    pub(crate) counts: Counts,
    /// If it had no time, and the pool isn't closed.
    pub(crate) expired: Option<Expired<F>>,
}

/// What a waiter gets.
pub(crate) enum Grant<T, F> {
    /// With its slot, and when it was last used.
    Resource(T, u32, Nanos),
    Failed(F),
    TimedOut(Box<Expired<F>>),
    Closed,
}

/// How a request for a resource stands.
pub(crate) enum Taken<T, F> {
    /// The request was counted as ok. With `check`, it still waits, for the shell's check.
    Got {
        value: T,
        slot: u32,
        check: bool,
        wait: Option<Wait>,
    },
    Queued(Key),
    Ended(Grant<T, F>),
    /// Would have to queue, but brought no waker. Neither is made under the lock.
    NeedsPatience,
}

/// The answer to a request.
pub(crate) struct Requested<T, F> {
    pub(crate) taken: Taken<T, F>,
    /// A slot to dial for at once.
    pub(crate) dial: Option<u32>,
    /// Whether [`Slots::keeper_needed`] should be asked.
    pub(crate) keeper_missing: bool,
}

/// What a look at one's place in the queue shows.
pub(crate) enum Looked<T, F> {
    Waiting { keeper_missing: bool },
    Done(Taken<T, F>),
}

/// How many of what, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) max: usize,
    pub(crate) size: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
    pub(crate) connecting: usize,
    pub(crate) queued: usize,
    pub(crate) closed: bool,
    pub(crate) tally: Tally,
}

/// What was counted since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tally {
    pub(crate) started: u64,
    pub(crate) ok: u64,
    /// Started and not ended.
    pub(crate) waiting: u64,
    pub(crate) error: u64,
    pub(crate) timeout: u64,
    pub(crate) cancelled: u64,
    pub(crate) dials: u64,
    pub(crate) dial_failures: u64,
    pub(crate) retired: u64,
    pub(crate) detached: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    Error,
    Timeout,
    Cancelled,
}

/// What the keeper is to do.
pub(crate) struct Plan {
    /// Another keeper took over, or it isn't needed any more.
    pub(crate) ends: bool,
    /// Slots to dial for.
    pub(crate) dials: Vec<u32>,
    /// When to come again at the latest.
    pub(crate) next: Nanos,
}
