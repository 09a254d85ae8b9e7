//! One trial: a bug is planted in the copy, the copy is built, and the test that should notice is watched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::bug::{Bug, Detection, Detector};
use super::copy;
use crate::ci::FULL;
use crate::loom;
use crate::process::{Ended, run_logged};
use crate::stress;
use crate::test_output::TestOutput;
use crate::workspace::Workspace;

/// How many of a log's last lines are shown when something is wrong.
const SHOWN_LINES: usize = 15;

/// Where trials are made.
pub(super) struct Bench {
    /// The tree as it was at the beginning: who goes on editing the original doesn't disturb a run.
    clean: PathBuf,
    /// The files of the tree.
    files: Vec<String>,
    /// A second copy, where bugs are planted.
    copy: Workspace,
    logs: PathBuf,
    limit: Duration,
}

/// What became of a planted bug.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By this test.
    Caught(String),
    /// The bug was there and nothing noticed it as it should.
    Missed(String),
    /// The bug could not be planted: the patch is stale.
    NotPlanted(String),
}

/// What running the test showed.
enum Observed {
    Passed {
        tests: usize,
    },
    Failed(String),
    TimedOut,
    /// It ended neither well nor by a test that failed.
    Odd(String),
}

impl Verdict {
    pub(super) fn is_caught(&self) -> bool {
        matches!(self, Self::Caught(_))
    }

    pub(super) fn mark(&self) -> &'static str {
        if self.is_caught() { "✓" } else { "✗" }
    }

    pub(super) fn tell(&self) -> String {
        match self {
            Self::Caught(by) => by.clone(),
            Self::Missed(why) => format!("MISSED: {why}"),
            Self::NotPlanted(why) => format!("NOT PLANTED: {why}"),
        }
    }
}

impl Bench {
    /// Copies the tree; `place` holds the copy and what is built from it.
    pub(super) fn new(
        original: &Workspace,
        place: &Path,
        logs: PathBuf,
        limit: Duration,
    ) -> Result<Self, String> {
        let (clean, tree) = (place.join("clean"), place.join("tree"));
        let files = original.files()?;
        copy::sync(&original.root, &files, &clean)?;
        copy::sync(&clean, &files, &tree)?;
        // Git compares the ceiling with the real path.
        let tree = tree.canonicalize().map_err(|error| format!("cannot find {}: {error}", tree.display()))?;
        let copy = Workspace::at(tree, place.join("target"));
        Ok(Self { clean, files, copy, logs, limit })
    }

    /// On the clean copy the test must run and pass, `times` times.
    pub(super) fn control(&self, detection: &Detection, times: usize) -> Result<(), String> {
        let executable = self.build(detection, "control")?;
        for _ in 0..times {
            match self.observe(detection, executable.as_deref(), "control")? {
                Observed::Passed { tests: 0 } => return Err("no test ran: is its name right?".to_owned()),
                Observed::Passed { .. } => {}
                Observed::Failed(test) => {
                    return Err(format!("{test} failed{}", self.end_of_logs("control")));
                }
                Observed::TimedOut => return Err(self.time_is_up()),
                Observed::Odd(what) => return Err(format!("{what}{}", self.end_of_logs("control"))),
            }
        }
        Ok(())
    }

    /// Plants `bug`, judges it and takes it back; also tells how long the test ran.
    pub(super) fn judge(&self, bug: &Bug) -> Result<(Verdict, Duration), String> {
        let judged = self.judge_planted(bug);
        self.restore()?;
        judged
    }

    fn judge_planted(&self, bug: &Bug) -> Result<(Verdict, Duration), String> {
        if let Err(why) = copy::apply(&bug.patch, &self.copy.root, &bug.changes) {
            return Ok((Verdict::NotPlanted(why), Duration::ZERO));
        }
        let executable = match self.build(&bug.detection, &bug.name) {
            Ok(executable) => executable,
            Err(why) => return Ok((Verdict::NotPlanted(why), Duration::ZERO)),
        };
        let started = Instant::now();
        let mut verdict = Verdict::Missed("never run".to_owned());
        for _ in 0..bug.times {
            verdict = self.verdict(bug, self.observe(&bug.detection, executable.as_deref(), &bug.name)?);
            if verdict.is_caught() {
                break;
            }
        }
        Ok((verdict, started.elapsed()))
    }

    fn verdict(&self, bug: &Bug, observed: Observed) -> Verdict {
        match observed {
            Observed::Failed(test) => match &bug.says {
                Some(says) if !self.log_says(&bug.name, says) => {
                    Verdict::Missed(format!("{test} failed, but doesn't say `{says}`"))
                }
                _ => Verdict::Caught(test),
            },
            Observed::TimedOut if bug.hang_is_caught => Verdict::Caught(self.time_is_up()),
            Observed::TimedOut => {
                Verdict::Missed(format!("{}; say `# hang: caught` if that is how", self.time_is_up()))
            }
            Observed::Passed { tests: 0 } => Verdict::Missed("no test ran".to_owned()),
            Observed::Passed { .. } => Verdict::Missed(format!("`{}` passed", bug.detection.describe())),
            Observed::Odd(what) => Verdict::Missed(format!("{what}{}", self.end_of_logs(&bug.name))),
        }
    }

    /// Takes back what was planted, and what the tests left behind: a recorded failure would help the next bug's test.
    fn restore(&self) -> Result<(), String> {
        copy::sync(&self.clean, &self.files, &self.copy.root)
    }

    /// Builds what the detection runs; for stress it tells the binary.
    fn build(&self, detection: &Detection, log: &str) -> Result<Option<PathBuf>, String> {
        let (mut command, is_stress) = match &detection.by {
            Detector::Test(arguments) => (self.test_command(detection, &["--no-run"], arguments)?, false),
            Detector::Stress(_) => (stress::build_command(&self.copy), true),
        };
        let (stdout, stderr) = self.log_paths(log);
        if run_logged(quiet(&mut command), &stdout, &stderr, None)? != Ended::Code(0) {
            return Err(format!("it doesn't compile{}", self.end_of_logs(log)));
        }
        if is_stress { stress::executable_in(&read_log(&stdout)?).map(Some) } else { Ok(None) }
    }

    fn observe(
        &self,
        detection: &Detection,
        executable: Option<&Path>,
        log: &str,
    ) -> Result<Observed, String> {
        let (stdout, stderr) = self.log_paths(log);
        let mut command = match (&detection.by, executable) {
            (Detector::Test(arguments), _) => self.test_command(detection, &[], arguments)?,
            (Detector::Stress(arguments), Some(executable)) => {
                let mut command = stress::command(executable, arguments);
                command.current_dir(&self.copy.root);
                command
            }
            (Detector::Stress(_), None) => return Err("the stress binary was not built".to_owned()),
        };
        let Ended::Code(code) = run_logged(quiet(&mut command), &stdout, &stderr, Some(self.limit))? else {
            return Ok(Observed::TimedOut);
        };
        Ok(match &detection.by {
            Detector::Test(_) => observed_tests(code, &TestOutput::parse(&read_log(&stdout)?)),
            Detector::Stress(_) => observed_stress(code, detection),
        })
    }

    fn test_command(
        &self,
        detection: &Detection,
        options: &[&str],
        arguments: &[String],
    ) -> Result<Command, String> {
        let mut cargo = self.copy.cargo();
        if detection.loom {
            loom::set_cfg(&mut cargo)?;
        }
        cargo.arg("test").args(options);
        if detection.release {
            cargo.arg("--release");
        }
        // At full size: chance finds more, and some tests run at no other.
        cargo.args(arguments).env(FULL.0, FULL.1);
        Ok(cargo)
    }

    fn log_says(&self, name: &str, says: &str) -> bool {
        let (stdout, stderr) = self.log_paths(name);
        [stdout, stderr].iter().any(|path| read_log(path).is_ok_and(|log| log.contains(says)))
    }

    fn log_paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.logs.join(format!("{name}.out")), self.logs.join(format!("{name}.err")))
    }

    /// The last lines of both logs, to be put behind a complaint.
    fn end_of_logs(&self, name: &str) -> String {
        let (stdout, stderr) = self.log_paths(name);
        let mut text = String::new();
        for path in [stdout, stderr] {
            let log = read_log(&path).unwrap_or_default();
            // A build's messages to us are no text for people.
            let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('{')).collect();
            for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
                text.push_str("\n      | ");
                text.push_str(line);
            }
        }
        text
    }

    fn time_is_up(&self) -> String {
        format!("no end within {} s", self.limit.as_secs_f64())
    }
}

fn observed_tests(code: u8, output: &TestOutput) -> Observed {
    match (code, output.failed.as_slice()) {
        (0, _) => Observed::Passed { tests: output.ran },
        (_, []) => Observed::Odd(format!("exit code {code} without a test that failed")),
        (_, [one]) => Observed::Failed(one.clone()),
        (_, [first, more @ ..]) => Observed::Failed(format!("{first} and {} more", more.len())),
    }
}

fn observed_stress(code: u8, detection: &Detection) -> Observed {
    match code {
        0 => Observed::Passed { tests: 1 },
        1 => Observed::Failed(detection.describe()),
        3 => Observed::Odd("stress was INVALID: the machine was too busy to tell".to_owned()),
        code => Observed::Odd(format!("stress ended with exit code {code}, which is no verdict")),
    }
}

fn read_log(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Output is read, not looked at: no colours. And the same crate is built again and again with a few lines changed.
fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> Bench {
        let workspace = Workspace::at("nowhere".into(), "nowhere".into());
        let (clean, logs) = (workspace.root.clone(), workspace.root.clone());
        let limit = Duration::from_secs(9);
        Bench { clean, files: Vec::new(), copy: workspace, logs, limit }
    }

    fn bug(hang_is_caught: bool) -> Bug {
        let by = Detector::Test(vec!["torn".to_owned()]);
        let detection = Detection { by, release: false, loom: false };
        let (name, what, patch) = ("a".to_owned(), "b".to_owned(), "a.patch".into());
        Bug { name, what, detection, times: 1, hang_is_caught, says: None, patch, changes: Vec::new() }
    }

    #[test]
    fn a_hang_counts_only_where_the_header_says_so() {
        assert!(bench().verdict(&bug(true), Observed::TimedOut).is_caught());
        assert!(!bench().verdict(&bug(false), Observed::TimedOut).is_caught());
    }

    #[test]
    fn only_a_test_that_failed_catches() {
        assert_eq!(
            bench().verdict(&bug(false), Observed::Failed("torn".into())),
            Verdict::Caught("torn".into())
        );
        for observed in
            [Observed::Passed { tests: 0 }, Observed::Passed { tests: 1 }, Observed::Odd("x".into())]
        {
            assert!(!bench().verdict(&bug(true), observed).is_caught());
        }
    }

    #[test]
    fn what_an_exit_code_means() {
        let failed = TestOutput { ran: 2, failed: vec!["a".into(), "b".into()] };
        assert!(matches!(observed_tests(101, &failed), Observed::Failed(names) if names == "a and 1 more"));
        assert!(matches!(observed_tests(101, &TestOutput::default()), Observed::Odd(_)));
        let detection = bug(false).detection;
        assert!(matches!(observed_stress(1, &detection), Observed::Failed(_)));
        assert!(matches!(observed_stress(3, &detection), Observed::Odd(_)));
        assert!(matches!(observed_stress(2, &detection), Observed::Odd(_)));
    }
}
