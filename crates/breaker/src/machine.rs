//! The state machine: who passes, what an outcome changes, and each edge exactly once.
//!
//! ```text
//!            too many failures                deadline                       a probe too many failed
//!   Closed ─────────────────────► Open ─────────────────────► HalfOpen ─────────────────────────────► Open
//!     ▲                                                          │  │      or its own deadline passed
//!     └──────────────────────────────────────────────────────────┘  all probes done, few enough failed
//!   any ── by hand ──► ForcedOpen, ForcedClosed, Disabled, MetricsOnly, Open, Closed
//! ```
//!
//! - State, generation, deadline and the number of openings in a row are one word. Every edge is one compare-and-swap of it, and gives
//!   the next generation; who wins it tells of the edge, nobody else does. So edges are numbered without a gap by their generations.
//! - A call belongs to the generation that it was admitted in. Its outcome counts only while that lasts.
//! - The order of a call: load the word (Acquire), run, load the word again, count in a stripe whose word is of the same generation.

use crate::leases::{Lease, Leases};
use crate::outcomes::{Mark, Outcomes, Thresholds, share_of};
use crate::sync::{AtomicU64, Ordering};
use crate::word::{State, WAIT_MS_MAX, Word};

/// How long the breaker stays open, and how it probes.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) open_ms: u64,
    pub(crate) open_ms_max: u64,
    /// Each opening in a row is so many times as long as the one before.
    pub(crate) open_factor: f64,
    /// The length is varied by up to this many parts of a million, up and down.
    pub(crate) jitter_ppm: u32,
    pub(crate) probes: u32,
    pub(crate) seed: u64,
    pub(crate) lease_ms: u64,
    /// 0: a half-open breaker waits for its probes for ever; their leases still expire.
    pub(crate) half_open_ms_max: u64,
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too many failures, slow calls, or failures in a row.
    Threshold,
    /// The time of being open was over.
    Waited,
    /// Too many probes failed or were slow.
    ProbesFailed,
    /// The probes did well.
    ProbesSucceeded,
    /// The half-open state lasted too long without a decision.
    ProbesTimedOut,
    /// Somebody asked for it.
    Manual,
}

/// One change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: Word,
    pub(crate) to: Word,
    pub(crate) cause: Cause,
    pub(crate) wait_ms: u64,
}

/// A call that passed. Two words, which are handed on in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    word: Word,
    /// A probe's packed lease, otherwise 0.
    lease: u64,
}

impl Admission {
    #[inline]
    fn plain(word: Word) -> Self {
        Self { word, lease: 0 }
    }

    #[inline]
    pub(crate) fn is_probe(self) -> bool {
        self.lease != 0
    }

    fn lease(self) -> Option<Lease> {
        self.is_probe().then(|| Lease::unpacked(self.lease, self.word.generation()))
    }
}

/// A call that didn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Open { wait_ms: u64 },
    ProbesBusy,
    Forced,
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    Counted,
    /// Its generation is over, or the breaker is `Disabled`.
    NotCounted,
    /// Its lease was over, and another probe of its generation had its place by then.
    Expired,
}

pub(crate) struct Machine {
    word: AtomicU64,
    pub(crate) outcomes: Outcomes,
    pub(crate) leases: Leases,
    timing: Timing,
    probes_failed_max: u32,
    probes_slow_max: u32,
    /// Times that a breaker in `MetricsOnly` would have opened.
    pub(crate) would_open: AtomicU64,
}

impl Machine {
    pub(crate) fn new(seats: usize, thresholds: Thresholds, timing: Timing) -> Self {
        let of_probes = |ppm| share_of(timing.probes.into(), ppm) as u32;
        // Without a rate, one failed probe of any number decides; a rate decides by the same share of the probes.
        let failed_max = thresholds.failure_ppm.map_or(1, of_probes);
        let slow_max = thresholds.slow_ppm.map_or(u32::MAX, of_probes);
        Self {
            word: AtomicU64::new(Word::new(State::Closed, 0, 0, 0).0),
            outcomes: Outcomes::new(seats, thresholds),
            leases: Leases::new(timing.probes as usize),
            timing,
            probes_failed_max: failed_max,
            probes_slow_max: slow_max,
            would_open: AtomicU64::new(0),
        }
    }

    /// Acquire: partner of the compare-and-swap in `step`.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Lets a call pass if the breaker is closed.
    #[inline(always)]
    pub(crate) fn admit_closed(&self) -> Option<Admission> {
        let word = self.word();
        word.is_closed().then_some(Admission::plain(word))
    }

    /// How long an open breaker still is open, as far as that is certain from the earliest and the latest time that it may be now: nothing if it isn't
    /// open, or if its time may be over. What is told is no shorter than it is: it is counted from the earliest.
    #[inline]
    pub(crate) fn open_for_ms(&self, bounds_ms: impl Fn() -> (u64, u64)) -> Option<u64> {
        let word = self.word();
        if !word.is_open() {
            return None;
        }
        let (earliest_ms, latest_ms) = bounds_ms();
        let (longest_ms, shortest_ms) = (word.remaining_ms(earliest_ms), word.remaining_ms(latest_ms));
        // Deadlines are compared on a circle. Where both waits differ by just what the bounds are apart, no wrap lies between them, and each moment
        // between them would refuse as well. The bounds of a clock that turns them round say nothing.
        let is_certain = shortest_ms > 0
            && earliest_ms <= latest_ms
            && longest_ms.wrapping_sub(shortest_ms) == latest_ms - earliest_ms;
        is_certain.then_some(longest_ms)
    }

    /// Lets a call pass or not. `now_ms` is asked only when the breaker isn't closed; `told` hears of each edge that this call makes.
    #[inline]
    pub(crate) fn admit(&self, now_ms: impl Fn() -> u64, told: impl Fn(Step)) -> Result<Admission, Refusal> {
        if let Some(admission) = self.admit_closed() {
            return Ok(admission);
        }
        self.admit_otherwise(&now_ms, &told)
    }

    #[inline(never)]
    fn admit_otherwise(
        &self,
        now_ms_of: &impl Fn() -> u64,
        told: &impl Fn(Step),
    ) -> Result<Admission, Refusal> {
        loop {
            let word = self.word();
            match word.state() {
                State::ForcedOpen => return Err(Refusal::Forced),
                State::Open => {
                    let now_ms = now_ms_of();
                    let wait_ms = word.remaining_ms(now_ms);
                    if wait_ms > 0 {
                        return Err(Refusal::Open { wait_ms });
                    }
                    self.step(word, State::HalfOpen, Cause::Waited, now_ms, told);
                }
                State::HalfOpen => {
                    let now_ms = now_ms_of();
                    if self.timing.half_open_ms_max > 0 && word.remaining_ms(now_ms) == 0 {
                        self.step(word, State::Open, Cause::ProbesTimedOut, now_ms, told);
                        continue;
                    }
                    let is_current = || self.word() == word;
                    match self.leases.acquire(word.generation(), now_ms, self.timing.lease_ms, is_current) {
                        Some(lease) if is_current() => return Ok(Admission { word, lease: lease.packed() }),
                        Some(lease) => {
                            self.leases.release(lease);
                        }
                        // Whoever ended last may not have come to judge yet.
                        None if !self.judge_probes(word, now_ms_of, told) && is_current() => {
                            return Err(Refusal::ProbesBusy);
                        }
                        None => {}
                    }
                }
                _ => return Ok(Admission::plain(word)),
            }
        }
    }

    /// Counts a success that wasn't slow: the short way of [`Self::record`], for windows of calls.
    #[inline(always)]
    pub(crate) fn record_success(
        &self,
        admission: Admission,
        seat: usize,
        now_ms: impl Fn() -> u64,
        told: impl Fn(Step),
    ) -> Recorded {
        let word = self.word();
        debug_assert!(!self.outcomes.needs_time(), "the long way reads the clock before it counts");
        if !word.is_closed() || word != admission.word {
            return self.record(admission, seat, Mark::SUCCESS, now_ms, told);
        }
        match self.outcomes.success(seat, word.generation()) {
            Ok(false) => Recorded::Counted,
            Ok(true) => {
                self.trip_rarely(word, now_ms, told);
                Recorded::Counted
            }
            Err(()) => Recorded::NotCounted,
        }
    }

    /// Counts an outcome, if its generation lasts, and changes the state if it must.
    #[inline(never)]
    pub(crate) fn record(
        &self,
        admission: Admission,
        seat: usize,
        mark: Mark,
        now_ms: impl Fn() -> u64,
        told: impl Fn(Step),
    ) -> Recorded {
        let (recorded, decides) = self.count(admission, seat, mark, &now_ms);
        if decides {
            self.decide(admission, &now_ms, &told);
        }
        recorded
    }

    /// The first half of [`Self::record`]: counts an outcome, and says whether the state may have to change. Where the clock panics, nothing is counted.
    pub(crate) fn count(
        &self,
        admission: Admission,
        seat: usize,
        mark: Mark,
        now_ms: &impl Fn() -> u64,
    ) -> (Recorded, bool) {
        let word = admission.word;
        if let Some(lease) = admission.lease() {
            let recorded = self.count_probe(word, lease, mark);
            return (recorded, recorded == Recorded::Counted);
        }
        if word != self.word() || word.state() == State::Disabled {
            return (Recorded::NotCounted, false);
        }
        let at_ms = if self.outcomes.needs_time() { now_ms() } else { 0 };
        match self.outcomes.record(seat, word.generation(), mark, at_ms) {
            Ok(opens) => (Recorded::Counted, opens),
            Err(()) => (Recorded::NotCounted, false),
        }
    }

    /// The second half of [`Self::record`]: changes the state if it must.
    pub(crate) fn decide(&self, admission: Admission, now_ms: &impl Fn() -> u64, told: &impl Fn(Step)) {
        if admission.is_probe() {
            self.judge_probes(admission.word, now_ms, told);
        } else {
            self.trip(admission.word, now_ms, told);
        }
    }

    /// As [`Self::trip`]. By value: what is borrowed must lie in memory, also where it isn't needed.
    #[cold]
    #[inline(never)]
    fn trip_rarely(&self, word: Word, now_ms: impl Fn() -> u64, told: impl Fn(Step)) {
        self.trip(word, &now_ms, &told);
    }

    /// Opens the breaker, if it still is as it was in `word`.
    pub(crate) fn trip(&self, word: Word, now_ms: &impl Fn() -> u64, told: &impl Fn(Step)) {
        match word.state() {
            State::Closed => {
                self.step(word, State::Open, Cause::Threshold, now_ms(), told);
            }
            State::MetricsOnly => {
                // Relaxed: a statistic.
                self.would_open.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// A probe's outcome stands in its slot; it isn't in the totals.
    fn count_probe(&self, word: Word, lease: Lease, mark: Mark) -> Recorded {
        if word != self.word() {
            self.leases.release(lease);
            return Recorded::NotCounted;
        }
        if self.leases.finish(lease, mark) { Recorded::Counted } else { self.taken_over(word) }
    }

    /// What became of a probe of `word` whose place another one has. If that is of a later generation, no lease ran out: this one's was over by itself.
    ///
    /// The other saw the word of its generation, and then put its lease into the slot (Release). The end that failed found that there (Acquire), or what came
    /// after it. So a look at the word from then on sees that generation or a later one.
    fn taken_over(&self, word: Word) -> Recorded {
        if word == self.word() { Recorded::Expired } else { Recorded::NotCounted }
    }

    /// Leaves the half-open state of `word` if its probes have decided. True if somebody did.
    fn judge_probes(&self, word: Word, now_ms: &impl Fn() -> u64, told: &impl Fn(Step)) -> bool {
        let found = self.leases.found(word.generation());
        if found.failed >= self.probes_failed_max.into() || found.slow >= self.probes_slow_max.into() {
            self.step(word, State::Open, Cause::ProbesFailed, now_ms(), told);
            return true;
        }
        if found.done >= self.leases.len() {
            self.step(word, State::Closed, Cause::ProbesSucceeded, now_ms(), told);
            return true;
        }
        false
    }

    /// A call ended without telling anything of the dependency: its probe goes to another.
    pub(crate) fn give_back(&self, admission: Admission) -> Recorded {
        match admission.lease() {
            Some(lease) if !self.leases.release(lease) => self.taken_over(admission.word),
            _ => Recorded::NotCounted,
        }
    }

    /// Changes the state by hand. False if it is that already.
    pub(crate) fn set(&self, state: State, now_ms: &impl Fn() -> u64, told: &impl Fn(Step)) -> bool {
        loop {
            let word = self.word();
            if word.state() == state {
                return false;
            }
            if self.step(word, state, Cause::Manual, now_ms(), told) {
                return true;
            }
        }
    }

    /// The one place where the state changes.
    fn step(&self, from: Word, state: State, cause: Cause, now_ms: u64, told: &impl Fn(Step)) -> bool {
        let (openings, wait_ms) = match state {
            State::Open => {
                let openings = from.openings() + 1;
                (openings, self.open_ms(openings, from.next_generation()))
            }
            State::HalfOpen => (from.openings(), self.timing.half_open_ms_max),
            _ => (0, 0),
        };
        let to = Word::new(state, from.next_generation(), openings, now_ms.wrapping_add(wait_ms));
        // AcqRel: what came before the edge is seen by whoever sees the new word. One word: nobody sees a state without its deadline.
        if self.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        self.outcomes.begin(to.generation());
        told(Step { from, to, cause, wait_ms });
        true
    }

    /// How long the `openings`-th opening in a row lasts, in milliseconds.
    pub(crate) fn open_ms(&self, openings: u64, generation: u64) -> u64 {
        let timing = &self.timing;
        let grown =
            timing.open_ms as f64 * timing.open_factor.powi(openings.saturating_sub(1).min(1000) as i32);
        let capped = grown.min(timing.open_ms_max as f64) as u64;
        // Between −jitter and +jitter, from the seed and the generation alone.
        let parts = 2 * u64::from(timing.jitter_ppm) + 1;
        let offset = i128::from(mixed(timing.seed ^ generation) % parts) - i128::from(timing.jitter_ppm);
        let varied = i128::from(capped) + i128::from(capped) * offset / 1_000_000;
        (varied as u64).clamp(1, WAIT_MS_MAX)
    }
}

/// A number that looks random: splitmix64 (Steele, Lea and Flood, 2014).
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(all(test, steadfast_loom))]
mod loom_models;
