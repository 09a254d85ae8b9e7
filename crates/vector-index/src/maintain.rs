//! Sealing and merging: planned from a snapshot, built anywhere, installed by the writer.
//!
//! A full tail becomes a segment. Neighbouring segments of one size tier are merged, `merge_fan` at a time, so a
//! vector is rebuilt about once a tier: the write amplification is the logarithm of the index in tails, to that base.
//! A segment that is a quarter dead is built anew without the dead. Only neighbours are merged, so the places of
//! segments never overlap.

use std::sync::Arc;

use crate::config::Config;
use crate::dead::DeadRows;
use crate::error::StaleBuild;
use crate::graph;
use crate::index::VectorIndex;
use crate::rows::Rows;
use crate::segment::{Held, Segment};
use crate::tail::BLOCK;

/// A segment with this part of its rows dead is built anew: one in four.
const DEAD_PART: usize = 4;

/// What a build reads.
#[derive(Debug)]
enum Source {
    /// Whole blocks of the tail, from this place on.
    Tail { base: u64, blocks: Vec<Arc<Rows>>, dead: DeadRows },
    /// Neighbouring segments.
    Segments(Vec<Held>),
}

/// Work for a background thread. It holds what it reads, so the index may change or go away meanwhile.
#[derive(Debug)]
pub struct Build {
    config: Arc<Config>,
    source: Source,
}

/// A segment that is ready for [`VectorIndex::install`].
#[derive(Debug)]
pub struct Built {
    source: Source,
    /// None when all rows were dead.
    segment: Option<Segment>,
}

impl VectorIndex {
    /// The most useful thing to build now, if any. Planning changes nothing; a plan may be dropped.
    pub fn plan(&self) -> Option<Build> {
        self.plan_seal().or_else(|| self.plan_merge())
    }

    /// Sealing the tail, if it is full.
    ///
    /// A seal and a merge don't make each other stale, so they may be in progress at the same time; two of a kind do.
    pub fn plan_seal(&self) -> Option<Build> {
        self.tail_source().map(|source| self.build_of(source))
    }

    /// Merging segments, or making one anew whose rows are dying.
    pub fn plan_merge(&self) -> Option<Build> {
        self.merge_source().map(|source| self.build_of(source))
    }

    fn build_of(&self, source: Source) -> Build {
        Build { config: Arc::clone(&self.config), source }
    }

    /// Vectors of the tail that could be sealed by now. A writer that adds faster than builds are installed should
    /// wait when this is several times `seal_at`, for each search scans them all.
    pub fn backlog(&self) -> usize {
        if self.tail.packed() >= self.config.seal_at { self.tail.packed() } else { 0 }
    }

    fn tail_source(&self) -> Option<Source> {
        if self.backlog() == 0 {
            return None;
        }
        let (base, blocks, dead) = (self.tail.base(), self.tail.blocks().to_vec(), self.tail.dead.clone());
        Some(Source::Tail { base, blocks, dead })
    }

    fn merge_source(&self) -> Option<Source> {
        let tiers: Vec<u32> = self.segments.iter().map(|held| self.tier(held)).collect();
        for tier in 0..=tiers.iter().copied().max()? {
            let mut at = 0;
            while at < tiers.len() {
                let run = tiers[at..].iter().take_while(|&&found| found <= tier).count();
                if run >= self.config.merge_fan {
                    return Some(Source::Segments(self.segments[at..at + run].to_vec()));
                }
                at += run + 1;
            }
        }
        let dying =
            self.segments.iter().find(|held| held.dead.count() * DEAD_PART >= held.segment.rows.len())?;
        Some(Source::Segments(vec![dying.clone()]))
    }

    /// How many times `merge_fan` larger than a full tail the live part of a segment is, in powers.
    fn tier(&self, held: &Held) -> u32 {
        (held.live() / self.config.seal_at).max(1).ilog(self.config.merge_fan)
    }

    /// Puts a finished build in the place of what it was built from. What was removed meanwhile stays removed.
    ///
    /// # Errors
    /// [`StaleBuild`] when another build from the same rows was installed before; nothing changes.
    pub fn install(&mut self, built: Built) -> Result<(), StaleBuild> {
        let Built { source, segment } = built;
        match source {
            Source::Tail { base, blocks, dead: planned } => {
                let held_blocks = self.tail.blocks();
                let same = base == self.tail.base()
                    && held_blocks.len() >= blocks.len()
                    && held_blocks.iter().zip(&blocks).all(|(held, built)| Arc::ptr_eq(held, built));
                if !same {
                    return Err(StaleBuild);
                }
                let count = blocks.len() * BLOCK;
                let later = self.tail.dead.iter().filter(|&row| row < count && !planned.contains(row));
                let later: Vec<u64> = later.map(|row| base + row as u64).collect();
                self.tail.drop_front(count);
                let at = self.segments.len();
                self.replace(at..at, segment, &later);
            }
            Source::Segments(sources) => {
                let is_first = |held: &Held| Arc::ptr_eq(&held.segment, &sources[0].segment);
                let at = self.segments.iter().position(is_first).ok_or(StaleBuild)?;
                let held = self.segments.get(at..at + sources.len()).ok_or(StaleBuild)?;
                let mut later = Vec::new();
                for (held, planned) in held.iter().zip(&sources) {
                    if !Arc::ptr_eq(&held.segment, &planned.segment) {
                        return Err(StaleBuild);
                    }
                    let rows = held.dead.iter().filter(|&row| !planned.dead.contains(row));
                    later.extend(rows.map(|row| held.segment.rows.place(row)));
                }
                self.replace(at..at + sources.len(), segment, &later);
            }
        }
        Ok(())
    }

    fn replace(&mut self, range: std::ops::Range<usize>, segment: Option<Segment>, dead_places: &[u64]) {
        let held = segment.map(|segment| {
            let mut dead = DeadRows::default();
            for row in dead_places.iter().filter_map(|&place| segment.row_at(place)) {
                dead.insert(row);
            }
            Held { segment: Arc::new(segment), dead }
        });
        Arc::make_mut(&mut self.segments).splice(range, held);
    }
}

impl Source {
    fn is_merge(&self) -> bool {
        matches!(self, Self::Segments(_))
    }
}

impl Built {
    /// Whether it was made from segments, rather than from the tail.
    pub fn is_merge(&self) -> bool {
        self.source.is_merge()
    }
}

impl Build {
    /// Whether it is made from segments, rather than from the tail.
    pub fn is_merge(&self) -> bool {
        self.source.is_merge()
    }

    /// Vectors that will be built from, the dead included: what the work is proportional to.
    pub fn vectors(&self) -> usize {
        match &self.source {
            Source::Tail { blocks, .. } => blocks.len() * BLOCK,
            Source::Segments(held) => held.iter().map(|held| held.segment.rows.len()).sum(),
        }
    }

    /// Does the work: pure computation on `build_threads` threads, this one included.
    pub fn run(self) -> Built {
        let rows = self.live_rows();
        let segment = (rows.len() > 0).then(|| self.seal(rows));
        Built { source: self.source, segment }
    }

    fn seal(&self, rows: Rows) -> Segment {
        if rows.len() < self.config.graph_from {
            return Segment::new(rows, None);
        }
        let (rows, graph) = graph::build(&rows, &self.config);
        Segment::new(rows, Some(graph))
    }

    /// The rows that were live when the build was planned, in the order of their places.
    fn live_rows(&self) -> Rows {
        let mut live = Rows::with_capacity(self.config.dimensions, self.vectors());
        match &self.source {
            Source::Tail { blocks, dead, .. } => {
                for (number, block) in blocks.iter().enumerate() {
                    for row in (0..BLOCK).filter(|row| !dead.contains(number * BLOCK + row)) {
                        live.push_from(block, row);
                    }
                }
            }
            Source::Segments(sources) => {
                for Held { segment, dead } in sources {
                    for row in segment.by_place.iter().map(|&row| row as usize) {
                        if !dead.contains(row) {
                            live.push_from(&segment.rows, row);
                        }
                    }
                }
            }
        }
        live
    }
}
