//! Samples of the process and the machine, and what they say about who had the processors.
//!
//! On Linux the machine's times come from `/proc/stat`, which alone tells what a hypervisor stole; elsewhere from
//! sysinfo, without that. A figure that the system doesn't give is absent, never 0.

use std::time::{Duration, Instant};

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

use crate::format;
use crate::report::{MachineReport, ProcessorReport};
use crate::throttle;

/// A process that stands still for a larger share of the time hasn't the machine that it needs.
const STOOD_STILL_MAX: f64 = 0.10;

/// Takes samples; keeps what sysinfo needs to compare with.
#[derive(Debug)]
pub(crate) struct Sampler {
    system: System,
    own: Option<Pid>,
}

/// The process and the machine at one moment; the times are sums since their start.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// Operations that had ended; the monitor's to say.
    pub(crate) operations: u64,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) live_bytes: Option<u64>,
    pub(crate) threads: Option<usize>,
    pub(crate) open_files: Option<usize>,
    own_cpu_ms: Option<u64>,
    /// For how long threads of this process were ready but had no processor.
    own_wait_ns: Option<u64>,
    machine: Option<MachineTimes>,
    /// For how long the quota of the process's control groups held it back.
    throttled_us: Option<u64>,
    /// Where the machine's times aren't told: the share that was busy since the last sample.
    busy: Option<f64>,
    /// For how long the process had stood still; the monitor's to say.
    pub(crate) stood_still: Duration,
}

/// In ticks of whatever length, over all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MachineTimes {
    total: u64,
    idle: u64,
    stolen: u64,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        let refresh = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_cpu_usage());
        Self { system: System::new_with_specifics(refresh), own: sysinfo::get_current_pid().ok() }
    }

    /// Takes about a tenth of a millisecond.
    pub(crate) fn sample(&mut self) -> Sample {
        let refresh = ProcessRefreshKind::nothing().with_memory().with_cpu().with_tasks();
        if let Some(own) = self.own {
            self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, refresh);
        }
        let machine = machine_times();
        let busy = machine.is_none().then(|| {
            self.system.refresh_cpu_usage();
            f64::from(self.system.global_cpu_usage()) / 100.0
        });
        let process = self.own.and_then(|own| self.system.process(own));
        Sample {
            at: Instant::now(),
            operations: 0,
            rss_bytes: process.map(sysinfo::Process::memory),
            live_bytes: crate::allocations::live_bytes(),
            threads: process.and_then(|process| process.tasks().map(std::collections::HashSet::len)),
            open_files: process.and_then(sysinfo::Process::open_files),
            own_cpu_ms: process.map(sysinfo::Process::accumulated_cpu_time),
            own_wait_ns: own_wait_ns(),
            machine,
            throttled_us: throttle::throttled_us(),
            busy,
            stood_still: Duration::ZERO,
        }
    }
}

impl Sample {
    /// Says how long the process had stood still by now, `late` being how much too late this sample's thread woke since the `previous` one, of any kind. What any of its threads computed
    /// meanwhile is taken off: a load that keeps all processors to itself makes that thread late, too.
    pub(crate) fn add_standstill(&mut self, previous: &Self, late: Duration) {
        let computed = self.own_cpu_ms.zip(previous.own_cpu_ms).map(|(to, from)| to.saturating_sub(from));
        let still = computed.map(|ms| late.saturating_sub(Duration::from_millis(ms)));
        self.stood_still = previous.stood_still + still.unwrap_or(Duration::ZERO);
    }
}

/// The share of the time between two samples in which the process stood still.
fn still(from: &Sample, to: &Sample) -> Option<f64> {
    let length = to.at.saturating_duration_since(from.at).as_secs_f64();
    let still = to.stood_still.saturating_sub(from.stood_still).as_secs_f64();
    (length > 0.0).then(|| (still / length).min(1.0))
}

/// Who had the processors between two samples; nothing where that can't be told.
pub(crate) fn processors(from: &Sample, to: &Sample) -> Option<ProcessorReport> {
    let elapsed_ms = to.at.saturating_duration_since(from.at).as_secs_f64() * 1e3;
    let own_ms = to.own_cpu_ms?.saturating_sub(from.own_cpu_ms?) as f64;
    let of_all = elapsed_ms * processor_count() as f64;
    if of_all <= 0.0 {
        return None;
    }
    let own = (own_ms / of_all).clamp(0.0, 1.0);
    let (busy, stolen, idle) = match (from.machine, to.machine, to.busy) {
        (Some(from), Some(to), _) => {
            let total = to.total.saturating_sub(from.total) as f64;
            if total <= 0.0 {
                return None;
            }
            let idle = to.idle.saturating_sub(from.idle) as f64 / total;
            let stolen = to.stolen.saturating_sub(from.stolen) as f64 / total;
            (1.0 - idle - stolen, stolen, idle)
        }
        (_, _, Some(busy)) => (busy, 0.0, 1.0 - busy),
        _ => return None,
    };
    // A thread that ended took its count with it, so this is a lower bound.
    let waited = to.own_wait_ns.zip(from.own_wait_ns).map(|(to, from)| to.saturating_sub(from) as f64);
    let waiting_threads = waited.map(|ns| ns / 1e6 / elapsed_ms);
    let throttled_us =
        to.throttled_us.zip(from.throttled_us).map(|(to, from)| to.saturating_sub(from) as f64);
    Some(ProcessorReport {
        own,
        others: (busy - own).max(0.0),
        stolen,
        idle,
        waiting_threads,
        own_s: Some(own_ms / 1e3),
        throttled: throttled_us.map(|us| (us / 1e3 / elapsed_ms).min(1.0)),
        stood_still: still(from, to),
    })
}

/// Who had the processors from `start` to `end`, such as in a phase; nothing where fewer than two of `samples`, which are in
/// their order, lie within: they say too little, unless they are missing since nothing ran.
///
/// What happened between two samples counts as spread evenly. So a burst that kept the next sample from being taken is
/// charged to both sides of a border, each by its share of the time.
pub(crate) fn processors_during(samples: &[Sample], start: Instant, end: Instant) -> Option<ProcessorReport> {
    let within = samples.iter().filter(|sample| start <= sample.at && sample.at <= end);
    let (from, mut to) = (at(samples, start)?, at(samples, end)?);
    if within.count() < 2 && still(&from, &to)? < STOOD_STILL_MAX {
        return None;
    }
    to.busy = busy(samples, start, end);
    processors(&from, &to)
}

/// The sums at a moment between two samples; before the first those of the first, after the last those of the last.
fn at(samples: &[Sample], moment: Instant) -> Option<Sample> {
    let after = samples.partition_point(|sample| sample.at < moment);
    let (Some(before), Some(after)) = (after.checked_sub(1).map(|it| &samples[it]), samples.get(after))
    else {
        return samples.get(after).or(samples.last()).cloned();
    };
    let share = (moment - before.at).as_secs_f64() / (after.at - before.at).as_secs_f64();
    let between = |from: u64, to: u64| from + (to.saturating_sub(from) as f64 * share).round() as u64;
    let both = |from: Option<u64>, to: Option<u64>| from.zip(to).map(|(from, to)| between(from, to));
    let machine = before.machine.zip(after.machine).map(|(from, to)| MachineTimes {
        total: between(from.total, to.total),
        idle: between(from.idle, to.idle),
        stolen: between(from.stolen, to.stolen),
    });
    Some(Sample {
        at: moment,
        own_cpu_ms: both(before.own_cpu_ms, after.own_cpu_ms),
        own_wait_ns: both(before.own_wait_ns, after.own_wait_ns),
        machine,
        throttled_us: both(before.throttled_us, after.throttled_us),
        stood_still: before.stood_still + after.stood_still.saturating_sub(before.stood_still).mul_f64(share),
        ..after.clone()
    })
}

/// The mean share that was busy, where each sample tells it since the one before.
fn busy(samples: &[Sample], start: Instant, end: Instant) -> Option<f64> {
    let (mut busy, mut length) = (0.0, 0.0);
    for pair in samples.windows(2) {
        let overlap = pair[1].at.min(end).saturating_duration_since(pair[0].at.max(start)).as_secs_f64();
        busy += pair[1].busy? * overlap;
        length += overlap;
    }
    (length > 0.0).then_some(busy / length)
}

/// Why a process with these shares did not have the machine that it needed; nothing if it had.
///
/// Others only take something away where nothing is left over and where we had to wait for it. A busy neighbour on a
/// machine with idle processors is none of our business, and neither is one that lets us through at once.
pub(crate) fn starvation(processors: ProcessorReport) -> Option<String> {
    let taken = starvation_by_others(processors);
    let stood_still = processors.stood_still.filter(|still| *still >= STOOD_STILL_MAX);
    taken.or_else(|| Some(format!("the process stood still for {} of the time", rounded(stood_still?))))
}

/// To whole percents.
fn rounded(share: f64) -> String {
    format::share((share * 100.0).round() / 100.0)
}

fn starvation_by_others(processors: ProcessorReport) -> Option<String> {
    const STOLEN_MAX: f64 = 0.10;
    const OTHERS_MAX: f64 = 0.20;
    const IDLE_MIN: f64 = 0.05;
    const WAITING_MAX: f64 = 0.01;
    const THROTTLED_MAX: f64 = 0.05;
    let ProcessorReport { others, stolen, idle, waiting_threads, throttled, .. } = processors;
    let had_to_wait = waiting_threads.is_none_or(|waiting| waiting >= WAITING_MAX);
    let by_hypervisor = stolen >= STOLEN_MAX;
    let by_others = others >= OTHERS_MAX && idle < IDLE_MIN && had_to_wait;
    match (by_others, by_hypervisor) {
        (false, false) => {
            let held_back = throttled.filter(|throttled| *throttled >= THROTTLED_MAX)?;
            Some(format!(
                "a quota kept the process from the processors for {} of the time",
                rounded(held_back)
            ))
        }
        (false, true) => Some(format!("the hypervisor took {} of the processors", rounded(stolen))),
        (true, false) => Some(format!(
            "other processes took {} of the processors and {} was idle",
            rounded(others),
            rounded(idle)
        )),
        (true, true) => Some(format!(
            "other processes took {} of the processors and the hypervisor {}",
            rounded(others),
            rounded(stolen)
        )),
    }
}

/// What the run runs on.
pub(crate) fn machine() -> MachineReport {
    let refresh = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    MachineReport {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        brand: system.cpus().first().map_or_else(String::new, |cpu| cpu.brand().trim().to_owned()),
        memory_bytes: system.total_memory(),
        system: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        optimized: !cfg!(debug_assertions),
    }
}

/// All processors of the machine, as `/proc/stat` counts them, also those that this process may not use.
fn processor_count() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| {
        let mut system = System::new();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        match system.cpus().len() {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    })
}

/// The second number of each thread's `schedstat`; nothing where the kernel doesn't keep it.
fn own_wait_ns() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let of_task = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let waits: Vec<u64> = tasks.filter_map(|task| of_task(task.ok()?)).collect();
    (!waits.is_empty()).then(|| waits.iter().sum())
}

fn machine_times() -> Option<MachineTimes> {
    if cfg!(target_os = "linux") { parse_stat(&std::fs::read_to_string("/proc/stat").ok()?) } else { None }
}

/// The first line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guest time is in user time.
fn parse_stat(stat: &str) -> Option<MachineTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).take(8).collect();
    let [_, _, _, idle, io_wait, ..] = ticks[..] else { return None };
    Some(MachineTimes {
        total: ticks.iter().sum(),
        idle: idle + io_wait,
        stolen: ticks.get(7).copied().unwrap_or(0),
    })
}

#[cfg(test)]
impl Sample {
    /// Sums of a machine in percent of all its processors, each since the start: `own`, the `others`, `stolen`; the
    /// rest is idle. Threads of ours waited all the time.
    pub(crate) fn of_seconds(at: Instant, seconds: f64, [own, others, stolen]: [f64; 3]) -> Self {
        let ticks = |percent: f64| (percent * 1e3).round() as u64;
        let total = ticks(100.0 * seconds);
        Self {
            at,
            operations: 0,
            rss_bytes: None,
            live_bytes: None,
            threads: None,
            open_files: None,
            own_cpu_ms: Some((own * 10.0 * processor_count() as f64).round() as u64),
            own_wait_ns: Some((seconds * 1e9) as u64),
            machine: Some(MachineTimes {
                total,
                idle: total - ticks(own + others + stolen).min(total),
                stolen: ticks(stolen),
            }),
            throttled_us: None,
            busy: None,
            stood_still: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc_stat() {
        let times = parse_stat("cpu  100 0 50 800 20 0 5 25 0 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(times, MachineTimes { total: 1_000, idle: 820, stolen: 25 });
        assert_eq!(parse_stat("cpu  1 2 3 4 5").unwrap().stolen, 0);
        assert_eq!(parse_stat("intr 1 2"), None);
        assert_eq!(parse_stat("cpu  1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn what_is_busy_and_not_ours_is_the_others() {
        let at = Instant::now();
        let sample = |after_ms: u64, own_cpu_ms, total, idle, stolen| Sample {
            at: at + Duration::from_millis(after_ms),
            operations: 0,
            rss_bytes: None,
            live_bytes: None,
            threads: None,
            open_files: None,
            own_cpu_ms: Some(own_cpu_ms),
            own_wait_ns: Some(after_ms * 500_000),
            machine: Some(MachineTimes { total, idle, stolen }),
            throttled_us: None,
            busy: None,
            stood_still: Duration::ZERO,
        };
        let own_ms = 250 * processor_count() as u64;
        let shares = processors(&sample(0, 0, 0, 0, 0), &sample(1_000, own_ms, 200, 40, 20)).unwrap();
        let near = |share: f64, expected: f64| (share - expected).abs() < 1e-9;
        assert!(near(shares.own, 0.25) && near(shares.idle, 0.2) && near(shares.stolen, 0.1));
        assert!(near(shares.others, 0.45));
        assert!(near(shares.waiting_threads.unwrap(), 0.5));
        // Neither a clock nor a counter that stands still makes a share.
        assert_eq!(processors(&sample(0, 0, 5, 0, 0), &sample(0, 0, 9, 0, 0)), None);
        assert_eq!(processors(&sample(0, 0, 5, 0, 0), &sample(9, 0, 5, 0, 0)), None);
    }

    #[test]
    fn only_who_takes_what_is_needed_starves_us() {
        let shares = |own, others, stolen, idle| ProcessorReport {
            own,
            others,
            stolen,
            idle,
            waiting_threads: Some(0.4),
            own_s: None,
            throttled: None,
            stood_still: None,
        };
        assert_eq!(starvation(shares(0.95, 0.05, 0.0, 0.0)), None);
        assert_eq!(starvation(shares(0.05, 0.5, 0.0, 0.45)), None);
        let others = starvation(shares(0.5, 0.49, 0.0, 0.01)).unwrap();
        assert_eq!(others, "other processes took 49% of the processors and 1% was idle");
        let unhindered = ProcessorReport { waiting_threads: Some(0.001), ..shares(0.01, 0.99, 0.0, 0.0) };
        assert_eq!(starvation(unhindered), None);
        let untold = ProcessorReport { waiting_threads: None, ..unhindered };
        assert!(starvation(untold).is_some());
        assert!(starvation(shares(0.2, 0.1, 0.3, 0.4)).unwrap().contains("hypervisor took 30%"));
        let held_back = ProcessorReport { throttled: Some(0.4), ..shares(0.25, 0.0, 0.0, 0.75) };
        assert!(
            starvation(held_back).unwrap().contains("quota kept the process from the processors for 40%")
        );
        let hardly = ProcessorReport { throttled: Some(0.01), ..held_back };
        assert_eq!(starvation(hardly), None);
        let both = starvation(shares(0.2, 0.5, 0.3, 0.0)).unwrap();
        assert_eq!(both, "other processes took 50% of the processors and the hypervisor 30%");
    }

    /// Samples of 8 s; from 3 s to 4 s a hypervisor has all the processors.
    fn with_a_burst(started: Instant, every_ms: usize) -> Vec<Sample> {
        let sample = |ms: u64| {
            let seconds = ms as f64 / 1e3;
            let stolen = (seconds - 3.0).clamp(0.0, 1.0);
            let at = started + Duration::from_millis(ms);
            Sample::of_seconds(at, seconds, [(seconds - stolen) * 50.0, 0.0, stolen * 100.0])
        };
        (0..=8_000).step_by(every_ms).map(sample).collect()
    }

    #[test]
    fn a_burst_is_charged_to_the_time_in_which_it_was() {
        let started = Instant::now();
        let samples = with_a_burst(started, 125);
        let stolen = |from: f64, to: f64| {
            let [from, to] = [from, to].map(|seconds| started + Duration::from_secs_f64(seconds));
            processors_during(&samples, from, to).map(|shares| (shares.stolen * 1e3).round() / 1e3)
        };
        assert_eq!(stolen(0.0, 8.0), Some(0.125));
        assert_eq!(stolen(0.0, 3.0), Some(0.0));
        assert_eq!(stolen(3.0, 5.0), Some(0.5));
        assert_eq!(stolen(4.0, 8.0), Some(0.0));
        // Neither end is at a sample, and the load's own end is before the last phase's.
        assert_eq!(stolen(2.8, 3.3), Some(0.6));
        assert_eq!(stolen(6.05, 20.0), Some(0.0));
        // Fewer than two samples.
        assert_eq!(stolen(3.13, 3.37), None);
        assert_eq!(stolen(9.0, 12.0), None);
    }

    /// Samples of 8 s of a load that hardly computes; from 3 s on everything stands still for 1.5 s, of which the machine's times tell nothing.
    fn with_a_standstill(started: Instant, computes_meanwhile: f64) -> Vec<Sample> {
        let mut samples: Vec<Sample> = Vec::new();
        for ms in (0..=8_000).step_by(125).filter(|ms| !(3_001..4_500).contains(ms)) {
            let seconds = ms as f64 / 1e3;
            let own = seconds
                + computes_meanwhile * 100.0 / processor_count() as f64 * (seconds - 3.0).clamp(0.0, 1.5);
            let mut sample =
                Sample::of_seconds(started + Duration::from_millis(ms), seconds, [own, 0.0, 0.0]);
            let late = Duration::from_millis(if ms == 4_500 { 1_375 } else { 0 });
            if let Some(previous) = samples.last() {
                sample.add_standstill(previous, late);
            }
            samples.push(sample);
        }
        samples
    }

    #[test]
    fn a_process_that_stands_still_is_starved_unless_it_computes() {
        let started = Instant::now();
        let starved = |samples: &[Sample], from: f64, to: f64| {
            let [from, to] = [from, to].map(|seconds| started + Duration::from_secs_f64(seconds));
            processors_during(samples, from, to).and_then(starvation)
        };
        let still = with_a_standstill(started, 0.0);
        assert_eq!(starved(&still, 0.0, 8.0).unwrap(), "the process stood still for 17% of the time");
        assert!(starved(&still, 3.25, 4.25).is_some(), "a phase without any sample");
        assert_eq!(starved(&still, 0.0, 2.9), None);
        assert_eq!(starved(&still, 4.5, 8.0), None);
        let computes = with_a_standstill(started, 1.0);
        assert_eq!(starved(&computes, 0.0, 8.0), None, "its own threads had a processor all the time");
        assert_eq!(starved(&computes, 3.25, 4.25), None);
    }

    #[test]
    fn what_is_only_told_as_busy_is_averaged_over_the_time() {
        let started = Instant::now();
        let busy_in = |second: u64| Sample {
            machine: None,
            busy: Some(if second == 4 { 1.0 } else { 0.2 }),
            ..Sample::of_seconds(started + Duration::from_secs(second), second as f64, [0.0; 3])
        };
        let samples: Vec<Sample> = (0..=8).map(busy_in).collect();
        let others = |from, to| {
            let [from, to] = [from, to].map(|second| started + Duration::from_secs(second));
            (processors_during(&samples, from, to).unwrap().others * 1e3).round() / 1e3
        };
        assert_eq!([others(0, 3), others(2, 4), others(4, 8)], [0.2, 0.6, 0.2]);
    }

    #[test]
    fn this_process_can_be_sampled() {
        let mut sampler = Sampler::new();
        let sample = sampler.sample();
        if cfg!(target_os = "linux") {
            assert!(sample.rss_bytes.is_some_and(|bytes| bytes > 100_000));
            assert!(sample.threads.is_some_and(|threads| threads >= 1));
            assert!(sample.open_files.is_some_and(|files| files >= 1));
        }
        assert!(machine().processors >= 1);
    }
}
