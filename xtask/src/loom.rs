//! `cargo xtask loom`: runs the models under loom, which tries every interleaving that matters.
//!
//! The cfg `steadfast_loom` changes how every crate below is compiled, so the models have a target folder of their own.

use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::process;
use crate::test_output::TestOutput;
use crate::workspace::Workspace;

/// What swaps a modelled core's atomics, locks and threads for loom's; see the lints in the workspace's manifest.
const CFG: &str = "--cfg steadfast_loom";

/// Runs the models of the crate named, or of each crate that has some.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let modelled = modelled_crates(workspace)?;
    let chosen = choose(arguments, &modelled).map_err(Failure::Usage)?;
    let workspace = workspace.building_into(workspace.target().join("loom"));
    for name in chosen {
        run_models(&workspace, &name)?;
    }
    Ok(())
}

/// The folders of the crates with models: those whose manifest takes loom in under `cfg(steadfast_loom)`.
pub(crate) fn modelled_crates(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut names = workspace.crates()?;
    names.retain(|name| {
        std::fs::read_to_string(workspace.crate_manifest(name))
            .is_ok_and(|manifest| manifest.contains("cfg(steadfast_loom)"))
    });
    Ok(names)
}

/// Makes `cargo` compile for loom, whatever other flags are set.
pub(crate) fn set_cfg(cargo: &mut Command) {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    cargo.env("RUSTFLAGS", format!("{flags} {CFG}").trim());
}

fn choose(arguments: &[String], modelled: &[String]) -> Result<Vec<String>, String> {
    let have = || format!("crates with loom models: {}", modelled.join(", "));
    match arguments {
        [] if modelled.is_empty() => Err("no crate has loom models".to_owned()),
        [] => Ok(modelled.to_vec()),
        [one] => {
            let name = one.strip_prefix("steadfast-").unwrap_or(one);
            let known = modelled.iter().find(|known| *known == name).cloned();
            known.map(|known| vec![known]).ok_or_else(|| format!("`{one}` is not among the {}", have()))
        }
        _ => Err(format!("one crate at a time, or none for all of them; {}", have())),
    }
}

fn run_models(workspace: &Workspace, name: &str) -> Result<(), Failure> {
    let package = format!("steadfast-{name}");
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--release", "--package", &package, "--lib", "loom"]);
    set_cfg(&mut cargo);
    cargo.stdin(Stdio::null());
    let (code, output) = process::run_and_keep_output(&mut cargo)?;
    if code != 0 {
        return Err(Failure::Exit(code));
    }
    if TestOutput::parse(&output).ran == 0 {
        let hint =
            "a model is a unit test with `loom` in its path, under `#[cfg(all(test, steadfast_loom))]`";
        return Err(Failure::Failed(format!("{package} ran no loom model; {hint}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_crate_is_chosen_by_folder_or_package_name_and_all_without() {
        let modelled = strings(&["breaker", "graph-memory"]);
        assert_eq!(choose(&[], &modelled).unwrap(), modelled);
        assert_eq!(choose(&strings(&["breaker"]), &modelled).unwrap(), ["breaker"]);
        assert_eq!(choose(&strings(&["steadfast-graph-memory"]), &modelled).unwrap(), ["graph-memory"]);
    }

    #[test]
    fn an_unknown_crate_is_refused_with_those_that_have_models() {
        let refusal = choose(&strings(&["stress"]), &strings(&["breaker"])).unwrap_err();
        assert!(refusal.contains("crates with loom models: breaker"), "{refusal}");
        assert!(choose(&[], &[]).is_err());
    }
}
