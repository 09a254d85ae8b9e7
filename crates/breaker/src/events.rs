//! What happened, numbered, in order: kept for those who ask, and told to listeners with no lock held.
//!
//! The winner of an edge hands it in; edges are ordered by their generations, so one that is handed in early waits for the one before.
//! One thread at a time delivers: whoever hands in meanwhile leaves its event to that one. So listeners hear each event once and in order.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::machine::{Cause, Step};
use crate::period::Period;
use crate::word::{GENERATION_BITS, State};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The breaker changed its state.
    Transition {
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why.
        cause: Cause,
        /// How long it stays open, or how long it may be half-open. Zero where there is no limit.
        wait: Duration,
    },
    /// A budget came to its alert level, its throttle level or its end: once an epoch each, and never a lower one after a higher one. A scope that several breakers
    /// share is told of by the breaker whose call found it there, so each of the three is in the log of one of them, and listeners of
    /// two breakers may hear of them in any order.
    Budget {
        /// The scope or the rule.
        scope: Arc<str>,
        /// Which of its limits.
        period: Period,
        /// The level that it came to.
        level: Level,
    },
}

/// How far a budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Below the alert.
    Normal,
    /// From the alert on (75 % by default) it is only told.
    Alert,
    /// From here on (90 % by default) background calls are shed, and normal ones thinned out.
    Throttle,
    /// Something was refused.
    Block,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// From 1, without a gap.
    pub number: u64,
    /// How many transitions there were up to it, this one included.
    pub transitions: u64,
    /// What happened.
    pub kind: EventKind,
}

/// Hears of events. Called on the thread of the call that caused one, or of another that is delivering; it should return soon. Panics are caught.
pub trait Listener: Send + Sync {
    /// Called once for each event, in order.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Listener for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

struct Log {
    kept: VecDeque<Event>,
    kept_max: usize,
    /// How many were numbered.
    numbered: u64,
    transitions: u64,
    /// Edges that wait for the one before.
    early: Vec<Step>,
    undelivered: VecDeque<Event>,
    delivering: bool,
}

/// Runs what others have written, and keeps its panic to itself; also that of the panic's payload, which is dropped here.
pub(crate) fn shielded(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run))
        && let Err(of_payload) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        // No end to it otherwise.
        std::mem::forget(of_payload);
    }
}

/// Somebody delivers. The one who does ends it under the lock, so this is dropped only while it panics.
struct Delivery<'a>(&'a Made);

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner).delivering = false;
    }
}

/// The event log of a breaker. Nothing is made before the first event or listener: most breakers never open.
pub(crate) struct Events {
    kept_max: usize,
    made: OnceLock<Box<Made>>,
}

struct Made {
    log: Mutex<Log>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

fn kind_of(step: &Step) -> EventKind {
    EventKind::Transition {
        from: step.from.state(),
        to: step.to.state(),
        cause: step.cause,
        wait: Duration::from_millis(step.wait_ms),
    }
}

impl Events {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept_max, made: OnceLock::new() }
    }

    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let log = Log {
                kept: VecDeque::new(),
                kept_max: self.kept_max,
                numbered: 0,
                transitions: 0,
                early: Vec::new(),
                undelivered: VecDeque::new(),
                delivering: false,
            };
            Box::new(Made { log: Mutex::new(log), listeners: RwLock::default() })
        })
    }

    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) {
        self.made().listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Hands in an edge.
    #[cold]
    pub(crate) fn step(&self, step: Step) {
        let mut log = self.made().log.lock().unwrap_or_else(PoisonError::into_inner);
        log.early.push(step);
        let has_listeners = self.has_listeners();
        loop {
            let next = (log.transitions + 1) & ((1 << GENERATION_BITS) - 1);
            let Some(at) = log.early.iter().position(|step| step.to.generation() == next) else { break };
            let step = log.early.swap_remove(at);
            log.transitions += 1;
            log.number(kind_of(&step), has_listeners);
        }
        self.deliver(log);
    }

    /// Hands in what is no edge, if it `is_news`. That is asked while nothing else is numbered: what is news first comes first. It must neither block nor panic.
    #[cold]
    pub(crate) fn tell_if(&self, is_news: impl FnOnce() -> bool, kind: impl FnOnce() -> EventKind) {
        let mut log = self.made().log.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_news() {
            return;
        }
        let has_listeners = self.has_listeners();
        log.number(kind(), has_listeners);
        self.deliver(log);
    }

    fn has_listeners(&self) -> bool {
        !self.made().listeners.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn deliver<'a>(&'a self, mut log: std::sync::MutexGuard<'a, Log>) {
        if log.delivering {
            return;
        }
        log.delivering = true;
        // Should anything panic all the same, the next event finds somebody to deliver it.
        let delivery = Delivery(self.made());
        while let Some(event) = log.undelivered.pop_front() {
            drop(log);
            // Copied out: a listener may add another.
            let listeners = self.made().listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
            for listener in listeners {
                // A listener's panic is its own: the call that caused the event has nothing to do with it.
                shielded(|| listener.on_event(&event));
            }
            log = self.made().log.lock().unwrap_or_else(PoisonError::into_inner);
        }
        log.delivering = false;
        std::mem::forget(delivery);
    }

    pub(crate) fn since(&self, number: u64) -> Vec<Event> {
        let Some(made) = self.made.get() else { return Vec::new() };
        let log = made.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.kept.iter().filter(|event| event.number > number).cloned().collect()
    }

    pub(crate) fn transitions(&self) -> u64 {
        self.made.get().map_or(0, |made| made.log.lock().unwrap_or_else(PoisonError::into_inner).transitions)
    }
}

impl Log {
    fn number(&mut self, kind: EventKind, has_listeners: bool) {
        self.numbered += 1;
        let event = Event { number: self.numbered, transitions: self.transitions, kind };
        if has_listeners {
            self.undelivered.push_back(event.clone());
        }
        if self.kept_max == 0 {
            return;
        }
        if self.kept.len() == self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{TryLockError, mpsc::channel};

    /// Symptom: a call that had found the throttle level waited for the log, and another one told of the block before it.
    #[test]
    fn what_is_news_first_is_told_first() {
        let events = &Events::new(8);
        let at = |level| move || EventKind::Budget { scope: Arc::from("s"), period: Period::Day, level };
        let ((found, was_found), (told, was_told)) = (channel(), channel());
        std::thread::scope(|threads| {
            threads.spawn(move || {
                was_found.recv().unwrap();
                events.tell_if(|| true, at(Level::Block));
                let _ = told.send(());
            });
            let is_news = || {
                found.send(()).unwrap();
                let log = events.made().log.try_lock();
                assert!(
                    matches!(log, Err(TryLockError::WouldBlock)),
                    "the log is another's while it is asked"
                );
                // Nor may it be another's from here until it is told. Nobody may get past this, however long it takes.
                let _ = was_told.recv_timeout(Duration::from_millis(100));
                true
            };
            events.tell_if(is_news, at(Level::Throttle));
        });
        let told: Vec<EventKind> = events.since(0).into_iter().map(|event| event.kind).collect();
        assert_eq!(told, [at(Level::Throttle)(), at(Level::Block)()]);
        events.tell_if(|| false, || unreachable!("it is no news"));
        assert_eq!(events.since(0).len(), 2);
    }
}
