//! What a scenario is put on: something that opens a memory in a directory, closes it, and opens it again.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use steadfast_graph_memory::{Config, GraphMemory, Tenant};
use steadfast_memory_api::{
    Allocate, Answer, Delete, Hits, Id, Limits, Memory, MemoryError, Patch, Record, Search, TenantStats,
    Version,
};
use steadfast_stress::Failure;
use tokio::sync::Semaphore;

use crate::at_once::panic_again;

/// Opens stores, each in the directory that it is given.
pub trait Backend: Send + Sync + 'static {
    /// A store that is open.
    type Store: Store;

    /// Opens the store in `directory`, which exists, under these limits; an empty one makes a new store.
    ///
    /// # Errors
    /// A failure means that there is no store to run on.
    fn open(
        &self,
        directory: &Path,
        limits: Limits,
    ) -> impl Future<Output = Result<Self::Store, Failure>> + Send;

    /// Returns how long a scenario waits until the process is at rest, where it would wait for
    /// `longest`. A test beside others, whose process never rests, does without.
    fn rest_max(&self, longest: Duration) -> Duration {
        longest
    }
}

/// An open store with one tenant.
pub trait Store: Send + Sync + 'static {
    /// A handle to it; clones are handles to the same tenant.
    type Memory: Memory + Clone + 'static;

    /// The tenant.
    fn memory(&self) -> &Self::Memory;

    /// Closes the store in good order; handles that are left refuse from then on.
    ///
    /// # Errors
    /// A failure means that it could not be closed in good order.
    fn close(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The embedded store, in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

/// An embedded store that is open.
#[derive(Debug)]
pub struct EmbeddedStore {
    store: GraphMemory,
    tenant: EmbeddedTenant,
}

/// A tenant of an embedded store, as an async service would call it.
///
/// A search of the embedded store runs where it is polled, for some milliseconds when the store is large. Such work doesn't
/// belong on a runtime's worker threads: there it could neither be timed out nor let others run. So a search goes to a thread
/// for blocking work, at most as many at a time as there are processors. More would make each slower and none
/// sooner. The wait for a turn is part of a search's latency.
#[derive(Clone, Debug)]
pub struct EmbeddedTenant {
    tenant: Tenant,
    searches: Arc<Semaphore>,
}

impl Backend for Embedded {
    type Store = EmbeddedStore;

    async fn open(&self, directory: &Path, limits: Limits) -> Result<EmbeddedStore, Failure> {
        let store = GraphMemory::open(directory, Config::default().limits(limits)).await?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let searches = Arc::new(Semaphore::new(processors));
        let tenant = EmbeddedTenant { tenant: store.tenant("stress")?, searches };
        Ok(EmbeddedStore { store, tenant })
    }
}

impl Store for EmbeddedStore {
    type Memory = EmbeddedTenant;

    fn memory(&self) -> &EmbeddedTenant {
        &self.tenant
    }

    async fn close(self) -> Result<(), Failure> {
        Ok(self.store.close().await?)
    }
}

impl Memory for EmbeddedTenant {
    async fn allocate(&self, request: Allocate) -> Result<Answer, MemoryError> {
        self.tenant.allocate(request).await
    }

    async fn update(&self, id: Id, if_version: Option<Version>, patch: Patch) -> Result<Answer, MemoryError> {
        self.tenant.update(id, if_version, patch).await
    }

    async fn delete(&self, request: impl Into<Delete> + Send) -> Result<Answer, MemoryError> {
        self.tenant.delete(request).await
    }

    async fn get(&self, id: Id) -> Result<Arc<Record>, MemoryError> {
        self.tenant.get(id).await
    }

    async fn get_by_slug(&self, slug: &str) -> Result<Arc<Record>, MemoryError> {
        self.tenant.get_by_slug(slug).await
    }

    async fn search(&self, request: Search) -> Result<Hits, MemoryError> {
        let turn = Arc::clone(&self.searches).acquire_owned().await.expect("nobody closes the semaphore");
        let tenant = self.tenant.clone();
        let search = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: a caller that goes away doesn't stop the search.
            let _turn = turn;
            tenant.search_blocking(request)
        });
        search.await.unwrap_or_else(|error| panic_again(error))
    }

    async fn stats(&self) -> Result<TenantStats, MemoryError> {
        self.tenant.stats().await
    }
}
