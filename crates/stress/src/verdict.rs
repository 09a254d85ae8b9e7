//! From evidence to a verdict. Pure, so that the rule can be read and tested in one place.
//!
//! 1. A broken invariant, a panic, or a stage that failed is **FAIL**, whatever the machine did.
//! 2. An interrupted run is otherwise **INVALID**: its figures are cut short.
//! 3. An objective that failed is **FAIL**, unless time decides it and the machine took the time away: then it is
//!    excused. The machine is asked about the whole load, and for an objective about a phase about that one as
//!    well. But a rate, a mean or a median that is missed by more than ten times what the machine took
//!    explains is not. One that nothing could be measured for is FAIL, unless that was in a phase of which the machine
//!    took most.
//! 4. Operations that were never issued: **FAIL** if the target held all slots, else a reason for INVALID.
//! 5. Without a FAIL, any excused objective, any percentile of too few samples, or a run in which nothing was checked
//!    is **INVALID**.
//! 6. Otherwise **PASS**. What was wrong with the machine is then a warning: it only made the figures worse.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::objective::{Finding, Standing};

/// What a run proved. Ordered from best to worst; a run of several has the worst of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// All that was asked for holds.
    Pass,
    /// The run proves nothing: the machine or the generator stood in the way, or it was interrupted.
    Invalid,
    /// Something that was asked for doesn't hold.
    Fail,
}

impl Verdict {
    /// The exit code: 0, 1 or 3. 2 is a wrong command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Invalid => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
        })
    }
}

/// All that decides a verdict.
#[derive(Debug, Default)]
pub(crate) struct Evidence<'a> {
    pub(crate) interrupted: bool,
    /// Set-up, check or tear-down that failed, was too slow or panicked.
    pub(crate) failed_stages: Vec<String>,
    /// What kept the generator from running at all.
    pub(crate) generator_failure: Option<String>,
    pub(crate) panics: u64,
    /// The names of those that didn't hold.
    pub(crate) broken_invariants: Vec<String>,
    pub(crate) invariants: usize,
    pub(crate) objectives: &'a [Finding],
    pub(crate) shortfall: Option<Shortfall>,
    /// Why the process had not the machine that it needed.
    pub(crate) starvation: Option<String>,
    /// The share of the processors that others and the hypervisor had, or of the time in which nothing ran.
    pub(crate) taken: f64,
    /// The phases in which the process had not the machine that it needed.
    pub(crate) starved_phases: Vec<StarvedPhase>,
    /// Why the generator alone couldn't have offered this load.
    pub(crate) generator_too_slow: Option<String>,
}

/// A phase in which the process had not the machine that it needed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StarvedPhase {
    pub(crate) name: String,
    /// Why.
    pub(crate) starvation: String,
    /// The share of the processors that others and the hypervisor had in it, or of the time in which nothing ran.
    pub(crate) taken: f64,
}

/// Operations that were planned but not issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub(crate) planned: u64,
    pub(crate) issued: u64,
    pub(crate) target_was_full: bool,
}

/// A verdict with its reasons, the gravest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// So much must be taken of a phase to explain that nothing at all was measured in it.
const MOST: f64 = 0.5;

pub(crate) fn rule(evidence: &Evidence<'_>) -> Ruling {
    let mut failures = evidence.failed_stages.clone();
    let mut doubts = Vec::new();
    failures.extend(evidence.broken_invariants.iter().map(|name| format!("invariant broken: {name}")));
    if evidence.panics > 0 {
        failures.push(format!("{} panicked", plural(evidence.panics, "operation")));
    }
    if evidence.interrupted {
        doubts.push("interrupted".to_owned());
        // What was cut short may miss any objective and any number of operations: that says nothing.
        return conclude(failures, doubts, machine_troubles(evidence));
    }
    doubts.extend(evidence.generator_failure.clone());
    judge_shortfall(evidence, &mut failures, &mut doubts);
    let could_not_run = evidence.generator_failure.is_some();
    for finding in evidence.objectives.iter().filter(|_| !could_not_run) {
        judge_objective(evidence, finding, &mut failures, &mut doubts);
    }
    let nothing_checked = evidence.objectives.is_empty() && evidence.invariants == 0;
    if nothing_checked && failures.is_empty() {
        doubts.push("no objective and no invariant: nothing was checked".to_owned());
    }
    conclude(failures, doubts, machine_troubles(evidence))
}

fn judge_shortfall(evidence: &Evidence<'_>, failures: &mut Vec<String>, doubts: &mut Vec<String>) {
    let Some(Shortfall { planned, issued, target_was_full }) = evidence.shortfall else { return };
    let what = format!("issued {issued} of {planned} operations");
    if target_was_full {
        failures.push(format!("{what}: the target held every slot until sending was given up"));
    } else {
        doubts.push(format!("{what}, and not because of the target"));
    }
}

fn judge_objective(
    evidence: &Evidence<'_>,
    finding: &Finding,
    failures: &mut Vec<String>,
    doubts: &mut Vec<String>,
) {
    let Finding { objective, measured, .. } = finding;
    match &finding.standing {
        Standing::Held => {}
        Standing::NotEvaluated(reason) => {
            let told = format!("{objective}: not evaluated, {reason}");
            match starved_phase(evidence, finding).filter(|phase| phase.taken >= MOST) {
                Some(phase) => {
                    doubts.push(format!("{told}, but in phase {} {}", phase.name, phase.starvation));
                }
                None => failures.push(told),
            }
        }
        Standing::TooFewSamples { samples, needed } => {
            doubts.push(format!("{objective}: needs {needed} samples, had {samples}"));
        }
        Standing::Broken { on_time, typical, lag_explains } => {
            let missed = format!("{objective}: measured {measured}");
            match excuse(evidence, finding, *typical).filter(|_| *on_time) {
                Some(machine) => doubts.push(format!("{missed}, but {machine}")),
                None if *lag_explains => {
                    doubts.push(format!("{missed}, but the generator's own lateness, or the time in which nothing ran, explains it"));
                }
                None => failures.push(missed),
            }
        }
    }
}

/// The phase that an objective is measured in, if the process had not the machine that it needed there. Another one that it is compared with is no matter: where something could be measured in that, lack of the
/// machine only makes the bound easier.
fn starved_phase<'a>(evidence: &'a Evidence<'_>, finding: &Finding) -> Option<&'a StarvedPhase> {
    evidence.starved_phases.iter().find(|phase| finding.phase.as_ref() == Some(&phase.name))
}

/// What the machine did that may be why an objective on time was missed: in its own phase, else over the whole load.
fn excuse(evidence: &Evidence<'_>, finding: &Finding, typical: bool) -> Option<String> {
    let starved = starved_phase(evidence, finding);
    if let Some(phase) = starved.filter(|phase| !typical || explains(phase.taken, finding)) {
        return Some(format!("in phase {} {}", phase.name, phase.starvation));
    }
    let machine = evidence.starvation.as_ref().or(evidence.generator_too_slow.as_ref())?;
    // What was taken of the whole load doesn't tell how much of it was in one phase.
    let limited = typical && finding.phase.is_none();
    (!limited || explains(evidence.taken, finding)).then(|| machine.clone())
}

/// Whether a machine of which so much was taken may be why. Ten times more is allowed for: what is left has cold caches and
/// comes in slices.
fn explains(taken: f64, finding: &Finding) -> bool {
    let limit = 10.0 / (1.0 - taken).max(0.01);
    finding.times_missed().is_none_or(|times| times <= limit)
}

fn machine_troubles(evidence: &Evidence<'_>) -> Vec<String> {
    evidence.starvation.iter().chain(&evidence.generator_too_slow).cloned().collect()
}

fn conclude(failures: Vec<String>, doubts: Vec<String>, warnings: Vec<String>) -> Ruling {
    let verdict = match (failures.is_empty(), doubts.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Invalid,
        (true, true) => Verdict::Pass,
    };
    Ruling { verdict, reasons: failures.into_iter().chain(doubts).collect(), warnings }
}

pub(crate) fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
