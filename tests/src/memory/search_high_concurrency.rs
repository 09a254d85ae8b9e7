//! `memory.search_high_concurrency`: 200 searches at once in a memory full of real text; each finds the concept whose
//! name holds what it looks for.
//!
//! A search is for `searchable_3`; the concept is `searchable_concept_3`. They have the words `searchable` and `3` in common, and
//! its neighbours have only the first. Passages that hold `searchable` are left out of the store: with many a `3` they could
//! rightly come first. One without it can't: its score is at most 2.2 times the weight of `3`, that of the concept,
//! a short text, about 1.5 times the weights of both, and among 10 000 memories `searchable`, which 50 hold, weighs enough.
//!
//! The check is part of the operation, so a wrong first hit is a failed search.

use std::sync::atomic::{AtomicU64, Ordering};

use steadfast_memory_api::{Allocate, Memory, MemoryError, OnSlug, Search};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally};

use crate::at_once::at_once;
use crate::backend::Backend;
use crate::corpus::Passage;
use crate::filled::{Filled, Filling};

const SEARCHERS: usize = 200;
const CONCEPTS: usize = 50;
/// Concepts that are searched for, in turn.
const SOUGHT: usize = 10;

/// 200 searches at once among real text.
#[derive(Clone, Copy, Debug)]
pub struct SearchHighConcurrency<B> {
    backend: B,
}

impl<B: Backend> SearchHighConcurrency<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store, and how many searches found the right concept first.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Searching<B: Backend> {
    filled: Filled<B>,
    right: AtomicU64,
}

impl<B: Backend> Scenario for SearchHighConcurrency<B> {
    type State = Searching<B>;

    fn name(&self) -> &'static str {
        "search_high_concurrency"
    }

    fn description(&self) -> &'static str {
        "200 searches at once; the first hit is the concept that is looked for"
    }

    fn load(&self) -> Load {
        Load::users(SEARCHERS).each(1)
    }

    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%", "timeouts <= 0%", "elapsed < 30s"]
    }

    async fn set_up(&self, context: &Context) -> Result<Searching<B>, Failure> {
        let filling = Filling { wanted: is_no_rival, ..Filling::default() };
        let filled = Filled::set_up(&self.backend, context, &filling).await?;
        let memory = filled.memory.clone();
        let allocate = move |number: usize| {
            let memory = memory.clone();
            async move { Ok(memory.allocate(concept(number)).await?) }
        };
        at_once(CONCEPTS, CONCEPTS, allocate).await?;
        Ok(Searching { filled, right: AtomicU64::new(0) })
    }

    async fn operation(&self, state: &Searching<B>, call: Call) -> Result<(), Failure> {
        let sought = call.user % SOUGHT;
        let first = first_hit(&state.filled.memory, sought).await?;
        if first != name(sought) {
            let found = format!("searched for searchable_{sought}, the first hit was {first}");
            return Err(Failure::new("wrong first hit", found));
        }
        // Relaxed: the check comes after all operations have been joined.
        state.right.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn check(&self, state: &Searching<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let right = state.right.load(Ordering::Relaxed);
        checks.exactly("searches with the right first hit", right, tally.succeeded);
        check_first_hits(&state.filled.memory, "", checks).await?;
        let reopened = state.filled.reopen(&self.backend).await?;
        check_first_hits(&reopened, "reopened: ", checks).await
    }

    async fn tear_down(&self, state: Searching<B>) -> Result<(), Failure> {
        state.filled.close().await
    }
}

/// Whether a passage can't come before a concept.
fn is_no_rival(passage: &Passage) -> bool {
    !passage.text.to_lowercase().contains("searchable")
}

fn name(number: usize) -> String {
    format!("searchable_concept_{number}")
}

/// A concept in few words, without a number beside that of its name.
fn concept(number: usize) -> Allocate {
    let name = name(number);
    let text = format!("{name} is one of the concepts that a search has to tell apart");
    Allocate::new(text).kind("concept").slug(name).on_slug(OnSlug::Refuse)
}

/// The slug of the first hit for `searchable_<number>`.
async fn first_hit<M: Memory>(memory: &M, number: usize) -> Result<String, MemoryError> {
    let hits = memory.search(Search::new(format!("searchable_{number}"))).await?;
    let slug = hits.hits.first().and_then(|hit| hit.record.slug());
    Ok(slug.unwrap_or("none").to_owned())
}

async fn check_first_hits<M: Memory>(memory: &M, when: &str, checks: &mut Checks) -> Result<(), Failure> {
    let mut right = 0;
    for number in 0..SOUGHT {
        let first = first_hit(memory, number).await?;
        if first == name(number) {
            right += 1;
        } else {
            checks.note(format!("{when}first hit for searchable_{number}"), first);
        }
    }
    let last = SOUGHT - 1;
    checks.exactly(format!("{when}right first hits for searchable_0 to searchable_{last}"), right, SOUGHT);
    Ok(())
}
