//! What is shown while a load runs: a few lines that stay in place on a terminal, a line every ten seconds elsewhere. All
//! on standard error.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format;
use crate::load::Load;
use crate::monitor::{OnPulse, Pulse};
use crate::report::ScenarioReport;

const LINE_EVERY: Duration = Duration::from_secs(10);
/// Pulses that a sparkline shows at most; they come once a second.
const HISTORY: usize = 60;
/// No line is longer, however wide the terminal.
const COLUMNS_MAX: usize = 94;
/// Narrower terminals are rare, and there it is only wrapped.
const COLUMNS_MIN: usize = 50;
/// What stands beside the sparkline and the bar.
const BESIDE: usize = 34;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Screen,
    Lines,
    /// Not at all: the result is told by whoever asked for it.
    Silent,
}

/// Which of all that will run, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) of: usize,
}

/// The progress of one scenario.
pub(crate) struct Shown {
    progress: Progress,
    place: Place,
    bar: Option<ProgressBar>,
}

/// What the screen is made from.
struct Live {
    /// Place, name and load.
    heading: String,
    planned: Option<u64>,
    duration: Option<Duration>,
    /// Of the terminal, as far as they are used.
    columns: usize,
    rates: VecDeque<f64>,
    /// In nanoseconds.
    p99s: VecDeque<f64>,
}

impl Progress {
    pub(crate) fn for_standard_error() -> Self {
        if std::io::stderr().is_terminal() { Self::Screen } else { Self::Lines }
    }

    /// Tells that a scenario starts.
    pub(crate) fn start(self, place: Place, name: &str, load: &Load, run: &str) -> Shown {
        let bar = (self == Self::Screen).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is a constant, and without it the screen is only less handsome.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.set_message(format!("{}\n  set-up", heading(place, name, &load.to_string())));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if self == Self::Lines {
            say(&format!("start   {}{run}", heading(place, name, &load.to_string())));
        }
        Shown { progress: self, place, bar }
    }
}

impl Shown {
    /// What to call once a second.
    pub(crate) fn on_pulse(&self, name: &str, load: &Load) -> OnPulse {
        let mut live =
            Live::new(heading(self.place, name, &load.to_string()), load.planned(), load.duration());
        match (self.progress, self.bar.clone()) {
            (Progress::Screen, Some(bar)) => Box::new(move |pulse| {
                live.take(pulse);
                bar.set_message(live.screen(pulse));
            }),
            (Progress::Lines, _) => {
                let (name, mut next) = (name.to_owned(), LINE_EVERY);
                Box::new(move |pulse| {
                    if pulse.elapsed >= next {
                        next = pulse.elapsed + LINE_EVERY;
                        let elapsed = pulse.elapsed.as_secs();
                        say(&format!("{elapsed:>4} s {name}  {}", live.line(pulse)));
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

fn heading(Place { number, of }: Place, name: &str, load: &str) -> String {
    if of > 1 { format!("{number} of {of}  {name}  {load}") } else { format!("{name}  {load}") }
}

impl Live {
    fn new(heading: String, planned: Option<u64>, duration: Option<Duration>) -> Self {
        let history = || VecDeque::with_capacity(HISTORY);
        // The spinner and a blank stand before each line.
        let columns = Term::stderr()
            .size_checked()
            .map_or(COLUMNS_MAX, |(_, columns)| usize::from(columns).saturating_sub(2));
        let columns = columns.clamp(COLUMNS_MIN, COLUMNS_MAX);
        Self { heading, planned, duration, columns, rates: history(), p99s: history() }
    }

    fn take(&mut self, pulse: &Pulse) {
        for (history, value) in
            [(&mut self.rates, pulse.per_second), (&mut self.p99s, pulse.p99.as_nanos() as f64)]
        {
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(value);
        }
    }

    /// From 0 to 1; whichever of time and number decides the end.
    fn done(&self, pulse: &Pulse) -> f64 {
        let share = match (self.duration, self.planned) {
            (Some(duration), _) => pulse.elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9),
            (None, Some(planned)) => pulse.issued as f64 / planned.max(1) as f64,
            (None, None) => 0.0,
        };
        share.clamp(0.0, 1.0)
    }

    fn screen(&self, pulse: &Pulse) -> String {
        let done = self.done(pulse);
        let rate = format::per_second(pulse.per_second);
        let p99 = format::time(pulse.p99);
        let room = self.columns - BESIDE;
        let lines = [
            self.heading.clone(),
            format!("  {} {:>3.0}%  {}", bar(done, room * 4 / 5), done * 100.0, time_left(pulse, done)),
            format!(
                "  rate {rate:>9}  {}  {} in flight",
                sparkline(&self.rates, room),
                format::count(pulse.in_flight)
            ),
            format!("  p99  {p99:>9}  {}  p50 {}", sparkline(&self.p99s, room), format::time(pulse.p50)),
            format!(
                "  issued {}   errors {}   timeouts {}",
                format::count(pulse.issued),
                format::count(pulse.failed),
                format::count(pulse.timed_out)
            ),
        ];
        lines.map(|line| shortened(&line, self.columns)).join("\n")
    }

    fn line(&self, pulse: &Pulse) -> String {
        let done = self.done(pulse);
        format!(
            "{}  {} in flight  p50 {}  p99 {}  errors {}  timeouts {}  {}",
            format::per_second(pulse.per_second),
            pulse.in_flight,
            format::time(pulse.p50),
            format::time(pulse.p99),
            format::count(pulse.failed),
            format::count(pulse.timed_out),
            time_left(pulse, done),
        )
    }
}

fn time_left(pulse: &Pulse, done: f64) -> String {
    // After the last start there are operations to wait for, then the check; nobody knows how long those take.
    if done >= 1.0 {
        return "ending".to_owned();
    }
    if done <= 0.01 {
        return format!("{} s", pulse.elapsed.as_secs());
    }
    let left = pulse.elapsed.as_secs_f64() * (1.0 - done) / done;
    format!("{} left", clock(left))
}

/// `45 s`, `12:05`, `1:30:00`.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60),
    }
}

fn bar(done: f64, width: usize) -> String {
    let full = (done * width as f64).floor() as usize;
    (0..width).map(|place| if place < full { '━' } else { '─' }).collect()
}

/// The last pulses that there is room for, from 0 to its highest value; what is 0 leaves a gap.
fn sparkline(values: &VecDeque<f64>, room: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = values.iter().skip(values.len().saturating_sub(room));
    let highest = values.clone().copied().fold(0.0, f64::max);
    let level = |value: f64| match value / highest {
        share if share > 0.0 => LEVELS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1],
        _ => ' ',
    };
    let drawn: String = values.map(|value| level(*value)).collect();
    // Always as wide, so that what stands behind it stays in its place; the newest is at the right.
    format!("{drawn:>room$}")
}

fn shortened(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns - 1).chain(std::iter::once('…')).collect()
}

/// One line on standard error. If nobody reads it any more, the run goes on all the same.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> Pulse {
        Pulse {
            elapsed: Duration::from_secs(5),
            issued: 250,
            in_flight: 3,
            failed: 0,
            timed_out: 1,
            per_second: 50.0,
            p50: Duration::from_millis(1),
            p99: Duration::from_millis(9),
        }
    }

    fn live(planned: Option<u64>, seconds: Option<u64>) -> Live {
        let heading = heading(Place { number: 2, of: 5 }, "bank.transfers", "50/s for 20 s");
        Live { columns: COLUMNS_MAX, ..Live::new(heading, planned, seconds.map(Duration::from_secs)) }
    }

    #[test]
    fn time_or_number_decides_what_is_done() {
        let pulse = pulse();
        assert_eq!(live(Some(1_000), None).done(&pulse), 0.25);
        assert_eq!(live(Some(1_000), Some(10)).done(&pulse), 0.5);
        assert_eq!(live(None, Some(1)).done(&pulse), 1.0);
        assert_eq!(live(None, None).done(&pulse), 0.0);
        let told = live(Some(1_000), None).line(&pulse);
        assert_eq!(told, "50/s  3 in flight  p50 1.00 ms  p99 9.00 ms  errors 0  timeouts 1  15 s left");
    }

    #[test]
    fn the_screen_tells_where_it_is_and_how_it_goes() {
        let mut live = live(None, Some(20));
        let mut last = pulse();
        for second in 1..=100_u64 {
            last.per_second = if second == 90 { 0.0 } else { 50.0 };
            last.p99 = Duration::from_millis(if second == 95 { 80 } else { 10 });
            live.take(&last);
        }
        let screen = live.screen(&last);
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "2 of 5  bank.transfers  50/s for 20 s");
        assert!(lines[1].contains(" 25%  15 s left"), "{screen}");
        assert_eq!(lines[1].matches('━').count(), HISTORY / 5, "a quarter of four fifths");
        assert!(
            lines[2].contains("50/s") && lines[2].contains("█ █") && lines[2].contains("3 in flight"),
            "{screen}"
        );
        assert_eq!(lines[3].matches('█').count(), 1, "the tail of one second is seen");
        assert_eq!(lines[3].matches('▁').count(), HISTORY - 1);
        assert!(lines[4].contains("errors 0") && lines[4].contains("timeouts 1"));
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS_MAX), "{screen}");
        for columns in [COLUMNS_MIN, 78] {
            live.columns = columns;
            let screen = live.screen(&last);
            assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
            assert!(screen.contains("3 in flight") && screen.contains("p50 1.00 ms"), "{screen}");
        }
    }

    #[test]
    fn a_screen_is_as_wide_at_the_first_second() {
        let mut early = live(None, Some(20));
        early.take(&pulse());
        let column = |live: &Live| {
            let screen = live.screen(&pulse());
            let line = screen.lines().nth(2).unwrap();
            line[..line.find("3 in flight").unwrap()].chars().count()
        };
        let before = column(&early);
        (0..99).for_each(|_| early.take(&pulse()));
        assert_eq!(column(&early), before);
        let early = live(None, Some(20));
        assert_eq!(sparkline(&early.rates, HISTORY).chars().count(), HISTORY);
        assert_eq!(sparkline(&VecDeque::new(), HISTORY).chars().count(), HISTORY);
    }

    #[test]
    fn times_and_lines_fit() {
        assert_eq!(
            [clock(0.4), clock(119.0), clock(725.0), clock(7_205.0)],
            ["0 s", "119 s", "12:05", "2:00:05"]
        );
        assert_eq!(time_left(&pulse(), 1.0), "ending");
        assert_eq!(time_left(&pulse(), 0.0), "5 s");
        assert_eq!(shortened(&"x".repeat(200), 80).chars().count(), 80);
        assert_eq!(heading(Place { number: 1, of: 1 }, "a.b", "c"), "a.b  c");
    }
}
