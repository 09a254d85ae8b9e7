//! A manager whose dials and checks do what a test says, and that counts what is alive.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast_pool::{Manager, Status};

/// What a dial or a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Succeed,
    SucceedAfter(Duration),
    Fail,
    FailAfter(Duration),
    FailForGood,
    Hang,
    Panic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) for_good: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

pub(crate) const REFUSED: Refused = Refused { for_good: false };

/// Connections that are open, and the most that ever were.
#[derive(Debug, Default)]
pub(crate) struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
    dials: AtomicUsize,
}

impl Open {
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: usize,
    pub(crate) broken: bool,
    open: Arc<Open>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Once a script is at its end, everything succeeds.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) open: Arc<Open>,
    pub(crate) dials: Mutex<VecDeque<Step>>,
    pub(crate) checks: Mutex<VecDeque<Step>>,
    pub(crate) checked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(dials: impl IntoIterator<Item = Step>, checks: impl IntoIterator<Item = Step>) -> Self {
        Self {
            dials: Mutex::new(dials.into_iter().collect()),
            checks: Mutex::new(checks.into_iter().collect()),
            ..Self::default()
        }
    }
}

async fn follow(step: Step) -> Result<(), Refused> {
    match step {
        Step::Succeed => Ok(()),
        Step::SucceedAfter(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Step::Fail => Err(REFUSED),
        Step::FailAfter(time) => {
            tokio::time::sleep(time).await;
            Err(REFUSED)
        }
        Step::FailForGood => Err(Refused { for_good: true }),
        Step::Hang => std::future::pending().await,
        Step::Panic => panic!("planted"),
    }
}

impl Manager for Scripted {
    type Resource = Connection;
    type Error = Refused;

    async fn connect(&self) -> Result<Connection, Refused> {
        let id = self.open.dials.fetch_add(1, Ordering::SeqCst);
        let step = self.dials.lock().unwrap().pop_front().unwrap_or(Step::Succeed);
        follow(step).await?;
        let now = self.open.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.open.most.fetch_max(now, Ordering::SeqCst);
        Ok(Connection { id, broken: false, open: Arc::clone(&self.open) })
    }

    async fn check(&self, _: &mut Connection) -> Result<(), Refused> {
        self.checked.fetch_add(1, Ordering::SeqCst);
        let step = self.checks.lock().unwrap().pop_front().unwrap_or(Step::Succeed);
        follow(step).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.broken
    }

    fn is_retryable(&self, error: &Refused) -> bool {
        !error.for_good
    }
}

#[track_caller]
pub(crate) fn assert_balanced(status: &Status) {
    assert_eq!(status.size, status.idle + status.in_use + status.connecting, "{status:?}");
    let ended = status.ok + status.error + status.timeout + status.cancelled;
    assert_eq!(status.started, ended + status.waiting, "{status:?}");
}

/// Lets the tasks of the current runtime run.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
