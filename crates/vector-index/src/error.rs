//! What is refused, and what a check of the index can find.

use std::error::Error;
use std::fmt;

/// Why a vector, a search or a configuration was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VectorError {
    /// A vector has another number of components than the index.
    Dimensions {
        /// What the index has.
        expected: usize,
        /// What the vector has.
        found: usize,
    },
    /// A component is NaN or infinite.
    NotFinite {
        /// Where, counted from zero.
        position: usize,
        /// What was there.
        value: f32,
    },
    /// The zero vector has no direction, which cosine needs.
    Zero,
    /// More hits were asked for than a search gives.
    TooManyHits {
        /// What was asked for.
        found: usize,
        /// The most: [`K_MAX`](crate::K_MAX).
        limit: usize,
    },
    /// A field of the configuration is out of its range.
    Config {
        /// Which field.
        field: &'static str,
        /// What it held.
        found: usize,
        /// The least it may be.
        low: usize,
        /// The most it may be.
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
                write!(f, "{found} hits asked for, at most {limit} are given")
            }
            Self::Config { field, found, low, high } => {
                write!(f, "{field} is {found}, allowed are {low} to {high}")
            }
            Self::OtherMetric => f.write_str("the vector was prepared for another metric"),
        }
    }
}

impl Error for VectorError {}

/// A build that doesn't fit the index any more, because another one was installed first. Plan again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleBuild;

impl fmt::Display for StaleBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was built from is no longer in the index")
    }
}

impl Error for StaleBuild {}

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
