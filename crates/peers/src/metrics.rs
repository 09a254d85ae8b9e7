//! Recording into counters and histograms, beside prometheus, prometheus-client, the `metrics` facade with its exporter, hdrhistogram and histogram.
//!
//! `metrics [--launches N] [--rounds N] [--only PART]`: each launch is a process of its own, as where things lie in the caches changes from one to the next. In a launch
//! rounds of all contenders alternate, and the median round counts; told are the median launch and the range of the launches.
//! Times are processor times of the recording threads, so that what else runs on the machine counts as little as may be. With two threads both record into the same metric, and each one's time for a record is told.

mod contenders;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contenders::Contender;
use steadfast_metrics::Registry;

/// Records of one measurement, and before it: multiples of `VALUES`.
const RECORDS: u64 = 1 << 20;
const RECORDS_BEFORE: u64 = 1 << 17;
/// How the values that are recorded come to differ: 1024 of them, in turn.
const VALUES: usize = 1024;

struct Options {
    launches: usize,
    rounds: usize,
    /// Only contenders whose names contain it.
    only: String,
    is_launch: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { launches: 7, rounds: 7, only: String::new(), is_launch: false };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            if name == "--only" {
                options.only.clone_from(arguments.next().ok_or("--only needs a part of a name")?);
                continue;
            }
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<usize>().ok());
                value.filter(|value| *value > 0).ok_or_else(|| format!("{name} needs a number above 0"))
            };
            match name.as_str() {
                "--launches" => options.launches = number()?,
                "--rounds" => options.rounds = number()?,
                "--one-launch" => options.is_launch = true,
                _ => return Err(format!("unknown option {name}: --launches N, --rounds N, --only PART")),
            }
        }
        Ok(options)
    }
}

/// What one launch measured, by name.
type Figures = BTreeMap<String, f64>;

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    if options.is_launch {
        for (name, figure) in measure(&options) {
            println!("{name}\t{figure}");
        }
        return Ok(());
    }
    let mut launches = Vec::new();
    for _ in 0..options.launches {
        launches.push(launch(&options)?);
    }
    println!(
        "{} launches of {} rounds; ns a record of each thread: median (range of launches)\n",
        options.launches, options.rounds
    );
    println!("| | 1 thread | 2 threads, same metric | 2 threads ÷ 1 |\n|---|---|---|---|");
    for contender in contenders(&options.only) {
        let name = contender.name();
        let of = |threads| launches.iter().map(move |figures| figures[&key(name, threads)]);
        let ratios = of(2).zip(of(1)).map(|(two, one)| two / one);
        println!("| {name} | {} | {} | {} |", spread(of(1)), spread(of(2)), spread(ratios));
    }
    println!();
    let tell = |name: &str, figures: Option<Vec<f64>>| {
        // None of what `--only` left out.
        if let Some(figures) = figures {
            println!("{name}: {}", spread(figures.into_iter()));
        }
    };
    let of =
        |name: &str| launches.iter().map(|figures| figures.get(name).copied()).collect::<Option<Vec<f64>>>();
    for threads in [1, 2] {
        let both = of(&key(contenders::COUNTER, threads)).zip(of(&key(contenders::BARE, threads)));
        let ratios = both
            .map(|(counter, bare)| counter.iter().zip(bare).map(|(counter, bare)| counter / bare).collect());
        tell(&format!("counter ÷ bare thread-local, {threads} threads"), ratios);
    }
    for name in [SNAPSHOT_MEDIAN, SNAPSHOT_MOST, SNAPSHOT_EXACT, SNAPSHOT_RECORD] {
        tell(name, of(name));
    }
    Ok(())
}

/// Those whose names contain `only`.
fn contenders(only: &str) -> Vec<Box<dyn Contender>> {
    let mut contenders = contenders::all();
    contenders.retain(|contender| contender.name().contains(only));
    contenders
}

fn key(name: &str, threads: usize) -> String {
    format!("{name} / {threads}")
}

/// The median and, in brackets, the range.
fn spread(figures: impl Iterator<Item = f64>) -> String {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let [first, .., last] = figures[..] else { return format!("{:.2}", figures[0]) };
    format!("{:.2} ({first:.2}–{last:.2})", figures[figures.len() / 2])
}

fn launch(options: &Options) -> Result<Figures, String> {
    let program = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let output = Command::new(program)
        .args(["metrics", "--one-launch", "--rounds", &options.rounds.to_string(), "--only", &options.only])
        .output()
        .map_err(|error| format!("can't launch: {error}"))?;
    if !output.status.success() {
        return Err(format!("a launch failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let figures = lines.lines().filter_map(|line| line.split_once('\t'));
    Ok(figures.filter_map(|(name, figure)| Some((name.to_owned(), figure.parse().ok()?))).collect())
}

fn measure(options: &Options) -> Figures {
    let values = values();
    let contenders = contenders(&options.only);
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        for contender in &contenders {
            for threads in [1, 2] {
                let ns = time(contender.as_ref(), threads, &values, 5 * round);
                times.entry(key(contender.name(), threads)).or_default().push(ns);
                contender.between_rounds();
            }
        }
    }
    let mut figures: Figures = times.into_iter().map(|(name, times)| (name, median(times))).collect();
    if SNAPSHOT_MEDIAN.contains(&options.only) {
        figures.extend(snapshots(&values));
    }
    figures
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Latencies in nanoseconds between 20 µs and 2 ms, most of them short.
fn values() -> Vec<u64> {
    let mut state = 42_u64;
    let unit = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..VALUES).map(|_| (20_000.0 * 100_f64.powf(unit(&mut state) * unit(&mut state))) as u64).collect()
}

/// What the calling thread has had of a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Runs it so much deeper in the stack: where its variables lie relative to what is on the heap matters (loads wait for stores to addresses that differ by a multiple of
/// 4 KiB), so each round is to have another place.
#[inline(never)]
fn deeper(frames: usize, run: &mut dyn FnMut()) {
    let frame = black_box([0_u8; 40]);
    match frames {
        0 => run(),
        _ => deeper(frames - 1, run),
    }
    black_box(frame);
}

/// Nanoseconds a record takes each of so many threads that record at the same time: the slowest of them.
fn time(contender: &dyn Contender, threads: usize, values: &[u64], depth: usize) -> f64 {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    contender.record(values, RECORDS_BEFORE);
                    start.wait();
                    let before = processor_time();
                    deeper(depth, &mut || contender.record(black_box(values), RECORDS));
                    processor_time().saturating_sub(before)
                })
            })
            .collect();
        let slowest = running.into_iter().map(|thread| thread.join().unwrap_or(Duration::MAX)).max();
        slowest.unwrap_or(Duration::MAX).as_secs_f64() * 1e9 / RECORDS as f64
    })
}

const SNAPSHOT_MEDIAN: &str = "snapshot of 100 histograms beside two writers, median µs";
const SNAPSHOT_MOST: &str = "snapshot of 100 histograms beside two writers, slowest of 500 µs";
const SNAPSHOT_EXACT: &str = "of 50 000 histograms read, not exact";
const SNAPSHOT_RECORD: &str = "ns a record meanwhile, into 100 histograms in turn";

/// Two threads record into a hundred histograms in turn, while snapshots are taken one after the other.
fn snapshots(values: &[u64]) -> Figures {
    const SNAPSHOTS: usize = 500;
    let registry = Registry::new();
    let histograms: Vec<_> = (0..100)
        .map(|number| registry.histogram(format!("latency_{number}")).expect("the name is new and legal"))
        .collect();
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    let (mut exact, mut read) = (0_usize, 0_usize);
    let record_ns = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (before, mut records) = (processor_time(), 0_u64);
                    while !stop.load(Ordering::Relaxed) {
                        for (histogram, value) in histograms.iter().cycle().zip(values) {
                            histogram.record(*value);
                        }
                        records += values.len() as u64;
                    }
                    processor_time().saturating_sub(before).as_secs_f64() * 1e9 / records as f64
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(20));
        for _ in 0..SNAPSHOTS {
            let before = Instant::now();
            let snapshot = black_box(registry.snapshot());
            times.push(before.elapsed().as_secs_f64() * 1e6);
            let found = snapshot.families.iter().filter_map(|family| snapshot.histogram(&family.name, &[]));
            for histogram in found {
                exact += usize::from(histogram.is_exact());
                read += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Relaxed: it orders nothing else.
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap_or(f64::NAN)).fold(0.0, f64::max)
    });
    let most = times.iter().copied().fold(0.0, f64::max);
    [
        (SNAPSHOT_MEDIAN, median(times)),
        (SNAPSHOT_MOST, most),
        (SNAPSHOT_EXACT, (read - exact) as f64),
        (SNAPSHOT_RECORD, record_ns),
    ]
    .map(|(name, figure)| (name.to_owned(), figure))
    .into()
}
