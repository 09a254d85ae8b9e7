//! `cargo xtask sabotage <crate>`: plants each known bug in a copy of the tree and sees a named test fail.
//!
//! A test that can't fail proves nothing, so the tests are tested: first every test that is to catch something passes
//! on the clean copy (the control), then each patch of `xtask/sabotage/<crate>/` is applied alone, built and judged.

mod bug;
mod copy;
mod trial;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;
use crate::process;
use crate::table;
use crate::workspace::{Workspace, folders};
use bug::{Bug, Detection};
use trial::{Bench, Verdict};

const PATCHES: &str = "xtask/sabotage";
const LIMIT_SECONDS: u64 = 300;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    suite: Option<String>,
    only: Option<String>,
    list: bool,
    limit: Duration,
}

/// One line of the scorecard.
struct Score {
    name: String,
    verdict: Verdict,
    took: Duration,
}

/// Plants the bugs of one crate; succeeds only if every one is caught.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let request = parse(arguments).map_err(Failure::Usage)?;
    let suites = suites(workspace)?;
    let known = || match suites.as_slice() {
        [] => format!("no crate has planted bugs yet: they go to {PATCHES}/<crate>/"),
        suites => format!("crates with planted bugs: {}", suites.join(", ")),
    };
    if let Some(unknown) = request.suite.as_ref().filter(|suite| !suites.contains(suite)) {
        return Err(Failure::Usage(format!("`{unknown}` has no planted bugs; {}", known())));
    }
    if request.list {
        return list(workspace, &request, &suites);
    }
    let suite = request.suite.as_ref().ok_or_else(|| Failure::Usage(format!("which crate? {}", known())))?;
    let bugs = chosen_bugs(workspace, suite, request.only.as_deref())?;
    let scores = plant_all(workspace, suite, &bugs, request.limit)?;
    println!("\n{}", scorecard(&scores));
    let escaped: Vec<&str> =
        scores.iter().filter(|score| !score.verdict.is_caught()).map(|score| score.name.as_str()).collect();
    if escaped.is_empty() {
        println!("all {} planted bugs of {suite} were caught", scores.len());
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} of {} planted bugs not caught: {}",
        escaped.len(),
        scores.len(),
        escaped.join(", ")
    )))
}

/// The crates that have planted bugs: the folders with patches.
pub(crate) fn suites(workspace: &Workspace) -> Result<Vec<String>, String> {
    let patches = workspace.root.join(PATCHES);
    let mut names = folders(&patches)?;
    names.retain(|name| bug::patch_files(&patches.join(name)).is_ok_and(|files| !files.is_empty()));
    Ok(names)
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut request =
        Request { suite: None, only: None, list: false, limit: Duration::from_secs(LIMIT_SECONDS) };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => request.list = true,
            "--only" => {
                request.only = Some(arguments.next().ok_or("--only needs the name of a bug")?.clone());
            }
            "--limit-seconds" => {
                let seconds =
                    arguments.next().and_then(|value| value.parse().ok()).filter(|&seconds| seconds > 0);
                let seconds = seconds.ok_or("--limit-seconds needs a whole number from 1")?;
                request.limit = Duration::from_secs(seconds);
            }
            option if option.starts_with('-') => return Err(format!("sabotage has no option `{option}`")),
            suite if request.suite.is_none() => {
                request.suite = Some(suite.strip_prefix("steadfast-").unwrap_or(suite).to_owned());
            }
            more => return Err(format!("one crate at a time; what is `{more}`?")),
        }
    }
    Ok(request)
}

fn list(workspace: &Workspace, request: &Request, suites: &[String]) -> Result<(), Failure> {
    for suite in suites.iter().filter(|suite| request.suite.as_ref().is_none_or(|asked| asked == *suite)) {
        println!("{suite}");
        for bug in chosen_bugs(workspace, suite, request.only.as_deref())? {
            println!("  {}: {}\n      caught by {}", bug.name, bug.what, bug.detection.describe());
        }
    }
    Ok(())
}

fn chosen_bugs(workspace: &Workspace, suite: &str, only: Option<&str>) -> Result<Vec<Bug>, Failure> {
    let bugs = Bug::load_all(&workspace.root.join(PATCHES).join(suite))?;
    let Some(only) = only else { return Ok(bugs) };
    let known: Vec<String> = bugs.iter().map(|bug| bug.name.clone()).collect();
    let chosen: Vec<Bug> = bugs.into_iter().filter(|bug| bug.name == only).collect();
    if chosen.is_empty() {
        return Err(Failure::Usage(format!("{suite} has no bug `{only}`; it has {}", known.join(", "))));
    }
    Ok(chosen)
}

fn plant_all(
    workspace: &Workspace,
    suite: &str,
    bugs: &[Bug],
    limit: Duration,
) -> Result<Vec<Score>, Failure> {
    let place = workspace.target().join("sabotage");
    let logs = place.join("logs").join(suite);
    std::fs::create_dir_all(&logs).map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
    let _alone = alone(&place.join("lock"))?;
    let bench = Bench::new(workspace, &place, logs, limit)?;
    control(&bench, bugs)?;
    bugs.iter().map(|bug| plant(&bench, bug)).collect()
}

/// Two runs would change each other's copy: the second one waits. Let go when dropped.
fn alone(path: &Path) -> Result<File, String> {
    let fault = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
    let file = File::create(path).map_err(fault)?;
    if file.try_lock().is_err() {
        process::announce("waiting for another sabotage run to end");
        file.lock().map_err(fault)?;
    }
    Ok(file)
}

/// Without a bug every test passes, or its failing proves nothing later.
fn control(bench: &Bench, bugs: &[Bug]) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for (detection, times) in distinct(bugs) {
        process::announce(&format!("control: {}", detection.describe()));
        if let Err(fault) = bench.control(detection, times) {
            println!("    ✗ {fault}");
            faults.push(detection.describe());
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults.join("\n    ");
    Err(Failure::Failed(format!("the control must pass without any bug, but did not:\n    {faults}")))
}

/// Each test once, as often as the most demanding bug repeats it.
fn distinct(bugs: &[Bug]) -> Vec<(&Detection, usize)> {
    let mut distinct: Vec<(&Detection, usize)> = Vec::new();
    for bug in bugs {
        match distinct.iter_mut().find(|(known, _)| *known == &bug.detection) {
            Some((_, times)) => *times = bug.times.max(*times),
            None => distinct.push((&bug.detection, bug.times)),
        }
    }
    distinct
}

fn plant(bench: &Bench, bug: &Bug) -> Result<Score, Failure> {
    process::announce(&format!("{}: {}", bug.name, bug.what));
    let (verdict, took) = bench.judge(bug)?;
    println!("    {} {} ({:.1} s)", verdict.mark(), verdict.tell(), took.as_secs_f64());
    Ok(Score { name: bug.name.clone(), verdict, took })
}

fn scorecard(scores: &[Score]) -> String {
    let row = |score: &Score| {
        let verdict = &score.verdict;
        // What went wrong has been told in full above.
        let caught_by = verdict.tell().lines().next().unwrap_or_default().to_owned();
        [score.name.clone(), verdict.mark().to_owned(), format!("{:.1}", score.took.as_secs_f64()), caught_by]
    };
    let rows: Vec<[String; 4]> = scores.iter().map(row).collect();
    table::render(["bug", " ", "seconds", "caught by"], &rows)
}
