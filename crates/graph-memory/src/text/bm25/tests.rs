//! BM25 against a naive one that keeps words as strings and counts everything anew.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::text::tokens::{document_terms, for_each_token, query_keys};

fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for_each_token(text, &mut |token: &str| all.push(token.to_owned()));
    all
}

/// The formula of the module's text, term by term.
fn naive(live: &BTreeMap<u64, String>, query: &str) -> BTreeMap<u64, f64> {
    let tokens: BTreeMap<u64, Vec<String>> = live.iter().map(|(id, text)| (*id, words(text))).collect();
    let mean = tokens.values().map(Vec::len).sum::<usize>() as f64 / tokens.len() as f64;
    let mut scores = BTreeMap::new();
    for term in words(query).into_iter().collect::<BTreeSet<_>>() {
        let df = tokens.values().filter(|words| words.contains(&term)).count() as f64;
        let idf = (1.0 + (tokens.len() as f64 - df + 0.5) / (df + 0.5)).ln();
        for (id, words) in &tokens {
            let tf = words.iter().filter(|word| **word == term).count() as f64;
            if tf > 0.0 {
                let norm = 1.2 * (1.0 - 0.75 + 0.75 * words.len() as f64 / mean);
                *scores.entry(*id).or_insert(0.0) += idf * tf * 2.2 / (tf + norm);
            }
        }
    }
    scores
}

proptest! {
    #[test]
    fn ranks_as_the_naive_formula_does(
        steps in prop::collection::vec((any::<bool>(), "[a-e]{1}( [a-h]{1,2}){0,40}", any::<prop::sample::Index>()), 1..120),
        query in "[a-h]{1,2}( [a-h]{1,2}){0,4}",
        k in 1_usize..20,
    ) {
        let mut index = TextIndex::default();
        let mut live = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (id, (insert, text, which)) in steps.into_iter().enumerate() {
            if insert || places.is_empty() {
                let document = document_terms(&text);
                places.insert(id as u64, (index.insert(id as u64, &document), document.length));
                live.insert(id as u64, text);
            } else {
                let id = *which.get(&places.keys().copied().collect::<Vec<_>>());
                let (place, length) = places.remove(&id).unwrap();
                index.remove(place, length);
                live.remove(&id);
            }
        }
        let (ranked, matched) = search(&index, &query_keys(&query), k);
        let expected = naive(&live, &query);
        prop_assert_eq!(matched, expected.len());
        prop_assert_eq!(ranked.len(), k.min(matched));
        for pair in ranked.windows(2) {
            prop_assert!(pair[0] > pair[1], "best first, ties by id: {:?}", pair);
        }
        for hit in &ranked {
            prop_assert!((f64::from(hit.score) - expected[&hit.id]).abs() < 1e-4, "{:?} {}", hit, expected[&hit.id]);
        }
        // Nobody left out is better than somebody listed.
        if let Some(worst) = ranked.last() {
            let listed: BTreeSet<u64> = ranked.iter().map(|hit| hit.id).collect();
            for (id, score) in expected.iter().filter(|(id, _)| !listed.contains(id)) {
                prop_assert!(*score <= f64::from(worst.score) + 1e-4, "{} was left out", id);
            }
        }
    }
}

#[test]
fn an_older_clone_keeps_its_documents_and_its_scores() {
    let mut index = TextIndex::default();
    let places: Vec<_> = (0..2000_u64)
        .map(|id| {
            let document = document_terms(&format!("common word{id}"));
            (index.insert(id, &document), document.length)
        })
        .collect();
    let old = index.clone();
    let before = search(&old, &query_keys("common word7"), 5);
    for (place, length) in &places[..1990] {
        index.remove(*place, *length);
    }
    for id in 2000..2500 {
        index.insert(id, &document_terms("common"));
    }
    assert_eq!(search(&old, &query_keys("common word7"), 5), before);
    assert_eq!(before.1, 2000);
    assert_eq!(search(&index, &query_keys("common"), 5).1, 510);
    assert_eq!(index.documents(), 510);
}
