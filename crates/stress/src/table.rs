//! The end of a run on the terminal: the table, what each scenario was held to, the verdict. As wide as
//! the terminal, at most 110 columns.
#![expect(
    clippy::format_push_string,
    reason = "the lines read better than `write!` with an error that cannot be"
)]

use std::io::IsTerminal;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use console::Term;

use crate::checks::Value;
use crate::format;
use crate::report::{LatencyReport, Report, ScenarioReport};
use crate::undecided::Undecided;
use crate::verdict::Verdict;

/// Wide enough for every column of the table on one line; lines beyond it are hard to read.
const COLUMNS_MAX: u16 = 110;
/// A longer load is cut in the table, and told in full below it.
const LOAD_COLUMNS: usize = 22;
/// Below this a table is no table any more.
const COLUMNS_MIN: u16 = 60;

/// What the text is made for: in colours or not, so many columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    colours: bool,
    columns: u16,
}

impl Screen {
    /// Colours if standard output is a terminal and `NO_COLOR` isn't set to something.
    pub(crate) fn for_standard_output() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns = Term::stdout().size_checked().map_or(COLUMNS_MAX, |(_, columns)| columns);
        Self {
            colours: std::io::stdout().is_terminal() && !refused,
            columns: columns.clamp(COLUMNS_MIN, COLUMNS_MAX),
        }
    }

    pub(crate) fn plain() -> Self {
        Self { colours: false, columns: COLUMNS_MAX }
    }

    fn verdict(self, verdict: Verdict) -> String {
        let colour = match verdict {
            Verdict::Pass => "32",
            Verdict::Invalid => "33",
            Verdict::Fail => "31",
        };
        self.wrap(&verdict.to_string(), &format!("1;{colour}"))
    }

    fn mark(self, held: bool) -> String {
        if held { self.wrap("✓", "32") } else { self.wrap("✗", "31") }
    }

    fn wrap(self, text: &str, code: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The table and all details; ends with a line break.
pub(crate) fn render(scenarios: &[ScenarioReport], screen: Screen) -> String {
    let mut text = table(scenarios, screen);
    for scenario in scenarios {
        text.push('\n');
        describe(scenario, screen, &mut text);
    }
    text
}

/// One scenario in full, without colours.
pub(crate) fn describe_plainly(scenario: &ScenarioReport) -> String {
    let mut text = String::new();
    describe(scenario, Screen::plain(), &mut text);
    text
}

/// A value that a scenario reported.
pub(crate) fn value(value: Value) -> String {
    match value {
        Value::Count(count) => format::count(count),
        Value::Number(number) => format::number(number),
        Value::Nanoseconds(ns) => format::nanoseconds(ns as f64),
        Value::Bytes(bytes) => format::bytes(bytes as f64),
        Value::Share(share) => format::share(share),
        Value::PerSecond(rate) => format::per_second(rate),
    }
}

/// The last lines: verdict, reasons, the command to repeat it.
pub(crate) fn conclude(report: &Report, path: Option<&str>, screen: Screen) -> String {
    let passed = report.scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Pass).count();
    let all = report.scenarios.len();
    let mut text = format!("\n{}  {passed} of {all} passed", screen.verdict(report.verdict));
    if report.interrupted {
        text.push_str(&format!(", interrupted, {} not run", report.not_run.len()));
    }
    text.push('\n');
    for scenario in report.scenarios.iter().filter(|scenario| scenario.verdict != Verdict::Pass) {
        let reasons = scenario.reasons.join("; ");
        text.push_str(&wrapped(
            &format!("  {} {}: {reasons}", scenario.verdict, scenario.name),
            4,
            screen.columns,
        ));
    }
    text.push_str(&format!("{}\n", Undecided::of(report)));
    if let Some(path) = path {
        text.push_str(&format!("report  {path}\n"));
        if let Some(directory) = path.strip_suffix("report.json") {
            text.push_str(&format!("page    {directory}report.html\n"));
        }
    }
    text.push_str(&format!("repeat  {}\n", report.repeat));
    text
}

fn table(scenarios: &[ScenarioReport], screen: Screen) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(screen.columns)
        .set_header(["scenario", "load", "ops", "rate", "p50", "p99", "errors", "timeouts", "verdict"]);
    for scenario in scenarios {
        let operations = &scenario.operations;
        let latency = latency(scenario);
        let time = |ns: u64| match latency.count {
            0 => "–".to_owned(),
            _ => format::nanoseconds(ns as f64).replace(' ', "\u{a0}"),
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row(vec![
            Cell::new(&scenario.name),
            Cell::new(cut(&scenario.load.description)),
            right(format::count(operations.issued)),
            right(format::per_second(operations.rate_per_second)),
            right(time(latency.p50_ns)),
            right(time(latency.p99_ns)),
            right(format::count(operations.failed)),
            right(format::count(operations.timed_out)),
            Cell::new(scenario.verdict.to_string()),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    if let Some(names) = table.column_mut(0) {
        // A name is what one copies: it stays in one piece, the load is wrapped instead.
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    // Painted afterwards: the table would count the colours as width. Names are lower-case, so only verdicts match.
    let text = trim_lines(&table.to_string());
    [Verdict::Pass, Verdict::Invalid, Verdict::Fail]
        .into_iter()
        .fold(text, |text, verdict| text.replace(&verdict.to_string(), &screen.verdict(verdict)))
}

/// As many whole words of a load as the table has room for.
fn cut(load: &str) -> String {
    let Some((most, _)) = load.char_indices().nth(LOAD_COLUMNS) else { return load.to_owned() };
    let whole = load[..most].rfind(' ').map_or(&load[..most], |blank| &load[..blank]);
    format!("{} …", whole.trim_end_matches([',', ';', ':']))
}

/// What objectives are about.
fn latency(scenario: &ScenarioReport) -> &LatencyReport {
    scenario.response_time.as_ref().unwrap_or(&scenario.service_time)
}

fn describe(scenario: &ScenarioReport, screen: Screen, text: &mut String) {
    let repetition =
        if scenario.repetition > 1 { format!(" (seed {})", scenario.seed) } else { String::new() };
    text.push_str(&format!("{} {}{repetition}\n", screen.verdict(scenario.verdict), scenario.name));
    let mut line = |line: String| text.push_str(&wrapped(&format!("  {line}"), 6, screen.columns));
    for reduction in &scenario.reductions {
        line(format!("tier: {reduction}"));
    }
    let load = &scenario.load.description;
    if cut(load) != *load {
        line(format!("load: {load}"));
    }
    if let Some(response) = &scenario.response_time {
        line(format!("response time {}", distribution(response)));
    }
    line(format!("service time  {}", distribution(&scenario.service_time)));
    line(operations(scenario));
    for error in &scenario.operations.errors {
        line(format!("{} × {}: {}", format::count(error.count), error.kind, first_line(&error.example)));
    }
    let width = scenario.objectives.iter().map(|it| it.objective.chars().count()).max().unwrap_or(0).max(20);
    // Where nothing was issued, because set-up failed or was interrupted, there is nothing to hold against them.
    let issued = scenario.operations.issued > 0;
    for objective in scenario.objectives.iter().filter(|_| issued) {
        let margin = objective.margin.map_or_else(|| "–".to_owned(), margin);
        let remark = objective.remark.as_ref().map_or_else(String::new, |remark| format!("  {remark}"));
        line(format!(
            "{} {:<width$}  measured {:>9}  margin {margin:>8}{remark}",
            screen.mark(objective.held),
            objective.objective,
            objective.measured,
        ));
    }
    for invariant in &scenario.invariants {
        let expected = match &invariant.expected {
            Some(expected) if !invariant.held => format!(", expected {expected}"),
            _ => String::new(),
        };
        let (mark, name, measured) = (screen.mark(invariant.held), &invariant.name, &invariant.measured);
        line(format!("{mark} {name}: {}{expected}", first_line(measured)));
    }
    for warning in &scenario.warnings {
        line(format!("! {warning}"));
    }
    for (key, value) in &scenario.notes {
        line(format!("· {key}: {value}"));
    }
    if scenario.verdict != Verdict::Pass {
        for reason in &scenario.reasons {
            line(format!("→ {reason}"));
        }
    }
}

fn operations(scenario: &ScenarioReport) -> String {
    let operations = &scenario.operations;
    let mut text = format!("issued {}", format::count(operations.issued));
    if let Some(planned) = operations.planned {
        text.push_str(&format!(" of {}", format::count(planned)));
    }
    text.push_str(&format!(
        ": {} ok, {} errors, {} timeouts",
        format::count(operations.succeeded),
        format::count(operations.failed),
        format::count(operations.timed_out)
    ));
    if operations.cancelled > 0 {
        text.push_str(&format!(", {} cancelled", format::count(operations.cancelled)));
    }
    let elapsed = format::nanoseconds(operations.elapsed_s * 1e9);
    text.push_str(&format!(" in {elapsed}; at most {} at once", format::count(operations.in_flight_peak)));
    if let Some(lag) = &scenario.lag {
        let late = format::nanoseconds(lag.start_p99_ns as f64);
        text.push_str(&format!("; starts late by p99 {late}, {} waited for a slot", lag.waited_for_slot));
    }
    text
}

fn distribution(latency: &LatencyReport) -> String {
    if latency.count == 0 {
        return "nothing was timed".to_owned();
    }
    let time = |ns: u64| format::nanoseconds(ns as f64);
    format!(
        "min {}  mean {}  p50 {}  p95 {}  p99 {}  max {}",
        time(latency.min_ns),
        format::nanoseconds(latency.mean_ns),
        time(latency.p50_ns),
        time(latency.p95_ns),
        time(latency.p99_ns),
        time(latency.max_ns)
    )
}

/// The room to a bound, for people: in percent, or as how many times the bound.
pub(crate) fn margin(margin: f64) -> String {
    let percent = margin * 100.0;
    match percent.abs() {
        _ if !percent.is_finite() => "–".to_owned(),
        // Percents of thousands say less than how many times the bound it is.
        size if size >= 1_000.0 && percent > 0.0 => {
            format!("{}×", format::count((margin + 1.0).round() as u64))
        }
        size if size >= 10.0 => format!("{percent:+.0}%"),
        size if size >= 0.05 => format!("{percent:+.1}%"),
        _ if percent < 0.0 => "-<0.1%".to_owned(),
        _ => "0%".to_owned(),
    }
}

/// Without what a terminal would take for a command.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().filter(|character| !character.is_control()).collect()
}

/// Breaks a line at blanks so that it stays within the columns; ends with a line break. Colours don't count.
fn wrapped(line: &str, indent: usize, columns: u16) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (place, word) in line.split(' ').enumerate() {
        let width = visible_width(word);
        if place > 0 && column + 1 + width > usize::from(columns) && !word.is_empty() {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if place > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn visible_width(word: &str) -> usize {
    let mut in_colour = false;
    word.chars()
        .filter(|character| {
            let was_in_colour = in_colour;
            in_colour = if in_colour { *character != 'm' } else { *character == '\u{1b}' };
            !was_in_colour && !in_colour
        })
        .count()
}

fn trim_lines(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks() {
        let line = format!("  {}", "some words of a reason ".repeat(12));
        let text = wrapped(&line, 4, COLUMNS_MAX);
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(COLUMNS_MAX)));
        assert!(text.lines().skip(1).all(|line| line.starts_with("    s") || line.starts_with("    ")));
        assert_eq!(wrapped("  as it  is", 4, COLUMNS_MAX), "  as it  is\n");
    }

    #[test]
    fn a_load_of_many_phases_is_cut_after_a_word() {
        assert_eq!(cut("200 users"), "200 users");
        let phases = "10 → 500 users over 5 s, then 500 users for 20 s, then 10 users for 5 s";
        assert_eq!(cut(phases), "10 → 500 users over 5 …");
        assert!(cut(&"ä".repeat(100)).chars().count() <= LOAD_COLUMNS + 2);
    }

    #[test]
    fn colours_take_no_room() {
        let screen = Screen { colours: true, columns: COLUMNS_MAX };
        assert_eq!(visible_width(&screen.mark(true)), 1);
        assert_eq!(visible_width(&screen.verdict(Verdict::Invalid)), 7);
        assert_eq!(Screen::plain().verdict(Verdict::Pass), "PASS");
    }

    #[test]
    fn margins_are_short() {
        assert_eq!(margin(0.5), "+50%");
        assert_eq!(margin(-0.013), "-1.3%");
        assert_eq!(margin(0.0), "0%");
        assert_eq!(margin(f64::NAN), "–");
        assert_eq!(margin(-0.000_1), "-<0.1%");
        assert_eq!(margin(4640.2), format!("{}×", format::count(4641)));
    }
}
