//! What the docs name exists: files, links, commands and their arguments.

use super::{Finding, Names, SourceFile, Tree};
use crate::markdown::{Piece, pieces};

/// Where a path that the docs name begins, when it is told from the root.
const FOLDERS: [&str; 6] = ["crates/", "docs/", "xtask/", "tests/", ".ci/", ".github/"];
/// How the name of one of our own files ends. Not `json` or `html`: those are mostly what a program writes.
const ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".patch", ".proto", ".sh", ".yml", ".yaml"];
/// A word with one of these is code, or a path outside of the tree.
const NO_PATH: [&str; 14] = ["://", "\"", "'", "(", ")", "=", "!", "&", "|", ";", "\\", "#[", "@", ","];
/// From here on a path stands for many.
const PLACEHOLDERS: [char; 8] = ['<', '>', '*', '{', '}', '…', '[', '$'];
/// History names what was.
const HISTORY: [&str; 2] = ["docs/changelog.md", "CHANGELOG.md"];

pub(super) fn check(tree: &Tree, names: &Names) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| is_doc(&file.path))
        .flat_map(|file| check_file(tree, names, file))
        .collect()
}

/// README.md, docs/**/*.md, and the README of every package.
fn is_doc(path: &str) -> bool {
    let is_readme = path == "README.md" || path.ends_with("/README.md");
    (is_readme || (path.starts_with("docs/") && path.ends_with(".md"))) && !HISTORY.contains(&path)
}

fn check_file(tree: &Tree, names: &Names, file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for piece in pieces(&file.text) {
        let (line, complaints) = match piece {
            Piece::Code { line, text } => {
                (line, [missing_paths(tree, file, &text), unknown_commands(names, &text)].concat())
            }
            // A block may show a layout, an output or another project's files: only its commands are ours for sure.
            Piece::Fenced { line, text } => (line, unknown_commands(names, &text)),
            Piece::Link { line, target } => (line, broken_link(tree, file, &target).into_iter().collect()),
        };
        findings.extend(complaints.into_iter().map(|message| Finding::new(&file.path, line, message)));
    }
    findings
}

fn missing_paths(tree: &Tree, file: &SourceFile, code: &str) -> Vec<String> {
    let paths = code.split_whitespace().filter_map(path_in);
    let missing = paths.filter(|path| !exists(tree, folder_of(&file.path), path) && !exists(tree, "", path));
    missing.map(|path| format!("`{path}` doesn't exist")).collect()
}

/// The path that `word` names, as far as it is fixed; nothing if it isn't a path into the tree.
fn path_in(word: &str) -> Option<&str> {
    let word = word.trim_end_matches(['.', ':']);
    let word = word.split("::").next().unwrap_or(word);
    let word = word.split('#').next().unwrap_or(word);
    let word = without_line_number(word);
    let ours = FOLDERS.iter().any(|folder| word.starts_with(folder))
        || ENDINGS.iter().any(|end| word.ends_with(end));
    let elsewhere = word.starts_with(['/', '~', '$', '-']) || word.starts_with("target/");
    if !word.contains('/') || !ours || elsewhere || NO_PATH.iter().any(|mark| word.contains(mark)) {
        return None;
    }
    let fixed = match word.find(PLACEHOLDERS) {
        Some(at) => &word[..word[..at].rfind('/')?],
        None => word.trim_end_matches('/'),
    };
    (!fixed.is_empty()).then_some(fixed)
}

/// `a.rs:12` and `a.rs:12:3` → `a.rs`.
fn without_line_number(word: &str) -> &str {
    match word.split_once(':') {
        Some((path, rest))
            if rest.chars().all(|character| character.is_ascii_digit() || character == ':') =>
        {
            path
        }
        _ => word,
    }
}

fn broken_link(tree: &Tree, file: &SourceFile, target: &str) -> Option<String> {
    let path = target.split('#').next().unwrap_or(target);
    let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
    if elsewhere || exists(tree, folder_of(&file.path), path) {
        return None;
    }
    Some(format!("the link to {target} leads nowhere"))
}

/// Whether `path`, seen from `folder`, is a file or folder of the tree.
fn exists(tree: &Tree, folder: &str, path: &str) -> bool {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            part => parts.push(part),
        }
    }
    parts.is_empty() || tree.paths.contains(&parts.join("/"))
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Every `cargo xtask …` in `code` whose command, or the command's argument, isn't known.
fn unknown_commands(names: &Names, code: &str) -> Vec<String> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let calls = words.windows(2).enumerate().filter(|(_, pair)| *pair == ["cargo", "xtask"]);
    calls.filter_map(|(at, _)| unknown_command(names, &words[at + 2..])).collect()
}

fn unknown_command(names: &Names, words: &[&str]) -> Option<String> {
    let command = name_in(words.first()?)?;
    if !names.commands.iter().any(|known| known == command) {
        return Some(format!("`cargo xtask {command}`: there is no such command"));
    }
    let argument = name_in(words.get(1)?)?;
    let known = match command {
        "bench" => &names.benches,
        "sabotage" => &names.suites,
        "loom" => &names.modelled,
        _ => return None,
    };
    let argument = if command == "loom" { argument.trim_start_matches("steadfast-") } else { argument };
    let unknown = !known.iter().any(|known| known == argument);
    unknown.then(|| format!("`cargo xtask {command} {argument}`: {command} knows only {}", known.join(", ")))
}

/// The name that `word` is; nothing for an option, a placeholder, a comment or the shell's signs.
fn name_in(word: &str) -> Option<&str> {
    let word = word.trim_end_matches(['.', ',', ';', ':', ')']);
    let plain = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_');
    (!word.is_empty() && !word.starts_with('-') && word.chars().all(plain)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_in(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::planted(&[
            ("crates/a/src/lib.rs", ""),
            ("crates/a/README.md", ""),
            ("docs/b.md", ""),
            ("xtask/sabotage/a/x.patch", ""),
            (path, text),
        ]);
        let owned = |name: &str| vec![name.to_owned()];
        let commands = ["ci", "bench", "sabotage", "loom"].map(str::to_owned).to_vec();
        let names = Names { commands, benches: owned("commit"), suites: owned("a"), modelled: owned("a") };
        check(&tree, &names).into_iter().map(|finding| finding.message).collect()
    }

    fn findings(text: &str) -> Vec<String> {
        findings_in("docs/c.md", text)
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        for bad in [
            "crates/a/src/gone.rs",
            "crates/gone/",
            "tests/gone.rs:12",
            "src/gone.rs::name",
            "crates/gone/*.rs",
            ".ci/gone",
            "cat docs/gone.md",
        ] {
            assert_eq!(findings(&format!("see `{bad}`\n")).len(), 1, "{bad}");
        }
    }

    #[test]
    fn what_exists_or_is_no_path_of_ours_is_free() {
        for good in [
            "crates/a/src/lib.rs",
            "crates/a/",
            "crates/a/src/lib.rs:12",
            "crates/<name>/Cargo.toml",
            "xtask/sabotage/<crate>/*.patch",
            "b.md",
            "/etc/x.toml",
            "target/stress/x.md",
            "https://example.org/x.rs",
            "read/write",
            "include_str!(\"../x.md\")",
            "<dir>/x.toml",
        ] {
            assert!(findings(&format!("see `{good}`\n")).is_empty(), "{good}");
        }
        assert!(findings_in("crates/a/README.md", "see `src/lib.rs`\n").is_empty());
        assert!(findings("```text\ncrates/gone.rs\n```\n").is_empty());
    }

    #[test]
    fn links_must_lead_somewhere() {
        assert_eq!(findings("[x](gone.md)\n"), ["the link to gone.md leads nowhere"]);
        assert_eq!(findings("[x](../../b.md)\n").len(), 1);
        assert_eq!(findings("[x]: gone.md\n").len(), 1);
        assert!(
            findings("[x](b.md#part) [y](../crates/a/README.md) [z](https://example.org) [w](#here)\n")
                .is_empty()
        );
    }

    #[test]
    fn commands_and_their_arguments_must_be_known() {
        for bad in [
            "cargo xtask gone",
            "cargo xtask bench gone",
            "cargo xtask sabotage gone",
            "cargo xtask loom gone",
        ] {
            assert_eq!(findings(&format!("`{bad} --x`\n")).len(), 1, "{bad}");
            assert_eq!(findings(&format!("```sh\n$ {bad} # why\n```\n")).len(), 1, "{bad}");
        }
        for good in [
            "cargo xtask",
            "cargo xtask --help",
            "cargo xtask <command>",
            "cargo xtask ci fmt",
            "cargo xtask bench commit",
            "cargo xtask sabotage a --only x",
            "cargo xtask loom [crate]",
            "cargo xtask loom steadfast-a",
        ] {
            assert!(findings(&format!("`{good}`\n")).is_empty(), "{good}");
        }
    }

    #[test]
    fn a_finding_tells_its_line() {
        let tree = Tree::planted(&[("README.md", "# T\n\nsee\n`docs/gone.md`\n")]);
        let names = Names { commands: vec![], benches: vec![], suites: vec![], modelled: vec![] };
        assert_eq!(check(&tree, &names)[0].to_string(), "README.md:4: `docs/gone.md` doesn't exist");
    }

    #[test]
    fn history_may_name_what_is_gone() {
        assert!(findings_in("docs/changelog.md", "`crates/gone.rs`\n").is_empty());
    }
}
