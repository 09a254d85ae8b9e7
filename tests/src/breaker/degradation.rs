//! `breaker.degradation`: 10 callers become 25, 50, 100 and 200; each level is held against the first.
//!
//! A call's own time is spent on a timer, so more callers mean more calls, up to what the processors can do. The rate must never fall below that of the level
//! before, and the tail must stay near that of ten callers. Nothing fails, so nothing may be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_breaker::{Breaker, CallError, Config};
use steadfast_metrics::{Histogram, Registry};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally, Value};

use super::dependency::{Dependency, Injected};
use super::guard::Guard;
use super::ordeal::report;
use super::watch::{KEPT, Watch};

const LEVELS: [usize; 5] = [10, 25, 50, 100, 200];
const LEVEL: Duration = Duration::from_secs(4);
const SMOKE_DIVISOR: u32 = 10;
const OWN_TIME: Duration = Duration::from_millis(5);

/// More and more callers.
#[derive(Clone, Debug)]
pub struct Degradation<G> {
    guard: G,
}

impl<G: Guard> Degradation<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker, and what it added to the calls.
#[derive(Debug)]
pub struct Growing {
    breaker: Breaker,
    dependency: Dependency,
    watch: Arc<Watch>,
    over_own_time: Histogram,
    succeeded: AtomicU64,
}

impl<G: Guard> Scenario for Degradation<G> {
    type State = Growing;

    fn name(&self) -> &'static str {
        "degradation"
    }

    fn description(&self) -> &'static str {
        "10, 25, 50, 100 and 200 callers; throughput grows with them, latency doesn't"
    }

    fn load(&self) -> Load {
        let begin = Load::users(LEVELS[0]).lasting(LEVEL).named("callers_10");
        LEVELS[1..].iter().fold(begin, |load, &callers| {
            load.then(callers as u32, LEVEL).named(format!("callers_{callers}"))
        })
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(SMOKE_DIVISOR)
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "success in each phase >= 100%",
            "timeouts <= 0%",
            "rate in phase callers_25 >= 1x in phase callers_10",
            "rate in phase callers_50 >= 1x in phase callers_25",
            "rate in phase callers_100 >= 1x in phase callers_50",
            "rate in phase callers_200 >= 1x in phase callers_100",
            "rate in phase callers_200 >= 5x in phase callers_10",
            "p95 in phase callers_200 <= 3x in phase callers_10",
            "p50 in phase callers_200 <= 2x in phase callers_10",
            "value over_own_time_p99 <= 1ms",
        ]
    }

    async fn set_up(&self, _: &Context) -> Result<Growing, Failure> {
        let breaker = Breaker::new(self.guard.config(Config { events_kept: KEPT, ..Config::default() }))?;
        let watch = Watch::on(&breaker, &self.guard);
        let over_own_time = Registry::new().histogram("over_own_time_nanoseconds")?;
        let (dependency, succeeded) = (Dependency::default(), AtomicU64::new(0));
        Ok(Growing { breaker, dependency, watch, over_own_time, succeeded })
    }

    async fn operation(&self, state: &Growing, _: Call) -> Result<(), Failure> {
        let started = Instant::now();
        let mut own = Duration::ZERO;
        let result = self.guard.call_async(&state.breaker, || async {
            let began = Instant::now();
            let _visit = state.dependency.enter();
            tokio::time::sleep(OWN_TIME).await;
            own = began.elapsed();
            state.dependency.answer().result()
        });
        result.await.map_err(|error: CallError<Injected>| Failure::new("not answered", error))?;
        state.over_own_time.record_duration(started.elapsed().saturating_sub(own));
        state.succeeded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn check(&self, state: &Growing, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let (stats, succeeded) = (state.breaker.stats(), state.succeeded.load(Ordering::Relaxed));
        checks.exactly("recorded successes, of those seen", stats.success, succeeded);
        checks.exactly("recorded calls, of those issued", stats.total(), tally.issued);
        checks.exactly("calls that the dependency answered", state.dependency.answers(), succeeded);
        checks.exactly("refusals", stats.rejected(), 0);
        checks.exactly("calls under way", stats.outstanding, 0);
        state.watch.check(&state.breaker, checks);
        for phase in &tally.phases {
            let rate = phase.succeeded as f64 / phase.length.as_secs_f64();
            checks.value(format!("{}_rate", phase.name), Value::PerSecond(rate));
            checks.value(format!("{}_p95", phase.name), phase.p95);
            let calls = format!("{rate:.0} calls/s, p50 {:.1?}, p95 {:.1?}", phase.p50, phase.p95);
            checks.note(phase.name.replace('_', " "), calls);
        }
        report("over_own_time", &state.over_own_time, checks);
        Ok(())
    }
}
