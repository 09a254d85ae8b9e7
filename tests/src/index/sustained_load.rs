//! `index.sustained_load`: 100 searches a second for five minutes, from ten workers.
//!
//! An open loop: a search that is late counts from when it should have begun, and none is left out. The rate must hold in every ten
//! seconds, so a pause that a mean over five minutes would hide is seen.

use std::time::Duration;

use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally};

use super::asked::{Asked, Needs};
use crate::backend::Backend;

const WORKERS: usize = 10;
const RATE: f64 = 100.0;
const DURATION: Duration = Duration::from_secs(300);

/// 100 searches a second, five minutes long.
#[derive(Clone, Copy, Debug)]
pub struct SustainedLoad<B> {
    backend: B,
}

impl<B: Backend> SustainedLoad<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store and its questions.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Sustaining<B: Backend>(Asked<B>);

impl<B: Backend> Scenario for SustainedLoad<B> {
    type State = Sustaining<B>;

    fn name(&self) -> &'static str {
        "sustained_load"
    }

    fn description(&self) -> &'static str {
        "100 searches a second for five minutes, never below 80 in any ten seconds"
    }

    fn load(&self) -> Load {
        Load::rate(RATE).max_in_flight(WORKERS).lasting(DURATION)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(30)
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "rate over 10s >= 80/s",
            "rate >= 99/s",
            "errors <= 5%",
            "success >= 99.9%",
            "timeouts <= 0%",
            "mean <= 500ms",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Sustaining<B>, Failure> {
        Ok(Sustaining(Asked::set_up(&self.backend, context, Needs::default()).await?))
    }

    async fn operation(&self, state: &Sustaining<B>, call: Call) -> Result<(), Failure> {
        state.0.ask(&mut call.rng()).await
    }

    async fn check(&self, state: &Sustaining<B>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.0.check(&self.backend, &[], checks).await
    }

    async fn tear_down(&self, state: Sustaining<B>) -> Result<(), Failure> {
        state.0.filled.close().await
    }
}
