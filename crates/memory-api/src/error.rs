//! Why a memory refused, or could not tell.

use std::fmt;
use std::time::Duration;

use crate::{Id, RequestId, Version};

/// What is wrong with an argument, with the bound that it broke.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// It is empty.
    Empty,
    /// It has another number of dimensions than the tenant's vectors.
    WrongDimensions {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// It ends before it begins.
    Reversed,
    /// All of its components are 0, and it is to be compared by angles.
    ZeroVector,
    /// It has more bytes than allowed.
    TooLong {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        bytes_max: usize,
    },
    /// There are more of them than allowed.
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// A number outside its range.
    OutOfRange {
        /// The number.
        found: f64,
        /// The least that is allowed.
        min: f64,
        /// The most that is allowed.
        max: f64,
    },
    /// It is NaN or infinite.
    NotFinite,
    /// It holds a character that is not allowed here.
    BadCharacter {
        /// The character.
        character: char,
        /// At which byte.
        at: usize,
    },
    /// It asks for no change at all.
    NoChange,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty"),
            Self::WrongDimensions { found, expected } => {
                write!(f, "has {found} dimensions, the tenant's vectors have {expected}")
            }
            Self::Reversed => f.write_str("ends before it begins"),
            Self::ZeroVector => f.write_str("has no direction: all components are 0"),
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "has {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::TooMany { count, count_max } => write!(f, "are {count}, at most {count_max} are allowed"),
            Self::OutOfRange { found, min, max } => write!(f, "is {found}, must be from {min} to {max}"),
            Self::NotFinite => write!(f, "is not a finite number"),
            Self::BadCharacter { character, at } => {
                write!(f, "holds the character {character:?} at byte {at}, which is not allowed")
            }
            Self::NoChange => write!(f, "names nothing to change"),
        }
    }
}

/// Why an operation on a memory did not give an answer.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum MemoryError {
    /// A field of the request is not acceptable. Nothing was changed.
    Invalid {
        /// The field's name, for example `text` or `attributes["colour"]`.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No tenant of this name has ever written anything.
    UnknownTenant {
        /// The name.
        tenant: String,
    },
    /// The tenant has no memory with this id: never had, or it was deleted.
    UnknownId {
        /// The id.
        id: Id,
    },
    /// The tenant has no memory with this slug.
    UnknownSlug {
        /// The slug as it was asked for.
        slug: String,
    },
    /// The memory has another version than the one expected. Nothing was changed.
    VersionConflict {
        /// The memory.
        id: Id,
        /// The version that the caller expected.
        expected: Version,
        /// The version that it has.
        found: Version,
    },
    /// The slug names a memory already, spelt the same or only alike. Nothing was changed.
    SlugTaken {
        /// The slug that was asked for.
        slug: String,
        /// The memory that has it.
        by: Id,
    },
    /// A quota of the store is used up. Nothing was changed.
    QuotaExceeded {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// The request id is older than what the memory remembers, so it can't tell whether the request was done. Nothing was changed now.
    RequestIdExpired {
        /// The request.
        request_id: RequestId,
        /// Ids issued up to this time (Unix milliseconds) are refused.
        horizon_ms: u64,
    },
    /// The request id claims to be issued later than the log's clock allows. Nothing was changed.
    RequestIdFromFuture {
        /// The request.
        request_id: RequestId,
        /// The log's time, in Unix milliseconds.
        now_ms: u64,
    },
    /// This request id was used before, for a different request. Nothing was changed.
    RequestIdReused {
        /// The request.
        request_id: RequestId,
    },
    /// The queue was full until the caller's deadline. Nothing was changed; try again after the time given.
    Overloaded {
        /// An estimate of when there will be room.
        retry_after: Duration,
    },
    /// The store has no room on its disk to take the command. Nothing was changed; it takes commands again once there is room.
    StorageFull {
        /// What the operating system said.
        detail: String,
    },
    /// The store could not make room on its disk, for another reason than that there is none: an I/O error, a missing permission, too many
    /// open files, a file system that became read-only. Nothing was written and nothing was changed; the next command tries again.
    StorageUnavailable {
        /// What the operating system said.
        detail: String,
    },
    /// The store failed while the command was being written: it may or may not be found after reopening. Retry by request id.
    OutcomeUnknown {
        /// What failed.
        detail: String,
    },
    /// The store takes no more writes since a write to its disk failed; reads go on. Nothing was changed. Reopen it.
    Poisoned {
        /// What failed.
        detail: String,
    },
    /// The store was closed. Nothing was changed.
    Closed,
}

impl MemoryError {
    /// Whether the same request may succeed later, without being changed.
    ///
    /// `OutcomeUnknown` counts, for a request that has a request id: then it can't be done twice.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::StorageFull { .. }
                | Self::StorageUnavailable { .. }
                | Self::OutcomeUnknown { .. }
        )
    }

    /// Whether it is certain that nothing was changed.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown { .. })
    }

    /// An `Invalid` of the named field.
    pub fn invalid(field: impl Into<String>, problem: Problem) -> Self {
        Self::Invalid { field: field.into(), problem }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, problem } => write!(f, "{field} {problem}"),
            Self::UnknownTenant { tenant } => write!(f, "there is no tenant {tenant:?}"),
            Self::UnknownId { id } => write!(f, "there is no memory {id}"),
            Self::UnknownSlug { slug } => write!(f, "there is no memory with the slug {slug:?}"),
            Self::VersionConflict { id, expected, found } => {
                write!(f, "memory {id} has version {found}, not {expected}")
            }
            Self::SlugTaken { slug, by } => write!(f, "the slug {slug:?} is taken by memory {by}"),
            Self::QuotaExceeded { limit, max } => write!(f, "the limit {limit} = {max} is reached"),
            Self::RequestIdExpired { request_id, horizon_ms } => write!(
                f,
                "request {request_id} is older than what is remembered (issued after {horizon_ms} ms Unix time)"
            ),
            Self::RequestIdFromFuture { request_id, now_ms } => {
                write!(
                    f,
                    "request {request_id} claims to be issued after the log's time, {now_ms} ms Unix time"
                )
            }
            Self::RequestIdReused { request_id } => {
                write!(f, "request id {request_id} was used before for a different request")
            }
            Self::Overloaded { retry_after } => write!(f, "overloaded, try again after {retry_after:?}"),
            Self::StorageFull { detail } => write!(f, "no room on the disk: {detail}"),
            Self::StorageUnavailable { detail } => {
                write!(f, "the disk could not be used, nothing was written: {detail}")
            }
            Self::OutcomeUnknown { detail } => {
                write!(f, "the command may or may not have been stored: {detail}")
            }
            Self::Poisoned { detail } => write!(f, "the store takes no writes since one failed: {detail}"),
            Self::Closed => write!(f, "the store is closed"),
        }
    }
}

impl std::error::Error for MemoryError {}
