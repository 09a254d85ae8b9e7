//! One limit over one period, shared by threads: the ledger's arithmetic on atomic words.
//!
//! - **The authoritative word** is the room: `epoch: 10 | limit − settled − held: 54, signed`. A reservation is one compare-and-swap of
//!   it, and so is a change of the limit: what doesn't fit at that instant is refused, whatever the limit was a moment before. Below zero it is the overdraft.
//! - **Settled** is a second word, `epoch: 10 | settled: 54`, changed after the room when it grows and before it when it shrinks. Held is what remains:
//!   `limit − room − settled`; it is never negative, and between the two steps of a settlement the cost counts as held.
//! - **A snapshot** reads settled, room and settled again, until the two agree and no limit, epoch or correction changed meanwhile: then they were all true
//!   at the moment that room was read.
//! - **Beyond counting**: a room that has fallen below what its word can count is *lost*. It stays so, whatever comes back, until its epoch is over; a room
//!   without epochs, which counts 2^60 nano-units below zero, for good. No sum is cut off at a bound and then made smaller as if it were exact.
//! - **Calendar periods** have four books, the epoch's number modulo 4. Rollover prepares the next one and swaps the epoch; nothing is zeroed under a
//!   settlement that is still to come, which finds its own epoch's book. One that comes more than three epochs late is told as `late`.
//! - **A lifetime** has one book, which nothing replaces: its room carries no epoch, and is all that a reservation looks at. A hold that cost no more than was held is settled by two additions.
//!   Its settled money is the sum of a shared word and of one for each of the lowest seats, which only the thread that has the seat writes.
//! - **Sliding periods** have one room and eight buckets of what was settled; a bucket that leaves the period gives its money back. A hold never leaves
//!   by itself; when it settles, its cost goes to the bucket that it was reserved in.
//!
//! Rollover and changes of the limit take a lock, once an epoch. Assumed: no thread sleeps between two neighbouring instructions for a multiple of exactly 1024 epochs.

use crate::ledger::{NANO_MAX, Shortage, Standing, reserve_from, room_after};
use crate::period::Period;
use crate::sync::{AtomicU64, Mutex, Ordering, lock, wait_a_moment};

/// Books of a calendar period that are kept for late settlements.
const BOOKS: u64 = 4;
/// Buckets of a sliding period. The period is exact to an eighth.
const BUCKETS: u64 = 8;

/// Seats that settle a lifetime's money in words of their own.
const SEATS: u64 = 3;

/// Looks at an account that keeps changing, before its limits and epochs are kept still for the next ones.
const FREE_LOOKS: usize = 100;
/// Looks while they are still, until sums of two moments are good enough.
const LOCKED_LOOKS: usize = 1000;

/// Changes of more than one word, as one number: how many began, and in the lower bits how many of them go on.
const CHANGES_LIVE_BITS: u32 = 22;
const CHANGES_LIVE: u64 = (1 << CHANGES_LIVE_BITS) - 1;

/// A lifetime's settlement that gives back less than this does so by an addition that looks at nothing first: what all threads of a machine add to
/// a lost room at the same moment, before they see that it is lost, stays far below what would open it.
const BLIND_MAX: u64 = 1 << 40;

const AMOUNT_BITS: u32 = 54;
const AMOUNT_MASK: u64 = (1 << AMOUNT_BITS) - 1;
const TAG_MASK: u64 = (1 << (64 - AMOUNT_BITS)) - 1;

fn tagged(epoch: u64, amount: u64) -> u64 {
    (epoch & TAG_MASK) << AMOUNT_BITS | amount & AMOUNT_MASK
}

fn tag_of(word: u64) -> u64 {
    word >> AMOUNT_BITS
}

fn amount_of(word: u64) -> u64 {
    word & AMOUNT_MASK
}

/// A room's word, `epoch: 10 | room: 54`; or, where one room is there for ever, the room alone, to which can be added without a look at it.
#[derive(Clone, Copy)]
struct RoomWord {
    tag_bits: u32,
}

impl RoomWord {
    const TAGGED: Self = Self { tag_bits: 64 - AMOUNT_BITS };
    const ALONE: Self = Self { tag_bits: 0 };

    fn of(self, epoch: u64, room: i64) -> u64 {
        if self.tag_bits == 0 { room as u64 } else { tagged(epoch, room as u64) }
    }

    fn is_of(self, word: u64, epoch: u64) -> bool {
        self.tag_bits == 0 || tag_of(word) == epoch & TAG_MASK
    }

    fn room(self, word: u64) -> i64 {
        ((word << self.tag_bits) as i64) >> self.tag_bits
    }

    /// A room below it is lost.
    fn lost_below(self) -> i64 {
        if self.tag_bits == 0 { -(1 << 60) } else { -(NANO_MAX as i64) }
    }

    /// What is put in place of a lost room. One to which can be added unseen lies far below.
    fn lost(self) -> i64 {
        if self.tag_bits == 0 { -(7 << 60) } else { -(NANO_MAX as i64) - 1 }
    }

    fn is_lost(self, room: i64) -> bool {
        room < self.lost_below()
    }

    /// What remains of `room` when `plus` comes back and `minus` goes.
    fn after(self, room: i64, plus: u64, minus: u64) -> i64 {
        let after = room_after(room, plus, minus);
        if self.is_lost(room) || self.is_lost(after) { self.lost() } else { after }
    }
}

/// What may be spent in one epoch, and what is left of it.
struct Book {
    room: AtomicU64,
    limit: AtomicU64,
}

/// Why a book's room wasn't taken.
enum NotTaken {
    Short(Shortage),
    /// The book is of another epoch by now.
    RolledOn,
}

impl Book {
    /// Takes `amount` of the room in `epoch`, if it fits and `may` says so of the room that there is. The one place where something is reserved.
    #[inline(always)]
    fn take(
        &self,
        word: RoomWord,
        epoch: u64,
        amount: u64,
        may: impl Fn(&Self, i64) -> bool,
    ) -> Result<(), NotTaken> {
        let mut seen = self.room.load(Ordering::Acquire);
        loop {
            if !word.is_of(seen, epoch) {
                return Err(NotTaken::RolledOn);
            }
            let room = word.room(seen);
            let left = reserve_from(room, amount).filter(|_| may(self, room));
            let Some(left) = left else {
                let available_nano = room.max(0) as u64;
                return Err(NotTaken::Short(Shortage { needed_nano: amount, available_nano }));
            };
            let next = word.of(epoch, left);
            // AcqRel: partner of the other changes of this word; its order is the order of reservations.
            match self.room.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Whether less than `permille` parts of a thousand of the limit are used while there is `room`.
    #[inline]
    fn is_below(&self, room: i64, permille: u64) -> bool {
        // Relaxed: a guess while the limit changes. If the use seems too high, the call goes the long way, where `usage` looks again.
        let limit = self.limit.load(Ordering::Relaxed);
        !is_used_to(limit.saturating_sub(room.max(0) as u64), limit, permille)
    }
}

/// What one epoch, or one bucket of a sliding period, has settled.
struct Settled {
    nano: AtomicU64,
    epoch: AtomicU64,
}

/// A power of two of things, by number modulo their count. The first lies where they all are: a lifetime's only one costs no further look.
struct Slots<T> {
    first: T,
    more: Box<[T]>,
}

impl<T> Slots<T> {
    fn new(count: u64, make: impl Fn() -> T) -> Self {
        Self { first: make(), more: (1..count).map(|_| make()).collect() }
    }

    #[inline]
    fn of(&self, number: u64) -> &T {
        // The length of the others is one less than a power of two: no division.
        match number as usize & self.more.len() {
            0 => &self.first,
            at => &self.more[at - 1],
        }
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// One limit over one period.
pub(crate) struct Account {
    period: Period,
    room_word: RoomWord,
    books: Slots<Book>,
    settled: Slots<Settled>,
    /// The epoch that reservations are made in; never goes back.
    epoch: AtomicU64,
    /// Changes of more than one word: rollovers, limits and corrections.
    changes: AtomicU64,
    /// Of the epochs to come.
    limit: Mutex<u64>,
    /// Settled after its epoch's book was given up.
    late: AtomicU64,
}

impl Account {
    /// An account that begins in `epoch`; `limit_nano` is at most [`NANO_MAX`].
    pub(crate) fn new(period: Period, limit_nano: u64, epoch: u64) -> Self {
        let (books, buckets) = match period {
            Period::Lifetime => (1, 1 + SEATS),
            Period::Sliding(_) => (1, BUCKETS),
            _ => (BOOKS, BOOKS),
        };
        // A tag that no present epoch has, so that only `epoch`'s own book is open.
        let other = epoch.wrapping_sub(1);
        let room_word = if books == 1 { RoomWord::ALONE } else { RoomWord::TAGGED };
        let account = Self {
            period,
            room_word,
            books: Slots::new(books, || Book {
                room: AtomicU64::new(room_word.of(other, 0)),
                limit: AtomicU64::new(limit_nano),
            }),
            settled: Slots::new(buckets, || Settled {
                nano: AtomicU64::new(if period == Period::Lifetime { 0 } else { tagged(other, 0) }),
                epoch: AtomicU64::new(u64::MAX),
            }),
            epoch: AtomicU64::new(epoch),
            changes: AtomicU64::new(0),
            limit: Mutex::new(limit_nano),
            late: AtomicU64::new(0),
        };
        account.open_book(epoch, limit_nano);
        if account.is_sliding() {
            // All buckets are in the period and empty.
            for back in 0..BUCKETS {
                account.open_bucket(epoch.saturating_sub(back));
            }
        }
        account
    }

    pub(crate) fn period(&self) -> Period {
        self.period
    }

    fn is_sliding(&self) -> bool {
        matches!(self.period, Period::Sliding(_))
    }

    #[inline]
    fn book(&self, epoch: u64) -> &Book {
        self.books.of(epoch)
    }

    fn bucket(&self, epoch: u64) -> &Settled {
        self.settled.of(epoch)
    }

    /// The epoch after a look at the clock's: never an earlier one than before.
    #[inline]
    pub(crate) fn roll_to(&self, epoch: u64) -> u64 {
        // Acquire: partner of the store in `roll`, after which the epoch's book is open.
        let present = self.epoch.load(Ordering::Acquire);
        if epoch <= present { present } else { self.roll(epoch) }
    }

    #[cold]
    fn roll(&self, epoch: u64) -> u64 {
        let limit = lock(&self.limit);
        let present = self.epoch.load(Ordering::Acquire);
        if epoch <= present {
            return present;
        }
        self.change(|| {
            if self.is_sliding() {
                for later in (present + 1).max(epoch.saturating_sub(BUCKETS - 1))..=epoch {
                    self.open_bucket(later);
                }
            } else {
                self.open_book(epoch, *limit);
            }
            self.epoch.store(epoch, Ordering::Release);
        });
        epoch
    }

    /// Runs `change` so that a snapshot sees all of it or nothing.
    fn change(&self, change: impl FnOnce()) {
        // AcqRel, both: partners of the looks at it in `unchanged`. Whoever sees a part of the change sees that it began.
        self.changes.fetch_add((1 << CHANGES_LIVE_BITS) + 1, Ordering::AcqRel);
        change();
        self.changes.fetch_sub(1, Ordering::AcqRel);
    }

    /// What `look` saw, if no change of more than one word was beside it.
    fn unchanged<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        let before = self.changes.load(Ordering::Acquire);
        if before & CHANGES_LIVE != 0 {
            return None;
        }
        let seen = look();
        (self.changes.load(Ordering::Acquire) == before).then_some(seen)
    }

    /// Swaps a calendar period's oldest book for a new one. The room comes last: from then on reservations find it. Swaps, as every change of
    /// these words is a read-modify-write: a late settlement comes before or after, never over it.
    fn open_book(&self, epoch: u64, limit: u64) {
        let (book, settled) = (self.book(epoch), self.bucket(epoch));
        settled.epoch.store(epoch, Ordering::Release);
        settled.nano.swap(tagged(epoch, 0), Ordering::AcqRel);
        book.limit.store(limit, Ordering::Release);
        book.room.swap(self.room_word.of(epoch, limit as i64), Ordering::AcqRel);
    }

    /// Swaps a sliding period's oldest bucket for a new one, whose money is free again.
    fn open_bucket(&self, epoch: u64) {
        let bucket = self.bucket(epoch);
        bucket.epoch.store(epoch, Ordering::Release);
        let gone = amount_of(bucket.nano.swap(tagged(epoch, 0), Ordering::AcqRel));
        self.add_room(epoch, gone, 0);
    }

    /// Holds `amount` in the present epoch, which `epoch` may move on. Gives the epoch; a refusal tells in which one it was, which others may have begun since.
    #[inline]
    pub(crate) fn reserve_or_tell(&self, amount: u64, epoch: u64) -> Result<u64, (Shortage, u64)> {
        self.reserve_where(amount, epoch, |_, _| true)
    }

    /// As [`Self::reserve_or_tell`], without the refusal's epoch.
    #[cfg(test)]
    pub(crate) fn reserve(&self, amount: u64, epoch: u64) -> Result<u64, Shortage> {
        self.reserve_or_tell(amount, epoch).map_err(|(shortage, _)| shortage)
    }

    /// As [`Self::reserve_or_tell`], while less than `permille` parts of a thousand of the limit are used before it; nothing is held otherwise.
    #[inline(always)]
    pub(crate) fn reserve_below(&self, amount: u64, epoch: u64, permille: u64) -> Option<u64> {
        self.reserve_where(amount, epoch, |book, room| book.is_below(room, permille)).ok()
    }

    /// As [`Self::reserve_below`], for a lifetime: nothing has to be known but the room.
    #[inline(always)]
    pub(crate) fn reserve_ever_below(&self, amount: u64, permille: u64) -> Option<u64> {
        let epoch = 0;
        let is_below = |book: &Book, room: i64| book.is_below(room, permille);
        self.books.first.take(RoomWord::ALONE, epoch, amount, is_below).ok().map(|()| epoch)
    }

    /// Holds `amount` if `may` says so of the room that there is in a book.
    #[inline(always)]
    fn reserve_where(
        &self,
        amount: u64,
        epoch: u64,
        may: impl Fn(&Book, i64) -> bool,
    ) -> Result<u64, (Shortage, u64)> {
        let mut epoch = self.roll_to(epoch);
        loop {
            match self.book(epoch).take(self.room_word, epoch, amount, &may) {
                Ok(()) => return Ok(epoch),
                Err(NotTaken::Short(shortage)) => return Err((shortage, epoch)),
                Err(NotTaken::RolledOn) => {
                    epoch = self.epoch.load(Ordering::Acquire);
                    wait_a_moment();
                }
            }
        }
    }

    /// Ends a hold that was made in `epoch` and cost `actual`.
    #[inline]
    pub(crate) fn settle(&self, epoch: u64, held: u64, actual: u64) {
        if is_blind(held, actual) && self.period == Period::Lifetime {
            self.settle_within(held, actual);
        } else {
            self.settle_in_epoch(epoch, held, actual);
        }
    }

    #[inline(never)]
    fn settle_in_epoch(&self, epoch: u64, held: u64, actual: u64) {
        let (held, actual) = (held.min(NANO_MAX), actual.min(NANO_MAX));
        if !self.add_room(epoch, held, actual) {
            return self.note_late(actual);
        }
        if actual == 0 {
            return;
        }
        match self.add_settled(epoch, actual) {
            Some(0) => {}
            // A full bucket stays full until it leaves, and then gives back what is in it: no more may be gone from the room.
            Some(excess) => {
                self.add_room(epoch, excess, 0);
            }
            None => self.missed(epoch, actual),
        }
    }

    /// As [`Self::settle`], by the thread that has `seat`.
    #[inline]
    pub(crate) fn settle_by(&self, seat: usize, epoch: u64, held: u64, actual: u64) {
        match self.settled.more.get(seat) {
            Some(own) if is_blind(held, actual) && self.period == Period::Lifetime => {
                // As in `settle_within`; but nobody else writes this word, so a load and a store are enough.
                let before = own.nano.load(Ordering::Relaxed);
                if held > actual {
                    self.give_back(held - actual);
                }
                // Release: partner of the looks at it in `settled_now`. Whoever sees the cost settled sees the room that it left.
                own.nano.store(before.wrapping_add(actual), Ordering::Release);
            }
            _ => self.settle(epoch, held, actual),
        }
    }

    /// Ends a hold of the one epoch that there is, which cost no more than was held: nothing can be violated, nothing has to be looked at first.
    #[inline]
    fn settle_within(&self, held: u64, actual: u64) {
        // AcqRel, both: partners of the looks at them in `try_standing`. The room first: in between the cost counts as held.
        if held > actual {
            self.give_back(held - actual);
        }
        if actual > 0 {
            self.settled.first.nano.fetch_add(actual, Ordering::AcqRel);
        }
    }

    /// Adds to a lifetime's room less than [`BLIND_MAX`], and takes it away again if the room is lost.
    #[inline]
    fn give_back(&self, amount: u64) {
        let room = &self.books.first.room;
        let before = room.fetch_add(amount, Ordering::AcqRel) as i64;
        if RoomWord::ALONE.is_lost(before) {
            // Whoever else changes a lost room leaves it at the same.
            room.swap(RoomWord::ALONE.lost() as u64, Ordering::AcqRel);
        }
    }

    /// Holds `amount` more, free or not: money that is being spent anyway.
    pub(crate) fn extend(&self, epoch: u64, amount: u64) {
        self.add_room(epoch, 0, amount.min(NANO_MAX));
    }

    /// What was settled in `epoch` as `before` was really `after`.
    pub(crate) fn correct(&self, epoch: u64, before: u64, after: u64) {
        let (before, after) = (before.min(NANO_MAX), after.min(NANO_MAX));
        if after >= before {
            return self.settle(epoch, 0, after - before);
        }
        // A change, for settled comes back to what it was if another call settles as much. It shrinks before the room grows: what is held never seems negative.
        self.change(|| {
            if let Some(taken) = self.take_settled(epoch, before - after) {
                self.add_room(epoch, taken, 0);
            }
        });
    }

    /// `actual` has no bucket any more.
    fn missed(&self, epoch: u64, actual: u64) {
        if self.is_sliding() {
            // It left the period, and its money with it.
            self.add_room(epoch, actual, 0);
        }
        self.note_late(actual);
    }

    fn note_late(&self, actual: u64) {
        if actual > 0 {
            // Relaxed: a statistic.
            self.late.fetch_add(actual, Ordering::Relaxed);
        }
    }

    /// Room plus `plus` less `minus`; false if `epoch`'s book was given up.
    #[inline]
    fn add_room(&self, epoch: u64, plus: u64, minus: u64) -> bool {
        let word = self.room_word;
        if !self.is_sliding() && self.bucket(epoch).epoch.load(Ordering::Acquire) != epoch {
            return false;
        }
        let room = &self.book(epoch).room;
        let mut seen = room.load(Ordering::Relaxed);
        if plus == minus && !self.is_sliding() {
            // Nothing to change; what is settled in a book that was given up meanwhile is found out there.
            return word.is_of(seen, epoch);
        }
        while word.is_of(seen, epoch) {
            let next = word.of(epoch, word.after(word.room(seen), plus, minus));
            match room.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Settled plus `amount`. Gives how much of it the word couldn't count, from which on it stays as it is; nothing if `epoch` was given up.
    #[inline]
    fn add_settled(&self, epoch: u64, amount: u64) -> Option<u64> {
        let (before, after) = self.change_settled(epoch, amount, |seen| (seen + amount).min(AMOUNT_MASK))?;
        Some(amount - after.wrapping_sub(before))
    }

    /// Settled less `amount`. Gives by how much it is less; nothing if `epoch` was given up.
    fn take_settled(&self, epoch: u64, amount: u64) -> Option<u64> {
        let less = |seen: u64| if seen == AMOUNT_MASK { seen } else { seen.saturating_sub(amount) };
        let (before, after) = self.change_settled(epoch, amount.wrapping_neg(), less)?;
        Some(before.wrapping_sub(after))
    }

    /// Settled before and after it became `next` of it. A lifetime's, which only the sum of all words tells, is changed `by` that much in the shared word, round
    /// the end of the numbers: it goes below zero when what a seat has settled is corrected.
    #[inline]
    fn change_settled(&self, epoch: u64, by: u64, next: impl Fn(u64) -> u64) -> Option<(u64, u64)> {
        let bucket = self.bucket(epoch);
        if bucket.epoch.load(Ordering::Acquire) != epoch {
            return None;
        }
        if self.period == Period::Lifetime {
            // No look at the other words, which might be older than this one: while the room isn't lost, the sum is below 2^61.
            let before = self.settled.first.nano.fetch_add(by, Ordering::AcqRel);
            return Some((before, before.wrapping_add(by)));
        }
        let mut seen = bucket.nano.load(Ordering::Relaxed);
        while tag_of(seen) == epoch & TAG_MASK {
            let (before, after) = (amount_of(seen), next(amount_of(seen)));
            let word = tagged(epoch, after);
            match bucket.nano.compare_exchange_weak(seen, word, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some((before, after)),
                Err(now) => seen = now,
            }
        }
        None
    }

    fn settled_by_seats(&self) -> u64 {
        let all = self.settled.more.iter().map(|own| own.nano.load(Ordering::Acquire));
        all.fold(0, u64::wrapping_add)
    }

    /// Changes the limit of the present epoch and those to come. One below what is used leaves an overdraft.
    pub(crate) fn set_limit(&self, limit_nano: u64, epoch: u64) {
        self.roll_to(epoch);
        let mut limit = lock(&self.limit);
        let epoch = self.epoch.load(Ordering::Acquire);
        let book = self.book(epoch);
        let before = book.limit.load(Ordering::Acquire);
        self.change(|| {
            // In this order `is_below` may see too much used meanwhile, and never too little.
            if limit_nano > before {
                book.limit.store(limit_nano, Ordering::Release);
            }
            self.add_room(epoch, limit_nano, before);
            book.limit.store(limit_nano, Ordering::Release);
        });
        *limit = limit_nano;
    }

    /// What all of it was at one moment, in the present epoch, which `epoch` may move on. It balances always. It is of one moment
    /// unless others settled, or corrected, at each of a thousand looks: then settled may be of a moment before the rest.
    pub(crate) fn standing(&self, epoch: u64) -> Standing {
        self.roll_to(epoch);
        for _ in 0..FREE_LOOKS {
            if let Some(standing) = self.try_standing() {
                return standing;
            }
            wait_a_moment();
        }
        self.standing_locked()
    }

    /// As [`Self::standing`], while no limit and no epoch changes: whoever is about to change one isn't waited for in vain.
    #[cold]
    fn standing_locked(&self) -> Standing {
        let _limit = lock(&self.limit);
        for _ in 0..LOCKED_LOOKS {
            if let Some(standing) = self.try_standing() {
                return standing;
            }
            give_way();
        }
        self.rough_standing()
    }

    /// Sums that balance, though settled and room may be of two moments. The caller has the lock: limit and room belong together.
    fn rough_standing(&self) -> Standing {
        let epoch = self.epoch.load(Ordering::Acquire);
        // A sum of several words may seem below zero.
        let settled = u64::try_from(self.settled_now(epoch) as i64).unwrap_or(0);
        let (used, limit_nano) = self.used(epoch);
        let used = u64::try_from(used).unwrap_or(0);
        Standing { limit_nano, settled_nano: settled.min(used), held_nano: used.saturating_sub(settled) }
    }

    /// Nothing if something moved meanwhile.
    fn try_standing(&self) -> Option<Standing> {
        let look = || {
            let epoch = self.epoch.load(Ordering::Acquire);
            let settled = self.settled_now(epoch);
            let (used, limit_nano) = self.used(epoch);
            (self.settled_now(epoch) == settled).then_some((settled, used, limit_nano))
        };
        let (settled, used, limit_nano) = self.unchanged(look)??;
        let used_nano = u64::try_from(used).ok()?;
        if self.room_word.is_lost(limit_nano as i64 - used) {
            // What can't be counted any more can't be told apart either.
            return Some(Standing { limit_nano, settled_nano: used_nano, held_nano: 0 });
        }
        Some(Standing { limit_nano, settled_nano: settled, held_nano: used_nano.checked_sub(settled)? })
    }

    /// Settled and held, and the limit, which is read first.
    #[inline]
    fn used(&self, epoch: u64) -> (i64, u64) {
        let book = self.book(epoch);
        let limit_nano = book.limit.load(Ordering::Acquire);
        let room = self.room_word.room(book.room.load(Ordering::Acquire));
        (limit_nano as i64 - room, limit_nano)
    }

    fn settled_now(&self, epoch: u64) -> u64 {
        let amount = |bucket: &Settled| amount_of(bucket.nano.load(Ordering::Acquire));
        match self.period {
            Period::Lifetime => {
                self.settled_by_seats().wrapping_add(self.settled.first.nano.load(Ordering::Acquire))
            }
            Period::Sliding(_) => self.settled.iter().map(amount).sum(),
            _ => amount(self.bucket(epoch)),
        }
    }

    /// Settled and held, at most the limit, and the limit, in `epoch`, which was the present one. From `permille` parts of a thousand of it on they are of one moment; below that a guess
    /// while the limit changes. Nothing if `epoch`'s book was given up meanwhile: how far it was used nobody knows any more.
    #[inline]
    pub(crate) fn usage(&self, epoch: u64, permille: u64) -> Option<(u64, u64)> {
        let bounded = |(used, limit): (i64, u64)| (used.clamp(0, limit as i64) as u64, limit);
        let (used, limit) = bounded(self.used(epoch));
        // A limit and the room of another one may look like any use: one that is told, or sheds a call, is looked at again.
        // So is another epoch's book, which may look like that as well.
        if is_used_to(used, limit, permille) {
            self.used_at_once(epoch).map(bounded)
        } else {
            Some((used, limit))
        }
    }

    /// As [`Self::used`], both of one moment; nothing if the book is another epoch's by now.
    #[inline(never)]
    fn used_at_once(&self, epoch: u64) -> Option<(i64, u64)> {
        let look = || {
            let room = self.book(epoch).room.load(Ordering::Acquire);
            self.room_word.is_of(room, epoch).then(|| self.used(epoch))
        };
        for _ in 0..FREE_LOOKS {
            if let Some(used) = self.unchanged(look) {
                return used;
            }
            wait_a_moment();
        }
        let _limit = lock(&self.limit);
        look()
    }

    /// What was settled after its epoch's book, or its bucket, was given up, in nano-units.
    pub(crate) fn late_nano(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

/// Lets other threads run.
fn give_way() {
    #[cfg(not(steadfast_loom))]
    std::thread::yield_now();
    #[cfg(steadfast_loom)]
    wait_a_moment();
}

/// Whether a lifetime's settlement needs no look at what is there: it costs no more than was held, and gives little back.
#[inline]
fn is_blind(held: u64, actual: u64) -> bool {
    debug_assert!(actual <= NANO_MAX, "what a call owes is bounded");
    // More than was held is round the end of the numbers.
    held.wrapping_sub(actual) < BLIND_MAX
}

/// Whether `used` is at least `permille` parts of a thousand of `limit`. A limit of 0 is used up.
#[inline]
pub(crate) fn is_used_to(used: u64, limit: u64, permille: u64) -> bool {
    // Below 2^53 times 1000: this can't overflow.
    used * 1000 >= limit * permille
}

/// Amounts of accounts never reach beyond their words: the highest limit, and what is used while a room isn't lost.
const _: () = assert!(NANO_MAX < 1 << (AMOUNT_BITS - 1) && 2 * NANO_MAX < AMOUNT_MASK);
/// However many threads give back at once, a lost room stays lost: there are fewer than 2^22 on a machine.
const _: () = assert!((BLIND_MAX as i64) << 22 < 6 << 60);

#[cfg(all(test, steadfast_loom))]
mod loom_models;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;
