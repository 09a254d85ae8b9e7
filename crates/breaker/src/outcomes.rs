//! The outcomes of the present generation: striped totals, exact failures, windows over both.
//!
//! - **Totals** are striped. A thread with a seat of its own has a stripe of its own, which nobody else writes: it counts by a load and a
//!   store. All others share one stripe, and count by compare-and-swap. A stripe is `{word, base}`, both `generation | count`: `word` counts for ever, and `base`
//!   is what `word` had counted when its generation began. An owner moves its stripe on to the next generation when it first counts in it, `base` before `word`.
//!   The shared stripe is moved on by whoever comes first: `base`, then `word` from the very count that `base` holds, so a count that slips in
//!   between makes the move fail and start again. Either way an outcome is counted only in a word of its own generation: no older one
//!   can ever count in a later.
//! - **Failures** (and slow calls) are numbered one by one in a [`Series`]; a [`Ring`] keeps the positions of the last k − 1 of them, where a
//!   position is the total at that time. The k-th last failure lies in the window of N calls if its position is above total − N: that is
//!   the whole test for "k of the last N calls failed", and failures in a row are the case N = k.
//! - **A window of time** keeps the totals at the beginning of each bucket ([`TimeWindow`]): what it holds is the present total less that of
//!   its oldest bucket. Recording is the same as for a window of calls.
//!
//! What is approximate: outcomes that are recorded at the same moment have positions in either order, so a window's edge is off by at most the
//! number of threads that are recording. Totals and failures are exact.

use crate::sync::{AtomicU64, Mutex, Ordering, fence, lock};
use crate::word::{COUNT_MAX, count_of, counter, generation_of, is_before};

/// The seat of a thread that has none of its own.
pub(crate) const SHARED: usize = usize::MAX;

/// What else is counted a stripe, on the same cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tally {
    RejectedOpen,
    Acquired,
    Ended,
    Reserved,
    Actual,
    Released,
}

/// A share of the total, on a cache line of its own.
// One line, not `CachePadded`'s two: with the default's three stripes a breaker stays within 1 KiB
// (tests/it/memory.rs).
#[repr(align(64))]
struct Stripe {
    word: AtomicU64,
    base: AtomicU64,
    tallies: [AtomicU64; 6],
}

impl Stripe {
    fn new() -> Self {
        let tallies = std::array::from_fn(|_| AtomicU64::new(0));
        Self { word: AtomicU64::new(0), base: AtomicU64::new(0), tallies }
    }
}

/// The total number of outcomes.
pub(crate) struct Total {
    /// The shared one, and then those of the seats that have one, each written only by the thread that has the seat (seats are handed on through a lock).
    stripes: Box<[Stripe]>,
}

impl Total {
    pub(crate) fn new(seats: usize) -> Self {
        Self { stripes: (0..=seats).map(|_| Stripe::new()).collect() }
    }

    /// The stripe of `seat`, if it has one.
    #[inline(always)]
    fn own(&self, seat: usize) -> Option<&Stripe> {
        // After `SHARED`, which is the highest number, comes the shared one.
        let at = seat.wrapping_add(1);
        self.stripes.get(at).filter(|_| at != 0)
    }

    fn shared(&self) -> &Stripe {
        &self.stripes[0]
    }

    /// Counts one outcome of `generation`; false if that is over. No other thread has the same seat, unless it is [`SHARED`].
    #[inline]
    pub(crate) fn add(&self, seat: usize, generation: u64) -> bool {
        match self.own(seat) {
            Some(own) => own.add_own(generation),
            None => self.shared().add_shared(generation),
        }
    }

    /// Adds to a tally.
    #[inline]
    pub(crate) fn tally(&self, seat: usize, tally: Tally, by: u64) {
        self.tally_all(seat, [(tally, by)]);
    }

    /// Adds to tallies, one after the other.
    #[inline]
    pub(crate) fn tally_all<const N: usize>(&self, seat: usize, all: [(Tally, u64); N]) {
        let Some(own) = self.own(seat) else { return self.tally_shared(all) };
        for (tally, by) in all {
            let word = &own.tallies[tally as usize];
            // Relaxed: no other thread writes it. Release: partner of `tallied`; whoever sees that a permit began sees that those of this thread before it ended.
            word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
        }
    }

    #[cold]
    fn tally_shared<const N: usize>(&self, all: [(Tally, u64); N]) {
        for (tally, by) in all {
            // Release: as above.
            self.shared().tallies[tally as usize].fetch_add(by, Ordering::Release);
        }
    }

    /// The sum of a tally. Whoever has seen a part of it sees all that was counted before that part.
    pub(crate) fn tallied(&self, tally: Tally) -> u64 {
        let of_stripe = |stripe: &Stripe| stripe.tallies[tally as usize].load(Ordering::Acquire);
        self.stripes.iter().map(of_stripe).fold(0, u64::wrapping_add)
    }

    /// Moves the shared stripe on to `generation`. An owner moves its own: what it counted before is not read any more.
    pub(crate) fn begin(&self, generation: u64) {
        self.shared().begin(generation);
    }

    /// The number of outcomes since `generation` began.
    pub(crate) fn since(&self, generation: u64) -> u64 {
        let of_stripe = |stripe: &Stripe| {
            // Acquire: partner of the stores of `word`, before which its base is there.
            let word = stripe.word.load(Ordering::Acquire);
            if generation_of(word) != generation {
                return 0;
            }
            count_of(word).saturating_sub(count_of(stripe.base.load(Ordering::Acquire)))
        };
        self.stripes.iter().map(of_stripe).sum()
    }

    /// The number of outcomes in all generations.
    pub(crate) fn ever(&self) -> u64 {
        self.stripes.iter().map(|stripe| count_of(stripe.word.load(Ordering::Acquire))).sum()
    }
}

impl Stripe {
    /// Counts by the stripe's only writer.
    #[inline]
    fn add_own(&self, generation: u64) -> bool {
        // Relaxed: only this thread writes it.
        let word = self.word.load(Ordering::Relaxed);
        if generation_of(word) == generation && count_of(word) < COUNT_MAX {
            // Release: partner of the loads in `since`; base is there.
            self.word.store(word + 1, Ordering::Release);
            return true;
        }
        self.add_own_to_next(word, generation)
    }

    #[cold]
    fn add_own_to_next(&self, word: u64, generation: u64) -> bool {
        if count_of(word) == COUNT_MAX
            || (generation_of(word) == generation)
            || is_before(generation, generation_of(word))
        {
            return false;
        }
        self.base.store(counter(generation, count_of(word)), Ordering::Release);
        self.word.store(counter(generation, count_of(word) + 1), Ordering::Release);
        true
    }

    /// Counts by one of many writers.
    fn add_shared(&self, generation: u64) -> bool {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            if is_before(generation_of(seen), generation) {
                self.begin(generation);
            } else if generation_of(seen) != generation || count_of(seen) == COUNT_MAX {
                return false;
            } else if self
                .word
                .compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Moves on to `generation`, unless somebody did or it is already over.
    fn begin(&self, generation: u64) {
        loop {
            // The base is read before the word: a base that is kept is then never above the count that it is set from.
            let base = self.base.load(Ordering::Acquire);
            let word = self.word.load(Ordering::Acquire);
            if !is_before(generation_of(word), generation) {
                return;
            }
            let next = counter(generation, count_of(word));
            let based = self.base.compare_exchange(base, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if based && self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }
}

/// Failures, or slow calls, numbered within their generation: `generation | count`.
pub(crate) struct Series {
    head: AtomicU64,
}

impl Series {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    /// Takes the next number from 0; nothing if `generation` is over.
    pub(crate) fn push(&self, generation: u64) -> Option<u64> {
        let mut seen = self.head.load(Ordering::Relaxed);
        loop {
            let next = if generation_of(seen) == generation {
                seen + u64::from(count_of(seen) < COUNT_MAX)
            } else if is_before(generation_of(seen), generation) {
                counter(generation, 1)
            } else {
                return None;
            };
            match self.head.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(count_of(next) - 1),
                Err(now) => seen = now,
            }
        }
    }

    /// Moves on to `generation`, unless that is over.
    fn begin(&self, generation: u64) {
        let mut seen = self.head.load(Ordering::Relaxed);
        while is_before(generation_of(seen), generation) {
            let next = counter(generation, 0);
            match self.head.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    pub(crate) fn since(&self, generation: u64) -> u64 {
        let head = self.head.load(Ordering::Acquire);
        if generation_of(head) == generation { count_of(head) } else { 0 }
    }
}

/// Tells when k of the last N calls were of a series, from the positions of the last k − 1: `generation | position`, positions from 1.
pub(crate) struct Ring {
    window: u64,
    slots: Box<[AtomicU64]>,
}

impl Ring {
    /// `k` from 1 to `window`.
    pub(crate) fn new(k: u64, window: u64) -> Self {
        Self { window, slots: (1..k).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Puts the `number`-th at `position`; true if it is the k-th within the window.
    pub(crate) fn push(&self, number: u64, generation: u64, position: u64) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        let slot = &self.slots[(number % self.slots.len() as u64) as usize];
        // A swap, not a load and a store: of two that meet in a slot one sees the other, so the k-th is never overlooked.
        let k_th_last = slot.swap(counter(generation, position), Ordering::AcqRel);
        generation_of(k_th_last) == generation
            && count_of(k_th_last) != 0
            && count_of(k_th_last) + self.window > position
    }

    /// How many lie within the window that ends at `total`, at most k − 1.
    pub(crate) fn within(&self, generation: u64, total: u64) -> u64 {
        let inside = |slot: &&AtomicU64| {
            let seen = slot.load(Ordering::Acquire);
            generation_of(seen) == generation && count_of(seen) != 0 && count_of(seen) + self.window > total
        };
        self.slots.iter().filter(inside).count() as u64
    }
}

/// Calls, failures and slow calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
}

impl Counts {
    pub(crate) fn less(self, earlier: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            failures: self.failures.saturating_sub(earlier.failures),
            slow: self.slow.saturating_sub(earlier.slow),
        }
    }
}

/// A window of time in buckets. The lock is taken once a bucket and, while something fails, for a few loads.
pub(crate) struct TimeWindow {
    bucket_ms: u64,
    /// The bucket that was begun last, as `generation | bucket`.
    seen: AtomicU64,
    begun: Mutex<Begun>,
}

struct Begun {
    generation: u64,
    bucket: Option<u64>,
    /// What was counted when a bucket began, at its number modulo the length.
    at: Box<[Counts]>,
}

impl TimeWindow {
    pub(crate) fn new(bucket_ms: u64, buckets: usize) -> Self {
        let at = vec![Counts::default(); buckets].into_boxed_slice();
        let begun = Mutex::new(Begun { generation: 0, bucket: None, at });
        Self { bucket_ms, seen: AtomicU64::new(COUNT_MAX), begun }
    }

    /// Begins the bucket of `now_ms` if nobody has; a clock that jumped back stays in the present one. True if one was begun: what has
    /// left the window may change the verdict.
    pub(crate) fn advance(&self, generation: u64, now_ms: u64, counted: impl FnOnce() -> Counts) -> bool {
        let bucket = (now_ms / self.bucket_ms) & (COUNT_MAX >> 1);
        // Acquire: partner of the store below, after which the bucket's beginning is in place.
        let seen = self.seen.load(Ordering::Acquire);
        if generation_of(seen) == generation && count_of(seen) != COUNT_MAX && count_of(seen) >= bucket {
            return false;
        }
        let mut begun = lock(&self.begun);
        begun.reset_before(generation);
        if begun.generation != generation || begun.bucket.is_some_and(|last| last >= bucket) {
            return false;
        }
        if let Some(last) = begun.bucket {
            let counted = counted();
            let buckets = begun.at.len() as u64;
            for later in (last + 1).max((bucket + 1).saturating_sub(buckets))..=bucket {
                begun.at[(later % buckets) as usize] = counted;
            }
        }
        begun.bucket = Some(bucket);
        self.seen.store(counter(generation, bucket), Ordering::Release);
        true
    }

    /// What of `counted` lies within the window.
    pub(crate) fn within(&self, generation: u64, counted: Counts) -> Counts {
        let begun = lock(&self.begun);
        if begun.generation != generation {
            return counted;
        }
        let oldest = begun.bucket.map_or(0, |bucket| (bucket + 1) % begun.at.len() as u64);
        counted.less(begun.at[oldest as usize])
    }
}

impl Begun {
    /// Counts of a generation begin at 0, in the bucket of its first outcome.
    fn reset_before(&mut self, generation: u64) {
        if is_before(self.generation, generation) {
            self.at.fill(Counts::default());
            self.generation = generation;
            self.bucket = None;
        }
    }
}

/// What the outcomes are judged by; see the fields of the same names in the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Thresholds {
    pub(crate) window: WindowKind,
    pub(crate) calls_min: u64,
    /// In parts of a million.
    pub(crate) failure_ppm: Option<u32>,
    pub(crate) slow_ppm: Option<u32>,
    pub(crate) consecutive: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Calls(u64),
    Time { bucket_ms: u64, buckets: u32 },
}

const MILLION: u128 = 1_000_000;

/// Whether `part` of `whole` is at least `ppm` parts of a million.
pub(crate) fn reaches(part: u64, whole: u64, ppm: u32) -> bool {
    part > 0 && u128::from(part) * MILLION >= u128::from(whole) * u128::from(ppm)
}

/// The smallest number of `whole` that is at least `ppm` parts of a million, from 1.
pub(crate) fn share_of(whole: u64, ppm: u32) -> u64 {
    (u128::from(whole) * u128::from(ppm)).div_ceil(MILLION).max(1) as u64
}

/// How a call that counts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

impl Mark {
    pub(crate) const SUCCESS: Self = Self { failed: false, slow: false };
}

/// All that is counted of a breaker's calls.
pub(crate) struct Outcomes {
    pub(crate) total: Total,
    /// The generation whose total has reached the minimum, as `generation | 1`.
    warm: AtomicU64,
    failures: Series,
    slow: Series,
    failure_ring: Option<Ring>,
    slow_ring: Option<Box<Ring>>,
    row_ring: Option<Box<Ring>>,
    time: Option<Box<TimeWindow>>,
    thresholds: Thresholds,
}

impl Outcomes {
    pub(crate) fn new(seats: usize, thresholds: Thresholds) -> Self {
        let ring = |ppm: Option<u32>| match thresholds.window {
            WindowKind::Calls(window) => ppm.map(|ppm| Ring::new(share_of(window, ppm), window)),
            WindowKind::Time { .. } => None,
        };
        Self {
            total: Total::new(seats),
            warm: AtomicU64::new(0),
            failures: Series::new(),
            slow: Series::new(),
            failure_ring: ring(thresholds.failure_ppm),
            slow_ring: ring(thresholds.slow_ppm).map(Box::new),
            row_ring: thresholds.consecutive.map(|k| Box::new(Ring::new(k.into(), k.into()))),
            time: match thresholds.window {
                WindowKind::Calls(_) => None,
                WindowKind::Time { bucket_ms, buckets } => {
                    Some(Box::new(TimeWindow::new(bucket_ms, buckets as usize)))
                }
            },
            thresholds,
        }
    }

    /// Whether a record needs the time.
    pub(crate) fn needs_time(&self) -> bool {
        self.time.is_some()
    }

    /// Moves a window of time on to `now_ms`.
    pub(crate) fn advance(&self, generation: u64, now_ms: u64) {
        if let Some(time) = &self.time {
            time.advance(generation, now_ms, || self.since(generation));
        }
    }

    /// Counts a success in a window of calls; true if the breaker should open.
    /// `Err` if `generation` is over: nothing was counted.
    #[inline]
    pub(crate) fn success(&self, seat: usize, generation: u64) -> Result<bool, ()> {
        if !self.total.add(seat, generation) {
            return Err(());
        }
        // Relaxed: once warm, a generation stays so; who sees it late only evaluates once more.
        if self.warm.load(Ordering::Relaxed) == counter(generation, 1) {
            return Ok(false);
        }
        Ok(self.warm_up(generation))
    }

    /// Counts any outcome; true if the breaker should open. `Err` if `generation` is over: nothing was counted.
    pub(crate) fn record(&self, seat: usize, generation: u64, mark: Mark, now_ms: u64) -> Result<bool, ()> {
        // Before the outcome itself, which belongs into the bucket that begins.
        let begun = self
            .time
            .as_ref()
            .is_some_and(|time| time.advance(generation, now_ms, || self.since(generation)));
        if !self.total.add(seat, generation) {
            return Err(());
        }
        // After the total, so a failure is never without its call. Should the generation end in between, nobody reads it.
        let mut opens = mark.failed && self.fail(generation);
        opens |= mark.slow && self.slow_down(generation);
        if self.time.is_some() {
            let judge = mark.failed || mark.slow || begun || self.has_trouble(generation);
            return Ok(opens || (judge && self.time_is_over(generation)));
        }
        if mark.failed || mark.slow || self.warm.load(Ordering::Relaxed) != counter(generation, 1) {
            opens |= self.warm_up(generation);
        }
        Ok(opens)
    }

    /// Numbers a failure; true if it is one too many in a row or in a full window of calls.
    fn fail(&self, generation: u64) -> bool {
        let Some(number) = self.failures.push(generation) else { return false };
        let position = self.total_after_write(generation);
        let put = |ring: Option<&Ring>| ring.is_some_and(|ring| ring.push(number, generation, position));
        // Both rings get it, whatever one of them says.
        let (in_a_row, in_window) = (put(self.row_ring.as_deref()), put(self.failure_ring.as_ref()));
        in_a_row || (in_window && self.is_full(position))
    }

    /// Numbers a slow call; true if it is one too many in a full window of calls.
    fn slow_down(&self, generation: u64) -> bool {
        let Some(number) = self.slow.push(generation) else { return false };
        let position = self.total_after_write(generation);
        let in_window = self.slow_ring.as_ref().is_some_and(|ring| ring.push(number, generation, position));
        in_window && self.is_full(position)
    }

    /// Whether a window of calls holds as many as it can. One that doesn't is judged by shares, in `warm_up`.
    fn is_full(&self, calls: u64) -> bool {
        matches!(self.thresholds.window, WindowKind::Calls(window) if calls > window)
    }

    /// The total, such that of two threads that each write and then read at least one sees both.
    fn total_after_write(&self, generation: u64) -> u64 {
        // Partner: the same fence of the other thread. Each is between its own count and its look at the others'.
        fence(Ordering::SeqCst);
        self.total.since(generation)
    }

    /// Judges a window of calls that isn't full.
    #[cold]
    fn warm_up(&self, generation: u64) -> bool {
        let calls = self.total_after_write(generation);
        if self.time.is_some() || calls < self.thresholds.calls_min {
            return false;
        }
        // Marked before the failures are read: a failure that comes later judges for itself.
        self.warm.store(counter(generation, 1), Ordering::Release);
        fence(Ordering::SeqCst);
        let WindowKind::Calls(window) = self.thresholds.window else { return false };
        calls <= window && self.is_over(self.since(generation))
    }

    fn has_trouble(&self, generation: u64) -> bool {
        self.failures.since(generation) + self.slow.since(generation) > 0
    }

    fn time_is_over(&self, generation: u64) -> bool {
        fence(Ordering::SeqCst);
        let within = self.window(generation);
        within.calls >= self.thresholds.calls_min && self.is_over(within)
    }

    fn is_over(&self, counts: Counts) -> bool {
        let over = |part: u64, ppm: Option<u32>| ppm.is_some_and(|ppm| reaches(part, counts.calls, ppm));
        over(counts.failures, self.thresholds.failure_ppm) || over(counts.slow, self.thresholds.slow_ppm)
    }

    /// What was counted since `generation` began. No more failures than calls: those are read first.
    pub(crate) fn since(&self, generation: u64) -> Counts {
        let failures = self.failures.since(generation);
        let slow = self.slow.since(generation);
        Counts { failures, slow, calls: self.total.since(generation) }
    }

    /// What the window holds: all of the generation while that is shorter. Failures of a window of calls are told up to one below
    /// what opens the breaker.
    pub(crate) fn window(&self, generation: u64) -> Counts {
        let counted = self.since(generation);
        match (&self.time, self.thresholds.window) {
            (Some(time), _) => time.within(generation, counted),
            (None, WindowKind::Calls(window)) if counted.calls > window => {
                let within =
                    |ring: Option<&Ring>| ring.map_or(0, |ring| ring.within(generation, counted.calls));
                Counts {
                    calls: window,
                    failures: within(self.failure_ring.as_ref()),
                    slow: within(self.slow_ring.as_deref()),
                }
            }
            _ => counted,
        }
    }

    /// Begins `generation`: every count of the ones before is over.
    ///
    /// Whoever records first does the same for what it touches; this leaves nothing behind by so many generations that before and after
    /// could be confused.
    pub(crate) fn begin(&self, generation: u64) {
        self.total.begin(generation);
        self.failures.begin(generation);
        self.slow.begin(generation);
        if let Some(time) = &self.time {
            lock(&time.begun).reset_before(generation);
        }
    }
}

#[cfg(all(test, steadfast_loom))]
mod loom_models;
