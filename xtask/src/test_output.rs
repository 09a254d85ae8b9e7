//! What the output of `cargo test` says: how many tests ran, and which failed.

/// The sums over every test binary of one `cargo test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOutput {
    /// Tests that ran to an end: passed and failed, without ignored and filtered ones.
    pub(crate) ran: usize,
    /// The names of those that failed, in the order of their ends.
    pub(crate) failed: Vec<String>,
}

impl TestOutput {
    /// Reads the standard output of `cargo test`.
    pub(crate) fn parse(stdout: &str) -> Self {
        let mut output = Self::default();
        let mut in_failures = false;
        for line in stdout.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                output.ran += count(result, " passed") + count(result, " failed");
                in_failures = false;
            } else if let Some(name) = failed_test(line) {
                output.add(name);
            } else if line == "failures:" {
                in_failures = true;
            } else if let Some(name) = line.strip_prefix("    ").filter(|_| in_failures) {
                // The closing list holds also a test whose own output tore its `test … FAILED` line apart.
                if !name.starts_with(' ') && !name.trim().is_empty() && !name.contains(": ") {
                    output.add(name.trim());
                }
            } else if line.starts_with("---- ") {
                // The captured output of a failed test comes first, and may hold anything.
                in_failures = false;
            }
        }
        output
    }

    fn add(&mut self, name: &str) {
        if !self.failed.iter().any(|known| known == name) {
            self.failed.push(name.to_owned());
        }
    }
}

/// `test some::name ... FAILED` → `some::name`.
fn failed_test(line: &str) -> Option<&str> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    (result == "FAILED").then(|| name.trim_end_matches(" - should panic"))
}

/// The number before ` passed` or ` failed` in `ok. 3 passed; 0 failed; …`.
fn count(result: &str, what: &str) -> usize {
    let before = result.split(';').find_map(|part| part.strip_suffix(what));
    before.and_then(|part| part.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "\
running 2 tests
test a::good ... ok
test a::bad ... FAILED

failures:

---- a::bad stdout ----
thread 'a::bad' panicked at src/lib.rs:3:5:
    not a test name
failures:

failures:
    a::bad
    a::torn

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s
";

    #[test]
    fn failed_tests_are_named_once() {
        let output = TestOutput::parse(FAILED);
        assert_eq!(output, TestOutput { ran: 3, failed: vec!["a::bad".into(), "a::torn".into()] });
    }

    #[test]
    fn counts_add_up_over_binaries_and_leave_out_ignored_ones() {
        let line =
            "test result: ok. 2 passed; 0 failed; 4 ignored; 0 measured; 9 filtered out; finished in 0.1s";
        let output = TestOutput::parse(&format!("running 6 tests\n{line}\n\nrunning 6 tests\n{line}\n"));
        assert_eq!(output, TestOutput { ran: 4, failed: Vec::new() });
    }

    #[test]
    fn zero_tests_is_zero() {
        let text =
            "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 12 filtered out";
        assert_eq!(TestOutput::parse(text).ran, 0);
    }

    #[test]
    fn a_test_that_should_panic_and_does_not_is_named_plainly() {
        assert_eq!(failed_test("test a::b - should panic ... FAILED"), Some("a::b"));
    }
}
