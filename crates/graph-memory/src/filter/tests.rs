//! Plans of filters against a naive evaluation, and tags against what they stand for.

use proptest::prelude::*;
use steadfast_memory_api::{Attributes, ContentParts, Seq, Version};

use super::*;

fn content(kind: &str, attributes: &Attributes, importance: f32) -> Content {
    let parts = ContentParts {
        text: "any",
        kind,
        slug: None,
        folded_slug: None,
        attributes,
        importance,
        vector: &[],
    };
    Content::pack(&parts)
}

fn record(id: u64, kind: &str, attributes: &Attributes) -> Record {
    Record {
        id: Id::new(id),
        version: Version::new(1),
        // Two memories a millisecond.
        created_ms: 100 + id / 2,
        updated_ms: 200 - id,
        seq: Seq::new(id),
        content: content(kind, attributes, id as f32 / 16.0),
    }
}

/// Word for word what the filter's documentation says.
fn naive(filter: &Filter, record: &Record) -> bool {
    filter.clauses().iter().all(|clause| match clause {
        Clause::KindIn(kinds) => kinds.iter().any(|kind| kind == record.kind()),
        Clause::AttributeIn { name, values } => {
            record.attributes().get(name).is_some_and(|found| values.iter().any(|value| equal(value, found)))
        }
        Clause::AttributeBetween { name, range } => {
            record.attributes().get(name).is_some_and(|found| match (range, found, number(found)) {
                (ValueRange::Numbers(range), _, Some(found)) => within(range, &found),
                (ValueRange::Texts(range), AttributeValue::Text(found), _) => within(range, found),
                _ => false,
            })
        }
        Clause::CreatedMs(range) => within(range, &record.created_ms),
        Clause::UpdatedMs(range) => within(range, &record.updated_ms),
        Clause::IdIn(ids) => ids.contains(&record.id),
        Clause::IdRange(range) => within(range, &record.id),
        Clause::Importance(range) => within(range, &record.importance()),
        other => panic!("{other:?}"),
    })
}

fn equal(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a == b,
        _ => false,
    }
}

fn number(value: &AttributeValue) -> Option<Number> {
    match value {
        AttributeValue::Int(value) => Some(Number::Int(*value)),
        AttributeValue::Float(value) => Some(Number::Float(*value)),
        _ => None,
    }
}

fn within<T: PartialOrd>((start, end): &Span<T>, value: &T) -> bool {
    let after = match start {
        Bound::Included(start) => value >= start,
        Bound::Excluded(start) => value > start,
        Bound::Unbounded => true,
    };
    after
        && match end {
            Bound::Included(end) => value <= end,
            Bound::Excluded(end) => value < end,
            Bound::Unbounded => true,
        }
}

fn kind() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "A"]).prop_map(Into::into)
}

fn name() -> impl Strategy<Value = String> {
    // Written on end, the first name with a text and the last with another are the same bytes, but for the name's length.
    prop::sample::select(vec!["x", "y", "x\u{3}y"]).prop_map(Into::into)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "y\u{3}a", "é", "1"]).prop_map(Into::into)
}

/// Few, and among them such as are equal across types, or only nearly.
fn any_number() -> impl Strategy<Value = Number> {
    prop::sample::select(vec![
        Number::Int(0),
        Number::Float(-0.0),
        Number::Float(0.0),
        Number::Int(1),
        Number::Float(1.0),
        Number::Float(1.5),
        Number::Int((1 << 53) + 1),
        Number::Int(1 << 53),
        Number::Float(9_007_199_254_740_992.0),
        Number::Int(i64::MAX),
        Number::Float(i64::MAX as f64),
        Number::Int(i64::MIN),
        Number::Float(i64::MIN as f64),
    ])
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Bool),
        text().prop_map(AttributeValue::Text),
        any_number().prop_map(|number| match number {
            Number::Int(value) => AttributeValue::Int(value),
            Number::Float(value) => AttributeValue::Float(value),
        }),
    ]
}

fn span_of<T: std::fmt::Debug + Clone + 'static>(
    of: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Span<T>> {
    let bound = prop_oneof![
        3 => of.clone().prop_map(Bound::Included),
        3 => of.prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ];
    let bound = bound.boxed();
    (bound.clone(), bound)
}

fn tagged_clause() -> BoxedStrategy<Clause> {
    prop_oneof![
        prop::collection::vec(kind(), 0..4).prop_map(Clause::KindIn),
        (name(), prop::collection::vec(value(), 0..12))
            .prop_map(|(name, values)| Clause::AttributeIn { name, values }),
    ]
    .boxed()
}

fn clause() -> impl Strategy<Value = Clause> {
    let at = |near: u64| prop_oneof![Just(0), near..near + 17, Just(u64::MAX)].boxed();
    let ids = prop_oneof![0..18u64, Just(u64::MAX)].prop_map(Id::new).boxed();
    let range = prop_oneof![
        span_of(any_number().boxed()).prop_map(ValueRange::Numbers),
        span_of(text().boxed()).prop_map(ValueRange::Texts),
    ];
    prop_oneof![
        4 => tagged_clause(),
        2 => (name(), range).prop_map(|(name, range)| Clause::AttributeBetween { name, range }),
        1 => span_of(at(100)).prop_map(Clause::CreatedMs),
        1 => span_of(at(184)).prop_map(Clause::UpdatedMs),
        1 => prop::collection::vec(ids.clone(), 0..30).prop_map(Clause::IdIn),
        1 => span_of(ids).prop_map(Clause::IdRange),
        1 => span_of((0..17u8).prop_map(|n| f32::from(n) / 16.0).boxed()).prop_map(Clause::Importance),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (kind(), prop::collection::vec((name(), value()), 0..4), 0..4u8);
    prop::collection::vec(one, 0..16).prop_map(|memories| {
        let present = memories.into_iter().enumerate().filter(|(_, (_, _, gap))| *gap > 0);
        present
            .map(|(at, (kind, attributes, _))| {
                record(at as u64 + 1, &kind, &attributes.into_iter().collect())
            })
            .collect()
    })
}

/// What the text index does with tags.
fn passes(plan: &Plan<'_>, tags: &[u64]) -> bool {
    let has = |tag: &u64| tags.binary_search(tag).is_ok();
    let groups = || plan.tags_any().into_iter().chain(plan.hints());
    plan.tags_all().iter().all(has) && groups().all(|group| group.iter().any(has))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_plan_accepts_what_its_filter_says_and_loses_nothing(
        clauses in prop::collection::vec(clause(), 0..4),
        records in records(),
    ) {
        let filter: Filter = clauses.into_iter().collect();
        let plan = Plan::new(&filter);
        prop_assert_eq!(plan.is_empty(), filter.clauses().is_empty());
        prop_assert!(plan.tags_all().is_sorted_by(|a, b| a < b));
        prop_assert!(plan.ids().is_none_or(|ids| ids.is_sorted_by(|a, b| a < b)));
        for record in &records {
            let accepts = plan.accepts(record);
            prop_assert_eq!(accepts, naive(&filter, record), "{:?}", record);
            let id = record.id.get();
            if accepts {
                prop_assert!(passes(&plan, &tags_of(&record.content)));
                prop_assert!(plan.ids().is_none_or(|ids| ids.contains(&id)));
                prop_assert!(!plan.finds_nothing());
            }
        }
    }

    /// Not promised of all values, since tags are hashes; but these few don't collide, unless something is left out of the hash.
    #[test]
    fn tags_alone_tell_kinds_and_equal_values(
        clauses in prop::collection::vec(tagged_clause(), 1..3),
        records in records(),
    ) {
        let filter: Filter = clauses.into_iter().collect();
        let plan = Plan::new(&filter);
        prop_assert!(plan.has_tags() && plan.hints().is_empty());
        for record in &records {
            prop_assert_eq!(passes(&plan, &tags_of(&record.content)), naive(&filter, record), "{:?}", record);
        }
    }
}

#[test]
fn equal_values_have_equal_tags_and_others_dont() {
    let tags = |value: AttributeValue| tags_of(&content("", &[("n", value)].into_iter().collect(), 0.5));
    assert_eq!(tags(1.into()), tags(1.0.into()));
    assert_eq!(tags(0.into()), tags((-0.0).into()));
    assert_eq!(tags((1i64 << 60).into()), tags(((1i64 << 60) as f64).into()));
    assert_ne!(tags(((1i64 << 53) + 1).into()), tags(((1i64 << 53) as f64).into()));
    assert_ne!(tags(1.into()), tags("1".into()));
    assert_ne!(tags(1.into()), tags(true.into()));
    let tags = |name: &str, value: &str| tags_of(&content("", &[(name, value)].into_iter().collect(), 0.5));
    assert_ne!(tags("a", "bc"), tags("ab", "c"));
    assert_eq!(tags("a", "b").len(), 2, "one for the kind and one for the attribute");
}

#[test]
fn tags_are_pinned() {
    // Whoever keeps tags on a disk has to make them anew when these change.
    let attributes = [("colour", AttributeValue::from("blue")), ("n", 7.into())].into_iter().collect();
    let found = tags_of(&content("note", &attributes, 0.5));
    assert_eq!(found, PINNED);
}

const PINNED: [u64; 11] = [
    2_849_850_605_038_483_259,
    3_632_579_473_842_033_964,
    5_220_274_419_108_193_303,
    5_291_482_739_511_636_774,
    10_804_716_019_288_924_226,
    12_934_957_594_550_379_666,
    13_989_222_264_243_386_598,
    14_140_479_862_320_879_516,
    14_310_265_377_799_087_502,
    17_268_253_191_764_615_668,
    17_677_884_651_767_973_331,
];

#[test]
fn kinds_attributes_and_ranges_of_numbers_have_tags() {
    let driven = |filter: Filter| Plan::new(&filter).has_tags();
    assert!(driven(Filter::new().kind("a")));
    assert!(driven(Filter::new().kind_in(["a", "b"])));
    assert!(driven(Filter::new().attribute_is("a", 1)));
    assert!(!driven(Filter::new()));
    assert!(driven(Filter::new().attribute_between("a", 1..)));
    assert!(!driven(Filter::new().attribute_between("a", "b"..).ids([Id::new(1)])));
    assert!(!driven(Filter::new().created_ms(1..).updated_ms(1..).importance(0.5..).id_range(Id::new(1)..)));
}

#[test]
fn what_can_match_nothing_is_told_beforehand() {
    let nothing = |filter: Filter| Plan::new(&filter).finds_nothing();
    assert!(nothing(Filter::new().kind_in([""; 0])));
    assert!(nothing(Filter::new().attribute_in("a", [0; 0])));
    assert!(nothing(Filter::new().ids([Id::new(1)]).ids([Id::new(2)])));
    assert!(nothing(Filter::new().ids([Id::new(1)]).id_range(Id::new(2)..)));
    assert!(nothing(Filter::new().created_ms(..5).created_ms(5..)));
    assert!(nothing(Filter::new().updated_ms((Bound::Excluded(u64::MAX), Bound::Unbounded))));
    assert!(nothing(Filter::new().id_range(..Id::new(0))));
    assert!(!nothing(Filter::new().kind("").ids([Id::new(1)]).created_ms(5..=5)));
}
