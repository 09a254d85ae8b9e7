//! Baselines in files: reports under a name.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::report::{Report, SCHEMA};
use crate::verdict::Verdict;

/// Why reports can't be compared, or a baseline not kept.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum BaselineError {
    /// The file can't be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is no report.
    Broken { path: PathBuf, source: serde_json::Error },
    /// The report is of another version.
    OtherSchema { path: PathBuf, found: u32 },
    /// The run that wrote it was interrupted.
    Incomplete { path: PathBuf },
    /// No scenario is in both.
    NothingInCommon,
    /// Something differs that isn't the build.
    Different { what: String, baseline: String, now: String },
    /// A name is a file's name, without anything that leads elsewhere.
    BadName { name: String },
    /// What didn't pass is no measure.
    NotPassed { verdict: Verdict },
    /// The file can't be written.
    Unwritable { path: PathBuf, source: io::Error },
}

impl BaselineError {
    pub(super) fn different(what: &str, baseline: impl fmt::Display, now: impl fmt::Display) -> Self {
        Self::Different { what: what.to_owned(), baseline: baseline.to_string(), now: now.to_string() }
    }
}

impl fmt::Display for BaselineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Broken { path, source } => write!(f, "{} is no report: {source}", path.display()),
            Self::OtherSchema { path, found } => {
                write!(
                    f,
                    "{} has schema {found}, this program reads {SCHEMA}: measure it again",
                    path.display()
                )
            }
            Self::Incomplete { path } => write!(f, "the run that wrote {} was interrupted", path.display()),
            Self::NothingInCommon => f.write_str("no scenario is in both"),
            Self::Different { what, baseline, now } => {
                write!(f, "not comparable: {what} was {baseline} in the baseline and is {now} now")
            }
            Self::BadName { name } => {
                write!(
                    f,
                    "baseline `{name}`: a name is letters, digits, `.`, `-` and `_`, and begins with none of `.-`"
                )
            }
            Self::NotPassed { verdict } => write!(f, "a run that is {verdict} is no baseline"),
            Self::Unwritable { path, source } => write!(f, "cannot write {}: {source}", path.display()),
        }
    }
}

impl Error for BaselineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } | Self::Unwritable { source, .. } => Some(source),
            Self::Broken { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where the baseline `name` is, in the directory where reports go.
///
/// # Errors
///
/// The name could lead elsewhere.
pub(crate) fn path(out: &Path, name: &str) -> Result<PathBuf, BaselineError> {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_allowed) {
        return Err(BaselineError::BadName { name: name.to_owned() });
    }
    Ok(out.join("baselines").join(format!("{name}.json")))
}

/// Reads a report; of a directory its `report.json`.
///
/// # Errors
///
/// The file can't be read, or isn't a complete report of this version.
pub(crate) fn load(path: &Path) -> Result<Report, BaselineError> {
    let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(BaselineError::Unreadable { path, source }),
    };
    /// What any version has.
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    let report = match serde_json::from_slice::<Head>(&bytes) {
        Ok(Head { schema }) if schema != SCHEMA => {
            return Err(BaselineError::OtherSchema { path, found: schema });
        }
        Ok(_) => serde_json::from_slice::<Report>(&bytes),
        Err(error) => Err(error),
    };
    match report {
        Ok(report) if report.interrupted || !report.complete => Err(BaselineError::Incomplete { path }),
        Ok(report) => Ok(report),
        Err(source) => Err(BaselineError::Broken { path, source }),
    }
}

/// Keeps a report as a baseline: a reader sees the old one or the new one, never half of one.
///
/// # Errors
///
/// The run didn't pass, or the file can't be written.
pub(crate) fn save(report: &Report, path: &Path) -> Result<(), BaselineError> {
    if report.verdict != Verdict::Pass {
        return Err(BaselineError::NotPassed { verdict: report.verdict });
    }
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let temporary = path.with_extension("json.tmp");
        fs::write(&temporary, serde_json::to_vec_pretty(report)?)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| BaselineError::Unwritable { path: path.to_owned(), source })
}
