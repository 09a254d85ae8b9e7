//! `cargo xtask stress`: builds the suites in release and becomes them.
//!
//! On Unix this process is replaced by the stress binary, so a terminal's Ctrl-C, which goes to the whole
//! process group, is answered by the one program that has a report to finish.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo_messages;
use crate::failure::Failure;
use crate::process;
use crate::workspace::{Workspace, forget_own_package};

/// The package of the suites, and its binary.
const SUITES: &str = "steadfast-suites";

/// Tells the binary how it was called, so that the command in its report can be typed again.
const PROGRAM: (&str, &str) = ("STEADFAST_STRESS_PROGRAM", "cargo xtask stress");

/// Builds the suites and runs them with `arguments`; the exit code is theirs.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let mut command = command(&build(workspace)?, arguments);
    process::replace_by(&mut command)
}

/// Builds the suites and runs them as a child without a standard input, and tells their exit code.
pub(crate) fn run_for_code(workspace: &Workspace, arguments: &[&str]) -> Result<u8, Failure> {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Ok(process::run_for_code(command(&build(workspace)?, &arguments).stdin(Stdio::null()))?)
}

/// The binary with its arguments, ready to start.
pub(crate) fn command(executable: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(executable);
    command.args(arguments).env(PROGRAM.0, PROGRAM.1);
    forget_own_package(&mut command);
    command
}

/// The build of the suites; its standard output tells [`executable_in`] where the binary is.
pub(crate) fn build_command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", SUITES, "--bin", SUITES]);
    command.arg(cargo_messages::MESSAGE_FORMAT);
    command
}

/// The binary's path, from the messages of a build that succeeded.
pub(crate) fn executable_in(messages: &str) -> Result<PathBuf, String> {
    let mut programs = cargo_messages::programs(messages).into_iter();
    let suites = programs.find(|program| program.name == SUITES && !program.is_test);
    suites.map(|program| program.executable).ok_or_else(|| format!("the build of {SUITES} names no binary"))
}

fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut build = build_command(workspace);
    // Cargo's own code for a failed build is 101: never to be taken for a verdict, which is 0, 1 or
    // 3.
    Ok(executable_in(&process::run_for_output(&mut build)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repeat_command_is_passed_on() {
        let command = command(Path::new("suites"), &["--seed".to_owned(), "7".to_owned()]);
        let told = command.get_envs().any(|(name, value)| {
            name == "STEADFAST_STRESS_PROGRAM" && value == Some("cargo xtask stress".as_ref())
        });
        assert!(told);
        assert_eq!(process::describe(&command), "suites --seed 7");
    }
}
