//! `cargo xtask bench <what>`: the benchmarks by their short names.

use std::process::Command;

use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

/// A benchmark: its short name, how it is run, and what it measures.
struct Bench {
    name: &'static str,
    program: Program,
    about: &'static str,
}

/// What runs a benchmark.
enum Program {
    /// A bench target of one of the workspace's packages.
    Target { package: &'static str, target: &'static str },
    /// A package's own program. Its first argument is one of these parts, each behind a feature of the same name.
    Parts { package: &'static str, parts: &'static [&'static str] },
}

/// Every benchmark. `cargo xtask tidy` holds the docs against this table.
const BENCHES: &[Bench] = &[
    Bench {
        name: "commit",
        program: Program::Target { package: "steadfast-graph-memory", target: "commit" },
        about: "durable commands a second against the raw log, by number of callers",
    },
    Bench {
        name: "search",
        program: Program::Target { package: "steadfast-graph-memory", target: "search" },
        about: "searches by number of memories, searches beside writes, and how soon a write is found",
    },
    Bench {
        name: "peers",
        program: Program::Parts {
            package: "steadfast-peers",
            parts: &["breaker", "metrics", "pool", "text", "vector"],
        },
        about: "`breaker`, `metrics`, `pool`, `text` or `vector`: the parts against other people's crates",
    },
];

/// Runs the benchmark named first with the remaining arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let (what, rest) = arguments.split_first().ok_or_else(|| usage("which benchmark?"))?;
    let bench = BENCHES.iter().find(|bench| bench.name == what.as_str());
    let bench = bench.ok_or_else(|| usage(&format!("there is no benchmark `{what}`.")))?;
    process::run(&mut bench.command(workspace, rest)?)
}

/// The short names of all benchmarks.
pub(crate) fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).collect()
}

impl Bench {
    fn command(&self, workspace: &Workspace, arguments: &[String]) -> Result<Command, Failure> {
        let mut cargo = workspace.cargo();
        match self.program {
            Program::Target { package, target } => {
                cargo.args(["bench", "--package", package, "--bench", target, "--"]);
            }
            Program::Parts { package, parts } => {
                let part = arguments.first().filter(|part| parts.contains(&part.as_str()));
                let part = part.ok_or_else(|| {
                    Failure::Usage(format!("`{}` needs to know what: {}", self.name, parts.join(" or ")))
                })?;
                cargo.args(["run", "--release", "--package", package, "--features", part, "--"]);
            }
        }
        cargo.args(arguments);
        Ok(cargo)
    }
}

fn usage(complaint: &str) -> Failure {
    let known: String = BENCHES.iter().map(|bench| format!("\n  {}  {}", bench.name, bench.about)).collect();
    Failure::Usage(format!("{complaint} There are:{known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn command(words: &[&str]) -> Result<String, Failure> {
        let workspace = Workspace::at("nowhere".into(), "nowhere".into());
        let bench = BENCHES.iter().find(|bench| bench.name == words[0]).unwrap();
        Ok(process::describe(&bench.command(&workspace, &strings(&words[1..]))?))
    }

    #[test]
    fn an_unknown_benchmark_lists_those_that_exist() {
        let workspace = Workspace::at("nowhere".into(), "nowhere".into());
        for arguments in [vec![], strings(&["comit"])] {
            let failure = run(&workspace, &arguments).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            for name in names() {
                assert!(failure.message().unwrap().contains(&format!("\n  {name}  ")), "{failure:?}");
            }
        }
    }

    #[test]
    fn a_benchmark_gets_the_arguments_behind_its_name() {
        assert!(
            command(&["search", "--rounds", "3"])
                .unwrap()
                .ends_with("bench --package steadfast-graph-memory --bench search -- --rounds 3")
        );
        assert!(
            command(&["peers", "text", "--rounds", "3"])
                .unwrap()
                .ends_with("run --release --package steadfast-peers --features text -- text --rounds 3")
        );
    }

    #[test]
    fn peers_without_a_known_part_names_the_parts() {
        for words in [&["peers"][..], &["peers", "graph"]] {
            let failure = command(words).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.message().unwrap().contains("text or vector"), "{failure:?}");
        }
    }

    #[test]
    fn every_benchmark_is_in_the_workspace() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for bench in BENCHES {
            let (Program::Target { package, .. } | Program::Parts { package, .. }) = bench.program;
            let folder = package.strip_prefix("steadfast-").unwrap();
            let manifest = std::fs::read_to_string(format!("{root}/crates/{folder}/Cargo.toml")).unwrap();
            match bench.program {
                Program::Target { target, .. } => {
                    assert!(manifest.contains(&format!("[[bench]]\nname = \"{target}\"")), "{}", bench.name);
                }
                Program::Parts { parts, .. } => {
                    for part in parts {
                        assert!(manifest.contains(&format!("\n{part} = [")), "{part}");
                    }
                }
            }
        }
    }
}
