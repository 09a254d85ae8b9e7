//! Stress scenarios with believable numbers.
#![forbid(unsafe_code)]

mod checks;
mod context;
mod failure;
mod format;
mod load;
mod record;
mod rng;
mod scenario;
mod suite;
mod target;

pub use checks::{Checks, Invariant, Value};
pub use context::{Context, Tier};
pub use failure::Failure;
pub use load::{CappedRate, Load, LoadFigures, Rate, Reduction, Users};
pub use rng::Rng;
pub use scenario::{Call, Scenario, Tally};
pub use suite::Suite;
