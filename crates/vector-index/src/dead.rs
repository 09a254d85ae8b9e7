//! The removed rows: bits in pages, which snapshots share and which are copied one at a time.

use std::sync::Arc;

/// Bits of a page.
const PAGE: usize = 4096;
const WORDS: usize = PAGE / 64;

/// A set of row numbers that only grows. A clone shares every page.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeadRows {
    /// None where no bit is set.
    pages: Arc<Vec<Option<Arc<[u64; WORDS]>>>>,
    count: usize,
}

impl DeadRows {
    /// Adds a row and returns whether it was new.
    pub(crate) fn insert(&mut self, row: usize) -> bool {
        if self.contains(row) {
            return false;
        }
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= row / PAGE {
            pages.resize(row / PAGE + 1, None);
        }
        let page = pages[row / PAGE].get_or_insert_with(|| Arc::new([0; WORDS]));
        Arc::make_mut(page)[row % PAGE / 64] |= 1 << (row % 64);
        self.count += 1;
        true
    }

    #[inline]
    pub(crate) fn contains(&self, row: usize) -> bool {
        if self.count == 0 {
            return false;
        }
        let page = self.pages.get(row / PAGE).and_then(Option::as_ref);
        page.is_some_and(|page| page[row % PAGE / 64] >> (row % 64) & 1 == 1)
    }

    /// Returns how many rows are dead.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the rows in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let pages = self.pages.iter().enumerate();
        let pages = pages.filter_map(|(number, page)| page.as_ref().map(|page| (number, page)));
        pages.flat_map(|(number, page)| {
            let bits = (0..PAGE).filter(|bit| page[bit / 64] >> (bit % 64) & 1 == 1);
            bits.map(move |bit| number * PAGE + bit)
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().flatten().count() * size_of::<[u64; WORDS]>()
            + self.pages.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_keeps_its_own_rows() {
        let mut dead = DeadRows::default();
        assert!(dead.insert(5) && dead.insert(9000) && !dead.insert(5));
        let before = dead.clone();
        assert!(dead.insert(6));
        assert_eq!(before.iter().collect::<Vec<_>>(), [5, 9000]);
        assert_eq!(dead.iter().collect::<Vec<_>>(), [5, 6, 9000]);
        assert_eq!((before.count(), dead.count()), (2, 3));
        assert!(!before.contains(6) && dead.contains(6) && !dead.contains(1 << 40));
    }
}
