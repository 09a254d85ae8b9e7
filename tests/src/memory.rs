//! Suite `memory`: allocation and search on one shared memory that is full of real text.

mod allocate_high_concurrency;
mod search_high_concurrency;

use steadfast_stress::Suite;

pub use self::allocate_high_concurrency::AllocateHighConcurrency;
pub use self::search_high_concurrency::SearchHighConcurrency;
use crate::backend::Embedded;

/// The suite on the embedded store.
pub fn suite() -> Suite {
    Suite::new("memory", "allocation and search on one shared memory")
        .scenario(AllocateHighConcurrency::on(Embedded))
        .scenario(SearchHighConcurrency::on(Embedded))
}
