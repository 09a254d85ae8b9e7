//! The hand-off between many callers and the one committer: queue → batch → publish → answer.
//!
//! # Protocol
//! A caller [submits](Handoff::submit) a job and holds a [`ResponseFuture`]. The job goes
//! - into the **queue**, if it has space and no other job waits for space: from here on the job is
//!   carried out, whether or not the caller stays;
//! - else into the **overflow queue**, first in, first out, until the committer makes space, the
//!   deadline passes ([`Handoff::expire`]) or the future is dropped; in the latter two cases it
//!   never happens;
//! - else, if the overflow queue is full as well, nowhere: the future is ready at once.
//!
//! The committer ([`serve`]) swaps the whole queue for an empty one under one short lock and
//! promotes jobs from the overflow queue. For each part of the batch that its stages persist
//! together it applies the jobs in order, publishes once, and only then answers.
//!
//! **Waking.** Waking a task from outside its runtime costs several times as much as from inside.
//! Therefore the callers of a batch form a few groups, each with one list of wakers. The committer
//! wakes one caller of each group; whichever future of the group is polled or dropped first wakes
//! the rest, from inside the runtime. If that task is kept from running, the committer wakes the
//! rest itself: before it answers the next batch, or after it has been idle for [`GRACE`].
//!
//! # Invariants (modelled in `handoff/model.rs`)
//! 1. Each job in the queue is answered exactly once: by the committer or, if the committer
//!    unwinds, by the drop of its [`Responder`] (with [`Reply::Lost`]). So nobody waits for ever.
//! 2. An answer is stored after `persist` and `publish` of its job returned.
//! 3. The committer or a future of the same group calls the waker of every stored answer.
//! 4. Jobs are applied in the order of their submission; none overtakes the overflow queue.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};
use answers::{Responder, Slot, WakeList};

pub(crate) use answers::{Reply, ResponseFuture};

mod answers;
#[cfg(all(test, steadfast_loom))]
mod model;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

/// How long an idle committer waits for a batch's own tasks to wake each other.
const GRACE: Duration = Duration::from_micros(100);

/// How many callers share one list of wakers at most.
const WAKE_GROUP: usize = 32;
/// How many lists there are at least, so that two threads of a runtime share the work; in a model
/// one, to have it shared.
const WAKE_LISTS: usize = if cfg!(steadfast_loom) { 1 } else { 2 };

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Jobs in the queue.
    pub(crate) jobs: usize,
    /// Bytes of the jobs in the queue; a larger job is accepted while the queue is empty.
    pub(crate) bytes: usize,
    /// Jobs in the overflow queue.
    pub(crate) waiters: usize,
    /// Bytes of the jobs in the overflow queue; a larger job is accepted while the overflow queue
    /// is empty.
    pub(crate) waiting_bytes: usize,
}

/// The stages of a commit, run by [`serve`] in the order: persist, apply each, publish, answer.
pub(crate) trait Stages {
    /// What callers submit.
    type Job;
    /// What they get.
    type Answer;

    /// Makes the first jobs durable together, one at least; returns how many. On an error none of
    /// the first so many took effect.
    fn persist(&mut self, jobs: &[Queued<Self::Job, Self::Answer>]) -> Result<usize, Refused<Self::Answer>>;

    /// Carries out a durable job on the next, unpublished value.
    fn apply(&mut self, job: Self::Job) -> Self::Answer;

    /// Lets readers see the next value.
    fn publish(&mut self);

    /// Called when the committer was [woken](Handoff::wake) without a job.
    fn maintain(&mut self);
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
            stages.maintain();
            continue;
        }
        let began = Instant::now();
        let count = queue.len();
        let mut batch = queue.drain(..);
        while !batch.as_slice().is_empty() {
            match stages.persist(batch.as_slice()) {
                Ok(durable) => {
                    for Queued { job, responder } in batch.by_ref().take(durable) {
                        answers.push((responder, stages.apply(job)));
                    }
                    stages.publish();
                }
                Err(refused) => {
                    for Queued { responder, .. } in batch.by_ref().take(refused.jobs) {
                        answers.push((responder, (refused.answer)()));
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

/// The lists of the callers answered last; whoever is still on them is woken when the loop ends,
/// also by unwinding.
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

/// The queue, the overflow queue, and who sleeps on them.
pub(crate) struct Handoff<J, A> {
    shared: Mutex<Shared<J, A>>,
    /// The committer waits here for work.
    work: Condvar,
    /// The deadline thread waits here for a job to join the overflow queue.
    overflow: Condvar,
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
    wake_requested: bool,
    closed: bool,
    last_batch: (usize, Duration),
}

struct Waiter<J, A> {
    number: u64,
    bytes: usize,
    deadline: Instant,
    queued: Option<Queued<J, A>>,
}

/// A job on its way to the committer, with the duty to answer it.
pub(crate) struct Queued<J, A> {
    pub(crate) job: J,
    responder: Responder<A>,
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
            wake_requested: false,
            closed: false,
            last_batch: (1, Duration::from_millis(1)),
        };
        Self { shared: Mutex::new(shared), work: Condvar::new(), overflow: Condvar::new(), bounds }
    }

    /// Submits a job of `bytes`, which waits for space until `deadline` (called only if it must
    /// wait). Never blocks: the future waits.
    pub(crate) fn submit(
        this: &Arc<Self>,
        job: J,
        bytes: usize,
        deadline: impl FnOnce() -> Instant,
    ) -> ResponseFuture<J, A> {
        let slot = Arc::new(Slot::new());
        let queued = Queued { job, responder: Responder::new(&slot) };
        let mut shared = lock(&this.shared);
        let mut place = None;
        if shared.closed {
            drop(shared);
            queued.responder.respond(Reply::Closed);
        } else if shared.deadlines.is_empty() && shared.has_room(bytes, &this.bounds) {
            shared.queue_bytes += bytes;
            shared.queue.push(queued);
            let asleep = shared.committer_sleeps;
            drop(shared);
            if asleep {
                this.work.notify_one();
            }
        } else if shared.overflow_has_room(bytes, &this.bounds) {
            shared.waiting_bytes += bytes;
            let (number, deadline) = (shared.next_waiter, deadline());
            shared.next_waiter += 1;
            shared.deadlines.insert((deadline, number));
            shared.waiting.push_back(Waiter { number, bytes, deadline, queued: Some(queued) });
            drop(shared);
            this.overflow.notify_one();
            place = Some((Arc::clone(this), number));
        } else {
            let retry_after = shared.retry_after();
            drop(shared);
            queued.responder.respond(Reply::Overloaded { retry_after });
        }
        ResponseFuture::new(slot, place)
    }

    /// Swaps the queue into `batch`, which is empty; waits while the queue is empty. Returns false
    /// when the hand-off is closed and nothing is left. The batch stays empty when somebody
    /// [woke](Self::wake) the committer.
    ///
    /// Wakes the callers left on `woken`, the previous batch's lists, before it sleeps for long.
    fn next_batch(&self, batch: &mut Vec<Queued<J, A>>, woken: &mut Vec<Arc<WakeList>>) -> bool {
        let mut shared = lock(&self.shared);
        let mut in_grace = true;
        while shared.queue.is_empty() {
            if shared.closed {
                return false;
            }
            if std::mem::take(&mut shared.wake_requested) {
                return true;
            }
            shared = if woken.is_empty() {
                self.sleep(shared, None)
            } else if std::mem::take(&mut in_grace) && woken.iter().any(|list| list.is_pending()) {
                self.sleep(shared, Some(GRACE))
            } else {
                drop(shared);
                wake_rest(woken);
                lock(&self.shared)
            };
        }
        std::mem::swap(&mut shared.queue, batch);
        shared.queue_bytes = 0;
        shared.promote(&self.bounds);
        if shared.closed {
            self.overflow.notify_all();
        }
        true
    }

    /// Sleeps until there is a job, the hand-off is closed, or the time is up; may wake for
    /// nothing.
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

    /// Has the committer call [`Stages::maintain`], if it has no job; never waits.
    pub(crate) fn wake(&self) {
        let mut shared = lock(&self.shared);
        shared.wake_requested = true;
        let asleep = shared.committer_sleeps;
        drop(shared);
        if asleep {
            self.work.notify_one();
        }
    }

    fn note_batch(&self, jobs: usize, took: Duration) {
        lock(&self.shared).last_batch = (jobs, took);
    }

    /// Refuses the jobs in the overflow queue whose deadline is `now` or earlier; returns the
    /// earliest deadline left.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut shared = lock(&self.shared);
        let retry_after = shared.retry_after();
        while let Some(&(deadline, number)) = shared.deadlines.first()
            && deadline <= now
        {
            expired.extend(shared.leave_overflow(number));
        }
        let next = shared.deadlines.first().map(|(deadline, _)| *deadline);
        drop(shared);
        for queued in expired {
            queued.responder.respond(Reply::Overloaded { retry_after });
        }
        next
    }

    /// Runs the deadline thread: expires deadlines as they pass, until the hand-off is closed.
    #[cfg(not(steadfast_loom))]
    pub(crate) fn run_deadlines(&self) {
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
                    drop(self.overflow.wait_timeout(shared, left));
                }
                None => drop(self.overflow.wait(shared)),
            }
        }
    }

    /// Accepts no more jobs. Jobs in the queue and in the overflow queue are still served.
    pub(crate) fn close(&self) {
        lock(&self.shared).closed = true;
        self.work.notify_all();
        self.overflow.notify_all();
    }

    /// Closes, and answers [`Reply::Lost`] to all that waits: the committer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        let mut shared = lock(&self.shared);
        let (queue, waiting) = (std::mem::take(&mut shared.queue), std::mem::take(&mut shared.waiting));
        shared.deadlines.clear();
        shared.waiting_bytes = 0;
        drop(shared);
        self.overflow.notify_all();
        // Dropping them answers; not under the lock.
        drop((queue, waiting));
    }

    /// Returns the numbers of jobs in the queue and in the overflow queue.
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

    fn overflow_has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        let waiting = self.deadlines.len();
        waiting < bounds.waiters
            && (waiting == 0 || self.waiting_bytes.saturating_add(bytes) <= bounds.waiting_bytes)
    }

    /// Moves jobs from the overflow queue into the queue, as far as it has space.
    fn promote(&mut self, bounds: &Bounds) {
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

    /// Takes the job of waiter `number` out of the overflow queue, if it is still there.
    fn leave_overflow(&mut self, number: u64) -> Option<Queued<J, A>> {
        let at = self.waiting.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        let queued = self.waiting[at].queued.take()?;
        self.waiting_bytes -= self.waiting[at].bytes;
        self.deadlines.remove(&(self.waiting[at].deadline, number));
        // The place itself goes when it reaches the front, or when there are more such places than
        // others.
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
