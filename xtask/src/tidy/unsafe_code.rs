//! Unsafe code is argued where it stands, named in the package's README, and forbidden where there
//! is none.

use super::{Finding, SourceFile, Tree};
use crate::rust_text::{code_only, find_word};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let in_crates = tree.rust_files().filter(|file| file.path.starts_with("crates/") && !file.is_generated());
    let mut findings: Vec<Finding> = in_crates.flat_map(check_arguments).collect();
    for package in tree.packages() {
        findings.extend(check_forbidden(tree, package.folder));
        findings.extend(check_readme(tree, package.folder));
    }
    findings
}

/// Clippy asks for the argument at blocks; this asks everywhere, at `unsafe impl` above all.
fn check_arguments(file: &SourceFile) -> Vec<Finding> {
    let code = code_only(&file.text);
    let code: Vec<&str> = code.lines().collect();
    let text: Vec<&str> = file.text.lines().collect();
    let unargued = (0..code.len()).filter(|&line| is_claim(code[line]) && !is_argued(line, &code, &text));
    let finding =
        |line: usize| Finding::new(&file.path, line + 1, "`unsafe` without a `// SAFETY:` above it");
    unargued.map(finding).collect()
}

/// Whether `unsafe` on this line claims something, rather than being the type of a function.
fn is_claim(code: &str) -> bool {
    find_word(code, "unsafe").is_some_and(|at| {
        let after: String = code[at + "unsafe".len()..].split_whitespace().collect();
        let is_type = after.starts_with("fn(") || (after.starts_with("extern") && after.contains("fn("));
        !is_type
    })
}

/// Whether a comment on the line, or directly above its statement, argues it.
fn is_argued(line: usize, code: &[&str], text: &[&str]) -> bool {
    let argues = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    if argues(text[line]) {
        return true;
    }
    for above in (0..line).rev() {
        if argues(text[above]) {
            return true;
        }
        // Comments, attributes and the beginning of the same statement are passed; an empty line or an end isn't.
        let begins = code[above].trim();
        let is_attribute = begins.starts_with("#[");
        if text[above].trim().is_empty() || (begins.ends_with([';', '{', '}']) && !is_attribute) {
            return false;
        }
    }
    false
}

/// The files with unsafe code in a package's library or program.
fn unsafe_files<'a>(tree: &'a Tree, folder: &str) -> impl Iterator<Item = &'a SourceFile> {
    let source = format!("{folder}/src/");
    tree.rust_files()
        .filter(move |file| file.path.starts_with(&source))
        .filter(|file| find_word(&code_only(&file.text), "unsafe").is_some())
}

/// A package without unsafe code has the compiler keep it so.
fn check_forbidden(tree: &Tree, folder: &str) -> Option<Finding> {
    if unsafe_files(tree, folder).next().is_some() {
        return None;
    }
    let root = ["lib.rs", "main.rs"].iter().find_map(|name| tree.file(&format!("{folder}/src/{name}")))?;
    let forbids = code_only(&root.text).contains("#![forbid(unsafe_code)]");
    (!forbids).then(|| Finding::new(&root.path, 1, "nothing here is unsafe: add `#![forbid(unsafe_code)]`"))
}

/// The README names each file with unsafe code, and doesn't deny having any.
fn check_readme(tree: &Tree, folder: &str) -> Vec<Finding> {
    let Some(readme) = tree.file(&format!("{folder}/README.md")) else { return Vec::new() };
    let mut findings = Vec::new();
    for file in unsafe_files(tree, folder) {
        let name = &file.path[folder.len() + 1..];
        if !readme.text.contains(&format!("`{name}`")) {
            findings.push(Finding::new(
                &readme.path,
                1,
                format!("must name `{name}`, which has unsafe code"),
            ));
        }
        let claim = readme.text.lines().position(|line| line.to_lowercase().contains("no unsafe code"));
        findings.extend(
            claim.map(|line| Finding::new(&readme.path, line + 1, format!("{name} has unsafe code"))),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Tree::planted(&[("crates/a/src/x.rs", text)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn unargued_unsafe_is_found() {
        assert_eq!(lines("struct A;\nunsafe impl Send for A {}\n"), [2]);
        assert_eq!(
            lines("// SAFETY: no pointer.\nunsafe impl Send for A {}\nunsafe impl Sync for A {}\n"),
            [3]
        );
        assert_eq!(lines("// SAFETY: gone.\n\nunsafe impl Send for A {}\n"), [3]);
        assert_eq!(lines("/// Does it.\npub unsafe fn f() {}\n"), [2]);
    }

    #[test]
    fn argued_unsafe_is_not() {
        assert!(
            lines("// SAFETY: no pointer,\n// none at all.\n#[cfg(x)]\nunsafe impl Send for A {}\n")
                .is_empty()
        );
        assert!(
            lines("fn f() {\n    // SAFETY: in bounds.\n    let x =\n        unsafe { g() };\n}\n")
                .is_empty()
        );
        assert!(lines("/// # Safety\n/// `p` is valid.\npub unsafe fn f(p: *const u8) {}\n").is_empty());
    }

    #[test]
    fn words_and_types_are_no_claims() {
        assert!(lines("// unsafe\nconst S: &str = \"unsafe\";\n#![deny(unsafe_code)]\n").is_empty());
        assert!(
            lines("struct V {\n    drop: unsafe fn(*mut ()),\n    c: unsafe extern \"C\" fn(),\n}\n")
                .is_empty()
        );
    }

    fn readme(text: &str, code: &str) -> Vec<String> {
        let tree = Tree::planted(&[
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("crates/a/README.md", text),
            ("crates/a/src/lib.rs", "#![forbid(unsafe_code)]\n"),
            ("crates/a/src/b.rs", code),
        ]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_readme_names_the_unsafe_files_and_claims_nothing_else() {
        let code = "// SAFETY: none.\nunsafe impl Send for B {}\n";
        assert_eq!(readme("Unsafe code: `src/b.rs`.\n", code), [""; 0]);
        assert_eq!(readme("No unsafe code.\n", "// unsafe\n"), [""; 0]);
        let missing = "crates/a/README.md:1: must name `src/b.rs`, which has unsafe code";
        assert_eq!(readme("Unsafe code: some.\n", code), [missing]);
        let wrong = "crates/a/README.md:2: src/b.rs has unsafe code";
        assert_eq!(readme("See `src/b.rs`.\nNo unsafe code of its own.\n", code), [wrong]);
    }

    fn forbidden(root: &str, other: &str) -> usize {
        let tree = Tree::planted(&[
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("crates/a/src/lib.rs", root),
            ("crates/a/src/b.rs", other),
        ]);
        check(&tree).len()
    }

    #[test]
    fn a_package_without_unsafe_forbids_it() {
        assert_eq!(forbidden("//! A.\n", "//! B.\n"), 1);
        assert_eq!(forbidden("//! A.\n// #![forbid(unsafe_code)]\n", "//! B.\n"), 1);
        assert_eq!(forbidden("//! A.\n#![forbid(unsafe_code)]\n", "//! B.\n"), 0);
        assert_eq!(forbidden("//! A.\n", "//! B.\n// SAFETY: none.\nunsafe impl Send for B {}\n"), 0);
    }
}
