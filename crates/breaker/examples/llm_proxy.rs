//! A client of a paid, flaky language model, guarded by one breaker with budgets.
//!
//! `cargo run -p steadfast-breaker --example llm_proxy`: a stub on loopback answers like a chat-completion API with its token usage. It is healthy at first, then
//! fails, then stalls, then answers far longer than asked, and recovers. What the breaker and the budget made of each phase is printed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use steadfast_breaker::{
    Breaker, CallError, Class, Clock, Config, Cost, Estimator, Event, EventKind, Outcome, Period, Price,
    Rejected, Request, Rule, Scope, Settlement, SystemClock, Window,
};

/// How the stub behaves.
#[derive(Clone, Copy)]
enum Mood {
    Healthy,
    Failing,
    Stalling,
    Overcharging,
}

const PROMPT_TOKENS: u64 = 400;
const OUTPUT_TOKENS_MAX: u64 = 200;
const PATIENCE: Duration = Duration::from_millis(40);

/// Serves until the process ends.
fn serve(listener: &TcpListener, mood: &AtomicU8) {
    for stream in listener.incoming().flatten() {
        let mood = mood.load(Ordering::Relaxed);
        thread::spawn(move || answer(stream, mood));
    }
}

fn answer(mut stream: TcpStream, mood: u8) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut output = OUTPUT_TOKENS_MAX / 2;
    let mut status = "200 OK";
    match mood {
        1 => status = "503 Service Unavailable",
        2 => thread::sleep(4 * PATIENCE),
        3 => output = 10 * OUTPUT_TOKENS_MAX,
        _ => {}
    }
    let body = format!("{{\"usage\":{{\"prompt_tokens\":{PROMPT_TOKENS},\"completion_tokens\":{output}}}}}");
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Why a call of the model failed.
#[derive(Debug)]
enum ModelError {
    Status,
    /// Nobody knows whether the model did the work.
    Timeout,
}

/// Tokens (prompt, completion) that the model says it used.
fn complete(address: SocketAddr) -> Result<(u64, u64), ModelError> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|_| ModelError::Timeout)?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(ModelError::Status);
    }
    let number = |name: &str| {
        let digits: String =
            answer.split(name).nth(1)?.chars().skip(2).take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    number("prompt_tokens").zip(number("completion_tokens")).ok_or(ModelError::Status)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mood = Arc::new(AtomicU8::new(0));
    let served = Arc::clone(&mood);
    thread::spawn(move || serve(&listener, &served));

    let price = Price::per_million_tokens(3.0, 15.0)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let config = Config {
        window: Window::Calls(20),
        calls_min: 5,
        open: Duration::from_millis(150),
        open_max: Duration::from_millis(600),
        probes: 2,
        clock: Arc::clone(&clock),
        ..Config::default()
    };
    let told = |event: &Event| match &event.kind {
        EventKind::Transition { from, to, cause, .. } => println!("    {from:?} → {to:?} ({cause:?})"),
        EventKind::Budget { scope, level, .. } => println!("    {scope} came to {level:?}"),
        _ => {}
    };
    let breaker = Breaker::builder(config)
        .estimator(Arc::new(Estimator::new().price("chat", price)))
        .rule(Rule::per_call("no single call over a cent", 10_000_000))
        .listener(Arc::new(told))
        .build()?;
    let team = Scope::builder("team", clock).limit(Period::Day, 600_000_000).build()?; // 60 cents
    let scopes = [team.clone()];
    let request = |class| Request {
        cost: Cost::Tokens { input: PROMPT_TOKENS, output_max: OUTPUT_TOKENS_MAX },
        class,
        operation: "chat",
        scopes: &scopes,
    };

    let phases =
        [Mood::Healthy, Mood::Failing, Mood::Stalling, Mood::Healthy, Mood::Overcharging, Mood::Healthy];
    let names = [
        "healthy",
        "failing",
        "stalling",
        "healthy again",
        "overcharging",
        "healthy, with little money left",
    ];
    for (phase, name) in phases.into_iter().zip(names) {
        mood.store(phase as u8, Ordering::Relaxed);
        println!("the model is {name}");
        let before = breaker.stats();
        for number in 0..60 {
            let class = [Class::Background, Class::Normal, Class::Critical][number % 3];
            let bill = |result: &Result<(u64, u64), ModelError>| match result {
                Ok((input, output)) => {
                    (Outcome::Success, Settlement::Exact(price.cost_nano(*input, *output)))
                }
                Err(ModelError::Status) => (Outcome::Failure, Settlement::Exact(0)),
                // It may have worked for us: what was held is charged.
                Err(ModelError::Timeout) => (Outcome::Failure, Settlement::Unknown),
            };
            let answer = breaker.call_costed(&request(class), || complete(address), bill);
            if let Err(CallError::Rejected(Rejected::Open { .. } | Rejected::ProbesBusy)) = answer {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let (now, standing) = (breaker.stats(), team.standing(0).ok_or("the scope has one limit")?);
        println!(
            "    {} succeeded, {} failed, {} refused as open, {} for money, {} shed; of 0.600: {:.3} spent, {:.3} over",
            now.success - before.success,
            now.failure - before.failure,
            now.rejected_open - before.rejected_open,
            now.rejected_for_cost() - before.rejected_for_cost(),
            now.rejected_shed - before.rejected_shed,
            standing.settled_nano as f64 / 1e9,
            standing.overdraft_nano() as f64 / 1e9,
        );
    }
    let stats = breaker.stats();
    println!(
        "{} calls: estimated {:.3}, actual {:.3}, saved {:.3}; held now: {}",
        stats.total(),
        stats.estimated_nano as f64 / 1e9,
        stats.actual_nano as f64 / 1e9,
        stats.saved_nano as f64 / 1e9,
        stats.held_nano
    );
    Ok(())
}
