//! The answers' side of the hand-off: where an answer is stored, who is woken, what the caller
//! holds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Handoff;
use crate::sync::{Arc, Mutex, lock};

/// What a [`ResponseFuture`] resolves to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<A> {
    /// The committer's answer.
    Answer(A),
    /// The queue stayed full until the deadline. The job was not and will not be carried out.
    Overloaded {
        /// An estimate of when the queue has space.
        retry_after: Duration,
    },
    /// The hand-off was closed before the job was queued; it was not carried out.
    Closed,
    /// The committer is gone without an answer; the job may or may not have been carried out.
    Lost,
}

/// The duty to answer one job. Dropped, it answers [`Reply::Lost`].
pub(super) struct Responder<A>(Option<Arc<Slot<A>>>);

impl<A> Responder<A> {
    pub(super) fn new(slot: &Arc<Slot<A>>) -> Self {
        Self(Some(Arc::clone(slot)))
    }

    /// Stores the answer without waking anybody; returns the waker to call.
    fn complete(mut self, reply: Reply<A>, batch: Option<Arc<WakeList>>) -> Option<Waker> {
        self.0.take().expect("only this line takes it, and it consumes the duty").complete(reply, batch)
    }

    /// Answers and wakes the caller.
    pub(super) fn respond(self, reply: Reply<A>) {
        if let Some(waker) = self.complete(reply, None) {
            waker.wake();
        }
    }
}

impl<A> Drop for Responder<A> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take()
            && let Some(waker) = slot.complete(Reply::Lost, None)
        {
            waker.wake();
        }
    }
}

/// The place of one job's answer.
pub(super) struct Slot<A> {
    state: Mutex<SlotState<A>>,
}

enum SlotState<A> {
    /// No answer yet; the waker to call.
    Pending(Option<Waker>),
    /// The answer, and the wakers of the rest of its batch.
    Done(Reply<A>, Option<Arc<WakeList>>),
    /// The answer was taken, or the future was dropped.
    Over,
}

impl<A> Slot<A> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(SlotState::Pending(None)) }
    }

    /// Stores the answer; returns the waker to call.
    fn complete(&self, reply: Reply<A>, batch: Option<Arc<WakeList>>) -> Option<Waker> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, SlotState::Over) {
            SlotState::Pending(waker) => {
                *state = SlotState::Done(reply, batch);
                waker
            }
            // The future was dropped.
            SlotState::Over => None,
            SlotState::Done(..) => unreachable!("a slot is answered once: its job is taken once"),
        }
    }
}

/// The wakers of one group of a batch's callers that are not called yet.
pub(super) struct WakeList(Mutex<Vec<Waker>>);

impl WakeList {
    /// Stores the answers, then wakes the first caller; the others stay on the list.
    pub(super) fn answer<A>(answers: impl ExactSizeIterator<Item = (Responder<A>, A)>) -> Arc<Self> {
        let list = Arc::new(Self(Mutex::new(Vec::new())));
        let mut wakers = Vec::with_capacity(answers.len());
        for (responder, answer) in answers {
            wakers.extend(responder.complete(Reply::Answer(answer), Some(Arc::clone(&list))));
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
/// Dropped while its job is in the overflow queue, the job never happens; dropped later, it happens
/// all the same.
pub(crate) struct ResponseFuture<J, A> {
    slot: Arc<Slot<A>>,
    /// The number in the overflow queue, for a job that did not get into the queue at once.
    place: Option<(Arc<Handoff<J, A>>, u64)>,
}

impl<J, A> ResponseFuture<J, A> {
    pub(super) fn new(slot: Arc<Slot<A>>, place: Option<(Arc<Handoff<J, A>>, u64)>) -> Self {
        Self { slot, place }
    }
}

impl<J, A> Future for ResponseFuture<J, A> {
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
            SlotState::Over => panic!("a ResponseFuture was polled after it was ready"),
        }
    }
}

impl<J, A> Drop for ResponseFuture<J, A> {
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
                    let left = lock(&handoff.shared).leave_overflow(*number);
                    drop(left);
                }
            }
        }
    }
}
