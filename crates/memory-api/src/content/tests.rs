//! Packing and reading back; prost, which knows nothing of this code, is the reference for the bytes.

use proptest::prelude::*;
use prost::Message;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct WireContent {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, optional, tag = "3")]
    slug: Option<String>,
    #[prost(string, optional, tag = "4")]
    folded_slug: Option<String>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<WireAttribute>,
    #[prost(float, tag = "7")]
    importance: f32,
    #[prost(float, repeated, tag = "8")]
    vector: Vec<f32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAttribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(oneof = "WireValue", tags = "2, 3, 4, 5")]
    value: Option<WireValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireValue {
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sint64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(string, tag = "5")]
    Text(String),
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        (-1e300..1e300).prop_map(AttributeValue::Float),
        ".{0,200}".prop_map(AttributeValue::Text),
    ]
}

prop_compose! {
    fn wire()(
        text in ".{0,300}",
        kind in ".{0,10}",
        slug in proptest::option::of(".{0,20}"),
        folded_slug in proptest::option::of(".{0,20}"),
        attributes in prop::collection::btree_map(".{0,12}", value(), 0..6),
        importance in 0.0_f32..1.0,
        vector in prop::collection::vec(-1e38_f32..1e38, 0..20),
    ) -> (WireContent, Attributes) {
        let owned: Attributes = attributes.clone().into_iter().collect();
        let attributes = attributes.into_iter().map(|(name, value)| {
            let value = match value {
                AttributeValue::Bool(value) => WireValue::Bool(value),
                AttributeValue::Int(value) => WireValue::Int(value),
                AttributeValue::Float(value) => WireValue::Float(value),
                AttributeValue::Text(value) => WireValue::Text(value),
            };
            WireAttribute { name, value: Some(value) }
        });
        let attributes = attributes.collect();
        (WireContent { text, kind, slug, folded_slug, attributes, importance, vector }, owned)
    }
}

fn pack(wire: &WireContent, attributes: &Attributes) -> Content {
    Content::pack(&ContentParts {
        text: &wire.text,
        kind: &wire.kind,
        slug: wire.slug.as_deref(),
        folded_slug: wire.folded_slug.as_deref(),
        attributes,
        importance: wire.importance,
        vector: &wire.vector,
    })
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_protocol_buffers_and_all_comes_back((wire, attributes) in wire()) {
        let content = pack(&wire, &attributes);
        prop_assert_eq!(content.as_bytes(), wire.encode_to_vec());
        let content = Content::from_bytes(content.as_bytes()).expect("just packed");
        prop_assert_eq!(content.text(), &wire.text);
        prop_assert_eq!(content.kind(), &wire.kind);
        prop_assert_eq!(content.slug(), wire.slug.as_deref());
        prop_assert_eq!(content.folded_slug(), wire.folded_slug.as_deref().or(wire.slug.as_deref()));
        prop_assert_eq!(content.importance(), wire.importance);
        prop_assert_eq!(&content.attributes(), &attributes);
        prop_assert_eq!(content.vector(), wire.vector);
        for (name, value) in attributes.iter() {
            prop_assert!(content.attribute(name).is_some_and(|found| found == *value));
        }
        prop_assert!(content.attribute("a name that is not there").is_none());
    }

    #[test]
    fn what_was_cut_or_changed_is_refused_or_reads_without_a_panic(
        (wire, attributes) in wire(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = pack(&wire, &attributes).as_bytes().to_vec();
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(content) = Content::from_bytes(bytes) {
            // Whatever it is now, it is whole: packing what it says gives as much.
            let attributes = content.attributes();
            let again = Content::pack(&ContentParts {
                text: content.text(),
                kind: content.kind(),
                slug: content.slug(),
                folded_slug: content.string(FOLDED_SLUG),
                attributes: &attributes,
                importance: content.importance(),
                vector: &content.vector(),
            });
            prop_assert!(again.as_bytes().len() <= content.as_bytes().len());
            prop_assert_eq!(again.text(), content.text());
        }
    }
}

#[test]
fn names_what_is_wrong() {
    let attribute = |name: &str| {
        let mut message = Vec::new();
        put_attribute(&mut message, name, &AttributeValue::Bool(true));
        let mut field = Vec::new();
        put_bytes(&mut field, ATTRIBUTE, &message);
        field
    };
    let cases: [(Vec<u8>, &str); 9] = [
        (vec![TEXT << 3 | 2, 5, b'a'], "cut off"),
        (vec![TEXT << 3 | 2, 1, 0xff], "UTF-8"),
        (vec![TEXT << 3 | 2, 1, b'a', TEXT << 3 | 2, 1, b'b'], "out of order"),
        (vec![9 << 3, 1], "unknown field"),
        (vec![VECTOR << 3 | 2, 3, 0, 0, 0], "cut off"),
        (vec![VECTOR << 3 | 2, 4, 0, 0, 0xc0, 0x7f], "isn't finite"),
        ([attribute("b"), attribute("a")].concat(), "attributes out of order"),
        ([attribute("a"), attribute("a")].concat(), "attributes out of order"),
        (vec![ATTRIBUTE << 3 | 2, 0], "unknown kind"),
    ];
    for (bytes, why) in cases {
        let error = Content::from_bytes(bytes.clone()).expect_err(why).to_string();
        assert!(error.contains(why), "{bytes:?}: {error}");
    }
}
