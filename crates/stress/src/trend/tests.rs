//! Simulated processes with and without a leak. The series are what a minute of load gives: 240 samples, 400 000
//! operations. Catch rates and false alarms are counted over seeds that are always the same.

use super::*;
use crate::rng::Rng;

const KB: f64 = 1e3;
const MB: f64 = 1e6;
const SAMPLES: usize = 240;
const OPERATIONS: f64 = 400_000.0;
/// A tenth of a byte an operation: 20 KB in the minute.
const BUDGET: f64 = 0.1;

/// Random numbers as noise needs them.
struct Noise(Rng);

impl Noise {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }
    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
    /// Each value is `memory` of the one before it and something new; the standard deviation is `deviation`.
    fn correlated(&mut self, memory: f64, deviation: f64) -> Vec<f64> {
        let fresh = deviation * (1.0 - memory * memory).sqrt();
        let mut value = deviation * self.normal();
        let mut next = || {
            value = memory * value + fresh * self.normal();
            value
        };
        (0..SAMPLES).map(|_| next()).collect()
    }
    /// What an allocator does below any program: neighbours resemble each other, and what is in flight comes on top.
    fn allocator(&mut self) -> Vec<f64> {
        let mut values = self.correlated(0.5, 40.0 * KB);
        for value in &mut values {
            *value += 50.0 * MB + self.exponential(100.0 * KB);
        }
        values
    }
}

/// One simulated minute: what was done by each sample, as a share of it all, and the noise of the allocator.
struct Minute {
    noise: Noise,
    done: Vec<f64>,
    values: Vec<f64>,
}

impl Minute {
    /// Operations come unevenly, by a fifth more or less.
    fn new(seed: u64) -> Self {
        let mut noise = Noise(Rng::new(seed * 7_919));
        let mut done = 0.0;
        let mut next = || {
            done += noise.between(0.8, 1.2) / SAMPLES as f64;
            done
        };
        let done = (0..SAMPLES).map(|_| next()).collect();
        let values = noise.allocator();
        Self { noise, done, values }
    }

    /// Adds what the target keeps after a share of the operations.
    fn keeps(mut self, shape: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().zip(&self.done).for_each(|(value, &done)| *value += shape(done));
        self
    }

    /// Adds one value to each sample.
    fn wanders(mut self, memory: f64, deviation: f64) -> Self {
        let walk = self.noise.correlated(memory, deviation);
        self.values.iter_mut().zip(walk).for_each(|(value, step)| *value += step);
        self
    }

    fn samples(&self) -> Vec<SampleReport> {
        let sample = |(&done, &value): (&f64, &f64)| SampleReport {
            operations: (done * OPERATIONS) as u64,
            live_bytes: Some(value as u64),
            ..Default::default()
        };
        self.done.iter().zip(&self.values).map(sample).collect()
    }
}

/// How many of a thousand minutes are taken for a leak.
fn leaks(name: &str, process: impl Fn(Minute) -> Minute) -> usize {
    let is_leak = |seed: &u64| {
        let samples = process(Minute::new(*seed)).samples();
        judge(&samples, Figure::LiveBytes, BUDGET).outcome == Outcome::Leak
    };
    let found = (0..1_000).filter(is_leak).count();
    println!("{name}: {found} of 1000 taken for a leak");
    found
}

/// 1 KiB in 1 000 operations: 410 KB in the minute, beside noise of 40 KB and 100 KB.
fn leak(done: f64) -> f64 {
    1.024 * OPERATIONS * done
}

#[test]
fn a_leak_of_one_kib_in_a_thousand_operations_is_found() {
    assert!(leaks("leak", |minute| minute.keeps(leak)) >= 950);
    // Beside a cache that is full after a quarter.
    let cache = |done: f64| 5.0 * MB * (1.0 - (-done * 25.0).exp());
    assert!(leaks("leak and cache", |minute| minute.keeps(leak).keeps(cache)) >= 950);
}

#[test]
fn ten_times_the_leak_is_found_beside_a_saw_tooth() {
    let found = leaks("leak and saw-tooth", |mut minute| {
        let (teeth, phase) = (minute.noise.between(10.0, 40.0), minute.noise.uniform());
        minute.keeps(|done| 10.0 * leak(done) + MB * (done * teeth + phase).fract())
    });
    assert!(found >= 950);
}

#[test]
fn clean_processes_are_not_accused() {
    let saw_tooth = |mut minute: Minute, teeth: (f64, f64)| {
        let (teeth, phase) = (minute.noise.between(teeth.0, teeth.1), minute.noise.uniform());
        minute.keeps(|done| 20.0 * MB * (done * teeth + phase).fract())
    };
    let accused = [
        leaks("allocator noise", |minute| minute),
        leaks("short saw-tooth", |minute| saw_tooth(minute, (15.0, 60.0))),
        leaks("long saw-tooth", |minute| saw_tooth(minute, (4.0, 15.0))),
        leaks("random walk that returns", |minute| minute.wanders(0.95, 5.0 * MB)),
        leaks("slow random walk that returns", |minute| minute.wanders(0.98, 5.0 * MB)),
        leaks("cache that fills", |mut minute| {
            // From 30 KB to 50 MB; nine tenths full after a twentieth to a half of the minute.
            let size = 10.0_f64.powf(minute.noise.between(4.5, 7.7));
            let speed = 2.3 / minute.noise.between(0.05, 0.5);
            minute.keeps(|done| size * (1.0 - (-done * speed).exp()))
        }),
        leaks("pool that grows to its bound", |mut minute| {
            let (size, bound) =
                (minute.noise.between(100.0 * KB, 20.0 * MB), minute.noise.between(0.05, 0.5));
            minute.keeps(|done| size * (done / bound).min(1.0))
        }),
    ];
    assert!(accused.iter().all(|leaks| *leaks <= 10), "{accused:?}");
}

#[test]
fn each_outcome_by_name() {
    let of = |minute: Minute| judge(&minute.samples(), Figure::LiveBytes, BUDGET);
    let found = of(Minute::new(1).keeps(|done| 20.0 * leak(done)));
    assert_eq!(found.outcome, Outcome::Leak);
    let report = &found.report;
    assert!(report.slope_low < 20.48 && 20.48 < report.slope_high, "{report:?}");
    assert!(report.p_value < 1e-6 && !report.held && report.figure == "live_bytes");
    assert!(report.finding.starts_with("leak: 20."), "{}", report.finding);

    // What rises in the warm-up only has left no trend; what ends after it has.
    let early = of(Minute::new(2).keeps(|done| 9.0 * MB * (done / 0.1).min(1.0)));
    assert_eq!((early.outcome, early.report.held), (Outcome::Stable, true));
    let cache = of(Minute::new(3).keeps(|done| 9.0 * MB * (1.0 - (-done * 4.0).exp())));
    assert_eq!((cache.outcome, cache.report.held), (Outcome::CacheFill, true));
    let steady = of(Minute::new(4));
    assert_eq!((steady.outcome, steady.report.samples), (Outcome::Stable, 191));

    let allowed = judge(&Minute::new(5).keeps(|done| 20.0 * leak(done)).samples(), Figure::LiveBytes, 30.0);
    assert_eq!((allowed.outcome, allowed.report.held), (Outcome::WithinBudget, true));
    assert_eq!(judge(&[], Figure::LiveBytes, 0.0).outcome, Outcome::NotMeasured);
    assert_eq!(judge(&Minute::new(6).samples(), Figure::Threads, 0.0).outcome, Outcome::NotMeasured);
    let few = judge(&Minute::new(7).samples()[..23], Figure::LiveBytes, 0.0);
    assert_eq!(few.outcome, Outcome::TooFewSamples { needed: 20 });
    assert_eq!(few.report.finding, "too few samples: 17 after warm-up, needs 20");
    assert!(!few.report.held, "what can't be told does not hold");
}

#[test]
fn the_end_of_the_load_is_no_sample_of_it() {
    let mut samples = Minute::new(11).keeps(|done| 20.0 * leak(done)).samples();
    let before = judge(&samples, Figure::LiveBytes, BUDGET);
    samples.last_mut().unwrap().live_bytes = Some(0);
    assert_eq!(judge(&samples, Figure::LiveBytes, BUDGET), before);
}

#[test]
fn shrinking_is_no_leak() {
    let shrinks = Minute::new(8).keeps(|done| 40.0 * MB * (1.0 - done));
    assert_eq!(judge(&shrinks.samples(), Figure::LiveBytes, 0.0).outcome, Outcome::Stable);
}

#[test]
fn resident_memory_that_rises_alone_is_fragmentation() {
    let rises = |live: Option<Minute>| {
        let mut samples = Minute::new(9).keeps(|done| 50.0 * leak(done)).samples();
        let live: Vec<_> = live.map_or_else(Vec::new, |live| live.samples());
        for (place, sample) in samples.iter_mut().enumerate() {
            sample.rss_bytes = sample.live_bytes.take();
            sample.live_bytes = live.get(place).and_then(|sample| sample.live_bytes);
        }
        judge(&samples, Figure::RssBytes, BUDGET).outcome
    };
    assert_eq!(rises(Some(Minute::new(10))), Outcome::Fragmentation);
    assert_eq!(rises(Some(Minute::new(10).keeps(|done| 50.0 * leak(done)))), Outcome::Leak);
    assert_eq!(rises(None), Outcome::LeakOrFragmentation);
}

/// Handles: `count` samples of a server that has 20 files open and what `open` makes of the operations done.
fn files(count: u64, open: impl Fn(u64) -> u64) -> Judged {
    let sample = |place: u64| SampleReport {
        operations: place * 1_000,
        open_files: Some((20 + open(place * 1_000)) as usize),
        ..Default::default()
    };
    judge(&(0..count).map(sample).collect::<Vec<_>>(), Figure::OpenFiles, 0.0)
}

#[test]
fn handles_need_few_samples() {
    assert_eq!(files(14, |done| done / 100).outcome, Outcome::Leak);
    assert_eq!(files(14, |done| done / 1_000).outcome, Outcome::Leak, "1 handle in 1 000 operations");
    assert_eq!(files(60, |done| done / 5_000).outcome, Outcome::Leak, "every fifth sample sees one more");
    assert_eq!(files(11, |done| done / 100).outcome, Outcome::TooFewSamples { needed: 10 });
    assert_eq!(files(60, |_| 0).outcome, Outcome::Stable);
    assert!(files(60, |done| u64::from(done > 30_000)).outcome.holds(), "one that stays open");
    assert_eq!(files(60, |done| done / 100 % 7).outcome, Outcome::Stable, "connections come and go");
    assert_eq!(files(60, |done| (done / 1_000).min(30)).outcome, Outcome::CacheFill, "a pool fills");
}
