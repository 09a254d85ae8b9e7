//! How a scenario is loaded: the public description, its validation and its reduction for tier smoke.
//!
//! A [`Load`] is only numbers; `load/closed.rs` and `load/open.rs` run it. A new shape is a new arm of [`Shape`] and
//! a new file beside those two; where only the times of arrival differ, it is a new schedule in `load/pacer.rs`.

mod closed;
mod open;
mod pacer;
mod run;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::format;

pub(crate) use self::pacer::Schedule;
pub(crate) use self::run::{Ran, Stop, run};

/// An operation may take this long if the scenario doesn't say otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The load of a scenario.
///
/// ```
/// use std::time::Duration;
/// use steadfast_stress::Load;
///
/// // Closed loop: 500 users start together, each issues one operation and waits for it.
/// let together = Load::users(500).each(1).timeout(Duration::from_secs(10));
/// assert_eq!(together.planned(), Some(500));
///
/// // Open loop: 100 operations a second, whatever the target does, at most 64 of them in flight.
/// let steady = Load::rate(100.0).max_in_flight(64).lasting(Duration::from_secs(3));
/// assert_eq!(steady.planned(), Some(300));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub(crate) shape: Shape,
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Closed loop: each user issues its next operation when the last one has ended.
    Users { users: usize, until: Until, think_time: Duration },
    /// Open loop: operations start by a schedule, however long they take.
    Rate { per_second: f64, max_in_flight: usize, duration: Duration },
}

/// When a user of the closed loop stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Until {
    Operations(u64),
    Elapsed(Duration),
}

/// A number of users that still needs to be told for how long: see [`Load::users`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say how many operations each user issues, or for how long"]
pub struct Users(usize);

/// A rate that still needs a cap on the operations in flight: see [`Load::rate`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say how many operations may be in flight"]
pub struct Rate(f64);

/// A capped rate that still needs a duration: see [`Load::rate`].
#[derive(Debug, Clone, Copy)]
#[must_use = "say for how long"]
pub struct CappedRate(f64, usize);

impl Load {
    /// Closed loop: so many users, each with one operation at a time. All start together, behind a barrier. The
    /// latency is *service time*: a user who waits for a slow operation issues no other, so what would have come
    /// meanwhile is missing from the figures.
    pub fn users(users: usize) -> Users {
        Users(users)
    }

    /// Open loop: so many operations a second, evenly spaced, whether or not the earlier ones have ended. The latency
    /// is *response time*: from the time at which the schedule wanted the operation to start.
    pub fn rate(per_second: f64) -> Rate {
        Rate(per_second)
    }

    /// How long one operation may take, from its real start; then it is dropped and counted as timed out. 30 s unless
    /// told otherwise. In an open loop operations that are behind schedule are still sent for as long after its end.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a user of the closed loop rests between two operations. Has no effect in an open loop.
    #[must_use]
    pub fn think_time(mut self, rest: Duration) -> Self {
        if let Shape::Users { think_time, .. } = &mut self.shape {
            *think_time = rest;
        }
        self
    }

    /// How many operations will be issued; nothing where time decides that.
    pub fn planned(&self) -> Option<u64> {
        match self.shape {
            Shape::Users { users, until: Until::Operations(each), .. } => Some(users as u64 * each),
            Shape::Users { .. } => None,
            Shape::Rate { per_second, duration, .. } => Some(Schedule::total(per_second, duration)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.shape, Shape::Rate { .. })
    }

    /// How many operations can be in flight at most.
    pub(crate) fn slots(&self) -> usize {
        match self.shape {
            Shape::Users { users, .. } => users,
            Shape::Rate { max_in_flight, .. } => max_in_flight,
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        match self.shape {
            Shape::Users { until: Until::Operations(_), .. } => None,
            Shape::Users { until: Until::Elapsed(duration), .. } | Shape::Rate { duration, .. } => {
                Some(duration)
            }
        }
    }

    /// What can't be run, by the name and bound of the field.
    pub(crate) fn validate(&self) -> Result<(), String> {
        const SLOTS_MAX: usize = 1_000_000;
        let slots = self.slots();
        if slots == 0 || slots > SLOTS_MAX {
            let field = if self.is_open() { "max_in_flight" } else { "users" };
            return Err(format!("{field} is {slots}, must be 1 to {SLOTS_MAX}"));
        }
        if self.timeout.is_zero() {
            return Err("timeout is 0, must be more".to_owned());
        }
        if self.duration().is_some_and(|duration| duration.is_zero()) {
            return Err("duration is 0, must be more".to_owned());
        }
        match self.shape {
            Shape::Users { until: Until::Operations(0), .. } => {
                Err("operations for each user is 0, must be at least 1".to_owned())
            }
            Shape::Users { users, until: Until::Operations(each), .. } => {
                let fits = (users as u64).checked_mul(each).is_some();
                fits.then_some(()).ok_or_else(|| "users × operations is beyond 2^64".to_owned())
            }
            Shape::Rate { per_second, .. } if !(per_second > 0.0 && per_second <= 1e7) => {
                Err(format!("rate is {per_second}/s, must be more than 0/s and at most 10000000/s"))
            }
            Shape::Rate { .. } if self.planned() == Some(0) => {
                Err("the schedule holds no operation: rate × duration is below 1".to_owned())
            }
            Shape::Users { .. } | Shape::Rate { .. } => Ok(()),
        }
    }

    /// This load, shortened for tier smoke.
    pub(crate) fn reduced(&self, by: Reduction) -> Self {
        let shorter = |duration: Duration| duration / by.duration.max(1);
        let shape = match self.shape {
            Shape::Users { users, until, think_time } => Shape::Users {
                users: (users / by.users.max(1) as usize).max(users.min(1)),
                until: match until {
                    Until::Operations(each) => {
                        Until::Operations((each / u64::from(by.operations.max(1))).max(each.min(1)))
                    }
                    Until::Elapsed(duration) => Until::Elapsed(shorter(duration)),
                },
                think_time,
            },
            Shape::Rate { per_second, max_in_flight, duration } => {
                Shape::Rate { per_second, max_in_flight, duration: shorter(duration) }
            }
        };
        Self { shape, timeout: self.timeout }
    }

    pub(crate) fn figures(&self) -> LoadFigures {
        let (users, operations_each, think_time, rate) = match self.shape {
            Shape::Users { users, until, think_time } => {
                let each = match until {
                    Until::Operations(each) => Some(each),
                    Until::Elapsed(_) => None,
                };
                (Some(users), each, Some(think_time).filter(|rest| !rest.is_zero()), None)
            }
            Shape::Rate { per_second, .. } => (None, None, None, Some(per_second)),
        };
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

impl Users {
    /// Each user issues so many operations, one after the other.
    pub fn each(self, operations: u64) -> Load {
        self.until(Until::Operations(operations))
    }

    /// Each user issues operations until so much time has passed; those in flight then are waited for.
    pub fn lasting(self, duration: Duration) -> Load {
        self.until(Until::Elapsed(duration))
    }

    fn until(self, until: Until) -> Load {
        let shape = Shape::Users { users: self.0, until, think_time: Duration::ZERO };
        Load { shape, timeout: TIMEOUT_DEFAULT }
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
    /// The length of the schedule.
    pub fn lasting(self, duration: Duration) -> Load {
        let shape = Shape::Rate { per_second: self.0, max_in_flight: self.1, duration };
        Load { shape, timeout: TIMEOUT_DEFAULT }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Users { users, until, think_time } => {
                match until {
                    Until::Operations(each) => write!(f, "{users} users × {each}")?,
                    Until::Elapsed(duration) => write!(f, "{users} users, {}", format::time(*duration))?,
                }
                if !think_time.is_zero() {
                    write!(f, ", {} rest", format::time(*think_time))?;
                }
                Ok(())
            }
            Shape::Rate { per_second, max_in_flight, duration } => {
                write!(f, "{per_second}/s, {}, ≤ {max_in_flight} at once", format::time(*duration))
            }
        }
    }
}

/// By how much tier smoke shortens a load. The default is not at all; nothing ever falls below 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    users: u32,
    operations: u32,
    duration: u32,
}

impl Reduction {
    /// The full load in both tiers.
    pub fn none() -> Self {
        Self { users: 1, operations: 1, duration: 1 }
    }

    /// Divides the number of users of a closed loop.
    #[must_use]
    pub fn users(mut self, divisor: u32) -> Self {
        self.users = divisor;
        self
    }

    /// Divides the operations of each user of a closed loop.
    #[must_use]
    pub fn operations(mut self, divisor: u32) -> Self {
        self.operations = divisor;
        self
    }

    /// Divides the duration. Never the rate: that would be an easier target, not a shorter run.
    #[must_use]
    pub fn duration(mut self, divisor: u32) -> Self {
        self.duration = divisor;
        self
    }

    /// What is reduced, for the report: only what changes this load.
    pub(crate) fn describe(self, full: &Load) -> Option<String> {
        let reduced = full.reduced(self);
        (reduced != *full).then(|| format!("load: {reduced} instead of {full}"))
    }
}

impl Default for Reduction {
    fn default() -> Self {
        Self::none()
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
    /// Users of a closed loop.
    pub users: Option<usize>,
    /// Operations of each user.
    pub operations_each: Option<u64>,
    /// Length of the schedule, or time during which users start operations.
    pub duration_ms: Option<f64>,
    /// Rest between two operations of a user.
    pub think_time_ms: Option<f64>,
    /// Operations a second that the schedule wants.
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn loads_say_what_they_issue() {
        assert_eq!(Load::users(20).each(5).planned(), Some(100));
        assert_eq!(Load::users(20).lasting(SECOND).planned(), None);
        assert_eq!(Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND).planned(), Some(300));
        let described = Load::users(5).each(2).think_time(SECOND / 1_000).to_string();
        assert_eq!(described, "5 users × 2, 1.00 ms rest");
        let described = Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND).to_string();
        assert_eq!(described, "100/s, 3.00 s, ≤ 8 at once");
    }

    #[test]
    fn bad_numbers_are_named() {
        let error = |load: Load| load.validate().unwrap_err();
        assert_eq!(error(Load::users(0).each(1)), "users is 0, must be 1 to 1000000");
        assert!(error(Load::users(1).each(0)).starts_with("operations for each user is 0"));
        assert!(error(Load::users(2).each(u64::MAX)).contains("beyond 2^64"));
        assert!(error(Load::users(1).lasting(Duration::ZERO)).starts_with("duration is 0"));
        assert!(error(Load::users(1).each(1).timeout(Duration::ZERO)).starts_with("timeout is 0"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(error(Load::rate(rate).max_in_flight(1).lasting(SECOND)).starts_with("rate is "));
        }
        assert!(error(Load::rate(1.0).max_in_flight(0).lasting(SECOND)).starts_with("max_in_flight is 0"));
        assert!(error(Load::rate(0.5).max_in_flight(1).lasting(SECOND)).contains("holds no operation"));
    }

    #[test]
    fn a_reduction_shortens_but_never_to_nothing() {
        let by = Reduction::none().users(10).operations(10).duration(10);
        assert_eq!(Load::users(500).each(20).reduced(by), Load::users(50).each(2));
        assert_eq!(Load::users(5).each(2).reduced(by), Load::users(1).each(1));
        let open = Load::rate(100.0).max_in_flight(8).lasting(30 * SECOND);
        assert_eq!(open.reduced(by), Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND));
        let told = Reduction::none().duration(10).describe(&open).unwrap();
        assert_eq!(told, "load: 100/s, 3.00 s, ≤ 8 at once instead of 100/s, 30.0 s, ≤ 8 at once");
        assert_eq!(Reduction::none().users(10).describe(&open), None);
        assert_eq!(open.reduced(Reduction::none().duration(0)), open);
    }
}
