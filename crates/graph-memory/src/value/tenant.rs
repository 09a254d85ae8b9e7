//! The value of a tenant: its records, slugs and text index as of one sequence number.

use std::sync::Arc;

use steadfast_memory_api::{Id, Record, Seq, TenantStats};
use xxhash_rust::xxh3::Xxh3;

use crate::text::{Place, TextIndex};
use crate::value::{Radix, SlugTrie};

/// A memory in a value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) record: Arc<Record>,
    pub(crate) place: Place,
    /// Words of the text, as the index counts them.
    pub(crate) words: u32,
}

impl Entry {
    fn folded(&self) -> Option<&str> {
        self.record.content.folded_slug()
    }
}

/// A tenant's state after the command `seq`.
#[derive(Clone, Debug)]
pub(crate) struct TenantValue {
    pub(crate) seq: Seq,
    /// By id, counted from 1; none for a memory that was deleted.
    entries: Radix<Option<Entry>>,
    slugs: SlugTrie,
    slugs_live: u64,
    text: TextIndex,
    /// The hash of the remembered requests, which readers have no use for.
    pub(crate) requests_hash: u64,
}

impl TenantValue {
    pub(crate) fn new() -> Self {
        Self {
            seq: Seq::new(0),
            entries: Radix::default(),
            slugs: SlugTrie::default(),
            slugs_live: 0,
            text: TextIndex::default(),
            requests_hash: 0,
        }
    }

    pub(crate) fn text(&self) -> &TextIndex {
        &self.text
    }

    pub(crate) fn entry(&self, id: Id) -> Option<&Entry> {
        let index = usize::try_from(id.get().checked_sub(1)?).ok()?;
        self.entries.get(index)?.as_ref()
    }

    /// The memory whose slug folds to `folded`.
    pub(crate) fn by_slug(&self, folded: &str) -> Option<&Entry> {
        let mut entries = self.slugs.candidates(folded).filter_map(|id| self.entry(Id::new(id)));
        entries.find(|entry| entry.folded() == Some(folded))
    }

    /// All memories in the order of their ids.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(crate) fn stats(&self) -> TenantStats {
        let created = self.entries.len() as u64;
        TenantStats::new(self.text.documents(), created, self.slugs_live, self.text.words(), self.seq)
    }

    /// The id that the next memory gets.
    pub(crate) fn next_id(&self) -> Id {
        Id::new(self.entries.len() as u64 + 1)
    }

    /// Adds the memory `next_id`; `folded` is its slug as compared.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let id = entry.record.id;
        debug_assert_eq!(id, self.next_id());
        if let Some(folded) = entry.folded() {
            let entries = &self.entries;
            self.slugs
                .insert(folded, id.get(), |id| entries.get(id as usize - 1).is_some_and(Option::is_some));
            self.slugs_live += 1;
        }
        self.entries.push(Some(entry));
    }

    /// Puts a document into the text index.
    pub(crate) fn index_text(&mut self, id: Id, terms: &crate::text::tokens::DocumentTerms) -> Place {
        self.text.insert(id.get(), terms)
    }

    /// Takes a document out of the text index.
    pub(crate) fn unindex_text(&mut self, place: Place, words: u32) {
        self.text.remove(place, words);
    }

    /// Replaces a memory that is there by another version of it.
    pub(crate) fn replace(&mut self, entry: Entry) {
        self.entries.replace(entry.record.id.get() as usize - 1, Some(entry));
    }

    /// Removes a memory that is there.
    pub(crate) fn remove(&mut self, id: Id) {
        let Some(entry) = self.entry(id) else { return };
        let (place, words, has_slug) = (entry.place, entry.words, entry.record.slug().is_some());
        self.slugs_live -= u64::from(has_slug);
        self.text.remove(place, words);
        self.entries.replace(id.get() as usize - 1, None);
    }

    /// Feeds all that the log determines into `hasher`: not the indexes, which are derived.
    pub(crate) fn hash_into(&self, hasher: &mut Xxh3) {
        for number in [self.seq.get(), self.entries.len() as u64, self.slugs_live, self.requests_hash] {
            hasher.update(&number.to_le_bytes());
        }
        for entry in self.live() {
            hash_record(&entry.record, hasher);
        }
    }
}

fn hash_record(record: &Record, hasher: &mut Xxh3) {
    let content = record.content.as_bytes();
    for number in [
        record.id.get(),
        record.version.get(),
        record.created_ms,
        record.updated_ms,
        record.seq.get(),
        content.len() as u64,
    ] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(content);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use steadfast_memory_api::{Attributes, Content, ContentParts, Version};

    use super::*;
    use crate::text::tokens::document_terms;

    fn entry(value: &mut TenantValue, slug: &str) -> Entry {
        let (id, terms) = (value.next_id(), document_terms("text"));
        let place = value.index_text(id, &terms);
        let record = Record {
            id,
            version: Version::new(1),
            created_ms: 0,
            updated_ms: 0,
            seq: Seq::new(1),
            content: Content::pack(&ContentParts {
                text: "text",
                kind: "",
                slug: Some(slug),
                folded_slug: None,
                attributes: &Attributes::new(),
                importance: 0.5,
            }),
        };
        Entry { record: Arc::new(record), place, words: terms.length }
    }

    /// The trie keeps 28 bits of a hash: two slugs that share them must not be mixed up.
    #[test]
    fn slugs_that_collide_in_the_trie_are_told_apart() {
        let mut value = TenantValue::new();
        let mut seen = HashMap::new();
        let (a, b) = (0..)
            .find_map(|n| {
                let slug = format!("slug-{n}");
                seen.insert(value.slugs.hash_bits(&slug), slug.clone()).map(|other| (other, slug))
            })
            .expect("there are collisions of 28 bits");
        let first = entry(&mut value, &a);
        value.insert(first);
        assert!(value.by_slug(&b).is_none(), "{b} was never inserted, {a} was");
        let second = entry(&mut value, &b);
        value.insert(second);
        assert_eq!(value.by_slug(&a).map(|entry| entry.record.id), Some(Id::new(1)));
        assert_eq!(value.by_slug(&b).map(|entry| entry.record.id), Some(Id::new(2)));
    }

    #[test]
    fn the_slug_trie_grows_and_older_values_keep_theirs() {
        let mut value = TenantValue::new();
        let mut older = Vec::new();
        for n in 1..=500_u64 {
            let entry = entry(&mut value, &format!("slug-{n}"));
            value.insert(entry);
            if n % 3 == 0 {
                value.remove(Id::new(n - 1));
            }
            older.push(value.clone());
        }
        for (at, value) in (1_u64..).zip(&older) {
            for n in 1..=at + 1 {
                let gone = n > at || (n % 3 == 2 && n < at);
                let found = value.by_slug(&format!("slug-{n}")).map(|entry| entry.record.id.get());
                assert_eq!(found, (!gone).then_some(n), "after {at}");
            }
        }
    }
}
