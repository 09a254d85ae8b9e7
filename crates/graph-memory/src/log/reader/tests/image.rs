//! Logs to be damaged, and what the reader makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::super::{Fault, Problem, Reader, Verdict, Visit, up_to_gap};
use crate::config::{Config, LogConfig};
use crate::fs::RealFileSystem;
use crate::log::format::{BatchHeader, HEADER_BYTES, PAGE_BYTES, Read, seal, zeros_from};
use crate::log::segments::Layout;
use crate::log::store_file::{self, StoreFault};
use crate::log::{FileLog, Log as _};

pub(super) const SEGMENT_BYTES: usize = 64 << 10;

/// The id that the reader makes up where no file tells one.
const MADE_UP: u128 = 77;

/// The smallest segments, each made when it is needed.
pub(super) fn config() -> Config {
    Config::default().log(LogConfig::new(SEGMENT_BYTES as u64, 0))
}

/// All files of a store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    /// The file that names the store, if it is there.
    pub(super) store: Option<Vec<u8>>,
    /// By number.
    pub(super) segments: BTreeMap<u64, Vec<u8>>,
}

/// Why an image is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    Store(StoreFault),
    Log(Fault),
}

impl Image {
    pub(super) fn load(dir: &Path) -> Self {
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(dir.join("log")).unwrap() {
            let entry = entry.unwrap();
            let number = Layout::number(entry.file_name().to_str().unwrap()).expect("a segment's name");
            segments.insert(number, fs::read(entry.path()).unwrap());
        }
        Self { store: fs::read(store_file::path(dir)).ok(), segments }
    }

    pub(super) fn save(&self, dir: &Path) {
        let layout = layout(dir);
        fs::create_dir_all(&layout.dir).unwrap();
        for (number, bytes) in &self.segments {
            fs::write(layout.path(*number), bytes).unwrap();
        }
        if let Some(store) = &self.store {
            fs::write(store_file::path(dir), store).unwrap();
        }
    }

    pub(super) fn segment(&mut self, number: u64) -> &mut Vec<u8> {
        self.segments.get_mut(&number).expect("the segment is there")
    }

    /// Judges the files exactly as opening them does.
    pub(super) fn judge(&self, visit: &mut Visit<'_>) -> Result<Verdict, Refusal> {
        let known = self.store.as_deref().map(store_file::parse).transpose().map_err(Refusal::Store)?;
        let (numbers, missing) = up_to_gap(self.segments.keys().copied().collect(), known.is_some());
        let mut reader = Reader::new(known.map_or(MADE_UP, |store| store.id), known.is_some());
        for number in &numbers {
            reader.read_segment(&self.segments[number], visit).map_err(Refusal::Log)?;
        }
        reader.finish(missing).map_err(Refusal::Log)
    }
}

/// The names of a store's segments in `dir`.
pub(super) fn layout(dir: &Path) -> Layout {
    let segment_bytes = SEGMENT_BYTES as u64;
    Layout { file_system: Arc::new(RealFileSystem), dir: dir.join("log"), segment_bytes }
}

/// A batch of commands, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first_seq: u64,
    pub(super) commands: Vec<Vec<u8>>,
}

/// A log at rest.
pub(super) struct Log {
    /// Never changed: each case begins with a copy.
    pub(super) image: Image,
    pub(super) closed: bool,
    pub(super) batches: Vec<Batch>,
}

impl Log {
    /// Appends each of `batches` to the log in `image`, or to a new one.
    pub(super) fn write(image: Option<&Image>, batches: Vec<Vec<Vec<u8>>>, closed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(image) = image {
            image.save(dir.path());
        }
        let mut all = Vec::new();
        let (mut log, _) = FileLog::open(dir.path(), &config(), &mut collect(&mut all)).unwrap();
        for commands in batches {
            let first_seq = log.last_seq().get() + 1;
            let mut parts = commands.iter().map(|command| command.split_at(command.len() / 2).into());
            assert_eq!(log.append(0, &mut parts).unwrap(), commands.len(), "they fit into one batch");
            all.push(Batch { first_seq, commands });
        }
        if closed {
            log.close().unwrap();
        }
        drop(log);
        Self { image: Image::load(dir.path()), closed, batches: all }
    }

    pub(super) fn bytes(&self, number: u64) -> &[u8] {
        &self.image.segments[&number]
    }

    /// The last segment that is in use.
    pub(super) fn last_segment(&self) -> u64 {
        let mut used = self.image.segments.iter().filter(|(_, bytes)| zeros_from(bytes) > 0);
        *used.next_back().expect("a log has a segment").0
    }

    pub(super) fn store_id(&self) -> u128 {
        store_file::parse(self.image.store.as_deref().expect("it is there")).unwrap().id
    }

    /// Where the batches of a segment are, markers among them, without the zeros that fill their
    /// pages.
    pub(super) fn places(&self, number: u64) -> Vec<Range<usize>> {
        let (bytes, mut found, mut at) = (self.bytes(number), Vec::new(), PAGE_BYTES);
        while let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk)
            && let Read::Header((header, _)) = BatchHeader::read(self.store_id(), head)
        {
            found.push(at..at + header.total_bytes());
            at = (at + header.total_bytes()).next_multiple_of(PAGE_BYTES);
        }
        found
    }

    /// Whether each byte of a segment belongs to a header, a body or a footer.
    pub(super) fn used(&self, number: u64) -> Vec<bool> {
        let mut used = vec![false; self.bytes(number).len()];
        used[..HEADER_BYTES].fill(true);
        for place in self.places(number) {
            used[place].fill(true);
        }
        used
    }

    /// Changes a header and gives it the CRC that goes with it.
    pub(super) fn reseal(&self, bytes: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
        let header = bytes[at..].first_chunk_mut::<HEADER_BYTES>().expect("a header is there");
        change(header);
        seal(self.store_id(), header);
    }
}

/// A visitor that keeps all that it is given.
pub(super) fn collect(
    all: &mut Vec<Batch>,
) -> impl FnMut(&BatchHeader, &[&[u8]]) -> Result<(), crate::log::Rejected> {
    |header, commands| {
        let commands = commands.iter().map(|command| command.to_vec()).collect();
        all.push(Batch { first_seq: header.first_seq, commands });
        Ok(())
    }
}

/// A few dozen small commands in one segment, the last one longer.
pub(super) fn small_log(closed: bool) -> Log {
    let mut batches = vec![vec![b"first".to_vec()]];
    batches.push((0..24).map(|at| format!("note {at}").into_bytes()).collect());
    batches.extend([vec![b"changed".to_vec()], vec![b"deleted".to_vec()]]);
    batches.push(vec![vec![b'x'; 1000]]);
    let log = Log::write(None, batches, closed);
    assert_eq!(log.image.segments.len(), 1);
    log
}

pub(super) fn filling(name: &str, length: usize) -> Vec<Vec<u8>> {
    vec![format!("{name} {}", "filling ".repeat(length)).into_bytes()]
}

/// Some large commands in four segments, one more segment prepared.
pub(super) fn large_log(closed: bool) -> Log {
    let mut batches: Vec<_> = (0..12).map(|at| filling(&format!("n{at}"), 1600 + at)).collect();
    batches.push(vec![vec![b'x'; 1000]]);
    let mut log = Log::write(None, batches, closed);
    assert_eq!(log.image.segments.len(), 4);
    log.image.segments.insert(5, vec![0; SEGMENT_BYTES]);
    log
}

/// Which file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Store,
    Segment(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All commands are accepted.
    Whole {
        torn: bool,
    },
    /// All but the last batch is accepted, and its remains are reported.
    LastBatchTorn,
    Refused {
        file: File,
        offset: usize,
    },
}

/// Judges a damaged log. Anything but the outcomes above is a failure.
#[track_caller]
pub(super) fn outcome(log: &Log, image: &Image, what: &dyn Fn() -> String) -> Outcome {
    let mut accepted = 0;
    let judged = image.judge(&mut |header, commands| {
        let expected = log.batches.get(accepted).expect("no batch is there that was not appended");
        assert_eq!((header.first_seq, commands.len()), (expected.first_seq, expected.commands.len()));
        assert!(commands.iter().zip(&expected.commands).all(|(found, expected)| found == expected));
        accepted += 1;
        Ok(())
    });
    let last_seq = log.batches.get(accepted).map_or(log.last_seq(), |next| next.first_seq - 1);
    match judged {
        Ok(verdict) => {
            assert_eq!(verdict.position.last_seq, last_seq, "{}", what());
            check_repair(image, &verdict, what);
            let torn = !verdict.torn_writes.is_empty();
            if accepted == log.batches.len() {
                return Outcome::Whole { torn };
            }
            assert!(!log.closed, "{}: something of a log that was closed is gone", what());
            assert_eq!(accepted + 1, log.batches.len(), "{}: more than the last batch is gone", what());
            assert!(torn, "{}: the last batch is gone and nothing says so", what());
            Outcome::LastBatchTorn
        }
        Err(Refusal::Log(Fault { segment, offset, last_seq: found, problem: Problem::Damaged(_) })) => {
            assert_eq!(found, last_seq, "{}: the last command before it is another", what());
            Outcome::Refused { file: File::Segment(segment), offset }
        }
        Err(Refusal::Store(StoreFault::Damaged(_))) => Outcome::Refused { file: File::Store, offset: 0 },
        Err(refusal) => panic!("{}: {refusal:?}", what()),
    }
}

impl Log {
    fn last_seq(&self) -> u64 {
        self.batches.last().map_or(0, |last| last.first_seq + last.commands.len() as u64 - 1)
    }
}

/// Does what opening does with a verdict: everything behind the log's end must be zero then, and
/// the verdict the same, with nothing torn.
#[track_caller]
fn check_repair(image: &Image, verdict: &Verdict, what: &dyn Fn() -> String) {
    if let Some(last) = &verdict.last_write {
        let there = &image.segments[&last.start.segment][last.start.offset..];
        assert!(there.starts_with(&last.bytes), "{}: the last write is another", what());
    }
    let mut repaired = image.clone();
    for torn in &verdict.torn_writes {
        repaired.segment(torn.start.segment)[torn.start.offset..][..torn.length].fill(0);
    }
    for (number, bytes) in repaired.segments.range(verdict.end.segment..) {
        let from = if *number == verdict.end.segment { verdict.end.offset } else { 0 };
        assert_eq!(zeros_from(&bytes[from..]), 0, "{}: something is left in segment {number}", what());
    }
    if verdict.torn_writes.is_empty() {
        return;
    }
    let again =
        repaired.judge(&mut |_, _| Ok(())).unwrap_or_else(|refusal| panic!("{}: {refusal:?}", what()));
    assert!(again.torn_writes.is_empty() && again.end == verdict.end, "{}: {again:?}", what());
    assert_eq!((again.position.last_seq, again.batches), (verdict.position.last_seq, verdict.batches));
}

/// Changes one segment of a log; returns what the reader makes of it.
#[track_caller]
pub(super) fn damaged(log: &Log, number: u64, what: &str, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let mut image = log.image.clone();
    change(image.segment(number));
    outcome(log, &image, &|| format!("segment {number}: {what}"))
}

/// Changes one segment of a log, for which the log must be refused.
#[track_caller]
pub(super) fn check_refused(log: &Log, number: u64, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let outcome = damaged(log, number, what, change);
    let refused = matches!(outcome, Outcome::Refused { file: File::Segment(found), .. } if found == number);
    assert!(refused, "segment {number}: {what}: {outcome:?}");
}
