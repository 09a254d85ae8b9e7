//! How a pool is set up.

use std::time::Duration;

use crate::budget::DialBudget;
use crate::error::InvalidConfig;
use crate::manager::Manager;
use crate::pool::Pool;

/// The most resources that a pool may be asked for.
pub const MAX_LIMIT: usize = 1 << 20;

/// Settings of a [`Pool`]. Each has a default that is finite.
#[derive(Debug)]
pub struct Builder<M> {
    manager: M,
    config: Config,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) max: usize,
    pub(crate) idle_min: usize,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) check_timeout: Duration,
    pub(crate) check_after: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) proven_after: Duration,
    pub(crate) budget: DialBudget,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Option<crate::metrics::PoolMetrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max: 10,
            idle_min: 0,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            check_timeout: Duration::from_secs(5),
            check_after: Duration::from_millis(500),
            idle_timeout: Some(Duration::from_secs(600)),
            lifetime: Some(Duration::from_secs(1800)),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            proven_after: Duration::ZERO,
            budget: DialBudget::new(16),
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self { manager, config: Config::default() }
    }

    /// The most resources at any moment, dials included: 1 to [`MAX_LIMIT`], 10 by default.
    #[must_use]
    pub fn max(mut self, max: usize) -> Self {
        self.config.max = max;
        self
    }

    /// Resources that are kept idle, as far as `max` allows: 0 by default. They are made from the first request on that may wait; see [`Pool::warm_up`].
    #[must_use]
    pub fn idle_min(mut self, idle_min: usize) -> Self {
        self.config.idle_min = idle_min;
        self
    }

    /// How long a [`Pool::get`] may take in all, with waiting, dials and checks: 30 s by default. Zero: a resource that is idle now, or nothing.
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

    /// How long one check may take: more than 0, 5 s by default.
    #[must_use]
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.config.check_timeout = timeout;
        self
    }

    /// A resource that idled for so long is checked before it is given away: 500 ms by default, known to a tenth of a second. Zero: always.
    #[must_use]
    pub fn check_after(mut self, idle: Duration) -> Self {
        self.config.check_after = idle;
        self
    }

    /// Resources beyond `idle_min` that idle for so long are dropped: more than 0, 10 min by default.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How old a resource gets, less up to 2.5 % by chance so that they don't all go at once: more than 0, 30 min by default. One that is out is dropped when it comes back.
    #[must_use]
    pub fn lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.lifetime = lifetime.into();
        self
    }

    /// After a failed dial the pool waits before the next one: by chance from 0 to `base`, which doubles with each failure in a row, up to `max`. 100 ms and 10 s by default.
    #[must_use]
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.config.backoff = base;
        self.config.backoff_max = max;
        self
    }

    /// What is found broken ([`Manager::has_broken`]) when it comes back before it is so old counts as a dial that failed, so that a peer that accepts connections and breaks them is backed off from. Until one has lasted so long the
    /// failures are in a row. Zero by default: none counts, for a healthy server may close after each reply.
    #[must_use]
    pub fn proven_after(mut self, age: Duration) -> Self {
        self.config.proven_after = age;
        self
    }

    /// The limit on dials under way, which other pools may share: 16 for this pool alone by default.
    #[must_use]
    pub fn dial_budget(mut self, budget: DialBudget) -> Self {
        self.config.budget = budget;
        self
    }

    /// Records how long requests wait, dials take and resources are used (feature `metrics`).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: crate::metrics::PoolMetrics) -> Self {
        self.config.metrics = Some(metrics);
        self
    }

    /// The pool. Nothing is connected yet, and no runtime is needed yet.
    ///
    /// # Errors
    /// A setting outside of its bounds, with what was found.
    pub fn build(self) -> Result<Pool<M>, InvalidConfig> {
        let Config { max, idle_min, connect_timeout, check_timeout, idle_timeout, lifetime, backoff, .. } =
            self.config;
        check_max(max)?;
        if idle_min > max {
            return Err(InvalidConfig {
                field: "idle_min",
                found: idle_min.to_string(),
                allowed: format!("at most max, which is {max}"),
            });
        }
        let positive = [
            ("connect_timeout", Some(connect_timeout)),
            ("check_timeout", Some(check_timeout)),
            ("backoff", Some(backoff)),
            ("idle_timeout", idle_timeout),
            ("lifetime", lifetime),
        ];
        positive.into_iter().try_for_each(|(field, duration)| check_positive(field, duration))?;
        check_backoff(self.config.backoff, self.config.backoff_max)?;
        Ok(Pool::new(self.manager, self.config))
    }
}

/// `None` is without a limit.
pub(crate) fn check_positive(field: &'static str, duration: Option<Duration>) -> Result<(), InvalidConfig> {
    if duration.is_some_and(|duration| duration.is_zero()) {
        return Err(InvalidConfig { field, found: "0".to_owned(), allowed: "more than 0".to_owned() });
    }
    Ok(())
}

pub(crate) fn check_backoff(base: Duration, max: Duration) -> Result<(), InvalidConfig> {
    if max < base {
        let (found, allowed) = (format!("{max:?}"), format!("at least the base, which is {base:?}"));
        return Err(InvalidConfig { field: "backoff_max", found, allowed });
    }
    Ok(())
}

pub(crate) fn check_max(max: usize) -> Result<(), InvalidConfig> {
    if (1..=MAX_LIMIT).contains(&max) {
        return Ok(());
    }
    Err(InvalidConfig { field: "max", found: max.to_string(), allowed: format!("1 to {MAX_LIMIT}") })
}
