//! The clock of the open loop: the thread that keeps to the schedule.
//!
//! The thread releases one permit for each operation whose time has come and never looks at the target. It is an
//! operating-system thread because the runtime's timer has a grain of 1 ms, and because a target that blocks the
//! runtime must not slow the clock that it is measured by. How late the thread itself was, which only the machine
//! can be blamed for, is recorded as the generator's lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::schedule::Schedule;
use crate::record::Latencies;

/// The running thread; stops when dropped.
pub(crate) struct Pacer {
    thread: Option<JoinHandle<Latencies>>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Releases a permit at the time of each operation, and after the last one `slots` more, so that every waiting
    /// slot wakes and sees that nothing is left.
    pub(crate) fn start(
        schedule: Arc<Schedule>,
        released: Arc<Semaphore>,
        slots: usize,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let keep_pace = move || {
            let mut lag = Latencies::new();
            let mut times = schedule.times().peekable();
            while let Some(next) = times.peek() {
                // Relaxed: only tells to stop; `join` orders the rest.
                if stopped.load(Ordering::Relaxed) {
                    return lag;
                }
                let now = Instant::now();
                if *next > now {
                    thread::park_timeout(*next - now);
                    continue;
                }
                let mut due = 0;
                while let Some(intended) = times.next_if(|intended| *intended <= now) {
                    lag.record(now.saturating_duration_since(intended));
                    due += 1;
                }
                released.add_permits(due);
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
    use crate::load::{Arrivals, Pace, Phase};
    use std::time::Duration;

    fn schedule(per_second: f64, duration: Duration) -> Arc<Schedule> {
        Arc::new(Schedule::new(&[Phase::new(Pace::Steady(per_second), duration)], Arrivals::Even, 0))
    }

    #[test]
    fn every_operation_is_released_once() {
        let released = Arc::new(Semaphore::new(0));
        let schedule = schedule(2_000.0, Duration::from_millis(50));
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
        let schedule = schedule(0.001, Duration::from_secs(3_000));
        drop(Pacer::start(schedule, Arc::clone(&released), 1).unwrap());
        assert!(released.available_permits() <= 1);
    }
}
