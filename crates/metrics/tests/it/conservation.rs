//! Threads come and go while snapshots run: nothing is lost, nothing counted twice, nothing contradicts itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_metrics::{Counter, Gauge, Histogram, HistogramSnapshot, LoadMetrics, Registry};
use steadfast_testkit::skipped_unless_full;

/// In a bucket so wide (16 384 values) that no sum of another number of records could pass for it.
const VALUE: u64 = 1_048_577;

/// Tells threads to stop when it is dropped, also by a failing assertion.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// M2, M3 for a histogram that holds nothing but `VALUE`.
fn assert_consistent(read: &HistogramSnapshot) {
    let buckets: u64 = read.buckets().map(|(_, _, count)| count).sum();
    assert_eq!(read.count(), buckets);
    if let (Some(min), Some(max)) = (read.min(), read.max()) {
        let count = u128::from(read.count());
        assert!(count * u128::from(min) <= read.sum() && read.sum() <= count * u128::from(max));
    }
    if read.is_exact() && read.count() > 0 {
        assert_eq!((read.min(), read.max()), (Some(VALUE), Some(VALUE)));
        assert_eq!(
            read.sum(),
            u128::from(read.count()) * u128::from(VALUE),
            "sum and count are not of the same records"
        );
    }
}

/// Eight threads at a time record `records` times in all into one counter and one histogram, each thread `a_thread` times and then it ends; meanwhile
/// snapshots are taken, and their differences added up.
fn threads_come_and_go(records: u64, a_thread: u64) {
    let registry = Registry::new();
    let counter = registry.counter("records").unwrap();
    let histogram = registry.histogram("values").unwrap();
    let active = registry.gauge("active").unwrap();
    let (begun, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let started = registry.snapshot();
    let (mut counted, mut recorded, mut exact, mut taken) = (0, 0, 0_u64, 0_u64);
    let mut last = started.clone();
    let mut add = |last: &mut steadfast_metrics::Snapshot| {
        let now = registry.snapshot();
        // An error if anything went back (M8).
        let delta = now.delta(last).unwrap();
        counted += delta.counter("records_total", &[]).unwrap();
        recorded += delta.histogram("values_seconds", &[]).unwrap().count();
        let whole = now.histogram("values_seconds", &[]).unwrap();
        assert_consistent(whole);
        let sum_before = last.histogram("values_seconds", &[]).unwrap().sum();
        assert!(whole.sum() >= sum_before, "a sum went back");
        assert!((0..=8).contains(&now.gauge("active", &[]).unwrap()));
        exact += u64::from(whole.is_exact());
        taken += 1;
        *last = now;
    };
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    while begun.fetch_add(a_thread, Ordering::Relaxed) < records {
                        let record = || {
                            let _active = active.enter();
                            for _ in 0..a_thread {
                                counter.increment();
                                histogram.record(VALUE);
                            }
                        };
                        std::thread::scope(|inner| inner.spawn(record).join().unwrap());
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            for runner in runners {
                runner.join().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            add(&mut last);
        }
    });
    add(&mut last);
    assert_eq!((counted, recorded), (records, records), "lost or counted twice");
    let whole = histogram.read();
    assert_eq!((counter.read(), whole.count()), (records, records));
    assert_eq!(whole.sum(), u128::from(records) * u128::from(VALUE));
    assert!(whole.is_exact());
    assert_eq!(active.read(), 0);
    assert_eq!(registry.memory().threads, 0, "ended threads are folded");
    println!("{records} records by {} threads, {taken} snapshots, {exact} of them exact", records / a_thread);
}

#[test]
fn ended_threads_lose_nothing_and_count_nothing_twice() {
    threads_come_and_go(400_000, 1000);
}

/// `STEADFAST_FULL=1 cargo test --release -p steadfast-metrics --test it conservation -- --nocapture`
#[test]
fn a_hundred_million_records() {
    if skipped_unless_full("10⁸ records take minutes without optimisation") {
        return;
    }
    threads_come_and_go(100_000_000, 100_000);
}

/// What a snapshot reads is at rest, however fast its writer is. Asked of reads beside which the writer was really running: the count grew before them and after them. Where
/// it was stopped, that may have been in the middle of a record.
#[test]
fn snapshots_beside_a_fast_writer_are_exact() {
    const ENOUGH: usize = 300;
    let registry = Registry::new();
    let histogram = registry.histogram("values").unwrap();
    let done = AtomicBool::new(false);
    let (mut beside, mut exact) = (0_usize, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                histogram.record(VALUE);
            }
        });
        let _stop = Stop(&done);
        let began = Instant::now();
        let (mut before, mut read) = (0, histogram.read());
        while beside < ENOUGH && began.elapsed() < Duration::from_secs(30) {
            let after = histogram.read();
            assert_consistent(&read);
            if before < read.count() && read.count() < after.count() {
                beside += 1;
                exact += usize::from(read.is_exact());
            }
            (before, read) = (read.count(), after);
        }
    });
    // With one processor, reader and writer never run at the same time, and there is nothing to be seen.
    assert!(beside < ENOUGH || exact * 2 > beside, "only {exact} of {beside}");
}

#[test]
fn a_summary_never_contradicts_itself() {
    let registry = Registry::new();
    let load = LoadMetrics::register(&registry, "rpc").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut count = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let _client = load.client();
                    count += 1;
                    let latency = Duration::from_nanos(1000 + count % 1000);
                    if count.is_multiple_of(10) { load.failure(latency) } else { load.success(latency) }
                }
            });
        }
        let _stop = Stop(&done);
        let mut before = 0;
        let (mut rounds, mut failed) = (0, 0);
        // Until there was something to contradict, however late the threads begin.
        while rounds < 1000 || failed < 100 {
            let summary = load.summary();
            (rounds, failed) = (rounds + 1, summary.failed);
            assert_eq!(summary.total(), summary.successful + summary.failed);
            assert_eq!(summary.total(), summary.latency.count());
            assert!(summary.total() >= before);
            assert!((0..=2).contains(&summary.active_clients), "{}", summary.active_clients);
            assert!(
                summary.min() <= summary.quantile(0.5) && summary.quantile(0.5) <= summary.quantile(0.99)
            );
            assert!(summary.quantile(0.99) <= summary.max() && summary.min() <= summary.mean());
            assert!(summary.mean() <= summary.max());
            before = summary.total();
        }
    });
    assert_eq!(load.summary().active_clients, 0);
}

/// Records when it is dropped, as destructors of other thread-locals may.
struct Late {
    counter: Counter,
    histogram: Histogram,
    gauge: Gauge,
}

impl Drop for Late {
    fn drop(&mut self) {
        self.counter.add(5);
        self.histogram.record(VALUE);
        drop(self.gauge.enter());
    }
}

thread_local! {
    static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
}

/// A thread's shard may be gone before other destructors of the thread run: what they record goes to the base.
#[test]
fn what_a_thread_records_while_it_ends_counts() {
    let registry = Registry::new();
    let (counter, histogram) =
        (registry.counter("late").unwrap(), registry.histogram("late_values").unwrap());
    let gauge = registry.gauge("late_level").unwrap();
    for before in [true, false] {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let late =
                        Late { counter: counter.clone(), histogram: histogram.clone(), gauge: gauge.clone() };
                    // Destructors of thread-locals run in an order of the platform's: try both.
                    if before {
                        counter.increment();
                    }
                    LATE.with(|place| *place.borrow_mut() = Some(late));
                    if !before {
                        counter.increment();
                    }
                })
                .join()
                .unwrap();
        });
    }
    assert_eq!((counter.read(), histogram.read().count(), gauge.read()), (12, 2, 0));
}

#[test]
fn what_is_in_flight_ends_with_a_panic_and_with_a_cancelled_future() {
    let registry = Registry::new();
    let active = registry.gauge("active").unwrap();
    let panicking = {
        let active = active.clone();
        std::thread::spawn(move || {
            let _guard = active.enter();
            panic!("planted");
        })
    };
    assert!(panicking.join().is_err());
    assert_eq!(active.read(), 0);

    let future = async {
        let _guard = active.enter();
        std::future::pending::<()>().await;
    };
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(active.read(), 1);
    drop(future);
    assert_eq!(active.read(), 0);
}

/// Slots of registries that are gone are given to new ones: a thread's table must not take one for the other.
#[test]
fn registries_come_and_go_on_one_thread() {
    let kept = Registry::new();
    let kept_counter = kept.counter("kept").unwrap();
    for round in 0..100_u64 {
        let registries: Vec<Registry> = (0..5).map(|_| Registry::new()).collect();
        let counters: Vec<Counter> =
            registries.iter().map(|registry| registry.counter("c").unwrap()).collect();
        for (number, counter) in counters.iter().enumerate() {
            counter.add(number as u64);
            kept_counter.increment();
        }
        for (number, counter) in counters.iter().enumerate().rev() {
            assert_eq!(counter.read(), number as u64, "round {round}");
        }
    }
    assert_eq!(kept_counter.read(), 500);
}

/// A thread that records into a few of many counters has a table too small for all their slots: those that share an entry must not be taken for each other.
#[test]
fn a_few_of_many_counters_on_one_thread() {
    let registry = Registry::new();
    let counters: Vec<Counter> =
        (0..1000).map(|number| registry.counter(format!("c{number}")).unwrap()).collect();
    let few = [0, 1, 256, 512, 513, 768, 999];
    for _ in 0..100 {
        for number in few {
            counters[number].add(number as u64);
        }
    }
    let now = registry.snapshot();
    for number in 0..1000 {
        let expected = if few.contains(&number) { 100 * number as u64 } else { 0 };
        assert_eq!(now.counter(&format!("c{number}_total"), &[]), Some(expected), "{number}");
    }
    // And all of them in turn, which the table grows for.
    for _ in 0..3 {
        counters.iter().for_each(Counter::increment);
    }
    let since = registry.snapshot().delta(&now).unwrap();
    assert!((0..1000).all(|number| since.counter(&format!("c{number}_total"), &[]) == Some(3)));
}

/// As the counters, and beside one.
#[test]
fn a_few_of_many_histograms_on_one_thread() {
    let registry = Registry::new();
    let counter = registry.counter("counter").unwrap();
    let histograms: Vec<Histogram> =
        (0..200).map(|number| registry.histogram(format!("h{number}")).unwrap()).collect();
    let few = [0, 1, 64, 128, 129, 199];
    for _ in 0..100 {
        for number in few {
            histograms[number].record(number as u64);
            counter.increment();
        }
    }
    let now = registry.snapshot();
    for number in 0..200 {
        let read = now.histogram(&format!("h{number}_seconds"), &[]).unwrap();
        let expected = if few.contains(&number) { (100, 100 * number as u128) } else { (0, 0) };
        assert_eq!((read.count(), read.sum()), expected, "{number}");
    }
    assert_eq!(counter.read(), 600);
}
