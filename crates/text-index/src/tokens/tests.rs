//! The tokenizer: each rule by example, and the two scanners against each other.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use steadfast_testkit::cases;

use super::*;

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for_each_token(text, &mut |token| tokens.push(token.to_owned()));
    tokens
}

/// The definition over the whole text: what the scanner over bytes and the cut at white space must
/// not change.
fn defined_tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    unicode_tokens(text, &mut String::new(), &mut |token, _| tokens.push(token.to_owned()));
    tokens
}

/// Holds both scanners to the tokens expected, which are given as one text with spaces between.
#[track_caller]
fn assert_tokens(text: &str, expected: &str) {
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(tokens(text), expected, "{text:?}");
    assert_eq!(defined_tokens(text), expected, "{text:?} by definition");
}

fn keys(text: &str) -> HashSet<u64> {
    document_terms(text).words().iter().map(|&term| term_key(term)).collect()
}

fn key(token: &str) -> u64 {
    xxh3_64(token.as_bytes()) >> 8
}

#[test]
fn words_are_lower_cased_and_punctuation_goes() {
    assert_tokens("The quick (brown) fox, it jumps!", "the quick brown fox it jumps");
    assert_tokens("", "");
    assert_tokens(" \t\n -- ___ - :: ... !?", "");
    assert_tokens("ÄRGER ÜBER Ökologie", "ärger über ökologie");
}

#[test]
fn identifiers_are_split_and_kept_whole() {
    assert_tokens("searchable_concept_3", "searchable concept 3 searchable_concept_3");
    assert_tokens("foo::bar-baz", "foo bar baz foo::bar-baz");
    assert_tokens("e-mail", "e mail e-mail");
    assert_tokens("2024-01-15", "2024 01 15 2024-01-15");
    assert_tokens("größe_in_Metern", "größe in metern größe_in_metern");
}

#[test]
fn camel_case_is_split() {
    assert_tokens("searchableConcept", "searchable concept searchableconcept");
    assert_tokens("HTTPServer", "http server httpserver");
    assert_tokens("parseJSON2Xml", "parse json 2 xml parsejson2xml");
    assert_tokens("Word WORD w W", "word word w w");
    assert_tokens("grüneÄpfel ÄÖÜber", "grüne äpfel grüneäpfel äö über äöüber");
}

#[test]
fn plural_of_an_acronym_is_one_part() {
    assert_tokens("LLMs getURLsFor", "llms get urls for geturlsfor");
    assert_tokens("HTTPserver", "htt pserver httpserver"); // not a plural
}

#[test]
fn digits_part_from_letters_and_keep_together() {
    assert_tokens("utf8 3D x86_64", "utf 8 utf8 3 d 3d x 86 64 x86_64");
    assert_tokens("concept_13", "concept 13 concept_13");
    assert_tokens("제3장", "제 3 장 제3장");
}

#[test]
fn numbers_keep_points_and_apostrophes_but_lists_are_split() {
    assert_tokens("3.14 1'000 10.0.0.1.", "3.14 1'000 10.0.0.1");
    assert_tokens("v1.2.3-beta", "v 1.2.3 beta v1.2.3-beta");
    assert_tokens("1,000 [1;2]", "1 000 1,000 1 2 1;2");
    assert_tokens("12:30", "12 30");
    assert_tokens("٣.١٤", "٣.١٤");
}

#[test]
fn dots_and_colons_between_letters_split() {
    assert_tokens("a.b.c", "a b c a.b.c");
    assert_tokens("See example.com.", "see example com example.com");
    assert_tokens("ↀ.a", "ↀ a ↀ.a"); // numeric, yet a letter to UAX #29: this dot is no point
    assert_tokens("key:value", "key value key:value");
    assert_tokens("main.rs:42 config_v2.json", "main rs main.rs 42 config v 2 config_v2 json");
}

#[test]
fn apostrophes_are_letters_without_case() {
    assert_tokens("can't O'Brien d'Artagnan", "can't o'brien d'artagnan");
    assert_tokens("O'BRien", "o'b rien o'brien");
    assert_tokens("'quoted' dogs'", "quoted dogs");
}

#[test]
fn only_one_hyphen_or_two_colons_join() {
    assert_tokens("a--b a:::b a::-b a - b a :: b", "a b a b a b a b a b");
    assert_tokens("--dry-run ::std::vec", "dry run dry-run std vec std::vec");
    assert_tokens("trailing- trailing::", "trailing trailing");
}

#[test]
fn underscores_at_the_edges_belong_to_the_whole() {
    assert_tokens("__init__ _x y_", "init __init__ x _x y y_");
    assert_tokens("foo-__bar_-baz", "foo bar baz foo-__bar_-baz");
    assert_tokens("foo-__-bar", "foo bar");
}

#[test]
fn scripts_without_spaces_are_cut_by_character() {
    assert_tokens("東京タワー", "東 京 タワー");
    assert_tokens("こんにちは", "こ ん に ち は");
}

#[test]
fn emoji_are_no_words() {
    assert_tokens("👍🏽 👩‍👩‍👧 🇩🇪", "");
    assert_tokens("ship🚀it", "ship it");
}

#[test]
fn other_spellings_of_the_same_word_fold() {
    assert_tokens("ﬁle ＦＵＬＬ Ⅷ", "file full viii");
    assert_tokens("cafe\u{301}", "café");
    assert_tokens("can’t", "can't");
    assert_tokens("e\u{2010}mail e\u{2011}mail", "e mail e-mail e mail e-mail");
    assert_tokens("ΟΔΟΣ οδος", "οδοσ οδοσ");
    assert_tokens("co\u{ad}operate", "cooperate");
}

#[test]
fn a_very_long_token_is_a_token() {
    let long = "x".repeat(100_000);
    assert_eq!(tokens(&long), [long.as_str()]);
    assert_eq!(query_keys(&long), [key(&long)]);
}

/// A quadratic look-ahead would take minutes here.
#[test]
fn long_runs_of_separators_take_linear_time() {
    for run in ["_", "-", ":", "-_", "::_", ".", "a-", "a_", "A", "'", "aA", "1."] {
        let ascii = run.repeat((1 << 18) / run.len());
        for_each_token(&ascii, &mut |_| {});
        for_each_token(&format!("é{ascii}"), &mut |_| {});
    }
}

#[test]
fn a_query_shares_the_words_and_the_number_of_an_identifier() {
    let query: HashSet<u64> = query_keys("searchable_3").into_iter().collect();
    let (with_3, with_13) = (keys("searchable_concept_3"), keys("searchable_concept_13"));
    assert_eq!(query.intersection(&with_3).copied().collect::<HashSet<_>>(), keys("searchable 3"));
    assert_eq!(query.intersection(&with_13).copied().collect::<HashSet<_>>(), keys("searchable"));
}

#[test]
fn terms_hold_the_key_above_and_the_count_below() {
    let document = document_terms("to be or not to be");
    let mut expected = [key("to") << 8 | 2, key("be") << 8 | 2, key("or") << 8 | 1, key("not") << 8 | 1];
    expected.sort_unstable();
    assert_eq!(document, Document::from_words(expected.into(), 6));
    assert_eq!(document_terms(""), Document::default());
}

#[test]
fn counts_saturate_and_the_length_does_not() {
    for (times, count) in [(254, 254), (255, 255), (256, 255), (1000, 255)] {
        let document = document_terms(&"word ".repeat(times));
        assert_eq!(*document.words(), [key("word") << 8 | count]);
        assert_eq!(document.length() as usize, times);
    }
}

#[test]
fn query_keys_come_once_and_in_order() {
    assert_eq!(query_keys("b a c_b a"), [key("b"), key("a"), key("c"), key("c_b")]);
}

/// ASCII with what the rules are about far more often than chance would have it.
fn ascii_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[abstABST]{1,3}",
        3 => "[0-9]{1,2}",
        4 => "[_\\-:.,;']",
        1 => Just("::".to_owned()),
        2 => " ",
        1 => "[\\x00-\\x7f]",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Such ASCII mixed with the characters that Unicode's rules are about, and any others.
fn mixed_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => ascii_text().prop_map(|text| text.chars().take(6).collect()),
        4 => "[äÖßςΣİ’‐·½²…東カا״א\u{301}\u{345}\u{ad}\u{200d}\u{fe0f}\u{a0}\u{2028}\u{85}]",
        2 => "[٣ↀ🇩👍ﬁᾈ한\u{1100}\u{1161}]",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![ascii_text(), mixed_text(), any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1000)))]

    #[test]
    fn ascii_scanner_agrees_with_the_definition(text in ascii_text()) {
        prop_assert_eq!(tokens(&text), defined_tokens(&text));
    }

    #[test]
    fn cutting_at_white_space_changes_nothing(text in mixed_text()) {
        prop_assert_eq!(tokens(&text), defined_tokens(&text));
    }

    #[test]
    fn terms_are_the_counted_tokens(text in any_text()) {
        let mut counts = BTreeMap::new();
        for token in tokens(&text) {
            prop_assert!(!token.is_empty());
            *counts.entry(key(&token)).or_insert(0u32) += 1;
        }
        let document = document_terms(&text);
        prop_assert_eq!(document.length(), counts.values().sum::<u32>());
        let term = |(key, count): (u64, u32)| key << 8 | u64::from(count.min(255));
        let expected: Vec<u64> = counts.into_iter().map(term).collect();
        prop_assert_eq!(document.words().to_vec(), expected);
    }

    #[test]
    fn order_of_the_words_does_not_matter(
        (words, shuffled) in proptest::collection::vec(any_text(), 0..5)
            .prop_flat_map(|words| (Just(words.clone()), Just(words).prop_shuffle()))
    ) {
        prop_assert_eq!(document_terms(&words.join(" ")), document_terms(&shuffled.join(" ")));
    }

    #[test]
    fn query_keys_are_the_keys_of_the_same_document(text in any_text(), times in 1..4usize) {
        let text = vec![text; times].join(" ");
        let mut expected = Vec::new();
        for token in tokens(&text) {
            if !expected.contains(&key(&token)) {
                expected.push(key(&token));
            }
        }
        let query = query_keys(&text);
        prop_assert_eq!(&query, &expected);
        prop_assert_eq!(query.into_iter().collect::<HashSet<_>>(), keys(&text));
    }

    #[test]
    fn normalised_text_has_the_same_tokens(text in any_text()) {
        prop_assert_eq!(tokens(&text), tokens(&text.nfkc().collect::<String>()));
    }
}
