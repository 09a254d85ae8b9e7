//! One file's content: what readers see, what the disk has, and the writes in between.

use std::ops::Range;
use std::sync::Arc;

use steadfast_testkit::TestRng;

/// The unit in which a disk writes.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// What is left of an unsynced write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Ranges of the write's bytes, counted from its beginning.
    ranges: Vec<Range<usize>>,
    /// Whether the file reaches to the write's end even where its bytes are lost; they read as zero then.
    lengthens: bool,
}

impl Kept {
    pub(crate) fn nothing() -> Self {
        Self { ranges: Vec::new(), lengthens: false }
    }

    /// The first `bytes`.
    pub(crate) fn prefix(bytes: usize) -> Self {
        Self { ranges: std::iter::once(0..bytes).collect(), lengthens: false }
    }

    /// Those sectors of the file for which `keep` says so; they are counted from the one the write begins in.
    pub(crate) fn sectors(write: &Range<u64>, mut keep: impl FnMut(usize) -> bool) -> Self {
        let first = write.start / SECTOR_BYTES;
        let ranges =
            (first..write.end.div_ceil(SECTOR_BYTES)).filter(|sector| keep((sector - first) as usize));
        let within = |at: u64| (at.clamp(write.start, write.end) - write.start) as usize;
        let ranges = ranges.map(|sector| within(sector * SECTOR_BYTES)..within((sector + 1) * SECTOR_BYTES));
        Self { ranges: ranges.collect(), lengthens: false }
    }

    /// As chance has it; the extremes come often.
    pub(crate) fn random(write: &Range<u64>, rng: &mut TestRng) -> Self {
        let bytes = (write.end - write.start) as usize;
        let mut kept = match rng.below(8) {
            0 | 1 => Self::nothing(),
            2 | 3 => Self::prefix(bytes),
            4 | 5 => Self::prefix(rng.below(bytes as u64 + 1) as usize),
            6 => {
                let density = rng.below(5);
                Self::sectors(write, |_| rng.chance(density, 4))
            }
            _ => {
                let mut kept = Self::sectors(write, |_| rng.chance(1, 2));
                kept.tear_last(rng);
                kept
            }
        };
        kept.lengthens = rng.chance(1, 2);
        kept
    }

    /// Where the last byte is that was kept.
    fn end(&self) -> Option<usize> {
        self.ranges.iter().filter(|range| !range.is_empty()).map(|range| range.end).max()
    }

    /// Keeps only a part of the last range.
    fn tear_last(&mut self, rng: &mut TestRng) {
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.start + rng.below((last.end - last.start) as u64 + 1) as usize;
        }
    }
}

/// A write that may or may not survive.
#[derive(Clone, Debug)]
pub(crate) struct Unsynced {
    /// Its place among the writes of the whole disk.
    pub(crate) order: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Arc<[u8]>,
    /// The power failed during it: readers never saw it.
    in_flight: bool,
}

impl Unsynced {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes.len() as u64
    }

    /// The parts before and behind a range.
    fn outside(self, covered: &Range<u64>) -> Vec<Self> {
        let own = self.range();
        let parts = [own.start..own.end.min(covered.start), own.start.max(covered.end)..own.end];
        let part = |part: Range<u64>| {
            let bytes = &self.bytes[(part.start - own.start) as usize..(part.end - own.start) as usize];
            Self { offset: part.start, bytes: bytes.into(), ..self.clone() }
        };
        parts.into_iter().filter(|part| !part.is_empty()).map(part).collect()
    }
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileImage {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Unsynced>,
}

impl FileImage {
    /// A file that is wholly durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self { live: Arc::clone(&bytes), durable: bytes, unsynced: Vec::new() }
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn unsynced(&self) -> &[Unsynced] {
        &self.unsynced
    }

    pub(super) fn write(&mut self, order: u64, offset: u64, bytes: &[u8]) {
        let write = Unsynced { order, offset, bytes: bytes.into(), in_flight: false };
        put(&mut self.live, &write, &Kept::prefix(bytes.len()));
        self.unsynced.push(write);
    }

    /// The write during which the power fails.
    pub(super) fn write_in_flight(&mut self, order: u64, offset: u64, bytes: &[u8]) {
        self.unsynced.push(Unsynced { order, offset, bytes: bytes.into(), in_flight: true });
    }

    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            put(&mut self.durable, &write, &Kept::prefix(write.bytes.len()));
        }
    }

    /// Some of the writes reach the disk, some never will: all count as clean, and readers see them still.
    pub(super) fn sync_fails(&mut self, rng: &mut TestRng) {
        for write in self.unsynced.drain(..) {
            put(&mut self.durable, &write, &Kept::random(&write.range(), rng));
        }
    }

    /// The last write becomes durable, whatever is with those before it.
    pub(super) fn sync_last(&mut self) {
        if let Some(write) = self.take_last() {
            put(&mut self.durable, &write, &Kept::prefix(write.bytes.len()));
        }
    }

    /// The last write reaches the disk in part, and counts as clean.
    pub(super) fn sync_last_fails(&mut self, rng: &mut TestRng) {
        if let Some(write) = self.take_last() {
            put(&mut self.durable, &write, &Kept::random(&write.range(), rng));
        }
    }

    /// Takes the last write; what it covers of earlier ones won't be written any more.
    fn take_last(&mut self) -> Option<Unsynced> {
        let last = self.unsynced.pop()?;
        self.unsynced = self.unsynced.drain(..).flat_map(|write| write.outside(&last.range())).collect();
        Some(last)
    }

    /// The file after the power was off.
    pub(super) fn after_power_loss(&self, mut kept: impl FnMut(&Unsynced) -> Kept) -> Self {
        let mut durable = Arc::clone(&self.durable);
        for write in &self.unsynced {
            put(&mut durable, write, &kept(write));
        }
        Self { live: Arc::clone(&durable), durable, unsynced: Vec::new() }
    }

    /// The file after only the process died: the operating system keeps what it was given.
    pub(super) fn after_process_death(&self, mut kept: impl FnMut(&Unsynced) -> Kept) -> Self {
        let mut after = Self { unsynced: Vec::new(), ..self.clone() };
        for write in &self.unsynced {
            if write.in_flight {
                // It was copied from front to back.
                let copied = kept(write).end().unwrap_or(0);
                after.write(write.order, write.offset, &write.bytes[..copied]);
            } else {
                after.unsynced.push(write.clone());
            }
        }
        after
    }
}

/// Puts what is kept of a write into an image.
fn put(image: &mut Arc<Vec<u8>>, write: &Unsynced, kept: &Kept) {
    let reaches = if kept.lengthens { write.bytes.len() } else { kept.end().unwrap_or(0) };
    if reaches == 0 {
        return;
    }
    let (image, at) = (Arc::make_mut(image), write.offset as usize);
    if at + reaches > image.len() {
        image.resize(at + reaches, 0);
    }
    for range in kept.ranges.iter().filter(|range| !range.is_empty()) {
        image[at + range.start..at + range.end].copy_from_slice(&write.bytes[range.clone()]);
    }
}
