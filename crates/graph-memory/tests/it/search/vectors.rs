//! Vectors: the exact search is a scan of what is there, the graph finds nearly as much, and a bad vector changes nothing.

use std::collections::BTreeMap;

use steadfast_graph_memory::{
    Allocate, Config, Filter, GraphMemory, Id, Matched, MemoryError, Metric, Patch, Problem, RequestId,
    Search, Tenant,
};
use steadfast_testkit::TestRng;

use crate::search::support::{
    Change, allocate_all, change_all, find, ids, open, settle, small, told, wait_for,
};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

/// What the store should hold: the live memories' vectors.
type Model = BTreeMap<Id, Vec<f32>>;

fn normal(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    vector.iter().map(|&value| (f64::from(value) / norm) as f32).collect()
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let score = match metric {
        Metric::Cosine => dot(&normal(a), &normal(b)),
        Metric::Dot => dot(a, b),
        Metric::L2 => -a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>(),
    };
    // A sum of nothing is -0.
    score + 0.0
}

/// The best `k` by a scan, ties by id.
fn scan(model: &Model, metric: Metric, query: &[f32], k: usize) -> Vec<(Id, f64)> {
    let mut all: Vec<_> = model.iter().map(|(&id, vector)| (id, score(metric, query, vector))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

const DIMENSIONS: usize = 6;

/// Quarters of whole numbers, of which sums are exact and ties are common. For angles any numbers, since parallel vectors differ in
/// their last bits, and now and then one that came before, to the bit.
fn vector(rng: &mut TestRng, metric: Metric, known: &[Vec<f32>]) -> Vec<f32> {
    if metric == Metric::Cosine {
        if !known.is_empty() && rng.chance(1, 4) {
            return rng.pick(known).clone();
        }
        return (0..DIMENSIONS).map(|_| rng.signed_unit() + 0.001).collect();
    }
    (0..DIMENSIONS).map(|_| (rng.index(17) as f32 - 8.0) / 4.0).collect()
}

fn check(tenant: &Tenant, model: &Model, metric: Metric, queries: &[Vec<f32>]) {
    for query in queries {
        for k in [1, 10, 100, 10_000] {
            let hits = find(tenant, &Search::by_vector(query.clone()).k(k).exact());
            let expected = scan(model, metric, query, k);
            let expected_ids: Vec<Id> = expected.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids(&hits), expected_ids, "{metric:?}, the best {k} for {query:?}");
            for (at, (hit, (_, score))) in hits.hits.iter().zip(expected).enumerate() {
                let slack = if metric == Metric::Cosine { 1e-6 } else { 0.0 };
                assert!((f64::from(hit.score) - score).abs() <= slack, "{} for {score}", hit.score);
                let part = hit.why.vector.unwrap();
                assert_eq!((part.rank as usize, part.score, hit.why.text), (at + 1, hit.score, None));
                assert_eq!(hit.record.vector(), model[&hit.record.id]);
            }
            if k > model.len() {
                assert_eq!(hits.matched, Matched::Exactly(model.len()));
            }
        }
    }
}

#[test]
fn an_exact_search_is_a_scan_of_what_is_there() {
    for (seed, metric) in (1..).zip(METRICS) {
        let mut rng = TestRng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path(), small().vector_metric(metric));
        let acme = memory.tenant("acme").unwrap();
        let mut known = Vec::new();
        for _ in 0..3500 {
            let next = vector(&mut rng, metric, &known);
            known.push(next);
        }
        let requests = known.iter().map(|vector| Allocate::new("text").vector(vector.clone()));
        let all = allocate_all(&acme, requests);
        let mut model: Model = all.iter().copied().zip(known.iter().cloned()).collect();
        // Some without a vector, some that get one later.
        let bare = allocate_all(&acme, (0..200).map(|_| Allocate::new("bare")));
        let queries: Vec<_> = (0..6).map(|_| vector(&mut rng, metric, &known)).collect();
        check(&acme, &model, metric, &queries);
        let sealed = wait_for(&acme, "a graph", |verified| verified.vector_graphs > 0);
        assert_eq!(sealed.vectors, 3500);
        check(&acme, &model, metric, &queries);

        let mut changes = Vec::new();
        for (number, id) in all.iter().chain(&bare[..100]).enumerate() {
            match number % 7 {
                0 => {
                    let next = vector(&mut rng, metric, &known);
                    model.insert(*id, next.clone());
                    changes.push(Change::Update(*id, Patch::new().vector(next)));
                }
                1 => {
                    model.remove(id);
                    changes.push(Change::Delete(*id));
                }
                2 => changes.push(Change::Update(*id, Patch::new().text("other").kind("other"))),
                3 => {
                    // In one patch with the text.
                    let next = vector(&mut rng, metric, &known);
                    model.insert(*id, next.clone());
                    changes.push(Change::Update(*id, Patch::new().vector(next).text("both")));
                }
                _ => {}
            }
        }
        change_all(&acme, changes);
        assert_eq!(acme.stats_blocking().unwrap().vectors, model.len() as u64);
        check(&acme, &model, metric, &queries);
        settle(&acme);
        check(&acme, &model, metric, &queries);

        let before: Vec<_> = queries
            .iter()
            .map(|query| told(&find(&acme, &Search::by_vector(query.clone()).exact())))
            .collect();
        drop((acme, memory));
        // The metric is the tenant's, whatever is configured now.
        let other = if metric == Metric::L2 { Metric::Cosine } else { Metric::L2 };
        let memory = open(dir.path(), small().vector_metric(other));
        let acme = memory.tenant("acme").unwrap();
        check(&acme, &model, metric, &queries);
        for (query, before) in queries.iter().zip(before) {
            assert_eq!(told(&find(&acme, &Search::by_vector(query.clone()).exact())), before);
        }
        let next = vector(&mut rng, metric, &known);
        let id = acme.allocate_blocking(Allocate::new("later").vector(next.clone())).unwrap().id;
        model.insert(id, next);
        let bare = bare[150];
        let next = vector(&mut rng, metric, &known);
        acme.update_blocking(bare, None, Patch::new().vector(next.clone())).unwrap();
        model.insert(bare, next);
        check(&acme, &model, metric, &queries);
        // A tenant without vectors takes what is configured.
        let fresh = memory.tenant("fresh").unwrap();
        let id = fresh.allocate_blocking(Allocate::new("one").vector(vec![3.0, 4.0])).unwrap().id;
        let model = Model::from([(id, vec![3.0, 4.0])]);
        let hits = find(&fresh, &Search::by_vector([0.0, 1.0]));
        assert_eq!(f64::from(hits.hits[0].score), f64::from(scan(&model, other, &[0.0, 1.0], 1)[0].1 as f32));
    }
}

/// A tenant whose last vector went keeps its dimensions and its metric, also in the next process.
#[test]
fn dimensions_and_metric_outlive_the_last_vector() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small().vector_metric(Metric::Dot));
    let acme = memory.tenant("acme").unwrap();
    let id = acme.allocate_blocking(Allocate::new("one").vector([1.0, 2.0])).unwrap().id;
    acme.delete_blocking(id).unwrap();
    let refused = |tenant: &Tenant| {
        let error = tenant.allocate_blocking(Allocate::new("x").vector([1.0; 3])).unwrap_err();
        let problem = Problem::WrongDimensions { found: 3, expected: 2 };
        assert_eq!(error, MemoryError::invalid("vector", problem));
    };
    refused(&acme);
    assert!(find(&acme, &Search::by_vector([1.0, 2.0])).hits.is_empty());
    drop((acme, memory));
    let memory = open(dir.path(), small().vector_metric(Metric::Cosine));
    let acme = memory.tenant("acme").unwrap();
    refused(&acme);
    // By dot product a zero is a vector like any other.
    acme.allocate_blocking(Allocate::new("zero").vector([0.0, 0.0])).unwrap();
    acme.allocate_blocking(Allocate::new("two").vector([2.0, 0.0])).unwrap();
    let scores: Vec<f32> =
        find(&acme, &Search::by_vector([3.0, 0.0])).hits.iter().map(|hit| hit.score).collect();
    assert_eq!(scores, [6.0, 0.0]);
    acme.view().unwrap().verify().unwrap();
}

const CLUSTERED: usize = 12_000;

/// Points around a hundred centres.
fn clustered(rng: &mut TestRng, count: usize) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..100).map(|_| (0..16).map(|_| rng.normal() * 4.0).collect()).collect();
    let near = |_| {
        let centre = rng.pick(&centres);
        centre.iter().map(|value| value + rng.normal()).collect()
    };
    (0..count).map(near).collect()
}

/// What part of the exact answers a search finds.
fn recall(tenant: &Tenant, queries: &[Vec<f32>], filter: &Filter) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let search = Search::by_vector(query.clone()).filter(filter.clone());
        let (near, exact) = (find(tenant, &search), find(tenant, &search.clone().exact()));
        assert_eq!(near.hits.len(), exact.hits.len());
        assert!(near.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
        let exact: BTreeMap<Id, u32> = told(&exact).into_iter().collect();
        wanted += exact.len();
        for (id, score) in told(&near) {
            found += usize::from(exact.get(&id) == Some(&score));
        }
    }
    found as f64 / wanted as f64
}

#[test]
fn a_graph_finds_nearly_what_a_scan_finds() {
    for (seed, metric) in (7..).zip(METRICS) {
        let mut rng = TestRng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let config = || small().vector_metric(metric);
        let memory = open(dir.path(), config());
        let acme = memory.tenant("acme").unwrap();
        let mut all = clustered(&mut rng, CLUSTERED + 100);
        let queries = all.split_off(CLUSTERED);
        let request = |(number, vector): (usize, &Vec<f32>)| {
            let importance = (number % 10) as f32 / 10.0;
            Allocate::new("text").vector(vector.clone()).importance(importance)
        };
        let ids = allocate_all(&acme, all.iter().enumerate().map(request));
        wait_for(&acme, "graphs", |verified| verified.vector_graphs > 0);
        let anything = Filter::new();
        assert!(recall(&acme, &queries, &anything) >= 0.9, "{metric:?}, while it is built");
        let settled = settle(&acme);
        assert!(settled.vector_graphs > 0 && settled.vectors == CLUSTERED as u64);
        // No index lists these: the graph is walked, and asked of what comes close.
        let half = Filter::new().importance(0.45..);
        let few = Filter::new().importance(0.85..);
        let check = |tenant: &Tenant, when: &str| {
            for (filter, name) in [(&anything, "all"), (&half, "half"), (&few, "a tenth")] {
                let recall = recall(tenant, &queries, filter);
                assert!(recall >= 0.9, "{metric:?}, {name}, {when}: {recall}");
            }
        };
        check(&acme, "settled");
        let dead = ids.iter().step_by(3).map(|id| Change::Delete(*id)).collect();
        change_all(&acme, dead);
        check(&acme, "a third deleted");
        let exact = |tenant: &Tenant| -> Vec<_> {
            let search = |query: &Vec<f32>| told(&find(tenant, &Search::by_vector(query.clone()).exact()));
            queries.iter().map(search).collect()
        };
        let before = exact(&acme);
        drop((acme, memory));
        let memory = open(dir.path(), config());
        let acme = memory.tenant("acme").unwrap();
        assert_eq!(exact(&acme), before, "{metric:?}");
        settle(&acme);
        assert_eq!(exact(&acme), before, "{metric:?}");
        check(&acme, "reopened");
    }
}

/// What a refused vector must leave as it was.
fn state(memory: &GraphMemory, tenant: &Tenant) -> (u64, steadfast_graph_memory::TenantStats) {
    (memory.state_hash(), tenant.stats_blocking().unwrap())
}

fn bad_anywhere() -> Vec<(Vec<f32>, &'static str)> {
    let with = |value: f32| vec![1.0, value, 1.0];
    vec![
        (with(f32::NAN), "vector[1]"),
        (with(-f32::NAN), "vector[1]"),
        (with(f32::INFINITY), "vector[1]"),
        (with(f32::NEG_INFINITY), "vector[1]"),
        (with(1e38), "vector[1]"),
        (with(-f32::MAX), "vector[1]"),
        (vec![], "vector"),
        (vec![1.0; 4097], "vector: dimensions"),
        (vec![1.0; 1_000_000], "vector: dimensions"),
        (vec![f32::NAN; 1_000_000], "vector: dimensions"),
    ]
}

fn field(error: &MemoryError) -> &str {
    match error {
        MemoryError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn a_bad_vector_is_told_and_changes_nothing() {
    for metric in METRICS {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path(), small().vector_metric(metric));
        let acme = memory.tenant("acme").unwrap();
        let first = Allocate::new("first words").vector([1.0, 2.0, 3.0]);
        let id = acme.allocate_blocking(first).unwrap().id;
        let record = acme.get_blocking(id).unwrap();
        let before = state(&memory, &acme);
        for (vector, expected) in bad_anywhere() {
            let error = acme.allocate_blocking(Allocate::new("x").vector(vector.clone())).unwrap_err();
            assert_eq!(field(&error), expected);
            let patch = Patch::new().text("second").vector(vector.clone());
            assert_eq!(field(&acme.update_blocking(id, None, patch).unwrap_err()), expected);
            let error = acme.search_blocking(Search::by_vector(vector.clone())).unwrap_err();
            assert_eq!(field(&error), expected);
            // A hybrid search doesn't fall back to words.
            assert_eq!(
                field(&acme.search_blocking(Search::new("first").vector(vector)).unwrap_err()),
                expected
            );
            assert_eq!(state(&memory, &acme), before, "{metric:?} {expected}");
        }
        // These are held against the state, so they take a place in the log.
        let wrong = |found| Problem::WrongDimensions { found, expected: 3 };
        let mut in_state =
            vec![(vec![1.0], wrong(1)), (vec![1.0; 4], wrong(4)), (vec![1.0; 4096], wrong(4096))];
        if metric == Metric::Cosine {
            in_state.push((vec![0.0; 3], Problem::ZeroVector));
            in_state.push((vec![-0.0, 0.0, -0.0], Problem::ZeroVector));
        }
        for (vector, problem) in in_state {
            let expected = MemoryError::invalid("vector", problem);
            let request = Allocate::new("x").slug("slug").vector(vector.clone());
            assert_eq!(acme.allocate_blocking(request).unwrap_err(), expected);
            let patch = Patch::new().text("second").kind("k").attribute("a", 1).vector(vector.clone());
            assert_eq!(acme.update_blocking(id, None, patch).unwrap_err(), expected);
            assert_eq!(acme.search_blocking(Search::by_vector(vector.clone())).unwrap_err(), expected);
            let nothing = Search::by_vector(vector.clone()).filter(Filter::new().ids([]));
            assert_eq!(acme.search_blocking(nothing).unwrap_err(), expected, "also where nothing can match");
            assert_eq!(acme.search_blocking(Search::new("first").vector(vector)).unwrap_err(), expected);
            assert_eq!(*acme.get_blocking(id).unwrap(), *record);
            let stats = acme.stats_blocking().unwrap();
            assert_eq!((stats.memories, stats.vectors, stats.words, stats.slugs), (1, 1, 2, 0));
        }
        assert_eq!(find(&acme, &Search::new("second")).matched, Matched::Exactly(0));
        assert_eq!(find(&acme, &Search::new("first words")).matched, Matched::Exactly(1));
        assert_eq!(ids(&find(&acme, &Search::by_vector([1.0, 2.0, 3.0]))), [id]);
        acme.view().unwrap().verify().unwrap();
        let hash = memory.state_hash();
        drop((acme, memory));
        let memory = open(dir.path(), small().vector_metric(metric));
        assert_eq!(memory.state_hash(), hash);
        memory.tenant("acme").unwrap().view().unwrap().verify().unwrap();
    }
}

/// A first vector that is refused doesn't make the tenant, nor settle its dimensions.
#[test]
fn a_refused_first_vector_settles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small());
    let acme = memory.tenant("acme").unwrap();
    let zero = MemoryError::invalid("vector", Problem::ZeroVector);
    assert_eq!(acme.allocate_blocking(Allocate::new("x").vector([0.0; 5])).unwrap_err(), zero);
    assert!(matches!(acme.stats_blocking(), Err(MemoryError::UnknownTenant { .. })));
    let id = acme.allocate_blocking(Allocate::new("bare")).unwrap().id;
    assert_eq!(acme.update_blocking(id, None, Patch::new().vector([0.0; 5])).unwrap_err(), zero);
    assert_eq!(acme.stats_blocking().unwrap().vectors, 0);
    // Any dimensions may be asked for where there is no vector.
    assert_eq!(find(&acme, &Search::by_vector([0.0; 7])).matched, Matched::Exactly(0));
    acme.update_blocking(id, None, Patch::new().vector([1.0, 0.0])).unwrap();
    assert_eq!(ids(&find(&acme, &Search::by_vector([1.0, 1.0]))), [id]);
}

/// The smallest and the largest numbers that are taken are compared by what they are.
#[test]
fn extreme_components_are_compared_by_what_they_are() {
    let tiny = f32::from_bits(1);
    for metric in METRICS {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path(), small().vector_metric(metric));
        let acme = memory.tenant("acme").unwrap();
        let mut vectors = Vec::new();
        for size in [tiny, tiny * 7.0, f32::MIN_POSITIVE, 1e-20, 1.0, 1e17] {
            vectors.push(vec![size, 0.0]);
            vectors.push(vec![size, -size]);
            vectors.push(vec![0.0, size]);
        }
        let all = allocate_all(&acme, vectors.iter().map(|vector| Allocate::new("x").vector(vector.clone())));
        let model: Model = all.into_iter().zip(vectors.iter().cloned()).collect();
        for query in &vectors {
            let hits = find(&acme, &Search::by_vector(query.clone()).k(100).exact());
            assert_eq!(hits.hits.len(), model.len());
            let expected = scan(&model, metric, query, 100);
            for (hit, (id, score)) in hits.hits.iter().zip(&expected) {
                assert!(hit.score.is_finite());
                let slack =
                    score.abs() * 1e-6 + if metric == Metric::Cosine { 1e-6 } else { f64::from(tiny) };
                assert!(
                    (f64::from(hit.score) - score).abs() <= slack,
                    "{metric:?}: {} for {score}",
                    hit.score
                );
                if metric != Metric::Cosine {
                    assert_eq!(hit.record.id, *id, "{metric:?} {query:?}");
                }
            }
        }
        acme.view().unwrap().verify().unwrap();
    }
}

/// As many hits as the limits allow are given, or refused by name.
#[test]
fn more_hits_than_the_index_gives_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = steadfast_graph_memory::Limits::default();
    limits.k = 1_000_000;
    let memory = GraphMemory::open_blocking(dir.path(), Config::default().limits(limits)).unwrap();
    let acme = memory.tenant("acme").unwrap();
    acme.allocate_blocking(Allocate::new("word").vector([1.0, 1.0])).unwrap();
    assert_eq!(find(&acme, &Search::new("word").k(20_000)).matched, Matched::Exactly(1));
    for search in [Search::by_vector([1.0, 0.0]), Search::new("word").vector([1.0, 0.0])] {
        match acme.search_blocking(search.k(20_000)) {
            Ok(hits) => assert_eq!(hits.matched, Matched::Exactly(1)),
            Err(error) => assert_eq!(field(&error), "k", "{error}"),
        }
    }
}

#[test]
fn more_dimensions_than_the_index_takes_are_no_limit_to_be_set() {
    for dimensions in [0, 4097, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = steadfast_graph_memory::Limits::default();
        limits.vector_dimensions = dimensions;
        let error = GraphMemory::open_blocking(dir.path(), Config::default().limits(limits)).unwrap_err();
        assert!(error.to_string().contains("limits.vector_dimensions"), "{error}");
    }
}

/// A vector is part of what a request asks for: the same request isn't done twice, and one with another vector isn't the same.
#[test]
fn a_request_is_known_by_its_vector_too() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small().vector_metric(Metric::Dot));
    let acme = memory.tenant("acme").unwrap();
    let (first, second) = (RequestId::new(), RequestId::new());
    let request = |x: f32| Allocate::new("once").vector([x, 0.0]).request_id(first);
    let answer = acme.allocate_blocking(request(1.0)).unwrap();
    let patch = |x: f32| Patch::new().vector([x, 0.0]).request_id(second);
    let updated = acme.update_blocking(answer.id, None, patch(2.0)).unwrap();
    let check = |tenant: &Tenant| {
        assert_eq!(tenant.allocate_blocking(request(1.0)).unwrap(), answer);
        assert_eq!(tenant.update_blocking(answer.id, None, patch(2.0)).unwrap(), updated);
        let reused = |error: MemoryError| matches!(error, MemoryError::RequestIdReused { .. });
        assert!(reused(tenant.allocate_blocking(request(-1.0)).unwrap_err()));
        assert!(reused(tenant.allocate_blocking(Allocate::new("once").request_id(first)).unwrap_err()));
        assert!(reused(tenant.update_blocking(answer.id, None, patch(-2.0)).unwrap_err()));
        let hits = find(tenant, &Search::by_vector([1.0, 0.0]));
        assert_eq!((ids(&hits), hits.hits[0].score), (vec![answer.id], 2.0));
        assert_eq!(tenant.view().unwrap().verify().unwrap().vectors, 1);
    };
    check(&acme);
    drop((acme, memory));
    check(&open(dir.path(), small()).tenant("acme").unwrap());
}
