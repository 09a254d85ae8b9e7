//! The project's commands, as `cargo xtask <command>`: one file a command, std only, compiles in seconds.
//!
//! Exit codes: 0 done, 1 something failed, 2 the command line was wrong. `stress` and `bench` pass on the
//! code of the program that they run.
#![forbid(unsafe_code)]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a few short texts for people: plain beats saving an allocation"
)]

mod bench;
mod cargo_messages;
mod ci;
mod failure;
mod loom;
mod manifest;
mod markdown;
mod near;
mod process;
mod repeat;
mod rust_text;
mod sabotage;
mod side_by_side;
mod stress;
mod table;
mod test;
mod test_binaries;
mod test_output;
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// One command: how it is called, what it does, and the function that does it.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[String]) -> Result<(), Failure>,
}

/// Every command. `cargo xtask tidy` holds the docs against this table.
const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        arguments: "[--repeat n [--seconds-max s]] [filter…]",
        about: "unit, integration and doc tests of the default members; a first word with '-' passes all to cargo test; \
                --repeat runs each quick test binary n times, half of them beside busy loops",
        run: test::run,
    },
    Command {
        name: "stress",
        arguments: "[args…]",
        about: "build the stress suites in release and run them; `stress --help` is theirs",
        run: stress::run,
    },
    Command {
        name: "loom",
        arguments: "[crate]",
        about: "the loom models of one crate, or of every crate that has some",
        run: loom::run,
    },
    Command { name: "tidy", arguments: "", about: "the house rules that no compiler checks", run: tidy::run },
    Command {
        name: "bench",
        arguments: "<what> [args…]",
        about: "one benchmark; without a name it lists them",
        run: bench::run,
    },
    Command {
        name: "sabotage",
        arguments: "<crate> [--only name] [--list] [--limit-seconds n]",
        about: "plant each known bug in a copy of the tree and see a named test fail",
        run: sabotage::run,
    },
    Command {
        name: "ci",
        arguments: "[--full] [step…]",
        about: "everything that must pass before a merge, in order; or only the steps named; \
                --full: everything that must pass before a release",
        run: ci::run,
    },
];

fn main() -> ExitCode {
    if let Some(mut compiler) = loom::wrapped_compiler() {
        return exit_code(process::replace_by(&mut compiler));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    exit_code(dispatch(&arguments))
}

fn exit_code(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("xtask: {message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(Failure::Usage(format!("which command?\n\n{}", usage())));
    };
    if is_help(name) {
        println!("{}", usage());
        return Ok(());
    }
    let command = find(name)?;
    // The stress binary answers --help itself: it knows its scenarios.
    if command.name != "stress" && rest.first().is_some_and(|first| is_help(first)) {
        println!("cargo xtask {} {}\n    {}", command.name, command.arguments, command.about);
        return Ok(());
    }
    (command.run)(&Workspace::locate()?, rest)
}

fn is_help(word: &str) -> bool {
    matches!(word, "--help" | "-h" | "help")
}

fn find(name: &str) -> Result<&'static Command, Failure> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        let near = near::names(name, &command_names());
        let hint =
            if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(" or ")) };
        Failure::Usage(format!("there is no command `{name}`.{hint}\n\n{}", usage()))
    })
}

/// The names of all commands, in the order of the usage text.
fn command_names() -> Vec<&'static str> {
    COMMANDS.iter().map(|command| command.name).collect()
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask <command>\n");
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.arguments);
        text.push_str(&format!("\n  {}\n      {}", call.trim_end(), command.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn unknown_command_names_its_neighbour_and_exits_2() {
        let failure = dispatch(&words("sabotge graph-memory")).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.message().unwrap().contains("Did you mean sabotage?"), "{failure:?}");
    }

    #[test]
    fn no_command_prints_every_command_and_exits_2() {
        let failure = dispatch(&[]).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        for name in command_names() {
            assert!(failure.message().unwrap().contains(name), "{name} is missing");
        }
    }

    #[test]
    fn help_is_no_failure() {
        assert!(dispatch(&words("--help")).is_ok());
        assert!(dispatch(&words("tidy --help")).is_ok());
    }
}
