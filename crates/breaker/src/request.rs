//! What a caller asks for, and what it is told when it can't have it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::events::Level;
use crate::scope::Scope;

/// How much a call matters. When money is short, the lower classes go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Shed as soon as a budget throttles.
    Background,
    /// Thinned out while a budget throttles: every other call passes.
    #[default]
    Normal,
    /// Goes on until the money is gone.
    Critical,
}

/// What a call will cost, as far as it is known beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cost {
    /// Nothing, and the caller says so.
    #[default]
    Free,
    /// So many nano-units.
    Nano(u64),
    /// As the breaker's estimator has it for the request's operation.
    Tokens {
        /// Tokens sent.
        input: u64,
        /// Tokens that may come back, at most.
        output_max: u64,
    },
    /// Nobody knows. What then happens is the breaker's `on_unpriced`: refused, unless somebody said otherwise.
    Unknown,
}

/// One call that wants to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What it will cost.
    pub cost: Cost,
    /// How much it matters.
    pub class: Class,
    /// What rules and the estimator know it by.
    pub operation: &'a str,
    /// Who pays: all of them, or the call isn't made. Their limits and the rules that match are at most eight together.
    pub scopes: &'a [Scope],
}

/// Why a call wasn't let through. None of these says anything about the dependency, and none counts as its failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The breaker is open.
    Open {
        /// When it lets a probe through: never too soon, and too late by no more than the clock's bounds are apart (a tick of the kernel with [`SystemClock`](crate::SystemClock)).
        retry_after: Duration,
    },
    /// The breaker is half-open, and all its probes are out.
    ProbesBusy,
    /// Somebody closed the way by hand.
    Forced,
    /// A scope, or a rule with a limit, hasn't enough. Estimates of calls that still run count as held: some of it may come back.
    Budget {
        /// Whose budget.
        scope: Arc<str>,
        /// What the call needs, in nano-units.
        needed_nano: u64,
        /// What was free at that moment, in nano-units.
        available_nano: u64,
        /// When the budget begins anew; `None` if never, or if its ledger alone knows.
        resets_in: Option<Duration>,
        /// Whether the call fits once running calls have given back what they hold, or the budget has begun anew: false if it is over the whole limit, or if
        /// what was settled for ever leaves too little. A ledger elsewhere is taken to begin never anew; true if it can't tell how it stands.
        may_fit: bool,
    },
    /// A budget is nearly used up, and the call doesn't matter enough.
    Shed {
        /// Whose budget.
        scope: Arc<str>,
        /// The level that it came to.
        level: Level,
        /// When the budget begins anew; `None` if never.
        resets_in: Option<Duration>,
        /// Whether such a call may pass once running calls have given back what they hold, the budget has begun anew, or, for a normal call, at the next
        /// asking: every other one passes.
        may_pass: bool,
    },
    /// A rule allows a single call no more than this.
    TooExpensive {
        /// The rule.
        rule: Arc<str>,
        /// What the call needs, in nano-units.
        needed_nano: u64,
        /// What it may cost, in nano-units.
        allowed_nano: u64,
    },
    /// A rule's cool-down hasn't passed.
    Cooldown {
        /// The rule.
        rule: Arc<str>,
        /// When it has.
        retry_after: Duration,
    },
    /// Nobody knows what the call costs, and unknown is not free.
    Unpriced,
    /// A scope's ledger can't be reached, and unknown is not free.
    LedgerUnavailable {
        /// Whose ledger.
        scope: Arc<str>,
    },
    /// More limits than a permit holds.
    TooManyLimits {
        /// The limits of the request's scopes and of the rules that match it.
        limits: usize,
        /// What is possible.
        limits_max: usize,
    },
}

impl Rejected {
    /// Whether the same call may pass later without anybody changing limits or states.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open { .. } | Self::ProbesBusy | Self::Cooldown { .. } | Self::LedgerUnavailable { .. } => {
                true
            }
            Self::Budget { may_fit, .. } => *may_fit,
            Self::Shed { may_pass, .. } => *may_pass,
            Self::Forced | Self::TooExpensive { .. } | Self::Unpriced | Self::TooManyLimits { .. } => false,
        }
    }

    /// How long to wait before it is worth asking again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after } | Self::Cooldown { retry_after, .. } => Some(*retry_after),
            Self::Budget { resets_in, .. } | Self::Shed { resets_in, .. } => *resets_in,
            _ => None,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { retry_after } => write!(f, "the breaker is open for another {retry_after:?}"),
            Self::ProbesBusy => f.write_str("the breaker is half-open and its probes are out"),
            Self::Forced => f.write_str("the breaker was opened by hand"),
            Self::Budget { scope, needed_nano, available_nano, .. } => {
                write!(f, "{scope}: {needed_nano} nano-units needed, {available_nano} free")
            }
            Self::Shed { scope, .. } => write!(f, "{scope}: nearly used up, the call was shed"),
            Self::TooExpensive { rule, needed_nano, allowed_nano } => {
                write!(f, "{rule}: a call of {needed_nano} nano-units, {allowed_nano} allowed")
            }
            Self::Cooldown { rule, retry_after } => {
                write!(f, "{rule}: cools down for another {retry_after:?}")
            }
            Self::Unpriced => f.write_str("nobody knows what the call costs"),
            Self::LedgerUnavailable { scope } => write!(f, "{scope}: its ledger can't be reached"),
            Self::TooManyLimits { limits, limits_max } => {
                write!(f, "{limits} limits for one call, {limits_max} are possible")
            }
        }
    }
}

impl std::error::Error for Rejected {}

/// Why a guarded call gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// It wasn't made.
    Rejected(Rejected),
    /// It was made, and failed like this.
    Failed(E),
}

impl<E> CallError<E> {
    /// Whether the breaker says that the call may pass later; what failed is for the caller to judge.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rejected(rejected) if rejected.is_retryable())
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Failed(error) => error.source(),
        }
    }
}

impl<E> From<Rejected> for CallError<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}
