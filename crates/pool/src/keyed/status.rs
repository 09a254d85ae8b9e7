//! What a keyed pool tells of itself.
#![cfg_attr(steadfast_loom, allow(unreachable_pub, reason = "only the modelled kernels are built"))]

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Not connected; the next request connects.
    Cold,
    /// A dial is under way, or waits for its turn in the budget.
    Dialling,
    /// Connected.
    Live,
    /// The last dial failed, or the last connections broke as soon as they were made; it is tried again in the background.
    Failing,
}

/// An address, as it stands at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressStatus {
    /// The address.
    pub address: String,
    /// Which addition of it this is; numbers aren't used again.
    pub generation: u64,
    /// Whether it is connected.
    pub state: AddressState,
    /// Handles that are out.
    pub in_flight: usize,
    /// Failed dials in a row, connections that broke as soon as they were made among them.
    pub failures: u32,
}

/// How a keyed pool stands, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// Each address.
    pub addresses: Vec<AddressStatus>,
    /// Addresses ever added: `addresses.len() + removed`.
    pub added: u64,
    /// Addresses ever removed.
    pub removed: u64,
    /// Dials ever begun: `dial_failures + connected + withdrawn + dialling`.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    /// Dials that came to a connection.
    pub connected: u64,
    /// Dials that nobody wanted any more before they ended: their address was removed, or the runtime that they were in ended or stood still.
    pub withdrawn: u64,
    /// Dials under way, as many as addresses in state `Dialling`.
    pub dialling: usize,
}

/// Counts of the whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) dials: u64,
    pub(crate) dial_failures: u64,
    pub(crate) connected: u64,
    pub(crate) withdrawn: u64,
    pub(crate) dialling: usize,
}

impl KeyedStatus {
    pub(crate) fn new((addresses, totals): (Vec<AddressStatus>, Totals)) -> Self {
        let Totals { added, removed, dials, dial_failures, connected, withdrawn, dialling } = totals;
        Self { addresses, added, removed, dials, dial_failures, connected, withdrawn, dialling }
    }
}
