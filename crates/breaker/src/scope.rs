//! Scopes: who pays. A scope has limits over periods; a call is held in all limits of all its scopes, or in none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::{Account, is_used_to};
use crate::clock::{Clock, Moment};
use crate::config::{InvalidConfig, ensure, ppm};
use crate::events::{Level, shielded};
use crate::ledger::{NANO_MAX, Shortage, Standing};
use crate::period::Period;
use crate::tickets::Tickets;

/// The limits of one scope, at most.
pub const LIMITS_MAX: usize = 4;

/// What to do with a call whose cost nobody knows, or whose ledger can't be reached. It is never free unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknown {
    /// Refuse it.
    FailClosed,
    /// Let it pass. An unknown price is held as `assumed_nano`, from 1; with an unreachable ledger the cost is told as
    /// [`Stats::unledgered_nano`](crate::Stats::unledgered_nano).
    FailOpen {
        /// What an unpriced call is taken to cost, in nano-units.
        assumed_nano: u64,
    },
}

/// Why a [`Ledger`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerError {
    /// There isn't enough.
    Short(Shortage),
    /// It can't be reached: nobody knows.
    Unavailable,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(shortage) => shortage.fmt(f),
            Self::Unavailable => f.write_str("the ledger can't be reached"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// A ledger that is kept elsewhere, in a database for instance, as one limit of a scope.
///
/// Its contract is that of [`ledger`](crate::ledger): whole reservations or none, each settled once by its ticket, in the window that it was
/// made in. Called on the caller's thread: it should answer at once, from memory if it can.
pub trait Ledger: Send + Sync {
    /// Holds `amount_nano` and gives a ticket for it, below `u64::MAX`. One from 2^32 on costs the call an allocation.
    ///
    /// # Errors
    /// When there isn't enough, or nobody knows.
    fn reserve(&self, amount_nano: u64) -> Result<u64, LedgerError>;
    /// Holds `amount_nano` more on the ticket, free or not.
    fn extend(&self, ticket: u64, amount_nano: u64);
    /// Ends the ticket's hold of `held_nano`, which cost `actual_nano`; 0 releases it.
    fn settle(&self, ticket: u64, held_nano: u64, actual_nano: u64);
    /// What the ticket was settled at was wrong.
    fn correct(&self, ticket: u64, before_nano: u64, after_nano: u64);
    /// What the ledger knows of its present window; `None` if it can't be reached.
    fn standing(&self) -> Option<Standing>;
}

/// The ticket of a ledger that couldn't be reached, where calls pass all the same.
const NO_TICKET: u64 = u64::MAX;

/// One limit of a scope.
enum Limit {
    Own { account: Account, told: Told },
    Elsewhere(Arc<dyn Ledger>),
}

/// Somebody who pays: a tenant, an agent, a tool. A handle; clones are the same scope. Scopes are shared by as many breakers as one likes.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

/// The limits lie in it, not behind it: each look that a call takes less is a look less that it waits for.
struct Inner<L: ?Sized = [Limit]> {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    alert_permille: u64,
    throttle_permille: u64,
    on_outage: OnUnknown,
    limits: L,
}

impl<L> Inner<L> {
    fn with<M>(self, limits: M) -> Arc<Inner<M>> {
        let Self { name, clock, alert_permille, throttle_permille, on_outage, .. } = self;
        Arc::new(Inner { name, clock, alert_permille, throttle_permille, on_outage, limits })
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// Makes a [`Scope`].
pub struct ScopeBuilder {
    name: Arc<str>,
    limits: Vec<(Period, u64)>,
    ledgers: Vec<Arc<dyn Ledger>>,
    clock: Arc<dyn Clock>,
    alert_percent: f64,
    throttle_percent: f64,
    on_outage: OnUnknown,
}

/// What was refused of a scope.
pub(crate) struct ScopeRefusal {
    pub(crate) limit: usize,
    pub(crate) error: LedgerError,
    /// The limit's own, in which it refused; others may have begun a later one since.
    pub(crate) epoch: u64,
}

impl ScopeBuilder {
    /// Adds a limit over a period, in nano-units; 0 refuses all that costs anything.
    #[must_use]
    pub fn limit(mut self, period: Period, limit_nano: u64) -> Self {
        self.limits.push((period, limit_nano));
        self
    }

    /// Adds a limit that is kept elsewhere. It comes after those of [`Self::limit`].
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledgers.push(ledger);
        self
    }

    /// From which use on one is told, and from which calls are shed, in percent of a limit. 75 and 90 by default.
    #[must_use]
    pub fn levels(mut self, alert_percent: f64, throttle_percent: f64) -> Self {
        (self.alert_percent, self.throttle_percent) = (alert_percent, throttle_percent);
        self
    }

    /// What happens while a ledger can't be reached; [`OnUnknown::FailClosed`] by default.
    #[must_use]
    pub fn on_outage(mut self, on_outage: OnUnknown) -> Self {
        self.on_outage = on_outage;
        self
    }

    /// Makes the scope.
    ///
    /// # Errors
    /// No limit or more than four; a limit above [`NANO_MAX`]; levels that aren't above 0 and ascending up to 100; a sliding period below 8 ms or above a year.
    pub fn build(self) -> Result<Scope, InvalidConfig> {
        let count = self.limits.len() + self.ledgers.len();
        ensure((1..=LIMITS_MAX).contains(&count), "limits", "from 1 to 4")?;
        let alert_permille = u64::from(ppm(self.alert_percent, "alert_percent")?).div_ceil(1000);
        let throttle_permille = u64::from(ppm(self.throttle_percent, "throttle_percent")?).div_ceil(1000);
        ensure(alert_permille <= throttle_permille, "alert_percent", "at most throttle_percent")?;
        let mut limits = Vec::with_capacity(count);
        for (period, limit_nano) in self.limits {
            let account = open_account(period, limit_nano, &*self.clock)?;
            limits.push(Limit::Own { account, told: Told::default() });
        }
        limits.extend(self.ledgers.into_iter().map(Limit::Elsewhere));
        let inner = Inner {
            name: self.name,
            clock: self.clock,
            alert_permille,
            throttle_permille,
            on_outage: self.on_outage,
            limits: (),
        };
        let mut limits = limits.into_iter();
        let mut next = || limits.next();
        // An array for each number that there can be.
        match (next(), next(), next(), next()) {
            (Some(a), Some(b), Some(c), Some(d)) => Ok(Scope(inner.with([a, b, c, d]))),
            (Some(a), Some(b), Some(c), None) => Ok(Scope(inner.with([a, b, c]))),
            (Some(a), Some(b), None, _) => Ok(Scope(inner.with([a, b]))),
            (Some(a), None, ..) => Ok(Scope(inner.with([a]))),
            (None, ..) => Err(InvalidConfig { field: "limits", must: "from 1 to 4" }),
        }
    }
}

pub(crate) fn open_account(
    period: Period,
    limit_nano: u64,
    clock: &dyn Clock,
) -> Result<Account, InvalidConfig> {
    ensure(limit_nano <= NANO_MAX, "limit_nano", "at most NANO_MAX")?;
    if let Period::Sliding(length) = period {
        let fits = (8..=31_536_000_000).contains(&length.as_millis());
        ensure(fits, "period", "from 8 ms to a year long")?;
    }
    let moment = Moment::new(clock);
    Ok(Account::new(period, limit_nano, epoch(period, &moment)))
}

/// The epoch of `period` at `moment`, which reads the clock only if the period needs it.
#[inline]
pub(crate) fn epoch(period: Period, moment: &Moment<'_>) -> u64 {
    let (wall_ms, monotonic_ms) = moment.for_period(period);
    period.epoch(wall_ms, monotonic_ms)
}

/// How far `account` has come in its present `epoch`, by two thresholds in parts of a thousand. Of an epoch that has long been over nothing is told.
#[inline]
pub(crate) fn level_of(account: &Account, epoch: u64, alert: u64, throttle: u64) -> Level {
    let Some((used, limit)) = account.usage(epoch, alert) else { return Level::Normal };
    if is_used_to(used, limit, throttle) {
        Level::Throttle
    } else if is_used_to(used, limit, alert) {
        Level::Alert
    } else {
        Level::Normal
    }
}

/// How far what was told of a limit has come: an epoch and a level of it.
#[derive(Default)]
pub(crate) struct Told(AtomicU64);

/// A level that a limit has come to, which nobody had told of when it was looked at.
pub(crate) struct News<'t> {
    told: &'t Told,
    mark: u64,
    pub(crate) level: Level,
}

impl Told {
    /// The news that `level` of `epoch` is. Who comes with an epoch that is over has none: others have told of a later one.
    #[inline]
    pub(crate) fn news(&self, epoch: u64, level: Level) -> Option<News<'_>> {
        // The epoch first, so a later one is the higher number.
        let mark = (epoch & (u64::MAX >> 2)) << 2 | level as u64;
        // Relaxed: a guess, `claim` decides.
        let is_news = level > Level::Normal && self.0.load(Ordering::Relaxed) < mark;
        is_news.then_some(News { told: self, mark, level })
    }
}

impl News<'_> {
    /// True for one caller at most, who has to tell. Two levels are told in the order of their claims only if nothing can come between a claim and the telling:
    /// see [`Events::tell_if`](crate::events::Events::tell_if).
    pub(crate) fn claim(&self) -> bool {
        // Relaxed: the number alone says who was the first.
        self.told.0.fetch_max(self.mark, Ordering::Relaxed) < self.mark
    }
}

/// The turns of a scope's limits, each with the place of its ticket. Should a ledger panic, those after it have theirs all the same.
struct Turns<'l, V: Fn(&Limit, usize)> {
    limits: &'l [Limit],
    at: usize,
    visit: V,
}

impl<'l, V: Fn(&Limit, usize)> Turns<'l, V> {
    #[inline]
    fn all(limits: &'l [Limit], first: usize, visit: V) {
        let mut turns = Self { limits, at: first, visit };
        turns.go_on();
        std::mem::forget(turns);
    }

    /// A turn counts as taken before it is: what panics isn't asked again.
    #[inline]
    fn go_on(&mut self) {
        while let [limit, others @ ..] = self.limits {
            let at = self.at;
            (self.limits, self.at) = (others, at + 1);
            (self.visit)(limit, at);
        }
    }
}

impl<V: Fn(&Limit, usize)> Drop for Turns<'_, V> {
    #[cold]
    fn drop(&mut self) {
        while !self.limits.is_empty() {
            shielded(|| self.go_on());
        }
    }
}

/// A reservation that isn't whole yet: what is held by then goes back, whether a limit refuses or a ledger panics.
struct Reserving<'r> {
    scope: &'r Scope,
    limits: usize,
    tickets: &'r mut Tickets,
    first: usize,
    amount: u64,
}

impl Drop for Reserving<'_> {
    #[cold]
    fn drop(&mut self) {
        let give_back = || self.scope.settle_first(self.limits, self.tickets, self.first, self.amount, 0);
        if std::thread::panicking() { shielded(give_back) } else { give_back() }
    }
}

impl Scope {
    /// Begins a scope, which reads `clock` if a period needs it.
    pub fn builder(name: &str, clock: Arc<dyn Clock>) -> ScopeBuilder {
        ScopeBuilder {
            name: Arc::from(name),
            limits: Vec::new(),
            ledgers: Vec::new(),
            clock,
            alert_percent: 75.0,
            throttle_percent: 90.0,
            on_outage: OnUnknown::FailClosed,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    /// The number of its limits.
    pub fn limits(&self) -> usize {
        self.0.limits.len()
    }

    /// What one of its limits was at one moment: the sums balance exactly. Should others settle or correct at each of more than a thousand looks, then what
    /// is settled may be of a moment before the rest, and what is held is off by what settled in between. Beyond counting (see [`Standing`]) all that is used is
    /// told as settled. `None` if there is no such limit, or its ledger can't be reached.
    pub fn standing(&self, limit: usize) -> Option<Standing> {
        let moment = Moment::new(&*self.0.clock);
        match self.0.limits.get(limit)? {
            Limit::Own { account, .. } => Some(account.standing(epoch(account.period(), &moment))),
            Limit::Elsewhere(ledger) => ledger.standing(),
        }
    }

    /// What was settled, in nano-units, when its own window had been given up: more than three epochs late, or after it left a sliding period.
    pub fn late_nano(&self, limit: usize) -> u64 {
        match self.0.limits.get(limit) {
            Some(Limit::Own { account, .. }) => account.late_nano(),
            _ => 0,
        }
    }

    /// Changes a limit, for the present window and those to come. One below what is used is an overdraft, and blocks until it is absorbed.
    ///
    /// # Errors
    /// A limit above [`NANO_MAX`], or no such limit of the scope's own.
    pub fn set_limit(&self, limit: usize, limit_nano: u64) -> Result<(), InvalidConfig> {
        ensure(limit_nano <= NANO_MAX, "limit_nano", "at most NANO_MAX")?;
        let Some(Limit::Own { account, .. }) = self.0.limits.get(limit) else {
            return Err(InvalidConfig { field: "limit", must: "one of the scope's own" });
        };
        account.set_limit(limit_nano, epoch(account.period(), &Moment::new(&*self.0.clock)));
        Ok(())
    }

    /// The period of a limit; a ledger elsewhere has its own, and is told as [`Period::Lifetime`].
    pub(crate) fn period(&self, limit: usize) -> Period {
        match &self.0.limits[limit] {
            Limit::Own { account, .. } => account.period(),
            Limit::Elsewhere(_) => Period::Lifetime,
        }
    }

    pub(crate) fn resets_in_ms(&self, limit: usize, moment: &Moment<'_>) -> Option<u64> {
        let period = self.period(limit);
        let (wall_ms, monotonic_ms) = moment.for_period(period);
        period.remaining_ms(wall_ms, monotonic_ms)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Holds `amount` if that is all there is to do: the scope has one limit of its own, which is below its alert and has enough. Gives the ticket.
    /// Not inlined: a permit's maker is, and has registers enough to save.
    #[inline(never)]
    pub(crate) fn reserve_quietly(&self, amount: u64) -> Option<u64> {
        let account = self.single()?;
        if account.period() == Period::Lifetime {
            return account.reserve_ever_below(amount, self.0.alert_permille);
        }
        self.reserve_quietly_at(account, amount, &Moment::new(&*self.0.clock))
    }

    /// As [`Self::reserve_quietly`], at a moment.
    pub(crate) fn reserve_quietly_now(&self, amount: u64, moment: &Moment<'_>) -> Option<u64> {
        self.reserve_quietly_at(self.single()?, amount, moment)
    }

    #[inline(never)]
    fn reserve_quietly_at(&self, account: &Account, amount: u64, moment: &Moment<'_>) -> Option<u64> {
        account.reserve_below(amount, epoch(account.period(), moment), self.0.alert_permille)
    }

    /// Its limit, if that is one of its own and the only one.
    #[inline]
    pub(crate) fn single(&self) -> Option<&Account> {
        match &self.0.limits {
            [Limit::Own { account, .. }] => Some(account),
            _ => None,
        }
    }

    /// Holds `amount` in every limit, whole or not at all. Tickets go to `tickets`, one a limit, from place `first` on. True if a ledger couldn't be reached and the scope lets
    /// such calls pass.
    #[inline]
    pub(crate) fn reserve(
        &self,
        amount: u64,
        moment: &Moment<'_>,
        tickets: &mut Tickets,
        first: usize,
    ) -> Result<bool, ScopeRefusal> {
        let mut unledgered = false;
        let mut reserving = Reserving { scope: self, limits: 0, tickets, first, amount };
        for (at, limit) in self.0.limits.iter().enumerate() {
            let mut refused_in = 0;
            let held = match limit {
                Limit::Own { account, .. } => account
                    .reserve_or_tell(amount, epoch(account.period(), moment))
                    .map_err(|(shortage, epoch)| {
                        refused_in = epoch;
                        LedgerError::Short(shortage)
                    }),
                Limit::Elsewhere(ledger) => match (ledger.reserve(amount), self.0.on_outage) {
                    (Err(LedgerError::Unavailable), OnUnknown::FailOpen { .. }) => {
                        unledgered = true;
                        Ok(NO_TICKET)
                    }
                    (held, _) => held,
                },
            };
            match held {
                Ok(ticket) => reserving.tickets.set(first + at, ticket),
                Err(error) => return Err(ScopeRefusal { limit: at, error, epoch: refused_in }),
            }
            reserving.limits = at + 1;
        }
        std::mem::forget(reserving);
        Ok(unledgered)
    }

    #[inline]
    fn settle_first(&self, limits: usize, tickets: &Tickets, first: usize, held: u64, actual: u64) {
        Turns::all(&self.0.limits[..limits], first, |limit, at| {
            let ticket = tickets.get(at);
            match limit {
                Limit::Own { account, .. } => account.settle(ticket, held, actual),
                Limit::Elsewhere(ledger) if ticket != NO_TICKET => ledger.settle(ticket, held, actual),
                Limit::Elsewhere(_) => {}
            }
        });
    }

    #[inline]
    pub(crate) fn settle(&self, tickets: &Tickets, first: usize, held: u64, actual: u64) {
        self.settle_first(self.0.limits.len(), tickets, first, held, actual);
    }

    pub(crate) fn extend(&self, tickets: &Tickets, first: usize, amount: u64) {
        Turns::all(&self.0.limits, first, |limit, at| {
            let ticket = tickets.get(at);
            match limit {
                Limit::Own { account, .. } => account.extend(ticket, amount),
                Limit::Elsewhere(ledger) if ticket != NO_TICKET => ledger.extend(ticket, amount),
                Limit::Elsewhere(_) => {}
            }
        });
    }

    pub(crate) fn correct(&self, tickets: &Tickets, first: usize, before: u64, after: u64) {
        Turns::all(&self.0.limits, first, |limit, at| {
            let ticket = tickets.get(at);
            match limit {
                Limit::Own { account, .. } => account.correct(ticket, before, after),
                Limit::Elsewhere(ledger) if ticket != NO_TICKET => ledger.correct(ticket, before, after),
                Limit::Elsewhere(_) => {}
            }
        });
    }

    /// The highest level of its own limits, and whose it is. `tell` hears of those that nobody has told of.
    #[inline]
    pub(crate) fn level(&self, moment: &Moment<'_>, tell: impl Fn(usize, News<'_>)) -> (Level, usize) {
        let mut highest = (Level::Normal, 0);
        for (at, limit) in self.0.limits.iter().enumerate() {
            let Limit::Own { account, told } = limit else { continue };
            // The account's epoch, which never goes back as the calendar may.
            let epoch = account.roll_to(epoch(account.period(), moment));
            let level = level_of(account, epoch, self.0.alert_permille, self.0.throttle_permille);
            if let Some(news) = told.news(epoch, level) {
                tell(at, news);
            }
            if level > highest.0 {
                highest = (level, at);
            }
        }
        highest
    }

    /// The news that a refusal is, if nobody has told of one in its epoch.
    pub(crate) fn block(&self, refusal: &ScopeRefusal) -> Option<News<'_>> {
        match &self.0.limits[refusal.limit] {
            Limit::Own { told, .. } => told.news(refusal.epoch, Level::Block),
            Limit::Elsewhere(_) => None,
        }
    }

    /// Whether nothing is held in any limit of its own.
    pub fn is_at_rest(&self) -> bool {
        (0..self.limits()).all(|limit| self.standing(limit).is_none_or(|standing| standing.held_nano == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Symptom: a caller that had read its clock before the hour ended told of the level again, and so did the next one of the new hour: events came
    /// twice, and a throttle after the block.
    #[test]
    fn a_level_is_told_once_an_epoch_whoever_comes_late() {
        let told = Told::default();
        let is_news = |told: &Told, epoch, level| told.news(epoch, level).is_some_and(|news| news.claim());
        assert!(is_news(&told, 7, Level::Alert) && !is_news(&told, 7, Level::Alert));
        assert!(is_news(&told, 8, Level::Throttle), "a new epoch begins anew");
        assert!(!is_news(&told, 7, Level::Block), "an old one is over");
        assert!(!is_news(&told, 8, Level::Alert) && !is_news(&told, 8, Level::Throttle), "told already");
        let [first, second] = [(); 2].map(|()| told.news(8, Level::Block).unwrap());
        assert!(first.claim() && !second.claim(), "two have seen it, and one tells");
    }

    /// Symptom: a level was told twice, or not at all, when the calendar had gone back to an epoch before the account's.
    #[test]
    fn a_level_is_told_once_though_the_calendar_goes_back() {
        const HOUR_MS: u64 = 3_600_000;
        let clock = Arc::new(crate::clock::ManualClock::new(8 * HOUR_MS + 10));
        let scope = Scope::builder("s", clock.clone()).limit(Period::Hour, 100).build().unwrap();
        let account = scope.single().unwrap();
        let told = |wall_ms| {
            clock.set_wall_ms(wall_ms);
            let told = RefCell::new(Vec::new());
            let tell = |_, news: News<'_>| told.borrow_mut().extend(news.claim().then_some(news.level));
            scope.level(&Moment::new(&*clock), tell);
            told.into_inner()
        };
        account.reserve(80, 8).unwrap();
        assert_eq!(told(8 * HOUR_MS - 10), [Level::Alert]);
        assert_eq!(told(8 * HOUR_MS), []);
        account.reserve(17, 8).unwrap();
        assert_eq!(told(7 * HOUR_MS), [Level::Throttle]);
        let refused = |wall_ms| {
            clock.set_wall_ms(wall_ms);
            let refusal = scope.reserve(10, &Moment::new(&*clock), &mut Tickets::default(), 0).unwrap_err();
            scope.block(&refusal).is_some_and(|news| news.claim())
        };
        assert!(refused(7 * HOUR_MS));
        assert!(!refused(8 * HOUR_MS));
        // Refused at the end of an hour, and told when another thread has begun the next one.
        let refusal = scope.reserve(10, &Moment::new(&*clock), &mut Tickets::default(), 0).unwrap_err();
        assert_eq!(told(9 * HOUR_MS), [], "a new hour is whole");
        account.reserve(80, 9).unwrap();
        assert_eq!(told(9 * HOUR_MS), [Level::Alert]);
        assert!(scope.block(&refusal).is_none(), "the new hour has refused nothing");
    }
}
