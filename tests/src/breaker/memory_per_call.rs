//! `breaker.memory_per_call`: what a call takes of memory: nothing.
//!
//! The load makes calls of every kind side by side; what is live afterwards is divided by them. Then, with nothing else going on, each kind is called in
//! rounds, and the allocations of its quietest round are counted: what other threads of the process allocate meanwhile can only add to a round, so one
//! without any is proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Polling, Poll, Waker};
use std::time::Duration;

use steadfast_breaker::{
    Breaker, CallError, Class, Config, Cost, Outcome, Period, Request, Scope, Settlement, State, SystemClock,
    Window,
};
use steadfast_stress::{
    Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally, Value, allocations,
};

use super::dependency::Injected;
use super::guard::Guard;

const CALLERS: usize = 16;
const OPERATIONS: u64 = 4_000;
const SMOKE_DIVISOR: u32 = 10;
/// Calls of each kind in an operation.
const EACH: u64 = 16;
const ROUNDS: usize = 30;
const ROUND: usize = 5_000;

/// Memory that calls take.
#[derive(Clone, Debug)]
pub struct MemoryPerCall<G> {
    guard: G,
}

impl<G: Guard> MemoryPerCall<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// Breakers in the states that calls of all kinds need.
#[derive(Debug)]
pub struct Kinds {
    by_calls: Breaker,
    by_time: Breaker,
    open: Breaker,
    rich: [Scope; 2],
    poor: [Scope; 1],
    calls: AtomicU64,
    live_before: u64,
}

/// A kind of call: its name, and one of it.
type Kind<G> = (&'static str, fn(&Kinds, &G));

impl<G: Guard> Scenario for MemoryPerCall<G> {
    type State = Kinds;

    fn name(&self) -> &'static str {
        "memory_per_call"
    }

    fn description(&self) -> &'static str {
        "calls of every kind: below 100 bytes each, and no allocation in steady state"
    }

    fn load(&self) -> Load {
        Load::users(CALLERS).each(OPERATIONS)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().operations(SMOKE_DIVISOR)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(CALLERS).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "success >= 100%",
            "timeouts <= 0%",
            "value bytes_per_call < 100B",
            "exactly allocations_per_round == 0",
            "rss_growth < 20MB",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Kinds, Failure> {
        let clock = Arc::new(SystemClock::default());
        let never = || Config { failure_percent: None, clock: clock.clone(), ..Config::default() };
        let time = Window::Time { length: Duration::from_secs(1), buckets: 10 };
        let by_time = Config { window: time, slow_call: Some(Duration::from_secs(1)), ..never() };
        let open = Breaker::new(self.guard.config(never()))?;
        open.set_state(State::ForcedOpen);
        let scope = |period, nano| Scope::builder("scope", clock.clone()).limit(period, nano);
        let rich = |period| scope(period, 1 << 52).limit(Period::Lifetime, 1 << 52).build();
        let sliding = Period::Sliding(Duration::from_secs(1));
        context.note("a round", format!("{ROUND} calls of one kind"));
        let kinds = Kinds {
            by_calls: Breaker::new(self.guard.config(never()))?,
            by_time: Breaker::new(self.guard.config(by_time))?,
            open,
            rich: [rich(Period::Hour)?, rich(sliding)?],
            poor: [scope(Period::Lifetime, 1).build()?],
            calls: AtomicU64::new(0),
            live_before: allocations::live_bytes().unwrap_or(0),
        };
        Ok(kinds)
    }

    async fn operation(&self, state: &Kinds, _: Call) -> Result<(), Failure> {
        let kinds = Self::kinds();
        for (_, one) in kinds {
            for _ in 0..EACH {
                one(state, &self.guard);
            }
        }
        state.calls.fetch_add(kinds.len() as u64 * EACH, Ordering::Relaxed);
        Ok(())
    }

    async fn check(&self, state: &Kinds, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let Some(live) = allocations::live_bytes() else {
            checks.holds("allocations are counted", false, "this program has no counting allocator");
            return Ok(());
        };
        let calls = state.calls.load(Ordering::Relaxed);
        let bytes = live.saturating_sub(state.live_before);
        checks.value("calls", calls);
        checks.value("bytes_per_call", Value::Bytes(bytes.div_ceil(calls.max(1))));
        let mut all = 0;
        for (name, one) in Self::kinds() {
            let least =
                (0..ROUNDS).map(|_| allocated(|| (0..ROUND).for_each(|_| one(state, &self.guard)))).min();
            let least = least.unwrap_or(u64::MAX);
            checks.exactly(format!("allocations of {ROUND} calls: {name}"), least, 0);
            all += least;
        }
        checks.value("allocations_per_round", all);
        checks.value("breaker_size", Value::Bytes(Breaker::BYTES as u64));
        Ok(())
    }
}

/// What is allocated in the process meanwhile.
fn allocated(run: impl FnOnce()) -> u64 {
    let before = allocations::count().unwrap_or(0);
    run();
    allocations::count().unwrap_or(u64::MAX) - before
}

impl<G: Guard> MemoryPerCall<G> {
    fn kinds() -> [Kind<G>; 8] {
        [
            ("by closure, well", |kinds, guard| drop(guard.call(&kinds.by_calls, || Ok(())))),
            ("by closure, failed", |kinds, guard| drop(guard.call::<()>(&kinds.by_calls, || Err(Injected)))),
            ("by closure, window of time, slow calls told", |kinds, guard| {
                let fails = kinds.calls.load(Ordering::Relaxed).is_multiple_of(2);
                drop(guard.call(&kinds.by_time, || if fails { Err(Injected) } else { Ok(()) }));
            }),
            ("awaited", |kinds, guard| {
                let call = guard.call_async(&kinds.by_calls, || std::future::ready(Ok(())));
                let mut call = std::pin::pin!(call);
                let polled: Poll<Result<(), CallError<Injected>>> =
                    call.as_mut().poll(&mut Polling::from_waker(Waker::noop()));
                drop(polled);
            }),
            ("by permit", |kinds, guard| {
                if let Ok(permit) = guard.acquire(&kinds.by_calls, &Request::default()) {
                    guard.settle(permit, Outcome::Success, Settlement::Unknown);
                }
            }),
            ("paid, two scopes of two limits", |kinds, guard| {
                let request = costing(&kinds.rich);
                if let Ok(mut permit) = guard.acquire(&kinds.by_calls, &request) {
                    permit.dispatched();
                    let _ = permit.charge(2_000);
                    guard.settle(permit, Outcome::Success, Settlement::Exact(0));
                }
            }),
            ("refused for money", |kinds, guard| {
                drop(guard.acquire(&kinds.by_calls, &costing(&kinds.poor)));
            }),
            ("refused by an open breaker", |kinds, guard| drop(guard.call(&kinds.open, || Ok(())))),
        ]
    }
}

fn costing(scopes: &[Scope]) -> Request<'_> {
    Request { cost: Cost::Nano(1_000), class: Class::Critical, scopes, ..Request::default() }
}
