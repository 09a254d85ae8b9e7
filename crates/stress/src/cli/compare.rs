//! `compare`: two reports, two sets of them, or two programs that are run in turns.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{USAGE, default_out, print, seed_of_now};
use crate::baseline::{self, BaselineError, MARGIN, REPEATS};
use crate::progress::say;
use crate::report::Report;

/// The subcommand's name.
pub(super) const NAME: &str = "compare";

pub(super) fn command() -> Command {
    let paths = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("REPORT,…")
            .value_delimiter(',')
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    Command::new(NAME)
        .about(
            "Compares reports. Exit code: 0 no regression, 1 regression, 2 not comparable, 3 can't be told",
        )
        .after_help(
            "stress compare A.json B.json\n\
             stress compare --baseline A1.json,A2.json --candidate B1.json,B2.json\n\
             stress compare --interleave ./stress-old ./stress-new -- standard --suite memory\n\n\
             A report is a file, a run's directory, or the name of a saved baseline.",
        )
        .arg(
            Arg::new("what")
                .value_name("REPORT")
                .num_args(2)
                .value_parser(value_parser!(OsString))
                .required_unless_present("baseline")
                .conflicts_with("baseline")
                .help("The baseline and what is compared with it; with --interleave two programs"),
        )
        .arg(paths("baseline", "Reports of the baseline").requires("candidate"))
        .arg(paths("candidate", "Reports of what is compared with it").requires("baseline"))
        .arg(Arg::new("interleave").long("interleave").action(ArgAction::SetTrue).requires("what").help(
            "Runs two programs in turns, A B B A …, each --rounds times, and compares what they report",
        ))
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .requires("interleave")
                .value_parser(value_parser!(u32).range(3..=1_000))
                .help("How often each program runs [default: 5]"),
        )
        .arg(
            Arg::new("out").long("out").value_name("DIR").value_parser(value_parser!(PathBuf)).help(
                "Where baselines are, and where --interleave leaves its reports [default: target/stress]",
            ),
        )
        .arg(margin())
        .arg(
            Arg::new("arguments")
                .last(true)
                .num_args(0..)
                .requires("interleave")
                .value_parser(value_parser!(OsString))
                .help("What both programs are called with"),
        )
}

/// `--margin`, here and where a run is compared with a baseline.
pub(super) fn margin() -> Arg {
    Arg::new("margin")
        .long("margin")
        .value_name("PERCENT")
        .value_parser(percent)
        .help("By how much a figure may be worse [default: 5%]")
}

pub(super) fn margin_of(matches: &ArgMatches) -> f64 {
    matches.get_one("margin").copied().unwrap_or(MARGIN)
}

/// `5%` or `5`, as a share.
fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).parse().ok();
    let share = number.map(|percent| percent / 100.0).filter(|share| (0.0..=10.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is no margin such as 5%"))
}

/// Compares, prints, and tells the exit code.
pub(super) fn run(matches: &ArgMatches) -> u8 {
    let compared =
        read(matches).and_then(|(old, new)| baseline::compare(&old, &new, margin_of(matches)).map_err(told));
    match compared {
        Ok(comparison) => {
            print(&comparison.render());
            print(&format!("\n{}\n", comparison.verdict()));
            comparison.verdict().exit_code()
        }
        Err(error) => {
            say(&format!("error: {error}"));
            USAGE
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn told(error: BaselineError) -> String {
    error.to_string()
}

/// The reports of both sides.
fn read(matches: &ArgMatches) -> Result<(Vec<Report>, Vec<Report>), String> {
    let out = matches.get_one("out").cloned().unwrap_or_else(default_out);
    let what: Vec<OsString> = matches.get_many("what").into_iter().flatten().cloned().collect();
    if matches.get_flag("interleave") {
        let rounds = matches.get_one("rounds").copied().unwrap_or(REPEATS);
        let arguments: Vec<OsString> = matches.get_many("arguments").into_iter().flatten().cloned().collect();
        return interleave(&what, rounds, &arguments, &out);
    }
    let all = |paths: &[PathBuf]| -> Result<Vec<Report>, String> {
        paths.iter().map(|path| baseline::load(&located(path, &out)).map_err(told)).collect()
    };
    if let [old, new] = &what[..] {
        return Ok((all(&[old.into()])?, all(&[new.into()])?));
    }
    let paths = |id| matches.get_many(id).into_iter().flatten().cloned().collect::<Vec<PathBuf>>();
    Ok((all(&paths("baseline"))?, all(&paths("candidate"))?))
}

/// What is no file may be a baseline's name.
fn located(path: &Path, out: &Path) -> PathBuf {
    let named = path.to_str().and_then(|name| baseline::path(out, name).ok());
    named.filter(|named| !path.exists() && named.exists()).unwrap_or_else(|| path.to_owned())
}

/// Runs both programs in turns: A B, B A, A B, … A machine that gets slower meanwhile does so for both. The two of a
/// round have the same seed.
fn interleave(
    programs: &[OsString],
    rounds: u32,
    arguments: &[OsString],
    out: &Path,
) -> Result<(Vec<Report>, Vec<Report>), String> {
    let seed = seed_of_now();
    let directory = out.join("compare").join(seed.to_string());
    let [old, new] = programs else { return Err("two programs are needed".to_owned()) };
    let (mut of_old, mut of_new) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (a, b) = ((old, "a", &mut of_old), (new, "b", &mut of_new));
        let turns = if round % 2 == 0 { [a, b] } else { [b, a] };
        for (program, side, reports) in turns {
            let here = directory.join(format!("{}-{side}", round + 1));
            say(&format!("round {} of {rounds}: {}", round + 1, Path::new(program).display()));
            reports.push(run_once(program, arguments, seed + u64::from(round), &here)?);
        }
    }
    print(&format!("reports  {}\n", directory.display()));
    Ok((of_old, of_new))
}

fn run_once(program: &OsStr, arguments: &[OsString], seed: u64, out: &Path) -> Result<Report, String> {
    let name = Path::new(program).display();
    let status = Process::new(program)
        .args(arguments)
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    let runs = fs::read_dir(out)
        .map_err(|error| format!("{name} ended with {status} and left no report: {error}"))?;
    let mut runs =
        runs.filter_map(Result::ok).map(|run| run.path()).filter(|path| path.join("report.json").exists());
    let run = runs.next().ok_or_else(|| format!("{name} ended with {status} and left no report"))?;
    let report = baseline::load(&run).map_err(told)?;
    let expected = report.verdict.exit_code();
    if status.code() == Some(expected.into()) {
        return Ok(report);
    }
    Err(format!("{name} ended with {status}, though its report says {}", report.verdict))
}

#[cfg(test)]
mod tests;
