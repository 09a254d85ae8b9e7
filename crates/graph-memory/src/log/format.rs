//! The bytes of the log: segment headers and batches. `docs/log-format.md` explains why they are so.
//!
//! All numbers are little-endian. A segment is its header and then batches, each of which begins a page of
//! [`PAGE_BYTES`]; what is left of a page is zero. A header of either kind is [`HEADER_BYTES`] long, ends with a CRC-32C over
//! the store's id and what is before it, and with the byte [`END`], which is not 0. A batch is a header, a body, and a footer: the chain hash,
//! whose last byte is [`END`] as well. So what is behind a tear, being 0, shows at the end of each part.
//!
//! The store's id is the key of the headers: 128 random bits that no tenant learns. A header proves something when it stands
//! behind a tear, and the bodies there hold what tenants chose. So they must not be able to make one up.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The format that this version writes, and the newest that it reads.
///
/// It says how the bytes are laid out and what the commands mean: each batch is replayed by the
/// rules of its own format, so that it means for ever what it meant when it was acknowledged. All
/// batches of a segment have the segment's format.
///
/// | format | since it |
/// |---|---|
/// | 1 | |
/// | 2 | a tenant's remembered requests age only by the tenant's own commands; batch headers hold their format |
pub(crate) const FORMAT: u32 = 2;
/// The length of a segment's and of a batch's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// The length of a batch's footer.
pub(crate) const FOOTER_BYTES: usize = 8;
/// The length of a command's length, in front of it.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The length of a batch without commands.
pub(crate) const MARKER_BYTES: usize = HEADER_BYTES + FOOTER_BYTES;
/// A batch's footer stands at a multiple of this.
const ALIGNMENT: usize = 8;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Each batch begins at a multiple of this, so no write touches a page that holds acknowledged bytes, and the
/// operating system's cache can be left out.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The largest number of a segment that its header has room for.
pub(crate) const SEGMENT_NUMBER_MAX: u64 = (1 << 24) - 1;
/// The last byte of headers and footers.
const END: u8 = 0xA5;

const SEGMENT_MAGIC: [u8; 8] = *b"SFSEGMNT";
const BATCH_MAGIC: [u8; 4] = *b"SFBA";

/// A running hash over all batches, which ties each to all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u64);

impl Chain {
    /// The chain before the first batch of a store.
    pub(crate) fn start(store_id: u128) -> Self {
        Self::over(&store_id.to_le_bytes(), 0)
    }

    /// The chain after a batch, of which `bytes` are the header and the body.
    pub(crate) fn next(self, bytes: &[u8]) -> Self {
        Self::over(bytes, self.0)
    }

    fn over(bytes: &[u8], seed: u64) -> Self {
        // XXH3 (64 bits). The highest byte, written last, is END.
        Self(xxh3_64_with_seed(bytes, seed) >> 8 | u64::from(END) << 56)
    }
}

/// The first [`HEADER_BYTES`] of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) format: u32,
    pub(crate) number: u64,
    pub(crate) store_id: u128,
    /// The file's length.
    pub(crate) bytes: u64,
    /// The first command in it.
    pub(crate) first_seq: u64,
    pub(crate) chain: Chain,
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It holds commands.
    Commands = 1,
    /// A store was opened.
    Opened = 2,
    /// A store was closed in good order; the log ends here until it is opened again.
    Closed = 3,
    /// The log goes on in the next segment.
    Continued = 4,
}

impl Kind {
    fn from_number(number: u16) -> Option<Self> {
        [Self::Commands, Self::Opened, Self::Closed, Self::Continued]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// The first [`HEADER_BYTES`] of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) format: u32,
    pub(crate) kind: Kind,
    /// Length of the body: for each command its length (4 bytes) and its bytes.
    pub(crate) body_bytes: u32,
    /// Commands in it.
    pub(crate) count: u32,
    /// The first command in it, or the next one if it has none.
    pub(crate) first_seq: u64,
    /// The log's time, in Unix milliseconds.
    pub(crate) time_ms: u64,
    /// The last command that was durable when this was written.
    pub(crate) watermark: u64,
    /// How often the store had been opened.
    pub(crate) epoch: u32,
    pub(crate) chain: Chain,
}

impl BatchHeader {
    /// The length of the whole batch.
    pub(crate) fn total_bytes(&self) -> usize {
        HEADER_BYTES + (self.body_bytes as usize).next_multiple_of(ALIGNMENT) + FOOTER_BYTES
    }
}

/// What the bytes at a place where a header should be are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    /// A header whose CRC is right for the store.
    Header(T),
    /// Nothing but zeros.
    Zeros,
    /// A header whose CRC is right for the store, of a format that is newer than [`FORMAT`].
    Newer(u32),
    /// A header whose CRC is right for the store, of a kind that its format doesn't have.
    UnknownKind(u16),
    /// Anything else.
    Other,
}

/// The CRC of a header, of which all but the last five bytes count, in the store of this id.
fn header_crc(store_id: u128, bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&store_id.to_le_bytes()), &bytes[..HEADER_BYTES - 5])
}

/// Gives a header the CRC that it has in the store of this id, and its end mark.
pub(crate) fn seal(store_id: u128, bytes: &mut [u8; HEADER_BYTES]) {
    let crc = header_crc(store_id, bytes);
    bytes[HEADER_BYTES - 5..HEADER_BYTES - 1].copy_from_slice(&crc.to_le_bytes());
    bytes[HEADER_BYTES - 1] = END;
}

fn is_sealed(store_id: u128, bytes: &[u8; HEADER_BYTES]) -> bool {
    let crc = header_crc(store_id, bytes);
    bytes[HEADER_BYTES - 5..HEADER_BYTES - 1] == crc.to_le_bytes() && bytes[HEADER_BYTES - 1] == END
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes has N bytes")
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        debug_assert!(
            self.number <= SEGMENT_NUMBER_MAX && self.bytes < 1 << 40,
            "the fields are wide enough"
        );
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        // The number takes three bytes, the length five.
        bytes[12..15].copy_from_slice(&self.number.to_le_bytes()[..3]);
        bytes[15..20].copy_from_slice(&self.bytes.to_le_bytes()[..5]);
        bytes[20..36].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.chain.0.to_le_bytes());
        seal(self.store_id, &mut bytes);
        bytes
    }

    /// The header, of whichever store: its CRC is checked with the id in it, and the caller compares that one. So a
    /// foreign segment is told from a damaged one. Tenants' bytes never stand where a segment begins.
    pub(crate) fn read(bytes: &[u8; HEADER_BYTES]) -> Read<Self> {
        if *bytes == [0; HEADER_BYTES] {
            return Read::Zeros;
        }
        let store_id = u128::from_le_bytes(number(bytes, 20));
        if bytes[..8] != SEGMENT_MAGIC || !is_sealed(store_id, bytes) {
            return Read::Other;
        }
        let format = u32::from_le_bytes(number(bytes, 8));
        if format > FORMAT {
            return Read::Newer(format);
        }
        let short = |at: usize, len: usize| {
            let mut wide = [0; 8];
            wide[..len].copy_from_slice(&bytes[at..at + len]);
            u64::from_le_bytes(wide)
        };
        Read::Header(Self {
            format,
            number: short(12, 3),
            bytes: short(15, 5),
            store_id,
            first_seq: u64::from_le_bytes(number(bytes, 36)),
            chain: Chain(u64::from_le_bytes(number(bytes, 44))),
        })
    }
}

impl BatchHeader {
    fn to_bytes(self, store_id: u128, body_crc: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..6].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[6..10].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[10..14].copy_from_slice(&self.count.to_le_bytes());
        bytes[14..22].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[22..30].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[30..38].copy_from_slice(&self.watermark.to_le_bytes());
        bytes[38..42].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[42..50].copy_from_slice(&self.chain.0.to_le_bytes());
        bytes[50..54].copy_from_slice(&body_crc.to_le_bytes());
        // Format 1 had no such field: there it is 0.
        let format = if self.format == 1 { 0 } else { self.format as u16 };
        bytes[54..56].copy_from_slice(&format.to_le_bytes());
        seal(store_id, &mut bytes);
        bytes
    }

    /// The header, if it was written for the store of this id, and the CRC that the body should have.
    pub(crate) fn read(store_id: u128, bytes: &[u8; HEADER_BYTES]) -> Read<(Self, u32)> {
        if *bytes == [0; HEADER_BYTES] {
            return Read::Zeros;
        }
        if bytes[..4] != BATCH_MAGIC || !is_sealed(store_id, bytes) {
            return Read::Other;
        }
        let format = u32::from(u16::from_le_bytes(number(bytes, 54))).max(1);
        if format > FORMAT {
            return Read::Newer(format);
        }
        let kind = u16::from_le_bytes(number(bytes, 4));
        let Some(kind) = Kind::from_number(kind) else {
            return Read::UnknownKind(kind);
        };
        let header = Self {
            format,
            kind,
            body_bytes: u32::from_le_bytes(number(bytes, 6)),
            count: u32::from_le_bytes(number(bytes, 10)),
            first_seq: u64::from_le_bytes(number(bytes, 14)),
            time_ms: u64::from_le_bytes(number(bytes, 22)),
            watermark: u64::from_le_bytes(number(bytes, 30)),
            epoch: u32::from_le_bytes(number(bytes, 38)),
            chain: Chain(u64::from_le_bytes(number(bytes, 42))),
        };
        Read::Header((header, u32::from_le_bytes(number(bytes, 50))))
    }
}

/// Finishes a batch in `buffer`, which holds room for a header from `start` on and behind that the body.
/// The header's `body_bytes` is set here. Returns the chain after it.
pub(crate) fn finish_batch(
    store_id: u128,
    buffer: &mut Vec<u8>,
    start: usize,
    mut header: BatchHeader,
) -> Chain {
    let body = start + HEADER_BYTES;
    header.body_bytes = (buffer.len() - body) as u32;
    buffer.resize(start + header.total_bytes() - FOOTER_BYTES, 0);
    let crc = crc32c::crc32c(&buffer[body..]);
    buffer[start..body].copy_from_slice(&header.to_bytes(store_id, crc));
    let chain = header.chain.next(&buffer[start..]);
    buffer.extend(chain.0.to_le_bytes());
    chain
}

/// Why a whole batch isn't right although its header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Its body has another CRC.
    Body,
    /// Its footer isn't the hash of the batch.
    Footer,
}

/// Checks a whole batch, `bytes`, whose header was read; returns the chain after it.
pub(crate) fn check_batch(bytes: &[u8], header: &BatchHeader, body_crc: u32) -> Result<Chain, Broken> {
    let footer = bytes.len() - FOOTER_BYTES;
    if crc32c::crc32c(&bytes[HEADER_BYTES..footer]) != body_crc {
        return Err(Broken::Body);
    }
    let chain = header.chain.next(&bytes[..footer]);
    if bytes[footer..] == chain.0.to_le_bytes() { Ok(chain) } else { Err(Broken::Footer) }
}

/// The commands in the body of a right batch. None: their lengths don't fit the body.
pub(crate) fn commands<'a>(bytes: &'a [u8], header: &BatchHeader) -> Option<Vec<&'a [u8]>> {
    let mut body = &bytes[HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize];
    // No capacity from `count`, which need not be true.
    let mut all = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>()?;
        let (command, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        all.push(command);
        body = rest;
    }
    (all.len() == header.count as usize).then_some(all)
}

/// Whether `bytes`, a header or a batch of a file from `offset` on that was once all zeros and in which one write was
/// made, look as if a part of that write is missing: a sector's worth is still zero, or the end is. Or the beginning
/// is zero again: then a recovery was interrupted while it overwrote what it had found torn.
pub(crate) fn looks_torn(bytes: &[u8], offset: usize) -> bool {
    if bytes.first() == Some(&0) || bytes.last() == Some(&0) {
        return true;
    }
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).chain(rest.chunks(SECTOR_BYTES)).any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// The place behind the last byte that isn't 0; 0 if all are.
pub(crate) fn zeros_from(bytes: &[u8]) -> usize {
    // In large steps first: most of a segment is zero, and most of a small batch's page.
    let mut end = bytes.len();
    for step in [4096, 64] {
        while let Some(start) = end.checked_sub(step)
            && bytes[start..end].iter().fold(0, |any, byte| any | byte) == 0
        {
            end = start;
        }
    }
    bytes[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

    fn header() -> BatchHeader {
        BatchHeader {
            format: FORMAT,
            kind: Kind::Commands,
            body_bytes: 0,
            count: 2,
            first_seq: 41,
            time_ms: 1_234_567,
            watermark: 40,
            epoch: 3,
            chain: Chain::start(9),
        }
    }

    fn batch() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        for command in [b"one".as_slice(), b"twenty"] {
            bytes.extend((command.len() as u32).to_le_bytes());
            bytes.extend(command);
        }
        finish_batch(STORE_ID, &mut bytes, 0, header());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<(BatchHeader, Chain)> {
        let Read::Header((header, crc)) = BatchHeader::read(STORE_ID, bytes.first_chunk()?) else {
            return None;
        };
        Some((header, check_batch(bytes.get(..header.total_bytes())?, &header, crc).ok()?))
    }

    #[test]
    fn a_batch_comes_back_as_it_was_written() {
        let bytes = batch();
        let (read, _) = read(&bytes).unwrap();
        assert_eq!(read, BatchHeader { body_bytes: 17, ..header() });
        assert_eq!(read.total_bytes(), bytes.len());
        assert_eq!(commands(&bytes, &read).unwrap(), [b"one".as_slice(), b"twenty"]);
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_none_looks_torn() {
        let bytes = batch();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
            assert!(!looks_torn(&flipped[..HEADER_BYTES], 0) && !looks_torn(&flipped, 0), "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_store_is_none() {
        let bytes = batch();
        let head = bytes.first_chunk().unwrap();
        assert!(matches!(BatchHeader::read(STORE_ID, head), Read::Header(_)));
        for bit in 0..128 {
            assert_eq!(BatchHeader::read(STORE_ID ^ 1 << bit, head), Read::Other, "bit {bit}");
        }
        // Nor is one that anybody could have made, of what is in it alone.
        let mut unkeyed = *head;
        let crc = crc32c::crc32c(&unkeyed[..59]);
        unkeyed[59..63].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(BatchHeader::read(STORE_ID, &unkeyed), Read::Other);
    }

    #[test]
    fn every_tear_is_noticed_and_looks_torn() {
        let bytes = batch();
        for cut in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            assert_eq!(read(&torn), None, "cut at {cut}");
            assert!(looks_torn(&torn[..HEADER_BYTES], 0) || looks_torn(&torn, 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_segment_header_comes_back_as_it_was_written() {
        let header = SegmentHeader {
            format: FORMAT,
            number: 77,
            store_id: u128::MAX / 3,
            bytes: 64 << 20,
            first_seq: 1 << 40,
            chain: Chain::start(1),
        };
        assert_eq!(SegmentHeader::read(&header.to_bytes()), Read::Header(header));
        let newer = SegmentHeader { format: FORMAT + 1, ..header };
        assert_eq!(SegmentHeader::read(&newer.to_bytes()), Read::Newer(FORMAT + 1));
        assert_eq!(SegmentHeader::read(&[0; HEADER_BYTES]), Read::Zeros);
    }

    #[test]
    fn a_batch_tells_its_format() {
        let head = |header: BatchHeader| header.to_bytes(STORE_ID, 0);
        for format in [1, FORMAT] {
            let header = BatchHeader { format, ..header() };
            assert_eq!(BatchHeader::read(STORE_ID, &head(header)), Read::Header((header, 0)));
        }
        // As builds before format 2 wrote it, who left zeros there.
        assert_eq!(head(BatchHeader { format: 1, ..header() })[54..59], [0; 5]);
        let mut newer = head(BatchHeader { format: FORMAT + 1, ..header() });
        assert_eq!(BatchHeader::read(STORE_ID, &newer), Read::Newer(FORMAT + 1));
        // It may have kinds of its own.
        newer[4..6].copy_from_slice(&99_u16.to_le_bytes());
        seal(STORE_ID, &mut newer);
        assert_eq!(BatchHeader::read(STORE_ID, &newer), Read::Newer(FORMAT + 1));
        let mut unknown = head(header());
        unknown[4..6].copy_from_slice(&99_u16.to_le_bytes());
        seal(STORE_ID, &mut unknown);
        assert_eq!(BatchHeader::read(STORE_ID, &unknown), Read::UnknownKind(99));
    }

    #[test]
    fn lengths_that_do_not_fit_are_no_commands() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend(u32::MAX.to_le_bytes());
        finish_batch(STORE_ID, &mut bytes, 0, BatchHeader { count: 1, ..header() });
        let (read, _) = read(&bytes).unwrap();
        assert_eq!(commands(&bytes, &read), None);
    }

    #[test]
    fn zeros_are_found_from_the_end() {
        let mut bytes = vec![0; 10_000];
        assert_eq!(zeros_from(&bytes), 0);
        for at in [0, 1, 63, 64, 65, 1_800, 4095, 4096, 9_999] {
            bytes[at] = 1;
            assert_eq!(zeros_from(&bytes), at + 1);
        }
    }
}
