//! What is shown while a load runs: a bar on a terminal, a line every ten seconds elsewhere. All on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format;
use crate::load::Load;
use crate::monitor::{OnPulse, Pulse};
use crate::report::ScenarioReport;

const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Bar,
    Lines,
    /// Not at all: the result is told by whoever asked for it.
    Silent,
}

/// The progress of one scenario.
pub(crate) struct Shown {
    progress: Progress,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn for_standard_error() -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }

    /// Tells that a scenario starts.
    pub(crate) fn start(self, name: &str, load: &Load, run: &str) -> Shown {
        let bar = (self == Self::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(PERMILLE), ProgressDrawTarget::stderr());
            // The template is a constant, and without it the bar is only less handsome.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {bar:24} {msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(name.to_owned());
            bar.set_message(format!("{load}: set-up"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if self == Self::Lines {
            say(&format!("start   {name}  {load}{run}"));
        }
        Shown { progress: self, bar }
    }
}

impl Shown {
    /// What to call once a second.
    pub(crate) fn on_pulse(&self, name: &str, load: &Load) -> OnPulse {
        let (planned, duration) = (load.planned(), load.duration());
        match (self.progress, self.bar.clone()) {
            (Progress::Bar, Some(bar)) => Box::new(move |pulse| {
                let done = done(pulse, planned, duration);
                bar.set_position((done * PERMILLE as f64) as u64);
                bar.set_message(describe(pulse, done));
            }),
            (Progress::Lines, _) => {
                let (name, mut next) = (name.to_owned(), LINE_EVERY);
                Box::new(move |pulse| {
                    if pulse.elapsed >= next {
                        next = pulse.elapsed + LINE_EVERY;
                        let done = done(pulse, planned, duration);
                        let elapsed = pulse.elapsed.as_secs();
                        say(&format!("{elapsed:>4} s {name}  {}", describe(pulse, done)));
                    }
                })
            }
            _ => Box::new(|_| {}),
        }
    }

    /// Tells how it ended.
    pub(crate) fn finish(self, report: &ScenarioReport) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        if self.progress != Progress::Silent {
            let stages = report.stages;
            let seconds = stages.set_up_s + stages.load_s + stages.check_s + stages.tear_down_s;
            let reason = report.reasons.first().map_or_else(String::new, |reason| format!("  {reason}"));
            say(&format!("{:<8}{}  {seconds:.1} s{reason}", report.verdict.to_string(), report.name));
        }
    }
}

const PERMILLE: u64 = 1_000;

/// From 0 to 1; whichever of time and number decides the end.
fn done(pulse: &Pulse, planned: Option<u64>, duration: Option<Duration>) -> f64 {
    let share = match (duration, planned) {
        (Some(duration), _) => pulse.elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9),
        (None, Some(planned)) => pulse.issued as f64 / planned.max(1) as f64,
        (None, None) => 0.0,
    };
    share.clamp(0.0, 1.0)
}

fn describe(pulse: &Pulse, done: f64) -> String {
    let left = if done > 0.01 {
        let left = pulse.elapsed.as_secs_f64() * (1.0 - done) / done;
        format!("  {left:.0} s left")
    } else {
        String::new()
    };
    format!(
        "{}  {} in flight  p50 {}  p99 {}  errors {}  timeouts {}{left}",
        format::per_second(pulse.per_second),
        pulse.in_flight,
        format::time(pulse.p50),
        format::time(pulse.p99),
        format::count(pulse.failed),
        format::count(pulse.timed_out),
    )
}

/// One line on standard error. If nobody reads it any more, the run goes on all the same.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_or_number_decides_what_is_done() {
        let pulse = Pulse {
            elapsed: Duration::from_secs(5),
            issued: 250,
            in_flight: 3,
            failed: 0,
            timed_out: 1,
            per_second: 50.0,
            p50: Duration::from_millis(1),
            p99: Duration::from_millis(9),
        };
        assert_eq!(done(&pulse, Some(1_000), None), 0.25);
        assert_eq!(done(&pulse, Some(1_000), Some(Duration::from_secs(10))), 0.5);
        assert_eq!(done(&pulse, None, Some(Duration::from_secs(1))), 1.0);
        let told = describe(&pulse, 0.25);
        assert_eq!(told, "50/s  3 in flight  p50 1.00 ms  p99 9.00 ms  errors 0  timeouts 1  15 s left");
    }
}
