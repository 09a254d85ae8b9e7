//! A sealed part of the index: rows that never change, and a graph over them when there are many.

use crate::dead::DeadRows;
use crate::graph::Graph;
use crate::rows::Rows;

/// Rows in the order that suits the search, and a way to find a row by its id.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) rows: Rows,
    /// Row numbers by ascending row id.
    pub(crate) by_row_id: Vec<u32>,
    pub(crate) graph: Option<Graph>,
}

impl Segment {
    pub(crate) fn new(rows: Rows, graph: Option<Graph>) -> Self {
        let mut by_row_id: Vec<u32> = (0..rows.len() as u32).collect();
        by_row_id.sort_unstable_by_key(|&row| rows.row_id(row as usize));
        Self { rows, by_row_id, graph }
    }

    /// Returns the row with this id, if it is in this segment.
    pub(crate) fn row_at(&self, row_id: u64) -> Option<usize> {
        let rank =
            self.by_row_id.binary_search_by_key(&row_id, |&row| self.rows.row_id(row as usize)).ok()?;
        Some(self.by_row_id[rank] as usize)
    }

    pub(crate) fn bytes(&self) -> usize {
        let graph = self.graph.as_ref().map_or(0, Graph::bytes);
        self.rows.bytes() + self.by_row_id.capacity() * size_of::<u32>() + graph
    }
}

/// A segment as one value sees it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) segment: std::sync::Arc<Segment>,
    pub(crate) dead: DeadRows,
}

impl SegmentView {
    pub(crate) fn live(&self) -> usize {
        self.segment.rows.len() - self.dead.count()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.segment.bytes() + self.dead.bytes()
    }
}
