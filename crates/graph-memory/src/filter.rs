//! From a filter to what the indexes can do about it, and the check of what they bring.
//!
//! # Tags
//! The text index keeps, beside a memory's terms, unscored tags: one for its kind and one for each attribute with its value
//! ([`tags_of`]). Clauses of equality and of sets become tags that a memory must have ([`Plan::tags_all`], [`Plan::tags_any`]).
//!
//! For each attribute that is a number there are tags of the buckets that it is in ([`ranges`]); a range of numbers becomes a group of these,
//! a **hint** ([`Plan::hints`]).
//!
//! **Invariants**
//! - A memory that a filter accepts has all of `tags_all` and one of each group of `tags_any` and of `hints`, its id is in `ids` (if there are
//!   any) and within the bounds of ids and of times. So nothing is lost by looking only there.
//! - Equal values have equal tags: 1 and 1.0, 0.0 and -0.0.
//! - The opposite doesn't hold, for tags are hashes, buckets are wider than ranges, and ranges of texts have no tags. So whatever an index brings is checked by
//!   [`Plan::accepts`], which reads the memory itself.

mod ranges;

use std::ops::{Bound, RangeBounds, RangeInclusive};

use steadfast_memory_api::{
    AttributeRef, AttributeValue, Clause, Content, Filter, Id, Number, Record, Span, ValueRange,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seeds that keep the tags of kinds, of attributes and of buckets apart. A change of these changes every tag.
const KIND: u64 = u64::from_le_bytes(*b"tag:kind");
const ATTRIBUTE: u64 = u64::from_le_bytes(*b"tag:attr");
const BUCKET: u64 = u64::from_le_bytes(*b"tag:numb");

/// The tags of a memory: for its kind, the empty one too, and for each attribute. Ascending, without repetitions.
pub(crate) fn tags_of(content: &Content) -> Vec<u64> {
    let mut buffer = Vec::new();
    let mut tags = vec![kind_tag(content.kind())];
    for (name, value) in content.each_attribute() {
        let Some(value) = Value::of(value) else { continue };
        tags.push(attribute_tag(name, value, &mut buffer));
        if let Some(number) = value.as_number() {
            tags.extend(ranges::buckets(number).map(|bucket| bucket_tag(name, bucket, &mut buffer)));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn kind_tag(kind: &str) -> u64 {
    xxh3_64_with_seed(kind.as_bytes(), KIND)
}

/// `buffer` is scratch space.
fn attribute_tag(name: &str, value: Value<'_>, buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    // The length first, so that no name runs into its value.
    buffer.extend((name.len() as u64).to_le_bytes());
    buffer.extend(name.as_bytes());
    match value {
        Value::Bool(value) => buffer.extend([0, u8::from(value)]),
        Value::Int(value) => {
            buffer.push(1);
            buffer.extend(value.to_le_bytes());
        }
        Value::Float(bits) => {
            buffer.push(2);
            buffer.extend(bits.to_le_bytes());
        }
        Value::Text(value) => {
            buffer.push(3);
            buffer.extend(value.as_bytes());
        }
    }
    xxh3_64_with_seed(buffer, ATTRIBUTE)
}

/// `buffer` is scratch space.
fn bucket_tag(name: &str, (width, number): ranges::Bucket, buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    buffer.extend((name.len() as u64).to_le_bytes());
    buffer.extend(name.as_bytes());
    buffer.push(width);
    buffer.extend(number.to_le_bytes());
    xxh3_64_with_seed(buffer, BUCKET)
}

/// An attribute's value in the one form that equal values have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Bool(bool),
    Int(i64),
    /// The bits of a number that is no `Int`.
    Float(u64),
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// None for a sort of value that this version doesn't know: it equals nothing.
    fn of(value: AttributeRef<'a>) -> Option<Self> {
        match value {
            AttributeRef::Bool(value) => Some(Self::Bool(value)),
            AttributeRef::Int(value) => Some(Self::number(Number::Int(value))),
            AttributeRef::Float(value) => Some(Self::number(Number::Float(value))),
            AttributeRef::Text(value) => Some(Self::Text(value)),
            _ => None,
        }
    }

    fn wanted(value: &'a AttributeValue) -> Option<Self> {
        match value {
            AttributeValue::Bool(value) => Some(Self::Bool(*value)),
            AttributeValue::Int(value) => Some(Self::number(Number::Int(*value))),
            AttributeValue::Float(value) => Some(Self::number(Number::Float(*value))),
            AttributeValue::Text(value) => Some(Self::Text(value)),
            _ => None,
        }
    }

    fn as_number(self) -> Option<Number> {
        match self {
            Self::Int(value) => Some(Number::Int(value)),
            Self::Float(bits) => Some(Number::Float(f64::from_bits(bits))),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    fn number(number: Number) -> Self {
        match number.canonical() {
            Number::Int(value) => Self::Int(value),
            Number::Float(value) => Self::Float(value.to_bits()),
        }
    }
}

/// A filter, prepared to be asked about many memories.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    checks: Vec<Check<'a>>,
    tags_all: Vec<u64>,
    tags_any: Vec<Vec<u64>>,
    hints: Vec<Vec<u64>>,
    /// The ids that all sets of ids have in common, within `id_range`: ascending, without repetitions.
    ids: Option<Vec<u64>>,
    id_range: RangeInclusive<u64>,
    created_ms: RangeInclusive<u64>,
    updated_ms: RangeInclusive<u64>,
    is_empty: bool,
}

/// A clause that a memory's content is asked about.
#[derive(Debug)]
enum Check<'a> {
    /// Sorted.
    KindIn(Vec<&'a str>),
    /// Values sorted.
    AttributeIn {
        name: &'a str,
        values: Vec<Value<'a>>,
    },
    AttributeBetween {
        name: &'a str,
        range: &'a ValueRange,
    },
    Importance(Span<f32>),
    /// A clause that this version doesn't know: better to find nothing than too much.
    Unknown,
}

/// No bounds.
pub(crate) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

impl<'a> Plan<'a> {
    /// Any filter is accepted: what has no bounds here was checked when the search was.
    pub(crate) fn new(filter: &'a Filter) -> Self {
        let mut plan = Self {
            checks: Vec::new(),
            tags_all: Vec::new(),
            tags_any: Vec::new(),
            hints: Vec::new(),
            ids: None,
            id_range: ALL,
            created_ms: ALL,
            updated_ms: ALL,
            is_empty: filter.is_empty(),
        };
        for clause in filter.clauses() {
            plan.add(clause);
        }
        if let Some(ids) = &mut plan.ids {
            ids.retain(|id| plan.id_range.contains(id));
        }
        plan.tags_all.sort_unstable();
        plan.tags_all.dedup();
        plan
    }

    fn add(&mut self, clause: &'a Clause) {
        match clause {
            Clause::KindIn(kinds) => {
                let kinds = sorted(kinds.iter().map(String::as_str));
                self.one_of(kinds.iter().map(|kind| kind_tag(kind)).collect());
                self.checks.push(Check::KindIn(kinds));
            }
            Clause::AttributeIn { name, values } => {
                let values = sorted(values.iter().filter_map(Value::wanted));
                let mut buffer = Vec::new();
                self.one_of(values.iter().map(|value| attribute_tag(name, *value, &mut buffer)).collect());
                self.checks.push(Check::AttributeIn { name, values });
            }
            Clause::AttributeBetween { name, range } => {
                if let ValueRange::Numbers(numbers) = range {
                    let mut buffer = Vec::new();
                    let cover = ranges::cover(numbers).into_iter();
                    self.hints.push(cover.map(|bucket| bucket_tag(name, bucket, &mut buffer)).collect());
                }
                self.checks.push(Check::AttributeBetween { name, range });
            }
            Clause::CreatedMs(range) => self.created_ms = common(&self.created_ms, *range),
            Clause::UpdatedMs(range) => self.updated_ms = common(&self.updated_ms, *range),
            Clause::IdIn(ids) => {
                let mut ids = sorted(ids.iter().copied().map(Id::get));
                if let Some(known) = &self.ids {
                    ids.retain(|id| known.binary_search(id).is_ok());
                }
                self.ids = Some(ids);
            }
            Clause::IdRange((start, end)) => {
                let range = (start.map(Id::get), end.map(Id::get));
                self.id_range = common(&self.id_range, range);
            }
            Clause::Importance(range) => self.checks.push(Check::Importance(*range)),
            _ => self.checks.push(Check::Unknown),
        }
    }

    /// A memory must have one of these tags.
    fn one_of(&mut self, tags: Vec<u64>) {
        match tags[..] {
            [tag] => self.tags_all.push(tag),
            _ => self.tags_any.push(tags),
        }
    }

    /// Tags that every memory it accepts has. Ascending.
    pub(crate) fn tags_all(&self) -> &[u64] {
        &self.tags_all
    }

    /// Groups of tags of which every memory it accepts has one. An empty group lets nothing through.
    pub(crate) fn tags_any(&self) -> Vec<&[u64]> {
        self.tags_any.iter().map(Vec::as_slice).collect()
    }

    /// Groups of tags of which every memory it accepts has one, and so have others.
    pub(crate) fn hints(&self) -> Vec<&[u64]> {
        self.hints.iter().map(Vec::as_slice).collect()
    }

    /// The lowest and the highest id that it accepts.
    pub(crate) fn id_range(&self) -> &RangeInclusive<u64> {
        &self.id_range
    }

    /// When what it accepts was created.
    pub(crate) fn created_ms(&self) -> &RangeInclusive<u64> {
        &self.created_ms
    }

    /// The only ids that it accepts, ascending, if it has a set of ids.
    pub(crate) fn ids(&self) -> Option<&[u64]> {
        self.ids.as_deref()
    }

    /// Whether tags list what it may accept.
    pub(crate) fn has_tags(&self) -> bool {
        !self.tags_all.is_empty() || !self.tags_any.is_empty() || !self.hints.is_empty()
    }

    /// Whether there is no clause.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Whether it is known to accept nothing: an empty set, or an empty range of ids or of times.
    pub(crate) fn finds_nothing(&self) -> bool {
        self.tags_any.iter().any(Vec::is_empty)
            || self.ids.as_ref().is_some_and(Vec::is_empty)
            || [&self.id_range, &self.created_ms, &self.updated_ms].into_iter().any(RangeInclusive::is_empty)
    }

    /// Whether the memory matches every clause. Reads the memory itself, not its tags.
    pub(crate) fn accepts(&self, record: &Record) -> bool {
        let id = record.id.get();
        self.id_range.contains(&id)
            && self.created_ms.contains(&record.created_ms)
            && self.updated_ms.contains(&record.updated_ms)
            && self.ids.as_ref().is_none_or(|ids| ids.binary_search(&id).is_ok())
            && self.checks.iter().all(|check| check.accepts(&record.content))
    }
}

impl Check<'_> {
    fn accepts(&self, content: &Content) -> bool {
        match self {
            Self::KindIn(kinds) => kinds.binary_search(&content.kind()).is_ok(),
            Self::AttributeIn { name, values } => content
                .attribute(name)
                .and_then(Value::of)
                .is_some_and(|value| values.binary_search(&value).is_ok()),
            Self::AttributeBetween { name, range } => {
                content.attribute(name).is_some_and(|value| range.contains(value))
            }
            Self::Importance(range) => range.contains(&content.importance()),
            Self::Unknown => false,
        }
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// What both ranges hold.
fn common(known: &RangeInclusive<u64>, range: Span<u64>) -> RangeInclusive<u64> {
    let start = match range.0 {
        Bound::Unbounded => Some(0),
        Bound::Included(start) => Some(start),
        Bound::Excluded(start) => start.checked_add(1),
    };
    let end = match range.1 {
        Bound::Unbounded => Some(u64::MAX),
        Bound::Included(end) => Some(end),
        Bound::Excluded(end) => end.checked_sub(1),
    };
    match (start, end) {
        (Some(start), Some(end)) => start.max(*known.start())..=end.min(*known.end()),
        // Nothing is before 0 nor after the last.
        _ => RangeInclusive::new(1, 0),
    }
}

#[cfg(test)]
mod tests;
