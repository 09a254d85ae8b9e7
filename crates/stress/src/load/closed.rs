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
    let ended = join_or_stop(&mut users, &mut stop).await;
    Ran {
        started: start_line.crossed.get().copied().unwrap_or_else(Instant::now),
        schedule: None,
        interrupted: ended.interrupted,
        users_panicked: ended.panicked,
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
        let (begun, _) = recorder.begin();
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

/// How the tasks of a load ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended {
    pub(super) interrupted: bool,
    /// Tasks that a panic ended where it can't be caught: when an operation was dropped.
    pub(super) panicked: u64,
}

/// Waits for all tasks; at a stop it aborts them and waits for that.
pub(super) async fn join_or_stop(tasks: &mut JoinSet<()>, stop: &mut Stop) -> Ended {
    let mut ended = Ended::default();
    loop {
        tokio::select! {
            biased;
            () = stop.requested(), if !ended.interrupted => {
                tasks.abort_all();
                ended.interrupted = true;
            }
            task = tasks.join_next() => match task {
                Some(Err(error)) if error.is_panic() => ended.panicked += 1,
                Some(_) => {}
                None => return ended,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::failure::Failure;

    /// Notes how many users there were when the first operation began: each holds a handle to the target.
    struct CountsUsers {
        own: Weak<Self>,
        at_first: OnceLock<usize>,
    }

    impl Target for CountsUsers {
        async fn call(&self, _: Call) -> Result<(), Failure> {
            self.at_first.get_or_init(|| self.own.strong_count());
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_user_begins_before_all_are_there() {
        const USERS: usize = 20_000;
        let target = Arc::new_cyclic(|own| CountsUsers { own: own.clone(), at_first: OnceLock::new() });
        let recorder = Arc::new(Recorder::new(false, 1));
        let plan = Plan {
            users: USERS,
            until: Until::Operations(1),
            think_time: Duration::ZERO,
            timeout: Duration::from_secs(60),
            seed: 1,
        };
        run(plan, Arc::clone(&target), Arc::clone(&recorder), Stop::never()).await;
        assert_eq!(recorder.issued(), USERS as u64);
        // One more handle is this test's, one the loop's.
        assert!(*target.at_first.get().unwrap() >= USERS, "{:?}", target.at_first);
    }
}
