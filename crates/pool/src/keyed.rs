//! The pool for shared connections, by address: one live connection an address, for transports that carry many requests at once.

pub(crate) mod table;

#[cfg(not(steadfast_loom))]
mod dial;
#[cfg(not(steadfast_loom))]
mod pool;

#[cfg(not(steadfast_loom))]
pub use {
    pool::{Connector, DrainReport, Handle, KeyedBuilder, KeyedError, KeyedPool, KeyedStatus, Removal},
    table::{AddressState, AddressStatus},
};
