//! Builds a graph over rows: in batches, on any number of threads, with the same result for each
//! number.
//!
//! Rows are linked in batches that grow with the graph (the schedule of ParlayANN, Manohar et al.
//! 2024). Each row of a batch walks the graph as it was before the batch and prunes what it met to
//! its links; then every row that was linked to prunes its own. Both halves only read the graph, so
//! they need no locks, and no order of threads can change it.
//!
//! At the end a repair links to rows that can't be reached, and rows are renumbered so that
//! neighbours are near each other in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::calibrate::calibrate;
use super::{Graph, Links, NONE, Scratch, reachable};
use crate::config::{Config, Metric};
use crate::kernel::{self, Signed};
use crate::rows::Rows;

/// A neighbour is skipped if another one is closer to it than the row is, by this factor.
///
/// DiskANN uses 1.2 squared. In many dimensions the members of a cluster are about equally far
/// from each other: then no neighbour is skipped, a row links only to its own cluster, and the
/// walk never finds the right one (recall .49 on 100 clusters of 1 536 dimensions, .996 with 1).
const ALPHA: f32 = 1.0;

/// Entry points: each search begins with the product of all of them.
const ENTRIES: usize = 64;

/// Rows of a batch at most, as a part of all: one in fifty.
const BATCH_PART: usize = 50;

/// Rows that a thread takes at a time.
const TAKEN: usize = 32;

/// Builds the graph and puts the rows into its order.
pub(crate) fn build(rows: &Rows, config: &Config) -> (Rows, Graph) {
    let space = Space::new(rows, config.metric());
    let order = shuffled(rows.len());
    let entries = order[..ENTRIES.min(rows.len() / 16).max(1)].to_vec();
    let mut builder =
        Builder { rows, space, links: Links::new(config.degree * 3 / 2, rows.len()), entries, config };
    builder.link_all(&order);
    let Builder { links, entries, .. } = builder;
    let (rows, links, entries) = renumber(rows, &links, &entries, config.degree);
    let mut graph = Graph { links, entries, calibration: super::Calibration::default() };
    repair(&mut graph, &rows, config.metric());
    graph.calibration = calibrate(&graph, &rows, config.metric());
    (rows, graph)
}

/// Returns all rows in an order that depends on their number alone.
fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for at in (1..count).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, ((u128::from(state) * (at as u128 + 1)) >> 64) as usize);
    }
    order
}

/// Squared distances between rows, from products of codes. Under the dot product each row gets one
/// more component that makes all norms equal, so that the nearest row is the one with the highest
/// product (Bachrach et al., 2014).
struct Space {
    /// The value of code 1, if the longest row has length one.
    scales: Vec<f32>,
    /// Half the squared norm.
    halves: Vec<f32>,
    /// The added component.
    added: Vec<f32>,
}

impl Space {
    fn new(rows: &Rows, metric: Metric) -> Self {
        let longest = rows.norms().iter().copied().fold(0.0, f64::max);
        let unit = if longest > 0.0 { longest } else { 1.0 };
        let scales = rows.scales().iter().map(|&scale| (f64::from(scale) / unit) as f32).collect();
        let squares = rows.norms().iter().map(|norm| (norm / unit).powi(2));
        let (halves, added) = match metric {
            Metric::Cosine => (vec![0.5; rows.len()], vec![0.0; rows.len()]),
            Metric::L2 => (squares.map(|square| (square / 2.0) as f32).collect(), vec![0.0; rows.len()]),
            Metric::Dot => {
                (vec![0.5; rows.len()], squares.map(|square| (1.0 - square).max(0.0).sqrt() as f32).collect())
            }
        };
        Self { scales, halves, added }
    }

    /// Returns half the squared distance of two rows with this product of codes.
    #[inline]
    fn distance(&self, a: u32, b: u32, dot: i32) -> f32 {
        let (a, b) = (a as usize, b as usize);
        let product = dot as f32 * self.scales[a] * self.scales[b] + self.added[a] * self.added[b];
        (self.halves[a] + self.halves[b] - product).max(0.0)
    }
}

/// Scratch memory of a thread that links rows.
#[derive(Default)]
struct Tools {
    scratch: Scratch,
    row: Signed,
    neighbour: Signed,
    candidates: Vec<(f32, u32)>,
    numbers: Vec<u32>,
    dots: Vec<i32>,
}

struct Builder<'a> {
    rows: &'a Rows,
    space: Space,
    links: Links,
    entries: Vec<u32>,
    config: &'a Config,
}

impl Builder<'_> {
    fn link_all(&mut self, order: &[u32]) {
        let first = self.entries.len();
        let entries = self.entries.clone();
        let links = self.parallel(first, |tools, at| {
            let row = entries[at];
            tools.candidates.clear();
            tools.candidates.extend(entries.iter().filter(|&&other| other != row).map(|&other| (0.0, other)));
            self.measure(tools, row);
            self.prune(tools, row)
        });
        entries.iter().zip(&links).for_each(|(&row, links)| self.links.set(row as usize, links));
        let mut done = first;
        while done < order.len() {
            let most = (order.len() / BATCH_PART).max(256);
            let batch = &order[done..order.len().min(done + done.min(most))];
            self.link_batch(batch);
            done += batch.len();
        }
        self.prune_the_crowded();
    }

    /// Rows were given more links than `degree`, to be pruned less often; now that ends.
    fn prune_the_crowded(&mut self) {
        let count = |row: &u32| self.links.of(*row as usize).len();
        let crowded: Vec<u32> =
            (0..self.rows.len() as u32).filter(|row| count(row) > self.config.degree).collect();
        let pruned = self.parallel(crowded.len(), |tools, at| {
            tools.candidates.clear();
            tools.candidates.extend(self.links.of(crowded[at] as usize).iter().map(|&other| (0.0, other)));
            self.measure(tools, crowded[at]);
            self.prune(tools, crowded[at])
        });
        crowded.iter().zip(&pruned).for_each(|(&row, links)| self.links.set(row as usize, links));
    }

    fn link_batch(&mut self, batch: &[u32]) {
        let links = self.parallel(batch.len(), |tools, at| self.links_for(tools, batch[at]));
        let mut back: Vec<(u32, u32)> = Vec::new();
        for (&row, links) in batch.iter().zip(&links) {
            self.links.set(row as usize, links);
            back.extend(links.iter().map(|&link| (link, row)));
        }
        back.sort_unstable();
        let groups: Vec<&[(u32, u32)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let changed = self.parallel(groups.len(), |tools, at| self.link_back(tools, groups[at]));
        for (group, links) in groups.iter().zip(&changed) {
            self.links.set(group[0].0 as usize, links);
        }
    }

    /// Returns the links of a row that is not in the graph yet.
    fn links_for(&self, tools: &mut Tools, row: u32) -> Vec<u32> {
        tools.row.set(self.rows.codes(row as usize));
        let space = &self.space;
        tools.scratch.walk(
            (self.rows, &self.links, &self.entries),
            &tools.row,
            self.config.build_beam,
            |other, dot| -space.distance(row, other, dot),
        );
        tools.candidates.clear();
        tools.candidates.extend(tools.scratch.followed.iter().map(|&(key, other)| (-key, other)));
        self.prune(tools, row)
    }

    /// Returns the links of a row that others linked to: including them, or the best of all if they
    /// are too many.
    fn link_back(&self, tools: &mut Tools, group: &[(u32, u32)]) -> Vec<u32> {
        let row = group[0].0;
        let held = self.links.of(row as usize);
        let mut links = held.to_vec();
        links.extend(group.iter().map(|&(_, from)| from).filter(|from| !held.contains(from)));
        if links.len() <= self.links.degree {
            return links;
        }
        tools.candidates.clear();
        tools.candidates.extend(links.iter().map(|&other| (0.0, other)));
        self.measure(tools, row);
        self.prune(tools, row)
    }

    /// Computes the distances of the candidates from `row`.
    fn measure(&self, tools: &mut Tools, row: u32) {
        tools.row.set(self.rows.codes(row as usize));
        tools.numbers.clear();
        tools.numbers.extend(tools.candidates.iter().map(|candidate| candidate.1));
        tools.dots.resize(tools.numbers.len(), 0);
        kernel::dots_of(&tools.row, self.rows.all_codes(), &tools.numbers, &mut tools.dots);
        for (candidate, &dot) in tools.candidates.iter_mut().zip(&tools.dots) {
            candidate.0 = self.space.distance(row, candidate.1, dot);
        }
    }

    /// The nearest candidate is linked; those that are much nearer to it than to `row` are reached
    /// through it and passed over; and so on with the nearest that is left.
    fn prune(&self, tools: &mut Tools, row: u32) -> Vec<u32> {
        let Tools { neighbour, candidates, numbers, dots, .. } = tools;
        candidates.retain(|candidate| candidate.1 != row);
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut links = Vec::with_capacity(self.links.degree);
        while links.len() < self.config.degree && !candidates.is_empty() {
            let (_, nearest) = candidates.remove(0);
            links.push(nearest);
            neighbour.set(self.rows.codes(nearest as usize));
            numbers.clear();
            numbers.extend(candidates.iter().map(|candidate| candidate.1));
            dots.resize(numbers.len(), 0);
            kernel::dots_of(neighbour, self.rows.all_codes(), numbers, dots);
            let mut at = 0;
            candidates.retain(|&(distance, other)| {
                at += 1;
                ALPHA * self.space.distance(nearest, other, dots[at - 1]) > distance
            });
        }
        links
    }

    /// Runs `work` for the numbers below `count` on all threads and returns the results in order.
    fn parallel<T: Send>(&self, count: usize, work: impl Fn(&mut Tools, usize) -> T + Sync) -> Vec<T> {
        // Relaxed: the counter only hands out numbers; joining the threads orders their results.
        let dealt = AtomicUsize::new(0);
        let run = || {
            let mut tools = Tools::default();
            let mut results = Vec::new();
            loop {
                let start = dealt.fetch_add(TAKEN, Ordering::Relaxed);
                if start >= count {
                    return results;
                }
                let end = count.min(start + TAKEN);
                results.push((start, (start..end).map(|at| work(&mut tools, at)).collect::<Vec<T>>()));
            }
        };
        let mut parts = thread::scope(|scope| {
            let others: Vec<_> = (1..self.config.build_threads).map(|_| scope.spawn(run)).collect();
            let mut parts = run();
            for other in others {
                match other.join() {
                    Ok(results) => parts.extend(results),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            parts
        });
        parts.sort_unstable_by_key(|part| part.0);
        parts.into_iter().flat_map(|part| part.1).collect()
    }
}

/// Puts rows in the order in which a walk from the entry points meets them, so that neighbours
/// share pages.
fn renumber(rows: &Rows, links: &Links, entries: &[u32], degree: usize) -> (Rows, Links, Vec<u32>) {
    let order = neighbourly(links, entries, rows.len());
    let mut number = vec![NONE; rows.len()];
    order.iter().enumerate().for_each(|(new, &old)| number[old as usize] = new as u32);
    let mut moved = Rows::with_capacity(rows.dimensions, rows.len());
    let mut renamed = Links::new(degree, rows.len());
    for (new, &old) in order.iter().enumerate() {
        moved.push_from(rows, old as usize);
        let links: Vec<u32> = links.of(old as usize).iter().map(|&link| number[link as usize]).collect();
        renamed.set(new, &links);
    }
    (moved, renamed, entries.iter().map(|&entry| number[entry as usize]).collect())
}

fn neighbourly(links: &Links, entries: &[u32], rows: usize) -> Vec<u32> {
    let mut order = Vec::with_capacity(rows);
    let mut met = vec![false; rows];
    let all = 0..rows as u32;
    for start in entries.iter().copied().chain(all) {
        let mut at = order.len();
        if !std::mem::replace(&mut met[start as usize], true) {
            order.push(start);
        }
        while at < order.len() {
            let row = order[at] as usize;
            at += 1;
            for &link in links.of(row) {
                if !std::mem::replace(&mut met[link as usize], true) {
                    order.push(link);
                }
            }
        }
    }
    order
}

/// Links to every row that can't be reached, from the nearest rows that can.
///
/// A link may be replaced when the tree of first visits doesn't use it, so no step strands another
/// row; and as a tree has fewer links than there are slots, there is always one to replace.
fn repair(graph: &mut Graph, rows: &Rows, metric: Metric) {
    let count = rows.len();
    let mut reached = vec![false; count];
    // The row that each was first reached from.
    let mut parent = vec![NONE; count];
    let visit = |links: &Links, reached: &mut Vec<bool>, parent: &mut Vec<u32>, from: u32| {
        reached[from as usize] = true;
        let mut open = vec![from];
        while let Some(row) = open.pop() {
            for &link in links.of(row as usize) {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    parent[link as usize] = row;
                    open.push(link);
                }
            }
        }
    };
    for &entry in &graph.entries.clone() {
        visit(&graph.links, &mut reached, &mut parent, entry);
    }
    let space = Space::new(rows, metric);
    let mut scratch = Scratch::default();
    for row in 0..count as u32 {
        if reached[row as usize] {
            continue;
        }
        let query = Signed::of(rows.codes(row as usize));
        scratch.walk((rows, &graph.links, &graph.entries), &query, 64, |other, dot| {
            -space.distance(row, other, dot)
        });
        let near: Vec<u32> = scratch.beam.rows().collect();
        let any = (0..count as u32).filter(|&other| reached[other as usize]);
        for from in near.into_iter().chain(any) {
            let links = graph.links.of(from as usize);
            let slot = if links.len() < graph.links.degree {
                Some(links.len())
            } else {
                links.iter().rposition(|&link| parent[link as usize] != from)
            };
            if let Some(slot) = slot {
                graph.links.all[from as usize * graph.links.degree + slot] = row;
                parent[row as usize] = from;
                break;
            }
        }
        visit(&graph.links, &mut reached, &mut parent, row);
    }
    debug_assert!(reachable(&graph.links, &graph.entries, count).iter().all(|&reached| reached));
}
