//! `index.rapid_scale`: 10 users become 500, then 1 000, then fewer again, each resting 100 ms between two searches.
//!
//! The last phase has as many users as the first. If it is slower, something was left behind: a queue that doesn't drain, memory that
//! isn't given back, threads that stay. The medians are compared, since with ten users a tail is a matter of a few searches. Half
//! as much again is room for what two calm phases of one machine differ by.

use std::time::Duration;

use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally};

use super::asked::{Asked, Needs};
use crate::backend::Backend;

const THINK_TIME: Duration = Duration::from_millis(100);

/// From ten users to a thousand and back.
#[derive(Clone, Copy, Debug)]
pub struct RapidScale<B> {
    backend: B,
}

impl<B: Backend> RapidScale<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store and its questions.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Scaling<B: Backend>(Asked<B>);

impl<B: Backend> Scenario for RapidScale<B> {
    type State = Scaling<B>;

    fn name(&self) -> &'static str {
        "rapid_scale"
    }

    fn description(&self) -> &'static str {
        "10 users, 500, 1 000, 100 and 10 again; the last phase is as fast as the first"
    }

    fn load(&self) -> Load {
        let seconds = Duration::from_secs;
        Load::users(10)
            .lasting(seconds(30))
            .named("calm")
            .then(500, seconds(60))
            .named("rising")
            .then(1_000, seconds(30))
            .named("peak")
            .then(100, seconds(30))
            .named("falling")
            .then(10, seconds(30))
            .named("calm_again")
            .think_time(THINK_TIME)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(15)
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "errors in each phase <= 10%",
            "success in each phase >= 99.9%",
            "timeouts <= 0%",
            "p50 in phase calm_again <= 1.5x in phase calm",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Scaling<B>, Failure> {
        Ok(Scaling(Asked::set_up(&self.backend, context, Needs::default()).await?))
    }

    async fn operation(&self, state: &Scaling<B>, call: Call) -> Result<(), Failure> {
        state.0.ask(&mut call.rng()).await
    }

    async fn check(&self, state: &Scaling<B>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.0.check(&self.backend, &[], checks).await
    }

    async fn tear_down(&self, state: Scaling<B>) -> Result<(), Failure> {
        state.0.filled.close().await
    }
}
