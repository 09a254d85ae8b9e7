//! The log: what is acknowledged is in it, and it is all that a store needs to come back.
//!
//! `docs/log-format.md` tells the format and the rules of recovery; the files here are its parts:
//! [`format`] the bytes, [`file_log`] the writer, [`segments`] the files made ahead, [`recovery`] reading it back.

mod file_log;
mod format;
mod reader;
mod recovery;
mod segments;
mod store_file;

use std::io;

use steadfast_memory_api::Seq;

pub(crate) use file_log::FileLog;
pub(crate) use format::FORMAT;
pub use recovery::{Recovery, TornWrite};

/// Why commands could not be appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The next segment has no room. Nothing was written; it may work later.
    NoRoom(io::Error),
    /// The next segment could not be made for another reason. Nothing was written; it may work later.
    Unavailable(io::Error),
    /// A write or a sync failed: whether the commands will be found is unknown, and nothing more may be written.
    Unknown(io::Error),
}

impl AppendError {
    /// Of an error that came before anything was written to the log.
    fn before_writing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoRoom(error)
            }
            _ => Self::Unavailable(error),
        }
    }

    fn into_io(self) -> io::Error {
        match self {
            Self::NoRoom(error) | Self::Unavailable(error) | Self::Unknown(error) => error,
        }
    }
}

/// Why the commands of a batch, whose bytes are right, are refused by whoever replays them. The log
/// knows bytes only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// No version writes such commands.
    Damaged(String),
    /// Another version or another build wrote them.
    Unsupported(String),
}

/// Where a committer puts its commands.
///
/// A log has three duties: to append a batch durably, to be read from a sequence number on, and to forget what a
/// checkpoint covers. Reading is done by whoever opens it (for the files, by [`FileLog::open`]), and nothing is forgotten
/// as long as there are no checkpoints; so the committer needs this one.
pub(crate) trait Log: Send {
    /// Appends the first of `commands` (each in two parts), one at least, as one batch, and makes it durable; returns how many.
    /// They have the sequence numbers after the last.
    fn append(
        &mut self,
        time_ms: u64,
        commands: &mut dyn Iterator<Item = [&[u8]; 2]>,
    ) -> Result<usize, AppendError>;

    /// The log's time: that of the last batch, in Unix milliseconds.
    fn time_ms(&self) -> u64;

    /// The last command in it.
    fn last_seq(&self) -> Seq;

    /// The largest command that it takes, in bytes.
    fn command_bytes_max(&self) -> usize;

    /// Marks the log as closed in good order. It isn't used afterwards.
    fn close(&mut self) -> Result<(), AppendError>;

    /// What was written and how long it took.
    fn stats(&self) -> LogStats;
}

/// What a log has written since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogStats {
    pub(crate) batches: u64,
    pub(crate) commands: u64,
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) encode_ns: u64,
    pub(crate) segment_ns: u64,
    pub(crate) write_ns: u64,
}
