//! `breaker.leak_long_running`: half a minute of calls without a rest, and nothing stays behind.
//!
//! All that a service does with breakers goes on at once: calls by closure and by permit, awaited ones that are dropped halfway, budgets that roll over and
//! refuse, breakers that open and close, receipts, and breakers by key that come and are evicted. The trend of live bytes and of resident memory is
//! judged over all samples, not by two moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Polling, Waker};
use std::time::Duration;

use steadfast_breaker::{
    Breaker, Class, Config, Cost, ManualClock, Outcome, Period, Registry, Request, Scope, Settlement, State,
    Window,
};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Rng, Scenario, Tally, Value};

use super::dependency::Injected;
use super::guard::Guard;

const CALLERS: usize = 8;
const DURATION: Duration = Duration::from_secs(30);
/// A trend of memory wants twenty samples after the warm-up, four a second.
const SMOKE_DIVISOR: u32 = 4;
/// Rounds of an operation, in each of which everything is done once.
const ROUNDS: u64 = 64;
/// Breakers by key that there may be at a time, and their keys.
const KEYED_MAX: usize = 64;
const KEYS: u64 = 1_000;
const LIMIT_NANO: u64 = 1_000_000;

/// Continuous calls.
#[derive(Clone, Debug)]
pub struct LeakLongRunning<G> {
    guard: G,
}

impl<G: Guard> LeakLongRunning<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// Breakers, budgets, and a clock that the calls move on.
#[derive(Debug)]
pub struct Continuous {
    breaker: Breaker,
    keyed: Registry<u64>,
    scopes: [Scope; 2],
    clock: Arc<ManualClock>,
    rounds: AtomicU64,
}

impl<G: Guard> Scenario for LeakLongRunning<G> {
    type State = Continuous;

    fn name(&self) -> &'static str {
        "leak_long_running"
    }

    fn description(&self) -> &'static str {
        "half a minute of calls of all kinds; nothing is left behind, by the trend"
    }

    fn load(&self) -> Load {
        Load::users(CALLERS).lasting(DURATION)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(SMOKE_DIVISOR)
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "success >= 100%",
            "timeouts <= 0%",
            "rss_growth < 20MB",
            "leak live_bytes <= 1B/op",
            "leak rss_bytes <= 10B/op",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Continuous, Failure> {
        let clock = Arc::new(ManualClock::new(0));
        let config = self.guard.config(Config {
            window: Window::Time { length: Duration::from_secs(60), buckets: 12 },
            failure_percent: Some(90.0),
            clock: clock.clone(),
            ..Config::default()
        });
        let scope = |name, periods: [Period; 2]| {
            let builder = Scope::builder(name, clock.clone());
            periods.into_iter().fold(builder, |builder, period| builder.limit(period, LIMIT_NANO)).build()
        };
        let scopes = [
            scope("tenant", [Period::Hour, Period::Day])?,
            scope("agent", [Period::Month, Period::Sliding(Duration::from_secs(600))])?,
        ];
        let keyed_config = Config { clock: clock.clone(), events_kept: 0, ..Config::default() };
        // Fails here, if it can fail, and not when the first key is asked for.
        Breaker::new(keyed_config.clone())?;
        let keyed = Registry::new(move |_: &u64| Breaker::new(keyed_config.clone()).expect("it was checked"));
        context.note("an operation", format!("{ROUNDS} rounds of all kinds of calls"));
        Ok(Continuous { breaker: Breaker::new(config)?, keyed, scopes, clock, rounds: AtomicU64::new(0) })
    }

    async fn operation(&self, state: &Continuous, call: Call) -> Result<(), Failure> {
        let mut rng = call.rng();
        for _ in 0..ROUNDS {
            state.round(&self.guard, &mut rng);
        }
        Ok(())
    }

    async fn check(&self, state: &Continuous, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let stats = state.breaker.stats();
        checks.exactly("permits that haven't ended", stats.outstanding, 0);
        checks.exactly("money that is still held", stats.held_nano, 0);
        checks.holds("no scope holds anything", state.scopes.iter().all(Scope::is_at_rest), "");
        state.keyed.evict_idle();
        checks.exactly("breakers by key that nobody uses and that stay", state.keyed.len(), 0);
        checks.holds("budgets refused now and then", stats.rejected_budget > 0, stats.rejected_budget);
        checks.holds("the state changed now and then", stats.transitions > 0, stats.transitions);
        let calls = stats.total();
        checks.note("calls", format!("{calls}, {} changes of state", stats.transitions));
        checks.value("calls", calls);
        checks.value("call_rate", Value::PerSecond(calls as f64 / tally.elapsed.as_secs_f64()));
        Ok(())
    }
}

impl Continuous {
    fn round(&self, guard: &impl Guard, rng: &mut Rng) {
        // Relaxed: only that each round has a number of its own matters.
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        self.clock.advance(Duration::from_secs(1));
        let _ = guard.call(&self.breaker, || if rng.below(4) == 0 { Err(Injected) } else { Ok(()) });
        self.give_up(guard);
        self.pay(guard, rng);
        let keyed = self.keyed.get(&rng.below(KEYS));
        let _ = guard.call(&keyed, || Ok(()));
        drop(keyed);
        if number.is_multiple_of(16) && self.keyed.len() > KEYED_MAX {
            self.keyed.evict_idle();
        }
        if number.is_multiple_of(1_000) {
            self.breaker.set_state(State::ForcedOpen);
            let _ = guard.call(&self.breaker, || Ok(()));
            self.breaker.set_state(State::Closed);
        }
    }

    /// A call that is awaited, and dropped before it ends.
    fn give_up(&self, guard: &impl Guard) {
        let call = guard.call_async(&self.breaker, std::future::pending::<Result<(), Injected>>);
        let mut call = std::pin::pin!(call);
        let _ = call.as_mut().poll(&mut Polling::from_waker(Waker::noop()));
    }

    /// A call that costs, grows while it runs, and is corrected later.
    fn pay(&self, guard: &impl Guard, rng: &mut Rng) {
        let request = Request {
            cost: Cost::Nano(1 + rng.below(4_000)),
            class: Class::Critical,
            scopes: &self.scopes,
            ..Request::default()
        };
        let Ok(mut permit) = guard.acquire(&self.breaker, &request) else { return };
        permit.dispatched();
        let _ = permit.charge(10);
        let receipt = rng.below(8).eq(&0).then(|| permit.receipt(&self.breaker));
        guard.settle(permit, Outcome::Success, Settlement::Exact(100));
        if let Some(receipt) = receipt {
            // It can't still run.
            let _ = receipt.settle(90);
        }
    }
}
