//! What an analyzer makes of tokens.

use proptest::prelude::*;

use super::*;
use crate::{Query, TextIndex, document_terms, query_keys};

fn terms(analyzer: Analyzer, text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    analyzer.for_each_term(text, &mut |_: &str, term: &str| terms.push(term.to_owned()));
    terms
}

fn stopping() -> Analyzer {
    Analyzer::new().with_stop_words(Language::English)
}

#[test]
fn stop_words_are_left_out_by_themselves_and_kept_in_compounds() {
    assert_eq!(terms(stopping(), "The whale IS in the bay, isn’t it?"), ["whale", "bay"]);
    assert_eq!(terms(stopping(), "to_string"), ["to", "string", "to_string"]);
    assert_eq!(
        terms(stopping(), "isA the-end __is__"),
        ["is", "a", "isa", "the", "end", "the-end", "is", "__is__"]
    );
    assert!(terms(stopping(), "to be or not to be").is_empty());
    let document = stopping().document_terms("the whale and the bay");
    assert_eq!((document.length(), document.terms().count()), (2, 2), "nor do they count in the length");
}

#[test]
fn lists_are_sorted_and_hold_words_as_tokens_are() {
    for language in Language::ALL {
        let list = stop_words::of(language);
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{language}: it is searched by halves");
        for word in list {
            assert_eq!(terms(Analyzer::new(), word), [*word], "{language}");
            assert!(is_word(word), "{language}: {word}");
            assert!(terms(Analyzer::new().with_stop_words(language), word).is_empty(), "{language}: {word}");
        }
    }
}

#[test]
fn numbers_of_languages_stay() {
    let numbers: Vec<u32> = Language::ALL.iter().map(|language| language.number()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    for language in Language::ALL {
        assert_eq!(Language::from_number(language.number()), Some(language));
    }
    assert_eq!((Language::from_number(0), Language::from_number(6)), (None, None));
}

#[cfg(not(feature = "stemming"))]
#[test]
fn without_the_feature_there_is_no_analyzer_that_stems() {
    let refused = Analyzer::new().with_stemmer(Language::German);
    assert_eq!(refused, Err(NoStemming { language: Language::German }));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "stemming of German needs a build with the feature `stemming`"
    );
}

proptest! {
    #[test]
    fn the_default_leaves_every_token_as_it_is(text in "(\\PC|[ aAs_'.3-]){0,40}") {
        let mut tokens = Vec::new();
        for_each_token(&text, &mut |token: &str| tokens.push(token.to_owned()));
        prop_assert_eq!(&terms(Analyzer::new(), &text), &tokens);
        prop_assert_eq!(Analyzer::new().query_keys(&text), query_keys(&text));
    }

    #[test]
    fn terms_are_numbered_as_query_keys(text in "(the|Whales?|_|-|in|3| |’|É){0,30}") {
        let keys = stopping().query_keys(&text);
        let mut seen: Vec<String> = Vec::new();
        for term in terms(stopping(), &text) {
            if !seen.contains(&term) {
                seen.push(term);
            }
        }
        let numbered: Vec<u64> = seen.iter().map(|term| hash(term) >> 8).collect();
        prop_assert_eq!(keys, numbered);
    }
}

#[cfg(feature = "stemming")]
mod stemming {
    use super::*;

    fn stemming(language: Language) -> Analyzer {
        Analyzer::new().with_stemmer(language).unwrap()
    }

    fn found(analyzer: Analyzer, text: &str, query: &str) -> bool {
        let mut index = TextIndex::default();
        index.insert(1, &analyzer.document_terms(text));
        !index.search(&Query::any(&analyzer.query_keys(query)), 1, None).hits.is_empty()
    }

    #[test]
    fn inflected_forms_find_each_other() {
        let pairs = [
            (Language::English, "Customers preferred invoices", "customer's preferring"),
            (Language::French, "les factures envoyées", "facture envoyé"),
            (Language::German, "die Rechnungen der Kunden", "Rechnung Kunde"),
            (Language::Italian, "le fatture mandate", "fattura mandato"),
            (Language::Spanish, "las facturas enviadas", "factura enviado"),
        ];
        for (language, text, query) in pairs {
            for word in query.split(' ') {
                assert!(found(stemming(language), text, word), "{language}: {word}");
                assert!(!found(Analyzer::new(), text, word), "{language}: {word} without");
            }
        }
    }

    #[test]
    fn two_spellings_are_stemmed_alike() {
        let german = stemming(Language::German);
        // Composed or not, small or large, wide or not.
        for spelling in ["Überprüfungen", "U\u{308}berpru\u{308}fungen", "ÜBERPRÜFUNG", "überprüfung"] {
            assert_eq!(terms(german, spelling), terms(german, "Überprüfung"), "{spelling}");
        }
        let english = stemming(Language::English);
        assert_eq!(terms(english, "customer’s"), terms(english, "Customer's"));
        assert_eq!(terms(english, "ｉｎｖｏｉｃｅｓ"), terms(english, "invoice"));
    }

    #[test]
    fn parts_of_identifiers_are_stemmed_and_wholes_are_not() {
        let english = stemming(Language::English);
        assert_eq!(terms(english, "getURLs"), ["get", "url", "geturls"]);
        assert_eq!(terms(english, "list_invoices_3"), ["list", "invoic", "3", "list_invoices_3"]);
        assert_eq!(terms(english, "e-mails"), ["e", "mail", "e-mails"]);
        assert_eq!(terms(english, "v1.2.3s"), ["v", "1.2.3", "s", "v1.2.3s"]);
        let mut index = TextIndex::default();
        index.insert(1, &english.document_terms("getURL"));
        index.insert(2, &english.document_terms("getURLs"));
        let hits = index.search(&Query::any(&english.query_keys("getURLs")), 2, None).hits;
        assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [2, 1], "the exact one is first");
    }

    #[test]
    fn stop_words_are_told_before_stemming() {
        let both = stemming(Language::English).with_stop_words(Language::English);
        assert_eq!(terms(both, "having been there, does it please us?"), ["pleas", "us"]);
        let mut told = Vec::new();
        both.for_each_term("The Invoices", &mut |token: &str, term: &str| {
            told.push((token.to_owned(), term.to_owned()));
        });
        assert_eq!(told, [("invoices".to_owned(), "invoic".to_owned())]);
    }

    #[test]
    fn a_very_long_word_stays_as_it_is() {
        let english = stemming(Language::English);
        let long = "ay".repeat(1 << 19);
        assert_eq!(terms(english, &long), [long.as_str()]);
        let longest = format!("{}ings", "x".repeat(STEMMED_BYTES_MAX - 4));
        assert_ne!(terms(english, &longest), [longest.as_str()]);
    }

    proptest! {
        #[test]
        fn any_text_is_stemmed_without_a_panic_and_to_no_empty_term(
            text in "(\\PC|[a-zßäöüéèàñçœæ'’ſK])(\\PC|[a-zßäöüéèàñçœæ'’ſ]){0,40}(s|ing|en|ción|ement|mente|'s)?",
        ) {
            for language in Language::ALL {
                let terms = terms(stemming(language), &text);
                prop_assert!(terms.iter().all(|term| !term.is_empty()));
                let mut tokens = 0;
                for_each_token(&text, &mut |_: &str| tokens += 1);
                prop_assert_eq!(terms.len(), tokens);
            }
        }
    }
}

#[test]
fn the_free_functions_are_the_default() {
    let text = "The getURLs of invoices";
    assert_eq!(document_terms(text), Analyzer::default().document_terms(text));
    assert_ne!(document_terms(text), stopping().document_terms(text));
    let mut index = TextIndex::default();
    index.insert(1, &document_terms(text));
    assert_eq!(index.search(&Query::any(&query_keys("the")), 1, None).hits.len(), 1);
}
