//! Why an operation, or a stage of a scenario, didn't succeed.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

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
    /// of them the rest are counted as `other`.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self { kind: kind.into(), message: message.to_string() }
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
    fn an_error_brings_its_causes() {
        let parsed: Result<u8, Failure> = "x".parse::<u8>().map_err(Failure::from);
        assert_eq!(parsed.unwrap_err().to_string(), "error: invalid digit found in string");
    }
}
