//! Recording: what the users of a load write down, and how it is put together.
//!
//! Each operation writes into one of a few shards, under a lock that practically nobody else wants: users are spread
//! over the shards, and the collector takes a shard's figures by swapping in an empty set. So memory does not grow
//! with users or operations, and nothing waits while figures are merged. The collector adds each window's figures to
//! the total, so the total is exactly the sum of the windows.
//!
//! How many operations were started is counted apart, by steadfast-metrics: each thread in memory of its own, to be added up when somebody asks. So a
//! record that got lost between here and the figures shows. The figures themselves stay in HDR histograms behind the locks: an operation is in one
//! window with all that it has (counts, up to four times, its phase, its error), and their memory is written to before the load.
//!
//! Latency is recorded of operations that succeeded, and of those that timed out with the time that was waited:
//! leaving a timeout out would flatter the tail. Errors are counted but not timed: a fast refusal is no service.

pub(crate) mod latencies;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use steadfast_metrics::{Counter, Registry};

use crate::target::Outcome;

pub(crate) use self::latencies::Latencies;

/// Kinds of errors that are told apart; the rest is `other`.
const KINDS_MAX: usize = 32;
/// The kind that a panic is counted under.
pub(crate) const PANIC: &str = "panic";

/// Shared by all users of one load.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Each in cache lines of its own.
    shards: Box<[CachePadded<Shard>]>,
    /// Operations that were started, calibrations included.
    started: Counter,
    /// In a cache line of their own.
    gauges: CachePadded<Gauges>,
}

/// The figures that some of the users write down.
#[derive(Debug)]
struct Shard(Mutex<Figures>);

/// All `Relaxed`: each is a number of its own, read for display or after the users were joined.
#[derive(Debug, Default)]
struct Gauges {
    /// What `started` was when it last counted as 0.
    started_before: AtomicU64,
    in_flight: AtomicU64,
    in_flight_peak: AtomicU64,
    /// Since the last window was collected.
    window_peak: AtomicU64,
}

/// The figures of some operations: those of a shard, a window or a whole load.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) counts: Counts,
    /// From an operation's real start.
    pub(crate) service: Latencies,
    /// Only in an open loop.
    pub(crate) open: Option<OpenFigures>,
    pub(crate) kinds: BTreeMap<Cow<'static, str>, Kind>,
    /// By the phase in which an operation started; empty where the load has only one.
    pub(crate) phases: Vec<PhaseFigures>,
    pub(crate) last_end: Option<Instant>,
}

/// What is written down of each phase.
#[derive(Debug, Clone)]
pub(crate) struct PhaseFigures {
    pub(crate) counts: Counts,
    /// Succeeded while the phase lasted, whichever phase they belong to; only in an open loop.
    pub(crate) done_within: u64,
    /// The latency that objectives are about, to 1 %.
    pub(crate) latency: Latencies,
}

/// What figures have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) open: bool,
    /// 0 where the load has only one phase.
    pub(crate) phases: usize,
}

/// What only a schedule can tell.
#[derive(Debug)]
pub(crate) struct OpenFigures {
    /// From an operation's intended start.
    pub(crate) response: Latencies,
    /// How late an operation started although a slot was free: the generator's doing.
    pub(crate) lag: Latencies,
    /// Operations that had to wait for a free slot.
    pub(crate) waited: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) panicked: u64,
    pub(crate) timed_out: u64,
}

/// The errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) count: u64,
    /// The first message that was seen.
    pub(crate) example: String,
}

/// When an operation of an open loop should have started, and what may have kept it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intent {
    pub(crate) intended: Instant,
    /// Since when the slot that it got was free.
    pub(crate) free_since: Instant,
    /// Whether it took the last slot. Otherwise others were free all along, and only the runtime didn't get to them.
    pub(crate) last_slot: bool,
    /// The phase in which it ended; nothing after the last.
    pub(crate) ended_in: Option<usize>,
}

impl Intent {
    fn waited_for_slot(&self) -> bool {
        self.last_slot && self.free_since > self.intended
    }
}

impl Recorder {
    pub(crate) fn new(layout: Layout, shards: usize) -> Self {
        let shard = |_| CachePadded::new(Shard(Mutex::new(Figures::touched(layout))));
        // Panics: never; the registry is new and the name a legal one.
        let started =
            Registry::new().counter("operations_started").expect("a new registry takes a legal name");
        Self { shards: (0..shards.max(1)).map(shard).collect(), started, gauges: CachePadded::default() }
    }

    /// As many shards as keep the threads of a runtime out of each other's way.
    pub(crate) fn for_this_machine(layout: Layout) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(layout, (2 * threads).min(16))
    }

    /// Counts an operation as started; tells when, and how many are in flight with it.
    pub(crate) fn begin(&self) -> (Instant, u64) {
        self.started.increment();
        let now = self.gauges.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        for peak in [&self.gauges.in_flight_peak, &self.gauges.window_peak] {
            // Mostly the peak stands, and a load alone doesn't take the cache line away from the others.
            if peak.load(Ordering::Relaxed) < now {
                peak.fetch_max(now, Ordering::Relaxed);
            }
        }
        (Instant::now(), now)
    }

    /// Writes an operation down; tells when it ended. `phase` is the one in which it started.
    pub(crate) fn end(
        &self,
        user: usize,
        started: Instant,
        intent: Option<Intent>,
        phase: usize,
        outcome: Outcome,
    ) -> Instant {
        let ended = Instant::now();
        self.gauges.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut figures = self.shards[user % self.shards.len()].lock();
        figures.last_end = figures.last_end.max(Some(ended));
        let is_timed = matches!(outcome, Outcome::Success | Outcome::Timeout);
        if is_timed {
            figures.service.record(ended - started);
        }
        if let (Some(intent), Some(open)) = (intent, &mut figures.open) {
            if is_timed {
                open.response.record(ended.saturating_duration_since(intent.intended));
            }
            let waited = intent.waited_for_slot();
            let could_start = if waited { intent.free_since } else { intent.intended };
            open.lag.record(started.saturating_duration_since(could_start));
            open.waited += u64::from(waited);
        }
        if let Some(of_phase) = figures.phases.get_mut(phase) {
            of_phase.counts.count(&outcome);
            if is_timed {
                let from = intent.map_or(started, |intent| intent.intended);
                of_phase.latency.record(ended.saturating_duration_since(from));
            }
        }
        if let (Outcome::Success, Some(ended_in)) = (&outcome, intent.and_then(|intent| intent.ended_in))
            && let Some(of_phase) = figures.phases.get_mut(ended_in)
        {
            of_phase.done_within += 1;
        }
        figures.count(outcome);
        ended
    }

    /// Moves what has been written since the last call to `window`. `spare` is an empty set of figures.
    pub(crate) fn collect(&self, window: &mut Figures, spare: &mut Figures) {
        for shard in &self.shards {
            std::mem::swap(&mut *shard.lock(), spare);
            window.add(spare);
            spare.clear();
        }
    }

    /// Back to 0, when nobody uses it.
    pub(crate) fn reset_gauges(&self) {
        let Gauges { started_before, in_flight, in_flight_peak, window_peak } = &*self.gauges;
        // A counter only grows, so the next figures begin where it stands.
        started_before.store(self.started.read(), Ordering::Relaxed);
        for gauge in [in_flight, in_flight_peak, window_peak] {
            gauge.store(0, Ordering::Relaxed);
        }
    }

    /// Operations that were started; asks all threads, so not for each operation.
    pub(crate) fn issued(&self) -> u64 {
        self.started.read() - self.gauges.started_before.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.gauges.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight_peak(&self) -> u64 {
        self.gauges.in_flight_peak.load(Ordering::Relaxed)
    }

    /// The most in flight since the last call.
    pub(crate) fn take_window_peak(&self) -> u64 {
        let peak = self.gauges.window_peak.swap(0, Ordering::Relaxed);
        peak.max(self.in_flight())
    }
}

impl Shard {
    fn lock(&self) -> std::sync::MutexGuard<'_, Figures> {
        // Nothing panics while it holds the lock; if it did, a lost count is found by comparing with `issued`.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    pub(crate) fn new(layout: Layout) -> Self {
        let open =
            layout.open.then(|| OpenFigures { response: Latencies::new(), lag: Latencies::new(), waited: 0 });
        Self {
            counts: Counts::default(),
            service: Latencies::new(),
            open,
            kinds: BTreeMap::new(),
            phases: vec![
                PhaseFigures {
                    counts: Counts::default(),
                    done_within: 0,
                    latency: Latencies::coarse()
                };
                layout.phases
            ],
            last_end: None,
        }
    }

    /// Empty, with all memory that it will ever use written to: it must not count as the target's growth.
    pub(crate) fn touched(layout: Layout) -> Self {
        let mut figures = Self::new(layout);
        figures.service.touch();
        figures.phases.iter_mut().for_each(|phase| phase.latency.touch());
        if let Some(open) = &mut figures.open {
            open.response.touch();
            open.lag.touch();
        }
        figures
    }

    /// The latency that objectives are about: response time in an open loop, service time in a closed one.
    pub(crate) fn latency(&self) -> &Latencies {
        self.open.as_ref().map_or(&self.service, |open| &open.response)
    }

    pub(crate) fn clear(&mut self) {
        self.counts = Counts::default();
        self.service.clear();
        if let Some(open) = &mut self.open {
            open.response.clear();
            open.lag.clear();
            open.waited = 0;
        }
        self.kinds.clear();
        for phase in &mut self.phases {
            phase.counts = Counts::default();
            phase.done_within = 0;
            phase.latency.clear();
        }
        self.last_end = None;
    }

    pub(crate) fn add(&mut self, other: &Figures) {
        self.counts.add(other.counts);
        self.service.add(&other.service);
        if let (Some(open), Some(other)) = (&mut self.open, &other.open) {
            open.response.add(&other.response);
            open.lag.add(&other.lag);
            open.waited += other.waited;
        }
        for (name, kind) in &other.kinds {
            self.kind(name.clone(), &kind.example).count += kind.count;
        }
        for (phase, other) in self.phases.iter_mut().zip(&other.phases) {
            phase.counts.add(other.counts);
            phase.done_within += other.done_within;
            phase.latency.add(&other.latency);
        }
        self.last_end = self.last_end.max(other.last_end);
    }

    fn count(&mut self, outcome: Outcome) {
        self.counts.count(&outcome);
        match outcome {
            Outcome::Success | Outcome::Timeout => {}
            Outcome::Error(failure) => {
                let name = Cow::Owned(failure.kind().to_owned());
                self.kind(name, failure.message()).count += 1;
            }
            Outcome::Panic(message) => {
                self.kind(Cow::Borrowed(PANIC), &message).count += 1;
            }
        }
    }

    fn kind(&mut self, name: Cow<'static, str>, example: &str) -> &mut Kind {
        let has_room = self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&name);
        let name = if has_room || name == PANIC { name } else { Cow::Borrowed("other") };
        self.kinds.entry(name).or_insert_with(|| Kind { count: 0, example: example.to_owned() })
    }
}

impl Counts {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Success => self.succeeded += 1,
            Outcome::Timeout => self.timed_out += 1,
            Outcome::Error(_) => self.failed += 1,
            Outcome::Panic(_) => {
                self.failed += 1;
                self.panicked += 1;
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.timed_out += other.timed_out;
    }

    pub(crate) fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.timed_out
    }
}

/// How long `of` took, in seconds; never 0, so that a rate can be made of it.
pub(crate) fn seconds(of: Duration) -> f64 {
    of.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    const CLOSED: Layout = Layout { open: false, phases: 2 };
    const OPEN: Layout = Layout { open: true, phases: 0 };

    #[test]
    fn windows_sum_up_to_the_total() {
        let recorder = Recorder::new(CLOSED, 3);
        let (mut spare, mut total) = (Figures::touched(CLOSED), Figures::touched(CLOSED));
        for window in 0..4 {
            for user in 0..10 {
                let (started, _) = recorder.begin();
                let outcome = match user {
                    0 => Outcome::Error(Failure::new("refused", format!("in window {window}"))),
                    1 => Outcome::Timeout,
                    2 => Outcome::Panic("oh".to_owned()),
                    _ => Outcome::Success,
                };
                recorder.end(user, started, None, user % 2, outcome);
            }
            let mut figures = Figures::new(CLOSED);
            recorder.collect(&mut figures, &mut spare);
            assert_eq!(figures.counts.ended(), 10);
            assert_eq!(spare.counts, Counts::default());
            total.add(&figures);
        }
        assert_eq!(total.counts, Counts { succeeded: 28, failed: 8, panicked: 4, timed_out: 4 });
        assert_eq!(total.service.count(), 32, "errors are not timed");
        let of_phases = total.phases.iter().fold(Counts::default(), |mut sum, phase| {
            sum.add(phase.counts);
            sum
        });
        assert_eq!(of_phases, total.counts);
        assert_eq!(total.phases[0].counts.timed_out, 0, "user 1 belongs to the other phase");
        assert_eq!(total.kinds["refused"], Kind { count: 4, example: "in window 0".to_owned() });
        assert_eq!(total.kinds[PANIC].count, 4);
        assert_eq!((recorder.issued(), recorder.in_flight(), recorder.in_flight_peak()), (40, 0, 1));
    }

    #[test]
    fn a_late_start_is_the_slots_or_the_generators() {
        let recorder = Recorder::new(OPEN, 1);
        let ms = Duration::from_millis;
        let base = Instant::now();
        // The slot was busy until 50 ms after the intended start, and the generator needed 2 ms more.
        let intent = Intent { intended: base, free_since: base + ms(50), last_slot: true, ended_in: None };
        recorder.begin();
        recorder.end(0, base + ms(52), Some(intent), 0, Outcome::Success);
        // The slot was free; the generator alone was 3 ms late.
        let intent = Intent { intended: base + ms(10), free_since: base, last_slot: true, ended_in: None };
        recorder.begin();
        recorder.end(0, base + ms(13), Some(intent), 0, Outcome::Success);
        // This slot was busy, but others were free: nobody looked after them for 3 ms.
        let intent = Intent { intended: base, free_since: base + ms(2), last_slot: false, ended_in: None };
        recorder.begin();
        recorder.end(0, base + ms(3), Some(intent), 0, Outcome::Success);
        let mut figures = Figures::new(OPEN);
        recorder.collect(&mut figures, &mut Figures::new(OPEN));
        let open = figures.open.unwrap();
        assert_eq!(open.waited, 1);
        assert!(open.lag.max() < ms(4) && open.lag.min() > ms(1), "{:?}", open.lag.max());
    }

    #[test]
    fn kinds_are_bounded() {
        let recorder = Recorder::new(CLOSED, 1);
        for number in 0..1_000 {
            let (started, _) = recorder.begin();
            recorder.end(0, started, None, 0, Outcome::Error(Failure::new(format!("kind {number}"), "")));
        }
        let (started, _) = recorder.begin();
        recorder.end(0, started, None, 0, Outcome::Panic(String::new()));
        let mut figures = Figures::new(CLOSED);
        recorder.collect(&mut figures, &mut Figures::new(CLOSED));
        assert_eq!(figures.kinds["other"].count, 1_000 - KINDS_MAX as u64);
        assert_eq!(figures.kinds[PANIC].count, 1, "a panic never hides among the others");
    }

    /// What writing an operation down costs: `cargo test --release -p steadfast-stress --lib what_recording_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn what_recording_costs() {
        const OPERATIONS: u32 = 300_000;
        let cost = |layout: Layout, threads: usize| {
            let recorder = Recorder::for_this_machine(layout);
            let recorder = &recorder;
            let each = move |user: usize| {
                let begun = Instant::now();
                for number in 0..OPERATIONS {
                    let (started, _) = recorder.begin();
                    let late = Duration::from_nanos(u64::from(number % 1000) * 1000);
                    let intended = started.checked_sub(late).unwrap_or(started);
                    let intent = layout.open.then_some(Intent {
                        intended,
                        free_since: intended,
                        last_slot: false,
                        ended_in: Some(0),
                    });
                    recorder.end(user, intended, intent, number as usize % 2, Outcome::Success);
                }
                begun.elapsed() / OPERATIONS
            };
            let run = || {
                std::thread::scope(|scope| {
                    let running: Vec<_> = (0..threads).map(|user| scope.spawn(move || each(user))).collect();
                    running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
                })
            };
            let mut times: Vec<Duration> = (0..15).map(|_| run()).collect();
            times.sort();
            (times[0], times[7])
        };
        let clock = {
            let begun = Instant::now();
            for _ in 0..OPERATIONS {
                std::hint::black_box(Instant::now());
            }
            begun.elapsed() / OPERATIONS
        };
        println!("a look at the clock {clock:?}; an operation has two");
        for (open, phases) in [(false, 0), (true, 0), (true, 2)] {
            for threads in [1, 2] {
                let layout = Layout { open, phases };
                let (least, median) = cost(layout, threads);
                println!("{layout:?}, {threads} threads: {least:?} at best, {median:?} median");
            }
        }
    }
}
