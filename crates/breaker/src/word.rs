//! The packed words: a number and the generation or epoch that it belongs to, changed together.
//!
//! A state word is `deadline: 36 | generation: 20 | openings: 5 | state: 3`, so that whoever sees a state sees its generation and its
//! deadline. Deadlines are milliseconds modulo 2^36 and are compared by their distance, which is right within a year of each other.
//! Counters are `generation: 20 | count: 44`.

/// Bits of a generation. A permit that outlives exactly 2^20 generations would be taken for one of the present.
pub(crate) const GENERATION_BITS: u32 = 20;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const STATE_BITS: u32 = 3;
const OPENINGS_BITS: u32 = 5;
const OPENINGS_MAX: u64 = (1 << OPENINGS_BITS) - 1;
const GENERATION_SHIFT: u32 = STATE_BITS + OPENINGS_BITS;
const DEADLINE_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;
/// Bits of a deadline in milliseconds: two years, half of which can be told from the past.
const DEADLINE_BITS: u32 = 64 - DEADLINE_SHIFT;
const DEADLINE_MASK: u64 = (1 << DEADLINE_BITS) - 1;
/// The longest time that may lie between now and a deadline, in milliseconds: about a year.
pub(crate) const WAIT_MS_MAX: u64 = (1 << (DEADLINE_BITS - 1)) - 1;

/// Bits of a counter beside its generation.
const COUNT_BITS: u32 = 64 - GENERATION_BITS;
/// The highest count; nothing is counted beyond.
pub(crate) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// What a breaker does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass and are counted; enough failures open the breaker.
    Closed,
    /// Calls are refused until the deadline.
    Open,
    /// A few probes pass; their outcomes decide between `Closed` and `Open`.
    HalfOpen,
    /// By hand: every call is refused, until it is changed by hand.
    ForcedOpen,
    /// By hand: every call passes and is counted in the totals; nothing opens the breaker.
    ForcedClosed,
    /// By hand: every call passes and its outcome is ignored. Budgets still hold.
    Disabled,
    /// By hand: every call passes and is judged; that the breaker would have opened is only counted.
    MetricsOnly,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::ForcedClosed,
        Self::Disabled,
        Self::MetricsOnly,
    ];

    /// Whether only a person gets the breaker out of it.
    pub fn is_manual(self) -> bool {
        matches!(self, Self::ForcedOpen | Self::ForcedClosed | Self::Disabled | Self::MetricsOnly)
    }
}

/// State, generation, deadline and the number of openings in a row, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) fn new(state: State, generation: u64, openings: u64, deadline_ms: u64) -> Self {
        Self(
            (deadline_ms & DEADLINE_MASK) << DEADLINE_SHIFT
                | (generation & GENERATION_MASK) << GENERATION_SHIFT
                | openings.min(OPENINGS_MAX) << STATE_BITS
                | state as u64,
        )
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        // The eighth value is never written.
        State::ALL[((self.0 & 7) as usize).min(6)]
    }

    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.0 & 7 == State::Closed as u64
    }

    #[inline]
    pub(crate) fn is_open(self) -> bool {
        self.0 & 7 == State::Open as u64
    }

    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT & GENERATION_MASK
    }

    pub(crate) fn next_generation(self) -> u64 {
        (self.generation() + 1) & GENERATION_MASK
    }

    pub(crate) fn openings(self) -> u64 {
        self.0 >> STATE_BITS & OPENINGS_MAX
    }

    /// Milliseconds from `now_ms` until the deadline; 0 when it has passed.
    #[inline]
    pub(crate) fn remaining_ms(self, now_ms: u64) -> u64 {
        remaining_ms(self.0 >> DEADLINE_SHIFT, now_ms)
    }
}

/// Milliseconds until `deadline_ms`, both modulo 2^36; 0 when it has passed.
#[inline]
pub(crate) fn remaining_ms(deadline_ms: u64, now_ms: u64) -> u64 {
    let distance = deadline_ms.wrapping_sub(now_ms) & DEADLINE_MASK;
    if distance > WAIT_MS_MAX { 0 } else { distance }
}

/// `milliseconds` as they are kept in a word.
pub(crate) fn wrapped_ms(milliseconds: u64) -> u64 {
    milliseconds & DEADLINE_MASK
}

/// A count of one generation.
#[inline]
pub(crate) fn counter(generation: u64, count: u64) -> u64 {
    generation << COUNT_BITS | count
}

#[inline]
pub(crate) fn generation_of(counter: u64) -> u64 {
    counter >> COUNT_BITS
}

#[inline]
pub(crate) fn count_of(counter: u64) -> u64 {
    counter & COUNT_MAX
}

/// Whether generation `a` came before `b`, within half of the circle.
#[inline]
pub(crate) fn is_before(a: u64, b: u64) -> bool {
    let distance = b.wrapping_sub(a) & GENERATION_MASK;
    distance != 0 && distance <= GENERATION_MASK / 2
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        for state in State::ALL {
            let word = Word::new(state, 0xF_FFFF, 40, 123_456_789);
            assert_eq!(word.state(), state);
            assert_eq!((word.generation(), word.openings()), (0xF_FFFF, 31));
            assert_eq!(word.remaining_ms(123_456_000), 789);
            assert_eq!(word.next_generation(), 0);
        }
    }

    #[test]
    fn deadlines_are_compared_round_the_wrap() {
        let edge = 1 << 36;
        assert_eq!(remaining_ms(wrapped_ms(edge + 5), edge - 5), 10);
        assert_eq!(remaining_ms(wrapped_ms(edge - 5), edge + 5), 0);
    }

    #[test]
    fn generations_are_ordered_round_the_wrap() {
        assert!(is_before(0xF_FFFF, 0) && is_before(3, 4));
        assert!(!is_before(4, 4) && !is_before(0, 0xF_FFFF));
    }
}
