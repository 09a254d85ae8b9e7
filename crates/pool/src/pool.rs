//! The pool for exclusive resources.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::poll_proceed;

use crate::config::{Builder, Config, check_max};
use crate::error::{Autopsy, GetError, InvalidConfig};
use crate::guard::Pooled;
use crate::manager::Manager;
use crate::shared::{Failure, Shared, nanos, unless_closing};
use crate::slots::{End, Grant, Key, Looked, Nanos, Refused, Requested, Taken, Wait};
use crate::status::{CloseReport, Holder, Idle, Retained, Status};

/// A pool of resources that one has at a time. Clones are handles to the same pool, which ends with the last handle, guard and dial under way.
///
/// Requests are served in the order in which they were made. What comes back goes to the first who waits; if nobody does, it waits itself, and what came back last goes first.
///
/// ```
/// # #[derive(Debug)] struct Never;
/// # impl std::fmt::Display for Never { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
/// # impl std::error::Error for Never {}
/// use steadfast_pool::{Manager, Pool};
///
/// struct Buffers;
///
/// impl Manager for Buffers {
///     type Resource = Vec<u8>;
///     type Error = Never;
///
///     async fn connect(&self) -> Result<Vec<u8>, Never> {
///         Ok(Vec::with_capacity(4096))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let pool = Pool::builder(Buffers).max(4).build()?;
/// let mut buffer = pool.get().await?;
/// buffer.push(1);
/// drop(buffer);
/// assert_eq!(pool.status().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Pool<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Begins to set up a pool of what `manager` makes.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    pub(crate) fn new(manager: M, config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(manager, config)) }
    }

    /// A resource, within the builder's `timeout`.
    ///
    /// # Errors
    /// [`GetError::Timeout`] with its [`Autopsy`], [`GetError::Connect`], [`GetError::Closed`].
    ///
    /// # Panics
    /// If it has to wait or to check and is polled outside of a tokio runtime, or in one that has ended or has no timers (`enable_time`); with the panic of [`Manager::check`].
    ///
    /// # Cancel safety
    /// Dropped, it leaves the queue; what it was about to get goes to the next, and a dial that it caused goes on for the others. Only a resource in the middle of its check is dropped.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Pooled<'_, M>, GetError<M::Error>>> + Send + '_ {
        self.get_timeout(self.shared.config.timeout)
    }

    /// A resource, within `timeout`. Zero: one that is idle now, or a timeout; there is no time for a check then, so only [`Manager::has_broken`] is asked, as by [`Pool::try_get`]. Over 584 years: no limit.
    ///
    /// # Errors
    /// As [`Pool::get`].
    ///
    /// # Panics
    /// As [`Pool::get`].
    ///
    /// # Cancel safety
    /// As [`Pool::get`].
    #[track_caller]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Pooled<'_, M>, GetError<M::Error>>> + Send + '_ {
        let at = Location::caller();
        let mut asking = Asking { shared: &self.shared, timeout: nanos(timeout), at, key: None };
        async move {
            if timeout.is_zero() {
                return self.get_idle(at, true).map_err(|refused| match refused.expired {
                    Some(told) => GetError::Timeout(Box::new(Autopsy::new(told, Duration::ZERO, false))),
                    None => GetError::Closed,
                });
            }
            if let Some((resource, slot)) = self.shared.slots.take_at_once(at) {
                asking.served(None);
                return Ok(Pooled::new(&self.shared, resource, slot, false));
            }
            match poll_fn(|context| asking.poll(context)).await? {
                Answer { resource, check: false, wait, .. } => {
                    asking.served(wait);
                    Ok(resource)
                }
                answer => asking.check(answer).await,
            }
        }
    }

    /// An idle resource, without waiting, dialling or checking; one that [`Manager::has_broken`] says is broken is dropped, and the next one tried.
    ///
    /// # Errors
    /// [`GetError::Exhausted`] if nothing is idle, [`GetError::Closed`].
    #[track_caller]
    pub fn try_get(&self) -> Result<Pooled<'_, M>, GetError<M::Error>> {
        self.get_idle(Location::caller(), false).map_err(|refused| {
            let counts = refused.counts;
            if counts.closed { GetError::Closed } else { GetError::Exhausted(Box::new(counts.into())) }
        })
    }

    /// The first idle resource that isn't broken.
    fn get_idle(
        &self,
        at: &'static Location<'static>,
        no_time: bool,
    ) -> Result<Pooled<'_, M>, NothingIdle<M>> {
        let shared = &self.shared;
        let mut again = false;
        loop {
            let (resource, slot) = shared.slots.request_at_once(again, no_time, at, &|| shared.now())?;
            let mut checking = Checking { shared, end: Some(End::Error) };
            let mut pooled = Pooled::new(&self.shared, resource, slot, true);
            if !shared.manager.has_broken(&mut pooled) {
                checking.end(End::Ok);
                pooled.trust();
                return Ok(pooled);
            }
            // First, as dropping a resource may panic.
            drop(pooled);
            checking.end = None;
            again = true;
        }
    }

    /// Waits until there are as many resources as the builder's `idle_min` says.
    ///
    /// # Errors
    /// [`GetError::Timeout`] if they couldn't be had within `timeout`, [`GetError::Closed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped, it leaves dials going on.
    #[track_caller]
    pub fn warm_up(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), GetError<M::Error>>> + Send + '_ {
        let at = Location::caller();
        async move {
            let shared = &self.shared;
            let wait = shared.slots.wait_of(nanos(timeout), at, shared.now());
            let warm = poll_fn(|context| {
                let (warm, keeper_missing) = shared.slots.poll_warm(context.waker().clone(), shared.now());
                shared.start(None, keeper_missing);
                if warm { Poll::Ready(()) } else { Poll::Pending }
            });
            if tokio::time::timeout(timeout, warm).await.is_err() {
                let told = shared.slots.autopsy(&wait, shared.now());
                return Err(GetError::Timeout(Box::new(Autopsy::new(told, Duration::ZERO, false))));
            }
            if self.is_closed() { Err(GetError::Closed) } else { Ok(()) }
        }
    }

    /// How the pool stands, at one moment.
    pub fn status(&self) -> Status {
        self.shared.slots.counts().into()
    }

    /// Those who have had resources for longest, the longest first, at most three.
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.slots.holders(self.shared.now()).into_iter().map(Holder::from).collect()
    }

    /// The last dial that came to nothing, however long ago.
    pub fn last_dial_error(&self) -> Option<Failure<M>> {
        self.shared.slots.last_failure()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn idle_min(&self) -> usize {
        self.shared.config.idle_min
    }

    /// What makes the resources.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// Asks of each idle resource whether to keep it, the one that was used longest ago first. While it is looked at it counts as in use.
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Resource, Idle) -> bool) -> Retained {
        let shared = &self.shared;
        let mut retained = Retained::default();
        for _ in 0..shared.slots.counts().idle {
            let Some((resource, slot, dates)) = shared.slots.take_oldest(retained.kept, Location::caller())
            else {
                break;
            };
            let mut pooled = Pooled::new(&self.shared, resource, slot, true);
            let now = shared.now();
            let since = |time: Nanos| Duration::from_nanos(now.saturating_sub(time));
            let kept = keep(&mut pooled, Idle { age: since(dates.born), idle: since(dates.used) });
            let Some((resource, slot)) = pooled.take_if(kept) else {
                retained.dropped += 1;
                continue;
            };
            // Otherwise somebody waited for it, or its time is over.
            if shared.slots.put_back(retained.kept, resource, slot) {
                retained.kept += 1;
            }
        }
        retained
    }

    /// Changes the maximum. A lower one takes effect as resources come back; those that idle beyond it go now, the one that was used longest ago first.
    ///
    /// # Errors
    /// A maximum of 0, over [`MAX_LIMIT`](crate::MAX_LIMIT), or under the builder's `idle_min`.
    pub fn resize(&self, max: usize) -> Result<(), InvalidConfig> {
        check_max(max)?;
        self.shared.slots.resize(max).map_err(|idle_min| InvalidConfig {
            field: "max",
            found: max.to_string(),
            allowed: format!("at least idle_min, which is {idle_min}"),
        })
    }

    /// Closes the pool and waits until nothing of it is alive, at most for `within`. From the call on requests fail, those that wait among them; idle resources are dropped, dials are stopped,
    /// and what comes back is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Once polled, the pool is closed. Closing again waits again.
    pub async fn close(&self, within: Duration) -> CloseReport {
        let shared = &self.shared;
        let started = shared.now();
        let idle = shared.slots.close();
        shared.stop_dials();
        let drained = poll_fn(|context| {
            if shared.slots.poll_drained(context.waker().clone()) { Poll::Ready(()) } else { Poll::Pending }
        });
        let drained = tokio::time::timeout(within, drained).await.is_ok();
        let now = shared.now();
        let counts = shared.slots.counts();
        CloseReport {
            drained: drained || counts.size == 0,
            took: Duration::from_nanos(now.saturating_sub(started)),
            idle,
            in_use: counts.in_use,
            connecting: counts.connecting,
            holders: self.holders(),
        }
    }

    /// Whether [`Pool::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.slots.is_closed()
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A request under way. Dropped, it leaves the queue.
struct Asking<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    timeout: Nanos,
    at: &'static Location<'static>,
    key: Option<Key>,
}

/// What a request was given.
struct Answer<'p, M: Manager> {
    /// With `check`, a suspect until it was checked, and the request still counts as waiting.
    resource: Pooled<'p, M>,
    check: bool,
    wait: Option<Wait>,
}

type Told<M> = GetError<<M as Manager>::Error>;

type NothingIdle<M> = Box<Refused<Failure<M>>>;

impl<'p, M: Manager> Asking<'p, M> {
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer<'p, M>, Told<M>>> {
        let shared = self.shared;
        if self.key.is_some() {
            return self.look(context);
        }
        // A task that finds something idle each time comes here now and then, and lets the others have their turn when its own is over.
        let turn = ready!(poll_proceed(context));
        let patience = || (context.waker().clone(), shared.now());
        let mut patient = None;
        if shared.slots.looks_busy() {
            match shared.slots.wait_at_once(patience(), self.timeout, self.at) {
                Ok(key) => {
                    self.key = Some(key);
                    return Poll::Pending;
                }
                Err(patience) => patient = Some(patience),
            }
        }
        loop {
            let asked = shared.slots.request(&mut patient, self.timeout, self.at, &|| shared.now());
            if matches!(asked.taken, Taken::NeedsPatience) {
                patient = Some(patience());
                continue;
            }
            let polled = self.answer(asked);
            if polled.is_ready() {
                turn.made_progress();
            }
            return polled;
        }
    }

    fn look(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer<'p, M>, Told<M>>> {
        let Some(key) = &mut self.key else { return Poll::Pending };
        match self.shared.slots.look(key, context.waker()) {
            Looked::Waiting { keeper_missing } => {
                self.shared.start(None, keeper_missing);
                Poll::Pending
            }
            Looked::Done(taken) => {
                self.key = None;
                self.answer(Requested { taken, dial: None, keeper_missing: false })
            }
        }
    }

    #[inline]
    fn answer(&mut self, asked: Requested<M::Resource, Failure<M>>) -> Poll<Result<Answer<'p, M>, Told<M>>> {
        let shared = self.shared;
        let starts = asked.dial.is_some() || asked.keeper_missing;
        Poll::Ready(match asked.taken {
            Taken::Got { value, slot, check, wait } => {
                let resource = Pooled::new(self.shared, value, slot, check);
                // Without a runtime it is served all the same.
                if starts && tokio::runtime::Handle::try_current().is_ok() {
                    let mut checking = Checking { shared, end: check.then_some(End::Error) };
                    shared.start(asked.dial, asked.keeper_missing);
                    checking.end = None;
                }
                Ok(Answer { resource, check, wait })
            }
            Taken::Ended(Grant::TimedOut(told)) => {
                Err(GetError::Timeout(Box::new(Autopsy::new(*told, Duration::ZERO, false))))
            }
            Taken::Ended(Grant::Failed(error)) => Err(GetError::Connect(error)),
            Taken::Ended(Grant::Closed | Grant::Resource(..)) => Err(GetError::Closed),
            Taken::Queued(key) => {
                // First, for what follows may panic: the key is given up by `drop`.
                self.key = Some(key);
                if starts {
                    shared.start(asked.dial, asked.keeper_missing);
                }
                return Poll::Pending;
            }
            Taken::NeedsPatience => return Poll::Pending,
        })
    }

    /// Checks what was given, and waits again in the old place for something better, until the time is over.
    async fn check(&mut self, first: Answer<'p, M>) -> Result<Pooled<'p, M>, Told<M>> {
        let shared = self.shared;
        let mut answer = first;
        let mut checked = Duration::ZERO;
        let mut wait = answer.wait;
        loop {
            let mut checking = Checking { shared, end: Some(End::Cancelled) };
            let started = shared.now();
            let own = *wait.get_or_insert_with(|| shared.slots.wait_of(self.timeout, self.at, started));
            let left = Duration::from_nanos(own.deadline.saturating_sub(started));
            let limit = left.min(shared.config.check_timeout);
            checking.end = Some(End::Error);
            let good = {
                let mut check = pin!(shared.manager.check(&mut answer.resource));
                let mut check = pin!(unless_closing(shared, tokio::time::timeout(limit, &mut check)));
                poll_fn(|context| {
                    // A panic is an error, being dropped is being cancelled.
                    checking.end = Some(End::Error);
                    let polled = check.as_mut().poll(context);
                    checking.end = Some(End::Cancelled);
                    polled
                })
                .await
            };
            let now = shared.now();
            checked += Duration::from_nanos(now.saturating_sub(started));
            match good {
                Some(Ok(Ok(()))) => {
                    checking.end(End::Ok);
                    answer.resource.trust();
                    self.served(wait);
                    return Ok(answer.resource);
                }
                Some(Ok(Err(_)) | Err(_)) => {}
                None => {
                    drop(answer);
                    checking.end(End::Error);
                    return Err(GetError::Closed);
                }
            }
            if now >= own.deadline {
                let told = shared.slots.autopsy(&own, now);
                drop(answer);
                checking.end(End::Timeout);
                return Err(GetError::Timeout(Box::new(Autopsy::new(told, checked, true))));
            }
            // Back to the old place first, then the bad one goes: nobody gets in between.
            let mut bad = Some(answer.resource);
            let mut again = true;
            let next = poll_fn(|context| {
                if !std::mem::take(&mut again) {
                    return self.look(context);
                }
                // Before the request is the queue's: cloning may panic.
                let waker = context.waker().clone();
                checking.end = None;
                let asked = shared.slots.requeue(own, waker, shared.now());
                let polled = self.answer(asked);
                // It has had its turn: a panic of what it leaves behind is none of this request's.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(bad.take())));
                polled
            });
            match next.await {
                Ok(next) if next.check => answer = next,
                Ok(next) => {
                    self.served(wait);
                    return Ok(next.resource);
                }
                Err(GetError::Timeout(mut autopsy)) => {
                    autopsy.add_checking(checked);
                    return Err(GetError::Timeout(autopsy));
                }
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    #[cfg_attr(not(feature = "metrics"), expect(clippy::unused_self, reason = "only metrics are told"))]
    fn served(&self, wait: Option<Wait>) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.shared.config.metrics {
            let waited = wait.map_or(0, |wait| self.shared.now().saturating_sub(wait.since));
            metrics.waited(Duration::from_nanos(waited));
        }
        let _ = wait;
    }
}

impl<M: Manager> Drop for Asking<'_, M> {
    fn drop(&mut self) {
        if let Some(mut key) = self.key.take() {
            self.shared.slots.cancel(&mut key);
        }
    }
}

/// A request that counts as waiting while its resource is looked at.
struct Checking<'a, M: Manager> {
    shared: &'a Shared<M>,
    /// How it ends if it is dropped now.
    end: Option<End>,
}

impl<M: Manager> Checking<'_, M> {
    fn end(&mut self, end: End) {
        self.end = None;
        self.shared.slots.end_check(end);
    }
}

impl<M: Manager> Drop for Checking<'_, M> {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            self.shared.slots.end_check(end);
        }
    }
}
