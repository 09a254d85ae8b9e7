//! Why a command that is in the log was not carried out.
//!
//! Refusals are decided while a command is applied, in log order. They are outcomes, not failures:
//! a tenant remembers them with the request ids of their commands, and a replay decides the same.

use steadfast_memory_api::{Id, MemoryError, Problem, RequestId, Version};

/// The reason of a refusal, with the facts that its error reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooManyTenants { max: u64 },
    UnknownTenant,
    UnknownId { id: Id },
    VersionConflict { id: Id, expected: Version, found: Version },
    SlugTaken { by: Id },
    TooManyAttributes { count: u64, max: u64 },
    AttributesTooLong { bytes: u64, max: u64 },
    WrongDimensions { expected: u64, found: u64 },
    ZeroVector,
    RequestExpired { id: RequestId, horizon_ms: u64 },
    RequestFromFuture { id: RequestId, now_ms: u64 },
    RequestReused { id: RequestId },
}

/// What a refused command's error reports and the log doesn't know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// The tenant's name.
    pub(crate) tenant: &'a str,
    /// The slug as the request had it.
    pub(crate) slug: Option<&'a str>,
}

impl Refusal {
    /// The error that the caller gets.
    pub(crate) fn into_error(self, caller: Caller<'_>) -> MemoryError {
        match self {
            Self::TooManyTenants { max } => MemoryError::QuotaExceeded { limit: "tenants", max },
            Self::UnknownTenant => MemoryError::UnknownTenant { tenant: caller.tenant.into() },
            Self::UnknownId { id } => MemoryError::UnknownId { id },
            Self::VersionConflict { id, expected, found } => {
                MemoryError::VersionConflict { id, expected, found }
            }
            Self::SlugTaken { by } => {
                MemoryError::SlugTaken { slug: caller.slug.unwrap_or_default().into(), by }
            }
            Self::TooManyAttributes { count, max } => {
                let problem = Problem::TooMany { count: count as usize, count_max: max as usize };
                MemoryError::invalid("attributes", problem)
            }
            Self::AttributesTooLong { bytes, max } => {
                let problem = Problem::TooLong { bytes: bytes as usize, bytes_max: max as usize };
                MemoryError::invalid("attributes", problem)
            }
            Self::WrongDimensions { expected, found } => {
                let problem = Problem::WrongDimensions { found: found as usize, expected: expected as usize };
                MemoryError::invalid("vector", problem)
            }
            Self::ZeroVector => MemoryError::invalid("vector", Problem::ZeroVector),
            Self::RequestExpired { id: request_id, horizon_ms } => {
                MemoryError::RequestIdExpired { request_id, horizon_ms }
            }
            Self::RequestFromFuture { id: request_id, now_ms } => {
                MemoryError::RequestIdFromFuture { request_id, now_ms }
            }
            Self::RequestReused { id: request_id } => MemoryError::RequestIdReused { request_id },
        }
    }
}

/// What came of a command, as hashes of the state take it.
pub(crate) trait StableHash {
    /// A number of its own and the facts. They are part of what a replay must reproduce: a number
    /// is never used for anything else, also not when nothing makes it any more.
    ///
    /// Answers and refusals share the numbers. 1 is the answer of allocate, update and delete, 2 to
    /// 13 are refusals; the next free one is 14.
    fn stable(&self) -> (u8, [u64; 4]);

    /// Appends the bytes that are hashed.
    fn hash_into(&self, bytes: &mut Vec<u8>) {
        let (number, facts) = self.stable();
        bytes.push(number);
        bytes.extend(facts.iter().flat_map(|fact| fact.to_le_bytes()));
    }
}

impl StableHash for Refusal {
    fn stable(&self) -> (u8, [u64; 4]) {
        match *self {
            Self::TooManyTenants { max } => (2, [max, 0, 0, 0]),
            Self::UnknownTenant => (3, [0; 4]),
            Self::UnknownId { id } => (4, [id.get(), 0, 0, 0]),
            Self::VersionConflict { id, expected, found } => (5, [id.get(), expected.get(), found.get(), 0]),
            Self::SlugTaken { by } => (6, [by.get(), 0, 0, 0]),
            Self::TooManyAttributes { count, max } => (7, [count, max, 0, 0]),
            Self::RequestExpired { horizon_ms, .. } => (8, [horizon_ms, 0, 0, 0]),
            Self::RequestFromFuture { now_ms, .. } => (9, [now_ms, 0, 0, 0]),
            Self::RequestReused { .. } => (10, [0; 4]),
            Self::AttributesTooLong { bytes, max } => (11, [bytes, max, 0, 0]),
            Self::WrongDimensions { expected, found } => (12, [expected, found, 0, 0]),
            Self::ZeroVector => (13, [0; 4]),
        }
    }
}
