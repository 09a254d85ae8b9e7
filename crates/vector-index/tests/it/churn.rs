//! Vectors are inserted, replaced and removed while segments and graphs are built on a second
//! thread and snapshots are checked on a third.

use std::collections::BTreeMap;
use std::sync::mpsc;

use steadfast_testkit::{TestRng, full};
use steadfast_vector_index::{
    Build, Built, Config, Effort, Metric, Options, PreparedVector, RowId, VectorIndex,
};

/// For each metric.
const OPERATIONS: usize = 40_000;
const OPERATIONS_FULL: usize = 200_000;
/// About how many vectors are live at a time.
const LIVE: usize = 6_000;
const DIMENSIONS: usize = 6;
/// A snapshot is checked every so many operations.
const CHECKED_EVERY: usize = 2_500;
const SEAL_AT: usize = 512;

fn config(metric: Metric) -> Config {
    let mut config = Config::new(DIMENSIONS, metric);
    (config.seal_at, config.graph_from, config.degree, config.build_beam) = (SEAL_AT, SEAL_AT / 2, 12, 16);
    config
}

/// Eighths, so that sums are exact; one in ten is one of three, so that many are equal.
fn vector(rng: &mut TestRng) -> [f32; DIMENSIONS] {
    if rng.below(10) == 0 {
        return [rng.below(3) as f32; DIMENSIONS];
    }
    std::array::from_fn(|_| (rng.below(257) as f32 - 128.0) / 8.0)
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    match metric {
        Metric::L2 => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
        Metric::Dot | Metric::Cosine => pairs.map(|(a, b)| a * b).sum(),
    }
}

/// An index and what it should hold.
struct Snapshot {
    index: VectorIndex,
    live: BTreeMap<u64, [f32; DIMENSIONS]>,
}

impl Snapshot {
    /// Checks everything, also whether each vector of a graph can be reached; returns how many
    /// graphs there are.
    fn check(&self, round: usize, rng: &mut TestRng) -> usize {
        let report = self.index.verify().unwrap_or_else(|defect| panic!("round {round}: {defect}"));
        assert_eq!((report.live, self.index.len()), (self.live.len(), self.live.len()));
        let metric = self.index.config().metric();
        for _ in 0..3 {
            let query = vector(rng);
            let mut expected: Vec<(u64, f64)> =
                self.live.iter().map(|(&id, vector)| (id, score(metric, &query, vector))).collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let exact = Options { effort: Effort::Exact, ..Options::default() };
            let found = self.index.search(&query, 30, &exact).unwrap();
            let found: Vec<(u64, f64)> = found.iter().map(|hit| (hit.id, hit.score + 0.0)).collect();
            expected.truncate(30);
            assert!(
                found.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && a.1 == b.1 + 0.0),
                "round {round}"
            );
            assert_eq!(found.len(), self.live.len().min(30));
            // A graph may miss some; it returns nothing that isn't there, and nothing twice.
            let near = self.index.search(&query, 30, &Options::default()).unwrap();
            assert_eq!(near.len(), self.live.len().min(30));
            for hit in &near {
                assert_eq!(hit.score + 0.0, score(metric, &query, &self.live[&hit.id]) + 0.0);
            }
            let mut ids: Vec<u64> = near.iter().map(|hit| hit.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), near.len());
        }
        report.graphs
    }
}

struct Churn {
    index: VectorIndex,
    config: Config,
    live: Vec<(RowId, u64, [f32; DIMENSIONS])>,
    next_id: u64,
    rng: TestRng,
}

impl Churn {
    fn insert(&mut self, id: u64) {
        let vector = vector(&mut self.rng);
        let prepared = PreparedVector::new(&self.config, &vector).unwrap();
        let row = self.index.insert(id, &prepared).unwrap();
        self.live.push((row, id, vector));
    }

    /// Removes a random vector, in a third of the cases one of the newest, which are in the tail.
    fn remove(&mut self) -> u64 {
        let from = if self.rng.below(3) == 0 { self.live.len().saturating_sub(300) } else { 0 };
        let at = from + self.rng.index(self.live.len() - from);
        let (row, id, _) = self.live.swap_remove(at);
        assert!(self.index.remove(row));
        assert!(!self.index.remove(row), "only once");
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
        let live = self.live.iter().map(|&(_, id, vector)| (id, vector)).collect();
        Snapshot { index: self.index.clone(), live }
    }

    fn build_all(&mut self) {
        while let Some(build) = self.index.plan() {
            self.index.install(build.run()).unwrap();
        }
    }
}

fn churn(metric: Metric, operations: usize) {
    let config = config(metric);
    let index = VectorIndex::new(config.clone()).unwrap();
    let mut churn = Churn { index, config, live: Vec::new(), next_id: 0, rng: TestRng::new(23) };
    for id in 0..LIVE as u64 {
        churn.insert(1 << 40 | id);
    }
    let (to_builder, builds) = mpsc::channel::<Build>();
    let (to_writer, built) = mpsc::channel::<Built>();
    // At most one waits to be checked: a snapshot keeps what the index has dropped.
    let (to_checker, snapshots) = mpsc::sync_channel::<Snapshot>(1);
    let (mut in_flight, mut installed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || builds.into_iter().for_each(|build| drop(to_writer.send(build.run()))));
        let checker = scope.spawn(move || {
            let mut rng = TestRng::new(29);
            let (mut rounds, mut graphs) = (0, 0);
            for snapshot in snapshots {
                graphs += snapshot.check(rounds, &mut rng);
                rounds += 1;
            }
            (rounds, graphs)
        });
        for operation in 1..=operations {
            churn.operate();
            // As a store does: writers wait for the builder. So a seal takes about 2 * SEAL_AT
            // vectors at most.
            let behind = churn.index.backlog().rows > 2 * SEAL_AT && in_flight > 0;
            if let Some(built) = if behind { built.recv().ok() } else { built.try_recv().ok() } {
                churn.index.install(built).unwrap();
                (in_flight, installed) = (in_flight - 1, installed + 1);
            }
            if operation % 16 == 0
                && let Some(build) = churn.index.plan()
            {
                in_flight += 1;
                to_builder.send(build).unwrap();
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
        let (rounds, graphs) = checker.join().unwrap();
        assert_eq!(rounds, operations / CHECKED_EVERY);
        assert!(graphs > rounds / 2, "{graphs} graphs were walked in {rounds} rounds");
    });
    // Two operations in three insert a vector.
    assert!(installed > operations / (4 * SEAL_AT), "{installed} builds");
    churn.build_all();
    churn.snapshot().check(0, &mut TestRng::new(31));
    // Until nothing is left.
    while !churn.live.is_empty() {
        churn.remove();
        if churn.live.len().is_multiple_of(1000) {
            churn.build_all();
        }
    }
    churn.snapshot().check(1, &mut TestRng::new(31));
    assert_eq!(churn.index.verify().unwrap().segments, 0);
}

#[test]
fn nothing_is_stranded_in_a_churn() {
    let operations = if full() { OPERATIONS_FULL } else { OPERATIONS };
    churn(Metric::L2, operations);
    churn(Metric::Dot, operations);
}
