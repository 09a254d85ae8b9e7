//! `bytes` against what the allocator counts.

use steadfast_testkit::TestRng;
use steadfast_testkit::allocations::measure;
use steadfast_text_index::{Document, RowId, TextIndex};

/// What `bytes` leaves out by its documentation, for each segment and chunk.
const OVERHEAD_BYTES: usize = 512;

fn document(rng: &mut TestRng) -> Document {
    let terms: Vec<(u64, u32)> = (0..20)
        .map(|_| {
            let bound = 1 + rng.below(5_000);
            (rng.below(bound), 1 + rng.below(12) as u32)
        })
        .collect();
    Document::new(terms).with_tags([rng.below(50)])
}

/// Asserts that the index takes as many bytes as it says, give or take a hundredth and its
/// overhead.
fn check(index: &TextIndex, counted: i64) {
    let report = index.verify().unwrap();
    let parts = report.segments + report.unsealed.div_ceil(1024) + 8;
    let slack = index.bytes() / 100 + parts * OVERHEAD_BYTES;
    let difference = (index.bytes() as i64).abs_diff(counted) as usize;
    assert_eq!(report.bytes, index.bytes());
    assert!(
        difference <= slack,
        "{} bytes by the index, {counted} by the allocator: {report:?}",
        index.bytes()
    );
}

#[test]
fn bytes_are_those_of_the_allocator() {
    let mut rng = TestRng::new(3);
    let documents: Vec<Document> = (0..12_000).map(|_| document(&mut rng)).collect();
    // Only a tail, which has one large chunk more than half full.
    let (mut index, filled) = measure(|| {
        let mut index = TextIndex::default();
        for (id, document) in (0..).zip(&documents[..4_000]) {
            index.insert(id, document);
        }
        index
    });
    check(&index, filled.bytes);
    // Segments, some of them merged, and a tail.
    let ((), sealed) = measure(|| {
        for (id, document) in (4_000..).zip(&documents[4_000..]) {
            index.insert(id, document);
            while let Some(build) = index.plan() {
                index.install(build.run()).unwrap();
            }
        }
    });
    assert!(index.verify().unwrap().segments > 0);
    check(&index, filled.bytes + sealed.bytes);
    // Removed documents, whose terms are kept until a merge.
    let ((), removed) = measure(|| {
        for (row, document) in (0..).zip(&documents).step_by(6) {
            assert!(index.remove(RowId::new(row), document));
        }
    });
    assert!(removed.bytes > 0);
    check(&index, filled.bytes + sealed.bytes + removed.bytes);
    let ((), dropped) = measure(|| drop(index));
    assert_eq!(filled.bytes + sealed.bytes + removed.bytes + dropped.bytes, 0);
}
