//! `index.memory_pressure`: 50 tasks search with 150 KB of text each, for half a minute; memory stays bounded and is given back.
//!
//! A query is about 250 whole passages one after the other, as if somebody pasted a long document; its answer is known all the same.
//! It has fewer than the 10 000 different words that a store takes.
//!
//! Memory has returned when, after the load and at rest, it is what it was before, but for a little:
//!
//! - the bytes that the program holds, where its allocator counts them: a hundredth and 16 MB more;
//! - resident memory, where the system tells it: a tenth and 96 MB more, since an allocator keeps pages for next time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_memory_api::Memory;
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Rng, Scenario, Tally, allocations};

use super::asked::{Asked, Needs, find_questions, refusal};
use super::questions::{self, Question};
use crate::backend::Backend;
use crate::corpus::megabytes;
use crate::process;

const TASKS: usize = 50;
const DURATION: Duration = Duration::from_secs(30);
const THINK_TIME: Duration = Duration::from_millis(10);
const QUERIES: usize = 16;
const QUERY_BYTES: usize = 150_000;
/// Below `Limits::query_words`.
const QUERY_WORDS_MAX: usize = 9_000;
/// A task that sees so much growth goes no further.
const GROWTH_MAX: u64 = 2_000_000_000;
/// What may be above the baseline after the load: a share of it, one in so many, and so many bytes.
const LIVE_MORE: (u64, u64) = (100, 16_000_000);
const RESIDENT_MORE: (u64, u64) = (10, 96_000_000);
/// Searches after the load, again and again until memory has come back.
const SHORT_SEARCHES: usize = 100;
/// How long memory may take to come back.
const REST_MAX: Duration = Duration::from_secs(20);

/// 50 tasks with very long queries.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPressure<B> {
    backend: B,
}

impl<B: Backend> MemoryPressure<B> {
    /// The scenario on a store of `backend`.
    pub fn on(backend: B) -> Self {
        Self { backend }
    }
}

/// The store, the long queries, and what the process held before them.
#[expect(missing_debug_implementations, reason = "a backend need not be printable")]
pub struct Pressed<B: Backend> {
    asked: Asked<B>,
    long: Vec<Question>,
    before: Held,
    /// Operations that saw too much growth.
    stopped: AtomicU64,
}

/// Memory, as far as it can be told.
#[derive(Clone, Copy, Debug)]
struct Held {
    live: Option<u64>,
    resident: Option<u64>,
}

impl Held {
    fn now() -> Self {
        Self { live: allocations::live_bytes(), resident: process::resident_bytes() }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told =
            |bytes: Option<u64>| bytes.map_or("not told".to_owned(), |bytes| megabytes(bytes as usize));
        write!(f, "live {}, resident {}", told(self.live), told(self.resident))
    }
}

impl<B: Backend> Scenario for MemoryPressure<B> {
    type State = Pressed<B>;

    fn name(&self) -> &'static str {
        "memory_pressure"
    }

    fn description(&self) -> &'static str {
        "50 tasks search with 150 KB of text each; memory is bounded and given back"
    }

    fn load(&self) -> Load {
        Load::users(TASKS).lasting(DURATION).think_time(THINK_TIME)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(10)
    }

    fn objectives(&self) -> Vec<&str> {
        vec!["rss_growth < 1GB", "success >= 99.9%", "timeouts <= 0%"]
    }

    async fn set_up(&self, context: &Context) -> Result<Pressed<B>, Failure> {
        let asked = Asked::set_up(&self.backend, context, Needs::default()).await?;
        let find =
            |writes: &_, rng: &mut _| questions::long(writes, QUERIES, QUERY_BYTES, QUERY_WORDS_MAX, rng);
        let long = find_questions(&asked.filled.writes, context, find).await?;
        process::rest(self.backend.rest_max(REST_MAX)).await;
        let before = Held::now();
        context.note("memory before", before);
        Ok(Pressed { asked, long, before, stopped: AtomicU64::new(0) })
    }

    async fn operation(&self, state: &Pressed<B>, call: Call) -> Result<(), Failure> {
        let grown = process::resident_bytes()
            .zip(state.before.resident)
            .map_or(0, |(now, before)| now.saturating_sub(before));
        if grown > GROWTH_MAX {
            // Relaxed: read when all operations have been joined.
            state.stopped.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::new("memory", format!("grown by {}", megabytes(grown as usize))));
        }
        let question = &state.long[call.rng().below(state.long.len() as u64) as usize];
        let hits = state.asked.filled.memory.search(question.search()).await.map_err(refusal)?;
        state.asked.judge(question, &hits)
    }

    async fn check(&self, state: &Pressed<B>, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let (after, took) = state.come_back(&self.backend).await;
        checks.note("memory after", format!("{after}, {} ms after the load", took.as_millis()));
        check_returned("live bytes", state.before.live, after.live, LIVE_MORE, checks);
        check_returned("resident memory", state.before.resident, after.resident, RESIDENT_MORE, checks);
        checks.exactly("tasks stopped at 2 GB", state.stopped.load(Ordering::Relaxed), 0);
        state.asked.check(&self.backend, &[], checks).await
    }

    async fn tear_down(&self, state: Pressed<B>) -> Result<(), Failure> {
        state.asked.filled.close().await
    }
}

impl<B: Backend> Pressed<B> {
    /// What is held when it is as little as before, or [`REST_MAX`] after the load, and how long
    /// that took. `backend` may shorten the waits.
    ///
    /// Meanwhile there are a few short searches. An allocator gives pages back when it is called, and threads that had
    /// the long queries keep theirs until they are; nobody's memory is asked for nothing ever again.
    async fn come_back(&self, backend: &B) -> (Held, Duration) {
        let longest = backend.rest_max(REST_MAX);
        let (began, mut rng) = (Instant::now(), Rng::new(1));
        loop {
            for _ in 0..SHORT_SEARCHES {
                // A wrong answer is counted where the check looks for it.
                let _ = self.asked.ask(&mut rng).await;
            }
            process::rest(backend.rest_max(Duration::from_secs(1))).await;
            let (now, took) = (Held::now(), began.elapsed());
            if now.has_returned_to(self.before) || took > longest {
                return (now, took);
            }
        }
    }
}

impl Held {
    fn has_returned_to(self, before: Self) -> bool {
        let returned = |before: Option<u64>, now: Option<u64>, more| {
            before.zip(now).is_none_or(|(before, now)| has_returned(before, now, more))
        };
        returned(before.live, self.live, LIVE_MORE) && returned(before.resident, self.resident, RESIDENT_MORE)
    }
}

fn check_returned(
    what: &str,
    before: Option<u64>,
    after: Option<u64>,
    more: (u64, u64),
    checks: &mut Checks,
) {
    let Some((before, after)) = before.zip(after) else {
        checks.note(format!("{what}, returned"), "can't be told here");
        return;
    };
    let told = format!("{} before, {} after", megabytes(before as usize), megabytes(after as usize));
    checks.holds(format!("{what} returned to the baseline"), has_returned(before, after, more), told);
}

fn has_returned(before: u64, after: u64, (share, bytes): (u64, u64)) -> bool {
    after <= before + before / share + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_no_leak() {
        const MB: u64 = 1_000_000;
        assert!(has_returned(500 * MB, 521 * MB, LIVE_MORE));
        assert!(!has_returned(500 * MB, 522 * MB, LIVE_MORE));
        assert!(has_returned(500 * MB, 646 * MB, RESIDENT_MORE));
        assert!(!has_returned(500 * MB, 647 * MB, RESIDENT_MORE));
        assert!(has_returned(500 * MB, 100 * MB, LIVE_MORE));
    }
}
