//! Golden stores: a small store of each format, with the state hash that it had when it was made.
//!
//! Each later build opens each of them and gets the same state. So a change of what a command does, or of what is on the
//! disk, can't go unnoticed. `tests/it/golden/README.md` says how a new one is made.

mod image;
mod workload;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use steadfast_graph_memory::{Allocate, GraphMemory, Patch};
use workload::{LATER_MS, TENANTS, config};

use crate::clock::StoreClock;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")
}

/// The folders of the golden stores, oldest format first.
fn stores() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden()).unwrap();
    let mut stores: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    stores.sort();
    stores
}

/// The state in words: the hash, and what it is made of as far as a reader can see it.
fn describe(memory: &GraphMemory) -> String {
    let mut all = format!("state_hash {:016x}\n", memory.state_hash());
    for name in TENANTS {
        let view = memory.tenant(name).unwrap().view().unwrap();
        let stats = view.stats();
        writeln!(
            all,
            "tenant {name}: memories {} created {} slugs {} vectors {} seq {}",
            stats.memories, stats.created, stats.slugs, stats.vectors, stats.seq
        )
        .unwrap();
        for record in view.records() {
            writeln!(
                all,
                "  {} version {} created {} updated {} seq {} kind {:?} slug {:?} importance {:?} vector {:?} \
                 attributes {:?} text {:?}",
                record.id,
                record.version,
                record.created_ms,
                record.updated_ms,
                record.seq,
                record.kind(),
                record.slug(),
                record.importance(),
                record.vector(),
                record.attributes().iter().collect::<Vec<_>>(),
                record.text(),
            )
            .unwrap();
        }
    }
    all
}

fn open(dir: &Path) -> GraphMemory {
    GraphMemory::open_blocking(dir, config(StoreClock::at(LATER_MS))).unwrap()
}

#[test]
fn every_golden_store_has_the_state_that_it_had_when_it_was_made() {
    let stores = stores();
    assert!(!stores.is_empty());
    for store in stores {
        let dir = tempfile::tempdir().unwrap();
        image::restore(&store.join("image.txt"), dir.path());
        let expected = std::fs::read_to_string(store.join("state.txt")).unwrap();
        let memory = open(dir.path());
        assert!(memory.recovery().torn_writes.is_empty());
        assert_eq!(describe(&memory), expected, "{}", store.display());
        for name in TENANTS {
            memory.tenant(name).unwrap().view().unwrap().verify().unwrap();
        }
    }
}

/// What this build adds to a store of an older format is replayed to the same state.
#[test]
fn every_golden_store_goes_on() {
    for store in stores() {
        let dir = tempfile::tempdir().unwrap();
        image::restore(&store.join("image.txt"), dir.path());
        let memory = open(dir.path());
        for (nth, name) in (0..).zip(TENANTS) {
            let tenant = memory.tenant(name).unwrap();
            for n in 0..4 {
                let id = workload::request(LATER_MS, 100 * nth + n);
                let new = Allocate::new(format!("later {n}")).slug(format!("later {}", n % 3)).request_id(id);
                let id = tenant.allocate_blocking(new).unwrap().id;
                tenant.update_blocking(id, None, Patch::new().attribute("later", true)).unwrap();
            }
        }
        let before = describe(&memory);
        memory.close_blocking().unwrap();
        let memory = open(dir.path());
        assert_eq!(describe(&memory), before, "{}", store.display());
    }
}

#[test]
#[ignore = "writes a golden store of the present format; run by hand, see tests/it/golden/README.md"]
fn write_a_golden_store() {
    let dir = tempfile::tempdir().unwrap();
    workload::run(dir.path());
    let names = std::fs::read_to_string(dir.path().join("STORE")).unwrap();
    let format = names.lines().find_map(|line| line.strip_prefix("format ")).unwrap();
    let store = golden().join(format!("format-{format}"));
    // Never replaced: its point is that it was made by an earlier build.
    std::fs::create_dir(&store).unwrap();
    image::save(dir.path(), &store.join("image.txt"));
    let memory = open(dir.path());
    std::fs::write(store.join("state.txt"), describe(&memory)).unwrap();
}
