//! `breaker.transition_consistency`: 32 threads force failures and recoveries, and now and then a state by hand; the log is a path of the state machine, and no
//! more probes are out than there may be.
//!
//! Time is a clock that the calls themselves move on. A probe is out from when its caller has the permit until just before it gives it back. The bound holds
//! for the probes of one half-open state: one that is late may be out beside those of the next. Which state a probe is of nobody tells; but
//! one that still counts when it ends is of the present one, and was all the time. So those are laid over each other, by stamps that all threads share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_breaker::{
    Breaker, Config, End, ManualClock, Outcome, Permit, Request, Settlement, State, Window,
};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Rng, Scenario, Tally};

use super::guard::Guard;
use super::pool::Pool;
use super::watch::{KEPT, Watch};

const THREADS: usize = 32;
const JOBS: u64 = 600;
const SMOKE_DIVISOR: u32 = 10;
/// Calls of one job.
const CALLS: u64 = 500;
/// Calls for which time stands still.
const CALLS_A_MILLISECOND: u64 = 16;
/// So many calls go well, then so many fail, and so on.
const MOOD: u64 = 256;
/// One call of so many sets a state by hand instead.
const BY_HAND: u64 = 20_000;
const PROBES: u64 = 4;
/// A probe lets others run less often than this, so that they overlap on few processors, too.
const YIELDS: u64 = 8;
/// Who is refused lets others run as often as once in so many times: else they keep the processors from the probes for which all wait.
const REFUSALS: u64 = 16;
/// Spans that are kept to be laid over each other.
const OUT_MAX: usize = 500_000;
const REST_MAX: Duration = Duration::from_secs(60);
/// How long a check waits until the breaker is closed again.
const STEPS_MAX: u64 = 100_000;

/// Failures and recoveries from many threads.
#[derive(Clone, Debug)]
pub struct TransitionConsistency<G> {
    guard: G,
}

impl<G: Guard> TransitionConsistency<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker and the threads.
#[derive(Debug)]
pub struct Changing<G> {
    changes: Arc<Changes<G>>,
    pool: Pool,
}

#[derive(Debug)]
struct Changes<G> {
    guard: G,
    breaker: Breaker,
    clock: Arc<ManualClock>,
    watch: Arc<Watch>,
    calls: AtomicU64,
    by_hand: AtomicU64,
    probes: Probes,
}

/// When the probes that counted were out.
#[derive(Debug, Default)]
struct Probes {
    /// The next stamp.
    now: AtomicU64,
    seen: AtomicU64,
    expired: AtomicU64,
    peak: AtomicU64,
    /// From and to.
    out: Mutex<Vec<(u64, u64)>>,
}

impl<G: Guard> Scenario for TransitionConsistency<G> {
    type State = Changing<G>;

    fn name(&self) -> &'static str {
        "transition_consistency"
    }

    fn description(&self) -> &'static str {
        "32 threads force failures and recoveries; the log is a path, each change is told once, probes are bounded"
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
        vec!["success >= 100%", "timeouts <= 0%", "value openings >= 10", "value closings >= 10"]
    }

    async fn set_up(&self, _: &Context) -> Result<Changing<G>, Failure> {
        let clock = Arc::new(ManualClock::new(0));
        let breaker = Breaker::new(self.guard.config(Config {
            window: Window::Calls(50),
            calls_min: 10,
            open: Duration::from_millis(1),
            open_max: Duration::from_millis(2),
            probes: PROBES as usize,
            probe_lease: Duration::from_secs(30 * 24 * 3_600),
            events_kept: KEPT,
            clock: clock.clone(),
            ..Config::default()
        }))?;
        let watch = Watch::on(&breaker, &self.guard);
        let changes = Changes {
            guard: self.guard.clone(),
            breaker,
            clock,
            watch,
            calls: AtomicU64::new(0),
            by_hand: AtomicU64::new(0),
            probes: Probes::default(),
        };
        Ok(Changing { changes: Arc::new(changes), pool: Pool::new(THREADS)? })
    }

    async fn operation(&self, state: &Changing<G>, call: Call) -> Result<(), Failure> {
        let (changes, mut rng) = (Arc::clone(&state.changes), call.rng());
        let job = move || {
            for _ in 0..CALLS {
                changes.one(&mut rng);
            }
        };
        state.pool.run(job).await
    }

    async fn check(&self, state: &Changing<G>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.holds("all threads came to rest", state.pool.is_idle_within(REST_MAX), "");
        let all = &state.changes;
        checks.holds("it closes again when all is well", all.recover(), format!("{:?}", all.breaker.state()));
        all.watch.check(&all.breaker, checks);
        let peak = all.probes.peak();
        checks.holds(format!("never more than {PROBES} probes at a time"), peak <= PROBES, peak);
        checks.exactly(
            "probes whose place was another's too early",
            all.probes.expired.load(Ordering::SeqCst),
            0,
        );
        checks.exactly("probes that are still out", all.breaker.stats().outstanding, 0);
        let changes = all.watch.changes();
        // An opening leaves the closed state, and there is one way back to each state but by hand.
        let by_hand = all.by_hand.load(Ordering::SeqCst);
        let opened_and_not_closed = changes.opened.abs_diff(changes.closed);
        checks.holds(
            "as many openings as closings, but for changes by hand",
            opened_and_not_closed <= by_hand,
            format!("{} and {}, {by_hand} by hand", changes.opened, changes.closed),
        );
        checks.value("transitions", changes.all);
        checks.value("openings", changes.opened);
        checks.value("half_openings", changes.half_opened);
        checks.value("closings", changes.closed);
        checks.value("by_hand", by_hand);
        checks.value("probes", all.probes.seen.load(Ordering::SeqCst));
        checks.value("probes_peak", peak);
        Ok(())
    }
}

impl<G: Guard> Changes<G> {
    fn one(&self, rng: &mut Rng) {
        // Relaxed: only that each call has a number of its own matters.
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(CALLS_A_MILLISECOND) {
            self.clock.advance(Duration::from_millis(1));
        }
        if rng.below(BY_HAND) == 0 {
            return self.set_by_hand(rng);
        }
        let Ok(permit) = self.guard.acquire(&self.breaker, &Request::default()) else {
            if rng.below(REFUSALS) == 0 {
                std::thread::yield_now();
            }
            return;
        };
        let outcome = match rng.below(100) {
            0 => Outcome::Cancelled,
            1 => Outcome::Ignored,
            _ if number / MOOD % 2 == 1 => Outcome::Failure,
            _ => Outcome::Success,
        };
        self.end(permit, outcome, rng.below(YIELDS));
    }

    /// Ends a call; of a probe it is noted when it was out.
    fn end(&self, permit: Permit<'_>, outcome: Outcome, yields: u64) {
        if !permit.is_probe() {
            self.guard.settle(permit, outcome, Settlement::Unknown);
            return;
        }
        let from = self.probes.stamp();
        for _ in 0..yields {
            std::thread::yield_now();
        }
        // Before it ends: afterwards another may have its place.
        let to = self.probes.stamp();
        let ended = self.guard.settle(permit, outcome, Settlement::Unknown);
        self.probes.seen.fetch_add(1, Ordering::Relaxed);
        if ended.end == End::Expired {
            self.probes.expired.fetch_add(1, Ordering::Relaxed);
        } else if ended.counted {
            self.probes.note(from, to);
        }
    }

    fn set_by_hand(&self, rng: &mut Rng) {
        const STATES: [State; 6] = [
            State::Open,
            State::Closed,
            State::ForcedOpen,
            State::ForcedClosed,
            State::Disabled,
            State::MetricsOnly,
        ];
        let state = STATES[rng.below(STATES.len() as u64) as usize];
        // What it was set to holds for some calls of this thread, then all goes on.
        for state in [state, State::Closed] {
            if self.breaker.set_state(state) {
                self.by_hand.fetch_add(1, Ordering::SeqCst);
            }
            for _ in 0..8 {
                if let Ok(permit) = self.guard.acquire(&self.breaker, &Request::default()) {
                    self.end(permit, Outcome::Success, 0);
                }
            }
        }
    }

    /// Calls that go well until the breaker is closed.
    fn recover(&self) -> bool {
        for _ in 0..STEPS_MAX {
            if self.breaker.state() == State::Closed {
                return true;
            }
            self.clock.advance(Duration::from_millis(1));
            if let Ok(permit) = self.guard.acquire(&self.breaker, &Request::default()) {
                self.end(permit, Outcome::Success, 0);
            }
        }
        false
    }
}

impl Probes {
    fn stamp(&self) -> u64 {
        // SeqCst: stamps are taken in the order of what happens between them, over all threads.
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, from: u64, to: u64) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() == OUT_MAX {
            // What lies on both sides of this moment isn't seen together.
            self.peak.fetch_max(most_at_once(&out), Ordering::Relaxed);
            out.clear();
        }
        out.push((from, to));
    }

    /// The most that were out at one time.
    fn peak(&self) -> u64 {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        self.peak.load(Ordering::Relaxed).max(most_at_once(&out))
    }
}

/// The most of these spans that have a moment in common.
fn most_at_once(spans: &[(u64, u64)]) -> u64 {
    let mut edges: Vec<(u64, i64)> = spans.iter().flat_map(|&(from, to)| [(from, 1), (to, -1)]).collect();
    edges.sort_unstable();
    let (mut out, mut most) = (0, 0);
    for (_, change) in edges {
        out += change;
        most = most.max(out);
    }
    most as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_overlap_are_counted_together() {
        assert_eq!(most_at_once(&[]), 0);
        assert_eq!(most_at_once(&[(0, 1), (2, 3)]), 1);
        assert_eq!(most_at_once(&[(0, 5), (1, 2), (3, 4)]), 2);
        assert_eq!(most_at_once(&[(0, 9), (1, 8), (2, 3), (4, 7), (5, 6)]), 4);
    }
}
