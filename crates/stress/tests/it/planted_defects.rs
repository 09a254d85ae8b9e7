//! Every detector against the defect that it is there for, and against a run without it.
//!
//! No test here asserts a speed: bounds are those that a stall, a count or a timeout causes; what a busy machine adds,
//! the target's own record tells.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{
    Call, Checks, Context, Failure, Load, Options, Reduction, Scenario, Tally, Tier, Verdict, check, measure,
};

use crate::own_record::OwnRecord;

const MS: Duration = Duration::from_millis(1);

/// What is wrong with the target.
#[derive(Clone, Copy, PartialEq)]
enum Defect {
    None,
    /// The operation that is due after 300 ms takes 500 ms.
    Stall,
    /// Says "done" without doing it, each tenth time.
    Loses,
    Panics,
    /// Panics in a place that the operation's own result doesn't show.
    PanicsWhenDropped,
    Hangs,
    Refuses,
    FailsSetUp,
    PanicsInSetUp,
    PanicsInCheck,
    FailsTearDown,
}

struct Planted {
    defect: Defect,
    load: Load,
    objectives: Vec<&'static str>,
    torn_down: &'static AtomicBool,
    record: Arc<OwnRecord>,
}

struct Target {
    done: AtomicU64,
    acknowledged: AtomicU64,
    scratch: std::path::PathBuf,
}

struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic!("planted, while being dropped");
    }
}

impl Scenario for Planted {
    type State = Target;

    fn name(&self) -> &'static str {
        "planted"
    }
    fn description(&self) -> &'static str {
        "a target with a known defect"
    }
    fn load(&self) -> Load {
        self.load.clone()
    }
    fn objectives(&self) -> Vec<&str> {
        self.objectives.clone()
    }
    async fn set_up(&self, context: &Context) -> Result<Target, Failure> {
        match self.defect {
            Defect::FailsSetUp => return Err(Failure::new("planted", "no such thing")),
            Defect::PanicsInSetUp => panic!("planted"),
            _ => {}
        }
        std::fs::write(context.scratch().join("file"), "data")?;
        context.note("scratch", context.scratch().display());
        Ok(Target {
            done: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            scratch: context.scratch().to_owned(),
        })
    }
    async fn operation(&self, target: &Target, call: Call) -> Result<(), Failure> {
        let began = Instant::now();
        match self.defect {
            Defect::Stall if call.index == 60 => tokio::time::sleep(500 * MS).await,
            Defect::Panics if call.index == 3 => panic!("planted"),
            Defect::PanicsWhenDropped if call.index == 3 => {
                let _planted = PanicOnDrop;
                std::future::pending::<()>().await;
            }
            Defect::Hangs if call.index == 3 => std::future::pending().await,
            Defect::Refuses => return Err(Failure::new("refused", "planted")),
            _ => {}
        }
        if self.defect != Defect::Loses || !call.index.is_multiple_of(10) {
            target.done.fetch_add(1, Ordering::Relaxed);
        }
        target.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.record.add(call.index, began);
        Ok(())
    }
    async fn check(&self, target: &Target, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        assert!(self.defect != Defect::PanicsInCheck, "planted");
        assert_eq!(tally.issued, tally.succeeded + tally.failed + tally.timed_out + tally.cancelled);
        let acknowledged = target.acknowledged.load(Ordering::Relaxed);
        checks.exactly("done == acknowledged", target.done.load(Ordering::Relaxed), acknowledged);
        checks.holds("scratch still there", target.scratch.join("file").exists(), target.scratch.display());
        checks.value("acknowledged", acknowledged);
        Ok(())
    }
    async fn tear_down(&self, _: Target) -> Result<(), Failure> {
        self.torn_down.store(true, Ordering::Relaxed);
        if self.defect == Defect::FailsTearDown {
            return Err(Failure::new("planted", "still open"));
        }
        Ok(())
    }
}

/// The report, and whether tear-down ran.
fn run(defect: Defect, load: Load, objectives: &[&'static str]) -> (ScenarioReport, bool) {
    run_recorded(defect, load, objectives, Arc::default())
}

fn run_recorded(
    defect: Defect,
    load: Load,
    objectives: &[&'static str],
    record: Arc<OwnRecord>,
) -> (ScenarioReport, bool) {
    let torn_down = Box::leak(Box::new(AtomicBool::new(false)));
    let planted = Planted { defect, load, objectives: objectives.to_vec(), torn_down, record };
    let report = measure(planted, &Options::default());
    let scratch = report.notes.iter().find(|(key, _)| key == "scratch");
    assert!(scratch.is_none_or(|(_, path)| !std::path::Path::new(path).exists()), "scratch is removed");
    (report, torn_down.load(Ordering::Relaxed))
}

fn ten_users() -> Load {
    Load::users(10).each(5).timeout(200 * MS)
}

/// Share of the operations that took longer than `ns`.
fn share_above(buckets: &[(u64, u64)], ns: u64) -> f64 {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let above: u64 = buckets.iter().filter(|(edge, _)| *edge > ns).map(|(_, count)| count).sum();
    above as f64 / all as f64
}

#[test]
fn a_clean_run_passes_and_says_what_it_did() {
    let objectives = ["success >= 100%", "errors <= 0%", "timeouts == 0%", "exactly acknowledged == 50"];
    let (report, torn_down) = run(Defect::None, ten_users(), &objectives);
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    let operations = &report.operations;
    assert_eq!((operations.planned, operations.issued, operations.succeeded), (Some(50), 50, 50));
    assert!(report.objectives.iter().all(|objective| objective.held));
    assert!(torn_down);
    let windows: u64 = report.windows.iter().map(|window| window.succeeded).sum();
    assert_eq!(windows, 50);
    assert_eq!(report.service_time.count, 50);
    assert!(report.response_time.is_none(), "a closed loop has no intended start");
    assert!(report.calibration.is_some_and(|calibration| calibration.operations_per_second > 0.0));
}

/// At 200/s a stall of 500 ms should hold up 100 operations, and each 5 ms of waiting is as likely as any other: of all
/// 300 operations a third waits at all, and a sixth longer than 250 ms. One slot sees only one of them.
#[test]
fn a_stall_in_an_open_loop_shows_in_response_time_as_theory_has_it() {
    let load = Load::rate(200.0).max_in_flight(1).lasting(1_500 * MS);
    let record = Arc::new(OwnRecord::default());
    let (report, _) = run_recorded(Defect::Stall, load, &["p50 < 1min"], Arc::clone(&record));
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    assert_eq!(report.operations.issued, 300, "none is skipped");
    let response = &report.response_time.unwrap().buckets;
    for (longer_than_ms, expected) in [(100, 80.0 / 300.0), (250, 50.0 / 300.0), (400, 20.0 / 300.0)] {
        let share = share_above(response, longer_than_ms * 1_000_000);
        let recorded = record.share_above(5 * MS, longer_than_ms as u32 * MS);
        // A machine that is late itself can only add some.
        assert!(
            share > expected - 0.01 && (share - recorded).abs() < 0.02,
            "{share} waited longer than {longer_than_ms} ms, expected {expected}, recorded {recorded}"
        );
    }
    let slow = share_above(&report.service_time.buckets, 250_000_000) * 300.0;
    assert!(
        slow > 0.5 && (slow - record.slow(250 * MS) as f64).abs() < 0.5,
        "service time sees {slow} slow operations"
    );
    assert!(report.lag.unwrap().waited_for_slot >= 80, "that is the target's doing, and told as such");
}

#[test]
fn an_operation_that_is_lost_breaks_the_invariant() {
    let (report, torn_down) = run(Defect::Loses, ten_users(), &["success >= 100%"]);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.reasons, ["invariant broken: done == acknowledged: 45, expected 50"]);
    assert!(torn_down);
}

#[test]
fn a_panic_is_an_error_of_its_own_kind_and_fails() {
    // No objective minds one error: the panic alone fails it.
    let (report, torn_down) = run(Defect::Panics, ten_users(), &["success >= 50%"]);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.reasons, ["1 operation panicked"]);
    assert_eq!((report.operations.issued, report.operations.failed, report.operations.panicked), (50, 1, 1));
    assert_eq!(report.operations.errors[0].kind, "panic");
    assert_eq!(report.operations.errors[0].example, "planted");
    assert!(torn_down);
}

#[test]
fn a_panic_while_an_operation_is_dropped_fails() {
    let (report, torn_down) = run(Defect::PanicsWhenDropped, ten_users(), &["success >= 10%"]);
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    assert!(report.reasons.iter().any(|reason| reason.contains("1 panic outside")), "{:?}", report.reasons);
    assert!(torn_down);
}

#[test]
fn a_hung_operation_times_out_and_is_counted_apart() {
    let (report, torn_down) = run(Defect::Hangs, ten_users(), &["timeouts <= 10%", "max < 1min"]);
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    let operations = &report.operations;
    assert_eq!((operations.issued, operations.failed, operations.timed_out), (50, 0, 1));
    assert!(report.service_time.max_ns >= 199_000_000, "the time that was waited is in the tail");
    assert!(torn_down);

    let (report, _) = run(Defect::Hangs, ten_users(), &["errors <= 0%", "timeouts <= 0%"]);
    assert_ne!(report.verdict, Verdict::Pass);
    assert!(report.objectives[0].held && !report.objectives[1].held);
}

#[test]
fn errors_are_counted_by_kind_and_not_timed() {
    let (report, _) = run(Defect::Refuses, ten_users(), &["errors <= 5%", "p50 < 1s"]);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(
        (report.operations.errors[0].kind.as_str(), report.operations.errors[0].count),
        ("refused", 50)
    );
    assert_eq!(report.service_time.count, 0);
    let not_evaluated = report.objectives[1].remark.as_deref();
    assert_eq!(not_evaluated, Some("not evaluated: no operation was timed"));
}

#[test]
fn an_objective_that_is_never_evaluated_fails() {
    let (report, _) = run(Defect::None, ten_users(), &["exactly nobody_reports_this == 0"]);
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.reasons[0].contains("the scenario reported no value `nobody_reports_this`"));
}

#[test]
fn a_percentile_of_too_few_samples_is_invalid() {
    let (report, _) = run(Defect::None, ten_users(), &["p99.9 < 1min"]);
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(report.reasons, ["p99.9 < 1min: needs 1000 samples, had 50"]);
}

#[test]
fn stages_that_fail_or_panic_fail_the_scenario_and_tear_down_still_runs() {
    for (defect, reason, tears_down) in [
        (Defect::FailsSetUp, "set-up failed: planted: no such thing", false),
        (Defect::PanicsInSetUp, "set-up panicked: planted", false),
        (Defect::PanicsInCheck, "check panicked: planted", true),
        (Defect::FailsTearDown, "tear-down failed: planted: still open", true),
    ] {
        let (report, torn_down) = run(defect, ten_users(), &["success >= 100%"]);
        assert_eq!((report.verdict, &report.reasons[..]), (Verdict::Fail, &[reason.to_owned()][..]));
        assert_eq!(torn_down, tears_down, "{reason}");
    }
}

#[test]
fn operations_that_the_target_kept_from_being_sent_fail() {
    // One slot, and a target that answers only by timeout: for so long that it holds the slot also where a machine stands still when sending is given up.
    struct Slow;
    impl Scenario for Slow {
        type State = ();
        fn name(&self) -> &'static str {
            "slow"
        }
        fn description(&self) -> &'static str {
            "never done in time"
        }
        fn load(&self) -> Load {
            Load::rate(200.0).max_in_flight(1).lasting(500 * MS).timeout(1_500 * MS)
        }
        fn objectives(&self) -> Vec<&str> {
            vec!["timeouts <= 100%"]
        }
        async fn set_up(&self, _: &Context) -> Result<(), Failure> {
            Ok(())
        }
        async fn operation(&self, (): &(), _: Call) -> Result<(), Failure> {
            std::future::pending().await
        }
    }
    let report = measure(Slow, &Options::default());
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    assert!(report.reasons[0].ends_with("the target held every slot until sending was given up"));
    assert!(report.operations.issued < 100);
    assert_eq!(report.operations.issued, report.operations.timed_out);
}

/// Starts behind a barrier: if users began one after the other, the early ones would be gone before the late ones came.
#[test]
fn all_users_start_together() {
    struct Together;
    impl Scenario for Together {
        type State = tokio::sync::Barrier;
        fn name(&self) -> &'static str {
            "together"
        }
        fn description(&self) -> &'static str {
            "each waits until all are there"
        }
        fn load(&self) -> Load {
            Load::users(500).each(1).timeout(Duration::from_secs(60))
        }
        async fn set_up(&self, _: &Context) -> Result<Self::State, Failure> {
            Ok(tokio::sync::Barrier::new(500))
        }
        async fn operation(&self, all: &Self::State, _: Call) -> Result<(), Failure> {
            all.wait().await;
            Ok(())
        }
        async fn check(&self, _: &Self::State, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
            checks.exactly("highest concurrency", tally.in_flight_peak, 500);
            Ok(())
        }
    }
    check(Together);
}

#[test]
fn smoke_is_shorter_says_so_and_checks_the_same() {
    struct Sized;
    impl Scenario for Sized {
        type State = u64;
        fn name(&self) -> &'static str {
            "sized"
        }
        fn description(&self) -> &'static str {
            "tells its size"
        }
        fn load(&self) -> Load {
            Load::users(20).each(10)
        }
        fn smoke(&self) -> Reduction {
            Reduction::none().users(2).operations(5)
        }
        fn objectives(&self) -> Vec<&str> {
            vec!["success >= 100%"]
        }
        async fn set_up(&self, context: &Context) -> Result<u64, Failure> {
            Ok(context.reduced("documents", 1_000, 10))
        }
        async fn operation(&self, _: &u64, _: Call) -> Result<(), Failure> {
            Ok(())
        }
        async fn check(&self, documents: &u64, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
            checks.holds("documents there", *documents > 0, documents);
            Ok(())
        }
    }
    let in_tier = |tier| {
        let mut options = Options::default();
        options.tier = tier;
        measure(Sized, &options)
    };
    let (smoke, standard) = (in_tier(Tier::Smoke), in_tier(Tier::Standard));
    assert_eq!((smoke.operations.issued, standard.operations.issued), (20, 200));
    assert_eq!(
        smoke.reductions,
        ["load: 10 users × 2 instead of 20 users × 10", "documents: 100 instead of 1000"]
    );
    assert!(standard.reductions.is_empty());
    assert_eq!(smoke.objectives.len(), standard.objectives.len());
    assert_eq!(smoke.invariants.len(), standard.invariants.len());
}

#[test]
fn a_seed_gives_each_operation_the_same_random_numbers_again() {
    struct Seeds(&'static Mutex<Vec<(u64, u64)>>);
    impl Scenario for Seeds {
        type State = ();
        fn name(&self) -> &'static str {
            "seeds"
        }
        fn description(&self) -> &'static str {
            "notes each operation's seed"
        }
        fn load(&self) -> Load {
            Load::users(8).each(20)
        }
        async fn set_up(&self, _: &Context) -> Result<(), Failure> {
            Ok(())
        }
        async fn operation(&self, (): &(), call: Call) -> Result<(), Failure> {
            self.0.lock().unwrap().push((call.index, call.seed));
            Ok(())
        }
    }
    let seen = |seed| {
        let calls: &'static Mutex<Vec<_>> = Box::leak(Box::default());
        let mut options = Options::default();
        options.seed = seed;
        measure(Seeds(calls), &options);
        let mut calls = calls.lock().unwrap().clone();
        calls.sort_unstable();
        calls
    };
    let first = seen(7);
    assert_eq!(first, seen(7));
    assert_ne!(first, seen(8));
    assert!(first.iter().map(|(index, _)| *index).eq(0..160), "indices have no gaps");
}

#[test]
#[should_panic(expected = "needs 1000 samples")]
fn check_panics_with_the_table() {
    let torn_down = Box::leak(Box::new(AtomicBool::new(false)));
    let (defect, objectives) = (Defect::None, vec!["p99.9 < 1s"]);
    check(Planted { defect, load: ten_users(), objectives, torn_down, record: Arc::default() });
}

#[test]
#[should_panic(expected = "column 1: expected a metric")]
fn an_unknown_metric_is_told_before_anything_runs() {
    run(Defect::None, ten_users(), &["p95th < 1s"]);
}
