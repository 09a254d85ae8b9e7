//! One guarded call of an operation: its timeout, its panic, its outcome.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::failure::Failure;
use crate::scenario::Call;

/// What a load can be put on: a scenario with its state, or nothing at all when the generator calibrates itself.
pub(crate) trait Target: Send + Sync + 'static {
    fn call(&self, call: Call) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A target that does nothing, to measure the generator alone.
pub(crate) struct NullTarget;

impl Target for NullTarget {
    async fn call(&self, call: Call) -> Result<(), Failure> {
        std::hint::black_box(call);
        Ok(())
    }
}

/// How one operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Success,
    Error(Failure),
    Timeout,
    Panic(String),
}

/// Calls `target` once, for at most `timeout`, and survives its panic.
pub(crate) async fn guarded<T: Target>(target: &T, call: Call, timeout: Duration) -> Outcome {
    // The call itself is inside, too: it may panic before it returns a future.
    let operation = async { target.call(call).await };
    match tokio::time::timeout(timeout, catching_panic(operation)).await {
        Ok(Ok(Ok(()))) => Outcome::Success,
        Ok(Ok(Err(failure))) => Outcome::Error(failure),
        Ok(Err(panic)) => Outcome::Panic(panic),
        Err(_elapsed) => Outcome::Timeout,
    }
}

/// The future's output, or the message of the panic that ended it.
pub(crate) async fn catching_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Unwind safety: the future is dropped after a panic and never polled again. What it shares with others is
        // the target's, and a panic fails the scenario whatever it left behind.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(panic_message(payload.as_ref()))),
        }
    })
    .await
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
