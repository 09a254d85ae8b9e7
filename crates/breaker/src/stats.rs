//! What a breaker counts of itself. Every counter only grows; totals are derived from their parts, so no snapshot contradicts itself.
//!
//! - One part is derived as well: successes are the outcomes that were nothing else. An outcome is counted before it is told of what kind it was, so one that
//!   didn't go well may be told as a success for a moment; `success` is then one less in the next snapshot.
//! - **Levels**, what is out and what is held, are what began less what ended. Both go on while they are read, so what ended is read before and after: if
//!   it is the same, what is out is what it was at a moment in between, and what is held at least the least and at most the most that it was. Otherwise the snapshot looks again, a few times, and takes the look beside which the fewest ended,
//!   with what had ended after it. So nothing that has ended is told as out, however long a reader sleeps; what ended beside that look may be missing
//!   from the calls that were let through.

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Recorded;
use crate::outcomes::{Tally, Total};
use crate::request::Rejected;

/// How a call that was let through ended. Each ends exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// It did what it should.
    Success,
    /// It failed.
    Failure,
    /// It tells nothing of the dependency.
    Ignored,
    /// Its future was dropped, or its caller gave up.
    Cancelled,
    /// It was a probe that took too long: another has its place.
    Expired,
    /// Its permit was dropped without a word.
    Dropped,
    /// It panicked.
    Panicked,
}

/// The counters that aren't on the stripes. Most breakers need none of them for long: they are made when the first is needed.
#[derive(Default)]
pub(crate) struct Counters(OnceLock<Box<Rare>>);

impl Deref for Counters {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.0.get_or_init(Box::default)
    }
}

/// Added to with Release and read with Acquire: whoever sees a number sees what was counted before it, also on the stripes.
#[derive(Default)]
pub(crate) struct Rare {
    /// Of the present generation at their time, in the totals.
    failed: AtomicU64,
    panicked: AtomicU64,
    slow: AtomicU64,
    /// Not in the totals: probes, and what came too late.
    other: [AtomicU64; 3],
    uncounted: AtomicU64,
    ignored: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    dropped: AtomicU64,
    pub(crate) thinned: AtomicU64,
    open: AtomicU64,
    probes_busy: AtomicU64,
    forced: AtomicU64,
    budget: AtomicU64,
    shed: AtomicU64,
    unpriced: AtomicU64,
    unavailable: AtomicU64,
    pub(crate) extended_nano: AtomicU64,
    pub(crate) overrun_nano: AtomicU64,
    pub(crate) corrected_down_nano: AtomicU64,
    pub(crate) saved_nano: AtomicU64,
    pub(crate) unledgered_nano: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    // Release: partner of `get`.
    counter.fetch_add(by, Ordering::Release);
}

/// `begun − ended` of sums that only grow and may have gone round: right as long as the difference fits. 0 where it would be negative.
pub(crate) fn difference(begun: u64, ended: u64) -> u64 {
    let difference = begun.wrapping_sub(ended);
    if difference > u64::MAX / 2 { 0 } else { difference }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Acquire)
}

/// Looks until levels are taken that calls ended beside.
const LOOKS: usize = 8;

/// What of the permits and of their money has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Gone {
    permits: u64,
    released: u64,
    corrected_down: u64,
    /// Gross of the corrections.
    actual: u64,
}

/// A snapshot of a breaker's statistics. Money is in nano-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that ended well. One that is just ending in another way may be among them for a moment: it leaves them when it is told as what it was.
    pub success: u64,
    /// Calls that failed.
    pub failure: u64,
    /// Calls that tell nothing of the dependency.
    pub ignored: u64,
    /// Calls that were given up.
    pub cancelled: u64,
    /// Probes that took too long.
    pub expired: u64,
    /// Permits that were dropped without a word.
    pub dropped: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Of those that ended well, failed or panicked: those that the breaker's state did not take into account, because their generation was over or the breaker
    /// was disabled.
    pub uncounted: u64,
    /// Calls that were slow.
    pub slow: u64,
    /// Permits that haven't ended. Calls by closure are not among them.
    pub outstanding: u64,
    /// Refused because the breaker was open.
    pub rejected_open: u64,
    /// Refused because the probes were out.
    pub rejected_probes_busy: u64,
    /// Refused by hand.
    pub rejected_forced: u64,
    /// Refused because a budget or a rule didn't allow it.
    pub rejected_budget: u64,
    /// Refused because a budget was nearly used up.
    pub rejected_shed: u64,
    /// Refused because nobody knew the cost.
    pub rejected_unpriced: u64,
    /// Refused because a ledger couldn't be reached.
    pub rejected_unavailable: u64,
    /// What was estimated of the calls that were let through.
    pub estimated_nano: u64,
    /// What they were charged beyond that while they ran.
    pub extended_nano: u64,
    /// What was settled.
    pub actual_nano: u64,
    /// What of that was more than was held.
    pub overrun_nano: u64,
    /// What was held and given back.
    pub released_nano: u64,
    /// By how much receipts have lowered what was settled.
    pub corrected_down_nano: u64,
    /// What is held now: `estimated + extended + overrun − actual − corrected_down − released`, or 0 if so much ended while it was read that this is negative.
    /// A cost beyond its hold counts as held for the moment until it is settled.
    pub held_nano: u64,
    /// What the refused calls were estimated at.
    pub saved_nano: u64,
    /// What passed without its ledger, which couldn't be reached.
    pub unledgered_nano: u64,
    /// Changes of state.
    pub transitions: u64,
    /// Outcomes at which a breaker in `MetricsOnly` would have opened.
    pub would_open: u64,
}

impl Stats {
    /// What began, less what is gone.
    fn without(self, gone: Gone) -> Self {
        let held = self.estimated_nano.wrapping_add(self.extended_nano).wrapping_add(self.overrun_nano);
        Self {
            outstanding: self.outstanding.saturating_sub(gone.permits),
            actual_nano: gone.actual.saturating_sub(gone.corrected_down),
            corrected_down_nano: gone.corrected_down,
            released_nano: gone.released,
            held_nano: difference(held, gone.actual.wrapping_add(gone.released)),
            ..self
        }
    }

    /// Calls that were let through and have ended.
    pub fn ended(&self) -> u64 {
        self.success
            + self.failure
            + self.ignored
            + self.cancelled
            + self.expired
            + self.dropped
            + self.panicked
    }

    /// Calls that were let through.
    pub fn allowed(&self) -> u64 {
        self.ended() + self.outstanding
    }

    /// Calls that were refused.
    pub fn rejected(&self) -> u64 {
        self.rejected_open
            + self.rejected_probes_busy
            + self.rejected_forced
            + self.rejected_for_cost()
            + self.rejected_shed
    }

    /// Calls that were refused because of money.
    pub fn rejected_for_cost(&self) -> u64 {
        self.rejected_budget + self.rejected_unpriced + self.rejected_unavailable
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.allowed() + self.rejected()
    }
}

impl Rare {
    /// Notes how a call ended that was not a plain counted success.
    pub(crate) fn note(&self, end: End, recorded: Recorded, is_probe: bool, slow: bool) -> End {
        let end = if recorded == Recorded::Expired { End::Expired } else { end };
        if slow {
            add(&self.slow, 1);
        }
        let in_totals = recorded == Recorded::Counted && !is_probe;
        let judged = matches!(end, End::Success | End::Failure | End::Panicked);
        if judged && recorded == Recorded::NotCounted {
            add(&self.uncounted, 1);
        }
        match end {
            End::Success if in_totals => {}
            End::Failure if in_totals => add(&self.failed, 1),
            End::Panicked if in_totals => add(&self.panicked, 1),
            End::Success => add(&self.other[0], 1),
            End::Failure => add(&self.other[1], 1),
            End::Panicked => add(&self.other[2], 1),
            End::Ignored => add(&self.ignored, 1),
            End::Cancelled => add(&self.cancelled, 1),
            End::Expired => add(&self.expired, 1),
            End::Dropped => add(&self.dropped, 1),
        }
        end
    }

    #[cold]
    pub(crate) fn reject(&self, rejected: &Rejected, estimate: u64) {
        let counter = match rejected {
            Rejected::Open { .. } => &self.open,
            Rejected::ProbesBusy => &self.probes_busy,
            Rejected::Forced => &self.forced,
            Rejected::Shed { .. } => &self.shed,
            Rejected::Unpriced => &self.unpriced,
            Rejected::LedgerUnavailable { .. } => &self.unavailable,
            Rejected::Budget { .. }
            | Rejected::TooExpensive { .. }
            | Rejected::Cooldown { .. }
            | Rejected::TooManyLimits { .. } => &self.budget,
        };
        add(counter, 1);
        if estimate > 0 {
            add(&self.saved_nano, estimate);
        }
    }

    /// All that was counted; see the protocol at the head of this file.
    pub(crate) fn snapshot(&self, total: &Total, transitions: u64, would_open: u64) -> Stats {
        let mut before = self.gone(total);
        let mut stillest = (u64::MAX, Stats::default());
        for _ in 0..LOOKS {
            let begun = self.begun(total);
            let after = self.gone(total);
            let stats = Stats { transitions, would_open, ..begun.without(after) };
            if after == before {
                return stats;
            }
            let ended = after.permits.wrapping_sub(before.permits);
            if ended < stillest.0 {
                stillest = (ended, stats);
            }
            before = after;
        }
        stillest.1
    }

    /// A correction is read before what it corrects.
    fn gone(&self, total: &Total) -> Gone {
        let corrected_down = get(&self.corrected_down_nano);
        let [permits, released, actual] =
            [Tally::Ended, Tally::Released, Tally::Actual].map(|tally| total.tallied(tally));
        Gone { permits, released, corrected_down, actual }
    }

    /// All but what is gone; permits that began are told as outstanding. Parts are read before totals, and how calls ended before how many began.
    fn begun(&self, total: &Total) -> Stats {
        let (failed, panicked) = (get(&self.failed), get(&self.panicked));
        Stats {
            success: total.ever().saturating_sub(failed + panicked) + get(&self.other[0]),
            failure: failed + get(&self.other[1]),
            panicked: panicked + get(&self.other[2]),
            ignored: get(&self.ignored),
            cancelled: get(&self.cancelled),
            expired: get(&self.expired),
            dropped: get(&self.dropped),
            uncounted: get(&self.uncounted),
            slow: get(&self.slow),
            outstanding: total.tallied(Tally::Acquired),
            rejected_open: get(&self.open) + total.tallied(Tally::RejectedOpen),
            rejected_probes_busy: get(&self.probes_busy),
            rejected_forced: get(&self.forced),
            rejected_budget: get(&self.budget),
            rejected_shed: get(&self.shed),
            rejected_unpriced: get(&self.unpriced),
            rejected_unavailable: get(&self.unavailable),
            estimated_nano: total.tallied(Tally::Reserved),
            extended_nano: get(&self.extended_nano),
            overrun_nano: get(&self.overrun_nano),
            saved_nano: get(&self.saved_nano),
            unledgered_nano: get(&self.unledgered_nano),
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{Breaker, Config, Cost, Outcome, Request, Settlement};

    /// Symptom: what ended was read long before what began, and calls of the time between were told as out though they had ended.
    #[test]
    fn what_has_ended_is_not_told_as_out() {
        const THREADS: u64 = 3;
        let breaker = Breaker::new(Config { stripes: 2, ..Config::default() }).unwrap();
        let (is_over, begun) = (AtomicBool::new(false), AtomicU64::new(0));
        let call = |number: u64| {
            begun.fetch_add(1, Ordering::SeqCst);
            let request = Request { cost: Cost::Nano(10), ..Request::default() };
            let mut permit = breaker.try_acquire(&request).unwrap();
            let receipt = (number % 3 == 2).then(|| permit.receipt(&breaker));
            let (cost, bill) = [(2, 2), (14, 14), (4, 10)][number as usize % 3];
            permit.settle(Outcome::Success, Settlement::Exact(cost));
            receipt.map(|receipt| receipt.settle(bill).unwrap());
        };
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    let mut number = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        call(number);
                        number += 1;
                    }
                });
            }
            // Over also if an assertion fails.
            let _over = Over(&is_over);
            for _ in 0..20_000 {
                let stats = breaker.stats();
                let (permits, held, begun) =
                    (stats.outstanding, stats.held_nano, begun.load(Ordering::SeqCst));
                assert!(stats.allowed() <= begun, "{} of {begun} calls were let through", stats.allowed());
                assert!(permits <= THREADS, "{permits} permits of {THREADS} threads are out");
                assert!(held <= THREADS * 14, "{held} are held");
            }
        });
        let stats = breaker.stats();
        assert_eq!((stats.outstanding, stats.held_nano, stats.allowed()), (0, 0, stats.success));
    }

    struct Over<'a>(&'a AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
