//! Guarded calls of this project's breaker beside recloser, failsafe and tower-resilience.
//!
//! `breaker [--rounds N] [--calls N] [--only healthy|refused|budgets]`: each guards a closure that succeeds and does next to nothing, the circuit closed; then refuses one, the circuit
//! open. On one thread, and on two that share one breaker. Rounds of all alternate, so that a slow moment of the machine hits
//! all alike; told is the median of each one's time a call, and of the rounds' own ratios to the fastest peer with their range. What awaiting and what a
//! budget take more is told as the median of the rounds' own differences.

use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use steadfast_breaker::{
    Breaker, CachedClock, Clock, Config, Cost, Outcome, Period, Request, Scope, Settlement, State,
    SystemClock,
};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_service::Service;

/// What is measured.
const PARTS: [&str; 3] = ["healthy", "refused", "budgets"];

struct Options {
    rounds: usize,
    calls: usize,
    /// One of the parts; all without it.
    only: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { rounds: 15, calls: 200_000, only: None };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            if name == "--only" {
                let part = value.filter(|part| PARTS.contains(&part.as_str()));
                let part = part.ok_or_else(|| format!("--only needs one of {}", PARTS.join(", ")))?;
                options.only = Some(part.clone());
                continue;
            }
            let value = value.and_then(|value| value.parse::<usize>().ok());
            let value =
                value.filter(|value| *value > 0).ok_or_else(|| format!("{name} needs a number above 0"))?;
            match name.as_str() {
                "--rounds" => options.rounds = value,
                "--calls" => options.calls = value,
                _ => return Err(format!("unknown option {name}: --rounds N, --calls N, --only PART")),
            }
        }
        Ok(options)
    }
}

/// What the guarded closure does: little, and not foldable away.
#[inline]
fn work(n: u64) -> Result<u64, ()> {
    let n = black_box(n);
    if n == u64::MAX { Err(()) } else { Ok(n + 1) }
}

/// One contestant: `run` makes so many calls on a breaker that its clones share.
struct Contestant {
    name: &'static str,
    run: Arc<dyn Fn(usize) + Send + Sync>,
}

fn contestant(name: &'static str, run: impl Fn(usize) + Send + Sync + 'static) -> Contestant {
    Contestant { name, run: Arc::new(run) }
}

/// Nanoseconds a call on `threads` threads, each its own count of calls.
fn time(contestant: &Contestant, threads: usize, calls: usize) -> f64 {
    if threads == 1 {
        let started = Instant::now();
        (contestant.run)(calls);
        return started.elapsed().as_nanos() as f64 / calls as f64;
    }
    let gate = Arc::new(Barrier::new(threads));
    let run = |_| {
        let (gate, run) = (Arc::clone(&gate), Arc::clone(&contestant.run));
        std::thread::spawn(move || {
            gate.wait();
            let started = Instant::now();
            run(calls);
            started.elapsed().as_nanos() as f64 / calls as f64
        })
    };
    let all: Vec<_> = (0..threads).map(run).collect();
    let times: Vec<f64> = all.into_iter().filter_map(|thread| thread.join().ok()).collect();
    times.iter().sum::<f64>() / times.len() as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// By how much one contestant is slower than another, in nanoseconds a call.
struct Excess {
    name: &'static str,
    of: usize,
    over: usize,
    /// The same two for something that does nothing, whose difference is the bench's own.
    less: Option<(usize, usize)>,
}

impl Excess {
    /// In the round whose `times` these are.
    fn in_round(&self, times: &[Vec<f64>], round: usize) -> f64 {
        let between = |of: usize, over: usize| times[of][round] - times[over][round];
        between(self.of, self.over) - self.less.map_or(0.0, |(of, over)| between(of, over))
    }
}

/// Those that compete. `ours` and `peers` are places: told are the ratios of those to the fastest peer.
struct Field {
    title: &'static str,
    contestants: Vec<Contestant>,
    ours: &'static [usize],
    peers: &'static [usize],
    excesses: Vec<Excess>,
}

/// Runs all contestants in alternating rounds. Ratios and differences are taken within each round.
fn compete(field: &Field, threads: usize, options: &Options) {
    let Field { title, contestants, ours, peers, excesses } = field;
    for contestant in contestants {
        time(contestant, threads, options.calls / 10 + 1);
    }
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..options.rounds {
        for at in 0..contestants.len() {
            // Each round begins with another one.
            let at = (at + round) % contestants.len();
            times[at].push(time(&contestants[at], threads, options.calls));
        }
    }
    println!("\n{title}, {threads} thread(s): ns a call, median (range)");
    for (contestant, times) in contestants.iter().zip(&times) {
        let mut sorted = times.clone();
        let middle = median(&mut sorted);
        println!(
            "  {:<34} {middle:>8.1} ({:.1}–{:.1})",
            contestant.name,
            sorted[0],
            sorted[sorted.len() - 1]
        );
    }
    for excess in excesses {
        let mut all: Vec<f64> = (0..options.rounds).map(|round| excess.in_round(&times, round)).collect();
        let middle = median(&mut all);
        println!("  {}: {middle:+.1} ({:+.1} to {:+.1})", excess.name, all[0], all[all.len() - 1]);
    }
    if peers.is_empty() {
        return;
    }
    let fastest = |round: usize| peers.iter().map(|&peer| times[peer][round]).fold(f64::MAX, f64::min);
    for &at in *ours {
        let mut ratios: Vec<f64> =
            (0..options.rounds).map(|round| times[at][round] / fastest(round)).collect();
        let middle = median(&mut ratios);
        println!(
            "  {} ÷ the fastest peer: {middle:.2} ({:.2}–{:.2})",
            contestants[at].name,
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
}

/// A breaker as recloser's and failsafe's defaults here: the last 100 calls, half of them.
fn config() -> Config {
    Config {
        window: steadfast_breaker::Window::Calls(100),
        open: Duration::from_secs(3600),
        open_max: Duration::from_secs(3600),
        ..Config::default()
    }
}

fn breaker() -> Result<Breaker, String> {
    Breaker::new(config()).map_err(|error| error.to_string())
}

fn recloser() -> recloser::Recloser {
    recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(Duration::from_secs(3600)).build()
}

/// Runs a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn tower_layer() -> Result<CircuitBreakerLayer, String> {
    CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .wait_duration_in_open(Duration::from_secs(3600))
        .build()
        .map_err(|error| error.to_string())
}

/// The least service: `work`.
#[derive(Clone)]
struct Work;

impl Service<u64> for Work {
    type Response = u64;
    type Error = ();
    type Future = std::future::Ready<Result<u64, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        std::future::ready(work(request))
    }
}

fn healthy() -> Result<Field, String> {
    use tower_layer_of::layer;
    let ours = breaker()?;
    let ours_async = breaker()?;
    let ours_permit = breaker()?;
    let ours_slow = Breaker::new(Config {
        slow_call: Some(Duration::from_secs(1)),
        slow_percent: Some(50.0),
        ..config()
    })
    .map_err(|error| error.to_string())?;
    let recloser = recloser();
    let consecutive = failsafe::Config::new()
        .failure_policy(failsafe::failure_policy::consecutive_failures(
            5,
            failsafe::backoff::constant(Duration::from_secs(3600)),
        ))
        .build();
    let default = failsafe::Config::new().build();
    let tower = layer(&tower_layer()?, Work);
    let contestants = vec![
        contestant("bare closure", |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(work(n));
            }
        }),
        contestant("bare future", |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(at_once(async { std::future::ready(work(n)).await }));
            }
        }),
        contestant("ours", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(ours.call(|| work(n)));
            }
        }),
        contestant("ours, async", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(at_once(ours_async.call_async(|| std::future::ready(work(n)))));
            }
        }),
        contestant("ours, permit", move |calls| {
            let request = Request::default();
            for n in 0..calls as u64 {
                if let Ok(permit) = ours_permit.try_acquire(&request) {
                    black_box(permit.settle(Outcome::of(&work(n)), Settlement::Unknown).cost_nano);
                }
            }
        }),
        contestant("ours, slow calls told (2 clock reads)", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(ours_slow.call(|| work(n)));
            }
        }),
        contestant("recloser", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(recloser.call(|| work(n)));
            }
        }),
        contestant("failsafe, consecutive", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(consecutive.call(|| work(n)));
            }
        }),
        contestant("failsafe, default", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(default.call(|| work(n)));
            }
        }),
        contestant("tower-resilience", move |calls| {
            let mut service = tower.clone();
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
            runtime.block_on(async {
                for n in 0..calls as u64 {
                    let _ = black_box(service.call(n).await);
                }
            });
        }),
    ];
    let ours_of_async = Excess { name: "awaited, ours of it", of: 3, over: 2, less: Some((1, 0)) };
    let all_of_async = Excess { name: "awaited, the bench's polling included", less: None, ..ours_of_async };
    Ok(Field {
        title: "healthy",
        contestants,
        ours: &[2, 3, 4],
        peers: &[6, 7, 8, 9],
        excesses: vec![all_of_async, ours_of_async],
    })
}

/// `Layer::layer` without the crate that has the trait.
mod tower_layer_of {
    use super::{CircuitBreakerLayer, Work};

    pub(super) fn layer(
        layer: &CircuitBreakerLayer,
        work: Work,
    ) -> impl tower_service::Service<u64, Response = u64, Error: Send, Future: Send> + Clone + Send + Sync + 'static
    {
        layer.layer_fn(work)
    }
}

fn refusing() -> Result<Field, String> {
    let ours = breaker()?;
    ours.set_state(State::Open);
    let cached = Breaker::new(Config {
        clock: Arc::new(CachedClock::new(Arc::new(SystemClock::default()))),
        ..config()
    })
    .map_err(|error| error.to_string())?;
    cached.set_state(State::Open);
    let recloser = recloser();
    for _ in 0..201 {
        let _ = recloser.call(|| Err::<(), ()>(()));
    }
    let failsafe = failsafe::Config::new()
        .failure_policy(failsafe::failure_policy::consecutive_failures(
            1,
            failsafe::backoff::constant(Duration::from_secs(3600)),
        ))
        .build();
    let _ = failsafe.call(|| Err::<(), ()>(()));
    let refused = failsafe.call(|| Ok::<(), ()>(())).is_err() && recloser.call(|| Ok::<(), ()>(())).is_err();
    if !refused {
        return Err("a peer that should be open isn't".to_owned());
    }
    let contestants = vec![
        contestant("ours", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(ours.call(|| work(n)));
            }
        }),
        contestant("ours, cached clock", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(cached.call(|| work(n)));
            }
        }),
        contestant("recloser", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(recloser.call(|| work(n)));
            }
        }),
        contestant("failsafe, consecutive", move |calls| {
            for n in 0..calls as u64 {
                let _ = black_box(failsafe.call(|| work(n)));
            }
        }),
    ];
    Ok(Field { title: "refused", contestants, ours: &[0, 1], peers: &[2, 3], excesses: Vec::new() })
}

/// A call that reserves 1000 nano-units, goes out, and costs 900.
fn costed(name: &'static str, scopes: Vec<Scope>, clock: Arc<dyn Clock>) -> Result<Contestant, String> {
    let breaker = Breaker::new(Config { clock, ..config() }).map_err(|error| error.to_string())?;
    Ok(contestant(name, move |calls| {
        let request = Request { cost: Cost::Nano(1000), scopes: &scopes, ..Request::default() };
        for n in 0..calls as u64 {
            if let Ok(mut permit) = breaker.try_acquire(&request) {
                permit.dispatched();
                black_box(permit.settle(Outcome::of(&work(n)), Settlement::Exact(900)).cost_nano);
            }
        }
    }))
}

fn budgets() -> Result<Field, String> {
    let system: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let cached: Arc<dyn Clock> = Arc::new(CachedClock::new(Arc::clone(&system)));
    let scope = |clock: &Arc<dyn Clock>, periods: &[Period]| {
        let mut builder = Scope::builder("tenant", Arc::clone(clock));
        for &period in periods {
            // Enough for a million million calls.
            builder = builder.limit(period, 1 << 50);
        }
        builder.build().map_err(|error| error.to_string())
    };
    let permit = breaker()?;
    let contestants = vec![
        contestant("permit without a budget", move |calls| {
            let request = Request::default();
            for n in 0..calls as u64 {
                if let Ok(permit) = permit.try_acquire(&request) {
                    black_box(permit.settle(Outcome::of(&work(n)), Settlement::Unknown).cost_nano);
                }
            }
        }),
        atomics_alone(),
        costed("one lifetime budget", vec![scope(&system, &[Period::Lifetime])?], Arc::clone(&system))?,
        costed("one day budget, cached clock", vec![scope(&cached, &[Period::Day])?], Arc::clone(&cached))?,
        costed("one day budget, system clock", vec![scope(&system, &[Period::Day])?], Arc::clone(&system))?,
        costed(
            "3 scopes × (hour, day), cached clock",
            vec![
                scope(&cached, &[Period::Hour, Period::Day])?,
                scope(&cached, &[Period::Hour, Period::Day])?,
                scope(&cached, &[Period::Hour, Period::Day])?,
            ],
            cached,
        )?,
    ];
    let over_permit = |name, of| Excess { name, of, over: 0, less: None };
    let excesses = vec![
        over_permit("one lifetime budget, more than the permit", 2),
        over_permit("one day budget, cached clock, more than the permit", 3),
    ];
    Ok(Field { title: "budgets", contestants, ours: &[], peers: &[], excesses })
}

/// What no budget can do without, next to nothing else: a compare-and-swap that reserves, and two additions that settle.
fn atomics_alone() -> Contestant {
    let (room, settled) = (AtomicU64::new(1 << 50), AtomicU64::new(0));
    contestant("a budget's three atomics alone", move |calls| {
        for n in 0..calls as u64 {
            let mut seen = room.load(Ordering::Acquire);
            while let Some(left) = seen.checked_sub(1000) {
                match room.compare_exchange_weak(seen, left, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
            }
            let _ = black_box(work(n));
            room.fetch_add(100, Ordering::AcqRel);
            settled.fetch_add(900, Ordering::AcqRel);
        }
    })
}

/// Measures, and prints.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    for threads in [1, 2] {
        let is_asked = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
        if is_asked("healthy") {
            compete(&healthy()?, threads, &options);
        }
        if is_asked("refused") {
            compete(&refusing()?, threads, &options);
        }
        if is_asked("budgets") {
            compete(&budgets()?, threads, &options);
        }
    }
    Ok(())
}
