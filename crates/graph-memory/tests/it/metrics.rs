//! What a store records of itself agrees with what was done.

use std::time::Duration;

use steadfast_graph_memory::metrics::{Snapshot, TextFormat};
use steadfast_graph_memory::{Allocate, Config, GraphMemory, Patch, Search, Version};

fn count(snapshot: &Snapshot, name: &str, outcome: &str) -> u64 {
    snapshot.histogram(name, &[("outcome", outcome)]).expect("a series of ours").count()
}

#[test]
fn commits_searches_and_batches_are_counted_once_each() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let store = GraphMemory::open_blocking(folder.path(), Config::default()).expect("a new store");
    let tenant = store.tenant("acme").expect("a name");
    let first = tenant.allocate_blocking(Allocate::new("one")).expect("allocated");
    tenant.allocate_blocking(Allocate::new("two")).expect("allocated");
    // Decided in the log, so the store did its part.
    tenant
        .update_blocking(first.id, Some(Version::new(9)), Patch::new().text("stale"))
        .expect_err("a conflict");
    tenant.search_blocking(Search::new("one")).expect("searched");
    tenant.search_blocking(Search::new("x").k(usize::MAX)).expect_err("too many");

    let snapshot = store.metrics().snapshot();
    assert_eq!(count(&snapshot, "memory_commits_seconds", "success"), 3);
    assert_eq!(count(&snapshot, "memory_commits_seconds", "failure"), 0);
    assert_eq!(count(&snapshot, "memory_searches_seconds", "success"), 1);
    let batches = snapshot.histogram("memory_batch_commands", &[]).expect("a histogram of ours");
    assert_eq!((batches.count(), batches.sum()), (3, 3), "each waited for the one before");
    let commits = snapshot.histogram("memory_commits_seconds", &[("outcome", "success")]).unwrap();
    assert!(commits.min().is_some_and(|ns| Duration::from_nanos(ns) > Duration::ZERO));
    let text = snapshot.render(TextFormat::OpenMetrics);
    assert!(text.contains("memory_commits_seconds_count{outcome=\"success\"} 3"), "{text}");

    store.close_blocking().expect("closed");
    tenant.allocate_blocking(Allocate::new("late")).expect_err("closed");
}
