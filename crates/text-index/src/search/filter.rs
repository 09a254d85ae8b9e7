//! Which documents may be found: those alive, with the tags that a query asks for.

use super::Query;
use crate::dead::DeadSet;
use crate::index::SegmentView;
use crate::segment::{TagList, TagPostings};
use crate::tail::Entry;

/// Which documents of a segment may be found.
pub(crate) enum Allowed<'a> {
    /// All.
    All { documents: usize },
    /// All but the dead.
    But { dead: &'a DeadSet, documents: usize },
    /// These bits.
    Only(Vec<u64>),
}

impl<'a> Allowed<'a> {
    /// None if it can be told at once that there are none.
    pub(crate) fn new(view: &'a SegmentView, query: &Query<'_>) -> Option<Self> {
        let documents = view.segment.documents();
        if query.tags_all.is_empty() && query.tags_any.is_empty() {
            return Some(match view.dead.count() {
                0 => Self::All { documents },
                _ => Self::But { dead: &view.dead, documents },
            });
        }
        let tags = view.segment.tags();
        let mut only: Option<Vec<u64>> = None;
        for &tag in query.tags_all {
            only = Some(union_within(tags, &[tag], documents, only)?);
        }
        for group in query.tags_any {
            only = Some(union_within(tags, group, documents, only)?);
        }
        let mut only = only?;
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

    /// The bits of documents from `64 * at` on.
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

    /// Whether tags leave only some, so that it is worth to look before a block is scored.
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

/// The documents with any of the tags, of those in `within`; none if there are none of them.
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
    if let Some(within) = within {
        union.iter_mut().zip(&within).for_each(|(to, word)| *to &= word);
    }
    found.then_some(union)
}

/// Whether a document of the tail has the tags.
pub(super) fn passes(entry: &Entry<'_>, query: &Query<'_>) -> bool {
    query.tags_all.iter().all(|&tag| entry.has_tag(tag))
        && query.tags_any.iter().all(|group| group.iter().any(|&tag| entry.has_tag(tag)))
}
