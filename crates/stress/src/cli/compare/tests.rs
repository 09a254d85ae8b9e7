//! Baselines as a user meets them: programs that really run, by exit code, output and files.
//!
//! The programs are this test binary, called by a small script that hands the arguments over.
#![cfg(unix)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::report::Report;
use crate::{Call, Context, Failure, Load, Scenario, Suite, Verdict};

/// Holds the child's arguments, one a line.
const ARGUMENTS: &str = "STRESS_TEST_ARGUMENTS";
/// How long an operation takes.
const PAUSE_MS: &str = "STRESS_TEST_PAUSE_MS";

/// Of the two programs, in ms. So far apart that no busy machine makes one look like the other.
const FAST: u32 = 30;
const SLOW: u32 = 300;

/// Waits, as a target does that is slow for other reasons than this machine.
struct Pause(Duration);

impl Scenario for Pause {
    type State = ();

    fn name(&self) -> &'static str {
        "pause"
    }
    fn description(&self) -> &'static str {
        "waits"
    }
    fn load(&self) -> Load {
        Load::users(8).lasting(Duration::from_millis(300))
    }
    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%"]
    }
    async fn set_up(&self, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
    async fn operation(&self, (): &(), _: Call) -> Result<(), Failure> {
        tokio::time::sleep(self.0).await;
        Ok(())
    }
}

/// Not a test of its own: what the children run.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let pause = std::env::var(PAUSE_MS).unwrap().parse().unwrap();
    let suites = vec![Suite::new("test", "").scenario(Pause(Duration::from_millis(pause)))];
    let arguments = std::iter::once("stress").chain(arguments.lines()).map(OsString::from).collect();
    std::process::exit(i32::from(crate::cli::run(&suites, arguments)));
}

/// Programs and reports in a directory of the test's own.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// A program whose operations take so long.
    fn program(&self, pause_ms: u32) -> PathBuf {
        let path = self.0.path().join(format!("stress-{pause_ms}"));
        let own = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nexport {PAUSE_MS}={pause_ms} {ARGUMENTS}=\"$(printf '%s\\n' \"$@\")\"\n\
             exec '{}' --exact cli::compare::tests::child --nocapture\n",
            own.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Exit code, and both outputs.
    fn run(&self, program: &Path, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(program)
            .args(arguments)
            .env("CARGO_TARGET_DIR", self.out())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Of the last run that compared itself.
    fn compared(&self) -> Report {
        let runs = fs::read_dir(self.out().join("stress"))
            .unwrap()
            .map(|run| run.unwrap().path().join("report.json"));
        let reports = runs.filter_map(|path| fs::read(path).ok());
        let mut reports = reports.map(|bytes| serde_json::from_slice::<Report>(&bytes).unwrap());
        reports
            .find(|report| report.scenarios.iter().any(|it| !it.comparison.is_empty()))
            .expect("one compared")
    }
}

/// A busy machine may leave it untold, never call it a regression.
fn is_no_regression(code: i32) -> bool {
    code == 0 || code == 3
}

#[test]
fn the_same_program_does_not_regress_and_a_slower_one_does() {
    let bench = Bench::new();
    let (equal, slower) = (bench.program(FAST), bench.program(SLOW));
    let (code, text) = bench.run(&equal, &["--save-baseline", "before"]);
    assert_eq!(code, 0, "{text}");
    assert!(bench.out().join("stress/baselines/before.json").exists());

    let (code, text) = bench.run(&equal, &["--baseline", "before", "--margin", "15%"]);
    assert!(is_no_regression(code), "{text}");
    assert!(text.contains("95 % interval") && text.contains("--baseline before --margin 15%"), "{text}");
    assert_eq!(bench.compared().scenarios.len(), 5, "five repeats unless told otherwise");

    let baseline = fs::read(bench.out().join("stress/baselines/before.json")).unwrap();
    let (code, (text, bench)) = telling(|| {
        let bench = Bench::new();
        let baselines = bench.out().join("stress/baselines");
        fs::create_dir_all(&baselines).unwrap();
        fs::write(baselines.join("before.json"), &baseline).unwrap();
        let (code, text) = bench.run(&slower, &["--baseline", "before"]);
        (code, (text, bench))
    });
    assert!(code == 1 || code == 3, "{text}");
    let report = bench.compared();
    let last = report.scenarios.last().unwrap();
    let p50 = last.comparison.iter().find(|it| it.figure == "p50").unwrap();
    assert!(p50.ratio > 1.5, "{p50:?}");
    if code == 1 {
        assert!(text.contains("regressed") && last.verdict == Verdict::Fail, "{text}");
        assert!(
            last.reasons.iter().any(|reason| reason.contains("times the baseline's")),
            "{:?}",
            last.reasons
        );
    }

    // The baseline and the run that was compared with it can be compared again.
    let (again, text) = bench.run(&slower, &["compare", "before", &run_of(&bench, &report)]);
    assert_eq!(again, code, "{text}");
}

/// The first run that says something, of three: one in which the machine stood still may leave it untold that something became slower.
fn telling<T>(mut run: impl FnMut() -> (i32, T)) -> (i32, T) {
    let mut told = run();
    for _ in 1..3 {
        if told.0 != 0 {
            break;
        }
        told = run();
    }
    told
}

/// The directory of a run.
fn run_of(bench: &Bench, report: &Report) -> String {
    bench.out().join("stress").join(&report.run).to_str().unwrap().to_owned()
}

#[test]
fn two_programs_run_in_turns() {
    let bench = Bench::new();
    let (old, new) = (bench.program(FAST), bench.program(SLOW));
    let paths = [old.to_str().unwrap(), new.to_str().unwrap()];
    let arguments =
        ["compare", "--interleave", paths[0], paths[1], "--rounds", "3", "--", "--scenario", "pause"];
    let (code, text) = telling(|| bench.run(&old, &arguments));
    assert!(code == 1 || code == 3, "{text}");
    let turns: Vec<&str> = text.lines().filter(|line| line.starts_with("round ")).collect();
    let order: Vec<bool> = turns.iter().map(|turn| turn.ends_with(paths[0])).collect();
    assert_eq!(order, [true, false, false, true, true, false], "A B B A A B");
    let p50 = text.lines().find_map(|line| {
        let mut words = line.split(' ').skip_while(|word| *word != "p50").skip(1);
        words.find_map(|word| word.parse::<f64>().ok())
    });
    // A figure that is missing is told, and makes it INVALID.
    assert!(p50.map_or(code == 3, |ratio| ratio > 1.5), "{text}");
}

/// What a crash at the end, or a wrapper's own check, has to say is not to be lost.
#[test]
fn a_program_whose_exit_code_contradicts_its_report_is_not_compared() {
    let bench = Bench::new();
    let honest = bench.program(FAST);
    let liar = bench.0.path().join("liar");
    fs::write(&liar, format!("#!/bin/sh\n'{}' \"$@\"\nexit 7\n", honest.display())).unwrap();
    fs::set_permissions(&liar, fs::Permissions::from_mode(0o755)).unwrap();
    let paths = [honest.to_str().unwrap(), liar.to_str().unwrap()];
    let (code, text) = bench.run(&honest, &["compare", "--interleave", paths[0], paths[1], "--rounds", "3"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("exit status: 7, though its report says PASS"), "{text}");
}

/// How well it tells on this machine: prints both tables. What it finds depends on how busy that is.
#[test]
#[ignore = "a measurement, for docs/benchmarks.md"]
fn a_tenth_slower_beside_equal_programs() {
    for slower in [FAST, FAST + FAST / 10] {
        let bench = Bench::new();
        let paths =
            [bench.program(FAST), bench.program(slower)].map(|path| path.to_str().unwrap().to_owned());
        let (code, text) =
            bench.run(Path::new(&paths[0]), &["compare", "--interleave", &paths[0], &paths[1]]);
        println!("{FAST} ms and {slower} ms, exit code {code}\n{text}");
        assert!(slower > FAST || is_no_regression(code), "{text}");
    }
}

#[test]
fn what_cannot_be_compared_is_a_usage_error() {
    let bench = Bench::new();
    let program = bench.program(1);
    let file = bench.0.path().join("broken.json");
    fs::write(&file, "{").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, expected) in [
        (&["--baseline", "none"][..], "cannot read"),
        (&["--baseline", "../up"], "a name is letters"),
        (&["--save-baseline", "a/b"], "a name is letters"),
        (&["--margin", "5%"], "--baseline"),
        (&["compare", file, file], "is no report"),
        (&["compare", "nowhere", file], "cannot read nowhere"),
        (&["compare", file], "2 values required"),
        (&["compare"], "required"),
        (&["compare", "--baseline", file], "--candidate"),
        (&["compare", file, file, "--margin", "lots"], "no margin such as 5%"),
        (&["compare", "--interleave", "/nowhere/a", "/nowhere/b"], "cannot run /nowhere/a"),
    ] {
        let (code, text) = bench.run(&program, arguments);
        assert_eq!(code, 2, "{arguments:?}\n{text}");
        assert!(text.contains(expected), "{arguments:?}\n{text}");
    }
}
