//! A sealed segment: documents that never change, by ascending id, and the postings of their terms
//! and tags.

pub(crate) mod build;
pub(crate) mod classes;
mod dictionary;
pub(crate) mod postings;
mod tags;

use std::ops::Range;

use classes::{Bounds, Classes, HIGH_COUNT, count_group, saturation};
use dictionary::Dictionary;
use postings::{Blocked, Head, Postings, STRETCH, is_blocked};
pub(crate) use tags::{TagList, TagPostings};

/// The most documents of a segment: a document's number has 24 bits, and 20 are used.
pub(crate) const DOCUMENTS_MAX: usize = 1 << 20;
/// The most postings of a segment, so that a position in the lists has 32 bits.
pub(crate) const POSTINGS_MAX: usize = 1 << 30;

/// Sealed documents: see the module's documentation.
#[derive(Debug)]
pub(crate) struct Segment {
    /// By document, ascending; an id occurs more than once if it was removed and inserted again.
    ids: Box<[u64]>,
    /// By document: occurrences of all its terms.
    lengths: Box<[u32]>,
    rows: RowIds,
    classes: Classes,
    terms: Dictionary,
    plain: Box<[u32]>,
    /// For each frequent term a head per block and one more.
    heads: Box<[Head]>,
    /// The start of each frequent term's bytes, and the end of the last one.
    byte_starts: Box<[usize]>,
    bytes: Box<[u8]>,
    /// Counts of [`HIGH_COUNT`] and more, sorted by term and document.
    high_counts: Box<[HighCount]>,
    tags: TagList,
    postings: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HighCount {
    /// The term's number in the dictionary.
    term: u32,
    doc: u32,
    count: u8,
}

/// Maps row ids to documents.
#[derive(Debug)]
struct RowIds {
    /// Ascending.
    ids: Box<[u64]>,
    /// The document of each row id; none if the documents are in the order of their row ids.
    docs: Option<Box<[u32]>>,
}

/// A term of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a> {
    number: u32,
    pub(crate) key: u64,
    /// Documents that hold it, dead ones included.
    pub(crate) documents: u32,
    pub(crate) postings: Postings<'a>,
}

impl Segment {
    pub(crate) fn documents(&self) -> usize {
        self.ids.len()
    }

    /// Returns the number of postings of all terms.
    pub(crate) fn postings(&self) -> usize {
        self.postings
    }

    pub(crate) fn id(&self, doc: u32) -> u64 {
        self.ids[doc as usize]
    }

    /// Returns the documents with an id from `first` to `last`.
    pub(crate) fn docs_within(&self, first: u64, last: u64) -> Range<usize> {
        let start = self.ids.partition_point(|&id| id < first);
        start..start + self.ids[start..].partition_point(|&id| id <= last)
    }

    pub(crate) fn length(&self, doc: u32) -> u32 {
        self.lengths[doc as usize]
    }

    /// Returns the document of a row id, if it is in this segment.
    pub(crate) fn doc_of(&self, row: u64) -> Option<u32> {
        let at = self.rows.ids.binary_search(&row).ok()?;
        Some(self.rows.docs.as_ref().map_or(at as u32, |docs| docs[at]))
    }

    /// Returns each row id with its document, by ascending row id.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, u32)> {
        let doc = |at: usize| self.rows.docs.as_ref().map_or(at as u32, |docs| docs[at]);
        self.rows.ids.iter().enumerate().map(move |(at, &row)| (row, doc(at)))
    }

    pub(crate) fn last_row(&self) -> Option<u64> {
        self.rows.ids.last().copied()
    }

    pub(crate) fn term(&self, key: u64) -> Option<Term<'_>> {
        self.terms.get(key).map(|(number, _)| self.term_number(number))
    }

    /// Returns how many documents hold the term, dead ones included.
    pub(crate) fn holders(&self, key: u64) -> u32 {
        self.terms.get(key).map_or(0, |(_, entry)| entry.documents)
    }

    pub(crate) fn terms(&self) -> impl Iterator<Item = Term<'_>> {
        (0..self.terms.len()).map(|number| self.term_number(number))
    }

    fn term_number(&self, number: usize) -> Term<'_> {
        let entry = self.terms.entry(number);
        let (at, holders) = (entry.at as usize, entry.documents as usize);
        let postings = if is_blocked(entry.documents, self.documents()) {
            let heads = self.documents().div_ceil(postings::BLOCK) + 1;
            Postings::Blocked(Blocked {
                heads: &self.heads[at * heads..(at + 1) * heads],
                bytes: &self.bytes[self.byte_starts[at]..self.byte_starts[at + 1]],
            })
        } else if holders == 1 {
            Postings::Plain { postings: std::slice::from_ref(&entry.at), fronts: &[] }
        } else {
            let fronts = postings::fronts(holders);
            let (fronts, postings) = self.plain[at..at + fronts + holders].split_at(fronts);
            Postings::Plain { postings, fronts }
        };
        Term { number: number as u32, key: self.terms.key(number), documents: entry.documents, postings }
    }

    /// Returns how often a term occurs in a document whose posting has `class`.
    pub(crate) fn count(&self, term: &Term<'_>, doc: u32, class: u8) -> u8 {
        let group = count_group(class);
        if group < HIGH_COUNT {
            return group;
        }
        let at = self.high_counts.binary_search_by_key(&(term.number, doc), |high| (high.term, high.doc));
        at.map_or(group, |at| self.high_counts[at].count)
    }

    /// Returns the exact saturation of a posting.
    #[inline]
    pub(crate) fn saturation(&self, term: &Term<'_>, doc: u32, class: u8, scoring: &Scoring) -> f64 {
        if self.classes.is_exact(class) {
            return scoring.bounds[usize::from(class)];
        }
        let norm = classes::norm(self.length(doc), scoring.mean_length);
        saturation(self.count(term, doc, class), norm)
    }

    pub(crate) fn scoring(&self, mean_length: f64) -> Scoring {
        Scoring { bounds: self.classes.bounds(mean_length), mean_length }
    }

    pub(crate) fn tags(&self) -> &TagList {
        &self.tags
    }

    /// Returns the bytes of its arrays.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.ids)
            + size_of_val(&*self.lengths)
            + size_of_val(&*self.rows.ids)
            + self.rows.docs.as_ref().map_or(0, |docs| size_of_val(&**docs))
            + self.terms.bytes()
            + size_of_val(&*self.plain)
            + size_of_val(&*self.heads)
            + size_of_val(&*self.byte_starts)
            + self.bytes.len()
            + size_of_val(&*self.high_counts)
            + self.tags.bytes()
    }

    /// Returns each class translated to `classes`, if the class alone determines that.
    pub(crate) fn classes_among(&self, classes: &Classes) -> Option<[u8; 256]> {
        classes.translation_of(&self.classes)
    }

    /// Returns the class of a posting with this count.
    pub(crate) fn class(&self, doc: u32, count: u8) -> u8 {
        classes::class(count, self.classes.range(self.length(doc)))
    }

    /// Returns whether the fronts of a term bound its postings, stretch by stretch or block by
    /// block, for a short and a long mean length.
    pub(crate) fn fronts_hold(&self, term: &Term<'_>) -> bool {
        [1.0, 1e3].into_iter().all(|mean_length| {
            let bounds = self.classes.bounds(mean_length);
            let mut holds = true;
            let all = term.postings.bound(&bounds);
            let mut at = 0;
            term.postings.for_each(|doc, class| {
                let bound = match term.postings {
                    Postings::Plain { postings, fronts } => {
                        Postings::stretch_bound(postings, fronts, at / STRETCH, &bounds)
                    }
                    Postings::Blocked(blocked) => blocked.bound(doc as usize / postings::BLOCK, &bounds),
                };
                let own =
                    saturation(self.count(term, doc, class), classes::norm(self.length(doc), mean_length));
                let of_class = bounds[usize::from(class)];
                holds &= own <= of_class && of_class <= bound && of_class <= all;
                at += 1;
            });
            holds
        })
    }

    pub(crate) fn ids_are_sorted(&self) -> bool {
        self.ids.is_sorted()
    }

    pub(crate) fn keys_are_sorted(&self) -> bool {
        self.terms.is_sorted() && self.tags.is_sorted()
    }
}

/// Turns a segment's classes into scores, for one mean length.
pub(crate) struct Scoring {
    pub(crate) bounds: Bounds,
    mean_length: f64,
}
