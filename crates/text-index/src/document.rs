//! What the index stores of a document: scored terms, unscored tags, a length.

/// Bits of a term word below the key.
const COUNT_BITS: u32 = 8;
/// The highest count of a term in a document; higher ones are stored as this.
pub(crate) const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
/// Bits of a term's key.
pub const TERM_KEY_BITS: u32 = 56;

/// A document, ready to be indexed.
///
/// Terms have 56-bit keys and are scored. Tags have 64-bit keys and are only matched. Keys are
/// hashes: the index can't tell apart two terms, or two tags, with the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Distinct terms by ascending key: key in the high 56 bits, count (1–255, saturated) in the
    /// low 8.
    terms: Box<[u64]>,
    /// Distinct, ascending.
    tags: Box<[u64]>,
    /// Occurrences of all terms, saturating.
    length: u32,
}

impl Document {
    /// Creates a document from `(key, occurrences)` pairs in any order.
    ///
    /// Only the low 56 bits of a key are used. Occurrences of equal keys are added up; pairs with 0
    /// occurrences are ignored. The document's length is the saturating sum of all occurrences; the
    /// count of a single term saturates at 255.
    pub fn new(terms: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let mut pairs: Vec<(u64, u32)> = terms
            .into_iter()
            .filter(|&(_, count)| count > 0)
            .map(|(key, count)| (key & ((1 << TERM_KEY_BITS) - 1), count))
            .collect();
        pairs.sort_unstable();
        let length = pairs.iter().fold(0_u32, |sum, &(_, count)| sum.saturating_add(count));
        pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        let terms = pairs.iter().map(|&(key, count)| term_word(key, count)).collect();
        Self { terms, tags: Box::default(), length }
    }

    /// Creates a document from what [`term_word`] returns, distinct and ascending.
    pub(crate) fn from_words(terms: Box<[u64]>, length: u32) -> Self {
        debug_assert!(terms.windows(2).all(|pair| term_key(pair[0]) < term_key(pair[1])));
        Self { terms, tags: Box::default(), length }
    }

    /// Replaces the tags, given in any order, repetitions allowed.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = u64>) -> Self {
        let mut tags: Vec<u64> = tags.into_iter().collect();
        tags.sort_unstable();
        tags.dedup();
        self.tags = tags.into();
        self
    }

    /// Returns the distinct terms by ascending key, each with its count (at most 255).
    pub fn terms(&self) -> impl Iterator<Item = (u64, u8)> {
        self.terms.iter().map(|&word| (term_key(word), term_count(word)))
    }

    /// Returns the distinct tags, ascending.
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// Returns the number of occurrences of all terms.
    pub fn length(&self) -> u32 {
        self.length
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.terms
    }
}

/// Packs a term as the tail stores it.
pub(crate) fn term_word(key: u64, count: u32) -> u64 {
    key << COUNT_BITS | u64::from(count.min(COUNT_MAX))
}

pub(crate) fn term_key(word: u64) -> u64 {
    word >> COUNT_BITS
}

pub(crate) fn term_count(word: u64) -> u8 {
    word as u8
}
