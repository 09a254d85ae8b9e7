//! Logs to be damaged, and what became of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use steadfast_graph_memory::fs::FileSystem;
use steadfast_graph_memory::{Allocate, GraphMemory, Id, Memory, OpenError, Patch};

use crate::simulated_disk::store::{DIR, open};
use crate::simulated_disk::{SimulatedDisk, Survival};

// The format, as `docs/log-format.md` has it.
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const FOOTER_BYTES: usize = 8;
pub(crate) const PAGE_BYTES: usize = 4096;

/// A log at rest.
pub(crate) struct Log {
    /// Never opened itself: each case begins with a copy.
    pub(crate) disk: SimulatedDisk,
    closed: bool,
    /// The state hash of all of it, and of all but its last batch.
    hash: u64,
    hash_before: u64,
}

impl Log {
    pub(crate) fn copy(&self) -> SimulatedDisk {
        self.disk.after_power_loss(&Survival::NothingUnsynced)
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.disk.contents().remove(path).expect("the file is there")
    }

    /// The id, as the first segment tells it.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.bytes(&segment(1))[20..36].try_into().expect("sixteen bytes")
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let paths = self.disk.contents().into_keys();
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
    }
}

pub(crate) fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("log/{number:016x}.seg"))
}

pub(crate) fn store_file() -> PathBuf {
    Path::new(DIR).join("STORE")
}

/// Gives a header the CRC that it has in a store: over the store's id and all but its own last five bytes.
pub(crate) fn seal(store_id: [u8; 16], header: &mut [u8]) {
    seal_from(crc32c::crc32c(&store_id), header);
}

/// Gives a header the CRC of what is in it alone.
pub(crate) fn seal_without_store(header: &mut [u8]) {
    seal_from(0, header);
}

fn seal_from(crc: u32, header: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc, &header[..HEADER_BYTES - 5]);
    header[HEADER_BYTES - 5..HEADER_BYTES - 1].copy_from_slice(&crc.to_le_bytes());
    header[HEADER_BYTES - 1] = 0xA5;
}

/// Where the batches of a segment are, without the zeros that fill their pages.
pub(crate) fn batches(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = PAGE_BYTES;
    while bytes.get(at..at + 4) == Some(b"SFBA") {
        let body = u32::from_le_bytes(bytes[at + 6..at + 10].try_into().expect("four bytes")) as usize;
        let end = at + HEADER_BYTES + body.next_multiple_of(8) + FOOTER_BYTES;
        found.push(at..end);
        at = end.next_multiple_of(PAGE_BYTES);
    }
    found
}

pub(crate) fn allocate(memory: &GraphMemory, text: &str) {
    memory.tenant("acme").unwrap().allocate_blocking(Allocate::new(text)).unwrap();
}

/// Several commands in one or two batches: they are handed in while the disk stands still.
pub(crate) fn allocate_together(memory: &GraphMemory, disk: &SimulatedDisk, texts: &[String]) {
    let acme = memory.tenant("acme").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut pending: Vec<_> = texts.iter().map(|text| Box::pin(acme.allocate(Allocate::new(text)))).collect();
    let paused = disk.pause();
    for future in &mut pending {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    drop(paused);
    while !pending.is_empty() {
        pending.retain_mut(|future| match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => {
                answer.unwrap();
                false
            }
            Poll::Pending => true,
        });
        std::thread::yield_now();
    }
}

/// A few dozen small commands in one segment.
pub(crate) fn small_log(closed: bool) -> Log {
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    let acme = memory.tenant("acme").unwrap();
    allocate(&memory, "first");
    let texts: Vec<String> = (0..24).map(|at| format!("note {at}")).collect();
    allocate_together(&memory, &disk, &texts);
    acme.update_blocking(Id::new(3), None, Patch::new().text("changed")).unwrap();
    acme.delete_blocking(Id::new(4)).unwrap();
    finish(&disk, &memory, closed)
}

/// Some large commands in four segments, one more prepared.
pub(crate) fn large_log(closed: bool) -> Log {
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    for at in 0..12 {
        allocate(&memory, &format!("n{at} {}", "filling ".repeat(1600 + at)));
    }
    drop(disk.create_zeroed(&segment(5), 64 << 10).unwrap());
    disk.sync_dir(segment(5).parent().expect("it lies in a directory")).unwrap();
    let log = finish(&disk, &memory, closed);
    let written = log.segments().iter().filter(|path| !batches(&log.bytes(path)).is_empty()).count();
    assert_eq!((written, log.segments().len()), (4, 5));
    log
}

/// Adds a last command and ends the log in one way or the other.
pub(crate) fn finish(disk: &SimulatedDisk, memory: &GraphMemory, closed: bool) -> Log {
    let hash_before = memory.state_hash();
    allocate(memory, &format!("last {}", "x".repeat(1000)));
    let hash = memory.state_hash();
    if closed {
        memory.close_blocking().unwrap();
    }
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    Log { disk, closed, hash, hash_before }
}

/// Where the never written space of a segment begins.
pub(crate) fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is there.
    Whole {
        cut: bool,
    },
    /// All but the last batch is there, and the cut is reported.
    LastBatchCut,
    Refused {
        file: PathBuf,
        offset: u64,
    },
}

/// Opens a damaged log. Anything but the outcomes above is a failure.
pub(crate) fn outcome(log: &Log, disk: &SimulatedDisk, what: &dyn Fn() -> String) -> Outcome {
    match open(disk) {
        Ok(memory) => {
            let (hash, cut) = (memory.state_hash(), !memory.recovery().cut.is_empty());
            if hash == log.hash {
                return Outcome::Whole { cut };
            }
            assert!(!log.closed, "{}: something of a log that was closed is gone", what());
            assert_eq!(hash, log.hash_before, "{}: more than the last batch is gone", what());
            assert!(cut, "{}: the last batch is gone and nothing says so", what());
            Outcome::LastBatchCut
        }
        Err(OpenError::Damaged { file, offset, .. }) => Outcome::Refused { file, offset },
        Err(error) => panic!("{}: {error}", what()),
    }
}

pub(crate) fn damaged(log: &Log, path: &Path, what: &str, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let disk = log.copy();
    disk.damage(path, change);
    outcome(log, &disk, &|| format!("{what} of {}", path.display()))
}

pub(crate) fn check_refused(log: &Log, path: &Path, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let disk = log.copy();
    disk.damage(path, change);
    let before = disk.contents();
    let outcome = outcome(log, &disk, &|| format!("{what} of {}", path.display()));
    assert!(matches!(&outcome, Outcome::Refused { file, .. } if file == path), "{what}: {outcome:?}");
    assert!(disk.contents() == before, "{what}: a store that is refused is left alone");
}
