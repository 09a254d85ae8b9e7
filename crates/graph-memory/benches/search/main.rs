//! Searches: how long they take by number of memories, with filters, and beside writes, and how soon a write is found.
//!
//! `cargo xtask bench search [--sizes N,N,…] [--rounds N] [--large] [--dir DIR]`. Memories of 10 to 30 words whose frequencies follow Zipf's law, with
//! clustered vectors of 128 dimensions; queries for the top 10, by two words of mixed frequency (any of them), by vector, and by both.
//! All through the crate's public interface, records and all; matches aren't counted.
//!
//! - **By size**: one thread, nothing else going on; with the bytes that the process has grown by,
//!   the time to load the memories, and the time to open the store again, which replays its log.
//!   Each size runs in a process of its own, so that its memory is its own.
//! - **Filters**: with a filter that one memory in a hundred passes, by what drives it.
//! - **Beside writes**: first how many writes a second 256 callers get acknowledged; then searches at a steady pace, in turn at rest
//!   and while half as many writes are sent at a constant rate. Since each round adds memories, a round's ratio is to the mean of the
//!   rests before and behind it.
//! - **Until found**: from the call that allocates until a search for its word has answered with it, which the first search after the acknowledgement does.

mod corpus;
mod load;
mod measure;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use steadfast_graph_memory::{Allocate, Filter, Id, Search};

use corpus::Corpus;
use load::{Store, prepare, rest};
use measure::{Times, paced_searches, searches, summary};

/// As a server would have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long one kind of query is timed in a round.
const ROUND: Duration = Duration::from_millis(200);
/// How long searches are timed at rest, and beside writes.
const BESIDE: Duration = Duration::from_millis(700);
/// Between two searches at a steady pace.
const PACE: Duration = Duration::from_micros(500);
/// Memories that there are before writes begin.
const BESIDE_MEMORIES: usize = 10_000;
/// Memories that filters are tried on.
const FILTERED_MEMORIES: usize = 50_000;
/// Different queries of each kind.
const QUERIES: usize = 512;
/// Writes that are timed until they are found, in a round.
const FOUND: usize = 300;
/// Above this a size is measured with words alone: its vectors would take minutes to index.
const VECTORS_MAX: usize = 100_000;
/// Memories of a cluster of vectors.
const CLUSTER: usize = 100;

struct Arguments {
    sizes: Vec<usize>,
    rounds: usize,
    dir: PathBuf,
    /// One row of the first table, for the process that asks.
    only: Option<usize>,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed =
        Arguments { sizes: vec![1_000, 10_000, 100_000], rounds: 5, dir: std::env::temp_dir(), only: None };
    if let Some(target) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)) {
        // The disk that the build is on, rather than a temporary directory in memory.
        parsed.dir = target;
    }
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        if word == "--large" {
            parsed.sizes.push(1_000_000);
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let bad = |_| format!("{word} {value}: not a number");
        match word.as_str() {
            "--sizes" => {
                parsed.sizes = value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(bad)?;
            }
            "--rounds" => parsed.rounds = value.parse().map_err(bad)?,
            "--dir" => parsed.dir = value.into(),
            "--only" => parsed.only = Some(value.parse().map_err(bad)?),
            _ => {
                return Err(format!(
                    "unknown option {word}; known: --sizes, --rounds, --large, --dir, --only"
                ));
            }
        }
    }
    if parsed.rounds == 0 || parsed.sizes.contains(&0) || parsed.only == Some(0) {
        return Err("--rounds, --sizes and --only must be at least 1".into());
    }
    Ok(parsed)
}

fn main() {
    let arguments = arguments().unwrap_or_else(|error| {
        eprintln!("bench search: {error}");
        std::process::exit(2);
    });
    if let Some(size) = arguments.only {
        print_size(&arguments, size);
        return;
    }
    println!("top 10, {} rounds, in {}\n", arguments.rounds, arguments.dir.display());
    println!("by size: µs a search on one thread, median of the rounds (range)");
    println!(
        "memories |            words p50 |                  p99 |           vector p50 |                  p99 |             both p50 |                  p99 | bytes a memory | load s | open s"
    );
    for &size in &arguments.sizes {
        run_alone(&arguments, size);
    }
    filtered(&arguments);
    beside_writes(&arguments);
}

/// Measures one size in a process of its own.
fn run_alone(arguments: &Arguments, size: usize) {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this)
        .args(["--only", &size.to_string(), "--rounds", &arguments.rounds.to_string(), "--dir"])
        .arg(&arguments.dir)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("bench search: {size} memories couldn't be measured");
        std::process::exit(1);
    }
}

fn print_size(arguments: &Arguments, size: usize) {
    let clusters = if size <= VECTORS_MAX { size.div_ceil(CLUSTER) } else { 0 };
    let corpus = Corpus::new(clusters);
    let store = Store::new(&arguments.dir);
    let (before, began) = (resident_bytes(), Instant::now());
    store.fill(&corpus, size);
    let took = began.elapsed();
    let bytes = resident_bytes().saturating_sub(before) / size;
    let mut kinds: Vec<Vec<Search>> = vec![(0..QUERIES).map(Corpus::by_words).collect()];
    if corpus.has_vectors() {
        kinds.push((0..QUERIES).map(|number| corpus.by_vector(number)).collect());
        kinds.push((0..QUERIES).map(|number| corpus.by_both(number)).collect());
    }
    let mut told = [const { [const { Vec::new() }; 2] }; 3];
    // The first round warms up.
    for round in 0..=arguments.rounds {
        for (queries, told) in kinds.iter().zip(&mut told) {
            let mut times = searches(&store.tenant, queries, ROUND);
            if round > 0 {
                told[0].push(times.percentile(50));
                told[1].push(times.percentile(99));
            }
        }
    }
    print!("{size:>8}");
    for percentile in told.iter().flatten() {
        let told = if percentile.is_empty() { "–".to_owned() } else { summary(percentile, 0) };
        print!(" | {told:>20}");
    }
    let opened = store.reopen();
    println!(" | {bytes:>14} | {:>6.1} | {:>6.2}", took.as_secs_f64(), opened.as_secs_f64());
}

/// Searches with a filter that one memory in a hundred passes, by what drives it.
fn filtered(arguments: &Arguments) {
    let corpus = Corpus::new(FILTERED_MEMORIES / CLUSTER);
    let store = Store::new(&arguments.dir);
    store.fill_with(FILTERED_MEMORIES, {
        let corpus = corpus.clone();
        move |number| {
            let share = number as f32 / FILTERED_MEMORIES as f32;
            corpus.memory(number).attribute("number", number as i64).importance(share)
        }
    });
    println!(
        "\nfilters that one of a hundred of {FILTERED_MEMORIES} memories passes: µs a search on one thread, median of the rounds (range)"
    );
    println!(
        "filter on              |            words p50 |                  p99 |           vector p50 |                  p99"
    );
    let width = FILTERED_MEMORIES / 100;
    let first = |number: usize| number * 7919 % (FILTERED_MEMORIES - width);
    type Filtered = fn(usize, usize) -> Filter;
    let filters: [(&str, Filtered); 4] = [
        ("none", |_, _| Filter::new()),
        ("importance, no index", |first, end| {
            let share = |number: usize| number as f32 / FILTERED_MEMORIES as f32;
            Filter::new().importance(share(first)..share(end))
        }),
        ("a range of an attribute", |first, end| {
            Filter::new().attribute_between("number", first as i64..end as i64)
        }),
        ("a range of ids", |first, end| {
            Filter::new().id_range(Id::new(first as u64 + 1)..Id::new(end as u64 + 1))
        }),
    ];
    for (name, filter) in filters {
        let with =
            |number: usize, search: Search| search.filter(filter(first(number), first(number) + width));
        let kinds: [Vec<Search>; 2] = [
            (0..QUERIES).map(|number| with(number, Corpus::by_words(number))).collect(),
            (0..QUERIES).map(|number| with(number, corpus.by_vector(number))).collect(),
        ];
        let mut told = [const { Vec::new() }; 4];
        for _ in 0..arguments.rounds {
            for (kind, queries) in kinds.iter().enumerate() {
                let mut times = searches(&store.tenant, queries, ROUND);
                told[2 * kind].push(times.percentile(50));
                told[2 * kind + 1].push(times.percentile(99));
            }
        }
        let [a, b, c, d] = told.map(|times| summary(&times, 0));
        println!("{name:<22} | {a:>20} | {b:>20} | {c:>20} | {d:>20}");
    }
    store.memory.close_blocking().expect("closed");
}

fn beside_writes(arguments: &Arguments) {
    println!(
        "\nbeside writes: p99 in µs of a search every {} µs over {BESIDE_MEMORIES} memories and more, at rest and at half of what the store takes",
        PACE.as_micros()
    );
    println!(
        "searches | takes /s | acknowledged /s      |              at rest |        beside writes | ratio (range), goal ≤ 2 | p50: at rest, beside"
    );
    let mut found = Vec::new();
    let plain = Corpus::new(0);
    let clustered = Corpus::new(BESIDE_MEMORIES / CLUSTER);
    type Query = fn(&Corpus, usize) -> Search;
    for (name, corpus, query) in [
        ("words", &plain, (|_, number| Corpus::by_words(number)) as Query),
        ("vector", &clustered, Corpus::by_vector),
        ("both", &clustered, Corpus::by_both),
    ] {
        let store = Store::new(&arguments.dir);
        store.fill(corpus, BESIDE_MEMORIES);
        let prepared = prepare(corpus);
        let queries: Vec<Search> = (0..QUERIES).map(|number| query(corpus, number)).collect();
        let time = |tenant| {
            let mut times = paced_searches(tenant, &queries, PACE, BESIDE);
            (times.percentile(99), times.percentile(50))
        };
        let capacity = store.capacity(&prepared, BESIDE);
        rest();
        let mut idle = vec![time(&store.tenant)];
        let (mut busy, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            let (times, rate) = store.beside_writes(&prepared, capacity / 2.0, || time(&store.tenant));
            busy.push(times);
            rates.push(rate);
            rest();
            idle.push(time(&store.tenant));
        }
        let ratios: Vec<f64> = busy
            .iter()
            .zip(idle.windows(2))
            .map(|(busy, idle)| busy.0 / idle[0].0.midpoint(idle[1].0))
            .collect();
        let p99 = |times: &[(f64, f64)]| summary(&times.iter().map(|times| times.0).collect::<Vec<_>>(), 0);
        let p50 = |times: &[(f64, f64)]| summary(&times.iter().map(|times| times.1).collect::<Vec<_>>(), 0);
        println!(
            "{name:>8} | {capacity:>8.0} | {:>20} | {:>20} | {:>20} | {:>23} | {}, {}",
            summary(&rates, 0),
            p99(&idle),
            p99(&busy),
            summary(&ratios, 2),
            p50(&idle),
            p50(&busy),
        );
        if name != "vector" {
            found.push((name, until_found(&store, corpus, capacity, arguments.rounds)));
        }
        store.memory.close_blocking().expect("closed");
    }
    println!(
        "\nuntil found: µs from the call to the answer of a search that finds what it allocated; of that, until acknowledged"
    );
    println!(
        "memories of |                  |            found p50 |                  p99 |     acknowledged p50 |                  p99"
    );
    for (name, [idle, busy]) in found {
        for (when, times) in [("at rest", idle), ("beside writes", busy)] {
            let [a, b, c, d] = times.map(|times| summary(&times, 0));
            println!("{name:>11} | {when:<16} | {a:>20} | {b:>20} | {c:>20} | {d:>20}");
        }
    }
}

/// Percentiles of each round: found p50 and p99, acknowledged p50 and p99.
type Found = [Vec<f64>; 4];

/// At rest, and beside half of what the store takes.
fn until_found(store: &Store, corpus: &Corpus, capacity: f64, rounds: usize) -> [Found; 2] {
    let prepared = prepare(corpus);
    let mut told: [Found; 2] = Default::default();
    for round in 0..rounds {
        let first = round * 2 * FOUND;
        rest();
        let idle = times_until_found(store, corpus, first);
        let (busy, _) = store
            .beside_writes(&prepared, capacity / 2.0, || times_until_found(store, corpus, first + FOUND));
        for (told, times) in told.iter_mut().zip([idle, busy]) {
            told.iter_mut().zip(times).for_each(|(told, time)| told.push(time));
        }
    }
    told
}

fn times_until_found(store: &Store, corpus: &Corpus, first: usize) -> [f64; 4] {
    let (mut found, mut acknowledged) = (Times::default(), Times::default());
    for number in first..first + FOUND {
        // A word that no other memory has.
        let word: String = format!("once{number}")
            .chars()
            .map(|letter| if letter.is_ascii_digit() { (letter as u8 - b'0' + b'a') as char } else { letter })
            .collect();
        let memory = corpus.memory((1 << 41) + number);
        let memory = Allocate { text: format!("{} {word}", memory.text), ..memory };
        let began = Instant::now();
        let answer = store.tenant.allocate_blocking(memory).expect("acknowledged");
        acknowledged.add(began.elapsed());
        let hits = store.tenant.search_blocking(Search::new(word)).expect("found").hits;
        found.add(began.elapsed());
        assert_eq!(hits.len(), 1, "the first search after the acknowledgement finds it");
        assert_eq!(hits[0].record.id, answer.id);
    }
    [found.percentile(50), found.percentile(99), acknowledged.percentile(50), acknowledged.percentile(99)]
}

/// Memory of this process; 0 where it can't be known.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
