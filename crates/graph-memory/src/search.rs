//! Answering a search from one value: by words, by vector, or by both, with a filter.
//!
//! Words go to the text index, which narrows by a filter's tags and ids itself; times of creation are ids, since these are given in their order. A vector goes to the vector index: when a filter leaves few
//! candidates, which tags or ids list, exactly these are compared; else the index is searched and asks of what comes close. Tags are hashes, so whatever
//! an index lets through is held against the memory itself.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use steadfast_memory_api::{Hit, Hits, Id, Matched, MemoryError, PartScore, Problem, Search, TextMode, Why};
use steadfast_text_index::{Matched as Found, Mode, Query, Scored};
use steadfast_vector_index::{
    Effort, Hit as Near, K_MAX, Options, PreparedVector, RowId, VectorError, VectorIndex,
};

use crate::filter::{ALL, Plan};
use crate::fusion::{Weights, Words, fuse};
use crate::value::{Entry, TenantValue};

/// A filter that leaves at most so many candidates has them compared one by one, whatever the size of the index.
const FEW: usize = 4096;
/// Or at most this share of the vectors: one in so many.
const FEW_SHARE: usize = 16;
/// How long the lists are that are fused, unless more hits are asked for: so many times the hits, and not less than this.
const FUSED_TIMES: usize = 4;
const FUSED_MIN: usize = 100;

/// The hits for a valid request; `keys` are those of its words.
pub(crate) fn search(value: &TenantValue, request: &Search, keys: &[u64]) -> Result<Hits, MemoryError> {
    let plan = Plan::new(&request.filter);
    let mut id_range = plan.id_range().clone();
    if *plan.created_ms() != ALL {
        let created = value.ids_created_within(plan.created_ms());
        id_range = *id_range.start().max(created.start())..=*id_range.end().min(created.end());
    }
    let search = Searching { value, request, plan: &plan, id_range };
    let nothing = Hits { hits: Vec::new(), matched: Matched::Exactly(0), seq: value.seq };
    match &request.vector {
        None if plan.finds_nothing() => Ok(nothing),
        None => Ok(search.by_words(keys)),
        Some(vector) => {
            // Also where nothing can be found: a bad vector is told.
            let index = search.index_for(vector)?;
            if plan.finds_nothing() {
                return Ok(nothing);
            }
            if keys.is_empty() {
                search.by_vector(index, vector)
            } else {
                search.by_both(keys, index, vector)
            }
        }
    }
}

struct Searching<'a> {
    value: &'a TenantValue,
    request: &'a Search,
    plan: &'a Plan<'a>,
    /// The ids that the filter's bounds of ids and of times of creation leave.
    id_range: RangeInclusive<u64>,
}

impl<'a> Searching<'a> {
    fn by_words(&self, keys: &[u64]) -> Hits {
        let (found, matched) = self.words(keys, self.request.k, self.request.counted);
        let words = Words::of(&self.request.text, self.value.analyzer);
        let hit = |(at, scored): (usize, &Scored)| {
            let text = Some(PartScore { rank: rank(at), score: scored.score });
            let why = Why { text, vector: None, terms: words.held(scored.terms) };
            self.hit(scored.id, scored.score, why)
        };
        let hits = found.iter().enumerate().filter_map(hit).collect();
        self.hits(hits, matched)
    }

    fn by_vector(&self, index: Option<&VectorIndex>, vector: &[f32]) -> Result<Hits, MemoryError> {
        let near = self.near(index, vector, self.request.k)?;
        let hit = |(at, near): (usize, &Near)| {
            let score = near.score as f32;
            let vector = Some(PartScore { rank: rank(at), score });
            self.hit(near.id, score, Why { text: None, vector, terms: Vec::new() })
        };
        let hits: Vec<Hit> = near.iter().enumerate().filter_map(hit).collect();
        let met = hits.len();
        let matched = match index {
            _ if met < self.request.k => Matched::Exactly(met),
            Some(index) if self.request.counted => Matched::Exactly(self.vectors_matched(index)),
            _ => Matched::AtLeast(met),
        };
        Ok(self.hits(hits, matched))
    }

    fn by_both(
        &self,
        keys: &[u64],
        index: Option<&VectorIndex>,
        vector: &[f32],
    ) -> Result<Hits, MemoryError> {
        let k = self.request.k;
        let depth = k.saturating_mul(FUSED_TIMES).clamp(FUSED_MIN, K_MAX.max(k));
        let texts = self.words(keys, depth, false).0;
        let near = self.near(index, vector, depth)?;
        let by_words: Vec<(u64, f32)> = texts.iter().map(|scored| (scored.id, scored.score)).collect();
        let by_vector: Vec<(u64, f32)> = near.iter().map(|near| (near.id, near.score as f32)).collect();
        let weights = Weights { text: self.request.text_weight, vector: self.request.vector_weight };
        let fused = fuse(&by_words, &by_vector, weights, usize::MAX);
        let matched = if texts.len() < depth && near.len() < depth {
            Matched::Exactly(fused.len())
        } else if self.request.counted {
            Matched::Exactly(self.both_matched(keys, index, weights))
        } else {
            Matched::AtLeast(fused.len())
        };
        let words = Words::of(&self.request.text, self.value.analyzer);
        let hit = |fused: &crate::fusion::Fused| {
            let bits =
                fused.text.and_then(|part| texts.get(part.rank as usize - 1)).map_or(0, |text| text.terms);
            let why = Why { text: fused.text, vector: fused.vector, terms: words.held(bits) };
            self.hit(fused.id, fused.score, why)
        };
        let hits = fused.iter().take(k).filter_map(hit).collect();
        Ok(self.hits(hits, matched))
    }

    /// The best `k` by words, and how many there are.
    fn words(&self, keys: &[u64], k: usize, count: bool) -> (Vec<Scored>, Matched) {
        let accept = |id| self.accepts(id);
        let accept: Option<&dyn Fn(u64) -> bool> = if self.plan.is_empty() { None } else { Some(&accept) };
        self.words_with(keys, k, count, accept)
    }

    /// The best `k` by words of those that are accepted; all are counted if `count`. `accept` is asked only if it may refuse.
    fn words_with(
        &self,
        keys: &[u64],
        k: usize,
        count: bool,
        accept: Option<&dyn Fn(u64) -> bool>,
    ) -> (Vec<Scored>, Matched) {
        let (tags_any, hints) = (self.plan.tags_any(), self.plan.hints());
        let mode = match self.request.mode {
            TextMode::All => Mode::All,
            _ => Mode::Any,
        };
        let id_range = (self.id_range != ALL).then(|| self.id_range.clone().into_inner());
        let query = Query {
            terms: keys,
            mode,
            tags_all: self.plan.tags_all(),
            tags_any: &tags_any,
            hints: &hints,
            ids: self.plan.ids(),
            id_range,
            count,
        };
        let found = self.value.text().search(&query, k, accept);
        let matched = match found.matched {
            Found::Exactly(count) => Matched::Exactly(count as usize),
            Found::AtLeast(count) => Matched::AtLeast(count as usize),
        };
        (found.hits, matched)
    }

    /// How many memories with a vector the filter lets through.
    fn vectors_matched(&self, index: &VectorIndex) -> usize {
        if self.plan.is_empty() {
            return index.len();
        }
        let matches = |entry: &&Entry| entry.vector_row.is_some() && self.plan.accepts(&entry.record);
        match self.candidates(usize::MAX) {
            Some(ids) => ids.iter().filter_map(|&id| self.value.entry(Id::new(id))).filter(matches).count(),
            None => self.value.live().filter(matches).count(),
        }
    }

    /// How many memories match by words, by vector or by both, of what has a weight.
    fn both_matched(&self, keys: &[u64], index: Option<&VectorIndex>, weights: Weights) -> usize {
        let by_vector = weights.vector > 0.0;
        let of_vectors = index.filter(|_| by_vector).map_or(0, |index| self.vectors_matched(index));
        if weights.text == 0.0 {
            return of_vectors;
        }
        // Of those that match by words, the ones that weren't counted yet.
        let other = |id| {
            let entry = self.value.entry(Id::new(id));
            entry.is_some_and(|entry| {
                !(by_vector && entry.vector_row.is_some()) && self.plan.accepts(&entry.record)
            })
        };
        of_vectors + self.words_with(keys, 0, true, Some(&other)).1.at_least()
    }

    /// The nearest `k` by vector.
    fn near(&self, index: Option<&VectorIndex>, vector: &[f32], k: usize) -> Result<Vec<Near>, MemoryError> {
        let Some(index) = index else { return Ok(Vec::new()) };
        let accept = |id| self.accepts(id);
        let filter: Option<&dyn Fn(u64) -> bool> = if self.plan.is_empty() { None } else { Some(&accept) };
        let only = self.few_candidates(index);
        let effort = if self.request.exact { Effort::Exact } else { Effort::default() };
        let options = Options { filter, only: only.as_deref(), effort };
        index.search(vector, k, &options).map_err(|error| refused(&error))
    }

    /// Returns the rows of the vectors that the filter can let through, if they can be listed and
    /// are few.
    fn few_candidates(&self, index: &VectorIndex) -> Option<Vec<RowId>> {
        let few = FEW.max(index.len() / FEW_SHARE);
        let row = |id: &u64| self.value.entry(Id::new(*id))?.vector_row;
        let ids = self.candidates(few)?;
        Some(ids.iter().filter_map(row).collect())
    }

    /// All ids that the filter can let through, and perhaps others; none if no index lists them, or if they are more than `most`.
    fn candidates(&self, most: usize) -> Option<Cow<'a, [u64]>> {
        let is_few = |ids: usize| ids <= most;
        if let Some(ids) = self.plan.ids() {
            return is_few(ids.len()).then_some(Cow::Borrowed(ids));
        }
        let (first, last) = self.id_range.clone().into_inner();
        let last = last.min(self.value.next_id().get() - 1);
        let within = last.saturating_sub(first);
        if within < most as u64 && (within < FEW as u64 || !self.plan.has_tags()) {
            return Some(Cow::Owned((first..=last).collect()));
        }
        if !self.plan.has_tags() {
            return None;
        }
        let text = self.value.text();
        let groups: Vec<&[u64]> = self.plan.tags_any().into_iter().chain(self.plan.hints()).collect();
        let all = self.plan.tags_all().chunks(1);
        // By the rarest of them, before any is listed.
        let sealed = all.chain(groups.iter().copied()).map(|group| text.sealed_with_any(group)).min();
        if sealed.is_some_and(|sealed| sealed > most as u64) {
            return None;
        }
        let mut ids = text.ids_with(self.plan.tags_all(), &groups);
        ids.retain(|id| self.id_range.contains(id));
        is_few(ids.len()).then_some(Cow::Owned(ids))
    }

    fn accepts(&self, id: u64) -> bool {
        self.value.entry(Id::new(id)).is_some_and(|entry| self.plan.accepts(&entry.record))
    }

    /// The tenant's vectors, if it has any, for a vector that can be compared with them.
    fn index_for(&self, vector: &[f32]) -> Result<Option<&'a VectorIndex>, MemoryError> {
        let Some(index) = self.value.vectors() else { return Ok(None) };
        PreparedVector::new(index.config(), vector).map_err(|error| refused(&error))?;
        Ok(Some(index))
    }

    fn hit(&self, id: u64, score: f32, why: Why) -> Option<Hit> {
        let entry = self.value.entry(Id::new(id))?;
        Some(Hit { record: Arc::clone(&entry.record), score, why })
    }

    fn hits(&self, hits: Vec<Hit>, matched: Matched) -> Hits {
        Hits { hits, matched, seq: self.value.seq }
    }
}

fn rank(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// What is wrong with a query's vector, or with how many hits are wanted if a store's limit is above the index's own.
fn refused(error: &VectorError) -> MemoryError {
    let problem = match error {
        VectorError::Dimensions { expected, found } => {
            Problem::WrongDimensions { found: *found, expected: *expected }
        }
        VectorError::Zero => Problem::ZeroVector,
        VectorError::TooManyHits { found, limit } => {
            let problem = Problem::OutOfRange { found: *found as f64, min: 1.0, max: *limit as f64 };
            return MemoryError::invalid("k", problem);
        }
        _ => Problem::NotFinite,
    };
    MemoryError::invalid("vector", problem)
}
