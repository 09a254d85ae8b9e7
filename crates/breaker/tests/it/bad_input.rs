//! Bad input is an error that names its field, or the documented behaviour; never a panic, never a free call.

use std::sync::Arc;
use std::time::Duration;

use steadfast_breaker::ledger::NANO_MAX;
use steadfast_breaker::{
    Breaker, Class, Config, Cost, ManualClock, Outcome, Period, Rejected, Request, Rule, Scope, Settlement,
    State, Window,
};

fn refused(change: impl FnOnce(&mut Config)) -> &'static str {
    let mut config = Config::default();
    change(&mut config);
    Breaker::new(config).expect_err("it must be refused").field
}

#[test]
fn a_configuration_that_cannot_be_names_its_field() {
    let bad = [0.0, -1.0, 100.1, f64::NAN, f64::INFINITY];
    for percent in bad {
        assert_eq!(refused(|config| config.failure_percent = Some(percent)), "failure_percent");
        let slow = |config: &mut Config| {
            config.slow_call = Some(Duration::from_secs(1));
            config.slow_percent = Some(percent);
        };
        assert_eq!(refused(slow), "slow_percent");
    }
    assert_eq!(refused(|config| config.window = Window::Calls(0)), "window");
    assert_eq!(refused(|config| config.window = Window::Calls(u64::MAX)), "window");
    let time = |length, buckets| Window::Time { length, buckets };
    assert_eq!(refused(|config| config.window = time(Duration::ZERO, 10)), "window");
    assert_eq!(refused(|config| config.window = time(Duration::MAX, 10)), "window");
    assert_eq!(refused(|config| config.window = time(Duration::from_millis(9), 10)), "window");
    assert_eq!(refused(|config| config.window = time(Duration::from_secs(1), 0)), "window");
    assert_eq!(refused(|config| config.calls_min = 0), "calls_min");
    assert_eq!(refused(|config| config.calls_min = 101), "calls_min");
    assert_eq!(refused(|config| config.consecutive_failures = Some(0)), "consecutive_failures");
    assert_eq!(refused(|config| config.slow_percent = Some(50.0)), "slow_call");
    assert_eq!(refused(|config| config.open = Duration::ZERO), "open");
    assert_eq!(refused(|config| config.open_max = Duration::MAX), "open_max");
    assert_eq!(refused(|config| config.open_max = Duration::from_secs(1)), "open_max");
    for factor in [0.9, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(|config| config.open_factor = factor), "open_factor");
    }
    for jitter in [-0.1, 100.1, f64::NAN] {
        assert_eq!(refused(|config| config.jitter_percent = jitter), "jitter_percent");
    }
    assert_eq!(refused(|config| config.probes = 0), "probes");
    assert_eq!(refused(|config| config.probe_lease = Duration::ZERO), "probe_lease");
    assert_eq!(refused(|config| config.half_open_max = Some(Duration::ZERO)), "half_open_max");
    assert_eq!(refused(|config| config.stripes = 65), "stripes");
}

#[test]
fn a_scope_or_rule_that_cannot_be_names_its_field() {
    let clock = Arc::new(ManualClock::new(0));
    let scope = || Scope::builder("s", clock.clone());
    assert_eq!(scope().build().unwrap_err().field, "limits");
    let many = (0..5).fold(scope(), |scope, _| scope.limit(Period::Day, 1));
    assert_eq!(many.build().unwrap_err().field, "limits");
    assert_eq!(scope().limit(Period::Day, NANO_MAX + 1).build().unwrap_err().field, "limit_nano");
    assert_eq!(scope().limit(Period::Sliding(Duration::ZERO), 1).build().unwrap_err().field, "period");
    assert_eq!(scope().limit(Period::Sliding(Duration::MAX), 1).build().unwrap_err().field, "period");
    for (alert, throttle) in [(f64::NAN, 90.0), (0.0, 90.0), (95.0, 90.0)] {
        assert_eq!(
            scope().limit(Period::Day, 1).levels(alert, throttle).build().unwrap_err().field,
            "alert_percent"
        );
    }
    let good = scope().limit(Period::Day, 1).build().unwrap();
    assert_eq!(good.set_limit(0, u64::MAX).unwrap_err().field, "limit_nano");
    assert_eq!(good.set_limit(1, 1).unwrap_err().field, "limit");
    let rules =
        (0..33).fold(Breaker::builder(Config::default()), |builder, _| builder.rule(Rule::allow("a")));
    assert_eq!(rules.build().unwrap_err().field, "rules");
    let rule = Breaker::builder(Config::default()).rule(Rule::per_call("p", u64::MAX));
    assert_eq!(rule.build().unwrap_err().field, "allowed_nano");
}

#[test]
fn amounts_over_every_limit_are_refused_whole() {
    let clock = Arc::new(ManualClock::new(0));
    let breaker = Breaker::new(Config::default()).unwrap();
    let scopes = [Scope::builder("s", clock).limit(Period::Lifetime, 100).build().unwrap()];
    for cost in [101, NANO_MAX, NANO_MAX + 1, u64::MAX] {
        let request =
            Request { cost: Cost::Nano(cost), class: Class::Critical, scopes: &scopes, ..Request::default() };
        let rejected = breaker.try_acquire(&request).unwrap_err();
        assert!(
            matches!(rejected, Rejected::Budget { needed_nano, available_nano: 100, .. } if needed_nano == cost)
        );
    }
    let nothing = [Scope::builder("n", Arc::new(ManualClock::new(0))).limit(Period::Day, 0).build().unwrap()];
    let request =
        Request { cost: Cost::Nano(1), class: Class::Critical, scopes: &nothing, ..Request::default() };
    assert!(matches!(breaker.try_acquire(&request), Err(Rejected::Budget { .. })));
    assert!(scopes[0].is_at_rest() && nothing[0].is_at_rest());
}

#[test]
fn actual_costs_beyond_counting_block_and_never_wrap() {
    let clock = Arc::new(ManualClock::new(0));
    let breaker = Breaker::new(Config::default()).unwrap();
    let scopes = [Scope::builder("s", clock).limit(Period::Lifetime, 100).build().unwrap()];
    let request =
        Request { cost: Cost::Nano(10), class: Class::Critical, scopes: &scopes, ..Request::default() };
    let first = breaker.try_acquire(&request).unwrap();
    let mut second = breaker.try_acquire(&request).unwrap();
    first.settle(Outcome::Success, Settlement::Exact(u64::MAX));
    let _ = second.charge(u64::MAX);
    second.settle(Outcome::Success, Settlement::AtLeast(u64::MAX));
    assert!(scopes[0].standing(0).unwrap().balances());
    assert!(matches!(breaker.try_acquire(&request), Err(Rejected::Budget { available_nano: 0, .. })));
}

#[test]
fn more_limits_than_a_permit_holds_are_refused() {
    let clock = Arc::new(ManualClock::new(0));
    let breaker = Breaker::new(Config::default()).unwrap();
    let scope = (0..3).fold(Scope::builder("s", clock), |scope, _| scope.limit(Period::Lifetime, 100));
    let scope = scope.build().unwrap();
    let scopes = [scope.clone(), scope.clone(), scope.clone()];
    let request = Request { cost: Cost::Nano(1), scopes: &scopes, ..Request::default() };
    let rejected = breaker.try_acquire(&request).unwrap_err();
    assert_eq!(rejected, Rejected::TooManyLimits { limits: 9, limits_max: 8 });
    assert!(scope.is_at_rest());
}

#[test]
fn a_half_open_state_is_not_for_hands() {
    let breaker = Breaker::new(Config::default()).unwrap();
    assert!(!breaker.set_state(State::HalfOpen) && !breaker.set_state(State::Closed));
    assert!(breaker.events_since(0).is_empty());
}
