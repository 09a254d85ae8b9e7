//! The closed loop: users who wait for one operation before they issue the next.
//!
//! Each user is a task. All wait at a barrier, so that "500 users" means 500 and not as many as were spawned when the
//! first was done. A user that is aborted at an await drops its operation; what it had written down stays written.
//!
//! Where the number of users changes over time, user *n* is there while more than *n* are wanted: its shifts are known
//! beforehand, it sleeps between them, and who has to leave ends its operation first.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::phase::{Pace, Phase};
use super::run::{Ran, Stop};
use crate::record::Recorder;
use crate::rng::operation_seed;
use crate::scenario::Call;
use crate::target::{Target, guarded};

#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The most at one time.
    pub(super) users: usize,
    pub(super) until: Until,
    pub(super) think_time: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
}

/// When a user stops.
#[derive(Debug, Clone)]
pub(super) enum Until {
    Operations(u64),
    Elapsed(Timeline),
}

/// How many users there are, by time.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    phases: Vec<Phase>,
    /// When each phase ends.
    ends: Vec<Duration>,
}

/// From and to, since the load's start.
type Shift = (Duration, Duration);

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
    let plan = Arc::new(plan);
    for user in 0..plan.users {
        let (target, recorder) = (Arc::clone(&target), Arc::clone(&recorder));
        users.spawn(be_user(user, Arc::clone(&plan), target, recorder, Arc::clone(&start_line)));
    }
    let ended = join_or_stop(&mut users, &mut stop).await;
    Ran {
        started: start_line.crossed.get().copied().unwrap_or_else(Instant::now),
        schedule: None,
        length: None,
        interrupted: ended.interrupted,
        users_panicked: ended.panicked,
        target_was_full: false,
        pacer_lag: None,
    }
}

async fn be_user<T: Target>(
    user: usize,
    plan: Arc<Plan>,
    target: Arc<T>,
    recorder: Arc<Recorder>,
    start_line: Arc<StartLine>,
) {
    start_line.barrier.wait().await;
    let started = *start_line.crossed.get_or_init(Instant::now);
    let mut next = 0;
    match &plan.until {
        Until::Operations(operations) => {
            while next < *operations {
                rest(plan.think_time, next).await;
                operate(user, next, 0, &plan, &*target, &recorder).await;
                next += 1;
            }
        }
        Until::Elapsed(timeline) => {
            for (from, to) in timeline.shifts(user) {
                tokio::time::sleep_until((started + from).into()).await;
                while started.elapsed() < to {
                    let phase = timeline.phase_at(started.elapsed());
                    operate(user, next, phase, &plan, &*target, &recorder).await;
                    next += 1;
                    // Nobody waits for a user who will do nothing more.
                    rest(plan.think_time.min(to.saturating_sub(started.elapsed())), next).await;
                }
            }
        }
    }
}

async fn rest(time: Duration, done: u64) {
    if done > 0 && !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

async fn operate<T: Target>(
    user: usize,
    number: u64,
    phase: usize,
    plan: &Plan,
    target: &T,
    recorder: &Recorder,
) {
    let call = Call {
        user,
        number,
        index: number * plan.users as u64 + user as u64,
        seed: operation_seed(plan.seed, user as u64, number),
    };
    let (begun, _) = recorder.begin();
    let outcome = guarded(target, call, plan.timeout).await;
    recorder.end(user, begun, None, phase, outcome);
    // An operation that never has to wait would otherwise keep its thread from all other users, and from Ctrl-C.
    tokio::task::coop::consume_budget().await;
}

impl Timeline {
    pub(super) fn new(phases: &[Phase]) -> Self {
        let mut end = Duration::ZERO;
        let mut after = |phase: &Phase| {
            end = end.saturating_add(phase.duration);
            end
        };
        Self { ends: phases.iter().map(&mut after).collect(), phases: phases.to_vec() }
    }

    fn phase_at(&self, elapsed: Duration) -> usize {
        self.ends.partition_point(|end| *end <= elapsed).min(self.ends.len().saturating_sub(1))
    }

    /// When user `user`, from 0, is there: while more than `user` are wanted.
    fn shifts(&self, user: usize) -> Vec<Shift> {
        let wanted = user as f64 + 1.0;
        let mut shifts: Vec<Shift> = Vec::new();
        for (phase, end) in self.phases.iter().zip(&self.ends) {
            let (begins, lasts) = (end.saturating_sub(phase.duration), phase.duration.as_secs_f64());
            let crossed = |from: f64, to: f64| lasts * ((wanted - from) / (to - from)).clamp(0.0, 1.0);
            let (from, to) = match phase.pace {
                Pace::Steady(users) if users >= wanted => (0.0, lasts),
                Pace::Ramp { from, to } if from < to && to >= wanted => (crossed(from, to), lasts),
                Pace::Ramp { from, to } if from > to && from >= wanted => (0.0, crossed(from, to)),
                Pace::Ramp { from, to } if from == to && from >= wanted => (0.0, lasts),
                _ => continue,
            };
            let shift = (begins + Duration::from_secs_f64(from), begins + Duration::from_secs_f64(to));
            match shifts.last_mut() {
                Some(last) if last.1 >= shift.0 => last.1 = shift.1,
                _ if shift.0 < shift.1 => shifts.push(shift),
                _ => {}
            }
        }
        shifts
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
    use crate::record::Layout;

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
        let recorder = Arc::new(Recorder::new(Layout { open: false, phases: 0 }, 1));
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

    #[test]
    fn users_come_and_go_as_the_phases_say() {
        let seconds = Duration::from_secs;
        let phase = |pace, length| Phase::new(pace, seconds(length));
        let timeline = Timeline::new(&[
            phase(Pace::Steady(2.0), 10),
            phase(Pace::Ramp { from: 2.0, to: 12.0 }, 10),
            phase(Pace::Steady(12.0), 10),
            phase(Pace::Steady(1.0), 10),
            phase(Pace::Ramp { from: 5.0, to: 0.0 }, 10),
        ]);
        assert_eq!(timeline.shifts(0), [(seconds(0), seconds(48))]);
        assert_eq!(timeline.shifts(1), [(seconds(0), seconds(30)), (seconds(40), seconds(46))]);
        assert_eq!(timeline.shifts(6), [(seconds(15), seconds(30))]);
        assert_eq!(timeline.shifts(11), [(seconds(20), seconds(30))]);
        assert_eq!(timeline.shifts(12), []);
        let phases = [0, 9, 10, 39, 40, 49, 50, 99].map(|at| timeline.phase_at(seconds(at)));
        assert_eq!(phases, [0, 0, 1, 3, 4, 4, 4, 4]);
    }
}
