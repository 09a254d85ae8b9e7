//! A user's own files as a corpus.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::{Corpus, CorpusError};

/// Larger files are passed over.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// More text than this in all is refused: set-up would take minutes.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// What is in `path`, a file or a folder.
pub(super) fn read(path: &Path) -> Result<Corpus, CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
    let mut corpus = Corpus::default();
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        // Also found to be unreadable here, where it can be told, rather than on the walk.
        fs::read_dir(path).map_err(unreadable)?;
        read_folder(path, &mut corpus)?;
    } else {
        let bytes = metadata.len();
        if bytes > FILE_BYTES_MAX {
            let bytes_max = FILE_BYTES_MAX;
            return Err(CorpusError::FileTooLarge { path: path.to_owned(), bytes, bytes_max });
        }
        let content = fs::read(path).map_err(unreadable)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(text) = text(content) {
            corpus.add(None, &name, [text.as_str()]);
            corpus.sources.files = 1;
        }
    }
    if corpus.passages.is_empty() {
        return Err(CorpusError::NoText { path: path.to_owned() });
    }
    Ok(corpus)
}

fn read_folder(root: &Path, corpus: &mut Corpus) -> Result<(), CorpusError> {
    let mut bytes = 0;
    for file in files_below(root, |name| !name.starts_with('.'), &mut corpus.sources.files_skipped) {
        let Some(text) = read_text(&file) else {
            corpus.sources.files_skipped += 1;
            continue;
        };
        bytes += text.len();
        if bytes > TEXT_BYTES_MAX {
            let bytes_max = TEXT_BYTES_MAX;
            return Err(CorpusError::TooMuchText { path: root.to_owned(), bytes_max });
        }
        corpus.sources.files += 1;
        corpus.add(None, &from_root(root, &file), [text.as_str()]);
    }
    Ok(())
}

/// The text of a file; nothing if it is too large, can't be read or isn't text.
pub(super) fn read_text(file: &Path) -> Option<String> {
    let bytes = fs::metadata(file).ok()?.len();
    if bytes > FILE_BYTES_MAX {
        return None;
    }
    text(fs::read(file).ok()?)
}

fn text(content: Vec<u8>) -> Option<String> {
    // A store takes no NUL in a text, and no text has one.
    String::from_utf8(content).ok().filter(|text| !text.contains('\0'))
}

/// All plain files below `root` whose name, and that of each folder on the way, is `wanted`; sorted, without following
/// symbolic links. A folder that can't be read counts as skipped.
pub(super) fn files_below(root: &Path, wanted: impl Fn(&str) -> bool, skipped: &mut usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>)
        else {
            *skipped += 1;
            continue;
        };
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            if !wanted(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    files
}

/// `file` as seen from `root`, with `/`.
pub(super) fn from_root(root: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(root).unwrap_or(file);
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
