//! Search by words and by vector at once: what a hit tells of itself agrees with the two searches alone.

use std::collections::BTreeMap;

use steadfast_graph_memory::{Allocate, Filter, Id, Matched, Metric, PartScore, Search, Tenant};
use steadfast_testkit::TestRng;

use crate::search::filters::fused;
use crate::search::support::{allocate_all, find, ids, open, settle, small, told};

const WORDS: [&str; 6] = ["river", "mountain", "harbour", "invoice", "late", "common"];

fn filled(tenant: &Tenant, rng: &mut TestRng, count: usize) {
    let requests: Vec<Allocate> = (0..count)
        .map(|_| {
            let words: Vec<&str> = (0..=rng.index(5)).map(|_| *rng.pick(&WORDS)).collect();
            let request = Allocate::new(words.join(" "));
            // Of few values, so that many are equally near.
            let quarter = |rng: &mut TestRng| (rng.index(5) as f32 - 2.0) / 4.0;
            let vector = [quarter(rng), quarter(rng)];
            if rng.chance(1, 3) { request } else { request.vector(vector) }
        })
        .collect();
    allocate_all(tenant, requests);
}

fn parts(hits: &steadfast_graph_memory::Hits, vector: bool) -> BTreeMap<Id, PartScore> {
    let part = |hit: &steadfast_graph_memory::Hit| {
        let part = if vector { hit.why.vector } else { hit.why.text };
        (hit.record.id, part.unwrap())
    };
    hits.hits.iter().map(part).collect()
}

#[test]
fn a_hybrid_search_agrees_with_the_two_it_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small().vector_metric(Metric::L2));
    let acme = memory.tenant("acme").unwrap();
    let mut rng = TestRng::new(11);
    for round in 0..3 {
        filled(&acme, &mut rng, [80, 1000, 2500][round]);
        if round == 2 {
            settle(&acme);
        }
        for (text, vector) in
            [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.25, 3.0), (f32::MAX, f32::MAX), (1e-3, 7.0)]
        {
            let words = format!("{} nowhere {} river", rng.pick(&WORDS), rng.pick(&WORDS));
            let query = [rng.signed_unit(), rng.signed_unit()];
            let by_words = find(&acme, &Search::new(&words).k(10_000));
            let by_vector = find(&acme, &Search::by_vector(query).k(10_000).exact());
            let both = Search::new(&words).vector(query).weights(text, vector).exact();
            let all = find(&acme, &both.clone().k(10_000));
            assert_eq!(
                told(&all),
                fused(&told(&by_words), &told(&by_vector), text, vector),
                "{text} {vector}"
            );
            assert_eq!(all.matched, Matched::Exactly(all.hits.len()));
            let few = find(&acme, &both.clone().k(3));
            assert!(few.matched.at_least() <= all.hits.len());
            assert!(few.matched.exactly().is_none_or(|count| count == all.hits.len()));
            let counted = find(&acme, &both.clone().k(3).counted());
            assert_eq!((counted.hits, counted.matched), (few.hits, all.matched), "{text} {vector}");
            let (in_text, in_vector) = (parts(&by_words, false), parts(&by_vector, true));
            for hit in &all.hits {
                let id = hit.record.id;
                assert_eq!(hit.why.text, in_text.get(&id).copied());
                assert_eq!(hit.why.vector, in_vector.get(&id).copied());
                check_terms(&words, hit);
            }
            // Where ranks reach past the lists that are fused for few hits, these may order hits otherwise: each is still one of those
            // that stand first in one of the lists, and tells the place that it has there.
            for k in [1, 3, 10] {
                let some = find(&acme, &both.clone().k(k));
                assert_eq!(some.hits.len(), k.min(all.hits.len()));
                for hit in &some.hits {
                    let id = hit.record.id;
                    assert!(hit.why.text.is_none_or(|part| in_text[&id] == part));
                    assert!(hit.why.vector.is_none_or(|part| in_vector[&id] == part));
                    assert!(hit.why.text.is_some() || hit.why.vector.is_some());
                }
                if acme.view().unwrap().len() <= 100 {
                    assert_eq!(told(&some), told(&all)[..k]);
                }
                assert!(some.hits.windows(2).all(|pair| {
                    (pair[0].score, pair[1].record.id) >= (pair[1].score, pair[0].record.id)
                }));
            }
        }
    }
}

/// The query's words, each once, in its order, of which the text holds some.
fn check_terms(query: &str, hit: &steadfast_graph_memory::Hit) {
    let mut expected = Vec::new();
    for word in query.split(' ') {
        if hit.record.text().split(' ').any(|held| held == word) && !expected.contains(&word) {
            expected.push(word);
        }
    }
    let terms: Vec<&str> = hit.why.terms.iter().map(|term| &**term).collect();
    // One that was found by its vector alone may hold a word, but then words would have found it.
    assert_eq!(terms, if hit.why.text.is_some() { expected } else { Vec::new() });
}

#[test]
fn terms_are_told_in_the_order_of_the_query_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small());
    let acme = memory.tenant("acme").unwrap();
    let text: Vec<String> =
        (0..100_u8).map(|n| format!("{}{}", (b'a' + n / 10) as char, (b'k' + n % 10) as char)).collect();
    acme.allocate_blocking(Allocate::new(text.join(" "))).unwrap();
    let backwards: Vec<&str> = text.iter().rev().flat_map(|word| [word.as_str(), word]).collect();
    let hits = find(&acme, &Search::new(backwards.join(" ")));
    let told: Vec<&str> = hits.hits[0].why.terms.iter().map(|term| &**term).collect();
    let expected: Vec<&str> = text.iter().rev().map(String::as_str).take(64).collect();
    assert_eq!(told, expected);
    let with_gaps = "zzz kk_late LATE invoice-number it's ja ak";
    acme.allocate_blocking(Allocate::new("late it's an invoice-number")).unwrap();
    let hits = find(&acme, &Search::new(with_gaps));
    for hit in &hits.hits {
        let mut seen: Vec<&str> = hit.why.terms.iter().map(|term| &**term).collect();
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "none twice");
    }
    let first = &hits.hits[0];
    assert!(first.record.text().starts_with("late"));
    assert!(first.why.terms.iter().any(|term| &**term == "late"));
}

/// Equal scores are ordered by id in each sort of search, in the tail, in segments and across both.
#[test]
fn ties_are_ordered_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), small().vector_metric(Metric::Dot));
    let acme = memory.tenant("acme").unwrap();
    let same = || Allocate::new("same words").vector([1.0, 1.0]);
    let mut all = allocate_all(&acme, (0..5000).map(|_| same()));
    settle(&acme);
    all.extend(allocate_all(&acme, (0..500).map(|_| same())));
    all.sort_unstable();
    let filters = [Filter::new(), Filter::new().kind(""), Filter::new().importance(..=0.5)];
    for filter in filters {
        for k in [1, 10, 4999, 5001, 10_000] {
            let expected = &all[..k.min(all.len())];
            let by_words = Search::new("same").k(k).filter(filter.clone());
            assert_eq!(ids(&find(&acme, &by_words)), expected, "by words, {k}");
            let by_vector = Search::by_vector([1.0, 0.5]).k(k).exact().filter(filter.clone());
            assert_eq!(ids(&find(&acme, &by_vector)), expected, "by vector, {k}");
            let both = Search { vector: Some(vec![1.0, 0.5]), exact: true, ..by_words };
            assert_eq!(ids(&find(&acme, &both)), expected, "by both, {k}");
        }
    }
}
