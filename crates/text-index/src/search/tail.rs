//! Searches the tail: every chunk.
//!
//! How many documents hold a term is part of the score, so the holders are found first and scored
//! after. Of a query with few terms, a document's counts of all of them are kept in one word.

use super::best::Best;
use super::filter::{is_selective, passes};
use super::{Mode, Query, QueryTerm};
use crate::document::{term_count, term_key};
use crate::index::{ChunkView, TextIndex};
use crate::segment::classes::{B, K1, norm, saturation};

/// With more terms than this, a document's counts don't fit a word, so one pass over all words
/// finds them.
const FEW: usize = 8;
/// Lower counts than this get a bound on the length with which they are good enough.
const BOUNDED_COUNTS: usize = 8;

/// The live documents of the tail that hold a term of the query.
pub(super) struct Matches<'a> {
    query: &'a Query<'a>,
    /// How many documents hold each term.
    holders: Vec<u64>,
    found: Found<'a>,
}

enum Found<'a> {
    Few(Vec<FewInChunk<'a>>),
    Many(Many<'a>),
}

/// What a chunk has of at most [`FEW`] terms.
struct FewInChunk<'a> {
    chunk: &'a ChunkView,
    /// One bit a document, for those that hold a term.
    holders: Vec<u64>,
    /// How often each document holds each term: byte *i* for term *i*.
    counts: Vec<u64>,
}

/// The documents that hold some of many terms.
#[derive(Default)]
struct Many<'a> {
    documents: Vec<Match<'a>>,
    /// Term and count, document after document, by ascending term.
    found: Vec<(u32, u8)>,
}

struct Match<'a> {
    chunk: &'a ChunkView,
    at: usize,
    /// Where its terms begin in `found`.
    start: usize,
}

impl<'a> Matches<'a> {
    pub(super) fn new(index: &'a TextIndex, terms: &[QueryTerm], query: &'a Query<'a>) -> Self {
        let mut holders = vec![0; terms.len()];
        let found = if terms.len() <= FEW {
            Found::Few(
                index
                    .chunks()
                    .filter_map(|(chunk, count)| FewInChunk::find(chunk, count, terms, &mut holders))
                    .collect(),
            )
        } else {
            Found::Many(Many::scan(index, terms, &mut holders))
        };
        Self { query, holders, found }
    }

    pub(super) fn holders(&self, term: usize) -> u64 {
        self.holders[term]
    }

    pub(super) fn rank(&self, terms: &[QueryTerm], mean_length: f64, best: &mut Best<'_>) {
        match &self.found {
            Found::Few(chunks) => chunks.iter().for_each(|one| self.rank_few(one, terms, mean_length, best)),
            Found::Many(many) => self.rank_many(many, terms, mean_length, best),
        }
    }

    fn rank_few(&self, one: &FewInChunk<'_>, terms: &[QueryTerm], mean_length: f64, best: &mut Best<'_>) {
        let chunk = &*one.chunk.chunk;
        let mut reach = (terms.len() == 1).then(|| Reach::new(terms[0].weight, mean_length));
        one.for_each(|at, counts| {
            let length = chunk.length(at);
            if reach.as_mut().is_some_and(|reach| !reach.could_enter(counts, length, best.floor())) {
                return;
            }
            if !self.passes(one.chunk, at) {
                return;
            }
            let norm = norm(length, mean_length);
            let (mut score, mut bits) = (0.0, 0);
            for (term, count) in terms.iter().zip(counts.to_le_bytes()) {
                if count > 0 {
                    score += term.weight * saturation(count, norm);
                    bits |= term.bits;
                } else if self.query.mode == Mode::All {
                    return;
                }
            }
            best.offer(chunk.id(at), score, bits);
        });
    }

    fn rank_many(&self, many: &Many<'_>, terms: &[QueryTerm], mean_length: f64, best: &mut Best<'_>) {
        for (one, found) in self.of_many(many) {
            let norm = norm(one.chunk.chunk.length(one.at), mean_length);
            let (mut score, mut bits) = (0.0, 0);
            for &(term, count) in found {
                let term = &terms[term as usize];
                score += term.weight * saturation(count, norm);
                bits |= term.bits;
            }
            best.offer(one.chunk.chunk.id(one.at), score, bits);
        }
    }

    /// Returns how many documents match.
    pub(super) fn count(&self, accept: Option<&dyn Fn(u64) -> bool>) -> u64 {
        let is_accepted = |chunk: &ChunkView, at| accept.is_none_or(|accept| accept(chunk.chunk.id(at)));
        match &self.found {
            Found::Few(chunks) => {
                let mut count = 0;
                for one in chunks {
                    one.for_each(|at, counts| {
                        let is_match = self.has_enough(counts) && self.passes(one.chunk, at);
                        count += u64::from(is_match && is_accepted(one.chunk, at));
                    });
                }
                count
            }
            Found::Many(many) => {
                self.of_many(many).filter(|(one, _)| is_accepted(one.chunk, one.at)).count() as u64
            }
        }
    }

    /// Returns whether a document holds as many of few terms as it must.
    fn has_enough(&self, counts: u64) -> bool {
        self.query.mode == Mode::Any
            || counts.to_le_bytes()[..self.holders.len()].iter().all(|&count| count > 0)
    }

    fn passes(&self, chunk: &ChunkView, at: usize) -> bool {
        !is_selective(self.query) || passes(&chunk.chunk.document(at), self.query)
    }

    /// Returns the documents with as many terms as they must have, and with the query's tags.
    fn of_many<'s>(&'s self, many: &'s Many<'a>) -> impl Iterator<Item = (&'s Match<'a>, &'s [(u32, u8)])> {
        let needed = match self.query.mode {
            Mode::Any => 1,
            Mode::All => self.holders.len(),
        };
        let all = many.documents.iter().enumerate().map(|(number, one)| {
            let end = many.documents.get(number + 1).map_or(many.found.len(), |next| next.start);
            (one, &many.found[one.start..end])
        });
        all.filter(move |(one, found)| found.len() >= needed && self.passes(one.chunk, one.at))
    }
}

impl<'a> FewInChunk<'a> {
    /// Finds each term in the first `count` documents; `None` if no live document has any.
    fn find(chunk: &'a ChunkView, count: usize, terms: &[QueryTerm], holders: &mut [u64]) -> Option<Self> {
        let mut one = Self { chunk, holders: Vec::new(), counts: Vec::new() };
        for (number, term) in terms.iter().enumerate() {
            chunk.chunk.find(term.key, count, |at, times| {
                if chunk.is_dead(at) {
                    return;
                }
                if one.counts.is_empty() {
                    one.counts.resize(count, 0);
                    one.holders.resize(count.div_ceil(64), 0);
                }
                one.counts[at] |= u64::from(times) << (8 * number);
                one.holders[at / 64] |= 1 << (at % 64);
                holders[number] += 1;
            });
        }
        (!one.counts.is_empty()).then_some(one)
    }

    /// Returns each document that holds a term, with its counts, ascending.
    fn for_each(&self, mut each: impl FnMut(usize, u64)) {
        for (number, &word) in self.holders.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                let at = number * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                each(at, self.counts[at]);
            }
        }
    }
}

impl<'a> Many<'a> {
    /// Looks up each word among the terms.
    fn scan(index: &'a TextIndex, terms: &[QueryTerm], holders: &mut [u64]) -> Self {
        let sieve = Sieve::new(terms);
        let mut many = Self::default();
        for (chunk, documents) in index.chunks() {
            for entry in chunk.chunk.documents(documents) {
                if chunk.is_dead(entry.at) {
                    continue;
                }
                let start = many.found.len();
                for word in entry.terms() {
                    if sieve.may_hold(term_key(word))
                        && let Ok(term) = terms.binary_search_by_key(&term_key(word), |term| term.key)
                    {
                        holders[term] += 1;
                        many.found.push((term as u32, term_count(word)));
                    }
                }
                if many.found.len() > start {
                    many.documents.push(Match { chunk, at: entry.at, start });
                }
            }
        }
        many
    }
}

/// How long a document with one term may be to be good enough, by its count of the term: a
/// comparison instead of a score.
struct Reach {
    weight: f64,
    mean_length: f64,
    /// The floor that `longest` was computed for.
    floor: f64,
    longest: [f64; BOUNDED_COUNTS],
}

impl Reach {
    fn new(weight: f64, mean_length: f64) -> Self {
        Self { weight, mean_length, floor: f64::NEG_INFINITY, longest: [f64::INFINITY; BOUNDED_COUNTS] }
    }

    /// Returns false only for a document whose score is below `floor`, which never falls.
    fn could_enter(&mut self, count: u64, length: u32, floor: f64) -> bool {
        if floor > self.floor {
            self.rise(floor);
        }
        self.longest.get(count as usize).is_none_or(|&longest| f64::from(length) <= longest)
    }

    /// Solves the formula of the score for the length. Its rounding errors are far below one word.
    fn rise(&mut self, floor: f64) {
        self.floor = floor;
        for (count, longest) in self.longest.iter_mut().enumerate() {
            let norm_max = count as f64 * (self.weight / floor - 1.0);
            *longest = (norm_max / K1 - (1.0 - B)) / B * self.mean_length * (1.0 + 1e-9) + 1.0;
        }
    }
}

/// A bitmap that lets through every key of a query and few others.
struct Sieve {
    bits: Vec<u64>,
    mask: u64,
}

impl Sieve {
    fn new(terms: &[QueryTerm]) -> Self {
        let size = (terms.len() * 32).next_power_of_two().max(1024);
        let mut sieve = Self { bits: vec![0; size / 64], mask: size as u64 - 1 };
        for term in terms {
            let bit = term.key & sieve.mask;
            sieve.bits[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        sieve
    }

    fn may_hold(&self, key: u64) -> bool {
        let bit = key & self.mask;
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The scores themselves as floors: the least rounding to the wrong side is found.
        #[test]
        fn a_reach_refuses_only_what_scores_below_the_floor(
            weight in 1e-6_f64..100.0,
            mean_length in prop_oneof![1.0..50.0_f64, 1.0..4e9_f64],
            mut entries in prop::collection::vec((1_u8..=255, prop_oneof![0_u32..60, any::<u32>()]), 1..60),
        ) {
            let score = |(count, length): (u8, u32)| weight * saturation(count, norm(length, mean_length));
            entries.sort_by(|a, b| score(*a).total_cmp(&score(*b)));
            let mut reach = Reach::new(weight, mean_length);
            let mut refused = 0;
            for (at, &(_, length)) in entries.iter().enumerate() {
                let floor = score(entries[at]);
                for &(count, length) in &entries {
                    let enters = reach.could_enter(u64::from(count), length, floor);
                    prop_assert!(enters || score((count, length)) < floor, "{count} of {length} at {floor}");
                    refused += usize::from(!enters);
                }
                prop_assert!(reach.could_enter(255, length, floor), "counts without a bound always could");
            }
            // It does refuse: a document several times as long as one that is just good enough.
            let (count, length) = entries[entries.len() - 1];
            if usize::from(count) < BOUNDED_COUNTS && length < u32::MAX / 8 {
                let longer = (length * 2).max((mean_length * 2.0) as u32).saturating_add(8);
                prop_assert!(!reach.could_enter(u64::from(count), longer, score((count, length))), "{refused}");
            }
        }
    }
}
