//! Opens the page in a real browser: it must draw, and log no error.
//!
//! The browser is found in `PATH` as `chromium`, `chromium-browser` or `google-chrome`. Where there is none, the test
//! says so and checks nothing; with `CI=true` it fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../src/report/examples.rs"]
mod examples;

use steadfast_stress::report::html;

use crate::report::Report;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// It takes about two seconds; on a busy machine many times that.
const PATIENCE: Duration = Duration::from_secs(90);

/// Chromium's sandbox refuses to run as root.
fn is_root(directory: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(directory).is_ok_and(|made_by_us| made_by_us.uid() == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        false
    }
}

/// The page as it is once its script has run; absent where there is no browser.
fn opened(page: &str, width: u32) -> Option<String> {
    let browser = steadfast_testkit::tool(&BROWSERS)?;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    std::fs::write(&file, page).unwrap();
    let (out, log) = (directory.path().join("dom"), directory.path().join("log"));
    let mut command = Command::new(browser);
    command
        .args(["--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--window-size={width},1200"))
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .args(is_root(directory.path()).then_some("--no-sandbox"))
        .arg(format!("file://{}", file.display()))
        // Files, not pipes: a child of the browser may hold a pipe open for longer than the browser lives.
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the browser took more than {PATIENCE:?}");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let said = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    assert!(status.success(), "{status}: {said}");
    Some(std::fs::read_to_string(out).unwrap())
}

/// The value that the script left in `data-name` of the root element.
fn told<'a>(dom: &'a str, name: &str) -> Option<&'a str> {
    let root = dom.split("<head>").next()?;
    root.split(&format!(" data-{name}=\"")).nth(1)?.split('"').next()
}

fn draws(report: &Report, width: u32, charts: usize) -> Option<String> {
    let dom = opened(&html::render(report), width)?;
    assert_eq!(told(&dom, "errors"), None, "the page logged an error");
    assert_eq!(told(&dom, "script"), Some("done"), "the script didn't come to its end");
    assert_eq!(told(&dom, "drawn"), Some(charts.to_string().as_str()));
    let nonsense = dom.split('"').find(|value| value.contains("NaN") || value.contains("Infinity"));
    // The script itself has such words, but is no attribute; its text is between quotes of other kinds.
    let nonsense = nonsense.filter(|value| value.len() < 20_000);
    assert_eq!(nonsense, None, "a figure that is none");
    Some(dom)
}

#[test]
fn the_page_draws_every_series_and_tells_its_figures() {
    let Some(dom) = draws(&examples::full(120), 1280, 2) else { return };
    let drawn = |class: &str| {
        let start = format!("<path class=\"{class}\" d=\"M");
        assert!(dom.contains(&start), "no path of {class}");
    };
    for series in [
        "offered",
        "achieved",
        "achieved fill",
        "failed",
        "p50",
        "p95",
        "p99",
        "p999",
        "max",
        "max fill",
        "flight",
        "rss",
        "live",
        "own fill",
        "others fill",
        "stolen fill",
        "threads",
        "files",
        "response",
        "service",
    ] {
        drawn(series);
    }
    assert_eq!(dom.matches("role=\"slider\"").count(), 2);
    let spoken = dom.split("aria-valuetext=\"").nth(1).unwrap().split('"').next().unwrap();
    for figure in ["phase again", "Rate achieved 1", "Latency p99 84.7 ms", "Memory"] {
        assert!(spoken.contains(figure), "`{figure}` isn't in `{spoken}`");
    }
    assert!(
        dom.contains("p99: response time 34.2 ms, service time 20.5 ms"),
        "the curve rests at p99, exactly"
    );
    assert!(dom.contains(">surge</text>"));
    assert_eq!(dom.matches("<circle class=\"flag\"").count(), 2);
    assert!(dom.contains(">p95 25 ms</text>"), "objectives are in the curve");
}

/// A script of the test's own, at the page's end; what it notes in `dataset` can be asked for with [`told`].
fn probed(report: &Report, width: u32, script: &str) -> Option<String> {
    let page = html::render(report);
    let end = page.rfind("</body>").unwrap();
    let probe = format!(
        "{}<script>{{const root = document.documentElement;{script}}}</script>{}",
        &page[..end],
        &page[end..]
    );
    let dom = opened(&probe, width)?;
    assert_eq!(told(&dom, "errors"), None);
    Some(dom)
}

#[test]
fn the_page_draws_on_a_phone_and_with_several_scenarios() {
    draws(&examples::of_every_verdict(), 360, 6);
}

#[test]
fn a_narrow_page_needs_no_scrolling_sideways() {
    let measure = "document.querySelectorAll('details').forEach((it) => { it.open = true; });\
                   window.dispatchEvent(new Event('resize'));\
                   root.dataset.room = root.clientWidth; root.dataset.needed = root.scrollWidth;\
                   const wide = (it) => !it.querySelector('.windows') && it.scrollWidth > it.clientWidth + 1;\
                   root.dataset.tables = [...document.querySelectorAll('.scroll')].filter(wide).length;";
    let Some(dom) = probed(&examples::of_every_verdict(), 320, measure) else { return };
    let number = |name| told(&dom, name).unwrap().parse::<u32>().unwrap();
    assert!(number("room") <= 500, "the browser made the window wider: {}", number("room"));
    assert!(number("needed") <= number("room"), "{} in {}", number("needed"), number("room"));
    assert_eq!(number("tables"), 0, "only the long table of windows may scroll within itself");
}

#[test]
fn keys_and_the_pointer_move_the_line() {
    let press = "const plot = document.querySelector('[data-time] .plot');\
                 const press = (key) => plot.dispatchEvent(new KeyboardEvent('keydown', { key, cancelable: true }));\
                 const at = () => plot.getAttribute('aria-valuenow');\
                 plot.focus(); root.dataset.focused = document.activeElement === plot;\
                 root.dataset.rest = at(); press('ArrowLeft'); root.dataset.left = at();\
                 press('Home'); root.dataset.home = at(); press('ArrowLeft'); root.dataset.before = at();\
                 press('End'); root.dataset.end = at(); press('PageDown'); root.dataset.page = at();\
                 const box = plot.getBoundingClientRect();\
                 plot.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + 60 }));\
                 root.dataset.pointer = at();\
                 root.dataset.crosses = new Set([...plot.querySelectorAll('.cross')].map((it) => it.getAttribute('transform'))).size;";
    let Some(dom) = probed(&examples::full(120), 1280, press) else { return };
    let all = ["focused", "rest", "left", "home", "before", "end", "page", "pointer", "crosses"];
    let all = all.map(|name| told(&dom, name).unwrap());
    assert_eq!(all, ["true", "74", "73", "0", "0", "119", "107", "0", "1"]);
}

#[test]
fn many_scenarios_are_drawn_when_they_are_unfolded() {
    draws(&examples::large(51, 600), 1280, 0);
}

#[test]
fn a_page_with_little_in_it_opens() {
    for report in [examples::empty(), examples::never_loaded()] {
        draws(&report, 1280, 0);
    }
    draws(&examples::full(1), 1280, 2);
}

#[test]
fn hostile_names_do_nothing() {
    let hostile = "</script><script>document.documentElement.dataset.errors='ran'</script>\
                   <img src=x onerror=\"document.documentElement.dataset.errors='ran'\">&";
    let mut report = examples::full(20);
    let scenario = &mut report.scenarios[0];
    scenario.name = hostile.to_owned();
    scenario.phases[1].name = hostile.to_owned();
    scenario.marks[0].label = hostile.to_owned();
    scenario.operations.errors[0].example = hostile.to_owned();
    let Some(dom) = draws(&report, 1280, 2) else { return };
    assert!(!dom.contains("<img"));
}
