//! A permit: one call that may be made, healthy and paid for. It ends exactly once, whatever becomes of it.
//!
//! Two phases: until [`Permit::dispatched`] dropping a permit gives everything back; afterwards it charges what is held, for the provider may
//! have done the work. A [`Receipt`] corrects that when the bill comes.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::breaker::{Breaker, Core};
use crate::events::shielded;
use crate::ledger::{Hold, Settlement};
use crate::machine::{Admission, Recorded};
use crate::outcomes::{Mark, Tally};
use crate::request::Request;
use crate::scope::Scope;
use crate::seats::seat;
use crate::stats::{End, add};
use crate::tickets::Tickets;

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
}

/// As a call ends that is counted as it was judged.
impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Ignored => Self::Ignored,
            Outcome::Cancelled => Self::Cancelled,
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

/// Who pays for a call: scopes, and those of the breaker's rules whose bits are set in `paid`. The rules' tickets follow those of the scopes.
#[derive(Clone, Copy)]
struct Payers<'p> {
    core: &'p Core,
    scopes: &'p [Scope],
    tickets: &'p Tickets,
    paid: u32,
}

/// A round of the scopes that pay, each with the place of its first ticket, and of `rest`, with the place after the last. Should a ledger panic, the others
/// have their turn all the same, before the panic goes on.
pub(crate) struct Round<'s, V: Fn(&Scope, usize), R: Fn(usize)> {
    scopes: &'s [Scope],
    visit: V,
    rest: R,
    first: usize,
    is_over: bool,
}

impl<'s, V: Fn(&Scope, usize), R: Fn(usize)> Round<'s, V, R> {
    #[inline(always)]
    pub(crate) fn run(scopes: &'s [Scope], visit: V, rest: R) {
        let mut round = Self { scopes, visit, rest, first: 0, is_over: false };
        round.go_on();
        std::mem::forget(round);
    }

    /// A turn counts as taken before it is: what panics isn't asked again.
    #[inline(always)]
    fn go_on(&mut self) {
        while let [scope, others @ ..] = self.scopes {
            let first = self.first;
            (self.scopes, self.first) = (others, first + scope.limits());
            (self.visit)(scope, first);
        }
        self.is_over = true;
        (self.rest)(self.first);
    }
}

impl<V: Fn(&Scope, usize), R: Fn(usize)> Drop for Round<'_, V, R> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        while !self.is_over {
            shielded(|| self.go_on());
        }
    }
}

impl Payers<'_> {
    /// Ends the hold of a call, and counts it among those that ended.
    #[inline(never)]
    fn settle(&self, held: u64, actual: u64) {
        if held == 0 && actual == 0 {
            return self.core.tally_settled(held, actual);
        }
        Round::run(
            self.scopes,
            |scope, first| scope.settle(self.tickets, first, held, actual),
            |rules| {
                if self.paid != 0 {
                    self.core.rules().settle(self.paid, self.tickets, rules, held, actual);
                }
                self.core.tally_settled(held, actual);
            },
        );
    }

    fn extend(&self, amount: u64) {
        Round::run(
            self.scopes,
            |scope, first| scope.extend(self.tickets, first, amount),
            |rules| {
                self.core.rules().extend(self.paid, self.tickets, rules, amount);
                add(&self.core.counters.extended_nano, amount);
            },
        );
    }

    fn correct(&self, before: u64, after: u64) {
        Round::run(
            self.scopes,
            |scope, first| scope.correct(self.tickets, first, before, after),
            |rules| {
                self.core.rules().correct(self.paid, self.tickets, rules, before, after);
                let counters = &self.core.counters;
                // What is held in sum stays as it is. In between the cost counts as held, as it does while a call settles.
                if after >= before {
                    add(&counters.overrun_nano, after - before);
                    self.core.tally(Tally::Actual, after - before);
                } else {
                    add(&counters.corrected_down_nano, before - after);
                }
            },
        );
    }
}

/// What remains to be done for a permit whose ledger panics while it is settled.
struct Unconcluded<'p> {
    core: &'p Core,
    admission: Admission,
    end: End,
    started_ns: u64,
    bill: Option<&'p Mutex<Bill>>,
    cost_nano: u64,
}

impl Unconcluded<'_> {
    fn conclude(self) -> (End, Recorded) {
        self.tell_bill();
        let (core, admission, end, started_ns) = (self.core, self.admission, self.end, self.started_ns);
        std::mem::forget(self);
        core.conclude(admission, end, started_ns)
    }

    fn tell_bill(&self) {
        if let Some(bill) = self.bill {
            *bill.lock().unwrap_or_else(PoisonError::into_inner) = Bill::Settled(self.cost_nano);
        }
    }
}

impl Drop for Unconcluded<'_> {
    #[cold]
    fn drop(&mut self) {
        self.tell_bill();
        shielded(|| {
            self.core.conclude(self.admission, self.end, self.started_ns);
        });
    }
}

/// As [`Payers::settle`], where a single limit pays.
#[inline(never)]
fn settle_single(core: &Core, scope: &Scope, ticket: u64, held: u64, actual: u64) {
    if let Some(account) = scope.single() {
        account.settle_by(seat(), ticket, held, actual);
    }
    core.tally_settled(held, actual);
}

/// What only some permits have: what they own, if they own it, and a receipt.
#[derive(Default)]
pub(crate) struct Owned {
    pub(crate) scopes: Arc<[Scope]>,
    pub(crate) operation: Arc<str>,
    bill: Option<Arc<Mutex<Bill>>>,
}

impl Owned {
    pub(crate) fn new(request: &Request<'_>) -> Self {
        Self { scopes: Arc::from(request.scopes), operation: Arc::from(request.operation), bill: None }
    }
}

/// The right to make one call, and the duty to say how it went. Dropped without a word it counts as [`End::Dropped`], or
/// [`End::Panicked`] while its thread panics, and costs what it then owes.
#[must_use = "a permit that is dropped at once gives everything back"]
pub struct Permit<'a> {
    pub(crate) core: Part<'a, Core>,
    /// Empty where `owned` has them, and so is `operation`.
    pub(crate) scopes: &'a [Scope],
    pub(crate) operation: &'a str,
    pub(crate) owned: Option<Box<Owned>>,
    pub(crate) tickets: Tickets,
    /// Which rules were paid, as bits.
    pub(crate) paid: u32,
    pub(crate) admission: Admission,
    pub(crate) hold: Hold,
    pub(crate) started_ns: u64,
    pub(crate) is_over: bool,
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl<'a> Permit<'a> {
    /// The breaker, and who pays in which reservation, if that is all that is needed to end the call: the permit owns nothing, one limit pays or none,
    /// no rule was asked and nobody learns.
    #[inline(always)]
    fn plain(&self) -> Option<(&'a Core, Option<(&'a Scope, u64)>)> {
        let (Part::Borrowed(core), None, Some(ticket)) =
            (&self.core, &self.owned, self.tickets.first_of_few())
        else {
            return None;
        };
        let payer = match self.scopes {
            [] => None,
            [scope] if scope.single().is_some() => Some((scope, ticket)),
            _ => return None,
        };
        let nobody_learns = self.operation.is_empty() || core.is_plain();
        (self.paid == 0 && nobody_learns).then_some((*core, payer))
    }
}

impl Permit<'_> {
    fn payers(&self) -> Payers<'_> {
        let scopes = self.owned.as_ref().map_or(&[][..], |owned| &owned.scopes);
        let scopes = if scopes.is_empty() { self.scopes } else { scopes };
        Payers { core: &self.core, scopes, tickets: &self.tickets, paid: self.paid }
    }

    fn operation(&self) -> &str {
        let operation = self.owned.as_ref().map_or("", |owned| &owned.operation);
        if operation.is_empty() { self.operation } else { operation }
    }

    /// What is held for it, in nano-units.
    pub fn held_nano(&self) -> u64 {
        self.hold.held_nano()
    }

    /// Whether it is one of the half-open state's probes.
    pub fn is_probe(&self) -> bool {
        self.admission.is_probe()
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
            self.payers().extend(grown);
        }
        Charged { charged_nano: self.hold.charged_nano(), beyond_nano: grown }
    }

    /// A receipt, for a bill that may come after the permit has ended. Allocates.
    ///
    /// # Panics
    /// If `breaker` isn't the one that gave the permit: another's rules would be corrected.
    pub fn receipt(&mut self, breaker: &Breaker) -> Receipt {
        assert!(breaker.is_of(&self.core), "a receipt must be of the breaker that gave the permit");
        let owned = self.owned.get_or_insert_default();
        let bill = Arc::clone(owned.bill.get_or_insert_with(|| Arc::new(Mutex::new(Bill::Running))));
        let scopes = if owned.scopes.is_empty() { Arc::from(self.scopes) } else { Arc::clone(&owned.scopes) };
        Receipt { core: breaker.shared(), scopes, tickets: self.tickets.clone(), paid: self.paid, bill }
    }

    /// Ends the call: how it went, and what it cost.
    // Always: what is known of the permit where it ends then takes no look, and it isn't copied for the call.
    #[inline(always)]
    pub fn settle(self, outcome: Outcome, settlement: Settlement) -> Ended {
        let Some((core, payer)) = self.plain() else { return self.settle_otherwise(outcome, settlement) };
        let (admission, started_ns) = (self.admission, self.started_ns);
        let (held, cost_nano) = (self.hold.held_nano(), self.hold.owed_nano(settlement));
        // It owns nothing, and from here on it has ended.
        std::mem::forget(self);
        // The money first: the clock may panic.
        match payer {
            Some((scope, ticket)) => settle_single(core, scope, ticket, held, cost_nano),
            None if held == 0 && cost_nano == 0 => core.tally(Tally::Ended, 1),
            None => core.tally_settled(held, cost_nano),
        }
        let (end, recorded) = core.conclude(admission, outcome.into(), started_ns);
        Ended { end, counted: recorded == Recorded::Counted, cost_nano }
    }

    #[inline(never)]
    fn settle_otherwise(mut self, outcome: Outcome, settlement: Settlement) -> Ended {
        self.end(outcome.into(), settlement)
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

    #[inline(never)]
    fn end(&mut self, end: End, settlement: Settlement) -> Ended {
        self.is_over = true;
        let core = &*self.core;
        let cost_nano = self.hold.owed_nano(settlement);
        let bill = self.owned.as_ref().and_then(|owned| owned.bill.as_deref());
        let (admission, started_ns) = (self.admission, self.started_ns);
        let unconcluded = Unconcluded { core, admission, end, started_ns, bill, cost_nano };
        self.payers().settle(self.hold.held_nano(), cost_nano);
        if let (Settlement::Exact(actual), Some(estimator)) = (settlement, core.estimator())
            && !self.operation().is_empty()
        {
            estimator.learn(self.operation(), actual);
        }
        let (end, recorded) = unconcluded.conclude();
        Ended { end, counted: recorded == Recorded::Counted, cost_nano }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if std::thread::panicking() {
            // A second panic would end the process.
            shielded(|| {
                self.end(End::Panicked, Settlement::Unknown);
            });
        } else {
            self.end(End::Dropped, Settlement::Unknown);
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
    core: Arc<Core>,
    scopes: Arc<[Scope]>,
    tickets: Tickets,
    paid: u32,
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
            let payers =
                Payers { core: &self.core, scopes: &self.scopes, tickets: &self.tickets, paid: self.paid };
            // First: a ledger that panics isn't told twice.
            *bill = Bill::Settled(actual);
            payers.correct(before, actual);
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
