//! Reading the log back: what is whole is replayed, a torn tail is cut and reported, damage is refused.
//!
//! The rules, and why they suffice, are in `docs/log-format.md`. In short: at most one batch was being written
//! when the power went, into space that was zero, so
//! - what follows the last whole batch may be zeros, or a batch of which some sectors or the end are still zero: a tear,
//!   never acknowledged, which is overwritten with zeros;
//! - a batch that is there in all its sectors and still wrong, or anything right behind something wrong, is damage; what is
//!   right is told by CRCs that only this store can make, since tenants choose most of the bytes;
//! - after a `Closed` marker only the marker of the next opening can be torn.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast_memory_api::Seq;

use super::file_log::{Current, FileLog, Position};
use super::format::{
    BatchHeader, Broken, Chain, FORMAT, HEADER_BYTES, Kind, LENGTH_BYTES, MARKER_BYTES, PAGE_BYTES, Read,
    SegmentHeader, check_batch, commands, looks_torn, zeros_from,
};
use super::segments::{Layout, Prepared, Segments};
use super::{Rejected, store_file};
use crate::config::{Config, Progress};
use crate::error::OpenError;
use crate::fs::{File, FileSystem};

/// What was found when a store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Commands replayed.
    pub commands: u64,
    /// Batches read, markers among them.
    pub batches: u64,
    /// The last command.
    pub last_seq: Seq,
    /// Whether the store had been closed in good order, or is new.
    pub clean: bool,
    /// What was cut off behind the log's end, in the order of the segments; empty if nothing was. More than one only if bits have turned
    /// in segments where nothing had been written.
    pub cut: Vec<TornTail>,
    /// How often the store has been opened, this time included.
    pub epoch: u32,
}

/// The remains of a write that a crash had interrupted; they were never acknowledged, and are zeros now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where they began.
    pub offset: u64,
    /// How far they reached.
    pub bytes: u64,
}

/// Gets each batch of commands in order.
pub(crate) type Visit<'a> = dyn FnMut(&BatchHeader, &[&[u8]]) -> Result<(), Rejected> + 'a;

impl FileLog {
    /// Opens the log of the store in `dir`, replays it into `visit`, and marks it as opened.
    pub(crate) fn open(
        dir: &Path,
        config: &Config,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Recovery), OpenError> {
        let file_system = &config.file_system;
        let layout = Layout {
            file_system: Arc::clone(file_system),
            dir: dir.join("log"),
            segment_bytes: config.log.segment_bytes,
        };
        let known_id = store_file::read(&**file_system, dir)?;
        let create = OpenError::io(&layout.dir, "create");
        file_system.create_dir_all(&layout.dir).map_err(create)?;
        let (numbers, missing) = segment_numbers(&layout, known_id.is_some())?;
        sync_names(&**file_system, &[dir, &layout.dir])?;

        let store_id = known_id.unwrap_or_else(new_store_id);
        let mut reader = Reader::new(&layout, store_id, known_id.is_some(), config);
        let tail = reader.read(&numbers, visit)?;
        if let Some(number) = missing {
            return Err(reader.damaged(number, 0, "the segment is missing"));
        }
        if known_id.is_some() && reader.batches == 0 {
            return Err(reader.damaged(1, 0, "the log is empty, but the store has been open before"));
        }
        reader.cut_tails()?;
        reader.settle()?;
        let position = reader.position;
        let segments = Segments::new(layout.clone(), tail.found, tail.next, config.log.segments_ahead)
            .map_err(OpenError::io(&layout.dir, "start the thread that prepares segments in"))?;
        let mut log = Self::new(segments, &layout, tail.current, position, config.limits.batch_bytes);
        log.mark_opened(config.clock.now_ms())
            .map_err(|error| OpenError::io(&layout.dir, "write to")(error.into_io()))?;
        if known_id.is_none() {
            store_file::write(&**file_system, dir, position.store_id)?;
        }
        let recovery = Recovery {
            commands: position.last_seq,
            batches: reader.batches,
            last_seq: Seq::new(position.last_seq),
            clean: matches!(reader.last_kind, None | Some(Kind::Closed)) && reader.cut.is_empty(),
            cut: reader.cut,
            epoch: position.epoch + 1,
        };
        Ok((log, recovery))
    }
}

/// Makes durable the names that are there: those that a process gave before it died need not be.
fn sync_names(file_system: &dyn FileSystem, dirs: &[&Path]) -> Result<(), OpenError> {
    for dir in dirs {
        file_system.sync_dir(dir).map_err(OpenError::io(*dir, "sync"))?;
    }
    let above = dirs[0].parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match file_system.sync_dir(above) {
        // Somebody else's directory, and so somebody else's care.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(OpenError::io(above, "sync")),
    }
}

/// The numbers of the segments that are there, 1, 2, … up to the first gap; and the number that is missing, if there is a gap or if
/// a store that has been open before has no segment.
fn segment_numbers(layout: &Layout, store_is_known: bool) -> Result<(Vec<u64>, Option<u64>), OpenError> {
    let dir = &layout.dir;
    let names = layout.file_system.list(dir).map_err(OpenError::io(dir, "list"))?;
    for name in names.iter().filter(|name| Layout::is_temporary(name)) {
        let path = dir.join(name);
        layout.file_system.remove(&path).map_err(OpenError::io(&path, "remove"))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| Layout::number(name)).collect();
    numbers.sort_unstable();
    let before_gap = numbers.iter().zip(1..).take_while(|(found, expected)| **found == *expected).count();
    let is_missing = before_gap < numbers.len() || numbers.is_empty() && store_is_known;
    numbers.truncate(before_gap);
    Ok((numbers, is_missing.then_some(before_gap as u64 + 1)))
}

/// 128 bits that no other store has and that nobody can foresee, from the operating system's seeds of std's hash maps.
fn new_store_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    half(1) << 64 | half(2)
}

struct Reader<'a> {
    layout: &'a Layout,
    config: &'a Config,
    /// Whether `position.store_id` is known, rather than made up for a store that may be new.
    store_is_known: bool,
    position: Position,
    batches: u64,
    last_kind: Option<Kind>,
    cut: Vec<TornTail>,
    last_write: Option<LastWrite>,
    /// Segment, offset and length of what is to be overwritten with zeros, once it is sure that nothing is damaged.
    tails: Vec<(u64, usize, usize)>,
}

/// The last write that is there whole: all before it was synced, of this one it isn't known.
struct LastWrite {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
}

/// What is to be written next.
struct Tail {
    /// The segment to go on in; none: a new one is begun.
    current: Option<Current>,
    /// Segments of zeros, in the order of their numbers, `next` first.
    found: VecDeque<Prepared>,
    /// The number of the next segment to be begun.
    next: u64,
}

/// How a segment ends.
enum End {
    /// With a `Continued` marker.
    Continued,
    /// The log ends at this offset.
    Here(usize),
}

impl<'a> Reader<'a> {
    fn new(layout: &'a Layout, store_id: u128, store_is_known: bool, config: &'a Config) -> Self {
        let position =
            Position { store_id, chain: Chain::start(store_id), last_seq: 0, epoch: 0, time_ms: 0 };
        Self {
            layout,
            config,
            store_is_known,
            position,
            batches: 0,
            last_kind: None,
            cut: Vec::new(),
            last_write: None,
            tails: Vec::new(),
        }
    }

    /// Reads all segments and cuts what is torn.
    fn read(&mut self, numbers: &[u64], visit: &mut Visit<'_>) -> Result<Tail, OpenError> {
        // Measured one by one, and opened again one by one: a log may have more segments than a process may have files.
        let bytes_total =
            numbers.iter().map(|number| Ok(self.open(*number)?.1)).sum::<Result<u64, OpenError>>()?;
        let mut bytes_read = 0;
        let mut tail: Option<Tail> = None;
        let mut bytes = Vec::new();
        for &number in numbers {
            let (file, length) = self.open(number)?;
            if bytes.len() < length as usize {
                bytes = vec![0; length as usize];
            }
            bytes.truncate(length as usize);
            let path = self.layout.path(number);
            let read = file.read_at(&mut bytes, 0).map_err(OpenError::io(&path, "read"))?;
            bytes.truncate(read);
            match &mut tail {
                Some(tail) => self.check_prepared(number, file, &bytes, tail)?,
                None => {
                    if let End::Here(offset) = self.read_segment(number, &bytes, visit)? {
                        self.note_tail(number, &bytes, offset);
                        let mut begun = Tail { current: None, found: VecDeque::new(), next: number };
                        if offset == 0 {
                            Self::keep_prepared(number, file, length, self.layout, &mut begun);
                        } else {
                            begun.current = Some(Current { file, bytes: length, offset: offset as u64 });
                            begun.next = number + 1;
                        }
                        tail = Some(begun);
                    }
                }
            }
            bytes_read += length;
            let seq = Seq::new(self.position.last_seq);
            (self.config.on_progress)(Progress { bytes: bytes_read, bytes_total, seq });
        }
        let missing = "the segment is missing, the one before it says that the log goes on in it";
        match tail {
            Some(tail) => Ok(tail),
            None if numbers.is_empty() => Ok(Tail { current: None, found: VecDeque::new(), next: 1 }),
            None => Err(self.damaged(numbers.len() as u64 + 1, 0, missing)),
        }
    }

    fn open(&self, number: u64) -> Result<(Box<dyn File>, u64), OpenError> {
        let path = self.layout.path(number);
        let file = self.layout.file_system.open(&path).map_err(OpenError::io(&path, "open"))?;
        let length = file.len().map_err(OpenError::io(&path, "measure"))?;
        // A length is believed before memory is taken for it only within what a segment can have.
        if length > 1 << 30 {
            return Err(self.damaged(number, 1 << 30, "the file is longer than any segment"));
        }
        Ok((file, length))
    }

    fn damaged(&self, number: u64, offset: usize, detail: impl Into<String>) -> OpenError {
        OpenError::Damaged {
            file: self.layout.path(number),
            offset: offset as u64,
            seq: Seq::new(self.position.last_seq),
            detail: detail.into(),
        }
    }

    fn read_segment(&mut self, number: u64, bytes: &[u8], visit: &mut Visit<'_>) -> Result<End, OpenError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(self.damaged(number, bytes.len(), "the file is shorter than a segment's header"));
        };
        let header = match SegmentHeader::read(head) {
            Read::Header(header) => header,
            Read::Newer(found) => {
                let file = self.layout.path(number);
                return Err(OpenError::NewerFormat { file, found, supported: FORMAT });
            }
            Read::Zeros | Read::Other => {
                self.check_tail(number, bytes, 0, head)?;
                return Ok(End::Here(0));
            }
        };
        self.check_segment_header(number, bytes.len(), &header)?;
        self.check_padding(number, bytes, HEADER_BYTES)?;
        let mut offset = PAGE_BYTES;
        // The first batch was written together with the header.
        let mut last_write = 0;
        loop {
            let Some(head) = bytes.get(offset..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) else {
                // Less than a header is left. A batch always leaves room for a marker, so nothing was begun here.
                return Err(self.damaged(
                    number,
                    offset,
                    "the segment is full and doesn't tell where the log goes on",
                ));
            };
            let (header, body_crc) = match BatchHeader::read(self.position.store_id, head) {
                Read::Header(header) => header,
                Read::Newer(kind) => {
                    return Err(self.damaged(number, offset, format!("a batch of the unknown kind {kind}")));
                }
                Read::Zeros | Read::Other => {
                    self.check_tail(number, bytes, offset, head)?;
                    return Ok(self.end(number, bytes, last_write, offset));
                }
            };
            let Some(batch) = bytes.get(offset..offset + header.total_bytes()) else {
                return Err(self.damaged(number, offset, "a batch reaches over the segment's end"));
            };
            let chain = match check_batch(batch, &header, body_crc) {
                Ok(chain) => chain,
                Err(broken) => {
                    self.check_torn_batch(number, bytes, offset, batch, broken)?;
                    return Ok(self.end(number, bytes, last_write, offset));
                }
            };
            self.check_place(number, offset, &header)?;
            let commands = commands(batch, &header)
                .ok_or_else(|| self.damaged(number, offset, "the commands' lengths don't fit the batch"))?;
            if !commands.is_empty() {
                visit(&header, &commands).map_err(|error| match error {
                    Rejected::Damaged(detail) => self.damaged(number, offset, detail),
                    Rejected::Unsupported(detail) => OpenError::Unsupported {
                        file: self.layout.path(number),
                        offset: offset as u64,
                        seq: Seq::new(self.position.last_seq),
                        detail,
                    },
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
            self.check_padding(number, bytes, offset + batch.len())?;
            last_write = if offset == PAGE_BYTES { 0 } else { offset };
            offset = (offset + batch.len()).next_multiple_of(PAGE_BYTES);
            if header.kind == Kind::Continued {
                return match zeros_from(&bytes[offset.min(bytes.len())..]) {
                    0 => {
                        self.end(number, bytes, last_write, offset);
                        Ok(End::Continued)
                    }
                    _ => {
                        Err(self.damaged(number, offset, "there is something behind the end of the segment"))
                    }
                };
            }
        }
    }

    /// The log ends at `offset`, with the write that began at `last_write`.
    fn end(&mut self, number: u64, bytes: &[u8], last_write: usize, offset: usize) -> End {
        let bytes = bytes[last_write..offset].to_vec();
        self.last_write = Some(LastWrite { number, offset: last_write, bytes });
        End::Here(offset)
    }

    /// Makes sure that the last write is durable before anybody sees it. It may be in the operating system's memory alone: its
    /// sync was never called, or failed, after which the system may take it for durable. So it is written again; being the
    /// same bytes, it can't be torn by that.
    fn settle(&self) -> Result<(), OpenError> {
        let Some(last) = &self.last_write else { return Ok(()) };
        let path = self.layout.path(last.number);
        let file = self.layout.file_system.open(&path).map_err(OpenError::io(&path, "open"))?;
        file.write_durably_at(&last.bytes, last.offset as u64).map_err(OpenError::io(&path, "write to"))
    }

    fn check_segment_header(
        &mut self,
        number: u64,
        length: usize,
        header: &SegmentHeader,
    ) -> Result<(), OpenError> {
        if self.batches == 0 && !self.store_is_known {
            // A crash came between the first segment and the file that names the store.
            self.store_is_known = true;
            self.position.store_id = header.store_id;
            self.position.chain = Chain::start(header.store_id);
        }
        let detail = if header.store_id != self.position.store_id {
            format!("the segment belongs to another store, {:032x}", header.store_id)
        } else if header.number != number {
            format!("this is segment {}", header.number)
        } else if header.bytes != length as u64 {
            format!("the file has {length} bytes, the segment has {}", header.bytes)
        } else if header.first_seq != self.position.last_seq + 1 || header.chain != self.position.chain {
            "the segment doesn't follow the one before it".to_owned()
        } else {
            return Ok(());
        };
        Err(self.damaged(number, length.min(header.bytes as usize), detail))
    }

    /// The rest of a page from `offset` on holds nothing.
    fn check_padding(&self, number: u64, bytes: &[u8], offset: usize) -> Result<(), OpenError> {
        let end = offset.next_multiple_of(PAGE_BYTES).min(bytes.len());
        match zeros_from(&bytes[offset..end]) {
            0 => Ok(()),
            _ => Err(self.damaged(number, offset, "there is something between two batches")),
        }
    }

    /// A whole batch: is it the next one?
    fn check_place(&self, number: u64, offset: usize, header: &BatchHeader) -> Result<(), OpenError> {
        let position = &self.position;
        let expected_epoch = position.epoch + u32::from(header.kind == Kind::Opened);
        let detail = if header.chain != position.chain || header.first_seq != position.last_seq + 1 {
            "the batch doesn't follow the one before it"
        } else if header.watermark != position.last_seq || header.time_ms < position.time_ms {
            "the batch contradicts the one before it"
        } else if header.epoch != expected_epoch || (header.kind != Kind::Commands && header.count != 0) {
            "the batch contradicts its kind"
        } else if self.last_kind == Some(Kind::Closed)
            && !matches!(header.kind, Kind::Opened | Kind::Continued)
        {
            "the batch was written after the store was closed"
        } else {
            return Ok(());
        };
        Err(self.damaged(number, offset, detail))
    }

    /// At `offset` there is no whole header: is this where the log ends?
    fn check_tail(
        &self,
        number: u64,
        bytes: &[u8],
        offset: usize,
        head: &[u8; HEADER_BYTES],
    ) -> Result<(), OpenError> {
        let rest = &bytes[offset..];
        if zeros_from(rest) == 0 {
            return Ok(());
        }
        if !looks_torn(head, offset) {
            return Err(self.damaged(
                number,
                offset,
                "a header is wrong in a way that no interrupted write explains",
            ));
        }
        let second = bytes.get(PAGE_BYTES..).and_then(<[u8]>::first_chunk);
        let second = second.map(|head| BatchHeader::read(self.position.store_id, head));
        let from = match second {
            // A segment's header and its first batch are one write.
            Some(Read::Header((first, _))) if offset == 0 => PAGE_BYTES + first.total_bytes(),
            _ => offset + PAGE_BYTES,
        };
        self.check_rest(number, bytes, offset, from)
    }

    /// At `offset` there is a batch with a right header and a wrong body or footer: was it being written?
    fn check_torn_batch(
        &self,
        number: u64,
        bytes: &[u8],
        offset: usize,
        batch: &[u8],
        broken: Broken,
    ) -> Result<(), OpenError> {
        if !looks_torn(batch, offset) {
            let part = if broken == Broken::Body { "body" } else { "footer" };
            let detail = format!("a batch's {part} is wrong in a way that no interrupted write explains");
            return Err(self.damaged(number, offset, detail));
        }
        let end = offset + batch.len();
        if zeros_from(&bytes[end..]) > 0 {
            return Err(self.damaged(
                number,
                end,
                "there is something behind a batch that was never finished",
            ));
        }
        self.check_rest(number, bytes, offset, end)
    }

    /// What is torn at `offset` may be cut only if nothing proves that it had been whole: no later header behind it, and
    /// no clean close before it.
    fn check_rest(&self, number: u64, bytes: &[u8], offset: usize, from: usize) -> Result<(), OpenError> {
        let end = offset + zeros_from(&bytes[offset..]);
        // Without the store's id no header can be told from one that a tenant made up. But then only the first write
        // can be torn: the file that tells the id is written before the second.
        if !self.store_is_known && end > offset + PAGE_BYTES + MARKER_BYTES {
            let detail = "the first segment's header is wrong, and nothing else tells which store this is";
            return Err(self.damaged(number, offset, detail));
        }
        if self.last_kind == Some(Kind::Closed) && end > offset + MARKER_BYTES {
            return Err(self.damaged(
                number,
                offset,
                "there is something behind the end of a store that was closed",
            ));
        }
        let later = headers(self.position.store_id, &bytes[..end], from).find(|(at, header)| {
            header.is_none_or(|header| self.may_follow(&header, offset, *at, bytes.len()))
        });
        if let Some((later, _)) = later {
            return Err(self.damaged(
                number,
                offset,
                format!("a batch is missing, there is a later one at byte {later}"),
            ));
        }
        Ok(())
    }

    /// Whether a batch at `at`, in a segment of so many bytes, can have been written after one that was begun at `offset`, where the right ones
    /// end. Each batch between takes a page and each command in them its length.
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

    /// What is torn from `offset` on is to be cut.
    fn note_tail(&mut self, number: u64, bytes: &[u8], offset: usize) {
        let length = zeros_from(&bytes[offset..]);
        if length > 0 {
            self.tails.push((number, offset, length));
        }
    }

    /// Overwrites what is torn with zeros, as the log's space is behind its end.
    fn cut_tails(&mut self) -> Result<(), OpenError> {
        for (number, offset, length) in std::mem::take(&mut self.tails) {
            let path = self.layout.path(number);
            let file = self.layout.file_system.open(&path).map_err(OpenError::io(&path, "open"))?;
            file.write_durably_at(&vec![0; length], offset as u64)
                .map_err(OpenError::io(&path, "cut the torn tail of"))?;
            self.cut.push(TornTail { file: path, offset: offset as u64, bytes: length as u64 });
        }
        Ok(())
    }

    /// A segment behind the log's end: it may hold nothing.
    fn check_prepared(
        &mut self,
        number: u64,
        file: Box<dyn File>,
        bytes: &[u8],
        tail: &mut Tail,
    ) -> Result<(), OpenError> {
        let length = zeros_from(bytes);
        if length > 0 {
            let is_header =
                bytes.first_chunk().is_some_and(|head| matches!(SegmentHeader::read(head), Read::Header(_)));
            let holds_batch = headers(self.position.store_id, &bytes[..length], 0).next().is_some();
            // Without the store's id nothing can be said about it.
            if is_header || holds_batch || !self.store_is_known {
                return Err(self.damaged(number, 0, "the segment is in use, but the log ends before it"));
            }
            // Never written by the log: some bits have turned where nothing was kept.
            self.note_tail(number, bytes, 0);
        }
        Self::keep_prepared(number, file, bytes.len() as u64, self.layout, tail);
        Ok(())
    }

    /// Uses a segment of zeros if it has the length that it would get now. Else it is made anew in its time, and so is all
    /// behind it, each under another name and then renamed in place of the old one: the one before may promise it already.
    fn keep_prepared(number: u64, file: Box<dyn File>, length: u64, layout: &Layout, tail: &mut Tail) {
        let follows = number == tail.next + tail.found.len() as u64;
        if follows && length == layout.bytes(number) {
            tail.found.push_back(Prepared { number, bytes: length, file });
        }
    }
}

/// The headers of the store's batches at the beginnings of pages, from `from` on. None: of a kind that this version doesn't know.
fn headers(store_id: u128, bytes: &[u8], from: usize) -> impl Iterator<Item = (usize, Option<BatchHeader>)> {
    let pages = from.next_multiple_of(PAGE_BYTES)..bytes.len().saturating_sub(HEADER_BYTES - 1);
    pages.step_by(PAGE_BYTES).filter_map(move |at| {
        let head = bytes[at..].first_chunk().expect("the range ends a header before the end");
        match BatchHeader::read(store_id, head) {
            Read::Header((header, _)) => Some((at, Some(header))),
            Read::Newer(_) => Some((at, None)),
            Read::Zeros | Read::Other => None,
        }
    })
}
