//! `cargo xtask ci`: everything that must pass before a merge, one step after the other, the tests first.
//!
//! Nothing here waits for a person: the children get no standard input, and nothing needs a terminal.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{loom, process, stress, table, test, tidy};

/// One thing that is checked.
struct Step {
    name: &'static str,
    /// What runs, as one could type it.
    command: &'static str,
    /// The cargo subcommand that may be missing from the toolchain, and the component that has it.
    needs: Option<(&'static str, &'static str)>,
    run: fn(&Workspace) -> Result<Outcome, Failure>,
}

/// The smallest runs of every scenario: shorter and fewer, but with every invariant.
const SMOKE: [&str; 1] = ["smoke"];
/// The stress binary's exit code for "the machine, not the target, was the bottleneck".
const INVALID: u8 = 3;

const STEPS: &[Step] = &[
    Step {
        name: "test",
        command: "cargo test",
        needs: None,
        run: |workspace| test::run(workspace, &[]).map(passed),
    },
    Step { name: "fmt", command: "cargo fmt --all --check", needs: Some(("fmt", "rustfmt")), run: fmt },
    Step {
        name: "clippy",
        command: "cargo clippy --workspace --all-targets -- -D warnings",
        needs: Some(("clippy", "clippy")),
        run: clippy,
    },
    Step {
        name: "doc",
        command: "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace",
        needs: None,
        run: doc,
    },
    Step {
        name: "tidy",
        command: "cargo xtask tidy",
        needs: None,
        run: |workspace| tidy::run(workspace, &[]).map(passed),
    },
    Step {
        name: "loom",
        command: "cargo xtask loom",
        needs: None,
        run: |workspace| loom::run(workspace, &[]).map(passed),
    },
    Step { name: "stress", command: "cargo xtask stress smoke", needs: None, run: smoke },
];

/// How a step ended.
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
    NotRun,
}

/// Runs all steps, or those named, in their order; stops at the first that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let steps = choose(arguments).map_err(Failure::Usage)?;
    let mut report: Vec<(&Step, Outcome, Duration)> = Vec::new();
    let mut failed = None;
    for step in steps {
        if failed.is_some() {
            report.push((step, Outcome::NotRun, Duration::ZERO));
            continue;
        }
        process::announce(&format!("\n==> {}: {}", step.name, step.command));
        let started = Instant::now();
        let outcome = run_step(workspace, step);
        let took = started.elapsed();
        process::announce(&format!("<== {}: {}, {:.1} s", step.name, outcome.tell(), took.as_secs_f64()));
        if let Outcome::Failed(_) = outcome {
            failed = Some(step);
        }
        report.push((step, outcome, took));
    }
    process::announce(&format!("\n{}", summary(&report)));
    match failed {
        None => Ok(()),
        Some(step) => Err(Failure::Failed(format!("ci failed at `{}`; alone: {}", step.name, step.command))),
    }
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

fn choose(arguments: &[String]) -> Result<Vec<&'static Step>, String> {
    let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = arguments.iter().find(|name| !STEPS.iter().any(|step| step.name == name.as_str()))
    {
        return Err(format!("ci has no step `{unknown}`; it has {}", known()));
    }
    let chosen = |step: &&Step| arguments.is_empty() || arguments.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(chosen).collect())
}

fn run_step(workspace: &Workspace, step: &Step) -> Outcome {
    if let Some((subcommand, component)) = step.needs
        && !has_subcommand(workspace, subcommand)
    {
        return missing(component, std::env::var("CI").is_ok_and(|ci| ci == "true"));
    }
    match (step.run)(workspace) {
        Ok(outcome) => outcome,
        Err(failure) => {
            let code = failure.exit_code();
            Outcome::Failed(failure.message().map_or_else(|| format!("exit code {code}"), str::to_owned))
        }
    }
}

/// On a server a check that didn't run must not look like one that passed; at home one may lack a component.
fn missing(component: &str, on_a_server: bool) -> Outcome {
    let advice = format!("{component} is missing: `rustup component add {component}`");
    if on_a_server { Outcome::Failed(advice) } else { Outcome::Skipped(advice) }
}

fn has_subcommand(workspace: &Workspace, subcommand: &str) -> bool {
    let mut cargo = workspace.cargo();
    cargo.args([subcommand, "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cargo.status().is_ok_and(|status| status.success())
}

fn fmt(workspace: &Workspace) -> Result<Outcome, Failure> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]).stdin(Stdio::null())).map(passed)
}

fn clippy(workspace: &Workspace) -> Result<Outcome, Failure> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(workspace.cargo().args(arguments).stdin(Stdio::null())).map(passed)
}

fn doc(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut cargo = workspace.cargo();
    cargo.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(cargo.stdin(Stdio::null())).map(passed)
}

/// A run that proves nothing is repeated once, as a machine may be busy for a while; a failure is final.
///
/// Invalid twice is told, and is no failure of what was tested: a broken invariant, a wrong answer or a missed objective
/// that time doesn't decide would have been one, however busy the machine.
fn smoke(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut code = stress::run_for_code(workspace, &SMOKE)?;
    if code == INVALID {
        process::announce("stress was INVALID: the machine was too busy to tell; once more");
        code = stress::run_for_code(workspace, &SMOKE)?;
    }
    match code {
        0 => Ok(Outcome::Passed),
        INVALID => Ok(Outcome::Skipped(
            "stress was INVALID twice: nothing broke, but the machine is too busy to judge times".to_owned(),
        )),
        code => Err(Failure::Exit(code)),
    }
}

impl Outcome {
    fn tell(&self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Skipped(why) => format!("SKIPPED, {why}"),
            Self::Failed(why) => format!("FAILED, {why}"),
            Self::NotRun => "not run".to_owned(),
        }
    }
}

fn summary(report: &[(&Step, Outcome, Duration)]) -> String {
    let row = |(step, outcome, took): &(&Step, Outcome, Duration)| {
        [step.name.to_owned(), format!("{:.1}", took.as_secs_f64()), outcome.tell()]
    };
    let rows: Vec<[String; 3]> = report.iter().map(row).collect();
    let total: Duration = report.iter().map(|(_, _, took)| *took).sum();
    format!("{}{:.1} s in all", table::render(["step", "seconds", "outcome"], &rows), total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_come_first_and_steps_keep_their_order() {
        let names = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&name| name.to_owned()).collect();
            choose(&arguments).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["test", "fmt", "clippy", "doc", "tidy", "loom", "stress"]);
        assert_eq!(names(&["tidy", "fmt"]).unwrap(), ["fmt", "tidy"]);
        assert!(names(&["tidi"]).unwrap_err().contains("it has test, fmt"));
    }

    #[test]
    fn the_summary_names_every_step_run_or_not() {
        let second = Duration::from_secs(1);
        let report = [
            (&STEPS[0], Outcome::Passed, second),
            (&STEPS[1], Outcome::Failed("exit code 1".to_owned()), second),
            (&STEPS[2], Outcome::NotRun, Duration::ZERO),
        ];
        let text = summary(&report);
        assert!(text.contains("test    1.0      passed\n"), "{text}");
        assert!(text.contains("fmt     1.0      FAILED, exit code 1\n"), "{text}");
        assert!(text.contains("clippy  0.0      not run\n"), "{text}");
        assert!(text.ends_with("2.0 s in all"), "{text}");
    }

    #[test]
    fn a_missing_component_fails_a_server_and_is_skipped_at_home() {
        assert!(
            matches!(missing("clippy", true), Outcome::Failed(why) if why.contains("rustup component add clippy"))
        );
        assert!(matches!(missing("clippy", false), Outcome::Skipped(_)));
        let workspace = Workspace::locate().unwrap();
        assert!(!has_subcommand(&workspace, "no-such-subcommand"));
    }

    #[test]
    fn the_smoke_command_shown_is_the_one_that_runs() {
        let step = STEPS.iter().find(|step| step.name == "stress").unwrap();
        assert_eq!(step.command, format!("cargo xtask stress {}", SMOKE.join(" ")));
    }
}
