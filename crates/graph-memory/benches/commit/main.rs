//! Durable commands a second: the store against a raw log that does nothing else.
//!
//! `cargo xtask bench commit [--seconds S] [--rounds N] [--callers N] [--dir DIR]`. Both sides get commands of 1 KiB from 1, 16 and
//! 256 tasks on
//! two runtime threads, and acknowledge after an `fdatasync`. The raw log shares no code with the store: see `raw.rs`.
//! Rounds of up to 1 s find all files zero-filled; in longer ones the store fills segments while it is measured.
//! Rounds alternate which side goes first; a round's ratio is of its own two figures; medians and ranges are printed.

mod load;
mod raw;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use steadfast_graph_memory::{Config, GraphMemory, LogConfig, Memory, StoreStats};

use load::{Rate, run, summary};

/// As a server would have it; half of a busy committer's cost else is glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The store's segments in a short round; half of them, 252 MiB, are used before more are made.
const SEGMENT_BYTES: u64 = 32 << 20;
const SEGMENTS: usize = 20;
/// Longer rounds measure what a store does when segments are filled beside its writes all the time.
const ROUND_MAX: Duration = Duration::from_secs(1);

struct Arguments {
    seconds: f64,
    rounds: usize,
    callers: Vec<usize>,
    dir: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed =
        Arguments { seconds: 1.0, rounds: 7, callers: vec![1, 16, 256], dir: std::env::temp_dir() };
    if let Some(target) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)) {
        // The disk that the build is on, rather than a temporary directory in memory.
        parsed.dir = target;
    }
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let bad = |_| format!("{word} {value}: not a number");
        match word.as_str() {
            "--seconds" => {
                parsed.seconds = value.parse().map_err(|_| format!("{word} {value}: not a number"))?;
            }
            "--rounds" => parsed.rounds = value.parse().map_err(bad)?,
            "--callers" => parsed.callers = vec![value.parse().map_err(bad)?],
            "--dir" => parsed.dir = value.into(),
            _ => return Err(format!("unknown option {word}; known: --seconds, --rounds, --callers, --dir")),
        }
    }
    if !(0.1..=600.0).contains(&parsed.seconds) || parsed.rounds == 0 {
        return Err("--seconds must be from 0.1 to 600, --rounds at least 1".into());
    }
    Ok(parsed)
}

/// Runs this program again with an allocator that keeps freed memory, as a long-lived server's would: else each round would
/// measure how fast the machine hands out zeroed pages. The allocator reads its settings before `main`.
fn keep_freed_memory() {
    const SETTING: &str = "MIMALLOC_PURGE_DELAY";
    if std::env::var_os(SETTING).is_none() {
        let this = std::env::current_exe().expect("this program has a path");
        let run =
            std::process::Command::new(this).args(std::env::args_os().skip(1)).env(SETTING, "-1").status();
        std::process::exit(run.ok().and_then(|status| status.code()).unwrap_or(1));
    }
}

fn main() {
    keep_freed_memory();
    let arguments = arguments().unwrap_or_else(|error| {
        eprintln!("bench commit: {error}");
        std::process::exit(2);
    });
    let dir = tempfile::tempdir_in(&arguments.dir).expect("a directory for the bench");
    println!(
        "durable commands of 1 KiB, {} rounds of {} s a side, in {}",
        arguments.rounds,
        arguments.seconds,
        arguments.dir.display()
    );
    println!();
    println!(
        "callers |    raw log /s (range)          |      store /s (range)          | ratio (range)      | per sync raw, store | processor µs raw, store"
    );
    println!(
        "--------+--------------------------------+--------------------------------+--------------------+---------------------+------------------------"
    );
    let time = Duration::from_secs_f64(arguments.seconds);
    let mut details = Vec::new();
    for &width in &arguments.callers {
        let (mut raw, mut store, mut stats) = (Vec::new(), Vec::new(), None);
        // The first round warms up the disk's free space and isn't counted.
        for round in 0..=arguments.rounds {
            let mut pair = [None, None];
            for turn in 0..2 {
                let side = (round + turn) % 2;
                pair[side] = Some(if side == 0 {
                    raw::measure(dir.path(), width, time)
                } else {
                    let (rate, figures) = measure_store(dir.path(), width, time);
                    stats = Some((figures, rate));
                    rate
                });
            }
            if let (1.., [Some(a), Some(b)]) = (round, pair) {
                raw.push(a);
                store.push(b);
            }
        }
        let ratios: Vec<f64> =
            raw.iter().zip(&store).map(|(raw, store)| store.per_second / raw.per_second).collect();
        let rates =
            |rates: &[Rate]| summary(&rates.iter().map(|rate| rate.per_second).collect::<Vec<_>>(), 0);
        let per_sync =
            |rates: &[Rate]| rates.iter().map(|rate| rate.per_sync).sum::<f64>() / rates.len() as f64;
        let processor = |rates: &[Rate]| {
            rates.iter().map(|rate| rate.processor.as_secs_f64() * 1e6).sum::<f64>() / rates.len() as f64
        };
        let syncs = format!("{:.1}, {:.1}", per_sync(&raw), per_sync(&store));
        println!(
            "{width:>7} | {:>30} | {:>30} | {:>18} | {syncs:>19} | {:.1}, {:.1}",
            rates(&raw),
            rates(&store),
            summary(&ratios, 2),
            processor(&raw),
            processor(&store),
        );
        details.extend(stats.map(|(figures, rate)| (width, figures, rate)));
    }
    println!();
    println!("where the committer's time goes in the last round, % of the time");
    for (width, stats, rate) in &details {
        print_time(*width, stats, rate);
    }
}

fn print_time(width: usize, stats: &StoreStats, rate: &Rate) {
    let time = &stats.time;
    let parts = [
        ("write and sync", time.write),
        ("encode", time.encode),
        ("apply", time.apply),
        ("index", time.index),
        ("publish", time.publish),
        ("segment", time.segment),
    ];
    let share = |part: Duration| 100.0 * part.as_secs_f64() / rate.took.as_secs_f64();
    let known: Duration = parts.iter().map(|(_, part)| *part).sum();
    print!("{width:>7} |");
    for (name, part) in parts {
        print!(" {name} {:.1},", share(part));
    }
    println!(" answer and wait {:.1}", share(rate.took.saturating_sub(known)));
}

/// Allocations with all that belongs to them: 20 indexed words, attributes up to 1 KiB.
fn measure_store(dir: &Path, width: usize, time: Duration) -> (Rate, StoreStats) {
    let dir = dir.join("store");
    // As many segments as a round uses, ready before the clock starts, as the raw log's file is.
    let ahead = if time > ROUND_MAX { 2 } else { SEGMENTS };
    let config = Config::default().log(LogConfig::new(SEGMENT_BYTES, ahead));
    let memory = GraphMemory::open_blocking(&dir, config).expect("a store");
    let tenant = memory.tenant("bench").expect("a good name");
    tenant.allocate_blocking(load::request(0)).expect("a tenant");
    // Made before the clock starts, as the raw log's command is.
    let requests: Arc<[_]> = (0..256).map(load::request).collect();
    while std::fs::read_dir(dir.join("log")).expect("the log's directory").count() <= ahead {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = memory.stats();
    let load = run(width, time, |caller| {
        let (tenant, requests) = (tenant.clone(), Arc::clone(&requests));
        move |turn| {
            let (tenant, request) = (tenant.clone(), requests[(caller + turn) % requests.len()].clone());
            async move {
                tenant.allocate(request).await.expect("acknowledged");
            }
        }
    });
    let mut stats = memory.stats();
    let syncs = stats.syncs - before.syncs;
    stats.time.encode -= before.time.encode;
    stats.time.write -= before.time.write;
    stats.time.segment -= before.time.segment;
    assert_eq!(
        stats.last_seq.get(),
        before.last_seq.get() + load.count as u64,
        "every command was logged once"
    );
    drop(tenant);
    memory.close_blocking().expect("closed");
    drop(memory);
    std::fs::remove_dir_all(dir).expect("removed");
    let rate = Rate::new(&load, syncs);
    (rate, stats)
}
