//! Damage: whatever happens to the bytes of a log, it opens with all that was acknowledged or is refused, with the file and
//! the place. Never a panic, never a silent loss.
//!
//! There is one limit, and it is tested as such: in a log that was not closed, damage to the very last batch that looks
//! just like an interrupted write can't be told from one. It is cut then, and reported.
//!
//! By default every bit of headers and batches is flipped, and some of the zeros that fill their pages; with
//! `STEADFAST_DAMAGE_ALL=1` all of those as well.

mod simulated_disk;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use simulated_disk::store::{DIR, open};
use simulated_disk::{Dice, SECTOR_BYTES, SimulatedDisk, Survival};
use steadfast_graph_memory::fs::FileSystem;
use steadfast_graph_memory::{Allocate, GraphMemory, Id, Memory, OpenError, Patch};

// The format, as `docs/log-format.md` has it.
const HEADER_BYTES: usize = 64;
const FOOTER_BYTES: usize = 8;
const PAGE_BYTES: usize = 4096;

/// A log at rest.
struct Log {
    /// Never opened itself: each case begins with a copy.
    disk: SimulatedDisk,
    closed: bool,
    /// The state hash of all of it, and of all but its last batch.
    hash: u64,
    hash_before: u64,
}

impl Log {
    fn copy(&self) -> SimulatedDisk {
        self.disk.after_power_loss(&Survival::NothingUnsynced)
    }

    fn bytes(&self, path: &Path) -> Vec<u8> {
        self.disk.contents().remove(path).expect("the file is there")
    }

    fn segments(&self) -> Vec<PathBuf> {
        let paths = self.disk.contents().into_keys();
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
    }
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("log/{number:016x}.seg"))
}

fn store_file() -> PathBuf {
    Path::new(DIR).join("STORE")
}

/// Where the batches of a segment are, without the zeros that fill their pages.
fn batches(bytes: &[u8]) -> Vec<Range<usize>> {
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

fn allocate(memory: &GraphMemory, text: &str) {
    memory.tenant("acme").unwrap().allocate_blocking(Allocate::new(text)).unwrap();
}

/// Several commands in one or two batches: they are handed in while the disk stands still.
fn allocate_together(memory: &GraphMemory, disk: &SimulatedDisk, texts: &[String]) {
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
fn small_log(closed: bool) -> Log {
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
fn large_log(closed: bool) -> Log {
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
fn finish(disk: &SimulatedDisk, memory: &GraphMemory, closed: bool) -> Log {
    let hash_before = memory.state_hash();
    allocate(memory, &format!("last {}", "x".repeat(1000)));
    let hash = memory.state_hash();
    if closed {
        memory.close_blocking().unwrap();
    }
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    Log { disk, closed, hash, hash_before }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
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
fn outcome(log: &Log, disk: &SimulatedDisk, what: &dyn Fn() -> String) -> Outcome {
    match open(disk) {
        Ok(memory) => {
            let (hash, cut) = (memory.state_hash(), memory.recovery().cut.is_some());
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

fn damaged(log: &Log, path: &Path, what: &str, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let disk = log.copy();
    disk.damage(path, change);
    outcome(log, &disk, &|| format!("{what} of {}", path.display()))
}

fn check_refused(log: &Log, path: &Path, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let disk = log.copy();
    disk.damage(path, change);
    let before = disk.contents();
    let outcome = outcome(log, &disk, &|| format!("{what} of {}", path.display()));
    assert!(matches!(&outcome, Outcome::Refused { file, .. } if file == path), "{what}: {outcome:?}");
    assert!(disk.contents() == before, "{what}: a store that is refused is left alone");
}

/// Where the never written space of a segment begins.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The bits to flip in a segment: all that mean something, some of those that fill pages.
fn bits(bytes: &[u8]) -> Vec<usize> {
    let all = std::env::var_os("STEADFAST_DAMAGE_ALL").is_some();
    let mut meant = vec![all; written(bytes)];
    meant[..HEADER_BYTES].fill(true);
    for batch in batches(bytes) {
        meant[batch].fill(true);
    }
    (0..meant.len() * 8).filter(|bit| meant[bit / 8] || bit % 331 == 0).collect()
}

fn check_flips(log: &Log) {
    let path = segment(1);
    let bytes = log.bytes(&path);
    let bits = bits(&bytes);
    for bit in &bits {
        let outcome = damaged(log, &path, &format!("bit {bit}"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let refused_there = |file: &Path, offset: u64| file == path && offset <= *bit as u64 / 8;
        assert!(
            matches!(&outcome, Outcome::Refused { file, offset } if refused_there(file, *offset)),
            "bit {bit}: {outcome:?}"
        );
    }
    println!("{} bits of {}", bits.len(), written(&bytes) * 8);
}

#[test]
fn flipped_bits_in_a_closed_log_are_refused() {
    check_flips(&small_log(true));
}

#[test]
fn flipped_bits_in_a_crashed_log_are_refused() {
    check_flips(&small_log(false));
}

#[test]
fn flipped_bits_in_the_store_file_are_refused_or_mean_nothing() {
    let log = small_log(true);
    for bit in 0..log.bytes(&store_file()).len() * 8 {
        let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = damaged(&log, &store_file(), &format!("bit {bit}"), flip);
        assert_ne!(outcome, Outcome::LastBatchCut);
    }
}

#[test]
fn flipped_bits_where_nothing_was_written_lose_nothing() {
    for closed in [true, false] {
        let log = small_log(closed);
        let path = segment(1);
        let bytes = log.bytes(&path);
        let mut dice = Dice::new(0);
        let near = (0..300).map(|bit| written(&bytes) * 8 + bit);
        let far = (0..100).map(|_| dice.below(bytes.len() as u64 * 8) as usize);
        for bit in near.chain(far).filter(|bit| bit / 8 >= written(&bytes)) {
            let outcome =
                damaged(&log, &path, &format!("bit {bit}"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert!(
                matches!(outcome, Outcome::Whole { cut: true } | Outcome::Refused { .. }),
                "bit {bit}: {outcome:?}"
            );
        }
    }
}

#[test]
fn flipped_bits_in_a_prepared_segment_lose_nothing() {
    let log = large_log(false);
    let path = log.segments().pop().expect("there is a prepared one");
    for byte in [0, 1, 63, 64, 5000, (64 << 10) - 1] {
        let outcome = damaged(&log, &path, &format!("byte {byte}"), |bytes| bytes[byte] ^= 8);
        assert!(
            matches!(outcome, Outcome::Whole { .. } | Outcome::Refused { .. }),
            "byte {byte}: {outcome:?}"
        );
    }
}

#[test]
fn truncated_files_are_refused_or_whole() {
    for closed in [true, false] {
        let log = small_log(closed);
        let path = segment(1);
        let bytes = log.bytes(&path);
        let last = batches(&bytes).pop().expect("there are batches");
        let behind = (written(&bytes)..bytes.len()).step_by(331).chain([bytes.len() - 1]);
        for length in (0..written(&bytes)).chain(behind) {
            let outcome =
                damaged(&log, &path, &format!("the first {length} bytes"), |bytes| bytes.truncate(length));
            assert!(outcome != Outcome::LastBatchCut || last.contains(&length), "{length}: {outcome:?}");
            assert!(
                length > last.start || matches!(outcome, Outcome::Refused { .. }),
                "{length}: {outcome:?}"
            );
        }
        for length in 0..log.bytes(&store_file()).len() {
            let truncate = |bytes: &mut Vec<u8>| bytes.truncate(length);
            let outcome = damaged(&log, &store_file(), &format!("the first {length} bytes"), truncate);
            assert_ne!(outcome, Outcome::LastBatchCut);
        }
    }
}

#[test]
fn truncated_segments_in_the_middle_are_refused() {
    let log = large_log(true);
    for number in 1..=3 {
        let length = log.bytes(&segment(number)).len();
        for left in [0, 1, 63, 64, 65, 512, 4096, length / 2, length - 1] {
            check_refused(&log, &segment(number), &format!("the first {left} bytes"), |bytes| {
                bytes.truncate(left);
            });
        }
    }
}

#[test]
fn lengthened_files_lose_nothing() {
    let log = large_log(true);
    for path in log.segments() {
        for (more, byte) in [(1, 0), (1, 7), (4096, 0), (4096, 7)] {
            let lengthen = |bytes: &mut Vec<u8>| bytes.resize(bytes.len() + more, byte);
            damaged(&log, &path, &format!("{more} bytes more"), lengthen);
        }
    }
}

#[test]
fn swapped_and_missing_segments_are_refused() {
    for closed in [true, false] {
        let log = large_log(closed);
        for (one, other) in [(1, 2), (2, 3), (1, 4), (3, 4), (4, 5)] {
            let disk = log.copy();
            disk.damage(&segment(one), |bytes| bytes.clone_from(&log.bytes(&segment(other))));
            disk.damage(&segment(other), |bytes| bytes.clone_from(&log.bytes(&segment(one))));
            let outcome = outcome(&log, &disk, &|| format!("{one} and {other} swapped"));
            assert!(matches!(outcome, Outcome::Refused { .. }), "{one} and {other}: {outcome:?}");
        }
        for missing in [&[1][..], &[2], &[3], &[4], &[1, 2], &[4, 5], &[1, 2, 3, 4, 5]] {
            let disk = log.copy();
            for number in missing {
                disk.remove(&segment(*number)).unwrap();
            }
            let outcome = outcome(&log, &disk, &|| format!("without {missing:?}"));
            let first = segment(missing[0]);
            assert!(
                matches!(&outcome, Outcome::Refused { file, .. } if *file == first),
                "without {missing:?}: {outcome:?}"
            );
        }
        // Nothing was in the prepared one.
        let disk = log.copy();
        disk.remove(&segment(5)).unwrap();
        assert_eq!(
            outcome(&log, &disk, &|| "without the prepared segment".into()),
            Outcome::Whole { cut: false }
        );
    }
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let (log, other) = (large_log(true), large_log(true));
    for number in 1..=4 {
        let foreign = other.bytes(&segment(number));
        check_refused(&log, &segment(number), "the content", |bytes| *bytes = foreign);
    }
}

#[test]
fn repeated_and_misplaced_batches_are_refused() {
    for closed in [true, false] {
        let log = small_log(closed);
        let path = segment(1);
        let bytes = log.bytes(&path);
        let batches = batches(&bytes);
        let end = batches[batches.len() - 1].end.next_multiple_of(PAGE_BYTES);
        for batch in &batches {
            // With the zeros that fill its pages.
            let pages = batch.start..batch.end.next_multiple_of(PAGE_BYTES);
            let copy = bytes[pages.clone()].to_vec();
            check_refused(&log, &path, "a batch once more behind the end", |bytes| {
                bytes[end..end + copy.len()].copy_from_slice(&copy);
            });
            check_refused(&log, &path, "a batch once more behind itself", |bytes| {
                bytes.copy_within(pages.end..end, pages.end + copy.len());
                bytes[pages.end..pages.end + copy.len()].copy_from_slice(&copy);
            });
            if pages.end < end {
                check_refused(&log, &path, "a batch left out", |bytes| {
                    bytes.copy_within(pages.end..end, pages.start);
                    bytes[end - copy.len()..end].fill(0);
                });
                check_refused(&log, &path, "a batch overwritten with zeros", |bytes| bytes[pages].fill(0));
            }
        }
    }
}

#[test]
fn a_shifted_log_is_refused_and_left_alone() {
    for closed in [true, false] {
        let log = small_log(closed);
        for (from, by) in [(0, 8), (0, 512), (0, PAGE_BYTES), (PAGE_BYTES, 8), (PAGE_BYTES, 512)] {
            check_refused(
                &log,
                &segment(1),
                &format!("everything from {from} on shifted by {by}"),
                |bytes| {
                    let end = bytes.len() - by;
                    bytes.copy_within(from..end, from + by);
                    bytes[from..from + by].fill(0);
                },
            );
        }
    }
}

#[test]
fn zeroed_blocks_in_the_middle_are_refused() {
    for closed in [true, false] {
        let log = large_log(closed);
        for number in 1..=4 {
            let bytes = log.bytes(&segment(number));
            // As long as one header is left behind it, a block can't be taken for an interrupted write.
            let last = batches(&bytes).pop().expect("there are batches").start;
            for block in [SECTOR_BYTES as usize, 4096] {
                let blocks = (0..last.saturating_sub(block)).step_by(block);
                for start in blocks.filter(|start| written(&bytes[*start..start + block]) > 0) {
                    check_refused(&log, &segment(number), &format!("the block at {start} zeroed"), |bytes| {
                        bytes[start..start + block].fill(0);
                    });
                }
            }
        }
    }
}

/// The one limit: a damaged last batch of a log that was not closed, when it looks like an interrupted write.
#[test]
fn a_zeroed_end_is_cut_and_reported_in_a_crashed_log_and_refused_in_a_closed_one() {
    for closed in [true, false] {
        let log = small_log(closed);
        let bytes = log.bytes(&segment(1));
        let last =
            &batches(&bytes)[if closed { batches(&bytes).len() - 2 } else { batches(&bytes).len() - 1 }];
        assert!(last.len() > 1000, "the last batch with commands is the long one");
        for start in (last.start + 1..last.end).step_by(7) {
            let outcome = damaged(&log, &segment(1), &format!("zeros from {start}"), |bytes| {
                bytes[start..last.end].fill(0);
            });
            let refused = matches!(outcome, Outcome::Refused { .. });
            assert!(
                if closed { refused } else { outcome == Outcome::LastBatchCut },
                "from {start}: {outcome:?}"
            );
        }
    }
}

/// The CRC of a header covers all but its last five bytes: the CRC itself and the mark of the end.
fn seal(header: &mut [u8]) {
    let crc = crc32c::crc32c(&header[..HEADER_BYTES - 5]);
    header[HEADER_BYTES - 5..HEADER_BYTES - 1].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn lying_lengths_are_refused_before_memory_is_taken() {
    for closed in [true, false] {
        let log = small_log(closed);
        let path = segment(1);
        let batches = batches(&log.bytes(&path));
        let (last, earlier) = batches.split_last().expect("there are batches");
        for batch in earlier {
            let header = batch.start..batch.start + HEADER_BYTES;
            for length in [u32::MAX, u32::MAX - 7, 1 << 31, 64 << 10, 0, 1] {
                // The length of the body, the number of commands.
                for field in [6..10, 10..14] {
                    let mut sealed = log.bytes(&path)[header.clone()].to_vec();
                    if sealed[field.clone()] == length.to_le_bytes() {
                        continue;
                    }
                    sealed[field.clone()].copy_from_slice(&length.to_le_bytes());
                    seal(&mut sealed);
                    check_refused(&log, &path, &format!("field {field:?} = {length}"), |bytes| {
                        bytes[header.clone()].copy_from_slice(&sealed);
                    });
                }
            }
            // The length of the first command, under a right CRC of the body.
            check_refused(&log, &path, "a command's length", |bytes| {
                let body = header.end..batch.end - FOOTER_BYTES;
                if body.is_empty() {
                    bytes[batch.start] ^= 1;
                    return;
                }
                bytes[body.start..body.start + 4].fill(0xFF);
                let crc = crc32c::crc32c(&bytes[body]);
                bytes[batch.start + 50..batch.start + 54].copy_from_slice(&crc.to_le_bytes());
                seal(&mut bytes[header.clone()]);
            });
        }
        // Of the last batch it may look as if something was missing behind it; `outcome` sees to it that nothing is lost
        // without a word.
        for length in [u32::MAX, u32::MAX - 7, 1 << 31, 64 << 10, 100] {
            damaged(&log, &path, &format!("the last batch's length = {length}"), |bytes| {
                bytes[last.start + 6..last.start + 10].copy_from_slice(&length.to_le_bytes());
                seal(&mut bytes[last.start..last.start + HEADER_BYTES]);
            });
        }
        check_refused(&log, &path, "the segment's length", |bytes| {
            bytes[15..20].fill(0xFF);
            seal(&mut bytes[..HEADER_BYTES]);
        });
    }
}

fn check_newer(log: &Log, path: &Path, newer: u32, change: impl FnOnce(&mut Vec<u8>)) {
    let disk = log.copy();
    disk.damage(path, change);
    let error = open(&disk).unwrap_err();
    let right = matches!(&error, OpenError::NewerFormat { file, found, supported: 1 } if file == path && *found == newer);
    assert!(right, "{error}");
}

#[test]
fn a_newer_format_is_named() {
    let log = large_log(true);
    for number in [1, 3] {
        check_newer(&log, &segment(number), 2, |bytes| {
            bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
            seal(&mut bytes[..HEADER_BYTES]);
        });
    }
    check_newer(&log, &store_file(), 7, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("format 1", "format 7");
        let body = text.split_once("crc ").unwrap().0;
        *bytes = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes();
    });
}

#[test]
fn a_store_file_that_is_wrong_is_refused_and_one_that_is_missing_costs_nothing() {
    let (log, other) = (small_log(true), small_log(true));
    let garbage: [&[u8]; 5] = [b"", b"\0", b"steadfast graph-memory\n", &[0xFF; 300], &[b'x'; 10_000]];
    for garbage in garbage {
        check_refused(&log, &store_file(), "garbage instead", |bytes| *bytes = garbage.to_vec());
    }
    let foreign = other.bytes(&store_file());
    let disk = log.copy();
    disk.damage(&store_file(), |bytes| *bytes = foreign);
    let outcome_of_foreign = outcome(&log, &disk, &|| "the file of another store".into());
    assert!(matches!(outcome_of_foreign, Outcome::Refused { .. }), "{outcome_of_foreign:?}");

    let disk = log.copy();
    disk.remove(&store_file()).unwrap();
    assert_eq!(outcome(&log, &disk, &|| "no store file".into()), Outcome::Whole { cut: false });
    drop(open(&disk));
    assert!(disk.contents().contains_key(&store_file()), "it was written anew");
}

#[test]
fn a_store_without_its_log_is_refused() {
    let log = small_log(true);
    let mut contents = log.disk.contents();
    contents.retain(|path, _| !path.starts_with(Path::new(DIR).join("log")));
    for with_directory in [false, true] {
        let disk = SimulatedDisk::with_contents(&contents);
        if with_directory {
            disk.create_dir_all(&Path::new(DIR).join("log")).unwrap();
        }
        let outcome = outcome(&log, &disk, &|| "no log".into());
        assert_eq!(outcome, Outcome::Refused { file: segment(1), offset: 0 });
    }
    // All zeros, as if it had only been prepared.
    check_refused(&log, &segment(1), "zeros instead", |bytes| bytes.fill(0));
}

#[test]
fn files_of_other_names_are_left_alone() {
    let log = small_log(true);
    let disk = log.copy();
    let others = ["notes.txt", "1.seg", "00000000000000zz.seg", "000000000000000A.seg"];
    for name in others {
        disk.create_new(&Path::new(DIR).join("log").join(name)).unwrap();
    }
    assert_eq!(outcome(&log, &disk, &|| "other files".into()), Outcome::Whole { cut: false });
    let found = disk.list(&Path::new(DIR).join("log")).unwrap();
    assert!(others.iter().all(|name| found.iter().any(|found| found == name)), "{found:?}");
}
