//! Allocate: get or create a memory.
//!
//! What a new memory says is packed once, by the caller's thread, into the [`Content`] that the
//! log, the state and every reader share. It is the command's whole message.

use std::sync::Arc;

use steadfast_memory_api::{
    Allocate, Answer, Content, ContentParts, MemoryError, OnSlug, Outcome, Record, RequestId, Version,
};
use xxhash_rust::xxh3::Xxh3;

use super::wire::{self, Options};
use super::{Context, Operation, Stamp, Undecodable};
use crate::refusal::Refusal;
use crate::validate;
use crate::value::{Entry, PreparedText, TenantValue, VectorPreparation, fold, index_document};

/// A memory to be created.
#[derive(Debug)]
pub(crate) struct NewMemory {
    content: Content,
    /// What the text index keeps of it.
    document: PreparedText,
    vector: Vec<f32>,
    /// What the vector index keeps of `vector`.
    prepared: VectorPreparation,
    refuse_existing: bool,
}

impl Operation for NewMemory {
    const FIELD: u32 = 5;
    const CREATES_TENANT: bool = true;
    type Request = Allocate;
    type Answer = Answer;

    fn resolve(request: Allocate, context: &Context<'_>) -> Result<Self, MemoryError> {
        check(&request, context)?;
        let folded = request.slug.as_deref().map(fold);
        let content = Content::pack(&ContentParts {
            text: &request.text,
            kind: &request.kind,
            slug: request.slug.as_deref(),
            folded_slug: folded.as_deref().filter(|folded| Some(*folded) != request.slug.as_deref()),
            attributes: &request.attributes,
            // Minus zero isn't written to the log, and would come back as zero.
            importance: request.importance.unwrap_or(0.5) + 0.0,
            vector: request.vector.as_deref().unwrap_or_default(),
        });
        let document = Some((context.analyzer, index_document(&content, context.analyzer)));
        let vector = request.vector.unwrap_or_default();
        let prepared = VectorPreparation::new(&vector, context.metric);
        Ok(Self { content, document, vector, prepared, refuse_existing: request.on_slug == OnSlug::Refuse })
    }

    fn request_id(request: &Allocate) -> Option<RequestId> {
        request.request_id
    }

    fn slug(&self) -> Option<&str> {
        self.content.slug()
    }

    fn options(&self) -> Options {
        Options {
            refuse_existing: self.refuse_existing,
            vector_metric: self.prepared.metric_number(&self.vector),
            ..Options::default()
        }
    }

    fn encode(&self, head: &mut Vec<u8>) {
        wire::begin_field(Self::FIELD, self.content.as_bytes().len(), head);
    }

    fn content(&self) -> &[u8] {
        self.content.as_bytes()
    }

    fn decode(message: &[u8], options: &Options) -> Result<Self, Undecodable> {
        let content =
            Content::from_bytes(message).map_err(|error| Undecodable::Damaged(error.to_string()))?;
        let vector = content.vector();
        let prepared = VectorPreparation::new(&vector, wire::metric(options.vector_metric)?);
        Ok(Self { content, document: None, vector, prepared, refuse_existing: options.refuse_existing })
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::with_seed(u64::from(self.refuse_existing));
        hasher.update(self.content.as_bytes());
        hasher.digest()
    }

    fn apply(self, value: &mut TenantValue, stamp: Stamp) -> Result<Answer, Refusal> {
        let seq = stamp.seq;
        if let Some(folded) = self.content.folded_slug()
            && let Some(known) = value.by_slug(folded)
        {
            let Record { id, version, .. } = *known.record;
            // Another spelling is another intention: it never gets somebody else's memory.
            let same = known.record.slug() == self.content.slug();
            if self.refuse_existing || !same {
                return Err(Refusal::SlugTaken { by: id });
            }
            return Ok(Answer { id, version, outcome: Outcome::Existing, seq });
        }
        let (id, version) = (value.next_id(), Version::new(1));
        let vector = self.prepared.vector(&self.vector);
        let vector_row = vector.map(|vector| value.index_vector(id, vector)).transpose()?;
        let document = match self.document {
            Some((by, document)) if by == value.analyzer => document,
            _ => index_document(&self.content, value.analyzer),
        };
        let text_row = value.index_text(id, &document);
        let (created_ms, updated_ms) = (stamp.now_ms, stamp.now_ms);
        let record = Record { id, version, created_ms, updated_ms, seq, content: self.content };
        value.insert(Entry { record: Arc::new(record), text_row, vector_row });
        Ok(Answer { id, version, outcome: Outcome::Created, seq })
    }
}

fn check(request: &Allocate, context: &Context<'_>) -> Result<(), MemoryError> {
    let limits = context.limits;
    validate::text(&request.text, limits)?;
    validate::kind(&request.kind, limits)?;
    if let Some(slug) = &request.slug {
        validate::slug(slug, limits)?;
    }
    validate::attributes(&request.attributes, limits)?;
    validate::importance(request.importance)?;
    request.vector.as_ref().map_or(Ok(()), |vector| validate::vector(vector, limits))
}

#[cfg(test)]
impl super::conformance::Examples for NewMemory {
    fn requests() -> Vec<Allocate> {
        let new = || Allocate::new("text");
        vec![
            new(),
            Allocate::new("another text"),
            new().kind("kind"),
            new().slug("slug"),
            new().slug("Slug"),
            new().slug("slug").on_slug(OnSlug::Refuse),
            new().attribute("bool", true),
            new().attribute("int", -1),
            new().attribute("float", 1.0),
            new().attribute("text", "value").attribute("int", 1),
            new().importance(0.0),
            new().vector([3.0, 4.0]),
        ]
    }

    fn refused() -> Vec<(Allocate, Refusal)> {
        let (new, by) = (|| Allocate::new("text"), steadfast_memory_api::Id::new(1));
        vec![
            (new().slug("Taken").on_slug(OnSlug::Refuse), Refusal::SlugTaken { by }),
            (new().slug("TAKEN"), Refusal::SlugTaken { by }),
            (new().vector([1.0; 3]), Refusal::WrongDimensions { expected: 2, found: 3 }),
            (new().vector([0.0; 2]), Refusal::ZeroVector),
        ]
    }
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::{Limits, Problem};
    use steadfast_text_index::Analyzer;
    use steadfast_vector_index::Metric;

    use super::*;

    #[test]
    fn its_vector_is_checked_as_that_of_a_search() {
        let context =
            Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer: Analyzer::new() };
        let resolve = |vector: [f32; 1]| NewMemory::resolve(Allocate::new("a").vector(vector), &context);
        let bad = MemoryError::invalid("vector[0]", Problem::NotFinite);
        assert_eq!(resolve([f32::NAN]).map(drop), Err(bad));
        assert_eq!(resolve([1.0]).map(drop), Ok(()));
    }
}
