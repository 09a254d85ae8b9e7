//! Suite `breaker`: the breaker under everything that a dependency, its callers and their budgets do to it.
//!
//! A scenario calls through a [`Guard`], so it runs unchanged on a breaker with a planted fault: that is how the tests show that it
//! can fail.

mod budget_under_stress;
mod data_race;
mod degradation;
mod dependency;
mod extreme_async;
mod extreme_sync;
mod guard;
mod leak_long_running;
mod memory_per_call;
mod ordeal;
mod overhead;
mod pool;
mod resource_exhaustion;
mod script;
mod transition_consistency;
mod watch;

use steadfast_stress::Suite;

pub use self::budget_under_stress::BudgetUnderStress;
pub use self::data_race::DataRace;
pub use self::degradation::Degradation;
pub use self::dependency::Injected;
pub use self::extreme_async::ExtremeAsync;
pub use self::extreme_sync::ExtremeSync;
pub use self::guard::{Guard, Plain};
pub use self::leak_long_running::LeakLongRunning;
pub use self::memory_per_call::MemoryPerCall;
pub use self::overhead::{OverheadAsync, OverheadSync};
pub use self::resource_exhaustion::ResourceExhaustion;
pub use self::transition_consistency::TransitionConsistency;

/// The suite on the breaker as it is.
pub fn suite() -> Suite {
    Suite::new("breaker", "the circuit breaker that keeps budgets as well")
        .scenario(ExtremeAsync::with(Plain))
        .scenario(ExtremeSync::with(Plain))
        .scenario(LeakLongRunning::with(Plain))
        .scenario(MemoryPerCall::with(Plain))
        .scenario(Degradation::with(Plain))
        .scenario(DataRace::with(Plain))
        .scenario(TransitionConsistency::with(Plain))
        .scenario(ResourceExhaustion::with(Plain))
        .scenario(OverheadSync::with(Plain))
        .scenario(OverheadAsync::with(Plain))
        .scenario(BudgetUnderStress::with(Plain))
}
