//! Models of an account: the ceiling, conservation, all or nothing, and settlements beside a rollover.

use loom::sync::Arc;
use loom::thread;
use steadfast_testkit::models::{Seen, check};

use super::*;

fn assert_rest(account: &Account, epoch: u64, settled: u64) {
    let standing = account.standing(epoch);
    assert_eq!((standing.settled_nano, standing.held_nano), (settled, 0), "something is held at rest");
}

#[test]
fn loom_two_that_want_the_last_money_never_both_get_it() {
    let seen = Seen::<bool>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Lifetime, 10, 0));
        let other = Arc::clone(&account);
        let spend = |account: &Account, ticket: Option<u64>| {
            account.settle(ticket?, 7, 7);
            ticket
        };
        // One goes the long way and one the short way.
        let one = thread::spawn(move || spend(&other, other.reserve(7, 0).ok()).is_some());
        let two = spend(&account, account.reserve_ever_below(7, 1000)).is_some();
        let one = one.join().unwrap();
        assert_ne!(one, two, "one of the two fits, and only one");
        assert_rest(&account, 0, 7);
        noted.note(one);
    });
    seen.assert_all([true, false]);
}

#[test]
fn loom_a_snapshot_balances_and_is_never_over_the_limit() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Lifetime, 10, 0));
        let first = account.reserve(3, 0).unwrap();
        let other = Arc::clone(&account);
        // The one that only reads is spawned: loom overlooks races with a load that comes before another's load and change.
        let look = thread::spawn(move || other.try_standing());
        let second = account.reserve(6, 0).unwrap();
        account.settle_by(0, second, 6, 4);
        account.settle_by(0, first, 3, 0);
        if let Some(standing) = look.join().unwrap() {
            let seen = (standing.limit_nano, standing.settled_nano, standing.held_nano);
            // In between a settlement's cost counts as held. There was nothing else at any moment.
            let were = [(10, 0, 3), (10, 0, 9), (10, 0, 7), (10, 4, 3), (10, 4, 0)];
            assert!(were.contains(&seen), "never was: {seen:?}");
            noted.note(format!("{} {}", standing.settled_nano, standing.held_nano));
        }
        assert_rest(&account, 0, 4);
    });
    seen.assert_all(["0 3", "0 9", "0 7", "4 3", "4 0"]);
}

#[test]
fn loom_a_limit_that_is_lowered_holds_for_whoever_reserves_after_it() {
    let seen = Seen::<bool>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Lifetime, 10, 0));
        let other = Arc::clone(&account);
        let lower = thread::spawn(move || other.set_limit(5, 0));
        let held = account.reserve(8, 0).is_ok();
        lower.join().unwrap();
        let standing = account.standing(0);
        assert_eq!(standing.limit_nano, 5);
        // Either the reservation came first, and the lower limit leaves an overdraft of 3; or it was refused.
        assert_eq!(standing.overdraft_nano(), if held { 3 } else { 0 });
        noted.note(held);
    });
    seen.assert_all([true, false]);
}

/// A hold that cost no more than was held is settled by additions that look at nothing, or in the word of a seat.
#[test]
fn loom_two_settlements_and_a_changed_limit_lose_nothing() {
    check(None, || {
        let account = Arc::new(Account::new(Period::Lifetime, 10, 0));
        let first = account.reserve(3, 0).unwrap();
        let second = account.reserve(4, 0).unwrap();
        let (one, other) = (Arc::clone(&account), Arc::clone(&account));
        let settle = thread::spawn(move || one.settle_by(1, first, 3, 1));
        let lower = thread::spawn(move || other.set_limit(8, 0));
        account.settle_by(0, second, 4, 2);
        settle.join().unwrap();
        lower.join().unwrap();
        assert_rest(&account, 0, 3);
        assert_eq!(account.standing(0).free_nano(), 5);
    });
}

/// What a seat has settled is corrected in the shared word, which goes below zero for it, while others settle there and in the seat's word.
#[test]
fn loom_a_correction_of_what_a_seat_has_settled_loses_nothing() {
    check(None, || {
        let account = Arc::new(Account::new(Period::Lifetime, 10, 0));
        for held in [3, 2, 4] {
            account.reserve(held, 0).unwrap();
        }
        account.settle_by(0, 0, 3, 3);
        let (one, other) = (Arc::clone(&account), Arc::clone(&account));
        let correct = thread::spawn(move || one.correct(0, 3, 1));
        let settle = thread::spawn(move || other.settle(0, 2, 2));
        account.settle_by(0, 0, 4, 3);
        correct.join().unwrap();
        settle.join().unwrap();
        assert_rest(&account, 0, 6);
        assert_eq!(account.standing(0).free_nano(), 4);
    });
}

/// Symptom: the shared word was seen newer than the seats', their sum below zero, and what was settled became all there is.
#[test]
fn loom_two_corrections_of_what_a_seat_has_settled_lose_nothing() {
    check(None, || {
        let account = Arc::new(Account::new(Period::Lifetime, 100, 0));
        account.reserve(15, 0).unwrap();
        account.settle(0, 5, 5);
        let (one, other) = (Arc::clone(&account), Arc::clone(&account));
        let one = thread::spawn(move || {
            one.settle_by(0, 0, 10, 10);
            one.correct(0, 10, 0);
        });
        let other = thread::spawn(move || other.correct(0, 5, 4));
        one.join().unwrap();
        other.join().unwrap();
        assert_rest(&account, 0, 4);
        assert_eq!(account.standing(0).free_nano(), 96);
    });
}

/// Symptom: what a correction takes another call settles, and a snapshot in between told of a hold that had never been so small.
#[test]
fn loom_a_snapshot_beside_a_correction_and_a_settlement_of_as_much_was_so() {
    let seen = Seen::<String>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Lifetime, 100, 0));
        account.reserve(17 + 10 + 10, 0).unwrap();
        account.settle(0, 10, 10);
        let (one, other) = (Arc::clone(&account), Arc::clone(&account));
        let look = thread::spawn(move || one.try_standing());
        let correct = thread::spawn(move || other.correct(0, 10, 0));
        account.settle_by(0, 0, 10, 10);
        if let Some(standing) = look.join().unwrap() {
            let seen = (standing.settled_nano, standing.held_nano);
            assert!([(10, 27), (20, 17), (0, 27), (10, 17)].contains(&seen), "never was: {seen:?}");
            noted.note(format!("{} {}", seen.0, seen.1));
        }
        correct.join().unwrap();
        let standing = account.standing(0);
        assert_eq!((standing.settled_nano, standing.held_nano), (10, 17));
    });
    seen.assert_all(["10 27", "0 27", "10 17"]);
}

/// Symptom: the new limit and the old room looked like a use of nearly all, which was told and never again.
#[test]
fn loom_a_limit_that_changes_looks_like_no_other_level() {
    for (from, to) in [(10, 1000), (1000, 10)] {
        check(None, move || {
            let account = Arc::new(Account::new(Period::Lifetime, from, 0));
            account.reserve(1, 0).unwrap();
            let other = Arc::clone(&account);
            let look = thread::spawn(move || other.usage(0, 750));
            account.set_limit(to, 0);
            let (used, limit) = look.join().unwrap().unwrap();
            assert!(!is_used_to(used, limit, 750), "{used} of {limit}");
        });
    }
}

#[test]
fn loom_a_settlement_beside_a_rollover_lands_in_its_own_epoch() {
    let seen = Seen::<&str>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Hour, 10, 1));
        let epoch = account.reserve(6, 1).unwrap();
        let other = Arc::clone(&account);
        let roll = thread::spawn(move || other.reserve(10, 2).unwrap());
        account.settle(epoch, 6, 4);
        let new = roll.join().unwrap();
        assert_eq!(new, 2);
        let standing = account.standing(2);
        assert_eq!((standing.settled_nano, standing.held_nano), (0, 10), "another epoch's money");
        let old = amount_of(account.bucket(1).nano.load(Ordering::Acquire));
        assert_eq!(old, 4);
        noted.note("landed");
    });
    seen.assert_all(["landed"]);
}

#[test]
fn loom_a_reservation_beside_a_rollover_is_whole_in_one_epoch() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Hour, 10, 1));
        let other = Arc::clone(&account);
        let reserve = thread::spawn(move || other.reserve(6, 1).unwrap());
        account.roll_to(2);
        let epoch = reserve.join().unwrap();
        let held = account.standing(2).held_nano;
        assert_eq!(held, if epoch == 2 { 6 } else { 0 });
        account.settle(epoch, 6, 6);
        assert_rest(&account, 2, if epoch == 2 { 6 } else { 0 });
        noted.note(epoch);
    });
    seen.assert_all([1_u64, 2]);
}

#[test]
fn loom_a_late_settlement_and_the_book_that_replaces_its_own() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(None, move || {
        let account = Arc::new(Account::new(Period::Hour, 10, 1));
        let epoch = account.reserve(6, 1).unwrap();
        let other = Arc::clone(&account);
        // Four epochs on, the same book is another's.
        let roll = thread::spawn(move || other.roll_to(5));
        account.settle(epoch, 6, 4);
        roll.join().unwrap();
        assert_rest(&account, 5, 0);
        assert!(account.late_nano() == 0 || account.late_nano() == 4);
        noted.note(account.late_nano());
    });
    seen.assert_all([0_u64, 4]);
}

#[test]
fn loom_a_sliding_bucket_gives_its_money_back_once() {
    let seen = Seen::<u64>::new();
    let noted = seen.clone();
    check(None, move || {
        let period = Period::Sliding(std::time::Duration::from_millis(8));
        let account = Arc::new(Account::new(period, 10, 8));
        let epoch = account.reserve(6, 8).unwrap();
        let other = Arc::clone(&account);
        // Its bucket leaves the period just as it settles.
        let roll = thread::spawn(move || other.roll_to(16));
        account.settle(epoch, 6, 4);
        roll.join().unwrap();
        assert_rest(&account, 16, 0);
        assert_eq!(account.standing(16).free_nano(), 10);
        noted.note(account.late_nano());
    });
    seen.assert_all([0_u64, 4]);
}

/// What a scope does: each account in turn, and back on a refusal.
fn reserve_all(accounts: &[Account; 2], amount: u64) -> bool {
    let Ok(first) = accounts[0].reserve(amount, 0) else { return false };
    if accounts[1].reserve(amount, 0).is_ok() {
        return true;
    }
    accounts[0].settle(first, amount, 0);
    false
}

#[test]
fn loom_of_two_scopes_a_call_gets_both_or_none() {
    let seen = Seen::<bool>::new();
    let noted = seen.clone();
    check(None, move || {
        let accounts =
            Arc::new([Account::new(Period::Lifetime, 12, 0), Account::new(Period::Lifetime, 6, 0)]);
        let other = Arc::clone(&accounts);
        let one = thread::spawn(move || reserve_all(&other, 6));
        let two = reserve_all(&accounts, 6);
        let one = one.join().unwrap();
        assert_ne!(one, two, "the smaller scope has money for one");
        assert_eq!(accounts[0].standing(0).held_nano, 6, "the larger scope kept a hold of the refused call");
        assert_eq!(accounts[1].standing(0).held_nano, 6);
        noted.note(one);
    });
    seen.assert_all([true, false]);
}
