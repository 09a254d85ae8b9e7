//! What the charts are drawn from: the report's series as JSON, thinned so that a page stays small.
//!
//! Thinning never hides an extreme. Of the windows that share a point, rates are averaged and keep their lowest and
//! highest, and of each percentile the worst is kept. Of samples the highest memory and the busiest moment are kept.

use crate::objective::{Metric, Objective};
use crate::report::{LatencyReport, Report, SampleReport, ScenarioReport, WindowReport};

/// Of all scenarios together, for each series.
const POINTS_ALL: usize = 2_200;
const POINTS_MAX: usize = 900;
const POINTS_MIN: usize = 40;
/// Of a distribution's curve.
const CURVE_MAX: usize = 60;

/// One or more windows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) start_s: f64,
    pub(super) end_s: f64,
    /// Operations a second that the schedule wanted.
    pub(super) offered: Option<f64>,
    /// Operations a second that succeeded: on average, in the worst window and in the best.
    pub(super) achieved: [f64; 3],
    /// Failed and timed out, a second.
    pub(super) bad: f64,
    /// p50, p95, p99, p99.9 and maximum; absent where nothing ended.
    pub(super) latency_ns: Option<[u64; 5]>,
    pub(super) in_flight: u64,
}

/// How many points a series may have, so that the page keeps within its size.
pub(super) fn points_max(scenarios: usize) -> usize {
    (POINTS_ALL / scenarios.max(1)).clamp(POINTS_MIN, POINTS_MAX)
}

/// At most `max` points, in time's order.
pub(super) fn points(scenario: &ScenarioReport, max: usize) -> Vec<Point> {
    let windows = &scenario.windows;
    // A load ends at some moment of its last window. Rates over a sliver say nothing, so it goes to its neighbour.
    let sliver = match windows[..] {
        [.., ref before, ref last] => usize::from(last.length_s < before.length_s / 4.0),
        _ => 0,
    };
    let whole = windows.len() - sliver;
    let each = whole.div_ceil(max.max(1)).max(1);
    let groups = whole.div_ceil(each);
    let one_rate = scenario.load.rate_per_second.filter(|_| scenario.phases.is_empty());
    let group = |place: usize| {
        let end = if place + 1 == groups { windows.len() } else { (place + 1) * each };
        point(&windows[place * each..end], one_rate)
    };
    (0..groups).map(group).collect()
}

fn point(windows: &[WindowReport], one_rate: Option<f64>) -> Point {
    let seconds = |window: &WindowReport| window.length_s.max(1e-6);
    let length: f64 = windows.iter().map(seconds).sum();
    let sum = |count: fn(&WindowReport) -> u64| windows.iter().map(count).sum::<u64>() as f64 / length;
    let whole = windows.iter().map(|window| window.length_s).fold(0.0, f64::max) / 4.0;
    let rates = windows.iter().filter(|window| window.length_s >= whole);
    let rates = rates.map(|window| window.succeeded as f64 / seconds(window));
    let (low, high) = rates.fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
    let mean = sum(|window| window.succeeded);
    let mut latency_ns = None;
    for window in windows.iter().filter(|window| window.succeeded + window.timed_out > 0) {
        let these = [window.p50_ns, window.p95_ns, window.p99_ns, window.p99_9_ns, window.max_ns];
        let worst = latency_ns.get_or_insert(these);
        for (worst, this) in worst.iter_mut().zip(these) {
            *worst = (*worst).max(this);
        }
    }
    let intended: Option<u64> = windows.iter().map(|window| window.intended).sum();
    Point {
        start_s: windows.first().map_or(0.0, |window| window.start_s),
        end_s: windows.last().map_or(0.0, |window| window.start_s + window.length_s),
        offered: intended.map(|count| count as f64 / length).or(one_rate),
        achieved: [mean, low.min(mean), high.max(mean)],
        bad: sum(|window| window.failed + window.timed_out),
        latency_ns,
        in_flight: windows.iter().map(|window| window.in_flight_peak).max().unwrap_or(0),
    }
}

/// All that the script draws, as JSON.
pub(super) fn json(report: &Report) -> String {
    let max = points_max(report.scenarios.len());
    let mut json = Json::default();
    json.list('[', report.scenarios.iter().enumerate(), |json, (place, scenario)| {
        json.text.push('{');
        json.key("id").string(&super::id(place));
        json.key("w");
        windows(json, &points(scenario, max));
        json.key("m");
        samples(json, &scenario.samples, max);
        json.key("ph").list('[', &scenario.phases, |json, phase| {
            json.string(&phase.name);
            json.text.push(',');
            json.number(phase.start_s, 5);
            json.text.push(',');
            json.number(phase.start_s + phase.length_s, 5);
        });
        json.key("mk").list('[', &scenario.marks, |json, mark| {
            json.number(mark.at_s, 5);
            json.text.push(',');
            json.string(&mark.label);
        });
        json.key("rs");
        curve(json, scenario.response_time.as_ref());
        json.key("sv");
        curve(json, Some(&scenario.service_time));
        json.key("tg").list('[', &targets(scenario), |json, (percent, bound, held)| {
            json.number(*percent, 6);
            json.text.push(',');
            json.number(*bound, 4);
            json.text.push_str(if *held { ",1" } else { ",0" });
        });
        json.text.push('}');
    });
    json.text
}

fn windows(json: &mut Json, points: &[Point]) {
    json.text.push('{');
    json.series("t", points, 5, |point| Some(point.start_s));
    // Where one ends the next begins.
    json.key("end").number(points.last().map_or(0.0, |point| point.end_s), 6);
    json.series("of", points, 3, |point| point.offered);
    json.series("ok", points, 3, |point| Some(point.achieved[0]));
    // Where each point is one window, its lowest and highest say nothing new.
    if points.iter().any(|point| point.achieved[1] != point.achieved[2]) {
        json.series("lo", points, 3, |point| Some(point.achieved[1]));
        json.series("hi", points, 3, |point| Some(point.achieved[2]));
    }
    json.series("er", points, 3, |point| Some(point.bad));
    for (place, name) in ["p50", "p95", "p99", "p999", "max"].into_iter().enumerate() {
        json.series(name, points, 3, |point| Some(point.latency_ns?[place] as f64));
    }
    json.series("fl", points, 4, |point| Some(point.in_flight as f64));
    json.text.push('}');
}

fn samples(json: &mut Json, samples: &[SampleReport], max: usize) {
    let each = samples.len().div_ceil(max).max(1);
    let kept: Vec<SampleReport> = samples.chunks(each).map(busiest).collect();
    let processor = |sample: &SampleReport, share: fn(&crate::report::ProcessorReport) -> f64| {
        // Per mille, whole.
        sample.processors.as_ref().map(|it| (share(it) * 1e3).round())
    };
    json.text.push('{');
    json.series("t", &kept, 5, |sample| Some(sample.at_s));
    json.series("rss", &kept, 4, |sample| sample.rss_bytes.map(|bytes| bytes as f64));
    json.series("lv", &kept, 4, |sample| sample.live_bytes.map(|bytes| bytes as f64));
    json.series("ow", &kept, 4, |sample| processor(sample, |it| it.own));
    json.series("ot", &kept, 4, |sample| processor(sample, |it| it.others));
    json.series("st", &kept, 4, |sample| processor(sample, |it| it.stolen));
    json.series("th", &kept, 4, |sample| sample.threads.map(|count| count as f64));
    json.series("fd", &kept, 4, |sample| sample.open_files.map(|count| count as f64));
    json.text.push('}');
}

/// Of samples that share a point: the first's time, the highest of what grows, the least idle processors.
fn busiest(samples: &[SampleReport]) -> SampleReport {
    let mut kept = samples[0].clone();
    for sample in &samples[1..] {
        kept.rss_bytes = kept.rss_bytes.max(sample.rss_bytes);
        kept.live_bytes = kept.live_bytes.max(sample.live_bytes);
        kept.threads = kept.threads.max(sample.threads);
        kept.open_files = kept.open_files.max(sample.open_files);
        kept.processors = match (kept.processors, sample.processors) {
            (Some(one), Some(other)) if one.idle <= other.idle => Some(one),
            (one, other) => other.or(one),
        };
    }
    kept
}

/// `[1 / (1 - share), ns]` along a distribution, evenly over the logarithm: with every digit of nines as much room.
fn curve(json: &mut Json, latency: Option<&LatencyReport>) {
    let curve = latency.map_or_else(Vec::new, thinned_curve);
    json.list('[', &curve, |json, (nines, ns)| {
        json.number(*nines, 4);
        json.text.push(',');
        json.number(*ns as f64, 3);
    });
}

pub(super) fn thinned_curve(latency: &LatencyReport) -> Vec<(f64, u64)> {
    let all: u64 = latency.buckets.iter().map(|(_, count)| count).sum();
    let step = (all.max(2) as f64).ln() / CURVE_MAX as f64;
    let mut curve: Vec<(f64, u64)> = Vec::new();
    let mut below = 0;
    let mut last_kept = f64::MIN;
    for (place, (edge, count)) in latency.buckets.iter().enumerate() {
        below += count;
        // The largest one is at share 1, for which there is no place: it stands where its neighbours would thin out.
        let beyond = (all - below).max(1);
        let nines = all as f64 / beyond as f64;
        let is_end = place == 0 || place + 1 == latency.buckets.len();
        if is_end || nines.ln() - last_kept >= step {
            // The first bucket begins at share 0.
            curve.push((if place == 0 { 1.0 } else { nines }, *edge));
            last_kept = if place == 0 { 0.0 } else { nines.ln() };
        }
    }
    let named = [
        (2.0, latency.p50_ns),
        (10.0, latency.p90_ns),
        (20.0, latency.p95_ns),
        (100.0, latency.p99_ns),
        (1_000.0, latency.p99_9_ns),
        (10_000.0, latency.p99_99_ns),
    ];
    // What the table tells is in the curve too, and exact.
    curve.extend(named.into_iter().filter(|(nines, ns)| *nines < all as f64 && *ns > 0));
    curve.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut highest = 0;
    for (_, ns) in &mut curve {
        highest = highest.max(*ns);
        *ns = highest;
    }
    curve
}

/// Upper bounds on percentiles of latency: percent, ns, and whether they held.
fn targets(scenario: &ScenarioReport) -> Vec<(f64, f64, bool)> {
    let target = |it: &crate::report::ObjectiveReport| {
        let objective: Objective = it.objective.parse().ok()?;
        match objective.metric {
            Metric::Percentile(percent) if objective.comparison.is_upper_bound() => {
                Some((percent, objective.bound.in_base_units()?, it.held))
            }
            _ => None,
        }
    };
    scenario.objectives.iter().filter_map(target).collect()
}

#[derive(Default)]
struct Json {
    text: String,
}

impl Json {
    /// With a comma before it unless it is the first.
    fn key(&mut self, name: &str) -> &mut Self {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
        self.string(name);
        self.text.push(':');
        self
    }

    fn string(&mut self, text: &str) {
        // Panics: never; any string has a JSON form.
        self.text.push_str(&serde_json::to_string(text).expect("a string has a JSON form"));
    }

    /// With as many significant digits as matter; what is no number is `null`.
    fn number(&mut self, number: f64, digits: i32) {
        self.text.push_str(&short(number, digits));
    }

    /// A list of what `each` writes; of lists, if it writes more than one thing.
    fn list<T>(
        &mut self,
        open: char,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.text.push(open);
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            let begin = self.text.len();
            each(self, item);
            if !self.text[begin..].starts_with('{') {
                self.text.insert(begin, '[');
                self.text.push(']');
            }
        }
        self.text.push(']');
    }

    /// Left out where nothing was measured.
    fn series<T>(&mut self, name: &str, items: &[T], digits: i32, value: impl Fn(&T) -> Option<f64>) {
        if items.iter().all(|item| value(item).is_none()) {
            return;
        }
        self.key(name);
        self.text.push('[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.number(value(item).unwrap_or(f64::NAN), digits);
        }
        self.text.push(']');
    }
}

/// The shortest JSON of a number with that many significant digits: `1.23`, `450`, `123e5`.
fn short(number: f64, digits: i32) -> String {
    if !number.is_finite() {
        return "null".to_owned();
    }
    // Nothing that is measured here is smaller.
    if number.abs() < 1e-9 {
        return "0".to_owned();
    }
    let mut exponent = number.abs().log10().floor() as i32 + 1 - digits;
    let mut mantissa = (number / 10_f64.powi(exponent)).round();
    while mantissa % 10.0 == 0.0 {
        mantissa /= 10.0;
        exponent += 1;
    }
    match exponent {
        ..0 => format!("{:.*}", exponent.unsigned_abs() as usize, mantissa * 10_f64.powi(exponent)),
        0..3 => format!("{:.0}", mantissa * 10_f64.powi(exponent)),
        3.. => format!("{mantissa:.0}e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn numbers_are_short_and_right() {
        for (number, digits, text) in [
            (0.0, 3, "0"),
            (1.0, 3, "1"),
            (123_456.0, 3, "123e3"),
            (120_000.0, 3, "12e4"),
            (0.012_345, 3, "0.0123"),
            (99.96, 3, "100"),
            (-2.5, 3, "-2.5"),
            (1_234.5, 5, "1234.5"),
            (f64::NAN, 3, "null"),
            (f64::INFINITY, 3, "null"),
            (1e-300, 3, "0"),
        ] {
            assert_eq!(short(number, digits), text, "{number}");
        }
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let mut report = examples::full(600);
        let windows = &mut report.scenarios[0].windows;
        windows[333].max_ns = 9_876_543_210;
        windows[334].p50_ns = 1_234_567_890;
        windows[335].succeeded = 0;
        windows[336].succeeded = 4_000;
        windows[337].in_flight_peak = 999;
        let all = points(&report.scenarios[0], 80);
        assert!(all.len() <= 80 && all.len() > 40);
        let worst = |place: usize| all.iter().filter_map(|it| Some(it.latency_ns?[place])).max();
        assert_eq!(worst(4), Some(9_876_543_210));
        assert_eq!(worst(0), Some(1_234_567_890));
        assert!(all.iter().any(|it| it.achieved[1] == 0.0), "the lowest rate is kept");
        assert!(all.iter().any(|it| it.achieved[2] == 4_000.0), "the highest rate is kept");
        assert!(all.iter().any(|it| it.in_flight == 999));
        let scenario = &report.scenarios[0];
        let sum = |of: fn(&WindowReport) -> u64| scenario.windows.iter().map(of).sum::<u64>() as f64;
        let mean: f64 = all.iter().map(|it| it.achieved[0] * (it.end_s - it.start_s)).sum();
        assert!((mean / sum(|it| it.succeeded) - 1.0).abs() < 1e-9, "no operation is lost");
    }

    #[test]
    fn a_sliver_at_the_end_makes_no_rate_of_its_own() {
        let mut report = examples::full(10);
        let last = report.scenarios[0].windows.last_mut().unwrap();
        (last.length_s, last.succeeded, last.max_ns) = (0.001, 5, 77_000_000_000);
        let all = points(&report.scenarios[0], 80);
        assert_eq!(all.len(), 9);
        assert!(all[8].achieved[2] < 1_000.0, "5 in a millisecond are no 5000/s");
        assert_eq!(all[8].latency_ns.unwrap()[4], 77_000_000_000, "its worst still counts");
    }

    #[test]
    fn a_curve_ends_at_the_maximum_and_only_rises() {
        let report = examples::full(600);
        let latency = report.scenarios[0].response_time.as_ref().unwrap();
        let curve = thinned_curve(latency);
        assert!(curve.len() <= CURVE_MAX + 9 && curve.len() > 30, "{}", curve.len());
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(curve.contains(&(100.0, latency.p99_ns)), "a named percentile is exact");
        assert_eq!(curve.last().unwrap().1, latency.max_ns);
        assert_eq!(curve[0].0, 1.0);
        assert_eq!(thinned_curve(&LatencyReport::default()), []);
    }

    #[test]
    fn the_data_is_json_without_what_json_cannot_say() {
        for report in [examples::of_every_verdict(), examples::empty(), examples::never_loaded()] {
            let text = json(&report);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read.as_array().unwrap().len(), report.scenarios.len());
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        let mut report = examples::full(4);
        report.scenarios[0].windows[1].length_s = f64::NAN;
        report.scenarios[0].windows[2].length_s = 0.0;
        report.scenarios[0].samples[1].at_s = f64::INFINITY;
        // As the first sample always is.
        report.scenarios[0].samples[0].processors = None;
        serde_json::from_str::<serde_json::Value>(&json(&report)).unwrap();
    }

    #[test]
    fn upper_bounds_on_percentiles_are_shown_in_the_curve() {
        let report = examples::full(10);
        assert_eq!(targets(&report.scenarios[0]), [(95.0, 25e6, true), (99.9, 200e6, true)]);
    }
}
