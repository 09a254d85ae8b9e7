//! The page: its order, its escaping, its size, and what it makes of empty and interrupted runs.

use super::*;
use crate::checks::{Invariant, Value};
use crate::report::examples;
use std::collections::HashSet;

const SIZE_MAX: usize = 1_000_000;

/// Where a text is in the page; it must be there once or more.
fn place(page: &str, text: &str) -> usize {
    page.find(text).unwrap_or_else(|| panic!("`{text}` isn't in the page"))
}

/// The page without style, script and data.
fn markup(page: &str) -> String {
    let mut left = page.to_owned();
    for (from, to) in [("<style>", "</style>"), ("<script", "</script>"), ("<script", "</script>")] {
        let begin = place(&left, from);
        let end = begin + place(&left[begin..], to) + to.len();
        left.replace_range(begin..end, "");
    }
    left
}

#[test]
fn the_parts_come_in_the_order_in_which_one_asks() {
    let page = render(&examples::full(60));
    let parts = [
        "<h1><span class=\"chip pass\">PASS</span>",
        "id=\"command\"",
        "Can it be believed?",
        "<h3>Objectives",
        "<h3>Invariants",
        "<h3>Over time",
        "data-time=\"s1\"",
        "replica 2 killed",
        "<h3>Distribution of latency",
        "data-curve=\"s1\"",
        "<h3>Phases",
        "<h3>Does anything grow?",
        "<h3>Beside the baseline",
        "<h3>Errors",
        "<h3>Values and notes",
    ];
    let places: Vec<usize> = parts.iter().map(|part| place(&page, part)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(!page.contains("id=\"overview\""), "one scenario needs no overview");
}

#[test]
fn all_that_the_report_holds_can_be_read_without_the_script() {
    let report = examples::of_every_verdict();
    let page = markup(&render(&report));
    assert!(page.contains("FAIL</span>") && page.contains("INVALID</span>") && page.contains("PASS</span>"));
    for scenario in &report.scenarios {
        assert!(page.contains(&format!("<span class=\"name\">{}</span>", scenario.name)));
        for reason in &scenario.reasons {
            let escaped = reason.replace('<', "&lt;");
            assert!(page.contains(&escaped), "{reason}");
        }
        for warning in &scenario.warnings {
            assert!(page.contains(warning.as_str()), "{warning}");
        }
    }
    for text in [
        &report.repeat,
        "412k/s on a target that does nothing",
        "late by p99 61.0 µs, at most 480 µs",
        "31% ours",
        "p95 &lt; 25ms",
        "+26%",
        "12000",
        "surge",
        "fragmentation",
        "no change that matters",
        "connection refused",
        "0.9730",
        "3 replicas, in memory",
        "not run: shop.returns",
        "34.2 ms",
    ] {
        assert!(page.contains(text), "`{text}` isn't there");
    }
    assert_eq!(page.matches("<table class=\"windows\">").count(), 3);
}

#[test]
fn an_overview_links_to_each_scenario_and_only_the_bad_ones_stand_open_of_many() {
    let mut report = examples::large(6, 10);
    report.scenarios[3].verdict = Verdict::Fail;
    let page = render(&report);
    for number in 1..=6 {
        assert_eq!(page.matches(&format!("href=\"#s{number}\"")).count(), 1);
        assert_eq!(page.matches(&format!("id=\"s{number}\"")).count(), 1);
    }
    assert_eq!(page.matches("<details open class=\"scenario\"").count(), 1);
    assert!(page.contains("<details open class=\"scenario\" id=\"s4\">"));
}

#[test]
fn nothing_in_a_report_is_taken_for_markup() {
    let hostile = "</script></style><img src=x onerror=alert(1)>&amp;\"'<!--\u{2028}\u{0}";
    let mut report = examples::of_every_verdict();
    report.repeat = hostile.to_owned();
    report.run = hostile.to_owned();
    report.machine.brand = hostile.to_owned();
    report.machine.system = hostile.to_owned();
    report.not_run = vec![hostile.to_owned()];
    for scenario in &mut report.scenarios {
        scenario.name = hostile.to_owned();
        scenario.description = hostile.to_owned();
        scenario.load.description = hostile.to_owned();
        scenario.reasons = vec![hostile.to_owned()];
        scenario.warnings = vec![hostile.to_owned()];
        scenario.reductions = vec![hostile.to_owned()];
        scenario.operations.errors[0].kind = hostile.to_owned();
        scenario.operations.errors[0].example = hostile.to_owned();
        scenario.objectives[0].objective = hostile.to_owned();
        scenario.objectives[0].measured = hostile.to_owned();
        scenario.objectives[0].remark = Some(hostile.to_owned());
        scenario.invariants = vec![Invariant {
            name: hostile.to_owned(),
            measured: hostile.to_owned(),
            expected: Some(hostile.to_owned()),
            held: false,
        }];
        scenario.values = vec![(hostile.to_owned(), Value::Count(1))];
        scenario.notes = vec![(hostile.to_owned(), hostile.to_owned())];
        scenario.phases[0].name = hostile.to_owned();
        scenario.phases[0].load = hostile.to_owned();
        scenario.trends[0].figure = hostile.to_owned();
        scenario.trends[0].finding = hostile.to_owned();
        scenario.marks[0].label = hostile.to_owned();
        scenario.comparison[0].figure = hostile.to_owned();
    }
    let page = render(&report);
    assert!(page.contains("&lt;/script&gt;&lt;/style&gt;&lt;img"), "it is shown as it is written");
    assert_eq!(page.matches("<script").count(), 2, "the data and the script, and nothing else");
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains('\0'));
}

#[test]
fn the_page_keeps_within_its_size() {
    let page = render(&examples::large(51, 600));
    assert!(page.len() < SIZE_MAX, "{} bytes", page.len());
    let page = render(&examples::large(1, 600));
    assert!(page.len() < SIZE_MAX / 5, "{} bytes", page.len());
}

#[test]
fn a_page_of_a_day_is_as_large_as_that_of_minutes() {
    let minutes = render(&examples::full(900)).len();
    let mut report = examples::full(900);
    let scenario = &mut report.scenarios[0];
    let windows = scenario.windows.clone();
    scenario.windows = (0..86_400)
        .map(|second| {
            let mut window = windows[second % windows.len()].clone();
            window.start_s = second as f64;
            window
        })
        .collect();
    let day = render(&report).len();
    assert!(day < minutes * 3 / 2, "{day} against {minutes}");
}

#[test]
fn no_figure_is_nonsense_whatever_is_missing() {
    let mut odd = examples::full(3);
    let scenario = &mut odd.scenarios[0];
    scenario.windows[0].length_s = 0.0;
    scenario.windows[1].p50_ns = 0;
    scenario.objectives[0].measured_number = Some(f64::INFINITY);
    scenario.objectives[1].margin = Some(f64::NAN);
    scenario.comparison[0].ratio_low = 0.0;
    scenario.comparison[1].ratio_high = f64::INFINITY;
    scenario.trends[0].slope_high = f64::NAN;
    scenario.trends[1].budget = Some(0.0);
    scenario.processors.as_mut().unwrap().own = f64::NAN;
    for report in [examples::empty(), examples::never_loaded(), examples::full(1), examples::full(2), odd] {
        let page = markup(&render(&report));
        for nonsense in ["NaN", "inf%", ":inf", "-0.0%"] {
            let near =
                page.find(nonsense).map(|place| &page[place.saturating_sub(60)..place + nonsense.len()]);
            assert_eq!(near, None);
        }
    }
}

#[test]
fn a_run_that_was_cut_short_says_so() {
    let mut report = examples::of_every_verdict();
    assert!(render(&report).contains("Interrupted; not run: shop.returns."));
    report.interrupted = false;
    report.complete = false;
    assert!(render(&report).contains("The run was still going on when this was written: 1 not run."));
    assert!(render(&examples::empty()).contains("No scenario has run"));
    let never = render(&examples::never_loaded());
    assert!(never.contains("Nothing was loaded") && never.contains("set-up failed: connection refused"));
}

#[test]
fn the_page_loads_nothing_and_can_be_read_aloud() {
    let page = render(&examples::of_every_verdict());
    assert!(page.contains("default-src 'none'"));
    let own = page.replace("http://www.w3.org/2000/svg", "");
    for fetched in ["http://", "https://", "src=", "@import", "url(", "<link", "fetch("] {
        assert!(!own.contains(fetched), "{fetched}");
    }
    let text = markup(&page);
    assert_eq!(text.matches("<table").count(), text.matches("<caption>").count());
    assert_eq!(text.matches("<figure").count(), text.matches("<figcaption>").count());
    assert_eq!(text.matches("<h1").count(), 1);
    let ids: Vec<&str> = text.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id is there once: {ids:?}");
}

#[test]
fn elements_are_closed_in_order() {
    // Those that HTML closes by itself.
    const LEFT_OPEN: [&str; 8] = ["meta", "tr", "td", "th", "thead", "tbody", "!doctype", "br"];
    let text = markup(&render(&examples::of_every_verdict()));
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let name = tag.split(['>', ' ']).next().unwrap().trim();
        match name.strip_prefix('/') {
            Some(closed) if LEFT_OPEN.contains(&closed) => {}
            Some(closed) => assert_eq!(open.pop(), Some(closed), "near <{}", &tag[..tag.len().min(60)]),
            None if LEFT_OPEN.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}
