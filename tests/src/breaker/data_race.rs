//! `breaker.data_race`: 32 threads share one breaker and end their calls in every way there is; what it recorded is what they did, exactly.
//!
//! Calls by closure and by permit, probes, calls that outlive their generation, panics, drops and states set by hand, all at once. Time is a clock that the calls
//! themselves move on, so the breaker changes its state as often on a slow machine as on a fast one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_breaker::{Breaker, CallError, Config, End, ManualClock, Outcome, Request, Settlement, Window};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Rng, Scenario, Tally};

use super::dependency::Injected;
use super::guard::Guard;
use super::pool::Pool;
use super::watch::{KEPT, Watch};

const THREADS: usize = 32;
const JOBS: u64 = 600;
const SMOKE_DIVISOR: u32 = 10;
/// Calls of one job.
const CALLS: u64 = 500;
/// Calls for which time stands still.
const CALLS_A_MILLISECOND: u64 = 64;
/// The dependency is in a bad way for the last part of each so many calls.
const MOOD: u64 = 8_192;
const BAD: u64 = 512;
const REST_MAX: Duration = Duration::from_secs(60);

/// The ends that callers know of, in the order in which they are counted.
const ENDS: [(&str, End); 7] = [
    ("successes", End::Success),
    ("failures", End::Failure),
    ("ignored calls", End::Ignored),
    ("cancelled calls", End::Cancelled),
    ("expired probes", End::Expired),
    ("dropped permits", End::Dropped),
    ("panics", End::Panicked),
];

/// Many threads on one breaker.
#[derive(Clone, Debug)]
pub struct DataRace<G> {
    guard: G,
}

impl<G: Guard> DataRace<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker, the threads, and what they did.
#[derive(Debug)]
pub struct Racing<G> {
    race: Arc<Race<G>>,
    pool: Pool,
}

#[derive(Debug)]
struct Race<G> {
    guard: G,
    breaker: Breaker,
    clock: Arc<ManualClock>,
    calls: AtomicU64,
    did: Mutex<Did>,
    watch: Arc<Watch>,
}

/// What threads did, as they know it themselves.
#[derive(Clone, Copy, Debug, Default)]
struct Did {
    ends: [u64; ENDS.len()],
    refused: u64,
    /// Judged and not counted, by what permits say.
    uncounted: u64,
}

impl<G: Guard> Scenario for DataRace<G> {
    type State = Racing<G>;

    fn name(&self) -> &'static str {
        "data_race"
    }

    fn description(&self) -> &'static str {
        "32 threads on one breaker; recorded outcomes are the calls made, exactly"
    }

    fn load(&self) -> Load {
        Load::users(THREADS).each(JOBS)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().operations(SMOKE_DIVISOR)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(THREADS).lasting(duration))
    }

    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%", "timeouts <= 0%"]
    }

    async fn set_up(&self, _: &Context) -> Result<Racing<G>, Failure> {
        let clock = Arc::new(ManualClock::new(0));
        let breaker = Breaker::new(self.guard.config(Config {
            window: Window::Calls(50),
            calls_min: 10,
            open: Duration::from_millis(1),
            open_max: Duration::from_millis(4),
            probes: 3,
            // Never over: whoever calls by closure isn't told that its probe has expired.
            probe_lease: Duration::from_secs(30 * 24 * 3_600),
            events_kept: KEPT,
            clock: clock.clone(),
            ..Config::default()
        }))?;
        let watch = Watch::on(&breaker, &self.guard);
        let race = Race {
            guard: self.guard.clone(),
            breaker,
            clock,
            calls: AtomicU64::new(0),
            did: Mutex::default(),
            watch,
        };
        Ok(Racing { race: Arc::new(race), pool: Pool::new(THREADS)? })
    }

    async fn operation(&self, state: &Racing<G>, call: Call) -> Result<(), Failure> {
        let (race, mut rng) = (Arc::clone(&state.race), call.rng());
        let job = move || {
            let mut did = Did::default();
            for _ in 0..CALLS {
                race.one(&mut rng, &mut did);
            }
            race.did.lock().unwrap_or_else(PoisonError::into_inner).add(&did);
        };
        state.pool.run(job).await
    }

    async fn check(&self, state: &Racing<G>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.holds("all threads came to rest", state.pool.is_idle_within(REST_MAX), "");
        let race = &state.race;
        let did = *race.did.lock().unwrap_or_else(PoisonError::into_inner);
        let (stats, made) = (race.breaker.stats(), race.calls.load(Ordering::Relaxed));
        let recorded = [
            stats.success,
            stats.failure,
            stats.ignored,
            stats.cancelled,
            stats.expired,
            stats.dropped,
            stats.panicked,
        ];
        for ((name, _), (recorded, did)) in ENDS.iter().zip(recorded.into_iter().zip(did.ends)) {
            checks.exactly(format!("recorded {name}, of those made"), recorded, did);
        }
        checks.exactly("recorded refusals, of those seen", stats.rejected(), did.refused);
        checks.exactly("recorded calls, of those made", stats.total(), made);
        checks.holds(
            "outcomes of generations that were over are known as such",
            stats.uncounted >= did.uncounted,
            format!("{} recorded, {} told by permits", stats.uncounted, did.uncounted),
        );
        checks.exactly("permits that haven't ended", stats.outstanding, 0);
        race.watch.check(&race.breaker, checks);
        checks.holds("the state changed meanwhile", stats.transitions > 0, stats.transitions);
        checks.note("calls", format!("{made}, {} changes of state", stats.transitions));
        checks.value("calls", made);
        checks.value("transitions", stats.transitions);
        checks.value("uncounted", stats.uncounted);
        Ok(())
    }
}

impl Did {
    fn add(&mut self, other: &Self) {
        for (sum, more) in self.ends.iter_mut().zip(other.ends) {
            *sum += more;
        }
        self.refused += other.refused;
        self.uncounted += other.uncounted;
    }

    fn count(&mut self, end: End) {
        if let Some(at) = ENDS.iter().position(|(_, known)| *known == end) {
            self.ends[at] += 1;
        }
    }
}

impl<G: Guard> Race<G> {
    fn one(&self, rng: &mut Rng, did: &mut Did) {
        // Relaxed: only that each call has a number of its own matters.
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(CALLS_A_MILLISECOND) {
            self.clock.advance(Duration::from_millis(1));
        }
        let is_bad = number % MOOD >= MOOD - BAD;
        if rng.below(3) == 0 { self.by_closure(is_bad, rng, did) } else { self.by_permit(is_bad, rng, did) }
    }

    fn by_closure(&self, is_bad: bool, rng: &mut Rng, did: &mut Did) {
        let fails = is_bad || rng.below(50) == 0;
        match self.guard.call(&self.breaker, || if fails { Err(Injected) } else { Ok(()) }) {
            Ok(()) => did.count(End::Success),
            Err(CallError::Failed(Injected)) => did.count(End::Failure),
            Err(CallError::Rejected(_)) => did.refused += 1,
        }
    }

    fn by_permit(&self, is_bad: bool, rng: &mut Rng, did: &mut Did) {
        let Ok(permit) = self.guard.acquire(&self.breaker, &Request::default()) else {
            did.refused += 1;
            return;
        };
        let outcome = match rng.below(64) {
            _ if is_bad => Outcome::Failure,
            0 => Outcome::Failure,
            1 => Outcome::Ignored,
            2 => Outcome::Cancelled,
            3 => {
                drop(permit);
                return did.count(End::Dropped);
            }
            4 => {
                let fall = AssertUnwindSafe(move || {
                    let _permit = permit;
                    resume_unwind(Box::new(()));
                });
                // Whoever resumes a panic doesn't tell of it: nothing has really gone wrong.
                let _ = catch_unwind(fall);
                return did.count(End::Panicked);
            }
            5 => {
                // Outlives its generation, perhaps.
                std::thread::yield_now();
                Outcome::Success
            }
            _ => Outcome::Success,
        };
        let ended = self.guard.settle(permit, outcome, Settlement::Unknown);
        // Only that a probe was too late is for the breaker to know.
        did.count(if ended.end == End::Expired { End::Expired } else { outcome.into() });
        if !ended.counted && matches!(ended.end, End::Success | End::Failure) {
            did.uncounted += 1;
        }
    }
}
