//! Checks of requests against the limits, before anything else sees them: the fields that requests
//! share, and searches. A command's file says which of its fields are checked how.

use std::ops::Bound;

use steadfast_memory_api::{
    AttributeValue, Attributes, Clause, Filter, Limits, MemoryError, Number, Problem, Search, Span,
    ValueRange,
};
use steadfast_text_index::Analyzer;

use crate::value::fold;

type Checked = Result<(), MemoryError>;

/// The largest absolute value of a vector's component. With it every score of vectors of 4096
/// dimensions is a finite `f32`: a dot product is at most 4.1e37, a squared distance at most
/// 1.7e38.
const COMPONENT_MAX: f32 = 1e17;

pub(crate) fn tenant_name(name: &str, limits: &Limits) -> Checked {
    not_empty("tenant", name)?;
    length("tenant", name, limits.tenant_bytes)?;
    match name.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        Some((at, character)) => Err(MemoryError::invalid("tenant", Problem::BadCharacter { character, at })),
        None => Ok(()),
    }
}

/// A slug that names a memory, or is asked for.
pub(crate) fn slug(slug: &str, limits: &Limits) -> Checked {
    not_empty("slug", slug)?;
    length("slug", slug, limits.slug_bytes)?;
    if let Some((at, character)) = slug.char_indices().find(|(_, c)| c.is_control()) {
        return Err(MemoryError::invalid("slug", Problem::BadCharacter { character, at }));
    }
    let folded = fold(slug);
    if folded.trim().is_empty() {
        return Err(MemoryError::invalid("slug", Problem::Empty));
    }
    // Compatibility forms can be many times as long.
    length("slug", &folded, limits.slug_bytes)
}

/// Returns the keys of the query's words, by the tenant's analyzer: none only if there is a vector.
pub(crate) fn search(request: &Search, limits: &Limits, analyzer: Analyzer) -> Result<Vec<u64>, MemoryError> {
    if !(1..=limits.k).contains(&request.k) {
        let (found, max) = (request.k as f64, limits.k as f64);
        return Err(MemoryError::invalid("k", Problem::OutOfRange { found, min: 1.0, max }));
    }
    if let Some(values) = &request.vector {
        vector(values, limits)?;
    }
    weight("text_weight", request.text_weight)?;
    weight("vector_weight", request.vector_weight)?;
    if request.text_weight == 0.0 && request.vector_weight == 0.0 {
        // By none of the two would anything be found.
        let problem = Problem::OutOfRange { found: 0.0, min: f32::MIN_POSITIVE.into(), max: f32::MAX.into() };
        return Err(MemoryError::invalid("text_weight + vector_weight", problem));
    }
    filter(&request.filter, limits)?;
    words(request, limits, analyzer)
}

fn words(request: &Search, limits: &Limits, analyzer: Analyzer) -> Result<Vec<u64>, MemoryError> {
    length("text", &request.text, limits.query_bytes)?;
    let keys = analyzer.query_keys(&request.text);
    if keys.is_empty() && request.vector.is_none() {
        // Empty, or only punctuation or stop words: there is no word that could be found.
        return Err(MemoryError::invalid("text", Problem::Empty));
    }
    count("text: words", keys.len(), limits.query_words)?;
    Ok(keys)
}

fn weight(field: &str, weight: f32) -> Checked {
    if !weight.is_finite() {
        return Err(MemoryError::invalid(field, Problem::NotFinite));
    }
    if weight < 0.0 {
        let problem = Problem::OutOfRange { found: weight.into(), min: 0.0, max: f32::MAX.into() };
        return Err(MemoryError::invalid(field, problem));
    }
    Ok(())
}

/// What can be told of a vector without the others: not whether it has their dimensions, nor
/// whether their metric takes a zero.
pub(crate) fn vector(values: &[f32], limits: &Limits) -> Checked {
    if values.is_empty() {
        return Err(MemoryError::invalid("vector", Problem::Empty));
    }
    count("vector: dimensions", values.len(), limits.vector_dimensions)?;
    let Some(at) = values.iter().position(|value| !value.is_finite() || value.abs() > COMPONENT_MAX) else {
        return Ok(());
    };
    let problem = if values[at].is_finite() {
        let max = f64::from(COMPONENT_MAX);
        Problem::OutOfRange { found: values[at].into(), min: -max, max }
    } else {
        Problem::NotFinite
    };
    Err(MemoryError::invalid(format!("vector[{at}]"), problem))
}

fn filter(filter: &Filter, limits: &Limits) -> Checked {
    let clauses = filter.clauses();
    count("filter: clauses", clauses.len(), limits.filter_clauses)?;
    let values = clauses.iter().map(Clause::values).sum();
    count("filter: values", values, limits.filter_values)?;
    let bytes = clauses.iter().map(clause_bytes).sum();
    if bytes > limits.filter_bytes {
        return Err(MemoryError::invalid(
            "filter",
            Problem::TooLong { bytes, bytes_max: limits.filter_bytes },
        ));
    }
    clauses.iter().enumerate().try_for_each(|(at, each)| clause(&format!("filter[{at}]"), each, limits))
}

/// Bytes of the names and texts of a clause.
fn clause_bytes(clause: &Clause) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => text.len(),
        _ => 0,
    };
    let end = |end: &Bound<String>| match end {
        Bound::Included(text) | Bound::Excluded(text) => text.len(),
        Bound::Unbounded => 0,
    };
    match clause {
        Clause::KindIn(kinds) => kinds.iter().map(String::len).sum(),
        Clause::AttributeIn { name, values } => name.len() + values.iter().map(value).sum::<usize>(),
        Clause::AttributeBetween { name, range: ValueRange::Texts(range) } => {
            name.len() + end(&range.0) + end(&range.1)
        }
        Clause::AttributeBetween { name, .. } => name.len(),
        _ => 0,
    }
}

/// `field` is the clause's place in the filter.
fn clause(field: &str, clause: &Clause, limits: &Limits) -> Checked {
    match clause {
        Clause::KindIn(kinds) => {
            let field = format!("{field}.kind");
            kinds.iter().try_for_each(|kind| length(&field, kind, limits.kind_bytes))
        }
        Clause::AttributeIn { name, values } => {
            name_of(&format!("{field}.name"), name, limits)?;
            match values.iter().position(|value| matches!(value, AttributeValue::Float(v) if !v.is_finite()))
            {
                Some(at) => Err(MemoryError::invalid(format!("{field}.values[{at}]"), Problem::NotFinite)),
                None => Ok(()),
            }
        }
        Clause::AttributeBetween { name, range } => {
            name_of(&format!("{field}.name"), name, limits)?;
            match range {
                ValueRange::Numbers(range) => span(field, range, |number: &Number| number.is_nan()),
                ValueRange::Texts(range) => span(field, range, |_| false),
                _ => Ok(()),
            }
        }
        Clause::CreatedMs(range) | Clause::UpdatedMs(range) => span(field, range, |_| false),
        Clause::IdRange(range) => span(field, range, |_| false),
        Clause::Importance(range) => span(field, range, |value: &f32| value.is_nan()),
        _ => Ok(()),
    }
}

/// Infinite ends are as good as open ones; NaN is no end. A range that ends before it begins is a
/// mistake; one that is merely empty, such as `5..5`, finds nothing.
fn span<T: PartialOrd>(field: &str, range: &Span<T>, is_nan: impl Fn(&T) -> bool) -> Checked {
    let value =
        |end: &Bound<T>| matches!(end, Bound::Included(value) | Bound::Excluded(value) if is_nan(value));
    for (end, name) in [(&range.0, "start"), (&range.1, "end")] {
        if value(end) {
            return Err(MemoryError::invalid(format!("{field}.range.{name}"), Problem::NotFinite));
        }
    }
    match range {
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end))
            if start > end =>
        {
            Err(MemoryError::invalid(format!("{field}.range"), Problem::Reversed))
        }
        _ => Ok(()),
    }
}

pub(crate) fn text(text: &str, limits: &Limits) -> Checked {
    not_empty("text", text.trim())?;
    length("text", text, limits.text_bytes)?;
    no_nul(|| "text", text)
}

pub(crate) fn kind(kind: &str, limits: &Limits) -> Checked {
    length("kind", kind, limits.kind_bytes)?;
    match kind.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, character)) => Err(MemoryError::invalid("kind", Problem::BadCharacter { character, at })),
        None => Ok(()),
    }
}

pub(crate) fn importance(importance: Option<f32>) -> Checked {
    match importance {
        Some(value) if !value.is_finite() => Err(MemoryError::invalid("importance", Problem::NotFinite)),
        Some(value) if !(0.0..=1.0).contains(&value) => {
            let problem = Problem::OutOfRange { found: value.into(), min: 0.0, max: 1.0 };
            Err(MemoryError::invalid("importance", problem))
        }
        _ => Ok(()),
    }
}

pub(crate) fn attributes(attributes: &Attributes, limits: &Limits) -> Checked {
    count("attributes", attributes.len(), limits.attributes)?;
    for (name, value) in attributes.iter() {
        attribute_name(name, limits)?;
        match value {
            AttributeValue::Text(text) => no_nul(|| format!("attributes[{name:?}]"), text)?,
            AttributeValue::Float(value) if !value.is_finite() => {
                return Err(MemoryError::invalid(format!("attributes[{name:?}]"), Problem::NotFinite));
            }
            _ => {}
        }
    }
    let bytes = attributes.bytes();
    if bytes > limits.attributes_bytes {
        let problem = Problem::TooLong { bytes, bytes_max: limits.attributes_bytes };
        return Err(MemoryError::invalid("attributes", problem));
    }
    Ok(())
}

/// Names of attributes in the list `field`.
pub(crate) fn attribute_names(field: &str, names: &[String], limits: &Limits) -> Checked {
    count(field, names.len(), limits.attributes)?;
    names.iter().try_for_each(|name| attribute_name(name, limits))
}

fn attribute_name(name: &str, limits: &Limits) -> Checked {
    name_of("attribute name", name, limits)
}

fn name_of(field: &str, name: &str, limits: &Limits) -> Checked {
    not_empty(field, name)?;
    length(field, name, limits.attribute_name_bytes)?;
    no_nul(|| field, name)
}

fn not_empty(field: &str, text: &str) -> Checked {
    if text.is_empty() { Err(MemoryError::invalid(field, Problem::Empty)) } else { Ok(()) }
}

fn length(field: &str, text: &str, bytes_max: usize) -> Checked {
    match text.len() {
        bytes if bytes > bytes_max => Err(MemoryError::invalid(field, Problem::TooLong { bytes, bytes_max })),
        _ => Ok(()),
    }
}

fn count(field: &str, count: usize, count_max: usize) -> Checked {
    if count > count_max {
        return Err(MemoryError::invalid(field, Problem::TooMany { count, count_max }));
    }
    Ok(())
}

/// The field's name is made only if it is told.
fn no_nul<F: Into<String>>(field: impl FnOnce() -> F, text: &str) -> Checked {
    match text.find('\0') {
        Some(at) => Err(MemoryError::invalid(field(), Problem::BadCharacter { character: '\0', at })),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
