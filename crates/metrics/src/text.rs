//! Text for Prometheus and for OpenMetrics.
//!
//! Base units, `_total` behind counters, cumulative buckets that end with `+Inf`, and for OpenMetrics `# EOF`. What a histogram exposes are the buckets at powers of two, which are bounds of its own
//! buckets; so each cumulative count is exact, and the bounds are the same in each scrape.

use std::fmt::{self, Write};

use crate::snapshot::{FamilySnapshot, HistogramSnapshot, Kind, Series, Snapshot, Value};

/// Which of the two text formats.
///
/// ```
/// use steadfast_metrics::TextFormat;
///
/// assert!(TextFormat::OpenMetrics.content_type().starts_with("application/openmetrics-text"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextFormat {
    /// Prometheus text exposition format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// What to answer as `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Snapshot {
    /// Writes all metrics as text.
    ///
    /// ```
    /// use steadfast_metrics::{Description, Registry, TextFormat};
    ///
    /// let registry = Registry::new();
    /// registry.counter(Description::new("requests", "Requests answered"))?.add(3);
    /// let mut text = String::new();
    /// registry.snapshot().render_to(TextFormat::OpenMetrics, &mut text)?;
    /// assert_eq!(text, "# TYPE requests counter\n# HELP requests Requests answered\nrequests_total 3\n# EOF\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What `to` returns; a `String` returns none.
    pub fn render_to(&self, format: TextFormat, to: &mut impl Write) -> fmt::Result {
        for family in &self.families {
            render_family(family, format, to)?;
        }
        if format == TextFormat::OpenMetrics {
            to.write_str("# EOF\n")?;
        }
        Ok(())
    }

    /// All metrics as text; see [`Snapshot::render_to`].
    pub fn render(&self, format: TextFormat) -> String {
        let mut text = String::new();
        let rendered = self.render_to(format, &mut text);
        debug_assert!(rendered.is_ok(), "a string takes everything");
        text
    }
}

fn render_family(family: &FamilySnapshot, format: TextFormat, to: &mut impl Write) -> fmt::Result {
    let is_open = format == TextFormat::OpenMetrics;
    // OpenMetrics leaves `_total` to the samples.
    let name = if is_open && family.kind == Kind::Counter {
        family.name.strip_suffix("_total").unwrap_or(&family.name)
    } else {
        &family.name
    };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Real => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(to, "# TYPE {name} {kind}")?;
    if let Some(unit) = family.unit.name().filter(|_| is_open) {
        writeln!(to, "# UNIT {name} {unit}")?;
    }
    if !family.help.is_empty() {
        write!(to, "# HELP {name} ")?;
        // Quotes are escaped in a help text by OpenMetrics only.
        escape(&family.help, is_open, to)?;
        to.write_char('\n')?;
    }
    family.series.iter().try_for_each(|series| render_series(family, series, to))
}

fn render_series(family: &FamilySnapshot, series: &Series, to: &mut impl Write) -> fmt::Result {
    let (name, scale) = (family.name.as_str(), family.unit.scale());
    match &series.value {
        // Whole where the unit is what was recorded: a float would round from 2^53 on.
        Value::Counter(count) if scale == 1.0 => sample(name, "", series, None, count, to),
        Value::Counter(count) => sample(name, "", series, None, Number(*count as f64 / scale), to),
        Value::Gauge(level) if scale == 1.0 => sample(name, "", series, None, level, to),
        Value::Gauge(level) => sample(name, "", series, None, Number(*level as f64 / scale), to),
        Value::Real(level) => sample(name, "", series, None, Number(*level), to),
        Value::Histogram(histogram) => {
            render_buckets(family, series, histogram, to)?;
            if scale == 1.0 {
                sample(name, "_sum", series, None, histogram.sum(), to)?;
            } else {
                sample(name, "_sum", series, None, Number(histogram.sum() as f64 / scale), to)?;
            }
            sample(name, "_count", series, None, histogram.count(), to)
        }
    }
}

fn render_buckets(
    family: &FamilySnapshot,
    series: &Series,
    histogram: &HistogramSnapshot,
    to: &mut impl Write,
) -> fmt::Result {
    let (first, last) = family.exposed_powers;
    let last = last.min(histogram.shape().range_power());
    let mut buckets = histogram.buckets().peekable();
    let mut cumulated = 0;
    for power in first..=last {
        let most = u64::MAX.checked_shr(64 - u32::from(power)).unwrap_or(0);
        // A bucket never spans a power of two.
        while let Some((_, _, count)) = buckets.next_if(|(_, upper, _)| *upper <= most) {
            cumulated += count;
        }
        let le = Number(most as f64 / family.unit.scale());
        sample(&family.name, "_bucket", series, Some(le), cumulated, to)?;
    }
    sample(&family.name, "_bucket", series, Some(Number(f64::INFINITY)), histogram.count(), to)
}

fn sample(
    name: &str,
    suffix: &str,
    series: &Series,
    le: Option<Number>,
    value: impl fmt::Display,
    to: &mut impl Write,
) -> fmt::Result {
    write!(to, "{name}{suffix}")?;
    let mut opening = '{';
    for (label, value) in &series.labels {
        write!(to, "{opening}{label}=\"")?;
        escape(value, true, to)?;
        to.write_char('"')?;
        opening = ',';
    }
    if let Some(le) = le {
        write!(to, "{opening}le=\"{le}\"")?;
        opening = ',';
    }
    if opening == ',' {
        to.write_char('}')?;
    }
    writeln!(to, " {value}")
}

fn escape(text: &str, quotes: bool, to: &mut impl Write) -> fmt::Result {
    for letter in text.chars() {
        match letter {
            '\\' => to.write_str("\\\\")?,
            '\n' => to.write_str("\\n")?,
            '"' if quotes => to.write_str("\\\"")?,
            letter => to.write_char(letter)?,
        }
    }
    Ok(())
}

/// A float as both formats spell it.
#[derive(Clone, Copy)]
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number if number.is_nan() => f.write_str("NaN"),
            // Always with a point or an exponent, so that a bound is spelled in one way.
            number => write!(f, "{number:?}"),
        }
    }
}
