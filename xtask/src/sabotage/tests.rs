//! The whole procedure on a miniature package, with bugs of every kind of end.

use std::process::Command;

use super::*;

const MANIFEST: &str =
    "[package]\nname = \"steadfast-suites\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
const LIB: &str = "\
//! Adds.

/// Adds.
pub fn add(a: u32, b: u32) -> u32 {
    a + b
}

/// Never looked at.
pub fn nobody_looks() -> u32 {
    1
}

#[test]
fn adds() {
    assert_eq!(add(1, 2), 3);
}
";
/// A stand-in for the stress binary: its verdict is its exit code.
const MAIN: &str = "\
//! Judges.

fn main() {
    if steadfast_suites::add(2, 2) != 4 {
        std::process::exit(1);
    }
}
";

const EXIT: &str = "        std::process::exit(1);";

/// A workspace in a temporary folder, removed when dropped.
struct Miniature {
    workspace: Workspace,
}

impl Miniature {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        // What a killed run with the same process id left behind.
        let _ = std::fs::remove_dir_all(&root);
        let miniature = Self { workspace: Workspace::at(root.clone(), root.join("target")) };
        for (path, text) in [
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", LIB),
            ("src/main.rs", MAIN),
            (".gitignore", "/target\n"),
        ] {
            miniature.write(path, text);
        }
        let status = Command::new("git").args(["init", "--quiet"]).current_dir(&root).status().unwrap();
        assert!(status.success());
        miniature
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.workspace.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Plants a bug that replaces line `line` of the library.
    fn bug(&self, name: &str, header: &str, line: usize, old: &str, new: &str) {
        self.bug_in("src/lib.rs", LIB, name, header, line, old, new);
    }

    /// Plants a bug in `file`, as `git diff` writes it.
    #[allow(clippy::too_many_arguments, reason = "each is one part of a patch")]
    fn bug_in(&self, file: &str, text: &str, name: &str, header: &str, line: usize, old: &str, new: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let (above, below) = (lines[line - 2], lines[line]);
        let hunk = format!("@@ -{0},3 +{0},3 @@\n {above}\n-{old}\n+{new}\n {below}\n", line - 1);
        let files = format!("diff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}");
        self.write(
            &format!("{PATCHES}/mini/{name}.patch"),
            &format!("# what: {name}\n{header}\n{files}\n{hunk}"),
        );
    }

    fn plant(&self, limit: Duration) -> Result<Vec<Score>, Failure> {
        let bugs = chosen_bugs(&self.workspace, "mini", None)?;
        plant_all(&self.workspace, "mini", &bugs, limit)
    }
}

impl Drop for Miniature {
    fn drop(&mut self) {
        // A leftover in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.workspace.root);
    }
}

const LIMIT: Duration = Duration::from_secs(60);
const BY_TEST: &str = "# caught-by: -p steadfast-suites --lib adds";

#[test]
fn every_kind_of_bug_gets_its_verdict() {
    let miniature = Miniature::new("verdicts");
    miniature.bug("a-caught", BY_TEST, 5, "    a + b", "    a - b.min(a)");
    // In a file that the test isn't built from: what cargo runs shows whether the bug above is really taken back.
    miniature.bug_in("src/main.rs", MAIN, "b-elsewhere", BY_TEST, 5, EXIT, "        std::process::exit(2);");
    miniature.bug("c-missed", &format!("{BY_TEST}\n# times: 2"), 10, "    1", "    2");
    miniature.bug("d-stale", BY_TEST, 5, "    a * b", "    a - b");
    miniature.bug("e-broken", BY_TEST, 5, "    a + b", "    a + c");
    miniature.bug("f-by-stress", "# caught-by-stress: --only x", 5, "    a + b", "    a + b + 1");
    miniature.bug("g-aborts", BY_TEST, 5, "    a + b", "    std::process::abort();");
    let says = |what: &str| format!("{BY_TEST}\n# says: {what}");
    miniature.bug("h-says", &says("left: 0"), 5, "    a + b", "    a - b.min(a)");
    miniature.bug("i-says-not", &says("left: 7"), 5, "    a + b", "    a - b.min(a)");

    let scores = miniature.plant(LIMIT).unwrap();

    let told: Vec<String> = scores.iter().map(|score| score.verdict.tell()).collect();
    let caught: Vec<bool> = scores.iter().map(|score| score.verdict.is_caught()).collect();
    assert_eq!(caught, [true, false, false, false, false, true, false, true, false], "{told:#?}");
    assert_eq!(told[0], "adds");
    for missed in &told[1..3] {
        assert_eq!(missed, "MISSED: `cargo test -p steadfast-suites --lib adds` passed");
    }
    assert!(told[3].starts_with("NOT PLANTED: the patch no longer applies"), "{}", told[3]);
    assert!(told[4].starts_with("NOT PLANTED: it doesn't compile\n"), "{}", told[4]);
    assert!(told[4].contains("cannot find value `c`"), "{}", told[4]);
    assert_eq!(told[5], "cargo xtask stress --only x");
    assert!(told[6].starts_with("MISSED: exit code 101 without a test that failed"), "{}", told[6]);

    assert_eq!(told[8], "MISSED: adds failed, but doesn't say `left: 7`");

    let lib = miniature.workspace.target().join("sabotage/tree/src/lib.rs");
    assert_eq!(std::fs::read_to_string(lib).unwrap(), LIB, "the last bug was taken back");
    let card = scorecard(&scores);
    assert!(card.lines().nth(1).unwrap().starts_with("a-caught     ✓  "), "{card}");
    assert_eq!(card.lines().count(), 10, "{card}");
}

#[test]
fn a_hang_is_ended_by_the_limit() {
    let miniature = Miniature::new("hang");
    miniature.bug("a", &format!("{BY_TEST}\n# hang: caught"), 5, "    a + b", "    loop {}");
    // The control has the same limit: on a busy machine a sound test may need longer.
    let (limit, scores) = [2, 20, 200]
        .into_iter()
        .find_map(|limit| Some((limit, miniature.plant(Duration::from_secs(limit)).ok()?)))
        .unwrap();
    assert_eq!(scores[0].verdict, Verdict::Caught(format!("no end within {limit} s")));
}

#[test]
fn a_control_without_a_test_or_with_a_failing_one_stops_everything() {
    let miniature = Miniature::new("control");
    miniature.bug("a", "# caught-by: -p steadfast-suites --lib misspelt", 5, "    a + b", "    a - b");
    let failure = miniature.plant(LIMIT).err().unwrap();
    assert!(failure.message().unwrap().contains("misspelt"), "{failure:?}");

    miniature.bug("a", BY_TEST, 5, "    a + b", "    a - b");
    miniature.write("src/lib.rs", &LIB.replace("a + b", "a + b + 1"));
    let failure = miniature.plant(LIMIT).err().unwrap();
    assert!(failure.message().unwrap().starts_with("the control must pass"), "{failure:?}");
}

#[test]
fn a_copy_keeps_the_times_of_what_is_unchanged_and_drops_what_is_gone() {
    let miniature = Miniature::new("copy");
    miniature.write("src/extra.rs", "//! Extra.\n");
    let to = miniature.workspace.root.join("target/copy");
    let sync = || copy::sync(&miniature.workspace.root, &miniature.workspace.files().unwrap(), &to).unwrap();
    let time = |path: &str| std::fs::metadata(to.join(path)).unwrap().modified().unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set_old =
        |path: &str| File::options().write(true).open(to.join(path)).unwrap().set_modified(old).unwrap();

    sync();
    for path in ["src/lib.rs", "src/main.rs"] {
        set_old(path);
    }
    miniature.write("src/main.rs", "//! Changed.\n");
    std::fs::remove_file(miniature.workspace.root.join("src/extra.rs")).unwrap();
    sync();

    assert_eq!(time("src/lib.rs"), old);
    assert_ne!(time("src/main.rs"), old);
    assert!(!to.join("src/extra.rs").exists());
    assert!(!to.join("target").exists(), "what is ignored is not copied");
}

#[test]
fn a_patch_inside_an_ignored_folder_of_a_repository_is_applied_for_real() {
    let miniature = Miniature::new("ignored");
    miniature.bug("a", BY_TEST, 5, "    a + b", "    a - b");
    let tree = miniature.workspace.root.canonicalize().unwrap().join("target/tree");
    copy::sync(&miniature.workspace.root, &miniature.workspace.files().unwrap(), &tree).unwrap();
    let patch = miniature.workspace.root.join(PATCHES).join("mini/a.patch");
    copy::apply(&patch, &tree, &["src/lib.rs".to_owned()]).unwrap();
    assert!(std::fs::read_to_string(tree.join("src/lib.rs")).unwrap().contains("a - b"));
    // The same again no longer fits, and says so.
    assert!(
        copy::apply(&patch, &tree, &["src/lib.rs".to_owned()]).unwrap_err().contains("no longer applies")
    );
}

#[test]
fn requests_are_parsed_and_wrong_ones_refused() {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let request = parse(&words("steadfast-graph-memory --only torn --limit-seconds 7")).unwrap();
    assert_eq!(request.suite.as_deref(), Some("graph-memory"));
    assert_eq!(request.only.as_deref(), Some("torn"));
    assert_eq!(request.limit, Duration::from_secs(7));
    for bad in ["a b", "--what", "--only", "a --limit-seconds 0"] {
        assert!(parse(&words(bad)).is_err(), "{bad}");
    }
}

#[test]
fn only_folders_with_patches_are_suites() {
    let miniature = Miniature::new("suites");
    miniature.write(&format!("{PATCHES}/empty/notes.md"), "# none\n");
    miniature.bug("a", BY_TEST, 5, "    a + b", "    a - b");
    assert_eq!(suites(&miniature.workspace).unwrap(), ["mini"]);
    assert!(miniature.workspace.root.join(PATCHES).join("empty").is_dir());
    let failure = run(&miniature.workspace, &["nothing".to_owned()]).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.message().unwrap().contains("mini"), "{failure:?}");
}
