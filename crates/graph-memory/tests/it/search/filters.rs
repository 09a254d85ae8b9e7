//! Filters: a filtered search is the full search with everything else left out, whatever was changed, sealed or reopened.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use steadfast_graph_memory::{
    Allocate, AttributeValue, Clause, Filter, GraphMemory, Hits, Id, Matched, MemoryError, Metric, Number,
    Patch, Record, Search, Tenant, TextMode, ValueRange, View,
};
use steadfast_testkit::TestRng;

use crate::clock::StoreClock;
use crate::search::support::{Change, change_all, ids, open, settle, small, told, wait_for};

const WORDS: [&str; 8] = ["river", "mountain", "harbour", "invoice", "e", "übung", "1999", "common"];
const KINDS: [&str; 5] = ["", "note", "Note", "preference", "decision"];
const NAMES: [&str; 4] = ["a", "colour", "ü", "amount"];
const BEGIN_MS: u64 = 1_000_000;
const K: usize = 10_000;

/// Values that are easily mixed up: equal numbers of two sorts, neighbours that one `f64` stands for, texts that look like numbers.
fn value(number: usize) -> AttributeValue {
    const WHOLE: i64 = 1 << 53;
    match number % 20 {
        0 => false.into(),
        1 => true.into(),
        2 => 0.into(),
        3 => 1.into(),
        4 => (-1).into(),
        5 => WHOLE.into(),
        6 => (WHOLE + 1).into(),
        7 => i64::MAX.into(),
        8 => i64::MIN.into(),
        9 => 0.0.into(),
        10 => (-0.0).into(),
        11 => 1.0.into(),
        12 => 1.5.into(),
        13 => (WHOLE as f64).into(),
        14 => 9_223_372_036_854_775_808.0.into(),
        15 => (-9_223_372_036_854_775_808.0).into(),
        16 => f64::MAX.into(),
        17 => "1".into(),
        18 => "".into(),
        _ => "red".into(),
    }
}

/// A number's whole part, cut down to what all whole numbers here fit in, and the rest.
fn exactly(value: &AttributeValue) -> Option<(i128, f64)> {
    const END: f64 = 1e30;
    match *value {
        AttributeValue::Int(value) => Some((value.into(), 0.0)),
        AttributeValue::Float(value) if value.is_infinite() => Some((value as i128, 0.0)),
        AttributeValue::Float(value) => Some((value.clamp(-END, END).floor() as i128, value - value.floor())),
        _ => None,
    }
}

fn equal(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (AttributeValue::Bool(a), AttributeValue::Bool(b)) => a == b,
        (AttributeValue::Text(a), AttributeValue::Text(b)) => a == b,
        _ => exactly(a).is_some() && exactly(a) == exactly(b),
    }
}

fn within<T: PartialOrd>(value: &T, range: &(Bound<T>, Bound<T>)) -> bool {
    let after = match &range.0 {
        Bound::Included(start) => value >= start,
        Bound::Excluded(start) => value > start,
        Bound::Unbounded => true,
    };
    let before = match &range.1 {
        Bound::Included(end) => value <= end,
        Bound::Excluded(end) => value < end,
        Bound::Unbounded => true,
    };
    after && before
}

fn number_value(number: Number) -> (i128, f64) {
    let value = match number {
        Number::Int(value) => AttributeValue::Int(value),
        Number::Float(value) => AttributeValue::Float(value),
    };
    exactly(&value).unwrap()
}

/// What the documents say a clause means, told anew.
fn matches(record: &Record, clause: &Clause) -> bool {
    let attribute = |name: &str| record.attributes().get(name).cloned();
    match clause {
        Clause::KindIn(kinds) => kinds.iter().any(|kind| kind == record.kind()),
        Clause::AttributeIn { name, values } => {
            attribute(name).is_some_and(|found| values.iter().any(|value| equal(&found, value)))
        }
        Clause::AttributeBetween { name, range } => {
            attribute(name).is_some_and(|found| match (range, &found) {
                (ValueRange::Texts(range), AttributeValue::Text(found)) => within(found, range),
                (ValueRange::Numbers((start, end)), _) => exactly(&found)
                    .is_some_and(|found| within(&found, &(start.map(number_value), end.map(number_value)))),
                _ => false,
            })
        }
        Clause::CreatedMs(range) => within(&record.created_ms, range),
        Clause::UpdatedMs(range) => within(&record.updated_ms, range),
        Clause::IdIn(ids) => ids.contains(&record.id),
        Clause::IdRange(range) => within(&record.id, range),
        Clause::Importance(range) => within(&record.importance(), range),
        _ => panic!("a clause that this test doesn't know"),
    }
}

fn accepts(record: &Record, filter: &Filter) -> bool {
    filter.clauses().iter().all(|clause| matches(record, clause))
}

/// A start that isn't after its end.
fn span<T: PartialOrd + Clone>(
    rng: &mut TestRng,
    mut value: impl FnMut(&mut TestRng) -> T,
) -> (Bound<T>, Bound<T>) {
    let (a, b) = (value(rng), value(rng));
    let (start, end) = if a <= b { (a, b) } else { (b, a) };
    let mut bound = |value: T| match rng.index(3) {
        0 => Bound::Included(value),
        1 => Bound::Excluded(value),
        _ => Bound::Unbounded,
    };
    (bound(start), bound(end))
}

fn clause(rng: &mut TestRng, memories: u64, now_ms: u64) -> Clause {
    let time = |rng: &mut TestRng| BEGIN_MS - 1 + rng.below(now_ms - BEGIN_MS + 2);
    let id = |rng: &mut TestRng| match rng.index(30) {
        0 => Id::new(u64::MAX),
        1 => Id::new(0),
        _ => Id::new(rng.below(memories + 3)),
    };
    match rng.index(9) {
        0 | 1 => Clause::KindIn((0..rng.index(4)).map(|_| rng.pick(&KINDS).to_string()).collect()),
        2 | 3 => {
            let name = rng.pick(&NAMES).to_string();
            Clause::AttributeIn { name, values: (0..=rng.index(9)).map(|_| value(rng.index(20))).collect() }
        }
        4 => {
            let number = |rng: &mut TestRng| loop {
                match value(rng.index(20)) {
                    AttributeValue::Int(value) => return Number::Int(value),
                    AttributeValue::Float(value) => return Number::Float(value),
                    _ => {}
                }
            };
            let range = match rng.index(3) {
                0 => ValueRange::Texts(span(rng, |rng| rng.pick(&["", "1", "re", "red", "z"]).to_string())),
                1 => ValueRange::Numbers((Bound::Unbounded, Bound::Excluded(Number::Float(f64::INFINITY)))),
                _ => ValueRange::Numbers(span(rng, number)),
            };
            Clause::AttributeBetween { name: rng.pick(&NAMES).to_string(), range }
        }
        5 if rng.chance(1, 2) => Clause::CreatedMs(span(rng, time)),
        5 => Clause::UpdatedMs(span(rng, time)),
        6 => {
            let count = rng.index(2 * memories as usize).min(3000);
            Clause::IdIn((0..count).map(|_| id(rng)).collect())
        }
        7 => Clause::IdRange(span(rng, id)),
        _ => Clause::Importance(span(rng, |rng| rng.index(5) as f32 / 4.0)),
    }
}

fn filter(rng: &mut TestRng, memories: u64, now_ms: u64) -> Filter {
    (0..rng.index(4)).map(|_| clause(rng, memories, now_ms)).collect()
}

fn text(rng: &mut TestRng) -> String {
    let words: Vec<&str> = (0..=rng.index(6)).map(|_| *rng.pick(&WORDS)).collect();
    words.join(" ")
}

/// Quarters, so that sums are exact and ties common.
fn vector(rng: &mut TestRng) -> Vec<f32> {
    (0..3).map(|_| (rng.index(9) as f32 - 4.0) / 4.0).collect()
}

fn allocation(rng: &mut TestRng) -> Allocate {
    let mut request = Allocate::new(text(rng)).kind(*rng.pick(&KINDS)).importance(rng.index(5) as f32 / 4.0);
    for name in NAMES {
        if rng.chance(1, 2) {
            request = request.attribute(name, value(rng.index(20)));
        }
    }
    if !rng.chance(1, 4) {
        request = request.vector(vector(rng));
    }
    request
}

/// Mostly only what isn't in the text.
fn patch(rng: &mut TestRng) -> Patch {
    match rng.index(6) {
        0 => Patch::new().kind(*rng.pick(&KINDS)),
        1 => Patch::new().attribute(*rng.pick(&NAMES), value(rng.index(20))),
        2 => Patch::new().remove_attribute(*rng.pick(&NAMES)),
        3 => Patch::new().importance(rng.index(5) as f32 / 4.0),
        4 => Patch::new().vector(vector(rng)),
        _ => Patch::new().text(text(rng)).kind(*rng.pick(&KINDS)).attribute("a", value(rng.index(20))),
    }
}

/// A store, with its clock, that changes at random.
struct World {
    dir: tempfile::TempDir,
    clock: std::sync::Arc<StoreClock>,
    memory: Option<GraphMemory>,
    now_ms: u64,
    live: Vec<Id>,
    rng: TestRng,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: StoreClock::at(BEGIN_MS),
            memory: None,
            now_ms: BEGIN_MS,
            live: Vec::new(),
            rng: TestRng::new(seed),
        };
        world.reopen();
        world
    }

    fn reopen(&mut self) {
        self.memory = None;
        let config = small().clock(self.clock.clone()).vector_metric(Metric::L2);
        self.memory = Some(open(self.dir.path(), config));
    }

    fn tenant(&self) -> Tenant {
        self.memory.as_ref().unwrap().tenant("acme").unwrap()
    }

    fn view(&self) -> View {
        self.tenant().view().unwrap()
    }

    fn allocate(&mut self, count: usize) {
        self.now_ms += 1;
        self.clock.set(self.now_ms);
        let requests = (0..count).map(|_| Change::Allocate(allocation(&mut self.rng))).collect();
        self.live.extend(change_all(&self.tenant(), requests));
    }

    /// Updates one in `part` and deletes one in twice `part`.
    fn change(&mut self, part: usize) {
        self.now_ms += 1;
        self.clock.set(self.now_ms);
        let (mut changes, mut kept) = (Vec::new(), Vec::new());
        for &id in &self.live {
            if self.rng.chance(1, 2 * part as u64) {
                changes.push(Change::Delete(id));
                continue;
            }
            kept.push(id);
            if self.rng.chance(1, part as u64) {
                changes.push(Change::Update(id, patch(&mut self.rng)));
            }
        }
        change_all(&self.tenant(), changes);
        self.live = kept;
    }

    fn check(&mut self, filters: usize) {
        let view = self.view();
        view.verify().unwrap();
        let created = view.stats().created;
        assert_eq!(
            view.records().map(|record| record.id).collect::<std::collections::BTreeSet<_>>().len(),
            view.len()
        );
        for _ in 0..filters {
            let filter = filter(&mut self.rng, created, self.now_ms);
            let mode = if self.rng.chance(1, 3) { TextMode::All } else { TextMode::Any };
            // With words that are nowhere, and twice the same.
            let words = format!("{} {} nowhere", text(&mut self.rng), text(&mut self.rng));
            let words = if mode == TextMode::All { text(&mut self.rng) } else { words };
            let query = vector(&mut self.rng);
            check_filter(&view, &filter, &words, mode, &query);
        }
    }
}

/// The hits that the filter lets through.
fn naive(full: &Hits, filter: &Filter) -> Vec<(Id, u32)> {
    let accepted = full.hits.iter().filter(|hit| accepts(&hit.record, filter));
    accepted.map(|hit| (hit.record.id, hit.score.to_bits())).collect()
}

fn check_filter(view: &View, filter: &Filter, words: &str, mode: TextMode, query: &[f32]) {
    let by_words = Search::new(words).mode(mode).k(K);
    let by_vector = Search::by_vector(query).exact().k(K);
    let full_words = view.search(&by_words).unwrap();
    let full_vector = view.search(&by_vector).unwrap();
    let words_left = naive(&full_words, filter);
    let vector_left = naive(&full_vector, filter);
    for k in [1, 7, K] {
        let found = view.search(&by_words.clone().filter(filter.clone()).k(k)).unwrap();
        assert_eq!(told(&found), words_left[..k.min(words_left.len())], "{words:?} {mode:?} {filter:?}");
        assert!(found.matched.at_least() <= words_left.len());
        assert!(found.matched.exactly().is_none_or(|count| count == words_left.len()));
        let counted = view.search(&by_words.clone().filter(filter.clone()).k(k).counted()).unwrap();
        assert_eq!((told(&counted), counted.matched), (told(&found), Matched::Exactly(words_left.len())));
        assert!(found.hits.iter().zip(1..).all(|(hit, rank)| hit.why.text.unwrap().rank == rank));
        let found = view.search(&by_vector.clone().filter(filter.clone()).k(k)).unwrap();
        assert_eq!(told(&found), vector_left[..k.min(vector_left.len())], "{query:?} {filter:?}");
        let counted = view.search(&by_vector.clone().filter(filter.clone()).k(k).counted()).unwrap();
        assert_eq!((told(&counted), counted.matched), (told(&found), Matched::Exactly(vector_left.len())));
        // Not exact: some of them, as many as wanted.
        let near = Search { exact: false, ..by_vector.clone().filter(filter.clone()).k(k) };
        let found = view.search(&near).unwrap();
        assert_eq!(found.hits.len(), k.min(vector_left.len()));
        assert!(told(&found).iter().all(|hit| vector_left.contains(hit)), "{filter:?}");
    }
    let both = Search { vector: Some(query.to_vec()), exact: true, ..by_words.filter(filter.clone()) };
    let found = view.search(&both).unwrap();
    assert_eq!(told(&found), fused(&words_left, &vector_left, 1.0, 1.0), "{words:?} {query:?} {filter:?}");
    assert!(found.hits.iter().all(|hit| accepts(&hit.record, filter)));
    let counted = view.search(&Search { k: 1, counted: true, ..both }).unwrap();
    assert_eq!(counted.matched, Matched::Exactly(found.hits.len()));
}

/// Reciprocal rank fusion as the documents tell it.
pub(crate) fn fused(words: &[(Id, u32)], vector: &[(Id, u32)], text: f32, near: f32) -> Vec<(Id, u32)> {
    let mut sums: BTreeMap<Id, f64> = BTreeMap::new();
    for (list, weight) in [(words, text), (vector, near)] {
        for (rank, (id, _)) in (1_u32..).zip(list) {
            if weight > 0.0 {
                *sums.entry(*id).or_default() += f64::from(weight) / (60.0 + f64::from(rank));
            }
        }
    }
    let mut all: Vec<(Id, f32)> = sums.into_iter().map(|(id, sum)| (id, sum as f32)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.into_iter().map(|(id, score)| (id, score.to_bits())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_filtered_search_is_the_full_one_filtered(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..4_u8, 1..60_usize), 1..8),
    ) {
        let mut world = World::new(seed);
        world.allocate(20);
        for (step, size) in steps {
            match step {
                0 | 1 => world.allocate(size),
                2 => world.change(1 + size / 20),
                _ => world.reopen(),
            }
            world.check(10);
        }
    }
}

#[test]
fn filters_hold_through_sealing_merging_changing_and_reopening() {
    let mut world = World::new(5);
    for _ in 0..4 {
        world.allocate(1500);
        world.check(10);
    }
    wait_for(&world.tenant(), "segments", |seen| seen.text_segments > 0 && seen.vector_segments > 0);
    settle(&world.tenant());
    world.check(40);
    for part in [3, 2, 5] {
        world.change(part);
        world.check(20);
        world.allocate(300);
        settle(&world.tenant());
        world.check(20);
    }
    world.reopen();
    world.check(20);
    settle(&world.tenant());
    world.check(20);
}

/// A memory of which only the kind or an attribute changes is found by the new and not by the old, wherever it stands.
#[test]
fn what_is_filtered_by_is_indexed_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small());
    let acme = memory.tenant("acme").unwrap();
    let request =
        |n: usize| Allocate::new("word").kind("old").attribute("n", n as i64).vector([1.0, n as f32]);
    let all = change_all(&acme, (0..4000).map(request).map(Change::Allocate).collect());
    settle(&acme);
    let found = |filter: Filter| {
        let view = acme.view().unwrap();
        let by_words = ids(&view.search(&Search::new("word").filter(filter.clone()).k(K)).unwrap());
        let mut by_vector = ids(&view.search(&Search::by_vector([1.0, 1.0]).filter(filter).k(K)).unwrap());
        by_vector.sort_unstable();
        assert_eq!(by_words, by_vector);
        by_words
    };
    let last = allocate_last(&acme);
    for id in [all[0], all[2000], all[3999], last] {
        acme.update_blocking(id, None, Patch::new().kind("new")).unwrap();
        assert_eq!(found(Filter::new().kind("new")), [id]);
        acme.update_blocking(id, None, Patch::new().attribute("n", "text")).unwrap();
        assert_eq!(found(Filter::new().attribute_is("n", "text")), [id]);
        acme.update_blocking(id, None, Patch::new().remove_attribute("n").kind("")).unwrap();
        assert_eq!(found(Filter::new().attribute_is("n", "text")), []);
        assert_eq!(found(Filter::new().kind("")), [id]);
        assert!(!found(Filter::new().kind("old")).contains(&id));
        acme.update_blocking(id, None, Patch::new().kind("old")).unwrap();
        assert_eq!(found(Filter::new().kind("old")).len(), 4001);
    }
    acme.view().unwrap().verify().unwrap();
}

fn allocate_last(tenant: &Tenant) -> Id {
    let request = Allocate::new("word").kind("old").vector([1.0, 5.0]);
    tenant.allocate_blocking(request).unwrap().id
}

/// A filter or a query that is too large is refused before it costs anything, and the error names the bound.
#[test]
fn too_large_a_filter_or_query_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small());
    let acme = memory.tenant("acme").unwrap();
    acme.allocate_blocking(Allocate::new("word").vector([1.0])).unwrap();
    let clauses: Filter = (0..100_000).map(|n| Clause::KindIn(vec![format!("k{n}")])).collect();
    let many_values = Filter::new().ids((1..=100_000).map(Id::new));
    let split_values: Filter = (0..200).map(|_| Clause::IdIn((1..=100).map(Id::new).collect())).collect();
    let long_text = Filter::new().attribute_is("a", "x".repeat(2 << 20));
    let long_kind = Filter::new().kind("x".repeat(65));
    let long_name = Filter::new().attribute_is("x".repeat(129), 1);
    let long_range = Filter::new().attribute_between("a", "a".repeat(2 << 20)..);
    let no_name = Filter::new().attribute_is("", 1);
    let no_number = Filter::new().attribute_in("a", [1.0, f64::NAN]);
    let backwards = Filter::new().clause(Clause::CreatedMs((Bound::Included(5), Bound::Excluded(4))));
    let no_range = Filter::new().importance(f32::NAN..);
    let bad = [
        (clauses, "filter: clauses"),
        (many_values, "filter: values"),
        (split_values, "filter: values"),
        (long_text, "filter"),
        (long_range, "filter"),
        (long_kind, "filter[0].kind"),
        (long_name, "filter[0].name"),
        (no_name, "filter[0].name"),
        (no_number, "filter[0].values[1]"),
        (backwards, "filter[0].range"),
        (no_range, "filter[0].range.start"),
    ];
    for (filter, expected) in bad {
        for search in [Search::new("word"), Search::by_vector([1.0]), Search::new("word").vector([1.0])] {
            match acme.search_blocking(search.filter(filter.clone())) {
                Err(MemoryError::Invalid { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
    let many_words: Vec<String> = (0..20_000).map(|n| format!("w{n}")).collect();
    for (query, expected) in [("word ".repeat(420_000), "text"), (many_words.join(" "), "text: words")] {
        for search in [Search::new(query.clone()), Search::new(query).vector([1.0])] {
            match acme.search_blocking(search) {
                Err(MemoryError::Invalid { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
    // As much as is allowed is answered.
    let ids = Filter::new().ids((1..=10_000).map(Id::new));
    let most = (0..255).fold(ids, |filter, _| filter.attribute_between("none", 0..));
    assert_eq!(acme.search_blocking(Search::new("word").filter(most)).unwrap().matched, Matched::Exactly(0));
    let most = Filter::new().ids((0..10_000).map(|n| Id::new(u64::MAX - n)).chain([]));
    assert_eq!(
        acme.search_blocking(Search::by_vector([1.0]).filter(most)).unwrap().matched,
        Matched::Exactly(0)
    );
}
