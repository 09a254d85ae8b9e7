//! What a pool tells of itself.

use std::panic::Location;
use std::time::Duration;

use crate::slots::{Counts, Held};

/// How a pool stands, at one moment: all numbers belong to the same committed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The most resources that there may be.
    pub max: usize,
    /// Resources and dials there are: `idle + in_use + connecting`. Over `max` only while resources that were out come back after it was lowered.
    pub size: usize,
    /// Resources that wait for somebody.
    pub idle: usize,
    /// Resources that somebody has, and those that are being checked or dropped.
    pub in_use: usize,
    /// Dials under way, those that wait for their turn in the [`DialBudget`](crate::DialBudget) among them.
    pub connecting: usize,
    /// Requests in the queue.
    pub queued: usize,
    /// Whether the pool is closed.
    pub closed: bool,
    /// Requests that were ever made: `ok + error + timeout + cancelled + waiting`.
    pub started: u64,
    /// Requests that got a resource.
    pub ok: u64,
    /// Requests that ended with an error other than a timeout.
    pub error: u64,
    /// Requests whose time ran out.
    pub timeout: u64,
    /// Requests that were dropped before they ended.
    pub cancelled: u64,
    /// Requests that haven't ended: queued, or with a resource on its way to them or being checked.
    pub waiting: u64,
    /// Dials that were ever begun.
    pub dials: u64,
    /// Dials that came to nothing.
    pub dial_failures: u64,
    /// Resources that were dropped: too old, idle for too long, broken, failed in a check, over the maximum, or on closing.
    pub retired: u64,
    /// Resources that were detached.
    pub detached: u64,
}

/// Who has a resource, and for how long.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// For how long, to within a tenth of a second.
    pub held: Duration,
    /// Where in the source the resource was asked for.
    pub at: &'static Location<'static>,
}

/// What became of a pool that was closed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CloseReport {
    /// Whether nothing was alive any more when the deadline came, or before.
    pub drained: bool,
    /// How long it took.
    pub took: Duration,
    /// Idle resources that were dropped by this call.
    pub idle: usize,
    /// Resources that were still out. They are dropped when they come back.
    pub in_use: usize,
    /// Dials that were still under way.
    pub connecting: usize,
    /// Those who had resources for longest.
    pub holders: Vec<Holder>,
}

/// What [`Pool::retain`](crate::Pool::retain) tells of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// Since it was made.
    pub age: Duration,
    /// Since it came back.
    pub idle: Duration,
}

/// What [`Pool::retain`](crate::Pool::retain) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained {
    /// Resources that were kept.
    pub kept: usize,
    /// Resources that were dropped.
    pub dropped: usize,
}

impl From<Counts> for Status {
    fn from(counts: Counts) -> Self {
        let Counts { max, size, idle, in_use, connecting, queued, closed, tally } = counts;
        Self {
            max,
            size,
            idle,
            in_use,
            connecting,
            queued,
            closed,
            started: tally.started,
            ok: tally.ok,
            error: tally.error,
            timeout: tally.timeout,
            cancelled: tally.cancelled,
            waiting: tally.waiting,
            dials: tally.dials,
            dial_failures: tally.dial_failures,
            retired: tally.retired,
            detached: tally.detached,
        }
    }
}

impl From<Held> for Holder {
    fn from(held: Held) -> Self {
        Self { held: Duration::from_nanos(held.held), at: held.at }
    }
}
