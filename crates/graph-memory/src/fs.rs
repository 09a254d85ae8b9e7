//! The file system as the store sees it: a small contract, so that a disk that fails can stand in for it.
//!
//! Everything the store keeps goes through [`FileSystem`] and [`File`]. What the contract promises is
//! exactly what recovery relies on, and no more:
//!
//! - **Data** written with [`File::write_all_at`] is durable after a [`File::sync_data`] on the same file
//!   that began after the write returned. Before that, after a crash, any of its sectors of 512 bytes may be there and
//!   any not, each whole or not at all; but that the write may end at any byte. Bytes outside the written range keep their
//!   old content.
//! - **A directory entry** (a file created, renamed or removed) is durable after [`FileSystem::sync_dir`] on
//!   its directory. Before that, after a crash, the entry may be as before or as after.
//! - **A failed sync** leaves unknown what is durable, and says nothing of the past by succeeding later.

mod real;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;

pub use real::RealFileSystem;

/// Directories and whole files. See the module's text for what is promised when.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Makes `dir` and the directories above it, where they are missing, and makes their entries durable.
    ///
    /// # Errors
    /// As the operating system says; `NotADirectory` or `AlreadyExists` when a file stands there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the entries of `dir`, in any order. Names that are not Unicode are left out.
    ///
    /// # Errors
    /// `NotFound`, and as the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, and as the operating system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Creates an empty file, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, and as the operating system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Creates a file of `bytes` zeros, all of it durable but for its directory entry, so that writing into it
    /// later changes no more than its data.
    ///
    /// # Errors
    /// As for [`create_new`](Self::create_new). A part of the file may be left.
    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        let file = self.create_new(path)?;
        let zeros = vec![0; bytes.min(1 << 20) as usize];
        let mut at = 0;
        while at < bytes {
            let step = zeros.len().min((bytes - at) as usize);
            file.write_all_at(&zeros[..step], at)?;
            at += step as u64;
        }
        file.sync_data()?;
        Ok(file)
    }

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// `NotFound`, and as the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and as the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of `dir` durable.
    ///
    /// # Errors
    /// As the operating system says. What is durable then is unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks `path` for one holder, creating the file where it is missing. The lock ends when the returned
    /// value is dropped, and when the process dies.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else holds it, and as the operating system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// One open file. See the module's text for what is promised when.
pub trait File: fmt::Debug + Send + Sync {
    /// How many bytes it has.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no byte.
    ///
    /// # Errors
    /// As the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into `buffer` from `offset`; returns how many bytes, less than asked for only at the file's end.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, lengthening the file if need be.
    ///
    /// # Errors
    /// `StorageFull`, and as the operating system says. How much was written is unknown then.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable what was written, and the file's length.
    ///
    /// # Errors
    /// As the operating system says. What is durable then is unknown, and stays so.
    fn sync_data(&self) -> io::Result<()>;

    /// [`write_all_at`](Self::write_all_at) and [`sync_data`](Self::sync_data) of these bytes; of bytes written earlier
    /// nothing is promised.
    ///
    /// # Errors
    /// As for both.
    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)?;
        self.sync_data()
    }
}
