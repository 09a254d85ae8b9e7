//! Kill −9 under load: a child process writes into a real directory and prints each acknowledgement into a pipe;
//! it is killed at a random moment, and the store is opened again here. **acknowledged ⊆ recovered ⊆ attempted**,
//! fifty times on the same directory.
//!
//! The child is this test binary once more, with [`ROLE`] in its environment and only [`child`] to run.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steadfast_graph_memory::{Allocate, Config, GraphMemory, LogConfig};
use steadfast_testkit::TestRng;

/// Its value is the directory and the number of the round.
const ROLE: &str = "STEADFAST_KILL_CHILD";
const ROUNDS: u64 = 50;
const CALLERS: u64 = 4;

/// Small segments, so that it is killed between two of them as well.
fn open(dir: &Path) -> GraphMemory {
    GraphMemory::open_blocking(dir, Config::default().log(LogConfig::new(64 << 10, 1))).unwrap()
}

/// The text says which round, which caller and which of its memories it is.
fn text(round: u64, caller: u64, number: u64) -> String {
    format!("r{round}c{caller}n{number} {}", "x".repeat((number * 37 % 900) as usize))
}

fn tag(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Writes until it is killed.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let (round, dir) = role.split_once(' ').expect("the parent tells the round and the directory");
    let (round, memory) = (round.parse().unwrap(), open(Path::new(dir)));
    // Ends the line that the test harness has begun.
    say("");
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let acme = memory.tenant("acme").unwrap();
            scope.spawn(move || {
                for number in 0.. {
                    let text = text(round, caller, number);
                    say(&format!("try {}", tag(&text)));
                    let id = acme.allocate_blocking(Allocate::new(&text)).unwrap().id;
                    say(&format!("ack {} {id}", tag(&text)));
                }
            });
        }
    });
}

/// Prints a line in one piece, past what the test harness captures.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent reads");
}

/// What the child said.
#[derive(Default)]
struct Told {
    attempted: BTreeSet<String>,
    /// With its id.
    acknowledged: BTreeMap<String, u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["try", tag] => drop(self.attempted.insert(tag.into())),
            ["ack", tag, id] => drop(self.acknowledged.insert(tag.into(), id.parse().unwrap())),
            // What the test harness prints.
            _ => {}
        }
    }
}

fn start(dir: &Path, round: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{round} {}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a child, kills it after some acknowledgements and a random while, and adds what it said.
fn run_and_kill(dir: &Path, round: u64, rng: &mut TestRng, told: &mut Told) {
    let mut child = start(dir, round);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let heard = AtomicUsize::new(0);
    let (enough, pause) = (rng.below(40) as usize, Duration::from_micros(rng.below(30_000)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut line = String::new();
            // What is in the pipe outlives the child. A last line without an end was cut off by the kill.
            while out.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                told.hear(line.trim_end());
                line.clear();
                // Relaxed: only the count matters.
                heard.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Sometimes it is killed while it opens the store.
        while heard.load(Ordering::Relaxed) < enough {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

fn check(memory: &GraphMemory, told: &Told) -> u64 {
    let acme = memory.tenant("acme").unwrap();
    let Ok(view) = acme.view() else {
        assert!(told.acknowledged.is_empty(), "everything is gone");
        return 0;
    };
    let mut recovered = BTreeMap::new();
    for record in view.records() {
        let tag = tag(record.text()).to_owned();
        assert!(told.attempted.contains(&tag), "nobody asked for {tag}");
        let numbers: Vec<u64> = tag.split(['r', 'c', 'n']).filter_map(|number| number.parse().ok()).collect();
        assert_eq!(record.text(), text(numbers[0], numbers[1], numbers[2]));
        assert_eq!(recovered.insert(tag.clone(), record.id.get()), None, "{tag} is there twice");
    }
    for (tag, id) in &told.acknowledged {
        assert_eq!(recovered.get(tag), Some(id), "{tag} was acknowledged");
    }
    recovered.len() as u64
}

#[test]
fn acknowledged_commands_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rng, mut told) = (TestRng::new(9), Told::default());
    let (mut recovered, mut unclean) = (0, 0);
    for round in 0..ROUNDS {
        run_and_kill(dir.path(), round, &mut rng, &mut told);
        let memory = open(dir.path());
        recovered = check(&memory, &told);
        unclean += u64::from(!memory.recovery().clean);
        // It takes writes, and closes in good order.
        let text = text(round, CALLERS, 0);
        told.attempted.insert(tag(&text).into());
        let answer = memory.tenant("acme").unwrap().allocate_blocking(Allocate::new(&text)).unwrap();
        told.acknowledged.insert(tag(&text).into(), answer.id.get());
        memory.close_blocking().unwrap();
    }
    println!(
        "{recovered} memories, {} of them acknowledged; {unclean} of {ROUNDS} kills hit an open store",
        told.acknowledged.len()
    );
    assert!(unclean > ROUNDS / 2, "most kills should hit a store that is open");
}
