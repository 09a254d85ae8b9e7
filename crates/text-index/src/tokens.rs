//! From text to the terms of the index.
//!
//! # What is a token
//!
//! The text is brought to NFKC and cut into words by UAX #29. Words with nothing between them but
//! one `-` or `::` form one *compound*. A compound is cut into *parts*; the parts are emitted in
//! order and then the *whole*, unless the whole is its only part. Everything is lower-cased. A part
//! ends
//!
//! - at `_`, `-`, `:`, `,`, `;`, and at a `.` that is not between digits;
//! - between letters and digits, in both directions;
//! - between a small letter and a capital (`camelCase`), and before the last of several capitals
//!   when a small letter follows (`HTTPServer`), except for the plural `s` (`URLs`).
//!
//! Parts make an identifier findable by its words, the whole lets the exact identifier score above
//! its neighbours.
//!
//! | text | tokens |
//! |---|---|
//! | `searchable_concept_3` | `searchable` `concept` `3` `searchable_concept_3` |
//! | `foo::bar-baz` | `foo` `bar` `baz` `foo::bar-baz` |
//! | `parseJSON2Xml` | `parse` `json` `2` `xml` `parsejson2xml` |
//! | `getURLs` | `get` `urls` `geturls` |
//! | `e-mail` | `e` `mail` `e-mail` |
//! | `can't`, `O'Brien` | `can't`, `o'brien`: an apostrophe is a letter without case |
//! | `3.14`, `v1.2.3` | `3.14`, `v` `1.2.3` `v1.2.3`: a number keeps its points, `14` must not find it |
//! | `1,000`, `[1,2]` | `1` `000` `1,000`, `1` `2` `1,2`: a list looks the same, and its items count |
//! | `a.b.c` | `a` `b` `c` `a.b.c`, as in `example.com` |
//! | `main.rs:42` | `main` `rs` `main.rs` `42`: UAX #29 joins neither `s:4` nor, in `v2.json`, `2.j` |
//! | `__init__` | `init` `__init__` |
//! | `--dry-run`, `::std`, `a--b` | `dry` `run` `dry-run`, `std`, `a` `b`: outer marks go, `--` is a dash |
//! | `--`, `___`, `👍` | nothing |
//! | `東京` | `東` `京`: one character each where a script has no spaces; Katakana stays together |
//!
//! Beyond NFKC and lower-casing four characters are folded, because people write one and search the
//! other: `’` is `'`, `‐` (U+2010) is `-`, final `ς` is `σ`, and the soft hyphen is dropped. There
//! is no bound on a token's length: the index holds only its hash. Stop words and stemming are
//! another step, which is off unless asked for: see [`Analyzer`](crate::Analyzer).
//!
//! # Two scanners, one behaviour
//!
//! [`ascii_tokens`] walks over bytes; [`unicode_tokens`] is the definition, and takes the stretches
//! between white space that hold anything but ASCII. No token reaches over ASCII white space, so
//! each stretch can be cut on its own. Both are linear in the text, and they must agree: a query
//! and a document may take different paths.
//!
//! Changing a rule, or the Unicode version of the tables, changes keys; terms made before must then
//! be made anew.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::xxh3_64;

use crate::analyzer::Analyzer;
use crate::document::{COUNT_MAX, Document, term_key};

const COUNT_MASK: u64 = COUNT_MAX as u64;

/// Returns the terms of a text to index: all its tokens.
pub fn document_terms(text: &str) -> Document {
    Analyzer::new().document_terms(text)
}

/// Returns the distinct term keys of a query's text, all its tokens, by first appearance.
pub fn query_keys(text: &str) -> Vec<u64> {
    Analyzer::new().query_keys(text)
}

/// A document of terms, which are given by their hashes in any order.
pub(crate) fn document_of(mut terms: Vec<u64>) -> Document {
    let length = u32::try_from(terms.len()).unwrap_or(u32::MAX);
    for term in &mut terms {
        *term &= !COUNT_MASK;
    }
    terms.sort_unstable();
    // In place: `kept` terms are final, each with its count; what is read is never before what is
    // written.
    let mut kept = 0;
    for read in 0..terms.len() {
        let term = terms[read];
        if kept > 0 && term_key(terms[kept - 1]) == term_key(term) {
            terms[kept - 1] += u64::from(terms[kept - 1] & COUNT_MASK < COUNT_MASK);
        } else {
            terms[kept] = term | 1;
            kept += 1;
        }
    }
    terms.truncate(kept);
    Document::from_words(terms.into_boxed_slice(), length)
}

/// The distinct keys of terms, which are given by their hashes, in order of first appearance.
pub(crate) fn keys_of(terms: &[u64]) -> Vec<u64> {
    let mut keys: Vec<(u64, usize)> = terms.iter().map(|&hash| term_key(hash)).zip(0..).collect();
    // Sorted twice rather than looked up in the keys so far: a query may be as long as a document.
    keys.sort_unstable();
    keys.dedup_by_key(|&mut (key, _)| key);
    keys.sort_unstable_by_key(|&(_, place)| place);
    keys.into_iter().map(|(key, _)| key).collect()
}

/// Calls `emit` with each token of `text`, lower-cased: the parts of a compound, then the whole.
pub fn for_each_token(text: &str, emit: &mut impl FnMut(&str)) {
    for_each_token_with(text, &mut |token: &str, _| emit(token));
}

/// What a token is to the compound that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it: a word by itself.
    Word,
    /// One of its parts, beside the whole.
    Part,
    /// The whole, beside its parts.
    Whole,
}

/// [`for_each_token`], with the role of each.
pub(crate) fn for_each_token_with(text: &str, emit: &mut impl FnMut(&str, Role)) {
    let mut buffer = String::new();
    if text.is_ascii() {
        return ascii_tokens(text, &mut buffer, emit);
    }
    for stretch in text.split_ascii_whitespace() {
        if stretch.is_ascii() {
            ascii_tokens(stretch, &mut buffer, emit);
        } else {
            unicode_tokens(stretch, &mut buffer, emit);
        }
    }
}

pub(crate) fn hash(token: &str) -> u64 {
    xxh3_64(token.as_bytes())
}

/// Capacity for the tokens of an ordinary text: an English word and its space take six bytes.
pub(crate) fn tokens_guess(text: &str) -> usize {
    text.len() / 5 + 4
}

/// The definition, for any text. `buffer` is scratch space.
fn unicode_tokens(text: &str, buffer: &mut String, emit: &mut impl FnMut(&str, Role)) {
    let text: Cow<'_, str> = match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => text.into(),
        IsNormalized::No | IsNormalized::Maybe => text.nfkc().collect::<String>().into(),
    };
    let mut words = text.unicode_word_indices().map(|(start, word)| trimmed(start, word)).peekable();
    while let Some(mut compound) = words.next() {
        while let Some(word) = words.next_if(|word| is_joint(&text[compound.end..word.start])) {
            compound.end = word.end;
        }
        let whole = &text[compound];
        // Held back until it is known whether it is the only one.
        let mut last: Option<&str> = None;
        for_each_part(whole, &mut |part| {
            if let Some(before) = last.replace(part) {
                emit(folded(before, buffer), Role::Part);
            }
        });
        match last {
            None => {}
            // As long as the whole, so it is the only one.
            Some(part) if part.len() == whole.len() => emit(folded(part, buffer), Role::Word),
            Some(part) => {
                emit(folded(part, buffer), Role::Part);
                emit(folded(whole, buffer), Role::Whole);
            }
        }
    }
}

/// Where the word at `start` lies without what UAX #29 lets a mark hang on: ` \u{345}` is a word,
/// since U+0345 is both alphabetic and combining, but the space must not be in the token.
fn trimmed(start: usize, word: &str) -> Range<usize> {
    let core = word.trim_start_matches(|c: char| c != '_' && !c.is_alphanumeric());
    start + word.len() - core.len()..start + word.len()
}

/// Whether what stands between two words makes them one compound.
fn is_joint(between: &str) -> bool {
    matches!(between, "-" | "\u{2010}" | "::")
}

/// What a character means for the parts of a compound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upper,
    Lower,
    /// A letter without case.
    Letter,
    Digit,
    /// Goes with the part before it: apostrophes, points in numbers, combining marks.
    Mark,
    Separator,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            '_' | '-' | '\u{2010}' | ':' | '.' | ',' | ';' => Self::Separator,
            c if c.is_numeric() => Self::Digit,
            c if c.is_uppercase() => Self::Upper,
            c if c.is_lowercase() => Self::Lower,
            c if c.is_alphabetic() => Self::Letter,
            _ => Self::Mark,
        }
    }
}

fn for_each_part<'c>(compound: &'c str, emit: &mut impl FnMut(&'c str)) {
    // Where the open part starts, and the kind of its last character; a mark leaves `Digit` as it
    // is and turns all else into `Letter`, so that there is no camel case across it.
    let mut open: Option<(usize, Kind)> = None;
    for (at, c) in compound.char_indices() {
        let rest = &compound[at + c.len_utf8()..];
        let kind = match Kind::of(c) {
            Kind::Separator if c == '.' && is_point(open, rest) => Kind::Mark,
            kind => kind,
        };
        open = match (open, kind) {
            (None, Kind::Separator | Kind::Mark) => None,
            (None, kind) => Some((at, kind)),
            (Some((start, _)), Kind::Separator) => {
                emit(&compound[start..at]);
                None
            }
            (Some((start, Kind::Digit)), Kind::Mark) => Some((start, Kind::Digit)),
            (Some((start, _)), Kind::Mark) => Some((start, Kind::Letter)),
            (Some((start, before)), kind) if is_boundary(before, kind, rest) => {
                emit(&compound[start..at]);
                Some((at, kind))
            }
            (Some((start, _)), kind) => Some((start, kind)),
        };
    }
    if let Some((start, _)) = open {
        emit(&compound[start..]);
    }
}

/// Whether a `.` with `rest` after it belongs to the number that is open before it.
fn is_point(open: Option<(usize, Kind)>, rest: &str) -> bool {
    matches!(open, Some((_, Kind::Digit))) && rest.starts_with(char::is_numeric)
}

/// Whether a new part starts with a character of `kind`, which stands between `before` and `rest`.
fn is_boundary(before: Kind, kind: Kind, rest: &str) -> bool {
    match (before, kind) {
        (Kind::Digit, Kind::Digit) => false,
        (Kind::Digit, _) | (_, Kind::Digit) | (Kind::Lower, Kind::Upper) => true,
        (Kind::Upper, Kind::Upper) => {
            let mut small = rest.chars().take_while(|c| Kind::of(*c) == Kind::Lower);
            let (first, second) = (small.next(), small.next());
            first.is_some() && (first, second) != (Some('s'), None)
        }
        _ => false,
    }
}

/// `token` as it is hashed, in `buffer`. Character by character, so that a part and the whole it
/// stands in are folded alike, which lower-casing by `str` doesn't do (the sigma).
fn folded<'b>(token: &str, buffer: &'b mut String) -> &'b str {
    buffer.clear();
    for c in token.chars() {
        match c {
            '\u{ad}' => {}
            '’' => buffer.push('\''),
            '\u{2010}' => buffer.push('-'),
            'ς' => buffer.push('σ'),
            c => buffer.extend(c.to_lowercase()),
        }
    }
    buffer
}

/// The tokens of [`unicode_tokens`] for ASCII text, in one pass over its bytes. `buffer` holds the
/// text lower-cased, and every token is a slice of it.
fn ascii_tokens(text: &str, buffer: &mut String, emit: &mut impl FnMut(&str, Role)) {
    debug_assert!(text.is_ascii());
    buffer.clear();
    buffer.push_str(text);
    buffer.make_ascii_lowercase();

    let ascii = Ascii(text.as_bytes());
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at = ascii.underscores_end(start);
        if !ascii.is_alphanumeric(at) {
            at += 1;
            continue;
        }
        // Held back until it is known whether it is the only one.
        let mut last = start..start;
        loop {
            let end = match ascii.class(at) {
                Class::Upper | Class::Lower => ascii.letters_end(at),
                Class::Digit => ascii.number_end(at),
                _ => match ascii.separator_bytes(at) {
                    0 => break,
                    separator => {
                        at += separator;
                        continue;
                    }
                },
            };
            if !last.is_empty() {
                emit(&buffer[last], Role::Part);
            }
            last = at..end;
            at = end;
        }
        if last == (start..at) {
            emit(&buffer[last], Role::Word);
        } else {
            emit(&buffer[last], Role::Part);
            emit(&buffer[start..at], Role::Whole);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Never inside a compound.
    Gap,
    Upper,
    Lower,
    Digit,
    Underscore,
    Hyphen,
    Colon,
    Dot,
    Apostrophe,
    /// `,` and `;`
    Comma,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Gap; 256];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' => Class::Upper,
            b'a'..=b'z' => Class::Lower,
            b'0'..=b'9' => Class::Digit,
            b'_' => Class::Underscore,
            b'-' => Class::Hyphen,
            b':' => Class::Colon,
            b'.' => Class::Dot,
            b'\'' => Class::Apostrophe,
            b',' | b';' => Class::Comma,
            _ => Class::Gap,
        };
        byte += 1;
    }
    classes
};

/// ASCII text by classes of bytes; past its end there is a gap.
#[derive(Clone, Copy)]
struct Ascii<'a>(&'a [u8]);

impl Ascii<'_> {
    fn class(self, at: usize) -> Class {
        self.0.get(at).map_or(Class::Gap, |&byte| CLASSES[usize::from(byte)])
    }

    fn is(self, at: usize, class: Class) -> bool {
        self.class(at) == class
    }

    fn is_letter(self, at: usize) -> bool {
        matches!(self.class(at), Class::Upper | Class::Lower)
    }

    fn is_alphanumeric(self, at: usize) -> bool {
        matches!(self.class(at), Class::Upper | Class::Lower | Class::Digit)
    }

    /// Underscores alone are no word.
    fn is_word(self, at: usize) -> bool {
        self.is_alphanumeric(self.underscores_end(at))
    }

    fn run_end(self, mut at: usize, class: Class) -> usize {
        while self.is(at, class) {
            at += 1;
        }
        at
    }

    fn underscores_end(self, at: usize) -> usize {
        self.run_end(at, Class::Underscore)
    }

    /// The end of the part that starts with the letter at `start`.
    fn letters_end(self, start: usize) -> usize {
        let mut run = start;
        loop {
            let small = self.run_end(run, Class::Upper);
            let end = self.run_end(small, Class::Lower);
            let plural = end - small == 1 && self.0[small] == b's';
            if small - run > 1 && end > small && !plural {
                return small - 1;
            }
            if !(self.is(end, Class::Apostrophe) && self.is_letter(end + 1)) {
                return end;
            }
            run = end + 1;
        }
    }

    /// The end of the number that starts with the digit at `start`.
    fn number_end(self, start: usize) -> usize {
        let mut end = self.run_end(start, Class::Digit);
        while matches!(self.class(end), Class::Dot | Class::Apostrophe) && self.is(end + 1, Class::Digit) {
            end = self.run_end(end + 1, Class::Digit);
        }
        end
    }

    /// How many bytes at `at`, which is after the first part of a compound, separate two of its
    /// parts or trail its last word; 0 if the compound ends here.
    fn separator_bytes(self, at: usize) -> usize {
        let goes_on = match self.class(at) {
            Class::Underscore => true,
            Class::Hyphen => self.is_word(at + 1),
            Class::Colon if self.is(at + 1, Class::Colon) => return if self.is_word(at + 2) { 2 } else { 0 },
            Class::Colon | Class::Dot => self.is_letter(at - 1) && self.is_letter(at + 1),
            Class::Comma => self.is(at - 1, Class::Digit) && self.is(at + 1, Class::Digit),
            _ => false,
        };
        usize::from(goes_on)
    }
}

#[cfg(test)]
mod tests;
