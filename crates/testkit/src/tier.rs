//! Which tests run by default, and which only in the full tier.
//!
//! The full tier is `STEADFAST_FULL=1` in the environment; `cargo xtask ci --full` sets it. It runs
//! what takes too long for every merge: larger counts of generated cases, and tests of more than 20
//! seconds.

use std::ffi::OsStr;

/// The environment variable that selects the full tier when it is `1`.
pub const VARIABLE: &str = "STEADFAST_FULL";

/// Generated cases of one property by default.
const CASES: u32 = 256;

/// Returns whether this process runs the full tier.
pub fn full() -> bool {
    is_full(std::env::var_os(VARIABLE).as_deref())
}

/// Returns true, and prints why, if this run leaves out the calling test:
/// `if skipped_unless_full("…") { return; }`.
pub fn skipped_unless_full(reason: &str) -> bool {
    let skipped = !full();
    if skipped {
        eprintln!("skipped: {reason}; {VARIABLE}=1 runs it");
    }
    skipped
}

/// Returns the number of generated cases for a property: `cases_full` in the full tier, at most 256
/// otherwise.
pub fn cases(cases_full: u32) -> u32 {
    if full() { cases_full } else { cases_full.min(CASES) }
}

fn is_full(value: Option<&OsStr>) -> bool {
    value == Some(OsStr::new("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_one_selects_the_full_tier() {
        assert!(is_full(Some(OsStr::new("1"))));
        assert!(
            ![None, Some("0"), Some(""), Some("true")]
                .into_iter()
                .any(|value| is_full(value.map(OsStr::new)))
        );
    }

    #[test]
    fn few_cases_are_never_raised() {
        assert_eq!(cases(48), 48);
        assert_eq!(cases(4_000), if full() { 4_000 } else { 256 });
    }
}
