//! A process that is stopped for two seconds at a known rate: the reported distribution must hold the tail that
//! theory gives.
//!
//! Operations come evenly over six seconds. Those that should have started while the target stood still wait for what
//! was left of it, so of all operations a share of (2 s − x) / 6 s took longer than x: a uniform tail. A generator that
//! leaves out what it couldn't send on time, or counts from when it did, reports a handful of slow operations instead.
//!
//! A busy machine makes more of them late. So the theory is a lower bound, and the operations' own record tells what the report must say.
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use steadfast_stress::{Call, Context, Failure, Load, Options, Scenario, Tier, Verdict, measure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::own_record::OwnRecord;

const SLOTS: usize = 8;
const RATE: f64 = 200.0;
const SCHEDULE: Duration = Duration::from_secs(6);
const STALL: Duration = Duration::from_secs(2);
/// Tells the test's own program to be the target.
const SERVE: &str = "STEADFAST_STALLED_TARGET_SERVES";

/// Echoes bytes until it is killed. Not a test by itself: the test below runs it in a process of its own.
#[test]
fn the_target() {
    if std::env::var_os(SERVE).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nlistening on {}", listener.local_addr().unwrap());
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Otherwise an answer may wait 40 ms for the packet before it, and the backlog would never go.
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            });
        }
    });
}

/// The process; killed when dropped, stopped or not.
struct Target {
    process: Child,
    address: SocketAddr,
}

impl Target {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["stalled_target::the_target", "--exact", "--nocapture"])
            .env(SERVE, "yes")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("listening on ").map(|address| address.parse().unwrap()));
        Self { address: address.expect("the target says where it listens"), process }
    }

    fn signal(pid: u32, signal: &str) {
        let done = Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Echo {
    target: Target,
    record: Arc<OwnRecord>,
}

impl Scenario for Echo {
    /// One connection for each slot.
    type State = Vec<Mutex<TcpStream>>;

    fn name(&self) -> &'static str {
        "echo"
    }
    fn description(&self) -> &'static str {
        "a byte there and back"
    }
    fn load(&self) -> Load {
        Load::rate(RATE).max_in_flight(SLOTS).lasting(SCHEDULE)
    }
    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 100%"]
    }
    async fn set_up(&self, context: &Context) -> Result<Self::State, Failure> {
        let mut connections = Vec::new();
        for _ in 0..SLOTS {
            let stream = TcpStream::connect(self.target.address).await?;
            stream.set_nodelay(true)?;
            connections.push(Mutex::new(stream));
        }
        let (pid, context) = (self.target.process.id(), context.clone());
        // A thread, since commands are waited for. It ends with the marks' time certainly within the stall.
        std::thread::spawn(move || {
            // Early in the load, so that also a late one ends within it: calibration takes 0.2 s at most, or a little more on a busy machine.
            std::thread::sleep(Duration::from_secs(1));
            Target::signal(pid, "-STOP");
            context.mark("target stopped");
            std::thread::sleep(STALL);
            context.mark("target goes on");
            Target::signal(pid, "-CONT");
        });
        Ok(connections)
    }
    async fn operation(&self, connections: &Self::State, call: Call) -> Result<(), Failure> {
        let began = Instant::now();
        let mut stream = connections[call.user].lock().await;
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await?;
        self.record.add(call.index, began);
        Ok(())
    }
}

/// Share of the operations that took longer than `x`.
fn share_above(buckets: &[(u64, u64)], x: Duration) -> f64 {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let above: u64 = buckets.iter().filter(|(edge, _)| u128::from(*edge) > x.as_nanos()).map(|it| it.1).sum();
    above as f64 / all as f64
}

#[test]
fn a_stall_shows_as_the_uniform_tail_that_theory_gives() {
    if std::env::var_os(SERVE).is_some() {
        return;
    }
    let mut options = Options::default();
    options.tier = Tier::Standard;
    let record = Arc::new(OwnRecord::default());
    let report = measure(Echo { target: Target::start(), record: Arc::clone(&record) }, &options);
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.reasons);
    assert_eq!(report.operations.issued, 1_200);
    let response = report.response_time.expect("an open loop");
    let marks: Vec<&str> = report.marks.iter().map(|mark| mark.label.as_str()).collect();
    assert_eq!(marks, ["target stopped", "target goes on"]);
    for ms in [200, 500, 1_000, 1_500, 1_800] {
        let x = Duration::from_millis(ms);
        let in_theory = STALL.saturating_sub(x).as_secs_f64() / SCHEDULE.as_secs_f64();
        let recorded = record.share_above(Duration::from_secs_f64(1.0 / RATE), x);
        let reported = share_above(&response.buckets, x);
        let told = format!("{in_theory:.3} above {ms} ms, recorded {recorded:.3}, reported {reported:.3}");
        assert!(reported > in_theory - 0.01 && (reported - recorded).abs() < 0.02, "{told}");
    }
    // Service time, from the real start, knows nothing of it: only what was in flight was slow.
    let slow = share_above(&report.service_time.buckets, STALL / 4) * 1_200.0;
    assert!(
        (slow - record.slow(STALL / 4) as f64).abs() <= SLOTS as f64,
        "{slow} slow, {} recorded",
        record.slow(STALL / 4)
    );
    let stalled = report.windows.iter().filter(|window| window.succeeded <= 10).count();
    assert!(stalled >= 1, "the windows show it as well");
    assert_eq!(report.windows.iter().filter_map(|window| window.intended).sum::<u64>(), 1_200);
}
