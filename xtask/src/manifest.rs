//! As much of `Cargo.toml` as the house rules ask about: which keys are set, and which packages are used.
//!
//! Not a TOML parser: it reads tables, dotted keys, inline tables and arrays over several lines, as cargo's manifests
//! have them, and leaves values as they are written.

/// A manifest as a list of settings, each with its full path.
#[derive(Debug)]
pub(crate) struct Manifest {
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    path: Vec<String>,
    value: String,
    line: usize,
}

/// A package that another one uses, under its real name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
    /// Whether only tests, benchmarks and examples use it.
    pub(crate) dev: bool,
    pub(crate) line: usize,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut settings = Vec::new();
        let mut table: Vec<String> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let line = without_comment(line).trim();
            if line.starts_with('[') {
                table = split_key(line.trim_matches(['[', ']']));
            } else if let Some((key, value)) = split_setting(line) {
                let mut value = value.to_owned();
                while depth(&value) > 0 {
                    let Some((_, more)) = lines.next() else { break };
                    value.push(' ');
                    value.push_str(without_comment(more).trim());
                }
                let path = table.iter().cloned().chain(split_key(key)).collect();
                add(&mut settings, path, &value, index + 1);
            }
        }
        Self { settings }
    }

    /// Whether anything is set at or below `path`, here or by `….workspace = true`.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        self.settings.iter().any(|setting| starts_with(&setting.path, path))
    }

    /// The value at `path`, without quotes, and its line.
    pub(crate) fn get(&self, path: &[&str]) -> Option<(&str, usize)> {
        let setting = self.settings.iter().find(|setting| setting.path == path)?;
        Some((setting.value.trim_matches('"'), setting.line))
    }

    /// The texts of the array at `path`; nothing if there is no array.
    pub(crate) fn list(&self, path: &[&str]) -> Option<Vec<String>> {
        let (value, _) = self.get(path)?;
        let items = split_items(value.strip_prefix('[')?.strip_suffix(']')?);
        let texts = items.into_iter().filter(|item| !item.is_empty());
        Some(texts.map(|item| item.trim_matches(['"', '\'']).to_owned()).collect())
    }

    /// The package's name, or nothing in a workspace's own manifest.
    pub(crate) fn package(&self) -> Option<&str> {
        Some(self.get(&["package", "name"])?.0)
    }

    /// Whether the package goes to the registry.
    pub(crate) fn is_published(&self) -> bool {
        self.get(&["package", "publish"]).is_none_or(|(value, _)| value != "false")
    }

    /// Everything used: for the library, for tests and for the build script, on any platform.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        let mut found: Vec<(String, Dependency)> = Vec::new();
        for setting in &self.settings {
            let Some((key, rest)) = dependency_key(&setting.path) else { continue };
            // One dependency may be several settings: `[dependencies.a]` with `version` and `optional`.
            let index = found.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                let name = setting.path[setting.path.len() - rest.len() - 1].clone();
                let dev = setting.path.iter().any(|part| part == "dev-dependencies");
                found.push((key, Dependency { name, optional: false, dev, line: setting.line }));
                found.len() - 1
            });
            let dependency = &mut found[index].1;
            match rest {
                [option] if option == "package" => {
                    setting.value.trim_matches('"').clone_into(&mut dependency.name);
                }
                [option] if option == "optional" => dependency.optional = setting.value == "true",
                _ => {}
            }
        }
        found.into_iter().map(|(_, dependency)| dependency).collect()
    }
}

/// Adds a setting; an inline table becomes one setting for each of its keys.
fn add(settings: &mut Vec<Setting>, path: Vec<String>, value: &str, line: usize) {
    let inner = value.strip_prefix('{').and_then(|value| value.strip_suffix('}'));
    for (key, value) in inner.into_iter().flat_map(split_items).filter_map(split_setting) {
        add(settings, path.iter().cloned().chain(split_key(key)).collect(), value, line);
    }
    if inner.is_none() {
        settings.push(Setting { path, value: value.to_owned(), line });
    }
}

/// The part of `path` that names a dependency, and what comes behind it; nothing for other settings.
fn dependency_key(path: &[String]) -> Option<(String, &[String])> {
    let kind = if path.first().is_some_and(|first| first == "target") { 2 } else { 0 };
    let is_kind =
        matches!(path.get(kind)?.as_str(), "dependencies" | "dev-dependencies" | "build-dependencies");
    (is_kind && path.len() > kind + 1).then(|| (path[..kind + 2].join("\n"), &path[kind + 2..]))
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(have, want)| have == want)
}

/// `a.'b.c'.d` → a, b.c, d.
fn split_key(key: &str) -> Vec<String> {
    split_outside_quotes(key, '.').map(|part| part.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

/// The items of an inline table or array, separated by commas.
fn split_items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(',') {
        if depth(&text[start..at]) == 0 && !in_quotes(&text[start..at]) {
            items.push(text[start..at].trim());
            start = at + 1;
        }
    }
    items.push(text[start..].trim());
    items
}

fn split_setting(line: &str) -> Option<(&str, &str)> {
    let at = line.char_indices().find(|(at, character)| *character == '=' && !in_quotes(&line[..*at]))?.0;
    Some((line[..at].trim(), line[at + 1..].trim()))
}

fn without_comment(line: &str) -> &str {
    split_outside_quotes(line, '#').next().unwrap_or(line)
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quote = None;
    text.split(move |character: char| {
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            _ => {}
        }
        quote.is_none() && character == separator
    })
}

/// How many brackets are still open at the end of `text`.
fn depth(text: &str) -> i32 {
    let mut depth = 0;
    for part in split_outside_quotes(text, '[') {
        depth += 1;
        depth -= outside_quotes(part, ']');
    }
    depth - 1 + outside_quotes(text, '{') - outside_quotes(text, '}')
}

fn outside_quotes(text: &str, wanted: char) -> i32 {
    i32::try_from(split_outside_quotes(text, wanted).count()).unwrap_or(i32::MAX) - 1
}

fn in_quotes(text: &str) -> bool {
    // A separator put behind `text` is seen only if no quote is open there.
    let probe = format!("{text}\u{0}");
    split_outside_quotes(&probe, '\u{0}').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
[package]
name = "steadfast-sample" # the name
description = "a # that is no comment, [nor] a table"
license.workspace = true
keywords = [
    "one", # the first
    "two",
]

[dependencies]
plain.workspace = true
listed = { version = "1", features = ["a", "b"], optional = true }
renamed = { package = "real-name", path = "../real" }

[dependencies.spelled]
version = "2"
optional = true

[target.'cfg(steadfast_loom)'.dependencies]
loom.workspace = true

[dev-dependencies]
proptest = "1"

[lints]
workspace = true
"#;

    #[test]
    fn settings_are_found_by_path() {
        let manifest = Manifest::parse(SAMPLE);
        assert_eq!(manifest.package(), Some("steadfast-sample"));
        assert_eq!(
            manifest.get(&["package", "description"]).unwrap().0,
            "a # that is no comment, [nor] a table"
        );
        assert!(manifest.has(&["package", "license"]));
        assert!(!manifest.has(&["package", "readme"]));
        assert!(manifest.is_published());
        assert!(!Manifest::parse("[package]\nname = \"a\"\npublish = false\n").is_published());
        assert_eq!(manifest.get(&["lints", "workspace"]), Some(("true", 27)));
        assert_eq!(manifest.get(&["package", "keywords"]).unwrap().0, r#"[ "one", "two", ]"#);
        assert_eq!(manifest.list(&["package", "keywords"]).unwrap(), ["one", "two"]);
        assert_eq!(manifest.list(&["package", "name"]), None);
    }

    #[test]
    fn dependencies_of_every_kind_are_found_under_their_real_names() {
        let found = Manifest::parse(SAMPLE).dependencies();
        let names: Vec<&str> = found.iter().map(|dependency| dependency.name.as_str()).collect();
        assert_eq!(names, ["plain", "listed", "real-name", "spelled", "loom", "proptest"]);
        let optional: Vec<bool> = found.iter().map(|dependency| dependency.optional).collect();
        assert_eq!(optional, [false, true, false, true, false, false]);
        let dev: Vec<bool> = found.iter().map(|dependency| dependency.dev).collect();
        assert_eq!(dev, [false, false, false, false, false, true]);
        assert_eq!(found[1].line, 13);
    }
}
