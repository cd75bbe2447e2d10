//! Messages as k6 writes them, for tests and for the simulated k6.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{BEYOND, RESOLUTION, wire};
use crate::series::MetricKind;

/// k6's bucket of a value that has one.
fn bucket_of(value: f64) -> u32 {
    let units = (value / RESOLUTION).ceil();
    if units < 256.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        let bucket = units as u32;
        return bucket;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^63")]
    let units = units as u64;
    let power = (units >> 7).ilog2();
    (power << 7) + u32::try_from(units >> power).unwrap_or(u32::MAX)
}

/// A trend as k6 would send it.
pub(super) fn sent(values: &[f64]) -> wire::TrendHdrValue {
    let mut counts = BTreeMap::<u32, u32>::new();
    let placed = |value: &&f64| (0.0..BEYOND).contains(*value);
    values.iter().filter(placed).for_each(|value| *counts.entry(bucket_of(*value)).or_default() += 1);
    let mut spans: Vec<wire::Span> = Vec::new();
    let mut next = 0;
    for bucket in counts.keys() {
        match spans.last_mut() {
            Some(span) if next == *bucket => span.length += 1,
            _ => spans.push(wire::Span { offset: bucket - next, length: 1 }),
        }
        next = bucket + 1;
    }
    let number = |of: &dyn Fn(f64) -> bool| few(values.iter().filter(|v| of(**v)).count());
    wire::TrendHdrValue {
        time: Some(wire::Timestamp { seconds: 7 }),
        counters: counts.into_values().collect(),
        spans,
        sum: values.iter().sum(),
        count: number(&|_| true),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        extra_low: number(&|v| v < 0.0),
        extra_high: number(&|v| v >= BEYOND),
        min_resolution: RESOLUTION,
    }
}

/// A message with samples of one metric and tag set, of the second that starts at `start` (seconds since the Unix epoch).
pub fn message(metric: &str, tags: &[(&str, &str)], start: i64, of: &[f64], kind: MetricKind) -> Vec<u8> {
    let time = Some(wire::Timestamp { seconds: start });
    let count = few(of.len());
    let (kind, samples) = match kind {
        MetricKind::Counter => {
            let value = wire::CounterValue { time, value: of.iter().sum() };
            (1, wire::Samples::Counter(wire::CounterSamples { values: vec![value] }))
        }
        MetricKind::Gauge => {
            let (min, max) = of.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            let last = of.last().copied().unwrap_or_default();
            // As k6 up to 1.7.1 has them.
            let value = wire::GaugeValue { time, last, count, min: max, max: min };
            (2, wire::Samples::Gauge(wire::GaugeSamples { values: vec![value] }))
        }
        MetricKind::Rate => {
            let nonzero = few(of.iter().filter(|v| **v != 0.0).count());
            let value = wire::RateValue { time, nonzero, total: count };
            (3, wire::Samples::Rate(wire::RateSamples { values: vec![value] }))
        }
        MetricKind::Trend => {
            let value = wire::TrendHdrValue { time, ..sent(of) };
            (4, wire::Samples::Trend(wire::TrendSamples { values: vec![value] }))
        }
    };
    let labels = tags.iter().map(|(name, value)| wire::Label { name: (*name).into(), value: (*value).into() });
    let series = wire::Series { labels: labels.collect(), samples: Some(samples) };
    let metric = wire::Metric { name: metric.to_owned(), kind, time_series: vec![series] };
    wire::MetricSet { aggregation_period: 1, metrics: vec![metric] }.encode_to_vec()
}

fn few(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
