//! Seats: small numbers that no two living threads have at the same time.
//!
//! A thread takes the lowest free one when it first needs it and gives it back when it ends; the lock in between orders what the former owner wrote
//! before what the next one does. The few lowest ones have a stripe of their own in every breaker.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use crate::outcomes::SHARED;

/// Seats that are given out: as many as any breaker has stripes. Threads beyond have none.
const SEATS: u64 = 64;
const NOT_ASKED: usize = usize::MAX - 1;

/// Free seats, a bit each.
static FREE: Mutex<u64> = Mutex::new(u64::MAX);

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(NOT_ASKED) };
    static OWNED: Owned = const { Owned(Cell::new(None)) };
}

/// Gives the seat back when its thread ends.
struct Owned(Cell<Option<usize>>);

impl Drop for Owned {
    fn drop(&mut self) {
        // First the thread forgets it: what its other destructors count is shared.
        SEAT.set(SHARED);
        if let Some(seat) = self.0.get() {
            *FREE.lock().unwrap_or_else(PoisonError::into_inner) |= 1 << seat;
        }
    }
}

/// The thread's seat, or [`SHARED`].
#[inline]
pub(crate) fn seat() -> usize {
    match SEAT.get() {
        NOT_ASKED => take(),
        seat => seat,
    }
}

#[cold]
fn take() -> usize {
    let taken = OWNED.try_with(|owned| {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let lowest = u64::from(free.trailing_zeros());
        if lowest >= SEATS {
            return SHARED;
        }
        *free &= !(1 << lowest);
        owned.0.set(Some(lowest as usize));
        lowest as usize
    });
    let seat = taken.unwrap_or(SHARED);
    SEAT.set(seat);
    seat
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn living_threads_never_have_the_same_seat() {
        for _ in 0..20 {
            let all_sit = Arc::new(Barrier::new(80));
            let sit = |_| {
                let all_sit = Arc::clone(&all_sit);
                std::thread::spawn(move || {
                    let seat = seat();
                    all_sit.wait();
                    seat
                })
            };
            let threads: Vec<_> = (0..80).map(sit).collect();
            let seats: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let own: Vec<usize> = seats.into_iter().filter(|&seat| seat != SHARED).collect();
            assert!(own.len() > 32, "seats come back: {}", own.len());
            assert_eq!(own.iter().collect::<HashSet<_>>().len(), own.len(), "two threads in one seat");
        }
    }
}
