//! A store full of real text: what the scenarios begin with.

pub(crate) mod lookup;
pub(crate) mod writes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_graph_memory::Lexical;
use steadfast_memory_api::{Limits, Memory};
use steadfast_stress::{Context, Failure};

use crate::at_once::{at_once, panic_again};
use crate::backend::{Backend, Store};
use crate::corpus::{Corpus, CorpusError, Extent, Passage, megabytes};

use self::writes::{Acknowledged, Writes};

/// How many passages are written at once: enough to fill batches, far below what fills the queue.
const LOADERS: usize = 256;

/// A handle to the tenant of a backend's store.
pub(crate) type MemoryOf<B> = <<B as Backend>::Store as Store>::Memory;

/// What a store is filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    /// What the corpus is made of.
    pub(crate) extent: Extent,
    /// Which passages of it are taken.
    pub(crate) wanted: fn(&Passage) -> bool,
    /// At least so many passages are written; a smaller corpus several times.
    pub(crate) passages_min: usize,
    /// At most so many are taken of a larger corpus, evenly from all of it.
    pub(crate) passages_max: usize,
    /// So many different passages will be written once more, as concepts, by the scenario.
    pub(crate) concepts: usize,
    /// Gives each memory a vector.
    pub(crate) embedder: Option<Lexical>,
}

impl Default for Filling {
    /// The whole documentation, at least 10 000 passages, so that a store which loses one write in so many can't pass.
    fn default() -> Self {
        Self {
            extent: Extent::Documentation,
            wanted: |_| true,
            passages_min: 10_000,
            passages_max: usize::MAX,
            concepts: 0,
            embedder: None,
        }
    }
}

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
    /// Reads the corpus, opens a new store, and writes the passages into it. Tells the report how many, and how long it took.
    ///
    /// # Errors
    /// A corpus that can't be read or is too small, a store that can't be opened, a passage that isn't acknowledged.
    pub(crate) async fn set_up(backend: &B, context: &Context, filling: &Filling) -> Result<Self, Failure> {
        let corpus = read_corpus(context, filling).await?;
        let writes = Arc::new(Writes::new(corpus, filling, &mut context.rng())?);
        let directory = context.scratch().join("store");
        std::fs::create_dir_all(&directory)?;
        let store = backend.open(&directory, Limits::default()).await?;
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
        self.reopen_with(backend, Limits::default()).await
    }

    /// As [`reopen`](Self::reopen), under other limits.
    ///
    /// # Errors
    /// A store that can't be closed or opened.
    pub(crate) async fn reopen_with(&self, backend: &B, limits: Limits) -> Result<MemoryOf<B>, Failure> {
        self.close().await?;
        let store = backend.open(&self.directory, limits).await?;
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

async fn read_corpus(context: &Context, filling: &Filling) -> Result<Corpus, Failure> {
    let &Filling { extent, wanted, passages_max, .. } = filling;
    let path = context.corpus().map(ToOwned::to_owned);
    let began = Instant::now();
    let reading = tokio::task::spawn_blocking(move || load(path.as_deref(), extent));
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
    thin_out(&mut corpus.passages, passages_max);
    Ok(corpus)
}

/// The corpus; what is made of the dependencies is read once for scenarios that follow each other.
fn load(path: Option<&Path>, extent: Extent) -> Result<Corpus, CorpusError> {
    static READ: Mutex<Option<(Extent, Corpus)>> = Mutex::new(None);
    if path.is_some() {
        return Corpus::load_to(path, extent);
    }
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, corpus)) = &*read
        && *of == extent
    {
        return Ok(corpus.clone());
    }
    let corpus = Corpus::load_to(None, extent)?;
    *read = Some((extent, corpus.clone()));
    Ok(corpus)
}

/// Keeps at most so many, evenly from all of them.
fn thin_out(passages: &mut Vec<Passage>, most: usize) {
    let there = passages.len();
    if there <= most {
        return;
    }
    let mut place = 0;
    passages.retain(|_| {
        place += 1;
        place * most / there != (place - 1) * most / there
    });
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
    let first = memory.allocate(writes.request_with_vector(0)).await?;
    let mut passages = vec![Acknowledged::new(0, first)?];
    let (memory, shared) = (memory.clone(), Arc::clone(writes));
    let write = move |number: usize| {
        let (memory, writes) = (memory.clone(), Arc::clone(&shared));
        async move {
            let answer = memory.allocate(writes.request_with_vector(number + 1)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_corpus_is_thinned_out_evenly() {
        let passage = |ordinal| Passage { package: None, file: "file".into(), ordinal, text: "text".into() };
        for (there, most) in [(10, 10), (10, 20), (10, 3), (10_000, 9_999), (7, 1)] {
            let mut passages: Vec<Passage> = (0..there).map(passage).collect();
            thin_out(&mut passages, most as usize);
            assert_eq!(passages.len(), there.min(most) as usize);
            let steps = passages.windows(2).map(|pair| pair[1].ordinal - pair[0].ordinal);
            assert!(steps.max().unwrap_or(1) <= there.div_ceil(most));
        }
    }
}
