//! The exact search: every row's code, and the originals of those rows that could still be among
//! the best.
//!
//! The codes bound each score from below and above. The k-th best lower bound seen so far is a
//! floor: a row whose upper bound is under it can't be among the best k. What remains is scored
//! exactly, highest upper bound first, until the k-th best exact score is above all upper bounds
//! that are left. So the answer is that of a scan of the originals.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::dead::DeadRows;
use crate::kernel;
use crate::rows::{Query, Rows};

/// A vector that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The id that it was inserted under.
    pub id: u64,
    /// Its similarity to the query, higher is better: the cosine, the dot product, or minus the
    /// squared distance.
    pub score: f64,
}

/// Best first: by score, and equal scores by id.
pub(crate) fn by_rank(a: &Hit, b: &Hit) -> Ordering {
    b.score.total_cmp(&a.score).then(a.id.cmp(&b.id))
}

/// A score in a heap.
#[derive(Clone, Copy, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The `k` highest of the numbers offered to it.
struct Highest {
    k: usize,
    heap: BinaryHeap<Reverse<Score>>,
}

impl Highest {
    fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Returns the k-th highest so far; minus infinity while there are fewer.
    fn floor(&self) -> f64 {
        if self.heap.len() < self.k {
            return f64::NEG_INFINITY;
        }
        self.heap.peek().map_or(f64::INFINITY, |least| least.0.0)
    }

    fn show(&mut self, number: f64) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse(Score(number)));
        } else if let Some(mut least) = self.heap.peek_mut()
            && number > least.0.0
        {
            *least = Reverse(Score(number));
        }
    }
}

/// A row that may be among the best.
struct Candidate<'a> {
    upper: f64,
    rows: &'a Rows,
    row: usize,
}

/// Ids that a search may return; all if not set.
pub(crate) type Filter<'a> = Option<&'a dyn Fn(u64) -> bool>;

/// A search over any number of blocks of rows.
pub(crate) struct Scan<'a> {
    query: &'a Query,
    k: usize,
    filter: Filter<'a>,
    lower: Highest,
    candidates: Vec<Candidate<'a>>,
    /// Candidates are thinned when there are this many.
    thin_at: usize,
    /// Hits carry row ids instead of ids.
    row_ids: bool,
}

/// Rows whose codes are multiplied at a time.
const RUN: usize = 256;

impl<'a> Scan<'a> {
    /// Creates a scan; `k` is at least one.
    pub(crate) fn new(query: &'a Query, k: usize, filter: Filter<'a>) -> Self {
        Self {
            query,
            k,
            filter,
            lower: Highest::new(k),
            candidates: Vec::new(),
            thin_at: 4 * k + 1024,
            row_ids: false,
        }
    }

    /// Creates a scan whose hits carry row ids, which don't repeat.
    pub(crate) fn of_row_ids(query: &'a Query, k: usize) -> Self {
        Self { row_ids: true, ..Self::new(query, k, None) }
    }

    /// Searches all rows, the first of which has the number `first` in `dead`.
    pub(crate) fn add(&mut self, rows: &'a Rows, dead: &DeadRows, first: usize) {
        let mut dots = [0; RUN];
        let mut upper = [0.0; RUN];
        for start in (0..rows.len()).step_by(RUN) {
            let count = RUN.min(rows.len() - start);
            kernel::dots_in_sequence(
                &self.query.codes,
                &rows.all_codes()[start * rows.lines..],
                &mut dots[..count],
            );
            rows.upper_bounds(self.query, start, &dots[..count], &mut upper);
            for at in 0..count {
                if upper[at] >= self.lower.floor() && !dead.contains(first + start + at) {
                    self.consider(rows, start + at, dots[at]);
                }
            }
        }
    }

    /// Searches one row.
    pub(crate) fn add_row(&mut self, rows: &'a Rows, row: usize) {
        let mut dot = [0];
        kernel::dots_in_sequence(&self.query.codes, rows.codes(row), &mut dot);
        self.consider(rows, row, dot[0]);
    }

    fn consider(&mut self, rows: &'a Rows, row: usize, dot: i32) {
        let (low, upper) = rows.bounds(self.query, row, dot);
        if upper < self.lower.floor() || self.filter.is_some_and(|admits| !admits(rows.id(row))) {
            return;
        }
        self.lower.show(low);
        self.candidates.push(Candidate { upper, rows, row });
        if self.candidates.len() >= self.thin_at {
            let floor = self.lower.floor();
            self.candidates.retain(|candidate| candidate.upper >= floor);
            self.thin_at = 2 * self.candidates.len() + 1024;
        }
    }

    /// Adds the best of what was searched to `hits`, and keeps the best `k` of these in order.
    pub(crate) fn finish(mut self, hits: &mut Vec<Hit>) {
        let mut best = Highest::new(self.k);
        for hit in hits.iter() {
            best.show(hit.score);
        }
        let floor = self.lower.floor().max(best.floor());
        self.candidates.retain(|candidate| candidate.upper >= floor);
        self.candidates.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
        for (at, candidate) in self.candidates.iter().enumerate() {
            if candidate.upper < best.floor() {
                break;
            }
            if let Some(next) = self.candidates.get(at + 2) {
                next.rows.prefetch_values(next.row);
            }
            let score = candidate.rows.score(self.query, candidate.row);
            best.show(score);
            let Candidate { rows, row, .. } = candidate;
            hits.push(Hit { id: if self.row_ids { rows.row_id(*row) } else { rows.id(*row) }, score });
        }
        hits.sort_unstable_by(by_rank);
        hits.truncate(self.k);
    }
}
