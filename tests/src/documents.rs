//! Suite `documents`: what an application of documents asks of the store and of what it is reached through.

mod pool_limit;

use steadfast_stress::Suite;

pub use self::pool_limit::PoolLimit;
use crate::backend::Embedded;

/// The suite on the embedded store.
pub fn suite() -> Suite {
    Suite::new("documents", "documents, and the pool that they are reached through")
        .scenario(PoolLimit::on(Embedded))
}
