//! The index as a value: a tail, sealed segments, and what is being built.

use std::fmt;
use std::sync::Arc;

use crate::config::{Config, K_MAX};
use crate::error::{Defect, VectorError};
use crate::graph;
use crate::maintain::InFlight;
use crate::prepared::PreparedVector;
use crate::rows::Query;
use crate::scan::{Filter, Hit, Scan};
use crate::segment::SegmentView;
use crate::tail::Tail;
use crate::verify::{Report, verify};

/// Identifies a vector in an index: the number of vectors that were inserted before it.
///
/// It stays the same when the vector is sealed and merged, and the index never gives it to another
/// vector. Two clones that both insert give the same ids to different vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u64);

impl RowId {
    /// Creates an id from a number that [`get`](Self::get) returned.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The part of the tail that the next seal takes, or that the seal in flight is taking.
///
/// Every search scans it until its segment is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Vectors, removed ones included.
    pub rows: usize,
    /// Bytes of their components and codes.
    pub bytes: usize,
}

/// How much work a search does for its recall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A recall of .95 for queries like the vectors in the index, as measured when a segment is
    /// built.
    Recall95,
    /// A recall of .99, likewise. The default.
    #[default]
    Recall99,
    /// Keeps so many candidates in a walk over a graph, at least `k`.
    Beam(usize),
    /// Uses no graph: the result is that of a scan of all originals, the same on every machine.
    Exact,
}

/// What a search may return, and how much work it does.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Returns only ids for which this is true. It is called for the few vectors that are near
    /// enough, and must not change its result for an id during a search.
    pub filter: Option<&'a dyn Fn(u64) -> bool>,
    /// Returns only these vectors, given in any order; the search is exact. Ids of removed vectors
    /// are ignored.
    pub only: Option<&'a [RowId]>,
    /// How much work the search does.
    pub effort: Effort,
}

/// A vector index, as a value.
///
/// There is one writer at a time, which `&mut` enforces. The next search finds what was inserted.
///
/// # Clones
/// A clone is a snapshot: it costs a few reference counts, shares all data, and changes of one
/// index don't show in the other. Both may be written to.
///
/// A clone has no builds in flight, whatever its original has. So it may plan what the original is
/// building already, and each of them installs only what it planned itself: see
/// [`plan`](Self::plan) and [`install`](Self::install).
///
/// # Examples
/// ```
/// use steadfast_vector_index::{Config, Metric, Options, PreparedVector, VectorIndex};
///
/// let config = Config::new(3, Metric::Cosine);
/// let mut index = VectorIndex::new(config.clone())?;
/// let north = PreparedVector::new(&config, &[0.0, 1.0, 0.0])?;
/// let row = index.insert(7, &north)?;
/// let hits = index.search(&[0.1, 0.9, 0.0], 10, &Options::default())?;
/// assert_eq!(hits[0].id, 7);
/// index.remove(row);
/// assert!(index.is_empty());
/// # Ok::<(), steadfast_vector_index::VectorError>(())
/// ```
pub struct VectorIndex {
    pub(crate) config: Arc<Config>,
    pub(crate) tail: Tail,
    /// By ascending row ids, which don't overlap.
    pub(crate) segments: Arc<Vec<SegmentView>>,
    pub(crate) sealing: Option<InFlight>,
    pub(crate) merging: Option<InFlight>,
}

impl Clone for VectorIndex {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            tail: self.tail.clone(),
            segments: Arc::clone(&self.segments),
            sealing: None,
            merging: None,
        }
    }
}

impl VectorIndex {
    /// Creates an empty index.
    ///
    /// # Errors
    /// [`Config`](VectorError::Config) if a field of `config` is out of its range.
    pub fn new(config: Config) -> Result<Self, VectorError> {
        config.check()?;
        let tail = Tail::new(config.dimensions, 0);
        Ok(Self { config: Arc::new(config), tail, segments: Arc::default(), sealing: None, merging: None })
    }

    /// Returns the configuration that the index was created with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns how many vectors a search can find.
    pub fn len(&self) -> usize {
        self.tail.live() + self.segments.iter().map(SegmentView::live).sum::<usize>()
    }

    /// Returns whether there is no vector to find.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of heap memory that hold the index's rows: the capacity of the tail's and
    /// the segments' arrays, and what is kept of removed vectors. What is shared with clones counts
    /// in full.
    ///
    /// Not counted are a few hundred bytes for each segment and for each of the newest vectors, and
    /// what a [`Build`](crate::Build) in flight holds beside the index.
    pub fn bytes(&self) -> usize {
        self.tail.bytes() + self.segments.iter().map(SegmentView::bytes).sum::<usize>()
    }

    /// Returns how far sealing is behind. A writer that waits while this is large bounds what
    /// searches scan.
    pub fn backlog(&self) -> Backlog {
        Backlog { rows: self.tail.packed(), bytes: self.tail.packed_bytes() }
    }

    /// Returns how many vectors are in the tail, removed ones included: those that every search
    /// scans.
    pub fn unsealed(&self) -> usize {
        self.tail.len()
    }

    /// Inserts a vector under `id` and returns its row id. The next search finds it.
    ///
    /// Ids are the caller's and may repeat: each vector is found by itself.
    ///
    /// # Errors
    /// [`Dimensions`](VectorError::Dimensions) or [`OtherMetric`](VectorError::OtherMetric) if it
    /// was prepared for another index.
    pub fn insert(&mut self, id: u64, vector: &PreparedVector) -> Result<RowId, VectorError> {
        if vector.values().len() != self.config.dimensions {
            let (expected, found) = (self.config.dimensions, vector.values().len());
            return Err(VectorError::Dimensions { expected, found });
        }
        if vector.metric != self.config.metric {
            return Err(VectorError::OtherMetric);
        }
        Ok(RowId(self.tail.push(id, vector)))
    }

    /// Removes the vector `row` and returns whether it was there.
    pub fn remove(&mut self, row: RowId) -> bool {
        if let Some(row) = self.tail.row_at(row.0) {
            return self.tail.dead.insert(row);
        }
        let Some((number, row)) = self.find_sealed(row) else { return false };
        if self.segments[number].dead.contains(row) {
            return false;
        }
        Arc::make_mut(&mut self.segments)[number].dead.insert(row)
    }

    /// Returns the number of the segment that has this row id, and the row there.
    fn find_sealed(&self, row_id: RowId) -> Option<(usize, usize)> {
        let first = |view: &SegmentView| view.segment.rows.row_id(view.segment.by_row_id[0] as usize);
        let number = self.segments.partition_point(|view| first(view) <= row_id.0).checked_sub(1)?;
        let row = self.segments[number].segment.row_at(row_id.0)?;
        Some((number, row))
    }

    /// Returns the best `k` vectors for `query`, best first, equal scores by ascending id.
    ///
    /// Returns fewer only if fewer are live and admitted.
    ///
    /// # Errors
    /// Those of [`PreparedVector::new`], and [`TooManyHits`](VectorError::TooManyHits) for `k`
    /// above [`K_MAX`].
    pub fn search(&self, query: &[f32], k: usize, options: &Options<'_>) -> Result<Vec<Hit>, VectorError> {
        let prepared = PreparedVector::new(&self.config, query)?;
        if k > K_MAX {
            return Err(VectorError::TooManyHits { found: k, limit: K_MAX });
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let query = Query::new(prepared);
        let mut hits = Vec::new();
        if let Some(only) = options.only {
            self.search_only(&query, k, options.filter, only, &mut hits);
            return Ok(hits);
        }
        let mut scan = Scan::new(&query, k, options.filter);
        for (first, rows) in self.tail.parts() {
            scan.add(rows, &self.tail.dead, first);
        }
        for view in self.segments.iter() {
            let graph = view.segment.graph.as_ref();
            let beam = graph.and_then(|graph| graph.beam_for(options.effort, k));
            let found =
                beam.is_some_and(|beam| graph::search(view, &query, k, beam, options.filter, &mut hits));
            if !found {
                scan.add(&view.segment.rows, &view.dead, 0);
            }
        }
        scan.finish(&mut hits);
        Ok(hits)
    }

    fn search_only(&self, query: &Query, k: usize, filter: Filter<'_>, only: &[RowId], hits: &mut Vec<Hit>) {
        let mut row_ids = only.to_vec();
        row_ids.sort_unstable();
        row_ids.dedup();
        let mut scan = Scan::new(query, k, filter);
        for row_id in row_ids {
            if let Some(row) = self.tail.row_at(row_id.0) {
                if !self.tail.dead.contains(row) {
                    let (rows, row) = self.tail.find(row);
                    scan.add_row(rows, row);
                }
            } else if let Some((number, row)) = self.find_sealed(row_id) {
                let view = &self.segments[number];
                if !view.dead.contains(row) {
                    scan.add_row(&view.segment.rows, row);
                }
            }
        }
        scan.finish(hits);
    }

    /// Walks the whole index and checks its invariants: orders and counts, that codes are those of
    /// their originals, and that each vector of a graph can be reached.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn verify(&self) -> Result<Report, Defect> {
        verify(self)
    }
}

impl fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorIndex")
            .field("live", &self.len())
            .field("segments", &self.segments.len())
            .field("unsealed", &self.unsealed())
            .finish_non_exhaustive()
    }
}
