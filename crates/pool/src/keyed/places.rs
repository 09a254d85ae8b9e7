//! Where the table keeps each address: open addressing with the hashes at hand, so that a look-up compares one string and calls nothing.

/// Slots are at most half full.
const SLOTS_MIN: usize = 8;

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    /// The entry's place in the table; `EMPTY` if there is none.
    place: usize,
}

const EMPTY: usize = usize::MAX;
const FREE: Slot = Slot { hash: 0, place: EMPTY };

/// From an address' hash to its place.
pub(crate) struct Places {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    count: usize,
}

impl Places {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), count: 0 }
    }

    /// The place with this hash that `is` the right one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        self.slot(hash, is).map(|at| self.slots[at].place)
    }

    #[inline]
    fn slot(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let last = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & last;
        loop {
            // None only while there are no slots at all.
            let slot = self.slots.get(at)?;
            if slot.place == EMPTY {
                return None;
            }
            if slot.hash == hash && is(slot.place) {
                return Some(at);
            }
            at = (at + 1) & last;
        }
    }

    /// Adds a place that isn't there.
    pub(crate) fn insert(&mut self, hash: u64, place: usize) {
        if (self.count + 1) * 2 > self.slots.len() {
            let slots = (self.slots.len() * 2).max(SLOTS_MIN);
            for slot in std::mem::replace(&mut self.slots, vec![FREE; slots]) {
                if slot.place != EMPTY {
                    self.put(slot);
                }
            }
        }
        self.count += 1;
        self.put(Slot { hash, place });
    }

    fn put(&mut self, slot: Slot) {
        let last = self.slots.len() - 1;
        let mut at = slot.hash as usize & last;
        while self.slots[at].place != EMPTY {
            at = (at + 1) & last;
        }
        self.slots[at] = slot;
    }

    /// Takes a place out, and moves up what its slot had pushed on (Knuth's algorithm 6.4R).
    pub(crate) fn remove(&mut self, hash: u64, place: usize) {
        let Some(mut hole) = self.slot(hash, |found| found == place) else { return };
        let last = self.slots.len() - 1;
        let mut at = hole;
        self.count -= 1;
        loop {
            at = (at + 1) & last;
            let slot = self.slots[at];
            if slot.place == EMPTY {
                break;
            }
            // It may go to the hole unless its own first slot lies after it.
            let from_home = at.wrapping_sub(slot.hash as usize) & last;
            if from_home >= at.wrapping_sub(hole) & last {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = FREE;
    }

    /// An entry has moved.
    pub(crate) fn moved(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(at) = self.slot(hash, |found| found == from) {
            self.slots[at].place = to;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// An address' hash. Addresses come from whoever set the pool up, so a quick one will do: eight bytes a step, as in Firefox.
#[inline]
pub(crate) fn hash_of(address: &str) -> u64 {
    let bytes = address.as_bytes();
    let mix = |hash: u64, word: [u8; 8]| {
        (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, *word));
    if !rest.is_empty() {
        // The last eight bytes, though some were read before: quicker than a copy of the rest.
        let last = bytes.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            padded
        });
        hash = mix(hash, last);
    }
    // Slots go by the lowest bits, which a product mixes least: both halves of one twice as wide.
    let wide = u128::from(hash ^ hash >> 32) * 0x9e37_79b9_7f4a_7c15;
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Beside a map of the standard library; hashes are few, so that they collide and wrap around.
        #[test]
        fn places_are_found_after_any_history(
            ops in prop::collection::vec((any::<bool>(), 0_usize..40), 1..200),
            hashes in 1_u64..20,
        ) {
            let mut places = Places::new();
            let mut model = HashMap::new();
            let hash = |key: usize| key as u64 % hashes * 7;
            for (number, (adds, key)) in ops.into_iter().enumerate() {
                match (adds, model.get(&key).copied()) {
                    (true, None) => {
                        places.insert(hash(key), number);
                        model.insert(key, number);
                    }
                    (true, Some(place)) => {
                        places.moved(hash(key), place, number);
                        model.insert(key, number);
                    }
                    (false, Some(place)) => {
                        places.remove(hash(key), place);
                        model.remove(&key);
                    }
                    (false, None) => places.remove(hash(key), usize::MAX - 1),
                }
                for key in 0..40 {
                    let expected = model.get(&key).copied();
                    prop_assert_eq!(places.find(hash(key), |place| Some(place) == expected), expected);
                }
                prop_assert_eq!(places.count, model.len());
            }
        }
    }

    #[test]
    fn addresses_that_differ_little_hash_differently() {
        let addresses =
            (0..200).flat_map(|host| (0..50).map(move |port| format!("10.0.0.{host}:{}", 8000 + port)));
        let mut slots = HashMap::new();
        for address in addresses {
            *slots.entry(hash_of(&address) & 0x3fff).or_insert(0_u32) += 1;
        }
        // 10,000 in 16,384 slots: by chance no slot gets more than eight or so.
        assert!(slots.values().all(|count| *count <= 12), "{:?}", slots.values().max());
        assert_ne!(hash_of("a"), hash_of("a\0"));
        assert_ne!(hash_of(""), hash_of("\0"));
    }
}
