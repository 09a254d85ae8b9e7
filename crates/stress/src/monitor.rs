//! The monitor: a thread beside the load that closes windows and takes samples.
//!
//! It is a thread of the operating system, so a target that blocks the runtime still has its
//! windows. It takes eight samples a second unless told otherwise, so that a short load has enough
//! of them; once the load is no longer young, every second one is dropped and half as many follow.
//! They are due at fixed times, so a thread that wakes late loses none by that.
//!
//! What it keeps is bounded, however long the load: whenever there are too many windows, each two become one and new
//! ones last twice as long; of too many samples every second one is dropped, while the peak of memory is kept apart.
//! Samples are equally dense over the whole load at any time: where they were denser, trends would find lower values.
//! Objectives over spans look at each second before that.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::objective::Spans;
use crate::record::{Figures, Recorder};
use crate::report::WindowReport;
use crate::report::hlog::IntervalLog;
use crate::sample::{Sample, Sampler};

/// A shorter window is not shown.
const PULSE_MIN: Duration = Duration::from_millis(100);
/// Of a young load, by default.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(125);
/// Of a young load, at least: the processors' accounting is too coarse for less.
const SAMPLE_EVERY_MIN: Duration = Duration::from_millis(10);
/// For so long a load is young.
const YOUNG: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(1);
/// Ten minutes at four a second.
const SAMPLES_MAX: usize = 2_400;
/// An hour at one a second.
const WINDOWS_MAX: usize = 3_600;
/// Who wakes so much too late couldn't run: schedulers are late by less.
const LATE_MIN: Duration = Duration::from_millis(100);

/// What the monitor saw, when the load has ended.
#[derive(Debug)]
pub(crate) struct Observations {
    pub(crate) total: Figures,
    /// On a time axis that begins at `started`.
    pub(crate) windows: Vec<WindowReport>,
    pub(crate) spans: Spans,
    pub(crate) started: Instant,
    /// The first is from just before the load, the last from its end.
    pub(crate) samples: Vec<Sample>,
    pub(crate) rss_peak_bytes: Option<u64>,
    /// Why there is no interval log, or only part of one.
    pub(crate) interval_log_error: Option<String>,
}

/// The load as it runs, for the display: once a second.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    pub(crate) elapsed: Duration,
    pub(crate) issued: u64,
    pub(crate) in_flight: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    /// Of the last window.
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

pub(crate) type OnPulse = Box<dyn FnMut(&Pulse) + Send>;

/// Who is told while the load runs.
pub(crate) struct Watch {
    pub(crate) on_pulse: OnPulse,
    /// Where each window's latencies go, if anywhere.
    pub(crate) interval_log: Option<PathBuf>,
    /// The time between two samples of a young load.
    pub(crate) sample_every: Duration,
}

/// The running thread.
pub(crate) struct Monitor {
    thread: Option<JoinHandle<Observations>>,
    stop: Arc<AtomicBool>,
}

struct Watching {
    recorder: Arc<Recorder>,
    sampler: Sampler,
    window: Figures,
    spare: Figures,
    on_pulse: OnPulse,
    interval_log: Option<IntervalLog>,
    seen: Observations,
    window_began: Instant,
    /// How many windows of a second make one that is kept.
    kept_length: u32,
    /// How many of those the last one holds.
    last_holds: u32,
    sample_every: Duration,
    /// Whether the samples of a young load are still there, which are twice as dense as those that
    /// follow.
    is_young: bool,
    /// How much too late this thread woke since the last sample.
    late: Duration,
    /// The last one taken, kept or not.
    last: Sample,
}

impl Monitor {
    /// `total` and the others are empty figures; `sampler`'s first sample is taken here, before the load.
    pub(crate) fn start(
        recorder: Arc<Recorder>,
        mut sampler: Sampler,
        [total, window, spare]: [Figures; 3],
        spans: Spans,
        watch: Watch,
    ) -> std::io::Result<Self> {
        let create = |path: PathBuf| IntervalLog::create(&path, SystemTime::now());
        let interval_log = watch.interval_log.map(create).transpose();
        let baseline = sampler.sample();
        let started = Instant::now();
        let seen = Observations {
            total,
            windows: Vec::with_capacity(WINDOWS_MAX),
            spans,
            started,
            rss_peak_bytes: baseline.rss_bytes,
            samples: Vec::with_capacity(SAMPLES_MAX),
            interval_log_error: interval_log.as_ref().err().map(ToString::to_string),
        };
        let mut watching = Watching {
            recorder,
            sampler,
            window,
            spare,
            on_pulse: watch.on_pulse,
            interval_log: interval_log.ok().flatten(),
            seen,
            window_began: started,
            kept_length: 1,
            last_holds: 0,
            sample_every: watch.sample_every.max(SAMPLE_EVERY_MIN),
            is_young: true,
            late: Duration::ZERO,
            last: baseline.clone(),
        };
        watching.keep(baseline);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("stress-monitor".to_owned()).spawn(move || {
            watching.watch(&stopped);
            watching.seen
        })?;
        Ok(Self { thread: Some(thread), stop })
    }

    /// Closes the last window. Call it when all users have ended.
    ///
    /// # Errors
    ///
    /// The thread panicked: the figures are lost.
    pub(crate) fn finish(mut self) -> Result<Observations, String> {
        self.join().unwrap_or_else(|| Err("the monitor has ended already".to_owned()))
    }

    fn join(&mut self) -> Option<Result<Observations, String>> {
        let thread = self.thread.take()?;
        // Release pairs with the Acquire in `watch`: the last window sees all that was recorded before.
        self.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        Some(thread.join().map_err(|_| "the monitor panicked".to_owned()))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.join();
    }
}

impl Watching {
    fn watch(&mut self, stopped: &AtomicBool) {
        let mut next_sample = self.seen.started + self.sample_every;
        while !stopped.load(Ordering::Acquire) {
            let now = Instant::now();
            let wake = next_sample.min(self.window_began + WINDOW);
            if now < wake {
                thread::park_timeout(wake - now);
                self.late += lateness(wake, Instant::now());
                continue;
            }
            if now >= next_sample {
                self.take_sample();
                next_sample = next_due(self.seen.started, self.sample_every, Instant::now());
            }
            if now >= self.window_began + WINDOW {
                self.close_window(now);
            }
        }
        self.take_sample();
        self.close_window(Instant::now());
        if let Some(Err(error)) = self.interval_log.take().map(IntervalLog::finish) {
            self.seen.interval_log_error = Some(error.to_string());
        }
    }

    fn close_window(&mut self, now: Instant) {
        self.window.clear();
        self.recorder.collect(&mut self.window, &mut self.spare);
        let length = now.saturating_duration_since(self.window_began);
        let start = self.window_began.saturating_duration_since(self.seen.started);
        self.window_began = now;
        self.log_window(start, length);
        let (counts, latency) = (self.window.counts, self.window.latency());
        let ns = |time: Duration| time.as_nanos() as u64;
        let (p50, p99) = (latency.percentile(50.0), latency.percentile(99.0));
        let end = now.saturating_duration_since(self.seen.started);
        self.seen.spans.window(&self.window, length, end);
        self.keep_window(WindowReport {
            start_s: start.as_secs_f64(),
            length_s: length.as_secs_f64(),
            intended: None,
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            p50_ns: ns(p50),
            p95_ns: ns(latency.percentile(95.0)),
            p99_ns: ns(p99),
            p99_9_ns: ns(latency.percentile(99.9)),
            mean_ns: if latency.is_empty() { 0.0 } else { latency.mean_ns() },
            max_ns: ns(latency.max()),
            lag_p99_ns: self.window.open.as_ref().map(|open| ns(open.lag.percentile(99.0))),
            in_flight_peak: self.recorder.take_window_peak(),
        });
        self.seen.total.add(&self.window);
        // The last window may be a sliver: its rate says nothing.
        if length < PULSE_MIN {
            return;
        }
        (self.on_pulse)(&Pulse {
            elapsed: end,
            issued: self.recorder.issued(),
            in_flight: self.recorder.in_flight(),
            failed: self.seen.total.counts.failed,
            timed_out: self.seen.total.counts.timed_out,
            per_second: counts.succeeded as f64 / crate::record::seconds(length),
            p50,
            p99,
        });
    }

    /// After an error nothing more is written: what is there is whole up to then.
    fn log_window(&mut self, start: Duration, length: Duration) {
        let Some(log) = &mut self.interval_log else { return };
        if let Err(error) = log.window(start, length, self.window.latency()) {
            self.seen.interval_log_error = Some(error.to_string());
            self.interval_log = None;
        }
    }

    fn keep_window(&mut self, window: WindowReport) {
        let windows = &mut self.seen.windows;
        if self.last_holds < self.kept_length
            && let Some(last) = windows.last_mut()
        {
            last.take_in(&window);
            self.last_holds += 1;
            return;
        }
        if windows.len() == WINDOWS_MAX {
            *windows = windows.chunks(2).map(WindowReport::of_all).collect();
            windows.reserve_exact(WINDOWS_MAX - windows.len());
            self.kept_length *= 2;
        }
        windows.push(window);
        self.last_holds = 1;
    }

    fn take_sample(&mut self) {
        let mut sample = self.sampler.sample();
        sample.operations = self.recorder.issued().saturating_sub(self.recorder.in_flight());
        sample.add_standstill(&self.last, std::mem::take(&mut self.late));
        self.last = sample.clone();
        self.keep(sample);
    }

    fn keep(&mut self, sample: Sample) {
        self.seen.rss_peak_bytes = self.seen.rss_peak_bytes.max(sample.rss_bytes);
        let age = sample.at.saturating_duration_since(self.seen.started);
        let is_too_dense = self.is_young && age >= YOUNG;
        if is_too_dense || self.seen.samples.len() == SAMPLES_MAX {
            let mut place = 0;
            self.seen.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.sample_every *= 2;
            self.is_young = false;
        }
        self.seen.samples.push(sample);
    }
}

/// How much too late a thread woke that couldn't run when it should have.
fn lateness(due: Instant, woke: Instant) -> Duration {
    let late = woke.saturating_duration_since(due);
    if late < LATE_MIN { Duration::ZERO } else { late }
}

/// When the sample after one that was taken at `now` is due: at a multiple of `every` since `started`, so that lateness
/// never adds up. Those that were missed are left out. So is one that would come less than a quarter of `every` after
/// the last: the processors' accounting is too coarse for that.
fn next_due(started: Instant, every: Duration, now: Instant) -> Instant {
    let earliest = now.saturating_duration_since(started) + every / 4;
    let place = earliest.as_nanos().div_ceil(every.as_nanos());
    started + every * u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Layout;
    use crate::target::Outcome;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn the_last_window_holds_what_was_recorded_last() {
        let layout = Layout { open: false, phases: 0 };
        let recorder = Arc::new(Recorder::new(layout, 2));
        let pulses = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&pulses);
        let on_pulse = move |_: &Pulse| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let figures = || Figures::touched(layout);
        let monitor = Monitor::start(
            Arc::clone(&recorder),
            Sampler::new(),
            [figures(), figures(), figures()],
            Spans::new(&[], None),
            Watch { on_pulse: Box::new(on_pulse), interval_log: None, sample_every: SAMPLE_EVERY },
        )
        .unwrap();
        for user in 0..1_000 {
            let (started, _) = recorder.begin();
            recorder.end(user, started, None, 0, Outcome::Success);
        }
        let seen = monitor.finish().unwrap();
        assert_eq!(seen.total.counts.succeeded, 1_000);
        assert_eq!(seen.windows.iter().map(|window| window.succeeded).sum::<u64>(), 1_000);
        assert!(seen.samples.len() >= 2, "one before, one at the end");
        // How long the windows were is the machine's affair; slivers are not shown.
        let shown = seen.windows.iter().filter(|window| window.length_s >= PULSE_MIN.as_secs_f64());
        assert_eq!(pulses.load(Ordering::Relaxed), shown.count() as u64);
    }

    fn watching() -> Watching {
        let layout = Layout { open: false, phases: 0 };
        let figures = || Figures::new(layout);
        Watching {
            recorder: Arc::new(Recorder::new(layout, 1)),
            sampler: Sampler::new(),
            window: figures(),
            spare: figures(),
            on_pulse: Box::new(|_| {}),
            interval_log: None,
            seen: Observations {
                total: figures(),
                windows: Vec::new(),
                spans: Spans::new(&[], None),
                started: Instant::now(),
                samples: Vec::new(),
                rss_peak_bytes: None,
                interval_log_error: None,
            },
            window_began: Instant::now(),
            kept_length: 1,
            last_holds: 0,
            sample_every: SAMPLE_EVERY,
            is_young: true,
            late: Duration::ZERO,
            last: Sampler::new().sample(),
        }
    }

    #[test]
    fn a_sample_says_for_how_long_its_thread_could_not_run() {
        let (due, ms) = (Instant::now(), Duration::from_millis);
        assert_eq!(
            [ms(0), ms(99), ms(100), ms(700)].map(|late| lateness(due, due + late)),
            [ms(0), ms(0), ms(100), ms(700)]
        );
        assert_eq!(lateness(due + ms(500), due), ms(0), "it was woken early");
        let mut watching = watching();
        let stood_still = |watching: &Watching| watching.seen.samples.last().unwrap().stood_still;
        watching.take_sample();
        assert_eq!(stood_still(&watching), ms(0));
        // Other tests of this process compute meanwhile, which is taken off.
        let (hour, nearly) = (ms(3_600_000), ms(3_500_000));
        watching.late = hour;
        watching.take_sample();
        assert!((nearly..=hour).contains(&stood_still(&watching)), "{:?}", stood_still(&watching));
        watching.take_sample();
        assert!((nearly..=hour).contains(&stood_still(&watching)), "told twice");
    }

    /// The gaps between the samples of a load of `length`, each taken as late as `late` says.
    fn gaps(length: Duration, late: impl Fn(usize) -> Duration) -> Vec<Duration> {
        let started = Instant::now();
        let mut due = started + SAMPLE_EVERY;
        let mut taken = vec![started];
        while due <= started + length {
            taken.push(due + late(taken.len()));
            due = next_due(started, SAMPLE_EVERY, taken[taken.len() - 1]);
        }
        taken.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn lateness_does_not_thin_samples_out() {
        let length = Duration::from_secs(8);
        let late_by = |ms| move |_| Duration::from_millis(ms);
        assert_eq!(gaps(length, late_by(0)).len(), 64);
        assert_eq!(gaps(length, late_by(90)).len(), 64, "lateness adds up");
        assert_eq!(gaps(length, |place| Duration::from_millis(place as u64 * 37 % 90)).len(), 64);
    }

    #[test]
    fn samples_that_were_missed_are_left_out_and_never_come_in_a_bunch() {
        for stall_ms in (0..3_000).step_by(17) {
            let stalls = |place| Duration::from_millis(if place == 20 { stall_ms } else { 0 });
            let gaps = gaps(Duration::from_secs(8), stalls);
            let missed = stall_ms as usize / 125 + 1;
            assert!(gaps.len() >= 64 - missed, "{} after {stall_ms} ms", gaps.len());
            assert!(gaps.iter().all(|gap| *gap >= SAMPLE_EVERY / 4), "{stall_ms} ms: {gaps:?}");
        }
    }

    #[test]
    fn samples_are_dense_at_first_and_equally_dense_at_any_time() {
        let mut watching = watching();
        let (started, sample) = (watching.seen.started, watching.sampler.sample());
        let mut at = started;
        let mut until = |watching: &mut Watching, end: Duration| {
            while at < started + end {
                let mut sample = sample.clone();
                sample.at = at;
                watching.keep(sample);
                at = next_due(started, watching.sample_every, at);
            }
            let places: Vec<Instant> = watching.seen.samples.iter().map(|sample| sample.at).collect();
            let mut gaps: Vec<Duration> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
            // Where the density changed, one gap may be shorter or longer.
            gaps.sort_unstable();
            assert_eq!(gaps[1], gaps[gaps.len() - 2], "{end:?}");
            (places.len(), gaps[1])
        };
        assert_eq!(until(&mut watching, Duration::from_secs(8)), (64, SAMPLE_EVERY));
        assert_eq!(until(&mut watching, Duration::from_secs(60)), (240, 2 * SAMPLE_EVERY));
        let (count, gap) = until(&mut watching, Duration::from_secs(4 * 3_600));
        assert!(
            (SAMPLES_MAX / 2..=SAMPLES_MAX).contains(&count) && gap == 64 * SAMPLE_EVERY,
            "{count} {gap:?}"
        );
    }

    #[test]
    fn a_long_load_keeps_few_windows_and_loses_no_operation() {
        let mut watching = watching();
        let seconds = 5 * WINDOWS_MAX as u64 + 7;
        for second in 0..seconds {
            let p99_ns = if second == 5_000 { 9_000 } else { 10 };
            watching.keep_window(WindowReport {
                start_s: second as f64,
                length_s: 1.0,
                succeeded: second % 3,
                p99_ns,
                ..WindowReport::default()
            });
        }
        let windows = &watching.seen.windows;
        assert!(windows.len() <= WINDOWS_MAX && windows.len() >= WINDOWS_MAX / 2, "{}", windows.len());
        let succeeded: u64 = windows.iter().map(|window| window.succeeded).sum();
        assert_eq!(succeeded, (0..seconds).map(|second| second % 3).sum::<u64>());
        assert_eq!(windows.iter().map(|window| window.length_s).sum::<f64>(), seconds as f64);
        assert!(windows.windows(2).all(|pair| pair[0].start_s + pair[0].length_s == pair[1].start_s));
        let worst = windows.iter().find(|window| window.p99_ns == 9_000).unwrap();
        assert!(worst.start_s <= 5_000.0 && 5_000.0 < worst.start_s + worst.length_s);
    }
}
