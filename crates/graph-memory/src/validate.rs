//! Checks of requests against the limits, before anything else sees them.

use steadfast_memory_api::{
    Allocate, AttributeValue, Attributes, Limits, MemoryError, Patch, Problem, Search,
};

use crate::text::tokens::query_keys;
use crate::value::fold;

type Checked = Result<(), MemoryError>;

pub(crate) fn tenant_name(name: &str, limits: &Limits) -> Checked {
    not_empty("tenant", name)?;
    length("tenant", name, limits.tenant_bytes)?;
    match name.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        Some((at, character)) => Err(MemoryError::invalid("tenant", Problem::BadCharacter { character, at })),
        None => Ok(()),
    }
}

pub(crate) fn allocate(request: &Allocate, limits: &Limits) -> Checked {
    text(&request.text, limits)?;
    kind(&request.kind, limits)?;
    if let Some(written) = &request.slug {
        slug(written, limits)?;
    }
    attributes(&request.attributes, limits)?;
    importance(request.importance)
}

pub(crate) fn patch(patch: &Patch, limits: &Limits) -> Checked {
    let Patch { text: new_text, kind: new_kind, importance: new_importance, set, remove, request_id: _ } =
        patch;
    if new_text.is_none()
        && new_kind.is_none()
        && new_importance.is_none()
        && set.is_empty()
        && remove.is_empty()
    {
        return Err(MemoryError::invalid("patch", Problem::NoChange));
    }
    if let Some(new_text) = new_text {
        text(new_text, limits)?;
    }
    if let Some(new_kind) = new_kind {
        kind(new_kind, limits)?;
    }
    importance(*new_importance)?;
    attributes(set, limits)?;
    count("remove", remove.len(), limits.attributes)?;
    remove.iter().try_for_each(|name| attribute_name(name, limits))
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

/// Returns the query's keys.
pub(crate) fn search(request: &Search, limits: &Limits) -> Result<Vec<u64>, MemoryError> {
    if !(1..=limits.k).contains(&request.k) {
        let (found, max) = (request.k as f64, limits.k as f64);
        return Err(MemoryError::invalid("k", Problem::OutOfRange { found, min: 1.0, max }));
    }
    not_empty("text", request.text.trim())?;
    length("text", &request.text, limits.query_bytes)?;
    let keys = query_keys(&request.text);
    if keys.is_empty() {
        // Only punctuation: there is no word that could be found.
        return Err(MemoryError::invalid("text", Problem::Empty));
    }
    count("text: words", keys.len(), limits.query_words)?;
    Ok(keys)
}

fn text(text: &str, limits: &Limits) -> Checked {
    not_empty("text", text.trim())?;
    length("text", text, limits.text_bytes)?;
    no_nul("text", text)
}

fn kind(kind: &str, limits: &Limits) -> Checked {
    length("kind", kind, limits.kind_bytes)?;
    match kind.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, character)) => Err(MemoryError::invalid("kind", Problem::BadCharacter { character, at })),
        None => Ok(()),
    }
}

fn importance(importance: Option<f32>) -> Checked {
    match importance {
        Some(value) if !value.is_finite() => Err(MemoryError::invalid("importance", Problem::NotFinite)),
        Some(value) if !(0.0..=1.0).contains(&value) => {
            let problem = Problem::OutOfRange { found: value.into(), min: 0.0, max: 1.0 };
            Err(MemoryError::invalid("importance", problem))
        }
        _ => Ok(()),
    }
}

fn attributes(attributes: &Attributes, limits: &Limits) -> Checked {
    count("attributes", attributes.len(), limits.attributes)?;
    for (name, value) in attributes.iter() {
        attribute_name(name, limits)?;
        match value {
            AttributeValue::Text(text) => no_nul(format!("attributes[{name:?}]"), text)?,
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

fn attribute_name(name: &str, limits: &Limits) -> Checked {
    not_empty("attribute name", name)?;
    length("attribute name", name, limits.attribute_name_bytes)?;
    no_nul("attribute name", name)
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

fn no_nul(field: impl Into<String>, text: &str) -> Checked {
    match text.find('\0') {
        Some(at) => Err(MemoryError::invalid(field, Problem::BadCharacter { character: '\0', at })),
        None => Ok(()),
    }
}
