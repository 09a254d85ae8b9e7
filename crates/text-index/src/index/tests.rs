//! The life of an index: snapshots, row ids, what is sealed and merged when. Who may install which
//! build is in `tests/it/clones.rs`.

use super::*;
use crate::maintain::{MERGED_MIN, SEALED_CHUNKS, Sources};
use crate::{Build, Built, Defect, Matched, Query, document_terms, query_keys};

fn filled(chunk: usize, documents: u64) -> TextIndex {
    let mut index = TextIndex::with_chunk_documents_max(chunk);
    for id in 0..documents {
        index.insert(id, &document_terms(&format!("common word{id}")));
    }
    index
}

fn ids(index: &TextIndex, text: &str) -> Vec<u64> {
    let hits = index.search(&Query::any(&query_keys(text)), 10_000, None).hits;
    let mut ids: Vec<u64> = hits.iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

/// Builds until there is nothing to build; how many documents were read.
fn build_all(index: &mut TextIndex) -> usize {
    let mut read = 0;
    while let Some(build) = index.plan() {
        read += build.rows();
        index.install(build.run()).unwrap();
    }
    read
}

#[test]
fn an_older_clone_keeps_its_documents_and_its_scores() {
    let mut index = filled(64, 2000);
    let old = index.clone();
    let keys = query_keys("common word7");
    let before = old.search(&Query::any(&keys).counted(), 5, None);
    for row in 0..1990 {
        assert!(index.remove(RowId::new(row), &document_terms(&format!("common word{row}"))));
    }
    for id in 2000..2500 {
        index.insert(id, &document_terms("common"));
    }
    build_all(&mut index);
    assert_eq!(old.search(&Query::any(&keys).counted(), 5, None), before);
    assert_eq!(before.matched, Matched::Exactly(2000));
    assert_eq!(ids(&index, "common"), (1990..2500).collect::<Vec<_>>());
    assert_eq!(index.len(), 510);
    assert_eq!(index.verify().map(|report| report.live), Ok(510));
}

/// A chunk for such a document is too large to be linked, and is found in by looking at each
/// document.
#[test]
fn a_document_of_more_terms_than_a_chunk_can_link_is_found_beside_small_ones() {
    let mut index = filled(1024, 20);
    let large =
        Document::new((0..70_000).map(|number| (1 << 40 | number, 1)).chain([(query_keys("common")[0], 3)]));
    index.insert(20, &large);
    for id in 21..60 {
        index.insert(id, &document_terms(&format!("common word{id}")));
    }
    assert_eq!(ids(&index, "common"), (0..60).collect::<Vec<_>>());
    assert_eq!(ids(&index, "40"), [40]);
    for key in [1 << 40, (1 << 40) + 69_999] {
        let hits = index.search(&Query::any(&[key]), 10, None).hits;
        assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [20]);
    }
    assert!(index.search(&Query::any(&[(1 << 40) + 70_000]), 10, None).hits.is_empty());
    index.verify().unwrap();
}

#[test]
fn two_clones_that_both_insert_part() {
    for shared in [0, 1, 15, 16, 17, 40] {
        let mut a = filled(64, shared);
        let mut b = a.clone();
        for step in 0..50 {
            a.insert(1000 + step, &document_terms("left"));
            b.insert(2000 + step, &document_terms("right"));
        }
        assert_eq!(ids(&a, "left right"), (1000..1050).collect::<Vec<_>>());
        assert_eq!(ids(&b, "left right"), (2000..2050).collect::<Vec<_>>());
        assert_eq!(ids(&a, "common"), (0..shared).collect::<Vec<_>>());
        assert!(a.verify().is_ok() && b.verify().is_ok());
    }
}

#[test]
fn a_row_without_a_live_document_is_refused() {
    let mut index = filled(16, 100);
    let document = document_terms("common");
    assert!(!TextIndex::default().remove(RowId::new(0), &document));
    for sealed in [false, true] {
        if sealed {
            build_all(&mut index);
        }
        for row in [100, 101, u64::MAX] {
            assert!(!index.remove(RowId::new(row), &document), "{row}");
        }
        let row = u64::from(sealed);
        let document = document_terms(&format!("common word{row}"));
        assert!(index.remove(RowId::new(row), &document));
        assert!(!index.remove(RowId::new(row), &document));
    }
    assert_eq!(index.len(), 98);
    assert!(index.verify().is_ok());
}

#[test]
fn a_full_chunk_whose_last_document_died_gives_its_memory_back() {
    let mut index = filled(16, 160);
    let (full, backlog) = (index.bytes(), index.backlog());
    assert!(backlog.rows >= 128);
    for row in 0..140 {
        index.remove(RowId::new(row), &document_terms(&format!("common word{row}")));
    }
    assert_eq!(index.backlog().rows, backlog.rows - 128);
    assert!(index.bytes() * 2 < full);
    assert_eq!(ids(&index, "common"), (140..160).collect::<Vec<_>>());
}

#[test]
fn a_segment_whose_last_document_died_is_dropped() {
    let mut index = filled(16, 160);
    build_all(&mut index);
    let sealed = 160 - index.chunk_documents(0) as u64;
    for row in 0..sealed {
        index.remove(RowId::new(row), &document_terms(&format!("common word{row}")));
    }
    assert!(index.segments().is_empty());
    assert_eq!(ids(&index, "common"), (sealed..160).collect::<Vec<_>>());
}

#[test]
fn nothing_is_sealed_before_some_large_chunks_are_full() {
    // Chunks of 16, 32, … 512 documents, then large ones.
    let closed = 1008 + SEALED_CHUNKS as u64 * 1024;
    assert!(filled(1024, closed).plan().is_none());
    let build = filled(1024, closed + 1).plan();
    assert_eq!(build.map(|build| build.rows() as u64), Some(closed));
}

#[test]
fn deaths_while_something_is_built_count() {
    let mut index = filled(16, 1000);
    let mut row = 0;
    let mut kill = |index: &mut TextIndex| {
        for _ in 0..7 {
            assert!(index.remove(RowId::new(row), &document_terms(&format!("common word{row}"))));
            row += 13;
        }
    };
    let build = index.plan().unwrap();
    kill(&mut index);
    let built = build.run();
    kill(&mut index);
    index.install(built).unwrap();
    for id in 1000..3000 {
        index.insert(id, &document_terms("common"));
        if let Some(build) = index.plan() {
            if id % 100 == 0 {
                kill(&mut index);
            }
            index.install(build.run()).unwrap();
        }
    }
    let report = index.verify().unwrap();
    assert_eq!(report.live, index.len());
    assert_eq!(ids(&index, "common").len(), index.len());
}

/// However it grows, a document is written a logarithmic number of times and a query meets a
/// logarithmic number of segments: each merge at least doubles the segment that a document is in.
///
/// Builds are late, by one chunk up to hundreds, and come one at a time: then large segments stand
/// beside few and beside many small ones. Symptom of a merge that may take a large segment for the
/// sake of three small ones: each of these costs a copy of the large one.
#[test]
fn merging_is_bounded() {
    let chunk = 16;
    let documents = 50_000_u64;
    let doublings = (documents / chunk as u64).ilog2() as usize;
    for late in [1, 3, 50, 700] {
        let mut index = TextIndex::with_chunk_documents_max(chunk);
        let (mut merged, mut segments) = (0, 0);
        for id in 0..documents {
            index.insert(id, &Document::new([(id % 7, 1)]));
            if !id.is_multiple_of(chunk as u64 * late) {
                continue;
            }
            while let Some(build) = index.plan() {
                if let Sources::Segments(views) = &build.sources {
                    let largest = views.iter().map(SegmentView::live).max().unwrap_or(0);
                    assert!(
                        largest * 2 <= build.rows(),
                        "{largest} of {} documents, {late} chunks late",
                        build.rows()
                    );
                    assert!(views.len() >= MERGED_MIN, "{} segments", views.len());
                    merged += build.rows();
                }
                index.install(build.run()).unwrap();
            }
            segments = segments.max(index.segments().len());
        }
        assert!(merged as u64 <= documents * doublings as u64, "{merged} merged, {late} chunks late");
        assert!(segments <= 2 * doublings, "{segments} segments, {late} chunks late");
    }
}

/// A large segment isn't merged for the sake of a few small neighbours, and is as soon as these
/// make up half of the run.
#[test]
fn a_large_segment_waits_until_its_neighbours_are_as_large() {
    let chunk = 16;
    let mut index = TextIndex::with_chunk_documents_max(chunk);
    let mut id = 0;
    let mut grow = |index: &mut TextIndex, documents: usize| {
        for _ in 0..documents {
            index.insert(id, &Document::new([(1, 1)]));
            id += 1;
        }
        // Seals what is full, and merges nothing.
        while let Some(build) = index.plan() {
            match &build.sources {
                Sources::Chunks(_) => index.install(build.run()).unwrap(),
                Sources::Segments(views) => {
                    let sizes: Vec<usize> = views.iter().map(SegmentView::live).collect();
                    return Some(sizes);
                }
            }
        }
        None
    };
    let sealed = SEALED_CHUNKS * chunk;
    // One large segment: all of it was sealed at once.
    assert_eq!(grow(&mut index, 2 * MERGED_MIN * sealed), None);
    let large = index.segments()[0].live();
    assert!(large > MERGED_MIN * sealed);
    for small in 1..MERGED_MIN {
        assert_eq!(grow(&mut index, sealed), None, "{small} small ones beside a large one");
    }
    assert_eq!(index.segments().len(), MERGED_MIN);
    // One more: they are merged among themselves.
    assert_eq!(grow(&mut index, sealed), Some(vec![sealed; MERGED_MIN]));
    // What was planned was dropped. Small ones again, the last as large as the large one, and all
    // are merged.
    let mut index = TextIndex::with_chunk_documents_max(chunk);
    assert_eq!(grow(&mut index, 2 * MERGED_MIN * sealed), None);
    let large = index.segments()[0].live();
    for _ in 2..MERGED_MIN {
        assert_eq!(grow(&mut index, sealed), None);
    }
    let merged = grow(&mut index, large).expect("the neighbours are as large together");
    assert_eq!(merged.len(), MERGED_MIN);
    assert_eq!(merged[0], large);
}

#[test]
fn a_tenth_of_the_dead_stays_and_a_fifth_goes() {
    let mut index = filled(1000, 6000);
    build_all(&mut index);
    let sealed = index.segments()[0].segment.documents();
    let mut kill = |rows: std::ops::Range<usize>| {
        for row in rows {
            index.remove(RowId::new(row as u64), &document_terms(&format!("common word{row}")));
        }
        build_all(&mut index);
        index.segments()[0].segment.documents()
    };
    assert_eq!(kill(0..sealed / 10), sealed);
    assert!(kill(sealed / 10..sealed / 5 + 1) < sealed);
}

#[test]
fn a_small_tenant_takes_little() {
    assert_eq!(TextIndex::default().bytes(), 0);
    let bytes = filled(1024, 10).bytes();
    assert!(bytes <= 4096, "{bytes} bytes");
}

#[test]
fn a_document_that_was_not_inserted_there_is_a_defect_that_is_found() {
    let mut index = filled(16, 100);
    build_all(&mut index);
    assert!(index.remove(RowId::new(3), &document_terms("something else")));
    assert!(matches!(index.verify(), Err(Defect::Deaths { segment: 0, .. })));
}

#[test]
fn extreme_documents_are_documents() {
    let mut index = TextIndex::with_chunk_documents_max(4);
    let huge = Document::new((0..100_000).map(|key| (key, u32::MAX))).with_tags([0, u64::MAX]);
    let documents =
        [Document::default(), huge, Document::new([(u64::MAX, 300)]), Document::default().with_tags([0])];
    for round in 0..8 {
        for (number, document) in documents.iter().enumerate() {
            index.insert(if number == 0 { u64::MAX } else { round }, document);
        }
        build_all(&mut index);
    }
    assert!(index.verify().is_ok());
    let found = index.search(&Query::any(&[u64::MAX, 5]), usize::MAX, None);
    assert_eq!(found.hits.len(), 16);
    assert!(found.hits.iter().all(|hit| hit.score.is_finite() && hit.score > 0.0));
    assert_eq!(index.search(&Query::any(&[]), 10, None).hits, []);
    assert_eq!(index.search(&Query::any(&[5]), 0, None).hits, []);
    assert_eq!(index.ids_with(&[0], &[&[u64::MAX]]), (0..8).collect::<Vec<_>>());
    assert_eq!(index.ids_with(&[], &[&[]]), []);
}

/// The writer publishes clones, a builder builds, readers search what was published: every document
/// of a clone is found in it.
#[test]
fn readers_writer_and_builder_at_once() {
    use std::sync::{Mutex, PoisonError, mpsc};
    let published = Mutex::new(TextIndex::with_chunk_documents_max(64));
    let load = || published.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (to_builder, builds) = mpsc::channel::<Build>();
    let (to_writer, built) = mpsc::channel::<Built>();
    let total = 20_000;
    std::thread::scope(|scope| {
        scope.spawn(move || builds.into_iter().for_each(|build| drop(to_writer.send(build.run()))));
        for _ in 0..2 {
            scope.spawn(|| {
                let keys = query_keys("common");
                loop {
                    let index = load();
                    let found = index.search(&Query::any(&keys).counted(), 3, None);
                    assert_eq!(found.matched, Matched::Exactly(index.len() as u64));
                    if index.len() as u64 == total {
                        break;
                    }
                }
            });
        }
        let mut index = load();
        for id in 0..total {
            index.insert(id, &document_terms(&format!("common word{}", id % 100)));
            for built in built.try_iter() {
                index.install(built).unwrap();
            }
            if let Some(build) = index.plan() {
                to_builder.send(build).unwrap();
            }
            *published.lock().unwrap() = index.clone();
        }
        drop(to_builder);
    });
    assert!(load().verify().is_ok());
}
