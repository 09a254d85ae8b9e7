//! Why an operation, or a stage of a scenario, didn't succeed.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// In characters.
const KIND_MAX: usize = 100;
const MESSAGE_MAX: usize = 2_000;

/// A failed operation: a kind to count it by, and a message.
///
/// Any error turns into one with `?`, under the kind `error`. It is no `std::error::Error` itself, or that
/// conversion couldn't exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Cow<'static, str>,
    message: String,
}

impl Failure {
    /// A failure that is counted under `kind`. Use few kinds: they are columns of a report, not messages. Above 32
    /// of them the rest are counted as `other`. A kind is cut after 100 characters, a message after 2 000.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        let kind = kind.into();
        Self {
            kind: shortened(kind, KIND_MAX),
            message: shortened(message.to_string().into(), MESSAGE_MAX).into_owned(),
        }
    }

    /// The name that it is counted under.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What happened; the report keeps the first message of each kind.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// As much of a text as a report has room for.
fn shortened(text: Cow<'static, str>, characters_max: usize) -> Cow<'static, str> {
    match text.char_indices().nth(characters_max) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new("error", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_report_has_room_for_is_cut() {
        let failure = Failure::new("ä".repeat(1_000), "ß".repeat(3_000_000));
        assert_eq!(failure.kind(), format!("{}…", "ä".repeat(KIND_MAX)));
        assert_eq!(failure.message().chars().count(), MESSAGE_MAX + 1);
    }

    #[test]
    fn an_error_brings_its_causes() {
        let parsed: Result<u8, Failure> = "x".parse::<u8>().map_err(Failure::from);
        assert_eq!(parsed.unwrap_err().to_string(), "error: invalid digit found in string");
    }
}
