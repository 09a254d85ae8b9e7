//! The hand-off with real threads: bounds, deadlines, cancellation, a committer that unwinds.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::waiting::block_on;

/// Counts what it is asked to do; answers a job with its double.
#[derive(Default)]
struct Doubling {
    part: usize,
    applied: Vec<u32>,
    panic_at: Option<u32>,
    refuse: bool,
    maintained: usize,
}

impl Stages for Doubling {
    type Job = u32;
    type Answer = u32;

    fn persist(&mut self, jobs: &[Queued<u32, u32>]) -> Result<usize, Refused<u32>> {
        if self.refuse {
            return Err(Refused { jobs: jobs.len(), answer: Box::new(|| 0) });
        }
        Ok(if self.part == 0 { jobs.len() } else { self.part.min(jobs.len()) })
    }

    fn apply(&mut self, job: u32) -> u32 {
        assert!(self.panic_at != Some(job), "planted");
        self.applied.push(job);
        job * 2
    }

    fn publish(&mut self) {}

    fn maintain(&mut self) {
        self.maintained += 1;
    }
}

fn handoff(jobs: usize, bytes: usize, waiters: usize) -> Arc<Handoff<u32, u32>> {
    Arc::new(Handoff::new(Bounds { jobs, bytes, waiters, waiting_bytes: 1 << 20 }))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn ready<J, A>(response: &mut ResponseFuture<J, A>) -> Option<Reply<A>> {
    match Pin::new(response).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => Some(reply),
        Poll::Pending => None,
    }
}

/// Serves all that was submitted, then returns.
fn serve_rest(handoff: &Handoff<u32, u32>, stages: &mut Doubling) {
    handoff.close();
    serve(handoff, stages);
}

#[test]
fn many_threads_get_their_own_answers() {
    let handoff = handoff(64, 1 << 20, 1 << 20);
    let committer = {
        let handoff = Arc::clone(&handoff);
        std::thread::spawn(move || serve(&handoff, &mut Doubling { part: 7, ..Default::default() }))
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let handoff = &handoff;
            scope.spawn(move || {
                for i in 0..2000 {
                    let job = thread * 10_000 + i;
                    assert_eq!(block_on(Handoff::submit(handoff, job, 1, soon)), Reply::Answer(job * 2));
                }
            });
        }
    });
    handoff.close();
    committer.join().unwrap();
    assert_eq!(block_on(Handoff::submit(&handoff, 1, 1, soon)), Reply::Closed);
}

#[test]
fn jobs_and_bytes_are_bounded_and_the_overflow_queue_keeps_its_order() {
    for (jobs, bytes) in [(3, 1000), (1000, 3)] {
        let handoff = handoff(jobs, bytes, 4);
        let mut responses: Vec<_> = (1..=8).map(|job| Handoff::submit(&handoff, job, 1, soon)).collect();
        assert_eq!(handoff.waiting(), (3, 4));
        assert!(
            matches!(ready(&mut responses[7]), Some(Reply::Overloaded { .. })),
            "the overflow queue is full as well"
        );
        let mut stages = Doubling::default();
        serve_rest(&handoff, &mut stages);
        assert_eq!(stages.applied, [1, 2, 3, 4, 5, 6, 7]);
        for (response, job) in responses[..7].iter_mut().zip(1..) {
            assert_eq!(ready(response), Some(Reply::Answer(job * 2)));
        }
    }
}

#[test]
fn a_job_larger_than_the_bound_goes_alone() {
    let handoff = handoff(10, 100, 10);
    let _responses: Vec<_> = [5, 500, 5].map(|bytes| Handoff::submit(&handoff, 1, bytes, soon)).into();
    assert_eq!(handoff.waiting(), (1, 2));
    let mut batch = Vec::new();
    for left in [(1, 1), (1, 0), (0, 0)] {
        batch.clear();
        assert!(handoff.next_batch(&mut batch, &mut Vec::new()));
        assert_eq!((batch.len(), handoff.waiting()), (1, left));
    }
}

#[test]
fn who_waits_past_the_deadline_is_refused_and_never_served() {
    let handoff = handoff(1, 10, 10);
    let now = Instant::now();
    let late = now + Duration::from_secs(1);
    let mut queued = Handoff::submit(&handoff, 1, 1, || now);
    let mut expired = Handoff::submit(&handoff, 2, 1, || now);
    let mut in_grace = Handoff::submit(&handoff, 3, 1, || late);
    assert_eq!(handoff.expire(now), Some(late));
    assert!(matches!(ready(&mut expired), Some(Reply::Overloaded { retry_after }) if !retry_after.is_zero()));
    let mut stages = Doubling::default();
    serve_rest(&handoff, &mut stages);
    assert_eq!(stages.applied, [1, 3]);
    assert_eq!((ready(&mut queued), ready(&mut in_grace)), (Some(Reply::Answer(2)), Some(Reply::Answer(6))));
}

#[test]
fn the_deadline_thread_refuses_in_time_and_ends_with_the_handoff() {
    let handoff = handoff(1, 10, 10);
    let keeper = {
        let handoff = Arc::clone(&handoff);
        std::thread::spawn(move || handoff.run_deadlines())
    };
    let _queued = Handoff::submit(&handoff, 1, 1, soon);
    let reply = block_on(Handoff::submit(&handoff, 2, 1, || Instant::now() + Duration::from_millis(5)));
    assert!(matches!(reply, Reply::Overloaded { .. }));
    handoff.close();
    keeper.join().unwrap();
}

#[test]
fn who_leaves_the_overflow_queue_is_not_served_and_who_leaves_the_queue_is() {
    let handoff = handoff(1, 10, 10);
    let in_queue = Handoff::submit(&handoff, 1, 1, soon);
    let in_overflow = Handoff::submit(&handoff, 2, 1, soon);
    let _last = Handoff::submit(&handoff, 3, 1, soon);
    drop((in_queue, in_overflow));
    assert_eq!(handoff.waiting(), (1, 1));
    let mut stages = Doubling::default();
    serve_rest(&handoff, &mut stages);
    assert_eq!(stages.applied, [1, 3]);
}

#[test]
fn bytes_in_the_overflow_queue_are_bounded_and_come_back_however_they_leave() {
    let bounds = Bounds { jobs: 1, bytes: 1000, waiters: 10, waiting_bytes: 100 };
    let handoff = Arc::new(Handoff::<u32, u32>::new(bounds));
    let _queued = Handoff::submit(&handoff, 1, 1000, soon);
    // The first may be larger than the overflow queue.
    let large = Handoff::submit(&handoff, 2, 101, soon);
    let refused = |bytes| {
        let mut response = Handoff::submit(&handoff, 9, bytes, soon);
        matches!(ready(&mut response), Some(Reply::Overloaded { .. }))
    };
    assert!(refused(1));
    drop(large);
    let _waits = Handoff::submit(&handoff, 3, 60, soon);
    let expires = Handoff::submit(&handoff, 4, 40, Instant::now);
    assert!(refused(1));
    handoff.expire(Instant::now());
    drop(expires);
    let _last = Handoff::submit(&handoff, 5, 40, soon);
    assert!(refused(1));
    let mut stages = Doubling::default();
    serve_rest(&handoff, &mut stages);
    assert_eq!(stages.applied, [1, 3, 5]);
    assert_eq!(handoff.waiting(), (0, 0));
}

#[test]
fn when_the_committer_unwinds_everybody_is_told() {
    let handoff = handoff(3, 100, 10);
    let mut responses: Vec<_> = (1..=5).map(|job| Handoff::submit(&handoff, job, 1, soon)).collect();
    let mut stages = Doubling { panic_at: Some(2), ..Default::default() };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(&handoff, &mut stages)));
    assert!(unwound.is_err());
    handoff.abandon();
    for response in &mut responses {
        assert_eq!(ready(response), Some(Reply::Lost));
    }
    assert_eq!(block_on(Handoff::submit(&handoff, 6, 1, soon)), Reply::Closed);
}

#[test]
fn a_woken_committer_maintains_and_goes_on() {
    let handoff = handoff(10, 100, 10);
    handoff.wake();
    let committer = {
        let handoff = Arc::clone(&handoff);
        std::thread::spawn(move || {
            let mut stages = Doubling::default();
            serve(&handoff, &mut stages);
            (stages.maintained, stages.applied)
        })
    };
    assert_eq!(block_on(Handoff::submit(&handoff, 4, 1, soon)), Reply::Answer(8));
    handoff.wake();
    assert_eq!(block_on(Handoff::submit(&handoff, 5, 1, soon)), Reply::Answer(10));
    handoff.close();
    let (maintained, applied) = committer.join().unwrap();
    // Nudges count once however many come before the committer has time, and not at all when it is
    // closed first.
    assert!(maintained <= 2, "{maintained}");
    assert_eq!(applied, [4, 5]);
}

#[test]
fn refused_jobs_get_the_refusal_and_are_not_applied() {
    let handoff = handoff(10, 100, 10);
    let mut responses: Vec<_> = (1..=3).map(|job| Handoff::submit(&handoff, job, 1, soon)).collect();
    let mut stages = Doubling { refuse: true, ..Default::default() };
    serve_rest(&handoff, &mut stages);
    assert!(stages.applied.is_empty());
    for response in &mut responses {
        assert_eq!(ready(response), Some(Reply::Answer(0)));
    }
}

/// Counts its calls and does nothing: a task that is woken but never runs.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_that_never_runs_does_not_keep_the_others_asleep() {
    let handoff = handoff(10, 100, 10);
    let counts: Vec<_> = (0..3).map(|_| std::sync::Arc::new(Counting::default())).collect();
    let mut responses: Vec<_> = (1..=3).map(|job| Handoff::submit(&handoff, job, 1, soon)).collect();
    for (response, count) in responses.iter_mut().zip(&counts) {
        let waker = Waker::from(std::sync::Arc::clone(count));
        assert!(Pin::new(response).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    serve_rest(&handoff, &mut Doubling::default());
    assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1), "each is woken, once");
}

#[test]
fn whoever_of_a_batch_runs_or_leaves_first_wakes_the_rest() {
    for leave in [false, true] {
        let handoff = handoff(10, 100, 10);
        let counts: Vec<_> = (0..3).map(|_| std::sync::Arc::new(Counting::default())).collect();
        let mut responses: Vec<_> = (1..=3).map(|job| Handoff::submit(&handoff, job, 1, soon)).collect();
        for (response, count) in responses.iter_mut().zip(&counts) {
            let waker = Waker::from(std::sync::Arc::clone(count));
            assert!(Pin::new(response).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let mut batch = Vec::new();
        assert!(handoff.next_batch(&mut batch, &mut Vec::new()));
        WakeList::answer(batch.into_iter().map(|Queued { job, responder }| (responder, job)));
        let woken = || counts.iter().map(|count| count.0.load(Ordering::SeqCst)).sum::<usize>();
        assert_eq!(woken(), 1);
        let first = responses.remove(1);
        if leave {
            drop(first);
        } else {
            assert_eq!(block_on(first), Reply::Answer(2));
        }
        assert_eq!(woken(), 3);
    }
}

#[test]
fn the_overflow_queue_keeps_no_places_of_those_who_left_it() {
    let handoff = handoff(1, 100, 10);
    let _queued = Handoff::submit(&handoff, 1, 1, soon);
    let _patient = Handoff::submit(&handoff, 2, 1, soon);
    for job in 0..10_000 {
        drop(Handoff::submit(&handoff, job, 1, soon));
    }
    assert_eq!(handoff.waiting(), (1, 1));
    assert!(lock(&handoff.shared).waiting.len() < 100);
}
