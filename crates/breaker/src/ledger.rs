//! The arithmetic of budgets: pure values, no clock, no atomics, no I/O.
//!
//! Money is whole nano-units (10⁻⁹ of whatever is counted: dollars, tokens, calls). In every [`Standing`]:
//!
//! `settled + held + free − overdraft = limit`, where `free` and `overdraft` are never both above zero.
//!
//! - **reserve** moves free money to held, whole or not at all;
//! - **settle** turns a hold into what the call really cost: less gives the rest back, more is overdraft where nothing is free;
//! - **correct** changes what was settled, when a bill comes later.
//!
//! A [`Hold`] knows what an unfinished call owes at any moment; [`Books`] keep one standing a window and let a settlement land in the
//! window that it was reserved from. The breaker's atomic accounts do the same sums on one word.

use std::collections::VecDeque;
use std::fmt;

/// The highest limit, and the highest amount of one call: 2^53 − 1 nano-units, about nine million units.
pub const NANO_MAX: u64 = (1 << 53) - 1;
/// Nano-units in a unit.
pub const NANO_PER_UNIT: u64 = 1_000_000_000;

/// The epochs that [`Books`] keep open for settlements that come late.
const EPOCHS_OPEN: usize = 4;

/// Why a reservation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What was asked for, in nano-units.
    pub needed_nano: u64,
    /// What was free, in nano-units.
    pub available_nano: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nano-units needed, {} free", self.needed_nano, self.available_nano)
    }
}

impl std::error::Error for Shortage {}

/// One limit and what became of it, in nano-units. Any amount above [`NANO_MAX`] is taken for that; a sum that reaches `u64::MAX` is beyond counting,
/// and stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What may be spent.
    pub limit_nano: u64,
    /// What calls that ended have cost.
    pub settled_nano: u64,
    /// What calls that run have reserved.
    pub held_nano: u64,
}

impl Standing {
    /// Nothing spent of `limit_nano`, which is at most [`NANO_MAX`]: more is taken for that.
    pub fn new(limit_nano: u64) -> Self {
        Self { limit_nano: limit_nano.min(NANO_MAX), settled_nano: 0, held_nano: 0 }
    }

    /// Settled and held together.
    pub fn used_nano(&self) -> u64 {
        self.settled_nano.saturating_add(self.held_nano)
    }

    /// What may still be reserved.
    pub fn free_nano(&self) -> u64 {
        self.limit_nano.saturating_sub(self.used_nano())
    }

    /// What was used over the limit: calls that cost more than they had reserved, or a limit that was lowered.
    pub fn overdraft_nano(&self) -> u64 {
        self.used_nano().saturating_sub(self.limit_nano)
    }

    /// Whether `settled + held + free − overdraft = limit`.
    pub fn balances(&self) -> bool {
        let plus = u128::from(self.used_nano()) + u128::from(self.free_nano());
        plus == u128::from(self.limit_nano) + u128::from(self.overdraft_nano())
    }

    /// Holds `amount_nano`.
    ///
    /// # Errors
    /// When less is free; nothing is changed. Even an amount of 0 is refused while there is an overdraft.
    pub fn reserve(&mut self, amount_nano: u64) -> Result<(), Shortage> {
        let shortage = Shortage { needed_nano: amount_nano, available_nano: self.free_nano() };
        if reserve_from(self.room(), amount_nano).is_none() {
            return Err(shortage);
        }
        self.held_nano += amount_nano;
        Ok(())
    }

    /// Holds `amount_nano` though it may not be free: money that is being spent anyway.
    pub fn extend(&mut self, amount_nano: u64) {
        self.held_nano = more(self.held_nano, amount_nano);
    }

    /// Ends a hold of `held_nano` that cost `actual_nano`; 0 releases it. More than is held is taken for all that is held.
    pub fn settle(&mut self, held_nano: u64, actual_nano: u64) {
        self.held_nano = less(self.held_nano, held_nano);
        self.settled_nano = more(self.settled_nano, actual_nano);
    }

    /// What was settled as `before_nano` was really `after_nano`.
    pub fn correct(&mut self, before_nano: u64, after_nano: u64) {
        self.settled_nano = more(less(self.settled_nano, before_nano), after_nano);
    }

    /// Changes the limit; one below what is used leaves an overdraft.
    pub fn set_limit(&mut self, limit_nano: u64) {
        self.limit_nano = limit_nano.min(NANO_MAX);
    }

    fn room(&self) -> i64 {
        self.limit_nano as i64 - self.used_nano().min(2 * NANO_MAX) as i64
    }
}

/// `a + b`, at most [`NANO_MAX`]: what one call costs.
fn add_bounded(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(NANO_MAX)
}

/// A sum and one amount more.
fn more(sum: u64, amount: u64) -> u64 {
    sum.saturating_add(amount.min(NANO_MAX))
}

/// A sum and one amount less, at least 0. Nobody knows what remains of one that is beyond counting.
fn less(sum: u64, amount: u64) -> u64 {
    if sum == u64::MAX { sum } else { sum.saturating_sub(amount.min(NANO_MAX)) }
}

/// What remains of `room` (limit less settled less held) when `amount` of it is held; nothing if it doesn't fit whole.
#[inline]
pub(crate) fn reserve_from(room: i64, amount: u64) -> Option<i64> {
    let left = room.checked_sub(i64::try_from(amount).ok()?)?;
    (room >= 0 && left >= 0).then_some(left)
}

/// What remains of `room` when a hold ends: the hold comes back, its cost goes. Both are at most a few times [`NANO_MAX`].
#[inline]
pub(crate) fn room_after(room: i64, held: u64, actual: u64) -> i64 {
    room.saturating_add(held as i64 - actual as i64).min(NANO_MAX as i64)
}

/// What is known of a call's cost at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It cost this many nano-units.
    Exact(u64),
    /// It cost no less than this: the highest of this, the hold and what was charged is settled.
    AtLeast(u64),
    /// Nobody knows: the higher of the hold and what was charged is settled if the call was dispatched, nothing otherwise.
    Unknown,
}

/// What one call has reserved, and what it owes should it end now. It is dropped in two phases: before it is dispatched it owes
/// nothing, afterwards what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    held_nano: u64,
    charged_nano: u64,
    dispatched: bool,
}

impl Hold {
    /// A hold of `held_nano`, at most [`NANO_MAX`], that isn't dispatched.
    #[inline]
    pub fn new(held_nano: u64) -> Self {
        Self { held_nano: held_nano.min(NANO_MAX), charged_nano: 0, dispatched: false }
    }

    /// What is held, in nano-units.
    #[inline]
    pub fn held_nano(&self) -> u64 {
        self.held_nano
    }

    /// What was charged so far, in nano-units.
    pub fn charged_nano(&self) -> u64 {
        self.charged_nano
    }

    /// Whether the call went out.
    pub fn is_dispatched(&self) -> bool {
        self.dispatched
    }

    /// The call goes out: from now on it costs money, whatever becomes of it.
    #[inline]
    pub fn dispatch(&mut self) {
        self.dispatched = true;
    }

    /// Adds to what the call has cost so far, as a stream does; that also dispatches it. Gives by how much the hold had to grow: the part that it didn't cover.
    #[must_use = "what the hold grew by must be reserved too"]
    pub fn charge(&mut self, delta_nano: u64) -> u64 {
        self.dispatched = true;
        self.charged_nano = add_bounded(self.charged_nano, delta_nano);
        let grown = self.charged_nano.saturating_sub(self.held_nano);
        self.held_nano += grown;
        grown
    }

    /// What the call costs if it ends like this.
    #[inline]
    pub fn owed_nano(&self, settlement: Settlement) -> u64 {
        match settlement {
            Settlement::Exact(actual) => actual.min(NANO_MAX),
            Settlement::AtLeast(floor) => floor.min(NANO_MAX).max(self.held_nano).max(self.charged_nano),
            Settlement::Unknown if self.dispatched => self.held_nano.max(self.charged_nano),
            Settlement::Unknown => 0,
        }
    }
}

/// Where a reservation was made: what its settlement needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The epoch that it was made in.
    pub epoch: u64,
    /// What it holds, in nano-units.
    pub held_nano: u64,
}

/// The standings of one limit, a window after the other.
///
/// Rollover opens a new standing and leaves the older ones as they are, so that a settlement lands where it was reserved. The
/// last four are kept; what is settled even later is told by [`Books::late_nano`].
#[derive(Clone, Debug)]
pub struct Books {
    limit_nano: u64,
    open: VecDeque<(u64, Standing)>,
    late_nano: u64,
}

impl Books {
    /// Books that begin in `epoch`.
    pub fn new(limit_nano: u64, epoch: u64) -> Self {
        let open = VecDeque::from([(epoch, Standing::new(limit_nano))]);
        Self { limit_nano: limit_nano.min(NANO_MAX), open, late_nano: 0 }
    }

    /// The present epoch. It never goes back, whatever the clock does.
    pub fn epoch(&self) -> u64 {
        self.open.back().map_or(0, |&(epoch, _)| epoch)
    }

    /// Goes on to `epoch`, if that is later.
    pub fn roll_to(&mut self, epoch: u64) {
        if epoch <= self.epoch() {
            return;
        }
        self.open.push_back((epoch, Standing::new(self.limit_nano)));
        if self.open.len() > EPOCHS_OPEN {
            self.open.pop_front();
        }
    }

    /// The standing of `epoch`, while it is kept.
    pub fn standing(&self, epoch: u64) -> Option<Standing> {
        self.open.iter().find(|(known, _)| *known == epoch).map(|&(_, standing)| standing)
    }

    /// Holds `amount_nano` in the epoch that `epoch` rolls to.
    ///
    /// # Errors
    /// When less is free.
    pub fn reserve(&mut self, amount_nano: u64, epoch: u64) -> Result<Reservation, Shortage> {
        self.roll_to(epoch);
        let epoch = self.epoch();
        if let Some((_, standing)) = self.open.back_mut() {
            standing.reserve(amount_nano)?;
        }
        Ok(Reservation { epoch, held_nano: amount_nano })
    }

    /// Settles `reservation` in its own epoch.
    pub fn settle(&mut self, reservation: Reservation, actual_nano: u64) {
        let own = self.open.iter_mut().find(|(epoch, _)| *epoch == reservation.epoch);
        match own {
            Some((_, standing)) => standing.settle(reservation.held_nano, actual_nano),
            None => self.late_nano = more(self.late_nano, actual_nano),
        }
    }

    /// Changes the limit of the present epoch and those to come.
    pub fn set_limit(&mut self, limit_nano: u64) {
        self.limit_nano = limit_nano.min(NANO_MAX);
        if let Some((_, standing)) = self.open.back_mut() {
            standing.set_limit(limit_nano);
        }
    }

    /// What was settled after its epoch's standing was given up.
    pub fn late_nano(&self) -> u64 {
        self.late_nano
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests;
