//! `index.resource_exhaustion_recovery`: 2 000 writes at once on a store that takes few, each told when to try again.
//!
//! The store's queue and the line before it are so short, in commands and in bytes, that most of the writes are refused at first. Who
//! is refused waits as long as the refusal says, twice as long the next time, and something at random, so that not all come
//! back together. Each write that is acknowledged must be found by its word at once.
//!
//! - The limit was really hit, and every refusal said when to try again.
//! - A refusal changed nothing: what is counted in the end is what was acknowledged.
//! - Full service before and after: a few callers, whom the limits suit, write and search, and none is refused. The best of
//!   several rounds, each of a tenth of a second or more, is compared: two thirds of the rate at least must be there again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steadfast_memory_api::{Limits, Memory, MemoryError, Search};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Rng, Scenario, Tally, Value};

use super::asked::{Asked, Needs, refusal};
use crate::at_once::at_once;
use crate::backend::Backend;
use crate::filled::MemoryOf;
use crate::filled::writes::{Acknowledged, Writes, word};

const WRITERS: usize = 2_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Who has been refused for so long gives up, before the timeout.
const PATIENCE: Duration = Duration::from_secs(25);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Callers of a round of full service: their commands fit into the queue.
const CALLERS: usize = 8;
const ROUND: usize = 2_000;
const ROUNDS: usize = 5;
/// Between two rounds, so that other work on the machine isn't in the way of all of them.
const PAUSE: Duration = Duration::from_millis(200);
/// Different passages that are written once more.
const CONCEPTS: usize = 500;

/// 2 000 writes at once on a store with low limits.
#[derive(Clone, Copy, Debug)]
pub struct ResourceExhaustionRecovery<B> {
    backend: B,
}

impl<B: Backend> ResourceExhaustionRecovery<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store under its low limits, and what became of the writes.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Exhausted<B: Backend> {
    asked: Asked<B>,
    memory: MemoryOf<B>,
    written: Mutex<Vec<Acknowledged>>,
    rate_before: f64,
    refusals: Refusals,
}

/// What was refused, in numbers.
#[derive(Debug, Default)]
struct Refusals {
    count: AtomicU64,
    /// Without a time to wait.
    without_advice: AtomicU64,
    /// Writes that were refused at least once.
    writes: AtomicU64,
    longest_advice_us: AtomicU64,
}

impl<B: Backend> Exhausted<B> {
    fn written(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        // Each change is one addition at the end, so a panic elsewhere can't have left half of one.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first number of a round, and after all rounds that of the load.
    fn number(&self, round: usize) -> usize {
        self.asked.filled.writes.passages() + round * ROUND
    }

    /// Writes until it is acknowledged, as refusals advise.
    async fn write(&self, number: usize, rng: &mut Rng) -> Result<Acknowledged, Failure> {
        let began = Instant::now();
        let request = self.asked.filled.writes.request(number);
        for tries in 0.. {
            match self.memory.allocate(request.clone()).await {
                Ok(answer) => return Acknowledged::new(number, answer),
                Err(MemoryError::Overloaded { retry_after }) => {
                    self.refusals.note(retry_after, tries);
                    let wait = wait(retry_after, tries, rng);
                    if began.elapsed() + wait > PATIENCE {
                        let told =
                            format!("{} refusals, the last: try again after {retry_after:?}", tries + 1);
                        return Err(Failure::new("overloaded", told));
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the loop has no end")
    }
}

impl Refusals {
    // Relaxed, here and where they are read: all operations have been joined by then.
    fn note(&self, advice: Duration, tries: u32) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.without_advice.fetch_add(u64::from(advice.is_zero()), Ordering::Relaxed);
        self.writes.fetch_add(u64::from(tries == 0), Ordering::Relaxed);
        self.longest_advice_us.fetch_max(advice.as_micros() as u64, Ordering::Relaxed);
    }

    fn report(&self, checks: &mut Checks) {
        let [count, without_advice, writes, longest] =
            [&self.count, &self.without_advice, &self.writes, &self.longest_advice_us]
                .map(|figure| figure.load(Ordering::Relaxed));
        checks.holds("the limit was hit", count > 0, format!("{count} refusals, of {writes} writes"));
        checks.exactly("refusals that said nothing of when to try again", without_advice, 0);
        checks.value("refusals", count);
        checks.value("writes_refused_at_first", writes);
        let longest = Duration::from_micros(longest);
        checks.value("retry_after_max", longest);
        checks.note(
            "refusals",
            format!("{count}, of {writes} writes; told to try again after {longest:?} at most"),
        );
    }
}

/// How long to wait after so many tries: as advised, doubled each time, and up to half as much again.
fn wait(advice: Duration, tries: u32, rng: &mut Rng) -> Duration {
    let wait = advice.saturating_mul(1 << tries.min(10)).min(WAIT_MAX).max(advice);
    wait + wait.mul_f64(rng.below(500) as f64 / 1_000.0)
}

/// So low that 2 000 writes at once can't but hit them, in commands and in bytes, and that eight callers never do.
fn low_limits() -> Limits {
    let mut limits = Limits::default();
    limits.queue_commands = 32;
    limits.queue_bytes = 64 << 10;
    limits.queue_waiters = 32;
    limits.queue_waiting_bytes = 64 << 10;
    limits.queue_wait = Duration::from_millis(20);
    limits
}

impl<B: Backend> Scenario for ResourceExhaustionRecovery<B> {
    type State = Exhausted<B>;

    fn name(&self) -> &'static str {
        "resource_exhaustion_recovery"
    }

    fn description(&self) -> &'static str {
        "2 000 writes at once on a store that takes 64; refused ones come back when they are told to"
    }

    fn load(&self) -> Load {
        Load::users(WRITERS).each(1).timeout(TIMEOUT)
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "success >= 70%",
            "success >= 99.9%",
            "timeouts <= 0%",
            "elapsed < 120s",
            "value rate_after >= 500/s",
            "value service_kept >= 66%",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Exhausted<B>, Failure> {
        let needs = Needs { concepts: CONCEPTS, ..Needs::default() };
        let asked = Asked::set_up(&self.backend, context, needs).await?;
        let memory = asked.filled.reopen_with(&self.backend, low_limits()).await?;
        let limits = low_limits();
        context.note(
            "limits",
            format!(
                "queue of {} commands and {} bytes, line of {} and {}, {} ms of waiting",
                limits.queue_commands,
                limits.queue_bytes,
                limits.queue_waiters,
                limits.queue_waiting_bytes,
                limits.queue_wait.as_millis()
            ),
        );
        let (written, refusals) = (Mutex::default(), Refusals::default());
        let mut state = Exhausted { asked, memory, written, rate_before: 0.0, refusals };
        state.rate_before = full_service(&state, 0).await?;
        Ok(state)
    }

    async fn operation(&self, state: &Exhausted<B>, call: Call) -> Result<(), Failure> {
        let number = state.number(2 * ROUNDS) + call.index as usize;
        let acknowledged = state.write(number, &mut call.rng()).await?;
        state.written().push(acknowledged);
        if is_first(&state.memory, acknowledged).await? {
            return Ok(());
        }
        Err(state.asked.wrong(&format!("the word of write {number}"), 0))
    }

    async fn check(&self, state: &Exhausted<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.refusals.report(checks);
        let rate_after = full_service(state, ROUNDS).await?;
        let before = state.rate_before;
        checks.note("full service", format!("{before:.0}/s before, {rate_after:.0}/s after, none refused"));
        checks.value("rate_before", Value::PerSecond(before));
        checks.value("rate_after", Value::PerSecond(rate_after));
        checks.value("service_kept", Value::Share(rate_after / before.max(1e-9)));

        let written = state.written().clone();
        let load = written.iter().filter(|write| write.number >= state.number(2 * ROUNDS)).count() as u64;
        // One that was acknowledged and not found has failed.
        checks.holds(
            "writes acknowledged",
            (tally.succeeded..=tally.issued).contains(&load),
            format!("{load}, {} found", tally.succeeded),
        );
        let counted = state.memory.stats().await?.memories;
        let acknowledged = (state.asked.filled.passages.len() + written.len()) as u64;
        let unknown = tally.timed_out + tally.cancelled;
        let is_right = (acknowledged..=acknowledged + unknown).contains(&counted);
        checks.holds("memories counted", is_right, format!("{counted}, {acknowledged} acknowledged"));
        // The old handle is closed: the checks want the default limits.
        let memory = state.asked.filled.reopen(&self.backend).await?;
        state.asked.check_on(&memory, &self.backend, &written, checks).await
    }

    async fn tear_down(&self, state: Exhausted<B>) -> Result<(), Failure> {
        state.asked.filled.close().await
    }
}

/// Whether a write is the first hit for its word.
async fn is_first<M: Memory>(memory: &M, write: Acknowledged) -> Result<bool, Failure> {
    let hits = memory.search(Search::new(word(write.number))).await.map_err(refusal)?;
    Ok(hits.hits.first().is_some_and(|hit| hit.record.id == write.answer.id))
}

/// The best rate of some rounds in which few callers write and find, from round `first` on.
///
/// # Errors
/// If a single one is refused, or not found.
async fn full_service<B: Backend>(state: &Exhausted<B>, first: usize) -> Result<f64, Failure> {
    let mut best = 0.0_f64;
    for round in first..first + ROUNDS {
        let (memory, writes) = (state.memory.clone(), Arc::clone(&state.asked.filled.writes));
        let from = state.number(round);
        let began = Instant::now();
        let call = move |place: usize| serve(memory.clone(), Arc::clone(&writes), from + place);
        let mut written = at_once(ROUND, CALLERS, call).await?;
        best = best.max(ROUND as f64 / began.elapsed().as_secs_f64().max(1e-9));
        state.written().append(&mut written);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(best)
}

async fn serve<M: Memory>(memory: M, writes: Arc<Writes>, number: usize) -> Result<Acknowledged, Failure> {
    let answer = memory.allocate(writes.request(number)).await.map_err(refusal)?;
    let acknowledged = Acknowledged::new(number, answer)?;
    if is_first(&memory, acknowledged).await? {
        return Ok(acknowledged);
    }
    Err(Failure::new("wrong answer", format!("write {number} was acknowledged and is not found")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_as_advised_and_longer() {
        let advice = Duration::from_millis(3);
        for tries in 0..40 {
            let wait = wait(advice, tries, &mut Rng::new(u64::from(tries)));
            let least = advice.saturating_mul(1 << tries.min(10)).min(WAIT_MAX);
            assert!(wait >= least && wait <= least + least / 2, "{wait:?} after {tries} tries");
        }
        let long = Duration::from_secs(3);
        assert!(wait(long, 0, &mut Rng::new(1)) >= long, "never before it is told to");
    }
}
