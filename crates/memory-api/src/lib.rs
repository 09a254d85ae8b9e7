//! Requests, answers, errors, limits and the async trait of a memory.
//!
//! What an embedded store and a client of a server have in common: code written against [`Memory`]
//! runs unchanged on both. This crate holds data and contracts, no engine, and depends on nothing.
//!
//! ```
//! use steadfast_memory_api::{Allocate, Memory, MemoryError, Search};
//!
//! /// Works on an embedded tenant and on a remote one alike.
//! async fn remember_once(memory: &impl Memory, slug: &str, text: &str) -> Result<bool, MemoryError> {
//!     let answer = memory.allocate(Allocate::new(text).slug(slug)).await?;
//!     let found = memory.search(Search::new(text).k(1)).await?;
//!     Ok(answer.outcome == steadfast_memory_api::Outcome::Created && !found.hits.is_empty())
//! }
//! ```
#![forbid(unsafe_code)]

mod answers;
mod attributes;
mod content;
mod error;
mod filter;
mod ids;
mod limits;
mod memory;
mod requests;

pub use answers::{Answer, Hit, Hits, Matched, Outcome, PartScore, Record, TenantStats, Why};
pub use attributes::{AttributeValue, Attributes};
pub use content::{AttributeRef, Content, ContentParts, MalformedContent};
pub use error::{MemoryError, Problem};
pub use filter::{Clause, Filter, Number, Span, ValueRange};
pub use ids::{Id, RequestId, Seq, Version};
pub use limits::Limits;
pub use memory::Memory;
pub use requests::{Allocate, Delete, OnSlug, Patch, Search, TextMode};

/// Compiles the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
