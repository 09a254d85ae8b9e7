//! The store against a naive model: a map of records, a map of slugs, a map of remembered requests.
//!
//! Random sequences of changes, retries, reads and reopenings run on both; every answer, errors among them, must be the
//! model's. The log's segments are small, so it rolls over. Scores aren't modelled; which memories a word finds is.
//!
//! Below, threads race for versions, slugs and request ids, and a history of many threads is replayed into
//! the model in the order of its sequence numbers.
// tidy: long because the model and its state machine are one argument.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use steadfast_graph_memory::{
    Allocate, Answer, AttributeValue, Attributes, Config, Delete, GraphMemory, Id, LogConfig, Matched,
    Memory, MemoryError, OnSlug, Outcome, Patch, Record, RequestId, Search, Seq, Tenant, Version,
};
use steadfast_testkit::TestRng;

use crate::clock::StoreClock;

const MINUTE_MS: u64 = 60_000;
const NOW_MS: u64 = 1_700_000_000_000;
const TENANTS: [&str; 2] = ["acme", "other"];
const WORDS: [&str; 5] = ["whale", "Whale", "song", "deep", "SONG"];
/// Makes a text large, so that the log rolls over.
const FILLER: &str = "filler ";
/// Spellings, each with what it is compared by.
const SLUGS: [(&str, &str); 9] = [
    ("note", "note"),
    ("Note", "note"),
    ("ｎｏｔｅ", "note"),
    ("ﬁsh", "fish"),
    ("FISH", "fish"),
    ("caf\u{e9}", "caf\u{e9}"),
    ("CAFE\u{301}", "caf\u{e9}"),
    ("a-b", "a-b"),
    ("a_b", "a_b"),
];

/// A change as both sides understand it. Two that differ are two different requests.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Allocate {
        text: String,
        slug: Option<usize>,
        refuse: bool,
    },
    Update {
        id: u64,
        if_version: Option<u64>,
        text: Option<String>,
        set: Option<(char, i64)>,
        remove: Option<char>,
    },
    Delete {
        id: u64,
        if_version: Option<u64>,
    },
}

type Result<T> = std::result::Result<T, MemoryError>;

/// A change on its way.
type Sending<'a> = Pin<Box<dyn Future<Output = Result<Answer>> + Send + 'a>>;

impl Change {
    fn send(self, tenant: &Tenant, request_id: Option<RequestId>) -> Sending<'_> {
        match self {
            Self::Allocate { text, slug, refuse } => {
                let slug = slug.map(|slug| SLUGS[slug].0.to_owned());
                let on_slug = if refuse { OnSlug::Refuse } else { OnSlug::Return };
                Box::pin(tenant.allocate(Allocate { slug, on_slug, request_id, ..Allocate::new(text) }))
            }
            Self::Update { id, if_version, text, set, remove } => {
                let set = set.map(|(name, value)| (name.to_string(), value)).into_iter().collect();
                let remove = remove.map(String::from).into_iter().collect();
                let patch = Patch { text, set, remove, request_id, ..Patch::new() };
                Box::pin(tenant.update(Id::new(id), if_version.map(Version::new), patch))
            }
            Self::Delete { id, if_version } => {
                let if_version = if_version.map(Version::new);
                Box::pin(tenant.delete(Delete { if_version, request_id, ..Delete::new(Id::new(id)) }))
            }
        }
    }

    fn send_and_wait(self, tenant: &Tenant) -> Result<Answer> {
        all_in_order(vec![self.send(tenant, None)]).remove(0)
    }
}

/// Begins all of them, in order, before it waits for any.
fn all_in_order(mut sending: Vec<Sending<'_>>) -> Vec<Result<Answer>> {
    let mut answers = vec![None; sending.len()];
    let all = std::future::poll_fn(|context| {
        for (sending, answer) in sending.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = sending.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(all);
    answers.into_iter().map(|answer| answer.expect("all are ready")).collect()
}

#[derive(Default)]
struct Model {
    tenants: [ModelTenant; 2],
    last_seq: u64,
    log_ms: u64,
}

/// A memory as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Remembered {
    id: Id,
    version: Version,
    slug: Option<String>,
    kind: String,
    text: String,
    attributes: Attributes,
    importance: f32,
    created_ms: u64,
    updated_ms: u64,
    seq: Seq,
}

impl From<&Record> for Remembered {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id,
            version: record.version,
            slug: record.slug().map(str::to_owned),
            kind: record.kind().into(),
            text: record.text().into(),
            attributes: record.attributes(),
            importance: record.importance(),
            created_ms: record.created_ms,
            updated_ms: record.updated_ms,
            seq: record.seq,
        }
    }
}

#[derive(Default)]
struct ModelTenant {
    records: BTreeMap<u64, Remembered>,
    created: u64,
    /// With what came of it, and when.
    requests: BTreeMap<RequestId, (Change, Result<Answer>, u64)>,
    horizon_ms: u64,
}

impl Model {
    /// What the next change must be answered with; it is the next command in the log, unless the tenant isn't there.
    fn next(
        &mut self,
        tenant: usize,
        change: &Change,
        request_id: Option<RequestId>,
        clock_ms: u64,
    ) -> Result<Answer> {
        if !matches!(change, Change::Allocate { .. }) {
            self.there(tenant)?;
        }
        self.last_seq += 1;
        self.log_ms = self.log_ms.max(clock_ms);
        self.tenants[tenant].forget_old_requests(self.log_ms);
        self.tenants[tenant].request(change, request_id, Seq::new(self.last_seq), self.log_ms)
    }

    /// The tenant, which comes into being with its first memory.
    fn there(&self, tenant: usize) -> Result<&ModelTenant> {
        let unknown = MemoryError::UnknownTenant { tenant: TENANTS[tenant].into() };
        Some(&self.tenants[tenant]).filter(|tenant| tenant.created > 0).ok_or(unknown)
    }
}

impl ModelTenant {
    /// With each command of its own two requests, those issued first.
    fn forget_old_requests(&mut self, now_ms: u64) {
        for _ in 0..2 {
            if let Some(first) = self.requests.first_entry()
                && first.get().2 + 10 * MINUTE_MS <= now_ms
            {
                let (forgotten, _) = first.remove_entry();
                self.horizon_ms = self.horizon_ms.max(forgotten.issued_ms());
            }
        }
    }

    fn request(
        &mut self,
        change: &Change,
        request_id: Option<RequestId>,
        seq: Seq,
        now_ms: u64,
    ) -> Result<Answer> {
        let Some(request_id) = request_id else { return self.change(change, seq, now_ms) };
        let horizon_ms = self.horizon_ms;
        if let Some((known, answer, _)) = self.requests.get(&request_id) {
            return if known == change {
                answer.clone()
            } else {
                Err(MemoryError::RequestIdReused { request_id })
            };
        }
        if request_id.issued_ms() <= horizon_ms {
            return Err(MemoryError::RequestIdExpired { request_id, horizon_ms });
        }
        if request_id.issued_ms() > now_ms + MINUTE_MS {
            return Err(MemoryError::RequestIdFromFuture { request_id, now_ms });
        }
        let answer = self.change(change, seq, now_ms);
        self.requests.insert(request_id, (change.clone(), answer.clone(), now_ms));
        answer
    }

    fn change(&mut self, change: &Change, seq: Seq, now_ms: u64) -> Result<Answer> {
        match change {
            Change::Allocate { text, slug, refuse } => {
                let slug = slug.map(|slug| SLUGS[slug].0);
                if let Some(slug) = slug
                    && let Some(Remembered { id, version, slug: Some(known), .. }) = self.by_slug(slug)
                {
                    return if *refuse || known != slug {
                        Err(MemoryError::SlugTaken { slug: slug.into(), by: *id })
                    } else {
                        Ok(Answer { id: *id, version: *version, outcome: Outcome::Existing, seq })
                    };
                }
                self.created += 1;
                let record = Remembered {
                    id: Id::new(self.created),
                    version: Version::new(1),
                    slug: slug.map(str::to_owned),
                    kind: String::new(),
                    text: text.clone(),
                    attributes: Attributes::new(),
                    importance: 0.5,
                    created_ms: now_ms,
                    updated_ms: now_ms,
                    seq,
                };
                let answer =
                    Answer { id: record.id, version: record.version, outcome: Outcome::Created, seq };
                self.records.insert(self.created, record);
                Ok(answer)
            }
            Change::Update { id, if_version, text, set, remove } => {
                let record = self.expect(*id, *if_version)?;
                if let Some(text) = text {
                    record.text.clone_from(text);
                }
                if let Some(name) = remove {
                    record.attributes.remove(&name.to_string());
                }
                if let Some((name, value)) = set {
                    record.attributes.set(name.to_string(), *value);
                }
                record.version = Version::new(record.version.get() + 1);
                record.updated_ms = now_ms;
                record.seq = seq;
                Ok(Answer { id: record.id, version: record.version, outcome: Outcome::Updated, seq })
            }
            Change::Delete { id, if_version } => {
                let Remembered { id, version, .. } = *self.expect(*id, *if_version)?;
                self.records.remove(&id.get());
                Ok(Answer { id, version, outcome: Outcome::Deleted, seq })
            }
        }
    }

    fn expect(&mut self, id: u64, if_version: Option<u64>) -> Result<&mut Remembered> {
        let unknown = MemoryError::UnknownId { id: Id::new(id) };
        let record = self.records.get_mut(&id).ok_or(unknown)?;
        match if_version.map(Version::new) {
            Some(expected) if expected != record.version => {
                let (id, found) = (record.id, record.version);
                Err(MemoryError::VersionConflict { id, expected, found })
            }
            _ => Ok(record),
        }
    }

    fn by_slug(&self, slug: &str) -> Option<&Remembered> {
        let compared = |slug: &str| SLUGS.iter().find(|(spelling, _)| *spelling == slug).unwrap().1;
        self.records
            .values()
            .find(|record| record.slug.as_deref().is_some_and(|known| compared(known) == compared(slug)))
    }

    /// Ids of the memories that hold `word`.
    fn holders(&self, word: &str) -> BTreeSet<Id> {
        let same = |held: &str| held.eq_ignore_ascii_case(word);
        let holders = self.records.values().filter(|record| record.text.split(' ').any(same));
        holders.map(|record| record.id).collect()
    }
}

/// Which version an update or a deletion expects.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    Current,
    Number(u64),
}

#[derive(Clone, Debug)]
enum Template {
    Allocate {
        text: String,
        slug: Option<usize>,
        refuse: bool,
    },
    Update {
        id: u64,
        expected: Expected,
        text: Option<String>,
        set: Option<(char, i64)>,
        remove: Option<char>,
    },
    Delete {
        id: u64,
        expected: Expected,
    },
}

/// How a request names itself.
#[derive(Clone, Copy, Debug)]
enum Naming {
    None,
    /// A new id, issued so far from now.
    New(i64),
    /// The id of an earlier request.
    Reuse(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Change(usize, Template, Naming),
    /// Sends an earlier request with an id again.
    Retry(usize),
    /// Several at once, which may share a batch.
    Burst(Vec<(usize, Template)>),
    Get(usize, u64),
    GetBySlug(usize, usize),
    Search(usize, usize, usize),
    /// Sets the clock on, or back.
    Tick(i64),
    Reopen {
        close: bool,
        segments_ahead: usize,
    },
}

fn texts() -> impl Strategy<Value = String> {
    let words = proptest::collection::vec(proptest::sample::select(&WORDS[..]), 1..4);
    (words, prop_oneof![4 => Just(0_usize), 1 => Just(1500)])
        .prop_map(|(words, fillers)| FILLER.repeat(fillers) + &words.join(" "))
}

fn templates() -> impl Strategy<Value = Template> {
    let id = || prop_oneof![12 => 1..10_u64, 1 => Just(0), 1 => Just(u64::MAX)];
    let expected = || {
        prop_oneof![
            1 => Just(Expected::Any),
            2 => Just(Expected::Current),
            1 => prop_oneof![0..4_u64, Just(u64::MAX)].prop_map(Expected::Number)
        ]
    };
    let name = || proptest::sample::select(vec!['a', 'b', 'c']);
    let update = (
        id(),
        expected(),
        proptest::option::of(texts()),
        proptest::option::of((name(), any::<i64>())),
        proptest::option::of(name()),
    );
    let slug = proptest::option::of(0..SLUGS.len());
    prop_oneof![
        4 => (texts(), slug, any::<bool>())
            .prop_map(|(text, slug, refuse)| Template::Allocate { text, slug, refuse }),
        4 => update
            .prop_filter("a patch changes something", |(_, _, text, set, remove)| {
                text.is_some() || set.is_some() || remove.is_some()
            })
            .prop_map(|(id, expected, text, set, remove)| {
                Template::Update { id, expected, text, set, remove }
            }),
        2 => (id(), expected()).prop_map(|(id, expected)| Template::Delete { id, expected }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tenant = || 0..TENANTS.len();
    let minute = MINUTE_MS as i64;
    let naming = prop_oneof![
        4 => Just(Naming::None),
        4 => prop_oneof![
            4 => Just(0),
            1 => Just(minute),
            1 => Just(minute + 1),
            1 => Just(-10 * minute),
            1 => Just(1 - 10 * minute),
        ]
        .prop_map(Naming::New),
        1 => any::<usize>().prop_map(Naming::Reuse),
    ];
    let step = prop_oneof![
        12 => (tenant(), templates(), naming).prop_map(|(tenant, template, naming)| {
            Step::Change(tenant, template, naming)
        }),
        3 => any::<usize>().prop_map(Step::Retry),
        3 => proptest::collection::vec((tenant(), templates()), 2..8).prop_map(Step::Burst),
        1 => (tenant(), 0..12_u64).prop_map(|(tenant, id)| Step::Get(tenant, id)),
        2 => (tenant(), 0..SLUGS.len()).prop_map(|(tenant, slug)| Step::GetBySlug(tenant, slug)),
        3 => (tenant(), 0..WORDS.len(), proptest::sample::select(vec![1_usize, 3, 10_000]))
            .prop_map(|(tenant, word, k)| Step::Search(tenant, word, k)),
        1 => proptest::sample::select(vec![1, minute, 9 * minute, 10 * minute, 11 * minute, -5 * minute])
            .prop_map(Step::Tick),
        1 => (any::<bool>(), 0..2_usize)
            .prop_map(|(close, segments_ahead)| Step::Reopen { close, segments_ahead }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A store and its model.
struct Pair<'a> {
    dir: &'a Path,
    clock: Arc<StoreClock>,
    memory: GraphMemory,
    tenants: [Tenant; 2],
    model: Model,
    /// Requests with an id that were sent.
    sent: Vec<(usize, Change, RequestId)>,
    /// What happened, by name: a test in which nothing does proves nothing.
    seen: &'a RefCell<BTreeMap<&'static str, u64>>,
}

fn open(dir: &Path, clock: &Arc<StoreClock>, segments_ahead: usize) -> (GraphMemory, [Tenant; 2]) {
    let log = LogConfig::new(64 << 10, segments_ahead);
    let config = Config::default().log(log).clock(Arc::clone(clock) as Arc<_>);
    let memory = GraphMemory::open_blocking(dir, config).unwrap();
    let tenants = TENANTS.map(|name| memory.tenant(name).unwrap());
    (memory, tenants)
}

impl<'a> Pair<'a> {
    fn new(dir: &'a Path, seen: &'a RefCell<BTreeMap<&'static str, u64>>) -> Self {
        let clock = StoreClock::at(NOW_MS);
        let (memory, tenants) = open(dir, &clock, 0);
        let model = Model { log_ms: NOW_MS, ..Model::default() };
        Self { dir, clock, memory, tenants, model, sent: Vec::new(), seen }
    }

    fn note(&self, what: &'static str) {
        *self.seen.borrow_mut().entry(what).or_default() += 1;
    }

    fn resolve(&self, tenant: usize, template: Template) -> Change {
        let version = |id: u64, expected| match expected {
            Expected::Any => None,
            Expected::Number(number) => Some(number),
            Expected::Current => {
                self.model.tenants[tenant].records.get(&id).map(|record| record.version.get())
            }
        };
        match template {
            Template::Allocate { text, slug, refuse } => Change::Allocate { text, slug, refuse },
            Template::Update { id, expected, text, set, remove } => {
                Change::Update { id, if_version: version(id, expected), text, set, remove }
            }
            Template::Delete { id, expected } => Change::Delete { id, if_version: version(id, expected) },
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Change(tenant, template, naming) => {
                let change = self.resolve(tenant, template);
                let request_id = match naming {
                    Naming::None => None,
                    Naming::New(from_now_ms) => {
                        let issued_ms = self.model.log_ms.saturating_add_signed(from_now_ms);
                        Some(RequestId::from_parts(issued_ms, self.sent.len() as u64))
                    }
                    Naming::Reuse(at) => {
                        self.sent.get(at % self.sent.len().max(1)).map(|(_, _, request_id)| *request_id)
                    }
                };
                self.change(tenant, &change, request_id);
            }
            Step::Retry(at) => {
                if let Some((tenant, change, request_id)) =
                    self.sent.get(at % self.sent.len().max(1)).cloned()
                {
                    self.note("retry");
                    self.change(tenant, &change, Some(request_id));
                }
            }
            Step::Burst(templates) => self.burst(templates),
            Step::Get(tenant, id) => {
                let unknown = MemoryError::UnknownId { id: Id::new(id) };
                let expected = self.model.there(tenant);
                let expected = expected.and_then(|tenant| tenant.records.get(&id).ok_or(unknown));
                let found = self.tenants[tenant].get_blocking(Id::new(id));
                assert_eq!(found.as_deref().map(Remembered::from).map_err(Clone::clone), expected.cloned());
            }
            Step::GetBySlug(tenant, slug) => self.check_slug(tenant, SLUGS[slug].0),
            Step::Search(tenant, word, k) => self.check_search(tenant, WORDS[word], k),
            Step::Tick(ms) => {
                let now_ms = self.clock.now().saturating_add_signed(ms);
                self.clock.set(now_ms);
            }
            Step::Reopen { close, segments_ahead } => self.reopen(close, segments_ahead),
        }
        assert_eq!(self.memory.stats().last_seq, Seq::new(self.model.last_seq));
    }

    fn change(&mut self, tenant: usize, change: &Change, request_id: Option<RequestId>) {
        let expected = self.model.next(tenant, change, request_id, self.clock.now());
        if let Some(request_id) = request_id {
            self.sent.push((tenant, change.clone(), request_id));
        }
        let sending = change.clone().send(&self.tenants[tenant], request_id);
        let answer = all_in_order(vec![sending]).remove(0);
        assert_eq!(answer, expected, "{change:?} with {request_id:?}");
        self.note(name_of(&answer));
    }

    fn burst(&mut self, templates: Vec<(usize, Template)>) {
        // Whether a tenant that a burst creates is there for the rest of the burst is a matter of time.
        let is_certain = |(tenant, template): &(usize, Template)| {
            matches!(template, Template::Allocate { .. }) || self.model.there(*tenant).is_ok()
        };
        let changes: Vec<_> = templates
            .into_iter()
            .filter(is_certain)
            .map(|(tenant, template)| (tenant, self.resolve(tenant, template)))
            .collect();
        let expected: Vec<_> = changes
            .iter()
            .map(|(tenant, change)| self.model.next(*tenant, change, None, self.clock.now()))
            .collect();
        let sending =
            changes.iter().map(|(tenant, change)| change.clone().send(&self.tenants[*tenant], None));
        let answers = all_in_order(sending.collect());
        assert_eq!(answers, expected, "{changes:?}");
        for answer in &answers {
            self.note(name_of(answer));
        }
    }

    fn reopen(&mut self, close: bool, segments_ahead: usize) {
        let before = self.memory.state_hash();
        // A store of nothing in its place, so that the last handle to this one is dropped.
        let elsewhere = tempfile::tempdir().unwrap();
        if close {
            self.memory.close_blocking().unwrap();
        }
        (self.memory, self.tenants) = open(elsewhere.path(), &self.clock, 0);
        (self.memory, self.tenants) = open(self.dir, &self.clock, segments_ahead);
        self.model.log_ms = self.model.log_ms.max(self.clock.now());
        assert!(self.memory.recovery().clean);
        assert_eq!(self.memory.recovery().last_seq, Seq::new(self.model.last_seq));
        assert_eq!(self.memory.state_hash(), before, "reopening changed the state");
        self.note("reopen");
        self.check_all();
    }

    fn check_slug(&self, tenant: usize, slug: &str) {
        let unknown = MemoryError::UnknownSlug { slug: slug.into() };
        let expected = self.model.there(tenant);
        let expected = expected.and_then(|tenant| tenant.by_slug(slug).ok_or(unknown));
        let found = self.tenants[tenant].get_by_slug_blocking(slug);
        assert_eq!(
            found.as_deref().map(Remembered::from).map_err(Clone::clone),
            expected.cloned(),
            "{slug:?}"
        );
    }

    fn check_search(&self, tenant: usize, word: &str, k: usize) {
        let hits = self.tenants[tenant].search_blocking(Search::new(word).k(k).counted());
        let (model, hits) = match (self.model.there(tenant), hits) {
            (Ok(model), Ok(hits)) => (model, hits),
            (model, hits) => return assert_eq!(hits.err(), model.err()),
        };
        let holders = model.holders(word);
        let expected = (Matched::Exactly(holders.len()), holders.len().min(k));
        assert_eq!((hits.matched, hits.hits.len()), expected, "{word}");
        let ids: BTreeSet<Id> = hits.hits.iter().map(|hit| hit.record.id).collect();
        assert!(ids.len() == hits.hits.len() && ids.is_subset(&holders), "{word}: {ids:?} of {holders:?}");
        for hit in &hits.hits {
            assert_eq!(Remembered::from(&*hit.record), model.records[&hit.record.id.get()]);
        }
        let key = |at: usize| (-hits.hits[at].score, hits.hits[at].record.id);
        assert!((1..hits.hits.len()).all(|at| key(at - 1) < key(at)), "the order is wrong: {hits:?}");
    }

    fn check_all(&self) {
        for (number, tenant) in self.tenants.iter().enumerate() {
            let (model, view) = match (self.model.there(number), tenant.view()) {
                (Ok(model), Ok(view)) => (model, view),
                (model, view) => {
                    assert_eq!(view.err(), model.err());
                    continue;
                }
            };
            let records: Vec<Remembered> = view.records().map(|record| Remembered::from(&*record)).collect();
            assert_eq!(records, model.records.values().cloned().collect::<Vec<_>>());
            let stats = view.stats();
            let slugs = model.records.values().filter(|record| record.slug.is_some()).count() as u64;
            let words: usize = model.records.values().map(|record| record.text.split(' ').count()).sum();
            assert_eq!(
                (stats.memories, stats.created, stats.slugs, stats.words),
                (records.len() as u64, model.created, slugs, words as u64)
            );
            for (slug, _) in SLUGS {
                self.check_slug(number, slug);
            }
            for word in WORDS {
                self.check_search(number, word, 10_000);
            }
        }
    }
}

fn name_of(answer: &Result<Answer>) -> &'static str {
    match answer {
        Ok(Answer { outcome: Outcome::Created, .. }) => "created",
        Ok(Answer { outcome: Outcome::Existing, .. }) => "existing",
        Ok(Answer { outcome: Outcome::Updated, .. }) => "updated",
        Ok(Answer { outcome: Outcome::Deleted, .. }) => "deleted",
        Err(MemoryError::UnknownTenant { .. }) => "unknown tenant",
        Err(MemoryError::UnknownId { .. }) => "unknown id",
        Err(MemoryError::VersionConflict { .. }) => "version conflict",
        Err(MemoryError::SlugTaken { .. }) => "slug taken",
        Err(MemoryError::RequestIdExpired { .. }) => "request expired",
        Err(MemoryError::RequestIdFromFuture { .. }) => "request from the future",
        Err(MemoryError::RequestIdReused { .. }) => "request reused",
        other => panic!("nothing else is to be expected: {other:?}"),
    }
}

/// `PROPTEST_CASES` asks for more or fewer.
#[test]
fn every_answer_is_the_models() {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 80;
    }
    let cases = config.cases;
    let seen = RefCell::new(BTreeMap::new());
    let ran = TestRunner::new(config).run(&steps(), |steps| {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(dir.path(), &seen);
        for step in steps {
            pair.run(step);
        }
        pair.check_all();
        pair.reopen(false, 1);
        if dir.path().join("log/0000000000000003.seg").exists() {
            pair.note("the log rolled over");
        }
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    println!("{seen:?}");
    if cases >= 50 {
        let interesting = [
            "created",
            "existing",
            "updated",
            "deleted",
            "unknown tenant",
            "unknown id",
            "version conflict",
            "slug taken",
            "request expired",
            "request from the future",
            "request reused",
            "retry",
            "reopen",
            "the log rolled over",
        ];
        for what in interesting {
            assert!(seen.contains_key(what), "{what} never happened: {seen:?}");
        }
    }
}

const THREADS: usize = 8;

fn open_default(dir: &Path) -> (GraphMemory, Tenant) {
    let memory = GraphMemory::open_blocking(dir, Config::default().log(LogConfig::new(1 << 20, 1))).unwrap();
    let acme = memory.tenant("acme").unwrap();
    (memory, acme)
}

/// Runs `work` on all threads at once; returns what each made of it.
fn race<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    let begin = |thread| {
        start.wait();
        work(thread)
    };
    let begin = &begin;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || begin(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count_of(record: &Record) -> i64 {
    match record.attributes().get("count") {
        Some(AttributeValue::Int(count)) => *count,
        other => panic!("{other:?} is no count"),
    }
}

#[test]
fn increments_by_optimistic_updates_are_neither_lost_nor_done_twice() {
    const INCREMENTS: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let (memory, acme) = open_default(dir.path());
    let id = acme.allocate_blocking(Allocate::new("a counter").attribute("count", 0)).unwrap().id;
    let conflicts = AtomicUsize::new(0);
    let won = race(|_| {
        let mut won = Vec::new();
        while won.len() < INCREMENTS {
            let now = acme.get_blocking(id).unwrap();
            let count = count_of(&now) + 1;
            match acme.update_blocking(id, Some(now.version), Patch::new().attribute("count", count)) {
                Ok(answer) => {
                    assert_eq!(answer.version.get(), now.version.get() + 1);
                    won.push((answer.version.get(), count, answer.seq));
                }
                Err(MemoryError::VersionConflict { expected, found, .. }) => {
                    assert!(expected == now.version && found > expected);
                    conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        }
        won
    });
    let mut won: Vec<_> = won.into_iter().flatten().collect();
    won.sort_unstable();
    let total = THREADS * INCREMENTS;
    // Version 1 was the creation; each later one has one winner, which counted on from the one before.
    let versions: Vec<_> = won.iter().map(|(version, count, _)| (*version, *count)).collect();
    assert_eq!(versions, (1..=total).map(|n| (n as u64 + 1, n as i64)).collect::<Vec<_>>());
    assert!(won.windows(2).all(|pair| pair[0].2 < pair[1].2), "the versions aren't in the log's order");
    assert!(conflicts.into_inner() > 0, "nobody ever got in anybody's way");
    assert_eq!(count_of(&acme.get_blocking(id).unwrap()), total as i64);
    memory.close_blocking().unwrap();
    let (_memory, acme) = open_default(dir.path());
    assert_eq!(count_of(&acme.get_blocking(id).unwrap()), total as i64);
}

#[test]
fn a_version_has_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let (_memory, acme) = open_default(dir.path());
    let id = acme.allocate_blocking(Allocate::new("wanted by all")).unwrap().id;
    for version in (1..=20).map(Version::new) {
        let answers = race(|thread| {
            if version == Version::new(20) {
                acme.delete_blocking(Delete::new(id).if_version(version))
            } else {
                acme.update_blocking(id, Some(version), Patch::new().kind(thread.to_string()))
            }
        });
        let winners: Vec<usize> = (0..THREADS).filter(|thread| answers[*thread].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        let found = Version::new(version.get() + 1);
        let refused = match acme.get_blocking(id) {
            Ok(record) => {
                assert_eq!(record.kind(), winners[0].to_string());
                MemoryError::VersionConflict { id, expected: version, found }
            }
            Err(_) => MemoryError::UnknownId { id },
        };
        assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(|error| *error == refused));
    }
    assert!(acme.get_blocking(id).is_err());
}

#[test]
fn a_slug_is_created_once_however_many_ask_for_it_and_in_whatever_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, acme) = open_default(dir.path());
    let mut outcomes = BTreeSet::new();
    for round in 0..40 {
        let request = |thread: usize| {
            let slug = format!("{}-{round}", ["wanted", "Wanted"][thread % 2]);
            let on_slug = [OnSlug::Return, OnSlug::Refuse][thread / 2 % 2];
            (slug.clone(), on_slug, Allocate::new(format!("by {thread}")).slug(slug).on_slug(on_slug))
        };
        let answers = race(|thread| acme.allocate_blocking(request(thread).2));
        let created =
            |answer: &Result<Answer>| matches!(answer, Ok(answer) if answer.outcome == Outcome::Created);
        let winners: Vec<usize> = (0..THREADS).filter(|thread| created(&answers[*thread])).collect();
        let [winner] = winners[..] else { panic!("{} winners: {answers:?}", winners.len()) };
        let by = answers[winner].as_ref().unwrap().id;
        for (thread, answer) in answers.iter().enumerate().filter(|(thread, _)| *thread != winner) {
            let (slug, on_slug, _) = request(thread);
            match answer {
                Ok(answer) => {
                    assert_eq!((answer.id, answer.outcome), (by, Outcome::Existing));
                    assert_eq!((slug, on_slug), (request(winner).0, OnSlug::Return));
                    outcomes.insert("existing");
                }
                Err(error) => {
                    assert!(on_slug == OnSlug::Refuse || slug != request(winner).0);
                    assert_eq!(error, &MemoryError::SlugTaken { slug, by });
                    outcomes.insert("taken");
                }
            }
        }
        assert_eq!(
            acme.get_by_slug_blocking(&format!("WANTED-{round}")).unwrap().text(),
            format!("by {winner}")
        );
    }
    assert_eq!(outcomes.len(), 2, "only {outcomes:?}");
    assert_eq!(acme.stats_blocking().unwrap().memories, 40);
    drop(memory);
}

#[test]
fn a_request_that_many_send_at_once_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_memory, acme) = open_default(dir.path());
    acme.allocate_blocking(Allocate::new("first")).unwrap();
    for round in 1..=20 {
        let request = Allocate::new("once").request_id(RequestId::new());
        let answers = race(|_| acme.allocate_blocking(request.clone()));
        let first = answers[0].as_ref().unwrap();
        assert_eq!(first.outcome, Outcome::Created);
        assert!(answers.iter().all(|answer| answer.as_ref() == Ok(first)), "{answers:?}");
        assert_eq!(acme.stats_blocking().unwrap().memories, round + 1);
    }
}

/// The request that creates its tenant is sent by name or by number, as its sender knows the tenant or not.
#[test]
fn a_request_that_many_send_at_once_to_a_new_tenant_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, _) = open_default(dir.path());
    let mut done = Vec::new();
    for round in 0..20 {
        let name = format!("tenant-{round}");
        let request = Allocate::new("once").request_id(RequestId::new());
        let send = || memory.tenant(&name).unwrap().allocate_blocking(request.clone()).unwrap();
        let answers = race(|_| send());
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!((answers[0].outcome, answers[0].id), (Outcome::Created, Id::new(1)));
        assert_eq!(send(), answers[0]);
        done.push((name, request, answers[0]));
    }
    memory.close_blocking().unwrap();
    let (memory, _) = open_default(dir.path());
    for (name, request, answer) in done {
        let tenant = memory.tenant(&name).unwrap();
        assert_eq!(tenant.allocate_blocking(request).unwrap(), answer);
        assert_eq!(tenant.stats_blocking().unwrap().created, 1);
    }
}

/// A new tenant, wanted by all at the same time, is one tenant.
#[test]
fn a_tenant_that_many_create_at_once_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, _) = open_default(dir.path());
    for round in 0..20 {
        let name = format!("tenant-{round}");
        let ids =
            race(|_| memory.tenant(&name).unwrap().allocate_blocking(Allocate::new("mine")).unwrap().id);
        let ids: BTreeSet<Id> = ids.into_iter().collect();
        assert_eq!(ids, (1..=THREADS as u64).map(Id::new).collect());
        assert_eq!(memory.stats().tenants, round + 1);
    }
}

#[test]
fn what_many_threads_did_replays_in_the_order_of_their_seqs() {
    let dir = tempfile::tempdir().unwrap();
    let clock = StoreClock::at(NOW_MS);
    let (memory, [acme, _]) = open(dir.path(), &clock, 1);
    let first = acme.allocate_blocking(Allocate::new("first")).unwrap().seq;
    let history = Mutex::new(BTreeMap::new());
    race(|thread| {
        let mut rng = TestRng::new(thread as u64);
        for n in 0..60 {
            let id = rng.below(12) + 1;
            let if_version = if rng.chance(1, 2) {
                None
            } else {
                acme.get_blocking(Id::new(id)).ok().map(|r| r.version.get())
            };
            let text = format!("{} {thread} {n}", WORDS[rng.below(5) as usize]);
            let change = match rng.below(5) {
                0 | 1 => {
                    let slug = (rng.chance(1, 2)).then(|| rng.below(SLUGS.len() as u64) as usize);
                    Change::Allocate { text, slug, refuse: rng.chance(1, 2) }
                }
                2 | 3 => Change::Update { id, if_version, text: Some(text), set: None, remove: None },
                _ => Change::Delete { id, if_version },
            };
            match change.clone().send_and_wait(&acme) {
                Ok(answer) => {
                    let before = history.lock().unwrap().insert(answer.seq, (change, answer));
                    assert_eq!(before, None, "two changes have the same place in the log");
                }
                // A refusal doesn't tell its place; that it changed nothing shows in the replay.
                refused => assert!(!name_of(&refused).is_empty()),
            }
        }
    });
    let mut model = ModelTenant::default();
    let begin = Change::Allocate { text: "first".into(), slug: None, refuse: false };
    model.change(&begin, first, NOW_MS).unwrap();
    for (seq, (change, answer)) in history.into_inner().unwrap() {
        assert_eq!(model.change(&change, seq, NOW_MS), Ok(answer), "{change:?}");
    }
    let same = |acme: &Tenant| {
        let view = acme.view().unwrap();
        let records = view.records().map(|record| Remembered::from(&*record)).collect::<Vec<_>>();
        assert_eq!(records, model.records.values().cloned().collect::<Vec<_>>());
    };
    same(&acme);
    memory.close_blocking().unwrap();
    let (_memory, [acme, _]) = open(dir.path(), &clock, 0);
    same(&acme);
}
