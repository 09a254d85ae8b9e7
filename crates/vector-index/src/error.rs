//! Errors of inputs, and defects that a check of the index can find.

use std::error::Error;
use std::fmt;

/// Why a vector, a search or a configuration was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VectorError {
    /// A vector has another number of components than the index.
    Dimensions {
        /// Dimensions of the index.
        expected: usize,
        /// Dimensions of the vector.
        found: usize,
    },
    /// A component is NaN or infinite.
    NotFinite {
        /// The component, counted from zero.
        position: usize,
        /// Its value.
        value: f32,
    },
    /// The zero vector has no direction, which cosine needs.
    Zero,
    /// More hits were requested than a search returns.
    TooManyHits {
        /// The number requested.
        found: usize,
        /// The maximum: [`K_MAX`](crate::K_MAX).
        limit: usize,
    },
    /// A field of the configuration is out of its range.
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The minimum.
        low: usize,
        /// The maximum.
        high: usize,
    },
    /// The vector was prepared for an index with another metric.
    OtherMetric,
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimensions { expected, found } => {
                write!(f, "vector has {found} dimensions, the index has {expected}")
            }
            Self::NotFinite { position, value } => write!(f, "component {position} of the vector is {value}"),
            Self::Zero => f.write_str("the zero vector has no direction, which cosine needs"),
            Self::TooManyHits { found, limit } => {
                write!(f, "{found} hits requested, at most {limit} are returned")
            }
            Self::Config { field, found, low, high } => {
                write!(f, "{field} is {found}, allowed are {low} to {high}")
            }
            Self::OtherMetric => f.write_str("the vector was prepared for another metric"),
        }
    }
}

impl Error for VectorError {}

/// A broken invariant that [`verify`](crate::VectorIndex::verify) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The segment's number; none for the tail.
    pub(crate) segment: Option<usize>,
    pub(crate) what: String,
}

impl Defect {
    pub(crate) fn new(segment: Option<usize>, what: String) -> Self {
        Self { segment, what }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Some(number) => write!(f, "segment {number}: {}", self.what),
            None => write!(f, "tail: {}", self.what),
        }
    }
}

impl Error for Defect {}
