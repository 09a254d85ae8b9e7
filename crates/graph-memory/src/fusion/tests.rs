//! Fusion against a naive one, and the words that hits tell.

use proptest::prelude::*;

use super::*;

fn weights(text: f32, vector: f32) -> Weights {
    Weights { text, vector }
}

/// Each id by the definition, on its own.
fn naive(text: &[(u64, f32)], vector: &[(u64, f32)], weights: Weights, k: usize) -> Vec<Fused> {
    let place = |list: &[(u64, f32)], id| {
        let at = list.iter().position(|(other, _)| *other == id)?;
        Some(PartScore { rank: at as u32 + 1, score: list[at].1 })
    };
    let mut all: Vec<Fused> = Vec::new();
    for id in 0..=u64::from(u8::MAX) {
        let (text, vector) = (place(text, id), place(vector, id));
        let mut sum = 0.0f64;
        let mut found = false;
        for (weight, part) in [(weights.text, text), (weights.vector, vector)] {
            if let Some(part) = part {
                sum += f64::from(weight) / f64::from(60 + part.rank);
                found |= weight != 0.0;
            }
        }
        if found {
            all.push(Fused { id, score: sum as f32, text, vector });
        }
    }
    // Stable, so that ties stay in the order of ids.
    all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap());
    all.truncate(k);
    all
}

fn list() -> impl Strategy<Value = Vec<(u64, f32)>> {
    let ids = prop::collection::vec(0..40u64, 0..60);
    ids.prop_map(|ids| ids.into_iter().enumerate().map(|(at, id)| (id, 100.0 - at as f32)).collect())
}

fn weight() -> impl Strategy<Value = f32> {
    prop_oneof![
        2 => Just(1.0f32),
        1 => Just(0.0),
        1 => 0.0..10.0f32,
        1 => prop::sample::select(vec![f32::MAX, f32::MIN_POSITIVE]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Also with repeated ids, of which the first counts.
    #[test]
    fn fused_as_by_the_definition(
        text in list(), vector in list(), a in weight(), b in weight(), k in 0..80usize,
    ) {
        let found = fuse(&text, &vector, weights(a, b), k);
        prop_assert_eq!(&found, &naive(&text, &vector, weights(a, b), k));
        prop_assert!(found.iter().all(|hit| hit.score.is_finite()));
    }
}

#[test]
fn who_is_in_both_lists_wins_and_ties_go_by_id() {
    let text = [(7, 9.0), (3, 8.0)];
    let vector = [(5, 0.9), (3, 0.8)];
    let found = fuse(&text, &vector, weights(1.0, 1.0), 10);
    assert_eq!(found.iter().map(|hit| hit.id).collect::<Vec<_>>(), [3, 5, 7]);
    assert_eq!(found[0].score, (2.0f64 / 62.0) as f32);
    assert_eq!(found[0].text, Some(PartScore { rank: 2, score: 8.0 }));
    assert_eq!(found[0].vector, Some(PartScore { rank: 2, score: 0.8 }));
    assert_eq!(found[1].score, found[2].score, "the firsts of the two lists");
    assert_eq!((found[1].text, found[2].vector), (None, None));
}

#[test]
fn weights_tip_the_scales() {
    let (text, vector) = ([(1, 9.0)], [(2, 0.9)]);
    assert_eq!(fuse(&text, &vector, weights(1.0, 2.0), 1)[0].id, 2);
    assert_eq!(fuse(&text, &vector, weights(2.0, 1.0), 1)[0].id, 1);
    let only = fuse(&text, &[(2, 0.9), (1, 0.8)], weights(1.0, 0.0), 10);
    assert_eq!(only.len(), 1, "nothing is found by a weight of 0");
    assert_eq!(only[0].vector, Some(PartScore { rank: 2, score: 0.8 }), "but it is told");
}

#[test]
fn words_have_the_numbers_of_the_query_keys() {
    use steadfast_text_index::{Query, TextIndex, document_terms, query_keys};

    let query = "Invoices by e-mail, invoices überall";
    let mut index = TextIndex::default();
    index.insert(1, &document_terms("E-Mail"));
    index.insert(2, &document_terms("überall Invoices"));
    let words = Words::of(query, Analyzer::new());
    let hits = index.search(&Query::any(&query_keys(query)), 10, None).hits;
    let mut held: Vec<(u64, Vec<String>)> = hits
        .iter()
        .map(|hit| (hit.id, words.held(hit.terms).iter().map(ToString::to_string).collect()))
        .collect();
    held.sort();
    let expected = [
        (1, vec!["e".to_owned(), "mail".into(), "e-mail".into()]),
        (2, vec!["invoices".into(), "überall".into()]),
    ];
    assert_eq!(held, expected);
}

#[test]
fn the_first_64_words_are_told() {
    let query: Vec<String> = (1000..1070).map(|n| n.to_string()).collect();
    let words = Words::of(&query.join(" "), Analyzer::new()).held(u64::MAX);
    assert_eq!(words.len(), 64);
    assert_eq!((&*words[0], &*words[63]), ("1000", "1063"));
    assert!(Words::of("--", Analyzer::new()).held(u64::MAX).is_empty());
}
