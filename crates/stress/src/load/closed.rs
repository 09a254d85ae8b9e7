//! The closed loop: users who wait for one operation before they issue the next.
//!
//! Each user is a task. All wait at a barrier, so that "500 users" means 500 and not as many as were spawned when the
//! first was done. A user that is aborted at an await drops its operation; what it had written down stays written.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Until;
use super::run::{Ran, Stop};
use crate::record::Recorder;
use crate::rng::operation_seed;
use crate::scenario::Call;
use crate::target::{Target, guarded};

#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) users: usize,
    pub(super) until: Until,
    pub(super) think_time: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
}

/// Where the users start together, and when that was.
struct StartLine {
    barrier: Barrier,
    crossed: OnceLock<Instant>,
}

pub(super) async fn run<T: Target>(
    plan: Plan,
    target: Arc<T>,
    recorder: Arc<Recorder>,
    mut stop: Stop,
) -> Ran {
    let start_line = Arc::new(StartLine { barrier: Barrier::new(plan.users), crossed: OnceLock::new() });
    let mut users = JoinSet::new();
    for user in 0..plan.users {
        let (target, recorder) = (Arc::clone(&target), Arc::clone(&recorder));
        users.spawn(be_user(user, plan, target, recorder, Arc::clone(&start_line)));
    }
    let interrupted = join_or_stop(&mut users, &mut stop).await;
    Ran {
        started: start_line.crossed.get().copied().unwrap_or_else(Instant::now),
        schedule: None,
        interrupted,
        target_was_full: false,
        pacer_lag: None,
    }
}

async fn be_user<T: Target>(
    user: usize,
    plan: Plan,
    target: Arc<T>,
    recorder: Arc<Recorder>,
    start_line: Arc<StartLine>,
) {
    start_line.barrier.wait().await;
    let started = *start_line.crossed.get_or_init(Instant::now);
    let mut number = 0;
    while plan.until.goes_on(number, started) {
        if number > 0 && !plan.think_time.is_zero() {
            tokio::time::sleep(plan.think_time).await;
            if !plan.until.goes_on(number, started) {
                break;
            }
        }
        let call = Call {
            user,
            number,
            index: number * plan.users as u64 + user as u64,
            seed: operation_seed(plan.seed, user as u64, number),
        };
        let begun = recorder.begin();
        let outcome = guarded(&*target, call, plan.timeout).await;
        recorder.end(user, begun, None, outcome);
        number += 1;
        // An operation that never has to wait would otherwise keep its thread from all other users, and from Ctrl-C.
        tokio::task::coop::consume_budget().await;
    }
}

impl Until {
    fn goes_on(self, done: u64, started: Instant) -> bool {
        match self {
            Self::Operations(operations) => done < operations,
            Self::Elapsed(duration) => started.elapsed() < duration,
        }
    }
}

/// Waits for all tasks; at a stop it aborts them and waits for that. Tells whether it was stopped.
pub(super) async fn join_or_stop(tasks: &mut JoinSet<()>, stop: &mut Stop) -> bool {
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => {
                tasks.shutdown().await;
                return true;
            }
            ended = tasks.join_next() => match ended {
                // A user that ended by a panic of the engine's own shows as operations that were never issued.
                Some(_) => {}
                None => return false,
            },
        }
    }
}
