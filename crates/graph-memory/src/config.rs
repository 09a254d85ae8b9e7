//! How a store is opened: limits, log, clock, file system, progress.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use steadfast_memory_api::{Limits, Seq};
use steadfast_text_index::Analyzer;
use steadfast_vector_index::{DIMENSIONS_MAX, Metric};

use crate::error::OpenError;
use crate::fs::{FileSystem, RealFileSystem};

/// Tells the time. The log's own clock follows it but never goes back.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
}

/// The operating system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// How the log uses its files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// Bytes that the segment files grow to; 64 MiB. From 64 KiB to 1 GiB. A new store begins with
    /// smaller ones.
    pub segment_bytes: u64,
    /// Segments that a background thread makes ready, zero-filled and synced; 2. It begins when
    /// half of them are used up. More of them let a longer burst of commits have the disk to
    /// itself. With 0 there is no such thread and the committer makes each segment when it needs
    /// it.
    pub segments_ahead: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, segments_ahead: 2 }
    }
}

impl LogConfig {
    /// Segments of `segment_bytes`, `segments_ahead` of them prepared.
    pub fn new(segment_bytes: u64, segments_ahead: usize) -> Self {
        Self { segment_bytes, segments_ahead }
    }
}

/// How far the replay of the log has come while a store is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of log files read so far.
    pub bytes: u64,
    /// Bytes of log files there are.
    pub bytes_total: u64,
    /// The last command replayed.
    pub seq: Seq,
}

/// How to open a store. [`Config::default`] suits most.
///
/// ```
/// use steadfast_graph_memory::{Config, Limits};
///
/// let mut limits = Limits::default();
/// limits.text_bytes = 8 << 10;
/// let config = Config::default().limits(limits).on_progress(|progress| {
///     eprintln!("{} of {} bytes", progress.bytes, progress.bytes_total);
/// });
/// # drop(config);
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) log: LogConfig,
    pub(crate) vector_metric: Metric,
    pub(crate) analyzer: Analyzer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) file_system: Arc<dyn FileSystem>,
    pub(crate) on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            log: LogConfig::default(),
            vector_metric: Metric::Cosine,
            analyzer: Analyzer::new(),
            clock: Arc::new(SystemClock),
            file_system: Arc::new(RealFileSystem),
            on_progress: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("limits", &self.limits)
            .field("log", &self.log)
            .field("vector_metric", &self.vector_metric)
            .field("analyzer", &self.analyzer)
            .field("clock", &self.clock)
            .field("file_system", &self.file_system)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What requests may ask and how much may wait.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How vectors are compared, for tenants that have none yet; by cosine unless set. A tenant's
    /// first vector settles it.
    #[must_use]
    pub fn vector_metric(mut self, metric: Metric) -> Self {
        self.vector_metric = metric;
        self
    }

    /// How text becomes terms, for tenants that come into being from now on; by default each word
    /// is a term. A tenant's first memory settles it, for as long as there is the tenant.
    #[must_use]
    pub fn analyzer(mut self, analyzer: Analyzer) -> Self {
        self.analyzer = analyzer;
        self
    }

    /// How the log uses its files.
    #[must_use]
    pub fn log(mut self, log: LogConfig) -> Self {
        self.log = log;
        self
    }

    /// Another clock than the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another file system than the operating system's.
    #[must_use]
    pub fn file_system(mut self, file_system: Arc<dyn FileSystem>) -> Self {
        self.file_system = file_system;
        self
    }

    /// Called from the opening thread as the log is replayed: after each segment.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Arc::new(on_progress);
        self
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let limits = &self.limits;
        let at_least_one = [
            ("limits.text_bytes", limits.text_bytes),
            ("limits.k", limits.k),
            ("limits.query_bytes", limits.query_bytes),
            ("limits.query_words", limits.query_words),
            ("limits.tenant_bytes", limits.tenant_bytes),
            ("limits.tenants", limits.tenants),
            ("limits.queue_commands", limits.queue_commands),
            ("limits.queue_bytes", limits.queue_bytes),
            ("limits.batch_bytes", limits.batch_bytes),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(OpenError::InvalidConfig { field, detail: "is 0, must be at least 1".into() });
            }
        }
        if !(1..=DIMENSIONS_MAX).contains(&limits.vector_dimensions) {
            let detail = format!("is {}, must be from 1 to {DIMENSIONS_MAX}", limits.vector_dimensions);
            return Err(OpenError::InvalidConfig { field: "limits.vector_dimensions", detail });
        }
        if !(64 << 10..=1 << 30).contains(&self.log.segment_bytes) {
            let detail = format!("is {}, must be from 64 KiB to 1 GiB", self.log.segment_bytes);
            return Err(OpenError::InvalidConfig { field: "log.segment_bytes", detail });
        }
        if self.log.segments_ahead > 1024 {
            let detail = format!("is {}, must be at most 1024", self.log.segments_ahead);
            return Err(OpenError::InvalidConfig { field: "log.segments_ahead", detail });
        }
        Ok(())
    }
}
