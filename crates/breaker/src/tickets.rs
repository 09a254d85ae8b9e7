//! The tickets of one permit: which epoch, or which reservation of a ledger elsewhere, each of its limits was held in.

/// The limits and rules that one permit can be held in.
pub const TICKETS_MAX: usize = 8;

/// Tickets by their places: those of the scopes' limits in order, then those of the rules that were paid. The first is whole. The others are kept in
/// halves, for the upper ones of epochs are nearly always 0: a permit stays small, and only numbers from 2^32 on take an allocation. Those are a ledger's own, or
/// the epochs of a very short sliding period on a clock that has run for long: of 8 ms, after 49 days.
#[derive(Clone, Default)]
pub(crate) struct Tickets {
    first: u64,
    /// By place; the first one's is empty, so that all are copied by whole registers.
    low: [u32; TICKETS_MAX],
    high: Option<Box<[u32; TICKETS_MAX]>>,
}

impl Tickets {
    /// One ticket, in the first place.
    #[inline(always)]
    pub(crate) fn one(ticket: u64) -> Self {
        Self { first: ticket, low: [0; TICKETS_MAX], high: None }
    }

    pub(crate) fn set(&mut self, at: usize, ticket: u64) {
        if at == 0 {
            self.first = ticket;
            return;
        }
        self.low[at] = ticket as u32;
        let high = (ticket >> 32) as u32;
        if high != 0 || self.high.is_some() {
            self.high.get_or_insert_default()[at] = high;
        }
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> u64 {
        if at == 0 {
            return self.first;
        }
        let high = self.high.as_ref().map_or(0, |high| high[at]);
        u64::from(high) << 32 | u64::from(self.low[at])
    }

    /// The first of them, if they own nothing.
    #[inline(always)]
    pub(crate) fn first_of_few(&self) -> Option<u64> {
        self.high.is_none().then_some(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_come_back_as_they_were() {
        let mut tickets = Tickets::default();
        let given = [7 << 33, u64::from(u32::MAX), 1 << 32, u64::MAX, 0, 3 << 40 | 5, 9, 1];
        for (at, &ticket) in given.iter().enumerate() {
            tickets.set(at, ticket);
            assert_eq!(tickets.first_of_few(), (at < 2).then_some(7 << 33));
            assert_eq!(Tickets::one(ticket).get(0), ticket);
        }
        // Places are taken again: a rule that refuses leaves its place to the next.
        tickets.set(3, 4);
        let expected = [7 << 33, u64::from(u32::MAX), 1 << 32, 4, 0, 3 << 40 | 5, 9, 1];
        assert_eq!(std::array::from_fn(|at| tickets.get(at)), expected);
    }
}
