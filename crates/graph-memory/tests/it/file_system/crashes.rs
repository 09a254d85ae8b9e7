//! What the simulated disk keeps, and what it doesn't.

use std::io;
use std::path::{Path, PathBuf};

use steadfast_graph_memory::fs::{File, FileSystem};
use steadfast_testkit::TestRng;

use crate::file_system::{content, create, kind_of};
use crate::simulated_disk::{Kept, Operation, SECTOR_BYTES, SimulatedDisk, Survival};

const DIR: &str = "/d";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A disk with the directory and, in it, a durable file `a` of `bytes`.
fn disk_with(bytes: &[u8]) -> (SimulatedDisk, Box<dyn File>) {
    let disk = SimulatedDisk::new(7);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let file = create(&disk, &path("a"), bytes);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!(!disk.has_unsynced());
    (disk, file)
}

/// The content of a file; none if it has no entry.
fn found(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    disk.open(&path(name)).ok().map(|file| content(&*file))
}

fn after(disk: &SimulatedDisk, survival: &Survival) -> Option<Vec<u8>> {
    found(&disk.after_power_loss(survival), "a")
}

#[test]
fn synced_data_are_kept_and_unsynced_data_may_be_lost() {
    let (disk, file) = disk_with(b"old content");
    file.write_all_at(b"new", 0).unwrap();
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"old content");
    assert_eq!(after(&disk, &Survival::EverythingUnsynced).unwrap(), b"new content");

    let (disk, file) = disk_with(b"old content");
    file.write_all_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"lost and longer", 4).unwrap();
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"new content");
}

#[test]
fn what_is_written_durably_is_kept_and_brings_nothing_else() {
    let (disk, file) = disk_with(b"old content");
    file.write_all_at(b"OLD", 0).unwrap();
    file.write_durably_at(b"new", 4).unwrap();
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"old newtent");
    // Of what it covers nothing comes back, around it all is open still.
    let (disk, file) = disk_with(b"old content");
    file.write_all_at(b"OLD CONTENT", 0).unwrap();
    file.write_durably_at(b"new", 4).unwrap();
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"old newtent");
    assert_eq!(after(&disk, &Survival::EverythingUnsynced).unwrap(), b"OLD newTENT");
    let (disk, file) = disk_with(b"old content");
    disk.crash_at(disk.operations() + 2);
    assert!(file.write_durably_at(b"new", 4).is_err());
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"old content");
    assert_eq!(after(&disk, &Survival::LastWrite(Kept::prefix(2))).unwrap(), b"old nentent");
}

#[test]
fn data_are_lost_with_a_name_that_was_not_synced() {
    let (disk, _) = disk_with(b"");
    create(&disk, &path("b"), b"synced").sync_data().unwrap();
    assert_eq!(found(&disk.after_power_loss(&Survival::NothingUnsynced), "b"), None);
    assert_eq!(found(&disk.after_power_loss(&Survival::EverythingUnsynced), "b").unwrap(), b"synced");
}

#[test]
fn zeroed_files_are_durable_but_for_their_name() {
    let (disk, _) = disk_with(b"");
    disk.create_zeroed(&path("b"), 5000).unwrap();
    assert_eq!(found(&disk.after_power_loss(&Survival::NothingUnsynced), "b"), None);
    assert_eq!(found(&disk.after_power_loss(&Survival::EverythingUnsynced), "b").unwrap(), [0; 5000]);
    let (disk, _) = disk_with(b"");
    disk.create_zeroed(&path("b"), 5000).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(found(&disk.after_power_loss(&Survival::NothingUnsynced), "b").unwrap(), [0; 5000]);
}

#[test]
fn a_synced_name_does_not_bring_its_data() {
    let (disk, _) = disk_with(b"");
    create(&disk, &path("b"), b"not synced");
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(found(&disk.after_power_loss(&Survival::NothingUnsynced), "b").unwrap(), b"");
}

#[test]
fn renames_and_removals_need_a_sync_of_their_directory() {
    let (disk, _) = disk_with(b"content");
    disk.rename(&path("a"), &path("b")).unwrap();
    let before = disk.after_power_loss(&Survival::NothingUnsynced);
    assert_eq!((found(&before, "a").unwrap(), found(&before, "b")), (b"content".to_vec(), None));
    let renamed = disk.after_power_loss(&Survival::EverythingUnsynced);
    assert_eq!((found(&renamed, "a"), found(&renamed, "b").unwrap()), (None, b"content".to_vec()));

    renamed.remove(&path("b")).unwrap();
    assert_eq!(found(&renamed, "b"), None);
    assert_eq!(found(&renamed.after_power_loss(&Survival::NothingUnsynced), "b").unwrap(), b"content");
    let removed = renamed.after_power_loss(&Survival::EverythingUnsynced);
    assert_eq!(found(&removed, "b"), None);
}

#[test]
fn made_directories_are_durable_at_once() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir_all(Path::new("/a/b/c")).unwrap();
    let disk = disk.after_power_loss(&Survival::NothingUnsynced);
    assert_eq!(disk.list(Path::new("/a/b")).unwrap(), ["c"]);
}

#[test]
fn a_torn_write_leaves_a_prefix_or_sectors() {
    let sector = SECTOR_BYTES as usize;
    let write = 100..100 + 3 * SECTOR_BYTES;
    let bytes = vec![b'n'; 3 * sector];
    let torn = |kept: Kept| {
        let (disk, file) = disk_with(&vec![b'o'; 4 * sector]);
        file.write_all_at(&bytes, 100).unwrap();
        assert_eq!(disk.last_unsynced_write(), Some(write.clone()));
        after(&disk, &Survival::LastWrite(kept)).unwrap()
    };
    let new_in = |image: &[u8]| {
        image.iter().enumerate().filter(|(_, byte)| **byte == b'n').map(|(at, _)| at).collect()
    };
    let new: Vec<usize> = new_in(&torn(Kept::prefix(7)));
    assert_eq!(new, (100..107).collect::<Vec<_>>());
    // The write touches four sectors of the file, the first and the last only in part.
    let new: Vec<usize> = new_in(&torn(Kept::sectors(&write, |at| at == 0 || at == 2)));
    assert_eq!(new, (100..sector).chain(2 * sector..3 * sector).collect::<Vec<_>>());
    let new: Vec<usize> = new_in(&torn(Kept::sectors(&write, |at| at == 3)));
    assert_eq!(new, (3 * sector..3 * sector + 100).collect::<Vec<_>>());
}

#[test]
fn chance_finds_every_sort_of_tear_and_repeats_itself() {
    let bytes = vec![b'n'; 4 * SECTOR_BYTES as usize];
    let tear = |seed: u64| {
        let (disk, file) = disk_with(&[b'o'; 4 * SECTOR_BYTES as usize]);
        file.write_all_at(&bytes, 0).unwrap();
        after(&disk, &Survival::Random(seed)).unwrap()
    };
    let images: Vec<_> = (0..200).map(tear).collect();
    let new_sectors = |image: &[u8]| -> Vec<bool> {
        image.chunks(SECTOR_BYTES as usize).map(|sector| sector.iter().all(|byte| *byte == b'n')).collect()
    };
    assert!(images.iter().any(|image| new_sectors(image) == [false; 4]), "never lost");
    assert!(images.iter().any(|image| new_sectors(image) == [true; 4]), "never whole");
    assert!(images.iter().any(|image| new_sectors(image) == [false, true, false, true]), "never a hole");
    let torn_within =
        |image: &Vec<u8>| image.windows(2).position(|two| two == b"no").is_some_and(|at| (at + 1) % 512 != 0);
    assert!(images.iter().any(torn_within), "never torn within a sector");
    assert_eq!(images, (0..200).map(tear).collect::<Vec<_>>());
}

#[test]
fn the_planned_operation_fails_and_all_after_it() {
    let (disk, file) = disk_with(b"old");
    let held = disk.lock(&path("a")).unwrap();
    disk.crash_at(disk.operations() + 2);
    file.write_all_at(b"1st", 0).unwrap();
    assert!(!disk.has_crashed());
    assert!(file.write_all_at(b"2nd", 0).is_err());
    assert!(disk.has_crashed());
    assert!(file.sync_data().is_err() && file.len().is_err() && disk.list(Path::new(DIR)).is_err());

    // The write in which the power failed may be there as well, and the lock is gone.
    assert_eq!(after(&disk, &Survival::NothingUnsynced).unwrap(), b"old");
    assert_eq!(after(&disk, &Survival::LastWrite(Kept::prefix(1))).unwrap(), b"2st");
    let disk = disk.after_power_loss(&Survival::EverythingUnsynced);
    assert_eq!(found(&disk, "a").unwrap(), b"2nd");
    disk.lock(&path("a")).unwrap();
    assert!(file.len().is_err(), "a handle of before the crash is dead");
    drop(held);
}

#[test]
fn another_process_finds_what_was_written_and_it_is_still_not_synced() {
    let (disk, file) = disk_with(b"old");
    file.write_all_at(b"new", 0).unwrap();
    disk.crash_at(disk.operations() + 1);
    assert!(file.write_all_at(b"in flight", 3).is_err());
    let restarted = disk.after_process_death(&Survival::LastWrite(Kept::prefix(3)));
    assert_eq!(found(&restarted, "a").unwrap(), b"newin ");
    assert_eq!(after(&restarted, &Survival::NothingUnsynced).unwrap(), b"old");
}

#[test]
fn a_failed_sync_loses_data_for_good() {
    let lost = (0..50).any(|seed| {
        let disk = SimulatedDisk::new(seed);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let file = create(&disk, &path("a"), b"data");
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.fail(Operation::SyncData, 0);
        assert!(file.sync_data().is_err());
        assert_eq!(content(&*file), b"data", "readers see it still");
        file.sync_data().unwrap();
        after(&disk, &Survival::NothingUnsynced).unwrap() != b"data"
    });
    assert!(lost);
}

#[test]
fn planned_faults_hit_once_and_only_their_operation() {
    let (disk, file) = disk_with(b"old");
    disk.fail(Operation::Write, 1);
    disk.fail(Operation::Create, 0);
    file.write_all_at(b"1st", 0).unwrap();
    assert!(file.write_all_at(b"2nd", 0).is_err());
    file.write_all_at(b"3rd", 0).unwrap();
    assert!(disk.create_new(&path("b")).is_err());
    assert_eq!(found(&disk, "b"), None);
    disk.create_new(&path("b")).unwrap();
    disk.fail(Operation::SyncDirectory, 0);
    assert!(disk.sync_dir(Path::new(DIR)).is_err());
    disk.sync_dir(Path::new(DIR)).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits_until_there_is_room() {
    let (disk, file) = disk_with(b"old");
    disk.leave_space(Some(4));
    assert_eq!(kind_of(file.write_all_at(b"much too long", 0)), io::ErrorKind::StorageFull);
    assert_eq!(content(&*file), b"much to");
    file.write_all_at(b"in place", 0).unwrap_err();
    file.write_all_at(b"placed", 0).unwrap();
    assert_eq!(kind_of(disk.create_new(&path("b"))), io::ErrorKind::StorageFull);
    disk.leave_space(Some(10));
    create(&disk, &path("b"), b"0123456789");
    disk.leave_space(None);
    file.write_all_at(&[1; 1000], 0).unwrap();
}

#[test]
fn contents_make_the_same_disk_again() {
    let (disk, _) = disk_with(b"content");
    disk.create_dir_all(&path("deep/er")).unwrap();
    create(&disk, &path("deep/er/b"), b"more");
    let copy = SimulatedDisk::with_contents(&disk.contents());
    assert_eq!(copy.contents(), disk.contents());
    assert!(!copy.has_unsynced());
}

#[test]
fn dice_repeat_themselves_and_reach_every_side() {
    let roll = |seed: u64| {
        let mut rng = TestRng::new(seed);
        (0..100).map(|_| rng.below(6)).collect::<Vec<_>>()
    };
    assert_eq!(roll(1), roll(1));
    assert_ne!(roll(1), roll(2));
    assert!((0..6).all(|side| roll(3).contains(&side)));
}

#[test]
fn a_failed_sync_of_a_directory_is_made_up_for_by_the_next() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        for name in ["a", "b"] {
            create(&disk, &path(name), b"");
        }
        disk.fail(Operation::SyncDirectory, 0);
        assert!(disk.sync_dir(Path::new(DIR)).is_err());
        disk.sync_dir(Path::new(DIR)).unwrap();
        assert_eq!(
            disk.after_power_loss(&Survival::NothingUnsynced).list(Path::new(DIR)).unwrap(),
            ["a", "b"]
        );
    }
}
