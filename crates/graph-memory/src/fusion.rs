//! Two ranked lists made into one, and what a hit tells of itself.
//!
//! Reciprocal rank fusion (Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
//! Methods", 2009): BM25 scores and similarities have no common measure, ranks have.
//!
//! ```text
//! score(d) = Σ weight / (60 + rank(d))    over the lists that hold d, ranks from 1
//! ```
//!
//! The sum is taken in f64, words first, and rounded to f32; the order is by that f32, then by id. So the same lists give the same
//! bits everywhere, and the order can be told from what is shown.

use std::sync::Arc;

use steadfast_memory_api::PartScore;
use steadfast_text_index::Analyzer;

/// Damps the lead of the first ranks; the paper's value.
const RANK_OFFSET: f64 = 60.0;

/// How much the ranks of each list count: finite and not negative. A list of weight 0 adds no hit; it only explains those of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(crate) text: f32,
    pub(crate) vector: f32,
}

/// A memory that one or both lists hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fused {
    pub(crate) id: u64,
    pub(crate) score: f32,
    pub(crate) text: Option<PartScore>,
    pub(crate) vector: Option<PartScore>,
}

/// The `k` best of two lists of `(id, score)`, each best first and without repeated ids (of these the first counts).
///
/// Costs a sort of both lists by id. A list shorter than the hits wanted of it can miss fused hits: whoever asks for `k` needs
/// the first `k` of each list at least.
pub(crate) fn fuse(text: &[(u64, f32)], vector: &[(u64, f32)], weights: Weights, k: usize) -> Vec<Fused> {
    let (text, vector) = (by_id(text), by_id(vector));
    let (mut texts, mut vectors) = (text.into_iter().peekable(), vector.into_iter().peekable());
    let mut fused = Vec::with_capacity(texts.len() + vectors.len());
    loop {
        let id = match (texts.peek(), vectors.peek()) {
            (Some(text), Some(vector)) => text.0.min(vector.0),
            (Some(only), None) | (None, Some(only)) => only.0,
            (None, None) => break,
        };
        let text = texts.next_if(|next| next.0 == id).map(|next| next.1);
        let vector = vectors.next_if(|next| next.0 == id).map(|next| next.1);
        if (text.is_some() && weights.text > 0.0) || (vector.is_some() && weights.vector > 0.0) {
            let score = (part(weights.text, text) + part(weights.vector, vector)) as f32;
            fused.push(Fused { id, score, text, vector });
        }
    }
    let best_first = |a: &Fused, b: &Fused| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id));
    if k < fused.len() && k > 0 {
        fused.select_nth_unstable_by(k - 1, best_first);
    }
    fused.truncate(k);
    fused.sort_unstable_by(best_first);
    fused
}

fn part(weight: f32, place: Option<PartScore>) -> f64 {
    place.map_or(0.0, |place| f64::from(weight) / (RANK_OFFSET + f64::from(place.rank)))
}

/// The places of a list, by ascending id.
fn by_id(list: &[(u64, f32)]) -> Vec<(u64, PartScore)> {
    let place = |(at, &(id, score)): (usize, &(u64, f32))| {
        (id, PartScore { rank: u32::try_from(at + 1).unwrap_or(u32::MAX), score })
    };
    let mut places: Vec<(u64, PartScore)> = list.iter().enumerate().map(place).collect();
    places.sort_unstable_by_key(|(id, place)| (*id, place.rank));
    places.dedup_by_key(|(id, _)| *id);
    places
}

/// How many of a query's words a [`Scored`](steadfast_text_index::Scored) tells of.
const TOLD: usize = u64::BITS as usize;

/// The words of a query by their numbers, as the text index numbers them.
#[derive(Debug)]
pub(crate) struct Words(Vec<Arc<str>>);

impl Words {
    /// The first words of a query's text that have distinct terms, as they are written there but for case and the like. Costs a pass over the text.
    pub(crate) fn of(query: &str, analyzer: Analyzer) -> Self {
        let (mut words, mut terms): (Vec<Arc<str>>, Vec<Box<str>>) = (Vec::new(), Vec::new());
        analyzer.for_each_term(query, &mut |token: &str, term: &str| {
            if terms.len() < TOLD && !terms.iter().any(|known| **known == *term) {
                terms.push(term.into());
                words.push(token.into());
            }
        });
        Self(words)
    }

    /// Those whose bits are set, in the query's order.
    pub(crate) fn held(&self, bits: u64) -> Vec<Arc<str>> {
        let held = |(number, _): &(usize, &Arc<str>)| bits >> number & 1 == 1;
        self.0.iter().enumerate().filter(held).map(|(_, word)| Arc::clone(word)).collect()
    }
}

#[cfg(test)]
mod tests;
