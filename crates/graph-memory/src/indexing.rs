//! Index building in the background: two threads build what tenants' indexes plan, and the
//! committer installs it.
//!
//! The committer calls [`Indexing::maintain`] for each batch: it installs what is built and hands
//! over what is planned. When an index is backlogged, its tail longer than it may be, it waits for
//! the sealing. So commits wait rather than queries slow down. When a build is done its thread
//! wakes the committer, so an idle store gets its segments, too. While a log is replayed, replay
//! takes the committer's part.
//!
//! One thread seals tails, the other merges segments: a merge may take seconds, and nobody's
//! commits should wait for it. Both give way to any other thread; when they get too little, commits
//! wait, and so leave them the processor.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::apply::Tenants;
use crate::priority::step_back;
use crate::value::{IndexBuild, IndexBuilt};

/// Builds for the committer, on threads of its own. When this is dropped they finish what they are
/// at, which may take seconds and is nobody's loss, and end; nobody waits for them.
pub(crate) struct Indexing {
    shared: Arc<Shared>,
    /// Whether the threads run: from the first build on, which most stores never need.
    started: bool,
}

struct Shared {
    state: Mutex<State>,
    /// The threads wait here for work.
    planned: Condvar,
    /// The committer waits here when it has to.
    done: Condvar,
    /// How many are built and not yet fetched: lets the committer look without the lock. It fetches
    /// what it finds under the lock, so Relaxed is enough; what it misses, it finds after the next
    /// wake-up.
    built: AtomicUsize,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    seals: VecDeque<(u32, IndexBuild)>,
    merges: VecDeque<(u32, IndexBuild)>,
    built: Vec<(u32, IndexBuilt)>,
    /// Handed over and not yet fetched.
    in_progress: usize,
    /// A build panicked, which is a bug: nothing is built any more.
    failed: bool,
    closed: bool,
}

/// The queue that a thread works on.
type Queue = fn(&mut State) -> &mut VecDeque<(u32, IndexBuild)>;

impl Indexing {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            planned: Condvar::new(),
            done: Condvar::new(),
            built: AtomicUsize::new(0),
            wake: OnceLock::new(),
        });
        Self { shared, started: false }
    }

    /// Starts the threads, unless they run. If the system has none to give, the next build tries
    /// again, and nobody waits.
    fn start(&mut self) {
        let queues: [(&str, Queue); 2] =
            [("steadfast-seals", |state| &mut state.seals), ("steadfast-merges", |state| &mut state.merges)];
        if !self.started {
            self.started = queues.into_iter().all(|(name, queue)| {
                let worker = Arc::clone(&self.shared);
                let thread = std::thread::Builder::new().name(name.into());
                let build_all = move || {
                    step_back();
                    worker.build_all(queue);
                };
                thread.spawn(build_all).is_ok()
            });
        }
    }

    /// Has `wake` called when something is built.
    pub(crate) fn on_built(&self, wake: impl Fn() + Send + Sync + 'static) {
        // Set once, by the store that begins.
        drop(self.shared.wake.set(Box::new(wake)));
    }

    /// Installs what is built and hands over what is planned; waits while a tail is longer than it
    /// may be.
    pub(crate) fn maintain(&mut self, tenants: &mut Tenants) {
        if self.shared.built.load(Ordering::Relaxed) > 0 {
            self.install(tenants);
        }
        self.hand_over(tenants);
        while tenants.is_backlogged() && self.wait() {
            self.install(tenants);
            self.hand_over(tenants);
        }
    }

    /// Whether a build panicked.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.lock().failed
    }

    fn install(&self, tenants: &mut Tenants) {
        let mut state = self.shared.lock();
        let built = std::mem::take(&mut state.built);
        state.in_progress -= built.len();
        self.shared.built.store(0, Ordering::Relaxed);
        drop(state);
        for (number, built) in built {
            tenants.install(number, built);
        }
    }

    fn hand_over(&mut self, tenants: &mut Tenants) {
        tenants.plan_dirty(|number, build| {
            self.start();
            let mut state = self.shared.lock();
            if !state.failed {
                let queue = if build.is_merge() { &mut state.merges } else { &mut state.seals };
                queue.push_back((number, build));
                state.in_progress += 1;
                drop(state);
                self.shared.planned.notify_all();
            }
        });
    }

    /// Waits until something is built; false if nothing is being built.
    fn wait(&self) -> bool {
        let mut state = self.shared.lock();
        while state.built.is_empty() {
            if state.in_progress == 0 || state.failed || !self.started {
                return false;
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.planned.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build_all(&self, queue: Queue) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some((number, build)) = queue(&mut state).pop_front() else {
                state = self.planned.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let built = std::panic::catch_unwind(AssertUnwindSafe(|| build.run()));
            state = self.lock();
            if let Ok(built) = built {
                state.built.push((number, built));
                self.built.store(state.built.len(), Ordering::Relaxed);
            } else {
                state.failed = true;
                state.seals.clear();
                state.merges.clear();
            }
            self.done.notify_all();
            drop(state);
            if let Some(wake) = self.wake.get() {
                wake();
            }
            state = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::{Allocate, Limits, Seq};
    use steadfast_text_index::Analyzer;
    use steadfast_vector_index::Metric;

    use super::*;
    use crate::command::{Command, Context, NewMemory, Operation, Stamp, TenantKey};

    /// More than may be unsealed, written without a pause: whoever tends afterwards waits until it
    /// is sealed far enough.
    #[test]
    fn a_tail_that_has_grown_past_its_bound_is_waited_for() {
        let (mut tenants, mut indexing) = (Tenants::default(), Indexing::new());
        for seq in 1..=40_000 {
            let analyzer = Analyzer::new();
            let tenant = TenantKey::Name { name: "acme".into(), tenants_max: 1, analyzer };
            let context = Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer };
            let new = NewMemory::resolve(Allocate::new("a few words"), &context).unwrap();
            let stamp = Stamp { seq: Seq::new(seq), now_ms: 0, format: crate::log::FORMAT };
            tenants.apply(Command::new(tenant, None, new), stamp).unwrap();
        }
        indexing.maintain(&mut tenants);
        assert!(!tenants.is_backlogged());
    }
}
