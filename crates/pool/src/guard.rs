//! A resource that somebody has.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::manager::Manager;
use crate::shared::Shared;

/// The pool that a guard is of.
enum Origin<'p, M: Manager> {
    Borrowed(&'p Arc<Shared<M>>),
    Owned(Arc<Shared<M>>),
}

impl<M: Manager> Deref for Origin<'_, M> {
    type Target = Arc<Shared<M>>;

    #[inline]
    fn deref(&self) -> &Arc<Shared<M>> {
        match self {
            Self::Borrowed(shared) => shared,
            Self::Owned(shared) => shared,
        }
    }
}

/// A resource from a [`Pool`](crate::Pool), for as long as this lives. Dropping it gives the resource back, on any thread, with or without a runtime.
///
/// It borrows the handle that it was asked of, so that a request counts nobody: where the pool is shared, each count would be waited for. [`Pooled::into_owned`] makes one that stands alone.
///
/// What is dropped by a panic isn't pooled again: nobody knows in the middle of what it was.
#[must_use = "dropping it gives the resource back"]
pub struct Pooled<'p, M: Manager> {
    shared: Origin<'p, M>,
    /// Some until it is dropped or detached.
    resource: Option<M::Resource>,
    slot: u32,
    /// Whether it must not be pooled again.
    suspect: bool,
    #[cfg(feature = "metrics")]
    since: u64,
}

impl<'p, M: Manager> Pooled<'p, M> {
    #[inline]
    pub(crate) fn new(shared: &'p Arc<Shared<M>>, resource: M::Resource, slot: u32, suspect: bool) -> Self {
        #[cfg(feature = "metrics")]
        let since = if shared.config.metrics.is_some() { shared.now() } else { 0 };
        Self {
            shared: Origin::Borrowed(shared),
            resource: Some(resource),
            slot,
            suspect,
            #[cfg(feature = "metrics")]
            since,
        }
    }

    /// The same, to be kept for as long as one likes: it keeps the pool alive, as a handle does.
    pub fn into_owned(mut self) -> Pooled<'static, M> {
        Pooled {
            shared: Origin::Owned(Arc::clone(&self.shared)),
            resource: self.resource.take(),
            slot: self.slot,
            suspect: self.suspect,
            #[cfg(feature = "metrics")]
            since: self.since,
        }
    }

    /// Takes the resource out of the pool for good. The pool may make another one in its place.
    #[expect(clippy::missing_panics_doc, reason = "a guard has its resource until it is dropped or detached")]
    pub fn detach(mut self) -> M::Resource {
        let resource = self.resource.take();
        self.shared.slots.discard(self.slot, true, self.shared.now());
        resource.expect("a guard has its resource until it is dropped or detached")
    }

    /// Says that the resource is broken: it is dropped instead of pooled.
    pub fn mark_broken(&mut self) {
        self.suspect = true;
    }

    /// How long ago the resource was made.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(self.shared.now().saturating_sub(self.shared.slots.born(self.slot)))
    }

    /// It was looked at and is good: its use begins.
    pub(crate) fn trust(&mut self) {
        self.suspect = false;
        #[cfg(feature = "metrics")]
        if self.shared.config.metrics.is_some() {
            self.since = self.shared.now();
        }
    }

    /// The resource and its slot, for who brings them back; else it is dropped.
    pub(crate) fn take_if(mut self, kept: bool) -> Option<(M::Resource, u32)> {
        let resource = if kept { self.resource.take() } else { None };
        resource.map(|resource| (resource, self.slot))
    }
}

impl<M: Manager> Deref for Pooled<'_, M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        self.resource.as_ref().expect("a guard has its resource until it is dropped or detached")
    }
}

impl<M: Manager> DerefMut for Pooled<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        self.resource.as_mut().expect("a guard has its resource until it is dropped or detached")
    }
}

/// Frees a slot, whatever panics before.
struct Free<'a, M: Manager> {
    shared: &'a Shared<M>,
    slot: u32,
    /// Whether the resource was found broken.
    broke: bool,
}

impl<M: Manager> Drop for Free<'_, M> {
    fn drop(&mut self) {
        let Self { shared, slot, broke } = *self;
        if broke {
            shared.slots.discard_broken(slot, shared.now(), |failures| shared.delay(failures));
        } else {
            shared.slots.discard(slot, false, shared.now());
        }
    }
}

impl<M: Manager> Drop for Pooled<'_, M> {
    #[inline]
    fn drop(&mut self) {
        let Some(resource) = self.resource.take() else { return };
        let shared = &**self.shared;
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &shared.config.metrics {
            metrics.used(Duration::from_nanos(shared.now().saturating_sub(self.since)));
        }
        let mut free = Free { shared, slot: self.slot, broke: false };
        // Declared after the slot's, so that also where `has_broken` panics the resource goes first.
        let mut resource = resource;
        let suspect = self.suspect || std::thread::panicking();
        free.broke = !suspect && shared.manager.has_broken(&mut resource);
        if suspect || free.broke {
            // First the resource, then its slot: the other side may count, too.
            drop(resource);
            drop(free);
            return;
        }
        std::mem::forget(free);
        shared.slots.put(resource, self.slot, &|| shared.now());
    }
}

impl<M: Manager<Resource: fmt::Debug>> fmt::Debug for Pooled<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&self.resource).finish()
    }
}
