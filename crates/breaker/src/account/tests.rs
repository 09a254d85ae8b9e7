//! Threads on one account, audited while they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Plain};
use std::thread;
use std::time::Duration;

use super::*;

/// Reserves and settles on four threads while `meddle` runs on a fifth; every snapshot balances.
fn spend_while(
    account: &Account,
    epoch: &AtomicU64,
    actual_of: fn(u64) -> u64,
    meddle: impl Fn(u64) + Sync,
) -> u64 {
    let over = AtomicBool::new(false);
    let spent = AtomicU64::new(0);
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (spent, over) = (&spent, &over);
            scope.spawn(move || {
                for call in 0..20_000_u64 {
                    let held = (worker * 7 + call) % 23;
                    if let Ok(ticket) = account.reserve(held, epoch.load(Plain::Relaxed)) {
                        let actual = actual_of(held);
                        // The last worker has no word of its own.
                        account.settle_by(worker as usize, ticket, held, actual);
                        spent.fetch_add(actual, Plain::Relaxed);
                    }
                }
                over.store(true, Plain::Relaxed);
            });
        }
        for turn in 0.. {
            if over.load(Plain::Relaxed) {
                break;
            }
            meddle(turn);
            let standing = account.standing(epoch.load(Plain::Relaxed));
            assert!(standing.balances(), "{standing:?}");
        }
    });
    spent.into_inner()
}

#[test]
fn no_snapshot_is_over_the_limit_while_actuals_stay_within_their_holds() {
    let account = Account::new(Period::Lifetime, 400_000, 0);
    let epoch = AtomicU64::new(0);
    let spent = spend_while(
        &account,
        &epoch,
        |held| held / 2,
        |_| {
            assert_eq!(account.standing(0).overdraft_nano(), 0);
        },
    );
    let standing = account.standing(0);
    assert_eq!((standing.settled_nano, standing.held_nano), (spent, 0));
}

#[test]
fn a_limit_that_moves_is_exact_at_every_moment() {
    let account = Account::new(Period::Lifetime, 1_000, 0);
    let epoch = AtomicU64::new(0);
    let spent = spend_while(
        &account,
        &epoch,
        |held| held + 3,
        |turn| {
            account.set_limit((turn * 7919) % 2_000_000, 0);
        },
    );
    let standing = account.standing(0);
    assert_eq!((standing.settled_nano, standing.held_nano), (spent, 0));
    assert!(standing.balances());
}

#[test]
fn epochs_that_roll_lose_nothing() {
    let account = Account::new(Period::Hour, 5_000, 10);
    let epoch = AtomicU64::new(10);
    spend_while(
        &account,
        &epoch,
        |held| held,
        |_| {
            epoch.fetch_add(1, Plain::Relaxed);
        },
    );
    let last = epoch.load(Plain::Relaxed);
    let before = account.standing(last);
    assert_eq!(before.held_nano, 0);
    assert_eq!(account.standing(last + 1), Standing::new(5_000), "a new window is whole");
    assert_eq!(account.standing(last), Standing::new(5_000), "and epochs never go back");
}

#[test]
fn a_sliding_period_gives_back_all_that_has_left_it() {
    let account = Account::new(Period::Sliding(Duration::from_secs(1)), 5_000, 8);
    let epoch = AtomicU64::new(8);
    spend_while(
        &account,
        &epoch,
        |held| held,
        |_| {
            epoch.fetch_add(1, Plain::Relaxed);
        },
    );
    let last = epoch.load(Plain::Relaxed);
    let standing = account.standing(last + BUCKETS);
    assert_eq!((standing.settled_nano, standing.held_nano, standing.free_nano()), (0, 0, 5_000));
}

#[test]
fn a_sliding_period_is_full_until_its_oldest_bucket_leaves() {
    let account = Account::new(Period::Sliding(Duration::from_secs(8)), 10, 8);
    let first = account.reserve(6, 8).unwrap();
    account.settle(first, 6, 6);
    let second = account.reserve(4, 12).unwrap();
    assert!(account.reserve(1, 15).is_err());
    let third = account.reserve(6, 16).unwrap();
    assert!(account.reserve(1, 19).is_err(), "a hold doesn't leave by itself");
    account.settle(second, 4, 4);
    account.settle(third, 6, 0);
    assert_eq!(account.standing(19).settled_nano, 4);
    assert_eq!(account.standing(20).settled_nano, 0);
}

#[test]
fn a_bill_that_comes_later_corrects_its_own_epoch() {
    let account = Account::new(Period::Day, 100, 5);
    let ticket = account.reserve(50, 5).unwrap();
    account.settle(ticket, 50, 50);
    account.roll_to(6);
    account.correct(ticket, 50, 20);
    assert_eq!(amount_of(account.bucket(5).nano.load(Ordering::Acquire)), 20);
    assert_eq!(account.standing(6), Standing::new(100));
    account.correct(ticket, 20, 70);
    assert_eq!(amount_of(account.bucket(5).nano.load(Ordering::Acquire)), 70);
    assert_eq!(account.room_word.room(account.book(5).room.load(Ordering::Acquire)), 30);
}

#[test]
fn amounts_at_the_bounds_never_wrap() {
    let account = Account::new(Period::Lifetime, NANO_MAX, 0);
    assert!(account.reserve(u64::MAX, 0).is_err());
    let ticket = account.reserve(NANO_MAX, 0).unwrap();
    account.extend(ticket, NANO_MAX);
    account.settle(ticket, 0, NANO_MAX);
    account.settle(ticket, 0, NANO_MAX);
    assert!(account.reserve(0, 0).is_err(), "over every limit, and said to be");
    assert_eq!(account.room_word.room(account.book(0).room.load(Ordering::Acquire)), -(NANO_MAX as i64) - 1);
    let nothing = Account::new(Period::Lifetime, 0, 0);
    assert!(nothing.reserve(1, 0).is_err() && nothing.reserve(0, 0).is_ok());
}

#[test]
fn what_a_seat_has_settled_can_be_corrected_as_often_as_one_likes() {
    let account = Account::new(Period::Lifetime, NANO_MAX, 0);
    // Many times what a word holds goes through the seat's and is taken back.
    for _ in 0..5000 {
        account.reserve(NANO_MAX, 0).unwrap();
        account.settle_by(0, 0, NANO_MAX, NANO_MAX);
        assert_eq!((account.standing(0).settled_nano, account.standing(0).free_nano()), (NANO_MAX, 0));
        account.correct(0, NANO_MAX, 1);
        account.correct(0, 1, 0);
        assert_eq!((account.standing(0).settled_nano, account.standing(0).free_nano()), (0, NANO_MAX));
    }
    // Costs beyond the hold come to the same, whichever word they are in.
    let shared = Account::new(Period::Lifetime, NANO_MAX, 0);
    for (seat, actual) in [(0, 5), (1, NANO_MAX), (2, 3), (0, NANO_MAX)] {
        for account in [&account, &shared] {
            account.extend(0, 5);
        }
        account.settle_by(seat, 0, 5, actual);
        shared.settle(0, 5, actual);
        assert_eq!(account.standing(0), shared.standing(0));
    }
}
