//! A tower layer (feature `tower`).
//!
//! The circuit is looked at before the inner service's readiness: an open breaker answers at once, whatever the inner service is waiting for. The
//! call goes to the very service that was made ready.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::Breaker;
use crate::ledger::Settlement;
use crate::permit::{Outcome, Permit};
use crate::request::{CallError, Rejected, Request};

/// Guards services by a breaker.
#[derive(Clone, Debug)]
pub struct BreakerLayer<J = fn()> {
    breaker: Breaker,
    judge: J,
}

impl BreakerLayer {
    /// Guards by `breaker`; `Err` is a failure, `Ok` a success.
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, judge: || () }
    }
}

/// Says what a service's answer means.
pub trait Judge<T, E> {
    /// What it means for the dependency's health.
    fn judge(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E> Judge<T, E> for fn() {
    fn judge(&self, result: &Result<T, E>) -> Outcome {
        Outcome::of(result)
    }
}

/// A function that says what an answer means.
#[derive(Clone, Copy, Debug)]
pub struct JudgeBy<F>(F);

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Judge<T, E> for JudgeBy<F> {
    fn judge(&self, result: &Result<T, E>) -> Outcome {
        (self.0)(result)
    }
}

impl<F> BreakerLayer<JudgeBy<F>> {
    /// Guards by `breaker`; `judge` says what an answer means.
    pub fn judged(breaker: Breaker, judge: F) -> Self {
        Self { breaker, judge: JudgeBy(judge) }
    }
}

impl<S, J: Clone> Layer<S> for BreakerLayer<J> {
    type Service = BreakerService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService { inner, breaker: self.breaker.clone(), judge: self.judge.clone(), refused: None }
    }
}

/// A guarded service.
#[derive(Clone, Debug)]
pub struct BreakerService<S, J = fn()> {
    inner: S,
    breaker: Breaker,
    judge: J,
    /// Why the next call is refused: the inner service wasn't made ready.
    refused: Option<Rejected>,
}

impl<S, J, R> Service<R> for BreakerService<S, J>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.refused = self.breaker.would_refuse();
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(context).map_err(CallError::Failed)
    }

    fn call(&mut self, request: R) -> Self::Future {
        if let Some(rejected) = self.refused.take() {
            // Even if the breaker would let it through by now: the inner service isn't ready.
            self.breaker.count_refusal(&rejected);
            return Box::pin(std::future::ready(Err(rejected.into())));
        }
        let permit = match self.breaker.try_acquire_owned(&Request::default()) {
            Ok(permit) => CancelOnDrop(Some(permit)),
            Err(rejected) => return Box::pin(std::future::ready(Err(rejected.into()))),
        };
        // Called here, on the service that was made ready, not on a clone.
        let answer = self.inner.call(request);
        let judge = self.judge.clone();
        Box::pin(async move {
            let result = answer.await;
            permit.end(judge.judge(&result));
            result.map_err(CallError::Failed)
        })
    }
}

/// A future that is dropped cancels its call.
struct CancelOnDrop(Option<Permit<'static>>);

impl CancelOnDrop {
    fn end(mut self, outcome: Outcome) {
        if let Some(permit) = self.0.take() {
            permit.settle(outcome, Settlement::Unknown);
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take()
            && !std::thread::panicking()
        {
            permit.cancel();
        }
    }
}
