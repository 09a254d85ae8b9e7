//! A filled store and questions whose answers are known: what every scenario of the suite asks, and what it checks.
//!
//! One search in three is for the made-up word of one passage, which must be the only hit. The others are
//! [questions](super::questions) in natural words, whose passage must be among the hits. They take longer; with as many of both the
//! median would fall between the two, where it means little. A wrong answer is a failed
//! operation, and one of them fails the scenario, whatever its objectives allow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_graph_memory::Lexical;
use steadfast_memory_api::{Hits, Id, Memory, MemoryError, Search};
use steadfast_stress::{Checks, Context, Failure, Rng, Tier};

use super::questions::{self, Question};
use crate::at_once::panic_again;
use crate::backend::Backend;
use crate::corpus::Extent;
use crate::filled::lookup::Lookup;
use crate::filled::writes::{Acknowledged, Writes, word};
use crate::filled::{Filled, Filling, MemoryOf};
use crate::process;

/// What the suite searches in at least.
const PASSAGES: u64 = 50_000;
/// By how much tier smoke divides that.
const SMOKE_DIVISOR: u64 = 5;
const QUESTIONS: usize = 512;
/// How long index builds may go on after everything is written.
const BUILDS_MAX: Duration = Duration::from_secs(60);

/// What one of the suite's stores needs beside passages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Passages that will be written once more.
    pub(super) concepts: usize,
    /// Memories have vectors.
    pub(super) embedder: Option<Lexical>,
}

/// A store full of passages, and what is asked of it.
pub(super) struct Asked<B: Backend> {
    pub(super) filled: Filled<B>,
    pub(super) questions: Vec<Question>,
    /// Which passage a memory holds, by its place in the corpus.
    passages: HashMap<Id, usize>,
    wrong: AtomicU64,
}

impl<B: Backend> Asked<B> {
    /// Fills a store, finds questions and their answers, and waits until the indexes are built.
    ///
    /// # Errors
    /// What filling a store can fail with; a corpus in which nothing has a clear answer.
    pub(super) async fn set_up(backend: &B, context: &Context, needs: Needs) -> Result<Self, Failure> {
        let passages = context.reduced("passages", PASSAGES, SMOKE_DIVISOR) as usize;
        let filling = Filling {
            extent: Extent::WithCode,
            passages_min: passages,
            passages_max: if context.tier() == Tier::Smoke { passages } else { usize::MAX },
            concepts: needs.concepts,
            embedder: needs.embedder,
            ..Filling::default()
        };
        let filled = Filled::set_up(backend, context, &filling).await?;
        let questions =
            find_questions(&filled.writes, context, |writes, rng| questions::short(writes, QUESTIONS, rng))
                .await?;
        let holds = |write: &Acknowledged| (write.answer.id, filled.writes.passage_of(write.number));
        let passages = filled.passages.iter().map(holds).collect();
        let asked = Self { filled, questions, passages, wrong: AtomicU64::new(0) };
        asked.settle(context, backend.rest_max(BUILDS_MAX)).await;
        Ok(asked)
    }

    async fn settle(&self, context: &Context, longest: Duration) {
        let began = Instant::now();
        let settled = process::rest(longest).await;
        let took = began.elapsed().as_millis();
        let note = if settled { format!("after {took} ms") } else { format!("not within {took} ms") };
        context.note("at rest", note);
    }

    /// One search, chosen by `rng`, with its answer checked.
    ///
    /// # Errors
    /// A search that is refused, fails, or gives a wrong answer.
    pub(super) async fn ask(&self, rng: &mut Rng) -> Result<(), Failure> {
        let memory = &self.filled.memory;
        if rng.below(3) == 0 {
            let number = rng.below(self.filled.passages.len() as u64) as usize;
            let hits = memory.search(Search::new(word(number))).await.map_err(refusal)?;
            self.judge_word(number, &hits)
        } else {
            let question = &self.questions[rng.below(self.questions.len() as u64) as usize];
            let hits = memory.search(question.search()).await.map_err(refusal)?;
            self.judge(question, &hits)
        }
    }

    /// Whether the only hit is the passage whose word was searched for.
    pub(super) fn judge_word(&self, number: usize, hits: &Hits) -> Result<(), Failure> {
        let Acknowledged { answer, .. } = self.filled.passages[number];
        match &*hits.hits {
            [hit] if hit.record.id == answer.id && hit.record.version == answer.version => Ok(()),
            others => Err(self.wrong(&format!("the word of passage {number}"), others.len())),
        }
    }

    /// Whether the passage that must be found is among the hits.
    pub(super) fn judge(&self, question: &Question, hits: &Hits) -> Result<(), Failure> {
        if self.holds(question, hits) {
            return Ok(());
        }
        let begin: String = question.text.chars().take(80).collect();
        Err(self.wrong(&format!("{begin:?}, words of passage {}", question.passage), hits.hits.len()))
    }

    /// Whether one of the hits holds the passage of the question.
    pub(super) fn holds(&self, question: &Question, hits: &Hits) -> bool {
        hits.hits.iter().any(|hit| self.passages.get(&hit.record.id) == Some(&question.passage))
    }

    /// Counts a wrong answer, and is the failure of the operation.
    pub(super) fn wrong(&self, sought: &str, hits: usize) -> Failure {
        // Relaxed: read when all operations have been joined.
        self.wrong.fetch_add(1, Ordering::Relaxed);
        Failure::new(
            "wrong answer",
            format!("searched for {sought}: it is not where it belongs among {hits} hits"),
        )
    }

    /// What holds after every load: no answer was wrong, and everything acknowledged is found, also after reopening; `written` are
    /// the writes of the load.
    ///
    /// # Errors
    /// A look-up that fails, a store that can't be reopened.
    pub(super) async fn check(
        &self,
        backend: &B,
        written: &[Acknowledged],
        checks: &mut Checks,
    ) -> Result<(), Failure> {
        self.check_on(&self.filled.memory, backend, written, checks).await
    }

    /// As [`check`](Self::check), by a handle that was opened since.
    ///
    /// # Errors
    /// A look-up that fails, a store that can't be reopened.
    pub(super) async fn check_on(
        &self,
        memory: &MemoryOf<B>,
        backend: &B,
        written: &[Acknowledged],
        checks: &mut Checks,
    ) -> Result<(), Failure> {
        checks.exactly("wrong answers", self.wrong.load(Ordering::Relaxed), 0);
        let Filled { writes, passages, .. } = &self.filled;
        let acknowledged = Arc::new([passages, written].concat());
        let lookup = |memory: &MemoryOf<B>| Lookup {
            memory: memory.clone(),
            writes: Arc::clone(writes),
            acknowledged: Arc::clone(&acknowledged),
        };
        lookup(memory).check("", checks).await?;
        let reopened = self.filled.reopen(backend).await?;
        lookup(&reopened).check("reopened: ", checks).await
    }
}

/// Finds questions on a thread for such work, and tells the report how many.
///
/// # Errors
/// Those of `find`.
pub(super) async fn find_questions(
    writes: &Arc<Writes>,
    context: &Context,
    find: impl FnOnce(&Writes, &mut Rng) -> Result<Vec<Question>, Failure> + Send + 'static,
) -> Result<Vec<Question>, Failure> {
    let (writes, mut rng) = (Arc::clone(writes), context.rng());
    let began = Instant::now();
    let finding = tokio::task::spawn_blocking(move || find(&writes, &mut rng));
    let questions = finding.await.unwrap_or_else(|error| panic_again(error))?;
    let bytes: usize = questions.iter().map(|question| question.text.len()).sum();
    let (count, took) = (questions.len(), began.elapsed().as_millis());
    let mean = bytes / count.max(1);
    context.note(
        "questions",
        format!("{count} of {mean} bytes on average, answers by brute force in {took} ms"),
    );
    Ok(questions)
}

/// A refusal under a kind of its own, with its advice.
pub(super) fn refusal(error: MemoryError) -> Failure {
    match error {
        MemoryError::Overloaded { .. } => Failure::new("overloaded", error),
        other => other.into(),
    }
}
