//! The state of all tenants, and the one way to change it: [`Tenants::apply`], in log order.
//!
//! Here it is decided which tenant a command is for and whether it is sent again; what it does is
//! its kind's own affair, see [`command`](crate::command).
//!
//! **A tenant stands alone.** A command changes nothing of any tenant but its own, requests that
//! are remembered included. Only in batches of format 1 each command aged the requests of the
//! tenant whose turn it was ([`DeduplicationQueue`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use steadfast_text_index::Analyzer;

use crate::command::{Change, Command, Effect, Request, Stamp, TenantKey};
use crate::refusal::Refusal;
use crate::requests::{AGE_MS_MAX, RequestWindow, Seen};
use crate::value::{IndexBuild, IndexBuilt, TenantValue};

/// The state of all tenants, as the committer has it: the next values, not yet published.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    /// By number, counted from 1.
    all: Vec<Tenant>,
    numbers: HashMap<Arc<str>, u32>,
    /// Numbers of those that changed since the last [`Tenants::publish_changed`].
    changed: Vec<u32>,
    /// Numbers of those that changed since the last [`Tenants::plan_dirty`].
    dirty: Vec<u32>,
    /// Numbers of those whose indexes were found to be backlogged.
    backlogged: Vec<u32>,
    /// Of batches of format 1; empty from the first later batch on.
    deduplication_queue: DeduplicationQueue,
}

/// The last format in which a command ages the requests of the tenant whose turn it is. Since then
/// it ages its own tenant's.
const SHARED_AGING_FORMAT: u32 = 1;

/// The tenants that remember requests, each once, with the log's time at which some of them may be
/// old, in the order of that time.
#[derive(Debug, Default)]
struct DeduplicationQueue(VecDeque<(u64, u32)>);

#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    value: TenantValue,
    requests: RequestWindow,
    changed: bool,
    dirty: bool,
}

impl Tenants {
    /// Carries out a command at its place in the log.
    pub(crate) fn apply(&mut self, command: Command, stamp: Stamp) -> Effect {
        if stamp.format > SHARED_AGING_FORMAT {
            self.deduplication_queue = DeduplicationQueue::default();
        } else {
            self.forget_in_turn(stamp.now_ms);
        }
        let number = match command.tenant {
            TenantKey::Number(number) => number,
            TenantKey::Name { name, tenants_max, analyzer } => match self.numbers.get(name.as_str()) {
                Some(number) => *number,
                None if self.all.len() as u64 >= tenants_max => {
                    return Err(Refusal::TooManyTenants { max: tenants_max });
                }
                None => {
                    let mut tenant = Tenant::new(name.into(), analyzer);
                    let effect = tenant.apply(command.request, command.change, stamp);
                    // A tenant comes into being with its first memory, or not at all.
                    if effect.is_ok() {
                        self.add(tenant, stamp);
                    }
                    return effect;
                }
            },
        };
        let Some(tenant) = number.checked_sub(1).and_then(|at| self.all.get_mut(at as usize)) else {
            return Err(Refusal::UnknownTenant);
        };
        tenant.mark(&mut self.changed, &mut self.dirty, number);
        let remembered_none = tenant.requests.is_empty();
        let effect = tenant.apply(command.request, command.change, stamp);
        if remembered_none && !tenant.requests.is_empty() {
            self.deduplication_queue.push(number, stamp);
        }
        effect
    }

    /// Shows `publish` the next value of each tenant that changed since the last call, with its
    /// number and name.
    pub(crate) fn publish_changed(&mut self, mut publish: impl FnMut(u32, &Arc<str>, &TenantValue)) {
        for number in self.changed.drain(..) {
            let tenant = &mut self.all[number as usize - 1];
            tenant.changed = false;
            publish(number, &tenant.name, &tenant.value);
        }
    }

    /// Hands what should be built for the indexes of the tenants that changed since the last call
    /// to `build`.
    pub(crate) fn plan_dirty(&mut self, mut build: impl FnMut(u32, IndexBuild)) {
        for number in self.dirty.drain(..) {
            let tenant = &mut self.all[number as usize - 1];
            tenant.dirty = false;
            while let Some(planned) = tenant.value.plan_index() {
                build(number, planned);
            }
            if tenant.value.index_is_backlogged() {
                self.backlogged.push(number);
            }
        }
    }

    /// Puts in place what was built for a tenant.
    pub(crate) fn install(&mut self, number: u32, built: IndexBuilt) {
        let tenant = &mut self.all[number as usize - 1];
        tenant.value.install_index(built);
        tenant.mark(&mut self.changed, &mut self.dirty, number);
    }

    /// Whether any tenant's indexes are backlogged.
    pub(crate) fn is_backlogged(&mut self) -> bool {
        let all = &self.all;
        self.backlogged.retain(|number| all[*number as usize - 1].value.index_is_backlogged());
        !self.backlogged.is_empty()
    }

    /// Forgets a few old requests of the tenant whose turn it is: a constant amount of work for a
    /// command, and more than a command adds. When none is left that is old, it is the next one's
    /// turn.
    fn forget_in_turn(&mut self, now_ms: u64) {
        let queue = &mut self.deduplication_queue.0;
        let Some((_, number)) = queue.front().copied().filter(|(due_ms, _)| *due_ms <= now_ms) else {
            return;
        };
        let tenant = &mut self.all[number as usize - 1];
        if !tenant.requests.forget_old(now_ms) {
            queue.pop_front();
            if !tenant.requests.is_empty() {
                queue.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
            }
        }
        tenant.value.requests_hash = tenant.requests.state_hash();
        tenant.mark(&mut self.changed, &mut self.dirty, number);
    }

    /// A hash of everything that the log determines.
    #[cfg(test)]
    pub(crate) fn state_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for tenant in &self.all {
            tenant.value.hash_into(&tenant.name, &mut hasher);
        }
        hasher.digest()
    }

    fn add(&mut self, tenant: Tenant, stamp: Stamp) {
        let number = self.all.len() as u32 + 1;
        if !tenant.requests.is_empty() {
            self.deduplication_queue.push(number, stamp);
        }
        self.numbers.insert(Arc::clone(&tenant.name), number);
        self.all.push(tenant);
        self.all[number as usize - 1].mark(&mut self.changed, &mut self.dirty, number);
    }
}

impl DeduplicationQueue {
    /// Appends a tenant that begins to remember requests.
    fn push(&mut self, number: u32, stamp: Stamp) {
        if stamp.format <= SHARED_AGING_FORMAT {
            self.0.push_back((stamp.now_ms.saturating_add(AGE_MS_MAX), number));
        }
    }
}

impl Tenant {
    /// Notes, once, that it changed.
    fn mark(&mut self, changed: &mut Vec<u32>, dirty: &mut Vec<u32>, number: u32) {
        if !std::mem::replace(&mut self.changed, true) {
            changed.push(number);
        }
        if !std::mem::replace(&mut self.dirty, true) {
            dirty.push(number);
        }
    }

    fn new(name: Arc<str>, analyzer: Analyzer) -> Self {
        Self {
            name,
            value: TenantValue::new(analyzer),
            requests: RequestWindow::default(),
            changed: false,
            dirty: false,
        }
    }

    fn apply(&mut self, request: Option<Request>, change: Change, stamp: Stamp) -> Effect {
        self.value.seq = stamp.seq;
        if stamp.format > SHARED_AGING_FORMAT {
            self.requests.forget_old(stamp.now_ms);
        }
        let effect = match request {
            Some(request) => self.apply_once(&request, change, stamp),
            None => change.apply(&mut self.value, stamp),
        };
        self.value.requests_hash = self.requests.state_hash();
        effect
    }

    /// Carries out a change, unless its request is known or can't be told from one that was
    /// forgotten.
    fn apply_once(&mut self, request: &Request, change: Change, stamp: Stamp) -> Effect {
        match self.requests.check(request, stamp.now_ms) {
            Seen::Before(effect) => Self::answer_again(effect, request, &change),
            Seen::Never => {
                let effect = change.apply(&mut self.value, stamp);
                self.requests.remember(request, effect.clone(), stamp.now_ms);
                effect
            }
            Seen::Reused => Err(Refusal::RequestReused { id: request.id }),
            Seen::Expired { horizon_ms } => Err(Refusal::RequestExpired { id: request.id, horizon_ms }),
            Seen::FromFuture { now_ms } => Err(Refusal::RequestFromFuture { id: request.id, now_ms }),
        }
    }

    /// What came of a request the first time, for the same request. Fingerprints of two kinds of
    /// commands can be made to be the same.
    fn answer_again(effect: Effect, request: &Request, change: &Change) -> Effect {
        match effect {
            Ok(answer) if !answer.is_of(change) => Err(Refusal::RequestReused { id: request.id }),
            effect => effect,
        }
    }
}

#[cfg(test)]
mod tests;
