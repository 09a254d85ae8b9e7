//! Models of the state machine: probes, expiry, generations, and edges that are told exactly once.

use std::sync::{Arc as Plain, Mutex as PlainMutex};

use loom::sync::Arc;
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::*;
use crate::outcomes::{SHARED, WindowKind};

/// Preemptions of an interleaving: enough for every race of two operations, and minutes faster than
/// all.
const FEW: usize = 3;

/// Opens at the first failure, for 10 ms; one probe with a lease of 5 ms.
fn machine(probes: u32) -> Machine {
    let thresholds = Thresholds {
        window: WindowKind::Calls(1),
        calls_min: 1,
        failure_ppm: Some(1_000_000),
        slow_ppm: None,
        consecutive: None,
    };
    let timing = Timing {
        open_ms: 10,
        open_ms_max: 10,
        open_factor: 1.0,
        jitter_ppm: 0,
        seed: 0,
        probes,
        lease_ms: 5,
        half_open_ms_max: 0,
    };
    Machine::new(1, thresholds, timing)
}

const FAILED: Mark = Mark { failed: true, slow: false };

/// The edges that were told, by generation.
type Told = Plain<PlainMutex<Vec<Step>>>;

fn tell(told: &Told) -> impl Fn(Step) + use<> {
    let told = Plain::clone(told);
    move |step| told.lock().unwrap().push(step)
}

/// The log is a path from `Closed`: each generation once, each edge from where the one before ended.
fn assert_is_path(told: &Told) {
    let mut steps = told.lock().unwrap().clone();
    steps.sort_by_key(|step| step.to.generation());
    let mut at = Word::new(State::Closed, 0, 0, 0);
    for step in steps {
        assert_eq!(step.from, at, "each edge begins where the last one ended");
        assert_eq!(step.to.generation(), at.next_generation());
        let legal = matches!(
            (step.from.state(), step.to.state()),
            (State::Closed | State::HalfOpen, State::Open)
                | (State::Open, State::HalfOpen)
                | (State::HalfOpen, State::Closed)
        );
        assert!(legal, "{step:?}");
        at = step.to;
    }
}

/// A breaker that was opened at 0 ms.
fn opened(probes: u32, told: &Told) -> Machine {
    let machine = machine(probes);
    let admission = machine.admit(|| 0, tell(told)).unwrap();
    machine.record(admission, 0, FAILED, || 0, tell(told));
    assert_eq!(machine.word().state(), State::Open);
    machine
}

#[test]
fn loom_two_failures_open_once() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(machine(1));
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        let fail = |machine: &Machine, seat, told: &dyn Fn(Step)| match machine.admit(|| 0, told) {
            Ok(admission) => format!("{:?}", machine.record(admission, seat, FAILED, || 0, told)),
            Err(refusal) => format!("{refusal:?}"),
        };
        let one = thread::spawn(move || fail(&other, SHARED, &other_told));
        let two = fail(&machine, 0, &tell(&told));
        let one = one.join().unwrap();
        assert_eq!(told.lock().unwrap().len(), 1, "one edge, told once");
        assert_is_path(&told);
        // Open and its deadline came together: whoever is refused is told the whole wait.
        noted.note(one);
        noted.note(two);
    });
    seen.assert_all(["Counted", "NotCounted", "Open { wait_ms: 10 }"]);
}

#[test]
fn loom_a_new_state_has_its_own_deadline() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(opened(1, &told));
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        // At 10 ms a probe fails and opens the breaker until 20.
        let probe = thread::spawn(move || {
            if let Ok(admission) = other.admit(|| 10, &other_told) {
                other.record(admission, SHARED, FAILED, || 10, &other_told);
            }
        });
        match machine.admit(|| 10, tell(&told)) {
            Err(Refusal::Open { wait_ms }) => {
                assert_eq!(wait_ms, 10, "an open breaker was seen without its deadline");
                noted.note("open");
            }
            Err(refusal) => noted.note(format!("{refusal:?}")),
            Ok(admission) => {
                machine.give_back(admission);
                noted.note("probe");
            }
        }
        probe.join().unwrap();
        assert_is_path(&told);
    });
    seen.assert_all(["open", "ProbesBusy"]);
}

#[test]
fn loom_never_more_probes_than_leases() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(opened(1, &told));
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        let one = thread::spawn(move || other.admit(|| 10, other_told));
        let two = machine.admit(|| 10, tell(&told));
        let one = one.join().unwrap();
        let live = usize::from(one.is_ok()) + usize::from(two.is_ok());
        assert_eq!(live, 1, "one probe, no more and no less");
        assert_eq!(machine.leases.found(machine.word().generation()).live, 1);
        noted.note(if one.is_ok() { "one" } else { "two" });
        assert_is_path(&told);
    });
    seen.assert_all(["one", "two"]);
}

#[test]
fn loom_a_probe_ends_or_expires_and_never_both() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(opened(1, &told));
        let late = machine.admit(|| 10, tell(&told)).unwrap();
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        // The first probe fails at last, just as its lease is over and another asks.
        let end = thread::spawn(move || other.record(late, SHARED, FAILED, || 15, other_told));
        let taken = machine.admit(|| 15, tell(&told));
        let end = end.join().unwrap();
        match (end, taken) {
            (Recorded::Counted, Err(Refusal::Open { .. } | Refusal::ProbesBusy)) => noted.note("ended"),
            (Recorded::Expired, Ok(fresh)) => {
                noted.note("expired");
                assert_eq!(machine.word().state(), State::HalfOpen, "an expired probe decides nothing");
                assert_eq!(machine.record(fresh, 0, Mark::SUCCESS, || 15, tell(&told)), Recorded::Counted);
                assert_eq!(machine.word().state(), State::Closed);
            }
            both => panic!("a lease had two owners, or none: {both:?}"),
        }
        assert_is_path(&told);
    });
    seen.assert_all(["ended", "expired"]);
}

/// Symptom: a probe whose generation ended beside it was told to have expired, though no lease had run out.
#[test]
fn loom_a_probe_of_an_ended_generation_has_not_expired() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(opened(1, &told));
        let late = machine.admit(|| 10, tell(&told)).unwrap();
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        // Its lease is good until 15 ms, and it fails at 10.
        let end = thread::spawn(move || other.record(late, SHARED, FAILED, || 10, other_told));
        // Meanwhile the breaker is opened until 20 ms, by hand if not by the probe; the next generation's probe needs the place.
        machine.set(State::Open, &|| 10, &tell(&told));
        let fresh = machine.admit(|| 20, tell(&told)).unwrap();
        let end = end.join().unwrap();
        assert_ne!(end, Recorded::Expired, "no lease has run out");
        noted.note(format!("{end:?}"));
        assert_is_path(&told);
        assert_eq!(machine.leases.found(machine.word().generation()).live, 1, "it ended another's lease");
        assert_eq!(machine.record(fresh, 0, Mark::SUCCESS, || 20, tell(&told)), Recorded::Counted);
    });
    seen.assert_all(["Counted", "NotCounted"]);
}

#[test]
fn loom_the_last_two_probes_decide_once() {
    check(FEW, || {
        let told = Told::default();
        let machine = Arc::new(opened(2, &told));
        let one = machine.admit(|| 10, tell(&told)).unwrap();
        let two = machine.admit(|| 10, tell(&told)).unwrap();
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        let end = thread::spawn(move || other.record(one, SHARED, Mark::SUCCESS, || 10, other_told));
        machine.record(two, 0, Mark::SUCCESS, || 10, tell(&told));
        end.join().unwrap();
        assert_eq!(machine.word().state(), State::Closed, "both probes did well and nobody closed");
        assert_eq!(told.lock().unwrap().len(), 3);
        assert_is_path(&told);
    });
}

#[test]
fn loom_an_outcome_of_an_older_generation_changes_nothing() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(FEW, move || {
        let told = Told::default();
        let machine = Arc::new(machine(1));
        let stale = machine.admit(|| 0, tell(&told)).unwrap();
        let opener = machine.admit(|| 0, tell(&told)).unwrap();
        let (other, other_told) = (Arc::clone(&machine), tell(&told));
        // The one that mostly looks is spawned: loom overlooks races with a load that comes before another's load and change.
        let late = thread::spawn(move || other.record(stale, SHARED, FAILED, || 0, &other_told));
        machine.record(opener, 0, FAILED, || 0, tell(&told));
        if let Ok(probe) = machine.admit(|| 10, tell(&told)) {
            machine.record(probe, 0, Mark::SUCCESS, || 10, tell(&told));
        }
        let recorded = late.join().unwrap();
        assert_is_path(&told);
        let word = machine.word();
        if word.state() == State::Closed {
            assert_eq!(machine.outcomes.since(word.generation()).calls, 0, "an older outcome counted");
        }
        noted.note(format!("{recorded:?}"));
    });
    seen.assert_all(["Counted", "NotCounted"]);
}
