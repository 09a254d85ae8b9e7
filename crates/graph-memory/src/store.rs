//! A store: opening, closing, and what its handles share.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast_memory_api::{Limits, MemoryError, Seq};
use steadfast_metrics::Registry;
use steadfast_text_index::Analyzer;
use steadfast_vector_index::Metric;
use xxhash_rust::xxh3::Xxh3;

use crate::apply::Tenants;
use crate::command::{Command, Effect, EncodedCommand, Stamp};
use crate::committer::{Committer, Job, JobAnswer, Published};
use crate::config::Config;
use crate::error::OpenError;
use crate::handoff::{Bounds, Handoff, Reply, serve};
use crate::indexing::Indexing;
use crate::log::{FileLog, Log, Recovery};
use crate::telemetry::Telemetry;
use crate::tenant::Tenant;
use crate::validate;
use crate::waiting::{Arrival, block_on};

/// A memory for many tenants in one directory.
///
/// Handles are cheap to clone and share; the store closes when the last one, tenants' handles among them,
/// is gone, or by [`close`](Self::close).
///
/// Everything is async without a runtime of its own: any executor will do. Each operation has a twin whose name ends in
/// `_blocking`, for code without one.
///
/// ```
/// use steadfast_graph_memory::{Allocate, Config, GraphMemory, Search};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let memory = GraphMemory::open_blocking(dir.path(), Config::default())?;
/// let acme = memory.tenant("acme")?;
/// let answer = acme.allocate_blocking(Allocate::new("The blue whale sings at 188 decibels").slug("whale-song"))?;
/// let found = acme.search_blocking(Search::new("whale decibels"))?;
/// assert_eq!(found.hits[0].record.id, answer.id);
/// memory.close_blocking()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GraphMemory {
    store: Arc<Store>,
}

/// A store in numbers. Each is exact; taken while the store is at work, one may be a batch ahead of another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// The last command in the log.
    pub last_seq: Seq,
    /// Tenants there are.
    pub tenants: usize,
    /// Commands that wait in the queue.
    pub queued: usize,
    /// Callers that wait for a place in the queue.
    pub waiting: usize,
    /// Why the store takes no more writes, if so.
    pub poisoned: Option<String>,
    /// Batches written since the store was opened, markers among them.
    pub batches: u64,
    /// Commands written since then.
    pub commands: u64,
    /// Bytes written since then.
    pub bytes: u64,
    /// Syncs made since then.
    pub syncs: u64,
    /// Where the committer's time went since then.
    pub time: CommitTime,
}

/// Where a committer's time went; what is missing from the whole is waiting, and waking callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitTime {
    /// Copying commands into a batch, its checksum and hash.
    pub encode: Duration,
    /// Beginning a new segment: waiting until it is made, and marking the end of the last one.
    pub segment: Duration,
    /// Writing and syncing.
    pub write: Duration,
    /// Applying commands to the next value.
    pub apply: Duration,
    /// Handing work to the thread that builds indexes and putting in place what it built; waiting for it, when it is behind.
    pub index: Duration,
    /// Publishing.
    pub publish: Duration,
}

/// What all handles of a store share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) limits: Limits,
    /// For tenants without a vector.
    pub(crate) vector_metric: Metric,
    /// For new tenants.
    pub(crate) analyzer: Analyzer,
    pub(crate) published: Arc<Published>,
    pub(crate) telemetry: Arc<Telemetry>,
    handoff: Arc<JobHandoff>,
    recovery: Recovery,
    command_bytes_max: usize,
    /// Set by `close`: reads are refused from then on.
    closed: AtomicBool,
    finished: Arc<Arrival<Result<(), MemoryError>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

type JobHandoff = Handoff<Job, JobAnswer>;

impl GraphMemory {
    /// Opens the store in `dir`, creating both if they are missing.
    ///
    /// The log is replayed on a thread of its own; [`Config::on_progress`] tells how far it is.
    ///
    /// # Errors
    /// See [`OpenError`]. A torn tail is none: it is cut, and [`recovery`](Self::recovery) reports it.
    ///
    /// # Panics
    /// Only if the opening thread panicked, with its panic.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the store is opened all the same and closed at once.
    pub async fn open(dir: impl Into<PathBuf>, config: Config) -> Result<Self, OpenError> {
        let dir = dir.into();
        let opened = Arc::new(Arrival::new());
        let result = Arc::clone(&opened);
        let path = dir.clone();
        let spawned = std::thread::Builder::new().name("steadfast-open".into()).spawn(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_blocking(path, config)));
            // The one who waits takes it out.
            result.set(Arc::new(Mutex::new(Some(outcome))));
        });
        spawned.map_err(OpenError::io(&dir, "start the thread that opens"))?;
        let outcome = opened.wait().await;
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.expect("only this line takes it").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// [`open`](Self::open) on this thread.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_blocking(dir: impl Into<PathBuf>, config: Config) -> Result<Self, OpenError> {
        config.check()?;
        let dir = dir.into();
        config.file_system.create_dir_all(&dir).map_err(OpenError::io(&dir, "create"))?;
        let lock_path = dir.join("LOCK");
        let lock = config.file_system.lock(&lock_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::AlreadyOpen { path: dir.clone() },
            _ => OpenError::io(&lock_path, "lock")(error),
        })?;

        let mut indexing = Indexing::new();
        let (tenants, log, recovery) = replay(&dir, &config, &mut indexing)?;
        let command_bytes_max = log.command_bytes_max();
        let published = Arc::new(Published::default());
        let clock = Arc::clone(&config.clock);
        let limits = config.limits;
        let handoff: Arc<JobHandoff> = Arc::new(Handoff::new(Bounds {
            jobs: limits.queue_commands,
            bytes: limits.queue_bytes,
            waiters: limits.queue_waiters,
            waiting_bytes: limits.queue_waiting_bytes,
        }));
        let nudged = Arc::downgrade(&handoff);
        indexing.on_built(move || {
            if let Some(handoff) = nudged.upgrade() {
                handoff.nudge();
            }
        });
        let telemetry = Arc::new(Telemetry::new());
        let batches = telemetry.batches.clone();
        let committer =
            Committer::new(Box::new(log), clock, tenants, indexing, Arc::clone(&published), batches);
        let store = Arc::new(Store {
            limits,
            vector_metric: config.vector_metric,
            analyzer: config.analyzer,
            published,
            telemetry,
            handoff,
            recovery,
            command_bytes_max,
            closed: AtomicBool::new(false),
            finished: Arc::new(Arrival::new()),
            threads: Mutex::new(Vec::new()),
        });
        store.start(&dir, committer, lock)?;
        Ok(Self { store })
    }

    /// A handle to the tenant `name`: 1 to 64 of the letters a–z and A–Z, digits, `.`, `_` and `-`.
    ///
    /// Costs an allocation; nothing is read or written. A tenant comes into being with its first memory.
    ///
    /// # Errors
    /// `Invalid` when the name is not acceptable.
    pub fn tenant(&self, name: &str) -> Result<Tenant, MemoryError> {
        validate::tenant_name(name, &self.store.limits)?;
        Ok(Tenant::new(Arc::clone(&self.store), name))
    }

    /// What was found when the store was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.store.recovery
    }

    /// The store in numbers.
    pub fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// What the store records of itself, since it was opened:
    ///
    /// | metric | is |
    /// |---|---|
    /// | `memory_commits_seconds{outcome}` | changes by outcome, from the call to the answer; a caller that went away is a failure |
    /// | `memory_searches_seconds{outcome}` | searches by outcome |
    /// | `memory_batch_commands` | commands that one sync made durable |
    ///
    /// Take a snapshot, or render it as Prometheus reads it; other parts of a program may register their own there.
    ///
    /// ```
    /// # use steadfast_graph_memory::{Config, GraphMemory};
    /// # let dir = tempfile::tempdir()?;
    /// let store = GraphMemory::open_blocking(dir.path(), Config::default())?;
    /// let snapshot = store.metrics().snapshot();
    /// assert_eq!(snapshot.histogram("memory_commits_seconds", &[("outcome", "success")]).unwrap().count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metrics(&self) -> &Registry {
        &self.store.telemetry.registry
    }

    /// A hash of everything that the log determines, over all tenants, to compare two replays of one log.
    ///
    /// Take it while nothing is written; it takes time in proportion to what is remembered.
    pub fn state_hash(&self) -> u64 {
        let mut tenants: Vec<_> = self
            .store
            .published
            .tenants
            .iter()
            .map(|entry| (Arc::clone(entry.key()), Arc::clone(entry.value())))
            .collect();
        tenants.sort_by_key(|(_, cell)| cell.number);
        let mut hasher = Xxh3::new();
        for (name, cell) in tenants {
            cell.value.load().hash_into(&name, &mut hasher);
        }
        hasher.digest()
    }

    /// Closes the store: commits what is queued, marks the log as closed in good order, and frees the directory. All handles answer `Closed` from then on.
    ///
    /// # Errors
    /// `StorageFull`, `StorageUnavailable` or `Poisoned` when the log could not be closed in good order; nothing acknowledged is lost by
    /// it.
    ///
    /// # Cancel safety
    /// Dropped, the store closes all the same.
    pub async fn close(&self) -> Result<(), MemoryError> {
        self.store.begin_close();
        self.store.finished.wait().await
    }

    /// [`close`](Self::close), waiting on this thread.
    ///
    /// # Errors
    /// As for `close`.
    pub fn close_blocking(&self) -> Result<(), MemoryError> {
        block_on(self.close())
    }
}

/// Reads the log back into a state.
fn replay(
    dir: &Path,
    config: &Config,
    indexing: &mut Indexing,
) -> Result<(Tenants, FileLog, Recovery), OpenError> {
    let mut tenants = Tenants::default();
    let (log, recovery) = FileLog::open(dir, config, &mut |header, commands| {
        for (seq, bytes) in (header.first_seq..).zip(commands) {
            let stamp = Stamp { seq: Seq::new(seq), now_ms: header.time_ms };
            // Its outcome was its caller's; only the state counts now.
            drop(tenants.apply(Command::decode(bytes)?, stamp));
        }
        indexing.tend(&mut tenants);
        Ok(())
    })?;
    Ok((tenants, log, recovery))
}

impl Store {
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
        threads.push(spawn("steadfast-deadlines", Box::new(move || handoff.keep_deadlines()))?);
        Ok(())
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
    pub(crate) async fn commit(&self, job: EncodedCommand, wait: Duration) -> Result<Effect, MemoryError> {
        self.check_open()?;
        let (bytes, bytes_max) = (job.len(), self.command_bytes_max);
        if bytes > bytes_max {
            let problem = steadfast_memory_api::Problem::TooLong { bytes, bytes_max };
            return Err(MemoryError::invalid("request", problem));
        }
        let request = self.telemetry.commits.request();
        let answer = match Handoff::submit(&self.handoff, job, bytes, || deadline(wait)).await {
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

    fn stats(&self) -> StoreStats {
        let counters = &self.published.counters;
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter| Duration::from_nanos(number(counter));
        let (queued, waiting) = self.handoff.waiting();
        StoreStats {
            last_seq: Seq::new(number(&counters.last_seq)),
            tenants: self.published.tenants.len(),
            queued,
            waiting,
            poisoned: self.published.poisoned.get().cloned(),
            batches: number(&counters.batches),
            commands: number(&counters.commands),
            bytes: number(&counters.bytes),
            syncs: number(&counters.syncs),
            time: CommitTime {
                encode: time(&counters.encode_ns),
                segment: time(&counters.segment_ns),
                write: time(&counters.write_ns),
                apply: time(&counters.apply_ns),
                index: time(&counters.index_ns),
                publish: time(&counters.publish_ns),
            },
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
            // The last handle may go down with a task that the committer itself has just woken for the last time.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}
