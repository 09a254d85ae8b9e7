//! The command line as a user meets it: in child processes, by exit code and report.
//!
//! The child is this test binary, told by an environment variable to be the program; so no binary has to be published
//! for the tests' sake.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::report::Report;
use crate::{Call, Checks, Context, Failure, Load, Scenario, Tally, Verdict};

/// Holds the child's arguments, one a line.
const ARGUMENTS: &str = "STRESS_TEST_ARGUMENTS";
/// Where a child's endless scenario tells that its load runs, and that it was torn down.
const MARKS: &str = "STRESS_TEST_MARKS";

/// Does what its name says.
struct Fixed {
    name: &'static str,
    objectives: &'static [&'static str],
    endless: bool,
    invariant_holds: bool,
    /// Blocks every thread of the runtime, which no stop can end.
    blocks: bool,
}

impl Scenario for Fixed {
    type State = ();

    fn name(&self) -> &str {
        self.name
    }
    fn description(&self) -> &'static str {
        "has a fixed outcome"
    }
    fn load(&self) -> Load {
        Load::users(4).each(5)
    }
    fn objectives(&self) -> Vec<&str> {
        self.objectives.to_vec()
    }
    async fn set_up(&self, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
    async fn operation(&self, (): &(), _: Call) -> Result<(), Failure> {
        if self.endless {
            mark("running");
            if self.blocks {
                std::thread::sleep(Duration::from_secs(600));
            }
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    async fn check(&self, (): &(), tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.holds("holds", self.invariant_holds, tally.interrupted);
        Ok(())
    }
    async fn tear_down(&self, (): ()) -> Result<(), Failure> {
        mark("torn_down");
        Ok(())
    }
}

fn mark(what: &str) {
    if let Some(directory) = std::env::var_os(MARKS) {
        fs::write(Path::new(&directory).join(what), "").unwrap();
    }
}

fn suites() -> Vec<Suite> {
    let fixed = |name, objectives, endless, invariant_holds| Fixed {
        name,
        objectives,
        endless,
        invariant_holds,
        blocks: false,
    };
    vec![
        Suite::new("fixed", "known outcomes")
            .scenario(fixed("passes", &["success >= 100%"], false, true))
            .scenario(fixed("fails", &["success < 50%"], false, true))
            .scenario(fixed("invalid", &["p99.9 < 1min"], false, true))
            .scenario(fixed("breaks", &[], false, false)),
        Suite::new("endless", "ends by interrupt only")
            .scenario(fixed("waits", &["success >= 100%"], true, true))
            .scenario(fixed("waits_and_breaks", &[], true, false))
            .scenario(Fixed { blocks: true, ..fixed("blocks", &[], true, true) }),
        Suite::new("other", "the same name again").scenario(fixed("passes", &[], false, true)),
    ]
}

/// Not a test of its own: what the children run.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let suites = if arguments.contains("misdescribed") {
        let load = Fixed {
            name: "bad",
            objectives: &["latency < 1s"],
            endless: false,
            invariant_holds: true,
            blocks: false,
        };
        vec![Suite::new("misdescribed", "").scenario(load)]
    } else {
        suites()
    };
    let arguments = std::iter::once("stress").chain(arguments.lines()).map(OsString::from).collect();
    std::process::exit(i32::from(run(&suites, arguments)));
}

fn stress(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "cli::tests::child", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .env("STEADFAST_STRESS_PROGRAM", "cargo xtask stress")
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn output(arguments: &[&str]) -> (i32, String, String) {
    let output = stress(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn report_in(out: &Path) -> Report {
    let run = fs::read_dir(out).unwrap().next().expect("a run's directory").unwrap().path();
    let report: Report = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    let files: BTreeSet<String> = fs::read_dir(&run)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().expect("a name of ours"))
        .collect();
    let logs = report.scenarios.iter().map(|it| format!("{}-{}.hlog", it.name, it.repetition));
    let expected = ["report.json", "report.html", "junit.xml"].map(str::to_owned).into_iter().chain(logs);
    assert_eq!(files, expected.collect(), "neither a temporary file nor scratch is left");
    report
}

#[test]
fn the_exit_code_is_the_worst_verdict() {
    for (names, code, verdict) in [
        (&["fixed.passes"][..], 0, Verdict::Pass),
        (&["fixed.fails"], 1, Verdict::Fail),
        (&["fixed.breaks"], 1, Verdict::Fail),
        (&["fixed.invalid"], 3, Verdict::Invalid),
        (&["fixed.passes", "invalid"], 3, Verdict::Invalid),
        (&["invalid", "fails", "fixed.passes"], 1, Verdict::Fail),
    ] {
        let out = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--seed", "7", "--out", out.path().to_str().unwrap()];
        arguments.extend(names.iter().flat_map(|name| ["--scenario", name]));
        let (found, stdout, stderr) = output(&arguments);
        assert_eq!(found, code, "{names:?}\n{stdout}\n{stderr}");
        let report = report_in(out.path());
        assert_eq!((report.verdict, report.complete, report.scenarios.len()), (verdict, true, names.len()));
        assert!(stdout.contains(&verdict.to_string()));
        assert!(!stdout.contains('\u{1b}'), "no colours without a terminal");
        // Commands and paths are one line each, so that they can be copied.
        let broken = stdout.lines().filter(|line| !line.starts_with("rep"));
        assert!(broken.into_iter().all(|line| line.chars().count() <= 110), "{stdout}");
    }
}

#[test]
fn the_report_begins_with_the_command_that_repeats_it() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_str().unwrap();
    let (_, stdout, _) = output(&["standard", "--scenario", "fixed.passes", "--seed", "9", "--out", path]);
    let repeat = format!("cargo xtask stress standard --scenario fixed.passes --seed 9 --out {path}");
    assert_eq!(stdout.trim_end().lines().last(), Some(&*format!("repeat  {repeat}")));
    let run = fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(run.join("report.json")).unwrap();
    assert!(text.starts_with(&format!("{{\n  \"repeat\": \"{repeat}\"")), "{}", &text[..200]);
    assert_eq!(report_in(out.path()).repeat, repeat);
}

#[test]
fn repetitions_count_the_seed_up() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_str().unwrap();
    let (code, ..) = output(&["--suite", "other", "--repeat", "3", "--seed", "5", "--out", path]);
    assert_eq!(code, 0);
    let seeds: Vec<u64> = report_in(out.path()).scenarios.iter().map(|scenario| scenario.seed).collect();
    assert_eq!(seeds, [5, 6, 7]);
}

#[test]
fn a_scenario_that_is_invalid_runs_once_more_if_asked() {
    let out = tempfile::tempdir().unwrap();
    let names = ["--scenario", "invalid", "--scenario", "fixed.passes"];
    let more = ["--repeat-invalid", "--seed", "7", "--out", out.path().to_str().unwrap()];
    let (code, stdout, _) = output(&[&names[..], &more].concat());
    assert_eq!(code, 3);
    assert!(stdout.contains("\ntimes not judged in 1 of 2 scenarios; on a quiet machine in "), "{stdout}");
    let report = report_in(out.path());
    assert!(report.repeat.contains(" --repeat-invalid"), "{}", report.repeat);
    let [passed, invalid] = &report.scenarios[..] else { panic!("{:?}", report.scenarios) };
    let first_run = |scenario: &crate::report::ScenarioReport| {
        scenario.notes.iter().find(|(key, _)| key == "first run").map(|(_, note)| note.clone())
    };
    assert_eq!(first_run(passed), None);
    let note = first_run(invalid).expect("it ran twice");
    assert!(note.starts_with("INVALID: p99.9 < 1min: needs 1000 samples, had 20"), "{note}");
}

/// The machine may be busy here, so the report says what the exit code must be.
#[test]
fn too_many_invalid_scenarios_on_a_quiet_machine_are_a_failure() {
    for (share, allowed) in [("0%", false), ("100%", true)] {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().to_str().unwrap();
        let (code, _, stderr) = output(&["--scenario", "invalid", "--invalid-max", share, "--out", path]);
        let processors = report_in(out.path()).scenarios[0].processors;
        let is_quiet = processors.is_some_and(|it| it.others + it.stolen < 0.02);
        assert_eq!(code, if is_quiet && !allowed { 1 } else { 3 }, "{stderr}");
        assert_eq!(stderr.contains("--invalid-max allows 0%"), code == 1, "{stderr}");
    }
}

#[test]
fn a_wrong_name_is_a_usage_error_that_tells_the_near_ones() {
    let (code, _, stderr) = output(&["--scenario", "fixed.pases"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no scenario `fixed.pases`; near it are fixed.passes"), "{stderr}");
    let (code, _, stderr) = output(&["--suite", "fxied"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no suite `fxied`; near it are fixed"), "{stderr}");
    assert_eq!(output(&["--scenario", "passes", "--suite", "endless"]).0, 2);
    assert_eq!(output(&["--no-such-option"]).0, 2);
}

#[test]
fn a_scenario_that_is_described_wrongly_is_a_usage_error() {
    let (code, _, stderr) = output(&["--suite", "misdescribed"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("misdescribed.bad: objective `latency < 1s`, column 1: expected a metric"),
        "{stderr}"
    );
}

#[test]
fn the_list_is_for_people_and_for_programs() {
    let (code, stdout, _) = output(&["--list"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("fixed: known outcomes\n  fixed.passes              has a fixed outcome\n"),
        "{stdout}"
    );
    let (code, stdout, _) = output(&["--list", "--json", "--suite", "fixed"]);
    assert_eq!(code, 0);
    let json = &stdout[stdout.find("{\n").unwrap()..];
    let list: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(list["suites"].as_array().unwrap().len(), 1);
    let scenario = &list["suites"][0]["scenarios"][0];
    assert_eq!(scenario["name"], "fixed.passes");
    assert_eq!(scenario["tiers"]["standard"]["load"]["operations_planned"], 20);
    assert_eq!(scenario["tiers"]["smoke"]["objectives"][0], "success >= 100%");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, _, stderr) = output(&["--scenario", "fixed.passes", "--out", file.path().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot make a directory for the report in"), "{stderr}");
}

#[cfg(unix)]
fn send(signal: &str, child: &std::process::Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[cfg(unix)]
fn wait_for(file: &Path) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !file.exists() {
        assert!(Instant::now() < patience, "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The load would go on for 30 s and more; the interrupt ends it, and the rest still happens.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_load_tears_down_and_reports() {
    for (signal, name, code, verdict) in [
        ("-INT", "endless.waits", 3, Verdict::Invalid),
        ("-HUP", "endless.waits", 3, Verdict::Invalid),
        ("-INT", "waits_and_breaks", 1, Verdict::Fail),
    ] {
        let (out, marks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let arguments =
            ["--scenario", name, "--scenario", "other.passes", "--out", out.path().to_str().unwrap()];
        let mut child = stress(&arguments).env(MARKS, marks.path()).stdout(Stdio::null()).spawn().unwrap();
        wait_for(&marks.path().join("running"));
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(marks.path().join("torn_down").exists());
        let report = report_in(out.path());
        assert!(report.interrupted);
        assert_eq!(report.scenarios[0].verdict, verdict);
        assert!(report.scenarios[0].reasons.contains(&"interrupted".to_owned()));
        let operations = &report.scenarios[0].operations;
        assert_eq!((operations.cancelled, operations.timed_out), (operations.issued, 0));
        assert_eq!(report.not_run, ["other.passes"]);
    }
}

/// An operation that blocks its thread can't be stopped; a second interrupt ends the process all the same.
#[cfg(unix)]
#[test]
fn a_second_interrupt_leaves_at_once_even_if_the_runtime_is_blocked() {
    use std::io::{BufRead, BufReader};

    let (out, marks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = ["--scenario", "endless.blocks", "--out", out.path().to_str().unwrap()];
    let mut command = stress(&arguments);
    let mut child =
        command.env(MARKS, marks.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&marks.path().join("running"));
    send("-INT", &child);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("stopping:")), "the first one was heard");
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Nobody gets to say anything any more, so what was written before has to be right.
#[cfg(unix)]
#[test]
fn a_run_that_is_killed_leaves_no_green_report_and_its_scratch_to_the_next() {
    let (out, marks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = out.path().to_str().unwrap();
    let names = ["--scenario", "fixed.passes", "--scenario", "endless.waits", "--scenario", "other.passes"];
    let mut command = stress(&[&names[..], &["--out", path]].concat());
    let mut child = command.env(MARKS, marks.path()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&marks.path().join("running"));
    child.kill().unwrap();
    child.wait().unwrap();

    let run = fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    let report: Report = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((report.verdict, report.complete), (Verdict::Invalid, false));
    assert_eq!(
        (report.scenarios.len(), &report.not_run[..]),
        (1, &["endless.waits".into(), "other.passes".into()][..])
    );
    assert_eq!(read("junit.xml").matches("<error").count(), 2);
    assert!(read("report.html").contains("still going on when this was written: 2 not run"));

    assert!(run.join("scratch").exists());
    assert_eq!(output(&["--scenario", "fixed.passes", "--out", path]).0, 0);
    assert!(!run.join("scratch").exists() && run.join("report.json").exists());
}
