//! Ranking by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
//! Beyond", 2009).
//!
//! For a query's distinct terms *t* and a document *d* of length |*d*|:
//!
//! ```text
//! score(d) = Σ idf(t) · (k1 + 1) · saturation(t, d)
//! idf(t)   = ln(1 + (N − df(t) + ½) / (df(t) + ½))
//! saturation(t, d) = 1 / (1 + k1 · (1 − b + b · |d| / mean length) / tf(t, d))
//! ```
//!
//! with k1 = 1.2, b = 0.75. N, df and the mean length are those of the live documents of the value
//! that is searched, whatever the filters. Sums run in the order of the terms' keys, in f64, and
//! are rounded to f32 at the end; ties are broken by id. So a score depends on the documents, not
//! on when they were indexed, sealed or merged. A tf above 255 counts as 255.
//!
//! Bounds are sound to the last bit without a margin: each operation of the formula is monotone,
//! also when it is rounded, so a sum of the terms' bounds in the same order is never below the
//! score. A bound that is summed in another order gets [`SLACK`].

mod best;
mod filter;
mod sealed;
mod tail;

use std::collections::BTreeMap;

use crate::document::TERM_KEY_BITS;
use crate::index::TextIndex;
use crate::segment::classes::K1;
use best::Best;
pub(crate) use filter::Allowed;
use filter::Group;
use sealed::SealedSearch;

/// Factor for a bound that is summed in another order than the score: above all roundings of 2^20
/// additions.
const SLACK: f64 = 1.0 + 1e-9;

/// How many of a query's terms a document must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// At least one.
    #[default]
    Any,
    /// Every one.
    All,
}

/// What to search for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Keys of terms, in any order; a repeated key counts once. No terms find nothing.
    pub terms: &'a [u64],
    /// How many of them a document must hold.
    pub mode: Mode,
    /// Tags of which a document must have all.
    pub tags_all: &'a [u64],
    /// Groups of tags: a document must have one tag of each group. An empty group admits nothing.
    pub tags_any: &'a [&'a [u64]],
    /// Groups of tags; every document for which `accept` returns true has one tag of each group. A
    /// search uses a group where that leaves few documents. Elsewhere it may offer documents
    /// without such a tag to `accept`, which must refuse them.
    pub hints: &'a [&'a [u64]],
    /// Ids to search among, ascending; all if not set.
    pub ids: Option<&'a [u64]>,
    /// The lowest and the highest id to search among; all if not set.
    pub id_range: Option<(u64, u64)>,
    /// Whether to count all matches exactly. Costs a walk over all postings of the query's terms.
    pub count: bool,
}

impl<'a> Query<'a> {
    /// Creates a query for documents that hold any of the terms.
    pub fn any(terms: &'a [u64]) -> Self {
        Self { terms, ..Self::default() }
    }

    /// Creates a query for documents that hold all of the terms.
    pub fn all(terms: &'a [u64]) -> Self {
        Self { terms, mode: Mode::All, ..Self::default() }
    }

    /// Admits only documents with all of these tags.
    #[must_use]
    pub fn tags_all(self, tags: &'a [u64]) -> Self {
        Self { tags_all: tags, ..self }
    }

    /// Admits only documents with one tag of each of these groups.
    #[must_use]
    pub fn tags_any(self, groups: &'a [&'a [u64]]) -> Self {
        Self { tags_any: groups, ..self }
    }

    /// Sets the groups of tags that every accepted document has: see the field
    /// [`hints`](Self::hints).
    #[must_use]
    pub fn hints(self, groups: &'a [&'a [u64]]) -> Self {
        Self { hints: groups, ..self }
    }

    /// Admits only documents with these ids, given in ascending order.
    #[must_use]
    pub fn ids(self, ids: &'a [u64]) -> Self {
        Self { ids: Some(ids), ..self }
    }

    /// Admits only documents with an id from `first` to `last`.
    #[must_use]
    pub fn id_range(self, first: u64, last: u64) -> Self {
        Self { id_range: Some((first, last)), ..self }
    }

    /// Asks for an exact count of the matches.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { count: true, ..self }
    }
}

/// A document that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The id that it was inserted under.
    pub id: u64,
    /// Its score, above 0.
    pub score: f32,
    /// The terms that it holds: bit *i* for the query's term *i*, for the first 64 terms.
    pub terms: u64,
}

/// How many documents match a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// Exactly so many.
    Exactly(u64),
    /// So many were scored; others were skipped because they couldn't be among the best.
    AtLeast(u64),
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Best first: by descending score, then by ascending id.
    pub hits: Vec<Scored>,
    /// How many documents match in all.
    pub matched: Matched,
}

/// A term of a query.
#[derive(Clone, Copy, Debug)]
struct QueryTerm {
    key: u64,
    /// The bits it has in [`Scored::terms`].
    bits: u64,
    /// idf · (k1 + 1).
    weight: f64,
}

impl TextIndex {
    /// Returns the `k` best documents for `query`, among those whose id `accept` (if any) returns
    /// true for. The result is that of scoring every live document.
    ///
    /// Calls `accept` only for documents that match, pass the tags and ids, and would be returned;
    /// with [`Query::count`] for all that match and pass.
    pub fn search(&self, query: &Query<'_>, k: usize, accept: Option<&dyn Fn(u64) -> bool>) -> Found {
        let mut terms = query_terms(query.terms);
        let none = Found { hits: Vec::new(), matched: Matched::Exactly(0) };
        if terms.is_empty() || self.is_empty() {
            return none;
        }
        let fresh = tail::Matches::new(self, &terms, query);
        for (number, term) in terms.iter_mut().enumerate() {
            let sealed: u64 = self.segments().iter().map(|view| view.holders(term.key)).sum();
            term.weight = weight(self.len() as u64, sealed + fresh.holders(number));
        }
        let mean_length = self.mean_length();
        let mut best = Best::new(k, accept);
        let mut count = if query.count { fresh.count(accept) } else { 0 };
        for view in self.segments() {
            let Some(mut search) = SealedSearch::new(view, &terms, query, mean_length) else { continue };
            search.rank(&mut best);
            if query.count {
                count += search.count(accept);
            }
        }
        // Last, since the tail has no bounds to skip much by: now it has to beat the best of the
        // segments.
        fresh.rank(&terms, mean_length, &mut best);
        // Documents are skipped only when there are k better ones.
        let met = best.met();
        let matched = match query.count {
            true => Matched::Exactly(count),
            false if best.is_full() => Matched::AtLeast(met),
            false => Matched::Exactly(met),
        };
        Found { hits: best.into_sorted(), matched }
    }

    /// Returns the ids of all live documents with all tags of `tags_all` and one of each group of
    /// `tags_any`, ascending.
    pub fn ids_with(&self, tags_all: &[u64], tags_any: &[&[u64]]) -> Vec<u64> {
        let query = Query { tags_all, tags_any, ..Query::default() };
        let mut ids = Vec::new();
        for view in self.segments() {
            if let Some(allowed) = Allowed::new(view, &query) {
                allowed.for_each(&mut |doc| ids.push(view.segment.id(doc)));
            }
        }
        let groups: Vec<Group> = tags_any.iter().map(|group| Group::new(group)).collect();
        for (chunk, documents) in self.chunks() {
            for entry in chunk.chunk.documents(documents) {
                let has_all = || tags_all.iter().all(|&tag| entry.has_tag(tag));
                if !chunk.is_dead(entry.at)
                    && has_all()
                    && groups.iter().all(|group| group.has_one_of(entry.tags()))
                {
                    ids.push(entry.id);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns an upper bound on how many sealed documents have one of these tags: removed
    /// documents count, and a document with several of the tags counts for each.
    pub fn sealed_with_any(&self, tags: &[u64]) -> u64 {
        self.segments().iter().map(|view| view.segment.tags().holders_of_any(tags)).sum()
    }

    /// Returns the mean length, at least 1: it is divided by.
    fn mean_length(&self) -> f64 {
        (self.total_tokens() as f64 / self.len() as f64).max(1.0)
    }
}

fn query_terms(keys: &[u64]) -> Vec<QueryTerm> {
    let mask = (1 << TERM_KEY_BITS) - 1;
    let mut bits: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, key) in keys.iter().enumerate() {
        *bits.entry(key & mask).or_default() |= 1_u64.checked_shl(number as u32).unwrap_or(0);
    }
    bits.into_iter().map(|(key, bits)| QueryTerm { key, bits, weight: 0.0 }).collect()
}

fn weight(documents: u64, holders: u64) -> f64 {
    let (documents, holders) = (documents as f64, holders as f64);
    (1.0 + (documents - holders + 0.5).max(0.5) / (holders + 0.5)).ln() * (K1 + 1.0)
}

#[cfg(test)]
mod tests;
