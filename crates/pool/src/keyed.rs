//! The pool for shared connections, by address: one live connection an address, for transports that carry many requests at once.

mod clock;
mod entry;
mod event;
#[expect(unsafe_code, reason = "readers share what a writer has for itself")]
mod lanes;
mod places;
mod status;
pub(crate) mod table;

#[cfg(not(steadfast_loom))]
mod config;
#[cfg(not(steadfast_loom))]
mod dial;
#[cfg(not(steadfast_loom))]
mod error;
#[cfg(not(steadfast_loom))]
mod handle;
#[cfg(all(feature = "metrics", not(steadfast_loom)))]
mod metrics;
#[cfg(not(steadfast_loom))]
mod pool;

#[cfg(all(feature = "metrics", not(steadfast_loom)))]
pub use metrics::KeyedMetrics;
#[cfg(not(steadfast_loom))]
pub use {
    config::KeyedBuilder,
    error::{KeyedAutopsy, KeyedError, KeyedStage},
    handle::Handle,
    pool::{Connector, DrainReport, KeyedPool, Removal},
    status::{AddressState, AddressStatus, KeyedStatus},
};
