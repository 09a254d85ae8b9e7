//! Each package keeps the workspace's lints, and one that is published says what it is.

use super::{Finding, Package, Tree};

/// What a reader of the registry sees of a package.
const PUBLISHED: [&str; 4] = ["description", "keywords", "license", "readme"];
/// The registry takes no more.
const KEYWORDS_MAX: usize = 5;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages().iter().flat_map(|package| check_package(tree, package)).collect()
}

fn check_package(tree: &Tree, package: &Package<'_>) -> Vec<Finding> {
    let finding = |line: usize, message: String| Finding::new(&package.file.path, line, message);
    let manifest = &package.manifest;
    let mut findings = Vec::new();
    if manifest.get(&["lints", "workspace"]).is_none_or(|(value, _)| value != "true") {
        findings.push(finding(1, "add `[lints] workspace = true`".to_owned()));
    }
    if !manifest.is_published() {
        return findings;
    }
    let missing = PUBLISHED.iter().filter(|key| !manifest.has(&["package", key]));
    findings.extend(missing.map(|key| finding(1, format!("a package that is published needs a `{key}`"))));
    if let Some((keywords, line)) = manifest.get(&["package", "keywords"])
        && keywords.matches('"').count() / 2 > KEYWORDS_MAX
    {
        findings.push(finding(line, format!("at most {KEYWORDS_MAX} keywords")));
    }
    if let Some((readme, line)) = manifest.get(&["package", "readme"])
        && !tree.paths.contains(&format!("{}/{readme}", package.folder))
    {
        findings.push(finding(line, format!("there is no {readme}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[package]
name = "a"
description = "A."
keywords = ["a", "b"]
license.workspace = true
readme = "README.md"

[lints]
workspace = true
"#;

    fn findings(manifest: &str) -> Vec<String> {
        let tree = Tree::planted(&[("crates/a/Cargo.toml", manifest), ("crates/a/README.md", "# a\n")]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_complete_manifest_passes() {
        assert!(findings(GOOD).is_empty());
    }

    #[test]
    fn each_missing_key_is_found() {
        for key in PUBLISHED {
            let without: String =
                GOOD.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            assert_eq!(findings(&without), [format!("a package that is published needs a `{key}`")]);
            assert!(findings(&without.replace("[lints]", "publish = false\n[lints]")).is_empty(), "{key}");
        }
    }

    #[test]
    fn lints_of_its_own_too_many_keywords_and_no_such_readme_are_found() {
        assert_eq!(
            findings(&GOOD.replace("[lints]\nworkspace = true\n", "")),
            ["add `[lints] workspace = true`"]
        );
        assert_eq!(
            findings(&GOOD.replace("\"b\"", "\"b\", \"c\", \"d\", \"e\", \"f\"")),
            ["at most 5 keywords"]
        );
        assert_eq!(findings(&GOOD.replace("README", "READNOT")), ["there is no READNOT.md"]);
    }
}
