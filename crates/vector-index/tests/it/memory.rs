//! `bytes` against what the allocator counts.

use steadfast_testkit::TestRng;
use steadfast_testkit::allocations::measure;
use steadfast_vector_index::{Config, Metric, PreparedVector, RowId, VectorIndex};

const DIMENSIONS: usize = 100;
/// What `bytes` leaves out by its documentation, for each segment and each vector that is in no
/// block yet.
const OVERHEAD_BYTES: usize = 512;
/// Vectors that may be in no block yet.
const OPEN_MAX: usize = 31;

/// Asserts that the index takes as many bytes as it says, give or take a hundredth and its
/// overhead.
fn check(index: &VectorIndex, counted: i64) {
    let report = index.verify().unwrap();
    let parts = report.segments + OPEN_MAX + report.unsealed / 32;
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
    let mut config = Config::new(DIMENSIONS, Metric::L2);
    (config.seal_at, config.graph_from, config.degree, config.build_beam) = (1024, 2048, 8, 16);
    let mut rng = TestRng::new(3);
    let mut vector = |_| {
        let values: Vec<f32> = (0..DIMENSIONS).map(|_| rng.signed_unit()).collect();
        PreparedVector::new(&config, &values).unwrap()
    };
    let vectors: Vec<PreparedVector> = (0..6_000).map(&mut vector).collect();
    // Only a tail.
    let (mut index, filled) = measure(|| {
        let mut index = VectorIndex::new(config.clone()).unwrap();
        for (id, vector) in (0..).zip(&vectors[..1_500]) {
            index.insert(id, vector).unwrap();
        }
        index
    });
    check(&index, filled.bytes);
    // Segments, one of them with a graph, and a tail. A first build makes scratch space that the
    // thread keeps.
    drop(index.clone().plan().unwrap().run());
    let ((), sealed) = measure(|| {
        for (id, vector) in (1_500..).zip(&vectors[1_500..]) {
            index.insert(id, vector).unwrap();
            while let Some(build) = index.plan() {
                index.install(build.run()).unwrap();
            }
        }
    });
    let report = index.verify().unwrap();
    assert!(report.graphs > 0 && report.segments > 1 && report.unsealed > 0, "{report:?}");
    check(&index, filled.bytes + sealed.bytes);
    let ((), removed) = measure(|| {
        for row in (0..6_000).step_by(6) {
            assert!(index.remove(RowId::new(row)));
        }
    });
    assert!(removed.bytes > 0);
    check(&index, filled.bytes + sealed.bytes + removed.bytes);
}
