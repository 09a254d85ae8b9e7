//! Breakers by key: one for each host, model or tenant, made when it is first asked for.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{PoisonError, RwLock};

use crate::breaker::Breaker;
use crate::word::State;

/// Locks that look-ups are spread over. A look-up takes one for reading, and clones the handle.
const SHARDS: usize = 16;

/// Breakers by key.
pub struct Registry<K> {
    make: Box<dyn Fn(&K) -> Breaker + Send + Sync>,
    shards: [RwLock<HashMap<K, Breaker>>; SHARDS],
    hasher: RandomState,
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Registry<K> {
    /// A registry that makes the breaker of a key by `make`. That runs under a lock: it must not ask the registry.
    pub fn new(make: impl Fn(&K) -> Breaker + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), shards: Default::default(), hasher: RandomState::new() }
    }

    fn shard(&self, key: &K) -> &RwLock<HashMap<K, Breaker>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// The breaker of `key`, made if there is none. All who ask get the same one.
    pub fn get(&self, key: &K) -> Breaker {
        let shard = self.shard(key);
        if let Some(breaker) = shard.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return breaker.clone();
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        shard.entry(key.clone()).or_insert_with(|| (self.make)(key)).clone()
    }

    /// Forgets the breakers that know nothing: those that nobody has a handle or a permit of, closed, nothing held, and neither a failure
    /// nor a slow call in their window. Successes are forgotten with them. Gives how many.
    pub fn evict_idle(&self) -> usize {
        let mut evicted = 0;
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            // Handles are made only under the lock, so one that is alone stays so.
            shard.retain(|_, breaker| !is_idle(breaker));
            evicted += before - shard.len();
        }
        evicted
    }

    /// The number of breakers.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn is_idle(breaker: &Breaker) -> bool {
    breaker.is_alone()
        && breaker.state() == State::Closed
        && breaker.window().failures == 0
        && breaker.window().slow == 0
        && breaker.stats().held_nano == 0
}
