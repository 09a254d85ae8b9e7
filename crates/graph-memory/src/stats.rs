//! A store in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_memory_api::Seq;

use crate::log::LogStats;

/// A store in numbers. Each is exact; taken while the store is at work, one may be a batch ahead of
/// another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// The last command in the log.
    pub last_seq: Seq,
    /// Number of tenants.
    pub tenants: usize,
    /// Commands that wait in the queue.
    pub queued: usize,
    /// Callers that wait for a place in the queue.
    pub waiting: usize,
    /// Why the store takes no more writes, if so.
    pub poisoned: Option<String>,
    /// Batches written since the store was opened, markers among them.
    pub batches: u64,
    /// Commands written since then.
    pub commands: u64,
    /// Bytes written since then.
    pub bytes: u64,
    /// Syncs made since then.
    pub syncs: u64,
    /// How the committer spent its time since then.
    pub time: CommitTime,
}

/// How a committer spent its time. What is missing from the whole is waiting, and waking callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitTime {
    /// Copying commands into a batch, its checksum and hash.
    pub encode: Duration,
    /// Beginning a new segment: waiting until it is made, and marking the end of the last one.
    pub segment: Duration,
    /// Writing and syncing.
    pub write: Duration,
    /// Applying commands to the next value.
    pub apply: Duration,
    /// Handing work to the threads that build indexes, installing what they built, and waiting for
    /// them when they are backlogged.
    pub index: Duration,
    /// Publishing.
    pub publish: Duration,
}

/// The committer's figures. The committer alone writes them, one by one, and anybody reads them.
/// Relaxed is enough, since none of them guards anything.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    last_seq: AtomicU64,
    batches: AtomicU64,
    commands: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    encode_ns: AtomicU64,
    segment_ns: AtomicU64,
    write_ns: AtomicU64,
    apply_ns: AtomicU64,
    index_ns: AtomicU64,
    publish_ns: AtomicU64,
}

/// How long the stages of one batch took, beside writing it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchTime {
    pub(crate) apply: Duration,
    pub(crate) index: Duration,
    pub(crate) publish: Duration,
}

impl Counters {
    /// Records the state of the log after a batch, and adds the time that the batch took.
    pub(crate) fn record(&self, last_seq: Seq, log: LogStats, time: BatchTime) {
        let sum =
            |counter: &AtomicU64, time: Duration| counter.load(Ordering::Relaxed) + time.as_nanos() as u64;
        let pairs = [
            (&self.last_seq, last_seq.get()),
            (&self.batches, log.batches),
            (&self.commands, log.commands),
            (&self.bytes, log.bytes),
            (&self.syncs, log.syncs),
            (&self.encode_ns, log.encode_ns),
            (&self.segment_ns, log.segment_ns),
            (&self.write_ns, log.write_ns),
            (&self.apply_ns, sum(&self.apply_ns, time.apply)),
            (&self.index_ns, sum(&self.index_ns, time.index)),
            (&self.publish_ns, sum(&self.publish_ns, time.publish)),
        ];
        for (counter, value) in pairs {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// Returns the figures; those that are not the committer's are 0 and none.
    pub(crate) fn stats(&self) -> StoreStats {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter| Duration::from_nanos(number(counter));
        StoreStats {
            last_seq: Seq::new(number(&self.last_seq)),
            tenants: 0,
            queued: 0,
            waiting: 0,
            poisoned: None,
            batches: number(&self.batches),
            commands: number(&self.commands),
            bytes: number(&self.bytes),
            syncs: number(&self.syncs),
            time: CommitTime {
                encode: time(&self.encode_ns),
                segment: time(&self.segment_ns),
                write: time(&self.write_ns),
                apply: time(&self.apply_ns),
                index: time(&self.index_ns),
                publish: time(&self.publish_ns),
            },
        }
    }
}
