//! One scenario, from set-up to verdict.
//!
//! Scratch directory → set-up → calibration → baseline sample → load → check → tear-down → scratch removed → verdict.
//! Once set-up has returned, tear-down runs whatever happens in between. An interrupt ends set-up or the load at once
//! and leaves out nothing that comes after.

mod assemble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calibrate;
use crate::checks::Checks;
use crate::context::{Context, Tier};
use crate::failure::Failure;
use crate::load::{Load, Phase, Ran, Stop};
use crate::monitor::{Monitor, Observations, OnPulse, Watch};
use crate::objective::Spans;
use crate::panics;
use crate::plan::Plan;
use crate::record::{Figures, Layout, PhaseFigures, Recorder};
use crate::report::{CalibrationReport, ScenarioReport, StagesReport};
use crate::sample::{Sample, Sampler};
use crate::scenario::{PhaseTally, Tally};
use crate::suite::{Boxed, Ready, Registered};
use crate::target::catching_panic;

/// Set-up, check and tear-down may each take so long; then they count as hung.
const STAGE_MAX: Duration = Duration::from_secs(600);

/// How to run a scenario.
pub(crate) struct Job {
    pub(crate) tier: Tier,
    pub(crate) seed: u64,
    /// From 1.
    pub(crate) repetition: u32,
    pub(crate) corpus: Option<PathBuf>,
    /// Made before set-up and removed after tear-down.
    pub(crate) scratch: PathBuf,
    pub(crate) stop: Stop,
    pub(crate) on_pulse: OnPulse,
    /// Where the interval log goes, if anywhere.
    pub(crate) interval_log: Option<PathBuf>,
    /// The time between two samples of a young load.
    pub(crate) sample_every: Duration,
}

/// All that came of a scenario, before it is judged.
#[derive(Default)]
struct Course {
    interrupted: bool,
    failed_stages: Vec<String>,
    generator_failure: Option<String>,
    loaded: Option<Loaded>,
    tally: Tally,
    checks: Checks,
    notes: Vec<(String, String)>,
    marks: Vec<(Instant, String)>,
    reductions: Vec<String>,
    stages: StagesReport,
}

/// A load that was run.
struct Loaded {
    ran: Ran,
    seen: Observations,
    calibration: CalibrationReport,
    before_calibration: Sample,
    issued: u64,
    in_flight_peak: u64,
}

/// Runs `scenario` as `plan` says. Whatever goes wrong is in the report.
pub(crate) async fn run(scenario: &dyn Registered, plan: &Plan, job: Job) -> ScenarioReport {
    let mut course = Course::default();
    let panics_before = panics::so_far();
    let (seed, repetition, scratch) = (job.seed, job.repetition, job.scratch.clone());
    match std::fs::create_dir_all(&scratch) {
        Ok(()) => {
            go_through_stages(scenario, plan, job, &mut course).await;
            remove_scratch(&scratch, &mut course);
        }
        Err(error) => {
            course.failed_stages.push(format!("no scratch directory {}: {error}", scratch.display()));
        }
    }
    let in_operations = course.tally.panicked;
    let elsewhere = (panics::so_far() - panics_before).saturating_sub(in_operations);
    let in_stages = course.failed_stages.iter().filter(|stage| stage.contains(PANICKED)).count() as u64;
    let users = course.loaded.as_ref().map_or(0, |loaded| loaded.ran.users_panicked);
    let elsewhere = elsewhere.saturating_sub(in_stages).max(users);
    if elsewhere > 0 {
        let count = crate::verdict::plural(elsewhere, "panic");
        course.failed_stages.push(format!("{count} outside of the operations"));
    }
    assemble::report(plan, seed, repetition, course)
}

async fn go_through_stages(scenario: &dyn Registered, plan: &Plan, job: Job, course: &mut Course) {
    let context = Context::new(job.tier, job.seed, job.corpus, job.scratch);
    let began = Instant::now();
    let mut stop = job.stop.clone();
    let ready = tokio::select! {
        biased;
        () = stop.requested() => None,
        ready = stage("set-up", scenario.set_up(&context)) => match ready {
            Ok(ready) => Some(ready),
            Err(failed) => {
                course.failed_stages.push(failed);
                None
            }
        },
    };
    course.stages.set_up_s = began.elapsed().as_secs_f64();
    course.interrupted = job.stop.is_requested();
    if let Some(ready) = ready {
        let began = Instant::now();
        let watch =
            Watch { on_pulse: job.on_pulse, interval_log: job.interval_log, sample_every: job.sample_every };
        match load(&*ready, plan, job.seed, job.stop, watch).await {
            Ok(loaded) => {
                course.interrupted |= loaded.ran.interrupted;
                course.tally = tally(&plan.load, &loaded, course.interrupted);
                let unwritten = loaded.seen.interval_log_error.as_ref();
                course.notes.extend(
                    unwritten.map(|error| ("interval log".to_owned(), format!("not written: {error}"))),
                );
                course.loaded = Some(loaded);
            }
            Err(LoadError::NotStarted(error)) => {
                course.generator_failure = Some(format!("the generator couldn't run: {error}"));
            }
            // Operations were issued, but without their figures nobody can check the invariants: no
            // excuse holds.
            Err(LoadError::FiguresLost(error)) => {
                course.failed_stages.push(format!("load: its figures are lost: {error}"));
            }
        }
        course.stages.load_s = began.elapsed().as_secs_f64();
        // Without a load there is nothing to check, only to take down.
        if course.loaded.is_some() {
            let began = Instant::now();
            let checked = stage("check", ready.check(&course.tally, &mut course.checks)).await;
            course.failed_stages.extend(checked.err());
            course.stages.check_s = began.elapsed().as_secs_f64();
        }
        let began = Instant::now();
        course.failed_stages.extend(stage("tear-down", ready.tear_down()).await.err());
        course.stages.tear_down_s = began.elapsed().as_secs_f64();
    }
    let remarks = context.take_remarks();
    course.notes.extend(remarks.notes);
    course.marks = remarks.marks;
    course.notes.append(&mut course.checks.notes);
    course.reductions = remarks.reductions;
}

const PANICKED: &str = " panicked: ";

async fn stage<T>(name: &str, work: Boxed<'_, Result<T, Failure>>) -> Result<T, String> {
    match tokio::time::timeout(STAGE_MAX, catching_panic(work)).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(failure))) => Err(format!("{name} failed: {failure}")),
        Ok(Err(panic)) => Err(format!("{name}{PANICKED}{panic}")),
        Err(_elapsed) => Err(format!("{name} took longer than {} s", STAGE_MAX.as_secs())),
    }
}

/// Why there is no load to judge.
enum LoadError {
    /// No operation was issued.
    NotStarted(String),
    FiguresLost(String),
}

/// Calibrates, then runs the load under the monitor.
async fn load(
    ready: &dyn Ready,
    plan: &Plan,
    seed: u64,
    stop: Stop,
    watch: Watch,
) -> Result<Loaded, LoadError> {
    let text = |error: std::io::Error| LoadError::NotStarted(error.to_string());
    let load = &plan.load;
    // A single phase is the whole.
    let phases = Some(load.phases().len()).filter(|phases| *phases > 1).unwrap_or(0);
    let layout = Layout { open: load.is_open(), phases };
    let recorder = Arc::new(Recorder::for_this_machine(layout));
    let mut figures = [(); 3].map(|()| Figures::touched(layout));
    let mut sampler = Sampler::new();
    let before_calibration = sampler.sample();
    let [total, _, spare] = &mut figures;
    let calibration = calibrate::calibrate(load, &recorder, total, spare).await.map_err(text)?;
    let spans = Spans::new(&plan.objectives, load.duration());
    let monitor = Monitor::start(Arc::clone(&recorder), sampler, figures, spans, watch).map_err(text)?;
    let ran = ready.load(load, seed, Arc::clone(&recorder), stop).await.map_err(text)?;
    let seen = monitor.finish().map_err(LoadError::FiguresLost)?;
    let (issued, in_flight_peak) = (recorder.issued(), recorder.in_flight_peak());
    Ok(Loaded { ran, seen, calibration, before_calibration, issued, in_flight_peak })
}

fn tally(load: &Load, loaded: &Loaded, interrupted: bool) -> Tally {
    let Loaded { ran, seen, issued, in_flight_peak, .. } = loaded;
    let counts = seen.total.counts;
    let end = seen.total.last_end.unwrap_or(ran.started);
    let scheduled = ran.length.filter(|_| !interrupted).unwrap_or_default();
    Tally {
        planned: load.planned(),
        issued: *issued,
        succeeded: counts.succeeded,
        failed: counts.failed,
        panicked: counts.panicked,
        timed_out: counts.timed_out,
        cancelled: issued.saturating_sub(counts.ended()),
        in_flight_peak: *in_flight_peak,
        elapsed: end.saturating_duration_since(ran.started).max(scheduled),
        interrupted,
        phases: phase_tallies(load, &seen.total),
    }
}

fn phase_tallies(load: &Load, total: &Figures) -> Vec<PhaseTally> {
    let tally = |(index, (phase, figures)): (usize, (&Phase, &PhaseFigures))| PhaseTally {
        name: phase.called(index),
        length: phase.duration,
        succeeded: figures.counts.succeeded,
        failed: figures.counts.failed,
        timed_out: figures.counts.timed_out,
        p50: figures.latency.percentile(50.0),
        p95: figures.latency.percentile(95.0),
        p99: figures.latency.percentile(99.0),
        max: figures.latency.max(),
    };
    load.phases().iter().zip(&total.phases).enumerate().map(tally).collect()
}

fn remove_scratch(scratch: &Path, course: &mut Course) {
    if let Err(error) = std::fs::remove_dir_all(scratch)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        course.notes.push(("scratch directory".to_owned(), format!("not removed: {error}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::SAMPLE_EVERY;
    use crate::plan::Amount;
    use crate::scenario::{Call, Scenario};
    use crate::suite::Suite;
    use crate::verdict::Verdict;

    /// Passes, if anybody looks.
    struct Sound;

    impl Scenario for Sound {
        type State = ();

        fn name(&self) -> &'static str {
            "sound"
        }
        fn description(&self) -> &'static str {
            ""
        }
        fn load(&self) -> Load {
            Load::users(1).each(5)
        }
        async fn set_up(&self, _: &Context) -> Result<(), Failure> {
            Ok(())
        }
        async fn operation(&self, (): &(), _: Call) -> Result<(), Failure> {
            // The monitor tells nobody of a load of less than 0.1 s.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        }
        async fn check(&self, (): &(), tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
            checks.exactly("operations", tally.succeeded, 5);
            Ok(())
        }
    }

    fn report(on_pulse: OnPulse) -> ScenarioReport {
        let suite = Suite::new("unit", "").scenario(Sound);
        let amount = Amount { tier: Tier::Smoke, soak_for: Duration::ZERO };
        let plan = Plan::new("unit", &*suite.scenarios[0], amount).unwrap().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let job = Job {
            tier: Tier::Smoke,
            seed: 1,
            repetition: 1,
            corpus: None,
            scratch: scratch.path().join("it"),
            stop: Stop::never(),
            on_pulse,
            interval_log: None,
            sample_every: SAMPLE_EVERY,
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(run(&*suite.scenarios[0], &plan, job))
    }

    /// The operations ran, and their invariants were never looked at: an INVALID would hide
    /// whatever is broken.
    #[test]
    fn a_load_whose_figures_are_lost_fails() {
        assert_eq!(report(Box::new(|_| {})).verdict, Verdict::Pass);
        let lost = report(Box::new(|_| panic!("the monitor's thread ends here")));
        assert_eq!(lost.verdict, Verdict::Fail, "{:?}", lost.reasons);
        assert_eq!(lost.reasons[0], "load: its figures are lost: the monitor panicked");
        assert!(lost.invariants.is_empty());
    }
}
