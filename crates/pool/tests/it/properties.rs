//! Any history of requests, cancellations after any number of polls, returns, faults and resizings, in stopped time: numbers balance at each step, nobody overtakes, and in the end nothing is left.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use steadfast_pool::{DialBudget, GetError, Pool, Pooled, Stage};
use steadfast_testkit::cases;
use tokio::time::Instant;

use crate::scripted::{Scripted, Step, assert_balanced, settle};

#[derive(Clone, Debug)]
enum Op {
    /// A request that is dropped after so many polls, with its time in milliseconds.
    Get {
        polls: usize,
        timeout: u64,
    },
    TryGet,
    Return(usize),
    ReturnBroken(usize),
    Detach(usize),
    Advance(u64),
    Resize(usize),
    Retain(usize),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1_usize..12, prop_oneof![Just(0_u64), 1_u64..300, Just(100_000)])
            .prop_map(|(polls, timeout)| Op::Get { polls, timeout }),
        3 => Just(Op::Get { polls: usize::MAX, timeout: 100_000 }),
        1 => Just(Op::TryGet),
        5 => any::<usize>().prop_map(Op::Return),
        1 => any::<usize>().prop_map(Op::ReturnBroken),
        1 => any::<usize>().prop_map(Op::Detach),
        3 => prop_oneof![0_u64..60, 400_u64..3_000].prop_map(Op::Advance),
        1 => (1_usize..5).prop_map(Op::Resize),
        1 => (1_usize..4).prop_map(Op::Retain),
    ]
    .boxed()
}

/// Closing ends a history's interesting part, so few have it, and late.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    (prop::collection::vec(op(), 1..60), prop::bool::weighted(0.2), prop::collection::vec(op(), 1..12))
        .prop_map(|(mut ops, closes, after)| {
            if closes {
                ops.push(Op::Close);
                ops.extend(after);
            }
            ops
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Succeed),
        3 => (1_u64..200).prop_map(|time| Step::SucceedAfter(Duration::from_millis(time))),
        2 => Just(Step::Fail),
        1 => Just(Step::FailForGood),
        1 => Just(Step::Hang),
        1 => Just(Step::Panic),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    max: usize,
    idle_min: usize,
    checks_too: bool,
    dials: Vec<Step>,
    checks: Vec<Step>,
    ops: Vec<Op>,
}

fn case() -> impl Strategy<Value = Case> {
    (
        1_usize..4,
        0_usize..2,
        any::<bool>(),
        prop::collection::vec(step(), 0..12),
        prop::collection::vec(step(), 0..12),
        ops(),
    )
        .prop_map(|(max, idle_min, checks_too, dials, checks, ops)| {
            // A check runs in the task that asked, so its panic would be the test's.
            let checks = checks.into_iter().map(|step| match step {
                Step::FailForGood | Step::Panic => Step::Fail,
                step => step,
            });
            Case { max, idle_min: idle_min.min(max), checks_too, dials, checks: checks.collect(), ops }
        })
}

type Answer<'p> = Result<Pooled<'p, Scripted>, GetError<crate::scripted::Refused>>;

struct Asked<'a> {
    future: Pin<Box<dyn Future<Output = Answer<'a>> + 'a>>,
    polls_left: usize,
    /// When it was first polled, and what time it has from then on.
    since: Instant,
    timeout: Duration,
}

/// What the requests came to, by the test's own count.
#[derive(Default, Debug, PartialEq, Eq)]
struct Ends {
    started: u64,
    ok: u64,
    error: u64,
    timeout: u64,
    cancelled: u64,
}

struct Model<'a> {
    pool: &'a Pool<Scripted>,
    asked: Vec<Asked<'a>>,
    held: Vec<Pooled<'a, Scripted>>,
    ends: Ends,
    in_order: bool,
    closed: bool,
}

/// How late an answer may be: tokio's timers are of a millisecond.
const LATE: Duration = Duration::from_millis(2);

impl<'a> Model<'a> {
    /// Polls everything that waits, then drops what has been polled often enough.
    fn poll_all(&mut self) {
        let mut waiting = Vec::new();
        let mut latest_served = None;
        for (place, mut asked) in std::mem::take(&mut self.asked).into_iter().enumerate() {
            asked.polls_left -= 1;
            match asked.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {
                    assert!(!self.closed, "P6: a request waits on a closed pool");
                    let waited = asked.since.elapsed();
                    assert!(waited <= asked.timeout + LATE, "P5: unanswered {waited:?} after it came");
                    if asked.polls_left == 0 {
                        self.ends.cancelled += 1;
                    } else {
                        waiting.push((place, asked));
                    }
                }
                Poll::Ready(answer) => {
                    if answer.is_ok() {
                        latest_served = Some(place);
                    }
                    if let Err(GetError::Timeout(autopsy)) = &answer {
                        let (waited, timeout) = (autopsy.waited, asked.timeout);
                        // A check goes on only while the request is polled, which this test does now and then.
                        let checks = autopsy.stage == Stage::Checking;
                        assert!(waited >= timeout, "P5: timed out early: {autopsy}");
                        assert!(waited <= timeout + LATE || checks, "P5: late: {autopsy}");
                    }
                    self.note(answer);
                }
            }
        }
        if self.in_order
            && let (Some(served), Some((first, _))) = (latest_served, waiting.first())
        {
            assert!(served < *first, "P4: request {served} was served before {first}");
        }
        self.asked = waiting.into_iter().map(|(_, asked)| asked).collect();
    }

    fn note(&mut self, answer: Answer<'a>) {
        match answer {
            Ok(pooled) => {
                self.ends.ok += 1;
                self.held.push(pooled);
            }
            Err(GetError::Timeout(autopsy)) => {
                assert_eq!(autopsy.waited, autopsy.queued + autopsy.dialling + autopsy.checking, "{autopsy}");
                self.ends.timeout += 1;
            }
            Err(_) => self.ends.error += 1,
        }
    }

    fn take(&mut self, which: usize) -> Option<Pooled<'a, Scripted>> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(which % count))
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Get { polls, timeout } => {
                self.ends.started += 1;
                let timeout = Duration::from_millis(timeout);
                let future = Box::pin(self.pool.get_timeout(timeout));
                self.asked.push(Asked { future, polls_left: polls, since: Instant::now(), timeout });
                self.poll_all();
            }
            Op::TryGet => {
                self.ends.started += 1;
                self.note(self.pool.try_get());
            }
            Op::Return(which) => drop(self.take(which)),
            Op::ReturnBroken(which) => {
                if let Some(mut pooled) = self.take(which) {
                    pooled.broken = true;
                }
            }
            Op::Detach(which) => {
                if let Some(pooled) = self.take(which) {
                    drop(pooled.detach());
                }
            }
            Op::Resize(max) => {
                let _ = self.pool.resize(max);
            }
            Op::Retain(each) => {
                let mut number = 0;
                self.pool.retain(|_, _| {
                    number += 1;
                    number % each == 0
                });
            }
            Op::Close => {
                let close = pin!(self.pool.close(Duration::from_secs(60)));
                // From its first poll on the pool is closed; that it drains is for the end.
                let _ = close.poll(&mut Context::from_waker(Waker::noop()));
                self.closed = true;
            }
            Op::Advance(_) => {}
        }
    }

    fn assert_sound(&self, most: usize) {
        let status = self.pool.status();
        assert_balanced(&status);
        assert!(status.size <= most, "P1: {status:?}, at most {most}");
        assert!(self.pool.manager().open.now() <= status.size, "P2: more is open than the pool knows of");
        assert!(status.in_use >= self.held.len(), "{status:?}");
        let Ends { started, ok, error, timeout, cancelled } = self.ends;
        // A future that wasn't polled hasn't begun; all of these were.
        assert_eq!(status.started, started);
        assert_eq!((status.ok, status.cancelled), (ok, cancelled), "{status:?}");
        // The pool may have ended what the test hasn't seen end yet, never the other way round.
        assert!(status.error >= error && status.timeout >= timeout);
        assert_eq!(status.waiting as usize, self.asked.len(), "P8: {status:?}");
    }
}

async fn run(case: &Case) {
    let check_after = if case.checks_too { Duration::from_millis(500) } else { Duration::MAX };
    let budget = DialBudget::new(2);
    let pool = Pool::builder(Scripted::new(case.dials.iter().copied(), case.checks.iter().copied()))
        .max(case.max)
        .idle_min(case.idle_min)
        .check_after(check_after)
        .connect_timeout(Duration::from_secs(1))
        .check_timeout(Duration::from_millis(300))
        .idle_timeout(Duration::from_secs(2))
        .lifetime(Duration::from_secs(5))
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        .dial_budget(budget.clone())
        .build()
        .unwrap();
    let mut model = Model {
        pool: &pool,
        asked: Vec::new(),
        held: Vec::new(),
        ends: Ends::default(),
        in_order: !case.checks_too,
        closed: false,
    };
    let mut most = case.max;
    for op in &case.ops {
        model.apply(op);
        if let Op::Resize(max) = op
            && *max >= case.idle_min
        {
            most = most.max(*max);
        }
        if let Op::Advance(time) = op {
            tokio::time::sleep(Duration::from_millis(*time)).await;
        }
        settle().await;
        model.poll_all();
        model.assert_sound(most);
    }
    // Whoever still waits is served or told within the longest time, and then nothing is left.
    for asked in &mut model.asked {
        asked.polls_left = usize::MAX;
    }
    let mut rounds = 0;
    while !model.asked.is_empty() {
        model.held.clear();
        tokio::time::sleep(Duration::from_millis(500)).await;
        settle().await;
        model.poll_all();
        rounds += 1;
        assert!(rounds < 1_000, "P3, P5: {} wait for ever: {:?}", model.asked.len(), pool.status());
    }
    model.assert_sound(most);
    let held = std::mem::take(&mut model.held);
    let count = held.len();
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(report.in_use, count, "P6: {report:?}");
    assert_eq!(report.drained, report.in_use + report.connecting == 0, "P6: {report:?}");
    drop(held);
    assert!(pool.close(Duration::from_secs(1)).await.drained, "P6: {:?}", pool.status());
    assert_eq!(pool.manager().open.now(), 0, "P2: something leaked");
    assert!(budget.most() <= 2 && budget.under_way() == 0);
    assert_balanced(&pool.status());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_balances_and_leaves_nothing(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(&case));
    }
}
