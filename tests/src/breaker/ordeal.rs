//! A breaker before a dependency that is well, then in trouble, then well again; what its callers saw, and what must be true of it.
//!
//! A moment is **calm** if the dependency is well and nothing of its trouble is left: the breaker is closed, and no failure is in its window.
//! Nothing may then fail or be refused, however slow the machine is: a call that began and ended in the same calm has to succeed.
//!
//! Exactly, whatever the timing:
//!
//! - each call is counted as what it was: success, failure, refusal;
//! - a breaker that is closed opens before it has counted one window of outcomes of which every other one failed;
//! - the log is a path of the state machine;
//! - afterwards there is a calm again.
//!
//! A bad stage lasts until the breaker has opened and refused a call in it, a good one until calls have gone well in its calm, two for each
//! caller; see `script.rs`. A machine that stands still can't keep either from happening. Stages that the load doesn't come to are
//! gone through by the check, with calls of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_breaker::{Breaker, CallError, Config, Outcome, Rejected, Request, Settlement, State, Window};
use steadfast_metrics::{Histogram, Registry};
use steadfast_stress::{Checks, Context, Failure, Value};

use super::dependency::{Answer, Dependency, Injected};
use super::guard::Guard;
use super::script::{Script, Stage};
use super::watch::{KEPT, Watch};

/// How long the breaker stays open. Each time as long: what is looked at is how soon it is back.
const OPEN: Duration = Duration::from_millis(100);
/// Opens at this share of failures; half of the calls of a bad time fail.
const FAILURE_PERCENT: f64 = 25.0;
const PROBES: usize = 5;
/// How much longer than planned a stage lasts, at most, while it has not reached its purpose.
const STAGE_OVERTIME_MAX: Duration = Duration::from_secs(10);
/// How long a check waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens: well, in trouble, well again.
pub(super) const WELL: &str = "healthy";
pub(super) const FAILING: &str = "failing";
pub(super) const NO_MEMORY: &str = "memory_exhausted";
pub(super) const NO_FILES: &str = "files_exhausted";
pub(super) const AFTERWARDS: &str = "recovering";

fn is_trouble(stage: &str) -> bool {
    [FAILING, NO_MEMORY, NO_FILES].contains(&stage)
}

/// The stages of an ordeal, each of one length.
pub(super) const fn stages(length: Duration) -> [Stage; 3] {
    [(WELL, length), (FAILING, length), (AFTERWARDS, length)]
}

/// The breaker, the dependency, and what was seen.
pub(super) struct Ordeal<G> {
    pub(super) guard: G,
    pub(super) breaker: Breaker,
    pub(super) dependency: Dependency,
    watch: Arc<Watch>,
    script: Script,
    context: Context,
    /// How things stood when the stage began.
    stage_began: Mutex<Standing>,
    /// So many calls of a good stage go well before it is over.
    calm_calls_min: u64,
    /// Makes the trouble of a stage, or ends it where there is none.
    trouble: Trouble,
    troubles: AtomicU64,
    window: u64,
    /// Even: calm. It grows by one when trouble comes, and when it is over.
    calm: AtomicU64,
    trouble_ended: Mutex<Option<Instant>>,
    recovery_ms_max: AtomicU64,
    seen: Seen,
    figures: Figures,
}

/// Told of a stage's name, and whether it is a bad one.
pub(super) type Trouble = Box<dyn Fn(&'static str, bool) + Send + Sync>;

impl<G> std::fmt::Debug for Ordeal<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ordeal").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// What tells whether a stage has reached its purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    opened: u64,
    refused: u64,
    calm: u64,
}

/// Calls by how they ended for their callers.
#[derive(Debug, Default)]
struct Seen {
    begun: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    calm: AtomicU64,
    calm_without_success: AtomicU64,
    /// Outcomes of a bad time that the breaker has counted, of those whose caller is told.
    counted_in_trouble: AtomicU64,
}

/// What calls took.
#[derive(Debug)]
struct Figures {
    over_own_time: Histogram,
    refusals: Histogram,
}

/// A call that has begun: when, and in which calm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    calm: u64,
}

impl<G: Guard> Ordeal<G> {
    /// Makes all of it for so many callers; `recorders` are the threads that may record outcomes at the same time.
    ///
    /// # Errors
    /// A configuration that can't be.
    pub(super) fn new(
        guard: G,
        stages: &[Stage],
        smoke_divisor: u32,
        callers: usize,
        recorders: usize,
        trouble: Trouble,
        context: &Context,
    ) -> Result<Arc<Self>, Failure> {
        let (window, calls_min) = sizes(recorders as u64);
        let config = guard.config(Config {
            window: Window::Calls(window),
            calls_min,
            failure_percent: Some(FAILURE_PERCENT),
            open: OPEN,
            open_max: OPEN,
            jitter_percent: 0.0,
            probes: PROBES,
            events_kept: KEPT,
            ..Config::default()
        });
        let breaker = Breaker::new(config)?;
        let watch = Watch::on(&breaker, &guard);
        let script = Script::new(stages, smoke_divisor, context.tier(), guard.wait_max(STAGE_OVERTIME_MAX));
        let registry = Registry::new();
        let figures = Figures {
            over_own_time: registry.histogram("over_own_time_nanoseconds")?,
            refusals: registry.histogram("refusal_nanoseconds")?,
        };
        context.note("window", format!("{window} calls, opens at {FAILURE_PERCENT} % failed, for {OPEN:?}"));
        Ok(Arc::new(Self {
            guard,
            breaker,
            dependency: Dependency::default(),
            watch,
            script,
            context: context.clone(),
            stage_began: Mutex::default(),
            calm_calls_min: 2 * callers as u64,
            trouble,
            troubles: AtomicU64::new(0),
            window,
            calm: AtomicU64::new(0),
            trouble_ended: Mutex::new(None),
            recovery_ms_max: AtomicU64::new(0),
            seen: Seen::default(),
            figures,
        }))
    }

    /// Lets happen what is due.
    pub(super) fn advance(&self) {
        self.script.advance(|stage| self.is_reached(stage), |stage| self.enter(stage));
        if !self.is_calm() {
            self.calm_down();
        }
    }

    /// Whether what a stage is there to cause has happened since it began.
    fn is_reached(&self, stage: &'static str) -> bool {
        let began = *self.stage_began.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.standing();
        if is_trouble(stage) {
            now.opened > began.opened && now.refused > began.refused
        } else {
            self.is_calm() && now.calm - began.calm >= self.calm_calls_min
        }
    }

    fn standing(&self) -> Standing {
        // Relaxed: a call that is seen late makes the stage a little longer.
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Standing {
            opened: self.watch.changes().opened,
            refused: get(&self.seen.refused),
            calm: get(&self.seen.calm),
        }
    }

    fn enter(&self, stage: &'static str) {
        self.context.mark(stage);
        // First: what the stage causes comes after this.
        *self.stage_began.lock().unwrap_or_else(PoisonError::into_inner) = self.standing();
        if is_trouble(stage) { self.begin_trouble(stage) } else { self.end_trouble(stage) }
    }

    fn begin_trouble(&self, stage: &'static str) {
        let mut ended = self.trouble_ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = None;
        if self.is_calm() {
            // The calm ends first: no failure is seen within it.
            self.calm.fetch_add(1, Ordering::SeqCst);
        }
        self.troubles.fetch_add(1, Ordering::Relaxed);
        (self.trouble)(stage, true);
        self.dependency.fail(true);
    }

    /// From now on the dependency is well; the calm comes later.
    fn end_trouble(&self, stage: &'static str) {
        let mut ended = self.trouble_ended.lock().unwrap_or_else(PoisonError::into_inner);
        (self.trouble)(stage, false);
        self.dependency.fail(false);
        if !self.is_calm() && ended.is_none() {
            *ended = Some(Instant::now());
        }
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst).is_multiple_of(2)
    }

    /// Begins a calm if trouble has ended and has left nothing behind.
    fn calm_down(&self) {
        let mut ended = self.trouble_ended.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = *ended else { return };
        // A thread may still have a failure to record, one each: too few to open it, see `sizes`.
        let is_closed = || self.breaker.state() == State::Closed;
        // Closed before and after: the window is this closing's, not of an opening in between.
        if is_closed() && self.breaker.window().failures == 0 && is_closed() {
            self.recovery_ms_max.fetch_max(since.elapsed().as_millis() as u64, Ordering::Relaxed);
            *ended = None;
            self.calm.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A call is about to begin.
    #[inline]
    pub(super) fn begin(&self) -> Begun {
        // Relaxed, and so below: the sums are read when all calls have ended.
        self.seen.begun.fetch_add(1, Ordering::Relaxed);
        Begun { calm: self.calm.load(Ordering::SeqCst) }
    }

    /// An explicit permit for one call.
    #[inline]
    pub(super) fn acquire(&self) -> Result<steadfast_breaker::Permit<'_>, Rejected> {
        self.guard.acquire(&self.breaker, &Request::default())
    }

    /// Ends a call by permit.
    #[inline]
    pub(super) fn settle(
        &self,
        permit: steadfast_breaker::Permit<'_>,
        answer: Answer,
    ) -> Result<(), Injected> {
        let is_probe = permit.is_probe();
        let result = answer.result();
        let ended = self.guard.settle(permit, Outcome::of(&result), Settlement::Unknown);
        if answer.in_trouble && ended.counted && !is_probe {
            self.seen.counted_in_trouble.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// A call has ended.
    #[inline]
    pub(super) fn end<T>(&self, begun: Begun, result: &Result<T, CallError<Injected>>) {
        let counter = match result {
            Ok(_) => &self.seen.succeeded,
            Err(CallError::Failed(_)) => &self.seen.failed,
            Err(_) => &self.seen.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if begun.calm.is_multiple_of(2) && begun.calm == self.calm.load(Ordering::SeqCst) {
            self.seen.calm.fetch_add(1, Ordering::Relaxed);
            if result.is_err() {
                self.seen.calm_without_success.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What a call took, and what of that the dependency took.
    pub(super) fn record<T>(&self, took: Duration, own: Duration, result: &Result<T, CallError<Injected>>) {
        match result {
            Ok(_) | Err(CallError::Failed(_)) => {
                self.figures.over_own_time.record_duration(took.saturating_sub(own));
            }
            Err(_) => self.figures.refusals.record_duration(took),
        }
    }

    /// Checks an ordeal whose load is over: no call is under way. `answer` is the dependency's to a call of the check's own.
    pub(super) fn check(&self, elapsed: Duration, answer: impl Fn() -> Answer, checks: &mut Checks) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // The check's own calls are no part of the rate.
        let passed = get(&self.seen.succeeded) + get(&self.seen.failed);
        self.finish(&answer);
        self.recover(&answer);
        checks.holds("full service again", self.is_calm(), format!("{:?}", self.breaker.state()));
        let (stats, seen) = (self.breaker.stats(), &self.seen);
        checks.exactly("recorded successes, of those seen", stats.success, get(&seen.succeeded));
        checks.exactly("recorded failures, of those seen", stats.failure, get(&seen.failed));
        checks.exactly("failures, by the dependency", stats.failure, self.dependency.failures());
        checks.exactly("recorded refusals, of those seen", stats.rejected(), get(&seen.refused));
        checks.exactly("recorded calls, of those made", stats.total(), get(&seen.begun));
        checks.exactly(
            "calls that passed, by the dependency",
            stats.success + stats.failure,
            self.dependency.answers(),
        );
        checks.exactly("permits that haven't ended", stats.outstanding, 0);
        checks.exactly("calm calls that failed or were refused", get(&seen.calm_without_success), 0);
        self.watch.check(&self.breaker, checks);

        let changes = self.watch.changes();
        checks.holds("the breaker opened", changes.opened > 0, changes.opened);
        checks.holds("calls were refused while it was open", get(&seen.refused) > 0, get(&seen.refused));
        checks.holds("it closed by its probes", changes.closed > 0, changes.closed);
        let (counted, most) =
            (get(&seen.counted_in_trouble), self.window * (get(&self.troubles) + changes.closed));
        let told = format!("{counted} outcomes counted in bad times, at most {most}");
        checks.holds("it opens within a window", counted <= most, told);

        let calm = get(&seen.calm);
        let share = 1.0 - get(&seen.calm_without_success) as f64 / calm.max(1) as f64;
        checks.value("healthy_calls", calm);
        checks.value("healthy_success", Value::Share(share));
        checks.value("openings", changes.opened);
        checks.value("refused", get(&seen.refused));
        checks.value("concurrent_peak", self.dependency.inside_peak());
        checks.value("call_rate", Value::PerSecond(passed as f64 / elapsed.as_secs_f64()));
        checks.value("recovery_time", Duration::from_millis(get(&self.recovery_ms_max)));
        report("over_own_time", &self.figures.over_own_time, checks);
        report("refusal", &self.figures.refusals, checks);
    }

    /// Goes through the stages that are left: a machine that stood still leaves some, and so does a load that was cut short.
    fn finish(&self, answer: &impl Fn() -> Answer) {
        let mut calls = 0_u64;
        while !self.script.finish(|stage| self.is_reached(stage), |stage| self.enter(stage)) {
            if self.refuses_for() > PATIENCE {
                return;
            }
            self.call_once(answer);
            calls += 1;
        }
        if calls > 0 {
            self.context.note("stages finished by the check", format!("with {calls} calls"));
        }
    }

    /// Calls until there is a calm: a load that was cut short leaves trouble behind.
    fn recover(&self, answer: &impl Fn() -> Answer) {
        self.end_trouble(AFTERWARDS);
        let began = Instant::now();
        while !self.is_calm() && began.elapsed() + self.refuses_for() <= PATIENCE {
            self.call_once(answer);
        }
    }

    /// How long the breaker refuses from now on, as far as it tells.
    fn refuses_for(&self) -> Duration {
        self.breaker.would_refuse().and_then(|refused| refused.retry_after()).unwrap_or_default()
    }

    /// One call of the check's own; it doesn't hurry if it is refused.
    fn call_once(&self, answer: &impl Fn() -> Answer) {
        let begun = self.begin();
        let result = match self.acquire() {
            Ok(permit) => self.settle(permit, answer()).map_err(CallError::Failed),
            Err(rejected) => Err(rejected.into()),
        };
        self.end(begun, &result);
        if !matches!(result, Ok(()) | Err(CallError::Failed(_))) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.calm_down();
    }
}

/// The calls of the window, and the least of them that open it, if so many threads record outcomes. Each may hold back one that it has
/// and hasn't recorded. Half of a bad time's outcomes fail, so a quarter of them is recorded for sure; and what is held back
/// when the time is good again never comes to a quarter.
fn sizes(recorders: u64) -> (u64, u64) {
    (100.max(16 * recorders), 20.max(8 * recorders))
}

/// The median and the upper percentiles of what was recorded.
pub(super) fn report(name: &str, histogram: &Histogram, checks: &mut Checks) {
    let read = histogram.read();
    let mut told = BTreeMap::new();
    for (percentile, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        // The upper end of the bucket: at worst 1 % too much.
        if let Some(bounds) = read.quantile(quantile) {
            told.insert(percentile, Duration::from_nanos(bounds.upper));
        }
    }
    for (percentile, value) in told {
        checks.value(format!("{name}_{percentile}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_hold_back_neither_keeps_it_closed_nor_opens_it() {
        for recorders in [1, 2, 3, 64, 1_000] {
            let (window, calls_min) = sizes(recorders);
            for calls in [calls_min, window] {
                let opens_at = calls as f64 * FAILURE_PERCENT / 100.0;
                assert!((calls / 2 - recorders) as f64 >= opens_at && (recorders as f64) < opens_at);
            }
        }
    }
}
