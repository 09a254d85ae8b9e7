//! The task that has an order to dial: it dials, and after a failure sleeps and tries again, until it succeeds, the order is withdrawn, or the pool is gone.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::pool::{Connector, Inner};
use super::table::Order;
use crate::budget::full_jitter;
use crate::error::DialError;
use crate::shared::nanos;

/// An order, which others can have should the task that holds it end early.
pub(super) struct Held<C: Connector> {
    pool: Weak<Inner<C>>,
    order: Order,
    ended: bool,
}

impl<C: Connector> Held<C> {
    pub(super) fn new(pool: &Arc<Inner<C>>, order: Order) -> Self {
        Self { pool: Arc::downgrade(pool), order, ended: false }
    }
}

impl<C: Connector> Drop for Held<C> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(pool) = self.pool.upgrade()
        {
            pool.table.abandoned(&self.order);
        }
    }
}

pub(super) async fn carry_out<C: Connector>(mut held: Held<C>) {
    loop {
        let Some(retry_at) = attempt(&held).await else { break };
        let rest = {
            let Some(pool) = held.pool.upgrade() else { break };
            Duration::from_nanos(retry_at.saturating_sub(pool.now()))
        };
        // Without holding the pool: it may go meanwhile.
        if while_it_stands(&held, tokio::time::sleep(rest)).await.is_none() {
            break;
        }
        if !held.pool.upgrade().is_some_and(|pool| pool.table.try_again(&held.order)) {
            break;
        }
    }
    held.ended = true;
}

/// One dial. Tells when to try again, if at all.
async fn attempt<C: Connector>(held: &Held<C>) -> Option<u64> {
    let pool = held.pool.upgrade()?;
    let limit = pool.config.connect_timeout;
    let dialled = while_it_stands(held, async {
        let turn = pool.config.budget.turn().await;
        // In a future of its own: it may also panic before there is one.
        let dialled =
            timeout(limit, unpanicked(async { pool.connector.connect(&held.order.address).await })).await;
        drop(turn);
        dialled
    });
    let error = match dialled.await? {
        Ok(Some(Ok(connection))) => {
            // A connection that came too late is closed here.
            drop(pool.table.dialled(&held.order, connection));
            return None;
        }
        Ok(Some(Err(error))) => DialError::Failed(error),
        Ok(None) => DialError::Panicked,
        Err(_) => DialError::TimedOut(limit),
    };
    let delay = |failures| nanos(full_jitter(pool.config.backoff, pool.config.backoff_max, failures));
    pool.table.failed(&held.order, Arc::new(error), pool.now(), delay)
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

/// What `work` comes to; `None` as soon as the order is withdrawn or the pool gone.
async fn while_it_stands<C: Connector, T>(held: &Held<C>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        let stands =
            held.pool.upgrade().is_some_and(|pool| pool.table.stands(&held.order, context.waker().clone()));
        if stands { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}
