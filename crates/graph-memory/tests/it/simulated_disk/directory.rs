//! One directory's entries: what programs see, what the disk has, and the changes in between.

use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The file of this number.
    File(usize),
    /// The directory of this number.
    Directory(usize),
}

/// Names that get or lose an entry, all at once.
type Change = Vec<(String, Option<Entry>)>;

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    live: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    unsynced: Vec<Change>,
}

impl Directory {
    pub(super) fn live(&self) -> &BTreeMap<String, Entry> {
        &self.live
    }

    /// How many changes are not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    pub(super) fn change(&mut self, change: Change) {
        put(&mut self.live, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            put(&mut self.durable, &change);
        }
    }

    /// Some of the changes reach the disk; the next sync will do the others.
    pub(super) fn sync_fails(&mut self, kept: &[bool]) {
        for (change, kept) in self.unsynced.iter().zip(kept) {
            if *kept {
                put(&mut self.durable, change);
            }
        }
    }

    /// The directory after the power was off.
    pub(super) fn after_power_loss(&self, kept: &[bool]) -> Self {
        let mut after = self.clone();
        after.sync_fails(kept);
        Self { live: after.durable.clone(), durable: after.durable, unsynced: Vec::new() }
    }
}

fn put(entries: &mut BTreeMap<String, Entry>, change: &Change) {
    for (name, entry) in change {
        match entry {
            Some(entry) => entries.insert(name.clone(), *entry),
            None => entries.remove(name),
        };
    }
}
