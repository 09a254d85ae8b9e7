//! Who pays for a request: scopes, then rules, all of them or none.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::clock::Moment;
use crate::events::{EventKind, Level, shielded};
use crate::ledger::Standing;
use crate::permit::Round;
use crate::request::{Class, Cost, Rejected, Request};
use crate::rules::{Asked, RuleRefusal, is_shed};
use crate::scope::{LedgerError, News, OnUnknown, Scope, ScopeRefusal};
use crate::stats::add;
use crate::tickets::{TICKETS_MAX, Tickets};

/// What a call holds: how much, where, and which rules' bits.
#[derive(Default)]
pub(super) struct Payment {
    pub(super) cost: u64,
    pub(super) tickets: Tickets,
    pub(super) paid: u32,
    /// When all was held, if that matters.
    pub(super) started_ns: u64,
}

/// A reservation that isn't whole yet: what is held by then goes back, whether it is refused or a ledger or a clock panics.
struct Paying<'a> {
    core: &'a Core,
    scopes: &'a [Scope],
    tickets: Tickets,
    /// The rules that were paid, as bits.
    paid: u32,
    cost: u64,
}

impl Paying<'_> {
    fn give_back(&self) {
        let settle = |scope: &Scope, first| scope.settle(&self.tickets, first, self.cost, 0);
        let rules = |first| self.core.rules().settle(self.paid, &self.tickets, first, self.cost, 0);
        Round::run(self.scopes, settle, rules);
    }
}

impl Drop for Paying<'_> {
    #[cold]
    fn drop(&mut self) {
        if std::thread::panicking() {
            shielded(|| self.give_back());
        } else {
            self.give_back();
        }
    }
}

/// Whether `needed_nano` may fit into a budget later, which stands as told: when its next epoch begins, or when nothing is held.
fn may_fit(needed_nano: u64, standing: Option<Standing>, resets_in: Option<Duration>) -> bool {
    standing.is_none_or(|standing| {
        let settled = if resets_in.is_some() { 0 } else { standing.settled_nano };
        settled.saturating_add(needed_nano) <= standing.limit_nano
    })
}

/// As [`may_fit`], of a call that was shed: its level must be left as well, unless it was only thinned out.
fn may_pass(class: Class, cost: u64, standing: Option<Standing>, resets_in: Option<Duration>) -> bool {
    let leaves = class == Class::Normal
        || resets_in.is_some()
        || standing.is_none_or(|standing| standing.held_nano > 0);
    leaves && may_fit(cost, standing, resets_in)
}

impl Core {
    /// What a request will cost; `None` if nobody knows.
    fn price(&self, request: &Request<'_>) -> Option<u64> {
        match request.cost {
            Cost::Free => Some(0),
            Cost::Nano(nano) => Some(nano),
            Cost::Unknown => None,
            Cost::Tokens { input, output_max } => {
                let estimate = self.estimator()?.estimate(request.operation, input, output_max)?;
                Some(estimate.nano)
            }
        }
    }

    #[cold]
    pub(super) fn note_saved(&self, request: &Request<'_>) {
        if let Some(estimate @ 1..) = self.price(request) {
            add(&self.counters.saved_nano, estimate);
        }
    }

    /// The short way of [`Self::pay`], where only one limit has a say and there is nothing to tell. Gives the cost and the ticket.
    #[inline(always)]
    pub(super) fn pay_quietly(&self, request: &Request<'_>) -> Option<(u64, u64)> {
        let (Cost::Nano(cost), [scope], true) = (request.cost, request.scopes, self.is_plain()) else {
            return None;
        };
        Some((cost, scope.reserve_quietly(cost)?))
    }

    /// Holds the cost of a request with all who pay it. Gives what was paid, or the refusal and the estimate.
    #[inline(never)]
    pub(super) fn pay(&self, request: &Request<'_>) -> Result<Payment, (Rejected, u64)> {
        let cost = match request.cost {
            Cost::Nano(nano) => nano,
            _ => self.price_or_assume(request)?,
        };
        // Scopes have clocks of their own, mostly the same: each is read at most once a call.
        let moment = Moment::new(request.scopes.first().map_or(&*self.clock, Scope::clock));
        let mut paying = Paying { core: self, scopes: &[], tickets: Tickets::default(), paid: 0, cost };
        let used = self.pay_scopes(request, &moment, &mut paying).map_err(|rejected| (rejected, cost))?;
        if !self.rules().is_empty() {
            let asked = self.pay_rules(request, cost, &mut paying.tickets, used);
            paying.paid = asked.map_err(|rejected| (rejected, cost))?;
        }
        let started_ns = self.started_ns();
        let (tickets, paid) = (std::mem::take(&mut paying.tickets), paying.paid);
        std::mem::forget(paying);
        Ok(Payment { cost, tickets, paid, started_ns })
    }

    fn price_or_assume(&self, request: &Request<'_>) -> Result<u64, (Rejected, u64)> {
        let on_unpriced = self.costs.as_ref().map_or(OnUnknown::FailClosed, |costs| costs.on_unpriced);
        match (self.price(request), on_unpriced) {
            (Some(cost), _) => Ok(cost),
            (None, OnUnknown::FailOpen { assumed_nano }) => Ok(assumed_nano),
            (None, OnUnknown::FailClosed) => Err((Rejected::Unpriced, 0)),
        }
    }

    /// Holds the cost with each scope; gives the number of their limits.
    fn pay_scopes<'a>(
        &self,
        request: &Request<'a>,
        moment: &Moment<'_>,
        paying: &mut Paying<'a>,
    ) -> Result<usize, Rejected> {
        let limits: usize = request.scopes.iter().map(Scope::limits).sum();
        if limits > TICKETS_MAX {
            return Err(Rejected::TooManyLimits { limits, limits_max: TICKETS_MAX });
        }
        let mut used = 0;
        for (at, scope) in request.scopes.iter().enumerate() {
            if let Some(ticket) = scope.reserve_quietly_now(paying.cost, moment) {
                paying.tickets.set(used, ticket);
            } else {
                self.pay_scope(scope, request, paying.cost, moment, &mut paying.tickets, used)?;
            }
            paying.scopes = &request.scopes[..=at];
            used += scope.limits();
        }
        Ok(used)
    }

    #[inline]
    fn pay_scope(
        &self,
        scope: &Scope,
        request: &Request<'_>,
        cost: u64,
        moment: &Moment<'_>,
        tickets: &mut Tickets,
        first: usize,
    ) -> Result<(), Rejected> {
        // What is free uses nothing up: levels are no matter of it, only an overdraft is.
        if cost > 0 {
            let (level, limit) = scope.level(moment, |limit, news| self.tell_of_scope(scope, limit, &news));
            if level >= Level::Throttle && is_shed(request.class, || self.is_thinned()) {
                let resets_in = scope.resets_in_ms(limit, moment).map(Duration::from_millis);
                let standing = scope.standing(limit);
                let may_pass = may_pass(request.class, cost, standing, resets_in);
                return Err(Rejected::Shed { scope: scope.shared_name(), level, resets_in, may_pass });
            }
        }
        match scope.reserve(cost, moment, tickets, first) {
            Ok(unledgered) => {
                if unledgered {
                    add(&self.counters.unledgered_nano, cost);
                }
                Ok(())
            }
            Err(refusal) => Err(self.scope_refused(scope, &refusal, moment)),
        }
    }

    #[cold]
    fn tell_of_scope(&self, scope: &Scope, limit: usize, news: &News<'_>) {
        let period = scope.period(limit);
        let kind = || EventKind::Budget { scope: scope.shared_name(), period, level: news.level };
        self.events.tell_if(|| news.claim(), kind);
    }

    #[cold]
    fn scope_refused(&self, scope: &Scope, refusal: &ScopeRefusal, moment: &Moment<'_>) -> Rejected {
        let LedgerError::Short(shortage) = refusal.error else {
            return Rejected::LedgerUnavailable { scope: scope.shared_name() };
        };
        if let Some(news) = scope.block(refusal) {
            self.tell_of_scope(scope, refusal.limit, &news);
        }
        let resets_in = scope.resets_in_ms(refusal.limit, moment).map(Duration::from_millis);
        Rejected::Budget {
            scope: scope.shared_name(),
            needed_nano: shortage.needed_nano,
            available_nano: shortage.available_nano,
            resets_in,
            may_fit: may_fit(shortage.needed_nano, scope.standing(refusal.limit), resets_in),
        }
    }

    /// Every other normal call at the throttle level.
    fn is_thinned(&self) -> bool {
        self.counters.thinned.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }

    fn pay_rules(
        &self,
        request: &Request<'_>,
        cost: u64,
        tickets: &mut Tickets,
        first: usize,
    ) -> Result<u32, Rejected> {
        let moment = Moment::new(&*self.clock);
        let tell = |rule: &Arc<str>, period, news: News<'_>| {
            let kind = || EventKind::Budget { scope: Arc::clone(rule), period, level: news.level };
            self.events.tell_if(|| news.claim(), kind);
        };
        let call = Asked { operation: request.operation, class: request.class, cost, moment: &moment };
        let asked = self.rules().reserve(&call, tickets, first, || self.is_thinned(), &tell);
        asked.map_err(|refusal| match refusal {
            RuleRefusal::Cooldown { rule, wait_ms } => {
                Rejected::Cooldown { rule, retry_after: Duration::from_millis(wait_ms) }
            }
            RuleRefusal::TooExpensive { rule, allowed_nano } => {
                Rejected::TooExpensive { rule, needed_nano: cost, allowed_nano }
            }
            RuleRefusal::Shed { rule, resets_in_ms } => {
                let resets_in = resets_in_ms.map(Duration::from_millis);
                let may_pass =
                    may_pass(request.class, cost, self.rules().standing(&rule, &moment), resets_in);
                Rejected::Shed { scope: rule, level: Level::Throttle, resets_in, may_pass }
            }
            RuleRefusal::Short { rule, shortage, resets_in_ms } => {
                let resets_in = resets_in_ms.map(Duration::from_millis);
                let standing = self.rules().standing(&rule, &moment);
                Rejected::Budget {
                    needed_nano: shortage.needed_nano,
                    available_nano: shortage.available_nano,
                    resets_in,
                    may_fit: may_fit(shortage.needed_nano, standing, resets_in),
                    scope: rule,
                }
            }
            RuleRefusal::TooMany { limits } => Rejected::TooManyLimits { limits, limits_max: TICKETS_MAX },
        })
    }
}
