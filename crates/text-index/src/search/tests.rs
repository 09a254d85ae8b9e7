//! Any history of an index against a naive BM25 over the documents that are alive: the same hits,
//! to the last bit.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use steadfast_testkit::{TestRng, cases};

use super::*;
use crate::{Build, Document, RowId};

/// Scores all documents of `live`, term by term, as the module's text says.
fn naive(
    live: &BTreeMap<u64, (RowId, Document)>,
    query: &Query<'_>,
    accept: &dyn Fn(u64) -> bool,
) -> Vec<Scored> {
    let count = live.len() as f64;
    let length: u64 = live.values().map(|(_, document)| u64::from(document.length())).sum();
    let mean = (length as f64 / count).max(1.0);
    let keys: BTreeSet<u64> = query.terms.iter().copied().collect();
    let held =
        |document: &Document, key: u64| document.terms().find(|(other, _)| *other == key).map(|(_, tf)| tf);
    let mut scores: BTreeMap<u64, (f64, u64, usize)> = BTreeMap::new();
    for &key in &keys {
        let df = live.values().filter(|(_, document)| held(document, key).is_some()).count() as f64;
        let weight = (1.0 + (count - df + 0.5) / (df + 0.5)).ln() * 2.2;
        for (&id, (_, document)) in live {
            if let Some(tf) = held(document, key) {
                let norm = 1.2 * (1.0 - 0.75 + 0.75 * f64::from(document.length()) / mean);
                let (score, bits, terms) = scores.entry(id).or_default();
                *score += weight * (1.0 / (1.0 + norm * (1.0 / f64::from(tf))));
                for (at, _) in query.terms.iter().enumerate().filter(|(_, other)| **other == key) {
                    *bits |= 1 << at;
                }
                *terms += 1;
            }
        }
    }
    let has = |id: &u64, tag: &u64| live[id].1.tags().contains(tag);
    let mut hits: Vec<Scored> = scores
        .into_iter()
        .filter(|(_, (_, _, terms))| query.mode == Mode::Any || *terms == keys.len())
        .filter(|(id, _)| query.tags_all.iter().all(|tag| has(id, tag)))
        .filter(|(id, _)| query.tags_any.iter().all(|group| group.iter().any(|tag| has(id, tag))))
        .filter(|(id, _)| query.ids.is_none_or(|ids| ids.contains(id)))
        .filter(|(id, _)| query.id_range.is_none_or(|(first, last)| (first..=last).contains(id)))
        .filter(|(id, _)| accept(*id))
        .map(|(id, (score, bits, _))| Scored { id, score: score as f32, terms: bits })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    hits
}

/// Small numbers far more often than large ones.
fn skewed(rng: &mut TestRng, below: u64) -> u64 {
    let first = rng.below(below) + 1;
    rng.below(first)
}

/// Keys spread as hashes are, and some that are neighbours.
fn term(number: u64) -> u64 {
    if number % 7 == 3 { number } else { number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8 }
}

fn document(rng: &mut TestRng, vocabulary: u64, lengths: u64) -> Document {
    let words = skewed(rng, lengths);
    let terms = (0..words).map(|_| {
        let count = if rng.below(12) == 0 { rng.below(300) } else { rng.below(3) };
        (term(skewed(rng, vocabulary)), count as u32)
    });
    let document = Document::new(terms.collect::<Vec<_>>());
    let tags = rng.below(4);
    document.with_tags((0..tags).map(|_| u64::MAX - skewed(rng, 5) * 1_000_000_007).collect::<Vec<_>>())
}

/// An index, what must be in it, and what is being built.
#[derive(Default)]
struct History {
    index: TextIndex,
    live: BTreeMap<u64, (RowId, Document)>,
    builds: Vec<Build>,
    inserted: u64,
}

impl History {
    fn new(chunk: usize) -> Self {
        Self { index: TextIndex::with_chunk_documents_max(chunk), ..Self::default() }
    }

    fn insert(&mut self, rng: &mut TestRng, shape: &Shape) {
        let id =
            if shape.scattered { self.inserted.wrapping_mul(0x9E37_79B9_7F4A_7C15) } else { self.inserted };
        self.inserted += 1;
        let document = document(rng, shape.vocabulary, shape.lengths);
        let row = self.index.insert(id, &document);
        self.live.insert(id, (row, document));
    }

    fn remove(&mut self, nth: usize) {
        let Some(&id) = self.live.keys().nth(nth % self.live.len().max(1)) else { return };
        let (row, document) = self.live.remove(&id).unwrap();
        assert!(self.index.remove(row, &document));
        assert!(!self.index.remove(row, &document), "a document dies once");
    }

    /// The document changes and keeps its id.
    fn replace(&mut self, nth: usize, rng: &mut TestRng, shape: &Shape) {
        let Some(&id) = self.live.keys().nth(nth % self.live.len().max(1)) else { return };
        let (row, old) = self.live.remove(&id).unwrap();
        assert!(self.index.remove(row, &old));
        let document = document(rng, shape.vocabulary, shape.lengths);
        self.live.insert(id, (self.index.insert(id, &document), document));
    }

    fn plan(&mut self) {
        self.builds.extend(self.index.plan());
    }

    fn install(&mut self) {
        if !self.builds.is_empty() {
            let built = self.builds.remove(0).run();
            self.index.install(built).unwrap();
        }
    }

    fn build_all(&mut self) {
        loop {
            self.plan();
            if self.builds.is_empty() {
                break;
            }
            self.install();
        }
    }

    fn snapshot(&self) -> Self {
        let (index, live) = (self.index.clone(), self.live.clone());
        Self { index, live, builds: Vec::new(), inserted: self.inserted }
    }

    fn check(&self, rng: &mut TestRng, shape: &Shape) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.index.len(), self.live.len());
        self.index.verify().map_err(|defect| TestCaseError::fail(format!("{defect}")))?;
        for k in [1, 2, 10, 1000] {
            let terms: Vec<u64> = (0..=skewed(rng, 4)).map(|_| term(skewed(rng, shape.vocabulary))).collect();
            let many: Vec<u64> = (0..20).map(term).collect();
            let tag = |number: u64| u64::MAX - number * 1_000_000_007;
            let all = [tag(rng.below(4))];
            let group = [tag(rng.below(4)), tag(rng.below(7))];
            let groups: [&[u64]; 1] = [&group];
            for mode in [Mode::Any, Mode::All] {
                for filter in 0..4 {
                    let terms = if rng.below(10) == 0 { &many } else { &terms };
                    let mut query = Query { terms, mode, count: rng.below(2) == 0, ..Query::default() };
                    if filter & 1 == 1 {
                        query = query.tags_all(&all);
                    }
                    if filter & 2 == 2 {
                        query = query.tags_any(&groups);
                    }
                    // Ids of one in three, or from one to another.
                    let all_ids: Vec<u64> = self.live.keys().copied().collect();
                    let some_ids: Vec<u64> = all_ids.iter().copied().filter(|id| id % 3 == 0).collect();
                    if rng.below(5) == 0 {
                        query = query.ids(&some_ids);
                    }
                    if rng.below(5) == 0 && !all_ids.is_empty() {
                        let mut id = || *rng.pick(&all_ids);
                        let (a, b) = (id(), id());
                        query = query.id_range(a.min(b), a.max(b));
                    }
                    // Rare tags are followed, frequent ones aren't.
                    let hint = [tag(rng.below(5)), tag(rng.below(9))];
                    let hints: [&[u64]; 1] = [&hint];
                    let hinted = |id: u64| self.live[&id].1.tags().iter().any(|tag| hint.contains(tag));
                    let odd = |id: u64| id % 3 != 1;
                    let every = |_: u64| true;
                    let (with, accept): (bool, &dyn Fn(u64) -> bool) = match rng.below(4) {
                        0 => (true, &odd),
                        1 => {
                            query = query.hints(&hints);
                            (true, &hinted)
                        }
                        _ => (false, &every),
                    };
                    let expected = naive(&self.live, &query, accept);
                    let found = self.index.search(&query, k, with.then_some(accept));
                    prop_assert_eq!(
                        &found.hits[..],
                        &expected[..k.min(expected.len())],
                        "{:?} k {}",
                        query,
                        k
                    );
                    match found.matched {
                        Matched::Exactly(count) => prop_assert_eq!(count, expected.len() as u64),
                        Matched::AtLeast(count) => {
                            prop_assert!(
                                !query.count && found.hits.len() == k && count <= expected.len() as u64
                            );
                        }
                    }
                }
            }
            let with: Vec<u64> = self
                .live
                .iter()
                .filter(|(_, (_, document))| document.tags().contains(&all[0]))
                .map(|(id, _)| *id)
                .collect();
            prop_assert_eq!(self.index.ids_with(&all, &[]), with);
            let any = |id: &&u64| self.live[*id].1.tags().iter().any(|tag| group.contains(tag));
            let with: Vec<u64> = self.live.keys().filter(any).copied().collect();
            prop_assert_eq!(self.index.ids_with(&[], &groups), with);
        }
        Ok(())
    }
}

/// What a history's documents are like.
#[derive(Clone, Debug)]
struct Shape {
    vocabulary: u64,
    lengths: u64,
    scattered: bool,
    chunk: usize,
}

fn shape() -> impl Strategy<Value = Shape> {
    let some = |numbers: &'static [u64]| prop::sample::select(numbers);
    (some(&[2, 8, 60, 2000]), some(&[2, 12, 60]), any::<bool>(), some(&[1, 8, 64])).prop_map(
        |(vocabulary, lengths, scattered, chunk)| Shape {
            vocabulary,
            lengths,
            scattered,
            chunk: chunk as usize,
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize),
    Remove(usize),
    Replace(usize),
    Plan,
    Install,
    Drop,
    Snapshot,
    /// A clone goes on; the original keeps its builds in flight.
    Fork,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..120).prop_map(Step::Insert),
        3 => (1_usize..60).prop_map(Step::Remove),
        2 => (1_usize..30).prop_map(Step::Replace),
        5 => Just(Step::Plan),
        4 => Just(Step::Install),
        1 => Just(Step::Drop),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Fork),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(150)))]

    #[test]
    fn any_history_ranks_as_the_naive_formula_does(shape in shape(), steps in steps(), seed in any::<u64>()) {
        let mut rng = TestRng::new(seed);
        let mut history = History::new(shape.chunk);
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Insert(count) => (0..count).for_each(|_| history.insert(&mut rng, &shape)),
                Step::Remove(count) => (0..count).for_each(|_| history.remove(rng.index(1 << 20))),
                Step::Replace(count) => (0..count).for_each(|_| {
                    let nth = rng.index(1 << 20);
                    history.replace(nth, &mut rng, &shape);
                }),
                Step::Plan => history.plan(),
                Step::Install => history.install(),
                Step::Drop => drop(history.builds.pop()),
                Step::Snapshot => snapshots.push(history.snapshot()),
                Step::Fork => {
                    let fork = history.snapshot();
                    snapshots.push(std::mem::replace(&mut history, fork));
                }
            }
        }
        snapshots.truncate(3);
        for snapshot in &mut snapshots {
            for build in std::mem::take(&mut snapshot.builds) {
                let foreign = history.index.install(build.run()).unwrap_err();
                snapshot.index.install(foreign.into_built()).unwrap();
            }
        }
        history.check(&mut rng, &shape)?;
        history.build_all();
        history.check(&mut rng, &shape)?;
        for snapshot in &mut snapshots {
            snapshot.check(&mut rng, &shape)?;
            snapshot.build_all();
            snapshot.check(&mut rng, &shape)?;
        }
    }
}
