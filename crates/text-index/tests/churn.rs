//! Documents come, change and go while segments are built on another thread and snapshots are walked on a third.

use std::collections::BTreeSet;
use std::sync::mpsc;

use steadfast_text_index::{Build, Built, Document, Matched, Place, Query, TextIndex};

const OPERATIONS: usize = 600_000;
/// How many there are at a time, about.
const LIVE: usize = 12_000;
/// Different documents.
const TEXTS: usize = 256;
/// A snapshot is checked after so many operations.
const CHECKED_EVERY: usize = 12_000;
const TERMS: u64 = 40;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ bits >> 31) % end as u64) as usize
    }
}

/// A few terms of which some are common, and a tag or two.
fn document(dice: &mut Dice) -> Document {
    let terms: Vec<(u64, u32)> = (0..=dice.below(5))
        .map(|_| {
            let most = 1 + dice.below(TERMS as usize);
            (dice.below(most) as u64, 1 + dice.below(3) as u32)
        })
        .collect();
    Document::new(terms).with_tags([dice.below(4) as u64, 100 + dice.below(2) as u64])
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
        assert_eq!(report.documents, self.live.len() as u64);
        assert_eq!(self.index.documents(), report.documents);
        let length: u64 = self.live.iter().map(|&(_, text)| u64::from(texts[text].length())).sum();
        assert_eq!(self.index.length(), length);
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
    live: Vec<(Place, u64, usize)>,
    next_id: u64,
    dice: Dice,
}

impl Churn {
    fn insert(&mut self, id: u64) {
        let text = self.dice.below(TEXTS);
        let place = self.index.insert(id, &self.texts[text]);
        self.live.push((place, id, text));
    }

    /// Takes out one; of the ones that came last now and then, which are in the tail.
    fn remove(&mut self) -> u64 {
        let from = if self.dice.below(3) == 0 { self.live.len().saturating_sub(300) } else { 0 };
        let at = from + self.dice.below(self.live.len() - from);
        let (place, id, text) = self.live.swap_remove(at);
        assert!(self.index.remove(place, &self.texts[text]));
        assert!(!self.index.remove(place, &self.texts[text]), "only once");
        id
    }

    fn operate(&mut self) {
        match self.dice.below(10) {
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
    let mut dice = Dice(17);
    let texts: Vec<Document> = (0..TEXTS).map(|_| document(&mut dice)).collect();
    let index = TextIndex::with_chunk_documents_max(256);
    let mut churn = Churn { index, texts: texts.clone(), live: Vec::new(), next_id: 0, dice };
    for id in 0..LIVE as u64 {
        churn.insert(1 << 40 | id);
    }
    let (to_builder, builds) = mpsc::channel::<Build>();
    let (to_writer, built) = mpsc::channel::<Built>();
    // One waits to be checked, no more: a snapshot holds on to what the index has let go.
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
                assert!(churn.index.install(built));
                installed += 1;
            }
            if operation % 16 == 0
                && let Some(build) = churn.index.plan()
            {
                planned += 1;
                // Now and then a build comes to nothing, at once or when it is done.
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
            while churn.index.backlog().documents > 4 * 256 && planned > installed + dropped {
                assert!(churn.index.install(built.recv().unwrap()));
                installed += 1;
            }
            if operation % CHECKED_EVERY == 0 {
                to_checker.send(churn.snapshot()).unwrap();
            }
        }
        drop((to_builder, to_checker));
        for built in built {
            assert!(churn.index.install(built));
            installed += 1;
        }
        assert_eq!(checker.join().unwrap(), OPERATIONS / CHECKED_EVERY);
    });
    assert_eq!(planned, installed + dropped);
    assert!(installed > 100, "{installed} builds");
    while let Some(build) = churn.index.plan() {
        assert!(churn.index.install(build.run()));
    }
    churn.snapshot().check(&churn.texts, 1);
    // Until nothing is left.
    while !churn.live.is_empty() {
        churn.remove();
        if churn.live.len().is_multiple_of(1000) {
            while let Some(build) = churn.index.plan() {
                assert!(churn.index.install(build.run()));
            }
        }
    }
    churn.snapshot().check(&churn.texts, 2);
    assert!(churn.index.verify().unwrap().segments == 0);
}
