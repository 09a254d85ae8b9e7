//! Each planted defect is found.

use std::sync::Arc;

use crate::segment::{Segment, SegmentView};
use crate::{Config, Metric, PreparedVector, VectorIndex};

/// A sealed index with a graph.
fn sealed() -> VectorIndex {
    let mut config = Config::new(8, Metric::L2);
    (config.seal_at, config.graph_from, config.degree, config.build_beam) = (256, 64, 8, 16);
    let mut index = VectorIndex::new(config.clone()).unwrap();
    for id in 0..256u64 {
        let vector: Vec<f32> = (0..8).map(|at| ((id * 31 + at * 17) as f32).sin()).collect();
        index.insert(id, &PreparedVector::new(&config, &vector).unwrap()).unwrap();
    }
    let built = index.plan().unwrap().run();
    index.install(built).unwrap();
    assert_eq!(index.verify().unwrap().graphs, 1);
    index
}

/// What `verify` says when the only segment was spoilt.
fn spoilt(spoil: impl FnOnce(&mut Segment)) -> String {
    let mut index = sealed();
    let SegmentView { segment, dead } = index.segments[0].clone();
    let mut segment = Segment {
        rows: segment.rows.clone(),
        by_row_id: segment.by_row_id.clone(),
        graph: segment.graph.clone(),
    };
    spoil(&mut segment);
    index.segments = Arc::new(vec![SegmentView { segment: Arc::new(segment), dead }]);
    index.verify().unwrap_err().to_string()
}

#[test]
fn a_stranded_row_is_found() {
    let found = spoilt(|segment| segment.graph.as_mut().unwrap().strand_last_row(256));
    assert!(found.contains("can't be reached") && found.contains("row 255"), "{found}");
}

#[test]
fn a_spoilt_code_is_found() {
    let found = spoilt(|segment| segment.rows.spoil_code(200));
    assert!(found.contains("codes of row 200"), "{found}");
}

#[test]
fn row_ids_out_of_order_are_found() {
    let found = spoilt(|segment| segment.by_row_id.swap(3, 4));
    assert!(found.contains("out of order"), "{found}");
}

#[test]
fn a_dead_row_past_the_end_is_found() {
    let mut index = sealed();
    Arc::make_mut(&mut index.segments)[0].dead.insert(256);
    assert!(index.verify().unwrap_err().to_string().contains("dead"));
}

#[test]
fn a_tail_that_overlaps_a_segment_is_found() {
    let mut index = sealed();
    index.tail = crate::tail::Tail::new(8, 10);
    assert!(index.verify().unwrap_err().to_string().contains("tail: begins at row id 10"));
}
