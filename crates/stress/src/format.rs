//! Figures as people read them: three digits and a unit.

use std::time::Duration;

use crate::report::Unit;

/// `2.35 ms`, `850 ns`, `12.0 s`.
pub(crate) fn time(time: Duration) -> String {
    nanoseconds(time.as_nanos() as f64)
}

pub(crate) fn nanoseconds(ns: f64) -> String {
    let units = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];
    scaled(ns, &units)
}

/// `1.20 MB`, in powers of ten.
pub(crate) fn bytes(bytes: f64) -> String {
    scaled(bytes, &[(1.0, "B"), (1e3, "KB"), (1e6, "MB"), (1e9, "GB")])
}

/// `512/s`, `12.3k/s`.
pub(crate) fn per_second(rate: f64) -> String {
    let units = [(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s")];
    scaled(rate, &units).replace(' ', "")
}

/// `99.5%`; never `100%` or `0%` for what only comes near it.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let mut text = String::new();
    for decimals in 1..=6 {
        text = trimmed(&format!("{percent:.decimals$}"));
        let hides = (text == "100" && share != 1.0) || (text == "0" && share != 0.0);
        if !hides {
            break;
        }
    }
    format!("{text}%")
}

/// `1234567` → `1 234 567`, with spaces that don't break.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// A number of no dimension, without needless zeros.
pub(crate) fn number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number:.0}") } else { format!("{number:.4}") }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let fits = |(scale, _): &&(f64, &str)| value.abs() >= *scale;
    let (scale, unit) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    let value = value / scale;
    let is_whole_base = *scale == 1.0 && value.fract() == 0.0;
    let decimals = match value.abs() {
        _ if is_whole_base => 0,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

fn trimmed(number: &str) -> String {
    let digits = if number.contains('.') { number.trim_end_matches('0') } else { number };
    digits.trim_end_matches('.').to_owned()
}

/// A figure of a comparison.
pub(crate) fn in_unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Nanoseconds => nanoseconds(value),
        Unit::Bytes => bytes(value),
        Unit::PerSecond => per_second(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(Duration::from_nanos(850)), "850 ns");
        assert_eq!(time(Duration::from_micros(2_346)), "2.35 ms");
        assert_eq!(time(Duration::from_secs(300)), "300 s");
        assert_eq!(bytes(1_250_000.0), "1.25 MB");
        assert_eq!(bytes(-2_000.0), "-2.00 KB");
        assert_eq!(per_second(12_345.0), "12.3k/s");
        assert_eq!(per_second(99.97), "100/s");
        assert_eq!(nanoseconds(f64::NAN), "–");
    }

    #[test]
    fn a_share_near_the_end_does_not_look_like_the_end() {
        assert_eq!(share(1.0), "100%");
        assert_eq!(share(0.0), "0%");
        assert_eq!(share(0.99999), "99.999%");
        assert_eq!(share(0.0001), "0.01%");
        assert_eq!(share(0.995), "99.5%");
    }

    #[test]
    fn groups_of_three() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{a0}234\u{a0}567");
    }
}
