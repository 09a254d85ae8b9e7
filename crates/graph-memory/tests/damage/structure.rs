//! Whole parts of a log: segments and batches that are missing, foreign, in the wrong place, zeroed, or lie about
//! themselves.

use std::path::Path;

use steadfast_graph_memory::OpenError;
use steadfast_graph_memory::fs::FileSystem;

use crate::log::{
    FOOTER_BYTES, HEADER_BYTES, Log, Outcome, PAGE_BYTES, allocate, batches, check_refused, damaged, finish,
    large_log, outcome, seal, segment, small_log, store_file, written,
};
use crate::simulated_disk::store::{DIR, open};
use crate::simulated_disk::{SECTOR_BYTES, SimulatedDisk};

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

/// Two histories of one store, as when a copy of it is used beside it: only the chain of hashes tells their
/// batches apart.
#[test]
fn batches_and_segments_of_another_history_are_refused() {
    let common = large_log(false);
    let histories = ["this", "that"].map(|name| {
        let disk = common.copy();
        let memory = open(&disk).unwrap();
        allocate(&memory, &format!("{name} history"));
        for at in 0..8 {
            allocate(&memory, &format!("the same {at} {}", "filling ".repeat(1600)));
        }
        finish(&disk, &memory, true)
    });
    let [this, that] = &histories;
    let path =
        this.segments().into_iter().find(|path| this.bytes(path) != that.bytes(path)).expect("they differ");
    let (ours, theirs) = (this.bytes(&path), that.bytes(&path));
    let differing: Vec<_> =
        batches(&ours).into_iter().filter(|batch| ours[batch.clone()] != theirs[batch.clone()]).collect();
    assert!(differing.len() >= 3);
    for batch in differing {
        check_refused(this, &path, "a batch of the other history", |bytes| {
            bytes[batch.clone()].copy_from_slice(&theirs[batch]);
        });
    }
    let last = this.segments().pop().expect("there are segments");
    assert!(last > path);
    check_refused(this, &last, "the content of the other history", |bytes| *bytes = that.bytes(&last));
}

/// Behind a clean close there can be no torn batch, only a torn marker of the next opening.
#[test]
fn what_was_written_after_a_clean_close_is_not_taken_for_torn() {
    let log = small_log(true);
    let disk = log.copy();
    let memory = open(&disk).unwrap();
    allocate(&memory, &format!("later {}", "x".repeat(9000)));
    let log = finish(&disk, &memory, false);
    let batches = batches(&log.bytes(&segment(1)));
    let [.., opened, later, last] = batches.as_slice() else { panic!("there are more batches") };
    check_refused(&log, &segment(1), "the marker and all headers behind it zeroed", |bytes| {
        bytes[opened.clone()].fill(0);
        bytes[later.start..later.start + SECTOR_BYTES as usize].fill(0);
        bytes[last.clone()].fill(0);
    });
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

/// Without the file that names the store nothing tells its id but the first segment's header.
#[test]
fn a_first_header_that_is_gone_with_the_store_file_is_refused() {
    for log in [small_log(true), small_log(false), large_log(false)] {
        for damaged in [0..SECTOR_BYTES as usize, 0..2 * PAGE_BYTES] {
            let disk = log.copy();
            disk.remove(&store_file()).unwrap();
            disk.damage(&segment(1), |bytes| bytes[damaged.clone()].fill(0));
            let outcome = outcome(&log, &disk, &|| format!("{damaged:?} of the first segment zeroed"));
            assert!(matches!(outcome, Outcome::Refused { .. }), "{damaged:?}: {outcome:?}");
        }
    }
    let log = large_log(false);
    let disk = log.copy();
    disk.remove(&store_file()).unwrap();
    disk.damage(&segment(1), |bytes| bytes.fill(0));
    for number in 2..=4 {
        disk.damage(&segment(number), |bytes| bytes[..SECTOR_BYTES as usize].fill(0));
    }
    let outcome = outcome(&log, &disk, &|| "all headers zeroed".into());
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn a_missing_segment_tells_the_last_command_before_it() {
    let log = large_log(true);
    for number in 1..=4 {
        let first_seq = u64::from_le_bytes(log.bytes(&segment(number))[36..44].try_into().unwrap());
        let disk = log.copy();
        disk.remove(&segment(number)).unwrap();
        let error = open(&disk).unwrap_err();
        let OpenError::Damaged { file, offset: 0, seq, .. } = &error else { panic!("{error}") };
        assert_eq!((file, seq.get()), (&segment(number), first_seq - 1));
    }
}

#[test]
fn all_that_is_cut_is_told() {
    let log = large_log(false);
    let disk = log.copy();
    let last = batches(&log.bytes(&segment(4))).pop().expect("there are batches");
    disk.damage(&segment(4), |bytes| bytes[last.end - 20..last.end].fill(0));
    disk.damage(&segment(5), |bytes| bytes[5000] = 8);
    assert_eq!(outcome(&log, &log.copy(), &|| "nothing".into()), Outcome::Whole { cut: false });
    let memory = open(&disk).unwrap();
    let cut: Vec<_> =
        memory.recovery().cut.iter().map(|tail| (tail.file.clone(), tail.offset, tail.bytes)).collect();
    let bytes = (last.len() - 20) as u64;
    assert_eq!(cut, [(segment(4), last.start as u64, bytes), (segment(5), 0, 5001)]);
    assert!(!memory.recovery().clean);
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
            // With its header there, the end of the write is known, and behind it there can be nothing.
            if start >= last.start + HEADER_BYTES {
                check_refused(&log, &segment(1), &format!("zeros from {start}, something behind"), |bytes| {
                    bytes[start..last.end].fill(0);
                    bytes[last.end.next_multiple_of(PAGE_BYTES) + 100] = 1;
                });
            }
        }
    }
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
                    seal(log.store_id(), &mut sealed);
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
                seal(log.store_id(), &mut bytes[header.clone()]);
            });
        }
        // Of the last batch it may look as if something was missing behind it; `outcome` sees to it that nothing
        // is lost without a word.
        for length in [u32::MAX, u32::MAX - 7, 1 << 31, 64 << 10, 100] {
            damaged(&log, &path, &format!("the last batch's length = {length}"), |bytes| {
                bytes[last.start + 6..last.start + 10].copy_from_slice(&length.to_le_bytes());
                seal(log.store_id(), &mut bytes[last.start..last.start + HEADER_BYTES]);
            });
        }
        check_refused(&log, &path, "the segment's length", |bytes| {
            bytes[15..20].fill(0xFF);
            seal(log.store_id(), &mut bytes[..HEADER_BYTES]);
        });
    }
}

fn check_newer(log: &Log, path: &Path, newer: u32, change: impl FnOnce(&mut Vec<u8>)) {
    let disk = log.copy();
    disk.damage(path, change);
    let error = open(&disk).unwrap_err();
    let OpenError::NewerFormat { file, found, supported: 1 } = &error else { panic!("{error}") };
    assert!(file == path && *found == newer, "{error}");
}

#[test]
fn a_newer_format_is_named() {
    let log = large_log(true);
    for number in [1, 3] {
        check_newer(&log, &segment(number), 2, |bytes| {
            bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
            seal(log.store_id(), &mut bytes[..HEADER_BYTES]);
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
