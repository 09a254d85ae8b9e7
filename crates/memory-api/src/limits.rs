//! The bounds on everything, in one place.

use std::time::Duration;

/// What a memory accepts at most. Each bound that is hit is named in the error.
///
/// Limits are checked before a command enters the log, never when it is applied: what was accepted
/// under one set of limits stays readable under any other.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a memory's text; 1 MiB. At least 1 byte is needed.
    pub text_bytes: usize,
    /// Bytes of a kind; 64.
    pub kind_bytes: usize,
    /// Bytes of a slug, as written and as folded; 256.
    pub slug_bytes: usize,
    /// Attributes a memory; 64.
    pub attributes: usize,
    /// Bytes of an attribute's name; 128.
    pub attribute_name_bytes: usize,
    /// Bytes of all attributes of one memory together, names and values; 256 KiB.
    pub attributes_bytes: usize,
    /// Bytes of a query's text; 1 MiB.
    pub query_bytes: usize,
    /// Distinct words of a query; 10 000.
    pub query_words: usize,
    /// Hits a search may ask for; 10 000. At least 1 is needed.
    pub k: usize,
    /// Dimensions of a vector; 4096. At least 1 is needed.
    pub vector_dimensions: usize,
    /// Clauses of a filter; 256.
    pub filter_clauses: usize,
    /// Values that the sets of a filter list, all together; 10 000.
    pub filter_values: usize,
    /// Bytes of all names and texts of a filter together; 1 MiB.
    pub filter_bytes: usize,
    /// Bytes of a tenant's name; 64.
    pub tenant_bytes: usize,
    /// Requests that a tenant remembers by their ids; 65 536. The oldest go first, and ids older than those are refused.
    pub request_ids: usize,
    /// Tenants a store; 100 000.
    pub tenants: usize,
    /// Commands that wait to be committed; 16 384.
    pub queue_commands: usize,
    /// Bytes of commands that wait to be committed; 64 MiB.
    pub queue_bytes: usize,
    /// Callers that wait for a place in a full queue; 65 536. One more is refused at once.
    pub queue_waiters: usize,
    /// Bytes of the commands of callers that wait for a place; 256 MiB. More is refused at once.
    pub queue_waiting_bytes: usize,
    /// How long a caller waits for a place in a full queue unless it says otherwise; 5 s.
    pub queue_wait: Duration,
    /// Bytes that one write to the log may hold; 4 MiB. A command that is larger goes alone.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 1 << 20,
            kind_bytes: 64,
            slug_bytes: 256,
            attributes: 64,
            attribute_name_bytes: 128,
            attributes_bytes: 256 << 10,
            query_bytes: 1 << 20,
            query_words: 10_000,
            k: 10_000,
            vector_dimensions: 4096,
            filter_clauses: 256,
            filter_values: 10_000,
            filter_bytes: 1 << 20,
            tenant_bytes: 64,
            request_ids: 65_536,
            tenants: 100_000,
            queue_commands: 16_384,
            queue_bytes: 64 << 20,
            queue_waiters: 65_536,
            queue_waiting_bytes: 256 << 20,
            queue_wait: Duration::from_secs(5),
            batch_bytes: 4 << 20,
        }
    }
}
