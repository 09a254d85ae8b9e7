//! Running other programs: with their exit code passed on, their output kept, or a limit on their time.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How a program that had a limit on its time ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this exit code.
    Code(u8),
    /// It was killed, with every process that it had started.
    TimedOut,
}

const POLL_MS: u64 = 10;

/// Runs `command` to its end; its exit code, if it isn't 0, becomes ours.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    match run_for_code(command)? {
        0 => Ok(()),
        code => Err(Failure::Exit(code)),
    }
}

/// Becomes `command`: on Unix in this very process, elsewhere as a child whose exit code becomes
/// ours.
pub(crate) fn replace_by(command: &mut Command) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        let error = std::os::unix::process::CommandExt::exec(command);
        Err(cannot_run(command, &error).into())
    }
    #[cfg(not(unix))]
    run(command)
}

/// Runs `command` to its end and tells its exit code.
pub(crate) fn run_for_code(command: &mut Command) -> Result<u8, String> {
    let status = command.status().map_err(|error| cannot_run(command, &error))?;
    Ok(exit_code(status))
}

/// Runs `command` to its end; returns its exit code and what it printed on standard output.
pub(crate) fn output_and_code(command: &mut Command) -> Result<(u8, String), String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_run(command, &error))?;
    Ok((exit_code(output.status), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Runs `command` to its end, keeping what it prints on standard output without showing it.
pub(crate) fn run_for_output(command: &mut Command) -> Result<String, Failure> {
    match output_and_code(command)? {
        (0, output) => Ok(output),
        (code, _) => Err(Failure::Exit(code)),
    }
}

/// Runs `command` with its output in the files `stdout` and `stderr`, for at most `limit`.
///
/// Files rather than pipes: a grandchild that outlives the kill can't keep us waiting for the end of a pipe.
/// The child stays in our process group, so that Ctrl-C ends it as well.
pub(crate) fn run_logged(
    command: &mut Command,
    stdout: &Path,
    stderr: &Path,
    limit: Option<Duration>,
) -> Result<Ended, String> {
    command.stdin(Stdio::null()).stdout(log_file(stdout)?).stderr(log_file(stderr)?);
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| cannot_run(command, &error))?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| cannot_run(command, &error))? {
            return Ok(Ended::Code(exit_code(status)));
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            kill_with_descendants(&mut child)?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// Runs `command` to its end; kills it, with every process that it has started, when `stop` is set.
pub(crate) fn run_unless(command: &mut Command, stop: &AtomicBool) -> Result<(), String> {
    let mut child = command.spawn().map_err(|error| cannot_run(command, &error))?;
    while child.try_wait().map_err(|error| cannot_run(command, &error))?.is_none() {
        // Relaxed: nothing is handed over with it.
        if stop.load(Ordering::Relaxed) {
            return kill_with_descendants(&mut child);
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
    Ok(())
}

/// The exit code, or 128 + the signal as a shell has it.
fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128_u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX));
    }
    status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

/// The command as one could type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(std::ffi::OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A header line that is on the terminal before the child's first line.
pub(crate) fn announce(line: &str) {
    println!("{line}");
    // Nothing is lost if it can't be shown.
    let _ = std::io::stdout().flush();
}

fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    format!("cannot run `{}`: {error}", describe(command))
}

fn log_file(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Cargo doesn't end the test that it runs when it is killed, so the whole tree is killed.
fn kill_with_descendants(child: &mut Child) -> Result<(), String> {
    // All are stopped before any is killed: who is killed leaves children whose parent can't be told any more, and who runs may start another.
    let (mut family, mut stopped) = (vec![child.id()], 0);
    while stopped < family.len() {
        signal("-STOP", &family[stopped..]);
        stopped = family.len();
        let found = descendants(child.id());
        family.extend(found.into_iter().filter(|pid| !family[..stopped].contains(pid)).collect::<Vec<_>>());
    }
    signal("-KILL", &family);
    // It may just have ended by itself: `wait` tells either way.
    let _ = child.kill();
    child.wait().map(|_| ()).map_err(|error| format!("cannot wait for a killed process: {error}"))
}

/// Some may have ended meanwhile: then `kill` complains, and that is fine.
fn signal(signal: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("sh")
        .args(["-c", &format!("kill {signal} {}", pids.join(" "))])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Every process that descends from `ancestor`, as far as this system tells.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents = parents();
    let mut family = vec![ancestor];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family.split_off(1)
}

/// (process, its parent) for every process: from `/proc` where there is one, else from `ps`.
fn parents() -> Vec<(u32, u32)> {
    if let Ok(entries) = std::fs::read_dir("/proc") {
        let stats =
            entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        return stats.filter_map(|stat| parent_in_stat(&stat)).collect();
    }
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else { return Vec::new() };
    let listed = String::from_utf8_lossy(&output.stdout);
    let pair = |line: &str| {
        let mut words = line.split_whitespace().map(str::parse);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    };
    listed.lines().filter_map(pair).collect()
}

/// `12 (a name) S 7 …` → (12, 7). The name may itself hold blanks and parentheses.
fn parent_in_stat(stat: &str) -> Option<(u32, u32)> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, after_name) = stat.rsplit_once(')')?;
    Some((pid.parse().ok()?, after_name.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_is_read_past_an_odd_name() {
        assert_eq!(parent_in_stat("12 (a) b) S 7 12 12"), Some((12, 7)));
        assert_eq!(parent_in_stat("nonsense"), None);
    }

    #[test]
    fn a_command_is_described_without_its_folder() {
        let mut command = Command::new("bin/cargo");
        command.args(["test", "--lib"]);
        assert_eq!(describe(&command), "cargo test --lib");
    }

    #[cfg(unix)]
    #[test]
    fn time_limit_kills_grandchildren() {
        let folder = std::env::temp_dir().join(format!("xtask-limit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (out, err) = (folder.join("out"), folder.join("err"));
        // The shell may be slow to say whom it has started.
        let told = [300, 3_000, 30_000].into_iter().find_map(|limit_ms| {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 600 & echo $!; wait"]);
            let (limit, started) = (Duration::from_millis(limit_ms), Instant::now());
            let ended = run_logged(&mut command, &out, &err, Some(limit)).unwrap();
            assert_eq!(ended, Ended::TimedOut);
            assert!(started.elapsed() < limit + Duration::from_secs(100));
            std::fs::read_to_string(&out).unwrap().trim().parse().ok()
        });
        let grandchild: u32 = told.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        // A kill takes effect a moment after it is sent.
        let patience = Instant::now() + Duration::from_secs(5);
        while is_running(grandchild) {
            if Instant::now() > patience {
                signal("-KILL", &[grandchild]);
                panic!("process {grandchild} was still there");
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
    }

    /// A process that has ended may stay as a zombie where nobody asks after it.
    #[cfg(unix)]
    fn is_running(pid: u32) -> bool {
        let script = format!("kill -0 {pid} && ! grep -q ') Z ' /proc/{pid}/stat");
        Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap().success()
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_and_signals_are_told() {
        let code = |script: &str| run_for_code(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(code("exit 3"), 3);
        assert_eq!(code("kill -9 $$"), 137);
    }
}
