//! `cargo xtask tidy`: the house rules that no compiler checks.
//!
//! Every rule is a function from the tree to its findings, so that each is tested on planted text. All findings are
//! printed before the command fails.

#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the endings of our own files are in lower case"
)]

mod docs;
mod forbidden;
mod imports;
mod manifests;
mod modelled;
mod rust_files;
mod unsafe_code;

use std::collections::BTreeSet;
use std::fmt;

use crate::failure::Failure;
use crate::manifest::Manifest;
use crate::workspace::Workspace;
use crate::{bench, command_names, loom, sabotage};

/// A rule that a line breaks, and how to mend it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The text files that are tracked, or new and not ignored, and the paths of all files.
struct Tree {
    files: Vec<SourceFile>,
    /// Every file, binary ones too, and every folder on the way to one; from the root, with `/`.
    paths: BTreeSet<String>,
}

struct SourceFile {
    path: String,
    text: String,
}

/// What the docs may name besides files.
struct Names {
    commands: Vec<String>,
    benches: Vec<String>,
    suites: Vec<String>,
    modelled: Vec<String>,
}

/// Checks the whole tree.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::Usage(format!("tidy takes no argument, but got `{argument}`")));
    }
    let tree = Tree::load(workspace)?;
    let findings = check(&tree, &Names::load(workspace)?);
    for finding in &findings {
        println!("{finding}");
    }
    let files = tree.paths.len();
    match findings.len() {
        0 => {
            println!("tidy: nothing to complain about in {} text files ({files} paths)", tree.files.len());
            Ok(())
        }
        1 => Err(Failure::Failed("tidy: 1 finding".to_owned())),
        count => Err(Failure::Failed(format!("tidy: {count} findings"))),
    }
}

fn check(tree: &Tree, names: &Names) -> Vec<Finding> {
    let rules = [
        imports::check,
        rust_files::check,
        forbidden::check,
        unsafe_code::check,
        manifests::check,
        modelled::check,
    ];
    let mut findings: Vec<Finding> = rules.into_iter().flat_map(|rule| rule(tree)).collect();
    findings.extend(docs::check(tree, names));
    findings.sort_unstable();
    findings.dedup();
    findings
}

impl Tree {
    fn load(workspace: &Workspace) -> Result<Self, String> {
        let listed = workspace.files()?;
        let mut files = Vec::new();
        for path in &listed {
            let bytes = std::fs::read(workspace.root.join(path))
                .map_err(|error| format!("cannot read {path}: {error}"))?;
            // Anything else is no text, and no rule is about it.
            if let Ok(text) = String::from_utf8(bytes)
                && !text.contains('\0')
            {
                files.push(SourceFile { path: path.clone(), text });
            }
        }
        Ok(Self { files, paths: with_folders(&listed) })
    }

    #[cfg(test)]
    fn planted(files: &[(&str, &str)]) -> Self {
        let paths: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        let file =
            |(path, text): &(&str, &str)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect(), paths: with_folders(&paths) }
    }

    fn rust_files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The manifests of the workspace's packages: `crates/*`, `tests` and `xtask`.
    fn packages(&self) -> Vec<Package<'_>> {
        let packages = self.files.iter().filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            let is_crate = folder.strip_prefix("crates/").is_some_and(|name| !name.contains('/'));
            let manifest = Manifest::parse(&file.text);
            let name = manifest.package()?.to_owned();
            (is_crate || folder == "tests" || folder == "xtask").then_some(Package {
                folder,
                file,
                name,
                manifest,
            })
        });
        packages.collect()
    }
}

/// A package of the workspace.
struct Package<'a> {
    folder: &'a str,
    file: &'a SourceFile,
    name: String,
    manifest: Manifest,
}

impl SourceFile {
    /// Made by a program, as its first lines say: nobody opens it to read.
    fn is_generated(&self) -> bool {
        self.text.lines().take(5).any(|line| line.starts_with("//") && line.contains("@generated"))
    }
}

impl Names {
    fn load(workspace: &Workspace) -> Result<Self, String> {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Ok(Self {
            commands: owned(command_names()),
            benches: owned(bench::names()),
            suites: sabotage::suites(workspace)?,
            modelled: loom::modelled_crates(workspace)?,
        })
    }
}

fn with_folders(files: &[String]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in files {
        paths.insert(file.clone());
        paths.extend(file.match_indices('/').map(|(at, _)| file[..at].to_owned()));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_as_path_line_message() {
        assert_eq!(Finding::new("a/b.rs", 7, "no").to_string(), "a/b.rs:7: no");
    }

    #[test]
    fn all_findings_of_all_rules_come_sorted() {
        let tree = Tree::planted(&[
            ("crates/odd/Cargo.toml", "[package]\nname = \"odd\"\npublish = false\n"),
            ("crates/odd/src/lib.rs", "fn f() {}"),
        ]);
        let names = Names { commands: vec![], benches: vec![], suites: vec![], modelled: vec![] };
        let findings = check(&tree, &names);
        assert!(findings.is_sorted());
        for rule in ["may-use", "[lints]", "`//!`", "forbid(unsafe_code)", "newline"] {
            assert!(findings.iter().any(|finding| finding.message.contains(rule)), "{rule}: {findings:#?}");
        }
    }

    #[test]
    fn folders_count_as_paths() {
        let tree = Tree::planted(&[("a/b/c.rs", "")]);
        assert_eq!(tree.paths.into_iter().collect::<Vec<_>>(), ["a", "a/b", "a/b/c.rs"]);
    }
}
