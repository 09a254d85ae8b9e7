//! Seeds and random numbers that a run can repeat.
//!
//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): a counter and a mixing
//! function. Enough to choose keys; nothing here is fit for cryptography.

/// The golden ratio in 64 bits: the step of the counter.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A small seeded generator of random numbers, for choosing keys and sizes. Not for cryptography.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that always gives the same numbers for one seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn of_set_up(seed: u64) -> Self {
        Self::new(mix(seed ^ 0x5E7D_5E7D_5E7D_5E7D))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product: Lemire's multiply-shift, without its rejection step.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The seed of one operation, made from the run's seed and the operation's place alone.
pub(crate) fn operation_seed(run: u64, user: u64, number: u64) -> u64 {
    let of_user = mix(run.wrapping_add(user.wrapping_add(1).wrapping_mul(STEP)));
    mix(of_user.wrapping_add(number.wrapping_add(1).wrapping_mul(STEP)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(7);
        let seen: HashSet<u64> = (0..1_000).map(|_| rng.below(10)).collect();
        assert_eq!(seen.len(), 10);
        assert!(seen.iter().all(|number| *number < 10));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn every_operation_has_a_seed_of_its_own() {
        let seeds: HashSet<u64> =
            (0..50).flat_map(|user| (0..50).map(move |number| operation_seed(1, user, number))).collect();
        assert_eq!(seeds.len(), 2_500);
        assert_eq!(operation_seed(1, 2, 3), operation_seed(1, 2, 3));
        assert_ne!(operation_seed(1, 2, 3), operation_seed(2, 2, 3));
    }
}
