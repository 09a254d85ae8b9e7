//! Real text to fill a store with: the documentation of every crate that this workspace is built from, or a user's own files.
//!
//! A corpus is a list of [`Passage`]s of some sentences each, always in the same order for the same sources, no
//! text twice. By default the sources are the packages that `Cargo.lock` pins for this platform, so two machines of one platform
//! have the same corpus; the workspace's own crates, which change with every edit, are left out. Who needs more takes their code as
//! well ([`Extent`]).

mod code;
mod dependencies;
mod documentation;
mod passages;
mod text_files;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much of the dependencies becomes passages. A user's own files are always read as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extent {
    /// Descriptions, READMEs and documentation comments.
    #[default]
    Documentation,
    /// These, and then the code that is documented: functions and other items with their bodies, of the sources, examples and
    /// tests. Tables of numbers are left out.
    WithCode,
}

/// Some sentences of a source file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// The crate that it documents; nothing for a user's file.
    pub package: Option<Arc<Package>>,
    /// The file, from the package's folder or from the folder that the user gave, with `/`.
    pub file: Arc<str>,
    /// Its place among the passages of the file, from 0.
    pub ordinal: u32,
    /// The text: never empty, at most 1 500 bytes.
    pub text: Arc<str>,
}

/// A crate by name and version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// All passages, and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// In the order of packages, files and ordinals; each text once.
    pub passages: Vec<Passage>,
    /// What was read to get them.
    pub sources: Sources,
}

/// What a corpus was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Sources {
    /// Packages; 0 for a user's files.
    pub packages: usize,
    /// Packages that `Cargo.lock` names but whose sources are not on this disk.
    pub packages_missing: usize,
    /// Files that were read.
    pub files: usize,
    /// Files that were passed over: too large, not UTF-8, or unreadable.
    pub files_skipped: usize,
    /// Passages whose text was there already.
    pub duplicates: usize,
}

/// Why there is no corpus.
#[derive(Debug)]
#[non_exhaustive]
pub enum CorpusError {
    /// The path that the user gave can't be read.
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file that the user gave is too large.
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        bytes_max: u64,
    },
    /// All files together hold too much text.
    TooMuchText {
        /// The folder or file.
        path: PathBuf,
        /// The most that is taken.
        bytes_max: usize,
    },
    /// There is no text in the file or folder that the user gave.
    NoText {
        /// The folder or file.
        path: PathBuf,
    },
    /// The workspace can't be found, so its dependencies can't be asked for.
    NoWorkspace,
    /// Cargo or rustc can't be run, or failed.
    Command {
        /// The command.
        command: String,
        /// What it said.
        detail: String,
    },
}

impl Corpus {
    /// The corpus in `path`, a file or a folder; without one, the documentation of this workspace's dependencies.
    ///
    /// Of a folder, all files below it that are UTF-8 text are read; hidden ones, symbolic links and those
    /// above 8 MiB are not. Reads some 50 MB in about a second: call it where blocking is allowed.
    ///
    /// # Errors
    /// See [`CorpusError`].
    pub fn load(path: Option<&Path>) -> Result<Self, CorpusError> {
        Self::load_to(path, Extent::Documentation)
    }

    /// As [`load`](Self::load), with as much of the dependencies as `extent` says.
    ///
    /// # Errors
    /// See [`CorpusError`].
    pub fn load_to(path: Option<&Path>, extent: Extent) -> Result<Self, CorpusError> {
        let corpus = match path {
            Some(path) => text_files::read(path)?,
            None => dependencies::read(extent)?,
        };
        Ok(corpus.without_duplicates())
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.passages.iter().map(|passage| passage.text.len()).sum()
    }

    /// Splits `text` into passages of `file` and adds them.
    fn add<'t>(
        &mut self,
        package: Option<&Arc<Package>>,
        file: &str,
        blocks: impl IntoIterator<Item = &'t str>,
    ) {
        self.add_passages(package, file, passages::split(blocks), 0);
    }

    /// Adds the passages of `file`, numbered from `ordinal`; tells the number after the last.
    fn add_passages(
        &mut self,
        package: Option<&Arc<Package>>,
        file: &str,
        texts: Vec<String>,
        ordinal: u32,
    ) -> u32 {
        let file: Arc<str> = file.into();
        let end = ordinal + texts.len() as u32;
        self.passages.extend(texts.into_iter().zip(ordinal..).map(|(text, ordinal)| Passage {
            package: package.map(Arc::clone),
            file: Arc::clone(&file),
            ordinal,
            text: text.into(),
        }));
        end
    }

    fn without_duplicates(mut self) -> Self {
        let before = self.passages.len();
        let mut seen = HashSet::with_capacity(before);
        self.passages.retain(|passage| seen.insert(Arc::clone(&passage.text)));
        self.sources.duplicates = before - self.passages.len();
        self
    }
}

impl fmt::Display for Corpus {
    /// For a report: how much there is, of what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sources { packages, packages_missing, files, files_skipped, duplicates } = self.sources;
        write!(f, "{} passages, {}, from {files} files", self.passages.len(), megabytes(self.bytes()))?;
        if packages > 0 {
            write!(f, " of the {packages} crates that this workspace is built from")?;
        }
        if duplicates > 0 {
            write!(f, "; {duplicates} more are repetitions")?;
        }
        if packages_missing > 0 {
            write!(f, "; {packages_missing} crates have no sources on this disk")?;
        }
        if files_skipped > 0 {
            write!(f, "; {files_skipped} files skipped: too large, unreadable or no UTF-8 text")?;
        }
        Ok(())
    }
}

/// A size for a report.
pub(crate) fn megabytes(bytes: usize) -> String {
    format!("{:.*} MB", if bytes < 1_000_000 { 3 } else { 1 }, bytes as f64 / 1e6)
}

impl fmt::Display for CorpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(f, "the corpus {} can't be read", path.display()),
            Self::FileTooLarge { path, bytes, bytes_max } => {
                write!(f, "the corpus {} has {bytes} bytes, at most {bytes_max} are read", path.display())
            }
            Self::TooMuchText { path, bytes_max } => write!(
                f,
                "the corpus {} holds more text than the {bytes_max} bytes that are taken",
                path.display()
            ),
            Self::NoText { path } => write!(f, "the corpus {} holds no UTF-8 text", path.display()),
            Self::NoWorkspace => write!(
                f,
                "Steadfast's workspace is neither here nor where this program was built: run it there, or name a corpus"
            ),
            Self::Command { command, detail } => write!(f, "`{command}` failed: {detail}"),
        }
    }
}

impl std::error::Error for CorpusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
