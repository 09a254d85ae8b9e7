//! A store's public handle: opening, closing, tenants, figures.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use steadfast_memory_api::MemoryError;
use steadfast_metrics::Registry;

use crate::config::Config;
use crate::error::OpenError;
use crate::log::Recovery;
use crate::stats::StoreStats;
use crate::store::Store;
use crate::tenant::Tenant;
use crate::validate;
use crate::waiting::{OnceEvent, block_on};

/// A memory for many tenants in one directory.
///
/// Handles are cheap to clone and share; the store closes when the last one, tenants' handles among
/// them, is gone, or by [`close`](Self::close).
///
/// Everything is async without a runtime of its own: any executor will do. Each operation has a
/// twin whose name ends in `_blocking`, for code without one.
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

impl GraphMemory {
    /// Opens the store in `dir`, creating both if they are missing.
    ///
    /// The log is replayed on a thread of its own; [`Config::on_progress`] tells how far it is.
    ///
    /// # Errors
    /// See [`OpenError`]. A torn tail is none: it is cut, and [`recovery`](Self::recovery) reports
    /// it.
    ///
    /// # Panics
    /// Only if the opening thread panicked, with its panic.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the store is opened all the same and closed at once.
    pub async fn open(dir: impl Into<PathBuf>, config: Config) -> Result<Self, OpenError> {
        let dir = dir.into();
        let opened = Arc::new(OnceEvent::new());
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
        Ok(Self { store: Store::open(&dir.into(), config)? })
    }

    /// A handle to the tenant `name`: 1 to 64 of the letters a–z and A–Z, digits, `.`, `_` and `-`.
    ///
    /// Costs an allocation; nothing is read or written. A tenant comes into being with its first
    /// memory.
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
    /// | `memory_commits_seconds{outcome}` | changes by outcome, from call to answer; a caller that went away is a failure |
    /// | `memory_searches_seconds{outcome}` | searches by outcome |
    /// | `memory_batch_commands` | commands that one sync made durable |
    ///
    /// Take a snapshot, or render it as Prometheus reads it; other parts of a program may register
    /// their own there.
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

    /// A hash of everything that the log determines, over all tenants, to compare two replays of
    /// one log.
    ///
    /// Take it while nothing is written; it takes time in proportion to what is remembered.
    pub fn state_hash(&self) -> u64 {
        self.store.published.state_hash()
    }

    /// Closes the store: commits what is queued, marks the log as closed in good order, and frees
    /// the directory. All handles answer `Closed` from then on.
    ///
    /// # Errors
    /// `StorageFull`, `StorageUnavailable` or `Poisoned` when the log could not be closed in good
    /// order; nothing acknowledged is lost by it.
    ///
    /// # Cancel safety
    /// Dropped, the store closes all the same.
    pub async fn close(&self) -> Result<(), MemoryError> {
        self.store.close().await
    }

    /// [`close`](Self::close), waiting on this thread.
    ///
    /// # Errors
    /// As for `close`.
    pub fn close_blocking(&self) -> Result<(), MemoryError> {
        block_on(self.close())
    }
}
