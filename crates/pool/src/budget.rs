//! How many connections are made at a time, over all pools that share a budget; and how long to wait after one failed.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on dials under way, for one pool or many. Clones are the same budget. Turns are in the order of asking.
///
/// After an outage every pool of a process wants its connections back at once; the budget keeps that from being a storm.
#[derive(Clone, Debug)]
pub struct DialBudget {
    turns: Arc<Semaphore>,
    seen: Arc<Seen>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Seen {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// The right to one dial.
#[derive(Debug)]
pub(crate) struct Turn {
    seen: Arc<Seen>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl DialBudget {
    /// At most `limit` dials at a time; 0 counts as 1.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { turns: Arc::new(Semaphore::new(limit)), seen: Arc::default(), limit }
    }

    /// How many dials are allowed at a time.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Dials under way now.
    pub fn under_way(&self) -> usize {
        // Relaxed: a number to look at.
        self.seen.under_way.load(Ordering::Relaxed)
    }

    /// The most dials that were ever under way at the same time.
    pub fn most(&self) -> usize {
        // Relaxed: a number to look at.
        self.seen.most.load(Ordering::Relaxed)
    }

    pub(crate) async fn turn(&self) -> Turn {
        // The semaphore is never closed; were it, the dial's own limits would remain.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        // Relaxed: both are numbers to look at; the semaphore is what limits.
        let now = self.seen.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.seen.most.fetch_max(now, Ordering::Relaxed);
        Turn { seen: Arc::clone(&self.seen), _turn: turn }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Relaxed: as above; before the permit goes back, so that the number never passes the limit.
        self.seen.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Exponential back-off with full jitter (as in "Exponential Backoff and Jitter" by M. Brooker): after `failures` in a row, anything from 0 to `base` × 2^(failures − 1), at most `cap`.
pub(crate) fn full_jitter(base: Duration, cap: Duration, failures: u32) -> Duration {
    let doubled = base.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(cap).mul_f64(random_unit())
}

/// A number from 0 to 1, as random as a hash map's seed.
pub(crate) fn random_unit() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_is_spread_and_is_capped() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        for failures in [1, 2, 3, 6, 7, 31, 32, 33, u32::MAX] {
            let most = base.saturating_mul(1 << (failures - 1).min(20)).min(cap);
            let all: Vec<_> = (0..200).map(|_| full_jitter(base, cap, failures)).collect();
            assert!(all.iter().all(|delay| *delay <= most), "{failures}");
            // Of 200 that are spread evenly, some are in the lowest and in the highest fifth.
            assert!(all.iter().any(|delay| *delay < most / 5), "{failures}");
            assert!(all.iter().any(|delay| *delay > most / 5 * 4), "{failures}");
        }
    }

    #[tokio::test]
    async fn no_more_turns_than_the_limit() {
        let budget = DialBudget::new(2);
        let (one, two) = (budget.turn().await, budget.turn().await);
        let mut third = std::pin::pin!(budget.turn());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert_eq!((budget.under_way(), budget.most(), budget.limit()), (2, 2, 2));
        drop(one);
        drop((third.await, two));
        assert_eq!((budget.under_way(), budget.most()), (0, 2));
        assert_eq!(DialBudget::new(0).limit(), 1);
    }
}
