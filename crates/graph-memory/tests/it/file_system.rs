//! The contract of `FileSystem`, run over the operating system's files and over the simulated disk. What the
//! simulated disk keeps when it crashes is in [`crashes`]; what a store answers when its file system makes no segments, in
//! [`refusals`].

mod crashes;
mod refusals;

use std::io;
use std::path::Path;

use crate::simulated_disk::{SimulatedDisk, Survival};
use steadfast_graph_memory::fs::{File, FileSystem, RealFileSystem};

/// One clause of the contract; the directory is there and empty.
type Clause = fn(&dyn FileSystem, &Path);

const CONTRACT: &[(&str, Clause)] = &[
    ("a new file is empty and can be written and read", a_new_file_is_empty_and_can_be_written_and_read),
    ("reads stop at the end of the file", reads_stop_at_the_end_of_the_file),
    ("writes lengthen the file and leave the rest alone", writes_lengthen_the_file_and_leave_the_rest_alone),
    ("write_durably_at writes like any other", write_durably_at_writes_like_any_other),
    ("all handles see one content", all_handles_see_one_content),
    ("create_new leaves a file that exists alone", create_new_leaves_a_file_that_exists_alone),
    ("create_zeroed makes a file of zeros", create_zeroed_makes_a_file_of_zeros),
    ("what is missing is not found", what_is_missing_is_not_found),
    ("rename replaces and keeps the content", rename_replaces_and_keeps_the_content),
    ("an open file follows its rename", an_open_file_follows_its_rename),
    ("a removed name is free again", a_removed_name_is_free_again),
    ("directories are made with all above them", directories_are_made_with_all_above_them),
    ("a file is no directory", a_file_is_no_directory),
    ("list names every entry once", list_names_every_entry_once),
    ("a lock has one holder", a_lock_has_one_holder),
    ("syncs change nothing that is seen", syncs_change_nothing_that_is_seen),
];

fn check_contract(file_system: &dyn FileSystem, base: &Path) {
    for (at, (clause, check)) in CONTRACT.iter().enumerate() {
        println!("{clause}");
        let dir = base.join(format!("clause-{at}"));
        file_system.create_dir_all(&dir).unwrap();
        check(file_system, &dir);
    }
}

#[test]
fn the_operating_systems_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    check_contract(&RealFileSystem, dir.path());
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    check_contract(&SimulatedDisk::new(0), Path::new("/"));
}

#[test]
fn the_simulated_disk_keeps_the_contract_after_a_loss_of_power() {
    let disk = SimulatedDisk::new(0);
    check_contract(&disk, Path::new("/first"));
    let disk = disk.after_power_loss(&Survival::Random(1));
    check_contract(&disk, Path::new("/second"));
}

fn content(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn create(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> Box<dyn File> {
    let file = fs.create_new(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn kind_of<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("it was to be refused").kind()
}

fn a_new_file_is_empty_and_can_be_written_and_read(fs: &dyn FileSystem, dir: &Path) {
    let file = fs.create_new(&dir.join("a")).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_all_at(b"hello", 0).unwrap();
    assert_eq!((file.len().unwrap(), content(&*file)), (5, b"hello".to_vec()));
    assert!(!file.is_empty().unwrap());
}

fn reads_stop_at_the_end_of_the_file(fs: &dyn FileSystem, dir: &Path) {
    let file = create(fs, &dir.join("a"), b"0123456789");
    let mut buffer = [b'.'; 8];
    assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 4);
    assert_eq!(&buffer, b"6789....");
    assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 3).unwrap(), 0);
}

fn writes_lengthen_the_file_and_leave_the_rest_alone(fs: &dyn FileSystem, dir: &Path) {
    let file = create(fs, &dir.join("a"), b"0123456789");
    file.write_all_at(b"ab", 4).unwrap();
    file.write_all_at(b"xyz", 9).unwrap();
    assert_eq!(content(&*file), b"0123ab678xyz");
    file.write_all_at(b"!", 14).unwrap();
    assert_eq!(content(&*file), b"0123ab678xyz\0\0!");
    file.write_all_at(b"", 100).unwrap();
    assert_eq!(file.len().unwrap(), 15);
}

/// Past the cache or through it: where both ends are whole pages, in the file and in memory, an implementation may
/// go past.
fn write_durably_at_writes_like_any_other(fs: &dyn FileSystem, dir: &Path) {
    const PAGE: usize = 4096;
    let bytes: Vec<u8> = (0..3 * PAGE).map(|at| (at / 7 % 251) as u8).collect();
    let start = bytes.as_ptr().align_offset(PAGE);
    for (number, (from, length, offset)) in [
        (start, PAGE, 0),
        (start, PAGE, PAGE),
        (start + 1, PAGE, PAGE),
        (start, 100, 7),
        (start, 2 * PAGE, 2 * PAGE),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.join(number.to_string());
        drop(fs.create_zeroed(&path, 3 * PAGE as u64).unwrap());
        let file = fs.open(&path).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        println!("case {number}: {length} bytes from {from} at {offset}");
        let part = &bytes[from.min(bytes.len() - length)..][..length];
        file.write_durably_at(part, offset as u64).unwrap();
        file.write_all_at(b"after", 9).unwrap();
        let mut expected = vec![0; (3 * PAGE).max(offset + length)];
        expected[..6].copy_from_slice(b"before");
        expected[offset..offset + length].copy_from_slice(part);
        expected[9..14].copy_from_slice(b"after");
        assert!(content(&*file) == expected, "case {number}");
        assert!(content(&*fs.open(&path).unwrap()) == expected, "case {number}, opened again");
    }
}

fn all_handles_see_one_content(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("a");
    let (first, second) = (create(fs, &path, b"one"), fs.open(&path).unwrap());
    second.write_all_at(b"two and", 0).unwrap();
    first.write_all_at(b" three", 7).unwrap();
    assert_eq!(content(&*second), b"two and three");
    assert_eq!(content(&*fs.open(&path).unwrap()), b"two and three");
}

fn create_new_leaves_a_file_that_exists_alone(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("a");
    create(fs, &path, b"kept");
    assert_eq!(kind_of(fs.create_new(&path)), io::ErrorKind::AlreadyExists);
    assert_eq!(content(&*fs.open(&path).unwrap()), b"kept");
}

fn create_zeroed_makes_a_file_of_zeros(fs: &dyn FileSystem, dir: &Path) {
    // Whole pages of a disk or not, more than one step or less.
    for bytes in [0, 1, 4096, 5000, 3 << 20] {
        let path = dir.join(bytes.to_string());
        let file = fs.create_zeroed(&path, bytes).unwrap();
        assert_eq!(content(&*file), vec![0; bytes as usize]);
        file.write_all_at(b"in place", 0).unwrap();
        assert_eq!(kind_of(fs.create_zeroed(&path, bytes)), io::ErrorKind::AlreadyExists);
        assert_eq!(&content(&*fs.open(&path).unwrap())[..8], b"in place");
    }
}

fn what_is_missing_is_not_found(fs: &dyn FileSystem, dir: &Path) {
    let missing = dir.join("missing");
    assert_eq!(kind_of(fs.open(&missing)), io::ErrorKind::NotFound);
    assert_eq!(kind_of(fs.remove(&missing)), io::ErrorKind::NotFound);
    assert_eq!(kind_of(fs.rename(&missing, &dir.join("a"))), io::ErrorKind::NotFound);
    assert_eq!(kind_of(fs.list(&missing)), io::ErrorKind::NotFound);
    assert_eq!(kind_of(fs.create_new(&missing.join("a"))), io::ErrorKind::NotFound);
    assert_eq!(kind_of(fs.lock(&missing.join("a"))), io::ErrorKind::NotFound);
    assert!(fs.list(dir).unwrap().is_empty());
}

fn rename_replaces_and_keeps_the_content(fs: &dyn FileSystem, dir: &Path) {
    let (from, to) = (dir.join("from"), dir.join("to"));
    create(fs, &from, b"new");
    create(fs, &to, b"old");
    fs.rename(&from, &to).unwrap();
    assert_eq!(fs.list(dir).unwrap(), ["to"]);
    assert_eq!(content(&*fs.open(&to).unwrap()), b"new");
}

fn an_open_file_follows_its_rename(fs: &dyn FileSystem, dir: &Path) {
    let (from, to) = (dir.join("from"), dir.join("to"));
    let file = create(fs, &from, b"before");
    fs.rename(&from, &to).unwrap();
    file.write_all_at(b"after ", 0).unwrap();
    assert_eq!(content(&*fs.open(&to).unwrap()), b"after ");
}

fn a_removed_name_is_free_again(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("a");
    drop(create(fs, &path, b"gone"));
    fs.remove(&path).unwrap();
    assert_eq!(kind_of(fs.open(&path)), io::ErrorKind::NotFound);
    assert!(content(&*create(fs, &path, b"")).is_empty());
}

fn directories_are_made_with_all_above_them(fs: &dyn FileSystem, dir: &Path) {
    fs.create_dir_all(&dir.join("a/b")).unwrap();
    fs.create_dir_all(&dir.join("a/b/c")).unwrap();
    fs.create_dir_all(&dir.join("a")).unwrap();
    assert_eq!(fs.list(dir).unwrap(), ["a"]);
    assert_eq!(fs.list(&dir.join("a/b")).unwrap(), ["c"]);
}

fn a_file_is_no_directory(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("a");
    create(fs, &path, b"kept");
    let kind = kind_of(fs.create_dir_all(&path));
    assert!(matches!(kind, io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists), "{kind:?}");
    assert!(fs.create_dir_all(&path.join("b")).is_err());
    assert_eq!(content(&*fs.open(&path).unwrap()), b"kept");
}

fn list_names_every_entry_once(fs: &dyn FileSystem, dir: &Path) {
    let mut expected: Vec<String> = (0..50).map(|number| format!("{number:04x}")).collect();
    for name in &expected {
        create(fs, &dir.join(name), b"");
    }
    fs.create_dir_all(&dir.join("sub")).unwrap();
    expected.push("sub".into());
    let mut listed = fs.list(dir).unwrap();
    listed.sort();
    assert_eq!(listed, expected);
}

fn a_lock_has_one_holder(fs: &dyn FileSystem, dir: &Path) {
    let (path, other) = (dir.join("LOCK"), dir.join("OTHER"));
    let held = fs.lock(&path).unwrap();
    assert_eq!(kind_of(fs.lock(&path)), io::ErrorKind::WouldBlock);
    let _other = fs.lock(&other).unwrap();
    drop(held);
    let _again = fs.lock(&path).unwrap();
    assert_eq!(fs.list(dir).unwrap().len(), 2);
}

fn syncs_change_nothing_that_is_seen(fs: &dyn FileSystem, dir: &Path) {
    let file = create(fs, &dir.join("a"), b"seen");
    file.sync_data().unwrap();
    fs.sync_dir(dir).unwrap();
    assert_eq!(content(&*file), b"seen");
    assert_eq!(fs.list(dir).unwrap(), ["a"]);
    assert!(fs.sync_dir(&dir.join("missing")).is_err());
}
