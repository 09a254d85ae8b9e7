//! Identifiers: of a memory, its version, a position in the log, a request.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A memory within its tenant. Assigned in order from 1, never used again.
    Id
}
number! {
    /// How often a memory was written: 1 when created, one more with each update.
    Version
}
number! {
    /// A position in the log: the order in which commands took effect. Starts at 1.
    Seq
}

/// Names one intended change, so that it can be sent again without being done twice.
///
/// 128 bits laid out like a UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then bits that
/// are unique. The time says how old the request is: a memory remembers a bounded number of requests
/// for a bounded time and refuses what is older than it can remember
/// ([`RequestIdExpired`](crate::MemoryError::RequestIdExpired)), rather than doing it a second time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// A fresh id of now.
    ///
    /// Unique by 62 bits that mix a per-process secret from the operating system with a counter; not
    /// meant to be unguessable.
    #[expect(clippy::new_without_default, reason = "two calls give two different values")]
    pub fn new() -> Self {
        static PROCESS: OnceLock<RandomState> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(RandomState::new);
        // Relaxed: only distinctness matters, which the read-modify-write gives by itself.
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Self::from_parts(now_ms, process.hash_one(count))
    }

    /// An id issued at `unix_ms` (48 bits) and told apart by the low 62 bits of `unique`.
    ///
    /// For callers with ids of their own, and for tests with an injected clock.
    pub const fn from_parts(unix_ms: u64, unique: u64) -> Self {
        let time = (unix_ms & 0xFFFF_FFFF_FFFF) as u128;
        let unique = (unique & 0x3FFF_FFFF_FFFF_FFFF) as u128;
        Self(time << 80 | 0x7 << 76 | 0b10 << 62 | unique)
    }

    /// Wraps 128 raw bits, for example those of a UUID version 7.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The raw bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// When it was issued, in Unix milliseconds.
    pub const fn issued_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (b >> 96) as u32,
            (b >> 80) as u16,
            (b >> 64) as u16,
            (b >> 48) as u16,
            b & 0xFFFF_FFFF_FFFF
        )
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ_and_tell_their_time() {
        let (a, b) = (RequestId::new(), RequestId::new());
        assert_ne!(a, b);
        assert!(b.issued_ms() >= a.issued_ms());
        assert_eq!(RequestId::from_parts(1_700_000_000_123, 7).issued_ms(), 1_700_000_000_123);
    }

    #[test]
    fn request_id_prints_as_uuid_version_7() {
        let text = RequestId::from_parts(0x0123_4567_89ab, 0x2_0000_0000_0001).to_string();
        assert_eq!(text, "01234567-89ab-7000-8002-000000000001");
    }
}
