//! The contract of a memory, embedded or remote.

use std::future::Future;
use std::sync::Arc;

use crate::{Allocate, Answer, Delete, Hits, Id, MemoryError, Patch, Record, Search, TenantStats, Version};

/// One tenant's memory.
///
/// **Acknowledged means durable, visible and exact**: when a change answers `Ok`, it survives a
/// crash, every read that starts later sees it, and it took effect once, at its place in one order
/// of all changes (the answer's `seq`).
///
/// # Cancel safety
/// Dropping the future of a change doesn't undo it: once the change is queued it is carried out. Use a
/// request id to ask again. Reads change nothing.
pub trait Memory: Send + Sync {
    /// Creates a memory, or returns the one that the slug names.
    ///
    /// # Errors
    /// `Invalid`, `SlugTaken`, `QuotaExceeded` (a tenant too many), those of request ids, and those
    /// of a store that can't take writes now.
    fn allocate(&self, request: Allocate) -> impl Future<Output = Result<Answer, MemoryError>> + Send;

    /// Changes a memory, if it still has the version `if_version`.
    ///
    /// # Errors
    /// `UnknownId`, `VersionConflict`, else as for `allocate`. A patch that names nothing is `Invalid`.
    fn update(
        &self,
        id: Id,
        if_version: Option<Version>,
        patch: Patch,
    ) -> impl Future<Output = Result<Answer, MemoryError>> + Send;

    /// Deletes a memory; its slug is free again, its id isn't used again.
    ///
    /// # Errors
    /// `UnknownId`, `VersionConflict`, else as for `allocate`.
    fn delete(
        &self,
        request: impl Into<Delete> + Send,
    ) -> impl Future<Output = Result<Answer, MemoryError>> + Send;

    /// The memory with this id.
    ///
    /// # Errors
    /// `UnknownTenant`, `UnknownId`, `Closed`.
    fn get(&self, id: Id) -> impl Future<Output = Result<Arc<Record>, MemoryError>> + Send;

    /// The memory with this slug; spellings that differ in case or normalisation find it too.
    ///
    /// # Errors
    /// `UnknownTenant`, `UnknownSlug`, `Invalid`, `Closed`.
    fn get_by_slug(&self, slug: &str) -> impl Future<Output = Result<Arc<Record>, MemoryError>> + Send;

    /// The memories whose text fits the query best.
    ///
    /// # Errors
    /// `UnknownTenant`, `Invalid` (`text`, `k`), `Closed`.
    fn search(&self, request: Search) -> impl Future<Output = Result<Hits, MemoryError>> + Send;

    /// The tenant in numbers.
    ///
    /// # Errors
    /// `UnknownTenant`, `Closed`.
    fn stats(&self) -> impl Future<Output = Result<TenantStats, MemoryError>> + Send;
}
