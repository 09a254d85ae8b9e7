//! `cargo xtask loom`: runs the models under loom, which tries every interleaving that matters.
//!
//! The cfg `steadfast_loom` is given to the workspace's packages only: cargo calls this program in
//! the compiler's place for them (`RUSTC_WORKSPACE_WRAPPER`), and it adds the cfg. Cargo asks the
//! wrapped compiler also which cfgs are set, so `[target.'cfg(steadfast_loom)'.dependencies]`
//! works. Other people's packages don't know the cfg, and are mostly the same build as for the
//! tests. The profile is theirs as well.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::failure::Failure;
use crate::process;
use crate::side_by_side;
use crate::test_binaries;
use crate::test_output::TestOutput;
use crate::workspace::Workspace;

/// What swaps a modelled core's atomics, locks and threads for loom's; see the lints in the workspace's manifest.
const CFG: &str = "steadfast_loom";
/// Set where this program stands in the compiler's place.
const WRAPPER: &str = "STEADFAST_LOOM_WRAPPER";

/// Runs the models of the crate named, or of each crate that has some.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let modelled = modelled_crates(workspace)?;
    let chosen = choose(arguments, &modelled).map_err(Failure::Usage)?;
    let binaries = test_binaries::built_by(workspace, &mut build(workspace, &chosen)?)?;
    let failures = Mutex::new(Vec::new());
    side_by_side::for_each(&binaries, |binary| {
        let (output, failure) = run_models(&binary.name, binary.command().arg("loom").stdin(Stdio::null()));
        process::announce(&format!("\nmodels of {}\n{output}", binary.name));
        failures.lock().expect("nothing here panics").extend(failure);
    });
    let failures = failures.into_inner().expect("nothing here panics");
    if failures.is_empty() { Ok(()) } else { Err(Failure::Failed(failures.join("; "))) }
}

/// The build of all models.
pub(crate) fn build_command(workspace: &Workspace) -> Result<Command, String> {
    build(workspace, &modelled_crates(workspace)?)
}

/// One build for all that are chosen: what they share is built once, with the features that they
/// ask for together.
fn build(workspace: &Workspace, chosen: &[String]) -> Result<Command, String> {
    let mut cargo = test_binaries::build_command(workspace, &[]);
    cargo.args(["--lib", "--all-features"]);
    cargo.args(chosen.iter().flat_map(|name| ["--package".to_owned(), format!("steadfast-{name}")]));
    // Loom itself is what takes the time, so our own code isn't optimised for it: that would take longer.
    for name in workspace.crates()? {
        cargo.args(["--config", &format!("profile.dev.package.steadfast-{name}.opt-level=0")]);
    }
    set_cfg(&mut cargo)?;
    Ok(cargo)
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

/// Makes `cargo` compile the workspace's packages for loom.
pub(crate) fn set_cfg(cargo: &mut Command) -> Result<(), String> {
    let own =
        std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    cargo.env("RUSTC_WORKSPACE_WRAPPER", own).env(WRAPPER, "1");
    Ok(())
}

/// The compiler with the cfg, if cargo called this program in the compiler's place.
pub(crate) fn wrapped_compiler() -> Option<Command> {
    std::env::var_os(WRAPPER)?;
    compiler(std::env::args_os().skip(1))
}

fn compiler(mut arguments: impl Iterator<Item = OsString>) -> Option<Command> {
    let mut command = Command::new(arguments.next()?);
    command.args(arguments).args(["--cfg", CFG]);
    Some(command)
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

/// Runs one crate's models; returns what they print, and what is wrong if something is.
fn run_models(name: &str, binary: &mut Command) -> (String, Option<String>) {
    let (code, output) = match process::output_and_code(binary) {
        Ok(ended) => ended,
        Err(failure) => return (String::new(), Some(failure)),
    };
    let failure = if code != 0 {
        Some(format!("models of {name} failed"))
    } else if TestOutput::parse(&output).ran == 0 {
        let hint =
            "a model is a unit test with `loom` in its path, under `#[cfg(all(test, steadfast_loom))]`";
        Some(format!("{name} ran no loom model; {hint}"))
    } else {
        None
    };
    (output, failure)
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

    #[test]
    fn the_cfg_is_added_to_whatever_cargo_asks_of_the_compiler() {
        let asked = ["rustc", "--crate-name", "pool", "src/lib.rs"].map(OsString::from);
        let command = compiler(asked.into_iter()).unwrap();
        assert_eq!(process::describe(&command), "rustc --crate-name pool src/lib.rs --cfg steadfast_loom");
        assert!(compiler(std::iter::empty()).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_failed_model_and_no_model_at_all_are_failures() {
        let run = |script: &str| run_models("a", Command::new("sh").args(["-c", script]));
        assert_eq!(run("echo 'test result: ok. 3 passed; 0 failed;'").1, None);
        let (output, failure) = run("echo 'test x::loom_y ... FAILED'; exit 101");
        assert_eq!(
            (output.as_str(), failure.unwrap().as_str()),
            ("test x::loom_y ... FAILED\n", "models of a failed")
        );
        let (_, failure) = run("echo 'test result: ok. 0 passed; 0 failed;'");
        assert!(failure.unwrap().starts_with("a ran no loom model"));
    }
}
