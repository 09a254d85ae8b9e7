//! What a scenario writes, by number: first the corpus, then its concepts.
//!
//! Each memory is the passage itself below a line of two words of its own: its slug, and a made-up *word* of letters only, which
//! nothing else holds. A search for the word must find that memory and no other, however long its text and
//! whatever the rest of the corpus is about; a search for `concept_3` need not, since `concept` and `3` are words of other texts too.

use std::collections::HashSet;

use steadfast_graph_memory::{Embedder as _, Lexical};
use steadfast_memory_api::{Allocate, Answer, OnSlug, Outcome, Record, Version};
use steadfast_stress::{Failure, Rng};

use super::Filling;
use crate::corpus::Corpus;

/// The texts to be written; the same for the same corpus and random numbers.
#[derive(Debug)]
pub(crate) struct Writes {
    corpus: Corpus,
    /// Written in set-up: the whole corpus, as often as it takes.
    passages: usize,
    /// For each concept the place of its passage in the corpus, all different.
    concepts: Vec<usize>,
    embedder: Option<Lexical>,
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Which of the [`Writes`].
    pub(crate) number: usize,
    /// What it was acknowledged with.
    pub(crate) answer: Answer,
}

impl Writes {
    /// All passages, and then as many of them as are wanted, chosen by `rng`, once more as concepts.
    ///
    /// # Errors
    /// If the corpus has fewer passages than concepts are needed.
    pub(crate) fn new(corpus: Corpus, filling: &Filling, rng: &mut Rng) -> Result<Self, Failure> {
        let &Filling { passages_min, concepts, embedder, .. } = filling;
        let there = corpus.passages.len();
        // Also without concepts there must be something to write.
        if there < concepts.max(1) {
            let text = format!(
                "the corpus has {there} passages, at least {} are needed: name a larger one with --corpus",
                concepts.max(1)
            );
            return Err(Failure::new("corpus", text));
        }
        let concepts = choose(concepts, there, rng);
        let passages = there * passages_min.div_ceil(there).max(1);
        Ok(Self { corpus, passages, concepts, embedder })
    }

    /// How often the corpus is written.
    pub(crate) fn copies(&self) -> usize {
        self.passages / self.corpus.passages.len()
    }

    /// How many passages are written.
    pub(crate) fn passages(&self) -> usize {
        self.passages
    }

    /// Bytes of all passages that are written.
    pub(crate) fn passage_bytes(&self) -> usize {
        self.corpus.bytes() * self.copies()
    }

    /// How many passages the corpus has.
    pub(crate) fn distinct(&self) -> usize {
        self.corpus.passages.len()
    }

    /// The place in the corpus of what a write holds. There are as many concepts as one likes: their passages come again.
    pub(crate) fn passage_of(&self, number: usize) -> usize {
        match number.checked_sub(self.passages) {
            None => number % self.distinct(),
            Some(concept) => self.concepts[concept % self.concepts.len()],
        }
    }

    /// The text of a passage of the corpus.
    pub(crate) fn passage(&self, place: usize) -> &str {
        &self.corpus.passages[place].text
    }

    /// The request that makes a write, with its vector if memories have one.
    pub(crate) fn request_with_vector(&self, number: usize) -> Allocate {
        let mut request = self.request(number);
        request.vector = self.embedder.map(|embedder| embedder.embed(&request.text));
        request
    }

    /// The request that makes a write. The slug is refused if it is taken: nothing is written twice.
    pub(crate) fn request(&self, number: usize) -> Allocate {
        let (kind, slug) = match number.checked_sub(self.passages) {
            None => ("passage", format!("passage_{number}")),
            Some(concept) => ("concept", format!("concept_{concept}")),
        };
        let passage = &self.corpus.passages[self.passage_of(number)];
        let text = format!("{slug} {}\n\n{}", word(number), passage.text);
        let mut request = Allocate::new(text).kind(kind).slug(slug).on_slug(OnSlug::Refuse);
        if let Some(package) = &passage.package {
            request = request.attribute("package", package.name.as_str());
            request = request.attribute("version", package.version.as_str());
        }
        request.attribute("file", &*passage.file).attribute("ordinal", i64::from(passage.ordinal))
    }
}

impl Acknowledged {
    /// Takes the answer to a write.
    ///
    /// # Errors
    /// If it isn't that of a new memory.
    pub(crate) fn new(number: usize, answer: Answer) -> Result<Self, Failure> {
        if answer.outcome != Outcome::Created || answer.version != Version::new(1) {
            return Err(Failure::new("not created", format!("write {number} was answered {answer:?}")));
        }
        Ok(Self { number, answer })
    }

    /// Whether `record` is what was asked for and acknowledged, in every field.
    pub(crate) fn is(&self, record: &Record, request: &Allocate) -> bool {
        let Answer { id, version, seq, .. } = self.answer;
        (record.id, record.version, record.seq) == (id, version, seq)
            && record.text() == request.text
            && record.slug() == request.slug.as_deref()
            && record.kind() == request.kind
            && record.attributes() == request.attributes
    }
}

/// A word for each number: letters only, so that it is one word to a search. It begins as no word of a
/// language does.
pub(crate) fn word(number: usize) -> String {
    const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    const VOWELS: &[u8; 5] = b"aeiou";
    let mut word = "zq".to_owned();
    let mut rest = number;
    loop {
        word.push(char::from(CONSONANTS[rest % 20]));
        word.push(char::from(VOWELS[rest / 20 % 5]));
        rest /= 100;
        if rest == 0 {
            return word;
        }
    }
}

/// `count` different numbers below `bound`, by Floyd's method (Bentley and Floyd, "A sample of brilliance", 1987).
fn choose(count: usize, bound: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    for last in bound - count..bound {
        let drawn = rng.below(last as u64 + 1) as usize;
        let number = if seen.contains(&drawn) { last } else { drawn };
        seen.insert(number);
        chosen.push(number);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_word_of_its_own() {
        let words: HashSet<String> = (0..200_000).map(word).collect();
        assert_eq!(words.len(), 200_000);
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
        assert_eq!((word(0), word(17), word(1_234)), ("zqba".into(), "zqwa".into(), "zqseqa".into()));
    }

    #[test]
    fn chosen_numbers_are_different_and_in_bounds() {
        for (count, bound) in [(0, 1), (1, 1), (500, 500), (500, 10_000)] {
            let chosen = choose(count, bound, &mut Rng::new(7));
            assert_eq!(chosen, choose(count, bound, &mut Rng::new(7)));
            let different: HashSet<usize> = chosen.into_iter().collect();
            assert_eq!(different.len(), count);
            assert!(different.iter().all(|number| *number < bound));
        }
    }
}
