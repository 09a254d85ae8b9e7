//! The check of everything that must hold in an index.

use crate::error::Defect;
use crate::index::VectorIndex;
use crate::prepared::quantise;
use crate::rows::Rows;
use crate::segment::Held;

/// What a check of an index counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Vectors that a search can find.
    pub live: usize,
    /// Vectors that were removed and are still held.
    pub dead: usize,
    /// Sealed segments.
    pub segments: usize,
    /// How many of these have a graph.
    pub graphs: usize,
    /// Links of all graphs.
    pub links: usize,
    /// Bytes of memory.
    pub bytes: usize,
}

pub(crate) fn verify(index: &VectorIndex) -> Result<Report, Defect> {
    let mut report = Report { bytes: index.bytes(), segments: index.segments.len(), ..Report::default() };
    let mut next = 0;
    for (number, held) in index.segments.iter().enumerate() {
        check_segment(held, &mut next, &mut report).map_err(|what| Defect::new(Some(number), what))?;
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

fn check_segment(held: &Held, next: &mut u64, report: &mut Report) -> Result<(), String> {
    let rows = &held.segment.rows;
    if rows.len() == 0 || held.segment.by_place.len() != rows.len() {
        return Err(format!("{} rows, {} places", rows.len(), held.segment.by_place.len()));
    }
    for &row in &held.segment.by_place {
        let Some(&place) = rows.places().get(row as usize) else {
            return Err(format!("a place for row {row}, past the end"));
        };
        if place < *next {
            return Err(format!("place {place} of row {row} is out of order"));
        }
        *next = place + 1;
    }
    check_codes(rows)?;
    let dead = held.dead.iter().count();
    if dead != held.dead.count() || held.dead.iter().any(|row| row >= rows.len()) {
        return Err(format!("{dead} rows are dead, {} are counted", held.dead.count()));
    }
    if let Some(graph) = &held.segment.graph {
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
        return Err(format!("begins at place {}, the segments reach to {next}", tail.base()));
    }
    let mut live = 0;
    for (first, rows) in tail.parts() {
        check_codes(rows)?;
        for row in 0..rows.len() {
            if rows.place(row) != tail.base() + (first + row) as u64 {
                return Err(format!("row {} says place {}", first + row, rows.place(row)));
            }
            live += usize::from(!tail.dead.contains(first + row));
        }
    }
    report.live += live;
    report.dead += tail.len() - live;
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
