//! Whole parts of a log: segments and batches that are missing, foreign, in the wrong place,
//! zeroed, or lie about themselves.

use super::super::{Fault, Problem};
use super::image::{
    File, Image, Log, Outcome, Refusal, SEGMENT_BYTES, check_refused, damaged, filling, large_log, outcome,
    small_log,
};
use crate::log::format::{
    FOOTER_BYTES, FORMAT, HEADER_BYTES, MARKER_BYTES, PAGE_BYTES, SECTOR_BYTES, zeros_from,
};
use crate::log::store_file::StoreFault;

#[track_caller]
fn assert_refused(log: &Log, image: &Image, number: Option<u64>, what: &str) {
    let outcome = outcome(log, image, &|| what.into());
    let refused = match outcome {
        Outcome::Refused { file: File::Segment(found), .. } => number.is_none_or(|number| found == number),
        _ => false,
    };
    assert!(refused, "{what}: {outcome:?}");
}

#[test]
fn swapped_and_missing_segments_are_refused() {
    for closed in [true, false] {
        let log = large_log(closed);
        for (one, other) in [(1, 2), (2, 3), (1, 4), (3, 4), (4, 5)] {
            let mut image = log.image.clone();
            *image.segment(one) = log.bytes(other).to_vec();
            *image.segment(other) = log.bytes(one).to_vec();
            assert_refused(&log, &image, None, &format!("{one} and {other} swapped"));
        }
        for missing in [&[1][..], &[2], &[3], &[4], &[1, 2], &[4, 5], &[1, 2, 3, 4, 5]] {
            let mut image = log.image.clone();
            image.segments.retain(|number, _| !missing.contains(number));
            assert_refused(&log, &image, Some(missing[0]), &format!("without {missing:?}"));
        }
        // Nothing was in the prepared one.
        let mut image = log.image.clone();
        image.segments.remove(&5);
        let outcome = outcome(&log, &image, &|| "without the prepared segment".into());
        assert_eq!(outcome, Outcome::Whole { torn: false });
    }
}

#[test]
fn a_missing_segment_tells_the_last_command_before_it() {
    let log = large_log(true);
    for number in 1..=4 {
        let first_seq = u64::from_le_bytes(log.bytes(number)[36..44].try_into().unwrap());
        let mut image = log.image.clone();
        image.segments.remove(&number);
        let refusal = image.judge(&mut |_, _| Ok(())).unwrap_err();
        let Refusal::Log(Fault { segment, offset: 0, last_seq, .. }) = refusal else { panic!("{refusal:?}") };
        assert_eq!((segment, last_seq), (number, first_seq - 1));
    }
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let (log, other) = (large_log(true), large_log(true));
    for number in 1..=4 {
        check_refused(&log, number, "the content", |bytes| *bytes = other.bytes(number).to_vec());
    }
}

#[test]
fn the_file_that_names_another_store_is_refused() {
    let (log, other) = (small_log(true), small_log(true));
    let image = Image { store: other.image.store.clone(), ..log.image.clone() };
    assert_refused(&log, &image, Some(1), "the file of another store");
}

#[test]
fn repeated_and_misplaced_batches_are_refused() {
    for closed in [true, false] {
        let log = small_log(closed);
        let bytes = log.bytes(1);
        let batches = log.places(1);
        let end = batches[batches.len() - 1].end.next_multiple_of(PAGE_BYTES);
        for batch in &batches {
            // With the zeros that fill its pages.
            let pages = batch.start..batch.end.next_multiple_of(PAGE_BYTES);
            let copy = bytes[pages.clone()].to_vec();
            check_refused(&log, 1, "a batch once more behind the end", |bytes| {
                bytes[end..end + copy.len()].copy_from_slice(&copy);
            });
            check_refused(&log, 1, "a batch once more behind itself", |bytes| {
                bytes.copy_within(pages.end..end, pages.end + copy.len());
                bytes[pages.end..pages.end + copy.len()].copy_from_slice(&copy);
            });
            if pages.end < end {
                check_refused(&log, 1, "a batch left out", |bytes| {
                    bytes.copy_within(pages.end..end, pages.start);
                    bytes[end - copy.len()..end].fill(0);
                });
                check_refused(&log, 1, "a batch overwritten with zeros", |bytes| bytes[pages].fill(0));
            }
        }
    }
}

/// Two histories of one store, as when a copy of it is used beside it: only the chain of hashes
/// tells their batches apart.
#[test]
fn batches_and_segments_of_another_history_are_refused() {
    let common = large_log(false);
    let histories = ["this", "that"].map(|name| {
        let mut batches = vec![vec![format!("{name} history").into_bytes()]];
        batches.extend((0..8).map(|at| filling(&format!("the same {at}"), 1600)));
        Log::write(Some(&common.image), batches, true)
    });
    let [this, that] = &histories;
    let mut differing = 0;
    for (number, theirs) in &that.image.segments {
        let Some(ours) = this.image.segments.get(number) else { continue };
        for batch in
            this.places(*number).into_iter().filter(|batch| ours[batch.clone()] != theirs[batch.clone()])
        {
            differing += 1;
            check_refused(this, *number, "a batch of the other history", |bytes| {
                bytes[batch.clone()].copy_from_slice(&theirs[batch]);
            });
        }
    }
    assert!(differing >= 9, "{differing}");
    let last = this.last_segment();
    assert!(last > common.last_segment());
    check_refused(this, last, "the content of the other history", |bytes| *bytes = that.bytes(last).to_vec());
}

/// Behind a clean close there can be no torn batch, only a torn marker of the next opening.
#[test]
fn what_was_written_after_a_clean_close_is_not_taken_for_torn() {
    let closed = small_log(true);
    let batches = vec![vec![b"x".repeat(9000)], vec![b"last".to_vec()]];
    let log = Log::write(Some(&closed.image), batches, false);
    let places = log.places(1);
    let [.., opened, later, last] = places.as_slice() else { panic!("there are more batches") };
    check_refused(&log, 1, "the marker and all headers behind it zeroed", |bytes| {
        bytes[opened.clone()].fill(0);
        bytes[later.start..later.start + SECTOR_BYTES].fill(0);
        bytes[last.clone()].fill(0);
    });
    // The marker alone, torn, is what an interrupted opening leaves.
    for left in 1..MARKER_BYTES {
        let outcome = damaged(&closed, 1, &format!("{left} bytes of the next opening"), |bytes| {
            let end = closed.places(1).last().unwrap().end.next_multiple_of(PAGE_BYTES);
            bytes[end..end + left].copy_from_slice(&log.bytes(1)[opened.start..opened.start + left]);
        });
        assert_eq!(outcome, Outcome::Whole { torn: true }, "{left}");
    }
}

#[test]
fn a_shifted_log_is_refused() {
    for closed in [true, false] {
        let log = small_log(closed);
        for (from, by) in [(0, 8), (0, 512), (0, PAGE_BYTES), (PAGE_BYTES, 8), (PAGE_BYTES, 512)] {
            check_refused(&log, 1, &format!("everything from {from} on shifted by {by}"), |bytes| {
                let end = bytes.len() - by;
                bytes.copy_within(from..end, from + by);
                bytes[from..from + by].fill(0);
            });
        }
    }
}

#[test]
fn zeroed_blocks_in_the_middle_are_refused() {
    for closed in [true, false] {
        let log = large_log(closed);
        for number in 1..=4 {
            let bytes = log.bytes(number);
            // As long as one header is left behind it, a block can't be taken for an interrupted
            // write.
            let last = log.places(number).pop().expect("there are batches").start;
            for block in [SECTOR_BYTES, PAGE_BYTES] {
                let blocks = (0..last.saturating_sub(block)).step_by(block);
                for start in blocks.filter(|start| zeros_from(&bytes[*start..start + block]) > 0) {
                    check_refused(&log, number, &format!("the block at {start} zeroed"), |bytes| {
                        bytes[start..start + block].fill(0);
                    });
                }
            }
        }
    }
}

/// Without the file that names the store, only the first segment's header tells its id.
#[test]
fn a_first_header_that_is_gone_with_the_store_file_is_refused() {
    for log in [small_log(true), small_log(false), large_log(false)] {
        for damaged in [0..SECTOR_BYTES, 0..2 * PAGE_BYTES] {
            let mut image = Image { store: None, ..log.image.clone() };
            image.segment(1)[damaged.clone()].fill(0);
            assert_refused(&log, &image, None, &format!("{damaged:?} of the first segment zeroed"));
        }
    }
    let log = large_log(false);
    let mut image = Image { store: None, ..log.image.clone() };
    image.segment(1).fill(0);
    for number in 2..=4 {
        image.segment(number)[..SECTOR_BYTES].fill(0);
    }
    assert_refused(&log, &image, None, "all headers zeroed");
}

/// The file that names the store is written when its first write is durable: until then all of that
/// may be torn.
#[test]
fn a_first_write_that_is_torn_in_any_way_is_erased() {
    let log = Log::write(None, Vec::new(), false);
    let written = zeros_from(log.bytes(1));
    for left in 0..written {
        let mut image = Image { store: None, ..log.image.clone() };
        image.segment(1)[left..].fill(0);
        let torn = left > 0 && !(HEADER_BYTES..=PAGE_BYTES).contains(&left);
        assert_eq!(
            outcome(&log, &image, &|| format!("{left} bytes left")),
            Outcome::Whole { torn },
            "{left}"
        );
        assert_refused(&log, &Image { store: log.image.store.clone(), ..image }, Some(1), "open before");
    }
    for lost in [0..SECTOR_BYTES, PAGE_BYTES..PAGE_BYTES + SECTOR_BYTES] {
        let mut image = Image { store: None, ..log.image.clone() };
        image.segment(1)[lost.clone()].fill(0);
        let torn = lost.start == 0;
        assert_eq!(outcome(&log, &image, &|| format!("{lost:?} lost")), Outcome::Whole { torn });
    }
}

#[test]
fn a_store_file_that_is_missing_costs_nothing() {
    for log in [small_log(true), small_log(false), large_log(true)] {
        let image = Image { store: None, ..log.image.clone() };
        assert_eq!(outcome(&log, &image, &|| "no store file".into()), Outcome::Whole { torn: false });
    }
}

#[test]
fn a_store_file_that_is_wrong_is_refused() {
    let log = small_log(true);
    let garbage: [&[u8]; 5] = [b"", b"\0", b"steadfast graph-memory\n", &[0xFF; 300], &[b'x'; 10_000]];
    for garbage in garbage {
        let image = Image { store: Some(garbage.to_vec()), ..log.image.clone() };
        let outcome = outcome(&log, &image, &|| format!("{garbage:?}"));
        assert_eq!(outcome, Outcome::Refused { file: File::Store, offset: 0 });
    }
}

#[test]
fn a_store_without_its_log_is_refused() {
    let log = small_log(true);
    let mut image = log.image.clone();
    image.segments.clear();
    let refused = Outcome::Refused { file: File::Segment(1), offset: 0 };
    assert_eq!(outcome(&log, &image, &|| "no log".into()), refused);
    // All zeros, as if it had only been prepared.
    assert_eq!(damaged(&log, 1, "zeros instead", |bytes| bytes.fill(0)), refused);
}

#[test]
fn all_that_is_torn_is_reported() {
    let log = large_log(false);
    let mut image = log.image.clone();
    let last = log.places(4).pop().expect("there are batches");
    image.segment(4)[last.end - 20..last.end].fill(0);
    image.segment(5)[5000] = 8;
    assert_eq!(outcome(&log, &image, &|| "both".into()), Outcome::LastBatchTorn);
    let verdict = image.judge(&mut |_, _| Ok(())).unwrap();
    let torn = verdict.torn_writes.iter().map(|torn| (torn.start.segment, torn.start.offset, torn.length));
    let torn: Vec<_> = torn.collect();
    assert_eq!(torn, [(4, last.start, last.len() - 20), (5, 0, 5001)]);
}

/// The one limit: a damaged last batch of a log that was not closed, when it looks like an
/// interrupted write.
#[test]
fn a_zeroed_end_is_torn_and_reported_in_a_crashed_log_and_refused_in_a_closed_one() {
    for closed in [true, false] {
        let log = small_log(closed);
        let batches = log.places(1);
        let last = &batches[batches.len() - if closed { 2 } else { 1 }];
        assert!(last.len() > 1000, "the last batch with commands is the long one");
        for start in last.start + 1..last.end {
            let outcome = damaged(&log, 1, &format!("zeros from {start}"), |bytes| {
                bytes[start..last.end].fill(0);
            });
            let refused = matches!(outcome, Outcome::Refused { file: File::Segment(1), .. });
            assert!(
                if closed { refused } else { outcome == Outcome::LastBatchTorn },
                "from {start}: {outcome:?}"
            );
            // With its header there, the end of the write is known, and behind it there can be
            // nothing.
            if start >= last.start + HEADER_BYTES {
                check_refused(&log, 1, &format!("zeros from {start}, something behind"), |bytes| {
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
        let batches = log.places(1);
        let (last, earlier) = batches.split_last().expect("there are batches");
        for batch in earlier {
            for length in [u32::MAX, u32::MAX - 7, 1 << 31, 64 << 10, 0, 1] {
                // The length of the body, the number of commands.
                for field in [6..10, 10..14] {
                    if log.bytes(1)[batch.start..][field.clone()] == length.to_le_bytes() {
                        continue;
                    }
                    check_refused(&log, 1, &format!("field {field:?} = {length}"), |bytes| {
                        log.reseal(bytes, batch.start, |header| {
                            header[field.clone()].copy_from_slice(&length.to_le_bytes());
                        });
                    });
                }
            }
            // The length of the first command, under a right CRC of the body.
            let body = batch.start + HEADER_BYTES..batch.end - FOOTER_BYTES;
            if !body.is_empty() {
                check_refused(&log, 1, "a command's length", |bytes| {
                    bytes[body.start..body.start + 4].fill(0xFF);
                    let crc = crc32c::crc32c(&bytes[body.clone()]);
                    log.reseal(bytes, batch.start, |header| {
                        header[50..54].copy_from_slice(&crc.to_le_bytes());
                    });
                });
            }
        }
        // Of the last batch it may look as if something was missing behind it; `outcome` sees to it
        // that nothing is lost silently.
        for length in [u32::MAX, u32::MAX - 7, 1 << 31, 64 << 10, 100] {
            damaged(&log, 1, &format!("the last batch's length = {length}"), |bytes| {
                log.reseal(bytes, last.start, |header| header[6..10].copy_from_slice(&length.to_le_bytes()));
            });
        }
        for bytes_field in [u64::MAX, 0, 1, 5000, SEGMENT_BYTES as u64 - 1] {
            check_refused(&log, 1, &format!("the segment's length = {bytes_field}"), |bytes| {
                log.reseal(bytes, 0, |header| {
                    header[15..20].copy_from_slice(&bytes_field.to_le_bytes()[..5]);
                });
            });
        }
    }
}

/// A segment whose header was made to agree with the length that it was cut to, even within a page.
#[test]
fn a_length_that_agrees_with_a_truncated_segment_loses_nothing() {
    for closed in [true, false] {
        let log = small_log(closed);
        let last = log.places(1).pop().unwrap();
        for length in (last.start..last.end.next_multiple_of(PAGE_BYTES) + 2 * PAGE_BYTES).step_by(13) {
            let outcome = damaged(&log, 1, &format!("cut to {length}"), |bytes| {
                bytes.truncate(length);
                log.reseal(bytes, 0, |header| {
                    header[15..20].copy_from_slice(&(length as u64).to_le_bytes()[..5]);
                });
            });
            assert!(
                matches!(outcome, Outcome::Whole { torn: false } | Outcome::Refused { .. }),
                "{length}: {outcome:?}"
            );
        }
    }
}

/// Changes a header, and returns why the log is refused then.
fn fault(log: &Log, number: u64, at: usize, change: impl FnOnce(&mut [u8])) -> Fault {
    let mut image = log.image.clone();
    log.reseal(image.segment(number), at, change);
    match image.judge(&mut |_, _| Ok(())).unwrap_err() {
        Refusal::Log(fault) => fault,
        Refusal::Store(fault) => panic!("{fault:?}"),
    }
}

/// In a segment's header, in a batch's header (which may have kinds of its own then), and in the
/// file that names the store.
#[test]
fn a_newer_format_is_named() {
    let log = large_log(true);
    for number in [1, 3] {
        let Fault { segment, offset, problem, .. } = fault(&log, number, 0, |header| {
            header[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        });
        assert_eq!((segment, offset, problem), (number, 0, Problem::NewerFormat(FORMAT + 1)));
        for batch in log.places(number) {
            for kind in [1_u16, 99] {
                let Fault { segment, offset, problem, .. } = fault(&log, number, batch.start, |header| {
                    header[4..6].copy_from_slice(&kind.to_le_bytes());
                    header[54..56].copy_from_slice(&(FORMAT as u16 + 1).to_le_bytes());
                });
                let expected = (number, batch.start, Problem::NewerFormat(FORMAT + 1));
                assert_eq!((segment, offset, problem), expected);
            }
        }
    }
    let mut image = log.image.clone();
    let text = String::from_utf8(image.store.take().unwrap()).unwrap();
    let text = text.replace(&format!("format {FORMAT}"), "format 70");
    let body = text.split_once("crc ").unwrap().0;
    image.store = Some(format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes());
    let refusal = image.judge(&mut |_, _| Ok(())).unwrap_err();
    assert_eq!(refusal, Refusal::Store(StoreFault::NewerFormat(70)));
}

/// Nobody writes such: formats never decrease, and all batches of a segment have the segment's.
#[test]
fn formats_that_contradict_each_other_are_damage() {
    let log = large_log(true);
    let damaged = |detail: &str| Problem::Damaged(detail.into());
    let older = fault(&log, 3, 0, |header| header[8..12].copy_from_slice(&1_u32.to_le_bytes()));
    assert_eq!(older.problem, damaged("the segment has an older format than the one before it"));
    let older = fault(&log, 1, 0, |header| header[8..12].copy_from_slice(&1_u32.to_le_bytes()));
    assert_eq!(older.problem, damaged("the batch has another format than its segment"));
    let unknown = fault(&log, 1, log.places(1)[0].start, |header| header[4..6].fill(99));
    assert_eq!(unknown.problem, damaged(&format!("a batch of the unknown kind {}", 99 * 257)));
}

#[test]
fn commands_that_are_rejected_refuse_the_log_at_their_batch() {
    use crate::log::Rejected;

    let log = small_log(true);
    for (rejected, problem) in [
        (Rejected::Damaged as fn(String) -> Rejected, Problem::Damaged as fn(String) -> Problem),
        (Rejected::Unsupported, Problem::Unsupported),
    ] {
        let batch = log.places(1)[2].clone();
        let refusal = log.image.judge(&mut |header, _| {
            if header.first_seq == 2 { Err(rejected("no".into())) } else { Ok(()) }
        });
        let expected = Fault { segment: 1, offset: batch.start, last_seq: 1, problem: problem("no".into()) };
        assert_eq!(refusal.unwrap_err(), Refusal::Log(expected));
    }
}
