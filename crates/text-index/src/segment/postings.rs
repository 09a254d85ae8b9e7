//! Posting lists: blocks of 256 documents for frequent terms, one sorted list for any other.

use super::classes::{Bounds, Front, FrontBuilder, front_bound};

/// Documents of a block; a document's position in its block is one byte.
pub(crate) const BLOCK: usize = 256;
/// Postings that share one front in a plain list.
pub(crate) const STRETCH: usize = 128;
/// A plain list of at most so many postings has no fronts: reading its postings is as fast.
const UNFRONTED_MAX: usize = 8;
/// Average number of postings per block from which on a term gets blocks.
const BLOCKED_MIN: usize = 6;
/// Number of postings from which on a block is a bitmap (with the ranks of its four words).
const BITMAP_MIN: usize = 16;
const BITMAP_BYTES: usize = BLOCK / 8 + WORDS;
/// Words of a block's bitmap.
pub(crate) const WORDS: usize = BLOCK / 64;
// The longest list is shorter than the shortest bitmap, so a block's length decides which it is.
const _: () = assert!(2 * (BITMAP_MIN - 1) < BITMAP_BYTES + BITMAP_MIN);

/// Returns whether a term that so many documents hold gets blocks.
pub(crate) fn is_blocked(holders: u32, documents: usize) -> bool {
    holders as usize >= BLOCKED_MIN * documents.div_ceil(BLOCK)
}

/// A posting of a plain list: document in the high 24 bits, class in the low 8.
pub(crate) fn posting(doc: u32, class: u8) -> u32 {
    doc << 8 | u32::from(class)
}

pub(crate) fn doc_of(posting: u32) -> u32 {
    posting >> 8
}

/// Returns a document's position in its block.
pub(crate) fn offset_of(doc: u32) -> u8 {
    (doc as usize % BLOCK) as u8
}

pub(crate) fn class_of(posting: u32) -> u8 {
    posting as u8
}

/// The start of a block of a frequent term, and its front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Offset in the term's bytes; the block ends where the next begins.
    pub(crate) start: u32,
    pub(crate) front: Front,
}

/// The postings of one term.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Postings<'a> {
    /// Sorted; a front for each [`STRETCH`] of them, unless they are few.
    Plain {
        postings: &'a [u32],
        fronts: &'a [u32],
    },
    Blocked(Blocked<'a>),
}

/// A frequent term's blocks: one for each block of the segment, and a last head with the end and a
/// front for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked<'a> {
    pub(crate) heads: &'a [Head],
    pub(crate) bytes: &'a [u8],
}

/// A block of a frequent term.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block<'a> {
    /// Offsets in the block, ascending, and their classes; both may be empty.
    List {
        offsets: &'a [u8],
        classes: &'a [u8],
    },
    Bitmap {
        bits: &'a [u8; BITMAP_BYTES],
        classes: &'a [u8],
    },
}

impl<'a> Blocked<'a> {
    pub(crate) fn block(&self, block: usize) -> Block<'a> {
        let (start, end) = (self.heads[block].start as usize, self.heads[block + 1].start as usize);
        let bytes = &self.bytes[start..end];
        match bytes.split_first_chunk() {
            Some((bits, classes)) if bytes.len() >= BITMAP_BYTES + BITMAP_MIN => {
                Block::Bitmap { bits, classes }
            }
            _ => {
                let (offsets, classes) = bytes.split_at(bytes.len() / 2);
                Block::List { offsets, classes }
            }
        }
    }

    pub(crate) fn is_empty(&self, block: usize) -> bool {
        self.heads[block].start == self.heads[block + 1].start
    }

    /// Returns the greatest bound of a block; 0 for an empty one.
    pub(crate) fn bound(&self, block: usize, bounds: &Bounds) -> f64 {
        if self.is_empty(block) { 0.0 } else { front_bound(self.heads[block].front, bounds) }
    }

    pub(crate) fn class(&self, doc: u32) -> Option<u8> {
        self.block(doc as usize / BLOCK).class(offset_of(doc))
    }
}

impl Block<'_> {
    /// Returns the class of the document at `offset`, if it holds the term.
    pub(crate) fn class(&self, offset: u8) -> Option<u8> {
        match *self {
            Self::List { offsets, classes } => offsets
                .iter()
                .position(|&other| other >= offset)
                .filter(|&at| offsets[at] == offset)
                .map(|at| classes[at]),
            Self::Bitmap { bits, classes } => {
                let word = usize::from(offset) / 64;
                let (bits, rank) = (bits_word(bits, word), usize::from(bits[BLOCK / 8 + word]));
                let bit = 1_u64 << (offset % 64);
                (bits & bit != 0).then(|| classes[rank + (bits & (bit - 1)).count_ones() as usize])
            }
        }
    }

    /// Calls `each` with the offset and the class of each posting, ascending.
    #[inline]
    pub(crate) fn for_each(&self, mut each: impl FnMut(u8, u8)) {
        match *self {
            Self::List { offsets, classes } => {
                offsets.iter().zip(classes).for_each(|(&offset, &class)| each(offset, class));
            }
            Self::Bitmap { bits, classes } => {
                let mut classes = classes.iter();
                for word in 0..WORDS {
                    let mut rest = bits_word(bits, word);
                    while rest != 0 {
                        let offset = (word * 64) as u32 + rest.trailing_zeros();
                        rest &= rest - 1;
                        let Some(&class) = classes.next() else { return };
                        each(offset as u8, class);
                    }
                }
            }
        }
    }

    /// Returns the documents as bits.
    pub(crate) fn bits(&self) -> [u64; WORDS] {
        match *self {
            Self::List { offsets, .. } => {
                let mut words = [0; WORDS];
                for &offset in offsets {
                    words[usize::from(offset) / 64] |= 1 << (offset % 64);
                }
                words
            }
            Self::Bitmap { bits, .. } => std::array::from_fn(|word| bits_word(bits, word)),
        }
    }
}

fn bits_word(bits: &[u8; BITMAP_BYTES], word: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&bits[word * 8..word * 8 + 8]);
    u64::from_le_bytes(bytes)
}

impl Postings<'_> {
    /// Returns the greatest bound of all postings.
    pub(crate) fn bound(&self, bounds: &Bounds) -> f64 {
        match *self {
            Self::Plain { postings, fronts: [] } => {
                postings.iter().map(|&one| bounds[usize::from(class_of(one))]).fold(0.0, f64::max)
            }
            Self::Plain { fronts, .. } => {
                fronts.iter().map(|front| front_bound(front.to_le_bytes(), bounds)).fold(0.0, f64::max)
            }
            Self::Blocked(blocked) => {
                blocked.heads.last().map_or(0.0, |last| front_bound(last.front, bounds))
            }
        }
    }

    /// Returns the greatest bound of stretch `stretch` of a plain list.
    pub(crate) fn stretch_bound(postings: &[u32], fronts: &[u32], stretch: usize, bounds: &Bounds) -> f64 {
        match fronts.get(stretch) {
            Some(front) => front_bound(front.to_le_bytes(), bounds),
            None => postings.iter().map(|&one| bounds[usize::from(class_of(one))]).fold(0.0, f64::max),
        }
    }

    /// Calls `each` with document and class of each posting, ascending by document.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, u8)) {
        match *self {
            Self::Plain { postings, .. } => {
                for &one in postings {
                    each(doc_of(one), class_of(one));
                }
            }
            Self::Blocked(blocked) => {
                for block in 0..blocked.heads.len().saturating_sub(1) {
                    let first = (block * BLOCK) as u32;
                    blocked.block(block).for_each(|offset, class| each(first + u32::from(offset), class));
                }
            }
        }
    }

    /// Returns the class of a document, if it is in the list.
    pub(crate) fn class(&self, doc: u32) -> Option<u8> {
        match *self {
            Self::Plain { postings, .. } => {
                let at = postings.partition_point(|&one| doc_of(one) < doc);
                postings.get(at).filter(|&&one| doc_of(one) == doc).map(|&one| class_of(one))
            }
            Self::Blocked(blocked) => blocked.class(doc),
        }
    }
}

/// Appends the blocks of a frequent term to `heads` and `bytes`.
pub(crate) fn write_blocks(postings: &[u32], documents: usize, heads: &mut Vec<Head>, bytes: &mut Vec<u8>) {
    let base = bytes.len();
    let mut rest = postings;
    let mut all = FrontBuilder::new();
    for block in 0..documents.div_ceil(BLOCK) {
        let end = ((block + 1) * BLOCK) as u32;
        let count = rest.iter().take_while(|&&one| doc_of(one) < end).count();
        let (here, behind) = rest.split_at(count);
        rest = behind;
        let mut front = FrontBuilder::new();
        for &one in here {
            front.add(class_of(one));
            all.add(class_of(one));
        }
        heads.push(Head { start: (bytes.len() - base) as u32, front: front.finish() });
        if count >= BITMAP_MIN {
            let mut words = [0_u64; WORDS];
            for &one in here {
                words[doc_of(one) as usize % BLOCK / 64] |= 1 << (doc_of(one) % 64);
            }
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            let mut rank = 0;
            for word in words {
                // Before the last word there are at most 192.
                bytes.push(rank as u8);
                rank += word.count_ones();
            }
        } else {
            bytes.extend(here.iter().map(|&one| offset_of(doc_of(one))));
        }
        bytes.extend(here.iter().map(|&one| class_of(one)));
    }
    heads.push(Head { start: (bytes.len() - base) as u32, front: all.finish() });
}

/// Returns how many fronts a plain list has.
pub(crate) fn fronts(holders: usize) -> usize {
    if holders <= UNFRONTED_MAX { 0 } else { holders.div_ceil(STRETCH) }
}

/// Appends a plain list of more than one posting to `plain`: fronts, then postings.
pub(crate) fn write_plain(postings: &[u32], plain: &mut Vec<u32>) {
    for stretch in postings.chunks(STRETCH).take(fronts(postings.len())) {
        let mut front = FrontBuilder::new();
        for &one in stretch {
            front.add(class_of(one));
        }
        plain.push(u32::from_le_bytes(front.finish()));
    }
    plain.extend_from_slice(postings);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Blocks of every density, lists and bitmaps.
        #[test]
        fn blocks_hold_what_was_written(
            pieces in prop::collection::vec((0_usize..BLOCK, any::<u64>()), 1..6), classes in any::<u8>()
        ) {
            let documents = pieces.len() * BLOCK - 7;
            let mut model: BTreeMap<u32, u8> = BTreeMap::new();
            for (block, &(count, seed)) in pieces.iter().enumerate() {
                for step in 0..count as u64 {
                    let doc = block * BLOCK + (seed.wrapping_mul(2 * step + 1) >> 20) as usize % BLOCK;
                    if doc < documents {
                        model.insert(doc as u32, (step as u8).wrapping_mul(classes));
                    }
                }
            }
            let list: Vec<u32> = model.iter().map(|(&doc, &class)| posting(doc, class)).collect();
            let (mut heads, mut bytes) = (Vec::new(), vec![9; 5]);
            write_blocks(&list, documents, &mut heads, &mut bytes);
            let blocked = Blocked { heads: &heads, bytes: &bytes[5..] };
            let mut found = Vec::new();
            Postings::Blocked(blocked).for_each(|doc, class| found.push(posting(doc, class)));
            prop_assert_eq!(found, list);
            for doc in 0..documents as u32 {
                prop_assert_eq!(blocked.class(doc), model.get(&doc).copied());
                let bits = blocked.block(doc as usize / BLOCK).bits();
                prop_assert_eq!(bits[doc as usize % BLOCK / 64] >> (doc % 64) & 1 == 1, model.contains_key(&doc));
            }
        }
    }
}
