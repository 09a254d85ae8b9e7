//! Which memories a search may find: a conjunction of clauses.
//!
//! # What matches
//! - A memory matches a filter if it matches every clause; an empty filter lets all through.
//! - An attribute that a memory doesn't have matches no clause that names it.
//! - Whole numbers and floating-point numbers are compared by their exact values, as [`Number`] does: 1 equals 1.0, 2⁵³ + 1 doesn't equal
//!   2⁵³ as a `f64`, and -0.0 equals 0.
//! - Texts are equal if their bytes are, and ordered by their bytes. There is no case folding and no normalising.
//! - Truth values are only equal or not; no range holds one.
//! - Values of different sorts (a number and a text, for example) are never equal, and no range of one sort holds one of another.
//! - An empty set, and a range such as `5..5`, match nothing. A range that ends before it begins is refused when it is sent.

use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds};

use crate::{AttributeRef, AttributeValue, Id};

/// A start and an end, each of them included, excluded or open.
pub type Span<T> = (Bound<T>, Bound<T>);

/// Which memories a search may find: those that match every clause.
///
/// ```
/// use steadfast_memory_api::{Filter, Search};
///
/// let recent = Filter::new()
///     .kind_in(["preference", "decision"])
///     .attribute_is("customer", "acme")
///     .attribute_between("amount", 100..=2_500)
///     .created_ms(1_700_000_000_000..);
/// let search = Search::new("invoices").filter(recent);
/// assert_eq!(search.filter.clauses().len(), 4);
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filter {
    clauses: Vec<Clause>,
}

/// One condition of a [`Filter`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Clause {
    /// The kind is one of these, byte for byte. The empty kind is one like any other.
    KindIn(Vec<String>),
    /// The attribute is there and equals one of these values.
    AttributeIn {
        /// Which attribute.
        name: String,
        /// What it may be.
        values: Vec<AttributeValue>,
    },
    /// The attribute is there and lies in the range.
    AttributeBetween {
        /// Which attribute.
        name: String,
        /// Where it may lie.
        range: ValueRange,
    },
    /// The memory was created in this time, in Unix milliseconds of the log's clock.
    CreatedMs(Span<u64>),
    /// Its present version was written in this time, in Unix milliseconds of the log's clock.
    UpdatedMs(Span<u64>),
    /// The id is one of these; ids that no memory has are no error.
    IdIn(Vec<Id>),
    /// The id lies in this range.
    IdRange(Span<Id>),
    /// The importance lies in this range.
    Importance(Span<f32>),
}

impl Filter {
    /// Lets everything through.
    pub const fn new() -> Self {
        Self { clauses: Vec::new() }
    }

    /// Adds a clause.
    #[must_use]
    pub fn clause(mut self, clause: Clause) -> Self {
        self.clauses.push(clause);
        self
    }

    /// Only memories of this kind.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        self.clause(Clause::KindIn(vec![kind.into()]))
    }

    /// Only memories of one of these kinds.
    #[must_use]
    pub fn kind_in<K: Into<String>>(self, kinds: impl IntoIterator<Item = K>) -> Self {
        self.clause(Clause::KindIn(kinds.into_iter().map(Into::into).collect()))
    }

    /// Only memories whose attribute `name` equals `value`.
    #[must_use]
    pub fn attribute_is(self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.clause(Clause::AttributeIn { name: name.into(), values: vec![value.into()] })
    }

    /// Only memories whose attribute `name` equals one of `values`.
    #[must_use]
    pub fn attribute_in<V: Into<AttributeValue>>(
        self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.clause(Clause::AttributeIn { name: name.into(), values })
    }

    /// Only memories whose attribute `name` lies in `range`, of numbers or of texts.
    #[must_use]
    pub fn attribute_between(self, name: impl Into<String>, range: impl Into<ValueRange>) -> Self {
        self.clause(Clause::AttributeBetween { name: name.into(), range: range.into() })
    }

    /// Only memories that were created in this time, in Unix milliseconds.
    #[must_use]
    pub fn created_ms(self, range: impl RangeBounds<u64>) -> Self {
        self.clause(Clause::CreatedMs(span(&range)))
    }

    /// Only memories whose present version was written in this time, in Unix milliseconds.
    #[must_use]
    pub fn updated_ms(self, range: impl RangeBounds<u64>) -> Self {
        self.clause(Clause::UpdatedMs(span(&range)))
    }

    /// Only these memories.
    #[must_use]
    pub fn ids(self, ids: impl IntoIterator<Item = Id>) -> Self {
        self.clause(Clause::IdIn(ids.into_iter().collect()))
    }

    /// Only memories with an id in this range.
    #[must_use]
    pub fn id_range(self, range: impl RangeBounds<Id>) -> Self {
        self.clause(Clause::IdRange(span(&range)))
    }

    /// Only memories whose importance lies in this range.
    #[must_use]
    pub fn importance(self, range: impl RangeBounds<f32>) -> Self {
        self.clause(Clause::Importance(span(&range)))
    }

    /// All clauses, in the order in which they were added.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// Whether it has no clause, and so lets everything through.
    pub fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }
}

impl Clause {
    /// How many values it lists: the length of a set, 0 for a range.
    pub fn values(&self) -> usize {
        match self {
            Self::KindIn(kinds) => kinds.len(),
            Self::AttributeIn { values, .. } => values.len(),
            Self::IdIn(ids) => ids.len(),
            Self::AttributeBetween { .. }
            | Self::CreatedMs(_)
            | Self::UpdatedMs(_)
            | Self::IdRange(_)
            | Self::Importance(_) => 0,
        }
    }
}

impl FromIterator<Clause> for Filter {
    fn from_iter<I: IntoIterator<Item = Clause>>(clauses: I) -> Self {
        Self { clauses: clauses.into_iter().collect() }
    }
}

/// A whole or a floating-point number, compared by its exact value.
///
/// Nothing is rounded: an `i64` isn't converted to `f64`, which has fewer digits. -0.0 equals 0. NaN is neither equal to
/// anything nor less nor greater.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
}

/// 2⁶³, the first `f64` above all `i64`; its negation is the least `i64`.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

impl Number {
    /// The same number, as an `Int` if it is one of those: equal numbers become equal variants with equal bits. NaN stays as it is.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Float(value) if (-INT_END..INT_END).contains(&value) && value.trunc() == value => {
                Self::Int(value as i64)
            }
            other => other,
        }
    }

    /// Whether it is NaN.
    pub fn is_nan(self) -> bool {
        matches!(self, Self::Float(value) if value.is_nan())
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => compare(a, b),
            (Self::Float(a), Self::Int(b)) => compare(b, a).map(Ordering::reverse),
        }
    }
}

/// How a whole number stands to a floating-point one.
fn compare(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= INT_END {
        return Some(Ordering::Less);
    }
    if float < -INT_END {
        return Some(Ordering::Greater);
    }
    // Between the bounds, cutting off the fraction leaves a number that an `i64` holds exactly.
    let whole = float.trunc();
    Some(int.cmp(&(whole as i64)).then(if float > whole {
        Ordering::Less
    } else if float < whole {
        Ordering::Greater
    } else {
        Ordering::Equal
    }))
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// A range of numbers or of texts.
///
/// Made from Rust's ranges of `i32`, `i64`, `f64`, `&str`, `String` or [`Number`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ValueRange {
    /// From one number to another; the two may be of different types. The ends may be infinite, not NaN.
    Numbers(Span<Number>),
    /// From one text to another, by the order of their bytes.
    Texts(Span<String>),
}

impl ValueRange {
    /// Whether an attribute's value lies in it.
    pub fn contains(&self, value: AttributeRef<'_>) -> bool {
        match (self, value) {
            (Self::Numbers(range), AttributeRef::Int(value)) => range.contains(&Number::Int(value)),
            (Self::Numbers(range), AttributeRef::Float(value)) => range.contains(&Number::Float(value)),
            (Self::Texts((start, end)), AttributeRef::Text(value)) => {
                let range = (start.as_ref().map(String::as_str), end.as_ref().map(String::as_str));
                RangeBounds::<str>::contains(&range, value)
            }
            _ => false,
        }
    }
}

/// A type that a [`ValueRange`] can be made of.
trait RangeEnd: Clone {
    fn range(start: Bound<Self>, end: Bound<Self>) -> ValueRange;
}

impl RangeEnd for Number {
    fn range(start: Bound<Self>, end: Bound<Self>) -> ValueRange {
        ValueRange::Numbers((start, end))
    }
}

impl RangeEnd for String {
    fn range(start: Bound<Self>, end: Bound<Self>) -> ValueRange {
        ValueRange::Texts((start, end))
    }
}

macro_rules! range_ends {
    ($($end:ty => $as:ty),*) => { $(
        impl RangeEnd for $end {
            fn range(start: Bound<Self>, end: Bound<Self>) -> ValueRange {
                <$as as RangeEnd>::range(start.map(Into::into), end.map(Into::into))
            }
        }
    )* };
}

range_ends!(i32 => Number, i64 => Number, f64 => Number, &str => String);

macro_rules! value_ranges {
    ($($end:ty),*) => { value_ranges! { each $($end: Span<$end>),* }
        $(value_ranges! { each
            $end: std::ops::Range<$end>,
            $end: std::ops::RangeInclusive<$end>,
            $end: std::ops::RangeFrom<$end>,
            $end: std::ops::RangeTo<$end>,
            $end: std::ops::RangeToInclusive<$end>
        })*
    };
    (each $($end:ty: $range:ty),*) => { $(
        impl From<$range> for ValueRange {
            fn from(range: $range) -> Self {
                let (start, end): Span<$end> = span(&range);
                RangeEnd::range(start, end)
            }
        }
    )* };
}

value_ranges!(i32, i64, f64, &str, String, Number);

fn span<T: Clone>(range: &impl RangeBounds<T>) -> Span<T> {
    (range.start_bound().cloned(), range.end_bound().cloned())
}

#[cfg(test)]
mod tests;
