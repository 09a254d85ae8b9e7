//! Maps keys to entries: sorted keys, and a directory of where the keys with equal top bits begin.

/// Average number of keys in a bucket of the directory.
const KEYS_A_BUCKET: usize = 4;

/// The entry of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The position of its postings; its meaning depends on `documents`.
    pub(crate) at: u32,
    /// Documents of the segment that hold it, dead ones included; at least 1.
    pub(crate) documents: u32,
}

/// Sorted keys with their entries. Keys are hashes, so the buckets are about equal; otherwise a
/// look-up is a binary search.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    keys: Box<[u64]>,
    entries: Box<[Entry]>,
    /// The start of each bucket's keys, and the end of the last one.
    buckets: Box<[u32]>,
    shift: u32,
}

impl Dictionary {
    /// Creates a dictionary from distinct ascending keys of at most `key_bits` bits.
    pub(crate) fn new(keys: Vec<u64>, entries: Vec<Entry>, key_bits: u32) -> Self {
        let bits = (keys.len() / KEYS_A_BUCKET).max(1).ilog2();
        let shift = key_bits - bits;
        let mut buckets = Vec::with_capacity((1 << bits) + 1);
        for (at, &key) in keys.iter().enumerate() {
            let bucket = key.checked_shr(shift).unwrap_or(0) as usize;
            while buckets.len() <= bucket {
                buckets.push(at as u32);
            }
        }
        buckets.resize((1 << bits) + 1, keys.len() as u32);
        Self { keys: keys.into(), entries: entries.into(), buckets: buckets.into(), shift }
    }

    /// Returns the number of a key, and its entry.
    pub(crate) fn get(&self, key: u64) -> Option<(usize, &Entry)> {
        let bucket = key.checked_shr(self.shift).unwrap_or(0) as usize;
        let (&start, &end) = (self.buckets.get(bucket)?, self.buckets.get(bucket + 1)?);
        let keys = self.keys.get(start as usize..end as usize)?;
        let at = start as usize + keys.partition_point(|&other| other < key);
        (self.keys.get(at) == Some(&key)).then(|| (at, &self.entries[at]))
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, at: usize) -> u64 {
        self.keys[at]
    }

    pub(crate) fn entry(&self, at: usize) -> &Entry {
        &self.entries[at]
    }

    pub(crate) fn is_sorted(&self) -> bool {
        self.keys.windows(2).all(|pair| pair[0] < pair[1])
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.entries) + size_of_val(&*self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys as hashes, and keys that are all alike in their high bits.
        #[test]
        fn finds_what_is_there_and_nothing_else(keys in prop::collection::btree_set(prop_oneof![any::<u64>(), 0..100_u64, u64::MAX - 100..=u64::MAX], 0..300), bits in prop::sample::select(vec![56_u32, 64])) {
            let keys: BTreeSet<u64> = keys.into_iter().map(|key| key & (u64::MAX >> (64 - bits))).collect();
            let entry = |at: usize| Entry { at: at as u32, documents: 1 };
            let dictionary = Dictionary::new(keys.iter().copied().collect(), (0..keys.len()).map(entry).collect(), bits);
            for (at, &key) in keys.iter().enumerate() {
                prop_assert_eq!(dictionary.get(key), Some((at, &entry(at))));
                for other in [key ^ 1, key.wrapping_add(1), !key] {
                    prop_assert_eq!(dictionary.get(other).is_some(), keys.contains(&other));
                }
            }
        }
    }
}
