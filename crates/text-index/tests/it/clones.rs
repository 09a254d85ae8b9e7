//! Who may install which build: an index installs what it planned itself, whatever its clones do.

use steadfast_text_index::{Build, Query, RowId, TextIndex, document_terms, query_keys};

/// An index with small chunks, so that `plan` returns something soon.
fn filled(documents: u64) -> TextIndex {
    let mut index = TextIndex::with_chunk_documents_max(16);
    insert(&mut index, 0..documents);
    index
}

fn insert(index: &mut TextIndex, ids: std::ops::Range<u64>) {
    for id in ids {
        assert_eq!(index.insert(id, &document_terms(&text(id))), RowId::new(id));
    }
}

fn remove(index: &mut TextIndex, id: u64) {
    assert!(index.remove(RowId::new(id), &document_terms(&text(id))));
}

fn text(id: u64) -> String {
    format!("common word{id}")
}

fn ids(index: &TextIndex) -> Vec<u64> {
    index.verify().unwrap();
    let hits = index.search(&Query::any(&query_keys("common")), usize::MAX, None).hits;
    let mut ids: Vec<u64> = hits.iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

fn build_all(index: &mut TextIndex) {
    while let Some(build) = index.plan() {
        index.install(build.run()).unwrap();
    }
}

/// An index with a seal in flight.
fn sealing() -> (TextIndex, Build) {
    let mut index = filled(100);
    let build = index.plan().unwrap();
    assert!(!build.is_merge());
    (index, build)
}

/// An index with a merge in flight: of segments of 64 documents each.
fn merging() -> (TextIndex, Build) {
    let mut index = filled(0);
    for id in 0.. {
        insert(&mut index, id..id + 1);
        if let Some(build) = index.plan() {
            if build.is_merge() {
                return (index, build);
            }
            index.install(build.run()).unwrap();
        }
    }
    unreachable!("segments are merged at some time")
}

#[test]
fn a_build_in_flight_is_not_planned_again_and_a_dropped_one_is() {
    let mut index = filled(100);
    let first = index.plan().unwrap();
    assert!(index.plan().is_none());
    let rows = first.rows();
    drop(first);
    let second = index.plan().unwrap();
    assert_eq!(second.rows(), rows);
    let built = second.run();
    assert!(index.plan().is_none());
    drop(built);
    let third = index.plan().unwrap();
    index.install(third.run()).unwrap();
    assert_eq!(ids(&index), (0..100).collect::<Vec<_>>());
}

#[test]
fn one_seal_and_one_merge_are_in_flight_at_once() {
    let (mut index, merge) = merging();
    let (start, end) = (index.len() as u64, index.len() as u64 + 200);
    insert(&mut index, start..end);
    let seal = index.plan().unwrap();
    assert!(!seal.is_merge());
    assert!(index.plan().is_none());
    index.install(seal.run()).unwrap();
    index.install(merge.run()).unwrap();
    assert_eq!(ids(&index), (0..end).collect::<Vec<_>>());
}

#[test]
fn a_clone_plans_what_its_original_has_in_flight_and_each_installs_its_own() {
    for (mut index, build) in [sealing(), merging()] {
        let all = ids(&index);
        let mut clone = index.clone();
        let own = clone.plan().expect("a clone has nothing in flight");
        assert_eq!((own.is_merge(), own.rows()), (build.is_merge(), build.rows()));
        // Each loses documents that the other one keeps, before and after the builds run.
        remove(&mut index, 1);
        remove(&mut clone, 2);
        let (built, own) = (build.run(), own.run());
        remove(&mut index, 3);
        remove(&mut clone, 4);
        clone.install(own).unwrap();
        index.install(built).unwrap();
        let without =
            |gone: [u64; 2]| all.iter().copied().filter(|id| !gone.contains(id)).collect::<Vec<_>>();
        assert_eq!((ids(&index), ids(&clone)), (without([1, 3]), without([2, 4])));
        build_all(&mut index);
        build_all(&mut clone);
        assert_eq!((ids(&index), ids(&clone)), (without([1, 3]), without([2, 4])));
    }
}

#[test]
fn a_build_that_another_index_planned_is_refused_and_handed_back() {
    for merge in [false, true] {
        let planned = if merge { merging } else { sealing };
        let (mut index, build) = planned();
        let mut clone = index.clone();
        let mut clone_in_flight = index.clone();
        let own = clone_in_flight.plan().unwrap();
        let (mut twin, of_twin) = planned();
        let (all, segments) = (ids(&index), index.verify().unwrap().segments);
        // Whether it has nothing, its own, or something equal in flight, an index refuses what it
        // didn't plan.
        let mut built = build.run();
        for other in [&mut clone, &mut clone_in_flight, &mut twin] {
            let refused = other.install(built).unwrap_err();
            assert_eq!(refused.to_string(), "another index planned this build");
            built = refused.into_built();
            assert_eq!(built.is_merge(), merge);
            assert_eq!((ids(other), other.verify().unwrap().segments), (all.clone(), segments));
        }
        // A refusal ends nothing: all that was in flight still is, and can be installed.
        assert!(index.plan().is_none() && clone_in_flight.plan().is_none() && twin.plan().is_none());
        index.install(built).unwrap();
        clone_in_flight.install(own.run()).unwrap();
        twin.install(of_twin.run()).unwrap();
        build_all(&mut clone);
        for other in [&index, &clone, &clone_in_flight, &twin] {
            assert_eq!(ids(other), all);
        }
    }
}

#[test]
fn an_original_refuses_what_its_clone_planned() {
    let mut index = filled(100);
    let mut clone = index.clone();
    let build = clone.plan().unwrap();
    let refused = index.install(build.run()).unwrap_err();
    assert_eq!(index.unsealed(), 100);
    clone.install(refused.into_built()).unwrap();
    assert!(clone.unsealed() < 100);
    // What the original plans now is its own.
    build_all(&mut index);
    assert_eq!(ids(&index), ids(&clone));
}

/// While a build is in flight its sources stay, although all of their rows are removed.
#[test]
fn a_build_whose_rows_were_all_removed_is_installed() {
    let mut index = filled(100);
    let seal = index.plan().unwrap();
    (0..100).for_each(|id| remove(&mut index, id));
    index.install(seal.run()).unwrap();
    assert_eq!((index.len(), index.verify().unwrap().segments), (0, 0));

    let (mut index, merge) = merging();
    let mut clone = index.clone();
    for id in 0..index.len() as u64 {
        remove(&mut index, id);
        remove(&mut clone, id);
    }
    // The clone has no merge in flight, so its segments were dropped with their last documents.
    assert_eq!(clone.verify().unwrap().segments, 0);
    assert!(index.verify().unwrap().segments > 0);
    index.install(merge.run()).unwrap();
    build_all(&mut index);
    assert_eq!((index.len(), index.verify().unwrap().segments), (0, 0));
}
