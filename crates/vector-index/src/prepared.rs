//! A vector that is checked, normalised and quantised on the caller's thread.
//!
//! A component is about `scale` times its code, and `error` is the length of the difference. By
//! Cauchy and Schwarz the dot product of two vectors differs from that of their codes by at most
//! `|scale·codes(a)|·error(b) + error(a)·|b|`, which makes a scan of codes exact.
//!
//! Everything is plain IEEE arithmetic in a fixed order, so equal components make equal codes on
//! every machine.

use crate::config::{Config, Metric};
use crate::error::VectorError;
use crate::kernel::{self, LINE, Line, OFFSET, ZERO_LINE};

/// Measures of a vector and its codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measures {
    /// The value of code 1.
    pub(crate) scale: f32,
    /// Length of the difference between the vector and its codes, rounded up.
    pub(crate) error: f32,
    /// Length of the vector, rounded up.
    pub(crate) norm: f64,
}

/// A vector, ready to be inserted.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedVector {
    pub(crate) metric: Metric,
    pub(crate) values: Box<[f32]>,
    pub(crate) codes: Box<[Line]>,
    pub(crate) measures: Measures,
}

/// Factor by which lengths are rounded up: above the rounding errors of their sums.
const ROUND_UP: f64 = 1.0 + 1e-6;

impl PreparedVector {
    /// Checks `values`, normalises a copy if the metric is cosine, and computes its codes.
    ///
    /// # Errors
    /// [`Dimensions`](VectorError::Dimensions), [`NotFinite`](VectorError::NotFinite), and
    /// [`Zero`](VectorError::Zero) if the metric is cosine.
    pub fn new(config: &Config, values: &[f32]) -> Result<Self, VectorError> {
        if values.len() != config.dimensions {
            return Err(VectorError::Dimensions { expected: config.dimensions, found: values.len() });
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            return Err(VectorError::NotFinite { position, value: values[position] });
        }
        let values: Box<[f32]> = match config.metric {
            Metric::Dot | Metric::L2 => values.into(),
            Metric::Cosine => {
                // Neither overflows nor vanishes: the squares of all f32 are normal f64.
                let norm = kernel::dot(values, values).sqrt();
                if norm == 0.0 {
                    return Err(VectorError::Zero);
                }
                values.iter().map(|&value| (f64::from(value) / norm) as f32).collect()
            }
        };
        let (codes, measures) = quantise(&values);
        Ok(Self { metric: config.metric, values, codes, measures })
    }

    /// Returns the components, normalised if the metric is cosine.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the codes of the components, from -127 to 127, the same on every machine.
    pub fn codes(&self) -> impl Iterator<Item = i8> {
        let bytes = self.codes.iter().flat_map(|line| line.0);
        bytes.take(self.values.len()).map(|byte| (byte ^ OFFSET).cast_signed())
    }
}

/// Returns how many lines the codes of a vector take.
pub(crate) fn lines_for(dimensions: usize) -> usize {
    dimensions.div_ceil(LINE)
}

/// Computes the codes of `values` and their measures.
pub(crate) fn quantise(values: &[f32]) -> (Box<[Line]>, Measures) {
    let mut codes = vec![ZERO_LINE; lines_for(values.len())].into_boxed_slice();
    let mut differences = vec![0.0f32; values.len()];
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = (f64::from(largest) / 127.0) as f32;
    kernel::quantise(values, largest, scale, &mut codes, &mut differences);
    let length = |values: &[f32]| kernel::dot(values, values).sqrt() * ROUND_UP;
    let error = (length(&differences) * ROUND_UP + f64::from(f32::MIN_POSITIVE)) as f32;
    (codes, Measures { scale, error: error.min(f32::MAX), norm: length(values) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(metric: Metric, values: &[f32]) -> Result<PreparedVector, VectorError> {
        PreparedVector::new(&Config::new(values.len(), metric), values)
    }

    #[test]
    fn bad_input_is_named() {
        let three = Config::new(3, Metric::Cosine);
        let wrong = PreparedVector::new(&three, &vec![1.0; 1_000_000]);
        assert_eq!(wrong, Err(VectorError::Dimensions { expected: 3, found: 1_000_000 }));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let found = prepare(metric, &[1.0, 2.0, bad]);
                assert!(matches!(found, Err(VectorError::NotFinite { position: 2, .. })), "{found:?}");
            }
        }
        assert_eq!(PreparedVector::new(&three, &[0.0, -0.0, 0.0]), Err(VectorError::Zero));
        assert!(prepare(Metric::L2, &[0.0; 3]).is_ok());
    }

    #[test]
    fn the_huge_and_the_tiny_are_normalised_like_any_other() {
        let expected = prepare(Metric::Cosine, &[3.0, -4.0]).unwrap();
        for size in [1e38f32, 1e-38, 1e-42] {
            let found = prepare(Metric::Cosine, &[3.0 * size / 4.0, -size]).unwrap();
            for (found, expected) in found.values().iter().zip(expected.values()) {
                assert!((found - expected).abs() < 2e-3, "{size}");
            }
        }
    }

    #[test]
    fn codes_are_pinned() {
        let vector = prepare(Metric::Dot, &[127.0, 0.5, -0.5, 0.49, -127.0, 63.5, 1.0]).unwrap();
        let codes: Vec<i8> = vector.codes().collect();
        assert_eq!(codes, [127, 1, -1, 0, -127, 64, 1]);
        assert_eq!(vector.measures.scale.to_bits(), 1.0f32.to_bits());
    }

    #[test]
    fn error_and_norm_are_upper_bounds_for_every_magnitude() {
        for size in [1e-45f32, 1e-40, 1e-20, 1.0, 1e20, 1e38] {
            let values: Vec<f32> = (0..100).map(|at| (at as f32 * 0.7).sin() * size).collect();
            let (codes, measures) = quantise(&values);
            let mut error = 0.0;
            for (at, &value) in values.iter().enumerate() {
                let code = f64::from(codes[at / LINE].0[at % LINE]) - 128.0;
                error += (f64::from(value) - code * f64::from(measures.scale)).powi(2);
            }
            assert!(f64::from(measures.error) >= error.sqrt(), "{size}");
            let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            assert!(measures.norm >= norm && measures.norm <= norm * 1.001, "{size}");
        }
    }
}
