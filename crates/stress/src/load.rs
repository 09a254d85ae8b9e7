//! How a scenario is loaded: the public description, its validation, and what the tiers make of it.
//!
//! A [`Load`] is only numbers; `load/closed.rs` and `load/open.rs` run it. What it may be made of is in
//! `load/phase.rs`, and when the operations of an open loop start, in `load/schedule.rs`.

mod closed;
mod open;
mod pacer;
mod phase;
mod reduction;
mod run;
mod schedule;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::format;

pub use self::reduction::Reduction;

pub(crate) use self::phase::{Pace, Phase};
pub(crate) use self::run::{Ran, Stop, run};
pub(crate) use self::schedule::{Arrivals, Schedule};

/// An operation may take this long if the scenario doesn't say otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Each phase has figures of its own, so their number is bounded.
const PHASES_MAX: usize = 64;

/// The load of a scenario: one phase, or several one after the other.
///
/// ```
/// use std::time::Duration;
/// use steadfast_stress::Load;
///
/// let seconds = Duration::from_secs;
///
/// // Closed loop: 500 users start together, each issues one operation and waits for it.
/// let together = Load::users(500).each(1).timeout(seconds(10));
/// assert_eq!(together.planned(), Some(500));
///
/// // Open loop: 100 operations a second, whatever the target does, at most 64 of them in flight.
/// let steady = Load::rate(100.0).max_in_flight(64).lasting(seconds(3));
/// assert_eq!(steady.planned(), Some(300));
///
/// // A spike: up to ten times the rate and back. Arrivals are random, as those of independent callers are.
/// let spike = Load::rate(100.0)
///     .max_in_flight(256)
///     .lasting(seconds(10))
///     .named("before")
///     .then(1_000, seconds(2))
///     .named("spike")
///     .then(100, seconds(10))
///     .named("after")
///     .poisson();
/// assert_eq!(spike.planned(), Some(4_000));
///
/// // Three bursts of 50, a second apart; and users who come one after the other and stay.
/// let bursts = Load::burst(50).max_in_flight(50).lasting(seconds(1)).repeated(3);
/// assert_eq!(bursts.planned(), Some(150));
/// let ramp = Load::users(1).ramping_to(20, seconds(10)).then(20, seconds(10));
/// assert_eq!(ramp.planned(), None);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub(crate) shape: Shape,
    pub(crate) think_time: Duration,
    pub(crate) timeout: Duration,
    /// What was asked for and can't be; told by `validate`, so that no builder panics.
    misuse: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Closed loop by number: each user issues its next operation when the last one has ended.
    Counted { users: usize, each: u64 },
    /// Closed loop by time: the same, and the number of users follows the phases.
    Users { phases: Vec<Phase> },
    /// Open loop: operations start by a schedule, however long they take.
    Rate { phases: Vec<Phase>, arrivals: Arrivals, max_in_flight: usize },
}

/// A number of users that still needs to be told for how long: see [`Load::users`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say how many operations each user issues, or for how long"]
pub struct Users(usize);

/// A rate that still needs a cap on the operations in flight: see [`Load::rate`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say how many operations may be in flight"]
pub struct Rate(Pace);

/// A capped rate that still needs a duration: see [`Load::rate`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say for how long"]
pub struct CappedRate(Pace, usize);

impl Load {
    /// Closed loop: so many users, each with one operation at a time. All start together, behind a barrier. The
    /// latency is *service time*: a user who waits for a slow operation issues no other, so what would have come
    /// meanwhile is missing from the figures.
    pub fn users(users: usize) -> Users {
        Users(users)
    }

    /// Open loop: so many operations a second, whether or not the earlier ones have ended; evenly spaced, or as
    /// [`poisson`](Self::poisson) says. The latency is *response time*: from the time at which the schedule wanted the
    /// operation to start.
    pub fn rate(per_second: f64) -> Rate {
        Rate(Pace::Steady(per_second))
    }

    /// Open loop: so many operations, all at the first moment of the phase.
    pub fn burst(operations: u64) -> Rate {
        Rate(Pace::Burst(operations))
    }

    /// Then another phase of so many users, or operations a second.
    #[must_use]
    pub fn then(self, pace: impl Into<f64>, duration: Duration) -> Self {
        self.with(Pace::Steady(pace.into()), duration)
    }

    /// Then a phase in which users, or operations a second, change evenly from what they were last to so many.
    #[must_use]
    pub fn then_ramp(self, to: impl Into<f64>, duration: Duration) -> Self {
        let from = self.phases().last().map_or(0.0, |phase| phase.pace.last());
        self.with(Pace::Ramp { from, to: to.into() }, duration)
    }

    /// Then so many operations at once, and none for the rest of the phase. Only in an open loop.
    #[must_use]
    pub fn then_burst(mut self, operations: u64, duration: Duration) -> Self {
        if !self.is_open() {
            self.misuse = Some("a burst needs an open loop: begin with `rate` or `burst`");
        }
        self.with(Pace::Burst(operations), duration)
    }

    /// Names the last phase, for objectives such as `p95 < 1s in phase spike`. Letters, digits and `_`; without a name
    /// a phase is called by its number, from 1.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        match self.phases_mut().and_then(|phases| phases.last_mut()) {
            Some(last) => last.name = Some(name.into()),
            None => self.misuse = Some(COUNTED),
        }
        self
    }

    /// All phases so far, so many times over. Names of phases are dropped: they would stand for several.
    #[must_use]
    pub fn repeated(mut self, times: usize) -> Self {
        match self.phases_mut() {
            Some(phases) => {
                // Bounded before it is multiplied; `validate` refuses what is beyond the bound.
                let once: Vec<Phase> =
                    phases.iter().map(|phase| Phase::new(phase.pace, phase.duration)).collect();
                *phases = once.iter().cycle().take(once.len() * times.min(PHASES_MAX + 1)).cloned().collect();
            }
            None => self.misuse = Some(COUNTED),
        }
        self
    }

    /// Operations of the open loop arrive as those of many independent callers do: at random, a Poisson process of the
    /// phases' rates with exactly as many operations as an even pace would have. The run's seed decides the times.
    #[must_use]
    pub fn poisson(mut self) -> Self {
        match &mut self.shape {
            Shape::Rate { arrivals, .. } => *arrivals = Arrivals::Poisson,
            _ => self.misuse = Some("Poisson arrivals need an open loop: begin with `rate`"),
        }
        self
    }

    /// How long one operation may take, from its real start; then it is dropped and counted as timed out. 30 s unless
    /// told otherwise. In an open loop operations that are behind schedule are still sent for as long after its end.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a user of the closed loop rests between two operations.
    #[must_use]
    pub fn think_time(mut self, rest: Duration) -> Self {
        if self.is_open() {
            self.misuse = Some("think time needs a closed loop: begin with `users`");
        }
        self.think_time = rest;
        self
    }

    /// So many times the users or operations a second, and slots. The durations, and the operations of each user,
    /// stay. Tier extreme runs a load ten times over.
    #[must_use]
    pub fn times(mut self, factor: u32) -> Self {
        let by = |number: usize| number.saturating_mul(factor as usize);
        match &mut self.shape {
            Shape::Counted { users, .. } => *users = by(*users),
            Shape::Users { .. } => {}
            Shape::Rate { max_in_flight, .. } => *max_in_flight = by(*max_in_flight),
        }
        for phase in self.phases_mut().into_iter().flatten() {
            phase.pace = phase.pace.times(factor);
        }
        self
    }

    /// The same over another time: each phase takes the same share of it. Nothing for a load that is a number of
    /// operations and not a time. Tier soak runs a load so.
    pub fn over(mut self, duration: Duration) -> Option<Self> {
        let now = self.duration().filter(|now| !now.is_zero())?;
        let factor = duration.as_secs_f64() / now.as_secs_f64();
        for phase in self.phases_mut()? {
            phase.duration = Duration::try_from_secs_f64(phase.duration.as_secs_f64() * factor).ok()?;
        }
        Some(self)
    }

    /// How many operations will be issued; nothing where time decides that.
    pub fn planned(&self) -> Option<u64> {
        match &self.shape {
            Shape::Counted { users, each } => Some((*users as u64).saturating_mul(*each)),
            Shape::Users { .. } => None,
            Shape::Rate { phases, .. } => Some(Schedule::total(phases)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.shape, Shape::Rate { .. })
    }

    /// How many operations can be in flight at most.
    pub(crate) fn slots(&self) -> usize {
        match &self.shape {
            Shape::Counted { users, .. } => *users,
            Shape::Users { .. } => self.peak().unwrap_or(0.0) as usize,
            Shape::Rate { max_in_flight, .. } => *max_in_flight,
        }
    }

    /// The most users, or operations a second, of any phase but bursts.
    pub(crate) fn peak(&self) -> Option<f64> {
        self.phases().iter().filter_map(|phase| phase.pace.peak()).reduce(f64::max)
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        let sum = |sum: Duration, phase: &Phase| sum.saturating_add(phase.duration);
        (!matches!(self.shape, Shape::Counted { .. })).then(|| self.phases().iter().fold(Duration::ZERO, sum))
    }

    /// None of a load that is a number of operations.
    pub(crate) fn phases(&self) -> &[Phase] {
        match &self.shape {
            Shape::Counted { .. } => &[],
            Shape::Users { phases } | Shape::Rate { phases, .. } => phases,
        }
    }

    fn phases_mut(&mut self) -> Option<&mut Vec<Phase>> {
        match &mut self.shape {
            Shape::Counted { .. } => None,
            Shape::Users { phases } | Shape::Rate { phases, .. } => Some(phases),
        }
    }

    fn of(shape: Shape) -> Self {
        Self { shape, think_time: Duration::ZERO, timeout: TIMEOUT_DEFAULT, misuse: None }
    }

    fn with(mut self, pace: Pace, duration: Duration) -> Self {
        match self.phases_mut() {
            Some(phases) => phases.push(Phase::new(pace, duration)),
            None => self.misuse = Some(COUNTED),
        }
        self
    }

    /// What can't be run, by the name and bound of the field.
    pub(crate) fn validate(&self) -> Result<(), String> {
        const SLOTS_MAX: usize = 1_000_000;
        if let Some(misuse) = self.misuse {
            return Err(misuse.to_owned());
        }
        if self.timeout.is_zero() {
            return Err("timeout is 0, must be more".to_owned());
        }
        self.validate_phases()?;
        let slots = self.slots();
        if slots == 0 || slots > SLOTS_MAX {
            let field = if self.is_open() { "max_in_flight" } else { "users" };
            return Err(format!("{field} is {slots}, must be 1 to {SLOTS_MAX}"));
        }
        match &self.shape {
            Shape::Counted { each: 0, .. } => {
                Err("operations for each user is 0, must be at least 1".to_owned())
            }
            Shape::Counted { users, each } => {
                let fits = (*users as u64).checked_mul(*each).is_some();
                fits.then_some(()).ok_or_else(|| "users × operations is beyond 2^64".to_owned())
            }
            Shape::Rate { .. } if self.planned() == Some(0) => {
                Err("the schedule holds no operation: rate × duration is below 1".to_owned())
            }
            Shape::Users { .. } | Shape::Rate { .. } => Ok(()),
        }
    }

    fn validate_phases(&self) -> Result<(), String> {
        const RATE_MAX: f64 = 1e7;
        const BURST_MAX: u64 = 100_000_000;
        let phases = self.phases();
        if phases.len() > PHASES_MAX {
            return Err(format!("phases are {}, must be at most {PHASES_MAX}", phases.len()));
        }
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        for (index, phase) in phases.iter().enumerate() {
            if phase.duration.is_zero() {
                return Err("duration is 0, must be more".to_owned());
            }
            let name = phase.called(index);
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(format!("phase is named `{name}`, must be letters, digits and `_`"));
            }
            if phases[..index].iter().enumerate().any(|(other, phase)| phase.called(other) == name) {
                return Err(format!("two phases are named `{name}`"));
            }
            let values = match phase.pace {
                Pace::Steady(value) => [value, value],
                Pace::Ramp { from, to } => [from, to],
                Pace::Burst(operations) if operations > BURST_MAX => {
                    return Err(format!("burst is {operations}, must be at most {BURST_MAX}"));
                }
                Pace::Burst(_) => continue,
            };
            for value in values {
                let is_alone = phases.len() == 1 && phase.pace.peak() == Some(0.0);
                if self.is_open() && (is_alone || !(0.0..=RATE_MAX).contains(&value)) {
                    return Err(format!(
                        "rate is {value}/s, must be more than 0/s and at most {RATE_MAX:.0}/s"
                    ));
                }
                let is_whole = value >= 0.0 && value.fract() == 0.0;
                if !(self.is_open() || is_whole) {
                    return Err(format!("users is {value}, must be a whole number"));
                }
            }
        }
        Ok(())
    }

    /// This load, shortened for tier smoke.
    pub(crate) fn reduced(&self, by: Reduction) -> Self {
        let mut load = self.clone();
        let users = |users: usize| (users / by.users.max(1) as usize).max(users.min(1));
        if let Shape::Counted { users: of, each } = &mut load.shape {
            *of = users(*of);
            *each = (*each / u64::from(by.operations.max(1))).max((*each).min(1));
        }
        let is_open = load.is_open();
        for phase in load.phases_mut().into_iter().flatten() {
            phase.duration /= by.duration.max(1);
            let fewer = |value: f64| if is_open { value } else { users(value as usize) as f64 };
            match &mut phase.pace {
                Pace::Steady(value) => *value = fewer(*value),
                Pace::Ramp { from, to } => (*from, *to) = (fewer(*from), fewer(*to)),
                Pace::Burst(_) => {}
            }
        }
        load
    }

    pub(crate) fn figures(&self) -> LoadFigures {
        let (users, operations_each, rate) = match &self.shape {
            Shape::Counted { users, each } => (Some(*users), Some(*each), None),
            Shape::Users { .. } => (Some(self.slots()), None, None),
            Shape::Rate { .. } => (None, None, self.peak()),
        };
        let think_time = Some(self.think_time).filter(|rest| !rest.is_zero());
        LoadFigures {
            description: self.to_string(),
            open_loop: self.is_open(),
            users,
            operations_each,
            duration_ms: self.duration().map(milliseconds),
            think_time_ms: think_time.map(milliseconds),
            rate_per_second: rate,
            in_flight_max: self.slots(),
            timeout_ms: milliseconds(self.timeout),
            operations_planned: self.planned(),
        }
    }
}

const COUNTED: &str = "a number of operations for each user has no phases: use `lasting`";

impl Users {
    /// Each user issues so many operations, one after the other.
    pub fn each(self, operations: u64) -> Load {
        Load::of(Shape::Counted { users: self.0, each: operations })
    }

    /// Each user issues operations until so much time has passed; those in flight then are waited for.
    pub fn lasting(self, duration: Duration) -> Load {
        Load::of(Shape::Users { phases: vec![Phase::new(Pace::Steady(self.0 as f64), duration)] })
    }

    /// The number of users changes evenly to so many. Who leaves ends its operation first.
    pub fn ramping_to(self, users: usize, over: Duration) -> Load {
        let pace = Pace::Ramp { from: self.0 as f64, to: users as f64 };
        Load::of(Shape::Users { phases: vec![Phase::new(pace, over)] })
    }
}

impl Rate {
    /// At most so many operations at one time, as so many connections would allow. An operation that has to wait for
    /// a free slot is late, and its wait is part of its response time.
    pub fn max_in_flight(self, operations: usize) -> CappedRate {
        CappedRate(self.0, operations)
    }
}

impl CappedRate {
    /// The length of the schedule, or of its first phase.
    pub fn lasting(self, duration: Duration) -> Load {
        let phases = vec![Phase::new(self.0, duration)];
        Load::of(Shape::Rate { phases, arrivals: Arrivals::Even, max_in_flight: self.1 })
    }

    /// The rate changes evenly to so many operations a second.
    pub fn ramping_to(self, per_second: f64, over: Duration) -> Load {
        Self(Pace::Ramp { from: self.0.last(), to: per_second }, self.1).lasting(over)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Counted { users, each } => write!(f, "{users} users × {each}")?,
            Shape::Users { phases } => phase::describe(phases, " users", f)?,
            Shape::Rate { phases, arrivals, max_in_flight } => {
                phase::describe(phases, "/s", f)?;
                if *arrivals == Arrivals::Poisson {
                    f.write_str(", Poisson")?;
                }
                write!(f, ", ≤ {max_in_flight} at once")?;
            }
        }
        if !self.think_time.is_zero() {
            write!(f, ", {} rest", format::time(self.think_time))?;
        }
        Ok(())
    }
}

/// A load in numbers, for the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoadFigures {
    /// The load in words.
    pub description: String,
    /// Whether operations start by a schedule, and latency is response time.
    pub open_loop: bool,
    /// Users of a closed loop; of several phases the most.
    pub users: Option<usize>,
    /// Operations of each user.
    pub operations_each: Option<u64>,
    /// Length of the schedule, or time during which users start operations.
    pub duration_ms: Option<f64>,
    /// Rest between two operations of a user.
    pub think_time_ms: Option<f64>,
    /// Operations a second that the schedule wants; of several phases the highest.
    pub rate_per_second: Option<f64>,
    /// The most operations that can be in flight.
    pub in_flight_max: usize,
    /// How long one operation may take.
    pub timeout_ms: f64,
    /// How many operations are to be issued; absent where time decides that.
    pub operations_planned: Option<u64>,
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
