//! What a scenario is: a load, an operation, and what must hold afterwards.
//!
//! The engine calls, in this order: [`Scenario::set_up`], [`Scenario::operation`] as often as the load says,
//! [`Scenario::check`], [`Scenario::tear_down`]. Once `set_up` has returned a state, `tear_down` always gets it back,
//! whatever failed in between. An operation may be dropped at any await: by its timeout, or by Ctrl-C.

use std::future::{self, Future};
use std::time::Duration;

use crate::checks::Checks;
use crate::context::Context;
use crate::failure::Failure;
use crate::load::{Load, Reduction};
use crate::rng::Rng;

/// One stress scenario: how it is loaded and what must be true of the result.
///
/// Write the async methods as plain `async fn`:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally};
///
/// struct Increments;
///
/// impl Scenario for Increments {
///     type State = AtomicU64;
///
///     fn name(&self) -> &str {
///         "increments"
///     }
///     fn description(&self) -> &str {
///         "100 users increment one counter at once"
///     }
///     fn load(&self) -> Load {
///         Load::users(100).each(10)
///     }
///     fn objectives(&self) -> Vec<&str> {
///         vec!["success >= 100%"]
///     }
///     async fn set_up(&self, _: &Context) -> Result<AtomicU64, Failure> {
///         Ok(AtomicU64::new(0))
///     }
///     async fn operation(&self, counter: &AtomicU64, _: Call) -> Result<(), Failure> {
///         counter.fetch_add(1, Ordering::Relaxed);
///         Ok(())
///     }
///     async fn check(&self, counter: &AtomicU64, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
///         checks.exactly("every increment counted", counter.load(Ordering::Relaxed), tally.succeeded);
///         Ok(())
///     }
/// }
///
/// steadfast_stress::check(Increments);
/// ```
pub trait Scenario: Send + Sync + 'static {
    /// What set-up builds and all operations share.
    type State: Send + Sync + 'static;

    /// The name within its suite: lower-case letters, digits and `_`.
    fn name(&self) -> &str;

    /// One line for `--list` and the report.
    fn description(&self) -> &str;

    /// The full load, as tier `standard` runs it.
    fn load(&self) -> Load;

    /// By how much tier `smoke` shortens the load. By default not at all.
    ///
    /// The load is the only difference between the tiers: objectives and invariants are the same in all.
    fn smoke(&self) -> Reduction {
        Reduction::none()
    }

    /// The load of tier `extreme`: by default ten times the users or the rate. A scenario whose invariants hold only
    /// for its own numbers keeps them.
    fn extreme(&self) -> Load {
        self.load().times(10)
    }

    /// The load of tier `soak`, which lasts as long as the command line says. By default the full load over that time;
    /// nothing, and then the scenario isn't run, if it is a number of operations.
    fn soak(&self, duration: Duration) -> Option<Load> {
        self.load().over(duration)
    }

    /// What must hold of the figures, such as `p95 < 100ms`; see [`Objective`](crate::Objective) for the grammar.
    ///
    /// One that can't be parsed is a usage error before anything runs.
    fn objectives(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Builds what the operations work on. Not measured.
    ///
    /// # Errors
    ///
    /// A failure fails the scenario. What was half built must clean up by being dropped: there is no state to tear
    /// down. The scratch directory is removed in any case.
    fn set_up(&self, context: &Context) -> impl Future<Output = Result<Self::State, Failure>> + Send;

    /// One operation. It is measured from this call to its completion, and in an open loop also from the time at
    /// which it should have started.
    ///
    /// It runs on the runtime's worker threads, so it must not block one: a blocked thread can neither be timed out
    /// nor interrupted. Take synchronous work of more than some microseconds to `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// A failure is counted under its kind. An outcome that the scenario provokes, such as a version conflict, isn't
    /// a failure: count it in the state and report it as a [value](Checks::value).
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when its time is up or the run is interrupted. What the target did of it is then
    /// unknown; `check` must allow for that with [`Tally::timed_out`] and [`Tally::cancelled`].
    fn operation(&self, state: &Self::State, call: Call) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Checks the invariants, once the last operation has ended. Not measured. Also runs after an interrupt, so
    /// compare with `tally` rather than with the load that was planned.
    ///
    /// # Errors
    ///
    /// A failure means that the check itself could not be made, and fails the scenario.
    fn check(
        &self,
        state: &Self::State,
        tally: &Tally,
        checks: &mut Checks,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (state, tally, checks);
        future::ready(Ok(()))
    }

    /// Takes down what set-up built. By default the state is dropped.
    ///
    /// # Errors
    ///
    /// A failure fails the scenario.
    fn tear_down(&self, state: Self::State) -> impl Future<Output = Result<(), Failure>> + Send {
        drop(state);
        future::ready(Ok(()))
    }
}

/// Which operation this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Who calls: a user of the closed loop, or a slot of the open loop. Never two calls of one user at a time.
    pub user: usize,
    /// Closed loop: this user's operations, from 0. Open loop: the place in the schedule, from 0.
    pub number: u64,
    /// Unique in the run, from 0. Without gaps if all users issue the same number of operations.
    pub index: u64,
    /// Made from the run's seed and the operation alone: a repeated run gives each operation the same seed.
    pub seed: u64,
}

impl Call {
    /// A generator of this operation's own random numbers.
    pub fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }
}

/// What became of the load, for [`Scenario::check`].
///
/// `issued = succeeded + failed + timed_out + cancelled`, always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// How many operations the load wanted to issue; nothing where it is bound by time, not by number.
    pub planned: Option<u64>,
    /// Operations really started.
    pub issued: u64,
    /// Operations that returned `Ok`.
    pub succeeded: u64,
    /// Operations that returned an error or panicked.
    pub failed: u64,
    /// Those of the failed that panicked.
    pub panicked: u64,
    /// Operations that were dropped at their timeout; whether the target did them is unknown.
    pub timed_out: u64,
    /// Operations that an interrupt dropped; whether the target did them is unknown.
    pub cancelled: u64,
    /// The most operations that were in flight at one time.
    pub in_flight_peak: u64,
    /// From the start of the load to the end of the last operation, and in an open loop at least its schedule.
    pub elapsed: Duration,
    /// Whether Ctrl-C cut the load short.
    pub interrupted: bool,
    /// The phases of the load, in their order; empty where it has only one.
    pub phases: Vec<PhaseTally>,
}

/// What became of the operations that started in one phase of the load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseTally {
    /// As objectives call it: the name that it was given, or its number from 1.
    pub name: String,
    /// How long it was.
    pub length: Duration,
    /// Operations that returned `Ok`.
    pub succeeded: u64,
    /// Operations that returned an error or panicked.
    pub failed: u64,
    /// Operations that were dropped at their timeout.
    pub timed_out: u64,
    /// The median of the latency that objectives are about, to 1 %; 0 where nothing was timed.
    pub p50: Duration,
    /// Its 95th percentile.
    pub p95: Duration,
    /// Its 99th percentile.
    pub p99: Duration,
    /// Its maximum.
    pub max: Duration,
}
