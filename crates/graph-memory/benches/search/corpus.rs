//! What is remembered and what is looked for: made from numbers, so the same on every run.

use std::sync::Arc;

use steadfast_graph_memory::{Allocate, Search};

/// Dimensions of a vector.
pub(crate) const DIMENSIONS: usize = 128;
/// Different words; the word of rank *r* is met in proportion to 1 / *r*.
const VOCABULARY: usize = 50_000;
/// Ranks of common, less common and rare words: of ten texts about one holds a word of the first range, of a hundred one of the second, of a
/// thousand one of the third.
const RANKS: [std::ops::Range<usize>; 3] = [2..30, 30..300, 300..3000];
/// Standard deviation of a component around its cluster's centre, where the centres' own is 1.
const SPREAD: f64 = 0.5;

/// What memories are made of.
#[derive(Clone)]
pub(crate) struct Corpus {
    /// The sums of 1 / rank up to each word.
    cumulated: Arc<[f64]>,
    /// The centres that vectors lie around, one after the other; none for memories without vectors.
    centres: Arc<[f64]>,
}

impl Corpus {
    /// Memories with vectors around so many centres, or without vectors.
    pub(crate) fn new(clusters: usize) -> Self {
        let mut random = Random(1);
        let centres = (0..clusters * DIMENSIONS).map(|_| random.normal()).collect();
        let mut sum = 0.0;
        let cumulated = (1..=VOCABULARY).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { cumulated: cumulated.collect(), centres }
    }

    pub(crate) fn has_vectors(&self) -> bool {
        !self.centres.is_empty()
    }

    /// Memory `number`: 10 to 30 words and perhaps a vector.
    pub(crate) fn memory(&self, number: usize) -> Allocate {
        let mut random = Random(number as u64 * 2);
        let total = self.cumulated[VOCABULARY - 1];
        let words: Vec<String> = (0..10 + random.below(21))
            .map(|_| {
                let at = random.unit() * total;
                word(self.cumulated.partition_point(|&end| end < at).min(VOCABULARY - 1))
            })
            .collect();
        let memory = Allocate::new(words.join(" ")).kind("bench");
        if self.has_vectors() { memory.vector(self.vector(&mut random)) } else { memory }
    }

    /// Query `number` for two words, of the three ranges in all their mixtures.
    pub(crate) fn by_words(number: usize) -> Search {
        let mut random = Random(number as u64 * 2 + 1);
        let mut one = |range: usize| {
            let range = &RANKS[range % RANKS.len()];
            word(range.start + random.below(range.len()))
        };
        Search::new(format!("{} {}", one(number), one(number / RANKS.len())))
    }

    /// Query `number` for the neighbours of a vector of the same kind that isn't remembered.
    pub(crate) fn by_vector(&self, number: usize) -> Search {
        Search::by_vector(self.vector(&mut Random(number as u64 * 2 + 1)))
    }

    /// Query `number` for both.
    pub(crate) fn by_both(&self, number: usize) -> Search {
        let vector = self.vector(&mut Random(number as u64 * 2 + 1));
        Self::by_words(number).vector(vector)
    }

    fn vector(&self, random: &mut Random) -> Vec<f32> {
        let cluster = random.below(self.centres.len() / DIMENSIONS);
        let centre = &self.centres[cluster * DIMENSIONS..][..DIMENSIONS];
        centre.iter().map(|centre| (centre + SPREAD * random.normal()) as f32).collect()
    }
}

/// Letters alone: with digits a word would be indexed by its parts as well.
fn word(number: usize) -> String {
    let mut rest = number;
    let letters = std::iter::from_fn(|| {
        let letter = (rest > 0).then(|| char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
        letter
    });
    "w".chars().chain(letters).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Above 0 and below 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}
