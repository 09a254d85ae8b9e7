//! Counts the panics of the whole process.
//!
//! A panic in a task that the target spawned never reaches the operation; the runtime swallows it. Only the panic
//! hook sees every one.

use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// `Relaxed`: a count, compared before and after a scenario's threads were joined.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts from now on, and passes each panic on to the hook that was there.
pub(crate) fn count_from_now_on() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            previous(info);
        }));
    });
}

/// All so far; always 0 unless they are being counted.
pub(crate) fn so_far() -> u64 {
    PANICS.load(Ordering::Relaxed)
}
