//! Outside programs that a test drives, such as a browser.

use std::ffi::OsStr;
use std::path::PathBuf;

/// Finds the first of `commands` in `PATH`. If there is none, the calling test is to return: it is
/// skipped, with a message. Add the tool to `.ci/tools`, so that CI installs it.
///
/// # Panics
/// If there is none and the environment says `CI=true`: on a server a test that didn't run must not
/// look like one that passed.
pub fn tool(commands: &[&str]) -> Option<PathBuf> {
    let on_a_server = std::env::var_os("CI").is_some_and(|value| value == "true");
    find(commands, std::env::var_os("PATH").as_deref(), on_a_server)
}

fn find(commands: &[&str], path: Option<&OsStr>, on_a_server: bool) -> Option<PathBuf> {
    let mut candidates = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .flat_map(|folder| commands.iter().map(move |command| folder.join(command)));
    let found = candidates.find(|file| file.is_file());
    if found.is_none() {
        let missing = format!("none of {} is in PATH", commands.join(", "));
        assert!(!on_a_server, "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_of_any_folder_is_found() {
        let folder = std::env::temp_dir().join(format!("testkit-tools-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("browser-b"), "").unwrap();
        let path = std::env::join_paths([&folder.join("none"), &folder]).unwrap();
        let found = find(&["browser-a", "browser-b"], Some(&path), true);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Some(folder.join("browser-b")));
    }

    #[test]
    fn a_missing_tool_skips_the_test_at_home() {
        assert_eq!(find(&["no-such-tool"], None, false), None);
    }

    #[test]
    #[should_panic(expected = "none of no-such-tool, nor-this is in PATH")]
    fn a_missing_tool_fails_the_test_on_a_server() {
        find(&["no-such-tool", "nor-this"], None, true);
    }
}
