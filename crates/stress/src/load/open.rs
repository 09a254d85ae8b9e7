//! The open loop: operations start when the schedule says so, however the target does.
//!
//! The pacer releases an operation when its time has come; whichever of the slots is free takes the next number and
//! sends it. If none is free, the operation waits: it is late, never skipped, and its response time counts from the
//! time at which it should have started. This is what wrk2 calls the corrected latency, measured and not computed.
//!
//! Three things can make a start late, and they are told apart: the pacer was late (the machine's doing), a slot was
//! free but its task ran late (the runtime's, which an in-process target may have blocked), or no slot was free (the
//! target's). The order of numbers is the order of release: a permit stands for "one more may be sent", and the number
//! is the lowest that wasn't.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use super::closed::join_or_stop;
use super::pacer::Pacer;
use super::run::{Ran, Stop};
use super::schedule::Schedule;
use crate::record::{Intent, Recorder};
use crate::rng::operation_seed;
use crate::scenario::Call;
use crate::target::{Target, guarded};

/// The schedule begins so long after the slots are ready, so that the first operation is as punctual as the rest.
const LEAD: Duration = Duration::from_millis(2);

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) schedule: Schedule,
    pub(super) slots: usize,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
}

/// What the slots share.
struct Course {
    schedule: Arc<Schedule>,
    slots: u64,
    timeout: Duration,
    seed: u64,
    released: Arc<Semaphore>,
    /// The lowest number that wasn't taken. `Relaxed`: only its own atomicity is needed.
    next: AtomicU64,
    /// Set when no more may be sent. `Relaxed`: a slot that misses it sends one more, and counts it.
    given_up: AtomicBool,
}

pub(super) async fn run<T: Target>(
    plan: Plan,
    target: Arc<T>,
    recorder: Arc<Recorder>,
    mut stop: Stop,
) -> std::io::Result<Ran> {
    let Plan { schedule, slots: slot_count, duration, timeout, seed } = plan;
    let released = Arc::new(Semaphore::new(0));
    let ready = Arc::new(Barrier::new(slot_count + 1));
    let (send_course, course) = tokio::sync::watch::channel(None::<Arc<Course>>);
    let mut slots = JoinSet::new();
    for slot in 0..slot_count {
        let (target, recorder) = (Arc::clone(&target), Arc::clone(&recorder));
        let (ready, mut course) = (Arc::clone(&ready), course.clone());
        slots.spawn(async move {
            ready.wait().await;
            let Ok(course) = course.wait_for(Option::is_some).await.map(|course| course.clone()) else {
                return;
            };
            if let Some(course) = course {
                be_slot(slot, &course, &*target, &recorder).await;
            }
        });
    }
    ready.wait().await;
    let schedule = Arc::new(schedule.starting(Instant::now() + LEAD));
    let course = Arc::new(Course {
        schedule: Arc::clone(&schedule),
        slots: slot_count as u64,
        timeout,
        seed,
        released: Arc::clone(&released),
        next: AtomicU64::new(0),
        given_up: AtomicBool::new(false),
    });
    send_course.send_replace(Some(Arc::clone(&course)));
    let started = schedule.start();
    let pacer = match Pacer::start(Arc::clone(&schedule), Arc::clone(&released), slot_count) {
        Ok(pacer) => pacer,
        Err(error) => {
            slots.shutdown().await;
            return Err(error);
        }
    };

    let last_start = tokio::time::Instant::from_std(started + duration + timeout);
    let mut target_was_full = false;
    let ended = tokio::time::timeout_at(last_start, join_or_stop(&mut slots, &mut stop)).await;
    let ended = match ended {
        Ok(ended) => ended,
        Err(_late) => {
            target_was_full = recorder.in_flight() >= slot_count as u64;
            course.given_up.store(true, Ordering::Relaxed);
            released.add_permits(slot_count);
            join_or_stop(&mut slots, &mut stop).await
        }
    };
    Ok(Ran {
        started,
        length: Some(duration),
        schedule: Some(schedule),
        interrupted: ended.interrupted,
        users_panicked: ended.panicked,
        target_was_full,
        pacer_lag: Some(pacer.finish()),
    })
}

async fn be_slot<T: Target>(slot: usize, course: &Course, target: &T, recorder: &Recorder) {
    let mut free_since = Instant::now();
    while let Ok(permit) = course.released.acquire().await {
        permit.forget();
        if course.given_up.load(Ordering::Relaxed) {
            return;
        }
        let number = course.next.fetch_add(1, Ordering::Relaxed);
        if number >= course.schedule.operations() {
            return;
        }
        let call = Call { user: slot, number, index: number, seed: operation_seed(course.seed, 0, number) };
        let (begun, in_flight) = recorder.begin();
        let intended = course.schedule.intended(number);
        let outcome = guarded(target, call, course.timeout).await;
        let phase = course.schedule.phase_of(number);
        let ended_in = course.schedule.phase_at(Instant::now());
        let intent = Intent { intended, free_since, last_slot: in_flight >= course.slots, ended_in };
        free_since = recorder.end(slot, begun, Some(intent), phase, outcome);
    }
}
