//! A breaker's statistics as metrics (feature `metrics`).
//!
//! Calls pay nothing for it: whoever exposes the metrics publishes first, and what came since the last time is added. A part that is less than it was, as successes
//! are for a moment, adds nothing until it is more than it ever was.

use std::sync::{Mutex, PoisonError};

use steadfast_metrics::{Counter, Description, Family, Gauge, MetricsError, Registry};

use crate::breaker::Breaker;
use crate::stats::{Stats, difference};
use crate::word::State;

/// The label's values, and what they count.
type Part = (&'static str, fn(&Stats) -> u64);

const CALLS: [Part; 14] = [
    ("success", |stats| stats.success),
    ("failure", |stats| stats.failure),
    ("ignored", |stats| stats.ignored),
    ("cancelled", |stats| stats.cancelled),
    ("expired", |stats| stats.expired),
    ("dropped", |stats| stats.dropped),
    ("panicked", |stats| stats.panicked),
    ("rejected_open", |stats| stats.rejected_open),
    ("rejected_probes_busy", |stats| stats.rejected_probes_busy),
    ("rejected_forced", |stats| stats.rejected_forced),
    ("rejected_budget", |stats| stats.rejected_budget),
    ("rejected_shed", |stats| stats.rejected_shed),
    ("rejected_unpriced", |stats| stats.rejected_unpriced),
    ("rejected_unavailable", |stats| stats.rejected_unavailable),
];

/// Gross of later corrections, which are told by themselves: counters only grow.
const MONEY: [Part; 5] = [
    ("estimated", |stats| stats.estimated_nano),
    ("actual", |stats| stats.actual_nano.wrapping_add(stats.corrected_down_nano)),
    ("corrected_down", |stats| stats.corrected_down_nano),
    ("saved", |stats| stats.saved_nano),
    ("unledgered", |stats| stats.unledgered_nano),
];

/// What one breaker publishes.
#[derive(Debug)]
pub struct BreakerMetrics {
    calls: Vec<Counter>,
    money: Vec<Counter>,
    transitions: Counter,
    state: Gauge,
    held: Gauge,
    /// Also the lock that makes one publish at a time.
    published: Mutex<Published>,
}

/// What was published, by part: the most that each has ever been.
#[derive(Debug, Default)]
struct Published {
    calls: [u64; CALLS.len()],
    money: [u64; MONEY.len()],
    transitions: u64,
}

/// Adds to `counter` by how much `now` is more than what was published.
fn add_new(counter: &Counter, published: &mut u64, now: u64) {
    let new = difference(now, *published);
    counter.add(new);
    *published = published.wrapping_add(new);
}

impl BreakerMetrics {
    /// Registers `<name>_calls_total{end}`, `<name>_nano_total{kind}`, `<name>_transitions_total`, `<name>_state` (0 closed, 1 open, 2 half-open, 3 forced open,
    /// 4 forced closed, 5 disabled, 6 metrics only) and `<name>_held_nano`.
    ///
    /// # Errors
    /// As the registry's: a name that is taken or can't be.
    pub fn register(registry: &Registry, name: &str) -> Result<Self, MetricsError> {
        let describe = |what: &str, help: &str| Description::new(format!("{name}_{what}"), help);
        let calls: Family<Counter, 1> = registry
            .family(describe("calls", "Calls by how they ended").series_max(CALLS.len() + 1), ["end"])?;
        let money: Family<Counter, 1> =
            registry.family(describe("nano", "Nano-units by kind").series_max(MONEY.len() + 1), ["kind"])?;
        Ok(Self {
            calls: CALLS.iter().map(|(end, _)| calls.with([*end])).collect(),
            money: MONEY.iter().map(|(kind, _)| money.with([*kind])).collect(),
            transitions: registry.counter(describe("transitions", "Changes of state"))?,
            state: registry.gauge(describe("state", "The breaker's state"))?,
            held: registry.gauge(describe("held_nano", "Nano-units that running calls hold"))?,
            published: Mutex::default(),
        })
    }

    /// Adds what `breaker` counted since the last time.
    pub fn publish(&self, breaker: &Breaker) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        self.add(&mut published, &breaker.stats());
        self.state.set(number_of(breaker.state()));
    }

    fn add(&self, published: &mut Published, now: &Stats) {
        let add_all = |counters: &[Counter], parts: &[Part], published: &mut [u64]| {
            for ((counter, (_, part)), published) in counters.iter().zip(parts).zip(published) {
                add_new(counter, published, part(now));
            }
        };
        add_all(&self.calls, &CALLS, &mut published.calls);
        add_all(&self.money, &MONEY, &mut published.money);
        add_new(&self.transitions, &mut published.transitions, now.transitions);
        self.held.set(i64::try_from(now.held_nano).unwrap_or(i64::MAX));
    }
}

fn number_of(state: State) -> i64 {
    state as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::machine::Recorded;
    use crate::outcomes::Total;
    use crate::stats::{End, Rare};

    #[test]
    fn what_is_published_adds_up_to_the_statistics() {
        let registry = Registry::new();
        let metrics = BreakerMetrics::register(&registry, "model").unwrap();
        let breaker = Breaker::new(Config { consecutive_failures: Some(2), ..Config::default() }).unwrap();
        for round in 1..=3_u64 {
            let _ = breaker.call(|| Ok::<(), ()>(()));
            metrics.publish(&breaker);
            metrics.publish(&breaker);
            assert_eq!(registry.snapshot().counter("model_calls_total", &[("end", "success")]), Some(round));
        }
        for _ in 0..4 {
            let _ = breaker.call(|| Err::<(), ()>(()));
        }
        metrics.publish(&breaker);
        let snapshot = registry.snapshot();
        let calls = |end| snapshot.counter("model_calls_total", &[("end", end)]);
        assert_eq!((calls("failure"), calls("rejected_open")), (Some(2), Some(2)));
        assert_eq!(
            (snapshot.gauge("model_state", &[]), snapshot.counter("model_transitions_total", &[])),
            (Some(1), Some(1))
        );
    }

    /// Symptom: whenever a failure was published between its being counted and its being told as one, the counter of successes stayed one too high.
    #[test]
    fn a_failure_that_looked_like_a_success_for_a_moment_is_none_for_good() {
        let registry = Registry::new();
        let metrics = BreakerMetrics::register(&registry, "model").unwrap();
        let (total, rare, mut published) = (Total::new(1), Rare::default(), Published::default());
        let mut publish = || {
            let stats = rare.snapshot(&total, 0, 0);
            metrics.add(&mut published, &stats);
            let calls = |end| registry.snapshot().counter("model_calls_total", &[("end", end)]).unwrap();
            (stats.success, calls("success"), calls("failure"))
        };
        for round in 0..3 {
            assert!(total.add(0, 0));
            assert_eq!(publish(), (round + 1, round + 1, round), "it is counted");
            rare.note(End::Failure, Recorded::Counted, false, false);
            assert_eq!(publish(), (round, round + 1, round + 1), "it is told as what it was");
            assert!(total.add(0, 0));
            assert_eq!(publish(), (round + 1, round + 1, round + 1), "and this is a success");
        }
    }
}
