//! Scenarios without a command line: in a test, or in a program of one's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::context::Tier;
use crate::load::Stop;
use crate::monitor::SAMPLE_EVERY;
use crate::plan::{self, Amount, Plan};
use crate::report::ScenarioReport;
use crate::run::{self, Job};
use crate::scenario::Scenario;
use crate::suite::Suite;
use crate::table::{self, Screen};
use crate::verdict::Verdict;

/// How to [`measure`] a scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How much of the load. Smoke by default.
    pub tier: Tier,
    /// The seed of all random choices. 1 by default.
    pub seed: u64,
    /// What [`Context::corpus`](crate::Context::corpus) tells. Nothing by default.
    pub corpus: Option<PathBuf>,
    /// How long tier soak runs. A minute by default.
    pub soak_for: Duration,
    /// The time between two samples of the process in the first 30 s of a load; later it is twice
    /// as long. 125 ms by default, 10 ms at least. A trend needs 20 samples of memory after the
    /// warm-up, 10 of files and threads: denser ones judge a shorter load.
    pub sample_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tier: Tier::Smoke,
            seed: 1,
            corpus: None,
            soak_for: Duration::from_secs(60),
            sample_every: SAMPLE_EVERY,
        }
    }
}

/// Runs one scenario as a plain test does: at smoke size, with seed 1, without a report file.
///
/// ```no_run
/// # use steadfast_stress::{Call, Context, Failure, Load, Scenario};
/// # struct Increments;
/// # impl Scenario for Increments {
/// #     type State = ();
/// #     fn name(&self) -> &str { "increments" }
/// #     fn description(&self) -> &str { "" }
/// #     fn load(&self) -> Load { Load::users(1).each(1) }
/// #     async fn set_up(&self, _: &Context) -> Result<(), Failure> { Ok(()) }
/// #     async fn operation(&self, _: &(), _: Call) -> Result<(), Failure> { Ok(()) }
/// # }
/// #[test]
/// fn increments() {
///     steadfast_stress::check(Increments);
/// }
/// ```
///
/// # Panics
///
/// With the table, if the verdict isn't PASS; or with what is wrong about the scenario's description.
pub fn check(scenario: impl Scenario) {
    let report = measure(scenario, &Options::default());
    let table = table::render(std::slice::from_ref(&report), Screen::plain());
    assert!(report.verdict == Verdict::Pass, "{}\n{table}", report.verdict);
    println!("{table}");
}

/// Runs one scenario on a runtime of its own and tells all that came of it. Blocks; may be called from anywhere,
/// also from within another runtime.
///
/// # Panics
///
/// If the scenario's description is wrong, such as an objective that can't be parsed, if tier soak has no load of it, or
/// if no runtime or thread can be started. What the scenario does, also a panic of it, is in the report.
pub fn measure(scenario: impl Scenario, options: &Options) -> ScenarioReport {
    let suite = Suite::new("scenario", "").scenario(scenario);
    if let Err(wrong) = plan::check_all(std::slice::from_ref(&suite)) {
        panic!("{}", wrong.join("\n"));
    }
    let scenario = &*suite.scenarios[0];
    let amount = Amount { tier: options.tier, soak_for: options.soak_for };
    let plan = Plan::new(&suite.name, scenario, amount)
        .unwrap_or_else(|wrong| panic!("{wrong}"))
        .unwrap_or_else(|| panic!("a load that is a number of operations can't be soaked"));
    let job = Job {
        tier: options.tier,
        seed: options.seed,
        repetition: 1,
        corpus: options.corpus.clone(),
        scratch: scratch(),
        stop: Stop::never(),
        on_pulse: Box::new(|_| {}),
        interval_log: None,
        sample_every: options.sample_every,
    };
    let report = thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .expect("a runtime can be started");
            let report = runtime.block_on(run::run(scenario, &plan, job));
            runtime.shutdown_background();
            report
        };
        // A thread of its own: a runtime can't be started within another.
        scope.spawn(work).join()
    });
    report.expect("the engine doesn't panic")
}

/// A path that no other run has, in this process or another.
fn scratch() -> PathBuf {
    // Relaxed: only unique numbers are wanted.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("steadfast-stress-{}-{number}", std::process::id()))
}
