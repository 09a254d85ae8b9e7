//! Settings of a keyed pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Moment, Rules};
use super::pool::{Connector, Inner, KeyedPool};
use super::table::Table;
use crate::budget::{DialBudget, random_unit};
use crate::config::{check_backoff, check_positive};
use crate::error::InvalidConfig;
use crate::shared::nanos;
use crate::slots::Nanos;

/// Settings of a [`KeyedPool`].
#[derive(Debug)]
pub struct KeyedBuilder<C> {
    connector: C,
    config: KeyedConfig,
}

#[derive(Clone, Debug)]
pub(super) struct KeyedConfig {
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    backoff: Duration,
    backoff_max: Duration,
    pub(super) budget: DialBudget,
    #[cfg(feature = "metrics")]
    pub(super) metrics: Option<super::metrics::KeyedMetrics>,
}

/// The pool's time, by tokio's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    origin: Instant,
}

impl Time {
    pub(super) fn now(self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    pub(super) fn moment(self) -> Moment {
        Moment { now: self.now(), chance: random_unit() }
    }

    /// When it will be so late, or a century from the origin if that is earlier: further off is no deadline, and more than tokio can count.
    pub(super) fn at(self, nanos: Nanos) -> Instant {
        self.origin + Duration::from_nanos(nanos).min(Duration::from_secs(3_000_000_000))
    }
}

impl<C: Connector> KeyedBuilder<C> {
    pub(super) fn new(connector: C) -> Self {
        let config = KeyedConfig {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            budget: DialBudget::new(16),
            #[cfg(feature = "metrics")]
            metrics: None,
        };
        Self { connector, config }
    }

    /// How long a request may wait for a dial: 30 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How long one dial may take: more than 0, 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// After a failed dial the address waits before the next one: by chance from 0 to `base`, which doubles with each failure in a row, up to `max`. 100 ms and 10 s by default.
    ///
    /// A connection that is found broken before it has lived for the longest time that the next failure could be backed off counts as a failure; only the first in a row is dialled again at once.
    #[must_use]
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.config.backoff = base;
        self.config.backoff_max = max;
        self
    }

    /// The limit on dials under way, which other pools may share: 16 for this pool alone by default.
    #[must_use]
    pub fn dial_budget(mut self, budget: DialBudget) -> Self {
        self.config.budget = budget;
        self
    }

    /// Records how requests end, how long they wait, dials take and connections are used (feature `metrics`).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: super::metrics::KeyedMetrics) -> Self {
        self.config.metrics = Some(metrics);
        self
    }

    /// The pool, without addresses. No runtime is needed yet.
    ///
    /// # Errors
    /// A `connect_timeout` or a `backoff` of 0.
    pub fn build(self) -> Result<KeyedPool<C>, InvalidConfig> {
        check_positive("connect_timeout", Some(self.config.connect_timeout))?;
        check_positive("backoff", Some(self.config.backoff))?;
        check_backoff(self.config.backoff, self.config.backoff_max)?;
        let Self { connector, config } = self;
        let rules = Rules { backoff: nanos(config.backoff), backoff_max: nanos(config.backoff_max) };
        let inner = Inner {
            table: Table::new(rules),
            connector: Arc::new(connector),
            config,
            time: Time { origin: Instant::now() },
        };
        Ok(KeyedPool { inner: Arc::new(inner) })
    }
}
