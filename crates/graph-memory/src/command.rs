//! Commands: the contents of the log, their encoding, and how they are applied.
//!
//! A command is resolved before it enters the log: it is validated, its slug is folded, and it gets
//! the limits that its outcome depends on. Applying it needs only its tenant's value and its
//! [`Stamp`].
//!
//! Each kind of command is one file of this folder, which implements [`Operation`], and one line of
//! [`commands!`] below. This file holds what all kinds have in common: the tenant, the request id,
//! the registration and the dispatch. [`wire`] holds the envelope, a Protocol Buffers message
//! (fields by number, so it can grow); a command's own message is one of its fields.
//!
//! # Applying is deterministic and total
//! [`Change::apply`] depends on the value, the command, its place in the log, the log's time and
//! the format of its batch, and on nothing else: no configuration, no limit but those in the
//! command, no clock, no table of Unicode, no hash map's order, no floating point arithmetic. It
//! can't fail: what goes against the state is a [`Refusal`]. So the same log makes the same state
//! everywhere, and a durable command can't keep a store from opening. The indexes, being derived,
//! take no part in any outcome.

mod allocate;
mod delete;
mod update;
mod wire;

#[cfg(test)]
mod conformance;

use std::fmt::Debug;

use steadfast_memory_api::{Limits, MemoryError, Outcome, RequestId, Seq};
use steadfast_text_index::Analyzer;
use steadfast_vector_index::Metric;

pub(crate) use {allocate::NewMemory, delete::Deletion, update::MemoryPatch};

use crate::log::Rejected;
use crate::refusal::{Refusal, StableHash};
use crate::value::TenantValue;
use wire::{Address, Envelope, Options};

/// Registers the kinds of commands: makes [`Change`] and [`Answer`] and passes each of their
/// methods on to the kind at hand. A macro, since an enum's variants can't come from anything else.
macro_rules! commands {
    ($($kind:ident($operation:ty)),+ $(,)?) => {
        /// What a command does: one variant for each kind.
        #[derive(Debug)]
        pub(crate) enum Change {
            $($kind($operation)),+
        }

        /// What a command that was carried out answers: one variant for each kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Answer {
            $($kind(<$operation as Operation>::Answer)),+
        }

        $(
            impl Registered for $operation {
                fn into_change(self) -> Change {
                    Change::$kind(self)
                }

                fn own_answer(answer: Answer) -> Option<Self::Answer> {
                    match answer {
                        Answer::$kind(answer) => Some(answer),
                        _ => None,
                    }
                }
            }
        )+

        impl Change {
            /// Whether a field of this number is the message of a command.
            fn is_message(number: u32) -> bool {
                matches!(number, $(<$operation as Operation>::FIELD)|+)
            }

            fn decode((number, message): (u32, &[u8]), options: &Options) -> Result<Self, Undecodable> {
                match number {
                    $(<$operation as Operation>::FIELD => {
                        <$operation as Operation>::decode(message, options).map(Self::$kind)
                    })+
                    _ => Err(Undecodable::Damaged(format!("a command of the unknown kind {number}"))),
                }
            }

            fn number(&self) -> u32 {
                match self {
                    $(Self::$kind(_) => <$operation as Operation>::FIELD),+
                }
            }

            fn options(&self) -> Options {
                match self {
                    $(Self::$kind(operation) => operation.options()),+
                }
            }

            fn encode(&self, head: &mut Vec<u8>) {
                match self {
                    $(Self::$kind(operation) => operation.encode(head)),+
                }
            }

            fn content(&self) -> &[u8] {
                match self {
                    $(Self::$kind(operation) => operation.content()),+
                }
            }

            fn fingerprint(&self) -> u64 {
                match self {
                    $(Self::$kind(operation) => operation.fingerprint()),+
                }
            }

            /// Applies the change to its tenant's next value.
            pub(crate) fn apply(self, value: &mut TenantValue, stamp: Stamp) -> Effect {
                match self {
                    $(Self::$kind(operation) => operation.apply(value, stamp).map(Answer::$kind)),+
                }
            }
        }

        impl Answer {
            /// Whether it answers changes of this kind.
            pub(crate) fn is_of(&self, change: &Change) -> bool {
                match self {
                    $(Self::$kind(_) => matches!(change, Change::$kind(_))),+
                }
            }
        }

        impl StableHash for Answer {
            fn stable(&self) -> (u8, [u64; 4]) {
                match self {
                    $(Self::$kind(answer) => answer.stable()),+
                }
            }
        }

        /// Shows each kind of command to `visit`.
        #[cfg(test)]
        fn visit_all(visit: &mut impl conformance::Visit) {
            $(visit.kind::<$operation>(stringify!($kind));)+
        }
    };
}

commands! {
    Allocate(NewMemory),
    Update(Box<MemoryPatch>),
    Delete(Deletion),
}

/// The outcome of a command.
pub(crate) type Effect = Result<Answer, Refusal>;

/// A kind of command.
pub(crate) trait Operation: Sized + Debug {
    /// The field number of its message in the envelope. Numbers are never reused; 1 to 4 and 8 to
    /// 10 are the envelope's own.
    const FIELD: u32;
    /// Whether it creates its tenant if that doesn't exist.
    const CREATES_TENANT: bool = false;
    /// The caller's request.
    type Request;
    /// The answer to the caller.
    type Answer: Clone + Debug + Eq + StableHash;

    /// Checks a request and resolves it.
    fn resolve(request: Self::Request, context: &Context<'_>) -> Result<Self, MemoryError>;

    /// Returns the request id of a request.
    fn request_id(request: &Self::Request) -> Option<RequestId>;

    /// Returns the slug of the request, for the error that reports it as taken.
    fn slug(&self) -> Option<&str> {
        None
    }

    /// Returns its fields in the envelope. Only two of the first kinds have any.
    fn options(&self) -> Options {
        Options::default()
    }

    /// Appends its message as the field [`FIELD`](Self::FIELD), without the bytes of `content`.
    fn encode(&self, head: &mut Vec<u8>);

    /// Returns the last bytes of its message, if the state keeps the same bytes: the log copies
    /// them from there.
    fn content(&self) -> &[u8] {
        &[]
    }

    /// Decodes its message.
    fn decode(message: &[u8], options: &Options) -> Result<Self, Undecodable>;

    /// Returns a hash of the request without limits, which may differ when it is sent again. New
    /// kinds hash their message without limits, seeded with [`FIELD`](Self::FIELD).
    fn fingerprint(&self) -> u64;

    /// Applies it to its tenant's next value. A refusal leaves the value unchanged.
    fn apply(self, value: &mut TenantValue, stamp: Stamp) -> Result<Self::Answer, Refusal>;
}

/// What the registration adds to an [`Operation`].
pub(crate) trait Registered: Operation {
    fn into_change(self) -> Change;

    /// Returns the answer if it is of this kind.
    fn own_answer(answer: Answer) -> Option<Self::Answer>;
}

/// The inputs, beside the request, of [`Operation::resolve`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    /// The tenant's, or those that it would get.
    pub(crate) metric: Metric,
    pub(crate) analyzer: Analyzer,
}

/// A command's position and time in the log, and the format whose rules apply to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: Seq,
    /// The log's time, in Unix milliseconds; never less than that of the command before.
    pub(crate) now_ms: u64,
    /// The format of the batch that holds it; never less than that of the command before.
    pub(crate) format: u32,
}

/// Which tenant a command is for.
#[derive(Debug)]
pub(crate) enum TenantKey {
    /// The one with this number.
    Number(u32),
    /// The one with this name. A first memory creates it, with this analyzer, while there are fewer
    /// than `tenants_max`.
    Name { name: String, tenants_max: u64, analyzer: Analyzer },
}

/// A request id, with a hash of the request that tells a retry from another use of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) fingerprint: u64,
    /// How many requests the tenant may remember afterwards.
    pub(crate) ids_max: usize,
}

/// A command, ready to be applied.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) tenant: TenantKey,
    pub(crate) request: Option<Request>,
    pub(crate) change: Change,
}

/// Why bytes are not a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// No build writes such bytes.
    Damaged(String),
    /// Another build wrote them.
    Unsupported(String),
}

impl From<Undecodable> for Rejected {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Damaged(detail) => Self::Damaged(detail),
            Undecodable::Unsupported(detail) => Self::Unsupported(detail),
        }
    }
}

impl Command {
    /// A resolved request; `request` is its id, and how many ids the tenant may remember.
    pub(crate) fn new(
        tenant: TenantKey,
        request: Option<(RequestId, usize)>,
        operation: impl Registered,
    ) -> Self {
        Self::of_change(tenant, request, operation.into_change())
    }

    fn of_change(tenant: TenantKey, request: Option<(RequestId, usize)>, change: Change) -> Self {
        let request = request.map(|(id, ids_max)| Request { id, fingerprint: change.fingerprint(), ids_max });
        Self { tenant, request, change }
    }

    /// A command from its bytes in the log.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut envelope = Envelope::decode(bytes, Change::is_message)?;
        let change = Change::decode(envelope.message, &envelope.options)?;
        Ok(Self::of_change(envelope.tenant()?, envelope.request(), change))
    }
}

/// A command with its bytes for the log.
#[derive(Debug)]
pub(crate) struct EncodedCommand {
    pub(crate) command: Command,
    /// All but the content that the command shares with the state.
    head: Vec<u8>,
}

impl EncodedCommand {
    pub(crate) fn new(command: Command) -> Self {
        let Command { tenant, request, change } = &command;
        // Most heads are shorter.
        let mut head = Vec::with_capacity(64);
        Address::new(tenant, request.as_ref()).encode_into(&mut head);
        // In the order of the fields' numbers, but for content, which comes last.
        let options = change.options();
        if change.number() < Options::FIRST_FIELD && change.content().is_empty() {
            change.encode(&mut head);
            options.encode_into(request.as_ref(), &mut head);
        } else {
            options.encode_into(request.as_ref(), &mut head);
            change.encode(&mut head);
        }
        Self { command, head }
    }

    /// The bytes for the log: one part after the other.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.command.change.content()]
    }

    /// How many bytes that is.
    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

/// The answer of the first three kinds, which share its number.
impl StableHash for steadfast_memory_api::Answer {
    fn stable(&self) -> (u8, [u64; 4]) {
        let outcome = match self.outcome {
            Outcome::Created => 1,
            Outcome::Existing => 2,
            Outcome::Updated => 3,
            Outcome::Deleted => 4,
            _ => unreachable!("apply makes no other outcome"),
        };
        (1, [self.id.get(), self.version.get(), outcome, self.seq.get()])
    }
}
