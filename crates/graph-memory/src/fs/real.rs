//! The operating system's files.

use std::any::Any;
use std::fs;
use std::io;
use std::path::Path;

use super::{File, FileSystem};

/// The operating system's file system; what a store uses unless told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        fs::create_dir_all(dir)?;
        if !fs::metadata(dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // A new directory's entry lives in its parent.
        for made in missing {
            match made.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile { file, direct: open_direct(path, Durable::AtOnce).ok() }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile { file, direct: None }))
    }

    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let whole_pages = bytes.is_multiple_of(DIRECT_ALIGNMENT as u64);
        if let Ok(direct) = open_direct(path, Durable::Later)
            && whole_pages
        {
            match fill_with_zeros(&direct, bytes) {
                Ok(()) => {
                    return Ok(Box::new(RealFile { file, direct: open_direct(path, Durable::AtOnce).ok() }));
                }
                // Opened, and yet not able to: some file systems on a network, some disks with larger sectors.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        fill_with_zeros(&file, bytes)?;
        Ok(Box::new(RealFile { file, direct: None }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Windows can't open a directory as a file and writes its entries through.
        if cfg!(windows) {
            return Ok(());
        }
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Box::new(Locked(file)))
    }
}

/// A lock that ends with it. Closing the file alone would not do: a process that is just being started has the file as
/// well, until it becomes another program.
#[derive(Debug)]
struct Locked(fs::File);

impl Drop for Locked {
    fn drop(&mut self) {
        // If it fails, closing the file is what is left.
        drop(self.0.unlock());
    }
}

/// What the operating system asks of a write past its cache: on the disk and in memory it begins and ends at such
/// a multiple.
const DIRECT_ALIGNMENT: usize = 4096;

/// An open file, twice: through the cache, and past it where the file system can do it.
///
/// What is written whole pages at a time, once, and hardly ever read again, as a log is, costs the processor
/// more to put into the cache than to write. The kernel keeps both ways coherent.
#[derive(Debug)]
struct RealFile {
    file: fs::File,
    direct: Option<fs::File>,
}

impl RealFile {
    /// The handle past the cache, if these bytes can be written by it.
    fn direct(&self, bytes: &[u8], offset: u64) -> Option<&fs::File> {
        let aligned = offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
            && bytes.len().is_multiple_of(DIRECT_ALIGNMENT)
            && bytes.as_ptr().align_offset(DIRECT_ALIGNMENT) == 0;
        self.direct.as_ref().filter(|_| aligned)
    }
}

/// Whether a write past the cache is durable when it returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    AtOnce,
    Later,
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path, durable: Durable) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = if durable == Durable::AtOnce { libc::O_DIRECT | libc::O_DSYNC } else { libc::O_DIRECT };
    fs::OpenOptions::new().write(true).custom_flags(flags).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path, _durable: Durable) -> io::Result<fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the file `bytes` zeros long, and durable.
fn fill_with_zeros(file: &fs::File, bytes: u64) -> io::Result<()> {
    const STEP: usize = 1 << 20;
    let zeros = vec![0; STEP + DIRECT_ALIGNMENT];
    let start = zeros.as_ptr().align_offset(DIRECT_ALIGNMENT).min(DIRECT_ALIGNMENT);
    for at in (0..bytes).step_by(STEP) {
        write_all(file, &zeros[start..][..STEP.min((bytes - at) as usize)], at)?;
    }
    file.sync_data()
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match read_once(&self.file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_all(&self.file, bytes, offset)
    }

    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = self.direct(bytes, offset) {
            return write_all(direct, bytes, offset);
        }
        self.write_all_at(bytes, offset)?;
        self.sync_data()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(unix)]
fn read_once(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_all(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_write(file, &bytes[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_once(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
