//! Single bits, and files that are too short or too long.

use std::path::Path;

use crate::log::{
    Log, Outcome, batches, check_refused, damaged, large_log, segment, small_log, store_file, written,
};
use crate::simulated_disk::Dice;

fn check_flips(log: &Log) {
    let path = segment(1);
    let bytes = log.bytes(&path);
    // All that was written, the zeros between batches among it.
    for bit in 0..written(&bytes) * 8 {
        let outcome = damaged(log, &path, &format!("bit {bit}"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let refused_there = |file: &Path, offset: u64| file == path && offset <= bit as u64 / 8;
        assert!(
            matches!(&outcome, Outcome::Refused { file, offset } if refused_there(file, *offset)),
            "bit {bit}: {outcome:?}"
        );
    }
    println!("{} bits", written(&bytes) * 8);
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
