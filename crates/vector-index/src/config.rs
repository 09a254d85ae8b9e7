//! Configuration: dimensions, metric, and when parts are sealed and merged.

use crate::error::VectorError;

/// The most dimensions of an index. The dot product of the codes of two such vectors fits an `i32`.
pub const DIMENSIONS_MAX: usize = 4096;

/// The most hits that one search returns.
pub const K_MAX: usize = 10_000;

/// How similarity is measured. A higher score is always better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The cosine of the angle, from -1 to 1. Vectors are normalised when they are prepared; the
    /// zero vector is refused.
    Cosine,
    /// The dot product.
    Dot,
    /// Minus the squared Euclidean distance.
    L2,
}

/// Configuration of an index. Start from [`Config::new`]; the public fields have defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) dimensions: usize,
    pub(crate) metric: Metric,
    /// Vectors in the tail from which on it is sealed into a segment. Default 2 048.
    pub seal_at: usize,
    /// Vectors in a segment from which on it gets a graph; a smaller one is scanned. Default 2 048.
    pub graph_from: usize,
    /// The most links of a vector in a graph, 4 to 128. Default 32.
    pub degree: usize,
    /// Candidates kept in the search for a vector's neighbours while a graph is built, at least
    /// `degree`. Default 64.
    pub build_beam: usize,
    /// Segments of a size tier that are merged at a time; each tier is so many times larger than
    /// the one before. At least 2, default 4.
    pub merge_fan: usize,
    /// Threads that build a graph. Default 1; the graph is the same for any number.
    pub build_threads: usize,
}

impl Config {
    /// Creates the default configuration for vectors of this many dimensions.
    pub fn new(dimensions: usize, metric: Metric) -> Self {
        Self {
            dimensions,
            metric,
            seal_at: 2048,
            graph_from: 2048,
            degree: 32,
            build_beam: 64,
            merge_fan: 4,
            build_threads: 1,
        }
    }

    /// Returns the dimensions of every vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Returns how similarity is measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) fn check(&self) -> Result<(), VectorError> {
        let within = |field, found: usize, low: usize, high: usize| {
            if (low..=high).contains(&found) {
                Ok(())
            } else {
                Err(VectorError::Config { field, found, low, high })
            }
        };
        within("dimensions", self.dimensions, 1, DIMENSIONS_MAX)?;
        within("seal_at", self.seal_at, 1, 1 << 24)?;
        within("graph_from", self.graph_from, 2, usize::MAX)?;
        within("degree", self.degree, 4, 128)?;
        within("build_beam", self.build_beam, self.degree, 4096)?;
        within("merge_fan", self.merge_fan, 2, 64)?;
        within("build_threads", self.build_threads, 1, 1024)
    }
}
