//! Suite `index`: the store as a search index under loads that grow, last, and exhaust it.

mod asked;
mod brute_force;
mod extreme_concurrency;
mod memory_pressure;
mod questions;
mod rapid_scale;
mod resource_exhaustion_recovery;
mod sustained_load;

use steadfast_stress::Suite;

pub use self::extreme_concurrency::ExtremeConcurrency;
pub use self::memory_pressure::MemoryPressure;
pub use self::rapid_scale::RapidScale;
pub use self::resource_exhaustion_recovery::ResourceExhaustionRecovery;
pub use self::sustained_load::SustainedLoad;
use crate::backend::Embedded;

/// The suite on the embedded store.
pub fn suite() -> Suite {
    Suite::new("index", "the store as a search index that many use at once")
        .scenario(ExtremeConcurrency::on(Embedded))
        .scenario(MemoryPressure::on(Embedded))
        .scenario(SustainedLoad::on(Embedded))
        .scenario(ResourceExhaustionRecovery::on(Embedded))
        .scenario(RapidScale::on(Embedded))
}
