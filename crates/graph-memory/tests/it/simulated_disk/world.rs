//! The state behind a simulated disk: the tree of names, the files, and what goes wrong when.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::directory::{Directory, Entry};
use super::image::FileImage;
use super::power_loss::{Survival, Survivors, random_entries};
use steadfast_testkit::TestRng;

/// What a program asks of a disk. All but `Read` change something and are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    CreateDirectory,
    Create,
    Rename,
    Remove,
    SyncDirectory,
    Lock,
    Write,
    SyncData,
}

/// How an operation goes.
pub(super) enum Turn {
    Well,
    /// The power fails in the middle of it.
    PowerFails,
    /// It fails with this error.
    Fails(io::Error),
}

/// An operation that is going to fail once.
#[derive(Clone, Copy, Debug)]
struct Fault {
    operation: Operation,
    /// How many of them go well before.
    after: u64,
    kind: io::ErrorKind,
}

/// All that there is on a disk.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) files: Vec<FileImage>,
    /// The first is the root.
    pub(super) directories: Vec<Directory>,
    /// Numbers of the files that somebody has locked.
    pub(super) locked: BTreeSet<usize>,
    pub(super) rng: TestRng,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) power_is_off: bool,
    /// Bytes that all files together may have.
    pub(super) space_bytes: u64,
    faults: Vec<Fault>,
    writes: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            files: Vec::new(),
            directories: vec![Directory::default()],
            locked: BTreeSet::new(),
            rng: TestRng::new(seed),
            operations: 0,
            crash_at: None,
            power_is_off: false,
            space_bytes: u64::MAX,
            faults: Vec::new(),
            writes: 0,
        }
    }

    pub(super) fn add_fault(&mut self, operation: Operation, after: u64, kind: io::ErrorKind) {
        self.faults.push(Fault { operation, after, kind });
    }

    /// Counts an operation and says how it goes.
    pub(super) fn turn(&mut self, operation: Operation) -> io::Result<Turn> {
        if self.power_is_off {
            return Err(power_is_off());
        }
        if operation != Operation::Read {
            self.operations += 1;
            if self.crash_at.is_some_and(|at| self.operations >= at) {
                self.power_is_off = true;
                return Ok(Turn::PowerFails);
            }
        }
        for at in 0..self.faults.len() {
            let fault = &mut self.faults[at];
            if fault.operation != operation {
                continue;
            }
            if fault.after == 0 {
                let kind = self.faults.swap_remove(at).kind;
                return Ok(Turn::Fails(io::Error::new(kind, "the simulated disk failed")));
            }
            fault.after -= 1;
        }
        Ok(Turn::Well)
    }

    /// The directory that `path` lies in, and its name there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        Ok((parent, name.into()))
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for name in names(path) {
            at = match self.directories[at].live().get(name) {
                Some(Entry::Directory(number)) => *number,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        let (parent, name) = self.place(path)?;
        match self.directories[parent].live().get(&name) {
            Some(Entry::File(number)) => Ok(*number),
            Some(Entry::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes the directories that are missing; returns those whose entries changed.
    pub(super) fn make_directories(&mut self, path: &Path) -> io::Result<Vec<usize>> {
        let (mut at, mut changed) = (0, Vec::new());
        for name in names(path) {
            at = match self.directories[at].live().get(name) {
                Some(Entry::Directory(number)) => *number,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let number = self.directories.len();
                    self.directories.push(Directory::default());
                    self.directories[at].change(vec![(name.into(), Some(Entry::Directory(number)))]);
                    changed.push(at);
                    number
                }
            };
        }
        Ok(changed)
    }

    /// Makes an empty file; its name must be free.
    pub(super) fn make_file(&mut self, parent: usize, name: String, image: FileImage) -> usize {
        let number = self.files.len();
        self.files.push(image);
        self.directories[parent].change(vec![(name, Some(Entry::File(number)))]);
        number
    }

    /// Bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        self.named_files().values().map(|number| self.files[*number].live().len() as u64).sum()
    }

    /// All files with their paths.
    pub(super) fn named_files(&self) -> BTreeMap<PathBuf, usize> {
        let mut found = BTreeMap::new();
        let mut left = vec![(0, PathBuf::from("/"))];
        while let Some((number, path)) = left.pop() {
            for (name, entry) in self.directories[number].live() {
                match entry {
                    Entry::Directory(child) => left.push((*child, path.join(name))),
                    Entry::File(file) => drop(found.insert(path.join(name), *file)),
                }
            }
        }
        found
    }

    pub(super) fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    pub(super) fn random_entries(&mut self, directory: usize) -> Vec<bool> {
        random_entries(self.directories[directory].unsynced(), &mut self.rng)
    }

    pub(super) fn after_power_loss(&self, survival: &Survival) -> Self {
        let mut survivors = Survivors::new(survival, self.last_write());
        let files = self.files.iter().map(|file| file.after_power_loss(|write| survivors.of_write(write)));
        let files = files.collect();
        let directories = self.directories.iter().map(|directory| {
            let kept = survivors.of_entries(directory.unsynced());
            directory.after_power_loss(&kept)
        });
        Self { directories: directories.collect(), files, ..self.started_again() }
    }

    pub(super) fn after_process_death(&self, survival: &Survival) -> Self {
        let mut survivors = Survivors::new(survival, self.last_write());
        let files = self.files.iter().map(|file| file.after_process_death(|write| survivors.of_write(write)));
        Self { files: files.collect(), ..self.started_again() }
    }

    /// The same disk without what belongs to the process that used it.
    fn started_again(&self) -> Self {
        Self {
            locked: BTreeSet::new(),
            operations: 0,
            crash_at: None,
            power_is_off: false,
            faults: Vec::new(),
            ..self.clone()
        }
    }

    fn last_write(&self) -> Option<u64> {
        self.files.iter().filter_map(|file| file.unsynced().last()).map(|write| write.order).max()
    }
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}
