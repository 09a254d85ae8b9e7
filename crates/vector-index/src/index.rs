//! The index: a tail and sealed segments, as one value.

use std::sync::Arc;

use crate::config::{Config, K_MAX};
use crate::error::{Defect, VectorError};
use crate::graph;
use crate::prepared::PreparedVector;
use crate::rows::Query;
use crate::scan::{Filter, Hit, Scan};
use crate::segment::Held;
use crate::tail::Tail;

/// Where a vector is in an index: a number that only grows, is never given twice, and survives sealing and merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// How hard a search tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Recall of .95 over vectors like those in the index, as measured when a segment was built.
    Recall95,
    /// Recall of .99, the default.
    #[default]
    Recall99,
    /// This many candidates are kept in a graph, at least `k`.
    Beam(usize),
    /// No graph: the answer is that of a scan of all originals, and the same on every machine.
    Exact,
}

/// What a search may return, and how hard it tries.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Only ids that this admits. It is asked for the few that come close, and must give the same answer for the
    /// whole of a search.
    pub filter: Option<&'a dyn Fn(u64) -> bool>,
    /// Only the vectors at these places, in any order; the search is exact. Places that hold nothing are passed over.
    pub only: Option<&'a [Place]>,
    /// How hard a search tries.
    pub effort: Effort,
}

/// A vector index that is a value: a clone is a snapshot that shares everything with its origin.
///
/// There is one writer at a time, which is what `&mut` says. What was inserted is found by the next search.
///
/// ```
/// use steadfast_vector_index::{Config, Metric, Options, PreparedVector, VectorIndex};
///
/// let config = Config::new(3, Metric::Cosine);
/// let mut index = VectorIndex::new(config.clone())?;
/// let north = PreparedVector::new(&config, &[0.0, 1.0, 0.0])?;
/// let place = index.insert(7, &north)?;
/// let hits = index.search(&[0.1, 0.9, 0.0], 10, &Options::default())?;
/// assert_eq!(hits[0].id, 7);
/// index.remove(place);
/// assert!(index.is_empty());
/// # Ok::<(), steadfast_vector_index::VectorError>(())
/// ```
#[derive(Clone, Debug)]
pub struct VectorIndex {
    pub(crate) config: Arc<Config>,
    pub(crate) tail: Tail,
    /// In ascending order of their places, which don't overlap.
    pub(crate) segments: Arc<Vec<Held>>,
}

impl VectorIndex {
    /// An empty index.
    ///
    /// # Errors
    /// [`Config`](VectorError::Config) when a field of `config` is out of its range.
    pub fn new(config: Config) -> Result<Self, VectorError> {
        config.check()?;
        let tail = Tail::new(config.dimensions, 0);
        Ok(Self { config: Arc::new(config), tail, segments: Arc::default() })
    }

    /// What the index was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Vectors that a search can find.
    pub fn len(&self) -> usize {
        self.tail.live() + self.segments.iter().map(Held::live).sum::<usize>()
    }

    /// Whether there is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that hold the vectors, shared parts counted once.
    pub fn bytes(&self) -> usize {
        let segments = self.segments.iter().map(|held| held.segment.bytes() + held.dead.bytes());
        self.tail.bytes() + segments.sum::<usize>()
    }

    /// Adds a vector and says where it is. Ids are the caller's and may repeat; each vector is found by itself.
    ///
    /// # Errors
    /// [`Dimensions`](VectorError::Dimensions) and [`OtherMetric`](VectorError::OtherMetric) when it was prepared for
    /// another index.
    pub fn insert(&mut self, id: u64, vector: &PreparedVector) -> Result<Place, VectorError> {
        if vector.values().len() != self.config.dimensions {
            let (expected, found) = (self.config.dimensions, vector.values().len());
            return Err(VectorError::Dimensions { expected, found });
        }
        if vector.metric != self.config.metric {
            return Err(VectorError::OtherMetric);
        }
        Ok(Place(self.tail.push(id, vector)))
    }

    /// Removes the vector at `place`; whether there was one.
    pub fn remove(&mut self, place: Place) -> bool {
        if let Some(row) = self.tail.row_at(place.0) {
            return self.tail.dead.insert(row);
        }
        let Some((number, row)) = self.find_sealed(place) else { return false };
        if self.segments[number].dead.contains(row) {
            return false;
        }
        Arc::make_mut(&mut self.segments)[number].dead.insert(row)
    }

    /// The segment that has `place`, and its row there.
    pub(crate) fn find_sealed(&self, place: Place) -> Option<(usize, usize)> {
        let first_place = |held: &Held| {
            let rows = &held.segment.rows;
            rows.place(held.segment.by_place[0] as usize)
        };
        let number = self.segments.partition_point(|held| first_place(held) <= place.0).checked_sub(1)?;
        let row = self.segments[number].segment.row_at(place.0)?;
        Some((number, row))
    }

    /// The best `k` vectors for `query`, best first, equal scores in ascending order of their ids.
    ///
    /// Fewer come back only when fewer are live and admitted.
    ///
    /// # Errors
    /// What [`PreparedVector::new`] refuses, and [`TooManyHits`](VectorError::TooManyHits) for `k` above [`K_MAX`].
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
        for held in self.segments.iter() {
            let graph = held.segment.graph.as_ref();
            let beam = graph.and_then(|graph| graph.beam_for(options.effort, k));
            let found =
                beam.is_some_and(|beam| graph::search(held, &query, k, beam, options.filter, &mut hits));
            if !found {
                scan.add(&held.segment.rows, &held.dead, 0);
            }
        }
        scan.finish(&mut hits);
        Ok(hits)
    }

    fn search_only(&self, query: &Query, k: usize, filter: Filter<'_>, only: &[Place], hits: &mut Vec<Hit>) {
        let mut places = only.to_vec();
        places.sort_unstable();
        places.dedup();
        let mut scan = Scan::new(query, k, filter);
        for place in places {
            if let Some(row) = self.tail.row_at(place.0) {
                if !self.tail.dead.contains(row) {
                    let (rows, row) = self.tail.find(row);
                    scan.add_row(rows, row);
                }
            } else if let Some((number, row)) = self.find_sealed(place) {
                let held = &self.segments[number];
                if !held.dead.contains(row) {
                    scan.add_row(&held.segment.rows, row);
                }
            }
        }
        scan.finish(hits);
    }

    /// Walks the whole index and checks what must hold; see [`Report`](crate::Report) for what was counted.
    ///
    /// # Errors
    /// The first broken invariant that was met.
    pub fn verify(&self) -> Result<crate::Report, Defect> {
        crate::verify::verify(self)
    }
}
