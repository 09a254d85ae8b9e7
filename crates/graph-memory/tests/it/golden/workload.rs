//! What a golden store is made of: each kind of command, each outcome that is remembered, each
//! setting of a tenant.
//!
//! A later format's golden store is made by this as it is then. Older ones keep what it was.

use std::path::Path;
use std::sync::Arc;

use steadfast_graph_memory::{
    Allocate, Analyzer, Config, Delete, GraphMemory, Id, Language, Limits, LogConfig, MemoryError, Metric,
    OnSlug, Outcome, Patch, Problem, RequestId, Tenant, Version,
};

use crate::clock::StoreClock;

/// The tenants, in the order in which they come into being.
pub(crate) const TENANTS: [&str; 7] = ["plain", "silent", "counted", "stopping", "dot", "squared", "emptied"];

/// When the workload begins, in Unix milliseconds.
const START_MS: u64 = 1_700_000_000_000;
const MINUTE_MS: u64 = 60_000;
/// Long after the workload has ended.
pub(crate) const LATER_MS: u64 = START_MS + 600 * MINUTE_MS;

/// The smallest segments, made when they are needed, and limits that are easily reached.
pub(crate) fn config(clock: Arc<StoreClock>) -> Config {
    let mut limits = Limits::default();
    limits.request_ids = 40;
    limits.attributes = 4;
    limits.attributes_bytes = 200;
    limits.tenants = TENANTS.len();
    Config::default().clock(clock).limits(limits).log(LogConfig::new(64 << 10, 0))
}

/// The request id of this number, issued at `issued_ms`.
pub(crate) fn request(issued_ms: u64, number: u64) -> RequestId {
    RequestId::from_parts(issued_ms, number)
}

/// Makes the store in `dir`.
pub(crate) fn run(dir: &Path) {
    let clock = StoreClock::at(START_MS);
    let open = |change: fn(Config) -> Config| {
        GraphMemory::open_blocking(dir, change(config(Arc::clone(&clock)))).unwrap()
    };
    let memory = open(|config| config);
    plain(&memory.tenant("plain").unwrap());
    remember(&memory.tenant("silent").unwrap(), START_MS, 0..9);
    count(&memory.tenant("counted").unwrap());
    memory.close_blocking().unwrap();

    let memory = open(|config| {
        config.analyzer(Analyzer::new().with_stop_words(Language::English)).vector_metric(Metric::Dot)
    });
    let stopping = memory.tenant("stopping").unwrap();
    stopping.allocate_blocking(Allocate::new("The invoices are in the bay")).unwrap();
    stopping.allocate_blocking(Allocate::new("Where is the whale").slug("whale")).unwrap();
    vectors(&memory.tenant("dot").unwrap());
    // Its metric is its own, whatever is configured now.
    let plain = memory.tenant("plain").unwrap();
    plain.allocate_blocking(Allocate::new("by cosine").vector([0.0, 0.0, 3.0])).unwrap();
    refused_vector(&plain, Allocate::new("by cosine").vector([0.0; 3]), Problem::ZeroVector);
    memory.close_blocking().unwrap();

    let memory = open(|config| config.vector_metric(Metric::L2));
    vectors(&memory.tenant("squared").unwrap());
    let emptied = memory.tenant("emptied").unwrap();
    let id = emptied.allocate_blocking(Allocate::new("first").vector([1.0, 2.0])).unwrap().id;
    emptied.delete_blocking(id).unwrap();
    let one_too_many = memory.tenant("one-too-many").unwrap().allocate_blocking(Allocate::new("text"));
    let max = TENANTS.len() as u64;
    assert_eq!(one_too_many, Err(MemoryError::QuotaExceeded { limit: "tenants", max }));
    age(&memory, &clock);
    together(&memory);
    memory.close_blocking().unwrap();
}

/// Each command, carried out and refused.
fn plain(tenant: &Tenant) {
    let all_kinds = Allocate::new("Customers prefer invoices by e-mail – ☃ – \u{1F40B}")
        .kind("preference")
        .slug("Ünïcode Slug")
        .attribute("bool", true)
        .attribute("int", -7)
        .attribute("float", 2.5)
        .attribute("text", "ein Wert")
        .importance(0.0)
        .vector([1.0, -0.5, 0.25]);
    let first = tenant.allocate_blocking(all_kinds).unwrap();
    assert_eq!((first.id, first.outcome), (Id::new(1), Outcome::Created));
    let second = tenant.allocate_blocking(Allocate::new("second")).unwrap();
    let slug = |slug: &str| Allocate::new("another").slug(slug);
    assert_eq!(tenant.allocate_blocking(slug("Ünïcode Slug")).unwrap().outcome, Outcome::Existing);
    for (number, taken) in [(1, slug("ÜNÏCODE SLUG")), (2, slug("Ünïcode Slug").on_slug(OnSlug::Refuse))]
    {
        let taken = tenant.allocate_blocking(taken.request_id(request(START_MS, number)));
        assert!(matches!(taken, Err(MemoryError::SlugTaken { by, .. }) if by == first.id), "{taken:?}");
    }
    let wrong = Problem::WrongDimensions { found: 2, expected: 3 };
    refused_vector(tenant, Allocate::new("text").vector([1.0, 2.0]).request_id(request(START_MS, 3)), wrong);
    let zero = Allocate::new("text").vector([0.0; 3]).request_id(request(START_MS, 4));
    refused_vector(tenant, zero, Problem::ZeroVector);

    // Updates.
    let update = |patch| tenant.update_blocking(first.id, None, patch);
    update(Patch::new().text("Customers prefer invoices by post").importance(1.0)).unwrap();
    update(Patch::new().kind("habit").remove_attribute("bool").attribute("int", 8)).unwrap();
    update(Patch::new().vector([0.5, 0.5, 0.5]).request_id(request(START_MS, 5))).unwrap();
    let many = (0..2).fold(Patch::new(), |patch, n| patch.attribute(format!("new {n}"), n));
    let many = update(many.request_id(request(START_MS, 6)));
    assert_eq!(many, Err(MemoryError::invalid("attributes", Problem::TooMany { count: 5, count_max: 4 })));
    let long = update(Patch::new().attribute("text", "x".repeat(190)).request_id(request(START_MS, 7)));
    let too_long = Problem::TooLong { bytes: 218, bytes_max: 200 };
    assert_eq!(long, Err(MemoryError::invalid("attributes", too_long)));
    let wrong = update(Patch::new().vector([1.0]).request_id(request(START_MS, 8)));
    let expected = Problem::WrongDimensions { found: 1, expected: 3 };
    assert_eq!(wrong, Err(MemoryError::invalid("vector", expected)));
    let zero = update(Patch::new().vector([0.0; 3]).request_id(request(START_MS, 9)));
    assert_eq!(zero, Err(MemoryError::invalid("vector", Problem::ZeroVector)));
    let version = Some(Version::new(9));
    let patch = Patch::new().text("never").request_id(request(START_MS, 10));
    let conflict = tenant.update_blocking(second.id, version, patch);
    assert!(matches!(conflict, Err(MemoryError::VersionConflict { .. })), "{conflict:?}");
    let everything = Patch::new()
        .text("second, again")
        .kind("note")
        .importance(0.25)
        .vector([-1.0, 0.0, 1.0])
        .attribute("since", "today")
        .remove_attribute("nothing")
        .request_id(request(START_MS, 11));
    tenant.update_blocking(second.id, Some(second.version), everything).unwrap();

    // Deletions; a slug that is free again, an id that isn't used again.
    let gone = tenant.allocate_blocking(slug("ephemeral")).unwrap();
    let delete = Delete::new(gone.id).request_id(request(START_MS, 12));
    let conflict = tenant.delete_blocking(delete.if_version(Version::new(2)));
    assert!(matches!(conflict, Err(MemoryError::VersionConflict { .. })), "{conflict:?}");
    let delete = Delete::new(gone.id).if_version(gone.version).request_id(request(START_MS, 13));
    tenant.delete_blocking(delete.clone()).unwrap();
    let again = Delete::new(gone.id).request_id(request(START_MS, 14));
    assert_eq!(tenant.delete_blocking(again), Err(MemoryError::UnknownId { id: gone.id }));
    tenant.allocate_blocking(slug("ephemeral")).unwrap();

    // Ids of requests: sent again, used for something else, of the future.
    assert_eq!(tenant.delete_blocking(delete.clone()).unwrap().outcome, Outcome::Deleted);
    let reused = tenant.delete_blocking(Delete { id: first.id, ..delete });
    assert!(matches!(reused, Err(MemoryError::RequestIdReused { .. })), "{reused:?}");
    let future = Delete::new(first.id).request_id(request(START_MS + 2 * MINUTE_MS, 15));
    let future = tenant.delete_blocking(future);
    assert!(matches!(future, Err(MemoryError::RequestIdFromFuture { .. })), "{future:?}");

    // A text that takes more than a page, twice: once to be indexed, once to be replaced.
    let long = "Call me Ishmael. Some years ago never mind how long precisely ".repeat(80);
    let long = tenant.allocate_blocking(Allocate::new(long).slug("loomings")).unwrap();
    tenant.update_blocking(long.id, None, Patch::new().text("short")).unwrap();
}

/// A request of each of these numbers, each remembered.
fn remember(tenant: &Tenant, issued_ms: u64, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let new = Allocate::new(format!("request {number}")).request_id(request(issued_ms, number));
        tenant.allocate_blocking(new).unwrap();
    }
}

/// More requests than are remembered: the first are forgotten, and refused from then on.
fn count(tenant: &Tenant) {
    for number in 0..45 {
        let new = Allocate::new("again and again").slug("counted");
        tenant.allocate_blocking(new.request_id(request(START_MS + number, number))).unwrap();
    }
    let new = Allocate::new("again and again").slug("counted").request_id(request(START_MS, 0));
    let expired = tenant.allocate_blocking(new);
    assert!(matches!(expired, Err(MemoryError::RequestIdExpired { .. })), "{expired:?}");
}

fn vectors(tenant: &Tenant) {
    for n in 0_u8..4 {
        let vector = [f32::from(n), 1.0, -0.125 * f32::from(n), 0.0];
        tenant.allocate_blocking(Allocate::new(format!("vector {n}")).vector(vector)).unwrap();
    }
    tenant.allocate_blocking(Allocate::new("no direction").vector([0.0; 4])).unwrap();
    tenant.delete_blocking(Id::new(2)).unwrap();
    tenant.update_blocking(Id::new(3), None, Patch::new().vector([9.0, 8.0, 7.0, 6.0])).unwrap();
    tenant.update_blocking(Id::new(1), None, Patch::new().text("without another vector")).unwrap();
}

fn refused_vector(tenant: &Tenant, request: Allocate, problem: Problem) {
    assert_eq!(tenant.allocate_blocking(request), Err(MemoryError::invalid("vector", problem)));
}

/// Requests become old while their tenant is silent and others are not; then the clock goes back.
fn age(memory: &GraphMemory, clock: &StoreClock) {
    let (plain, dot) = (memory.tenant("plain").unwrap(), memory.tenant("dot").unwrap());
    clock.set(START_MS + 5 * MINUTE_MS);
    remember(&dot, START_MS + 5 * MINUTE_MS, 20..25);
    clock.set(START_MS + 12 * MINUTE_MS);
    for n in 0..9 {
        plain.update_blocking(Id::new(2), None, Patch::new().attribute("n", n)).unwrap();
    }
    remember(&memory.tenant("silent").unwrap(), START_MS + 11 * MINUTE_MS, 30..32);
    clock.set(START_MS + 3 * MINUTE_MS);
    remember(&plain, START_MS + 3 * MINUTE_MS, 40..43);
}

/// Callers who come at the same time, so that some batches hold several commands of several
/// tenants.
fn together(memory: &GraphMemory) {
    std::thread::scope(|scope| {
        for name in ["plain", "counted", "squared", "dot"] {
            for n in 0..4 {
                let tenant = memory.tenant(name).unwrap();
                scope.spawn(move || {
                    let new = Allocate::new(format!("together {n}")).slug(format!("Together {n}"));
                    let id = tenant.allocate_blocking(new).unwrap().id;
                    tenant.update_blocking(id, None, Patch::new().kind("together")).unwrap();
                });
            }
        }
    });
}
