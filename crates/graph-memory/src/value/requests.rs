//! The requests that a tenant remembers, so that none is carried out twice.
//!
//! Invariants, with `horizon_ms` never going back:
//! - every request carried out with an id issued after the horizon is remembered, with its answer;
//! - an id issued at or before the horizon is refused, whether it was ever seen or not.
//!
//! So a request is carried out at most once, however often it is sent. The horizon follows the log's
//! clock at a distance of [`AGE_MS_MAX`] and is pushed on, oldest first, when more than [`COUNT_MAX`]
//! are remembered. Both are part of the log's format: replay must forget exactly what was forgotten
//! the first time.

use std::collections::BTreeMap;

use steadfast_memory_api::RequestId;
use xxhash_rust::xxh3::xxh3_64;

use crate::apply::Effect;

/// How long a request is remembered, in milliseconds of the log's clock.
pub(crate) const AGE_MS_MAX: u64 = 10 * 60 * 1000;
/// How many requests are remembered.
pub(crate) const COUNT_MAX: usize = 1 << 20;
/// How far ahead of the log's clock an id may claim to be issued.
pub(crate) const AHEAD_MS_MAX: u64 = 60 * 1000;

/// A request id, with a hash of the request that tells a retry from another use of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) fingerprint: u64,
}

/// What is known of a request before it is carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Never,
    Before(Effect),
    Reused,
    Expired { horizon_ms: u64 },
    FromFuture { now_ms: u64 },
}

/// The remembered requests of one tenant. Only the committer has it.
#[derive(Debug, Default)]
pub(crate) struct RequestWindow {
    /// In the order of their ids, hence of the time they were issued.
    known: BTreeMap<u128, (u64, Effect)>,
    horizon_ms: u64,
    /// Exclusive-or over the hashes of all that is known.
    digest: u64,
}

impl RequestWindow {
    pub(crate) fn check(&mut self, request: &Request, now_ms: u64) -> Seen {
        self.advance(now_ms);
        let issued_ms = request.id.issued_ms();
        if let Some((fingerprint, effect)) = self.known.get(&request.id.bits()) {
            return if *fingerprint == request.fingerprint { Seen::Before(*effect) } else { Seen::Reused };
        }
        if issued_ms <= self.horizon_ms {
            return Seen::Expired { horizon_ms: self.horizon_ms };
        }
        if issued_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return Seen::FromFuture { now_ms };
        }
        Seen::Never
    }

    /// Remembers what became of a request that `check` had never seen.
    pub(crate) fn remember(&mut self, request: &Request, effect: Effect) {
        self.digest ^= digest(request.id.bits(), request.fingerprint, &effect);
        self.known.insert(request.id.bits(), (request.fingerprint, effect));
        if self.known.len() > COUNT_MAX {
            self.forget_first();
        }
    }

    /// A hash of all that is remembered and of the horizon.
    pub(crate) fn state_hash(&self) -> u64 {
        self.digest ^ self.horizon_ms.rotate_left(32)
    }

    fn advance(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(AGE_MS_MAX);
        while self
            .known
            .first_key_value()
            .is_some_and(|(bits, _)| RequestId::from_bits(*bits).issued_ms() <= oldest_ms)
        {
            self.forget_first();
        }
        self.horizon_ms = self.horizon_ms.max(oldest_ms);
    }

    fn forget_first(&mut self) {
        if let Some((bits, (fingerprint, effect))) = self.known.pop_first() {
            self.digest ^= digest(bits, fingerprint, &effect);
            self.horizon_ms = self.horizon_ms.max(RequestId::from_bits(bits).issued_ms());
        }
    }
}

fn digest(bits: u128, fingerprint: u64, effect: &Effect) -> u64 {
    let mut bytes = bits.to_le_bytes().to_vec();
    bytes.extend(fingerprint.to_le_bytes());
    effect.hash_into(&mut bytes);
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::Id;

    use super::*;

    fn request(issued_ms: u64, unique: u64) -> Request {
        Request { id: RequestId::from_parts(issued_ms, unique), fingerprint: unique }
    }

    const EFFECT: Effect = Effect::UnknownId { id: Id::new(7) };
    const NOW: u64 = 1_000_000_000;

    #[test]
    fn a_retry_gets_the_first_answer_and_another_use_is_told_apart() {
        let mut window = RequestWindow::default();
        let first = request(NOW, 1);
        assert_eq!(window.check(&first, NOW), Seen::Never);
        window.remember(&first, EFFECT);
        assert_eq!(window.check(&first, NOW + 1), Seen::Before(EFFECT));
        assert_eq!(window.check(&Request { fingerprint: 2, ..first }, NOW + 1), Seen::Reused);
    }

    #[test]
    fn too_old_and_too_new_are_refused_even_if_never_seen() {
        let mut window = RequestWindow::default();
        let horizon_ms = NOW - AGE_MS_MAX;
        assert_eq!(window.check(&request(horizon_ms, 1), NOW), Seen::Expired { horizon_ms });
        assert_eq!(window.check(&request(horizon_ms + 1, 1), NOW), Seen::Never);
        assert_eq!(window.check(&request(NOW + AHEAD_MS_MAX + 1, 1), NOW), Seen::FromFuture { now_ms: NOW });
        assert_eq!(window.check(&request(NOW + AHEAD_MS_MAX, 1), NOW), Seen::Never);
    }

    #[test]
    fn what_is_forgotten_is_refused_and_never_done_again() {
        let mut window = RequestWindow::default();
        let first = request(NOW, 1);
        window.remember(&first, EFFECT);
        let later = NOW + AGE_MS_MAX;
        assert_eq!(window.check(&first, later), Seen::Expired { horizon_ms: NOW });
        assert_eq!(window.state_hash(), RequestWindow { horizon_ms: NOW, ..Default::default() }.state_hash());
    }

    #[test]
    fn the_count_is_bounded_and_the_oldest_goes_first() {
        let mut window = RequestWindow::default();
        // Sent in the opposite order of their times.
        for i in (0..COUNT_MAX as u64 + 2).rev() {
            window.remember(&request(NOW + i, i), EFFECT);
        }
        assert_eq!(window.known.len(), COUNT_MAX);
        assert_eq!(window.horizon_ms, NOW + 1);
    }
}
