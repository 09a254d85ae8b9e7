//! Times of single operations, and what is told of them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use steadfast_graph_memory::{Search, Tenant};

/// How long single operations took.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Microseconds that `percent` of the operations didn't take longer than.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// The queries one after the other, for so long.
pub(crate) fn searches(tenant: &Tenant, queries: &[Search], time: Duration) -> Times {
    let (began, mut times) = (Instant::now(), Times::default());
    for query in queries.iter().cycle() {
        times.add(search(tenant, query));
        if began.elapsed() >= time {
            break;
        }
    }
    times
}

/// The queries at a constant pace, for so long; each is timed from its own start.
pub(crate) fn paced_searches(tenant: &Tenant, queries: &[Search], pace: Duration, time: Duration) -> Times {
    let (began, mut times, mut due) = (Instant::now(), Times::default(), Duration::ZERO);
    for query in queries.iter().cycle() {
        thread::sleep(due.saturating_sub(began.elapsed()));
        times.add(search(tenant, query));
        due = (due + pace).max(began.elapsed());
        if began.elapsed() >= time {
            break;
        }
    }
    times
}

fn search(tenant: &Tenant, query: &Search) -> Duration {
    let query = query.clone();
    let began = Instant::now();
    black_box(tenant.search_blocking(query).expect("found"));
    began.elapsed()
}

/// "median (lowest–highest)".
pub(crate) fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    format!("{median:.digits$} ({:.digits$}–{:.digits$})", sorted[0], sorted[sorted.len() - 1])
}
