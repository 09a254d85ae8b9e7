//! Models of recording, retiring and reading: two or three threads, a few records, one invariant each.
//!
//! Here a histogram has three buckets: of 0, of 1, and of 2 and 3 together, so a sum that is not of its records can't hide behind the buckets.

use steadfast_testkit::models::{Seen, check};

use super::*;
use crate::shard::HistogramShard;

fn shape() -> Shape {
    Shape::new(0, 2).unwrap()
}

/// With its cells made, which isn't part of the model then.
fn joined(shards: &Shards) -> Arc<Shard> {
    let shard = shards.join();
    shard.cell(0).add(0);
    shard
}

fn read_cell(shards: &Shards, cell: u32) -> u64 {
    shards.collect(&[cell], &[]).cells[0]
}

fn read(shards: &Shards, histogram: u32) -> Tally {
    shards.collect(&[], &[(histogram, shape())]).histograms.remove(0)
}

fn histogram(shard: &Shard, histogram: u32) -> &HistogramShard {
    shard.histogram(histogram, shape())
}

/// A record on each side, so that their page isn't made in the part that is modelled.
fn record_twice(shard: &Shard, number: u32, value: u64) {
    for side in 0..2 {
        histogram(shard, number).record_to(side, value);
    }
}

/// M2 and M3: the count is that of the buckets, and the sum and the extremes are within what it allows.
fn assert_consistent(tally: &Tally) {
    let count = tally.buckets().map(|(_, count)| count).sum::<u64>();
    assert_eq!(tally.count(), count);
    if count == 0 {
        assert_eq!(tally.sum, 0);
    } else {
        assert!(tally.min <= tally.max);
        let (least, most) = (u128::from(count * tally.min), u128::from(count * tally.max));
        assert!((least..=most).contains(&tally.sum), "{tally:?}");
    }
}

/// M1 and M8: of a thread that records, retires and is gone, each snapshot sees no less than the one before, and the last one all.
#[test]
fn loom_a_retiring_thread_loses_nothing_and_counts_nothing_twice() {
    let seen = Seen::<(bool, u64, u64)>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let shards = Arc::new(Shards::new());
        let writer = {
            let shards = Arc::clone(&shards);
            loom::thread::spawn(move || {
                let shard = shards.join();
                shard.cell(0).add(1);
                shard.cell(0).add(1);
                shards.retire(&shard);
            })
        };
        let first = read_cell(&shards, 0);
        let second = read_cell(&shards, 0);
        let at_end = (shards.threads() == 0, first, second);
        writer.join().unwrap();
        assert!(first <= second && second <= 2, "{at_end:?}");
        assert_eq!(read_cell(&shards, 0), 2);
        assert_eq!(shards.threads(), 0);
        outcomes.note(at_end);
    });
    seen.assert_all([
        (true, 0, 0),  // before it joined, or around its retiring
        (false, 0, 1), // between its records
        (false, 1, 2), // likewise
        (true, 1, 2),  // one from the shard, all from the base
        (true, 2, 2),
    ]);
}

/// M1 for histograms: both sides of a retiring thread are in the base or in its shard, not in both and not in neither.
#[test]
fn loom_a_retiring_histogram_is_moved_whole() {
    let seen = Seen::<(usize, usize)>::new();
    let outcomes = seen.clone();
    check(2, move || {
        let shards = Arc::new(Shards::new());
        let shard = shards.join();
        histogram(&shard, 0).record_to(0, 1);
        histogram(&shard, 0).record_to(1, 3);
        let writer = {
            let shards = Arc::clone(&shards);
            loom::thread::spawn(move || shards.retire(&shard))
        };
        let threads_before = shards.threads();
        let tally = read(&shards, 0);
        let threads_after = shards.threads();
        writer.join().unwrap();
        assert_eq!((tally.count(), tally.sum, tally.min, tally.max, tally.exact), (2, 4, 1, 3, true));
        let last = read(&shards, 0);
        assert_eq!((last.count(), last.sum), (2, 4));
        outcomes.note((threads_before, threads_after));
    });
    seen.assert_all([(1, 1), (1, 0), (0, 0)]);
}

/// M2 and M3 beside a writer: a snapshot is a prefix of its records, with their sum and extremes. Where the writer was stopped in the middle of
/// one, the snapshot says so.
#[test]
fn loom_a_snapshot_holds_whole_records() {
    let seen = Seen::<(u64, bool)>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let shards = Arc::new(Shards::new());
        let shard = shards.join();
        record_twice(&shard, 0, 2);
        let writer = {
            let shard = Arc::clone(&shard);
            loom::thread::spawn(move || {
                [3, 1].into_iter().for_each(|value| histogram(&shard, 0).record(value))
            })
        };
        let tally = read(&shards, 0);
        writer.join().unwrap();
        assert_consistent(&tally);
        if tally.exact {
            let expected = match tally.count() {
                2 => (4, 2, 2),
                3 => (7, 2, 3),
                4 => (8, 1, 3),
                _ => panic!("{tally:?}"),
            };
            // Or, as the two sides are read one after the other, the second record without the first.
            let without_first = tally.count() == 3 && (tally.sum, tally.min, tally.max) == (5, 1, 2);
            assert!(without_first || (tally.sum, tally.min, tally.max) == expected, "{tally:?}");
        }
        outcomes.note((tally.count(), tally.exact));
        let last = read(&shards, 0);
        assert_eq!((last.count(), last.sum, last.min, last.max, last.exact), (4, 8, 1, 3, true));
    });
    seen.assert_all([(2, true), (3, true), (4, true), (2, false), (3, false)]);
}

/// What was recorded before a snapshot is in it, also by a thread that looked for its side before an earlier one.
#[test]
fn loom_a_late_record_is_in_the_next_snapshot() {
    let seen = Seen::<(usize, u64)>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let shards = Arc::new(Shards::new());
        let shard = shards.join();
        record_twice(&shard, 0, 0);
        let writer = {
            let shard = Arc::clone(&shard);
            loom::thread::spawn(move || {
                let side = histogram(&shard, 0).active();
                histogram(&shard, 0).record_to(side, 2);
                side
            })
        };
        let during = read(&shards, 0).count();
        let side = writer.join().unwrap();
        // The writer is done, so this one has its record, wherever it went.
        assert_eq!(read(&shards, 0).count(), 3);
        outcomes.note((side, during));
    });
    seen.assert_all([(0, 2), (0, 3), (1, 2), (1, 3)]);
}

/// M5: successes and failures are histograms, and the total is their sum and the latencies' count.
#[test]
fn loom_a_summary_does_not_contradict_itself() {
    let seen = Seen::<(u64, u64, bool)>::new();
    let outcomes = seen.clone();
    check(2, move || {
        let shards = Arc::new(Shards::new());
        let shard = shards.join();
        (0..2).for_each(|histogram| record_twice(&shard, histogram, 0));
        let writer = loom::thread::spawn(move || {
            histogram(&shard, 0).record(2);
            histogram(&shard, 1).record(3);
        });
        let found = shards.collect(&[], &[(0, shape()), (1, shape())]);
        let [successes, failures] = &found.histograms[..] else { panic!("two were asked for") };
        let mut both = successes.clone();
        both.add(failures);
        assert_eq!(both.count(), successes.count() + failures.count());
        for tally in [successes, failures, &both] {
            assert_consistent(tally);
        }
        writer.join().unwrap();
        outcomes.note((successes.count() - 2, failures.count() - 2, both.exact));
    });
    seen.assert_all([(0, 0, true), (1, 0, true), (1, 1, true), (0, 1, true), (0, 0, false)]);
}

/// M5 and M7: what is active is never below 0, though it ends on another thread than it began on.
#[test]
fn loom_active_is_never_below_zero() {
    let seen = Seen::<(bool, u64, u64, u64)>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let (entered, left) = (0, 1);
        let shards = Arc::new(Shards::new());
        let guard = Arc::new(Mutex::new(false));
        let enters = {
            let (shards, guard) = (Arc::clone(&shards), Arc::clone(&guard));
            loom::thread::spawn(move || {
                // Its first record: a snapshot may have begun before there is a shard.
                shards.join().cell(entered).add(1);
                *lock(&guard) = true;
            })
        };
        let leaves = {
            let shard = joined(&shards);
            loom::thread::spawn(move || {
                let is_mine = *lock(&guard);
                if is_mine {
                    shard.cell(left).add_after(1);
                }
                is_mine
            })
        };
        let found = shards.collect(&[left, entered, left], &[]).cells;
        let level = in_flight(found[0], found[1], found[2]);
        assert!((0..=1).contains(&level), "{found:?}");
        enters.join().unwrap();
        let has_left = leaves.join().unwrap();
        let last = shards.collect(&[left, entered, left], &[]).cells;
        assert_eq!(in_flight(last[0], last[1], last[2]), i64::from(!has_left));
        outcomes.note((has_left, found[0], found[1], found[2]));
    });
    seen.assert_all([
        (false, 0, 0, 0),
        (false, 0, 1, 0),
        (true, 0, 0, 0),
        (true, 0, 1, 0),
        (true, 0, 1, 1),
        (true, 0, 0, 1),
        (true, 1, 1, 1),
    ]);
}

/// M8: counters of several threads grow from snapshot to snapshot.
#[test]
fn loom_counters_never_go_back() {
    let seen = Seen::<[u64; 2]>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let shards = Arc::new(Shards::new());
        let writers = [1, 10].map(|count| {
            let shards = Arc::clone(&shards);
            let shard = shards.join();
            loom::thread::spawn(move || {
                shard.cell(0).add(count);
                if count == 10 {
                    shards.retire(&shard);
                }
            })
        });
        let found = [(); 2].map(|()| read_cell(&shards, 0));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let last = read_cell(&shards, 0);
        assert!(found[0] <= found[1] && found[1] <= last, "{found:?}, {last}");
        assert_eq!(last, 11);
        outcomes.note(found);
    });
    seen.assert_all([[0, 0], [0, 1], [0, 10], [1, 11], [10, 11], [11, 11]]);
}

/// M9: a writer that stops in the middle of a record holds no snapshot up, and what it had begun contradicts nothing.
#[test]
fn loom_a_snapshot_ends_beside_a_writer_that_does_not() {
    let seen = Seen::<(bool, u128)>::new();
    let outcomes = seen.clone();
    check(3, move || {
        let shards = Arc::new(Shards::new());
        let shard = shards.join();
        record_twice(&shard, 0, 2);
        let writer = {
            let shard = Arc::clone(&shard);
            loom::thread::spawn(move || histogram(&shard, 0).record_half(0))
        };
        let tally = read(&shards, 0);
        assert_consistent(&tally);
        assert_eq!(tally.count(), 2);
        outcomes.note((tally.exact, tally.sum));
        writer.join().unwrap();
        let stuck = read(&shards, 0);
        assert_consistent(&stuck);
        assert_eq!((stuck.count(), stuck.exact), (2, false));
    });
    seen.assert_all([(true, 4), (false, 4)]);
}
