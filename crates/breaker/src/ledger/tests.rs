//! The arithmetic against an obvious list of calls.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Reserve(u64),
    Settle(usize, u64),
    SetLimit(u64),
    Roll(u64),
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..200_u64, 1 => Just(0), 1 => NANO_MAX - 2..=NANO_MAX, 1 => Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => amount().prop_map(Step::Reserve),
        4 => (any::<usize>(), amount()).prop_map(|(which, actual)| Step::Settle(which, actual)),
        1 => amount().prop_map(Step::SetLimit),
        1 => (0..3_u64).prop_map(Step::Roll),
    ]
}

/// One call of the list.
#[derive(Clone, Copy)]
struct Call {
    reservation: Reservation,
    settled: Option<u64>,
}

proptest! {
    #[test]
    fn books_agree_with_a_list_of_calls(limit in amount(), steps in prop::collection::vec(step(), 1..80)) {
        let mut books = Books::new(limit, 10);
        let mut calls: Vec<Call> = Vec::new();
        let mut limit = limit.min(NANO_MAX);
        for step in steps {
            let epoch = books.epoch();
            let used = |calls: &[Call]| -> u128 {
                let own = calls.iter().filter(|call| call.reservation.epoch == epoch);
                own.map(|call| u128::from(call.settled.unwrap_or(call.reservation.held_nano))).sum()
            };
            match step {
                Step::Reserve(amount) => {
                    let fits = used(&calls) + u128::from(amount) <= u128::from(limit);
                    let answer = books.reserve(amount, epoch);
                    prop_assert_eq!(answer.is_ok(), fits, "{:?}", answer);
                    if let Ok(reservation) = answer {
                        calls.push(Call { reservation, settled: None });
                    }
                }
                Step::Settle(which, actual) if !calls.is_empty() => {
                    let at = which % calls.len();
                    let actual = actual.min(NANO_MAX);
                    if calls[at].settled.is_none() {
                        books.settle(calls[at].reservation, actual);
                        calls[at].settled = Some(actual);
                    }
                }
                Step::Settle(..) => {}
                Step::SetLimit(new) => {
                    books.set_limit(new);
                    limit = new.min(NANO_MAX);
                }
                Step::Roll(by) => books.roll_to(epoch + by),
            }
            let epoch = books.epoch();
            let standing = books.standing(epoch).expect("the present epoch is kept");
            let own: Vec<&Call> = calls.iter().filter(|call| call.reservation.epoch == epoch).collect();
            let held: u64 = own.iter().filter(|call| call.settled.is_none()).map(|call| call.reservation.held_nano).sum();
            let settled: u64 = own.iter().filter_map(|call| call.settled).sum();
            prop_assert_eq!((standing.held_nano, standing.settled_nano), (held, settled));
            prop_assert_eq!(standing.limit_nano, limit);
            prop_assert_eq!(standing.free_nano(), limit.saturating_sub(held + settled));
            prop_assert_eq!(standing.overdraft_nano(), (held + settled).saturating_sub(limit));
        }
    }

    #[test]
    fn a_hold_owes_nothing_before_and_its_hold_after_it_is_dispatched(held in amount(), charges in prop::collection::vec(amount(), 0..6)) {
        let mut hold = Hold::new(held);
        prop_assert_eq!(hold.owed_nano(Settlement::Unknown), 0);
        hold.dispatch();
        prop_assert_eq!(hold.owed_nano(Settlement::Unknown), held.min(NANO_MAX));
        let mut grown = 0;
        let mut charged = 0_u64;
        for charge in charges {
            grown += hold.charge(charge);
            charged = charged.saturating_add(charge).min(NANO_MAX);
            prop_assert_eq!(hold.charged_nano(), charged);
            prop_assert_eq!(hold.held_nano(), held.min(NANO_MAX) + grown);
            prop_assert!(hold.owed_nano(Settlement::AtLeast(0)) >= charged);
        }
        prop_assert_eq!(hold.owed_nano(Settlement::Exact(7)), 7);
    }

    #[test]
    fn the_word_of_an_account_does_the_sums_of_a_standing(limit in 0..500_u64, holds in prop::collection::vec((0..200_u64, 0..300_u64), 0..20)) {
        let mut standing = Standing::new(limit);
        let mut room = limit as i64;
        for (held, actual) in holds {
            let left = reserve_from(room, held);
            prop_assert_eq!(left.is_some(), standing.reserve(held).is_ok());
            let Some(left) = left else { continue };
            room = room_after(left, held, actual);
            standing.settle(held, actual);
            prop_assert_eq!(room, standing.free_nano() as i64 - standing.overdraft_nano() as i64);
        }
    }
}

#[test]
fn a_settlement_lands_in_its_own_epoch_and_the_next_one_is_untouched() {
    let mut books = Books::new(100, 1);
    let early = books.reserve(60, 1).unwrap();
    books.roll_to(2);
    let fresh = books.standing(2).unwrap();
    assert_eq!((fresh.free_nano(), fresh.held_nano), (100, 0));
    books.settle(early, 80);
    assert_eq!(books.standing(1).unwrap().settled_nano, 80);
    assert_eq!(books.standing(2).unwrap(), Standing::new(100));
    books.roll_to(1);
    assert_eq!(books.epoch(), 2, "epochs never go back");
}

#[test]
fn an_overdraft_is_exact_and_blocks_until_it_is_absorbed() {
    let mut standing = Standing::new(100);
    standing.reserve(40).unwrap();
    standing.settle(40, 130);
    assert_eq!((standing.overdraft_nano(), standing.free_nano()), (30, 0));
    assert_eq!(standing.reserve(0), Err(Shortage { needed_nano: 0, available_nano: 0 }));
    standing.set_limit(130);
    assert!(standing.reserve(0).is_ok());
    standing.correct(130, 90);
    assert_eq!(standing.free_nano(), 40);
}

#[test]
fn what_is_settled_after_all_its_epochs_is_told() {
    let mut books = Books::new(100, 0);
    let old = books.reserve(1, 0).unwrap();
    for epoch in 1..10 {
        books.roll_to(epoch);
    }
    books.settle(old, 7);
    assert_eq!(books.late_nano(), 7);
    assert_eq!(books.standing(9).unwrap(), Standing::new(100));
}

#[test]
fn sums_beyond_counting_stay_there() {
    let mut standing = Standing::new(100);
    for _ in 0..3 {
        standing.extend(u64::MAX);
        standing.settle(NANO_MAX, u64::MAX);
    }
    for _ in 0..3 {
        standing.correct(u64::MAX, 50);
    }
    assert_eq!((standing.held_nano, standing.settled_nano, standing.overdraft_nano()), (0, 150, 50));
    for _ in 0..3000 {
        standing.settle(0, u64::MAX);
    }
    for _ in 0..4000 {
        standing.correct(u64::MAX, 0);
    }
    assert_eq!(standing.settled_nano, u64::MAX);
    assert!(standing.reserve(0).is_err() && standing.balances());
}
