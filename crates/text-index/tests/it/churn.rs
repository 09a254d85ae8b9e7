//! Documents are inserted, replaced and removed while segments are built on a second thread and
//! snapshots are checked on a third.

use std::collections::BTreeSet;
use std::sync::mpsc;

use steadfast_testkit::TestRng;
use steadfast_text_index::{Build, Built, Document, Matched, Query, RowId, TextIndex};

const OPERATIONS: usize = 600_000;
/// About how many documents are live at a time.
const LIVE: usize = 12_000;
/// Distinct documents.
const TEXTS: usize = 256;
/// A snapshot is checked every so many operations.
const CHECKED_EVERY: usize = 12_000;
const TERMS: u64 = 40;

/// A few terms of which some are common, and a tag or two.
fn document(rng: &mut TestRng) -> Document {
    let terms: Vec<(u64, u32)> = (0..=rng.below(5))
        .map(|_| {
            let bound = 1 + rng.below(TERMS);
            (rng.below(bound), 1 + rng.below(3) as u32)
        })
        .collect();
    Document::new(terms).with_tags([rng.below(4), 100 + rng.below(2)])
}

/// An index and what it should hold.
struct Snapshot {
    index: TextIndex,
    /// Ids of the live documents, with which text each has.
    live: Vec<(u64, usize)>,
}

impl Snapshot {
    fn check(&self, texts: &[Document], round: usize) {
        let report = self.index.verify().unwrap_or_else(|defect| panic!("round {round}: {defect}"));
        assert_eq!((report.live, self.index.len()), (self.live.len(), self.live.len()));
        let length: u64 = self.live.iter().map(|&(_, text)| u64::from(texts[text].length())).sum();
        assert_eq!(self.index.total_tokens(), length);
        let holding = |holds: &dyn Fn(&Document) -> bool| -> BTreeSet<u64> {
            self.live.iter().filter(|&&(_, text)| holds(&texts[text])).map(|&(id, _)| id).collect()
        };
        let term = round as u64 % TERMS;
        let tag = round as u64 % 4;
        let has_term = |document: &Document| document.terms().any(|(key, _)| key == term);
        let found = self.index.search(&Query::any(&[term]).counted(), usize::MAX, None);
        let ids: BTreeSet<u64> = found.hits.iter().map(|hit| hit.id).collect();
        let expected = holding(&has_term);
        assert_eq!((found.hits.len(), found.matched), (ids.len(), Matched::Exactly(expected.len() as u64)));
        assert!(ids == expected, "round {round}: those with term {term}");
        let tagged = self.index.search(&Query::any(&[term]).tags_all(&[tag]), usize::MAX, None);
        let ids: BTreeSet<u64> = tagged.hits.iter().map(|hit| hit.id).collect();
        assert!(ids == holding(&|document| has_term(document) && document.tags().contains(&tag)));
        let with_tag: BTreeSet<u64> = self.index.ids_with(&[tag], &[&[100, 101]]).into_iter().collect();
        assert!(with_tag == holding(&|document| document.tags().contains(&tag)), "those with tag {tag}");
    }
}

struct Churn {
    index: TextIndex,
    texts: Vec<Document>,
    live: Vec<(RowId, u64, usize)>,
    next_id: u64,
    rng: TestRng,
}

impl Churn {
    fn insert(&mut self, id: u64) {
        let text = self.rng.index(TEXTS);
        let row = self.index.insert(id, &self.texts[text]);
        self.live.push((row, id, text));
    }

    /// Removes a random document, in a third of the cases one of the newest, which are in the tail.
    fn remove(&mut self) -> u64 {
        let from = if self.rng.below(3) == 0 { self.live.len().saturating_sub(300) } else { 0 };
        let at = from + self.rng.index(self.live.len() - from);
        let (row, id, text) = self.live.swap_remove(at);
        assert!(self.index.remove(row, &self.texts[text]));
        assert!(!self.index.remove(row, &self.texts[text]), "only once");
        id
    }

    fn operate(&mut self) {
        match self.rng.below(10) {
            0..4 => {
                let id = self.remove();
                self.insert(id);
            }
            4..7 if self.live.len() < 2 * LIVE => {
                self.next_id += 1;
                self.insert(self.next_id);
            }
            _ if self.live.len() > LIVE / 2 => {
                self.remove();
            }
            _ => {
                self.next_id += 1;
                self.insert(self.next_id);
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let live = self.live.iter().map(|&(_, id, text)| (id, text)).collect();
        Snapshot { index: self.index.clone(), live }
    }
}

#[test]
fn nothing_is_lost_or_left_over_in_a_churn() {
    let mut rng = TestRng::new(17);
    let texts: Vec<Document> = (0..TEXTS).map(|_| document(&mut rng)).collect();
    let index = TextIndex::with_chunk_documents_max(256);
    let mut churn = Churn { index, texts: texts.clone(), live: Vec::new(), next_id: 0, rng };
    for id in 0..LIVE as u64 {
        churn.insert(1 << 40 | id);
    }
    let (to_builder, builds) = mpsc::channel::<Build>();
    let (to_writer, built) = mpsc::channel::<Built>();
    // At most one waits to be checked: a snapshot keeps what the index has dropped.
    let (to_checker, snapshots) = mpsc::sync_channel::<Snapshot>(1);
    let (mut planned, mut dropped, mut installed) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || builds.into_iter().for_each(|build| drop(to_writer.send(build.run()))));
        let checker = scope.spawn(move || {
            let mut rounds = 0;
            for snapshot in snapshots {
                snapshot.check(&texts, rounds);
                rounds += 1;
            }
            rounds
        });
        for operation in 1..=OPERATIONS {
            churn.operate();
            for built in built.try_iter() {
                churn.index.install(built).unwrap();
                installed += 1;
            }
            if operation % 16 == 0
                && let Some(build) = churn.index.plan()
            {
                planned += 1;
                // One in ten is dropped when it is planned, one in ten when it is built.
                match planned % 10 {
                    0 => dropped += 1,
                    1 => {
                        drop(build.run());
                        dropped += 1;
                    }
                    _ => to_builder.send(build).unwrap(),
                }
            }
            // As a store does: writers wait for the builder.
            while churn.index.backlog().rows > 4 * 256 && planned > installed + dropped {
                churn.index.install(built.recv().unwrap()).unwrap();
                installed += 1;
            }
            if operation % CHECKED_EVERY == 0 {
                to_checker.send(churn.snapshot()).unwrap();
            }
        }
        drop((to_builder, to_checker));
        for built in built {
            churn.index.install(built).unwrap();
            installed += 1;
        }
        assert_eq!(checker.join().unwrap(), OPERATIONS / CHECKED_EVERY);
    });
    assert_eq!(planned, installed + dropped);
    assert!(installed > 100, "{installed} builds");
    while let Some(build) = churn.index.plan() {
        churn.index.install(build.run()).unwrap();
    }
    churn.snapshot().check(&churn.texts, 1);
    // Until nothing is left.
    while !churn.live.is_empty() {
        churn.remove();
        if churn.live.len().is_multiple_of(1000) {
            while let Some(build) = churn.index.plan() {
                churn.index.install(build.run()).unwrap();
            }
        }
    }
    churn.snapshot().check(&churn.texts, 2);
    assert!(churn.index.verify().unwrap().segments == 0);
}
