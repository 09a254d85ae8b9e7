//! Finds the best documents of a segment.
//!
//! A segment's documents lie in blocks of 256. For each block the bounds of the query's terms are
//! added up, and the blocks are scored in descending order of that sum until none can hold a better
//! document (Mallia, Suel and Tonellotto, "Faster Learned Sparse Retrieval with Block-Max Pruning",
//! 2024). Within a block the terms that can't make a document good enough together aren't walked,
//! only looked up for documents that the others find (MaxScore: Turtle and Flood, 1995).

use super::best::Best;
use super::{Mode, Query, QueryTerm, SLACK};
use crate::index::SegmentView;
use crate::search::Allowed;
use crate::segment::postings::{BLOCK, Block, Postings, STRETCH, WORDS, class_of, doc_of, offset_of};
use crate::segment::{Scoring, Segment, Term};

/// With more terms than this, bounds cost more than they save.
const BOUNDED_TERMS_MAX: usize = 16;
/// Blocks are ordered by so many grades of their bounds.
const GRADES: usize = 64;

/// One query on one segment.
pub(super) struct SealedSearch<'a> {
    segment: &'a Segment,
    /// Those that the segment has, by ascending key.
    terms: Vec<SealedTerm<'a>>,
    mode: Mode,
    scoring: Scoring,
    allowed: Allowed<'a>,
}

struct SealedTerm<'a> {
    term: Term<'a>,
    weight: f64,
    bits: u64,
}

impl SealedTerm<'_> {
    fn bound(&self, class: u8, scoring: &Scoring) -> f64 {
        self.weight * scoring.bounds[usize::from(class)]
    }
}

impl<'a> SealedSearch<'a> {
    /// Returns `None` if nothing of the segment can match.
    pub(super) fn new(
        view: &'a SegmentView,
        terms: &[QueryTerm],
        query: &Query<'_>,
        mean_length: f64,
    ) -> Option<Self> {
        let segment = &*view.segment;
        let found = |term: &QueryTerm| {
            let sealed = segment.term(term.key)?;
            Some(SealedTerm { term: sealed, weight: term.weight, bits: term.bits })
        };
        let sealed: Vec<_> = terms.iter().filter_map(found).collect();
        if sealed.is_empty() || (query.mode == Mode::All && sealed.len() < terms.len()) {
            return None;
        }
        let allowed = Allowed::new(view, query)?;
        Some(Self {
            segment,
            terms: sealed,
            mode: query.mode,
            scoring: segment.scoring(mean_length),
            allowed,
        })
    }

    pub(super) fn rank(&mut self, best: &mut Best<'_>) {
        match (&*self.terms, self.mode) {
            ([term], _) => match term.term.postings {
                Postings::Plain { postings, fronts } => self.one_plain(postings, fronts, best),
                Postings::Blocked(_) => self.by_blocks(best),
            },
            (_, Mode::All) => self.all_of(best),
            (terms, Mode::Any) if terms.len() > BOUNDED_TERMS_MAX => self.exhaustively(best),
            (_, Mode::Any) => self.by_blocks(best),
        }
    }

    /// Scores one term with a plain list, stretch by stretch.
    fn one_plain(&self, postings: &[u32], fronts: &[u32], best: &mut Best<'_>) {
        let term = &self.terms[0];
        for (number, stretch) in postings.chunks(STRETCH).enumerate() {
            let bound = term.weight * Postings::stretch_bound(stretch, fronts, number, &self.scoring.bounds);
            if !best.could_enter(bound, || self.segment.id(doc_of(stretch[0]))) {
                continue;
            }
            for &one in stretch {
                let bound = term.bound(class_of(one), &self.scoring);
                if bound >= best.floor() && best.could_enter(bound, || self.segment.id(doc_of(one))) {
                    self.offer(doc_of(one), |_| Some(class_of(one)), best);
                }
            }
        }
    }

    /// Scores a document exactly and offers it; `class` returns the class of each term's posting.
    fn offer(&self, doc: u32, class: impl Fn(usize) -> Option<u8>, best: &mut Best<'_>) {
        if !self.allowed.contains(doc) {
            return;
        }
        let (mut score, mut bits) = (0.0, 0);
        for (number, term) in self.terms.iter().enumerate() {
            if let Some(class) = class(number) {
                score += term.weight * self.segment.saturation(&term.term, doc, class, &self.scoring);
                bits |= term.bits;
            }
        }
        best.offer(self.segment.id(doc), score, bits);
    }

    fn blocks(&self) -> usize {
        self.segment.documents().div_ceil(BLOCK)
    }

    /// Scores documents with any or all of few terms, block by block in descending order of bounds.
    fn by_blocks(&self, best: &mut Best<'_>) {
        let blocks = self.blocks();
        let mut bounds = vec![0.0_f64; blocks];
        let mut by_term: Vec<BlockBounds> = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let of_term = BlockBounds::new(term, blocks, &self.scoring);
            bounds.iter_mut().zip(&of_term.bounds).for_each(|(sum, bound)| *sum += bound);
            by_term.push(of_term);
        }
        if self.mode == Mode::All {
            for of_term in &by_term {
                bounds
                    .iter_mut()
                    .zip(&of_term.bounds)
                    .filter(|(_, bound)| **bound == 0.0)
                    .for_each(|(sum, _)| *sum = 0.0);
            }
        }
        if self.allowed.is_selective() {
            for (block, bound) in bounds.iter_mut().enumerate() {
                if (0..WORDS).all(|word| self.allowed.word(block * WORDS + word) == 0) {
                    *bound = 0.0;
                }
            }
        }
        let mut in_block = Vec::with_capacity(self.terms.len());
        for block in descending(&bounds, best.floor()) {
            let block = block as usize;
            if bounds[block] < best.floor()
                || !best.could_enter(bounds[block], || self.segment.id((block * BLOCK) as u32))
            {
                continue;
            }
            match (&*self.terms, self.mode) {
                ([_], _) => self.one_in_block(block, best),
                (_, Mode::Any) => self.any_in_block(block, &by_term, &mut in_block, best),
                (_, Mode::All) => self.all_in_block(block, best),
            }
        }
    }

    fn one_in_block(&self, block: usize, best: &mut Best<'_>) {
        let term = &self.terms[0];
        let Postings::Blocked(blocked) = term.term.postings else { return };
        blocked.block(block).for_each(|offset, class| {
            let bound = term.bound(class, &self.scoring);
            if bound >= best.floor() {
                let doc = (block * BLOCK) as u32 + u32::from(offset);
                if best.could_enter(bound, || self.segment.id(doc)) {
                    self.offer(doc, |_| Some(class), best);
                }
            }
        });
    }

    fn any_in_block<'s>(
        &'s self,
        block: usize,
        by_term: &[BlockBounds],
        in_block: &mut Vec<InBlock<'s>>,
        best: &mut Best<'_>,
    ) {
        let first = (block * BLOCK) as u32;
        // The terms that even together can't make a document good enough, by ascending bound.
        let mut order: [usize; BOUNDED_TERMS_MAX] = std::array::from_fn(|number| number);
        let order = &mut order[..self.terms.len()];
        order.sort_unstable_by(|&a, &b| by_term[a].bounds[block].total_cmp(&by_term[b].bounds[block]));
        let (mut rest, mut minor) = (0.0, 0);
        for &number in &*order {
            let sum = rest + by_term[number].bounds[block];
            if sum * SLACK >= best.floor() {
                break;
            }
            rest = sum;
            minor += 1;
        }
        let rest = rest * SLACK;
        let major = &mut order[minor..];
        in_block.clear();
        in_block.extend(self.terms.iter().zip(by_term).map(|(term, of_term)| {
            InBlock::new(&term.term.postings, block, of_term.starts.get(block).copied())
        }));
        if let [number] = *major {
            let term = &self.terms[number];
            in_block[number].for_each(|offset, class| {
                let bound = (term.bound(class, &self.scoring) + rest) * SLACK;
                if bound >= best.floor() {
                    let doc = first + u32::from(offset);
                    self.offer(doc, |number| in_block[number].class(offset), best);
                }
            });
            return;
        }
        // A document needs one of the major terms, and `needed` terms in all.
        let (mut needed, mut sum) = (0, 0.0);
        for &number in order.iter().rev() {
            if sum * SLACK >= best.floor() && needed > 0 {
                break;
            }
            sum += by_term[number].bounds[block];
            needed += 1;
        }
        let major = &mut order[minor..];
        major.sort_unstable();
        if needed > 1 {
            let mut holders = AtLeast::new(needed);
            let mut major_bits = [0; WORDS];
            for (number, postings) in in_block.iter().enumerate() {
                let bits = postings.bits();
                holders.add(bits);
                if major.contains(&number) {
                    major_bits.iter_mut().zip(bits).for_each(|(to, bits)| *to |= bits);
                }
            }
            let mut candidates = holders.finish();
            for (word, candidates) in candidates.iter_mut().enumerate() {
                *candidates &= major_bits[word] & self.allowed.word(block * WORDS + word);
            }
            self.offer_all(block, candidates, in_block, best);
            return;
        }
        // In the order of the keys, so that without minor terms a sum is at least the score.
        let mut sums = [0.0_f64; BLOCK];
        for &number in &*major {
            let term = &self.terms[number];
            in_block[number].for_each(|offset, class| {
                sums[usize::from(offset)] += term.bound(class, &self.scoring);
            });
        }
        let slack = if minor == 0 { 1.0 } else { SLACK };
        for (offset, &sum) in sums.iter().enumerate() {
            let bound = (sum + rest) * slack;
            if sum > 0.0 && bound >= best.floor() {
                let doc = first + offset as u32;
                if best.could_enter(bound, || self.segment.id(doc)) {
                    self.offer(doc, |number| in_block[number].class(offset as u8), best);
                }
            }
        }
    }

    /// Offers these documents of a block, if their classes are good enough.
    fn offer_all(
        &self,
        block: usize,
        candidates: [u64; WORDS],
        in_block: &[InBlock<'_>],
        best: &mut Best<'_>,
    ) {
        for (word, mut rest) in candidates.into_iter().enumerate() {
            while rest != 0 {
                let offset = (word * 64) as u32 + rest.trailing_zeros();
                rest &= rest - 1;
                let mut classes = [None; BOUNDED_TERMS_MAX];
                let mut bound = 0.0;
                for (number, term) in self.terms.iter().enumerate() {
                    classes[number] = in_block[number].class(offset as u8);
                    bound += classes[number].map_or(0.0, |class| term.bound(class, &self.scoring));
                }
                let doc = (block * BLOCK) as u32 + offset;
                if best.could_enter(bound, || self.segment.id(doc)) {
                    self.offer(doc, |number| classes[number], best);
                }
            }
        }
    }

    fn all_in_block(&self, block: usize, best: &mut Best<'_>) {
        let mut bits: [u64; WORDS] = std::array::from_fn(|word| self.allowed.word(block * WORDS + word));
        for term in &self.terms {
            let Postings::Blocked(blocked) = term.term.postings else { return };
            let other = blocked.block(block).bits();
            bits.iter_mut().zip(other).for_each(|(bits, other)| *bits &= other);
        }
        for (word, mut rest) in bits.into_iter().enumerate() {
            while rest != 0 {
                let doc = (block * BLOCK + word * 64) as u32 + rest.trailing_zeros();
                rest &= rest - 1;
                let class = |number: usize| self.terms[number].term.postings.class(doc);
                let bound: f64 = (0..self.terms.len())
                    .map(|number| {
                        class(number).map_or(0.0, |class| self.terms[number].bound(class, &self.scoring))
                    })
                    .sum();
                if best.could_enter(bound, || self.segment.id(doc)) {
                    self.offer(doc, class, best);
                }
            }
        }
    }

    /// Scores documents with all of some terms: the rarest leads, the others are looked up.
    fn all_of(&self, best: &mut Best<'_>) {
        let mut order: Vec<usize> = (0..self.terms.len()).collect();
        order.sort_unstable_by_key(|&number| self.terms[number].term.documents);
        let lead = &self.terms[order[0]];
        let Postings::Plain { postings, fronts } = lead.term.postings else {
            // The rarest has blocks, so all have.
            return self.by_blocks(best);
        };
        let others: f64 = order[1..]
            .iter()
            .map(|&number| {
                self.terms[number].weight * self.terms[number].term.postings.bound(&self.scoring.bounds)
            })
            .sum();
        let mut from = vec![0_usize; order.len()];
        let mut classes = vec![0_u8; self.terms.len()];
        for (number, stretch) in postings.chunks(STRETCH).enumerate() {
            let bound = lead.weight * Postings::stretch_bound(stretch, fronts, number, &self.scoring.bounds);
            if (bound + others) * SLACK < best.floor() {
                continue;
            }
            'postings: for &one in stretch {
                let doc = doc_of(one);
                if (lead.bound(class_of(one), &self.scoring) + others) * SLACK < best.floor() {
                    continue;
                }
                classes[order[0]] = class_of(one);
                for (&number, from) in order.iter().zip(&mut from).skip(1) {
                    let found = match self.terms[number].term.postings {
                        Postings::Plain { postings, .. } => {
                            *from = seek(postings, *from, doc);
                            postings.get(*from).filter(|&&one| doc_of(one) == doc).map(|&one| class_of(one))
                        }
                        Postings::Blocked(blocked) => blocked.class(doc),
                    };
                    match found {
                        Some(class) => classes[number] = class,
                        None => continue 'postings,
                    }
                }
                let bound = self
                    .terms
                    .iter()
                    .zip(&classes)
                    .map(|(term, &class)| term.bound(class, &self.scoring))
                    .sum();
                if best.could_enter(bound, || self.segment.id(doc)) {
                    self.offer(doc, |number| Some(classes[number]), best);
                }
            }
        }
    }

    /// Scores documents with any of many terms: every posting.
    fn exhaustively(&self, best: &mut Best<'_>) {
        let mut sums = vec![0.0_f64; self.segment.documents()];
        for term in &self.terms {
            term.term.postings.for_each(|doc, class| sums[doc as usize] += term.bound(class, &self.scoring));
        }
        for (doc, &sum) in sums.iter().enumerate() {
            let doc = doc as u32;
            if sum > 0.0 && sum >= best.floor() && best.could_enter(sum, || self.segment.id(doc)) {
                self.offer(doc, |number| self.terms[number].term.postings.class(doc), best);
            }
        }
    }

    /// Returns how many documents match.
    pub(super) fn count(&self, accept: Option<&dyn Fn(u64) -> bool>) -> u64 {
        let mut bits: Vec<u64> =
            (0..self.segment.documents().div_ceil(64)).map(|at| self.allowed.word(at)).collect();
        let mut of_term = vec![0_u64; bits.len()];
        let mut union = vec![0_u64; bits.len()];
        for term in &self.terms {
            let to = if self.mode == Mode::All { &mut of_term } else { &mut union };
            term.term.postings.for_each(|doc, _| to[doc as usize / 64] |= 1 << (doc % 64));
            if self.mode == Mode::All {
                bits.iter_mut()
                    .zip(&mut of_term)
                    .for_each(|(bits, of_term)| *bits &= std::mem::take(of_term));
            }
        }
        if self.mode == Mode::Any {
            bits.iter_mut().zip(&union).for_each(|(bits, union)| *bits &= union);
        }
        match accept {
            None => bits.iter().map(|word| u64::from(word.count_ones())).sum(),
            Some(accept) => {
                let mut count = 0;
                Allowed::Only(bits).for_each(&mut |doc| count += u64::from(accept(self.segment.id(doc))));
                count
            }
        }
    }
}

/// The bounds of one term in each block; of a plain list also where each block's postings begin.
struct BlockBounds {
    /// 0 for none.
    bounds: Vec<f64>,
    /// Meaningful where there is a bound.
    starts: Vec<u32>,
}

impl BlockBounds {
    fn new(term: &SealedTerm<'_>, blocks: usize, scoring: &Scoring) -> Self {
        match term.term.postings {
            Postings::Blocked(blocked) => {
                let bound = |block| term.weight * blocked.bound(block, &scoring.bounds);
                Self { bounds: (0..blocks).map(bound).collect(), starts: Vec::new() }
            }
            Postings::Plain { postings, .. } => {
                let (mut bounds, mut starts) = (vec![0.0_f64; blocks], vec![0; blocks]);
                for (at, &one) in postings.iter().enumerate() {
                    let block = doc_of(one) as usize / BLOCK;
                    if bounds[block] == 0.0 {
                        starts[block] = at as u32;
                    }
                    bounds[block] = bounds[block].max(term.bound(class_of(one), scoring));
                }
                Self { bounds, starts }
            }
        }
    }
}

/// A term's postings in one block.
#[derive(Clone, Copy)]
enum InBlock<'a> {
    /// From the block's first posting on, to the list's end.
    Plain(&'a [u32]),
    Block(Block<'a>),
}

impl<'a> InBlock<'a> {
    fn new(postings: &Postings<'a>, block: usize, start: Option<u32>) -> Self {
        match *postings {
            Postings::Blocked(blocked) => Self::Block(blocked.block(block)),
            Postings::Plain { postings, .. } => {
                let from = &postings[start.unwrap_or(0) as usize..];
                let count = from.iter().take_while(|&&one| doc_of(one) as usize / BLOCK == block).count();
                Self::Plain(&from[..count])
            }
        }
    }

    #[inline]
    fn for_each(&self, mut each: impl FnMut(u8, u8)) {
        match self {
            Self::Plain(postings) => {
                postings.iter().for_each(|&one| each(offset_of(doc_of(one)), class_of(one)));
            }
            Self::Block(block) => block.for_each(each),
        }
    }

    fn bits(&self) -> [u64; WORDS] {
        match self {
            Self::Plain(postings) => {
                let mut words = [0; WORDS];
                postings
                    .iter()
                    .for_each(|&one| words[doc_of(one) as usize % BLOCK / 64] |= 1 << (doc_of(one) % 64));
                words
            }
            Self::Block(block) => block.bits(),
        }
    }

    fn class(&self, offset: u8) -> Option<u8> {
        match self {
            Self::Plain(postings) => {
                postings.iter().find(|&&one| offset_of(doc_of(one)) == offset).map(|&one| class_of(one))
            }
            Self::Block(block) => block.class(offset),
        }
    }
}

/// The documents of a block that hold at least so many terms.
struct AtLeast {
    needed: usize,
    /// Those that hold at least 1, 2, … of the terms so far.
    holders: [[u64; WORDS]; BOUNDED_TERMS_MAX],
}

impl AtLeast {
    fn new(needed: usize) -> Self {
        Self { needed, holders: [[0; WORDS]; BOUNDED_TERMS_MAX] }
    }

    fn add(&mut self, bits: [u64; WORDS]) {
        for level in (1..self.needed).rev() {
            let fewer = self.holders[level - 1];
            for ((to, fewer), bits) in self.holders[level].iter_mut().zip(fewer).zip(bits) {
                *to |= fewer & bits;
            }
        }
        self.holders[0].iter_mut().zip(bits).for_each(|(to, bits)| *to |= bits);
    }

    fn finish(&self) -> [u64; WORDS] {
        self.holders[self.needed - 1]
    }
}

/// Returns the blocks whose bound is above 0 and not below `floor`, by descending grade.
fn descending(bounds: &[f64], floor: f64) -> Vec<u32> {
    let greatest = bounds.iter().copied().fold(0.0, f64::max);
    let least = floor.max(0.0).min(greatest);
    let scale = (GRADES - 1) as f64 / (greatest - least).max(f64::MIN_POSITIVE);
    let grade = |bound: f64| (((greatest - bound) * scale) as usize).min(GRADES - 1);
    let eligible = |bound: f64| bound > 0.0 && bound >= floor;
    let mut starts = [0_u32; GRADES + 1];
    for &bound in bounds.iter().filter(|&&bound| eligible(bound)) {
        starts[grade(bound) + 1] += 1;
    }
    for at in 0..GRADES {
        starts[at + 1] += starts[at];
    }
    let mut blocks = vec![0; starts[GRADES] as usize];
    for (block, &bound) in bounds.iter().enumerate().filter(|(_, bound)| eligible(**bound)) {
        let to = &mut starts[grade(bound)];
        blocks[*to as usize] = block as u32;
        *to += 1;
    }
    blocks
}

/// Returns the first posting from `from` on whose document is at least `doc`, by doubling steps.
fn seek(postings: &[u32], from: usize, doc: u32) -> usize {
    let (mut low, mut step) = (from, 1);
    while postings.get(low + step - 1).is_some_and(|&one| doc_of(one) < doc) {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(postings.len());
    low + postings[low.min(high)..high].partition_point(|&one| doc_of(one) < doc)
}
