//! Ranking by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).
//!
//! For a query's distinct terms *t* and a document *d* of length |*d*|:
//!
//! ```text
//! score(d) = Σ idf(t) · (k1 + 1) · saturation(t, d)
//! idf(t)   = ln(1 + (N − df(t) + ½) / (df(t) + ½))
//! saturation(t, d) = 1 / (1 + k1 · (1 − b + b · |d| / mean length) / tf(t, d))
//! ```
//!
//! with k1 = 1.2, b = 0.75. N, df and the mean length are counted over the live documents of the value that is
//! searched, at the time of the query, filters aside; sums run in the order of the terms' keys, in f64, and are rounded to f32 at the end; ties
//! are broken by id. So a score depends on what is remembered, not on when it was indexed, sealed or merged. A tf above 255
//! counts as 255.
//!
//! Bounds are sound to the last bit without any margin: each operation of the formula is monotone, also when it is rounded, so a
//! sum of the terms' bounds in the same order is never below the score. Where a bound is summed in another order, it gets [`SLACK`].

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

/// What a bound that is summed in another order than the score is multiplied with: more than all roundings of 2^20 additions.
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

/// What to search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Keys of terms, in any order; a key that comes twice counts once. No terms find nothing.
    pub terms: &'a [u64],
    /// How many of them a document must hold.
    pub mode: Mode,
    /// Tags that a document must have, all of them.
    pub tags_all: &'a [u64],
    /// Groups of tags: of each group a document must have one. An empty group lets nothing through.
    pub tags_any: &'a [&'a [u64]],
    /// Groups of tags of which every document that `accept` tells true of has one. Followed where that leaves few documents; elsewhere a document without
    /// may be found, so `accept` has to refuse it.
    pub hints: &'a [&'a [u64]],
    /// The only ids that a document may have, ascending; any unless set.
    pub ids: Option<&'a [u64]>,
    /// The lowest and the highest id that a document may have; any unless set.
    pub id_range: Option<(u64, u64)>,
    /// Whether to count all that match, whatever is listed. Costs a walk over all postings of the query's terms.
    pub count: bool,
}

impl<'a> Query<'a> {
    /// Documents that hold any of the terms.
    pub fn any(terms: &'a [u64]) -> Self {
        Self { terms, ..Self::default() }
    }

    /// Documents that hold all of the terms.
    pub fn all(terms: &'a [u64]) -> Self {
        Self { terms, mode: Mode::All, ..Self::default() }
    }

    /// Only documents with all of these tags.
    #[must_use]
    pub fn tags_all(self, tags: &'a [u64]) -> Self {
        Self { tags_all: tags, ..self }
    }

    /// Only documents with one tag of each of these groups.
    #[must_use]
    pub fn tags_any(self, groups: &'a [&'a [u64]]) -> Self {
        Self { tags_any: groups, ..self }
    }

    /// Follows these groups of tags where they leave few; see [`hints`](Self::hints).
    #[must_use]
    pub fn hints(self, groups: &'a [&'a [u64]]) -> Self {
        Self { hints: groups, ..self }
    }

    /// Only documents with these ids, which ascend.
    #[must_use]
    pub fn ids(self, ids: &'a [u64]) -> Self {
        Self { ids: Some(ids), ..self }
    }

    /// Only documents with an id from `first` to `last`.
    #[must_use]
    pub fn id_range(self, first: u64, last: u64) -> Self {
        Self { id_range: Some((first, last)), ..self }
    }

    /// With an exact count of the matches.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { count: true, ..self }
    }
}

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// As it was inserted.
    pub id: u64,
    /// Its score, above 0.
    pub score: f32,
    /// Which terms it holds: bit *i* for the query's term *i*. Only the first 64 terms are told.
    pub terms: u64,
}

/// How many documents match a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// So many.
    Exactly(u64),
    /// So many were met; others were passed over, since they couldn't be among the best.
    AtLeast(u64),
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Best first: by descending score, then by ascending id.
    pub hits: Vec<Scored>,
    /// How many match in all.
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
    /// The `k` best documents for `query` for which `accept` (if any) tells true of their id.
    ///
    /// `accept` is called only for documents that match, pass the tags, and would be listed; with [`Query::count`] for all that match and pass.
    /// The result is that of scoring every live document.
    pub fn search(&self, query: &Query<'_>, k: usize, accept: Option<&dyn Fn(u64) -> bool>) -> Found {
        let mut terms = query_terms(query.terms);
        let none = Found { hits: Vec::new(), matched: Matched::Exactly(0) };
        if terms.is_empty() || self.documents() == 0 {
            return none;
        }
        let fresh = tail::Matches::new(self, &terms, query);
        for (number, term) in terms.iter_mut().enumerate() {
            let sealed: u64 = self.segments().iter().map(|view| view.holders(term.key)).sum();
            term.weight = weight(self.documents(), sealed + fresh.holders(number));
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
        // Last, since the tail has no bounds that let it skip much: by now it has to beat the best of the segments.
        fresh.rank(&terms, mean_length, &mut best);
        // What is passed over is so because there are k that are better.
        let met = best.met();
        let matched = match query.count {
            true => Matched::Exactly(count),
            false if best.is_full() => Matched::AtLeast(met),
            false => Matched::Exactly(met),
        };
        Found { hits: best.into_sorted(), matched }
    }

    /// The ids of all live documents with all tags of `tags_all` and one of each group of `tags_any`, ascending.
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

    /// How many sealed documents have one of these tags: not less, but more if some have several of them or are dead.
    pub fn sealed_with_any(&self, tags: &[u64]) -> u64 {
        self.segments().iter().map(|view| view.segment.tags().holders_of_any(tags)).sum()
    }

    /// At least 1, so that there is something to divide by.
    fn mean_length(&self) -> f64 {
        (self.length() as f64 / self.documents() as f64).max(1.0)
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
