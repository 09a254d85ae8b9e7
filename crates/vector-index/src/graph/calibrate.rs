//! Measures, on the segment's own vectors, the beam for a recall and when a scan is cheaper.

use super::{Graph, Keys, Scratch, to_rank};
use crate::config::Metric;
use crate::dead::DeadRows;
use crate::prepared::quantise;
use crate::rows::{Query, Rows};
use crate::scan::{Hit, Scan};

/// Hits of a measured search.
pub(super) const K: usize = 20;

/// Number of measured searches.
const QUERIES: usize = 128;

/// Cost of a key in a walk, in rows of a scan: a walk meets rows in no order and reads their links.
const KEY_COST: usize = 4;

/// The widths that are tried.
const WIDTHS: [usize; 18] = [20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024];

/// The result of a calibration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calibration {
    /// The least width for a recall of .95 and of .99; none if a scan is cheaper.
    pub(super) beam95: Option<usize>,
    pub(super) beam99: Option<usize>,
    /// Keys computed per candidate of the beam.
    keys_per_candidate: f64,
    rows: usize,
}

impl Calibration {
    /// Returns the number of rows of the segment.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns whether a walk of this width costs less than a scan.
    pub(super) fn is_cheaper(&self, width: usize) -> bool {
        self.keys_per_candidate * width as f64 * (KEY_COST as f64) < self.rows as f64
    }
}

/// Measures `graph` with rows that are moved a little, as far as their nearest neighbour is, in any
/// direction.
pub(super) fn calibrate(graph: &Graph, rows: &Rows, metric: Metric) -> Calibration {
    let queries: Vec<(Query, Vec<Hit>)> =
        (0..QUERIES.min(rows.len())).map(|at| near(rows, metric, at)).collect();
    let mut measured = Calibration { rows: rows.len(), ..Calibration::default() };
    let mut scratch = Scratch::default();
    for width in WIDTHS {
        let (mut found, mut wanted, mut keys) = (0, 0, 0);
        for (query, exact) in &queries {
            let key = Keys::new(rows, query);
            let parts = (rows, &graph.links, &graph.entries[..]);
            keys += scratch.walk(parts, &query.codes, width, |row, dot| key.key(row, dot));
            let ids: Vec<u64> =
                scratch.beam.rows().take(to_rank(K)).map(|row| rows.row_id(row as usize)).collect();
            found += exact.iter().filter(|hit| ids.contains(&hit.id)).count();
            wanted += exact.len();
        }
        measured.keys_per_candidate = keys as f64 / (queries.len() * width) as f64;
        if !measured.is_cheaper(width) {
            break;
        }
        let recall = found as f64 / wanted as f64;
        if recall >= 0.955 {
            measured.beam95 = measured.beam95.or(Some(width));
        }
        if recall >= 0.992 {
            measured.beam99 = Some(width);
            break;
        }
    }
    measured
}

/// Returns a query near a row, and its best rows by their row ids.
fn near(rows: &Rows, metric: Metric, number: usize) -> (Query, Vec<Hit>) {
    let row = number * rows.len() / QUERIES.min(rows.len());
    let origin = rows.values(row);
    let nearest = best(rows, &query(metric, origin), 2);
    let other = nearest.iter().map(|hit| hit.id).find(|&row_id| row_id != rows.row_id(row));
    let distance = other.map_or(0.0, |row_id| {
        let other =
            rows.row_ids().iter().position(|&held| held == row_id).map_or(origin, |at| rows.values(at));
        origin.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    });
    let mut state = number as u64 + 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    // The noise has a variance of a third in each component.
    let size = 0.7 * distance * (3.0 / origin.len() as f64).sqrt();
    let mut moved: Vec<f32> =
        origin.iter().map(|&value| (f64::from(value) + noise() * size) as f32).collect();
    if metric == Metric::Cosine {
        let norm = crate::kernel::dot(&moved, &moved).sqrt().max(f64::MIN_POSITIVE);
        for value in &mut moved {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
    for value in &mut moved {
        *value = value.clamp(f32::MIN, f32::MAX);
    }
    let query = query(metric, &moved);
    let exact = best(rows, &query, K);
    (query, exact)
}

fn query(metric: Metric, values: &[f32]) -> Query {
    let (codes, measures) = quantise(values);
    Query::from_parts(metric, values.into(), &codes, measures)
}

/// Returns the best `k` rows, with their row ids, since ids may repeat.
fn best(rows: &Rows, query: &Query, k: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut scan = Scan::of_row_ids(query, k);
    scan.add(rows, &DeadRows::default(), 0);
    scan.finish(&mut hits);
    hits
}
