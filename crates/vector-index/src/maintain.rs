//! Sealing and merging: planned by the writer, built on any thread, installed by the writer.
//!
//! A full tail becomes a segment. Neighbouring segments of one size tier are merged, `merge_fan` at
//! a time, so a vector is rebuilt about once per tier: the write amplification is the logarithm, to
//! that base, of how many tails the index holds. A segment of which a quarter is dead is rebuilt
//! without the dead rows. Only neighbours are merged, so the row ids of segments never overlap.
//!
//! `plan` hands out a [`Build`] and the index keeps an [`InFlight`] for it. Both share a token: the
//! build owns it, the index only observes it. So the index knows whether the build still exists,
//! and `install` whether it planned the build. At most one seal and one merge are in flight, and
//! only installing them removes blocks of the tail or segments: a build that this index planned can
//! always be installed.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::config::Config;
use crate::dead::DeadRows;
use crate::graph;
use crate::index::VectorIndex;
use crate::rows::Rows;
use crate::segment::{Segment, SegmentView};
use crate::tail::BLOCK;

/// A segment is rebuilt when one row in so many is dead.
const DEAD_SHARE: usize = 4;

/// Work for a background thread: [`run`](Self::run) it and [`install`](VectorIndex::install) the
/// result.
///
/// It holds the data that it reads, so the index may change or be dropped meanwhile.
#[must_use = "a build does nothing until it is run and installed"]
pub struct Build {
    config: Arc<Config>,
    sources: Sources,
    token: Arc<()>,
}

/// The result of a [`Build`], ready for [`VectorIndex::install`].
#[must_use = "a result does nothing until it is installed"]
pub struct Built {
    sources: Sources,
    token: Arc<()>,
    /// None when all rows were dead.
    segment: Option<Segment>,
}

/// What a segment is built from, as of the plan.
enum Sources {
    /// Whole blocks of the tail, the first of which starts at the row id `base`.
    Tail { base: u64, blocks: Vec<Arc<Rows>>, dead: DeadRows },
    /// Neighbouring segments.
    Segments(Vec<SegmentView>),
}

/// A build that is not installed yet. It ends when the build is installed or dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    token: Weak<()>,
}

impl InFlight {
    fn is_alive(&self) -> bool {
        self.token.strong_count() > 0
    }

    fn has_token(in_flight: Option<&Self>, token: &Arc<()>) -> bool {
        in_flight.is_some_and(|build| build.token.as_ptr() == Arc::as_ptr(token))
    }
}

impl Sources {
    fn is_merge(&self) -> bool {
        matches!(self, Self::Segments(_))
    }

    fn rows(&self) -> usize {
        match self {
            Self::Tail { blocks, .. } => blocks.len() * BLOCK,
            Self::Segments(views) => views.iter().map(|view| view.segment.rows.len()).sum(),
        }
    }

    /// Returns the rows that were live when the build was planned, by ascending row id.
    fn live_rows(&self, dimensions: usize) -> Rows {
        let mut live = Rows::with_capacity(dimensions, self.rows());
        match self {
            Self::Tail { blocks, dead, .. } => {
                for (number, block) in blocks.iter().enumerate() {
                    for row in (0..BLOCK).filter(|row| !dead.contains(number * BLOCK + row)) {
                        live.push_from(block, row);
                    }
                }
            }
            Self::Segments(views) => {
                for SegmentView { segment, dead } in views {
                    for row in segment.by_row_id.iter().map(|&row| row as usize) {
                        if !dead.contains(row) {
                            live.push_from(&segment.rows, row);
                        }
                    }
                }
            }
        }
        live
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(name);
        fields.field("is_merge", &self.is_merge()).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl Build {
    /// Builds the segment. Pure computation, on [`build_threads`](Config::build_threads) threads
    /// including this one.
    pub fn run(self) -> Built {
        let rows = self.sources.live_rows(self.config.dimensions);
        let segment = (rows.len() > 0).then(|| seal(rows, &self.config));
        Built { sources: self.sources, token: self.token, segment }
    }

    /// Returns true for a merge of segments, false for a seal of the tail.
    pub fn is_merge(&self) -> bool {
        self.sources.is_merge()
    }

    /// Returns how many vectors the build reads, removed ones included: its cost is proportional to
    /// that.
    pub fn rows(&self) -> usize {
        self.sources.rows()
    }
}

fn seal(rows: Rows, config: &Config) -> Segment {
    if rows.len() < config.graph_from {
        return Segment::new(rows, None);
    }
    let (rows, graph) = graph::build(&rows, config);
    Segment::new(rows, Some(graph))
}

impl Built {
    /// Returns true for a merge of segments, false for a seal of the tail.
    pub fn is_merge(&self) -> bool {
        self.sources.is_merge()
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt("Build", f)
    }
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt("Built", f)
    }
}

/// A build that another index planned, perhaps the one that this index was cloned from. Hands the
/// build back.
#[derive(Debug)]
pub struct ForeignBuild {
    built: Box<Built>,
}

impl ForeignBuild {
    /// Returns the build, for the index that planned it.
    pub fn into_built(self) -> Built {
        *self.built
    }
}

impl fmt::Display for ForeignBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another index planned this build")
    }
}

impl std::error::Error for ForeignBuild {}

impl VectorIndex {
    /// Returns the most useful thing to build now, if any: a seal of the full tail, or a merge
    /// of segments.
    ///
    /// The index remembers what it planned: at most one seal and one merge are in flight at a
    /// time, so call this until it returns `None`. A [`Build`] or [`Built`] that is dropped is no
    /// longer in flight, and what it was for is planned again.
    pub fn plan(&mut self) -> Option<Build> {
        self.plan_seal().or_else(|| self.plan_merge())
    }

    fn plan_seal(&mut self) -> Option<Build> {
        if self.sealing.as_ref().is_some_and(InFlight::is_alive) || self.tail.packed() < self.config.seal_at {
            return None;
        }
        let (base, blocks, dead) = (self.tail.base(), self.tail.blocks().to_vec(), self.tail.dead.clone());
        let (build, in_flight) = self.start(Sources::Tail { base, blocks, dead });
        self.sealing = Some(in_flight);
        Some(build)
    }

    fn plan_merge(&mut self) -> Option<Build> {
        if self.merging.as_ref().is_some_and(InFlight::is_alive) {
            return None;
        }
        let views = self.segments[self.merge_candidates()?].to_vec();
        let (build, in_flight) = self.start(Sources::Segments(views));
        self.merging = Some(in_flight);
        Some(build)
    }

    fn start(&self, sources: Sources) -> (Build, InFlight) {
        let token = Arc::new(());
        let in_flight = InFlight { token: Arc::downgrade(&token) };
        (Build { config: Arc::clone(&self.config), sources, token }, in_flight)
    }

    /// Returns which neighbours to merge, if any: a run of at least `merge_fan` segments of one
    /// tier or below, otherwise a segment of which a quarter is dead.
    fn merge_candidates(&self) -> Option<Range<usize>> {
        let tiers: Vec<u32> = self.segments.iter().map(|view| self.tier(view)).collect();
        for tier in 0..=tiers.iter().copied().max()? {
            let mut at = 0;
            while at < tiers.len() {
                let run = tiers[at..].iter().take_while(|&&found| found <= tier).count();
                if run >= self.config.merge_fan {
                    return Some(at..at + run);
                }
                at += run + 1;
            }
        }
        let dying = |view: &SegmentView| view.dead.count() * DEAD_SHARE >= view.segment.rows.len();
        self.segments.iter().position(dying).map(|at| at..at + 1)
    }

    /// Returns the logarithm, to base `merge_fan`, of how many full tails the live part of a
    /// segment makes.
    fn tier(&self, view: &SegmentView) -> u32 {
        (view.live() / self.config.seal_at).max(1).ilog(self.config.merge_fan)
    }

    /// Replaces what was built from by the result. Vectors that were removed meanwhile stay
    /// removed.
    ///
    /// # Errors
    /// [`ForeignBuild`] if this index didn't plan the build; nothing changes. A clone didn't plan
    /// what its original planned, nor the other way round.
    pub fn install(&mut self, built: Built) -> Result<(), ForeignBuild> {
        let in_flight = if built.is_merge() { &self.merging } else { &self.sealing };
        if !InFlight::has_token(in_flight.as_ref(), &built.token) {
            return Err(ForeignBuild { built: Box::new(built) });
        }
        match built.sources {
            Sources::Tail { base, blocks, dead } => self.install_sealed(base, &blocks, &dead, built.segment),
            Sources::Segments(sources) => self.install_merged(&sources, built.segment),
        }
        Ok(())
    }

    fn install_sealed(&mut self, base: u64, blocks: &[Arc<Rows>], dead: &DeadRows, segment: Option<Segment>) {
        let same = |(now, then): (&Arc<Rows>, &Arc<Rows>)| Arc::ptr_eq(now, then);
        assert!(
            base == self.tail.base()
                && self.tail.blocks().len() >= blocks.len()
                && self.tail.blocks().iter().zip(blocks).all(same),
            "nothing removes what is being sealed"
        );
        let count = blocks.len() * BLOCK;
        let since = self.tail.dead.iter().filter(|&row| row < count && !dead.contains(row));
        let since: Vec<u64> = since.map(|row| base + row as u64).collect();
        self.tail.drop_front(count);
        let at = self.segments.len();
        self.replace(at..at, segment, &since);
        self.sealing = None;
    }

    fn install_merged(&mut self, sources: &[SegmentView], segment: Option<Segment>) {
        let is = |view: &SegmentView, source: &SegmentView| Arc::ptr_eq(&view.segment, &source.segment);
        let start =
            self.segments.iter().position(|view| is(view, &sources[0])).unwrap_or(self.segments.len());
        let range = start..start + sources.len();
        let current = &self.segments[range.clone()];
        assert!(
            current.iter().zip(sources).all(|(now, then)| is(now, then)),
            "nothing removes what is being merged"
        );
        let mut since = Vec::new();
        for (now, then) in current.iter().zip(sources) {
            let rows = now.dead.iter().filter(|&row| !then.dead.contains(row));
            since.extend(rows.map(|row| now.segment.rows.row_id(row)));
        }
        self.replace(range, segment, &since);
        self.merging = None;
    }

    /// Puts `segment` in the place of a range of segments; these of its rows are dead.
    fn replace(&mut self, range: Range<usize>, segment: Option<Segment>, dead_ids: &[u64]) {
        let view = segment.map(|segment| {
            let mut dead = DeadRows::default();
            for row in dead_ids.iter().filter_map(|&id| segment.row_at(id)) {
                dead.insert(row);
            }
            SegmentView { segment: Arc::new(segment), dead }
        });
        Arc::make_mut(&mut self.segments).splice(range, view);
    }
}
