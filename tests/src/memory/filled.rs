//! A store full of real text: what both scenarios begin with.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_memory_api::Memory;
use steadfast_stress::{Context, Failure};

use super::writes::{Acknowledged, Writes};
use crate::at_once::{at_once, panic_again};
use crate::backend::{Backend, Store};
use crate::corpus::{Corpus, CorpusError, Passage, megabytes};

/// How many passages are written at once: enough to fill batches, far below what fills the queue.
const LOADERS: usize = 256;

/// A handle to the tenant of a backend's store.
pub(crate) type MemoryOf<B> = <<B as Backend>::Store as Store>::Memory;

/// An open store that holds the corpus.
pub(crate) struct Filled<B: Backend> {
    pub(crate) memory: MemoryOf<B>,
    pub(crate) writes: Arc<Writes>,
    /// Every passage, in the order of their numbers.
    pub(crate) passages: Vec<Acknowledged>,
    directory: PathBuf,
    /// Only a check takes it out, to close it and put it back reopened.
    store: Mutex<Option<B::Store>>,
}

impl<B: Backend> Filled<B> {
    /// Reads the corpus, opens a new store, and writes all passages that are `wanted` into it. Tells the report how many, and
    /// how long it took. `concepts` of the passages will be written by the scenario.
    ///
    /// # Errors
    /// A corpus that can't be read or is too small, a store that can't be opened, a passage that isn't acknowledged.
    pub(crate) async fn set_up(
        backend: &B,
        context: &Context,
        wanted: fn(&Passage) -> bool,
        concepts: usize,
    ) -> Result<Self, Failure> {
        let corpus = read_corpus(context, wanted).await?;
        let writes = Arc::new(Writes::new(corpus, concepts, &mut context.rng())?);
        let directory = context.scratch().join("store");
        std::fs::create_dir_all(&directory)?;
        let store = backend.open(&directory).await?;
        let memory = store.memory().clone();
        let began = Instant::now();
        let passages = write_passages(&memory, &writes).await?;
        context.note("loaded", describe(&writes, began.elapsed()));
        Ok(Self { memory, writes, passages, directory, store: Mutex::new(Some(store)) })
    }

    /// Closes the store, opens it again, and returns the new handle; the old one is of no more use.
    ///
    /// # Errors
    /// A store that can't be closed or opened.
    pub(crate) async fn reopen(&self, backend: &B) -> Result<MemoryOf<B>, Failure> {
        self.close().await?;
        let store = backend.open(&self.directory).await?;
        let memory = store.memory().clone();
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(memory)
    }

    /// Closes the store, if it is open.
    ///
    /// # Errors
    /// A store that can't be closed.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        // The lock is let go before anything is waited for.
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        match store {
            Some(store) => store.close().await,
            None => Ok(()),
        }
    }
}

async fn read_corpus(context: &Context, wanted: fn(&Passage) -> bool) -> Result<Corpus, Failure> {
    let path = context.corpus().map(ToOwned::to_owned);
    let began = Instant::now();
    let reading = tokio::task::spawn_blocking(move || Corpus::load(path.as_deref()));
    let corpus = reading.await.unwrap_or_else(|error| panic_again(error));
    let mut corpus = corpus.map_err(|error| no_corpus(error, context))?;
    context.note("corpus", format!("{corpus}, read in {} ms", began.elapsed().as_millis()));
    let before = corpus.passages.len();
    corpus.passages.retain(wanted);
    let left_out = before - corpus.passages.len();
    if left_out > 0 {
        context.note(
            "corpus, left out",
            format!("{left_out} passages that hold a word the scenario searches for"),
        );
    }
    Ok(corpus)
}

/// Tells what else there is where the default failed.
fn no_corpus(error: CorpusError, context: &Context) -> Failure {
    let failure = Failure::from(error);
    let advice = if context.corpus().is_none() { "; or name text of your own with --corpus" } else { "" };
    Failure::new("corpus", format!("{}{advice}", failure.message()))
}

async fn write_passages<M: Memory + Clone + 'static>(
    memory: &M,
    writes: &Arc<Writes>,
) -> Result<Vec<Acknowledged>, Failure> {
    // The first memory brings the tenant into being. Alone: each of several that come first would try, and take a
    // sequence number, of which the check wants to see none missing.
    let first = memory.allocate(writes.request(0)).await?;
    let mut passages = vec![Acknowledged::new(0, first)?];
    let (memory, shared) = (memory.clone(), Arc::clone(writes));
    let write = move |number: usize| {
        let (memory, writes) = (memory.clone(), Arc::clone(&shared));
        async move {
            let answer = memory.allocate(writes.request(number + 1)).await?;
            Acknowledged::new(number + 1, answer)
        }
    };
    passages.append(&mut at_once(writes.passages() - 1, LOADERS, write).await?);
    Ok(passages)
}

fn describe(writes: &Writes, took: Duration) -> String {
    let passages = writes.passages();
    let copies = match writes.copies() {
        1 => String::new(),
        copies => format!(", the corpus {copies} times under different slugs"),
    };
    format!(
        "{passages} passages, {}{copies}, in {} ms ({:.0}/s, {LOADERS} at once), each acknowledged as durable",
        megabytes(writes.passage_bytes()),
        took.as_millis(),
        passages as f64 / took.as_secs_f64().max(1e-9),
    )
}
