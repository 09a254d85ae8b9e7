//! The state behind the kernel's lock, and the steps that it is changed by. Each leaves what is to be done without the lock to [`After`].

use std::panic::Location;
use std::task::Waker;

use super::queue::{Granted, Key, NONE, Queue, Wait};
use super::{
    CLOCK_EVERY, Counts, Dates, End, Expired, Grant, HOLDERS_TOLD, Held, KEEPER_LATE, Nanos, Now, Place,
    Requested, Rules, Slot, TICK, Taken, Tally,
};

/// What is left to do when the lock has been let go.
pub(super) struct After<T> {
    pub(super) wake: Option<Waker>,
    pub(super) wake_more: Vec<Waker>,
    /// Resources to drop, with the slots that become free by it.
    pub(super) doomed: Option<(T, u32)>,
    pub(super) doomed_more: Vec<(T, u32)>,
}

impl<T> After<T> {
    #[inline]
    pub(super) fn nothing() -> Self {
        Self { wake: None, wake_more: Vec::new(), doomed: None, doomed_more: Vec::new() }
    }

    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        if self.wake.is_none() {
            self.wake = waker;
        } else {
            self.wake_more.extend(waker);
        }
    }

    pub(super) fn doom(&mut self, value: T, slot: u32) {
        if self.doomed.is_none() {
            self.doomed = Some((value, slot));
        } else {
            self.doomed_more.push((value, slot));
        }
    }
}

pub(super) struct Keeper {
    /// The number of the one that is alive, 0 for none. Numbers aren't used again.
    pub(super) alive: u64,
    pub(super) last: u64,
    pub(super) called: bool,
    pub(super) waker: Option<Waker>,
    pub(super) next: Nanos,
}

pub(super) struct Dials<F> {
    /// Whether the last one failed: then one at a time finds out whether the other side is back.
    pub(super) failing: bool,
    /// Failures in a row, each of a dial that began after the one before had failed.
    pub(super) streak: u32,
    /// When it was last raised.
    pub(super) raised_at: Nanos,
    pub(super) retry_at: Nanos,
    pub(super) last_failure: Option<F>,
    /// How long at least one dial was under way, before the present ones.
    pub(super) busy: Nanos,
    pub(super) busy_since: Nanos,
}

impl<F> Dials<F> {
    /// One that began then has failed, or what it came to broke at once. A wave of failures is one: whoever began before the last one was known says nothing new.
    pub(super) fn fail(&mut self, began: Nanos, now: Nanos, streak: u32, retry_at: Nanos) {
        self.failing = true;
        if self.streak == 0 || began >= self.raised_at {
            self.streak = streak;
            self.raised_at = now;
            self.retry_at = retry_at;
        }
    }
}

/// In the order of how often each field is written: where processors share a busy pool, each cache line that they take from one another costs more than all the sums.
#[repr(C)]
pub(super) struct State<T, F> {
    pub(super) now: Nanos,
    pub(super) closed: bool,
    /// Whether the keeper refreshes `now`; it does while the pool is touched.
    pub(super) ticking: bool,
    pub(super) touched: bool,
    /// Requests on the short way since the last one that might have gone it and didn't.
    pub(super) short_ways: u32,
    /// Requests on the long way since the last one that read the clock for their number alone.
    pub(super) long_ways: u32,
    pub(super) in_use: usize,
    pub(super) next_ticket: u64,
    pub(super) queue: Queue<Grant<T, F>>,
    pub(super) tally: Tally,
    /// With their slots.
    pub(super) idle: Vec<(T, u32)>,
    // From here on what is hardly written while nothing is dialled.
    pub(super) rules: Rules,
    pub(super) size: usize,
    pub(super) connecting: usize,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u32>,
    pub(super) dials: Dials<F>,
    pub(super) keeper: Keeper,
    pub(super) drains: Vec<Waker>,
    /// Those who wait for the minimum to be idle.
    pub(super) watchers: Vec<Waker>,
    /// What `size` may be: more than the maximum only for what was there when it was lowered.
    pub(super) ceiling: usize,
}

impl<T, F: Clone> State<T, F> {
    /// Makes `now` the time as of the last tick, or of now if nobody ticks; then the keeper is called to begin. Tells whether the keeper is missing.
    #[inline]
    pub(super) fn touch(&mut self, clock: &impl Now, after: &mut After<T>) -> bool {
        self.touched = true;
        self.long_ways = (self.long_ways + 1) % CLOCK_EVERY;
        // Every so often, to notice that nobody ticks any more though the keeper wasn't dropped.
        if !self.ticking || self.long_ways == 0 {
            return self.touch_exactly(clock, after);
        }
        false
    }

    #[cold]
    pub(super) fn touch_exactly(&mut self, clock: &impl Now, after: &mut After<T>) -> bool {
        self.now = self.now.max(clock.now());
        if self.keeper.alive == 0 {
            return true;
        }
        if !self.ticking {
            self.ticking = true;
            self.call_keeper(after);
        }
        self.keeper_is_late(self.now)
    }

    /// Whether the keeper is so late that its runtime can't be looking after it.
    #[inline]
    pub(super) fn keeper_is_late(&self, now: Nanos) -> bool {
        self.keeper.next.saturating_add(KEEPER_LATE) < now
    }

    /// For how long at least one dial has been under way since the beginning.
    pub(super) fn dial_clock(&self, now: Nanos) -> Nanos {
        let present = if self.connecting > 0 { now.saturating_sub(self.dials.busy_since) } else { 0 };
        self.dials.busy + present
    }

    /// Whether a dial should be under way that isn't, apart from back-off.
    #[inline]
    pub(super) fn wants_dial(&self) -> bool {
        // After a failure one dial at a time finds out whether the other side is back.
        let allowed = if self.dials.failing { 1 } else { usize::MAX };
        let wanted = self.queue.waiting() + self.rules.idle_min.saturating_sub(self.idle.len());
        !self.closed && self.size < self.rules.max && self.connecting < wanted.min(allowed)
    }

    pub(super) fn begin_dial(&mut self, now: Nanos) -> Option<u32> {
        if !self.wants_dial() || now < self.dials.retry_at {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { place: Place::Free, dates: Dates { born: 0, expires: 0, used: 0 } });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize].place;
        assert!(matches!(place, Place::Free), "slot {slot} is {place:?} and can't be dialled for");
        *place = Place::Connecting;
        self.slots[slot as usize].dates.born = now;
        if self.connecting == 0 {
            self.dials.busy_since = now;
        }
        self.size += 1;
        self.connecting += 1;
        self.tally.dials += 1;
        Some(slot)
    }

    pub(super) fn end_dial(&mut self, now: Nanos) {
        self.connecting -= 1;
        if self.connecting == 0 {
            self.dials.busy += now.saturating_sub(self.dials.busy_since);
        }
    }

    /// A resource is leaving its use. If it was made after the last failure and has lasted, the failures are over.
    pub(super) fn note_lasted(&mut self, slot: u32) {
        let Dates { born, .. } = self.slots[slot as usize].dates;
        let lasted = self.now.saturating_sub(born) >= self.rules.proven_after;
        if lasted && born >= self.dials.raised_at {
            self.dials.streak = 0;
        }
    }

    /// A slot whose resource is gone. Whoever waits for room hears of it.
    pub(super) fn vacate(&mut self, slot: u32, after: &mut After<T>) {
        self.slots[slot as usize].place = Place::Free;
        self.free.push(slot);
        self.size -= 1;
        self.ceiling = self.rules.max.max(self.size);
        if self.closed && self.size == 0 {
            after.wake_more.append(&mut self.drains);
        } else if self.wants_dial() {
            self.call_keeper(after);
        }
    }

    /// Gets the keeper to look again. Without one, the first who waits brings one.
    pub(super) fn call_keeper(&mut self, after: &mut After<T>) {
        if self.keeper.alive == 0 {
            let mut wakers = Vec::new();
            self.queue.take_wakers(&mut wakers);
            after.wake_more.append(&mut wakers);
        } else {
            self.keeper.called = true;
            // If nobody drives it, the next request that reads the clock sees that it is late.
            self.keeper.next = self.keeper.next.min(self.now);
            after.wake(self.keeper.waker.take());
        }
    }

    /// A resource that is nobody's and goes. Its slot becomes free when it is gone.
    pub(super) fn retire_one(&mut self, value: T, slot: u32, after: &mut After<T>) {
        self.tally.retired += 1;
        self.in_use += 1;
        self.slots[slot as usize].place = Place::Closing;
        after.doom(value, slot);
    }

    /// A resource that is nobody's: to the first who waits, else to the idle ones, unless its time is over.
    #[inline]
    pub(super) fn offer(&mut self, value: T, slot: u32, after: &mut After<T>) {
        let expires = self.slots[slot as usize].dates.expires;
        if self.closed || expires <= self.now || self.size > self.rules.max {
            self.retire_one(value, slot, after);
            return;
        }
        match self.hand_over(value, slot) {
            Ok(waker) => after.wake(waker),
            Err((value, slot)) => self.lay_aside(value, slot, after),
        }
    }

    fn lay_aside(&mut self, value: T, slot: u32, after: &mut After<T>) {
        let Slot { place, dates } = &mut self.slots[slot as usize];
        *place = Place::Idle;
        let goes = dates.expires.min(dates.used.saturating_add(self.rules.idle_timeout));
        self.idle.push((value, slot));
        // What comes by a dial for which nobody waits any more may be the first to go.
        if self.keeper.alive != 0 && goes < self.keeper.next {
            self.call_keeper(after);
        }
    }

    /// A resource that is nobody's, to the first who waits; back if nobody does. The request counts as ok from here on, so that it can be taken without the lock;
    /// see [`Self::count_again`] and [`Self::counts`].
    #[inline]
    pub(super) fn hand_over(&mut self, value: T, slot: u32) -> Result<Option<Waker>, (T, u32)> {
        let used = self.slots[slot as usize].dates.used;
        match self.queue.grant_first(Grant::Resource(value, slot, used)) {
            Ok(Granted { at, waker, cell }) => {
                self.slots[slot as usize].place = Place::InUse { since: self.now, at, cell };
                self.in_use += 1;
                self.tally.waiting -= 1;
                self.tally.ok += 1;
                Ok(waker)
            }
            Err(Grant::Resource(value, slot, _)) => Err((value, slot)),
            Err(_) => unreachable!("it comes back as it was"),
        }
    }

    /// What was handed over isn't the end of the request: it counts as waiting again.
    pub(super) fn count_again(&mut self) {
        self.tally.ok -= 1;
        self.tally.waiting += 1;
    }

    /// The idle resource that was used last, if its time isn't over. Those whose time is over go.
    #[inline]
    pub(super) fn take_idle(
        &mut self,
        at: &'static Location<'static>,
        after: &mut After<T>,
    ) -> Option<(T, u32)> {
        while let Some((value, slot)) = self.idle.pop() {
            if self.slots[slot as usize].dates.expires <= self.now {
                self.retire_one(value, slot, after);
                continue;
            }
            self.slots[slot as usize].place = Place::InUse { since: self.now, at, cell: NONE };
            self.in_use += 1;
            return Some((value, slot));
        }
        None
    }

    #[inline]
    pub(super) fn leave_use(&mut self, slot: u32) {
        match self.slots[slot as usize].place {
            Place::InUse { cell: NONE, .. } | Place::Closing => {}
            Place::InUse { cell, .. } => self.queue.reuse(cell),
            place => panic!("slot {slot} came back and was {place:?}"),
        }
        self.in_use -= 1;
    }

    pub(super) fn end(&mut self, end: End) {
        self.tally.waiting -= 1;
        *match end {
            End::Ok => &mut self.tally.ok,
            End::Error => &mut self.tally.error,
            End::Timeout => &mut self.tally.timeout,
            End::Cancelled => &mut self.tally.cancelled,
        } += 1;
    }

    /// What was handed over and isn't taken yet is told as waiting: so `ok` never falls, also if that request gives up.
    pub(super) fn counts(&self) -> Counts {
        let is_untaken = |slot: &&Slot| match slot.place {
            Place::InUse { cell, .. } => cell != NONE && self.queue.is_full(cell),
            _ => false,
        };
        let untaken = self.slots.iter().filter(is_untaken).count() as u64;
        let Tally { ok, waiting, .. } = self.tally;
        let tally = Tally { ok: ok - untaken, waiting: waiting + untaken, ..self.tally };
        Counts {
            max: self.rules.max,
            size: self.size,
            idle: self.idle.len(),
            in_use: self.in_use,
            connecting: self.connecting,
            queued: self.queue.waiting(),
            closed: self.closed,
            tally,
        }
    }

    /// Those who have held a resource longest, the longest first.
    pub(super) fn holders(&self, now: Nanos) -> Vec<Held> {
        let held = |slot: &Slot| match slot.place {
            Place::InUse { since, at, .. } => Some(Held { held: now.saturating_sub(since), at }),
            _ => None,
        };
        let mut all: Vec<Held> = self.slots.iter().filter_map(held).collect();
        all.sort_by_key(|holder| std::cmp::Reverse(holder.held));
        all.truncate(HOLDERS_TOLD);
        all
    }

    /// Whether a back-off delays the next dial. A dial that is due and hasn't begun counts as
    /// delayed: the keeper's timers have a resolution of 1 ms, so it may see the end of a back-off
    /// and a request's deadline at the same time.
    fn backs_off(&self, now: Nanos) -> bool {
        let has_room = self.connecting == 0 && self.size < self.rules.max;
        self.dials.failing && has_room && (self.wants_dial() || now < self.dials.retry_at)
    }

    pub(super) fn expired(&self, now: Nanos, holders: &[Held], position: usize, wait: &Wait) -> Expired<F> {
        Expired {
            waited: now.saturating_sub(wait.since),
            dialling: self.dial_clock(now).saturating_sub(wait.dial_mark),
            position,
            dials: self.connecting,
            backing_off: self.backs_off(now),
            last_failure: self.dials.last_failure.clone(),
            holders: holders.to_vec(),
            counts: self.counts(),
        }
    }

    /// Ends the wait of those whose deadline has come.
    pub(super) fn expire(&mut self, now: Nanos, wakers: &mut Vec<Waker>) {
        if self.queue.deadline_min() > now {
            return;
        }
        let holders = self.holders(now);
        // Of somebody who came at the beginning; `take_granted` takes off what was before the request.
        let nobody = Wait { ticket: 0, since: 0, deadline: now, dial_mark: 0, at: Location::caller() };
        let expired = self.expired(now, &holders, 0, &nobody);
        let grant = |position: usize| Grant::TimedOut(Box::new(Expired { position, ..expired.clone() }));
        self.queue.grant_where(|_, deadline| deadline <= now, grant, wakers);
    }
}

impl<T, F: Clone> State<T, F> {
    /// What holds in every committed state.
    pub(super) fn assert_sound(&self) {
        if std::thread::panicking() {
            // A second panic would end the process, and with it the first one's message.
            return;
        }
        let Self { size, in_use, connecting, ceiling, tally, .. } = self;
        assert_eq!(*size, self.idle.len() + in_use + connecting, "P8: the size is that of its parts");
        assert!(size <= ceiling, "P1: {size} slots of {ceiling}");
        let ended = tally.ok + tally.error + tally.timeout + tally.cancelled;
        assert_eq!(
            tally.started,
            ended + tally.waiting,
            "P8: each request has one end, or none yet: {tally:?}"
        );
        if self.queue.waiting() > 0 {
            assert!(self.idle.is_empty(), "P3: somebody waits beside an idle resource");
            assert!(!self.closed, "P6: nobody waits on a closed pool");
            let keeper = &self.keeper;
            let backs_off = self.dials.retry_at > 0 && keeper.next <= self.dials.retry_at;
            assert!(
                !self.wants_dial() || keeper.called || keeper.alive == 0 || backs_off,
                "P3: somebody waits, there is room, and nobody does anything about it"
            );
        }
    }

    /// A request that has to wait, or has no time to.
    pub(super) fn enqueue(
        &mut self,
        waker: Option<Waker>,
        timeout: Nanos,
        at: &'static Location<'static>,
        now: Nanos,
        after: &mut After<T>,
    ) -> Requested<T, F> {
        self.now = self.now.max(now);
        let keeper_missing = self.keeper.alive == 0 || self.keeper_is_late(now);
        let Some(waker) = waker.filter(|_| timeout > 0) else {
            self.tally.started += 1;
            self.tally.timeout += 1;
            let expired =
                self.expired(now, &self.holders(now), self.queue.waiting(), &self.wait(timeout, at, now));
            let taken = Taken::Ended(Grant::TimedOut(Box::new(expired)));
            return Requested { taken, dial: None, keeper_missing };
        };
        let key = self.queue_up(waker, timeout, at, now);
        let dial = self.begin_dial(now);
        self.announce(now.saturating_add(timeout), after);
        Requested { taken: Taken::Queued(key), dial, keeper_missing }
    }

    /// What a request brings along that came `now`.
    #[inline]
    pub(super) fn wait(&self, timeout: Nanos, at: &'static Location<'static>, now: Nanos) -> Wait {
        let (deadline, dial_mark) = (now.saturating_add(timeout), self.dial_clock(now));
        Wait { ticket: self.next_ticket, since: now, deadline, dial_mark, at }
    }

    /// A new request, to the end of the queue.
    #[inline]
    pub(super) fn queue_up(
        &mut self,
        waker: Waker,
        timeout: Nanos,
        at: &'static Location<'static>,
        now: Nanos,
    ) -> Key {
        self.now = self.now.max(now);
        if !self.touched {
            self.touched = true;
        }
        let wait = self.wait(timeout, at, now);
        self.next_ticket += 1;
        self.tally.started += 1;
        self.tally.waiting += 1;
        self.queue.enter(wait, waker)
    }

    /// What a grant in the queue means for who asked.
    pub(super) fn take_granted(&mut self, mut grant: Grant<T, F>, key: &Key) -> Taken<T, F> {
        let wait = key.wait;
        // The cell of a resource is that of its place, until it comes back.
        if !matches!(grant, Grant::Resource(..)) {
            self.queue.reuse(key.claim.number);
        }
        match &mut grant {
            Grant::Resource(..) => self.count_again(),
            Grant::TimedOut(expired) => {
                expired.waited = expired.waited.saturating_sub(wait.since);
                // A dial may end by a clock that was read before the request's.
                expired.dialling = expired.dialling.saturating_sub(wait.dial_mark);
            }
            Grant::Failed(_) | Grant::Closed => {}
        }
        self.conclude(grant, wait)
    }

    /// Whether what was used at that time is to be checked.
    #[inline]
    pub(super) fn is_due_for_check(&self, used: Nanos) -> bool {
        self.now.saturating_sub(used) >= self.rules.check_after
    }

    /// What a grant means for who asked.
    pub(super) fn conclude(&mut self, grant: Grant<T, F>, wait: Wait) -> Taken<T, F> {
        match grant {
            Grant::Resource(value, slot, used) => {
                // What was put aside longer ago than that was idle; it can't have been handed over without a look.
                let check = self.is_due_for_check(used);
                if !check {
                    self.end(End::Ok);
                }
                return Taken::Got { value, slot, check, wait: Some(wait) };
            }
            Grant::Failed(_) | Grant::Closed => self.end(End::Error),
            Grant::TimedOut(_) => self.end(End::Timeout),
        }
        Taken::Ended(grant)
    }

    /// The keeper must come by `deadline`, and by the end of the back-off if a dial waits for that.
    pub(super) fn announce(&mut self, deadline: Nanos, after: &mut After<T>) {
        let due = if self.wants_dial() { deadline.min(self.dials.retry_at) } else { deadline };
        if self.keeper.alive != 0 && due < self.keeper.next {
            self.call_keeper(after);
        }
    }

    /// Idle resources that lived or idled long enough, the latter down to the minimum.
    pub(super) fn retire_idle(&mut self, now: Nanos, after: &mut After<T>) {
        let mut spare = self.idle.len().saturating_sub(self.rules.idle_min);
        let timeout = self.rules.idle_timeout;
        let slots = &self.slots;
        let mut is_over = |slot: u32| {
            let Dates { expires, used, .. } = slots[slot as usize].dates;
            if expires <= now {
                spare = spare.saturating_sub(1);
                return true;
            }
            let idled = spare > 0 && used.saturating_add(timeout) <= now;
            spare -= usize::from(idled);
            idled
        };
        let over: Vec<(T, u32)> = self.idle.extract_if(.., |(_, slot)| is_over(*slot)).collect();
        for (value, slot) in over {
            self.retire_one(value, slot, after);
        }
    }

    /// When the keeper has something to do, at the latest.
    pub(super) fn next_event(&self, now: Nanos) -> Nanos {
        let mut next = self.queue.deadline_min();
        if self.ticking {
            next = next.min(now + TICK);
        }
        for (place, &(_, slot)) in self.idle.iter().enumerate() {
            let Dates { expires, used, .. } = self.slots[slot as usize].dates;
            next = next.min(expires);
            if place + self.rules.idle_min < self.idle.len() {
                next = next.min(used.saturating_add(self.rules.idle_timeout));
            }
        }
        if self.wants_dial() {
            next = next.min(self.dials.retry_at);
        }
        next.max(now)
    }
}
