//! The breaker: the state machine and the budgets behind one permit.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::config::{Config, InvalidConfig, ensure};
use crate::estimator::Estimator;
use crate::events::{Event, Events, Listener, shielded};
use crate::ledger::{Hold, NANO_MAX, Settlement, Standing};
use crate::machine::{Admission, Machine, Recorded, Refusal};
use crate::outcomes::Tally;
use crate::permit::{Outcome, Owned, Part, Permit, mark_of};
use crate::request::{CallError, Cost, Rejected, Request};
use crate::rules::{Rule, Rules};
use crate::scope::{OnUnknown, Scope};
use crate::seats::seat;
use crate::stats::{Counters, End, Stats, add};
use crate::tickets::Tickets;
use crate::word::State;

use self::pay::Payment;

mod pay;

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
            // Longer than any call can take: none is slow.
            slow_ns: config
                .slow_call
                .map_or(u64::MAX, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX)),
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

    /// When a call begins, if that matters.
    #[inline]
    fn started_ns(&self) -> u64 {
        if self.slow_ns == u64::MAX { 0 } else { self.clock.monotonic_ns() }
    }

    /// As [`Self::started_ns`], of a call that was let through: should the clock panic, it wasn't.
    #[inline]
    fn started_ns_of(&self, admission: Admission) -> u64 {
        if self.slow_ns == u64::MAX { 0 } else { self.read_start(admission) }
    }

    #[inline(never)]
    fn read_start(&self, admission: Admission) -> u64 {
        let admitted = Admitted { core: self, admission };
        let started_ns = self.clock.monotonic_ns();
        std::mem::forget(admitted);
        started_ns
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
        let needs_time = self.slow_ns != u64::MAX || self.machine.outcomes.needs_time();
        if end == End::Success && !needs_time && !admission.is_probe() {
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
        let unnoted = Unnoted { core: self, admission, end };
        let took =
            if self.slow_ns == u64::MAX { 0 } else { self.clock.monotonic_ns().saturating_sub(started_ns) };
        let slow = self.slow_ns != u64::MAX && took >= self.slow_ns;
        let is_probe = admission.is_probe();
        let mark = mark_of(end, slow, self.panic_is_failure);
        let (recorded, decides) = match mark {
            Some(mark) => self.machine.count(admission, seat(), mark, &|| self.now_ms()),
            None => (self.machine.give_back(admission), false),
        };
        std::mem::forget(unnoted);
        let end = self.counters.note(end, recorded, is_probe, slow && mark.is_some());
        if decides {
            // All is counted by now: should the clock panic here, the next outcome decides.
            self.machine.decide(admission, &|| self.now_ms(), &|step| self.events.step(step));
        }
        (end, recorded)
    }
}

/// A call that was let through but doesn't come to be, for somebody's code panics.
struct Admitted<'a> {
    core: &'a Core,
    admission: Admission,
}

impl Drop for Admitted<'_> {
    // Always: what is borrowed must lie in memory.
    #[inline(always)]
    fn drop(&mut self) {
        self.core.machine.give_back(self.admission);
    }
}

/// An outcome whose counting the clock ends by a panic: the call has ended all the same, and tells nothing of the dependency.
struct Unnoted<'a> {
    core: &'a Core,
    admission: Admission,
    end: End,
}

impl Drop for Unnoted<'_> {
    #[cold]
    fn drop(&mut self) {
        self.core.machine.give_back(self.admission);
        self.core.counters.note(self.end, Recorded::NotCounted, self.admission.is_probe(), false);
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
        core.conclude(admission, outcome.into(), started_ns);
    }
}

impl Drop for Running<'_> {
    #[cold]
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would end the process.
            shielded(|| {
                self.core.conclude(self.admission, End::Panicked, self.started_ns);
            });
        } else {
            self.core.conclude(self.admission, End::Cancelled, self.started_ns);
        }
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

    /// Whether `core` is its own.
    pub(crate) fn is_of(&self, core: &Core) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.core), core)
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
        let started_ns = core.started_ns_of(admission);
        let running = Running { core, admission, started_ns };
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
        let started_ns = core.started_ns_of(admission);
        let running = Running { core, admission, started_ns };
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
        // Before a single limit is asked, which takes no time; ledgers and rules may, and the time is read after them.
        let started_ns = core.started_ns_of(admission);
        let admitted = Admitted { core, admission };
        let mut payment = Payment { started_ns, ..Payment::default() };
        if request.cost != Cost::Free || !request.scopes.is_empty() || !core.is_plain() {
            if let Some((cost, ticket)) = core.pay_quietly(request) {
                payment = Payment { cost, tickets: Tickets::one(ticket), paid: 0, started_ns };
            } else {
                match core.pay(request) {
                    Ok(paid) => payment = paid,
                    Err((rejected, estimate)) => {
                        // The dependency has nothing to do with it.
                        drop(admitted);
                        core.counters.reject(&rejected, estimate);
                        return Err(rejected);
                    }
                }
            }
        }
        std::mem::forget(admitted);
        let Payment { cost, tickets, paid, started_ns } = payment;
        let hold = Hold::new(cost);
        core.tally_all([(Tally::Acquired, 1), (Tally::Reserved, hold.held_nano())]);
        Ok(Permit {
            core: shared,
            scopes,
            operation,
            owned,
            tickets,
            paid,
            admission,
            hold,
            started_ns,
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
