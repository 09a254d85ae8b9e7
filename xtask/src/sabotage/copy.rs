//! The copy of the tree that bugs are planted in.
//!
//! A file is written only if its content differs, and then gets a new time: cargo rebuilds what changed, be it by a bug
//! or by taking one back, and nothing else. Keeping the *old* time of a file taken back would make cargo believe that
//! the sabotaged build is up to date.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `to` hold the `files` of `from` and nothing else.
pub(super) fn sync(from: &Path, files: &[String], to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|error| format!("cannot make {}: {error}", to.display()))?;
    for file in files {
        copy_if_different(&from.join(file), &to.join(file))?;
    }
    let wanted = files.iter().map(|file| to.join(file)).collect();
    remove_others(to, &wanted)
}

/// Applies `patch` in `tree`; fails if it doesn't fit, or changes nothing of `changes`.
pub(super) fn apply(patch: &Path, tree: &Path, changes: &[String]) -> Result<(), String> {
    let before = contents(tree, changes);
    let ceiling = tree.parent().unwrap_or(tree);
    let mut git = Command::new("git");
    // The copy lies in an ignored folder of a repository: if git finds that, it silently applies nothing.
    git.env("GIT_CEILING_DIRECTORIES", ceiling);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        git.env_remove(name);
    }
    git.args(["apply", "-p1", "--whitespace=nowarn"]).arg(patch).current_dir(tree);
    let output = git.output().map_err(|error| format!("cannot run git: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the patch no longer applies: {}", reason.trim().replace('\n', "; ")));
    }
    if contents(tree, changes) == before {
        return Err("the patch applied but changed nothing".to_owned());
    }
    Ok(())
}

fn contents(tree: &Path, files: &[String]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|file| std::fs::read(tree.join(file)).ok()).collect()
}

fn copy_if_different(from: &Path, to: &Path) -> Result<(), String> {
    let fault =
        |error: std::io::Error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    let content = std::fs::read(from).map_err(fault)?;
    if std::fs::read(to).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(fault)?;
    }
    // Not the content alone: a script must stay executable.
    std::fs::copy(from, to).map_err(fault)?;
    Ok(())
}

/// Removes every file below `folder` that isn't wanted, and folders that become empty.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("cannot clear {}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let path = entry.path();
        if entry.file_type().map_err(fault)?.is_dir() {
            remove_others(&path, wanted)?;
            // Refused unless it is empty, which is what is wanted.
            let _ = std::fs::remove_dir(&path);
        } else if !wanted.contains(&path) {
            std::fs::remove_file(&path).map_err(fault)?;
        }
    }
    Ok(())
}
