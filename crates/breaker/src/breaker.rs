//! The breaker: the state machine and the budgets behind one permit.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::config::{Config, InvalidConfig, ensure};
use crate::estimator::Estimator;
use crate::events::{Event, EventKind, Events, Level, Listener};
use crate::ledger::{Hold, NANO_MAX, Settlement, Standing};
use crate::machine::{Admission, Machine, Recorded, Refusal};
use crate::outcomes::Tally;
use crate::permit::{Outcome, Owned, Part, Permit, mark_of};
use crate::request::{CallError, Cost, Rejected, Request};
use crate::rules::{Asked, Rule, RuleRefusal, Rules, is_shed};
use crate::scope::{LedgerError, OnUnknown, Scope, ScopeRefusal};
use crate::seats::seat;
use crate::stats::{Counters, End, Stats, add};
use crate::tickets::{TICKETS_MAX, Tickets};
use crate::word::State;

/// What all handles of a breaker share.
pub(crate) struct Core {
    machine: Machine,
    events: Events,
    pub(crate) counters: Counters,
    clock: Arc<dyn Clock>,
    /// `u64::MAX` if slow calls don't matter.
    slow_ns: u64,
    panic_is_failure: bool,
    costs: Option<Box<Costs>>,
}

/// What only breakers that look at costs have.
struct Costs {
    rules: Rules,
    estimator: Option<Arc<Estimator>>,
    on_unpriced: OnUnknown,
}

static NO_RULES: Rules = Rules::none();

/// A circuit breaker that keeps budgets as well. A handle; clones are the same breaker.
#[derive(Clone)]
pub struct Breaker {
    core: Arc<Core>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Makes a [`Breaker`] with rules, an estimator or listeners.
#[must_use = "it makes nothing until it is built"]
pub struct BreakerBuilder {
    config: Config,
    rules: Vec<Rule>,
    estimator: Option<Arc<Estimator>>,
    on_unpriced: OnUnknown,
    listeners: Vec<Arc<dyn Listener>>,
}

impl BreakerBuilder {
    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Estimates costs by this, and teaches it.
    pub fn estimator(mut self, estimator: Arc<Estimator>) -> Self {
        self.estimator = Some(estimator);
        self
    }

    /// What happens to a call whose cost nobody knows; [`OnUnknown::FailClosed`] by default.
    pub fn on_unpriced(mut self, on_unpriced: OnUnknown) -> Self {
        self.on_unpriced = on_unpriced;
        self
    }

    /// Tells events to this.
    pub fn listener(mut self, listener: Arc<dyn Listener>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Makes the breaker.
    ///
    /// # Errors
    /// A value of the configuration or of a rule that can't be.
    pub fn build(self) -> Result<Breaker, InvalidConfig> {
        let config = self.config;
        config.check_rest()?;
        let machine = Machine::new(config.stripes, config.thresholds()?, config.timing()?);
        if let OnUnknown::FailOpen { assumed_nano } = self.on_unpriced {
            ensure((1..=NANO_MAX).contains(&assumed_nano), "assumed_nano", "from 1 to NANO_MAX")?;
        }
        let rules = Rules::new(self.rules, &*config.clock)?;
        let plain = rules.is_empty() && self.estimator.is_none() && self.on_unpriced == OnUnknown::FailClosed;
        let costs = Costs { rules, estimator: self.estimator, on_unpriced: self.on_unpriced };
        let events = Events::new(config.events_kept);
        for listener in self.listeners {
            events.listen(listener);
        }
        let core = Core {
            machine,
            events,
            counters: Counters::default(),
            clock: config.clock,
            slow_ns: config.slow_call.map_or(u64::MAX, |slow| slow.as_nanos() as u64),
            panic_is_failure: config.panic_is_failure,
            costs: (!plain).then(|| Box::new(costs)),
        };
        Ok(Breaker { core: Arc::new(core) })
    }
}

impl Core {
    #[inline]
    fn now_ms(&self) -> u64 {
        self.clock.monotonic_ns() / 1_000_000
    }

    #[inline]
    fn bounds_ms(&self) -> (u64, u64) {
        let (earliest_ns, latest_ns) = self.clock.monotonic_bounds_ns();
        let latest_ms = latest_ns / 1_000_000;
        // Most clocks tell the time itself: no second division.
        let earliest_ms = if earliest_ns == latest_ns { latest_ms } else { earliest_ns / 1_000_000 };
        (earliest_ms, latest_ms)
    }

    #[inline]
    fn started_ns(&self) -> u64 {
        if self.slow_ns == u64::MAX { 0 } else { self.clock.monotonic_ns() }
    }

    /// Whether it looks at nothing but health and scopes.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.costs.is_none()
    }

    pub(crate) fn rules(&self) -> &Rules {
        self.costs.as_ref().map_or(&NO_RULES, |costs| &costs.rules)
    }

    pub(crate) fn estimator(&self) -> Option<&Estimator> {
        self.costs.as_ref()?.estimator.as_deref()
    }

    /// What an open breaker is asked most, and as fast as it can be told: the refusal, if it is still open for certain.
    // Not as the error of `admit`: both halves of such a result share their bytes, and are then read in other pieces than they were written in.
    #[inline(always)]
    fn refuse_if_open(&self) -> Option<Rejected> {
        self.open_for_ms().map(|wait_ms| Rejected::Open { retry_after: Duration::from_millis(wait_ms) })
    }

    /// How long it is still open for certain. It is counted as a refusal then.
    #[inline(never)]
    fn open_for_ms(&self) -> Option<u64> {
        let wait_ms = self.machine.open_for_ms(|| self.bounds_ms())?;
        self.tally(Tally::RejectedOpen, 1);
        Some(wait_ms)
    }

    /// The long way: the breaker isn't closed.
    #[inline(never)]
    fn admit(&self) -> Result<Admission, Rejected> {
        let admitted = self.machine.admit(|| self.now_ms(), |step| self.events.step(step));
        admitted.map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> Rejected {
        let rejected = match refusal {
            Refusal::Open { wait_ms } => {
                self.tally(Tally::RejectedOpen, 1);
                return Rejected::Open { retry_after: Duration::from_millis(wait_ms) };
            }
            Refusal::ProbesBusy => Rejected::ProbesBusy,
            Refusal::Forced => Rejected::Forced,
        };
        self.counters.reject(&rejected, 0);
        rejected
    }

    #[inline]
    pub(crate) fn tally(&self, tally: Tally, by: u64) {
        self.machine.outcomes.total.tally(seat(), tally, by);
    }

    /// As [`Self::tally`], one after the other.
    #[inline]
    pub(crate) fn tally_all<const N: usize>(&self, all: [(Tally, u64); N]) {
        self.machine.outcomes.total.tally_all(seat(), all);
    }

    /// Counts a permit among those that ended, and what became of its hold.
    #[inline]
    pub(crate) fn tally_settled(&self, held: u64, actual: u64) {
        if actual > held {
            add(&self.counters.overrun_nano, actual - held);
        }
        let released = held.saturating_sub(actual);
        self.tally_all([(Tally::Actual, actual), (Tally::Released, released), (Tally::Ended, 1)]);
    }

    /// Counts how a call ended. Inlined, so that a plain success is a handful of instructions.
    #[inline(always)]
    pub(crate) fn conclude(&self, admission: Admission, end: End, started_ns: u64) -> (End, Recorded) {
        if end == End::Success && self.slow_ns == u64::MAX && !admission.is_probe() {
            let recorded = self.machine.record_success(
                admission,
                seat(),
                || self.now_ms(),
                |step| self.events.step(step),
            );
            if recorded == Recorded::Counted {
                return (End::Success, recorded);
            }
            return (self.note_uncounted(recorded), recorded);
        }
        self.conclude_otherwise(admission, end, started_ns)
    }

    #[cold]
    fn note_uncounted(&self, recorded: Recorded) -> End {
        self.counters.note(End::Success, recorded, false, false)
    }

    #[inline(never)]
    fn conclude_otherwise(&self, admission: Admission, end: End, started_ns: u64) -> (End, Recorded) {
        let took =
            if self.slow_ns == u64::MAX { 0 } else { self.clock.monotonic_ns().saturating_sub(started_ns) };
        let slow = self.slow_ns != u64::MAX && took >= self.slow_ns;
        let is_probe = admission.is_probe();
        let mark = mark_of(end, slow, self.panic_is_failure);
        let recorded = match mark {
            Some(mark) => {
                self.machine.record(admission, seat(), mark, || self.now_ms(), |step| self.events.step(step))
            }
            None => self.machine.give_back(admission),
        };
        let end = self.counters.note(end, recorded, is_probe, slow && mark.is_some());
        (end, recorded)
    }
}

/// A call by closure that runs: it is counted even if it panics or its future is dropped.
struct Running<'a> {
    core: &'a Core,
    admission: Admission,
    started_ns: u64,
}

impl Running<'_> {
    #[inline(always)]
    fn end(self, outcome: Outcome) {
        let (core, admission, started_ns) = (self.core, self.admission, self.started_ns);
        std::mem::forget(self);
        core.conclude(admission, outcome.end(), started_ns);
    }
}

impl Drop for Running<'_> {
    #[cold]
    fn drop(&mut self) {
        let end = if std::thread::panicking() { End::Panicked } else { End::Cancelled };
        self.core.conclude(self.admission, end, self.started_ns);
    }
}

impl Breaker {
    /// Makes a breaker that looks at health alone, unless a request says what it costs.
    ///
    /// # Errors
    /// A value that can't be, with the field's name.
    pub fn new(config: Config) -> Result<Self, InvalidConfig> {
        Self::builder(config).build()
    }

    /// Begins a breaker with rules, an estimator or listeners.
    pub fn builder(config: Config) -> BreakerBuilder {
        BreakerBuilder {
            config,
            rules: Vec::new(),
            estimator: None,
            on_unpriced: OnUnknown::FailClosed,
            listeners: Vec::new(),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Core> {
        Arc::clone(&self.core)
    }

    /// Runs `call` if the breaker lets it: `Err` is a failure, `Ok` a success, a panic is a failure and goes on. Asks for health alone: scopes and rules
    /// are for requests.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    #[inline]
    pub fn call<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>> {
        self.call_judged(call, Outcome::of)
    }

    /// Runs `call` if the breaker lets it; `judge` says what its result means.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    #[inline]
    pub fn call_judged<T, E>(
        &self,
        call: impl FnOnce() -> Result<T, E>,
        judge: impl FnOnce(&Result<T, E>) -> Outcome,
    ) -> Result<T, CallError<E>> {
        let core = &*self.core;
        let admission = match core.machine.admit_closed() {
            Some(admission) => admission,
            None => match core.refuse_if_open() {
                Some(rejected) => return Err(rejected.into()),
                None => core.admit()?,
            },
        };
        let running = Running { core, admission, started_ns: core.started_ns() };
        let result = call();
        running.end(judge(&result));
        result.map_err(CallError::Failed)
    }

    /// Awaits what `call` makes, if the breaker lets it: `Err` is a failure, `Ok` a success.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    ///
    /// # Cancel safety
    /// Dropping the future counts the call as cancelled: it tells nothing of the dependency, and a probe's place goes to another.
    #[inline]
    pub fn call_async<T, E, F>(
        &self,
        call: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T, CallError<E>>>
    where
        F: Future<Output = Result<T, E>>,
    {
        // Not a future around a future: each moves its output once more.
        self.call_judged_async(call, Outcome::of)
    }

    /// Awaits what `call` makes, if the breaker lets it; `judge` says what its result means.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    ///
    /// # Cancel safety
    /// As [`Self::call_async`].
    #[inline]
    pub async fn call_judged_async<T, E, F>(
        &self,
        call: impl FnOnce() -> F,
        judge: impl FnOnce(&Result<T, E>) -> Outcome,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let core = &*self.core;
        let admission = match core.machine.admit_closed() {
            Some(admission) => admission,
            None => match core.refuse_if_open() {
                Some(rejected) => return Err(rejected.into()),
                None => core.admit()?,
            },
        };
        let running = Running { core, admission, started_ns: core.started_ns() };
        let result = call().await;
        running.end(judge(&result));
        result.map_err(CallError::Failed)
    }

    /// Runs `call` if it is healthy and paid for. It is dispatched at once; `bill` says what its result means and what it cost.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    pub fn call_costed<T, E>(
        &self,
        request: &Request<'_>,
        call: impl FnOnce() -> Result<T, E>,
        bill: impl FnOnce(&Result<T, E>) -> (Outcome, Settlement),
    ) -> Result<T, CallError<E>> {
        let mut permit = self.try_acquire(request)?;
        permit.dispatched();
        let result = call();
        let (outcome, settlement) = bill(&result);
        permit.settle(outcome, settlement);
        result.map_err(CallError::Failed)
    }

    /// Awaits what `call` makes, if it is healthy and paid for. It is dispatched at the first poll; `bill` says what its result means and what it cost.
    ///
    /// # Errors
    /// Why it wasn't made, or how it failed.
    ///
    /// # Cancel safety
    /// Dropping the future charges what was held: the request may have arrived.
    pub async fn call_costed_async<T, E, F>(
        &self,
        request: &Request<'_>,
        call: impl FnOnce() -> F,
        bill: impl FnOnce(&Result<T, E>) -> (Outcome, Settlement),
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut permit = self.try_acquire(request)?;
        permit.dispatched();
        let result = call().await;
        let (outcome, settlement) = bill(&result);
        permit.settle(outcome, settlement);
        result.map_err(CallError::Failed)
    }

    /// Asks for a permit. Never waits.
    ///
    /// # Errors
    /// Why there is none; nothing is held then.
    // Always, and so below: a permit is 170 bytes, which would be copied from one result to the next.
    #[inline(always)]
    pub fn try_acquire<'a>(&'a self, request: &Request<'a>) -> Result<Permit<'a>, Rejected> {
        self.acquire(request, request.scopes, request.operation, Part::Borrowed(&self.core), None)
    }

    /// Asks for a permit that owns what it needs, to be sent elsewhere. Allocates if the request has scopes or an operation.
    ///
    /// # Errors
    /// Why there is none; nothing is held then.
    pub fn try_acquire_owned(&self, request: &Request<'_>) -> Result<Permit<'static>, Rejected> {
        let has_none = request.scopes.is_empty() && request.operation.is_empty();
        let owned = (!has_none).then(|| Box::new(Owned::new(request)));
        self.acquire(request, &[], "", Part::Owned(self.shared()), owned)
    }

    #[inline(always)]
    fn acquire<'a>(
        &self,
        request: &Request<'_>,
        scopes: &'a [Scope],
        operation: &'a str,
        shared: Part<'a, Core>,
        owned: Option<Box<Owned>>,
    ) -> Result<Permit<'a>, Rejected> {
        let core = &*self.core;
        let admission = match core.machine.admit_closed() {
            Some(admission) => admission,
            None => match core.refuse_if_open() {
                Some(rejected) => {
                    core.note_saved(request);
                    return Err(rejected);
                }
                None => core.admit().inspect_err(|_| core.note_saved(request))?,
            },
        };
        let mut payment = Payment::default();
        if request.cost != Cost::Free || !request.scopes.is_empty() || !core.is_plain() {
            if let Some((cost, ticket)) = core.pay_quietly(request) {
                payment = Payment { cost, tickets: Tickets::one(ticket), paid: 0 };
            } else {
                match core.pay(request) {
                    Ok(paid) => payment = paid,
                    Err((rejected, estimate)) => {
                        // The dependency has nothing to do with it.
                        core.machine.give_back(admission);
                        core.counters.reject(&rejected, estimate);
                        return Err(rejected);
                    }
                }
            }
        }
        let Payment { cost, tickets, paid } = payment;
        core.tally_all([(Tally::Acquired, 1), (Tally::Reserved, cost)]);
        Ok(Permit {
            core: shared,
            scopes,
            operation,
            owned,
            tickets,
            paid,
            admission,
            hold: Hold::new(cost),
            started_ns: core.started_ns(),
            is_over: false,
        })
    }

    /// What the breaker does with calls now. An open one whose time is over is `Open` until somebody asks.
    pub fn state(&self) -> State {
        self.core.machine.word().state()
    }

    /// Whether a call would be refused for the breaker's state now: a look that takes no probe and changes nothing.
    pub fn would_refuse(&self) -> Option<Rejected> {
        let word = self.core.machine.word();
        match word.state() {
            State::ForcedOpen => Some(Rejected::Forced),
            State::Open => {
                let wait_ms = word.remaining_ms(self.core.now_ms());
                (wait_ms > 0).then(|| Rejected::Open { retry_after: Duration::from_millis(wait_ms) })
            }
            _ => None,
        }
    }

    /// Counts a call that wasn't even asked for, since `rejected` was known.
    #[cfg(feature = "tower")]
    pub(crate) fn count_refusal(&self, rejected: &Rejected) {
        self.core.counters.reject(rejected, 0);
    }

    /// Sets the state by hand. `Open` stays so for the next opening's time; `Closed` begins anew. False if it is that already, or for
    /// `HalfOpen`, which only an open breaker comes to.
    pub fn set_state(&self, state: State) -> bool {
        let core = &*self.core;
        state != State::HalfOpen && core.machine.set(state, &|| core.now_ms(), &|step| core.events.step(step))
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        let core = &*self.core;
        let would_open = core.machine.would_open.load(std::sync::atomic::Ordering::Relaxed);
        core.counters.snapshot(&core.machine.outcomes.total, core.events.transitions(), would_open)
    }

    /// What the window holds now.
    pub fn window(&self) -> WindowCounts {
        let core = &*self.core;
        let word = core.machine.word();
        if word.state() == State::HalfOpen {
            let found = core.machine.leases.found(word.generation());
            return WindowCounts {
                calls: found.done,
                failures: found.failed,
                slow: found.slow,
                probes: found.live,
            };
        }
        if core.machine.outcomes.needs_time() {
            core.machine.outcomes.advance(word.generation(), core.now_ms());
        }
        let counts = core.machine.outcomes.window(word.generation());
        WindowCounts { calls: counts.calls, failures: counts.failures, slow: counts.slow, probes: 0 }
    }

    /// What a rule that meters has counted; `None` if there is no such rule.
    pub fn rule_standing(&self, rule: &str) -> Option<Standing> {
        self.core.rules().standing(rule, &Moment::new(&*self.core.clock))
    }

    /// The kept events after `number`, the oldest first.
    pub fn events_since(&self, number: u64) -> Vec<Event> {
        self.core.events.since(number)
    }

    /// Tells events to `listener` from now on.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        self.core.events.listen(listener);
    }

    /// Whether nobody else has a handle.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.core) == 1
    }

    /// The bytes of a breaker itself, the counters of `stripes` and the ring of its window apart: for those who make many.
    pub const BYTES: usize = size_of::<Core>();
}

/// What a call holds: how much, where, and which rules' bits.
#[derive(Default)]
struct Payment {
    cost: u64,
    tickets: Tickets,
    paid: u32,
}

/// What the window holds; while half-open, what the probes have found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowCounts {
    /// Outcomes.
    pub calls: u64,
    /// Of those, failures; of a window of calls at most one less than what opens the breaker.
    pub failures: u64,
    /// Of those, slow calls; bounded in the same way.
    pub slow: u64,
    /// Probes that are out.
    pub probes: u64,
}

impl Core {
    /// What a request will cost; `None` if nobody knows.
    fn price(&self, request: &Request<'_>) -> Option<u64> {
        match request.cost {
            Cost::Free => Some(0),
            Cost::Nano(nano) => Some(nano),
            Cost::Unknown => None,
            Cost::Tokens { input, output_max } => {
                let estimate = self.estimator()?.estimate(request.operation, input, output_max)?;
                Some(estimate.nano)
            }
        }
    }

    #[cold]
    fn note_saved(&self, request: &Request<'_>) {
        if let Some(estimate @ 1..) = self.price(request) {
            add(&self.counters.saved_nano, estimate);
        }
    }

    /// The short way of [`Self::pay`], where only one limit has a say and there is nothing to tell. Gives the cost and the ticket.
    #[inline(always)]
    fn pay_quietly(&self, request: &Request<'_>) -> Option<(u64, u64)> {
        let (Cost::Nano(cost), [scope], true) = (request.cost, request.scopes, self.is_plain()) else {
            return None;
        };
        Some((cost, scope.reserve_quietly(cost)?))
    }

    /// Holds the cost of a request with all who pay it. Gives what was paid, or the refusal and the estimate.
    #[inline(never)]
    fn pay(&self, request: &Request<'_>) -> Result<Payment, (Rejected, u64)> {
        let cost = match request.cost {
            Cost::Nano(nano) => nano,
            _ => self.price_or_assume(request)?,
        };
        let mut tickets = Tickets::default();
        // Scopes have clocks of their own, mostly the same: each is read at most once a call.
        let moment = Moment::new(request.scopes.first().map_or(&*self.clock, Scope::clock));
        let used = self.pay_scopes(request, cost, &moment, &mut tickets)?;
        let mut paid = 0;
        if !self.rules().is_empty() {
            match self.pay_rules(request, cost, &mut tickets, used) {
                Ok(bits) => paid = bits,
                Err(rejected) => {
                    Self::give_back(request.scopes, &tickets, cost);
                    return Err((rejected, cost));
                }
            }
        }
        Ok(Payment { cost, tickets, paid })
    }

    fn price_or_assume(&self, request: &Request<'_>) -> Result<u64, (Rejected, u64)> {
        let on_unpriced = self.costs.as_ref().map_or(OnUnknown::FailClosed, |costs| costs.on_unpriced);
        match (self.price(request), on_unpriced) {
            (Some(cost), _) => Ok(cost),
            (None, OnUnknown::FailOpen { assumed_nano }) => Ok(assumed_nano),
            (None, OnUnknown::FailClosed) => Err((Rejected::Unpriced, 0)),
        }
    }

    /// Holds `cost` with each scope; gives the number of their limits.
    fn pay_scopes(
        &self,
        request: &Request<'_>,
        cost: u64,
        moment: &Moment<'_>,
        tickets: &mut Tickets,
    ) -> Result<usize, (Rejected, u64)> {
        let limits: usize = request.scopes.iter().map(Scope::limits).sum();
        if limits > TICKETS_MAX {
            return Err((Rejected::TooManyLimits { limits, limits_max: TICKETS_MAX }, cost));
        }
        let mut used = 0;
        for (at, scope) in request.scopes.iter().enumerate() {
            if let Some(ticket) = scope.reserve_quietly_now(cost, moment) {
                tickets.set(used, ticket);
            } else if let Err(rejected) = self.pay_scope(scope, request, cost, moment, tickets, used) {
                Self::give_back(&request.scopes[..at], tickets, cost);
                return Err((rejected, cost));
            }
            used += scope.limits();
        }
        Ok(used)
    }

    fn give_back(scopes: &[Scope], tickets: &Tickets, cost: u64) {
        let mut first = 0;
        for scope in scopes {
            scope.settle(tickets, first, cost, 0);
            first += scope.limits();
        }
    }

    #[inline]
    fn pay_scope(
        &self,
        scope: &Scope,
        request: &Request<'_>,
        cost: u64,
        moment: &Moment<'_>,
        tickets: &mut Tickets,
        first: usize,
    ) -> Result<(), Rejected> {
        let (level, limit) = scope.level(moment, |limit, level| {
            self.events.tell(EventKind::Budget {
                scope: scope.shared_name(),
                period: scope.period(limit),
                level,
            });
        });
        if level >= Level::Throttle && is_shed(request.class, || self.is_thinned()) {
            let resets_in = scope.resets_in_ms(limit, moment).map(Duration::from_millis);
            return Err(Rejected::Shed { scope: scope.shared_name(), level, resets_in });
        }
        match scope.reserve(cost, moment, tickets, first) {
            Ok(unledgered) => {
                if unledgered {
                    add(&self.counters.unledgered_nano, cost);
                }
                Ok(())
            }
            Err(refusal) => Err(self.scope_refused(scope, &refusal, moment)),
        }
    }

    #[cold]
    fn scope_refused(&self, scope: &Scope, refusal: &ScopeRefusal, moment: &Moment<'_>) -> Rejected {
        let LedgerError::Short(shortage) = refusal.error else {
            return Rejected::LedgerUnavailable { scope: scope.shared_name() };
        };
        if scope.is_first_block(refusal.limit, moment) {
            let period = scope.period(refusal.limit);
            self.events.tell(EventKind::Budget { scope: scope.shared_name(), period, level: Level::Block });
        }
        Rejected::Budget {
            scope: scope.shared_name(),
            needed_nano: shortage.needed_nano,
            available_nano: shortage.available_nano,
            resets_in: scope.resets_in_ms(refusal.limit, moment).map(Duration::from_millis),
        }
    }

    /// Every other normal call at the throttle level.
    fn is_thinned(&self) -> bool {
        self.counters.thinned.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }

    fn pay_rules(
        &self,
        request: &Request<'_>,
        cost: u64,
        tickets: &mut Tickets,
        first: usize,
    ) -> Result<u32, Rejected> {
        let moment = Moment::new(&*self.clock);
        let mut news = |rule: &Arc<str>, period, level| {
            self.events.tell(EventKind::Budget { scope: Arc::clone(rule), period, level });
        };
        let call = Asked { operation: request.operation, class: request.class, cost, moment: &moment };
        let asked = self.rules().reserve(&call, tickets, first, || self.is_thinned(), &mut news);
        asked.map_err(|refusal| match refusal {
            RuleRefusal::Cooldown { rule, wait_ms } => {
                Rejected::Cooldown { rule, retry_after: Duration::from_millis(wait_ms) }
            }
            RuleRefusal::TooExpensive { rule, allowed_nano } => {
                Rejected::TooExpensive { rule, needed_nano: cost, allowed_nano }
            }
            RuleRefusal::Shed { rule, resets_in_ms } => Rejected::Shed {
                scope: rule,
                level: Level::Throttle,
                resets_in: resets_in_ms.map(Duration::from_millis),
            },
            RuleRefusal::Short { rule, shortage, resets_in_ms } => Rejected::Budget {
                scope: rule,
                needed_nano: shortage.needed_nano,
                available_nano: shortage.available_nano,
                resets_in: resets_in_ms.map(Duration::from_millis),
            },
            RuleRefusal::TooMany { limits } => Rejected::TooManyLimits { limits, limits_max: TICKETS_MAX },
        })
    }
}
