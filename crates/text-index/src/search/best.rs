//! The best documents so far, and the score that a document needs to become one of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Scored;

/// The `k` best so far.
pub(super) struct Best<'a> {
    k: usize,
    /// A heap with the worst at its top.
    heap: BinaryHeap<Reverse<Ranked>>,
    accept: Option<&'a dyn Fn(u64) -> bool>,
    met: u64,
    /// No score below this can enter: a little below the worst's score, because scores are rounded
    /// before they are compared.
    floor: f64,
}

#[derive(Clone, Copy, Debug)]
struct Ranked(Scored);

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl Ord for Ranked {
    /// The better one is greater: a higher score, then a lower id.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.score.total_cmp(&other.0.score).then(other.0.id.cmp(&self.0.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Best<'a> {
    pub(super) fn new(k: usize, accept: Option<&'a dyn Fn(u64) -> bool>) -> Self {
        let floor = if k == 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        // Capacity for the usual k; it grows with the hits.
        Self { k, heap: BinaryHeap::with_capacity(k.min(256) + 1), accept, met: 0, floor }
    }

    pub(super) fn is_full(&self) -> bool {
        self.heap.len() >= self.k
    }

    /// Returns how many documents were accepted, including those that better ones displaced.
    pub(super) fn met(&self) -> u64 {
        self.met
    }

    /// Returns the score below which no document can enter.
    #[inline]
    pub(super) fn floor(&self) -> f64 {
        self.floor
    }

    /// Returns whether a document with at most this score, and at least the id that `least_id`
    /// returns, could enter.
    #[inline]
    pub(super) fn could_enter(&self, score: f64, least_id: impl FnOnce() -> u64) -> bool {
        if score < self.floor {
            return false;
        }
        if self.heap.len() < self.k {
            return true;
        }
        let Some(Reverse(Ranked(worst))) = self.heap.peek() else { return false };
        match (score as f32).total_cmp(&worst.score) {
            Ordering::Greater => true,
            Ordering::Equal => least_id() < worst.id,
            Ordering::Less => false,
        }
    }

    /// Adds a document if it is good enough and accepted.
    pub(super) fn offer(&mut self, id: u64, score: f64, terms: u64) {
        if !self.could_enter(score, || id) || !self.accept.is_none_or(|accept| accept(id)) {
            return;
        }
        self.met += 1;
        self.heap.push(Reverse(Ranked(Scored { id, score: score as f32, terms })));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if let (true, Some(Reverse(Ranked(worst)))) = (self.is_full(), self.heap.peek()) {
            // Rounding to f32 changes a number by at most 2^-24 of it.
            self.floor = f64::from(worst.score) * (1.0 - f64::from(f32::EPSILON));
        }
    }

    pub(super) fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(Ranked(scored))| scored).collect()
    }
}
