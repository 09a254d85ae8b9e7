//! A whole run: the chosen scenarios one after the other, each as often as asked, and a report after each.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::context::Tier;
use crate::load::Stop;
use crate::monitor::SAMPLE_EVERY;
use crate::plan::Plan;
use crate::progress::{Place, Progress};
use crate::report::{MachineReport, Report, SCHEMA, hlog, write};
use crate::run::{self, Job};
use crate::scratch::{Scratch, remove_of_dead_runs};
use crate::suite::Registered;
use crate::verdict::Verdict;

/// What to run.
pub(crate) struct Session<'a> {
    pub(crate) chosen: Vec<(&'a dyn Registered, Plan)>,
    pub(crate) tier: Tier,
    pub(crate) seed: u64,
    pub(crate) repetitions: u32,
    /// Whether a scenario that is INVALID runs once more.
    pub(crate) repeat_invalid: bool,
    pub(crate) corpus: Option<PathBuf>,
    /// The run's own directory.
    pub(crate) directory: PathBuf,
    pub(crate) repeat: String,
    pub(crate) machine: MachineReport,
    pub(crate) progress: Progress,
    pub(crate) stop: Stop,
}

impl Session<'_> {
    /// Runs all, and keeps `report.json` up to date. Also tells what went wrong when it was last written.
    pub(crate) async fn run(&self) -> (Report, io::Result<PathBuf>) {
        let mut report = self.empty_report();
        let scratch = Scratch::new(&self.directory);
        self.keep(&report);
        for repetition in 1..=self.repetitions {
            for (scenario, plan) in &self.chosen {
                if self.stop.is_requested() {
                    report.not_run.push(plan.name.clone());
                    continue;
                }
                let seed = self.seed.wrapping_add(u64::from(repetition) - 1);
                let counted = match self.repetitions {
                    1 => String::new(),
                    all => format!("  run {repetition} of {all}, seed {seed}"),
                };
                let of = self.chosen.len() * self.repetitions as usize;
                let place = Place { number: report.scenarios.len() + 1, of };
                let run_once = async || {
                    let shown = self.progress.start(place, &plan.name, &plan.load, &counted);
                    let job = Job {
                        tier: self.tier,
                        seed,
                        repetition,
                        corpus: self.corpus.clone(),
                        scratch: match &scratch {
                            Ok(scratch) => scratch.of(&format!("{}-{repetition}", plan.name)),
                            // It can't be made there either, and the scenario says why.
                            Err(_) => self.directory.join(&plan.name),
                        },
                        stop: self.stop.clone(),
                        on_pulse: shown.on_pulse(&plan.name, &plan.load),
                        interval_log: Some(self.directory.join(hlog::file_name(&plan.name, repetition))),
                        sample_every: SAMPLE_EVERY,
                    };
                    let done = run::run(*scenario, plan, job).await;
                    shown.finish(&done);
                    done
                };
                let mut done = run_once().await;
                if self.repeat_invalid && done.verdict == Verdict::Invalid && !self.stop.is_requested() {
                    let first = done.reasons.join("; ");
                    done = run_once().await;
                    done.notes.push(("first run".to_owned(), format!("INVALID: {first}")));
                }
                report.verdict = report.verdict.max(done.verdict);
                report.scenarios.push(done);
                self.keep(&report);
            }
        }
        drop(scratch);
        report.interrupted = self.stop.is_requested();
        if report.interrupted {
            report.verdict = report.verdict.max(Verdict::Invalid);
        }
        report.complete = true;
        let written = write::write(&report, &self.directory);
        (report, written)
    }

    /// Writes what there is so far, as it has to be read if the process is killed now: a run that proves nothing.
    fn keep(&self, report: &Report) {
        let names = || self.chosen.iter().map(|(_, plan)| plan.name.clone());
        let all = (0..self.repetitions).flat_map(|_| names());
        let so_far = Report {
            verdict: report.verdict.max(Verdict::Invalid),
            not_run: all.skip(report.scenarios.len()).collect(),
            ..report.clone()
        };
        // What goes wrong here goes wrong at the end as well, and is told there.
        let _ = write::write(&so_far, &self.directory);
    }

    fn empty_report(&self) -> Report {
        let run =
            self.directory.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Report {
            repeat: self.repeat.clone(),
            schema: SCHEMA,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            run,
            verdict: Verdict::Pass,
            complete: false,
            interrupted: false,
            seed: self.seed,
            repetitions: self.repetitions,
            tier: self.tier,
            machine: self.machine.clone(),
            scenarios: Vec::new(),
            not_run: Vec::new(),
        }
    }
}

/// Makes the directory of a run that starts now; what killed runs left in `out` goes.
pub(crate) fn make_directory(out: &Path, seed: u64) -> io::Result<PathBuf> {
    remove_of_dead_runs(out);
    write::make_run_directory(out, SystemTime::now(), seed)
}
