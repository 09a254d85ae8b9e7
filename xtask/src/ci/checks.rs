//! The steps of every CI run that are commands of cargo's, and the stress suites at smoke size.
//!
//! The flags are chosen so that the steps share builds: all take the default members with all
//! features, so cargo builds the packages that they use once for the tests and once more, without
//! code, for clippy and the docs.

use std::process::{Command, Stdio};

use super::Outcome;
use super::ahead::Ahead;
use crate::failure::Failure;
use crate::stress;
use crate::workspace::Workspace;

/// Benchmarks against other people's crates, each behind a feature: those take minutes, so only
/// `--full` builds them.
pub(super) const PEERS: &str = "steadfast-peers";

/// The smallest runs of every scenario: shorter and fewer, but with every invariant. A scenario
/// that is INVALID runs once more, as a machine may be busy for a while. More than a quarter
/// INVALID while nobody else used the machine is the fault of the scenarios or of the engine, so it
/// fails.
pub(super) const SMOKE: [&str; 4] = ["smoke", "--repeat-invalid", "--invalid-max", "25%"];
/// The stress binary's exit code for "the machine, not the target, was the bottleneck".
const INVALID: u8 = 3;

pub(super) fn fmt(workspace: &Workspace) -> Command {
    cargo(workspace, &["fmt", "--all", "--check"])
}

pub(super) fn clippy(workspace: &Workspace) -> Vec<Command> {
    vec![
        cargo(workspace, &["clippy", "--all-targets", "--all-features", "--", "-D", "warnings"]),
        cargo(workspace, &["clippy", "--package", PEERS, "--all-targets", "--", "-D", "warnings"]),
    ]
}

/// Each published crate alone: beside another package its dependencies would get features that it
/// doesn't ask for.
pub(super) fn without_features(workspace: &Workspace) -> Result<Vec<Command>, String> {
    let check = |name: &String| {
        let package = format!("steadfast-{name}");
        cargo(
            workspace,
            &["clippy", "--package", &package, "--no-default-features", "--lib", "--", "-D", "warnings"],
        )
    };
    Ok(workspace.published_crates()?.iter().map(check).collect())
}

pub(super) fn doc(workspace: &Workspace) -> Vec<Command> {
    let options: [&[&str]; 2] = [
        // With `--examples` cargo counts in the features of development dependencies, as for
        // clippy.
        &["--all-features", "--lib", "--bin", "xtask", "--examples"],
        &["--package", PEERS],
    ];
    let doc = |options: &[&str]| {
        let mut cargo = cargo(workspace, &["doc", "--no-deps"]);
        cargo.args(options).env("RUSTDOCFLAGS", "-D warnings");
        cargo
    };
    options.into_iter().map(doc).collect()
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(arguments).stdin(Stdio::null());
    cargo
}

/// The stress suites at smoke size.
///
/// INVALID is no failure of what was tested: a broken invariant, a wrong answer or a missed
/// objective that time doesn't decide would have been one, however busy the machine.
pub(super) fn smoke(workspace: &Workspace, ahead: &Ahead) -> Result<Outcome, Failure> {
    // Its times are to be its own.
    ahead.wait();
    match stress::run_for_code(workspace, &SMOKE)? {
        0 => Ok(Outcome::Passed),
        INVALID => Ok(Outcome::Skipped(
            "some scenarios were INVALID twice: nothing broke, but the machine was too busy to judge their times"
                .to_owned(),
        )),
        code => Err(Failure::Exit(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn every_published_crate_is_checked_without_features() {
        let checks = without_features(&Workspace::locate().unwrap()).unwrap();
        let told: Vec<String> = checks.iter().map(process::describe).collect();
        for name in ["metrics", "breaker", "pool", "memory-api", "text-index", "vector-index", "stress"] {
            let check =
                format!("cargo clippy --package steadfast-{name} --no-default-features --lib -- -D warnings");
            assert!(told.contains(&check), "{check} is not among {told:#?}");
        }
        assert!(!told.iter().any(|check| check.contains("testkit") || check.contains("peers")), "{told:#?}");
    }
}
