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
    pub(crate) took: Duration,
}

/// 20 words that are indexed, and attributes that fill up to 1 KiB.
pub(crate) fn request(number: usize) -> Allocate {
    let word = |i: usize| {
        // A few words are common and most are rare, as in a language.
        let rank = (number * 7919 + i * 104_729) % 10_007;
        format!("w{}", rank * rank / 10_007)
    };
    let text = (0..20).map(word).collect::<Vec<_>>().join(" ");
    let rest = 1024 - text.len() - 40;
    Allocate::new(text)
        .kind("bench")
        .attribute("source", "a".repeat(rest / 2))
        .attribute("detail", "b".repeat(rest - rest / 2))
}

/// Runs `width` tasks for `time` on two threads; returns how many operations were acknowledged, in what time.
pub(crate) fn run<O, F>(width: usize, time: Duration, task: impl Fn(usize) -> O) -> (usize, Duration)
where
    O: Fn(usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let done = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let end = began + time;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..width)
            .map(|caller| {
                let (operation, done) = (task(caller), Arc::clone(&done));
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
    (done.load(Ordering::Relaxed), began.elapsed())
}

/// "median (lowest–highest)".
pub(crate) fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    format!("{median:.digits$} ({:.digits$}–{:.digits$})", sorted[0], sorted[sorted.len() - 1])
}
