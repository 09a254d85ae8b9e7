//! What a caller asks for.

use crate::{AttributeValue, Attributes, Filter, Id, RequestId, Version};

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
    /// Where it lies in a space of meanings, so that it is found by its neighbours. All of a tenant's vectors have the same dimensions.
    pub vector: Option<Vec<f32>>,
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

    /// Sets the vector; its components are finite.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
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
    /// A new vector. A new text without one keeps the vector that there is.
    pub vector: Option<Vec<f32>>,
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

    /// Sets a new vector; its components are finite.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
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

/// How many of a query's words a memory must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TextMode {
    /// At least one. The default.
    #[default]
    Any,
    /// Every one.
    All,
}

/// Looks for memories: by words, by a vector, or by both.
///
/// With both, a hit needs to be found by one of them only. The two lists are merged by reciprocal rank fusion (Cormack, Clarke and
/// Büttcher, 2009): a hit's score is the sum of `weight / (60 + rank)` over the lists that it is in.
///
/// ```
/// use steadfast_memory_api::{Filter, Search, TextMode};
///
/// let by_words = Search::new("late invoices").mode(TextMode::All).filter(Filter::new().kind("preference"));
/// let by_vector = Search::by_vector([0.6, 0.8]).k(3);
/// let by_both = Search::new("late invoices").vector([0.6, 0.8]).weights(1.0, 2.0);
/// # let _ = (by_words, by_vector, by_both);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Search {
    /// The words to look for; may be empty if there is a vector.
    pub text: String,
    /// At most so many hits; 10 unless set.
    pub k: usize,
    /// How many of the words a memory must hold to be found by them.
    pub mode: TextMode,
    /// Finds the memories whose vectors are nearest to this one; it has as many dimensions as they.
    pub vector: Option<Vec<f32>>,
    /// What a hit must match besides.
    pub filter: Filter,
    /// How much a rank by words counts when there is a vector as well; 1 unless set. By a weight of 0 nothing is found.
    pub text_weight: f32,
    /// How much a rank by vector counts when there are words as well; 1 unless set. By a weight of 0 nothing is found.
    pub vector_weight: f32,
    /// Whether the nearest vectors are found by comparing all of them: none is missed, at the price of a scan. Not unless set.
    pub exact: bool,
    /// Whether all that match are counted, those past `k` too. It costs a walk over all that is known of the words. Not unless set.
    pub counted: bool,
}

impl Search {
    /// Looks for `text`, at most 10 hits.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            k: 10,
            mode: TextMode::Any,
            vector: None,
            filter: Filter::new(),
            text_weight: 1.0,
            vector_weight: 1.0,
            exact: false,
            counted: false,
        }
    }

    /// Looks for the memories whose vectors are nearest to `vector`, at most 10.
    pub fn by_vector(vector: impl Into<Vec<f32>>) -> Self {
        Self::new("").vector(vector)
    }

    /// At most `k` hits.
    #[must_use]
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Sets how many of the words a memory must hold.
    #[must_use]
    pub fn mode(mut self, mode: TextMode) -> Self {
        self.mode = mode;
        self
    }

    /// Looks for what is near this vector as well.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// Only memories that match this filter, in place of the one that was set before.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets how much ranks by words and ranks by vector count: finite, not negative, not both 0.
    #[must_use]
    pub fn weights(mut self, text: f32, vector: f32) -> Self {
        (self.text_weight, self.vector_weight) = (text, vector);
        self
    }

    /// Compares all vectors, so that none of the nearest is missed.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Counts all that match, so that [`Hits::matched`](crate::Hits::matched) is exact.
    ///
    /// Without it a search passes over what can't be among the best, and is the faster for it.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }
}
