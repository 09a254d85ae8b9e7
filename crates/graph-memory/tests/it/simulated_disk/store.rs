//! A store on a simulated disk, with a clock that stands still: the same commands make the same state.

use std::path::Path;
use std::sync::Arc;

use steadfast_graph_memory::{Config, GraphMemory, LogConfig, OpenError};

use super::SimulatedDisk;
use crate::clock::StoreClock;

/// Where the store is.
pub(crate) const DIR: &str = "/store";

/// What the clock says, in Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

/// The smallest segments, each made when it is needed: one caller makes one order of file operations.
pub(crate) fn one_by_one() -> LogConfig {
    LogConfig::new(64 << 10, 0)
}

pub(crate) fn open(disk: &SimulatedDisk) -> Result<GraphMemory, OpenError> {
    open_with(disk, one_by_one())
}

pub(crate) fn open_with(disk: &SimulatedDisk, log: LogConfig) -> Result<GraphMemory, OpenError> {
    let config = Config::default().file_system(Arc::new(disk.clone())).clock(StoreClock::at(NOW_MS)).log(log);
    GraphMemory::open_blocking(Path::new(DIR), config)
}
