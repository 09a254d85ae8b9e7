//! How a command ends when it doesn't end well.

/// Why a command did not succeed; decides the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong: exit code 2.
    Usage(String),
    /// Something was found or went wrong: exit code 1.
    Failed(String),
    /// A program that ran for us has already said what is wrong: its own exit code.
    Exit(u8),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Exit(code) => *code,
        }
    }

    /// What is still to be told; nothing where the program that failed has told it.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Self::Usage(message) | Self::Failed(message) => Some(message),
            Self::Exit(_) => None,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}
