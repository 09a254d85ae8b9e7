//! The tower layer: circuit before readiness, and the call on the service that was made ready.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use steadfast_breaker::{Breaker, BreakerLayer, CallError, Config, Outcome, State};
use tower_layer::Layer;
use tower_service::Service;

/// Only the clone that was made ready may be called.
#[derive(Default)]
struct Inner {
    is_ready: bool,
    asked: Arc<AtomicU64>,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self { is_ready: false, asked: Arc::clone(&self.asked) }
    }
}

impl Service<u16> for Inner {
    type Response = u16;
    type Error = ();
    type Future = std::future::Ready<Result<u16, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u16) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "not the service that was made ready");
        std::future::ready(Ok(request))
    }
}

fn poll<F: Future + Unpin>(mut future: F) -> F::Output {
    match std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn an_open_breaker_answers_before_the_inner_service_is_asked() {
    let breaker = Breaker::new(Config { consecutive_failures: Some(2), ..Config::default() }).unwrap();
    let judge =
        |result: &Result<u16, ()>| if *result == Ok(503) { Outcome::Failure } else { Outcome::of(result) };
    let inner = Inner::default();
    let asked = Arc::clone(&inner.asked);
    let mut service = BreakerLayer::judged(breaker.clone(), judge).layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    for status in [200, 503, 503] {
        assert!(service.poll_ready(&mut cx).is_ready());
        assert_eq!(poll(service.call(status)), Ok(status));
    }
    assert_eq!((breaker.state(), asked.load(Ordering::Relaxed)), (State::Open, 3));
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(matches!(poll(service.call(200)), Err(CallError::Rejected(_))));
    assert_eq!((asked.load(Ordering::Relaxed), breaker.stats().rejected_open), (3, 1));
}

#[test]
fn errors_are_failures_by_default_and_a_dropped_call_is_cancelled() {
    let breaker = Breaker::new(Config::default()).unwrap();
    let mut service = BreakerLayer::new(breaker.clone()).layer(Inner::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert_eq!(poll(service.call(500)), Ok(500));
    assert!(service.poll_ready(&mut cx).is_ready());
    drop(service.call(200));
    let stats = breaker.stats();
    assert_eq!((stats.success, stats.cancelled, stats.outstanding), (1, 1, 0));
}
