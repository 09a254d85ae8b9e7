//! What can go wrong, with the facts.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::slots::Expired;
use crate::status::{Holder, Status};

/// Why a request got no resource.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<E> {
    /// Its time ran out.
    Timeout(Box<Autopsy<E>>),
    /// Connecting failed in a way that trying again doesn't help, as the manager judged.
    Connect(Arc<DialError<E>>),
    /// [`Pool::try_get`](crate::Pool::try_get) found nothing idle.
    Exhausted(Box<Status>),
    /// The pool is closed.
    Closed,
}

/// Why a dial came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError<E> {
    /// The manager's error.
    Failed(E),
    /// It took longer than the builder's `connect_timeout`, which is told.
    TimedOut(Duration),
    /// The manager panicked.
    Panicked,
}

/// Where a request's time went, and what the pool looked like when it was over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Autopsy<E> {
    /// What it was waiting for at the end.
    pub stage: Stage,
    /// All of its time: `queued + dialling + checking`.
    pub waited: Duration,
    /// Waiting while no dial was under way.
    pub queued: Duration,
    /// Waiting while at least one dial was under way.
    pub dialling: Duration,
    /// In checks of resources that it had been given.
    pub checking: Duration,
    /// How many were before it in the queue.
    pub position: usize,
    /// The last dial that came to nothing, however long ago.
    pub last_dial_error: Option<Arc<DialError<E>>>,
    /// Those who had resources for longest, the longest first.
    pub holders: Vec<Holder>,
    /// The pool at that moment; this request is still among those who wait.
    pub status: Status,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// For somebody to give a resource back: there are as many as there may be.
    Queued,
    /// For a dial.
    Dialling,
    /// For the next dial after one that failed: there is room for it, but its back-off isn't over,
    /// or ended in the same millisecond as the request's time.
    BackingOff,
    /// For a check of the resource that it was given.
    Checking,
}

impl<E> GetError<E> {
    /// Whether the same request may go better later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Exhausted(_))
    }
}

impl<E> Autopsy<E> {
    pub(crate) fn new(told: Expired<Arc<DialError<E>>>, checking: Duration, in_check: bool) -> Self {
        let waited = Duration::from_nanos(told.waited);
        let dialling = Duration::from_nanos(told.dialling).min(waited.saturating_sub(checking));
        let stage = if in_check {
            Stage::Checking
        } else if told.dials > 0 {
            Stage::Dialling
        } else if told.backing_off {
            Stage::BackingOff
        } else {
            Stage::Queued
        };
        Self {
            stage,
            waited,
            queued: waited.saturating_sub(dialling + checking),
            dialling,
            checking,
            position: told.position,
            last_dial_error: told.last_failure,
            holders: told.holders.into_iter().map(Holder::from).collect(),
            status: told.counts.into(),
        }
    }

    /// Tells of checks before the last wait.
    pub(crate) fn add_checking(&mut self, checking: Duration) {
        self.checking += checking;
        // A dial may have been under way during the check as well.
        self.dialling = self.dialling.min(self.waited.saturating_sub(self.checking));
        self.queued = self.waited.saturating_sub(self.dialling + self.checking);
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "in the queue",
            Self::Dialling => "for a dial",
            Self::BackingOff => "for the next attempt to dial",
            Self::Checking => "for the check of a resource",
        })
    }
}

impl<E: fmt::Display> fmt::Display for DialError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::TimedOut(after) => write!(f, "no connection after {after:?}"),
            Self::Panicked => f.write_str("the manager panicked while it connected"),
        }
    }
}

impl<E: Error + 'static> Error for DialError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TimedOut(_) | Self::Panicked => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Autopsy<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, waited, queued, dialling, checking, position, status, .. } = self;
        write!(
            f,
            "no resource after {waited:?} (queued {queued:?}, dialling {dialling:?}, checking {checking:?}), at the end waiting {stage}"
        )?;
        if *stage != Stage::Checking {
            write!(f, " behind {position} others")?;
        }
        write!(
            f,
            "; of at most {} there are {} in use, {} idle, {} connecting",
            status.max, status.in_use, status.idle, status.connecting
        )?;
        if let Some(error) = &self.last_dial_error {
            write!(f, "; the last dial that failed: {error}")?;
        }
        for holder in &self.holders {
            write!(f, "; held for {:?} by {}", holder.held, holder.at)?;
        }
        Ok(())
    }
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(autopsy) => write!(f, "{autopsy}"),
            Self::Connect(error) => write!(f, "connecting makes no sense: {error}"),
            Self::Exhausted(status) => {
                write!(f, "nothing is idle: of at most {} there are {} in use", status.max, status.in_use)
            }
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Timeout(autopsy) => autopsy.last_dial_error.as_ref().map(|error| &**error as _),
            Self::Connect(error) => Some(&**error),
            Self::Exhausted(_) | Self::Closed => None,
        }
    }
}

/// A setting that can't be, with what was found and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidConfig {
    /// The setting's name.
    pub field: &'static str,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}; it must be {}", self.field, self.found, self.allowed)
    }
}

impl Error for InvalidConfig {}
