//! Why a store could not be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use steadfast_memory_api::Seq;

/// Why a store could not be opened. Nothing was changed, but for what an interrupted recovery had
/// repaired already.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused: the directory can't be made, read or written, the disk is
    /// full, and the like.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done with it.
        operation: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another store, in this process or in another, has the directory open.
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// The files were written by a newer version than this one.
    NewerFormat {
        /// The file that says so.
        file: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The files are damaged in a place that was promised to be durable. Nothing is repaired by
    /// guessing.
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// The byte at which what is right ends.
        offset: u64,
        /// The last command that was read before the damage was found; 0 if there was none, as when
        /// the first segment or the file that names the store is wrong.
        seq: Seq,
        /// What is wrong there.
        detail: String,
    },
    /// The files are right, but need something that this build hasn't: a stemmer or a language, of
    /// another version or behind a cargo feature. Nothing is served by other rules than those that
    /// it was written under.
    Unsupported {
        /// The file that needs it.
        file: PathBuf,
        /// The byte at which the batch that needs it begins.
        offset: u64,
        /// The last command that was read before it.
        seq: Seq,
        /// What is needed, and by which tenant.
        detail: String,
    },
    /// A setting is not acceptable.
    InvalidConfig {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>, operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, operation, source }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, operation, source } => {
                write!(f, "can't {operation} {}: {source}", path.display())
            }
            Self::AlreadyOpen { path } => write!(f, "{} is open already", path.display()),
            Self::NewerFormat { file, found, supported } => write!(
                f,
                "{} has format {found}, this version reads formats up to {supported}",
                file.display()
            ),
            Self::Damaged { file, offset, seq, detail } => {
                write!(f, "{} is damaged at byte {offset}, after command {seq}: {detail}", file.display())
            }
            Self::Unsupported { file, offset, seq, detail } => {
                write!(
                    f,
                    "{} can't be read by this build at byte {offset}, after command {seq}: {detail}",
                    file.display()
                )
            }
            Self::InvalidConfig { field, detail } => write!(f, "{field} {detail}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
