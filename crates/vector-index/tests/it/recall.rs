//! Recall of graph searches: on clusters, after churn, with filters, and on vectors without
//! structure.

use steadfast_testkit::TestRng;
use steadfast_vector_index::{
    Config, Effort, Hit, Metric, Options, PreparedVector, RowId, VectorError, VectorIndex,
};

/// Vectors around centres; each centre's are alike.
struct Clusters {
    rng: TestRng,
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    fn new(clusters: usize, dimensions: usize) -> Self {
        let mut rng = TestRng::new(7);
        let centres = (0..clusters).map(|_| (0..dimensions).map(|_| rng.normal()).collect()).collect();
        Self { rng, centres }
    }

    fn draw(&mut self) -> Vec<f32> {
        let cluster = self.rng.index(self.centres.len());
        self.centres[cluster].iter().map(|centre| centre + 0.4 * self.rng.normal()).collect()
    }
}

fn config(metric: Metric, dimensions: usize) -> Config {
    let mut config = Config::new(dimensions, metric);
    (config.seal_at, config.graph_from, config.build_threads) = (2048, 1024, 2);
    config
}

fn build_all(index: &mut VectorIndex) {
    while let Some(build) = index.plan() {
        index.install(build.run()).unwrap();
    }
}

fn recall(index: &VectorIndex, query: &[f32], options: &Options<'_>) -> (usize, usize) {
    let exact = index.search(query, 20, &Options { effort: Effort::Exact, ..*options }).unwrap();
    let found = index.search(query, 20, options).unwrap();
    assert_eq!(found.len(), exact.len());
    (exact.iter().filter(|hit| found.contains(hit)).count(), exact.len())
}

fn mean_recall(index: &VectorIndex, clusters: &mut Clusters, options: &Options<'_>) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..100 {
        let (a, b) = recall(index, &clusters.draw(), options);
        (found, wanted) = (found + a, wanted + b);
    }
    found as f64 / wanted as f64
}

#[test]
fn clusters_are_found_after_churn_and_no_live_vector_is_stranded() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let config = config(metric, 24);
        let mut index = VectorIndex::new(config.clone()).unwrap();
        let mut clusters = Clusters::new(60, 24);
        let mut live: Vec<(RowId, Vec<f32>)> = Vec::new();
        for round in 0..3 {
            for _ in 0..3000 {
                let vector = clusters.draw();
                let row = index.insert(live.len() as u64, &PreparedVector::new(&config, &vector).unwrap());
                live.push((row.unwrap(), vector));
            }
            let build = index.plan();
            // A third of them is removed while the build is in flight.
            live = live
                .into_iter()
                .enumerate()
                .filter(|(at, (row, _))| at % 3 != round || !index.remove(*row))
                .map(|(_, held)| held)
                .collect();
            if let Some(build) = build {
                index.install(build.run()).unwrap();
            }
            build_all(&mut index);
            let report = index.verify().unwrap();
            assert_eq!(report.live, live.len());
            assert!(report.graphs > 0, "{report:?}");
            for (effort, least) in
                [(Effort::Recall95, 0.93), (Effort::Recall99, 0.97), (Effort::Beam(200), 0.99)]
            {
                let found = mean_recall(&index, &mut clusters, &Options { effort, ..Options::default() });
                assert!(found >= least, "{metric:?} {effort:?} {found}");
            }
        }
        if metric != Metric::Dot {
            let beam = Options { effort: Effort::Beam(64), ..Options::default() };
            let itself = |vector: &[f32]| {
                let hits: Vec<Hit> = index.search(vector, 1, &beam).unwrap();
                let exact = index.search(vector, 1, &Options { effort: Effort::Exact, ..beam }).unwrap();
                hits == exact
            };
            let lost = live.iter().filter(|(_, vector)| !itself(vector)).count();
            assert_eq!(lost, 0, "{metric:?}: of {}", live.len());
        }
    }
}

#[test]
fn filters_of_any_width_keep_the_recall() {
    let config = config(Metric::Cosine, 24);
    let mut index = VectorIndex::new(config.clone()).unwrap();
    let mut clusters = Clusters::new(60, 24);
    for id in 0..6016 {
        index.insert(id, &PreparedVector::new(&config, &clusters.draw()).unwrap()).unwrap();
    }
    build_all(&mut index);
    assert_eq!(index.verify().unwrap().graphs, 1);
    for one_in in [2u64, 10, 100, 5000, 1_000_000] {
        let admits = |id: u64| id % one_in == 1;
        let options = Options { filter: Some(&admits), ..Options::default() };
        let found = mean_recall(&index, &mut clusters, &options);
        assert!(found >= 0.97 || one_in > 6016, "one in {one_in}: {found}");
        let hits = index.search(&clusters.draw(), 20, &options).unwrap();
        assert!(hits.iter().all(|hit| admits(hit.id)));
    }
    let many = index.search(&clusters.draw(), 10_000, &Options::default()).unwrap();
    assert_eq!(many.len(), 6016);
}

#[test]
fn without_structure_the_scan_is_taken_and_nothing_is_missed() {
    let config = config(Metric::Cosine, 96);
    let mut index = VectorIndex::new(config.clone()).unwrap();
    let mut rng = TestRng::new(3);
    let mut draw = || (0..96).map(|_| rng.normal()).collect::<Vec<f32>>();
    for id in 0..2048 {
        index.insert(id, &PreparedVector::new(&config, &draw()).unwrap()).unwrap();
    }
    build_all(&mut index);
    for _ in 0..50 {
        let (found, wanted) = recall(&index, &draw(), &Options::default());
        assert_eq!(found, wanted);
    }
}

#[test]
fn the_graph_is_the_same_for_any_number_of_threads() {
    let build = |threads| {
        let mut config = config(Metric::L2, 24);
        config.build_threads = threads;
        let mut index = VectorIndex::new(config.clone()).unwrap();
        let mut clusters = Clusters::new(20, 24);
        for id in 0..2048 {
            index.insert(id, &PreparedVector::new(&config, &clusters.draw()).unwrap()).unwrap();
        }
        build_all(&mut index);
        let narrow = Options { effort: Effort::Beam(1), ..Options::default() };
        (0..200).map(|_| index.search(&clusters.draw(), 1, &narrow).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(build(1), build(3));
}

#[test]
fn equal_vectors_and_extreme_ones_are_sealed_and_found() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let config = config(metric, 3);
        let mut index = VectorIndex::new(config.clone()).unwrap();
        let sizes = [1e38f32, 1e-42, 1.0, 1e38];
        for id in 0..2100u64 {
            let vector = [1.0, 2.0, 3.0].map(|value| value * sizes[id as usize % 4]);
            index.insert(id, &PreparedVector::new(&config, &vector).unwrap()).unwrap();
        }
        build_all(&mut index);
        index.verify().unwrap();
        for size in sizes {
            let query = [1.0, 2.0, 3.0].map(|value| value * size);
            let hits = index.search(&query, 20, &Options::default()).unwrap();
            assert_eq!(hits.len(), 20);
            assert!(hits.iter().all(|hit| hit.score.is_finite()), "{metric:?} {hits:?}");
        }
    }
}

#[test]
fn bad_input_changes_nothing() {
    let config = config(Metric::Cosine, 3);
    let mut index = VectorIndex::new(config).unwrap();
    let other = PreparedVector::new(&Config::new(3, Metric::Dot), &[1.0; 3]).unwrap();
    assert_eq!(index.insert(1, &other), Err(VectorError::OtherMetric));
    let longer = PreparedVector::new(&Config::new(4, Metric::Cosine), &[1.0; 4]).unwrap();
    assert_eq!(index.insert(1, &longer), Err(VectorError::Dimensions { expected: 3, found: 4 }));
    assert!(!index.remove(RowId::new(0)) && !index.remove(RowId::new(u64::MAX)) && index.is_empty());
    let search = |query: &[f32], k| index.search(query, k, &Options::default());
    assert_eq!(search(&[1.0; 3], 0), Ok(Vec::new()));
    assert_eq!(search(&[1.0; 3], 10), Ok(Vec::new()));
    assert!(matches!(search(&[1.0; 3], 10_001), Err(VectorError::TooManyHits { found: 10_001, .. })));
    assert_eq!(search(&[0.0; 3], 1), Err(VectorError::Zero));
    assert!(matches!(search(&[1.0, f32::NAN, 0.0], 1), Err(VectorError::NotFinite { position: 1, .. })));
    for dimensions in [0, 4097, 1_000_000] {
        let found = VectorIndex::new(Config::new(dimensions, Metric::Dot)).err();
        assert!(matches!(found, Some(VectorError::Config { field: "dimensions", .. })), "{found:?}");
    }
}
