//! Checking out and back: this project's pool beside deadpool, bb8, r2d2, mobc and a bare semaphore of tokio's.
//!
//! `pool [--rounds N] [--calls N] [--milliseconds N] [--workers N]`: alone, one task takes a number and gives it back; then 64 tasks share 8 slots on two workers, each holding its slot over
//! one trip through the scheduler (r2d2 blocks, so it gets 64 threads), for a rate, the wait's p99.9, and Jain's index of the tasks' shares; then look-ups of a shared connection by address, beside what they can't do
//! without: a lock, and a clone and its drop. Rounds of all alternate; told are medians, ranges, and the rounds' own ratios. A request that gets nothing ends the run: it isn't a measurement.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_pool::{Connector, KeyedPool, Manager, Pool};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

const SLOTS: usize = 8;
const TASKS: usize = 64;

struct Options {
    rounds: usize,
    calls: usize,
    milliseconds: u64,
    workers: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { rounds: 9, calls: 200_000, milliseconds: 400, workers: 2 };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse::<usize>().ok());
            let value =
                value.filter(|value| *value > 0).ok_or_else(|| format!("{name} needs a number above 0"))?;
            match name.as_str() {
                "--rounds" => options.rounds = value,
                "--calls" => options.calls = value,
                "--workers" => options.workers = value,
                "--milliseconds" => options.milliseconds = value as u64,
                _ => {
                    return Err(format!(
                        "unknown option {name}: --rounds N, --calls N, --milliseconds N, --workers N"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// Makes numbers for every pool.
#[derive(Debug)]
struct Numbers;

/// No error, in the shape that every pool accepts.
#[derive(Debug)]
struct Never(Infallible);

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl std::error::Error for Never {}

impl Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn connect(&self) -> Result<u64, Never> {
        Ok(7)
    }
}

impl Connector for Numbers {
    type Connection = u64;
    type Error = Never;

    async fn connect(&self, _: &str) -> Result<u64, Never> {
        Ok(7)
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Never> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Never;

    async fn connect(&self) -> Result<u64, Never> {
        Ok(7)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Never> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

impl r2d2::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Never;

    fn connect(&self) -> Result<u64, Never> {
        Ok(7)
    }

    fn is_valid(&self, _: &mut u64) -> Result<(), Never> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for Numbers {
    type Connection = u64;
    type Error = Never;

    async fn connect(&self) -> Result<u64, Never> {
        Ok(7)
    }

    async fn check(&self, connection: u64) -> Result<u64, Never> {
        Ok(connection)
    }
}

/// A way to take something and give it back. `hold` yields to the scheduler in between.
trait Contestant: Send + Sync {
    fn name(&self) -> &'static str;
    /// So many times, alone.
    fn alone(&self, runtime: &Runtime, calls: usize);
    /// Until `stop`; tells how long each wait was, in nanoseconds.
    fn crowded(self: Arc<Self>, stop: Arc<AtomicBool>) -> Crowded;
}

enum Crowded {
    Task(Pin<Box<dyn Future<Output = Vec<u32>> + Send>>),
    Thread(Box<dyn FnOnce() -> Vec<u32> + Send>),
}

/// What a request got. None is expected to go without.
#[inline]
#[track_caller]
fn taken<T, E: fmt::Debug>(answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|error| panic!("a request got nothing: {error:?}"))
}

/// An async contestant from the expression that takes one.
macro_rules! contestant {
    ($kind:ident, $name:literal, $pool:ty, |$of:ident| $take:expr) => {
        struct $kind($pool);

        impl Contestant for $kind {
            fn name(&self) -> &'static str {
                $name
            }

            fn alone(&self, runtime: &Runtime, calls: usize) {
                let $of = &self.0;
                runtime.block_on(async {
                    for _ in 0..calls {
                        drop(black_box(taken($take.await)));
                    }
                });
            }

            fn crowded(self: Arc<Self>, stop: Arc<AtomicBool>) -> Crowded {
                Crowded::Task(Box::pin(async move {
                    let $of = &self.0;
                    let mut waits = Vec::with_capacity(1 << 16);
                    // Relaxed: it only has to be seen sometime.
                    while !stop.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        let held = taken($take.await);
                        waits.push(asked.elapsed().as_nanos() as u32);
                        tokio::task::yield_now().await;
                        drop(black_box(held));
                    }
                    waits
                }))
            }
        }
    };
}

contestant!(Bare, "tokio semaphore", Semaphore, |of| of.acquire());
contestant!(Ours, "ours", Pool<Numbers>, |of| of.get());
contestant!(Deadpool, "deadpool, managed", deadpool::managed::Pool<Numbers>, |of| of.get());
contestant!(Unmanaged, "deadpool, unmanaged", deadpool::unmanaged::Pool<u64>, |of| of.get());
contestant!(Bb8, "bb8", bb8::Pool<Numbers>, |of| of.get());
contestant!(Mobc, "mobc", mobc::Pool<Numbers>, |of| of.get());

struct R2d2(r2d2::Pool<Numbers>);

impl Contestant for R2d2 {
    fn name(&self) -> &'static str {
        "r2d2 (threads)"
    }

    fn alone(&self, _: &Runtime, calls: usize) {
        for _ in 0..calls {
            drop(black_box(taken(self.0.get())));
        }
    }

    fn crowded(self: Arc<Self>, stop: Arc<AtomicBool>) -> Crowded {
        Crowded::Thread(Box::new(move || {
            let mut waits = Vec::with_capacity(1 << 16);
            // Relaxed: it only has to be seen sometime.
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let held = taken(self.0.get());
                waits.push(asked.elapsed().as_nanos() as u32);
                std::thread::yield_now();
                drop(black_box(held));
            }
            waits
        }))
    }
}

fn contestants(runtime: &Runtime) -> Result<Vec<Arc<dyn Contestant>>, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let ours = Pool::builder(Numbers).max(SLOTS).build().map_err(|error| text(&error))?;
    let deadpool = deadpool::managed::Pool::builder(Numbers).max_size(SLOTS).build();
    let deadpool = deadpool.map_err(|error| text(&error))?;
    let unmanaged = deadpool::unmanaged::Pool::from((0..SLOTS as u64).collect::<Vec<_>>());
    let bb8 = bb8::Pool::builder().max_size(SLOTS as u32).test_on_check_out(false).build(Numbers);
    let bb8 = runtime.block_on(bb8).map_err(|error| text(&error))?;
    let r2d2 = r2d2::Pool::builder().max_size(SLOTS as u32).test_on_check_out(false).build(Numbers);
    let r2d2 = r2d2.map_err(|error| text(&error))?;
    let mobc = mobc::Pool::builder().max_open(SLOTS as u64).max_idle(SLOTS as u64);
    let mobc = mobc.test_on_check_out(false).build(Numbers);
    Ok(vec![
        Arc::new(Bare(Semaphore::new(SLOTS))),
        Arc::new(Ours(ours)),
        Arc::new(Deadpool(deadpool)),
        Arc::new(Unmanaged(unmanaged)),
        Arc::new(Bb8(bb8)),
        Arc::new(R2d2(r2d2)),
        Arc::new(Mobc(mobc)),
    ])
}

/// What one crowded round came to.
struct Round {
    per_second: f64,
    p999_us: f64,
    jain: f64,
}

fn crowd(runtime: &Runtime, contestant: &Arc<dyn Contestant>, milliseconds: u64) -> Result<Round, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let (mut tasks, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..TASKS {
        match Arc::clone(contestant).crowded(Arc::clone(&stop)) {
            Crowded::Task(task) => tasks.push(runtime.spawn(task)),
            Crowded::Thread(thread) => threads.push(std::thread::spawn(thread)),
        }
    }
    std::thread::sleep(Duration::from_millis(milliseconds));
    // Relaxed: as where it is read.
    stop.store(true, Ordering::Relaxed);
    let took = started.elapsed().as_secs_f64();
    let mut shares = Vec::new();
    for task in tasks {
        shares.push(runtime.block_on(task).map_err(|error| error.to_string())?);
    }
    for thread in threads {
        shares.push(thread.join().map_err(|_| "a thread panicked".to_owned())?);
    }
    let counts: Vec<f64> = shares.iter().map(|waits| waits.len() as f64).collect();
    let total: f64 = counts.iter().sum();
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    let mut waits: Vec<u32> = shares.concat();
    let place = (waits.len() as f64 * 0.999) as usize;
    let (_, p999, _) = waits.select_nth_unstable(place.min(total as usize - 1));
    Ok(Round {
        per_second: total / took,
        p999_us: f64::from(*p999) / 1e3,
        jain: total * total / (TASKS as f64 * squares),
    })
}

/// Median and range.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn told((middle, least, most): (f64, f64, f64), digits: usize) -> String {
    format!("{middle:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// Measures, and prints.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let contestants = contestants(&runtime)?;
    alone(&runtime, &contestants, &options);
    crowded(&runtime, &contestants, &options)?;
    look_ups(&runtime, &options)
}

fn alone(runtime: &Runtime, contestants: &[Arc<dyn Contestant>], options: &Options) {
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..=options.rounds {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let started = Instant::now();
            contestant.alone(runtime, options.calls);
            // The first round warms up.
            if round > 0 {
                times.push(started.elapsed().as_nanos() as f64 / options.calls as f64);
            }
        }
    }
    println!("\nalone: ns to take and give back, median (range); ÷ deadpool managed");
    for (contestant, own) in contestants.iter().zip(&times) {
        let ratio = spread(own.iter().zip(&times[2]).map(|(own, deadpool)| own / deadpool));
        println!(
            "  {:<22} {:<26} {}",
            contestant.name(),
            told(spread(own.iter().copied()), 1),
            told(ratio, 2)
        );
    }
}

fn crowded(runtime: &Runtime, contestants: &[Arc<dyn Contestant>], options: &Options) -> Result<(), String> {
    let mut rounds: Vec<Vec<Round>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        for (contestant, rounds) in contestants.iter().zip(&mut rounds) {
            let measured = crowd(runtime, contestant, options.milliseconds)?;
            if round > 0 {
                rounds.push(measured);
            }
        }
    }
    println!(
        "\n{TASKS} tasks on {SLOTS} slots: thousand a second; ÷ semaphore; p99.9 of the wait, µs; ÷ semaphore; Jain's index"
    );
    for (contestant, own) in contestants.iter().zip(&rounds) {
        let pairs = || own.iter().zip(&rounds[0]);
        println!(
            "  {:<22} {:<24} {:<18} {:<28} {:<18} {}",
            contestant.name(),
            told(spread(own.iter().map(|round| round.per_second / 1e3)), 0),
            told(spread(pairs().map(|(own, bare)| own.per_second / bare.per_second)), 2),
            told(spread(own.iter().map(|round| round.p999_us)), 0),
            told(spread(pairs().map(|(own, bare)| own.p999_us / bare.p999_us)), 2),
            told(spread(own.iter().map(|round| round.jain)), 4),
        );
    }
    Ok(())
}

fn look_ups(runtime: &Runtime, options: &Options) -> Result<(), String> {
    let pool = KeyedPool::builder(Numbers).build().map_err(|error| error.to_string())?;
    let addresses: Vec<String> = (0..16).map(|number| format!("10.0.0.{number}:443")).collect();
    for address in &addresses {
        pool.add(address).map_err(|error| error.to_string())?;
        drop(runtime.block_on(pool.get(address)).map_err(|error| error.to_string())?);
    }
    let handle = Arc::new(7_u64);
    let locked: Vec<_> = addresses.iter().map(|_| Mutex::new(Arc::new(7_u64))).collect();
    let by_address = |call: usize| drop(black_box(taken(pool.try_get(&addresses[call & 15]))));
    let of_two = |call: usize, thread: usize| {
        drop(black_box(taken(pool.try_get(&addresses[(call & 7) * 2 + thread]))));
    };
    let one_picks = |call: usize, thread: usize| {
        if thread == 0 {
            by_address(call);
        } else {
            drop(black_box(taken(pool.try_pick())));
        }
    };
    let the_same = |_: usize, _: usize| drop(black_box(taken(pool.try_get(&addresses[0]))));
    let lock_and_clone = |call: usize| {
        let lock = locked[call & 15].lock().unwrap_or_else(PoisonError::into_inner);
        let clone = Arc::clone(&lock);
        drop(lock);
        drop(black_box(clone));
    };
    let rows: [(&str, &dyn Fn() -> f64); 8] = [
        ("by address", &|| timed(options.calls, by_address)),
        ("the least used", &|| timed(options.calls, |_| drop(black_box(taken(pool.try_pick()))))),
        ("a bare lock, clone and drop", &|| timed(options.calls, lock_and_clone)),
        ("a bare lock", &|| {
            timed(options.calls, |call| {
                drop(black_box(locked[call & 15].lock().unwrap_or_else(PoisonError::into_inner)));
            })
        }),
        ("a bare clone and drop", &|| {
            timed(options.calls, |_| drop(black_box(Arc::clone(black_box(&handle)))))
        }),
        ("two threads, by address", &|| timed_by_two(options.calls, of_two)),
        ("two threads, one picks", &|| timed_by_two(options.calls, one_picks)),
        ("two threads, the same", &|| timed_by_two(options.calls, the_same)),
    ];
    let mut times = vec![Vec::new(); rows.len()];
    for round in 0..=options.rounds {
        for ((_, measure), times) in rows.iter().zip(&mut times) {
            let measured = measure();
            // The first round warms up.
            if round > 0 {
                times.push(measured);
            }
        }
    }
    println!(
        "\nshared connections, 16 addresses: ns a call (and thread), median (range); ÷ a bare lock, clone and drop"
    );
    for ((name, _), own) in rows.iter().zip(&times) {
        let ratio = spread(own.iter().zip(&times[2]).map(|(own, bare)| own / bare));
        println!("  {name:<28} {:<26} {}", told(spread(own.iter().copied()), 1), told(ratio, 2));
    }
    Ok(())
}

/// Nanoseconds a call.
fn timed(calls: usize, call: impl Fn(usize)) -> f64 {
    let started = Instant::now();
    for number in 0..calls {
        call(number);
    }
    started.elapsed().as_nanos() as f64 / calls as f64
}

/// The same, while two threads do it at once; each is told which it is.
fn timed_by_two(calls: usize, call: impl Fn(usize, usize) + Sync) -> f64 {
    let by = |thread: usize| timed(calls, |number| call(number, thread));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| by(1));
        let own = by(0);
        own.max(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
