//! A store that goes away while its indexes are built loses nothing and tells the same when it is back.

use steadfast_graph_memory::{Allocate, Config, GraphMemory, Id, Patch, Search, Tenant};
use steadfast_testkit::TestRng;

use crate::search::support::{Change, allocate_all, change_all, find, open, settle, small, told, wait_for};

fn request(number: usize) -> Allocate {
    let angle = number as f32 / 100.0;
    let text = format!("common {} number{}", ["river", "mountain", "harbour"][number % 3], number % 97);
    Allocate::new(text).kind(["a", "b"][number % 2]).vector([angle.sin(), angle.cos(), (number % 13) as f32])
}

fn all_told(tenant: &Tenant) -> Vec<Vec<(Id, u32)>> {
    let mut rng = TestRng::new(3);
    (0..20)
        .map(|n| {
            let query = [rng.signed_unit(), rng.signed_unit(), rng.signed_unit() * 10.0];
            let text = format!("river number{n}");
            let search = match n % 3 {
                0 => Search::new(text),
                1 => Search::by_vector(query).exact(),
                _ => Search::new(text).vector(query).exact(),
            };
            told(&find(tenant, &search.k(400)))
        })
        .collect()
}

#[test]
fn dropping_a_store_while_it_builds_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory: GraphMemory = open(dir.path(), small());
    let mut ids = Vec::new();
    let (mut told_before, mut hash) = (Vec::new(), 0);
    for round in 0..4 {
        let acme = memory.tenant("acme").unwrap();
        if round > 0 {
            assert_eq!(memory.state_hash(), hash);
            assert_eq!(all_told(&acme), told_before, "round {round}, as it is opened");
            if round == 2 {
                settle(&acme);
                assert_eq!(all_told(&acme), told_before, "sealed");
            }
        }
        ids.extend(allocate_all(&acme, (round * 3000..(round + 1) * 3000).map(request)));
        let changes =
            ids.iter().skip(round).step_by(11).map(|id| Change::Update(*id, Patch::new().kind("c")));
        change_all(&acme, changes.collect());
        let gone: Vec<Id> = ids.iter().copied().skip(round).step_by(17).collect();
        change_all(&acme, gone.iter().map(|id| Change::Delete(*id)).collect());
        ids.retain(|id| !gone.contains(id));
        // Not settled: something is being built, here and in the thread that is left behind.
        told_before = all_told(&acme);
        hash = memory.state_hash();
        acme.view().unwrap().verify().unwrap();
        drop((acme, memory));
        memory = open(dir.path(), small());
    }
    let acme = memory.tenant("acme").unwrap();
    assert_eq!((all_told(&acme), memory.state_hash()), (told_before, hash));
    assert_eq!(acme.stats_blocking().unwrap().memories, ids.len() as u64);
    // Builders give way to whatever else the machine does, so this may take a while.
    wait_for(&acme, "a graph and a segment", |built| built.vector_graphs > 0 && built.text_segments > 0);
}

/// A view outlives its store, and answers as before.
#[test]
fn a_view_answers_after_its_store_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
    let acme = memory.tenant("acme").unwrap();
    allocate_all(&acme, (0..5000).map(request));
    let view = acme.view().unwrap();
    let before = all_told(&acme);
    memory.close_blocking().unwrap();
    drop((acme, memory));
    let mut rng = TestRng::new(3);
    let query = [rng.signed_unit(), rng.signed_unit(), rng.signed_unit() * 10.0];
    assert_eq!(told(&view.search(&Search::new("river number0").k(400)).unwrap()), before[0]);
    assert_eq!(view.search(&Search::by_vector(query).k(5).exact()).unwrap().hits.len(), 5);
    view.verify().unwrap();
}
