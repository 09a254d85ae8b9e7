//! A queue that is full and a disk that is slow: callers wait up to their deadline, are refused with a hint, and
//! what was refused never happens.
//!
//! The disk is the real one behind a gate. While the gate is shut every sync of data stops at it, so a test decides what
//! is in flight, queued and waiting, and nothing here depends on how fast anything is. Times are asserted only from
//! below; [`LONG`] is there to end a test that would wait for ever.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use steadfast_graph_memory::fs::{File, FileSystem, RealFileSystem};
use steadfast_graph_memory::{
    Allocate, Answer, Config, GraphMemory, Id, Limits, LogConfig, Matched, Memory, MemoryError, Outcome,
    Patch, RequestId, Search, Tenant,
};
use steadfast_testkit::TestRng;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// Where syncs stop while it is shut.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// Who stands before it.
    stopped: usize,
    /// How long each sync takes besides.
    delay: Duration,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    fn shut(&self) {
        self.state().shut = true;
    }

    fn open(&self) {
        self.state().shut = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state();
        state.stopped += 1;
        self.changed.notify_all();
        while state.shut {
            state = self.changed.wait(state).unwrap();
        }
        state.stopped -= 1;
        let delay = state.delay;
        drop(state);
        std::thread::sleep(delay);
    }

    /// Waits until the committer stands before the shut gate.
    fn wait_for_the_committer(&self) {
        let mut state = self.state();
        while state.stopped == 0 {
            let (next, timeout) = self.changed.wait_timeout(state, LONG).unwrap();
            assert!(!timeout.timed_out(), "nothing was written");
            state = next;
        }
    }
}

/// Opens the gate when a test ends, also when it fails: the store's threads must not stand there for ever.
struct OpensAtTheEnd(Arc<Gate>);

impl Drop for OpensAtTheEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[derive(Debug)]
struct GatedDisk(Arc<Gate>);

#[derive(Debug)]
struct GatedFile {
    file: Box<dyn File>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    fn gated(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(GatedFile { file, gate: Arc::clone(&self.0) })
    }
}

impl FileSystem for GatedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFileSystem.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFileSystem.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        RealFileSystem.open(path).map(|file| self.gated(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        RealFileSystem.create_new(path).map(|file| self.gated(file))
    }

    fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        RealFileSystem.create_zeroed(path, bytes).map(|file| self.gated(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFileSystem.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        RealFileSystem.lock(path)
    }
}

impl File for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.gate.pass();
        self.file.write_durably_at(bytes, offset)
    }
}

/// A store with a queue of two and a line of two, on a disk behind a gate.
struct Fixture {
    // Dropped first, so that the store can close.
    _end: OpensAtTheEnd,
    gate: Arc<Gate>,
    memory: GraphMemory,
    acme: Tenant,
    dir: TempDir,
}

fn tiny_limits() -> Limits {
    let mut limits = Limits::default();
    limits.queue_commands = 2;
    limits.queue_waiters = 2;
    limits.queue_wait = LONG;
    limits
}

fn log() -> LogConfig {
    LogConfig::new(4 << 20, 0)
}

impl Fixture {
    /// The tenant `acme` is there already.
    fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gate = Arc::<Gate>::default();
        let disk = Arc::new(GatedDisk(Arc::clone(&gate)));
        let config = Config::default().limits(limits).log(log()).file_system(disk);
        let memory = GraphMemory::open_blocking(dir.path(), config).unwrap();
        let acme = memory.tenant("acme").unwrap();
        acme.allocate_blocking(Allocate::new("first")).unwrap();
        Self { _end: OpensAtTheEnd(Arc::clone(&gate)), gate, memory, acme, dir }
    }

    /// Shuts the gate with one command in flight, two queued, and `waiting` in line.
    fn fill(&self, waiting: usize) -> Vec<Caller<'_>> {
        self.gate.shut();
        let mut callers = vec![Caller::allocate(&self.acme, "inflight")];
        assert!(callers[0].is_pending());
        self.gate.wait_for_the_committer();
        for text in ["queueda", "queuedb", "waitinga", "waitingb"].into_iter().take(2 + waiting) {
            callers.push(Caller::allocate(&self.acme, text));
            assert!(callers.last_mut().unwrap().is_pending());
        }
        assert_eq!((self.memory.stats().queued, self.memory.stats().waiting), (2, waiting));
        callers
    }

    /// Opens the directory anew, on a plain disk.
    fn reopened(self) -> (GraphMemory, Tenant, TempDir) {
        self.gate.open();
        self.memory.close_blocking().unwrap();
        let memory = GraphMemory::open_blocking(self.dir.path(), Config::default().log(log())).unwrap();
        let acme = memory.tenant("acme").unwrap();
        (memory, acme, self.dir)
    }
}

fn texts(tenant: &Tenant) -> Vec<String> {
    tenant.view().unwrap().records().map(|record| record.text().to_owned()).collect()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn context() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Somebody who asked for a change, polled by hand.
struct Caller<'a> {
    future: Pin<Box<dyn Future<Output = Result<Answer, MemoryError>> + Send + 'a>>,
}

impl<'a> Caller<'a> {
    fn allocate(tenant: &'a Tenant, text: &str) -> Self {
        Self { future: Box::pin(tenant.allocate(Allocate::new(text))) }
    }

    fn poll(&mut self) -> Poll<Result<Answer, MemoryError>> {
        self.future.as_mut().poll(&mut Context::from_waker(&context()))
    }

    fn is_pending(&mut self) -> bool {
        self.poll().is_pending()
    }

    /// Waits for the answer, for at most [`LONG`] and only as long as it is woken.
    fn answer(self) -> Result<Answer, MemoryError> {
        wait(self.future)
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = context();
    let began = Instant::now();
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        std::thread::park_timeout(LONG);
        assert!(began.elapsed() < LONG, "nobody woke the one who waits");
    }
}

#[track_caller]
fn assert_all_created<'a>(callers: impl IntoIterator<Item = Caller<'a>>) {
    for caller in callers {
        assert_eq!(caller.answer().unwrap().outcome, Outcome::Created);
    }
}

#[track_caller]
fn assert_overloaded(answer: &Result<Answer, MemoryError>) {
    let Err(error @ MemoryError::Overloaded { retry_after }) = answer else { panic!("{answer:?}") };
    assert!(*retry_after > Duration::ZERO, "it doesn't say when to come back");
    assert!(error.is_retryable() && error.is_certain());
}

#[test]
fn with_the_queue_full_a_caller_waits_up_to_its_deadline_and_is_refused() {
    let store = Fixture::new(tiny_limits());
    let mut callers = store.fill(0);
    let patient = store.acme.clone().with_queue_wait(LONG);
    let mut waits = Caller::allocate(&patient, "given up");
    assert!(waits.is_pending(), "it doesn't wait at all");
    assert_eq!(store.memory.stats().waiting, 1);
    drop(waits);
    drop(patient);
    let patience = Duration::from_millis(50);
    let hasty = store.acme.clone().with_queue_wait(patience);
    let began = Instant::now();
    // Whether it is pending now is a matter of how fast this thread is.
    let late = Caller::allocate(&hasty, "refused");
    assert_overloaded(&late.answer());
    assert!(began.elapsed() >= patience, "it was refused before its deadline");
    assert_eq!((store.memory.stats().queued, store.memory.stats().waiting), (2, 0));
    // The gate is shut still: it was the deadline that answered.
    assert!(callers.iter_mut().all(Caller::is_pending));

    store.gate.open();
    assert_all_created(callers);
    let expected = ["first", "inflight", "queueda", "queuedb"];
    assert_eq!(texts(&store.acme), expected);
    drop(hasty);
    let (_memory, acme, _dir) = store.reopened();
    assert_eq!(texts(&acme), expected, "what was refused is there after reopening");
}

#[test]
fn with_the_waiting_line_full_a_caller_is_refused_at_once() {
    let store = Fixture::new(tiny_limits());
    let callers = store.fill(2);
    for text in ["refuseda", "refusedb"] {
        let Poll::Ready(answer) = Caller::allocate(&store.acme, text).poll() else { panic!("it waits") };
        assert_overloaded(&answer);
    }
    // A place in the line that is given up is there for another.
    let mut callers = callers.into_iter();
    let kept: Vec<_> = callers.by_ref().take(3).collect();
    drop(callers.next());
    let mut heir = Caller::allocate(&store.acme, "heir");
    assert!(heir.is_pending());
    let Poll::Ready(answer) = Caller::allocate(&store.acme, "refusedc").poll() else { panic!("it waits") };
    assert_overloaded(&answer);

    store.gate.open();
    assert_all_created(kept.into_iter().chain(callers).chain([heir]));
    let expected = ["first", "inflight", "queueda", "queuedb", "waitingb", "heir"];
    assert_eq!(texts(&store.acme), expected, "first come, first served, and nothing of the refused");
    let (_memory, acme, _dir) = store.reopened();
    assert_eq!(texts(&acme), expected);
}

#[test]
fn once_the_gate_opens_all_who_were_queued_or_waited_succeed_in_order() {
    let store = Fixture::new(tiny_limits());
    let callers = store.fill(2);
    store.gate.open();
    let answers: Vec<Answer> = callers.into_iter().map(|caller| caller.answer().unwrap()).collect();
    assert!(answers.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].id < pair[1].id));
    assert_eq!((store.memory.stats().queued, store.memory.stats().waiting), (0, 0));
}

/// Deadlines are everybody's own: they don't come in the order of the line.
#[test]
fn a_short_wait_ends_before_a_long_one_that_began_earlier() {
    let mut limits = tiny_limits();
    limits.queue_waiters = 10;
    let store = Fixture::new(limits);
    let filled = store.fill(0);
    let waits = [Duration::MAX, LONG, Duration::from_millis(60), Duration::from_millis(20), Duration::ZERO];
    let tenants = waits.map(|wait| store.acme.clone().with_queue_wait(wait));
    let mut callers: Vec<_> =
        tenants.iter().enumerate().map(|(n, tenant)| Caller::allocate(tenant, &n.to_string())).collect();
    // Even those without patience: they are let go by the keeper of deadlines, soon.
    assert!(callers.iter_mut().take(2).all(Caller::is_pending));
    let mut short = callers.split_off(2);
    while let Some(caller) = short.pop() {
        assert_overloaded(&caller.answer());
        assert!(callers.iter_mut().all(Caller::is_pending), "the patient ones were refused as well");
    }
    assert_eq!(store.memory.stats().waiting, 2);
    store.gate.open();
    assert_all_created(filled.into_iter().chain(callers));
    assert_eq!(texts(&store.acme), ["first", "inflight", "queueda", "queuedb", "0", "1"]);
}

#[test]
fn the_wait_of_the_limits_holds_where_a_handle_sets_none() {
    let mut limits = tiny_limits();
    limits.queue_wait = Duration::from_millis(30);
    let store = Fixture::new(limits);
    let callers = store.fill(0);
    let patient = store.acme.clone().with_queue_wait(LONG);
    let mut waits = Caller::allocate(&patient, "patient");
    assert!(waits.is_pending());
    assert_overloaded(&Caller::allocate(&store.acme, "refused").answer());
    assert!(waits.is_pending());
    store.gate.open();
    assert_all_created(callers.into_iter().chain([waits]));
}

#[test]
fn without_a_line_a_full_queue_refuses_at_once() {
    let mut limits = tiny_limits();
    limits.queue_waiters = 0;
    let store = Fixture::new(limits);
    let callers = store.fill(0);
    let Poll::Ready(answer) = Caller::allocate(&store.acme, "refused").poll() else { panic!("it waits") };
    assert_overloaded(&answer);
    store.gate.open();
    assert_all_created(callers);
    assert_eq!(texts(&store.acme).len(), 4);
}

#[test]
fn the_queue_is_bounded_by_bytes_too_and_what_is_larger_goes_alone() {
    let mut limits = tiny_limits();
    limits.queue_commands = 100;
    limits.queue_bytes = 10_000;
    let store = Fixture::new(limits);
    store.gate.shut();
    let mut inflight = Caller::allocate(&store.acme, "inflight");
    assert!(inflight.is_pending());
    store.gate.wait_for_the_committer();
    let large = "large ".repeat(1000);
    let huge = "huge ".repeat(10_000);
    let mut callers = vec![inflight];
    for (text, queued, waiting) in [(&large, 1, 0), (&large, 1, 1), (&huge, 1, 2)] {
        let mut caller = Caller::allocate(&store.acme, text);
        assert!(caller.is_pending());
        assert_eq!((store.memory.stats().queued, store.memory.stats().waiting), (queued, waiting));
        callers.push(caller);
    }
    // Small enough for the queue, but the line isn't overtaken; and the line is full.
    let Poll::Ready(answer) = Caller::allocate(&store.acme, "small").poll() else { panic!("it waits") };
    assert_overloaded(&answer);
    store.gate.open();
    assert_all_created(callers);
    assert_eq!(texts(&store.acme), ["first", "inflight", large.as_str(), large.as_str(), huge.as_str()]);
}

#[test]
fn every_change_waits_and_is_refused_alike_and_reads_go_on() {
    let store = Fixture::new(tiny_limits());
    let callers = store.fill(2);
    let first = Id::new(1);
    let mut update =
        Caller { future: Box::pin(store.acme.update(first, None, Patch::new().text("changed"))) };
    let mut delete = Caller { future: Box::pin(store.acme.delete(first)) };
    for caller in [&mut update, &mut delete] {
        let Poll::Ready(answer) = caller.poll() else { panic!("it waits") };
        assert_overloaded(&answer);
    }
    assert_eq!(store.acme.get_blocking(first).unwrap().text(), "first");
    assert_eq!(store.acme.search_blocking(Search::new("first")).unwrap().hits.len(), 1);
    assert_eq!(
        store.acme.search_blocking(Search::new("inflight")).unwrap().matched,
        Matched::Exactly(0),
        "not yet durable"
    );
    assert_eq!(store.acme.stats_blocking().unwrap().memories, 1);
    // What is no request at all is told so, without waiting.
    let Poll::Ready(answer) = Caller::allocate(&store.acme, "").poll() else { panic!("it waits") };
    assert!(matches!(answer, Err(MemoryError::Invalid { .. })), "{answer:?}");
    store.gate.open();
    assert_all_created(callers);
    assert_eq!(store.acme.get_blocking(first).unwrap().text(), "first");
}

#[test]
fn a_request_that_was_refused_for_overload_can_be_sent_again() {
    let store = Fixture::new(tiny_limits());
    let callers = store.fill(2);
    let request = || Allocate::new("persistent").request_id(RequestId::new());
    let request = request();
    let mut refused = Caller { future: Box::pin(store.acme.allocate(request.clone())) };
    let Poll::Ready(answer) = refused.poll() else { panic!("it waits") };
    assert_overloaded(&answer);
    store.gate.open();
    assert_all_created(callers);
    let answer = store.acme.allocate_blocking(request.clone()).unwrap();
    assert_eq!(answer.outcome, Outcome::Created);
    assert_eq!(store.acme.allocate_blocking(request).unwrap(), answer);
    assert_eq!(texts(&store.acme).len(), 7);
}

#[test]
fn close_serves_all_who_wait_already_and_refuses_all_who_come_later() {
    let store = Fixture::new(tiny_limits());
    let mut callers = store.fill(2);
    let mut closing: Vec<Pin<Box<dyn Future<Output = _>>>> =
        vec![Box::pin(store.memory.close()), Box::pin(store.memory.close())];
    for close in &mut closing {
        assert!(close.as_mut().poll(&mut Context::from_waker(&context())).is_pending());
    }
    for late in 0..3 {
        let Poll::Ready(answer) = Caller::allocate(&store.acme, &late.to_string()).poll() else {
            panic!("it waits for a store that is closing");
        };
        assert_eq!(answer, Err(MemoryError::Closed));
    }
    assert_eq!(store.acme.get_blocking(Id::new(1)), Err(MemoryError::Closed));
    assert!(callers.iter_mut().all(Caller::is_pending));
    store.gate.open();
    assert_all_created(callers);
    for close in closing {
        wait(close).unwrap();
    }
    let (memory, acme, _dir) = store.reopened();
    assert!(memory.recovery().clean);
    assert_eq!(texts(&acme), ["first", "inflight", "queueda", "queuedb", "waitinga", "waitingb"]);
}

#[test]
fn close_ends_though_callers_in_line_run_out_of_time_or_leave_meanwhile() {
    let mut limits = tiny_limits();
    limits.queue_waiters = 10;
    let store = Fixture::new(limits);
    let mut callers = store.fill(2);
    let hasty = store.acme.clone().with_queue_wait(Duration::from_secs(2));
    let mut short = Caller::allocate(&hasty, "refused");
    assert!(short.is_pending());
    let mut closing = Box::pin(store.memory.close());
    assert!(closing.as_mut().poll(&mut Context::from_waker(&context())).is_pending());
    assert_overloaded(&short.answer());
    drop(callers.drain(3..));
    assert_eq!(store.memory.stats().waiting, 0);
    store.gate.open();
    assert_all_created(callers);
    wait(closing).unwrap();
    drop(hasty);
    let (_memory, acme, _dir) = store.reopened();
    assert_eq!(texts(&acme), ["first", "inflight", "queueda", "queuedb"]);
}

/// Blocking callers sleep in the store, not in a test's own executor.
#[test]
fn blocking_callers_in_threads_are_all_answered_when_the_gate_opens() {
    let store = Fixture::new(tiny_limits());
    store.gate.shut();
    std::thread::scope(|scope| {
        // Should anything below fail, the threads are let go before the scope waits for them.
        let _end = OpensAtTheEnd(Arc::clone(&store.gate));
        let ask = |n: u32| {
            let acme = store.acme.clone();
            scope.spawn(move || acme.allocate_blocking(Allocate::new(n.to_string())))
        };
        let first = ask(0);
        store.gate.wait_for_the_committer();
        let others: Vec<_> = (1..=4).map(ask).collect();
        let began = Instant::now();
        while (store.memory.stats().queued, store.memory.stats().waiting) != (2, 2) {
            assert!(began.elapsed() < LONG, "{:?}", store.memory.stats());
            std::thread::yield_now();
        }
        assert_overloaded(&ask(5).join().unwrap());
        assert!(!first.is_finished() && !others.iter().any(std::thread::ScopedJoinHandle::is_finished));
        store.gate.open();
        for thread in others.into_iter().chain([first]) {
            assert_eq!(thread.join().unwrap().unwrap().outcome, Outcome::Created);
        }
    });
    let texts: BTreeSet<String> = texts(&store.acme).into_iter().collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "first"].map(String::from).into());
}

#[test]
fn under_lasting_overload_what_is_refused_never_happens_and_the_rest_does() {
    const THREADS: usize = 16;
    const CHANGES: usize = 40;
    let store = Fixture::new(tiny_limits());
    store.gate.state().delay = Duration::from_millis(1);
    let hasty = store.acme.clone().with_queue_wait(Duration::from_millis(3));
    let outcomes = Mutex::new((BTreeMap::new(), BTreeSet::new()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (hasty, outcomes) = (&hasty, &outcomes);
            scope.spawn(move || {
                for n in 0..CHANGES {
                    let text = format!("{thread} {n}");
                    let answer = hasty.allocate_blocking(Allocate::new(&text));
                    let mut outcomes = outcomes.lock().unwrap();
                    match answer {
                        Ok(answer) => drop(outcomes.0.insert(answer.id, text)),
                        refused => {
                            assert_overloaded(&refused);
                            outcomes.1.insert(text);
                        }
                    }
                }
            });
        }
    });
    let (done, refused) = outcomes.into_inner().unwrap();
    assert!(!done.is_empty() && !refused.is_empty(), "{} done, {} refused", done.len(), refused.len());
    assert_eq!(done.len() + refused.len(), THREADS * CHANGES);
    drop(hasty);
    let check = |acme: &Tenant| {
        let found: BTreeMap<Id, String> = acme
            .view()
            .unwrap()
            .records()
            .skip(1)
            .map(|record| (record.id, record.text().to_owned()))
            .collect();
        assert_eq!(found, done, "what is there isn't what was acknowledged");
    };
    check(&store.acme);
    let (_memory, acme, _dir) = store.reopened();
    check(&acme);
}

#[test]
fn callers_that_leave_at_any_moment_lose_nothing_acknowledged_and_block_nobody() {
    const THREADS: u64 = 12;
    const CHANGES: u64 = 40;
    let mut limits = tiny_limits();
    limits.queue_waiters = 6;
    let store = Fixture::new(limits);
    store.gate.state().delay = Duration::from_micros(300);
    let log = Mutex::new((BTreeSet::new(), BTreeSet::new(), 0, 0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, log) = (&store, &log);
            scope.spawn(move || {
                let mut rng = TestRng::new(thread);
                for n in 0..CHANGES {
                    let text = format!("{thread} {n}");
                    let wait = Duration::from_micros(rng.below(4) * 500);
                    let hasty = store.acme.clone().with_queue_wait(wait);
                    let mut caller = Caller::allocate(&hasty, &text);
                    let polls = rng.below(6);
                    let mut answer = Poll::Pending;
                    for _ in 0..polls {
                        answer = caller.poll();
                        if answer.is_ready() {
                            break;
                        }
                        std::thread::park_timeout(Duration::from_micros(rng.below(400)));
                    }
                    if answer.is_pending() && rng.chance(1, 3) {
                        answer = Poll::Ready(caller.answer());
                    } else {
                        drop(caller);
                    }
                    let mut log = log.lock().unwrap();
                    match answer {
                        Poll::Ready(Ok(_)) => drop(log.0.insert(text)),
                        Poll::Ready(refused) => {
                            assert_overloaded(&refused);
                            log.2 += 1;
                        }
                        Poll::Pending if polls == 0 => log.3 += 1,
                        // Queued or in line when it left: it may be there.
                        Poll::Pending => drop(log.1.insert(text)),
                    }
                }
            });
        }
    });
    let (acknowledged, left, refused, never_polled) = log.into_inner().unwrap();
    let total = acknowledged.len() + left.len() + refused + never_polled;
    assert_eq!(total as u64, THREADS * CHANGES);
    let each_happened = !acknowledged.is_empty() && !left.is_empty() && refused > 0 && never_polled > 0;
    assert!(each_happened, "{} {} {refused} {never_polled}", acknowledged.len(), left.len());
    // The store still works, for somebody patient.
    let last = store.acme.allocate_blocking(Allocate::new("last")).unwrap();
    assert_eq!((store.memory.stats().queued, store.memory.stats().waiting), (0, 0));
    let check = |acme: &Tenant| {
        let found = texts(acme);
        let distinct: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(distinct.len(), found.len(), "something happened twice");
        assert!(distinct.is_superset(&acknowledged), "something acknowledged is missing");
        let known = |text: &String| {
            acknowledged.contains(text) || left.contains(text) || ["first", "last"].contains(&text.as_str())
        };
        let strangers: Vec<_> = found.iter().filter(|text| !known(text)).collect();
        assert!(strangers.is_empty(), "refused, and there all the same: {strangers:?}");
        assert_eq!(acme.get_blocking(last.id).unwrap().text(), "last");
        found
    };
    let before = check(&store.acme);
    let (_memory, acme, _dir) = store.reopened();
    assert_eq!(check(&acme), before);
}
