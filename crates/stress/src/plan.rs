//! A scenario checked and made ready to run: whatever is wrong with its description is found here, before anything
//! runs.

use std::collections::HashSet;
use std::time::Duration;

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
    /// What this tier makes smaller, or otherwise unlike the full load.
    pub(crate) reductions: Vec<String>,
}

/// How much of a load to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) tier: Tier,
    /// Only for tier soak.
    pub(crate) soak_for: Duration,
}

impl Plan {
    /// Nothing if this tier has no such scenario: one that is a number of operations can't be soaked.
    ///
    /// # Errors
    ///
    /// An objective that can't be parsed or names no phase of the load, or a load that can't be run; the text names
    /// the scenario.
    pub(crate) fn new(
        suite: &str,
        scenario: &dyn Registered,
        amount: Amount,
    ) -> Result<Option<Self>, String> {
        let name = format!("{suite}.{}", scenario.name());
        let tier = amount.tier;
        let full = scenario.load();
        full.validate().map_err(|error| format!("{name}: load: {error}"))?;
        let load = match tier {
            Tier::Standard => full.clone(),
            Tier::Smoke => full.reduced(scenario.smoke()),
            Tier::Extreme => scenario.extreme(),
            Tier::Soak => match scenario.soak(amount.soak_for) {
                Some(load) => load,
                None => return Ok(None),
            },
        };
        load.validate().map_err(|error| format!("{name}: load at tier {tier}: {error}"))?;
        let changed = (load != full).then(|| format!("load: {load} instead of {full}"));
        let parsed: Result<Vec<Objective>, _> =
            scenario.objectives().into_iter().map(str::parse::<Objective>).collect();
        let objectives = parsed.map_err(|error| format!("{name}: objective {error}"))?;
        let phases: Vec<String> =
            load.phases().iter().enumerate().map(|(index, phase)| phase.called(index)).collect();
        for objective in &objectives {
            if let Some(unknown) = objective.phases().find(|name| !phases.iter().any(|known| known == name)) {
                return Err(format!("{name}: objective `{objective}`: the load has no phase `{unknown}`"));
            }
        }
        let description = scenario.description().to_owned();
        Ok(Some(Self { name, description, load, objectives, reductions: changed.into_iter().collect() }))
    }
}

/// Checks all suites in all tiers.
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
            let plan = |tier| {
                let amount = Amount { tier, soak_for: Duration::from_secs(3_600) };
                Plan::new(&suite.name, &**scenario, amount)
            };
            let plans = [Tier::Standard, Tier::Smoke, Tier::Extreme, Tier::Soak].map(plan);
            // What is wrong in several tiers is told once.
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
