//! Questions in the words of the passages themselves, with the passage that must be among the answers.
//!
//! A question is a run of words of some passage. The passage that must be found is found by [brute force](super::brute_force)
//! first: the one that the words are from, or else another one that fits them best. A question that has no clear answer isn't asked.

use steadfast_memory_api::Search;
use steadfast_stress::{Failure, Rng};
use steadfast_text_index::for_each_token;

use super::brute_force;
use crate::filled::writes::Writes;

/// Words of a question.
const WORDS: usize = 3;
/// A search's hits.
pub(super) const HITS: usize = 10;
/// The answer stands among the first so many by brute force, so that it is among the hits for sure.
const ROOM: usize = HITS / 2;

/// What is asked, and what must be found.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) text: String,
    /// Its place in the corpus; any memory that holds this passage is right.
    pub(super) passage: usize,
}

impl Question {
    /// The search for it.
    pub(super) fn search(&self) -> Search {
        Search::new(self.text.as_str()).k(HITS)
    }
}

/// At most `count` short questions.
///
/// # Errors
/// If the corpus answers none of them clearly.
pub(super) fn short(writes: &Writes, count: usize, rng: &mut Rng) -> Result<Vec<Question>, Failure> {
    let drawn = (0..count).filter_map(|_| {
        let passage = rng.below(writes.distinct() as u64) as usize;
        Some((run_of_words(writes.passage(passage), rng)?, passage))
    });
    answered(writes, drawn.collect())
}

/// At most `count` questions of `bytes` bytes or a little less, each of many whole passages, with at most `words_max` different
/// words.
///
/// # Errors
/// If the corpus answers none of them clearly.
pub(super) fn long(
    writes: &Writes,
    count: usize,
    bytes: usize,
    words_max: usize,
    rng: &mut Rng,
) -> Result<Vec<Question>, Failure> {
    let drawn = (0..count).map(|_| {
        let sought = rng.below(writes.distinct() as u64) as usize;
        (many_passages(writes, sought, bytes, words_max, rng), sought)
    });
    answered(writes, drawn.collect())
}

/// Some words that follow each other; nothing if there are none that can be searched for.
fn run_of_words(text: &str, rng: &mut Rng) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let start = rng.below((words.len().saturating_sub(WORDS) + 1) as u64) as usize;
    let run = words[start..words.len().min(start + WORDS)].join(" ");
    let mut is_word = false;
    for_each_token(&run, &mut |_: &str| is_word = true);
    is_word.then_some(run)
}

/// `sought` and random passages after it. When it has as many different words as it may have, it goes on with those that it has.
fn many_passages(writes: &Writes, sought: usize, bytes: usize, words_max: usize, rng: &mut Rng) -> String {
    let mut words = std::collections::HashSet::new();
    let mut chosen = vec![sought];
    let mut text = String::with_capacity(bytes);
    let mut next = sought;
    let mut again = 0;
    loop {
        let passage = writes.passage(next);
        if text.len() + passage.len() + 1 > bytes {
            return text;
        }
        text.push_str(passage);
        text.push('\n');
        for_each_token(passage, &mut |token: &str| {
            if !words.contains(token) {
                words.insert(token.to_owned());
            }
        });
        // No passage has more words than it has bytes, of which it has at most 1 500; few have a fifth of that.
        next = if words.len() + 300 < words_max {
            chosen.push(rng.below(writes.distinct() as u64) as usize);
            chosen[chosen.len() - 1]
        } else {
            again += 1;
            chosen[again % chosen.len()]
        };
    }
}

/// Those that have a clear answer, with it.
fn answered(writes: &Writes, drawn: Vec<(String, usize)>) -> Result<Vec<Question>, Failure> {
    let texts: Vec<String> = (0..writes.passages()).map(|number| writes.request(number).text).collect();
    let queries: Vec<&str> = drawn.iter().map(|(text, _)| text.as_str()).collect();
    let best = brute_force::best(&texts, &queries);
    let questions: Vec<Question> = drawn
        .into_iter()
        .zip(best)
        .filter_map(|((text, source), best)| {
            let first = best.first().map(|first| writes.passage_of(first.text))?;
            let is_clear = |sought: &usize| {
                brute_force::is_surely_among(&best, ROOM, |number| writes.passage_of(number) == *sought)
            };
            let passage = Some(source).filter(is_clear).or(Some(first).filter(is_clear))?;
            Some(Question { text, passage })
        })
        .collect();
    if questions.is_empty() {
        return Err(Failure::new(
            "corpus",
            "no question has a clear answer: name another corpus with --corpus",
        ));
    }
    Ok(questions)
}
