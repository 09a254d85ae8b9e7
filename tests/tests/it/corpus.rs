//! The corpus: what is read, what is passed over, and what is said of a path that can't be read.

use std::collections::HashSet;
use std::fs;

use steadfast_suites::corpus::{Corpus, CorpusError, Extent, Passage};
use steadfast_testkit::skipped_unless_full;

/// Forty words, so a passage by themselves; `mark` tells them apart.
fn paragraph(mark: &str) -> String {
    format!("{mark} {}\n\n", ["word"; 39].join(" "))
}

#[test]
fn a_folder_is_read_in_order_and_without_what_is_no_text() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("b/deeper")).expect("folders can be made");
    fs::create_dir_all(at(".hidden")).expect("folders can be made");
    let files = [
        ("b/deeper/one.md", paragraph("one").into_bytes()),
        ("a.txt", (paragraph("two") + &paragraph("three")).into_bytes()),
        ("c", paragraph("two").into_bytes()),
        (".secret", paragraph("four").into_bytes()),
        (".hidden/five.md", paragraph("five").into_bytes()),
        ("nul.txt", (paragraph("six") + "\0").into_bytes()),
        ("latin1.txt", [paragraph("seven").into_bytes(), vec![0xE9]].concat()),
        ("large.txt", vec![b'x'; (8 << 20) + 1]),
    ];
    for (path, content) in files {
        fs::write(at(path), content).expect("a file can be written");
    }
    let corpus = Corpus::load(Some(folder.path())).expect("a folder with text");
    let passages: Vec<(&str, u32, &str)> = corpus
        .passages
        .iter()
        .map(|it| (&*it.file, it.ordinal, it.text.split(' ').next().unwrap_or_default()))
        .collect();
    assert_eq!(passages, [("a.txt", 0, "two"), ("a.txt", 1, "three"), ("b/deeper/one.md", 0, "one")]);
    assert_eq!((corpus.sources.files, corpus.sources.files_skipped, corpus.sources.duplicates), (3, 3, 1));

    let one = Corpus::load(Some(&at("b/deeper/one.md"))).expect("a file with text");
    assert_eq!((one.passages.len(), &*one.passages[0].file), (1, "one.md"));
}

#[test]
fn a_bad_path_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let error = |name: &str| {
        let path = folder.path().join(name);
        let error = Corpus::load(Some(&path)).expect_err("nothing to read");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        error
    };
    assert!(matches!(error("missing"), CorpusError::Unreadable { .. }));
    fs::create_dir(folder.path().join("empty")).expect("a folder can be made");
    assert!(matches!(error("empty"), CorpusError::NoText { .. }));
    fs::write(folder.path().join("binary"), [0; 100]).expect("a file can be written");
    assert!(matches!(error("binary"), CorpusError::NoText { .. }));
    fs::write(folder.path().join("large"), vec![b'x'; (8 << 20) + 1]).expect("a file can be written");
    assert!(matches!(error("large"), CorpusError::FileTooLarge { .. }));
}

#[test]
fn the_dependencies_documentation_is_a_corpus() {
    let corpus = Corpus::load(None).expect("this workspace was built, so its dependencies are on this disk");
    let packages: HashSet<&str> =
        corpus.passages.iter().filter_map(|it| it.package.as_deref()).map(|it| it.name.as_str()).collect();
    assert!(packages.contains("tokio") && packages.contains("serde_json"), "{packages:?}");
    assert!(!packages.contains("steadfast-suites"), "its own text changes with every edit");
    let texts: HashSet<&str> = corpus.passages.iter().map(|it| &*it.text).collect();
    assert_eq!(texts.len(), corpus.passages.len());
    assert!(texts.iter().all(|text| !text.trim().is_empty() && text.len() <= 1_500));
    let order: Vec<_> = corpus.passages.iter().filter_map(|it| it.package.as_deref()).collect();
    assert!(order.is_sorted());
    // What the default run relies on for not writing the corpus twice.
    assert!(corpus.passages.len() > 10_000, "{corpus}");
}

#[test]
fn with_their_code_the_dependencies_are_fifty_thousand_passages() {
    if skipped_unless_full("reading the code of all dependencies takes 20 seconds without optimisation") {
        return;
    }
    let documentation =
        Corpus::load(None).expect("this workspace was built, so its dependencies are on this disk");
    let corpus = Corpus::load_to(None, Extent::WithCode).expect("as above");
    let texts: HashSet<&str> = corpus.passages.iter().map(|it| &*it.text).collect();
    assert_eq!(texts.len(), corpus.passages.len());
    assert!(texts.iter().all(|text| !text.trim().is_empty() && text.len() <= 1_500));
    assert!(
        documentation.passages.iter().all(|it| texts.contains(&*it.text)),
        "it has the documentation as well"
    );
    let order: Vec<_> = corpus.passages.iter().filter_map(|it| it.package.as_deref()).collect();
    assert!(order.is_sorted());
    let mut places = HashSet::new();
    let is_new = |it: &Passage| {
        let package = it.package.as_deref().expect("it is a dependency's");
        places.insert((package.name.clone(), package.version.clone(), it.file.clone(), it.ordinal))
    };
    assert!(corpus.passages.iter().all(is_new));
    // What suite `index` relies on for not writing the corpus twice.
    assert!(corpus.passages.len() >= 50_000, "{corpus}");
}
