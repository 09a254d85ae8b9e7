//! The steps that only `cargo xtask ci --full` runs: before a release, and weekly.

use std::process::{Command, Stdio};

use super::Outcome;
use super::checks::PEERS;
use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

/// Declares in a crate's root that it has no unsafe code. `cargo xtask tidy` requires it there.
const FORBIDS_UNSAFE: &str = "#![forbid(unsafe_code)]";

/// The benchmarks against other people's crates, all of which get built.
pub(super) fn peers(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--package", PEERS, "--all-targets", "--all-features", "--", "-D", "warnings"]);
    cargo.stdin(Stdio::null());
    cargo
}

/// The unit tests of the crates with unsafe code, under AddressSanitizer.
pub(super) fn sanitizer(workspace: &Workspace) -> Result<Outcome, Failure> {
    let host = host(workspace)?;
    // The compiler has it for a few more; these are the ones that it was tried on.
    if !host.ends_with("-linux-gnu") {
        return Ok(Outcome::Skipped(format!("no AddressSanitizer for {host} here")));
    }
    let crates = crates_with_unsafe_code(workspace)?;
    // With a target named, cargo gives the flags to nothing that runs during the build.
    let mut cargo = workspace.building_into(workspace.target().join("sanitizer")).cargo();
    cargo.args(["test", "--lib", "--all-features", "--target", &host]);
    cargo.args(crates.iter().flat_map(|name| ["--package".to_owned(), format!("steadfast-{name}")]));
    // The sanitizer is in every stable compiler, behind a flag that only this variable lets
    // through.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    process::run(cargo.stdin(Stdio::null())).map(|()| Outcome::Passed)
}

fn host(workspace: &Workspace) -> Result<String, Failure> {
    let told = process::run_for_output(workspace.cargo().arg("-vV").stdin(Stdio::null()))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or_else(|| "`cargo -vV` names no host".to_owned())?.to_owned())
}

fn crates_with_unsafe_code(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut names = workspace.crates()?;
    names.retain(|name| {
        std::fs::read_to_string(workspace.root.join("crates").join(name).join("src/lib.rs"))
            .is_ok_and(|root| !root.contains(FORBIDS_UNSAFE))
    });
    Ok(names)
}

/// Makes the archives that the registry would get, and builds each from its archive. They use each
/// other, so cargo builds them against a registry of its own that holds the other archives.
pub(super) fn package(workspace: &Workspace) -> Result<Command, String> {
    let mut cargo = workspace.cargo();
    cargo.args(["package"]);
    for name in workspace.published_crates()? {
        cargo.args(["--package", &format!("steadfast-{name}")]);
    }
    cargo.stdin(Stdio::null());
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_with_unsafe_code_are_told_from_those_without() {
        let found = crates_with_unsafe_code(&Workspace::locate().unwrap()).unwrap();
        assert!(found.iter().any(|name| name == "metrics"), "{found:?}");
        assert!(!found.iter().any(|name| name == "memory-api"), "{found:?}");
    }

    #[test]
    fn everything_published_is_packaged() {
        let command = process::describe(&package(&Workspace::locate().unwrap()).unwrap());
        assert!(command.contains("--package steadfast-graph-memory"), "{command}");
        assert!(!command.contains("testkit"), "{command}");
    }
}
