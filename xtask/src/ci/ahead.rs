//! Builds that run at low priority while the tests run.
//!
//! They only warm the target folder: the step that needs a build runs it again, sees that it is
//! done, and shows its warnings and errors. So nobody looks at how these ended.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::process;

/// The builds, not yet started, running or done. Dropping it ends them.
pub(super) struct Ahead {
    waiting: Mutex<Vec<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Relaxed suffices: nothing is handed over with it.
    stop: Arc<AtomicBool>,
}

impl Ahead {
    pub(super) fn new(builds: &[Command]) -> Self {
        let waiting = builds.iter().map(at_low_priority).collect();
        Self { waiting: Mutex::new(waiting), thread: Mutex::default(), stop: Arc::default() }
    }

    /// Starts the builds, one after the other.
    pub(super) fn start(&self) {
        let builds = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::spawn(move || {
            for mut build in builds {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // It may lack `nice`, or fail: the step that needs it says so.
                let _ = process::run_unless(&mut build, &stop);
            }
        });
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Waits for the builds that were started.
    pub(super) fn wait(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic in it would only mean that less is built.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
    }
}

/// The same command, silent and behind everything else that wants a processor.
fn at_low_priority(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    nice
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("GIVEN", "1").env_remove("TAKEN").current_dir("src");
        command
    }

    #[test]
    fn a_build_keeps_its_arguments_environment_and_folder() {
        let nice = at_low_priority(&shell("true"));
        assert_eq!(process::describe(&nice), "nice -n 19 sh -c true");
        assert_eq!(nice.get_current_dir(), Some("src".as_ref()));
        let envs: Vec<_> = nice.get_envs().collect();
        assert_eq!(envs, [("GIVEN".as_ref(), Some("1".as_ref())), ("TAKEN".as_ref(), None)]);
    }

    #[cfg(unix)]
    #[test]
    fn builds_run_in_turn_and_a_failed_one_stops_none() {
        let file = std::env::temp_dir().join(format!("xtask-ahead-{}", std::process::id()));
        let write = |text: &str| shell(&format!("echo {text} >> {}", file.display()));
        let ahead = Ahead::new(&[write("one"), shell("exit 1"), write("two")]);
        ahead.wait();
        assert!(!file.exists(), "nothing runs before it is started");
        ahead.start();
        ahead.wait();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
        std::fs::remove_file(&file).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn dropping_ends_what_runs() {
        let started = Instant::now();
        let ahead = Ahead::new(&[shell("sleep 600"), shell("sleep 600")]);
        ahead.start();
        drop(ahead);
        assert!(started.elapsed() < Duration::from_secs(300));
    }
}
