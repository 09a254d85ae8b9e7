//! The log in files: one write and one `fdatasync` a batch.
//!
//! At any time at most one batch is being written: the next one is begun after the last one was
//! synced. Recovery rests on it. When a batch doesn't fit into the rest of a segment, first the
//! next segment is taken (that can fail, with nothing written), then the old one gets a `Continued`
//! marker, synced, then the new one its header and the batch in one write. Room for that marker is
//! always kept. So it is with a segment of an older format, too: what this version writes begins a
//! new one.

use std::io;
use std::time::Instant;

use steadfast_memory_api::Seq;

use super::format::{
    BatchHeader, Chain, FORMAT, HEADER_BYTES, Kind, LENGTH_BYTES, MARKER_BYTES, PAGE_BYTES, SegmentHeader,
    finish_batch,
};
use super::segments::{Layout, Segments};
use super::{AppendError, Log, LogStats};
use crate::fs::File;

/// The writer of a log.
#[derive(Debug)]
pub(crate) struct FileLog {
    segments: Segments,
    /// None: the next batch begins a segment.
    current: Option<Current>,
    position: Position,
    command_bytes_max: usize,
    batch_bytes_max: usize,
    /// Begins with `buffer_start` bytes that are left out, so that what follows begins at a multiple of a page in memory as well:
    /// a page for a segment's header, then a batch. Never grows, since it would move.
    buffer: Vec<u8>,
    buffer_start: usize,
    stats: LogStats,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: Box<dyn File>,
    /// Its length.
    pub(crate) bytes: u64,
    /// Where the next batch goes.
    pub(crate) offset: u64,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) store_id: u128,
    /// The format of the last segment in use; an older one than [`FORMAT`] is not written to any
    /// more.
    pub(crate) format: u32,
    pub(crate) chain: Chain,
    pub(crate) last_seq: u64,
    pub(crate) epoch: u32,
    pub(crate) time_ms: u64,
}

impl FileLog {
    /// A writer that goes on at `position`, in batches of up to `batch_bytes` unless a command is larger.
    pub(crate) fn new(
        segments: Segments,
        layout: &Layout,
        current: Option<Current>,
        position: Position,
        batch_bytes: usize,
    ) -> Self {
        // A command has to fit into the smallest segment, between the header's page and that of the last marker.
        let room = layout.bytes_min() as usize - 2 * PAGE_BYTES;
        let command_bytes_max = room - MARKER_BYTES - size_of::<u64>() - LENGTH_BYTES;
        let buffer: Vec<u8> = Vec::with_capacity(2 * PAGE_BYTES + room);
        let buffer_start = buffer.as_ptr().align_offset(PAGE_BYTES);
        Self {
            segments,
            current,
            position,
            command_bytes_max,
            batch_bytes_max: batch_bytes.min(command_bytes_max),
            buffer,
            buffer_start,
            stats: LogStats::default(),
        }
    }

    /// Marks the log as opened once more, durably.
    pub(crate) fn mark_opened(&mut self, now_ms: u64) -> Result<(), AppendError> {
        self.begin_batch();
        self.write_batch(Kind::Opened, 0, now_ms)
    }

    fn begin_batch(&mut self) {
        self.buffer.clear();
        self.buffer.resize(self.buffer_start + PAGE_BYTES + HEADER_BYTES, 0);
    }

    /// The length of the body that stands in the buffer.
    fn body_bytes(&self) -> usize {
        self.buffer.len() - (self.buffer_start + PAGE_BYTES + HEADER_BYTES)
    }

    /// Writes the batch whose body stands in the buffer behind the room for the headers, and syncs it.
    fn write_batch(&mut self, kind: Kind, count: u32, time_ms: u64) -> Result<(), AppendError> {
        let body_bytes = self.body_bytes() as u32;
        let time_ms = self.position.time_ms.max(time_ms);
        let header = BatchHeader {
            format: FORMAT,
            kind,
            body_bytes,
            count,
            first_seq: self.position.last_seq + 1,
            time_ms,
            watermark: self.position.last_seq,
            epoch: self.position.epoch + u32::from(kind == Kind::Opened),
            chain: self.position.chain,
        };
        let begun = Instant::now();
        let room_for = (header.total_bytes().next_multiple_of(PAGE_BYTES) + PAGE_BYTES) as u64;
        let is_old = self.position.format < FORMAT;
        if is_old || self.current.as_ref().is_none_or(|current| current.bytes - current.offset < room_for) {
            self.next_segment(time_ms)?;
        }
        let taken = Instant::now();
        // The marker that ends a segment may have moved the chain.
        let header = BatchHeader { chain: self.position.chain, ..header };
        let chain =
            finish_batch(self.position.store_id, &mut self.buffer, self.buffer_start + PAGE_BYTES, header);
        self.buffer.resize(
            (self.buffer.len() - self.buffer_start).next_multiple_of(PAGE_BYTES) + self.buffer_start,
            0,
        );
        debug_assert!(
            self.buffer_start == self.buffer.as_ptr().align_offset(PAGE_BYTES),
            "the buffer has moved"
        );
        let current = self.current.as_mut().expect("there is one now");
        // A segment without a batch has no header yet: both go in one write.
        let start = self.buffer_start + if current.offset == 0 { 0 } else { PAGE_BYTES };
        let encoded = Instant::now();
        current.write(&self.buffer[start..]).map_err(AppendError::Unknown)?;
        let written = Instant::now();
        current.offset += (self.buffer.len() - start) as u64;
        self.position = Position {
            chain,
            time_ms,
            epoch: header.epoch,
            last_seq: self.position.last_seq + u64::from(count),
            ..self.position
        };

        self.stats.batches += 1;
        self.stats.commands += u64::from(count);
        self.stats.bytes += (self.buffer.len() - start) as u64;
        self.stats.syncs += 1;
        self.stats.segment_ns += (taken - begun).as_nanos() as u64;
        self.stats.encode_ns += (encoded - taken).as_nanos() as u64;
        self.stats.write_ns += (written - encoded).as_nanos() as u64;
        Ok(())
    }

    /// Ends the current segment and begins the next; its header stands in the buffer's first bytes then.
    fn next_segment(&mut self, time_ms: u64) -> Result<(), AppendError> {
        let next = self.segments.take().map_err(AppendError::before_writing)?;
        if let Some(current) = &mut self.current {
            let mut marker = vec![0; HEADER_BYTES];
            let header = BatchHeader {
                format: self.position.format,
                kind: Kind::Continued,
                body_bytes: 0,
                count: 0,
                first_seq: self.position.last_seq + 1,
                time_ms,
                watermark: self.position.last_seq,
                epoch: self.position.epoch,
                chain: self.position.chain,
            };
            let chain = finish_batch(self.position.store_id, &mut marker, 0, header);
            marker.resize(PAGE_BYTES, 0);
            current.write(&marker).map_err(AppendError::Unknown)?;
            self.stats.batches += 1;
            self.stats.bytes += marker.len() as u64;
            self.stats.syncs += 1;
            self.position.chain = chain;
        }
        self.position.format = FORMAT;
        let header = SegmentHeader {
            format: FORMAT,
            number: next.number,
            store_id: self.position.store_id,
            bytes: next.bytes,
            first_seq: self.position.last_seq + 1,
            chain: self.position.chain,
        };
        let start = self.buffer_start;
        self.buffer[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
        self.current = Some(Current { file: next.file, bytes: next.bytes, offset: 0 });
        Ok(())
    }
}

impl Current {
    /// Writes a batch and syncs it.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(
            self.offset + bytes.len() as u64 <= self.bytes,
            "a batch never reaches over a segment's end"
        );
        self.file.write_durably_at(bytes, self.offset)
    }
}

impl Log for FileLog {
    fn append(
        &mut self,
        time_ms: u64,
        commands: &mut dyn Iterator<Item = [&[u8]; 2]>,
    ) -> Result<usize, AppendError> {
        let begun = Instant::now();
        self.begin_batch();
        let mut count = 0;
        for [head, rest] in commands {
            let length = head.len() + rest.len();
            if count > 0 && self.body_bytes() + LENGTH_BYTES + length > self.batch_bytes_max {
                break;
            }
            self.buffer.extend((length as u32).to_le_bytes());
            self.buffer.extend(head);
            self.buffer.extend(rest);
            count += 1;
        }
        self.stats.encode_ns += begun.elapsed().as_nanos() as u64;
        self.write_batch(Kind::Commands, count, time_ms)?;
        Ok(count as usize)
    }

    fn time_ms(&self) -> u64 {
        self.position.time_ms
    }

    fn last_seq(&self) -> Seq {
        Seq::new(self.position.last_seq)
    }

    fn command_bytes_max(&self) -> usize {
        self.command_bytes_max
    }

    fn close(&mut self) -> Result<(), AppendError> {
        self.begin_batch();
        self.write_batch(Kind::Closed, 0, self.position.time_ms)
    }

    fn stats(&self) -> LogStats {
        self.stats
    }
}
