//! What the handles of a pool, its guards and its tasks have in common; dials, and the keeper.
//!
//! Two kinds of tasks belong to a pool. A *dial* makes one resource and hands it to the kernel; it is a task so that it outlives who asked. The *keeper* sleeps until the kernel's next event: the end of
//! somebody's time, of a back-off, of a resource's life; and the tick of the clock while the pool is in use. Whoever finds that there is no keeper starts one, so a runtime that ends takes nothing with it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::budget::{full_jitter, random_unit};
use crate::config::Config;
use crate::error::DialError;
use crate::manager::Manager;
use crate::slots::{Nanos, Rules, Slots};

/// Why dials fail, for all who want to know.
pub(crate) type Failure<M> = Arc<DialError<<M as Manager>::Error>>;

/// Lifetimes are shorter by up to this part.
const LIFETIME_JITTER: f64 = 0.025;
/// The keeper wakes at least so often.
const KEEPER_REST: Duration = Duration::from_secs(3600);

pub(crate) struct Shared<M: Manager> {
    pub(crate) slots: Slots<M::Resource, Failure<M>>,
    pub(crate) manager: M,
    pub(crate) config: Config,
    origin: Instant,
    closing: Notify,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(manager: M, config: Config) -> Self {
        let rules = Rules {
            max: config.max,
            idle_min: config.idle_min,
            idle_timeout: config.idle_timeout.map_or(Nanos::MAX, nanos),
            check_after: nanos(config.check_after),
            proven_after: nanos(config.proven_after),
        };
        let slots = Slots::new(rules);
        Self { slots, manager, config, origin: Instant::now(), closing: Notify::new() }
    }

    /// The time by tokio's clock, which tests can stop.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    /// Starts a dial, and the keeper if it is missing. Panics outside of a runtime with timers, and has then started nothing.
    #[cold]
    pub(crate) fn start(self: &Arc<Self>, dial: Option<u32>, keeper_missing: bool) {
        if dial.is_none() && !keeper_missing {
            return;
        }
        let place = dial.map(|slot| self.dial_place(slot));
        // Here, where it is told to the caller: in the tasks nobody would hear of it.
        require_timers();
        if let Some(place) = place {
            tokio::spawn(self::dial(place));
        }
        if keeper_missing && let Some(keeper) = self.slots.keeper_needed(self.now()) {
            let gone = KeeperGone { shared: Arc::downgrade(self), keeper };
            tokio::spawn(keep(gone));
        }
    }

    fn dial_place(self: &Arc<Self>, slot: u32) -> DialPlace<M> {
        DialPlace { shared: Arc::clone(self), slot, began: false, open: true }
    }

    /// Ends dials that are under way. The kernel is closed already.
    pub(crate) fn stop_dials(&self) {
        self.closing.notify_waiters();
    }

    /// The back-off after so many failures in a row.
    pub(crate) fn delay(&self, failures: u32) -> Nanos {
        nanos(full_jitter(self.config.backoff, self.config.backoff_max, failures))
    }

    fn expires(&self, now: Nanos) -> Nanos {
        let Some(lifetime) = self.config.lifetime else { return Nanos::MAX };
        now.saturating_add(nanos(lifetime.mul_f64(1.0 - LIFETIME_JITTER * random_unit())))
    }
}

impl<M: Manager> Drop for Shared<M> {
    fn drop(&mut self) {
        self.slots.abandon();
    }
}

/// Panics unless this is a runtime with timers that hasn't been shut down.
pub(crate) fn require_timers() {
    // It is made where there are timers, and polled where they run.
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// The slot of a dial, which gives it back whatever becomes of the dial.
struct DialPlace<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: u32,
    began: bool,
    open: bool,
}

impl<M: Manager> DialPlace<M> {
    fn succeed(mut self, resource: M::Resource) {
        self.open = false;
        let now = self.shared.now();
        self.shared.slots.dialled(self.slot, resource, self.shared.expires(now), now);
    }

    fn fail(&mut self, error: DialError<M::Error>) {
        let retryable = match &error {
            DialError::Failed(error) => self.shared.manager.is_retryable(error),
            DialError::TimedOut(_) | DialError::Panicked => true,
        };
        self.open = false;
        let delay = |failures| self.shared.delay(failures);
        self.shared.slots.dial_failed(self.slot, Arc::new(error), retryable, self.shared.now(), delay);
    }
}

impl<M: Manager> Drop for DialPlace<M> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if std::thread::panicking() && self.began {
            self.fail(DialError::Panicked);
        } else {
            // The pool is closing, or the runtime is ending or was never there.
            self.shared.slots.dial_dropped(self.slot, self.shared.now());
        }
    }
}

async fn dial<M: Manager>(mut place: DialPlace<M>) {
    place.began = true;
    let shared = Arc::clone(&place.shared);
    let limit = shared.config.connect_timeout;
    let dialled = unless_closing(&shared, async {
        let turn = shared.config.budget.turn().await;
        let started = shared.now();
        let dialled = timeout(limit, shared.manager.connect()).await;
        #[cfg(feature = "metrics")]
        if let (Some(metrics), Ok(Ok(_))) = (&shared.config.metrics, &dialled) {
            metrics.connected(Duration::from_nanos(shared.now().saturating_sub(started)));
        }
        let _ = started;
        drop(turn);
        dialled
    });
    match dialled.await {
        Some(Ok(Ok(resource))) => place.succeed(resource),
        Some(Ok(Err(error))) => place.fail(DialError::Failed(error)),
        Some(Err(_)) => place.fail(DialError::TimedOut(limit)),
        None => {}
    }
}

/// What `work` comes to, or `None` as soon as the pool is closing.
pub(crate) async fn unless_closing<M: Manager, T>(
    shared: &Shared<M>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut closing = pin!(shared.closing.notified());
    // From here on a notice isn't missed; one that came before shows in the kernel.
    closing.as_mut().enable();
    if shared.slots.is_closed() {
        return None;
    }
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(result) = work.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        closing.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The keeper's number, which is free again when its task ends, however that happens.
struct KeeperGone<M: Manager> {
    shared: Weak<Shared<M>>,
    keeper: u64,
}

impl<M: Manager> Drop for KeeperGone<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.slots.keeper_gone(self.keeper);
        }
    }
}

async fn keep<M: Manager>(gone: KeeperGone<M>) {
    let KeeperGone { shared: pool, keeper } = &gone;
    loop {
        let wake_at = {
            let Some(shared) = pool.upgrade() else { return };
            let plan = shared.slots.tend(*keeper, shared.now());
            for &slot in &plan.dials {
                tokio::spawn(dial(shared.dial_place(slot)));
            }
            if plan.ends {
                return;
            }
            let rest = Duration::from_nanos(plan.next.saturating_sub(shared.now()));
            Instant::now() + rest.min(KEEPER_REST)
        };
        let mut sleep = pin!(sleep_until(wake_at));
        poll_fn(|context| {
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let Some(shared) = pool.upgrade() else { return Poll::Ready(()) };
            match shared.slots.poll_keeper(*keeper, context.waker().clone()) {
                Ok(()) => Poll::Ready(()),
                Err(old) => {
                    drop(old);
                    Poll::Pending
                }
            }
        })
        .await;
    }
}
