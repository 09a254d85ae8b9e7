//! Threads on one account, audited while they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Plain};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use steadfast_testkit::cases;

use super::*;
use crate::ledger::{Hold, Settlement};

/// What the test itself knows of an account: each sum is counted before it can be so, and again when it surely is.
#[derive(Default)]
struct Known {
    asked: AtomicU64,
    held: AtomicU64,
    ending: AtomicU64,
    ended: AtomicU64,
    costing: AtomicU64,
    spent: AtomicU64,
}

impl Known {
    /// Whether `look` sees what can have been at one moment of it.
    fn audit(&self, look: impl Fn() -> Standing) {
        let get = |sum: &AtomicU64| sum.load(Plain::SeqCst);
        let (spent, held, ended) = (get(&self.spent), get(&self.held), get(&self.ended));
        let standing = look();
        let (costing, asked, ending) = (get(&self.costing), get(&self.asked), get(&self.ending));
        let Standing { settled_nano, held_nano, .. } = standing;
        assert!((spent..=costing).contains(&settled_nano), "{standing:?}, settled {spent} to {costing}");
        let (least, most) = (held.saturating_sub(ending), asked - ended);
        assert!((least..=most).contains(&held_nano), "{standing:?}, held {least} to {most}");
    }
}

/// Reserves and settles on four threads while `meddle` runs on a fifth; a lifetime's snapshots are compared with what the threads know of it.
fn spend_while(
    account: &Account,
    epoch: &AtomicU64,
    actual_of: fn(u64) -> u64,
    meddle: impl Fn(u64) + Sync,
) -> u64 {
    let over = AtomicBool::new(false);
    let known = Known::default();
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (known, over) = (&known, &over);
            scope.spawn(move || {
                for call in 0..20_000_u64 {
                    let held = (worker * 7 + call) % 23;
                    let actual = actual_of(held);
                    // Between the two steps of a settlement its cost counts as held.
                    let most = held.max(actual);
                    known.asked.fetch_add(most, Plain::SeqCst);
                    let Ok(ticket) = account.reserve(held, epoch.load(Plain::Relaxed)) else {
                        known.ended.fetch_add(most, Plain::SeqCst);
                        continue;
                    };
                    known.held.fetch_add(held, Plain::SeqCst);
                    known.ending.fetch_add(held, Plain::SeqCst);
                    known.costing.fetch_add(actual, Plain::SeqCst);
                    // The last worker has no word of its own.
                    account.settle_by(worker as usize, ticket, held, actual);
                    known.spent.fetch_add(actual, Plain::SeqCst);
                    known.ended.fetch_add(most, Plain::SeqCst);
                }
                over.store(true, Plain::Relaxed);
            });
        }
        for turn in 0.. {
            if over.load(Plain::Relaxed) {
                break;
            }
            meddle(turn);
            let look = || account.standing(epoch.load(Plain::Relaxed));
            if account.period() == Period::Lifetime {
                known.audit(look);
            } else {
                let standing = look();
                assert!(standing.used_nano() <= standing.limit_nano, "{standing:?}");
            }
        }
    });
    known.spent.into_inner()
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
    assert_eq!(room_of(&account), -3 * NANO_MAX as i64);
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

fn room_of(account: &Account) -> i64 {
    let epoch = account.epoch.load(Ordering::Acquire);
    account.room_word.room(account.book(epoch).room.load(Ordering::Acquire))
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(u64),
    Charge(usize, u64),
    Settle(usize, u64),
    Correct(usize, u64),
    Limit(u64),
    Roll(u64),
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..120_u64,
        1 => (50..54_u32, 0..3_u64).prop_map(|(bits, more)| (1 << bits) - 1 + more),
        1 => NANO_MAX - 2..=NANO_MAX,
        1 => Just(u64::MAX)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => amount().prop_map(Step::Reserve),
        4 => (any::<usize>(), amount()).prop_map(|(which, amount)| Step::Charge(which, amount)),
        4 => (any::<usize>(), amount()).prop_map(|(which, amount)| Step::Settle(which, amount)),
        4 => (any::<usize>(), amount()).prop_map(|(which, amount)| Step::Correct(which, amount)),
        1 => amount().prop_map(|limit| Step::Limit(limit.min(NANO_MAX))),
        1 => (0..12_u64).prop_map(Step::Roll),
    ]
}

/// A call as exact arithmetic sees it.
struct Call {
    epoch: u64,
    hold: Hold,
    settled: Option<u64>,
}

/// What calls use at `epoch`, held and settled, in numbers that nothing is too large for.
fn used(period: Period, calls: &[Call], epoch: u64) -> (i128, i128) {
    let mut sums = (0, 0);
    for call in calls {
        let (is_held_here, is_settled_here) = match period {
            Period::Lifetime => (true, true),
            Period::Sliding(_) => (true, call.epoch + BUCKETS > epoch),
            _ => (call.epoch == epoch, call.epoch == epoch),
        };
        match call.settled {
            None if is_held_here => sums.0 += i128::from(call.hold.held_nano()),
            Some(settled) if is_settled_here => sums.1 += i128::from(settled),
            _ => {}
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), ..ProptestConfig::default() })]

    /// Symptom: costs that were cut off at a bound and then corrected opened the budget.
    #[test]
    fn no_call_passes_that_exact_arithmetic_refuses(
        which_period in 0..3_usize,
        limit in amount(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let period = [Period::Lifetime, Period::Day, Period::Sliding(Duration::from_secs(8))][which_period];
        let mut limit = limit.min(NANO_MAX);
        let mut epoch = if period == Period::Lifetime { 0 } else { 100 };
        let account = Account::new(period, limit, epoch);
        let mut calls: Vec<Call> = Vec::new();
        // Whether some sum has gone beyond what a word counts, up to an epoch.
        let mut beyond_until = 0;
        for (turn, step) in steps.into_iter().enumerate() {
            let at = |which: usize| which % calls.len().max(1);
            match step {
                Step::Reserve(amount) => {
                    let (held, settled) = used(period, &calls, epoch);
                    let fits = held + settled <= limit.into() && held + settled + i128::from(amount) <= limit.into();
                    let passes = if period == Period::Lifetime && turn % 2 == 0 && limit > 0 {
                        account.reserve_ever_below(amount, 2000).is_some()
                    } else {
                        account.reserve(amount, epoch).is_ok()
                    };
                    prop_assert!(fits || !passes, "{} passes beside {:?} of {}", amount, (held, settled), limit);
                    prop_assert!(passes || !fits || beyond_until > epoch, "{} is refused", amount);
                    if passes {
                        calls.push(Call { epoch, hold: Hold::new(amount), settled: None });
                    }
                }
                Step::Charge(which, amount) if !calls.is_empty() => {
                    let at = at(which);
                    if calls[at].settled.is_none() {
                        let grown = calls[at].hold.charge(amount);
                        account.extend(calls[at].epoch, grown);
                    }
                }
                Step::Settle(which, actual) if !calls.is_empty() => {
                    let at = at(which);
                    let call = &mut calls[at];
                    if call.settled.is_none() {
                        let owed = call.hold.owed_nano(Settlement::Exact(actual));
                        account.settle_by(turn % 4, call.epoch, call.hold.held_nano(), owed);
                        call.settled = Some(owed);
                    }
                }
                Step::Correct(which, actual) if !calls.is_empty() => {
                    let at = at(which);
                    let call = &mut calls[at];
                    if let Some(before) = call.settled {
                        account.correct(call.epoch, before, actual);
                        call.settled = Some(actual.min(NANO_MAX));
                    }
                }
                Step::Limit(new) => {
                    account.set_limit(new, epoch);
                    limit = new;
                }
                Step::Roll(by) if period != Period::Lifetime => {
                    epoch += by;
                    account.roll_to(epoch);
                }
                _ => {}
            }
            let (held, settled) = used(period, &calls, epoch);
            let is_beyond = match period {
                Period::Lifetime => false,
                Period::Day => held + settled - i128::from(limit) > NANO_MAX.into(),
                _ => settled >= AMOUNT_MASK.into(),
            };
            if is_beyond {
                beyond_until = epoch + if period == Period::Day { 1 } else { BUCKETS };
            }
            if beyond_until <= epoch {
                let standing = account.standing(epoch);
                prop_assert_eq!((i128::from(standing.held_nano), i128::from(standing.settled_nano)), (held, settled));
                prop_assert_eq!(i128::from(room_of(&account)), i128::from(limit) - held - settled);
            }
        }
    }
}

#[test]
fn a_lost_room_stays_lost_whatever_comes_back() {
    for period in [Period::Lifetime, Period::Sliding(Duration::from_secs(8)), Period::Day] {
        let account = Account::new(period, 100, 0);
        let ticket = account.reserve(1, 0).unwrap();
        for _ in 0..2000 {
            account.extend(ticket, NANO_MAX);
        }
        assert!(account.room_word.is_lost(room_of(&account)));
        for call in 0..4000 {
            account.settle_by(call % 4, ticket, NANO_MAX, NANO_MAX + 1 - BLIND_MAX);
            account.settle_by(call % 4, ticket, NANO_MAX, 0);
            account.correct(ticket, NANO_MAX, 0);
            account.settle(ticket, BLIND_MAX - 1, 0);
            assert_eq!(room_of(&account), account.room_word.lost());
            assert!(account.reserve(0, 0).is_err());
            assert!(period != Period::Lifetime || account.reserve_ever_below(0, 1000).is_none());
        }
        account.set_limit(NANO_MAX, 0);
        assert!(account.reserve(0, 0).is_err());
        let standing = account.standing(0);
        assert!(standing.overdraft_nano() >= NANO_MAX && standing.held_nano == 0, "{standing:?}");
        if period != Period::Lifetime {
            let next = account.reserve(NANO_MAX, 1).is_ok();
            assert_eq!(next, period == Period::Day, "a new epoch begins anew");
        }
    }
}

#[test]
fn a_full_bucket_gives_back_what_it_took_when_it_leaves() {
    let account = Account::new(Period::Sliding(Duration::from_secs(8)), 100, 8);
    let ticket = account.reserve(1, 8).unwrap();
    account.settle(ticket, 1, NANO_MAX);
    for _ in 0..5 {
        account.settle(ticket, 0, NANO_MAX);
    }
    for _ in 0..6 {
        account.correct(ticket, NANO_MAX, 50);
    }
    assert!(account.reserve(0, 8).is_err(), "300 of 100 are used");
    assert_eq!(account.standing(16), Standing::new(100));
    assert!(account.reserve(100, 16).is_ok());
}

#[test]
fn a_limit_that_moves_looks_like_no_other_level() {
    let account = Account::new(Period::Lifetime, 1000, 0);
    account.reserve(30, 0).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Plain::Relaxed) {
                    let (used, limit) = account.usage(0, 750).unwrap();
                    assert!(!is_used_to(used, limit, 750), "{used} of {limit}");
                }
            });
        }
        for turn in 0..200_000 {
            account.set_limit([1000, 1_000_000][turn % 2], 0);
        }
        over.store(true, Plain::Relaxed);
    });
}

/// Symptom: who slept for four epochs before it looked took another epoch's book for its own, and could tell of its level.
#[test]
fn a_book_that_was_given_up_tells_no_level() {
    let account = Account::new(Period::Hour, 10, 10);
    account.reserve(9, 10).unwrap();
    account.roll_to(13);
    assert_eq!(account.usage(10, 750), Some((9, 10)), "it is kept for those who come late");
    account.reserve(8, 14).unwrap();
    assert_eq!(account.usage(10, 750), None, "that is the book of 14");
    assert_eq!(account.usage(14, 750), Some((8, 10)));
    let sliding = Account::new(Period::Sliding(Duration::from_secs(8)), 10, 10);
    sliding.reserve(9, 30).unwrap();
    assert_eq!(sliding.usage(10, 750), Some((9, 10)), "it has one book, of all epochs");
}

/// Symptom: while the owner of a change slept, snapshots told the new limit with the old room.
#[test]
fn a_snapshot_waits_for_a_limit_that_is_half_changed() {
    let account = Account::new(Period::Lifetime, 1000, 0);
    account.reserve(8, 0).unwrap();
    thread::scope(|scope| {
        let limit = lock(&account.limit);
        let mut look = None;
        let (begin, has_begun) = std::sync::mpsc::channel();
        account.change(|| {
            account.book(0).limit.store(1_000_000, Ordering::Release);
            // One that can't wait gets nothing, however often it looks.
            assert_eq!(account.try_standing(), None);
            assert_eq!(account.unchanged(|| account.used(0)), None);
            let account = &account;
            look = Some(scope.spawn(move || {
                begin.send(()).unwrap();
                (account.standing(0), account.usage(0, 0))
            }));
            // One that can goes on waiting for the lock. A look that didn't would be over by then, unless its thread sleeps.
            has_begun.recv().unwrap();
            thread::sleep(Duration::from_millis(50));
            assert!(!look.as_ref().is_some_and(thread::ScopedJoinHandle::is_finished));
            account.add_room(0, 1_000_000, 1000);
        });
        drop(limit);
        let (standing, usage) = look.unwrap().join().unwrap();
        assert_eq!((standing.limit_nano, standing.settled_nano, standing.held_nano), (1_000_000, 0, 8));
        assert_eq!(usage, Some((8, 1_000_000)));
    });
}
