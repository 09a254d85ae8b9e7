//! Models of the table: one dial an address, nothing of a removed generation, a drain that ends exactly when the last user is gone.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc as Plain, Mutex as PlainMutex};

use loom::future::block_on;
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::*;

type Model = Table<u64, &'static str>;

/// Requests at the beginning of time, when nobody is late.
const AT_ONCE: Option<Moment> = Some(Moment { now: 0, chance: 1.0 });

fn table_of_one() -> Arc<Model> {
    let table = Arc::new(Model::new(Rules { backoff: 1, backoff_max: 8 }));
    assert_eq!(table.add("a"), Some(Ok(1)));
    table
}

/// The order to dial, which nobody has yet.
fn order(table: &Model) -> Order {
    table.look_up("a", AT_ONCE).1.expect("nobody has it")
}

/// A connection to `a`, whose value is its generation; whoever has the order dials at once. The second part: whether it was waited for.
fn get(table: &Model) -> Option<(Arc<Live<u64, &'static str>>, bool)> {
    let mut waited = false;
    loop {
        if let Some(live) = table.live("a") {
            return Some((live, waited));
        }
        let (found, order) = table.look_up("a", AT_ONCE);
        match found {
            Found::Live(live) => return Some((live, waited)),
            Found::Wait { event, .. } => {
                if let Some(order) = order {
                    let _ = table.dialled(&order, order.generation, 0);
                    continue;
                }
                waited = true;
                let mut seat = Seat::new();
                block_on(poll_fn(|context| event.poll(&mut seat, context.waker())));
            }
            Found::Failing { .. } | Found::Unknown | Found::Closed => return None,
        }
    }
}

#[test]
fn loom_one_dial_serves_all() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let spawn = || {
            let table = Arc::clone(&table);
            thread::spawn(move || get(&table).expect("it is there"))
        };
        let (one, two) = (spawn(), spawn());
        let (three, waited) = get(&table).expect("it is there");
        let one = one.join().unwrap();
        let two = two.join().unwrap();
        assert!(Arc::ptr_eq(&one.0, &two.0) && Arc::ptr_eq(&one.0, &three), "P7: one connection an address");
        let (status, totals) = table.status(0);
        assert_eq!((totals.dials, totals.dialling, status[0].in_flight), (1, 0, 3));
        noted.note(if waited || one.1 || two.1 { "waited" } else { "at once" });
    });
    seen.assert_all(["waited", "at once"]);
}

#[test]
fn loom_nothing_of_a_removed_generation_is_handed_out() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let others = Arc::clone(&table);
        let asks = thread::spawn(move || get(&others).map(|(live, _)| live.generation));
        drop(table.remove("a", 0).expect("it is there"));
        // From here on it is unknown, whatever the other one is doing.
        assert!(table.live("a").is_none(), "P7: handed out after the removal");
        assert!(matches!(table.look_up("a", AT_ONCE).0, Found::Unknown), "P7: handed out after the removal");
        assert_eq!(table.add("a"), Some(Ok(2)));
        let mine = get(&table).expect("it is there").0;
        assert_eq!((mine.generation, mine.connection), (2, 2), "P7: a dial of the old generation got in");
        let theirs = asks.join().unwrap();
        noted.note(format!("{theirs:?}"));
    });
    seen.assert_all(["Some(1)", "Some(2)", "None"]);
}

#[test]
fn loom_who_chooses_sees_the_choice_before() {
    check(3, || {
        let table = table_of_one();
        assert_eq!(table.add("b"), Some(Ok(2)));
        for order in table.pick_or_order(AT_ONCE).1 {
            assert_eq!(table.dialled(&order, order.generation, 0), Ok(()));
        }
        let others = Arc::clone(&table);
        let other = thread::spawn(move || others.pick(true).expect("two are connected"));
        let own = table.pick(true).expect("two are connected");
        assert_ne!(own.generation, other.join().unwrap().generation, "one was used and the other was not");
    });
}

#[test]
fn loom_a_late_dial_of_a_removed_generation_goes_nowhere() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let order = order(&table);
        let others = Arc::clone(&table);
        let late = thread::spawn(move || others.dialled(&order, 1, 0).is_ok());
        drop(table.remove("a", 0));
        table.add("a");
        let mine = get(&table).expect("it is there").0;
        assert_eq!((mine.generation, mine.connection), (2, 2));
        noted.note(if late.join().unwrap() { "in time" } else { "late" });
        assert_eq!(table.status(0).1.dialling, 0);
    });
    seen.assert_all(["in time", "late"]);
}

#[test]
fn loom_a_drain_ends_with_the_last_user() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let (held, _) = get(&table).expect("it is there");
        let used = Plain::new(PlainMutex::new(true));
        let still = Plain::clone(&used);
        let user = thread::spawn(move || {
            *still.lock().unwrap() = false;
            drop(held);
        });
        let Removed { live, gone, .. } = table.remove("a", 0).expect("it is there");
        drop(live);
        let gone = gone.expect("it was connected");
        noted.note(if *used.lock().unwrap() { "in use" } else { "unused" });
        let mut seat = Seat::new();
        block_on(poll_fn(|context| gone.poll(&mut seat, context.waker())));
        assert!(!*used.lock().unwrap(), "drained while it was used");
        user.join().unwrap();
    });
    seen.assert_all(["in use", "unused"]);
}

#[test]
fn loom_an_abandoned_order_goes_to_another() {
    check(2, move || {
        let table = table_of_one();
        let order = order(&table);
        let others = Arc::clone(&table);
        let asks = thread::spawn(move || get(&others).expect("it is there").0.generation);
        table.abandoned(&order, 0);
        assert_eq!(asks.join().unwrap(), 1);
        assert_eq!(table.status(0).1.dials, 2);
    });
}

#[test]
fn loom_an_order_that_was_taken_over_is_void() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let slow = order(&table);
        let others = Arc::clone(&table);
        let late = thread::spawn(move || others.dialled(&slow, 1, 0).is_ok());
        // So late that whoever has the order has lost it.
        let (found, order) = table.look_up("a", Some(Moment { now: Nanos::MAX / 2, chance: 1.0 }));
        let taken = order.is_some();
        if let Some(order) = order {
            assert!(matches!(found, Found::Wait { .. }));
            assert!(table.dialled(&order, 2, 0).is_ok(), "it is the only one that stands");
        }
        assert_eq!(late.join().unwrap(), !taken, "exactly one of them came in");
        let live = table.live("a").expect("one of them did");
        assert_eq!(live.connection, if taken { 2 } else { 1 });
        let totals = table.status(0).1;
        assert_eq!((totals.connected, totals.withdrawn), (1, u64::from(taken)));
        assert_eq!((totals.dials, totals.dialling), (1 + u64::from(taken), 0));
        noted.note(if taken { "taken over" } else { "in time" });
    });
    seen.assert_all(["taken over", "in time"]);
}

#[test]
fn loom_who_waits_for_any_hears_of_the_last_removal() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(2, move || {
        let table = table_of_one();
        let others = Arc::clone(&table);
        let waits = thread::spawn(move || {
            let mut waited = false;
            loop {
                match others.pick_or_order(AT_ONCE).0 {
                    Found::Wait { event, .. } => {
                        waited = true;
                        let mut seat = Seat::new();
                        // Nobody carries the order out: only the removal can end this.
                        block_on(poll_fn(|context| event.poll(&mut seat, context.waker())));
                    }
                    Found::Unknown => return waited,
                    _ => panic!("there is no connection"),
                }
            }
        });
        drop(table.remove("a", 0).expect("it is there"));
        noted.note(if waits.join().unwrap() { "waited" } else { "at once" });
        let totals = table.status(0).1;
        assert_eq!(totals.dials, totals.withdrawn);
    });
    seen.assert_all(["waited", "at once"]);
}
