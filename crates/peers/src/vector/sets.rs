//! The vectors: made from a seed, the same on every run.

use steadfast_testkit::TestRng;

/// Vectors of length one, and queries of the same kind that are not among them.
pub(super) struct Set {
    pub(super) dimensions: usize,
    pub(super) vectors: Vec<f32>,
    queries: Vec<f32>,
}

impl Set {
    pub(super) fn vectors(&self) -> impl Iterator<Item = &[f32]> {
        self.vectors.chunks_exact(self.dimensions)
    }

    pub(super) fn queries(&self) -> impl Iterator<Item = &[f32]> {
        self.queries.chunks_exact(self.dimensions)
    }
}

/// Queries of a set.
const QUERIES: usize = 500;

/// Standard deviation of a member's component around its cluster's centre, where the centres' is one.
const SPREAD: f64 = 0.5;

pub(super) fn by_name(name: &str) -> Result<Set, String> {
    match name {
        "10k1536" => Ok(make(10_000, 1536, 100)),
        "100k128" => Ok(make(100_000, 128, 1000)),
        "random" => Ok(make(50_000, 128, 0)),
        "random1536" => Ok(make(10_000, 1536, 0)),
        _ => Err(format!("no set {name}: 10k1536, 100k128, random, random1536")),
    }
}

/// Clustered vectors, or unstructured ones when there are no clusters.
fn make(count: usize, dimensions: usize, clusters: usize) -> Set {
    let mut rng = TestRng::new(1);
    let centres: Vec<f64> = (0..clusters * dimensions).map(|_| normal(&mut rng)).collect();
    let mut draw = |count: usize| {
        let mut all = Vec::with_capacity(count * dimensions);
        for _ in 0..count {
            let vector: Vec<f64> = if clusters == 0 {
                (0..dimensions).map(|_| normal(&mut rng)).collect()
            } else {
                let cluster = rng.index(clusters);
                let centre = &centres[cluster * dimensions..][..dimensions];
                centre.iter().map(|centre| centre + SPREAD * normal(&mut rng)).collect()
            };
            let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
            all.extend(vector.iter().map(|value| (value / norm) as f32));
        }
        all
    };
    let vectors = draw(count);
    Set { dimensions, vectors, queries: draw(QUERIES) }
}

/// A number between 0 and 1, exclusive.
fn unit(rng: &mut TestRng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A normal number, by Box and Muller.
fn normal(rng: &mut TestRng) -> f64 {
    (-2.0 * unit(rng).ln()).sqrt() * (std::f64::consts::TAU * unit(rng)).cos()
}
