//! What can be said on the command line, and how it is said again.
#![expect(
    clippy::format_push_string,
    reason = "the lines read better than `write!` with an error that cannot be"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::context::Tier;

/// Tells how this program was called, if not by its own name.
const PROGRAM: &str = "STEADFAST_STRESS_PROGRAM";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What a user types to get here.
    pub(crate) program: String,
    pub(crate) tier: Tier,
    pub(crate) suites: Vec<String>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) repetitions: u32,
    pub(crate) list: bool,
    pub(crate) json: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) corpus: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Arguments),
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
            Ok(matches) => Parsed::Run(Self::of(program, &matches)),
            Err(error) => {
                // If nobody reads it any more, the exit code still tells.
                let _ = error.print();
                Parsed::Printed(u8::try_from(error.exit_code()).unwrap_or(super::USAGE))
            }
        }
    }

    fn of(program: String, matches: &ArgMatches) -> Self {
        let tier = matches.get_one::<String>("tier").or_else(|| matches.get_one("tier-option"));
        let names = |id| matches.get_many(id).into_iter().flatten().cloned().collect();
        Self {
            program,
            tier: if tier.is_some_and(|tier| tier == "standard") { Tier::Standard } else { Tier::Smoke },
            suites: names("suite"),
            scenarios: names("scenario"),
            seed: matches.get_one("seed").copied(),
            repetitions: matches.get_one("repeat").copied().unwrap_or(1),
            list: matches.get_flag("list"),
            json: matches.get_flag("json"),
            out: matches.get_one("out").cloned(),
            corpus: matches.get_one("corpus").cloned(),
        }
    }

    /// The command that does the same again, with `seed`.
    pub(crate) fn repeat_command(&self, seed: u64) -> String {
        let mut command = format!("{} {}", self.program, self.tier);
        let mut add = |option: &str, value: &str| command.push_str(&format!(" --{option} {value}"));
        self.suites.iter().for_each(|suite| add("suite", suite));
        self.scenarios.iter().for_each(|scenario| add("scenario", scenario));
        add("seed", &seed.to_string());
        if self.repetitions > 1 {
            add("repeat", &self.repetitions.to_string());
        }
        for (option, path) in [("corpus", &self.corpus), ("out", &self.out)] {
            if let Some(path) = path {
                add(option, &quoted(path));
            }
        }
        command
    }
}

fn command(program: &str) -> Command {
    let tiers = ["smoke", "standard"];
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("stress")
        .bin_name(program.to_owned())
        .about("Runs stress scenarios. Exit code: 0 PASS, 1 FAIL, 2 wrong command line, 3 INVALID")
        .arg(Arg::new("tier").value_parser(tiers).help("How much of the load to run [default: smoke]"))
        .arg(
            Arg::new("tier-option")
                .long("tier")
                .value_name("TIER")
                .value_parser(tiers)
                .conflicts_with("tier")
                .help("The same, as an option"),
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
            .value_parser(value_parser!(u32).range(1..)),
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
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "/._-+:=@%,~\\".contains(character);
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
    }

    #[test]
    fn wrong_arguments_are_usage_errors_and_help_is_none() {
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
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
