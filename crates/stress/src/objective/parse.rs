//! The parser of objectives: one pass, one token at a time, and errors that say where and what was expected.

use std::error::Error;
use std::fmt;

use super::{Bound, Comparison, Dimension, Metric, Objective, Quantity, Scope, Unit};
use crate::trend::Figure;

/// The metrics that are one word.
pub(super) const METRICS: [(&str, Metric); 10] = [
    ("min", Metric::Min),
    ("mean", Metric::Mean),
    ("max", Metric::Max),
    ("stddev", Metric::StandardDeviation),
    ("elapsed", Metric::Elapsed),
    ("rate", Metric::Rate),
    ("success", Metric::Success),
    ("errors", Metric::Errors),
    ("timeouts", Metric::Timeouts),
    ("rss_growth", Metric::RssGrowth),
];

/// Why a text is no objective: where, and what should have been there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectiveError {
    text: String,
    column: usize,
    expected: String,
    found: String,
}

impl ObjectiveError {
    /// The place, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What should have been there.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for ObjectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, column, expected, found } = self;
        write!(f, "`{text}`, column {column}: expected {expected}, found {found}")
    }
}

impl Error for ObjectiveError {}

pub(super) fn objective(text: &str) -> Result<Objective, ObjectiveError> {
    let mut input = Input { text, at: 0 };
    let metric = metric(&mut input)?;
    let scope = if metric.can_be_scoped() { scope(&mut input)? } else { Scope::Whole };
    let comparison = comparison(&mut input, &metric)?;
    let bound = bound(&mut input, &metric)?;
    input.skip_blanks();
    if !input.rest().is_empty() {
        return Err(input.expected("the end"));
    }
    Ok(Objective { metric, scope, comparison, bound })
}

fn metric(input: &mut Input<'_>) -> Result<Metric, ObjectiveError> {
    const KNOWN: &str = "a metric (pN, min, mean, max, stddev, elapsed, rate, success, errors, errors of <kind>, timeouts, \
                         rss_growth, leak <figure>, exactly <name>, value <name>)";
    input.skip_blanks();
    let start = input.at;
    let word = input.take_while(|character| is_name(character) || character == '.');
    if let Some((_, metric)) = METRICS.iter().find(|(name, _)| *name == word) {
        return if *metric == Metric::Errors && input.take_word("of") {
            kind(input)
        } else {
            Ok(metric.clone())
        };
    }
    match word {
        "leak" => figure(input),
        "exactly" => Ok(Metric::Exactly(name(input)?)),
        "value" => Ok(Metric::Value(name(input)?)),
        _ => match word.strip_prefix('p').and_then(decimal) {
            Some(percent) if percent > 0.0 && percent < 100.0 => Ok(Metric::Percentile(percent)),
            Some(_) => Err(input.expected_at(start, "a percentile above p0 and below p100")),
            None => Err(input.expected_at(start, KNOWN)),
        },
    }
}

fn kind(input: &mut Input<'_>) -> Result<Metric, ObjectiveError> {
    input.skip_blanks();
    let kind = input.take_while(|character| is_name(character) || "-.:".contains(character));
    if kind.is_empty() {
        return Err(input.expected("a kind of errors (letters, digits, `_`, `-`, `.` and `:`)"));
    }
    Ok(Metric::ErrorsOf(kind.to_owned()))
}

fn figure(input: &mut Input<'_>) -> Result<Metric, ObjectiveError> {
    input.skip_blanks();
    let start = input.at;
    let name = input.take_while(is_name);
    let figure = Figure::ALL.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure);
    figure
        .map(Metric::Leak)
        .ok_or_else(|| input.expected_at(start, "live_bytes, rss_bytes, open_files or threads"))
}

fn name(input: &mut Input<'_>) -> Result<String, ObjectiveError> {
    input.skip_blanks();
    let name = input.take_while(is_name);
    if name.is_empty() {
        return Err(input.expected("the name of a value (letters, digits and `_`)"));
    }
    Ok(name.to_owned())
}

fn scope(input: &mut Input<'_>) -> Result<Scope, ObjectiveError> {
    if input.take_word("over") {
        input.skip_blanks();
        let start = input.at;
        let time = quantity(input, Dimension::Time)?;
        let is_long = time.in_base_units() >= 1e9;
        return if is_long { Ok(Scope::Over(time)) } else { Err(input.expected_at(start, "a time from 1s")) };
    }
    if !input.take_word("in") {
        return Ok(Scope::Whole);
    }
    if input.take_word("each") {
        return if input.take_word("phase") { Ok(Scope::EachPhase) } else { Err(input.expected("`phase`")) };
    }
    if !input.take_word("phase") {
        return Err(input.expected("`phase <name>` or `each phase`"));
    }
    Ok(Scope::Phase(phase_name(input)?))
}

fn phase_name(input: &mut Input<'_>) -> Result<String, ObjectiveError> {
    input.skip_blanks();
    let name = input.take_while(is_name);
    if name.is_empty() {
        return Err(input.expected("the name of a phase (letters, digits and `_`)"));
    }
    Ok(name.to_owned())
}

fn bound(input: &mut Input<'_>, metric: &Metric) -> Result<Bound, ObjectiveError> {
    let start = input.at;
    if metric.can_be_scoped() {
        input.skip_blanks();
        let digits = input.take_while(|character| character.is_ascii_digit() || character == '.');
        if let Some(factor) = decimal(digits)
            && input.take_word("x")
        {
            return if input.take_word("in") && input.take_word("phase") {
                Ok(Bound::TimesPhase(factor, phase_name(input)?))
            } else {
                Err(input.expected("`in phase <name>`"))
            };
        }
        input.at = start;
    }
    quantity(input, metric.dimension()).map(Bound::Absolute)
}

fn comparison(input: &mut Input<'_>, metric: &Metric) -> Result<Comparison, ObjectiveError> {
    input.skip_blanks();
    let allows_equal =
        !matches!(metric.dimension(), Some(Dimension::Time | Dimension::Size | Dimension::Rate));
    let (allowed, expected): (fn(Comparison, bool) -> bool, _) = match metric {
        Metric::Exactly(_) => (|comparison, _| comparison == Comparison::Equal, "`==`"),
        Metric::Leak(_) => (|comparison, _| comparison.is_upper_bound(), "`<` or `<=`"),
        _ if allows_equal => (|_, _| true, "`<`, `<=`, `>`, `>=` or `==`"),
        _ => (|comparison, _| comparison != Comparison::Equal, "`<`, `<=`, `>` or `>=`"),
    };
    for (sign, comparison) in Comparison::ALL {
        if input.rest().starts_with(sign) && allowed(comparison, allows_equal) {
            input.at += sign.len();
            return Ok(comparison);
        }
    }
    Err(input.expected(expected))
}

fn quantity(
    input: &mut Input<'_>,
    dimension: impl Into<Option<Dimension>>,
) -> Result<Quantity, ObjectiveError> {
    input.skip_blanks();
    let start = input.at;
    let digits = input.take_while(|character| character.is_ascii_digit() || character == '.');
    let Some(number) = decimal(digits) else {
        return Err(input.expected_at(start, "a number such as 5 or 0.5"));
    };
    input.skip_blanks();
    let start = input.at;
    let word = input.take_while(|character| !character.is_whitespace() && !"<>=".contains(character));
    let unit = Unit::ALL.into_iter().find(|(name, ..)| *name == word).map(|(_, unit, ..)| unit);
    match (unit, dimension.into()) {
        (Some(unit), Some(dimension)) if unit.dimension() == dimension => Ok(Quantity { number, unit }),
        (Some(unit), None) => Ok(Quantity { number, unit }),
        (_, Some(dimension)) => Err(input.expected_at(start, dimension.expected())),
        (None, None) => {
            Err(input.expected_at(start, "a unit (ns, us, ms, s, min, B, KB, MB, GB, %, /s) or none"))
        }
    }
}

/// `5`, `0.5`: digits, with digits on both sides of a point. No sign, no exponent.
fn decimal(text: &str) -> Option<f64> {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let number: f64 = text.parse().ok()?;
    (is_digits(whole) && is_digits(fraction) && number.is_finite()).then_some(number)
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

struct Input<'a> {
    text: &'a str,
    /// In bytes, always between two characters.
    at: usize,
}

impl<'a> Input<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Takes `word` if it stands here as a word of its own.
    fn take_word(&mut self, word: &str) -> bool {
        let before = self.at;
        self.skip_blanks();
        if self.take_while(is_name) == word {
            return true;
        }
        self.at = before;
        false
    }

    fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !matches(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn expected(&self, expected: &str) -> ObjectiveError {
        self.expected_at(self.at, expected)
    }

    fn expected_at(&self, at: usize, expected: &str) -> ObjectiveError {
        let rest = &self.text[at..];
        let word: String = rest.chars().take_while(|character| !character.is_whitespace()).take(20).collect();
        let found = if word.is_empty() { "the end".to_owned() } else { format!("`{word}`") };
        let column = self.text[..at].chars().count() + 1;
        ObjectiveError { text: self.text.to_owned(), column, expected: expected.to_owned(), found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        objective(text).unwrap_err().to_string()
    }

    #[test]
    fn the_examples_of_the_manual() {
        for text in [
            "p95 < 100ms",
            "p99.9 <= 1s",
            "mean < 50ms",
            "max < 500ms",
            "min < 10ms",
            "stddev < 50ms",
            "rate > 500/s",
            "errors <= 5%",
            "timeouts < 10%",
            "success >= 99%",
            "elapsed < 60s",
            "rss_growth < 20MB",
            "exactly conflicts == 4",
            "value recall >= 0.95",
            "value create_time < 5s",
            "leak live_bytes <= 1B/op",
            "leak rss_bytes < 0.5KiB/op",
            "leak open_files <= 0.001/op",
            "leak threads <= 0/op",
            "p95 over 10s < 100ms",
            "rate over 10s >= 80/s",
            "errors in each phase <= 10%",
            "errors in phase spike <= 10%",
            "p50 in phase after <= 1.5x in phase before",
            "rate >= 0.5x in phase 1",
        ] {
            assert_eq!(objective(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn blanks_are_free_and_micro_is_spelt_either_way() {
        assert_eq!(objective("  p50<10µs ").unwrap(), objective("p50 < 10 us").unwrap());
        assert_eq!(
            objective("rss_growth<1KiB").unwrap().bound,
            Bound::Absolute(Quantity { number: 1.0, unit: Unit::Kib })
        );
        assert_eq!(
            objective("p50 over 2min<2x in phase a").unwrap().to_string(),
            "p50 over 2min < 2x in phase a"
        );
        assert_eq!(objective("errors == 0%").unwrap().comparison, Comparison::Equal);
    }

    #[test]
    fn errors_say_where_and_what() {
        assert_eq!(
            error("p95 < 100"),
            "`p95 < 100`, column 10: expected a unit of time (ns, us, ms, s, min), found the end"
        );
        assert_eq!(
            error("p95 << 1s"),
            "`p95 << 1s`, column 6: expected a number such as 5 or 0.5, found `<`"
        );
        assert_eq!(error("errors < 5ms"), "`errors < 5ms`, column 11: expected `%`, found `ms`");
        assert!(error("p100 < 1s").contains("column 1: expected a percentile above p0 and below p100"));
        assert!(error("latency < 1s").contains("column 1: expected a metric (pN,"));
        assert!(error("p95 == 1s").contains("column 5: expected `<`, `<=`, `>` or `>=`, found `==`"));
        assert!(error("exactly a < 1").contains("column 11: expected `==`, found `<`"));
        assert!(error("exactly == 1").contains("column 9: expected the name of a value"));
        assert!(error("exactly a == 1ms").contains("expected no unit, found `ms`"));
        assert!(error("max < 1s or so").contains("column 10: expected the end, found `or`"));
        assert!(error("max < -1s").contains("expected a number"));
        assert!(error("max < 1.s").contains("expected a number"));
        assert!(
            error("p95 over 10 < 1s").contains("column 13: expected a unit of time"),
            "{}",
            error("p95 over 10 < 1s")
        );
        assert!(error("p95 over 0.5s < 1s").contains("column 10: expected a time from 1s, found `0.5s`"));
        assert!(error("p95 in spike < 1s").contains("column 7: expected `phase <name>` or `each phase`"));
        assert!(error("p95 in phase < 1s").contains("column 14: expected the name of a phase"));
        assert!(error("p95 in each < 1s").contains("column 12: expected `phase`"));
        assert!(error("p95 < 2x phase a").contains("column 9: expected `in phase <name>`"));
        assert!(error("errors of <= 5%").contains("column 11: expected a kind of errors"));
        assert!(error("errors of refused over 10s <= 5%").contains("column 19: expected `<`"));
        assert!(error("leak memory <= 1B/op").contains("column 6: expected live_bytes, rss_bytes,"));
        assert!(error("leak threads >= 1/op").contains("column 14: expected `<` or `<=`"));
        assert!(error("leak threads <= 1B/op").contains("column 18: expected `/op`"));
        assert!(error("leak live_bytes <= 1B").contains("expected a unit of size for each operation"));
        assert!(error("elapsed over 10s < 1s").contains("column 9: expected `<`"));
        assert!(error("value a in phase b < 1s").contains("column 9: expected `<`"));
        assert!(error("µs").contains("column 1: expected a metric"));
        assert!(error("").contains("column 1: expected a metric"));
    }

    fn any_objective() -> impl Strategy<Value = Objective> {
        let name = "[a-z][a-z0-9_]{0,12}";
        let metrics = prop_oneof![
            prop::sample::select(METRICS.to_vec()).prop_map(|(_, metric)| metric),
            (1_u32..1_000_000).prop_map(|p| Metric::Percentile(f64::from(p) / 10_001.0)),
            prop::sample::select(Figure::ALL.to_vec()).prop_map(|(_, figure)| Metric::Leak(figure)),
            "[a-z][a-z0-9_.:-]{0,12}".prop_map(Metric::ErrorsOf),
            name.prop_map(Metric::Exactly),
            name.prop_map(Metric::Value),
        ];
        let numbers = prop_oneof![(0_u64..1_000_000).prop_map(|n| n as f64), 0.0..1e12_f64];
        let scopes = prop_oneof![
            Just(Scope::Whole),
            Just(Scope::EachPhase),
            "[a-z0-9_]{1,9}".prop_map(Scope::Phase),
            (1_u32..1_000).prop_map(|n| Scope::Over(Quantity { number: f64::from(n), unit: Unit::Min })),
        ];
        let other_phase = prop::option::of("[a-z0-9_]{1,9}");
        (metrics, 0..5_usize, numbers, any::<prop::sample::Index>(), scopes, other_phase).prop_map(
            |(metric, sign, number, unit, scope, other_phase)| {
                let units: Vec<Unit> = Unit::ALL
                    .into_iter()
                    .filter(|row| metric.dimension().is_none_or(|dimension| row.2 == dimension))
                    .map(|row| row.1)
                    .collect();
                let comparison = match metric {
                    Metric::Exactly(_) => Comparison::Equal,
                    Metric::Leak(_) => Comparison::LessOrEqual,
                    Metric::Value(_) => Comparison::ALL[sign].1,
                    _ => [Comparison::Less, Comparison::GreaterOrEqual][sign % 2],
                };
                let scoped = metric.can_be_scoped();
                let bound = match other_phase.filter(|_| scoped) {
                    Some(phase) => Bound::TimesPhase(number, phase),
                    None => Bound::Absolute(Quantity { number, unit: units[unit.index(units.len())] }),
                };
                Objective { metric, scope: if scoped { scope } else { Scope::Whole }, comparison, bound }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read_back(objective in any_objective()) {
            let text = objective.to_string();
            prop_assert_eq!(text.parse::<Objective>().map_err(|error| error.to_string()), Ok(objective));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            if let Err(error) = text.parse::<Objective>() {
                prop_assert!(error.column() <= text.chars().count() + 1);
            }
        }

        #[test]
        fn no_nearly_right_text_makes_it_panic(text in "(p99|max|exactly|value|rate)? ?[a-z_µ]{0,3} ?(in each phase|in phase a|over 9s)? ?(<|<=|==|>)? ?[0-9.]{0,4} ?(ms|µ|%|/|/s)?") {
            if let Ok(objective) = text.parse::<Objective>() {
                prop_assert_eq!(objective.to_string().parse::<Objective>(), Ok(objective));
            }
        }
    }
}
