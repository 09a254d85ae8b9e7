//! Postings of tags: documents only. A frequent tag is a bitmap, any other a sorted list.

use super::dictionary::{Dictionary, Entry};

/// Share of the documents from which on a bitmap takes no more than a list of 32 bits each.
const BITMAP_SHARE: usize = 32;

/// The tags of a segment.
#[derive(Debug, Default)]
pub(crate) struct TagList {
    dictionary: Dictionary,
    lists: Box<[u32]>,
    bitmaps: Box<[u64]>,
    /// Words of one bitmap.
    words: usize,
    documents: usize,
}

/// The documents that have a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TagPostings<'a> {
    List(&'a [u32]),
    Bitmap(&'a [u64]),
}

fn is_bitmap(holders: u32, documents: usize) -> bool {
    holders as usize * BITMAP_SHARE >= documents && holders > 1
}

impl TagList {
    pub(crate) fn get(&self, tag: u64) -> Option<TagPostings<'_>> {
        self.dictionary.get(tag).map(|(number, _)| self.number(number))
    }

    /// Returns how many documents have one of these tags; a document counts for each of its tags.
    pub(crate) fn holders_of_any(&self, tags: &[u64]) -> u64 {
        tags.iter()
            .filter_map(|&tag| self.dictionary.get(tag))
            .map(|(_, entry)| u64::from(entry.documents))
            .sum()
    }

    /// Returns each tag with its documents.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, TagPostings<'_>)> {
        (0..self.dictionary.len()).map(|number| (self.dictionary.key(number), self.number(number)))
    }

    fn number(&self, number: usize) -> TagPostings<'_> {
        let entry = self.dictionary.entry(number);
        let at = entry.at as usize;
        if entry.documents == 1 {
            TagPostings::List(std::slice::from_ref(&entry.at))
        } else if is_bitmap(entry.documents, self.documents) {
            TagPostings::Bitmap(&self.bitmaps[at * self.words..(at + 1) * self.words])
        } else {
            TagPostings::List(&self.lists[at..at + entry.documents as usize])
        }
    }

    pub(crate) fn is_sorted(&self) -> bool {
        self.dictionary.is_sorted()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.dictionary.bytes() + size_of_val(&*self.lists) + size_of_val(&*self.bitmaps)
    }
}

impl TagPostings<'_> {
    /// Calls `each` with every document, ascending.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32)) {
        match *self {
            Self::List(docs) => docs.iter().for_each(|&doc| each(doc)),
            Self::Bitmap(words) => {
                for (at, &word) in words.iter().enumerate() {
                    let mut rest = word;
                    while rest != 0 {
                        each(at as u32 * 64 + rest.trailing_zeros());
                        rest &= rest - 1;
                    }
                }
            }
        }
    }
}

/// Collects the tags of a segment, by ascending tag.
pub(crate) struct TagListBuilder {
    keys: Vec<u64>,
    entries: Vec<Entry>,
    lists: Vec<u32>,
    bitmaps: Vec<u64>,
    words: usize,
    documents: usize,
}

impl TagListBuilder {
    pub(crate) fn new(documents: usize) -> Self {
        let (keys, entries, lists, bitmaps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { keys, entries, lists, bitmaps, words: documents.div_ceil(64), documents }
    }

    /// Adds the next tag with its documents, ascending. Does nothing without documents.
    pub(crate) fn push(&mut self, tag: u64, docs: &[u32]) {
        let &[first, ..] = docs else { return };
        let holders = docs.len() as u32;
        let at = if holders == 1 {
            first
        } else if is_bitmap(holders, self.documents) {
            let start = self.bitmaps.len();
            self.bitmaps.resize(start + self.words, 0);
            for &doc in docs {
                self.bitmaps[start + doc as usize / 64] |= 1 << (doc % 64);
            }
            (start / self.words.max(1)) as u32
        } else {
            self.lists.extend_from_slice(docs);
            (self.lists.len() - docs.len()) as u32
        };
        self.keys.push(tag);
        self.entries.push(Entry { at, documents: holders });
    }

    pub(crate) fn finish(self) -> TagList {
        TagList {
            dictionary: Dictionary::new(self.keys, self.entries, u64::BITS),
            lists: self.lists.into(),
            bitmaps: self.bitmaps.into(),
            words: self.words,
            documents: self.documents,
        }
    }
}
