//! HDR interval logs (`.hlog`): what HdrHistogram's own tools and plotters read.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use crate::snapshot::{HistogramSnapshot, Snapshot, Value};

/// Writes histograms of intervals, each a [difference of snapshots](Snapshot::delta), as an HDR interval log.
///
/// Values are in the unit that was recorded, nanoseconds for durations. Each bucket is written as the middle of its values, with three significant digits; extremes that are exact are
/// written as they are.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use steadfast_metrics::{IntervalLog, Registry};
///
/// let registry = Registry::new();
/// let latency = registry.histogram("latency")?;
/// let mut file = Vec::new();
/// let mut log = IntervalLog::begin(&mut file, "an example", SystemTime::now())?;
/// let before = registry.snapshot();
/// latency.record_duration(Duration::from_millis(3));
/// log.write(&registry.snapshot().delta(&before)?)?;
/// assert!(String::from_utf8(file)?.contains("Tag=latency_seconds,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IntervalLog<W: Write> {
    to: W,
    serializer: V2DeflateSerializer,
}

/// Why an interval could not be written.
///
/// ```
/// use std::time::SystemTime;
/// use steadfast_metrics::{IntervalLog, IntervalLogError};
///
/// let nowhere: &mut [u8] = &mut [];
/// let refused = IntervalLog::begin(nowhere, "", SystemTime::now()).err();
/// assert!(matches!(refused, Some(IntervalLogError::Io(_))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum IntervalLogError {
    /// The file could not be written to.
    Io(io::Error),
    /// A histogram could not be packed.
    Packing {
        /// The histogram.
        name: String,
        /// What the library says.
        reason: String,
    },
}

impl IntervalLogError {
    /// Whether the same call may succeed later: only if writing was interrupted.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::Interrupted)
    }
}

impl fmt::Display for IntervalLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => write!(f, "the interval log could not be written"),
            Self::Packing { name, reason } => {
                write!(f, "the histogram `{name}` could not be packed: {reason}")
            }
        }
    }
}

impl std::error::Error for IntervalLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Packing { .. } => None,
        }
    }
}

impl From<io::Error> for IntervalLogError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<W: Write> IntervalLog<W> {
    /// Writes the head of a log; intervals tell their times since the registry's beginning, which was at `base`.
    ///
    /// # Errors
    /// [`IntervalLogError::Io`].
    pub fn begin(mut to: W, comment: &str, base: SystemTime) -> Result<Self, IntervalLogError> {
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        for line in comment.lines() {
            builder.add_comment(line);
        }
        builder.with_base_time(base);
        builder.begin_log_with(&mut to, &mut serializer)?;
        Ok(Self { to, serializer })
    }

    /// Writes all histograms of one interval that hold anything, each with its name and labels as its tag.
    ///
    /// # Errors
    /// [`IntervalLogError`]; lines before the one that failed were written.
    pub fn write(&mut self, interval: &Snapshot) -> Result<(), IntervalLogError> {
        let (start, duration) = (Duration::from_nanos(interval.from_ns), interval.duration());
        for family in &interval.families {
            for series in &family.series {
                let Value::Histogram(histogram) = &series.value else { continue };
                if histogram.count() == 0 {
                    continue;
                }
                let mut tag = family.name.clone();
                for (label, value) in &series.labels {
                    tag.extend([";", label, "=", value]);
                }
                // A tag ends at a comma, and a line at its end.
                let tag = tag.replace([',', ' ', '\r', '\n'], "_");
                self.write_one(&tag, start, duration, histogram)?;
            }
        }
        self.to.flush()?;
        Ok(())
    }

    fn write_one(
        &mut self,
        tag: &str,
        start: Duration,
        duration: Duration,
        histogram: &HistogramSnapshot,
    ) -> Result<(), IntervalLogError> {
        let packing = |reason: &dyn fmt::Display| IntervalLogError::Packing {
            name: tag.to_owned(),
            reason: reason.to_string(),
        };
        let packed = to_hdr(histogram).map_err(|reason| packing(&reason))?;
        let shown = Tag::new(tag).ok_or_else(|| packing(&"its name is no tag"))?;
        // Without anything for a head, the library's writer writes none: it borrows what it writes to, so there is one for each line.
        let mut writer =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.to, &mut self.serializer)?;
        writer.write_histogram(&packed, start, duration, Some(shown)).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => IntervalLogError::Io(error),
            IntervalLogWriterError::SerializeError(error) => packing(&error),
        })
    }
}

/// The same counts in an HDR histogram of three digits.
fn to_hdr(histogram: &HistogramSnapshot) -> Result<Histogram<u64>, String> {
    let mut packed = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
    let mut record = |value, count| packed.record_n(value, count).map_err(|error| error.to_string());
    let mut rest: Vec<(u64, u64, u64)> = histogram.buckets().collect();
    if histogram.are_extremes_exact() {
        // One record of the first bucket and one of the last are known.
        for (at, extreme) in [(0, histogram.min()), (rest.len().saturating_sub(1), histogram.max())] {
            if let (Some((_, _, count @ 1..)), Some(extreme)) = (rest.get_mut(at), extreme) {
                record(extreme, 1)?;
                *count -= 1;
            }
        }
    }
    for (lower, upper, count) in rest {
        record(lower + (upper - lower) / 2, count)?;
    }
    Ok(packed)
}

impl<W: Write> fmt::Debug for IntervalLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalLog").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::{Description, Family, Registry};

    #[test]
    fn what_is_written_is_read_back_by_the_library() {
        let registry = Registry::new();
        let family: Family<crate::Histogram, 1> =
            registry.family(Description::new("took", ""), ["of"]).unwrap();
        let (reads, writes) = (family.with(["read, fast"]), family.with(["write"]));
        let before = registry.snapshot();
        (1..=1000).for_each(|value| reads.record(value * 1000));
        writes.record(77_777);
        let mut file = Vec::new();
        let mut log = IntervalLog::begin(&mut file, "one\ntwo", SystemTime::UNIX_EPOCH).unwrap();
        log.write(&registry.snapshot().delta(&before).unwrap()).unwrap();
        // Nothing came since: no line.
        let now = registry.snapshot();
        log.write(&now.delta(&now).unwrap()).unwrap();

        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&file) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let packed = base64_decoded(interval.encoded_histogram());
                let read: Histogram<u64> = Deserializer::new().deserialize(&mut &*packed).unwrap();
                found.push((interval.tag().unwrap().as_str().to_owned(), read));
            }
        }
        let tags: Vec<&str> = found.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["took_seconds;of=read__fast", "took_seconds;of=write"]);
        let [(_, reads), (_, writes)] = &found[..] else { panic!("two lines") };
        assert_eq!((reads.len(), writes.len()), (1000, 1));
        assert!(writes.equivalent(writes.max(), 77_777) && reads.equivalent(reads.max(), 1_000_000));
        let median = reads.value_at_quantile(0.5) as f64;
        assert!((median / 500_000.0 - 1.0).abs() < 1.0 / 64.0, "{median}");
    }

    /// RFC 4648 without line breaks, which is all that a log has.
    fn base64_decoded(text: &str) -> Vec<u8> {
        let value = |letter: u8| match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut bytes = Vec::new();
        let (mut bits, mut have) = (0_u32, 0);
        for letter in text.bytes().filter(|letter| *letter != b'=') {
            bits = bits << 6 | u32::from(value(letter));
            have += 6;
            if have >= 8 {
                have -= 8;
                bytes.push((bits >> have) as u8);
            }
        }
        bytes
    }
}
