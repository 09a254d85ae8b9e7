//! `cargo xtask stress`: builds the suites in release and becomes them.
//!
//! On Unix this process is replaced by the stress binary, so a terminal's Ctrl-C, which goes to the whole
//! process group, is answered by the one program that has a report to finish.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    become_child(&mut command)
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
    command.arg("--message-format=json-render-diagnostics");
    command
}

/// The binary's path, from the messages of a build that succeeded.
pub(crate) fn executable_in(messages: &str) -> Result<PathBuf, String> {
    messages
        .lines()
        .filter(|line| line.contains(&format!("\"name\":\"{SUITES}\"")))
        .find_map(|line| json_text(line.split_once("\"executable\":\"")?.1))
        .map(PathBuf::from)
        .ok_or_else(|| format!("the build of {SUITES} names no binary"))
}

fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut build = build_command(workspace);
    let output = build
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run `{}`: {error}", process::describe(&build)))?;
    if !output.status.success() {
        // Cargo's own code for a failed build: never to be taken for a verdict, which is 0, 1 or 3.
        return Err(Failure::Exit(101));
    }
    Ok(executable_in(&String::from_utf8_lossy(&output.stdout))?)
}

/// The text of a JSON string that begins at `rest`, up to its closing quote.
fn json_text(rest: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            // Cargo escapes nothing but quotes and backslashes in the paths that we meet.
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

#[cfg(unix)]
fn become_child(command: &mut Command) -> Result<(), Failure> {
    let error = std::os::unix::process::CommandExt::exec(command);
    Err(Failure::Failed(format!("cannot run `{}`: {error}", process::describe(command))))
}

#[cfg(not(unix))]
fn become_child(command: &mut Command) -> Result<(), Failure> {
    process::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"steadfast_suites"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"steadfast-suites"},"executable":"C:\\t\\steadfast-suites"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable_in(messages).unwrap(), PathBuf::from(r"C:\t\steadfast-suites"));
        assert!(executable_in("{}").is_err());
    }

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
