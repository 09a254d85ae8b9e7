//! Whatever a caller gets wrong is refused with an error that names the field and the bound; it changes nothing and
//! never panics.
//!
//! A request that is refused before the log leaves the log and the state's hash as they were. One that is refused
//! when it is applied (a version, a taken slug, a request id) has its place in the log, but no memory differs afterwards.
// tidy: long because one table of everything that must be refused, which reads best in one piece.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_graph_memory::fs::{FileSystem, RealFileSystem};
use steadfast_graph_memory::{
    Allocate, Answer, AttributeValue, Config, Delete, GraphMemory, Id, Limits, LogConfig, MemoryError,
    OnSlug, OpenError, Outcome, Patch, Problem, Record, RequestId, Search, Tenant, Version,
};
use tempfile::TempDir;

use crate::clock::StoreClock;

const NOW_MS: u64 = 1_700_000_000_000;
const MINUTE_MS: u64 = 60_000;

/// A store with low limits and one memory, of the tenant `acme`.
struct Fixture {
    memory: GraphMemory,
    acme: Tenant,
    first: Id,
    clock: Arc<StoreClock>,
    dir: TempDir,
}

fn low_limits() -> Limits {
    let mut limits = Limits::default();
    limits.text_bytes = 1000;
    limits.kind_bytes = 16;
    limits.slug_bytes = 32;
    limits.attributes = 4;
    limits.attribute_name_bytes = 8;
    limits.attributes_bytes = 64;
    limits.query_bytes = 100;
    limits.query_words = 5;
    limits.k = 20;
    limits.tenant_bytes = 10;
    limits.tenants = 3;
    limits
}

fn small() -> Config {
    Config::default().limits(low_limits()).log(LogConfig::new(1 << 20, 0))
}

fn open(dir: impl Into<PathBuf>, config: Config) -> Result<GraphMemory, OpenError> {
    GraphMemory::open_blocking(dir, config)
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = StoreClock::at(NOW_MS);
        let memory = open(dir.path(), small().clock(Arc::clone(&clock) as Arc<_>)).unwrap();
        let acme = memory.tenant("acme").unwrap();
        let first = Allocate::new("the first memory").slug("first").kind("fact").attribute("colour", "blue");
        let first = acme.allocate_blocking(first).unwrap().id;
        Self { memory, acme, first, clock, dir }
    }

    fn reopen(self) -> Self {
        let Self { memory, first, clock, dir, .. } = self;
        let before = memory.state_hash();
        memory.close_blocking().unwrap();
        let config = small().clock(Arc::clone(&clock) as Arc<_>);
        let memory = open(dir.path(), config).unwrap();
        assert_eq!(memory.state_hash(), before, "reopening changed the state");
        let acme = memory.tenant("acme").unwrap();
        Self { memory, acme, first, clock, dir }
    }

    /// `attempt` is refused with `expected`, and neither the log nor the state moves.
    #[track_caller]
    fn refuses_before_the_log<T: Debug>(
        &self,
        case: &str,
        expected: &MemoryError,
        attempt: impl FnOnce(&Tenant) -> Result<T, MemoryError>,
    ) {
        let before = (self.memory.stats().last_seq, self.memory.stats().tenants, self.memory.state_hash());
        let error = attempt(&self.acme).expect_err(case);
        let after = (self.memory.stats().last_seq, self.memory.stats().tenants, self.memory.state_hash());
        assert_eq!(&error, expected, "{case}");
        assert_eq!(after, before, "{case}: changed something");
        tells_field_and_bound(case, &error);
    }

    /// `attempt` is refused with `expected`, and all memories are as before.
    #[track_caller]
    fn refuses_when_applied<T: Debug>(
        &self,
        case: &str,
        expected: &MemoryError,
        attempt: impl FnOnce(&Tenant) -> Result<T, MemoryError>,
    ) {
        let before = contents(&self.acme);
        let error = attempt(&self.acme).expect_err(case);
        assert_eq!(&error, expected, "{case}");
        assert_eq!(contents(&self.acme), before, "{case}: changed something");
        tells_field_and_bound(case, &error);
    }
}

/// All memories, and the figures that count them.
fn contents(tenant: &Tenant) -> (Vec<Record>, [u64; 4]) {
    let view = tenant.view().unwrap();
    let stats = view.stats();
    let records = view.records().map(|record| (*record).clone()).collect();
    (records, [stats.memories, stats.created, stats.slugs, stats.words])
}

#[track_caller]
fn tells_field_and_bound(case: &str, error: &MemoryError) {
    let MemoryError::Invalid { field, problem } = error else { return };
    let said = error.to_string();
    assert!(said.contains(field.as_str()), "{case}: {said:?} doesn't name the field");
    let bounds: Vec<String> = match problem {
        Problem::TooLong { bytes, bytes_max } => vec![bytes.to_string(), bytes_max.to_string()],
        Problem::TooMany { count, count_max } => vec![count.to_string(), count_max.to_string()],
        Problem::OutOfRange { min, max, .. } => vec![min.to_string(), max.to_string()],
        Problem::BadCharacter { at, .. } => vec![at.to_string()],
        _ => Vec::new(),
    };
    for bound in bounds {
        assert!(said.contains(&bound), "{case}: {said:?} doesn't tell {bound}");
    }
}

fn too_long(bytes: usize, bytes_max: usize) -> Problem {
    Problem::TooLong { bytes, bytes_max }
}

fn too_many(count: usize, count_max: usize) -> Problem {
    Problem::TooMany { count, count_max }
}

fn bad(character: char, at: usize) -> Problem {
    Problem::BadCharacter { character, at }
}

fn text(bytes: usize) -> String {
    "word ".repeat(bytes.div_ceil(5))[..bytes].to_owned()
}

#[test]
fn allocate_names_the_bad_field_and_its_bound_and_changes_nothing() {
    let store = Fixture::new();
    let valid = || Allocate::new("some text");
    let four = || {
        let request = valid().attribute("a", 1).attribute("b", 1);
        request.attribute("c", 1).attribute("d", 1)
    };
    let out_of_range = |found: f32| Problem::OutOfRange { found: found.into(), min: 0.0, max: 1.0 };
    let cases: Vec<(&str, Allocate, &str, Problem)> = vec![
        ("empty text", Allocate::new(""), "text", Problem::Empty),
        ("white text", Allocate::new(" \t\r\n\u{3000}\u{a0}"), "text", Problem::Empty),
        ("text over the limit", Allocate::new(text(1001)), "text", too_long(1001, 1000)),
        ("NUL in the text", Allocate::new("ab\0c"), "text", bad('\0', 2)),
        ("kind over the limit", valid().kind("k".repeat(17)), "kind", too_long(17, 16)),
        ("NUL in the kind", valid().kind("a\0"), "kind", bad('\0', 1)),
        ("newline in the kind", valid().kind("a\nb"), "kind", bad('\n', 1)),
        ("C1 control in the kind", valid().kind("é\u{85}"), "kind", bad('\u{85}', 2)),
        ("empty slug", valid().slug(""), "slug", Problem::Empty),
        ("slug over the limit", valid().slug("s".repeat(33)), "slug", too_long(33, 32)),
        ("NUL in the slug", valid().slug("a\0b"), "slug", bad('\0', 1)),
        ("escape in the slug", valid().slug("é\u{1b}"), "slug", bad('\u{1b}', 2)),
        ("DEL in the slug", valid().slug("a\u{7f}"), "slug", bad('\u{7f}', 1)),
        ("white slug", valid().slug("   "), "slug", Problem::Empty),
        ("slug that folds to white", valid().slug("\u{a0}\u{3000}\u{2003}"), "slug", Problem::Empty),
        // 3 bytes as written, 33 as folded.
        ("slug that grows when folded", valid().slug("\u{fdfa}"), "slug", too_long(33, 32)),
        ("importance NaN", valid().importance(f32::NAN), "importance", Problem::NotFinite),
        ("importance inf", valid().importance(f32::INFINITY), "importance", Problem::NotFinite),
        ("importance -inf", valid().importance(f32::NEG_INFINITY), "importance", Problem::NotFinite),
        ("importance -0.1", valid().importance(-0.1), "importance", out_of_range(-0.1)),
        ("importance 1.1", valid().importance(1.1), "importance", out_of_range(1.1)),
        ("an attribute too many", four().attribute("e", 1), "attributes", too_many(5, 4)),
        ("empty attribute name", valid().attribute("", 1), "attribute name", Problem::Empty),
        ("long attribute name", valid().attribute("123456789", 1), "attribute name", too_long(9, 8)),
        ("NUL in an attribute name", valid().attribute("a\0", 1), "attribute name", bad('\0', 1)),
        ("NUL in an attribute", valid().attribute("a", "b\0"), "attributes[\"a\"]", bad('\0', 1)),
        ("NaN attribute", valid().attribute("a", f64::NAN), "attributes[\"a\"]", Problem::NotFinite),
        ("inf attribute", valid().attribute("a", f64::INFINITY), "attributes[\"a\"]", Problem::NotFinite),
        ("-inf attribute", valid().attribute("a", -f64::INFINITY), "attributes[\"a\"]", Problem::NotFinite),
        ("attributes too large", valid().attribute("a", "v".repeat(64)), "attributes", too_long(65, 64)),
        (
            "attributes too large together",
            valid().attribute("a", "v".repeat(54)).attribute("b", 1).attribute("c", true),
            "attributes",
            too_long(54 + 3 + 16, 64),
        ),
    ];
    for (case, request, field, problem) in cases {
        let expected = MemoryError::invalid(field, problem);
        store.refuses_before_the_log(case, &expected, |acme| acme.allocate_blocking(request));
    }
}

#[test]
fn allocate_accepts_what_lies_on_the_bound() {
    let store = Fixture::new();
    let valid = || Allocate::new("some text");
    let cases: Vec<(&str, Allocate)> = vec![
        ("text of the limit", Allocate::new(text(1000))),
        ("text of one character", Allocate::new("x")),
        ("text without a word", Allocate::new("?!")),
        ("text with controls", Allocate::new("a\n\tb\u{1b}")),
        ("kind of the limit", valid().kind("k".repeat(16))),
        ("empty kind", valid().kind("")),
        ("slug of the limit", valid().slug("s".repeat(32))),
        ("slug with a space", valid().slug("a b")),
        ("importance 0", valid().importance(0.0)),
        ("importance 1", valid().importance(1.0)),
        ("the smallest importance", valid().importance(f32::from_bits(1))),
        ("all attributes", valid().attribute("a", 1).attribute("b", 2).attribute("c", 3).attribute("d", 4)),
        ("attribute name of the limit", valid().attribute("12345678", 1)),
        ("attributes of the limit", valid().attribute("a", "v".repeat(63))),
        ("empty attribute text", valid().attribute("a", "")),
        ("extreme numbers", valid().attribute("a", i64::MIN).attribute("b", f64::MIN_POSITIVE)),
    ];
    let mut accepted = Vec::new();
    for (case, request) in cases {
        let answer = store.acme.allocate_blocking(request.clone()).expect(case);
        accepted.push((case, answer.id, request));
    }
    let store = store.reopen();
    for (case, id, request) in accepted {
        let record = store.acme.get_blocking(id).expect(case);
        assert_eq!(record.text(), request.text, "{case}");
        assert_eq!(record.kind(), request.kind, "{case}");
        assert_eq!(record.slug(), request.slug.as_deref(), "{case}");
        assert_eq!(record.attributes(), request.attributes, "{case}");
        assert_eq!(record.importance(), request.importance.unwrap_or(0.5), "{case}");
    }
}

#[test]
fn the_default_limit_of_a_text_is_one_mebibyte() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), Config::default()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    acme.allocate_blocking(Allocate::new(text(1 << 20))).unwrap();
    let seq = memory.stats().last_seq;
    let expected = MemoryError::invalid("text", too_long((1 << 20) + 1, 1 << 20));
    assert_eq!(acme.allocate_blocking(Allocate::new(text((1 << 20) + 1))), Err(expected));
    assert_eq!(memory.stats().last_seq, seq);
}

/// Limits and segments are set apart: a text within its limit can be more than a segment holds.
#[test]
fn a_request_that_no_segment_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config::default().log(LogConfig::new(64 << 10, 0));
    let memory = open(dir.path(), config()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    acme.allocate_blocking(Allocate::new("first")).unwrap();
    let before = (memory.stats().last_seq, memory.state_hash());
    let error = acme.allocate_blocking(Allocate::new(text(64 << 10))).unwrap_err();
    let MemoryError::Invalid { field, problem: Problem::TooLong { bytes, bytes_max } } = &error else {
        panic!("{error}");
    };
    assert_eq!(field, "request");
    assert!(*bytes > 64 << 10 && *bytes_max < 64 << 10, "{error}");
    assert_eq!((memory.stats().last_seq, memory.state_hash()), before);
    // What is just short enough goes in and comes back.
    let around = bytes_max - (bytes - (64 << 10));
    let (bytes_max, mut fits) = (*bytes_max, 0);
    for size in around - 8..=around + 8 {
        match acme.allocate_blocking(Allocate::new(text(size))) {
            Ok(_) => fits += 1,
            Err(MemoryError::Invalid { problem: Problem::TooLong { bytes, .. }, .. }) => {
                assert!(bytes > bytes_max);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=16).contains(&fits), "{fits} of 17 sizes around the bound fit");
    let hash = memory.state_hash();
    memory.close_blocking().unwrap();
    assert_eq!(open(dir.path(), config()).unwrap().state_hash(), hash);
}

#[test]
fn update_names_the_bad_field_and_its_bound_and_changes_nothing() {
    let store = Fixture::new();
    let five = || {
        let patch = Patch::new().attribute("a", 1).attribute("b", 1).attribute("c", 1);
        patch.attribute("d", 1).attribute("e", 1)
    };
    let remove =
        |names: &[&str]| names.iter().fold(Patch::new(), |patch, name| patch.remove_attribute(*name));
    let request_id = RequestId::from_parts(NOW_MS, 1);
    let out_of_range = Problem::OutOfRange { found: 1.5, min: 0.0, max: 1.0 };
    let cases: Vec<(&str, Patch, &str, Problem)> = vec![
        ("nothing to change", Patch::new(), "patch", Problem::NoChange),
        ("only a request id", Patch::new().request_id(request_id), "patch", Problem::NoChange),
        ("empty text", Patch::new().text(""), "text", Problem::Empty),
        ("white text", Patch::new().text(" \n"), "text", Problem::Empty),
        ("text over the limit", Patch::new().text(text(1001)), "text", too_long(1001, 1000)),
        ("NUL in the text", Patch::new().text("\0a"), "text", bad('\0', 0)),
        ("kind over the limit", Patch::new().kind("k".repeat(17)), "kind", too_long(17, 16)),
        ("tab in the kind", Patch::new().kind("\t"), "kind", bad('\t', 0)),
        ("importance NaN", Patch::new().importance(f32::NAN), "importance", Problem::NotFinite),
        ("importance 1.5", Patch::new().importance(1.5), "importance", out_of_range),
        ("an attribute too many", five(), "attributes", too_many(5, 4)),
        ("empty attribute name", Patch::new().attribute("", 1), "attribute name", Problem::Empty),
        ("NaN attribute", Patch::new().attribute("a", f64::NAN), "attributes[\"a\"]", Problem::NotFinite),
        ("NUL attribute", Patch::new().attribute("a", "\0"), "attributes[\"a\"]", bad('\0', 0)),
        ("too large", Patch::new().attribute("a", "v".repeat(64)), "attributes", too_long(65, 64)),
        ("too many to remove", remove(&["a", "b", "c", "d", "e"]), "remove", too_many(5, 4)),
        ("empty name to remove", remove(&[""]), "attribute name", Problem::Empty),
        ("long name to remove", remove(&["123456789"]), "attribute name", too_long(9, 8)),
        ("NUL in a name to remove", remove(&["\0"]), "attribute name", bad('\0', 0)),
    ];
    for (case, patch, field, problem) in cases {
        let expected = MemoryError::invalid(field, problem);
        store.refuses_before_the_log(case, &expected, |acme| acme.update_blocking(store.first, None, patch));
    }
}

#[test]
fn patches_cant_push_a_memory_over_the_limit_of_attributes_one_by_one() {
    let store = Fixture::new();
    for name in ["a", "b", "c"] {
        store.acme.update_blocking(store.first, None, Patch::new().attribute(name, 1)).unwrap();
    }
    let fifth = Patch::new().attribute("d", 1);
    let expected = MemoryError::invalid("attributes", too_many(5, 4));
    store.refuses_when_applied("a fifth", &expected, |acme| {
        acme.update_blocking(store.first, None, fifth.clone())
    });
    // Replacing one, and taking one out for another, stays within.
    let replace = Patch::new().attribute("a", 2);
    store.acme.update_blocking(store.first, None, replace).unwrap();
    store.acme.update_blocking(store.first, None, fifth.remove_attribute("colour")).unwrap();
    let record = store.acme.get_blocking(store.first).unwrap();
    let names: Vec<&str> = record.content.each_attribute().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(record.attributes().get("a"), Some(&AttributeValue::Int(2)));
}

#[test]
fn patches_cant_push_a_memory_over_the_limit_of_attribute_bytes_one_by_one() {
    let store = Fixture::new();
    // 64 bytes are allowed.
    let long = |name: &str| Patch::new().attribute(name, "v".repeat(29)).remove_attribute("colour");
    for name in ["a", "b"] {
        store.acme.update_blocking(store.first, None, long(name)).unwrap();
    }
    let expected = MemoryError::invalid("attributes", too_long(90, 64));
    store.refuses_when_applied("a third", &expected, |acme| {
        acme.update_blocking(store.first, None, long("c"))
    });
    store.acme.update_blocking(store.first, None, long("c").remove_attribute("a")).unwrap();
}

#[test]
fn a_tenant_remembers_as_many_requests_as_the_limit_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.request_ids = 2;
    let memory = open(dir.path(), Config::default().limits(limits)).unwrap();
    let acme = memory.tenant("acme").unwrap();
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let send = |n: u64| {
        let id = RequestId::from_parts(now_ms + n, n);
        acme.allocate_blocking(Allocate::new(format!("number {n}")).request_id(id))
    };
    let answers: Vec<_> = (1..=3).map(|n| send(n).unwrap()).collect();
    assert_eq!((send(3), send(2)), (Ok(answers[2]), Ok(answers[1])));
    assert!(matches!(send(1), Err(MemoryError::RequestIdExpired { .. })));
    assert_eq!(acme.stats_blocking().unwrap().memories, 3);
}

#[test]
fn search_names_the_bad_field_and_its_bound() {
    let store = Fixture::new();
    let k_range = |found: f64| Problem::OutOfRange { found, min: 1.0, max: 20.0 };
    let cases: Vec<(&str, Search, &str, Problem)> = vec![
        ("k = 0", Search::new("memory").k(0), "k", k_range(0.0)),
        ("k = limit + 1", Search::new("memory").k(21), "k", k_range(21.0)),
        ("k = 10^9", Search::new("memory").k(1_000_000_000), "k", k_range(1e9)),
        ("k = the largest", Search::new("memory").k(usize::MAX), "k", k_range(usize::MAX as f64)),
        ("empty query", Search::new(""), "text", Problem::Empty),
        ("white query", Search::new(" \t\u{3000}"), "text", Problem::Empty),
        ("only punctuation", Search::new("-- ?! ___ 👍"), "text", Problem::Empty),
        ("only NUL", Search::new("\0"), "text", Problem::Empty),
        ("query over the limit", Search::new(text(101)), "text", too_long(101, 100)),
        ("too many words", Search::new("a b c d e f"), "text: words", too_many(6, 5)),
    ];
    for (case, request, field, problem) in cases {
        let expected = MemoryError::invalid(field, problem);
        store.refuses_before_the_log(case, &expected, |acme| acme.search_blocking(request));
    }
    for (case, request) in [
        ("k = 1", Search::new("memory").k(1)),
        ("k = limit", Search::new("memory").k(20)),
        ("query of the limit", Search::new(format!("memory {}", "a ".repeat(46) + "b"))),
        ("as many words as allowed", Search::new("memory b c d e")),
        ("the same word many times", Search::new("memory memory memory memory memory memory memory")),
        ("NUL beside a word", Search::new("\0 memory")),
    ] {
        assert_eq!(store.acme.search_blocking(request).expect(case).hits.len(), 1, "{case}");
    }
}

#[test]
fn a_slug_that_is_asked_for_is_checked_like_one_that_is_written() {
    let store = Fixture::new();
    let long = "s".repeat(33);
    let cases = [
        ("", Problem::Empty),
        (" ", Problem::Empty),
        ("\u{3000}", Problem::Empty),
        ("a\0", bad('\0', 1)),
        (long.as_str(), too_long(33, 32)),
        ("\u{fdfa}", too_long(33, 32)),
    ];
    for (slug, problem) in cases {
        let expected = MemoryError::invalid("slug", problem);
        store.refuses_before_the_log(&format!("{slug:?}"), &expected, |acme| acme.get_by_slug_blocking(slug));
    }
    let unknown = MemoryError::UnknownSlug { slug: "Second".into() };
    store.refuses_before_the_log("unknown", &unknown, |acme| acme.get_by_slug_blocking("Second"));
}

#[test]
fn a_slug_is_taken_in_every_spelling_that_folds_to_it() {
    let store = Fixture::new();
    let families: [&[&str]; 4] = [
        &["Blue-Whale", "blue-whale", "BLUE-WHALE", "ｂｌｕｅ-ｗｈａｌｅ"],
        &["ﬁsh", "fish", "FISH"],
        &["caf\u{e9}", "cafe\u{301}", "CAFE\u{301}"],
        &["\u{212a}elvin", "kelvin"],
    ];
    for family in families {
        let request = |slug: &str| Allocate::new("who has it").slug(slug);
        let owner = store.acme.allocate_blocking(request(family[0])).unwrap();
        assert_eq!(owner.outcome, Outcome::Created);
        for &spelling in family {
            let taken = MemoryError::SlugTaken { slug: spelling.into(), by: owner.id };
            let refuse = request(spelling).on_slug(OnSlug::Refuse);
            store.refuses_when_applied(spelling, &taken, |acme| acme.allocate_blocking(refuse));
            if spelling == family[0] {
                let again = store.acme.allocate_blocking(request(spelling)).unwrap();
                let found = (again.id, again.version, again.outcome);
                assert_eq!(found, (owner.id, Version::new(1), Outcome::Existing));
            } else {
                store
                    .refuses_when_applied(spelling, &taken, |acme| acme.allocate_blocking(request(spelling)));
            }
            assert_eq!(store.acme.get_by_slug_blocking(spelling).unwrap().id, owner.id, "{spelling:?}");
        }
        // Once it is gone any spelling is free, for another memory.
        store.acme.delete_blocking(owner.id).unwrap();
        for &spelling in family {
            let unknown = MemoryError::UnknownSlug { slug: spelling.into() };
            assert_eq!(store.acme.get_by_slug_blocking(spelling), Err(unknown));
        }
        let last = family[family.len() - 1];
        let heir = store.acme.allocate_blocking(request(last).on_slug(OnSlug::Refuse)).unwrap();
        assert_eq!(heir.outcome, Outcome::Created);
        assert!(heir.id > owner.id);
        assert_eq!(store.acme.get_by_slug_blocking(family[0]).unwrap().slug(), Some(last));
    }
    // Another tenant has slugs of its own.
    let other = store.memory.tenant("other").unwrap();
    let first = Allocate::new("mine").slug("FIRST").on_slug(OnSlug::Refuse);
    assert_eq!(other.allocate_blocking(first).unwrap().outcome, Outcome::Created);
}

#[test]
fn tenant_names_are_checked() {
    let store = Fixture::new();
    let cases = [
        ("", Problem::Empty),
        ("elevenbytes", too_long(11, 10)),
        ("a/b", bad('/', 1)),
        ("../x", bad('/', 2)),
        ("a\\b", bad('\\', 1)),
        ("caf\u{e9}", bad('\u{e9}', 3)),
        (" ", bad(' ', 0)),
        ("a b", bad(' ', 1)),
        ("a\0", bad('\0', 1)),
        ("a\n", bad('\n', 1)),
        ("a:b", bad(':', 1)),
        ("東京", bad('東', 0)),
    ];
    for (name, problem) in cases {
        let expected = MemoryError::invalid("tenant", problem);
        store.refuses_before_the_log(&format!("{name:?}"), &expected, |_| store.memory.tenant(name));
    }
    // Names are no paths: points are letters like others.
    for name in ["..", "."] {
        let tenant = store.memory.tenant(name).unwrap();
        tenant.allocate_blocking(Allocate::new("somewhere")).unwrap();
    }
    assert_eq!(store.memory.tenant("tenletters").unwrap().name(), "tenletters");
    let store = store.reopen();
    assert_eq!(store.memory.tenant("..").unwrap().stats_blocking().unwrap().memories, 1);
    let mut files: Vec<_> = std::fs::read_dir(store.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["LOCK", "STORE", "log"]);
}

#[test]
fn a_tenant_that_never_wrote_is_unknown_to_all_but_allocate() {
    let store = Fixture::new();
    let nobody = store.memory.tenant("nobody").unwrap();
    let unknown = MemoryError::UnknownTenant { tenant: "nobody".into() };
    let id = store.first;
    store.refuses_before_the_log("get", &unknown, |_| nobody.get_blocking(id));
    store.refuses_before_the_log("get_by_slug", &unknown, |_| nobody.get_by_slug_blocking("first"));
    store.refuses_before_the_log("search", &unknown, |_| nobody.search_blocking(Search::new("memory")));
    store.refuses_before_the_log("stats", &unknown, |_| nobody.stats_blocking());
    store.refuses_before_the_log("view", &unknown, |_| nobody.view());
    store.refuses_before_the_log("delete", &unknown, |_| nobody.delete_blocking(id));
    store.refuses_before_the_log("update", &unknown, |_| {
        nobody.update_blocking(id, None, Patch::new().text("mine"))
    });
    let empty = MemoryError::invalid("text", Problem::Empty);
    store.refuses_before_the_log("a bad allocate", &empty, |_| nobody.allocate_blocking(Allocate::new("")));
    assert_eq!(nobody.stats_blocking(), Err(unknown));
    // The same handle knows the tenant once it is there.
    nobody.allocate_blocking(Allocate::new("now somebody")).unwrap();
    assert_eq!(nobody.stats_blocking().unwrap().memories, 1);
}

/// A tenant comes into being with its first memory: what is refused leaves none behind.
#[test]
fn a_first_memory_that_is_refused_leaves_the_tenant_unknown() {
    let store = Fixture::new();
    let nobody = store.memory.tenant("nobody").unwrap();
    let request_id = RequestId::from_parts(NOW_MS + 60 * MINUTE_MS, 1);
    let refused = nobody.allocate_blocking(Allocate::new("early").request_id(request_id));
    assert_eq!(refused, Err(MemoryError::RequestIdFromFuture { request_id, now_ms: NOW_MS }));
    assert_eq!(nobody.stats_blocking(), Err(MemoryError::UnknownTenant { tenant: "nobody".into() }));
    assert_eq!(store.memory.stats().tenants, 1, "it counts against the limit of tenants");
}

/// The same, refused before the log.
#[test]
fn a_first_memory_that_no_segment_can_hold_leaves_the_tenant_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::default().log(LogConfig::new(64 << 10, 0));
    let memory = open(dir.path(), config).unwrap();
    let before = (memory.stats().last_seq, memory.stats().tenants, memory.state_hash());
    let nobody = memory.tenant("nobody").unwrap();
    let refused = nobody.allocate_blocking(Allocate::new(text(64 << 10)));
    assert!(matches!(&refused, Err(MemoryError::Invalid { field, .. }) if field == "request"), "{refused:?}");
    assert_eq!((memory.stats().last_seq, memory.stats().tenants, memory.state_hash()), before);
}

#[test]
fn one_tenant_more_than_the_limit_is_refused_and_the_others_go_on() {
    let store = Fixture::new();
    let allocate = |name: &str| {
        let tenant = store.memory.tenant(name).unwrap();
        tenant.allocate_blocking(Allocate::new("a memory"))
    };
    allocate("second").unwrap();
    allocate("third").unwrap();
    let full = MemoryError::QuotaExceeded { limit: "tenants", max: 3 };
    store.refuses_when_applied("a fourth", &full, |_| allocate("fourth"));
    assert!(full.to_string().contains("tenants") && full.to_string().contains('3'));
    assert_eq!(store.memory.stats().tenants, 3);
    let unknown = MemoryError::UnknownTenant { tenant: "fourth".into() };
    assert_eq!(store.memory.tenant("fourth").unwrap().stats_blocking(), Err(unknown));
    allocate("third").unwrap();

    // A lower limit refuses new ones and leaves those alone that are there.
    store.memory.close_blocking().unwrap();
    let mut limits = low_limits();
    limits.tenants = 1;
    let memory = open(store.dir.path(), small().limits(limits)).unwrap();
    let again = |name: &str| memory.tenant(name).unwrap().allocate_blocking(Allocate::new("more"));
    assert_eq!(again("fourth"), Err(MemoryError::QuotaExceeded { limit: "tenants", max: 1 }));
    assert_eq!(again("third").unwrap().outcome, Outcome::Created);
}

#[test]
fn ids_that_are_not_there_are_unknown() {
    let store = Fixture::new();
    let other = store.memory.tenant("other").unwrap();
    other.allocate_blocking(Allocate::new("one")).unwrap();
    let theirs = other.allocate_blocking(Allocate::new("two")).unwrap().id;
    let deleted = store.acme.allocate_blocking(Allocate::new("short-lived")).unwrap().id;
    store.acme.delete_blocking(deleted).unwrap();
    assert_eq!(deleted, theirs);
    for id in [0, deleted.get(), 3, 31, 32, 33, 1024, 1 << 32, 1 << 40, u64::MAX - 1, u64::MAX].map(Id::new) {
        let unknown = MemoryError::UnknownId { id };
        let case = format!("id {id}");
        store.refuses_before_the_log(&case, &unknown, |acme| acme.get_blocking(id));
        store.refuses_when_applied(&case, &unknown, |acme| acme.delete_blocking(id));
        let patch = Patch::new().text("new");
        store.refuses_when_applied(&case, &unknown, |acme| acme.update_blocking(id, None, patch.clone()));
        // That there is no such memory is told rather than that its version is another.
        let version = Some(Version::new(1));
        store.refuses_when_applied(&case, &unknown, |acme| acme.update_blocking(id, version, patch));
        let delete = Delete::new(id).if_version(Version::new(1));
        store.refuses_when_applied(&case, &unknown, |acme| acme.delete_blocking(delete));
    }
    assert_eq!(other.get_blocking(theirs).unwrap().text(), "two");
    drop(store.reopen());
}

#[test]
fn a_wrong_version_is_a_conflict_that_tells_the_right_one() {
    let store = Fixture::new();
    store.acme.update_blocking(store.first, None, Patch::new().kind("other")).unwrap();
    let (id, found) = (store.first, Version::new(2));
    for expected in [0, 1, 3, u64::MAX].map(Version::new) {
        let conflict = MemoryError::VersionConflict { id, expected, found };
        let case = format!("version {expected}");
        let patch = Patch::new().text("new");
        store.refuses_when_applied(&case, &conflict, |acme| acme.update_blocking(id, Some(expected), patch));
        let delete = Delete::new(id).if_version(expected);
        store.refuses_when_applied(&case, &conflict, |acme| acme.delete_blocking(delete));
    }
    let patch = Patch::new().text("new");
    assert_eq!(store.acme.update_blocking(id, Some(found), patch).unwrap().version, Version::new(3));
    store.acme.delete_blocking(Delete::new(id).if_version(Version::new(3))).unwrap();
}

type Change = Box<dyn Fn(&Tenant) -> Result<Answer, MemoryError>>;

#[test]
fn a_request_that_is_sent_again_gets_its_first_answer_also_after_reopening() {
    let store = Fixture::new();
    let id = store.first;
    let request = |n: u64| RequestId::from_parts(NOW_MS, n);
    let changes: Vec<(&str, Change)> = vec![
        (
            "allocate",
            Box::new(move |acme| acme.allocate_blocking(Allocate::new("once").request_id(request(1)))),
        ),
        (
            "update",
            Box::new(move |acme| {
                let patch = Patch::new().text("changed").request_id(request(2));
                acme.update_blocking(id, Some(Version::new(1)), patch)
            }),
        ),
        (
            "a refused update",
            Box::new(move |acme| {
                let patch = Patch::new().text("changed again").request_id(request(3));
                acme.update_blocking(id, Some(Version::new(1)), patch)
            }),
        ),
        (
            "a taken slug",
            Box::new(move |acme| {
                acme.allocate_blocking(Allocate::new("x").slug("First").request_id(request(4)))
            }),
        ),
        ("delete", Box::new(move |acme| acme.delete_blocking(Delete::new(id).request_id(request(5))))),
        (
            "delete of what is gone",
            Box::new(move |acme| acme.delete_blocking(Delete::new(id).request_id(request(6)))),
        ),
    ];
    let first: Vec<_> = changes.iter().map(|(_, change)| change(&store.acme)).collect();
    assert_eq!(first.iter().filter(|answer| answer.is_ok()).count(), 3, "{first:?}");
    let after = contents(&store.acme);
    for ((case, change), first) in changes.iter().zip(&first) {
        assert_eq!(&change(&store.acme), first, "{case}");
    }
    let store = store.reopen();
    store.clock.set(NOW_MS + 9 * MINUTE_MS);
    for ((case, change), first) in changes.iter().zip(&first) {
        assert_eq!(&change(&store.acme), first, "{case}, after reopening");
    }
    assert_eq!(contents(&store.acme), after);
    // The same ids are another tenant's own.
    let other = store.memory.tenant("other").unwrap();
    assert_eq!((changes[0].1)(&other).unwrap().outcome, Outcome::Created);
}

#[test]
fn a_request_id_for_another_request_is_refused_whatever_differs() {
    let store = Fixture::new();
    let request_id = RequestId::from_parts(NOW_MS, 1);
    let original = || Allocate::new("once").request_id(request_id);
    store.acme.allocate_blocking(original()).unwrap();
    let others = [
        original().kind("other"),
        original().slug("other"),
        original().on_slug(OnSlug::Refuse),
        original().attribute("a", 1),
        original().importance(0.25),
        Allocate { text: "twice".into(), ..original() },
    ];
    let reused = MemoryError::RequestIdReused { request_id };
    for other in others {
        let case = format!("{other:?}");
        store.refuses_when_applied(&case, &reused, |acme| acme.allocate_blocking(other));
    }
    let patch = Patch::new().text("once").request_id(request_id);
    store.refuses_when_applied("update", &reused, |acme| acme.update_blocking(store.first, None, patch));
    let delete = Delete::new(store.first).request_id(request_id);
    store.refuses_when_applied("delete", &reused, |acme| acme.delete_blocking(delete.clone()));
    let store = store.reopen();
    store.refuses_when_applied("after reopening", &reused, |acme| acme.delete_blocking(delete));
}

/// The limits that a command carries in the log are no part of what its caller asked for.
#[test]
fn a_retry_is_known_also_when_the_store_was_reopened_with_other_limits() {
    let store = Fixture::new();
    let request_id = RequestId::from_parts(NOW_MS, 1);
    let patch = || Patch::new().kind("other").request_id(request_id);
    let first = store.acme.update_blocking(store.first, None, patch()).unwrap();
    store.memory.close_blocking().unwrap();
    let mut limits = low_limits();
    limits.attributes += 1;
    let config = small().limits(limits).clock(Arc::clone(&store.clock) as Arc<_>);
    let memory = open(store.dir.path(), config).unwrap();
    let acme = memory.tenant("acme").unwrap();
    assert_eq!(acme.update_blocking(store.first, None, patch()), Ok(first));
}

#[test]
fn request_ids_that_were_forgotten_or_are_too_new_are_refused() {
    let store = Fixture::new();
    let allocate = |request_id| Allocate::new("timely").request_id(request_id);
    let request_id = RequestId::from_parts(0, 1);
    let expired = MemoryError::RequestIdExpired { request_id, horizon_ms: 0 };
    store.refuses_when_applied("issued at 0", &expired, |acme| acme.allocate_blocking(allocate(request_id)));
    for issued_ms in [NOW_MS + MINUTE_MS + 1, NOW_MS + 60 * MINUTE_MS, (1 << 48) - 1] {
        let request_id = RequestId::from_parts(issued_ms, 1);
        let early = MemoryError::RequestIdFromFuture { request_id, now_ms: NOW_MS };
        let case = format!("issued at {issued_ms}");
        store.refuses_when_applied(&case, &early, |acme| acme.allocate_blocking(allocate(request_id)));
    }
    // Nothing was forgotten yet, so nothing is too old.
    for issued_ms in [1, NOW_MS - 10 * MINUTE_MS, NOW_MS, NOW_MS + MINUTE_MS] {
        let answer = store.acme.allocate_blocking(allocate(RequestId::from_parts(issued_ms, 2))).unwrap();
        assert_eq!(answer.outcome, Outcome::Created, "issued at {issued_ms}");
    }
    // After ten minutes each command forgets two, those issued first.
    store.clock.set(NOW_MS + 10 * MINUTE_MS);
    let store = store.reopen();
    store.acme.allocate_blocking(Allocate::new("some time later")).unwrap();
    // What was too early is not held against it later, and what was done is forgotten only to be refused.
    let request_id = RequestId::from_parts(NOW_MS, 2);
    let expired = MemoryError::RequestIdExpired { request_id, horizon_ms: NOW_MS + MINUTE_MS };
    store
        .refuses_when_applied("done long ago", &expired, |acme| acme.allocate_blocking(allocate(request_id)));
    let request_id = RequestId::from_parts(NOW_MS + MINUTE_MS + 1, 1);
    assert_eq!(store.acme.allocate_blocking(allocate(request_id)).unwrap().outcome, Outcome::Created);
    // A clock that is set back doesn't bring forgotten requests back.
    store.clock.set(NOW_MS);
    let request_id = RequestId::from_parts(NOW_MS, 2);
    store.refuses_when_applied("clock set back", &expired, |acme| {
        acme.allocate_blocking(allocate(request_id))
    });
}

/// Symptom: a clock that was a day ahead for one commit had all request ids refused for a day. Cause: the ids that are too old
/// were told by the log's clock, which never goes back.
#[test]
fn a_clock_that_was_a_day_ahead_for_one_commit_leaves_request_ids_working() {
    let mut store = Fixture::new();
    let allocate = |store: &Fixture, issued_ms: u64, unique: u64| {
        let request_id = RequestId::from_parts(issued_ms, unique);
        store.acme.allocate_blocking(Allocate::new(format!("number {unique}")).request_id(request_id))
    };
    let before: Vec<_> = (0..10).map(|n| allocate(&store, NOW_MS + n, n).unwrap()).collect();
    let day_ms = 24 * 60 * MINUTE_MS;
    store.clock.set(NOW_MS + day_ms);
    let ahead = allocate(&store, NOW_MS + day_ms, 100).unwrap();
    let mut after = Vec::new();
    for n in 0..30 {
        store.clock.set(NOW_MS + 1000 + n);
        // Clients aren't in step.
        let issued_ms = NOW_MS + 1000 + (n ^ 3);
        let answer = allocate(&store, issued_ms, 200 + n).unwrap();
        assert_eq!(answer.outcome, Outcome::Created, "the {n}th after the clock was set right");
        after.push((issued_ms, 200 + n, answer));
        if n % 10 == 0 {
            store = store.reopen();
        }
    }
    let memories = store.acme.stats_blocking().unwrap().memories;
    for (issued_ms, unique, answer) in after {
        assert_eq!(allocate(&store, issued_ms, unique), Ok(answer), "{unique} sent again");
    }
    assert_eq!(allocate(&store, NOW_MS + day_ms, 100), Ok(ahead));
    // Those before the jump were ten minutes old with it: forgotten, and refused.
    for n in 0..before.len() as u64 {
        let request_id = RequestId::from_parts(NOW_MS + n, n);
        let expired = MemoryError::RequestIdExpired { request_id, horizon_ms: NOW_MS + 9 };
        assert_eq!(allocate(&store, NOW_MS + n, n), Err(expired));
    }
    assert_eq!(store.acme.stats_blocking().unwrap().memories, memories, "something was done twice");
}

/// 128 zero bits are a request id like any other, and older than all others; what is refused stays undone.
#[test]
fn a_refused_request_id_of_zero_bits_is_not_carried_out_when_the_log_is_replayed() {
    let store = Fixture::new();
    let before = contents(&store.acme);
    let request = Allocate::new("zero").request_id(RequestId::from_bits(0));
    let refused = store.acme.allocate_blocking(request).unwrap_err();
    assert!(refused.is_certain(), "{refused}");
    assert_eq!(contents(&store.acme), before);
    store.memory.close_blocking().unwrap();
    let memory = open(store.dir.path(), small()).unwrap();
    assert_eq!(contents(&memory.tenant("acme").unwrap()), before);
}

/// Minus zero is within 0 to 1; the log must bring back what was applied.
#[test]
fn an_importance_of_minus_zero_is_the_same_state_after_reopening() {
    let store = Fixture::new();
    store.acme.allocate_blocking(Allocate::new("unimportant").importance(-0.0)).unwrap();
    store.acme.update_blocking(store.first, None, Patch::new().importance(-0.0)).unwrap();
    store.acme.update_blocking(store.first, None, Patch::new().attribute("a", -0.0)).unwrap();
    drop(store.reopen());
}

#[test]
fn a_setting_out_of_range_is_named_and_nothing_is_created() {
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Config::default().limits(limits)
    };
    let log = |bytes, ahead| Config::default().log(LogConfig::new(bytes, ahead));
    let cases = [
        ("limits.text_bytes", with(|limits| limits.text_bytes = 0)),
        ("limits.k", with(|limits| limits.k = 0)),
        ("limits.query_bytes", with(|limits| limits.query_bytes = 0)),
        ("limits.query_words", with(|limits| limits.query_words = 0)),
        ("limits.tenant_bytes", with(|limits| limits.tenant_bytes = 0)),
        ("limits.tenants", with(|limits| limits.tenants = 0)),
        ("limits.queue_commands", with(|limits| limits.queue_commands = 0)),
        ("limits.queue_bytes", with(|limits| limits.queue_bytes = 0)),
        ("limits.batch_bytes", with(|limits| limits.batch_bytes = 0)),
        ("log.segment_bytes", log(0, 0)),
        ("log.segment_bytes", log((64 << 10) - 1, 0)),
        ("log.segment_bytes", log((1 << 30) + 1, 0)),
        ("log.segment_bytes", log(u64::MAX, 0)),
        ("log.segments_ahead", log(64 << 10, 1025)),
        ("log.segments_ahead", log(64 << 10, usize::MAX)),
    ];
    let base = tempfile::tempdir().unwrap();
    for (name, config) in cases {
        let dir = base.path().join("store");
        let error = open(&dir, config).unwrap_err();
        let OpenError::InvalidConfig { field, ref detail } = error else { panic!("{name}: {error}") };
        assert_eq!(field, name, "{detail}");
        assert!(error.to_string().contains(name) && detail.contains("must be"), "{error}");
        assert!(!dir.exists(), "{name}: something was created");
    }
}

#[test]
fn the_lowest_settings_make_a_store_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.text_bytes = 1;
    limits.kind_bytes = 0;
    limits.slug_bytes = 0;
    limits.attributes = 0;
    limits.attribute_name_bytes = 0;
    limits.attributes_bytes = 0;
    limits.query_bytes = 1;
    limits.query_words = 1;
    limits.k = 1;
    limits.tenant_bytes = 1;
    limits.tenants = 1;
    limits.queue_commands = 1;
    limits.queue_bytes = 1;
    limits.queue_waiters = 0;
    limits.batch_bytes = 1;
    let config = Config::default().limits(limits).log(LogConfig::new(64 << 10, 0));
    let memory = open(dir.path(), config).unwrap();
    let a = memory.tenant("a").unwrap();
    let id = a.allocate_blocking(Allocate::new("x")).unwrap().id;
    assert_eq!(a.search_blocking(Search::new("x").k(1)).unwrap().hits[0].record.id, id);
    let slug = a.allocate_blocking(Allocate::new("x").slug("s"));
    assert_eq!(slug, Err(MemoryError::invalid("slug", too_long(1, 0))));
    let attribute = a.allocate_blocking(Allocate::new("x").attribute("a", 1));
    assert_eq!(attribute, Err(MemoryError::invalid("attributes", too_many(1, 0))));
    memory.close_blocking().unwrap();
}

#[test]
fn a_file_in_place_of_the_directory_is_refused_and_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("file");
    std::fs::write(&path, "precious").unwrap();
    for dir in [path.clone(), path.join("below")] {
        let error = open(&dir, small()).unwrap_err();
        let OpenError::Io { path: named, .. } = &error else { panic!("{error}") };
        assert!(named.starts_with(&path), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn missing_parents_are_created() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("a/b/c d/é");
    let memory = open(&dir, small()).unwrap();
    memory.tenant("acme").unwrap().allocate_blocking(Allocate::new("deep")).unwrap();
    memory.close_blocking().unwrap();
    let memory = open(&dir, small()).unwrap();
    assert_eq!(memory.tenant("acme").unwrap().stats_blocking().unwrap().memories, 1);
}

#[cfg(unix)]
#[test]
fn a_directory_that_cant_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let may_write_anyway = std::fs::write(dir.path().join("probe"), "").is_ok();
    let result = open(dir.path(), small());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if may_write_anyway {
        println!("skipped: this user (root?) may write where nobody may");
        return;
    }
    let error = result.unwrap_err();
    assert!(
        matches!(&error, OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error}"
    );
    assert!(open(dir.path(), small()).is_ok(), "once it may be written");
}

#[track_caller]
fn expect_already_open(dir: &Path) {
    let error = open(dir, small()).unwrap_err();
    let OpenError::AlreadyOpen { path } = &error else { panic!("{error}") };
    assert_eq!(path, dir);
    assert!(error.to_string().contains(&*dir.to_string_lossy()), "{error}");
}

#[test]
fn a_directory_is_open_once_in_a_process() {
    let store = Fixture::new();
    let dir = store.dir.path().to_owned();
    expect_already_open(&dir);
    // Any handle keeps it open.
    let Fixture { memory, acme, first, dir: _keep, .. } = store;
    let view = acme.view().unwrap();
    drop(memory);
    expect_already_open(&dir);
    assert_eq!(acme.get_blocking(first).unwrap().text(), "the first memory");
    drop(view);
    drop(acme);
    let memory = open(&dir, small()).unwrap();
    assert!(memory.recovery().clean);
}

/// Tells the copy of this test that runs in another process where to look.
const SECOND_PROCESS_DIR: &str = "STEADFAST_SECOND_PROCESS_DIR";

#[test]
fn a_directory_is_open_in_one_process() {
    if let Some(dir) = std::env::var_os(SECOND_PROCESS_DIR) {
        expect_already_open(Path::new(&dir));
        println!("the second process was refused");
        return;
    }
    let store = Fixture::new();
    let before = store.memory.state_hash();
    let mut second = Command::new(std::env::current_exe().unwrap());
    second.args(["--exact", "bad_input::a_directory_is_open_in_one_process", "--nocapture"]);
    let second = second.env(SECOND_PROCESS_DIR, store.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.success() && said.contains("the second process was refused"), "{second:?}");
    store.acme.allocate_blocking(Allocate::new("undisturbed")).unwrap();
    assert_ne!(store.memory.state_hash(), before);
    drop(store.reopen());
}

/// The child of a fork holds every lock of its parent until it executes another program. So a lock
/// is given up explicitly, and stores can be closed and opened again beside tests that start
/// processes.
#[cfg(unix)]
#[test]
fn a_lock_ends_when_it_is_dropped_also_while_a_process_is_being_started() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let started = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                drop(Command::new("true").spawn().and_then(|mut child| child.wait()));
            }
            started.store(true, Ordering::Release);
        });
        let mut held = 0_u32;
        while !started.load(Ordering::Acquire) {
            let lock = RealFileSystem.lock(&path);
            assert!(lock.is_ok(), "after it was held and dropped {held} times: {:?}", lock.err());
            held += 1;
        }
    });
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let store = Fixture::new();
    store.memory.close_blocking().unwrap();
    let path = store.dir.path().join("STORE");
    let original = std::fs::read_to_string(&path).unwrap();
    let body = original.split_once("crc ").unwrap().0.replace("format 2\n", "format 3\n");
    let newer = format!("{body}crc {:08x}\n", crc32c(body.as_bytes()));
    assert_ne!(newer, original);
    std::fs::write(&path, &newer).unwrap();
    let error = open(store.dir.path(), small()).unwrap_err();
    let OpenError::NewerFormat { file, found: 3, supported: 2 } = &error else { panic!("{error}") };
    assert_eq!(file, &path);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer, "it was changed");

    // The same with the old checksum is damage.
    std::fs::write(&path, original.replace("format 2\n", "format 3\n")).unwrap();
    let error = open(store.dir.path(), small()).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { file, .. } if file == &path), "{error}");

    // Neither try kept the directory locked or harmed the log.
    std::fs::write(&path, original).unwrap();
    let memory = open(store.dir.path(), small()).unwrap();
    assert!(memory.recovery().clean);
    assert_eq!(memory.tenant("acme").unwrap().get_blocking(store.first).unwrap().text(), "the first memory");
}

#[test]
fn after_close_every_verb_answers_closed() {
    let store = Fixture::new();
    let other = store.memory.tenant("other").unwrap();
    other.allocate_blocking(Allocate::new("theirs")).unwrap();
    let view = store.acme.view().unwrap();
    store.memory.close_blocking().unwrap();
    let unseen = store.memory.tenant("other").unwrap();
    for tenant in [&store.acme, &other, &unseen] {
        all_verbs_answer_closed(tenant, store.first);
    }
    // What was taken before stays.
    assert_eq!(view.get(store.first).unwrap().text(), "the first memory");
    drop(store.reopen());
}

#[test]
fn after_close_also_a_tenant_that_is_not_there_answers_closed() {
    let store = Fixture::new();
    let nobody = store.memory.tenant("nobody").unwrap();
    store.memory.close_blocking().unwrap();
    all_verbs_answer_closed(&nobody, store.first);
}

#[track_caller]
fn all_verbs_answer_closed(tenant: &Tenant, id: Id) {
    let closed = |verb: &str, error: Option<MemoryError>| {
        assert_eq!(error, Some(MemoryError::Closed), "{verb} of {}", tenant.name());
    };
    closed("get", tenant.get_blocking(id).err());
    closed("get_by_slug", tenant.get_by_slug_blocking("first").err());
    closed("search", tenant.search_blocking(Search::new("memory")).err());
    closed("stats", tenant.stats_blocking().err());
    closed("view", tenant.view().err());
    closed("allocate", tenant.allocate_blocking(Allocate::new("late")).err());
    closed("update", tenant.update_blocking(id, None, Patch::new().text("late")).err());
    closed("delete", tenant.delete_blocking(id).err());
}

#[test]
fn closing_twice_and_from_many_sides_is_no_error() {
    let store = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.memory.close_blocking().unwrap());
        }
    });
    store.memory.close_blocking().unwrap();
    store.memory.clone().close_blocking().unwrap();
    let memory = open(store.dir.path(), small()).unwrap();
    assert!(memory.recovery().clean);
    assert_eq!(memory.recovery().epoch, 2);
}

#[test]
fn a_store_that_is_dropped_without_close_is_clean() {
    let store = Fixture::new();
    let hash = store.memory.state_hash();
    let Fixture { memory, acme, dir, .. } = store;
    drop((memory, acme));
    let memory = open(dir.path(), small()).unwrap();
    assert!(memory.recovery().clean && memory.recovery().torn_writes.is_empty());
    assert_eq!(memory.state_hash(), hash);
}
