//! The best rows that a walk has met, in order.

/// A row whose links were followed carries this bit. Rows are fewer than 2^31.
const FOLLOWED: u32 = 1 << 31;

/// A sorted array of bounded length: it is small, and most rows offered to it are refused or go to
/// the end.
#[derive(Debug, Default)]
pub(super) struct Beam {
    width: usize,
    /// Highest key first.
    rows: Vec<(f32, u32)>,
    /// Everything before it was followed.
    next: usize,
}

impl Beam {
    pub(super) fn reset(&mut self, width: usize) {
        self.width = width.max(1);
        self.rows.clear();
        self.next = 0;
    }

    #[inline]
    pub(super) fn show(&mut self, key: f32, row: u32) {
        if self.rows.len() == self.width {
            let last = self.rows[self.width - 1].0;
            if key.total_cmp(&last).is_le() {
                return;
            }
            self.rows.pop();
        }
        let at = self.rows.partition_point(|(held, _)| held.total_cmp(&key).is_ge());
        self.rows.insert(at, (key, row));
        self.next = self.next.min(at);
    }

    /// Returns the best row whose links were not followed yet, and marks them followed.
    pub(super) fn next(&mut self) -> Option<(f32, u32)> {
        while let Some(held) = self.rows.get_mut(self.next) {
            self.next += 1;
            if held.1 & FOLLOWED == 0 {
                let found = *held;
                held.1 |= FOLLOWED;
                return Some(found);
            }
        }
        None
    }

    /// Returns what `next` would return now.
    pub(super) fn peek(&self) -> Option<u32> {
        self.rows[self.next.min(self.rows.len())..].iter().map(|held| held.1).find(|row| row & FOLLOWED == 0)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|held| held.1 & !FOLLOWED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order_and_each_is_followed_once() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (key, row) in [(1.0, 1), (3.0, 3), (2.0, 2), (0.0, 0)] {
            beam.show(key, row);
        }
        assert_eq!(beam.rows().collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(beam.next(), Some((3.0, 3)));
        assert_eq!(beam.peek(), Some(2));
        beam.show(4.0, 4);
        assert_eq!(beam.peek(), Some(4));
        let rest: Vec<u32> = std::iter::from_fn(|| beam.next()).map(|found| found.1).collect();
        assert_eq!(rest, [4, 2]);
        assert_eq!(beam.rows().collect::<Vec<_>>(), [4, 3, 2]);
        assert_eq!(beam.peek(), None);
    }
}
