//! Models of the kernel: no slot is lost or given twice, no waiter is forgotten or overtaken, a closing pool drains.
//!
//! Every committed state is also held against `State::assert_sound`, in every interleaving.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc as Plain, Mutex as PlainMutex};
use std::task::{Context, Poll};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::cells::Cells;
use super::*;

type Model = Slots<u32, &'static str>;

fn slots(max: usize) -> Arc<Model> {
    let never = Nanos::MAX;
    Arc::new(Slots::new(Rules { max, idle_min: 0, idle_timeout: never, check_after: never, proven_after: 0 }))
}

/// As in a pool that is in use: the keeper ticks, so the short ways are taken.
fn tick(slots: &Model) {
    slots.keeper_needed(0);
    slots.change(|state, after| {
        state.touch(&|| 0, after);
        // The first request reads the clock in any case.
        state.tally.started += 1;
        state.tally.ok += 1;
    });
}

fn here() -> &'static Location<'static> {
    Location::caller()
}

/// `count` idle resources, numbered from 0.
fn filled(max: usize, count: u32) -> Arc<Model> {
    let slots = slots(max);
    let taken: Vec<_> = (0..count).map(|_| take_by_dial(&slots)).collect();
    for (value, slot) in taken {
        slots.put(value, slot, &|| 0);
    }
    slots
}

/// A resource for which a dial was made; its value is the slot's number.
fn take_by_dial(slots: &Model) -> (u32, u32) {
    let (mut key, dial) = queue(slots);
    let slot = dial.expect("there is room");
    slots.dialled(slot, slot, Nanos::MAX, 0);
    granted(slots, &mut key).expect("the dial was for this one")
}

/// A place in the queue, with a waker that wakes nobody.
fn queue(slots: &Model) -> (Key, Option<u32>) {
    queue_until(slots, Nanos::MAX)
}

fn queue_until(slots: &Model, timeout: Nanos) -> (Key, Option<u32>) {
    let requested = slots.request(&mut Some((Waker::noop().clone(), 0)), timeout, here(), &|| 0);
    match requested.taken {
        Taken::Queued(key) => (key, requested.dial),
        _ => panic!("nothing is idle"),
    }
}

/// What a place in the queue came to, if anything.
fn granted(slots: &Model, key: &mut Key) -> Option<(u32, u32)> {
    match slots.look(key, Waker::noop()) {
        Looked::Done(Taken::Got { value, slot, .. }) => Some((value, slot)),
        Looked::Done(_) | Looked::Waiting { .. } => None,
    }
}

/// A request as the shell makes it, which is also the keeper when one is missing, and whose dials are over at once.
struct Get<'a> {
    slots: &'a Model,
    key: Option<Key>,
    keeper: Option<u64>,
    waited: bool,
}

fn get(slots: &Model) -> Get<'_> {
    Get { slots, key: None, keeper: None, waited: false }
}

impl Get<'_> {
    fn dial(&self, slot: u32) {
        self.slots.dialled(slot, slot, Nanos::MAX, 0);
    }

    /// Until nobody calls for the keeper.
    fn keep(&mut self, waker: &Waker) {
        while let Some(keeper) = self.keeper {
            let plan = self.slots.tend(keeper, 0);
            plan.dials.into_iter().for_each(|slot| self.dial(slot));
            if plan.ends {
                self.keeper = None;
            } else if self.slots.poll_keeper(keeper, waker.clone()).is_err() {
                break;
            }
        }
    }
}

impl Future for Get<'_> {
    /// A resource and whether it was waited for, or `None` from a closed pool.
    type Output = Option<(u32, u32, bool)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker();
        let slots = self.slots;
        let mut missing = false;
        let taken = if let Some(key) = &mut self.key {
            match slots.look(key, waker) {
                Looked::Done(taken) => {
                    self.key = None;
                    Some(taken)
                }
                Looked::Waiting { keeper_missing } => {
                    missing = keeper_missing;
                    None
                }
            }
        } else if let Some((value, slot)) = self.slots.take_at_once(here()) {
            return Poll::Ready(Some((value, slot, false)));
        } else if let Ok(key) = self.slots.wait_at_once((waker.clone(), 0), Nanos::MAX - 1, here()) {
            self.key = Some(key);
            self.waited = true;
            None
        } else {
            let asked = self.slots.request(&mut Some((waker.clone(), 0)), Nanos::MAX - 1, here(), &|| 0);
            if let Some(slot) = asked.dial {
                self.dial(slot);
            }
            missing = asked.keeper_missing;
            match asked.taken {
                Taken::Queued(key) => {
                    self.key = Some(key);
                    self.waited = true;
                    None
                }
                taken => Some(taken),
            }
        };
        match taken {
            Some(Taken::Got { value, slot, .. }) => return Poll::Ready(Some((value, slot, self.waited))),
            Some(_) => return Poll::Ready(None),
            None => {}
        }
        if missing {
            self.keeper = self.keeper.or_else(|| self.slots.keeper_needed(0));
        }
        self.keep(waker);
        Poll::Pending
    }
}

impl Drop for Get<'_> {
    fn drop(&mut self) {
        if let Some(mut key) = self.key.take() {
            self.slots.cancel(&mut key);
        }
        if let Some(keeper) = self.keeper {
            self.slots.keeper_gone(keeper);
        }
    }
}

/// Marks who has which resource: nobody has one that another has.
#[derive(Clone, Default)]
struct Owners(Plain<PlainMutex<HashSet<u32>>>);

impl Owners {
    fn enter(&self, value: u32, max: usize) {
        let mut owners = self.0.lock().unwrap();
        assert!(owners.insert(value), "P2: two have resource {value}");
        assert!(owners.len() <= max, "P1: {} of {max} are in use", owners.len());
    }

    fn leave(&self, value: u32) {
        assert!(self.0.lock().unwrap().remove(&value));
    }
}

#[track_caller]
fn assert_at_rest(slots: &Model, idle: usize) {
    let counts = slots.counts();
    assert_eq!((counts.idle, counts.in_use, counts.connecting, counts.queued), (idle, 0, 0, 0), "{counts:?}");
    assert_eq!(counts.tally.waiting, 0, "{counts:?}");
}

#[test]
fn loom_three_threads_share_two_slots() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let slots = filled(2, 2);
        tick(&slots);
        let owners = Owners::default();
        let work = |slots: Arc<Model>, owners: Owners, seen: Seen<&'static str>| {
            let (value, slot, waited) = block_on(get(&slots)).expect("nobody closes");
            owners.enter(value, 2);
            seen.note(if waited { "waited" } else { "at once" });
            owners.leave(value);
            slots.put(value, slot, &|| 0);
        };
        let spawn = || {
            let (slots, owners, seen) = (Arc::clone(&slots), owners.clone(), noted.clone());
            thread::spawn(move || work(slots, owners, seen))
        };
        let (one, two) = (spawn(), spawn());
        work(Arc::clone(&slots), owners.clone(), noted.clone());
        one.join().unwrap();
        two.join().unwrap();
        assert_at_rest(&slots, 2);
        assert_eq!(slots.counts().tally.ok, 6);
    });
    seen.assert_all(["waited", "at once"]);
}

#[test]
fn loom_dials_fill_the_pool_and_no_further() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(2, move || {
        let slots = slots(1);
        let owners = Owners::default();
        let work = |slots: Arc<Model>, owners: Owners| {
            let (value, slot, _) = block_on(get(&slots)).expect("nobody closes");
            owners.enter(value, 1);
            owners.leave(value);
            // The first one is broken: its room must be noticed by whoever waits.
            if slots.counts().tally.dials == 1 {
                slots.discard(slot, false, 0);
            } else {
                slots.put(value, slot, &|| 0);
            }
        };
        let (others, owned) = (Arc::clone(&slots), owners.clone());
        let one = thread::spawn(move || work(others, owned));
        work(Arc::clone(&slots), owners);
        one.join().unwrap();
        let counts = slots.counts();
        assert_at_rest(&slots, counts.size);
        noted.note(counts.tally.dials);
    });
    seen.assert_all([2_u64]);
}

#[test]
fn loom_a_newcomer_overtakes_nobody() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(3, move || {
        let slots = slots(1);
        let (value, slot) = take_by_dial(&slots);
        let (mut first, _) = queue(&slots);
        tick(&slots);
        let others = Arc::clone(&slots);
        let back = thread::spawn(move || others.put(value, slot, &|| 0));
        assert!(slots.take_at_once(here()).is_none(), "P4: the newcomer took what another waited for");
        let asked = slots.request(&mut Some((Waker::noop().clone(), 0)), Nanos::MAX, here(), &|| 0);
        let Taken::Queued(mut second) = asked.taken else {
            panic!("P4: the newcomer took what another waited for")
        };
        let early = granted(&slots, &mut first);
        noted.note(if early.is_some() { "back already" } else { "not back yet" });
        back.join().unwrap();
        let (value, slot) =
            early.or_else(|| granted(&slots, &mut first)).expect("P4: the first one is first");
        assert!(granted(&slots, &mut second).is_none());
        slots.put(value, slot, &|| 0);
        let (value, slot) = granted(&slots, &mut second).expect("P4: then the second one");
        slots.put(value, slot, &|| 0);
        assert_at_rest(&slots, 1);
    });
    seen.assert_all(["back already", "not back yet"]);
}

#[test]
fn loom_who_gives_up_passes_it_on() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(3, move || {
        let slots = slots(1);
        let (value, slot) = take_by_dial(&slots);
        let (mut first, _) = queue(&slots);
        tick(&slots);
        let others = Arc::clone(&slots);
        let back = thread::spawn(move || others.put(value, slot, &|| 0));
        let (others, seen) = (Arc::clone(&slots), noted.clone());
        let gives_up = thread::spawn(move || {
            let before = others.counts();
            seen.note(if before.queued == 0 { "granted" } else { "waiting" });
            others.cancel(&mut first);
            assert!(others.counts().tally.ok >= before.tally.ok, "P8: a count of what ended has fallen");
        });
        let (value, slot, _) = block_on(get(&slots)).expect("nobody closes");
        slots.put(value, slot, &|| 0);
        back.join().unwrap();
        gives_up.join().unwrap();
        assert_at_rest(&slots, 1);
        assert_eq!(slots.counts().tally.cancelled, 1);
    });
    seen.assert_all(["granted", "waiting"]);
}

#[test]
fn loom_room_is_noticed_without_a_runtime() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(2, move || {
        let slots = slots(1);
        let (_, slot) = take_by_dial(&slots);
        let others = Arc::clone(&slots);
        // A guard that is dropped outside of any runtime, its resource broken or detached.
        let dropped = thread::spawn(move || others.discard(slot, false, 0));
        let others = Arc::clone(&slots);
        let also = thread::spawn(move || {
            let (value, slot, waited) = block_on(get(&others)).expect("nobody closes");
            others.put(value, slot, &|| 0);
            waited
        });
        let (value, slot, waited) = block_on(get(&slots)).expect("nobody closes");
        slots.put(value, slot, &|| 0);
        dropped.join().unwrap();
        noted.note(format!("{waited} {}", also.join().unwrap()));
        assert_at_rest(&slots, 1);
        assert_eq!(slots.counts().tally.dials, 2);
    });
    seen.assert_all(["true true", "true false", "false true"]);
}

#[test]
fn loom_a_dial_survives_who_asked_for_it() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(3, move || {
        let slots = slots(2);
        let (mut asker, dial) = queue(&slots);
        let slot = dial.expect("there is room");
        let others = Arc::clone(&slots);
        let dialler = thread::spawn(move || others.dialled(slot, slot, Nanos::MAX, 0));
        let (others, seen) = (Arc::clone(&slots), noted.clone());
        let gives_up = thread::spawn(move || {
            seen.note(if others.counts().connecting == 0 { "dialled" } else { "dialling" });
            others.cancel(&mut asker);
        });
        let (value, slot, _) = block_on(get(&slots)).expect("nobody closes");
        slots.put(value, slot, &|| 0);
        dialler.join().unwrap();
        gives_up.join().unwrap();
        let counts = slots.counts();
        assert_at_rest(&slots, counts.size);
        assert_eq!(counts.size as u64, counts.tally.dials, "P2: a connection was thrown away");
    });
    seen.assert_all(["dialled", "dialling"]);
}

#[test]
fn loom_a_failed_dial_gives_its_room_back() {
    check(3, move || {
        let slots = slots(1);
        let (mut asker, dial) = queue(&slots);
        let slot = dial.expect("there is room");
        let others = Arc::clone(&slots);
        let dialler = thread::spawn(move || others.dial_failed(slot, "refused", true, 0, |_| 0));
        let (value, slot, _) = {
            // The asker gives up at any moment; another one waits and must get a dial of its own.
            let others = Arc::clone(&slots);
            let gives_up = thread::spawn(move || others.cancel(&mut asker));
            let got = block_on(get(&slots)).expect("nobody closes");
            gives_up.join().unwrap();
            got
        };
        slots.put(value, slot, &|| 0);
        dialler.join().unwrap();
        assert_at_rest(&slots, 1);
        assert_eq!((slots.counts().tally.dials, slots.counts().tally.dial_failures), (2, 1));
    });
}

#[test]
fn loom_a_deadline_and_a_grant_are_never_both() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(3, move || {
        let slots = slots(1);
        let (value, slot) = take_by_dial(&slots);
        let keeper = slots.keeper_needed(0).expect("there is none");
        let (mut waiter, _) = queue_until(&slots, 10);
        let others = Arc::clone(&slots);
        let back = thread::spawn(move || others.put(value, slot, &|| 0));
        slots.tend(keeper, 10);
        match slots.look(&mut waiter, Waker::noop()) {
            Looked::Done(Taken::Got { value, slot, .. }) => {
                noted.note("granted");
                slots.put(value, slot, &|| 0);
            }
            Looked::Done(Taken::Ended(Grant::TimedOut(told))) => {
                noted.note("timed out");
                assert_eq!((told.waited, told.position), (10, 0));
            }
            _ => panic!("P5: neither at the deadline"),
        }
        back.join().unwrap();
        assert_at_rest(&slots, 1);
    });
    seen.assert_all(["granted", "timed out"]);
}

#[test]
fn loom_a_closed_pool_drains() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let slots = filled(2, 1);
        let others = Arc::clone(&slots);
        let (value, slot, _) = block_on(get(&slots)).expect("nobody has closed");
        let late = thread::spawn(move || others.put(value, slot, &|| 0));
        let (others, seen) = (Arc::clone(&slots), noted.clone());
        let asks = thread::spawn(move || match block_on(get(&others)) {
            Some((value, slot, _)) => {
                seen.note("got");
                others.put(value, slot, &|| 0);
            }
            None => seen.note("closed"),
        });
        slots.close();
        block_on(std::future::poll_fn(|context| match slots.poll_drained(context.waker().clone()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        assert_eq!(slots.counts().size, 0, "P6: drained too early");
        late.join().unwrap();
        asks.join().unwrap();
        assert_at_rest(&slots, 0);
    });
    seen.assert_all(["got", "closed"]);
}

#[test]
fn loom_what_is_given_is_there_when_it_is_seen() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(3, move || {
        let mut cells = Cells::new();
        let chunks = cells.chunks();
        let (number, mut claim) = cells.open();
        let takes = thread::spawn(move || chunks.take_if(&mut claim, |_| true));
        cells.fill(number, 7);
        thread::yield_now();
        // Used again as soon as it shows that what was given is taken.
        if !cells.is_full(number) {
            cells.reuse(number);
            let (again, mut other) = cells.open();
            assert_eq!(again, number);
            cells.fill(number, 8);
            assert_eq!(cells.take(&mut other), Some(8));
            noted.note("again");
        }
        let taken = takes.join().unwrap();
        assert!(taken.is_none_or(|taken| taken == 7));
        noted.note(if taken.is_some() { "there" } else { "not yet" });
    });
    seen.assert_all(["there", "not yet", "again"]);
}
