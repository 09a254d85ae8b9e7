//! A permit: one call that may be made, healthy and paid for. It ends exactly once, whatever becomes of it.
//!
//! Two phases: until [`Permit::dispatched`] dropping a permit gives everything back; afterwards it charges what is held, for the provider may
//! have done the work. A [`Receipt`] corrects that when the bill comes.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::breaker::{Breaker, Core};
use crate::ledger::{Hold, Settlement};
use crate::machine::{Admission, Recorded};
use crate::outcomes::{Mark, Tally};
use crate::scope::Scope;
use crate::stats::{End, add};

/// The limits and rules that one permit can be held in.
pub const TICKETS_MAX: usize = 8;

/// A permit either borrows what it needs or owns it.
pub(crate) enum Part<'a, T: ?Sized> {
    Borrowed(&'a T),
    Owned(Arc<T>),
}

impl<T: ?Sized> Deref for Part<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(borrowed) => borrowed,
            Self::Owned(owned) => owned,
        }
    }
}

/// How a call went, as its caller judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The dependency did what it should.
    Success,
    /// It failed.
    Failure,
    /// It tells nothing of the dependency: a bad request, say.
    Ignored,
    /// The caller gave up.
    Cancelled,
}

impl Outcome {
    /// A success for `Ok`, a failure for `Err`.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Success } else { Self::Failure }
    }

    pub(crate) fn end(self) -> End {
        match self {
            Self::Success => End::Success,
            Self::Failure => End::Failure,
            Self::Ignored => End::Ignored,
            Self::Cancelled => End::Cancelled,
        }
    }
}

/// What became of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How the call is counted to have ended.
    pub end: End,
    /// Whether it counted for the breaker's state. Not if that has changed since the call was let through; its cost is settled all the same.
    pub counted: bool,
    /// What was settled, in nano-units.
    pub cost_nano: u64,
}

/// What a charge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a stream whose cost outgrows its hold should perhaps be ended"]
pub struct Charged {
    /// What the call has cost so far, in nano-units.
    pub charged_nano: u64,
    /// By how much that is more than what was reserved, in nano-units. The hold has grown to it.
    pub beyond_nano: u64,
}

/// What a permit is held in.
pub(crate) struct Held<'a> {
    pub(crate) core: Part<'a, Core>,
    pub(crate) scopes: Part<'a, [Scope]>,
    pub(crate) operation: Part<'a, str>,
    pub(crate) tickets: [u64; TICKETS_MAX],
    /// Which rules were paid, as bits; their tickets follow those of the scopes.
    pub(crate) paid: u32,
}

impl Held<'_> {
    /// Each scope with its tickets, and then the rules' tickets.
    fn each(&self, mut visit: impl FnMut(&Scope, &[u64])) -> &[u64] {
        let mut tickets = &self.tickets[..];
        for scope in self.scopes.iter() {
            let (own, rest) = tickets.split_at(scope.limits());
            visit(scope, own);
            tickets = rest;
        }
        tickets
    }

    fn settle(&self, held: u64, actual: u64) {
        let rules = self.each(|scope, tickets| scope.settle(tickets, held, actual));
        if self.paid != 0 {
            self.core.rules().settle(self.paid, rules, held, actual);
        }
    }

    fn extend(&self, amount: u64) {
        let rules = self.each(|scope, tickets| scope.extend(tickets, amount));
        self.core.rules().extend(self.paid, rules, amount);
        add(&self.core.counters.extended_nano, amount);
    }

    fn correct(&self, before: u64, after: u64) {
        let rules = self.each(|scope, tickets| scope.correct(tickets, before, after));
        self.core.rules().correct(self.paid, rules, before, after);
        let counters = &self.core.counters;
        // What is held in sum stays as it is.
        if after >= before {
            self.core.tally(Tally::Actual, after - before);
            add(&counters.overrun_nano, after - before);
        } else {
            add(&counters.corrected_down_nano, before - after);
        }
    }

    fn to_owned(&self, breaker: &Breaker) -> Held<'static> {
        Held {
            core: Part::Owned(breaker.shared()),
            scopes: Part::Owned(Arc::from(&*self.scopes)),
            operation: Part::Owned(Arc::from(&*self.operation)),
            tickets: self.tickets,
            paid: self.paid,
        }
    }
}

/// The right to make one call, and the duty to say how it went. Dropped without a word it counts as [`End::Dropped`], or
/// [`End::Panicked`] while its thread panics, and costs what it then owes.
#[must_use = "a permit that is dropped at once gives everything back"]
pub struct Permit<'a> {
    pub(crate) held: Held<'a>,
    pub(crate) admission: Admission,
    pub(crate) hold: Hold,
    pub(crate) started_ns: u64,
    pub(crate) receipt: Option<Arc<Mutex<Bill>>>,
    pub(crate) is_over: bool,
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Permit<'_> {
    /// What is held for it, in nano-units.
    pub fn held_nano(&self) -> u64 {
        self.hold.held_nano()
    }

    /// Whether it is one of the half-open state's probes.
    pub fn is_probe(&self) -> bool {
        !self.admission.lease.is_none()
    }

    /// The call goes out: from here on it is charged even if nobody hears of it again. Call it right before the request is sent.
    #[inline]
    pub fn dispatched(&mut self) {
        self.hold.dispatch();
    }

    /// Adds to what the call has cost so far, in nano-units, as a stream does. What the hold doesn't cover is held in addition, free or not:
    /// it is being spent. It also counts as dispatched.
    pub fn charge(&mut self, delta_nano: u64) -> Charged {
        let grown = self.hold.charge(delta_nano);
        if grown > 0 {
            self.held.extend(grown);
        }
        Charged { charged_nano: self.hold.charged_nano(), beyond_nano: grown }
    }

    /// A receipt, for a bill that may come after the permit has ended. Allocates.
    pub fn receipt(&mut self, breaker: &Breaker) -> Receipt {
        let bill = self.receipt.get_or_insert_with(|| Arc::new(Mutex::new(Bill::Running)));
        Receipt { held: self.held.to_owned(breaker), bill: Arc::clone(bill) }
    }

    /// Ends the call: how it went, and what it cost.
    // Always: a permit is 200 bytes, which would be copied for the call.
    #[inline(always)]
    pub fn settle(mut self, outcome: Outcome, settlement: Settlement) -> Ended {
        self.end(outcome.end(), settlement)
    }

    /// Ends a call that went well and cost what was held, if it was dispatched.
    pub fn success(self) -> Ended {
        self.settle(Outcome::Success, Settlement::Unknown)
    }

    /// Ends a call that failed and cost what was held, if it was dispatched.
    pub fn failure(self) -> Ended {
        self.settle(Outcome::Failure, Settlement::Unknown)
    }

    /// Gives the call up. Costs what was held, if it was dispatched.
    pub fn cancel(self) -> Ended {
        self.settle(Outcome::Cancelled, Settlement::Unknown)
    }

    #[inline]
    pub(crate) fn end(&mut self, end: End, settlement: Settlement) -> Ended {
        self.is_over = true;
        let core = &*self.held.core;
        let (end, recorded) = core.conclude(self.admission, end, self.started_ns);
        let cost_nano = self.pay(settlement);
        Ended { end, counted: recorded == Recorded::Counted, cost_nano }
    }

    /// Settles what it cost, and counts its end.
    #[inline]
    fn pay(&self, settlement: Settlement) -> u64 {
        let held = self.hold.held_nano();
        let actual = self.hold.owed_nano(settlement);
        if held > 0 || actual > 0 {
            self.held.settle(held, actual);
            if actual > held {
                add(&self.held.core.counters.overrun_nano, actual - held);
            }
            let released = held.saturating_sub(actual);
            let tallies = [(Tally::Actual, actual), (Tally::Released, released), (Tally::Ended, 1)];
            self.held.core.tally_all(tallies);
        } else {
            self.held.core.tally(Tally::Ended, 1);
        }
        if let (Settlement::Exact(actual), Some(estimator)) = (settlement, self.held.core.estimator())
            && !self.held.operation.is_empty()
        {
            estimator.learn(&self.held.operation, actual);
        }
        if let Some(bill) = &self.receipt {
            *bill.lock().unwrap_or_else(PoisonError::into_inner) = Bill::Settled(actual);
        }
        actual
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let end = if std::thread::panicking() { End::Panicked } else { End::Dropped };
            self.end(end, Settlement::Unknown);
        }
    }
}

/// What a receipt knows of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bill {
    Running,
    Settled(u64),
}

/// Why a receipt couldn't be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillRunning;

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call still runs: settle its permit")
    }
}

impl std::error::Error for StillRunning {}

/// Corrects what a call was charged once its bill is known, in the windows that it was reserved in.
pub struct Receipt {
    held: Held<'static>,
    bill: Arc<Mutex<Bill>>,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("bill", &self.bill).finish_non_exhaustive()
    }
}

impl Receipt {
    /// The call cost exactly this, in nano-units; gives what it was charged before. Saying it again changes nothing.
    ///
    /// # Errors
    /// While the permit is alive.
    pub fn settle(&self, actual_nano: u64) -> Result<u64, StillRunning> {
        let mut bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        let Bill::Settled(before) = *bill else { return Err(StillRunning) };
        let actual = Hold::default().owed_nano(Settlement::Exact(actual_nano));
        if actual != before {
            self.held.correct(before, actual);
            *bill = Bill::Settled(actual);
        }
        Ok(before)
    }
}

/// The mark of an outcome that counts.
pub(crate) fn mark_of(end: End, slow: bool, panic_is_failure: bool) -> Option<Mark> {
    match end {
        End::Success => Some(Mark { failed: false, slow }),
        End::Failure => Some(Mark { failed: true, slow }),
        End::Panicked if panic_is_failure => Some(Mark { failed: true, slow }),
        _ => None,
    }
}
