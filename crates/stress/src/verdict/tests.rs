//! The rule, case by case.

use super::*;

fn finding(standing: Standing) -> Finding {
    let (objective, measured) = ("p95 < 1ms".to_owned(), "2.00 ms".to_owned());
    Finding {
        objective,
        measured,
        measured_number: Some(2e6),
        bound: Some(1e6),
        margin: Some(-1.0),
        phase: None,
        standing,
    }
}

fn held() -> Finding {
    finding(Standing::Held)
}

fn late() -> Finding {
    finding(Standing::Broken { on_time: true, typical: false, lag_explains: false })
}

fn wrong() -> Finding {
    finding(Standing::Broken { on_time: false, typical: false, lag_explains: false })
}

fn lagged() -> Finding {
    finding(Standing::Broken { on_time: true, typical: false, lag_explains: true })
}

fn few() -> Finding {
    finding(Standing::TooFewSamples { samples: 10, needed: 20 })
}

fn unknown() -> Finding {
    finding(Standing::NotEvaluated("nothing there".to_owned()))
}

fn with(objectives: &[Finding]) -> Evidence<'_> {
    Evidence { objectives, invariants: 1, ..Evidence::default() }
}

fn starved(objectives: &[Finding]) -> Evidence<'_> {
    Evidence { starvation: Some("others took the machine".to_owned()), ..with(objectives) }
}

fn verdict(evidence: &Evidence<'_>) -> Verdict {
    rule(evidence).verdict
}

#[test]
fn what_holds_passes() {
    assert_eq!(verdict(&with(&[held(), held()])), Verdict::Pass);
    assert_eq!(verdict(&with(&[])), Verdict::Pass);
}

#[test]
fn a_busy_machine_spoils_nothing_that_holds_but_is_told() {
    let objectives = [held()];
    let ruling = rule(&starved(&objectives));
    assert_eq!(ruling.verdict, Verdict::Pass);
    assert_eq!(ruling.warnings, ["others took the machine"]);
}

#[test]
fn only_an_objective_on_time_is_excused_by_the_machine() {
    assert_eq!(verdict(&with(&[late()])), Verdict::Fail);
    assert_eq!(verdict(&starved(&[late()])), Verdict::Invalid);
    assert_eq!(verdict(&starved(&[held(), late()])), Verdict::Invalid);
    assert_eq!(verdict(&starved(&[wrong()])), Verdict::Fail);
    assert_eq!(verdict(&starved(&[late(), wrong()])), Verdict::Fail);
    let objectives = [late()];
    let slow = Evidence { generator_too_slow: Some("too slow".to_owned()), ..with(&objectives) };
    assert_eq!(verdict(&slow), Verdict::Invalid);
}

#[test]
fn the_generators_lag_excuses_what_it_explains() {
    assert_eq!(verdict(&with(&[lagged()])), Verdict::Invalid);
    assert_eq!(verdict(&with(&[lagged(), late()])), Verdict::Fail);
}

#[test]
fn too_few_samples_prove_nothing_but_excuse_nothing_else() {
    assert_eq!(verdict(&with(&[few()])), Verdict::Invalid);
    assert_eq!(verdict(&with(&[few(), wrong()])), Verdict::Fail);
}

#[test]
fn what_was_not_evaluated_fails_on_any_machine() {
    assert_eq!(verdict(&with(&[unknown()])), Verdict::Fail);
    assert_eq!(verdict(&starved(&[unknown()])), Verdict::Fail);
}

#[test]
fn invariants_panics_and_stages_fail_whatever_the_validity() {
    let objectives = [held(), few()];
    for interrupted in [false, true] {
        let base = || Evidence { interrupted, ..starved(&objectives) };
        let broken = Evidence { broken_invariants: vec!["found == acknowledged".to_owned()], ..base() };
        assert_eq!(verdict(&broken), Verdict::Fail);
        assert_eq!(rule(&broken).reasons[0], "invariant broken: found == acknowledged");
        assert_eq!(verdict(&Evidence { panics: 1, ..base() }), Verdict::Fail);
        let stage = Evidence { failed_stages: vec!["tear-down failed: x".to_owned()], ..base() };
        assert_eq!(verdict(&stage), Verdict::Fail);
    }
}

#[test]
fn an_interrupt_is_invalid_whatever_the_objectives() {
    for objectives in [[held()], [wrong()], [unknown()]] {
        let evidence = Evidence { interrupted: true, ..with(&objectives) };
        let ruling = rule(&evidence);
        assert_eq!((ruling.verdict, ruling.reasons), (Verdict::Invalid, vec!["interrupted".to_owned()]));
    }
}

#[test]
fn a_shortfall_is_the_targets_or_the_generators() {
    let objectives = [held()];
    let short = |target_was_full| {
        let shortfall = Some(Shortfall { planned: 100, issued: 40, target_was_full });
        verdict(&Evidence { shortfall, ..with(&objectives) })
    };
    assert_eq!(short(true), Verdict::Fail);
    assert_eq!(short(false), Verdict::Invalid);
}

#[test]
fn a_run_that_checked_nothing_proves_nothing() {
    assert_eq!(verdict(&Evidence::default()), Verdict::Invalid);
    let failed = Evidence { failed_stages: vec!["set-up failed".to_owned()], ..Evidence::default() };
    assert_eq!(rule(&failed).reasons, ["set-up failed"]);
}

#[test]
fn a_generator_that_could_not_run_is_invalid_and_judges_no_objective() {
    let objectives = [unknown()];
    let evidence = Evidence { generator_failure: Some("no thread".to_owned()), ..with(&objectives) };
    assert_eq!(rule(&evidence).reasons, ["no thread"]);
    assert_eq!(verdict(&evidence), Verdict::Invalid);
}

#[test]
fn the_worst_verdict_wins_and_has_its_exit_code() {
    assert_eq!([Verdict::Invalid, Verdict::Fail, Verdict::Pass].into_iter().max(), Some(Verdict::Fail));
    let codes = [Verdict::Pass, Verdict::Fail, Verdict::Invalid].map(Verdict::exit_code);
    assert_eq!(codes, [0, 1, 3]);
}

#[test]
fn a_busy_machine_explains_no_miss_of_any_size() {
    let broken = Standing::Broken { on_time: true, typical: true, lag_explains: false };
    let missed_by = |times: f64| Finding { measured_number: Some(times * 1e6), ..finding(broken.clone()) };
    let verdict_of = |times: f64, taken: f64| {
        let objectives = [missed_by(times)];
        verdict(&Evidence { taken, ..starved(&objectives) })
    };
    assert_eq!(verdict_of(11.0, 0.13), Verdict::Invalid);
    assert_eq!(
        verdict_of(12.0, 0.13),
        Verdict::Fail,
        "an eighth less doesn't make it a hundred times slower"
    );
    assert_eq!(verdict_of(90.0, 0.9), Verdict::Invalid);
    assert_eq!(verdict_of(110.0, 0.9), Verdict::Fail);
    // A rate is missed downwards.
    let none = Finding { measured_number: Some(0.0), ..finding(broken) };
    assert_eq!(verdict(&Evidence { taken: 0.9, ..starved(&[none]) }), Verdict::Fail);
}

/// Missed in `storm`.
fn late_in_storm() -> Finding {
    Finding { phase: Some("storm".to_owned()), ..late() }
}

/// The whole load had the machine that it needed; one phase had an eighth less.
fn starved_in<'a>(name: &str, objectives: &'a [Finding]) -> Evidence<'a> {
    let starvation = "the hypervisor took 13% of the processors".to_owned();
    let phase = StarvedPhase { name: name.to_owned(), starvation, taken: 0.13 };
    Evidence { starved_phases: vec![phase], ..with(objectives) }
}

#[test]
fn a_starved_phase_excuses_what_is_about_that_phase() {
    let objectives = [late_in_storm()];
    let ruling = rule(&starved_in("storm", &objectives));
    assert_eq!(ruling.verdict, Verdict::Invalid);
    let reason = "p95 < 1ms: measured 2.00 ms, but in phase storm the hypervisor took 13% of the processors";
    assert_eq!(ruling.reasons, [reason]);
    // Neither another phase's objective nor the whole load's.
    assert_eq!(verdict(&starved_in("calm", &objectives)), Verdict::Fail);
    assert_eq!(verdict(&starved_in("storm", &[late()])), Verdict::Fail);
    assert_eq!(verdict(&starved_in("storm", &[late_in_storm(), late()])), Verdict::Fail);
    // One that isn't on time.
    let wrong = Finding { phase: Some("storm".to_owned()), ..wrong() };
    assert_eq!(verdict(&starved_in("storm", &[wrong])), Verdict::Fail);
    // What couldn't be evaluated there, since nothing ran.
    let nothing =
        |finding: Finding| Finding { standing: Standing::NotEvaluated("none".to_owned()), ..finding };
    let missing = [nothing(late_in_storm())];
    let mostly = |taken: f64| {
        let mut evidence = starved_in("storm", &missing);
        evidence.starved_phases[0].taken = taken;
        rule(&evidence)
    };
    let ruling = mostly(0.5);
    let reason =
        "p95 < 1ms: not evaluated, none, but in phase storm the hypervisor took 13% of the processors";
    assert_eq!((ruling.verdict, ruling.reasons), (Verdict::Invalid, vec![reason.to_owned()]));
    assert_eq!(mostly(0.49).verdict, Verdict::Fail, "half of the time is enough for an operation");
    assert_eq!(verdict(&starved_in("calm", &[nothing(late_in_storm())])), Verdict::Fail);
    assert_eq!(verdict(&starved_in("storm", &[nothing(late())])), Verdict::Fail);
    // The whole load's still counts, as where a phase was too short for samples.
    assert_eq!(verdict(&starved(&objectives)), Verdict::Invalid);
}

#[test]
fn a_starved_phase_explains_no_miss_of_any_size() {
    let broken = Standing::Broken { on_time: true, typical: true, lag_explains: false };
    let verdict_of = |times: f64| {
        let missed =
            Finding { measured_number: Some(times * 1e6), standing: broken.clone(), ..late_in_storm() };
        verdict(&starved_in("storm", &[missed]))
    };
    assert_eq!((verdict_of(11.0), verdict_of(12.0)), (Verdict::Invalid, Verdict::Fail));
}
