//! Opens a log: loads its segments, has a [`Reader`] judge them, and acts on the verdict.
//!
//! Until the verdict nothing is written: a log that is refused is left as it is. Then torn writes
//! are overwritten with zeros, the last whole write is made durable, and the log is marked as
//! opened.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast_memory_api::Seq;

use super::file_log::{Current, FileLog};
use super::format::{FORMAT, Kind};
use super::reader::{Fault, LastWrite, Place, Problem, Reader, TornBytes, Verdict, Visit, up_to_gap};
use super::segments::{Layout, Prepared, Segments};
use super::store_file;
use crate::config::{Config, Progress};
use crate::error::OpenError;
use crate::fs::{File, FileSystem};

/// What was found when a store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Batches read, markers among them.
    pub batches: u64,
    /// The last command.
    pub last_seq: Seq,
    /// Whether the store had been closed in good order, or is new.
    pub clean: bool,
    /// What was erased behind the log's end, in the order of the segments; empty if nothing was.
    /// More than one only if bits have turned in segments where nothing had been written.
    pub torn_writes: Vec<TornWrite>,
    /// How often the store has been opened, this time included.
    pub epoch: u32,
}

/// The remains of a write that a crash had interrupted. They were never acknowledged, and are zeros
/// now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornWrite {
    /// The segment.
    pub file: PathBuf,
    /// Where they began.
    pub offset: u64,
    /// How far they reached.
    pub bytes: u64,
}

impl FileLog {
    /// Opens the log of the store in `dir`, replays it into `visit`, and marks it as opened.
    pub(crate) fn open(
        dir: &Path,
        config: &Config,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Recovery), OpenError> {
        let file_system = &config.file_system;
        let layout = Layout {
            file_system: Arc::clone(file_system),
            dir: dir.join("log"),
            segment_bytes: config.log.segment_bytes,
        };
        let known = store_file::read(&**file_system, dir)?;
        let known_id = known.map(|store| store.id);
        let create = OpenError::io(&layout.dir, "create");
        file_system.create_dir_all(&layout.dir).map_err(create)?;
        let (numbers, missing) = up_to_gap(segment_numbers(&layout)?, known_id.is_some());
        sync_names(&**file_system, &[dir, &layout.dir])?;

        let mut reader = Reader::new(known_id.unwrap_or_else(new_store_id), known_id.is_some());
        read_segments(&layout, config, &numbers, &mut reader, visit)?;
        let verdict = reader.finish(missing).map_err(|fault| refusal(&layout, fault))?;
        let torn_writes = erase_torn_writes(&layout, &verdict.torn_writes)?;
        rewrite_last_write(&layout, verdict.last_write.as_ref())?;
        let position = verdict.position;
        let mut log = resume(&layout, config, &verdict, numbers.len() as u64)?;
        // Before the first batch of the new format, so that no older build takes the store for its
        // own.
        if known.is_some_and(|store| store.format < FORMAT) {
            store_file::write(&**file_system, dir, position.store_id)?;
        }
        log.mark_opened(config.clock.now_ms())
            .map_err(|error| OpenError::io(&layout.dir, "write to")(error.into_io()))?;
        if known_id.is_none() {
            store_file::write(&**file_system, dir, position.store_id)?;
        }
        let recovery = Recovery {
            batches: verdict.batches,
            last_seq: Seq::new(position.last_seq),
            clean: matches!(verdict.last_kind, None | Some(Kind::Closed)) && torn_writes.is_empty(),
            torn_writes,
            epoch: position.epoch + 1,
        };
        Ok((log, recovery))
    }
}

/// Makes durable the names that are there: those that a process gave before it died need not be.
fn sync_names(file_system: &dyn FileSystem, dirs: &[&Path]) -> Result<(), OpenError> {
    for dir in dirs {
        file_system.sync_dir(dir).map_err(OpenError::io(*dir, "sync"))?;
    }
    let above = dirs[0].parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match file_system.sync_dir(above) {
        // Somebody else's directory, and so somebody else's care.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(OpenError::io(above, "sync")),
    }
}

/// Returns the numbers of the segments that are there, in any order. Removes half-made ones.
fn segment_numbers(layout: &Layout) -> Result<Vec<u64>, OpenError> {
    let dir = &layout.dir;
    let names = layout.file_system.list(dir).map_err(OpenError::io(dir, "list"))?;
    for name in names.iter().filter(|name| Layout::is_temporary(name)) {
        let path = dir.join(name);
        layout.file_system.remove(&path).map_err(OpenError::io(&path, "remove"))?;
    }
    Ok(names.iter().filter_map(|name| Layout::number(name)).collect())
}

/// Returns 128 bits that no other store has and that nobody can foresee, from the operating
/// system's seeds of std's hash maps.
fn new_store_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    half(1) << 64 | half(2)
}

/// Feeds the segments to the reader, one at a time: a log may have more of them than a process may
/// have open files.
fn read_segments(
    layout: &Layout,
    config: &Config,
    numbers: &[u64],
    reader: &mut Reader,
    visit: &mut Visit<'_>,
) -> Result<(), OpenError> {
    let lengths = numbers.iter().map(|number| Ok(open_segment(layout, *number)?.1));
    let bytes_total = lengths.sum::<Result<u64, OpenError>>()?;
    let mut bytes_read = 0;
    let mut bytes = Vec::new();
    for &number in numbers {
        let (file, length) = open_segment(layout, number)?;
        if bytes.len() < length as usize {
            bytes = vec![0; length as usize];
        }
        bytes.truncate(length as usize);
        let read = file.read_at(&mut bytes, 0).map_err(OpenError::io(layout.path(number), "read"))?;
        bytes.truncate(read);
        reader.read_segment(&bytes, visit).map_err(|fault| refusal(layout, fault))?;
        bytes_read += length;
        let seq = Seq::new(reader.last_seq());
        (config.on_progress)(Progress { bytes: bytes_read, bytes_total, seq });
    }
    Ok(())
}

/// Opens a segment; returns its length as well.
fn open_segment(layout: &Layout, number: u64) -> Result<(Box<dyn File>, u64), OpenError> {
    let path = layout.path(number);
    let file = layout.file_system.open(&path).map_err(OpenError::io(&path, "open"))?;
    let length = file.len().map_err(OpenError::io(&path, "measure"))?;
    // A length is believed before memory is taken for it only within what a segment can have.
    if length > 1 << 30 {
        let detail = "the file is longer than any segment".to_owned();
        return Err(OpenError::Damaged { file: path, offset: 1 << 30, seq: Seq::new(0), detail });
    }
    Ok((file, length))
}

fn refusal(layout: &Layout, fault: Fault) -> OpenError {
    let file = layout.path(fault.segment);
    let (offset, seq) = (fault.offset as u64, Seq::new(fault.last_seq));
    match fault.problem {
        Problem::Damaged(detail) => OpenError::Damaged { file, offset, seq, detail },
        Problem::Unsupported(detail) => OpenError::Unsupported { file, offset, seq, detail },
        Problem::NewerFormat(found) => OpenError::NewerFormat { file, found, supported: FORMAT },
    }
}

/// Overwrites torn writes with zeros, as the log's space is behind its end.
fn erase_torn_writes(layout: &Layout, torn_writes: &[TornBytes]) -> Result<Vec<TornWrite>, OpenError> {
    let erase = |torn: &TornBytes| {
        let path = layout.path(torn.start.segment);
        write(layout, torn.start, &vec![0; torn.length], "erase the torn write in")?;
        Ok(TornWrite { file: path, offset: torn.start.offset as u64, bytes: torn.length as u64 })
    };
    torn_writes.iter().map(erase).collect()
}

/// Makes the last write durable before anybody sees it. It may be in the operating system's memory
/// alone: its sync was never called, or failed, after which the system may take it for durable.
/// Being the same bytes, it can't be torn by that.
fn rewrite_last_write(layout: &Layout, last: Option<&LastWrite>) -> Result<(), OpenError> {
    last.map_or(Ok(()), |last| write(layout, last.start, &last.bytes, "write to"))
}

fn write(layout: &Layout, start: Place, bytes: &[u8], operation: &'static str) -> Result<(), OpenError> {
    let path = layout.path(start.segment);
    let file = layout.file_system.open(&path).map_err(OpenError::io(&path, "open"))?;
    file.write_durably_at(bytes, start.offset as u64).map_err(OpenError::io(&path, operation))
}

/// Makes a writer that goes on where the log ends; `last` is the number of the last segment.
fn resume(layout: &Layout, config: &Config, verdict: &Verdict, last: u64) -> Result<FileLog, OpenError> {
    let Place { segment, offset } = verdict.end;
    let (current, next) = if offset == 0 {
        (None, segment)
    } else {
        let (file, bytes) = open_segment(layout, segment)?;
        (Some(Current { file, bytes, offset: offset as u64 }), segment + 1)
    };
    // Segments of zeros are used as long as they have the length that they would get now. The
    // others are made anew in their time, each under another name and then renamed in place of the
    // old one: the one before may promise it already.
    let mut prepared = VecDeque::new();
    for number in next..=last {
        let (file, bytes) = open_segment(layout, number)?;
        if bytes != layout.bytes(number) {
            break;
        }
        prepared.push_back(Prepared { number, bytes, file });
    }
    let segments = Segments::new(layout.clone(), prepared, next, config.log.segments_ahead)
        .map_err(OpenError::io(&layout.dir, "start the thread that prepares segments in"))?;
    Ok(FileLog::new(segments, layout, current, verdict.position, config.limits.batch_bytes))
}
