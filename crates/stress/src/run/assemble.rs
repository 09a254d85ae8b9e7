//! From what came of a scenario to its report: judged, ruled on and put into the schema.

use std::time::{Duration, Instant};

use super::{Course, Loaded};
use crate::calibrate;
use crate::load::{Load, Phase};
use crate::objective::{Finding, Measured, Metric, Objective, Part, PhasePart, Spans, Standing, judge};
use crate::plan::Plan;
use crate::record::{Counts, Figures, Latencies, PANIC, PhaseFigures, seconds};
use crate::report::{
    ErrorReport, LagReport, LatencyReport, MarkReport, MemoryReport, ObjectiveReport, OperationsReport,
    PhaseReport, ProcessorReport, SampleReport, ScenarioReport, TrendReport, WindowReport,
};
use crate::sample;
use crate::scenario::Tally;
use crate::trend::{self, Figure, Judged, Outcome};
use crate::verdict::{Evidence, Shortfall, StarvedPhase, rule};

/// A load shorter than this says too little about the processors; then calibration is taken with it.
const SPAN_MIN: Duration = Duration::from_millis(200);

pub(super) fn report(plan: &Plan, seed: u64, repetition: u32, course: Course) -> ScenarioReport {
    let nothing = Latencies::new();
    let loaded = course.loaded.as_ref();
    let latency = loaded.map_or(&nothing, |loaded| loaded.seen.total.latency());
    let memory = loaded.map_or_else(MemoryReport::default, memory);
    let whole = Part {
        done_within: None,
        counts: counts(&course.tally),
        issued: course.tally.issued,
        length: course.tally.elapsed,
        latency,
    };
    let phases = match plan.load.phases() {
        // A single phase keeps no figures of its own: it is the whole.
        [only] => vec![PhasePart { name: only.called(0), part: whole }],
        _ => loaded.map_or_else(Vec::new, |loaded| phase_parts(&plan.load, &loaded.seen.total)),
    };
    let samples = loaded.map_or_else(Vec::new, samples);
    let no_spans = Spans::new(&[], None);
    let operations = operations(&course.tally, loaded);
    let measured = Measured {
        whole,
        phases: &phases,
        spans: loaded.map_or(&no_spans, |loaded| &loaded.seen.spans),
        rss_growth: growth(memory),
        values: &course.checks.values,
        errors: &operations.errors,
        samples: &samples,
        pacer_lag: loaded.and_then(|loaded| loaded.ran.pacer_lag.as_ref()),
        stood_still: loaded
            .and_then(|loaded| loaded.seen.samples.last())
            .map_or(Duration::ZERO, |last| last.stood_still),
    };
    let findings: Vec<Finding> =
        plan.objectives.iter().map(|objective| judge(objective, &measured)).collect();
    let processors = loaded.and_then(processors);
    let shortfall = loaded.and_then(|loaded| shortfall(&course.tally, loaded));
    let ruling = rule(&Evidence {
        interrupted: course.interrupted,
        // Where nothing was loaded, the failed stage is all that there is to say.
        objectives: if loaded.is_some() { &findings } else { &[] },
        failed_stages: course.failed_stages,
        generator_failure: course.generator_failure,
        panics: course.tally.panicked,
        broken_invariants: course.checks.invariants.iter().filter(|it| !it.held).map(describe).collect(),
        invariants: course.checks.invariants.len(),
        shortfall,
        starvation: processors.and_then(sample::starvation),
        taken: processors.map_or(0.0, taken),
        starved_phases: loaded.map_or_else(Vec::new, |loaded| {
            starved_phases(plan.load.phases(), loaded.ran.started, &loaded.seen.samples)
        }),
        generator_too_slow: loaded.and_then(|loaded| calibrate::too_slow(&plan.load, &loaded.calibration)),
    });
    let figures = loaded.map(|loaded| &loaded.seen.total);
    ScenarioReport {
        name: plan.name.clone(),
        description: plan.description.clone(),
        verdict: ruling.verdict,
        reasons: ruling.reasons,
        warnings: ruling.warnings,
        seed,
        repetition,
        load: plan.load.figures(),
        reductions: plan.reductions.iter().cloned().chain(course.reductions).collect(),
        operations,
        service_time: LatencyReport::of(figures.map_or(&nothing, |figures| &figures.service)),
        response_time: figures.and_then(|it| it.open.as_ref()).map(|open| LatencyReport::of(&open.response)),
        lag: loaded.and_then(lag),
        objectives: findings.iter().map(objective).collect(),
        invariants: course.checks.invariants,
        values: course.checks.values,
        notes: course.notes,
        calibration: loaded.map(|loaded| loaded.calibration.clone()),
        processors,
        memory,
        stages: course.stages,
        phases: loaded.map_or_else(Vec::new, |loaded| phase_reports(&plan.load, &loaded.seen.total)),
        trends: trends(&plan.objectives, &samples),
        marks: loaded.map_or_else(Vec::new, |loaded| marks(&course.marks, loaded)),
        comparison: Vec::new(),
        samples,
        windows: course.loaded.map_or_else(Vec::new, windows),
    }
}

fn counts(tally: &Tally) -> Counts {
    Counts {
        succeeded: tally.succeeded,
        failed: tally.failed,
        panicked: tally.panicked,
        timed_out: tally.timed_out,
    }
}

fn phase_parts<'a>(load: &Load, total: &'a Figures) -> Vec<PhasePart<'a>> {
    let part = |(index, (phase, figures)): (usize, (&Phase, &'a PhaseFigures))| PhasePart {
        name: phase.called(index),
        part: Part {
            counts: figures.counts,
            issued: figures.counts.ended(),
            length: phase.duration,
            done_within: load.is_open().then_some(figures.done_within),
            latency: &figures.latency,
        },
    };
    load.phases().iter().zip(&total.phases).enumerate().map(part).collect()
}

fn phase_reports(load: &Load, total: &Figures) -> Vec<PhaseReport> {
    let unit = if load.is_open() { "/s" } else { " users" };
    let mut start = Duration::ZERO;
    let report = |(phase, of_phase): (&Phase, PhasePart<'_>)| {
        let Part { counts, issued, length, latency, .. } = of_phase.part;
        let start_s = start.as_secs_f64();
        start += length;
        PhaseReport {
            name: of_phase.name,
            load: phase.pace.describe(unit),
            start_s,
            length_s: length.as_secs_f64(),
            operations: OperationsReport {
                issued,
                succeeded: counts.succeeded,
                failed: counts.failed,
                panicked: counts.panicked,
                timed_out: counts.timed_out,
                elapsed_s: length.as_secs_f64(),
                rate_per_second: of_phase.part.rate(),
                ..OperationsReport::default()
            },
            latency: LatencyReport { buckets: Vec::new(), ..LatencyReport::of(latency) },
        }
    };
    load.phases().iter().zip(phase_parts(load, total)).map(report).collect()
}

/// What was asked for, and of the rest what can be told: that is judged by nobody.
fn trends(objectives: &[Objective], samples: &[SampleReport]) -> Vec<TrendReport> {
    let asked = |figure: Figure| {
        objectives.iter().find(|objective| objective.metric == Metric::Leak(figure))?.bound.in_base_units()
    };
    let of_figure = |(_, figure): (&str, Figure)| {
        let budget = asked(figure);
        let Judged { outcome, report } = trend::judge(samples, figure, budget.unwrap_or(0.0));
        let is_told = !matches!(outcome, Outcome::NotMeasured | Outcome::TooFewSamples { .. });
        match budget {
            Some(_) => Some(report),
            None if is_told => Some(TrendReport { budget: None, held: true, ..report }),
            None => None,
        }
    };
    Figure::ALL.into_iter().filter_map(of_figure).collect()
}

fn marks(marks: &[(Instant, String)], loaded: &Loaded) -> Vec<MarkReport> {
    // A mark of set-up or of the check is no moment of the load.
    let during = marks.iter().filter_map(|(at, label)| {
        let at_s = at.checked_duration_since(loaded.seen.started)?.as_secs_f64();
        let end_s = loaded.seen.windows.last().map_or(0.0, |last| last.start_s + last.length_s);
        (at_s <= end_s).then(|| MarkReport { at_s, label: label.clone() })
    });
    during.collect()
}

/// With what the schedule wanted in each.
fn windows(loaded: Loaded) -> Vec<WindowReport> {
    let mut windows = loaded.seen.windows;
    if let Some(schedule) = &loaded.ran.schedule {
        let mut before = 0;
        for window in &mut windows {
            let end = Duration::from_secs_f64(window.start_s + window.length_s);
            let due = schedule.due_before(loaded.seen.started + end);
            window.intended = Some(due - before);
            before = due;
        }
    }
    windows
}

fn describe(broken: &crate::checks::Invariant) -> String {
    let expected = broken.expected.as_ref().map_or_else(String::new, |it| format!(", expected {it}"));
    format!("{}: {}{expected}", broken.name, broken.measured)
}

fn memory(loaded: &Loaded) -> MemoryReport {
    let at = |sample: Option<&sample::Sample>| sample.and_then(|sample| sample.rss_bytes);
    MemoryReport {
        before_bytes: at(loaded.seen.samples.first()),
        peak_bytes: loaded.seen.rss_peak_bytes,
        after_bytes: at(loaded.seen.samples.last()),
    }
}

fn growth(memory: MemoryReport) -> Option<f64> {
    Some(memory.peak_bytes? as f64 - memory.before_bytes? as f64)
}

fn processors(loaded: &Loaded) -> Option<ProcessorReport> {
    let (first, last) = (loaded.seen.samples.first()?, loaded.seen.samples.last()?);
    let is_short = last.at.saturating_duration_since(first.at) < SPAN_MIN;
    sample::processors(if is_short { &loaded.before_calibration } else { first }, last)
}

/// Of all processors, the share that others and the hypervisor had, or all while the process stood still.
fn taken(processors: ProcessorReport) -> f64 {
    (processors.others + processors.stolen).max(processors.stood_still.unwrap_or(0.0)).clamp(0.0, 1.0)
}

/// By the samples of each. One too short for them, as a short load is, is left to what the whole load says.
fn starved_phases(phases: &[Phase], started: Instant, samples: &[sample::Sample]) -> Vec<StarvedPhase> {
    let mut start = started;
    let in_phase = |(index, phase): (usize, &Phase)| {
        let end = start + phase.duration;
        let processors =
            (phase.duration >= SPAN_MIN).then(|| sample::processors_during(samples, start, end)).flatten();
        start = end;
        let processors = processors?;
        let starvation = sample::starvation(processors)?;
        Some(StarvedPhase { name: phase.called(index), starvation, taken: taken(processors) })
    };
    phases.iter().enumerate().filter_map(in_phase).collect()
}

/// Operations that should have been issued; and those that have no outcome, though nobody cancelled them.
fn shortfall(tally: &Tally, loaded: &Loaded) -> Option<Shortfall> {
    let planned = tally.planned.unwrap_or(tally.issued);
    let issued = tally.issued - if tally.interrupted { 0 } else { tally.cancelled };
    let target_was_full = loaded.ran.target_was_full;
    (issued != planned).then_some(Shortfall { planned, issued, target_was_full })
}

fn operations(tally: &Tally, loaded: Option<&Loaded>) -> OperationsReport {
    let kinds = loaded.into_iter().flat_map(|loaded| &loaded.seen.total.kinds);
    let error = |(name, kind): (&std::borrow::Cow<'_, str>, &crate::record::Kind)| ErrorReport {
        kind: name.to_string(),
        count: kind.count,
        example: kind.example.clone(),
    };
    let mut errors: Vec<ErrorReport> = kinds.map(error).collect();
    errors.sort_by_key(|error| (error.kind != PANIC, std::cmp::Reverse(error.count)));
    OperationsReport {
        planned: tally.planned,
        issued: tally.issued,
        succeeded: tally.succeeded,
        failed: tally.failed,
        panicked: tally.panicked,
        timed_out: tally.timed_out,
        cancelled: tally.cancelled,
        in_flight_peak: tally.in_flight_peak,
        elapsed_s: tally.elapsed.as_secs_f64(),
        rate_per_second: tally.succeeded as f64 / seconds(tally.elapsed),
        errors,
    }
}

fn lag(loaded: &Loaded) -> Option<LagReport> {
    let clock = loaded.ran.pacer_lag.as_ref()?;
    let open = loaded.seen.total.open.as_ref()?;
    let ns = |time: Duration| time.as_nanos() as u64;
    Some(LagReport {
        clock_p99_ns: ns(clock.percentile(99.0)),
        clock_max_ns: ns(clock.max()),
        start_p99_ns: ns(open.lag.percentile(99.0)),
        start_max_ns: ns(open.lag.max()),
        waited_for_slot: open.waited,
    })
}

fn objective(finding: &Finding) -> ObjectiveReport {
    let remark = match &finding.standing {
        Standing::Held | Standing::Broken { .. } => None,
        Standing::NotEvaluated(reason) => Some(format!("not evaluated: {reason}")),
        Standing::TooFewSamples { samples, needed } => Some(format!("{samples} samples, needs {needed}")),
    };
    ObjectiveReport {
        objective: finding.objective.clone(),
        measured: finding.measured.clone(),
        // JSON has no infinity; the text still tells it.
        measured_number: finding.measured_number.filter(|number| number.is_finite()),
        bound: finding.bound.filter(|bound| bound.is_finite()),
        margin: finding.margin,
        held: finding.standing == Standing::Held,
        remark,
    }
}

fn samples(loaded: &Loaded) -> Vec<SampleReport> {
    let mut previous: Option<&sample::Sample> = None;
    let reports = loaded.seen.samples.iter().map(|sample| SampleReport {
        at_s: sample.at.saturating_duration_since(loaded.seen.started).as_secs_f64(),
        operations: sample.operations,
        rss_bytes: sample.rss_bytes,
        live_bytes: sample.live_bytes,
        threads: sample.threads,
        open_files: sample.open_files,
        processors: previous.replace(sample).and_then(|previous| sample::processors(previous, sample)),
    });
    reports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Pace;
    use crate::sample::Sample;

    /// Phases of 4 s, named `calm`, `storm` and `after`; 0.1 s that nobody named; then `last`, of 4 s.
    fn phases() -> Vec<Phase> {
        let phase = |(name, tenths): (&str, u64)| Phase {
            name: (!name.is_empty()).then(|| name.to_owned()),
            ..Phase::new(Pace::Steady(10.0), Duration::from_millis(100 * tenths))
        };
        [("calm", 40), ("storm", 40), ("after", 40), ("", 1), ("last", 40)].map(phase).to_vec()
    }

    /// What the process, others and a hypervisor have in percent, second by second from 1 s before the load.
    fn samples(started: Instant, shares: impl Fn(usize) -> [f64; 3]) -> Vec<Sample> {
        let mut sums = [0.0; 3];
        let next = |eighth: usize| {
            let at = started + Duration::from_millis(125 * eighth as u64);
            let sample = Sample::of_seconds(at, eighth as f64 / 8.0, sums);
            sums.iter_mut().zip(shares(eighth / 8)).for_each(|(sum, share)| *sum += share / 8.0);
            sample
        };
        (0..=18 * 8).map(next).collect()
    }

    fn starved(shares: impl Fn(usize) -> [f64; 3]) -> Vec<StarvedPhase> {
        let before = Instant::now();
        starved_phases(&phases(), before + Duration::from_secs(1), &samples(before, shares))
    }

    #[test]
    fn a_burst_in_one_phase_starves_that_phase_alone() {
        let of_second = |burst: [f64; 3]| move |second| if second == 6 { burst } else { [50.0, 4.0, 0.0] };
        let by_hypervisor = starved(of_second([40.0, 0.0, 60.0]));
        let [storm] = by_hypervisor.as_slice() else { panic!("{by_hypervisor:?}") };
        assert_eq!((storm.name.as_str(), (storm.taken * 1e3).round()), ("storm", 180.0));
        assert_eq!(storm.starvation, "the hypervisor took 15% of the processors");
        // A little for a long time, as over the whole load, is no starvation.
        assert_eq!(starved(|_| [50.0, 5.0, 5.0]), []);
    }

    #[test]
    fn others_starve_a_phase_and_the_load_itself_never_does() {
        let others =
            starved(|second| if (5..9).contains(&second) { [40.0, 58.0, 0.0] } else { [40.0, 0.0, 0.0] });
        let [storm] = others.as_slice() else { panic!("{others:?}") };
        assert_eq!(storm.name, "storm");
        assert_eq!(storm.starvation, "other processes took 58% of the processors and 2% was idle");
        assert_eq!(starved(|_| [99.0, 1.0, 0.0]), [], "its own load, with threads that wait all the time");
    }

    #[test]
    fn a_phase_too_short_for_samples_is_left_to_the_whole_load() {
        let names: Vec<String> = starved(|_| [40.0, 0.0, 60.0]).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["calm", "storm", "after", "last"]);
    }
}
