//! `breaker.resource_exhaustion`: a dependency runs out of memory, later out of file descriptors; the breaker opens, sheds, recovers, and everything is
//! released.
//!
//! Each call takes a buffer of memory and opens a file, really, out of what the dependency may have, and holds both for a while. Exhaustion is simulated by
//! taking away what it may have: from then on it can't get any. What is opened and allocated is counted by the system and by the allocator, before and after.
//! What else must hold is in `ordeal.rs`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_breaker::CallError;
use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Tally, allocations};

use super::extreme_async::told;
use super::guard::Guard;
use super::ordeal::{AFTERWARDS, NO_FILES, NO_MEMORY, Ordeal, WELL};
use super::script::{self, Stage};

const CALLERS: usize = 100;
const STAGE: Duration = Duration::from_secs(3);
const SMOKE_DIVISOR: u32 = 8;
const STAGES: [Stage; 5] =
    [(WELL, STAGE), (NO_MEMORY, STAGE), (AFTERWARDS, STAGE), (NO_FILES, STAGE), ("recovering_again", STAGE)];
const OWN_TIME: Duration = Duration::from_millis(2);
const THINK_TIME: Duration = Duration::from_millis(2);
const BUFFER_BYTES: usize = 64 * 1024;
/// What may be live after the load beyond what was before: what the engine and the runtime keep.
const LIVE_MORE: u64 = 4_000_000;
/// How long memory and files may take to be given back.
const RELEASE_MAX: Duration = Duration::from_secs(20);

/// Memory and files that run out.
#[derive(Clone, Debug)]
pub struct ResourceExhaustion<G> {
    guard: G,
}

impl<G: Guard> ResourceExhaustion<G> {
    /// The scenario on breakers behind `guard`.
    pub fn with(guard: G) -> Self {
        Self { guard }
    }
}

/// The breaker in its ordeal, and what the dependency may have.
#[derive(Debug)]
pub struct Exhausting<G> {
    ordeal: Arc<Ordeal<G>>,
    resources: Arc<Resources>,
    files_before: Option<u64>,
    live_before: Option<u64>,
}

/// Memory and file descriptors.
#[derive(Debug)]
struct Resources {
    file: PathBuf,
    memory: Quota,
    files: Quota,
}

/// What there is of something, and what of it is in use.
#[derive(Debug, Default)]
struct Quota {
    is_exhausted: AtomicBool,
    in_use: AtomicU64,
    peak: AtomicU64,
    missed: AtomicU64,
}

/// A share of a quota, for as long as this lives.
#[derive(Debug)]
struct Share<'a>(&'a Quota, u64);

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(self.1, Ordering::SeqCst);
    }
}

impl Quota {
    fn take(&self, amount: u64) -> Option<Share<'_>> {
        if self.is_exhausted.load(Ordering::SeqCst) {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let in_use = self.in_use.fetch_add(amount, Ordering::SeqCst) + amount;
        self.peak.fetch_max(in_use, Ordering::Relaxed);
        Some(Share(self, amount))
    }
}

/// What one call holds.
struct Held<'a> {
    _memory: Share<'a>,
    _buffer: Vec<u8>,
    _files: Share<'a>,
    _file: File,
}

impl Resources {
    /// Nothing if it can't get all that it needs; what it got is given back then.
    fn take(&self) -> Option<Held<'_>> {
        let memory = self.memory.take(BUFFER_BYTES as u64)?;
        // Written to, so that it is really there.
        let buffer = vec![1_u8; BUFFER_BYTES];
        let files = self.files.take(1)?;
        let file = File::open(&self.file).ok()?;
        Some(Held { _memory: memory, _buffer: buffer, _files: files, _file: file })
    }

    fn happen(&self, stage: &str) {
        self.memory.is_exhausted.store(stage == NO_MEMORY, Ordering::SeqCst);
        self.files.is_exhausted.store(stage == NO_FILES, Ordering::SeqCst);
    }
}

impl<G: Guard> Scenario for ResourceExhaustion<G> {
    type State = Exhausting<G>;

    fn name(&self) -> &'static str {
        "resource_exhaustion"
    }

    fn description(&self) -> &'static str {
        "memory, then file descriptors run out; the breaker opens, sheds, recovers, and all is released"
    }

    fn load(&self) -> Load {
        script::load(CALLERS, &STAGES).think_time(THINK_TIME)
    }

    fn smoke(&self) -> Reduction {
        Reduction::none().duration(SMOKE_DIVISOR)
    }

    fn soak(&self, duration: Duration) -> Option<Load> {
        Some(Load::users(CALLERS).lasting(duration).think_time(THINK_TIME))
    }

    fn objectives(&self) -> Vec<&str> {
        vec![
            "rate > 100/s",
            "timeouts <= 0%",
            "value healthy_success >= 100%",
            "value openings >= 2",
            "value refusal_p95 <= 10ms",
            "value recovery_time <= 1s",
            "rss_growth < 40MB",
        ]
    }

    async fn set_up(&self, context: &Context) -> Result<Exhausting<G>, Failure> {
        let file = context.scratch().join("opened");
        std::fs::write(&file, "opened by each call")?;
        let resources = Arc::new(Resources { file, memory: Quota::default(), files: Quota::default() });
        let happening = Arc::clone(&resources);
        let trouble = Box::new(move |stage: &'static str, _| happening.happen(stage));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let ordeal =
            Ordeal::new(self.guard.clone(), &STAGES, SMOKE_DIVISOR, CALLERS, workers, trouble, context)?;
        let (files_before, live_before) = (open_files(), allocations::live_bytes());
        Ok(Exhausting { ordeal, resources, files_before, live_before })
    }

    async fn operation(&self, state: &Exhausting<G>, call: Call) -> Result<(), Failure> {
        let ordeal = &*state.ordeal;
        ordeal.advance();
        let (begun, started) = (ordeal.begin(), Instant::now());
        let mut own = Duration::ZERO;
        let result = if call.user.is_multiple_of(2) {
            ordeal
                .guard
                .call_async(&ordeal.breaker, || async {
                    let is_there = state.visit(&mut own).await;
                    ordeal.dependency.answer_with(!is_there).result()
                })
                .await
        } else {
            match ordeal.acquire() {
                Ok(permit) => {
                    let is_there = state.visit(&mut own).await;
                    let answer = ordeal.dependency.answer_with(!is_there);
                    ordeal.settle(permit, answer).map_err(CallError::Failed)
                }
                Err(rejected) => Err(rejected.into()),
            }
        };
        ordeal.record(started.elapsed(), own, &result);
        ordeal.end(begun, &result);
        told(result)
    }

    async fn check(&self, state: &Exhausting<G>, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let (ordeal, resources) = (&*state.ordeal, &*state.resources);
        let answer = || ordeal.dependency.answer_with(resources.take().is_none());
        ordeal.check(tally.elapsed, answer, checks);
        let Resources { memory, files, .. } = resources;
        for (what, quota) in [("memory", memory), ("files", files)] {
            let (missed, peak) = (quota.missed.load(Ordering::Relaxed), quota.peak.load(Ordering::Relaxed));
            checks.holds(format!("{what} ran out"), missed > 0, missed);
            checks.holds(format!("{what} had been in use"), peak > 0, peak);
            checks.exactly(format!("{what} still taken"), quota.in_use.load(Ordering::SeqCst), 0);
        }
        let began = Instant::now();
        let longest = self.guard.wait_max(RELEASE_MAX);
        while !state.is_released() && began.elapsed() < longest {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (files, live) = (open_files(), allocations::live_bytes());
        match state.files_before.zip(files) {
            Some((before, after)) => {
                checks.holds(
                    "open files as before",
                    after <= before,
                    format!("{before} before, {after} after"),
                );
            }
            None => checks.note("open files", "not told on this system"),
        }
        match state.live_before.zip(live) {
            Some((before, after)) => {
                let told = format!("{before} bytes before, {after} after");
                checks.holds("live memory as before", after <= before + LIVE_MORE, told);
            }
            None => checks.note("live memory", "not counted in this program"),
        }
        Ok(())
    }
}

impl<G: Guard> Exhausting<G> {
    /// Whether the dependency got what it needed, and used it.
    async fn visit(&self, own: &mut Duration) -> bool {
        let began = Instant::now();
        let _visit = self.ordeal.dependency.enter();
        let held = self.resources.take();
        if held.is_some() {
            tokio::time::sleep(OWN_TIME).await;
        }
        *own = began.elapsed();
        held.is_some()
    }

    fn is_released(&self) -> bool {
        let files = self.files_before.zip(open_files()).is_none_or(|(before, after)| after <= before);
        let live = self.live_before.zip(allocations::live_bytes());
        files && live.is_none_or(|(before, after)| after <= before + LIVE_MORE)
    }
}

/// Files and sockets that this process has open, where the system tells it.
fn open_files() -> Option<u64> {
    // The folder itself is open while it is read, each time.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
