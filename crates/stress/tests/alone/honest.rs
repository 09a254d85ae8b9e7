//! An honest service under every detector at once: the clean run passes, and whatever is planted in it is caught.
//!
//! `cargo xtask sabotage stress` plants: a write lost in 10 000, a leak of 1 KiB in 1 000 operations, a leaked handle,
//! and defects of the engine itself. The clean run is repeated there, to see that nothing is flagged without a cause.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use steadfast_stress::{
    Call, Checks, Context, Failure, Load, Options, Scenario, Tally, Tier, Verdict, measure,
};

use crate::alone;

/// Puts numbers into a set and says so.
struct Honest;

struct Service {
    stored: Mutex<HashSet<u64>>,
    /// Read by every operation.
    file: PathBuf,
}

impl Service {
    /// Done when it returns.
    fn put(&self, number: u64) -> Result<(), Failure> {
        let mut greeting = String::new();
        let mut file = File::open(&self.file)?;
        file.read_to_string(&mut greeting)?;
        let scratch = vec![greeting; 40].concat();
        self.stored.lock().map_err(|_| Failure::new("poisoned", scratch.clone()))?.insert(number);
        Ok(())
    }
}

impl Scenario for Honest {
    type State = Service;

    fn name(&self) -> &'static str {
        "honest"
    }
    fn description(&self) -> &'static str {
        "does what it says and leaves nothing behind"
    }
    fn load(&self) -> Load {
        Load::rate(6_000.0).max_in_flight(64).lasting(Duration::from_secs(4)).poisson()
    }
    fn objectives(&self) -> Vec<&str> {
        vec![
            "success >= 100%",
            "errors over 2s <= 0%",
            "p50 < 1s",
            "leak live_bytes <= 0.5B/op",
            "leak open_files <= 0.0001/op",
            "leak threads <= 0.0001/op",
        ]
    }
    async fn set_up(&self, context: &Context) -> Result<Service, Failure> {
        let file = context.scratch().join("greeting");
        File::create(&file)?.write_all(b"a greeting of some bytes\n")?;
        // What the load will store has its room from the beginning: it is no leak.
        Ok(Service { stored: Mutex::new(HashSet::with_capacity(50_000)), file })
    }
    async fn operation(&self, service: &Service, call: Call) -> Result<(), Failure> {
        service.put(call.index)
    }
    async fn check(&self, service: &Service, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let stored = service.stored.lock().map_err(|_| Failure::new("poisoned", "a panic"))?.len() as u64;
        checks.exactly("stored == acknowledged", stored, tally.succeeded);
        checks.exactly("issued == planned", Some(tally.issued), tally.planned);
        Ok(())
    }
}

/// FAIL has a cause, whatever else the machine does; INVALID is for a machine that is too busy to tell.
#[test]
fn an_honest_service_is_not_flagged() {
    let _alone = alone();
    let mut options = Options::default();
    options.tier = Tier::Standard;
    options.sample_every = Duration::from_millis(40);
    let report = measure(Honest, &options);
    assert_ne!(report.verdict, Verdict::Fail, "{:#?}", report.reasons);
    assert_eq!(report.operations.issued, 24_000);
    for trend in &report.trends {
        println!("{}: {}, {} samples", trend.figure, trend.finding, trend.samples);
    }
    assert!(report.trends.iter().any(|trend| trend.figure == "live_bytes" && trend.samples >= 30));
}
