//! Leaks planted in a real process, beside the same process without them.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_stress::allocations;
use steadfast_stress::report::{ScenarioReport, TrendReport};
use steadfast_stress::{Call, Context, Failure, Load, Options, Scenario, Tier, Verdict, measure};

use crate::alone;

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    None,
    /// 1 KiB in 1 000 operations.
    KeepsMemory,
    /// 1 in 20 000 operations.
    KeepsFiles,
}

struct Target {
    defect: Defect,
    operations: AtomicU64,
    memory: Mutex<Vec<Box<[u8]>>>,
    files: Mutex<Vec<File>>,
}

/// A load that is sampled this densely has a hundred samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
const LENGTH: Duration = Duration::from_secs(2);

/// Needs some memory for each operation, and a file now and then.
struct Planted(Defect);

impl Scenario for Planted {
    type State = Target;

    fn name(&self) -> &'static str {
        "planted"
    }
    fn description(&self) -> &'static str {
        "a target that may leak"
    }
    fn load(&self) -> Load {
        Load::users(4).lasting(LENGTH)
    }
    fn objectives(&self) -> Vec<&str> {
        vec!["leak live_bytes <= 0.1B/op", "leak open_files <= 0/op", "leak threads <= 0/op"]
    }
    async fn set_up(&self, _: &Context) -> Result<Target, Failure> {
        Ok(Target {
            defect: self.0,
            operations: AtomicU64::new(0),
            // What the list itself takes is no leak.
            memory: Mutex::new(Vec::with_capacity(100_000)),
            files: Mutex::new(Vec::with_capacity(10_000)),
        })
    }
    async fn operation(&self, target: &Target, call: Call) -> Result<(), Failure> {
        let place = target.operations.fetch_add(1, Ordering::Relaxed);
        let scratch = vec![0_u8; 100 + (call.seed % 4_000) as usize];
        tokio::task::yield_now().await;
        if place.is_multiple_of(20_000) {
            let file = File::open("/dev/null")?;
            if target.defect == Defect::KeepsFiles {
                target.files.lock().unwrap().push(file);
            }
        }
        if place.is_multiple_of(1_000) && target.defect == Defect::KeepsMemory {
            target.memory.lock().unwrap().push(vec![scratch[0]; 1_024].into_boxed_slice());
        }
        Ok(())
    }
}

fn run(defect: Defect) -> ScenarioReport {
    let mut options = Options::default();
    options.tier = Tier::Standard;
    options.sample_every = SAMPLE_EVERY;
    measure(Planted(defect), &options)
}

fn trend<'a>(report: &'a ScenarioReport, figure: &str) -> &'a TrendReport {
    report.trends.iter().find(|trend| trend.figure == figure).expect("a trend for each objective")
}

#[test]
fn planted_leaks_are_found_and_clean_runs_are_not_accused() {
    let _alone = alone();
    let before = allocations::live_bytes().unwrap();
    let kept = vec![1_u8; 5_000_000];
    assert!(allocations::live_bytes().unwrap() >= before + 4_900_000);
    drop(kept);

    let clean = run(Defect::None);
    for figure in ["live_bytes", "open_files", "threads"] {
        assert!(trend(&clean, figure).held, "{:?}", trend(&clean, figure));
    }
    assert_eq!(clean.verdict, Verdict::Pass, "{:?}", clean.reasons);

    let leaks = run(Defect::KeepsMemory);
    let live = trend(&leaks, "live_bytes");
    assert!(live.finding.starts_with("leak"), "{live:?}");
    // An interval of 95 % misses now and then, by little.
    assert!(live.slope_low * 0.9 < 1.024 && 1.024 < live.slope_high * 1.1, "{live:?}");
    assert_eq!(leaks.verdict, Verdict::Fail);
    assert!(leaks.reasons.iter().any(|reason| reason.contains("leak live_bytes")), "{:?}", leaks.reasons);
    assert!(trend(&leaks, "open_files").held, "and nothing else is accused");

    let files = run(Defect::KeepsFiles);
    assert!(trend(&files, "open_files").finding.starts_with("leak"), "{:?}", trend(&files, "open_files"));
    assert_eq!(files.verdict, Verdict::Fail);
}
