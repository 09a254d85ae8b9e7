//! Many calls at once, with a bound: for set-up and checks, which the engine's load doesn't do.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use steadfast_stress::Failure;
use tokio::task::{JoinError, JoinSet};

/// Calls `call` with each number below `count`, at most `width` at a time, and returns the results in the order of the
/// numbers.
///
/// # Errors
/// The first failure that is seen; calls still under way are dropped.
///
/// # Panics
/// If a call panics, with its panic.
///
/// # Cancel safety
/// Dropped, it drops the calls that are under way.
pub(crate) async fn at_once<T, F, Called>(count: usize, width: usize, call: F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Fn(usize) -> Called + Send + Sync + 'static,
    Called: Future<Output = Result<T, Failure>> + Send,
{
    let shared = Arc::new((call, AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..width.min(count) {
        let shared = Arc::clone(&shared);
        workers.spawn(async move {
            let (call, next) = &*shared;
            let mut done = Vec::new();
            loop {
                // Relaxed: only that each number is taken once matters, which the read-modify-write gives by itself.
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Failure>(done);
                }
                done.push((number, call(number).await?));
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(joined) = workers.join_next().await {
        all.append(&mut joined.unwrap_or_else(|error| panic_again(error))?);
    }
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// Goes on with the panic of a task that nobody cancels.
pub(crate) fn panic_again(error: JoinError) -> ! {
    resume_unwind(error.into_panic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_are_in_order_and_the_width_is_kept() {
        let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let seen = Arc::clone(&running);
        let call = move |number: usize| {
            let seen = Arc::clone(&seen);
            async move {
                let now = seen.0.fetch_add(1, Ordering::Relaxed) + 1;
                seen.1.fetch_max(now, Ordering::Relaxed);
                tokio::task::yield_now().await;
                seen.0.fetch_sub(1, Ordering::Relaxed);
                Ok(number * 2)
            }
        };
        let results = at_once(100, 7, call).await.unwrap();
        assert_eq!(results, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(running.1.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn a_failure_ends_it() {
        let call = |number: usize| async move {
            if number == 3 { Err(Failure::new("planted", number)) } else { Ok(()) }
        };
        assert_eq!(at_once(10, 2, call).await.unwrap_err().message(), "3");
    }
}
