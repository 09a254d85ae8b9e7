//! What the tests of search share: stores, many requests at once, dice, and what a search tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_graph_memory::{
    Allocate, Clock, Config, GraphMemory, Hits, Id, LogConfig, Memory, Patch, Search, Tenant, Verified,
};

/// Nothing here waits nearly as long.
const LONG: Duration = Duration::from_secs(120);

/// A time that tests set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn new(now_ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now_ms)))
    }

    pub(crate) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// With a log that takes little of the disk.
pub(crate) fn small() -> Config {
    Config::default().log(LogConfig::new(4 << 20, 0))
}

pub(crate) fn open(dir: &Path, config: Config) -> GraphMemory {
    GraphMemory::open_blocking(dir, config).unwrap()
}

/// A change that [`change_all`] makes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Allocate(Allocate),
    Update(Id, Patch),
    Delete(Id),
}

/// Makes all changes, many at a time, so in no order; the ids in the order of the changes.
pub(crate) fn change_all(tenant: &Tenant, changes: Vec<Change>) -> Vec<Id> {
    const TASKS: usize = 128;
    let total = changes.len();
    let mut shares: Vec<Vec<(usize, Change)>> = (0..TASKS).map(|_| Vec::new()).collect();
    for (number, change) in changes.into_iter().enumerate() {
        shares[number % TASKS].push((number, change));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut ids = vec![Id::new(0); total];
    runtime.block_on(async {
        let change_share = |share: Vec<(usize, Change)>| {
            let tenant = tenant.clone();
            tokio::spawn(async move {
                let mut ids = Vec::with_capacity(share.len());
                for (number, change) in share {
                    let answer = match change {
                        Change::Allocate(request) => tenant.allocate(request).await,
                        Change::Update(id, patch) => tenant.update(id, None, patch).await,
                        Change::Delete(id) => tenant.delete(id).await,
                    };
                    ids.push((number, answer.unwrap().id));
                }
                ids
            })
        };
        let tasks: Vec<_> = shares.into_iter().map(change_share).collect();
        for task in tasks {
            for (number, id) in task.await.unwrap() {
                ids[number] = id;
            }
        }
    });
    ids
}

pub(crate) fn allocate_all(tenant: &Tenant, requests: impl IntoIterator<Item = Allocate>) -> Vec<Id> {
    change_all(tenant, requests.into_iter().map(Change::Allocate).collect())
}

pub(crate) fn find(tenant: &Tenant, search: &Search) -> Hits {
    tenant.view().unwrap().search(search).unwrap()
}

/// What a search tells, to the bit, but for the place in the log.
pub(crate) fn told(hits: &Hits) -> Vec<(Id, u32)> {
    hits.hits.iter().map(|hit| (hit.record.id, hit.score.to_bits())).collect()
}

pub(crate) fn ids(hits: &Hits) -> Vec<Id> {
    hits.hits.iter().map(|hit| hit.record.id).collect()
}

/// Waits until `done` says so of a check of the tenant's indexes.
pub(crate) fn wait_for(tenant: &Tenant, what: &str, done: impl Fn(&Verified) -> bool) -> Verified {
    let started = Instant::now();
    loop {
        let verified = tenant.view().unwrap().verify().unwrap();
        if done(&verified) {
            return verified;
        }
        assert!(started.elapsed() < LONG, "waited in vain for {what}: {verified:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the builder has nothing to do any more: twice the same in half a second.
pub(crate) fn settle(tenant: &Tenant) -> Verified {
    let started = Instant::now();
    let mut before = None;
    loop {
        let verified = tenant.view().unwrap().verify().unwrap();
        let now = (verified, tenant.view().unwrap().unsealed());
        if before == Some(now) {
            return verified;
        }
        before = Some(now);
        assert!(started.elapsed() < LONG, "the indexes don't settle");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Around 0, mostly within 1 of it.
    pub(crate) fn bell(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() / 2.0
    }
}
