//! What all handles of a store share: the queue to the committer, the published state, the threads.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast_memory_api::{Limits, MemoryError, Problem, Seq};
use steadfast_text_index::Analyzer;
use steadfast_vector_index::Metric;

use crate::apply::Tenants;
use crate::command::{Command, Effect, EncodedCommand, Stamp};
use crate::committer::{CommitResult, Committer};
use crate::config::Config;
use crate::error::OpenError;
use crate::handoff::{Bounds, Handoff, Reply, serve};
use crate::indexing::Indexing;
use crate::log::{FileLog, Log, Recovery};
use crate::published::Published;
use crate::stats::StoreStats;
use crate::telemetry::Telemetry;
use crate::waiting::OnceEvent;

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) limits: Limits,
    /// For tenants without a vector.
    pub(crate) vector_metric: Metric,
    /// For new tenants.
    pub(crate) analyzer: Analyzer,
    pub(crate) published: Arc<Published>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) recovery: Recovery,
    handoff: Arc<CommandHandoff>,
    command_bytes_max: usize,
    /// Set by `close`: reads are refused from then on.
    closed: AtomicBool,
    finished: Arc<OnceEvent<Result<(), MemoryError>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

type CommandHandoff = Handoff<EncodedCommand, CommitResult>;

/// Reads the log back into a state.
fn replay(
    dir: &Path,
    config: &Config,
    indexing: &mut Indexing,
) -> Result<(Tenants, FileLog, Recovery), OpenError> {
    let mut tenants = Tenants::default();
    let (log, recovery) = FileLog::open(dir, config, &mut |header, commands| {
        for (seq, bytes) in (header.first_seq..).zip(commands) {
            let stamp = Stamp { seq: Seq::new(seq), now_ms: header.time_ms, format: header.format };
            // Its outcome was its caller's; only the state counts now.
            drop(tenants.apply(Command::decode(bytes)?, stamp));
        }
        indexing.maintain(&mut tenants);
        Ok(())
    })?;
    Ok((tenants, log, recovery))
}

impl Store {
    /// Opens the store in `dir`, creating both if they are missing.
    pub(crate) fn open(dir: &Path, config: Config) -> Result<Arc<Self>, OpenError> {
        config.check()?;
        config.file_system.create_dir_all(dir).map_err(OpenError::io(dir, "create"))?;
        let lock_path = dir.join("LOCK");
        let lock = config.file_system.lock(&lock_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::AlreadyOpen { path: dir.to_path_buf() },
            _ => OpenError::io(&lock_path, "lock")(error),
        })?;

        let mut indexing = Indexing::new();
        let (tenants, log, recovery) = replay(dir, &config, &mut indexing)?;
        let command_bytes_max = log.command_bytes_max();
        let published = Arc::new(Published::default());
        let clock = Arc::clone(&config.clock);
        let limits = config.limits;
        let handoff: Arc<CommandHandoff> = Arc::new(Handoff::new(Bounds {
            jobs: limits.queue_commands,
            bytes: limits.queue_bytes,
            waiters: limits.queue_waiters,
            waiting_bytes: limits.queue_waiting_bytes,
        }));
        let to_wake = Arc::downgrade(&handoff);
        indexing.on_built(move || {
            if let Some(handoff) = to_wake.upgrade() {
                handoff.wake();
            }
        });
        let telemetry = Arc::new(Telemetry::new());
        let batches = telemetry.batches.clone();
        let committer =
            Committer::new(Box::new(log), clock, tenants, indexing, Arc::clone(&published), batches);
        let store = Arc::new(Self {
            limits,
            vector_metric: config.vector_metric,
            analyzer: config.analyzer,
            published,
            telemetry,
            handoff,
            recovery,
            command_bytes_max,
            closed: AtomicBool::new(false),
            finished: Arc::new(OnceEvent::new()),
            threads: Mutex::new(Vec::new()),
        });
        store.start(dir, committer, lock)?;
        Ok(store)
    }

    fn start(
        &self,
        dir: &Path,
        mut committer: Committer,
        lock: Box<dyn std::any::Any + Send + Sync>,
    ) -> Result<(), OpenError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (handoff, finished) = (Arc::clone(&self.handoff), Arc::clone(&self.finished));
        let published = Arc::clone(&self.published);
        let run = move || {
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| {
                serve(&handoff, &mut committer);
                committer.close()
            }));
            let result = run.unwrap_or_else(|_| {
                let detail = "the committer panicked".to_owned();
                drop(published.poisoned.set(detail.clone()));
                handoff.abandon();
                Err(MemoryError::Poisoned { detail })
            });
            // The directory is free before anybody learns that the store is closed.
            drop(committer);
            drop(lock);
            finished.set(result);
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map_err(OpenError::io(dir, "start a thread for"))
        };
        threads.push(spawn("steadfast-committer", Box::new(run))?);
        let handoff = Arc::clone(&self.handoff);
        threads.push(spawn("steadfast-deadlines", Box::new(move || handoff.run_deadlines()))?);
        Ok(())
    }

    /// Closes the store, and waits until the directory is free.
    pub(crate) async fn close(&self) -> Result<(), MemoryError> {
        self.begin_close();
        self.finished.wait().await
    }

    fn begin_close(&self) {
        // Relaxed: a read that doesn't see it yet is a read from before the close.
        self.closed.store(true, Ordering::Relaxed);
        self.handoff.close();
    }

    /// Refuses when the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), MemoryError> {
        if self.closed.load(Ordering::Relaxed) { Err(MemoryError::Closed) } else { Ok(()) }
    }

    /// Hands a command to the committer and waits for what comes of it.
    pub(crate) async fn commit(
        &self,
        command: EncodedCommand,
        wait: Duration,
    ) -> Result<Effect, MemoryError> {
        self.check_open()?;
        let (bytes, bytes_max) = (command.len(), self.command_bytes_max);
        if bytes > bytes_max {
            let problem = Problem::TooLong { bytes, bytes_max };
            return Err(MemoryError::invalid("request", problem));
        }
        let request = self.telemetry.commits.request();
        let answer = match Handoff::submit(&self.handoff, command, bytes, || deadline(wait)).await {
            Reply::Answer(answer) => answer,
            Reply::Overloaded { retry_after } => Err(MemoryError::Overloaded { retry_after }),
            Reply::Closed => Err(match self.published.poisoned.get() {
                Some(detail) => MemoryError::Poisoned { detail: detail.clone() },
                None => MemoryError::Closed,
            }),
            Reply::Lost => Err(MemoryError::OutcomeUnknown { detail: "the committer is gone".into() }),
        };
        // Dropped before this, it counts as a failure.
        if answer.is_ok() {
            request.success();
        }
        answer
    }

    /// Returns the store in numbers.
    pub(crate) fn stats(&self) -> StoreStats {
        let (queued, waiting) = self.handoff.waiting();
        StoreStats {
            tenants: self.published.tenants.len(),
            queued,
            waiting,
            poisoned: self.published.poisoned.get().cloned(),
            ..self.published.counters.stats()
        }
    }
}

fn deadline(wait: Duration) -> Instant {
    let now = Instant::now();
    // A wait beyond what an instant can tell is for ever.
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365))
}

impl Drop for Store {
    fn drop(&mut self) {
        self.begin_close();
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last handle may go down with a task that the committer itself has just woken for
            // the last time.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}
