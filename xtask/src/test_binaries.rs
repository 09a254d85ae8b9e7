//! The test binaries of the workspace: built by cargo, started here as cargo starts them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo_messages::{self, MESSAGE_FORMAT, Program};
use crate::failure::Failure;
use crate::process;
use crate::workspace::{Workspace, forget_own_package};

/// One program that runs tests: a package's unit tests, or one file of integration tests.
#[derive(Debug)]
pub(crate) struct TestBinary {
    /// The target's root file, as a path from the workspace's root with `/`.
    pub(crate) name: String,
    executable: PathBuf,
    manifest: PathBuf,
}

/// Builds the test binaries that `cargo test <options>` would run; doc tests have none.
pub(crate) fn build(workspace: &Workspace, options: &[String]) -> Result<Vec<TestBinary>, Failure> {
    built_by(workspace, &mut build_command(workspace, options))
}

/// The build of those test binaries.
pub(crate) fn build_command(workspace: &Workspace, options: &[String]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-run", MESSAGE_FORMAT]).args(options).stdin(Stdio::null());
    cargo
}

/// Runs a build, and returns the test binaries that it made.
pub(crate) fn built_by(workspace: &Workspace, build: &mut Command) -> Result<Vec<TestBinary>, Failure> {
    let messages = process::run_for_output(build)?;
    let programs = cargo_messages::programs(&messages).into_iter().filter(|program| program.is_test);
    let mut binaries: Vec<TestBinary> =
        programs.map(|program| TestBinary::new(&workspace.root, program)).collect();
    // Cargo reports them as their builds end, which is another order each time.
    binaries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(binaries)
}

impl TestBinary {
    fn new(root: &Path, program: Program) -> Self {
        let source = program.source.strip_prefix(root).unwrap_or(&program.source);
        Self {
            name: source.to_string_lossy().replace('\\', "/"),
            executable: program.executable,
            manifest: program.manifest,
        }
    }

    #[cfg(test)]
    pub(crate) fn planted(executable: &str) -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into();
        Self { name: "planted".to_owned(), executable: executable.into(), manifest }
    }

    /// The binary, to be run in its package's folder and with what cargo says about the package.
    pub(crate) fn command(&self) -> Command {
        let folder = self.manifest.parent().unwrap_or(Path::new("."));
        let mut command = Command::new(&self.executable);
        forget_own_package(&mut command);
        command
            .current_dir(folder)
            .env("CARGO_MANIFEST_DIR", folder)
            .env("CARGO_MANIFEST_PATH", &self.manifest);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_runs_in_its_packages_folder() {
        let program = Program {
            name: "it".to_owned(),
            executable: "/r/target/it-1".into(),
            source: "/r/crates/a/tests/it.rs".into(),
            manifest: "/r/crates/a/Cargo.toml".into(),
            is_test: true,
        };
        let binary = TestBinary::new(Path::new("/r"), program);
        assert_eq!(binary.name, "crates/a/tests/it.rs");
        let command = binary.command();
        assert_eq!(command.get_current_dir(), Some(Path::new("/r/crates/a")));
        let folder = ("CARGO_MANIFEST_DIR".as_ref(), Some("/r/crates/a".as_ref()));
        assert!(command.get_envs().any(|variable| variable == folder));
    }
}
