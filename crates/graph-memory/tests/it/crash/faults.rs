//! Disks that fail in one operation, or are full, without a crash.
//!
//! What fails before anything was written to the log is certain: nothing changed, and it may be tried again. What
//! fails in a write to the log or in its sync is unknown; then nothing more is written, and reads go on.

use std::time::Duration;

use steadfast_graph_memory::{GraphMemory, LogConfig, MemoryError, OpenError};

use crate::crash::Case;
use crate::crash::commands::{Command, Fate, text};
use crate::crash::lives::{go_on, live, recover};
use crate::crash::model::{Possible, contents};
use crate::simulated_disk::store::{one_by_one, open, open_with};
use crate::simulated_disk::{Operation, SimulatedDisk, Survival};

const ALL: [Operation; 8] = [
    Operation::Read,
    Operation::CreateDirectory,
    Operation::Create,
    Operation::Rename,
    Operation::Remove,
    Operation::SyncDirectory,
    Operation::Write,
    Operation::SyncData,
];

fn send(memory: &GraphMemory, command: &Command, possible: &mut Possible) -> Fate {
    let fate = command.send(memory);
    possible.learn(command, &fate);
    fate
}

/// Some commands, the last one acknowledged.
fn begun(disk: &SimulatedDisk, log: &LogConfig, possible: &mut Possible) -> GraphMemory {
    let memory = open_with(disk, log.clone()).unwrap();
    for at in 0..3_u64 {
        let command = Command::allocate(text(&format!("n{at}"), 1000)).request(at);
        assert!(matches!(send(&memory, &command, possible), Fate::Decided(..)));
    }
    memory
}

/// The one in flight is unknown, later ones are refused, reads go on, and nothing is marked as closed in good order.
fn check_poisoned(memory: &GraphMemory, in_flight: &Command, possible: &mut Possible) {
    let shown = contents(memory);
    assert!(matches!(send(memory, in_flight, possible), Fate::Unknown));
    for _ in 0..2 {
        let fate = Command::allocate(text("later", 10)).send(memory);
        assert!(matches!(fate, Fate::NotDone(MemoryError::Poisoned { .. })), "{fate:?}");
    }
    assert_eq!(contents(memory), shown, "what isn't acknowledged isn't shown");
    assert!(memory.stats().poisoned.is_some());
    assert!(matches!(memory.close_blocking(), Err(MemoryError::Poisoned { .. })));
}

/// The log's write or sync fails in all sorts of ways; afterwards the store is opened again as `next` leaves the
/// disk.
fn check_log_failures(operation: Operation, next: impl Fn(SimulatedDisk, &Survival) -> SimulatedDisk) {
    for seed in 0..40 {
        let _case = Case(format!("{operation:?} fails with seed {seed}"));
        let (disk, mut possible) = (SimulatedDisk::new(seed), Possible::empty());
        let memory = begun(&disk, &one_by_one(), &mut possible);
        disk.fail(operation, 0);
        let in_flight = Command::allocate(text("flying", 1500)).request(77);
        check_poisoned(&memory, &in_flight, &mut possible);
        drop(memory);

        let disk = next(disk, &Survival::Random(seed));
        let memory = recover(&disk, &one_by_one(), &mut possible);
        assert!(!memory.recovery().clean);
        go_on(&disk, &one_by_one(), memory, &[in_flight], possible);
    }
}

#[test]
fn a_failed_sync_stops_writes_and_loses_nothing_acknowledged() {
    check_log_failures(Operation::SyncData, |disk, survival| disk.after_power_loss(survival));
}

#[test]
fn a_failed_write_stops_writes_and_loses_nothing_acknowledged() {
    check_log_failures(Operation::Write, |disk, survival| disk.after_power_loss(survival));
}

#[test]
fn a_store_opens_again_in_the_same_boot_after_its_disk_failed() {
    for operation in [Operation::SyncData, Operation::Write] {
        check_log_failures(operation, |disk, survival| disk.after_process_death(survival));
    }
}

/// Linux marks pages as clean when their sync fails: they can be read, and no later sync writes them.
#[test]
fn what_was_shown_after_a_failed_sync_survives_power_loss() {
    for operation in [Operation::SyncData, Operation::Write] {
        for seed in 0..40 {
            let _case = Case(format!("{operation:?} fails with seed {seed}"));
            let (disk, mut possible) = (SimulatedDisk::new(seed), Possible::empty());
            let memory = begun(&disk, &one_by_one(), &mut possible);
            disk.fail(operation, 0);
            check_poisoned(&memory, &Command::allocate(text("flying", 1500)), &mut possible);
            drop(memory);

            // Opened again by another process, before the power fails.
            let memory = recover(&disk, &one_by_one(), &mut possible);
            let command = Command::allocate(text("after", 100));
            assert!(matches!(send(&memory, &command, &mut possible), Fate::Decided(..)));
            let hash = memory.state_hash();
            let disk = disk.after_power_loss(&Survival::NothingUnsynced);
            drop(memory);
            assert_eq!(recover(&disk, &one_by_one(), &mut possible).state_hash(), hash);
        }
    }
}

/// The next command that needs a new segment.
fn large(tag: &str) -> Command {
    Command::allocate(text(tag, 50 << 10))
}

#[test]
fn a_segment_that_cannot_be_made_is_certain_and_tried_again() {
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::SyncData,
        Operation::Rename,
        Operation::SyncDirectory,
    ] {
        for (seed, next) in (0..10).flat_map(|seed| [(seed, true), (seed, false)]) {
            let _case = Case(format!("{operation:?} fails with seed {seed}"));
            let (disk, mut possible) = (SimulatedDisk::new(seed), Possible::empty());
            let memory = begun(&disk, &one_by_one(), &mut possible);
            disk.fail(operation, 0);
            let refused = send(&memory, &large("refused"), &mut possible);
            assert!(matches!(refused, Fate::NotDone(MemoryError::StorageUnavailable { .. })), "{refused:?}");
            assert!(memory.stats().poisoned.is_none());
            if next {
                // Small ones fit into the old segment still.
                let small = Command::allocate(text("small", 10));
                assert!(matches!(send(&memory, &small, &mut possible), Fate::Decided(..)));
                assert!(matches!(send(&memory, &large("next"), &mut possible), Fate::Decided(..)));
            }
            let disk = disk.after_power_loss(&Survival::Random(seed));
            drop(memory);
            let memory = recover(&disk, &one_by_one(), &mut possible);
            go_on(&disk, &one_by_one(), memory, &[], possible);
        }
    }
}

/// Behind the filling of the new segment there are two writes and two syncs: of the old segment's last marker, and
/// of the batch.
#[test]
fn a_failure_between_two_segments_is_unknown() {
    for operation in [Operation::Write, Operation::SyncData] {
        for (seed, at) in (0..10).flat_map(|seed| [(seed, 1), (seed, 2)]) {
            let _case = Case(format!("{operation:?} {at} fails with seed {seed}"));
            let (disk, mut possible) = (SimulatedDisk::new(seed), Possible::empty());
            let memory = begun(&disk, &one_by_one(), &mut possible);
            disk.fail(operation, at);
            check_poisoned(&memory, &large("flying"), &mut possible);
            let disk = disk.after_power_loss(&Survival::Random(seed));
            drop(memory);
            let memory = recover(&disk, &one_by_one(), &mut possible);
            go_on(&disk, &one_by_one(), memory, &[], possible);
        }
    }
}

#[test]
fn a_full_disk_refuses_with_certainty_and_writes_resume_when_there_is_room() {
    for ahead in [0, 2] {
        let log = LogConfig::new(64 << 10, ahead);
        let (disk, mut possible) = (SimulatedDisk::new(1), Possible::empty());
        let memory = begun(&disk, &log, &mut possible);
        disk.leave_space(Some(10_000));
        let mut done = 0;
        let refused = loop {
            match send(&memory, &Command::allocate(text("filling", 20 << 10)), &mut possible) {
                Fate::Decided(..) => done += 1,
                fate => break fate,
            }
            assert!(done < 1000, "the disk is never full");
        };
        assert!(matches!(&refused, Fate::NotDone(MemoryError::StorageFull { .. })), "{refused:?}");
        possible.found(&contents(&memory));
        let small = Command::allocate(text("small", 10));
        assert!(
            matches!(send(&memory, &small, &mut possible), Fate::Decided(..)),
            "there is room for a small one"
        );

        disk.leave_space(None);
        let command = Command::allocate(text("resumed", 20 << 10)).request(5);
        // What failed before there was room may be told once more.
        let tries = (1..=5).find(|_| matches!(send(&memory, &command, &mut possible), Fate::Decided(..)));
        assert!(tries.is_some_and(|tries| tries <= 2), "{tries:?}");
        go_on(&disk, &log, memory, &[command], possible);
    }
}

#[test]
fn a_full_disk_keeps_what_was_acknowledged_through_a_crash() {
    let (disk, mut possible) = (SimulatedDisk::new(1), Possible::empty());
    let memory = begun(&disk, &one_by_one(), &mut possible);
    disk.leave_space(Some(10_000));
    while let Fate::Decided(..) = send(&memory, &Command::allocate(text("filling", 20 << 10)), &mut possible)
    {
    }
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    drop(memory);
    // To open it may take a new segment.
    if let Err(error) = open(&disk) {
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
    }
    disk.leave_space(None);
    let memory = recover(&disk, &one_by_one(), &mut possible);
    go_on(&disk, &one_by_one(), memory, &[], possible);
}

/// Each operation of an opening fails in turn; it says so, and the next opening does well.
fn check_opening_failures(disk: &SimulatedDisk, possible: &Possible) {
    for operation in ALL {
        for at in 0.. {
            let _case = Case(format!("{operation:?} {at} of the opening fails"));
            let failing = disk.after_power_loss(&Survival::NothingUnsynced);
            failing.fail(operation, at);
            match open(&failing) {
                Ok(memory) => {
                    possible.clone().found(&contents(&memory));
                    break;
                }
                Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
            }
            let memory = recover(&failing, &one_by_one(), &mut possible.clone());
            go_on(&failing, &one_by_one(), memory, &[], possible.clone());
        }
    }
}

#[test]
fn an_opening_that_fails_says_so_and_can_be_tried_again() {
    let empty = SimulatedDisk::new(3);
    check_opening_failures(&empty, &Possible::empty());

    let (disk, mut possible) = (SimulatedDisk::new(3), Possible::empty());
    let commands: Vec<Command> =
        (0..4).map(|at| Command::allocate(text(&format!("n{at}"), 30 << 10))).collect();
    live(&disk, &LogConfig::new(64 << 10, 2), &commands, &mut possible).unwrap();
    check_opening_failures(&disk, &possible);

    let (disk, mut possible) = (SimulatedDisk::new(3), Possible::empty());
    let memory = begun(&disk, &one_by_one(), &mut possible);
    disk.crash_at(disk.operations() + 1);
    send(&memory, &Command::allocate(text("torn", 1000)), &mut possible);
    let torn = disk.after_power_loss(&Survival::Random(5));
    possible.found(&contents(&open(&torn.after_power_loss(&Survival::NothingUnsynced)).unwrap()));
    check_opening_failures(&torn, &possible);
}

#[test]
fn a_new_store_on_a_full_disk_is_refused_until_there_is_room() {
    let disk = SimulatedDisk::new(0);
    for bytes in [0, 1000, 65_000, 65_537] {
        disk.leave_space(Some(bytes));
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
    }
    disk.leave_space(None);
    let memory = recover(&disk, &one_by_one(), &mut Possible::empty());
    go_on(&disk, &one_by_one(), memory, &[], Possible::empty());
}

/// A store whose disk is dead lets go of its callers.
#[test]
fn nobody_waits_for_ever_on_a_dead_disk() {
    let disk = SimulatedDisk::new(0);
    let memory = begun(&disk, &LogConfig::new(64 << 10, 1), &mut Possible::empty());
    disk.crash_now();
    let (sender, answers) = std::sync::mpsc::channel();
    for at in 0..20 {
        let (memory, sender) = (memory.clone(), sender.clone());
        std::thread::spawn(move || {
            drop(sender.send(Command::allocate(text(&format!("n{at}"), 5000)).send(&memory)));
        });
    }
    for _ in 0..20 {
        let fate = answers.recv_timeout(Duration::from_mins(1)).expect("every caller gets an answer");
        assert!(!matches!(fate, Fate::Decided(..)), "{fate:?}");
    }
    assert!(memory.close_blocking().is_err());
}
