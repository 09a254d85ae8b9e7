//! The task that has an order to dial: it dials, and after a failure sleeps and tries again, until it succeeds, the order is withdrawn, or the pool is gone.
//!
//! It doesn't hold the pool, which therefore ends with its last handle. At each poll it asks whether its order still stands, and says by when it is heard of next.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::config::{KeyedConfig, Time};
use super::entry::PATIENCE;
use super::handle::Wire;
use super::pool::{Connector, Inner};
use super::table::Order;
use crate::budget::Turn;
use crate::error::DialError;
use crate::shared::nanos;
use crate::slots::Nanos;

/// Who waits for a turn is heard of so often.
const BEAT: Duration = Duration::from_secs(1);

/// An order, which others can have should the task that holds it end early.
pub(super) struct Held<C: Connector> {
    pool: Weak<Inner<C>>,
    connector: Arc<C>,
    config: KeyedConfig,
    time: Time,
    order: Order,
    ended: bool,
}

impl<C: Connector> Held<C> {
    pub(super) fn new(pool: &Arc<Inner<C>>, order: Order) -> Self {
        Self {
            pool: Arc::downgrade(pool),
            connector: Arc::clone(&pool.connector),
            config: pool.config.clone(),
            time: pool.time,
            order,
            ended: false,
        }
    }

    /// So much from now, and some patience.
    fn due_in(&self, time: Duration) -> Nanos {
        self.time.now().saturating_add(nanos(time)).saturating_add(PATIENCE)
    }

    /// Tries until there is a connection, or no need for one.
    async fn carry_out(&self) -> Option<()> {
        let mut rest_until = self.order.not_before;
        loop {
            if let Some(until) = rest_until {
                let rest = Duration::from_nanos(until.saturating_sub(self.time.now()));
                self.while_it_stands(until.saturating_add(PATIENCE), tokio::time::sleep(rest)).await?;
                if !self.pool.upgrade()?.table.try_again(&self.order, self.time.now()) {
                    return None;
                }
            }
            rest_until = Some(self.attempt().await?);
        }
    }

    /// One dial. Tells when to try again, if at all.
    async fn attempt(&self) -> Option<Nanos> {
        let turn = self.turn().await?;
        self.pool.upgrade()?.table.turn(&self.order, self.time.now());
        let limit = self.config.connect_timeout;
        #[cfg(feature = "metrics")]
        let began = self.time.now();
        // In a future of its own: it may also panic before there is one.
        let mut dial = Box::pin(unpanicked(async { self.connector.connect(&self.order.address).await }));
        let dialled = self.while_it_stands(self.due_in(limit), timeout(limit, dial.as_mut())).await;
        // It may panic as well when it is dropped because it took too long.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(dial)));
        drop(turn);
        let dialled = dialled?;
        let pool = self.pool.upgrade()?;
        let now = self.time.now();
        let error = match dialled {
            Ok(Some(Ok(connection))) => {
                #[cfg(feature = "metrics")]
                if let Some(metrics) = &self.config.metrics {
                    metrics.connected(Duration::from_nanos(now.saturating_sub(began)));
                }
                // A connection that came too late is closed here.
                drop(pool.table.dialled(&self.order, Wire::new(connection, &self.config), now));
                return None;
            }
            Ok(Some(Err(error))) => DialError::Failed(error),
            Ok(None) => DialError::Panicked,
            Err(_) if dropped.is_err() => DialError::Panicked,
            Err(_) => DialError::TimedOut(limit),
        };
        pool.table.failed(&self.order, Arc::new(error), pool.moment())
    }

    /// A turn of the budget. Who waits for one shows now and then that it still does.
    async fn turn(&self) -> Option<Turn> {
        let mut turn = pin!(self.config.budget.turn());
        loop {
            if let Ok(turn) = self.while_it_stands(self.due_in(BEAT), timeout(BEAT, turn.as_mut())).await? {
                return Some(turn);
            }
        }
    }

    /// What `work` comes to; `None` as soon as the order is withdrawn or the pool gone.
    async fn while_it_stands<T>(&self, due: Nanos, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            // First, so that a dial that nobody wants does nothing more.
            let stands = |pool: Arc<Inner<C>>| pool.table.stands(&self.order, context.waker().clone(), due);
            if !self.pool.upgrade().is_some_and(stands) {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

impl<C: Connector> Drop for Held<C> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(pool) = self.pool.upgrade()
        {
            pool.table.abandoned(&self.order, self.time.now());
        }
    }
}

pub(super) async fn carry_out<C: Connector>(mut held: Held<C>) {
    // Whether it came to a connection or isn't wanted any more: the order has ended.
    let _ = held.carry_out().await;
    held.ended = true;
}

/// What `work` comes to; `None` if it panics.
async fn unpanicked<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
