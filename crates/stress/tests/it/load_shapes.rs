//! Loads that change over time, from outside: what is issued when, and what is told of each phase.
//!
//! Times are only asserted where the schedule itself gives them, never how fast anything was.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{
    Call, Checks, Context, Failure, Load, Options, Reduction, Scenario, Tally, Tier, Verdict, measure,
};

const MS: Duration = Duration::from_millis(1);

/// Takes `takes`, and fails in the second phase of a load that has one.
struct Shaped {
    load: Load,
    objectives: Vec<&'static str>,
    takes: Duration,
    /// The first operation that fails, by its place in the schedule: no machine is too slow for that.
    fails_from: Option<u64>,
}

#[derive(Default)]
struct Seen {
    started: Mutex<Vec<Instant>>,
}

impl Shaped {
    fn new(load: Load, objectives: &[&'static str]) -> Self {
        Self { load, objectives: objectives.to_vec(), takes: Duration::ZERO, fails_from: None }
    }

    fn run(self, tier: Tier) -> ScenarioReport {
        let mut options = Options::default();
        (options.tier, options.soak_for) = (tier, Duration::from_secs(1));
        measure(self, &options)
    }
}

/// A run that is `sound`, or in which nothing stood still: else a whole phase, or second, may have had nothing, and it proves nothing. Twenty attempts.
fn undisturbed(run: impl Fn() -> ScenarioReport, sound: impl Fn(&ScenarioReport) -> bool) -> ScenarioReport {
    let stood_still = |report: &ScenarioReport| {
        report.processors.and_then(|processors| processors.stood_still).is_some_and(|still| still > 0.0)
    };
    let report = (0..20).map(|_| run()).find(|report| sound(report) || !stood_still(report));
    report.expect("a machine that lets a process run for some seconds")
}

fn held(report: &ScenarioReport) -> Vec<bool> {
    report.objectives.iter().map(|objective| objective.held).collect()
}

impl Scenario for Shaped {
    type State = Seen;

    fn name(&self) -> &'static str {
        "shaped"
    }
    fn description(&self) -> &'static str {
        "a load in phases"
    }
    fn load(&self) -> Load {
        self.load.clone()
    }
    fn smoke(&self) -> Reduction {
        Reduction::none().duration(2)
    }
    fn objectives(&self) -> Vec<&str> {
        self.objectives.clone()
    }
    async fn set_up(&self, _: &Context) -> Result<Seen, Failure> {
        Ok(Seen::default())
    }
    async fn operation(&self, seen: &Seen, call: Call) -> Result<(), Failure> {
        seen.started.lock().unwrap().push(Instant::now());
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        match self.fails_from {
            Some(from) if call.index >= from => Err(Failure::new("planted", "from here on")),
            _ => Ok(()),
        }
    }
    async fn check(&self, seen: &Seen, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        checks.exactly("seen == issued", seen.started.lock().unwrap().len() as u64, tally.issued);
        let in_phases: u64 =
            tally.phases.iter().map(|phase| phase.succeeded + phase.failed + phase.timed_out).sum();
        checks.holds("phases sum up", tally.phases.is_empty() || in_phases == tally.issued, in_phases);
        Ok(())
    }
}

#[test]
fn each_phase_of_an_open_loop_has_its_operations() {
    let load = Load::rate(100.0)
        .max_in_flight(200)
        .lasting(400 * MS)
        .named("calm")
        .then_burst(150, 300 * MS)
        .named("burst")
        .then_ramp(200, 500 * MS)
        .named("rise");
    let report = Shaped::new(load, &["success in each phase >= 100%"]).run(Tier::Standard);
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.reasons);
    let phases: Vec<(&str, u64)> =
        report.phases.iter().map(|phase| (phase.name.as_str(), phase.operations.issued)).collect();
    assert_eq!(phases, [("calm", 40), ("burst", 150), ("rise", 50)]);
    assert_eq!(report.phases[2].start_s, 0.7);
    assert!(report.phases.iter().all(|phase| phase.latency.count == phase.operations.issued));
}

#[test]
fn the_rate_of_a_phase_is_what_was_done_in_it() {
    let load = Load::rate(100.0)
        .max_in_flight(64)
        .lasting(200 * MS)
        .named("first")
        .then(100, 100 * MS)
        .named("last");
    let mut slow = Shaped::new(load, &["rate in phase first >= 50/s"]);
    slow.takes = 400 * MS;
    let report = slow.run(Tier::Standard);
    let first = &report.phases[0].operations;
    assert_eq!(first.succeeded, 20, "all that were due in it were served in the end");
    assert_eq!(first.rate_per_second, 0.0, "none of them while it lasted");
    assert!(!report.objectives[0].held, "{}", report.objectives[0].measured);
}

#[test]
fn a_bad_phase_is_seen_where_the_whole_looks_good() {
    let load =
        Load::rate(200.0).max_in_flight(64).lasting(900 * MS).named("good").then(200, 100 * MS).named("bad");
    let mut shaped =
        Shaped::new(load, &["errors <= 20%", "errors in phase good <= 1%", "errors in each phase <= 20%"]);
    shaped.fails_from = Some(180);
    let report = shaped.run(Tier::Standard);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(held(&report), [true, true, false], "{:#?}", report.objectives);
    assert!(report.objectives[2].measured.ends_with("in phase bad"), "{}", report.objectives[2].measured);
}

#[test]
fn a_single_phase_can_be_asked_for_by_its_name() {
    let load = Load::rate(200.0).max_in_flight(16).lasting(200 * MS).named("day");
    let report = Shaped::new(load, &["success in phase day >= 100%", "errors in each phase <= 0%"])
        .run(Tier::Standard);
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.reasons);
}

#[test]
fn a_bad_second_is_seen_where_the_whole_looks_good() {
    let run = || {
        let load = Load::rate(100.0).max_in_flight(64).lasting(4_000 * MS);
        let mut shaped = Shaped::new(load, &["errors <= 40%", "errors over 1s <= 40%"]);
        shaped.fails_from = Some(280);
        shaped.run(Tier::Standard)
    };
    let report = undisturbed(run, |report| held(report) == [true, false]);
    assert_eq!(held(&report), [true, false], "{:#?}", report.objectives);
}

#[test]
fn users_come_and_go() {
    let run = || {
        let load = Load::users(2).lasting(1_000 * MS).then(20, 1_000 * MS).then_ramp(1, 1_000 * MS);
        let mut shaped = Shaped::new(load, &["success in each phase >= 100%"]);
        shaped.takes = 10 * MS;
        shaped.run(Tier::Standard)
    };
    let issued = |report: &ScenarioReport| -> Vec<u64> {
        report.phases.iter().map(|phase| phase.operations.issued).collect()
    };
    let all_came = |report: &ScenarioReport| {
        report.operations.in_flight_peak == 20 && issued(report)[1] > issued(report)[0]
    };
    let report = undisturbed(run, |report| report.verdict == Verdict::Pass && all_came(report));
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.reasons);
    let issued = issued(&report);
    assert!(all_came(&report), "{} at a time, {issued:?}", report.operations.in_flight_peak);
    // Nobody is faster than 10 ms an operation; how much slower is the machine's affair.
    assert!(issued[0] <= 2 * 101 && issued[1] <= 20 * 101, "{issued:?}");
}

#[test]
fn every_tier_runs_what_it_says() {
    let load = || Load::rate(100.0).max_in_flight(16).lasting(400 * MS).poisson();
    let run = |tier| Shaped::new(load(), &["success >= 100%"]).run(tier);
    let issued = |tier| {
        let report = run(tier);
        assert_eq!(report.verdict, Verdict::Pass, "{tier}: {:#?}", report.reasons);
        (report.operations.issued, report.reductions.is_empty())
    };
    assert_eq!(issued(Tier::Standard), (40, true));
    assert_eq!(issued(Tier::Smoke), (20, false));
    assert_eq!(issued(Tier::Extreme), (400, false));
    assert_eq!(issued(Tier::Soak), (100, false));
}

#[test]
fn what_was_never_issued_is_never_forgotten() {
    // One slot, held for 1.5 s at a time: of 100 operations a handful can be sent before sending is given up.
    let load = Load::rate(200.0).max_in_flight(1).lasting(500 * MS).timeout(1_500 * MS);
    let mut shaped = Shaped::new(load, &["errors <= 0%"]);
    shaped.takes = Duration::from_secs(10);
    let report = shaped.run(Tier::Standard);
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(
        report.reasons.iter().any(|reason| reason.contains("of 100 operations")),
        "{:#?}",
        report.reasons
    );
}

#[test]
#[should_panic(expected = "the load has no phase `night`")]
fn an_objective_on_a_phase_that_is_not_there_is_no_scenario() {
    let load = Load::users(1).lasting(MS).named("day");
    Shaped::new(load, &["errors in phase night <= 1%"]).run(Tier::Standard);
}
