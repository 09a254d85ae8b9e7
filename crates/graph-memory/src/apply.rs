//! Carrying out a command: deterministic and total.
//!
//! [`Tenants::apply`] depends on the state, the command, its place in the log and the log's time, and on nothing
//! else: no configuration, no limit but those in the command, no clock, no table of Unicode, no hash map's
//! order, no floating point arithmetic. It can't fail: what goes against the state is an [`Effect`] like any other. So the
//! same log makes the same state everywhere, and a durable command can't keep a store from opening.
//! The text index, being derived, takes no part in any outcome.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use steadfast_memory_api::{
    Answer, Content, ContentParts, Id, MemoryError, Outcome, Problem, Record, RequestId, Seq, Version,
};
use steadfast_text_index::Analyzer;

use crate::command::{Change, Command, MemoryPatch, NewMemory, NewVector, TenantKey};
use crate::filter::tags_of;
use crate::value::{
    AGE_MS_MAX, Entry, IndexBuild, IndexBuilt, Request, RequestWindow, Seen, TenantValue, VectorRefusal,
    index_document,
};

/// What came of a command, small enough to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was carried out.
    Done(Answer),
    TooManyTenants {
        max: u64,
    },
    UnknownTenant,
    UnknownId {
        id: Id,
    },
    VersionConflict {
        id: Id,
        expected: Version,
        found: Version,
    },
    SlugTaken {
        by: Id,
    },
    TooManyAttributes {
        count: u64,
        max: u64,
    },
    AttributesTooLong {
        bytes: u64,
        max: u64,
    },
    WrongDimensions {
        expected: u64,
        found: u64,
    },
    ZeroVector,
    RequestExpired {
        id: RequestId,
        horizon_ms: u64,
    },
    RequestFromFuture {
        id: RequestId,
        now_ms: u64,
    },
    RequestReused {
        id: RequestId,
    },
}

impl Effect {
    /// As the caller of a change gets it; `slug` is the one that was asked for.
    pub(crate) fn into_result(self, tenant: &str, slug: Option<String>) -> Result<Answer, MemoryError> {
        Err(match self {
            Self::Done(answer) => return Ok(answer),
            Self::UnknownTenant => MemoryError::UnknownTenant { tenant: tenant.into() },
            Self::TooManyTenants { max } => MemoryError::QuotaExceeded { limit: "tenants", max },
            Self::UnknownId { id } => MemoryError::UnknownId { id },
            Self::VersionConflict { id, expected, found } => {
                MemoryError::VersionConflict { id, expected, found }
            }
            Self::SlugTaken { by } => MemoryError::SlugTaken { slug: slug.unwrap_or_default(), by },
            Self::TooManyAttributes { count, max } => {
                let problem = Problem::TooMany { count: count as usize, count_max: max as usize };
                MemoryError::invalid("attributes", problem)
            }
            Self::AttributesTooLong { bytes, max } => {
                let problem = Problem::TooLong { bytes: bytes as usize, bytes_max: max as usize };
                MemoryError::invalid("attributes", problem)
            }
            Self::WrongDimensions { expected, found } => {
                let problem = Problem::WrongDimensions { found: found as usize, expected: expected as usize };
                MemoryError::invalid("vector", problem)
            }
            Self::ZeroVector => MemoryError::invalid("vector", Problem::ZeroVector),
            Self::RequestExpired { id: request_id, horizon_ms } => {
                MemoryError::RequestIdExpired { request_id, horizon_ms }
            }
            Self::RequestFromFuture { id: request_id, now_ms } => {
                MemoryError::RequestIdFromFuture { request_id, now_ms }
            }
            Self::RequestReused { id: request_id } => MemoryError::RequestIdReused { request_id },
        })
    }

    fn refused_vector(refusal: VectorRefusal, vector: Option<&NewVector>) -> Self {
        match refusal {
            VectorRefusal::Dimensions { expected } => Self::WrongDimensions {
                expected: expected as u64,
                found: vector.map_or(0, |vector| vector.values.len() as u64),
            },
            VectorRefusal::Zero => Self::ZeroVector,
        }
    }

    /// A stable form for hashing.
    pub(crate) fn hash_into(&self, bytes: &mut Vec<u8>) {
        // The numbers of the effects are part of what replay must reproduce: never reuse one.
        let (kind, numbers): (u8, [u64; 4]) = match *self {
            Self::Done(Answer { id, version, outcome, seq }) => {
                let outcome = match outcome {
                    Outcome::Created => 1,
                    Outcome::Existing => 2,
                    Outcome::Updated => 3,
                    Outcome::Deleted => 4,
                    _ => unreachable!("apply makes no other outcome"),
                };
                (1, [id.get(), version.get(), outcome, seq.get()])
            }
            Self::TooManyTenants { max } => (2, [max, 0, 0, 0]),
            Self::UnknownTenant => (3, [0; 4]),
            Self::UnknownId { id } => (4, [id.get(), 0, 0, 0]),
            Self::VersionConflict { id, expected, found } => (5, [id.get(), expected.get(), found.get(), 0]),
            Self::SlugTaken { by } => (6, [by.get(), 0, 0, 0]),
            Self::TooManyAttributes { count, max } => (7, [count, max, 0, 0]),
            Self::RequestExpired { horizon_ms, .. } => (8, [horizon_ms, 0, 0, 0]),
            Self::RequestFromFuture { now_ms, .. } => (9, [now_ms, 0, 0, 0]),
            Self::RequestReused { .. } => (10, [0; 4]),
            Self::AttributesTooLong { bytes, max } => (11, [bytes, max, 0, 0]),
            Self::WrongDimensions { expected, found } => (12, [expected, found, 0, 0]),
            Self::ZeroVector => (13, [0; 4]),
        };
        bytes.push(kind);
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
}

/// The state of all tenants, as the committer has it: the next values, not yet published.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    /// By number, counted from 1.
    all: Vec<Tenant>,
    numbers: HashMap<Arc<str>, u32>,
    /// Numbers of those that changed since the last [`Tenants::publish_changed`].
    changed: Vec<u32>,
    /// Numbers of those that changed since the last [`Tenants::plan_touched`].
    touched: Vec<u32>,
    /// Numbers of those whose indexes were found to be behind.
    behind: Vec<u32>,
    /// The tenants that remember requests, each once, with the log's time at which some of them may be old; in the order
    /// of that time.
    remembering: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    value: TenantValue,
    requests: RequestWindow,
    changed: bool,
    touched: bool,
}

impl Tenants {
    /// Carries out a command at its place in the log.
    pub(crate) fn apply(&mut self, command: Command, seq: Seq, now_ms: u64) -> Effect {
        self.forget_old_requests(now_ms);
        let number = match command.tenant {
            TenantKey::Number(number) => number,
            TenantKey::Name { name, tenants_max, analyzer } => match self.numbers.get(name.as_str()) {
                Some(number) => *number,
                None if self.all.len() as u64 >= tenants_max => {
                    return Effect::TooManyTenants { max: tenants_max };
                }
                None => {
                    let mut tenant = Tenant::new(name.into(), analyzer);
                    let effect = tenant.apply(command.request, command.change, seq, now_ms);
                    // A tenant comes into being with its first memory, or not at all.
                    if matches!(effect, Effect::Done(_)) {
                        self.add(tenant, now_ms);
                    }
                    return effect;
                }
            },
        };
        let Some(tenant) = number.checked_sub(1).and_then(|at| self.all.get_mut(at as usize)) else {
            return Effect::UnknownTenant;
        };
        tenant.mark(&mut self.changed, &mut self.touched, number);
        let remembered_none = tenant.requests.is_empty();
        let effect = tenant.apply(command.request, command.change, seq, now_ms);
        if remembered_none && !tenant.requests.is_empty() {
            self.remembering.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
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
    pub(crate) fn plan_touched(&mut self, mut build: impl FnMut(u32, IndexBuild)) {
        for number in self.touched.drain(..) {
            let tenant = &mut self.all[number as usize - 1];
            tenant.touched = false;
            while let Some(planned) = tenant.value.plan_index() {
                build(number, planned);
            }
            if tenant.value.index_is_behind() {
                self.behind.push(number);
            }
        }
    }

    /// Puts in place what was built for a tenant.
    pub(crate) fn install(&mut self, number: u32, built: IndexBuilt) {
        let tenant = &mut self.all[number as usize - 1];
        tenant.value.install_index(built);
        tenant.mark(&mut self.changed, &mut self.touched, number);
    }

    /// Whether any tenant's indexes are behind.
    pub(crate) fn is_behind(&mut self) -> bool {
        let all = &self.all;
        self.behind.retain(|number| all[*number as usize - 1].value.index_is_behind());
        !self.behind.is_empty()
    }

    /// Forgets a few old requests of the tenant whose turn it is: a constant amount of work for a command, and more
    /// than a command adds. When none is left that is old, it is the next one's turn.
    fn forget_old_requests(&mut self, now_ms: u64) {
        let Some((_, number)) = self.remembering.front().copied().filter(|(due_ms, _)| *due_ms <= now_ms)
        else {
            return;
        };
        let tenant = &mut self.all[number as usize - 1];
        if !tenant.requests.forget_old(now_ms) {
            self.remembering.pop_front();
            if !tenant.requests.is_empty() {
                self.remembering.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
            }
        }
        tenant.value.requests_hash = tenant.requests.state_hash();
        tenant.mark(&mut self.changed, &mut self.touched, number);
    }

    fn add(&mut self, tenant: Tenant, now_ms: u64) {
        let number = self.all.len() as u32 + 1;
        if !tenant.requests.is_empty() {
            self.remembering.push_back((now_ms.saturating_add(AGE_MS_MAX), number));
        }
        self.numbers.insert(Arc::clone(&tenant.name), number);
        self.all.push(tenant);
        self.all[number as usize - 1].mark(&mut self.changed, &mut self.touched, number);
    }
}

impl Tenant {
    /// Notes, once, that it changed.
    fn mark(&mut self, changed: &mut Vec<u32>, touched: &mut Vec<u32>, number: u32) {
        if !std::mem::replace(&mut self.changed, true) {
            changed.push(number);
        }
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(number);
        }
    }

    fn new(name: Arc<str>, analyzer: Analyzer) -> Self {
        Self {
            name,
            value: TenantValue::new(analyzer),
            requests: RequestWindow::default(),
            changed: false,
            touched: false,
        }
    }

    fn apply(&mut self, request: Option<Request>, change: Change, seq: Seq, now_ms: u64) -> Effect {
        self.value.seq = seq;
        let Some(request) = request else {
            return self.value.apply(change, seq, now_ms);
        };
        let effect = match self.requests.check(&request, now_ms) {
            Seen::Before(effect) => effect,
            Seen::Never => {
                let effect = self.value.apply(change, seq, now_ms);
                self.requests.remember(&request, effect, now_ms);
                effect
            }
            Seen::Reused => Effect::RequestReused { id: request.id },
            Seen::Expired { horizon_ms } => Effect::RequestExpired { id: request.id, horizon_ms },
            Seen::FromFuture { now_ms } => Effect::RequestFromFuture { id: request.id, now_ms },
        };
        self.value.requests_hash = self.requests.state_hash();
        effect
    }
}

impl TenantValue {
    fn apply(&mut self, change: Change, seq: Seq, now_ms: u64) -> Effect {
        match change {
            Change::Allocate(new) => self.allocate(new, seq, now_ms),
            Change::Update(patch) => self.update(*patch, seq, now_ms),
            Change::Delete { id, if_version } => self.delete(id, if_version, seq),
        }
    }

    fn allocate(&mut self, new: NewMemory, seq: Seq, now_ms: u64) -> Effect {
        if let Some(folded) = new.content.folded_slug()
            && let Some(known) = self.by_slug(folded)
        {
            let Record { id, version, .. } = *known.record;
            // Another spelling is another intention: it never gets somebody else's memory.
            let same = known.record.slug() == new.content.slug();
            if new.refuse_existing || !same {
                return Effect::SlugTaken { by: id };
            }
            return Effect::Done(Answer { id, version, outcome: Outcome::Existing, seq });
        }
        let (id, version) = (self.next_id(), Version::new(1));
        let vector_place = match new.vector.as_ref().map(|vector| self.index_vector(id, vector)) {
            Some(Err(refusal)) => return Effect::refused_vector(refusal, new.vector.as_ref()),
            placed => placed.and_then(Result::ok),
        };
        let document = match new.document {
            Some((by, document)) if by == self.analyzer => document,
            _ => index_document(&new.content, self.analyzer),
        };
        let place = self.index_text(id, &document);
        let record =
            Record { id, version, created_ms: now_ms, updated_ms: now_ms, seq, content: new.content };
        self.insert(Entry { record: Arc::new(record), place, vector_place });
        Effect::Done(Answer { id, version, outcome: Outcome::Created, seq })
    }

    fn update(&mut self, patch: MemoryPatch, seq: Seq, now_ms: u64) -> Effect {
        let entry = match self.expect(patch.id, patch.if_version) {
            Ok(entry) => entry.clone(),
            Err(effect) => return effect,
        };
        let before = &entry.record.content;
        let mut attributes = before.attributes();
        let (count_before, bytes_before) = (attributes.len(), attributes.bytes());
        for name in &patch.remove {
            attributes.remove(name);
        }
        for (name, value) in patch.set {
            attributes.set(name, value);
        }
        let count = attributes.len();
        if count > patch.attributes_max && count > count_before {
            return Effect::TooManyAttributes { count: count as u64, max: patch.attributes_max as u64 };
        }
        // What was there before a limit was lowered may stay.
        let bytes = attributes.bytes();
        if bytes > patch.attributes_bytes_max && bytes > bytes_before {
            let max = patch.attributes_bytes_max as u64;
            return Effect::AttributesTooLong { bytes: bytes as u64, max };
        }
        let (id, version) = (patch.id, Version::new(entry.record.version.get() + 1));
        if let Some(vector) = &patch.vector
            && let Err(refusal) = self.check_vector(vector)
        {
            return Effect::refused_vector(refusal, Some(vector));
        }
        let slug = before.slug();
        let vector_before = if patch.vector.is_some() { Vec::new() } else { before.vector() };
        let content = Content::pack(&ContentParts {
            text: patch.text.as_ref().map_or(before.text(), |(text, _)| text),
            kind: patch.kind.as_deref().unwrap_or(before.kind()),
            slug,
            folded_slug: before.folded_slug().filter(|folded| Some(*folded) != slug),
            attributes: &attributes,
            importance: patch.importance.unwrap_or(before.importance()),
            vector: patch.vector.as_ref().map_or(&vector_before, |vector| &vector.values),
        });
        let (tags_before, tags) = (tags_of(before), tags_of(&content));
        let document = match patch.text {
            Some((_, Some((by, document)))) if by == self.analyzer => Some(document.with_tags(tags)),
            Some(_) => Some(index_document(&content, self.analyzer)),
            // What it is filtered by is in the text index, too.
            None => (tags != tags_before).then(|| index_document(&content, self.analyzer)),
        };
        let place = match document {
            Some(document) => {
                self.unindex_text(entry.place, before);
                self.index_text(id, &document)
            }
            None => entry.place,
        };
        let vector_place = match &patch.vector {
            Some(vector) => {
                self.unindex_vector(entry.vector_place);
                // It was checked before anything was changed.
                self.index_vector(id, vector).ok()
            }
            None => entry.vector_place,
        };
        let created_ms = entry.record.created_ms;
        let record = Record { id, version, created_ms, updated_ms: now_ms, seq, content };
        self.replace(Entry { record: Arc::new(record), place, vector_place });
        Effect::Done(Answer { id, version, outcome: Outcome::Updated, seq })
    }

    fn delete(&mut self, id: Id, if_version: Option<Version>, seq: Seq) -> Effect {
        let version = match self.expect(id, if_version) {
            Ok(entry) => entry.record.version,
            Err(effect) => return effect,
        };
        self.remove(id);
        Effect::Done(Answer { id, version, outcome: Outcome::Deleted, seq })
    }

    /// The memory `id`, if it has the expected version.
    fn expect(&self, id: Id, if_version: Option<Version>) -> Result<&Entry, Effect> {
        let entry = self.entry(id).ok_or(Effect::UnknownId { id })?;
        let found = entry.record.version;
        match if_version {
            Some(expected) if expected != found => Err(Effect::VersionConflict { id, expected, found }),
            _ => Ok(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_memory_api::{Allocate, Limits, Patch};
    use steadfast_text_index::{Language, Query};
    use steadfast_vector_index::Metric;
    use xxhash_rust::xxh3::Xxh3;

    use super::*;
    use crate::command::Encoded;

    const NOW: u64 = 1_000_000_000;

    fn allocate(text: &str, made_by: Analyzer, tenant: TenantKey) -> Encoded {
        let request = Allocate::new(text);
        Encoded::allocate(request, &Limits::default(), Metric::Cosine, made_by, tenant)
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
                let patch = Patch::new().text("the shark");
                let limits = Limits::default();
                Encoded::update(
                    Id::new(1),
                    None,
                    patch,
                    &limits,
                    Metric::Cosine,
                    made_by,
                    TenantKey::Number(1),
                )
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
                let effect = live.apply(encoded.command, Seq::new(seq), NOW);
                assert!(matches!(effect, Effect::Done(_)), "{effect:?}");
                let decoded = Command::decode(bytes).unwrap();
                assert_eq!(replayed.apply(decoded, Seq::new(seq), NOW), effect);
            }
            for tenants in [&live, &replayed] {
                assert_eq!(tenants.all[0].value.analyzer, own);
                assert_eq!((found(tenants, "whale"), found(tenants, "shark")), (2, 1));
                assert_eq!(found(tenants, "the"), the);
                assert_eq!(tenants.all[0].value.text().length(), 3 + the);
            }
            let hash = |tenants: &Tenants| {
                let mut hasher = Xxh3::new();
                tenants.all[0].value.hash_into(&mut hasher);
                hasher.digest()
            };
            assert_eq!(hash(&live), hash(&replayed));
            live.all[0].value.analyzer = other;
            assert_ne!(hash(&live), hash(&replayed), "the analyzer is part of the state");
        }
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
            let request =
                issued_ms.map(|issued_ms| Request { id: id(issued_ms), fingerprint: 0, ids_max: 1000 });
            let change = Change::Delete { id: Id::new(1), if_version: None };
            tenants.apply(
                Command { tenant: TenantKey::Number(number), request, change },
                Seq::new(seq),
                now_ms,
            )
        };
        for n in 0..1000 {
            let effect = apply(&mut tenants, 1, Some(NOW + n), NOW + n);
            assert_eq!(effect, Effect::UnknownId { id: Id::new(1) });
        }
        let later = NOW + 1000 + AGE_MS_MAX;
        tenants.publish_changed(|_, _, _| ());
        apply(&mut tenants, 2, None, later);
        assert!(!tenants.all[0].requests.is_empty(), "a thousand at once would make everybody wait");
        let mut published = Vec::new();
        tenants.publish_changed(|number, _, value| published.push((number, value.requests_hash)));
        let hash = tenants.all[0].requests.state_hash();
        assert!(published.contains(&(1, hash)), "what was forgotten is in the value's hash");
        for _ in 0..500 {
            apply(&mut tenants, 2, None, later);
        }
        assert!(tenants.all[0].requests.is_empty() && tenants.remembering.is_empty());
        let horizon_ms = NOW + 999;
        let effect = apply(&mut tenants, 1, Some(horizon_ms), later);
        assert!(
            matches!(effect, Effect::RequestExpired { horizon_ms: horizon, .. } if horizon == horizon_ms)
        );
        assert_eq!(apply(&mut tenants, 1, Some(horizon_ms + 1), later), Effect::UnknownId { id: Id::new(1) });
        assert_eq!(tenants.remembering.len(), 1, "it remembers again");
    }
}
