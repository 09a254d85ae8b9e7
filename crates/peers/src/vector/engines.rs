//! What is compared: ours, plain scans, and other people's indexes.

use std::thread;
use std::time::{Duration, Instant};

use hnsw_rs::prelude::{DistDot, Hnsw};
use numkong::Dot;
use steadfast_vector_index::{Config, Effort, Metric, Options, PreparedVector, VectorIndex};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::sets::Set;
use super::{K, THREADS};

/// An index over a whole set.
pub(super) trait Engine {
    fn name(&self) -> String;

    /// Ids of the best [`K`], in any order.
    fn search(&self, query: &[f32], width: usize) -> Vec<u64>;

    /// Whether a search has a width to choose.
    fn has_width(&self) -> bool {
        true
    }

    fn is_ours(&self) -> bool {
        false
    }

    /// Bytes of memory, if it says.
    fn bytes(&self) -> Option<usize> {
        None
    }
}

/// Builds an index; none if that takes longer than the limit. Only what is known to be slow looks at the limit.
type Make = fn(&Set, Duration) -> Result<Option<Box<dyn Engine>>, String>;

/// Everything, by name.
pub(super) const ALL: &[(&str, Make)] = &[
    ("plain f32", |set, _| Ok(Some(Box::new(Plain { vectors: set.vectors.clone() })))),
    ("numkong i8", |set, _| Ok(Some(Box::new(CodeScan::new(set))))),
    ("ours exact", |set, _| ours(set, Some(Effort::Exact), "ours exact").map(Some)),
    ("ours recall95", |set, _| ours(set, Some(Effort::Recall95), "ours recall95").map(Some)),
    ("ours recall99", |set, _| ours(set, Some(Effort::Recall99), "ours recall99").map(Some)),
    ("ours graph", |set, _| ours(set, None, "ours graph").map(Some)),
    ("usearch f32", |set, _| usearch(set, ScalarKind::F32, "usearch f32").map(Some)),
    ("usearch bf16", |set, _| usearch(set, ScalarKind::BF16, "usearch bf16").map(Some)),
    ("usearch i8", |set, _| usearch(set, ScalarKind::I8, "usearch i8, codes given").map(Some)),
    ("hnsw_rs", |set, limit| Ok(hnsw_rs(set, limit).map(|engine| Box::new(engine) as Box<dyn Engine>))),
];

/// The ids of the best [`K`] for each query, by a scan in f64.
pub(super) fn truth(set: &Set) -> Vec<Vec<u64>> {
    let plain = Plain { vectors: set.vectors.clone() };
    set.queries().map(|query| plain.search(query, 0)).collect()
}

/// The best `k` of numbered scores.
fn best(mut scores: Vec<(f64, u64)>, k: usize) -> Vec<(f64, u64)> {
    let k = k.min(scores.len());
    if k < scores.len() {
        scores.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0));
        scores.truncate(k);
    }
    scores
}

/// A scan of the originals.
struct Plain {
    vectors: Vec<f32>,
}

impl Engine for Plain {
    fn name(&self) -> String {
        "plain scan f32 (numkong)".to_owned()
    }

    fn search(&self, query: &[f32], _: usize) -> Vec<u64> {
        let rows = self.vectors.chunks_exact(query.len()).zip(0..);
        let scores = rows.map(|(row, id)| (f32::dot(query, row).unwrap_or(0.0), id)).collect();
        best(scores, K).into_iter().map(|(_, id)| id).collect()
    }

    fn has_width(&self) -> bool {
        false
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.vectors.len() * size_of::<f32>())
    }
}

/// A scan of one-byte codes, and the originals of four times as many as are wanted: likely, not proved.
struct CodeScan {
    vectors: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

impl CodeScan {
    fn new(set: &Set) -> Self {
        let (mut codes, mut scales) = (Vec::with_capacity(set.vectors.len()), Vec::new());
        for vector in set.vectors() {
            let (code, scale) = quantise(vector);
            codes.extend(code);
            scales.push(scale);
        }
        Self { vectors: set.vectors.clone(), codes, scales }
    }
}

fn quantise(vector: &[f32]) -> (Vec<i8>, f32) {
    let scale = vector.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs())) / 127.0;
    (vector.iter().map(|value| (value / scale).round() as i8).collect(), scale)
}

impl Engine for CodeScan {
    fn name(&self) -> String {
        "scan i8 + 4k f32 (numkong)".to_owned()
    }

    fn search(&self, query: &[f32], _: usize) -> Vec<u64> {
        let (code, _) = quantise(query);
        let rows = self.codes.chunks_exact(query.len()).zip(&self.scales).zip(0..);
        let score = |row: &[i8], scale: f32| f64::from(i8::dot(&code, row).unwrap_or(0) as f32 * scale);
        let scores = rows.map(|((row, &scale), id)| (score(row, scale), id)).collect();
        let near = best(scores, 4 * K).into_iter().map(|(_, id)| {
            let row = &self.vectors[id as usize * query.len()..][..query.len()];
            (f32::dot(query, row).unwrap_or(0.0), id)
        });
        best(near.collect(), K).into_iter().map(|(_, id)| id).collect()
    }

    fn has_width(&self) -> bool {
        false
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.vectors.len() * 4 + self.codes.len() + self.scales.len() * 4)
    }
}

struct Ours {
    name: &'static str,
    index: VectorIndex,
    /// None: the width is chosen from outside.
    effort: Option<Effort>,
}

fn ours(set: &Set, effort: Option<Effort>, name: &'static str) -> Result<Box<dyn Engine>, String> {
    let mut config = Config::new(set.dimensions, Metric::Cosine);
    config.build_threads = THREADS;
    let mut index = VectorIndex::new(config.clone()).map_err(|error| error.to_string())?;
    for (vector, id) in set.vectors().zip(0..) {
        let prepared = PreparedVector::new(&config, vector).map_err(|error| error.to_string())?;
        index.insert(id, &prepared).map_err(|error| error.to_string())?;
    }
    while let Some(build) = index.plan() {
        index.install(build.run()).map_err(|error| error.to_string())?;
    }
    let report = index.verify().map_err(|defect| defect.to_string())?;
    if effort.is_none() {
        println!("{report:?}");
    }
    Ok(Box::new(Ours { name, index, effort }))
}

impl Engine for Ours {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn search(&self, query: &[f32], width: usize) -> Vec<u64> {
        let options = Options { effort: self.effort.unwrap_or(Effort::Beam(width)), ..Options::default() };
        let hits = self.index.search(query, K, &options).unwrap_or_default();
        hits.into_iter().map(|hit| hit.id).collect()
    }

    fn has_width(&self) -> bool {
        self.effort.is_none()
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.index.bytes())
    }
}

struct Usearch {
    name: &'static str,
    index: Index,
    /// Vectors are given as codes: its own make too little of a vector of length one in many dimensions.
    codes: bool,
}

fn usearch(set: &Set, quantization: ScalarKind, name: &'static str) -> Result<Box<dyn Engine>, String> {
    let options = IndexOptions {
        dimensions: set.dimensions,
        metric: MetricKind::Cos,
        quantization,
        ..IndexOptions::default()
    };
    let index = Index::new(&options).map_err(|error| error.to_string())?;
    let count = set.vectors.len() / set.dimensions;
    index.reserve_capacity_and_threads(count, THREADS).map_err(|error| error.to_string())?;
    let vectors: Vec<&[f32]> = set.vectors().collect();
    let codes = quantization == ScalarKind::I8;
    let add = |first: usize| {
        for number in (first..count).step_by(THREADS) {
            let key = number as u64;
            let added = if codes {
                index.add(key, &quantise(vectors[number]).0)
            } else {
                index.add(key, vectors[number])
            };
            added.map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|first| {
                scope.spawn({
                    let add = &add;
                    move || add(first)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a build panicked".to_owned())?)
    })?;
    Ok(Box::new(Usearch { name, index, codes }))
}

impl Engine for Usearch {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn search(&self, query: &[f32], width: usize) -> Vec<u64> {
        if self.index.expansion_search() != width {
            self.index.change_expansion_search(width);
        }
        let found =
            if self.codes { self.index.search(&quantise(query).0, K) } else { self.index.search(query, K) };
        found.map(|matches| matches.keys).unwrap_or_default()
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.index.memory_usage())
    }
}

struct HnswRs {
    index: Hnsw<'static, f32, DistDot>,
}

/// None if the limit passes before it is built.
fn hnsw_rs(set: &Set, limit: Duration) -> Option<HnswRs> {
    let count = set.vectors.len() / set.dimensions;
    let index = Hnsw::new(16, count, 16, 128, DistDot {});
    let vectors: Vec<&[f32]> = set.vectors().collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for first in 0..THREADS {
            let (index, vectors) = (&index, &vectors);
            scope.spawn(move || {
                for number in (first..count).step_by(THREADS) {
                    if began.elapsed() >= limit {
                        return;
                    }
                    index.insert((vectors[number], number));
                }
            });
        }
    });
    (index.get_nb_point() == count).then_some(HnswRs { index })
}

impl Engine for HnswRs {
    fn name(&self) -> String {
        "hnsw_rs f32".to_owned()
    }

    fn search(&self, query: &[f32], width: usize) -> Vec<u64> {
        self.index.search(query, K, width).into_iter().map(|hit| hit.d_id as u64).collect()
    }
}
