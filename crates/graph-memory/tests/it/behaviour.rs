//! What the documents promise, as a user of the store sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use steadfast_graph_memory::{
    Allocate, AttributeValue, Config, Content, ContentParts, Delete, GraphMemory, Id, LogConfig, Matched,
    Memory, MemoryError, OnSlug, Outcome, Patch, Progress, Record, Search, Seq, Tenant, Version,
};

use crate::clock::StoreClock;

/// Nothing here takes nearly as long; a test that waits for ever ends by it.
const LONG: Duration = Duration::from_secs(60);

fn small() -> Config {
    Config::default().log(LogConfig::new(1 << 20, 0))
}

fn open(dir: &Path) -> GraphMemory {
    GraphMemory::open_blocking(dir, small()).unwrap()
}

fn remember(tenant: &Tenant, text: &str) -> Id {
    tenant.allocate_blocking(Allocate::new(text)).unwrap().id
}

fn found(tenant: &Tenant, query: &str) -> Vec<Id> {
    let hits = tenant.search_blocking(Search::new(query).k(1000)).unwrap();
    assert_eq!(hits.matched, Matched::Exactly(hits.hits.len()));
    hits.hits.into_iter().map(|hit| hit.record.id).collect()
}

/// One word, of letters alone: digits would be words of their own.
fn word(beginning: &str, n: usize) -> String {
    let letters = n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    format!("{beginning}{letters}")
}

#[test]
fn what_was_acknowledged_is_there_for_the_next_read_and_search_of_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let memory = memory.clone();
            scope.spawn(move || {
                let writing = memory.tenant("acme").unwrap();
                for n in 0..20 {
                    let (before, after) = (word("before", writer * 100 + n), word("after", writer * 100 + n));
                    let answer =
                        writing.allocate_blocking(Allocate::new(&before).slug(before.as_str())).unwrap();
                    // A handle that has seen nothing yet.
                    let reading = memory.tenant("acme").unwrap();
                    assert_eq!(reading.get_blocking(answer.id).unwrap().text(), before);
                    assert_eq!(reading.get_by_slug_blocking(&before).unwrap().seq, answer.seq);
                    assert_eq!(found(&reading, &before), [answer.id]);
                    assert!(reading.stats_blocking().unwrap().seq >= answer.seq);

                    let updated =
                        writing.update_blocking(answer.id, None, Patch::new().text(&after)).unwrap();
                    assert_eq!(reading.get_blocking(answer.id).unwrap().version, updated.version);
                    assert_eq!(found(&reading, &before), []);
                    assert_eq!(found(&reading, &after), [answer.id]);

                    if n % 2 == 0 {
                        writing.delete_blocking(answer.id).unwrap();
                        let unknown = MemoryError::UnknownId { id: answer.id };
                        assert_eq!(reading.get_blocking(answer.id), Err(unknown));
                        assert_eq!(found(&reading, &after), []);
                        assert!(reading.get_by_slug_blocking(&before).is_err());
                    }
                }
            });
        }
    });
    assert_eq!(memory.tenant("acme").unwrap().stats_blocking().unwrap().memories, 8 * 10);
}

#[test]
fn a_view_stays_as_it_is_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    for n in 0..50 {
        acme.allocate_blocking(Allocate::new(format!("common word{n}")).slug(format!("slug-{n}"))).unwrap();
    }
    let view = acme.view().unwrap();
    let look = || -> (Vec<Record>, Vec<(Id, f32)>, Matched, Seq, usize) {
        let records = view.records().map(|record| (*record).clone()).collect();
        let hits = view.search(&Search::new("common").k(100)).unwrap();
        let scores = hits.hits.iter().map(|hit| (hit.record.id, hit.score)).collect();
        (records, scores, hits.matched, view.seq(), view.len())
    };
    let first = look();
    assert_eq!((first.0.len(), first.2, first.4), (50, Matched::Exactly(50), 50));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..50 {
                let id = Id::new(n + 1);
                let updated = acme.update_blocking(id, None, Patch::new().text("other").kind("other"));
                let added = acme.allocate_blocking(Allocate::new("common").slug(format!("new-{n}")));
                let deleted = acme.delete_blocking(id);
                assert!(updated.is_ok() && added.is_ok() && deleted.is_ok());
            }
            done.store(true, Ordering::Release);
        });
        let mut looks = 0;
        while !done.load(Ordering::Acquire) || looks < 3 {
            assert_eq!(look(), first);
            for n in 0..50 {
                assert_eq!(view.get_by_slug(&format!("slug-{n}")).unwrap().id, Id::new(n + 1));
            }
            assert!(view.get_by_slug("new-0").is_err());
            looks += 1;
        }
    });
    assert_eq!(look(), first);
    assert_eq!(view.stats().memories, 50);
    // A view of now has none of it left.
    let now = acme.view().unwrap();
    assert!(now.seq() > view.seq());
    assert!(now.records().all(|record| record.id > Id::new(50)));
    assert_eq!((now.len(), now.is_empty()), (50, false));
}

#[test]
fn seqs_and_versions_strictly_increase_and_outcomes_tell_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let allocate = Allocate::new("a text").slug("slug").kind("fact").importance(0.25);
    let created = acme.allocate_blocking(allocate.clone()).unwrap();
    let existing = acme.allocate_blocking(allocate.clone().kind("ignored")).unwrap();
    let updated = acme.update_blocking(created.id, None, Patch::new().importance(0.75)).unwrap();
    let again = acme.update_blocking(created.id, Some(updated.version), Patch::new().text("b")).unwrap();
    let late = acme.allocate_blocking(allocate.clone()).unwrap();
    let deleted = acme.delete_blocking(Delete::new(created.id).if_version(again.version)).unwrap();
    let heir = acme.allocate_blocking(allocate.on_slug(OnSlug::Refuse)).unwrap();

    let answers = [created, existing, updated, again, late, deleted, heir];
    let outcomes = answers.map(|answer| (answer.outcome, answer.id.get(), answer.version.get()));
    let expected = [
        (Outcome::Created, 1, 1),
        (Outcome::Existing, 1, 1),
        (Outcome::Updated, 1, 2),
        (Outcome::Updated, 1, 3),
        (Outcome::Existing, 1, 3),
        (Outcome::Deleted, 1, 3),
        (Outcome::Created, 2, 1),
    ];
    assert_eq!(outcomes, expected);
    assert!(answers.windows(2).all(|pair| pair[0].seq < pair[1].seq), "{answers:?}");
    assert_eq!(acme.get_blocking(heir.id).unwrap().seq, heir.seq);
    assert_eq!(memory.stats().last_seq, heir.seq);
    // The order is one for all tenants.
    let other = memory.tenant("other").unwrap();
    assert!(other.allocate_blocking(Allocate::new("x")).unwrap().seq > heir.seq);
}

#[test]
fn an_update_changes_what_it_names_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let allocate = Allocate::new("a text").slug("A-Slug").kind("fact").importance(0.25);
    let id = acme.allocate_blocking(allocate.attribute("a", 1).attribute("b", "two")).unwrap().id;
    let before = acme.get_blocking(id).unwrap();
    let patch = Patch::new().remove_attribute("a").remove_attribute("no such").attribute("c", 3.5);
    let answer = acme.update_blocking(id, None, patch).unwrap();
    let after = acme.get_blocking(id).unwrap();
    let expected = Record {
        version: answer.version,
        seq: answer.seq,
        updated_ms: after.updated_ms,
        content: Content::pack(&ContentParts {
            text: "a text",
            kind: "fact",
            slug: Some("A-Slug"),
            folded_slug: Some("a-slug"),
            attributes: &[("b", AttributeValue::from("two")), ("c", 3.5.into())].into_iter().collect(),
            importance: 0.25,
            vector: &[],
        }),
        ..(*before).clone()
    };
    assert_eq!(*after, expected);
    // Removing comes before setting.
    let patch = Patch::new().remove_attribute("b").attribute("b", true);
    acme.update_blocking(id, None, patch).unwrap();
    assert_eq!(acme.get_blocking(id).unwrap().attributes().get("b"), Some(&true.into()));
    let patch = Patch::new().text("t").kind("").importance(1.0);
    acme.update_blocking(id, None, patch).unwrap();
    let last = acme.get_blocking(id).unwrap();
    assert_eq!((last.text(), last.kind(), last.importance()), ("t", "", 1.0));
    assert_eq!(last.slug(), Some("A-Slug"));
}

#[test]
fn times_are_the_logs_and_never_go_back_though_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let clock = StoreClock::at(5000);
    let config = || small().clock(Arc::clone(&clock) as Arc<_>);
    let memory = GraphMemory::open_blocking(dir.path(), config()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    let times = |acme: &Tenant, id| {
        let record = acme.get_blocking(id).unwrap();
        (record.created_ms, record.updated_ms)
    };
    let id = remember(&acme, "one");
    assert_eq!(times(&acme, id), (5000, 5000));
    clock.set(7000);
    acme.update_blocking(id, None, Patch::new().kind("a")).unwrap();
    assert_eq!(times(&acme, id), (5000, 7000));
    clock.set(100);
    acme.update_blocking(id, None, Patch::new().kind("b")).unwrap();
    assert_eq!(times(&acme, id), (5000, 7000));
    let second = remember(&acme, "two");
    assert_eq!(times(&acme, second), (7000, 7000));
    memory.close_blocking().unwrap();

    let memory = GraphMemory::open_blocking(dir.path(), config()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    assert_eq!(times(&acme, id), (5000, 7000));
    let third = remember(&acme, "three");
    assert_eq!(times(&acme, third), (7000, 7000), "the log's time was forgotten when it was reopened");
    clock.set(7001);
    let fourth = remember(&acme, "four");
    assert_eq!(times(&acme, fourth), (7001, 7001));
    clock.set(u64::MAX);
    let fifth = remember(&acme, "five");
    clock.set(7002);
    let sixth = remember(&acme, "six");
    assert_eq!(times(&acme, fifth), times(&acme, sixth));
}

#[test]
fn identifiers_are_found_by_their_parts_and_best_by_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    for n in 1..=5 {
        remember(&acme, &format!("searchable_concept_{n}"));
    }
    let third = Id::new(3);
    for query in ["searchable_3", "searchable_concept_3", "Concept 3", "SEARCHABLE 3", "3"] {
        assert_eq!(found(&acme, query)[0], third, "{query}");
    }
    assert_eq!(found(&acme, "3"), [third]);
    assert_eq!(found(&acme, "concept").len(), 5);
    assert_eq!(found(&acme, "conc"), [], "no part of a word");

    let camel = remember(&acme, "parseJSON2Xml reads std::collections::HashMap and e-mail");
    for query in ["json", "xml", "parsejson2xml", "hash map", "HashMap", "collections", "mail", "e-mail"] {
        assert_eq!(found(&acme, query)[0], camel, "{query}");
    }
    let words = remember(&acme, "caf\u{e9} am ﬁord, 東京");
    for query in ["CAFE\u{301}", "fiord", "京"] {
        assert_eq!(found(&acme, query), [words], "{query}");
    }
}

#[test]
fn rare_words_short_texts_and_more_matches_rank_first_and_ties_go_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let long = remember(&acme, "whale and much else that makes this text rather long");
    let short = remember(&acme, "whale");
    let both = remember(&acme, "whale song");
    let twins: Vec<Id> = (0..5).map(|_| remember(&acme, "common word")).collect();
    assert_eq!(found(&acme, "whale"), [short, both, long]);
    assert_eq!(found(&acme, "whale song")[0], both);
    // One document holds the rare word, five the common one.
    assert_eq!(found(&acme, "common song")[0], both);
    assert_eq!(found(&acme, "common"), twins);

    let hits = acme.search_blocking(Search::new("common whale").k(8)).unwrap();
    assert!(hits.hits.windows(2).all(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        a.score > b.score || (a.score == b.score && a.record.id < b.record.id)
    }));
    assert!(hits.hits.iter().all(|hit| hit.score > 0.0));
}

#[test]
fn k_bounds_the_hits_and_counted_counts_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    for n in 0..40 {
        remember(&acme, if n % 2 == 0 { "even number" } else { "odd number" });
    }
    let all = found(&acme, "even");
    assert_eq!(all.len(), 20);
    assert_eq!(acme.search_blocking(Search::new("number")).unwrap().hits.len(), 10, "10 unless it is set");
    for k in [1, 2, 19, 20, 21, 10_000] {
        let hits = acme.search_blocking(Search::new("even").k(k)).unwrap();
        let ids: Vec<Id> = hits.hits.iter().map(|hit| hit.record.id).collect();
        assert_eq!(ids, all[..k.min(20)], "k = {k}");
        assert!(hits.matched.at_least() <= 20, "k = {k}");
        let counted = acme.search_blocking(Search::new("even").k(k).counted()).unwrap();
        assert_eq!((counted.hits, counted.matched), (hits.hits, Matched::Exactly(20)), "k = {k}");
        assert_eq!(hits.seq, memory.stats().last_seq);
    }
    let none = acme.search_blocking(Search::new("absent")).unwrap();
    assert!(none.hits.is_empty() && none.matched == Matched::Exactly(0));
}

#[test]
fn an_update_of_the_text_is_searched_anew_and_another_update_changes_no_score() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    // Enough of them to fill several blocks of the index, with dead ones in each.
    let ids: Vec<Id> = (0..200).map(|n| remember(&acme, &(word("old", n) + " everywhere"))).collect();
    let score = |query: &str| acme.search_blocking(Search::new(query)).unwrap().hits[0].score;
    let before = score(&word("old", 7));
    acme.update_blocking(ids[7], None, Patch::new().kind("other").attribute("a", 1)).unwrap();
    assert_eq!(score(&word("old", 7)), before);
    for (n, id) in ids.iter().enumerate().step_by(3) {
        acme.update_blocking(*id, None, Patch::new().text(word("new", n) + " everywhere")).unwrap();
    }
    for (n, id) in ids.iter().enumerate().skip(1).step_by(3) {
        acme.delete_blocking(*id).unwrap();
        assert_eq!(found(&acme, &word("old", n)), [], "it is gone at once");
    }
    let check = |acme: &Tenant| {
        for (n, id) in ids.iter().enumerate() {
            let (old, new) = match n % 3 {
                0 => (vec![], vec![*id]),
                1 => (vec![], vec![]),
                _ => (vec![*id], vec![]),
            };
            assert_eq!(found(acme, &word("old", n)), old);
            assert_eq!(found(acme, &word("new", n)), new);
        }
        let left: Vec<Id> = ids.iter().enumerate().filter(|(n, _)| n % 3 != 1).map(|(_, id)| *id).collect();
        assert_eq!(found(acme, "everywhere"), left);
    };
    check(&acme);
    let scores =
        |acme: &Tenant| acme.search_blocking(Search::new(word("old", 2) + " everywhere").k(500)).unwrap();
    let (before, stats) = (scores(&acme), acme.stats_blocking().unwrap());
    memory.close_blocking().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    check(&acme);
    assert_eq!(scores(&acme), before, "the scores depend on when the store was opened");
    assert_eq!(acme.stats_blocking().unwrap(), stats);
}

#[test]
fn tenants_see_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let (a, b) = (memory.tenant("a").unwrap(), memory.tenant("b").unwrap());
    let mine = a.allocate_blocking(Allocate::new("secret of a").slug("note")).unwrap();
    let theirs = b.allocate_blocking(Allocate::new("hidden by b").slug("note")).unwrap();
    assert_eq!((mine.id, theirs.id), (Id::new(1), Id::new(1)));
    assert_eq!((mine.outcome, theirs.outcome), (Outcome::Created, Outcome::Created));
    let score = a.search_blocking(Search::new("secret")).unwrap().hits[0].score;
    for _ in 0..20 {
        remember(&b, "secret");
    }
    assert_eq!(a.search_blocking(Search::new("secret")).unwrap().hits[0].score, score);
    assert_eq!(found(&a, "hidden"), []);
    b.update_blocking(Id::new(1), None, Patch::new().text("changed")).unwrap();
    b.delete_blocking(Id::new(1)).unwrap();
    assert_eq!(a.get_by_slug_blocking("note").unwrap().text(), "secret of a");
    // Names differ by case too.
    assert!(matches!(memory.tenant("A").unwrap().stats_blocking(), Err(MemoryError::UnknownTenant { .. })));
}

#[test]
fn ids_are_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let mut seen = BTreeSet::new();
    for n in 0..10 {
        let id = remember(&acme, &n.to_string());
        assert!(seen.insert(id), "{id} was used before");
        acme.delete_blocking(id).unwrap();
    }
    assert!(acme.view().unwrap().is_empty());
    memory.close_blocking().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    assert_eq!(remember(&acme, "after reopening"), Id::new(11));
    assert_eq!(acme.stats_blocking().unwrap().created, 11);
}

/// Wakes the thread that waits in [`block_on`].
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is; gives up after [`LONG`].
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(began.elapsed() < LONG, "nobody woke the one who waits");
        std::thread::park_timeout(LONG);
    }
}

/// All verbs, written against the trait alone.
async fn all_verbs(memory: &impl Memory, name: &str) -> Result<(), MemoryError> {
    let created = memory.allocate(Allocate::new(format!("{name} text")).slug(name)).await?;
    assert_eq!(memory.get(created.id).await?.text(), format!("{name} text"));
    assert_eq!(memory.get_by_slug(name).await?.id, created.id);
    assert_eq!(memory.search(Search::new(name)).await?.hits[0].record.id, created.id);
    let updated = memory.update(created.id, Some(created.version), Patch::new().kind("x")).await?;
    assert_eq!(updated.version, Version::new(2));
    assert!(memory.stats().await?.memories >= 1);
    memory.delete(Delete::new(created.id).if_version(updated.version)).await?;
    assert_eq!(memory.get(created.id).await, Err(MemoryError::UnknownId { id: created.id }));
    Ok(())
}

async fn open_use_close(dir: &Path) {
    let memory = GraphMemory::open(dir, small()).await.unwrap();
    let acme = memory.tenant("acme").unwrap();
    all_verbs(&acme, "alone").await.unwrap();
    memory.close().await.unwrap();
    assert_eq!(all_verbs(&acme, "late").await, Err(MemoryError::Closed));
}

#[test]
fn works_on_a_hand_written_executor() {
    let dir = tempfile::tempdir().unwrap();
    block_on(open_use_close(dir.path()));
}

#[test]
fn works_on_a_tokio_runtime_of_one_thread_with_many_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(open_use_close(dir.path()));
    runtime.block_on(many_tasks(dir.path()));
}

#[test]
fn works_on_a_tokio_runtime_of_many_threads_with_many_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(open_use_close(dir.path()));
    runtime.block_on(many_tasks(dir.path()));
}

async fn many_tasks(dir: &Path) {
    let memory = GraphMemory::open(dir, small()).await.unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let tenant = memory.tenant(&format!("tenant-{}", n % 3)).unwrap();
            tokio::spawn(async move { all_verbs(&tenant, &format!("task{n}")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(memory.stats().queued + memory.stats().waiting, 0);
    memory.close().await.unwrap();
}

#[test]
fn an_error_of_opening_comes_out_of_the_future_and_a_dropped_one_leaves_the_directory_free() {
    let dir = tempfile::tempdir().unwrap();
    let memory = block_on(GraphMemory::open(dir.path(), small())).unwrap();
    assert!(block_on(GraphMemory::open(dir.path(), small())).is_err());
    memory.close_blocking().unwrap();
    {
        let mut opening = pin!(GraphMemory::open(dir.path(), small()));
        drop(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    }
    let began = Instant::now();
    loop {
        match GraphMemory::open_blocking(dir.path(), small()) {
            Ok(_) => break,
            Err(error) => assert!(began.elapsed() < LONG, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_future_that_is_dropped_once_it_was_polled_is_carried_out_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let (changed, deleted) = (remember(&acme, "to be changed"), remember(&acme, "to be deleted"));
    {
        let mut context = Context::from_waker(Waker::noop());
        let mut allocate = pin!(acme.allocate(Allocate::new("begotten").slug("begotten")));
        let mut update = pin!(acme.update(changed, None, Patch::new().text("altered")));
        let mut delete = pin!(acme.delete(deleted));
        drop(allocate.as_mut().poll(&mut context));
        drop(update.as_mut().poll(&mut context));
        drop(delete.as_mut().poll(&mut context));
        // One that was never polled never happens.
        drop(acme.allocate(Allocate::new("unbegotten")));
    }
    let began = Instant::now();
    while acme.get_blocking(deleted).is_ok() {
        assert!(began.elapsed() < LONG, "the dropped futures were not carried out");
        std::thread::yield_now();
    }
    // They were sent in this order, so the others are done as well.
    assert_eq!(acme.get_by_slug_blocking("begotten").unwrap().text(), "begotten");
    assert_eq!(acme.get_blocking(changed).unwrap().text(), "altered");
    memory.close_blocking().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    assert_eq!(acme.stats_blocking().unwrap().memories, 2);
    assert_eq!(found(&acme, "unbegotten"), []);
}

/// A tenant comes into being with its first memory: both are there or neither.
#[test]
fn a_future_of_a_tenants_first_memory_that_is_dropped_leaves_no_tenant_without_a_memory() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let (acme, other) = (memory.tenant("acme").unwrap(), memory.tenant("other").unwrap());
    {
        let mut first = pin!(acme.allocate(Allocate::new("first")));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    // What was queued before this is done after it.
    remember(&other, "later");
    match acme.stats_blocking() {
        Ok(stats) => assert_eq!(stats.memories, 1, "there is a tenant, and its memory is lost"),
        Err(error) => assert_eq!(error, MemoryError::UnknownTenant { tenant: "acme".into() }),
    }
}

#[test]
fn recovery_tells_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let new = memory.recovery();
    assert_eq!((new.batches, new.last_seq, new.epoch), (0, Seq::new(0), 1));
    assert!(new.clean && new.torn_writes.is_empty());
    let acme = memory.tenant("acme").unwrap();
    for n in 0..5 {
        remember(&acme, &n.to_string());
    }
    let last_seq = memory.stats().last_seq;
    memory.close_blocking().unwrap();

    let again = open(dir.path());
    let found = again.recovery().clone();
    assert_eq!((found.last_seq, found.epoch), (last_seq, 2));
    assert!(found.clean && found.torn_writes.is_empty());
    assert_eq!(again.stats().last_seq, last_seq);
    assert_eq!(again.stats().tenants, 1);
    // Nothing is written in between.
    drop(again);
    let third = open(dir.path());
    assert_eq!((third.recovery().epoch, third.recovery().last_seq), (3, last_seq));
    assert!(third.recovery().clean);
}

#[test]
fn a_copy_of_an_open_store_opens_with_all_that_was_acknowledged_and_is_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    for n in 0..5 {
        remember(&acme, &n.to_string());
    }
    std::fs::create_dir(copy.path().join("log")).unwrap();
    for (at, name) in [("", "STORE"), ("log", "0000000000000001.seg")] {
        std::fs::copy(dir.path().join(at).join(name), copy.path().join(at).join(name)).unwrap();
    }
    let crashed = open(copy.path());
    assert!(!crashed.recovery().clean);
    assert_eq!(crashed.recovery().torn_writes, []);
    assert_eq!(crashed.state_hash(), memory.state_hash());
    assert_eq!(remember(&crashed.tenant("acme").unwrap(), "goes on"), Id::new(6));
}

#[test]
fn opening_tells_how_far_it_is_and_ends_at_the_total() {
    let dir = tempfile::tempdir().unwrap();
    let heard: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let config = || {
        let heard = Arc::clone(&heard);
        let config = Config::default().log(LogConfig::new(64 << 10, 2));
        config.on_progress(move |progress| heard.lock().unwrap().push(progress))
    };
    let memory = GraphMemory::open_blocking(dir.path(), config()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    let text = "word ".repeat(4000);
    for _ in 0..20 {
        remember(&acme, &text);
    }
    let last_seq = memory.stats().last_seq;
    memory.close_blocking().unwrap();
    drop((memory, acme));
    heard.lock().unwrap().clear();

    let memory = GraphMemory::open_blocking(dir.path(), config()).unwrap();
    let heard = heard.lock().unwrap().clone();
    let files = std::fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap());
    assert!(files.count() > 5, "the log didn't roll over");
    assert!(heard.len() > 5, "{heard:?}");
    assert!(heard.windows(2).all(|pair| pair[0].bytes < pair[1].bytes && pair[0].seq <= pair[1].seq));
    assert!(heard.iter().all(|now| now.bytes_total == heard[0].bytes_total && now.bytes <= now.bytes_total));
    let last = heard.last().unwrap();
    assert_eq!((last.bytes, last.seq), (last.bytes_total, last_seq));
    drop(memory);
}

#[test]
fn a_store_opens_where_its_directory_was_moved_to() {
    let base = tempfile::tempdir().unwrap();
    let (old, new) = (base.path().join("old"), base.path().join("elsewhere/new"));
    let memory = open(&old);
    let id = remember(&memory.tenant("acme").unwrap(), "moved");
    let hash = memory.state_hash();
    memory.close_blocking().unwrap();
    std::fs::create_dir(new.parent().unwrap()).unwrap();
    std::fs::rename(&old, &new).unwrap();
    let memory = open(&new);
    assert!(memory.recovery().clean);
    assert_eq!(memory.state_hash(), hash);
    assert_eq!(memory.tenant("acme").unwrap().get_blocking(id).unwrap().text(), "moved");
    // The old place is free for another.
    assert_eq!(open(&old).recovery().last_seq, Seq::new(0));
}

#[test]
fn a_thousand_small_tenants_keep_their_own_also_after_reopening() {
    const TENANTS: usize = 1000;
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TENANTS)
            .map(|n| {
                let tenant = memory.tenant(&format!("tenant-{n}")).unwrap();
                tokio::spawn(async move {
                    for i in 0..=n % 3 {
                        let text = format!("memory {i} {}", word("of", n));
                        tenant.allocate(Allocate::new(text).slug(format!("s{i}"))).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let check = |memory: &GraphMemory| {
        assert_eq!(memory.stats().tenants, TENANTS);
        for n in 0..TENANTS {
            let tenant = memory.tenant(&format!("tenant-{n}")).unwrap();
            let stats = tenant.stats_blocking().unwrap();
            let count = n as u64 % 3 + 1;
            assert_eq!((stats.memories, stats.created, stats.slugs), (count, count, count));
            assert_eq!(
                tenant.get_by_slug_blocking("S0").unwrap().text(),
                format!("memory 0 {}", word("of", n))
            );
            let other = word("of", (n + 1) % TENANTS);
            assert_eq!(found(&tenant, &other), []);
        }
    };
    check(&memory);
    let hash = memory.state_hash();
    memory.close_blocking().unwrap();
    let memory = open(dir.path());
    check(&memory);
    assert_eq!(memory.state_hash(), hash);
}

#[test]
fn a_tenants_figures_agree_with_its_memories() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let acme = memory.tenant("acme").unwrap();
    let check = |acme: &Tenant, created: u64, words: u64| {
        let view = acme.view().unwrap();
        let stats = view.stats();
        let records: Vec<_> = view.records().collect();
        assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
        let slugs = records.iter().filter(|record| record.slug().is_some()).count();
        let figures = (stats.memories, stats.created, stats.slugs, stats.words);
        assert_eq!(figures, (records.len() as u64, created, slugs as u64, words));
        assert_eq!((view.len() as u64, stats.seq), (stats.memories, view.seq()));
    };
    let one = acme.allocate_blocking(Allocate::new("three plain words").slug("one")).unwrap().id;
    check(&acme, 1, 3);
    let two = remember(&acme, "two words");
    check(&acme, 2, 5);
    acme.allocate_blocking(Allocate::new("ignored").slug("one")).unwrap();
    check(&acme, 2, 5);
    acme.update_blocking(two, None, Patch::new().text("now there are five words")).unwrap();
    check(&acme, 2, 8);
    acme.update_blocking(two, None, Patch::new().kind("kind")).unwrap();
    check(&acme, 2, 8);
    acme.delete_blocking(one).unwrap();
    check(&acme, 2, 5);
    acme.delete_blocking(two).unwrap();
    check(&acme, 2, 0);
    memory.close_blocking().unwrap();
    check(&open(dir.path()).tenant("acme").unwrap(), 2, 0);
}

#[test]
fn a_stores_figures_agree_with_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path());
    let before = memory.stats();
    assert_eq!((before.last_seq, before.tenants, before.commands), (Seq::new(0), 0, 0));
    let acme = memory.tenant("acme").unwrap();
    let mut at = BTreeMap::new();
    for n in 0..10 {
        let answer = acme.allocate_blocking(Allocate::new(n.to_string())).unwrap();
        at.insert(answer.seq, answer.id);
        let now = memory.stats();
        assert_eq!(now.last_seq, answer.seq);
        assert_eq!(now.commands, answer.seq.get());
    }
    let after = memory.stats();
    assert_eq!(at.len(), 10);
    assert_eq!((after.queued, after.waiting, after.poisoned.as_deref()), (0, 0, None));
    assert!(after.batches > before.batches && after.syncs >= after.batches && after.bytes > before.bytes);
    assert!(after.time.write > Duration::ZERO);
    // What is counted since the store was opened begins anew; the rest goes on.
    memory.close_blocking().unwrap();
    let again = open(dir.path()).stats();
    assert_eq!((again.last_seq, again.tenants, again.commands), (after.last_seq, 1, 0));
}

/// Each segment ends with a marker, which is a batch that is written.
#[test]
fn batches_written_are_counted_as_they_are_when_they_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config::default().log(LogConfig::new(64 << 10, 0));
    let memory = GraphMemory::open_blocking(dir.path(), config()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    for n in 0..30 {
        remember(&acme, &n.to_string());
    }
    let written = memory.stats().batches;
    memory.close_blocking().unwrap();
    let segments = std::fs::read_dir(dir.path().join("log")).unwrap().count();
    assert!(segments > 1, "the log didn't roll over");
    let read = GraphMemory::open_blocking(dir.path(), config()).unwrap().recovery().batches;
    // The marker of the close came after the figures.
    assert_eq!(read, written + 1, "in {segments} segments");
}
