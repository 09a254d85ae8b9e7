//! The packages that this workspace is built from, as Cargo tells them, and their documentation.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use super::text_files::{files_below, from_root, read_text};
use super::{Corpus, CorpusError, Extent, Package, code, documentation, passages};

/// Only the lock file of Steadfast's own workspace names it.
const OWN_PACKAGE: &str = "name = \"steadfast-suites\"";

/// What is read of a package.
struct Source {
    package: Package,
    folder: PathBuf,
    description: Option<String>,
    /// From the folder.
    readme: Option<String>,
}

/// The folders of a package that hold code beside `src`.
const CODE_FOLDERS: [&str; 3] = ["examples", "tests", "benches"];

/// Description, README and documentation of every dependency, in the order of names and versions, and its code if wanted.
pub(super) fn read(extent: Extent) -> Result<Corpus, CorpusError> {
    let root = workspace().ok_or(CorpusError::NoWorkspace)?;
    let mut corpus = Corpus::default();
    for source in sources(&metadata(&root)?) {
        if source.folder.is_dir() {
            corpus.sources.packages += 1;
            add_package(source, extent, &mut corpus);
        } else {
            corpus.sources.packages_missing += 1;
        }
    }
    if corpus.passages.is_empty() {
        let command = "cargo metadata".to_owned();
        let missing = corpus.sources.packages_missing;
        let detail = format!("the sources of none of {missing} packages are on this disk; try `cargo fetch`");
        return Err(CorpusError::Command { command, detail });
    }
    Ok(corpus)
}

fn add_package(source: Source, extent: Extent, corpus: &mut Corpus) {
    let Source { package, folder, description, readme } = source;
    let package = Arc::new(package);
    if let Some(description) = description {
        corpus.add(Some(&package), "Cargo.toml", [description.as_str()]);
    }
    if let Some(readme) = readme
        && let Some(text) = read_text(&folder.join(&readme))
    {
        corpus.sources.files += 1;
        corpus.add(Some(&package), &readme, [text.as_str()]);
    }
    let folders = match extent {
        Extent::Documentation => &CODE_FOLDERS[..0],
        Extent::WithCode => &CODE_FOLDERS[..],
    };
    for code_folder in ["src"].iter().chain(folders) {
        for file in files_below(&folder.join(code_folder), |_| true, &mut corpus.sources.files_skipped) {
            if file.extension().is_some_and(|extension| extension == "rs") {
                add_source_file(&package, &folder, &file, extent, corpus);
            }
        }
    }
}

fn add_source_file(package: &Arc<Package>, folder: &Path, file: &Path, extent: Extent, corpus: &mut Corpus) {
    let Some(text) = read_text(file) else {
        corpus.sources.files_skipped += 1;
        return;
    };
    corpus.sources.files += 1;
    let name = from_root(folder, file);
    let documentation = documentation::blocks(&text);
    let texts = passages::split(documentation.iter().map(String::as_str));
    let ordinal = corpus.add_passages(Some(package), &name, texts, 0);
    if extent == Extent::WithCode {
        corpus.add_passages(Some(package), &name, code::passages(&text), ordinal);
    }
}

/// The workspace that the current folder is in, else the one that this was built in.
fn workspace() -> Option<PathBuf> {
    let current = env::current_dir().ok();
    let around = current.iter().flat_map(|current| current.ancestors());
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    around.chain(built_in).find(|folder| is_own_workspace(folder)).map(Path::to_owned)
}

fn is_own_workspace(folder: &Path) -> bool {
    let lock = fs::read_to_string(folder.join("Cargo.lock"));
    folder.join("Cargo.toml").is_file() && lock.is_ok_and(|lock| lock.lines().any(|line| line == OWN_PACKAGE))
}

/// What `cargo metadata` says. Without the network if that will do: nothing changes, and nothing is waited for.
fn metadata(root: &Path) -> Result<Value, CorpusError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let host = host(root)?;
    let mut arguments = vec!["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
    arguments.push("--offline");
    let output = run(&cargo, &arguments, root).or_else(|_| {
        arguments.pop();
        run(&cargo, &arguments, root)
    })?;
    serde_json::from_slice(&output).map_err(|error| CorpusError::Command {
        command: "cargo metadata".to_owned(),
        detail: format!("its output is no JSON: {error}"),
    })
}

/// The platform that rustc builds for here.
fn host(root: &Path) -> Result<String, CorpusError> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = run(&rustc, &["-vV"], root)?;
    let host = String::from_utf8_lossy(&output)
        .lines()
        .find_map(|line| line.strip_prefix("host:").map(|host| host.trim().to_owned()));
    host.ok_or_else(|| CorpusError::Command {
        command: "rustc -vV".to_owned(),
        detail: "it names no host".to_owned(),
    })
}

fn run(program: &OsString, arguments: &[&str], folder: &Path) -> Result<Vec<u8>, CorpusError> {
    let failed = |detail: String| {
        let command = format!("{} {}", program.to_string_lossy(), arguments.join(" "));
        CorpusError::Command { command, detail }
    };
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(output.stdout)
}

/// The packages from a registry or a repository, sorted: Cargo doesn't promise an order.
fn sources(metadata: &Value) -> Vec<Source> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut sources: Vec<Source> = packages.iter().filter_map(source).collect();
    sources.sort_unstable_by(|left, right| left.package.cmp(&right.package));
    sources
}

/// Nothing for a package of the workspace itself, which has no `source`.
fn source(package: &Value) -> Option<Source> {
    let text = |key: &str| package[key].as_str().map(str::to_owned);
    text("source")?;
    let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
    let package = Package { name: text("name")?, version: text("version")? };
    Some(Source { package, folder, description: text("description"), readme: text("readme") })
}
