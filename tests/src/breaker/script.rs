//! What happens to a dependency while a load runs: stages, one after the other, by the time since the first operation.
//!
//! Whichever operation first sees that a stage is over begins the next one; the report's time axis shows it. A soak goes through the stages again and
//! again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use steadfast_stress::{Context, Load, Tier};

/// A stage's name and its full length.
pub(super) type Stage = (&'static str, Duration);

/// The stages of one run.
#[derive(Debug)]
pub(super) struct Script {
    stages: Vec<Stage>,
    began: OnceLock<Instant>,
    /// How many stages have begun, over all rounds.
    begun: AtomicUsize,
    changing: Mutex<()>,
    context: Context,
}

impl Script {
    /// The stages as the run's tier has them; smoke divides their lengths.
    pub(super) fn new(stages: &[Stage], smoke_divisor: u32, context: &Context) -> Self {
        let divisor = if context.tier() == Tier::Smoke { smoke_divisor } else { 1 };
        let stages = stages.iter().map(|&(name, length)| (name, length / divisor)).collect();
        Self {
            stages,
            began: OnceLock::new(),
            begun: AtomicUsize::new(0),
            changing: Mutex::new(()),
            context: context.clone(),
        }
    }

    /// Moves on if it is time: `enter` is called once for each stage, in order, with its name.
    pub(super) fn advance(&self, enter: impl Fn(&'static str)) {
        let elapsed = self.began.get_or_init(Instant::now).elapsed();
        let due = self.due(elapsed);
        // Acquire: partner of the store below, so whoever goes on finds the stage entered.
        if self.begun.load(Ordering::Acquire) > due {
            return;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for number in self.begun.load(Ordering::Acquire)..=due {
            let (name, _) = self.stages[number % self.stages.len()];
            self.context.mark(name);
            enter(name);
            self.begun.store(number + 1, Ordering::Release);
        }
    }

    /// The number of the stage at `elapsed`. Only a soak begins anew; otherwise the last stage lasts.
    fn due(&self, elapsed: Duration) -> usize {
        let round: Duration = self.stages.iter().map(|(_, length)| *length).sum();
        let is_soak = self.context.tier() == Tier::Soak;
        let rounds = if is_soak { (elapsed.as_nanos() / round.as_nanos()) as usize } else { 0 };
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
