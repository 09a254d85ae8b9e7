//! A phase of a load: how much, and for how long.

use std::fmt;
use std::time::Duration;

use crate::format;

/// Part of a load in which the pace is steady or changes evenly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Phase {
    /// As objectives call it.
    pub(crate) name: Option<String>,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
}

/// How much: users of a closed loop, operations a second of an open one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    Steady(f64),
    /// Changes evenly over the phase.
    Ramp {
        from: f64,
        to: f64,
    },
    /// So many operations at the phase's first moment, then none. Only in an open loop.
    Burst(u64),
}

impl Phase {
    pub(crate) fn new(pace: Pace, duration: Duration) -> Self {
        Self { name: None, pace, duration }
    }

    /// As objectives call it: by its number, from 1, unless it was given a name.
    pub(crate) fn called(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| (index + 1).to_string())
    }
}

impl Pace {
    /// The highest value; nothing for a burst.
    pub(crate) fn peak(self) -> Option<f64> {
        match self {
            Self::Steady(value) => Some(value),
            Self::Ramp { from, to } => Some(from.max(to)),
            Self::Burst(_) => None,
        }
    }

    /// At the phase's end; 0 after a burst.
    pub(crate) fn last(self) -> f64 {
        match self {
            Self::Steady(value) | Self::Ramp { to: value, .. } => value,
            Self::Burst(_) => 0.0,
        }
    }

    pub(crate) fn times(self, factor: u32) -> Self {
        let by = |value: f64| value * f64::from(factor);
        match self {
            Self::Steady(value) => Self::Steady(by(value)),
            Self::Ramp { from, to } => Self::Ramp { from: by(from), to: by(to) },
            Self::Burst(operations) => Self::Burst(operations.saturating_mul(u64::from(factor))),
        }
    }

    /// For people: `500`, `10 to 500`, `50 at once`.
    pub(crate) fn describe(self, unit: &str) -> String {
        match self {
            Self::Steady(value) => format!("{value}{unit}"),
            Self::Ramp { from, to } => format!("{from} to {to}{unit}"),
            Self::Burst(operations) => format!("{operations} at once"),
        }
    }
}

/// The phases one after the other: `10 users for 30.0 s, then 500 for 60.0 s`.
pub(crate) fn describe(phases: &[Phase], unit: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, phase) in phases.iter().enumerate() {
        let unit = if index == 0 || unit == "/s" { unit } else { "" };
        let then = if index == 0 { "" } else { ", then " };
        write!(f, "{then}{}, {}", phase.pace.describe(unit), format::time(phase.duration))?;
    }
    Ok(())
}
