//! Where the scenarios of a run may leave files: `scratch` in the run's directory, gone when the run ends. A run that is
//! killed can't see to that, so the next one with the same place for reports does.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "scratch";
/// Held locked for as long as the run lives; the system lets go of it when the process ends, however it ends.
const LOCK: &str = "in-use";

/// The scratch directory of a run.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes it.
    pub(crate) fn new(run: &Path) -> io::Result<Self> {
        let path = run.join(NAME);
        loop {
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            // Another run may have taken it for a dead one's before it was locked.
            if path.join(LOCK).exists() {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// A scenario's own part of it.
    pub(crate) fn of(&self, scenario: &str) -> PathBuf {
        self.path.join(scenario)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a scenario couldn't remove stays, and its notes say so.
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes what runs left behind that were killed; tells of how many. What can't be removed stays.
pub(crate) fn remove_of_dead_runs(out: &Path) -> usize {
    let Ok(runs) = fs::read_dir(out) else { return 0 };
    let dead = |run: PathBuf| {
        let path = run.join(NAME);
        let lock = File::options().write(true).open(path.join(LOCK)).ok()?;
        match lock.try_lock() {
            Ok(()) => fs::remove_dir_all(path).ok(),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    };
    runs.filter_map(Result::ok).filter_map(|run| dead(run.path())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_run_left_is_removed_and_a_living_ones_stays() {
        let out = tempfile::tempdir().unwrap();
        let run = |name: &str| out.path().join(name);
        let living = Scratch::new(&run("living")).unwrap();
        fs::create_dir_all(living.of("a.b-1")).unwrap();
        // As a killed process leaves it: files, and a lock that nobody holds.
        fs::create_dir_all(run("dead").join(NAME).join("a.b-1")).unwrap();
        fs::write(run("dead").join(NAME).join("a.b-1/store"), "much").unwrap();
        fs::write(run("dead").join(NAME).join(LOCK), "").unwrap();
        fs::write(run("dead").join("report.json"), "{}").unwrap();
        fs::create_dir(run("ended")).unwrap();

        assert_eq!(remove_of_dead_runs(out.path()), 1);
        assert!(!run("dead").join(NAME).exists() && run("dead").join("report.json").exists());
        assert!(living.of("a.b-1").exists());
        assert_eq!(remove_of_dead_runs(&run("none")), 0);

        fs::remove_dir(living.of("a.b-1")).unwrap();
        drop(living);
        assert!(run("living").exists() && !run("living").join(NAME).exists());
    }
}
