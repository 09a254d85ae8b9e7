//! `breaker.extreme_sync`: 1 000 threads call a dependency that is well, then fails every other call, then is well again.
//!
//! An operation is one job on one of a thousand threads: a call that takes its time, so that all threads are inside the breaker at once (in the
//! beginning they meet there), and then many that are answered at once, so that the breaker itself is what they do.
//! What must hold is in `ordeal.rs`.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_breaker::CallError;
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally};

use super::dependency::Injected;
use super::extreme_async::told;
use super::guard::Guard;
use super::ordeal::{Ordeal, stages};
use super::pool::Pool;
use super::script;

const CALLERS: usize = 1_000;
const STAGE: Duration = Duration::from_secs(4);
const SMOKE_DIVISOR: u32 = 8;
const OWN_TIME: Duration = Duration::from_millis(5);
/// Calls of an operation that are answered at once.
const QUICK: usize = 200;
/// How long the first calls wait for each other.
const MEETING_MAX: Duration = Duration::from_secs(20);
/// How long a check waits for calls that nobody waits for any more.
const REST_MAX: Duration = Duration::from_secs(60);

/// 1 000 concurrent synchronous calls.
#[derive(Clone, Debug)]
pub struct ExtremeSync<G> {
    guard: G,
}

impl<G: Guard> ExtremeSync<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker in its ordeal, and the threads.
#[derive(Debug)]
pub struct Calling<G> {
    ordeal: Arc<Ordeal<G>>,
    meeting: Arc<Meeting>,
    pool: Pool,
}

/// Where all threads are at once, unless it takes them too long.
#[derive(Debug)]
struct Meeting {
    missing: Mutex<usize>,
    complete: Condvar,
}

impl<G: Guard> Scenario for ExtremeSync<G> {
    type State = Calling<G>;

    fn name(&self) -> &'static str {
        "extreme_sync"
    }

    fn description(&self) -> &'static str {
        "1 000 threads call at once, a million calls a second; half of them fail, the breaker opens and recovers"
    }

    fn load(&self) -> Load {
        script::load(CALLERS, &stages(STAGE))
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(SMOKE_DIVISOR)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(CALLERS).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "rate > 50/s",
            "timeouts <= 0%",
            "value call_rate >= 1000000/s",
            "value healthy_success >= 100%",
            "value over_own_time_p95 <= 10ms",
            "value refusal_p95 <= 10ms",
            "value recovery_time <= 1s",
            "value concurrent_peak >= 1000",
            "rss_growth < 20MB",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Calling<G>, Failure> {
        let ordeal = Ordeal::new(
            self.guard.clone(),
            &stages(STAGE),
            SMOKE_DIVISOR,
            CALLERS,
            CALLERS,
            Box::new(|_, _| ()),
            context,
        )?;
        let meeting = Arc::new(Meeting { missing: Mutex::new(CALLERS), complete: Condvar::new() });
        Ok(Calling { ordeal, meeting, pool: Pool::new(CALLERS)? })
    }

    async fn operation(&self, state: &Calling<G>, call: Call) -> Result<(), Failure> {
        let (ordeal, meeting) = (Arc::clone(&state.ordeal), Arc::clone(&state.meeting));
        // Of more callers than threads, as in tier extreme, the later ones don't meet anybody.
        let meets = call.number == 0 && call.user < CALLERS;
        let job = move || {
            ordeal.advance();
            let slow = take_time(&ordeal, meets.then_some(&*meeting));
            call_quickly(&ordeal);
            slow
        };
        let Timed { result, took, own } = state.pool.run(job).await?;
        // Here and not on the thread: a histogram has a part for each thread that records, and a thousand would be measured as growth.
        state.ordeal.record(took, own, &result);
        told(result)
    }

    async fn check(&self, state: &Calling<G>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.holds("all threads came to rest", state.pool.is_idle_within(REST_MAX), "");
        state.ordeal.check(tally.elapsed, || state.ordeal.dependency.answer(), checks);
        Ok(())
    }

    async fn tear_down(&self, state: Calling<G>) -> Result<(), Failure> {
        // Joining a thousand threads is no work for the runtime.
        Ok(tokio::task::spawn_blocking(move || drop(state)).await?)
    }
}

impl Meeting {
    fn join(&self) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            self.complete.notify_all();
        }
        // Without the meeting the peak is lower, and an objective says so.
        let _ = self.complete.wait_timeout_while(missing, MEETING_MAX, |missing| *missing > 0);
    }
}

/// How a call ended, what it took, and what of that the dependency took.
struct Timed {
    result: Result<(), CallError<Injected>>,
    took: Duration,
    own: Duration,
}

/// A call that takes its time.
fn take_time<G: Guard>(ordeal: &Ordeal<G>, meeting: Option<&Meeting>) -> Timed {
    let (begun, started) = (ordeal.begin(), Instant::now());
    let mut own = Duration::ZERO;
    let result = ordeal.guard.call(&ordeal.breaker, || {
        let began = Instant::now();
        let _visit = ordeal.dependency.enter();
        match meeting {
            Some(meeting) => meeting.join(),
            None => std::thread::sleep(OWN_TIME),
        }
        own = began.elapsed();
        ordeal.dependency.answer().result()
    });
    let took = started.elapsed();
    ordeal.end(begun, &result);
    Timed { result, took, own }
}

/// Calls that are answered at once, every other one by permit.
fn call_quickly<G: Guard>(ordeal: &Ordeal<G>) {
    for _ in 0..QUICK / 2 {
        let begun = ordeal.begin();
        let result = ordeal.guard.call(&ordeal.breaker, || ordeal.dependency.answer().result());
        ordeal.end(begun, &result);

        let begun = ordeal.begin();
        let result = match ordeal.acquire() {
            Ok(permit) => {
                let answer = ordeal.dependency.answer();
                ordeal.settle(permit, answer).map_err(CallError::Failed)
            }
            Err(rejected) => Err(rejected.into()),
        };
        ordeal.end(begun, &result);
    }
}
