//! The keyed pool's handles, requests and reports.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dial::{Held, carry_out};
use super::table::{AddressStatus, Event, Found, Live, Removed, Seat, Table};
use crate::budget::DialBudget;
use crate::config::check_positive;
use crate::error::{DialError, InvalidConfig};
use crate::shared::nanos;
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

type Failure<C> = Arc<DialError<<C as Connector>::Error>>;
type LiveOf<C> = Live<<C as Connector>::Connection, Failure<C>>;

/// Settings of a [`KeyedPool`].
#[derive(Debug)]
pub struct KeyedBuilder<C> {
    connector: C,
    config: KeyedConfig,
}

#[derive(Clone, Debug)]
pub(super) struct KeyedConfig {
    timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) backoff: Duration,
    pub(super) backoff_max: Duration,
    pub(super) budget: DialBudget,
}

impl<C: Connector> KeyedBuilder<C> {
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

    /// The pool, without addresses. No runtime is needed yet.
    ///
    /// # Errors
    /// A `connect_timeout` or a `backoff` of 0.
    pub fn build(self) -> Result<KeyedPool<C>, InvalidConfig> {
        check_positive("connect_timeout", Some(self.config.connect_timeout))?;
        check_positive("backoff", Some(self.config.backoff))?;
        let Self { connector, config } = self;
        let inner = Inner { table: Table::new(), connector, config, origin: Instant::now() };
        Ok(KeyedPool { inner: Arc::new(inner) })
    }
}

pub(super) struct Inner<C: Connector> {
    pub(super) table: Table<C::Connection, Failure<C>>,
    pub(super) connector: C,
    pub(super) config: KeyedConfig,
    origin: Instant,
}

impl<C: Connector> Inner<C> {
    pub(super) fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    fn start(held: Held<C>) {
        tokio::spawn(carry_out(held));
    }
}

impl<C: Connector> Drop for Inner<C> {
    fn drop(&mut self) {
        drop(self.table.close());
    }
}

/// Shared connections by address. Clones are handles to the same pool, which ends with the last of them, or a dial under way; connections live until their last [`Handle`] is dropped.
///
/// An address has at most one connection and at most one dial under way, however many ask. Addresses come and go while others use them: once [`KeyedPool::remove`] has returned, no connection of before is handed
/// out, and adding the address again begins a new generation. One whose dial fails is tried again in the background with growing delays; until it is back, requests for it fail at once and [`KeyedPool::pick`] leaves it out.
pub struct KeyedPool<C: Connector> {
    inner: Arc<Inner<C>>,
}

/// A use of a shared connection. How many there are is what [`KeyedPool::pick`] goes by, so drop it when the request is over.
#[must_use = "dropping it ends the use"]
pub struct Handle<C: Connector> {
    live: Arc<LiveOf<C>>,
}

/// Why a request got no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyedError<E> {
    /// The address isn't in the pool; of [`KeyedPool::pick`]: no address is.
    UnknownAddress,
    /// The dial that this request waited for came to nothing. It is tried again in the background.
    Connect(Arc<DialError<E>>),
    /// The address is failing, with the last dial's error and the time until the next one.
    Failing(Arc<DialError<E>>, Duration),
    /// Nothing was connected within the time, which is told, with an error of an address that is failing.
    Timeout(Duration, Option<Arc<DialError<E>>>),
    /// [`KeyedPool::try_get`] or [`KeyedPool::try_pick`] found no connection.
    NotConnected,
    /// The address is in the pool already, under this generation.
    AlreadyAdded(u64),
    /// The pool is closed.
    Closed,
}

/// How the pool stands, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// Each address.
    pub addresses: Vec<AddressStatus>,
    /// Addresses ever added: `addresses.len() + removed`.
    pub added: u64,
    /// Addresses ever removed.
    pub removed: u64,
    /// Dials ever begun.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    /// Dials that came to a connection.
    pub connected: u64,
    /// Dials under way, as many as addresses in state `Dialling`.
    pub dialling: usize,
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
        let config = KeyedConfig {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            budget: DialBudget::new(16),
        };
        KeyedBuilder { connector, config }
    }

    /// Adds an address, and returns its generation. It is connected by the first request for it, or by the first [`KeyedPool::pick`].
    ///
    /// # Errors
    /// [`KeyedError::AlreadyAdded`], [`KeyedError::Closed`].
    pub fn add(&self, address: &str) -> Result<u64, KeyedError<C::Error>> {
        self.inner.table.add(address).ok_or(KeyedError::Closed)?.map_err(KeyedError::AlreadyAdded)
    }

    /// Removes an address. From now on requests for it fail, those that wait for its dial among them; the dial is stopped. Whoever uses the connection may finish.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`].
    pub fn remove(&self, address: &str) -> Result<Removal<C>, KeyedError<C::Error>> {
        self.inner.table.remove(address).map(Removal::new).ok_or(KeyedError::UnknownAddress)
    }

    /// The connection of an address, within the builder's `timeout` if it has to be made first.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`], [`KeyedError::Failing`], [`KeyedError::Connect`], [`KeyedError::Timeout`], [`KeyedError::Closed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, if it has to connect.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the dial going on for others.
    pub async fn get(&self, address: &str) -> Result<Handle<C>, KeyedError<C::Error>> {
        let mut deadline = None;
        loop {
            match self.inner.table.look_up(address, true) {
                Found::Live(live) => {
                    if let Some(handle) = self.unbroken(live) {
                        return Ok(handle);
                    }
                }
                Found::Wait(event, order) => {
                    if let Some(order) = order {
                        Inner::start(Held::new(&self.inner, order));
                    }
                    if let Some(failure) = self.wait(&event, &mut deadline).await? {
                        return Err(KeyedError::Connect(failure));
                    }
                }
                Found::Failing(failure, retry_at) => return Err(self.failing(failure, retry_at)),
                Found::Unknown => return Err(KeyedError::UnknownAddress),
                Found::Closed => return Err(KeyedError::Closed),
            }
        }
    }

    /// The connection of an address, if there is one now.
    ///
    /// # Errors
    /// As [`KeyedPool::get`], and [`KeyedError::NotConnected`]. It starts nothing: [`KeyedPool::get`] does.
    #[inline]
    pub fn try_get(&self, address: &str) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.inner.table.look_up(address, false) {
            Found::Live(live) => self.unbroken(live).ok_or(KeyedError::NotConnected),
            Found::Wait(..) => Err(KeyedError::NotConnected),
            Found::Failing(failure, retry_at) => Err(self.failing(failure, retry_at)),
            Found::Unknown => Err(KeyedError::UnknownAddress),
            Found::Closed => Err(KeyedError::Closed),
        }
    }

    /// The connection that the fewest use at this moment, of all addresses; in turn among equals. Addresses that aren't connected yet are, in the background. If none is
    /// connected it waits for the first, within the builder's `timeout`.
    ///
    /// # Errors
    /// [`KeyedError::UnknownAddress`] if there are no addresses, [`KeyedError::Timeout`], [`KeyedError::Closed`].
    ///
    /// # Panics
    /// As [`KeyedPool::get`].
    ///
    /// # Cancel safety
    /// As [`KeyedPool::get`].
    pub async fn pick(&self) -> Result<Handle<C>, KeyedError<C::Error>> {
        let mut deadline = None;
        loop {
            let picked = self.inner.table.pick(true);
            // Held all at once: where there is no runtime, none of them is lost.
            let held: Vec<_> = picked.orders.into_iter().map(|order| Held::new(&self.inner, order)).collect();
            held.into_iter().for_each(Inner::start);
            match picked.found {
                Found::Live(live) => {
                    if let Some(handle) = self.unbroken(live) {
                        return Ok(handle);
                    }
                }
                Found::Wait(event, _) => {
                    self.wait(&event, &mut deadline).await?;
                }
                Found::Failing(failure, retry_at) => return Err(self.failing(failure, retry_at)),
                Found::Unknown => return Err(KeyedError::UnknownAddress),
                Found::Closed => return Err(KeyedError::Closed),
            }
        }
    }

    /// As [`KeyedPool::pick`], if there is a connection now. It starts nothing.
    ///
    /// # Errors
    /// As [`KeyedPool::pick`], and [`KeyedError::NotConnected`].
    #[inline]
    pub fn try_pick(&self) -> Result<Handle<C>, KeyedError<C::Error>> {
        match self.inner.table.pick(false).found {
            Found::Live(live) => self.unbroken(live).ok_or(KeyedError::NotConnected),
            Found::Wait(..) => Err(KeyedError::NotConnected),
            Found::Failing(failure, retry_at) => Err(self.failing(failure, retry_at)),
            Found::Unknown => Err(KeyedError::UnknownAddress),
            Found::Closed => Err(KeyedError::Closed),
        }
    }

    /// How the pool stands, at one moment.
    pub fn status(&self) -> KeyedStatus {
        let (addresses, totals) = self.inner.table.status();
        KeyedStatus {
            addresses,
            added: totals.added,
            removed: totals.removed,
            dials: totals.dials,
            dial_failures: totals.dial_failures,
            connected: totals.connected,
            dialling: totals.dialling,
        }
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
        let removals: Vec<Removal<C>> = self.inner.table.close().into_iter().map(Removal::new).collect();
        for removal in removals {
            let one = removal.drain(within.saturating_sub(started.elapsed())).await;
            report.drained &= one.drained;
            report.in_flight += one.in_flight;
        }
        report.took = started.elapsed();
        report
    }

    #[inline]
    fn unbroken(&self, live: Arc<LiveOf<C>>) -> Option<Handle<C>> {
        if self.inner.connector.has_broken(&live.connection) {
            live.mark_broken();
            return None;
        }
        Some(Handle { live })
    }

    fn failing(&self, failure: Failure<C>, retry_at: Nanos) -> KeyedError<C::Error> {
        KeyedError::Failing(failure, Duration::from_nanos(retry_at.saturating_sub(self.inner.now())))
    }

    /// Waits for an event until the deadline, which begins with the first wait.
    async fn wait(
        &self,
        event: &Event<Failure<C>>,
        deadline: &mut Option<Instant>,
    ) -> Result<Option<Failure<C>>, KeyedError<C::Error>> {
        let limit = self.inner.config.timeout;
        // Further off than tokio can count is no deadline; a century will do.
        let until =
            *deadline.get_or_insert_with(|| Instant::now() + limit.min(Duration::from_secs(3_000_000_000)));
        timeout_at(until, happens(event))
            .await
            .map_err(|_| KeyedError::Timeout(limit, self.inner.table.any_failure()))
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
    fn new(mut removed: Removed<C::Connection, Failure<C>>) -> Self {
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

impl<C: Connector> Handle<C> {
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

impl<C: Connector> Deref for Handle<C> {
    type Target = C::Connection;

    #[inline]
    fn deref(&self) -> &C::Connection {
        &self.live.connection
    }
}

impl<C: Connector> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self { live: Arc::clone(&self.live) }
    }
}

impl<C: Connector> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { live } = self;
        f.debug_struct("Handle")
            .field("address", &live.address)
            .field("generation", &live.generation)
            .finish()
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

impl<C, F: Clone> fmt::Debug for Live<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Event<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}

impl<E: fmt::Display> fmt::Display for KeyedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAddress => f.write_str("the address isn't in the pool"),
            Self::Connect(error) => write!(f, "connecting failed: {error}"),
            Self::Failing(error, left) => {
                write!(f, "the address is failing ({error}); the next attempt is in {left:?}")
            }
            Self::Timeout(limit, None) => write!(f, "no connection after {limit:?}"),
            Self::Timeout(limit, Some(error)) => write!(f, "no connection after {limit:?}: {error}"),
            Self::NotConnected => f.write_str("there is no connection"),
            Self::AlreadyAdded(generation) => {
                write!(f, "the address is in the pool already, as generation {generation}")
            }
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: Error + 'static> Error for KeyedError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Failing(error, _) | Self::Timeout(_, Some(error)) => Some(&**error),
            _ => None,
        }
    }
}

impl<E> KeyedError<E> {
    /// Whether the same request may go better later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Failing(..) | Self::Timeout(..) | Self::NotConnected)
    }
}
