//! The monitor: a thread beside the load that closes windows and takes samples.
//!
//! It is a thread of the operating system, so a target that blocks the runtime still has its windows. It wakes four
//! times a second. Windows are about 100 bytes each and are all kept; of the samples every second one is dropped
//! whenever there are too many, while the peak of memory is kept apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::record::{Figures, Recorder};
use crate::report::WindowReport;
use crate::sample::{Sample, Sampler};

const SAMPLE_EVERY: Duration = Duration::from_millis(250);
const WINDOW: Duration = Duration::from_secs(1);
/// Ten minutes at four a second.
const SAMPLES_MAX: usize = 2_400;

/// What the monitor saw, when the load has ended.
#[derive(Debug)]
pub(crate) struct Observations {
    pub(crate) total: Figures,
    /// On a time axis that begins at `started`.
    pub(crate) windows: Vec<WindowReport>,
    pub(crate) started: Instant,
    /// The first is from just before the load, the last from its end.
    pub(crate) samples: Vec<Sample>,
    pub(crate) rss_peak_bytes: Option<u64>,
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
    seen: Observations,
    window_began: Instant,
    sample_every: Duration,
}

impl Monitor {
    /// `total` and the others are empty figures; `sampler`'s first sample is taken here, before the load.
    pub(crate) fn start(
        recorder: Arc<Recorder>,
        mut sampler: Sampler,
        [total, window, spare]: [Figures; 3],
        on_pulse: OnPulse,
    ) -> std::io::Result<Self> {
        let baseline = sampler.sample();
        let started = Instant::now();
        let seen = Observations {
            total,
            windows: Vec::with_capacity(SAMPLES_MAX / 4),
            started,
            rss_peak_bytes: baseline.rss_bytes,
            samples: Vec::with_capacity(SAMPLES_MAX),
        };
        let mut watching = Watching {
            recorder,
            sampler,
            window,
            spare,
            on_pulse,
            seen,
            window_began: started,
            sample_every: SAMPLE_EVERY,
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
        let mut next_sample = self.window_began + self.sample_every;
        while !stopped.load(Ordering::Acquire) {
            let now = Instant::now();
            let wake = next_sample.min(self.window_began + WINDOW);
            if now < wake {
                thread::park_timeout(wake - now);
                continue;
            }
            if now >= next_sample {
                let sample = self.sampler.sample();
                self.keep(sample);
                next_sample = now + self.sample_every;
            }
            if now >= self.window_began + WINDOW {
                self.close_window(now);
            }
        }
        let last = self.sampler.sample();
        self.keep(last);
        self.close_window(Instant::now());
    }

    fn close_window(&mut self, now: Instant) {
        self.window.clear();
        self.recorder.collect(&mut self.window, &mut self.spare);
        let length = now.saturating_duration_since(self.window_began);
        let start = self.window_began.saturating_duration_since(self.seen.started);
        self.window_began = now;
        let (counts, latency) = (self.window.counts, self.window.latency());
        let ns = |time: Duration| time.as_nanos() as u64;
        let (p50, p99) = (latency.percentile(50.0), latency.percentile(99.0));
        self.seen.windows.push(WindowReport {
            start_s: start.as_secs_f64(),
            length_s: length.as_secs_f64(),
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            p50_ns: ns(p50),
            p99_ns: ns(p99),
            lag_p99_ns: self.window.open.as_ref().map(|open| ns(open.lag.percentile(99.0))),
            in_flight_peak: self.recorder.take_window_peak(),
        });
        self.seen.total.add(&self.window);
        (self.on_pulse)(&Pulse {
            elapsed: now.saturating_duration_since(self.seen.started),
            issued: self.recorder.issued(),
            in_flight: self.recorder.in_flight(),
            failed: self.seen.total.counts.failed,
            timed_out: self.seen.total.counts.timed_out,
            per_second: counts.succeeded as f64 / crate::record::seconds(length),
            p50,
            p99,
        });
    }

    fn keep(&mut self, sample: Sample) {
        self.seen.rss_peak_bytes = self.seen.rss_peak_bytes.max(sample.rss_bytes);
        if self.seen.samples.len() == SAMPLES_MAX {
            let mut place = 0;
            self.seen.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.sample_every *= 2;
        }
        self.seen.samples.push(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Outcome;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn the_last_window_holds_what_was_recorded_last() {
        let recorder = Arc::new(Recorder::new(false, 2));
        let pulses = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&pulses);
        let on_pulse = move |_: &Pulse| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let figures = || Figures::touched(false);
        let monitor = Monitor::start(
            Arc::clone(&recorder),
            Sampler::new(),
            [figures(), figures(), figures()],
            Box::new(on_pulse),
        )
        .unwrap();
        for user in 0..1_000 {
            let (started, _) = recorder.begin();
            recorder.end(user, started, None, Outcome::Success);
        }
        let seen = monitor.finish().unwrap();
        assert_eq!(seen.total.counts.succeeded, 1_000);
        assert_eq!(seen.windows.iter().map(|window| window.succeeded).sum::<u64>(), 1_000);
        assert!(seen.samples.len() >= 2, "one before, one at the end");
        assert_eq!(pulses.load(Ordering::Relaxed), seen.windows.len() as u64);
    }
}
