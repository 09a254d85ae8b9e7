//! The lexical embedder: the same bits everywhere, likeness by shared words.

use proptest::prelude::*;

use super::*;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn alike(a: &str, b: &str) -> f64 {
    let lexical = Lexical::default();
    cosine(&lexical.embed(a), &lexical.embed(b))
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    /// As [`Embedder`] promises, in any number of dimensions.
    #[test]
    fn every_text_has_one_vector_of_length_1(text in "\\PC{0,60}", dimensions in 1..600usize) {
        let lexical = Lexical::new(dimensions).unwrap();
        let vector = lexical.embed(&text);
        prop_assert_eq!(vector.len(), dimensions);
        prop_assert!(vector.iter().all(|value| value.is_finite()));
        let length: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        prop_assert!((length - 1.0).abs() < 1e-6, "{}", length);
        prop_assert_eq!(bits(&vector), bits(&lexical.embed(&text)));
    }

    /// Sums in another order would differ in their last bits.
    #[test]
    fn the_order_of_words_changes_no_bit(mut words in prop::collection::vec("[a-z]{1,8}", 1..40)) {
        let lexical = Lexical::new(16).unwrap();
        let forwards = lexical.embed(&words.join(" "));
        words.reverse();
        prop_assert_eq!(bits(&forwards), bits(&lexical.embed(&words.join(" "))));
    }
}

#[test]
fn texts_that_share_words_are_nearer_than_others() {
    let text = "Customers prefer invoices by e-mail";
    let same = alike(text, "by E-MAIL customers prefer invoices");
    let near = alike(text, "The customer prefers an invoice by mail");
    let far = alike(text, "The blue whale sings at 188 decibels");
    assert!(same > 0.999, "{same}");
    assert!(near > 0.3 && near < same, "{near}");
    assert!(far < 0.15, "{far}");
    let (inflected, other) = (alike("invoice", "invoices"), alike("invoice", "whales"));
    assert!(inflected > other + 0.1, "{inflected} {other}");
    assert!(alike("東京の天気", "東京は晴れ") > alike("東京の天気", "北海道へ") + 0.2);
}

#[test]
fn it_knows_how_words_are_written_not_what_they_mean() {
    assert!(alike("car", "automobile") < 0.15);
    assert!(alike("lead the way", "lead pipe") > 0.2);
}

#[test]
fn a_text_without_words_has_a_direction_of_its_own() {
    let lexical = Lexical::default();
    let empty = lexical.embed("");
    assert_eq!(empty, lexical.embed(" -- 👍\n"));
    assert_eq!(empty.iter().filter(|value| **value != 0.0).count(), 1);
    assert!(alike("", "Customers prefer invoices by e-mail").abs() < 0.3);
}

#[test]
fn dimensions_out_of_bounds_are_refused() {
    for found in [0, 4097, 1_000_000] {
        let problem = Problem::OutOfRange { found: found as f64, min: 1.0, max: 4096.0 };
        assert_eq!(Lexical::new(found), Err(MemoryError::invalid("dimensions", problem)));
    }
    assert_eq!(Lexical::new(1).unwrap().embed("a").len(), 1);
    assert_eq!(Lexical::new(4096).unwrap().dimensions(), 4096);
}

/// What is stored is compared with what is embedded later, maybe by another version on another machine.
#[test]
fn bits_are_pinned() {
    let vector = Lexical::new(8).unwrap().embed("Customers prefer invoices, invoices by e-mail");
    assert_eq!(bits(&vector), PINNED);
}

const PINNED: [u32; 8] = [
    1_045_521_791,
    1_050_838_399,
    1_047_416_543,
    3_205_878_215,
    3_187_621_503,
    1_045_521_791,
    3_190_325_855,
    3_206_351_903,
];
