//! The documents that a query admits: the live ones with its tags and ids.

use std::ops::Range;

use super::Query;
use crate::dead::DeadSet;
use crate::index::SegmentView;
use crate::segment::{TagList, TagPostings};
use crate::tail::Entry;

/// A hint is used if it leaves at most one in so many documents: otherwise its bitmaps cost more
/// than they save.
const HINT_SHARE: u64 = 8;

/// The documents of a segment that a query admits.
pub(crate) enum Allowed<'a> {
    /// All.
    All { documents: usize },
    /// All but the dead.
    But { dead: &'a DeadSet, documents: usize },
    /// These bits.
    Only(Vec<u64>),
}

impl<'a> Allowed<'a> {
    /// Returns `None` if it is clear at once that there are none.
    pub(crate) fn new(view: &'a SegmentView, query: &Query<'_>) -> Option<Self> {
        let documents = view.segment.documents();
        let tags = view.segment.tags();
        let mut only: Option<Vec<u64>> = None;
        for &tag in query.tags_all {
            only = Some(union_within(tags, &[tag], documents, only)?);
        }
        for group in query.tags_any {
            only = Some(union_within(tags, group, documents, only)?);
        }
        for group in query.hints {
            if tags.holders_of_any(group) * HINT_SHARE <= documents as u64 {
                only = Some(union_within(tags, group, documents, only)?);
            }
        }
        if let Some((first, last)) = query.id_range {
            let docs = view.segment.docs_within(first, last);
            if docs.is_empty() {
                return None;
            }
            if docs.len() < documents {
                only = Some(intersection(bits_of(std::iter::once(docs), documents), only));
            }
        }
        if let Some(ids) = query.ids {
            let docs = ids.iter().map(|&id| view.segment.docs_within(id, id));
            only = Some(intersection(bits_of(docs, documents), only));
        }
        let Some(mut only) = only else {
            return Some(match view.dead.count() {
                0 => Self::All { documents },
                _ => Self::But { dead: &view.dead, documents },
            });
        };
        if view.dead.count() > 0 {
            only.iter_mut().enumerate().for_each(|(at, word)| *word &= !view.dead.word(at));
        }
        Some(Self::Only(only))
    }

    #[inline]
    pub(crate) fn contains(&self, doc: u32) -> bool {
        match self {
            Self::All { .. } => true,
            Self::But { dead, .. } => !dead.contains(doc),
            Self::Only(words) => words[doc as usize / 64] >> (doc % 64) & 1 == 1,
        }
    }

    /// Returns the bits of documents from `64 * at` on.
    pub(crate) fn word(&self, at: usize) -> u64 {
        let all = |documents: usize| match documents.saturating_sub(at * 64) {
            0 => 0,
            rest @ 1..64 => (1 << rest) - 1,
            _ => u64::MAX,
        };
        match self {
            Self::All { documents } => all(*documents),
            Self::But { dead, documents } => all(*documents) & !dead.word(at),
            Self::Only(words) => words.get(at).copied().unwrap_or(0),
        }
    }

    /// Returns whether tags or ids admit only some, so that it pays to check before a block is
    /// scored.
    pub(crate) fn is_selective(&self) -> bool {
        matches!(self, Self::Only(_))
    }

    pub(crate) fn for_each(&self, each: &mut dyn FnMut(u32)) {
        let words = match self {
            Self::All { documents } | Self::But { documents, .. } => documents.div_ceil(64),
            Self::Only(words) => words.len(),
        };
        for at in 0..words {
            let mut rest = self.word(at);
            while rest != 0 {
                each(at as u32 * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
    }
}

/// Returns the documents in `within` that have any of the tags; `None` if there are none.
fn union_within(tags: &TagList, any: &[u64], documents: usize, within: Option<Vec<u64>>) -> Option<Vec<u64>> {
    let mut union = vec![0_u64; documents.div_ceil(64)];
    let mut found = false;
    for postings in any.iter().filter_map(|&tag| tags.get(tag)) {
        found = true;
        match postings {
            TagPostings::List(docs) => {
                for &doc in docs {
                    union[doc as usize / 64] |= 1 << (doc % 64);
                }
            }
            TagPostings::Bitmap(words) => union.iter_mut().zip(words).for_each(|(to, word)| *to |= word),
        }
    }
    found.then(|| intersection(union, within))
}

/// Returns the bits of all documents of these ranges.
fn bits_of(ranges: impl Iterator<Item = Range<usize>>, documents: usize) -> Vec<u64> {
    let mut bits = vec![0_u64; documents.div_ceil(64)];
    for docs in ranges {
        let mut at = docs.start;
        while at < docs.end {
            let (first, end) = (at % 64, (docs.end - at / 64 * 64).min(64));
            bits[at / 64] |= (u64::MAX >> (64 - (end - first))) << first;
            at += end - first;
        }
    }
    bits
}

fn intersection(mut bits: Vec<u64>, within: Option<Vec<u64>>) -> Vec<u64> {
    if let Some(within) = within {
        bits.iter_mut().zip(&within).for_each(|(to, word)| *to &= word);
    }
    bits
}

/// Returns whether a query may exclude a document of the tail.
pub(super) fn is_selective(query: &Query<'_>) -> bool {
    !query.tags_all.is_empty()
        || !query.tags_any.is_empty()
        || query.ids.is_some()
        || query.id_range.is_some()
}

/// Returns whether a document of the tail has the tags and an id that a query admits.
pub(super) fn passes(entry: &Entry<'_>, query: &Query<'_>) -> bool {
    query.id_range.is_none_or(|(first, last)| (first..=last).contains(&entry.id))
        && query.ids.is_none_or(|ids| ids.binary_search(&entry.id).is_ok())
        && query.tags_all.iter().all(|&tag| entry.has_tag(tag))
        && query.tags_any.iter().all(|group| group.iter().any(|&tag| entry.has_tag(tag)))
}

/// A group of tags, prepared for checking many documents.
pub(super) struct Group {
    /// Ascending.
    tags: Vec<u64>,
    /// One bit for each value of some bits of a tag: a tag without its bit isn't in the group.
    sieve: [u64; Self::BITS / 64],
}

impl Group {
    const BITS: usize = 4096;

    pub(super) fn new(tags: &[u64]) -> Self {
        let mut group = Self { tags: tags.to_vec(), sieve: [0; Self::BITS / 64] };
        group.tags.sort_unstable();
        for tag in tags {
            let bit = *tag as usize % Self::BITS;
            group.sieve[bit / 64] |= 1 << (bit % 64);
        }
        group
    }

    pub(super) fn has_one_of(&self, mut tags: impl Iterator<Item = u64>) -> bool {
        tags.any(|tag| {
            let bit = tag as usize % Self::BITS;
            self.sieve[bit / 64] >> (bit % 64) & 1 == 1 && self.tags.binary_search(&tag).is_ok()
        })
    }
}
