//! The suites against stores that break a promise once in 10 000 writes: it must fail, and name the promise.
//!
//! [`LossyMemory`] keeps the contract of a memory except for one write, the *k*-th, to which it does what its [`Fault`] says, or for a
//! search now and then.

mod fixture;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use steadfast_memory_api::{
    Allocate, Answer, Delete, Hits, Id, Limits, Memory, MemoryError, Outcome, Patch, Record, Search, Seq,
    TenantStats, Version,
};
use steadfast_stress::report::ScenarioReport;
use steadfast_stress::{Failure, Rng, Scenario, Verdict, measure};
use steadfast_suites::backend::{Backend, Embedded, EmbeddedStore, EmbeddedTenant, Store};
use steadfast_suites::index::{
    ExtremeConcurrency, MemoryPressure, RapidScale, ResourceExhaustionRecovery, SustainedLoad,
};
use steadfast_suites::memory::{AllocateHighConcurrency, SearchHighConcurrency};

use fixture::{Short, SmallCorpus};

/// One write in so many is lost.
const ONE_IN: u64 = 10_000;

/// What becomes of the write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Nothing: it is kept like all others.
    None,
    /// It is acknowledged, with the numbers that it would have had, and never written.
    Dropped,
    /// It is there until the store is closed.
    GoneAfterReopening,
    /// It is there, but no search finds it.
    NotIndexed,
    /// A character of its text is another one.
    Altered,
    /// It is written, and something that nobody asked for before it.
    Doubled,
    /// Every search tells its worst hit first.
    Misranked,
    /// Each search of so many finds nothing.
    Empty { one_in: u64 },
    /// Each search of so many gives the hits of an earlier one.
    Stale { one_in: u64 },
}

/// Opens embedded stores of which write `lost` is lost.
#[derive(Debug)]
struct Lossy {
    fault: Fault,
    loss: Arc<Loss>,
}

/// Which write is lost; the same before and after reopening.
#[derive(Debug)]
struct Loss {
    /// From 0.
    lost: u64,
    writes: AtomicU64,
    /// Whether a write is lost, or on its way to be.
    claimed: AtomicBool,
    /// The id that it was acknowledged with.
    id: OnceLock<Id>,
    searches: AtomicU64,
    /// The hits of the first search.
    first_hits: OnceLock<Hits>,
}

struct LossyStore {
    store: EmbeddedStore,
    memory: LossyMemory,
}

/// A memory that loses one write.
#[derive(Clone, Debug)]
struct LossyMemory {
    memory: EmbeddedTenant,
    fault: Fault,
    loss: Arc<Loss>,
}

impl Lossy {
    fn new(fault: Fault, lost: u64) -> Self {
        let loss = Loss {
            lost,
            writes: AtomicU64::new(0),
            claimed: AtomicBool::new(false),
            id: OnceLock::new(),
            searches: AtomicU64::new(0),
            first_hits: OnceLock::new(),
        };
        Self { fault, loss: Arc::new(loss) }
    }
}

impl Backend for Lossy {
    type Store = LossyStore;

    async fn open(&self, directory: &Path, limits: Limits) -> Result<LossyStore, Failure> {
        let store = Embedded.open(directory, limits).await?;
        let memory =
            LossyMemory { memory: store.memory().clone(), fault: self.fault, loss: Arc::clone(&self.loss) };
        Ok(LossyStore { store, memory })
    }
}

impl Store for LossyStore {
    type Memory = LossyMemory;

    fn memory(&self) -> &LossyMemory {
        &self.memory
    }

    async fn close(self) -> Result<(), Failure> {
        if let Some(id) = self.memory.lost_to(Fault::GoneAfterReopening) {
            // A second close finds it gone already.
            match self.memory.memory.delete(id).await {
                Ok(_) | Err(MemoryError::UnknownId { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.store.close().await
    }
}

impl LossyMemory {
    /// The write that this fault has lost.
    fn lost_to(&self, fault: Fault) -> Option<Id> {
        self.loss.id.get().copied().filter(|_| self.fault == fault)
    }

    /// What an honest store would answer to the next write.
    async fn invented(&self) -> Answer {
        let stats = self.memory.stats().await.unwrap_or(TenantStats::new(0, 0, 0, 0, Seq::new(0)));
        let (id, seq) = (Id::new(stats.created + 1), Seq::new(stats.seq.get() + 1));
        Answer { id, version: Version::new(1), outcome: Outcome::Created, seq }
    }
}

impl Memory for LossyMemory {
    async fn allocate(&self, mut request: Allocate) -> Result<Answer, MemoryError> {
        // Relaxed: only that one write is the k-th matters, which the read-modify-writes give by themselves.
        let number = self.loss.writes.fetch_add(1, Ordering::Relaxed);
        let is_lost = number >= self.loss.lost && !self.loss.claimed.swap(true, Ordering::Relaxed);
        if !is_lost {
            return self.memory.allocate(request).await;
        }
        if self.fault == Fault::Altered {
            request.text.replace_range(0..1, "C");
        }
        if self.fault == Fault::Doubled {
            self.memory.allocate(Allocate { slug: None, ..request.clone() }).await?;
        }
        let answer = match self.fault {
            Fault::Dropped => self.invented().await,
            _ => match self.memory.allocate(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    // A write that is refused can't be lost; the next one is.
                    self.loss.claimed.store(false, Ordering::Relaxed);
                    return Err(error);
                }
            },
        };
        self.loss.id.set(answer.id).expect("one write is the k-th");
        Ok(answer)
    }

    async fn update(&self, id: Id, if_version: Option<Version>, patch: Patch) -> Result<Answer, MemoryError> {
        self.memory.update(id, if_version, patch).await
    }

    async fn delete(&self, request: impl Into<Delete> + Send) -> Result<Answer, MemoryError> {
        self.memory.delete(request).await
    }

    async fn get(&self, id: Id) -> Result<Arc<Record>, MemoryError> {
        self.memory.get(id).await
    }

    async fn get_by_slug(&self, slug: &str) -> Result<Arc<Record>, MemoryError> {
        self.memory.get_by_slug(slug).await
    }

    async fn search(&self, request: Search) -> Result<Hits, MemoryError> {
        let mut hits = self.memory.search(request).await?;
        if let Some(lost) = self.lost_to(Fault::NotIndexed) {
            hits.hits.retain(|hit| hit.record.id != lost);
        }
        // Relaxed: only that each search has a number of its own matters.
        let number = self.loss.searches.fetch_add(1, Ordering::Relaxed) + 1;
        let first = self.loss.first_hits.get_or_init(|| hits.clone());
        match self.fault {
            Fault::Misranked => hits.hits.reverse(),
            Fault::Empty { one_in } if number.is_multiple_of(one_in) => hits.hits.clear(),
            Fault::Stale { one_in } if number.is_multiple_of(one_in) => hits.clone_from(first),
            _ => {}
        }
        Ok(hits)
    }

    async fn stats(&self) -> Result<TenantStats, MemoryError> {
        self.memory.stats().await
    }
}

/// Runs the scenario on a store with this fault in its write `lost`.
fn run(fault: Fault, lost: u64) -> ScenarioReport {
    let corpus = SmallCorpus::new();
    let report = measure(AllocateHighConcurrency::on(Lossy::new(fault, lost)), &corpus.options());
    assert_eq!(
        report.operations.succeeded, 500,
        "the fault must not show in the answers: {:?}",
        report.reasons
    );
    report
}

/// The names of the invariants that didn't hold.
fn broken(report: &ScenarioReport) -> Vec<&str> {
    report.invariants.iter().filter(|it| !it.held).map(|it| it.name.as_str()).collect()
}

#[track_caller]
fn assert_fails_by(report: &ScenarioReport, invariant: &str) {
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(broken(report).contains(&invariant), "{:?}", report.reasons);
    let named = format!("invariant broken: {invariant}");
    assert!(report.reasons.iter().any(|reason| reason.starts_with(&named)), "{:?}", report.reasons);
}

#[test]
fn a_store_that_loses_nothing_passes() {
    let report = run(Fault::None, 0);
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
}

#[test]
fn one_dropped_write_in_ten_thousand_fails_it() {
    let report = run(Fault::Dropped, Rng::new(20).below(ONE_IN));
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by slug, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
    assert_fails_by(&report, "memories counted");
    assert!(report.notes.iter().any(|(key, _)| key == "not found by id, unchanged"), "it must be named");
}

#[test]
fn a_dropped_concept_fails_it() {
    // Set-up writes the corpus until there are 10 000; then come the 500 concepts.
    let passages = ONE_IN.next_multiple_of(fixture::PASSAGES as u64);
    assert_fails_by(&run(Fault::Dropped, passages + 100), "found by id, unchanged");
}

#[test]
fn a_write_that_is_gone_after_reopening_fails_it() {
    let report = run(Fault::GoneAfterReopening, Rng::new(21).below(ONE_IN));
    assert_fails_by(&report, "reopened: found by id, unchanged");
    assert!(broken(&report).iter().all(|name| name.starts_with("reopened: ")), "{:?}", report.reasons);
}

#[test]
fn a_write_that_no_search_finds_fails_it() {
    let report = run(Fault::NotIndexed, Rng::new(22).below(ONE_IN));
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(broken(&report), ["found by search, unchanged", "reopened: found by search, unchanged"]);
}

#[test]
fn a_write_that_nobody_asked_for_fails_it() {
    let report = run(Fault::Doubled, Rng::new(24).below(ONE_IN));
    assert_fails_by(&report, "sequence numbers without a gap");
    assert_fails_by(&report, "memories counted");
}

#[test]
fn a_wrong_order_of_hits_fails_the_searches() {
    let corpus = SmallCorpus::new();
    let scenario = SearchHighConcurrency::on(Lossy::new(Fault::Misranked, 0));
    let report = measure(scenario, &corpus.options());
    assert_fails_by(&report, "right first hits for searchable_0 to searchable_9");
    let errors: Vec<(&str, u64)> =
        report.operations.errors.iter().map(|error| (error.kind.as_str(), error.count)).collect();
    assert_eq!(errors, [("wrong first hit", 200)]);
}

#[test]
fn a_write_with_another_character_fails_it() {
    let report = run(Fault::Altered, Rng::new(23).below(ONE_IN));
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by slug, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
}

/// Runs a scenario of suite `index` for a second or two.
fn run_index(scenario: impl Scenario) -> ScenarioReport {
    measure(Short(scenario), &SmallCorpus::new().options())
}

#[track_caller]
fn assert_wrong_answers_are_seen(scenario: impl Scenario) {
    let report = run_index(scenario);
    assert_fails_by(&report, "wrong answers");
    let errors = &report.operations.errors;
    assert!(errors.iter().any(|error| error.kind == "wrong answer" && error.count > 0), "{errors:?}");
}

#[track_caller]
fn assert_a_lost_write_is_seen(scenario: impl Scenario) {
    let report = run_index(scenario);
    assert_fails_by(&report, "found by id, unchanged");
    assert_fails_by(&report, "found by search, unchanged");
    assert_fails_by(&report, "reopened: found by slug, unchanged");
}

/// Dropped of the passages that set-up writes.
fn lossy() -> Lossy {
    Lossy::new(Fault::Dropped, Rng::new(25).below(ONE_IN))
}

#[test]
fn index_extreme_concurrency_sees_one_empty_answer_in_five_thousand() {
    assert_wrong_answers_are_seen(ExtremeConcurrency::on(Lossy::new(Fault::Empty { one_in: 5_000 }, 0)));
}

#[test]
fn index_extreme_concurrency_sees_a_lost_write() {
    assert_a_lost_write_is_seen(ExtremeConcurrency::on(lossy()));
}

#[test]
fn index_memory_pressure_sees_an_empty_answer() {
    assert_wrong_answers_are_seen(MemoryPressure::on(Lossy::new(Fault::Empty { one_in: 2 }, 0)));
}

#[test]
fn index_memory_pressure_sees_a_lost_write() {
    assert_a_lost_write_is_seen(MemoryPressure::on(lossy()));
}

#[test]
fn index_sustained_load_sees_an_answer_to_another_query() {
    assert_wrong_answers_are_seen(SustainedLoad::on(Lossy::new(Fault::Stale { one_in: 50 }, 0)));
}

#[test]
fn index_sustained_load_sees_a_lost_write() {
    assert_a_lost_write_is_seen(SustainedLoad::on(lossy()));
}

#[test]
fn index_rapid_scale_sees_an_empty_answer() {
    assert_wrong_answers_are_seen(RapidScale::on(Lossy::new(Fault::Empty { one_in: 20 }, 0)));
}

#[test]
fn index_rapid_scale_sees_a_lost_write() {
    assert_a_lost_write_is_seen(RapidScale::on(lossy()));
}

#[test]
fn index_resource_exhaustion_recovery_sees_an_answer_to_another_query() {
    // Set-up searches 10 000 times, the load 2 000 times, and the check 36 000 times before it looks everything up: the first is
    // in the load, the second behind the check's rounds.
    let scenario = ResourceExhaustionRecovery::on(Lossy::new(Fault::Stale { one_in: 11_500 }, 0));
    assert_wrong_answers_are_seen(scenario);
}

#[test]
fn index_resource_exhaustion_recovery_sees_a_lost_write() {
    // Set-up writes 10 200 and 10 000; the load comes after them.
    let scenario = ResourceExhaustionRecovery::on(Lossy::new(Fault::GoneAfterReopening, 20_300));
    let report = run_index(scenario);
    assert_fails_by(&report, "found by id, unchanged");
}
