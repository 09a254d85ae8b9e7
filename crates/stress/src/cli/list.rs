//! `--list`: what there is, for people and for programs.
#![expect(
    clippy::format_push_string,
    reason = "the lines read better than `write!` with an error that cannot be"
)]

use std::time::Duration;

use serde_json::{Value, json};

use super::Chosen;
use crate::context::Tier;
use crate::plan::{Amount, Plan};
use crate::suite::Suite;

/// What tier soak is listed with.
const SOAK_LISTED: Duration = Duration::from_secs(3_600);

pub(super) fn text(suites: &[Suite], chosen: &[Chosen<'_>]) -> String {
    let width = chosen.iter().map(|(suite, it)| suite.name.len() + 1 + it.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for suite in with_scenarios(suites, chosen) {
        text.push_str(&format!("{}: {}\n", suite.name, suite.description));
        for scenario in of(suite, chosen) {
            let name = format!("{}.{}", suite.name, scenario.1.name());
            text.push_str(&format!("  {name:<width$}  {}\n", scenario.1.description()));
        }
    }
    text
}

pub(super) fn json(suites: &[Suite], chosen: &[Chosen<'_>]) -> String {
    let suites: Vec<Value> = with_scenarios(suites, chosen)
        .map(|suite| {
            let scenarios: Vec<Value> = of(suite, chosen).map(scenario).collect();
            json!({ "name": suite.name, "description": suite.description, "scenarios": scenarios })
        })
        .collect();
    // The alternate form is indented.
    format!("{:#}\n", json!({ "suites": suites }))
}

fn with_scenarios<'a>(suites: &'a [Suite], chosen: &'a [Chosen<'_>]) -> impl Iterator<Item = &'a Suite> {
    suites.iter().filter(|suite| of(suite, chosen).next().is_some())
}

fn of<'a>(suite: &'a Suite, chosen: &'a [Chosen<'a>]) -> impl Iterator<Item = &'a Chosen<'a>> {
    chosen.iter().filter(|(of, _)| std::ptr::eq(*of, suite))
}

fn scenario((suite, scenario): &Chosen<'_>) -> Value {
    let tier = |tier: Tier| match Plan::new(&suite.name, *scenario, Amount { tier, soak_for: SOAK_LISTED }) {
        Ok(None) => Value::Null,
        Ok(Some(plan)) => {
            let objectives: Vec<String> = plan.objectives.iter().map(ToString::to_string).collect();
            json!({ "load": plan.load.figures(), "reductions": plan.reductions, "objectives": objectives })
        }
        // All plans have been checked before.
        Err(error) => json!({ "error": error }),
    };
    json!({
        "name": format!("{}.{}", suite.name, scenario.name()),
        "description": scenario.description(),
        "tiers": {
            "smoke": tier(Tier::Smoke),
            "standard": tier(Tier::Standard),
            "extreme": tier(Tier::Extreme),
            "soak": tier(Tier::Soak),
        },
    })
}
