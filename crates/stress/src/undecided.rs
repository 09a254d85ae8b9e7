//! How many scenarios of a run are INVALID, and whether the machine explains that.
//!
//! A busy machine makes times unreliable. If many scenarios are INVALID although nobody else used
//! the machine, the cause is the engine or the scenario, and a CI run that accepts INVALID would
//! check nothing without anybody noticing.

use std::fmt;

use crate::report::{Report, ScenarioReport};
use crate::verdict::Verdict;

/// Below this share of the processors, other processes and the hypervisor together explain no
/// INVALID.
const QUIET: f64 = 0.02;

/// Counts of the scenarios of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecided {
    scenarios: usize,
    invalid: usize,
    /// Those during which the machine was quiet.
    quiet: usize,
    /// INVALID although the machine was quiet.
    invalid_quiet: usize,
}

impl Undecided {
    pub(crate) fn of(report: &Report) -> Self {
        let invalid = |scenario: &&ScenarioReport| scenario.verdict == Verdict::Invalid;
        let quiet = || report.scenarios.iter().filter(|scenario| was_quiet(scenario));
        Self {
            scenarios: report.scenarios.len(),
            invalid: report.scenarios.iter().filter(invalid).count(),
            quiet: quiet().count(),
            invalid_quiet: quiet().filter(invalid).count(),
        }
    }

    /// Whether more than `share_max` of the scenarios on a quiet machine are INVALID.
    pub(crate) fn exceeds(self, share_max: f64) -> bool {
        self.invalid_quiet as f64 > share_max * self.quiet as f64
    }
}

/// A scenario without a load, or on a system without accounting, says nothing about the machine.
fn was_quiet(scenario: &ScenarioReport) -> bool {
    scenario.processors.is_some_and(|processors| processors.others + processors.stolen < QUIET)
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenarios, invalid, quiet, invalid_quiet } = self;
        write!(
            f,
            "times not judged in {invalid} of {scenarios} scenarios; on a quiet machine in {invalid_quiet} of {quiet}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    /// A report of scenarios with a verdict, and the shares of others and of the hypervisor.
    fn undecided(scenarios: &[(Verdict, f64, f64)]) -> Undecided {
        let mut report = examples::full(0);
        let example = report.scenarios.remove(0);
        report.scenarios = scenarios
            .iter()
            .map(|&(verdict, others, stolen)| {
                let mut scenario = ScenarioReport { verdict, ..example.clone() };
                let processors = scenario.processors.as_mut().unwrap();
                (processors.others, processors.stolen) = (others, stolen);
                scenario
            })
            .collect();
        Undecided::of(&report)
    }

    #[test]
    fn a_busy_machine_explains_invalid_and_a_quiet_one_does_not() {
        use Verdict::{Fail, Invalid, Pass};
        let found = undecided(&[
            (Pass, 0.0, 0.0),
            (Pass, 0.5, 0.0),
            (Fail, 0.01, 0.0),
            (Invalid, 0.019, 0.0),
            (Invalid, 0.01, 0.01),
            (Invalid, 0.0, 0.3),
        ]);
        assert_eq!(found.to_string(), "times not judged in 3 of 6 scenarios; on a quiet machine in 1 of 3");
        assert!(found.exceeds(0.25) && !found.exceeds(0.34));
    }

    #[test]
    fn a_quarter_is_not_more_than_a_quarter_and_no_scenario_is_too_many() {
        use Verdict::{Invalid, Pass};
        let of_four = |invalid: usize| {
            let verdict = |index| if index < invalid { Invalid } else { Pass };
            undecided(&[0, 1, 2, 3].map(|index| (verdict(index), 0.0, 0.0)))
        };
        assert!(!of_four(0).exceeds(0.0) && !of_four(1).exceeds(0.25) && of_four(2).exceeds(0.25));
        assert!(!undecided(&[(Invalid, 0.5, 0.0)]).exceeds(0.0));
        assert!(!undecided(&[]).exceeds(0.0));
    }

    #[test]
    fn a_scenario_that_was_never_loaded_says_nothing_about_the_machine() {
        let found = Undecided::of(&examples::never_loaded());
        assert_eq!((found.scenarios, found.quiet), (1, 0));
    }
}
