//! What holds for every kind of command. A kind can't be registered without [`Examples`], and what
//! they show is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};

use steadfast_memory_api::{Allocate, Delete, Id, MemoryError, OnSlug, Patch, Problem, Version};
use steadfast_text_index::Language;

use super::*;
use crate::apply::Tenants;
use crate::refusal::Caller;

/// Requests that show a kind of command. They are carried out in the order of the kinds on
/// [`prepared`] tenants.
pub(super) trait Examples: Operation {
    /// Requests of which each asks for something else, between them with each field of a request in
    /// use. One at least is carried out.
    fn requests() -> Vec<Self::Request>;

    /// Requests that are refused on [`prepared`] tenants under [`tight`] limits, each with the
    /// reason.
    fn refused() -> Vec<(Self::Request, Refusal)>;
}

/// Gets each kind of command from `visit_all`.
pub(super) trait Visit {
    fn kind<O: Examples + Registered>(&mut self, name: &'static str);
}

const NOW_MS: u64 = 1_000_000_000;
const OWN: u32 = 1;

/// Limits that the examples of refusals exceed where only the state shows it.
pub(super) fn tight() -> Limits {
    let mut limits = Limits::default();
    limits.attributes = 2;
    limits.attributes_bytes = 20;
    limits
}

fn context(limits: &Limits) -> Context<'_> {
    Context { limits, metric: Metric::Cosine, analyzer: Analyzer::new() }
}

fn stamp(seq: u64) -> Stamp {
    Stamp { seq: Seq::new(seq), now_ms: NOW_MS + seq, format: crate::log::FORMAT }
}

fn resolve<O: Operation>(request: O::Request, limits: &Limits) -> O {
    O::resolve(request, &context(limits)).expect("examples are valid")
}

/// A tenant, number 1, with memory 1 (slug `Taken`, two attributes, a vector of two dimensions) and
/// memory 2, which was deleted.
pub(super) fn prepared() -> Vec<EncodedCommand> {
    let limits = Limits::default();
    let first =
        Allocate::new("first").slug("Taken").vector([1.0, 2.0]).attribute("a", 1).attribute("b", "text");
    let name = TenantKey::Name { name: "acme".into(), tenants_max: 9, analyzer: Analyzer::new() };
    let own = || TenantKey::Number(OWN);
    vec![
        EncodedCommand::new(Command::new(name, None, resolve::<NewMemory>(first, &limits))),
        EncodedCommand::new(Command::new(
            own(),
            None,
            resolve::<NewMemory>(Allocate::new("second"), &limits),
        )),
        EncodedCommand::new(Command::new(own(), None, resolve::<Deletion>(Id::new(2).into(), &limits))),
    ]
}

fn prepare(tenants: &mut Tenants) -> u64 {
    let commands = prepared();
    let count = commands.len() as u64;
    for (seq, encoded) in (1..).zip(commands) {
        tenants.apply(encoded.command, stamp(seq)).expect("the examples' tenant is made");
    }
    count
}

fn request_id(number: u64) -> RequestId {
    RequestId::from_parts(NOW_MS, number)
}

fn in_words(command: &Command) -> String {
    format!("{:?} {:?}", command.tenant, command.request)
}

#[test]
fn each_command_comes_back_from_the_log_as_it_was() {
    struct RoundTrip;

    impl Visit for RoundTrip {
        fn kind<O: Examples + Registered>(&mut self, name: &'static str) {
            let analyzer = Analyzer::new().with_stop_words(Language::French);
            let tenants: [fn(Analyzer) -> TenantKey; 2] = [
                |_| TenantKey::Number(300),
                |analyzer| TenantKey::Name { name: "acme".into(), tenants_max: 7, analyzer },
            ];
            for tenant in tenants {
                for id in [None, Some((request_id(5), 1 << 16))] {
                    for request in O::requests() {
                        let operation = resolve::<O>(request, &Limits::default());
                        let encoded = EncodedCommand::new(Command::new(tenant(analyzer), id, operation));
                        let bytes = encoded.parts().concat();
                        assert_eq!(bytes.len(), encoded.len(), "{name}");
                        let decoded = Command::decode(&bytes).expect(name);
                        assert_eq!(in_words(&decoded), in_words(&encoded.command), "{name}");
                        assert_eq!(EncodedCommand::new(decoded).parts().concat(), bytes, "{name}");
                    }
                }
            }
        }
    }

    visit_all(&mut RoundTrip);
}

/// The bytes and the fingerprint of each kind as the first build wrote them: logs hold the one and
/// hashes of the state the other.
#[test]
fn bytes_and_fingerprints_are_those_of_the_first_build() {
    fn check<O: Registered>(
        request: O::Request,
        metric: Metric,
        tenant: TenantKey,
        fingerprint: u64,
        bytes: &str,
    ) {
        let limits = Limits::default();
        let id = O::request_id(&request).map(|id| (id, limits.request_ids));
        let context = Context { metric, ..context(&limits) };
        let encoded = EncodedCommand::new(Command::new(tenant, id, O::resolve(request, &context).unwrap()));
        let hex =
            encoded.parts().concat().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(hex, bytes);
        assert_eq!(encoded.command.change.fingerprint(), fingerprint, "{hex}");
    }

    let number = || TenantKey::Number(300);
    let analyzer = Analyzer::new().with_stop_words(Language::French);
    let name = TenantKey::Name { name: "acme".into(), tenants_max: 9, analyzer };
    let id = RequestId::from_parts(1_700_000_000_000, 7);
    let full = || {
        let new =
            Allocate::new("a text").kind("note").slug("Slug").on_slug(OnSlug::Refuse).attribute("n", -1);
        new.attribute("t", "x").importance(0.25).vector([1.0, -2.0]).request_id(id)
    };
    check::<NewMemory>(
        full(),
        Metric::Dot,
        number(),
        0x3654_2632_4389_ea19,
        "08ac021100700068e5cf8b0119070000000000008040014880800450022a380a0661207465787412046e6f74651a04536c75672204\
         736c756732050a016e180132060a01742a01783d0000803e42080000803f000000c0",
    );
    check::<NewMemory>(
        full(),
        Metric::L2,
        name,
        0x3654_2632_4389_ea19,
        "1100700068e5cf8b01190700000000000080220a0a0461636d651009200240014880800450032a380a0661207465787412046e6f74\
         651a04536c75672204736c756732050a016e180132060a01742a01783d0000803e42080000803f000000c0",
    );
    check::<NewMemory>(
        Allocate::new("a text"),
        Metric::Dot,
        number(),
        0x4852_95ac_3b50_1390,
        "08ac022a0d0a066120746578743d0000003f",
    );
    let patch = Patch::new().text("new").kind("k").importance(0.5).vector([0.5]).attribute("b", true);
    let patch = patch.attribute("f", 1.5).remove_attribute("old").request_id(id);
    check::<Box<MemoryPatch>>(
        (Id::new(5), Some(Version::new(2)), patch),
        Metric::L2,
        number(),
        0x7d6d_3948_d790_3426,
        "08ac021100700068e5cf8b011907000000000000803237080510021a036e657722016b2d0000003f32050a01621001320c0a016621\
         000000000000f83f3a036f6c6440404880801052040000003f488080045003",
    );
    check::<Box<MemoryPatch>>(
        (Id::new(5), None, Patch::new().kind("")),
        Metric::L2,
        number(),
        0x11fa_dacc_af72_ff34,
        "08ac02320a08052200404048808010",
    );
    check::<Deletion>(
        Delete::new(Id::new(200)).if_version(Version::new(3)).request_id(id),
        Metric::Cosine,
        number(),
        0x192a_3950_29c8_bf96,
        "08ac021100700068e5cf8b011907000000000000803a0508c801100348808004",
    );
    check::<Deletion>(
        Delete::new(Id::new(200)),
        Metric::Cosine,
        number(),
        0x497f_cde2_6be5_bd37,
        "08ac023a0308c801",
    );
}

#[test]
fn fingerprints_tell_requests_apart_and_ignore_limits() {
    #[derive(Default)]
    struct Fingerprints(BTreeMap<u64, String>);

    impl Visit for Fingerprints {
        fn kind<O: Examples + Registered>(&mut self, name: &'static str) {
            let mut others = Limits::default();
            others.attributes = 99;
            others.attributes_bytes = 9999;
            others.tenants = 1;
            for (at, request) in O::requests().into_iter().enumerate() {
                let what = format!("{name} {at}");
                let fingerprint = resolve::<O>(request, &Limits::default()).fingerprint();
                let again = O::requests().into_iter().nth(at).expect("the same requests each time");
                assert_eq!(resolve::<O>(again, &others).fingerprint(), fingerprint, "{what}");
                if let Some(other) = self.0.insert(fingerprint, what.clone()) {
                    panic!("{what} and {other} have the same fingerprint");
                }
            }
        }
    }

    let mut all = Fingerprints::default();
    visit_all(&mut all);
    assert!(!all.0.is_empty());
}

#[test]
fn a_replay_decides_the_same_and_has_the_same_state() {
    /// Every example, with and without a request id, and again.
    struct History(Vec<EncodedCommand>);

    impl Visit for History {
        fn kind<O: Examples + Registered>(&mut self, _: &'static str) {
            for limits in [Limits::default(), tight()] {
                let refused = O::refused().into_iter().map(|(request, _)| request);
                for request in O::requests().into_iter().chain(refused) {
                    let Ok(operation) = O::resolve(request, &context(&limits)) else { continue };
                    let id = (self.0.len() % 2 == 1).then(|| (request_id(self.0.len() as u64), 4));
                    self.0.push(EncodedCommand::new(Command::new(TenantKey::Number(OWN), id, operation)));
                }
            }
        }
    }

    let mut history = History(prepared());
    visit_all(&mut history);
    visit_all(&mut history);
    let (mut live, mut replayed) = (Tenants::default(), Tenants::default());
    for (seq, encoded) in (1..).zip(history.0) {
        let bytes = encoded.parts().concat();
        let effect = live.apply(encoded.command, stamp(seq));
        let decoded = Command::decode(&bytes).expect("it was encoded a line ago");
        assert_eq!(replayed.apply(decoded, stamp(seq)), effect);
        assert_eq!(replayed.state_hash(), live.state_hash(), "after command {seq}: {effect:?}");
    }
}

/// Each kind is carried out, and its answer has a number that no refusal and no answer of another
/// type has.
#[test]
fn each_command_is_carried_out_and_answers_with_its_own_kind() {
    #[derive(Default)]
    struct Answers(BTreeMap<u8, &'static str>);

    impl Visit for Answers {
        fn kind<O: Examples + Registered>(&mut self, name: &'static str) {
            let mut tenants = Tenants::default();
            let mut seq = prepare(&mut tenants);
            let mut answers = 0;
            for request in O::requests() {
                seq += 1;
                let operation = resolve::<O>(request, &Limits::default());
                let command = Command::new(TenantKey::Number(OWN), None, operation);
                if let Ok(answer) = tenants.apply(command, stamp(seq)) {
                    let (number, _) = answer.stable();
                    let own = O::own_answer(answer).expect(name);
                    assert_eq!(own.stable().0, number, "{name}");
                    let of = std::any::type_name::<O::Answer>();
                    assert_eq!(*self.0.entry(number).or_insert(of), of, "the number {number} is used twice");
                    answers += 1;
                }
            }
            assert!(answers > 0, "no example of {name} is carried out");
        }
    }

    let mut answers = Answers::default();
    visit_all(&mut answers);
    for refusal in refusals() {
        assert!(!answers.0.contains_key(&refusal.stable().0), "{refusal:?}");
    }
}

/// One of each reason. A new reason doesn't compile until it is in this chain.
fn refusals() -> Vec<Refusal> {
    let (id, version, by) = (Id::new(1), Version::new(2), Id::new(3));
    let request = request_id(4);
    let next = |refusal: &Refusal| match refusal {
        Refusal::TooManyTenants { .. } => Some(Refusal::UnknownTenant),
        Refusal::UnknownTenant => Some(Refusal::UnknownId { id }),
        Refusal::UnknownId { .. } => {
            Some(Refusal::VersionConflict { id, expected: version, found: Version::new(5) })
        }
        Refusal::VersionConflict { .. } => Some(Refusal::SlugTaken { by }),
        Refusal::SlugTaken { .. } => Some(Refusal::TooManyAttributes { count: 6, max: 7 }),
        Refusal::TooManyAttributes { .. } => Some(Refusal::AttributesTooLong { bytes: 8, max: 9 }),
        Refusal::AttributesTooLong { .. } => Some(Refusal::WrongDimensions { expected: 10, found: 11 }),
        Refusal::WrongDimensions { .. } => Some(Refusal::ZeroVector),
        Refusal::ZeroVector => Some(Refusal::RequestExpired { id: request, horizon_ms: 12 }),
        Refusal::RequestExpired { .. } => Some(Refusal::RequestFromFuture { id: request, now_ms: 13 }),
        Refusal::RequestFromFuture { .. } => Some(Refusal::RequestReused { id: request }),
        Refusal::RequestReused { .. } => None,
    };
    std::iter::successors(Some(Refusal::TooManyTenants { max: 14 }), next).collect()
}

/// What tells errors apart, whatever the facts in them.
fn sort_of(error: &MemoryError) -> (Discriminant<MemoryError>, Option<(String, Discriminant<Problem>)>) {
    let detail = match error {
        MemoryError::Invalid { field, problem } => Some((field.clone(), discriminant(problem))),
        _ => None,
    };
    (discriminant(error), detail)
}

#[test]
fn each_refusal_has_one_error_and_one_number_of_its_own() {
    let caller = Caller { tenant: "acme", slug: Some("slug") };
    let (mut errors, mut numbers) = (Vec::new(), BTreeSet::new());
    for refusal in refusals() {
        let (number, _) = refusal.stable();
        assert!(numbers.insert(number), "{refusal:?} has the number of another one");
        let error = refusal.clone().into_error(caller);
        assert!(error.is_certain() && !error.is_retryable(), "{refusal:?}: {error}");
        assert!(!errors.contains(&sort_of(&error)), "{refusal:?} has the error of another one: {error}");
        errors.push(sort_of(&error));
    }
}

#[test]
fn each_refusal_is_made_by_a_command() {
    #[derive(Default)]
    struct Refused(BTreeMap<u8, String>);

    impl Visit for Refused {
        fn kind<O: Examples + Registered>(&mut self, name: &'static str) {
            for (request, expected) in O::refused() {
                let mut tenants = Tenants::default();
                let seq = prepare(&mut tenants) + 1;
                let operation = resolve::<O>(request, &tight());
                let command = Command::new(TenantKey::Number(OWN), None, operation);
                assert_eq!(tenants.apply(command, stamp(seq)), Err(expected.clone()), "{name}");
                let mut others = Tenants::default();
                prepare(&mut others);
                others.apply(unknown(OWN, None), stamp(seq)).expect_err("there is no such memory");
                assert_eq!(
                    tenants.state_hash(),
                    others.state_hash(),
                    "{name}: {expected:?} changed something"
                );
                self.0.insert(expected.stable().0, format!("{expected:?}"));
            }
        }
    }

    let mut refused = Refused::default();
    visit_all(&mut refused);
    for (effect, stamp) in refused_by_the_envelope() {
        let refusal = effect.expect_err(&format!("{stamp:?}"));
        refused.0.insert(refusal.stable().0, format!("{refusal:?}"));
    }
    for refusal in refusals() {
        assert!(refused.0.contains_key(&refusal.stable().0), "nothing shows how a command gets {refusal:?}");
    }
}

/// A deletion of a memory that was never there.
fn unknown(tenant: u32, request: Option<(RequestId, usize)>) -> Command {
    let deletion = resolve::<Deletion>(Id::new(99).into(), &Limits::default());
    Command::new(TenantKey::Number(tenant), request, deletion)
}

/// What is refused whatever the command.
fn refused_by_the_envelope() -> Vec<(Effect, Stamp)> {
    let mut tenants = Tenants::default();
    let mut seq = prepare(&mut tenants);
    let mut apply = |command| {
        seq += 1;
        (tenants.apply(command, stamp(seq)), stamp(seq))
    };
    let too_many = TenantKey::Name { name: "other".into(), tenants_max: 1, analyzer: Analyzer::new() };
    let new = resolve::<NewMemory>(Allocate::new("text"), &Limits::default());
    let ids_max = 1;
    let mut refused = vec![
        apply(Command::new(too_many, None, new)),
        apply(unknown(7, None)),
        apply(unknown(OWN, Some((RequestId::from_parts(2 * NOW_MS, 1), ids_max)))),
        apply(unknown(OWN, Some((request_id(1), ids_max)))),
    ];
    let patch = (Id::new(1), None, Patch::new().kind("kind"));
    let other = resolve::<Box<MemoryPatch>>(patch, &Limits::default());
    refused.push(apply(Command::new(TenantKey::Number(OWN), Some((request_id(1), ids_max)), other)));
    // Remembered in place of the first one.
    refused.push(apply(unknown(OWN, Some((RequestId::from_parts(NOW_MS + 1, 2), ids_max)))));
    refused.push(apply(unknown(OWN, Some((request_id(1), ids_max)))));
    refused
}
