//! Vectors side by side: their codes in one aligned array, their originals in another, and measures
//! of each.

use crate::config::Metric;
use crate::kernel::{self, Line, Signed, prefetch};
use crate::pages;
use crate::prepared::{Measures, PreparedVector, lines_for};

/// Vectors of one index, numbered from zero. They don't change once they are shared.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) dimensions: usize,
    /// Lines of codes that a row has.
    pub(crate) lines: usize,
    codes: Vec<Line>,
    values: Vec<f32>,
    scales: Vec<f32>,
    errors: Vec<f32>,
    norms: Vec<f64>,
    ids: Vec<u64>,
    row_ids: Vec<u64>,
}

impl Rows {
    pub(crate) fn with_capacity(dimensions: usize, count: usize) -> Self {
        let lines = lines_for(dimensions);
        Self {
            dimensions,
            lines,
            codes: pages::with_capacity(count * lines),
            values: pages::with_capacity(count * dimensions),
            scales: Vec::with_capacity(count),
            errors: Vec::with_capacity(count),
            norms: Vec::with_capacity(count),
            ids: Vec::with_capacity(count),
            row_ids: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, id: u64, row_id: u64, codes: &[Line], values: &[f32], measures: Measures) {
        self.codes.extend_from_slice(codes);
        self.values.extend_from_slice(values);
        self.scales.push(measures.scale);
        self.errors.push(measures.error);
        self.norms.push(measures.norm);
        self.ids.push(id);
        self.row_ids.push(row_id);
    }

    pub(crate) fn push_vector(&mut self, id: u64, row_id: u64, vector: &PreparedVector) {
        self.push(id, row_id, &vector.codes, &vector.values, vector.measures);
    }

    /// Appends a copy of a row of other rows.
    pub(crate) fn push_from(&mut self, other: &Self, row: usize) {
        let measures = other.measures(row);
        self.push(other.ids[row], other.row_ids[row], other.codes(row), other.values(row), measures);
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, row: usize) -> u64 {
        self.ids[row]
    }

    pub(crate) fn row_id(&self, row: usize) -> u64 {
        self.row_ids[row]
    }

    pub(crate) fn row_ids(&self) -> &[u64] {
        &self.row_ids
    }

    pub(crate) fn codes(&self, row: usize) -> &[Line] {
        &self.codes[row * self.lines..][..self.lines]
    }

    /// Returns the codes of all rows, one after the other.
    pub(crate) fn all_codes(&self) -> &[Line] {
        &self.codes
    }

    pub(crate) fn values(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    pub(crate) fn measures(&self, row: usize) -> Measures {
        Measures { scale: self.scales[row], error: self.errors[row], norm: self.norms[row] }
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(crate) fn norms(&self) -> &[f64] {
        &self.norms
    }

    /// Returns a lower and an upper bound of a row's score, from the product of its codes.
    pub(crate) fn bounds(&self, query: &Query, row: usize, dot: i32) -> (f64, f64) {
        let (middle, doubt) =
            query.middle_and_doubt(dot, self.scales[row], self.errors[row], self.norms[row]);
        (middle - doubt, middle + doubt)
    }

    /// Computes upper bounds of the scores of a run of rows.
    pub(crate) fn upper_bounds(&self, query: &Query, first: usize, dots: &[i32], out: &mut [f64]) {
        let scales = &self.scales[first..][..dots.len()];
        let errors = &self.errors[first..][..dots.len()];
        let norms = &self.norms[first..][..dots.len()];
        for ((((&dot, &scale), &error), &norm), out) in
            dots.iter().zip(scales).zip(errors).zip(norms).zip(out)
        {
            let (middle, doubt) = query.middle_and_doubt(dot, scale, error, norm);
            *out = middle + doubt;
        }
    }

    /// Returns the exact score of a row.
    pub(crate) fn score(&self, query: &Query, row: usize) -> f64 {
        exact_score(query.metric, &query.values, self.values(row))
    }

    /// Prefetches the originals of a row.
    pub(crate) fn prefetch_values(&self, row: usize) {
        for line in (0..self.dimensions).step_by(16) {
            prefetch(&self.values, row * self.dimensions + line);
        }
    }

    /// Prefetches the beginning of a row's codes; the processor's own prefetcher does the rest.
    #[inline]
    pub(crate) fn prefetch_codes(&self, row: usize) {
        for line in 0..self.lines.min(12) {
            prefetch(&self.codes, row * self.lines + line);
        }
    }

    /// Returns the bytes of its arrays.
    pub(crate) fn bytes(&self) -> usize {
        self.codes.capacity() * size_of::<Line>()
            + self.values.capacity() * size_of::<f32>()
            + (self.scales.capacity() + self.errors.capacity()) * size_of::<f32>()
            + (self.norms.capacity() + self.ids.capacity() + self.row_ids.capacity()) * size_of::<u64>()
    }

    /// Plants a defect for a test of `verify`.
    #[cfg(test)]
    pub(crate) fn spoil_code(&mut self, row: usize) {
        self.codes[row * self.lines].0[0] ^= 1;
    }
}

/// Returns the score of two prepared vectors: higher is better.
pub(crate) fn exact_score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::Cosine | Metric::Dot => kernel::dot(a, b),
        Metric::L2 => -kernel::distance(a, b),
    }
}

/// A vector to search for.
pub(crate) struct Query {
    pub(crate) metric: Metric,
    pub(crate) values: Box<[f32]>,
    pub(crate) codes: Signed,
    pub(crate) scale: f64,
    error: f64,
    /// Length of the codes, scaled.
    length: f64,
    pub(crate) norm: f64,
}

impl Query {
    pub(crate) fn new(vector: PreparedVector) -> Self {
        Self::from_parts(vector.metric, vector.values, &vector.codes, vector.measures)
    }

    pub(crate) fn from_parts(metric: Metric, values: Box<[f32]>, codes: &[Line], measures: Measures) -> Self {
        let Measures { scale, error, norm } = measures;
        let (scale, error) = (f64::from(scale), f64::from(error));
        Self {
            metric,
            values,
            codes: Signed::of(codes),
            scale,
            error,
            // The triangle inequality; the error of a query is small beside its norm.
            length: norm + error,
            norm,
        }
    }

    /// Returns the score by the codes, and the most that the exact score differs from it.
    ///
    /// The slack of 1e-9 is for the rounding of these few operations and of the exact score, 1e-12
    /// of the same sizes.
    #[inline]
    fn middle_and_doubt(&self, dot: i32, scale: f32, error: f32, norm: f64) -> (f64, f64) {
        let product = f64::from(dot) * (f64::from(scale) * self.scale);
        let doubt = self.length * f64::from(error) + self.error * norm + 1e-9 * (self.norm * norm);
        if self.metric == Metric::L2 {
            let squares = norm * norm + self.norm * self.norm;
            // The norms are rounded up by two millionths at most.
            return (2.0 * product - squares, 2.0 * doubt + 1e-5 * squares);
        }
        (product, doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_exact_score_lies_within_the_bounds() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            for size in [1e-42f32, 1e-30, 1.0, 1e30, 1e38] {
                let config = Config::new(70, metric);
                let vector = |seed: f32, size: f32| {
                    let values: Vec<f32> =
                        (0..70).map(|at| ((at as f32 + seed) * 1.37).sin() * size).collect();
                    PreparedVector::new(&config, &values).unwrap()
                };
                let query = Query::new(vector(0.3, 1.0));
                let mut rows = Rows::with_capacity(70, 50);
                (0..50).for_each(|at| rows.push_vector(at, at, &vector(at as f32 * 0.1, size)));
                let mut dots = [0; 50];
                kernel::dots_in_sequence(&query.codes, rows.all_codes(), &mut dots);
                let mut upper = [0.0; 50];
                rows.upper_bounds(&query, 0, &dots, &mut upper);
                for (row, &dot) in dots.iter().enumerate() {
                    let (low, high) = rows.bounds(&query, row, dot);
                    assert_eq!(high.to_bits(), upper[row].to_bits());
                    let score = rows.score(&query, row);
                    assert!(low <= score && score <= high, "{metric:?} {size} {low} {score} {high}");
                }
            }
        }
    }
}
