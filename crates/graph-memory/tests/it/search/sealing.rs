//! Search over indexes that are sealed and merged in the background: what was acknowledged is found at once, and scores don't depend on
//! what is sealed.

use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_graph_memory::{
    Allocate, Config, GraphMemory, Hits, Id, Matched, Memory, Patch, Search, Tenant,
};

/// Enough for several segments and a merge of them.
const MEMORIES: usize = 24_000;

fn text(number: usize) -> String {
    let common = ["river", "mountain", "harbour"][number % 3];
    let rare = format!("tag{}", number % 400);
    format!("{common} {rare} number {number}")
}

/// Allocates a range of numbers from many tasks at once.
fn fill(tenant: &Tenant, numbers: std::ops::Range<usize>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..128)
            .map(|task| {
                let (tenant, numbers) = (tenant.clone(), numbers.clone());
                tokio::spawn(async move {
                    for number in numbers.skip(task).step_by(128) {
                        let request = Allocate::new(text(number)).slug(format!("slug-{number}"));
                        tenant.allocate(request).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn find(tenant: &Tenant, words: &str, k: usize) -> Hits {
    tenant.search_blocking(Search::new(words).k(k).counted()).unwrap()
}

/// What a search tells, but for the place in the log.
fn told(hits: &Hits) -> Vec<(Id, u32)> {
    hits.hits.iter().map(|hit| (hit.record.id, hit.score.to_bits())).collect()
}

/// Waits until nothing is left to be sealed or merged.
fn settle(tenant: &Tenant) {
    let started = std::time::Instant::now();
    while tenant.view().unwrap().unsealed() > 4096 {
        assert!(started.elapsed().as_secs() < 60, "nothing seals the tail");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_was_acknowledged_is_found_through_sealing_merging_deleting_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    fill(&acme, 0..MEMORIES);
    let before = acme.view().unwrap();
    settle(&acme);
    assert_eq!(find(&acme, "harbour", 10_000).matched, Matched::Exactly(MEMORIES / 3));
    for number in (0..MEMORIES).step_by(997) {
        let hits = find(&acme, &format!("number {number}"), 1);
        assert_eq!(hits.hits[0].record.text(), text(number));
    }
    // A view from before the sealing tells the same, to the bit.
    for words in ["harbour", "river tag7", "tag399 number", "nothing"] {
        let (now, then) = (find(&acme, words, 50), before.search(&Search::new(words).k(50)).unwrap());
        assert_eq!(told(&now), told(&then), "{words}");
    }
    before.verify().unwrap();

    // Every third goes, every fifth changes: in segments, mostly.
    for number in (0..MEMORIES).step_by(30) {
        let id = acme.get_by_slug_blocking(&format!("slug-{number}")).unwrap().id;
        if number % 60 == 0 {
            acme.delete_blocking(id).unwrap();
        } else {
            acme.update_blocking(id, None, Patch::new().text(format!("valley {number}"))).unwrap();
        }
    }
    let gone = MEMORIES.div_ceil(30);
    assert_eq!(find(&acme, "river", 1).matched, Matched::Exactly(MEMORIES / 3 - gone));
    assert_eq!(find(&acme, "valley", 1).matched, Matched::Exactly(gone / 2));
    assert_eq!(
        before.search(&Search::new("river").counted()).unwrap().matched,
        Matched::Exactly(MEMORIES / 3)
    );
    acme.view().unwrap().verify().unwrap();

    let queries = ["river", "harbour tag5", "valley", "number tag17 mountain"];
    let told_before: Vec<_> = queries.iter().map(|words| told(&find(&acme, words, 100))).collect();
    drop((before, acme));
    memory.close_blocking().unwrap();
    drop(memory);
    let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    settle(&acme);
    acme.view().unwrap().verify().unwrap();
    for (words, before) in queries.iter().zip(told_before) {
        assert_eq!(told(&find(&acme, words, 100)), before, "{words}: the same after reopening");
    }
}

#[test]
fn searches_beside_writes_see_one_value() {
    let dir = tempfile::tempdir().unwrap();
    let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    fill(&acme, 0..4000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searcher = scope.spawn(|| {
            let mut searches = 0;
            while !stop.load(Ordering::Relaxed) || searches < 10 {
                let view = acme.view().unwrap();
                let hits = view.search(&Search::new("river").k(10_000)).unwrap();
                assert_eq!(hits.matched, Matched::Exactly(hits.hits.len()));
                let mut ids: Vec<_> = hits.hits.iter().map(|hit| hit.record.id).collect();
                for hit in &hits.hits {
                    assert!(hit.record.text().starts_with("river"), "not torn, not dead");
                    assert_eq!(*view.get(hit.record.id).unwrap(), *hit.record);
                }
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), hits.hits.len(), "none twice");
                searches += 1;
            }
            view_is_whole(&acme);
        });
        scope.spawn(|| {
            fill(&acme, 4000..12_000);
            for number in (0..6000).step_by(3) {
                let id = acme.get_by_slug_blocking(&format!("slug-{number}")).unwrap().id;
                acme.delete_blocking(id).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        searcher.join().unwrap();
    });
}

fn view_is_whole(tenant: &Tenant) {
    tenant.view().unwrap().verify().unwrap();
}
