//! Which package may use which: the architecture's arrows, in one table.

use super::{Finding, Package, Tree};
use crate::manifest::Dependency;

/// What the tests of any package may use.
const TESTKIT: &str = "steadfast-testkit";

/// What one package may take from the workspace.
struct Rule {
    package: &'static str,
    may_use: MayUse,
}

enum MayUse {
    /// No package at all, not even somebody else's: it has to build in seconds.
    NoDependency,
    /// These packages of the workspace, the second list only behind a feature.
    Only(&'static [&'static str], &'static [&'static str]),
    /// All of the workspace, as a user would; nothing uses it in turn.
    Everything,
}

use MayUse::{Everything, NoDependency, Only};

/// "Who may use whom". A new package begins here.
const RULES: &[Rule] = &[
    Rule { package: "steadfast-metrics", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-breaker", may_use: Only(&[], &["steadfast-metrics"]) },
    Rule { package: "steadfast-memory-api", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-text-index", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-vector-index", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-proto", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-pool", may_use: Only(&["steadfast-metrics"], &[]) },
    Rule {
        package: "steadfast-graph-memory",
        may_use: Only(
            &[
                "steadfast-memory-api",
                "steadfast-text-index",
                "steadfast-vector-index",
                "steadfast-metrics",
                "steadfast-breaker",
            ],
            &[],
        ),
    },
    Rule {
        package: "steadfast-client",
        may_use: Only(
            &["steadfast-memory-api", "steadfast-proto", "steadfast-pool", "steadfast-breaker"],
            &[],
        ),
    },
    Rule {
        package: "steadfast-server",
        may_use: Only(
            &[
                "steadfast-graph-memory",
                "steadfast-memory-api",
                "steadfast-breaker",
                "steadfast-metrics",
                "steadfast-proto",
            ],
            &[],
        ),
    },
    Rule { package: "steadfast-testkit", may_use: Only(&[], &[]) },
    Rule { package: "steadfast-stress", may_use: Only(&["steadfast-metrics"], &[]) },
    Rule { package: "steadfast-peers", may_use: Everything },
    Rule { package: "steadfast-suites", may_use: Everything },
    Rule { package: "xtask", may_use: NoDependency },
];

/// Every dependency that points where it must not, and every package that the table doesn't know.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let packages = tree.packages();
    let members: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    packages.iter().flat_map(|package| check_package(package, &members)).collect()
}

fn check_package(package: &Package<'_>, members: &[&str]) -> Vec<Finding> {
    let Some(rule) = rule(&package.name) else {
        let message = format!("say in xtask/src/tidy/imports.rs what {} may use", package.name);
        return vec![Finding::new(&package.file.path, 1, message)];
    };
    let of_the_workspace = |name: &str| members.contains(&name) || name.starts_with("steadfast-");
    let dependencies = package.manifest.dependencies();
    let refused = dependencies.iter().filter_map(|dependency| {
        let reason = refusal(rule, dependency, of_the_workspace(&dependency.name))?;
        Some(Finding::new(&package.file.path, dependency.line, reason))
    });
    refused.collect()
}

fn rule(package: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.package == package)
}

/// Why `dependency` is not for the package that `rule` is about.
fn refusal(rule: &Rule, dependency: &Dependency, of_the_workspace: bool) -> Option<String> {
    let (package, name) = (rule.package, dependency.name.as_str());
    if let NoDependency = rule.may_use {
        return Some(format!("{package} must not use {name}: std only, it compiles in seconds"));
    }
    if !of_the_workspace {
        return None;
    }
    if self::rule(name).is_some_and(|used| !matches!(used.may_use, Only(..))) {
        return Some(format!("{package} must not use {name}: nothing does"));
    }
    let Only(always, optional) = rule.may_use else { return None };
    // Among the development dependencies a package names itself to have a feature on in its own tests.
    if name == package
        || name == TESTKIT
        || always.contains(&name)
        || (optional.contains(&name) && dependency.optional)
    {
        None
    } else if optional.contains(&name) {
        Some(format!("{package} may use {name} only as an optional dependency"))
    } else {
        Some(format!("{package} may not use {name}; a test that crosses crates belongs in tests/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_manifest(folder: &str, package: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n{rest}\n");
        let tree = Tree::planted(&[(&format!("{folder}/Cargo.toml"), &text)]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_package_may_switch_on_its_own_features_for_its_tests() {
        let text =
            "[dev-dependencies]\nsteadfast-stress = { path = \".\", features = [\"count-allocations\"] }\n";
        assert_eq!(check_manifest("crates/stress", "steadfast-stress", text), Vec::<String>::new());
    }

    #[test]
    fn arrows_of_the_design_are_free() {
        let text = "[dependencies]\nsteadfast-memory-api.workspace = true\nredb = \"4\"\n";
        assert!(check_manifest("crates/graph-memory", "steadfast-graph-memory", text).is_empty());
        let text =
            "[dependencies]\nsteadfast-graph-memory.workspace = true\nsteadfast-stress.workspace = true\n";
        assert!(check_manifest("tests", "steadfast-suites", text).is_empty());
    }

    #[test]
    fn an_arrow_against_the_design_is_found_in_any_kind_of_dependency() {
        for table in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.build-dependencies"] {
            let text = format!("[{table}]\nsteadfast-graph-memory = {{ workspace = true }}\n");
            let found = check_manifest("crates/stress", "steadfast-stress", &text);
            assert_eq!(found.len(), 1, "{table}");
            assert!(
                found[0].starts_with("crates/stress/Cargo.toml:4: steadfast-stress may not use"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_renamed_dependency_is_found_too() {
        let text =
            "[dependencies]\nstore = { package = \"steadfast-graph-memory\", path = \"../graph-memory\" }\n";
        assert_eq!(check_manifest("crates/stress", "steadfast-stress", text).len(), 1);
    }

    #[test]
    fn metrics_in_the_breaker_must_be_optional() {
        let text = "[dependencies]\nsteadfast-metrics = { workspace = true, optional = true }\n";
        assert!(check_manifest("crates/breaker", "steadfast-breaker", text).is_empty());
        let text = "[dependencies]\nsteadfast-metrics.workspace = true\n";
        let found = check_manifest("crates/breaker", "steadfast-breaker", text);
        assert!(found[0].contains("only as an optional"), "{found:?}");
    }

    #[test]
    fn nothing_uses_the_suites_the_peers_or_this_program() {
        for used in ["steadfast-suites", "steadfast-peers", "xtask"] {
            let members = ["xtask"];
            let rule = rule("steadfast-suites").unwrap();
            let dependency = Dependency { name: used.to_owned(), optional: false, line: 1 };
            assert!(
                refusal(rule, &dependency, members.contains(&used) || used != "xtask").is_some(),
                "{used}"
            );
        }
    }

    #[test]
    fn xtask_has_no_dependency_at_all() {
        let found = check_manifest("xtask", "xtask", "[dependencies]\nserde = \"1\"\n");
        assert!(found[0].contains("std only"), "{found:?}");
    }

    #[test]
    fn an_unknown_package_must_be_added_to_the_table() {
        let found = check_manifest("crates/novel", "steadfast-novel", "");
        assert_eq!(
            found,
            ["crates/novel/Cargo.toml:1: say in xtask/src/tidy/imports.rs what steadfast-novel may use"]
        );
    }
}
