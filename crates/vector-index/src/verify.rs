//! Checks everything that an index holds: each number against a recount, each order, codes, graphs.

use crate::error::Defect;
use crate::index::VectorIndex;
use crate::prepared::quantise;
use crate::rows::Rows;
use crate::segment::SegmentView;

/// What [`VectorIndex::verify`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Vectors that a search can find.
    pub live: usize,
    /// Vectors that were removed and still take memory.
    pub dead: usize,
    /// Vectors in the tail, removed ones included.
    pub unsealed: usize,
    /// Sealed segments.
    pub segments: usize,
    /// Segments that have a graph.
    pub graphs: usize,
    /// Links of all graphs.
    pub links: usize,
    /// Bytes of memory: see [`VectorIndex::bytes`].
    pub bytes: usize,
}

pub(crate) fn verify(index: &VectorIndex) -> Result<Report, Defect> {
    let mut report = Report { bytes: index.bytes(), segments: index.segments.len(), ..Report::default() };
    let mut next = 0;
    for (number, view) in index.segments.iter().enumerate() {
        check_segment(view, &mut next, &mut report).map_err(|what| Defect::new(Some(number), what))?;
    }
    check_tail(index, next, &mut report).map_err(|what| Defect::new(None, what))?;
    if report.live != index.len() {
        return Err(Defect::new(
            None,
            format!("{} vectors are live, {} are counted", report.live, index.len()),
        ));
    }
    Ok(report)
}

fn check_segment(view: &SegmentView, next: &mut u64, report: &mut Report) -> Result<(), String> {
    let rows = &view.segment.rows;
    if rows.len() == 0 || view.segment.by_row_id.len() != rows.len() {
        return Err(format!("{} rows, {} row ids", rows.len(), view.segment.by_row_id.len()));
    }
    for &row in &view.segment.by_row_id {
        let Some(&row_id) = rows.row_ids().get(row as usize) else {
            return Err(format!("a row id for row {row}, past the end"));
        };
        if row_id < *next {
            return Err(format!("row id {row_id} of row {row} is out of order"));
        }
        *next = row_id + 1;
    }
    check_codes(rows)?;
    let dead = view.dead.iter().count();
    if dead != view.dead.count() || view.dead.iter().any(|row| row >= rows.len()) {
        return Err(format!("{dead} rows are dead, {} are counted", view.dead.count()));
    }
    if let Some(graph) = &view.segment.graph {
        report.links += graph.check(rows.len())?;
        report.graphs += 1;
    }
    report.live += rows.len() - dead;
    report.dead += dead;
    Ok(())
}

fn check_tail(index: &VectorIndex, next: u64, report: &mut Report) -> Result<(), String> {
    let tail = &index.tail;
    if tail.base() < next {
        return Err(format!("begins at row id {}, the segments reach to {next}", tail.base()));
    }
    let mut live = 0;
    for (first, rows) in tail.parts() {
        check_codes(rows)?;
        for row in 0..rows.len() {
            if rows.row_id(row) != tail.base() + (first + row) as u64 {
                return Err(format!("row {} has row id {}", first + row, rows.row_id(row)));
            }
            live += usize::from(!tail.dead.contains(first + row));
        }
    }
    report.live += live;
    report.dead += tail.len() - live;
    report.unsealed = tail.len();
    Ok(())
}

/// Codes are made from the originals alone, so they can be made again.
fn check_codes(rows: &Rows) -> Result<(), String> {
    for row in 0..rows.len() {
        let (codes, measures) = quantise(rows.values(row));
        if *codes != *rows.codes(row) || measures != rows.measures(row) {
            return Err(format!("the codes of row {row} are not those of its original"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
