//! The slugs of a tenant: folding, and the trie from a folded slug to an id.
//!
//! **Structure.** A trie over 28 bits of the slug's hash, eight children a branch, whose leaves are
//! small open-addressing tables of atomic words. A value owns its trie; a clone shares all of it.
//!
//! **Invariants**
//! - A word once set in a table never changes, so a table only gains words until it is replaced as
//!   a whole.
//! - In each value, the table that a slug's hash leads to holds the slug's word, if the value has
//!   that slug.
//! - It may hold more: words of memories deleted since, and of memories that only later values
//!   have, for a new word is set in place, in a table that older values share. So a table is a
//!   **superset**: whoever looks a slug up gets candidates, and verifies each against the records
//!   of its own value.
//!
//! **When a table is full**, or holds [`ALIKE_MAX`] words of one hash, the committer puts a new one
//! in its place, of the words that are live in its value; where many live, a branch of eight. Only
//! the path to it is copied, and older values keep theirs. A new table has room for half as many
//! words again as it holds, so an insertion asks of three old words on average whether they live
//! (of twelve, if one slug is created and deleted again and again), and of fewer than [`WORDS_MAX`]
//! in any case: what it costs doesn't depend on how often a slug was used, and there is no pause.
//!
//! **Orderings.** Relaxed is enough for all words: a value is published with release and loaded
//! with acquire, so a reader sees every word that was set before its value; later ones may show up
//! or not, and are discarded by the verification.
//!
//! **Hash.** Seeded at random for each trie, so that nobody can make up slugs that meet in one
//! table. It is in no log and in no state's hash.

use std::hash::{BuildHasher, RandomState};

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::sync::{Arc, AtomicU64, Ordering};

/// The form in which slugs are compared: compatibility-normalised (NFKC) and lower-cased, so that
/// spellings that a reader takes for the same are the same.
pub(crate) fn fold(slug: &str) -> String {
    if slug.is_ascii() {
        return slug.to_ascii_lowercase();
    }
    // Lower-casing can leave the normal form, and normalising can yield capitals: once around is a
    // fixed point for all but contrived input, twice for the rest.
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

/// The low 36 bits of a word are the id, which is never 0; the high 28 bits are of the slug's hash.
const ID_BITS: u32 = 36;
const ID_MASK: u64 = (1 << ID_BITS) - 1;

/// Bits of the hash that a level of branches tells apart.
const BRANCH_BITS: u32 = 3;
const CHILDREN: usize = 1 << BRANCH_BITS;
const LEVELS: u32 = (u64::BITS - ID_BITS) / BRANCH_BITS;
/// Words of a table, at least and at most; powers of two. On the last level, where all words have
/// the same hash, there is no most.
const WORDS_MIN: usize = 16;
const WORDS_MAX: usize = 128;
/// Words of the same hash in a table, unless more of them live: so many candidates a look-up
/// verifies.
const ALIKE_MAX: usize = 8;

/// A trie of slugs. See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct SlugTrie {
    root: Node,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Node {
    Branch(Arc<[Node; CHILDREN]>),
    Table(Table),
}

impl Default for SlugTrie {
    fn default() -> Self {
        Self { root: Node::Table(Table::of(&[])), seed: RandomState::new().hash_one(0) }
    }
}

impl SlugTrie {
    /// Adds the slug of a memory. `is_live` tells which memories are there; it is asked for ids
    /// that clones added, too.
    ///
    /// Only one of the clones of a trie may be added to at a time.
    pub(crate) fn insert(&mut self, folded: &str, id: u64, is_live: impl Fn(u64) -> bool) {
        debug_assert!(id != 0 && id <= ID_MASK);
        let word = self.hash_bits(folded) | id;
        let (table, level) = self.table(word);
        if table.set(word) {
            return;
        }
        let mut live: Vec<u64> = table.words().filter(|word| is_live(word & ID_MASK)).collect();
        live.push(word);
        *self.table_mut(word) = Node::of(&live, level);
    }

    /// Ids that may have this slug; each must be verified.
    pub(crate) fn candidates(&self, folded: &str) -> impl Iterator<Item = u64> {
        let bits = self.hash_bits(folded);
        let (table, _) = self.table(bits);
        table.probe(bits).map(|at| at.load(Ordering::Relaxed)).take_while(|word| *word != 0).filter_map(
            move |word| {
                let same = word & !ID_MASK == bits;
                same.then_some(word & ID_MASK)
            },
        )
    }

    /// What is kept of a slug's hash, in its place in a word.
    pub(crate) fn hash_bits(&self, folded: &str) -> u64 {
        xxh3_64_with_seed(folded.as_bytes(), self.seed) & !ID_MASK
    }

    /// The table for a word, and its level.
    fn table(&self, word: u64) -> (&Table, u32) {
        let (mut node, mut level) = (&self.root, 0);
        loop {
            match node {
                Node::Table(table) => return (table, level),
                Node::Branch(children) => node = &children[digit(word, level)],
            }
            level += 1;
        }
    }

    /// The node that is the table for a word, on a path that no other trie has.
    fn table_mut(&mut self, word: u64) -> &mut Node {
        let (mut node, mut level) = (&mut self.root, 0);
        // Asking first what it is keeps the borrow of the arm that goes on out of the one that
        // returns.
        while matches!(node, Node::Branch(_)) {
            let Node::Branch(children) = node else { unreachable!("asked a line ago") };
            node = &mut Arc::make_mut(children)[digit(word, level)];
            level += 1;
        }
        node
    }
}

/// Which child of a branch on `level` leads to a word.
fn digit(word: u64, level: u32) -> usize {
    (word >> (u64::BITS - BRANCH_BITS * (level + 1))) as usize & (CHILDREN - 1)
}

impl Node {
    /// A table of `words`, or a branch if they are too many.
    fn of(words: &[u64], level: u32) -> Self {
        if words.len() * 2 <= WORDS_MAX || level == LEVELS {
            return Self::Table(Table::of(words));
        }
        let child = |at| {
            let words: Vec<u64> = words.iter().copied().filter(|word| digit(*word, level) == at).collect();
            Self::of(&words, level + 1)
        };
        Self::Branch(Arc::new(std::array::from_fn(child)))
    }
}

/// An open-addressing table: first the number of words in it, which only the committer looks at,
/// then a power of two of words, of which a quarter at least is 0.
#[derive(Clone, Debug)]
struct Table(Arc<[AtomicU64]>);

impl Table {
    fn of(words: &[u64]) -> Self {
        let len = (words.len() * 2).next_power_of_two().max(WORDS_MIN);
        let table = Self((0..=len).map(|_| AtomicU64::new(0)).collect());
        for word in words {
            let free = table.probe(*word).find(|at| at.load(Ordering::Relaxed) == 0);
            free.expect("half of it is free").store(*word, Ordering::Relaxed);
        }
        table.0[0].store(words.len() as u64, Ordering::Relaxed);
        table
    }

    /// Sets a word, if there is room and there are few of the same hash.
    fn set(&self, word: u64) -> bool {
        let count = self.0[0].load(Ordering::Relaxed);
        if count as usize >= (self.0.len() - 1) / 4 * 3 {
            return false;
        }
        let mut alike = 0;
        for at in self.probe(word) {
            let other = at.load(Ordering::Relaxed);
            if other == 0 {
                at.store(word, Ordering::Relaxed);
                self.0[0].store(count + 1, Ordering::Relaxed);
                return true;
            }
            alike += usize::from((other ^ word) & !ID_MASK == 0);
            if alike == ALIKE_MAX {
                return false;
            }
        }
        unreachable!("a quarter of it is free")
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.0[1..].iter().map(|at| at.load(Ordering::Relaxed)).filter(|word| *word != 0)
    }

    /// All places of the table in the order in which a word looks for its own.
    fn probe(&self, word: u64) -> impl Iterator<Item = &AtomicU64> {
        let places = &self.0[1..];
        let mask = places.len() - 1;
        // The hash's lowest bits, for the path to the table is made of its highest.
        let start = (word >> ID_BITS) as usize;
        (0..places.len()).map(move |step| &places[(start + step) & mask])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{HashMap, HashSet};

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

    /// As a value uses the trie: ids are given in order, and what isn't there is discarded. Ids of
    /// other clones may be beyond what this one has.
    #[derive(Clone, Default)]
    struct Slugs {
        trie: SlugTrie,
        /// By id, counted from 1.
        slugs: Vec<Option<String>>,
    }

    impl Slugs {
        /// Creates a memory; how many others were looked at.
        fn create(&mut self, slug: &str) -> usize {
            let looked_at = Cell::new(0);
            let is_live = |id: u64| {
                looked_at.set(looked_at.get() + 1);
                self.slugs.get(id as usize - 1).is_some_and(Option::is_some)
            };
            self.trie.insert(slug, self.slugs.len() as u64 + 1, is_live);
            self.slugs.push(Some(slug.into()));
            looked_at.get()
        }

        /// The memory with this slug.
        fn find(&self, slug: &str) -> Option<u64> {
            let has_slug = |id: &u64| {
                let known = self.slugs.get(*id as usize - 1);
                known.is_some_and(|known| known.as_deref() == Some(slug))
            };
            self.trie.candidates(slug).find(has_slug)
        }

        fn delete(&mut self, id: u64) {
            self.slugs[id as usize - 1] = None;
        }
    }

    /// Tables and words, the unused ones among them.
    fn size(node: &Node) -> (usize, usize) {
        match node {
            Node::Table(table) => (1, table.0.len()),
            Node::Branch(children) => {
                children.iter().map(size).fold((0, 0), |sum, child| (sum.0 + child.0, sum.1 + child.1))
            }
        }
    }

    #[test]
    fn many_slugs_are_found_and_fit_into_three_words_each() {
        let mut slugs = Slugs::default();
        for n in 0..50_000 {
            slugs.create(&format!("slug-{n}"));
        }
        for n in 0..50_000 {
            assert_eq!(slugs.find(&format!("slug-{n}")), Some(n + 1));
        }
        assert_eq!(slugs.find("missing"), None);
        let (tables, words) = size(&slugs.trie.root);
        assert!(tables > 1000 && words < 3 * 50_000, "{tables} tables of {words} words");
    }

    /// Symptom: creating and deleting one slug 80 000 times took a millisecond a time. Cause: its
    /// dead entries stood in one chain, and every look-up went through all of them.
    #[test]
    fn what_an_operation_costs_does_not_depend_on_how_often_the_slug_was_used() {
        let mut slugs = Slugs::default();
        for n in 0..3000 {
            slugs.create(&format!("slug-{n}"));
        }
        let (mut looked_at, before) = (0, size(&slugs.trie.root));
        let pairs = 20_000;
        for n in 0..pairs {
            let slug = if n % 2 == 0 { "again".to_owned() } else { format!("once-{n}") };
            assert_eq!(slugs.find(&slug), None);
            assert!(slugs.trie.candidates(&slug).count() <= ALIKE_MAX);
            looked_at += slugs.create(&slug);
            let id = slugs.find(&slug).expect("it was just created");
            slugs.delete(id);
        }
        assert!(looked_at < 12 * pairs, "{looked_at} memories looked at for {pairs} pairs");
        let after = size(&slugs.trie.root);
        assert!(after.1 < 2 * before.1, "grew from {before:?} to {after:?}");
    }

    #[test]
    fn slugs_with_the_same_hash_are_kept_in_one_table() {
        let mut trie = SlugTrie::default();
        for id in 1..=1000 {
            trie.insert("same", id, |_| true);
        }
        let candidates: HashSet<u64> = trie.candidates("same").collect();
        assert_eq!(candidates, (1..=1000).collect());
        trie.insert("same", 1001, |id| id > 990);
        trie.insert("other", 1002, |id| id > 990);
        assert!(trie.candidates("other").any(|id| id == 1002));
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(slug in "\\PC{1,20}") {
            let folded = fold(&slug);
            prop_assert_eq!(fold(&folded), folded);
        }

        /// A hash map is the model: every clone ever made finds exactly what it had, whichever
        /// clone is written to.
        #[test]
        fn behaves_like_cloned_hash_maps(steps in prop::collection::vec((0_u8..10, any::<u32>()), 1..300)) {
            const SLUGS: u64 = 150;
            let mut all = vec![(Slugs::default(), HashMap::<u64, u64>::new())];
            for (kind, number) in steps {
                let at = number as usize % all.len();
                if kind == 0 {
                    let copy = all[at].clone();
                    all.push(copy);
                    continue;
                }
                let (slugs, model) = &mut all[at];
                for n in (u64::from(number)..).step_by(7).take(if kind < 8 { 12 } else { 1 }) {
                    let n = n % SLUGS;
                    if let Some(id) = model.remove(&n) {
                        slugs.delete(id);
                    } else {
                        slugs.create(&format!("slug-{n}"));
                        model.insert(n, slugs.slugs.len() as u64);
                    }
                }
            }
            for (slugs, model) in &all {
                for n in 0..SLUGS {
                    prop_assert_eq!(slugs.find(&format!("slug-{n}")), model.get(&n).copied());
                }
            }
        }
    }
}
