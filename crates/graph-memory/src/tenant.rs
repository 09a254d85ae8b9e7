//! A tenant's handle, and a view of it at one moment.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use steadfast_memory_api::{
    Allocate, Answer, Delete, Hits, Id, Limits, Memory, MemoryError, Patch, Record, Search, Seq, TenantStats,
    Version,
};

use crate::command::{
    Command, Context, Deletion, EncodedCommand, MemoryPatch, NewMemory, Registered, TenantKey,
};
use crate::published::TenantCell;
use crate::refusal::Caller;
use crate::search::search;
use crate::store::Store;
use crate::validate;
use crate::value::{Entry, TenantValue, fold};
use crate::verified::{Defect, Verified};
use crate::waiting::block_on;

/// One tenant of a [`GraphMemory`](crate::GraphMemory). Cheap to clone and to share.
///
/// The methods are those of [`Memory`]; see there for errors and cancel safety. Each has a
/// `_blocking` twin.
#[derive(Clone, Debug)]
pub struct Tenant {
    shared: Arc<Shared>,
    queue_wait: Duration,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    name: Box<str>,
    /// Known from the first time that the tenant was found to be there.
    cell: OnceLock<Arc<TenantCell>>,
}

impl Tenant {
    pub(crate) fn new(store: Arc<Store>, name: &str) -> Self {
        let queue_wait = store.limits.queue_wait;
        Self { shared: Arc::new(Shared { store, name: name.into(), cell: OnceLock::new() }), queue_wait }
    }

    /// The tenant's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The same tenant, for changes that wait at most `wait` for a place in a full queue, then fail
    /// with [`Overloaded`](MemoryError::Overloaded). Unless set, [`Limits::queue_wait`].
    #[must_use]
    pub fn with_queue_wait(mut self, wait: Duration) -> Self {
        self.queue_wait = wait;
        self
    }

    /// The tenant as it is now, and as it stays in this view whatever is written later.
    ///
    /// # Errors
    /// `UnknownTenant`, `Closed`.
    pub fn view(&self) -> Result<View, MemoryError> {
        self.shared.store.check_open()?;
        let cell = self.cell().ok_or_else(|| self.unknown())?;
        Ok(View { value: cell.value.load_full(), store: Arc::clone(&self.shared.store) })
    }

    /// [`allocate`](Memory::allocate), waiting on this thread.
    ///
    /// # Errors
    /// As for `allocate`.
    pub fn allocate_blocking(&self, request: Allocate) -> Result<Answer, MemoryError> {
        block_on(self.allocate(request))
    }

    /// [`update`](Memory::update), waiting on this thread.
    ///
    /// # Errors
    /// As for `update`.
    pub fn update_blocking(
        &self,
        id: Id,
        if_version: Option<Version>,
        patch: Patch,
    ) -> Result<Answer, MemoryError> {
        block_on(self.update(id, if_version, patch))
    }

    /// [`delete`](Memory::delete), waiting on this thread.
    ///
    /// # Errors
    /// As for `delete`.
    pub fn delete_blocking(&self, request: impl Into<Delete> + Send) -> Result<Answer, MemoryError> {
        block_on(self.delete(request))
    }

    /// [`get`](Memory::get), which never waits.
    ///
    /// # Errors
    /// As for `get`.
    pub fn get_blocking(&self, id: Id) -> Result<Arc<Record>, MemoryError> {
        self.view()?.get(id)
    }

    /// [`get_by_slug`](Memory::get_by_slug), which never waits.
    ///
    /// # Errors
    /// As for `get_by_slug`.
    pub fn get_by_slug_blocking(&self, slug: &str) -> Result<Arc<Record>, MemoryError> {
        self.view()?.get_by_slug(slug)
    }

    /// [`search`](Memory::search), on this thread.
    ///
    /// # Errors
    /// As for `search`.
    #[expect(clippy::needless_pass_by_value, reason = "the same signature as the async twin")]
    pub fn search_blocking(&self, request: Search) -> Result<Hits, MemoryError> {
        self.view()?.search(&request)
    }

    /// [`stats`](Memory::stats), which never waits.
    ///
    /// # Errors
    /// As for `stats`.
    pub fn stats_blocking(&self) -> Result<TenantStats, MemoryError> {
        Ok(self.view()?.stats())
    }

    fn unknown(&self) -> MemoryError {
        MemoryError::UnknownTenant { tenant: self.name().into() }
    }

    fn cell(&self) -> Option<&Arc<TenantCell>> {
        if let Some(cell) = self.shared.cell.get() {
            return Some(cell);
        }
        let cell =
            self.shared.store.published.tenants.get(self.name()).map(|cell| Arc::clone(cell.value()))?;
        Some(self.shared.cell.get_or_init(|| cell))
    }

    /// What a request is resolved with.
    fn context(&self) -> Context<'_> {
        let store = &self.shared.store;
        let value = self.cell().map(|cell| cell.value.load());
        let vectors = value.as_ref().and_then(|value| value.vectors());
        Context {
            limits: &store.limits,
            metric: vectors.map_or(store.vector_metric, |index| index.config().metric()),
            analyzer: value.as_ref().map_or(store.analyzer, |value| value.analyzer),
        }
    }

    /// The tenant by its number, or by its name if it isn't there and `creates`.
    fn key(&self, creates: bool) -> Result<TenantKey, MemoryError> {
        let store = &self.shared.store;
        match self.cell() {
            Some(cell) => Ok(TenantKey::Number(cell.number)),
            None if creates => Ok(TenantKey::Name {
                name: self.name().into(),
                tenants_max: store.limits.tenants as u64,
                analyzer: store.analyzer,
            }),
            None => Err(self.unknown()),
        }
    }

    /// Has a command carried out: resolves the request, hands it to the committer, waits for the
    /// answer.
    async fn commit<O: Registered>(&self, request: O::Request) -> Result<O::Answer, MemoryError> {
        let store = &self.shared.store;
        let request_id = O::request_id(&request).map(|id| (id, store.limits.request_ids));
        let operation = O::resolve(request, &self.context())?;
        store.check_open()?;
        let slug = operation.slug().map(str::to_owned);
        let command = Command::new(self.key(O::CREATES_TENANT)?, request_id, operation);
        let effect = store.commit(EncodedCommand::new(command), self.queue_wait).await?;
        let caller = Caller { tenant: self.name(), slug: slug.as_deref() };
        let answer = effect.map_err(|refusal| refusal.into_error(caller))?;
        Ok(O::own_answer(answer).expect("a change is answered with an answer of its kind"))
    }
}

impl Memory for Tenant {
    async fn allocate(&self, request: Allocate) -> Result<Answer, MemoryError> {
        self.commit::<NewMemory>(request).await
    }

    async fn update(&self, id: Id, if_version: Option<Version>, patch: Patch) -> Result<Answer, MemoryError> {
        self.commit::<Box<MemoryPatch>>((id, if_version, patch)).await
    }

    async fn delete(&self, request: impl Into<Delete> + Send) -> Result<Answer, MemoryError> {
        self.commit::<Deletion>(request.into()).await
    }

    async fn get(&self, id: Id) -> Result<Arc<Record>, MemoryError> {
        self.get_blocking(id)
    }

    async fn get_by_slug(&self, slug: &str) -> Result<Arc<Record>, MemoryError> {
        self.get_by_slug_blocking(slug)
    }

    /// Runs where it is polled, and for as long as it takes.
    async fn search(&self, request: Search) -> Result<Hits, MemoryError> {
        self.search_blocking(request)
    }

    async fn stats(&self) -> Result<TenantStats, MemoryError> {
        self.stats_blocking()
    }
}

/// A tenant as it was at one moment: every read of it is of the same state.
///
/// Holds on to that state; drop it when it isn't needed any more.
#[derive(Clone, Debug)]
pub struct View {
    value: Arc<TenantValue>,
    store: Arc<Store>,
}

impl View {
    /// The last change that this view sees.
    pub fn seq(&self) -> Seq {
        self.value.seq
    }

    /// How many memories there are.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory with this id.
    ///
    /// # Errors
    /// `UnknownId`.
    pub fn get(&self, id: Id) -> Result<Arc<Record>, MemoryError> {
        self.value.entry(id).map(record).ok_or(MemoryError::UnknownId { id })
    }

    /// The memory with this slug, in any spelling that folds to the same.
    ///
    /// # Errors
    /// `UnknownSlug`, `Invalid`.
    pub fn get_by_slug(&self, slug: &str) -> Result<Arc<Record>, MemoryError> {
        validate::slug(slug, self.limits())?;
        let entry = self.value.by_slug(&fold(slug));
        entry.map(record).ok_or_else(|| MemoryError::UnknownSlug { slug: slug.into() })
    }

    /// All memories in the order of their ids.
    pub fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        self.value.live().map(record)
    }

    /// The memories whose text fits the query best.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn search(&self, request: &Search) -> Result<Hits, MemoryError> {
        let keys = validate::search(request, self.limits(), self.value.analyzer)?;
        let timed = self.store.telemetry.searches.request();
        let hits = search(&self.value, request, &keys);
        if hits.is_ok() {
            timed.success();
        }
        hits
    }

    /// Walks over everything that the indexes of this state hold, and holds it against the
    /// memories: takes as long as that is much.
    ///
    /// # Errors
    /// The first contradiction, which is a bug.
    pub fn verify(&self) -> Result<Verified, Defect> {
        self.value.verify()
    }

    /// Texts that every search goes over one by one, since they are not in a sealed part of the
    /// index yet. Unlike what [`stats`](Self::stats) tells, it depends on how far the sealing is,
    /// not on what is remembered.
    pub fn unsealed(&self) -> u64 {
        self.value.text().unsealed() as u64
    }

    /// The tenant in numbers.
    pub fn stats(&self) -> TenantStats {
        self.value.stats()
    }

    fn limits(&self) -> &Limits {
        &self.store.limits
    }
}

fn record(entry: &Entry) -> Arc<Record> {
    Arc::clone(&entry.record)
}
