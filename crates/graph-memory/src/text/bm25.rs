//! Ranking by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).
//!
//! For a query's distinct terms *t* and a document *d* of |*d*| words:
//!
//! ```text
//! score(d) = Σ idf(t) · tf(t, d) · (k1 + 1) / (tf(t, d) + k1 · (1 − b + b · |d| / mean length))
//! idf(t)   = ln(1 + (N − df(t) + ½) / (df(t) + ½))
//! ```
//!
//! with k1 = 1.2, b = 0.75. N, df and the mean length are counted over the live documents of the value that is
//! searched, at the time of the query; sums run in the order of the terms' keys, in f64; ties are broken by id. So a
//! score depends on what is remembered, not on when it was indexed. A tf above 255 counts as 255.
//!
//! A term is known by 56 bits of its hash. Among a million distinct words two share a key with a
//! probability of 1 in 140 000; a document could then be found by a word that it doesn't hold.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::text::TextIndex;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A document that holds at least one term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) id: u64,
    pub(crate) score: f32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// The better one is greater: a higher score, then a lower id.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Match {
    id: u64,
    length: u32,
    /// Where its terms begin in the list of all that was found.
    terms: usize,
}

/// The `k` best documents for the terms `keys`, best first, and how many documents hold any of them.
pub(crate) fn search(index: &TextIndex, keys: &[u64], k: usize) -> (Vec<Scored>, usize) {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return (Vec::new(), 0);
    }
    let sieve = Sieve::new(&keys);
    let mut matches: Vec<Match> = Vec::new();
    // Which term (by its place among the sorted keys), how often.
    let mut found: Vec<(u32, u8)> = Vec::new();
    let mut holders = vec![0_u64; keys.len()];
    for document in index.live() {
        let terms = found.len();
        for word in document.terms() {
            let key = word >> 8;
            if sieve.may_hold(key)
                && let Ok(term) = keys.binary_search(&key)
            {
                holders[term] += 1;
                found.push((term as u32, word as u8));
            }
        }
        if found.len() > terms {
            matches.push(Match { id: document.id, length: document.length, terms });
        }
    }

    let count = index.documents() as f64;
    let mean_length = (index.words() as f64 / count).max(1.0);
    let weights: Vec<f64> = holders
        .iter()
        .map(|&holders| (1.0 + (count - holders as f64 + 0.5) / (holders as f64 + 0.5)).ln() * (K1 + 1.0))
        .collect();
    // The worst of the best on top.
    let mut best: BinaryHeap<std::cmp::Reverse<Scored>> = BinaryHeap::with_capacity(k.min(matches.len()) + 1);
    for (at, one) in matches.iter().enumerate() {
        let end = matches.get(at + 1).map_or(found.len(), |next| next.terms);
        let norm = K1 * (1.0 - B + B * f64::from(one.length) / mean_length);
        let score: f64 = found[one.terms..end]
            .iter()
            .map(|&(term, tf)| weights[term as usize] * f64::from(tf) / (f64::from(tf) + norm))
            .sum();
        best.push(std::cmp::Reverse(Scored { id: one.id, score: score as f32 }));
        if best.len() > k {
            best.pop();
        }
    }
    let ranked = best.into_sorted_vec().into_iter().map(|reversed| reversed.0).collect();
    (ranked, matches.len())
}

/// A bitmap that lets through every key of a query and few others.
struct Sieve {
    bits: Vec<u64>,
    mask: u64,
}

impl Sieve {
    fn new(keys: &[u64]) -> Self {
        let size = (keys.len() * 32).next_power_of_two().max(1024);
        let mut sieve = Self { bits: vec![0; size / 64], mask: size as u64 - 1 };
        for key in keys {
            let bit = key & sieve.mask;
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
mod tests;
