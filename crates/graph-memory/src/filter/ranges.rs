//! Numbers as tags, so that a range of them narrows a search.
//!
//! Each number lies in one **bucket** of each of eight widths: from one power of two to the next, a sixteenth of that, and so on down to 2⁻³² of it.
//! Each of these buckets is a tag. A range is **covered** by the buckets of the least width of which few enough reach from its one end to its
//! other: so whatever lies in the range has one of the cover's tags, and what has one lies in the range or near it.
//!
//! (Numeric fields of search engines were indexed so, by prefixes: Schindler and Diepenbroek, "Generic XML-based framework for metadata
//! portals", 2008. There a range is an exact union of buckets of several widths; here one width does, since all hits are checked.)

use std::ops::Bound;

use steadfast_memory_api::{Number, Span};

/// How many low bits of a coordinate each width leaves out, from the least width up.
const WIDTHS: [u32; 8] = [20, 28, 32, 36, 40, 44, 48, 52];
/// A cover has fewer buckets than this; but for one of the greatest width, which has 193 at most.
const COVER_MAX: u64 = 128;
/// Where 0 is: in the middle.
const ZERO: u64 = 1 << 59;
/// What is nearer to 0 than 2⁻³² is as good as 0.
const LEAST_EXPONENT: u64 = 1023 - 32;
/// What is farther from it than 2⁶⁴ is as good as 2⁶⁴.
const FARTHEST: u64 = (64 + 32) << MANTISSA_BITS;
const MANTISSA_BITS: u32 = 52;

/// A bucket: which of the widths, and which one of that width.
pub(super) type Bucket = (u8, u64);

/// A number's place on a line of powers of two. A greater number has no lesser place; some have the same one.
fn coordinate(number: Number) -> u64 {
    let value = match number {
        // Rounded to the nearest, which keeps the order.
        Number::Int(value) => value as f64,
        Number::Float(value) => value,
    };
    let distance = value.abs().to_bits().saturating_sub(LEAST_EXPONENT << MANTISSA_BITS).min(FARTHEST);
    if value < 0.0 { ZERO - distance } else { ZERO + distance }
}

/// The buckets that a number is in, one of each width.
pub(super) fn buckets(number: Number) -> impl Iterator<Item = Bucket> {
    let at = coordinate(number);
    (0..).zip(WIDTHS).map(move |(width, shift)| (width, at >> shift))
}

/// Buckets of which every number in the range is in one; none if no number is.
pub(super) fn cover((start, end): &Span<Number>) -> Vec<Bucket> {
    let least = match start {
        Bound::Included(number) | Bound::Excluded(number) => coordinate(*number),
        Bound::Unbounded => ZERO - FARTHEST,
    };
    let greatest = match end {
        Bound::Included(number) | Bound::Excluded(number) => coordinate(*number),
        Bound::Unbounded => ZERO + FARTHEST,
    };
    let mut widths = (0..).zip(WIDTHS);
    let fits = |&(_, shift): &(u8, u32)| (greatest >> shift).saturating_sub(least >> shift) < COVER_MAX;
    let (width, shift) = widths.find(fits).unwrap_or((WIDTHS.len() as u8 - 1, WIDTHS[WIDTHS.len() - 1]));
    (least >> shift..=greatest >> shift).map(|bucket| (width, bucket)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = Number> {
        let near = |value: i64| (-3..=3_i64).prop_map(move |step| Number::Int(value.saturating_add(step)));
        let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0, 5e-324];
        prop_oneof![
            any::<i64>().prop_map(Number::Int),
            (-1000_i64..1000).prop_map(Number::Int),
            any::<f64>().prop_filter("a number", |value| !value.is_nan()).prop_map(Number::Float),
            (-10.0..10.0_f64).prop_map(Number::Float),
            prop::sample::select(infinite.to_vec()).prop_map(Number::Float),
            near(1_700_000_000_000),
            near(1 << 53),
            near(i64::MAX),
        ]
    }

    fn bound(of: Number, kind: u8) -> Bound<Number> {
        match kind {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(of),
            _ => Bound::Included(of),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_lies_in_a_range_is_in_a_bucket_of_its_cover(
            ends in (number(), number()), kinds in (0..4u8, 0..4u8), value in number(),
        ) {
            let range = (bound(ends.0, kinds.0), bound(ends.1, kinds.1));
            let cover = cover(&range);
            prop_assert!(cover.len() <= 193, "{}", cover.len());
            if std::ops::RangeBounds::<Number>::contains(&range, &value) {
                prop_assert!(buckets(value).any(|bucket| cover.contains(&bucket)), "{value:?} in {range:?}");
            }
        }

        #[test]
        fn a_greater_number_has_no_lesser_coordinate(a in number(), b in number()) {
            prop_assert!(a > b || coordinate(a) <= coordinate(b), "{a:?} {b:?}");
        }
    }

    /// How much more than the range its cover holds: what makes it of use.
    #[test]
    fn a_cover_is_hardly_wider_than_its_range() {
        let holds = |range: Span<Number>, value: i64| {
            let cover = cover(&range);
            buckets(Number::Int(value)).any(|bucket| cover.contains(&bucket))
        };
        let range = |least: i64, greatest: i64| {
            (Bound::Included(Number::Int(least)), Bound::Included(Number::Int(greatest)))
        };
        assert!(
            holds(range(100, 2500), 2500) && !holds(range(100, 2500), 2700) && !holds(range(100, 2500), 90)
        );
        let day = 86_400_000;
        let now = 1_700_000_000_000;
        assert!(holds(range(now - day, now), now) && !holds(range(now - day, now), now + day / 10));
        assert!(!holds(range(now - day, now), now - day - day / 10));
        assert!(!holds(range(7, 7), 8) && !holds(range(7, 7), 6));
        // From 0 on all powers of two are passed, so the far end may be twice as far.
        assert!(!holds(range(0, 100), 128) && !holds(range(0, 100), -1));
    }
}
