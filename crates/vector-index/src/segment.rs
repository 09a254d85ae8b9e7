//! A sealed part of the index: rows that never change, and a graph over them when there are many.

use crate::dead::DeadRows;
use crate::graph::Graph;
use crate::rows::Rows;

/// Rows in the order that suits the search, and how to find a place among them.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) rows: Rows,
    /// Row numbers in ascending order of their places.
    pub(crate) by_place: Vec<u32>,
    pub(crate) graph: Option<Graph>,
}

impl Segment {
    pub(crate) fn new(rows: Rows, graph: Option<Graph>) -> Self {
        let mut by_place: Vec<u32> = (0..rows.len() as u32).collect();
        by_place.sort_unstable_by_key(|&row| rows.place(row as usize));
        Self { rows, by_place, graph }
    }

    pub(crate) fn row_at(&self, place: u64) -> Option<usize> {
        let rank = self.by_place.binary_search_by_key(&place, |&row| self.rows.place(row as usize)).ok()?;
        Some(self.by_place[rank] as usize)
    }

    pub(crate) fn bytes(&self) -> usize {
        let graph = self.graph.as_ref().map_or(0, Graph::bytes);
        self.rows.bytes() + self.by_place.capacity() * size_of::<u32>() + graph
    }
}

/// A segment as one snapshot sees it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) segment: std::sync::Arc<Segment>,
    pub(crate) dead: DeadRows,
}

impl Held {
    pub(crate) fn live(&self) -> usize {
        self.segment.rows.len() - self.dead.count()
    }
}
