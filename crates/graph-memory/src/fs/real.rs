//! The operating system's files.

use std::any::Any;
use std::fs;
use std::io;
use std::path::Path;

use super::{File, FileSystem, zeroed};

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
        Ok(Box::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        match zeroed_past_the_cache(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Not every file system can do it (a temporary one in memory can't): then through the cache, which also
            // tells what is really wrong, if anything is.
            Err(_) => {
                drop(fs::remove_file(path));
                zeroed(self, path, bytes)
            }
            Ok(()) => self.open(path),
        }
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
        Ok(Box::new(file))
    }
}

/// Writes zeros straight to the disk. Through the cache it would cost the processor more than all that is later
/// written into the file, and push out of memory what is in use.
#[cfg(target_os = "linux")]
fn zeroed_past_the_cache(path: &Path, bytes: u64) -> io::Result<()> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    const ALIGNMENT: usize = 4096;
    const STEP: usize = 1 << 20;
    if !bytes.is_multiple_of(ALIGNMENT as u64) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path)?;
    let zeros = vec![0; STEP + ALIGNMENT];
    let start = zeros.as_ptr().align_offset(ALIGNMENT);
    let aligned = zeros.get(start..start + STEP).ok_or(io::ErrorKind::Unsupported)?;
    for at in (0..bytes).step_by(STEP) {
        file.write_all_at(&aligned[..STEP.min((bytes - at) as usize)], at)?;
    }
    file.sync_data()
}

#[cfg(not(target_os = "linux"))]
fn zeroed_past_the_cache(_path: &Path, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match read_once(&self.0, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    #[cfg(unix)]
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_write(&self.0, &bytes[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(unix)]
fn read_once(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_once(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
