//! Hears every event of a breaker and holds it against the state machine.
//!
//! - Events are numbered from 1, each is heard once and in order, without a gap.
//! - Each change begins where the one before ended, and the state machine has such an edge, for such a reason.
//! - In the end as many changes were heard as are counted, and what the breaker keeps of its log is what was heard.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steadfast_breaker::{Breaker, Cause, Event, EventKind, Listener, State};
use steadfast_stress::Checks;

use super::guard::Guard;

/// Events that are kept to compare with the breaker's own log.
pub(super) const KEPT: usize = 10_000;
/// What was wrong is told so many times.
const TOLD: usize = 10;

/// What was heard.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    state: State,
    /// The number of the last event.
    number: u64,
    transitions: u64,
    opened: u64,
    closed: u64,
    half_opened: u64,
    wrong: u64,
    told: Vec<String>,
    kept: VecDeque<Event>,
}

/// How often the state changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) all: u64,
    /// From closed, by failures.
    pub(super) opened: u64,
    pub(super) half_opened: u64,
    /// From half-open, by probes.
    pub(super) closed: u64,
}

/// Tells a watch, by way of a guard.
struct Ear<G>(Arc<Watch>, G);

impl<G: Guard> Listener for Ear<G> {
    fn on_event(&self, event: &Event) {
        self.1.tell(event, &|event| self.0.hear(event));
    }
}

impl Watch {
    /// Listens to a breaker that is closed and has told nothing yet.
    pub(super) fn on(breaker: &Breaker, guard: &impl Guard) -> Arc<Self> {
        let watch = Arc::new(Self(Mutex::new(Seen {
            state: State::Closed,
            number: 0,
            transitions: 0,
            opened: 0,
            closed: 0,
            half_opened: 0,
            wrong: 0,
            told: Vec::new(),
            kept: VecDeque::with_capacity(KEPT),
        })));
        breaker.listen(Arc::new(Ear(Arc::clone(&watch), guard.clone())));
        watch
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event) {
        self.seen().hear(event);
    }

    /// How often the state has changed.
    pub(super) fn changes(&self) -> Changes {
        let seen = self.seen();
        let Seen { transitions: all, opened, half_opened, closed, .. } = *seen;
        Changes { all, opened, half_opened, closed }
    }

    /// Checks the log of a breaker that nobody uses any more.
    pub(super) fn check(&self, breaker: &Breaker, checks: &mut Checks) {
        let seen = self.seen();
        for wrong in &seen.told {
            checks.note("wrong in the log", wrong);
        }
        checks.exactly(
            "events that are no path of the state machine, or are told out of order",
            seen.wrong,
            0,
        );
        checks.exactly(
            "changes of state heard, of those counted",
            seen.transitions,
            breaker.stats().transitions,
        );
        checks.exactly("the state, by the log", seen.state, breaker.state());
        let kept = breaker.events_since(0);
        let heard = seen.kept.iter().skip(seen.kept.len().saturating_sub(kept.len()));
        let same = kept.iter().zip(heard).filter(|(kept, heard)| kept == heard).count();
        checks.exactly(
            "kept events that were heard as they are",
            same,
            kept.len().max(seen.kept.len().min(KEPT)),
        );
    }
}

impl Seen {
    fn hear(&mut self, event: &Event) {
        if event.number != self.number + 1 {
            self.note(format!("event {} after event {}", event.number, self.number));
        }
        self.number = event.number;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event.clone());
        let EventKind::Transition { from, to, cause, .. } = event.kind else { return };
        self.transitions += 1;
        if event.transitions != self.transitions {
            self.note(format!("change {} is told as change {}", self.transitions, event.transitions));
        }
        if from != self.state || !is_legal(from, to, cause) {
            self.note(format!("{from:?} → {to:?} for {cause:?}, in state {:?}", self.state));
        }
        self.state = to;
        match (from, to) {
            (State::Closed, State::Open) if cause == Cause::Threshold => self.opened += 1,
            (State::Open, State::HalfOpen) => self.half_opened += 1,
            (State::HalfOpen, State::Closed) if cause == Cause::ProbesSucceeded => self.closed += 1,
            _ => {}
        }
    }

    fn note(&mut self, wrong: String) {
        self.wrong += 1;
        if self.told.len() < TOLD {
            self.told.push(wrong);
        }
    }
}

/// Whether the state machine has this edge.
fn is_legal(from: State, to: State, cause: Cause) -> bool {
    match cause {
        Cause::Threshold => (from, to) == (State::Closed, State::Open),
        Cause::Waited => (from, to) == (State::Open, State::HalfOpen),
        Cause::ProbesFailed | Cause::ProbesTimedOut => (from, to) == (State::HalfOpen, State::Open),
        Cause::ProbesSucceeded => (from, to) == (State::HalfOpen, State::Closed),
        // Nobody makes a breaker half-open by hand, or what it is already.
        Cause::Manual => from != to && to != State::HalfOpen,
        _ => false,
    }
}
