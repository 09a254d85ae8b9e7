//! Levels: what goes up and down.
//!
//! What is in flight is two cells that only grow, **entered** and **left**, each summed over all threads. Whoever leaves may be another thread than the one that
//! entered, so their order matters: [`in_flight`](crate::shards::in_flight) tells how they are read. A level of things in flight is never below 0, and never above what really was.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::local::{CellSpot, Home};
use crate::shards::in_flight;

/// A level in whole numbers: a part that is set, and what is in flight on top of it. Cheap to clone; each clone is the same gauge.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let queued = registry.gauge("queued")?;
/// queued.set(10);
/// queued.add(-3);
/// let request = queued.enter(); // until it is dropped, also by a panic or by a cancelled future
/// assert_eq!(queued.read(), 8);
/// drop(request);
/// assert_eq!(queued.read(), 7);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct Gauge {
    parts: Arc<Parts>,
}

struct Parts {
    level: Arc<AtomicI64>,
    entered: CellSpot,
    left: CellSpot,
}

impl Gauge {
    pub(crate) fn new(home: &Arc<Home>, level: &Arc<AtomicI64>, entered: u32, left: u32) -> Self {
        let (entered, left) = (home.cell(entered), home.cell(left));
        Self { parts: Arc::new(Parts { level: Arc::clone(level), entered, left }) }
    }

    /// Sets the part that isn't in flight. One shared word: wait-free, but threads that set it at once slow each other down.
    pub fn set(&self, level: i64) {
        // Relaxed, here and in `add`: the level claims nothing about other words.
        self.parts.level.store(level, Ordering::Relaxed);
    }

    /// Adds to the part that isn't in flight; wraps around at the ends of `i64`.
    pub fn add(&self, by: i64) {
        self.parts.level.fetch_add(by, Ordering::Relaxed);
    }

    /// One more, until what this returns is dropped. In the calling thread's own memory, as a counter.
    #[inline]
    pub fn enter(&self) -> InFlight {
        self.parts.entered.add(1);
        InFlight { gauge: self.clone() }
    }

    /// The level over all threads. Takes the registry's lock.
    pub fn read(&self) -> i64 {
        self.level_of(self.parts.left.shards().collect(&self.cells(), &[]).cells)
    }

    /// What is to be read for `level_of`, in this order.
    pub(crate) fn cells(&self) -> [u32; 3] {
        let Parts { entered, left, .. } = &*self.parts;
        [left.cell(), entered.cell(), left.cell()]
    }

    pub(crate) fn level_of(&self, cells: Vec<u64>) -> i64 {
        level(&self.parts.level, &mut cells.into_iter())
    }
}

/// The level of what was read: its cells are the next three.
pub(crate) fn level(level: &AtomicI64, cells: &mut impl Iterator<Item = u64>) -> i64 {
    // There are as many as were asked for.
    let [left, entered, left_again] = [(); 3].map(|()| cells.next().unwrap_or(0));
    // Relaxed: as in `Gauge::set`.
    level.load(Ordering::Relaxed).wrapping_add(in_flight(left, entered, left_again))
}

/// Something in flight: counted by a [`Gauge`] until it is dropped, on whichever thread that is.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let active = registry.gauge("active")?;
/// let outcome = std::panic::catch_unwind(|| {
///     let _guard = active.enter();
///     panic!("the request went wrong");
/// });
/// assert!(outcome.is_err());
/// assert_eq!(active.read(), 0);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[must_use = "it is in flight until this is dropped"]
pub struct InFlight {
    gauge: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.parts.left.add_after(1);
    }
}

/// A level in real numbers: a temperature, a ratio. Cheap to clone; each clone is the same gauge.
///
/// ```
/// use steadfast_metrics::Registry;
///
/// let registry = Registry::new();
/// let load = registry.real_gauge("load_ratio")?;
/// load.set(0.5);
/// load.add(0.25);
/// assert_eq!(load.read(), 0.75);
/// # Ok::<(), steadfast_metrics::MetricsError>(())
/// ```
#[derive(Clone)]
pub struct RealGauge {
    bits: Arc<AtomicU64>,
}

impl RealGauge {
    pub(crate) fn new(bits: &Arc<AtomicU64>) -> Self {
        Self { bits: Arc::clone(bits) }
    }

    /// Sets the level; wait-free.
    pub fn set(&self, level: f64) {
        // Relaxed, here and below: the level claims nothing about other words.
        self.bits.store(level.to_bits(), Ordering::Relaxed);
    }

    /// Adds to the level. Lock-free: it tries again if another thread was faster.
    pub fn add(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        // It always has something to store, so it can't fail.
        let _ = self.bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The level.
    pub fn read(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("level", &self.parts.level).finish_non_exhaustive()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}

impl fmt::Debug for RealGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealGauge").field("level", &self.read()).finish()
    }
}
