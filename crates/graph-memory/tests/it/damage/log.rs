//! The bytes of a log, as `docs/log-format.md` has them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use steadfast_graph_memory::{Allocate, GraphMemory};

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const FOOTER_BYTES: usize = 8;
pub(crate) const PAGE_BYTES: usize = 4096;

/// The path of a segment in a store's directory.
pub(crate) fn segment(number: u64) -> PathBuf {
    Path::new("log").join(format!("{number:016x}.seg"))
}

/// Gives a header the CRC that it has in a store: over the store's id and all but its own last five
/// bytes.
pub(crate) fn seal(store_id: [u8; 16], header: &mut [u8]) {
    seal_from(crc32c::crc32c(&store_id), header);
}

/// Gives a header the CRC of what is in it alone.
pub(crate) fn seal_without_store(header: &mut [u8]) {
    seal_from(0, header);
}

fn seal_from(crc: u32, header: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc, &header[..HEADER_BYTES - 5]);
    header[HEADER_BYTES - 5..HEADER_BYTES - 1].copy_from_slice(&crc.to_le_bytes());
    header[HEADER_BYTES - 1] = 0xA5;
}

/// The store's id, as the first segment has it.
pub(crate) fn store_id(bytes: &[u8]) -> [u8; 16] {
    bytes[20..36].try_into().expect("sixteen bytes")
}

/// Where the batches of a segment are, without the zeros that fill their pages.
pub(crate) fn batches(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = PAGE_BYTES;
    while bytes.get(at..at + 4) == Some(b"SFBA") {
        let body = u32::from_le_bytes(bytes[at + 6..at + 10].try_into().expect("four bytes")) as usize;
        let end = at + HEADER_BYTES + body.next_multiple_of(8) + FOOTER_BYTES;
        found.push(at..end);
        at = end.next_multiple_of(PAGE_BYTES);
    }
    found
}

pub(crate) fn allocate(memory: &GraphMemory, text: &str) {
    memory.tenant("acme").unwrap().allocate_blocking(Allocate::new(text)).unwrap();
}
