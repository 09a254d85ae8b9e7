//! The value of a tenant: its records, slugs and indexes as of one sequence number.

use std::ops::RangeInclusive;
use std::sync::Arc;

use steadfast_memory_api::{Content, Id, Record, Seq, TenantStats, Version};
use steadfast_text_index::{Analyzer, Backlog, Document, Language, RowId, TextIndex};
use steadfast_vector_index::{
    Backlog as VectorBacklog, Config as VectorConfig, DIMENSIONS_MAX, Metric, Report as VectorReport,
    RowId as VectorRowId, VectorIndex,
};
use xxhash_rust::xxh3::Xxh3;

use crate::filter::tags_of;
use crate::refusal::Refusal;
use crate::value::{NewVector, Radix, SlugTrie, metric_number, prepare_vector};
use crate::verified::{Defect, Verified};

/// A memory in a value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) record: Arc<Record>,
    /// Its row in the text index.
    pub(crate) text_row: RowId,
    /// The row of its vector in the vector index, if it has one.
    pub(crate) vector_row: Option<VectorRowId>,
}

/// What the text index keeps of a text, if it was made already, with the analyzer that made it. The
/// caller's thread makes it, by the analyzer that the tenant has or is expected to get; with a
/// command from the log there is none. Where it is missing or another one's, applying the command
/// makes it.
pub(crate) type PreparedText = Option<(Analyzer, Document)>;

/// What the text index keeps of a memory.
pub(crate) fn index_document(content: &Content, analyzer: Analyzer) -> Document {
    analyzer.document_terms(content.text()).with_tags(tags_of(content))
}

/// The largest backlog of sealing before commits wait for it: full chunks of the tail, which each
/// query scans.
const BACKLOG_MAX: Backlog = Backlog { rows: 16 << 10, bytes: 8 << 20 };

/// The same for vectors; a scan of so many takes about as long as that of the text.
const VECTOR_BACKLOG_ROWS_MAX: usize = 16 << 10;

/// Work on an index for another thread.
pub(crate) enum IndexBuild {
    Text(steadfast_text_index::Build),
    Vectors(steadfast_vector_index::Build),
}

/// What came of an [`IndexBuild`].
pub(crate) enum IndexBuilt {
    Text(steadfast_text_index::Built),
    Vectors(steadfast_vector_index::Built),
}

impl IndexBuild {
    /// Whether it may take long.
    pub(crate) fn is_merge(&self) -> bool {
        match self {
            Self::Text(build) => build.is_merge(),
            Self::Vectors(build) => build.is_merge(),
        }
    }

    pub(crate) fn run(self) -> IndexBuilt {
        match self {
            Self::Text(build) => IndexBuilt::Text(build.run()),
            Self::Vectors(build) => IndexBuilt::Vectors(build.run()),
        }
    }
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
    /// How the text of its memories, and of its queries, becomes terms. Settled when the tenant
    /// came into being.
    pub(crate) analyzer: Analyzer,
    /// By id, counted from 1; none for a memory that was deleted.
    entries: Radix<Option<Entry>>,
    slugs: SlugTrie,
    slugs_live: u64,
    text: TextIndex,
    /// There from the first vector on.
    vectors: Option<VectorIndex>,
    /// The hash of the remembered requests, which readers have no use for.
    pub(crate) requests_hash: u64,
}

impl TenantValue {
    pub(crate) fn new(analyzer: Analyzer) -> Self {
        Self {
            seq: Seq::new(0),
            analyzer,
            entries: Radix::default(),
            slugs: SlugTrie::default(),
            slugs_live: 0,
            text: TextIndex::default(),
            vectors: None,
            requests_hash: 0,
        }
    }

    pub(crate) fn text(&self) -> &TextIndex {
        &self.text
    }

    pub(crate) fn vectors(&self) -> Option<&VectorIndex> {
        self.vectors.as_ref()
    }

    /// Puts a vector into the index, which the first one makes.
    ///
    /// # Errors
    /// Why it can't be: told by its dimensions and by whether all of its components are 0, and so
    /// everywhere the same.
    pub(crate) fn index_vector(&mut self, id: Id, vector: NewVector<'_>) -> Result<VectorRowId, Refusal> {
        self.check_vector(vector)?;
        if self.vectors.is_none() {
            let config = VectorConfig::new(vector.values.len(), vector.metric);
            self.vectors = VectorIndex::new(config).ok();
        }
        let index = self.vectors.as_mut().ok_or_else(|| wrong_dimensions(DIMENSIONS_MAX, vector))?;
        let metric = index.config().metric();
        // Prepared by another metric, if the configuration was changed between two openings.
        let again = if metric == vector.metric { None } else { prepare_vector(vector.values, metric) };
        let prepared = again.as_ref().or(vector.prepared).ok_or(Refusal::ZeroVector)?;
        index.insert(id.get(), prepared).map_err(|_| Refusal::ZeroVector)
    }

    /// Whether a vector can be put into the index.
    pub(crate) fn check_vector(&self, vector: NewVector<'_>) -> Result<(), Refusal> {
        let (expected, metric) = match &self.vectors {
            Some(index) => (index.config().dimensions(), index.config().metric()),
            None => (vector.values.len().clamp(1, DIMENSIONS_MAX), vector.metric),
        };
        if vector.values.len() != expected {
            return Err(wrong_dimensions(expected, vector));
        }
        if metric == Metric::Cosine && vector.values.iter().all(|component| *component == 0.0) {
            return Err(Refusal::ZeroVector);
        }
        Ok(())
    }

    /// Takes a vector out of the index.
    pub(crate) fn unindex_vector(&mut self, row: Option<VectorRowId>) {
        if let (Some(row), Some(index)) = (row, &mut self.vectors) {
            let removed = index.remove(row);
            debug_assert!(removed, "a vector that is there is in the index");
        }
    }

    pub(crate) fn entry(&self, id: Id) -> Option<&Entry> {
        let index = usize::try_from(id.get().checked_sub(1)?).ok()?;
        self.entries.get(index)?.as_ref()
    }

    /// The memory `id`, if it has the expected version.
    pub(crate) fn expect(&self, id: Id, if_version: Option<Version>) -> Result<&Entry, Refusal> {
        let entry = self.entry(id).ok_or(Refusal::UnknownId { id })?;
        let found = entry.record.version;
        match if_version {
            Some(expected) if expected != found => Err(Refusal::VersionConflict { id, expected, found }),
            _ => Ok(entry),
        }
    }

    /// Ids of which each memory that was created in this time has one, and no other memory has; ids
    /// of memories that were deleted may be among them.
    pub(crate) fn ids_created_within(&self, created_ms: &RangeInclusive<u64>) -> RangeInclusive<u64> {
        let first = self.first_created(|created| created >= *created_ms.start());
        let behind = self.first_created(|created| created > *created_ms.end());
        first as u64 + 1..=behind as u64
    }

    /// How many ids come before the first memory that was created late enough. Ids are given in the
    /// order of the log, whose clock never goes back, so all behind it were as well.
    fn first_created(&self, is_late: impl Fn(u64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            // A deleted memory has no time; the next memory that exists has one.
            let next = (middle..high).find_map(|at| Some((at, self.entries.get(at)?.as_ref()?)));
            match next {
                Some((at, entry)) if !is_late(entry.record.created_ms) => low = at + 1,
                _ => high = middle,
            }
        }
        low
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
        let mut stats =
            TenantStats::new(self.len() as u64, created, self.slugs_live, self.text.total_tokens(), self.seq);
        stats.vectors = self.vectors.as_ref().map_or(0, |index| index.len() as u64);
        stats
    }

    /// Walks over the indexes and holds them against the records.
    pub(crate) fn verify(&self) -> Result<Verified, Defect> {
        let text = self.text.verify().map_err(|defect| Defect::in_index("text", &defect))?;
        let records = self.live().count();
        if records != text.live {
            let detail = format!("{} documents for {records} memories", text.live);
            return Err(Defect { index: "text", detail });
        }
        let vectors = match &self.vectors {
            Some(index) => index.verify().map_err(|defect| Defect::in_index("vector", &defect))?,
            None => VectorReport::default(),
        };
        let with_vector = self.live().filter(|entry| entry.vector_row.is_some()).count();
        if with_vector != vectors.live {
            let detail = format!("{} vectors for {with_vector} memories that have one", vectors.live);
            return Err(Defect { index: "vector", detail });
        }
        Ok(Verified {
            memories: records as u64,
            text_segments: text.segments,
            vectors: vectors.live as u64,
            vector_segments: vectors.segments,
            vector_graphs: vectors.graphs,
        })
    }

    /// How many memories there are.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The id that the next memory gets.
    pub(crate) fn next_id(&self) -> Id {
        Id::new(self.entries.len() as u64 + 1)
    }

    /// Adds the memory `next_id`.
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
    pub(crate) fn index_text(&mut self, id: Id, document: &Document) -> RowId {
        self.text.insert(id.get(), document)
    }

    /// Takes a memory out of the text index.
    pub(crate) fn unindex_text(&mut self, row: RowId, content: &Content) {
        let analyzer = self.analyzer;
        let removed = self.text.remove_with(row, || index_document(content, analyzer));
        debug_assert!(removed, "a memory that is there is in the index");
    }

    /// What should be built for the indexes now.
    pub(crate) fn plan_index(&mut self) -> Option<IndexBuild> {
        if let Some(build) = self.text.plan() {
            return Some(IndexBuild::Text(build));
        }
        self.vectors.as_mut()?.plan().map(IndexBuild::Vectors)
    }

    /// Puts in place what was built.
    pub(crate) fn install_index(&mut self, built: IndexBuilt) {
        let installed = match (built, &mut self.vectors) {
            (IndexBuilt::Text(built), _) => self.text.install(built).is_ok(),
            (IndexBuilt::Vectors(built), Some(index)) => index.install(built).is_ok(),
            (IndexBuilt::Vectors(_), None) => false,
        };
        debug_assert!(installed, "this value planned it, not a clone");
    }

    /// Whether queries would become slow if more were written before the builds in progress are
    /// done.
    pub(crate) fn index_is_backlogged(&self) -> bool {
        let text = self.text.backlog();
        let vectors = self.vectors.as_ref().map_or(VectorBacklog::default(), VectorIndex::backlog);
        text.rows > BACKLOG_MAX.rows
            || text.bytes > BACKLOG_MAX.bytes
            || vectors.rows > VECTOR_BACKLOG_ROWS_MAX
    }

    /// Replaces a memory that is there by another version of it.
    pub(crate) fn replace(&mut self, entry: Entry) {
        self.entries.replace(entry.record.id.get() as usize - 1, Some(entry));
    }

    /// Removes a memory that is there.
    pub(crate) fn remove(&mut self, id: Id) {
        let Some(entry) = self.entry(id) else { return };
        let (text_row, vector_row, record) = (entry.text_row, entry.vector_row, Arc::clone(&entry.record));
        self.slugs_live -= u64::from(record.slug().is_some());
        self.unindex_text(text_row, &record.content);
        self.unindex_vector(vector_row);
        self.entries.replace(id.get() as usize - 1, None);
    }

    /// Feeds a tenant's name and all that the log determines into `hasher`: not the indexes, which
    /// are derived.
    pub(crate) fn hash_into(&self, name: &str, hasher: &mut Xxh3) {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        for number in [self.seq.get(), self.entries.len() as u64, self.slugs_live, self.requests_hash] {
            hasher.update(&number.to_le_bytes());
        }
        for language in [self.analyzer.stemmer(), self.analyzer.stop_words()] {
            hasher.update(&language.map_or(0, Language::number).to_le_bytes());
        }
        // The first vector settled them, and they outlive it.
        let vectors = self.vectors.as_ref().map(VectorIndex::config);
        let metric = vectors.map_or(0, |config| metric_number(config.metric()));
        for number in [metric, vectors.map_or(0, |config| config.dimensions() as u32)] {
            hasher.update(&number.to_le_bytes());
        }
        for entry in self.live() {
            hash_record(&entry.record, hasher);
        }
    }
}

fn wrong_dimensions(expected: usize, vector: NewVector<'_>) -> Refusal {
    Refusal::WrongDimensions { expected: expected as u64, found: vector.values.len() as u64 }
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
    use crate::value::VectorPreparation;

    fn entry(value: &mut TenantValue, slug: &str) -> Entry {
        let id = value.next_id();
        let text_row = value.index_text(id, &value.analyzer.document_terms("text"));
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
                vector: &[],
            }),
        };
        Entry { record: Arc::new(record), text_row, vector_row: None }
    }

    /// Later vectors are refused or not by the first one's metric and dimensions, so two states
    /// that differ there are not the same.
    #[test]
    fn the_hash_tells_how_vectors_are_compared() {
        let hash = |metric: Metric, values: &[f32]| {
            let mut value = TenantValue::new(Analyzer::new());
            let prepared = VectorPreparation::new(values, metric);
            let row = value.index_vector(Id::new(1), prepared.vector(values).unwrap()).unwrap();
            value.unindex_vector(Some(row));
            let mut hasher = Xxh3::new();
            value.hash_into("acme", &mut hasher);
            hasher.digest()
        };
        let all = [(Metric::Cosine, 2), (Metric::Dot, 2), (Metric::L2, 2), (Metric::Cosine, 3)];
        let hashes = all.map(|(metric, dimensions)| hash(metric, &vec![1.0; dimensions]));
        assert_eq!(std::collections::HashSet::from(hashes).len(), 4);
    }

    /// The trie keeps 28 bits of a hash: two slugs that share them must not be mixed up.
    #[test]
    fn slugs_that_collide_in_the_trie_are_told_apart() {
        let mut value = TenantValue::new(Analyzer::new());
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
        let mut value = TenantValue::new(Analyzer::new());
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
