//! What the merged samples say over time: the live view's figures and the report's slices.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    aggregate::{
        Aggregate,
        slices::{oldest_width, start_of},
    },
    live::Latency,
    plan::Samples,
    stats::Stats,
    timeline::{Slice, Timeline},
    timestamp::Timestamp,
};

/// Seconds of the live view's sparkline.
const HISTORY: i64 = 12;

impl Aggregate {
    /// VUs now, over all workers.
    pub fn vus_now(&self) -> f64 {
        self.all("vus").and_then(|m| m.gauges.as_ref()).map_or(0.0, super::gauges::WorkerGauges::now)
    }

    /// The sum of a counter so far; 0 without samples.
    pub fn counter(&self, metric: &str) -> f64 {
        match self.all(metric).map(|m| m.total.stats()).as_deref() {
            Some(Stats::Counter { sum, .. }) => sum.value(),
            _ => 0.0,
        }
    }

    /// The sum of a counter over these seconds since the Unix epoch; none without samples. They must be of the last minutes.
    pub(crate) fn counter_over(&self, metric: &str, seconds: &Range<i64>) -> Option<f64> {
        let slices = self.all(metric)?.slices.as_ref()?;
        let recent = slices.iter().rev().take_while(|(start, _)| *start >= seconds.start);
        // A fold: the sum of no floats is -0.
        Some(recent.filter(|(start, _)| *start < seconds.end).fold(0.0, |sum, (_, stats)| sum + sum_of(stats)))
    }

    /// The newest second of which there is a sample, since the Unix epoch. More of it may come.
    pub(crate) fn newest_second(&self) -> i64 {
        self.newest_second
    }

    /// The share of non-zero samples of a rate so far; none without samples.
    pub fn rate(&self, metric: &str) -> Option<f64> {
        share(&self.all(metric)?.total.stats())
    }

    /// The distribution of response times so far, or of iterations in a test without HTTP; none without samples.
    pub fn latency(&self, samples: Samples) -> Option<Latency> {
        let metric = self.latency_metric()?;
        let merged = self.all(metric)?;
        let total = merged.total.stats();
        let percentile = |quantile| total.percentile(quantile);
        let slices = merged.slices.as_ref()?;
        let starts = (1..=HISTORY).rev().map(|back| self.newest_second.saturating_sub(back));
        let p95_of = |start| slices.get(start).and_then(|s| s.percentile(0.95)).unwrap_or(0.0);
        Some(Latency {
            metric: metric.to_owned(),
            p50: percentile(0.5)?,
            p95: percentile(0.95)?,
            p99: percentile(0.99)?,
            error: samples.percentile_error(),
            history_p95: starts.map(p95_of).collect(),
        })
    }

    /// The run in slices of one width.
    pub fn timeline(&self) -> Timeline {
        let names = ["http_reqs", "iterations", "http_req_failed", "checks"];
        let watched = || names.into_iter().chain(self.latency_metric());
        let series = || watched().filter_map(|name| Some((name, self.all(name)?.slices.as_ref()?)));
        let spans = series().filter_map(|(_, slices)| slices.span());
        let whole = spans.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)));
        let Some((first, last)) = whole else { return Timeline::default() };
        // No series is coarser anywhere: it lasts no longer than all together.
        let width = oldest_width(first, last);
        let mut slices: BTreeMap<i64, Slice> = BTreeMap::new();
        for (name, series) in series() {
            for (start, stats) in series.evenly(width) {
                let slice = slices.entry(start).or_default();
                let per_second = sum_of(&stats) / width as f64;
                match name {
                    "http_reqs" => slice.requests_per_second = per_second,
                    "iterations" => slice.iterations_per_second = per_second,
                    "http_req_failed" => slice.failed_rate = share(&stats),
                    "checks" => slice.checks_rate = share(&stats),
                    _ => {
                        slice.p50 = stats.percentile(0.5);
                        slice.p95 = stats.percentile(0.95);
                        slice.p99 = stats.percentile(0.99);
                    }
                }
            }
        }
        let (Some(first), Some(last)) = (slices.keys().next().copied(), slices.keys().next_back().copied()) else {
            return Timeline::default();
        };
        let vus = self.vus_over_time(width);
        let mut standing = 0.0;
        let starts = (0..).map(|n| first + n * width).take_while(|start| *start <= last);
        let slices = starts.map(|start| {
            standing = vus.get(&start).copied().unwrap_or(standing);
            Slice { vus: standing, ..slices.remove(&start).unwrap_or_default() }
        });
        Timeline {
            slices: slices.collect(),
            start: Timestamp(first.saturating_mul(1_000_000)),
            slice_seconds: u32::try_from(width).unwrap_or(u32::MAX),
        }
    }

    fn vus_over_time(&self, width: i64) -> BTreeMap<i64, f64> {
        let Some(gauges) = self.all("vus").and_then(|m| m.gauges.as_ref()) else { return BTreeMap::new() };
        // Of several sums in one slice the last stays.
        gauges.sums().into_iter().map(|(start, sum)| (start_of(start, width), sum)).collect()
    }

    fn latency_metric(&self) -> Option<&'static str> {
        ["http_req_duration", "iteration_duration"].into_iter().find(|name| self.all(name).is_some())
    }
}

fn sum_of(stats: &Stats) -> f64 {
    match stats {
        Stats::Counter { sum, .. } => sum.value(),
        _ => 0.0,
    }
}

fn share(stats: &Stats) -> Option<f64> {
    match stats {
        Stats::Rate { count: count @ 1.., trues } => Some(*trues as f64 / *count as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::tests::{NOON, aggregate, chunks, sample};

    #[test]
    fn a_counter_is_summed_up_over_some_seconds() {
        let lines: String = (0..10).map(|s| sample("http_reqs", s, f64::from(s), "{}")).collect();
        let merged = aggregate(&chunks(&[vec![lines]], &[]));
        let over = |from, until| merged.counter_over("http_reqs", &(NOON + from..NOON + until));
        assert_eq!((over(6, 9), over(-3, 2), over(10, 13)), (Some(21.0), Some(1.0), Some(0.0)));
        assert_eq!(merged.counter_over("iterations", &(NOON..NOON + 9)), None);
        assert!((merged.counter("http_reqs") - 45.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_timeline_has_no_gaps() {
        let lines = [
            sample("http_reqs", 1, 2.0, "{}"),
            sample("http_req_duration", 1, 10.0, "{}"),
            sample("vus", 1, 3.0, "{}"),
            sample("http_reqs", 4, 6.0, "{}"),
            sample("http_req_failed", 4, 1.0, "{}"),
        ];
        let timeline = aggregate(&chunks(&[vec![lines.concat()]], &[])).timeline();
        assert_eq!(timeline.start, Timestamp((NOON + 1) * 1_000_000));
        assert_eq!((timeline.slice_seconds, timeline.slices.len()), (1, 4));
        let requests: Vec<f64> = timeline.slices.iter().map(|s| s.requests_per_second).collect();
        assert_eq!(requests, [2.0, 0.0, 0.0, 6.0]);
        assert_eq!((timeline.slices[3].failed_rate, timeline.slices[1].p95), (Some(1.0), None));
        assert!(timeline.slices.iter().all(|s| (s.vus - 3.0).abs() < f64::EPSILON));
    }

    #[test]
    fn a_long_run_has_a_bounded_timeline() {
        let lines: String =
            (0..3000).map(|s| sample("iterations", s, 1.0, "{}") + &sample("vus", s, 2.0, "{}")).collect();
        let timeline = aggregate(&chunks(&[vec![lines]], &[])).timeline();
        assert_eq!(timeline.slice_seconds, 4);
        let whole = timeline.slices.iter().filter(|s| (s.iterations_per_second - 1.0).abs() < f64::EPSILON).count();
        assert!(whole >= 749, "{whole} of {}", timeline.slices.len());
    }

    #[test]
    fn samples_that_lie_years_apart_have_a_bounded_timeline_too() {
        let early = sample("http_reqs", 1, 3.0, "{}").replace("2026", "1970");
        let timeline = aggregate(&chunks(&[vec![early + &sample("http_reqs", 1, 4.0, "{}")]], &[])).timeline();
        assert!(timeline.slices.len() <= 901, "{}", timeline.slices.len());
        let requests: f64 =
            timeline.slices.iter().map(|s| s.requests_per_second * f64::from(timeline.slice_seconds)).sum();
        assert!((requests - 7.0).abs() < 1e-9, "{requests}");
    }

    #[test]
    fn no_samples_no_timeline_and_no_latency() {
        let empty = Aggregate::new();
        assert_eq!(empty.timeline(), Timeline::default());
        assert_eq!(empty.latency(Samples::Exact), None);
        assert!(empty.vus_now().abs() < f64::EPSILON);
    }

    #[test]
    fn a_test_without_http_shows_its_iterations() {
        let merged = aggregate(&chunks(&[vec![sample("iteration_duration", 1, 5.0, "{}")]], &[]));
        assert_eq!(merged.latency(Samples::Exact).expect("has samples").metric, "iteration_duration");
    }
}
