//! Update: write another version of a memory.

use std::sync::Arc;

use prost::Message as _;
use steadfast_memory_api::{
    Answer, Content, ContentParts, Id, MemoryError, Outcome, Patch, Problem, Record, RequestId, Version,
};
use xxhash_rust::xxh3::xxh3_64;

use super::wire::{self, Attribute, Options};
use super::{Context, Operation, Stamp, Undecodable};
use crate::filter::tags_of;
use crate::refusal::Refusal;
use crate::validate;
use crate::value::{Entry, PreparedText, TenantValue, VectorPreparation, index_document};

/// A change of a memory.
#[derive(Debug)]
pub(crate) struct MemoryPatch {
    message: Message,
    /// The terms of a new text, without tags.
    terms: PreparedText,
    /// What the vector index keeps of a new vector.
    prepared: VectorPreparation,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, optional, tag = "2")]
    if_version: Option<u64>,
    #[prost(string, optional, tag = "3")]
    text: Option<String>,
    #[prost(string, optional, tag = "4")]
    kind: Option<String>,
    #[prost(float, optional, tag = "5")]
    importance: Option<f32>,
    #[prost(message, repeated, tag = "6")]
    set: Vec<Attribute>,
    #[prost(string, repeated, tag = "7")]
    remove: Vec<String>,
    /// How many attributes the memory may have afterwards, and how many bytes of them, names and
    /// values.
    #[prost(uint64, tag = "8")]
    attributes_max: u64,
    #[prost(uint64, tag = "9")]
    attributes_bytes_max: u64,
    /// Empty if there is no new one.
    #[prost(float, repeated, tag = "10")]
    vector: Vec<f32>,
}

impl Operation for Box<MemoryPatch> {
    const FIELD: u32 = 6;
    type Request = (Id, Option<Version>, Patch);
    type Answer = Answer;

    fn resolve((id, if_version, patch): Self::Request, context: &Context<'_>) -> Result<Self, MemoryError> {
        check(&patch, context)?;
        let text = patch.text.as_deref();
        let terms = text.map(|text| (context.analyzer, context.analyzer.document_terms(text)));
        let message = Message {
            id: id.get(),
            if_version: if_version.map(Version::get),
            text: patch.text,
            kind: patch.kind,
            importance: patch.importance,
            set: Attribute::all(patch.set),
            remove: patch.remove,
            attributes_max: context.limits.attributes as u64,
            attributes_bytes_max: context.limits.attributes_bytes as u64,
            vector: patch.vector.unwrap_or_default(),
        };
        let prepared = VectorPreparation::new(&message.vector, context.metric);
        Ok(Self::new(MemoryPatch { message, terms, prepared }))
    }

    fn request_id((_, _, patch): &Self::Request) -> Option<RequestId> {
        patch.request_id
    }

    fn options(&self) -> Options {
        Options { vector_metric: self.prepared.metric_number(&self.message.vector), ..Options::default() }
    }

    fn encode(&self, head: &mut Vec<u8>) {
        wire::put_field(Self::FIELD, &self.message, head);
    }

    fn decode(message: &[u8], options: &Options) -> Result<Self, Undecodable> {
        let message: Message = wire::read(message)?;
        if message.vector.iter().any(|component| !component.is_finite()) {
            return Err(Undecodable::Damaged("a vector that isn't finite".into()));
        }
        Attribute::check(&message.set)?;
        let prepared = VectorPreparation::new(&message.vector, wire::metric(options.vector_metric)?);
        Ok(Self::new(MemoryPatch { message, terms: None, prepared }))
    }

    fn fingerprint(&self) -> u64 {
        let without_limits = Message { attributes_max: 0, attributes_bytes_max: 0, ..self.message.clone() };
        !xxh3_64(&without_limits.encode_to_vec())
    }

    fn apply(self, value: &mut TenantValue, stamp: Stamp) -> Result<Answer, Refusal> {
        let MemoryPatch { message, terms, prepared } = *self;
        let (id, vector) = (Id::new(message.id), prepared.vector(&message.vector));
        let entry = value.expect(id, message.if_version.map(Version::new))?.clone();
        let before = &entry.record.content;
        let mut attributes = before.attributes();
        let (count_before, bytes_before) = (attributes.len() as u64, attributes.bytes() as u64);
        for name in &message.remove {
            attributes.remove(name);
        }
        for (name, value) in message.set.into_iter().filter_map(Attribute::into_pair) {
            attributes.set(name, value);
        }
        // What was there before a limit was lowered may stay.
        let (count, max) = (attributes.len() as u64, message.attributes_max);
        if count > max && count > count_before {
            return Err(Refusal::TooManyAttributes { count, max });
        }
        let (bytes, max) = (attributes.bytes() as u64, message.attributes_bytes_max);
        if bytes > max && bytes > bytes_before {
            return Err(Refusal::AttributesTooLong { bytes, max });
        }
        if let Some(vector) = vector {
            value.check_vector(vector)?;
        }
        let slug = before.slug();
        let vector_before = if vector.is_some() { Vec::new() } else { before.vector() };
        let content = Content::pack(&ContentParts {
            text: message.text.as_deref().unwrap_or(before.text()),
            kind: message.kind.as_deref().unwrap_or(before.kind()),
            slug,
            folded_slug: before.folded_slug().filter(|folded| Some(*folded) != slug),
            attributes: &attributes,
            importance: message.importance.unwrap_or(before.importance()),
            vector: vector.map_or(&vector_before, |vector| vector.values),
        });
        let (tags_before, tags) = (tags_of(before), tags_of(&content));
        let document = match (message.text, terms) {
            (Some(_), Some((by, terms))) if by == value.analyzer => Some(terms.with_tags(tags)),
            (Some(_), _) => Some(index_document(&content, value.analyzer)),
            // What it is filtered by is in the text index, too.
            (None, _) => (tags != tags_before).then(|| index_document(&content, value.analyzer)),
        };
        let text_row = match document {
            Some(document) => {
                value.unindex_text(entry.text_row, before);
                value.index_text(id, &document)
            }
            None => entry.text_row,
        };
        let vector_row = match vector {
            Some(vector) => {
                value.unindex_vector(entry.vector_row);
                // It was checked before anything was changed.
                value.index_vector(id, vector).ok()
            }
            None => entry.vector_row,
        };
        let (version, seq) = (Version::new(entry.record.version.get() + 1), stamp.seq);
        let (created_ms, updated_ms) = (entry.record.created_ms, stamp.now_ms);
        let record = Record { id, version, created_ms, updated_ms, seq, content };
        value.replace(Entry { record: Arc::new(record), text_row, vector_row });
        Ok(Answer { id, version, outcome: Outcome::Updated, seq })
    }
}

fn check(patch: &Patch, context: &Context<'_>) -> Result<(), MemoryError> {
    let limits = context.limits;
    let Patch { text, kind, importance, vector, set, remove, request_id: _ } = patch;
    if text.is_none()
        && kind.is_none()
        && importance.is_none()
        && vector.is_none()
        && set.is_empty()
        && remove.is_empty()
    {
        return Err(MemoryError::invalid("patch", Problem::NoChange));
    }
    text.as_ref().map_or(Ok(()), |text| validate::text(text, limits))?;
    kind.as_ref().map_or(Ok(()), |kind| validate::kind(kind, limits))?;
    validate::importance(*importance)?;
    vector.as_ref().map_or(Ok(()), |vector| validate::vector(vector, limits))?;
    validate::attributes(set, limits)?;
    validate::attribute_names("remove", remove, limits)
}

#[cfg(test)]
impl super::conformance::Examples for Box<MemoryPatch> {
    fn requests() -> Vec<Self::Request> {
        let (id, patch) = (Id::new(1), Patch::new);
        let of = |patch| (id, None, patch);
        vec![
            of(patch().text("text")),
            of(patch().kind("text")),
            of(patch().kind("")),
            of(patch().importance(1.0)),
            of(patch().importance(0.0)),
            of(patch().vector([3.0, 4.0])),
            of(patch().attribute("name", true).attribute("other", 1)),
            of(patch().attribute("name", 1.0).attribute("other", "text")),
            of(patch().remove_attribute("name")),
            (Id::new(300), None, patch().text("text")),
            (id, Some(Version::new(1)), patch().text("text")),
            (id, Some(Version::new(9)), patch().text("text").kind("kind").importance(0.5).vector([5.0, 6.0])),
        ]
    }

    fn refused() -> Vec<(Self::Request, Refusal)> {
        let (id, gone, patch) = (Id::new(1), Id::new(2), Patch::new);
        let (expected, found) = (Version::new(2), Version::new(1));
        vec![
            ((gone, None, patch().text("text")), Refusal::UnknownId { id: gone }),
            ((id, Some(expected), patch().text("text")), Refusal::VersionConflict { id, expected, found }),
            ((id, None, patch().attribute("c", 1)), Refusal::TooManyAttributes { count: 3, max: 2 }),
            (
                (id, None, patch().attribute("b", "x".repeat(19))),
                Refusal::AttributesTooLong { bytes: 29, max: 20 },
            ),
            ((id, None, patch().vector([1.0])), Refusal::WrongDimensions { expected: 2, found: 1 }),
            ((id, None, patch().vector([0.0; 2])), Refusal::ZeroVector),
        ]
    }
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::Limits;
    use steadfast_text_index::Analyzer;
    use steadfast_vector_index::Metric;

    use super::*;

    #[test]
    fn a_vector_alone_is_a_change_and_is_checked_as_that_of_a_search() {
        let context =
            Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer: Analyzer::new() };
        let resolve = |patch| Box::<MemoryPatch>::resolve((Id::new(1), None, patch), &context).map(drop);
        let bad = MemoryError::invalid("vector[0]", Problem::NotFinite);
        assert_eq!(resolve(Patch::new().vector([f32::INFINITY])), Err(bad));
        assert_eq!(resolve(Patch::new().vector([1.0])), Ok(()));
        assert_eq!(resolve(Patch::new()), Err(MemoryError::invalid("patch", Problem::NoChange)));
    }

    #[test]
    fn values_that_nobody_wrote_so_are_damaged() {
        let decode = |message: &Message, vector_metric| {
            let options = Options { vector_metric, ..Options::default() };
            Box::<MemoryPatch>::decode(&message.encode_to_vec(), &options).map(drop)
        };
        let damaged = |detail: &str| Err(Undecodable::Damaged(detail.into()));
        assert_eq!(decode(&Message { vector: vec![1.0], ..Message::default() }, 1), Ok(()));
        let message = Message { vector: vec![1.0, f32::NAN], ..Message::default() };
        assert_eq!(decode(&message, 1), damaged("a vector that isn't finite"));
        assert_eq!(decode(&Message::default(), 9), damaged("the unknown metric 9"));
        let message = Message { set: vec![Attribute::default()], ..Message::default() };
        assert_eq!(decode(&message, 0), damaged("an attribute of an unknown kind"));
    }
}
