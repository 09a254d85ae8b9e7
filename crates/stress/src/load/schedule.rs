//! When each operation of an open loop is to start.
//!
//! The phases give the number of operations wanted by a time, N(t): steady pace adds rate × time, a ramp the area under
//! its line, a burst a step. At an even pace operation *n* starts where N reaches *n*. Poisson arrivals are even in
//! *N*: a random walk of exponential steps, scaled so that exactly as many arrive as at an even pace, which is the
//! Poisson process on condition of that number. So the number planned is exact, and any rate may change under it.
//!
//! A time can be asked for by number, in any order and from any thread. Of the random walk one place in [`BLOCK`] is
//! kept and the rest is walked again, so that hours at a high rate take a few megabytes.

use std::time::{Duration, Instant};

use super::phase::{Pace, Phase};
use crate::rng::{Rng, operation_seed};

/// Steps of the random walk between two places that are kept.
const BLOCK: u64 = 64;
/// Sets the schedule's random numbers apart from those of operations.
const ARRIVALS: u64 = u64::MAX;

/// How operations are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Arrivals {
    #[default]
    Even,
    Poisson,
}

/// The times of all operations of an open loop.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start: Instant,
    segments: Vec<Segment>,
    total: u64,
    walk: Option<Walk>,
}

/// A phase, with what came before it.
#[derive(Debug, Clone, Copy)]
struct Segment {
    pace: Pace,
    /// Seconds from the schedule's start.
    begins: f64,
    lasts: f64,
    /// N before it.
    before: f64,
    /// What it adds to N.
    adds: f64,
}

/// The random walk: where it is after each block, in units of N.
#[derive(Debug, Clone)]
struct Walk {
    seed: u64,
    /// From the walk's own length to that of N.
    scale: f64,
    places: Vec<f64>,
}

impl Schedule {
    /// Starts now, unless [`starting`](Self::starting) says otherwise. Random arrivals take about 10 ns each.
    pub(crate) fn new(phases: &[Phase], arrivals: Arrivals, seed: u64) -> Self {
        let (segments, total) = segments(phases);
        let wanted = segments.last().map_or(0.0, |last| last.before + last.adds);
        let walk = (arrivals == Arrivals::Poisson).then(|| Walk::new(seed, total, wanted));
        Self { start: Instant::now(), segments, total, walk }
    }

    pub(crate) fn starting(mut self, start: Instant) -> Self {
        self.start = start;
        self
    }

    /// How many operations the phases hold. What rounding took off a whole number is put back.
    pub(crate) fn total(phases: &[Phase]) -> u64 {
        segments(phases).1
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn operations(&self) -> u64 {
        self.total
    }

    pub(crate) fn intended(&self, number: u64) -> Instant {
        self.at(self.walk.as_ref().map_or(number as f64, |walk| walk.place(number)))
    }

    /// All times in their order. Cheaper than to ask for each.
    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let mut steps = self.walk.as_ref().map(Walk::steps);
        (0..self.total).map(move |number| {
            // The steps end with the last operation.
            self.at(steps.as_mut().map_or(number as f64, |steps| steps.next().unwrap_or(f64::MAX)))
        })
    }

    /// How many operations should have started before `time`.
    pub(crate) fn due_before(&self, time: Instant) -> u64 {
        let (mut low, mut high) = (0, self.total);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.intended(middle) < time { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The phase that an operation belongs to, by its number.
    pub(crate) fn phase_of(&self, number: u64) -> usize {
        self.segment_at(self.walk.as_ref().map_or(number as f64, |walk| walk.place(number)))
    }

    /// The phase at that time; nothing before the first and after the last.
    pub(crate) fn phase_at(&self, time: Instant) -> Option<usize> {
        let elapsed = time.checked_duration_since(self.start)?.as_secs_f64();
        let phase = self.segments.partition_point(|segment| segment.begins + segment.lasts <= elapsed);
        (phase < self.segments.len()).then_some(phase)
    }

    fn segment_at(&self, wanted: f64) -> usize {
        // The first begins at 0, so there is always one; phases that add nothing are passed over.
        self.segments
            .partition_point(|segment| segment.before + segment.adds <= wanted)
            .min(self.segments.len() - 1)
    }

    /// Where N reaches `wanted`.
    fn at(&self, wanted: f64) -> Instant {
        let segment = &self.segments[self.segment_at(wanted)];
        let within = (wanted - segment.before).max(0.0);
        let seconds = match segment.pace {
            Pace::Burst(_) => 0.0,
            Pace::Steady(rate) => within / rate,
            Pace::Ramp { from, to } => {
                // The root of `from t + slope t² / 2 = within`, in the form that doesn't cancel.
                let slope = (to - from) / segment.lasts;
                2.0 * within
                    / (from + (from * from + 2.0 * slope * within).max(0.0).sqrt()).max(f64::MIN_POSITIVE)
            }
        };
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, segment.lasts) } else { segment.lasts };
        self.start + Duration::from_secs_f64(segment.begins + seconds)
    }
}

fn segments(phases: &[Phase]) -> (Vec<Segment>, u64) {
    let (mut begins, mut before) = (0.0, 0.0);
    let mut segments = Vec::with_capacity(phases.len());
    for phase in phases {
        let lasts = phase.duration.as_secs_f64();
        let adds = match phase.pace {
            Pace::Steady(rate) => rate * lasts,
            Pace::Ramp { from, to } => f64::midpoint(from, to) * lasts,
            Pace::Burst(operations) => operations as f64,
        };
        segments.push(Segment { pace: phase.pace, begins, lasts, before, adds });
        begins += lasts;
        before += adds;
    }
    let total = if (before - before.round()).abs() < 1e-6 { before.round() as u64 } else { before as u64 };
    (segments, total)
}

impl Walk {
    fn new(seed: u64, total: u64, wanted: f64) -> Self {
        let mut walk = Self { seed, scale: 1.0, places: Vec::with_capacity((total / BLOCK) as usize + 1) };
        let mut place = 0.0;
        // One step more than there are operations: the last one's distance from the end is random as well.
        for number in 0..=total {
            if number % BLOCK == 0 {
                walk.places.push(place);
            }
            place += walk.step(number);
        }
        walk.scale = wanted / place;
        walk
    }

    /// The exponential distance from the operation before.
    fn step(&self, number: u64) -> f64 {
        let random = Rng::new(operation_seed(self.seed, ARRIVALS, number)).next_u64();
        // In (0, 1]: the logarithm is finite.
        let uniform = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln()
    }

    fn place(&self, number: u64) -> f64 {
        let block = number / BLOCK;
        let mut place = self.places.get(block as usize).copied().unwrap_or(0.0);
        for number in block * BLOCK..=number {
            place += self.step(number);
        }
        place * self.scale
    }

    fn steps(&self) -> impl Iterator<Item = f64> + '_ {
        let (mut place, mut number) = (0.0, 0);
        std::iter::from_fn(move || {
            if number % BLOCK == 0 {
                place = *self.places.get((number / BLOCK) as usize)?;
            }
            place += self.step(number);
            number += 1;
            Some(place * self.scale)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn even(phases: &[Phase]) -> Schedule {
        Schedule::new(phases, Arrivals::Even, 0)
    }

    fn steady(rate: f64, seconds: f64) -> Phase {
        Phase::new(Pace::Steady(rate), Duration::from_secs_f64(seconds))
    }

    /// Milliseconds from the start.
    fn offset(schedule: &Schedule, number: u64) -> f64 {
        (schedule.intended(number) - schedule.start()).as_secs_f64() * 1e3
    }

    #[test]
    fn a_schedule_holds_rate_times_duration() {
        assert_eq!(Schedule::total(&[steady(100.0, 3.0)]), 300);
        assert_eq!(Schedule::total(&[steady(0.1, 30.0)]), 3);
        assert_eq!(Schedule::total(&[steady(3.0, 0.5)]), 1);
        assert_eq!(Schedule::total(&[steady(1e6, 0.2)]), 200_000);
        let ramp = Phase::new(Pace::Ramp { from: 0.0, to: 100.0 }, 2 * SECOND);
        assert_eq!(Schedule::total(&[ramp, steady(0.5, 1.0), Phase::new(Pace::Burst(7), SECOND)]), 107);
    }

    #[test]
    fn phases_follow_each_other_and_a_burst_is_one_moment() {
        let schedule = even(&[steady(10.0, 1.0), Phase::new(Pace::Burst(5), SECOND), steady(100.0, 0.1)]);
        assert_eq!(schedule.operations(), 25);
        assert_eq!(offset(&schedule, 9), 900.0);
        assert!((10..15).all(|number| offset(&schedule, number) == 1_000.0));
        assert_eq!(offset(&schedule, 15), 2_000.0);
        assert_eq!(offset(&schedule, 24).round(), 2_090.0);
        let phases: Vec<usize> = [0, 9, 10, 14, 15, 24].map(|number| schedule.phase_of(number)).to_vec();
        assert_eq!(phases, [0, 0, 1, 1, 2, 2]);
        let at = |ms: u64| schedule.phase_at(schedule.start() + Duration::from_millis(ms));
        assert_eq!(
            [0, 999, 1_000, 1_999, 2_050, 2_100].map(at),
            [0, 0, 1, 1, 2, 9].map(|it| (it < 3).then_some(it))
        );
        assert_eq!(schedule.phase_at(schedule.start().checked_sub(SECOND).unwrap()), None);
    }

    #[test]
    fn a_ramp_spaces_operations_by_the_area_under_its_line() {
        for (from, to) in [(0.0, 100.0), (100.0, 0.0), (20.0, 80.0)] {
            let schedule = even(&[Phase::new(Pace::Ramp { from, to }, 10 * SECOND)]);
            assert_eq!(schedule.operations(), 500);
            for number in [0, 1, 77, 250, 499] {
                let t = offset(&schedule, number) / 1e3;
                let area = from * t + (to - from) * t * t / 20.0;
                assert!((area - number as f64).abs() < 1e-3, "{from} to {to}: {number} at {t}");
            }
        }
    }

    #[test]
    fn what_is_due_agrees_with_the_intended_times() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            for rate in [0.5, 3.0, 7.3, 1_000.0, 333_333.3] {
                let schedule = Schedule::new(&[steady(rate, 2.0)], arrivals, 1);
                for (number, time) in schedule.times().enumerate().take(2_000) {
                    assert_eq!(time, schedule.intended(number as u64));
                    assert_eq!(schedule.due_before(time + Duration::from_nanos(1)), number as u64 + 1);
                }
                assert_eq!(schedule.due_before(schedule.start() + 9 * SECOND), schedule.operations());
                assert_eq!(schedule.due_before(schedule.start()), 0);
            }
        }
    }

    #[test]
    fn poisson_arrivals_come_in_exponential_distances() {
        let phases = [steady(1_000.0, 100.0)];
        let schedule = Schedule::new(&phases, Arrivals::Poisson, 7);
        assert_eq!(schedule.operations(), 100_000);
        let times: Vec<Instant> = schedule.times().collect();
        assert!(times.is_sorted());
        assert!(*times.last().unwrap() <= schedule.start() + 100 * SECOND);
        let mut gaps: Vec<f64> =
            times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
        gaps.sort_by(f64::total_cmp);
        // Kolmogorov–Smirnov against 1 - e^-x, whose mean is the 1 ms of the rate: 1.63 / √n is its 1 % bound.
        let n = gaps.len() as f64;
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(rank, gap)| ((1.0 - (-gap).exp()) - rank as f64 / n).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.63 / n.sqrt(), "{distance}");
        let again = Schedule::new(&phases, Arrivals::Poisson, 7).starting(schedule.start());
        assert!(again.times().eq(times.iter().copied()), "one seed, one schedule");
        let other = Schedule::new(&phases, Arrivals::Poisson, 8).starting(schedule.start());
        assert!(!other.times().eq(times.iter().copied()));
    }
}
