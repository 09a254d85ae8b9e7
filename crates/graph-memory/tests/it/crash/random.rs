//! Random workloads: callers at work at the same time, several lives on one disk, crashes and failures wherever
//! chance has them, during recovery as well.

use std::sync::Barrier;

use steadfast_graph_memory::{GraphMemory, LogConfig, OnSlug, OpenError};
use steadfast_testkit::TestRng;

use crate::crash::commands::{Change, Command, Fate, text};
use crate::crash::lives::{go_on, recover};
use crate::crash::model::{Possible, contents};
use crate::crash::{Case, setting};
use crate::simulated_disk::store::open_with;
use crate::simulated_disk::{Operation, SimulatedDisk, Survival};

const SEEDS: u64 = 500;

/// What one caller wants to do in one life; `first_request` is the first of its request numbers.
fn workload(rng: &mut TestRng, caller: &str, first_request: u64) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for at in 0..=rng.below(12) {
        let bytes = [50, 500, 3000, 20_000][rng.below(4) as usize] + rng.below(500);
        let text = text(&format!("{caller}n{at}"), bytes as usize);
        let id = 1 + rng.below(10);
        let version = rng.chance(1, 2).then(|| 1 + rng.below(3));
        let slug = format!("slug-{}", rng.below(4));
        let command = match rng.below(10) {
            0..=2 => Command::allocate(text),
            3 => Command::allocate(text).slug(&slug, OnSlug::Return),
            4 => Command::allocate(text).slug(&slug, OnSlug::Refuse),
            5 | 6 => Command::update(id, version, text),
            7 => {
                let change = Change::Delete { id, if_version: version };
                Command { tenant: 0, request: None, change }
            }
            // One of its own once more.
            _ if !commands.is_empty() => {
                commands.push(commands[rng.below(commands.len() as u64) as usize].clone());
                continue;
            }
            _ => Command::delete(id),
        };
        let command = command.tenant(rng.below(2) as usize);
        let has_request = rng.chance(1, 2);
        commands.push(if has_request { command.request(first_request + at) } else { command });
    }
    commands
}

/// Lets all callers work at the same time, each until something isn't decided.
fn work(memory: &GraphMemory, workloads: &[Vec<Command>]) -> Vec<Vec<(Command, Fate)>> {
    let start = &Barrier::new(workloads.len());
    std::thread::scope(|scope| {
        let callers: Vec<_> = workloads
            .iter()
            .map(|commands| scope.spawn(move || work_alone(memory, commands, start)))
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller doesn't panic")).collect()
    })
}

fn work_alone(memory: &GraphMemory, commands: &[Command], start: &Barrier) -> Vec<(Command, Fate)> {
    let mut history = Vec::new();
    start.wait();
    for command in commands {
        let fate = command.send(memory);
        let goes_on = matches!(fate, Fate::Decided(..));
        history.push((command.clone(), fate));
        if !goes_on {
            break;
        }
    }
    history
}

fn plan_trouble(disk: &SimulatedDisk, rng: &mut TestRng) {
    match rng.below(10) {
        0 => {}
        1 => disk.fail(Operation::SyncData, rng.below(20)),
        2 => disk.fail(Operation::Write, rng.below(20)),
        3 => disk.fail(Operation::SyncDirectory, rng.below(5)),
        4 => disk.leave_space(Some(rng.below(200_000))),
        // Most openings take fewer operations than ten.
        5 | 6 => disk.crash_at(1 + rng.below(10)),
        _ => disk.crash_at(1 + rng.below(60)),
    }
}

fn run_seed(seed: u64) {
    let _case = Case(format!("STEADFAST_CRASH_SEED={seed}"));
    let mut rng = TestRng::new(seed);
    let (mut disk, mut possible) = (SimulatedDisk::new(seed), Possible::empty());
    let log = |rng: &mut TestRng| LogConfig::new(64 << (10 + rng.below(2)), rng.below(3) as usize);
    let mut sent: Vec<Command> = Vec::new();
    for life in 0..=rng.below(4) {
        plan_trouble(&disk, &mut rng);
        let workloads: Vec<_> = (0..=rng.below(3))
            .map(|caller| workload(&mut rng, &format!("l{life}c{caller}"), 1000 * life + 100 * caller))
            .collect();
        match open_with(&disk, log(&mut rng)) {
            Ok(memory) => {
                possible.found(&contents(&memory));
                possible.learn_concurrent(&work(&memory, &workloads));
                sent.extend(workloads.into_iter().flatten());
                if rng.chance(1, 2) {
                    // Whether that succeeds depends on the trouble.
                    drop(memory.close_blocking());
                }
            }
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
        }
        let survival = Survival::Random(rng.next_u64());
        let power_fails = rng.chance(2, 3);
        disk =
            if power_fails { disk.after_power_loss(&survival) } else { disk.after_process_death(&survival) };
        disk.leave_space(None);
    }
    let log = log(&mut rng);
    let memory = recover(&disk, &log, &mut possible);
    go_on(&disk, &log, memory, &sent, possible);
}

#[test]
fn random_workloads() {
    let seeds = setting("STEADFAST_CRASH_SEEDS").unwrap_or(SEEDS);
    for at in 0..seeds {
        // How the callers' threads take turns is not in the seed: a single one is tried as often.
        run_seed(setting("STEADFAST_CRASH_SEED").unwrap_or(at));
    }
    println!("{seeds} runs");
}
