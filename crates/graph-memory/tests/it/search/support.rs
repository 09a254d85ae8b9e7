//! What the tests of search share: stores, many requests at once, and what a search tells.

use std::path::Path;
use std::time::{Duration, Instant};

use steadfast_graph_memory::{
    Allocate, Config, GraphMemory, Hits, Id, LogConfig, Memory, Patch, Search, Tenant, Verified,
};

/// Nothing here waits nearly as long.
const LONG: Duration = Duration::from_secs(120);

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
