//! The command line: parsing, choosing, and the exit code.
//!
//! Exit codes are the verdict's (0 PASS, 1 FAIL, 3 INVALID), 2 for a command line or a scenario description that is
//! wrong, and 1 where the report can't be written.

mod again;
mod arguments;
mod compare;
mod list;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use self::arguments::{Arguments, Parsed};
use crate::baseline::{self, BaselineError};
use crate::interrupt;
use crate::near;
use crate::panics;
use crate::plan::{self, Amount, Plan};
use crate::progress::{Progress, say};
use crate::report::{Report, write};
use crate::sample;
use crate::session::{self, Session};
use crate::suite::{Registered, Suite};
use crate::table::{self, Screen};
use crate::undecided::Undecided;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// The whole program: reads the command line, runs what it says, prints and writes the report.
///
/// Environment: `STEADFAST_STRESS_PROGRAM` is the command that a user types to get here, if that isn't this binary
/// (`cargo xtask stress`); it stands at the head of the command that repeats a run. `CARGO_TARGET_DIR` is where
/// `stress/` with the reports goes if there is no `--out`. `NO_COLOR` switches colours off.
///
/// Returns 0 for PASS, 1 for FAIL, a report that couldn't be written or more INVALID scenarios than
/// `--invalid-max` allows, 2 for a command line or scenario that is wrong, 3 for INVALID.
pub fn main(suites: impl IntoIterator<Item = Suite>) -> ExitCode {
    let suites: Vec<Suite> = suites.into_iter().collect();
    ExitCode::from(run(&suites, std::env::args_os().collect()))
}

/// As [`main`], with the arguments given; the first is the program.
pub(crate) fn run(suites: &[Suite], arguments: Vec<OsString>) -> u8 {
    let arguments = match Arguments::parse(arguments) {
        Parsed::Run(arguments) => arguments,
        Parsed::Compare(matches) => return compare::run(&matches),
        Parsed::Again(matches) => return again::run(&matches),
        Parsed::Printed(code) => return code,
    };
    if let Err(wrong) = plan::check_all(suites) {
        for wrong in wrong {
            say(&format!("error: {wrong}"));
        }
        return USAGE;
    }
    if let Some(missing) = arguments.corpus.as_ref().filter(|path| !path.exists()) {
        say(&format!("error: --corpus {}: there is no such file or directory", missing.display()));
        return USAGE;
    }
    let chosen = match choose(suites, &arguments) {
        Ok(chosen) => chosen,
        Err(error) => {
            say(&format!("error: {error}"));
            return USAGE;
        }
    };
    if arguments.list {
        let text = if arguments.json { list::json(suites, &chosen) } else { list::text(suites, &chosen) };
        print(&text);
        return 0;
    }
    let baselines = match Baselines::of(&arguments) {
        Ok(baselines) => baselines,
        Err(error) => {
            say(&format!("error: {error}"));
            return USAGE;
        }
    };
    run_chosen(&chosen, &arguments, &baselines).unwrap_or_else(|error| {
        say(&format!("error: {error}"));
        FAILED
    })
}

/// A chosen scenario with its suite.
type Chosen<'a> = (&'a Suite, &'a dyn Registered);

fn run_chosen(chosen: &[Chosen<'_>], arguments: &Arguments, baselines: &Baselines) -> Result<u8, String> {
    let seed = arguments.seed.unwrap_or_else(seed_of_now);
    let repeat = arguments.repeat_command(seed);
    let out = arguments.out.clone().unwrap_or_else(default_out);
    let amount = Amount { tier: arguments.tier, soak_for: arguments.soak_for };
    let mut plans = Vec::new();
    for (suite, scenario) in chosen {
        match Plan::new(&suite.name, *scenario, amount)? {
            Some(plan) => plans.push((*scenario, plan)),
            None => say(&format!(
                "not run in tier {}: {}.{}, whose load is a number of operations",
                amount.tier,
                suite.name,
                scenario.name()
            )),
        }
    }
    if plans.is_empty() {
        say(&format!("error: tier {} has no scenario of those chosen", amount.tier));
        return Ok(USAGE);
    }
    let directory = session::make_directory(&out, seed)
        .map_err(|error| format!("cannot make a directory for the report in {}: {error}", out.display()))?;
    let stop = interrupt::listen().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    panics::count_from_now_on();
    let session = Session {
        chosen: plans,
        tier: arguments.tier,
        seed,
        repetitions: arguments.repetitions,
        repeat_invalid: arguments.repeat_invalid,
        corpus: arguments.corpus.clone(),
        directory,
        repeat,
        machine: sample::machine(),
        progress: Progress::for_standard_error(),
        stop,
    };
    print(&header(&session));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let (mut report, mut written) = runtime.block_on(session.run());
    // What a target left running must not keep the process from ending.
    runtime.shutdown_background();
    let compared = baselines.compare(&mut report);
    if baselines.older.is_some() {
        written = written.and_then(|_| write::write(&report, &session.directory));
    }
    let screen = Screen::for_standard_output();
    print(&format!("\n{}", table::render(&report.scenarios, screen)));
    let path = written.as_ref().ok().map(|path| path.display().to_string());
    if let Ok(Some(table)) = &compared {
        print(&format!("\n{table}"));
    }
    print(&table::conclude(&report, path.as_deref(), screen));
    let undecided = Undecided::of(&report);
    let mut code = report.verdict.exit_code();
    if let Some(share) = arguments.invalid_max.filter(|share| undecided.exceeds(*share)) {
        say(&format!("error: {undecided}: --invalid-max allows {}%", share * 100.0));
        code = FAILED;
    }
    for error in [compared.err(), baselines.save(&report).err()].into_iter().flatten() {
        say(&format!("error: {error}"));
        code = if code == 0 { USAGE } else { code };
    }
    if let Err(error) = written {
        let directory = session.directory.display();
        say(&format!("error: cannot write report.json in {directory}: {error}"));
        return Ok(if code == 0 { FAILED } else { code });
    }
    Ok(code)
}

/// What the run is compared with, and where it is kept.
struct Baselines {
    older: Option<Report>,
    margin: f64,
    kept: Option<PathBuf>,
}

impl Baselines {
    /// Reads the baseline, so that whatever is wrong with it is told before anything runs.
    fn of(arguments: &Arguments) -> Result<Self, BaselineError> {
        let out = arguments.out.clone().unwrap_or_else(default_out);
        let path = |name: &Option<String>| name.as_ref().map(|name| baseline::path(&out, name)).transpose();
        let older = path(&arguments.baseline)?.map(|path| baseline::load(&path)).transpose()?;
        if let Some(older) = &older {
            baseline::same_conditions(older, arguments.tier, &sample::machine())?;
        }
        Ok(Self { older, margin: arguments.margin, kept: path(&arguments.save_baseline)? })
    }

    /// The table, if there is a baseline; the verdict is in the report.
    fn compare(&self, report: &mut Report) -> Result<Option<String>, BaselineError> {
        let Some(older) = &self.older else { return Ok(None) };
        let now = std::slice::from_ref(report);
        let comparison = baseline::compare(std::slice::from_ref(older), now, self.margin)?;
        comparison.put_into(report);
        Ok(Some(comparison.render()))
    }

    fn save(&self, report: &Report) -> Result<(), BaselineError> {
        let Some(path) = &self.kept else { return Ok(()) };
        baseline::save(report, path)?;
        print(&format!("baseline  {}\n", path.display()));
        Ok(())
    }
}

/// Configuration and seed, before anything runs.
fn header(session: &Session<'_>) -> String {
    let machine = &session.machine;
    let built =
        if machine.optimized { "" } else { "\nbuilt without optimization: figures on time mean little" };
    format!(
        "tier {}  seed {}  scenarios {}  repetitions {}\n{} × {}, {}, {}{built}\nrepeat  {}\n",
        session.tier,
        session.seed,
        session.chosen.len(),
        session.repetitions,
        machine.processors,
        if machine.brand.is_empty() { "processor" } else { &machine.brand },
        crate::format::bytes(machine.memory_bytes as f64),
        machine.system,
        session.repeat,
    )
}

fn choose<'a>(suites: &'a [Suite], arguments: &Arguments) -> Result<Vec<Chosen<'a>>, String> {
    let unknown_suite = |name: &&String| !suites.iter().any(|suite| suite.name == **name);
    if let Some(unknown) = arguments.suites.iter().find(unknown_suite) {
        return Err(unknown_name("suite", unknown, suites.iter().map(|suite| suite.name.as_str())));
    }
    let of_suites = |suite: &Suite| arguments.suites.is_empty() || arguments.suites.contains(&suite.name);
    let all: Vec<Chosen<'a>> = suites
        .iter()
        .filter(|suite| of_suites(suite))
        .flat_map(|suite| suite.scenarios.iter().map(move |scenario| (suite, &**scenario)))
        .collect();
    if let Some(unknown) = arguments.scenarios.iter().find(|name| !all.iter().any(|it| is_named(*it, name))) {
        let names: Vec<String> =
            all.iter().map(|(suite, it)| format!("{}.{}", suite.name, it.name())).collect();
        return Err(unknown_name("scenario", unknown, names.iter().map(String::as_str)));
    }
    let wanted = |chosen: &Chosen<'_>| {
        arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|name| is_named(*chosen, name))
    };
    let chosen: Vec<Chosen<'a>> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() { Err("there is no scenario to run".to_owned()) } else { Ok(chosen) }
}

/// `suite.scenario`, or only `scenario`.
fn is_named((suite, scenario): Chosen<'_>, name: &str) -> bool {
    match name.split_once('.') {
        Some((of_suite, name)) => of_suite == suite.name && name == scenario.name(),
        None => name == scenario.name(),
    }
}

fn unknown_name<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = near::names(name, known.clone());
    let (text, names) = if near.is_empty() { ("there are", known.collect()) } else { ("near it are", near) };
    format!("there is no {what} `{name}`; {text} {}", names.join(", "))
}

/// Short enough to be typed.
fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    crate::rng::Rng::new(since.as_nanos() as u64).next_u64() >> 40
}

fn default_out() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty());
    target.map_or_else(|| PathBuf::from("target"), PathBuf::from).join("stress")
}

/// If nobody reads it any more, the verdict is still in the exit code.
fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
