//! The keyed pool: requests, removals, reports.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::config::{KeyedBuilder, KeyedConfig, Time};
use super::dial::{Held, carry_out};
use super::entry::Moment;
use super::error::{KeyedAutopsy, KeyedError};
use super::handle::{Handle, Wire};
use super::status::KeyedStatus;
use super::table::{Event, Found, Live, Order, Removed, Seat, Start, Table, Why};
use crate::error::DialError;
use crate::shared::require_timers;
use crate::slots::Nanos;

/// Makes connections that many use at the same time.
pub trait Connector: Send + Sync + 'static {
    /// A connection, used through `&`.
    type Connection: Send + Sync + 'static;
    /// Why one couldn't be made.
    type Error: Error + Send + Sync + 'static;

    /// Connects to `address`. Runs in a task of its own, for at most the builder's `connect_timeout`.
    ///
    /// # Errors
    /// An error makes the address failing: requests for it are told, and it is tried again in the background.
    fn connect(&self, address: &str) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether a connection is known to be broken, without asking the other side. Called on every request: keep it short.
    fn has_broken(&self, connection: &Self::Connection) -> bool {
        let _ = connection;
        false
    }
}

pub(super) type Failure<C> = Arc<DialError<<C as Connector>::Error>>;
pub(super) type LiveOf<C> = Live<Wire<C>, Failure<C>>;

pub(super) struct Inner<C: Connector> {
    pub(super) table: Table<Wire<C>, Failure<C>>,
    /// Dials hold it as well: the pool may end before they do.
    pub(super) connector: Arc<C>,
    pub(super) config: KeyedConfig,
    pub(super) time: Time,
}

impl<C: Connector> Inner<C> {
    pub(super) fn moment(&self) -> Moment {
        self.time.moment()
    }

    /// Starts tasks that carry out `orders`.
    fn start(self: &Arc<Self>, orders: impl IntoIterator<Item = Order>) {
        // Held all at once: where there is no runtime, none of them is lost.
        let held: Vec<_> = orders.into_iter().map(|order| Held::new(self, order)).collect();
        if held.is_empty() {
            return;
        }
        // In a runtime without timers the one who asks panics, here, and not a task that nobody sees.
        require_timers();
        for held in held {
            tokio::spawn(carry_out(held));
        }
    }
}

impl<C: Connector> Drop for Inner<C> {
    fn drop(&mut self) {
        drop(self.table.close(self.time.now()));
    }
}

/// Shared connections by address. Clones are handles to the same pool, which ends with the last of them; connections live until their last [`Handle`] is dropped.
///
/// An address has at most one connection and at most one dial under way, however many ask. Addresses come and go while others use them: once [`KeyedPool::remove`] has returned, no connection of before is handed
/// out, and adding the address again begins a new generation. One whose dial fails, or whose connections break as soon as they are made, is tried again in the background with growing delays; until it is back, requests
/// for it fail at once and [`KeyedPool::pick`] leaves it out.
pub struct KeyedPool<C: Connector> {
    pub(super) inner: Arc<Inner<C>>,
}

/// An address that was removed.
#[derive(Debug)]
#[must_use = "await `drain` to let those who use the connection finish; dropping it does as well, without waiting"]
pub struct Removal<C: Connector> {
    generation: u64,
    gone: Option<Arc<Event<Failure<C>>>>,
    users: Option<Weak<LiveOf<C>>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Whether the connection, of each address concerned, was closed.
    pub drained: bool,
    /// Handles that are still out.
    pub in_flight: usize,
    /// How long it took.
    pub took: Duration,
}

impl<C: Connector> KeyedPool<C> {
    /// Begins to set up a pool of what `connector` makes.
    pub fn builder(connector: C) -> KeyedBuilder<C> {
        KeyedBuilder::new(connector)
    }

    /// Adds an address, and returns its generation. It is connected by the first request for it, or by the first [`KeyedPool::pick`].
    ///
    /// # Errors
    /// [`KeyedError::AlreadyAdded`], [`KeyedError::Closed`].
    pub fn add(&self, address: &str) -> Result<u64, KeyedError<C::Error>> {
        self.inner.table.add(address).ok_or(KeyedError::Closed)?.map_err(KeyedError::AlreadyAdded)
    }

    /// Removes an address. From now on requests for it fail, those that wait for its dial among them; the dial ends as soon as its task runs. Whoever uses the connection may finish.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`].
    pub fn remove(&self, address: &str) -> Result<Removal<C>, KeyedError<C::Error>> {
        let removed = self.inner.table.remove(address, self.inner.time.now());
        removed.map(Removal::new).ok_or(KeyedError::UnknownAddress)
    }

    /// The connection of an address, within the builder's `timeout` if it has to be made first.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`], [`KeyedError::Failing`], [`KeyedError::ShortLived`], [`KeyedError::Connect`], [`KeyedError::Timeout`] with its [`KeyedAutopsy`], [`KeyedError::Closed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without timers, if it has to connect.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the dial going on for others.
    pub async fn get(&self, address: &str) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.live(address) {
            Some(handle) => Ok(handle),
            None => self.ask(Some(address), self.inner.config.timeout).await,
        }
    }

    /// The connection of an address, within `timeout`. Zero: the one that there is now, or a timeout; the dial that it began goes on for those who come later. Over 95 years: no limit.
    ///
    /// # Errors
    /// As [`KeyedPool::get`].
    ///
    /// # Panics
    /// As [`KeyedPool::get`].
    ///
    /// # Cancel safety
    /// As [`KeyedPool::get`].
    pub async fn get_timeout(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.live(address) {
            Some(handle) => Ok(handle),
            None => self.ask(Some(address), timeout).await,
        }
    }

    /// The connection of an address, if there is one now.
    ///
    /// # Errors
    /// As [`KeyedPool::get`], and [`KeyedError::NotConnected`]. It starts nothing: [`KeyedPool::get`] does.
    #[inline]
    pub fn try_get(&self, address: &str) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.live(address) {
            Some(handle) => Ok(handle),
            None => self.not_connected(Some(address)),
        }
    }

    /// The connection that the fewest use at this moment, of all addresses; in turn among equals. Addresses that aren't connected yet are, in the background. If none is
    /// connected it waits for the first, within the builder's `timeout`.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`] if there are no addresses, also if the last one is removed meanwhile; [`KeyedError::Timeout`] with its [`KeyedAutopsy`], [`KeyedError::Closed`].
    ///
    /// # Panics
    /// As [`KeyedPool::get`].
    ///
    /// # Cancel safety
    /// As [`KeyedPool::get`].
    pub async fn pick(&self) -> Result<Handle<C>, KeyedError<C::Error>> {
        self.pick_timeout(self.inner.config.timeout).await
    }

    /// As [`KeyedPool::pick`], within `timeout`. Zero: one that there is now, or a timeout; dials that it began go on.
    ///
    /// # Errors
    /// As [`KeyedPool::pick`].
    ///
    /// # Panics
    /// As [`KeyedPool::get`].
    ///
    /// # Cancel safety
    /// As [`KeyedPool::get`].
    pub async fn pick_timeout(&self, timeout: Duration) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.least_used(true) {
            Some(handle) => Ok(handle),
            None => self.ask(None, timeout).await,
        }
    }

    /// As [`KeyedPool::pick`], if there is a connection now. It starts nothing.
    ///
    /// # Errors
    /// As [`KeyedPool::pick`], and [`KeyedError::NotConnected`].
    #[inline]
    pub fn try_pick(&self) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.least_used(false) {
            Some(handle) => Ok(handle),
            None => self.not_connected(None),
        }
    }

    /// How the pool stands, at one moment.
    pub fn status(&self) -> KeyedStatus {
        KeyedStatus::new(self.inner.table.status(self.inner.time.now()))
    }

    /// Closes the pool: removes every address, and waits at most for `within` until all connections are closed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Once polled, the pool is closed.
    pub async fn close(&self, within: Duration) -> DrainReport {
        let started = Instant::now();
        let mut report = DrainReport { drained: true, in_flight: 0, took: Duration::ZERO };
        let closed = self.inner.table.close(self.inner.time.now());
        let removals: Vec<Removal<C>> = closed.into_iter().map(Removal::new).collect();
        for removal in removals {
            let one = removal.drain(within.saturating_sub(started.elapsed())).await;
            report.drained &= one.drained;
            report.in_flight += one.in_flight;
        }
        report.took = started.elapsed();
        report
    }

    /// What most requests want: the connection that there is.
    #[inline]
    fn live(&self, address: &str) -> Option<Handle<C>> {
        let handle = self.unbroken(self.inner.table.live(address)?);
        #[cfg(feature = "metrics")]
        self.served_at_once(handle.is_some());
        handle
    }

    #[inline]
    fn least_used(&self, asks: bool) -> Option<Handle<C>> {
        let handle = self.unbroken(self.inner.table.pick(asks)?);
        #[cfg(feature = "metrics")]
        self.served_at_once(handle.is_some());
        handle
    }

    #[cfg(feature = "metrics")]
    #[inline]
    fn served_at_once(&self, served: bool) {
        if let Some(metrics) = self.inner.config.metrics.as_ref().filter(|_| served) {
            metrics.served_at_once();
        }
    }

    #[inline]
    fn unbroken(&self, live: Arc<LiveOf<C>>) -> Option<Handle<C>> {
        if self.inner.connector.has_broken(&live.connection.connection) {
            live.mark_broken();
            return None;
        }
        Some(Handle::new(live))
    }

    /// Of an address, or of all: why there is no connection now.
    #[cold]
    fn not_connected(&self, address: Option<&str>) -> Result<Handle<C>, KeyedError<C::Error>> {
        let found = match address {
            Some(address) => self.inner.table.look_up(address, None).0,
            None => self.inner.table.pick_or_order(None).0,
        };
        let answer = match found {
            Found::Live(live) => self.unbroken(live).ok_or(KeyedError::NotConnected),
            Found::Wait { .. } => Err(KeyedError::NotConnected),
            Found::Failing { why, retry_at } => Err(self.failing(why, retry_at)),
            Found::Unknown => Err(KeyedError::UnknownAddress),
            Found::Closed => Err(KeyedError::Closed),
        };
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.inner.config.metrics {
            metrics.begin().end(&answer);
        }
        answer
    }

    /// The connection of an address, or of any, which may have to be made.
    async fn ask(&self, address: Option<&str>, timeout: Duration) -> Result<Handle<C>, KeyedError<C::Error>> {
        #[cfg(feature = "metrics")]
        let pending = self.inner.config.metrics.as_ref().map(super::metrics::KeyedMetrics::begin);
        let answer = self.wait_for(address, timeout).await;
        #[cfg(feature = "metrics")]
        if let Some(pending) = pending {
            pending.end(&answer);
        }
        answer
    }

    async fn wait_for(
        &self,
        address: Option<&str>,
        timeout: Duration,
    ) -> Result<Handle<C>, KeyedError<C::Error>> {
        let mut wait = Wait { inner: &self.inner, address, timeout, begun: None };
        loop {
            let asks = Some(self.inner.moment());
            let found = if let Some(address) = address {
                let (found, order) = self.inner.table.look_up(address, asks);
                self.inner.start(order);
                found
            } else {
                let (found, orders) = self.inner.table.pick_or_order(asks);
                self.inner.start(orders);
                found
            };
            match found {
                Found::Live(live) => {
                    if let Some(handle) = self.unbroken(live) {
                        return Ok(handle);
                    }
                }
                Found::Wait { event, due } => {
                    if let Some(failure) = wait.until(&event, due).await? {
                        return Err(KeyedError::Connect(failure));
                    }
                }
                Found::Failing { why, retry_at } => return Err(self.failing(why, retry_at)),
                Found::Unknown => return Err(KeyedError::UnknownAddress),
                Found::Closed => return Err(KeyedError::Closed),
            }
        }
    }

    fn failing(&self, why: Why<Failure<C>>, retry_at: Nanos) -> KeyedError<C::Error> {
        let retry_in = Duration::from_nanos(retry_at.saturating_sub(self.inner.time.now()));
        match why {
            Why::Dial(failure) => KeyedError::Failing(failure, retry_in),
            Why::ShortLived(lived) => KeyedError::ShortLived { lived: Duration::from_nanos(lived), retry_in },
        }
    }
}

/// The waiting of a request, which may be for more than one event: one deadline, which begins with the first.
struct Wait<'a, C: Connector> {
    inner: &'a Inner<C>,
    address: Option<&'a str>,
    timeout: Duration,
    begun: Option<(Instant, Start)>,
}

impl<C: Connector> Wait<'_, C> {
    /// Waits for an event, or until it is time to look again.
    async fn until(
        &mut self,
        event: &Event<Failure<C>>,
        due: Nanos,
    ) -> Result<Option<Failure<C>>, KeyedError<C::Error>> {
        let Inner { table, time, .. } = self.inner;
        let now = Instant::now();
        let begin = || (now, table.start(self.address, time.now()));
        let (since, start) = self.begun.get_or_insert_with(begin);
        // Further off than tokio can count is no deadline; a century will do.
        let deadline = *since + self.timeout.min(Duration::from_secs(3_000_000_000));
        let look_again = time.at(due).min(deadline);
        // Also when one thing happens after the other without a pause.
        if now < deadline
            && let Ok(happened) = timeout_at(look_again, happens(event)).await
        {
            return Ok(happened);
        }
        if Instant::now() < deadline {
            return Ok(None);
        }
        let vain = table.in_vain(self.address, start, time.now());
        Err(KeyedError::Timeout(Box::new(KeyedAutopsy::new(since.elapsed(), vain))))
    }
}

/// Waits for an event; dropped, it leaves its seat.
async fn happens<F: Clone>(event: &Event<F>) -> Option<F> {
    struct Seated<'a, F: Clone>(&'a Event<F>, Seat);

    impl<F: Clone> Drop for Seated<'_, F> {
        fn drop(&mut self) {
            self.0.leave(&mut self.1);
        }
    }

    let mut seated = Seated(event, Seat::new());
    poll_fn(|context| seated.0.poll(&mut seated.1, context.waker())).await
}

impl<C: Connector> Removal<C> {
    fn new(mut removed: Removed<Wire<C>, Failure<C>>) -> Self {
        let live = removed.live.take();
        let users = live.as_ref().map(Arc::downgrade);
        // The pool's own use ends here.
        drop(live);
        Self { generation: removed.generation, gone: removed.gone.take(), users }
    }

    /// The generation that ended.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits until the last handle is dropped and the connection closed, at most for `within`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn drain(self, within: Duration) -> DrainReport {
        let started = Instant::now();
        let drained = match &self.gone {
            None => true,
            Some(gone) => tokio::time::timeout(within, happens(gone)).await.is_ok(),
        };
        let in_flight = self.users.map_or(0, |users| users.strong_count());
        DrainReport { drained, in_flight, took: started.elapsed() }
    }
}

impl<C: Connector> Clone for KeyedPool<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Connector> fmt::Debug for KeyedPool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Event<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}
