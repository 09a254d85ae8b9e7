//! The report: what `report.json` holds. Its first field is the command that repeats the run.
//!
//! Times are in nanoseconds where they are latencies and in seconds since the load's start where they are places on
//! the time axis; sizes are in bytes; shares are of 1. [`SCHEMA`] goes up when a field changes its meaning or goes.

#[cfg(test)]
pub(crate) mod examples;
pub(crate) mod hlog;
pub mod html;
pub mod junit;
pub(crate) mod write;

use serde::{Deserialize, Serialize};

use crate::checks::{Invariant, Value};
use crate::context::Tier;
use crate::load::LoadFigures;
use crate::record::Latencies;
use crate::verdict::Verdict;

/// The version of this schema.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The command that runs the same again, with the seed.
    pub repeat: String,
    /// The version of the schema.
    pub schema: u32,
    /// The version of the engine that ran it.
    #[serde(default)]
    pub engine: String,
    /// The run's directory name: start in UTC, and seed.
    pub run: String,
    /// The worst verdict of all scenarios; INVALID at best as long as the run isn't complete.
    pub verdict: Verdict,
    /// Whether all that was chosen has run. A report is written after each scenario; only the last one is complete.
    pub complete: bool,
    /// Whether Ctrl-C ended the run.
    pub interrupted: bool,
    /// The seed of the first repetition; each further one adds 1.
    pub seed: u64,
    /// How often each scenario was to run.
    pub repetitions: u32,
    /// How much of the load was run.
    pub tier: Tier,
    /// What it ran on.
    pub machine: MachineReport,
    /// One for each scenario and repetition, in the order in which they ran.
    pub scenarios: Vec<ScenarioReport>,
    /// Names of scenarios that were chosen but not run: after an interrupt, or not yet.
    pub not_run: Vec<String>,
}

/// What the run ran on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MachineReport {
    /// Processors that this process may use.
    pub processors: usize,
    /// Their brand.
    pub brand: String,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Operating system.
    pub system: String,
    /// Its kernel.
    pub kernel: String,
    /// Whether the engine was built with optimization; without it, figures on time mean little.
    pub optimized: bool,
}

/// One scenario, run once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScenarioReport {
    /// `suite.scenario`.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// What the run proved.
    pub verdict: Verdict,
    /// Why, if it didn't pass; the gravest first.
    pub reasons: Vec<String>,
    /// What was wrong with the machine, if nothing came of it.
    pub warnings: Vec<String>,
    /// The seed of this repetition.
    pub seed: u64,
    /// From 1.
    pub repetition: u32,
    /// The load that was run.
    pub load: LoadFigures,
    /// What the tier made smaller, or larger; empty for the full load.
    pub reductions: Vec<String>,
    /// What became of the operations.
    pub operations: OperationsReport,
    /// From an operation's start.
    pub service_time: LatencyReport,
    /// From the time at which the schedule wanted it to start; only in an open loop.
    pub response_time: Option<LatencyReport>,
    /// How late the generator was; only in an open loop.
    pub lag: Option<LagReport>,
    /// Objectives, in the scenario's order.
    pub objectives: Vec<ObjectiveReport>,
    /// Invariants, in the order of the check.
    pub invariants: Vec<Invariant>,
    /// Values that the scenario reported.
    pub values: Vec<(String, Value)>,
    /// Facts that the scenario noted.
    pub notes: Vec<(String, String)>,
    /// What the generator alone could do on this machine, just before.
    pub calibration: Option<CalibrationReport>,
    /// Who used the machine.
    pub processors: Option<ProcessorReport>,
    /// The process.
    pub memory: MemoryReport,
    /// Seconds of set-up, load, check and tear-down.
    pub stages: StagesReport,
    /// The phases of the load, in their order; empty where it has only one.
    #[serde(default)]
    pub phases: Vec<PhaseReport>,
    /// Whether memory, handles and threads grew with the operations; empty where nobody asked.
    #[serde(default)]
    pub trends: Vec<TrendReport>,
    /// What the scenario did at some moment of the load, such as a fault.
    #[serde(default)]
    pub marks: Vec<MarkReport>,
    /// Beside a baseline; empty without one.
    #[serde(default)]
    pub comparison: Vec<ComparisonReport>,
    /// About one a second.
    pub windows: Vec<WindowReport>,
    /// At most eight a second; of a load longer than 30 s at most four.
    pub samples: Vec<SampleReport>,
}

/// One phase of a load that changes. An operation belongs to the phase in which it started, or in an open loop was due; only
/// the rate of an open loop is that of the operations that succeeded while the phase lasted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhaseReport {
    /// As objectives call it, such as `peak`; by default its number, from 1.
    pub name: String,
    /// The load in it, for people.
    pub load: String,
    /// Start, in seconds since the load's.
    pub start_s: f64,
    /// Length in seconds.
    pub length_s: f64,
    /// What became of its operations.
    pub operations: OperationsReport,
    /// The latency that objectives are about, without buckets.
    pub latency: LatencyReport,
}

/// How a figure of the process moved with the operations that were done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrendReport {
    /// `live_bytes`, `rss_bytes`, `open_files` or `threads`.
    pub figure: String,
    /// Samples that it rests on, warm-up left out.
    pub samples: usize,
    /// Theil–Sen slope: units an operation.
    pub slope: f64,
    /// The lower end of its 95 % interval.
    pub slope_low: f64,
    /// The upper end.
    pub slope_high: f64,
    /// Mann–Kendall: how likely a series without a trend looks like this.
    pub p_value: f64,
    /// How much an operation may leave behind; absent where no objective asks.
    pub budget: Option<f64>,
    /// What is made of it, for people.
    pub finding: String,
    /// Whether the budget holds; true without one.
    pub held: bool,
}

/// A moment of the load that explains what follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MarkReport {
    /// In seconds since the load's start.
    pub at_s: f64,
    /// What happened.
    pub label: String,
}

/// What a compared figure is measured in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Unit {
    /// Nanoseconds.
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// Operations a second.
    #[serde(rename = "/s")]
    PerSecond,
}

/// A figure beside its baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComparisonReport {
    /// Such as `p99` or `rate`.
    pub figure: String,
    /// What it is measured in.
    pub unit: Unit,
    /// The geometric mean of the baseline's repeats.
    pub baseline: f64,
    /// That of this run's.
    pub now: f64,
    /// `now / baseline`.
    pub ratio: f64,
    /// The lower end of the ratio's 95 % interval.
    pub ratio_low: f64,
    /// The upper end.
    pub ratio_high: f64,
    /// The ratio beyond which it counts as worse: above 1, or below where more is better.
    pub margin: f64,
    /// Whether more is better, as with a rate.
    pub more_is_better: bool,
    /// Whether it is worse by more than the margin, and not by chance.
    pub regressed: bool,
}

/// What became of the operations. `issued = succeeded + failed + timed_out + cancelled`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationsReport {
    /// What the load said it would issue; absent where time decides.
    pub planned: Option<u64>,
    /// Really started.
    pub issued: u64,
    /// Returned `Ok`.
    pub succeeded: u64,
    /// Returned an error or panicked.
    pub failed: u64,
    /// Those that panicked.
    pub panicked: u64,
    /// Dropped at their timeout.
    pub timed_out: u64,
    /// Dropped by an interrupt.
    pub cancelled: u64,
    /// The most at one time.
    pub in_flight_peak: u64,
    /// Seconds from the start of the load to its end.
    pub elapsed_s: f64,
    /// Succeeded, a second.
    pub rate_per_second: f64,
    /// The failed ones by kind.
    pub errors: Vec<ErrorReport>,
}

/// The errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorReport {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// The first message.
    pub example: String,
}

/// A distribution of latencies, of operations that succeeded or timed out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "a percentile's name says what it is")]
pub struct LatencyReport {
    pub count: u64,
    pub min_ns: u64,
    pub mean_ns: f64,
    pub stddev_ns: f64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    pub p99_9_ns: u64,
    pub p99_99_ns: u64,
    pub max_ns: u64,
    /// `[upper edge in ns, count]`, each bucket at most 2 % wide, empty ones left out.
    pub buckets: Vec<(u64, u64)>,
}

impl LatencyReport {
    pub(crate) fn of(latencies: &Latencies) -> Self {
        if latencies.is_empty() {
            return Self::default();
        }
        let ns = |time: std::time::Duration| time.as_nanos() as u64;
        let percentile = |percent| ns(latencies.percentile(percent));
        Self {
            count: latencies.count(),
            min_ns: ns(latencies.min()),
            mean_ns: latencies.mean_ns(),
            stddev_ns: latencies.standard_deviation_ns(),
            p50_ns: percentile(50.0),
            p90_ns: percentile(90.0),
            p95_ns: percentile(95.0),
            p99_ns: percentile(99.0),
            p99_9_ns: percentile(99.9),
            p99_99_ns: percentile(99.99),
            max_ns: ns(latencies.max()),
            buckets: latencies.buckets(),
        }
    }
}

/// How late operations of an open loop started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LagReport {
    /// How late the schedule's own clock was: only the machine can be why.
    pub clock_p99_ns: u64,
    /// Its worst.
    pub clock_max_ns: u64,
    /// How late an operation started although a slot was free, clock included.
    pub start_p99_ns: u64,
    /// Its worst.
    pub start_max_ns: u64,
    /// Operations that found all slots taken: the target is why.
    pub waited_for_slot: u64,
}

/// An objective and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ObjectiveReport {
    /// The target.
    pub objective: String,
    /// For people.
    pub measured: String,
    /// In ns, bytes, shares of 1, or plain.
    pub measured_number: Option<f64>,
    /// What it was compared with, in the same unit; absent where that couldn't be told.
    #[serde(default)]
    pub bound: Option<f64>,
    /// Room to the bound as a share of it; negative beyond the bound, absent where the bound is 0.
    pub margin: Option<f64>,
    /// Whether it held.
    pub held: bool,
    /// Why it couldn't be told, or what excuses it.
    pub remark: Option<String>,
}

/// What the generator alone could do on this machine, on a target that does nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CalibrationReport {
    /// Operations a second.
    pub operations_per_second: f64,
    /// The generator's own share in a measured latency.
    pub p99_ns: u64,
    /// How late an operation started; only in an open loop.
    pub lag_p99_ns: Option<u64>,
    /// How long the calibration took.
    pub elapsed_s: f64,
}

/// Shares of all the machine's processors during the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessorReport {
    /// This process.
    pub own: f64,
    /// Other processes.
    pub others: f64,
    /// Taken by the hypervisor.
    pub stolen: f64,
    /// Not used.
    pub idle: f64,
    /// How many threads of this process were ready but had no processor, on average; only on Linux.
    pub waiting_threads: Option<f64>,
    /// Processor time of this process, in seconds; absent in older reports.
    #[serde(default)]
    pub own_s: Option<f64>,
    /// Share of the time in which the control group's quota kept this process from running; absent without a quota.
    #[serde(default)]
    pub throttled: Option<f64>,
    /// Share of the time in which the process, or the machine, stood still: a thread that only had to wake came late, and no other one ran; absent in older reports.
    #[serde(default)]
    pub stood_still: Option<f64>,
}

/// The process's memory, in bytes of resident set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemoryReport {
    /// After set-up, just before the load.
    pub before_bytes: Option<u64>,
    /// Highest under load.
    pub peak_bytes: Option<u64>,
    /// At the end of the load.
    pub after_bytes: Option<u64>,
}

/// How long each stage took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the stages of a scenario")]
pub struct StagesReport {
    pub set_up_s: f64,
    pub load_s: f64,
    pub check_s: f64,
    pub tear_down_s: f64,
}

/// About a second of the load; more than an hour has longer ones. An operation belongs to the window in which it ended.
///
/// A longer window is made of those of a second: its percentiles are the worst of theirs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowReport {
    /// Start, in seconds since the load's.
    pub start_s: f64,
    /// Length. The last window is shorter, and a starved machine makes longer ones.
    pub length_s: f64,
    /// Operations that the schedule wanted to start in it; only in an open loop.
    #[serde(default)]
    pub intended: Option<u64>,
    /// Operations that succeeded.
    pub succeeded: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations that timed out.
    pub timed_out: u64,
    /// Median of the latency that objectives are about.
    pub p50_ns: u64,
    /// Its 95th percentile.
    #[serde(default)]
    pub p95_ns: u64,
    /// Its 99th percentile.
    pub p99_ns: u64,
    /// Its 99.9th percentile.
    #[serde(default)]
    pub p99_9_ns: u64,
    /// Its mean.
    #[serde(default)]
    pub mean_ns: f64,
    /// Its maximum.
    #[serde(default)]
    pub max_ns: u64,
    /// How late operations started although a slot was free; only in an open loop.
    pub lag_p99_ns: Option<u64>,
    /// The most in flight.
    pub in_flight_peak: u64,
}

impl WindowReport {
    /// Becomes the window of its own time and that of `next`, which follows it.
    pub(crate) fn take_in(&mut self, next: &Self) {
        let counted = |window: &Self| (window.succeeded + window.timed_out) as f64;
        let (mine, theirs) = (counted(self), counted(next));
        if mine + theirs > 0.0 {
            self.mean_ns = (self.mean_ns * mine + next.mean_ns * theirs) / (mine + theirs);
        }
        self.length_s += next.length_s;
        self.intended = self.intended.zip(next.intended).map(|(mine, theirs)| mine + theirs);
        self.succeeded += next.succeeded;
        self.failed += next.failed;
        self.timed_out += next.timed_out;
        self.p50_ns = self.p50_ns.max(next.p50_ns);
        self.p95_ns = self.p95_ns.max(next.p95_ns);
        self.p99_ns = self.p99_ns.max(next.p99_ns);
        self.p99_9_ns = self.p99_9_ns.max(next.p99_9_ns);
        self.max_ns = self.max_ns.max(next.max_ns);
        self.lag_p99_ns = self.lag_p99_ns.max(next.lag_p99_ns);
        self.in_flight_peak = self.in_flight_peak.max(next.in_flight_peak);
    }

    /// The windows of `parts`, which follow each other, as one. There is at least one.
    pub(crate) fn of_all(parts: &[Self]) -> Self {
        let mut whole = parts.first().cloned().unwrap_or_default();
        parts.iter().skip(1).for_each(|part| whole.take_in(part));
        whole
    }
}

/// The process and the machine at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SampleReport {
    /// In seconds since the load's start; the first is from just before it.
    pub at_s: f64,
    /// Operations that had ended by then.
    #[serde(default)]
    pub operations: u64,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Bytes allocated and not freed, where the program counts them.
    #[serde(default)]
    pub live_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<usize>,
    /// Open files and sockets.
    pub open_files: Option<usize>,
    /// Since the last sample.
    pub processors: Option<ProcessorReport>,
}
