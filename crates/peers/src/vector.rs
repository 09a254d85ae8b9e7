//! Nearest vectors, side by side: `vector [--set 10k1536|100k128|random|random1536] [--only <parts of names, by commas>] [--rounds N]
//! [--limit <seconds>]`.
//!
//! Each index searches on one thread for the top 20 of the same queries; those with a width to choose get the least
//! one that reaches a recall of .95 and of .99. Rounds go through all of them in turn. Builds use two threads.
//! hnsw_rs is left out if its build takes longer than the limit, a minute unless set.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use engines::Engine;

mod engines;
mod sets;

/// Hits of a search.
const K: usize = 20;

/// Threads of a build, ours and theirs.
const THREADS: usize = 2;

/// The widths that a search is tuned over.
const WIDTHS: [usize; 22] =
    [20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024, 2048, 4096];

/// The least time that one entry is timed for in a round, in seconds.
const ROUND_SECONDS: f64 = 0.2;

/// One line of the table: an index at one width.
struct Entry {
    engine: usize,
    width: usize,
    target: &'static str,
    recall: f64,
    rates: Vec<f64>,
}

struct Settings {
    set: String,
    only: Option<String>,
    rounds: usize,
    /// How long the build of what is known to be slow may take.
    limit: Duration,
}

/// Runs the comparison.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let settings = read(arguments)?;
    let set = sets::by_name(&settings.set)?;
    let (count, dimensions) = (set.vectors.len() / set.dimensions, set.dimensions);
    println!("{}: {count} vectors, {dimensions} dimensions, top {K}, {}", settings.set, instruction_sets());
    let truth = engines::truth(&set);
    let mut built: Vec<(Box<dyn Engine>, f64, f64)> = Vec::new();
    for (name, make) in engines::ALL {
        if settings.only.as_ref().is_some_and(|only| !only.split(',').any(|part| name.contains(part))) {
            continue;
        }
        let (before, start) = (resident_bytes(), Instant::now());
        let Some(engine) = make(&set, settings.limit)? else {
            println!("left out {name}: not built within {} s", settings.limit.as_secs());
            continue;
        };
        let seconds = start.elapsed().as_secs_f64();
        let bytes = engine.bytes().unwrap_or_else(|| resident_bytes().saturating_sub(before));
        println!("built {name} in {seconds:.2} s");
        built.push((engine, seconds, bytes as f64 / count as f64));
    }
    let mut entries: Vec<Entry> = Vec::new();
    for (number, (engine, _, _)) in built.iter().enumerate() {
        entries.extend(tune(&**engine, number, &set, &truth));
    }
    for _ in 0..settings.rounds {
        for entry in &mut entries {
            let rate = rate(&*built[entry.engine].0, entry.width, &set);
            entry.rates.push(rate);
        }
    }
    print(&entries, &built);
    Ok(())
}

fn read(arguments: &[String]) -> Result<Settings, String> {
    let mut settings =
        Settings { set: "10k1536".to_owned(), only: None, rounds: 5, limit: Duration::from_secs(60) };
    let mut arguments = arguments.iter();
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--set" => settings.set.clone_from(value),
            "--only" => settings.only = Some(value.clone()),
            "--rounds" => settings.rounds = value.parse().map_err(|_| format!("{value} is no number"))?,
            "--limit" => {
                let seconds = value.parse().map_err(|_| format!("{value} is no number"))?;
                settings.limit = Duration::from_secs(seconds);
            }
            _ => return Err(format!("unknown option {option}: --set, --only, --rounds, --limit")),
        }
    }
    Ok(settings)
}

fn instruction_sets() -> String {
    format!("kernels: {}", steadfast_vector_index::instruction_set())
}

/// The widths that reach the recalls, or what the engine has when it has none to choose.
fn tune(engine: &dyn Engine, number: usize, set: &sets::Set, truth: &[Vec<u64>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut entry = |width, target, recall| {
        entries.push(Entry { engine: number, width, target, recall, rates: Vec::new() });
    };
    if !engine.has_width() {
        entry(0, "", recall(engine, 0, set, truth));
        return entries;
    }
    let mut targets = [(0.95, ".95"), (0.99, ".99")].into_iter().peekable();
    for width in WIDTHS {
        let found = recall(engine, width, set, truth);
        while let Some((_, name)) = targets.next_if(|(target, _)| found >= *target) {
            entry(width, name, found);
        }
        if targets.peek().is_none() {
            break;
        }
    }
    entries
}

fn recall(engine: &dyn Engine, width: usize, set: &sets::Set, truth: &[Vec<u64>]) -> f64 {
    let mut found = 0;
    for (query, truth) in set.queries().zip(truth) {
        let hits: HashSet<u64> = engine.search(query, width).into_iter().collect();
        found += truth.iter().filter(|id| hits.contains(id)).count();
    }
    found as f64 / (truth.len() * K) as f64
}

/// Searches in a second.
fn rate(engine: &dyn Engine, width: usize, set: &sets::Set) -> f64 {
    let (start, mut done) = (Instant::now(), 0);
    loop {
        for query in set.queries() {
            std::hint::black_box(engine.search(query, width));
            done += 1;
            let seconds = start.elapsed().as_secs_f64();
            if done % 16 == 0 && seconds > ROUND_SECONDS {
                return f64::from(done) / seconds;
            }
        }
    }
}

fn print(entries: &[Entry], built: &[(Box<dyn Engine>, f64, f64)]) {
    println!(
        "{:<28}{:>7}{:>7}{:>9}{:>10}{:>20}{:>9}{:>10}",
        "", "target", "width", "recall", "QPS", "range", "build s", "bytes"
    );
    for entry in entries {
        let (engine, seconds, bytes) = &built[entry.engine];
        let (median, low, high) = spread(&entry.rates);
        println!(
            "{:<28}{:>7}{:>7}{:>9.4}{median:>10.0}{:>20}{seconds:>9.2}{bytes:>10.0}",
            engine.name(),
            entry.target,
            entry.width,
            entry.recall,
            format!("{low:.0}..{high:.0}"),
        );
    }
    for target in [0.95, 0.99] {
        compare(entries, built, target);
    }
}

/// Our best against the best of the others at a recall, round by round.
fn compare(entries: &[Entry], built: &[(Box<dyn Engine>, f64, f64)], target: f64) {
    let best = |ours: bool| {
        let fits = |entry: &&Entry| entry.recall >= target && built[entry.engine].0.is_ours() == ours;
        entries.iter().filter(fits).max_by(|a, b| spread(&a.rates).0.total_cmp(&spread(&b.rates).0))
    };
    let (Some(ours), Some(theirs)) = (best(true), best(false)) else { return };
    let ratios: Vec<f64> = ours.rates.iter().zip(&theirs.rates).map(|(ours, theirs)| ours / theirs).collect();
    let (median, low, high) = spread(&ratios);
    let (ours, theirs) = (built[ours.engine].0.name(), built[theirs.engine].0.name());
    println!("recall {target}: {ours} is {median:.2} ({low:.2}..{high:.2}) times {theirs}");
}

/// Median, least and most.
fn spread(numbers: &[f64]) -> (f64, f64, f64) {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.first(), sorted.last()) {
        (Some(&low), Some(&high)) => (sorted[sorted.len() / 2], low, high),
        _ => (0.0, 0.0, 0.0),
    }
}

/// Memory of this process, for engines that don't say how much they take.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
