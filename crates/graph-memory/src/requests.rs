//! The requests that a tenant remembers, so that none is carried out twice.
//!
//! Invariants, with `horizon_ms` never going back:
//! - every request carried out with an id issued after the horizon is remembered, with its answer;
//! - an id issued at or before the horizon is refused, unless it is remembered.
//!
//! So a request is carried out at most once, however often it is sent. The horizon moves **only**
//! when a request is forgotten, and then to the time that one was issued. No clock moves it: an id
//! that was never seen and is newer than all that was forgotten is accepted, however old it is by
//! the clock.
//!
//! **What is forgotten**, always the first issued: when there are more than [`Request::ids_max`],
//! which the command holds, and when it was carried out [`AGE_MS_MAX`] ago by the log's clock. The
//! latter is done a few requests at a time ([`FORGOTTEN_AT_ONCE`]), so that nobody waits; what is
//! due but still there is answered. Only the tenant's own commands make it forget (but see
//! [`apply`](crate::apply) about format 1), so a tenant without commands keeps what it remembers.
//! All these numbers are part of the log's format: a replay must forget exactly what was forgotten
//! the first time.
//!
//! **How far ahead of real time can the horizon get?** Ids claim a time, and the log's clock never
//! goes back, so either may be wrong.
//! - A clock that jumps ahead, for one commit or for a day, forgets what was carried out before:
//!   the horizon is where those ids were issued, in the past. Afterwards the log's clock stands
//!   still until real time has caught up. Nothing ages as long, and the count bounds.
//! - While it stands still, ids that claim to be issued up to then are accepted, too. Those are the
//!   last in the order of issue: the count forgets all that is older first, so it takes more than
//!   that of them to move the horizon among them. Age forgets one only [`AGE_MS_MAX`] after it was
//!   carried out, so the horizon that age makes is at least `AGE_MS_MAX - AHEAD_MS_MAX` behind the
//!   log's clock.
//! - What remains: a client that sends more ids of the future, or a clock that jumps ahead twice
//!   with ids issued in between. Then ids of the present are refused until real time has passed the
//!   horizon; in that tenant only, nothing is done twice, and a request without an id is carried
//!   out as ever. Forgetting such an id without moving the horizon would let it be carried out
//!   again.

use std::collections::BTreeMap;

use steadfast_memory_api::RequestId;
use xxhash_rust::xxh3::xxh3_64;

use crate::command::{Effect, Request};
use crate::refusal::StableHash;

/// How long a request is remembered at least, in milliseconds of the log's clock, unless there are
/// too many.
pub(crate) const AGE_MS_MAX: u64 = 10 * 60 * 1000;
/// How far ahead of the log's clock an id may claim to be issued.
pub(crate) const AHEAD_MS_MAX: u64 = 60 * 1000;
/// How many requests are forgotten in one step: more than a command adds, and few enough that
/// nobody notices.
pub(crate) const FORGOTTEN_AT_ONCE: usize = 2;

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
    known: BTreeMap<u128, Done>,
    horizon_ms: u64,
    /// Exclusive-or over the hashes of all that is known.
    digest: u64,
}

/// A request that was carried out.
#[derive(Debug)]
struct Done {
    fingerprint: u64,
    effect: Effect,
    /// When, by the log's clock.
    at_ms: u64,
}

impl Done {
    fn is_old(&self, now_ms: u64) -> bool {
        self.at_ms.saturating_add(AGE_MS_MAX) <= now_ms
    }

    fn digest(&self, bits: u128) -> u64 {
        let mut bytes = bits.to_le_bytes().to_vec();
        bytes.extend(self.fingerprint.to_le_bytes());
        bytes.extend(self.at_ms.to_le_bytes());
        match &self.effect {
            Ok(answer) => answer.hash_into(&mut bytes),
            Err(refusal) => refusal.hash_into(&mut bytes),
        }
        xxh3_64(&bytes)
    }
}

impl RequestWindow {
    /// What is known of a request that arrives at `now_ms` by the log's clock.
    pub(crate) fn check(&self, request: &Request, now_ms: u64) -> Seen {
        if let Some(done) = self.known.get(&request.id.bits()) {
            let same = done.fingerprint == request.fingerprint;
            return if same { Seen::Before(done.effect.clone()) } else { Seen::Reused };
        }
        let issued_ms = request.id.issued_ms();
        if issued_ms <= self.horizon_ms {
            return Seen::Expired { horizon_ms: self.horizon_ms };
        }
        if issued_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return Seen::FromFuture { now_ms };
        }
        Seen::Never
    }

    /// Remembers what became of a request that `check` had never seen, and forgets others if there
    /// are more than it allows.
    pub(crate) fn remember(&mut self, request: &Request, effect: Effect, now_ms: u64) {
        let done = Done { fingerprint: request.fingerprint, effect, at_ms: now_ms };
        self.digest ^= done.digest(request.id.bits());
        self.known.insert(request.id.bits(), done);
        // More than one, so that a window that was larger shrinks.
        for _ in 0..FORGOTTEN_AT_ONCE {
            if self.known.len() > request.ids_max.max(1) {
                self.forget_first();
            }
        }
    }

    /// Forgets a few requests that are old. Whether more may be left that are.
    pub(crate) fn forget_old(&mut self, now_ms: u64) -> bool {
        let first_is_old = |window: &Self| {
            let first = window.known.first_key_value();
            first.is_some_and(|(_, done)| done.is_old(now_ms))
        };
        for _ in 0..FORGOTTEN_AT_ONCE {
            if !first_is_old(self) {
                return false;
            }
            self.forget_first();
        }
        first_is_old(self)
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A hash of all that is remembered and of the horizon.
    pub(crate) fn state_hash(&self) -> u64 {
        self.digest ^ self.horizon_ms.rotate_left(32)
    }

    fn forget_first(&mut self) {
        if let Some((bits, done)) = self.known.pop_first() {
            self.digest ^= done.digest(bits);
            self.horizon_ms = self.horizon_ms.max(RequestId::from_bits(bits).issued_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use steadfast_memory_api::Id;

    use super::*;
    use crate::refusal::Refusal;

    fn request(issued_ms: u64, unique: u64) -> Request {
        Request { id: RequestId::from_parts(issued_ms, unique), fingerprint: unique, ids_max: COUNT_MAX }
    }

    const COUNT_MAX: usize = 1 << 16;
    const EFFECT: Effect = Err(Refusal::UnknownId { id: Id::new(7) });
    const NOW: u64 = 1_000_000_000;
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_retry_gets_the_first_answer_and_another_use_is_told_apart() {
        let mut window = RequestWindow::default();
        let first = request(NOW, 1);
        assert_eq!(window.check(&first, NOW), Seen::Never);
        window.remember(&first, EFFECT, NOW);
        assert_eq!(window.check(&first, NOW + 1), Seen::Before(EFFECT));
        assert_eq!(window.check(&Request { fingerprint: 2, ..first }, NOW + 1), Seen::Reused);
    }

    #[test]
    fn what_was_never_seen_is_accepted_unless_it_claims_to_be_of_the_future() {
        let window = RequestWindow::default();
        assert_eq!(window.check(&request(0, 1), NOW), Seen::Expired { horizon_ms: 0 });
        assert_eq!(window.check(&request(1, 1), NOW), Seen::Never);
        assert_eq!(window.check(&request(NOW + AHEAD_MS_MAX, 1), NOW), Seen::Never);
        assert_eq!(window.check(&request(NOW + AHEAD_MS_MAX + 1, 1), NOW), Seen::FromFuture { now_ms: NOW });
    }

    #[test]
    fn what_is_forgotten_is_refused_and_never_done_again() {
        let mut window = RequestWindow::default();
        // Carried out late: its age counts from then.
        let first = request(NOW - AGE_MS_MAX, 1);
        window.remember(&first, EFFECT, NOW);
        let later = NOW + AGE_MS_MAX;
        assert!(!window.forget_old(later - 1));
        assert_eq!(window.check(&first, later), Seen::Before(EFFECT));
        assert!(!window.forget_old(later));
        let horizon_ms = NOW - AGE_MS_MAX;
        assert_eq!(window.check(&first, later), Seen::Expired { horizon_ms });
        assert_eq!(window.check(&request(horizon_ms + 1, 1), later), Seen::Never);
        assert!(window.is_empty());
        assert_eq!(window.state_hash(), RequestWindow { horizon_ms, ..Default::default() }.state_hash());
    }

    #[test]
    fn the_count_is_bounded_and_the_first_issued_goes_first() {
        let mut window = RequestWindow::default();
        // Sent in the opposite order of their times.
        for i in (0..COUNT_MAX as u64 + 2).rev() {
            window.remember(&request(NOW + i, i), EFFECT, NOW);
        }
        assert_eq!(window.known.len(), COUNT_MAX);
        assert_eq!(window.horizon_ms, NOW + 1);
        // A smaller bound is reached step by step.
        window.remember(&Request { ids_max: 10, ..request(NOW + COUNT_MAX as u64 + 2, 0) }, EFFECT, NOW);
        assert_eq!(window.known.len(), COUNT_MAX - 1);
    }

    /// Once a clock that was a day ahead for one commit made a tenant refuse all ids for a day.
    #[test]
    fn a_clock_that_was_a_day_ahead_leaves_ids_of_the_present_working() {
        let mut window = RequestWindow::default();
        for i in 0..100 {
            window.remember(&request(NOW + i, i), EFFECT, NOW + i);
        }
        // The commit that is a day ahead has an id of that time, too.
        let ahead = NOW + DAY_MS;
        let jumped = request(ahead, 1000);
        while window.forget_old(ahead) {}
        window.remember(&jumped, EFFECT, ahead);
        assert_eq!(window.horizon_ms, NOW + 99);
        // Far more than is remembered, in another order than they were issued in; the log's clock
        // stands still.
        let total = 3 * COUNT_MAX as u64;
        for i in 0..total {
            let id = request(NOW + 1000 + (i ^ 7), i);
            assert_eq!(window.check(&id, ahead), Seen::Never, "the {i}th");
            window.remember(&id, EFFECT, ahead);
            assert_eq!(window.check(&id, ahead), Seen::Before(EFFECT), "the {i}th");
            assert!(!window.forget_old(ahead));
        }
        assert_eq!(window.known.len(), COUNT_MAX);
        assert!(window.horizon_ms < NOW + 1000 + total);
        assert_eq!(window.check(&jumped, ahead), Seen::Before(EFFECT), "it is the last to be forgotten");
    }

    proptest! {
        /// Any ids, any clock that doesn't go back, any bound: nothing is carried out twice, the
        /// horizon is that of the last issued that was forgotten, and whatever is newer and new is
        /// accepted.
        #[test]
        fn nothing_is_carried_out_twice(
            steps in prop::collection::vec((0_u64..200, 0_u64..3, 0_u64..40, 0_usize..12, any::<bool>()), 1..300)
        ) {
            let minute = AGE_MS_MAX / 10;
            let (mut window, mut now_ms, mut done) = (RequestWindow::default(), NOW, HashSet::new());
            for (issued, unique, tick, count_max, ages) in steps {
                now_ms += if tick < 4 { tick * 3 * minute } else { 0 };
                if ages {
                    window.forget_old(now_ms);
                }
                let request = request(NOW - 10 * minute + issued * minute / 4, unique);
                let forgotten = done.iter().filter(|bits| !window.known.contains_key(*bits));
                let horizon_ms = forgotten.map(|bits| RequestId::from_bits(*bits).issued_ms()).max();
                prop_assert_eq!(window.horizon_ms, horizon_ms.unwrap_or(0));
                let (bits, issued_ms) = (request.id.bits(), request.id.issued_ms());
                match window.check(&request, now_ms) {
                    Seen::Never => {
                        prop_assert!(done.insert(bits), "carried out twice");
                        window.remember(&Request { ids_max: count_max, ..request }, EFFECT, now_ms);
                    }
                    Seen::Before(_) => prop_assert!(done.contains(&bits)),
                    Seen::Expired { horizon_ms } => prop_assert!(issued_ms <= horizon_ms),
                    Seen::FromFuture { .. } => prop_assert!(issued_ms > now_ms + AHEAD_MS_MAX),
                    Seen::Reused => prop_assert!(false, "the fingerprint is of the id"),
                }
            }
        }
    }
}
