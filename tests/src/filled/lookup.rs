//! Whether what was acknowledged is there: every write, by its id, by its slug, and by search.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use steadfast_memory_api::{Id, Memory, MemoryError, Record, Search};
use steadfast_stress::{Checks, Failure};

use super::writes::{Acknowledged, Writes, word};
use crate::at_once::at_once;

/// How many lookups are under way at a time.
const READERS: usize = 64;
/// A search is for the words of so many at once: it takes about as long for one word as for hundreds.
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

impl<M: Memory + Clone + 'static> Lookup<M> {
    /// Looks every write up and reports how many were found. `when` is put before the names of the invariants.
    ///
    /// Searches are for the words of many; the memories that hold them must be the best hits.
    ///
    /// # Errors
    /// A read that fails for another reason than that the memory isn't there.
    pub(crate) async fn check(&self, when: &str, checks: &mut Checks) -> Result<(), Failure> {
        let count = self.acknowledged.len();
        let this = self.clone();
        let by_id = move |place| this.clone().found_by_id(place);
        let by_id = at_once(count, READERS, by_id).await?;
        self.report(&format!("{when}found by id, unchanged"), &by_id, checks);

        let this = self.clone();
        let by_slug = move |place| this.clone().found_by_slug(place);
        let by_slug = at_once(count, READERS, by_slug).await?;
        self.report(&format!("{when}found by slug, unchanged"), &by_slug, checks);

        let by_search = self.found_by_search(WORDS_A_SEARCH).await?;
        self.report(&format!("{when}found by search, unchanged"), &by_search, checks);
        Ok(())
    }

    /// Searches for each write alone, by its own word, and reports how many were the first hit.
    ///
    /// # Errors
    /// A search that fails.
    pub(crate) async fn check_first_hits(&self, what: &str, checks: &mut Checks) -> Result<(), Failure> {
        let first = self.found_by_search(1).await?;
        self.report(&format!("{what} that are the first hit for a word of their own"), &first, checks);
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

    /// Whether each is among the best hits of a search for its word and those of its neighbours, `group` together.
    async fn found_by_search(&self, group: usize) -> Result<Vec<bool>, Failure> {
        let count = self.acknowledged.len();
        let this = self.clone();
        let search = move |number: usize| {
            let places = number * group..count.min((number + 1) * group);
            this.clone().found_together(places)
        };
        Ok(at_once(count.div_ceil(group), READERS, search).await?.concat())
    }

    async fn found_together(self, places: Range<usize>) -> Result<Vec<bool>, Failure> {
        let group = &self.acknowledged[places];
        let words: Vec<String> = group.iter().map(|write| word(write.number)).collect();
        let hits = self.memory.search(Search::new(words.join(" ")).k(group.len())).await?.hits;
        let records: HashMap<Id, &Record> = hits.iter().map(|hit| (hit.record.id, &*hit.record)).collect();
        let is_found = |write: &Acknowledged| {
            let record = records.get(&write.answer.id);
            record.is_some_and(|record| write.is(record, &self.writes.request(write.number)))
        };
        Ok(group.iter().map(is_found).collect())
    }

    /// `found` tells for each write whether it was.
    fn report(&self, name: &str, found: &[bool], checks: &mut Checks) {
        let missing: Vec<usize> = (0..found.len()).filter(|place| !found[*place]).collect();
        checks.exactly(name, found.len() - missing.len(), self.acknowledged.len());
        if missing.is_empty() {
            return;
        }
        let mut named: Vec<String> = missing.iter().take(NAMED_MAX).map(|place| self.named(*place)).collect();
        if missing.len() > NAMED_MAX {
            named.push("…".to_owned());
        }
        checks.note(format!("not {name}"), named.join(", "));
    }

    fn named(&self, place: usize) -> String {
        let write = self.acknowledged[place];
        format!("{} (id {}, seq {})", self.slug(write), write.answer.id, write.answer.seq)
    }

    fn slug(&self, write: Acknowledged) -> String {
        self.writes.request(write.number).slug.unwrap_or_default()
    }
}
