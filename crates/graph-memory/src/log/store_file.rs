//! The file `STORE`: says that a directory holds a store, which one, and in which format.
//!
//! It is written after the first segment is durable, and again when the store is opened by a
//! version with a newer format, before that writes anything else. If every segment is gone
//! afterwards, it proves that the store had some. It is text, so that a person who opens it learns
//! what the directory is:
//!
//! ```text
//! steadfast graph-memory
//! format 2
//! store 0123456789abcdef0123456789abcdef
//! crc 89abcdef
//! ```

use std::io;
use std::path::{Path, PathBuf};

use steadfast_memory_api::Seq;

use super::format::FORMAT;
use crate::error::OpenError;
use crate::fs::FileSystem;

const NAME: &str = "STORE";
const BYTES_MAX: usize = 4096;

/// Where it stands.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Why the file is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoreFault {
    /// No version writes such bytes.
    Damaged(&'static str),
    /// The store has this format, which is newer than [`FORMAT`].
    NewerFormat(u32),
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFile {
    pub(crate) id: u128,
    pub(crate) format: u32,
}

/// Reads the file of the store in `dir`, if it is there.
pub(crate) fn read(file_system: &dyn FileSystem, dir: &Path) -> Result<Option<StoreFile>, OpenError> {
    let path = path(dir);
    let file = match file_system.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(&path, "open")(error)),
    };
    let mut bytes = vec![0; BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).map_err(OpenError::io(&path, "read"))?;
    match parse(&bytes[..length]) {
        Ok(store) => Ok(Some(store)),
        Err(StoreFault::Damaged(detail)) => {
            Err(OpenError::Damaged { file: path, offset: 0, seq: Seq::new(0), detail: detail.into() })
        }
        Err(StoreFault::NewerFormat(found)) => {
            Err(OpenError::NewerFormat { file: path, found, supported: FORMAT })
        }
    }
}

/// Reads the bytes of the file.
pub(crate) fn parse(bytes: &[u8]) -> Result<StoreFile, StoreFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| StoreFault::Damaged("it isn't text"))?;
    let (body, crc) = text.rsplit_once("crc ").ok_or(StoreFault::Damaged("it has no checksum"))?;
    if crc.trim_end() != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err(StoreFault::Damaged("its checksum is wrong"));
    }
    let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name));
    let format = field("format ")
        .and_then(|format| format.parse().ok())
        .ok_or(StoreFault::Damaged("it tells no format"))?;
    if format > FORMAT {
        return Err(StoreFault::NewerFormat(format));
    }
    let id = field("store ").and_then(|id| u128::from_str_radix(id, 16).ok());
    let id = id.ok_or(StoreFault::Damaged("it tells no store"))?;
    Ok(StoreFile { id, format })
}

/// Writes the file, durably, in place of one that may be there.
pub(crate) fn write(file_system: &dyn FileSystem, dir: &Path, store_id: u128) -> Result<(), OpenError> {
    let (path, temporary) = (path(dir), dir.join(format!("{NAME}.tmp")));
    let body = format!("steadfast graph-memory\nformat {FORMAT}\nstore {store_id:032x}\n");
    let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
    let attempt = || -> io::Result<()> {
        match file_system.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = file_system.create_new(&temporary)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()?;
        file_system.rename(&temporary, &path)?;
        file_system.sync_dir(dir)
    };
    attempt().map_err(OpenError::io(&path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFileSystem;

    #[test]
    fn comes_back_and_tells_when_it_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&RealFileSystem, dir.path()).unwrap().is_none());
        write(&RealFileSystem, dir.path(), 77).unwrap();
        assert_eq!(read(&RealFileSystem, dir.path()).unwrap(), Some(StoreFile { id: 77, format: FORMAT }));
        write(&RealFileSystem, dir.path(), 78).unwrap();
        assert_eq!(read(&RealFileSystem, dir.path()).unwrap(), Some(StoreFile { id: 78, format: FORMAT }));
        let text = std::fs::read_to_string(path(dir.path())).unwrap();
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            std::fs::write(path(dir.path()), bytes).unwrap();
            assert!(matches!(read(&RealFileSystem, dir.path()), Err(OpenError::Damaged { .. })), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let body = "steadfast graph-memory\nformat 9\nstore 1\n";
        std::fs::write(path(dir.path()), format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes())))
            .unwrap();
        let error = read(&RealFileSystem, dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::NewerFormat { found: 9, supported: FORMAT, .. }), "{error}");
    }
}
