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
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::text::tokens::{DocumentTerms, document_terms};
use crate::value::{Request, fold};

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
    Name { name: String, tenants_max: u64 },
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
    pub(crate) terms: DocumentTerms,
    pub(crate) refuse_existing: bool,
}

/// A change to a memory.
#[derive(Debug)]
pub(crate) struct MemoryPatch {
    pub(crate) id: Id,
    pub(crate) if_version: Option<Version>,
    pub(crate) text: Option<(String, DocumentTerms)>,
    pub(crate) kind: Option<String>,
    pub(crate) importance: Option<f32>,
    pub(crate) set: Attributes,
    pub(crate) remove: Vec<String>,
    /// How many attributes the memory may have afterwards, and how many bytes of them, names and values.
    pub(crate) attributes_max: usize,
    pub(crate) attributes_bytes_max: usize,
}

/// Bytes that are no command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undecodable(pub(crate) String);

/// A command with its bytes for the log.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) command: Command,
    /// All but the content of a new memory.
    head: Vec<u8>,
}

impl Encoded {
    /// A valid request to allocate.
    pub(crate) fn allocate(request: &Allocate, limits: &Limits, tenant: TenantKey) -> Self {
        let folded = request.slug.as_deref().map(fold);
        let content = Content::pack(&ContentParts {
            text: &request.text,
            kind: &request.kind,
            slug: request.slug.as_deref(),
            folded_slug: folded.as_deref().filter(|folded| Some(*folded) != request.slug.as_deref()),
            attributes: &request.attributes,
            // Minus zero isn't written to the log, and would come back as zero.
            importance: request.importance.unwrap_or(0.5) + 0.0,
        });
        let terms = document_terms(&request.text);
        let refuse_existing = request.on_slug == OnSlug::Refuse;
        let change = Change::Allocate(NewMemory { content, terms, refuse_existing });
        let message = wire::Command { refuse_existing, ..wire::Command::new(request.request_id, limits) };
        Self::new(message, tenant, change)
    }

    /// A valid request to update.
    pub(crate) fn update(
        id: Id,
        if_version: Option<Version>,
        patch: Patch,
        limits: &Limits,
        tenant: TenantKey,
    ) -> Self {
        let request_id = patch.request_id;
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
        };
        let change = change_of_update(update.clone()).expect("it was built from a request");
        let message = wire::Command {
            change: Some(wire::Change::Update(update)),
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
            TenantKey::Name { name, tenants_max } => {
                message.new_tenant = Some(wire::NewTenant { name: name.clone(), tenants_max: *tenants_max });
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
        let mut message = wire::Command::decode(bytes).map_err(|error| Undecodable(error.to_string()))?;
        let tenant = match message.new_tenant.take() {
            Some(wire::NewTenant { name, tenants_max }) => TenantKey::Name { name, tenants_max },
            None => TenantKey::Number(message.tenant),
        };
        let change =
            match message.change.take().ok_or_else(|| Undecodable("a command of an unknown kind".into()))? {
                wire::Change::Allocate(content) => {
                    let content =
                        Content::from_bytes(content).map_err(|error| Undecodable(error.to_string()))?;
                    let terms = document_terms(content.text());
                    Change::Allocate(NewMemory { content, terms, refuse_existing: message.refuse_existing })
                }
                wire::Change::Update(update) => change_of_update(update)?,
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

fn change_of_update(update: wire::Update) -> Result<Change, Undecodable> {
    Ok(Change::Update(Box::new(MemoryPatch {
        id: Id::new(update.id),
        if_version: update.if_version.map(Version::new),
        text: update.text.map(|text| {
            let terms = document_terms(&text);
            (text, terms)
        }),
        kind: update.kind,
        importance: update.importance,
        set: attributes_from_wire(update.set)?,
        remove: update.remove,
        attributes_max: update.attributes_max as usize,
        attributes_bytes_max: update.attributes_bytes_max as usize,
    })))
}

fn change_of_delete(delete: &wire::Delete) -> Change {
    Change::Delete { id: Id::new(delete.id), if_version: delete.if_version.map(Version::new) }
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
            None => return Err(Undecodable("an attribute of an unknown kind".into())),
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
