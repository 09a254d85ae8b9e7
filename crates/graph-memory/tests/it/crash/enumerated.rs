//! All short workloads × a crash at every operation × many sorts of tear.
//!
//! A workload is a word over a small alphabet of commands; some are so large that the log goes through several
//! segments. A word's crashes before its last command are those of a shorter word, so each word is crashed only at
//! the operations of its last command and of the close after it.

use std::collections::BTreeSet;
use std::ops::Range;

use steadfast_graph_memory::OnSlug;
use steadfast_testkit::TestRng;

use crate::crash::commands::{Command, text};
use crate::crash::lives::{go_on, live, recover};
use crate::crash::model::Possible;
use crate::crash::{Case, setting};
use crate::simulated_disk::store::{one_by_one, open};
use crate::simulated_disk::{Kept, SECTOR_BYTES, SimulatedDisk, Survival};

const ALPHABET: &[u8] = b"asudrt";
/// Three of them don't fit into one segment.
const LARGE: usize = 30 << 10;

/// The commands of a word.
fn workload(word: &[u8]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (at, letter) in word.iter().enumerate() {
        let (small, large) = (text(&format!("n{at}"), 100), text(&format!("n{at}"), LARGE));
        let request = at as u64;
        let command = match letter {
            b'a' => Command::allocate(large),
            b's' => Command::allocate(small).slug("one", OnSlug::Return).request(request),
            b'u' => Command::update(1, Some(1), large),
            b'd' => Command::delete(1).request(request),
            b't' => Command::allocate(large).slug("one", OnSlug::Refuse).tenant(1),
            // The last request once more.
            _ => {
                let last = commands.iter().rev().find(|command| command.request.is_some());
                last.cloned().unwrap_or_else(|| Command::allocate(small).request(request))
            }
        };
        commands.push(command);
    }
    commands
}

fn words(length: usize) -> Vec<Vec<u8>> {
    (0..length).fold(vec![Vec::new()], |words, _| {
        words
            .iter()
            .flat_map(|word| ALPHABET.iter().map(|letter| [word.as_slice(), &[*letter]].concat()))
            .collect()
    })
}

/// A run without a crash.
struct CleanRun {
    /// Changing operations after the opening and after each command, and after the close.
    operations: Vec<u64>,
    /// The state hash after the opening and after each command.
    hashes: Vec<u64>,
}

fn clean_run(commands: &[Command]) -> CleanRun {
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    let (mut operations, mut hashes) = (vec![disk.operations()], vec![memory.state_hash()]);
    for command in commands {
        command.send(&memory);
        operations.push(disk.operations());
        hashes.push(memory.state_hash());
    }
    memory.close_blocking().unwrap();
    operations.push(disk.operations());
    CleanRun { operations, hashes }
}

/// What may be left after the power failed on this disk.
fn survivals(disk: &SimulatedDisk, rng: &mut TestRng, all: bool) -> Vec<Survival> {
    let mut chosen = vec![Survival::NothingUnsynced, Survival::EverythingUnsynced];
    if let Some(write) = disk.last_unsynced_write() {
        let mut tears = tears(&write, rng);
        tears.retain(|_| all || rng.chance(1, 2));
        chosen.extend(tears.into_iter().map(Survival::LastWrite));
    }
    chosen
}

/// Prefixes of a write, cut at and beside the bounds of some sectors; and some sets of its sectors.
pub(crate) fn tears(write: &Range<u64>, rng: &mut TestRng) -> Vec<Kept> {
    let (bytes, first) = (write.end - write.start, SECTOR_BYTES - write.start % SECTOR_BYTES);
    let sectors = (write.end.div_ceil(SECTOR_BYTES) - write.start / SECTOR_BYTES) as usize;
    let bounds = [0, rng.below(sectors as u64), sectors as u64 - 1].map(|at| first + at * SECTOR_BYTES);
    let beside = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
    let cuts: BTreeSet<u64> =
        beside.chain([1, rng.below(bytes), bytes - 1]).filter(|cut| *cut < bytes).collect();
    let mut tears: Vec<Kept> = cuts.into_iter().map(|cut| Kept::prefix(cut as usize)).collect();
    if sectors > 1 {
        tears.push(Kept::sectors(write, |at| at == 0));
        tears.push(Kept::sectors(write, |at| at > 0));
        tears.push(Kept::sectors(write, |at| at + 1 == sectors));
        tears.push(Kept::sectors(write, |at| at + 1 < sectors));
        tears.push(Kept::sectors(write, |at| at % 2 == 0));
    }
    tears
}

/// Crashes a word's run at each of `operations`, in many ways or all; returns how many cases that were.
fn crash_word(word: &[u8], operations: Range<u64>, hashes: &[u64], all: bool) -> u64 {
    let commands = workload(word);
    let name = String::from_utf8_lossy(word);
    let mut rng = TestRng::new(word.iter().fold(0, |seed, letter| seed * 31 + u64::from(*letter)));
    let mut cases = 0;
    for operation in operations {
        let disk = SimulatedDisk::new(operation);
        disk.crash_at(operation);
        let mut possible = Possible::empty();
        live(&disk, &one_by_one(), &commands, &mut possible).expect_err("the operation was to be reached");
        for (at, survival) in survivals(&disk, &mut rng, all).into_iter().enumerate() {
            let _case =
                Case(format!("the word {name:?}, crashed at operation {operation}, {survival:?} survived"));
            let (disk, mut possible) = (disk.after_power_loss(&survival), possible.clone());
            let memory = recover(&disk, &one_by_one(), &mut possible);
            assert!(hashes.contains(&memory.state_hash()), "the state's hash is none of those on the way");
            // Once erased, all tears are alike.
            if all || at < 3 {
                go_on(&disk, &one_by_one(), memory, &commands, possible);
            }
            cases += 1;
        }
    }
    cases
}

#[test]
fn enumerated_short_workloads() {
    let long = setting("STEADFAST_CRASH_SEEDS").is_some();
    let (mut cases, mut rolled_over) = (0, 0);
    for word in (0..=if long { 4 } else { 3 }).flat_map(words) {
        let clean = clean_run(&workload(&word));
        let [.., before, after, closed] = *[&[0], clean.operations.as_slice()].concat() else {
            unreachable!()
        };
        cases += crash_word(&word, before + 1..closed + 1, &clean.hashes, long);
        rolled_over += u64::from(after - before > 4);
    }
    assert!(rolled_over > 10, "hardly any workload went into a second segment");
    println!("{cases} cases");
}
