//! Models of the stripes and rings: no outcome crosses a generation, none is lost, and nobody overlooks the k-th failure.

use loom::sync::Arc;
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::*;

/// Preemptions of an interleaving: enough for every race of two operations, and minutes faster than
/// all.
const FEW: usize = 3;

#[test]
fn loom_an_outcome_counts_in_its_own_generation_only() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let total = Arc::new(Total::new(1));
        let other = Arc::clone(&total);
        let old = thread::spawn(move || other.add(SHARED, 0));
        let next = total.add(SHARED, 1);
        total.begin(1);
        let old = old.join().unwrap();
        assert!(next, "the present generation always counts");
        assert_eq!(total.since(1), 1, "only what was admitted in it");
        assert_eq!(total.ever(), 1 + u64::from(old));
        noted.note(if old { "the old one counted before" } else { "the old one came too late" });
    });
    seen.assert_all(["the old one counted before", "the old one came too late"]);
}

#[test]
fn loom_two_that_begin_a_generation_and_one_that_still_counts_lose_nothing() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let total = Arc::new(Total::new(1));
        let (one, two) = (Arc::clone(&total), Arc::clone(&total));
        let old = thread::spawn(move || u64::from(one.add(SHARED, 0)));
        let begin = thread::spawn(move || two.begin(1));
        total.begin(1);
        begin.join().unwrap();
        let old = old.join().unwrap();
        assert_eq!(total.since(1), 0);
        assert_eq!(total.ever(), old);
        noted.note(old);
    });
    seen.assert_all([0_u64, 1]);
}

#[test]
fn loom_an_owner_moves_on_while_others_look() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let total = Arc::new(Total::new(1));
        let other = Arc::clone(&total);
        // It counts on the shared stripe, and looks at the owner's.
        let look = thread::spawn(move || {
            assert!(other.add(SHARED, 1));
            other.since(1)
        });
        assert!(total.add(0, 0));
        assert!(total.add(0, 1));
        assert!(!total.add(0, 0), "the older generation is over for the owner");
        let looked = look.join().unwrap();
        assert!(
            looked == 1 || looked == 2,
            "{looked} counted of two: one of the older generation is among them"
        );
        assert_eq!((total.since(1), total.ever()), (2, 3));
        noted.note(looked);
    });
    seen.assert_all([1_u64, 2]);
}

fn thresholds(window: u64, calls_min: u64) -> Thresholds {
    Thresholds {
        window: WindowKind::Calls(window),
        calls_min,
        failure_ppm: Some(1_000_000),
        slow_ppm: None,
        consecutive: None,
    }
}

const FAILED: Mark = Mark { failed: true, slow: false };

#[test]
fn loom_outcomes_that_reach_the_minimum_two_failures() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let outcomes = Arc::new(Outcomes::new(2, thresholds(4, 2)));
        let other = Arc::clone(&outcomes);
        let one = thread::spawn(move || other.record(SHARED, 0, FAILED, 0).unwrap());
        let two = outcomes.record(0, 0, FAILED, 0).unwrap();
        let one = one.join().unwrap();
        assert!(one || two, "two failures of two calls, and nobody saw both");
        noted.note(format!("{one} {two}"));
    });
    seen.assert_all(["true true", "true false", "false true"]);
}

#[test]
fn loom_outcomes_that_reach_the_minimum_a_failure_and_a_success() {
    check(FEW, || {
        let mut half = thresholds(4, 2);
        half.failure_ppm = Some(500_000);
        let outcomes = Arc::new(Outcomes::new(2, half));
        let other = Arc::clone(&outcomes);
        let failure = thread::spawn(move || other.record(SHARED, 0, FAILED, 0).unwrap());
        let success = outcomes.success(0, 0).unwrap();
        assert!(failure.join().unwrap() || success, "one failure of two calls, and nobody saw both");
    });
}

#[test]
fn loom_the_last_two_of_a_full_ring_meet_in_a_slot() {
    check(FEW, || {
        let ring = Arc::new(Ring::new(2, 4));
        let series = Arc::new(Series::new());
        let (other_ring, other_series) = (Arc::clone(&ring), Arc::clone(&series));
        let push = |ring: &Ring, series: &Series, position| {
            let number = series.push(0).unwrap();
            ring.push(number, 0, position)
        };
        let one = thread::spawn(move || push(&other_ring, &other_series, 5));
        let two = push(&ring, &series, 6);
        assert!(one.join().unwrap() || two, "two failures of four calls, and nobody saw both");
    });
}
