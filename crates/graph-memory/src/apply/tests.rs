//! Applying commands: analyzers, request ids, and tenants that don't touch each other.

use proptest::prelude::*;
use steadfast_memory_api::{Allocate, Id, Limits, Patch, RequestId, Seq};
use steadfast_text_index::{Language, Query};
use steadfast_vector_index::Metric;

use super::*;
use crate::command::{Context, Deletion, EncodedCommand, MemoryPatch, NewMemory, Operation, Registered};
use crate::log::FORMAT;

const NOW: u64 = 1_000_000_000;

fn encoded<O: Registered>(request: O::Request, analyzer: Analyzer, tenant: TenantKey) -> EncodedCommand {
    let context = Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer };
    EncodedCommand::new(Command::new(tenant, None, O::resolve(request, &context).unwrap()))
}

fn allocate(text: &str, made_by: Analyzer, tenant: TenantKey) -> EncodedCommand {
    encoded::<NewMemory>(Allocate::new(text), made_by, tenant)
}

fn stamp(seq: u64, now_ms: u64) -> Stamp {
    Stamp { seq: Seq::new(seq), now_ms, format: FORMAT }
}

fn delete(tenant: u32, request: Option<(RequestId, usize)>) -> Command {
    let context = Context { limits: &Limits::default(), metric: Metric::Cosine, analyzer: Analyzer::new() };
    let deletion = Deletion::resolve(Id::new(1).into(), &context).unwrap();
    Command::new(TenantKey::Number(tenant), request, deletion)
}

fn found(tenants: &Tenants, query: &str) -> u64 {
    let value = &tenants.all[0].value;
    let hits = value.text().search(&Query::any(&value.analyzer.query_keys(query)), 100, None).hits;
    assert!(value.verify().is_ok());
    hits.len() as u64
}

/// What the first command says is settled, whatever analyzer later documents were made by, or none
/// as in a replay.
#[test]
fn a_tenant_keeps_its_analyzer_and_makes_documents_of_others_anew() {
    let stops = Analyzer::new().with_stop_words(Language::English);
    for (own, other, the) in [(stops, Analyzer::new(), 0), (Analyzer::new(), stops, 3)] {
        let name = |analyzer| TenantKey::Name { name: "acme".into(), tenants_max: 9, analyzer };
        let update = |made_by| {
            let request = (Id::new(1), None, Patch::new().text("the shark"));
            encoded::<Box<MemoryPatch>>(request, made_by, TenantKey::Number(1))
        };
        let commands = [
            allocate("the whale", own, name(own)),
            // Both raced to be the first.
            allocate("the whale", other, name(other)),
            allocate("the whale", other, TenantKey::Number(1)),
            update(other),
            update(own),
        ];
        let bytes: Vec<Vec<u8>> = commands.iter().map(|encoded| encoded.parts().concat()).collect();
        let (mut live, mut replayed) = (Tenants::default(), Tenants::default());
        for (seq, (encoded, bytes)) in (1..).zip(commands.into_iter().zip(&bytes)) {
            let effect = live.apply(encoded.command, stamp(seq, NOW));
            assert!(effect.is_ok(), "{effect:?}");
            let decoded = Command::decode(bytes).unwrap();
            assert_eq!(replayed.apply(decoded, stamp(seq, NOW)), effect);
        }
        for tenants in [&live, &replayed] {
            assert_eq!(tenants.all[0].value.analyzer, own);
            assert_eq!((found(tenants, "whale"), found(tenants, "shark")), (2, 1));
            assert_eq!(found(tenants, "the"), the);
            assert_eq!(tenants.all[0].value.text().total_tokens(), 3 + the);
        }
        assert_eq!(live.state_hash(), replayed.state_hash());
        live.all[0].value.analyzer = other;
        assert_ne!(live.state_hash(), replayed.state_hash(), "the analyzer is part of the state");
    }
}

/// Nobody's hash is safe from who looks for two inputs that share it; the caller still gets an
/// answer of its own kind.
#[test]
fn a_fingerprint_that_another_kind_of_command_shares_is_another_use_of_the_id() {
    let mut tenants = Tenants::default();
    tenants.add(Tenant::new("acme".into(), Analyzer::new()), stamp(0, NOW));
    let command = allocate("text", Analyzer::new(), TenantKey::Number(1)).command;
    let id = RequestId::from_parts(NOW, 1);
    let request = Some(Request { id, fingerprint: 7, ids_max: 10 });
    let first = tenants.apply(Command { request, ..command }, stamp(1, NOW));
    assert!(first.is_ok());
    let other = Command { request, ..delete(1, None) };
    assert_eq!(tenants.apply(other, stamp(2, NOW)), Err(Refusal::RequestReused { id }));
    let command = allocate("text", Analyzer::new(), TenantKey::Number(1)).command;
    assert_eq!(tenants.apply(Command { request, ..command }, stamp(3, NOW)), first);
}

fn in_format(format: u32, seq: u64, now_ms: u64) -> Stamp {
    Stamp { format, ..stamp(seq, now_ms) }
}

/// Two tenants, 1 and 2, which remember nothing yet.
fn two_tenants(format: u32) -> Tenants {
    let mut tenants = Tenants::default();
    for name in ["silent", "busy"] {
        tenants.add(Tenant::new(name.into(), Analyzer::new()), in_format(format, 0, NOW));
    }
    tenants
}

/// Applies a deletion of a memory that isn't there, with a request id if it is issued at some time.
fn refused(tenants: &mut Tenants, tenant: u32, issued_ms: Option<u64>, stamp: Stamp) -> Refusal {
    let request = issued_ms.map(|issued_ms| (RequestId::from_parts(issued_ms, stamp.seq.get()), 1000));
    tenants.apply(delete(tenant, request), stamp).unwrap_err()
}

fn hash_of(tenants: &Tenants, tenant: usize) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let Tenant { name, value, .. } = &tenants.all[tenant - 1];
    value.hash_into(name, &mut hasher);
    hasher.digest()
}

/// A thousand requests of tenant 1, one a millisecond; returns the last sequence number and a time
/// at which all are old.
fn thousand(tenants: &mut Tenants, format: u32) -> (u64, u64) {
    for n in 0..1000 {
        let refusal = refused(tenants, 1, Some(NOW + n), in_format(format, n + 1, NOW + n));
        assert_eq!(refusal, Refusal::UnknownId { id: Id::new(1) });
    }
    (1000, NOW + 1000 + AGE_MS_MAX)
}

/// What old logs mean must not change.
#[test]
fn in_format_1_each_command_ages_the_requests_of_the_tenant_whose_turn_it_is() {
    let mut tenants = two_tenants(1);
    let (mut seq, later) = thousand(&mut tenants, 1);
    let mut apply = |tenants: &mut Tenants, tenant, issued_ms| {
        seq += 1;
        refused(tenants, tenant, issued_ms, in_format(1, seq, later))
    };
    tenants.publish_changed(|_, _, _| ());
    apply(&mut tenants, 2, None);
    assert!(!tenants.all[0].requests.is_empty(), "a thousand at once would make everybody wait");
    let mut published = Vec::new();
    tenants.publish_changed(|number, _, value| published.push((number, value.requests_hash)));
    let hash = tenants.all[0].requests.state_hash();
    assert!(published.contains(&(1, hash)), "what was forgotten is in the value's hash");
    for _ in 0..500 {
        apply(&mut tenants, 2, None);
    }
    assert!(tenants.all[0].requests.is_empty() && tenants.deduplication_queue.0.is_empty());
    let horizon_ms = NOW + 999;
    let refusal = apply(&mut tenants, 1, Some(horizon_ms));
    assert!(matches!(refusal, Refusal::RequestExpired { horizon_ms: found, .. } if found == horizon_ms));
    let unknown = Refusal::UnknownId { id: Id::new(1) };
    assert_eq!(apply(&mut tenants, 1, Some(horizon_ms + 1)), unknown);
    assert_eq!(tenants.deduplication_queue.0.len(), 1, "it remembers again");
}

/// Symptom: one tenant's command changed another tenant's hash. Cause: each command aged the
/// requests of whichever tenant's turn it was.
#[test]
fn a_tenants_requests_age_only_by_its_own_commands() {
    let mut tenants = two_tenants(FORMAT);
    let (mut seq, later) = thousand(&mut tenants, FORMAT);
    let mut apply = |tenants: &mut Tenants, tenant, issued_ms| {
        seq += 1;
        refused(tenants, tenant, issued_ms, in_format(FORMAT, seq, later))
    };
    tenants.publish_changed(|_, _, _| ());
    let before = hash_of(&tenants, 1);
    for _ in 0..600 {
        apply(&mut tenants, 2, None);
        apply(&mut tenants, 2, Some(later));
    }
    assert_eq!(hash_of(&tenants, 1), before);
    tenants.publish_changed(|number, _, _| assert_eq!(number, 2));
    // With or without a request id.
    for n in 1..=499 {
        apply(&mut tenants, 1, None);
        assert!(!tenants.all[0].requests.is_empty(), "after {n} commands of its own");
    }
    let horizon_ms = NOW + 999;
    let refusal = apply(&mut tenants, 1, Some(horizon_ms));
    assert!(matches!(refusal, Refusal::RequestExpired { horizon_ms: found, .. } if found == horizon_ms));
    assert!(tenants.all[0].requests.is_empty());
    let hash = tenants.all[0].requests.state_hash();
    tenants.publish_changed(|number, _, value| assert_eq!((number, value.requests_hash), (1, hash)));
}

/// A store goes on with an old log: what is remembered then stays, and ages by the new rule.
#[test]
fn what_was_remembered_in_format_1_ages_by_its_own_commands_after_the_first_of_a_later_format() {
    let mut tenants = two_tenants(1);
    let (seq, later) = thousand(&mut tenants, 1);
    refused(&mut tenants, 2, None, in_format(1, seq + 1, later));
    refused(&mut tenants, 2, None, in_format(FORMAT, seq + 2, later));
    let before = hash_of(&tenants, 1);
    for n in 3..10 {
        refused(&mut tenants, 2, Some(later), in_format(FORMAT, seq + n, later));
    }
    assert_eq!(hash_of(&tenants, 1), before);
    assert!(tenants.deduplication_queue.0.is_empty());
    for n in 10..509 {
        assert!(!tenants.all[0].requests.is_empty());
        refused(&mut tenants, 1, None, in_format(FORMAT, seq + n, later));
    }
    assert!(tenants.all[0].requests.is_empty());
}

/// A step of a history: the tenant, what it does, the request id's number and age in minutes,
/// minutes that pass before.
type Step = (u8, u8, Option<(u64, u64)>, u64);

fn command((tenant, what, request, _): Step, now_ms: u64) -> Command {
    let number = TenantKey::Number(tenant.into());
    let analyzer = Analyzer::new();
    let command = match what {
        0..3 => encoded::<NewMemory>(Allocate::new("text").slug(format!("slug {what}")), analyzer, number),
        3 | 4 => {
            let patch = Patch::new().attribute("n", i64::from(what));
            encoded::<Box<MemoryPatch>>((Id::new(1), None, patch), analyzer, number)
        }
        _ => encoded::<Deletion>(Id::new(u64::from(what) - 4).into(), analyzer, number),
    };
    let Command { tenant, change, .. } = command.command;
    let request = request.map(|(unique, minutes)| Request {
        id: RequestId::from_parts(now_ms - minutes * MINUTE_MS, unique),
        fingerprint: u64::from(what),
        ids_max: 5,
    });
    Command { tenant, request, change }
}

const MINUTE_MS: u64 = 60_000;

/// The hash of each of three tenants after a history; of `only`, only its own commands are applied.
fn hashes(steps: &[Step], format: u32, only: Option<u8>) -> [u64; 3] {
    let mut tenants = Tenants::default();
    for name in ["one", "two", "three"] {
        tenants.add(Tenant::new(name.into(), Analyzer::new()), in_format(format, 0, NOW));
    }
    let mut now_ms = NOW;
    for (seq, step) in (1..).zip(steps) {
        now_ms += step.3 * MINUTE_MS;
        if only.is_none_or(|only| only == step.0) {
            drop(tenants.apply(command(*step, now_ms), in_format(format, seq, now_ms)));
        }
    }
    [1, 2, 3].map(|tenant| hash_of(&tenants, tenant))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let request = prop::option::of((0_u64..20, 0_u64..15));
    prop::collection::vec((1_u8..4, 0_u8..8, request, 0_u64..6), 1..80)
}

proptest! {
    /// Whatever the others do, and when: a tenant's state is that of its own commands alone.
    #[test]
    fn a_tenant_stands_alone(steps in steps()) {
        let all = hashes(&steps, FORMAT, None);
        for tenant in 1..=3_u8 {
            let at = usize::from(tenant) - 1;
            prop_assert_eq!(all[at], hashes(&steps, FORMAT, Some(tenant))[at], "tenant {}", tenant);
        }
    }
}
