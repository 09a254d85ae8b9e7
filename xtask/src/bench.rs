//! `cargo xtask bench <what>`: the benchmarks by their short names.

use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

/// A benchmark: its short name, where it is, and what it measures.
struct Bench {
    name: &'static str,
    package: &'static str,
    target: &'static str,
    about: &'static str,
}

/// Every benchmark. `cargo xtask tidy` holds the docs against this table.
const BENCHES: &[Bench] = &[Bench {
    name: "commit",
    package: "steadfast-graph-memory",
    target: "commit",
    about: "durable commands a second against the raw log, by number of callers",
}];

/// Runs the benchmark named first with the remaining arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let (what, rest) = arguments.split_first().ok_or_else(|| usage("which benchmark?"))?;
    let bench = BENCHES.iter().find(|bench| bench.name == what.as_str());
    let bench = bench.ok_or_else(|| usage(&format!("there is no benchmark `{what}`.")))?;
    let mut cargo = workspace.cargo();
    cargo.args(["bench", "--package", bench.package, "--bench", bench.target, "--"]).args(rest);
    process::run(&mut cargo)
}

/// The short names of all benchmarks.
pub(crate) fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).collect()
}

fn usage(complaint: &str) -> Failure {
    let known: String = BENCHES.iter().map(|bench| format!("\n  {}  {}", bench.name, bench.about)).collect();
    Failure::Usage(format!("{complaint} There are:{known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_lists_those_that_exist() {
        let workspace = Workspace::at("nowhere".into(), "nowhere".into());
        for arguments in [vec![], vec!["comit".to_owned()]] {
            let failure = run(&workspace, &arguments).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.message().unwrap().contains("\n  commit  "), "{failure:?}");
        }
    }
}
