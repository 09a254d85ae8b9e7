//! `cargo xtask test`: unit, integration and doc tests of the default members with all their
//! features.
//!
//! Nothing but cargo is needed: `cargo test` alone runs the same tests, without what stands behind
//! features. Without arguments this command starts the test binaries itself, so that it can tell
//! how long each took, and that one that fails keeps none from running.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{process, repeat, test_binaries};

const ALL_FEATURES: &str = "--all-features";

/// How long a test binary took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) took: Duration,
}

/// With `--repeat`, see [`repeat`]. Otherwise words are filters, several of them an "or". If the
/// first begins with `-`, all are for `cargo test` as they stand.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if let Some(request) = repeat::parse(arguments).map_err(Failure::Usage)? {
        return repeat::run(workspace, &request);
    }
    if arguments.is_empty() {
        return run_all(workspace, || ()).map(|_| ());
    }
    process::run(workspace.cargo().args(cargo_arguments(arguments)).stdin(Stdio::null()))
}

fn cargo_arguments(arguments: &[String]) -> Vec<&str> {
    let given = arguments.iter().map(String::as_str);
    match arguments.first() {
        Some(first) if first.starts_with('-') => std::iter::once("test").chain(given).collect(),
        // `cargo test a b` is refused; behind `--` the test binaries take any number of filters.
        _ => ["test", ALL_FEATURES, "--"].into_iter().chain(given).collect(),
    }
}

/// Builds and runs all tests, and calls `built` in between; returns how long each binary took.
pub(crate) fn run_all(workspace: &Workspace, built: impl FnOnce()) -> Result<Vec<Timing>, Failure> {
    let binaries = test_binaries::build(workspace, &[ALL_FEATURES.to_owned()])?;
    built();
    let (mut timings, mut failed) = (Vec::new(), Vec::new());
    let commands = binaries.iter().map(|binary| (binary.name.clone(), binary.command()));
    let mut doc_tests = workspace.cargo();
    doc_tests.args(["test", "--doc", ALL_FEATURES]);
    for (name, mut command) in commands.chain([("doc tests".to_owned(), doc_tests)]) {
        process::announce(&format!("\n     Running {name}"));
        let started = Instant::now();
        let code = process::run_for_code(command.stdin(Stdio::null()))?;
        if code != 0 {
            failed.push(name.clone());
        }
        timings.push(Timing { name, took: started.elapsed() });
    }
    if failed.is_empty() {
        return Ok(timings);
    }
    Err(Failure::Failed(format!("tests failed in {}", failed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_go_to_the_test_binaries_and_options_to_cargo() {
        let arguments = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            cargo_arguments(&arguments("torn crash")),
            ["test", "--all-features", "--", "torn", "crash"]
        );
        assert_eq!(cargo_arguments(&arguments("-p steadfast-stress")), ["test", "-p", "steadfast-stress"]);
    }
}
