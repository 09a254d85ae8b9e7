//! Runs a load on a target: the part that both loops share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::closed::{self, Timeline, Until};
use super::schedule::Schedule;
use super::{Load, Shape, open};
use crate::record::{Latencies, Recorder};
use crate::target::Target;

/// Tells a load to end at once: operations in flight are dropped.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// A stop that never comes.
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is requested; for ever if it can't be any more.
    pub(crate) async fn requested(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the loop itself knows afterwards; the figures are in the recorder.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) started: Instant,
    /// Of an open loop: when each operation was to start.
    pub(crate) schedule: Option<Arc<Schedule>>,
    /// The length of an open loop's schedule.
    pub(crate) length: Option<Duration>,
    pub(crate) interrupted: bool,
    /// Users that ended by a panic outside of an operation's own run.
    pub(crate) users_panicked: u64,
    /// Whether all slots were taken when sending was given up: then the target is why operations were never sent.
    pub(crate) target_was_full: bool,
    /// How late the open loop's clock was.
    pub(crate) pacer_lag: Option<Latencies>,
}

/// Runs `load` to its end, or until `stop`.
///
/// # Errors
///
/// The thread that keeps the pace couldn't be started.
pub(crate) async fn run<T: Target>(
    load: &Load,
    seed: u64,
    target: Arc<T>,
    recorder: Arc<Recorder>,
    stop: Stop,
) -> std::io::Result<Ran> {
    let (timeout, think_time) = (load.timeout, load.think_time);
    match &load.shape {
        Shape::Counted { users, each } => {
            let until = Until::Operations(*each);
            let plan = closed::Plan { users: *users, until, think_time, timeout, seed };
            Ok(closed::run(plan, target, recorder, stop).await)
        }
        Shape::Users { phases } => {
            let until = Until::Elapsed(Timeline::new(phases));
            let plan = closed::Plan { users: load.slots(), until, think_time, timeout, seed };
            Ok(closed::run(plan, target, recorder, stop).await)
        }
        Shape::Rate { phases, arrivals, max_in_flight } => {
            let schedule = Schedule::new(phases, *arrivals, seed);
            let duration = load.duration().unwrap_or_default();
            let plan = open::Plan { schedule, slots: *max_in_flight, duration, timeout, seed };
            open::run(plan, target, recorder, stop).await
        }
    }
}
