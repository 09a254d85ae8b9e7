//! A planted bug: a patch file whose first lines say what it breaks and which test must notice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A bug that can be planted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bug {
    /// The patch file's name without its ending.
    pub(super) name: String,
    pub(super) what: String,
    pub(super) detection: Detection,
    /// How often the test may be run until it fails: more than once where chance decides.
    pub(super) times: usize,
    /// Whether never ending is how this bug shows itself.
    pub(super) hang_is_caught: bool,
    /// What the output must hold: where one test guards against several bugs, only the failure for this one counts.
    pub(super) says: Option<String>,
    pub(super) patch: PathBuf,
    /// The files that the patch changes, from the root.
    pub(super) changes: Vec<String>,
}

/// What must fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Detection {
    pub(super) by: Detector,
    pub(super) release: bool,
    pub(super) loom: bool,
}

/// The program that notices a bug, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Detector {
    /// `cargo test …`
    Test(Vec<String>),
    /// The stress binary: it must say FAIL.
    Stress(Vec<String>),
}

const KEYS: [&str; 8] = ["what", "caught-by", "caught-by-stress", "says", "times", "profile", "loom", "hang"];

impl Detection {
    /// The command as one could type it.
    pub(super) fn describe(&self) -> String {
        match &self.by {
            Detector::Stress(arguments) => format!("cargo xtask stress {}", arguments.join(" ")),
            Detector::Test(arguments) => {
                let loom = if self.loom { "RUSTFLAGS='--cfg steadfast_loom' " } else { "" };
                let release = if self.release { "--release " } else { "" };
                format!("{loom}cargo test {release}{}", arguments.join(" "))
            }
        }
    }
}

impl Bug {
    /// The bugs of one crate, sorted by name.
    pub(super) fn load_all(folder: &Path) -> Result<Vec<Self>, String> {
        patch_files(folder)?.into_iter().map(Self::load).collect()
    }

    fn load(patch: PathBuf) -> Result<Self, String> {
        let fault = |reason: String| format!("{}: {reason}", patch.display());
        let text = std::fs::read_to_string(&patch).map_err(|error| fault(error.to_string()))?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let header = header(&text).map_err(fault)?;
        let changes = changed_files(&text);
        if changes.is_empty() {
            return Err(fault("no `--- a/…` and `+++ b/…` lines: this is no patch".to_owned()));
        }
        let (detection, times) = detection(&header).map_err(fault)?;
        let what = (*header.get("what").ok_or_else(|| fault("`# what:` is missing".to_owned()))?).to_owned();
        let hang_is_caught = flag(&header, "hang", "caught").map_err(fault)?;
        let says = header.get("says").map(|says| (*says).to_owned());
        Ok(Self { name, what, detection, times, hang_is_caught, says, patch, changes })
    }
}

/// The `*.patch` files in `folder`, sorted.
pub(super) fn patch_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut patches: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "patch")).collect();
    patches.sort_unstable();
    Ok(patches)
}

/// The `# key: value` lines above the diff.
fn header(text: &str) -> Result<BTreeMap<&str, &str>, String> {
    let mut header = BTreeMap::new();
    for line in text.lines().map_while(|line| line.strip_prefix('#')) {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("`#{line}` is no `# key: value`"))?;
        let (key, value) = (key.trim(), value.trim());
        if !KEYS.contains(&key) {
            return Err(format!("`# {key}:` is unknown; known are {}", KEYS.join(", ")));
        }
        if value.is_empty() {
            return Err(format!("`# {key}:` says nothing"));
        }
        if header.insert(key, value).is_some() {
            return Err(format!("`# {key}:` is given twice"));
        }
    }
    Ok(header)
}

fn detection(header: &BTreeMap<&str, &str>) -> Result<(Detection, usize), String> {
    let words = |line: &&str| line.split_whitespace().map(str::to_owned).collect();
    let by = match (header.get("caught-by"), header.get("caught-by-stress")) {
        (Some(line), None) => Detector::Test(words(line)),
        (None, Some(line)) => Detector::Stress(words(line)),
        _ => return Err("give either `# caught-by:` or `# caught-by-stress:`".to_owned()),
    };
    let (release, loom) = (flag(header, "profile", "release")?, flag(header, "loom", "yes")?);
    if matches!(by, Detector::Stress(_)) && (release || loom) {
        return Err("the stress binary is always built in release and never for loom".to_owned());
    }
    let times = match header.get("times") {
        None => 1,
        Some(times) => {
            let times = times.parse().ok().filter(|&times: &usize| times > 0);
            times.ok_or("`# times:` is a whole number from 1")?
        }
    };
    Ok((Detection { by, release, loom }, times))
}

/// A key that has one possible value, or is absent.
fn flag(header: &BTreeMap<&str, &str>, key: &str, set: &str) -> Result<bool, String> {
    match header.get(key) {
        None => Ok(false),
        Some(value) if *value == set => Ok(true),
        Some(value) => Err(format!("`# {key}: {value}` can only be `{set}`")),
    }
}

/// The files named by `--- a/…` and `+++ b/…`, without `/dev/null`.
fn changed_files(text: &str) -> Vec<String> {
    let names =
        text.lines().filter_map(|line| line.strip_prefix("--- a/").or_else(|| line.strip_prefix("+++ b/")));
    let mut files: Vec<String> =
        names.map(|name| name.split('\t').next().unwrap_or(name).to_owned()).collect();
    files.sort_unstable();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(text: &str) -> Result<(Detection, usize), String> {
        detection(&header(text)?)
    }

    #[test]
    fn a_header_is_read_up_to_the_diff() {
        let text = "# what: skips the sync\n# caught-by: -p a --test crash torn\n# times: 3\n# loom: yes\n--- a/x\n# b: c\n";
        assert_eq!(header(text).unwrap()["what"], "skips the sync");
        let (detection, times) = detect(text).unwrap();
        assert_eq!(times, 3);
        let command = "RUSTFLAGS='--cfg steadfast_loom' cargo test -p a --test crash torn";
        assert_eq!(detection.describe(), command);
        let (detection, _) = detect("# caught-by-stress: --only index.x\n").unwrap();
        assert_eq!(detection.describe(), "cargo xtask stress --only index.x");
    }

    #[test]
    fn a_wrong_header_is_refused() {
        for bad in [
            "# what: x\n",
            "# caught-by: a\n# caught-by-stress: b\n",
            "# caught-by:\n",
            "# caught-by: a\n# caught-by: b\n",
            "# caught-by: a\n# times: 0\n",
            "# caught-by: a\n# profile: debug\n",
            "# caught-by: a\n# color: red\n",
            "# caught-by: a\n# nothing\n",
            "# caught-by-stress: a\n# loom: yes\n",
        ] {
            assert!(detect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn changed_files_are_named_once() {
        let text = "--- a/x/y.rs\n+++ b/x/y.rs\n@@\n--- a/z\t2020\n+++ /dev/null\n";
        assert_eq!(changed_files(text), ["x/y.rs", "z"]);
    }
}
