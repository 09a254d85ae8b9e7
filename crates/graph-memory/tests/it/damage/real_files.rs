//! Real files, damaged in each way once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use steadfast_graph_memory::{Config, GraphMemory, Id, LogConfig, OpenError, Patch};
use steadfast_testkit::{TestRng, full};
use tempfile::TempDir;

use crate::damage::log::{FOOTER_BYTES, HEADER_BYTES, allocate, batches, seal, segment, store_id};

const SEGMENT_BYTES: usize = 64 << 10;

fn open(dir: &Path) -> Result<GraphMemory, OpenError> {
    GraphMemory::open_blocking(dir, Config::default().log(LogConfig::new(SEGMENT_BYTES as u64, 0)))
}

/// All files of a store, by their paths in its directory.
#[derive(Clone, PartialEq)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn load(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        for folder in [dir, &dir.join("log")] {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    let path = entry.path();
                    files.insert(path.strip_prefix(dir).unwrap().into(), fs::read(&path).unwrap());
                }
            }
        }
        Self(files)
    }

    fn save(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        for (path, bytes) in &self.0 {
            fs::write(dir.path().join(path), bytes).unwrap();
        }
        dir
    }

    fn file(&mut self, path: impl AsRef<Path>) -> &mut Vec<u8> {
        self.0.get_mut(path.as_ref()).expect("the file is there")
    }

    fn segment(&mut self, number: u64) -> &mut Vec<u8> {
        self.file(segment(number))
    }
}

/// A store at rest.
struct Store {
    files: Files,
    /// The state hash of all of it, and of all but its last batch.
    hash: u64,
    hash_before: u64,
    closed: bool,
}

/// A store of two segments. One that isn't closed is as a crash leaves it.
fn store(closed: bool) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    for at in 0..5 {
        allocate(&memory, &format!("n{at} {}", "filling ".repeat(1600)));
    }
    acme.update_blocking(Id::new(3), None, Patch::new().text("changed")).unwrap();
    acme.delete_blocking(Id::new(4)).unwrap();
    let hash_before = memory.state_hash();
    allocate(&memory, &format!("last {}", "x".repeat(1000)));
    let hash = memory.state_hash();
    if closed {
        memory.close_blocking().unwrap();
    }
    let files = Files::load(dir.path());
    assert!(files.0.contains_key(&segment(2)) && !files.0.contains_key(&segment(3)));
    Store { files, hash, hash_before, closed }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Whole,
    /// All but the last batch is there, and its remains are reported.
    LastBatchTorn,
    Refused {
        file: PathBuf,
        offset: u64,
    },
}

/// Opens damaged files. Anything but the outcomes above is a failure.
#[track_caller]
fn outcome(store: &Store, files: &Files, what: &str) -> Outcome {
    let dir = files.save();
    match open(dir.path()) {
        Ok(memory) => {
            let hash = memory.state_hash();
            let torn = !memory.recovery().torn_writes.is_empty();
            memory.close_blocking().unwrap();
            drop(memory);
            let again = open(dir.path()).unwrap();
            assert_eq!(again.state_hash(), hash, "{what}: the state is another when it is opened again");
            assert!(again.recovery().clean && again.recovery().torn_writes.is_empty(), "{what}");
            if hash == store.hash {
                return Outcome::Whole;
            }
            assert!(!store.closed, "{what}: something of a store that was closed is gone");
            assert_eq!(hash, store.hash_before, "{what}: more than the last batch is gone");
            assert!(torn, "{what}: the last batch is gone and nothing says so");
            Outcome::LastBatchTorn
        }
        Err(OpenError::Damaged { file, offset, .. }) => {
            let mut after = Files::load(dir.path());
            after.0.retain(|path, _| path != Path::new("LOCK") || files.0.contains_key(path));
            assert!(after == *files, "{what}: a store that is refused is left alone");
            Outcome::Refused { file: file.strip_prefix(dir.path()).unwrap().into(), offset }
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// What is done to the files, the file that is to be named, and the byte up to which it is valid at
/// most.
type Damage = (&'static str, PathBuf, usize, fn(&mut Files));

#[test]
fn damage_of_each_class_is_refused_by_file_and_offset_and_the_files_are_left_alone() {
    for closed in [true, false] {
        let store = store(closed);
        let batch = batches(&store.files.0[&segment(1)])[2].clone();
        let damages: [Damage; 11] = [
            ("a segment's header", segment(1), 30, |files| files.segment(1)[30] ^= 1),
            ("a batch's header", segment(1), batch.start, |files| {
                let batch = batches(files.segment(1))[2].clone();
                files.segment(1)[batch.start + 9] ^= 1;
            }),
            ("a body", segment(1), batch.start, |files| {
                let batch = batches(files.segment(1))[2].clone();
                files.segment(1)[batch.start + HEADER_BYTES + 700] ^= 1;
            }),
            ("a footer", segment(1), batch.start, |files| {
                let batch = batches(files.segment(1))[2].clone();
                files.segment(1)[batch.end - FOOTER_BYTES] ^= 1;
            }),
            ("a sector of zeros", segment(1), batch.start, |files| {
                let batch = batches(files.segment(1))[2].clone();
                files.segment(1)[batch.start..batch.start + 512].fill(0);
            }),
            ("a truncated segment", segment(1), 5000, |files| files.segment(1).truncate(5000)),
            ("a segment twice", segment(2), SEGMENT_BYTES, |files| {
                let first = files.segment(1).clone();
                *files.segment(2) = first;
            }),
            ("a missing first segment", segment(1), 0, |files| drop(files.0.remove(&segment(1)))),
            ("a missing last segment", segment(2), 0, |files| drop(files.0.remove(&segment(2)))),
            ("a segment of another store", segment(1), SEGMENT_BYTES, |files| {
                let foreign = self::store(true).files.segment(1).clone();
                *files.segment(1) = foreign;
            }),
            ("the store file", "STORE".into(), 0, |files| files.file("STORE")[35] ^= 1),
        ];
        for (what, expected, offset_max, damage) in damages {
            let mut files = store.files.clone();
            damage(&mut files);
            let outcome = outcome(&store, &files, what);
            let Outcome::Refused { file, offset } = &outcome else { panic!("{what}: {outcome:?}") };
            assert!(*file == expected && *offset <= offset_max as u64, "{what}: {outcome:?}");
        }
    }
}

#[test]
fn random_damage_is_never_lost_silently() {
    let stores = [store(true), store(false)];
    let mut rng = TestRng::new(4);
    for _ in 0..if full() { 2000 } else { 40 } {
        let store = rng.pick(&stores);
        let mut files = store.files.clone();
        let (number, at) = (1 + rng.below(2), rng.index(SEGMENT_BYTES));
        if rng.chance(3, 4) {
            files.segment(number)[at] ^= 1 << rng.below(8);
        } else {
            files.segment(number).truncate(at);
        }
        outcome(store, &files, &format!("byte {at} of segment {number}"));
    }
}

/// The one limit: a damaged last batch of a store that was not closed, when it looks like an
/// interrupted write.
#[test]
fn a_torn_last_batch_is_erased_and_reported_in_a_crashed_store_and_refused_in_a_closed_one() {
    for closed in [true, false] {
        let store = store(closed);
        let mut files = store.files.clone();
        let mut places = batches(files.segment(2));
        let last = places.drain(..).rfind(|place| place.len() > 1000).unwrap();
        files.segment(2)[last.end - 20..last.end].fill(0);
        if closed {
            // The marker of the close stands behind it.
            let outcome = outcome(&store, &files, "torn");
            assert_eq!(outcome, Outcome::Refused { file: segment(2), offset: last.end as u64 });
            continue;
        }
        assert_eq!(outcome(&store, &files, "torn"), Outcome::LastBatchTorn);
        let dir = files.save();
        let memory = open(dir.path()).unwrap();
        let torn = &memory.recovery().torn_writes;
        let torn: Vec<_> = torn.iter().map(|torn| (torn.file.clone(), torn.offset, torn.bytes)).collect();
        let file = dir.path().join(segment(2));
        assert_eq!(torn, [(file, last.start as u64, (last.len() - 20) as u64)]);
        assert!(!memory.recovery().clean);
    }
}

#[track_caller]
fn check_newer(files: &Files, path: &Path, newer: u32) {
    let dir = files.save();
    let error = open(dir.path()).unwrap_err();
    let OpenError::NewerFormat { file, found, supported } = &error else { panic!("{error}") };
    assert!(*file == dir.path().join(path) && *found == newer && *supported < newer, "{error}");
}

#[test]
fn a_newer_format_is_named() {
    let store = store(true);
    for number in [1, 2] {
        let mut files = store.files.clone();
        let bytes = files.segment(number);
        bytes[8..12].copy_from_slice(&200_u32.to_le_bytes());
        let id = store_id(bytes);
        seal(id, &mut bytes[..HEADER_BYTES]);
        check_newer(&files, &segment(number), 200);
    }
    let mut files = store.files.clone();
    let text = String::from_utf8(files.file("STORE").clone()).unwrap();
    let format = text.lines().find(|line| line.starts_with("format ")).unwrap();
    let body = text.replace(format, "format 700");
    let body = body.split_once("crc ").unwrap().0;
    *files.file("STORE") = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes();
    check_newer(&files, Path::new("STORE"), 700);
}

#[test]
fn a_store_file_that_is_missing_is_written_anew() {
    let store = store(true);
    let mut files = store.files.clone();
    files.0.remove(Path::new("STORE"));
    let dir = files.save();
    let memory = open(dir.path()).unwrap();
    assert_eq!(memory.state_hash(), store.hash);
    assert_eq!(Files::load(dir.path()).file("STORE"), store.files.clone().file("STORE"));
}

#[test]
fn a_store_without_its_log_is_refused() {
    let store = store(true);
    let mut files = store.files.clone();
    files.0.retain(|path, _| !path.starts_with("log"));
    for with_directory in [false, true] {
        let dir = files.save();
        if !with_directory {
            fs::remove_dir(dir.path().join("log")).unwrap();
        }
        let error = open(dir.path()).unwrap_err();
        let OpenError::Damaged { file, offset: 0, .. } = &error else { panic!("{error}") };
        assert_eq!(*file, dir.path().join(segment(1)));
    }
}

#[test]
fn files_of_other_names_are_left_alone() {
    let store = store(true);
    let mut files = store.files.clone();
    let others = ["notes.txt", "1.seg", "00000000000000zz.seg", "000000000000000A.seg"];
    for name in others {
        files.0.insert(Path::new("log").join(name), Vec::new());
    }
    let dir = files.save();
    let memory = open(dir.path()).unwrap();
    assert_eq!(memory.state_hash(), store.hash);
    let after = Files::load(dir.path());
    assert!(others.iter().all(|name| after.0.contains_key(&Path::new("log").join(name))));
}
