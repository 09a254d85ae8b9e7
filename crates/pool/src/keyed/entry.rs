//! One address of the table: its phase, and the steps from one to the next. All of them are taken under the table's lock.

use std::sync::Arc as Plain;
use std::task::Waker;

use super::clock::Clock;
use super::event::Event;
use super::status::{AddressState, AddressStatus, Totals};
use crate::slots::Nanos;
use crate::sync::{Arc, AtomicBool, Ordering};

/// Who holds an order and isn't heard of for so long after it should have been has lost it.
pub(crate) const PATIENCE: Nanos = 1_000_000_000;

/// A connection that is shared. Every handle is one more user, apart from the table's own.
pub(crate) struct Live<C, F: Clone> {
    pub(crate) connection: C,
    pub(crate) address: Plain<str>,
    pub(crate) generation: u64,
    /// When it was connected.
    since: Nanos,
    /// Set by whoever finds it broken.
    broken: AtomicBool,
    /// The last field: the connection goes first.
    gone: Gone<F>,
}

struct Gone<F: Clone>(Arc<Event<F>>);

impl<F: Clone> Drop for Gone<F> {
    fn drop(&mut self) {
        self.0.happen(None);
    }
}

impl<C, F: Clone> Live<C, F> {
    pub(crate) fn mark_broken(&self) {
        // Release: partner of the load in `is_broken`; what the one who found out did before comes before the next dial.
        self.broken.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_broken(&self) -> bool {
        // Acquire: partner of the store in `mark_broken`.
        self.broken.load(Ordering::Acquire)
    }
}

/// The right and the duty to dial for an address.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) address: Plain<str>,
    pub(crate) generation: u64,
    /// Which order of the generation this is: when another was given in its place, it is void.
    attempt: u64,
    /// The end of a rest, if there is one before the first attempt.
    pub(crate) not_before: Option<Nanos>,
}

/// Why an address is failing.
#[derive(Clone, Debug)]
pub(crate) enum Why<F> {
    Dial(F),
    /// Its connections were found broken as soon as they were made, the last after this time.
    ShortLived(Nanos),
}

/// What looking up an address shows.
pub(crate) enum Found<C, F: Clone> {
    Live(Arc<Live<C, F>>),
    /// Wait for the event, at most until `due`, and look again.
    Wait {
        event: Arc<Event<F>>,
        due: Nanos,
    },
    Failing {
        why: Why<F>,
        retry_at: Nanos,
    },
    Unknown,
    Closed,
}

pub(super) enum Phase<C, F: Clone> {
    /// Nobody has asked yet, or whoever had the order is gone.
    Cold,
    Dialling,
    Live(Arc<Live<C, F>>),
    /// Who holds the order sleeps, and tries again at this time.
    Failing {
        why: Why<F>,
        retry_at: Nanos,
    },
}

pub(super) struct Entry<C, F: Clone> {
    pub(super) phase: Phase<C, F>,
    pub(super) address: Plain<str>,
    pub(super) hash: u64,
    pub(super) generation: u64,
    /// Which order stands, of whoever has one.
    attempt: u64,
    /// While there is an order: by when its holder is heard of.
    pub(super) due: Nanos,
    /// The end of the dial under way, or of the next one.
    pub(super) dialled: Arc<Event<F>>,
    failures: u32,
    pub(super) last_failure: Option<F>,
    pub(super) clock: Clock,
    /// Wakes who holds the order, should it be withdrawn.
    pub(super) dialler: Option<Waker>,
}

/// How failures are backed off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) backoff: Nanos,
    pub(crate) backoff_max: Nanos,
}

/// When a step is taken, and a number from 0 to 1 that is made before it: randomness needs no lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Nanos,
    pub(crate) chance: f64,
}

/// What the table keeps of all addresses together.
pub(super) struct Whole<F> {
    pub(super) rules: Rules,
    pub(super) totals: Totals,
    pub(super) clock: Clock,
    pub(super) last_failure: Option<F>,
}

/// What a step has taken out of the table, and is dropped or woken when the lock is let go.
pub(super) struct Outgoing<C, F: Clone> {
    phases: Vec<Phase<C, F>>,
    diallers: Vec<Waker>,
}

impl<C, F: Clone> Outgoing<C, F> {
    pub(super) fn new() -> Self {
        Self { phases: Vec::new(), diallers: Vec::new() }
    }

    pub(super) fn let_go(self) {
        self.diallers.into_iter().for_each(Waker::wake);
    }
}

impl Rules {
    /// The longest that an address waits after so many failures in a row.
    fn longest(&self, failures: u32) -> Nanos {
        let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        if failures == 0 { 0 } else { self.backoff.saturating_mul(doubled).min(self.backoff_max) }
    }

    /// With full jitter: anything from 0 to the longest.
    fn delay(&self, failures: u32, chance: f64) -> Nanos {
        (self.longest(failures) as f64 * chance) as Nanos
    }
}

impl<F> Whole<F> {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, totals: Totals::default(), clock: Clock::default(), last_failure: None }
    }
}

impl<C, F: Clone> Entry<C, F> {
    pub(super) fn new(address: &str, hash: u64, generation: u64) -> Self {
        Self {
            phase: Phase::Cold,
            address: address.into(),
            hash,
            generation,
            attempt: 0,
            due: Nanos::MAX,
            dialled: Event::new(),
            failures: 0,
            last_failure: None,
            clock: Clock::default(),
            dialler: None,
        }
    }

    /// Whether an order is the one that stands.
    pub(super) fn stands(&self, order: &Order) -> bool {
        self.generation == order.generation
            && self.attempt == order.attempt
            && matches!(self.phase, Phase::Dialling | Phase::Failing { .. })
    }

    /// The connection, unless it was found broken.
    #[inline]
    pub(super) fn live(&self) -> Option<&Arc<Live<C, F>>> {
        match &self.phase {
            Phase::Live(live) if !live.is_broken() => Some(live),
            _ => None,
        }
    }

    /// What who asks is told.
    pub(super) fn found(&self) -> Found<C, F> {
        match &self.phase {
            Phase::Live(live) if !live.is_broken() => Found::Live(Arc::clone(live)),
            Phase::Failing { why, retry_at } => Found::Failing { why: why.clone(), retry_at: *retry_at },
            _ => Found::Wait { event: Arc::clone(&self.dialled), due: self.due },
        }
    }

    /// Whether nobody has the order to dial, or whoever has it should have been heard of.
    pub(super) fn can_be_ordered(&self, asked: Moment) -> bool {
        match &self.phase {
            Phase::Cold => true,
            Phase::Live(live) => live.is_broken(),
            Phase::Dialling | Phase::Failing { .. } => asked.now >= self.due,
        }
    }

    /// The order to dial, if it [can be given](Self::can_be_ordered).
    pub(super) fn order(
        &mut self,
        whole: &mut Whole<F>,
        asked: Moment,
        outgoing: &mut Outgoing<C, F>,
    ) -> Option<Order> {
        if !self.can_be_ordered(asked) {
            return None;
        }
        let mut rest = None;
        match &self.phase {
            Phase::Cold | Phase::Failing { .. } => {}
            Phase::Live(live) => {
                let lived = asked.now.saturating_sub(live.since);
                rest = self.rest_after(lived, whole.rules, asked).map(|retry_at| (lived, retry_at));
            }
            Phase::Dialling => {
                self.end_dial(whole, asked.now);
                whole.totals.withdrawn += 1;
            }
        }
        outgoing.diallers.extend(self.dialler.take());
        outgoing.phases.push(match rest {
            None => self.begin_dial(whole, asked.now),
            Some((lived, retry_at)) => {
                let failing = Phase::Failing { why: Why::ShortLived(lived), retry_at };
                std::mem::replace(&mut self.phase, failing)
            }
        });
        self.attempt += 1;
        self.due = asked.now.saturating_add(PATIENCE);
        Some(Order {
            address: Plain::clone(&self.address),
            generation: self.generation,
            attempt: self.attempt,
            not_before: rest.map(|(_, retry_at)| retry_at),
        })
    }

    /// The connection is found broken. Tells until when to rest: not at all if it lived for longer than the next failure could be backed off, or is the first in a row that didn't.
    fn rest_after(&mut self, lived: Nanos, rules: Rules, asked: Moment) -> Option<Nanos> {
        if lived >= rules.longest(self.failures.saturating_add(1)) {
            self.failures = 0;
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let rest = rules.delay(self.failures - 1, asked.chance);
        (rest > 0).then(|| asked.now.saturating_add(rest))
    }

    /// A dial begins. Returns the phase before it.
    pub(super) fn begin_dial(&mut self, whole: &mut Whole<F>, now: Nanos) -> Phase<C, F> {
        whole.totals.dials += 1;
        whole.totals.dialling += 1;
        self.clock.order(now);
        whole.clock.order(now);
        std::mem::replace(&mut self.phase, Phase::Dialling)
    }

    /// The dial under way has its turn of the budget.
    pub(super) fn turn(&mut self, whole: &mut Whole<F>, now: Nanos) {
        if matches!(self.phase, Phase::Dialling) && !self.clock.has_turn() {
            self.clock.turn(now);
            whole.clock.turn(now);
        }
    }

    /// The dial under way ends, however. The phase is the caller's to change.
    pub(super) fn end_dial(&mut self, whole: &mut Whole<F>, now: Nanos) {
        let had_turn = self.clock.has_turn();
        self.clock.end(had_turn, now);
        whole.clock.end(had_turn, now);
        whole.totals.dialling -= 1;
    }

    /// The order came to a connection.
    pub(super) fn connected(&mut self, connection: C, now: Nanos) {
        let live = Live {
            connection,
            address: Plain::clone(&self.address),
            generation: self.generation,
            since: now,
            broken: AtomicBool::new(false),
            gone: Gone(Event::new()),
        };
        self.phase = Phase::Live(Arc::new(live));
    }

    /// The order came to nothing. Tells when to try again, and returns the failure before.
    pub(super) fn failed(&mut self, failure: F, rules: Rules, moment: Moment) -> (Nanos, Option<F>) {
        self.failures = self.failures.saturating_add(1);
        let retry_at = moment.now.saturating_add(rules.delay(self.failures, moment.chance));
        self.phase = Phase::Failing { why: Why::Dial(failure.clone()), retry_at };
        self.due = retry_at.saturating_add(PATIENCE);
        (retry_at, self.last_failure.replace(failure))
    }

    pub(super) fn told(&self, rules: Rules, now: Nanos) -> AddressStatus {
        let mut failures = self.failures;
        let (state, in_flight) = match &self.phase {
            Phase::Cold => (AddressState::Cold, 0),
            Phase::Dialling => (AddressState::Dialling, 0),
            Phase::Live(live) => {
                if now.saturating_sub(live.since) >= rules.longest(failures.saturating_add(1)) {
                    failures = 0;
                }
                (AddressState::Live, Arc::strong_count(live) - 1)
            }
            Phase::Failing { .. } => (AddressState::Failing, 0),
        };
        let (address, generation) = (self.address.to_string(), self.generation);
        AddressStatus { address, generation, state, in_flight, failures }
    }

    /// Takes what is left of an address that leaves the table.
    pub(super) fn into_removed(self) -> Removed<C, F> {
        let Self { phase, generation, dialled, dialler, last_failure, .. } = self;
        let (live, failing) = match phase {
            Phase::Live(live) => (Some(live), None),
            Phase::Failing { why, .. } => (None, Some(why)),
            Phase::Cold | Phase::Dialling => (None, None),
        };
        let gone = live.as_ref().map(|live| Arc::clone(&live.gone.0));
        Removed { live, gone, generation, dialled, dialler, _failures: (last_failure, failing) }
    }
}

/// What `remove` took out.
pub(crate) struct Removed<C, F: Clone> {
    pub(crate) live: Option<Arc<Live<C, F>>>,
    /// Happens when the connection is gone; none if there was none.
    pub(crate) gone: Option<Arc<Event<F>>>,
    pub(crate) generation: u64,
    dialled: Arc<Event<F>>,
    dialler: Option<Waker>,
    /// Dropped with this, without the lock.
    _failures: (Option<F>, Option<Why<F>>),
}

impl<C, F: Clone> Removed<C, F> {
    /// Tells everybody who is concerned.
    pub(super) fn tell(&mut self) {
        if let Some(waker) = self.dialler.take() {
            waker.wake();
        }
        self.dialled.happen(None);
    }
}
