//! A use of a shared connection.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::config::KeyedConfig;
use super::pool::{Connector, LiveOf};
use super::table::Live;

/// What the table keeps: a connection, and what records its uses.
pub(super) struct Wire<C: Connector> {
    pub(super) connection: C::Connection,
    #[cfg(feature = "metrics")]
    metrics: Option<super::metrics::KeyedMetrics>,
}

impl<C: Connector> Wire<C> {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics are told"))]
    pub(super) fn new(connection: C::Connection, config: &KeyedConfig) -> Self {
        Self {
            connection,
            #[cfg(feature = "metrics")]
            metrics: config.metrics.clone(),
        }
    }
}

/// A use of a shared connection. How many there are is what [`KeyedPool::pick`](crate::KeyedPool::pick) goes by, so drop it when the request is over.
#[must_use = "dropping it ends the use"]
pub struct Handle<C: Connector> {
    live: Arc<LiveOf<C>>,
    #[cfg(feature = "metrics")]
    since: Option<tokio::time::Instant>,
}

impl<C: Connector> Handle<C> {
    #[inline]
    pub(super) fn new(live: Arc<LiveOf<C>>) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            since: live.connection.metrics.as_ref().map(|_| tokio::time::Instant::now()),
            live,
        }
    }

    /// The connection's address.
    pub fn address(&self) -> &str {
        &self.live.address
    }

    /// The generation of the address.
    pub fn generation(&self) -> u64 {
        self.live.generation
    }

    /// Says that the connection is broken: the next request connects anew. Who uses it already isn't disturbed.
    pub fn mark_broken(&self) {
        self.live.mark_broken();
    }
}

#[cfg(feature = "metrics")]
impl<C: Connector> Drop for Handle<C> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(since), Some(metrics)) = (self.since, &self.live.connection.metrics) {
            metrics.used(since.elapsed());
        }
    }
}

impl<C: Connector> Deref for Handle<C> {
    type Target = C::Connection;

    #[inline]
    fn deref(&self) -> &C::Connection {
        &self.live.connection.connection
    }
}

impl<C: Connector> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.live))
    }
}

impl<C: Connector> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("address", &self.address())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl<C, F: Clone> fmt::Debug for Live<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("generation", &self.generation).finish_non_exhaustive()
    }
}
