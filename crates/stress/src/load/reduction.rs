//! By how much tier smoke shortens a load.

/// By how much tier smoke shortens a load. The default is not at all; nothing ever falls below 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    pub(super) users: u32,
    pub(super) operations: u32,
    pub(super) duration: u32,
}

impl Reduction {
    /// The full load.
    pub fn none() -> Self {
        Self { users: 1, operations: 1, duration: 1 }
    }

    /// Divides the number of users of a closed loop.
    #[must_use]
    pub fn users(mut self, divisor: u32) -> Self {
        self.users = divisor;
        self
    }

    /// Divides the operations of each user of a closed loop.
    #[must_use]
    pub fn operations(mut self, divisor: u32) -> Self {
        self.operations = divisor;
        self
    }

    /// Divides the duration of each phase. Never the rate: that would be an easier target, not a shorter run.
    #[must_use]
    pub fn duration(mut self, divisor: u32) -> Self {
        self.duration = divisor;
        self
    }
}

impl Default for Reduction {
    fn default() -> Self {
        Self::none()
    }
}
