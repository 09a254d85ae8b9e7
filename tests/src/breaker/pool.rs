//! Threads of the operating system for synchronous calls: as many as calls are to run at once, which tokio's own pool doesn't promise.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast_stress::Failure;
use tokio::sync::oneshot;

/// Enough for guarded calls, little enough for a thousand threads.
const STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads that is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    rest: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: usize,
    is_closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that runs; also after a panic it doesn't any more.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.running -= 1;
        if queue.running == 0 && queue.jobs.is_empty() {
            self.0.rest.notify_all();
        }
    }
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// A thread that can't be started.
    pub(super) fn new(threads: usize) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        shared.queue().jobs.reserve(2 * threads);
        let mut pool = Self { shared, threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let builder =
                std::thread::Builder::new().name(format!("caller-{number}")).stack_size(STACK_BYTES);
            pool.threads.push(builder.spawn(move || work(&shared))?);
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads.
    ///
    /// # Errors
    /// If the job panicked.
    ///
    /// # Cancel safety
    /// Dropped, the job still runs, and its result is thrown away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may wait for it any more.
            let _ = done.send(job());
        });
        self.shared.queue().jobs.push_back(job);
        self.shared.work.notify_one();
        result.await.map_err(|_| Failure::new("job", "it ended without a result"))
    }

    /// Waits until no job runs and none waits, for a time. False if there still are some.
    pub(super) fn is_idle_within(&self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        let mut queue = self.shared.queue();
        while queue.running > 0 || !queue.jobs.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            queue = self.shared.rest.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A job's panic was told where it happened.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared) {
    loop {
        let mut queue = shared.queue();
        let job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.is_closed {
                return;
            }
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.running += 1;
        drop(queue);
        let _running = Running(shared);
        job();
    }
}
