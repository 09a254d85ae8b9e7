//! The charts' places in the page: what they show in words, and as tables of figures.
#![expect(
    clippy::format_push_string,
    reason = "the sentences read better than `write!` with an error that cannot be"
)]

use super::data::{self, Point};
use super::page::{Cell, Page};
use super::sections;
use crate::format;
use crate::report::{LatencyReport, ScenarioReport};

/// Rows of the table that stands in for the chart.
const ROWS_ONE: usize = 30;
const ROWS_MANY: usize = 6;

pub(super) fn over_time(page: &mut Page, scenario: &ScenarioReport, id: &str, is_alone: bool) {
    page.raw("<section class=\"wide\"><h3>Over time</h3>\n");
    if scenario.windows.is_empty() {
        page.classed("p", "none", "Nothing was loaded, so there is nothing to draw.").raw("</section>\n");
        return;
    }
    let points = data::points(scenario, if is_alone { ROWS_ONE } else { ROWS_MANY });
    let told = in_words(scenario, &points);
    page.raw("<figure class=\"chart\"")
        .attribute("data-time", id)
        .raw("><div class=\"plot\"></div><figcaption>")
        .text(&told)
        .raw("</figcaption></figure>\n");
    if !scenario.marks.is_empty() {
        page.raw("<ol class=\"marks\">");
        for mark in &scenario.marks {
            page.raw("<li>").element("b", &seconds(mark.at_s)).raw(" ").text(&mark.label).raw("</li>");
        }
        page.raw("</ol>\n");
    }
    page.raw("<details class=\"figures\"><summary>The same as a table</summary>\n");
    let headings =
        ["From", "#Offered", "#Achieved", "#Errors", "#p50", "#p95", "#p99", "#p99.9", "#max", "#In flight"];
    let caption = "Rates are averages, percentiles the worst of the windows in a row";
    page.table("windows", caption, &headings, points.iter().map(row));
    page.raw("</details></section>\n");
}

fn row(point: &Point) -> Vec<Cell> {
    let rate = |rate: f64| Cell::Number(format::per_second(rate));
    let time = |place: usize| {
        let ns = point.latency_ns.map(|latency| format::nanoseconds(latency[place] as f64));
        Cell::Number(ns.unwrap_or_else(|| "–".to_owned()))
    };
    vec![
        Cell::Text(seconds(point.start_s)),
        point.offered.map_or_else(|| Cell::Number("–".to_owned()), rate),
        rate(point.achieved[0]),
        rate(point.bad),
        time(0),
        time(1),
        time(2),
        time(3),
        time(4),
        Cell::Number(format::count(point.in_flight)),
    ]
}

/// What one sees in the chart.
fn in_words(scenario: &ScenarioReport, points: &[Point]) -> String {
    let length = points.last().map_or(0.0, |point| point.end_s);
    let mut told = format!(
        "Over {} the target achieved {} on average",
        seconds(length),
        format::per_second(scenario.operations.rate_per_second)
    );
    let low = points.iter().map(|point| point.achieved[1]).fold(f64::MAX, f64::min);
    let high = points.iter().map(|point| point.achieved[2]).fold(0.0, f64::max);
    if points.len() > 1 {
        told += &format!(", between {} and {}", format::per_second(low), format::per_second(high));
    }
    let worst = scenario.windows.iter().max_by_key(|window| window.p99_ns);
    if let Some(worst) = worst.filter(|window| window.p99_ns > 0) {
        let p99 = format::nanoseconds(worst.p99_ns as f64);
        told += &format!(". Its p99 was worst, {p99}, in the window at {}", seconds(worst.start_s));
    }
    told += &format!("; at most {} were in flight", format::count(scenario.operations.in_flight_peak));
    if let (Some(before), Some(peak)) = (scenario.memory.before_bytes, scenario.memory.peak_bytes) {
        let (before, peak) = (format::bytes(before as f64), format::bytes(peak as f64));
        told += &format!(". Memory went from {before} to {peak}");
    }
    told + "."
}

pub(super) fn distribution(page: &mut Page, scenario: &ScenarioReport, id: &str) {
    let latency = sections::latency(scenario);
    page.raw("<section class=\"wide\"><h3>Distribution of latency</h3>\n");
    if latency.count == 0 {
        page.classed("p", "none", "No operation was timed.").raw("</section>\n");
        return;
    }
    let is_open = scenario.response_time.is_some();
    let told = if is_open {
        "Response time counts from the moment at which the schedule wanted an operation to start, service time from \
         its real start. What lies between the two is waiting."
    } else {
        "Service time: in a closed loop a user waits for its operation before it issues the next, so no operation \
         waits to be issued."
    };
    if !latency.buckets.is_empty() {
        page.raw("<figure class=\"chart\"")
            .attribute("data-curve", id)
            .raw("><div class=\"plot\"></div><figcaption>")
            .text(told)
            .raw("</figcaption></figure>\n");
    }
    let response = scenario.response_time.as_ref();
    let figures: [fn(&LatencyReport) -> f64; 10] = [
        |it| it.min_ns as f64,
        |it| it.p50_ns as f64,
        |it| it.p90_ns as f64,
        |it| it.p95_ns as f64,
        |it| it.p99_ns as f64,
        |it| it.p99_9_ns as f64,
        |it| it.p99_99_ns as f64,
        |it| it.max_ns as f64,
        |it| it.mean_ns,
        |it| it.stddev_ns,
    ];
    let rows = [("Response", response), ("Service", Some(&scenario.service_time))];
    let rows = rows.into_iter().filter_map(|(name, latency)| {
        let latency = latency?;
        let figures = figures.iter().map(|of| Cell::Number(format::nanoseconds(of(latency))));
        Some(std::iter::once(Cell::Text(name.to_owned())).chain(figures).collect())
    });
    let headings =
        ["Time", "#min", "#p50", "#p90", "#p95", "#p99", "#p99.9", "#p99.99", "#max", "#mean", "#σ"];
    let caption = format!("Of {} operations that succeeded or timed out", format::count(latency.count));
    page.table("percentiles", &caption, &headings, rows);
    page.raw("</section>\n");
}

/// `12.5 s`, `4:05 min` from two minutes on, `2:00:00 h` from two hours on.
pub(super) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 120.0 {
        return format::nanoseconds(seconds * 1e9);
    }
    let whole = seconds.round() as u64;
    let (minutes, left) = (whole / 60, whole % 60);
    if minutes < 120 {
        format!("{minutes}:{left:02} min")
    } else {
        format!("{}:{:02}:{left:02} h", minutes / 60, minutes % 60)
    }
}
