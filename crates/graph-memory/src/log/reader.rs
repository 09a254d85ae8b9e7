//! The verdict on a log's bytes, without any I/O: which batches are whole, where the log ends, what
//! an interrupted write left there, and what is damage.
//!
//! The rules, and why they suffice, are in `docs/log-format.md`. In short: at most one batch was
//! being written when the power failed, into space that was zero. Therefore
//! - what follows the last whole batch is zeros, or a batch of which some sectors or the end are
//!   still zero: a torn write, never acknowledged;
//! - a batch that is there in all its sectors and still wrong, or anything valid behind something
//!   wrong, is damage. Valid is what has a CRC that only this store can make, since tenants choose
//!   most of the bytes;
//! - after a `Closed` marker only the marker of the next opening can be torn.
//!
//! [`recovery`](super::recovery) loads the files, feeds them to a [`Reader`] in order, and acts on its [`Verdict`].

use super::Rejected;
use super::file_log::Position;
use super::format::{
    BatchHeader, Broken, Chain, HEADER_BYTES, Kind, LENGTH_BYTES, MARKER_BYTES, PAGE_BYTES, Read,
    SegmentHeader, check_batch, commands, looks_torn, zeros_from,
};

#[cfg(test)]
mod tests;

/// Receives each batch of commands, in order.
pub(crate) type Visit<'a> = dyn FnMut(&BatchHeader, &[&[u8]]) -> Result<(), Rejected> + 'a;

/// Why a log is refused, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) segment: u64,
    /// The byte at which the valid part of the segment ends.
    pub(crate) offset: usize,
    /// The last command before it; 0 if there is none.
    pub(crate) last_seq: u64,
    pub(crate) problem: Problem,
}

/// What is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No write, whole or interrupted, leaves such bytes.
    Damaged(String),
    /// The bytes are valid, but another version or another build wrote the commands in them.
    Unsupported(String),
    /// A segment or a batch has this format, which is newer than [`FORMAT`](super::format::FORMAT).
    NewerFormat(u32),
}

/// What a log that is not refused holds.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The state of the log after the last whole batch.
    pub(crate) position: Position,
    /// Whole batches, markers among them.
    pub(crate) batches: u64,
    pub(crate) last_kind: Option<Kind>,
    /// Where the next batch goes. Offset 0: it begins this segment.
    pub(crate) end: Place,
    /// The last write that is there whole. All before it was synced; of this one that is unknown.
    pub(crate) last_write: Option<LastWrite>,
    /// What is to be overwritten with zeros, in the order of the segments.
    pub(crate) torn_writes: Vec<TornBytes>,
}

/// A byte of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: usize,
}

/// A write and where it begins.
#[derive(Debug)]
pub(crate) struct LastWrite {
    pub(crate) start: Place,
    pub(crate) bytes: Vec<u8>,
}

/// The remains of an interrupted write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TornBytes {
    pub(crate) start: Place,
    pub(crate) length: usize,
}

/// Splits the numbers of the segments that exist, in any order: 1, 2, … up to the first gap; and
/// the number that is missing, if there is a gap, or if a store that has been open before has no
/// segment.
pub(crate) fn up_to_gap(mut numbers: Vec<u64>, is_named: bool) -> (Vec<u64>, Option<u64>) {
    numbers.sort_unstable();
    let before_gap = numbers.iter().zip(1..).take_while(|(found, expected)| **found == *expected).count();
    let is_missing = before_gap < numbers.len() || numbers.is_empty() && is_named;
    numbers.truncate(before_gap);
    (numbers, is_missing.then_some(before_gap as u64 + 1))
}

/// Reads a log's segments in order.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Whether the store has been open before: the file that names it is written when its first
    /// opening succeeds.
    is_named: bool,
    /// Whether `position.store_id` is known, rather than made up for a store that may be new.
    store_is_known: bool,
    /// The segment that is being read.
    segment: u64,
    position: Position,
    batches: u64,
    last_kind: Option<Kind>,
    end: Option<Place>,
    last_write: Option<LastWrite>,
    torn_writes: Vec<TornBytes>,
}

/// How a segment ends.
enum End {
    /// With a `Continued` marker.
    Continued,
    /// The log ends at this offset.
    Here(usize),
}

impl Reader {
    /// Creates a reader before the first segment. `is_named`: the id is that of the file that names
    /// the store, and not made up.
    pub(crate) fn new(store_id: u128, is_named: bool) -> Self {
        let position = Position {
            store_id,
            format: 1,
            chain: Chain::start(store_id),
            last_seq: 0,
            epoch: 0,
            time_ms: 0,
        };
        Self {
            is_named,
            store_is_known: is_named,
            segment: 0,
            position,
            batches: 0,
            last_kind: None,
            end: None,
            last_write: None,
            torn_writes: Vec::new(),
        }
    }

    /// Reads the next segment, all of whose bytes are `bytes`, and passes its commands to `visit`.
    pub(crate) fn read_segment(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.segment += 1;
        if self.end.is_some() {
            return self.check_unused(bytes);
        }
        if let End::Here(offset) = self.read_batches(bytes, visit)? {
            self.record_torn_write(bytes, offset);
            self.end = Some(Place { segment: self.segment, offset });
        }
        Ok(())
    }

    /// Returns the verdict on all segments that were read. `missing`: the number of the next one,
    /// if that should exist.
    pub(crate) fn finish(self, missing: Option<u64>) -> Result<Verdict, Fault> {
        let end = match self.end {
            Some(end) => end,
            None if self.segment == 0 => Place { segment: 1, offset: 0 },
            None => {
                let detail = "the segment is missing, the one before it says that the log goes on in it";
                return Err(self.damaged_segment(self.segment + 1, 0, detail));
            }
        };
        if let Some(missing) = missing {
            return Err(self.damaged_segment(missing, 0, "the segment is missing"));
        }
        if self.is_named && self.batches == 0 {
            return Err(self.damaged_segment(1, 0, "the log is empty, but the store has been open before"));
        }
        let Self { position, batches, last_kind, last_write, torn_writes, .. } = self;
        Ok(Verdict { position, batches, last_kind, end, last_write, torn_writes })
    }

    /// The last command that was read.
    pub(crate) fn last_seq(&self) -> u64 {
        self.position.last_seq
    }

    fn damaged(&self, offset: usize, detail: impl Into<String>) -> Fault {
        self.damaged_segment(self.segment, offset, detail)
    }

    fn damaged_segment(&self, segment: u64, offset: usize, detail: impl Into<String>) -> Fault {
        self.fault(segment, offset, Problem::Damaged(detail.into()))
    }

    fn fault(&self, segment: u64, offset: usize, problem: Problem) -> Fault {
        Fault { segment, offset, last_seq: self.position.last_seq, problem }
    }

    fn read_batches(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<End, Fault> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(self.damaged(bytes.len(), "the file is shorter than a segment's header"));
        };
        let header = match SegmentHeader::read(head) {
            Read::Header(header) => header,
            Read::Newer(found) => return Err(self.fault(self.segment, 0, Problem::NewerFormat(found))),
            Read::Zeros | Read::Other | Read::UnknownKind(_) => {
                self.check_tail(bytes, 0, head)?;
                return Ok(End::Here(0));
            }
        };
        self.check_segment_header(bytes.len(), &header)?;
        self.check_padding(bytes, HEADER_BYTES)?;
        let mut offset = PAGE_BYTES;
        // The first batch was written together with the header.
        let mut last_write = 0;
        loop {
            let Some(head) = bytes.get(offset..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) else {
                // Less than a header is left. A batch always leaves room for a marker, so nothing
                // was begun here.
                return Err(
                    self.damaged(offset, "the segment is full and doesn't tell where the log goes on")
                );
            };
            let (header, body_crc) = match BatchHeader::read(self.position.store_id, head) {
                Read::Header(header) => header,
                Read::Newer(found) => {
                    return Err(self.fault(self.segment, offset, Problem::NewerFormat(found)));
                }
                Read::UnknownKind(kind) => {
                    return Err(self.damaged(offset, format!("a batch of the unknown kind {kind}")));
                }
                Read::Zeros | Read::Other => {
                    self.check_tail(bytes, offset, head)?;
                    self.record_last_write(bytes, last_write, offset);
                    return Ok(End::Here(offset));
                }
            };
            let Some(batch) = bytes.get(offset..offset + header.total_bytes()) else {
                return Err(self.damaged(offset, "a batch reaches over the segment's end"));
            };
            let chain = match check_batch(batch, &header, body_crc) {
                Ok(chain) => chain,
                Err(broken) => {
                    self.check_torn_batch(bytes, offset, batch, broken)?;
                    self.record_last_write(bytes, last_write, offset);
                    return Ok(End::Here(offset));
                }
            };
            self.check_place(offset, &header)?;
            let commands = commands(batch, &header)
                .ok_or_else(|| self.damaged(offset, "the commands' lengths don't fit the batch"))?;
            if !commands.is_empty() {
                visit(&header, &commands).map_err(|rejected| {
                    let problem = match rejected {
                        Rejected::Damaged(detail) => Problem::Damaged(detail),
                        Rejected::Unsupported(detail) => Problem::Unsupported(detail),
                    };
                    self.fault(self.segment, offset, problem)
                })?;
            }
            self.batches += 1;
            self.last_kind = Some(header.kind);
            self.position = Position {
                chain,
                last_seq: self.position.last_seq + commands.len() as u64,
                epoch: header.epoch,
                time_ms: header.time_ms,
                ..self.position
            };
            self.check_padding(bytes, offset + batch.len())?;
            last_write = if offset == PAGE_BYTES { 0 } else { offset };
            offset = (offset + batch.len()).next_multiple_of(PAGE_BYTES);
            if header.kind == Kind::Continued {
                if zeros_from(&bytes[offset.min(bytes.len())..]) > 0 {
                    return Err(self.damaged(offset, "there is something behind the end of the segment"));
                }
                self.record_last_write(bytes, last_write, offset);
                return Ok(End::Continued);
            }
        }
    }

    /// Records that the last whole write of the segment is that from `start` to `end`.
    fn record_last_write(&mut self, bytes: &[u8], start: usize, end: usize) {
        let bytes = bytes[start..end.min(bytes.len())].to_vec();
        self.last_write = Some(LastWrite { start: Place { segment: self.segment, offset: start }, bytes });
    }

    /// Records what is not zero from `offset` on as torn.
    fn record_torn_write(&mut self, bytes: &[u8], offset: usize) {
        let length = zeros_from(&bytes[offset..]);
        if length > 0 {
            self.torn_writes.push(TornBytes { start: Place { segment: self.segment, offset }, length });
        }
    }

    fn check_segment_header(&mut self, length: usize, header: &SegmentHeader) -> Result<(), Fault> {
        if self.batches == 0 && !self.store_is_known {
            // A crash came between the first segment and the file that names the store.
            self.store_is_known = true;
            self.position.store_id = header.store_id;
            self.position.chain = Chain::start(header.store_id);
        }
        let detail = if header.store_id != self.position.store_id {
            format!("the segment belongs to another store, {:032x}", header.store_id)
        } else if header.number != self.segment {
            format!("this is segment {}", header.number)
        } else if header.bytes != length as u64 {
            format!("the file has {length} bytes, the segment has {}", header.bytes)
        } else if header.first_seq != self.position.last_seq + 1 || header.chain != self.position.chain {
            "the segment doesn't follow the one before it".to_owned()
        } else if header.format < self.position.format {
            "the segment has an older format than the one before it".to_owned()
        } else {
            self.position.format = header.format;
            return Ok(());
        };
        Err(self.damaged(length.min(header.bytes as usize), detail))
    }

    /// Checks that the rest of a page from `offset` on is zero.
    fn check_padding(&self, bytes: &[u8], offset: usize) -> Result<(), Fault> {
        let end = offset.next_multiple_of(PAGE_BYTES).min(bytes.len());
        match zeros_from(&bytes[offset..end]) {
            0 => Ok(()),
            _ => Err(self.damaged(offset, "there is something between two batches")),
        }
    }

    /// Checks that a whole batch is the next one.
    fn check_place(&self, offset: usize, header: &BatchHeader) -> Result<(), Fault> {
        let position = &self.position;
        let expected_epoch = position.epoch + u32::from(header.kind == Kind::Opened);
        let detail = if header.chain != position.chain || header.first_seq != position.last_seq + 1 {
            "the batch doesn't follow the one before it"
        } else if header.watermark != position.last_seq || header.time_ms < position.time_ms {
            "the batch contradicts the one before it"
        } else if header.format != position.format {
            "the batch has another format than its segment"
        } else if header.epoch != expected_epoch || (header.kind != Kind::Commands && header.count != 0) {
            "the batch contradicts its kind"
        } else if self.last_kind == Some(Kind::Closed)
            && !matches!(header.kind, Kind::Opened | Kind::Continued)
        {
            "the batch was written after the store was closed"
        } else {
            return Ok(());
        };
        Err(self.damaged(offset, detail))
    }

    /// Checks that the log can end at `offset`, where there is no valid header.
    fn check_tail(&self, bytes: &[u8], offset: usize, head: &[u8; HEADER_BYTES]) -> Result<(), Fault> {
        let rest = &bytes[offset..];
        if zeros_from(rest) == 0 {
            return Ok(());
        }
        if !looks_torn(head, offset) {
            return Err(self.damaged(offset, "a header is wrong in a way that no interrupted write explains"));
        }
        let second = bytes.get(PAGE_BYTES..).and_then(<[u8]>::first_chunk);
        let second = second.map(|head| BatchHeader::read(self.position.store_id, head));
        let from = match second {
            // A segment's header and its first batch are one write.
            Some(Read::Header((first, _))) if offset == 0 => PAGE_BYTES + first.total_bytes(),
            _ => offset + PAGE_BYTES,
        };
        self.check_rest(bytes, offset, from)
    }

    /// Checks that the batch at `offset`, which has a valid header and a wrong body or footer, was
    /// being written.
    fn check_torn_batch(
        &self,
        bytes: &[u8],
        offset: usize,
        batch: &[u8],
        broken: Broken,
    ) -> Result<(), Fault> {
        if !looks_torn(batch, offset) {
            let part = if broken == Broken::Body { "body" } else { "footer" };
            let detail = format!("a batch's {part} is wrong in a way that no interrupted write explains");
            return Err(self.damaged(offset, detail));
        }
        let end = offset + batch.len();
        if zeros_from(&bytes[end..]) > 0 {
            return Err(self.damaged(end, "there is something behind a batch that was never finished"));
        }
        self.check_rest(bytes, offset, end)
    }

    /// Checks that nothing proves that what looks torn at `offset` had been whole: no later header
    /// from `from` on, and no clean close before it.
    fn check_rest(&self, bytes: &[u8], offset: usize, from: usize) -> Result<(), Fault> {
        let end = offset + zeros_from(&bytes[offset..]);
        // Without the store's id no header can be told from one that a tenant made up. But then
        // only the first write can be torn: the file that holds the id is written before the
        // second.
        if !self.store_is_known && end > offset + PAGE_BYTES + MARKER_BYTES {
            let detail = "the first segment's header is wrong, and nothing else tells which store this is";
            return Err(self.damaged(offset, detail));
        }
        if self.last_kind == Some(Kind::Closed) && end > offset + MARKER_BYTES {
            let detail = "there is something behind the end of a store that was closed";
            return Err(self.damaged(offset, detail));
        }
        let later = headers(self.position.store_id, &bytes[..end], from).find(|(at, header)| {
            header.is_none_or(|header| self.may_follow(&header, offset, *at, bytes.len()))
        });
        if let Some((later, _)) = later {
            let detail = format!("a batch is missing, there is a later one at byte {later}");
            return Err(self.damaged(offset, detail));
        }
        Ok(())
    }

    /// Whether a batch at `at`, in a segment of `segment_bytes`, can have been written after one
    /// that was begun at `offset`, where the valid ones end. Each batch between takes a page, and
    /// each command in them its length.
    fn may_follow(&self, header: &BatchHeader, offset: usize, at: usize, segment_bytes: usize) -> bool {
        let position = &self.position;
        let (pages, commands) = ((at - offset) / PAGE_BYTES, (at - offset) / LENGTH_BYTES);
        let seqs = position.last_seq + 1..=position.last_seq + 1 + commands as u64;
        let epochs = position.epoch..=position.epoch + pages as u32 + 1;
        seqs.contains(&header.first_seq)
            && header.watermark == header.first_seq - 1
            && epochs.contains(&header.epoch)
            && header.time_ms >= position.time_ms
            && (header.kind == Kind::Commands) == (header.count > 0)
            && header.total_bytes() <= segment_bytes - at
    }

    /// Checks a segment behind the log's end, which holds nothing.
    fn check_unused(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let length = zeros_from(bytes);
        if length > 0 {
            let is_header =
                bytes.first_chunk().is_some_and(|head| matches!(SegmentHeader::read(head), Read::Header(_)));
            let holds_batch = headers(self.position.store_id, &bytes[..length], 0).next().is_some();
            // Without the store's id nothing can be said about it.
            if is_header || holds_batch || !self.store_is_known {
                return Err(self.damaged(0, "the segment is in use, but the log ends before it"));
            }
            // Never written by the log: some bits have turned where nothing was kept.
            self.record_torn_write(bytes, 0);
        }
        Ok(())
    }
}

/// Returns the headers of the store's batches at the beginnings of pages, from `from` on. None: of
/// a format or a kind that this version doesn't know.
fn headers(store_id: u128, bytes: &[u8], from: usize) -> impl Iterator<Item = (usize, Option<BatchHeader>)> {
    let pages = from.next_multiple_of(PAGE_BYTES)..bytes.len().saturating_sub(HEADER_BYTES - 1);
    pages.step_by(PAGE_BYTES).filter_map(move |at| {
        let head = bytes[at..].first_chunk().expect("the range ends a header before the end");
        match BatchHeader::read(store_id, head) {
            Read::Header((header, _)) => Some((at, Some(header))),
            Read::Newer(_) | Read::UnknownKind(_) => Some((at, None)),
            Read::Zeros | Read::Other => None,
        }
    })
}
