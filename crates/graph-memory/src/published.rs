//! What the committer shows to everybody else.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use xxhash_rust::xxh3::Xxh3;

use crate::stats::Counters;
use crate::value::TenantValue;

/// A tenant as readers see it.
#[derive(Debug)]
pub(crate) struct TenantCell {
    pub(crate) number: u32,
    pub(crate) value: ArcSwap<TenantValue>,
}

/// The published state of a store.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// By name.
    pub(crate) tenants: DashMap<Arc<str>, Arc<TenantCell>>,
    /// Set once, when a write to the disk has failed.
    pub(crate) poisoned: OnceLock<String>,
    pub(crate) counters: Counters,
}

impl Published {
    /// Returns a hash of everything that the log determines, over all tenants in the order of their
    /// numbers.
    pub(crate) fn state_hash(&self) -> u64 {
        let entry = |entry: dashmap::mapref::multiple::RefMulti<'_, Arc<str>, Arc<TenantCell>>| {
            (Arc::clone(entry.key()), Arc::clone(entry.value()))
        };
        let mut tenants: Vec<_> = self.tenants.iter().map(entry).collect();
        tenants.sort_by_key(|(_, cell)| cell.number);
        let mut hasher = Xxh3::new();
        for (name, cell) in tenants {
            cell.value.load().hash_into(&name, &mut hasher);
        }
        hasher.digest()
    }
}
