//! The clock of the open loop: a schedule, and the thread that keeps to it.
//!
//! The thread releases one permit for each operation whose time has come and never looks at the target. It is an
//! operating-system thread because the runtime's timer has a grain of 1 ms, and because a target that blocks the
//! runtime must not slow the clock that it is measured by. How late the thread itself was, which only the machine
//! can be blamed for, is recorded as the generator's lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::record::Latencies;

/// When each operation of an open loop is to start. Constant pace: the n-th at n / rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    per_second: f64,
    total: u64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, per_second: f64, duration: Duration) -> Self {
        Self { start, per_second, total: Self::total(per_second, duration) }
    }

    /// How many operations fit. What rounding took off a whole number is put back.
    pub(crate) fn total(per_second: f64, duration: Duration) -> u64 {
        let exact = per_second * duration.as_secs_f64();
        if (exact - exact.round()).abs() < 1e-6 { exact.round() as u64 } else { exact as u64 }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.total
    }

    pub(crate) fn intended(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many operations should have started by `now`.
    fn due(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        let estimate = (elapsed.as_secs_f64() * self.per_second) as u64;
        // Multiplying and dividing round differently: the schedule's own times decide.
        let mut due = estimate.saturating_sub(1);
        while due < self.total && self.intended(due) <= now {
            due += 1;
        }
        due.min(self.total)
    }
}

/// The running thread; stops when dropped.
pub(crate) struct Pacer {
    thread: Option<JoinHandle<Latencies>>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Releases a permit at the time of each operation, and after the last one `slots` more, so that every waiting
    /// slot wakes and sees that nothing is left.
    pub(crate) fn start(schedule: Schedule, released: Arc<Semaphore>, slots: usize) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let keep_pace = move || {
            let mut lag = Latencies::new();
            let mut sent = 0;
            while sent < schedule.total {
                // Relaxed: only tells to stop; `join` orders the rest.
                if stopped.load(Ordering::Relaxed) {
                    return lag;
                }
                let now = Instant::now();
                let due = schedule.due(now);
                if due <= sent {
                    thread::park_timeout(schedule.intended(sent) - now);
                    continue;
                }
                for number in sent..due {
                    lag.record(now.saturating_duration_since(schedule.intended(number)));
                }
                released.add_permits((due - sent) as usize);
                sent = due;
            }
            released.add_permits(slots);
            lag
        };
        let thread = thread::Builder::new().name("stress-pacer".to_owned()).spawn(keep_pace)?;
        Ok(Self { thread: Some(thread), stop })
    }

    /// Stops the thread and tells how late it was, for each operation that it released.
    pub(crate) fn finish(mut self) -> Latencies {
        self.join().unwrap_or_else(Latencies::new)
    }

    fn join(&mut self) -> Option<Latencies> {
        let thread = self.thread.take()?;
        self.stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_holds_rate_times_duration() {
        assert_eq!(Schedule::total(100.0, Duration::from_secs(3)), 300);
        assert_eq!(Schedule::total(0.1, Duration::from_secs(30)), 3);
        assert_eq!(Schedule::total(3.0, Duration::from_millis(500)), 1);
        assert_eq!(Schedule::total(1e6, Duration::from_millis(200)), 200_000);
    }

    #[test]
    fn what_is_due_agrees_with_the_intended_times() {
        let start = Instant::now();
        for rate in [0.5, 3.0, 7.3, 1_000.0, 333_333.3] {
            let schedule = Schedule::new(start, rate, Duration::from_secs(2));
            for number in 0..schedule.operations().min(2_000) {
                assert_eq!(schedule.due(schedule.intended(number)), number + 1, "{rate}/s, {number}");
            }
            assert_eq!(schedule.due(start + Duration::from_secs(9)), schedule.operations());
        }
        let later = Schedule::new(start + Duration::from_secs(1), 10.0, Duration::from_secs(1));
        assert_eq!(later.due(start), 0);
    }

    #[test]
    fn every_operation_is_released_once() {
        let released = Arc::new(Semaphore::new(0));
        let schedule = Schedule::new(Instant::now(), 2_000.0, Duration::from_millis(50));
        let pacer = Pacer::start(schedule, Arc::clone(&released), 7).unwrap();
        while released.available_permits() < 107 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pacer.finish().count(), 100);
        assert_eq!(released.available_permits(), 107);
    }

    #[test]
    fn a_dropped_pacer_stops_in_the_middle_of_a_long_wait() {
        let released = Arc::new(Semaphore::new(0));
        let schedule = Schedule::new(Instant::now(), 0.001, Duration::from_secs(3_000));
        drop(Pacer::start(schedule, Arc::clone(&released), 1).unwrap());
        assert!(released.available_permits() <= 1);
    }
}
