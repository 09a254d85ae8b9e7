//! The envelope of a command in the log, and the messages that several commands use.
//!
//! All are Protocol Buffers messages, described for readers of other languages in
//! `docs/log-format.md`. A field's number is never used for anything else.

use prost::Message;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use steadfast_memory_api::{AttributeValue, Attributes, RequestId};
use steadfast_text_index::{Analyzer, Language};
use steadfast_vector_index::Metric;

use super::{Request, TenantKey, Undecodable};
use crate::value::metric_from_number;

/// The tenant and the request id of a command. Encoded first.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Address {
    #[prost(uint32, tag = "1")]
    tenant: u32,
    #[prost(fixed64, optional, tag = "2")]
    request_high: Option<u64>,
    #[prost(fixed64, optional, tag = "3")]
    request_low: Option<u64>,
    #[prost(message, optional, tag = "4")]
    new_tenant: Option<NewTenant>,
}

/// Fields of the first kinds of commands that are part of the envelope. Later kinds have theirs in
/// their own message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Options {
    /// Of an allocation: what to do when the slug is taken.
    #[prost(bool, tag = "8")]
    pub(super) refuse_existing: bool,
    /// Of a command with a request id: how many the tenant may remember.
    #[prost(uint64, tag = "9")]
    pub(super) request_ids_max: u64,
    /// Of an allocation or update with a vector: how the tenant's vectors are compared, if it has
    /// none yet.
    #[prost(uint32, tag = "10")]
    pub(super) vector_metric: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewTenant {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    tenants_max: u64,
    /// The number of a language, as the next; 0 is for none.
    #[prost(uint32, tag = "3")]
    stemmer: u32,
    #[prost(uint32, tag = "4")]
    stop_words: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(oneof = "Value", tags = "2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sint64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(string, tag = "5")]
    Text(String),
}

/// A command's fields as they stand in the log.
pub(super) struct Envelope<'a> {
    address: Address,
    pub(super) options: Options,
    /// The number and the bytes of the command's own message.
    pub(super) message: (u32, &'a [u8]),
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of a command, whose own message has one of the numbers for which
    /// `is_message` holds.
    pub(super) fn decode(mut bytes: &'a [u8], is_message: fn(u32) -> bool) -> Result<Self, Undecodable> {
        let damaged = |error: prost::DecodeError| Undecodable::Damaged(error.to_string());
        let (mut address, mut options, mut message) = (Address::default(), Options::default(), None);
        while !bytes.is_empty() {
            let (number, wire_type) = decode_key(&mut bytes).map_err(damaged)?;
            let context = DecodeContext::default();
            match number {
                1..=4 => address.merge_field(number, wire_type, &mut bytes, context).map_err(damaged)?,
                8..=10 => options.merge_field(number, wire_type, &mut bytes, context).map_err(damaged)?,
                _ if is_message(number) && wire_type == WireType::LengthDelimited => {
                    let length = decode_varint(&mut bytes).map_err(damaged)?;
                    let parts =
                        usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
                    let (own, rest) =
                        parts.ok_or_else(|| Undecodable::Damaged("a message that is cut off".into()))?;
                    if message.replace((number, own)).is_some() {
                        return Err(Undecodable::Damaged("two commands in one".into()));
                    }
                    bytes = rest;
                }
                _ => skip_field(wire_type, number, &mut bytes, context).map_err(damaged)?,
            }
        }
        let message = message.ok_or_else(|| Undecodable::Damaged("a command of an unknown kind".into()))?;
        Ok(Self { address, options, message })
    }

    pub(super) fn tenant(&mut self) -> Result<TenantKey, Undecodable> {
        Ok(match self.address.new_tenant.take() {
            Some(NewTenant { name, tenants_max, stemmer, stop_words }) => {
                let analyzer = analyzer(&name, stemmer, stop_words)?;
                TenantKey::Name { name, tenants_max, analyzer }
            }
            None => TenantKey::Number(self.address.tenant),
        })
    }

    /// The request id, and how many the tenant may remember.
    pub(super) fn request(&self) -> Option<(RequestId, usize)> {
        let Address { request_high: Some(high), request_low: Some(low), .. } = self.address else {
            return None;
        };
        let id = RequestId::from_bits(u128::from(high) << 64 | u128::from(low));
        Some((id, self.options.request_ids_max as usize))
    }
}

impl Address {
    pub(super) fn new(tenant: &TenantKey, request: Option<&Request>) -> Self {
        let (number, new_tenant) = match tenant {
            TenantKey::Number(number) => (*number, None),
            TenantKey::Name { name, tenants_max, analyzer } => {
                let new_tenant = NewTenant {
                    name: name.clone(),
                    tenants_max: *tenants_max,
                    stemmer: analyzer.stemmer().map_or(0, Language::number),
                    stop_words: analyzer.stop_words().map_or(0, Language::number),
                };
                (0, Some(new_tenant))
            }
        };
        let bits = request.map(|request| request.id.bits());
        Self {
            tenant: number,
            request_high: bits.map(|bits| (bits >> 64) as u64),
            request_low: bits.map(|bits| bits as u64),
            new_tenant,
        }
    }

    pub(super) fn encode_into(&self, head: &mut Vec<u8>) {
        put(self, head);
    }
}

impl Options {
    /// The first of its fields.
    pub(super) const FIRST_FIELD: u32 = 8;

    pub(super) fn encode_into(mut self, request: Option<&Request>, head: &mut Vec<u8>) {
        self.request_ids_max = request.map_or(0, |request| request.ids_max as u64);
        put(&self, head);
    }
}

fn put(message: &impl Message, head: &mut Vec<u8>) {
    message.encode(head).expect("a vector has room for any message");
}

/// Appends a message as the field of this number.
pub(super) fn put_field(number: u32, message: &impl Message, head: &mut Vec<u8>) {
    let length = message.encoded_len();
    head.reserve(length + 10);
    begin_field(number, length, head);
    put(message, head);
}

/// Appends what comes before a message of `length` bytes.
pub(super) fn begin_field(number: u32, length: usize, head: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, head);
    encode_varint(length as u64, head);
}

/// Reads a command's own message.
pub(super) fn read<M: Message + Default>(message: &[u8]) -> Result<M, Undecodable> {
    M::decode(message).map_err(|error| Undecodable::Damaged(error.to_string()))
}

/// 0 is for none. What this build can't do is refused: it would find other things than the tenant
/// was promised.
fn analyzer(tenant: &str, stemmer: u32, stop_words: u32) -> Result<Analyzer, Undecodable> {
    let language = |what: &str, number| match number {
        0 => Ok(None),
        number => Language::from_number(number).map(Some).ok_or_else(|| {
            Undecodable::Unsupported(format!(
                "tenant {tenant} has {what} of language {number}, which only a newer version knows"
            ))
        }),
    };
    let mut analyzer = Analyzer::new();
    if let Some(language) = language("stop words", stop_words)? {
        analyzer = analyzer.with_stop_words(language);
    }
    if let Some(language) = language("a stemmer", stemmer)? {
        analyzer = analyzer
            .with_stemmer(language)
            .map_err(|error| Undecodable::Unsupported(format!("tenant {tenant}: {error}")))?;
    }
    Ok(analyzer)
}

/// How vectors are compared, by the number in the log.
pub(super) fn metric(number: u32) -> Result<Metric, Undecodable> {
    metric_from_number(number).ok_or_else(|| Undecodable::Damaged(format!("the unknown metric {number}")))
}

impl Attribute {
    pub(super) fn all(attributes: Attributes) -> Vec<Self> {
        let to_wire = |(name, value)| {
            let value = match value {
                AttributeValue::Bool(value) => Value::Bool(value),
                AttributeValue::Int(value) => Value::Int(value),
                AttributeValue::Float(value) => Value::Float(value),
                AttributeValue::Text(value) => Value::Text(value),
                _ => unreachable!("all kinds of values that this workspace has are listed"),
            };
            Self { name, value: Some(value) }
        };
        attributes.into_iter().map(to_wire).collect()
    }

    /// None for a value of an unknown kind.
    pub(super) fn into_pair(self) -> Option<(String, AttributeValue)> {
        let value = match self.value? {
            Value::Bool(value) => AttributeValue::Bool(value),
            Value::Int(value) => AttributeValue::Int(value),
            Value::Float(value) => AttributeValue::Float(value),
            Value::Text(value) => AttributeValue::Text(value),
        };
        Some((self.name, value))
    }

    /// Refuses values of an unknown kind.
    pub(super) fn check(attributes: &[Self]) -> Result<(), Undecodable> {
        if attributes.iter().all(|attribute| attribute.value.is_some()) {
            Ok(())
        } else {
            Err(Undecodable::Damaged("an attribute of an unknown kind".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::delete::Deletion;
    use crate::command::{Command, Operation};

    fn creating(stemmer: u32, stop_words: u32) -> Result<Analyzer, Undecodable> {
        let new_tenant = NewTenant { name: "acme".into(), tenants_max: 9, stemmer, stop_words };
        let mut bytes = Address { new_tenant: Some(new_tenant), ..Address::default() }.encode_to_vec();
        put_field(Deletion::FIELD, &Deletion::default(), &mut bytes);
        match Command::decode(&bytes)?.tenant {
            TenantKey::Name { analyzer, .. } => Ok(analyzer),
            TenantKey::Number(_) => panic!("it has a name"),
        }
    }

    /// Also what stands in a log that a tenant without an analyzer's fields was written to.
    #[test]
    fn a_command_tells_its_tenants_analyzer() {
        assert_eq!(creating(0, 0), Ok(Analyzer::new()));
        for language in Language::ALL {
            let stops = Analyzer::new().with_stop_words(language);
            assert_eq!(creating(0, language.number()), Ok(stops));
            match stops.with_stemmer(language) {
                Ok(both) => assert_eq!(creating(language.number(), language.number()), Ok(both)),
                Err(refused) => {
                    let told = creating(language.number(), language.number()).unwrap_err();
                    assert_eq!(told, Undecodable::Unsupported(format!("tenant acme: {refused}")));
                }
            }
        }
    }

    #[test]
    fn a_language_of_a_newer_version_is_told() {
        for (stemmer, stop_words, what) in [(9, 0, "a stemmer"), (0, 9, "stop words"), (9, 1, "a stemmer")] {
            let told = format!("tenant acme has {what} of language 9, which only a newer version knows");
            assert_eq!(creating(stemmer, stop_words), Err(Undecodable::Unsupported(told)));
        }
    }

    #[test]
    fn a_log_that_needs_another_build_is_not_called_damaged() {
        use crate::{Config, GraphMemory, OpenError, log::FileLog};

        let dir = tempfile::tempdir().unwrap();
        let memory = GraphMemory::open_blocking(dir.path(), Config::default()).unwrap();
        let new = steadfast_memory_api::Allocate::new("text");
        memory.tenant("acme").unwrap().allocate_blocking(new).unwrap();
        memory.close_blocking().unwrap();
        let refused = FileLog::open(dir.path(), &Config::default(), &mut |_, _| {
            creating(0, 9)?;
            Ok(())
        });
        match refused.map(drop) {
            Err(OpenError::Unsupported { seq, detail, .. }) => {
                assert_eq!((seq.get(), detail.contains("language 9")), (0, true), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_has_no_analyzer_is_written_as_ever() {
        let new_tenant = NewTenant { name: "a".into(), tenants_max: 9, ..NewTenant::default() };
        assert_eq!(new_tenant.encode_to_vec(), b"\x0a\x01a\x10\x09");
    }

    #[test]
    fn bytes_that_are_no_command_are_damaged() {
        let damaged = |bytes: &[u8], detail: &str| match Command::decode(bytes) {
            Err(Undecodable::Damaged(found)) => assert!(found.contains(detail), "{found}"),
            other => panic!("{other:?}"),
        };
        let mut one = Vec::new();
        put_field(Deletion::FIELD, &Deletion::default(), &mut one);
        assert!(Command::decode(&one).is_ok());
        damaged(&[one.as_slice(), &one].concat(), "two commands");
        damaged(&[], "unknown kind");
        let mut unknown = Vec::new();
        put_field(1000, &Deletion::default(), &mut unknown);
        damaged(&unknown, "unknown kind");
        // A field that this build doesn't know and that is no command is passed over.
        assert!(Command::decode(&[unknown.as_slice(), &one].concat()).is_ok());
        let mut cut = Vec::new();
        begin_field(Deletion::FIELD, 5, &mut cut);
        damaged(&cut, "cut off");
        cut.push(0xff);
        cut.truncate(1);
        damaged(&cut, "");
    }
}
