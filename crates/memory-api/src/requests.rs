//! What a caller asks for.

use crate::{AttributeValue, Attributes, Id, RequestId, Version};

/// What to do when the slug of an [`Allocate`] already names a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnSlug {
    /// Answer with the existing memory, unchanged: get or create. The default.
    #[default]
    Return,
    /// Refuse with [`SlugTaken`](crate::MemoryError::SlugTaken).
    Refuse,
}

/// Creates a memory, or finds the one that its slug names.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Allocate {
    /// What is remembered, and found again by its words.
    pub text: String,
    /// What sort of memory it is, for example `concept`; may be empty.
    pub kind: String,
    /// A name of its own, unique in the tenant after case folding and NFKC.
    pub slug: Option<String>,
    /// What to do when the slug is taken already.
    pub on_slug: OnSlug,
    /// Small named facts.
    pub attributes: Attributes,
    /// From 0 to 1; 0.5 unless set.
    pub importance: Option<f32>,
    /// Makes it safe to send this again.
    pub request_id: Option<RequestId>,
}

impl Allocate {
    /// A memory of `text`, with defaults for all the rest.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Sets the slug; the same slug again returns the same memory.
    #[must_use]
    pub fn slug(mut self, slug: impl Into<String>) -> Self {
        self.slug = Some(slug.into());
        self
    }

    /// Sets what to do when the slug is taken.
    #[must_use]
    pub fn on_slug(mut self, on_slug: OnSlug) -> Self {
        self.on_slug = on_slug;
        self
    }

    /// Sets one attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.attributes.set(name, value);
        self
    }

    /// Sets the importance, from 0 to 1.
    #[must_use]
    pub fn importance(mut self, importance: f32) -> Self {
        self.importance = Some(importance);
        self
    }

    /// Names this request, so that sending it again does nothing more.
    #[must_use]
    pub fn request_id(mut self, request_id: RequestId) -> Self {
        self.request_id = Some(request_id);
        self
    }
}

/// What an update changes; what isn't named stays as it is.
///
/// A slug is a memory's identity and can't be changed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Patch {
    /// A new text.
    pub text: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// A new importance, from 0 to 1.
    pub importance: Option<f32>,
    /// Attributes to set.
    pub set: Attributes,
    /// Names of attributes to take out (before `set` is done); a name that isn't there is no error.
    pub remove: Vec<String>,
    /// Makes it safe to send this again.
    pub request_id: Option<RequestId>,
}

impl Patch {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a new text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets a new kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets a new importance, from 0 to 1.
    #[must_use]
    pub fn importance(mut self, importance: f32) -> Self {
        self.importance = Some(importance);
        self
    }

    /// Sets one attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.set.set(name, value);
        self
    }

    /// Takes one attribute out.
    #[must_use]
    pub fn remove_attribute(mut self, name: impl Into<String>) -> Self {
        self.remove.push(name.into());
        self
    }

    /// Names this request, so that sending it again does nothing more.
    #[must_use]
    pub fn request_id(mut self, request_id: RequestId) -> Self {
        self.request_id = Some(request_id);
        self
    }
}

/// Deletes a memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// Which.
    pub id: Id,
    /// Only if it still has this version.
    pub if_version: Option<Version>,
    /// Makes it safe to send this again.
    pub request_id: Option<RequestId>,
}

impl Delete {
    /// Deletes `id`, whatever its version.
    pub fn new(id: Id) -> Self {
        Self { id, if_version: None, request_id: None }
    }

    /// Only if the memory still has this version.
    #[must_use]
    pub fn if_version(mut self, version: Version) -> Self {
        self.if_version = Some(version);
        self
    }

    /// Names this request, so that sending it again does nothing more.
    #[must_use]
    pub fn request_id(mut self, request_id: RequestId) -> Self {
        self.request_id = Some(request_id);
        self
    }
}

impl From<Id> for Delete {
    fn from(id: Id) -> Self {
        Self::new(id)
    }
}

/// Looks for memories by the words of their text.
#[derive(Clone, PartialEq, Debug)]
pub struct Search {
    /// The words to look for; a memory that holds any of them can be a hit.
    pub text: String,
    /// At most so many hits; 10 unless set.
    pub k: usize,
}

impl Search {
    /// Looks for `text`, at most 10 hits.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), k: 10 }
    }

    /// At most `k` hits.
    #[must_use]
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }
}
