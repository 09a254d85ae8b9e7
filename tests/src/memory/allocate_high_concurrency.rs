//! `memory.allocate_high_concurrency`: 500 writers at once, and every write that was acknowledged is found, now and after
//! reopening.
//!
//! Invariants, over all acknowledged writes, those of set-up among them:
//!
//! - each is found by id, by slug and by search, and is as it was written, before and after the store is closed and opened;
//! - each concept is the first hit for a word of its own;
//! - no two have the same id or sequence number;
//! - sequence numbers have no gap: nothing else is written, so one that is missing is a write that nobody asked for;
//! - the tenant counts as many memories as were acknowledged, and the same after reopening.
//!
//! What a timed-out or cancelled write did is unknown: up to so many sequence numbers may be missing and memories be there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_memory_api::{Memory, Seq, TenantStats};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally};

use crate::backend::Backend;
use crate::filled::lookup::Lookup;
use crate::filled::writes::Acknowledged;
use crate::filled::{Filled, Filling, MemoryOf};

const WRITERS: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(10);

/// 500 concepts at once into a memory that is in use.
#[derive(Clone, Copy, Debug)]
pub struct AllocateHighConcurrency<B> {
    backend: B,
}

impl<B: Backend> AllocateHighConcurrency<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store, and what it has acknowledged of the concepts.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Allocating<B: Backend> {
    filled: Filled<B>,
    concepts: Mutex<Vec<Acknowledged>>,
}

impl<B: Backend> Allocating<B> {
    fn concepts(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        // Each change is one push, so a panic elsewhere can't have left half of one.
        self.concepts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Scenario for AllocateHighConcurrency<B> {
    type State = Allocating<B>;

    fn name(&self) -> &'static str {
        "allocate_high_concurrency"
    }

    fn description(&self) -> &'static str {
        "500 concepts allocated at once; each is then found, also after reopening"
    }

    fn load(&self) -> Load {
        Load::users(WRITERS).each(1).timeout(TIMEOUT)
    }

    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%", "timeouts <= 0%", "elapsed < 60s", "rate > 10/s"]
    }

    async fn set_up(&self, context: &Context) -> Result<Allocating<B>, Failure> {
        let filling = Filling { concepts: WRITERS, ..Filling::default() };
        let filled = Filled::set_up(&self.backend, context, &filling).await?;
        Ok(Allocating { filled, concepts: Mutex::new(Vec::with_capacity(WRITERS)) })
    }

    async fn operation(&self, state: &Allocating<B>, call: Call) -> Result<(), Failure> {
        let number = state.filled.writes.passages() + call.user;
        let answer = state.filled.memory.allocate(state.filled.writes.request(number)).await?;
        let acknowledged = Acknowledged::new(number, answer)?;
        state.concepts().push(acknowledged);
        Ok(())
    }

    async fn check(&self, state: &Allocating<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let Filled { memory, writes, passages, .. } = &state.filled;
        let concepts = state.concepts().clone();
        checks.exactly("concepts acknowledged", concepts.len() as u64, tally.succeeded);
        let acknowledged = Arc::new([passages.as_slice(), &concepts].concat());
        let lookup = |memory: &MemoryOf<B>, acknowledged: &Arc<Vec<Acknowledged>>| Lookup {
            memory: memory.clone(),
            writes: Arc::clone(writes),
            acknowledged: Arc::clone(acknowledged),
        };
        // Whatever did not succeed may have been written all the same.
        let unknown = tally.issued - tally.succeeded;

        check_numbers(&acknowledged, unknown, checks);
        lookup(memory, &acknowledged).check("", checks).await?;
        lookup(memory, &Arc::new(concepts)).check_first_hits("concepts", checks).await?;
        let before = memory.stats().await?;
        check_count(before.memories, acknowledged.len() as u64, unknown, checks);

        let reopened = state.filled.reopen(&self.backend).await?;
        lookup(&reopened, &acknowledged).check("reopened: ", checks).await?;
        let after = reopened.stats().await?;
        checks.holds("reopened: statistics the same", after == before, told(&after, &before));
        Ok(())
    }

    async fn tear_down(&self, state: Allocating<B>) -> Result<(), Failure> {
        state.filled.close().await
    }
}

/// Ids and sequence numbers: each once, and none of the sequence left out beyond `unknown`.
fn check_numbers(acknowledged: &[Acknowledged], unknown: u64, checks: &mut Checks) {
    let ids: HashSet<_> = acknowledged.iter().map(|write| write.answer.id).collect();
    let seqs: HashSet<Seq> = acknowledged.iter().map(|write| write.answer.seq).collect();
    checks.exactly("different ids", ids.len(), acknowledged.len());
    checks.exactly("different sequence numbers", seqs.len(), acknowledged.len());
    let (first, last) = (seqs.iter().min(), seqs.iter().max());
    let span = first.zip(last).map_or(0, |(first, last)| (last.get() - first.get()).saturating_add(1));
    let gaps = span - seqs.len() as u64;
    checks.holds("sequence numbers without a gap", gaps <= unknown, format!("{gaps} missing"));
}

/// As many memories as were acknowledged, and at most `unknown` more.
fn check_count(counted: u64, acknowledged: u64, unknown: u64, checks: &mut Checks) {
    const NAME: &str = "memories counted";
    if unknown == 0 {
        checks.exactly(NAME, counted, acknowledged);
    } else {
        let is_right = (acknowledged..=acknowledged + unknown).contains(&counted);
        let told = format!("{counted}; {acknowledged} acknowledged, of {unknown} it is not known");
        checks.holds(NAME, is_right, told);
    }
}

/// Statistics for a line of a table; both if they differ.
fn told(after: &TenantStats, before: &TenantStats) -> String {
    if after == before {
        format!("{} memories, {} words", after.memories, after.words)
    } else {
        format!("{after:?}, before {before:?}")
    }
}
