//! A scenario checked and made ready to run: whatever is wrong with its description is found here, before anything
//! runs.

use std::collections::HashSet;

use crate::context::Tier;
use crate::load::Load;
use crate::objective::Objective;
use crate::suite::{Registered, Suite};

/// What will be run of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// `suite.scenario`.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) load: Load,
    pub(crate) objectives: Vec<Objective>,
    /// What this tier makes smaller.
    pub(crate) reductions: Vec<String>,
}

impl Plan {
    /// # Errors
    ///
    /// An objective that can't be parsed, or a load that can't be run; the text names the scenario.
    pub(crate) fn new(suite: &str, scenario: &dyn Registered, tier: Tier) -> Result<Self, String> {
        let name = format!("{suite}.{}", scenario.name());
        let full = scenario.load();
        full.validate().map_err(|error| format!("{name}: load: {error}"))?;
        let (load, reductions) = match tier {
            Tier::Standard => (full, Vec::new()),
            Tier::Smoke => {
                let by = scenario.smoke();
                (full.reduced(by), by.describe(&full).into_iter().collect())
            }
        };
        load.validate().map_err(|error| format!("{name}: load at tier {tier}: {error}"))?;
        let parsed: Result<Vec<Objective>, _> =
            scenario.objectives().into_iter().map(str::parse::<Objective>).collect();
        let objectives = parsed.map_err(|error| format!("{name}: objective {error}"))?;
        Ok(Self { name, description: scenario.description().to_owned(), load, objectives, reductions })
    }
}

/// Checks all suites in both tiers.
///
/// # Errors
///
/// Each thing that is wrong.
pub(crate) fn check_all(suites: &[Suite]) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    let mut names = HashSet::new();
    for suite in suites {
        wrong.extend(bad_name("suite", &suite.name));
        for scenario in &suite.scenarios {
            wrong.extend(bad_name("scenario", scenario.name()));
            let plans = [Tier::Standard, Tier::Smoke].map(|tier| Plan::new(&suite.name, &**scenario, tier));
            // What is wrong in both tiers is told once.
            wrong.extend(plans.into_iter().find_map(Result::err));
            let name = format!("{}.{}", suite.name, scenario.name());
            if !names.insert(name.clone()) {
                wrong.push(format!("{name} exists twice"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Names become directories and arguments.
fn bad_name(what: &str, name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_good = !name.is_empty() && name.bytes().all(allowed);
    (!is_good).then(|| format!("{what} `{name}`: a name is lower-case letters, digits and `_`"))
}
