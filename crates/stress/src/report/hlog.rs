//! `.hlog`: one scenario's latencies, window by window, in HdrHistogram's interval log format.
//!
//! The format is that of HdrHistogram's `HistogramLogWriter`: comments, then a line a window with its start, its
//! length, its maximum and the histogram in the compressed second encoding. Tools that read such logs
//! (HistogramLogAnalyzer, `hdrhistogram`'s own iterator) read these. Latencies are in nanoseconds, maxima too. The line
//! of column names is left out: that iterator takes none.
//!
//! A window is written when it closes, so a soak of any length needs the same memory. The file has its name only once
//! it is finished; until then, and for good if the run dies, it has `.tmp` behind it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::record::Latencies;

/// An interval log that is being written.
pub(crate) struct IntervalLog {
    /// Where it will be.
    path: PathBuf,
    /// Where it is until then.
    temporary: PathBuf,
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
}

impl IntervalLog {
    /// Begins a log; `base_time` is the load's start, from which windows count.
    ///
    /// # Errors
    ///
    /// The file can't be made. One that is left of an earlier run is replaced.
    pub(crate) fn create(path: &Path, base_time: SystemTime) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let mut file = BufWriter::new(File::create(&temporary)?);
        let mut serializer = V2DeflateSerializer::new();
        let mut header = IntervalLogWriterBuilder::new();
        header.add_comment("[Latencies of operations that succeeded or timed out, in nanoseconds]");
        header.with_base_time(base_time).with_start_time(base_time);
        header.begin_log_with(&mut file, &mut serializer)?;
        Ok(Self { path: path.to_owned(), temporary, file, serializer })
    }

    /// Adds a window that began `start` after the base time. One without latencies is kept too: it tells that nothing
    /// ended in that time.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn window(
        &mut self,
        start: Duration,
        length: Duration,
        latencies: &Latencies,
    ) -> io::Result<()> {
        // Without headers, beginning writes nothing: the writer only borrows, so it can't be kept in `self`.
        let mut lines =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.file, &mut self.serializer)?;
        lines.write_histogram(latencies.histogram(), start, length, None).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })
    }

    /// Gives the file its name, and tells it.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn finish(self) -> io::Result<PathBuf> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        Ok(self.path)
    }
}

/// The name of a scenario's log in the directory of its run.
pub(crate) fn file_name(scenario: &str, repetition: u32) -> String {
    format!("{scenario}-{repetition}.hlog")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::UNIX_EPOCH;

    const BASE: Duration = Duration::from_millis(1_735_689_600_250);

    fn latencies(ns: impl Iterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        ns.for_each(|ns| latencies.record(Duration::from_nanos(ns)));
        latencies
    }

    /// Standard base64, so that no crate is needed for tests alone.
    fn decode(text: &str) -> Vec<u8> {
        let six = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is no base64"),
        };
        let mut bytes = Vec::new();
        let (mut held, mut bits) = (0_u32, 0);
        for byte in text.bytes().take_while(|byte| *byte != b'=') {
            held = (held << 6 | six(byte)) & 0xFFFF;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits & 0xFF) as u8);
            }
        }
        bytes
    }

    fn written(windows: &[(u64, u64, Latencies)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name("bank.transfers", 2));
        let mut log = IntervalLog::create(&path, UNIX_EPOCH + BASE).unwrap();
        for (start_ms, length_ms, latencies) in windows {
            let ms = Duration::from_millis;
            log.window(ms(*start_ms), ms(*length_ms), latencies).unwrap();
            assert!(!path.exists(), "it has its name only when it is whole");
        }
        assert_eq!(log.finish().unwrap(), path);
        (directory, path)
    }

    #[test]
    fn the_library_reads_back_every_window() {
        let windows = [
            (0, 1_000, latencies((1..=5_000).map(|n| n * 1_000))),
            (1_000, 1_004, latencies(std::iter::empty())),
            (2_004, 250, latencies([1, 7, 3_600_000_000_000].into_iter())),
        ];
        let (directory, path) = written(&windows);
        assert_eq!(path.file_name().unwrap(), "bank.transfers-2.hlog");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing temporary is left");
        let text = fs::read(&path).unwrap();
        let (mut base, mut start, mut read) = (None, None, Vec::new());
        for entry in IntervalLogIterator::new(&text) {
            match entry.unwrap() {
                LogEntry::BaseTime(time) => base = Some(time),
                LogEntry::StartTime(time) => start = Some(time),
                LogEntry::Interval(interval) => {
                    let histogram: Histogram<u64> = Deserializer::new()
                        .deserialize(&mut decode(interval.encoded_histogram()).as_slice())
                        .unwrap();
                    read.push((interval.start_timestamp(), interval.duration(), histogram));
                }
            }
        }
        assert_eq!((base, start), (Some(BASE), Some(BASE)));
        assert_eq!(read.len(), windows.len());
        for ((start_ms, length_ms, latencies), (start, length, histogram)) in windows.iter().zip(&read) {
            assert_eq!(start.as_millis(), u128::from(*start_ms));
            assert_eq!(length.as_millis(), u128::from(*length_ms));
            assert_eq!(histogram, latencies.histogram());
        }
    }

    #[test]
    fn a_log_that_is_not_finished_never_gets_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        drop(IntervalLog::create(&path, UNIX_EPOCH).unwrap());
        assert!(!path.exists());
    }
}
