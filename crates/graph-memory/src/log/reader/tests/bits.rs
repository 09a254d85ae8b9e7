//! Single bits, and files that are too short or too long.

use super::image::{
    File, Log, Outcome, SEGMENT_BYTES, check_refused, damaged, large_log, outcome, small_log,
};
use crate::log::format::{HEADER_BYTES, MARKER_BYTES, PAGE_BYTES, zeros_from};

/// Flips bits of a segment, one at a time: all bits of headers, bodies and footers, and one bit of
/// each other byte, which is zero. Passes each bit and its outcome to `check`.
fn flip_bits(log: &Log, number: u64, mut check: impl FnMut(usize, Outcome)) {
    let used = log.used(number);
    let mut image = log.image.clone();
    let bits = (0..8 * used.len()).filter(|bit| used[bit / 8] || bit % 8 == bit / 8 % 8);
    for bit in bits {
        image.segment(number)[bit / 8] ^= 1 << (bit % 8);
        check(bit, outcome(log, &image, &|| format!("segment {number}: bit {bit}")));
        image.segment(number)[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn flipped_bits_of_a_segment_are_refused_and_lose_nothing_where_nothing_was_written() {
    for closed in [true, false] {
        let log = small_log(closed);
        let written = zeros_from(log.bytes(1));
        let end = written.next_multiple_of(PAGE_BYTES);
        let (mut refused, mut behind) = (0, 0);
        flip_bits(&log, 1, |bit, outcome| match outcome {
            Outcome::Refused { file: File::Segment(1), offset } if offset <= bit / 8 => refused += 1,
            // Where no batch was begun the bit is erased. Behind a clean close there is room for a
            // marker only.
            Outcome::Whole { torn: true } if bit / 8 >= written => behind += 1,
            outcome => panic!("bit {bit}: {outcome:?}"),
        });
        assert!(refused > 15_000, "{refused}");
        assert_eq!(behind, if closed { MARKER_BYTES } else { SEGMENT_BYTES - end }, "{refused} refused");
    }
}

#[test]
fn flipped_bits_in_the_middle_of_a_long_log_are_refused() {
    let log = large_log(false);
    let used = log.used(2);
    let mut image = log.image.clone();
    // The bytes around the bounds of headers, bodies, footers and pages.
    let bounds = log.places(2).into_iter().flat_map(|place| {
        let body = place.start + HEADER_BYTES;
        [place.start, body, place.end - 8, place.end, place.end.next_multiple_of(PAGE_BYTES)]
    });
    for byte in [HEADER_BYTES, PAGE_BYTES].into_iter().chain(bounds).flat_map(|bound| bound - 8..bound + 8) {
        for bit in if used[byte] { 0..8 } else { byte % 8..byte % 8 + 1 } {
            image.segment(2)[byte] ^= 1 << bit;
            let outcome = outcome(&log, &image, &|| format!("byte {byte}, bit {bit}"));
            assert!(
                matches!(outcome, Outcome::Refused { file: File::Segment(2), offset } if offset <= byte),
                "byte {byte}, bit {bit}: {outcome:?}"
            );
            image.segment(2)[byte] ^= 1 << bit;
        }
    }
}

#[test]
fn flipped_bits_in_the_store_file_are_refused_or_mean_nothing() {
    let log = small_log(true);
    let mut image = log.image.clone();
    let bits = 8 * image.store.as_ref().unwrap().len();
    let mut refused = 0;
    for bit in 0..bits {
        image.store.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
        match outcome(&log, &image, &|| format!("bit {bit} of the store file")) {
            Outcome::Refused { file: File::Store, .. } => refused += 1,
            Outcome::Whole { torn: false } => {}
            outcome => panic!("bit {bit}: {outcome:?}"),
        }
        image.store.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
    }
    // Of the bits that mean nothing there are those of the line's end behind the checksum.
    assert!(refused >= bits - 8, "{refused} of {bits}");
}

#[test]
fn flipped_bits_in_a_prepared_segment_lose_nothing() {
    let log = large_log(false);
    let places = (0..2 * HEADER_BYTES).chain((0..SEGMENT_BYTES).step_by(509)).chain([SEGMENT_BYTES - 1]);
    for byte in places {
        let outcome = damaged(&log, 5, &format!("byte {byte}"), |bytes| bytes[byte] ^= 1 << (byte % 8));
        assert_eq!(outcome, Outcome::Whole { torn: true }, "byte {byte}");
    }
}

/// Truncates a segment to each of `lengths`, which fall. Each time the log must be refused.
fn check_truncated(log: &Log, number: u64, lengths: impl Iterator<Item = usize>) {
    let mut image = log.image.clone();
    for length in lengths {
        image.segment(number).truncate(length);
        let outcome = outcome(log, &image, &|| format!("the first {length} bytes of segment {number}"));
        let refused =
            matches!(outcome, Outcome::Refused { file: File::Segment(found), .. } if found == number);
        assert!(refused, "{length} bytes of segment {number}: {outcome:?}");
    }
}

#[test]
fn truncated_files_are_refused_or_whole() {
    for closed in [true, false] {
        let log = small_log(closed);
        check_truncated(&log, 1, (0..SEGMENT_BYTES).rev());
        let store = log.image.store.as_ref().unwrap();
        for length in 0..store.len() {
            let mut image = log.image.clone();
            image.store.as_mut().unwrap().truncate(length);
            match outcome(&log, &image, &|| format!("the first {length} bytes of the store file")) {
                Outcome::Refused { file: File::Store, .. } => {}
                // Only the end of the last line is gone.
                Outcome::Whole { torn: false } if length == store.len() - 1 => {}
                outcome => panic!("{length}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn truncated_segments_in_the_middle_are_refused() {
    let log = large_log(true);
    for number in 1..=3 {
        let near =
            |length: &usize| *length < PAGE_BYTES + 500 || length.is_multiple_of(331) || length % 512 < 2;
        check_truncated(&log, number, (0..SEGMENT_BYTES).rev().filter(near));
    }
}

#[test]
fn truncated_prepared_segments_lose_nothing() {
    let log = large_log(true);
    for length in [0, 1, 63, 64, PAGE_BYTES, SEGMENT_BYTES - 1] {
        let outcome = damaged(&log, 5, &format!("the first {length} bytes"), |bytes| bytes.truncate(length));
        assert_eq!(outcome, Outcome::Whole { torn: false }, "{length}");
    }
}

#[test]
fn lengthened_segments_are_refused_and_prepared_ones_lose_nothing() {
    let log = large_log(true);
    for (more, byte) in [(1, 0), (1, 7), (PAGE_BYTES, 0), (PAGE_BYTES, 7)] {
        let lengthen = |bytes: &mut Vec<u8>| bytes.resize(bytes.len() + more, byte);
        for number in 1..=4 {
            check_refused(&log, number, &format!("{more} bytes more"), lengthen);
        }
        let outcome = damaged(&log, 5, &format!("{more} bytes more"), lengthen);
        assert_eq!(outcome, Outcome::Whole { torn: byte != 0 });
    }
}
