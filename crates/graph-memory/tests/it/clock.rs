//! A clock that moves only when a test moves it.

use std::ops::Deref;
use std::sync::Arc;

use steadfast_graph_memory::Clock;
use steadfast_testkit::ManualClock;

/// The testkit's clock, in Unix milliseconds, for a store.
#[derive(Debug)]
pub(crate) struct StoreClock(ManualClock);

impl StoreClock {
    pub(crate) fn at(now_ms: u64) -> Arc<Self> {
        Arc::new(Self(ManualClock::at(now_ms)))
    }
}

impl Deref for StoreClock {
    type Target = ManualClock;

    fn deref(&self) -> &ManualClock {
        &self.0
    }
}

impl Clock for StoreClock {
    fn now_ms(&self) -> u64 {
        self.0.now()
    }
}
