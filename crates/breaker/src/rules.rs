//! Rules: limits on what kinds of calls cost, whoever pays.
//!
//! A rule applies to the operations that it names. It bounds a single call, or meters all of them over a period; from its alert level on it tells,
//! from its throttle level on it sheds, at its limit it refuses. Once it refused, it goes on refusing until its cool-down is over, also
//! across a new period: a cool-down never lets spending resume. Rules are asked in the order of their priorities, the stricter first among equals; one that *allows* ends
//! the questions, so that what matters goes on. Scopes are asked first, and no rule allows what they refuse.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::account::Account;
use crate::clock::{Clock, Moment};
use crate::config::{InvalidConfig, ensure, ppm};
use crate::events::Level;
use crate::ledger::{NANO_MAX, Shortage, Standing};
use crate::period::Period;
use crate::request::Class;
use crate::scope::{News, Scope, Told, epoch, level_of, open_account};
use crate::tickets::{TICKETS_MAX, Tickets};

/// The rules of one breaker, at most: a permit remembers which of them it paid.
pub const RULES_MAX: usize = 32;

/// What a rule does with the calls that it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    PerCall(u64),
    Over(Period, u64),
}

/// A rule, before it is part of a breaker.
#[derive(Clone, Debug)]
pub struct Rule {
    name: Arc<str>,
    operations: Vec<Box<str>>,
    action: Action,
    alert_percent: f64,
    throttle_percent: f64,
    cooldown: Duration,
    priority: i32,
    exempt: Option<Class>,
    problem: Option<InvalidConfig>,
}

impl Rule {
    fn new(name: &str, action: Action) -> Self {
        Self {
            name: Arc::from(name),
            operations: Vec::new(),
            action,
            alert_percent: 75.0,
            throttle_percent: 90.0,
            cooldown: Duration::ZERO,
            priority: 0,
            exempt: None,
            problem: None,
        }
    }

    /// All its calls together may cost `limit_nano` over `period`.
    pub fn over(name: &str, period: Period, limit_nano: u64) -> Self {
        Self::new(name, Action::Over(period, limit_nano))
    }

    /// All its calls together may cost so many percent of a limit of `scope` as it is now, over the same period.
    pub fn share_of(name: &str, scope: &Scope, limit: usize, percent: f64) -> Self {
        let nano = ppm(percent, "percent").and_then(|ppm| {
            let absent = InvalidConfig { field: "limit", must: "one of the scope's" };
            let standing = scope.standing(limit).ok_or(absent)?;
            Ok((u128::from(standing.limit_nano) * u128::from(ppm) / 1_000_000) as u64)
        });
        match nano {
            Ok(nano) => Self::over(name, scope.period(limit), nano),
            Err(problem) => Self { problem: Some(problem), ..Self::over(name, Period::Lifetime, 0) },
        }
    }

    /// Each of its calls may cost `allowed_nano`.
    pub fn per_call(name: &str, allowed_nano: u64) -> Self {
        Self::new(name, Action::PerCall(allowed_nano))
    }

    /// No rule of a lower priority is asked about its calls.
    pub fn allow(name: &str) -> Self {
        Self::new(name, Action::Allow)
    }

    /// Applies it to these operations only, not to all; a `*` at the end stands for anything.
    #[must_use]
    pub fn operations<'a>(mut self, operations: impl IntoIterator<Item = &'a str>) -> Self {
        self.operations.extend(operations.into_iter().map(Box::from));
        self
    }

    /// From which use on one is told and calls are shed, in percent of the limit. 75 and 90 by default.
    #[must_use]
    pub fn levels(mut self, alert_percent: f64, throttle_percent: f64) -> Self {
        (self.alert_percent, self.throttle_percent) = (alert_percent, throttle_percent);
        self
    }

    /// How long it goes on refusing once it refused. Zero by default.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The higher, the earlier it is asked. 0 by default.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Calls of this class and above are metered, but never shed or refused by this rule.
    #[must_use]
    pub fn exempt(mut self, class: Class) -> Self {
        self.exempt = Some(class);
        self
    }

    fn strictness(&self) -> u8 {
        match self.action {
            Action::PerCall(_) => 0,
            Action::Over(..) => 1,
            Action::Allow => 2,
        }
    }
}

/// A rule at work.
struct Working {
    rule: Rule,
    account: Option<Account>,
    alert_permille: u64,
    throttle_permille: u64,
    told: Told,
    /// Monotonic milliseconds until which it refuses.
    refuses_until_ms: AtomicU64,
}

/// What a rule refused.
#[derive(Debug)]
pub(crate) enum RuleRefusal {
    Cooldown { rule: Arc<str>, wait_ms: u64 },
    TooExpensive { rule: Arc<str>, allowed_nano: u64 },
    Shed { rule: Arc<str>, resets_in_ms: Option<u64> },
    Short { rule: Arc<str>, shortage: Shortage, resets_in_ms: Option<u64> },
    TooMany { limits: usize },
}

/// The call that rules are asked about.
pub(crate) struct Asked<'a> {
    pub(crate) operation: &'a str,
    pub(crate) class: Class,
    pub(crate) cost: u64,
    pub(crate) moment: &'a Moment<'a>,
}

/// A breaker's rules in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Rules {
    working: Vec<Working>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.working.iter().map(|working| &working.rule.name)).finish()
    }
}

/// Hears of levels that nobody has told of: whose, and of which period.
pub(crate) type Tell<'a> = &'a dyn Fn(&Arc<str>, Period, News<'_>);

impl Rules {
    pub(crate) const fn none() -> Self {
        Self { working: Vec::new() }
    }

    pub(crate) fn new(mut rules: Vec<Rule>, clock: &dyn Clock) -> Result<Self, InvalidConfig> {
        ensure(rules.len() <= RULES_MAX, "rules", "at most 32")?;
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.priority), rule.strictness()));
        let working: Result<Vec<Working>, InvalidConfig> =
            rules.into_iter().map(|rule| Working::new(rule, clock)).collect();
        Ok(Self { working: working? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.working.is_empty()
    }

    /// Asks each rule in turn; holds `cost` with those that meter. Which ones is told as bits; their tickets go to `tickets`,
    /// from place `first` on.
    pub(crate) fn reserve(
        &self,
        call: &Asked<'_>,
        tickets: &mut Tickets,
        first: usize,
        is_thinned: impl Fn() -> bool,
        tell: Tell<'_>,
    ) -> Result<u32, RuleRefusal> {
        let mut reserving = Reserving { rules: self, paid: 0, tickets, first, cost: call.cost };
        let mut place = first;
        for (at, working) in self.working.iter().enumerate() {
            if !working.applies_to(call.operation) {
                continue;
            }
            if working.rule.action == Action::Allow {
                break;
            }
            if let Some(ticket) = working.ask(call, place < TICKETS_MAX, &is_thinned, tell)? {
                reserving.tickets.set(place, ticket);
                reserving.paid |= 1 << at;
                place += 1;
            }
        }
        let paid = reserving.paid;
        std::mem::forget(reserving);
        Ok(paid)
    }

    fn paid(&self, paid: u32, tickets: &Tickets, first: usize) -> impl Iterator<Item = (&Account, u64)> {
        let of_paid = self.working.iter().enumerate().filter(move |(at, _)| paid >> at & 1 == 1);
        of_paid.filter_map(|(_, working)| working.account.as_ref()).zip((first..).map(|at| tickets.get(at)))
    }

    pub(crate) fn settle(&self, paid: u32, tickets: &Tickets, first: usize, held: u64, actual: u64) {
        for (account, ticket) in self.paid(paid, tickets, first) {
            account.settle(ticket, held, actual);
        }
    }

    pub(crate) fn extend(&self, paid: u32, tickets: &Tickets, first: usize, amount: u64) {
        for (account, ticket) in self.paid(paid, tickets, first) {
            account.extend(ticket, amount);
        }
    }

    pub(crate) fn correct(&self, paid: u32, tickets: &Tickets, first: usize, before: u64, after: u64) {
        for (account, ticket) in self.paid(paid, tickets, first) {
            account.correct(ticket, before, after);
        }
    }

    pub(crate) fn standing(&self, name: &str, moment: &Moment<'_>) -> Option<Standing> {
        let working = self.working.iter().find(|working| &*working.rule.name == name)?;
        let account = working.account.as_ref()?;
        Some(account.standing(epoch(account.period(), moment)))
    }
}

/// A reservation that isn't whole yet: what is held by then goes back, whether a rule refuses or the clock panics.
struct Reserving<'r> {
    rules: &'r Rules,
    paid: u32,
    tickets: &'r mut Tickets,
    first: usize,
    cost: u64,
}

impl Drop for Reserving<'_> {
    fn drop(&mut self) {
        self.rules.settle(self.paid, self.tickets, self.first, self.cost, 0);
    }
}

impl Working {
    fn new(rule: Rule, clock: &dyn Clock) -> Result<Self, InvalidConfig> {
        if let Some(problem) = rule.problem {
            return Err(problem);
        }
        let account = match rule.action {
            Action::Over(period, limit_nano) => Some(open_account(period, limit_nano, clock)?),
            Action::PerCall(allowed_nano) => {
                ensure(allowed_nano <= NANO_MAX, "allowed_nano", "at most NANO_MAX")?;
                None
            }
            Action::Allow => None,
        };
        let alert_permille = u64::from(ppm(rule.alert_percent, "alert_percent")?).div_ceil(1000);
        let throttle_permille = u64::from(ppm(rule.throttle_percent, "throttle_percent")?).div_ceil(1000);
        ensure(alert_permille <= throttle_permille, "alert_percent", "at most throttle_percent")?;
        Ok(Self {
            rule,
            account,
            alert_permille,
            throttle_permille,
            told: Told::default(),
            refuses_until_ms: AtomicU64::new(0),
        })
    }

    fn applies_to(&self, operation: &str) -> bool {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => operation.starts_with(beginning),
            None => operation == pattern,
        };
        self.rule.operations.is_empty() || self.rule.operations.iter().any(|pattern| matches(pattern))
    }

    /// The ticket, if it holds the cost now.
    fn ask(
        &self,
        call: &Asked<'_>,
        has_place: bool,
        is_thinned: &impl Fn() -> bool,
        tell: Tell<'_>,
    ) -> Result<Option<u64>, RuleRefusal> {
        let &Asked { class, cost, moment, .. } = call;
        let is_exempt = self.rule.exempt.is_some_and(|exempt| class >= exempt);
        let rule = || Arc::clone(&self.rule.name);
        if !is_exempt {
            self.check_cooldown(moment)?;
            if let Action::PerCall(allowed_nano) = self.rule.action
                && cost > allowed_nano
            {
                self.begin_cooldown(moment);
                return Err(RuleRefusal::TooExpensive { rule: rule(), allowed_nano });
            }
        }
        let Some(account) = &self.account else { return Ok(None) };
        if !has_place {
            return Err(RuleRefusal::TooMany { limits: TICKETS_MAX + 1 });
        }
        let period = account.period();
        // The account's epoch, which never goes back as the calendar may.
        let now = account.roll_to(epoch(period, moment));
        let level = level_of(account, now, self.alert_permille, self.throttle_permille);
        if let Some(news) = self.told.news(now, level) {
            tell(&self.rule.name, period, news);
        }
        let resets_in_ms = || {
            let (wall_ms, monotonic_ms) = moment.for_period(period);
            period.remaining_ms(wall_ms, monotonic_ms)
        };
        // What is free uses nothing up.
        if cost > 0 && !is_exempt && level >= Level::Throttle && is_shed(class, is_thinned) {
            return Err(RuleRefusal::Shed { rule: rule(), resets_in_ms: resets_in_ms() });
        }
        match account.reserve_or_tell(cost, now) {
            Ok(epoch) => Ok(Some(epoch)),
            Err(_) if is_exempt => {
                let epoch = account.roll_to(now);
                account.extend(epoch, cost);
                Ok(Some(epoch))
            }
            Err((shortage, refused_in)) => {
                if let Some(news) = self.told.news(refused_in, Level::Block) {
                    tell(&self.rule.name, period, news);
                }
                self.begin_cooldown(moment);
                Err(RuleRefusal::Short { rule: rule(), shortage, resets_in_ms: resets_in_ms() })
            }
        }
    }

    fn check_cooldown(&self, moment: &Moment<'_>) -> Result<(), RuleRefusal> {
        if self.rule.cooldown.is_zero() {
            return Ok(());
        }
        // Relaxed: whoever refused has told; a call at the same moment may pass as if it had come before.
        let until = self.refuses_until_ms.load(Ordering::Relaxed);
        let now_ms = moment.monotonic_ms();
        if now_ms < until {
            let rule = Arc::clone(&self.rule.name);
            return Err(RuleRefusal::Cooldown { rule, wait_ms: until - now_ms });
        }
        Ok(())
    }

    fn begin_cooldown(&self, moment: &Moment<'_>) {
        if !self.rule.cooldown.is_zero() {
            let now_ms = moment.monotonic_ms();
            let length = self.rule.cooldown.as_nanos().div_ceil(1_000_000).min(u128::from(u64::MAX)) as u64;
            self.refuses_until_ms.fetch_max(now_ms.saturating_add(length), Ordering::Relaxed);
        }
    }
}

/// Whether a call of `class` is refused at the throttle level.
pub(crate) fn is_shed(class: Class, is_thinned: impl Fn() -> bool) -> bool {
    match class {
        Class::Background => true,
        Class::Normal => is_thinned(),
        Class::Critical => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::cell::RefCell;

    #[test]
    fn a_rule_tells_once_though_the_calendar_goes_back() {
        const HOUR_MS: u64 = 3_600_000;
        let clock = ManualClock::new(8 * HOUR_MS);
        let rules = Rules::new(vec![Rule::over("r", Period::Hour, 100)], &clock).unwrap();
        let told = |wall_ms, cost| {
            clock.set_wall_ms(wall_ms);
            let (told, mut tickets) = (RefCell::new(Vec::new()), Tickets::default());
            let call = Asked { operation: "", class: Class::Critical, cost, moment: &Moment::new(&clock) };
            let tell = |_: &Arc<str>, _, news: News<'_>| {
                told.borrow_mut().extend(news.claim().then_some(news.level));
            };
            let _ = rules.reserve(&call, &mut tickets, 0, || false, &tell);
            told.into_inner()
        };
        assert_eq!(told(8 * HOUR_MS, 80), []);
        assert_eq!(told(7 * HOUR_MS, 15), [Level::Alert]);
        assert_eq!(told(7 * HOUR_MS, 90), [Level::Throttle, Level::Block]);
        assert_eq!(told(8 * HOUR_MS, 90), []);
    }
}
