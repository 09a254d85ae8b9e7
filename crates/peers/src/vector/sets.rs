//! The vectors: made from a seed, the same on every run.

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
    let mut random = Random(1);
    let centres: Vec<f64> = (0..clusters * dimensions).map(|_| random.normal()).collect();
    let mut draw = |count: usize| {
        let mut all = Vec::with_capacity(count * dimensions);
        for _ in 0..count {
            let vector: Vec<f64> = if clusters == 0 {
                (0..dimensions).map(|_| random.normal()).collect()
            } else {
                let cluster = (random.next() % clusters as u64) as usize;
                let centre = &centres[cluster * dimensions..][..dimensions];
                centre.iter().map(|centre| centre + SPREAD * random.normal()).collect()
            };
            let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
            all.extend(vector.iter().map(|value| (value / norm) as f32));
        }
        all
    };
    let vectors = draw(count);
    Set { dimensions, vectors, queries: draw(QUERIES) }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}
