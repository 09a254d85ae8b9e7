//! Vectors on their way into a tenant's index.

use steadfast_vector_index::{Config, Metric, PreparedVector};

/// A vector to be indexed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewVector<'a> {
    pub(crate) values: &'a [f32],
    /// The tenant's metric, if this is its first vector.
    pub(crate) metric: Metric,
    /// By that metric; none if it can't be: then it is refused, or prepared again by the tenant's
    /// own.
    pub(crate) prepared: Option<&'a PreparedVector>,
}

/// What the vector index keeps of a vector, made by a caller's thread.
#[derive(Debug)]
pub(crate) struct VectorPreparation {
    metric: Metric,
    prepared: Option<PreparedVector>,
}

impl VectorPreparation {
    /// Prepares a vector for `metric`; without components there is none.
    pub(crate) fn new(values: &[f32], metric: Metric) -> Self {
        Self { metric, prepared: prepare_vector(values, metric) }
    }

    /// The vector that this was made of, `values`; none if it has no components.
    pub(crate) fn vector<'a>(&'a self, values: &'a [f32]) -> Option<NewVector<'a>> {
        let vector = NewVector { values, metric: self.metric, prepared: self.prepared.as_ref() };
        (!values.is_empty()).then_some(vector)
    }

    /// The number of the metric in the log; 0 for a command without a vector.
    pub(crate) fn metric_number(&self, values: &[f32]) -> u32 {
        if values.is_empty() { 0 } else { metric_number(self.metric) }
    }
}

/// What the vector index keeps of a vector; none if it has no components, too many, or can't be
/// compared by this metric.
pub(crate) fn prepare_vector(values: &[f32], metric: Metric) -> Option<PreparedVector> {
    PreparedVector::new(&Config::new(values.len(), metric), values).ok()
}

/// The number of a metric in the log and in hashes of the state; 0 is for none.
pub(crate) fn metric_number(metric: Metric) -> u32 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::L2 => 3,
    }
}

/// The metric of a number in the log; 0, of a command without a vector, reads as the default.
pub(crate) fn metric_from_number(number: u32) -> Option<Metric> {
    match number {
        0 | 1 => Some(Metric::Cosine),
        2 => Some(Metric::Dot),
        3 => Some(Metric::L2),
        _ => None,
    }
}
