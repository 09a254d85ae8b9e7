//! Rivals for the processors: they may make a run INVALID, but never FAIL it, and never spoil what holds anyway.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Call, Context, Failure, Load, Options, Scenario, Verdict, measure};

use crate::alone;

/// Processes that do nothing but use processors; ended when dropped.
struct Rivals(Vec<Child>);

impl Rivals {
    fn start() -> Self {
        let processors = thread::available_parallelism().unwrap().get();
        let spin = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap()
        };
        Self((0..4 * processors).map(|_| spin()).collect())
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        for rival in &mut self.0 {
            let _ = rival.kill();
            let _ = rival.wait();
        }
    }
}

/// Needs a processor for 2 ms at a time.
struct Computes {
    objectives: &'static [&'static str],
}

impl Scenario for Computes {
    type State = ();

    fn name(&self) -> &'static str {
        "computes"
    }
    fn description(&self) -> &'static str {
        "needs the processors"
    }
    fn load(&self) -> Load {
        let ms = Duration::from_millis;
        Load::users(4).lasting(ms(500)).named("first").then(4, ms(1_000)).named("second")
    }
    fn objectives(&self) -> Vec<&str> {
        self.objectives.to_vec()
    }
    async fn set_up(&self, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
    async fn operation(&self, (): &(), _: Call) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_millis(2);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

fn beside_rivals(objectives: &'static [&'static str]) -> ScenarioReport {
    let _rivals = Rivals::start();
    measure(Computes { objectives }, &Options::default())
}

/// By our rivals or, on a virtual machine, by its hypervisor: the latter may take so much that little is left for rivals.
fn is_taken(told: &str) -> bool {
    told.contains("of the processors") || told.contains("stood still")
}

#[test]
fn a_starved_run_is_excused_for_time_alone() {
    let _alone = alone();
    // 2 ms of work in less than 1 ms: not held on any machine, so only the reason for it is in
    // question; over the whole load, and in a phase, which says whose processors were taken when.
    let late = beside_rivals(&["p50 < 1ms", "p50 in phase second < 1ms"]);
    assert_eq!(late.verdict, Verdict::Invalid, "{:?} {:?}", late.reasons, late.processors);
    let [whole, in_phase] = &late.reasons[..] else { panic!("{:?}", late.reasons) };
    assert!(whole.contains(", but ") && is_taken(whole), "{whole}");
    assert!(in_phase.contains(", but in phase second ") && is_taken(in_phase), "{in_phase}");

    let held = beside_rivals(&["p50 < 1min"]);
    assert_eq!(held.verdict, Verdict::Pass, "{:?}", held.reasons);
    assert!(is_taken(&held.warnings[0]), "{:?}", held.warnings);

    let wrong = beside_rivals(&["success < 50%"]);
    assert_eq!(wrong.verdict, Verdict::Fail, "no rival makes an operation succeed: {:?}", wrong.reasons);
}
