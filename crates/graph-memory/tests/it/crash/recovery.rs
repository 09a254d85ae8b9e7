//! Opening after a crash: what must be there, what is reported, and crashes while that is done.

use std::ops::Range;
use std::path::Path;

use steadfast_graph_memory::{GraphMemory, LogConfig, OnSlug, OpenError, TornWrite};
use steadfast_testkit::TestRng;

use crate::crash::commands::{Command, text};
use crate::crash::enumerated::tears;
use crate::crash::lives::{go_on, live, recover};
use crate::crash::model::{Possible, contents};
use crate::crash::{Case, setting};
use crate::simulated_disk::store::{DIR, one_by_one, open, open_with};
use crate::simulated_disk::{Kept, SECTOR_BYTES, SimulatedDisk, Survival};

/// A bit of everything, none of it large.
fn small_workload() -> Vec<Command> {
    vec![
        Command::allocate(text("first", 300)),
        Command::allocate(text("named", 700)).slug("name", OnSlug::Return).request(1),
        Command::update(1, Some(1), text("changed", 2000)),
        Command::allocate(text("other", 50)).tenant(1).slug("name", OnSlug::Refuse),
        Command::update(1, Some(1), text("refused", 50)).request(2),
        Command::delete(2).request(3),
        Command::allocate(text("last", 40)).slug("name", OnSlug::Refuse),
    ]
}

/// So large that it takes several segments.
fn large_workload() -> Vec<Command> {
    let mut commands: Vec<Command> =
        (0..11).map(|at| Command::allocate(text(&format!("n{at}"), 20 << 10))).collect();
    commands.insert(4, Command::delete(2).request(1));
    commands.insert(8, Command::update(1, None, text("changed", 30 << 10)).request(2));
    commands
}

fn segments(disk: &SimulatedDisk) -> usize {
    disk.contents().keys().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).count()
}

/// Lets the power fail in each operation of one life in turn, and hands each disk with what is known to `check`.
fn at_every_operation(log: &LogConfig, commands: &[Command], mut check: impl FnMut(SimulatedDisk, Possible)) {
    for operation in 1.. {
        let _case = Case(format!("crashed at operation {operation}"));
        let (disk, mut possible) = (SimulatedDisk::new(operation), Possible::empty());
        disk.crash_at(operation);
        if live(&disk, log, commands, &mut possible).is_ok() {
            break;
        }
        check(disk, possible);
    }
}

fn check_power_loss_at_every_operation(log: &LogConfig, commands: &[Command]) {
    at_every_operation(log, commands, |disk, mut possible| {
        let disk = disk.after_power_loss(&Survival::NothingUnsynced);
        let memory = recover(&disk, log, &mut possible);
        go_on(&disk, log, memory, commands, possible);
    });
}

#[test]
fn acknowledged_commands_survive_power_loss() {
    check_power_loss_at_every_operation(&one_by_one(), &small_workload());
}

#[test]
fn new_segments_survive_power_loss() {
    for log in [one_by_one(), LogConfig::new(64 << 10, 2)] {
        check_power_loss_at_every_operation(&log, &large_workload());
        let disk = SimulatedDisk::new(0);
        live(&disk, &log, &large_workload(), &mut Possible::empty()).unwrap();
        assert!(segments(&disk) >= 4, "too small a workload");
    }
}

#[test]
fn a_new_store_survives_power_loss() {
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    let mut possible = Possible::empty();
    let command = Command::allocate(text("first", 10));
    possible.learn(&command, &command.send(&memory));
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    drop(memory);
    // Both files are there, so that the loss of either would be noticed.
    assert!(disk.contents().contains_key(&Path::new(DIR).join("STORE")) && segments(&disk) == 1);
    recover(&disk, &one_by_one(), &mut possible);
}

#[test]
fn a_retried_request_is_done_exactly_once() {
    let commands = [
        Command::allocate(text("one", 600)).request(1),
        Command::update(1, None, text("two", 600)).request(2),
        Command::delete(1).request(3),
        Command::allocate(text("four", 600)).slug("name", OnSlug::Return).request(4),
    ];
    at_every_operation(&one_by_one(), &commands, |disk, possible| {
        for survival in [Survival::NothingUnsynced, Survival::EverythingUnsynced] {
            let mut possible = possible.clone();
            let disk = disk.after_power_loss(&survival);
            let memory = recover(&disk, &one_by_one(), &mut possible);
            for command in commands.iter().chain(&commands) {
                possible.learn(command, &command.send(&memory));
            }
            possible.found(&contents(&memory));
            let created = memory.tenant("acme").unwrap().stats_blocking().unwrap().created;
            assert_eq!(created, 2, "two memories were asked for");
        }
    });
}

/// A process dies; what the next one shows to its callers must not vanish when the power fails later.
#[test]
fn what_was_shown_after_a_process_died_survives_power_loss() {
    for (commands, log) in [
        (small_workload(), one_by_one()),
        (large_workload(), one_by_one()),
        (large_workload(), LogConfig::new(64 << 10, 2)),
    ] {
        at_every_operation(&log, &commands, |disk, possible| {
            for survival in [Survival::NothingUnsynced, Survival::EverythingUnsynced] {
                let mut possible = possible.clone();
                let disk = disk.after_process_death(&survival);
                let memory = recover(&disk, &log, &mut possible);
                let write = Command::allocate(text("after", 100));
                possible.learn(&write, &write.send(&memory));
                let hash = memory.state_hash();
                let disk = disk.after_power_loss(&Survival::NothingUnsynced);
                assert_eq!(recover(&disk, &log, &mut possible).state_hash(), hash);
            }
        });
    }
}

/// Some sorts of tear, by chance; all of them in a long run.
fn some_tears(write: &Range<u64>, rng: &mut TestRng) -> Vec<Survival> {
    let all = setting("STEADFAST_CRASH_SEEDS").is_some();
    let mut tears = tears(write, rng);
    tears.retain(|_| all || rng.chance(1, 5));
    tears.into_iter().map(Survival::LastWrite).collect()
}

/// Crashes the opening of `disk` at every operation, and that of what is left again, so many levels deep.
fn interrupt(
    disk: &SimulatedDisk,
    log: &LogConfig,
    possible: &Possible,
    levels: u64,
    rng: &mut TestRng,
) -> u64 {
    let mut cases = 0;
    for operation in 1.. {
        // The disk as it is, to be opened by somebody who will be interrupted.
        let interrupted = disk.after_power_loss(&Survival::NothingUnsynced);
        interrupted.crash_at(operation);
        match open_with(&interrupted, log.clone()) {
            Ok(memory) if !interrupted.has_crashed() => {
                possible.clone().found(&contents(&memory));
                // What it repaired is repaired for good.
                recover(
                    &interrupted.after_power_loss(&Survival::NothingUnsynced),
                    log,
                    &mut possible.clone(),
                );
                break;
            }
            Ok(_) => {}
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
        }
        let mut survivals = vec![Survival::NothingUnsynced, Survival::EverythingUnsynced];
        if let Some(write) = interrupted.last_unsynced_write() {
            survivals.extend(some_tears(&write, rng));
        }
        for survival in survivals {
            let _case = Case(format!(
                "{levels} levels to go, crashed at operation {operation}, {survival:?} survived"
            ));
            let left = interrupted.after_power_loss(&survival);
            if levels > 1 {
                cases += interrupt(&left, log, possible, levels - 1, rng);
            } else {
                let memory = recover(&left, log, &mut possible.clone());
                go_on(&left, log, memory, &[], possible.clone());
                cases += 1;
            }
        }
    }
    cases
}

#[test]
fn recovery_can_be_interrupted_at_every_operation() {
    // The second one begins a segment.
    let commands = [Command::allocate(text("one", 40 << 10)), Command::allocate(text("two", 40 << 10))];
    let (mut rng, mut cases) = (TestRng::new(0), 0);
    at_every_operation(&one_by_one(), &commands, |disk, possible| {
        let mut survivals = vec![Survival::EverythingUnsynced];
        if let Some(write) = disk.last_unsynced_write() {
            survivals.extend(some_tears(&write, &mut rng));
        }
        for survival in survivals {
            let _case = Case(format!("{survival:?} survived first"));
            let left = disk.after_power_loss(&survival);
            cases += interrupt(&left, &one_by_one(), &possible, 1, &mut rng);
        }
    });
    println!("{cases} cases");
}

#[test]
fn a_recovery_that_was_interrupted_can_be_interrupted_again() {
    // Two sectors and a bit, behind some that are whole.
    let (disk, write, possible) = in_flight(&Command::allocate(text("torn", 1100)));
    let (mut rng, mut cases) = (TestRng::new(0), 0);
    for survival in some_tears(&write, &mut rng) {
        let _case = Case(format!("{survival:?} survived first"));
        let left = disk.after_power_loss(&survival);
        cases += interrupt(&left, &one_by_one(), &possible, 2, &mut rng);
    }
    println!("{cases} cases");
}

/// Other sizes of segments make those that were prepared useless: they are removed when the store is opened.
#[test]
fn segment_sizes_may_change_and_the_change_be_interrupted() {
    let (before, after) = (LogConfig::new(64 << 10, 3), LogConfig::new(128 << 10, 0));
    let (disk, mut possible) = (SimulatedDisk::new(0), Possible::empty());
    live(&disk, &before, &large_workload(), &mut possible).unwrap();
    assert!(interrupt(&disk, &after, &possible, 1, &mut TestRng::new(0)) > 10);
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    recover(&disk, &after, &mut possible).close_blocking().unwrap();
    recover(&disk, &before, &mut possible);
}

/// A disk with some commands on it, on which the power fails in the write of `command`; where that write is; and
/// what is known, `command` not being there.
fn in_flight(command: &Command) -> (SimulatedDisk, Range<u64>, Possible) {
    let mut possible = Possible::empty();
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    for command in small_workload() {
        possible.learn(&command, &command.send(&memory));
    }
    disk.crash_at(disk.operations() + 1);
    command.send(&memory);
    let write = disk.last_unsynced_write().expect("the power failed in a write");
    (disk, write, possible)
}

fn check_cut(disk: &SimulatedDisk, kept: &Kept, write: &Range<u64>, possible: &Possible) {
    let _case = Case(format!("{kept:?} of {write:?} survived"));
    let disk = disk.after_power_loss(&Survival::LastWrite(kept.clone()));
    let memory = recover(&disk, &one_by_one(), &mut possible.clone());
    let [TornWrite { file, offset, bytes, .. }] = memory.recovery().torn_writes.as_slice() else {
        panic!("not one cut is reported: {:?}", memory.recovery())
    };
    assert_eq!(file, &Path::new(DIR).join("log/0000000000000001.seg"));
    assert!(*offset == write.start && (1..=write.end - write.start).contains(bytes), "{offset} + {bytes}");
    assert!(!memory.recovery().clean);
}

#[test]
fn a_torn_batch_is_cut_at_any_byte_and_reported() {
    let (disk, write, possible) = in_flight(&Command::allocate(text("torn", 700)));
    for kept in 1..write.end - write.start {
        check_cut(&disk, &Kept::prefix(kept as usize), &write, &possible);
    }
}

#[test]
fn a_batch_that_lacks_any_of_its_sectors_is_cut_and_reported() {
    let (disk, write, possible) = in_flight(&Command::allocate(text("torn", 2500)));
    let sectors = write.end.div_ceil(SECTOR_BYTES) - write.start / SECTOR_BYTES;
    assert!(sectors >= 5);
    for set in 1..(1_u64 << sectors) - 1 {
        check_cut(&disk, &Kept::sectors(&write, |at| set >> at & 1 == 1), &write, &possible);
    }
}

#[test]
fn a_torn_batch_is_cut_on_all_its_pages() {
    let (disk, write, possible) = in_flight(&Command::allocate(text("torn", 9000)));
    assert!(write.end - write.start > 2 * 4096);
    for kept in tears(&write, &mut TestRng::new(0)) {
        check_cut(&disk, &kept, &write, &possible);
        // The marker of the opening covers the first page; behind it there must be nothing again.
        let disk = disk.after_power_loss(&Survival::LastWrite(kept));
        let memory = recover(&disk, &one_by_one(), &mut possible.clone());
        let bytes = &disk.contents()[&Path::new(DIR).join("log/0000000000000001.seg")];
        assert!(bytes[write.start as usize + 4096..].iter().all(|byte| *byte == 0));
        drop(memory);
        let disk = disk.after_power_loss(&Survival::NothingUnsynced);
        let memory = recover(&disk, &one_by_one(), &mut possible.clone());
        go_on(&disk, &one_by_one(), memory, &[], possible.clone());
    }
}

#[test]
fn nothing_is_reported_when_nothing_was_torn() {
    let (disk, _, possible) = in_flight(&Command::allocate(text("torn", 2500)));
    let lost = disk.after_power_loss(&Survival::NothingUnsynced);
    let memory = recover(&lost, &one_by_one(), &mut possible.clone());
    assert!(memory.recovery().torn_writes.is_empty() && !memory.recovery().clean);

    let whole = disk.after_power_loss(&Survival::EverythingUnsynced);
    let memory = open(&whole).unwrap();
    assert!(memory.recovery().torn_writes.is_empty() && !memory.recovery().clean);
    assert_eq!(memory.recovery().last_seq, memory.stats().last_seq);

    memory.close_blocking().unwrap();
    let memory = open(&whole).unwrap();
    assert!(memory.recovery().torn_writes.is_empty() && memory.recovery().clean);
}

#[test]
fn a_store_has_one_opener_and_a_crash_frees_it() {
    let disk = SimulatedDisk::new(0);
    let first = open(&disk).unwrap();
    let refused = open(&disk).unwrap_err();
    assert!(matches!(&refused, OpenError::AlreadyOpen { path } if path == Path::new(DIR)), "{refused}");
    // The one who has it is not disturbed.
    let mut possible = Possible::empty();
    let command = Command::allocate(text("one", 10));
    possible.learn(&command, &command.send(&first));

    let restarted = disk.after_process_death(&Survival::NothingUnsynced);
    let second = recover(&restarted, &one_by_one(), &mut possible);
    assert!(matches!(open(&restarted), Err(OpenError::AlreadyOpen { .. })));
    let rebooted = restarted.after_power_loss(&Survival::NothingUnsynced);
    recover(&rebooted, &one_by_one(), &mut possible).close_blocking().unwrap();
    // Closed, though handles are left; and dropped without a close.
    let third = open(&rebooted).unwrap();
    let tenant = third.tenant("acme").unwrap();
    third.close_blocking().unwrap();
    drop::<GraphMemory>(open(&rebooted).unwrap());
    let last = open(&rebooted).unwrap();
    assert!(last.recovery().clean, "a drop closes as well");
    drop((first, second, tenant));
}
