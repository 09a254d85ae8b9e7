//! What happens to a dependency while a load runs: stages, one after the other.
//!
//! A stage ends when its time is over, by the time since the first operation, and its purpose is
//! reached: what it is there to cause has happened. So a machine that stands still for a while
//! makes a stage longer and never skips one. One that began late ends as soon as its purpose is
//! reached, until the stages are on time again. A purpose that is never reached holds a stage up
//! for at most a given overtime; what didn't happen then is for the checks to see.
//!
//! Whichever operation first sees that a stage is over begins the next one, and only that one. A soak goes through the stages again and
//! again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use steadfast_stress::{Load, Tier};

/// What counts of a stage's overtime between two looks at most: while nobody looked, nothing could
/// happen.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// A stage's name and its full length.
pub(super) type Stage = (&'static str, Duration);

/// The stages of one run.
#[derive(Debug)]
pub(super) struct Script {
    stages: Vec<Stage>,
    is_soak: bool,
    overtime_max: Duration,
    began: OnceLock<Instant>,
    /// How many stages have begun, over all rounds.
    begun: AtomicUsize,
    /// Held by who looks whether a stage is over, and begins the next one.
    waiting: Mutex<Waiting>,
}

/// How long a stage has been waited for.
#[derive(Debug, Default)]
struct Waiting {
    /// The last look, by the time since the first operation.
    looked: Duration,
    waited: Duration,
}

impl Script {
    /// The stages as the run's tier has them; smoke divides their lengths. A stage that has not
    /// reached its purpose lasts at most `overtime_max` longer.
    pub(super) fn new(stages: &[Stage], smoke_divisor: u32, tier: Tier, overtime_max: Duration) -> Self {
        let divisor = if tier == Tier::Smoke { smoke_divisor } else { 1 };
        let stages = stages.iter().map(|&(name, length)| (name, length / divisor)).collect();
        Self {
            stages,
            is_soak: tier == Tier::Soak,
            overtime_max,
            began: OnceLock::new(),
            begun: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Begins the next stage if it is time and `is_reached` tells that the purpose of the one before is: `enter` is called once for each
    /// stage, in order, with its name.
    pub(super) fn advance(
        &self,
        is_reached: impl FnOnce(&'static str) -> bool,
        enter: impl FnOnce(&'static str),
    ) {
        self.advance_at(self.elapsed(), is_reached, enter);
    }

    /// As [`advance`](Self::advance), whatever the time, up to the last stage of a round. Tells whether that one has begun.
    pub(super) fn finish(
        &self,
        is_reached: impl FnOnce(&'static str) -> bool,
        enter: impl FnOnce(&'static str),
    ) -> bool {
        self.finish_at(self.elapsed(), is_reached, enter)
    }

    fn elapsed(&self) -> Duration {
        self.began.get_or_init(Instant::now).elapsed()
    }

    fn advance_at(
        &self,
        elapsed: Duration,
        is_reached: impl FnOnce(&'static str) -> bool,
        enter: impl FnOnce(&'static str),
    ) {
        let due = self.due(elapsed);
        // Acquire: partner of the store in `next`, so whoever goes on finds the stage entered.
        if self.begun.load(Ordering::Acquire) > due {
            return;
        }
        let waiting = match self.waiting.try_lock() {
            Ok(waiting) => waiting,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else looks.
            Err(TryLockError::WouldBlock) => return,
        };
        if self.begun.load(Ordering::Acquire) <= due {
            self.next(waiting, elapsed, is_reached, enter);
        }
    }

    fn finish_at(
        &self,
        elapsed: Duration,
        is_reached: impl FnOnce(&'static str) -> bool,
        enter: impl FnOnce(&'static str),
    ) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.load(Ordering::Acquire);
        if begun > 0 && begun.is_multiple_of(self.stages.len()) {
            return true;
        }
        self.next(waiting, elapsed, is_reached, enter);
        false
    }

    /// Begins the next stage if the one before has reached its purpose, or has been waited for long enough.
    fn next(
        &self,
        mut waiting: MutexGuard<'_, Waiting>,
        elapsed: Duration,
        is_reached: impl FnOnce(&'static str) -> bool,
        enter: impl FnOnce(&'static str),
    ) {
        let begun = self.begun.load(Ordering::Acquire);
        if let Some(last) = begun.checked_sub(1) {
            let since = elapsed.saturating_sub(waiting.looked).min(LOOK_MAX);
            *waiting = Waiting { looked: elapsed, waited: waiting.waited + since };
            if !is_reached(self.name(last)) && waiting.waited < self.overtime_max {
                return;
            }
        }
        enter(self.name(begun));
        *waiting = Waiting { looked: elapsed, waited: Duration::ZERO };
        self.begun.store(begun + 1, Ordering::Release);
    }

    fn name(&self, number: usize) -> &'static str {
        self.stages[number % self.stages.len()].0
    }

    /// The number of the stage at `elapsed`, by the clock. Only a soak begins anew; otherwise the last stage lasts.
    fn due(&self, elapsed: Duration) -> usize {
        let round: Duration = self.stages.iter().map(|(_, length)| *length).sum();
        let rounds = if self.is_soak { (elapsed.as_nanos() / round.as_nanos()) as usize } else { 0 };
        let mut left = elapsed.saturating_sub(round * rounds as u32);
        let mut at = 0;
        while at + 1 < self.stages.len() && left >= self.stages[at].1 {
            left -= self.stages[at].1;
            at += 1;
        }
        rounds * self.stages.len() + at
    }
}

/// So many users for all stages, each stage a phase.
pub(super) fn load(users: usize, stages: &[Stage]) -> Load {
    let (first, length) = stages[0];
    let begin = Load::users(users).lasting(length).named(first);
    stages[1..].iter().fold(begin, |load, &(name, length)| load.then(users as u32, length).named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OVERTIME: Duration = Duration::from_secs(10);
    const STAGES: [Stage; 3] = [("first", SECOND), ("second", SECOND), ("third", SECOND)];

    /// What is entered at so many milliseconds, if the purpose is reached or not.
    fn entered(script: &Script, at_ms: u64, is_reached: bool) -> Option<&'static str> {
        let mut entered = None;
        script.advance_at(Duration::from_millis(at_ms), |_| is_reached, |stage| entered = Some(stage));
        entered
    }

    #[test]
    fn a_stage_ends_when_its_time_is_over_and_its_purpose_is_reached() {
        let script = Script::new(&STAGES, 8, Tier::Standard, OVERTIME);
        assert_eq!(entered(&script, 0, false), Some("first"), "nothing is before the first");
        assert_eq!(entered(&script, 999, true), None, "its time isn't over");
        assert_eq!(entered(&script, 1_000, false), None, "its purpose isn't reached");
        assert_eq!(entered(&script, 1_300, true), Some("second"));
        assert_eq!(entered(&script, 1_999, true), None);
        assert_eq!(entered(&script, 2_000, true), Some("third"));
        assert_eq!(entered(&script, 60_000, true), None, "the last one lasts");
    }

    #[test]
    fn stages_are_entered_one_by_one_also_after_a_standstill() {
        let script = Script::new(&STAGES, 8, Tier::Smoke, OVERTIME);
        assert_eq!(entered(&script, 0, true), Some("first"));
        assert_eq!(entered(&script, 50_000, false), None, "standing still doesn't wear out the patience");
        assert_eq!(entered(&script, 50_000, true), Some("second"));
        assert_eq!(entered(&script, 50_001, false), None);
        assert_eq!(entered(&script, 50_002, true), Some("third"));
    }

    #[test]
    fn a_purpose_that_is_never_reached_holds_a_stage_up_for_so_long() {
        let script = Script::new(&STAGES, 8, Tier::Standard, OVERTIME);
        assert_eq!(entered(&script, 0, true), Some("first"));
        let looks = (1_000..).step_by(50).map(|at_ms| (at_ms, entered(&script, at_ms, false)));
        let (at_ms, stage) = looks.take(1_000).find(|(_, stage)| stage.is_some()).unwrap();
        assert_eq!(stage, Some("second"));
        // The first look counts as one of any length.
        let waited = Duration::from_millis(at_ms - 1_000) + LOOK_MAX;
        assert!((OVERTIME..OVERTIME + LOOK_MAX).contains(&waited), "{waited:?}");
    }

    #[test]
    fn a_soak_begins_anew_and_is_finished_within_its_round() {
        let script = Script::new(&STAGES, 8, Tier::Soak, OVERTIME);
        for at in 0..4 {
            assert_eq!(entered(&script, at * 1_000, true), Some(STAGES[at as usize % 3].0));
        }
        let mut finished = Vec::new();
        // None of these is due by the clock.
        while !script.finish_at(3 * SECOND, |_| true, |stage| finished.push(stage)) {}
        assert_eq!(finished, ["second", "third"]);
    }

    #[test]
    fn what_no_operation_began_is_finished_from_the_first_stage_on() {
        let script = Script::new(&STAGES, 8, Tier::Smoke, OVERTIME);
        let mut finished = Vec::new();
        while !script.finish_at(Duration::ZERO, |_| true, |stage| finished.push(stage)) {}
        assert_eq!(finished, ["first", "second", "third"]);
    }
}
