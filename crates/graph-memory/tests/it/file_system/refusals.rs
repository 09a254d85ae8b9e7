//! File systems that make no new segment: nothing was written then, whatever the reason. A caller learns whether it is for room, and
//! may try again.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use steadfast_graph_memory::fs::{File, FileSystem};
use steadfast_graph_memory::{Allocate, Config, GraphMemory, LogConfig, MemoryError};

use crate::simulated_disk::store::{DIR, one_by_one, open};
use crate::simulated_disk::{Operation, SimulatedDisk, Survival};

/// A simulated disk that refuses new files of zeros, for as long as it is told an error.
#[derive(Clone, Debug)]
struct Refusing {
    disk: SimulatedDisk,
    error: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Refusing {
    fn new() -> Self {
        Self { disk: SimulatedDisk::new(0), error: Arc::default() }
    }

    fn refuse(&self, error: Option<io::ErrorKind>) {
        *self.error.lock().unwrap() = error;
    }

    fn open(&self, log: LogConfig) -> GraphMemory {
        let config = Config::default().file_system(Arc::new(self.clone())).log(log);
        GraphMemory::open_blocking(Path::new(DIR), config).unwrap()
    }
}

impl FileSystem for Refusing {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.create_new(path)
    }

    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        match *self.error.lock().unwrap() {
            Some(error) => Err(error.into()),
            None => self.disk.create_zeroed(path, bytes),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock(path)
    }
}

/// Errors, and whether each means that there is no room.
const ERRORS: [(io::ErrorKind, bool); 8] = [
    (io::ErrorKind::StorageFull, true),
    (io::ErrorKind::QuotaExceeded, true),
    (io::ErrorKind::FileTooLarge, true),
    (io::ErrorKind::PermissionDenied, false),
    (io::ErrorKind::ReadOnlyFilesystem, false),
    (io::ErrorKind::Interrupted, false),
    (io::ErrorKind::NotFound, false),
    (io::ErrorKind::Other, false),
];

fn check_refusal(error: &MemoryError, is_full: bool) {
    match error {
        MemoryError::StorageFull { .. } => assert!(is_full, "{error}"),
        MemoryError::StorageUnavailable { .. } => assert!(!is_full, "{error}"),
        _ => panic!("{error:?}"),
    }
    assert!(error.is_certain() && error.is_retryable());
}

fn large() -> Allocate {
    Allocate::new("x".repeat(30 << 10))
}

#[test]
fn a_segment_that_cannot_be_made_refuses_with_certainty_and_names_the_reason() {
    for ((kind, is_full), ahead) in ERRORS.into_iter().flat_map(|error| [(error, 0), (error, 2)]) {
        println!("{kind:?}, {ahead} ahead");
        let refusing = Refusing::new();
        let memory = refusing.open(LogConfig::new(64 << 10, ahead));
        let acme = memory.tenant("acme").unwrap();
        acme.allocate_blocking(Allocate::new("first")).unwrap();
        refusing.refuse(Some(kind));
        // Segments that are there already are filled first.
        let refused = (0..20).find_map(|_| acme.allocate_blocking(large()).err()).expect("it is refused");
        check_refusal(&refused, is_full);
        assert!(memory.stats().poisoned.is_none());
        let found = acme.stats_blocking().unwrap().memories;
        acme.allocate_blocking(Allocate::new("a small one fits still")).unwrap();

        refusing.refuse(None);
        // What failed before may be told once more.
        assert!((0..2).any(|_| acme.allocate_blocking(large()).is_ok()));
        memory.close_blocking().unwrap();
        let memory = open(&refusing.disk).unwrap();
        assert_eq!(memory.tenant("acme").unwrap().stats_blocking().unwrap().memories, found + 2);
        assert!(memory.recovery().clean);
    }
}

/// Every step of making a segment, failing in a way that says nothing about room.
#[test]
fn no_step_of_making_a_segment_is_told_as_a_full_disk_when_it_fails_otherwise() {
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::SyncData,
        Operation::Rename,
        Operation::SyncDirectory,
    ] {
        println!("{operation:?}");
        let disk = SimulatedDisk::new(0);
        let memory = open(&disk).unwrap();
        let acme = memory.tenant("acme").unwrap();
        let fill = || acme.allocate_blocking(Allocate::new("x".repeat(50 << 10)));
        acme.allocate_blocking(Allocate::new("first")).unwrap();
        disk.fail(operation, 0);
        check_refusal(&fill().unwrap_err(), false);
        fill().unwrap();
    }
}

/// Opens a store with segments of 16 pages, of which the header and the marker of the opening take two, and fills so many others.
fn filled(refusing: &Refusing, pages: u64) -> GraphMemory {
    let memory = refusing.open(one_by_one());
    let acme = memory.tenant("acme").unwrap();
    for page in 0..pages {
        acme.allocate_blocking(Allocate::new(format!("page {page}"))).unwrap();
    }
    memory
}

#[test]
fn a_close_that_needs_a_segment_in_vain_says_so_and_loses_nothing() {
    for (kind, is_full) in ERRORS {
        // The last page is kept for the marker that ends the segment.
        for (pages, closes) in [(12, true), (13, false)] {
            println!("{kind:?}, {pages} pages");
            let refusing = Refusing::new();
            let memory = filled(&refusing, pages);
            let hash = memory.state_hash();
            refusing.refuse(Some(kind));
            match memory.close_blocking() {
                Ok(()) => assert!(closes),
                Err(error) => {
                    assert!(!closes, "{error}");
                    check_refusal(&error, is_full);
                }
            }
            assert_eq!(memory.stats().poisoned, None);
            // The directory is free, and the store is whole.
            let memory = open(&refusing.disk.after_power_loss(&Survival::NothingUnsynced)).unwrap();
            assert_eq!(memory.state_hash(), hash);
            assert!(memory.recovery().clean == closes && memory.recovery().torn_writes.is_empty());
        }
    }
}

#[test]
fn a_close_whose_marker_fails_in_the_write_says_that_the_store_is_poisoned() {
    for operation in [Operation::Write, Operation::SyncData] {
        let refusing = Refusing::new();
        let memory = filled(&refusing, 3);
        refusing.disk.fail(operation, 0);
        let error = memory.close_blocking().unwrap_err();
        assert!(matches!(error, MemoryError::Poisoned { .. }), "{error:?}");
    }
}
