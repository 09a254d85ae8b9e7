//! Searches beside writes: each sees one value, of one tenant, and what it finds is what is there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use steadfast_graph_memory::{Allocate, GraphMemory, Id, Metric, Patch, Search, Tenant, View};
use steadfast_testkit::TestRng;

use crate::search::support::{Change, change_all, open, small, told};

const TENANTS: [&str; 2] = ["left", "right"];

/// All that a memory says follows from one number and the tenant: whatever doesn't fit is torn or foreign.
fn text(tenant: &str, number: u64) -> String {
    format!("{tenant} common n{} part{}", letters(number), letters(number % 50))
}

/// One word of letters: digits would be words of their own.
fn letters(number: u64) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

fn vector(tenant: &str, number: u64) -> Vec<f32> {
    let side = if tenant == "left" { -1.0 } else { 1.0 };
    vec![side, number as f32, (number % 50) as f32, 0.5]
}

fn number_of(view: &View, id: Id) -> u64 {
    view.get(id).unwrap().vector()[1] as u64
}

fn check_view(view: &View, tenant: &str, rng: &mut TestRng) {
    let live = view.len();
    let number = rng.below(6000);
    let query = vector(tenant, number);
    let part = format!("part{}", letters(number % 50));
    let searches = [
        Search::new("common").k(10_000),
        Search::new(&part).k(10_000),
        Search::by_vector(query.clone()).k(200),
        Search::by_vector(query.clone()).k(10_000).exact(),
        Search::new(&part).vector(query.clone()).k(300),
    ];
    for (which, search) in searches.iter().enumerate() {
        let hits = view.search(search).unwrap();
        assert_eq!(hits.seq, view.seq());
        for hit in &hits.hits {
            let record = &hit.record;
            assert_eq!(**record, *view.get(record.id).unwrap(), "not dead, and of this view");
            let number = number_of(view, record.id);
            assert_eq!(record.text(), text(tenant, number), "neither torn nor foreign");
            assert_eq!(record.vector(), vector(tenant, number));
            if let Some(near) = hit.why.vector {
                let differences = record.vector().into_iter().zip(&query).map(|(a, b)| f64::from(a - b));
                let distance = differences.map(|difference| difference * difference).sum::<f64>();
                assert_eq!(near.score, -(distance as f32), "found by the vector that it has now");
            }
            if which == 1 {
                assert!(record.text().ends_with(&part), "found by the text that it has now");
            }
        }
        let mut ids: Vec<Id> = hits.hits.iter().map(|hit| hit.record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), hits.hits.len(), "none twice");
        match which {
            0 | 3 => assert_eq!(hits.hits.len(), live, "all that live, each once"),
            1 => assert_eq!(
                hits.hits.len(),
                view.records().filter(|record| record.text().ends_with(&part)).count()
            ),
            2 => assert_eq!(hits.hits.len(), live.min(200)),
            _ => {}
        }
    }
}

fn write(tenant: &Tenant, name: &str, seed: u64) {
    let mut rng = TestRng::new(seed);
    let mut live = Vec::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    for _ in 0..12 {
        let mut changes = Vec::new();
        let mut kept = Vec::new();
        for &id in &live {
            match rng.index(6) {
                0 => changes.push(Change::Delete(id)),
                1 => {
                    let number = next();
                    let patch = Patch::new().text(text(name, number)).vector(vector(name, number));
                    changes.push(Change::Update(id, patch));
                    kept.push(id);
                }
                // Indexed again, with the same words.
                2 => {
                    changes.push(Change::Update(id, Patch::new().attribute("n", number_in(&mut rng))));
                    kept.push(id);
                }
                _ => kept.push(id),
            }
        }
        change_all(tenant, changes);
        let allocate = |_| {
            let number = next();
            Change::Allocate(Allocate::new(text(name, number)).vector(vector(name, number)))
        };
        kept.extend(change_all(tenant, (0..700).map(allocate).collect()));
        live = kept;
    }
}

fn number_in(rng: &mut TestRng) -> i64 {
    rng.below(5) as i64
}

#[test]
fn searches_beside_writes_of_two_tenants_find_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let memory: GraphMemory = open(dir.path(), small().vector_metric(Metric::L2));
    for name in TENANTS {
        let first = Allocate::new(text(name, 0)).vector(vector(name, 0));
        memory.tenant(name).unwrap().allocate_blocking(first).unwrap();
    }
    let writing = AtomicUsize::new(TENANTS.len());
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (seed, name) in (1..).zip(TENANTS) {
            let tenant = memory.tenant(name).unwrap();
            let (writing, tenant) = (&writing, tenant);
            scope.spawn(move || {
                let done = Done(writing);
                write(&tenant, name, seed);
                drop(done);
            });
        }
        for (seed, name) in (10..).zip(TENANTS) {
            let (tenant, writing, failed) = (memory.tenant(name).unwrap(), &writing, &failed);
            scope.spawn(move || {
                let mut rng = TestRng::new(seed);
                let mut old = Vec::new();
                let mut rounds = 0;
                while (writing.load(Ordering::Relaxed) > 0 || rounds < 5) && !failed.load(Ordering::Relaxed) {
                    let view = tenant.view().unwrap();
                    check_view(&view, name, &mut rng);
                    if rounds % 4 == 0 {
                        let query = vector(name, rng.below(6000));
                        let search = Search::new("common").vector(query).exact().k(500);
                        let before = told(&view.search(&search).unwrap());
                        old.push((view.clone(), before, search));
                    }
                    if rounds % 8 == 0 {
                        view.verify().unwrap();
                    }
                    rounds += 1;
                }
                // What was told then is told now, to the bit.
                for (view, before, search) in old {
                    assert_eq!(told(&view.search(&search).unwrap()), before);
                }
                tenant.view().unwrap().verify().unwrap();
            });
        }
    });
}

/// Tells when its writer has ended, by a panic, too.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
