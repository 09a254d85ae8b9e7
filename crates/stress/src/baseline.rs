//! Baselines: is this build slower than that one?
//!
//! A baseline is a report that was kept. Scenarios of the same name are compared figure by figure, each as the ratio of
//! its geometric means over the repeats with a 95 % interval. A regression is a ratio that is worse than the margin
//! allows and not by chance; of many figures that are tested at once, some look worse by chance, and that is taken into
//! account.
//!
//! What another machine, tier, load or kind of build makes of a figure is no regression: such reports are refused. Where
//! the machine was busy, or where even the generator alone was slower than in the baseline, a regression in time proves
//! nothing, and the verdict is INVALID. So it is where something of the baseline is missing. A scenario that fails now is
//! a FAIL, however fast it was.
//!
//! `statistics.rs` has the numbers, `figures.rs` what is compared, `file.rs` the files, `table.rs` the output.

mod figures;
mod file;
mod statistics;
mod table;

use crate::context::Tier;
use crate::format;
use crate::report::{ComparisonReport, MachineReport, Report, ScenarioReport};
use crate::sample;
use crate::verdict::Verdict;

use self::figures::{FIGURES, Figure};
use self::statistics::{REPEATS_MIN, discoveries, geometric_mean, ratio};

pub(crate) use self::file::{BaselineError, load, path, save};

/// How often each scenario runs for a baseline or against one, if nobody says otherwise.
pub(crate) const REPEATS: u32 = 5;
/// What a figure may be worse by.
pub(crate) const MARGIN: f64 = 0.05;
/// An interval that allows for this much is told to be noisy.
const NOISY: f64 = 0.25;

/// All scenarios that both sides have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) scenarios: Vec<Compared>,
    /// What doesn't stand in the way, but should be known.
    pub(crate) warnings: Vec<String>,
    /// Scenarios of the baseline that weren't run now.
    missing: Vec<String>,
    margin: f64,
}

/// One scenario beside its baseline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub(crate) name: String,
    /// Of the baseline and now.
    repeats: (usize, usize),
    rows: Vec<Row>,
    /// Why it is worse, whatever the figures say.
    failed: Option<String>,
    /// Figures that every repeat of the baseline has, and not every one now.
    lost: Vec<&'static str>,
    /// Why figures on time say nothing.
    doubt: Option<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    figure: &'static Figure,
    baseline: f64,
    now: f64,
    ratio: statistics::Ratio,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Regressed,
    /// Worse, but the machine may be why.
    Doubtful,
    /// The whole interval is worse than the margin, but of so many figures one may look so by chance: told, no verdict.
    Unsure,
    Improved,
    /// The interval is so wide that much could hide in it.
    Noisy,
    Same,
    TooFewRepeats,
}

/// Compares what was measured now with what was measured then.
///
/// # Errors
///
/// The reports can't be compared: there is nothing in common, or something differs that isn't the build.
pub(crate) fn compare(baseline: &[Report], now: &[Report], margin: f64) -> Result<Comparison, BaselineError> {
    let first = baseline.first().ok_or(BaselineError::NothingInCommon)?;
    let others = baseline.iter().skip(1).chain(now);
    others.clone().try_for_each(|other| same_conditions(first, other.tier, &other.machine))?;
    let mut warnings: Vec<String> =
        others.clone().filter_map(|other| other_system(&first.machine, &other.machine)).collect();
    warnings.dedup();
    let (mut names, mut missing): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for scenario in baseline.iter().flat_map(|report| &report.scenarios) {
        let is_in = |report: &Report| report.scenarios.iter().any(|other| other.name == scenario.name);
        if names.contains(&scenario.name.as_str()) || missing.contains(&scenario.name) {
            continue;
        }
        if now.iter().any(is_in) {
            names.push(&scenario.name);
        } else {
            missing.push(scenario.name.clone());
        }
    }
    if names.is_empty() {
        return Err(BaselineError::NothingInCommon);
    }
    let mut scenarios = Vec::with_capacity(names.len());
    for name in names {
        scenarios.push(compare_scenario(&repeats(baseline, name), &repeats(now, name), margin)?);
    }
    let mut comparison = Comparison { scenarios, warnings, missing, margin };
    comparison.stand();
    Ok(comparison)
}

/// One repeat of a scenario.
type Repeat<'a> = &'a ScenarioReport;

fn repeats<'a>(reports: &'a [Report], name: &str) -> Vec<Repeat<'a>> {
    reports.iter().flat_map(|report| &report.scenarios).filter(|scenario| scenario.name == name).collect()
}

fn compare_scenario(old: &[Repeat<'_>], new: &[Repeat<'_>], margin: f64) -> Result<Compared, BaselineError> {
    let first = old[0];
    for scenario in old.iter().skip(1).chain(new) {
        same_load(first, scenario)?;
    }
    let (all_old, all_new) = (old, new);
    let (old, new) = (&quiet(old)[..], &quiet(new)[..]);
    let left_out = all_old.len() + all_new.len() - old.len() - new.len();
    let told = format!("repeats left out, as others had the processors: {left_out}");
    let values = |side: &[Repeat<'_>], figure: &Figure| -> Option<Vec<f64>> {
        side.iter().map(|scenario| figure.of(scenario)).collect()
    };
    let row = |figure: &'static Figure| {
        let (old, new) = (values(old, figure)?, values(new, figure)?);
        Some(Row {
            figure,
            baseline: geometric_mean(&old),
            now: geometric_mean(&new),
            ratio: ratio(&old, &new, margin, figure.more_is_better),
            standing: Standing::Same,
        })
    };
    let is_lost = |figure: &&Figure| values(old, figure).is_some() && values(new, figure).is_none();
    Ok(Compared {
        name: first.name.clone(),
        failed: failed(all_new),
        lost: FIGURES.iter().filter(is_lost).map(|figure| figure.name).collect(),
        repeats: (old.len(), new.len()),
        rows: FIGURES.iter().filter_map(row).collect(),
        doubt: busy(old.iter().chain(new)).or_else(|| slower_machine(old, new, margin)),
        warnings: fails_more(old, new).into_iter().chain((left_out > 0).then_some(told)).collect(),
    })
}

/// What has to be the same in all reports; a run asks before it begins.
///
/// # Errors
///
/// It is another tier, machine or kind of build than `first`'s.
pub(crate) fn same_conditions(first: &Report, tier: Tier, new: &MachineReport) -> Result<(), BaselineError> {
    let old = &first.machine;
    differs("tier", first.tier, tier)?;
    differs("processors", old.processors, new.processors)?;
    differs("processor", &old.brand, &new.brand)?;
    let built = |machine: &MachineReport| if machine.optimized { "optimized" } else { "not optimized" };
    differs("build", built(old), built(new))?;
    // A kernel takes a little more or less for itself.
    let is_near = (old.memory_bytes as f64 / new.memory_bytes.max(1) as f64 - 1.0).abs() < 0.05;
    let memory = |machine: &MachineReport| format::bytes(machine.memory_bytes as f64);
    if is_near { Ok(()) } else { Err(BaselineError::different("memory", memory(old), memory(new))) }
}

fn same_load(first: &ScenarioReport, other: &ScenarioReport) -> Result<(), BaselineError> {
    let name = &first.name;
    if first.load != other.load {
        let what = format!("{name}: load");
        return Err(BaselineError::different(&what, &first.load.description, &other.load.description));
    }
    let reduced = |scenario: &ScenarioReport| match &scenario.reductions[..] {
        [] => "nothing".to_owned(),
        reductions => reductions.join("; "),
    };
    differs(&format!("{name}: made smaller"), reduced(first), reduced(other))
}

fn differs<T: PartialEq + std::fmt::Display>(what: &str, old: T, new: T) -> Result<(), BaselineError> {
    if old == new { Ok(()) } else { Err(BaselineError::different(what, old, new)) }
}

fn other_system(old: &MachineReport, new: &MachineReport) -> Option<String> {
    let system = |machine: &MachineReport| format!("{} {}", machine.system, machine.kernel);
    let is_same = old.system == new.system && old.kernel == new.kernel;
    (!is_same).then(|| format!("the system is another one: {}, now {}", system(old), system(new)))
}

/// Whether others had the processors in any repeat.
fn busy<'a>(mut repeats: impl Iterator<Item = &'a Repeat<'a>>) -> Option<String> {
    repeats.find_map(|scenario| scenario.processors.and_then(sample::starvation))
}

/// Without the repeats during which others had the processors, if enough are left. That says nothing of their figures,
/// so leaving them out favours no side.
fn quiet<'a>(side: &[Repeat<'a>]) -> Vec<Repeat<'a>> {
    let is_quiet = |repeat: &&Repeat<'a>| busy(std::iter::once(*repeat)).is_none();
    let quiet: Vec<Repeat<'a>> = side.iter().filter(is_quiet).copied().collect();
    if quiet.len() < REPEATS_MIN { side.to_vec() } else { quiet }
}

/// Whether even the generator alone, on a target that does nothing, got slower.
fn slower_machine(old: &[Repeat<'_>], new: &[Repeat<'_>], margin: f64) -> Option<String> {
    let speeds = |side: &[Repeat<'_>]| -> Option<Vec<f64>> {
        let speed = |scenario: &ScenarioReport| Some(scenario.calibration.as_ref()?.operations_per_second);
        side.iter().map(|scenario| speed(scenario).filter(|speed| *speed > 0.0)).collect()
    };
    let slower = ratio(&speeds(old)?, &speeds(new)?, margin, true);
    discoveries(&[slower.p_value])[0].then(|| {
        let by = format::share(((1.0 - slower.value) * 100.0).round() / 100.0);
        format!("the machine got slower: the generator alone reached {by} less than in the baseline")
    })
}

/// How many repeats failed, and why the first of them did.
fn failed(repeats: &[Repeat<'_>]) -> Option<String> {
    let failed = || repeats.iter().filter(|scenario| scenario.verdict == Verdict::Fail);
    let first = failed().next()?;
    let reason = first.reasons.first().map_or("no reason was given", String::as_str);
    Some(format!("{} of {} repeats FAIL: {reason}", failed().count(), repeats.len()))
}

/// Operations that fail fast look fast.
fn fails_more(old: &[Repeat<'_>], new: &[Repeat<'_>]) -> Option<String> {
    const MORE: f64 = 0.01;
    let share = |side: &[Repeat<'_>]| {
        let sum = |count: fn(&ScenarioReport) -> u64| side.iter().map(|it| count(it)).sum::<u64>() as f64;
        1.0 - sum(|it| it.operations.succeeded) / sum(|it| it.operations.issued).max(1.0)
    };
    let (old, new) = (share(old), share(new));
    let text = |share: f64| format::share((share * 1_000.0).round() / 1_000.0);
    (new > old + MORE).then(|| {
        format!(
            "{} of the operations didn't succeed, {} in the baseline: these are others",
            text(new),
            text(old)
        )
    })
}

impl Comparison {
    /// Which rows found something, of all that were tested together.
    fn stand(&mut self) {
        let p_values: Vec<f64> = self.rows().map(|row| row.ratio.p_value).collect();
        let mut found = discoveries(&p_values).into_iter();
        for scenario in &mut self.scenarios {
            for row in &mut scenario.rows {
                let is_found = found.next().unwrap_or(false);
                let is_doubtful = row.figure.is_on_time && scenario.doubt.is_some();
                row.standing = match row.ratio.interval {
                    None => Standing::TooFewRepeats,
                    Some(_) if is_found && is_doubtful => Standing::Doubtful,
                    Some(_) if is_found => Standing::Regressed,
                    Some((low, high)) if row.figure.is_worse(low, high, self.margin) => Standing::Unsure,
                    Some((low, high)) if row.figure.is_better(low, high, self.margin) => Standing::Improved,
                    Some((low, high)) if row.figure.may_hide(low, high, NOISY) => Standing::Noisy,
                    Some(_) => Standing::Same,
                };
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.scenarios.iter().flat_map(|scenario| &scenario.rows)
    }

    /// FAIL for a regression or a scenario that fails now; INVALID for a doubtful one, or where something is missing: repeats, a
    /// figure, a scenario.
    pub(crate) fn verdict(&self) -> Verdict {
        let any = |standing: Standing| self.rows().any(|row| row.standing == standing);
        let is_missing = |scenario: &Compared| scenario.rows.is_empty() || !scenario.lost.is_empty();
        let untold = [Standing::Doubtful, Standing::TooFewRepeats];
        if any(Standing::Regressed) || self.scenarios.iter().any(|it| it.failed.is_some()) {
            Verdict::Fail
        } else if untold.into_iter().any(any)
            || !self.missing.is_empty()
            || self.scenarios.iter().any(is_missing)
        {
            Verdict::Invalid
        } else {
            Verdict::Pass
        }
    }

    /// The table with what is to be known of it, within 110 columns; ends with a line break.
    pub(crate) fn render(&self) -> String {
        table::render(self)
    }

    /// Puts the figures of each scenario into its last repeat in `report`, and into its verdict what follows from them.
    pub(crate) fn put_into(&self, report: &mut Report) {
        for compared in &self.scenarios {
            let of_name = |scenario: &&mut ScenarioReport| scenario.name == compared.name;
            let Some(scenario) = report.scenarios.iter_mut().rev().find(of_name) else { continue };
            scenario.comparison = compared.rows.iter().filter_map(|row| row.report(self.margin)).collect();
            let lost = compared.lost.iter().map(|name| (Verdict::Invalid, lost(name)));
            let worse = compared.rows.iter().filter_map(|row| row.reason(compared));
            for (verdict, reason) in lost.chain(worse) {
                scenario.verdict = scenario.verdict.max(verdict);
                if !scenario.reasons.contains(&reason) {
                    scenario.reasons.push(reason);
                }
            }
            if compared.rows.iter().any(|row| row.standing == Standing::Doubtful) {
                scenario.reasons.extend(compared.doubt.clone());
            }
            report.verdict = report.verdict.max(scenario.verdict);
        }
    }
}

impl Row {
    /// What it does to the verdict, and why.
    fn reason(&self, compared: &Compared) -> Option<(Verdict, String)> {
        let worse = |(low, high): (f64, f64)| {
            let (name, ratio) = (self.figure.name, self.ratio.value);
            format!("{name} is {ratio:.3} times the baseline's ({low:.3} to {high:.3})")
        };
        let worse = self.ratio.interval.map(worse).unwrap_or_default();
        match self.standing {
            Standing::Regressed => Some((Verdict::Fail, worse)),
            Standing::Doubtful => Some((Verdict::Invalid, format!("{worse}; the machine may be why"))),
            Standing::TooFewRepeats => Some((Verdict::Invalid, too_few(compared.repeats))),
            Standing::Unsure | Standing::Improved | Standing::Noisy | Standing::Same => None,
        }
    }

    fn report(&self, margin: f64) -> Option<ComparisonReport> {
        let (ratio_low, ratio_high) = self.ratio.interval?;
        let more_is_better = self.figure.more_is_better;
        Some(ComparisonReport {
            figure: self.figure.name.to_owned(),
            unit: self.figure.unit,
            baseline: self.baseline,
            now: self.now,
            ratio: self.ratio.value,
            ratio_low,
            ratio_high,
            margin: if more_is_better { 1.0 / (1.0 + margin) } else { 1.0 + margin },
            more_is_better,
            regressed: self.standing == Standing::Regressed,
        })
    }
}

fn lost(figure: &str) -> String {
    format!("{figure}: the baseline has it in every repeat, this run hasn't")
}

fn too_few((old, new): (usize, usize)) -> String {
    format!("{old} and {new} repeats are too few to compare, {REPEATS_MIN} of each are needed: --repeat 5")
}

#[cfg(test)]
mod tests;
