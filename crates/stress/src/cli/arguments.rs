//! What can be said on the command line, and how it is said again.
#![expect(
    clippy::format_push_string,
    reason = "the lines read better than `write!` with an error that cannot be"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{again, compare};
use crate::baseline;
use crate::context::Tier;
use crate::progress::say;

/// Tells how this program was called, if not by its own name.
const PROGRAM: &str = "STEADFAST_STRESS_PROGRAM";

/// How long tier soak runs a scenario.
const SOAK_DEFAULT: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arguments {
    /// What a user types to get here.
    pub(crate) program: String,
    pub(crate) tier: Tier,
    /// Only for tier soak.
    pub(crate) soak_for: Duration,
    pub(crate) suites: Vec<String>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) repetitions: u32,
    /// Whether a scenario that is INVALID runs once more.
    pub(crate) repeat_invalid: bool,
    /// The share of the scenarios on a quiet machine that may be INVALID.
    pub(crate) invalid_max: Option<f64>,
    pub(crate) list: bool,
    pub(crate) json: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) corpus: Option<PathBuf>,
    /// The name under which the report is kept.
    pub(crate) save_baseline: Option<String>,
    /// The name of what it is compared with.
    pub(crate) baseline: Option<String>,
    /// By how much a figure may be worse.
    pub(crate) margin: f64,
}

#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Arguments),
    /// Compare, and run nothing of this program.
    Compare(ArgMatches),
    /// Make the pages of a report again.
    Again(ArgMatches),
    /// Help or an error has been printed; this is the exit code.
    Printed(u8),
}

impl Arguments {
    /// The first argument is the program.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Parsed {
        let set = std::env::var(PROGRAM).ok().filter(|program| !program.trim().is_empty());
        let own = || arguments.first().map_or_else(|| "stress".to_owned(), |own| quoted(Path::new(own)));
        let program = set.unwrap_or_else(own);
        match command(&program).try_get_matches_from(arguments) {
            Ok(matches) => match matches.subcommand() {
                Some((compare::NAME, matches)) => Parsed::Compare(matches.clone()),
                Some((again::NAME, matches)) => Parsed::Again(matches.clone()),
                _ => {
                    let given = matches.contains_id("for");
                    let arguments = Self::of(program, &matches);
                    if given && arguments.tier != Tier::Soak {
                        say("error: --for is for tier soak: `soak --for 2h`");
                        return Parsed::Printed(super::USAGE);
                    }
                    Parsed::Run(arguments)
                }
            },
            Err(error) => {
                // If nobody reads it any more, the exit code still tells.
                let _ = error.print();
                Parsed::Printed(u8::try_from(error.exit_code()).unwrap_or(super::USAGE))
            }
        }
    }

    fn of(program: String, matches: &ArgMatches) -> Self {
        let tier = matches.get_one::<String>("tier").or_else(|| matches.get_one("tier-option"));
        let asked = ["save-baseline", "baseline"].iter().any(|id| matches.contains_id(id));
        let repetitions = if asked { baseline::REPEATS } else { 1 };
        let names = |id| matches.get_many(id).into_iter().flatten().cloned().collect();
        Self {
            program,
            // The parser lets only names of tiers through.
            tier: tier.and_then(|name| tier_named(name)).unwrap_or_default(),
            soak_for: matches.get_one("for").copied().unwrap_or(SOAK_DEFAULT),
            suites: names("suite"),
            scenarios: names("scenario"),
            seed: matches.get_one("seed").copied(),
            repetitions: matches.get_one("repeat").copied().unwrap_or(repetitions),
            repeat_invalid: matches.get_flag("repeat-invalid"),
            invalid_max: matches.get_one("invalid-max").copied(),
            list: matches.get_flag("list"),
            json: matches.get_flag("json"),
            out: matches.get_one("out").cloned(),
            corpus: matches.get_one("corpus").cloned(),
            save_baseline: matches.get_one("save-baseline").cloned(),
            baseline: matches.get_one("baseline").cloned(),
            margin: compare::margin_of(matches),
        }
    }

    /// The command that does the same again, with `seed`.
    pub(crate) fn repeat_command(&self, seed: u64) -> String {
        let mut command = format!("{} {}", self.program, self.tier);
        let mut add = |option: &str, value: &str| command.push_str(&format!(" --{option} {value}"));
        if self.tier == Tier::Soak {
            add("for", &format!("{}s", self.soak_for.as_secs_f64()));
        }
        self.suites.iter().for_each(|suite| add("suite", suite));
        self.scenarios.iter().for_each(|scenario| add("scenario", scenario));
        add("seed", &seed.to_string());
        if self.repetitions > 1 {
            add("repeat", &self.repetitions.to_string());
        }
        if let Some(share) = self.invalid_max {
            add("invalid-max", &format!("{}%", share * 100.0));
        }
        // Not what is kept: whoever repeats a run doesn't mean to replace a baseline.
        if let Some(name) = &self.baseline {
            add("baseline", name);
        }
        if self.baseline.is_some() && self.margin != baseline::MARGIN {
            add("margin", &format!("{}%", self.margin * 100.0));
        }
        for (option, path) in [("corpus", &self.corpus), ("out", &self.out)] {
            if let Some(path) = path {
                add(option, &quoted(path));
            }
        }
        if self.repeat_invalid {
            command.push_str(" --repeat-invalid");
        }
        command
    }
}

fn command(program: &str) -> Command {
    let tiers = Tier::ALL.map(Tier::name);
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("stress")
        .bin_name(program.to_owned())
        .about("Runs stress scenarios. Exit code: 0 PASS, 1 FAIL, 2 wrong command line, 3 INVALID")
        .arg(
            Arg::new("tier")
                .value_parser(PossibleValuesParser::new(tiers))
                .help("How much of the load to run [default: smoke]"),
        )
        .arg(
            Arg::new("tier-option")
                .long("tier")
                .value_name("TIER")
                .value_parser(PossibleValuesParser::new(tiers))
                .conflicts_with("tier")
                .help("The same, as an option"),
        )
        .arg(
            option("for", "TIME", "How long tier soak runs each scenario, such as 90s, 10min or 2h [default: 1h]")
                .value_parser(time),
        )
        .arg(option("suite", "NAME", "Only this suite; may be repeated").action(ArgAction::Append))
        .arg(
            option("scenario", "NAME", "Only this scenario, with or without its suite; may be repeated")
                .action(ArgAction::Append),
        )
        .arg(
            option("seed", "N", "Seed of all random choices [default: from the clock]")
                .value_parser(value_parser!(u64)),
        )
        .arg(
            option(
                "repeat",
                "N",
                "Run each scenario N times, with seed, seed + 1, …; the worst verdict counts",
            )
            .value_parser(value_parser!(u32).range(1..=10_000)),
        )
        .arg(
            option("repeat-invalid", "", "Run a scenario that is INVALID once more; the second verdict counts")
                .action(ArgAction::SetTrue),
        )
        .arg(
            option(
                "invalid-max",
                "PERCENT",
                "Exit with 1 if more of the scenarios are INVALID although others took less than 2 % of the processors",
            )
            .value_parser(share),
        )
        .arg(option("list", "", "List the scenarios and run none").action(ArgAction::SetTrue))
        .arg(
            option("json", "", "List as JSON, with loads and objectives in each tier")
                .action(ArgAction::SetTrue)
                .requires("list"),
        )
        .arg(
            option("out", "DIR", "Where reports go [default: target/stress, in CARGO_TARGET_DIR if set]")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            option("corpus", "PATH", "Data for the scenarios that take some")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(option(
            "save-baseline",
            "NAME",
            "Keep the report under this name, if the verdict is PASS; runs each scenario 5 times unless --repeat is there",
        ))
        .arg(option(
            "baseline",
            "NAME",
            "Compare with the baseline of this name, and FAIL if slower; runs each scenario 5 times unless --repeat is there",
        ))
        .arg(compare::margin().requires("baseline"))
        .subcommand(compare::command())
        .subcommand(again::command())
        .args_conflicts_with_subcommands(true)
}

fn tier_named(name: &str) -> Option<Tier> {
    Tier::ALL.into_iter().find(|tier| tier.name() == name)
}

/// `25%` or `25`, as a share.
fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).parse().ok();
    let share = number.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is no share such as 25%"))
}

/// `90s`, `1.5min`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is no time such as 90s, 10min or 2h");
    let at = text.find(|character: char| character.is_ascii_alphabetic()).ok_or_else(expected)?;
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    let time = Duration::try_from_secs_f64(number * scale).map_err(|_| expected())?;
    if time < Duration::from_secs(1) { Err("must be at least 1s".to_owned()) } else { Ok(time) }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "/._-+:=@%,\\".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, u8> {
        let arguments =
            std::iter::once("stress").chain(arguments.iter().copied()).map(OsString::from).collect();
        match Arguments::parse(arguments) {
            Parsed::Run(arguments) => Ok(arguments),
            Parsed::Printed(code) => Err(code),
            Parsed::Compare(_) | Parsed::Again(_) => Err(0),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command("stress").debug_assert();
    }

    #[test]
    fn the_tier_is_a_word_or_an_option() {
        assert_eq!(parse(&[]).unwrap().tier, Tier::Smoke);
        assert_eq!(parse(&["standard"]).unwrap().tier, Tier::Standard);
        assert_eq!(parse(&["--tier", "standard"]).unwrap().tier, Tier::Standard);
        assert_eq!(parse(&["--tier", "smoke", "standard"]), Err(2));
        assert_eq!(parse(&["extreme"]).unwrap().tier, Tier::Extreme);
    }

    #[test]
    fn a_soak_is_told_how_long() {
        let soak = parse(&["soak", "--for", "2h"]).unwrap();
        assert_eq!((soak.tier, soak.soak_for), (Tier::Soak, Duration::from_secs(7_200)));
        assert!(soak.repeat_command(7).ends_with(" soak --for 7200s --seed 7"));
        assert_eq!(parse(&["soak", "--for", "1.5min"]).unwrap().soak_for, Duration::from_secs(90));
        assert_eq!(parse(&["soak"]).unwrap().soak_for, SOAK_DEFAULT);
        assert_eq!(parse(&["standard", "--for", "5s"]), Err(2), "only a soak is as long as one says");
        for wrong in ["2", "h", "-1s", "0s", "5ms", "1e30h", "NaNs", "2 h"] {
            assert_eq!(parse(&["soak", "--for", wrong]), Err(2), "{wrong}");
        }
    }

    #[test]
    fn wrong_arguments_are_usage_errors_and_help_is_none() {
        let shares = ["101%", "-1%", "x", "NaN"].map(|share| ["--invalid-max", share]);
        for wrong in shares {
            assert_eq!(parse(&wrong), Err(2), "{wrong:?}");
        }
        for wrong in [&["huge"][..], &["--sede", "1"], &["--repeat", "0"], &["--json"], &["--seed", "x"]] {
            assert_eq!(parse(wrong), Err(2), "{wrong:?}");
        }
        assert_eq!(parse(&["--help"]), Err(0));
    }

    #[test]
    fn the_command_that_repeats_it_is_complete() {
        let line = ["standard", "--suite", "memory", "--repeat", "3", "--corpus", "my data", "--out", "a/b"];
        let mut arguments = parse(&line).unwrap();
        arguments.program = "cargo xtask stress".to_owned();
        assert_eq!(
            arguments.repeat_command(7),
            "cargo xtask stress standard --suite memory --seed 7 --repeat 3 --corpus 'my data' --out a/b"
        );
        let kept = parse(&["--save-baseline", "before"]).unwrap().repeat_command(7);
        assert!(kept.ends_with(" smoke --seed 7 --repeat 5"), "who repeats it replaces no baseline: {kept}");
        assert_eq!(quoted(Path::new("~x")), "'~x'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
