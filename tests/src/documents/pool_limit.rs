//! `documents.pool_limit`: 100 tasks share an exclusive pool of 20 handles to a store; each takes a handle, writes a document through it, reads it back, and gives the handle back.
//!
//! Invariants: never more than 20 handles are open, by their own count and by the pool's; no request for one fails or times out; every handle that was opened is closed in the end; and the pool's numbers balance,
//! also while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steadfast_memory_api::{Allocate, Limits, Memory};
use steadfast_pool::{GetError, Manager, Pool, Status};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally};

use crate::backend::{Backend, Store};

const TASKS: usize = 100;
const EACH: u64 = 20;
const HANDLES: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// 100 tasks on 20 handles.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimit<B> {
    backend: B,
    handles: usize,
}

impl<B: Backend> PoolLimit<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend, handles: HANDLES }
    }

    /// With a pool of another size: how the scenario is seen to fail.
    #[must_use]
    pub fn with_handles(mut self, handles: usize) -> Self {
        self.handles = handles;
        self
    }
}

/// How many handles are open, and the most that ever were.
#[derive(Debug, Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A handle to the store, which counts itself.
#[derive(Debug)]
struct Counted<M> {
    memory: M,
    open: Arc<Open>,
}

impl<M> Drop for Counted<M> {
    fn drop(&mut self) {
        // Relaxed: the check comes after all tasks have been joined.
        self.open.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens handles to one store.
#[derive(Debug)]
struct Handles<M> {
    memory: M,
    open: Arc<Open>,
}

impl<M: Memory + Clone + 'static> Manager for Handles<M> {
    type Resource = Counted<M>;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<Counted<M>, std::convert::Infallible> {
        // As a connection would, it takes its time.
        tokio::time::sleep(Duration::from_millis(1)).await;
        // Relaxed: as above; the most is of this counter's own history.
        let now = self.open.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.most.fetch_max(now, Ordering::Relaxed);
        Ok(Counted { memory: self.memory.clone(), open: Arc::clone(&self.open) })
    }
}

type MemoryOf<B> = <<B as Backend>::Store as Store>::Memory;

/// The store behind its pool.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Pooling<B: Backend> {
    store: B::Store,
    pool: Pool<Handles<MemoryOf<B>>>,
    open: Arc<Open>,
    unbalanced: AtomicUsize,
}

fn balances(status: &Status) -> bool {
    let ended = status.ok + status.error + status.timeout + status.cancelled;
    status.size == status.idle + status.in_use + status.connecting && status.started == ended + status.waiting
}

impl<B: Backend> Scenario for PoolLimit<B> {
    type State = Pooling<B>;

    fn name(&self) -> &'static str {
        "pool_limit"
    }

    fn description(&self) -> &'static str {
        "100 tasks share an exclusive pool of 20 handles; no more are ever open, and nobody waits in vain"
    }

    fn load(&self) -> Load {
        Load::users(TASKS).each(EACH).timeout(TIMEOUT)
    }

    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%", "timeouts <= 0%"]
    }

    async fn set_up(&self, context: &Context) -> Result<Pooling<B>, Failure> {
        let directory = context.scratch().join("store");
        std::fs::create_dir_all(&directory)?;
        let store = self.backend.open(&directory, Limits::default()).await?;
        let open = Arc::new(Open::default());
        let handles = Handles { memory: store.memory().clone(), open: Arc::clone(&open) };
        let pool = Pool::builder(handles).max(self.handles).timeout(TIMEOUT).build()?;
        Ok(Pooling { store, pool, open, unbalanced: AtomicUsize::new(0) })
    }

    async fn operation(&self, state: &Pooling<B>, call: Call) -> Result<(), Failure> {
        let handle = state.pool.get().await.map_err(|error| match error {
            GetError::Timeout(_) => Failure::new("exhausted", error),
            error => Failure::new("no handle", error),
        })?;
        let content = format!("document of task {}, number {}", call.user, call.number);
        let answer = handle.memory.allocate(Allocate::new(content.as_str())).await?;
        let read = handle.memory.get(answer.id).await?;
        if read.content.text() != content {
            return Err(Failure::new("another document", read.content.text()));
        }
        if !balances(&state.pool.status()) {
            // Relaxed: the check comes after all tasks have been joined.
            state.unbalanced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn check(&self, state: &Pooling<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let status = state.pool.status();
        // Relaxed: all tasks have been joined.
        let most = state.open.most.load(Ordering::Relaxed);
        checks.holds("at most 20 handles open", most <= HANDLES, format!("{most} at the most"));
        checks.exactly("handles dialled for those open", status.dials, most as u64);
        checks.exactly("requests that got a handle", status.ok, tally.issued);
        checks.exactly("requests that timed out", status.timeout, 0);
        checks.exactly("requests that failed or were cancelled", status.error + status.cancelled, 0);
        let unbalanced = state.unbalanced.load(Ordering::Relaxed) + usize::from(!balances(&status));
        checks.exactly("statistics that didn't balance", unbalanced, 0);
        let report = state.pool.close(TIMEOUT).await;
        checks.holds("the pool drained", report.drained, format!("{report:?}"));
        checks.exactly("handles left open", state.open.now.load(Ordering::Relaxed), 0);
        Ok(())
    }

    async fn tear_down(&self, state: Pooling<B>) -> Result<(), Failure> {
        drop(state.pool);
        state.store.close().await
    }
}
