//! Calibration: what the generator reaches on a target that does nothing, on this machine, now.
//!
//! It runs the same loops on the load's own recorder, so it measures what will measure, and takes no memory that
//! would later hide a growth of the target's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::load::{self, Load, Stop};
use crate::record::{Figures, Recorder, seconds};
use crate::report::CalibrationReport;
use crate::target::NullTarget;

/// Each of the one or two parts takes so long.
const PART: Duration = Duration::from_millis(100);
/// An open loop is calibrated at its own rate, but not so slowly that there is nothing to see.
const RATE_MIN: f64 = 200.0;
/// A generator that is this close to its own limit is part of what it measures.
const LOADED_MAX: f64 = 0.5;

/// Runs the generator alone. Leaves `recorder` as new.
pub(crate) async fn calibrate(
    load: &Load,
    recorder: &Arc<Recorder>,
    figures: &mut Figures,
    spare: &mut Figures,
) -> std::io::Result<CalibrationReport> {
    let began = Instant::now();
    // As many users as keep all threads busy; more only add switches, which the load's own latencies will show.
    let users = load.slots().min(2 * std::thread::available_parallelism().map_or(1, usize::from));
    let closed = Load::users(users).lasting(PART);
    let ran = load::run(&closed, 0, Arc::new(NullTarget), Arc::clone(recorder), Stop::never()).await?;
    collect_into(recorder, figures, spare);
    let elapsed = figures.last_end.map_or(PART, |end| end.saturating_duration_since(ran.started));
    let mut report = CalibrationReport {
        operations_per_second: figures.counts.succeeded as f64 / seconds(elapsed),
        p99_ns: figures.service.percentile(99.0).as_nanos() as u64,
        lag_p99_ns: None,
        elapsed_s: 0.0,
    };
    if load.is_open() {
        let rate = load.peak().unwrap_or(0.0).max(RATE_MIN);
        let open = Load::rate(rate).max_in_flight(load.slots()).lasting(PART);
        load::run(&open, 0, Arc::new(NullTarget), Arc::clone(recorder), Stop::never()).await?;
        collect_into(recorder, figures, spare);
        let lag = figures.open.as_ref().map(|open| open.lag.percentile(99.0));
        report.lag_p99_ns = lag.map(|lag| lag.as_nanos() as u64);
    }
    figures.clear();
    recorder.reset_gauges();
    report.elapsed_s = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Why the generator could not have offered this load; nothing if it could.
pub(crate) fn too_slow(load: &Load, calibration: &CalibrationReport) -> Option<String> {
    let per_second = load.peak().filter(|_| load.is_open())?;
    let reached = calibration.operations_per_second;
    (per_second > LOADED_MAX * reached).then(|| {
        format!(
            "the generator alone reaches {reached:.0}/s here: too near to the {per_second}/s it was to offer"
        )
    })
}

fn collect_into(recorder: &Recorder, figures: &mut Figures, spare: &mut Figures) {
    figures.clear();
    recorder.collect(figures, spare);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Layout;

    const LAYOUT: Layout = Layout { open: true, phases: 0 };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_measures_the_generator_and_leaves_nothing_behind() {
        let load = Load::rate(500.0).max_in_flight(4).lasting(Duration::from_secs(9));
        let recorder = Arc::new(Recorder::for_this_machine(LAYOUT));
        let (mut figures, mut spare) = (Figures::touched(LAYOUT), Figures::touched(LAYOUT));
        let report = calibrate(&load, &recorder, &mut figures, &mut spare).await.unwrap();
        assert!(report.operations_per_second > 0.0 && report.p99_ns > 0);
        assert!(report.lag_p99_ns.is_some());
        recorder.collect(&mut figures, &mut spare);
        assert_eq!(figures.counts.ended(), 0);
        assert_eq!((recorder.issued(), recorder.in_flight_peak()), (0, 0));
    }

    #[test]
    fn a_generator_near_its_limit_is_told() {
        let load = Load::rate(1_000.0).max_in_flight(4).lasting(PART);
        let reaches =
            |operations_per_second| CalibrationReport { operations_per_second, ..Default::default() };
        assert_eq!(too_slow(&load, &reaches(2_001.0)), None);
        assert!(too_slow(&load, &reaches(1_999.0)).is_some());
        assert_eq!(too_slow(&Load::users(9).each(9), &reaches(1.0)), None);
    }
}
