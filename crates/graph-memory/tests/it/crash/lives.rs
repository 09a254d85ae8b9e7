//! The lives of a store on one disk: opened, used, closed or crashed, opened again.

use steadfast_graph_memory::{GraphMemory, LogConfig};

use crate::crash::commands::{Command, Fate, text};
use crate::crash::model::{Possible, contents};
use crate::simulated_disk::SimulatedDisk;
use crate::simulated_disk::store::open_with;

/// The power failed before the store was closed.
#[derive(Debug)]
pub(crate) struct Crashed;

/// One life with one caller, which goes on until all is done or the power fails; `possible` is what is known then.
pub(crate) fn live(
    disk: &SimulatedDisk,
    log: &LogConfig,
    commands: &[Command],
    possible: &mut Possible,
) -> Result<(), Crashed> {
    let crashed = |error: &dyn std::fmt::Display| {
        assert!(disk.has_crashed(), "{error}, on a disk that works");
        Crashed
    };
    let memory = open_with(disk, log.clone()).map_err(|error| crashed(&error))?;
    for command in commands {
        let fate = command.send(&memory);
        assert!(disk.has_crashed() || matches!(fate, Fate::Decided(..)), "{fate:?}, on a disk that works");
        possible.learn(command, &fate);
    }
    memory.close_blocking().map_err(|error| crashed(&error))
}

/// Opens what a crash left. It must hold one of the possible states.
pub(crate) fn recover(disk: &SimulatedDisk, log: &LogConfig, possible: &mut Possible) -> GraphMemory {
    let memory =
        open_with(disk, log.clone()).unwrap_or_else(|error| panic!("the store doesn't open: {error}"));
    possible.found(&contents(&memory));
    memory
}

/// Sends all requests again that have an id, and one more command. Closed and opened again, the store must be the
/// same.
pub(crate) fn go_on(
    disk: &SimulatedDisk,
    log: &LogConfig,
    memory: GraphMemory,
    commands: &[Command],
    mut possible: Possible,
) {
    let write = Command::allocate(text("after", 100));
    for command in commands.iter().filter(|command| command.request.is_some()).chain([&write]) {
        possible.learn(command, &command.send(&memory));
    }
    possible.found(&contents(&memory));
    let (hash, epoch) = (memory.state_hash(), memory.recovery().epoch);
    memory.close_blocking().unwrap();
    drop(memory);
    let memory = recover(disk, log, &mut possible);
    let recovery = memory.recovery();
    assert!(recovery.clean && recovery.torn_writes.is_empty() && recovery.epoch == epoch + 1, "{recovery:?}");
    assert_eq!(memory.state_hash(), hash, "replayed, the state is another");
}
