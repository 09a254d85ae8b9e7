//! Opening real files does what the reader says of their bytes: it replays what is accepted, erases
//! what is torn, changes nothing of what it refuses.

use steadfast_testkit::{TestRng, full};

use super::super::{Fault, Problem};
use super::image::{Image, Log, Refusal, SEGMENT_BYTES, collect, config, large_log, layout, small_log};
use crate::error::OpenError;
use crate::log::format::{PAGE_BYTES, SECTOR_BYTES};
use crate::log::store_file::{self, StoreFault};
use crate::log::{FileLog, Recovery};

/// What became of the opening of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Whole,
    Torn,
    Refused,
}

fn check(image: &Image, what: &str) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    image.save(dir.path());
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let judged = image.judge(&mut collect(&mut expected));
    let opened = FileLog::open(dir.path(), &config(), &mut collect(&mut found));
    assert_eq!(found, expected, "{what}: other commands are replayed");
    let layout = layout(dir.path());
    let (log, recovery) = match (judged, opened) {
        (Ok(verdict), Ok((log, recovery))) => {
            let torn = verdict
                .torn_writes
                .iter()
                .map(|torn| (layout.path(torn.start.segment), torn.start.offset as u64, torn.length as u64));
            let reported =
                recovery.torn_writes.iter().map(|torn| (torn.file.clone(), torn.offset, torn.bytes));
            assert_eq!(reported.collect::<Vec<_>>(), torn.collect::<Vec<_>>(), "{what}");
            assert_eq!((recovery.batches, recovery.epoch), (verdict.batches, verdict.position.epoch + 1));
            assert_eq!(recovery.last_seq.get(), verdict.position.last_seq);
            (log, recovery)
        }
        (Err(refusal), Err(error)) => {
            let agree = match (&refusal, &error) {
                (
                    Refusal::Log(Fault { segment, offset, last_seq, problem: Problem::Damaged(detail) }),
                    OpenError::Damaged { file, offset: found, seq, detail: told },
                ) => {
                    (&layout.path(*segment), *offset as u64, *last_seq, detail)
                        == (file, *found, seq.get(), told)
                }
                (
                    Refusal::Store(StoreFault::Damaged(detail)),
                    OpenError::Damaged { file, detail: told, .. },
                ) => (&store_file::path(dir.path()), *detail) == (file, told.as_str()),
                (
                    Refusal::Log(Fault { segment, problem: Problem::NewerFormat(newer), .. }),
                    OpenError::NewerFormat { file, found, .. },
                ) => (&layout.path(*segment), newer) == (file, found),
                _ => false,
            };
            assert!(agree, "{what}: {refusal:?} and {error}");
            assert!(Image::load(dir.path()) == *image, "{what}: a log that is refused is left alone");
            return Seen::Refused;
        }
        (judged, opened) => panic!("{what}: {judged:?}, opened: {:?}", opened.map(|(_, recovery)| recovery)),
    };
    drop(log);
    check_opened_again(&Image::load(dir.path()), &recovery, what);
    if recovery.torn_writes.is_empty() { Seen::Whole } else { Seen::Torn }
}

/// The log was marked as opened, and nothing torn is left in it.
fn check_opened_again(image: &Image, recovery: &Recovery, what: &str) {
    let verdict = image.judge(&mut |_, _| Ok(())).unwrap();
    assert!(verdict.torn_writes.is_empty(), "{what}: {verdict:?}");
    assert_eq!(verdict.position.epoch, recovery.epoch, "{what}");
    assert_eq!(verdict.position.last_seq, recovery.last_seq.get(), "{what}");
}

type Change = fn(&mut Image, &Log);

/// One or two of each class of damage.
const DAMAGES: &[(&str, Change)] = &[
    ("nothing", |_, _| ()),
    ("a bit of a segment's header", |image, _| image.segment(1)[40] ^= 1),
    ("a bit of a batch's header", |image, log| image.segment(1)[log.places(1)[2].start + 9] ^= 1),
    ("a bit of a body", |image, log| image.segment(1)[log.places(1)[2].start + 70] ^= 1),
    ("a bit of a footer", |image, log| image.segment(1)[log.places(1)[2].end - 3] ^= 1),
    ("a bit between two batches", |image, log| image.segment(1)[log.places(1)[2].end + 3] ^= 1),
    ("a bit of the last segment's last batch", |image, log| {
        let (number, places) = (log.last_segment(), log.places(log.last_segment()));
        image.segment(number)[places.last().unwrap().start + 66] ^= 1;
    }),
    ("a bit where nothing was written", |image, log| {
        image.segment(log.last_segment())[SEGMENT_BYTES - 9] ^= 1;
    }),
    ("the end of the last batch", |image, log| {
        let (number, places) = (log.last_segment(), log.places(log.last_segment()));
        let end = places.last().unwrap().end;
        image.segment(number)[end - 5..end].fill(0);
    }),
    ("a sector of the last batch with commands", |image, log| {
        let number = log.last_segment();
        let places = log.places(number);
        let start = places.iter().rev().find(|place| place.len() > 2 * SECTOR_BYTES).unwrap().start;
        image.segment(number)[start..start + SECTOR_BYTES].fill(0);
    }),
    ("an empty first segment", |image, _| image.segment(1).clear()),
    ("half of the first segment", |image, _| image.segment(1).truncate(SEGMENT_BYTES / 2)),
    ("a longer first segment", |image, _| image.segment(1).extend([0; PAGE_BYTES])),
    ("no first segment", |image, _| drop(image.segments.remove(&1))),
    ("no last segment", |image, _| drop(image.segments.pop_last())),
    ("no segment", |image, _| image.segments.clear()),
    ("no store file", |image, _| image.store = None),
    ("no store file and no first header", |image, _| {
        image.store = None;
        image.segment(1)[..SECTOR_BYTES].fill(0);
    }),
    ("an empty store file", |image, _| image.store = Some(Vec::new())),
    ("a bit of the store file", |image, _| image.store.as_mut().unwrap()[30] ^= 1),
    ("a newer format", |image, log| {
        log.reseal(image.segment(1), 0, |header| header[8] = 9);
    }),
    ("a segment of another store", |image, _| *image.segment(1) = small_log(true).bytes(1).to_vec()),
    ("something in an unused segment", |image, log| {
        let next = log.last_segment() + 1;
        let mut bytes = vec![0; SEGMENT_BYTES];
        bytes[700] = 7;
        image.segments.insert(next, bytes);
    }),
    ("a used segment behind the end", |image, log| {
        let next = log.last_segment() + 1;
        image.segments.insert(next, log.bytes(1).to_vec());
    }),
    ("an unused segment of another length", |image, log| {
        image.segments.insert(log.last_segment() + 1, vec![0; 2 * SEGMENT_BYTES]);
    }),
];

#[test]
fn opening_does_what_the_reader_says_for_each_class_of_damage() {
    let mut seen = Vec::new();
    for log in [small_log(true), small_log(false), large_log(true), large_log(false)] {
        for (what, change) in DAMAGES {
            let mut image = log.image.clone();
            change(&mut image, &log);
            let what = format!("{what}, {} segments, closed: {}", image.segments.len(), log.closed);
            seen.push(check(&image, &what));
        }
    }
    let count = |wanted| seen.iter().filter(|seen| **seen == wanted).count();
    let counts = [Seen::Whole, Seen::Torn, Seen::Refused].map(count);
    println!("{counts:?}");
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
}

#[test]
fn opening_does_what_the_reader_says_for_random_damage() {
    let logs = [small_log(true), small_log(false), large_log(false)];
    let mut rng = TestRng::new(13);
    for case in 0..if full() { 5000 } else { 100 } {
        let log = rng.pick(&logs);
        let mut image = log.image.clone();
        let number = 1 + rng.below(image.segments.len() as u64);
        let places = log.places(number);
        let bytes = image.segment(number);
        // Mostly where something was written.
        let written = places.last().map_or(SEGMENT_BYTES, |last| last.end + 100);
        let within = if rng.chance(3, 4) { written } else { SEGMENT_BYTES };
        let at = rng.index(within);
        let end = (at + 1 + rng.index(3 * SECTOR_BYTES)).min(bytes.len());
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at..end].fill(0),
            2 => bytes[at..end].fill_with(|| rng.next_u64() as u8),
            _ => bytes.truncate(at),
        }
        check(&image, &format!("case {case}: segment {number} at {at}"));
    }
}
