//! The tail of the vector index: vectors in the order of insertion, scanned by every search.
//!
//! The newest vectors are in a linked list that clones share; every 32 of them are packed into a
//! block, so that a scan reads them in sequence. Inserting costs the same with and without
//! snapshots, and a snapshot is two pointers.

use std::sync::Arc;

use crate::dead::DeadRows;
use crate::prepared::PreparedVector;
use crate::rows::Rows;

/// Vectors of a packed block.
pub(crate) const BLOCK: usize = 32;

/// A vector that is not packed yet, in rows of its own, and the ones before it.
#[derive(Debug)]
struct Open {
    row: Arc<Rows>,
    before: Option<Arc<Open>>,
}

/// Vectors with consecutive row ids, from `base` on.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    dimensions: usize,
    base: u64,
    blocks: Arc<Vec<Arc<Rows>>>,
    open: Option<Arc<Open>>,
    open_count: usize,
    pub(crate) dead: DeadRows,
}

impl Tail {
    pub(crate) fn new(dimensions: usize, base: u64) -> Self {
        Self {
            dimensions,
            base,
            blocks: Arc::default(),
            open: None,
            open_count: 0,
            dead: DeadRows::default(),
        }
    }

    /// Returns the row id of the first vector.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Returns the row id that the next vector gets.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.open_count
    }

    /// Returns how many vectors are in packed blocks, which can be sealed.
    pub(crate) fn packed(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Returns the bytes of the packed blocks.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.blocks.iter().map(|rows| rows.bytes()).sum()
    }

    pub(crate) fn live(&self) -> usize {
        self.len() - self.dead.count()
    }

    pub(crate) fn push(&mut self, id: u64, vector: &PreparedVector) -> u64 {
        let row_id = self.end();
        let mut row = Rows::with_capacity(self.dimensions, 1);
        row.push_vector(id, row_id, vector);
        self.open = Some(Arc::new(Open { row: Arc::new(row), before: self.open.take() }));
        self.open_count += 1;
        if self.open_count == BLOCK {
            self.pack();
        }
        row_id
    }

    fn pack(&mut self) {
        let mut block = Rows::with_capacity(self.dimensions, BLOCK);
        for (_, row) in self.open_rows().iter().rev() {
            block.push_from(row, 0);
        }
        Arc::make_mut(&mut self.blocks).push(Arc::new(block));
        self.open = None;
        self.open_count = 0;
    }

    /// Returns the rows of the list with their numbers, the newest first.
    fn open_rows(&self) -> Vec<(usize, &Arc<Rows>)> {
        let mut rows = Vec::with_capacity(self.open_count);
        let mut next = self.open.as_deref();
        let mut number = self.len();
        while let Some(open) = next {
            number -= 1;
            rows.push((number, &open.row));
            next = open.before.as_deref();
        }
        rows
    }

    /// Returns all rows in blocks, each block with the number in the tail of its first row.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, &Arc<Rows>)> {
        let packed = self.blocks.iter().enumerate().map(|(number, block)| (number * BLOCK, block));
        packed.chain(self.open_rows())
    }

    pub(crate) fn blocks(&self) -> &Arc<Vec<Arc<Rows>>> {
        &self.blocks
    }

    /// Returns the number in the tail of the row with this id, if it is here.
    pub(crate) fn row_at(&self, row_id: u64) -> Option<usize> {
        let row = usize::try_from(row_id.checked_sub(self.base)?).ok()?;
        (row < self.len()).then_some(row)
    }

    /// Returns the block that holds a row of the tail, and the row's number there.
    pub(crate) fn find(&self, row: usize) -> (&Rows, usize) {
        if let Some(block) = self.blocks.get(row / BLOCK) {
            return (block, row % BLOCK);
        }
        let mut open = self.open.as_deref();
        for _ in row + 1..self.len() {
            open = open.and_then(|open| open.before.as_deref());
        }
        (&open.expect("the row is in the tail").row, 0)
    }

    /// Drops the first `count` rows, which are whole blocks and now sealed.
    pub(crate) fn drop_front(&mut self, count: usize) {
        debug_assert!(count.is_multiple_of(BLOCK) && count <= self.packed());
        self.blocks = Arc::new(self.blocks[count / BLOCK..].to_vec());
        self.base += count as u64;
        let mut dead = DeadRows::default();
        for row in self.dead.iter().filter(|&row| row >= count) {
            dead.insert(row - count);
        }
        self.dead = dead;
    }

    /// Returns the bytes of its rows and of what it keeps of removed ones.
    pub(crate) fn bytes(&self) -> usize {
        self.parts().map(|(_, rows)| rows.bytes()).sum::<usize>() + self.dead.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Metric};

    #[test]
    fn a_snapshot_is_not_touched_by_what_comes_after() {
        let config = Config::new(2, Metric::Dot);
        let mut tail = Tail::new(2, 100);
        let mut snapshots = Vec::new();
        for at in 0..100u64 {
            let vector = PreparedVector::new(&config, &[at as f32, 1.0]).unwrap();
            assert_eq!(tail.push(at * 2, &vector), 100 + at);
            snapshots.push(tail.clone());
        }
        for (at, snapshot) in snapshots.iter().enumerate() {
            assert_eq!(snapshot.len(), at + 1);
            for row in 0..=at {
                let (rows, number) = snapshot.find(row);
                assert_eq!((rows.id(number), rows.row_id(number)), (row as u64 * 2, row as u64 + 100));
            }
            let counted: usize = snapshot.parts().map(|(_, rows)| rows.len()).sum();
            assert_eq!(counted, at + 1);
        }
        tail.dead.insert(70);
        tail.drop_front(64);
        assert_eq!((tail.base(), tail.len(), tail.end()), (164, 36, 200));
        assert!(tail.dead.contains(6) && tail.row_at(163).is_none() && tail.row_at(170) == Some(6));
    }
}
