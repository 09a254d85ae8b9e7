//! The hand-off between many callers and the one committer: queue → batch → publish → answer.
//!
//! # Protocol
//! A caller [submits](Handoff::submit) a job and holds a [`Ticket`], a future. The job goes
//! - into the **queue**, where there is room and nobody waits for room: from here on it will be carried
//!   out, whether or not the caller stays;
//! - else into the **waiting line**, first come first served, until room is made by the committer, or until its
//!   deadline ([`Handoff::expire`]), or until the ticket is dropped: then it never happens;
//! - else, the line being full as well, nowhere: the ticket is answered at once.
//!
//! The committer ([`serve`]) swaps the whole queue against an empty one under one short lock and lets
//! the line move up. For each part of the batch that its stages persist together it applies the jobs in
//! order, publishes once, and only then answers.
//!
//! **Waking.** To wake a task from outside of its runtime costs several times what it costs from inside. So the callers of a
//! batch are put into a few groups, each with one list of wakers; the committer wakes only one of each group, and whichever
//! ticket of the group is polled or dropped first wakes the rest, from inside the runtime. Should that
//! task be kept from running, the committer itself wakes the rest: before it answers the next batch, or as
//! soon as it has been without work for [`PATIENCE`].
//!
//! # Invariants (modelled in `handoff/model.rs`)
//! 1. Each job in the queue is answered exactly once: by the committer, or, should the committer unwind, by
//!    the drop of its [`Owed`] (then as [`Reply::Lost`]). So nobody waits for ever.
//! 2. An answer is stored after `persist` and `publish` of its job returned.
//! 3. Every stored answer's waker is called, by the committer or by a ticket of the same group.
//! 4. Jobs are applied in the order of their submission; the line isn't overtaken.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};
use answers::{Owed, Slot, WakeList};

pub(crate) use answers::{Reply, Ticket};

mod answers;
#[cfg(all(test, steadfast_loom))]
mod model;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

/// How long an idle committer leaves it to a batch's own tasks to wake each other.
const PATIENCE: Duration = Duration::from_micros(100);

/// How many callers share one list of wakers at most.
const WAKE_GROUP: usize = 32;
/// How many lists there are at least, so that two threads of a runtime share the work; in a model one, to have it shared.
const WAKE_LISTS: usize = if cfg!(steadfast_loom) { 1 } else { 2 };

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Jobs in the queue.
    pub(crate) jobs: usize,
    /// Bytes of the jobs in the queue; a job that is larger is let in when the queue is empty.
    pub(crate) bytes: usize,
    /// Jobs in the waiting line.
    pub(crate) waiters: usize,
    /// Bytes of the jobs in the waiting line; a job that is larger is let in when nobody waits.
    pub(crate) waiting_bytes: usize,
}

/// The stages of a commit, run by [`serve`] in the order: persist, apply each, publish, answer.
pub(crate) trait Stages {
    /// What callers submit.
    type Job;
    /// What they get.
    type Answer;

    /// Makes the first jobs durable together, one at least; returns how many. On an error none of the first so many took effect.
    fn persist(&mut self, jobs: &[Queued<Self::Job, Self::Answer>]) -> Result<usize, Refused<Self::Answer>>;

    /// Carries out a durable job on the next, unpublished value.
    fn apply(&mut self, job: Self::Job) -> Self::Answer;

    /// Lets readers see the next value.
    fn publish(&mut self);

    /// Called when somebody [nudged](Handoff::nudge) a committer that had no job.
    fn tend(&mut self);
}

/// Why jobs could not be made durable.
pub(crate) struct Refused<A> {
    /// How many, from the front.
    pub(crate) jobs: usize,
    /// Makes the answer that each of them gets.
    pub(crate) answer: Box<dyn Fn() -> A>,
}

/// The committer's loop; returns when the hand-off is closed and all that was queued is answered.
pub(crate) fn serve<S: Stages>(handoff: &Handoff<S::Job, S::Answer>, stages: &mut S) {
    let mut queue = Vec::new();
    let mut answers = Vec::new();
    let mut woken = Woken(Vec::new());
    while handoff.next_batch(&mut queue, &mut woken.0) {
        if queue.is_empty() {
            stages.tend();
            continue;
        }
        let began = Instant::now();
        let count = queue.len();
        let mut batch = queue.drain(..);
        while !batch.as_slice().is_empty() {
            match stages.persist(batch.as_slice()) {
                Ok(durable) => {
                    for Queued { job, owed } in batch.by_ref().take(durable) {
                        answers.push((owed, stages.apply(job)));
                    }
                    stages.publish();
                }
                Err(refused) => {
                    for Queued { owed, .. } in batch.by_ref().take(refused.jobs) {
                        answers.push((owed, (refused.answer)()));
                    }
                }
            }
            wake_rest(&mut woken.0);
            let group = answers.len().div_ceil(WAKE_LISTS).clamp(1, WAKE_GROUP);
            while !answers.is_empty() {
                let group = answers.len().saturating_sub(group);
                woken.0.push(WakeList::answer(answers.drain(group..)));
            }
        }
        drop(batch);
        handoff.note_batch(count, began.elapsed());
    }
}

/// The lists of the callers answered last; whoever is still on them is woken when the loop ends, also by unwinding.
struct Woken(Vec<Arc<WakeList>>);

impl Drop for Woken {
    fn drop(&mut self) {
        wake_rest(&mut self.0);
    }
}

fn wake_rest(woken: &mut Vec<Arc<WakeList>>) {
    woken.drain(..).for_each(|list| list.wake_all());
}

impl<J, A> std::fmt::Debug for Handoff<J, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handoff").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// The queue, the waiting line, and who sleeps on them.
pub(crate) struct Handoff<J, A> {
    shared: Mutex<Shared<J, A>>,
    /// The committer waits here for work.
    work: Condvar,
    /// The keeper of deadlines waits here for somebody to join the line.
    line: Condvar,
    bounds: Bounds,
}

struct Shared<J, A> {
    queue: Vec<Queued<J, A>>,
    queue_bytes: usize,
    /// In the order of their numbers; whoever expired or left has no job any more.
    waiting: VecDeque<Waiter<J, A>>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Of those that wait still.
    waiting_bytes: usize,
    next_waiter: u64,
    committer_sleeps: bool,
    nudged: bool,
    closed: bool,
    last_batch: (usize, Duration),
}

struct Waiter<J, A> {
    number: u64,
    bytes: usize,
    deadline: Instant,
    queued: Option<Queued<J, A>>,
}

/// A job on its way to the committer, with the answer that is owed for it.
pub(crate) struct Queued<J, A> {
    pub(crate) job: J,
    owed: Owed<A>,
}

impl<J, A> Handoff<J, A> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let shared = Shared {
            queue: Vec::new(),
            queue_bytes: 0,
            waiting: VecDeque::new(),
            deadlines: BTreeSet::new(),
            waiting_bytes: 0,
            next_waiter: 0,
            committer_sleeps: false,
            nudged: false,
            closed: false,
            last_batch: (1, Duration::from_millis(1)),
        };
        Self { shared: Mutex::new(shared), work: Condvar::new(), line: Condvar::new(), bounds }
    }

    /// Hands in a job of `bytes`; waits for room, if need be, until `deadline` (asked for only then). Never blocks: the ticket does the waiting.
    pub(crate) fn submit(
        this: &Arc<Self>,
        job: J,
        bytes: usize,
        deadline: impl FnOnce() -> Instant,
    ) -> Ticket<J, A> {
        let slot = Arc::new(Slot::new());
        let queued = Queued { job, owed: Owed::new(&slot) };
        let mut shared = lock(&this.shared);
        let mut place = None;
        if shared.closed {
            drop(shared);
            queued.owed.complete(Reply::Closed);
        } else if shared.deadlines.is_empty() && shared.has_room(bytes, &this.bounds) {
            shared.queue_bytes += bytes;
            shared.queue.push(queued);
            let asleep = shared.committer_sleeps;
            drop(shared);
            if asleep {
                this.work.notify_one();
            }
        } else if shared.line_has_room(bytes, &this.bounds) {
            shared.waiting_bytes += bytes;
            let (number, deadline) = (shared.next_waiter, deadline());
            shared.next_waiter += 1;
            shared.deadlines.insert((deadline, number));
            shared.waiting.push_back(Waiter { number, bytes, deadline, queued: Some(queued) });
            drop(shared);
            this.line.notify_one();
            place = Some((Arc::clone(this), number));
        } else {
            let retry_after = shared.retry_after();
            drop(shared);
            queued.owed.complete(Reply::Overloaded { retry_after });
        }
        Ticket::new(slot, place)
    }

    /// Swaps the queue into `batch`, which is empty; waits while there is nothing. False: closed, and nothing left. The batch
    /// stays empty when the committer was nudged.
    ///
    /// Wakes what is left on `woken`, the previous batch's lists, before it sleeps for long.
    fn next_batch(&self, batch: &mut Vec<Queued<J, A>>, woken: &mut Vec<Arc<WakeList>>) -> bool {
        let mut shared = lock(&self.shared);
        let mut patient = true;
        while shared.queue.is_empty() {
            if shared.closed {
                return false;
            }
            if std::mem::take(&mut shared.nudged) {
                return true;
            }
            shared = if woken.is_empty() {
                self.sleep(shared, None)
            } else if std::mem::take(&mut patient) && woken.iter().any(|list| list.is_pending()) {
                self.sleep(shared, Some(PATIENCE))
            } else {
                drop(shared);
                wake_rest(woken);
                lock(&self.shared)
            };
        }
        std::mem::swap(&mut shared.queue, batch);
        shared.queue_bytes = 0;
        shared.move_up(&self.bounds);
        if shared.closed {
            self.line.notify_all();
        }
        true
    }

    /// Sleeps until there is a job, the hand-off is closed, or the time is up; may wake for nothing.
    fn sleep<'a>(
        &'a self,
        mut shared: MutexGuard<'a, Shared<J, A>>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Shared<J, A>> {
        shared.committer_sleeps = true;
        let mut shared = match time {
            Some(time) => wait_timeout(&self.work, shared, time),
            None => self.work.wait(shared).unwrap_or_else(std::sync::PoisonError::into_inner),
        };
        shared.committer_sleeps = false;
        shared
    }

    /// Has the committer [tend](Stages::tend) to its own affairs, if it has no job; never waits.
    pub(crate) fn nudge(&self) {
        let mut shared = lock(&self.shared);
        shared.nudged = true;
        let asleep = shared.committer_sleeps;
        drop(shared);
        if asleep {
            self.work.notify_one();
        }
    }

    fn note_batch(&self, jobs: usize, took: Duration) {
        lock(&self.shared).last_batch = (jobs, took);
    }

    /// Refuses whoever in the line has a deadline up to `now`; returns the earliest one left.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut shared = lock(&self.shared);
        let retry_after = shared.retry_after();
        while let Some(&(deadline, number)) = shared.deadlines.first()
            && deadline <= now
        {
            expired.extend(shared.leave_line(number));
        }
        let next = shared.deadlines.first().map(|(deadline, _)| *deadline);
        drop(shared);
        for queued in expired {
            queued.owed.complete(Reply::Overloaded { retry_after });
        }
        next
    }

    /// The keeper of deadlines: expires them as they come, until the hand-off is closed.
    #[cfg(not(steadfast_loom))]
    pub(crate) fn keep_deadlines(&self) {
        loop {
            let next = self.expire(Instant::now());
            let shared = lock(&self.shared);
            if shared.closed && shared.deadlines.is_empty() {
                return;
            }
            match next {
                _ if shared.deadlines.first().map(|(deadline, _)| *deadline) != next => {}
                Some(next) => {
                    let left = next.saturating_duration_since(Instant::now());
                    drop(self.line.wait_timeout(shared, left));
                }
                None => drop(self.line.wait(shared)),
            }
        }
    }

    /// Takes no more jobs. What is queued and who waits in line is still served.
    pub(crate) fn close(&self) {
        lock(&self.shared).closed = true;
        self.work.notify_all();
        self.line.notify_all();
    }

    /// Closes, and answers [`Reply::Lost`] to all that waits: the committer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        let mut shared = lock(&self.shared);
        let (queue, waiting) = (std::mem::take(&mut shared.queue), std::mem::take(&mut shared.waiting));
        shared.deadlines.clear();
        shared.waiting_bytes = 0;
        drop(shared);
        self.line.notify_all();
        // Dropping them answers; not under the lock.
        drop((queue, waiting));
    }

    /// Jobs in the queue and in the waiting line.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let shared = lock(&self.shared);
        (shared.queue.len(), shared.deadlines.len())
    }
}

#[cfg(not(steadfast_loom))]
fn wait_timeout<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, time).unwrap_or_else(std::sync::PoisonError::into_inner).0
}

/// loom has no time: any that is given is over at once.
#[cfg(steadfast_loom)]
fn wait_timeout<'a, T>(_: &Condvar, guard: MutexGuard<'a, T>, _: Duration) -> MutexGuard<'a, T> {
    guard
}

impl<J, A> Shared<J, A> {
    fn has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < bounds.jobs && self.queue_bytes.saturating_add(bytes) <= bounds.bytes)
    }

    fn line_has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        let waiting = self.deadlines.len();
        waiting < bounds.waiters
            && (waiting == 0 || self.waiting_bytes.saturating_add(bytes) <= bounds.waiting_bytes)
    }

    /// Lets the line into the queue as far as there is room.
    fn move_up(&mut self, bounds: &Bounds) {
        while let Some(first) = self.waiting.front() {
            if first.queued.is_some() && !self.has_room(first.bytes, bounds) {
                break;
            }
            let first = self.waiting.pop_front().expect("it was there");
            if let Some(queued) = first.queued {
                self.deadlines.remove(&(first.deadline, first.number));
                self.waiting_bytes -= first.bytes;
                self.queue_bytes += first.bytes;
                self.queue.push(queued);
            }
        }
    }

    /// Takes the job of waiter `number` out of the line, if it is still there.
    fn leave_line(&mut self, number: u64) -> Option<Queued<J, A>> {
        let at = self.waiting.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        let queued = self.waiting[at].queued.take()?;
        self.waiting_bytes -= self.waiting[at].bytes;
        self.deadlines.remove(&(self.waiting[at].deadline, number));
        // The place itself goes when it reaches the front, or when there are more such places than others.
        if self.waiting.len() > 2 * self.deadlines.len() + 64 || self.deadlines.is_empty() {
            self.waiting.retain(|waiter| waiter.queued.is_some());
        }
        Some(queued)
    }

    /// The time in which what waits now would be committed at the pace of the last batch.
    fn retry_after(&self) -> Duration {
        let (jobs, took) = self.last_batch;
        let waiting = self.queue.len() + self.deadlines.len();
        took.saturating_mul(waiting.div_ceil(jobs.max(1)).try_into().unwrap_or(u32::MAX))
            .clamp(Duration::from_millis(1), Duration::from_secs(5))
    }
}
