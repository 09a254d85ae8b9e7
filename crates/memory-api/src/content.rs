//! What a memory says, packed into one block of bytes.
//!
//! A store keeps millions of these: one allocation each, the very bytes that went to its log, and nothing
//! to convert when they are sent on. The block is a Protocol Buffers message, so any language reads it:
//!
//! ```text
//! message Content {
//!   string text = 1;
//!   string kind = 2;
//!   optional string slug = 3;         // as written
//!   optional string folded_slug = 4;  // as compared, where that differs
//!   repeated Attribute attributes = 6; // in the order of their names, which are all different
//!   float importance = 7;
//!   repeated float vector = 8;        // packed; all components are finite
//! }
//! message Attribute {
//!   string name = 1;
//!   oneof value { bool bool = 2; sint64 int = 3; double float = 4; string text = 5; }
//! }
//! ```
//!
//! It is checked once, when it comes from outside ([`Content::from_bytes`]); the accessors walk over its fields, of
//! which there are few.

use std::fmt;

use crate::{AttributeValue, Attributes};

/// A packed memory. Equal contents have equal bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Box<[u8]>,
}

/// What a [`Content`] is packed from.
#[derive(Clone, Copy, Debug)]
pub struct ContentParts<'a> {
    /// What is remembered.
    pub text: &'a str,
    /// What sort of memory it is; may be empty.
    pub kind: &'a str,
    /// The slug as written.
    pub slug: Option<&'a str>,
    /// The slug as slugs are compared; none where it isn't another text.
    pub folded_slug: Option<&'a str>,
    /// Small named facts.
    pub attributes: &'a Attributes,
    /// From 0 to 1.
    pub importance: f32,
    /// Where it lies in a space of meanings; empty if it has no vector.
    pub vector: &'a [f32],
}

/// Bytes that are no [`Content`], and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedContent(&'static str);

impl fmt::Display for MalformedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a memory's content: {}", self.0)
    }
}

impl std::error::Error for MalformedContent {}

/// How a field's value is written: the low three bits of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

const TEXT: u8 = 1;
const KIND: u8 = 2;
const SLUG: u8 = 3;
const FOLDED_SLUG: u8 = 4;
const ATTRIBUTE: u8 = 6;
const IMPORTANCE: u8 = 7;
const VECTOR: u8 = 8;

const ATTRIBUTE_NAME: u8 = 1;
const ATTRIBUTE_BOOL: u8 = 2;
const ATTRIBUTE_INT: u8 = 3;
const ATTRIBUTE_FLOAT: u8 = 4;
const ATTRIBUTE_TEXT: u8 = 5;

impl Content {
    /// Packs `parts` into a block of just the right size.
    pub fn pack(parts: &ContentParts<'_>) -> Self {
        let text_len = |text: &str| if text.is_empty() { 0 } else { field_len(text.len()) };
        let option_len = |text: Option<&str>| text.map_or(0, |text| field_len(text.len()));
        let length = text_len(parts.text)
            + text_len(parts.kind)
            + option_len(parts.slug)
            + option_len(parts.folded_slug)
            + parts
                .attributes
                .iter()
                .map(|(name, value)| field_len(attribute_len(name, value)))
                .sum::<usize>()
            + if parts.importance == 0.0 { 0 } else { 5 }
            + if parts.vector.is_empty() { 0 } else { field_len(size_of_val(parts.vector)) };
        let mut to = Vec::with_capacity(length);
        // What is empty or 0 isn't written, as Protocol Buffers has it.
        for (field, text) in [(TEXT, parts.text), (KIND, parts.kind)] {
            if !text.is_empty() {
                put_bytes(&mut to, field, text.as_bytes());
            }
        }
        for (field, text) in [(SLUG, parts.slug), (FOLDED_SLUG, parts.folded_slug)] {
            if let Some(text) = text {
                put_bytes(&mut to, field, text.as_bytes());
            }
        }
        for (name, value) in parts.attributes.iter() {
            put_key(&mut to, ATTRIBUTE, WireType::Bytes);
            put_varint(&mut to, attribute_len(name, value) as u64);
            put_attribute(&mut to, name, value);
        }
        if parts.importance != 0.0 {
            put_key(&mut to, IMPORTANCE, WireType::Fixed32);
            to.extend(parts.importance.to_le_bytes());
        }
        if !parts.vector.is_empty() {
            put_key(&mut to, VECTOR, WireType::Bytes);
            put_varint(&mut to, size_of_val(parts.vector) as u64);
            to.extend(parts.vector.iter().flat_map(|component| component.to_le_bytes()));
        }
        debug_assert_eq!(to.len(), length);
        Self { bytes: to.into_boxed_slice() }
    }

    /// Takes bytes that were packed elsewhere.
    ///
    /// # Errors
    /// When they aren't a content as [`pack`](Self::pack) makes it: cut off, not UTF-8, unknown or repeated fields,
    /// attributes out of order.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<Self, MalformedContent> {
        let bytes = bytes.into();
        let mut last = 0;
        let mut last_name = None;
        for field in Fields(&bytes) {
            let (field, value) = field?;
            if field < last || (field == last && field != ATTRIBUTE) {
                return Err(MalformedContent("fields out of order"));
            }
            last = field;
            match (field, value) {
                (TEXT..=FOLDED_SLUG, Value::Bytes(text)) => drop(checked_text(text)?),
                (ATTRIBUTE, Value::Bytes(message)) => {
                    let (name, _) = attribute(message)?;
                    if last_name.is_some_and(|last| last >= name) {
                        return Err(MalformedContent("attributes out of order"));
                    }
                    last_name = Some(name);
                }
                (IMPORTANCE, Value::Fixed32(_)) => {}
                (VECTOR, Value::Bytes(vector)) => {
                    let (components, rest) = vector.as_chunks();
                    if components.is_empty() || !rest.is_empty() {
                        return Err(MalformedContent("a vector that is cut off"));
                    }
                    if components.iter().any(|component| !f32::from_le_bytes(*component).is_finite()) {
                        return Err(MalformedContent("a vector that isn't finite"));
                    }
                }
                _ => return Err(MalformedContent("an unknown field")),
            }
        }
        Ok(Self { bytes })
    }

    /// The block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is remembered.
    pub fn text(&self) -> &str {
        self.string(TEXT).unwrap_or_default()
    }

    /// What sort of memory it is; may be empty.
    pub fn kind(&self) -> &str {
        self.string(KIND).unwrap_or_default()
    }

    /// The slug as it was written.
    pub fn slug(&self) -> Option<&str> {
        self.string(SLUG)
    }

    /// The slug as slugs are compared.
    pub fn folded_slug(&self) -> Option<&str> {
        self.string(FOLDED_SLUG).or_else(|| self.slug())
    }

    /// From 0 to 1.
    pub fn importance(&self) -> f32 {
        match self.field(IMPORTANCE) {
            Some(Value::Fixed32(bits)) => f32::from_bits(bits),
            _ => 0.0,
        }
    }

    /// Where it lies in a space of meanings, copied out; empty if it has no vector.
    pub fn vector(&self) -> Vec<f32> {
        match self.field(VECTOR) {
            Some(Value::Bytes(vector)) => {
                vector.as_chunks().0.iter().map(|component| f32::from_le_bytes(*component)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Small named facts, copied out.
    pub fn attributes(&self) -> Attributes {
        self.each_attribute().map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// The value of the attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<AttributeRef<'_>> {
        self.each_attribute().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All attributes in the order of their names, where they stand.
    pub fn each_attribute(&self) -> impl Iterator<Item = (&str, AttributeRef<'_>)> {
        self.fields().filter_map(|(field, value)| match value {
            Value::Bytes(message) if field == ATTRIBUTE => attribute(message).ok(),
            _ => None,
        })
    }

    fn fields(&self) -> impl Iterator<Item = (u8, Value<'_>)> {
        // They were checked when this was made.
        Fields(&self.bytes).map_while(Result::ok)
    }

    fn field(&self, wanted: u8) -> Option<Value<'_>> {
        // They stand in the order of their numbers.
        let mut behind = self.fields().skip_while(|(field, _)| *field < wanted);
        behind.next().filter(|(field, _)| *field == wanted).map(|(_, value)| value)
    }

    fn string(&self, wanted: u8) -> Option<&str> {
        match self.field(wanted) {
            Some(Value::Bytes(text)) => checked_text(text).ok(),
            _ => None,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("text", &self.text())
            .field("kind", &self.kind())
            .field("slug", &self.slug())
            .field("attributes", &self.attributes())
            .field("importance", &self.importance())
            .field("vector", &self.vector())
            .finish_non_exhaustive()
    }
}

/// An attribute's value where it stands in a [`Content`].
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum AttributeRef<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

impl AttributeRef<'_> {
    /// The value on its own.
    pub fn to_owned(self) -> AttributeValue {
        match self {
            Self::Bool(value) => AttributeValue::Bool(value),
            Self::Int(value) => AttributeValue::Int(value),
            Self::Float(value) => AttributeValue::Float(value),
            Self::Text(value) => AttributeValue::Text(value.into()),
        }
    }
}

impl PartialEq<AttributeValue> for AttributeRef<'_> {
    fn eq(&self, other: &AttributeValue) -> bool {
        match (self, other) {
            (Self::Bool(a), AttributeValue::Bool(b)) => a == b,
            (Self::Int(a), AttributeValue::Int(b)) => a == b,
            (Self::Float(a), AttributeValue::Float(b)) => a == b,
            (Self::Text(a), AttributeValue::Text(b)) => a == b,
            _ => false,
        }
    }
}

fn varint_len(value: u64) -> usize {
    // Seven bits a byte; 0 takes one as well.
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// A field of `length` bytes with its key (all keys here take one byte) and its length.
fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn attribute_len(name: &str, value: &AttributeValue) -> usize {
    let value = match value {
        AttributeValue::Bool(_) => 2,
        AttributeValue::Int(value) => 1 + varint_len(zigzag(*value)),
        AttributeValue::Float(_) => 9,
        AttributeValue::Text(value) => field_len(value.len()),
    };
    if name.is_empty() { value } else { field_len(name.len()) + value }
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_key(to: &mut Vec<u8>, field: u8, wire_type: WireType) {
    to.push(field << 3 | wire_type as u8);
}

fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(to, field, WireType::Bytes);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_attribute(to: &mut Vec<u8>, name: &str, value: &AttributeValue) {
    if !name.is_empty() {
        put_bytes(to, ATTRIBUTE_NAME, name.as_bytes());
    }
    match value {
        AttributeValue::Bool(value) => {
            put_key(to, ATTRIBUTE_BOOL, WireType::Varint);
            to.push(u8::from(*value));
        }
        AttributeValue::Int(value) => {
            put_key(to, ATTRIBUTE_INT, WireType::Varint);
            put_varint(to, zigzag(*value));
        }
        AttributeValue::Float(value) => {
            put_key(to, ATTRIBUTE_FLOAT, WireType::Fixed64);
            to.extend(value.to_le_bytes());
        }
        AttributeValue::Text(value) => put_bytes(to, ATTRIBUTE_TEXT, value.as_bytes()),
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, one after the other; ends with the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, Value<'a>), MalformedContent>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&key, rest) = self.0.split_first()?;
        self.0 = rest;
        let value = self.value(key & 7);
        if value.is_none() {
            self.0 = &[];
        }
        let field = value.filter(|_| key < 0x80).map(|value| (key >> 3, value));
        Some(field.ok_or(MalformedContent("a field is cut off or of an unknown type")))
    }
}

impl<'a> Fields<'a> {
    fn value(&mut self, wire_type: u8) -> Option<Value<'a>> {
        const VARINT: u8 = WireType::Varint as u8;
        const FIXED64: u8 = WireType::Fixed64 as u8;
        const BYTES: u8 = WireType::Bytes as u8;
        const FIXED32: u8 = WireType::Fixed32 as u8;
        Some(match wire_type {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn checked_text(bytes: &[u8]) -> Result<&str, MalformedContent> {
    std::str::from_utf8(bytes).map_err(|_| MalformedContent("text that isn't UTF-8"))
}

/// Name and value of an attribute's message.
fn attribute(message: &[u8]) -> Result<(&str, AttributeRef<'_>), MalformedContent> {
    let mut fields = Fields(message);
    let mut next = fields.next().transpose()?;
    let name = match next {
        Some((ATTRIBUTE_NAME, Value::Bytes(name))) => {
            next = fields.next().transpose()?;
            checked_text(name)?
        }
        _ => "",
    };
    let value = match next {
        Some((ATTRIBUTE_BOOL, Value::Varint(value @ 0..=1))) => AttributeRef::Bool(value == 1),
        Some((ATTRIBUTE_INT, Value::Varint(value))) => AttributeRef::Int(unzigzag(value)),
        Some((ATTRIBUTE_FLOAT, Value::Fixed64(bits))) => AttributeRef::Float(f64::from_bits(bits)),
        Some((ATTRIBUTE_TEXT, Value::Bytes(text))) => AttributeRef::Text(checked_text(text)?),
        _ => return Err(MalformedContent("an attribute of an unknown kind")),
    };
    match fields.next() {
        None => Ok((name, value)),
        Some(_) => Err(MalformedContent("an attribute with more than a value")),
    }
}

#[cfg(test)]
mod tests;
