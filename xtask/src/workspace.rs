//! Where the workspace is, what is in it, and how to call cargo in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::manifest::Manifest;

/// A checkout, or a copy of one, that cargo is called in.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds, if it is not for cargo to choose.
    target: Option<PathBuf>,
}

/// What `cargo run` tells the program about its own package. Passed on to another cargo it would only make
/// build scripts that look at it run again.
const OWN_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

impl Workspace {
    /// The workspace that `cargo xtask` was called in.
    pub(crate) fn locate() -> Result<Self, String> {
        let here = std::env::current_dir().map_err(|error| format!("no current folder: {error}"))?;
        // Cargo gives its absolute path at run time, so a moved checkout is found; the walk serves a call by hand.
        let start = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| here.clone(), PathBuf::from);
        let root = start
            .ancestors()
            .find(|folder| is_workspace_root(folder))
            .ok_or_else(|| format!("no workspace at or above {}", start.display()))?
            .to_owned();
        let target =
            std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()).map(|dir| here.join(dir));
        Ok(Self { root, target })
    }

    /// A workspace at `root` that builds into `target`.
    pub(crate) fn at(root: PathBuf, target: PathBuf) -> Self {
        Self { root, target: Some(target) }
    }

    /// The same workspace, built into another folder, for flags that must not disturb the usual one.
    pub(crate) fn building_into(&self, target: PathBuf) -> Self {
        Self::at(self.root.clone(), target)
    }

    /// Where build results and other things that can be made again belong.
    pub(crate) fn target(&self) -> PathBuf {
        self.target.clone().unwrap_or_else(|| self.root.join("target"))
    }

    /// `cargo`, called at the root, with the toolchain that runs us.
    pub(crate) fn cargo(&self) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        forget_own_package(&mut command);
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }

    /// Every file that is tracked, or new and not ignored, as a path from the root with `/`; sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>, String> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .map_err(|error| format!("cannot run git, which lists the files: {error}"))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(format!("git ls-files failed in {}: {}", self.root.display(), reason.trim()));
        }
        let listed = String::from_utf8_lossy(&output.stdout);
        // A file that is tracked but deleted is still listed; one with a merge conflict is listed three times.
        let mut files: Vec<String> =
            listed.split('\0').filter(|path| self.root.join(path).is_file()).map(str::to_owned).collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    /// The folder names under `crates/` that hold a package, sorted.
    pub(crate) fn crates(&self) -> Result<Vec<String>, String> {
        let mut names = folders(&self.root.join("crates"))?;
        names.retain(|name| self.crate_manifest(name).is_file());
        Ok(names)
    }

    /// The crates that go to the registry, sorted.
    pub(crate) fn published_crates(&self) -> Result<Vec<String>, String> {
        let mut names = self.crates()?;
        names.retain(|name| {
            std::fs::read_to_string(self.crate_manifest(name))
                .is_ok_and(|manifest| Manifest::parse(&manifest).is_published())
        });
        Ok(names)
    }

    /// The manifest of the crate in folder `name`.
    pub(crate) fn crate_manifest(&self, name: &str) -> PathBuf {
        self.root.join("crates").join(name).join("Cargo.toml")
    }
}

/// Takes out of the child's environment what `cargo run` said about this package.
pub(crate) fn forget_own_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OWN_PACKAGE.iter().any(|own| name.starts_with(own))) {
            command.env_remove(name);
        }
    }
}

/// The names of the folders in `parent`, sorted; none if it doesn't exist.
pub(crate) fn folders(parent: &Path) -> Result<Vec<String>, String> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let fault = |error: std::io::Error| format!("cannot list {}: {error}", parent.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_workspace_root(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("Cargo.toml"))
        .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
}
