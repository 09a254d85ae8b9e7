//! Writes: as many as go, or at a constant rate, beside whatever else is measured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use steadfast_graph_memory::{Allocate, Config, GraphMemory, Memory, Tenant};
use tokio::runtime::Runtime;

use crate::corpus::Corpus;

/// Callers that fill a store, or find out how much it takes.
const CALLERS: usize = 256;
/// How often a constant rate's share is sent.
const TICK: Duration = Duration::from_millis(1);
/// A store is at rest when its process has used next to no processor time for so long.
const REST: Duration = Duration::from_millis(200);
const REST_MAX: Duration = Duration::from_secs(60);
/// Memories that are made before the clock starts, then sent over and over.
const PREPARED: usize = 4096;

/// A store in a directory of its own, and one tenant.
pub(crate) struct Store {
    pub(crate) memory: GraphMemory,
    pub(crate) tenant: Tenant,
    runtime: Runtime,
    /// Behind the store: it goes when that is closed.
    dir: tempfile::TempDir,
}

impl Store {
    /// An empty store in a temporary directory in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).expect("a directory for the bench");
        let memory = GraphMemory::open_blocking(dir.path(), Config::default()).expect("a store");
        let tenant = memory.tenant("bench").expect("a good name");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .expect("a runtime");
        Self { memory, tenant, runtime, dir }
    }

    /// Closes the store, opens it again and closes it; returns how long the opening took, which
    /// replays the whole log.
    pub(crate) fn reopen(self) -> Duration {
        let Self { memory, tenant, runtime, dir } = self;
        memory.close_blocking().expect("closed");
        // The old state makes room first.
        drop((memory, tenant, runtime));
        let began = Instant::now();
        let memory = GraphMemory::open_blocking(dir.path(), Config::default()).expect("a store");
        let took = began.elapsed();
        memory.close_blocking().expect("closed");
        took
    }

    /// Allocates the first `count` memories and waits until the indexes have been built.
    pub(crate) fn fill(&self, corpus: &Corpus, count: usize) {
        let corpus = corpus.clone();
        self.fill_with(count, move |number| corpus.memory(number));
    }

    /// The same with the memories that `memory` makes.
    pub(crate) fn fill_with<M>(&self, count: usize, memory: M)
    where
        M: Fn(usize) -> Allocate + Clone + Send + Sync + 'static,
    {
        let next = Arc::new(AtomicUsize::new(0));
        self.with_all_callers(|_| {
            let (tenant, memory, next) = (self.tenant.clone(), memory.clone(), Arc::clone(&next));
            async move {
                loop {
                    // Only numbers are given out.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    tenant.allocate(memory(number)).await.expect("acknowledged");
                }
            }
        });
        rest();
    }

    /// Memories a second that all callers together get acknowledged in `time`, each waiting for its answer before it asks again.
    pub(crate) fn capacity(&self, prepared: &Arc<[Allocate]>, time: Duration) -> f64 {
        let done = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        self.with_all_callers(|caller| {
            let (tenant, prepared, done) = (self.tenant.clone(), Arc::clone(prepared), Arc::clone(&done));
            async move {
                let mut turn = 0;
                while began.elapsed() < time {
                    let memory = prepared[(caller + turn * CALLERS) % prepared.len()].clone();
                    tenant.allocate(memory).await.expect("acknowledged");
                    turn += 1;
                }
                done.fetch_add(turn, Ordering::Relaxed);
            }
        });
        done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    }

    fn with_all_callers<F>(&self, caller: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks: Vec<_> = (0..CALLERS).map(|number| self.runtime.spawn(caller(number))).collect();
        self.runtime.block_on(async {
            for task in tasks {
                task.await.expect("no caller panicked");
            }
        });
    }

    /// Runs `measure` while memories are sent at `rate` a second, whether or not earlier ones have been answered; tells its result and how
    /// many a second were acknowledged meanwhile.
    pub(crate) fn beside_writes<T>(
        &self,
        prepared: &Arc<[Allocate]>,
        rate: f64,
        measure: impl FnOnce() -> T,
    ) -> (T, f64) {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sender = self.runtime.spawn({
            let (tenant, prepared) = (self.tenant.clone(), Arc::clone(prepared));
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            async move {
                let mut ticks = tokio::time::interval(TICK);
                let (began, mut sent) = (Instant::now(), 0);
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let due = (began.elapsed().as_secs_f64() * rate) as usize;
                    for number in sent..due {
                        let (tenant, done) = (tenant.clone(), Arc::clone(&done));
                        let memory = prepared[number % prepared.len()].clone();
                        tokio::spawn(async move {
                            tenant.allocate(memory).await.expect("acknowledged");
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                    sent = sent.max(due);
                }
                sent
            }
        });
        // Until it runs evenly.
        thread::sleep(Duration::from_millis(50));
        let (began, before) = (Instant::now(), done.load(Ordering::Relaxed));
        let result = measure();
        let acknowledged = (done.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let sent = self.runtime.block_on(sender).expect("the sender didn't panic");
        while done.load(Ordering::Relaxed) < sent {
            thread::sleep(TICK);
        }
        (result, acknowledged)
    }
}

/// Memories with numbers of their own, to be sent.
pub(crate) fn prepare(corpus: &Corpus) -> Arc<[Allocate]> {
    (0..PREPARED).map(|number| corpus.memory((1 << 40) + number)).collect()
}

/// Waits until nothing is done in the background any more, but not for ever.
pub(crate) fn rest() {
    let began = Instant::now();
    let mut used = processor_time();
    while began.elapsed() < REST_MAX {
        thread::sleep(REST);
        let now = processor_time();
        if now.saturating_sub(used) * 20 <= REST {
            return;
        }
        used = now;
    }
}

/// Processor time that this process has used; 0 where it can't be known.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name, in parentheses, may hold anything; times in user and system mode are the 12th and 13th behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // Linux counts in hundredths of a second towards programs, whatever its own tick.
    Duration::from_millis(ticks * 10)
}
