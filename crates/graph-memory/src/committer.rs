//! The committer: the one thread that changes a store.
//!
//! Its stages, run by [`handoff::serve`](crate::handoff::serve) for each part of a batch: append to
//! the log and sync; apply in log order; publish each changed tenant's next value with one swap.
//! When the log can't be trusted any more it is **poisoned**: what was in flight has an unknown
//! outcome, everything later is refused, and reads go on.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use steadfast_memory_api::{MemoryError, Seq};
use steadfast_metrics::Histogram;

use crate::apply::Tenants;
use crate::command::{Effect, EncodedCommand, Stamp};
use crate::config::Clock;
use crate::handoff::{Queued, Refused, Stages};
use crate::indexing::Indexing;
use crate::log::{AppendError, FORMAT, Log};
use crate::published::{Published, TenantCell};
use crate::stats::BatchTime;

/// What a caller gets: what came of its command, or why the command could not be tried.
pub(crate) type CommitResult = Result<Effect, MemoryError>;

/// The stages of a commit.
pub(crate) struct Committer {
    log: Box<dyn Log>,
    clock: Arc<dyn Clock>,
    tenants: Tenants,
    indexing: Indexing,
    /// The cells of the tenants, by number, counted from 1.
    cells: Vec<Arc<TenantCell>>,
    published: Arc<Published>,
    /// The place in the log of the next command to be applied.
    next_seq: u64,
    /// The log's time of the batch that is being applied; never goes back.
    now_ms: u64,
    batch_began: Instant,
    /// How many commands each batch held.
    batches: Histogram,
}

impl Committer {
    /// A committer that goes on behind what was replayed into `tenants`.
    pub(crate) fn new(
        log: Box<dyn Log>,
        clock: Arc<dyn Clock>,
        tenants: Tenants,
        indexing: Indexing,
        published: Arc<Published>,
        batches: Histogram,
    ) -> Self {
        let (next_seq, now_ms) = (log.last_seq().get() + 1, log.time_ms());
        let mut committer = Self {
            log,
            clock,
            tenants,
            indexing,
            cells: Vec::new(),
            published,
            batches,
            next_seq,
            now_ms,
            batch_began: Instant::now(),
        };
        committer.publish();
        committer
    }

    /// Ends the log in good order, unless it is poisoned.
    pub(crate) fn close(&mut self) -> Result<(), MemoryError> {
        if let Some(detail) = self.published.poisoned.get() {
            return Err(MemoryError::Poisoned { detail: detail.clone() });
        }
        self.log.close().map_err(|error| match error {
            AppendError::NoRoom(error) => MemoryError::StorageFull { detail: error.to_string() },
            AppendError::Unavailable(error) => MemoryError::StorageUnavailable { detail: error.to_string() },
            AppendError::Unknown(error) => MemoryError::Poisoned { detail: error.to_string() },
        })
    }
}

impl Stages for Committer {
    type Job = EncodedCommand;
    type Answer = CommitResult;

    fn persist(
        &mut self,
        jobs: &[Queued<EncodedCommand, CommitResult>],
    ) -> Result<usize, Refused<CommitResult>> {
        if let Some(detail) = self.published.poisoned.get() {
            let error = MemoryError::Poisoned { detail: detail.clone() };
            return Err(Refused { jobs: jobs.len(), answer: Box::new(move || Err(error.clone())) });
        }
        let now_ms = self.now_ms.max(self.clock.now_ms());
        let appended = self.log.append(now_ms, &mut jobs.iter().map(|queued| queued.job.parts()));
        self.batch_began = Instant::now();
        match appended {
            Ok(count) => {
                self.now_ms = now_ms;
                self.batches.record(count as u64);
                Ok(count)
            }
            Err(AppendError::NoRoom(error)) => {
                let error = MemoryError::StorageFull { detail: error.to_string() };
                Err(Refused { jobs: jobs.len(), answer: Box::new(move || Err(error.clone())) })
            }
            Err(AppendError::Unavailable(error)) => {
                let error = MemoryError::StorageUnavailable { detail: error.to_string() };
                Err(Refused { jobs: jobs.len(), answer: Box::new(move || Err(error.clone())) })
            }
            Err(AppendError::Unknown(error)) => {
                let detail = error.to_string();
                // Nobody but this thread sets it.
                drop(self.published.poisoned.set(detail.clone()));
                // Which of the jobs were in the batch isn't known here. For those that weren't
                // "unknown" is true as well.
                let error = MemoryError::OutcomeUnknown { detail };
                Err(Refused { jobs: jobs.len(), answer: Box::new(move || Err(error.clone())) })
            }
        }
    }

    fn apply(&mut self, job: EncodedCommand) -> CommitResult {
        let stamp = Stamp { seq: Seq::new(self.next_seq), now_ms: self.now_ms, format: FORMAT };
        self.next_seq += 1;
        Ok(self.tenants.apply(job.command, stamp))
    }

    fn publish(&mut self) {
        let applied = Instant::now();
        self.indexing.maintain(&mut self.tenants);
        if self.indexing.has_failed() {
            drop(self.published.poisoned.set("building an index panicked".into()));
        }
        let maintained = Instant::now();
        let (cells, published) = (&mut self.cells, &self.published);
        self.tenants.publish_changed(|number, name, value| {
            let value = value.clone();
            if let Some(cell) = cells.get(number as usize - 1) {
                cell.value.store(Arc::new(value));
            } else {
                // Numbers are given in order, and a new tenant is always among the changed.
                let cell = Arc::new(TenantCell { number, value: ArcSwap::from_pointee(value) });
                cells.push(Arc::clone(&cell));
                published.tenants.insert(Arc::clone(name), cell);
            }
        });
        let time = BatchTime {
            apply: applied - self.batch_began,
            index: maintained - applied,
            publish: maintained.elapsed(),
        };
        self.published.counters.record(Seq::new(self.next_seq - 1), self.log.stats(), time);
    }

    fn maintain(&mut self) {
        self.batch_began = Instant::now();
        self.publish();
    }
}
