//! `cargo xtask ci`: everything that must pass before a merge, one step after the other, the tests first.
//!
//! Nothing here waits for a person: the children get no standard input, and nothing needs a terminal.
//!
//! While the tests run, which mostly wait, the later steps' builds run at low priority ([`ahead`]):
//! when their turn comes, cargo finds everything built, or repeats the warnings.

mod ahead;
mod checks;
mod full;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::ahead::Ahead;
use crate::failure::Failure;
use crate::test::Timing;
use crate::workspace::Workspace;
use crate::{loom, process, stress, table, test, tidy};

/// One thing that is checked.
struct Step {
    name: &'static str,
    /// What runs, as one could type it.
    command: &'static str,
    /// The cargo subcommand that may be missing from the toolchain, and the component that has it.
    needs: Option<(&'static str, &'static str)>,
    /// Whether it runs only with `--full`.
    full: bool,
    run: fn(&Workspace, &Ahead) -> Result<Outcome, Failure>,
    /// What may be built ahead of the step's turn.
    builds: fn(&Workspace) -> Result<Vec<Command>, String>,
}

const STEPS: &[Step] = &[
    Step {
        name: "test",
        command: "cargo xtask test",
        run: |workspace, ahead| Ok(Outcome::Tested(test::run_all(workspace, || ahead.start())?)),
        ..Step::NOTHING
    },
    Step {
        name: "fmt",
        command: "cargo fmt --all --check",
        needs: Some(("fmt", "rustfmt")),
        run: |workspace, _| process::run(&mut checks::fmt(workspace)).map(passed),
        ..Step::NOTHING
    },
    Step {
        name: "clippy",
        command: "cargo clippy --all-targets --all-features -- -D warnings",
        needs: Some(("clippy", "clippy")),
        run: |workspace, _| run_each(checks::clippy(workspace)),
        builds: |workspace| Ok(checks::clippy(workspace)),
        ..Step::NOTHING
    },
    Step {
        name: "features",
        command: "cargo clippy --package <each leaf crate> --no-default-features --lib -- -D warnings",
        needs: Some(("clippy", "clippy")),
        run: |workspace, _| run_each(checks::without_features(workspace)?),
        builds: checks::without_features,
        ..Step::NOTHING
    },
    Step {
        name: "doc",
        command: "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features",
        run: |workspace, _| run_each(checks::doc(workspace)),
        builds: |workspace| Ok(checks::doc(workspace)),
        ..Step::NOTHING
    },
    Step {
        name: "tidy",
        command: "cargo xtask tidy",
        run: |workspace, _| tidy::run(workspace, &[]).map(passed),
        ..Step::NOTHING
    },
    Step {
        name: "loom",
        command: "cargo xtask loom",
        run: |workspace, _| loom::run(workspace, &[]).map(passed),
        builds: |workspace| Ok(vec![loom::build_command(workspace)?]),
        ..Step::NOTHING
    },
    Step {
        name: "stress",
        command: "cargo xtask stress smoke --repeat-invalid --invalid-max 25%",
        run: |workspace, ahead| checks::smoke(workspace, ahead),
        builds: |workspace| Ok(vec![stress::build_command(workspace)]),
        ..Step::NOTHING
    },
    Step {
        name: "peers",
        command: "cargo clippy --package steadfast-peers --all-targets --all-features -- -D warnings",
        needs: Some(("clippy", "clippy")),
        full: true,
        run: |workspace, _| process::run(&mut full::peers(workspace)).map(passed),
        ..Step::NOTHING
    },
    Step {
        name: "sanitizer",
        command: "RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --lib --target <host>",
        full: true,
        run: |workspace, _| full::sanitizer(workspace),
        ..Step::NOTHING
    },
    Step {
        name: "package",
        command: "cargo package --workspace",
        full: true,
        run: |workspace, _| process::run(&mut full::package(workspace)?).map(passed),
        ..Step::NOTHING
    },
];

impl Step {
    /// What a step leaves out.
    const NOTHING: Self = Self {
        name: "",
        command: "",
        needs: None,
        full: false,
        run: |_, _| Ok(Outcome::Passed),
        builds: |_| Ok(Vec::new()),
    };
}

/// Selects what takes too long for every merge, here and in the tests; see docs/testing.md.
pub(crate) const FULL: (&str, &str) = ("STEADFAST_FULL", "1");
/// The option that sets it.
const FULL_OPTION: &str = "--full";
/// How many of the slowest test binaries the summary shows.
const SLOWEST: usize = 10;

/// How a step ended.
enum Outcome {
    Passed,
    /// The tests passed, each binary in this time.
    Tested(Vec<Timing>),
    Skipped(String),
    Failed(String),
    NotRun,
}

/// Runs all steps, or those named, in their order; stops at the first that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let is_full = std::env::var_os(FULL.0).is_some_and(|value| value == FULL.1);
    let asks_for_full = arguments.iter().any(|argument| argument == FULL_OPTION);
    if asks_for_full && !is_full {
        // The tests read it from their environment: so does whoever runs them.
        return again_in_full(arguments);
    }
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != FULL_OPTION).collect();
    let steps = choose(&named, is_full).map_err(Failure::Usage)?;
    let ahead = Ahead::new(&later_builds(workspace, &steps)?);
    let mut report: Vec<(&Step, Outcome, Duration)> = Vec::new();
    let mut failed = None;
    for step in steps {
        if failed.is_some() {
            report.push((step, Outcome::NotRun, Duration::ZERO));
            continue;
        }
        process::announce(&format!("\n==> {}: {}", step.name, step.command));
        let started = Instant::now();
        let outcome = run_step(workspace, step, &ahead);
        let took = started.elapsed();
        process::announce(&format!("<== {}: {}, {:.1} s", step.name, outcome.tell(), took.as_secs_f64()));
        if let Outcome::Failed(_) = outcome {
            failed = Some(step);
        }
        report.push((step, outcome, took));
    }
    drop(ahead);
    process::announce(&format!("\n{}", summary(&report)));
    match failed {
        None => Ok(()),
        Some(step) => Err(Failure::Failed(format!("ci failed at `{}`; alone: {}", step.name, step.command))),
    }
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

fn again_in_full(arguments: &[String]) -> Result<(), Failure> {
    let own =
        std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    let mut command = Command::new(own);
    command.arg("ci").args(arguments).env(FULL.0, FULL.1);
    process::replace_by(&mut command)
}

/// All steps of this kind of run, or those named, which may be of the full one.
fn choose(named: &[&str], is_full: bool) -> Result<Vec<&'static Step>, String> {
    let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = named.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        return Err(format!("ci has no step `{unknown}`; it has {}", known()));
    }
    let chosen =
        |step: &&Step| if named.is_empty() { is_full || !step.full } else { named.contains(&step.name) };
    Ok(STEPS.iter().filter(chosen).collect())
}

/// What the steps behind the tests need to have built, those aside whose tool is missing.
fn later_builds(workspace: &Workspace, steps: &[&Step]) -> Result<Vec<Command>, String> {
    let mut builds = Vec::new();
    for step in steps {
        builds.extend((step.builds)(workspace)?);
    }
    Ok(builds)
}

fn run_step(workspace: &Workspace, step: &Step, ahead: &Ahead) -> Outcome {
    if let Some((subcommand, component)) = step.needs
        && !has_subcommand(workspace, subcommand)
    {
        return missing(component, std::env::var("CI").is_ok_and(|ci| ci == "true"));
    }
    match (step.run)(workspace, ahead) {
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

fn run_each(commands: Vec<Command>) -> Result<Outcome, Failure> {
    for mut command in commands {
        process::run(&mut command)?;
    }
    Ok(Outcome::Passed)
}

impl Outcome {
    fn tell(&self) -> String {
        match self {
            Self::Passed | Self::Tested(_) => "passed".to_owned(),
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
    let slowest = report.iter().find_map(|(_, outcome, _)| match outcome {
        Outcome::Tested(timings) => Some(slowest(timings)),
        _ => None,
    });
    format!(
        "{}{}{:.1} s in all",
        slowest.unwrap_or_default(),
        table::render(["step", "seconds", "outcome"], &rows),
        total.as_secs_f64()
    )
}

/// The test binaries that took longest, and a blank line.
fn slowest(timings: &[Timing]) -> String {
    let mut timings: Vec<&Timing> = timings.iter().collect();
    timings.sort_unstable_by_key(|timing| std::cmp::Reverse(timing.took));
    let row = |timing: &&Timing| [timing.name.clone(), format!("{:.1}", timing.took.as_secs_f64())];
    let rows: Vec<[String; 2]> = timings.iter().take(SLOWEST).map(row).collect();
    table::render(["slowest test binaries", "seconds"], &rows) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_come_first_and_steps_keep_their_order() {
        let names = |arguments: &[&str], is_full: bool| {
            choose(arguments, is_full).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        let normal = ["test", "fmt", "clippy", "features", "doc", "tidy", "loom", "stress"];
        assert_eq!(names(&[], false).unwrap(), normal);
        let full = [&normal[..], &["peers", "sanitizer", "package"]].concat();
        assert_eq!(names(&[], true).unwrap(), full);
        assert_eq!(names(&["tidy", "fmt"], true).unwrap(), ["fmt", "tidy"]);
        assert_eq!(names(&["peers"], false).unwrap(), ["peers"]);
        assert!(names(&["tidi"], false).unwrap_err().contains("it has test, fmt"));
    }

    fn timing(name: &str, seconds: u64) -> Timing {
        Timing { name: name.to_owned(), took: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_summary_names_every_step_run_or_not_and_the_slowest_tests() {
        let second = Duration::from_secs(1);
        let timings = (1..=SLOWEST as u64 + 1).map(|n| timing(&format!("tests/{n}.rs"), n)).collect();
        let report = [
            (&STEPS[0], Outcome::Tested(timings), second),
            (&STEPS[1], Outcome::Failed("exit code 1".to_owned()), second),
            (&STEPS[2], Outcome::NotRun, Duration::ZERO),
        ];
        let text = summary(&report);
        assert!(text.contains("test    1.0      passed\n"), "{text}");
        assert!(text.contains("fmt     1.0      FAILED, exit code 1\n"), "{text}");
        assert!(text.contains("clippy  0.0      not run\n"), "{text}");
        assert!(text.ends_with("2.0 s in all"), "{text}");
        assert!(text.starts_with("slowest test binaries  seconds\ntests/11.rs            11.0\n"), "{text}");
        assert!(text.contains("tests/2.rs ") && !text.contains("tests/1.rs "), "only ten: {text}");
    }

    #[test]
    fn the_smoke_command_shown_is_the_one_that_runs() {
        let step = STEPS.iter().find(|step| step.name == "stress").unwrap();
        assert_eq!(step.command, format!("cargo xtask stress {}", checks::SMOKE.join(" ")));
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
}
