//! The index against a list of vectors that is searched in full, under any interleaving of
//! operations.

use proptest::prelude::*;
use steadfast_testkit::cases;
use steadfast_vector_index::{
    Build, Built, Config, Effort, Hit, Metric, Options, PreparedVector, RowId, VectorIndex,
};

/// Small, so that ties and equal vectors are common. Sums are exact in any order.
const DIMENSIONS: usize = 5;

/// The vectors that an index should hold.
#[derive(Clone, Default)]
struct Model {
    live: Vec<(RowId, u64, Vec<f32>)>,
}

impl Model {
    fn search(
        &self,
        metric: Metric,
        query: &[f32],
        k: usize,
        admits: impl Fn(&RowId, u64) -> bool,
    ) -> Vec<Hit> {
        let scored = self.live.iter().filter(|(row, id, _)| admits(row, *id)).map(|(_, id, vector)| {
            let pairs = query.iter().zip(vector).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let score: f64 = match metric {
                Metric::L2 => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
                Metric::Dot | Metric::Cosine => pairs.map(|(a, b)| a * b).sum(),
            };
            // A sum of nothing is -0.
            Hit { id: *id, score: score + 0.0 }
        });
        let mut hits: Vec<Hit> = scored.collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        hits.truncate(k);
        hits
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        id: u64,
        vectors: Vec<[i8; DIMENSIONS]>,
    },
    Remove(prop::sample::Index),
    RemoveMany(prop::sample::Index),
    Plan,
    Run,
    Install,
    Drop,
    Snapshot,
    /// A clone goes on; the original keeps its builds in flight.
    Fork,
}

fn step() -> impl Strategy<Value = Step> {
    let vectors = prop::collection::vec(prop::array::uniform5(-8i8..8), 1..100);
    prop_oneof![
        6 => (0..50u64, vectors).prop_map(|(id, vectors)| Step::Insert { id, vectors }),
        4 => any::<prop::sample::Index>().prop_map(Step::Remove),
        2 => any::<prop::sample::Index>().prop_map(Step::RemoveMany),
        4 => Just(Step::Plan),
        4 => Just(Step::Run),
        4 => Just(Step::Install),
        1 => Just(Step::Drop),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Fork),
    ]
}

fn floats(vector: [i8; DIMENSIONS]) -> Vec<f32> {
    vector.iter().map(|&value| f32::from(value) / 4.0).collect()
}

fn check(index: &VectorIndex, model: &Model, queries: &[[i8; DIMENSIONS]]) -> Result<(), TestCaseError> {
    let report = index.verify().map_err(|defect| TestCaseError::fail(defect.to_string()))?;
    prop_assert_eq!(report.live, model.live.len());
    let metric = index.config().metric();
    for &query in queries {
        let query = floats(query);
        for k in [1, 7, 1000] {
            let exact = Options { effort: Effort::Exact, ..Options::default() };
            let zero_to_plus = |hits: Vec<Hit>| -> Vec<Hit> {
                hits.into_iter().map(|hit| Hit { score: hit.score + 0.0, ..hit }).collect()
            };
            prop_assert_eq!(
                zero_to_plus(index.search(&query, k, &exact).unwrap()),
                model.search(metric, &query, k, |_, _| true)
            );
            let even = |id: u64| id.is_multiple_of(2);
            let filtered = Options { filter: Some(&even), ..exact };
            prop_assert_eq!(
                zero_to_plus(index.search(&query, k, &filtered).unwrap()),
                model.search(metric, &query, k, |_, id| even(id))
            );
            let some: Vec<RowId> = (0..40).map(|at| at * 7).chain([14, u64::MAX]).map(RowId::new).collect();
            let only = Options { only: Some(&some), ..Options::default() };
            prop_assert_eq!(
                zero_to_plus(index.search(&query, k, &only).unwrap()),
                model.search(metric, &query, k, |row, _| some.contains(row))
            );
            // A graph may miss some, but returns as many as there are, all of them live, with exact
            // scores.
            for effort in [Effort::Beam(1), Effort::Recall99] {
                let found = index.search(&query, k, &Options { effort, ..Options::default() }).unwrap();
                prop_assert_eq!(found.len(), k.min(model.live.len()));
                let all = model.search(metric, &query, usize::MAX, |_, _| true);
                prop_assert!(zero_to_plus(found).iter().all(|hit| all.contains(hit)));
            }
        }
    }
    Ok(())
}

/// An index, what it should hold, and its builds in flight.
struct Line {
    index: VectorIndex,
    model: Model,
    planned: Vec<Build>,
    built: Vec<Built>,
}

impl Line {
    fn snapshot(&self) -> Self {
        let (index, model) = (self.index.clone(), self.model.clone());
        Self { index, model, planned: Vec::new(), built: Vec::new() }
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        let Self { index, model, planned, built } = self;
        match step {
            Step::Insert { id, vectors } => {
                for vector in vectors {
                    let vector = floats(vector);
                    let prepared = PreparedVector::new(index.config(), &vector).unwrap();
                    let row = index.insert(id, &prepared).unwrap();
                    prop_assert!(model.live.iter().all(|held| held.0 < row));
                    model.live.push((row, id, vector));
                }
            }
            Step::Remove(which) if !model.live.is_empty() => {
                let (row, ..) = model.live.remove(which.index(model.live.len()));
                prop_assert!(index.remove(row));
                prop_assert!(!index.remove(row));
            }
            Step::RemoveMany(from) if !model.live.is_empty() => {
                let from = from.index(model.live.len());
                let end = model.live.len().min(from + 40);
                for (row, ..) in model.live.drain(from..end) {
                    prop_assert!(index.remove(row));
                }
            }
            Step::Plan => {
                let in_flight = planned.len() + built.len();
                planned.extend(index.plan());
                prop_assert!(planned.len() + built.len() <= (in_flight + 1).min(2), "one of a kind");
            }
            Step::Run => built.extend(planned.pop().map(Build::run)),
            Step::Install => {
                if let Some(built) = built.pop() {
                    index.install(built).unwrap();
                }
            }
            Step::Drop => drop((planned.pop(), built.pop())),
            Step::Remove(_) | Step::RemoveMany(_) | Step::Snapshot | Step::Fork => {}
        }
        Ok(())
    }

    /// Installs all that is in flight, and checks that `other` refuses it.
    fn install_all(&mut self, other: &mut VectorIndex) {
        let built = self.planned.drain(..).map(Build::run).chain(self.built.drain(..)).collect::<Vec<_>>();
        for built in built {
            let foreign = other.install(built).unwrap_err();
            self.index.install(foreign.into_built()).unwrap();
        }
    }

    fn build_all(&mut self) {
        while let Some(build) = self.index.plan() {
            self.index.install(build.run()).unwrap();
        }
    }
}

fn play(metric: Metric, steps: Vec<Step>, queries: &[[i8; DIMENSIONS]]) -> Result<(), TestCaseError> {
    let mut config = Config::new(DIMENSIONS, metric);
    (config.seal_at, config.graph_from, config.degree, config.build_beam) = (64, 64, 8, 16);
    (config.merge_fan, config.build_threads) = (2, 2);
    let index = VectorIndex::new(config).unwrap();
    let mut line = Line { index, model: Model::default(), planned: Vec::new(), built: Vec::new() };
    let mut others = Vec::new();
    for step in steps {
        match step {
            Step::Snapshot => others.push(line.snapshot()),
            Step::Fork => {
                let fork = line.snapshot();
                others.push(std::mem::replace(&mut line, fork));
            }
            step => line.apply(step)?,
        }
    }
    for other in &mut others {
        check(&other.index, &other.model, queries)?;
        other.install_all(&mut line.index);
        other.build_all();
        check(&other.index, &other.model, queries)?;
    }
    check(&line.index, &line.model, queries)?;
    line.install_all(&mut VectorIndex::new(line.index.config().clone()).unwrap());
    line.build_all();
    check(&line.index, &line.model, queries)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn every_snapshot_is_what_the_list_was(
        euclidean in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
        queries in prop::collection::vec(prop::array::uniform5(-8i8..8), 2),
    ) {
        play(if euclidean { Metric::L2 } else { Metric::Dot }, steps, &queries)?;
    }
}

/// A merge reads a snapshot: what is removed after the plan, or between run and install, must not
/// come back.
#[test]
fn what_is_removed_during_a_merge_stays_removed() {
    let mut config = Config::new(DIMENSIONS, Metric::L2);
    (config.seal_at, config.graph_from, config.merge_fan) = (64, 1000, 2);
    let mut index = VectorIndex::new(config.clone()).unwrap();
    let mut rows = Vec::new();
    let vector = |id: u64| PreparedVector::new(&config, &[id as f32, 1.0, 0.0, 0.0, 0.0]).unwrap();
    for id in 0..128u64 {
        rows.push(index.insert(id, &vector(id)).unwrap());
        if id == 63 || id == 127 {
            let built = index.plan().unwrap().run();
            index.install(built).unwrap();
        }
    }
    assert_eq!(index.verify().unwrap().segments, 2);
    let merge = index.plan().unwrap();
    assert_eq!(merge.rows(), 128);
    assert!(index.remove(rows[3]));
    let built = merge.run();
    assert!(index.remove(rows[100]));
    index.install(built).unwrap();
    let report = index.verify().unwrap();
    assert_eq!((report.segments, report.live, report.dead), (1, 126, 2));
    for id in [3u64, 100] {
        let hits = index.search(&[id as f32, 1.0, 0.0, 0.0, 0.0], 2, &Options::default()).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [id - 1, id + 1]);
        assert!(!index.remove(rows[id as usize]));
    }
}

/// A segment is rebuilt when a quarter of it is dead, and dropped when all of it is.
#[test]
fn dead_vectors_are_dropped() {
    let mut config = Config::new(DIMENSIONS, Metric::Dot);
    (config.seal_at, config.graph_from) = (64, 1000);
    let mut index = VectorIndex::new(config.clone()).unwrap();
    let vector = PreparedVector::new(&config, &[1.0; DIMENSIONS]).unwrap();
    let rows: Vec<RowId> = (0..64).map(|id| index.insert(id, &vector).unwrap()).collect();
    let built = index.plan().unwrap().run();
    index.install(built).unwrap();
    rows[..15].iter().for_each(|&row| assert!(index.remove(row)));
    assert!(index.plan().is_none());
    assert!(index.remove(rows[15]));
    let built = index.plan().unwrap().run();
    index.install(built).unwrap();
    let report = index.verify().unwrap();
    assert_eq!((report.live, report.dead, report.segments), (48, 0, 1));
    rows[16..].iter().for_each(|&row| assert!(index.remove(row)));
    let built = index.plan().unwrap().run();
    index.install(built).unwrap();
    let report = index.verify().unwrap();
    assert_eq!((report.live, report.dead, report.segments), (0, 0, 0));
    assert!(index.plan().is_none());
}
