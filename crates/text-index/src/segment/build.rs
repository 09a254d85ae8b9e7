//! Builds a segment from tail chunks, or from segments.
//!
//! Chunks are inverted by counting: a first pass numbers the terms and counts their holders, a
//! second one drops each posting where it belongs. Segments are merged list by list, which never
//! looks at a single document's terms.

use super::classes::{Classes, HIGH_COUNT, class, count_group};
use super::dictionary::{Dictionary, Entry};
use super::postings::{Head, is_blocked, posting, write_blocks, write_plain};
use super::tags::TagListBuilder;
use super::{HighCount, RowIds, Segment, Term};
use crate::dead::DeadSet;
use crate::document::{TERM_KEY_BITS, term_count, term_key};
use crate::tail;

/// A document on its way into a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: u64,
    pub(crate) row: u64,
    pub(crate) length: u32,
}

/// The documents of a segment in its order, with the mapping from the incoming ones.
struct Order {
    ids: Vec<u64>,
    lengths: Vec<u32>,
    rows: RowIds,
    /// For each incoming document its number in the segment.
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
        // Documents come in by ascending row id.
        let rows = RowIds {
            ids: incoming.iter().map(|one| one.row).collect(),
            docs: (!in_order).then(|| doc.clone().into()),
        };
        let by_id = || by_id.iter().map(|&at| &incoming[at as usize]);
        Self {
            ids: by_id().map(|one| one.id).collect(),
            lengths: by_id().map(|one| one.length).collect(),
            rows,
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

    /// Adds the next term with its postings, ascending, and its counts of [`HIGH_COUNT`] and more.
    /// Does nothing without postings.
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
            rows: order.rows,
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

/// Builds a segment from the tail's documents, given by ascending row id; also returns the number
/// of each in it.
pub(crate) fn seal(documents: &[(u64, tail::Entry<'_>)]) -> (Segment, Vec<u32>) {
    let incoming: Vec<Incoming> = documents
        .iter()
        .map(|(row, entry)| Incoming { id: entry.id, row: *row, length: entry.length })
        .collect();
    let order = Order::new(&incoming);
    let classes = Classes::new(order.lengths.clone());
    let mut by_doc = vec![0_u32; documents.len()];
    for (at, &doc) in order.doc.iter().enumerate() {
        by_doc[doc as usize] = at as u32;
    }
    let in_order = || (0_u32..).zip(by_doc.iter().map(|&at| &documents[at as usize].1));
    let mut layout = Layout::new(documents.len());

    // (key, document, count) of each count of `HIGH_COUNT` and more.
    let mut high: Vec<(u64, u32, u8)> = Vec::new();
    let words = in_order().flat_map(|(doc, entry)| {
        let range = classes.range(entry.length);
        entry.terms().map(move |word| (doc, range, word))
    });
    let postings = words.map(|(doc, range, word)| {
        let (key, count) = (term_key(word), term_count(word));
        if count >= HIGH_COUNT {
            high.push((key, doc, count));
        }
        (key, posting(doc, class(count, range)))
    });
    let terms = Inverted::new(in_order().map(|(_, entry)| entry.terms_len()).sum(), postings);
    high.sort_unstable();
    let mut high = &high[..];
    let mut of_term = Vec::new();
    for (key, postings) in terms.lists() {
        of_term.clear();
        while let Some((&(other, doc, count), rest)) = high.split_first()
            && other == key
        {
            of_term.push((doc, count));
            high = rest;
        }
        layout.push(key, postings, &of_term);
    }
    let tags = in_order().flat_map(|(doc, entry)| entry.tags().map(move |tag| (tag, doc)));
    let tags = Inverted::new(in_order().map(|(_, entry)| entry.tags_len()).sum(), tags);
    for (tag, docs) in tags.lists() {
        layout.tags.push(tag, docs);
    }
    let numbers = order.doc.clone();
    (layout.finish(order, classes), numbers)
}

/// Lists of values by key.
struct Inverted {
    /// (key, where its list begins), by key.
    keys: Vec<(u64, u32)>,
    lists: Vec<u32>,
}

impl Inverted {
    /// Creates lists from pairs of key and value; each list keeps the order of its values.
    fn new(count: usize, pairs: impl Iterator<Item = (u64, u32)>) -> Self {
        let mut numbers = Numbers::new();
        let numbered = pairs.map(|(key, value)| (numbers.count(key), value));
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(count);
        pairs.extend(numbered);
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

    fn lists(&self) -> impl Iterator<Item = (u64, &[u32])> {
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

/// An odd number with well mixed bits (the golden ratio), which spreads neighbouring keys.
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

/// Builds a segment from the live documents of some segments, given by ascending row id. Also
/// returns, for each segment and each of its documents, the document's number in the new segment,
/// `u32::MAX` for a dead one.
pub(crate) fn merge(sources: &[(&Segment, &DeadSet)]) -> (Segment, Vec<Vec<u32>>) {
    let mut incoming = Vec::new();
    // First their positions in `incoming`, then their numbers.
    let mut numbers: Vec<Vec<u32>> = Vec::new();
    for (segment, dead) in sources {
        let mut of_source = vec![u32::MAX; segment.documents()];
        for (row, doc) in segment.rows() {
            if !dead.contains(doc) {
                of_source[doc as usize] = incoming.len() as u32;
                incoming.push(Incoming { id: segment.id(doc), row, length: segment.length(doc) });
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

    let among: Vec<_> = sources.iter().map(|(segment, _)| segment.classes_among(&classes)).collect();
    let mut terms: Vec<_> = sources.iter().map(|(segment, _)| segment.terms()).collect();
    let mut next: Vec<Option<Term<'_>>> = terms.iter_mut().map(Iterator::next).collect();
    let (mut postings, mut high) = (Vec::new(), Vec::new());
    while let Some(key) = next.iter().flatten().map(|term| term.key).min() {
        postings.clear();
        high.clear();
        for (source, next) in next.iter_mut().enumerate() {
            let Some(term) = next.filter(|term| term.key == key) else { continue };
            *next = terms[source].next();
            let (segment, numbers, among) = (sources[source].0, &numbers[source][..], &among[source]);
            term.postings.for_each(|doc, old| {
                let number = numbers[doc as usize];
                if number == u32::MAX {
                    return;
                }
                if count_group(old) == HIGH_COUNT {
                    high.push((number, segment.count(&term, doc, old)));
                }
                let class = match among {
                    Some(among) => among[usize::from(old)],
                    None => class(count_group(old), ranges[number as usize]),
                };
                postings.push(posting(number, class));
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
