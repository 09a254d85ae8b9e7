//! What a store may hold after a crash: a naive model of its tenants, and the set of all models that
//! agree with what the callers were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use steadfast_graph_memory::{GraphMemory, MemoryError, OnSlug, Outcome, Search, View};

use crate::crash::commands::{Change, Command, Fate, TENANTS, Verdict, vector};

/// A memory, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    version: u64,
    slug: Option<String>,
    text: Arc<str>,
    /// The bits of its vector's components; empty if it has none.
    vector: Vec<u32>,
    /// Where in the log this version was written; none where nobody was told.
    seq: Option<u64>,
}

/// The memories of each tenant by id.
pub(crate) type Contents = [BTreeMap<u64, Memory>; TENANTS.len()];

#[derive(Clone, Debug, Default, PartialEq)]
struct Tenant {
    exists: bool,
    created: u64,
    memories: BTreeMap<u64, Memory>,
    /// The requests that were decided, with what was decided.
    requests: BTreeMap<u64, Verdict>,
}

/// All tenants, after some commands in some order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model([Tenant; TENANTS.len()]);

impl Model {
    /// Carries out a command; `seq` is its place, where it is known.
    fn apply(&mut self, command: &Command, seq: Option<u64>) -> Verdict {
        let tenant = &mut self.0[command.tenant];
        tenant.exists |= matches!(command.change, Change::Allocate { .. });
        if !tenant.exists {
            return Verdict::NoTenant;
        }
        if let Some(known) = command.request.and_then(|request| tenant.requests.get(&request)) {
            return known.clone();
        }
        let verdict = tenant.apply(&command.change, seq);
        if let Some(request) = command.request {
            tenant.requests.insert(request, verdict.clone());
        }
        verdict
    }

    fn contents(&self) -> impl Iterator<Item = &BTreeMap<u64, Memory>> {
        self.0.iter().map(|tenant| &tenant.memories)
    }

    fn explains(&self, found: &Contents) -> bool {
        let same = |(expected, found): (&Memory, &Memory)| {
            (expected.seq.is_none() || expected.seq == found.seq)
                && (expected.version, &expected.slug, &expected.text, &expected.vector)
                    == (found.version, &found.slug, &found.text, &found.vector)
        };
        self.contents().zip(found).all(|(expected, found)| {
            expected.keys().eq(found.keys()) && expected.values().zip(found.values()).all(same)
        })
    }
}

impl Tenant {
    fn apply(&mut self, change: &Change, seq: Option<u64>) -> Verdict {
        match change {
            Change::Allocate { text, slug, on_slug } => self.allocate(text, slug.as_ref(), *on_slug, seq),
            Change::Update { id, if_version, text } => match self.expect(*id, *if_version) {
                Err(refused) => refused,
                Ok(memory) => {
                    *memory = Memory {
                        version: memory.version + 1,
                        text: text.clone(),
                        vector: vector(text).map_or_else(|| memory.vector.clone(), |vector| bits(&vector)),
                        seq,
                        slug: memory.slug.take(),
                    };
                    Verdict::Done { id: *id, version: memory.version, outcome: Outcome::Updated }
                }
            },
            Change::Delete { id, if_version } => {
                match self.expect(*id, *if_version).map(|memory| memory.version) {
                    Err(refused) => refused,
                    Ok(version) => {
                        self.memories.remove(id);
                        Verdict::Done { id: *id, version, outcome: Outcome::Deleted }
                    }
                }
            }
        }
    }

    fn allocate(
        &mut self,
        text: &Arc<str>,
        slug: Option<&String>,
        on_slug: OnSlug,
        seq: Option<u64>,
    ) -> Verdict {
        let known =
            slug.and_then(|slug| self.memories.iter().find(|(_, memory)| memory.slug.as_ref() == Some(slug)));
        match (known, on_slug) {
            (Some((id, _)), OnSlug::Refuse) => Verdict::Taken { by: *id },
            (Some((id, memory)), OnSlug::Return) => {
                Verdict::Done { id: *id, version: memory.version, outcome: Outcome::Existing }
            }
            (None, _) => {
                self.created += 1;
                let vector = bits(&vector(text).unwrap_or_default());
                let memory = Memory { version: 1, slug: slug.cloned(), text: text.clone(), vector, seq };
                self.memories.insert(self.created, memory);
                Verdict::Done { id: self.created, version: 1, outcome: Outcome::Created }
            }
        }
    }

    fn expect(&mut self, id: u64, if_version: Option<u64>) -> Result<&mut Memory, Verdict> {
        let memory = self.memories.get_mut(&id).ok_or(Verdict::Missing)?;
        match if_version {
            Some(expected) if expected != memory.version => Err(Verdict::Conflict { found: memory.version }),
            _ => Ok(memory),
        }
    }
}

/// Every state that agrees with all that callers were told and all that was found.
#[derive(Clone, Debug)]
pub(crate) struct Possible(Vec<Model>);

impl Possible {
    /// Nothing was ever done.
    pub(crate) fn empty() -> Self {
        Self(vec![Model::default()])
    }

    /// Takes note of what the only caller at work was told.
    pub(crate) fn learn(&mut self, command: &Command, fate: &Fate) {
        match fate {
            // It is told from what readers see, which lacks what is unknown still.
            Fate::Decided(Verdict::NoTenant, _) => {
                let knows_none = |model: &Model| !model.0[command.tenant].exists;
                assert!(self.0.iter().any(knows_none), "{command:?} found no tenant, but there is one");
            }
            Fate::Decided(verdict, seq) => {
                let before = self.0.clone();
                self.0.retain_mut(|model| model.apply(command, *seq) == *verdict);
                assert!(!self.0.is_empty(), "{command:?} got {verdict:?}, which is wrong after {before:#?}");
            }
            Fate::NotDone(_) => {}
            Fate::Unknown => self.may_have_happened(command),
        }
    }

    /// Takes note of what callers at work at the same time were told, each in its own order.
    ///
    /// What was done happened in the order of the log. What is unknown was in flight when the store failed, so it
    /// happened after all that is known, in any order, if at all.
    pub(crate) fn learn_concurrent(&mut self, histories: &[Vec<(Command, Fate)>]) {
        let all = || histories.iter().flatten();
        let mut done: Vec<_> = all().filter(|(_, fate)| matches!(fate, Fate::Decided(_, Some(_)))).collect();
        done.sort_by_key(|(_, fate)| if let Fate::Decided(_, seq) = fate { *seq } else { None });
        for (command, fate) in done {
            self.learn(command, fate);
        }
        // Where in the order something was refused isn't told; it changed nothing, but a request is remembered.
        for (command, fate) in all() {
            if let (Some(request), Fate::Decided(verdict, None)) = (command.request, fate)
                && *verdict != Verdict::NoTenant
            {
                self.remember(command.tenant, request, verdict);
            }
        }
        let unknown: Vec<_> =
            all().filter(|(_, fate)| matches!(fate, Fate::Unknown)).map(|(command, _)| command).collect();
        let mut after = Vec::new();
        for order in permutations(&unknown) {
            let mut possible = self.clone();
            for command in order {
                possible.may_have_happened(command);
            }
            after.extend(possible.0);
        }
        self.0 = after;
    }

    /// Takes note of what a store holds.
    pub(crate) fn found(&mut self, found: &Contents) {
        let before = self.0.clone();
        self.0.retain(|model| model.explains(found));
        assert!(!self.0.is_empty(), "found {}\n which none of these explains: {}", brief(found), {
            let each =
                before.iter().map(|model| brief(&model.0.each_ref().map(|tenant| tenant.memories.clone())));
            each.collect::<Vec<_>>().join("\n or ")
        });
        let mut distinct: Vec<Model> = Vec::new();
        for model in self.0.drain(..) {
            if !distinct.contains(&model) {
                distinct.push(model);
            }
        }
        self.0 = distinct;
    }

    fn may_have_happened(&mut self, command: &Command) {
        for mut model in self.0.clone() {
            model.apply(command, None);
            self.0.push(model);
        }
    }

    fn remember(&mut self, tenant: usize, request: u64, verdict: &Verdict) {
        for model in &mut self.0 {
            let known = model.0[tenant].requests.entry(request).or_insert_with(|| verdict.clone());
            assert_eq!(known, verdict, "request {request} got two answers");
        }
    }
}

fn permutations<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    for item in items {
        all = all
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, *item);
                    longer
                })
            })
            .collect();
    }
    all
}

/// Contents without the filling of the texts.
fn brief(contents: &Contents) -> String {
    let memory = |(id, memory): (&u64, &Memory)| {
        let tag = memory.text.split(' ').next().unwrap_or_default();
        format!("{id}: version {} at {:?}, slug {:?}, {tag}", memory.version, memory.seq, memory.slug)
    };
    let tenant = |memories: &BTreeMap<_, _>| memories.iter().map(memory).collect::<Vec<_>>().join("; ");
    format!("{:?}", contents.each_ref().map(tenant))
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|component| component.to_bits()).collect()
}

/// Each vector is found at its own place, and nothing is that has none.
fn check_vectors(view: &View, memories: &BTreeMap<u64, Memory>) {
    let with_vector: BTreeMap<u64, &[u32]> = memories
        .iter()
        .filter(|(_, memory)| !memory.vector.is_empty())
        .map(|(id, memory)| (*id, &memory.vector[..]))
        .collect();
    for (id, vector) in &with_vector {
        let vector: Vec<f32> = vector.iter().map(|bits| f32::from_bits(*bits)).collect();
        let search = Search::by_vector(vector).exact().k(with_vector.len());
        let hits = view.search(&search).expect("a vector of the tenant's dimensions").hits;
        let found: BTreeMap<u64, Vec<u32>> =
            hits.iter().map(|hit| (hit.record.id.get(), bits(&hit.record.vector()))).collect();
        assert!(
            found
                .iter()
                .map(|(id, bits)| (id, &bits[..]))
                .eq(with_vector.iter().map(|(id, bits)| (id, *bits)))
        );
        let best = hits[0].score;
        let own = hits.iter().find(|hit| hit.record.id.get() == *id).expect("it is among them");
        assert!(own.score >= best - 1e-6, "memory {id} is {} from its own vector, another {best}", own.score);
    }
}

/// All that a store holds; on the way it is checked that all ways of reading agree.
pub(crate) fn contents(memory: &GraphMemory) -> Contents {
    TENANTS.map(|name| {
        let tenant = memory.tenant(name).expect("the name is acceptable");
        let view = match tenant.view() {
            Ok(view) => view,
            Err(MemoryError::UnknownTenant { .. }) => return BTreeMap::new(),
            Err(error) => panic!("{error}"),
        };
        let mut all = BTreeMap::new();
        for record in view.records() {
            assert_eq!(tenant.get_blocking(record.id).unwrap(), record);
            if let Some(slug) = record.slug() {
                assert_eq!(tenant.get_by_slug_blocking(slug).unwrap(), record);
            }
            let (id, version, seq) = (record.id.get(), record.version.get(), Some(record.seq.get()));
            let (slug, text) = (record.slug().map(str::to_owned), record.text().into());
            all.insert(id, Memory { version, slug, text, vector: bits(&record.vector()), seq });
        }
        assert_eq!(all.len(), view.len());
        view.verify().expect("the indexes hold what the memories say");
        check_vectors(&view, &all);
        if let Some(last) = all.values().last() {
            let tag = last.text.split(' ').next().unwrap_or_default();
            let hits = tenant.search_blocking(Search::new(tag)).unwrap().hits;
            assert!(
                hits.iter().any(|hit| *hit.record.text() == *last.text),
                "{tag:?} is not found by its words"
            );
        }
        all
    })
}
