//! Delete: take a memory away.

use prost::Message as _;
use steadfast_memory_api::{Answer, Delete, Id, MemoryError, Outcome, RequestId, Version};
use xxhash_rust::xxh3::xxh3_64;

use super::wire::{self, Options};
use super::{Context, Operation, Stamp, Undecodable};
use crate::refusal::Refusal;
use crate::value::TenantValue;

/// A memory to be deleted. Its message in the log is its resolved form.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Deletion {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, optional, tag = "2")]
    if_version: Option<u64>,
}

impl Operation for Deletion {
    const FIELD: u32 = 7;
    type Request = Delete;
    type Answer = Answer;

    fn resolve(request: Delete, _: &Context<'_>) -> Result<Self, MemoryError> {
        Ok(Self { id: request.id.get(), if_version: request.if_version.map(Version::get) })
    }

    fn request_id(request: &Delete) -> Option<RequestId> {
        request.request_id
    }

    fn encode(&self, head: &mut Vec<u8>) {
        wire::put_field(Self::FIELD, self, head);
    }

    fn decode(message: &[u8], _: &Options) -> Result<Self, Undecodable> {
        wire::read(message)
    }

    fn fingerprint(&self) -> u64 {
        !xxh3_64(&self.encode_to_vec()).rotate_left(1)
    }

    fn apply(self, value: &mut TenantValue, stamp: Stamp) -> Result<Answer, Refusal> {
        let id = Id::new(self.id);
        let version = value.expect(id, self.if_version.map(Version::new))?.record.version;
        value.remove(id);
        Ok(Answer { id, version, outcome: Outcome::Deleted, seq: stamp.seq })
    }
}

#[cfg(test)]
impl super::conformance::Examples for Deletion {
    fn requests() -> Vec<Delete> {
        let id = Id::new(1);
        vec![Delete::new(id).if_version(Version::new(7)), Delete::new(id), Delete::new(Id::new(300))]
    }

    fn refused() -> Vec<(Delete, Refusal)> {
        let (id, gone, expected) = (Id::new(1), Id::new(2), Version::new(2));
        let conflict = Refusal::VersionConflict { id, expected, found: Version::new(1) };
        vec![
            (Delete::new(gone), Refusal::UnknownId { id: gone }),
            (Delete::new(id).if_version(expected), conflict),
        ]
    }
}
