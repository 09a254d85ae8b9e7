//! `breaker.overhead_sync` and `breaker.overhead_async`: what a guarded call costs more than a bare one.
//!
//! An operation is one round: so many bare calls and so many guarded ones, every other round the other way round, so that a slow moment hits both alike. Told
//! are the median over the rounds of the difference, its spread, and its share of a call that takes a microsecond.

use std::future::Future;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_breaker::{Breaker, Config};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally, Value};

use super::dependency::Injected;
use super::guard::Guard;
use super::pool::Pool;

const ROUNDS: u64 = 1_000;
const SMOKE_DIVISOR: u32 = 10;
/// Calls of each kind in a round.
const CALLS: u64 = 10_000;
/// Rounds that are kept.
const ROUNDS_MAX: usize = 100_000;
/// What the overhead is told as a share of.
const A_CALL_NS: f64 = 1_000.0;

const OBJECTIVES: [&str; 3] = ["success >= 100%", "value overhead_p50 <= 100ns", "value overhead_p95 <= 1µs"];

/// Overhead of synchronous calls.
#[derive(Clone, Debug)]
pub struct OverheadSync<G> {
    guard: G,
}

/// Overhead of awaited calls.
#[derive(Clone, Debug)]
pub struct OverheadAsync<G> {
    guard: G,
}

impl<G: Guard> OverheadSync<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

impl<G: Guard> OverheadAsync<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker, one thread, and what rounds took.
#[derive(Debug)]
pub struct Comparing {
    breaker: Breaker,
    pool: Pool,
    rounds: Arc<Mutex<Rounds>>,
}

/// The last rounds, and how many there were.
#[derive(Debug, Default)]
struct Rounds {
    last: Vec<Round>,
    count: u64,
}

/// Nanoseconds a call.
#[derive(Clone, Copy, Debug)]
struct Round {
    bare: f64,
    guarded: f64,
}

impl Rounds {
    fn push(&mut self, round: Round) {
        let place = self.count as usize % ROUNDS_MAX;
        self.count += 1;
        if place == self.last.len() {
            self.last.push(round);
        } else {
            self.last[place] = round;
        }
    }
}

/// A call that does next to nothing, and can't be folded away.
#[inline]
fn work(number: u64) -> Result<u64, Injected> {
    let number = black_box(number);
    if number == u64::MAX { Err(Injected) } else { Ok(number + 1) }
}

fn ns_a_call(calls: impl FnOnce()) -> f64 {
    let started = Instant::now();
    calls();
    started.elapsed().as_nanos() as f64 / CALLS as f64
}

impl Comparing {
    fn new(guard: &impl Guard) -> Result<Self, Failure> {
        let breaker = Breaker::new(guard.config(Config::default()))?;
        Ok(Self { breaker, pool: Pool::new(1)?, rounds: Arc::default() })
    }

    /// Runs one round on a thread of its own: it takes a while, and nothing else is to run on it.
    async fn round(
        &self,
        number: u64,
        bare: impl Fn() + Send + 'static,
        guarded: impl Fn() + Send + 'static,
    ) -> Result<(), Failure> {
        let rounds = Arc::clone(&self.rounds);
        let job = move || {
            let round = if number.is_multiple_of(2) {
                let bare = ns_a_call(bare);
                Round { bare, guarded: ns_a_call(guarded) }
            } else {
                let guarded = ns_a_call(guarded);
                Round { bare: ns_a_call(bare), guarded }
            };
            rounds.lock().unwrap_or_else(PoisonError::into_inner).push(round);
        };
        self.pool.run(job).await
    }

    fn check(&self, tally: &Tally, checks: &mut Checks) {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let (stats, calls) = (self.breaker.stats(), rounds.count * CALLS);
        checks.holds("every round was measured", rounds.count >= tally.succeeded, rounds.count);
        let rounds = &rounds.last;
        checks.exactly("recorded successes, of the guarded calls", stats.success, calls);
        checks.exactly("all recorded calls", stats.total(), calls);
        if rounds.is_empty() {
            return;
        }
        let bare = Spread::of(rounds.iter().map(|round| round.bare));
        let guarded = Spread::of(rounds.iter().map(|round| round.guarded));
        let over = Spread::of(rounds.iter().map(|round| round.guarded - round.bare));
        checks.note("bare call", bare.told());
        checks.note("guarded call", guarded.told());
        checks.note("overhead", over.told());
        let percent = |ns: f64| 100.0 * ns / A_CALL_NS;
        let share = format!("{:.1} % ({:.1}–{:.1})", percent(over.p50), percent(over.p5), percent(over.p95));
        checks.note("overhead of a call of 1 µs", share);
        checks.value("overhead_p50", duration(over.p50));
        checks.value("overhead_p95", duration(over.p95));
        checks.value("bare_p50", duration(bare.p50));
        checks.value("guarded_p50", duration(guarded.p50));
        checks.value("overhead_share", Value::Share(over.p50 / A_CALL_NS));
        checks.value("guarded_to_bare", guarded.p50 / bare.p50);
    }
}

/// A median and what 90 % lie between.
#[derive(Clone, Copy, Debug)]
struct Spread {
    p5: f64,
    p50: f64,
    p95: f64,
}

impl Spread {
    /// Of one value at least.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
        Self { p5: at(0.05), p50: at(0.5), p95: at(0.95) }
    }

    fn told(&self) -> String {
        format!("{:.1} ns ({:.1}–{:.1})", self.p50, self.p5, self.p95)
    }
}

/// Never below zero, and rounded up.
fn duration(ns: f64) -> Duration {
    Duration::from_nanos(ns.max(0.0).ceil() as u64)
}

impl<G: Guard> Scenario for OverheadSync<G> {
    type State = Comparing;

    fn name(&self) -> &'static str {
        "overhead_sync"
    }

    fn description(&self) -> &'static str {
        "a bare call against a guarded one, in rounds that alternate"
    }

    fn load(&self) -> Load {
        Load::users(1).each(ROUNDS)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().operations(SMOKE_DIVISOR)
    }

    /// Two would measure each other.
    fn extreme(&self) -> Load {
        Load::users(1).each(10 * ROUNDS)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(1).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        OBJECTIVES.to_vec()
    }

    async fn set_up(&self, _: &Context) -> Result<Comparing, Failure> {
        Comparing::new(&self.guard)
    }

    async fn operation(&self, state: &Comparing, call: Call) -> Result<(), Failure> {
        let (guard, breaker) = (self.guard.clone(), state.breaker.clone());
        let bare = || {
            for number in 0..CALLS {
                let _ = black_box(work(number));
            }
        };
        let guarded = move || {
            for number in 0..CALLS {
                let _ = black_box(guard.call(&breaker, || work(number)));
            }
        };
        state.round(call.number, bare, guarded).await
    }

    async fn check(&self, state: &Comparing, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.check(tally, checks);
        Ok(())
    }
}

impl<G: Guard> Scenario for OverheadAsync<G> {
    type State = Comparing;

    fn name(&self) -> &'static str {
        "overhead_async"
    }

    fn description(&self) -> &'static str {
        "a bare await against a guarded one, in rounds that alternate"
    }

    fn load(&self) -> Load {
        Load::users(1).each(ROUNDS)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().operations(SMOKE_DIVISOR)
    }

    /// Two would measure each other.
    fn extreme(&self) -> Load {
        Load::users(1).each(10 * ROUNDS)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(1).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        OBJECTIVES.to_vec()
    }

    async fn set_up(&self, _: &Context) -> Result<Comparing, Failure> {
        Comparing::new(&self.guard)
    }

    async fn operation(&self, state: &Comparing, call: Call) -> Result<(), Failure> {
        let (guard, breaker) = (self.guard.clone(), state.breaker.clone());
        // One future that awaits all calls of the round, and is never pending.
        let bare = || {
            at_once(async {
                for number in 0..CALLS {
                    let _ = black_box(std::future::ready(work(number)).await);
                }
            });
        };
        let guarded = move || {
            at_once(async {
                for number in 0..CALLS {
                    let call = guard.call_async(&breaker, || std::future::ready(work(number)));
                    let _ = black_box(call.await);
                }
            });
        };
        state.round(call.number, bare, guarded).await
    }

    async fn check(&self, state: &Comparing, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.check(tally, checks);
        Ok(())
    }
}

/// Runs a future that never waits.
fn at_once(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let polled = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_ready(), "nothing in it waits");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_told_in_order() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!((spread.p5, spread.p50, spread.p95), (5.0, 50.0, 95.0));
        assert_eq!(duration(-1.5), Duration::ZERO);
    }
}
