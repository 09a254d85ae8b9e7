//! Which documents of a segment are dead, and which terms died with them.
//!
//! Both are persistent: a clone shares them, and a death copies little whatever the size of the
//! segment.

use std::sync::Arc;

use crate::document::term_key;

const PAGE_WORDS: usize = 64;
const PAGE_BITS: usize = PAGE_WORDS * 64;

type Page = [u64; PAGE_WORDS];

/// A set of documents as a bitmap in pages of 4096 bits. A page that clones share is copied before
/// it changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeadSet {
    /// None where nothing is dead. Grows to the last page that has a dead document.
    pages: Arc<Vec<Option<Arc<Page>>>>,
    count: u32,
}

impl DeadSet {
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn contains(&self, doc: u32) -> bool {
        self.word(doc as usize / 64) >> (doc % 64) & 1 == 1
    }

    /// Returns the bits of 64 documents, beginning with document `64 * word`.
    pub(crate) fn word(&self, word: usize) -> u64 {
        match self.pages.get(word / PAGE_WORDS) {
            Some(Some(page)) => page[word % PAGE_WORDS],
            _ => 0,
        }
    }

    /// Adds a document; false if it was there.
    pub(crate) fn insert(&mut self, doc: u32) -> bool {
        if self.contains(doc) {
            return false;
        }
        let doc = doc as usize;
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= doc / PAGE_BITS {
            pages.resize(doc / PAGE_BITS + 1, None);
        }
        let page = pages[doc / PAGE_BITS].get_or_insert_with(|| Arc::new([0; PAGE_WORDS]));
        Arc::make_mut(page)[doc % PAGE_BITS / 64] |= 1 << (doc % 64);
        self.count += 1;
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().flatten().count() * size_of::<Page>()
            + self.pages.capacity() * size_of::<Option<Arc<Page>>>()
    }
}

/// How many dead documents held each term: what to take off a segment's own count.
///
/// Sorted runs, each at least twice as long as the next, so a death is merged into a longer run a
/// logarithmic number of times and a look-up is a logarithmic number of binary searches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deaths {
    runs: Vec<Arc<Run>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    /// Distinct, ascending.
    keys: Vec<u64>,
    counts: Vec<u32>,
}

impl Deaths {
    /// A document with these terms (words of key and count, ascending) died.
    pub(crate) fn add(&mut self, words: &[u64]) {
        if words.is_empty() {
            return;
        }
        let keys = words.iter().map(|&word| term_key(word)).collect();
        self.push(Arc::new(Run { keys, counts: vec![1; words.len()] }));
    }

    /// All deaths of `other` as well.
    pub(crate) fn append(&mut self, other: Self) {
        other.runs.into_iter().for_each(|run| self.push(run));
    }

    /// Returns how many dead documents held `key`.
    pub(crate) fn of(&self, key: u64) -> u32 {
        self.runs.iter().filter_map(|run| run.keys.binary_search(&key).ok().map(|at| run.counts[at])).sum()
    }

    /// Returns every term that a dead document held, in no order; one may occur more than once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|run| run.keys.iter().copied())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.keys.len() * (size_of::<u64>() + size_of::<u32>())).sum()
    }

    fn push(&mut self, mut run: Arc<Run>) {
        while let Some(last) = self.runs.last()
            && last.keys.len() < 2 * run.keys.len()
        {
            run = Arc::new(Run::merged(last, &run));
            self.runs.pop();
        }
        self.runs.push(run);
    }
}

impl Run {
    fn merged(left: &Self, right: &Self) -> Self {
        let longest = left.keys.len() + right.keys.len();
        let mut merged = Self { keys: Vec::with_capacity(longest), counts: Vec::with_capacity(longest) };
        let (mut from_left, mut from_right) = (0, 0);
        while let Some(&key) = match (left.keys.get(from_left), right.keys.get(from_right)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        } {
            let mut count = 0;
            for (run, from) in [(left, &mut from_left), (right, &mut from_right)] {
                if run.keys.get(*from) == Some(&key) {
                    count += run.counts[*from];
                    *from += 1;
                }
            }
            merged.keys.push(key);
            merged.counts.push(count);
        }
        merged.keys.shrink_to_fit();
        merged.counts.shrink_to_fit();
        merged
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
            #[test]
            fn a_dead_set_is_a_set_and_so_are_its_clones(docs in prop::collection::vec(0_u32..20_000, 0..200)) {
                let (mut set, mut model) = (DeadSet::default(), BTreeSet::new());
                let mut clones = Vec::new();
                for doc in docs {
                    prop_assert_eq!(set.insert(doc), model.insert(doc));
                    clones.push((set.clone(), model.clone()));
                }
                for (set, model) in clones {
                    prop_assert_eq!(set.count() as usize, model.len());
                    let found: Vec<u32> = (0..20_000).filter(|&doc| set.contains(doc)).collect();
                    prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
                }
            }

            #[test]
            fn deaths_are_counted_term_by_term(documents in prop::collection::vec(prop::collection::btree_set(0_u64..50, 0..20), 0..100)) {
                let (mut deaths, mut model) = (Deaths::default(), BTreeMap::<u64, u32>::new());
                for keys in &documents {
                    deaths.add(&keys.iter().map(|key| key << 8 | 3).collect::<Vec<_>>());
                    for &key in keys {
    *model.entry(key).or_default() += 1;
    }
                }
                for key in 0..50 {
                    prop_assert_eq!(deaths.of(key), model.get(&key).copied().unwrap_or(0));
                }
                prop_assert!(deaths.runs.windows(2).all(|pair| pair[0].keys.len() >= 2 * pair[1].keys.len()));
            }
        }
}
