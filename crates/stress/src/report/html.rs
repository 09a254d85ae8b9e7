//! `report.html`: a report as one page that needs nothing else.
//!
//! The page holds its style, its script and its data; its own policy forbids it to load anything. All that is a figure
//! or a word is markup that is made here and readable without the script. The script draws what is better seen: all
//! series on one time axis, and the distributions. `page.rs` is why no name of a scenario can break the page, `data.rs`
//! why it stays small.

mod data;
mod page;
mod sections;
mod series;

use self::page::{Cell, Page};
use super::{Report, ScenarioReport};
use crate::format;
use crate::verdict::Verdict;

/// Up to so many scenarios are shown unfolded whatever became of them.
const UNFOLDED: usize = 4;

/// The page. It depends on nothing but the report, so it can be made again from `report.json`.
///
/// ```
/// # fn of(json: &str) -> serde_json::Result<()> {
/// let report: steadfast_stress::report::Report = serde_json::from_str(json)?;
/// let page = steadfast_stress::report::html::render(&report);
/// assert!(page.starts_with("<!doctype html>"));
/// # Ok(()) }
/// ```
pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    head(&mut page, report);
    opening(&mut page, report);
    page.raw("<main id=\"main\">\n");
    if report.scenarios.len() > 1 {
        overview(&mut page, report);
    }
    for (place, scenario) in report.scenarios.iter().enumerate() {
        let fold = report.scenarios.len() > 1;
        let open = report.scenarios.len() <= UNFOLDED || scenario.verdict != Verdict::Pass;
        section(&mut page, report, scenario, place, fold.then_some(open));
    }
    page.raw("</main>\n");
    closing(&mut page, report);
    page.json("data", &data::json(report));
    page.raw("<script>\n").raw(include_str!("html/charts.js")).raw("</script>\n</body>\n</html>\n");
    page.into_string()
}

/// A scenario's place in the page.
fn id(place: usize) -> String {
    format!("s{}", place + 1)
}

fn head(page: &mut Page, report: &Report) {
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n")
        // Nothing may be fetched, whatever is in the report.
        .raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ")
        .raw(
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n",
        )
        .element("title", &format!("{} · {} · stress report", report.verdict, report.run))
        .raw("\n<style>\n")
        .raw(include_str!("html/style.css"))
        .raw("</style>\n</head>\n");
}

/// What can be said of a run that may still be going on, or was killed.
fn going_on(report: &Report) -> String {
    match report.not_run.len() {
        0 => "The run was still going on when this was written.".to_owned(),
        left => format!("The run was still going on when this was written: {left} not run."),
    }
}

/// The verdict, why, and how to repeat it.
fn opening(page: &mut Page, report: &Report) {
    page.raw(match report.verdict {
        Verdict::Pass => "<body class=\"pass\">\n",
        Verdict::Invalid => "<body class=\"invalid\">\n",
        Verdict::Fail => "<body class=\"fail\">\n",
    });
    page.raw("<a class=\"skip\" href=\"#main\">To the results</a>\n<header>\n<p class=\"kicker\">Stress report</p>\n<h1>")
        .verdict(report.verdict)
        .raw(" ")
        .classed("span", "sum", &sum(report))
        .raw("</h1>\n");
    let failed = report.scenarios.iter().filter(|scenario| scenario.verdict != Verdict::Pass);
    let mut failed: Vec<&ScenarioReport> = failed.collect();
    failed.sort_by_key(|scenario| std::cmp::Reverse(scenario.verdict));
    if !failed.is_empty() {
        page.raw("<ul class=\"reasons\">");
        for scenario in failed {
            page.raw("<li>")
                .element("b", &titled(report, scenario))
                .raw(" ")
                .text(&scenario.reasons.join("; "));
            page.raw("</li>");
        }
        page.raw("</ul>\n");
    }
    if report.interrupted {
        let not_run = report.not_run.join(", ");
        let text = if not_run.is_empty() {
            "Interrupted.".to_owned()
        } else {
            format!("Interrupted; not run: {not_run}.")
        };
        page.classed("p", "interrupted", &text).raw("\n");
    } else if !report.complete {
        page.classed("p", "interrupted", &going_on(report)).raw("\n");
    }
    page.raw("<div class=\"repeat\"><span class=\"label\" id=\"repeat-label\">Repeat it</span>")
        .raw("<code id=\"command\" tabindex=\"0\" aria-labelledby=\"repeat-label\">")
        .text(&report.repeat)
        .raw("</code><button type=\"button\" id=\"copy\" hidden>Copy</button></div>\n<dl class=\"facts\">");
    let machine = &report.machine;
    let brand = if machine.brand.is_empty() { "processor" } else { &machine.brand };
    let memory = format::bytes(machine.memory_bytes as f64);
    for (name, value) in [
        ("Run", report.run.clone()),
        ("Tier", report.tier.to_string()),
        ("Seed", report.seed.to_string()),
        (
            "Machine",
            format!("{} × {brand}, {memory}, {} {}", machine.processors, machine.system, machine.kernel),
        ),
    ] {
        page.raw("<div>").element("dt", name).element("dd", &value).raw("</div>");
    }
    page.raw("</dl>\n");
    if !machine.optimized {
        page.classed("p", "interrupted", "Built without optimization: figures on time mean little.")
            .raw("\n");
    }
    page.raw("</header>\n");
}

fn sum(report: &Report) -> String {
    let all = report.scenarios.len();
    let of = |verdict| report.scenarios.iter().filter(|scenario| scenario.verdict == verdict).count();
    match all {
        0 => "No scenario has run".to_owned(),
        1 => titled(report, &report.scenarios[0]),
        _ => format!("{} of {all} scenarios passed", of(Verdict::Pass)),
    }
}

/// With the repetition, if there are several.
fn titled(report: &Report, scenario: &ScenarioReport) -> String {
    match report.repetitions {
        1 => scenario.name.clone(),
        _ => format!("{} #{}", scenario.name, scenario.repetition),
    }
}

fn overview(page: &mut Page, report: &Report) {
    page.raw("<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">All scenarios</h2>\n");
    let row = |(place, scenario): (usize, &ScenarioReport)| {
        let latency = sections::latency(scenario);
        let time = |ns: u64| match latency.count {
            0 => "–".to_owned(),
            _ => format::nanoseconds(ns as f64),
        };
        let operations = &scenario.operations;
        vec![
            Cell::Link(id(place), titled(report, scenario)),
            Cell::Verdict(scenario.verdict),
            Cell::Number(format::per_second(operations.rate_per_second)),
            Cell::Number(time(latency.p50_ns)),
            Cell::Number(time(latency.p99_ns)),
            Cell::Number(format::count(operations.failed + operations.timed_out)),
        ]
    };
    let headings = ["Scenario", "Verdict", "#Rate", "#p50", "#p99", "#Errors and timeouts"];
    let caption = "Each scenario in the order in which it ran";
    page.table("overview", caption, &headings, report.scenarios.iter().enumerate().map(row));
    page.raw("</section>\n");
}

/// `fold` is whether it stands open, if it can be folded at all.
fn section(page: &mut Page, report: &Report, scenario: &ScenarioReport, place: usize, fold: Option<bool>) {
    let id = id(place);
    page.raw(match fold {
        Some(true) => "<details open class=\"scenario\"",
        Some(false) => "<details class=\"scenario\"",
        None => "<section class=\"scenario\"",
    });
    page.attribute("id", &id).raw(">\n");
    if fold.is_some() {
        page.raw("<summary>");
    }
    if fold.is_some() {
        page.raw("<h2>").verdict(scenario.verdict).raw(" ").classed(
            "span",
            "name",
            &titled(report, scenario),
        );
        page.raw("</h2></summary>");
    } else {
        // The page's own heading has named it.
        page.classed("h2", "unseen", &scenario.name);
    }
    page.raw("\n");
    sections::scenario(page, report, scenario, &id);
    page.raw(if fold.is_some() { "</details>\n" } else { "</section>\n" });
}

fn closing(page: &mut Page, report: &Report) {
    page.raw("<footer><p>Made by steadfast-stress from ").raw("<code>report.json</code>, schema ");
    page.text(&report.schema.to_string());
    page.raw(". This page loads nothing.</p></footer>\n");
}

#[cfg(test)]
mod tests;
