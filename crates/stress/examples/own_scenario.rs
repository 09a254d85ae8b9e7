//! A stress test of one's own service, complete: `cargo run --release --example own_scenario -- standard`.
//!
//! The service is a bank with two accounts. Take the lock out of `transfer`'s hands between reading and writing, and
//! the invariant catches it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Suite, Tally};

struct Transfers;

impl Scenario for Transfers {
    type State = Mutex<[i64; 2]>;

    fn name(&self) -> &'static str {
        "transfers"
    }
    fn description(&self) -> &'static str {
        "200 transfers a second between two accounts"
    }
    fn load(&self) -> Load {
        Load::rate(200.0).max_in_flight(32).lasting(Duration::from_secs(10)).timeout(Duration::from_secs(1))
    }
    fn smoke(&self) -> Reduction {
        Reduction::none().duration(10)
    }
    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 99%", "p95 < 50ms", "timeouts <= 0%", "rate > 150/s", "rss_growth < 20MB"]
    }
    async fn set_up(&self, _: &Context) -> Result<Self::State, Failure> {
        Ok(Mutex::new([1_000_000, 1_000_000]))
    }
    async fn operation(&self, accounts: &Self::State, call: Call) -> Result<(), Failure> {
        let mut random = call.rng();
        let (from, amount) = (random.below(2) as usize, random.below(100) as i64);
        tokio::time::sleep(Duration::from_millis(random.below(5))).await;
        let mut accounts = accounts.lock().map_err(|_| Failure::new("poisoned", "a transfer panicked"))?;
        if accounts[from] < amount {
            return Err(Failure::new("insufficient", format!("{} < {amount}", accounts[from])));
        }
        accounts[from] -= amount;
        accounts[1 - from] += amount;
        Ok(())
    }
    async fn check(&self, accounts: &Self::State, _: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let total: i64 = accounts.lock().map_err(|_| Failure::new("poisoned", ""))?.iter().sum();
        checks.exactly("no money made or lost", total, 2_000_000);
        Ok(())
    }
}

fn main() -> ExitCode {
    steadfast_stress::main([Suite::new("bank", "two accounts").scenario(Transfers)])
}
