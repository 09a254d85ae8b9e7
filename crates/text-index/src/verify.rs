//! Checks everything that an index holds: each number against a recount, each order, each bound.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::index::{SegmentView, TextIndex};

/// What [`TextIndex::verify`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Documents that a search can find.
    pub live: usize,
    /// Documents that were removed and still take memory.
    pub dead: usize,
    /// Documents in the tail, removed ones included.
    pub unsealed: usize,
    /// Sealed segments.
    pub segments: usize,
    /// Postings of terms in segments, those of removed documents included.
    pub postings: usize,
    /// Bytes of memory: see [`TextIndex::bytes`].
    pub bytes: usize,
}

/// A contradiction in an index: a bug, or a [`remove`](TextIndex::remove) with another document
/// than was inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// A total of the index differs from a recount.
    Total {
        /// What is counted.
        what: &'static str,
        /// The index's own number.
        recorded: u64,
        /// The recount.
        found: u64,
    },
    /// Something is out of order or out of bounds.
    Order {
        /// The segment, counted from the oldest.
        segment: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The recorded number of removed documents that hold a term differs from its postings.
    Deaths {
        /// The segment, counted from the oldest.
        segment: usize,
        /// The term's key.
        key: u64,
        /// The recorded number.
        recorded: u64,
        /// Removed documents among the term's postings.
        found: u64,
    },
    /// A document's postings don't add up to its length.
    Unreachable {
        /// The segment, counted from the oldest.
        segment: usize,
        /// The document's id.
        id: u64,
        /// The document's length.
        length: u32,
        /// Occurrences in the document's postings.
        found: u64,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total { what, recorded, found } => {
                write!(f, "{what}: {recorded} recorded, {found} found")
            }
            Self::Order { segment, what } => write!(f, "segment {segment}: {what}"),
            Self::Deaths { segment, key, recorded, found } => {
                write!(
                    f,
                    "segment {segment}: term {key:#x} is recorded in {recorded} removed documents, found in {found}"
                )
            }
            Self::Unreachable { segment, id, length, found } => {
                write!(f, "segment {segment}: document {id} of length {length} has postings for {found}")
            }
        }
    }
}

impl Error for Defect {}

impl TextIndex {
    /// Walks the whole index and checks its invariants: orders, bounds and counts, and that each
    /// live document's terms lead to it.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn verify(&self) -> Result<Report, Defect> {
        let segments = self.segments().len();
        let mut report = Report { segments, bytes: self.bytes(), ..Report::default() };
        let mut length = 0;
        let mut next_row = 0;
        for (number, view) in self.segments().iter().enumerate() {
            verify_segment(number, view, &mut report, &mut length)?;
            let order = |what| Defect::Order { segment: number, what };
            for (row, _) in view.segment.rows() {
                if row < next_row {
                    return Err(order("row ids overlap"));
                }
                next_row = row + 1;
            }
        }
        for (chunk, documents) in self.chunks() {
            if chunk.first < next_row {
                return Err(Defect::Order {
                    segment: report.segments,
                    what: "the tail begins before the segments end",
                });
            }
            next_row = chunk.first + documents as u64;
            report.unsealed += documents;
            for entry in chunk.chunk.documents(documents) {
                if chunk.is_dead(entry.at) {
                    report.dead += 1;
                } else {
                    report.live += 1;
                    length += u64::from(entry.length);
                }
            }
        }
        let total = |what, recorded, found| {
            if recorded == found { Ok(()) } else { Err(Defect::Total { what, recorded, found }) }
        };
        total("live documents", self.len() as u64, report.live as u64)?;
        total("length of all live documents", self.total_tokens(), length)?;
        total("documents in the tail", self.unsealed() as u64, report.unsealed as u64)?;
        Ok(report)
    }
}

fn verify_segment(
    number: usize,
    view: &SegmentView,
    report: &mut Report,
    length: &mut u64,
) -> Result<(), Defect> {
    let segment = &*view.segment;
    let documents = segment.documents();
    let order = |what| Defect::Order { segment: number, what };
    if !segment.ids_are_sorted() || !segment.keys_are_sorted() {
        return Err(order("ids or keys are not ascending"));
    }
    let mut seen = vec![false; documents];
    for (row, doc) in segment.rows() {
        if segment.doc_of(row) != Some(doc) || std::mem::replace(&mut seen[doc as usize], true) {
            return Err(order("row ids and documents are not one to one"));
        }
    }
    let dead = (0..documents as u32).filter(|&doc| view.dead.contains(doc)).count();
    if dead != view.dead.count() as usize || dead + view.live() != documents {
        return Err(order("dead documents are not those that are counted"));
    }

    let mut occurrences = vec![0_u64; documents];
    let mut saturated = vec![false; documents];
    let mut dead_holders: BTreeMap<u64, u64> = BTreeMap::new();
    for term in segment.terms() {
        let (mut holders, mut next, mut in_order) = (0, 0, true);
        term.postings.for_each(|doc, class| {
            in_order &= doc >= next && (doc as usize) < documents && term.postings.class(doc) == Some(class);
            next = doc + 1;
            holders += 1;
            if in_order {
                let count = segment.count(&term, doc, class);
                in_order &= segment.class(doc, count) == class;
                occurrences[doc as usize] += u64::from(count);
                saturated[doc as usize] |= count == u8::MAX;
                if view.dead.contains(doc) {
                    *dead_holders.entry(term.key).or_default() += 1;
                }
            }
        });
        if !in_order
            || holders != term.documents
            || segment.term(term.key).map(|found| found.documents) != Some(holders)
        {
            return Err(order("a term's postings are not in order, or not found by look-up"));
        }
        if !segment.fronts_hold(&term) {
            return Err(order("a block's front doesn't bound its postings"));
        }
        report.postings += holders as usize;
    }
    for (doc, (&found, &saturated)) in occurrences.iter().zip(&saturated).enumerate() {
        let all = segment.length(doc as u32);
        if found > u64::from(all) || (found < u64::from(all) && !saturated) {
            return Err(Defect::Unreachable {
                segment: number,
                id: segment.id(doc as u32),
                length: all,
                found,
            });
        }
    }
    for key in view.dead_keys().chain(dead_holders.keys().copied()) {
        let recorded = u64::from(view.dead_holders(key));
        let found = dead_holders.get(&key).copied().unwrap_or(0);
        if recorded != found {
            return Err(Defect::Deaths { segment: number, key, recorded, found });
        }
    }
    for (_, postings) in segment.tags().iter() {
        let (mut next, mut in_order) = (0, true);
        postings.for_each(|doc| {
            in_order &= doc >= next && (doc as usize) < documents;
            next = doc + 1;
        });
        if !in_order {
            return Err(order("a tag's documents are not ascending"));
        }
    }
    report.live += view.live();
    report.dead += dead;
    *length += (0..documents as u32)
        .filter(|&doc| !view.dead.contains(doc))
        .map(|doc| u64::from(segment.length(doc)))
        .sum::<u64>();
    Ok(())
}
