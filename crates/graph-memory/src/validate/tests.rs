//! Searches that are refused, with field and bound.

use steadfast_memory_api::Id;
use steadfast_text_index::query_keys;

use super::*;

fn refused(request: &Search) -> (String, Problem) {
    match search(request, &Limits::default(), Analyzer::new()) {
        Err(MemoryError::Invalid { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

fn filtered(filter: Filter) -> Search {
    Search::new("word").filter(filter)
}

fn many(count: usize, count_max: usize) -> Problem {
    Problem::TooMany { count, count_max }
}

fn long(bytes: usize, bytes_max: usize) -> Problem {
    Problem::TooLong { bytes, bytes_max }
}

#[test]
fn every_bad_search_is_refused_with_its_field_and_its_bound() {
    let clauses = |count| (0..count).map(|_| Clause::KindIn(vec!["a".into()])).collect::<Filter>();
    let below = Problem::OutOfRange { found: -0.5, min: 0.0, max: f32::MAX.into() };
    let none = Problem::OutOfRange { found: 0.0, min: f32::MIN_POSITIVE.into(), max: f32::MAX.into() };
    let huge = |found: f32| Problem::OutOfRange {
        found: found.into(),
        min: -f64::from(COMPONENT_MAX),
        max: COMPONENT_MAX.into(),
    };
    let numbers: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let k_range = |found| Problem::OutOfRange { found, min: 1.0, max: 10_000.0 };
    let cases: Vec<(&str, Search, &str, Problem)> = vec![
        ("k = 0", Search::by_vector([1.0]).k(0), "k", k_range(0.0)),
        ("k too large", Search::by_vector([1.0]).k(10_001), "k", k_range(10_001.0)),
        ("nothing to look for", Search::new(""), "text", Problem::Empty),
        ("no word", Search::new(" -- "), "text", Problem::Empty),
        ("2 MiB", Search::new("a".repeat(2 << 20)), "text", long(2 << 20, 1 << 20)),
        (
            "2 MiB of blanks beside a vector",
            Search::new(" ".repeat(2 << 20)).vector([1.0]),
            "text",
            long(2 << 20, 1 << 20),
        ),
        (
            "too many words beside a vector",
            Search::new(numbers.join(" ")).vector([1.0]),
            "text: words",
            many(10_001, 10_000),
        ),
        ("no dimension", Search::by_vector([]), "vector", Problem::Empty),
        ("4097 dimensions", Search::by_vector(vec![1.0; 4097]), "vector: dimensions", many(4097, 4096)),
        (
            "10^6 dimensions",
            Search::by_vector(vec![1.0; 1_000_000]),
            "vector: dimensions",
            many(1_000_000, 4096),
        ),
        ("NaN", Search::by_vector([1.0, nan]), "vector[1]", Problem::NotFinite),
        ("infinity", Search::by_vector([inf, 0.0]), "vector[0]", Problem::NotFinite),
        (
            "-infinity beside words",
            Search::new("a").vector([0.0, 1.0, -inf]),
            "vector[2]",
            Problem::NotFinite,
        ),
        ("1e38", Search::by_vector([1.0, 1e38]), "vector[1]", huge(1e38)),
        ("-1e38", Search::by_vector([-1e38]), "vector[0]", huge(-1e38)),
        ("NaN weight", Search::new("a").weights(nan, 1.0), "text_weight", Problem::NotFinite),
        ("infinite weight", Search::new("a").weights(1.0, inf), "vector_weight", Problem::NotFinite),
        ("negative weight", Search::new("a").weights(-0.5, 1.0), "text_weight", below.clone()),
        ("negative vector weight", Search::new("a").weights(1.0, -0.5), "vector_weight", below),
        ("no weight", Search::new("a").weights(0.0, -0.0), "text_weight + vector_weight", none),
        ("257 clauses", filtered(clauses(257)), "filter: clauses", many(257, 256)),
        ("10^5 clauses", filtered(clauses(100_000)), "filter: clauses", many(100_000, 256)),
        (
            "too many values",
            filtered(Filter::new().ids((1..=9_999).map(Id::new)).attribute_in("a", [1, 2])),
            "filter: values",
            many(10_001, 10_000),
        ),
        (
            "too many bytes",
            filtered(
                Filter::new()
                    .attribute_is("a", "x".repeat(1 << 19))
                    .attribute_between("b", "".."y".repeat(1 << 19).as_str()),
            ),
            "filter",
            long((1 << 20) + 2, 1 << 20),
        ),
        (
            "a long kind",
            filtered(Filter::new().kind("a").kind_in(["b".to_owned(), "c".repeat(65)])),
            "filter[1].kind",
            long(65, 64),
        ),
        ("no name", filtered(Filter::new().attribute_is("", 1)), "filter[0].name", Problem::Empty),
        (
            "a long name",
            filtered(Filter::new().attribute_between("n".repeat(129), 1..)),
            "filter[0].name",
            long(129, 128),
        ),
        (
            "NUL in a name",
            filtered(Filter::new().attribute_is("a\0", 1)),
            "filter[0].name",
            Problem::BadCharacter { character: '\0', at: 1 },
        ),
        (
            "a value that is NaN",
            filtered(Filter::new().attribute_in("a", [1.0, f64::NAN])),
            "filter[0].values[1]",
            Problem::NotFinite,
        ),
        (
            "an infinite value",
            filtered(Filter::new().attribute_is("a", f64::INFINITY)),
            "filter[0].values[0]",
            Problem::NotFinite,
        ),
        (
            "a range from NaN",
            filtered(Filter::new().attribute_between("a", f64::NAN..)),
            "filter[0].range.start",
            Problem::NotFinite,
        ),
        (
            "a range to NaN",
            filtered(Filter::new().kind("a").importance(0.0..f32::NAN)),
            "filter[1].range.end",
            Problem::NotFinite,
        ),
    ];
    for (case, request, field, problem) in cases {
        assert_eq!(refused(&request), (field.into(), problem), "{case}");
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let reversed = [
        Filter::new().attribute_between("a", 2..1),
        Filter::new().attribute_between("a", 1.5..=1.0),
        Filter::new().attribute_between("a", "b".."a"),
        Filter::new().created_ms(10..9),
        Filter::new().updated_ms(10..=9),
        Filter::new().id_range(Id::new(2)..Id::new(1)),
        Filter::new().importance(1.0..0.0),
    ];
    for filter in reversed {
        let expected = ("filter[0].range".into(), Problem::Reversed);
        assert_eq!(refused(&filtered(filter.clone())), expected, "{filter:?}");
    }
}

#[test]
fn what_is_just_within_the_bounds_is_accepted() {
    let limits = Limits::default();
    let names = "n".repeat(128);
    let open_ended = Clause::Importance((Bound::Unbounded, Bound::Unbounded));
    let filter = Filter::new()
        .ids((1..=9_998).map(Id::new))
        .attribute_in(&*names, ["x".repeat((1 << 20) - 128 - 64), String::new()])
        .kind_in([""; 0])
        .attribute_between("k".repeat(64), f64::NEG_INFINITY..f64::INFINITY)
        .created_ms(5..5);
    let filter = filter.clauses().iter().cloned().chain(std::iter::repeat_n(open_ended, 251)).collect();
    let accepted = [
        Search::new("a b"),
        filtered(filter),
        Search::by_vector([0.0]).k(10_000),
        Search::by_vector(vec![COMPONENT_MAX; 4096]).weights(0.0, f32::MIN_POSITIVE),
        Search::new("-- 👍").vector([-COMPONENT_MAX]),
        Search::new("a").weights(f32::MAX, 0.0),
    ];
    for request in accepted {
        let keys = search(&request, &limits, Analyzer::new()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(keys, query_keys(&request.text));
    }
}

#[test]
fn components_within_their_bound_have_finite_scores() {
    let (dimensions, max) = (4096.0, f64::from(COMPONENT_MAX));
    assert!(dimensions * max * max < f32::MAX.into());
    assert!(dimensions * (2.0 * max) * (2.0 * max) < f32::MAX.into());
}
