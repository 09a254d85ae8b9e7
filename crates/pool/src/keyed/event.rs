//! Something that happens once, and who waits for it.

use std::task::{Poll, Waker};

use crate::sync::{Arc, Mutex, lock};

/// Something that happens once: the end of a dial, of a connection, of waiting for any of them.
pub(crate) struct Event<F> {
    state: Mutex<Happening<F>>,
}

struct Happening<F> {
    happened: bool,
    failure: Option<F>,
    seats: Vec<Option<Waker>>,
    /// Seats that were left, to be taken again.
    free: Vec<usize>,
}

/// A place among those who wait for an event.
pub(crate) struct Seat(Option<usize>);

impl Seat {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl<F: Clone> Event<F> {
    pub(crate) fn new() -> Arc<Self> {
        let state = Happening { happened: false, failure: None, seats: Vec::new(), free: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// It happened, with a failure or without. Only the first time counts.
    pub(crate) fn happen(&self, failure: Option<F>) {
        let seats = {
            let mut state = lock(&self.state);
            if state.happened {
                return;
            }
            state.happened = true;
            state.failure = failure;
            std::mem::take(&mut state.seats)
        };
        seats.into_iter().flatten().for_each(Waker::wake);
    }

    /// What happened, or `waker` is kept in `seat`.
    pub(crate) fn poll(&self, seat: &mut Seat, waker: &Waker) -> Poll<Option<F>> {
        // Cloning may run anything, so not under the lock; the same for dropping the old one.
        let waker = waker.clone();
        let mut state = lock(&self.state);
        if state.happened {
            return Poll::Ready(state.failure.clone());
        }
        let at = seat.0.or_else(|| state.free.pop()).unwrap_or(state.seats.len());
        if at == state.seats.len() {
            state.seats.push(None);
        }
        seat.0 = Some(at);
        let old = state.seats[at].replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Gives a seat up.
    pub(crate) fn leave(&self, seat: &mut Seat) {
        let Some(at) = seat.0.take() else { return };
        let mut state = lock(&self.state);
        // What has happened has no seats any more.
        let Some(waker) = state.seats.get_mut(at).map(Option::take) else { return };
        state.free.push(at);
        drop(state);
        drop(waker);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.seats.len() - state.free.len().min(state.seats.len())
    }
}
