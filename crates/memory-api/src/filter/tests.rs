//! Numbers of both sorts compared exactly, ranges, builders.

use proptest::prelude::*;

use super::*;

/// The exact value of a finite number, times 2^1100, as digits of base 2^32 with a sign: as plain as can be.
fn exact(number: Number) -> (i8, Vec<u32>) {
    let (negative, mantissa, shift) = match number {
        Number::Int(value) => (value < 0, value.unsigned_abs(), 1100),
        Number::Float(value) => {
            let bits = value.to_bits();
            let exponent = (bits >> 52 & 0x7FF) as i32;
            let fraction = bits & ((1 << 52) - 1);
            let (mantissa, exponent) =
                if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
            (value < 0.0, mantissa, 1100 + exponent)
        }
    };
    let mut digits = vec![0u32; 72];
    for bit in 0..64 {
        if mantissa >> bit & 1 == 1 {
            let at = (shift + bit) as usize;
            digits[at / 32] |= 1 << (at % 32);
        }
    }
    digits.reverse();
    let sign = if mantissa == 0 { 0 } else { 1 - 2 * i8::from(negative) };
    (sign, digits)
}

fn naive(a: Number, b: Number) -> Ordering {
    let ((a_sign, a), (b_sign, b)) = (exact(a), exact(b));
    a_sign.cmp(&b_sign).then_with(|| if a_sign < 0 { b.cmp(&a) } else { a.cmp(&b) })
}

fn number() -> impl Strategy<Value = Number> {
    let float = prop_oneof![
        any::<f64>().prop_filter("finite", |value| value.is_finite()),
        // Near whole numbers, near what f64 tells apart, near the ends of i64.
        (any::<i64>(), -2i64..3)
            .prop_map(|(value, by)| f64::from_bits((value as f64).to_bits().saturating_add_signed(by))),
        (-4i32..5).prop_map(|halves| f64::from(halves) / 2.0),
        prop::sample::select(vec![-0.0, INT_END, -INT_END, INT_END - 1024.0, -INT_END - 2048.0]),
    ];
    let int = prop_oneof![
        any::<i64>(),
        -2i64..3,
        (0u32..63, -2i64..3).prop_map(|(bits, by)| (1i64 << bits).wrapping_add(by)),
        prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]),
    ];
    prop_oneof![int.prop_map(Number::Int), float.prop_map(Number::Float)]
}

fn bits(number: Number) -> (bool, u64) {
    match number {
        Number::Int(value) => (true, value as u64),
        Number::Float(value) => (false, value.to_bits()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn numbers_compare_by_their_exact_values(a in number(), b in number()) {
        prop_assert_eq!(a.partial_cmp(&b), Some(naive(a, b)));
        prop_assert_eq!(bits(a.canonical()) == bits(b.canonical()), a == b);
        prop_assert_eq!(a.canonical(), a);
        // The nearest of the other type, where most mistakes would be.
        let near = match a {
            Number::Int(value) => Number::Float(value as f64),
            Number::Float(value) => Number::Int(value as i64),
        };
        prop_assert_eq!(a.partial_cmp(&near), Some(naive(a, near)));
        prop_assert_eq!(bits(a.canonical()) == bits(near.canonical()), a == near);
    }
}

#[test]
fn nothing_is_rounded() {
    let above = (1i64 << 53) + 1;
    assert_eq!(above as f64, 9_007_199_254_740_992.0, "as f64 they are the same");
    assert_ne!(Number::Int(above), Number::Float(9_007_199_254_740_992.0));
    assert!(Number::Int(i64::MAX) < Number::Float(i64::MAX as f64));
    assert_eq!(Number::Int(i64::MIN), Number::Float(i64::MIN as f64));
    assert_eq!(Number::Int(0), Number::Float(-0.0));
    assert!(Number::Int(-1) > Number::Float(-1.5));
    assert!(Number::Int(i64::MAX) < Number::Float(f64::INFINITY));
    assert!(Number::Int(i64::MIN) > Number::Float(f64::NEG_INFINITY));
    assert_eq!(Number::Int(0).partial_cmp(&Number::Float(f64::NAN)), None);
    assert_ne!(Number::Float(f64::NAN), Number::Float(f64::NAN));
}

#[test]
fn a_range_holds_values_of_its_own_sort() {
    let years = ValueRange::from(1990..2000);
    for (value, inside) in [
        (AttributeRef::Int(1990), true),
        (AttributeRef::Int(1989), false),
        (AttributeRef::Int(2000), false),
        (AttributeRef::Float(1999.5), true),
        (AttributeRef::Float(2000.0), false),
        (AttributeRef::Text("1995"), false),
        (AttributeRef::Bool(true), false),
    ] {
        assert_eq!(years.contains(value), inside, "{value:?}");
    }
    let names = ValueRange::from("b"..="c");
    for (value, inside) in
        [("b", true), ("bzz", true), ("c", true), ("ca", false), ("B", false), ("é", false)]
    {
        assert_eq!(names.contains(AttributeRef::Text(value)), inside, "{value:?}");
    }
    assert!(!names.contains(AttributeRef::Int(0)));
    assert!(ValueRange::from(0.5..).contains(AttributeRef::Int(i64::MAX)));
    assert!(ValueRange::from(..=String::from("z")).contains(AttributeRef::Text("")));
    assert!(!ValueRange::from(5..5).contains(AttributeRef::Int(5)));
    let mixed = (Bound::Included(Number::Int(1)), Bound::Excluded(Number::Float(1.5)));
    assert!(ValueRange::from(mixed).contains(AttributeRef::Float(1.25)));
}

#[test]
fn a_filter_is_its_clauses_in_order() {
    let filter = Filter::new()
        .kind("a")
        .kind_in(["b", "c"])
        .attribute_is("x", 1)
        .attribute_in("y", ["p", "q", "r"])
        .attribute_between("z", 0.5..)
        .created_ms(..10)
        .updated_ms(5..=6)
        .ids([Id::new(7), Id::new(3)])
        .id_range(Id::new(2)..)
        .importance(0.5..=1.0);
    let values: Vec<usize> = filter.clauses().iter().map(Clause::values).collect();
    assert_eq!(values, [1, 2, 1, 3, 0, 0, 0, 2, 0, 0]);
    assert_eq!(filter.clauses()[0], Clause::KindIn(vec!["a".into()]));
    assert_eq!(filter.clauses()[5], Clause::CreatedMs((Bound::Unbounded, Bound::Excluded(10))));
    assert_eq!(filter.clauses()[8], Clause::IdRange((Bound::Included(Id::new(2)), Bound::Unbounded)));
    assert_eq!(filter.clauses().iter().cloned().collect::<Filter>(), filter);
    assert!(Filter::new().is_empty() && !filter.is_empty());
}
