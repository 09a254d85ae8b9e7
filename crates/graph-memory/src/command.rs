//! Commands: what the log holds, and how it is written there.
//!
//! A command is resolved before it enters the log: validated, its slug folded, limits that
//! the outcome depends on put into it. Applying it needs nothing but the state, its place in the log and the
//! log's time. The encoding is Protocol Buffers' (fields by number, so it can grow); the messages stand in
//! [`wire`] and, for readers of other languages, in `docs/log-format.md`.
//!
//! What a new memory says is packed once, by the caller's thread, into the [`Content`] that the log, the state and every
//! reader share. It is the last field of its command, so the rest of the command, its head, is written by itself.

use prost::Message;
use steadfast_memory_api::{
    Allocate, AttributeValue, Attributes, Content, ContentParts, Delete, Id, Limits, OnSlug, Patch, Version,
};
use steadfast_text_index::{Analyzer, Document, Language};
use steadfast_vector_index::{Metric, PreparedVector};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::log::Rejected;
use crate::value::{Request, fold, index_document, prepare_vector};

/// A command, ready to be applied.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) tenant: TenantKey,
    pub(crate) request: Option<Request>,
    pub(crate) change: Change,
}

/// Which tenant a command is for.
#[derive(Debug)]
pub(crate) enum TenantKey {
    /// The one with this number.
    Number(u32),
    /// The one with this name, which comes into being with its first memory, while there are fewer than `tenants_max`.
    /// If it does, its text is analyzed so, for ever.
    Name { name: String, tenants_max: u64, analyzer: Analyzer },
}

/// What a command does.
#[derive(Debug)]
pub(crate) enum Change {
    /// Get or create a memory.
    Allocate(NewMemory),
    /// Change a memory.
    Update(Box<MemoryPatch>),
    /// Delete a memory.
    Delete { id: Id, if_version: Option<Version> },
}

/// A memory to be created.
#[derive(Debug)]
pub(crate) struct NewMemory {
    pub(crate) content: Content,
    /// What the text index keeps of it.
    pub(crate) document: Prepared,
    pub(crate) vector: Option<NewVector>,
    pub(crate) refuse_existing: bool,
}

/// What the text index keeps of a text, if it was made already, with the analyzer that made it. The caller's thread makes it, by the analyzer that the
/// tenant has or is expected to get; with a command from the log there is none. Where it is missing or another one's, applying the command makes it.
pub(crate) type Prepared = Option<(Analyzer, Document)>;

/// A vector as it is to be indexed.
#[derive(Debug)]
pub(crate) struct NewVector {
    pub(crate) values: Vec<f32>,
    /// The tenant's metric, if this is its first vector.
    pub(crate) metric: Metric,
    /// By that metric; none if it can't be: then it is refused, or prepared again by the tenant's own.
    pub(crate) prepared: Option<PreparedVector>,
}

impl NewVector {
    fn new(values: Vec<f32>, metric: Metric) -> Option<Self> {
        let prepared = prepare_vector(&values, metric);
        (!values.is_empty()).then_some(Self { values, metric, prepared })
    }
}

/// A change to a memory.
#[derive(Debug)]
pub(crate) struct MemoryPatch {
    pub(crate) id: Id,
    pub(crate) if_version: Option<Version>,
    /// With its terms, without tags.
    pub(crate) text: Option<(String, Prepared)>,
    pub(crate) kind: Option<String>,
    pub(crate) importance: Option<f32>,
    pub(crate) vector: Option<NewVector>,
    pub(crate) set: Attributes,
    pub(crate) remove: Vec<String>,
    /// How many attributes the memory may have afterwards, and how many bytes of them, names and values.
    pub(crate) attributes_max: usize,
    pub(crate) attributes_bytes_max: usize,
}

/// Bytes that are no command, with what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// Nobody wrote them so.
    Damaged(String),
    /// Another build wrote them.
    Unsupported(String),
}

impl From<Undecodable> for Rejected {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Damaged(detail) => Self::Damaged(detail),
            Undecodable::Unsupported(detail) => Self::Unsupported(detail),
        }
    }
}

/// A command with its bytes for the log.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) command: Command,
    /// All but the content of a new memory.
    head: Vec<u8>,
}

impl Encoded {
    /// A valid request to allocate.
    pub(crate) fn allocate(
        request: Allocate,
        limits: &Limits,
        metric: Metric,
        analyzer: Analyzer,
        tenant: TenantKey,
    ) -> Self {
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
        let document = Some((analyzer, index_document(&content, analyzer)));
        let refuse_existing = request.on_slug == OnSlug::Refuse;
        let vector = NewVector::new(request.vector.unwrap_or_default(), metric);
        let vector_metric = vector.as_ref().map_or(0, |_| metric_number(metric));
        let change = Change::Allocate(NewMemory { content, document, vector, refuse_existing });
        let message = wire::Command {
            refuse_existing,
            vector_metric,
            ..wire::Command::new(request.request_id, limits)
        };
        Self::new(message, tenant, change)
    }

    /// A valid request to update.
    pub(crate) fn update(
        id: Id,
        if_version: Option<Version>,
        patch: Patch,
        limits: &Limits,
        metric: Metric,
        analyzer: Analyzer,
        tenant: TenantKey,
    ) -> Self {
        let request_id = patch.request_id;
        let vector = patch.vector.unwrap_or_default();
        let vector_metric = if vector.is_empty() { 0 } else { metric_number(metric) };
        let update = wire::Update {
            id: id.get(),
            if_version: if_version.map(Version::get),
            text: patch.text,
            kind: patch.kind,
            importance: patch.importance,
            set: attributes_to_wire(patch.set),
            remove: patch.remove,
            attributes_max: limits.attributes as u64,
            attributes_bytes_max: limits.attributes_bytes as u64,
            vector,
        };
        let change = change_of_update(update.clone(), vector_metric, Some(analyzer))
            .expect("it was built from a request");
        let message = wire::Command {
            change: Some(wire::Change::Update(update)),
            vector_metric,
            ..wire::Command::new(request_id, limits)
        };
        Self::new(message, tenant, change)
    }

    /// A valid request to delete.
    pub(crate) fn delete(request: &Delete, limits: &Limits, tenant: TenantKey) -> Self {
        let delete = wire::Delete { id: request.id.get(), if_version: request.if_version.map(Version::get) };
        let change = change_of_delete(&delete);
        let message = wire::Command {
            change: Some(wire::Change::Delete(delete)),
            ..wire::Command::new(request.request_id, limits)
        };
        Self::new(message, tenant, change)
    }

    fn new(mut message: wire::Command, tenant: TenantKey, change: Change) -> Self {
        let request = message.request(&change);
        match &tenant {
            TenantKey::Number(number) => message.tenant = *number,
            TenantKey::Name { name, tenants_max, analyzer } => {
                message.new_tenant = Some(wire::NewTenant {
                    name: name.clone(),
                    tenants_max: *tenants_max,
                    stemmer: analyzer.stemmer().map_or(0, Language::number),
                    stop_words: analyzer.stop_words().map_or(0, Language::number),
                });
            }
        }
        let mut head = message.encode_to_vec();
        if let Change::Allocate(new) = &change {
            wire::begin_content(&mut head, new.content.as_bytes().len());
        }
        Self { command: Command { tenant, request, change }, head }
    }

    /// The bytes for the log: one part after the other.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let content = match &self.command.change {
            Change::Allocate(new) => new.content.as_bytes(),
            _ => &[],
        };
        [&self.head, content]
    }

    /// How many bytes that is.
    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

impl Command {
    /// A command from its bytes in the log.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut message =
            wire::Command::decode(bytes).map_err(|error| Undecodable::Damaged(error.to_string()))?;
        let tenant = match message.new_tenant.take() {
            Some(wire::NewTenant { name, tenants_max, stemmer, stop_words }) => {
                let analyzer = analyzer_from_wire(&name, stemmer, stop_words)?;
                TenantKey::Name { name, tenants_max, analyzer }
            }
            None => TenantKey::Number(message.tenant),
        };
        let change = match message
            .change
            .take()
            .ok_or_else(|| Undecodable::Damaged("a command of an unknown kind".into()))?
        {
            wire::Change::Allocate(content) => {
                let content =
                    Content::from_bytes(content).map_err(|error| Undecodable::Damaged(error.to_string()))?;
                let vector = NewVector::new(content.vector(), metric_from_wire(message.vector_metric)?);
                let refuse_existing = message.refuse_existing;
                Change::Allocate(NewMemory { content, document: None, vector, refuse_existing })
            }
            wire::Change::Update(update) => change_of_update(update, message.vector_metric, None)?,
            wire::Change::Delete(delete) => change_of_delete(&delete),
        };
        let request = message.request(&change);
        Ok(Self { tenant, request, change })
    }
}

impl Change {
    /// A hash of what the caller asked for: not of limits, which may be others when it is sent again.
    fn fingerprint(&self) -> u64 {
        match self {
            Self::Allocate(new) => {
                let mut hasher = Xxh3::with_seed(u64::from(new.refuse_existing));
                hasher.update(new.content.as_bytes());
                hasher.digest()
            }
            Self::Update(patch) => {
                let update = wire::Update {
                    id: patch.id.get(),
                    if_version: patch.if_version.map(Version::get),
                    text: patch.text.as_ref().map(|(text, _)| text.clone()),
                    kind: patch.kind.clone(),
                    importance: patch.importance,
                    set: attributes_to_wire(patch.set.clone()),
                    remove: patch.remove.clone(),
                    attributes_max: 0,
                    attributes_bytes_max: 0,
                    vector: patch.vector.as_ref().map(|vector| vector.values.clone()).unwrap_or_default(),
                };
                !xxh3_64(&update.encode_to_vec())
            }
            Self::Delete { id, if_version } => {
                let delete = wire::Delete { id: id.get(), if_version: if_version.map(Version::get) };
                !xxh3_64(&delete.encode_to_vec()).rotate_left(1)
            }
        }
    }
}

/// With an analyzer, its text is prepared.
fn change_of_update(
    update: wire::Update,
    vector_metric: u32,
    analyzer: Option<Analyzer>,
) -> Result<Change, Undecodable> {
    if update.vector.iter().any(|component| !component.is_finite()) {
        return Err(Undecodable::Damaged("a vector that isn't finite".into()));
    }
    Ok(Change::Update(Box::new(MemoryPatch {
        id: Id::new(update.id),
        if_version: update.if_version.map(Version::new),
        text: update.text.map(|text| {
            let prepared = analyzer.map(|analyzer| (analyzer, analyzer.document_terms(&text)));
            (text, prepared)
        }),
        kind: update.kind,
        importance: update.importance,
        vector: NewVector::new(update.vector, metric_from_wire(vector_metric)?),
        set: attributes_from_wire(update.set)?,
        remove: update.remove,
        attributes_max: update.attributes_max as usize,
        attributes_bytes_max: update.attributes_bytes_max as usize,
    })))
}

fn change_of_delete(delete: &wire::Delete) -> Change {
    Change::Delete { id: Id::new(delete.id), if_version: delete.if_version.map(Version::new) }
}

/// 0 is for none. What this build can't do is refused: it would find other things than the tenant was promised.
fn analyzer_from_wire(tenant: &str, stemmer: u32, stop_words: u32) -> Result<Analyzer, Undecodable> {
    let language = |what: &str, number| match number {
        0 => Ok(None),
        number => Language::from_number(number).map(Some).ok_or_else(|| {
            Undecodable::Unsupported(format!(
                "tenant {tenant} has {what} of language {number}, which only a newer version knows"
            ))
        }),
    };
    let mut analyzer = Analyzer::new();
    if let Some(language) = language("stop words", stop_words)? {
        analyzer = analyzer.with_stop_words(language);
    }
    if let Some(language) = language("a stemmer", stemmer)? {
        analyzer = analyzer
            .with_stemmer(language)
            .map_err(|error| Undecodable::Unsupported(format!("tenant {tenant}: {error}")))?;
    }
    Ok(analyzer)
}

/// 0 is for a command without a vector, and reads as the default.
pub(crate) fn metric_number(metric: Metric) -> u32 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::L2 => 3,
    }
}

fn metric_from_wire(number: u32) -> Result<Metric, Undecodable> {
    Ok(match number {
        0 | 1 => Metric::Cosine,
        2 => Metric::Dot,
        3 => Metric::L2,
        other => return Err(Undecodable::Damaged(format!("the unknown metric {other}"))),
    })
}

fn attributes_to_wire(attributes: Attributes) -> Vec<wire::Attribute> {
    let to_wire = |(name, value)| {
        let value = match value {
            AttributeValue::Bool(value) => wire::Value::Bool(value),
            AttributeValue::Int(value) => wire::Value::Int(value),
            AttributeValue::Float(value) => wire::Value::Float(value),
            AttributeValue::Text(value) => wire::Value::Text(value),
            _ => unreachable!("all kinds of values that this workspace has are listed"),
        };
        wire::Attribute { name, value: Some(value) }
    };
    attributes.into_iter().map(to_wire).collect()
}

fn attributes_from_wire(attributes: Vec<wire::Attribute>) -> Result<Attributes, Undecodable> {
    let mut all = Attributes::with_capacity(attributes.len());
    for wire::Attribute { name, value } in attributes {
        let value = match value {
            Some(wire::Value::Bool(value)) => AttributeValue::Bool(value),
            Some(wire::Value::Int(value)) => AttributeValue::Int(value),
            Some(wire::Value::Float(value)) => AttributeValue::Float(value),
            Some(wire::Value::Text(value)) => AttributeValue::Text(value),
            None => return Err(Undecodable::Damaged("an attribute of an unknown kind".into())),
        };
        all.set(name, value);
    }
    Ok(all)
}

/// The messages of the log. A field's number is never used for anything else.
mod wire {
    use prost::encoding::{WireType, encode_key, encode_varint};
    use steadfast_memory_api::{Limits, RequestId};

    use super::{Change as AppliedChange, Request};

    const CONTENT_TAG: u32 = 5;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Command {
        #[prost(uint32, tag = "1")]
        pub(super) tenant: u32,
        #[prost(fixed64, optional, tag = "2")]
        pub(super) request_high: Option<u64>,
        #[prost(fixed64, optional, tag = "3")]
        pub(super) request_low: Option<u64>,
        #[prost(message, optional, tag = "4")]
        pub(super) new_tenant: Option<NewTenant>,
        /// Of an allocation: what to do when the slug is taken.
        #[prost(bool, tag = "8")]
        pub(super) refuse_existing: bool,
        #[prost(uint64, tag = "9")]
        pub(super) request_ids_max: u64,
        /// Of a command with a vector: how the tenant's vectors are compared, if it has none yet.
        #[prost(uint32, tag = "10")]
        pub(super) vector_metric: u32,
        #[prost(oneof = "Change", tags = "5, 6, 7")]
        pub(super) change: Option<Change>,
    }

    impl Command {
        pub(super) fn new(request_id: Option<RequestId>, limits: &Limits) -> Self {
            Self {
                request_high: request_id.map(|id| (id.bits() >> 64) as u64),
                request_low: request_id.map(|id| id.bits() as u64),
                request_ids_max: request_id.map_or(0, |_| limits.request_ids as u64),
                ..Self::default()
            }
        }

        /// The request of a command that has one.
        pub(super) fn request(&self, change: &AppliedChange) -> Option<Request> {
            let bits = u128::from(self.request_high?) << 64 | u128::from(self.request_low?);
            Some(Request {
                id: RequestId::from_bits(bits),
                fingerprint: change.fingerprint(),
                ids_max: self.request_ids_max as usize,
            })
        }
    }

    /// Puts before a content of `length` bytes what makes it the field [`Change::Allocate`].
    pub(super) fn begin_content(head: &mut Vec<u8>, length: usize) {
        encode_key(CONTENT_TAG, WireType::LengthDelimited, head);
        encode_varint(length as u64, head);
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Change {
        /// A message as `steadfast_memory_api::Content` reads it.
        #[prost(bytes = "vec", tag = "5")]
        Allocate(Vec<u8>),
        #[prost(message, tag = "6")]
        Update(Update),
        #[prost(message, tag = "7")]
        Delete(Delete),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct NewTenant {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(uint64, tag = "2")]
        pub(super) tenants_max: u64,
        /// The number of a language, as the next; 0 is for none.
        #[prost(uint32, tag = "3")]
        pub(super) stemmer: u32,
        #[prost(uint32, tag = "4")]
        pub(super) stop_words: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Update {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(uint64, optional, tag = "2")]
        pub(super) if_version: Option<u64>,
        #[prost(string, optional, tag = "3")]
        pub(super) text: Option<String>,
        #[prost(string, optional, tag = "4")]
        pub(super) kind: Option<String>,
        #[prost(float, optional, tag = "5")]
        pub(super) importance: Option<f32>,
        #[prost(message, repeated, tag = "6")]
        pub(super) set: Vec<Attribute>,
        #[prost(string, repeated, tag = "7")]
        pub(super) remove: Vec<String>,
        #[prost(uint64, tag = "8")]
        pub(super) attributes_max: u64,
        #[prost(uint64, tag = "9")]
        pub(super) attributes_bytes_max: u64,
        #[prost(float, repeated, tag = "10")]
        pub(super) vector: Vec<f32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Delete {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(uint64, optional, tag = "2")]
        pub(super) if_version: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attribute {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(oneof = "Value", tags = "2, 3, 4, 5")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(sint64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Float(f64),
        #[prost(string, tag = "5")]
        Text(String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creating(stemmer: u32, stop_words: u32) -> Result<Analyzer, Undecodable> {
        let new_tenant = wire::NewTenant { name: "acme".into(), tenants_max: 9, stemmer, stop_words };
        let delete = wire::Delete { id: 1, if_version: None };
        let message = wire::Command {
            new_tenant: Some(new_tenant),
            change: Some(wire::Change::Delete(delete)),
            ..wire::Command::default()
        };
        match Command::decode(&message.encode_to_vec())?.tenant {
            TenantKey::Name { analyzer, .. } => Ok(analyzer),
            TenantKey::Number(_) => panic!("it has a name"),
        }
    }

    /// Also what stands in a log that a tenant without an analyzer's fields was written to.
    #[test]
    fn a_command_tells_its_tenants_analyzer() {
        assert_eq!(creating(0, 0), Ok(Analyzer::new()));
        for language in Language::ALL {
            let stops = Analyzer::new().with_stop_words(language);
            assert_eq!(creating(0, language.number()), Ok(stops));
            match stops.with_stemmer(language) {
                Ok(both) => assert_eq!(creating(language.number(), language.number()), Ok(both)),
                Err(refused) => {
                    let told = creating(language.number(), language.number()).unwrap_err();
                    assert_eq!(told, Undecodable::Unsupported(format!("tenant acme: {refused}")));
                }
            }
        }
    }

    #[test]
    fn a_language_of_a_newer_version_is_told() {
        for (stemmer, stop_words, what) in [(9, 0, "a stemmer"), (0, 9, "stop words"), (9, 1, "a stemmer")] {
            let told = format!("tenant acme has {what} of language 9, which only a newer version knows");
            assert_eq!(creating(stemmer, stop_words), Err(Undecodable::Unsupported(told)));
        }
    }

    #[test]
    fn a_log_that_needs_another_build_is_not_called_damaged() {
        use crate::{Config, GraphMemory, OpenError, log::FileLog};

        let dir = tempfile::tempdir().unwrap();
        let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
        memory.tenant("acme").unwrap().allocate_blocking(Allocate::new("text")).unwrap();
        memory.close_blocking().unwrap();
        let refused = FileLog::open(dir.path(), &Config::default(), &mut |_, _| {
            creating(0, 9)?;
            Ok(())
        });
        match refused.map(drop) {
            Err(OpenError::Unsupported { seq, detail, .. }) => {
                assert_eq!((seq.get(), detail.contains("language 9")), (0, true), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_has_no_analyzer_is_written_as_ever() {
        let new_tenant = wire::NewTenant { name: "a".into(), tenants_max: 9, ..wire::NewTenant::default() };
        assert_eq!(new_tenant.encode_to_vec(), b"\x0a\x01a\x10\x09");
    }
}
