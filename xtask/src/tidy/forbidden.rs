//! What never belongs in a tracked file: unfinished code, silent skips, stray blanks, one machine's paths.

use super::{Finding, SourceFile, Tree};
use crate::rust_text::{code_only, is_identifier};

/// (what must not stand in code, what to do instead).
const IN_CODE: [(&str, &str); 5] = [
    ("todo!(", "finish it, or return an error that says what is missing"),
    ("unimplemented!(", "finish it, or return an error that says what is missing"),
    ("dbg!(", "take the debugging aid out"),
    ("#[ignore]", "say why: `#[ignore = \"reason\"]`"),
    (", ignore)]", "say why: `ignore = \"reason\"`"),
];

/// The first folders of paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 4] = ["home", "root", "work", "Users"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let code = tree.rust_files().flat_map(check_code);
    code.chain(tree.files.iter().flat_map(check_text)).collect()
}

fn check_code(file: &SourceFile) -> Vec<Finding> {
    let code = code_only(&file.text);
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for (word, advice) in IN_CODE {
            let alone = |at: usize| !line[..at].chars().next_back().is_some_and(is_identifier);
            if line.match_indices(word).any(|(at, _)| alone(at) || word.starts_with(',')) {
                findings.push(Finding::new(&file.path, index + 1, format!("`{word}`: {advice}")));
            }
        }
    }
    findings
}

fn check_text(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    // In a patch, a blank is how an empty line of context is written.
    let blanks_matter = !file.path.ends_with(".patch");
    for (index, line) in file.text.split_inclusive('\n').enumerate() {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if blanks_matter && line.ends_with(char::is_whitespace) {
            findings.push(Finding::new(&file.path, index + 1, "trailing whitespace"));
        }
        if let Some(path) = machine_path(line) {
            let message = format!("`{path}` is a path of one machine: make it relative");
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(
            &file.path,
            file.text.lines().count(),
            "no newline at the end of the file",
        ));
    }
    findings
}

/// `/folder/` where a path begins, not in the middle of a relative one or of an address.
fn machine_path(line: &str) -> Option<String> {
    let continues =
        |before: char| is_identifier(before) || matches!(before, '.' | '-' | '~' | '>' | '}' | ')' | '*');
    let candidates = MACHINE_FOLDERS.into_iter().map(|folder| format!("/{folder}/"));
    candidates.into_iter().find(|path| {
        line.match_indices(path.as_str())
            .any(|(at, _)| !line[..at].chars().next_back().is_some_and(continues))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::planted(&[(path, text)])).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn unfinished_code_is_found_but_not_talk_about_it() {
        for bad in ["todo!()", "unimplemented!(\"x\")", "dbg!(x)", "#[ignore]", "#[cfg_attr(miri, ignore)]"] {
            assert_eq!(findings("a.rs", &format!("{bad}\n")).len(), 1, "{bad}");
        }
        for good in
            ["// todo!()", "\"dbg!(x)\";", "my_todo!()", "#[ignore = \"needs a day\"]", "f(x, ignore)"]
        {
            assert!(findings("a.rs", &format!("{good}\n")).is_empty(), "{good}");
        }
    }

    #[test]
    fn stray_blanks_and_a_missing_newline_are_found() {
        assert_eq!(
            findings("a.md", "x \ny\t\nz"),
            [
                "a.md:1: trailing whitespace",
                "a.md:2: trailing whitespace",
                "a.md:3: no newline at the end of the file",
            ]
        );
        assert_eq!(findings("a.md", "x\r\n"), ["a.md:1: trailing whitespace"]);
        assert!(findings("a.md", "").is_empty());
        assert!(findings("a.patch", " \n").is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(findings("a.md", &format!("see `/{folder}/me/x`\n")).len(), 1, "{folder}");
            for good in
                [format!("crates/{folder}/x"), format!("https://a.b/{folder}/"), format!("~/{folder}/")]
            {
                assert!(findings("a.md", &format!("{good}\n")).is_empty(), "{good}");
            }
        }
    }
}
