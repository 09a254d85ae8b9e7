//! Seeded random numbers for tests: SplitMix64 (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", 2014).

/// A seeded generator. Equal seeds give equal numbers on every machine and in every build.
#[derive(Clone, Debug)]
pub struct TestRng {
    state: u64,
}

impl TestRng {
    /// Creates a generator from `seed`; any seed is as good as another, 0 included.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `bound - 1`. The bias is below `bound / 2^64`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// Returns an index into a collection of `len` items.
    ///
    /// # Panics
    /// If `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns one of `items`.
    ///
    /// # Panics
    /// If `items` is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Returns true in `part` of `whole` cases.
    ///
    /// # Panics
    /// If `whole` is 0.
    pub fn chance(&mut self, part: u64, whole: u64) -> bool {
        self.below(whole) < part
    }

    /// Returns a number from −1 (inclusive) to 1 (exclusive), uniformly, in steps of 2⁻²³.
    pub fn signed_unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Returns an approximately normal number: mean 0, standard deviation 1, never beyond ±6.
    ///
    /// The sum of twelve uniform numbers, less six (the Irwin–Hall distribution).
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.signed_unit()).sum::<f32>() / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn gives_the_published_sequence() {
        let mut rng = TestRng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_number_below_the_bound_occurs_and_no_other() {
        let mut rng = TestRng::new(7);
        let seen: HashSet<u64> = (0..1_000).map(|_| rng.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
    }

    #[test]
    fn chance_is_never_at_zero_and_always_at_one() {
        let mut rng = TestRng::new(7);
        assert!((0..100).all(|_| !rng.chance(0, 3) && rng.chance(3, 3)));
    }

    #[test]
    fn distributions_have_the_mean_and_spread_that_they_state() {
        let mut rng = TestRng::new(7);
        let spread = |numbers: &[f32]| {
            let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
            let variance =
                numbers.iter().map(|number| (number - mean).powi(2)).sum::<f32>() / numbers.len() as f32;
            (mean, variance.sqrt())
        };
        let uniform: Vec<f32> = (0..10_000).map(|_| rng.signed_unit()).collect();
        assert!(uniform.iter().all(|number| (-1.0..1.0).contains(number)));
        let (mean, deviation) = spread(&uniform);
        assert!(mean.abs() < 0.02 && (deviation - 0.577).abs() < 0.02, "{mean} {deviation}");
        let normal: Vec<f32> = (0..10_000).map(|_| rng.normal()).collect();
        let (mean, deviation) = spread(&normal);
        assert!(mean.abs() < 0.04 && (deviation - 1.0).abs() < 0.04, "{mean} {deviation}");
    }
}
