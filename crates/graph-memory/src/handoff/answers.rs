//! The answers' side of the hand-off: where an answer is put down, who is woken, what the caller holds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Handoff;
use crate::sync::{Arc, Mutex, lock};

/// What a ticket comes back with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<A> {
    /// The committer's answer.
    Answer(A),
    /// No room until the deadline; the job was not and will not be carried out.
    Overloaded {
        /// An estimate of when there will be room.
        retry_after: Duration,
    },
    /// The hand-off was closed before the job was queued; it was not carried out.
    Closed,
    /// The committer is gone without an answer; the job may or may not have been carried out.
    Lost,
}

/// The duty to answer; fulfilled with [`Reply::Lost`] by dropping it.
pub(super) struct Owed<A>(Option<Arc<Slot<A>>>);

impl<A> Owed<A> {
    pub(super) fn new(slot: &Arc<Slot<A>>) -> Self {
        Self(Some(Arc::clone(slot)))
    }

    /// Puts the answer down without waking anybody; returns whom to wake.
    fn put(mut self, reply: Reply<A>, batch: Option<Arc<WakeList>>) -> Option<Waker> {
        self.0.take().expect("only this line takes it, and it consumes the duty").put(reply, batch)
    }

    /// Answers a single job and wakes its caller.
    pub(super) fn complete(self, reply: Reply<A>) {
        if let Some(waker) = self.put(reply, None) {
            waker.wake();
        }
    }
}

impl<A> Drop for Owed<A> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take()
            && let Some(waker) = slot.put(Reply::Lost, None)
        {
            waker.wake();
        }
    }
}

/// Where one job's answer is put down and picked up.
pub(super) struct Slot<A> {
    state: Mutex<SlotState<A>>,
}

enum SlotState<A> {
    /// No answer yet; whom to wake.
    Pending(Option<Waker>),
    /// The answer, and the wakers of the rest of its batch.
    Done(Reply<A>, Option<Arc<WakeList>>),
    /// The answer was picked up, or nobody wants it.
    Over,
}

impl<A> Slot<A> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(SlotState::Pending(None)) }
    }

    /// Puts the answer down; returns whom to wake.
    fn put(&self, reply: Reply<A>, batch: Option<Arc<WakeList>>) -> Option<Waker> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, SlotState::Over) {
            SlotState::Pending(waker) => {
                *state = SlotState::Done(reply, batch);
                waker
            }
            // The ticket is gone: nobody wants the answer.
            SlotState::Over => None,
            SlotState::Done(..) => unreachable!("a slot is answered once: its job is taken once"),
        }
    }
}

/// The wakers of one group of a batch's callers that nobody has called yet.
pub(super) struct WakeList(Mutex<Vec<Waker>>);

impl WakeList {
    /// Puts down answers, then wakes the first caller; the others are left on the list.
    pub(super) fn answer<A>(answers: impl ExactSizeIterator<Item = (Owed<A>, A)>) -> Arc<Self> {
        let list = Arc::new(Self(Mutex::new(Vec::new())));
        let mut wakers = Vec::with_capacity(answers.len());
        for (owed, answer) in answers {
            wakers.extend(owed.put(Reply::Answer(answer), Some(Arc::clone(&list))));
        }
        let first = wakers.pop();
        // Before the first is woken: it is the one to find the list.
        *lock(&list.0) = wakers;
        if let Some(first) = first {
            first.wake();
        }
        list
    }

    pub(super) fn is_pending(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *lock(&self.0));
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The caller's side of one job.
///
/// # Cancel safety
/// Dropped while its job waits in line, the job never happens; dropped later, it happens all the same.
pub(crate) struct Ticket<J, A> {
    slot: Arc<Slot<A>>,
    /// The number in the waiting line, for a job that did not get into the queue at once.
    place: Option<(Arc<Handoff<J, A>>, u64)>,
}

impl<J, A> Ticket<J, A> {
    pub(super) fn new(slot: Arc<Slot<A>>, place: Option<(Arc<Handoff<J, A>>, u64)>) -> Self {
        Self { slot, place }
    }
}

impl<J, A> Future for Ticket<J, A> {
    type Output = Reply<A>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply<A>> {
        let mut state = lock(&self.slot.state);
        match &mut *state {
            SlotState::Pending(waker) => {
                match waker {
                    Some(known) => known.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            SlotState::Done(..) => {
                let SlotState::Done(reply, batch) = std::mem::replace(&mut *state, SlotState::Over) else {
                    unreachable!("it was done a line ago, under the same lock");
                };
                drop(state);
                if let Some(batch) = batch {
                    batch.wake_all();
                }
                Poll::Ready(reply)
            }
            SlotState::Over => panic!("a ticket was polled after it was ready"),
        }
    }
}

impl<J, A> Drop for Ticket<J, A> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.slot.state), SlotState::Over);
        match before {
            SlotState::Over => {}
            SlotState::Done(_, batch) => {
                if let Some(batch) = batch {
                    batch.wake_all();
                }
            }
            SlotState::Pending(_) => {
                if let Some((handoff, number)) = &self.place {
                    // Outside of the lock: dropping a job may run foreign code.
                    let left = lock(&handoff.shared).leave_line(*number);
                    drop(left);
                }
            }
        }
    }
}
