//! Segment files, made ahead: zero-filled, synced and named before the log needs them.
//!
//! A write into a file whose blocks are there and written changes no metadata, so one `fdatasync` of data
//! alone makes it durable. Filling with zeros takes long (tens to hundreds of milliseconds for 64 MiB), so a
//! thread does it ahead of the committer. A file gets its name only when it is all zeros on disk: it is written
//! under a temporary name, synced, renamed, and its directory synced. So a crash leaves no half-made segment, and
//! what is behind the last batch of any segment is zero unless a batch was torn there.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::format::{PAGE_BYTES, SEGMENT_NUMBER_MAX};
use crate::fs::{File, FileSystem};

/// New stores begin with segments of this size; each next one is twice as large, up to the configured size.
const BYTES_MIN: u64 = 4 << 20;

/// A segment file that holds only zeros.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) file: Box<dyn File>,
}

/// How segments are named and sized.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) file_system: Arc<dyn FileSystem>,
    /// The directory of the segments.
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
}

impl Layout {
    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}.seg"))
    }

    /// The number in a segment's file name.
    pub(crate) fn number(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().filter(|number| format!("{number:016x}") == digits)
    }

    /// Whether this is the name of a segment that is being made.
    pub(crate) fn is_temporary(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|extension| extension == "tmp")
    }

    /// The length of a new segment with this number.
    pub(crate) fn bytes(&self, number: u64) -> u64 {
        let doublings = number.saturating_sub(1).min(20) as u32;
        (BYTES_MIN << doublings).min(self.segment_bytes / PAGE_BYTES as u64 * PAGE_BYTES as u64)
    }

    /// The length of the smallest segment.
    pub(crate) fn bytes_min(&self) -> u64 {
        self.bytes(1)
    }

    fn prepare(&self, number: u64) -> io::Result<Prepared> {
        let temporary = self.dir.join(format!("{number:016x}.tmp"));
        let made = self.fill(&temporary, number);
        if made.is_err() {
            // Best effort: room on the disk comes back sooner. What is left is removed when the store is opened.
            drop(self.file_system.remove(&temporary));
        }
        made
    }

    fn fill(&self, temporary: &Path, number: u64) -> io::Result<Prepared> {
        if let Err(error) = self.file_system.remove(temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let bytes = self.bytes(number);
        let file = self.file_system.create_zeroed(temporary, bytes)?;
        self.file_system.rename(temporary, &self.path(number))?;
        self.file_system.sync_dir(&self.dir)?;
        Ok(Prepared { number, bytes, file })
    }
}

/// Hands out segments in the order of their numbers; keeps some ready.
#[derive(Debug)]
pub(crate) struct Segments {
    layout: Layout,
    /// None: each is made when it is asked for.
    ahead: Option<Ahead>,
    /// Found when the store was opened, or left over from there.
    found: VecDeque<Prepared>,
    next: u64,
}

#[derive(Debug)]
struct Ahead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Prepared>,
    /// How many are missing.
    wanted: usize,
    /// How many have to be missing before making them begins; it goes on until none is. In between no writes of zeros compete
    /// with the log's own for the disk, which a burst of commits is the better for.
    wanted_to_begin: usize,
    making: bool,
    /// The last try failed; another is made once this was told to somebody.
    failed: Option<io::Error>,
    closed: bool,
}

impl Segments {
    /// Segments from `next` on; `found` are those of them that are there already.
    pub(crate) fn new(
        layout: Layout,
        found: VecDeque<Prepared>,
        next: u64,
        ahead: usize,
    ) -> io::Result<Self> {
        let wanted = ahead.saturating_sub(found.len());
        let first = next + found.len() as u64;
        let ahead = if ahead == 0 { None } else { Some(Ahead::start(layout.clone(), first, ahead, wanted)?) };
        Ok(Self { layout, ahead, found, next })
    }

    /// The next segment; waits until it is made.
    ///
    /// # Errors
    /// What went wrong when it was made; asking again tries again. `StorageFull` when the store has as many segments
    /// as can be numbered.
    pub(crate) fn take(&mut self) -> io::Result<Prepared> {
        if self.next > SEGMENT_NUMBER_MAX {
            let detail = format!("a store has at most {SEGMENT_NUMBER_MAX} segments");
            return Err(io::Error::new(io::ErrorKind::StorageFull, detail));
        }
        let prepared = match (self.found.pop_front(), &self.ahead) {
            (Some(found), ahead) => {
                if let Some(ahead) = ahead {
                    ahead.shared.want_one_more();
                }
                found
            }
            (None, Some(ahead)) => ahead.shared.take()?,
            (None, None) => self.layout.prepare(self.next)?,
        };
        debug_assert_eq!(prepared.number, self.next);
        self.next += 1;
        Ok(prepared)
    }
}

impl Ahead {
    fn start(layout: Layout, first: u64, ahead: usize, wanted: usize) -> io::Result<Self> {
        let state = State {
            ready: VecDeque::with_capacity(ahead),
            wanted,
            wanted_to_begin: (ahead / 2).max(1),
            making: true,
            failed: None,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("steadfast-segments".into())
            .spawn(move || worker.keep_ready(&layout, first))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread; there is nothing to add while dropping.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want_one_more(&self) {
        self.lock().wanted += 1;
        self.changed.notify_all();
    }

    fn take(&self) -> io::Result<Prepared> {
        let mut state = self.lock();
        state.wanted += 1;
        self.changed.notify_all();
        loop {
            if let Some(prepared) = state.ready.pop_front() {
                return Ok(prepared);
            }
            if let Some(error) = state.failed.take() {
                state.wanted -= 1;
                return Err(error);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn keep_ready(&self, layout: &Layout, first: u64) {
        let mut number = first;
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            state.making = state.wanted > 0 && (state.making || state.wanted >= state.wanted_to_begin);
            if !state.making || state.failed.is_some() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            // A file system is anybody's code: should it panic, whoever waits for the segment has to be told.
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| layout.prepare(number)))
                .unwrap_or_else(|_| Err(io::Error::other("making a segment panicked")));
            state = self.lock();
            match made {
                Ok(prepared) => {
                    number += 1;
                    state.wanted -= 1;
                    state.ready.push_back(prepared);
                }
                Err(error) => state.failed = Some(error),
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFileSystem;

    fn layout(dir: &Path) -> Layout {
        Layout { file_system: Arc::new(RealFileSystem), dir: dir.into(), segment_bytes: 64 << 10 }
    }

    #[test]
    fn segments_come_in_order_and_zeroed_whether_made_ahead_or_not() {
        for ahead in [0, 1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let mut segments = Segments::new(layout(dir.path()), VecDeque::new(), 1, ahead).unwrap();
            for number in 1..=5 {
                let prepared = segments.take().unwrap();
                assert_eq!((prepared.number, prepared.bytes), (number, 64 << 10));
                let mut bytes = vec![1; 64 << 10];
                assert_eq!(prepared.file.read_at(&mut bytes, 0).unwrap(), bytes.len());
                assert!(bytes.iter().all(|byte| *byte == 0));
            }
            drop(segments);
            let names = RealFileSystem.list(dir.path()).unwrap();
            assert!(names.iter().all(|name| Layout::number(name).is_some()), "{names:?}");
        }
    }

    #[test]
    fn a_failure_is_told_and_then_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("log");
        let mut segments = Segments::new(layout(&missing), VecDeque::new(), 1, 1).unwrap();
        assert!(segments.take().is_err());
        std::fs::create_dir(&missing).unwrap();
        // The thread may have failed once more before the directory was there.
        let number = segments.take().or_else(|_| segments.take()).unwrap().number;
        assert_eq!(number, 1);
    }

    #[test]
    fn a_number_that_a_header_has_no_room_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for ahead in [0, 1] {
            let last = SEGMENT_NUMBER_MAX;
            let mut segments = Segments::new(layout(dir.path()), VecDeque::new(), last, ahead).unwrap();
            assert_eq!(segments.take().unwrap().number, last);
            for _ in 0..2 {
                assert_eq!(segments.take().unwrap_err().kind(), io::ErrorKind::StorageFull);
            }
        }
    }

    #[test]
    fn sizes_double_up_to_the_configured_one() {
        let layout = Layout { segment_bytes: 64 << 20, ..layout(Path::new("x")) };
        let sizes: Vec<u64> = (1..=7).map(|number| layout.bytes(number) >> 20).collect();
        assert_eq!(sizes, [4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn names_are_told_apart() {
        assert_eq!(Layout::number("000000000000001f.seg"), Some(31));
        for other in ["1f.seg", "000000000000001F.seg", "000000000000001f.tmp", "+00000000000001f.seg"] {
            assert_eq!(Layout::number(other), None, "{other}");
        }
        assert!(Layout::is_temporary("000000000000001f.tmp"));
    }
}
