//! `breaker.extreme_async`: 1 500 callers await a dependency that is well, then fails every other call, then is well again.
//!
//! Half of the callers use a closure, half a permit. What the breaker adds is the time of a call less what the dependency itself took, which
//! waits on a timer. In the beginning all callers meet inside: 1 500 calls are under way at once. What must hold is in `ordeal.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use steadfast_breaker::CallError;
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally, Tier};

use super::dependency::{Answer, Injected};
use super::guard::Guard;
use super::ordeal::{Ordeal, stages};
use super::script;

const CALLERS: usize = 1_500;
const STAGE: Duration = Duration::from_secs(4);
const SMOKE_DIVISOR: u32 = 8;
const OWN_TIME: Duration = Duration::from_millis(20);
/// Between two calls of a caller: who is refused doesn't come back at once.
const THINK_TIME: Duration = Duration::from_millis(5);
/// How long the first calls wait for each other.
const MEETING_MAX: Duration = Duration::from_secs(20);

/// 1 500 concurrent async calls.
#[derive(Clone, Debug)]
pub struct ExtremeAsync<G> {
    guard: G,
}

impl<G: Guard> ExtremeAsync<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker in its ordeal.
#[derive(Debug)]
pub struct Awaiting<G> {
    ordeal: Arc<Ordeal<G>>,
    callers: usize,
    /// Callers who are inside for the first time.
    arrived: AtomicUsize,
}

impl<G: Guard> Scenario for ExtremeAsync<G> {
    type State = Awaiting<G>;

    fn name(&self) -> &'static str {
        "extreme_async"
    }

    fn description(&self) -> &'static str {
        "1 500 awaited calls at once; half of them fail, the breaker opens and recovers"
    }

    fn load(&self) -> Load {
        script::load(CALLERS, &stages(STAGE)).think_time(THINK_TIME)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(SMOKE_DIVISOR)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(CALLERS).lasting(duration).think_time(THINK_TIME))
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "rate > 100/s",
            "timeouts <= 0%",
            "value healthy_success >= 100%",
            "value over_own_time_p95 <= 10ms",
            "value refusal_p95 <= 10ms",
            "value recovery_time <= 1s",
            "value concurrent_peak >= 1500",
            "rss_growth < 20MB",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Awaiting<G>, Failure> {
        let callers = if context.tier() == Tier::Extreme { 10 * CALLERS } else { CALLERS };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let ordeal = Ordeal::new(
            self.guard.clone(),
            &stages(STAGE),
            SMOKE_DIVISOR,
            CALLERS,
            workers,
            Box::new(|_, _| ()),
            context,
        )?;
        Ok(Awaiting { ordeal, callers, arrived: AtomicUsize::new(0) })
    }

    async fn operation(&self, state: &Awaiting<G>, call: Call) -> Result<(), Failure> {
        let ordeal = &*state.ordeal;
        ordeal.advance();
        let is_first = call.number == 0;
        let (begun, started) = (ordeal.begin(), Instant::now());
        let (result, own) = if call.user.is_multiple_of(2) {
            let mut own = Duration::ZERO;
            let result = ordeal
                .guard
                .call_async(&ordeal.breaker, || async {
                    let (answer, took) = state.visit(is_first).await;
                    own = took;
                    answer.result()
                })
                .await;
            (result, own)
        } else {
            match ordeal.acquire() {
                Ok(permit) => {
                    let (answer, own) = state.visit(is_first).await;
                    (ordeal.settle(permit, answer).map_err(CallError::Failed), own)
                }
                Err(rejected) => (Err(rejected.into()), Duration::ZERO),
            }
        };
        ordeal.record(started.elapsed(), own, &result);
        ordeal.end(begun, &result);
        told(result)
    }

    async fn check(&self, state: &Awaiting<G>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.ordeal.check(tally.elapsed, || state.ordeal.dependency.answer(), checks);
        Ok(())
    }
}

impl<G: Guard> Awaiting<G> {
    /// The dependency's answer, which takes its time, and how long that was.
    async fn visit(&self, is_first: bool) -> (Answer, Duration) {
        let began = Instant::now();
        let _visit = self.ordeal.dependency.enter();
        if is_first {
            self.arrived.fetch_add(1, Ordering::SeqCst);
        }
        // One sleep for both: what a caller's future holds is part of what is measured as growth.
        loop {
            tokio::time::sleep(OWN_TIME).await;
            let all_are_there = self.arrived.load(Ordering::SeqCst) >= self.callers;
            // Without the meeting the peak is lower, and an objective says so.
            if !is_first || all_are_there || began.elapsed() > MEETING_MAX {
                break;
            }
        }
        let own = began.elapsed();
        // Last: from here to the record nothing waits.
        (self.ordeal.dependency.answer(), own)
    }
}

/// How a call ended, for the report: failures on purpose and refusals are errors of their own kinds.
pub(super) fn told<T>(result: Result<T, CallError<Injected>>) -> Result<(), Failure> {
    match result {
        Ok(_) => Ok(()),
        Err(CallError::Failed(injected)) => Err(Failure::new("failed on purpose", injected)),
        Err(refused) => Err(Failure::new("refused", refused)),
    }
}
