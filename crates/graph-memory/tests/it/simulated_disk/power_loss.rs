//! What is left of unsynced work when the power fails: extremes, chosen tears, chance.

use super::image::{Kept, Unsynced};
use steadfast_testkit::TestRng;

/// Decides what survives of everything that was not synced.
#[derive(Clone, Debug)]
pub(crate) enum Survival {
    /// The disk had done nothing on its own account.
    NothingUnsynced,
    /// The disk had been faster than it needed to.
    EverythingUnsynced,
    /// All but the last write, and of that one these parts.
    LastWrite(Kept),
    /// By chance, from this seed.
    Random(u64),
}

/// The decisions of a [`Survival`] for one loss of power.
pub(super) struct Survivors<'a> {
    survival: &'a Survival,
    /// The place of the last write among all.
    last: Option<u64>,
    rng: TestRng,
}

impl<'a> Survivors<'a> {
    pub(super) fn new(survival: &'a Survival, last: Option<u64>) -> Self {
        let seed = if let Survival::Random(seed) = survival { *seed } else { 0 };
        Self { survival, last, rng: TestRng::new(seed) }
    }

    pub(super) fn of_write(&mut self, write: &Unsynced) -> Kept {
        match self.survival {
            Survival::NothingUnsynced => Kept::nothing(),
            Survival::LastWrite(kept) if Some(write.order) == self.last => kept.clone(),
            Survival::LastWrite(_) | Survival::EverythingUnsynced => Kept::prefix(write.bytes.len()),
            Survival::Random(_) => Kept::random(&write.range(), &mut self.rng),
        }
    }

    pub(super) fn of_entries(&mut self, changes: usize) -> Vec<bool> {
        match self.survival {
            Survival::NothingUnsynced => vec![false; changes],
            Survival::LastWrite(_) | Survival::EverythingUnsynced => vec![true; changes],
            Survival::Random(_) => random_entries(changes, &mut self.rng),
        }
    }
}

/// Mostly the first few changes, as a journal keeps them; sometimes any of them, since nothing promises their order.
pub(super) fn random_entries(changes: usize, rng: &mut TestRng) -> Vec<bool> {
    if rng.chance(1, 4) {
        return (0..changes).map(|_| rng.chance(1, 2)).collect();
    }
    let first = rng.below(changes as u64 + 1) as usize;
    (0..changes).map(|at| at < first).collect()
}
