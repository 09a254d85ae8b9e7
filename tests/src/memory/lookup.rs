//! Whether what was acknowledged is there: every write, by its id, by its slug, and by search.

use std::collections::HashSet;
use std::sync::Arc;

use steadfast_memory_api::{Hits, Id, Memory, MemoryError, Record, Search};
use steadfast_stress::{Checks, Failure};

use super::writes::{Acknowledged, Writes, word};
use crate::at_once::at_once;

/// How many lookups are under way at a time.
const READERS: usize = 64;
/// Passages are searched for by the words of so many at once: a search takes about as long for one word as for hundreds.
const WORDS_A_SEARCH: usize = 500;
/// So many that are missing are named.
const NAMED_MAX: usize = 3;

/// What is looked for, and where. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lookup<M> {
    pub(crate) memory: M,
    pub(crate) writes: Arc<Writes>,
    /// What must be found.
    pub(crate) acknowledged: Arc<Vec<Acknowledged>>,
}

/// A search, and whom it must find.
#[derive(Debug)]
struct Wanted {
    /// Places in the list of what was acknowledged.
    places: Vec<usize>,
    /// Whether only the first hit counts, and those of the same score.
    as_first: bool,
}

impl<M: Memory + Clone + 'static> Lookup<M> {
    /// Looks every write up and reports how many were found. `when` is put before the names of the invariants.
    ///
    /// A concept must be the first hit of a search for its own word; a passage must be among the hits of a search for
    /// its word and those of others.
    ///
    /// # Errors
    /// A read that fails for another reason than that the memory isn't there.
    pub(crate) async fn check(&self, when: &str, checks: &mut Checks) -> Result<(), Failure> {
        let count = self.acknowledged.len();
        let this = self.clone();
        let by_id = move |place| this.clone().found_by_id(place);
        let by_id = at_once(count, READERS, by_id).await?;
        self.report(&format!("{when}found by id, unchanged"), &missing(&by_id), checks);

        let this = self.clone();
        let by_slug = move |place| this.clone().found_by_slug(place);
        let by_slug = at_once(count, READERS, by_slug).await?;
        self.report(&format!("{when}found by slug, unchanged"), &missing(&by_slug), checks);

        let (this, searches) = (self.clone(), Arc::new(self.searches()));
        let searches_count = searches.len();
        let by_search = move |at| this.clone().missing_in_search(Arc::clone(&searches), at);
        let missing = at_once(searches_count, READERS, by_search).await?.concat();
        self.report(&format!("{when}found by search"), &missing, checks);
        Ok(())
    }

    async fn found_by_id(self, place: usize) -> Result<bool, Failure> {
        let write = self.acknowledged[place];
        self.is_unchanged(write, self.memory.get(write.answer.id).await)
    }

    async fn found_by_slug(self, place: usize) -> Result<bool, Failure> {
        let write = self.acknowledged[place];
        let slug = self.slug(write);
        self.is_unchanged(write, self.memory.get_by_slug(&slug).await)
    }

    /// That a memory isn't there is what a lookup is to find out; any other error is a failure to look.
    fn is_unchanged(
        &self,
        write: Acknowledged,
        read: Result<Arc<Record>, MemoryError>,
    ) -> Result<bool, Failure> {
        match read {
            Ok(record) => Ok(write.is(&record, &self.writes.request(write.number))),
            Err(MemoryError::UnknownId { .. } | MemoryError::UnknownSlug { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Each concept alone, and the passages in groups.
    fn searches(&self) -> Vec<Wanted> {
        let is_concept = |place: &usize| self.writes.is_concept(self.acknowledged[*place].number);
        let (concepts, passages): (Vec<usize>, Vec<usize>) =
            (0..self.acknowledged.len()).partition(is_concept);
        let alone = concepts.into_iter().map(|place| Wanted { places: vec![place], as_first: true });
        let groups = passages.chunks(WORDS_A_SEARCH);
        alone.chain(groups.map(|places| Wanted { places: places.to_vec(), as_first: false })).collect()
    }

    async fn missing_in_search(self, searches: Arc<Vec<Wanted>>, at: usize) -> Result<Vec<usize>, Failure> {
        let Wanted { places, as_first } = &searches[at];
        let words: Vec<String> = places.iter().map(|place| word(self.acknowledged[*place].number)).collect();
        // Some more hits than are wanted: others that are found must not crowd these out.
        let request = Search::new(words.join(" ")).k(places.len() + 10);
        let hits = self.memory.search(request).await?;
        let ids = ids(&hits, *as_first);
        let is_missing = |place: &&usize| !ids.contains(&self.acknowledged[**place].answer.id);
        Ok(places.iter().filter(is_missing).copied().collect())
    }

    fn report(&self, name: &str, missing: &[usize], checks: &mut Checks) {
        let all = self.acknowledged.len();
        checks.exactly(name, all - missing.len(), all);
        if !missing.is_empty() {
            let mut named: Vec<String> =
                missing.iter().take(NAMED_MAX).map(|place| self.named(*place)).collect();
            if missing.len() > NAMED_MAX {
                named.push("…".to_owned());
            }
            checks.note(format!("not {name}"), named.join(", "));
        }
    }

    fn named(&self, place: usize) -> String {
        let write = self.acknowledged[place];
        format!("{} (id {}, seq {})", self.slug(write), write.answer.id, write.answer.seq)
    }

    fn slug(&self, write: Acknowledged) -> String {
        self.writes.request(write.number).slug.unwrap_or_default()
    }
}

fn missing(found: &[bool]) -> Vec<usize> {
    (0..found.len()).filter(|place| !found[*place]).collect()
}

/// Of all hits, or of those that no other is better than.
fn ids(hits: &Hits, as_first: bool) -> HashSet<Id> {
    let best = hits.hits.first().map(|hit| hit.score);
    let counts = |score: f32| !as_first || Some(score) == best;
    hits.hits.iter().filter(|hit| counts(hit.score)).map(|hit| hit.record.id).collect()
}
