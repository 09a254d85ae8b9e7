//! Why a request got no connection, with the facts.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::status::AddressStatus;
use super::table::Vain;
use crate::error::DialError;

/// Why a request got no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyedError<E> {
    /// The address isn't in the pool; of [`KeyedPool::pick`](crate::KeyedPool::pick): no address is.
    UnknownAddress,
    /// The dial that this request waited for came to nothing. It is tried again in the background.
    Connect(Arc<DialError<E>>),
    /// The address is failing, with the last dial's error and the time until the next one.
    Failing(Arc<DialError<E>>, Duration),
    /// The address' connections break as soon as they are made. It is tried again in the background.
    ShortLived {
        /// How long the last connection had been there when it was found broken.
        lived: Duration,
        /// The time until the next dial.
        retry_in: Duration,
    },
    /// Nothing was connected within the time.
    Timeout(Box<KeyedAutopsy<E>>),
    /// [`KeyedPool::try_get`](crate::KeyedPool::try_get) or [`KeyedPool::try_pick`](crate::KeyedPool::try_pick) found no connection.
    NotConnected,
    /// The address is in the pool already, under this generation.
    AlreadyAdded(u64),
    /// The pool is closed.
    Closed,
}

/// Where the time of a request went that ran out of it: of one address, or of all if any would have done.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeyedAutopsy<E> {
    /// What it was waiting for at the end.
    pub stage: KeyedStage,
    /// All of its time: `queued + dialling + backing_off`.
    pub waited: Duration,
    /// Waiting while dials were ordered, but none had its turn of the budget.
    pub queued: Duration,
    /// Waiting while at least one dial was under way.
    pub dialling: Duration,
    /// Waiting while there was no dial: between attempts.
    pub backing_off: Duration,
    /// Dials that were begun meanwhile.
    pub dials: u64,
    /// Others that still wait for the same.
    pub others: usize,
    /// The last dial that came to nothing, however long ago.
    pub last_dial_error: Option<Arc<DialError<E>>>,
    /// The addresses that it could have got, at the end: the one asked for, or all.
    pub addresses: Vec<AddressStatus>,
}

/// What a request for a shared connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedStage {
    /// For a dial's turn of the [`DialBudget`](crate::DialBudget).
    Queued,
    /// For a dial.
    Dialling,
    /// For the next attempt to dial.
    BackingOff,
}

impl<E> KeyedError<E> {
    /// Whether the same request may go better later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Failing(..)
            | Self::ShortLived { .. }
            | Self::Timeout(_)
            | Self::NotConnected => true,
            Self::UnknownAddress | Self::AlreadyAdded(_) | Self::Closed => false,
        }
    }
}

impl<E> KeyedAutopsy<E> {
    pub(super) fn new(waited: Duration, vain: Vain<Arc<DialError<E>>>) -> Self {
        let stage = if vain.had_turn {
            KeyedStage::Dialling
        } else if vain.had_order {
            KeyedStage::Queued
        } else {
            KeyedStage::BackingOff
        };
        // The clocks are read by whoever takes a step: they may be a little further.
        let dialling = Duration::from_nanos(vain.passed.dialling).min(waited);
        let queued = Duration::from_nanos(vain.passed.queued).min(waited.saturating_sub(dialling));
        Self {
            stage,
            waited,
            queued,
            dialling,
            backing_off: waited.saturating_sub(dialling + queued),
            dials: vain.passed.begun,
            others: vain.others,
            last_dial_error: vain.last_failure,
            addresses: vain.addresses,
        }
    }
}

impl fmt::Display for KeyedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "for a dial's turn",
            Self::Dialling => "for a dial",
            Self::BackingOff => "for the next attempt to dial",
        })
    }
}

impl<E: fmt::Display> fmt::Display for KeyedAutopsy<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, waited, queued, dialling, backing_off, dials, others, .. } = self;
        write!(
            f,
            "no connection after {waited:?} (queued {queued:?}, dialling {dialling:?}, backing off {backing_off:?}), at the end waiting {stage} with {others} others; {dials} dials began meanwhile"
        )?;
        if let Some(error) = &self.last_dial_error {
            write!(f, "; the last dial that failed: {error}")?;
        }
        // As many as one reads.
        for AddressStatus { address, state, failures, .. } in self.addresses.iter().take(8) {
            write!(f, "; {address} is {state:?}")?;
            if *failures > 0 {
                write!(f, " after {failures} failures")?;
            }
        }
        Ok(())
    }
}

impl<E: fmt::Display> fmt::Display for KeyedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAddress => f.write_str("the address isn't in the pool"),
            Self::Connect(error) => write!(f, "connecting failed: {error}"),
            Self::Failing(error, left) => {
                write!(f, "the address is failing ({error}); the next attempt is in {left:?}")
            }
            Self::ShortLived { lived, retry_in } => write!(
                f,
                "the address' connections don't last (the last broke within {lived:?}); the next attempt is in {retry_in:?}"
            ),
            Self::Timeout(autopsy) => write!(f, "{autopsy}"),
            Self::NotConnected => f.write_str("there is no connection"),
            Self::AlreadyAdded(generation) => {
                write!(f, "the address is in the pool already, as generation {generation}")
            }
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: Error + 'static> Error for KeyedError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Failing(error, _) => Some(&**error),
            Self::Timeout(autopsy) => autopsy.last_dial_error.as_ref().map(|error| &**error as _),
            _ => None,
        }
    }
}
