//! Loads: what they issue, what the tiers make of them, what is refused.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn loads_say_what_they_issue() {
    assert_eq!(Load::users(20).each(5).planned(), Some(100));
    assert_eq!(Load::users(20).lasting(SECOND).planned(), None);
    assert_eq!(Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND).planned(), Some(300));
    let described = Load::users(5).each(2).think_time(SECOND / 1_000).to_string();
    assert_eq!(described, "5 users × 2, 1.00 ms rest");
    let described = Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND).to_string();
    assert_eq!(described, "100/s, 3.00 s, ≤ 8 at once");
}

#[test]
fn bad_numbers_are_named() {
    let error = |load: Load| load.validate().unwrap_err();
    assert_eq!(error(Load::users(0).each(1)), "users is 0, must be 1 to 1000000");
    assert!(error(Load::users(1).each(0)).starts_with("operations for each user is 0"));
    assert!(error(Load::users(2).each(u64::MAX)).contains("beyond 2^64"));
    assert!(error(Load::users(1).lasting(Duration::ZERO)).starts_with("duration is 0"));
    assert!(error(Load::users(1).each(1).timeout(Duration::ZERO)).starts_with("timeout is 0"));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(error(Load::rate(rate).max_in_flight(1).lasting(SECOND)).starts_with("rate is "));
    }
    assert!(error(Load::rate(1.0).max_in_flight(0).lasting(SECOND)).starts_with("max_in_flight is 0"));
    assert!(error(Load::rate(0.5).max_in_flight(1).lasting(SECOND)).contains("holds no operation"));
}

#[test]
fn a_reduction_shortens_but_never_to_nothing() {
    let by = Reduction::none().users(10).operations(10).duration(10);
    assert_eq!(Load::users(500).each(20).reduced(by), Load::users(50).each(2));
    assert_eq!(Load::users(5).each(2).reduced(by), Load::users(1).each(1));
    let open = Load::rate(100.0).max_in_flight(8).lasting(30 * SECOND);
    assert_eq!(open.reduced(by), Load::rate(100.0).max_in_flight(8).lasting(3 * SECOND));
    assert_eq!(open.reduced(Reduction::none().users(10)), open);
    let ramp = Load::users(5).ramping_to(1_000, 10 * SECOND).then(100, SECOND);
    let expected = Load::users(1).ramping_to(100, SECOND).then(10, SECOND / 10);
    assert_eq!(ramp.reduced(by), expected);
    assert_eq!(open.reduced(Reduction::none().duration(0)), open);
}

#[test]
fn phases_are_built_one_after_the_other() {
    let load = Load::rate(10.0)
        .max_in_flight(4)
        .lasting(SECOND)
        .named("calm")
        .then_ramp(30, 2 * SECOND)
        .then(30, SECOND)
        .then_burst(7, SECOND)
        .named("burst")
        .then_ramp(10, SECOND)
        .poisson();
    load.validate().unwrap();
    assert_eq!(load.planned(), Some(10 + 40 + 30 + 7 + 5));
    assert_eq!((load.duration(), load.peak()), (Some(6 * SECOND), Some(30.0)));
    assert_eq!(
        load.to_string(),
        "10/s, 1.00 s, then 10 to 30/s, 2.00 s, then 30/s, 1.00 s, then 7 at once, 1.00 s, then 0 to 10/s, 1.00 s, \
         Poisson, ≤ 4 at once"
    );
    let users = Load::users(10).lasting(SECOND).then(500, SECOND).then_ramp(1, SECOND);
    users.validate().unwrap();
    assert_eq!((users.slots(), users.planned()), (500, None));
    assert_eq!(users.to_string(), "10 users, 1.00 s, then 500, 1.00 s, then 500 to 1, 1.00 s");
}

#[test]
fn the_tiers_make_more_of_a_load_or_stretch_it() {
    assert_eq!(Load::users(5).each(2).times(10), Load::users(50).each(2));
    let bursts = |operations, slots| Load::burst(operations).max_in_flight(slots).lasting(SECOND);
    assert_eq!(bursts(5, 5).times(10), bursts(50, 50));
    let phases = |seconds| Load::users(1).ramping_to(9, seconds * SECOND).then(9, 3 * seconds * SECOND);
    assert_eq!(phases(1).over(8 * SECOND), Some(phases(2)));
    assert_eq!(phases(1).times(2).slots(), 18);
    assert_eq!(Load::users(1).each(1).over(SECOND), None);
    let repeated = bursts(5, 5).named("one").repeated(3);
    assert_eq!((repeated.planned(), repeated.validate()), (Some(15), Ok(())));
}

#[test]
fn what_does_not_go_together_is_told_and_not_ignored() {
    let told = |load: Load| load.validate().unwrap_err();
    let users = || Load::users(1).lasting(SECOND);
    let rate = || Load::rate(1.0).max_in_flight(1).lasting(SECOND);
    assert!(told(users().poisson()).starts_with("Poisson arrivals need an open loop"));
    assert!(told(users().then_burst(1, SECOND)).starts_with("a burst needs an open loop"));
    assert!(told(rate().think_time(SECOND)).starts_with("think time needs a closed loop"));
    for load in [
        Load::users(1).each(1).then(5, SECOND),
        Load::users(1).each(1).named("a"),
        Load::users(1).each(1).repeated(2),
    ] {
        assert!(told(load).contains("has no phases"));
    }
    assert_eq!(told(users().named("a b")), "phase is named `a b`, must be letters, digits and `_`");
    assert_eq!(told(users().named("2").then(1, SECOND)), "two phases are named `2`");
    assert_eq!(told(users().then(1.5, SECOND)), "users is 1.5, must be a whole number");
    assert!(told(users().then(-1, SECOND)).starts_with("users is -1"));
    assert!(told(rate().then(f64::NAN, SECOND)).starts_with("rate is NaN/s"));
    assert!(told(rate().then_burst(u64::MAX, SECOND)).starts_with("burst is 18446744073709551615"));
    assert_eq!(told(rate().repeated(1_000)), "phases are 65, must be at most 64");
    assert_eq!(told(users().repeated(0)), "users is 0, must be 1 to 1000000");
    assert!(told(rate().then(1, Duration::ZERO)).starts_with("duration is 0"));
    // A pause between two phases is none of these.
    assert_eq!(rate().then(0, SECOND).then(1, SECOND).validate(), Ok(()));
}
