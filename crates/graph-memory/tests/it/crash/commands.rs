//! Commands as the tests make them up, and what a caller learns of each.

use std::sync::Arc;

use steadfast_graph_memory::{
    Allocate, Answer, Delete, GraphMemory, Id, MemoryError, OnSlug, Outcome, Patch, RequestId, Version,
};

use crate::simulated_disk::store::NOW_MS;

/// The tenants' names; a command tells them by their place here.
pub(crate) const TENANTS: [&str; 2] = ["acme", "globex"];

/// One change, for the tenant of this number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) tenant: usize,
    /// The number of the request; a command that is sent again has the same one.
    pub(crate) request: Option<u64>,
    pub(crate) change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Allocate { text: Arc<str>, slug: Option<String>, on_slug: OnSlug },
    Update { id: u64, if_version: Option<u64>, text: Arc<str> },
    Delete { id: u64, if_version: Option<u64> },
}

/// A text that no other command has, of about so many bytes.
pub(crate) fn text(tag: &str, bytes: usize) -> Arc<str> {
    format!("{tag} {}", "x".repeat(bytes.saturating_sub(tag.len()))).into()
}

/// The vector that a command with this text brings along. One in four brings none: then a new memory has none, and an updated one keeps what
/// it has.
pub(crate) fn vector(text: &str) -> Option<Vec<f32>> {
    // FNV-1a.
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let component = |byte: &u8| f32::from(*byte) - 127.5;
    (!hash.is_multiple_of(4)).then(|| hash.to_le_bytes()[..4].iter().map(component).collect())
}

impl Command {
    pub(crate) fn allocate(text: Arc<str>) -> Self {
        Self {
            tenant: 0,
            request: None,
            change: Change::Allocate { text, slug: None, on_slug: OnSlug::Return },
        }
    }

    pub(crate) fn update(id: u64, if_version: Option<u64>, text: Arc<str>) -> Self {
        Self { tenant: 0, request: None, change: Change::Update { id, if_version, text } }
    }

    pub(crate) fn delete(id: u64) -> Self {
        Self { tenant: 0, request: None, change: Change::Delete { id, if_version: None } }
    }

    /// The same with a slug; `self` allocates.
    pub(crate) fn slug(mut self, name: &str, policy: OnSlug) -> Self {
        if let Change::Allocate { slug, on_slug, .. } = &mut self.change {
            (*slug, *on_slug) = (Some(name.into()), policy);
        }
        self
    }

    pub(crate) fn tenant(self, tenant: usize) -> Self {
        Self { tenant, ..self }
    }

    pub(crate) fn request(self, number: u64) -> Self {
        Self { request: Some(number), ..self }
    }

    /// Sends it and waits for what comes of it.
    pub(crate) fn send(&self, memory: &GraphMemory) -> Fate {
        let tenant = memory.tenant(TENANTS[self.tenant]).expect("the name is acceptable");
        let request_id = self.request.map(|number| RequestId::from_parts(NOW_MS, number));
        Fate::of(match &self.change {
            Change::Allocate { text, slug, on_slug } => {
                let (vector, slug) = (vector(text), slug.clone());
                let request =
                    Allocate { slug, on_slug: *on_slug, request_id, vector, ..Allocate::new(&**text) };
                tenant.allocate_blocking(request)
            }
            Change::Update { id, if_version, text } => {
                let patch = Patch { request_id, vector: vector(text), ..Patch::new().text(&**text) };
                tenant.update_blocking(Id::new(*id), if_version.map(Version::new), patch)
            }
            Change::Delete { id, if_version } => {
                let if_version = if_version.map(Version::new);
                tenant.delete_blocking(Delete { if_version, request_id, ..Delete::new(Id::new(*id)) })
            }
        })
    }
}

/// What was decided about a command at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is no such tenant; the log knows nothing of the command.
    NoTenant,
    Done {
        id: u64,
        version: u64,
        outcome: Outcome,
    },
    /// There is no such memory.
    Missing,
    /// It has another version.
    Conflict {
        found: u64,
    },
    /// The slug is another memory's.
    Taken {
        by: u64,
    },
}

/// What a caller learns of a command.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is in the log, with this outcome; of what was done its place is told as well.
    Decided(Verdict, Option<u64>),
    /// It certainly is not in the log.
    NotDone(MemoryError),
    /// Nobody knows.
    Unknown,
}

impl Fate {
    fn of(result: Result<Answer, MemoryError>) -> Self {
        match result {
            Ok(Answer { id, version, outcome, seq }) => {
                let verdict = Verdict::Done { id: id.get(), version: version.get(), outcome };
                Self::Decided(verdict, Some(seq.get()))
            }
            Err(MemoryError::UnknownTenant { .. }) => Self::Decided(Verdict::NoTenant, None),
            Err(MemoryError::UnknownId { .. }) => Self::Decided(Verdict::Missing, None),
            Err(MemoryError::VersionConflict { found, .. }) => {
                Self::Decided(Verdict::Conflict { found: found.get() }, None)
            }
            Err(MemoryError::SlugTaken { by, .. }) => Self::Decided(Verdict::Taken { by: by.get() }, None),
            Err(MemoryError::OutcomeUnknown { .. }) => Self::Unknown,
            Err(error) => {
                assert!(error.is_certain());
                Self::NotDone(error)
            }
        }
    }
}
