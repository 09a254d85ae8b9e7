//! Walking over everything that an index holds, and comparing what is told twice.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::index::{SegmentView, TextIndex};

/// What [`TextIndex::verify`] went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sealed segments.
    pub segments: usize,
    /// Chunks of the tail.
    pub chunks: usize,
    /// Live documents, all of them reached.
    pub documents: u64,
    /// Postings of terms, those of dead documents included.
    pub postings: u64,
}

/// Something in an index that contradicts something else in it: a bug, or a [`remove`](TextIndex::remove) with a document that
/// wasn't the one inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// Documents or lengths don't add up.
    Total {
        /// What is counted.
        what: &'static str,
        /// The index's own number.
        told: u64,
        /// What a walk finds.
        found: u64,
    },
    /// Something is not in its order, or out of bounds.
    Order {
        /// Which segment, from the oldest.
        segment: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A term's dead holders are not those of the dead documents.
    Deaths {
        /// Which segment, from the oldest.
        segment: usize,
        /// The term's key.
        key: u64,
        /// The correction of the value.
        told: u64,
        /// Dead documents among its postings.
        found: u64,
    },
    /// A document's postings don't add up to its length.
    Unreachable {
        /// Which segment, from the oldest.
        segment: usize,
        /// The document.
        id: u64,
        /// Its length.
        length: u32,
        /// Occurrences that its postings tell.
        found: u64,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total { what, told, found } => write!(f, "{what}: {told} told, {found} found"),
            Self::Order { segment, what } => write!(f, "segment {segment}: {what}"),
            Self::Deaths { segment, key, told, found } => {
                write!(
                    f,
                    "segment {segment}: term {key:#x} has {told} dead holders by the correction, {found} by its postings"
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
    /// Walks over all segments and the tail.
    ///
    /// # Errors
    /// The first [`Defect`]: postings out of order or bounds, a live document that its terms don't lead to, wrong counts.
    pub fn verify(&self) -> Result<Report, Defect> {
        let mut report = Report::default();
        let mut length = 0;
        let mut places_end = 0;
        for (number, view) in self.segments().iter().enumerate() {
            report.segments += 1;
            verify_segment(number, view, &mut report, &mut length)?;
            let order = |what| Defect::Order { segment: number, what };
            for (place, _) in view.segment.places() {
                if place < places_end {
                    return Err(order("places overlap"));
                }
                places_end = place + 1;
            }
        }
        for (chunk, documents) in self.chunks() {
            report.chunks += 1;
            if chunk.first < places_end {
                return Err(Defect::Order {
                    segment: report.segments,
                    what: "the tail begins before the segments end",
                });
            }
            places_end = chunk.first + documents as u64;
            for entry in chunk.chunk.documents(documents).filter(|entry| !chunk.is_dead(entry.at)) {
                report.documents += 1;
                length += u64::from(entry.length);
            }
        }
        let total =
            |what, told, found| if told == found { Ok(()) } else { Err(Defect::Total { what, told, found }) };
        total("live documents", self.documents(), report.documents)?;
        total("length of all live documents", self.length(), length)?;
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
    for (place, doc) in segment.places() {
        if segment.doc_at(place) != Some(doc) || std::mem::replace(&mut seen[doc as usize], true) {
            return Err(order("places and documents are not one to one"));
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
        report.postings += u64::from(holders);
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
        let (told, found) = (u64::from(view.dead_holders(key)), dead_holders.get(&key).copied().unwrap_or(0));
        if told != found {
            return Err(Defect::Deaths { segment: number, key, told, found });
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
    report.documents += view.live() as u64;
    *length += (0..documents as u32)
        .filter(|&doc| !view.dead.contains(doc))
        .map(|doc| u64::from(segment.length(doc)))
        .sum::<u64>();
    Ok(())
}
