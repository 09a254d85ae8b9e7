//! The parts of a scenario that are text and tables.

use super::page::{Bullet, Cell, Interval, Page};
use super::series;
use crate::format;
use crate::objective::{Comparison, Objective};
use crate::report::{
    ComparisonReport, LatencyReport, ObjectiveReport, ProcessorReport, Report, ScenarioReport, TrendReport,
};
use crate::table;
use crate::verdict::Verdict;

pub(super) fn scenario(page: &mut Page, report: &Report, scenario: &ScenarioReport, id: &str) {
    if !scenario.description.is_empty() {
        page.classed("p", "lead", &scenario.description);
    }
    page.raw("<p class=\"load\">").text(&scenario.load.description);
    if report.repetitions > 1 {
        page.text(&format!(" · seed {}", scenario.seed));
    }
    page.raw("</p>\n");
    if scenario.verdict != Verdict::Pass && !scenario.reasons.is_empty() {
        page.raw("<ul class=\"reasons\">");
        scenario.reasons.iter().for_each(|reason| {
            page.element("li", reason);
        });
        page.raw("</ul>\n");
    }
    tiles(page, scenario);
    page.raw("<div class=\"pair\">\n");
    validity(page, scenario);
    page.raw("<div>\n");
    objectives(page, scenario);
    invariants(page, scenario);
    page.raw("</div></div>\n");
    series::over_time(page, scenario, id, report.scenarios.len() == 1);
    series::distribution(page, scenario, id);
    phases(page, scenario);
    trends(page, scenario);
    comparison(page, scenario);
    page.raw("<div class=\"pair\">\n");
    errors(page, scenario);
    facts(page, scenario);
    page.raw("</div>\n");
}

/// What objectives are about.
pub(super) fn latency(scenario: &ScenarioReport) -> &LatencyReport {
    scenario.response_time.as_ref().unwrap_or(&scenario.service_time)
}

/// The few figures that one looks for first.
fn tiles(page: &mut Page, scenario: &ScenarioReport) {
    let operations = &scenario.operations;
    let latency = latency(scenario);
    let time = |ns: u64| match latency.count {
        0 => "–".to_owned(),
        _ => format::nanoseconds(ns as f64),
    };
    let of_issued = |count: u64| format::share(count as f64 / operations.issued.max(1) as f64);
    let issued = match operations.planned {
        Some(planned) if planned != operations.issued => {
            format!("{} of {} issued", format::count(operations.issued), format::count(planned))
        }
        _ => format!("{} issued", format::count(operations.issued)),
    };
    let kind = if scenario.response_time.is_some() { "response time" } else { "service time" };
    let bad = operations.failed + operations.timed_out;
    let failed = if operations.issued == 0 { "–".to_owned() } else { of_issued(bad) };
    let timeouts = format!(
        "{} errors, {} timeouts",
        format::count(operations.failed),
        format::count(operations.timed_out)
    );
    let worst = format!("max {}", time(latency.max_ns));
    let in_flight = match scenario.load.in_flight_max {
        0 => "at one time".to_owned(),
        most => format!("at one time, of {}", format::count(most as u64)),
    };
    page.raw("<dl class=\"tiles\">");
    for (name, value, below) in [
        ("Rate", format::per_second(operations.rate_per_second), issued),
        ("p50", time(latency.p50_ns), kind.to_owned()),
        ("p99", time(latency.p99_ns), worst),
        ("Failed", failed, timeouts),
        ("In flight", format::count(operations.in_flight_peak), in_flight),
    ] {
        page.raw("<div>").element("dt", name).raw("<dd>").element("b", &value).element("span", &below);
        page.raw("</dd></div>");
    }
    page.raw("</dl>\n");
}

fn validity(page: &mut Page, scenario: &ScenarioReport) {
    page.raw("<section class=\"panel\"><h3>Can it be believed?</h3>\n");
    for warning in &scenario.warnings {
        page.classed("p", "warning", warning);
    }
    if let Some(processors) = &scenario.processors {
        share_bar(page, processors);
    }
    page.raw("<dl>");
    let mut fact = |name: &str, value: &str| {
        page.raw("<div>").element("dt", name).element("dd", value).raw("</div>");
    };
    if let Some(calibration) = &scenario.calibration {
        let alone = format::per_second(calibration.operations_per_second);
        let own = format::nanoseconds(calibration.p99_ns as f64);
        fact("Generator alone", &format!("{alone} on a target that does nothing; its own p99 is {own}"));
        let offered = scenario.load.rate_per_second;
        if let Some(rate) = offered.filter(|_| calibration.operations_per_second > 0.0) {
            let share = rate / calibration.operations_per_second;
            fact("Of what it can", &format!("{} is asked for", format::share((share * 1e4).round() / 1e4)));
        }
    }
    if let Some(lag) = &scenario.lag {
        let time = |ns: u64| format::nanoseconds(ns as f64);
        fact(
            "Schedule’s clock",
            &format!("late by p99 {}, at most {}", time(lag.clock_p99_ns), time(lag.clock_max_ns)),
        );
        fact(
            "Starts",
            &format!("late by p99 {}, at most {}", time(lag.start_p99_ns), time(lag.start_max_ns)),
        );
        let queued = match lag.waited_for_slot {
            0 => "no operation found all slots taken".to_owned(),
            some => format!("{} operations found all slots taken: the target’s doing", format::count(some)),
        };
        fact("Queued", &queued);
    }
    let count = latency(scenario).count;
    fact("Samples", &format!("{} latencies{}", format::count(count), enough_for(count)));
    if let Some(waiting) = scenario.processors.and_then(|processors| processors.waiting_threads) {
        fact(
            "Starved",
            &format!("on average {} threads were ready but had no processor", significant(waiting)),
        );
    }
    for reduction in &scenario.reductions {
        fact("Tier", reduction);
    }
    page.raw("</dl></section>\n");
}

/// A percentile needs one sample beyond it.
fn enough_for(count: u64) -> &'static str {
    match count {
        0..20 => ", too few for p95",
        20..100 => ", enough for p95",
        100..1_000 => ", enough for p99",
        1_000..10_000 => ", enough for p99.9",
        10_000.. => ", enough for p99.99",
    }
}

fn share_bar(page: &mut Page, processors: &ProcessorReport) {
    // What was not to be had counts as nothing.
    let known = |share: f64| if share.is_finite() { share } else { 0.0 };
    let told = [
        ("own", "ours", processors.own),
        ("others", "other processes", processors.others),
        ("stolen", "stolen by the hypervisor", processors.stolen),
        ("idle", "idle", processors.idle),
    ]
    .map(|(class, name, share)| (class, name, known(share)));
    page.raw("<div class=\"shares\" aria-hidden=\"true\">");
    for (class, _, share) in &told {
        page.raw("<i").attribute("class", class).style("width", *share).raw("></i>");
    }
    page.raw("</div><p class=\"legend\">Processors: ");
    for (place, (class, name, share)) in told.iter().enumerate() {
        page.raw(if place > 0 { ", " } else { "" });
        page.raw("<span").attribute("class", class).raw(">");
        page.text(&format!("{} {name}", format::share((share * 1e3).round() / 1e3))).raw("</span>");
    }
    page.raw("</p>\n");
}

fn objectives(page: &mut Page, scenario: &ScenarioReport) {
    page.raw("<section><h3>Objectives</h3>\n");
    if scenario.objectives.is_empty() {
        page.classed("p", "none", "The scenario has none.").raw("</section>\n");
        return;
    }
    let rows = scenario.objectives.iter().map(|objective| {
        let margin = objective.margin.map_or_else(|| "–".to_owned(), table::margin);
        let measured = match &objective.remark {
            Some(remark) => format!("{} ({remark})", objective.measured),
            None => objective.measured.clone(),
        };
        let bar = bullet(objective).map_or_else(|| Cell::Text(String::new()), Cell::Bullet);
        vec![
            Cell::Code(objective.objective.clone()),
            Cell::Held(objective.held),
            Cell::Number(measured),
            Cell::Number(margin),
            bar,
        ]
    });
    let headings = ["Target", "Holds", "#Measured", "#Margin", "Measured against the bound"];
    page.table("objectives", "What was asked for, and what came", &headings, rows);
    page.raw("</section>\n");
}

/// Measured and bound on one scale: whatever is larger is at nine tenths of the room.
fn bullet(objective: &ObjectiveReport) -> Option<Bullet> {
    let parsed: Objective = objective.objective.parse().ok()?;
    // A report from before there was a field for the bound has it in its text alone.
    let bound = objective.bound.or_else(|| parsed.bound.in_base_units())?;
    let measured = objective.measured_number?;
    if parsed.comparison == Comparison::Equal || !measured.is_finite() || bound < 0.0 || measured < 0.0 {
        return None;
    }
    let largest = measured.max(bound);
    let scale = if largest > 0.0 { 0.9 / largest } else { 0.0 };
    Some(Bullet { value: measured * scale, bound: bound * scale, held: objective.held })
}

fn invariants(page: &mut Page, scenario: &ScenarioReport) {
    if scenario.invariants.is_empty() {
        return;
    }
    let rows = scenario.invariants.iter().map(|invariant| {
        let expected = invariant.expected.clone().unwrap_or_else(|| "–".to_owned());
        vec![
            Cell::Text(invariant.name.clone()),
            Cell::Held(invariant.held),
            Cell::Number(invariant.measured.clone()),
            Cell::Number(expected),
        ]
    });
    page.raw("<section><h3>Invariants</h3>\n");
    let headings = ["What must be true", "Holds", "#Found", "#Expected"];
    page.table("invariants", "Checked after the load, exactly", &headings, rows);
    page.raw("</section>\n");
}

fn phases(page: &mut Page, scenario: &ScenarioReport) {
    if scenario.phases.is_empty() {
        return;
    }
    let rows = scenario.phases.iter().map(|phase| {
        let latency = &phase.latency;
        let time = |ns: u64| Cell::Number(format::nanoseconds(ns as f64));
        vec![
            Cell::Text(phase.name.clone()),
            Cell::Text(phase.load.clone()),
            Cell::Number(series::seconds(phase.start_s)),
            Cell::Number(series::seconds(phase.length_s)),
            Cell::Number(format::per_second(phase.operations.rate_per_second)),
            time(latency.p50_ns),
            time(latency.p95_ns),
            time(latency.p99_ns),
            time(latency.max_ns),
            Cell::Number(format::count(phase.operations.failed + phase.operations.timed_out)),
        ]
    });
    page.raw("<section class=\"wide\"><h3>Phases</h3>\n");
    let headings =
        ["Phase", "Load", "#From", "#For", "#Rate", "#p50", "#p95", "#p99", "#max", "#Errors and timeouts"];
    page.table("phases", "An operation belongs to the phase in which it started", &headings, rows);
    page.raw("</section>\n");
}

fn trends(page: &mut Page, scenario: &ScenarioReport) {
    if scenario.trends.is_empty() {
        return;
    }
    let rows = scenario.trends.iter().map(|trend| {
        let unit = if trend.figure.ends_with("_bytes") { " B" } else { "" };
        let slope = |slope: f64| format!("{}{unit}", significant(slope));
        vec![
            Cell::Text(trend.figure.replace('_', " ")),
            Cell::Held(trend.held),
            Cell::Text(trend.finding.clone()),
            Cell::Number(slope(trend.slope)),
            Cell::Number(format!("{} … {}", slope(trend.slope_low), slope(trend.slope_high))),
            Cell::Number(trend.budget.map_or_else(|| "–".to_owned(), slope)),
            Cell::Number(significant(trend.p_value)),
            Cell::Number(format::count(trend.samples as u64)),
            Cell::Interval(trend_interval(trend)),
        ]
    });
    page.raw("<section class=\"wide\"><h3>Does anything grow?</h3>\n");
    let headings = [
        "Figure",
        "Within budget",
        "Finding",
        "#An operation",
        "#95 % interval",
        "#Budget",
        "#p-value",
        "#Samples",
        "Growth against the budget",
    ];
    let caption = "Theil–Sen slope by operation, and Mann–Kendall’s chance that it is none";
    page.table("trends", caption, &headings, rows);
    page.raw("</section>\n");
}

fn trend_interval(trend: &TrendReport) -> Interval {
    let ends = [trend.slope_low, trend.slope_high, trend.budget.unwrap_or(0.0), 0.0];
    let low = ends.into_iter().fold(0.0, f64::min);
    let room = (ends.into_iter().fold(0.0, f64::max) - low).max(f64::MIN_POSITIVE) * 1.1;
    let place = |value: f64| (value - low) / room + 0.04;
    Interval {
        low: place(trend.slope_low),
        at: place(trend.slope),
        high: place(trend.slope_high),
        reference: place(0.0),
        limit: trend.budget.map(place),
        held: trend.held,
    }
}

fn comparison(page: &mut Page, scenario: &ScenarioReport) {
    if scenario.comparison.is_empty() {
        return;
    }
    // One scale for all, in logarithms: twice as much and half as much are as far from 1.
    let far = |it: &ComparisonReport| {
        [it.ratio_low, it.ratio_high, it.ratio, it.margin]
            .into_iter()
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .map(|ratio| ratio.ln().abs())
            .fold(0.02, f64::max)
    };
    let widest = scenario.comparison.iter().map(far).fold(0.02, f64::max) * 1.1;
    let rows = scenario.comparison.iter().map(|it| {
        let figure = |value: f64| Cell::Number(format::in_unit(it.unit, value));
        let finding = match (it.regressed, it.ratio_low > 1.0, it.ratio_high < 1.0) {
            (true, ..) => "worse",
            (false, above, below) if (it.more_is_better && above) || (!it.more_is_better && below) => {
                "better"
            }
            _ => "no change that matters",
        };
        let place = |ratio: f64| 0.5 + ratio.max(f64::MIN_POSITIVE).ln() / widest / 2.0;
        let interval = Interval {
            low: place(it.ratio_low),
            at: place(it.ratio),
            high: place(it.ratio_high),
            reference: 0.5,
            limit: (it.margin > 0.0).then(|| place(it.margin)),
            held: !it.regressed,
        };
        vec![
            Cell::Text(it.figure.clone()),
            Cell::Held(!it.regressed),
            Cell::Text(finding.to_owned()),
            figure(it.baseline),
            figure(it.now),
            Cell::Number(ratio(it.ratio)),
            Cell::Number(format!("{} … {}", ratio(it.ratio_low), ratio(it.ratio_high))),
            Cell::Interval(interval),
        ]
    });
    page.raw("<section class=\"wide\"><h3>Beside the baseline</h3>\n");
    let headings = [
        "Figure",
        "Holds",
        "Finding",
        "#Baseline",
        "#Now",
        "#Ratio",
        "#95 % interval",
        "Ratio, 1 in the middle",
    ];
    page.table("comparison", "Ratios to the baseline’s median", &headings, rows);
    page.raw("</section>\n");
}

fn ratio(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.3}") } else { "–".to_owned() }
}

fn errors(page: &mut Page, scenario: &ScenarioReport) {
    page.raw("<section><h3>Errors</h3>\n");
    if scenario.operations.errors.is_empty() {
        page.classed("p", "none", "None.").raw("</section>\n");
        return;
    }
    let rows = scenario.operations.errors.iter().map(|error| {
        let (kind, example) = (error.kind.clone(), error.example.clone());
        vec![Cell::Code(kind), Cell::Number(format::count(error.count)), Cell::Text(example)]
    });
    page.table("errors", "By kind", &["Kind", "#Count", "The first one said"], rows);
    page.raw("</section>\n");
}

fn facts(page: &mut Page, scenario: &ScenarioReport) {
    let values = scenario.values.iter().map(|(name, value)| (name.clone(), table::value(*value)));
    let stages = scenario.stages;
    let stages = [
        ("Set-up", stages.set_up_s),
        ("Load", stages.load_s),
        ("Check", stages.check_s),
        ("Tear-down", stages.tear_down_s),
    ];
    let stages = stages.into_iter().map(|(name, seconds)| (name.to_owned(), series::seconds(seconds)));
    page.raw("<section><h3>Values and notes</h3>\n<dl class=\"notes\">");
    for (name, value) in values.chain(scenario.notes.iter().cloned()).chain(stages) {
        page.raw("<div>").element("dt", &name).element("dd", &value).raw("</div>");
    }
    page.raw("</dl></section>\n");
}

/// Three digits, without an exponent where it reads well without.
fn significant(number: f64) -> String {
    match number.abs() {
        _ if !number.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.0e}"),
    }
}
