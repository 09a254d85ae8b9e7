//! How long dials were under way, of an address or of all: what a request that ran out of time is told.

use crate::slots::Nanos;

/// Runs while something is ordered. Times are told at each step; a step that was late doesn't set it back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    at: Nanos,
    /// Dials that were ordered and haven't ended, and those of them that have had their turn.
    ordered: usize,
    turned: usize,
    /// Dials that were ever ordered.
    begun: u64,
    /// How long at least one dial had its turn.
    dialling: Nanos,
    /// How long there were dials, but all waited for their turn.
    queued: Nanos,
}

/// What a clock showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) begun: u64,
    pub(crate) dialling: Nanos,
    pub(crate) queued: Nanos,
}

impl Clock {
    fn advance(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if self.turned > 0 {
            self.dialling += passed;
        } else if self.ordered > 0 {
            self.queued += passed;
        }
    }

    /// A dial is ordered.
    pub(crate) fn order(&mut self, now: Nanos) {
        self.advance(now);
        self.ordered += 1;
        self.begun += 1;
    }

    /// A dial's turn has come.
    pub(crate) fn turn(&mut self, now: Nanos) {
        self.advance(now);
        self.turned += 1;
    }

    /// A dial ended.
    pub(crate) fn end(&mut self, had_turn: bool, now: Nanos) {
        self.advance(now);
        self.ordered -= 1;
        self.turned -= usize::from(had_turn);
    }

    pub(crate) fn has_turn(&self) -> bool {
        self.turned > 0
    }

    pub(crate) fn has_order(&self) -> bool {
        self.ordered > 0
    }

    pub(crate) fn read(&self, now: Nanos) -> Reading {
        let mut shown = *self;
        shown.advance(now);
        Reading { begun: shown.begun, dialling: shown.dialling, queued: shown.queued }
    }
}

impl Reading {
    /// What has passed since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            begun: self.begun.saturating_sub(before.begun),
            dialling: self.dialling.saturating_sub(before.dialling),
            queued: self.queued.saturating_sub(before.queued),
        }
    }
}
