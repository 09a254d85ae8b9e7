//! What a breaker counts of itself. Every counter only grows; totals are derived from their parts, so no snapshot contradicts itself.

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

/// `Relaxed` throughout: each is a number of its own.
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
    counter.fetch_add(by, Ordering::Relaxed);
}

/// `begun − ended` of sums that only grow and may have gone round: right as long as the difference fits. 0 where it would be negative.
fn difference(begun: u64, ended: u64) -> u64 {
    let difference = begun.wrapping_sub(ended);
    if difference > u64::MAX / 2 { 0 } else { difference }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A snapshot of a breaker's statistics. Money is in nano-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that ended well.
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
    /// What is held now: `estimated + extended + overrun − actual − corrected_down − released`.
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

    /// What ended is read before what began, and parts before totals: no difference is negative.
    pub(crate) fn snapshot(&self, total: &Total, transitions: u64, would_open: u64) -> Stats {
        let (failed, panicked) = (get(&self.failed), get(&self.panicked));
        let ended = total.tallied(Tally::Ended);
        let released = total.tallied(Tally::Released);
        let (actual, down) = (total.tallied(Tally::Actual), get(&self.corrected_down_nano));
        let overrun = get(&self.overrun_nano);
        let (estimated, extended) = (total.tallied(Tally::Reserved), get(&self.extended_nano));
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
            outstanding: total.tallied(Tally::Acquired).saturating_sub(ended),
            rejected_open: get(&self.open) + total.tallied(Tally::RejectedOpen),
            rejected_probes_busy: get(&self.probes_busy),
            rejected_forced: get(&self.forced),
            rejected_budget: get(&self.budget),
            rejected_shed: get(&self.shed),
            rejected_unpriced: get(&self.unpriced),
            rejected_unavailable: get(&self.unavailable),
            estimated_nano: estimated,
            extended_nano: extended,
            actual_nano: actual.saturating_sub(down),
            corrected_down_nano: down,
            overrun_nano: overrun,
            released_nano: released,
            held_nano: difference(
                estimated.wrapping_add(extended).wrapping_add(overrun),
                actual.wrapping_add(released),
            ),
            saved_nano: get(&self.saved_nano),
            unledgered_nano: get(&self.unledgered_nano),
            transitions,
            would_open,
        }
    }
}
