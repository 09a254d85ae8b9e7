//! Models of the hand-off under loom: the shipped queue, loop and responses, with stages that
//! record what they did.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::*;

/// Stages over a "disk" (how many jobs are durable) and a published value (how many are applied),
/// both written and read without any ordering of their own: what callers see of them is what the
/// hand-off orders.
struct Recording {
    durable: Arc<AtomicUsize>,
    published: Arc<AtomicUsize>,
    applied: usize,
    batches: Vec<usize>,
    close_when_maintaining: Option<Arc<Handoff<usize, (usize, usize)>>>,
}

impl Stages for Recording {
    type Job = usize;
    /// The job, and how many were applied with it.
    type Answer = (usize, usize);

    fn persist(&mut self, jobs: &[Queued<usize, (usize, usize)>]) -> Result<usize, Refused<(usize, usize)>> {
        self.durable.store(self.applied + jobs.len(), Ordering::Relaxed);
        self.batches.push(jobs.len());
        Ok(jobs.len())
    }

    fn apply(&mut self, job: usize) -> (usize, usize) {
        self.applied += 1;
        (job, self.applied)
    }

    fn publish(&mut self) {
        // The one publication of a batch: readers see all of it or nothing. Release: as the swap of
        // a value.
        self.published.store(self.applied, Ordering::Release);
    }

    fn maintain(&mut self) {
        if let Some(handoff) = &self.close_when_maintaining {
            handoff.close();
        }
    }
}

#[derive(Clone)]
struct World {
    handoff: Arc<Handoff<usize, (usize, usize)>>,
    durable: Arc<AtomicUsize>,
    published: Arc<AtomicUsize>,
}

impl World {
    fn new(jobs: usize, waiters: usize) -> Self {
        let handoff = Arc::new(Handoff::new(Bounds { jobs, bytes: 100, waiters, waiting_bytes: 100 }));
        Self { handoff, durable: Arc::new(AtomicUsize::new(0)), published: Arc::new(AtomicUsize::new(0)) }
    }

    fn committer(&self) -> thread::JoinHandle<Vec<usize>> {
        self.committer_that(None)
    }

    fn committer_that_closes_in_maintain(&self) -> thread::JoinHandle<Vec<usize>> {
        self.committer_that(Some(Arc::clone(&self.handoff)))
    }

    fn committer_that(
        &self,
        close_when_maintaining: Option<Arc<Handoff<usize, (usize, usize)>>>,
    ) -> thread::JoinHandle<Vec<usize>> {
        let handoff = Arc::clone(&self.handoff);
        let (durable, published) = (Arc::clone(&self.durable), Arc::clone(&self.published));
        thread::spawn(move || {
            let mut stages =
                Recording { durable, published, applied: 0, batches: Vec::new(), close_when_maintaining };
            serve(&handoff, &mut stages);
            stages.batches
        })
    }

    /// Waits for the answer to a job and then looks at the disk and at the value.
    fn call(&self, job: usize) -> Reply<(usize, usize)> {
        let reply = loom::future::block_on(Handoff::submit(&self.handoff, job, 1, Instant::now));
        if let Reply::Answer((answered, place)) = reply {
            assert_eq!(answered, job, "the answer is one's own");
            assert!(self.durable.load(Ordering::Relaxed) >= place, "answered before it was durable");
            assert!(self.published.load(Ordering::Relaxed) >= place, "answered before it was visible");
        }
        reply
    }

    /// The replies to two callers beside each other. One of them is this thread: a thread that only
    /// waited would multiply the interleavings and add none of interest.
    fn two_calls(&self) -> [Reply<(usize, usize)>; 2] {
        let world = self.clone();
        let first = thread::spawn(move || world.call(1));
        let second = self.call(2);
        [first.join().unwrap(), second]
    }
}

/// Runs a model and returns the outcomes of all its interleavings.
fn model<T: Clone + Debug + Ord + Send + 'static>(
    run: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let seen = Seen::<T>::new();
    let noted = seen.clone();
    check(2, move || noted.note(run()));
    seen.outcomes()
}

#[test]
fn loom_nobody_is_answered_before_durability_and_nobody_waits_for_ever() {
    let outcomes = model(|| {
        let world = World::new(10, 10);
        let committer = world.committer();
        let places = world.two_calls().map(|reply| match reply {
            Reply::Answer((_, place)) => place,
            other => panic!("{other:?}"),
        });
        world.handoff.close();
        (committer.join().unwrap(), places)
    });
    // One batch of two, or two of one; either caller first.
    for places in [[1, 2], [2, 1]] {
        assert!(outcomes.contains(&(vec![2], places)), "{outcomes:?}");
        assert!(outcomes.contains(&(vec![1, 1], places)), "{outcomes:?}");
    }
}

#[test]
fn loom_readers_see_whole_batches() {
    let outcomes = model(|| {
        let world = World::new(10, 10);
        let responses = [1, 2].map(|job| Handoff::submit(&world.handoff, job, 1, Instant::now));
        let (published, durable) = (Arc::clone(&world.published), Arc::clone(&world.durable));
        let reader = thread::spawn(move || {
            // Acquire: as the load of a value; pairs with the release of its publication.
            let seen = published.load(Ordering::Acquire);
            assert!(durable.load(Ordering::Relaxed) >= seen, "published before it was durable");
            seen
        });
        let committer = world.committer();
        world.handoff.close();
        committer.join().unwrap();
        drop(responses);
        reader.join().unwrap()
    });
    assert_eq!(outcomes, BTreeSet::from([0, 2]), "the two jobs were queued together");
}

#[test]
fn loom_a_full_queue_promotes_from_the_overflow_queue() {
    let outcomes = model(|| {
        let world = World::new(1, 10);
        let committer = world.committer();
        assert!(world.two_calls().iter().all(|reply| matches!(reply, Reply::Answer(_))));
        world.handoff.close();
        committer.join().unwrap()
    });
    assert_eq!(outcomes, BTreeSet::from([vec![1, 1]]));
}

#[test]
fn loom_expiry_and_service_of_a_waiter_exclude_each_other() {
    let outcomes = model(|| {
        let world = World::new(1, 10);
        let mut first = Handoff::submit(&world.handoff, 1, 1, Instant::now);
        let deadline = Instant::now();
        let waiter = Handoff::submit(&world.handoff, 2, 1, || deadline);
        let committer = world.committer();
        let expirer = {
            let handoff = Arc::clone(&world.handoff);
            thread::spawn(move || handoff.expire(deadline))
        };
        let served = matches!(loom::future::block_on(waiter), Reply::Answer(_));
        assert!(matches!(loom::future::block_on(&mut first), Reply::Answer(_)));
        expirer.join().unwrap();
        world.handoff.close();
        let jobs: usize = committer.join().unwrap().iter().sum();
        assert_eq!(jobs, 1 + usize::from(served), "refused means not done");
        served
    });
    assert_eq!(outcomes, BTreeSet::from([false, true]));
}

#[test]
fn loom_a_wake_is_not_lost() {
    let outcomes = model(|| {
        let world = World::new(10, 10);
        let committer = world.committer_that_closes_in_maintain();
        let waker = {
            let handoff = Arc::clone(&world.handoff);
            thread::spawn(move || handoff.wake())
        };
        let reply = loom::future::block_on(Handoff::submit(&world.handoff, 1, 1, Instant::now));
        waker.join().unwrap();
        // Ends only if the wake arrived.
        committer.join().unwrap();
        reply == Reply::Closed
    });
    assert_eq!(outcomes, BTreeSet::from([false, true]), "maintained before the job came, and after");
}

#[test]
fn loom_leaving_the_overflow_queue_and_being_served_exclude_each_other() {
    let outcomes = model(|| {
        let world = World::new(1, 10);
        let first = Handoff::submit(&world.handoff, 1, 1, Instant::now);
        let waiter = Handoff::submit(&world.handoff, 2, 1, Instant::now);
        let committer = world.committer();
        drop(waiter);
        assert!(matches!(loom::future::block_on(first), Reply::Answer(_)));
        world.handoff.close();
        committer.join().unwrap().iter().sum::<usize>()
    });
    assert_eq!(outcomes, BTreeSet::from([1, 2]));
}

/// A waker that only notes that it was called, as of a task that is scheduled but doesn't run yet.
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn loom_every_stored_answer_wakes_even_if_the_first_woken_never_runs() {
    let outcomes = model(|| {
        let world = World::new(10, 10);
        let notes = [1, 2].map(|_| std::sync::Arc::new(Noted(AtomicBool::new(false))));
        let committer = world.committer();
        let mut pending = [false; 2];
        let mut responses = [1, 2].map(|job| Handoff::submit(&world.handoff, job, 1, Instant::now));
        for ((response, note), pending) in responses.iter_mut().zip(&notes).zip(&mut pending) {
            let waker = Waker::from(std::sync::Arc::clone(note));
            *pending = Pin::new(response).poll(&mut Context::from_waker(&waker)).is_pending();
        }
        world.handoff.close();
        committer.join().unwrap();
        for (note, pending) in notes.iter().zip(pending) {
            assert!(!pending || note.0.load(Ordering::Relaxed), "a caller was left asleep");
        }
        pending
    });
    assert!(outcomes.len() >= 3, "answered before and after the first look: {outcomes:?}");
}
