//! The slugs of a tenant: folding, and the table from a folded slug to an id.
//!
//! The table is shared by all values of the tenant and only ever gains entries, so it holds a **superset** of what any
//! one value has: slugs of memories deleted since, or created since. Whoever looks a slug up gets
//! candidates and verifies each against the records of its own value. When the table
//! is full the committer makes a larger one from what is live and leaves the old one to older values.
//!
//! An entry is one atomic word. Relaxed is enough for all of them: a value is published with release and
//! loaded with acquire, so a reader sees every entry that was written before its value; later ones may show up or not,
//! and are discarded by the verification.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use xxhash_rust::xxh3::xxh3_64;

use crate::sync::{AtomicU64, Ordering};

/// The form in which slugs are compared: compatibility-normalised (NFKC) and lower-cased, so that spellings
/// that a reader takes for the same are the same.
pub(crate) fn fold(slug: &str) -> String {
    if slug.is_ascii() {
        return slug.to_ascii_lowercase();
    }
    // Lower-casing can leave the normal form, and normalising can yield capitals: once around is a fixed point
    // for all but contrived input, twice for the rest.
    let once = |text: &str| -> String {
        let lower = if is_nfkc_quick(text.chars()) == IsNormalized::Yes {
            text.to_lowercase()
        } else {
            text.nfkc().collect::<String>().to_lowercase()
        };
        // The one letter whose small form depends on its place.
        lower.replace('ς', "σ")
    };
    let mut folded = once(slug);
    loop {
        let again = once(&folded);
        if again == folded {
            return folded;
        }
        folded = again;
    }
}

/// The low 40 bits of an entry are the id, which is never 0; the high 24 bits are of the slug's hash.
const ID_BITS: u32 = 40;
const ID_MASK: u64 = (1 << ID_BITS) - 1;

/// An open-addressing table of slugs. See the module's text.
#[derive(Debug)]
pub(crate) struct SlugTable {
    entries: Box<[AtomicU64]>,
}

impl SlugTable {
    /// A table for up to three quarters of `capacity` (a power of two) entries.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two());
        Self { entries: (0..capacity).map(|_| AtomicU64::new(0)).collect() }
    }

    /// How many entries it may hold.
    pub(crate) fn room(&self) -> usize {
        self.entries.len() / 4 * 3
    }

    /// Adds an entry. Only the committer calls this, and it keeps count.
    pub(crate) fn insert(&self, folded: &str, id: u64) {
        debug_assert!(id != 0 && id <= ID_MASK);
        let hash = xxh3_64(folded.as_bytes());
        let entry = (hash & !ID_MASK) | id;
        for at in self.probe(hash) {
            if at.load(Ordering::Relaxed) == 0 {
                at.store(entry, Ordering::Relaxed);
                return;
            }
        }
        unreachable!("the table is never filled");
    }

    /// Ids that may have this slug; each must be verified.
    pub(crate) fn candidates(&self, folded: &str) -> impl Iterator<Item = u64> {
        let hash = xxh3_64(folded.as_bytes());
        self.probe(hash)
            .map(|at| at.load(Ordering::Relaxed))
            .take_while(|entry| *entry != 0)
            .filter(move |entry| entry & !ID_MASK == hash & !ID_MASK)
            .map(|entry| entry & ID_MASK)
    }

    /// The ids of all entries, the dead ones among them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.load(Ordering::Relaxed) & ID_MASK).filter(|id| *id != 0)
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.entries.len() - 1;
        let start = hash as usize & mask;
        (0..self.entries.len()).map(move |step| &self.entries[(start + step) & mask])
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_that_look_alike_fold_alike() {
        let same = [
            ("Blue-Whale", "blue-whale"),
            ("ﬁsh", "fish"),              // a ligature
            ("Ａcme", "acme"),            // full width
            ("caf\u{e9}", "cafe\u{301}"), // composed and decomposed
            ("\u{212a}elvin", "kelvin"),  // the Kelvin sign
        ];
        for (a, b) in same {
            assert_eq!(fold(a), fold(b), "{a:?} and {b:?}");
        }
        assert_ne!(fold("a_b"), fold("a-b"));
    }

    #[test]
    fn finds_what_was_inserted_among_candidates() {
        let table = SlugTable::with_capacity(64);
        for id in 1..=48 {
            table.insert(&format!("slug-{}", id % 12), id);
        }
        assert_eq!(table.room(), 48);
        let mut found: Vec<u64> = table.candidates("slug-5").collect();
        found.sort_unstable();
        assert_eq!(found, [5, 17, 29, 41]);
        assert_eq!(table.candidates("missing").count(), 0);
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(slug in "\\PC{1,20}") {
            let folded = fold(&slug);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
