//! `index.extreme_concurrency`: 1 000 users with ten searches each, a millisecond apart.
//!
//! The load is of searches by words. Memories have vectors as well, by the embedder that knows how words are written, and after the
//! load as many users search by words and vector together; their rate and latency are reported beside those of the load. What
//! such a search must find is sure only where one memory alone holds the word: it is the first by words, so at most one other
//! can be before it. Of the questions in natural words the share is reported whose passage was among the hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_graph_memory::{Embedder as _, Lexical};
use steadfast_memory_api::{Memory, Search};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Scenario, Tally, Value};

use super::asked::{Asked, Needs, refusal};
use crate::at_once::at_once;
use crate::backend::Backend;
use crate::filled::writes::word;

const USERS: usize = 1_000;
const SEARCHES_EACH: u64 = 10;
const THINK_TIME: Duration = Duration::from_millis(1);
/// Searches by words and vector, after the load.
const HYBRID: usize = 2_000;
const DIMENSIONS: usize = 128;

/// What the figures of an optimised build must be, beside the floors.
const RATE: &[&str] = if cfg!(debug_assertions) { &[] } else { &["rate >= 5000/s"] };

/// 1 000 users at once.
#[derive(Clone, Copy, Debug)]
pub struct ExtremeConcurrency<B> {
    backend: B,
}

impl<B: Backend> ExtremeConcurrency<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store and its questions.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Crowded<B: Backend> {
    asked: Arc<Asked<B>>,
    embedder: Lexical,
}

impl<B: Backend> Scenario for ExtremeConcurrency<B> {
    type State = Crowded<B>;

    fn name(&self) -> &'static str {
        "extreme_concurrency"
    }

    fn description(&self) -> &'static str {
        "1 000 users search at once; searches by words and vector are reported beside"
    }

    fn load(&self) -> Load {
        Load::users(USERS).each(SEARCHES_EACH).think_time(THINK_TIME)
    }

    fn objectives(&self) -> Vec<&str> {
        [&["success >= 99.9%", "timeouts <= 0%", "rate > 500/s"], RATE].concat()
    }

    async fn set_up(&self, context: &Context) -> Result<Crowded<B>, Failure> {
        let embedder = Lexical::new(DIMENSIONS)?;
        let needs = Needs { embedder: Some(embedder), ..Needs::default() };
        let asked = Arc::new(Asked::set_up(&self.backend, context, needs).await?);
        Ok(Crowded { asked, embedder })
    }

    async fn operation(&self, state: &Crowded<B>, call: Call) -> Result<(), Failure> {
        state.asked.ask(&mut call.rng()).await
    }

    async fn check(&self, state: &Crowded<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.value("concurrency_peak", tally.in_flight_peak);
        check_hybrid(&state.asked, state.embedder, checks).await?;
        state.asked.check(&self.backend, &[], checks).await
    }

    async fn tear_down(&self, state: Crowded<B>) -> Result<(), Failure> {
        state.asked.filled.close().await
    }
}

/// Half of the searches for the word and the vector of one passage, which must be a hit; half for natural words and their vector.
async fn check_hybrid<B: Backend>(
    asked: &Arc<Asked<B>>,
    embedder: Lexical,
    checks: &mut Checks,
) -> Result<(), Failure> {
    let found = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (shared, counted) = (Arc::clone(asked), Arc::clone(&found));
    let search = move |number: usize| {
        let (asked, found) = (Arc::clone(&shared), Arc::clone(&counted));
        async move {
            let began = Instant::now();
            let is_natural = number % 2 == 1;
            let is_found = if is_natural {
                let question = &asked.questions[number / 2 % asked.questions.len()];
                let search = question.search().vector(embedder.embed(&question.text));
                asked.holds(question, &asked.filled.memory.search(search).await.map_err(refusal)?)
            } else {
                // Passages far from each other, so that all parts of the index are asked.
                let write = asked.filled.passages[number * 7_919 % asked.filled.passages.len()];
                let text = asked.filled.writes.request(write.number).text;
                let search = Search::new(word(write.number)).vector(embedder.embed(&text));
                let hits = asked.filled.memory.search(search).await.map_err(refusal)?;
                hits.hits.iter().any(|hit| hit.record.id == write.answer.id)
            };
            // Relaxed: read when all have been joined.
            found[usize::from(is_natural)].fetch_add(u64::from(is_found), Ordering::Relaxed);
            Ok(began.elapsed())
        }
    };
    let began = Instant::now();
    let mut times = at_once(HYBRID, USERS, search).await?;
    let elapsed = began.elapsed();
    times.sort_unstable();
    let each = (HYBRID / 2) as u64;
    let [by_word, natural] = [&found[0], &found[1]].map(|count| count.load(Ordering::Relaxed));
    checks.exactly("by word and vector: passages found", by_word, each);
    let rate = HYBRID as f64 / elapsed.as_secs_f64().max(1e-9);
    let (p50, p95) = (times[HYBRID / 2], times[HYBRID * 95 / 100]);
    let share = natural as f64 / each as f64;
    checks.value("hybrid_rate", Value::PerSecond(rate));
    checks.value("hybrid_p50", p50);
    checks.value("hybrid_p95", p95);
    checks.value("hybrid_found", Value::Share(share));
    checks.note(
        "by words and vector",
        format!(
            "{rate:.0}/s, {USERS} at once, p50 {} ms, p95 {} ms; of the natural questions {:.1}% found",
            p50.as_millis(),
            p95.as_millis(),
            share * 100.0
        ),
    );
    Ok(())
}
