//! What a breaker takes: nothing a call in steady state, and little for itself.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use steadfast_breaker::{
    Breaker, Config, Cost, Outcome, Period, Request, Scope, Settlement, SystemClock, Window,
};
use steadfast_testkit::allocations::measure;

/// Allocations of this thread while `run` runs.
fn allocations(run: impl FnOnce()) -> u64 {
    measure(run).1.allocations
}

/// What `make` makes, and the bytes that this thread has allocated for it and kept.
fn bytes<T>(make: impl FnOnce() -> T) -> (T, i64) {
    let (made, counted) = measure(make);
    (made, counted.bytes)
}

/// Without the allocator of `main.rs`, every count in this module is 0.
#[test]
fn allocations_are_counted() {
    assert_eq!((allocations(|| drop(black_box(Box::new(1)))), bytes(|| Box::new(1_u64)).1), (1, 8));
}

#[test]
fn a_call_in_steady_state_allocates_nothing() {
    let clock = Arc::new(SystemClock::default());
    let time = Window::Time { length: Duration::from_secs(1), buckets: 10 };
    for window in [Window::Calls(100), time] {
        let config = Config {
            window,
            failure_percent: None,
            slow_call: Some(Duration::from_secs(1)),
            ..Config::default()
        };
        let breaker = Breaker::new(config).unwrap();
        let limits = [Period::Hour, Period::Sliding(Duration::from_secs(1))];
        let scopes =
            limits.map(|period| Scope::builder("s", clock.clone()).limit(period, 1 << 50).build().unwrap());
        let round = |round: u64| {
            let _ = breaker.call(|| if round.is_multiple_of(3) { Err(()) } else { Ok(()) });
            let request = Request { cost: Cost::Nano(100), scopes: &scopes, ..Request::default() };
            let mut permit = breaker.try_acquire(&request).unwrap();
            permit.dispatched();
            let _ = permit.charge(10);
            permit.settle(Outcome::of(&Ok::<(), ()>(())), Settlement::Exact(90));
            let permit = breaker.try_acquire(&request).unwrap();
            drop(permit);
        };
        round(0);
        assert_eq!(allocations(|| (0..10_000).for_each(round)), 0, "{window:?}");
    }
}

#[test]
fn a_refusal_by_an_open_breaker_allocates_nothing() {
    let breaker = Breaker::new(Config::default()).unwrap();
    breaker.set_state(steadfast_breaker::State::Open);
    let refuse = || assert!(breaker.call(|| Ok::<(), ()>(())).is_err());
    refuse();
    assert_eq!(allocations(|| (0..1000).for_each(|_| refuse())), 0);
}

#[test]
fn a_breaker_takes_a_kibibyte_and_a_limit_a_quarter() {
    // The default as it is on two processors. The clock of all is made with the first one.
    Breaker::new(Config::default()).unwrap();
    let (_breaker, taken) = bytes(|| Breaker::new(Config { stripes: 3, ..Config::default() }).unwrap());
    println!("a breaker: {taken} bytes, {} of them itself", Breaker::BYTES);
    assert!(taken <= 1024, "{taken} bytes");
    let clock = Arc::new(SystemClock::default());
    let limits = [Period::Lifetime, Period::Hour, Period::Sliding(Duration::from_secs(1))];
    for period in limits {
        let make = |limits: usize| {
            let clock = clock.clone();
            bytes(move || {
                let all = (0..limits).fold(Scope::builder("s", clock), |scope, _| scope.limit(period, 1000));
                all.build().unwrap()
            })
            .1
        };
        let taken = make(4) - make(3);
        println!("a limit over {period:?}: {taken} bytes");
        assert!(taken <= 256, "{period:?}: {taken} bytes");
    }
}
