//! The invariants and values that a scenario reports after its load.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a scenario's check puts what it found.
#[derive(Debug, Default)]
pub struct Checks {
    pub(crate) invariants: Vec<Invariant>,
    pub(crate) values: Vec<(String, Value)>,
    pub(crate) notes: Vec<(String, String)>,
}

/// Something that must be true after the load, whatever the machine did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Invariant {
    /// What must hold.
    pub name: String,
    /// What was found.
    pub measured: String,
    /// What was expected; absent where the name says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Whether it held.
    pub held: bool,
}

impl Checks {
    /// Says that `measured` must be exactly `expected`.
    #[expect(clippy::needless_pass_by_value, reason = "most are numbers, and `&` before each would be noise")]
    pub fn exactly<T: PartialEq + fmt::Debug>(&mut self, name: impl Into<String>, measured: T, expected: T) {
        self.invariants.push(Invariant {
            name: name.into(),
            held: measured == expected,
            measured: short(&format!("{measured:?}")),
            expected: Some(short(&format!("{expected:?}"))),
        });
    }

    /// Says that `held` must be true; `measured` is what it was seen by.
    pub fn holds(&mut self, name: impl Into<String>, held: bool, measured: impl fmt::Display) {
        let measured = short(&measured.to_string());
        self.invariants.push(Invariant { name: name.into(), measured, expected: None, held });
    }

    /// Reports a value that an objective may name: `exactly conflicts == 4`, `value recall >= 0.95`. Reported twice,
    /// the last one counts.
    pub fn value(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
    }

    /// Notes a fact for the report.
    pub fn note(&mut self, key: impl Into<String>, value: impl fmt::Display) {
        self.notes.push((key.into(), value.to_string()));
    }
}

/// A value is for a line of a table: a thousand missing ids belong in a log.
fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A value that a scenario measured itself, with its dimension.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Value {
    /// A whole number of things.
    Count(u64),
    /// A number without a dimension.
    Number(f64),
    /// A time, in nanoseconds.
    Nanoseconds(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A share of the whole, 1.0 being all of it.
    Share(f64),
    /// Something for each second.
    PerSecond(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Duration> for Value {
    /// Saturates at 584 years.
    fn from(time: Duration) -> Self {
        Self::Nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_tells_both_sides() {
        let mut checks = Checks::default();
        checks.exactly("found == acknowledged", 3_u64, 4);
        checks.holds("ids unique", true, 12);
        assert!(!checks.invariants[0].held);
        assert_eq!(checks.invariants[0].measured, "3");
        assert_eq!(checks.invariants[0].expected.as_deref(), Some("4"));
        assert!(checks.invariants[1].held);
    }

    #[test]
    fn the_last_value_counts_and_long_ones_are_cut() {
        let mut checks = Checks::default();
        checks.value("conflicts", 1_u64);
        checks.value("conflicts", 4_u64);
        assert_eq!(checks.values, [("conflicts".to_owned(), Value::Count(4))]);
        checks.holds("short", true, "µ".repeat(1_000));
        assert_eq!(checks.invariants[0].measured.chars().count(), 201);
    }
}
