//! `index.resource_exhaustion_recovery`: 2 000 writes at once on a store that takes few, each told when to try again.
//!
//! The store's queue and the line before it are so short, in commands and in bytes, that most of the writes are refused at first. Who
//! is refused waits as long as the refusal says, twice as long the next time, and something at random, so that not all come
//! back together. Each write that is acknowledged must be found by its word at once.
//!
//! - The limit was really hit, and every refusal said when to try again.
//! - A refusal changed nothing: what is counted in the end is what was acknowledged.
//! - Full service before and after: a few callers, whom the limits suit, write and search, and none is refused. How fast it is after the
//!   load is compared with a **control**, a second store that is the same until then, under the same limits, and that nobody exhausts. Both
//!   are served in turns, so that a slow moment of the machine hits both. By the median of the turns, two thirds of the
//!   control's rate at least must be there again.
//! - Nothing that the load began goes on for ever, which would slow down both: the process comes to rest.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use steadfast_memory_api::{Limits, Memory, MemoryError, Search};
use steadfast_stress::{Call, Checks, Context, Failure, Load, Rng, Scenario, Tally, Value};

use super::asked::{Asked, Needs, refusal};
use crate::at_once::{at_once, panic_again};
use crate::backend::{Backend, Store as _};
use crate::filled::MemoryOf;
use crate::filled::writes::{Acknowledged, Writes, word};
use crate::process;

const WRITERS: usize = 2_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Who has been refused for so long gives up, before the timeout.
const PATIENCE: Duration = Duration::from_secs(25);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Callers of a round of full service: their commands fit into the queue.
const CALLERS: usize = 8;
const ROUND: usize = 2_000;
/// Between two rounds before the load, so that other work on the machine isn't in the way of all of them.
const PAUSE: Duration = Duration::from_millis(200);
/// How often full service is measured: enough for a median.
const ROUNDS: Rounds = Rounds { before: 5, after: 9 };
/// How long work that the load and the rounds leave behind may go on.
const REST_MAX: Duration = Duration::from_secs(60);
/// Different passages that are written once more.
const CONCEPTS: usize = 500;

/// 2 000 writes at once on a store with low limits.
#[derive(Clone, Copy, Debug)]
pub struct ResourceExhaustionRecovery<B> {
    backend: B,
    rounds: Rounds,
}

/// Rounds of full service.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    /// Before the load.
    before: usize,
    /// After the load, each on the store and on the control.
    after: usize,
}

impl<B: Backend> ResourceExhaustionRecovery<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend, rounds: ROUNDS }
    }

    /// Measures full service once before and once after the load: enough to check every answer, too
    /// few to compare rates.
    #[must_use]
    pub fn with_one_round(mut self) -> Self {
        self.rounds = Rounds { before: 1, after: 1 };
        self
    }
}

/// The store under its low limits, and what became of the writes.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Exhausted<B: Backend> {
    asked: Asked<B>,
    memory: MemoryOf<B>,
    control: MemoryOf<B>,
    /// Only the check takes it out, to close it.
    control_store: Mutex<Option<B::Store>>,
    written: Mutex<Vec<Acknowledged>>,
    rounds: Rounds,
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

    /// The number of the first write of the load.
    fn load_begins(&self) -> usize {
        self.asked.filled.writes.passages() + (self.rounds.before + self.rounds.after) * ROUND
    }

    /// Closes the control, if it is open.
    async fn close_control(&self) -> Result<(), Failure> {
        let store = self.control_store.lock().unwrap_or_else(PoisonError::into_inner).take();
        match store {
            Some(store) => store.close().await,
            None => Ok(()),
        }
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
        let (rate_before, written) = best_rate(&asked, &memory, self.rounds.before).await?;
        let (memory, control) = split(&self.backend, context, &asked).await?;
        Ok(Exhausted {
            control: control.memory().clone(),
            control_store: Mutex::new(Some(control)),
            asked,
            memory,
            written: Mutex::new(written),
            rounds: self.rounds,
            rate_before,
            refusals: Refusals::default(),
        })
    }

    async fn operation(&self, state: &Exhausted<B>, call: Call) -> Result<(), Failure> {
        let number = state.load_begins() + call.index as usize;
        let acknowledged = state.write(number, &mut call.rng()).await?;
        state.written().push(acknowledged);
        if is_first(&state.memory, acknowledged).await? {
            return Ok(());
        }
        Err(state.asked.wrong(&format!("the word of write {number}"), 0))
    }

    async fn check(&self, state: &Exhausted<B>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        state.refusals.report(checks);
        let turns = serve_in_turns(state).await?;
        let longest = self.backend.rest_max(REST_MAX);
        let rested = process::rest(longest).await;
        checks.holds(
            "the process came to rest",
            rested,
            format!("asked for {} s at most", longest.as_secs()),
        );
        state.close_control().await?;
        turns.report(state.rate_before, checks);

        let written = state.written().clone();
        let load = written.iter().filter(|write| write.number >= state.load_begins()).count() as u64;
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
        state.close_control().await?;
        state.asked.filled.close().await
    }
}

/// Closes the store, copies it, and opens it and the copy under the low limits.
async fn split<B: Backend>(
    backend: &B,
    context: &Context,
    asked: &Asked<B>,
) -> Result<(MemoryOf<B>, B::Store), Failure> {
    asked.filled.close().await?;
    // Where `Filled` has it; if it were elsewhere, the copy would hold nothing.
    let (store, control) = (context.scratch().join("store"), context.scratch().join("control"));
    let directory = control.clone();
    let copying = tokio::task::spawn_blocking(move || copy(&store, &directory));
    copying.await.unwrap_or_else(|error| panic_again(error))?;
    let memory = asked.filled.reopen_with(backend, low_limits()).await?;
    let control = backend.open(&control, low_limits()).await?;
    let [there, copied] = [memory.stats().await?.memories, control.memory().stats().await?.memories];
    if there != copied {
        return Err(Failure::new("control", format!("the control has {copied} memories of {there}")));
    }
    // What opening began is over before the load.
    process::rest(backend.rest_max(REST_MAX)).await;
    Ok((memory, control))
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Whether a write is the first hit for its word.
async fn is_first<M: Memory>(memory: &M, write: Acknowledged) -> Result<bool, Failure> {
    let hits = memory.search(Search::new(word(write.number))).await.map_err(refusal)?;
    Ok(hits.hits.first().is_some_and(|hit| hit.record.id == write.answer.id))
}

/// The best rate of the rounds before the load, and what they wrote.
async fn best_rate<B: Backend>(
    asked: &Asked<B>,
    memory: &MemoryOf<B>,
    rounds: usize,
) -> Result<(f64, Vec<Acknowledged>), Failure> {
    let (mut best, mut written) = (0.0_f64, Vec::new());
    for number in 0..rounds {
        let mut round = Round::serve(asked, memory, number).await?;
        best = best.max(round.rate);
        written.append(&mut round.written);
        tokio::time::sleep(PAUSE).await;
    }
    Ok((best, written))
}

/// The rounds after the load: on the store and on the control in turns, neither always first.
async fn serve_in_turns<B: Backend>(state: &Exhausted<B>) -> Result<Turns, Failure> {
    let mut turns = Turns(Vec::with_capacity(state.rounds.after));
    for turn in 0..state.rounds.after {
        let mut rates = [0.0; 2];
        for place in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            let memory = [&state.memory, &state.control][place];
            let mut round = Round::serve(&state.asked, memory, state.rounds.before + turn).await?;
            rates[place] = round.rate;
            if place == 0 {
                state.written().append(&mut round.written);
            }
        }
        turns.0.push(rates);
    }
    Ok(turns)
}

/// What few callers, who write and find, got of a store.
struct Round {
    rate: f64,
    written: Vec<Acknowledged>,
}

impl Round {
    /// Serves round `number`. What isn't found is counted as a wrong answer.
    ///
    /// # Errors
    /// If a single write or search is refused.
    async fn serve<B: Backend>(
        asked: &Asked<B>,
        memory: &MemoryOf<B>,
        number: usize,
    ) -> Result<Self, Failure> {
        let (memory, writes) = (memory.clone(), Arc::clone(&asked.filled.writes));
        let from = writes.passages() + number * ROUND;
        let began = Instant::now();
        let call = move |place: usize| serve(memory.clone(), Arc::clone(&writes), from + place);
        let served = at_once(ROUND, CALLERS, call).await?;
        let rate = ROUND as f64 / began.elapsed().as_secs_f64().max(1e-9);
        for (write, _) in served.iter().filter(|(_, is_found)| !is_found) {
            // The count of them is checked; this failure is of no operation.
            let _counted = asked.wrong(&format!("the word of write {}", write.number), 0);
        }
        Ok(Self { rate, written: served.into_iter().map(|(write, _)| write).collect() })
    }
}

/// One write, and whether it is found at once.
async fn serve<M: Memory>(
    memory: M,
    writes: Arc<Writes>,
    number: usize,
) -> Result<(Acknowledged, bool), Failure> {
    let answer = memory.allocate(writes.request(number)).await.map_err(refusal)?;
    let acknowledged = Acknowledged::new(number, answer)?;
    Ok((acknowledged, is_first(&memory, acknowledged).await?))
}

/// The rates of the store and of the control, turn by turn.
struct Turns(Vec<[f64; 2]>);

impl Turns {
    /// The store's share of the control's rate: the least, the median and the greatest of all turns.
    fn kept(&self) -> [f64; 3] {
        let mut shares: Vec<f64> = self.0.iter().map(|[store, control]| store / control.max(1e-9)).collect();
        shares.sort_unstable_by(f64::total_cmp);
        [shares[0], shares[shares.len() / 2], shares[shares.len() - 1]]
    }

    fn report(&self, before: f64, checks: &mut Checks) {
        let best = |place: usize| self.0.iter().map(|turn| turn[place]).fold(0.0, f64::max);
        let [after, control] = [best(0), best(1)];
        let [least, kept, greatest] = self.kept();
        checks.note(
            "full service",
            format!("{before:.0}/s before, {after:.0}/s after, the control {control:.0}/s, none refused"),
        );
        let [least, greatest] = [least, greatest].map(|share| share * 100.0);
        checks.note(
            "service kept",
            format!("{least:.0} to {greatest:.0} % of the control, in {} turns", self.0.len()),
        );
        checks.value("rate_before", Value::PerSecond(before));
        checks.value("rate_after", Value::PerSecond(after));
        checks.value("rate_control", Value::PerSecond(control));
        checks.value("service_kept", Value::Share(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_moment_of_both_or_of_a_few_turns_takes_nothing_away() {
        let mut turns = Turns(vec![[95.0, 100.0]; ROUNDS.after]);
        turns.0[0] = [9.5, 10.0];
        turns.0[3] = [40.0, 100.0];
        turns.0[7] = [100.0, 40.0];
        assert_eq!(turns.kept(), [0.4, 0.95, 2.5]);
        let slow = Turns(vec![[50.0, 100.0]; ROUNDS.after]);
        assert_eq!(slow.kept(), [0.5; 3]);
    }

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
