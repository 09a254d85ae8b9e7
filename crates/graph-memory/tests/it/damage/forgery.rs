//! Headers that a tenant made up. Most bytes of the log are chosen by tenants, and behind a tear the store looks for headers: one
//! that is right proves that something durable is damaged. Nobody but the store itself may be able to make one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use steadfast_graph_memory::{Allocate, OpenError};

use crate::damage::log::{HEADER_BYTES, PAGE_BYTES, allocate, batches, seal, seal_without_store, store_id};
use crate::simulated_disk::store::{DIR, open};
use crate::simulated_disk::{SECTOR_BYTES, SimulatedDisk, Survival};

const ANOTHER_STORE: [u8; 16] = [7; 16];

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(crate::damage::log::segment(number))
}

fn last_batch(bytes: &[u8]) -> Range<usize> {
    batches(bytes).pop().unwrap()
}

/// A store that was not closed, the state hash of all but its last batch, and where that one is.
struct Attacked {
    disk: SimulatedDisk,
    hash_before: u64,
    last: Range<usize>,
}

fn attacked(request: Allocate) -> Attacked {
    let disk = SimulatedDisk::new(0);
    let memory = open(&disk).unwrap();
    allocate(&memory, "first");
    let hash_before = memory.state_hash();
    memory.tenant("acme").unwrap().allocate_blocking(request).unwrap();
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    let last = last_batch(&disk.contents()[&segment(1)]);
    Attacked { disk, hash_before, last }
}

impl Attacked {
    fn bytes(&self) -> Vec<u8> {
        self.disk.contents().remove(&segment(1)).unwrap()
    }

    /// The last batch lacks its first sector, and `change` is done to the segment as well.
    fn torn(&self, change: impl FnOnce(&mut Vec<u8>)) -> SimulatedDisk {
        let disk = self.disk.after_power_loss(&Survival::NothingUnsynced);
        disk.damage(&segment(1), |bytes| {
            bytes[self.last.start..self.last.start + SECTOR_BYTES as usize].fill(0);
            change(bytes);
        });
        disk
    }

    fn check_erased(&self, disk: &SimulatedDisk, what: &str) {
        let memory = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(memory.state_hash(), self.hash_before, "{what}");
        let torn: Vec<_> =
            memory.recovery().torn_writes.iter().map(|torn| (torn.file.clone(), torn.offset)).collect();
        assert_eq!(torn, [(segment(1), self.last.start as u64)], "{what}");
    }
}

/// The bytes of two attributes next to each other in the log, from the first one's number on: 8 bytes of a number, tags and lengths, a
/// name, a tag, 8 bytes of a number. Numbers can be any bytes, names any text.
fn forged_header(seal: impl FnOnce(&mut [u8])) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(b"SFBA");
    header[4] = 1;
    header[8..12].copy_from_slice(&[0x32, 54, 0x0A, 43]);
    header[12..55].fill(b'n');
    header[55] = 0x21;
    seal(&mut header);
    header
}

/// A memory whose attributes hold `header`, behind a text of so many bytes.
fn with_attributes(header: &[u8; HEADER_BYTES], text_bytes: usize) -> Allocate {
    let float = |at: usize| f64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    let name = std::str::from_utf8(&header[12..55]).unwrap();
    Allocate::new("x".repeat(text_bytes)).attribute("a", float(0)).attribute(name, float(56))
}

#[test]
fn a_header_that_a_tenant_writes_as_attributes_proves_nothing() {
    let forgeries = [
        ("without a store's id", forged_header(seal_without_store)),
        ("for another store", forged_header(|header| seal(ANOTHER_STORE, header))),
    ];
    for (what, header) in forgeries {
        let place = |attacked: &Attacked| {
            let batch = &attacked.bytes()[attacked.last.clone()];
            let found = batch.windows(HEADER_BYTES).position(|window| window == header);
            attacked.last.start + found.expect("it is in the batch")
        };
        // A first try tells how much text it takes to have it begin a page.
        let tried = place(&attacked(with_attributes(&header, 6000)));
        let text_bytes = 6000 + tried.next_multiple_of(PAGE_BYTES) - tried;
        let attacked = attacked(with_attributes(&header, text_bytes));
        assert_eq!(place(&attacked) % PAGE_BYTES, 0);
        attacked.check_erased(&attacked.torn(|_| ()), what);
    }
}

/// A header that the store could have written next behind the torn batch, and what is done to it.
fn check_later_header(what: &str, is_proof: bool, change: impl FnOnce(&mut [u8], [u8; 16])) {
    let attacked = attacked(Allocate::new("x".repeat(3 * PAGE_BYTES)));
    let bytes = attacked.bytes();
    let mut header = bytes[attacked.last.start..][..HEADER_BYTES].to_vec();
    let first_seq = u64::from_le_bytes(header[14..22].try_into().unwrap());
    // A marker of an opening: no body, no commands, the epoch one higher.
    header[4] = 2;
    header[6..14].fill(0);
    header[14..22].copy_from_slice(&(first_seq + 1).to_le_bytes());
    header[30..38].copy_from_slice(&first_seq.to_le_bytes());
    header[38] += 1;
    seal(store_id(&bytes), &mut header);
    change(&mut header, store_id(&bytes));

    let at = attacked.last.start + PAGE_BYTES;
    let disk = attacked.torn(|bytes| bytes[at..at + HEADER_BYTES].copy_from_slice(&header));
    if is_proof {
        let error = open(&disk).unwrap_err();
        let OpenError::Damaged { offset, .. } = error else { panic!("{what}: {error}") };
        assert_eq!(offset, attacked.last.start as u64, "{what}");
    } else {
        attacked.check_erased(&disk, what);
    }
}

#[test]
fn a_header_of_the_store_itself_is_proof_and_one_that_does_not_fit_is_none() {
    check_later_header("as it would be", true, |_, _| ());
    check_later_header("of a kind that is not known yet", true, |header, store_id| {
        header[4] = 9;
        seal(store_id, header);
    });
    check_later_header("another store's", false, |header, _| seal(ANOTHER_STORE, header));
    check_later_header("nobody's", false, |header, _| seal_without_store(header));
    // The field, what is added to its lowest byte, and which byte that is.
    for (field, at, add) in [
        ("commands that were there before", 14, 254),
        ("more commands than there is room for", 17, 1),
        ("another watermark", 30, 1),
        ("an earlier epoch", 38, 254),
        ("more epochs than there is room for", 38, 2),
        ("an earlier time", 27, 255),
        ("a marker with commands", 10, 1),
        ("a body that reaches over the end", 8, 1),
    ] {
        check_later_header(field, false, |header, store_id| {
            header[at] = header[at].wrapping_add(add);
            if at == 14 || at == 17 {
                // With the watermark that goes with it.
                header[at + 16] = header[at + 16].wrapping_add(add);
            }
            seal(store_id, header);
        });
    }
}
