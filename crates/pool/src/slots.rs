//! The kernel of the pool for exclusive resources: slots, who waits for one, and what was counted. No runtime, no I/O, no clock of its own.
//!
//! One lock guards all of it, so every look sees one committed state, in which
//!
//! - size = idle + in use + connecting, and size ≤ max unless max was lowered since;
//! - started = ok + error + timeout + cancelled + waiting;
//! - nobody waits while a resource is idle: what comes back goes to the first in the queue, by hand, so that nobody can overtake;
//! - if somebody waits and there is room, a dial is under way, or the keeper has been called, or waits for the end of a back-off.
//!
//! Under the lock nothing runs that isn't in this folder: wakers are woken, and cloned, resources are dropped, and managers are asked outside. What a critical section leaves
//! to be done is collected in [`After`].
//!
//! A slot is at one [`Place`] at a time. Who takes it off `Idle` or `Connecting` has to bring it back exactly once; the shell does so by RAII.

mod answers;
#[expect(unsafe_code, reason = "a waiter takes what it was given without a lock")]
mod cells;
#[cfg(all(test, steadfast_loom))]
mod loom_models;
mod queue;
mod state;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering, lock};
pub(crate) use answers::{Counts, End, Expired, Grant, Held, Looked, Plan, Refused, Requested, Taken, Tally};
use cells::Chunks;
pub(crate) use queue::{Key, Wait};
use queue::{Look, NONE, Queue};
use state::{After, Dials, Keeper, State};

/// Nanoseconds since the pool was made.
pub(crate) type Nanos = u64;

/// Keepers that are so late aren't looked after by their runtime any more.
const KEEPER_LATE: Nanos = 1_000_000_000;
/// How often the time is refreshed while the pool is in use.
pub(crate) const TICK: Nanos = 100_000_000;
/// One of so many requests on the long way reads the clock in any case.
const CLOCK_EVERY: u32 = 32;
/// After so many requests on the short way one goes the long way, on which the turn of its task may end. With tokio's 128 units a turn, a task that is alone and never waits has 4096 requests.
const SHORT_WAYS_MAX: u32 = 32;
/// Holders that a timeout names.
pub(crate) const HOLDERS_TOLD: usize = 3;

/// What the kernel is told at the beginning; durations, `Nanos::MAX` for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max: usize,
    pub(crate) idle_min: usize,
    pub(crate) idle_timeout: Nanos,
    pub(crate) check_after: Nanos,
    /// A resource that breaks before it is so old counts as a dial that failed; 0 if none does.
    pub(crate) proven_after: Nanos,
}

/// A slot, in a cache line of its own. Its resource goes about with its number alone.
// One line, not `CachePadded`'s two: all slots are behind one lock, so no two processors write side
// by side.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Slot {
    place: Place,
    dates: Dates,
}

/// What is known of a slot's resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    pub(crate) born: Nanos,
    pub(crate) expires: Nanos,
    /// As of its last return.
    pub(crate) used: Nanos,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    Connecting,
    Idle,
    /// Its resource is being dropped. Counts as in use: the other side may count it, too.
    Closing,
    InUse {
        since: Nanos,
        at: &'static Location<'static>,
        /// In which it was handed over if it was waited for, else [`NONE`].
        cell: u32,
    },
}

/// The kernel. The lock and what every request writes come first, in two neighbouring cache lines.
#[repr(C, align(128))]
pub(crate) struct Slots<T, F> {
    state: Mutex<State<T, F>>,
    /// How many were idle when the lock was last let go: a hint whether a waker will be needed. Relaxed: who is misled only does more.
    idle_hint: AtomicUsize,
    /// The time as of the keeper's last visit. Relaxed: it is coarse anyhow.
    now_hint: AtomicU64,
    check_after: Nanos,
    proven_after: Nanos,
    cells: Arc<Chunks<Grant<T, F>>>,
}

/// Adds a waker unless it is there already; what isn't needed comes back, to be dropped once the lock is let go.
fn keep_waker(wakers: &mut Vec<Waker>, waker: Waker) -> Option<Waker> {
    if wakers.iter().any(|kept| kept.will_wake(&waker)) {
        return Some(waker);
    }
    wakers.push(waker);
    None
}

/// A way to ask for the time: only the shell has a clock.
pub(crate) trait Now {
    fn now(&self) -> Nanos;
}

impl<F: Fn() -> Nanos> Now for F {
    fn now(&self) -> Nanos {
        self()
    }
}

impl<T, F: Clone> Slots<T, F> {
    pub(crate) fn new(rules: Rules) -> Self {
        let state = State {
            rules,
            closed: false,
            now: 0,
            ticking: false,
            touched: false,
            short_ways: 0,
            long_ways: 0,
            idle: Vec::new(),
            in_use: 0,
            connecting: 0,
            size: 0,
            slots: Vec::new(),
            free: Vec::new(),
            queue: Queue::new(),
            next_ticket: 0,
            dials: Dials {
                failing: false,
                streak: 0,
                raised_at: 0,
                retry_at: 0,
                last_failure: None,
                busy: 0,
                busy_since: 0,
            },
            keeper: Keeper { alive: 0, last: 0, called: false, waker: None, next: 0 },
            drains: Vec::new(),
            watchers: Vec::new(),
            tally: Tally::default(),
            ceiling: rules.max,
        };
        let cells = state.queue.cells();
        Self {
            state: Mutex::new(state),
            idle_hint: AtomicUsize::new(0),
            now_hint: AtomicU64::new(0),
            check_after: rules.check_after,
            proven_after: rules.proven_after,
            cells,
        }
    }

    /// Changes the state under the lock, then does what is left to do.
    #[inline]
    fn change<R>(&self, change: impl FnOnce(&mut State<T, F>, &mut After<T>) -> R) -> R {
        let mut after = After::nothing();
        let mut state = lock(&self.state);
        let result = change(&mut state, &mut after);
        self.committed(&state);
        drop(state);
        // First the wakers: what is dropped may take its time.
        if let Some(waker) = after.wake {
            waker.wake();
        }
        after.wake_more.into_iter().for_each(Waker::wake);
        if let Some(doomed) = after.doomed {
            self.drop_all(doomed, after.doomed_more);
        }
        result
    }

    /// Drops resources, each before its slot is free. A panic of one ends here: whoever's request this is has nothing to do with
    /// what goes, and holds what isn't to be lost.
    #[cold]
    fn drop_all(&self, first: (T, u32), more: Vec<(T, u32)>) {
        for (value, slot) in std::iter::once(first).chain(more) {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
            self.change(|state, after| {
                state.leave_use(slot);
                state.vacate(slot, after);
            });
        }
    }

    /// Whether a request will probably have to wait.
    #[inline]
    pub(crate) fn looks_busy(&self) -> bool {
        self.idle_hint.load(Ordering::Relaxed) == 0
    }

    /// The short way to an idle resource, when nothing else is to be considered: the keeper ticks, and the one used last is neither too old nor to be checked.
    #[inline]
    pub(crate) fn take_at_once(&self, at: &'static Location<'static>) -> Option<(T, u32)> {
        if self.looks_busy() {
            return None;
        }
        let mut state = lock(&self.state);
        let now = state.now;
        let &(_, slot) = state.idle.last()?;
        let dates = state.slots[slot as usize].dates;
        let plain = dates.expires > now && now.saturating_sub(dates.used) < state.rules.check_after;
        if !plain || !state.ticking {
            return None;
        }
        // A count of its own: by the number of all requests, those who always come at the same place in a pattern would never be asked.
        if state.short_ways == SHORT_WAYS_MAX {
            state.short_ways = 0;
            return None;
        }
        state.short_ways += 1;
        let taken = state.idle.pop();
        if taken.is_some() {
            state.slots[slot as usize].place = Place::InUse { since: now, at, cell: NONE };
            state.touched = true;
            state.in_use += 1;
            state.tally.started += 1;
            state.tally.ok += 1;
            self.committed(&state);
        }
        taken
    }

    /// The short way into the queue, when nothing else is to be considered: the keeper ticks and comes by the deadline, nothing is idle, and there is no room to dial.
    #[inline]
    pub(crate) fn wait_at_once(
        &self,
        (waker, now): (Waker, Nanos),
        timeout: Nanos,
        at: &'static Location<'static>,
    ) -> Result<Key, (Waker, Nanos)> {
        let mut state = lock(&self.state);
        let deadline = now.saturating_add(timeout);
        let kept = state.ticking && state.keeper.next <= deadline && !state.keeper_is_late(now);
        let full = state.idle.is_empty() && state.size >= state.rules.max;
        if !kept || !full || state.closed {
            return Err((waker, now));
        }
        let key = state.queue_up(waker, timeout, at, now);
        self.committed(&state);
        Ok(key)
    }

    /// The short way back, when nothing else is to be considered: to the first who waits, or to the idle ones.
    #[inline]
    fn put_at_once(&self, value: T, slot: u32) -> Result<(), (T, u32)> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let plain = state.slots[slot as usize].dates.expires > state.now && state.size <= state.rules.max;
        if !plain || !state.ticking || state.closed || state.dials.streak > 0 {
            return Err((value, slot));
        }
        state.leave_use(slot);
        state.touched = true;
        state.slots[slot as usize].dates.used = state.now;
        let waker = match state.hand_over(value, slot) {
            Ok(waker) => waker,
            Err(idle) => {
                state.slots[slot as usize].place = Place::Idle;
                state.idle.push(idle);
                None
            }
        };
        self.committed(state);
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Every change ends with this.
    #[inline]
    fn committed(&self, state: &State<T, F>) {
        // Written only where they differ, since every request reads them: then processors needn't take them from one another.
        if self.idle_hint.load(Ordering::Relaxed) != state.idle.len() {
            self.idle_hint.store(state.idle.len(), Ordering::Relaxed);
        }
        if cfg!(any(debug_assertions, steadfast_loom)) {
            state.assert_sound();
        }
    }

    /// A new request: an idle resource, or a place in the queue if it has the time, and the patience: its waker, and when it came; a dial to begin with it, if one is due.
    #[inline]
    pub(crate) fn request(
        &self,
        patience: &mut Option<(Waker, Nanos)>,
        timeout: Nanos,
        at: &'static Location<'static>,
        clock: &impl Now,
    ) -> Requested<T, F> {
        self.change(|state, after| {
            if state.closed {
                state.tally.started += 1;
                state.tally.error += 1;
                let taken = Taken::Ended(Grant::Closed);
                return Requested { taken, dial: None, keeper_missing: false };
            }
            let keeper_missing = state.touch(clock, after);
            if let Some((value, slot)) = state.take_idle(at, after) {
                let check = state.is_due_for_check(state.slots[slot as usize].dates.used);
                state.tally.started += 1;
                if check {
                    state.tally.waiting += 1;
                } else {
                    state.tally.ok += 1;
                }
                let taken = Taken::Got { value, slot, check, wait: None };
                return Requested { taken, dial: None, keeper_missing };
            }
            if timeout > 0 && patience.is_none() {
                return Requested { taken: Taken::NeedsPatience, dial: None, keeper_missing };
            }
            let (waker, now) =
                patience.take().map_or_else(|| (None, clock.now()), |(waker, now)| (Some(waker), now));
            state.enqueue(waker, timeout, at, now, after)
        })
    }

    /// Takes an idle resource without a check, or nothing, which ends the request: as an error, or if it is one with `no_time`, as a timeout, whose clock it then reads. `again` if the one before was broken.
    pub(crate) fn request_at_once(
        &self,
        again: bool,
        no_time: bool,
        at: &'static Location<'static>,
        clock: &impl Now,
    ) -> Result<(T, u32), Box<Refused<F>>> {
        self.change(|state, after| {
            if !again {
                state.tally.started += 1;
                state.tally.waiting += 1;
            }
            if state.closed {
                state.end(End::Error);
                return Err(Box::new(Refused { counts: state.counts(), expired: None }));
            }
            state.touch(clock, after);
            if let Some(taken) = state.take_idle(at, after) {
                return Ok(taken);
            }
            let expired = no_time.then(|| {
                let now = state.now;
                let wait = state.wait(0, at, now);
                state.expired(now, &state.holders(now), state.queue.waiting(), &wait)
            });
            state.end(if no_time { End::Timeout } else { End::Error });
            Err(Box::new(Refused { counts: state.counts(), expired }))
        })
    }

    /// A request whose resource turned out to be bad goes back to where it was in the queue. It still has that resource: when it
    /// drops it, the room is noticed, and nobody has got in between.
    pub(crate) fn requeue(&self, wait: Wait, waker: Waker, now: Nanos) -> Requested<T, F> {
        self.change(|state, after| {
            state.now = state.now.max(now);
            let ended = |taken| Requested { taken, dial: None, keeper_missing: false };
            if state.closed {
                return ended(state.conclude(Grant::Closed, wait));
            }
            // Others may have become idle meanwhile: then nobody waits, and it is this one's turn.
            if let Some((value, slot)) = state.take_idle(wait.at, after) {
                let used = state.slots[slot as usize].dates.used;
                return ended(state.conclude(Grant::Resource(value, slot, used), wait));
            }
            let key = state.queue.enter(wait, waker);
            let dial = state.begin_dial(now);
            state.announce(wait.deadline, after);
            let keeper_missing = state.keeper.alive == 0 || state.keeper_is_late(now);
            Requested { taken: Taken::Queued(key), dial, keeper_missing }
        })
    }

    /// A ticket for a request that was served at once and has to wait after all: behind everybody who is waiting.
    pub(crate) fn wait_of(&self, timeout: Nanos, at: &'static Location<'static>, now: Nanos) -> Wait {
        self.change(|state, _| {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let dial_mark = state.dial_clock(now);
            Wait { ticket, since: now, deadline: now.saturating_add(timeout), dial_mark, at }
        })
    }

    /// What became of a place in the queue. A grant that isn't a resource to check ends the request.
    #[inline]
    pub(crate) fn look(&self, key: &mut Key, waker: &Waker) -> Looked<T, F> {
        // Nearly always it is there: whoever gave it has counted it already, so nothing is left to be done under the lock.
        let now = self.now_hint.load(Ordering::Relaxed);
        let plain = |used: &Nanos| now.saturating_sub(*used) < self.check_after;
        let taken = self
            .cells
            .take_if(&mut key.claim, |grant| matches!(grant, Grant::Resource(_, _, used) if plain(used)));
        if let Some(Grant::Resource(value, slot, _)) = taken {
            return Looked::Done(Taken::Got { value, slot, check: false, wait: Some(key.wait) });
        }
        self.look_with_care(key, waker)
    }

    #[cold]
    fn look_with_care(&self, key: &mut Key, waker: &Waker) -> Looked<T, F> {
        {
            let mut state = lock(&self.state);
            match state.queue.look(key, waker) {
                Look::Waiting => return Looked::Waiting { keeper_missing: state.keeper.alive == 0 },
                Look::Granted(grant) => return Looked::Done(state.take_granted(grant, key)),
                Look::WakerChanged => {}
            }
        }
        // Cloning may run anything, so not under the lock.
        let fresh = waker.clone();
        let mut state = lock(&self.state);
        let (looked, old) = match state.queue.look(key, waker) {
            Look::Granted(grant) => (Looked::Done(state.take_granted(grant, key)), Some(fresh)),
            Look::Waiting | Look::WakerChanged => {
                let keeper_missing = state.keeper.alive == 0;
                (Looked::Waiting { keeper_missing }, state.queue.set_waker(key, fresh))
            }
        };
        drop(state);
        drop(old);
        looked
    }

    /// Gives up a place in the queue, also when the grant has come already: what it is goes to the next.
    pub(crate) fn cancel(&self, key: &mut Key) {
        let dropped = self.change(|state, after| match state.queue.leave(key) {
            Ok(Grant::Resource(value, slot, _)) => {
                state.count_again();
                state.end(End::Cancelled);
                state.leave_use(slot);
                state.offer(value, slot, after);
                None
            }
            Ok(grant) => {
                state.queue.reuse(key.claim.number);
                state.end(End::Cancelled);
                Some(Err(grant))
            }
            Err(waker) => {
                state.end(End::Cancelled);
                Some(Ok(waker))
            }
        });
        drop(dropped);
    }

    /// A resource comes back.
    #[inline]
    pub(crate) fn put(&self, value: T, slot: u32, clock: &impl Now) {
        if let Err((value, slot)) = self.put_at_once(value, slot) {
            self.put_with_care(value, slot, clock);
        }
    }

    #[cold]
    fn put_with_care(&self, value: T, slot: u32, clock: &impl Now) {
        self.change(|state, after| {
            state.touch(clock, after);
            state.leave_use(slot);
            state.note_lasted(slot);
            state.slots[slot as usize].dates.used = state.now;
            state.offer(value, slot, after);
        });
    }

    /// A resource was taken and isn't used, as by a request that gave up in its check: its slot comes back empty.
    pub(crate) fn discard(&self, slot: u32, detached: bool, now: Nanos) {
        self.change(|state, after| {
            state.now = state.now.max(now);
            state.note_lasted(slot);
            state.leave_use(slot);
            if detached {
                state.tally.detached += 1;
            } else {
                state.tally.retired += 1;
            }
            state.vacate(slot, after);
        });
    }

    /// A resource was found broken: as [`Self::discard`]. If that was at once, the back-off of a dial that failed follows, as `delay` says for so many in a row.
    pub(crate) fn discard_broken(&self, slot: u32, now: Nanos, delay: impl FnOnce(u32) -> Nanos) {
        let (born, streak) = {
            let state = lock(&self.state);
            (state.slots[slot as usize].dates.born, state.dials.streak.saturating_add(1))
        };
        if now.saturating_sub(born) >= self.proven_after {
            return self.discard(slot, false, now);
        }
        // Random numbers need no lock.
        let retry_at = now.saturating_add(delay(streak));
        self.change(|state, after| {
            state.dials.fail(born, now, streak, retry_at);
            state.leave_use(slot);
            state.tally.retired += 1;
            state.vacate(slot, after);
        });
    }

    /// Ends a request that was checking.
    pub(crate) fn end_check(&self, end: End) {
        self.change(|state, _| state.end(end));
    }

    /// What a request knows whose time ran out while its resource was checked.
    pub(crate) fn autopsy(&self, wait: &Wait, now: Nanos) -> Expired<F> {
        self.change(|state, _| state.expired(now, &state.holders(now), 0, wait))
    }

    /// A dial came to a resource.
    pub(crate) fn dialled(&self, slot: u32, value: T, expires: Nanos, now: Nanos) {
        self.change(|state, after| {
            state.now = state.now.max(now);
            state.end_dial(now);
            state.dials.failing = false;
            state.dials.retry_at = 0;
            if state.rules.proven_after == 0 {
                state.dials.streak = 0;
            }
            after.wake_more.append(&mut state.watchers);
            state.slots[slot as usize].dates = Dates { born: now, expires, used: now };
            state.offer(value, slot, after);
            if state.wants_dial() {
                state.call_keeper(after);
            }
        });
    }

    /// A dial came to nothing: back-off as `delay` says for so many failures in a row. If it makes no sense to try again, who waits is told.
    pub(crate) fn dial_failed(
        &self,
        slot: u32,
        failure: F,
        retryable: bool,
        now: Nanos,
        delay: impl FnOnce(u32) -> Nanos,
    ) {
        // Random numbers and powers need no lock; a failure that comes in between only makes the delay a step shorter.
        let streak = lock(&self.state).dials.streak.saturating_add(1);
        let retry_at = now.saturating_add(delay(streak));
        let last = self.change(|state, after| {
            state.now = state.now.max(now);
            state.end_dial(now);
            let began = state.slots[slot as usize].dates.born;
            state.dials.fail(began, now, streak, retry_at);
            state.tally.dial_failures += 1;
            if !retryable && state.queue.waiting() > 0 {
                // While others have resources that may come back, only the first one is told.
                let all = state.in_use == 0;
                let first = state.queue.first_ticket();
                let chosen = |ticket, _| all || Some(ticket) == first;
                state.queue.grant_where(chosen, |_| Grant::Failed(failure.clone()), &mut after.wake_more);
            }
            let last = state.dials.last_failure.replace(failure);
            state.vacate(slot, after);
            last
        });
        drop(last);
    }

    /// A slot that was reserved for a dial that won't be made.
    pub(crate) fn dial_dropped(&self, slot: u32, now: Nanos) {
        self.change(|state, after| {
            state.end_dial(now);
            state.tally.dial_failures += 1;
            state.vacate(slot, after);
        });
    }

    /// Whether the keeper is missing, or so late that it must be stuck. Then the caller's is the next, under the number returned.
    pub(crate) fn keeper_needed(&self, now: Nanos) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.closed || state.keeper.alive != 0 && !state.keeper_is_late(now) {
            return None;
        }
        state.keeper.last += 1;
        state.keeper.alive = state.keeper.last;
        state.keeper.called = true;
        state.keeper.next = now;
        let (number, old) = (state.keeper.last, state.keeper.waker.take());
        drop(state);
        if let Some(old) = old {
            old.wake();
        }
        Some(number)
    }

    /// The keeper's work: whose time is over, what is due.
    pub(crate) fn tend(&self, keeper: u64, now: Nanos) -> Plan {
        self.change(|state, after| {
            let mut plan = Plan { ends: true, dials: Vec::new(), next: Nanos::MAX };
            if state.keeper.alive != keeper {
                return plan;
            }
            state.keeper.called = false;
            if state.closed {
                // What is out comes back by itself.
                state.keeper.alive = 0;
                return plan;
            }
            plan.ends = false;
            state.now = state.now.max(now);
            self.now_hint.store(state.now, Ordering::Relaxed);
            state.ticking = std::mem::take(&mut state.touched);
            state.expire(now, &mut after.wake_more);
            state.retire_idle(now, after);
            while let Some(slot) = state.begin_dial(now) {
                plan.dials.push(slot);
            }
            plan.next = state.next_event(now);
            state.keeper.next = plan.next;
            plan
        })
    }

    /// Whether the keeper has been called since it last looked. If not, `waker` is kept, and the one before returned.
    pub(crate) fn poll_keeper(&self, keeper: u64, waker: Waker) -> Result<(), Option<Waker>> {
        let mut state = lock(&self.state);
        if state.keeper.alive != keeper || state.keeper.called {
            return Ok(());
        }
        Err(state.keeper.waker.replace(waker))
    }

    /// The keeper ended, with its runtime for one. Who waits brings another.
    pub(crate) fn keeper_gone(&self, keeper: u64) {
        let waker = self.change(|state, after| {
            if state.keeper.alive != keeper {
                return None;
            }
            state.keeper.alive = 0;
            state.ticking = false;
            let waker = state.keeper.waker.take();
            state.call_keeper(after);
            waker
        });
        drop(waker);
    }

    /// Nobody has the pool any more: the keeper may go, and what is idle goes, a panic of one not taking the others along.
    pub(crate) fn abandon(&self) {
        let (waker, idle) = {
            let mut state = lock(&self.state);
            (state.keeper.waker.take(), std::mem::take(&mut state.idle))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        for (value, _) in idle {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
        }
    }

    /// Changes the maximum. What is idle beyond it goes now, what is in use when it comes back.
    pub(crate) fn resize(&self, max: usize) -> Result<(), usize> {
        self.change(|state, after| {
            if max < state.rules.idle_min {
                return Err(state.rules.idle_min);
            }
            state.rules.max = max;
            state.ceiling = max.max(state.size);
            let beyond = state.size.saturating_sub(max).min(state.idle.len());
            // The bottom was used longest ago.
            for (value, slot) in state.idle.drain(..beyond).collect::<Vec<_>>() {
                state.retire_one(value, slot, after);
            }
            if state.wants_dial() {
                state.call_keeper(after);
            }
            Ok(())
        })
    }

    /// Takes the idle resource that was used longest ago among those from the `place`-th on.
    pub(crate) fn take_oldest(
        &self,
        place: usize,
        at: &'static Location<'static>,
    ) -> Option<(T, u32, Dates)> {
        self.change(|state, _| {
            if place >= state.idle.len() {
                return None;
            }
            let (value, slot) = state.idle.remove(place);
            let since = state.now;
            let Slot { place, dates } = &mut state.slots[slot as usize];
            *place = Place::InUse { since, at, cell: NONE };
            let dates = *dates;
            state.in_use += 1;
            Some((value, slot, dates))
        })
    }

    /// Puts back what was only looked at: to its place, unless somebody waits.
    pub(crate) fn put_back(&self, place: usize, value: T, slot: u32) -> bool {
        self.change(|state, after| {
            state.leave_use(slot);
            let idle = state.idle.len();
            state.offer(value, slot, after);
            let kept = state.idle.len() > idle;
            if kept && place < idle {
                state.idle[place..].rotate_right(1);
            }
            kept
        })
    }

    /// Closes: waiters are told, idle resources go. Tells how many went.
    pub(crate) fn close(&self) -> usize {
        self.change(|state, after| {
            if state.closed {
                return 0;
            }
            state.closed = true;
            after.wake_more.append(&mut state.watchers);
            state.queue.grant_where(|_, _| true, |_| Grant::Closed, &mut after.wake_more);
            let idle = std::mem::take(&mut state.idle);
            let count = idle.len();
            for (value, slot) in idle {
                state.retire_one(value, slot, after);
            }
            if state.keeper.alive != 0 {
                state.call_keeper(after);
            }
            count
        })
    }

    /// Whether a closed pool has nothing alive any more; else `waker` is kept.
    pub(crate) fn poll_drained(&self, waker: Waker) -> bool {
        let mut state = lock(&self.state);
        if state.closed && state.size == 0 {
            return true;
        }
        let unused = keep_waker(&mut state.drains, waker);
        drop(state);
        drop(unused);
        false
    }

    /// Whether the minimum is there or the pool closed; else `waker` is kept for the next dial that succeeds. The second part: whether the keeper is missing.
    pub(crate) fn poll_warm(&self, waker: Waker, now: Nanos) -> (bool, bool) {
        let (answer, unused) = self.change(|state, after| {
            if state.closed || state.idle.len() + state.in_use >= state.rules.idle_min {
                return ((true, false), Some(waker));
            }
            let unused = keep_waker(&mut state.watchers, waker);
            // Before it is called, which brings its next visit forward.
            let is_late = state.keeper_is_late(now);
            state.call_keeper(after);
            ((false, state.keeper.alive == 0 || is_late), unused)
        });
        drop(unused);
        answer
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.state).counts()
    }

    /// When the resource of a slot that is in use was made.
    pub(crate) fn born(&self, slot: u32) -> Nanos {
        lock(&self.state).slots[slot as usize].dates.born
    }

    pub(crate) fn holders(&self, now: Nanos) -> Vec<Held> {
        lock(&self.state).holders(now)
    }

    pub(crate) fn last_failure(&self) -> Option<F> {
        lock(&self.state).dials.last_failure.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}
