//! Which package may use which: each says it in its own manifest, under
//! `[package.metadata.steadfast]`.
//!
//! | key | meaning |
//! |---|---|
//! | `may-use = ["steadfast-a"]` | the packages of the workspace that it may use; all others are refused |
//! | `may-use-optional = ["steadfast-b"]` | those that it may use behind a feature only |
//! | `may-use = "everything"` | any package, as a user would; nothing uses this one in turn |
//! | `dependencies = "none"` | no package at all, not even somebody else's; nothing uses this one in turn |
//! | `used-by = "tests"` | every package may use this one, among its development dependencies only; one that may use everything also among the others |

use super::{Finding, Package, Tree};
use crate::manifest::{Dependency, Manifest};

const METADATA: [&str; 3] = ["package", "metadata", "steadfast"];

/// What one package says about itself.
#[derive(Debug, PartialEq, Eq)]
enum MayUse {
    /// These packages of the workspace, the second list only behind a feature.
    Only(Vec<String>, Vec<String>),
    Everything,
    NoDependency,
}

/// Every dependency that points where it must not, and every manifest that doesn't say where its
/// own may point.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let packages = tree.packages();
    packages.iter().flat_map(|package| check_package(package, &packages)).collect()
}

fn check_package(package: &Package<'_>, all: &[Package<'_>]) -> Vec<Finding> {
    let finding = |line: usize, message: String| Finding::new(&package.file.path, line, message);
    let may_use = match may_use(&package.manifest) {
        Ok(may_use) => may_use,
        Err((line, wrong)) => return vec![finding(line, format!("[package.metadata.steadfast] {wrong}"))],
    };
    let mut findings = Vec::new();
    if let MayUse::Only(always, optional) = &may_use {
        let unknown = always.iter().chain(optional).filter(|name| !all.iter().any(|it| it.name == **name));
        findings.extend(unknown.map(|name| finding(1, format!("may-use: there is no package {name}"))));
    }
    let refused = package.manifest.dependencies().into_iter().filter_map(|dependency| {
        let used = all.iter().find(|used| used.name == dependency.name);
        let reason = refusal(&package.name, &may_use, &dependency, used.map(|used| &used.manifest))?;
        Some(finding(dependency.line, reason))
    });
    findings.extend(refused);
    findings
}

/// Reads what the manifest says, or tells the line and what is wrong there.
fn may_use(manifest: &Manifest) -> Result<MayUse, (usize, String)> {
    let key = |name| [&METADATA[..], &[name]].concat();
    if let Some((value, line)) = manifest.get(&key("dependencies")) {
        return match value {
            "none" => Ok(MayUse::NoDependency),
            other => Err((line, format!("dependencies: `{other}` is not `none`"))),
        };
    }
    let Some((value, line)) = manifest.get(&key("may-use")) else {
        return Err((1, "must say what the package may use: `may-use = [\"steadfast-…\"]`".to_owned()));
    };
    if value == "everything" {
        return Ok(MayUse::Everything);
    }
    let always = manifest.list(&key("may-use"));
    let always =
        always.ok_or_else(|| (line, format!("may-use: `{value}` is no list, nor \"everything\"")))?;
    Ok(MayUse::Only(always, manifest.list(&key("may-use-optional")).unwrap_or_default()))
}

/// Why `package` must not use `dependency`; `used` is the manifest of that, if it is of the
/// workspace.
fn refusal(
    package: &str,
    may_use: &MayUse,
    dependency: &Dependency,
    used: Option<&Manifest>,
) -> Option<String> {
    let name = dependency.name.as_str();
    if *may_use == MayUse::NoDependency {
        return Some(format!("{package} must not use {name}: std only, it compiles in seconds"));
    }
    // A package names itself among its development dependencies to have a feature on in its own
    // tests.
    let used = used.filter(|_| name != package)?;
    if used.get(&[&METADATA[..], &["used-by"]].concat()).is_some_and(|(by, _)| by == "tests") {
        let is_free = dependency.dev || *may_use == MayUse::Everything;
        return (!is_free).then(|| format!("{name} is for tests: only a development dependency"));
    }
    if !matches!(self::may_use(used), Ok(MayUse::Only(..)) | Err(_)) {
        return Some(format!("{package} must not use {name}: nothing does"));
    }
    let MayUse::Only(always, optional) = may_use else { return None };
    let is_in = |list: &[String]| list.iter().any(|known| known == name);
    if is_in(always) || (is_in(optional) && dependency.optional) {
        None
    } else if is_in(optional) {
        Some(format!("{package} may use {name} only as an optional dependency"))
    } else {
        Some(format!(
            "{package} may not use {name}, by its [package.metadata.steadfast]; a test that crosses crates belongs in tests/"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Findings about `rest`, put into the manifest of a package called a, beside one of each kind.
    fn findings(rest: &str) -> Vec<String> {
        let manifest = |name: &str, metadata: &str| {
            format!("[package]\nname = \"{name}\"\n[package.metadata.steadfast]\n{metadata}\n")
        };
        let a = format!("[package]\nname = \"steadfast-a\"\n{rest}\n");
        let tree = Tree::planted(&[
            ("crates/a/Cargo.toml", &a),
            ("crates/b/Cargo.toml", &manifest("steadfast-b", "may-use = []")),
            ("crates/c/Cargo.toml", &manifest("steadfast-c", "may-use = []")),
            ("crates/kit/Cargo.toml", &manifest("steadfast-kit", "may-use = []\nused-by = \"tests\"")),
            ("tests/Cargo.toml", &manifest("steadfast-suites", "may-use = \"everything\"")),
            ("xtask/Cargo.toml", &manifest("xtask", "dependencies = \"none\"")),
        ]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    const METADATA_OF_A: &str =
        "[package.metadata.steadfast]\nmay-use = [\"steadfast-b\"]\nmay-use-optional = [\"steadfast-c\"]\n";

    fn found(metadata: &str, dependencies: &str) -> Vec<String> {
        findings(&format!("{metadata}{dependencies}"))
    }

    #[test]
    fn what_the_manifest_allows_is_free_and_so_is_what_others_make() {
        let dependencies = "[dependencies]\nsteadfast-b.workspace = true\nredb = \"4\"\nsteadfast-c = { workspace = true, optional = true }\n";
        assert_eq!(found(METADATA_OF_A, dependencies), [""; 0]);
    }

    #[test]
    fn what_it_does_not_allow_is_found_in_any_kind_of_dependency() {
        for table in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.build-dependencies"] {
            for spelled in ["steadfast-c = {", "x = { package = \"steadfast-c\","] {
                let dependencies = format!("[{table}]\n{spelled} path = \"../c\" }}\n");
                let found =
                    found("[package.metadata.steadfast]\nmay-use = [\"steadfast-b\"]\n", &dependencies);
                assert_eq!(found.len(), 1, "{table}: {found:?}");
                let start = "crates/a/Cargo.toml:6: steadfast-a may not use steadfast-c";
                assert!(found[0].starts_with(start), "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_allowed_behind_a_feature_must_be_optional() {
        let found = found(METADATA_OF_A, "[dependencies]\nsteadfast-c.workspace = true\n");
        assert!(found.len() == 1 && found[0].contains("only as an optional"), "{found:?}");
    }

    #[test]
    fn a_package_may_switch_on_its_own_features_for_its_tests() {
        let dependencies = "[dev-dependencies]\nsteadfast-a = { path = \".\", features = [\"x\"] }\n";
        assert_eq!(found(METADATA_OF_A, dependencies), [""; 0]);
    }

    #[test]
    fn what_is_for_tests_is_a_development_dependency_of_anybody() {
        assert_eq!(found(METADATA_OF_A, "[dev-dependencies]\nsteadfast-kit.workspace = true\n"), [""; 0]);
        for table in ["dependencies", "build-dependencies"] {
            let found = found(METADATA_OF_A, &format!("[{table}]\nsteadfast-kit.workspace = true\n"));
            assert!(found.len() == 1 && found[0].contains("only a development dependency"), "{found:?}");
        }
        let everything = "[package.metadata.steadfast]\nmay-use = \"everything\"\n";
        assert_eq!(found(everything, "[dependencies]\nsteadfast-kit.workspace = true\n"), [""; 0]);
    }

    #[test]
    fn nothing_uses_what_uses_everything_or_nothing() {
        for used in ["steadfast-suites", "xtask"] {
            for metadata in [METADATA_OF_A, "[package.metadata.steadfast]\nmay-use = \"everything\"\n"] {
                let found = found(metadata, &format!("[dependencies]\n{used} = {{ path = \"x\" }}\n"));
                assert!(found.len() == 1 && found[0].ends_with("nothing does"), "{found:?}");
            }
        }
        let everything = "[package.metadata.steadfast]\nmay-use = \"everything\"\n";
        assert_eq!(found(everything, "[dependencies]\nsteadfast-c.workspace = true\n"), [""; 0]);
    }

    #[test]
    fn a_package_without_dependencies_has_none_at_all() {
        let found = found(
            "[package.metadata.steadfast]\ndependencies = \"none\"\n",
            "[dependencies]\nserde = \"1\"\n",
        );
        assert!(found.len() == 1 && found[0].contains("std only"), "{found:?}");
    }

    #[test]
    fn a_manifest_that_says_nothing_or_nonsense_is_found() {
        for (metadata, message) in [
            ("", "crates/a/Cargo.toml:1: [package.metadata.steadfast] must say what the package may use"),
            ("[package.metadata.steadfast]\nmay-use = \"all\"", "`all` is no list"),
            ("[package.metadata.steadfast]\ndependencies = \"few\"", "`few` is not `none`"),
            ("[package.metadata.steadfast]\nmay-use = [\"steadfast-z\"]", "there is no package steadfast-z"),
            (
                "[package.metadata.steadfast]\nmay-use = []\nmay-use-optional = [\"metrics\"]",
                "no package metrics",
            ),
        ] {
            let found = findings(metadata);
            assert!(found.len() == 1 && found[0].contains(message), "{metadata}: {found:?}");
        }
    }
}
