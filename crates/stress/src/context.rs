//! What a scenario knows of the run that it is part of.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// How much of a scenario's load is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Shortened by what the scenario says, never with fewer checks.
    #[default]
    Smoke,
    /// The full load.
    Standard,
    /// Ten times the users or the rate, unless the scenario says otherwise; the objectives are the same.
    Extreme,
    /// The full load for a time that is given, in constant memory.
    Soak,
}

impl Tier {
    pub(crate) const ALL: [Self; 4] = [Self::Smoke, Self::Standard, Self::Extreme, Self::Soak];

    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Standard => "standard",
            Self::Extreme => "extreme",
            Self::Soak => "soak",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The run, as a scenario's set-up sees it. Clones are handles to the same run.
#[derive(Debug, Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tier: Tier,
    seed: u64,
    corpus: Option<PathBuf>,
    scratch: PathBuf,
    remarks: Mutex<Remarks>,
}

/// What a scenario tells the report beside its invariants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remarks {
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) marks: Vec<(Instant, String)>,
    pub(crate) reductions: Vec<String>,
}

impl Context {
    pub(crate) fn new(tier: Tier, seed: u64, corpus: Option<PathBuf>, scratch: PathBuf) -> Self {
        Self { shared: Arc::new(Shared { tier, seed, corpus, scratch, remarks: Mutex::default() }) }
    }

    /// The tier that runs.
    pub fn tier(&self) -> Tier {
        self.shared.tier
    }

    /// The seed of this run; with `--repeat` each run has the next one.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// A generator of random numbers for set-up, different from those of the operations.
    pub fn rng(&self) -> Rng {
        Rng::of_set_up(self.shared.seed)
    }

    /// The corpus that was given with `--corpus`, not checked.
    pub fn corpus(&self) -> Option<&Path> {
        self.shared.corpus.as_deref()
    }

    /// A directory of this run's own: it exists, was empty, and is removed after tear-down.
    pub fn scratch(&self) -> &Path {
        &self.shared.scratch
    }

    /// A count that tier `smoke` divides by `smoke_divisor` (at least 1 remains), such as the documents that set-up
    /// creates. The report tells each reduction.
    pub fn reduced(&self, what: &str, full: u64, smoke_divisor: u64) -> u64 {
        if self.shared.tier != Tier::Smoke || smoke_divisor <= 1 {
            return full;
        }
        let reduced = (full / smoke_divisor).max(1.min(full));
        self.remarks(|remarks| remarks.reductions.push(format!("{what}: {reduced} instead of {full}")));
        reduced
    }

    /// Notes a fact for the report, such as the number of passages in the corpus.
    pub fn note(&self, key: impl Into<String>, value: impl fmt::Display) {
        let note = (key.into(), value.to_string());
        self.remarks(|remarks| remarks.notes.push(note));
    }

    /// Marks this moment on the report's time axis, such as a fault that the scenario causes. Of many marks the first
    /// 1 000 are kept. A scenario that wants to mark in its operations keeps a clone of the context in its state.
    pub fn mark(&self, label: impl Into<String>) {
        const MARKS_MAX: usize = 1_000;
        let mark = (Instant::now(), label.into());
        self.remarks(|remarks| {
            if remarks.marks.len() < MARKS_MAX {
                remarks.marks.push(mark);
            }
        });
    }

    pub(crate) fn take_remarks(&self) -> Remarks {
        self.remarks(std::mem::take)
    }

    fn remarks<T>(&self, change: impl FnOnce(&mut Remarks) -> T) -> T {
        // Each change is one push, so a panic elsewhere can't have left half of one.
        change(&mut self.shared.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_smoke_reduces_and_says_so() {
        let standard = Context::new(Tier::Standard, 1, None, PathBuf::new());
        assert_eq!(standard.reduced("documents", 1_000, 10), 1_000);
        assert!(standard.take_remarks().reductions.is_empty());

        let smoke = Context::new(Tier::Smoke, 1, None, PathBuf::new());
        assert_eq!(smoke.reduced("documents", 1_000, 10), 100);
        assert_eq!(smoke.reduced("tenants", 5, 10), 1);
        assert_eq!(smoke.reduced("none", 0, 10), 0);
        let told = smoke.take_remarks().reductions;
        assert_eq!(told[..2], ["documents: 100 instead of 1000", "tenants: 1 instead of 5"]);
    }
}
