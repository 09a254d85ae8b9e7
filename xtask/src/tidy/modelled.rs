//! A modelled core is made only of what loom can see.
//!
//! A core is known by its imports: in a crate with a `src/sync.rs`, every file that uses `crate::sync`.

use super::{Finding, SourceFile, Tree};
use crate::rust_text::{code_only, find_word, is_identifier};

/// Crates whose atomics and locks loom can't follow.
const UNSEEN: [&str; 4] = ["dashmap", "arc_swap", "crossbeam", "tokio"];
/// The one name of theirs that a core may use: it only pads.
const PADDING: &str = "crossbeam_utils::CachePadded";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust_files().filter(|file| has_shim(tree, file)).flat_map(check_file).collect()
}

/// Whether the file's crate has a `sync` module of its own, which the file isn't itself.
fn has_shim(tree: &Tree, file: &SourceFile) -> bool {
    let Some((folder, rest)) = file.path.split_once("/src/") else { return false };
    rest != "sync.rs" && tree.paths.contains(&format!("{folder}/src/sync.rs"))
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let code = code_only(&file.text);
    let core = before_tests(&code);
    if find_word(core, "crate::sync").is_none() && !imports_sync_in_group(core) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in core.lines().enumerate() {
        if names_std_atomics(line) {
            let message = "a modelled core takes its atomics from `crate::sync`, where loom sees them";
            findings.push(Finding::new(&file.path, index + 1, message));
        }
        let line = without_padding(line);
        for unseen in UNSEEN.iter().filter(|unseen| names_crate(&line, unseen)) {
            let message = format!("a modelled core can't use {unseen}: loom doesn't see what it does");
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

/// The line without [`PADDING`].
fn without_padding(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some(at) = find_word(rest, PADDING) {
        kept += &rest[..at];
        rest = &rest[at + PADDING.len()..];
    }
    kept + rest
}

/// The code above `#[cfg(…test…)] mod …`: tests may use what they like.
fn before_tests(code: &str) -> &str {
    let tests = code.match_indices("#[cfg(").map(|(at, _)| at).find(|&at| {
        let Some((condition, behind)) = code[at..].split_once(")]") else { return false };
        find_word(condition, "test").is_some() && behind.trim_start().starts_with("mod ")
    });
    &code[..tests.unwrap_or(code.len())]
}

/// `use crate::{a, sync::B};`
fn imports_sync_in_group(code: &str) -> bool {
    code.split("use crate::{")
        .skip(1)
        .any(|rest| find_word(rest.split(';').next().unwrap_or(rest), "sync").is_some())
}

/// `std::sync::atomic`, also as `std::sync::{atomic::…}` on one line, and of `core`.
fn names_std_atomics(line: &str) -> bool {
    ["std::sync::", "core::sync::"].iter().any(|path| {
        line.split(path).skip(1).any(|rest| {
            let group = rest.split(';').next().unwrap_or(rest);
            rest.starts_with("atomic") || (group.starts_with('{') && find_word(group, "atomic").is_some())
        })
    })
}

/// `tokio::…`, `use tokio;`, and of a family as `crossbeam` also `crossbeam_queue::…`.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].trim_end();
        let begins = !line[..at].chars().next_back().is_some_and(is_identifier);
        let of_another = before.ends_with("::") && before != "::" && !before.ends_with([' ', '(', '<']);
        let after = line[at + name.len()..].trim_start_matches(is_identifier);
        begins
            && !of_another
            && (after.starts_with("::") || (before.ends_with("use") && after.starts_with([';', ' '])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree =
            Tree::planted(&[("crates/a/src/sync.rs", "//! Shim.\n"), ("crates/a/src/x/core.rs", text)]);
        check(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_loom_does_not_see_is_found_in_a_core() {
        for bad in [
            "use std::sync::atomic::AtomicU64;",
            "use std::sync::{Arc, atomic::AtomicU64};",
            "let x = core::sync::atomic::AtomicU64::new(0);",
            "use tokio::sync::Notify;",
            "use tokio;",
            "use crossbeam_queue::ArrayQueue;",
            "x: Vec<arc_swap::ArcSwap<u8>>,",
            "use dashmap::DashMap;",
        ] {
            assert_eq!(lines(&format!("use crate::sync::AtomicU64;\n{bad}\n")), [2], "{bad}");
            assert_eq!(lines(&format!("use crate::{{\n    sync::AtomicU64,\n}};\n{bad}\n")), [4], "{bad}");
        }
    }

    #[test]
    fn padding_is_the_only_thing_of_crossbeam_that_a_core_may_use() {
        for good in [
            "use crossbeam_utils::CachePadded;",
            "lanes: [crossbeam_utils::CachePadded<Mutex<()>>; 2],",
            "let lane = crossbeam_utils::CachePadded::new(Mutex::new(()));",
        ] {
            assert!(lines(&format!("use crate::sync::Mutex;\n{good}\n")).is_empty(), "{good}");
        }
        for bad in [
            "use crossbeam_utils::Backoff;",
            "use crossbeam_utils::{Backoff, CachePadded};",
            "use crossbeam_utils::CachePaddedCell;",
            "use crossbeam_queue::CachePadded;",
            "use crossbeam_utils::CachePadded; use crossbeam_utils::atomic::AtomicCell;",
        ] {
            assert_eq!(lines(&format!("use crate::sync::Mutex;\n{bad}\n")), [2], "{bad}");
        }
    }

    #[test]
    fn other_files_comments_and_tests_are_free() {
        assert!(lines("use tokio::sync::Notify;\n").is_empty(), "no core");
        assert!(lines("use crate::synchrony::X;\nuse tokio::sync::Notify;\n").is_empty(), "no core");
        assert!(lines("use crate::sync::Arc;\n// tokio::sync\nuse std::sync::Arc as Plain;\n").is_empty());
        let tests =
            "#[cfg(all(test, not(steadfast_loom)))]\nmod tests {\n    use tokio::runtime::Runtime;\n}\n";
        assert!(lines(&format!("use crate::sync::Arc;\n{tests}")).is_empty());
        assert!(lines("use crate::sync::Arc;\nuse crate::tokio::X;\n").is_empty(), "a module of our own");
    }

    #[test]
    fn a_crate_without_a_shim_has_no_core() {
        let tree = Tree::planted(&[("crates/a/src/x.rs", "use crate::sync::A;\nuse tokio::sync::B;\n")]);
        assert!(check(&tree).is_empty());
    }
}
