//! The load: tasks that each wait for one answer before they ask again, and what they send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use steadfast_graph_memory::Allocate;

/// What one side reached in one round.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) per_sync: f64,
    /// Processor time an operation, of all threads of this process.
    pub(crate) processor: Duration,
    pub(crate) took: Duration,
}

impl Rate {
    /// Of what [`run`] measured.
    pub(crate) fn new(load: &Load, syncs: u64) -> Self {
        Self {
            per_second: load.count as f64 / load.took.as_secs_f64(),
            per_sync: load.count as f64 / syncs as f64,
            processor: load.processor.div_f64(load.count as f64),
            took: load.took,
        }
    }
}

/// What a load did.
pub(crate) struct Load {
    pub(crate) count: usize,
    pub(crate) took: Duration,
    processor: Duration,
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

/// 20 words that are indexed, and attributes that fill up to 1 KiB.
pub(crate) fn request(number: usize) -> Allocate {
    let word = |i: usize| {
        // A few words are common and most are rare, as in a language.
        let rank = (number * 7919 + i * 104_729) % 10_007;
        // Letters alone: with digits a word would be indexed by its parts as well.
        let mut rest = rank * rank / 10_007;
        let letters = std::iter::from_fn(|| {
            let letter = (rest > 0).then(|| char::from(b'a' + (rest % 26) as u8));
            rest /= 26;
            letter
        });
        "w".chars().chain(letters).collect::<String>()
    };
    let text = (0..20).map(word).collect::<Vec<_>>().join(" ");
    let rest = 1024 - text.len() - 40;
    Allocate::new(text)
        .kind("bench")
        .attribute("source", "a".repeat(rest / 2))
        .attribute("detail", "b".repeat(rest - rest / 2))
}

/// Runs `width` tasks for `time` on two threads; counts acknowledged operations.
pub(crate) fn run<O, F>(width: usize, time: Duration, task: impl Fn(usize) -> O) -> Load
where
    O: Fn(usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let done = Arc::new(AtomicUsize::new(0));
    let operations: Vec<_> = (0..width).map(task).collect();
    let used = processor_time();
    let began = Instant::now();
    let end = began + time;
    runtime.block_on(async {
        let tasks: Vec<_> = operations
            .into_iter()
            .map(|operation| {
                let done = Arc::clone(&done);
                tokio::spawn(async move {
                    let mut turn = 0;
                    while Instant::now() < end {
                        operation(turn).await;
                        turn += 1;
                    }
                    done.fetch_add(turn, Ordering::Relaxed);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panicked");
        }
    });
    let took = began.elapsed();
    Load { count: done.load(Ordering::Relaxed), took, processor: processor_time().saturating_sub(used) }
}

/// "median (lowest–highest)".
pub(crate) fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    format!("{median:.digits$} ({:.digits$}–{:.digits$})", sorted[0], sorted[sorted.len() - 1])
}
