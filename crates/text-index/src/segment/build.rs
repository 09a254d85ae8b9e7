//! Making a segment of tail chunks, or of segments.
//!
//! Chunks are inverted by counting: a first pass numbers the terms and counts their holders, a second one drops each posting
//! into its place. Segments are merged list by list, which never looks at a single document's terms.

use super::classes::{Classes, HIGH_COUNT, class};
use super::dictionary::{Dictionary, Entry};
use super::postings::{Head, is_blocked, posting, write_blocks, write_plain};
use super::tags::TagListBuilder;
use super::{HighCount, Places, Segment};
use crate::dead::DeadSet;
use crate::document::{TERM_KEY_BITS, term_count, term_key};
use crate::tail;

/// A document on its way into a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) place: u64,
    pub(crate) length: u32,
}

/// The documents of a segment in its order, and which was which.
struct Order {
    ids: Vec<u64>,
    lengths: Vec<u32>,
    places: Places,
    /// The number in the segment of each incoming document.
    doc: Vec<u32>,
}

impl Order {
    fn new(incoming: &[Incoming]) -> Self {
        let in_order = incoming.windows(2).all(|pair| pair[0].id <= pair[1].id);
        let mut by_id: Vec<u32> = (0..incoming.len() as u32).collect();
        if !in_order {
            by_id.sort_by_key(|&at| incoming[at as usize].id);
        }
        let mut doc = vec![0; incoming.len()];
        for (number, &at) in by_id.iter().enumerate() {
            doc[at as usize] = number as u32;
        }
        // What comes in is in the order of places.
        let places = Places {
            places: incoming.iter().map(|one| one.place).collect(),
            docs: (!in_order).then(|| doc.clone().into()),
        };
        let by_id = || by_id.iter().map(|&at| &incoming[at as usize]);
        Self {
            ids: by_id().map(|one| one.id).collect(),
            lengths: by_id().map(|one| one.length).collect(),
            places,
            doc,
        }
    }
}

/// Takes posting lists by ascending key and lays them out.
struct Layout {
    documents: usize,
    keys: Vec<u64>,
    entries: Vec<Entry>,
    plain: Vec<u32>,
    heads: Vec<Head>,
    byte_starts: Vec<usize>,
    bytes: Vec<u8>,
    high_counts: Vec<HighCount>,
    tags: TagListBuilder,
    postings: usize,
}

impl Layout {
    fn new(documents: usize) -> Self {
        Self {
            documents,
            keys: Vec::new(),
            entries: Vec::new(),
            plain: Vec::new(),
            heads: Vec::new(),
            byte_starts: vec![0],
            bytes: Vec::new(),
            high_counts: Vec::new(),
            tags: TagListBuilder::new(documents),
            postings: 0,
        }
    }

    /// The next term with its postings, ascending, and those of its counts that a class doesn't tell; nothing if there are none.
    fn push(&mut self, key: u64, postings: &[u32], high: &[(u32, u8)]) {
        let &[first, ..] = postings else { return };
        let holders = postings.len() as u32;
        let at = if is_blocked(holders, self.documents) {
            write_blocks(postings, self.documents, &mut self.heads, &mut self.bytes);
            self.byte_starts.push(self.bytes.len());
            self.byte_starts.len() as u32 - 2
        } else if holders == 1 {
            first
        } else {
            let at = self.plain.len() as u32;
            write_plain(postings, &mut self.plain);
            at
        };
        let term = self.keys.len() as u32;
        self.high_counts.extend(high.iter().map(|&(doc, count)| HighCount { term, doc, count }));
        self.keys.push(key);
        self.entries.push(Entry { at, documents: holders });
        self.postings += postings.len();
    }

    fn finish(self, order: Order, classes: Classes) -> Segment {
        Segment {
            ids: order.ids.into(),
            lengths: order.lengths.into(),
            places: order.places,
            classes,
            terms: Dictionary::new(self.keys, self.entries, TERM_KEY_BITS),
            plain: self.plain.into(),
            heads: self.heads.into(),
            byte_starts: self.byte_starts.into(),
            bytes: self.bytes.into(),
            high_counts: self.high_counts.into(),
            tags: self.tags.finish(),
            postings: self.postings,
        }
    }
}

/// A segment of the tail's documents, which come by ascending place, and the number of each in it.
pub(crate) fn seal(documents: &[(u64, tail::Entry<'_>)]) -> (Segment, Vec<u32>) {
    let incoming: Vec<Incoming> = documents
        .iter()
        .map(|(place, entry)| Incoming { id: entry.id, place: *place, length: entry.length })
        .collect();
    let order = Order::new(&incoming);
    let classes = Classes::new(order.lengths.clone());
    let mut by_doc = vec![0_u32; documents.len()];
    for (at, &doc) in order.doc.iter().enumerate() {
        by_doc[doc as usize] = at as u32;
    }
    let in_order = || by_doc.iter().map(|&at| &documents[at as usize].1);
    let mut layout = Layout::new(documents.len());

    let terms = Inverted::new(in_order().map(tail::Entry::terms), term_key, |doc, word| {
        let count = term_count(word);
        u64::from(posting(doc, class(count, classes.range(order.lengths[doc as usize]))))
            | u64::from(count) << 32
    });
    let (mut postings, mut high) = (Vec::new(), Vec::new());
    for (key, list) in terms.lists() {
        postings.clear();
        high.clear();
        for &one in list {
            let count = (one >> 32) as u8;
            if count >= HIGH_COUNT {
                high.push((one as u32 >> 8, count));
            }
            postings.push(one as u32);
        }
        layout.push(key, &postings, &high);
    }

    let tags = Inverted::new(in_order().map(tail::Entry::tags), |tag| tag, |doc, _| u64::from(doc));
    for (tag, list) in tags.lists() {
        postings.clear();
        postings.extend(list.iter().map(|&doc| doc as u32));
        layout.tags.push(tag, &postings);
    }
    let numbers = order.doc.clone();
    (layout.finish(order, classes), numbers)
}

/// Lists by key, of documents that each bring some keys.
struct Inverted {
    /// (key, where its list begins), by key.
    keys: Vec<(u64, u32)>,
    lists: Vec<u64>,
}

impl Inverted {
    fn new<W: Iterator<Item = u64>>(
        documents: impl Iterator<Item = W>,
        key: impl Fn(u64) -> u64,
        value: impl Fn(u32, u64) -> u64,
    ) -> Self {
        let mut numbers = Numbers::new();
        // (number of the key, value) in the order of the documents.
        let mut pairs: Vec<(u32, u64)> = Vec::new();
        for (doc, words) in documents.enumerate() {
            pairs.extend(words.map(|word| (numbers.count(key(word)), value(doc as u32, word))));
        }
        let mut by_key: Vec<(u64, u32)> =
            numbers.keys.iter().enumerate().map(|(number, &key)| (key, number as u32)).collect();
        by_key.sort_unstable();
        let mut next = vec![0_u32; by_key.len()];
        let mut start = 0;
        for (_, number) in &mut by_key {
            next[*number as usize] = start;
            let begins = start;
            start += numbers.counts[*number as usize];
            *number = begins;
        }
        let mut lists = vec![0; pairs.len()];
        for (number, value) in pairs {
            let to = &mut next[number as usize];
            lists[*to as usize] = value;
            *to += 1;
        }
        Self { keys: by_key, lists }
    }

    fn lists(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.keys.iter().enumerate().map(|(at, &(key, start))| {
            let end = self.keys.get(at + 1).map_or(self.lists.len(), |&(_, start)| start as usize);
            (key, &self.lists[start as usize..end])
        })
    }
}

/// Numbers keys in the order of their first appearance, and counts them: an open-addressing table.
struct Numbers {
    /// Number of the key plus one, 0 for free. A power of two, at most half full.
    slots: Vec<u32>,
    shift: u32,
    keys: Vec<u64>,
    counts: Vec<u32>,
}

/// An odd number with its bits well mixed (the golden ratio): what makes neighbouring keys part.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

impl Numbers {
    fn new() -> Self {
        let bits = 12;
        Self { slots: vec![0; 1 << bits], shift: u64::BITS - bits, keys: Vec::new(), counts: Vec::new() }
    }

    fn count(&mut self, key: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut slot = (key.wrapping_mul(MIX) >> self.shift) as usize;
        loop {
            match self.slots[slot] {
                0 => break,
                found if self.keys[found as usize - 1] == key => {
                    self.counts[found as usize - 1] += 1;
                    return found - 1;
                }
                _ => slot = (slot + 1) & mask,
            }
        }
        self.keys.push(key);
        self.counts.push(1);
        self.slots[slot] = self.keys.len() as u32;
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        }
        self.keys.len() as u32 - 1
    }

    fn grow(&mut self) {
        self.shift -= 2;
        self.slots = vec![0; self.slots.len() * 4];
        let mask = self.slots.len() - 1;
        for (number, &key) in self.keys.iter().enumerate() {
            let mut slot = (key.wrapping_mul(MIX) >> self.shift) as usize;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = number as u32 + 1;
        }
    }
}

/// A segment of the live documents of some segments, which come by ascending place; and for each of these, which document of
/// the new one each of its documents became, `u32::MAX` for a dead one.
pub(crate) fn merge(sources: &[(&Segment, &DeadSet)]) -> (Segment, Vec<Vec<u32>>) {
    let mut incoming = Vec::new();
    // First where the documents come in, then their numbers.
    let mut numbers: Vec<Vec<u32>> = Vec::new();
    for (segment, dead) in sources {
        let mut of_source = vec![u32::MAX; segment.documents()];
        for (place, doc) in segment.places() {
            if !dead.contains(doc) {
                of_source[doc as usize] = incoming.len() as u32;
                incoming.push(Incoming { id: segment.id(doc), place, length: segment.length(doc) });
            }
        }
        numbers.push(of_source);
    }
    let order = Order::new(&incoming);
    for of_source in &mut numbers {
        for number in of_source.iter_mut().filter(|number| **number != u32::MAX) {
            *number = order.doc[*number as usize];
        }
    }
    let classes = Classes::new(order.lengths.clone());
    let ranges: Vec<u8> = order.lengths.iter().map(|&length| classes.range(length)).collect();
    let mut layout = Layout::new(incoming.len());

    let mut terms: Vec<_> = sources.iter().map(|(segment, _)| segment.terms().peekable()).collect();
    let (mut postings, mut high) = (Vec::new(), Vec::new());
    while let Some(key) = terms.iter_mut().filter_map(|terms| terms.peek().map(|term| term.key)).min() {
        postings.clear();
        high.clear();
        for (source, terms) in terms.iter_mut().enumerate() {
            let Some(term) = terms.next_if(|term| term.key == key) else { continue };
            let segment = sources[source].0;
            term.postings.for_each(|doc, old| {
                let number = numbers[source][doc as usize];
                if number == u32::MAX {
                    return;
                }
                let count = segment.count(&term, doc, old);
                if count >= HIGH_COUNT {
                    high.push((number, count));
                }
                postings.push(posting(number, class(count, ranges[number as usize])));
            });
        }
        if !postings.is_sorted() {
            postings.sort_unstable();
            high.sort_unstable();
        }
        layout.push(key, &postings, &high);
    }

    let mut tags: Vec<_> = sources.iter().map(|(segment, _)| segment.tags().iter().peekable()).collect();
    while let Some(tag) = tags.iter_mut().filter_map(|tags| tags.peek().map(|(tag, _)| *tag)).min() {
        postings.clear();
        for (source, tags) in tags.iter_mut().enumerate() {
            let Some((_, docs)) = tags.next_if(|(other, _)| *other == tag) else { continue };
            docs.for_each(|doc| {
                let number = numbers[source][doc as usize];
                if number != u32::MAX {
                    postings.push(number);
                }
            });
        }
        postings.sort_unstable();
        layout.tags.push(tag, &postings);
    }
    (layout.finish(order, classes), numbers)
}
