//! What a breaker is built from, checked before anything is made of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::machine::Timing;
use crate::outcomes::{Thresholds, WindowKind};
use crate::word::WAIT_MS_MAX;

/// The last outcomes, which the rates are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls, from 1 to a million.
    Calls(u64),
    /// The calls of the last `length`, to one of `buckets` parts of it. A part takes a millisecond at least; 2 to 1024 of them.
    Time {
        /// How far back it reaches.
        length: Duration,
        /// In how many parts it moves on.
        buckets: usize,
    },
}

/// How a breaker behaves. [`Config::default`] opens at half of the last 100 calls failed, from 20 on, for 10 s, twice as long each
/// time up to 5 min, ± 10 %; then 5 probes with leases of 30 s decide.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the rates are taken of.
    pub window: Window,
    /// Below so many calls in the window no rate opens the breaker. From 1; at most the window.
    pub calls_min: u64,
    /// Opens at this share of failures, above 0 to 100 percent; `None`: never.
    pub failure_percent: Option<f64>,
    /// Opens at this share of slow calls, above 0 to 100 percent; `None`: never. Needs `slow_call`.
    pub slow_percent: Option<f64>,
    /// A call is slow from this duration on; `None`: the breaker takes no time.
    pub slow_call: Option<Duration>,
    /// Opens at so many failures in a row, from 1, whatever the window says; `None`: never.
    pub consecutive_failures: Option<u64>,
    /// How long the first opening lasts, from 1 ms to a year.
    pub open: Duration,
    /// The longest that an opening lasts, before jitter.
    pub open_max: Duration,
    /// So many times as long as the one before is each opening in a row, from 1.
    pub open_factor: f64,
    /// Varies the length by up to this share up and down, 0 to 100 percent, so that many breakers don't probe at once.
    pub jitter_percent: f64,
    /// What the jitter is made from: the same seed, the same lengths.
    pub seed: u64,
    /// The half-open state's probes, 1 to 1024: the most that run at once, and the outcomes that decide.
    pub probes: usize,
    /// A probe that doesn't end within this time gives its place to another; 1 ms to a year.
    pub probe_lease: Duration,
    /// A half-open state that hasn't decided after this time opens again; `None`: it waits, and leases still expire.
    pub half_open_max: Option<Duration>,
    /// So many threads count on a cache line of their own, 64 bytes each; 0 to 64. The others share one. By default one more than processors, at most 5:
    /// whoever starts the threads often has a seat, too.
    pub stripes: usize,
    /// The last so many events are kept for [`Breaker::events_since`](crate::Breaker::events_since), 0 to a million; each takes about 48 bytes.
    pub events_kept: usize,
    /// Whether a call that panics counts as a failure; otherwise it is ignored.
    pub panic_is_failure: bool,
    /// Where time comes from. By default one [`SystemClock`] for all.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            window: Window::Calls(100),
            calls_min: 20,
            failure_percent: Some(50.0),
            slow_percent: None,
            slow_call: None,
            consecutive_failures: None,
            open: Duration::from_secs(10),
            open_max: Duration::from_secs(300),
            open_factor: 2.0,
            jitter_percent: 10.0,
            seed: 0,
            probes: 5,
            probe_lease: Duration::from_secs(30),
            half_open_max: None,
            stripes: (processors + 1).min(5),
            events_kept: 64,
            panic_is_failure: true,
            clock: SystemClock::shared(),
        }
    }
}

/// A value that can't be: its name, and what it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidConfig {
    /// The field's name.
    pub field: &'static str,
    /// What it must be.
    pub must: &'static str,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}", self.field, self.must)
    }
}

impl std::error::Error for InvalidConfig {}

pub(crate) fn ensure(holds: bool, field: &'static str, must: &'static str) -> Result<(), InvalidConfig> {
    if holds { Ok(()) } else { Err(InvalidConfig { field, must }) }
}

/// A percentage above 0 up to 100 in parts of a million, rounded up.
pub(crate) fn ppm(percent: f64, field: &'static str) -> Result<u32, InvalidConfig> {
    ensure(percent > 0.0 && percent <= 100.0, field, "above 0 and at most 100 percent")?;
    Ok(((percent * 10_000.0).ceil() as u32).min(1_000_000))
}

fn milliseconds(duration: Duration, field: &'static str) -> Result<u64, InvalidConfig> {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    let fits = (1..=u128::from(WAIT_MS_MAX)).contains(&milliseconds);
    ensure(fits, field, "from 1 ms to a year")?;
    Ok(milliseconds as u64)
}

impl Config {
    pub(crate) fn thresholds(&self) -> Result<Thresholds, InvalidConfig> {
        let window = match self.window {
            Window::Calls(calls) => {
                ensure((1..=1_000_000).contains(&calls), "window", "of 1 to 1000000 calls")?;
                ensure(self.calls_min <= calls, "calls_min", "at most the calls of the window")?;
                WindowKind::Calls(calls)
            }
            Window::Time { length, buckets } => {
                ensure((2..=1024).contains(&buckets), "window", "in 2 to 1024 buckets")?;
                let bucket_ms = milliseconds(length, "window")? / buckets as u64;
                ensure(bucket_ms > 0, "window", "of a millisecond a bucket at least")?;
                WindowKind::Time { bucket_ms, buckets: buckets as u32 }
            }
        };
        ensure(self.calls_min >= 1, "calls_min", "1 at least")?;
        let slow = self.slow_percent.map(|percent| ppm(percent, "slow_percent")).transpose()?;
        ensure(slow.is_none() || self.slow_call.is_some(), "slow_call", "given where slow_percent is")?;
        let row = self.consecutive_failures;
        ensure(row.is_none_or(|row| (1..=1_000_000).contains(&row)), "consecutive_failures", "1 to 1000000")?;
        Ok(Thresholds {
            window,
            calls_min: self.calls_min,
            failure_ppm: self.failure_percent.map(|percent| ppm(percent, "failure_percent")).transpose()?,
            slow_ppm: slow,
            consecutive: row.map(|row| row as u32),
        })
    }

    pub(crate) fn timing(&self) -> Result<Timing, InvalidConfig> {
        let factor_fits = self.open_factor.is_finite() && self.open_factor >= 1.0;
        ensure(factor_fits, "open_factor", "1 at least, and finite")?;
        ensure((0.0..=100.0).contains(&self.jitter_percent), "jitter_percent", "from 0 to 100 percent")?;
        ensure((1..=1024).contains(&self.probes), "probes", "from 1 to 1024")?;
        ensure(self.open_max >= self.open, "open_max", "no shorter than open")?;
        Ok(Timing {
            open_ms: milliseconds(self.open, "open")?,
            open_ms_max: milliseconds(self.open_max, "open_max")?,
            open_factor: self.open_factor,
            jitter_ppm: (self.jitter_percent * 10_000.0) as u32,
            seed: self.seed,
            probes: self.probes as u32,
            lease_ms: milliseconds(self.probe_lease, "probe_lease")?,
            half_open_ms_max: self.half_open_max.map_or(Ok(0), |max| milliseconds(max, "half_open_max"))?,
        })
    }

    pub(crate) fn check_rest(&self) -> Result<(), InvalidConfig> {
        ensure(self.stripes <= 64, "stripes", "from 0 to 64")?;
        ensure(self.events_kept <= 1_000_000, "events_kept", "at most 1000000")
    }
}
