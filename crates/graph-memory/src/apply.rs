//! The state of all tenants, and the one way to change it: [`Tenants::apply`], in log order.
//!
//! Here it is decided which tenant a command is for and whether it is sent again; what it does is its kind's own affair, see
//! [`command`](crate::command).

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
    /// The tenants that remember requests, each once, with the log's time at which some of them may be old; in the order
    /// of that time.
    deduplication: VecDeque<(u64, u32)>,
}

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
        self.forget_old_requests(stamp.now_ms);
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
                        self.add(tenant, stamp.now_ms);
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
            self.deduplication.push_back((stamp.now_ms.saturating_add(AGE_MS_MAX), number));
        }
        effect
    }

    /// Shows `publish` the next value of each tenant that changed since the last call, with its number and name.
    pub(crate) fn publish_changed(&mut self, mut publish: impl FnMut(u32, &Arc<str>, &TenantValue)) {
        for number in self.changed.drain(..) {
            let tenant = &mut self.all[number as usize - 1];
            tenant.changed = false;
            publish(number, &tenant.name, &tenant.value);
        }
    }

    /// Hands what should be built for the indexes of the tenants that changed since the last call to `build`.
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

    /// Forgets a few old requests of the tenant whose turn it is: a constant amount of work for a command, and more
    /// than a command adds. When none is left that is old, it is the next one's turn.
    fn forget_old_requests(&mut self, now_ms: u64) {
        let Some((_, number)) = self.deduplication.front().copied().filter(|(due_ms, _)| *due_ms <= now_ms)
        else {
            return;
        };
        let tenant = &mut self.all[number as usize - 1];
        if !tenant.requests.forget_old(now_ms) {
            self.deduplication.pop_front();
            if !tenant.requests.is_empty() {
                self.deduplication.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
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

    fn add(&mut self, tenant: Tenant, now_ms: u64) {
        let number = self.all.len() as u32 + 1;
        if !tenant.requests.is_empty() {
            self.deduplication.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
        }
        self.numbers.insert(Arc::clone(&tenant.name), number);
        self.all.push(tenant);
        self.all[number as usize - 1].mark(&mut self.changed, &mut self.dirty, number);
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
        let Some(request) = request else {
            return change.apply(&mut self.value, stamp);
        };
        let effect = match self.requests.check(&request, stamp.now_ms) {
            Seen::Before(effect) => Self::answer_again(effect, &request, &change),
            Seen::Never => {
                let effect = change.apply(&mut self.value, stamp);
                self.requests.remember(&request, effect.clone(), stamp.now_ms);
                effect
            }
            Seen::Reused => Err(Refusal::RequestReused { id: request.id }),
            Seen::Expired { horizon_ms } => Err(Refusal::RequestExpired { id: request.id, horizon_ms }),
            Seen::FromFuture { now_ms } => Err(Refusal::RequestFromFuture { id: request.id, now_ms }),
        };
        self.value.requests_hash = self.requests.state_hash();
        effect
    }

    /// What came of a request the first time, for the same request. Fingerprints of two kinds of commands can be made to be the same.
    fn answer_again(effect: Effect, request: &Request, change: &Change) -> Effect {
        match effect {
            Ok(answer) if !answer.is_of(change) => Err(Refusal::RequestReused { id: request.id }),
            effect => effect,
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::{Allocate, Id, Limits, Patch, RequestId, Seq};
    use steadfast_text_index::{Language, Query};
    use steadfast_vector_index::Metric;

    use super::*;
    use crate::command::{Context, Deletion, EncodedCommand, MemoryPatch, NewMemory, Operation, Registered};

    const NOW: u64 = 1_000_000_000;

    fn encoded<O: Registered>(request: O::Request, analyzer: Analyzer, tenant: TenantKey) -> EncodedCommand {
        let context = Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer };
        EncodedCommand::new(Command::new(tenant, None, O::resolve(request, &context).unwrap()))
    }

    fn allocate(text: &str, made_by: Analyzer, tenant: TenantKey) -> EncodedCommand {
        encoded::<NewMemory>(Allocate::new(text), made_by, tenant)
    }

    fn stamp(seq: u64, now_ms: u64) -> Stamp {
        Stamp { seq: Seq::new(seq), now_ms }
    }

    fn delete(tenant: u32, request: Option<(RequestId, usize)>) -> Command {
        let context =
            Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer: Analyzer::new() };
        let deletion = Deletion::resolve(Id::new(1).into(), &context).unwrap();
        Command::new(TenantKey::Number(tenant), request, deletion)
    }

    fn found(tenants: &Tenants, query: &str) -> u64 {
        let value = &tenants.all[0].value;
        let hits = value.text().search(&Query::any(&value.analyzer.query_keys(query)), 100, None).hits;
        assert!(value.verify().is_ok());
        hits.len() as u64
    }

    /// What the first command says is settled, whatever analyzer later documents were made by, or none as in a replay.
    #[test]
    fn a_tenant_keeps_its_analyzer_and_makes_documents_of_others_anew() {
        let stops = Analyzer::new().with_stop_words(Language::English);
        for (own, other, the) in [(stops, Analyzer::new(), 0), (Analyzer::new(), stops, 3)] {
            let name = |analyzer| TenantKey::Name { name: "acme".into(), tenants_max: 9, analyzer };
            let update = |made_by| {
                let request = (Id::new(1), None, Patch::new().text("the shark"));
                encoded::<Box<MemoryPatch>>(request, made_by, TenantKey::Number(1))
            };
            let commands = [
                allocate("the whale", own, name(own)),
                // Both raced to be the first.
                allocate("the whale", other, name(other)),
                allocate("the whale", other, TenantKey::Number(1)),
                update(other),
                update(own),
            ];
            let bytes: Vec<Vec<u8>> = commands.iter().map(|encoded| encoded.parts().concat()).collect();
            let (mut live, mut replayed) = (Tenants::default(), Tenants::default());
            for (seq, (encoded, bytes)) in (1..).zip(commands.into_iter().zip(&bytes)) {
                let effect = live.apply(encoded.command, stamp(seq, NOW));
                assert!(effect.is_ok(), "{effect:?}");
                let decoded = Command::decode(bytes).unwrap();
                assert_eq!(replayed.apply(decoded, stamp(seq, NOW)), effect);
            }
            for tenants in [&live, &replayed] {
                assert_eq!(tenants.all[0].value.analyzer, own);
                assert_eq!((found(tenants, "whale"), found(tenants, "shark")), (2, 1));
                assert_eq!(found(tenants, "the"), the);
                assert_eq!(tenants.all[0].value.text().total_tokens(), 3 + the);
            }
            assert_eq!(live.state_hash(), replayed.state_hash());
            live.all[0].value.analyzer = other;
            assert_ne!(live.state_hash(), replayed.state_hash(), "the analyzer is part of the state");
        }
    }

    /// Nobody's hash is safe from who looks for two inputs that share it; the caller still gets an answer of its own kind.
    #[test]
    fn a_fingerprint_that_another_kind_of_command_shares_is_another_use_of_the_id() {
        let mut tenants = Tenants::default();
        tenants.add(Tenant::new("acme".into(), Analyzer::new()), NOW);
        let command = allocate("text", Analyzer::new(), TenantKey::Number(1)).command;
        let id = RequestId::from_parts(NOW, 1);
        let request = Some(Request { id, fingerprint: 7, ids_max: 10 });
        let first = tenants.apply(Command { request, ..command }, stamp(1, NOW));
        assert!(first.is_ok());
        let other = Command { request, ..delete(1, None) };
        assert_eq!(tenants.apply(other, stamp(2, NOW)), Err(Refusal::RequestReused { id }));
        let command = allocate("text", Analyzer::new(), TenantKey::Number(1)).command;
        assert_eq!(tenants.apply(Command { request, ..command }, stamp(3, NOW)), first);
    }

    /// Symptom: a tenant that fell silent kept its requests in memory for ever. Cause: it forgot only with its own next one.
    #[test]
    fn what_a_silent_tenant_remembers_is_forgotten_a_little_with_each_command_of_others() {
        let mut tenants = Tenants::default();
        for name in ["silent", "busy"] {
            tenants.add(Tenant::new(name.into(), Analyzer::new()), NOW);
        }
        let mut seq = 0;
        let mut apply = |tenants: &mut Tenants, number, issued_ms: Option<u64>, now_ms| {
            seq += 1;
            let id = |issued_ms| RequestId::from_parts(issued_ms, seq);
            let request = issued_ms.map(|issued_ms| (id(issued_ms), 1000));
            tenants.apply(delete(number, request), stamp(seq, now_ms))
        };
        for n in 0..1000 {
            let effect = apply(&mut tenants, 1, Some(NOW + n), NOW + n);
            assert_eq!(effect, Err(Refusal::UnknownId { id: Id::new(1) }));
        }
        let later = NOW + 1000 + AGE_MS_MAX;
        tenants.publish_changed(|_, _, _| ());
        apply(&mut tenants, 2, None, later).unwrap_err();
        assert!(!tenants.all[0].requests.is_empty(), "a thousand at once would make everybody wait");
        let mut published = Vec::new();
        tenants.publish_changed(|number, _, value| published.push((number, value.requests_hash)));
        let hash = tenants.all[0].requests.state_hash();
        assert!(published.contains(&(1, hash)), "what was forgotten is in the value's hash");
        for _ in 0..500 {
            apply(&mut tenants, 2, None, later).unwrap_err();
        }
        assert!(tenants.all[0].requests.is_empty() && tenants.deduplication.is_empty());
        let horizon_ms = NOW + 999;
        let effect = apply(&mut tenants, 1, Some(horizon_ms), later);
        assert!(
            matches!(effect, Err(Refusal::RequestExpired { horizon_ms: horizon, .. }) if horizon == horizon_ms)
        );
        let unknown = Err(Refusal::UnknownId { id: Id::new(1) });
        assert_eq!(apply(&mut tenants, 1, Some(horizon_ms + 1), later), unknown);
        assert_eq!(tenants.deduplication.len(), 1, "it remembers again");
    }
}
