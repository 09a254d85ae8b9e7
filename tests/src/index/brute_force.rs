//! The best passages for a query, found without an index: every passage is gone over, and scored by the formula that the store's
//! page on search gives. So a scenario knows the answer to a query before it asks.
//!
//! Only whether a passage is *clearly* among the best is used, with room to both sides: another memory with other parameters,
//! or sums in another order, gives the same answer.

use std::collections::HashMap;

use steadfast_text_index::for_each_token;

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// So many of the best texts are kept for each query.
const BEST_KEPT: usize = 40;
/// Scores that are closer are taken for equal.
const CLOSE: f64 = 0.999;

/// A text that scored for a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scored {
    pub(super) text: usize,
    pub(super) score: f64,
}

/// The best texts for each of `queries`, best first. Each token of a query counts once.
pub(super) fn best(texts: &[String], queries: &[&str]) -> Vec<Vec<Scored>> {
    let askers = askers(queries);
    let documents: Vec<Counts> = texts.iter().map(|text| Counts::of(text, &askers)).collect();
    let mut holders = vec![0_u32; askers.len()];
    for (token, _) in documents.iter().flat_map(|document| &document.tokens) {
        holders[*token as usize] += 1;
    }
    let count = documents.len() as f64;
    let mean = documents.iter().map(|document| f64::from(document.length)).sum::<f64>() / count.max(1.0);
    let weight =
        |holders: &u32| (1.0 + (count - f64::from(*holders) + 0.5) / (f64::from(*holders) + 0.5)).ln();
    let weights: Vec<f64> = holders.iter().map(weight).collect();
    let mut asked_by = vec![&[][..]; askers.len()];
    for (token, queries) in askers.values() {
        asked_by[*token as usize] = queries;
    }

    let mut best = vec![Vec::new(); queries.len()];
    let mut scores = vec![0.0; queries.len()];
    for (text, document) in documents.iter().enumerate() {
        let norm = K1 * (1.0 - B + B * f64::from(document.length) / mean);
        for &(token, times) in &document.tokens {
            let score = weights[token as usize] * (K1 + 1.0) / (1.0 + norm / f64::from(times));
            for &query in asked_by[token as usize] {
                scores[query as usize] += score;
            }
        }
        for (score, best) in scores.iter_mut().zip(&mut best) {
            if *score > 0.0 {
                keep(best, Scored { text, score: *score });
                *score = 0.0;
            }
        }
    }
    best
}

/// Whether some text for which `is_sought` holds must be among the first `room` hits, whichever way close scores fall.
pub(super) fn is_surely_among(best: &[Scored], room: usize, is_sought: impl Fn(usize) -> bool) -> bool {
    let Some(sought) = best.iter().find(|scored| is_sought(scored.text)) else { return false };
    let rivals = best.iter().filter(|scored| !is_sought(scored.text) && scored.score > sought.score * CLOSE);
    rivals.count() < room
}

/// For each token of any query its number, and the queries that hold it.
type Askers = HashMap<String, (u32, Vec<u32>)>;

fn askers(queries: &[&str]) -> Askers {
    let mut askers = Askers::new();
    for (query, text) in (0..).zip(queries) {
        for_each_token(text, &mut |token: &str| {
            let number = askers.len() as u32;
            let (_, queries) = askers.entry(token.to_owned()).or_insert((number, Vec::new()));
            if queries.last() != Some(&query) {
                queries.push(query);
            }
        });
    }
    askers
}

/// A text as the formula sees it.
struct Counts {
    /// All its tokens.
    length: u32,
    /// Those that a query holds, with how often they occur.
    tokens: Vec<(u32, u32)>,
}

impl Counts {
    fn of(text: &str, askers: &Askers) -> Self {
        let mut length = 0;
        let mut met = Vec::new();
        for_each_token(text, &mut |token: &str| {
            length += 1;
            met.extend(askers.get(token).map(|(number, _)| *number));
        });
        met.sort_unstable();
        let tokens = met.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect();
        Self { length, tokens }
    }
}

/// Puts a text where its score belongs, if it is one of the best.
fn keep(best: &mut Vec<Scored>, scored: Scored) {
    if best.len() == BEST_KEPT && best.last().is_some_and(|last| last.score >= scored.score) {
        return;
    }
    let place = best.partition_point(|other| other.score >= scored.score);
    best.insert(place, scored);
    best.truncate(BEST_KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        let texts = texts(&["red fish", "red red lamp post", "blue lamp"]);
        let best = best(&texts, &["Red", "lamp lamp", "green"]);
        let mean = 8.0 / 3.0;
        let idf = f64::ln(1.0 + (3.0 - 2.0 + 0.5) / 2.5);
        let score = |times: f64, length: f64| idf * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * length / mean) / times);
        let found: Vec<(usize, f64)> = best[0].iter().map(|it| (it.text, it.score)).collect();
        assert_eq!(found, [(1, score(2.0, 4.0)), (0, score(1.0, 2.0))]);
        let found: Vec<usize> = best[1].iter().map(|it| it.text).collect();
        assert_eq!(found, [2, 1]);
        assert!(best[2].is_empty());
    }

    #[test]
    fn a_close_rival_takes_room() {
        let scored = |text, score| Scored { text, score };
        let best = [scored(5, 3.0), scored(6, 2.0), scored(7, 1.9999), scored(8, 1.0)];
        assert!(is_surely_among(&best, 1, |text| text == 5));
        // Seven could come before six.
        assert!(!is_surely_among(&best, 2, |text| text == 6));
        assert!(is_surely_among(&best, 3, |text| text == 6));
        assert!(is_surely_among(&best, 2, |text| text >= 6));
        assert!(!is_surely_among(&best, 9, |text| text == 1));
    }

    #[test]
    fn only_the_best_are_kept() {
        let texts: Vec<String> = (1..100).map(|length| format!("word {}", "and ".repeat(length))).collect();
        let best = best(&texts, &["word"]);
        let found: Vec<usize> = best[0].iter().map(|it| it.text).collect();
        assert_eq!(found, (0..BEST_KEPT).collect::<Vec<_>>());
    }
}
