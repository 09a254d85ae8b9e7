//! `cargo xtask test --repeat <n>`: finds flaky tests by running each quick test binary many times.
//!
//! The first half of the runs has the machine to itself, two binaries at a time on two processors.
//! The second half runs beside one busy loop a processor: a test that leans on the scheduler fails
//! there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::process::{self, Ended, run_logged};
use crate::side_by_side;
use crate::table;
use crate::test_binaries::{self, TestBinary};
use crate::test_output::TestOutput;
use crate::workspace::Workspace;

/// A binary that takes longer than this alone is left out, unless `--seconds-max` says otherwise.
const SECONDS_MAX: f64 = 5.0;
/// A run that takes so many times the longest that is allowed has hung.
const HUNG: f64 = 24.0;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    times: usize,
    seconds_max: f64,
    /// For `cargo test`: which binaries are built.
    options: Vec<String>,
    /// For the binaries: which tests run.
    filters: Vec<String>,
}

/// What the runs of one binary have shown.
#[derive(Debug, Default)]
struct Tally {
    seconds: Vec<f64>,
    /// The largest number of tests in a run.
    tests: usize,
    failures: Vec<RunFailure>,
    too_slow: bool,
}

#[derive(Debug)]
struct RunFailure {
    what: String,
    output: PathBuf,
}

/// One binary and what is known of it.
struct Candidate {
    binary: TestBinary,
    tally: Mutex<Tally>,
}

/// Reads the arguments behind `test` if they ask for repetitions.
pub(crate) fn parse(arguments: &[String]) -> Result<Option<Request>, String> {
    if arguments.first().is_none_or(|first| first != "--repeat") {
        return Ok(None);
    }
    let mut rest = &arguments[1..];
    let times = take_number(&mut rest).filter(|&times: &usize| times > 0);
    let times = times.ok_or("--repeat needs a whole number from 1")?;
    let mut seconds_max = SECONDS_MAX;
    if rest.first().is_some_and(|next| next == "--seconds-max") {
        rest = &rest[1..];
        seconds_max = take_number(&mut rest)
            .filter(|&seconds: &f64| seconds.is_finite() && seconds > 0.0)
            .ok_or("--seconds-max needs a number above 0")?;
    }
    let (options, filters) = match rest.first() {
        Some(first) if first.starts_with('-') => {
            let end = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
            (&rest[..end], rest.get(end + 1..).unwrap_or_default())
        }
        _ => (&rest[..0], rest),
    };
    Ok(Some(Request { times, seconds_max, options: options.to_vec(), filters: filters.to_vec() }))
}

fn take_number<T: std::str::FromStr>(rest: &mut &[String]) -> Option<T> {
    let (first, more) = rest.split_first()?;
    *rest = more;
    first.parse().ok()
}

/// Runs every binary as often as asked; fails if one run failed, or if there was no test.
pub(crate) fn run(workspace: &Workspace, request: &Request) -> Result<(), Failure> {
    let binaries = test_binaries::build(workspace, &request.options)?;
    let candidates: Vec<Candidate> =
        binaries.into_iter().map(|binary| Candidate { binary, tally: Mutex::default() }).collect();
    let logs = workspace.target().join("repeat");
    let processors = side_by_side::width();
    let busy = request.times / 2;
    let calm = request.times - busy;

    process::announce(&format!("{calm} runs of each of {} binaries", candidates.len()));
    side_by_side::for_each(&candidates, |candidate| candidate.run(request, calm, &logs));
    if busy > 0 {
        process::announce(&format!("{busy} runs of each beside {processors} busy loops"));
        let _loops = BusyLoops::start(processors);
        side_by_side::for_each(&candidates, |candidate| candidate.run(request, busy, &logs));
    }

    let results: Vec<(String, Tally)> = candidates
        .into_iter()
        .map(|candidate| {
            (candidate.binary.name, candidate.tally.into_inner().unwrap_or_else(PoisonError::into_inner))
        })
        .collect();
    println!("\n{}", report(&results, request.seconds_max));
    judge(&results)
}

/// Fails if a run failed, or if nothing was tested.
fn judge(results: &[(String, Tally)]) -> Result<(), Failure> {
    let failed: usize = results.iter().map(|(_, tally)| tally.failures.len()).sum();
    if failed > 0 {
        return Err(Failure::Failed(format!("{failed} runs failed")));
    }
    if results.iter().all(|(_, tally)| tally.tests == 0) {
        return Err(Failure::Failed("no test ran: is the filter right?".to_owned()));
    }
    Ok(())
}

impl Candidate {
    fn run(&self, request: &Request, times: usize, logs: &Path) {
        let mut tally = self.tally.lock().expect("no run panics");
        for _ in 0..times {
            let is_first = tally.seconds.is_empty();
            if tally.too_slow || (!is_first && tally.tests == 0) {
                return;
            }
            let output =
                logs.join(self.binary.name.replace('/', "-")).join(format!("{}.txt", tally.seconds.len()));
            let started = Instant::now();
            let limit = Duration::from_secs_f64(request.seconds_max * HUNG);
            let judged = run_once(&self.binary, &request.filters, limit, &output);
            let seconds = started.elapsed().as_secs_f64();
            tally.seconds.push(seconds);
            match judged {
                Ok(tests) => tally.tests = tests.max(tally.tests),
                Err(what) => {
                    println!("    ✗ {}: {what}; {}", self.binary.name, output.display());
                    tally.failures.push(RunFailure { what, output });
                }
            }
            tally.too_slow = is_first && seconds > request.seconds_max;
        }
    }
}

/// Runs the binary once and returns how many tests ran; keeps its output at `output` only if it
/// failed.
fn run_once(
    binary: &TestBinary,
    filters: &[String],
    limit: Duration,
    output: &Path,
) -> Result<usize, String> {
    let fault = |error: std::io::Error| format!("cannot write {}: {error}", output.display());
    std::fs::create_dir_all(output.parent().unwrap_or(Path::new("."))).map_err(fault)?;
    let errors = output.with_extension("err");
    let mut command = binary.command();
    command.args(filters).env("RUST_BACKTRACE", "1");
    let ended = run_logged(&mut command, output, &errors, Some(limit))?;

    let mut text = String::from_utf8_lossy(&std::fs::read(output).map_err(fault)?).into_owned();
    let tests = TestOutput::parse(&text);
    let result = match ended {
        Ended::Code(0) => Ok(tests.ran),
        Ended::Code(code) if tests.failed.is_empty() => Err(format!("exit code {code}")),
        Ended::Code(_) => Err(tests.failed.join(", ")),
        Ended::TimedOut => Err(format!("no end within {} s", limit.as_secs_f64())),
    };
    if result.is_ok() {
        std::fs::remove_file(output).map_err(fault)?;
    } else {
        text.push_str(&String::from_utf8_lossy(&std::fs::read(&errors).map_err(fault)?));
        std::fs::write(output, text).map_err(fault)?;
    }
    std::fs::remove_file(&errors).map_err(fault)?;
    result
}

/// Threads that do nothing but take time from the tests; ended and joined when dropped.
struct BusyLoops {
    threads: Vec<JoinHandle<()>>,
}

/// Whether the busy loops are to end. Relaxed: nothing else depends on it.
static LOOPS_END: AtomicBool = AtomicBool::new(false);

impl BusyLoops {
    fn start(count: usize) -> Self {
        LOOPS_END.store(false, Ordering::Relaxed);
        let spin = || {
            while !LOOPS_END.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        Self { threads: (0..count).map(|_| std::thread::spawn(spin)).collect() }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        LOOPS_END.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It only spins: there is no panic to pass on.
            let _ = thread.join();
        }
    }
}

fn report(results: &[(String, Tally)], seconds_max: f64) -> String {
    let mut rows = Vec::new();
    let mut notes = String::new();
    for (name, tally) in results {
        for failure in &tally.failures {
            notes.push_str(&format!("✗ {name}: {}\n  {}\n", failure.what, failure.output.display()));
        }
        let mut seconds = tally.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        let (Some(min), Some(max)) = (seconds.first(), seconds.last()) else { continue };
        if tally.too_slow {
            notes.push_str(&format!(
                "not repeated: {name} took {min:.1} s, and {seconds_max} s are allowed\n"
            ));
        } else if tally.tests > 0 || !tally.failures.is_empty() {
            let figures = [*min, seconds[seconds.len() / 2], *max].map(|seconds| format!("{seconds:.2}"));
            let [min, median, max] = figures;
            let (runs, failures) = (seconds.len().to_string(), tally.failures.len().to_string());
            rows.push([name.clone(), runs, failures, min, median, max]);
        }
    }
    let head = ["test binary", "runs", "failures", "seconds: min", "median", "max"];
    format!("{}{notes}", table::render(head, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_filters_and_the_limit_are_told_apart() {
        let request = |line: &str| parse(&words(line)).unwrap().unwrap();
        assert_eq!(parse(&words("torn crash")).unwrap(), None);
        let plain =
            Request { times: 9, seconds_max: SECONDS_MAX, options: Vec::new(), filters: words("torn crash") };
        assert_eq!(request("--repeat 9 torn crash"), plain);
        let full =
            Request { times: 9, seconds_max: 0.5, options: words("-p a --test it"), filters: words("torn") };
        assert_eq!(request("--repeat 9 --seconds-max 0.5 -p a --test it -- torn"), full);
        assert!(request("--repeat 9 -p a").filters.is_empty());
        for bad in ["--repeat", "--repeat 0", "--repeat x", "--repeat 1 --seconds-max 0"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }

    fn tally(seconds: &[f64], tests: usize, failures: &[&str]) -> Tally {
        let failure = |what: &&str| RunFailure {
            what: (*what).to_owned(),
            output: PathBuf::from("target/repeat/x/1.txt"),
        };
        let failures = failures.iter().map(failure).collect();
        Tally { seconds: seconds.to_vec(), tests, failures, too_slow: false }
    }

    #[test]
    fn the_report_has_a_line_for_each_binary_and_the_output_of_each_failure() {
        let slow = Tally { too_slow: true, ..tally(&[7.0], 1, &[]) };
        let results = [
            ("crates/a/tests/it.rs".to_owned(), tally(&[0.3, 0.1, 0.2], 4, &["torn"])),
            ("crates/a/src/lib.rs".to_owned(), tally(&[0.0], 0, &[])),
            ("crates/b/tests/it.rs".to_owned(), slow),
        ];
        let text = report(&results, 5.0);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["crates/a/tests/it.rs", "3", "1", "0.10", "0.20", "0.30"]);
        assert!(text.contains("✗ crates/a/tests/it.rs: torn\n  target/repeat/x/1.txt\n"), "{text}");
        assert!(
            text.ends_with("not repeated: crates/b/tests/it.rs took 7.0 s, and 5 s are allowed\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn one_failed_run_fails_all_and_so_does_no_test() {
        let failure = |results: &[(String, Tally)]| judge(results).unwrap_err().message().unwrap().to_owned();
        assert!(
            judge(&[("a".to_owned(), tally(&[0.1], 1, &[])), ("b".to_owned(), tally(&[0.1], 0, &[]))])
                .is_ok()
        );
        assert_eq!(failure(&[("a".to_owned(), tally(&[0.1, 0.1], 1, &["torn"]))]), "1 runs failed");
        assert!(failure(&[("a".to_owned(), tally(&[0.1], 0, &[]))]).starts_with("no test ran"));
    }

    /// A shell stands for a test binary, its script for the filters.
    #[cfg(unix)]
    #[test]
    fn the_output_of_a_run_is_kept_only_if_it_failed() {
        let folder = std::env::temp_dir().join(format!("xtask-repeat-{}", std::process::id()));
        let binary = TestBinary::planted("sh");
        let run = |script: &str, limit_ms: u64| {
            let output = folder.join("0.txt");
            let filters = ["-c".to_owned(), script.to_owned()];
            let ended = run_once(&binary, &filters, Duration::from_millis(limit_ms), &output);
            (ended, std::fs::read_to_string(output).ok())
        };
        let passed = run("echo 'test result: ok. 2 passed; 0 failed;'", 100_000);
        assert_eq!(passed, (Ok(2), None));
        let (ended, output) = run("echo 'test a::torn ... FAILED'; echo on stderr >&2; exit 101", 100_000);
        assert_eq!(ended, Err("a::torn".to_owned()));
        assert_eq!(output.unwrap(), "test a::torn ... FAILED\non stderr\n");
        assert_eq!(run("kill -6 $$", 100_000).0, Err("exit code 134".to_owned()));
        assert_eq!(run("sleep 600", 100).0, Err("no end within 0.1 s".to_owned()));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn busy_loops_end_when_they_are_dropped() {
        let loops = BusyLoops::start(2);
        assert!(loops.threads.iter().all(|thread| !thread.is_finished()));
        drop(loops);
        assert!(LOOPS_END.load(Ordering::Relaxed));
    }
}
