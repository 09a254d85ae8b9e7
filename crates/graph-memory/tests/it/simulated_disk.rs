//! A disk in memory that keeps after a crash what was synced, and of the rest what a test chooses.
//!
//! Each file has two images, the *live* one that readers see and the *durable* one, and the list of writes
//! between them; so has each directory for its entries. A file's content and its entry are separate
//! things: data that were synced under a name that was not are lost with the name.
//!
//! A **crash** is planned by [`SimulatedDisk::crash_at`]: the n-th operation that changes something fails, and so
//! does everything after it. What comes next is
//! - [`SimulatedDisk::after_power_loss`], the disk with the durable images and what a [`Survival`] left of unsynced
//!   work: of each write nothing, all, a prefix, any of its sectors; of the changes of entries any;
//! - or [`SimulatedDisk::after_process_death`], the disk with the live images, where the same things are still
//!   unsynced.
//!
//! Both return another disk; the one that crashed stays dead for whoever still holds it, and its locks are gone.
//!
//! A **fault** is planned by [`SimulatedDisk::fail`]: one operation fails, later ones go on. A sync of data that
//! fails leaves its writes durable or lost by chance, and clean: readers see them, later syncs don't try them
//! again. (So Linux did it to PostgreSQL in 2018.) Of a directory it leaves any changes durable, and the next sync
//! tries all again: a file system whose journal can't be written does nothing more at all. A write that fails
//! leaves any first part of itself.
//!
//! All chance comes from seeds.

mod directory;
mod image;
mod power_loss;
pub(crate) mod store;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steadfast_graph_memory::fs::{File, FileSystem};

pub(crate) use image::{Kept, SECTOR_BYTES};
pub(crate) use power_loss::Survival;
pub(crate) use world::Operation;

use directory::{Directory, Entry};
use image::FileImage;
use world::{Turn, World};

/// A disk; clones are the same one.
#[derive(Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<World>>);

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedDisk after {} operations", self.operations())
    }
}

impl SimulatedDisk {
    /// An empty disk; the seed decides what its faults leave.
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    fn of(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The n-th changing operation, counted from 1 since the disk was started, is the one in which the power fails.
    pub(crate) fn crash_at(&self, operation: u64) {
        self.world().crash_at = Some(operation);
    }

    /// The power fails now.
    pub(crate) fn crash_now(&self) {
        self.world().power_is_off = true;
    }

    /// Whether the power failed.
    pub(crate) fn has_crashed(&self) -> bool {
        self.world().power_is_off
    }

    /// Changing operations since the disk was started, the one in which the power failed among them.
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// One `operation` fails, once `after` of them have gone well.
    pub(crate) fn fail(&self, operation: Operation, after: u64) {
        self.world().add_fault(operation, after, io::ErrorKind::Other);
    }

    /// From now on all files together may have so many bytes more; none to lift the limit.
    pub(crate) fn leave_space(&self, bytes: Option<u64>) {
        let mut world = self.world();
        world.space_bytes = bytes.map_or(u64::MAX, |bytes| world.used_bytes() + bytes);
    }

    /// Where in its file the last unsynced write lies, without zeros at its end if it is more than zeros; none if
    /// all is synced.
    pub(crate) fn last_unsynced_write(&self) -> Option<Range<u64>> {
        let world = self.world();
        let writes = world.files.iter().filter_map(|file| file.unsynced().last());
        let write = writes.max_by_key(|write| write.order)?;
        let last = write.bytes.iter().rposition(|byte| *byte != 0);
        let bytes = last.map_or(write.bytes.len(), |last| last + 1) as u64;
        Some(write.offset..write.offset + bytes)
    }

    /// Whether anything at all is not synced.
    pub(crate) fn has_unsynced(&self) -> bool {
        let world = self.world();
        world.files.iter().any(|file| !file.unsynced().is_empty())
            || world.directories.iter().any(|directory| directory.unsynced() > 0)
    }

    /// Turns this disk off; returns what is there when the power is back.
    pub(crate) fn after_power_loss(&self, survival: &Survival) -> Self {
        self.crash_now();
        Self::of(self.world().after_power_loss(survival))
    }

    /// Turns this disk off; returns what another process finds. `survival` is asked only about a write in flight.
    pub(crate) fn after_process_death(&self, survival: &Survival) -> Self {
        self.crash_now();
        Self::of(self.world().after_process_death(survival))
    }

    /// All files as readers see them.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world();
        let files = world.named_files();
        files.into_iter().map(|(path, number)| (path, world.files[number].live().to_vec())).collect()
    }

    /// A disk with these files, all durable.
    pub(crate) fn with_contents(contents: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut world = World::new(0);
        for (path, bytes) in contents {
            world
                .make_directories(path.parent().expect("a file lies in a directory"))
                .expect("the tree is sound");
            let (parent, name) = world.place(path).expect("its directory was made");
            world.make_file(parent, name, FileImage::durable(bytes.clone()));
        }
        world.directories.iter_mut().for_each(Directory::sync);
        Self::of(world)
    }

    /// Changes a file's bytes behind everybody's back, durably.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let number = world.file(path).expect("the file is there");
        let mut bytes = world.files[number].live().to_vec();
        change(&mut bytes);
        world.files[number] = FileImage::durable(bytes);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSystem for SimulatedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let turn = world.turn(Operation::CreateDirectory)?;
        if let Turn::Fails(error) = turn {
            return Err(error);
        }
        let changed = world.make_directories(dir)?;
        if let Turn::PowerFails = turn {
            return Err(world::power_is_off());
        }
        for number in changed {
            world.directories[number].sync();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.reading()?;
        let number = world.directory(dir)?;
        Ok(world.directories[number].live().keys().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let number = self.reading()?.file(path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let number = self.changing(Operation::Create, |world| {
            let (parent, name) = world.place(path)?;
            if world.directories[parent].live().contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if world.used_bytes() >= world.space_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(world.make_file(parent, name, FileImage::default()))
        })?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing(Operation::Rename, |world| {
            let file = Entry::File(world.file(from)?);
            let (parent, name) = world.place(from)?;
            let (new_parent, new_name) = world.place(to)?;
            assert_eq!(
                parent, new_parent,
                "nobody here moves files between directories, and nothing was promised for it"
            );
            world.directories[parent].change(vec![(name, None), (new_name, Some(file))]);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changing(Operation::Remove, |world| {
            world.file(path)?;
            let (parent, name) = world.place(path)?;
            world.directories[parent].change(vec![(name, None)]);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let turn = world.turn(Operation::SyncDirectory)?;
        let number = world.directory(dir)?;
        match turn {
            Turn::Well => {
                world.directories[number].sync();
                Ok(())
            }
            Turn::PowerFails => Err(world::power_is_off()),
            Turn::Fails(error) => {
                let kept = world.random_entries(number);
                world.directories[number].sync_fails(&kept);
                Err(error)
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = self.changing(Operation::Lock, |world| {
            let (parent, name) = world.place(path)?;
            let file = match world.file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    world.make_file(parent, name, FileImage::default())
                }
                found => found?,
            };
            if world.locked.insert(file) { Ok(file) } else { Err(io::ErrorKind::WouldBlock.into()) }
        })?;
        Ok(Box::new(Lock { disk: self.clone(), file }))
    }
}

impl SimulatedDisk {
    /// Begins an operation that changes nothing.
    fn reading(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        match world.turn(Operation::Read)? {
            Turn::Fails(error) => Err(error),
            Turn::Well | Turn::PowerFails => Ok(world),
        }
    }

    /// Carries out a change of entries. When the power fails in it, it is carried out but not synced: what is left
    /// of it is chosen later. When it fails otherwise, nothing happens.
    fn changing<T>(
        &self,
        operation: Operation,
        change: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.world();
        match world.turn(operation)? {
            Turn::Well => change(&mut world),
            Turn::PowerFails => change(&mut world).and(Err(world::power_is_off())),
            Turn::Fails(error) => Err(error),
        }
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    number: usize,
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedFile {}", self.number)
    }
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.reading()?.files[self.number].live().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.reading()?;
        let rest = world.files[self.number].live().get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let world = &mut *world;
        let turn = world.turn(Operation::Write)?;
        let order = world.next_write();
        let fits = fitting_bytes(world, self.number, bytes.len() as u64, offset) as usize;
        let file = &mut world.files[self.number];
        match turn {
            Turn::Well => {
                file.write(order, offset, &bytes[..fits]);
                if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            }
            Turn::PowerFails => {
                file.write_in_flight(order, offset, &bytes[..fits]);
                Err(world::power_is_off())
            }
            Turn::Fails(error) => {
                let begun = world.rng.below(fits as u64 + 1) as usize;
                file.write(order, offset, &bytes[..begun]);
                Err(error)
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        let world = &mut *world;
        match world.turn(Operation::SyncData)? {
            Turn::Well => {
                world.files[self.number].sync();
                Ok(())
            }
            Turn::PowerFails => Err(world::power_is_off()),
            Turn::Fails(error) => {
                world.files[self.number].sync_fails(&mut world.rng);
                Err(error)
            }
        }
    }

    /// Counted as a write and a sync. Earlier writes are no more durable by it.
    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)?;
        let mut world = self.disk.world();
        let world = &mut *world;
        match world.turn(Operation::SyncData)? {
            Turn::Well => {
                world.files[self.number].sync_last();
                Ok(())
            }
            Turn::PowerFails => Err(world::power_is_off()),
            Turn::Fails(error) => {
                world.files[self.number].sync_last_fails(&mut world.rng);
                Err(error)
            }
        }
    }
}

/// How many bytes of a write there is room for.
fn fitting_bytes(world: &World, number: usize, bytes: u64, offset: u64) -> u64 {
    if world.space_bytes == u64::MAX {
        return bytes;
    }
    let free = world.space_bytes.saturating_sub(world.used_bytes());
    let end = world.files[number].live().len() as u64 + free;
    end.saturating_sub(offset).min(bytes)
}

/// A lock that is held.
struct Lock {
    disk: SimulatedDisk,
    file: usize,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.world().locked.remove(&self.file);
    }
}
