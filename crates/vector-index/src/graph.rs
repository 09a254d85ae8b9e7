//! A graph over the rows of a segment. A search starts at a few entry points and follows links
//! greedily to better rows.
//!
//! The shape is that of Vamana (Subramanya et al., DiskANN, 2019): one flat graph of bounded
//! degree, whose links are pruned so that some are short and some are long. Entry points are rows,
//! several of them, since a mean is near nothing and clusters may be far apart.
//!
//! Invariants, which `check` verifies: links are in range, no row links to itself or twice to
//! another, and every row can be reached from the entry points. Searches walk through removed rows
//! and don't return them.

use std::cell::RefCell;

use crate::config::Metric;
use crate::index::Effort;
use crate::kernel::{self, Signed, prefetch};
use crate::pages;
use crate::rows::{Query, Rows};
use crate::scan::{Filter, Hit, by_rank};
use crate::segment::SegmentView;

mod beam;
mod build;
mod calibrate;

use beam::Beam;
pub(crate) use build::build;
use calibrate::Calibration;

/// The end of a row's links when there are fewer than `degree`.
const NONE: u32 = u32::MAX;

/// The links of every row, in one array.
#[derive(Clone, Debug)]
struct Links {
    /// Most links of a row.
    degree: usize,
    /// `degree` slots for each row, the unused ones `NONE` at the end.
    all: Vec<u32>,
}

impl Links {
    fn new(degree: usize, rows: usize) -> Self {
        let mut all = pages::with_capacity(degree * rows);
        all.resize(degree * rows, NONE);
        Self { degree, all }
    }

    #[inline]
    fn of(&self, row: usize) -> &[u32] {
        let links = &self.all[row * self.degree..][..self.degree];
        &links[..links.iter().position(|&link| link == NONE).unwrap_or(self.degree)]
    }

    fn set(&mut self, row: usize, links: &[u32]) {
        let slots = &mut self.all[row * self.degree..][..self.degree];
        slots[..links.len()].copy_from_slice(links);
        slots[links.len()..].fill(NONE);
    }

    #[inline]
    fn prefetch(&self, row: usize) {
        for line in (0..self.degree).step_by(16) {
            prefetch(&self.all, row * self.degree + line);
        }
    }
}

/// Links, entry points, and beam widths.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    links: Links,
    entries: Vec<u32>,
    calibration: Calibration,
}

impl Graph {
    pub(crate) fn bytes(&self) -> usize {
        (self.links.all.capacity() + self.entries.capacity()) * size_of::<u32>()
    }

    /// Returns how many candidates to keep for `k` hits; `None` if a scan is cheaper or the effort
    /// requires it.
    pub(crate) fn beam_for(&self, effort: Effort, k: usize) -> Option<usize> {
        let beam = match effort {
            Effort::Exact => return None,
            // A beam as wide as the segment is a slow scan.
            Effort::Beam(beam) => return Some(beam.max(k)).filter(|&beam| beam < self.calibration.rows()),
            Effort::Recall95 => self.calibration.beam95?,
            Effort::Recall99 => self.calibration.beam99?,
        };
        // Hits past those that were measured each need a slot of their own, and some more for
        // doubt.
        let beam = beam + k.saturating_sub(calibrate::K) * 5 / 4;
        self.calibration.is_cheaper(beam).then_some(beam)
    }

    /// Checks the invariants and returns the number of links.
    pub(crate) fn check(&self, rows: usize) -> Result<usize, String> {
        if self.links.all.len() != rows * self.links.degree || self.entries.is_empty() {
            return Err(format!(
                "{} links and {} entries for {rows} rows",
                self.links.all.len(),
                self.entries.len()
            ));
        }
        let out_of_range = |links: &[u32]| links.iter().any(|&link| link as usize >= rows);
        if out_of_range(&self.entries) {
            return Err("an entry point is no row".to_owned());
        }
        let mut count = 0;
        let mut sorted = Vec::new();
        for row in 0..rows {
            sorted.clear();
            sorted.extend_from_slice(self.links.of(row));
            sorted.sort_unstable();
            let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
            if twice || out_of_range(&sorted) || sorted.contains(&(row as u32)) {
                return Err(format!("the links of row {row} are {sorted:?}"));
            }
            count += sorted.len();
        }
        let reached = reachable(&self.links, &self.entries, rows);
        match reached.iter().position(|reached| !reached) {
            None => Ok(count),
            Some(row) => {
                let stranded = reached.iter().filter(|reached| !**reached).count();
                Err(format!("{stranded} rows can't be reached from an entry point, row {row} is the first"))
            }
        }
    }

    /// Plants a defect for a test of `verify`: nothing links to the last row any more.
    #[cfg(test)]
    pub(crate) fn strand_last_row(&mut self, rows: usize) {
        let last = rows as u32 - 1;
        self.entries.retain(|&entry| entry != last);
        for row in 0..rows {
            let kept: Vec<u32> = self.links.of(row).iter().copied().filter(|&link| link != last).collect();
            self.links.set(row, &kept);
        }
    }
}

fn reachable(links: &Links, entries: &[u32], rows: usize) -> Vec<bool> {
    let mut reached = vec![false; rows];
    let mut open = entries.to_vec();
    while let Some(row) = open.pop() {
        if !std::mem::replace(&mut reached[row as usize], true) {
            open.extend(links.of(row as usize).iter().filter(|&&link| !reached[link as usize]));
        }
    }
    reached
}

/// Keys that order rows as the score does, from the products of their codes.
#[derive(Clone, Copy)]
struct Keys<'a> {
    scales: &'a [f32],
    /// Under L2: the factor of a product, and the norms of the rows.
    l2: Option<(f64, &'a [f64])>,
}

impl<'a> Keys<'a> {
    fn new(rows: &'a Rows, query: &Query) -> Self {
        let l2 = (query.metric == Metric::L2).then(|| (query.scale, rows.norms()));
        Self { scales: rows.scales(), l2 }
    }

    #[inline]
    fn key(&self, row: u32, dot: i32) -> f32 {
        let scale = self.scales[row as usize];
        match self.l2 {
            None => dot as f32 * scale,
            Some((factor, norms)) => {
                let norm = norms[row as usize];
                (f64::from(dot) * f64::from(scale) * factor - 0.5 * norm * norm) as f32
            }
        }
    }
}

/// Scratch memory of a search; one per thread, kept between searches.
#[derive(Default)]
struct Scratch {
    beam: Beam,
    /// A bit for each row whose key was computed.
    met: Vec<u64>,
    fresh: Vec<u32>,
    dots: Vec<i32>,
    /// Rows whose links were followed, with their keys; only the build reads it.
    followed: Vec<(f32, u32)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Walks from `entries` until the links of the best `width` rows met are all followed, and
    /// leaves these rows in `beam`. Returns how many keys were computed.
    fn walk(
        &mut self,
        (rows, links, entries): (&Rows, &Links, &[u32]),
        query: &Signed,
        width: usize,
        key: impl Fn(u32, i32) -> f32,
    ) -> usize {
        let words = rows.len().div_ceil(64);
        self.met.clear();
        self.met.resize(words, 0);
        self.beam.reset(width);
        self.followed.clear();
        self.fresh.clear();
        self.fresh.extend_from_slice(entries);
        let mut made = 0;
        for &entry in entries {
            self.met[entry as usize / 64] |= 1 << (entry % 64);
        }
        loop {
            made += self.fresh.len();
            self.dots.resize(self.fresh.len(), 0);
            kernel::dots_of(query, rows.all_codes(), &self.fresh, &mut self.dots);
            for (&row, &dot) in self.fresh.iter().zip(&self.dots) {
                self.beam.show(key(row, dot), row);
            }
            let Some((found, row)) = self.beam.next() else { return made };
            self.followed.push((found, row));
            self.fresh.clear();
            for &link in links.of(row as usize) {
                let (word, bit) = (link as usize / 64, 1 << (link % 64));
                if self.met[word] & bit == 0 {
                    self.met[word] |= bit;
                    rows.prefetch_codes(link as usize);
                    self.fresh.push(link);
                }
            }
            if let Some(row) = self.beam.peek() {
                links.prefetch(row as usize);
            }
        }
    }
}

/// Rows of a segment that a filter is tried on to estimate how many it admits.
const TRIED: usize = 64;

/// Adds the best `k` and some more of a segment to `hits`. Returns false, and leaves `hits` as it
/// is, if a scan is cheaper.
pub(crate) fn search(
    view: &SegmentView,
    query: &Query,
    k: usize,
    beam: usize,
    filter: Filter<'_>,
    hits: &mut Vec<Hit>,
) -> bool {
    let (rows, Some(graph)) = (&view.segment.rows, &view.segment.graph) else { return false };
    let wanted = k.min(view.live());
    let admits = |row: usize| !view.dead.contains(row) && filter.is_none_or(|admits| admits(rows.id(row)));
    let mut width = beam;
    if filter.is_some() || view.dead.count() > 0 {
        let tried = TRIED.min(rows.len());
        let admitted = (0..tried).filter(|at| admits(at * rows.len() / tried)).count();
        width = beam.saturating_mul(tried) / admitted.max(1);
    }
    // Taken, not borrowed: a filter may search, too.
    let mut scratch = SCRATCH.take();
    let keys = Keys::new(rows, query);
    let mut enough = false;
    while !enough && (width <= beam || graph.calibration.is_cheaper(width)) {
        let parts = (rows, &graph.links, &graph.entries[..]);
        scratch.walk(parts, &query.codes, width, |row, dot| keys.key(row, dot));
        let candidates = &mut scratch.fresh;
        candidates.clear();
        let admitted = scratch.beam.rows().filter(|&row| admits(row as usize));
        candidates.extend(admitted.take(to_rank(k)));
        enough = candidates.len() >= wanted;
        width = width.max(beam).saturating_mul(2);
    }
    if enough {
        rank(rows, query, &scratch.fresh, k, hits);
    }
    SCRATCH.set(scratch);
    enough
}

/// Candidates whose originals are compared for `k` hits.
fn to_rank(k: usize) -> usize {
    k + k / 8 + 2
}

fn rank(rows: &Rows, query: &Query, candidates: &[u32], k: usize, hits: &mut Vec<Hit>) {
    let start = hits.len();
    for (at, &row) in candidates.iter().enumerate() {
        if let Some(&next) = candidates.get(at + 2) {
            rows.prefetch_values(next as usize);
        }
        hits.push(Hit { id: rows.id(row as usize), score: rows.score(query, row as usize) });
    }
    hits[start..].sort_unstable_by(by_rank);
    hits.truncate(start + k);
}
