//! The half-open state's probes: at most K at a time, none for ever.
//!
//! A slot is one word: `generation: 20 | mark: 8 | expiry: 36`. A probe takes a slot that is free, expired or of an earlier generation by compare-and-swap, and ends by
//! a compare-and-swap from exactly what it put there: a second end, or an end after another probe took the slot over, fails. What a probe
//! found stays in its slot until the generation is over; so a generation counts at most K outcomes, and the slots are their only record.

use crate::outcomes::Mark;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::{remaining_ms, wrapped_ms};

const EXPIRY_BITS: u32 = 36;
const EXPIRY_MASK: u64 = (1 << EXPIRY_BITS) - 1;
const MARK_BITS: u32 = 8;
const GENERATION_SHIFT: u32 = EXPIRY_BITS + MARK_BITS;

const FREE: u64 = 0;
const LIVE: u64 = 1;
/// Plus 1 for a failure and 2 for a slow call.
const DONE: u64 = 2;

/// The right to one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    slot: u32,
    /// What was put into the slot.
    value: u64,
}

impl Lease {
    /// In one word without the generation, which whoever carries it has anyway; never 0.
    pub(crate) fn packed(self) -> u64 {
        (u64::from(self.slot) + 1) << EXPIRY_BITS | self.value & EXPIRY_MASK
    }

    /// The lease of `generation` that was [`Self::packed`].
    pub(crate) fn unpacked(packed: u64, generation: u64) -> Self {
        let slot = (packed >> EXPIRY_BITS) as u32 - 1;
        Self { slot, value: pack(generation, LIVE, packed & EXPIRY_MASK) }
    }
}

/// What the probes of a generation found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) live: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
}

pub(crate) struct Leases {
    slots: Box<[AtomicU64]>,
}

fn pack(generation: u64, mark: u64, expiry_ms: u64) -> u64 {
    generation << GENERATION_SHIFT | mark << EXPIRY_BITS | wrapped_ms(expiry_ms)
}

fn generation_of(value: u64) -> u64 {
    value >> GENERATION_SHIFT
}

fn mark_of(value: u64) -> u64 {
    value >> EXPIRY_BITS & ((1 << MARK_BITS) - 1)
}

fn is_expired(value: u64, now_ms: u64) -> bool {
    remaining_ms(value & EXPIRY_MASK, now_ms) == 0
}

impl Leases {
    pub(crate) fn new(probes: usize) -> Self {
        Self { slots: (0..probes).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Takes a free slot for `lease_ms`, from 1; nothing if all are taken. `is_current` tells whether `generation` still is the breaker's.
    pub(crate) fn acquire(
        &self,
        generation: u64,
        now_ms: u64,
        lease_ms: u64,
        is_current: impl Fn() -> bool,
    ) -> Option<Lease> {
        // At least a millisecond after `now_ms`: a lease that takes an expired one over never has the same value.
        let value = pack(generation, LIVE, now_ms.wrapping_add(lease_ms));
        for (slot, word) in self.slots.iter().enumerate() {
            let mut seen = word.load(Ordering::Acquire);
            loop {
                let takeable = if generation_of(seen) == generation {
                    mark_of(seen) == FREE || (mark_of(seen) == LIVE && is_expired(seen, now_ms))
                } else {
                    // Of another generation: of an earlier one if ours was still the breaker's after it was seen.
                    is_current()
                };
                if !takeable {
                    break;
                }
                match word.compare_exchange(seen, value, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(Lease { slot: slot as u32, value }),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Ends a probe with what it found. False if the lease was taken over: the probe is expired and nothing counts.
    pub(crate) fn finish(&self, lease: Lease, mark: Mark) -> bool {
        self.end(lease, DONE + u64::from(mark.failed) + 2 * u64::from(mark.slow))
    }

    /// Gives a slot back to another probe. False if the lease was taken over.
    pub(crate) fn release(&self, lease: Lease) -> bool {
        self.end(lease, FREE)
    }

    fn end(&self, lease: Lease, mark: u64) -> bool {
        let ended = pack(generation_of(lease.value), mark, 0);
        let word = &self.slots[lease.slot as usize];
        let done = word.compare_exchange(lease.value, ended, Ordering::AcqRel, Ordering::Acquire).is_ok();
        // Partner: the same fence of another probe that ends. The later one sees both in `found`.
        fence(Ordering::SeqCst);
        done
    }

    /// What there is of `generation`.
    pub(crate) fn found(&self, generation: u64) -> Found {
        let mut found = Found::default();
        for word in &self.slots {
            let value = word.load(Ordering::Acquire);
            let mark = mark_of(value);
            if generation_of(value) != generation || mark == FREE {
                continue;
            }
            if mark == LIVE {
                found.live += 1;
            } else {
                found.done += 1;
                found.failed += (mark - DONE) & 1;
                found.slow += (mark - DONE) >> 1;
            }
        }
        found
    }

    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;
    use crate::word::WAIT_MS_MAX;

    #[test]
    fn a_lease_comes_back_from_its_word() {
        let leases = Leases::new(1024);
        for generation in [0, 1, 0xF_FFFF] {
            for now_ms in [0, (1 << 36) - 1, 12_345_678_901] {
                for _ in 0..1024 {
                    let lease = leases.acquire(generation, now_ms, WAIT_MS_MAX, || true).unwrap();
                    assert_ne!(lease.packed(), 0);
                    assert_eq!(Lease::unpacked(lease.packed(), generation), lease);
                }
                assert_eq!(leases.acquire(generation, now_ms, WAIT_MS_MAX, || false), None);
                leases.slots.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
            }
        }
    }
}
