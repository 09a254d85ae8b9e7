//! From tokens to terms: optionally removes stop words and stems words.
//!
//! | token | removed | stemmed |
//! |---|---|---|
//! | a word by itself, letters only: `invoices`, `customer's` | if it is a stop word | yes |
//! | a part of a compound, letters only: `urls` in `getURLs` | never | yes |
//! | a compound's whole: `geturls`, `e-mail` | never | never |
//! | anything with a digit, a point, a mark: `3.14` | never | never |
//!
//! So a query finds the words of an identifier in any inflection, and the identifier itself still
//! scores above its neighbours: `getURL` and `getURLs` share both parts and differ in the whole.
//! `to_string` keeps its `to`. The price: with a stemmer, `geturls`, typed without its capitals, is
//! a word like any other and doesn't find `getURLs`.
//!
//! The stemmers are Snowball's (Porter, "Snowball: A language for stemming algorithms", 2001), from
//! the crate `frostem`. They need the cargo feature `stemming`, because they bring the algorithms
//! of five languages. The lists of stop words are short, our own, and always included: words that
//! carry grammar and no meaning.
//!
//! Another version of a stemmer or of a list makes other terms. Terms of documents and queries must
//! come from the same build, so don't store them.

use std::borrow::Cow;
use std::fmt;

use crate::document::Document;
use crate::tokens::{Role, document_of, for_each_token, for_each_token_with, hash, keys_of, tokens_guess};

mod stop_words;

/// The longest word that is stemmed, in bytes. No word is longer, and a stemmer's time grows with
/// the square of the length.
const STEMMED_BYTES_MAX: usize = 128;

/// A language that has a stemmer and a list of stop words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// English, by Snowball's second algorithm for it ("Porter2").
    English,
    /// French.
    French,
    /// German.
    German,
    /// Italian.
    Italian,
    /// Spanish.
    Spanish,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 5] = [Self::English, Self::French, Self::German, Self::Italian, Self::Spanish];

    /// Returns its number, from 1, for storage. No other language ever gets it.
    pub const fn number(self) -> u32 {
        match self {
            Self::English => 1,
            Self::French => 2,
            Self::German => 3,
            Self::Italian => 4,
            Self::Spanish => 5,
        }
    }

    /// Returns the language with this number; `None` if this version has none.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.number() == number)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::English => "English",
            Self::French => "French",
            Self::German => "German",
            Self::Italian => "Italian",
            Self::Spanish => "Spanish",
        })
    }
}

/// A stemmer was requested in a build without the cargo feature `stemming`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoStemming {
    /// The stemmer's language.
    pub language: Language,
}

impl fmt::Display for NoStemming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stemming of {} needs a build with the feature `stemming`", self.language)
    }
}

impl std::error::Error for NoStemming {}

/// How text becomes terms. By default each token is a term, as in
/// [`document_terms`](crate::document_terms) and [`query_keys`](crate::query_keys).
///
/// Queries find documents of an equal analyzer. Every analyzer that exists works: one that this
/// build doesn't support can't be created.
///
/// ```
/// use steadfast_text_index::{Analyzer, Language, Query, TextIndex};
///
/// let analyzer = Analyzer::new().with_stop_words(Language::English);
/// let mut index = TextIndex::default();
/// index.insert(1, &analyzer.document_terms("The whale is in the bay"));
/// let hits = index.search(&Query::any(&analyzer.query_keys("a whale")), 10, None).hits;
/// assert_eq!(hits[0].id, 1);
/// assert!(analyzer.query_keys("is it the").is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Analyzer {
    /// There only with the feature.
    stemmer: Option<Language>,
    stop_words: Option<Language>,
}

impl Analyzer {
    /// Creates the default: each token is a term.
    pub const fn new() -> Self {
        Self { stemmer: None, stop_words: None }
    }

    /// Stems words of letters.
    ///
    /// # Errors
    /// `NoStemming` in a build without the feature `stemming`.
    pub const fn with_stemmer(mut self, language: Language) -> Result<Self, NoStemming> {
        if cfg!(feature = "stemming") {
            self.stemmer = Some(language);
            Ok(self)
        } else {
            Err(NoStemming { language })
        }
    }

    /// Removes a language's stop words, where they are words by themselves.
    #[must_use]
    pub const fn with_stop_words(mut self, language: Language) -> Self {
        self.stop_words = Some(language);
        self
    }

    /// Returns the language whose words are stemmed; none by default.
    pub const fn stemmer(self) -> Option<Language> {
        self.stemmer
    }

    /// Returns the language whose stop words are removed; none by default.
    pub const fn stop_words(self) -> Option<Language> {
        self.stop_words
    }

    /// Returns the terms of a text to index. Removed stop words count neither as terms nor in the
    /// length.
    pub fn document_terms(self, text: &str) -> Document {
        document_of(self.hashes(text))
    }

    /// Returns the distinct term keys of a query's text, by first appearance.
    pub fn query_keys(self, text: &str) -> Vec<u64> {
        keys_of(&self.hashes(text))
    }

    fn hashes(self, text: &str) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(tokens_guess(text));
        if self == Self::new() {
            for_each_token(text, &mut |token: &str| hashes.push(hash(token)));
        } else {
            self.for_each_term(text, &mut |_: &str, term: &str| hashes.push(hash(term)));
        }
        hashes
    }

    /// Calls `emit` with each token of `text` that isn't removed, as in
    /// [`for_each_token`](crate::for_each_token), and with its term. The distinct terms by first
    /// appearance are those of [`query_keys`](Self::query_keys).
    pub fn for_each_term(self, text: &str, emit: &mut impl FnMut(&str, &str)) {
        for_each_token_with(text, &mut |token: &str, role| {
            if role == Role::Whole || !is_word(token) {
                emit(token, token);
            } else if role == Role::Part || !self.stops(token) {
                emit(token, &self.stem(token));
            }
        });
    }

    fn stops(self, word: &str) -> bool {
        self.stop_words.is_some_and(|language| stop_words::of(language).binary_search(&word).is_ok())
    }

    fn stem(self, word: &str) -> Cow<'_, str> {
        let stemmed =
            self.stemmer.filter(|_| word.len() <= STEMMED_BYTES_MAX).map(|language| stemmed(word, language));
        // Never to nothing: a word that is there stays findable.
        stemmed.filter(|stem| !stem.is_empty()).unwrap_or(Cow::Borrowed(word))
    }
}

/// Letters and apostrophes, no more.
fn is_word(token: &str) -> bool {
    token.chars().all(|c| c == '\'' || c.is_alphabetic())
}

#[cfg(feature = "stemming")]
fn stemmed(word: &str, language: Language) -> Cow<'_, str> {
    use frostem::{Algorithm, Stemmer};

    let algorithm = match language {
        Language::English => Algorithm::English,
        Language::French => Algorithm::French,
        Language::German => Algorithm::German,
        Language::Italian => Algorithm::Italian,
        Language::Spanish => Algorithm::Spanish,
    };
    Stemmer::new(algorithm).stem(word)
}

#[cfg(not(feature = "stemming"))]
fn stemmed(_: &str, _: Language) -> Cow<'_, str> {
    unreachable!("no analyzer has a stemmer without the feature")
}

#[cfg(test)]
mod tests;
