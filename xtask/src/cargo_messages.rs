//! What cargo reports as JSON, one message a line: which programs a build has made, and where they
//! are.
//!
//! Not a JSON parser: it finds the few texts that are asked for in lines as cargo writes them.

use std::path::PathBuf;

/// Asks cargo for [`programs`] on its standard output, and for readable diagnostics on its standard
/// error.
pub(crate) const MESSAGE_FORMAT: &str = "--message-format=json-render-diagnostics";

/// A program that a build has made or found up to date.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The target's name: of a package's binary, or of one file of tests.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// The target's root file.
    pub(crate) source: PathBuf,
    /// The manifest of the target's package.
    pub(crate) manifest: PathBuf,
    /// Whether the program runs the target's tests, rather than being the target.
    pub(crate) is_test: bool,
}

/// The programs among the messages of a build, in their order.
pub(crate) fn programs(messages: &str) -> Vec<Program> {
    messages.lines().filter_map(program).collect()
}

fn program(line: &str) -> Option<Program> {
    let executable = text(line, "executable")?;
    let (_, target) = line.split_once("\"target\":{")?;
    let (_, profile) = line.split_once("\"profile\":{")?;
    let profile = profile.split('}').next()?;
    Some(Program {
        name: text(target, "name")?,
        executable: executable.into(),
        source: text(target, "src_path")?.into(),
        manifest: text(line, "manifest_path")?.into(),
        is_test: profile.contains("\"test\":true"),
    })
}

/// The text of the first member called `name`; nothing if its value is no text.
fn text(json: &str, name: &str) -> Option<String> {
    let (_, value) = json.split_once(&format!("\"{name}\":\""))?;
    let mut text = String::new();
    let mut characters = value.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            // Cargo escapes nothing but quotes and backslashes in the paths that we meet.
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_the_messages_and_told_from_tests() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"kind":["lib"],"name":"a","src_path":"/r/a/src/lib.rs","test":true},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"kind":["lib"],"name":"a","src_path":"/r/a/src/lib.rs","test":true},"profile":{"opt_level":"0","test":true},"executable":"/r/t/a-1"}
{"reason":"compiler-artifact","manifest_path":"C:\\r\\b\\Cargo.toml","target":{"kind":["bin"],"name":"b","src_path":"C:\\r\\b\\main.rs","test":true},"profile":{"test":false},"executable":"C:\\t\\b"}
{"reason":"build-finished","success":true}"#;
        let found = programs(messages);
        let told: Vec<(&str, bool)> =
            found.iter().map(|program| (program.name.as_str(), program.is_test)).collect();
        assert_eq!(told, [("a", true), ("b", false)]);
        assert_eq!(found[0].manifest, PathBuf::from("/r/a/Cargo.toml"));
        assert_eq!(found[0].source, PathBuf::from("/r/a/src/lib.rs"));
        assert_eq!(found[1].executable, PathBuf::from(r"C:\t\b"));
    }
}
