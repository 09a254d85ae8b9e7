//! Where waiters find what they were given: cells that never move, each filled by who has the kernel's lock and emptied by its waiter without it.
//!
//! A cell goes round: `SPARE`, `OPEN` (a waiter has its [`Claim`]), `FULL`, `DONE`, `SPARE`. The [`Cells`] are behind the kernel's lock, and a claim has one owner; who may do what is told by the
//! state alone, and each step checks it:
//!
//! - the value is written in `OPEN`, with the cells borrowed for writing, so by one thread;
//! - it is read in `FULL`, with the cell's only claim borrowed for writing, so by one thread, and not while it is written;
//! - the claim's owner ends it, by taking or by leaving; only then there can be another one. Claims are used with the chunks that they came from: a key never leaves its pool's requests.

use std::sync::{Arc, OnceLock};

use crate::sync::{AtomicU8, Ordering, UnsafeCell};

const SPARE: u8 = 0;
const OPEN: u8 = 1;
const FULL: u8 = 2;
const DONE: u8 = 3;

/// Cells of the first chunk; each following chunk has as many as all before it.
const FIRST: usize = 64;
const CHUNKS: usize = 27;

/// In a cache line of its own: two waiters may be on two processors.
// One line, not `CachePadded`'s two: a queue keeps its cells, and docs/pool.md promises 64 bytes
// for each.
#[repr(align(64))]
struct Cell<G> {
    state: AtomicU8,
    value: UnsafeCell<Option<G>>,
}

// SAFETY: the value is accessed by one thread at a time, and handed from one to the other by release and acquire of `state`, as the module's documentation argues.
unsafe impl<G: Send> Sync for Cell<G> {}

impl<G> Cell<G> {
    fn is(&self, state: u8) -> bool {
        // Acquire: partner of the release in `to`: whoever comes to a state sees what was done before.
        self.state.load(Ordering::Acquire) == state
    }

    fn to(&self, state: u8) {
        // Release: partner of the acquire in `is`.
        self.state.store(state, Ordering::Release);
    }
}

/// All chunks there may be; those that were needed exist.
pub(super) struct Chunks<G>([OnceLock<Box<[Cell<G>]>>; CHUNKS]);

impl<G> Chunks<G> {
    /// The chunk of a cell, and its place there.
    #[inline]
    fn place(number: u32) -> (usize, usize) {
        let number = number as usize;
        if number < FIRST {
            return (0, number);
        }
        let chunk = (number / FIRST).ilog2() as usize + 1;
        (chunk, number - (FIRST << (chunk - 1)))
    }

    #[inline]
    fn cell(&self, number: u32) -> &Cell<G> {
        let (chunk, place) = Self::place(number);
        match self.0[chunk].get() {
            Some(cells) => &cells[place],
            None => unreachable!("numbers are of cells that were made"),
        }
    }

    fn make(&self, number: u32) {
        let (chunk, _) = Self::place(number);
        let cell = || Cell { state: AtomicU8::new(SPARE), value: UnsafeCell::new(None) };
        let count = FIRST << chunk.saturating_sub(1);
        self.0[chunk].get_or_init(|| std::iter::repeat_with(cell).take(count).collect());
    }
}

/// The cells, for who has the kernel's lock.
pub(super) struct Cells<G> {
    chunks: Arc<Chunks<G>>,
    made: u32,
    spare: Vec<u32>,
}

/// The right to what is given in one cell, of the chunks that it came from.
pub(super) struct Claim {
    pub(super) number: u32,
    ended: bool,
}

impl<G> Cells<G> {
    pub(super) fn new() -> Self {
        let chunks = Arc::new(Chunks(std::array::from_fn(|_| OnceLock::new())));
        Self { chunks, made: 0, spare: Vec::new() }
    }

    /// The same cells, for those who have claims.
    pub(super) fn chunks(&self) -> Arc<Chunks<G>> {
        Arc::clone(&self.chunks)
    }

    /// Opens a cell, and tells its number.
    #[inline]
    pub(super) fn open(&mut self) -> (u32, Claim) {
        let number = self.spare.pop().unwrap_or_else(|| self.make());
        let cell = self.chunks.cell(number);
        assert!(cell.is(SPARE), "a spare cell is nobody's");
        cell.to(OPEN);
        (number, Claim { number, ended: false })
    }

    #[cold]
    fn make(&mut self) -> u32 {
        let number = self.made;
        self.chunks.make(number);
        self.made += 1;
        number
    }

    /// Fills an open cell.
    #[inline]
    pub(super) fn fill(&mut self, number: u32, grant: G) {
        let cell = self.chunks.cell(number);
        assert!(cell.is(OPEN), "a cell is filled once");
        // SAFETY: an open cell isn't read, and `self` is borrowed for writing, so nobody else fills it.
        cell.value.with_mut(|value| unsafe { *value = Some(grant) });
        cell.to(FULL);
    }

    /// Takes what was given, which ends the claim.
    pub(super) fn take(&mut self, claim: &mut Claim) -> Option<G> {
        self.chunks.take_if(claim, |_| true)
    }

    /// Ends a claim to a cell that is still open, and keeps the cell for another waiter.
    pub(super) fn leave(&mut self, claim: &mut Claim) {
        let cell = self.chunks.cell(claim.number);
        assert!(!claim.ended && cell.is(OPEN), "who leaves was given nothing");
        claim.ended = true;
        cell.to(DONE);
        self.reuse(claim.number);
    }

    /// Whether what was given is still there. Its owner may be taking it at this moment.
    pub(super) fn is_full(&self, number: u32) -> bool {
        self.chunks.cell(number).is(FULL)
    }

    /// Lets another waiter have a cell whose claim has ended.
    #[inline]
    pub(super) fn reuse(&mut self, number: u32) {
        let cell = self.chunks.cell(number);
        assert!(cell.is(DONE), "a cell whose claim hasn't ended is no spare one");
        cell.to(SPARE);
        self.spare.push(number);
    }
}

impl<G> Chunks<G> {
    /// Takes what was given if it is there and `wanted`, which ends the claim.
    #[inline]
    pub(super) fn take_if(&self, claim: &mut Claim, wanted: impl FnOnce(&G) -> bool) -> Option<G> {
        let cell = self.cell(claim.number);
        if claim.ended || !cell.is(FULL) {
            return None;
        }
        // SAFETY: a full cell isn't written, and its only claim, which hasn't ended, is borrowed for writing, so nobody else reads it.
        let grant = cell.value.with_mut(|value| unsafe { (*value).take_if(|grant| wanted(grant)) });
        if grant.is_some() {
            claim.ended = true;
            cell.to(DONE);
        }
        grant
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_cell_of_its_own_in_a_chunk_of_the_right_size() {
        let mut expected = (0, 0);
        for number in 0..10_000 {
            assert_eq!(Chunks::<u8>::place(number), expected, "{number}");
            let size = FIRST << expected.0.saturating_sub(1_usize);
            expected =
                if expected.1 + 1 == size { (expected.0 + 1, 0) } else { (expected.0, expected.1 + 1) };
        }
        assert!(Chunks::<u8>::place(u32::MAX).0 < CHUNKS);
    }

    #[test]
    fn a_cell_goes_round() {
        let mut cells = Cells::new();
        let chunks = cells.chunks();
        let (number, mut claim) = cells.open();
        assert_eq!(chunks.take_if(&mut claim, |_| true), None, "nothing is there yet");
        cells.fill(number, "grant");
        assert!(cells.is_full(number));
        assert_eq!(chunks.take_if(&mut claim, |_| false), None, "not wanted");
        assert_eq!(chunks.take_if(&mut claim, |_| true), Some("grant"));
        assert!(!cells.is_full(number));
        cells.reuse(number);
        let (again, mut other) = cells.open();
        assert_eq!(again, number);
        cells.fill(number, "another");
        assert_eq!(chunks.take_if(&mut claim, |_| true), None, "that claim has ended");
        assert_eq!(chunks.take_if(&mut other, |_| true), Some("another"));
        cells.reuse(number);
        let (again, mut third) = cells.open();
        assert_eq!(again, number);
        cells.leave(&mut third);
        assert_eq!(cells.open().0, number, "who leaves makes it spare");
    }
}
