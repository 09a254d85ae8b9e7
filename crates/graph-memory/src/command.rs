//! Commands: what the log holds, and how it is written there.
//!
//! A command is resolved before it enters the log: validated, its slug folded, limits that
//! the outcome depends on put into it. Applying it needs nothing but the state, its place in the log and the
//! log's time. The encoding is Protocol Buffers' (fields by number, so it can grow); the messages stand in
//! [`wire`] and, for readers of other languages, in `docs/log-format.md`.
//!
//! A live command and a replayed one take the same way: request → wire message → bytes in the log; and
//! wire message → [`Change`] → apply. [`Command::decode`] only puts the bytes back into the message.

use prost::Message;
use steadfast_memory_api::{Allocate, AttributeValue, Attributes, Delete, Id, Patch, RequestId, Version};

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
    Allocate(Box<NewMemory>),
    /// Change a memory.
    Update(Box<MemoryPatch>),
    /// Delete a memory.
    Delete { id: Id, if_version: Option<Version> },
}

/// A memory to be created.
#[derive(Debug)]
pub(crate) struct NewMemory {
    pub(crate) text: String,
    pub(crate) terms: DocumentTerms,
    pub(crate) kind: String,
    pub(crate) slug: Option<Slug>,
    pub(crate) refuse_existing: bool,
    pub(crate) attributes: Attributes,
    pub(crate) importance: f32,
}

/// A slug as written and as compared.
#[derive(Debug)]
pub(crate) struct Slug {
    pub(crate) written: String,
    /// None: folded it reads the same.
    pub(crate) folded: Option<Box<str>>,
}

impl Slug {
    pub(crate) fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.written)
    }
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
    /// How many attributes the memory may have afterwards.
    pub(crate) attributes_max: usize,
}

/// Bytes that are no command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undecodable(pub(crate) String);

/// A request as a message of the log, before it is known which tenant it is for.
pub(crate) struct Draft(wire::Command);

impl Draft {
    fn new(request_id: Option<RequestId>, change: wire::Change) -> Self {
        Self(wire::Command {
            tenant: 0,
            new_tenant: None,
            request_high: request_id.map(|id| (id.bits() >> 64) as u64),
            request_low: request_id.map(|id| id.bits() as u64),
            change: Some(change),
        })
    }

    /// A valid request to allocate.
    pub(crate) fn allocate(request: Allocate) -> Self {
        let folded = request
            .slug
            .as_ref()
            .map(|slug| fold(slug))
            .filter(|folded| Some(folded) != request.slug.as_ref());
        let change = wire::Allocate {
            text: request.text,
            kind: request.kind,
            slug: request.slug,
            folded,
            refuse_existing: request.on_slug == steadfast_memory_api::OnSlug::Refuse,
            attributes: attributes_to_wire(request.attributes),
            // Minus zero isn't written to the log, and would come back as zero.
            importance: request.importance.unwrap_or(0.5) + 0.0,
        };
        Self::new(request.request_id, wire::Change::Allocate(change))
    }

    /// A valid request to update.
    pub(crate) fn update(id: Id, if_version: Option<Version>, patch: Patch, attributes_max: usize) -> Self {
        let change = wire::Update {
            id: id.get(),
            if_version: if_version.map(Version::get),
            text: patch.text,
            kind: patch.kind,
            importance: patch.importance,
            set: attributes_to_wire(patch.set),
            remove: patch.remove,
            attributes_max: attributes_max as u64,
        };
        Self::new(patch.request_id, wire::Change::Update(change))
    }

    /// A valid request to delete.
    pub(crate) fn delete(request: &Delete) -> Self {
        let change = wire::Delete { id: request.id.get(), if_version: request.if_version.map(Version::get) };
        Self::new(request.request_id, wire::Change::Delete(change))
    }

    /// The command for a tenant, and its bytes for the log.
    pub(crate) fn finish(mut self, tenant: TenantKey) -> (Command, Vec<u8>) {
        match tenant {
            TenantKey::Number(number) => self.0.tenant = number,
            TenantKey::Name { name, tenants_max } => {
                self.0.new_tenant = Some(wire::NewTenant { name, tenants_max });
            }
        }
        let bytes = self.0.encode_to_vec();
        (Command::from_message(self.0).expect("it was built from a request"), bytes)
    }
}

impl Command {
    /// A command from its bytes in the log.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        Self::from_message(wire::Command::decode(bytes).map_err(|error| Undecodable(error.to_string()))?)
    }

    fn from_message(mut message: wire::Command) -> Result<Self, Undecodable> {
        let request = message.request();
        let tenant = match message.new_tenant {
            Some(wire::NewTenant { name, tenants_max }) => TenantKey::Name { name, tenants_max },
            None => TenantKey::Number(message.tenant),
        };
        let change = match message.change.ok_or_else(|| Undecodable("a command of an unknown kind".into()))? {
            wire::Change::Allocate(allocate) => Change::Allocate(Box::new(NewMemory {
                terms: document_terms(&allocate.text),
                text: allocate.text,
                kind: allocate.kind,
                slug: allocate.slug.map(|written| Slug { written, folded: allocate.folded.map(Into::into) }),
                refuse_existing: allocate.refuse_existing,
                attributes: attributes_from_wire(allocate.attributes)?,
                importance: allocate.importance,
            })),
            wire::Change::Update(update) => Change::Update(Box::new(MemoryPatch {
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
            })),
            wire::Change::Delete(delete) => {
                Change::Delete { id: Id::new(delete.id), if_version: delete.if_version.map(Version::new) }
            }
        };
        Ok(Self { tenant, request, change })
    }
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
    use prost::Message;
    use steadfast_memory_api::RequestId;
    use xxhash_rust::xxh3::xxh3_64;

    use super::Request;

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
        #[prost(oneof = "Change", tags = "5, 6, 7")]
        pub(super) change: Option<Change>,
    }

    impl Command {
        /// The request of a command that has one. Its fingerprint is of what the caller asked for alone: not of the tenant's number
        /// or of limits, which may be others when it is sent again.
        pub(super) fn request(&mut self) -> Option<Request> {
            let bits = u128::from(self.request_high?) << 64 | u128::from(self.request_low?);
            let limit = |change: &mut Option<Change>, limit: u64| match change {
                Some(Change::Update(update)) => std::mem::replace(&mut update.attributes_max, limit),
                _ => limit,
            };
            let (tenant, new_tenant) = (std::mem::take(&mut self.tenant), self.new_tenant.take());
            let attributes_max = limit(&mut self.change, 0);
            let fingerprint = xxh3_64(&self.encode_to_vec());
            limit(&mut self.change, attributes_max);
            (self.tenant, self.new_tenant) = (tenant, new_tenant);
            Some(Request { id: RequestId::from_bits(bits), fingerprint })
        }
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Change {
        #[prost(message, tag = "5")]
        Allocate(Allocate),
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
    pub(super) struct Allocate {
        #[prost(string, tag = "1")]
        pub(super) text: String,
        #[prost(string, tag = "2")]
        pub(super) kind: String,
        #[prost(string, optional, tag = "3")]
        pub(super) slug: Option<String>,
        #[prost(string, optional, tag = "4")]
        pub(super) folded: Option<String>,
        #[prost(bool, tag = "5")]
        pub(super) refuse_existing: bool,
        #[prost(message, repeated, tag = "6")]
        pub(super) attributes: Vec<Attribute>,
        #[prost(float, tag = "7")]
        pub(super) importance: f32,
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
